//! What an HTTP status says in place of an answer, in words that may be logged and shown: an upstream's headers and bodies
//! are as little to be trusted as all else that it writes.

use super::deps::Redact;
use crate::redaction::display_text;
use http::{HeaderMap, HeaderName, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use std::{fmt, time::Duration};
use url::Url;

/// The longest single thing that is shown of it, in characters.
const LONGEST: usize = 200;
/// How much of a text is masked before it is cut.
const MOST_MASKED: usize = 4096;
/// The largest body whose words are looked for.
const LARGEST_BODY: usize = 64 * 1024;
/// Parts of all `WWW-Authenticate` headers that are looked at.
const MOST_PARTS: usize = 32;
/// The longest `Retry-After` that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The shortest credential of ours that is looked for in what is shown.
const SHORTEST_SECRET: usize = 8;
/// A longer segment of a path may be a key.
const LONGEST_SEGMENT: usize = 20;

/// An HTTP status in place of an answer. Whether the upstream acted is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Whether it has `WWW-Authenticate`.
    pub is_challenge: bool,
    /// Whether the account that somebody connected has too few scopes for it.
    pub lacks_scope: bool,
    /// What else it said: bounded, escaped, masked, without our own credentials.
    pub said: Box<str>,
}

impl HttpRefusal {
    /// A status with nothing beside it.
    pub fn bare(status: u16) -> Self {
        Self { status, retry_after: None, is_challenge: false, lacks_scope: false, said: "".into() }
    }

    /// Whether it is the server that failed: what became of the request nobody knows.
    pub fn is_failure(&self) -> bool {
        self.status >= 500
    }

    /// Whether it is about who asks, how often or where, whatever the body says.
    pub(super) fn is_about_the_caller(&self) -> bool {
        let by_status = matches!(self.status, 300..=399 | 401 | 407 | 429);
        by_status || self.is_challenge || self.retry_after.is_some()
    }

    /// Whether the same request may be taken later, as far as the upstream says.
    pub(super) fn is_for_now(&self) -> bool {
        self.is_failure() || self.retry_after.is_some()
    }

    /// What of it is no text of the upstream's.
    pub(super) fn cause(&self) -> String {
        let mut cause = format!("HTTP status {}", self.status);
        if let Some(name) = StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason()) {
            cause.push_str(&format!(" {name}"));
        }
        if let Some(wait) = self.retry_after {
            cause.push_str(&format!("; Retry-After: {}", humantime::format_duration(wait)));
        }
        cause
    }
}

impl fmt::Display for HttpRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause())?;
        if !self.said.is_empty() {
            write!(f, "; {}", self.said)?;
        }
        Ok(())
    }
}

/// Why something of an upstream is not there. What it says itself may be about anybody: the log, alerts and records have the
/// reason alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// What happened, in our words.
    pub reason: String,
    /// What the upstream said, masked, for those who run it; empty where it said nothing.
    pub said: String,
}

impl Cause {
    /// Cut and with each character shown as what it is, masked once more.
    pub(super) fn shown(&self, redact: &Redact, longest: usize) -> Self {
        let show = |text: &str| display_text(&redact(text), longest);
        Self { reason: show(&self.reason), said: show(&self.said) }
    }

    /// All of it.
    pub fn whole(&self) -> String {
        [&*self.reason, &*self.said]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl From<String> for Cause {
    fn from(reason: String) -> Self {
        Self { reason, said: String::new() }
    }
}

/// Why there is no connection, and how long the upstream asks to be left alone.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// The same with another reason.
    pub(super) fn reworded(self, words: impl FnOnce(String) -> String) -> Self {
        let Self { cause, retry_after } = self;
        Self { cause: Cause { reason: words(cause.reason), ..cause }, retry_after }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Cause::from(reason).into()
    }
}

/// What it takes to show it.
pub(super) struct Showing<'a> {
    pub(super) redact: &'a Redact,
    /// Our own credentials: an upstream may repeat them.
    pub(super) own: Vec<String>,
    /// The URL that was asked.
    pub(super) url: &'a Url,
    pub(super) now: Timestamp,
}

impl Showing<'_> {
    fn show(&self, text: &str) -> String {
        let end = text.floor_char_boundary(MOST_MASKED);
        let mut text = text.get(..end).unwrap_or_default().trim().to_owned();
        for secret in self.own.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
            text = text.replace(secret.as_str(), "[our credential]");
        }
        display_text(&(self.redact)(&text), LONGEST)
    }

    /// A URL without what may be secret in it; of our own origin the path alone.
    fn url(&self, text: &str) -> Option<String> {
        let url = self.url.join(text.trim()).ok()?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"))?;
        let path: Vec<&str> = url.path().split('/').map(plain_segment).collect();
        let path = path.join("/");
        if url.origin() == self.url.origin() {
            return Some(format!("{} on its own origin", self.show(&path)));
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(self.show(&format!("{}://{host}{port}{path}", url.scheme())))
    }
}

