//! What a person takes away of what has reached somebody, told in a record.

use crate::{
    labels::{Holder, LabelSet},
    model::{Actor, AgentId, EventDraft, EventType, PersonId, WorkflowId},
    redaction::Said,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// `admin_action`: all labels of a holder are taken away. `before`: what stood.
pub fn labels_cleared(
    holder: &Holder,
    before: &LabelSet,
    (person, reason): (&PersonId, &Said),
    now: Timestamp,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
    event.action = Some("labels_cleared".into());
    event.reason = Some((&**reason).into());
    match holder {
        Holder::Agent(id) => event.agent_id = Some(AgentId::clone(id)),
        Holder::Workflow(id) => event.workflow_id = Some(WorkflowId::clone(id)),
    }
    let labels: Vec<Value> = before
        .standing(now)
        .map(|(label, mark)| {
            json!({"label": label, "since": mark.since, "until": mark.until, "trace_id": mark.trace})
        })
        .collect();
    event.detail = Some(json!({
        "person": person,
        "of": {holder.kind(): holder.id()},
        "before": labels,
        "after": [],
    }));
    event
}
