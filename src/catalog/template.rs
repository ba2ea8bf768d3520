//! Which upstream a URI belongs to that no list names: by the URI templates (RFC 6570) that upstreams publish.

use crate::model::spell_around;
use serde_json::{Map, Value};

/// The longest template.
const LONGEST: usize = 2_048;
/// Expressions in one template: each costs as much as the URI that is held against it is long.
const MOST_EXPRESSIONS: usize = 16;

/// A template as literal pieces, spelled as in canonical URIs, with expressions between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UriTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Expression(Expression),
}

/// `{x}`, `{+x,y}`, `{?x}`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expression {
    operator: Option<char>,
    names: Vec<String>,
}

/// What an expression can expand to.
struct Expansion {
    /// It is empty, or begins with this character.
    first: Option<u8>,
    /// It may be empty.
    optional: bool,
    /// It has none of these characters, but for the first.
    stops: &'static [u8],
}

impl Expression {
    fn parse(text: &str) -> Option<Self> {
        let first = text.chars().next()?;
        let simple = first.is_ascii_alphanumeric() || first == '_' || first == '%';
        let operator = (!simple).then_some(first);
        let names = text.get(operator.map_or(0, char::len_utf8)..)?;
        let names = names.split(',').map(|name| name.split(['*', ':']).next().unwrap_or_default().to_owned());
        Some(Self { operator, names: names.collect() })
    }

    fn expansion(&self) -> Expansion {
        let (first, optional, stops): (_, _, &[u8]) = match self.operator {
            None => (None, false, b"/?#"),
            Some('#') => (Some(b'#'), true, b""),
            Some('/') => (Some(b'/'), true, b"?#"),
            Some('.') => (Some(b'.'), true, b"/?#"),
            Some(';') => (Some(b';'), true, b"/?#"),
            Some('?') => (Some(b'?'), true, b"#"),
            Some('&') => (Some(b'&'), true, b"#"),
            // `{+x}`, and operators that RFC 6570 keeps for later.
            Some(_) => (None, true, b""),
        };
        Expansion { first, optional, stops }
    }

    /// With these variables, where all of them are known.
    fn expand(&self, variables: &Map<String, Value>) -> Option<String> {
        let values: Option<Vec<(&str, &str)>> =
            self.names.iter().map(|name| Some((name.as_str(), variables.get(name)?.as_str()?))).collect();
        let (first, between, named) = match self.operator {
            Some('#') => ("#", ",", false),
            Some('.') => (".", ".", false),
            Some('/') => ("/", "/", false),
            Some(';') => (";", ";", true),
            Some('?') => ("?", "&", true),
            Some('&') => ("&", "&", true),
            None | Some(_) => ("", ",", false),
        };
        let values: Vec<String> = values?
            .into_iter()
            .map(|(name, value)| if named { format!("{name}={value}") } else { value.to_owned() })
            .collect();
        Some(format!("{first}{}", values.join(between)))
    }
}

/// Whether braces match, and hold something.
fn is_balanced(text: &str) -> bool {
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        match tail.split_once('}') {
            Some((inside, tail)) if !inside.is_empty() && !literal.contains('}') => rest = tail,
            Some(_) | None => return false,
        }
    }
    !rest.contains('}')
}

/// The length of the expression that a text begins with.
fn expression(text: &str) -> Option<usize> {
    text.strip_prefix('{').and_then(|rest| rest.find('}')).map(|end| end + 2)
}

