//! A recorded call under another bundle: decided by the same core as a call, with the changes that rules make to it.

use super::{
    Why,
    assume::{Assumed, every},
    rebase::{Rebased, rebase},
};
use crate::{
    admission::FREEZE,
    decision::{Facts, Limits, Verdict, edited, stricter},
    evidence::{Counted, Recalled, recall},
    model::{
        AgentId, CallId, CallKind, Decision, EventDecision, EventDraft, MicroUsd, PolicyId, RuleId, TraceId,
        WorkflowId, pointer::Pointer,
    },
    policy::{ArgumentEdit, PolicySet, ToolFacts},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// How often a call may be changed by constraints and remediation before that itself is a refusal.
const MAX_CHANGES: usize = 4;

/// What was recorded of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCall {
    /// Joins its records.
    pub call_id: Option<CallId>,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// When it was decided.
    pub at: Timestamp,
    /// Who called.
    pub agent: Option<AgentId>,
    /// What, masked.
    pub tool: Option<Arc<str>>,
    /// In which workflow.
    pub workflow: Option<WorkflowId>,
    /// What was decided first, as far as policies and limits go: a call that a person approved, rejected or did not answer was
    /// asked about.
    pub decision: EventDecision,
    /// What decided.
    pub policy_id: Option<PolicyId>,
    /// It was dispatched by this decision.
    pub let_through: bool,
    /// It was refused by something that is neither a rule nor a limit (nobody could answer, too many asks), on which policies
    /// had said this.
    pub aside: Option<EventDecision>,
    /// What it was estimated to cost.
    pub cost: MicroUsd,
    /// What it was estimated to take.
    pub tokens: u64,
    /// How often its agent had made it in the last minute.
    pub repeats: u64,
    /// The counters that its admission saw.
    pub counters: Vec<CounterOnRecord>,
}

/// A counter as a decision's record has it, at what it stood.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CounterOnRecord {
    /// The budget, the policy, or `loop`.
    pub id: PolicyId,
    /// Which counter of it.
    pub key: Arc<str>,
    /// Over what time.
    pub window: Arc<str>,
    /// `calls`, `tokens`, `cost_usd` or `repeats`.
    pub unit: Arc<str>,
    /// What was used.
    pub used: Value,
}

/// What would be decided of a call, before limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruled {
    /// The word.
    pub decision: EventDecision,
    /// What decides.
    pub policy_id: PolicyId,
    /// Which rule of it.
    pub rule_id: Option<RuleId>,
    /// Why, in one plain sentence.
    pub reason: Arc<str>,
    /// What admission would check.
    pub limits: Limits,
}

impl Ruled {
    /// Whether a call with this word is dispatched without a person. A remediation that is only proposed has no limits to
    /// check: see `Self::of`.
    pub fn lets_through(&self) -> bool {
        matches!(self.decision, EventDecision::Allow | EventDecision::AllowWithConstraints)
            || (self.decision == EventDecision::Remediate && self.limits != Limits::default())
    }

    fn stop(policy_id: PolicyId, reason: Arc<str>) -> Self {
        Self { decision: EventDecision::Deny, policy_id, rule_id: None, reason, limits: Limits::default() }
    }

    fn of(verdict: Verdict, applied: Option<Applied>, askable: bool) -> Self {
        let passes = verdict.decision < Decision::RequireApproval;
        let decision = match (verdict.decision, &applied) {
            (Decision::Allow | Decision::AllowWithConstraints, Some(_)) => EventDecision::Remediate,
            // Approval is given to a use of something, never to what is only asked about it.
            (Decision::RequireApproval, _) if !askable => EventDecision::Deny,
            (decision, _) => decision.event_word(),
        };
        let limits = if passes { verdict.limits } else { Limits::default() };
        match applied.filter(|_| passes) {
            Some(Applied { policy_id, rule_id, reason }) => {
                Self { decision, policy_id, rule_id, reason, limits }
            }
            None => Self {
                decision,
                policy_id: verdict.policy_id,
                rule_id: verdict.rule_id,
                reason: verdict.reason,
                limits,
            },
        }
    }
}

/// A remediation that changed the call, and who said so.
#[derive(Clone, Debug)]
struct Applied {
    policy_id: PolicyId,
    rule_id: Option<RuleId>,
    reason: Arc<str>,
}

/// What came of simulating a recorded decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Simulated {
    /// No rule was asked: an unknown tool, arguments that do not fit, a credential that is gone.
    NotByRules,
    /// The record stands for so many refusals like one that was recorded before; `mixed` where they are not all of one target.
    Counted {
        /// How many.
        count: u64,
        /// They differ.
        mixed: bool,
    },
    /// It cannot be told.
    Unjudgeable(Why),
    /// What each bundle says, in their order.
    Ruled(Box<RecordedCall>, Vec<Ruled>),
}

