//! The figures by which a gateway is judged, from what is recorded: how decisions are distributed, whether approvals hold, how much
//! of what is risky is held back or limited, whether the record is complete, and what drifts against the time before. One pass, in
//! the order of the record, with bounded memory.

use crate::{
    evidence::{Counted, tools_named},
    model::{
        AgentId, ApprovalId, CallId, EventDecision, EventDraft, EventType, Outcome, Sensitivity, WorkflowId,
    },
    policy::ToolFacts,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Workflows and agents that are told apart; further ones count as one.
const MOST_NAMES: usize = 1_000;
/// Calls and asks that are open at a time, as far as they are remembered.
const MOST_OPEN: usize = 100_000;
/// Waiting times that are kept for their quantiles.
const MOST_WAITS: usize = 1_000_000;
/// A call of which nothing more is recorded for so long is not under way any more.
const UNDER_WAY: SignedDuration = SignedDuration::from_hours(1);
/// A rate that differs by so much from the time before, over this many calls, is drift.
const DRIFT: f64 = 0.10;
const ENOUGH: u64 = 50;
const BEYOND: &str = "(others)";
const NONE: &str = "(none)";

/// What a record says to a scorecard.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    at: Timestamp,
    workflow: Option<WorkflowId>,
    agent: Option<AgentId>,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Decided { decision: EventDecision, calls: u64, call: Option<CallId>, risky: bool, lacking: bool },
    Ended { call: CallId, outcome: Outcome },
    Asked(ApprovalId),
    Answered(ApprovalId, EventDecision),
    Cancelled(ApprovalId, bool),
    Mismatch,
}

/// What a record says, if anything. `tool` gives a resolved tool by its hash.
pub fn note(event: &EventDraft, tool: &dyn Fn(&str) -> Option<ToolFacts>) -> Option<Noted> {
    let what = match event.event_type {
        EventType::AgentDecision => {
            let known = tools_named(event).pop().and_then(tool);
            let writes = known.is_some_and(|tool| {
                !tool.traits.read_only && (tool.traits.destructive || tool.traits.open_world)
            });
            What::Decided {
                decision: event.decision.unwrap_or(EventDecision::Deny),
                calls: Counted::of(event).map_or(1, |counted| counted.count),
                call: event.call_id.clone(),
                risky: writes || event.sensitivity_level >= Sensitivity::Confidential,
                lacking: event.policy_id.as_deref() == Some("required"),
            }
        }
        EventType::AgentSideEffect => What::Ended { call: event.call_id.clone()?, outcome: event.outcome? },
        EventType::ApprovalRequested => What::Asked(event.approval_id.clone()?),
        EventType::ApprovalDecided => What::Answered(event.approval_id.clone()?, event.decision?),
        EventType::ApprovalExpired => What::Answered(event.approval_id.clone()?, EventDecision::Expired),
        EventType::ApprovalCancelled => {
            What::Cancelled(event.approval_id.clone()?, event.reason.as_deref() == Some("snapshot_mismatch"))
        }
        EventType::Alert => {
            let alert = event.detail.as_ref().and_then(|detail| detail.get("alert")?.as_str());
            matches!(alert, Some("snapshot_mismatch" | "meta_mismatch")).then_some(What::Mismatch)?
        }
        _ => return None,
    };
    Some(Noted {
        at: event.timestamp,
        workflow: event.workflow_id.clone(),
        agent: event.agent_id.clone(),
        what,
    })
}

/// How decisions are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// Decisions on calls, each ask once.
    pub calls: u64,
    /// Let through as they were.
    pub allow: u64,
    /// Let through under limits.
    pub allow_with_constraints: u64,
    /// Put before people.
    pub pending_approval: u64,
    /// Let through after people approved.
    pub approved: u64,
    /// Changed, or a change proposed.
    pub remediate: u64,
    /// Answered with a proposal.
    pub suggest: u64,
    /// Held back for a while.
    pub throttle: u64,
    /// Refused, also by people or their silence.
    pub deny: u64,
    /// Of the calls, the share that was let through by policy alone.
    pub allow_rate: f64,
    /// The share that was refused.
    pub deny_rate: f64,
    /// The share that was changed.
    pub remediate_rate: f64,
}

