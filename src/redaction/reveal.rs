//! Placeholders in what comes and goes: found, replaced by the values that they stand for, and put back.

use super::{
    inspected::{Inspected, Place},
    mask::starts_with_mask,
    rules::DataRules,
    token::{Caller, Tokenized},
    walk::{insert, written_like},
};
use crate::model::json;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// How every placeholder begins.
const BEGIN: &str = "[token:";

/// Placeholders of one call that are looked up; what is beyond stays as it is.
pub const MAX_REVEALED: usize = 64;

/// JSON in a text in JSON in a text is read this often.
const MAX_NESTED: usize = 4;

/// The shortest value that is looked for in what comes back.
const SHORTEST: usize = 4;

impl DataRules {
    /// The same rules for one caller: only so does `tokenize` make placeholders; else it masks.
    #[must_use]
    pub fn for_caller(&self, caller: Caller) -> Self {
        Self { caller: Some(Arc::new(caller)), ..self.clone() }
    }

    /// Whether a rule says `tokenize`.
    pub fn tokenizes(&self) -> bool {
        self.inner.rules.iter().any(|rule| rule.token.is_some())
    }

    /// Whether an upstream may have the value of a placeholder: its rule is still there, and says so of the place.
    pub fn may_reveal(&self, token: &Tokenized, place: &Place<'_>) -> bool {
        let rules = self.inner.rules.iter();
        rules
            .filter_map(|rule| {
                rule.token.as_ref().filter(|made| *made.id == *token.rule).map(|made| (rule, made))
            })
            .any(|(rule, made)| made.permits(&rule.on, place))
    }

    /// Adds what is known of revealed values to what was found: their places alone may have been what made them sensitive.
    pub fn label_revealed(&self, tokens: &[Tokenized], inspected: &mut Inspected<'_>) {
        let before = inspected.level;
        for token in tokens {
            inspected.redacted = true;
            if let Err(at) = inspected.findings.binary_search(&token.detector) {
                inspected.findings.insert(at, token.detector.clone());
            }
            let detector = self.inner.detectors.iter().find(|known| known.name == token.detector);
            let Some(class) = detector.and_then(|known| self.inner.classes.get(known.class)) else {
                continue;
            };
            inspected.level = inspected.level.max(class.level);
            if let Err(at) = inspected.labels.binary_search(&class.name) {
                inspected.labels.insert(at, class.name.clone());
            }
        }
        if inspected.level > before {
            inspected.labels.retain(|label| **label != *before.as_str());
            let level = inspected.level.shared();
            if let Err(at) = inspected.labels.binary_search(&level) {
                inspected.labels.insert(at, level);
            }
        }
    }
}

