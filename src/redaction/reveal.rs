//! Placeholders in what comes and goes: found, replaced by the values that they stand for, and put back.

use super::{
    decode,
    inspected::{Inspected, Place},
    mask::{mask, starts_with_mask},
    rules::DataRules,
    scan::Scanner,
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
/// The same of what base64 is of it.
const SHORTEST_BASE64: usize = 5;

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
            let token = match &piece {
                Piece::Text(_) => return,
                Piece::Placeholder(token) => *token,
                Piece::Encoded(_, token) => token.as_str(),
            };
            if found.len() < MAX_REVEALED && !found.iter().any(|known| **known == *token) {
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
    /// One that is percent-encoded, as what fills in a URI's template writes it.
    Encoded(&'t str, String),
}

/// Takes a text apart at its placeholders.
fn each<'t>(text: &'t str, mut take: impl FnMut(Piece<'t>)) {
    let mut rest = text;
    let mut from = 0;
    while let Some(at) = rest.get(from..).and_then(|tail| tail.find(['[', '%'])).map(|at| at + from) {
        let (before, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let plain = tail.starts_with(BEGIN).then(|| starts_with_mask(tail.as_bytes(), |_| true)).flatten();
        let found = match plain {
            Some(length) => Some((length, None)),
            None => encoded(tail).map(|(length, token)| (length, Some(token))),
        };
        let Some((length, token)) = found else {
            from = at + 1;
            continue;
        };
        let (written, after) = tail.split_at_checked(length).unwrap_or((tail, ""));
        take(Piece::Text(before));
        take(match token {
            None => Piece::Placeholder(written),
            Some(token) => Piece::Encoded(written, token),
        });
        (rest, from) = (after, 0);
    }
    take(Piece::Text(rest));
}

/// The longest placeholder with its signs percent-encoded, in bytes.
const LONGEST_ENCODED: usize = 128;

/// The length of the percent-encoded placeholder that a text begins with, and what it is decoded.
fn encoded(text: &str) -> Option<(usize, String)> {
    let head = text.get(..3)?;
    if !head.eq_ignore_ascii_case("%5b") {
        return None;
    }
    let window = text.get(..text.floor_char_boundary(LONGEST_ENCODED)).unwrap_or_default();
    let close =
        ["%5D", "%5d", "]"].into_iter().filter_map(|end| Some(window.find(end)? + end.len())).min()?;
    let written = window.get(..close)?;
    let token = percent_encoding::percent_decode_str(written).decode_utf8().ok()?.into_owned();
    let is_whole = token.starts_with(BEGIN)
        && starts_with_mask(token.as_bytes(), |_| true).is_some_and(|length| length == token.len());
    is_whole.then_some((close, token))
}

/// Whether a text may hold a placeholder.
fn may_hold(text: &str) -> bool {
    text.contains(BEGIN) || text.contains("%5B") || text.contains("%5b")
}

/// The URI with those placeholders replaced by what they stand for, percent-encoded, so that a value stays within its
/// segment. None: there is none of them in it.
pub fn reveal_uri(uri: &str, tokens: &[Tokenized]) -> Option<String> {
    let (mut out, mut any) = (String::with_capacity(uri.len()), false);
    each(uri, |piece| {
        let (written, token) = match &piece {
            Piece::Text(plain) => return out.push_str(plain),
            Piece::Placeholder(token) => (*token, *token),
            Piece::Encoded(written, token) => (*written, token.as_str()),
        };
        match tokens.iter().find(|known| *known.placeholder == *token) {
            Some(known) => {
                any = true;
                out.push_str(&percent(&known.value));
            }
            None => out.push_str(written),
        }
    });
    any.then_some(out)
}

fn percent(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
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
    if !may_hold(text) {
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
    if !may_hold(text) {
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
        Piece::Encoded(written, token) => match known.get(token.as_str()) {
            Some(token) => {
                any = true;
                out.push_str(&percent(&token.value));
            }
            None => out.push_str(written),
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

impl DataRules {
    /// Puts the placeholders back where an upstream repeats the values that it got for them, whatever the case and however a
    /// text is encoded, as far as detectors read encodings: as they are, as JSON, percent-encoded, as HTML entities, in base64
    /// or hex, alone or in a longer text, broken by characters that nobody sees. A text with more layers than are read is
    /// masked whole. Whether anything was changed.
    pub fn conceal(&self, value: &mut Value, tokens: &[Tokenized]) -> bool {
        let finder = Finder::of(tokens, &self.inner.scanner);
        match finder.is_empty() {
            true => false,
            false => finder.conceal(value, 0),
        }
    }
}

/// A value as it is looked for.
struct Form<'t> {
    text: Vec<u8>,
    /// The case counts; else it is in lower case.
    exact: bool,
    /// Characters of base64 before and after it that tell something of the value beside something else.
    around: (usize, usize),
    which: usize,
    token: &'t Tokenized,
}

/// Values by the first byte of what they are looked for as, in lower case.
struct Finder<'t> {
    scanner: &'t Scanner,
    tokens: Vec<&'t Tokenized>,
    /// Values that are numbers, each by its one spelling: JSON writes a number in many ways.
    numbers: BTreeMap<String, &'t Tokenized>,
    first: BTreeMap<u8, Vec<Form<'t>>>,
    begins: Box<[bool; 256]>,
}

impl<'t> Finder<'t> {
    fn of(tokens: &'t [Tokenized], scanner: &'t Scanner) -> Self {
        let tokens: Vec<&Tokenized> = tokens.iter().filter(|token| token.value.len() >= SHORTEST).collect();
        let mut first: BTreeMap<u8, Vec<Form<'_>>> = BTreeMap::new();
        let mut begins = Box::new([false; 256]);
        for (which, token) in tokens.iter().enumerate() {
            for (text, exact, around) in forms(&token.value) {
                let text = if exact { text } else { text.to_ascii_lowercase() }.into_bytes();
                let Some(byte) = text.first().map(u8::to_ascii_lowercase) else { continue };
                for byte in [byte, byte.to_ascii_uppercase()] {
                    if let Some(slot) = begins.get_mut(usize::from(byte)) {
                        *slot = true;
                    }
                }
                let bucket = first.entry(byte).or_default();
                if !bucket.iter().any(|known| known.text == text && known.exact == exact) {
                    bucket.push(Form { text, exact, around, which, token });
                }
            }
        }
        // The longest first: a value may begin with another one.
        first.values_mut().for_each(|bucket| bucket.sort_by_key(|form| std::cmp::Reverse(form.text.len())));
        let numbers =
            tokens.iter().filter_map(|token| Some((json::one_spelling(&token.value)?, *token))).collect();
        Self { scanner, tokens, numbers, first, begins }
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn starts(&self, text: &[u8]) -> Option<&Form<'t>> {
        let byte = *text.first()?;
        if !self.begins.get(usize::from(byte)).copied().unwrap_or(false) {
            return None;
        }
        let bucket = self.first.get(&byte.to_ascii_lowercase())?;
        bucket.iter().find(|form| {
            let head = text.get(..form.text.len());
            head.is_some_and(|head| match form.exact {
                true => head == form.text,
                false => head.eq_ignore_ascii_case(&form.text),
            })
        })
    }

    /// The value that a number is, however it is written.
    fn number(&self, number: &str) -> Option<&'t Tokenized> {
        let exact = self.starts(number.as_bytes()).filter(|form| form.text.len() == number.len());
        exact.map(|form| form.token).or_else(|| {
            if self.numbers.is_empty() {
                return None;
            }
            self.numbers.get(&json::one_spelling(number)?).copied()
        })
    }

    /// Where values stand in one reading of a text.
    fn find(&self, text: &str, found: &mut Vec<decode::Place>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let Some(form) = self.starts(bytes.get(at..).unwrap_or_default()) else {
                at += 1;
                continue;
            };
            let in_base64 = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
            let end = at + form.text.len();
            let (before, after) = form.around;
            let before =
                bytes.get(..at).unwrap_or_default().iter().rev().take(before).take_while(in_base64).count();
            let after = bytes.get(end..).unwrap_or_default().iter().take(after).take_while(in_base64).count();
            found.push((
                text.floor_char_boundary(at - before),
                text.ceil_char_boundary(end + after),
                form.which,
            ));
            at = end;
        }
    }

    fn text(&self, text: &str) -> Option<String> {
        let Ok(mut places) = self.scanner.places(text, &mut |reading, found| self.find(reading, found))
        else {
            return Some(mask("too_deep", text.chars().count()));
        };
        places.sort_unstable_by_key(|(start, end, which)| (*start, std::cmp::Reverse(*end), *which));
        let (mut out, mut done) = (String::new(), 0);
        let mut rest = places.as_slice();
        while let Some(((start, end, which), mut more)) = rest.split_first() {
            // What overlaps stands there together.
            let (mut end, mut here) = (*end, vec![*which]);
            while let Some(((_, until, which), after)) =
                more.split_first().filter(|((from, _, _), _)| *from < end)
            {
                if !here.contains(which) {
                    here.push(*which);
                }
                end = end.max(*until);
                more = after;
            }
            rest = more;
            out.push_str(text.get(done..*start).unwrap_or_default());
            let placeholders =
                here.iter().filter_map(|which| self.tokens.get(*which)).map(|token| &*token.placeholder);
            out.push_str(&placeholders.collect::<Vec<_>>().join(" "));
            done = end;
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
            Value::Number(number) => match self.number(number.as_str()) {
                Some(token) => {
                    *value = Value::String(token.placeholder.to_string());
                    true
                }
                None => false,
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

/// How a value may be repeated, beside what is read of encodings: whether its case counts, and how many characters before and
/// after it tell something of it.
fn forms(value: &str) -> Vec<(String, bool, (usize, usize))> {
    let written = Value::from(value).to_string();
    let escaped = written.get(1..written.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let percent = percent(value);
    let kept = percent.replace("%2E", ".").replace("%2D", "-").replace("%5F", "_").replace("%7E", "~");
    let in_form = kept.replace("%20", "+");
    let plain = [value.to_owned(), escaped, percent, kept, in_form, hex::encode(value)];
    let plain = plain.into_iter().map(|text| (text, false, (0, 0)));
    plain.chain((0..3).flat_map(|before| in_base64(value, before))).collect()
}

/// What base64 of a value is of its own, so many bytes behind a group of three.
fn in_base64(value: &str, before: usize) -> Vec<(String, bool, (usize, usize))> {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    };
    let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(value.bytes()).collect();
    let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    let around = (usize::from(before > 0), usize::from(!(bytes.len() * 8).is_multiple_of(6)));
    let mut own: Vec<(String, bool, (usize, usize))> = [STANDARD_NO_PAD, URL_SAFE_NO_PAD]
        .iter()
        .filter_map(|engine| Some(engine.encode(&bytes).get(from..to)?.to_owned()))
        // Less stands in any picture by chance.
        .filter(|text| text.len() >= SHORTEST_BASE64)
        .map(|text| (text, true, around))
        .collect();
    own.dedup();
    own
}

#[cfg(test)]
#[path = "reveal_tests.rs"]
mod tests;
