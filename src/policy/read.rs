//! Reads typed values from located trees; what is wrong is reported and reading goes on.

pub use super::{
    misfit::mismatch,
    shown::short,
    units::{DAYS_366, bytes, duration, parse_duration, show_duration},
};
use super::{
    misfit::{unfit, unquoted},
    near::{did_you_mean, nearest},
    source::{Entry, Kind, Node, Report},
};
use crate::model::{Glob, MicroUsd, UriPattern, UriPatternError, pointer::Pointer};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Map, Number, Value};
use std::{collections::BTreeSet, sync::Arc};

/// A map whose keys are known, with the place where it begins.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'n> {
    /// Where the map begins.
    pub at: usize,
    entries: &'n [Entry],
    known: &'static [&'static str],
}

impl<'n> Fields<'n> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|e| &e.value)
    }

    /// Whether nothing is written in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key is not there, and no key either that may be a slip of it.
    pub fn lacks(&self, key: &str) -> bool {
        let slip = |entry: &Entry| nearest(written_key(&entry.key), self.known()) == Some(key);
        self.get(key).is_none() && !self.unknown().any(slip)
    }

    fn known(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.known.iter().copied()
    }

    fn unknown(&self) -> impl Iterator<Item = &'n Entry> {
        self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str()))
    }

    /// The key and its value.
    pub fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// The value of a key that must be there. Where a key that is not known may be a slip of it, that has been said and is
    /// enough.
    pub fn required(&self, key: &str, expected: &str, report: &mut Report<'_>) -> Option<&'n Node> {
        let found = self.get(key);
        if self.lacks(key) {
            report.error(self.at, format!("`{key}` is missing"), format!("`{key}`: {expected}"));
        }
        found
    }

    /// Reads a key's value, where it is there, with one of the readers below.
    pub fn read<T>(
        &self,
        key: &str,
        report: &mut Report<'_>,
        reader: impl FnOnce(&'n Node, &str, &mut Report<'_>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|node| reader(node, key, report))
    }
}

/// A map with these keys only, each once.
pub fn fields<'n>(
    node: &'n Node,
    what: &str,
    known: &'static [&'static str],
    report: &mut Report<'_>,
) -> Option<Fields<'n>> {
    let fields = Fields { at: node.start, entries: entries(node, what, report)?, known };
    for entry in fields.unknown() {
        // `tool:x` is one word to YAML.
        if let Some((key, rest)) = entry.key.split_once(':')
            && known.contains(&key)
        {
            let (what, rest) = match rest.trim() {
                "" => ("has a colon too many", "…".to_owned()),
                rest => ("lacks a space after the colon", short(rest)),
            };
            report.error(entry.at, format!("`{}` {what}", short(&entry.key)), format!("`{key}: {rest}`"));
            continue;
        }
        // A key that is there already was not meant once more.
        let free = fields.known().filter(|known| fields.get(known).is_none());
        let near = nearest(&entry.key, free).or_else(|| nearest(&entry.key, fields.known()));
        let hint = near.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        report.error(
            entry.at,
            format!("unknown key `{}`{hint}", short(&entry.key)),
            format!("one of {}", known.join(", ")),
        );
    }
    Some(fields)
}

/// A key without what was taken into it because no space follows its colon.
fn written_key(key: &str) -> &str {
    key.split_once(':').map_or(key, |(key, _)| key)
}

/// The entries of a map whose keys are names, each once.
pub fn entries<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> Option<&'n [Entry]> {
    let Kind::Map(entries) = &node.kind else {
        match node.as_text().and_then(|text| text.split_once(':')) {
            Some((key, rest)) if !key.is_empty() && !rest.starts_with(['/', ' ']) && !key.contains(' ') => {
                let written = node.as_text().map(short).unwrap_or_default();
                let expected = format!("`{key}: {}`", short(rest));
                report.error(node.start, format!("`{written}` lacks a space after the colon"), expected);
            }
            Some(_) | None => mismatch(node, what, "a map: keys and values, like `key: value`", report),
        }
        return None;
    };
    let mut seen = BTreeSet::new();
    for entry in entries {
        if !seen.insert(entry.key.as_str()) {
            report.error(entry.at, format!("duplicate key `{}`", short(&entry.key)), "each key once");
        }
    }
    Some(entries)
}

