//! `[admin.oidc]`: how people sign in to the page by OpenID Connect, and what their groups at the issuer give them here.

use super::{
    ClientAuth, OidcConfig,
    expand::expand,
    input::{Input, expanded},
    is_loopback,
};
use crate::{
    model::PersonId,
    policy::{
        ROLES, Role,
        names::did_you_mean,
        read::{Fields, duration, entries, fields, list_of, mismatch, short, text, texts, word},
        source::{Node, Report},
    },
};
use secrecy::SecretString;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

const KEYS: &[&str] = &[
    "issuer",
    "client_id",
    "client_secret",
    "auth_method",
    "public_url",
    "scopes",
    "groups_claim",
    "groups",
    "person_claim",
    "people",
    "acr_values",
    "amr",
    "idle",
    "lifetime",
];
const METHODS: &[(&str, ClientAuth)] =
    &[("client_secret_basic", ClientAuth::Basic), ("client_secret_post", ClientAuth::Post)];

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const IDLE: Duration = Duration::from_secs(30 * 60);
const LIFETIME: Duration = Duration::from_secs(8 * 3_600);

/// Reads the table; what is wrong is in `report`.
pub(super) fn read(
    node: &Node,
    (listen, tls): (SocketAddr, bool),
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<OidcConfig> {
    let map = fields(node, "oidc", KEYS, report)?;
    let issuer = map.required("issuer", "the issuer's URL, as its tokens' `iss` has it", report);
    let issuer = issuer.and_then(|node| {
        let written = expanded(&map, "issuer", input, report).flatten()?;
        safe(node, "issuer", &written, report).then_some(written)
    });
    let client_id = map.required("client_id", "Tollgate's name at the issuer", report);
    let client_id = client_id.and_then(|_| expanded(&map, "client_id", input, report).flatten());
    let client_secret = expanded(&map, "client_secret", input, report)?.map(SecretString::from);
    let public_url = match map.get("public_url") {
        Some(node) => expanded(&map, "public_url", input, report)
            .flatten()
            .and_then(|written| origin(node, &written, report)),
        None if listen.ip().is_loopback() => {
            Some(format!("{}://{listen}", if tls { "https" } else { "http" }))
        }
        None => {
            report.error(
                map.at,
                "`public_url` is missing: the issuer sends people back to it",
                "the page's address as people reach it, like https://tollgate.example:8788",
            );
            None
        }
    };
    let scopes = map.read("scopes", report, texts).unwrap_or_else(|| vec!["profile".into()]);
    let person_claim =
        map.read("person_claim", report, text).map_or_else(|| "sub".to_owned(), |c| c.to_string());
    let groups_claim =
        map.read("groups_claim", report, text).map_or_else(|| "groups".to_owned(), |c| c.to_string());
    let idle = map.read("idle", report, duration(MINUTE, DAY)).unwrap_or(IDLE);
    let lifetime = map.read("lifetime", report, duration(MINUTE, 30 * DAY)).unwrap_or(LIFETIME);
    let all =
        |read: Option<Vec<Arc<str>>>| read.unwrap_or_default().iter().map(ToString::to_string).collect();
    let groups = groups(&map, report);
    let people = people(&map, input, report);
    Some(OidcConfig {
        auth_method: map.read("auth_method", report, word(METHODS)).unwrap_or(ClientAuth::Basic),
        acr_values: all(map.read("acr_values", report, texts)),
        amr: all(map.read("amr", report, texts)),
        scopes: scopes.iter().map(ToString::to_string).filter(|scope| scope != "openid").collect(),
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        public_url: public_url?,
        groups_claim,
        groups: groups?,
        person_claim,
        people: people?,
        idle,
        lifetime,
    })
}

/// Whoever can change what an issuer answers can sign in as anybody.
fn safe(node: &Node, key: &str, written: &str, report: &mut Report<'_>) -> bool {
    let parsed = url::Url::parse(written).ok().filter(url::Url::has_host);
    let safe = parsed.is_some_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        plain
            && url.query().is_none()
            && url.fragment().is_none()
            && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)))
    });
    if !safe {
        report.error(
            node.start,
            match written.contains('@') {
                // A password may stand before it.
                true => {
                    format!("`{key}` cannot be trusted with sign-ins (not shown: it may hold a password)")
                }
                false => format!("`{key}` is `{}`, which cannot be trusted with sign-ins", short(written)),
            },
            "an https URL without user, query and fragment, or http on this machine",
        );
    }
    safe
}

/// An address without a path: cookies are for all of it.
pub(super) fn origin(node: &Node, written: &str, report: &mut Report<'_>) -> Option<String> {
    let url = url::Url::parse(written).ok().filter(|url| url.path() == "/");
    match url {
        Some(url) if safe(node, "public_url", written, report) => Some(url.origin().ascii_serialization()),
        Some(_) => None,
        None => {
            mismatch(
                node,
                "public_url",
                "the page's address without a path, like https://tollgate.example",
                report,
            );
            None
        }
    }
}

/// What each group of the issuer gives. None: roles are those of authority.yaml.
fn groups(map: &Fields<'_>, report: &mut Report<'_>) -> Option<Option<BTreeMap<String, Vec<Role>>>> {
    let Some(node) = map.get("groups") else { return Some(None) };
    let mut read = BTreeMap::new();
    for entry in entries(node, "groups", report)? {
        let roles = list_of(&entry.value, &entry.key, report, word(ROLES));
        read.insert(entry.key.clone(), roles.unwrap_or_default());
    }
    Some(Some(read))
}

/// Who is who: what the claim says, and the name in authority.yaml. None: the claim says that name.
fn people(
    map: &Fields<'_>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<Option<BTreeMap<String, PersonId>>> {
    let Some(node) = map.get("people") else { return Some(None) };
    let mut read = BTreeMap::new();
    for entry in entries(node, "people", report)? {
        let Some(name) = text(&entry.value, &entry.key, report) else { continue };
        if let Some(names) = input.names.filter(|names| !names.has_person(&name)) {
            let near = did_you_mean(&name, names.people());
            report.error(
                entry.value.start,
                format!("there is no person `{}`{near}", short(&name)),
                "a person of authority.yaml",
            );
        }
        let subject = expand(&entry.value, &entry.key, input.env, report)?;
        read.insert(subject, PersonId::from(name));
    }
    Some(Some(read))
}