impl Distribution {
    fn add(&mut self, decision: EventDecision, calls: u64) {
        let field = match decision {
            EventDecision::Allow => &mut self.allow,
            EventDecision::AllowWithConstraints => &mut self.allow_with_constraints,
            EventDecision::PendingApproval => &mut self.pending_approval,
            EventDecision::Approved => &mut self.approved,
            EventDecision::Remediate => &mut self.remediate,
            EventDecision::Suggest => &mut self.suggest,
            EventDecision::Throttle => &mut self.throttle,
            EventDecision::Deny | EventDecision::Rejected | EventDecision::Expired => &mut self.deny,
        };
        *field += calls;
        // A call that people let through was counted as it was asked about.
        if !matches!(decision, EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired) {
            self.calls += calls;
        }
    }

    /// With its shares as its counts say.
    pub fn rated(mut self) -> Self {
        self.allow_rate = share(self.allow + self.allow_with_constraints, self.calls);
        self.deny_rate = share(self.deny, self.calls);
        self.remediate_rate = share(self.remediate, self.calls);
        self
    }
}

/// Whether approvals hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ApprovalIntegrity {
    /// Asks.
    pub asked: u64,
    /// Answered with yes.
    pub approved: u64,
    /// Answered with no.
    pub rejected: u64,
    /// Answered by nobody in time.
    pub expirations: u64,
    /// Ended before an answer could count.
    pub cancelled: u64,
    /// Of these and of alerts: other policies were in force than those that asked, or the call was another one.
    pub mismatches: u64,
    /// From ask to answer.
    pub latency: Latency,
}

/// How long people take, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Answers that were timed.
    pub answers: u64,
    /// Half took no longer.
    pub p50_ms: Option<i64>,
    /// Nine of ten took no longer.
    pub p90_ms: Option<i64>,
    /// The longest.
    pub max_ms: Option<i64>,
}

/// How much of what is risky is held back or limited: writes that destroy or reach outside, and confidential data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ConstraintUsage {
    /// Decisions on such calls.
    pub high_risk: u64,
    /// Let through under limits, or changed.
    pub constrained: u64,
    /// Put before people.
    pub asked: u64,
    /// Not let through.
    pub stopped: u64,
    /// Let through as they were.
    pub plain: u64,
    /// The share that was not.
    pub mitigated_rate: f64,
}

/// Whether the record is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AuditCompleteness {
    /// Calls that were let through.
    pub dispatched: u64,
    /// What came of them is recorded.
    pub complete: u64,
    /// Recorded as unknown.
    pub unknown: u64,
    /// Nothing is recorded of it, an hour later.
    pub missing: u64,
    /// Of the last hour: they may be under way.
    pub under_way: u64,
    /// Of those that are over, the share that is complete.
    pub complete_rate: f64,
}

/// One figure now and before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moved {
    /// In the time before, of the same length.
    pub before: f64,
    /// In the time of the report.
    pub now: f64,
    /// It differs by a tenth or more, over fifty calls or more in each.
    pub drifts: bool,
}

/// What drifts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DriftIndicators {
    /// The share of calls that is refused: a sudden drop is as telling as a rise.
    pub deny_rate: Moved,
    /// The share of calls that lacked what the bundle requires.
    pub missing_metadata: Moved,
    /// The share of dispatched calls that failed.
    pub failures: Moved,
    /// Agents whose share of refusals or failures drifts.
    pub agents: BTreeMap<String, AgentDrift>,
}

/// What drifts of one agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AgentDrift {
    /// The share of its calls that is refused.
    pub deny_rate: Moved,
    /// The share of its dispatched calls that failed.
    pub failures: Moved,
}

/// The figures of a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scorecard {
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// By workflow.
    pub decision_distribution: BTreeMap<String, Distribution>,
    /// Whether approvals hold.
    pub approval_integrity: ApprovalIntegrity,
    /// How much of what is risky is limited.
    pub constraint_usage: ConstraintUsage,
    /// Whether the record is complete.
    pub audit_completeness: AuditCompleteness,
    /// What drifts against the time before.
    pub drift_indicators: DriftIndicators,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    calls: u64,
    denied: u64,
    lacking: u64,
    ended: u64,
    failed: u64,
}

/// Takes in what records say.
#[derive(Debug)]
pub struct Tallying {
    since: Timestamp,
    until: Timestamp,
    distribution: BTreeMap<String, Distribution>,
    approvals: ApprovalIntegrity,
    constraints: ConstraintUsage,
    completeness: AuditCompleteness,
    open: HashMap<CallId, Timestamp>,
    asks: HashMap<ApprovalId, Timestamp>,
    waits: Vec<i64>,
    /// Before, and now.
    rates: [Rates; 2],
    agents: BTreeMap<String, [Rates; 2]>,
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    let tenths = u128::from(part) * 10_000 / u128::from(whole);
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10_000.0
}

