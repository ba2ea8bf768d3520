//! `GET|POST holds` and `DELETE holds/{id}`: records that retention must not remove.

use super::{
    State,
    error::ApiError,
    paging::{Page, newest_first},
    params::{self, Segment},
    person::Caller,
    policies::{Bytes, Members},
};
use crate::{
    approval::{HoldError, Holds, ShownHold},
    model::AgentId,
    store::Held,
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
    http::StatusCode,
};
use serde_json::Value;

impl From<HoldError> for ApiError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::NotFound => Self::NotFound("there is no such hold".to_owned()),
            HoldError::NoReason | HoldError::LongReason | HoldError::BadName => {
                Self::BadRequest(error.to_string())
            }
            HoldError::TooMany => Self::Conflict(error.to_string()),
            HoldError::Store(store) => store.into(),
        }
    }
}

/// The legal holds, the newest first.
pub(super) async fn holds(
    Given(port): State,
    _: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let page = Page::read(query.as_deref())?;
    let found = Holds::new(port.store().clone()).list().await?;
    let form = |one: &ShownHold| (newest_first(one.hold.since, &one.hold.id), one.form());
    Ok(Json(page.listing("holds", found.iter().map(form))))
}

/// Holds the records of a trace or an agent.
pub(super) async fn place(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["trace", "agent", "reason"])?;
    let held = match (members.text("trace")?, members.text("agent")?) {
        (Some(trace), None) => Held::Trace(params::trace(&trace)?),
        (None, Some(agent)) => Held::Agent(AgentId::from(agent)),
        (None, None) | (Some(_), Some(_)) => {
            return Err(ApiError::BadRequest("name one thing to hold: `trace` or `agent`".to_owned()));
        }
    };
    let reason = members.text("reason")?.ok_or(HoldError::NoReason)?;
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let (data, holds) = (&in_force.policies.data, Holds::new(port.store().clone()));
    let placed = holds.place(data, held, (Some(&person), &reason), port.now()).await?;
    tracing::warn!(hold.id = %placed.hold.id, what = placed.hold.held.words(), person = %person, "hold.placed");
    Ok((StatusCode::CREATED, Json(placed.form())))
}

/// Releases a hold, and gives it as it stood.
pub(super) async fn release(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let reason = params::reason(query.as_deref())?.ok_or(HoldError::NoReason)?;
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let (data, holds) = (&in_force.policies.data, Holds::new(port.store().clone()));
    let released = holds.release(data, &id, (&person, &reason), port.now()).await?;
    tracing::warn!(hold.id = %id, what = released.held.words(), person = %person, "hold.released");
    Ok(Json(released.form()))
}
