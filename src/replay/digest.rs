//! What a time was like, from its records alone: what was refused and by which policies, what people changed, what was alerted, and
//! what failed. One pass in the order of the record, with bounded memory.

use crate::{
    evidence::Counted,
    model::{
        AgentId, EventDecision, EventDraft, EventType, Outcome, PolicyId, RuleId, TraceId, UpstreamName,
        path_of,
    },
    redaction::without_queries,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

/// Names of one kind that are told apart; further ones are counted as one.
const MOST_NAMES: usize = 10_000;
/// Agents that are told apart of one policy and rule.
const MOST_AGENTS: usize = 1_000;
/// Changes that are told one by one: the newest.
const MOST_CHANGES: usize = 200;

/// What one record says to a digest.
#[derive(Clone, Debug, PartialEq)]
pub enum DigestSeen {
    /// So many calls were refused.
    Refused {
        /// By which policy and rule, in which word.
        by: RefusedBy,
        /// Whose.
        agent: Option<AgentId>,
        /// How many.
        calls: u64,
        /// Why.
        reason: Option<Arc<str>>,
        /// Where one of them is.
        trace: Option<TraceId>,
    },
    /// A person, or Tollgate itself, changed something.
    Changed(DigestChange),
    /// Somebody should have looked.
    Alerted {
        /// What kind.
        kind: Arc<str>,
        /// What was said.
        reason: Option<Arc<str>>,
    },
    /// A dispatched call failed, or nobody knows what became of it.
    Failed {
        /// Of which server and tool.
        of: FailedAt,
        /// How it ended.
        outcome: Outcome,
        /// What was said.
        reason: Option<Arc<str>>,
    },
    /// Requests came without a key or with a wrong one.
    Unauthenticated(u64),
}

/// By what calls were refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefusedBy {
    /// The policy.
    pub policy_id: Option<PolicyId>,
    /// Its rule.
    pub rule_id: Option<RuleId>,
    /// The word.
    pub decision: EventDecision,
}

/// Where calls failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailedAt {
    /// The server.
    pub upstream: Option<UpstreamName>,
    /// The tool, URI or prompt.
    pub tool: Option<Arc<str>>,
}

/// A change, in the words of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestChange {
    /// When.
    pub at: Timestamp,
    /// What kind of record it is.
    pub event_type: EventType,
    /// What was done, where the record says more than its kind.
    pub action: Option<Arc<str>>,
    /// To what.
    pub what: Option<String>,
    /// Who did it; null: Tollgate itself, or the local admin.
    pub by: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
}

/// What a record says, if anything.
pub fn digest_seen(event: &EventDraft) -> Option<DigestSeen> {
    match event.event_type {
        EventType::AgentDecision => refused(event),
        EventType::AgentSideEffect => {
            let outcome = event.outcome.filter(|outcome| *outcome != Outcome::Succeeded)?;
            let tool = event.tool.as_deref().map(|tool| path_of(tool).into());
            let of = FailedAt { upstream: event.upstream.clone(), tool };
            Some(DigestSeen::Failed { of, outcome, reason: sentence(event) })
        }
        EventType::Alert => {
            let named = detail(event, "alert").or(event.action.as_deref()).unwrap_or("alert");
            Some(DigestSeen::Alerted { kind: named.into(), reason: sentence(event) })
        }
        EventType::AuthFailed => {
            let count = event.detail.as_ref().and_then(|detail| detail.get("count")).and_then(Value::as_u64);
            Some(DigestSeen::Unauthenticated(count.unwrap_or(1)))
        }
        EventType::PolicyActivated
        | EventType::PolicyRejected
        | EventType::AdminAction
        | EventType::ToolQuarantined
        | EventType::ToolAccepted
        | EventType::GrantMade
        | EventType::GrantEnded
        | EventType::Frozen
        | EventType::Unfrozen => changed(event).map(DigestSeen::Changed),
        EventType::AgentStart
        | EventType::ApprovalRequested
        | EventType::ApprovalDecided
        | EventType::ApprovalExpired
        | EventType::ApprovalCancelled
        | EventType::Note => None,
    }
}

