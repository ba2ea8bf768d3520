//! Everything on the admin listener that only looks.

use super::{
    AdminPort, OPENAPI, State,
    connections::holder_seen,
    error::ApiError,
    paging::{self, Page},
    params::{self, OWNERS, Segment, TOOL_PARAMS, pairs},
    person::Caller,
    view,
};
use crate::{
    approval::{DecideError, Frozen, frozen_by},
    audit::{self, NamedApprovals},
    connections::Connection,
    evidence::personal_lists_viewed,
    model::{ApprovalId, Event, EventDecision, EventType, GrantId, Holder, TraceId},
    policy::Role,
    store::{ApprovalFilter, ApprovalRecord, EventQuery, Store, StoreError},
    telemetry::Exposition,
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The most that an answer holds of events, in bytes of their records.
const MOST_BYTES: usize = 8 * 1024 * 1024;

type Reply = Result<Json<Value>, ApiError>;

/// The process answers.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// What is measured.
pub(super) async fn metrics(
    Given(port): State,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let form = Exposition::by_accept(&accept.collect::<Vec<_>>().join(","));
    Ok(([(header::CONTENT_TYPE, form.content_type())], port.metrics(form).await).into_response())
}

/// Whether calls can be served; details for people only.
pub(super) async fn ready(Given(port): State, caller: Option<Caller>) -> Result<Response, ApiError> {
    // First, so that what is said beside it is no older.
    let in_force = port.in_force();
    let readiness = port.readiness();
    let store = port.store().ping().await;
    let (code, status) = match (readiness.ready, &store) {
        // Calls in flight go on; nothing new should be sent here.
        (_, Ok(())) if readiness.draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (true, Ok(())) => (StatusCode::OK, "ready"),
        (false, Ok(())) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        // Everything is denied meanwhile.
        (_, Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "store unavailable"),
    };
    let Some(caller) = caller else {
        return Ok((code, Json(json!({"status": status}))).into_response());
    };
    let upstreams = upstreams_for(&caller, &*port);
    let unsettled = port.store().unsettled();
    let mut details = readiness.details;
    if let Err(error) = &store {
        tracing::error!(%error, "admin.store_failed");
        let reason = match caller.roles().contains(&Role::Admin) {
            true => error.to_string(),
            false => error.refusal().to_owned(),
        };
        let settlements = match unsettled {
            0 => String::new(),
            some => format!("; {some} settlements wait for it"),
        };
        details
            .insert(0, format!("the store does not answer, and every call is denied: {reason}{settlements}"));
    }
    let others = port.store().other_snapshots();
    if !others.is_empty() {
        let named: Vec<&str> = others.iter().map(|snapshot| &**snapshot).collect();
        details.push(format!(
            "other replicas decide by another snapshot than this one ({}): their servers.toml is not the same as here",
            named.join(", ")
        ));
    }
    details.extend(port.store().damage().iter().map(|damage| match &damage.approval {
        Some(id) => format!("approval `{id}` does not verify and is not used: {}", damage.problem),
        None => format!("the record is damaged: {}", damage.problem),
    }));
    let body = json!({
        "status": status,
        "details": details,
        "settlements_waiting": unsettled,
        "rejected_reload": readiness.rejected_reload,
        "policy_snapshot": in_force.policies.snapshot,
        "upstreams": upstreams,
    });
    Ok((code, Json(body)).into_response())
}

/// Who asks.
pub(super) async fn me(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    params::none(query.as_deref())?;
    let in_force = port.in_force();
    let known = in_force.policies.authority.people.get(&caller.id);
    Ok(Json(json!({
        "id": caller.id,
        "roles": caller.roles().iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "groups": known.map(|person| &person.groups),
        "subject": caller.subject(),
        "csrf": caller.csrf(),
        "version": env!("CARGO_PKG_VERSION"),
        "environment": &*in_force.policies.environment,
        "now": port.now(),
    })))
}

/// Approvals, newest first.
pub(super) async fn approvals(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let wanted = params::approvals(query.as_deref())?;
    // What is due is expired first: the store finds it under that word only then, and none is missing from what is listed.
    port.approvals().expire_all_due().await?;
    if let Some(cursor) = &wanted.before
        && port.store().approval(cursor.clone()).await?.is_none()
    {
        return Err(ApiError::BadRequest(
            "`before` names no approval: expected `next` of a listing".to_owned(),
        ));
    }
    let limit = wanted.limit;
    let one_more = ApprovalFilter { limit: limit.saturating_add(1), ..wanted };
    let mut found = port.approvals().list(one_more).await?;
    let truncated = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|record| record.id.clone()).filter(|_| truncated);
    let policies = &port.in_force().policies;
    let frozen = frozen(&*port).await;
    let form = |record: ApprovalRecord| {
        with_frozen(caller.approval(record.clone(), policies, port.now()), &record, &frozen)
    };
    let listed: Vec<Value> = found.into_iter().map(form).collect();
    // `next` is for `before`.
    let mut listing = json!({"approvals": listed, "truncated": truncated, "next": next});
    // One that does not verify says nothing that could be shown, and hides no other.
    let unverified: Vec<_> = port.store().damage().into_iter().filter_map(|damage| damage.approval).collect();
    if !unverified.is_empty()
        && let Some(members) = listing.as_object_mut()
    {
        members.insert("unverified".to_owned(), json!(unverified));
    }
    Ok(Json(listing))
}

