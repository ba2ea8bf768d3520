//! Names and values in text: `password: x`, `API_KEY=x`, `"token": "x"`, `--secret x`, `<pin>x</pin>`.
//! The names are those of fields; what stands for nothing (`null`, `${VAR}`, a type in program code) is no value.

use super::{
    detector::{Kind, Span},
    field::numbers_count,
    scan::{MAX_BRACKET, Scanner, find},
};

/// What a name may be made of in text.
fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// A name is not longer.
const MAX_NAME: usize = 64;

/// How a name and a value were written.
#[derive(Clone, Copy)]
struct Manner {
    /// The name stood in quotes.
    quoted: bool,
    /// Spaces around the sign, or a colon: perhaps prose or program code.
    loose: bool,
}

impl Scanner {
    /// `name: value`, `name=value`, `"name": "value"`, `<name>value<`, at its sign.
    pub(super) fn assignment(&self, text: &str, at: usize, sign: u8) -> Option<Span> {
        let bytes = text.as_bytes();
        let before = |at: usize| at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        if sign == b'>' {
            let start = name_start(bytes, at);
            if start == at || before(start) != Some(b'<') {
                return None;
            }
            let kind = self.field(text.get(start..at)?)?;
            let end = at + 1 + bytes.get(at + 1..)?.iter().position(|b| *b == b'<')?;
            return self.value(text, at + 1, end, kind);
        }
        let mut end = at;
        while end > at.saturating_sub(4) && matches!(before(end), Some(b' ' | b'\t')) {
            end -= 1;
        }
        let spaced = end < at;
        if before(end) == Some(b']') {
            end -= 1;
        }
        let (kind, quoted) = match before(end) {
            Some(quote @ (b'"' | b'\'')) => {
                let close = end - 1 - usize::from(before(end - 1) == Some(b'\\'));
                let inside = bytes.get(close.saturating_sub(MAX_NAME)..close)?;
                let length = inside.iter().rev().take_while(|b| **b != quote && **b != b'\n').count();
                (self.field(text.get(close - length..close)?)?, true)
            }
            Some(byte) if in_name(byte) => (self.name_before(text, end)?, false),
            Some(_) | None => return None,
        };
        let mut from = at + 1;
        while matches!(bytes.get(from), Some(b'=' | b'>')) && from < at + 3 {
            from += 1;
        }
        let gap = bytes.get(from..)?.iter().take(8).take_while(|b| matches!(b, b' ' | b'\t')).count();
        let manner = Manner { quoted, loose: spaced || gap > 0 || sign == b':' };
        self.assigned(text, from + gap, kind, manner)
    }

    /// What the name that ends here says; prose names things in up to three words.
    fn name_before(&self, text: &str, end: usize) -> Option<Kind> {
        let bytes = text.as_bytes();
        let mut start = name_start(bytes, end);
        if let Some(kind) = text.get(start..end).and_then(|name| self.field(name)) {
            return Some(kind);
        }
        for _ in 0..2 {
            let space = start.checked_sub(1).filter(|at| bytes.get(*at) == Some(&b' '))?;
            let earlier = name_start(bytes, space);
            if earlier == space {
                return None;
            }
            start = earlier;
            let kind = text.get(start..end).and_then(|name| self.fields.kind_at_end(name));
            if kind.is_some_and(|kind| self.on(kind)) {
                return kind;
            }
        }
        None
    }

    /// `--password value`
    pub(super) fn flag(&self, text: &str, at: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        if at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(|b| in_name(*b)) {
            return None;
        }
        let rest = bytes.get(at + 2..)?;
        let length = rest.iter().take(MAX_NAME).take_while(|b| in_name(**b)).count();
        let end = at + 2 + length;
        if bytes.get(end) != Some(&b' ') || matches!(bytes.get(end + 1), None | Some(b'-' | b' ')) {
            return None;
        }
        let kind = self.field(text.get(at + 2..end)?)?;
        self.assigned(text, end + 1, kind, Manner { quoted: false, loose: false })
    }

