//! Recorded traffic as advice needs it: what was let through, what it cost, who was asked, and what they answered.

use crate::{
    evidence::{Counted, approval_of, tools_named},
    model::{
        AgentId, ApprovalId, EventDecision, EventDraft, EventType, MicroUsd, PolicyId, RuleId, Sensitivity,
        WorkflowId,
    },
    policy::ToolFacts,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Names of one kind that are told apart; what comes beyond is not looked at, and told.
const MOST_NAMES: usize = 10_000;
/// Busy minutes of one workflow.
const MOST_MINUTES: usize = 50_000;
/// Open asks whose gates are remembered.
const MOST_ASKS: usize = 100_000;

/// What asks people: a policy and its rule.
pub(super) type GateId = (PolicyId, Option<RuleId>);

/// What one record says to advice.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A decision on so many calls.
    Decided {
        /// Who called.
        agent: Option<AgentId>,
        /// What.
        tool: Option<Arc<str>>,
        /// The word.
        decision: EventDecision,
        /// How many.
        calls: u64,
        /// It was let through without a person.
        unasked: bool,
        /// The tool may change something.
        writes: bool,
        /// It carried confidential data to something that reaches outside.
        flows: bool,
        /// A limit on the minute counted it.
        limited: bool,
    },
    /// What a call cost.
    Spent {
        /// In which workflow.
        workflow: Option<WorkflowId>,
        /// Who called.
        agent: Option<AgentId>,
        /// How much.
        cost: MicroUsd,
        /// What a limit has to have room for: the estimate, where it was more.
        reserved: MicroUsd,
    },
    /// People were asked.
    Asked(ApprovalId, Vec<(PolicyId, Option<RuleId>)>),
    /// What came of it: `approved`, `rejected` or `expired`.
    Answered(ApprovalId, EventDecision),
}

/// What a record says, if anything. `tool` gives a resolved tool by its hash.
pub fn see(event: &EventDraft, tool: &dyn Fn(&str) -> Option<ToolFacts>) -> Option<Seen> {
    match event.event_type {
        EventType::AgentDecision => Some(decided(event, tool)),
        EventType::AgentSideEffect => Some(Seen::Spent {
            workflow: event.workflow_id.clone(),
            agent: event.agent_id.clone(),
            cost: event.cost_usd.or(event.cost_estimate_usd)?,
            reserved: event.cost_usd.max(event.cost_estimate_usd)?,
        }),
        EventType::ApprovalRequested => {
            let id = event.approval_id.clone()?;
            let record = approval_of(event).map(|(_, record)| record);
            let asked = record.and_then(|record| record.get("requirements")).and_then(Value::as_array);
            let gate = |asked: &Value| {
                let text = |name: &str| asked.get(name).and_then(Value::as_str);
                Some((PolicyId::from(text("policy_id")?), text("rule_id").map(RuleId::from)))
            };
            let mut gates: Vec<GateId> = asked.into_iter().flatten().filter_map(gate).collect();
            if gates.is_empty() {
                gates.push((event.policy_id.clone()?, event.rule_id.clone()));
            }
            Some(Seen::Asked(id, gates))
        }
        EventType::ApprovalDecided | EventType::ApprovalExpired => {
            let word = match event.event_type {
                EventType::ApprovalExpired => EventDecision::Expired,
                _ => event.decision?,
            };
            let ends =
                matches!(word, EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired);
            ends.then(|| Some(Seen::Answered(event.approval_id.clone()?, word))).flatten()
        }
        _ => None,
    }
}

fn decided(event: &EventDraft, tool: &dyn Fn(&str) -> Option<ToolFacts>) -> Seen {
    let decision = event.decision.unwrap_or(EventDecision::Deny);
    let known = tools_named(event).pop().and_then(tool);
    let unasked = matches!(decision, EventDecision::Allow | EventDecision::AllowWithConstraints);
    let counters = event.limits.as_ref().and_then(|limits| limits.get("counters")).and_then(Value::as_array);
    let of_minute = |counter: &Value| {
        counter.get("window").and_then(Value::as_str) == Some("minute")
            && counter.get("unit").and_then(Value::as_str) != Some("repeats")
    };
    Seen::Decided {
        agent: event.agent_id.clone(),
        tool: event.tool.clone(),
        decision,
        calls: Counted::of(event).map_or(1, |counted| counted.count),
        unasked,
        writes: known.as_ref().is_some_and(|tool| !tool.traits.read_only),
        flows: unasked
            && event.sensitivity_level >= Sensitivity::Confidential
            && known.is_some_and(|tool| tool.traits.open_world),
        limited: counters.into_iter().flatten().any(of_minute),
    }
}

/// What a workflow spends.
#[derive(Clone, Debug, Default)]
pub(super) struct Spending {
    pub(super) calls: u64,
    pub(super) cost: i64,
    /// What the dearest single call reserved.
    pub(super) dearest: i64,
    /// What agents reserved in each of their busy minutes.
    pub(super) minutes: Vec<i64>,
    current: HashMap<AgentId, (i64, i64)>,
}

impl Spending {
    pub(super) fn add(&mut self, agent: &AgentId, minute: i64, cost: i64, reserved: i64) {
        self.calls += 1;
        self.cost = self.cost.saturating_add(cost);
        self.dearest = self.dearest.max(reserved);
        let current = self.current.entry(agent.clone()).or_insert((minute, 0));
        if current.0 != minute {
            let (_, spent) = std::mem::replace(current, (minute, 0));
            if self.minutes.len() < MOST_MINUTES {
                self.minutes.push(spent);
            }
        }
        current.1 = current.1.saturating_add(reserved);
    }

