//! Globs over tool names, URIs and paths: `*` matches all but `/`, `**` anything, a lone `*` everything.
//! Matching takes linear space and no backtracking blow-up.

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
        if text.chars().count() > 512 {
            return Err(GlobError(text.chars().take(80).collect()));
        }
        Self::of(text)
    }

    /// The same of a text that may be longer because it is encoded.
    pub(super) fn of(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() || text.contains("***") {
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

    /// Whether it may match something that begins like this.
    pub fn may_match_below(&self, begin: &str) -> bool {
        match &*self.parts {
            [Part::Text(text)] => text.starts_with(begin),
            [Part::Text(text), ..] => text.starts_with(begin) || begin.starts_with(&**text),
            _ => true,
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
            // What a glob begins and ends with rules most texts out.
            parts => {
                let begins = match parts.first() {
                    Some(Part::Text(text)) => input.starts_with(&**text),
                    Some(Part::Star | Part::DoubleStar) | None => true,
                };
                let ends = match parts.last() {
                    Some(Part::Text(text)) => input.ends_with(&**text),
                    Some(Part::Star | Part::DoubleStar) | None => true,
                };
                begins && ends && matches_from(parts, input)
            }
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
        check("ab*ab", "ab", false);
        check("ab*ab", "abab", true);
        check("ab*ab", "abcab", true);
        check("ab*ab", "a/bab", false);
        check("ab*ab", "ab/ab", false);
        assert!(Glob::parse("").is_err());
        assert!(Glob::parse("a***").is_err());
    }
}