fn named<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> &'m mut T {
    let name = if map.contains_key(name) || map.len() < MOST_NAMES { name } else { BEYOND };
    map.entry(name.to_owned()).or_default()
}

impl Tallying {
    /// Records from this time on are needed for a scorecard from `since` on.
    pub fn needed_since(since: Timestamp, until: Timestamp) -> Timestamp {
        since.checked_sub(until.duration_since(since)).unwrap_or(Timestamp::MIN)
    }

    /// Begins.
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        Self {
            since,
            until,
            distribution: BTreeMap::new(),
            approvals: ApprovalIntegrity::default(),
            constraints: ConstraintUsage::default(),
            completeness: AuditCompleteness::default(),
            open: HashMap::new(),
            asks: HashMap::new(),
            waits: Vec::new(),
            rates: Default::default(),
            agents: BTreeMap::new(),
        }
    }

    /// Takes in the next record.
    pub fn take(&mut self, noted: Noted) {
        let Noted { at, workflow, agent, what } = noted;
        if at > self.until {
            return;
        }
        let is_now = at >= self.since;
        let now = usize::from(is_now);
        match what {
            What::Decided { decision, calls, call, risky, lacking } => {
                let denied = if matches!(decision, EventDecision::Deny) { calls } else { 0 };
                let fresh = !matches!(
                    decision,
                    EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired
                );
                let agent = agent.as_deref().unwrap_or(NONE);
                for rates in [&mut self.rates, named(&mut self.agents, agent)] {
                    let Some(rate) = rates.get_mut(now) else { continue };
                    rate.calls += if fresh { calls } else { 0 };
                    rate.denied += denied;
                    rate.lacking += if lacking { calls } else { 0 };
                }
                if !is_now {
                    return;
                }
                named(&mut self.distribution, workflow.as_deref().unwrap_or(NONE)).add(decision, calls);
                if risky {
                    self.constraints.add(decision, calls);
                }
                let dispatched = matches!(
                    decision,
                    EventDecision::Allow | EventDecision::AllowWithConstraints | EventDecision::Approved
                );
                if let (true, Some(call)) = (dispatched && calls == 1, call)
                    && self.open.len() < MOST_OPEN
                {
                    self.completeness.dispatched += 1;
                    self.open.insert(call, at);
                }
            }
            What::Ended { call, outcome } => {
                self.ended(&call, outcome, now, agent.as_deref().unwrap_or(NONE))
            }
            What::Asked(id) => {
                self.approvals.asked += u64::from(is_now);
                if self.asks.len() < MOST_OPEN {
                    self.asks.insert(id, at);
                }
            }
            What::Answered(id, answer) => self.answered(&id, answer, at, is_now),
            What::Cancelled(id, mismatch) => {
                self.asks.remove(&id);
                self.approvals.cancelled += u64::from(is_now);
                self.approvals.mismatches += u64::from(is_now && mismatch);
            }
            What::Mismatch => self.approvals.mismatches += u64::from(is_now),
        }
    }

    fn ended(&mut self, call: &CallId, outcome: Outcome, now: usize, agent: &str) {
        for rates in [&mut self.rates, named(&mut self.agents, agent)] {
            let Some(rate) = rates.get_mut(now) else { continue };
            rate.ended += 1;
            rate.failed += u64::from(outcome != Outcome::Succeeded);
        }
        if self.open.remove(call).is_some() {
            match outcome {
                Outcome::Unknown => self.completeness.unknown += 1,
                Outcome::Succeeded | Outcome::Failed => self.completeness.complete += 1,
            }
        }
    }

    fn answered(&mut self, id: &ApprovalId, answer: EventDecision, at: Timestamp, is_now: bool) {
        // One person's answer of several is not the end.
        let counts = match answer {
            EventDecision::Approved => &mut self.approvals.approved,
            EventDecision::Rejected => &mut self.approvals.rejected,
            EventDecision::Expired => &mut self.approvals.expirations,
            _ => return,
        };
        let asked = self.asks.remove(id);
        if !is_now {
            return;
        }
        *counts += 1;
        if let Some(asked) =
            asked.filter(|_| answer != EventDecision::Expired && self.waits.len() < MOST_WAITS)
        {
            let waited = at.duration_since(asked).as_millis();
            self.waits.push(i64::try_from(waited).unwrap_or(i64::MAX));
        }
    }

    /// The figures.
    pub fn finish(mut self) -> Scorecard {
        self.waits.sort_unstable();
        let at = |of_ten: usize| {
            self.waits.get((self.waits.len() * of_ten / 10).min(self.waits.len().saturating_sub(1)))
        };
        let latency = Latency {
            answers: u64::try_from(self.waits.len()).unwrap_or(u64::MAX),
            p50_ms: at(5).copied(),
            p90_ms: at(9).copied(),
            max_ms: self.waits.last().copied(),
        };
        let mut completeness = self.completeness;
        for begun in self.open.values() {
            if self.until.duration_since(*begun) > UNDER_WAY {
                completeness.missing += 1;
            } else {
                completeness.under_way += 1;
            }
        }
        let over = completeness.complete + completeness.unknown + completeness.missing;
        completeness.complete_rate = if over == 0 { 1.0 } else { share(completeness.complete, over) };
        let mut constraints = self.constraints;
        constraints.mitigated_rate = share(constraints.high_risk - constraints.plain, constraints.high_risk);
        let agents = self.agents.iter().filter_map(|(name, rates)| {
            let drift = AgentDrift { deny_rate: deny_rate(rates), failures: failures(rates) };
            (drift.deny_rate.drifts || drift.failures.drifts).then(|| (name.clone(), drift))
        });
        let drift = DriftIndicators {
            deny_rate: deny_rate(&self.rates),
            missing_metadata: moved(&self.rates, |rates| (rates.lacking, rates.calls)),
            failures: failures(&self.rates),
            agents: agents.collect(),
        };
        Scorecard {
            since: self.since,
            until: self.until,
            decision_distribution: self
                .distribution
                .into_iter()
                .map(|(name, one)| (name, one.rated()))
                .collect(),
            approval_integrity: ApprovalIntegrity { latency, ..self.approvals },
            constraint_usage: constraints,
            audit_completeness: completeness,
            drift_indicators: drift,
        }
    }
}

