//! Patterns over URIs: query and fragment are matched apart from the path.

use super::{
    Kind,
    escape::{Part, respell},
    host, split_scheme, split_tails,
};
use crate::model::Glob;
use std::{borrow::Cow, fmt, sync::Arc};

/// A pattern over canonical URIs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UriPattern {
    text: Arc<str>,
    /// Everything before the query.
    path: Glob,
    query: Option<Glob>,
    fragment: Option<Glob>,
    /// It has a `**`, or is a lone `*`.
    wide: bool,
}

/// Why a text is no pattern over URIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriPatternError {
    /// It is no glob.
    NotGlob,
    /// It is one, but no URI in its canonical form can match it.
    NoUri,
}

impl UriPattern {
    /// Reads a pattern. Characters may be encoded or not, as in URIs; everything else is written as in the canonical form.
    pub fn parse(text: &str) -> Result<Self, UriPatternError> {
        Glob::parse(text).map_err(|_| UriPatternError::NotGlob)?;
        if is_foreign(text) {
            return Err(UriPatternError::NotGlob);
        }
        let spelled =
            Some(text).filter(|text| is_canonical(text)).and_then(|text| spell_around(text, wildcard));
        let spelled = spelled.ok_or(UriPatternError::NoUri)?;
        let (path, query, fragment) = split_tails(&spelled);
        let glob = |text: &str| Glob::of(text).map_err(|_| UriPatternError::NoUri);
        Ok(Self {
            text: text.into(),
            wide: text == "*" || path.contains("**"),
            path: glob(path)?,
            query: query.map(glob).transpose()?,
            fragment: fragment.map(glob).transpose()?,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The glob over everything before the query.
    pub fn path(&self) -> &Glob {
        &self.path
    }

    /// Whether a capability with this pattern covers the canonical URI. What stands in its query and fragment needs a
    /// pattern of its own, but where it is listed so and the pattern is wide.
    pub fn grants(&self, uri: &str, listed: bool) -> bool {
        let (path, query, fragment) = split_tails(uri);
        let covers = |pattern: &Option<Glob>, text: Option<&str>| match (pattern, text) {
            (Some(glob), Some(text)) => glob.matches(text),
            (Some(_), None) => false,
            (None, Some(_)) => listed && self.wide,
            (None, None) => true,
        };
        paths(path).all(|path| self.path.matches(&path))
            && covers(&self.query, query)
            && covers(&self.fragment, fragment)
    }

    /// Whether a rule with this pattern concerns the canonical URI, whatever its query and fragment are unless the pattern
    /// has them.
    pub fn concerns(&self, uri: &str) -> bool {
        let (path, query, fragment) = split_tails(uri);
        let meets = |pattern: &Option<Glob>, text: Option<&str>| match pattern {
            Some(glob) => text.is_some_and(|text| glob.matches(text)),
            None => true,
        };
        paths(path).any(|path| self.path.matches(&path))
            && meets(&self.query, query)
            && meets(&self.fragment, fragment)
    }

    /// Whether some URI that begins so can match; `head` is spelled canonically.
    pub fn may_overlap(&self, head: &str) -> bool {
        let own = self.path.as_str().split('*').next().unwrap_or_default();
        let (head, ..) = split_tails(head);
        own.starts_with(head) || head.starts_with(own)
    }
}

/// The paths that servers may see in a canonical URI: some drop `;` and what follows it in each segment. Only what is
/// listed has any.
pub fn paths(uri: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let (path, ..) = split_tails(uri);
    std::iter::once(Cow::Borrowed(path)).chain(bare(path).map(Cow::Owned))
}

/// A URI without query and fragment, and without the parameters of its segments; `None` where it has no parameters. What
/// has no slash before its segments (`data:text/plain;base64,`) is no path.
pub(super) fn bare(path: &str) -> Option<String> {
    let (scheme, segments) = path.split_at_checked(path.find(":/")?)?;
    if !segments.contains(';') {
        return None;
    }
    let names: Vec<&str> =
        segments.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    Some(format!("{scheme}{}", names.join("/")))
}

/// Whether a text looks like a glob of another kind. What such a glob knows would stand for itself here and match nothing,
/// and a rule that never applies is a hole. URIs may hold such characters.
fn is_foreign(text: &str) -> bool {
    if text.contains("://") {
        return false;
    }
    // `memo:find?term=**` and `**?**` have a query; `**/file?.txt` means one character.
    let query = text.split_once('?').is_none_or(|(path, query)| {
        path.contains(':') || (path.starts_with('*') && (query.contains('=') || query.starts_with('*')))
    });
    !query || text.contains(['[', ']', '{', '}'])
}

/// Whether a pattern is written as canonical URIs are, but for the encoding of characters.
fn is_canonical(text: &str) -> bool {
    let (body, query, fragment) = split_tails(text);
    if query == Some("") || fragment == Some("") || body.is_empty() {
        return false;
    }
    // Decoded it would be a wildcard.
    if text.contains("%2A") || text.contains("%2a") {
        return false;
    }
    let Some((scheme, rest)) = body.split_once("://") else {
        let other = split_scheme(body).is_none_or(|(scheme, _)| Kind::of(&scheme) == Kind::Other);
        return other && !body.contains("//");
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let upper = [scheme, host].iter().any(|part| part.bytes().any(|byte| byte.is_ascii_uppercase()));
    let dots = path.split('/').any(|part| matches!(part, "." | ".."));
    !upper && !dots && !path.ends_with('/') && !path.starts_with('/') && !path.contains("//")
}

/// The length of the wildcard that the text begins with.
fn wildcard(text: &str) -> Option<usize> {
    match text {
        text if text.starts_with("**") => Some(2),
        text if text.starts_with('*') => Some(1),
        _ => None,
    }
}

/// The canonical spelling of a text that stands open in places, and those as they are: `hole` gives the length of one
/// that the text begins with. `None` where it cannot be spelled so.
pub fn spell_around(text: &str, hole: impl Fn(&str) -> Option<usize>) -> Option<String> {
    /// Stands for an open place; no URI has it.
    const OPEN: char = '\u{1}';
    if text.chars().any(char::is_control) {
        return None;
    }
    let mut holes = Vec::new();
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = hole(rest).unwrap_or(0);
        let (head, tail) = rest.split_at_checked(length.max(first.len_utf8()))?;
        if length > 0 {
            holes.push(head);
            masked.push(OPEN);
        } else {
            masked.push(first);
        }
        rest = tail;
    }
    let (body, query, fragment) = split_tails(&masked);
    let mut out = String::with_capacity(text.len());
    let known = split_scheme(body);
    let kind = known.as_ref().map_or(Kind::Other, |(scheme, _)| Kind::of(scheme));
    let (scheme, rest) = match &known {
        Some((scheme, rest)) => (Some(scheme.as_str()), *rest),
        None => match body.split_once("://") {
            Some((scheme, _)) => (Some(scheme), body.get(scheme.len() + 1..)?),
            None => (None, body),
        },
    };
    out.extend(scheme.map(|scheme| format!("{scheme}:")));
    let path = match rest.strip_prefix("//").filter(|_| scheme.is_some()) {
        Some(rest) => {
            let (host, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
            out.push_str("//");
            let open = host.contains(OPEN);
            if open {
                out.push_str(&respell(&host.to_ascii_lowercase(), Part::Authority, "\u{1}:@[]")?);
            } else {
                let authority = host::authority(host, kind).ok()?;
                out.push_str(&authority.user);
                out.push_str(&authority.text);
            }
            match (path, kind) {
                ("", Kind::Network { .. } | Kind::File) if !open => "/",
                ("/", Kind::Other) if !host.is_empty() => "",
                (path, _) => path,
            }
        }
        None => rest,
    };
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    out.push_str(&respell(path, Part::Path, "\u{1}")?);
    for (mark, tail) in [('?', query), ('#', fragment)] {
        if let Some(tail) = tail {
            out.push(mark);
            out.push_str(&respell(tail, Part::Tail, "\u{1}")?);
        }
    }
    let mut pieces = out.split(OPEN);
    let mut whole = pieces.next()?.to_owned();
    for (hole, piece) in holes.into_iter().zip(pieces) {
        whole.push_str(hole);
        whole.push_str(piece);
    }
    Some(whole)
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UriPattern({:?})", &*self.text)
    }
}