/// The placeholders in a value, each once, in the order in which they stand: at most [`MAX_REVEALED`].
pub fn placeholders(value: &Value) -> Vec<Arc<str>> {
    fn text(text: &str, found: &mut Vec<Arc<str>>) {
        each(text, |piece| {
            if let Piece::Placeholder(token) = piece
                && found.len() < MAX_REVEALED
                && !found.iter().any(|known| **known == *token)
            {
                found.push(token.into());
            }
        });
    }
    fn walk(value: &Value, found: &mut Vec<Arc<str>>) {
        match value {
            Value::String(inner) => text(inner, found),
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                text(key, found);
                walk(value, found);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(value, &mut found);
    found
}

enum Piece<'t> {
    Text(&'t str),
    Placeholder(&'t str),
}

/// Takes a text apart at its placeholders.
fn each<'t>(text: &'t str, mut take: impl FnMut(Piece<'t>)) {
    let mut rest = text;
    let mut from = 0;
    while let Some(at) = rest.get(from..).and_then(|tail| tail.find(BEGIN)).map(|at| at + from) {
        let (before, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let Some(length) = starts_with_mask(tail.as_bytes(), |_| true) else {
            from = at + BEGIN.len();
            continue;
        };
        let (token, after) = tail.split_at_checked(length).unwrap_or((tail, ""));
        take(Piece::Text(before));
        take(Piece::Placeholder(token));
        (rest, from) = (after, 0);
    }
    take(Piece::Text(rest));
}

/// The value with those placeholders replaced by what they stand for, wherever they stand: alone, in a longer text, in a
/// member's name, and in JSON in a text, where they are written as JSON has it. None: there is none of them in it.
pub fn reveal(value: &Value, tokens: &[Tokenized]) -> Option<Value> {
    let known: BTreeMap<&str, &Tokenized> = tokens.iter().map(|token| (&*token.placeholder, token)).collect();
    (!known.is_empty()).then(|| revealed(value, &known, 0)).flatten()
}

type Known<'t> = BTreeMap<&'t str, &'t Tokenized>;

fn revealed(value: &Value, known: &Known<'_>, nested: usize) -> Option<Value> {
    match value {
        Value::String(text) => revealed_text(text, known, nested),
        Value::Array(items) => {
            let changed: Vec<Option<Value>> =
                items.iter().map(|item| revealed(item, known, nested)).collect();
            changed.iter().any(Option::is_some).then(|| {
                let both = changed.into_iter().zip(items);
                Value::Array(both.map(|(changed, item)| changed.unwrap_or_else(|| item.clone())).collect())
            })
        }
        Value::Object(map) => {
            let mut out = Map::with_capacity(map.len());
            let mut any = false;
            for (key, value) in map {
                let name =
                    replaced(key, known).filter(|name| !map.contains_key(name) && !out.contains_key(name));
                let inner = revealed(value, known, nested);
                any |= name.is_some() || inner.is_some();
                out.insert(name.unwrap_or_else(|| key.clone()), inner.unwrap_or_else(|| value.clone()));
            }
            any.then_some(Value::Object(out))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn revealed_text(text: &str, known: &Known<'_>, nested: usize) -> Option<Value> {
    if !text.contains(BEGIN) {
        return None;
    }
    if let Some(token) = known.get(text) {
        let whole = || Value::String(token.value.to_string());
        let parsed = token.is_json.then(|| json::parse_inner(token.value.as_bytes()).ok()).flatten();
        return Some(parsed.unwrap_or_else(whole));
    }
    // In JSON a value is written with its escapes: else it could add members of its own.
    if let Some(inner) = json_in(text) {
        if nested >= MAX_NESTED {
            return None;
        }
        return revealed(&inner, known, nested + 1).map(|changed| Value::String(changed.to_string()));
    }
    replaced(text, known).map(Value::String)
}

/// A text that is JSON, read.
fn json_in(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let is_framed = matches!(
        (trimmed.bytes().next(), trimmed.bytes().next_back()),
        (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) | (Some(b'"'), Some(b'"'))
    );
    is_framed.then(|| json::parse_inner(trimmed.as_bytes()).ok()).flatten()
}

fn replaced(text: &str, known: &Known<'_>) -> Option<String> {
    if !text.contains(BEGIN) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut any = false;
    each(text, |piece| match piece {
        Piece::Text(plain) => out.push_str(plain),
        Piece::Placeholder(token) => match known.get(token) {
            Some(token) => {
                any = true;
                out.push_str(&token.value);
            }
            None => out.push_str(token),
        },
    });
    any.then_some(out)
}

/// Puts masks where new placeholders stand: what is not kept cannot be given for them.
pub fn unmint(value: &mut Value, tokens: &[Tokenized]) {
    let masks: Vec<Tokenized> = tokens.iter().map(Tokenized::masked).collect();
    if let Some(changed) = reveal(value, &masks) {
        *value = changed;
    }
}

/// Puts the placeholders back where an upstream repeats the values that it got for them, whatever the case: as they are, as
/// JSON, percent-encoded or in base64. Whether anything was changed.
pub fn conceal(value: &mut Value, tokens: &[Tokenized]) -> bool {
    let finder = Finder::of(tokens);
    match finder.is_empty() {
        true => false,
        false => finder.conceal(value, 0),
    }
}

/// Values by the first byte of what they are looked for as, in lower case.
struct Finder<'t> {
    first: BTreeMap<u8, Vec<(Vec<u8>, &'t Tokenized)>>,
}

impl<'t> Finder<'t> {
    fn of(tokens: &'t [Tokenized]) -> Self {
        let mut first: BTreeMap<u8, Vec<(Vec<u8>, &Tokenized)>> = BTreeMap::new();
        for token in tokens.iter().filter(|token| token.value.len() >= SHORTEST) {
            for form in forms(&token.value) {
                let form = form.to_ascii_lowercase().into_bytes();
                let Some(byte) = form.first().copied() else { continue };
                let bucket = first.entry(byte).or_default();
                if !bucket.iter().any(|(known, _)| *known == form) {
                    bucket.push((form, token));
                }
            }
        }
        // The longest first: a value may begin with another one.
        first.values_mut().for_each(|bucket| bucket.sort_by_key(|(form, _)| std::cmp::Reverse(form.len())));
        Self { first }
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn starts(&self, text: &[u8]) -> Option<(usize, &'t Tokenized)> {
        let bucket = self.first.get(&text.first()?.to_ascii_lowercase())?;
        bucket.iter().find_map(|(form, token)| {
            let head = text.get(..form.len())?;
            head.eq_ignore_ascii_case(form).then_some((form.len(), *token))
        })
    }

    fn text(&self, text: &str) -> Option<String> {
        let bytes = text.as_bytes();
        let (mut out, mut done, mut at) = (String::new(), 0, 0);
        while at < bytes.len() {
            match self.starts(bytes.get(at..).unwrap_or_default()) {
                // Values are whole texts, so that their ends are ends of characters.
                Some((length, token)) if text.is_char_boundary(at) && text.is_char_boundary(at + length) => {
                    out.push_str(text.get(done..at).unwrap_or_default());
                    out.push_str(&token.placeholder);
                    at += length;
                    done = at;
                }
                Some(_) | None => at += 1,
            }
        }
        (done > 0).then(|| out + text.get(done..).unwrap_or_default())
    }

    fn conceal(&self, value: &mut Value, nested: usize) -> bool {
        match value {
            Value::String(text) => {
                // A number in it becomes a text, and what it is in stays JSON.
                let inner = json_in(text).filter(|_| nested < MAX_NESTED).and_then(|mut inner| {
                    self.conceal(&mut inner, nested + 1).then(|| written_like(text, &inner))
                });
                match inner.or_else(|| self.text(text)) {
                    Some(changed) => {
                        *text = changed;
                        true
                    }
                    None => false,
                }
            }
            Value::Number(number) => match self.starts(number.as_str().as_bytes()) {
                Some((length, token)) if length == number.as_str().len() => {
                    *value = Value::String(token.placeholder.to_string());
                    true
                }
                Some(_) | None => false,
            },
            Value::Array(items) => items.iter_mut().fold(false, |any, item| self.conceal(item, nested) | any),
            Value::Object(map) => {
                let mut any = map.iter_mut().fold(false, |any, (_, value)| self.conceal(value, nested) | any);
                if map.keys().any(|key| self.text(key).is_some()) {
                    any = true;
                    let members = std::mem::take(map);
                    for (at, (key, value)) in members.into_iter().enumerate() {
                        insert(map, self.text(&key).unwrap_or(key), at, value);
                    }
                }
                any
            }
            Value::Null | Value::Bool(_) => false,
        }
    }
}

/// How a value may be repeated.
fn forms(value: &str) -> Vec<String> {
    use base64::Engine as _;
    let written = Value::from(value).to_string();
    let escaped = written.get(1..written.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let percent =
        percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
    let kept = percent.replace("%2E", ".").replace("%2D", "-").replace("%5F", "_").replace("%7E", "~");
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(value);
    vec![value.to_owned(), escaped, percent, kept, base64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(value: &str, is_json: bool, digit: char) -> Tokenized {
        let hex: String = std::iter::repeat_n(digit, 32).collect();
        Tokenized {
            placeholder: format!("[token:email:{hex}]").into(),
            scope: "agent:ada".into(),
            rule: "r".into(),
            detector: "email".into(),
            value: value.to_owned().into(),
            is_json,
        }
    }

    #[test]
    fn placeholders_are_found_wherever_they_stand() {
        let (a, b) = (token("x", false, 'a').placeholder, token("x", false, 'b').placeholder);
        let value = json!({"to": *a, "text": format!("dear {b}, [token:] and {a}"), "l": [{"k": format!("[token:{b}")}], format!("{a}!"): 1});
        assert_eq!(placeholders(&value), [a.clone(), b]);
        assert!(placeholders(&json!({"x": "[token:email:AA]", "y": "[hash:email:00]"})).is_empty());
        let many: Vec<String> = (0..200).map(|n| format!("[token:email:{n:032x}]")).collect();
        assert_eq!(placeholders(&json!(many)).len(), MAX_REVEALED);
    }

    /// In JSON in a text a value cannot become more than a value.
    #[test]
    fn values_stand_where_their_placeholders_stood() {
        let sly = token("a\",\"admin\":true,\"x\":\"", false, 'a');
        let number = token("4711", true, 'b');
        let list = token("[1,2]", true, 'c');
        let tokens = [sly.clone(), number.clone(), list.clone()];
        let [s, n, l] = [&sly, &number, &list].map(|token| token.placeholder.to_string());
        let check =
            |given: Value, expect: Value| assert_eq!(reveal(&given, &tokens), Some(expect), "{given}");
        check(json!({"a": s, "n": n, "l": [l]}), json!({"a": *sly.value, "n": 4711, "l": [[1, 2]]}));
        check(json!(format!("pin {n}.")), json!("pin 4711."));
        check(json!({n.clone(): 1}), json!({"4711": 1}));
        let inner = json!({"to": s, "deep": json!({"to": s}).to_string()}).to_string();
        let out = reveal(&json!(inner), &tokens).unwrap();
        let read: Value = serde_json::from_str(out.as_str().unwrap()).unwrap();
        assert_eq!((read.as_object().unwrap().len(), &read["to"]), (2, &json!(*sly.value)));
        let deep: Value = serde_json::from_str(read["deep"].as_str().unwrap()).unwrap();
        assert_eq!(deep, json!({"to": *sly.value}));
        assert_eq!(reveal(&json!({"a": "[token:email:0]"}), &tokens), None);
        // A name that is there already stays somebody else's.
        assert_eq!(reveal(&json!({n.clone(): 1, "4711": 2}), &tokens), None);
        assert!(!format!("{sly:?}").contains("admin"));
    }

    #[test]
    fn what_comes_back_is_concealed() {
        let mail = token("Grace.Hopper@navy.example", false, 'a');
        let note = token("say \"hi\" & go", false, 'b');
        let number = token("4111111111111111", true, 'c');
        let tokens = [mail.clone(), note.clone(), number.clone()];
        let [m, n, c] = [&mail, &note, &number].map(|token| token.placeholder.to_string());
        let check = |given: Value, expect: Value| {
            let mut value = given.clone();
            assert!(conceal(&mut value, &tokens), "{given}");
            assert_eq!(value, expect);
        };
        check(json!("sent to grace.hopper@NAVY.example."), json!(format!("sent to {m}.")));
        check(json!({"grace.hopper@navy.example": 4_111_111_111_111_111_u64}), json!({m.clone(): c}));
        check(json!(json!({"note": "say \"hi\" & go"}).to_string()), json!(format!("{{\"note\":\"{n}\"}}")));
        check(json!("?to=Grace.Hopper%40navy.example&n=1"), json!(format!("?to={m}&n=1")));
        check(json!("R3JhY2UuSG9wcGVyQG5hdnkuZXhhbXBsZQ=="), json!(format!("{m}==")));
        let copy = json!({"n": 4_111_111_111_111_111_u64}).to_string();
        check(json!(copy), json!(json!({"n": c}).to_string()));
        let mut other = json!({"ä": "nothing of it", "n": 41});
        assert!(!conceal(&mut other, &tokens));
    }

    #[test]
    fn what_cannot_be_kept_is_masked() {
        let mail = token("a@b.example", false, 'a');
        let mut value = json!({"to": *mail.placeholder});
        unmint(&mut value, &[mail]);
        assert_eq!(value, json!({"to": "[redacted:email:11]"}));
    }
}
