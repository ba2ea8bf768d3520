//! `GET pins`, `POST pins/accept` and `POST pins/pin`: what is not as it was pinned, and a person who takes it for what it is.

use super::{State, body, error::ApiError, paging::Page, params, person::Caller, policies::Bytes};
use crate::{catalog::AcceptError, model::UpstreamName, pinning::ItemKind, redaction::display_text};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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
    let item = |upstream: &UpstreamName, kind: ItemKind, name: &str| format!("{upstream}/{kind}/{name}");
    let (changes, findings, next) = of_items(
        &page,
        changes.into_iter().map(|one| (item(&one.upstream, one.kind, &one.name), one)),
        findings.into_iter().map(|one| (item(&one.upstream, one.kind, &one.name), one)),
    );
    let truncated = next.is_some();
    Ok(Json(json!({"changes": changes, "findings": findings, "truncated": truncated, "next": next})))
}

/// Both lists are of items: a page is of the items of either, with all that is listed of each.
fn of_items<C, F>(
    page: &Page,
    changes: impl Iterator<Item = (String, C)>,
    findings: impl Iterator<Item = (String, F)>,
) -> (Vec<C>, Vec<F>, Option<String>) {
    let mut items: BTreeMap<String, (Vec<C>, Vec<F>)> = BTreeMap::new();
    for (item, change) in changes {
        items.entry(item).or_default().0.push(change);
    }
    for (item, found) in findings {
        items.entry(item).or_default().1.push(found);
    }
    let (listed, next) = page.take(items);
    let (changes, findings): (Vec<Vec<C>>, Vec<Vec<F>>) = listed.into_iter().unzip();
    (changes.into_iter().flatten().collect(), findings.into_iter().flatten().collect(), next)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an item that has changed and in which something was found, a page has both.
    #[test]
    fn a_page_ends_between_items() {
        let list = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect::<Vec<_>>()
        };
        let (changes, findings) = (list(&["a", "b", "c"]), list(&["b", "b", "d"]));
        let (mut seen, mut after) = ((Vec::new(), Vec::new()), String::new());
        for _ in 0..4 {
            let page = Page::read(Some(&format!("limit=1{after}"))).unwrap();
            let (some, found, next) =
                of_items(&page, changes.clone().into_iter(), findings.clone().into_iter());
            seen.0.extend(some);
            seen.1.extend(found);
            after = next.map_or(String::new(), |next| format!("&after={next}"));
        }
        assert_eq!(seen.0, ["a", "b", "c"]);
        assert_eq!(seen.1, ["b", "b", "d"]);
        assert_eq!(after, "");
    }
}
