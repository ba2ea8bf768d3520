//! `[auth] jwt`: whose access tokens are taken, and what their scopes grant.

use super::{
    JwksSource, JwtConfig,
    expand::expand,
    file::resolve,
    input::{Input, expanded},
};
use crate::{
    model::CapabilityId,
    policy::{
        read::{entries, fields, mismatch, short, text, word},
        source::{Kind, Node, Report},
    },
};
use std::collections::BTreeMap;

const KEYS: &[&str] =
    &["issuer", "audience", "jwks_url", "jwks_file", "agent_claim", "user_claim", "scope_map", "dpop"];

/// Reads the table; what is wrong is in `report`.
pub(super) fn read(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<JwtConfig> {
    let map = fields(node, "jwt", KEYS, report)?;
    let issuer = map.required("issuer", "the issuer's URL, as its tokens' `iss` has it", report);
    let issuer = issuer.and_then(|_| expanded(&map, "issuer", input, report).flatten());
    if let (Some(issuer), Some(node)) = (&issuer, map.get("issuer"))
        && !url::Url::parse(issuer)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    {
        mismatch(node, "issuer", "an http or https URL", report);
    }
    let audience = map.required("audience", "what tokens for this gateway have in `aud`", report);
    let audience = audience.and_then(|node| one_or_more(node, "audience", input, report));
    let keys = match (map.get("jwks_url"), map.get("jwks_file")) {
        (None, None) => {
            report.error(node.start, "`jwt` names no keys", "one of `jwks_url` and `jwks_file`");
            None
        }
        (Some(_), Some(second)) => {
            report.error(second.start, "`jwt` has both `jwks_url` and `jwks_file`", "one of the two");
            None
        }
        (Some(node), None) => jwks_url(node, input, report).map(JwksSource::Url),
        (None, Some(node)) => jwks_file(node, input, report),
    };
    let agent_claim =
        map.read("agent_claim", report, text).map_or_else(|| "sub".to_owned(), |c| c.to_string());
    let dpop = const { &[("accepted", false), ("required", true)] };
    let dpop_required = map.read("dpop", report, word(dpop)).unwrap_or(false);
    let user_claim = map.read("user_claim", report, text).map(|claim| claim.to_string());
    for key in ["agent_claim", "user_claim"] {
        if let Some(node) = map.get(key).filter(|node| node.as_text() == Some("")) {
            report.error(node.start, format!("`{key}` is empty"), "the name of a claim");
        }
    }
    if user_claim.as_ref() == Some(&agent_claim)
        && let Some(node) = map.get("user_claim")
    {
        report.error(
            node.start,
            format!("`{}` would name the agent and the person alike", short(&agent_claim)),
            "two claims: `agent_claim = \"client_id\"` and `user_claim = \"sub\"`",
        );
    }
    let scope_map =
        map.get("scope_map").map_or_else(|| Some(BTreeMap::new()), |node| scopes(node, input, report));
    Some(JwtConfig {
        issuer: issuer?,
        audience: audience?,
        keys: keys?,
        agent_claim,
        user_claim,
        scope_map: scope_map?,
        dpop_required,
        exchanged: false,
    })
}

/// One text, or a list of them.
fn one_or_more(node: &Node, key: &str, input: &Input<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let items = match &node.kind {
        Kind::List(items) if !items.is_empty() => items.as_slice(),
        Kind::List(_) => {
            mismatch(node, key, "a text, or a list with at least one", report);
            return None;
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Map(_) => {
            std::slice::from_ref(node)
        }
    };
    let mut read = Vec::new();
    for item in items {
        let written = text(item, key, report)?;
        read.push(expand(item, &written, input.env, report)?);
    }
    Some(read)
}

fn jwks_url(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<url::Url> {
    let written = text(node, "jwks_url", report)?;
    let expanded = expand(node, &written, input.env, report)?;
    let parsed = url::Url::parse(&expanded).ok().filter(url::Url::has_host);
    let safe =
        parsed.filter(|url| url.scheme() == "https" || (url.scheme() == "http" && super::is_loopback(url)));
    if safe.is_none() {
        report.error(
            node.start,
            format!(
                "`jwks_url` is `{}`: whoever can change what it answers can make tokens",
                short(&expanded)
            ),
            "an https URL, or http on this machine",
        );
    }
    safe
}

fn jwks_file(node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<JwksSource> {
    let written = text(node, "jwks_file", report)?;
    let path = resolve(input.path, &expand(node, &written, input.env, report)?);
    if !path.is_file() {
        report.error(
            node.start,
            format!("`{}` is not a file", path.display()),
            "the path of a JWK set in JSON",
        );
        return None;
    }
    Some(JwksSource::File(path))
}

fn scopes(
    node: &Node,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, Vec<CapabilityId>>> {
    let mut read = BTreeMap::new();
    for entry in entries(node, "scope_map", report)? {
        // RFC 6749, section 3.3.
        let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if entry.key.is_empty() || !entry.key.bytes().all(fits) {
            report.error(
                entry.at,
                format!("`{}` is not a scope", short(&entry.key)),
                "printable characters without spaces",
            );
        }
        let items = match &entry.value.kind {
            Kind::List(items) => items.as_slice(),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Map(_) => {
                std::slice::from_ref(&entry.value)
            }
        };
        let mut granted = Vec::new();
        for item in items {
            let Some(name) = text(item, &entry.key, report) else { continue };
            if input.names.is_some_and(|names| !names.capabilities.contains(&*name)) {
                report.error(
                    item.start,
                    format!("there is no capability `{}`", short(&name)),
                    "a capability of authority.yaml",
                );
            }
            granted.push(CapabilityId::from(name));
        }
        read.insert(entry.key.clone(), granted);
    }
    Some(read)
}
