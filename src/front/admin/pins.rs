//! `GET pins`, `POST pins/accept` and `POST pins/pin`: what is not as it was pinned, and a person who takes it for what it is.

use super::{State, body, error::ApiError, paging::Page, params, person::Caller, policies::Bytes};
use crate::{
    catalog::{AcceptError, FoundItem, PinChange},
    model::UpstreamName,
    pinning::ItemKind,
    redaction::display_text,
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use serde_json::{Map, Value, json};

type Reply = Result<Json<Value>, ApiError>;

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Nothing(_) => Self::NotFound(error.to_string()),
            AcceptError::Other(_) | AcceptError::Raced => Self::Conflict(error.to_string()),
            AcceptError::Store(store) => store.into(),
        }
    }
}

/// Of which upstream, and of which kind of item, changes are asked for.
type PinFilter = (Option<String>, Option<ItemKind>);

/// `GET pins`: which of them, and which page.
fn filter(query: Option<&str>) -> Result<(PinFilter, Page), ApiError> {
    let (mut wanted, mut rest) = ((None, None), Vec::new());
    for (name, value) in params::pairs(query, params::PIN_PARAMS)? {
        match name.as_str() {
            "kind" => wanted.1 = Some(params::kind(&value)?),
            "upstream" => wanted.0 = Some(value),
            _ => rest.push((name, value)),
        }
    }
    Ok((wanted, Page::of(rest)?))
}

/// What is not as it was pinned, and what was found in what is listed.
pub(super) async fn changes(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let ((of, kind), page) = filter(query.as_deref())?;
    let of = of.map(UpstreamName::from);
    if let Some(name) = &of {
        known(&*port, name)?;
    }
    let (mut changes, mut findings) = (port.pin_changes(of.clone()), port.pin_findings(of));
    changes.retain(|change| kind.is_none_or(|kind| change.kind == kind));
    findings.retain(|found| kind.is_none_or(|kind| found.kind == kind));
    // Both lists are of items: a page is of the items of either.
    let item = |upstream: &UpstreamName, kind: ItemKind, name: &str| format!("{upstream}/{kind}/{name}");
    let change = |one: PinChange| (item(&one.upstream, one.kind, &one.name), (Some(one), None));
    let found = |one: FoundItem| (item(&one.upstream, one.kind, &one.name), (None, Some(one)));
    let (listed, next) = page.take(changes.into_iter().map(change).chain(findings.into_iter().map(found)));
    let (changes, findings): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
    let changes: Vec<PinChange> = changes.into_iter().flatten().collect();
    let findings: Vec<FoundItem> = findings.into_iter().flatten().collect();
    let truncated = next.is_some();
    Ok(Json(json!({"changes": changes, "findings": findings, "truncated": truncated, "next": next})))
}

/// Accepts an item, or everything of a server that waits.
pub(super) async fn accept(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = read(&bytes, &["upstream", "name", "kind", "fingerprint"])?;
    let upstream = text(&members, "upstream")?.ok_or_else(|| missing("upstream"))?;
    let (name, fingerprint) = (text(&members, "name")?, text(&members, "fingerprint")?);
    let kind = text(&members, "kind")?.map(|word| params::kind(&word)).transpose()?;
    let upstream = UpstreamName::from(upstream);
    known(&*port, &upstream)?;
    let person = caller.person(&*port)?;
    let accepted = port.accept_pins(person, upstream, (name, kind), fingerprint).await?;
    Ok(Json(json!({"accepted": accepted})))
}

/// Pins everything that a server lists as it is now, or that all of them list.
pub(super) async fn pin(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let of = text(&read(&bytes, &["upstream"])?, "upstream")?.map(UpstreamName::from);
    if let Some(name) = &of {
        known(&*port, name)?;
    }
    let person = caller.person(&*port)?;
    Ok(Json(json!({"pinned": port.pin_all(person, of).await?})))
}

fn known(port: &dyn super::AdminPort, name: &UpstreamName) -> Result<(), ApiError> {
    let in_force = port.in_force();
    let config = &in_force.config;
    match config.upstreams.contains_key(name) || config.disabled.contains_key(name) {
        true => Ok(()),
        false => {
            let shown: String = name.chars().take(64).collect();
            Err(ApiError::NotFound(format!("servers.toml has no server `{}`", display_text(&shown, 64))))
        }
    }
}

fn read(bytes: &[u8], known: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let members = body::members(bytes).map_err(ApiError::BadRequest)?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(members),
        Some(name) => {
            let shown: String = name.chars().take(40).collect();
            let known = known.join(", ");
            let told = format!("`{}` is not a member of this: expected {known}", display_text(&shown, 64));
            Err(ApiError::BadRequest(told))
        }
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::BadRequest(format!("`{name}` must be a string"))),
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::BadRequest(format!("`{name}` is missing: the name of a server in servers.toml"))
}
