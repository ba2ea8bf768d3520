//! What changes for recorded calls: counted in calls, in the order of the record, with examples.

use super::{
    limits::CountersOnRecord,
    simulate::{RecordedCall, Ruled, Simulated},
};
use crate::model::{AgentId, CallId, EventDecision, MicroUsd, PolicyId, RuleId, TraceId, path_of};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// Examples of one flip.
const MOST_EXAMPLES: usize = 3;
/// Flips that are told apart; beyond that calls are counted.
const MOST_FLIPS: usize = 5_000;
/// Refusals of which it is remembered what came of them, for the counts of their repeats: these follow within a minute or two.
const MOST_REFUSALS: usize = 100_000;
/// Policies of before that one flip names.
const MOST_NAMES: usize = 10;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// What was recorded with what one bundle says.
    Recorded,
    /// What one bundle says with what another one says.
    Bundles,
}

/// Calls that would be decided otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// What was decided, as events have it; a call that a person approved was asked about.
    pub from: EventDecision,
    /// What would be.
    pub to: EventDecision,
    /// Who calls.
    pub agent: Option<AgentId>,
    /// What.
    pub tool: Option<Arc<str>>,
    /// What would decide: a policy, a budget, `scope`, `default`.
    pub policy_id: PolicyId,
    /// How many.
    pub calls: u64,
    /// What they are estimated to cost together.
    pub cost_usd: MicroUsd,
    /// What decided before.
    pub policies_before: BTreeSet<PolicyId>,
    /// Some of them, the first of the record.
    pub examples: Vec<Example>,
}

/// A call that would be decided otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Its trace: `audit show` has all of it.
    pub trace_id: Option<TraceId>,
    /// The call.
    pub call_id: Option<CallId>,
    /// When it was decided.
    pub timestamp: Timestamp,
    /// The rule that would decide.
    pub rule_id: Option<RuleId>,
    /// Why, in one plain sentence.
    pub reason: Arc<str>,
}

/// How many calls were asked about, and would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asks {
    /// Were.
    pub before: u64,
    /// Would be.
    pub after: u64,
    /// Would be, and were not.
    pub added: u64,
    /// Were, and would not be.
    pub no_longer: u64,
}

/// What calls cost that would be stopped, and that would not be any more, by their estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spend {
    /// Calls that went through and would be stopped.
    pub stopped_calls: u64,
    /// What they cost together.
    pub stopped_usd: MicroUsd,
    /// Calls that went through and would wait for a person first.
    pub asked_calls: u64,
    /// What they cost together.
    pub asked_usd: MicroUsd,
    /// Calls that were stopped and would go through.
    pub released_calls: u64,
    /// What they would have cost together.
    pub released_usd: MicroUsd,
}

/// How many calls had each decision, and would have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// Had.
    pub before: BTreeMap<EventDecision, u64>,
    /// Would have.
    pub after: BTreeMap<EventDecision, u64>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SimulateReport {
    /// Calls that were judged.
    pub judged: u64,
    /// Calls of which it cannot be told.
    pub unjudgeable: u64,
    /// Why, and how many each.
    pub unjudgeable_because: BTreeMap<&'static str, u64>,
    /// Calls on which no rule was asked; they are not judged.
    pub not_by_rules: u64,
    /// Of those that were judged, how many are on record as a count of repeats only; each counts as the first of its kind.
    pub repeats: u64,
    /// Calls that would be decided otherwise, most calls first.
    pub flips: Vec<Flip>,
    /// Calls that would be decided otherwise, in all.
    pub changed: u64,
    /// Of those, how many would be denied, and were not.
    pub expected_denies: u64,
    /// More kinds of flips than are listed, or calls that were not looked at in time.
    pub truncated: bool,
    /// All decisions.
    pub decisions: Decisions,
    /// Approvals.
    pub approvals: Asks,
    /// Money.
    pub spend: Spend,
    /// When the first call was decided that was looked at.
    pub first: Option<Timestamp>,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// What to know when reading it.
    pub notes: Vec<String>,
}

type Key = (EventDecision, EventDecision, Option<AgentId>, Option<Arc<str>>, PolicyId);