impl UriTemplate {
    /// Reads one; `None` where braces do not match, or it is longer or has more expressions than is sensible.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST || !is_balanced(text) || text.matches('{').count() > MOST_EXPRESSIONS {
            return None;
        }
        // What has no canonical spelling matches nothing, and is listed all the same.
        let spelled = spell_around(text, expression).unwrap_or_else(|| text.to_owned());
        let mut pieces = Vec::new();
        let mut rest = spelled.as_str();
        while let Some((literal, tail)) = rest.split_once('{') {
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.to_owned()));
            }
            let (inside, tail) = tail.split_once('}')?;
            pieces.push(Piece::Expression(Expression::parse(inside)?));
            rest = tail;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Some(Self { pieces })
    }

    /// What all of its expansions begin with.
    pub(super) fn head(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Expression(_)) | None => "",
        }
    }

    /// Its expansion with these variables as far as they are known from the left, and whether that is all of it.
    pub(super) fn expand(&self, variables: &Map<String, Value>) -> (String, bool) {
        let mut expanded = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => expanded.push_str(text),
                Piece::Expression(expression) => match expression.expand(variables) {
                    Some(text) => expanded.push_str(&text),
                    None => return (expanded, false),
                },
            }
        }
        (expanded, true)
    }

    /// Whether the canonical URI can be an expansion of it.
    pub(super) fn matches(&self, uri: &str) -> bool {
        // Most templates are of other URIs: their ends say so.
        let tail = match self.pieces.last() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Expression(_)) | None => "",
        };
        if !uri.starts_with(self.head()) || !uri.ends_with(tail) {
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
                Piece::Expression(expression) => {
                    let Expansion { first, optional, stops } = expression.expansion();
                    let mut open = false;
                    for (at, slot) in next.iter_mut().enumerate() {
                        let here = reachable.get(at) == Some(&true);
                        *slot = open || (optional && here);
                        let byte = bytes.get(at);
                        let begins = here && first.is_none_or(|first| byte == Some(&first));
                        let goes_on = open || (here && first.is_none());
                        let stopped = byte.is_some_and(|byte| stops.contains(byte));
                        open = (goes_on && !stopped) || (begins && first.is_some());
                    }
                }
            }
            if !next.contains(&true) {
                return false;
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
        check("demo://item/{id}", "demo://item/7?x=1", false);
        check("demo://item/{id}/data", "demo://item/7/data", true);
        check("demo://{a}/{b}", "demo://x/y", true);
        check("file:///{+path}", "file:///a/b/c", true);
        check("db://t{?q}", "db://t", true);
        check("db://t{?q}", "db://t?q=1", true);
        check("db://t{?q}", "db://t?q=/etc", true);
        check("db://t{?q}", "db://t/etc", false);
        check("db://t{?q}", "db://t?q=1#x", false);
        check("db://t?a=1{&q}", "db://t?a=1&q=2", true);
        check("db://t{#f}", "db://t#f", true);
        check("db://t{/a,b}", "db://t/a/b", true);
        check("db://t{/a,b}", "db://tab", false);
        check("db://t{.a}", "db://t.a", true);
        check("db://t{;a}/x", "db://t;a=1/x", true);
        check("plain://x", "plain://x", true);
        check("plain://x", "plain://xy", false);
        check("h://{a}/x/{b}/y", "h://1/x/2/y", true);
        check("h://{a}/x/{b}/y", "h://1/z/2/y", false);
        check("ab{x}bc", "abc", false);
        // Literals are compared as canonical URIs are spelled.
        check("FILE:///My Docs/{name}", "file:///My%20Docs/a", true);
        check("https://Host.example:443/%61/{x}", "https://host.example/a/1", true);
        check("https://h.example/{dir}/", "https://h.example/a", true);
        check("{+uri}", "a:b", true);
        assert_eq!(UriTemplate::parse("a{b"), None);
        assert_eq!(UriTemplate::parse("a}b"), None);
        assert_eq!(UriTemplate::parse("a{}"), None);
        assert!(UriTemplate::parse(&"{a}".repeat(MOST_EXPRESSIONS)).is_some());
        assert_eq!(UriTemplate::parse(&"{a}".repeat(MOST_EXPRESSIONS + 1)), None);
        assert!(UriTemplate::parse(&"a".repeat(LONGEST)).is_some());
        assert_eq!(UriTemplate::parse(&"a".repeat(LONGEST + 1)), None);
    }

    #[test]
    fn templates_expand_from_the_left() {
        let known = serde_json::json!({"a": "1", "b": "x y"});
        let check = |template: &str, text: &str, whole: bool| {
            let template = UriTemplate::parse(template).unwrap();
            assert_eq!(template.expand(known.as_object().unwrap()), (text.to_owned(), whole));
        };
        check("h://{a}/{b}", "h://1/x y", true);
        check("h://{a}/{c}/{b}", "h://1/", false);
        check("h://{a}{?a,b}", "h://1?a=1&b=x y", true);
        check("h://{+a*}{/a,b:3}", "h://1/1/x y", true);
    }
}