/// Decides a recorded call under other bundles. `then` is the bundle that decided it, where it is kept.
pub fn simulate(
    event: &EventDraft,
    then: Option<&PolicySet>,
    sets: &[&PolicySet],
    tool: &dyn Fn(&str) -> Option<ToolFacts>,
) -> Simulated {
    if let Some(counted) = Counted::of(event) {
        return Simulated::Counted { count: counted.count, mixed: event.tool.is_none() };
    }
    if event.facts.is_none() && event.evaluator.is_some() {
        return Simulated::NotByRules;
    }
    let ruled: Result<Vec<Ruled>, Why> = sets.iter().map(|set| under(event, then, set, tool)).collect();
    match ruled.and_then(|ruled| Ok((recorded(event)?, ruled))) {
        Ok((call, ruled)) => Simulated::Ruled(Box::new(call), ruled),
        Err(why) => Simulated::Unjudgeable(why),
    }
}

/// What a bundle says of it.
fn under(
    event: &EventDraft,
    then: Option<&PolicySet>,
    now: &PolicySet,
    tool: &dyn Fn(&str) -> Option<ToolFacts>,
) -> Result<Ruled, Why> {
    let recalled = recall(event, then.unwrap_or(now), tool)?;
    if recalled.iter().any(|evaluation| evaluation.target_masked) {
        return Err(Why::TargetMasked);
    }
    let rebased = recalled.iter().map(|evaluation| rebase(event, evaluation, then, now));
    let rebased: Vec<Rebased> = rebased.collect::<Result<_, Why>>()?;
    let askable = event.detail.as_ref().and_then(|detail| detail.get("method")).is_none();
    let mut all = every(|assumed| one(now, &rebased, askable, assumed))?.ok_or(Why::Masked)?;
    let last = all.pop().ok_or(Why::Masked)?;
    match all.iter().all(|other| other.decision == last.decision && other.limits == last.limits) {
        true => Ok(last),
        false => Err(Why::Masked),
    }
}

/// One evaluation of the whole call: as it came, and as rules change it.
fn one(set: &PolicySet, recorded: &[Rebased], askable: bool, assumed: &Assumed<'_>) -> Result<Ruled, Why> {
    let mut current = match recorded.first() {
        Some(Rebased::Facts(facts)) => facts.clone(),
        Some(Rebased::Refused(policy, reason)) => return Ok(Ruled::stop(policy.clone(), reason.clone())),
        None => return Err(Why::NoVerdict),
    };
    let mut earlier: Option<Verdict> = None;
    let mut applied: Option<Applied> = None;
    for round in 1..=MAX_CHANGES {
        let Recalled { facts, masked, .. } = &*current;
        let mut verdict = assumed.decide(set, facts, masked);
        if let Some(first) = earlier.take() {
            verdict = stricter(first, verdict, facts);
        }
        if let Some(check) = verdict.unasked.first() {
            return Err(Why::Unasked(check.clone()));
        }
        let remediation = verdict.remediation.clone().filter(|remediation| remediation.apply);
        let edits: Vec<&ArgumentEdit> = match (verdict.decision, &remediation) {
            (Decision::Remediate, Some(remediation)) => {
                verdict.constraints.arguments.iter().chain(&remediation.edits).collect()
            }
            (Decision::Allow | Decision::AllowWithConstraints | Decision::RequireApproval, _) => {
                verdict.constraints.arguments.iter().collect()
            }
            (Decision::Remediate | Decision::Suggest | Decision::Throttle | Decision::Deny, _) => Vec::new(),
        };
        if edits.iter().any(|edit| !is_certain(edit, masked)) {
            return Err(Why::Masked);
        }
        let edits: Vec<ArgumentEdit> = edits.into_iter().cloned().collect();
        let changed = match edited(&facts.args, &edits) {
            Ok(changed) => changed,
            Err(reason) => return Ok(Ruled::stop(verdict.policy_id, reason.into())),
        };
        let remediates = verdict.decision == Decision::Remediate && remediation.is_some();
        if changed.is_none() && !remediates {
            return Ok(Ruled::of(verdict, applied, askable));
        }
        if remediates {
            applied = Some(Applied {
                policy_id: verdict.policy_id.clone(),
                rule_id: verdict.rule_id.clone(),
                reason: verdict.reason.clone(),
            });
        }
        let target = remediation.filter(|_| remediates).and_then(|remediation| remediation.tool.clone());
        let args = changed.map_or_else(|| facts.args.clone(), Arc::new);
        match next(&current, recorded.get(round), args, target.as_deref(), applied.is_some())? {
            Rebased::Facts(facts) => current = facts,
            Rebased::Refused(..) => {
                return Ok(Ruled::stop(
                    verdict.policy_id,
                    "the changed call is not in this agent's scope".into(),
                ));
            }
        }
        earlier = Some(verdict);
    }
    Ok(Ruled::stop(PolicyId::from("constraints"), "the constraints on this call keep changing it".into()))
}

