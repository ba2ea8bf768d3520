//! Incidents as they stand, what happened around one, and who closes it.

use super::{OversightError, Remark, TRIES, changes, cursor, is_behind, load, place, raced};
use crate::{
    alerts::Incident,
    evidence::without_values,
    model::{Event, EventDraft, EventType},
    store::{EventQuery, Pattern, Store, StoreError},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

/// Records of a timeline.
const MOST_TOLD: usize = 200;
/// Records that are looked through for one.
const LOOKED_THROUGH: usize = 5_000;
/// Before the first alert, and after an incident was closed.
const AROUND: SignedDuration = SignedDuration::from_mins(15);

/// What happened around an incident.
#[derive(Clone, Debug)]
pub struct Told {
    /// The records, in their order: of its trace, agent, workflow or server, and of its alerts.
    pub timeline: Vec<Value>,
    /// Whether there are more.
    pub truncated: bool,
}

fn unknown() -> OversightError {
    OversightError::NotFound(
        "there is no such incident: `tollgate incidents list` shows those that there are".to_owned(),
    )
}

/// Incidents, the newest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IncidentPage {
    /// The incidents.
    pub incidents: Vec<Incident>,
    /// It stopped at its limit.
    pub truncated: bool,
    /// The cursor of what follows; none: that is all.
    pub next: Option<String>,
}

impl IncidentPage {
    /// The same for those who see no values of arguments.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self { incidents: self.incidents.into_iter().map(Incident::without_values).collect(), ..self }
    }
}

/// At most so many incidents, those that stand behind `before` in the list.
pub async fn incidents(
    store: &dyn Store,
    limit: usize,
    before: Option<&str>,
) -> Result<IncidentPage, StoreError> {
    let book = load(store).await?;
    let mut all = book.incidents();
    if let Some(before) = before {
        let place = place(before, all.iter().map(|incident| (incident.opened_at, &*incident.id)));
        all.retain(|incident| is_behind(place.as_ref(), incident.opened_at, &incident.id));
    }
    let truncated = all.len() > limit;
    all.truncate(limit);
    let incidents: Vec<Incident> = all.into_iter().cloned().collect();
    let next = incidents.last().filter(|_| truncated).map(|last| cursor(last.opened_at, &last.id));
    Ok(IncidentPage { incidents, truncated, next })
}

/// One incident.
pub async fn incident(store: &dyn Store, id: &str) -> Result<Incident, OversightError> {
    load(store).await?.incident(id).cloned().ok_or_else(unknown)
}

/// What happened around an incident; `values`: for somebody who sees the values of arguments.
pub async fn timeline(
    store: &dyn Store,
    incident: &Incident,
    values: bool,
    now: Timestamp,
) -> Result<Told, StoreError> {
    let since = incident.opened_at.checked_sub(AROUND).unwrap_or(Timestamp::MIN);
    let end = incident.closed_at.unwrap_or(now).checked_add(AROUND).unwrap_or(Timestamp::MAX);
    let all = EventQuery { since: Some(since), until: Some(end), ..EventQuery::default() };
    let query = match incident {
        Incident { trace_id: Some(trace), .. } => EventQuery { trace_id: Some(*trace), ..all },
        Incident { agent: Some(agent), .. } => {
            EventQuery { agent_id: Some(Pattern::from(agent.as_str())), ..all }
        }
        Incident { workflow: Some(workflow), .. } => {
            EventQuery { workflow_id: Some(Pattern::from(workflow.as_str())), ..all }
        }
        Incident { .. } => all,
    };
    let events = store.events(EventQuery { limit: LOOKED_THROUGH, most_bytes: 16 << 20, ..query }).await?;
    let is_all = events.len() < LOOKED_THROUGH;
    let of_it = |draft: &EventDraft| {
        let of_alert = |detail: &Value| {
            let id = detail.get("alert_id").and_then(Value::as_str);
            id.is_some_and(|id| incident.alerts.iter().any(|known| known == id))
                || detail.get("incident").and_then(Value::as_str) == Some(&*incident.id)
        };
        draft.detail.as_ref().is_some_and(of_alert)
            || incident.trace_id.is_some()
            || incident.agent.is_some()
            || incident.workflow.is_some()
            || (incident.upstream.is_some() && draft.upstream == incident.upstream)
    };
    let wanted: Vec<_> = events.iter().filter(|event| of_it(&event.draft)).collect();
    let truncated = !is_all || wanted.len() > MOST_TOLD;
    // What led to it counts as much as what came of it.
    let form = |event: &&Event| match values {
        true => told(event.seq, &event.draft),
        false => told(event.seq, &without_values(event.draft.clone())),
    };
    let timeline = wanted.iter().take(MOST_TOLD).map(form).collect();
    Ok(Told { timeline, truncated })
}

fn told(seq: i64, draft: &EventDraft) -> Value {
    json!({
        "seq": seq,
        "at": draft.timestamp,
        "event_type": draft.event_type,
        "agent": draft.agent_id,
        "workflow": draft.workflow_id,
        "tool": draft.tool,
        "upstream": draft.upstream,
        "decision": draft.decision,
        "policy_id": draft.policy_id,
        "outcome": draft.outcome,
        "reason": draft.reason,
        "trace_id": draft.trace_id,
        "action": draft.action.as_ref().filter(|_| draft.event_type == EventType::AdminAction),
    })
}

/// Closes an incident, and the alert that it is overdue.
pub async fn close_incident(
    store: &dyn Store,
    id: &str,
    said: Remark<'_>,
    now: Timestamp,
) -> Result<Incident, OversightError> {
    let note = said.needed()?;
    for _ in 0..TRIES {
        let mut book = load(store).await?;
        let known = book.incident(id).cloned().ok_or_else(unknown)?;
        let closed = book.close_incident(id, said.by, &note, now).cloned();
        let closed = closed.ok_or_else(|| {
            let by = known.by.as_ref().map_or("somebody", |by| by.as_str());
            OversightError::Conflict(format!("{by} has closed it already"))
        })?;
        let (changes, events) = changes(book);
        if store.set(changes, events).await? {
            return Ok(closed);
        }
    }
    Err(raced())
}
