//! The records of alerts, incidents, duties and reviews: who is told, what people do about it, and what they have looked at.

use crate::model::{
    Actor, AgentId, AlertKind, AlertSeverity, AlertStatus, CallId, EventDraft, EventType, PersonId, TraceId,
    UpstreamName, WorkflowId,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// An alert as its records name it.
#[derive(Clone, Copy, Debug)]
pub struct AlertSubject<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it is about.
    pub kind: AlertKind,
    /// Of what, like `agent:NAME`.
    pub subject: &'a str,
    /// How bad that can be.
    pub severity: AlertSeverity,
    /// The agent.
    pub agent: Option<&'a AgentId>,
    /// The workflow.
    pub workflow: Option<&'a WorkflowId>,
    /// The server.
    pub upstream: Option<&'a UpstreamName>,
    /// The tool.
    pub tool: Option<&'a Arc<str>>,
    /// The trace.
    pub trace: Option<TraceId>,
}

/// Who changed something, and what they say; nobody: the gateway itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct SaidBy<'a> {
    /// The person.
    pub person: Option<&'a PersonId>,
    /// The role by which they may; none: `admin`.
    pub role: Option<&'static str>,
    /// What they say.
    pub note: Option<&'a str>,
}

impl SaidBy<'_> {
    fn actor(&self) -> Actor {
        match self.person {
            Some(_) => Actor { kind: "person".into(), role: Some(self.role.unwrap_or("admin").into()) },
            None => Actor { kind: "system".into(), role: None },
        }
    }

    fn event(&self, action: &'static str, now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(EventType::AdminAction, now);
        event.actor = self.actor();
        event.action = Some(action.into());
        event.reason = self.note.map(Into::into);
        event
    }
}

impl AlertSubject<'_> {
    fn put(&self, event: &mut EventDraft) {
        event.agent_id = self.agent.cloned();
        event.workflow_id = self.workflow.cloned();
        event.upstream = self.upstream.cloned();
        event.tool = self.tool.cloned();
        event.trace_id = self.trace;
    }

    /// `alert`: it is raised. `figures` are the numbers behind it.
    pub fn raised(&self, reason: &Arc<str>, (score, figures): (f64, &Value), now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(EventType::Alert, now);
        self.put(&mut event);
        event.action = Some("alert".into());
        event.reason = Some(reason.clone());
        event.detail = Some(json!({
            "alert": self.kind,
            "alert_id": self.id,
            "subject": self.subject,
            "severity": self.severity,
            "score": score,
            "figures": figures,
        }));
        event
    }

    /// `admin_action`: it stands otherwise than before. `more` is what goes with that.
    pub fn changed(
        &self,
        (before, after): (AlertStatus, AlertStatus),
        said: SaidBy<'_>,
        more: &Value,
        now: Timestamp,
    ) -> EventDraft {
        let mut event = said.event("alert", now);
        self.put(&mut event);
        event.detail = Some(json!({
            "person": said.person,
            "alert_id": self.id,
            "kind": self.kind,
            "subject": self.subject,
            "before": before,
            "after": after,
            "more": more,
        }));
        event
    }
}

/// `admin_action`: an incident was opened, or a person closed it.
pub fn incident_changed(
    id: &str,
    after: &str,
    said: SaidBy<'_>,
    incident: &Value,
    now: Timestamp,
) -> EventDraft {
    let mut event = said.event("incident", now);
    event.detail = Some(json!({
        "person": said.person,
        "incident": id,
        "after": after,
        "of": incident,
    }));
    event
}

/// `admin_action`: a duty was done. `before`: since when it stood.
pub fn duty_done(name: &str, before: Option<Timestamp>, said: SaidBy<'_>, now: Timestamp) -> EventDraft {
    let mut event = said.event("duty", now);
    event.detail = Some(json!({
        "person": said.person,
        "duty": name,
        "before": before,
        "after": now,
    }));
    event
}

/// `admin_action`: a person looked at a call afterwards. `finding` is `ok` or `problem`.
pub fn call_reviewed(
    (call, trace, agent): (&CallId, Option<TraceId>, Option<&AgentId>),
    finding: &str,
    said: SaidBy<'_>,
    before: Option<&Value>,
    now: Timestamp,
) -> EventDraft {
    let mut event = said.event("review", now);
    event.trace_id = trace;
    event.agent_id = agent.cloned();
    event.call_id = Some(call.clone());
    event.detail = Some(json!({
        "person": said.person,
        "call": call,
        "before": before,
        "finding": finding,
    }));
    event
}
