//! Globs over tool names, URIs and paths, and the `within` rule: `*` matches all but `/`,
//! `**` anything, a lone `*` everything. Matching takes linear space and no backtracking blow-up.

use std::{fmt, sync::Arc};

/// A checked glob.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob {
    text: Arc<str>,
    parts: Arc<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Text(Box<str>),
    Star,
    DoubleStar,
}

/// Why a text is not a glob.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a glob: expected a non-empty text of at most 512 characters in which `*` and `**` are the only wildcards"
)]
pub struct GlobError(String);

impl Glob {
    /// Reads a glob. Three or more stars in a row, and an empty text, are errors.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() || text.chars().count() > 512 || text.contains("***") {
            return Err(GlobError(text.chars().take(80).collect()));
        }
        if text == "*" {
            return Ok(Self { text: Arc::from(text), parts: Arc::from([Part::DoubleStar]) });
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '*' {
                literal.push(c);
                continue;
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(if chars.next_if_eq(&'*').is_some() { Part::DoubleStar } else { Part::Star });
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { text: Arc::from(text), parts: Arc::from(parts) })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole text, where the glob has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it matches the whole of `input`.
    pub fn matches(&self, input: &str) -> bool {
        match &*self.parts {
            [Part::DoubleStar] => true,
            [Part::Text(text)] => **text == *input,
            [Part::Text(text), Part::Star] => {
                input.strip_prefix(&**text).is_some_and(|rest| !rest.contains('/'))
            }
            [Part::Text(text), Part::DoubleStar] => input.starts_with(&**text),
            parts => matches_from(parts, input),
        }
    }
}

/// The set of input offsets reachable after each part; at most one bit per byte of input.
fn matches_from(parts: &[Part], input: &str) -> bool {
    let bytes = input.as_bytes();
    let mut reachable = vec![false; bytes.len() + 1];
    if let Some(first) = reachable.first_mut() {
        *first = true;
    }
    for part in parts {
        let mut next = vec![false; bytes.len() + 1];
        match part {
            Part::Text(text) => {
                for (at, _) in reachable.iter().enumerate().filter(|(_, ok)| **ok) {
                    let end = at + text.len();
                    if bytes.get(at..end) == Some(text.as_bytes())
                        && let Some(slot) = next.get_mut(end)
                    {
                        *slot = true;
                    }
                }
            }
            Part::Star | Part::DoubleStar => {
                let mut open = false;
                for (at, slot) in next.iter_mut().enumerate() {
                    open |= reachable.get(at).copied().unwrap_or(false);
                    *slot = open;
                    if *part == Part::Star && bytes.get(at) == Some(&b'/') {
                        open = false;
                    }
                }
            }
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", &*self.text)
    }
}

/// Percent-decodes until nothing changes, within reason.
fn decode(text: &str) -> Option<String> {
    let mut decoded = text.to_owned();
    for _ in 0..4 {
        let next = percent_encoding::percent_decode_str(&decoded).decode_utf8().ok()?.into_owned();
        if next == decoded {
            break;
        }
        decoded = next;
    }
    Some(decoded)
}

/// Whether a text, however it is encoded, has a `..` between slashes: whoever takes it for a path climbs by it.
fn climbs(text: &str) -> bool {
    decode(text).is_none_or(|text| text.split(['/', '\\', '?', '#', '&', '=', ';']).any(|part| part == ".."))
}

/// Percent-decodes and dot-normalises an absolute path. `None` for a relative path, one that climbs
/// above its root, one with a NUL or a backslash, or one that does not decode to UTF-8. Decoding
/// goes on until nothing changes, so that a doubly encoded `..` is seen too.
pub fn normalize_path(path: &str) -> Option<String> {
    let decoded = decode(path)?;
    if !decoded.starts_with('/') || decoded.contains(['\0', '\\']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// The same for a URI: scheme and authority are lowercased and kept, the path is normalised.
/// A URI without `//` (like `memo:insights`) is percent-decoded only. Nothing after `?` or `#` may climb either: what an
/// upstream makes of it is not known, and a glob's `**` takes it in.
pub fn normalize_uri(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let valid = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !valid {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let Some(rest) = rest.strip_prefix("//") else {
        let decoded = decode(rest)?;
        return (!decoded.contains('\0') && !climbs(&decoded)).then(|| format!("{scheme}:{decoded}"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let cut = tail.find(['?', '#']).unwrap_or(tail.len());
    let (path, query) = tail.split_at_checked(cut)?;
    let path = if path.is_empty() { String::new() } else { normalize_path(path)? };
    if climbs(query) {
        return None;
    }
    Some(format!("{scheme}://{}{path}{query}", authority.to_ascii_lowercase()))
}

/// Whether an absolute path lies at or below `root`, after [`normalize_path`] of both.
pub fn within(path: &str, root: &str) -> bool {
    let (Some(path), Some(root)) = (normalize_path(path), normalize_path(root)) else { return false };
    root == "/" || path == root || path.strip_prefix(&root).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_the_contract_says() {
        let check = |glob: &str, input: &str, expect: bool| {
            assert_eq!(Glob::parse(glob).unwrap().matches(input), expect, "{glob} on {input}");
        };
        check("*", "a/b", true);
        check("**", "a/b", true);
        check("files__read_*", "files__read_text", true);
        check("files__read_*", "files__read_a/b", false);
        check("file:///srv/docs/**", "file:///srv/docs/a/b.md", true);
        check("file:///srv/docs/*", "file:///srv/docs/a/b.md", false);
        check("file:///srv/*/x", "file:///srv/a/x", true);
        check("aws-cli*", "aws-cli", true);
        check("*__write", "files__write", true);
        check("*a*a*a*a*a*a*a*a*b", &"a".repeat(400), false);
        check("exact", "exactly", false);
        check("**/secret", "a/b/secret", true);
        assert!(Glob::parse("").is_err());
        assert!(Glob::parse("a***").is_err());
    }

    #[test]
    fn within_sees_through_encodings_and_dots() {
        let check = |path: &str, expect: bool| assert_eq!(within(path, "/srv/docs"), expect, "{path}");
        check("/srv/docs", true);
        check("/srv/docs/a", true);
        check("/srv/docs/../docs/a", true);
        check("/srv/docs/../x", false);
        check("/srv/docs/%2e%2e/x", false);
        check("/srv/docs/%252e%252e/x", false);
        check("/srv/docsx", false);
        check("srv/docs/a", false);
        check("/../srv/docs/a", false);
        check("/srv/docs/a\\..\\..", false);
        assert_eq!(normalize_uri("FILE:///srv/./a").as_deref(), Some("file:///srv/a"));
        assert_eq!(normalize_uri("file:///../a"), None);
        assert_eq!(normalize_uri("demo://x"), Some("demo://x".into()));
        assert_eq!(normalize_uri("relative/path"), None);
        for climbing in [
            "file:///srv/docs/x?/../../../etc/passwd",
            "file:///srv/docs/x#/../../etc/passwd",
            "file:///srv/docs/x?a=..%2f..%2Fetc",
            "file:///srv/docs/x?%252e%252e/etc",
            "db://h?..\\..\\x",
            "memo:a/%252e%252e/b",
            "memo:a\\..\\b",
            "memo:a?../b",
        ] {
            assert_eq!(normalize_uri(climbing), None, "{climbing}");
        }
        for plain in ["db://h/rows?q=a..b&page=2#top", "memo:insights..", "db://h?x=...&y=/a/b"] {
            assert_eq!(normalize_uri(plain).as_deref(), Some(plain));
        }
    }
}
