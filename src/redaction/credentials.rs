//! Credentials that a word before them gives away: `Bearer …`, `Basic …`, the frame of a private key, `.netrc`, and the
//! flags of programs (`curl -u user:password`).

use super::{
    code::{is_placeholder, stands_for_nothing},
    detector::{Kind, Span},
    shapes::Charset,
};
use base64::Engine as _;

/// So far before a flag its program is looked for.
const MAX_LINE: usize = 120;
/// A credential is not longer.
const MAX_VALUE: usize = 512;

fn run(bytes: &[u8], from: usize, set: Charset) -> usize {
    bytes.get(from..).map_or(0, |rest| rest.iter().take(4096).take_while(|b| set.has(**b)).count())
}

/// `Bearer …` and `Basic …`, at the long word that follows; several spaces may stand between.
pub(super) fn behind_scheme(bytes: &[u8], from: usize) -> Option<Span> {
    let before = bytes.get(from.saturating_sub(16)..from)?;
    let spaces = before.iter().rev().take_while(|b| **b == b' ').count();
    let before = before.get(..before.len() - spaces).filter(|_| (1..=8).contains(&spaces))?;
    let word = before.iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
    let (edge, word) = before.split_at_checked(before.len() - word)?;
    let bearer = word.eq_ignore_ascii_case(b"bearer");
    if (!bearer && !word.eq_ignore_ascii_case(b"basic")) || edge.last().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let (set, least, kind) = match bearer {
        true => (Charset::Token68, 16, Kind::BEARER_TOKEN),
        false => (Charset::Base64, 8, Kind::BASIC_AUTH),
    };
    let length = run(bytes, from, set);
    let rest = bytes.get(from..from + length).filter(|rest| rest.len() >= least)?;
    let fits = if bearer { rest.iter().any(u8::is_ascii_digit) } else { is_basic(rest) };
    fits.then_some(Span { start: from, end: from + length, kind })
}

fn is_basic(rest: &[u8]) -> bool {
    let padded: Vec<u8> = rest.iter().copied().take(1024).take_while(|b| *b != b'=').collect();
    let whole = padded.get(..padded.len() / 4 * 4).unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(&padded)
        .or_else(|_| base64::engine::general_purpose::STANDARD_NO_PAD.decode(whole));
    decoded.is_ok_and(|plain| plain.contains(&b':') && plain.iter().all(|b| *b >= 0x20))
}

/// `-----BEGIN … PRIVATE KEY-----`, whose first word ends at `end`, to the end of its end line; where there is none,
/// everything that follows may be the key.
pub(super) fn framed_key(bytes: &[u8], start: usize, end: usize) -> Option<Span> {
    const BEGIN: &[u8] = b"-----BEGIN";
    if !bytes.get(start..end)?.ends_with(BEGIN) {
        return None;
    }
    let rest = bytes.get(end..)?;
    let length = rest
        .iter()
        .take(60)
        .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b' ')
        .count();
    let (label, rest) = rest.split_at_checked(length)?;
    let label = label.strip_suffix(b" BLOCK").unwrap_or(label);
    if !label.ends_with(b" PRIVATE KEY") || !rest.starts_with(b"-----") {
        return None;
    }
    let span = |end: usize, start: usize| Span { start, end, kind: Kind::PRIVATE_KEY };
    Some(span(frame_end(bytes, end + length, b"-----END"), end - BEGIN.len()))
}

/// To the end of the line of a frame's end.
fn frame_end(bytes: &[u8], from: usize, mark: &[u8]) -> usize {
    let Some(rest) = bytes.get(from..) else { return bytes.len() };
    let Some(at) = find(rest, mark) else { return bytes.len() };
    let after = from + at + mark.len();
    let tail = bytes.get(after..).unwrap_or_default();
    let tail = tail.get(..tail.len().min(64)).unwrap_or_default();
    after + find(tail, b"-----").map_or(tail.len(), |at| at + 5)
}

/// A key file of PuTTY, to the end of its checksum; `None` where it has no private lines.
pub(super) fn putty_end(bytes: &[u8], from: usize) -> Option<usize> {
    const PRIVATE: &[u8] = b"Private-Lines:";
    const LAST: &[u8] = b"Private-MAC:";
    let rest = bytes.get(from..)?;
    let private = from + find(rest, PRIVATE)?;
    let Some(last) = find(bytes.get(private..)?, LAST) else { return Some(bytes.len()) };
    let after = private + last + LAST.len();
    let line =
        bytes.get(after..)?.iter().take(160).take_while(|b| b.is_ascii_hexdigit() || **b == b' ').count();
    Some(after + line)
}

pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut at = 0;
    loop {
        let next = text.get(at..)?.iter().position(|b| b == first)?;
        if text.get(at + next..)?.starts_with(needle) {
            return Some(at + next);
        }
        at += next + 1;
    }
}

fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
}