    /// The value that begins here.
    fn assigned(&self, text: &str, from: usize, kind: Kind, manner: Manner) -> Option<Span> {
        let bytes = text.as_bytes();
        let rest = bytes.get(from..)?;
        let escaped = usize::from(rest.first() == Some(&b'\\'));
        match rest.get(escaped).copied()? {
            quote @ (b'"' | b'\'' | b'`') => {
                let start = from + escaped + 1;
                let end = closing(bytes, start, quote, escaped == 1);
                return self.value(text, start, end, kind);
            }
            b'[' if self.mask_at(rest).is_some() => {}
            open @ (b'[' | b'{') if manner.quoted && escaped == 0 => {
                let end = from + bracket_end(rest, open)?;
                return (numbers_count(kind) || rest.get(..end - from)?.contains(&b'"')).then_some(Span {
                    start: from,
                    end,
                    kind,
                });
            }
            _ => {}
        }
        let whole_line = [Kind::FIELD_AUTHORIZATION, Kind::FIELD_COOKIE].contains(&kind);
        let mask = self.mask_at(rest).unwrap_or(0);
        let length = mask
            + rest
                .get(mask..)?
                .iter()
                .take_while(|b| match b {
                    b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'<' | b'>' => false,
                    b' ' | b'\t' | b',' | b';' | b'&' | b')' | b'}' | b']' | b'|' | b'\\' => whole_line,
                    _ => true,
                })
                .count();
        let value = rest.get(..length)?;
        let plain = value.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.'));
        let call = value.iter().position(|b| *b == b'(').is_some_and(|open| {
            open > 0
                && value
                    .iter()
                    .take(open)
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':'))
        });
        let code = manner.loose && (call || (plain && kind != Kind::FIELD_PASSWORD));
        if length < 3 || code || stands_for_nothing(value) || (value.starts_with(b"/") && plain_path(value)) {
            return None;
        }
        self.value(text, from, from + length, kind)
    }

    /// A value to be masked, unless it is empty, masked already, or a number that says nothing.
    fn value(&self, text: &str, start: usize, end: usize, kind: Kind) -> Option<Span> {
        let value = text.get(text.floor_char_boundary(start)..text.ceil_char_boundary(end))?;
        let number = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let empty = value.trim().is_empty()
            || self.is_mask(value)
            || is_placeholder(value)
            || (number && !numbers_count(kind));
        (!empty).then_some(Span { start, end, kind })
    }
}

/// What documentation and program code write where a value belongs: `YOUR_API_KEY`, `<token>`, `xxxx`,
/// `os.environ["KEY"]`, `${KEY}`.
pub(super) fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    let word = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b' ' | b'.');
    let starts = |word: &str| value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let blank = value.len() >= 3 && value.bytes().all(|b| matches!(b, b'x' | b'X' | b'*' | b'-' | b'.'));
    let named = value.bytes().all(word)
        && ["your_", "your-", "your ", "my_api_", "insert_", "insert-"].iter().any(|start| starts(start));
    let slot = value
        .strip_prefix('<')
        .and_then(|inside| inside.strip_suffix('>'))
        .is_some_and(|inside| !inside.is_empty() && inside.bytes().all(word));
    blank || named || slot || is_reference(value)
}

/// Whether a value only names where the value is read from. A secret may begin like a reference, so the rest must be a
/// name; a default behind the name (`${KEY:-secret}`) is a value.
fn is_reference(value: &str) -> bool {
    const READS: &[&str] = &[
        "os.environ.get(",
        "os.environ",
        "os.getenv(",
        "process.env.",
        "process.env[",
        "System.getenv(",
        "env::var(",
        "ENV[",
        "getenv(",
        "${",
        "{{",
        "$(",
        "$env:",
    ];
    let Some(rest) = READS.iter().find_map(|read| value.strip_prefix(read)) else { return false };
    // In a text the value ends before its closing bracket.
    let closed = rest.ends_with([')', ']', '}']);
    let name = rest
        .trim_start_matches(['[', '{', '(', '"', '\'', ' '])
        .trim_end_matches([')', ']', '}', '"', '\'', ' ']);
    let program = closed && value.starts_with("$(");
    let named = name.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'_' | b'.' | b':' | b'-')
            || (program && matches!(b, b' ' | b'/'))
    });
    let has = |kind: fn(&u8) -> bool| name.as_bytes().iter().any(kind);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase);
    named && !name.contains(":-") && (closed || !mixed)
}