/// Its reason, without what was asked at a URI.
fn sentence(event: &EventDraft) -> Option<Arc<str>> {
    let reason = event.reason.as_deref()?;
    let tool = event.tool.as_deref().filter(|tool| path_of(tool) != *tool);
    let named = tool.map(|tool| reason.replace(tool, path_of(tool)));
    Some(without_queries(named.as_deref().unwrap_or(reason)).into())
}

fn detail<'e>(event: &'e EventDraft, name: &str) -> Option<&'e str> {
    event.detail.as_ref()?.get(name)?.as_str()
}

fn refused(event: &EventDraft) -> Option<DigestSeen> {
    let decision = event.decision.unwrap_or(EventDecision::Deny);
    match decision {
        EventDecision::Deny
        | EventDecision::Throttle
        | EventDecision::Suggest
        | EventDecision::Rejected
        | EventDecision::Expired => {}
        // A change that is proposed refuses, one that is applied does not: what was dispatched is told as such.
        EventDecision::Remediate
        | EventDecision::Allow
        | EventDecision::AllowWithConstraints
        | EventDecision::PendingApproval
        | EventDecision::Approved => return None,
    }
    Some(DigestSeen::Refused {
        by: RefusedBy { policy_id: event.policy_id.clone(), rule_id: event.rule_id.clone(), decision },
        agent: event.agent_id.clone(),
        calls: Counted::of(event).map_or(1, |counted| counted.count),
        reason: sentence(event),
        trace: event.trace_id,
    })
}

/// What the store writes again before retention removes it says nothing new.
const CARRIED: [&str; 3] = ["approval_carried", "grant_carried", "approval_changed"];

fn changed(event: &EventDraft) -> Option<DigestChange> {
    let action = event.action.as_deref();
    if action.is_some_and(|action| CARRIED.contains(&action)) {
        return None;
    }
    let after =
        detail(event, "after").or_else(|| detail(event, "finding")).or_else(|| detail(event, "status"));
    // What became of an alert by itself is told with the alerts.
    if action == Some("alert") && detail(event, "person").is_none() {
        return None;
    }
    let named_as = |kind: &str, name: &str| format!("{kind} {name}");
    let of_kind = || match (detail(event, "kind"), detail(event, "name")) {
        (Some(kind), Some(name)) => Some(named_as(kind, name)),
        (Some("all"), None) => Some("everything".to_owned()),
        (_, _) => None,
    };
    let what = match event.event_type {
        EventType::Frozen | EventType::Unfrozen => of_kind(),
        EventType::PolicyActivated | EventType::PolicyRejected => event
            .policy_snapshot
            .as_ref()
            .map(|snapshot| named_as("snapshot", &snapshot.as_str().chars().take(12).collect::<String>())),
        EventType::GrantMade | EventType::GrantEnded => {
            let of = event.tool.as_deref().map(path_of).zip(event.agent_id.as_deref());
            of.map(|(tool, agent)| format!("tool {tool} for agent {agent}"))
        }
        EventType::AdminAction => named_in_detail(event),
        _ => None,
    };
    let named = || {
        let tool = event.tool.as_deref().map(|name| named_as("tool", path_of(name)));
        let upstream = || event.upstream.as_ref().map(|name| named_as("server", name.as_str()));
        let agent = || event.agent_id.as_ref().map(|name| named_as("agent", name.as_str()));
        let trace = || event.trace_id.map(|trace| format!("trace {trace}"));
        tool.or_else(upstream).or_else(agent).or_else(trace)
    };
    Some(DigestChange {
        at: event.timestamp,
        event_type: event.event_type,
        // A freeze says itself what was done.
        action: action.filter(|action| !["freeze", "unfreeze"].contains(action)).map(|action| match after {
            Some(after) if ["alert", "incident", "review", "legal_hold"].contains(&action) => {
                format!("{action}: {after}").into()
            }
            Some(_) | None => Arc::from(action),
        }),
        what: what.or_else(named),
        by: event.person().map(Arc::from),
        reason: sentence(event).or_else(|| {
            let of = event.detail.as_ref()?.get("of")?.get("reason")?.as_str()?;
            Some(without_queries(of).into())
        }),
    })
}

