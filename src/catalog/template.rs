//! Which upstream a URI belongs to that no list names: by the URI templates (RFC 6570) that upstreams publish.

/// The longest template, and how many variables it may have.
const LONGEST: usize = 2_048;
const MOST_VARIABLES: usize = 32;
/// A longer URI is no expansion of any template: time is the product of pieces and bytes.
const LONGEST_URI: usize = 8_192;

/// A template as literal pieces with variables between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UriTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Any text without `/`, `?` and `#`; not empty.
    Simple,
    /// Any text, also none: `{+x}`, `{#x}`, `{/x}`, `{?x}`, `{&x}`, `{;x}`, `{.x}`.
    Reserved,
}

impl UriTemplate {
    /// Reads one; `None` where braces do not match, or it is longer or has more variables than is sensible.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST || text.matches('{').count() > MOST_VARIABLES {
            return None;
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            if literal.contains('}') {
                return None;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.to_owned()));
            }
            let (expression, tail) = tail.split_once('}')?;
            let first = expression.chars().next()?;
            pieces.push(if first.is_ascii_alphanumeric() || first == '_' || first == '%' {
                Piece::Simple
            } else {
                Piece::Reserved
            });
            rest = tail;
        }
        if rest.contains('}') {
            return None;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Some(Self { pieces })
    }

    /// Whether the URI can be an expansion of it.
    pub(super) fn matches(&self, uri: &str) -> bool {
        // Most URIs differ from most templates at the beginning or at the end.
        let literal = |piece: Option<&Piece>, fits: fn(&str, &str) -> bool| match piece {
            Some(Piece::Text(text)) => fits(uri, text),
            Some(Piece::Simple | Piece::Reserved) | None => true,
        };
        if uri.len() > LONGEST_URI
            || !literal(self.pieces.first(), |uri, text| uri.starts_with(text))
            || !literal(self.pieces.last(), |uri, text| uri.ends_with(text))
        {
            return false;
        }
        let bytes = uri.as_bytes();
        // Offsets reachable after each piece: linear space, no backtracking.
        let mut reachable = vec![false; bytes.len() + 1];
        if let Some(first) = reachable.first_mut() {
            *first = true;
        }
        for piece in &self.pieces {
            let mut next = vec![false; bytes.len() + 1];
            match piece {
                Piece::Text(text) => {
                    for (at, _) in reachable.iter().enumerate().filter(|(_, ok)| **ok) {
                        let end = at + text.len();
                        if bytes.get(at..end) == Some(text.as_bytes())
                            && let Some(slot) = next.get_mut(end)
                        {
                            *slot = true;
                        }
                    }
                }
                Piece::Simple | Piece::Reserved => {
                    let mut open = false;
                    for (at, slot) in next.iter_mut().enumerate() {
                        *slot = open || (*piece == Piece::Reserved && reachable.get(at) == Some(&true));
                        open |= reachable.get(at) == Some(&true);
                        let stops = matches!(bytes.get(at), Some(b'/' | b'?' | b'#'));
                        if *piece == Piece::Simple && stops {
                            open = false;
                        }
                    }
                }
            }
            reachable = next;
        }
        reachable.last() == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_held_against_templates() {
        let check = |template: &str, uri: &str, expect: bool| {
            assert_eq!(UriTemplate::parse(template).unwrap().matches(uri), expect, "{template} {uri}");
        };
        check("demo://item/{id}", "demo://item/7", true);
        check("demo://item/{id}", "demo://item/", false);
        check("demo://item/{id}", "demo://item/7/x", false);
        check("demo://item/{id}/data", "demo://item/7/data", true);
        check("demo://{a}/{b}", "demo://x/y", true);
        check("file:///{+path}", "file:///a/b/c", true);
        check("db://t{?q}", "db://t", true);
        check("db://t{?q}", "db://t?q=1", true);
        check("plain://x", "plain://x", true);
        check("plain://x", "plain://xy", false);
        assert_eq!(UriTemplate::parse("a{b"), None);
        assert_eq!(UriTemplate::parse("a}b"), None);
        assert_eq!(UriTemplate::parse("a{}"), None);
    }

    #[test]
    fn templates_and_uris_are_bounded() {
        assert!(UriTemplate::parse(&"{+a}x".repeat(32)).is_some());
        assert_eq!(UriTemplate::parse(&"{+a}x".repeat(33)), None);
        assert_eq!(UriTemplate::parse(&"a".repeat(2_049)), None);
        // One that backtracking would take for ever: 33 pieces times 8 KiB.
        let template = UriTemplate::parse(&format!("{}y", "{+a}x".repeat(32))).unwrap();
        assert!(!template.matches(&"x".repeat(8_192)));
        assert!(template.matches(&format!("{}y", "x".repeat(8_191))));
        assert!(!template.matches(&format!("{}y", "x".repeat(8_192))), "longer than any expansion");
    }
}
