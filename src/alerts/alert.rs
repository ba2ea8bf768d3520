//! One alert as it stands, and what makes it take more to raise another.

use crate::{
    evidence::AlertSubject,
    model::{
        AgentId, AlertKind, AlertSeverity, AlertStatus, PersonId, TraceId, UpstreamName, WorkflowId,
        without_query,
    },
    redaction::without_queries,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub kind: AlertKind,
    /// Of what, like `agent:NAME`.
    pub subject: String,
    /// How bad that can be.
    pub severity: AlertSeverity,
    /// When it was raised.
    pub at: Timestamp,
    /// When the same was seen last.
    pub last: Timestamp,
    /// How it stands.
    pub status: AlertStatus,
    /// How odd it is at its worst; 1 was just enough.
    pub score: f64,
    /// Windows in which the same was seen again.
    pub repeats: u64,
    /// In a sentence.
    pub reason: String,
    /// The numbers behind it.
    pub figures: Value,
    /// The agent.
    pub agent: Option<AgentId>,
    /// The workflow.
    pub workflow: Option<WorkflowId>,
    /// The server.
    pub upstream: Option<UpstreamName>,
    /// The tool.
    pub tool: Option<Arc<str>>,
    /// The trace.
    pub trace_id: Option<TraceId>,
    /// The record that told it first, where that is none of the book's own.
    pub record: Option<i64>,
    /// Since when what it is about is over.
    pub over: Option<Timestamp>,
    /// Who said something about it.
    pub by: Option<PersonId>,
    /// What.
    pub note: Option<String>,
    /// When.
    pub said_at: Option<Timestamp>,
    /// Until when that has an effect on the next ones.
    pub until: Option<Timestamp>,
    /// The incident that it belongs to.
    pub incident: Option<String>,
}

/// A sentence of an alert for those who see no values of arguments: what was asked at a URI is one.
pub(super) fn shown(sentence: &str, tool: Option<&str>) -> String {
    without_queries(&match tool {
        Some(tool) => sentence.replace(tool, &without_query(tool)),
        None => sentence.to_owned(),
    })
}

impl Alert {
    /// The same for those who see no values of arguments.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        let tool = self.tool.take();
        self.reason = shown(&self.reason, tool.as_deref());
        self.subject = without_query(&self.subject);
        self.tool = tool.map(|tool| without_query(&tool).into());
        self
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.status, AlertStatus::Open | AlertStatus::Acked)
    }

    pub(super) fn subject(&self) -> AlertSubject<'_> {
        AlertSubject {
            id: &self.id,
            kind: self.kind,
            subject: &self.subject,
            severity: self.severity,
            agent: self.agent.as_ref(),
            workflow: self.workflow.as_ref(),
            upstream: self.upstream.as_ref(),
            tool: self.tool.as_ref(),
            trace: self.trace_id,
        }
    }
}

/// It takes more to raise an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Of this kind.
    pub kind: AlertKind,
    /// About this subject.
    pub subject: String,
    /// So many times what is just enough.
    pub factor: f64,
    /// Until then.
    pub until: Timestamp,
    /// As this person said.
    pub by: PersonId,
}

impl Tuning {
    /// The same for those who see no values of arguments.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.subject = without_query(&self.subject);
        self
    }
}