/// What a changed call is decided on: what was recorded of it where rules changed it alike then, else what is known of the
/// call as it came, with the estimate and the size that it had.
fn next(
    current: &Recalled,
    recorded: Option<&Rebased>,
    args: Arc<Value>,
    target: Option<&str>,
    remediated: bool,
) -> Result<Rebased, Why> {
    let facts = &current.facts;
    if let Some(Rebased::Facts(known)) = recorded
        && known.facts.args == args
        && known.facts.remediated == remediated
        && target.is_none_or(|target| target == &*known.facts.tool.name)
    {
        return Ok(Rebased::Facts(known.clone()));
    }
    let uri = |args: &Value| args.get("uri").cloned();
    let moved = facts.call.kind == CallKind::Resource && uri(&args) != uri(&facts.args);
    if moved || target.is_some_and(|target| target != &*facts.tool.name) {
        return match recorded {
            Some(Rebased::Refused(policy, why)) => Ok(Rebased::Refused(policy.clone(), why.clone())),
            Some(Rebased::Facts(_)) | None => Err(Why::OtherTarget),
        };
    }
    let still = |place: &&Pointer| place.get(&args) == place.get(&facts.args);
    let masked = current.masked.iter().filter(still).cloned().collect();
    let facts = Facts { args: args.clone(), remediated, ..facts.clone() };
    Ok(Rebased::Facts(Box::new(Recalled { facts, masked, target_masked: false })))
}

/// Whether what an edit does depends on nothing that is masked: it may replace or remove a masked value, and neither look at
/// one nor into one.
fn is_certain(edit: &ArgumentEdit, masked: &[Pointer]) -> bool {
    let within = |inner: &Pointer, outer: &Pointer| inner.tokens().starts_with(outer.tokens());
    match edit {
        ArgumentEdit::Set(at, _) | ArgumentEdit::Remove(at) => {
            !masked.iter().any(|place| within(at, place) && at.tokens().len() > place.tokens().len())
        }
        ArgumentEdit::Clamp { at, .. } => !masked.iter().any(|place| within(at, place) || within(place, at)),
    }
}

/// The word of a call as it is counted: whether a person answered, and what, is not a policy's to say.
fn as_decided(word: EventDecision) -> EventDecision {
    match word {
        EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired => {
            EventDecision::PendingApproval
        }
        EventDecision::Allow
        | EventDecision::AllowWithConstraints
        | EventDecision::PendingApproval
        | EventDecision::Remediate
        | EventDecision::Suggest
        | EventDecision::Throttle
        | EventDecision::Deny => word,
    }
}

fn recorded(event: &EventDraft) -> Result<RecordedCall, Why> {
    let told = event.decision.ok_or(Why::NoVerdict)?;
    let decision = as_decided(told);
    let verdict = event.detail.as_ref().and_then(|detail| detail.get("verdict")).ok_or(Why::NoVerdict)?;
    let said = verdict.get("decision").and_then(Value::as_str).and_then(EventDecision::parse);
    let passed = matches!(said, Some(EventDecision::Allow | EventDecision::AllowWithConstraints));
    let let_through = match told {
        EventDecision::Allow | EventDecision::AllowWithConstraints | EventDecision::Approved => true,
        EventDecision::Remediate => passed,
        EventDecision::PendingApproval
        | EventDecision::Rejected
        | EventDecision::Expired
        | EventDecision::Suggest
        | EventDecision::Throttle
        | EventDecision::Deny => false,
    };
    let stopped = matches!(decision, EventDecision::Deny | EventDecision::Throttle);
    let might = passed || said == Some(EventDecision::PendingApproval);
    // Whatever policies said: what people freeze is no rule's.
    let is_frozen = event.policy_id.as_deref() == Some(FREEZE);
    let facts = event.facts.as_ref();
    let number = |name: &str| facts.and_then(|facts| facts.get(name)?.as_u64()).unwrap_or(0);
    let counters = event.limits.as_ref().and_then(|limits| limits.get("counters"));
    let counters: Vec<CounterOnRecord> =
        counters.and_then(|counters| Vec::deserialize(counters).ok()).unwrap_or_default();
    let looped = counters.iter().find(|counter| &*counter.id == "loop" && &*counter.unit == "repeats");
    let repeats = match (looped.and_then(|counter| counter.used.as_u64()), let_through) {
        (Some(seen), _) => seen,
        // Admission looked, and had nothing to tell.
        (None, true) => 0,
        (None, false) => number("repeats"),
    };
    Ok(RecordedCall {
        call_id: event.call_id.clone(),
        trace_id: event.trace_id,
        at: event.timestamp,
        agent: event.agent_id.clone(),
        tool: event.tool.clone(),
        workflow: event.workflow_id.clone(),
        decision,
        policy_id: event.policy_id.clone(),
        let_through,
        aside: said.filter(|_| stopped && (is_frozen || might && !by_limit(event, verdict))),
        cost: event.cost_estimate_usd.unwrap_or(MicroUsd::ZERO),
        tokens: number("tokens"),
        repeats,
        counters,
    })
}

/// Whether a limit refused it that its verdict names.
fn by_limit(event: &EventDraft, verdict: &Value) -> bool {
    let Some(policy) = event.policy_id.as_deref() else { return false };
    let list = |name: &str| verdict.get(name).and_then(Value::as_array).into_iter().flatten();
    let rates = list("rates").filter_map(Value::as_str);
    let budgets = list("budgets").filter_map(|pair| pair.get(0)?.as_str());
    policy == "loop" || rates.chain(budgets).any(|id| id == policy)
}
