//! Percent-encoding: what is decoded, what stays encoded, and how often a text is encoded.

use super::Why;
use percent_encoding::percent_decode_str;

/// A text that is still encoded after so many rounds of decoding is refused.
pub(super) const MOST_ROUNDS: usize = 8;

/// The part of a URI that a character stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Authority,
    Path,
    /// Query or fragment.
    Tail,
}

impl Part {
    /// Whether the canonical form has this byte as it is.
    fn plain(self, byte: u8) -> bool {
        let everywhere = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
        everywhere
            || match self {
                Self::Authority => false,
                Self::Path => b":@/".contains(&byte),
                Self::Tail => b":@/?".contains(&byte),
            }
    }

    /// Whether an escape of this byte means the same as the byte. In a query `%26` is no `&`.
    fn decodes(self, byte: u8) -> bool {
        self.plain(byte) && !(self == Self::Tail && b"&=+;".contains(&byte))
    }
}

/// Appends one byte, encoded where the part needs it.
fn push(out: &mut String, part: Part, byte: u8) {
    if part.plain(byte) {
        out.push(char::from(byte));
    } else {
        push_escape(out, byte);
    }
}

fn push_escape(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
    }
}

/// A decoded text in its canonical encoding.
pub(super) fn encode(out: &mut String, part: Part, decoded: &str) {
    for byte in decoded.bytes() {
        push(out, part, byte);
    }
}

/// The byte whose escape the text begins with.
fn escape(text: &[u8]) -> Option<u8> {
    let hex = |at: usize| char::from(*text.get(at)?).to_digit(16);
    match text.first() {
        Some(b'%') => u8::try_from(hex(1)? * 16 + hex(2)?).ok(),
        Some(_) | None => None,
    }
}

fn escapes(text: &str) -> impl Iterator<Item = Option<u8>> {
    let bytes = text.as_bytes();
    let percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    percents.map(|(at, _)| bytes.get(at..).and_then(escape))
}

/// Decodes until nothing changes; also how many rounds that took. A `%` that begins no escape in the text as it was
/// written is an error: parsers disagree about it.
pub(super) fn decode(text: &str) -> Result<(String, usize), Why> {
    if escapes(text).any(|escape| escape.is_none()) {
        return Err(Why::Percent);
    }
    let mut decoded = text.to_owned();
    let mut rounds = 0;
    while escapes(&decoded).any(|escape| escape.is_some()) {
        if rounds == MOST_ROUNDS {
            return Err(Why::ManyTimes);
        }
        rounds += 1;
        decoded = match once(&decoded) {
            Ok(next) => next,
            Err(why) if rounds == 1 => return Err(why),
            // Only who decodes twice meets this, and nobody knows what they make of it.
            Err(_) => break,
        };
    }
    if decoded.chars().any(char::is_control) {
        return Err(Why::Control);
    }
    Ok((decoded, rounds))
}

/// One round of decoding; a `%` that begins no escape stays.
pub(super) fn once(text: &str) -> Result<String, Why> {
    percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| Why::NotUtf8)
}

/// A query or a fragment in its canonical encoding, and whether who decodes it twice reads something else in it.
pub(super) fn tail(text: &str) -> Result<(String, bool), Why> {
    // Lines of text are data, where they are encoded.
    if once(text)?.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        return Err(Why::Control);
    }
    let out = respell(text, Part::Tail, "").ok_or(Why::Percent)?;
    let twice = out.match_indices("%25").any(|(at, _)| {
        let digits = out.as_bytes().get(at + 3..at + 5).unwrap_or_default();
        escape(&[b"%", digits].concat()).is_some_and(means_something)
    });
    Ok((out, twice))
}

/// Whether a byte has a meaning to whoever takes a query apart, or is spelled plainly everywhere.
fn means_something(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~/\\?#&=;+%".contains(&byte)
}

/// The canonical spelling of one part, decoded once; `also` stands for itself too. `None` where it has a malformed
/// escape, or in a path that of a separator.
pub(super) fn respell(text: &str, part: Part, also: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            if also.as_bytes().contains(byte) {
                out.push(char::from(*byte));
            } else {
                push(&mut out, part, *byte);
            }
            continue;
        }
        let escaped = escape(&[b"%", after.get(..2)?].concat())?;
        rest = after.get(2..)?;
        if part == Part::Path && b"/\\".contains(&escaped) {
            return None;
        }
        if part.decodes(escaped) { out.push(char::from(escaped)) } else { push_escape(&mut out, escaped) }
    }
    Some(out)
}

/// Whether a text, however it is encoded, has a `..` between separators: whoever takes it for a path climbs by it.
pub(super) fn climbs(text: &str) -> Result<bool, Why> {
    let mut decoded = text.to_owned();
    for _ in 0..=MOST_ROUNDS {
        if decoded.split(['/', '\\', '?', '#', '&', '=', ';']).any(|part| part == "..") {
            return Ok(true);
        }
        let Ok(next) = once(&decoded) else { return Ok(false) };
        if next == decoded {
            return Ok(false);
        }
        decoded = next;
    }
    Err(Why::ManyTimes)
}
