//! Why a call was decided as it was: which policies concern it and which do not, which of their rules applies, and what each
//! part of a condition came to. The outcomes themselves are the verdict's; nothing is decided here.

use super::{Verdict, decide::selected};
use crate::{
    model::{CapabilityId, Decision, EventDecision, MicroUsd, PolicyId, RuleId, Selected, counted},
    policy::{
        Capability, Facts, Policy, PolicyBody, PolicySet, Rule, Rulebook, Violation,
        condition::{Came, Condition, Examined, Part, ReadValue, Surroundings},
    },
};
use serde::Serialize;

/// What a rule came to on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleCame {
    /// It gives the policy's outcome.
    Applies,
    /// Its condition is not true.
    DoesNotApply,
    /// Its condition has no answer, which denies.
    Error,
    /// It depends on a value that is masked in the record.
    Masked,
    /// A rule before it gave the outcome.
    NotReached,
}

/// One rule of a gate, or one key of a rulebook's policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleTree {
    /// The rule of a gate.
    pub rule_id: Option<RuleId>,
    /// What came of it.
    pub result: RuleCame,
    /// What it says where it applies.
    pub decision: Option<EventDecision>,
    /// The condition with its parts; none where it always applies.
    pub condition: Option<Part>,
}

/// The share of a policy in `mode: share`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareTree {
    /// Like `10%`.
    pub of_calls: String,
    /// Whether this call is in it; else the policy is a shadow for it.
    pub counts: bool,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyTree {
    /// Which.
    pub policy_id: PolicyId,
    /// Where it stands.
    pub file: String,
    /// `enforce`, `shadow` or `share`.
    pub mode: &'static str,
    /// The share of calls for which it counts, in `mode: share`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareTree>,
    /// Whether it concerns the call.
    pub concerns: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// What it said; none where it had no outcome.
    pub decision: Option<EventDecision>,
    /// Why, where it had an outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its rules in order, of a policy that concerns the call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleTree>,
}

/// One capability that covers the target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapabilityTree {
    /// Which.
    pub capability: CapabilityId,
    /// What came of it; one after the one that lets the call through is not reached.
    pub result: RuleCame,
    /// The condition with its parts, where it has one.
    pub condition: Option<Part>,
}

/// One evaluation of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tree {
    /// The capabilities that cover the target, in the order in which they are tried.
    pub capabilities: Vec<CapabilityTree>,
    /// Every policy of the bundle, in order.
    pub policies: Vec<PolicyTree>,
}

/// The tree of an evaluation; `verdict` is what was decided on these facts.
pub fn tree(set: &PolicySet, on: &Examined<'_>, verdict: &Verdict) -> Tree {
    Tree { capabilities: capabilities(set, on), policies: policies(set, on, verdict) }
}

fn capabilities(set: &PolicySet, on: &Examined<'_>) -> Vec<CapabilityTree> {
    // The one that lets the call through is found by them.
    let on = &Examined { around: Surroundings { capability: None, ..on.around }, ..*on };
    let mut passed = false;
    let known = on.facts.capabilities.iter().filter_map(|id| set.authority.capabilities.get(id));
    known
        .map(|capability: &Capability| {
            let (result, condition) = match &capability.condition {
                _ if passed => (RuleCame::NotReached, None),
                None => (RuleCame::Applies, None),
                Some(condition) => {
                    let part = condition.examine(on);
                    (came(part.result), Some(part))
                }
            };
            passed |= result == RuleCame::Applies;
            CapabilityTree { capability: capability.id.clone(), result, condition }
        })
        .collect()
}

fn came(of: Came) -> RuleCame {
    match of {
        Came::True => RuleCame::Applies,
        Came::False => RuleCame::DoesNotApply,
        Came::Error => RuleCame::Error,
        Came::Masked => RuleCame::Masked,
    }
}

fn policies(set: &PolicySet, on: &Examined<'_>, verdict: &Verdict) -> Vec<PolicyTree> {
    let capability = on.around.capability;
    let selected = selected(on.facts, capability);
    let shown = super::decide::selected(on.shown, capability);
    set.policies
        .iter()
        .map(|policy| {
            let why_not = why_not(policy, on.shown, &selected, &shown);
            let concerns = why_not.is_none();
            let step = verdict.trace.steps.iter().find(|step| step.policy_id == policy.id && !step.limit);
            let step = step.filter(|_| concerns);
            PolicyTree {
                policy_id: policy.id.clone(),
                file: policy.file.to_string(),
                mode: policy.mode.as_str(),
                share: policy.mode.share().map(|share| ShareTree {
                    of_calls: share.to_string(),
                    counts: share.covers(on.facts.share),
                }),
                concerns,
                why_not,
                decision: step.map(|step| step.decision.event_word()),
                reason: step.map(|step| step.reason.to_string()),
                rules: match &policy.body {
                    _ if !concerns => Vec::new(),
                    PolicyBody::Gate(rules) => gate(rules, on),
                    PolicyBody::Rulebook(book) => rulebook(book, on),
                },
            }
        })
        .collect()
}