/// What came of a call, for the count of its repeats.
#[derive(Clone, Debug)]
enum Fate {
    NotByRules,
    Unjudgeable(&'static str),
    Same(EventDecision),
    Flipped(Key, MicroUsd, bool),
}

/// Takes simulated calls in, in the order of the record.
#[derive(Debug)]
pub struct Tally {
    compared: Compared,
    counters: Vec<CountersOnRecord>,
    flips: HashMap<Key, Flip>,
    /// Calls that were asked about: further decisions of them are not their first. By their hashes.
    asked: HashSet<u64>,
    refusals: HashMap<CallId, Fate>,
    refusals_in_order: VecDeque<CallId>,
    report: SimulateReport,
}

impl Tally {
    /// Nothing yet.
    pub fn new(compared: Compared) -> Self {
        let bundles = match compared {
            Compared::Recorded => 1,
            Compared::Bundles => 2,
        };
        Self {
            compared,
            counters: (0..bundles).map(|_| CountersOnRecord::default()).collect(),
            flips: HashMap::new(),
            asked: HashSet::new(),
            refusals: HashMap::new(),
            refusals_in_order: VecDeque::new(),
            report: SimulateReport::default(),
        }
    }

    /// Takes in a decision of a call.
    pub fn take(&mut self, call: Option<&CallId>, at: Timestamp, simulated: Simulated) {
        // A count names the first refusal of its kind, and is of other calls.
        if let Some(call) = call
            && !matches!(simulated, Simulated::Counted { .. })
            && self.asked.contains(&hash(call))
        {
            return;
        }
        self.report.first.get_or_insert(at);
        self.report.last = Some(at);
        match simulated {
            Simulated::NotByRules => {
                self.report.not_by_rules += 1;
                self.remember(call, Fate::NotByRules);
            }
            Simulated::Unjudgeable(why) => {
                self.unjudgeable(why.kind(), 1);
                self.remember(call, Fate::Unjudgeable(why.kind()));
            }
            Simulated::Counted { count, mixed } => self.counted(call, count, mixed),
            Simulated::Ruled(recorded, ruled) => self.ruled(call, &recorded, ruled),
        }
    }

    /// What came of all.
    pub fn finish(mut self) -> SimulateReport {
        let mut flips: Vec<Flip> = self.flips.into_values().collect();
        flips.sort_by(|a, b| {
            let key = |flip: &Flip| {
                (flip.from, flip.to, flip.agent.clone(), flip.tool.clone(), flip.policy_id.clone())
            };
            b.calls.cmp(&a.calls).then_with(|| key(a).cmp(&key(b)))
        });
        self.report.flips = flips;
        self.report
    }

    fn unjudgeable(&mut self, why: &'static str, calls: u64) {
        self.report.unjudgeable += calls;
        *self.report.unjudgeable_because.entry(why).or_default() += calls;
    }

    fn remember(&mut self, call: Option<&CallId>, fate: Fate) {
        let Some(call) = call else { return };
        if self.refusals_in_order.len() >= MOST_REFUSALS
            && let Some(oldest) = self.refusals_in_order.pop_front()
        {
            self.refusals.remove(&oldest);
        }
        self.refusals_in_order.push_back(call.clone());
        self.refusals.insert(call.clone(), fate);
    }

