//! `GET labels` and `POST labels/clear`: what data has reached workflows and agents, and a person who takes it away.

use super::{
    State,
    error::ApiError,
    paging::Page,
    params,
    person::Caller,
    policies::{Bytes, Members},
};
use crate::{
    approval::{ClearError, clear_all_labels, held_labels},
    labels::Holder,
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use serde_json::{Value, json};

type Reply = Result<Json<Value>, ApiError>;

impl From<ClearError> for ApiError {
    fn from(error: ClearError) -> Self {
        match error {
            ClearError::Forbidden(_) => Self::Forbidden(error.to_string()),
            ClearError::NoReason => Self::BadRequest(error.to_string()),
            ClearError::Nothing(_) => Self::NotFound(error.to_string()),
            ClearError::Store(store) => store.into(),
        }
    }
}

/// `GET labels`: of whom, of all where there is none; and which page.
fn filter(query: Option<&str>) -> Result<(Vec<Holder>, Page), ApiError> {
    let (mut holders, mut rest) = (Vec::new(), Vec::new());
    for (name, value) in params::pairs(query, params::LABEL_PARAMS)? {
        match name.as_str() {
            "workflow" => holders.push(Holder::Workflow(value.into())),
            "agent" => holders.push(Holder::Agent(value.into())),
            _ => rest.push((name, value)),
        }
    }
    Ok((holders, Page::of(rest)?))
}

/// What stands, in the order of holders and labels.
pub(super) async fn labels(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let (holders, page) = filter(query.as_deref())?;
    let now = port.now();
    let mut held = held_labels(&**port.store(), now).await?;
    held.retain(|one| holders.is_empty() || holders.contains(&one.holder));
    Ok(Json(page.listing("labels", held.iter().flat_map(|one| one.forms(now)))))
}

/// Takes all labels of a workflow, an agent or both away, and gives what stood.
pub(super) async fn clear(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Reply {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["workflow", "agent", "reason"])?;
    let workflow = members.text("workflow")?.map(|id| Holder::Workflow(id.into()));
    let holders: Vec<Holder> =
        workflow.into_iter().chain(members.text("agent")?.map(|id| Holder::Agent(id.into()))).collect();
    if holders.is_empty() {
        let told = "name whose labels go: `workflow`, `agent`, or both";
        return Err(ApiError::BadRequest(told.to_owned()));
    }
    let reason = members.text("reason")?.unwrap_or_default();
    let person = caller.person(&*port)?;
    let (in_force, now) = (port.in_force(), port.now());
    let window = in_force.config.gateway.labels.window;
    let asked = (holders, &*reason);
    let mut cleared = Vec::new();
    for one in clear_all_labels(&**port.store(), now, &in_force.policies, &person, asked, window).await? {
        tracing::warn!(of = %one.holder, person = %person, "labels.cleared");
        cleared.extend(one.forms(now).map(|(_, form)| form));
    }
    Ok(Json(json!({"cleared": cleared})))
}
