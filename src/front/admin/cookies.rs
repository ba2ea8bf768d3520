//! What a browser keeps: while it is at an issuer the sealed ticket of its attempt, and then the token of its session. Where people
//! reach the page over TLS both are `__Host-` cookies; on this machine without TLS browsers refuse those, and they are plain ones.

use crate::config::OidcConfig;
use axum::http::{HeaderMap, HeaderValue, header};

/// A cookie of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// The ticket of an attempt: it comes with the navigation from the issuer.
    Ticket,
    /// The token of a session: it comes with requests of our own pages alone.
    Session,
}

impl Cookie {
    /// Its name; a browser takes a `__Host-` cookie from this host alone, over TLS, for the whole of it.
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Ticket, true) => "__Host-tollgate-signin",
            (Self::Ticket, false) => "tollgate-signin",
            (Self::Session, true) => "__Host-tollgate-session",
            (Self::Session, false) => "tollgate-session",
        }
    }

    pub(super) fn set(self, rules: &OidcConfig, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = is_secure(rules);
        let same_site = match self {
            Self::Ticket => "Lax",
            Self::Session => "Strict",
        };
        let also = if secure { "; Secure" } else { "" };
        let name = self.name(secure);
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={seconds}{also}");
        HeaderValue::try_from(text).ok()
    }

    /// What a browser sent; nothing where it sent two: somebody else has set one of them.
    pub(super) fn of(self, rules: &OidcConfig, headers: &HeaderMap) -> Option<String> {
        let name = self.name(is_secure(rules));
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut found = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
        match (found.next(), found.next()) {
            (Some(value), None) => Some(value.to_owned()),
            (_, _) => None,
        }
    }
}

fn is_secure(rules: &OidcConfig) -> bool {
    rules.public_url.starts_with("https://")
}
