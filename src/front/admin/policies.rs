//! What was in force, what is, and what a person with the role `admin` puts in its place.

use super::{
    BODY_TIME, MAX_BODY, State, body,
    error::ApiError,
    params::{self, Segment},
    person::Caller,
};
use crate::{
    activation::{self, OrderError, Outcome, entry},
    evidence::{Bounds, Stage},
    gateway::{RolloutWish, Wish},
    model::Share,
    redaction::display_text,
};
use axum::{
    Json,
    extract::{FromRequest, RawQuery, Request, State as Given},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Reply = Result<Json<Value>, ApiError>;

/// The stages and bounds of a rollout for which nobody says others.
const STAGES: [&str; 4] = ["shadow", "10%", "50%", "all"];
const MAX_DENY_INCREASE: &str = "5%";
const MIN_CALLS: u64 = 20;

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Unknown(_) => Self::NotFound(error.to_string()),
            OrderError::NotAdmin(_) => Self::Forbidden(error.to_string()),
            OrderError::Ambiguous { .. } | OrderError::NoReason | OrderError::LongReason => {
                Self::BadRequest(error.to_string())
            }
            OrderError::NobodyAdmin
            | OrderError::NothingBefore
            | OrderError::KeptUnsigned
            | OrderError::Refused(_)
            | OrderError::NoRollout
            | OrderError::RolloutRuns
            | OrderError::Raced => Self::Conflict(error.to_string()),
            OrderError::Store(store) => store.into(),
        }
    }
}

/// Activations, newest first.
pub(super) async fn history(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let (limit, before) = params::history(query.as_deref())?;
    let found = activation::history(&**port.store(), limit, before).await?;
    let next = found.entries.last().map(|last| last.seq).filter(|_| found.truncated);
    let newest = before.is_none();
    let entries: Vec<Value> =
        found.entries.iter().enumerate().map(|(at, one)| entry(one, newest && at == 0)).collect();
    let folder = port.folder();
    Ok(Json(json!({
        "history": entries,
        "truncated": found.truncated,
        "next": next,
        "held": port.standing().held.is_some(),
        "folder": folder.map(|(folder, held)| folder.form(&held)),
    })))
}

/// The files of a snapshot as they were; digests of keys are not shown.
pub(super) async fn snapshot(
    Given(port): State,
    _: Caller,
    Segment(written): Segment,
    RawQuery(query): RawQuery,
) -> Reply {
    params::none(query.as_deref())?;
    let store = &**port.store();
    let snapshot = activation::resolve(store, &written).await?;
    let bundle = activation::kept_bundle(store, &snapshot).await?;
    let all = activation::history(store, usize::MAX, None).await?.entries;
    let mut activations = Vec::new();
    for (at, one) in all.iter().enumerate().filter(|(_, one)| one.snapshot == snapshot) {
        activations.push(entry(one, at == 0));
    }
    let files: Vec<Value> = bundle
        .without_digests()
        .files
        .iter()
        .map(|file| json!({"name": file.name, "text": file.text}))
        .collect();
    Ok(Json(json!({
        "snapshot": snapshot,
        "environment": bundle.environment,
        "servers": bundle.servers,
        "files": files,
        "active": all.first().is_some_and(|newest| newest.snapshot == snapshot),
        "activations": activations,
    })))
}

/// A request's body, read strictly: the members that it may have.
pub(super) struct Members(Map<String, Value>);

impl Members {
    pub(super) fn read(bytes: &[u8], known: &[&str]) -> Result<Self, ApiError> {
        let members = body::members(bytes).map_err(ApiError::BadRequest)?;
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self(members)),
            Some(name) => {
                let shown: String = name.chars().take(40).collect();
                Err(ApiError::BadRequest(format!(
                    "`{}` is not a member of this: expected {}",
                    display_text(&shown, 64),
                    known.join(", ")
                )))
            }
        }
    }

    /// One of them as it was given.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::BadRequest(format!("`{name}` must be a string"))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| ApiError::BadRequest(format!("`{name}` must be a whole number from 0"))),
        }
    }

    fn reason(&self) -> Result<String, ApiError> {
        self.text("reason")?.ok_or_else(|| ApiError::BadRequest(OrderError::NoReason.to_string()))
    }
}

/// The body of a request as bytes.
pub(super) struct Bytes(pub(super) axum::body::Bytes);