/// One approval.
pub(super) async fn approval(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Reply {
    params::none(query.as_deref())?;
    let found = port.approvals().get(&ApprovalId::from(id)).await?;
    let record = found.ok_or(DecideError::NotFound)?;
    let proposed = port.approvals().grant_proposal(&record).await?;
    let in_force = port.in_force();
    // A proposal is made of values.
    let proposed = proposed.map(|proposed| match caller.sees(&record, &in_force.policies) {
        true => proposed,
        false => proposed.without_values(),
    });
    let frozen = frozen(&*port).await;
    let form = caller.approval(record.clone(), &in_force.policies, port.now());
    let mut form = with_frozen(form, &record, &frozen);
    if let (Some(members), Some(proposed)) = (form.as_object_mut(), proposed) {
        members.insert("proposed_grant".to_owned(), proposed.form());
    }
    Ok(Json(form))
}

/// What is frozen, as far as the store says so now: approvals are shown whatever else it does not answer.
async fn frozen(port: &dyn AdminPort) -> Vec<Frozen> {
    port.freezes().list().await.unwrap_or_default()
}

/// An approval's form with what freezes its call: whoever answers it must know that nothing comes of it meanwhile.
pub fn with_frozen(mut form: Value, record: &ApprovalRecord, frozen: &[Frozen]) -> Value {
    if let Some(members) = form.as_object_mut() {
        members.insert("frozen".to_owned(), json!(frozen_by(record, frozen)));
    }
    form
}

/// Events by filter.
pub(super) async fn events(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let wanted = params::events(query.as_deref(), port.now())?;
    if !caller.sees_values() {
        params::without_query(wanted.tool.as_ref())?;
    }
    let (found, truncated) = bounded(&**port.store(), wanted).await?;
    let found = caller.events(found, &*port).await?;
    // For `before_seq`, or for `after_seq` where that was given.
    let next = found.last().map(|event| event.seq).filter(|_| truncated);
    let mut listing = json!({"events": found, "truncated": truncated, "next": next});
    let of_record = port.store().damage().into_iter().filter(|damage| damage.approval.is_none());
    let left_out: Vec<String> = of_record.map(|damage| damage.problem).collect();
    if !left_out.is_empty()
        && let Some(members) = listing.as_object_mut()
    {
        members.insert("left_out".to_owned(), json!(left_out));
    }
    Ok(Json(listing))
}

/// Events within the query's limit and [`MOST_BYTES`], and whether more fit the query.
async fn bounded(store: &dyn Store, query: EventQuery) -> Result<(Vec<Event>, bool), StoreError> {
    let query = EventQuery { most_bytes: MOST_BYTES, ..query };
    let found = store.events(query.clone()).await?;
    let Some(last) = found.last().map(|event| event.seq) else { return Ok((found, false)) };
    let rest = match query.newest_first {
        true => EventQuery { until_seq: Some(last - 1), limit: 1, ..query },
        false => EventQuery { after_seq: Some(last), limit: 1, ..query },
    };
    let truncated = !store.events(rest).await?.is_empty();
    Ok((found, truncated))
}

/// One trace, call by call: its newest events, for an agent may put any number of calls under one trace.
pub(super) async fn trace(
    Given(port): State,
    caller: Caller,
    Segment(id): Segment,
    RawQuery(query): RawQuery,
) -> Reply {
    let (limit, before) = params::trace_page(query.as_deref())?;
    let id = params::trace(&id)?;
    let query = EventQuery {
        trace_id: Some(id),
        newest_first: true,
        until_seq: before.map(|seq| seq.saturating_sub(1)),
        limit,
        ..EventQuery::default()
    };
    let (mut found, truncated) = bounded(&**port.store(), query).await?;
    found.reverse();
    // For `before_seq`.
    let next = found.first().map(|event| event.seq).filter(|_| truncated);
    let found = caller.events(found, &*port).await?;
    if found.is_empty() {
        return Err(ApiError::NotFound("there is no event of this trace".to_owned()));
    }
    let named = named_approvals(&**port.store(), &found).await?;
    let named = caller.named(named, &port.in_force().policies);
    let mut report = trace_report(id, &found, &named);
    if let Some(members) = report.as_object_mut() {
        members.insert("truncated".to_owned(), truncated.into());
        members.insert("next".to_owned(), json!(next));
    }
    Ok(Json(report))
}

/// The approvals and grants that events name, with the decisions of the calls that used the approvals.
pub async fn named_approvals(store: &dyn Store, events: &[Event]) -> Result<NamedApprovals, StoreError> {
    let ids: BTreeSet<&ApprovalId> =
        events.iter().filter_map(|event| event.draft.approval_id.as_ref()).collect();
    let mut named = NamedApprovals::default();
    for id in ids {
        named.records.extend(store.approval(id.clone()).await?);
        named.uses.extend(approval_use(store, id).await?);
    }
    let grants: BTreeSet<&GrantId> =
        events.iter().filter_map(|event| event.draft.grant_id.as_ref()).collect();
    for id in grants {
        named.grants.extend(store.grant(id.clone()).await?);
    }
    Ok(named)
}

/// The decision of the call that used an approval: there is one at most.
pub async fn approval_use(store: &dyn Store, id: &ApprovalId) -> Result<Option<Event>, StoreError> {
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        decision: Some(EventDecision::Approved),
        approval_id: Some(id.clone()),
        limit: 1,
        ..EventQuery::default()
    };
    Ok(store.events(query).await?.pop())
}

