//! JSON from outside is read strictly (no duplicate keys, bounded depth) and written canonically
//! (RFC 8785) where it is hashed.

use super::text;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{borrow::Cow, collections::HashSet, fmt};

/// The deepest nesting that is read; a document below it costs bounded stack.
pub const MAX_DEPTH: usize = 96;

/// The deepest that is read of our own: below serde_json's limit, whose error is one of syntax.
const DEEPEST: usize = 120;

/// The key under which serde_json hands over a number with all its digits.
const NUMBER_TOKEN: &str = "$serde_json::private::Number";
/// The key under which serde_json's own reader takes a text for JSON. A member of that name would be read back as
/// something else than what was read first.
const RAW_TOKEN: &str = "$serde_json::private::RawValue";

/// Reads one JSON document. Duplicate keys at any level, more than [`MAX_DEPTH`] levels, names that stand for something
/// else to the JSON library, and anything after the document are errors that name line and column.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    read(bytes, WHOLE)
}

/// A document without the byte order mark that some programs write in front of it.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The document as a JavaScript program reads it: half a surrogate pair and bytes that are not UTF-8 become U+FFFD.
/// None where there is neither, so that a document that cannot be read stays the one that cannot be read.
pub fn as_javascript(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = Vec::with_capacity(text.len());
    let mut changed = matches!(text, Cow::Owned(_));
    let mut rest = text.as_bytes();
    // Outside of a string a backslash is an error in any case.
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at_checked(at)?;
        out.extend_from_slice(before);
        let (kept, length) = match (code_unit(escape), escape.get(6..).and_then(code_unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (escape.get(..12), 12),
            (Some(0xd800..=0xdfff), _) => (None, 6),
            (Some(_), _) => (escape.get(..6), 6),
            // Another escape, or none: two bytes, so that an escaped backslash begins nothing.
            (None, _) => (Some(escape.get(..2).unwrap_or(escape)), 2),
        };
        changed |= kept.is_none();
        out.extend_from_slice(kept.unwrap_or(br"\ufffd"));
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    changed.then_some(out)
}

/// The UTF-16 code unit that an escape at the beginning of these bytes names.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    let hex = digits.iter().all(u8::is_ascii_hexdigit);
    hex.then(|| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

/// Reads JSON that one of Tollgate's own records, or a text, holds: duplicate keys are errors, and of the names that
/// stand for something else only that of numbers is one. What was read within [`MAX_DEPTH`] and recorded a little deeper
/// is read. An error of the category `Data` means that it is JSON which can be read in more ways than one.
pub fn parse_inner(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    read(bytes, Strict { depth: 0, most: DEEPEST, duplicates: false, tokens: true })
}

fn read(bytes: &[u8], rules: Strict) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = rules.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A member of one of Tollgate's own records: to be read back as it was written, whatever its names.
pub fn recorded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Strict { depth: 0, most: usize::MAX, duplicates: true, tokens: true }.deserialize(deserializer)
}

/// The same where there may be none.
pub fn recorded_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    recorded(deserializer).map(|value| Some(value).filter(|value| !value.is_null()))
}

/// A member of an upstream's message. The last of equal names counts, as with most readers; the depth is serde_json's
/// own limit.
pub fn foreign<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Strict { depth: 0, most: usize::MAX, duplicates: true, tokens: false }.deserialize(deserializer)
}

/// The root of a document whose members are known by name.
#[derive(Debug)]
pub enum Root<const N: usize> {
    /// An object's members, in the order in which they were asked for.
    Object([Option<Value>; N]),
    /// What is no object.
    Other(Value),
}

/// Reads one JSON document as [`parse`] does. Of an object the named members are kept, and all others are read, held
/// to the same rules, and forgotten.
pub fn parse_members<const N: usize>(bytes: &[u8], names: &[&str; N]) -> Result<Root<N>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let root = Members(names).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(root)
}

struct Members<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Members<'_, N> {
    type Value = Root<N>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = Root<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        WHOLE.visit_unit().map(Root::Other)
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        WHOLE.visit_bool(value).map(Root::Other)
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        WHOLE.visit_i64(value).map(Root::Other)
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        WHOLE.visit_u64(value).map(Root::Other)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        WHOLE.visit_f64(value).map(Root::Other)
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        WHOLE.visit_str(value).map(Root::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        WHOLE.visit_seq(seq).map(Root::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let inner = Strict { depth: 1, ..WHOLE };
        let mut members = [const { None }; N];
        let mut others = HashSet::new();
        while let Some(key) = access.next_key_seed(Key)? {
            if key == NUMBER_TOKEN {
                return number(access).map(Root::Other);
            }
            if key == RAW_TOKEN {
                return Err(reserved());
            }
            let place = self.0.iter().position(|name| key == *name);
            let value = access.next_value_seed(inner)?;
            let again = match place.and_then(|place| members.get_mut(place)) {
                Some(member) => member.replace(value).is_some(),
                None => !others.insert(key.clone()),
            };
            if again {
                return Err(duplicate(&key));
            }
        }
        Ok(Root::Object(members))
    }
}

