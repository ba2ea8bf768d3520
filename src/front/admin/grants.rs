//! `GET grants`, `GET grants/{id}` and `DELETE grants/{id}`: the standing grants, what each let through, and how one is
//! taken back.

use super::{
    State,
    error::ApiError,
    params::{self, Segment},
    person::Caller,
    view,
};
use crate::{
    approval::RevokeError,
    model::{EventDecision, EventType, GrantId},
    redaction::withheld,
    store::{EventQuery, StandingGrant, Store, StoreError},
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
};
use serde_json::{Value, json};

/// The newest calls of a grant that are told.
const MOST_CALLS: usize = 100;

type Reply = Result<Json<Value>, ApiError>;

/// Standing grants, newest first; those that are live, unless the query says otherwise.
pub(super) async fn grants(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let (mut wanted, all) = params::grants(query.as_deref())?;
    wanted.live = !all;
    if !caller.sees_values() {
        params::without_query(wanted.tool.as_ref())?;
    }
    let limit = wanted.limit;
    wanted.limit = limit.saturating_add(1);
    let mut found = port.approvals().grants(wanted).await?;
    let truncated = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| truncated).map(|grant| grant.id.clone());
    let forms = found.into_iter().map(|grant| view::grant(&caller.grant(grant))).collect();
    let mut listing = view::listing("grants", forms);
    if let Some(members) = listing.as_object_mut() {
        members.insert("truncated".to_owned(), truncated.into());
        members.insert("next".to_owned(), json!(last));
    }
    Ok(Json(listing))
}

/// One grant, with the calls that it let through.
pub(super) async fn grant(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Reply {
    params::none(query.as_deref())?;
    let found = port.approvals().grant(&GrantId::from(id)).await?;
    let grant = found.ok_or_else(|| ApiError::NotFound(RevokeError::NotFound.to_string()))?;
    let values = caller.sees_grant(&grant);
    Ok(Json(grant_with_calls(&**port.store(), &caller.grant(grant), values).await?))
}

/// A grant with the newest of the calls that it let through, newest first: with the values of their arguments, or with masks in
/// their places.
pub async fn grant_with_calls(
    store: &dyn Store,
    grant: &StandingGrant,
    values: bool,
) -> Result<Value, StoreError> {
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        // A call that lost the race for it names it too, and is denied.
        decision: Some(EventDecision::Approved),
        grant_id: Some(grant.id.clone()),
        newest_first: true,
        limit: MOST_CALLS,
        ..EventQuery::default()
    };
    let shown = |arguments: &Value| if values { arguments.clone() } else { withheld(arguments) };
    let calls: Vec<Value> = store
        .events(query)
        .await?
        .iter()
        .map(|event| &event.draft)
        .map(|draft| {
            json!({
                "call_id": draft.call_id,
                "trace_id": draft.trace_id,
                "at": draft.timestamp,
                "decision": draft.decision,
                "arguments": draft.detail.as_ref().and_then(|detail| detail.get("arguments")).map(shown),
                "cost_estimate_usd": draft.cost_estimate_usd,
            })
        })
        .collect();
    let mut form = view::grant(grant);
    if let Some(members) = form.as_object_mut() {
        members.insert("calls".to_owned(), Value::Array(calls));
    }
    Ok(form)
}

/// Takes a grant back, and gives it as it stands then. Whether this person may is the grant's to say.
pub(super) async fn revoke(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Reply {
    let reason = params::reason(query.as_deref())?;
    let caller = caller.again(&*port)?;
    let person = &caller.id;
    let in_force = port.in_force();
    let id = GrantId::from(id);
    let revoked =
        port.approvals().revoke_grant(&in_force.policies, (person, caller.roles()), &id, reason).await?;
    tracing::info!(grant.id = %id, person = %person, "grant.revoked");
    Ok(Json(view::grant(&caller.grant(revoked))))
}