/// The five answers about a trace, call by call, and the events that prove them. `events` may be of other traces too,
/// where these name one approval: `trace` is the one that asked for it.
pub fn trace_report(trace: TraceId, events: &[Event], approvals: &NamedApprovals) -> Value {
    let report = audit::questions(events, approvals);
    let calls: Vec<Value> = report
        .calls
        .iter()
        .map(|call| {
            let mut form = json!(call);
            if let Some(members) = form.as_object_mut() {
                let asked = call.approvals.iter().map(view::asked).collect();
                members.insert("approvals".to_owned(), Value::Array(asked));
            }
            form
        })
        .collect();
    json!({"trace_id": trace, "traces": report.traces, "calls": calls, "other": report.other, "notes": report.notes,
           "events": events})
}

/// The published authority map.
pub(super) async fn agents(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let page = Page::read(query.as_deref())?;
    Ok(Json(page.cut(view::authority(&port.in_force().policies), "agents", "id")))
}

/// People, with what they may do; of their keys how many.
pub(super) async fn people(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let page = Page::read(query.as_deref())?;
    let all = view::listing("people", view::people(&port.in_force().policies));
    Ok(Json(page.cut(all, "people", "id")))
}

/// Every tool behind the gateway that all share; with `person` or `agent` what their own accounts list, too.
pub(super) async fn tools(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let (own, page): (Vec<_>, Vec<_>) =
        pairs(query.as_deref(), TOOL_PARAMS)?.into_iter().partition(|(name, _)| OWNERS.contains(&&**name));
    let page = Page::of(page)?;
    let in_force = port.in_force();
    let catalog = match own.as_slice() {
        [] => port.catalog(),
        [(name, value)] => {
            let holder = holder_seen(&in_force, &caller, name, value)?;
            if holder != Holder::Person(caller.id.clone()) {
                let viewed = personal_lists_viewed((&holder, None), Some(&caller.id), (port.now(), "api"));
                port.store().record(vec![viewed]).await?;
            }
            port.catalog_of(&holder).await
        }
        _ => return Err(ApiError::BadRequest("`person` or `agent`, not both".to_owned())),
    };
    let all = view::listing("tools", view::tools(&catalog, &in_force.policies));
    Ok(Json(page.cut(all, "tools", "name")))
}