/// A segment of a path; what may be a key is left out.
fn plain_segment(segment: &str) -> &str {
    let has = |what: fn(&u8) -> bool| segment.bytes().any(|b| what(&b));
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let may_be_key = segment.len() > LONGEST_SEGMENT || (segment.len() >= SHORTEST_SECRET && mixed);
    if may_be_key { "…" } else { segment }
}

/// Reads status, headers and body.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    showing: &Showing<'_>,
) -> HttpRefusal {
    let mut said = Vec::new();
    if status.is_redirection() {
        let place = text_of(headers, &header::LOCATION).and_then(|location| showing.url(location));
        said.push(match place {
            Some(place) => format!("it redirects to {place}, and redirects are not followed"),
            None => "redirects are not followed".to_owned(),
        });
    }
    let challenges = challenges(headers, showing);
    if !challenges.is_empty() {
        said.push(format!("WWW-Authenticate: {challenges}"));
    }
    if let Some(words) = words(headers, body) {
        said.push(format!("it says: {}", showing.show(&words)));
    }
    HttpRefusal {
        status: status.as_u16(),
        retry_after: retry_after(headers, showing.now),
        is_challenge: !challenges.is_empty(),
        lacks_scope: false,
        said: said.join("; ").into(),
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After`: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text_of(headers, &header::RETRY_AFTER)?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_or(LONGEST_WAIT, Duration::from_secs)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Schemes, and of their parameters those that are meant to be read.
fn challenges(headers: &HeaderMap, showing: &Showing<'_>) -> String {
    let mut shown = String::new();
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    for part in values.flat_map(parts).take(MOST_PARTS) {
        // `Scheme`, `Scheme name=value`, or a further `name=value`.
        let (first, rest) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
        let (scheme, parameter) = match (first.contains('='), rest.trim()) {
            (true, _) => (None, part),
            (false, rest) if rest.starts_with('=') => (None, part),
            (false, rest) => (Some(first), rest),
        };
        let is_token = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(scheme) = scheme.filter(|scheme| scheme.len() <= LONGEST_SEGMENT && is_token(scheme)) {
            shown.push_str(if shown.is_empty() { "" } else { ", " });
            shown.push_str(scheme);
        }
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim();
        let bare = value.strip_prefix('"').map_or(value, |inner| inner.strip_suffix('"').unwrap_or(inner));
        let value = bare.replace("\\\"", "'");
        let name = name.trim().to_ascii_lowercase();
        let value = match name.as_str() {
            "realm" | "error" | "error_description" | "scope" => Some(showing.show(&value)),
            "resource_metadata" | "error_uri" => showing.url(&value),
            _ => None,
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            shown.push_str(&format!(" {name}=\"{value}\""));
        }
    }
    display_text(&shown, 2 * LONGEST)
}

/// The parts between commas that stand in no quotes.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let split = value.split(move |c: char| {
        let was_escaped = escaped;
        escaped = quoted && c == '\\' && !was_escaped;
        if c == '"' && !was_escaped {
            quoted = !quoted;
        }
        c == ',' && !quoted
    });
    split.map(str::trim).filter(|part| !part.is_empty())
}

/// What a body says to a reader, in the shapes that frameworks give their errors.
fn words(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let body = Some(body).filter(|body| body.len() <= LARGEST_BODY)?;
    let kind = text_of(headers, &header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let said = match kind {
        "text/plain" => String::from_utf8_lossy(body).lines().next().map(str::to_owned),
        _ if kind == "application/json" || kind.ends_with("+json") => {
            let body: Value = serde_json::from_slice(body).ok()?;
            let places = ["/error_description", "/error/message", "/message", "/detail", "/title", "/error"];
            let found = places.iter().filter_map(|place| body.pointer(place)?.as_str());
            found.map(str::trim).find(|text| !text.is_empty()).map(str::to_owned)
        }
        _ => None,
    };
    said.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::sync::Arc;

    fn refusal(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpRefusal {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let redact: Redact = Arc::new(|text: &str| text.replace("hunter2hunter2", "[masked]"));
        let url = "https://old.example/s/mcp".parse().unwrap();
        let now = "2026-03-01T10:00:00Z".parse().unwrap();
        let showing = Showing { redact: &redact, own: vec!["tok-123456".to_owned()], url: &url, now };
        read(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes(), &showing)
    }

    fn shown(status: u16, headers: &[(&'static str, &str)], body: &str) -> String {
        refusal(status, headers, body).to_string()
    }

    #[test]
    fn challenges_are_shown_by_what_is_meant_to_be_read() {
        let challenge = |value: &str| shown(401, &[("www-authenticate", value)], "");
        let head = "HTTP status 401 Unauthorized; WWW-Authenticate:";
        assert_eq!(
            challenge(r#"Bearer realm="a, b", error="invalid_token", nonce="n0nce", scope="x:read y""#),
            format!(r#"{head} Bearer realm="a, b" error="invalid_token" scope="x:read y""#)
        );
        assert_eq!(
            challenge("Negotiate YIIabc==, Basic realm=\"r\""),
            format!("{head} Negotiate, Basic realm=\"r\"")
        );
        assert_eq!(
            challenge(r#"Bearer resource_metadata="https://u:p@a.example/.well-known/x?k=v#f""#),
            format!(r#"{head} Bearer resource_metadata="https://a.example/.well-known/x""#)
        );
        assert_eq!(
            challenge(r#"Bearer error_description="tok-123456 or hunter2hunter2 is \"bad\"""#),
            format!(r#"{head} Bearer error_description="[our credential] or [masked] is 'bad'""#)
        );
        assert!(challenge(&format!("Bearer realm=\"{}\"", "x".repeat(5_000))).len() < 400);
        assert!(!challenge("Bearer realm=\"unended").is_empty());
    }

    #[test]
    fn a_redirect_says_where_to_without_what_may_be_secret() {
        let place = |location: &str| shown(308, &[("location", location)], "");
        let to = |place: &str| {
            format!(
                "HTTP status 308 Permanent Redirect; it redirects to {place}, and redirects are not followed"
            )
        };
        assert_eq!(
            place("https://u:p@new.example:8443/mcp/?token=abc#x"),
            to("https://new.example:8443/mcp/")
        );
        assert_eq!(place("/s/mcp/"), to("/s/mcp/ on its own origin"));
        assert_eq!(place("/s/0123456789abcdef/mcp"), to("/s/…/mcp on its own origin"));
        for odd in ["javascript:alert(1)", "http://[", "data:,x"] {
            assert_eq!(place(odd), "HTTP status 308 Permanent Redirect; redirects are not followed", "{odd}");
        }
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let wait = |text: &str| refusal(429, &[("retry-after", text)], "").retry_after;
        let secs = |n| Some(Duration::from_secs(n));
        assert_eq!(wait("17"), secs(17));
        assert_eq!(wait("Sun, 01 Mar 2026 10:01:30 GMT"), secs(90));
        assert_eq!(wait("Sun, 01 Mar 2026 09:00:00 GMT"), secs(0));
        assert_eq!(wait("99999999999999999999999"), Some(LONGEST_WAIT));
        for odd in ["", "soon", "-3", "1.5"] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_words_of_frameworks_are_found() {
        let json = [("content-type", "application/json; charset=utf-8")];
        let says = |body: &str| shown(400, &json, body);
        let expect = |words: &str| format!("HTTP status 400 Bad Request; it says: {words}");
        for (body, words) in [
            (r#"{"status":405,"error":"Method Not Allowed","path":"/x"}"#, "Method Not Allowed"),
            (r#"{"statusCode":404,"message":"Cannot POST /x","error":"Not Found"}"#, "Cannot POST /x"),
            (r#"{"error":"invalid_grant","error_description":"It ended"}"#, "It ended"),
            (r#"{"error":{"code":7,"message":"nested"}}"#, "nested"),
            (r#"{"detail":"of FastAPI"}"#, "of FastAPI"),
            (r#"{"message":"a\nb\u001b[31m"}"#, "a\\nb[U+001B][31m"),
        ] {
            assert_eq!(says(body), expect(words));
        }
        assert_eq!(
            shown(400, &[("content-type", "application/problem+json")], r#"{"title":"t"}"#),
            expect("t")
        );
        assert_eq!(
            shown(400, &[("content-type", "text/plain")], "Bad thing\nat line 3"),
            expect("Bad thing")
        );
        for none in ["", "[]", "{", r#"{"message":["a"]}"#, r#"{"error":" "}"#] {
            assert_eq!(says(none), "HTTP status 400 Bad Request");
        }
        assert_eq!(shown(502, &[("content-type", "text/html")], "<p>"), "HTTP status 502 Bad Gateway");
        assert!(says(&format!(r#"{{"message":"{}"}}"#, "é".repeat(20_000))).chars().count() < 350);
    }
}
