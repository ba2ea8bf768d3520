//! Which upstream a URI belongs to that no list names: by the URI templates (RFC 6570) that upstreams publish.

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
    /// Reads one; `None` where braces do not match or it is longer than is sensible.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > 2048 {
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
}