/// What an admin's action was about, as its detail names it.
fn named_in_detail(event: &EventDraft) -> Option<String> {
    let members = [
        ("incident", "incident"),
        ("alert_id", "alert"),
        ("duty", "duty"),
        ("call", "call"),
        ("hold", "hold"),
        ("key", "key"),
    ];
    let (kind, name) = members.iter().find_map(|(member, kind)| Some((kind, detail(event, member)?)))?;
    let subject =
        detail(event, "subject").or_else(|| event.detail.as_ref()?.get("of")?.get("subject")?.as_str());
    let agent = || event.agent_id.as_ref().map(|agent| format!("agent {agent}"));
    let trace = || event.trace_id.map(|trace| format!("trace {trace}"));
    // An alert has no name that says more than its subject.
    Some(match subject.map(|subject| path_of(subject).to_owned()).or_else(agent).or_else(trace) {
        Some(of) => format!("{kind} {name} of {of}"),
        None => format!("{kind} {name}"),
    })
}

/// What was refused by one policy and rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// The policy.
    pub policy_id: Option<PolicyId>,
    /// Its rule.
    pub rule_id: Option<RuleId>,
    /// The word.
    pub decision: EventDecision,
    /// Calls.
    pub calls: u64,
    /// Agents.
    pub agents: usize,
    /// The reason of the newest.
    pub reason: Option<Arc<str>>,
    /// A trace with the newest.
    pub trace_id: Option<TraceId>,
}

/// Alerts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alerts {
    /// What kind.
    pub kind: Arc<str>,
    /// How many.
    pub count: u64,
    /// When the newest came.
    pub newest: Timestamp,
    /// What it said.
    pub reason: Option<Arc<str>>,
}

/// Calls of one tool that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// The server.
    pub upstream: Option<UpstreamName>,
    /// The tool, URI or prompt.
    pub tool: Option<Arc<str>>,
    /// Calls that failed.
    pub failed: u64,
    /// Calls of which nobody knows whether the server acted.
    pub unknown: u64,
    /// What the newest said.
    pub reason: Option<Arc<str>>,
}

/// What a time was like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Happened {
    /// What was refused, most calls first.
    pub refusals: Vec<Refusals>,
    /// What was changed, oldest first; the newest of them.
    pub changes: Vec<DigestChange>,
    /// Changes of before those.
    pub changes_before: u64,
    /// What was alerted, most first.
    pub alerts: Vec<Alerts>,
    /// What failed, most calls first.
    pub failures: Vec<Failures>,
    /// Requests without a key, or with a wrong one.
    pub unauthenticated: u64,
    /// There were more names than are told apart: what is beyond is left out.
    pub truncated: bool,
}

#[derive(Debug, Default)]
struct Refusing {
    calls: u64,
    agents: std::collections::HashSet<AgentId>,
    reason: Option<Arc<str>>,
    trace: Option<TraceId>,
}

/// Adds up what records say, in their order.
#[derive(Debug, Default)]
pub struct Digesting {
    refused: HashMap<RefusedBy, Refusing>,
    changes: VecDeque<DigestChange>,
    changes_before: u64,
    alerts: HashMap<Arc<str>, Alerts>,
    failed: HashMap<FailedAt, Failures>,
    unauthenticated: u64,
    truncated: bool,
}

/// The entry of a name, unless there are too many.
fn entry<'k, K: Eq + Hash + Clone, V>(
    known: &'k mut HashMap<K, V>,
    key: &K,
    truncated: &mut bool,
    new: impl FnOnce() -> V,
) -> Option<&'k mut V> {
    if !known.contains_key(key) {
        if known.len() >= MOST_NAMES {
            *truncated = true;
            return None;
        }
        known.insert(key.clone(), new());
    }
    known.get_mut(key)
}

