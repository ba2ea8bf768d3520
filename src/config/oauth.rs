//! `[upstreams.*] oauth`: where Tollgate gets an access token of its own for an upstream.

use super::{
    ClientAuth, OauthConfig,
    expand::{Env, expand},
};
use crate::policy::{
    read::{Fields, fields, text, texts, word},
    source::{Node, Report},
};
use secrecy::SecretString;

const KEYS: &[&str] = &["token_url", "client_id", "client_secret", "scopes", "resource", "auth_method"];
const METHODS: &[(&str, ClientAuth)] =
    &[("client_secret_basic", ClientAuth::Basic), ("client_secret_post", ClientAuth::Post)];

/// Reads the table; what is wrong is in `report`. No message shows a value: each may hold a secret.
pub(super) fn read(
    node: &Node,
    upstream: Option<&url::Url>,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<OauthConfig> {
    let map = fields(node, "oauth", KEYS, report)?;
    let token_url = needed(&map, "token_url", "the token endpoint", env, report);
    let token_url = token_url.and_then(|(node, written)| {
        let parsed = url::Url::parse(&written).ok().filter(url::Url::has_host);
        let safe = parsed.filter(|url| {
            let plain = url.username().is_empty() && url.password().is_none();
            plain && (url.scheme() == "https" || (url.scheme() == "http" && super::is_loopback(url)))
        });
        if safe.is_none() {
            let why = "`token_url` cannot be sent a password (not shown: it may hold one)";
            report.error(node.start, why, "an https URL without a user, or http on this machine");
        }
        safe
    });
    let client_id = needed(&map, "client_id", "Tollgate's name there", env, report).map(|(_, text)| text);
    let client_secret = needed(&map, "client_secret", "\"${NAME}\" of the environment", env, report)
        .map(|(_, text)| SecretString::from(text));
    let resource = match map.get("resource") {
        None => upstream.map(|url| {
            let mut url = url.clone();
            url.set_fragment(None);
            url.to_string()
        }),
        Some(_) => needed(&map, "resource", "a URL", env, report).and_then(|(node, written)| {
            let good = url::Url::parse(&written).is_ok_and(|url| url.fragment().is_none());
            if !good {
                let why = "`resource` names no resource (not shown: it may hold a secret)";
                report.error(node.start, why, "an absolute URI without a fragment (RFC 8707)");
            }
            good.then_some(written)
        }),
    };
    let scopes = map.read("scopes", report, texts).unwrap_or_default();
    Some(OauthConfig {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scopes: scopes.iter().map(|scope| scope.to_string()).collect(),
        resource: resource?,
        auth_method: map.read("auth_method", report, word(METHODS)).unwrap_or(ClientAuth::Basic),
    })
}

fn needed<'n>(
    map: &Fields<'n>,
    key: &str,
    expected: &str,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<(&'n Node, String)> {
    let node = map.required(key, expected, report)?;
    let written = text(node, key, report)?;
    expand(node, &written, env, report).map(|text| (node, text))
}