impl ConstraintUsage {
    fn add(&mut self, decision: EventDecision, calls: u64) {
        let field = match decision {
            EventDecision::Allow => &mut self.plain,
            EventDecision::AllowWithConstraints | EventDecision::Remediate => &mut self.constrained,
            EventDecision::PendingApproval => &mut self.asked,
            EventDecision::Suggest | EventDecision::Throttle | EventDecision::Deny => &mut self.stopped,
            // Counted as they were asked about.
            EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired => return,
        };
        *field += calls;
        self.high_risk += calls;
    }
}

fn moved(rates: &[Rates; 2], of: impl Fn(&Rates) -> (u64, u64)) -> Moved {
    let [(part, before), (now_part, now)] = [of(&rates[0]), of(&rates[1])];
    let (was, is) = (share(part, before), share(now_part, now));
    Moved { before: was, now: is, drifts: before >= ENOUGH && now >= ENOUGH && (was - is).abs() >= DRIFT }
}

fn deny_rate(rates: &[Rates; 2]) -> Moved {
    moved(rates, |rates| (rates.denied, rates.calls))
}

fn failures(rates: &[Rates; 2]) -> Moved {
    moved(rates, |rates| (rates.failed, rates.ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_778_502_000 + minute * 60).expect("a time")
    }

    fn event(minute: i64, kind: EventType, call: &str) -> EventDraft {
        let mut event = EventDraft::system(kind, at(minute));
        event.call_id = Some(CallId::from(call));
        event.agent_id = Some(AgentId::from("planner"));
        event.workflow_id = Some(WorkflowId::from("wf-1"));
        event
    }

    fn decided(minute: i64, call: &str, decision: EventDecision) -> EventDraft {
        let mut event = event(minute, EventType::AgentDecision, call);
        event.decision = Some(decision);
        event
    }

    fn ended(minute: i64, call: &str, outcome: Outcome) -> EventDraft {
        let mut event = event(minute, EventType::AgentSideEffect, call);
        event.outcome = Some(outcome);
        event
    }

    fn approval(minute: i64, kind: EventType, id: &str, decision: Option<EventDecision>) -> EventDraft {
        let mut event = event(minute, kind, "c-ask");
        event.approval_id = Some(ApprovalId::from(id));
        event.decision = decision;
        event
    }

    fn card(events: &[EventDraft]) -> Scorecard {
        let mut tallying = Tallying::new(at(1_000), at(2_000));
        events.iter().filter_map(|event| note(event, &|_| None)).for_each(|noted| tallying.take(noted));
        tallying.finish()
    }

    /// R73 to R77, counted by hand.
    #[test]
    fn figures_are_what_the_record_says() {
        let mut restricted = decided(1_003, "c-3", EventDecision::AllowWithConstraints);
        restricted.sensitivity_level = Sensitivity::Restricted;
        let mut plain = decided(1_004, "c-4", EventDecision::Allow);
        plain.sensitivity_level = Sensitivity::Confidential;
        let mut mismatch = approval(1_030, EventType::ApprovalCancelled, "a-3", None);
        mismatch.reason = Some("snapshot_mismatch".into());
        let card = card(&[
            decided(1_001, "c-1", EventDecision::Allow),
            ended(1_002, "c-1", Outcome::Succeeded),
            decided(1_002, "c-2", EventDecision::Deny),
            restricted,
            ended(1_004, "c-3", Outcome::Failed),
            plain,
            decided(1_010, "c-5", EventDecision::PendingApproval),
            approval(1_010, EventType::ApprovalRequested, "a-1", None),
            approval(1_013, EventType::ApprovalDecided, "a-1", Some(EventDecision::Approved)),
            decided(1_014, "c-5", EventDecision::Approved),
            ended(1_015, "c-5", Outcome::Unknown),
            approval(1_020, EventType::ApprovalRequested, "a-2", None),
            approval(1_029, EventType::ApprovalExpired, "a-2", None),
            approval(1_021, EventType::ApprovalRequested, "a-3", None),
            mismatch,
            decided(1_990, "c-6", EventDecision::Allow),
            decided(1_500, "c-7", EventDecision::Remediate),
        ]);
        let of = card.decision_distribution["wf-1"];
        assert_eq!((of.calls, of.allow, of.allow_with_constraints, of.deny), (7, 3, 1, 1));
        assert_eq!((of.pending_approval, of.approved, of.remediate), (1, 1, 1));
        assert_eq!((of.allow_rate, of.deny_rate, of.remediate_rate), (0.5714, 0.1428, 0.1428));
        let approvals = card.approval_integrity;
        assert_eq!((approvals.asked, approvals.approved, approvals.expirations), (3, 1, 1));
        assert_eq!((approvals.cancelled, approvals.mismatches), (1, 1));
        assert_eq!(approvals.latency.p50_ms, Some(180_000));
        let risky = card.constraint_usage;
        assert_eq!((risky.high_risk, risky.constrained, risky.plain, risky.mitigated_rate), (2, 1, 1, 0.5));
        let complete = card.audit_completeness;
        assert_eq!((complete.dispatched, complete.complete, complete.unknown), (5, 2, 1));
        assert_eq!((complete.missing, complete.under_way, complete.complete_rate), (1, 1, 0.5));
    }

    /// R77: a sudden drop of refusals and a rise of failures are drift; the same figures are none.
    #[test]
    fn what_differs_from_the_time_before_drifts() {
        let traffic = |from: i64, denied: i64, failed: i64| {
            (0..100).flat_map(move |n| {
                let (minute, call) = (from + n, format!("c-{from}-{n}"));
                if n < denied {
                    return vec![decided(minute, &call, EventDecision::Deny)];
                }
                let outcome = if n < denied + failed { Outcome::Failed } else { Outcome::Succeeded };
                vec![decided(minute, &call, EventDecision::Allow), ended(minute, &call, outcome)]
            })
        };
        let same: Vec<EventDraft> = traffic(100, 20, 5).chain(traffic(1_100, 20, 5)).collect();
        let calm = card(&same).drift_indicators;
        assert!(!calm.deny_rate.drifts && !calm.failures.drifts && calm.agents.is_empty(), "{calm:?}");
        let other: Vec<EventDraft> = traffic(100, 20, 5).chain(traffic(1_100, 2, 40)).collect();
        let moved = card(&other).drift_indicators;
        assert_eq!(moved.deny_rate, Moved { before: 0.2, now: 0.02, drifts: true });
        assert!(moved.failures.drifts && moved.agents.contains_key("planner"), "{moved:?}");
    }
}
