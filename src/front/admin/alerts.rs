//! `alerts`, `incidents`, `duties` and `samples`: what people are told of, and what they do about it.

use super::{
    State,
    error::ApiError,
    paging::Page,
    params::{self, Segment},
    person::Caller,
    policies::{Bytes, Members},
};
use crate::{
    alerts::Verdict,
    model::{CallId, Share},
    oversight::{self, Finding, OversightError, Remark, SamplePage, Sampled, Told},
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use serde_json::{Value, json};

type Reply = Result<Json<Value>, ApiError>;

impl From<OversightError> for ApiError {
    fn from(error: OversightError) -> Self {
        match error {
            OversightError::NotFound(_) => Self::NotFound(error.to_string()),
            OversightError::Conflict(_) => Self::Conflict(error.to_string()),
            OversightError::NoNote | OversightError::LongNote => Self::BadRequest(error.to_string()),
            OversightError::Store(store) => store.into(),
        }
    }
}

/// Alerts, newest first.
pub(super) async fn list(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let filter = params::alerts(query.as_deref())?;
    let page = oversight::alerts(&**port.store(), &filter, port.now()).await?;
    Ok(Json(json!(if caller.sees_values() { page } else { page.without_values() })))
}

/// What a person says about an alert.
pub(super) async fn say(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["action", "note"])?;
    let note = members.text("note")?;
    let verdict = match members.text("action")?.as_deref() {
        Some("ack") => Verdict::Ack,
        Some("false") => Verdict::False,
        Some(_) | None => {
            return Err(ApiError::BadRequest("`action` must be `ack` or `false`".to_owned()));
        }
    };
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let said = Remark { by: &person, data: &in_force.policies.data, note: note.as_deref() };
    let rules = (&in_force.policies.oversight, port.now());
    Ok(Json(json!(oversight::say(&**port.store(), &id, verdict, said, rules).await?)))
}

/// Incidents, newest first.
pub(super) async fn incidents(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let (limit, before) = params::incidents(query.as_deref())?;
    let page = oversight::incidents(&**port.store(), limit, before.as_deref()).await?;
    Ok(Json(json!(if caller.sees_values() { page } else { page.without_values() })))
}

/// One incident, with what happened around it.
pub(super) async fn incident(Given(port): State, caller: Caller, Segment(id): Segment) -> Reply {
    let values = caller.sees_values();
    let found = oversight::incident(&**port.store(), &id).await?;
    let Told { timeline, truncated } =
        oversight::timeline(&**port.store(), &found, values, port.now()).await?;
    let mut form = json!(if values { found } else { found.without_values() });
    if let Some(members) = form.as_object_mut() {
        members.insert("timeline".to_owned(), timeline.into());
        members.insert("truncated".to_owned(), truncated.into());
    }
    Ok(Json(form))
}

/// Closes an incident.
pub(super) async fn close(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["action", "note"])?;
    let note = members.text("note")?;
    if members.text("action")?.as_deref() != Some("close") {
        return Err(ApiError::BadRequest("`action` must be `close`".to_owned()));
    }
    let (person, in_force) = (caller.person(&*port)?, port.in_force());
    let said = Remark { by: &person, data: &in_force.policies.data, note: note.as_deref() };
    Ok(Json(json!(oversight::close_incident(&**port.store(), &id, said, port.now()).await?)))
}

/// The duties of the bundle in force.
pub(super) async fn duties(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let page = Page::read(query.as_deref())?;
    let in_force = port.in_force();
    let found = oversight::duties(&**port.store(), &in_force.policies.oversight, port.now()).await?;
    Ok(Json(page.listing("duties", found.iter().map(|one| (one.name.clone(), json!(one))))))
}

/// A duty was done.
pub(super) async fn duty(
    Given(port): State,
    caller: Caller,
    Segment(name): Segment,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["action", "note"])?;
    let note = members.text("note")?;
    if members.text("action")?.as_deref() != Some("done") {
        return Err(ApiError::BadRequest("`action` must be `done`".to_owned()));
    }
    let person = caller.person(&*port)?;
    let in_force = port.in_force();
    let said = Remark { by: &person, data: &in_force.policies.data, note: note.as_deref() };
    let rules = (&in_force.policies.oversight, port.now());
    Ok(Json(json!(oversight::duty_done(&**port.store(), &name, said, rules).await?)))
}

fn share(port: &dyn super::AdminPort) -> Result<Share, ApiError> {
    port.in_force().policies.oversight.sample.ok_or_else(|| {
        ApiError::NotFound(
            "the bundle in force samples no calls: `audit: { sample: 1% }` in bundle.yaml".to_owned(),
        )
    })
}

/// The sample: calls that are looked at afterwards.
pub(super) async fn samples(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let (span, part) = params::samples(query.as_deref(), port.now())?;
    let share = share(&*port)?;
    let SamplePage { found, next } = oversight::samples(&**port.store(), share, span, part).await?;
    let shown = |one: Sampled| if caller.sees_values() { one } else { one.without_values() };
    let forms: Vec<Value> = found.into_iter().map(|one| shown(one).form()).collect();
    let truncated = next.is_some();
    Ok(Json(json!({"samples": forms, "share": share.to_string(), "truncated": truncated, "next": next})))
}

/// What a person found in one of them.
pub(super) async fn review(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["finding", "note"])?;
    let note = members.text("note")?;
    let finding = members.text("finding")?.and_then(|word| Finding::parse(&word));
    let finding =
        finding.ok_or_else(|| ApiError::BadRequest("`finding` must be `ok` or `problem`".to_owned()))?;
    let (person, in_force) = (caller.person(&*port)?, port.in_force());
    let said = Remark { by: &person, data: &in_force.policies.data, note: note.as_deref() };
    let sample = (share(&*port)?, port.now());
    let role = oversight::reviewer(caller.roles())
        .ok_or_else(|| ApiError::Forbidden("this takes a role that looks at calls afterwards".to_owned()))?;
    let done = oversight::review(&**port.store(), &CallId::from(id), finding, (said, role), sample).await?;
    Ok(Json(done.form()))
}