impl FromRequest<Arc<dyn super::AdminPort>> for Bytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, port: &Arc<dyn super::AdminPort>) -> Result<Self, ApiError> {
        body::read(request, port, BODY_TIME, MAX_BODY).await.map(Self)
    }
}

/// Puts a snapshot in force, or the folder again.
pub(super) async fn activate(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["snapshot", "folder", "reason"])?;
    let reason = members.reason()?;
    let folder = match members.0.get("folder") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(ApiError::BadRequest("`folder` must be true or false".to_owned())),
    };
    let wish = match (members.text("snapshot")?, folder) {
        (Some(snapshot), false) => Wish::Snapshot(snapshot),
        (None, true) => Wish::Folder,
        (Some(_), true) | (None, false) => {
            return Err(ApiError::BadRequest("give `snapshot`, or `folder: true`".to_owned()));
        }
    };
    let person = caller.person(&*port)?;
    outcome(port.order(person, wish, reason).await?)
}

/// Goes back to what was in force before.
pub(super) async fn rollback(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let reason = Members::read(&bytes, &["reason"])?.reason()?;
    let person = caller.person(&*port)?;
    outcome(port.order(person, Wish::Before, reason).await?)
}

fn outcome(outcome: Outcome) -> Reply {
    Ok(Json(match outcome {
        Outcome::Done { snapshot, notes } => json!({
            "snapshot": snapshot,
            "changed": true,
            "message": "in force: here at once, in every other process within a second",
            "notes": notes,
        }),
        Outcome::Nothing { snapshot, why } => {
            json!({"snapshot": snapshot, "changed": false, "message": why, "notes": []})
        }
    }))
}

/// The newest rollout.
pub(super) async fn rollout(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    params::none(query.as_deref())?;
    status(&port).await
}

async fn status(port: &Arc<dyn super::AdminPort>) -> Reply {
    let status = activation::status(&**port.store()).await?;
    Ok(Json(json!({"rollout": status.as_ref().map(activation::Status::form)})))
}

/// Begins a rollout.
pub(super) async fn start(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let known = ["snapshot", "stages", "max_deny_increase", "max_errors", "min_calls", "reason"];
    let members = Members::read(&bytes, &known)?;
    let reason = members.reason()?;
    let missing = || ApiError::BadRequest("`snapshot` is missing: what is to be tried".to_owned());
    let snapshot = members.text("snapshot")?.ok_or_else(missing)?;
    let stages = match members.0.get("stages") {
        None | Some(Value::Null) => STAGES.iter().filter_map(|text| Stage::parse(text)).collect(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str().and_then(Stage::parse).ok_or_else(|| {
                    ApiError::BadRequest("`stages` lists `shadow`, shares like `10%`, and `all`".to_owned())
                })
            })
            .collect::<Result<Vec<Stage>, ApiError>>()?,
        Some(_) => return Err(ApiError::BadRequest("`stages` must be a list".to_owned())),
    };
    let share = members.text("max_deny_increase")?;
    let share = Share::parse(share.as_deref().unwrap_or(MAX_DENY_INCREASE))
        .ok_or_else(|| ApiError::BadRequest(format!("`max_deny_increase` must be {}", Share::EXPECTED)))?;
    let bounds = Bounds {
        max_deny_increase: share,
        max_errors: members.number("max_errors")?.unwrap_or(0),
        min_calls: members.number("min_calls")?.unwrap_or(MIN_CALLS),
    };
    let person = caller.person(&*port)?;
    port.start_rollout(person, snapshot, (stages, bounds), reason).await?;
    status(&port).await
}

/// Goes on to the next stage.
pub(super) async fn advance(given: State, caller: Caller, query: RawQuery, bytes: Bytes) -> Reply {
    go_on(given, caller, query, bytes, RolloutWish::Advance).await
}

/// Ends a rollout.
pub(super) async fn abort(given: State, caller: Caller, query: RawQuery, bytes: Bytes) -> Reply {
    go_on(given, caller, query, bytes, RolloutWish::Abort).await
}

async fn go_on(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
    wish: RolloutWish,
) -> Reply {
    params::none(query.as_deref())?;
    let reason = Members::read(&bytes, &["reason"])?.reason()?;
    let person = caller.person(&*port)?;
    port.order_rollout(person, wish, reason).await?;
    status(&port).await
}
