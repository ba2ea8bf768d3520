//! The records of a standing grant: what made it and what ended it. Each use is told by the decision of its call.

use super::approval::put;
use crate::model::{
    Actor, AgentId, ApprovalId, CallId, CapabilityId, EventDraft, EventType, GrantId, PersonId, PolicyId,
    RuleId, SnapshotId, TraceId, UpstreamName, WorkflowId,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The member of an event's `detail` that says what became of a grant: the whole of it in its first record, then what
/// changed. Everything that is told of a grant is read from there, so that the chain covers it.
const RECORD: &str = "grant_record";

/// Puts into an event what became of a grant, as JSON text.
pub fn put_grant(event: &mut EventDraft, id: &GrantId, record: &str) {
    event.grant_id = Some(id.clone());
    put(event, RECORD, record);
}

/// What an event says became of its grant.
pub fn grant_of(event: &EventDraft) -> Option<(&GrantId, &Value)> {
    Some((event.grant_id.as_ref()?, event.detail.as_ref()?.get(RECORD)?))
}

/// A grant as its records name it, with the call that asked for the approval that made it.
#[derive(Clone, Debug)]
pub struct GrantSubject<'g> {
    /// Its id.
    pub id: &'g GrantId,
    /// The approval that was answered with it.
    pub approval: &'g ApprovalId,
    /// The trace of the call that asked for that.
    pub trace_id: TraceId,
    /// The call.
    pub call_id: &'g CallId,
    /// Its workflow.
    pub workflow: Option<&'g WorkflowId>,
    /// Whose calls.
    pub agent: &'g AgentId,
    /// The person the agent acts for.
    pub user: Option<&'g PersonId>,
    /// What lets the agent call it.
    pub capability: Option<&'g CapabilityId>,
    /// The first rule that asked.
    pub rule: Option<(&'g PolicyId, Option<&'g RuleId>)>,
    /// What may be called.
    pub tool: &'g str,
    /// Whose.
    pub upstream: &'g UpstreamName,
    /// The bundle.
    pub snapshot: &'g SnapshotId,
}

/// How a grant ended, for its record.
#[derive(Clone, Debug)]
pub struct GrantEnded<'g> {
    /// The word for it.
    pub why: &'g str,
    /// The same in words.
    pub phrase: &'g str,
    /// Who has revoked it, in which role.
    pub by: Option<(&'g PersonId, &'static str)>,
    /// What they said.
    pub reason: Option<&'g str>,
    /// How many calls it had let through, of how many.
    pub used: (u64, u64),
}

impl GrantSubject<'_> {
    fn event(&self, kind: EventType, now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(kind, now);
        event.trace_id = Some(self.trace_id);
        event.workflow_id = self.workflow.cloned();
        event.agent_id = Some(self.agent.clone());
        event.user = self.user.cloned();
        event.capability_id = self.capability.cloned();
        event.policy_id = self.rule.map(|(policy, _)| policy.clone());
        event.rule_id = self.rule.and_then(|(_, rule)| rule.cloned());
        event.call_id = Some(self.call_id.clone());
        event.tool = Some(self.tool.into());
        event.upstream = Some(self.upstream.clone());
        event.policy_snapshot = Some(self.snapshot.clone());
        event.approval_id = Some(self.approval.clone());
        event.grant_id = Some(self.id.clone());
        event
    }

    /// `grant_made`, by a person in this role: with what they see of it.
    pub fn made(&self, now: Timestamp, person: &PersonId, role: &'static str, shown: Value) -> EventDraft {
        let mut event = self.event(EventType::GrantMade, now);
        event.actor = Actor { kind: "person".into(), role: Some(role.into()) };
        event.detail = Some(json!({"person": person, "grant": shown}));
        event
    }

    /// `grant_ended`
    pub fn ended(&self, now: Timestamp, end: &GrantEnded<'_>) -> EventDraft {
        let mut event = self.event(EventType::GrantEnded, now);
        if let Some((_, role)) = end.by {
            event.actor = Actor { kind: "person".into(), role: Some(role.into()) };
        }
        event.reason = Some(match end.reason {
            Some(said) => format!("{}: {said}", end.phrase).into(),
            None => end.phrase.into(),
        });
        event.detail = Some(json!({
            "why": end.why,
            "person": end.by.map(|(person, _)| person),
            "said": end.reason,
            "used": end.used.0,
            "uses": end.used.1,
        }));
        event
    }

    /// The whole of it in a record of now, where its own records are not of this journal any more.
    pub fn carried(&self, now: Timestamp, reason: &str) -> EventDraft {
        let mut event = self.event(EventType::AdminAction, now);
        event.action = Some("grant_carried".into());
        event.reason = Some(reason.into());
        event
    }
}
