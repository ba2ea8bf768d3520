//! URIs in one form: the one in which they are matched, shown to conditions, recorded and sent.
//!
//! Parsers disagree about many texts (WHATWG URL, RFC 3986, a file server that decodes once more). [`Uri::parse`] reads a
//! text once. Where all of them read the same, it gives the canonical form: dot segments resolved, unreserved characters
//! decoded and others encoded, scheme and host in lower case, no default port, no slash at the end. Where they do not, and
//! one form is plainly what is meant, it gives that form with a doubt: it serves to find what an upstream lists, and is
//! not sent. Everything else is an error.

mod escape;
mod host;
mod path;
mod pattern;
#[cfg(test)]
mod tests;

pub use host::host;
pub use path::{plain_readings, within};
pub use pattern::{UriPattern, UriPatternError, paths, spell_around};

use std::fmt;

/// The longest URI in bytes.
pub const LONGEST_URI: usize = 8192;

/// A URI that was read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    text: String,
    doubt: Option<UriError>,
}

/// Why a text is no URI that every parser reads alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriError {
    why: Why,
    form: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NotAbsolute,
    NoHost,
    TooLong,
    Control,
    Space,
    Backslash,
    Percent,
    NotUtf8,
    ManyTimes,
    Climbs,
    Dots,
    Separator,
    Empty,
    Dotted,
    Parameters,
    UserInfo,
    Host,
    Port,
    FileHost,
    Slashes,
    TwoReadings,
}

impl Why {
    fn sentence(self) -> &'static str {
        match self {
            Self::NotAbsolute => "it is no absolute URI",
            Self::NoHost => "it is no URL with a host",
            Self::TooLong => "it is longer than 8192 bytes",
            Self::Control => "it has a control character",
            Self::Space => "it begins or ends with white space",
            Self::Backslash => "it has a backslash",
            Self::Percent => {
                "it has a `%` that is not followed by two hexadecimal digits (a literal `%` is written `%25`)"
            }
            Self::NotUtf8 => "it does not decode to UTF-8",
            Self::ManyTimes => "it is percent-encoded more than once",
            Self::Climbs => "it climbs out of its root",
            Self::Dots => "it has a dot segment in a path that does not begin with a slash",
            Self::Separator => "its path has an encoded separator (`%2F`, `%3F` or `%23`)",
            Self::Empty => "its path has an empty segment",
            Self::Dotted => "its path has a segment whose name before `;` is empty or consists of dots",
            Self::Parameters => "its path has a segment with `;`, and some servers drop what follows it",
            Self::UserInfo => "it has user information before its host",
            Self::Host => "parsers disagree about its host",
            Self::Port => "its port is no number up to 65535",
            Self::FileHost => "a `file` URI with a host is read differently (it is written `file:///path`)",
            Self::Slashes => "after its scheme `//` is missing",
            Self::TwoReadings => "it is read differently by who decodes it, or takes a backslash for a slash",
        }
    }
}

impl From<Why> for UriError {
    fn from(why: Why) -> Self {
        Self { why, form: None }
    }
}

impl UriError {
    /// Whether the text is no absolute URI at all.
    pub fn is_not_absolute(&self) -> bool {
        self.why == Why::NotAbsolute
    }

    /// Whether the text is no URL with a host.
    pub fn has_no_host(&self) -> bool {
        self.why == Why::NoHost
    }

    /// How it is written instead, where one form is plainly what is meant.
    pub fn form(&self) -> Option<&str> {
        self.form.as_deref()
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why.sentence())?;
        match &self.form {
            Some(form) => write!(f, "; its canonical form is `{form}`"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UriError {}

/// What a scheme says of what follows it. `crm+file` is a `file`: that is how a URI of another upstream is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The host is one of the network.
    Network {
        port: u16,
    },
    File,
    Other,
}

impl Kind {
    fn of(scheme: &str) -> Self {
        match scheme.rsplit('+').next().unwrap_or_default() {
            "http" | "ws" => Self::Network { port: 80 },
            "https" | "wss" => Self::Network { port: 443 },
            "ftp" => Self::Network { port: 21 },
            "file" => Self::File,
            _ => Self::Other,
        }
    }
}

/// The scheme in lower case, and what follows its colon.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// What stands before the query, the query and the fragment.
fn split_tails(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, fragment) = match text.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (text, None),
    };
    match rest.split_once('?') {
        Some((path, query)) => (path, Some(query), fragment),
        None => (rest, None, fragment),
    }
}

impl Uri {
    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > LONGEST_URI {
            return Err(Why::TooLong.into());
        }
        if text.chars().any(char::is_control) {
            return Err(Why::Control.into());
        }
        if text.trim() != text {
            return Err(Why::Space.into());
        }
        let (scheme, rest) = split_scheme(text).ok_or(Why::NotAbsolute)?;
        let kind = Kind::of(&scheme);
        let (body, query, fragment) = split_tails(rest);
        if body.contains('\\') {
            return Err(Why::Backslash.into());
        }
        let mut out = format!("{scheme}:");
        let mut user = String::new();
        let mut doubt = None;
        let raw = match (body.strip_prefix("//"), kind) {
            (Some(body), _) => {
                let end = body.find('/').unwrap_or(body.len());
                let (raw, path) = body.split_at_checked(end).ok_or(Why::NotAbsolute)?;
                let authority = host::authority(raw, kind)?;
                doubt = authority.doubt;
                out.push_str("//");
                // In the network's schemes no path is the root.
                let path = match (path, kind) {
                    ("", Kind::Network { .. } | Kind::File) => "/",
                    (path, _) => path,
                };
                user = authority.user;
                out.push_str(&user);
                out.push_str(&authority.text);
                path
            }
            // RFC 8089 has both.
            (None, Kind::File) if body.starts_with('/') => {
                out.push_str("//");
                body
            }
            (None, Kind::File | Kind::Network { .. }) => return Err(Why::Slashes.into()),
            (None, Kind::Other) => body,
        };
        let path = path::canonical(raw)?;
        doubt = doubt.or(path.doubt);
        // In other schemes the root after a host is written like any other path: without a slash at its end.
        let bare = kind == Kind::Other && !out.ends_with([':', '/']);
        if !(bare && path.text == "/") {
            out.push_str(&path.text);
        }
        doubt = doubt.or(pattern::bare(&out).map(|_| Why::Parameters));
        let head = out.replacen(&user, "", 1);
        let head = pattern::bare(&head).unwrap_or(head);
        let mut tails = String::new();
        for (mark, tail) in [('?', query), ('#', fragment)] {
            // A mark with nothing behind it says nothing.
            let Some(tail) = tail.filter(|tail| !tail.is_empty()) else { continue };
            if escape::climbs(tail)? {
                return Err(Why::Climbs.into());
            }
            let (tail, twice) = escape::tail(tail)?;
            doubt = doubt.or(twice.then_some(Why::ManyTimes));
            tails.push(mark);
            tails.push_str(&tail);
        }
        out.push_str(&tails);
        let doubt = doubt.map(|why| {
            let form = head + &tails;
            UriError { why, form: (form != text).then_some(form) }
        });
        Ok(Self { text: out, doubt })
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The canonical form.
    pub fn into_string(self) -> String {
        self.text
    }

    /// Why the text that was read may only serve to find what is listed.
    pub fn doubt(&self) -> Option<&UriError> {
        self.doubt.as_ref()
    }
}