    /// All busy minutes, the last ones too, cheapest first.
    pub(super) fn busy(&self) -> Vec<i64> {
        let mut all = self.minutes.clone();
        all.extend(self.current.values().map(|(_, spent)| *spent));
        all.sort_unstable();
        all
    }
}

/// How a tool was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Use {
    pub(super) unasked: u64,
    pub(super) asked: u64,
    pub(super) writes: bool,
    pub(super) agents: BTreeSet<AgentId>,
}

/// What people answered to a gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) asks: u64,
    pub(super) approved: u64,
    pub(super) rejected: u64,
    pub(super) expired: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last_refusal: Option<Timestamp>,
    pub(super) approved_lately: u64,
}

/// What a while of traffic was like.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
    pub(super) calls: u64,
    pub(super) workflows: BTreeMap<WorkflowId, Spending>,
    pub(super) tools: BTreeMap<Arc<str>, Use>,
    pub(super) gates: BTreeMap<GateId, Answers>,
    pub(super) days: BTreeMap<Date, (u64, u64)>,
    pub(super) flows: BTreeMap<Arc<str>, u64>,
    pub(super) limited: BTreeSet<AgentId>,
    pub(super) agents: BTreeMap<AgentId, u64>,
    pub(super) cut: bool,
    open: HashMap<ApprovalId, Vec<GateId>>,
}

/// A gate has to have been asked for so long without a refusal.
pub(super) const MONTH: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

impl Traffic {
    /// None yet; what people answered is looked at from the beginning, everything else since then.
    pub fn new(since: Timestamp, now: Timestamp) -> Self {
        Self {
            since,
            now,
            calls: 0,
            workflows: BTreeMap::new(),
            tools: BTreeMap::new(),
            gates: BTreeMap::new(),
            days: BTreeMap::new(),
            flows: BTreeMap::new(),
            limited: BTreeSet::new(),
            agents: BTreeMap::new(),
            cut: false,
            open: HashMap::new(),
        }
    }

    /// From when on records are needed: a month before what is looked at, so that a gate can have stood for a month.
    pub fn needed_since(since: Timestamp) -> Timestamp {
        since.checked_sub(MONTH).unwrap_or(Timestamp::MIN)
    }

    /// Takes in what a record says, in the order of the record.
    pub fn take(&mut self, at: Timestamp, seen: Seen) {
        match seen {
            Seen::Asked(id, gates) => {
                for gate in &gates {
                    let answers = self.gates.entry(gate.clone()).or_default();
                    answers.asks += 1;
                    answers.first.get_or_insert(at);
                }
                if self.open.len() < MOST_ASKS {
                    self.open.insert(id, gates);
                }
            }
            Seen::Answered(id, word) => self.answered(at, &id, word),
            Seen::Decided { .. } | Seen::Spent { .. } if at < self.since => {}
            Seen::Spent { workflow, agent, cost, reserved } => {
                let (Some(workflow), Some(agent)) = (workflow, agent) else { return };
                if !self.workflows.contains_key(&workflow) && self.workflows.len() >= MOST_NAMES {
                    self.cut = true;
                    return;
                }
                let minute = at.as_second().div_euclid(60);
                self.workflows.entry(workflow).or_default().add(
                    &agent,
                    minute,
                    cost.0.max(0),
                    reserved.0.max(0),
                );
            }
            Seen::Decided { agent, tool, decision, calls, unasked, writes, flows, limited } => {
                self.calls += calls;
                let day = self.days.entry(at.to_zoned(TimeZone::UTC).date()).or_default();
                day.0 += calls;
                day.1 += if decision == EventDecision::Deny { calls } else { 0 };
                if let Some(agent) = &agent {
                    *self.agents.entry(agent.clone()).or_default() += calls;
                    if limited {
                        self.limited.insert(agent.clone());
                    }
                }
                let Some(tool) = tool else { return };
                if flows {
                    *self.flows.entry(tool.clone()).or_default() += calls;
                }
                if !self.tools.contains_key(&tool) && self.tools.len() >= MOST_NAMES {
                    self.cut = true;
                    return;
                }
                let used = self.tools.entry(tool).or_default();
                used.writes |= writes;
                if unasked {
                    used.unasked += calls;
                    used.agents.extend(agent);
                } else if matches!(decision, EventDecision::PendingApproval | EventDecision::Approved) {
                    used.asked += calls;
                }
            }
        }
    }

    fn answered(&mut self, at: Timestamp, id: &ApprovalId, word: EventDecision) {
        let lately = self.now.checked_sub(MONTH).is_ok_and(|month| at >= month);
        for gate in self.open.remove(id).unwrap_or_default() {
            let answers = self.gates.entry(gate).or_default();
            match word {
                EventDecision::Approved => {
                    answers.approved += 1;
                    answers.approved_lately += u64::from(lately);
                }
                EventDecision::Expired => {
                    answers.expired += 1;
                    answers.last_refusal = Some(at);
                }
                _ => {
                    answers.rejected += 1;
                    answers.last_refusal = Some(at);
                }
            }
        }
    }
}
