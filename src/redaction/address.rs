//! Addresses: of mail, and the users and passwords in those of the web.

use super::{
    code::is_placeholder,
    detector::{Kind, Span},
};

/// A user's name or password in a URL is not longer.
const MAX_USERINFO: usize = 512;

/// Around an `@`: a mail address.
pub(super) fn email(text: &str, at: usize) -> Option<Span> {
    let bytes = text.as_bytes();
    // Letters with accents, too, which only look like those of other addresses.
    let in_local = |c: &char| match c {
        '.' | '_' | '%' | '+' | '-' | '\'' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => ('\u{c0}'..='\u{24f}').contains(c),
    };
    let local = text.get(..at)?.chars().rev().take(64).take_while(in_local);
    let start = at - local.map(char::len_utf8).sum::<usize>();
    let start = start + bytes.get(start..at)?.iter().take_while(|b| matches!(b, b'.' | b'\'' | b'-')).count();
    let domain = bytes.get(at + 1..)?;
    let length =
        domain.iter().take(255).take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')).count();
    let domain = domain.get(..length)?;
    let trimmed = domain.len() - domain.iter().rev().take_while(|b| matches!(b, b'.' | b'-')).count();
    let domain = domain.get(..trimmed)?;
    let dot = domain.iter().rposition(|b| *b == b'.')?;
    let (host, top) = (domain.get(..dot)?, domain.get(dot + 1..)?);
    let fits = start < at
        && !host.is_empty()
        && !host.starts_with(b".")
        && top.len() >= 2
        && top.iter().all(u8::is_ascii_alphabetic)
        && !FILE_ENDINGS.iter().any(|ending| top.eq_ignore_ascii_case(ending.as_bytes()));
    // `git@host.example:path` is a place, not a person.
    let repository = bytes.get(start..at) == Some(b"git")
        && (bytes.get(at + 1 + trimmed) == Some(&b':') || bytes.get(..start)?.ends_with(b"://"));
    (fits && !repository).then_some(Span { start, end: at + 1 + trimmed, kind: Kind::EMAIL })
}

/// `icon@2x.png` is a file.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "ts", "css", "json", "html", "md", "txt", "pdf",
    "map",
];

/// The users in the URLs of one text. What follows a `://` is read once, however many of them stand in it.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Where the last stretch without spaces and quotes ends, and its last `@`.
    end: usize,
    last_at: Option<usize>,
    /// The `@` behind what stands in a password's place.
    host_at: Option<usize>,
}

impl Users {
    /// Whether this `@` stands between what holds a password's place and a host.
    pub(super) fn precedes_host(&self, at: usize) -> bool {
        self.host_at == Some(at)
    }

    /// Behind `://`: the password of `user:password@host`, or a long name that is a token.
    pub(super) fn password(&mut self, bytes: &[u8], from: usize) -> Option<Span> {
        if from >= self.end {
            let rest = bytes.get(from..)?;
            let rest = rest.get(..rest.len().min(MAX_USERINFO))?;
            let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`');
            // `<user>:<password>@` is a form to fill in.
            let text = rest.get(..rest.iter().position(ends).unwrap_or(rest.len()))?;
            self.end = from + text.len();
            self.last_at = text.iter().rposition(|b| *b == b'@').map(|at| from + at);
        }
        let last_at = self.last_at.filter(|at| *at >= from)?;
        let text = bytes.get(from..self.end)?;
        let authority = text.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(text.len());
        let in_authority = text.get(..authority)?.iter().rposition(|b| *b == b'@');
        let at = match in_authority {
            Some(at) => at,
            // A password that holds a slash: what follows the colon is no port.
            None => {
                let colon = text.get(..authority)?.iter().position(|b| *b == b':')?;
                let port = text.get(colon + 1..authority)?;
                let port = match port.is_empty() {
                    true => !matches!(text.get(authority), Some(b'#' | b'?')),
                    false => port.iter().all(u8::is_ascii_digit),
                };
                if port || text.starts_with(b"[") {
                    return None;
                }
                last_at - from
            }
        };
        let start = match text.get(..at)?.iter().position(|b| *b == b':') {
            Some(colon) => colon + 1,
            None if at >= 20 && text.get(..at)?.iter().any(u8::is_ascii_digit) => 0,
            None => return None,
        };
        let value = text.get(start..at).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let nothing = stands_for_one(value);
        self.host_at = nothing.then_some(from + at);
        (start < at && !nothing).then_some(Span {
            start: from + start,
            end: from + at,
            kind: Kind::URL_PASSWORD,
        })
    }
}

/// `${PASSWORD}`, `$PASSWORD`, `{password}`, `%s`, `***`.
fn stands_for_one(value: &str) -> bool {
    let name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let slot = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(name);
    is_placeholder(value) || slot || value == "%s" || value.strip_prefix('$').is_some_and(name)
}

/// `oracle:thin:user/password@`, at the `@`.
pub(super) fn oracle(bytes: &[u8], at: usize) -> Option<Span> {
    const BEFORE: &[u8] = b"oracle:thin:";
    let from = at.saturating_sub(MAX_USERINFO);
    let word = bytes.get(from..at)?;
    let length = word
        .iter()
        .rev()
        .take_while(|b| !(b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'@' | b'<' | b'>')));
    let word = word.get(word.len() - length.count()..)?;
    let user = word.windows(BEFORE.len()).position(|part| part == BEFORE)? + BEFORE.len();
    let slash = word.get(user..)?.iter().position(|b| *b == b'/')?;
    let start = at - word.len() + user + slash + 1;
    let value = std::str::from_utf8(bytes.get(start..at)?).ok()?;
    (start < at && !stands_for_one(value)).then_some(Span { start, end: at, kind: Kind::URL_PASSWORD })
}
