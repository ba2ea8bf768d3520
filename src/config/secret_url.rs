//! URLs any part of which may be a secret, and what requests to them are signed with.

use super::{
    input::{Input, expanded},
    is_loopback,
};
use crate::policy::{read::Fields, source::Report};
use secrecy::SecretString;
use std::fmt;

/// A URL any part of which may hold a secret: chat services put it into the path, some into a host of one's own.
#[derive(Clone)]
pub struct SecretUrl(pub(super) url::Url);

impl SecretUrl {
    /// All of it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://…", self.0.scheme())
    }
}

/// `url` of a server that gets requests of ours.
pub(super) fn url(
    map: &Fields<'_>,
    whose: &str,
    what: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<SecretUrl> {
    let node = map.required("url", what, report)?;
    let written = expanded(map, "url", input, report).flatten()?;
    let parsed = url::Url::parse(&written).ok().filter(url::Url::has_host);
    let safe = parsed.filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
    });
    if safe.is_none() {
        let why = format!("`url` of {whose} cannot be used (not shown: it may hold a secret)");
        report.error(node.start, why, "an https URL without a user, or http on this machine");
    }
    safe.map(SecretUrl)
}

/// `url` and `secret` of a server that gets signed requests.
pub(super) fn signed(
    map: &Fields<'_>,
    whose: &str,
    what: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> (Option<SecretUrl>, Option<SecretString>) {
    let url = url(map, whose, what, input, report);
    let secret = map.required("secret", "\"${NAME}\" of the environment, at least 24 characters", report);
    let secret = secret.and_then(|node| {
        let written = expanded(map, "secret", input, report).flatten()?;
        if written.len() < 24 {
            let why = format!("`secret` of {whose} is too short to sign with");
            report.error(node.start, why, "24 characters or more");
            return None;
        }
        Some(SecretString::from(written))
    });
    (url, secret)
}
