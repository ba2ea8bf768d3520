//! What a record says to the detectors.

use crate::{
    evidence::Counted,
    model::{
        AgentId, AlertKind, EventDecision, EventDraft, EventType, Outcome, PolicyId, TraceId, UpstreamName,
        WorkflowId, path_of,
    },
};
use jiff::Timestamp;
use std::sync::Arc;

/// Calls that were decided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Decided {
    /// How many.
    pub(super) calls: u64,
    /// Refused, and not for what they lack.
    pub(super) denied: u64,
    /// Refused since they lack what the bundle requires.
    pub(super) lacking: u64,
    /// About which rules had the last word.
    pub(super) ruled: u64,
    /// Those of them that rules refused.
    pub(super) barred: u64,
    /// What one is estimated to cost, in millionths of a dollar.
    pub(super) cost: Option<u64>,
    /// From when to when, where they are many in one record.
    pub(super) span: Option<(Timestamp, Timestamp)>,
}

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
    /// Calls were decided.
    Decided(Decided),
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
        tool: event.tool.as_deref().map(|tool| path_of(tool).into()),
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
    let is_ruled = !lacks && has_ruled(event, decision, counted.as_ref());
    let of = |is: bool, many: u64| if is { many } else { 0 };
    Some(Seen::Decided(Decided {
        calls,
        denied: of(is_denied && !lacks, many),
        lacking: of(lacks, many),
        ruled: of(is_ruled, calls),
        barred: of(is_ruled && is_denied, many),
        cost,
        span: counted.map(|counted| (counted.since, counted.until)),
    }))
}

/// What refuses calls beside rules: how often it does says nothing of whether those are still there.
const NO_RULES: [&str; 17] = [
    "activation",
    "approval",
    "check",
    "checks",
    "constraints",
    "data",
    "freeze",
    "identity",
    "internal",
    "loop",
    "pin",
    "request_state",
    "schema",
    "scope",
    "store",
    "upstream",
    "uri",
];

/// Whether it was rules that had the last word: a limit that is full stops what they let through.
fn has_ruled(event: &EventDraft, decision: EventDecision, counted: Option<&Counted>) -> bool {
    match decision {
        EventDecision::Throttle => false,
        EventDecision::Deny => {
            let policy = event.policy_id.as_ref().map(PolicyId::as_str);
            // What the rules said themselves stands beside it.
            let said = event.detail.as_ref().and_then(|detail| detail.pointer("/verdict/decision")?.as_str());
            let by_limit = counted.map_or_else(
                || said.is_some_and(|said| said != EventDecision::Deny.as_str()),
                |counted| counted.by_limit,
            );
            !by_limit && policy.is_some_and(|policy| !NO_RULES.contains(&policy))
        }
        _ => true,
    }
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
        AlertKind::Failures => named("tool", event.tool.as_deref().map(path_of)).or_else(upstream),
        AlertKind::Integrity => Some(named("record", event.action.as_deref()).unwrap_or_default()),
        _ => None,
    };
    let reason = event.reason.as_deref().unwrap_or("an alert was recorded");
    // What was asked at a URI stands in the record.
    let tool = event.tool.as_deref().filter(|tool| path_of(tool) != *tool);
    let reason = tool.map_or_else(|| reason.into(), |tool| reason.replace(tool, path_of(tool)).into());
    Some(Seen::Told { kind, subject: subject.unwrap_or_else(agent), reason })
}