/// The value behind blanks: it stands in quotes or ends with a blank.
fn value_at(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let blanks = bytes.get(from..)?.iter().take(8).take_while(|b| is_blank(b)).count();
    let rest = bytes.get(from + blanks..)?;
    let quote = rest.first().copied().filter(|b| matches!(b, b'"' | b'\''));
    let start = from + blanks + usize::from(quote.is_some());
    let ends = |b: &u8| match quote {
        Some(quote) => *b == quote || *b == b'\n',
        None => is_blank(b) || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'|' | b';'),
    };
    let length = bytes.get(start..)?.iter().take(MAX_VALUE).take_while(|b| !ends(b)).count();
    (length > 0 && blanks > 0).then_some((start, start + length))
}

fn password(text: &str, (start, end): (usize, usize)) -> Option<Span> {
    let value = text.get(text.floor_char_boundary(start)..text.ceil_char_boundary(end))?;
    let nothing = is_placeholder(value)
        || stands_for_nothing(value.as_bytes())
        || value.starts_with('$')
        || value.starts_with("[redacted:")
        || value.starts_with("[hash:");
    (!nothing).then_some(Span { start, end, kind: Kind::FIELD_PASSWORD })
}

/// What a password stands behind without a sign, from the second letter on: whatever the case of the first.
pub(super) const WORDS: &[&str] = &["assword", "asswort", "ennwort", "asscode"];

/// `login bob password x`, on one line or on three; and `the password is x1`. `at`: the second letter of the word.
pub(super) fn behind_word(text: &str, at: usize) -> Option<Span> {
    let bytes = text.as_bytes();
    let (start, end) = (at.checked_sub(1)?, at + 7);
    let edge = start.checked_sub(1).and_then(|at| bytes.get(at));
    if edge.is_some_and(u8::is_ascii_alphanumeric) || !bytes.get(end).is_some_and(is_blank) {
        return None;
    }
    if bytes.get(start..end)? == b"password" {
        let before = bytes.get(start.saturating_sub(MAX_LINE)..start)?;
        let mut words = before.split(is_blank).rev().filter(|word| !word.is_empty());
        if before.last().is_some_and(is_blank)
            && words.next().is_some()
            && matches!(words.next(), Some(b"login" | b"account"))
        {
            return password(text, value_at(bytes, end)?);
        }
    }
    // A sentence: only what no sentence would say is a password.
    let said = [&b" is "[..], b" was ", b" lautet ", b" ist "];
    let verb = said.iter().find(|verb| bytes.get(end..).is_some_and(|rest| rest.starts_with(verb)))?;
    let (start, stop) = value_at(bytes, end + verb.len() - 1)?;
    let trimmed =
        bytes.get(start..stop)?.iter().rev().take_while(|b| matches!(b, b'.' | b',' | b')' | b'!' | b'?'));
    let stop = stop - trimmed.count();
    let value = bytes.get(start..stop)?;
    let drawn = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    (value.len() >= 6 && drawn).then(|| password(text, (start, stop)))?
}

/// The line before a flag, as far as a program may stand.
fn line_before(bytes: &[u8], at: usize) -> &[u8] {
    let before = bytes.get(at.saturating_sub(MAX_LINE)..at).unwrap_or_default();
    before.rsplit(|b| *b == b'\n').next().unwrap_or_default()
}

fn names_program(line: &[u8], programs: &[&[u8]]) -> bool {
    line.split(|b| !(b.is_ascii_alphanumeric() || *b == b'-')).any(|word| programs.contains(&word))
}

/// `curl -u bob:x`, `curl --user bob:x`: the password behind the colon.
pub(super) fn user_flag(text: &str, start: usize, end: usize) -> Option<Span> {
    let bytes = text.as_bytes();
    let (from, to) = value_at(bytes, end)?;
    let colon = bytes.get(from..to)?.iter().position(|b| *b == b':')?;
    let named = colon > 0 && from + colon + 1 < to;
    (named && names_program(line_before(bytes, start), &[b"curl", b"wget", b"http", b"https", b"xh"]))
        .then(|| password(text, (from + colon + 1, to)))?
}

/// `-u bob:x`, `sshpass -p x`, `mysql -px`, `docker login -p x`.
pub(super) fn short_flag(text: &str, start: usize, end: usize) -> Option<Span> {
    let bytes = text.as_bytes();
    match bytes.get(start..end)? {
        b"-u" => user_flag(text, start, end),
        b"-p" => {
            let line = line_before(bytes, start);
            let program = names_program(line, &[b"sshpass"])
                || (names_program(line, &[b"docker", b"podman", b"helm", b"oras"])
                    && names_program(line, &[b"login"]));
            program.then(|| password(text, value_at(bytes, end)?))?
        }
        [b'-', b'p', ..] => {
            let programs: &[&[u8]] = &[b"mysql", b"mysqldump", b"mysqladmin", b"mariadb", b"mariadb-dump"];
            if !names_program(line_before(bytes, start), programs) {
                return None;
            }
            let from = start + 2;
            let length = bytes.get(from..)?.iter().take(MAX_VALUE).take_while(|b| !is_blank(b)).count();
            password(text, (from, from + length))
        }
        _ => None,
    }
}
