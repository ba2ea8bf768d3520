//! JSON text written straight from values, for what is written with every call: the same text that serde_json makes.

use super::MicroUsd;
use serde_json::Value;
use std::io::Write as _;

/// A text that needs no escape is copied as it is.
pub fn string(out: &mut Vec<u8>, text: &str) {
    let special =
        text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if special {
        escaped(out, text);
    } else {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// A string with its escapes.
fn escaped(out: &mut Vec<u8>, text: &str) {
    // serde_json escapes exactly what RFC 8785 asks for: quotes, backslash and C0 controls.
    if serde_json::to_writer(&mut *out, text).is_err() {
        out.extend_from_slice(b"\"\"");
    }
}

/// What was written here, which is text.
pub fn finished(out: Vec<u8>) -> Box<str> {
    String::from_utf8(out).unwrap_or_default().into()
}

/// A whole number.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    let magnitude = number.unsigned_abs();
    if number < 0 {
        out.push(b'-');
    }
    natural(out, magnitude);
}

/// A whole number that is not negative.
pub fn natural(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let mut left = number;
    let mut start = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        start = place;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// An amount, with up to six decimals.
pub fn money(out: &mut Vec<u8>, amount: MicroUsd) {
    let magnitude = amount.0.unsigned_abs();
    if amount.0 < 0 {
        out.push(b'-');
    }
    natural(out, magnitude / 1_000_000);
    let mut fraction = magnitude % 1_000_000;
    if fraction == 0 {
        return;
    }
    out.push(b'.');
    let mut place = 100_000;
    while fraction > 0 {
        out.push(b'0' + (fraction / place) as u8);
        fraction %= place;
        place /= 10;
    }
}

/// Any JSON value.
pub fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(flag) => boolean(out, *flag),
        // With all its digits, as it was read.
        Value::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::value(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(out, key);
                out.push(b':');
                self::value(out, item);
            }
            out.push(b'}');
        }
    }
}

/// A list of texts.
pub fn strings(out: &mut Vec<u8>, texts: &[impl AsRef<str>]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, text.as_ref());
    }
    out.push(b']');
}

/// What shows itself as text that needs no escape.
pub fn shown(out: &mut Vec<u8>, shown: &dyn std::fmt::Display) {
    out.push(b'"');
    // Writing into memory cannot fail.
    write!(out, "{shown}").ok();
    out.push(b'"');
}

/// Any JSON value, as a text of its own.
pub fn of(value: &Value) -> String {
    let mut out = Vec::with_capacity(256);
    self::value(&mut out, value);
    // Everything in it came from text.
    String::from_utf8(out).unwrap_or_default()
}

/// `true` or `false`
pub fn boolean(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

/// An object being written; [`Object::end`] closes it.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Opens it.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// The place of a member's value. The key is ours and needs no escape.
    pub fn member(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A text, or null.
    pub fn text(&mut self, key: &'static str, text: Option<&str>) {
        let out = self.member(key);
        match text {
            Some(text) => string(out, text),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// What writes itself as text that needs no escape.
    pub fn shown(&mut self, key: &'static str, shown: Option<&dyn std::fmt::Display>) {
        let out = self.member(key);
        match shown {
            Some(shown) => self::shown(out, shown),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// An amount, or null.
    pub fn money(&mut self, key: &'static str, amount: Option<MicroUsd>) {
        let out = self.member(key);
        match amount {
            Some(amount) => money(out, amount),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// A whole number, or null.
    pub fn natural(&mut self, key: &'static str, number: Option<u64>) {
        let out = self.member(key);
        match number {
            Some(number) => natural(out, number),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// A list of texts.
    pub fn strings(&mut self, key: &'static str, texts: &[impl AsRef<str>]) {
        strings(self.member(key), texts);
    }

    /// A flag.
    pub fn flag(&mut self, key: &'static str, flag: bool) {
        boolean(self.member(key), flag);
    }

    /// Any value, or null.
    pub fn value(&mut self, key: &'static str, value: Option<&Value>) {
        let out = self.member(key);
        match value {
            Some(value) => self::value(out, value),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_serde_json_does() {
        for number in [0, 1, 9, 10, -1, 1_000_000, i64::MAX, i64::MIN] {
            assert_eq!(text(|out| integer(out, number)), number.to_string());
        }
        for amount in [0, 1, -1, 295, 1_000_000, 1_250_000, -100_000, 999_999, 10, i64::MAX, i64::MIN] {
            let amount = MicroUsd(amount);
            assert_eq!(text(|out| money(out, amount)), amount.to_string());
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(Value::Number)),
            ".{0,12}".prop_map(Value::from),
            "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,6}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_are_written_as_serde_json_does(given in values()) {
            prop_assert_eq!(text(|out| value(out, &given)), serde_json::to_string(&given).unwrap());
        }
    }
}