/// Who is connected to what.
fn connected(port: &dyn AdminPort) -> Vec<Connection> {
    port.connections().map(|connections| connections.list()).unwrap_or_default()
}

/// Every upstream and how it stands.
pub(super) async fn upstreams(Given(port): State, caller: Caller, RawQuery(query): RawQuery) -> Reply {
    let page = Page::read(query.as_deref())?;
    let all = upstreams_for(&caller, &*port);
    // Those that are not started come last.
    let cursor = |one: &Value| {
        let name = one.get("name").and_then(Value::as_str).unwrap_or_default();
        paging::at(usize::from(one.get("state") == Some(&json!("disabled"))), name)
    };
    Ok(Json(page.listing("upstreams", all.into_iter().map(|one| (cursor(&one), one)))))
}

/// Every upstream as they may see it: what one said itself may be about anybody.
fn upstreams_for(caller: &Caller, port: &dyn AdminPort) -> Vec<Value> {
    let in_force = port.in_force();
    let states = [port.upstreams(), port.personal_upstreams()].concat();
    let mut all = view::upstreams(&in_force.config, (&states, &connected(port)), &in_force.policies.data);
    if !caller.sees_values() {
        for said in all.iter_mut().filter_map(|one| one.get_mut("said")) {
            *said = Value::Null;
        }
    }
    all
}

/// The bundle in force.
pub(super) async fn policies(Given(port): State, _: Caller, RawQuery(query): RawQuery) -> Reply {
    let page = Page::read(query.as_deref())?;
    let mut form = view::policies(&port.in_force().policies);
    if let Some(members) = form.as_object_mut() {
        if let Some(Value::Array(all)) = members.remove("policies") {
            // In the order in which they decide under ties.
            let all = all.into_iter().enumerate().map(|(place, one)| (paging::at(place, ""), one));
            members.extend(page.listing("policies", all).as_object().cloned().unwrap_or_default());
        }
        let standing = port.standing();
        members.insert("held".to_owned(), standing.held.is_some().into());
        let folder = port.folder().map(|(folder, held)| folder.form(&held));
        members.insert("folder".to_owned(), json!(folder));
        let trial = standing.trial.as_ref().map(|trial| {
            json!({"candidate": trial.rollout.candidate, "stage": trial.rollout.stage(), "id": trial.rollout.id})
        });
        members.insert("rollout".to_owned(), json!(trial));
    }
    Ok(Json(form))
}

/// The OpenAPI document.
pub(super) async fn openapi(_: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response())
}
