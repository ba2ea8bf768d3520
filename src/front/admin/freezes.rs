//! `GET|POST freeze` and `DELETE freeze/{id}`: what is frozen, and who freezes and lifts it.

use super::{
    State,
    error::ApiError,
    paging::{Page, newest_first},
    params::{self, Segment},
    person::Caller,
    policies::{Bytes, Members},
};
use crate::{
    admission::{FreezeKind, FreezeTarget},
    approval::{FreezeError, Froze, Frozen, freeze_doubt},
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
    http::StatusCode,
};
use serde_json::Value;

impl From<FreezeError> for ApiError {
    fn from(error: FreezeError) -> Self {
        match error {
            FreezeError::NotFound => Self::NotFound("there is no such freeze".to_owned()),
            FreezeError::NoReason | FreezeError::LongReason => Self::BadRequest(error.to_string()),
            FreezeError::TooMany => Self::Conflict(error.to_string()),
            FreezeError::Store(store) => store.into(),
        }
    }
}

/// What is frozen, the newest first.
pub(super) async fn freezes(
    Given(port): State,
    _: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let page = Page::read(query.as_deref())?;
    let found = port.freezes().list().await?;
    let form = |one: &Frozen| (newest_first(one.freeze.since, &one.freeze.id), one.form());
    Ok(Json(page.listing("freezes", found.iter().map(form))))
}

/// Freezes something: 201, or 200 where it is frozen already and stays as it is.
pub(super) async fn freeze(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    params::none(query.as_deref())?;
    let known = ["agent", "user", "tool", "upstream", "capability", "all", "reason"];
    let members = Members::read(&bytes, &known)?;
    let target = target(&members)?;
    let reason = members.text("reason")?.ok_or(FreezeError::NoReason)?;
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let data = &in_force.policies.data;
    let Froze { frozen, already } = port.freezes().freeze(data, target, Some(&person), &reason).await?;
    port.look_at_freezes().await;
    let words = frozen.target.words();
    if !already {
        tracing::warn!(freeze.id = %frozen.freeze.id, what = words, person = %person, "freeze.frozen");
    }
    let catalog = port.catalog();
    let upstreams = in_force.config.upstreams.keys().map(|name| name.as_str());
    let tools = catalog.tools.values().map(|tool| &*tool.exposed);
    let doubt = freeze_doubt(&frozen.target, &in_force.policies, upstreams, Some(tools));
    let mut form = frozen.form();
    if let Some(form) = form.as_object_mut() {
        form.insert("already".to_owned(), already.into());
        form.extend(doubt.map(|doubt| ("warning".to_owned(), Value::String(doubt))));
    }
    Ok((if already { StatusCode::OK } else { StatusCode::CREATED }, Json(form)))
}

/// Exactly one of the members that name something.
fn target(members: &Members) -> Result<FreezeTarget, ApiError> {
    let mut found = Vec::new();
    for kind in FreezeKind::ALL {
        let word = kind.as_str();
        match (kind, members.get(word)) {
            (_, None | Some(Value::Null | Value::Bool(false))) => {}
            (FreezeKind::All, Some(Value::Bool(true))) => found.push((*kind, String::new())),
            (FreezeKind::All, Some(_)) => {
                return Err(ApiError::BadRequest("`all` must be true".to_owned()));
            }
            (_, Some(_)) => found.extend(members.text(word)?.map(|name| (*kind, name))),
        }
    }
    match found.as_slice() {
        [(kind, name)] => FreezeTarget::new(*kind, name).map_err(ApiError::BadRequest),
        [] | [_, ..] => Err(ApiError::BadRequest(
            "name one thing to freeze: `agent`, `user`, `tool`, `upstream`, `capability`, or `all: true`"
                .to_owned(),
        )),
    }
}

/// Lifts a freeze, and gives it as it stood.
pub(super) async fn unfreeze(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let reason = params::reason(query.as_deref())?.unwrap_or_default();
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let (data, wanted) = (&in_force.policies.data, |frozen: &Frozen| frozen.freeze.id == id);
    let lifted = port.freezes().unfreeze(data, wanted, (&person, &reason)).await?;
    port.look_at_freezes().await;
    let words = lifted.target.words();
    tracing::warn!(freeze.id = %id, what = words, person = %person, "freeze.lifted");
    Ok(Json(lifted.form()))
}