fn name_start(bytes: &[u8], end: usize) -> usize {
    let name = bytes.get(end.saturating_sub(MAX_NAME)..end).unwrap_or_default();
    end - name.iter().rev().take_while(|b| in_name(**b)).count()
}

/// Where a quoted value ends; an open one ends with its line.
fn closing(bytes: &[u8], start: usize, quote: u8, escaped: bool) -> usize {
    let mut at = start;
    while let Some(byte) = bytes.get(at).copied() {
        match byte {
            b'\n' => return at,
            b'\\' if escaped && bytes.get(at + 1) == Some(&quote) => return at,
            b'\\' => at += 1,
            byte if byte == quote => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Where a bracket closes, within bounds. `None` for a JSON schema, which describes and does not hold.
fn bracket_end(rest: &[u8], open: u8) -> Option<usize> {
    let close = if open == b'[' { b']' } else { b'}' };
    let window = rest.get(..rest.len().min(MAX_BRACKET))?;
    let (mut depth, mut quoted, mut at, mut end) = (0_usize, false, 0, window.len());
    while let Some(byte) = window.get(at).copied() {
        match byte {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            byte if !quoted && byte == open => depth += 1,
            byte if !quoted && byte == close => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    end = at + 1;
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let inside = window.get(..end)?;
    (find(inside, b"\"type\"").is_none() && inside.len() > 2).then_some(end)
}

/// Words and signs that stand where a value would.
fn stands_for_nothing(value: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "true",
        "false",
        "null",
        "none",
        "nil",
        "undefined",
        "string",
        "str",
        "text",
        "bool",
        "boolean",
        "int",
        "integer",
        "number",
        "object",
        "array",
        "required",
        "optional",
        "yes",
        "the",
        "and",
        "string,",
        "any",
        "is",
    ];
    let same = value.windows(2).all(|pair| pair.first() == pair.last())
        && value.first().is_some_and(|b| !b.is_ascii_alphanumeric());
    let variable = value.strip_prefix(b"$").is_some_and(|name| {
        name.starts_with(b"{")
            || name.starts_with(b"(")
            || name.iter().all(|b| b.is_ascii_uppercase() || *b == b'_')
    });
    let slot = value.starts_with(b"{{");
    same || variable || slot || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// `PWD=/home/user`
fn plain_path(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_no_value_and_a_value_that_begins_like_one_is() {
        for reference in [
            "${DB_PASSWORD_2}",
            "${DB_PASSWORD",
            "${env:API_KEY}",
            "${input:api-key}",
            "{{ secrets.token2 }}",
            "${{ secrets.API_KEY }}",
            "${{",
            "$(cat /run/secrets/db2)",
            "$(cat",
            "$env:API_KEY",
            "os.environ[\"API_KEY\"]",
            "os.environ[",
            "os.environ.get('API_KEY')",
            "os.getenv(",
            "process.env.API_KEY",
        ] {
            assert!(is_placeholder(reference), "{reference}");
        }
        for value in [
            "${Tr0ub4dor&3",
            "$(Tr0ub4dor",
            "{{hunter2",
            "${KEY:-hunter2}",
            "${KEY} hunter2",
            "ENV[hunter2!",
            "os.environ or 'hunter2'",
        ] {
            assert!(!is_placeholder(value), "{value}");
        }
    }
}
