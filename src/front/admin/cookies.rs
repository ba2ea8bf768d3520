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
    /// Of an attempt to connect something: it comes with the navigation from the issuer.
    Connect,
}

impl Cookie {
    /// Its name; a browser takes a `__Host-` cookie from this host alone, over TLS, for the whole of it.
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Ticket, true) => "__Host-tollgate-signin",
            (Self::Ticket, false) => "tollgate-signin",
            (Self::Session, true) => "__Host-tollgate-session",
            (Self::Session, false) => "tollgate-session",
            (Self::Connect, true) => "__Host-tollgate-connect",
            (Self::Connect, false) => "tollgate-connect",
        }
    }

    pub(super) fn set(self, rules: &OidcConfig, value: &str, seconds: u64) -> Option<HeaderValue> {
        self.set_as(is_secure(rules), value, seconds)
    }

    /// The same where it is known whether people come over TLS.
    pub(super) fn set_as(self, secure: bool, value: &str, seconds: u64) -> Option<HeaderValue> {
        let same_site = match self {
            Self::Ticket | Self::Connect => "Lax",
            Self::Session => "Strict",
        };
        let also = if secure { "; Secure" } else { "" };
        let name = self.name(secure);
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={seconds}{also}");
        HeaderValue::try_from(text).ok()
    }

    /// What a browser sent; nothing where it sent two: somebody else has set one of them.
    pub(super) fn of(self, rules: &OidcConfig, headers: &HeaderMap) -> Option<String> {
        self.of_as(is_secure(rules), headers)
    }

    /// The same where it is known whether people come over TLS.
    pub(super) fn of_as(self, secure: bool, headers: &HeaderMap) -> Option<String> {
        let name = self.name(secure);
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
