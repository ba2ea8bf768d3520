//! Names and values in text: `password: x`, `API_KEY=x`, `"token": "x"`, `--secret x`, `<pin>x</pin>`.
//! The names are those of fields; what stands for nothing (`null`, `${VAR}`, a type in program code) is no value.

use super::{
    code::{holds, is_code, is_prose, is_typed, plain_path, stands_for_nothing},
    credentials::{find, user_flag},
    detector::{Kind, Span},
    field::numbers_count,
    scan::{MAX_BRACKET, Scanner},
};

/// What a name may be made of in text.
fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The same with the letters of European languages.
fn in_word(c: &char) -> bool {
    u8::try_from(*c).is_ok_and(|b| b.is_ascii() && in_name(b)) || ('\u{c0}'..='\u{24f}').contains(c)
}

/// How far a tag is read for what its value is called.
const MAX_TAG: usize = 256;

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
            let start = name_start(text, at);
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
            Some(byte) if in_name(byte) || byte >= 0x80 => match self.name_before(text, end) {
                Some(kind) => (kind, false),
                None => return if sign == b'=' { self.attribute(text, end, at) } else { None },
            },
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
        let mut start = name_start(text, end);
        if let Some(kind) = text.get(start..end).and_then(|name| self.field(name)) {
            return Some(kind);
        }
        for _ in 0..2 {
            let space = start.checked_sub(1).filter(|at| bytes.get(*at) == Some(&b' '))?;
            let earlier = name_start(text, space);
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
        let name = text.get(at + 2..end)?;
        if matches!(name, "user" | "proxy-user") {
            return user_flag(text, at, end);
        }
        let kind = self.field(name)?;
        self.assigned(text, end + 1, kind, Manner { quoted: false, loose: false })
    }

    /// `put("password", "x")`, at the bracket: the first of two arguments names the second.
    pub(super) fn argument(&self, text: &str, open: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        let quote = *bytes.get(open + 1)?;
        let name = open + 2;
        let length = bytes.get(name..)?.iter().take(MAX_NAME).position(|b| *b == quote)?;
        let comma = name + length + 1;
        if bytes.get(comma) != Some(&b',') {
            return None;
        }
        let kind = self.field(text.get(name..name + length)?)?;
        let blanks = bytes.get(comma + 1..)?.iter().take(8).take_while(|b| b.is_ascii_whitespace()).count();
        let from = comma + 1 + blanks;
        let quote = bytes.get(from).copied().filter(|b| matches!(b, b'"' | b'\''))?;
        self.value(text, from + 1, closing(bytes, from + 1, quote, false), kind)
    }

    /// `<input name="password" value="x">`: what the tag says of its value, before it or behind it.
    fn attribute(&self, text: &str, end: usize, at: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        let name = bytes.get(end.saturating_sub(8)..end)?;
        let quote = bytes.get(at + 1).copied().filter(|b| matches!(b, b'"' | b'\''))?;
        if !(name.ends_with(b" value") || name.ends_with(b" content")) {
            return None;
        }
        let stop = closing(bytes, at + 2, quote, false);
        let from = text.floor_char_boundary(end.saturating_sub(MAX_TAG));
        let open = text.get(from..end)?.rfind(['<', '>']).map(|open| from + open)?;
        let after =
            text.get(stop..text.floor_char_boundary(stop.saturating_add(MAX_TAG).min(bytes.len())))?;
        let after = after.split('>').next().unwrap_or_default();
        let attributes =
            text.get(open..end)?.strip_prefix('<')?.split_whitespace().chain(after.split_whitespace());
        let kind = attributes.filter_map(|one| one.split_once('=')).find_map(|(name, value)| {
            let value = value.trim_matches(['"', '\'', '/']);
            match name {
                "type" if value.eq_ignore_ascii_case("password") => Some(Kind::FIELD_PASSWORD),
                "name" | "id" | "property" | "itemprop" => self.field(value),
                _ => None,
            }
        })?;
        self.value(text, at + 2, stop, kind)
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
        if kind == Kind::FIELD_PHONE {
            let in_phone =
                |b: &&u8| b.is_ascii_digit() || matches!(b, b'+' | b' ' | b'-' | b'.' | b'/' | b'(' | b')');
            let number = rest.iter().take(32).take_while(in_phone).count();
            let blanks = rest.get(..number)?.iter().rev().take_while(|b| !b.is_ascii_digit()).count();
            return self.value(text, from, from + number - blanks, kind);
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
        let is_name = |name: &str| self.fields.kind(name).is_some();
        let after = rest.get(length..).unwrap_or_default();
        let nothing = length < 3
            || is_code(value, kind, manner.loose, &is_name)
            || stands_for_nothing(value)
            || (whole_line && is_typed(value))
            || (manner.loose && is_prose(value, after))
            || (value.starts_with(b"/") && plain_path(value));
        (!nothing).then(|| self.value(text, from, from + length, kind))?
    }

    /// A value to be masked, unless it is empty, masked already, or a number that says nothing.
    fn value(&self, text: &str, start: usize, end: usize, kind: Kind) -> Option<Span> {
        let value = text.get(text.floor_char_boundary(start)..text.ceil_char_boundary(end))?;
        let number = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let empty = value.trim().is_empty()
            || self.is_mask(value)
            || !holds(kind, value)
            || (number && !numbers_count(kind));
        (!empty).then_some(Span { start, end, kind })
    }
}

fn name_start(text: &str, end: usize) -> usize {
    let name = text.get(..end).unwrap_or_default().chars().rev();
    end - name.take(MAX_NAME).take_while(in_word).map(char::len_utf8).sum::<usize>()
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
