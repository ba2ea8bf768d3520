//! What a record says to the detectors.

use crate::{
    evidence::Counted,
    model::{
        AgentId, AlertKind, EventDecision, EventDraft, EventType, Outcome, PolicyId, TraceId, UpstreamName,
        WorkflowId,
    },
};
use std::sync::Arc;

/// What is told of where somebody should look, beside the numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct About {
    pub(super) agent: Option<AgentId>,
    pub(super) workflow: Option<WorkflowId>,
    pub(super) upstream: Option<UpstreamName>,
    pub(super) tool: Option<Arc<str>>,
    pub(super) trace: Option<TraceId>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// Calls were decided: so many, refused, and lacking what the bundle requires; what one is estimated to cost, in
    /// millionths of a dollar.
    Decided { calls: u64, denied: u64, lacking: u64, cost: Option<u64> },
    /// A dispatched call ended.
    Ended { failed: bool },
    /// Somebody is told already: what of, the subject, and the sentence.
    Told { kind: AlertKind, subject: String, reason: Arc<str> },
}

/// What a record says, if anything.
pub(super) fn observe(event: &EventDraft) -> Option<(About, Seen)> {
    let seen = match event.event_type {
        EventType::AgentDecision => decided(event)?,
        EventType::AgentSideEffect => Seen::Ended { failed: event.outcome? != Outcome::Succeeded },
        EventType::Alert => told(event)?,
        _ => return None,
    };
    let about = About {
        agent: event.agent_id.clone(),
        workflow: event.workflow_id.clone(),
        upstream: event.upstream.clone(),
        tool: event.tool.clone(),
        trace: event.trace_id,
    };
    Some((about, seen))
}

fn decided(event: &EventDraft) -> Option<Seen> {
    let decision = event.decision?;
    // What people decided was counted as they were asked.
    if matches!(decision, EventDecision::Rejected | EventDecision::Expired) {
        return None;
    }
    let counted = Counted::of(event);
    let passes = matches!(
        decision,
        EventDecision::Allow
            | EventDecision::AllowWithConstraints
            | EventDecision::Approved
            | EventDecision::Remediate
    );
    let cost = event.cost_estimate_usd.filter(|_| passes && counted.is_none());
    let cost = cost.and_then(|cost| u64::try_from(cost.0).ok());
    let many = counted.map_or(1, |counted| counted.count);
    let calls = if decision == EventDecision::Approved { 0 } else { many };
    let is_denied = decision == EventDecision::Deny;
    // One cause, one alert: what lacks metadata is refused for that.
    let lacks = is_denied && event.policy_id.as_ref().map(PolicyId::as_str) == Some("required");
    let denied = if is_denied && !lacks { many } else { 0 };
    Some(Seen::Decided { calls, denied, lacking: if lacks { many } else { 0 }, cost })
}

fn told(event: &EventDraft) -> Option<Seen> {
    let detail = event.detail.as_ref()?;
    // What came of the book itself.
    if detail.get("alert_id").is_some() {
        return None;
    }
    let word = detail.get("alert")?.as_str()?;
    let kind = match word {
        "approval_escalated" => AlertKind::ApprovalSla,
        word => AlertKind::parse(word)?,
    };
    let agent = || event.agent_id.as_ref().map_or_else(|| "(none)".to_owned(), |id| format!("agent:{id}"));
    let named = |name: &str, of: Option<&str>| of.map(|of| format!("{name}:{of}"));
    let upstream = || named("upstream", event.upstream.as_deref());
    let subject = match kind {
        AlertKind::ApprovalSla => named("workflow", event.workflow_id.as_deref()),
        AlertKind::Budget => named("budget", event.policy_id.as_deref()),
        AlertKind::Quarantine => upstream(),
        AlertKind::Failures => named("tool", event.tool.as_deref()).or_else(upstream),
        AlertKind::Integrity => Some(named("record", event.action.as_deref()).unwrap_or_default()),
        _ => None,
    };
    let reason = event.reason.clone().unwrap_or_else(|| "an alert was recorded".into());
    Some(Seen::Told { kind, subject: subject.unwrap_or_else(agent), reason })
}
