//! The records of legal holds: what retention must not remove, and that it may again.

use crate::{
    model::{Actor, AgentId, EventDraft, EventType, PersonId, TraceId},
    redaction::Said,
};
use jiff::Timestamp;
use serde_json::json;

/// A legal hold, and who places or releases it.
#[derive(Clone, Copy, Debug)]
pub struct HoldRecord<'h> {
    /// The hold's id.
    pub id: &'h str,
    /// The trace whose records are held.
    pub trace: Option<TraceId>,
    /// The agent whose records are held.
    pub agent: Option<&'h AgentId>,
    /// Who acts; none: the local admin, without a key.
    pub by: Option<&'h PersonId>,
    /// Why.
    pub reason: &'h Said,
}

impl HoldRecord<'_> {
    /// The records of the trace or agent stay from now on.
    pub fn placed(&self, now: Timestamp) -> EventDraft {
        self.event("placed", now)
    }

    /// `[store] retention` counts for them again.
    pub fn released(&self, now: Timestamp) -> EventDraft {
        self.event("released", now)
    }

    fn event(&self, status: &str, now: Timestamp) -> EventDraft {
        let Self { id, trace, agent, by, reason } = *self;
        let mut event = EventDraft::system(EventType::AdminAction, now);
        if by.is_some() {
            event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
        }
        event.trace_id = trace;
        event.agent_id = agent.cloned();
        event.action = Some("legal_hold".into());
        event.reason = Some((&**reason).into());
        event.detail =
            Some(json!({"hold": id, "status": status, "trace": trace, "agent": agent, "person": by}));
        event
    }
}