/// The entries of a section that may be left empty.
pub fn section<'n>(fields: &Fields<'n>, key: &str, report: &mut Report<'_>) -> &'n [Entry] {
    match fields.get(key) {
        None | Some(Node { kind: Kind::Null, .. }) => &[],
        Some(node) => entries(node, key, report).unwrap_or(&[]),
    }
}

/// A list.
pub fn list<'n>(node: &'n Node, key: &str, report: &mut Report<'_>) -> Option<&'n [Node]> {
    match &node.kind {
        Kind::List(items) => Some(items),
        Kind::Map(_) => {
            mismatch(node, key, "a list: `- ` before each entry, or `[…]` around them", report);
            None
        }
        Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {
            let written = node.as_text().map_or("…".to_owned(), short);
            let words = written.trim_start_matches('-');
            if words.contains(char::is_whitespace) {
                mismatch(node, key, "a list: `- ` before each entry, or `[…]` around them", report);
            } else if words.len() < written.len() {
                report.error(
                    node.start,
                    format!("`{written}` lacks a space after the `-`"),
                    format!("`- {words}`"),
                );
            } else {
                mismatch(node, key, &format!("a list, like `[\"{written}\"]`"), report);
            }
            None
        }
        Kind::Null => {
            mismatch(node, key, "a list", report);
            None
        }
    }
}

/// A list whose elements are read one by one; those that are wrong are left out.
pub fn list_of<'n, T>(
    node: &'n Node,
    key: &str,
    report: &mut Report<'_>,
    mut reader: impl FnMut(&'n Node, &str, &mut Report<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let items = list(node, key, report)?;
    Some(items.iter().filter_map(|item| reader(item, key, report)).collect())
}

/// A list of texts, each once.
pub fn texts(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Vec<Arc<str>>> {
    let mut seen = BTreeSet::new();
    list_of(node, key, report, |item, key, report| {
        let read = text(item, key, report)?;
        if !seen.insert(read.clone()) {
            report.error(item.start, format!("`{}` stands twice in `{key}`", short(&read)), "each once");
            return None;
        }
        Some(read)
    })
}

/// A text that is not empty. A number written without quotes is taken as its text.
pub fn text(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Arc<str>> {
    match node.as_text() {
        Some(text) if text.chars().count() > 4096 => {
            report.error(node.start, format!("`{key}` is too long"), "at most 4096 characters");
            None
        }
        Some(text) if text.trim().is_empty() => {
            report.error(node.start, format!("`{key}` is empty"), "a text");
            None
        }
        Some(text) => Some(Arc::from(text)),
        None => {
            mismatch(node, key, "a text", report);
            None
        }
    }
}

/// A name: a text of at most 128 characters without spaces and control characters.
pub fn name(text: &str, at: usize, report: &mut Report<'_>) -> Option<Arc<str>> {
    let good = !text.is_empty()
        && text.chars().count() <= 128
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "“”„‘’‚«»".contains(c));
    if good {
        return Some(Arc::from(text));
    }
    report.error(
        at,
        format!("`{}` is not a name", short(text)),
        "1 to 128 characters, no spaces, no control characters, no typographic quotes",
    );
    None
}

/// `true` or `false`.
pub fn boolean(node: &Node, key: &str, report: &mut Report<'_>) -> Option<bool> {
    match &node.kind {
        Kind::Bool(value) => Some(*value),
        Kind::Text(text) => {
            let meant = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" | "enabled" => "`true`, without quotes",
                "no" | "off" | "n" | "false" | "disabled" => "`false`, without quotes",
                _ => "true or false",
            };
            mismatch(node, key, meant, report);
            None
        }
        Kind::Null | Kind::Number(_) | Kind::List(_) | Kind::Map(_) => {
            mismatch(node, key, "true or false", report);
            None
        }
    }
}

