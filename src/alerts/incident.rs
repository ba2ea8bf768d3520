//! Incidents: what alerts belong together, until when somebody has to be done with it, and what they say then.

use super::alert::{Alert, shown};
use crate::{
    model::{AgentId, AlertSeverity, PersonId, TraceId, UpstreamName, WorkflowId, without_query},
    policy::IncidentRule,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Alerts of one incident that are named.
const MOST_ALERTS: usize = 50;

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// `open` or `closed`.
    pub status: String,
    /// Of what, like `agent:NAME`.
    pub subject: String,
    /// As bad as the worst of its alerts.
    pub severity: AlertSeverity,
    /// In a sentence: that of its first alert.
    pub reason: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// Until when it has to be closed.
    pub due: Timestamp,
    /// Its alerts, the first first.
    pub alerts: Vec<String>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// The workflow.
    pub workflow: Option<WorkflowId>,
    /// The server.
    pub upstream: Option<UpstreamName>,
    /// The trace of the first alert.
    pub trace_id: Option<TraceId>,
    /// Who closed it.
    pub by: Option<PersonId>,
    /// What they found.
    pub note: Option<String>,
    /// When.
    pub closed_at: Option<Timestamp>,
}

impl Incident {
    /// The same for those who see no values of arguments.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.reason = shown(&self.reason, None);
        self.subject = without_query(&self.subject);
        self
    }

    /// The one that an alert opens.
    pub(super) fn of(alert: &Alert, rule: &IncidentRule, subject: &str) -> Self {
        let sla = SignedDuration::try_from(rule.sla).unwrap_or(SignedDuration::MAX);
        Self {
            id: alert.id.replacen("alert-", "incident-", 1),
            status: "open".to_owned(),
            subject: subject.to_owned(),
            severity: alert.severity,
            reason: alert.reason.clone(),
            opened_at: alert.at,
            due: alert.at.checked_add(sla).unwrap_or(Timestamp::MAX),
            alerts: vec![alert.id.clone()],
            agent: alert.agent.clone(),
            workflow: alert.workflow.clone(),
            upstream: alert.upstream.clone(),
            trace_id: alert.trace_id,
            by: None,
            note: None,
            closed_at: None,
        }
    }

    /// Whether nobody has closed it.
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Takes in a further alert.
    pub(super) fn join(&mut self, alert: &Alert) {
        self.severity = self.severity.max(alert.severity);
        if self.alerts.len() < MOST_ALERTS {
            self.alerts.push(alert.id.clone());
        }
    }
}