/// What serde_json hands over as an object with one member.
fn number<'de, A: MapAccess<'de>>(mut access: A) -> Result<Value, A::Error> {
    let digits = access.next_value_seed(Digits)?;
    digits.parse().map(Value::Number).map_err(|_| A::Error::custom("not a number"))
}

/// The digits of a number come as a string of their own, those of an object that only looks like one do not.
struct Digits;

impl<'de> DeserializeSeed<'de> for Digits {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_string(self)
    }
}

impl Visitor<'_> for Digits {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no member name that begins with `$serde_json::private::`: those are reserved")
    }
    fn visit_string<E>(self, digits: String) -> Result<String, E> {
        Ok(digits)
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<String, E> {
        Err(reserved())
    }
}

fn reserved<E: serde::de::Error>() -> E {
    E::custom("member names that begin with `$serde_json::private::` are reserved")
}

fn duplicate<E: serde::de::Error>(key: &str) -> E {
    let name: String = key.chars().take(64).collect();
    E::custom(format_args!("duplicate key `{name}`"))
}

/// A whole document.
const WHOLE: Strict = Strict { depth: 0, most: MAX_DEPTH, duplicates: false, tokens: false };

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
    most: usize,
    /// The last of equal names counts.
    duplicates: bool,
    /// Names that stand for something to serde_json are names like others.
    tokens: bool,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper().map_err(A::Error::custom)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper().map_err(A::Error::custom)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Key)? {
            if key == NUMBER_TOKEN {
                return number(access);
            }
            if key == RAW_TOKEN && !self.tokens {
                return Err(reserved());
            }
            let value = access.next_value_seed(inner)?;
            match map.entry(key.into_owned()) {
                serde_json::map::Entry::Vacant(slot) => {
                    slot.insert(value);
                }
                serde_json::map::Entry::Occupied(mut slot) if self.duplicates => {
                    slot.insert(value);
                }
                serde_json::map::Entry::Occupied(slot) => {
                    return Err(duplicate(slot.key()));
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// A member's name, borrowed where it stands there as it is.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
    fn visit_string<E>(self, name: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name))
    }
}

impl Strict {
    fn deeper(self) -> Result<Self, String> {
        if self.depth >= self.most {
            return Err(format!("nested deeper than {} levels", self.most));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// Writes the RFC 8785 form: members ordered by UTF-16 code units, shortest strings, numbers as
/// ECMAScript prints a double, except that a number a double cannot hold keeps its digits.
pub fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if is_plain(number.as_str()) => {
            out.extend_from_slice(number.as_str().as_bytes())
        }
        Value::Number(number) => out.extend_from_slice(canonical_number(number).as_bytes()),
        Value::String(text) => text::string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by(|(a, _), (b, _)| {
                if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
            });
            out.push(b'{');
            for (index, (key, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                text::string(out, key);
                out.push(b':');
                canonical(item, out);
            }
            out.push(b'}');
        }
    }
}

/// The significant decimal digits without leading or trailing zeros, and the exponent of the
/// first; equal for two texts exactly where they name the same number.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (negative, digits) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = [whole, fraction].concat();
    let leading = all.len() - all.trim_start_matches('0').len();
    let significant = all.trim_matches('0').to_owned();
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
    Some((negative, significant, point.checked_add(exponent)?))
}

/// One text for each number, whichever way JSON writes it; none of what is no number of JSON.
pub fn one_spelling(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-'));
    is_number.then(|| decimal(text)).flatten().map(|(negative, digits, exponent)| {
        format!("{}0.{digits}e{exponent}", if negative { "-" } else { "" })
    })
}

/// A whole number that every double holds, and that is written in one way only.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let negative_zero = digits == "0" && digits.len() != text.len();
    !negative_zero
        && digits.len() <= 15
        && (digits == "0" || !digits.starts_with('0'))
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn canonical_number(number: &Number) -> String {
    let text = number.to_string();
    let double: f64 = match text.parse() {
        Ok(double) if f64::is_finite(double) => double,
        Ok(_) | Err(_) => return exact_number(&text),
    };
    let printed = ecmascript_double(double);
    // A double holds the number where its shortest form names the same decimal.
    if decimal(&printed) == decimal(&text) { printed } else { exact_number(&text) }
}

/// One spelling for a number that a double cannot hold.
fn exact_number(text: &str) -> String {
    one_spelling(text).unwrap_or_else(|| text.to_owned())
}

/// `Number::toString` of ECMAScript for a finite double (RFC 8785 section 3.2.2.3).
fn ecmascript_double(double: f64) -> String {
    if double == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{double:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let point = exponent + 1;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    if count <= point && point <= 21 {
        format!("{sign}{digits}{}", zeros(point - count))
    } else if 0 < point && point <= 21 {
        let split = usize::try_from(point).unwrap_or(0);
        let (whole, fraction) = digits.split_at_checked(split).unwrap_or((&digits, ""));
        format!("{sign}{whole}.{fraction}")
    } else if -6 < point && point <= 0 {
        format!("{sign}0.{}{digits}", zeros(-point))
    } else {
        let exponent = point - 1;
        let exponent_sign = if exponent < 0 { "-" } else { "+" };
        let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{dot}{rest}e{exponent_sign}{}", exponent.unsigned_abs())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
