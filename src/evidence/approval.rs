//! The records of an approval, with what joins them to the call that asked.

use crate::model::{
    Actor, AgentId, ApprovalId, CallId, CapabilityId, EventDraft, EventType, MicroUsd, PersonId, PolicyId,
    RuleId, Sensitivity, SnapshotId, TraceId, UpstreamName, WorkflowId,
};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// The member of an event's `detail` that says what became of an approval: the whole of it in its first record, then what
/// changed. Everything that is told of an approval is read from there, so that the chain covers it.
const RECORD: &str = "record";

/// Puts into an event what became of an approval, as JSON text.
pub fn put_approval(event: &mut EventDraft, id: &ApprovalId, record: &str) {
    event.approval_id = Some(id.clone());
    put(event, RECORD, record);
}

/// Puts a member into an event's `detail`, as JSON text.
pub(super) fn put(event: &mut EventDraft, member: &str, value: &str) {
    let detail = match (event.texts.detail.take(), event.detail.take()) {
        (Some(text), _) => text.into_string(),
        (None, Some(value)) => value.to_string(),
        (None, None) => "{}".to_owned(),
    };
    let members = detail.trim_end().strip_suffix('}').unwrap_or("{").trim_end();
    let comma = if members.ends_with('{') { "" } else { "," };
    event.texts.detail = Some(format!("{members}{comma}\"{member}\":{value}}}").into());
}

/// What an event says became of its approval.
pub fn approval_of(event: &EventDraft) -> Option<(&ApprovalId, &Value)> {
    Some((event.approval_id.as_ref()?, event.detail.as_ref()?.get(RECORD)?))
}

/// The record of a change of an approval of which nobody told anything.
pub fn approval_changed(now: Timestamp) -> EventDraft {
    let mut event = EventDraft::system(EventType::AdminAction, now);
    event.action = Some("approval_changed".into());
    event
}

/// An approval as its records name it: the call that asked first.
#[derive(Clone, Debug)]
pub struct ApprovalSubject<'a> {
    /// Its id.
    pub id: &'a ApprovalId,
    /// The trace of the call.
    pub trace_id: TraceId,
    /// The call.
    pub call_id: &'a CallId,
    /// Its workflow.
    pub workflow: Option<&'a WorkflowId>,
    /// Who called.
    pub agent: &'a AgentId,
    /// What covers the call.
    pub capability: Option<&'a CapabilityId>,
    /// The action.
    pub action: &'a str,
    /// What decided that a person must.
    pub policy_id: &'a PolicyId,
    /// Which rule of it.
    pub rule_id: Option<&'a RuleId>,
    /// What the call will probably cost.
    pub cost: MicroUsd,
    /// Whether anything that is shown is masked.
    pub redacted: bool,
    /// What is called.
    pub tool: &'a str,
    /// Whose.
    pub upstream: &'a UpstreamName,
    /// The agent's operator, as it was when asked.
    pub operator: Option<&'a PersonId>,
    /// The person the agent acts for.
    pub user: Option<&'a PersonId>,
    /// The bundle that asked.
    pub snapshot: &'a SnapshotId,
}

impl ApprovalSubject<'_> {
    /// An event about it that nobody caused: the system acted.
    pub fn event(&self, kind: EventType, now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(kind, now);
        event.trace_id = Some(self.trace_id);
        event.workflow_id = self.workflow.cloned();
        event.agent_id = Some(self.agent.clone());
        event.capability_id = self.capability.cloned();
        event.action = Some(self.action.into());
        event.policy_id = Some(self.policy_id.clone());
        event.rule_id = self.rule_id.cloned();
        event.cost_estimate_usd = Some(self.cost);
        event.redacted = self.redacted;
        event.sensitivity_level = Sensitivity::Internal;
        event.call_id = Some(self.call_id.clone());
        event.tool = Some(self.tool.into());
        event.upstream = Some(self.upstream.clone());
        event.policy_snapshot = Some(self.snapshot.clone());
        event.approval_id = Some(self.id.clone());
        event.operator = self.operator.cloned();
        event.user = self.user.cloned();
        event
    }

    /// An event about it that an agent caused.
    pub fn of_agent(&self, kind: EventType, now: Timestamp, role: &Arc<str>) -> EventDraft {
        let mut event = self.event(kind, now);
        event.actor =
            Actor { kind: "agent".into(), role: Some(role.clone()).filter(|role| !role.is_empty()) };
        event
    }

    /// An event about it that a person caused, in this role.
    pub fn of_person(&self, kind: EventType, now: Timestamp, role: &'static str) -> EventDraft {
        let mut event = self.event(kind, now);
        event.actor = Actor { kind: "person".into(), role: Some(role.into()) };
        event
    }
}