    /// Repeats of a refusal count as the first of them, which is on record whole.
    fn counted(&mut self, call: Option<&CallId>, count: u64, mixed: bool) {
        let known = call.filter(|_| !mixed).and_then(|call| self.refusals.get(call)).cloned();
        match known {
            None => self.unjudgeable("refusals that are on record as a count only", count),
            Some(Fate::NotByRules) => self.report.not_by_rules += count,
            Some(Fate::Unjudgeable(why)) => self.unjudgeable(why, count),
            Some(Fate::Same(word)) => {
                self.report.judged += count;
                self.report.repeats += count;
                self.decided(word, word, count);
            }
            Some(Fate::Flipped(key, cost, through)) => {
                self.report.judged += count;
                self.report.repeats += count;
                let (from, to) = (key.0, key.1);
                let all = MicroUsd(cost.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)));
                self.decided(from, to, count);
                self.changed(key, count, all, None, None);
                self.money((from, false), (to, through), count, all);
            }
        }
    }

    fn ruled(&mut self, call: Option<&CallId>, recorded: &RecordedCall, ruled: Vec<Ruled>) {
        let judged = ruled.into_iter().zip(&mut self.counters);
        let judged: Vec<Ruled> = judged.map(|(ruled, counters)| counters.judge(recorded, ruled)).collect();
        let mut judged = judged.into_iter();
        let (Some(first), second) = (judged.next(), judged.next()) else { return };
        let (from, before, was_through, to) = match (self.compared, second) {
            (Compared::Bundles, Some(to)) => {
                (first.decision, Some(first.policy_id.clone()), first.lets_through(), to)
            }
            (Compared::Recorded | Compared::Bundles, _) => {
                (recorded.decision, recorded.policy_id.clone(), recorded.let_through, first)
            }
        };
        if recorded.decision == EventDecision::PendingApproval
            && let Some(call) = call
        {
            self.asked.insert(hash(call));
        }
        self.report.judged += 1;
        // What stopped it then, beside rules and limits, stops it now.
        let aside = self.compared == Compared::Recorded
            && recorded.aside.is_some_and(|said| said == to.decision || passes(said) && to.lets_through());
        if from == to.decision || aside {
            self.decided(from, from, 1);
            self.remember(call.filter(|_| !recorded.let_through), Fate::Same(from));
            return;
        }
        let through = to.lets_through();
        self.decided(from, to.decision, 1);
        self.money((from, was_through), (to.decision, through), 1, recorded.cost);
        let key = (
            from,
            to.decision,
            recorded.agent.clone(),
            recorded.tool.as_deref().map(|tool| path_of(tool).into()),
            to.policy_id.clone(),
        );
        let example = Example {
            trace_id: recorded.trace_id,
            call_id: recorded.call_id.clone(),
            timestamp: recorded.at,
            rule_id: to.rule_id,
            reason: to.reason,
        };
        self.changed(key.clone(), 1, recorded.cost, before, Some(example));
        self.remember(call.filter(|_| !recorded.let_through), Fate::Flipped(key, recorded.cost, through));
    }

    fn decided(&mut self, from: EventDecision, to: EventDecision, calls: u64) {
        let report = &mut self.report;
        *report.decisions.before.entry(from).or_default() += calls;
        *report.decisions.after.entry(to).or_default() += calls;
        let asks = |word| word == EventDecision::PendingApproval;
        report.approvals.before += if asks(from) { calls } else { 0 };
        report.approvals.after += if asks(to) { calls } else { 0 };
        report.approvals.added += if asks(to) && !asks(from) { calls } else { 0 };
        report.approvals.no_longer += if asks(from) && !asks(to) { calls } else { 0 };
    }

    fn money(
        &mut self,
        (from, was_through): (EventDecision, bool),
        (to, through): (EventDecision, bool),
        calls: u64,
        cost: MicroUsd,
    ) {
        let spend = &mut self.report.spend;
        let add = |sum: &mut MicroUsd| *sum = MicroUsd(sum.0.saturating_add(cost.0));
        if was_through && to == EventDecision::PendingApproval && from != EventDecision::PendingApproval {
            spend.asked_calls += calls;
            add(&mut spend.asked_usd);
        } else if was_through && !through && to != EventDecision::PendingApproval {
            spend.stopped_calls += calls;
            add(&mut spend.stopped_usd);
        } else if through && !was_through && from != EventDecision::PendingApproval {
            spend.released_calls += calls;
            add(&mut spend.released_usd);
        }
    }

    fn changed(
        &mut self,
        key: Key,
        calls: u64,
        cost: MicroUsd,
        before: Option<PolicyId>,
        example: Option<Example>,
    ) {
        self.report.changed += calls;
        if key.1 == EventDecision::Deny {
            self.report.expected_denies += calls;
        }
        if !self.flips.contains_key(&key) && self.flips.len() >= MOST_FLIPS {
            self.report.truncated = true;
            return;
        }
        let flip = self.flips.entry(key).or_insert_with_key(|(from, to, agent, tool, policy_id)| Flip {
            from: *from,
            to: *to,
            agent: agent.clone(),
            tool: tool.clone(),
            policy_id: policy_id.clone(),
            calls: 0,
            cost_usd: MicroUsd::ZERO,
            policies_before: BTreeSet::new(),
            examples: Vec::new(),
        });
        flip.calls += calls;
        flip.cost_usd = MicroUsd(flip.cost_usd.0.saturating_add(cost.0));
        if flip.policies_before.len() < MOST_NAMES {
            flip.policies_before.extend(before);
        }
        if flip.examples.len() < MOST_EXAMPLES {
            flip.examples.extend(example);
        }
    }
}

fn passes(word: EventDecision) -> bool {
    matches!(word, EventDecision::Allow | EventDecision::AllowWithConstraints)
}

fn hash(call: &CallId) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    call.hash(&mut hasher);
    hasher.finish()
}

impl SimulateReport {
    /// Calls by one thing that flips differ in, most calls first.
    pub fn by<T: Ord>(&self, of: impl Fn(&Flip) -> T) -> Vec<(T, u64)> {
        let mut sums: BTreeMap<T, u64> = BTreeMap::new();
        for flip in &self.flips {
            *sums.entry(of(flip)).or_default() += flip.calls;
        }
        let mut sums: Vec<(T, u64)> = sums.into_iter().collect();
        sums.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        sums
    }
}