impl Digesting {
    /// Takes in what a record says.
    pub fn take(&mut self, at: Timestamp, seen: DigestSeen) {
        match seen {
            DigestSeen::Refused { by, agent, calls, reason, trace } => {
                let found = entry(&mut self.refused, &by, &mut self.truncated, Refusing::default);
                let Some(one) = found else { return };
                one.calls = one.calls.saturating_add(calls);
                if let Some(agent) = agent.filter(|_| one.agents.len() < MOST_AGENTS) {
                    one.agents.insert(agent);
                }
                (one.reason, one.trace) = (reason.or(one.reason.take()), trace.or(one.trace));
            }
            DigestSeen::Changed(change) => {
                if self.changes.len() >= MOST_CHANGES {
                    self.changes.pop_front();
                    self.changes_before += 1;
                }
                self.changes.push_back(change);
            }
            DigestSeen::Alerted { kind, reason } => {
                let new = || Alerts { kind: kind.clone(), count: 0, newest: at, reason: None };
                let Some(one) = entry(&mut self.alerts, &kind, &mut self.truncated, new) else { return };
                one.count += 1;
                (one.newest, one.reason) = (at, reason.or(one.reason.take()));
            }
            DigestSeen::Failed { of, outcome, reason } => {
                let new = || Failures {
                    upstream: of.upstream.clone(),
                    tool: of.tool.clone(),
                    failed: 0,
                    unknown: 0,
                    reason: None,
                };
                let Some(one) = entry(&mut self.failed, &of, &mut self.truncated, new) else { return };
                match outcome {
                    Outcome::Unknown => one.unknown += 1,
                    Outcome::Failed | Outcome::Succeeded => one.failed += 1,
                }
                one.reason = reason.or(one.reason.take());
            }
            DigestSeen::Unauthenticated(count) => {
                self.unauthenticated = self.unauthenticated.saturating_add(count);
            }
        }
    }