/// Why a policy does not concern a call: of each entry of `on` the first key that does not match.
fn why_not(policy: &Policy, facts: &Facts, selected: &Selected<'_>, shown: &Selected<'_>) -> Option<String> {
    if !policy.on.is_empty() && !policy.on.iter().any(|entry| entry.matches(selected)) {
        let mismatches = policy.on.iter().filter_map(|entry| {
            // What is told is what may be shown; where only the raw name makes the difference, no name is told.
            let mismatch = entry.mismatch(shown).or_else(|| {
                entry
                    .mismatch(selected)
                    .map(|raw| crate::model::Mismatch { found: "masked".to_owned(), ..raw })
            })?;
            let is =
                if mismatch.found.is_empty() { "none".to_owned() } else { format!("`{}`", mismatch.found) };
            Some(format!("{} is {is}, not `{}`", mismatch.key, mismatch.pattern))
        });
        let all: Vec<String> = mismatches.collect();
        return Some(all.join("; "));
    }
    if let PolicyBody::Rulebook(book) = &policy.body
        && let Some(types) = &book.agent_types
        && !types.contains(&facts.agent.agent_type)
    {
        return Some(format!("agent_type is `{}`, not one of {}", facts.agent.agent_type, types.join(", ")));
    }
    None
}

fn gate(rules: &[Rule], on: &Examined<'_>) -> Vec<RuleTree> {
    let mut done = false;
    rules
        .iter()
        .map(|rule| {
            let (result, condition) = match &rule.condition {
                // Its parts are told all the same: what would apply in its place is what people ask.
                Some(condition) if done => (RuleCame::NotReached, Some(condition.examine(on))),
                None if done => (RuleCame::NotReached, None),
                None => (RuleCame::Applies, None),
                Some(condition) => {
                    let part = condition.examine(on);
                    (came(part.result), Some(part))
                }
            };
            done |= matches!(result, RuleCame::Applies | RuleCame::Error);
            let decision = Some(rule.outcome.decision().event_word());
            RuleTree { rule_id: Some(rule.id.clone()), result, decision, condition }
        })
        .collect()
}

/// The keys of a rulebook's policy in the order in which they are looked at.
fn rulebook(book: &Rulebook, on: &Examined<'_>) -> Vec<RuleTree> {
    let facts = on.shown;
    let mut rules = Vec::new();
    let mut done = false;
    let mut add = |text: String, holds: Option<bool>, decision: Option<Decision>, values: Vec<ReadValue>| {
        let result = match holds {
            _ if done => RuleCame::NotReached,
            Some(true) => RuleCame::Applies,
            Some(false) | None => RuleCame::DoesNotApply,
        };
        done |= result == RuleCame::Applies && decision.is_some();
        let came = if holds == Some(true) { Came::True } else { Came::False };
        let condition = Some(Part { text, result: came, error: None, values, parts: Vec::new() });
        rules.push(RuleTree {
            rule_id: None,
            result,
            decision: decision.map(Decision::event_word),
            condition,
        });
    };
    let value = |name: &str, value: String| vec![ReadValue { name: name.to_owned(), value }];
    if let Some(roles) = &book.allowed_roles {
        let other = !roles.contains(&facts.agent.role);
        let role = value("agent.role", format!("'{}'", facts.agent.role));
        add(format!("a role other than {}", roles.join(", ")), Some(other), Some(Decision::Deny), role);
    }
    if let Some(limit) = book.max_cost {
        let over = facts.cost.estimate > limit;
        let cost = value("cost.estimate_usd", facts.cost.estimate.to_string());
        add(format!("an estimate above max_cost_usd {limit}"), Some(over), Some(Decision::Deny), cost);
    }
    if book.requires_approval.is_some() {
        add("requires_approval".to_owned(), Some(true), Some(Decision::RequireApproval), Vec::new());
    }
    if book.on_allow {
        add("on_allow: permit".to_owned(), Some(true), Some(Decision::Allow), Vec::new());
    }
    if let Some(text) = per_minute(book.max_calls_per_minute, book.max_cost_per_minute, book.on_violation) {
        let condition =
            Some(Part { text, result: Came::True, error: None, values: Vec::new(), parts: Vec::new() });
        rules.push(RuleTree { rule_id: None, result: RuleCame::Applies, decision: None, condition });
    }
    if let Some(condition) = &book.condition {
        narrowed(condition, on, &mut rules);
    }
    rules
}

fn per_minute(calls: Option<u64>, cost: Option<MicroUsd>, violation: Violation) -> Option<String> {
    let caps: Vec<String> = [
        calls.map(|calls| format!("at most {}", counted(calls, "call"))),
        cost.map(|cost| format!("at most ${cost}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let above = match violation {
        Violation::Throttle => "throttle",
        Violation::Deny => "deny",
    };
    (!caps.is_empty()).then(|| format!("{} in a minute, else {above}", super::sentence::and(&caps)))
}

/// The condition under which a rulebook's policy applies at all comes first; where it is not true, nothing after it is
/// reached.
fn narrowed(condition: &Condition, on: &Examined<'_>, rules: &mut Vec<RuleTree>) {
    let part = condition.examine(on);
    let result = came(part.result);
    if result != RuleCame::Applies {
        rules.iter_mut().for_each(|rule| rule.result = RuleCame::NotReached);
    }
    let decision = (result == RuleCame::Error).then_some(EventDecision::Deny);
    rules.insert(0, RuleTree { rule_id: None, result, decision, condition: Some(part) });
}