/// A whole number within bounds.
pub fn count(min: u64, max: u64) -> impl Fn(&Node, &str, &mut Report<'_>) -> Option<u64> + Copy {
    move |node, key, report| {
        let expected = match (min, max) {
            (0, u64::MAX) => "a whole number".to_owned(),
            (min, u64::MAX) => format!("a whole number of at least {min}"),
            (min, max) => format!("a whole number from {min} to {max}"),
        };
        let read = match &node.kind {
            Kind::Number(text) => text.replace('_', "").parse::<u64>().ok(),
            Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
        };
        match read {
            Some(value) if (min..=max).contains(&value) => Some(value),
            Some(_) | None => {
                mismatch(node, key, &unquoted(node, &expected), report);
                None
            }
        }
    }
}

/// An amount of USD, exact, not negative.
pub fn money(node: &Node, key: &str, report: &mut Report<'_>) -> Option<MicroUsd> {
    let amount = match &node.kind {
        Kind::Number(text) => MicroUsd::parse(text).ok().filter(|amount| *amount >= MicroUsd::ZERO),
        Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
    };
    if amount.is_none() {
        let expected = "an amount in USD: a number, not negative, with at most six decimals, like 0.25";
        mismatch(node, key, &unquoted(node, expected), report);
    }
    amount
}

/// A glob.
pub fn glob(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Glob> {
    let Some(text) = node.as_text() else {
        let several = matches!(node.kind, Kind::List(_));
        let expected = if several { "one glob; for several, an entry for each" } else { "a glob" };
        mismatch(node, key, expected, report);
        return None;
    };
    glob_text(text, node.start, report)
}

/// A glob from a text, which may be a key.
pub fn glob_text(text: &str, at: usize, report: &mut Report<'_>) -> Option<Glob> {
    // What other globs know would stand for itself here and match nothing: a rule that never applies is a hole. Actions may
    // hold URIs.
    let foreign = !text.contains("://") && text.contains(['?', '[', ']', '{', '}']);
    let glob = Glob::parse(text).ok().filter(|_| !foreign);
    if glob.is_none() {
        not_a_glob(text, at, report);
    }
    glob
}

/// A pattern over URIs.
pub fn uri_pattern(node: &Node, key: &str, report: &mut Report<'_>) -> Option<UriPattern> {
    let Some(text) = node.as_text() else {
        mismatch(node, key, "a glob", report);
        return None;
    };
    match UriPattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(UriPatternError::NotGlob) => {
            not_a_glob(text, node.start, report);
            None
        }
        Err(UriPatternError::NoUri) => {
            report.error(
                node.start,
                format!("`{}` can match no URI", short(text)),
                "URIs as they are compared: scheme and host in lower case, without `.`, `..`, an empty segment, an encoded \
                 separator and a slash at its end",
            );
            None
        }
    }
}

fn not_a_glob(text: &str, at: usize, report: &mut Report<'_>) {
    report.error(
        at,
        format!("`{}` is not a glob", short(text)),
        "1 to 512 characters in which `*` (all but `/`) and `**` (anything) are the only wildcards",
    );
}

/// A JSON pointer, or the bare name of a member. No `*`, unless it only selects.
pub fn pointer(text: &str, at: usize, selects: bool, report: &mut Report<'_>) -> Option<Pointer> {
    pointer_like(text, (at, selects), " or a member's name", report)
}

/// A JSON pointer where a bare name is none. No `*`.
pub fn whole_pointer(text: &str, at: usize, report: &mut Report<'_>) -> Option<Pointer> {
    pointer_like(text, (at, false), "", report)
}