    /// All of it.
    pub fn finish(self) -> Happened {
        let mut refused: Vec<(RefusedBy, Refusing)> = self.refused.into_iter().collect();
        refused.sort_by(|a, b| b.1.calls.cmp(&a.1.calls).then_with(|| a.0.cmp(&b.0)));
        let refusals = refused.into_iter().map(|(by, one)| Refusals {
            policy_id: by.policy_id,
            rule_id: by.rule_id,
            decision: by.decision,
            calls: one.calls,
            agents: one.agents.len(),
            reason: one.reason,
            trace_id: one.trace,
        });
        let mut alerts: Vec<Alerts> = self.alerts.into_values().collect();
        alerts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
        let mut failed: Vec<(FailedAt, Failures)> = self.failed.into_iter().collect();
        failed.sort_by(|(a, one), (b, other)| {
            (other.failed + other.unknown).cmp(&(one.failed + one.unknown)).then_with(|| a.cmp(b))
        });
        Happened {
            refusals: refusals.collect(),
            changes: self.changes.into(),
            changes_before: self.changes_before,
            alerts,
            failures: failed.into_iter().map(|(_, one)| one).collect(),
            unauthenticated: self.unauthenticated,
            truncated: self.truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(kind: EventType) -> EventDraft {
        EventDraft::system(kind, Timestamp::UNIX_EPOCH)
    }

    fn digested(events: &[EventDraft]) -> Happened {
        let mut digesting = Digesting::default();
        for event in events {
            if let Some(seen) = digest_seen(event) {
                digesting.take(event.timestamp, seen);
            }
        }
        digesting.finish()
    }

    /// What is named without end is counted within a bound, and said to be.
    #[test]
    fn names_and_changes_have_a_bound() {
        let mut events = Vec::new();
        for n in 0..MOST_NAMES + 5 {
            let mut refused = draft(EventType::AgentDecision);
            refused.decision = Some(EventDecision::Deny);
            refused.policy_id = Some(PolicyId::from(format!("p-{n}").as_str()));
            events.push(refused);
        }
        for n in 0..MOST_CHANGES + 5 {
            let mut frozen = draft(EventType::Frozen);
            frozen.reason = Some(n.to_string().into());
            events.push(frozen);
        }
        let happened = digested(&events);
        assert_eq!((happened.refusals.len(), happened.truncated), (MOST_NAMES, true));
        assert_eq!((happened.changes.len(), happened.changes_before), (MOST_CHANGES, 5));
        assert_eq!(happened.changes[0].reason.as_deref(), Some("5"), "the newest are told");
    }

    /// A change says of what it is and what became of it; what an alert became by itself is none.
    #[test]
    fn a_change_says_what_was_changed() {
        use crate::evidence::{SaidBy, call_reviewed, duty_done, incident_changed};
        let now = Timestamp::UNIX_EPOCH;
        let carol = "carol".into();
        let by = |note| SaidBy { person: Some(&carol), note: Some(note), ..SaidBy::default() };
        let of = serde_json::json!({"subject": "agent:ada", "reason": "half of its calls were refused"});
        let opened = incident_changed("incident-1", "open", SaidBy::default(), &of, now);
        let closed =
            incident_changed("incident-1", "closed", by("a wrong rule"), &serde_json::json!({}), now);
        let reviewed = call_reviewed(
            (&"call-7".into(), None, Some(&"ada".into())),
            "problem",
            by("it was not"),
            None,
            now,
        );
        let done = duty_done("policy-review", None, by("read"), now);
        let mut alert = draft(EventType::AdminAction);
        alert.action = Some("alert".into());
        alert.detail = Some(serde_json::json!({
            "person": null, "alert_id": "alert-1", "subject": "agent:ada", "before": "open", "after": "closed",
        }));
        let mut acked = alert.clone();
        acked.detail = Some(serde_json::json!({
            "person": "carol", "alert_id": "alert-1", "subject": "tool:https://h/find?pin=4711", "before": "open", "after": "acked",
        }));
        let changes = digested(&[opened, closed, reviewed, done, alert, acked]).changes;
        let told: Vec<[Option<&str>; 4]> = changes
            .iter()
            .map(|one| [one.action.as_deref(), one.what.as_deref(), one.by.as_deref(), one.reason.as_deref()])
            .collect();
        let by = Some("carol");
        let expect = [
            [
                Some("incident: open"),
                Some("incident incident-1 of agent:ada"),
                None,
                Some("half of its calls were refused"),
            ],
            [Some("incident: closed"), Some("incident incident-1"), by, Some("a wrong rule")],
            [Some("review: problem"), Some("call call-7 of agent ada"), by, Some("it was not")],
            [Some("duty"), Some("duty policy-review"), by, Some("read")],
            [Some("alert: acked"), Some("alert alert-1 of tool:https://h/find"), by, None],
        ];
        assert_eq!(told, expect);
    }

    /// I5: what was asked at a URI is no part of a report.
    #[test]
    fn a_report_names_no_query() {
        let uri = "https://h/find?pin=4711";
        let mut failed = draft(EventType::AgentSideEffect);
        failed.tool = Some(uri.into());
        failed.outcome = Some(Outcome::Failed);
        failed.reason = Some(format!("`{uri}` is not there").into());
        failed.cost_usd = Some(crate::model::MicroUsd(5));
        let mut refused = draft(EventType::AgentDecision);
        refused.tool = Some(uri.into());
        refused.agent_id = Some("ada".into());
        refused.decision = Some(EventDecision::Deny);
        refused.reason = Some(format!("no policy allows {uri}").into());
        let happened = digested(&[failed.clone(), refused.clone()]);
        let told = serde_json::json!({
            "failures": happened.failures, "refusals": happened.refusals,
            "spent": format!("{:?}", super::super::spend::spent(&failed, &|_, _| None)),
            "drift": format!("{:?}", super::super::drift::drifted(&refused)),
        });
        let told = told.to_string();
        assert!(!told.contains("4711") && told.contains("https://h/find"), "{told}");
    }

    /// Every kind of record is in one part of a digest, or in none on purpose; a record that stands for many calls counts them all.
    #[test]
    fn each_kind_of_record_has_its_part() {
        for kind in EventType::ALL {
            let mut event = draft(*kind);
            event.outcome = Some(Outcome::Unknown);
            let Happened { refusals, changes, alerts, failures, unauthenticated, .. } = digested(&[event]);
            let parts = [
                refusals.len(),
                changes.len(),
                alerts.len(),
                failures.len(),
                usize::try_from(unauthenticated).unwrap(),
            ];
            let expect = match kind {
                EventType::AgentDecision => [1, 0, 0, 0, 0],
                EventType::Alert => [0, 0, 1, 0, 0],
                EventType::AgentSideEffect => [0, 0, 0, 1, 0],
                EventType::AuthFailed => [0, 0, 0, 0, 1],
                EventType::PolicyActivated
                | EventType::PolicyRejected
                | EventType::AdminAction
                | EventType::ToolQuarantined
                | EventType::ToolAccepted
                | EventType::GrantMade
                | EventType::GrantEnded
                | EventType::Frozen
                | EventType::Unfrozen => [0, 1, 0, 0, 0],
                EventType::AgentStart
                | EventType::ApprovalRequested
                | EventType::ApprovalDecided
                | EventType::ApprovalExpired
                | EventType::ApprovalCancelled
                | EventType::Note => [0; 5],
            };
            assert_eq!(parts, expect, "{kind}");
        }
    }
}
