//! `GET deadletters`, `GET deadletters/{id}` and `POST deadletters/{id}`: side effects that failed or whose outcome is unknown.

use super::{
    State,
    error::ApiError,
    params::{self, Segment},
    person::Caller,
    policies::{Bytes, Members},
};
use crate::{
    audit::{DeadLetter, DeadLetterError, DeadLetterPage, dead_letter, dead_letters, dismiss},
    model::CallId,
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use serde_json::{Value, json};

type Reply = Result<Json<Value>, ApiError>;

impl From<DeadLetterError> for ApiError {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::NotFound => Self::NotFound(error.to_string()),
            DeadLetterError::Handled(_) => Self::Conflict(error.to_string()),
            DeadLetterError::NotReplayable(_) => Self::Conflict(error.to_string()),
            DeadLetterError::NoReason => Self::BadRequest(error.to_string()),
            DeadLetterError::Store(store) => store.into(),
        }
    }
}

/// Those that are open, or all, the newest first.
pub(super) async fn list(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let (all, part) = params::dead_letters(query.as_deref())?;
    let DeadLetterPage { found, next } = dead_letters(&**port.store(), all, part, port.now()).await?;
    let found: Vec<Value> = found.iter().map(DeadLetter::form).collect();
    // `next` is for `before_seq`.
    Ok(Json(json!({"deadletters": found, "truncated": next.is_some(), "next": next})))
}

/// One, with its arguments.
pub(super) async fn show(Given(port): State, caller: Caller, Segment(id): Segment) -> Reply {
    caller.person(&*port)?;
    let found = dead_letter(&**port.store(), &CallId::from(id), port.now()).await?;
    Ok(Json(found.ok_or(DeadLetterError::NotFound)?.whole_form()))
}

/// Replays or dismisses one.
pub(super) async fn act(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["action", "reason"])?;
    let reason = members.text("reason")?.unwrap_or_default();
    let action = members.text("action")?;
    let person = caller.person(&*port)?;
    let id = CallId::from(id);
    match action.as_deref() {
        Some("dismiss") => {
            let in_force = port.in_force();
            let data = &in_force.policies.data;
            let done = dismiss(&**port.store(), data, &id, (&person, &reason), port.now()).await?;
            Ok(Json(done.form()))
        }
        Some("replay") => Ok(Json(port.replay_dead_letter(person, id).await?)),
        Some(_) | None => Err(ApiError::BadRequest("`action` must be `replay` or `dismiss`".to_owned())),
    }
}
