//! What was decided, why, and under which limits.

use crate::{
    cost::{BudgetAction, BudgetWindow, BudgetZone},
    model::{CapabilityId, Decision, MicroUsd, PolicyId, RuleId, SnapshotId},
    policy::{ApprovalRule, Constraints, LoopRules, Remediation, Violation},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The decision on one call and everything admission needs to act on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The strictest outcome.
    pub decision: Decision,
    /// Whose it is: the first by file name, then order, under ties; `default` where no policy gave an outcome.
    pub policy_id: PolicyId,
    /// Which rule of it.
    pub rule_id: Option<RuleId>,
    /// Its reason: one plain sentence.
    pub reason: Arc<str>,
    /// Every outcome, in file order: the explanation.
    pub trace: Trace,
    /// The intersection of all constraints that apply; empty unless something constrains.
    pub constraints: Constraints,
    /// Every requirement where the decision is REQUIRE_APPROVAL; each keeps its own.
    pub approvals: Vec<ApprovalRequirement>,
    /// Where the decision is REMEDIATE.
    pub remediation: Option<Arc<Remediation>>,
    /// Where the decision is THROTTLE.
    pub retry_after: Option<Duration>,
    /// What admission must check and count.
    pub limits: Limits,
    /// The capability that lets the call through: the first whose condition is true.
    pub capability: Option<CapabilityId>,
    /// The bundle that decided.
    pub snapshot: SnapshotId,
    /// External checks that rules wait for: the verdict is none until they were asked. Empty where the call is denied
    /// whatever they say.
    pub unasked: Vec<Arc<str>>,
}

/// One rule's approval requirement.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalRequirement {
    /// Whose.
    pub policy_id: PolicyId,
    /// Which rule.
    pub rule_id: Option<RuleId>,
    /// What it needs.
    pub rule: ApprovalRule,
    /// Why.
    pub reason: Arc<str>,
}

/// Counters to check and count in admission's transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Per-minute limits of rulebook policies, per agent and policy.
    pub rates: Vec<RateLimit>,
    /// Budgets that match this call, with the counter's key.
    pub budgets: Vec<BudgetLimit>,
    /// More identical calls in 60 s than this are a loop.
    pub max_repeats: Option<u32>,
    /// What else is a loop.
    pub loops: LoopRules,
}

/// A rulebook policy's per-minute limits: exact rolling 60 s per agent and policy.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Whose.
    pub policy_id: PolicyId,
    /// Dispatched calls.
    pub max_calls: Option<u64>,
    /// USD.
    pub max_cost: Option<MicroUsd>,
    /// What happens above.
    pub on_violation: Violation,
}

/// One budget counter.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetLimit {
    /// The budget.
    pub id: PolicyId,
    /// Which counter of it: the agent, workflow, tool … by name; `*` for global.
    pub key: Arc<str>,
    /// Over what time.
    pub window: BudgetWindow,
    /// In which zone its calendar windows are; none: UTC.
    pub zone: Option<BudgetZone>,
    /// Cap on calls.
    pub max_calls: Option<u64>,
    /// Cap on tokens.
    pub max_tokens: Option<u64>,
    /// Cap on money.
    pub max_cost: Option<MicroUsd>,
    /// What happens above.
    pub on_exceed: BudgetAction,
    /// Alert at these percentages, the smallest first.
    pub alert_at: Arc<[u8]>,
    /// Results are cut at what was reserved.
    pub strict: bool,
}

/// Why: every step that counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// In the order of evaluation.
    pub steps: Vec<Step>,
}

/// One policy's say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Whose: a policy id, or `capability:<id>`, `required`, `workflow`, `autonomy`, `default`.
    pub policy_id: PolicyId,
    /// Which rule.
    pub rule_id: Option<RuleId>,
    /// What it said.
    pub decision: Decision,
    /// Why, in one plain sentence.
    pub reason: Arc<str>,
    /// A shadow policy: recorded as `would_*`, changed nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The condition could not be evaluated; hence a deny.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error: bool,
    /// A limit that admission holds, not a policy: deciding again does not say it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limit: bool,
}