fn pointer_like(
    text: &str,
    (at, selects): (usize, bool),
    or: &str,
    report: &mut Report<'_>,
) -> Option<Pointer> {
    // A bare name with a `/` is a pointer that lacks its first one: taken for a name it would protect nothing.
    let read = Pointer::parse_or_name(text).ok().filter(|_| text.starts_with('/') || !text.contains('/'));
    let wild = |p: &Pointer| p.tokens().iter().any(|t| t == "*");
    match read {
        Some(pointer) if !pointer.tokens().is_empty() && (selects || !wild(&pointer)) => Some(pointer),
        Some(_) | None => {
            let expected = format!("a JSON pointer like /path/0 (~0 for ~, ~1 for /){or}");
            let no_star = if selects { "" } else { ", without `*`" };
            report.error(
                at,
                format!("`{}` is not a pointer into the arguments", short(text)),
                format!("{expected}{no_star}"),
            );
            None
        }
    }
}

/// A list of pointers that select.
pub fn pointers(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Vec<Pointer>> {
    list_of(node, key, report, |item, key, report| {
        let Some(text) = item.as_text() else {
            mismatch(item, key, "a JSON pointer", report);
            return None;
        };
        pointer(text, item.start, true, report)
    })
}

/// One of a closed set of words.
pub fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Node, &str, &mut Report<'_>) -> Option<T> + Copy {
    move |node, key, report| {
        let found = node.as_text().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let near = node.as_text().map(|text| did_you_mean(text, all.iter().copied()));
            unfit(node, key, &near.unwrap_or_default(), &format!("one of {}", all.join(", ")), report);
        }
        found.map(|(_, value)| *value)
    }
}

/// `sha256:` and the hex digest of an API key. What stands there is never shown: it may be the key itself.
pub fn key_digest(node: &Node, key: &str, report: &mut Report<'_>) -> Option<[u8; 32]> {
    let mut digest = [0u8; 32];
    let good = node
        .as_text()
        .and_then(|text| text.strip_prefix("sha256:").or((key == "sha256").then_some(text)))
        .is_some_and(|digits| hex::decode_to_slice(digits, &mut digest).is_ok());
    if good {
        return Some(digest);
    }
    report.error(
        node.start,
        format!("an entry of `{key}` is no digest (not shown: it may be the key itself)"),
        "sha256: and the 64 hex digits of the key's SHA-256",
    );
    None
}

/// A moment, or a date: its beginning in UTC.
pub fn moment(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Timestamp> {
    let read = node.as_text().and_then(|text| {
        let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
        text.parse().ok().or_else(day)
    });
    if read.is_none() {
        mismatch(
            node,
            key,
            "a date like 2027-01-31 (from its beginning on, in UTC), or a time like 2027-01-31T12:00:00Z",
            report,
        );
    }
    read
}

/// A JSON number as written.
pub fn number(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Number> {
    let read = match &node.kind {
        Kind::Number(text) => json_number(text),
        Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
    };
    if read.is_none() {
        mismatch(node, key, "a number", report);
    }
    read
}

/// Any JSON value.
pub fn json(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Value> {
    match &node.kind {
        Kind::Null => Some(Value::Null),
        Kind::Bool(value) => Some(Value::Bool(*value)),
        Kind::Text(text) => Some(Value::String(text.clone())),
        Kind::Number(_) => number(node, key, report).map(Value::Number),
        Kind::List(items) => {
            let values: Vec<_> = items.iter().map(|item| json(item, key, report)).collect();
            values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Kind::Map(_) => {
            let mut map = Map::new();
            for entry in entries(node, key, report)? {
                map.insert(entry.key.clone(), json(&entry.value, key, report)?);
            }
            Some(Value::Object(map))
        }
    }
}

/// YAML and TOML write some numbers in ways that JSON does not.
fn json_number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    if let Ok(number) = plain.parse::<Number>() {
        return Some(number);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = plain.strip_prefix(prefix) {
            return u64::from_str_radix(digits, radix).ok().map(Number::from);
        }
    }
    let (sign, unsigned) = match plain.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", plain),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => unsigned.split_at_checked(at)?,
        None => (unsigned, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
    format!("{sign}{whole}{fraction}{exponent}").parse::<Number>().ok()
}
