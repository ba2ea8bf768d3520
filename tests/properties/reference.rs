//! A naive decision to hold the real one against.

use crate::world::{Body, Call, Made, On, Say, When, World};
use std::collections::BTreeSet;
use tollgate::{
    decision::Verdict,
    model::{Decision, MicroUsd},
    policy::ArgumentEdit,
};

// The reference: the contract read word by word, with no index, no trace and no sharing.

/// What is decided of a call, and everything that admission and an approver are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    decision: Option<Decision>,
    policy: String,
    rule: Option<String>,
    capability: Option<&'static str>,
    /// The policies that ask, in order.
    asks: Vec<String>,
    /// The policies with limits per minute, in order.
    rates: Vec<String>,
    retry_after: Option<u64>,
    timeout: Option<u64>,
    max_cost: Option<i64>,
    read_only: bool,
    /// What is put into `/n`; more than one cannot be.
    sets: BTreeSet<i64>,
    remediates: bool,
}

impl Told {
    pub(crate) fn decision(&self) -> Decision {
        self.decision.unwrap()
    }

    /// The same of the core's verdict.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        let limits = &verdict.constraints;
        let set = |edit: &ArgumentEdit| match edit {
            ArgumentEdit::Set(_, value) => value.as_i64(),
            ArgumentEdit::Remove(_) | ArgumentEdit::Clamp { .. } => None,
        };
        let all = ["all", "never", "ops", "broken", "proposals"];
        Self {
            decision: Some(verdict.decision),
            policy: verdict.policy_id.to_string(),
            rule: verdict.rule_id.as_ref().map(|rule| rule.to_string()),
            capability: verdict
                .capability
                .as_ref()
                .and_then(|id| all.into_iter().find(|known| **id == **known)),
            asks: verdict.approvals.iter().map(|asks| asks.policy_id.to_string()).collect(),
            rates: verdict.limits.rates.iter().map(|rate| rate.policy_id.to_string()).collect(),
            retry_after: verdict.retry_after.map(|wait| wait.as_secs()),
            timeout: limits.timeout.map(|timeout| timeout.as_secs()),
            max_cost: limits.max_cost.map(|MicroUsd(cost)| cost),
            read_only: limits.read_only,
            sets: limits.arguments.iter().filter_map(set).collect(),
            remediates: verdict.remediation.is_some(),
        }
    }
}

/// True, false, or no answer.
fn holds(when: &When, world: &World, call: &Call) -> Option<bool> {
    let of = |when: &When| holds(when, world, call);
    match when {
        When::Always => Some(true),
        When::Production => Some(world.production),
        When::Staging => Some(!world.production),
        When::Role(role) => Some(*role == call.role),
        When::ArgAbove(limit) => call.arg.map(|n| n > *limit),
        When::Within(root) => call.path.map(|path| match (path, *root) {
            ("/scratch/a", "/scratch") | ("/scratch/../notes/a" | "/notes/b", "/notes") => true,
            // A relative path lies nowhere.
            ("relative", _) => false,
            (_, "/") => true,
            _ => false,
        }),
        When::HasArg => Some(call.arg.is_some()),
        When::Broken => None,
        When::BrokenUnlessStaging => (!world.production).then_some(true),
        // An error beside a `false &&` or a `true ||` does not matter, whichever stands first.
        When::And(a, b) => match (of(a), of(b)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            (None, _) | (_, None) => None,
        },
        When::Or(a, b) => match (of(a), of(b)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        },
        When::Not(a) => of(a).map(|truth| !truth),
    }
}

fn matches(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((start, end)) => text.starts_with(start) && text.ends_with(end),
    }
}

fn concerned(on: &On, call: &Call) -> bool {
    match on {
        On::Everything => true,
        On::Tool(tool) => matches(call.tool, tool),
        On::Action(action) => matches(call.action, action),
        On::AgentAndLabel(agent, label) => matches(call.agent, agent) && matches(call.label, label),
        On::RoleAndType(role, agent_type) => matches(call.role, role) && matches(call.agent_type, agent_type),
        On::Either(tool, action) => matches(call.tool, tool) || matches(call.action, action),
    }
}

fn word(say: &Say, call: &Call) -> Decision {
    match say {
        Say::Allow => Decision::Allow,
        Say::Limit { max_cost, read_only, .. } => {
            if max_cost.is_some_and(|limit| call.cost > limit) || *read_only && !call.read_only {
                Decision::Deny
            } else {
                Decision::AllowWithConstraints
            }
        }
        Say::Ask(_) => Decision::RequireApproval,
        Say::Remediate if call.remediated => Decision::Deny,
        Say::Remediate => Decision::Remediate,
        Say::Suggest => Decision::Suggest,
        Say::Throttle(_) => Decision::Throttle,
        Say::Deny => Decision::Deny,
    }
}

/// A policy's outcome: its rule, its word, and what the rule said.
type Outcome<'m> = (Option<String>, Decision, Option<&'m Say>);

fn said<'m>(made: &'m Made, world: &World, call: &Call) -> Option<Outcome<'m>> {
    match &made.body {
        Body::Gate(rules) => {
            for (number, (when, say)) in rules.iter().enumerate() {
                let rule = Some((number + 1).to_string());
                match holds(when, world, call) {
                    Some(true) => return Some((rule, word(say, call), Some(say))),
                    Some(false) => {}
                    None => return Some((rule, Decision::Deny, None)),
                }
            }
            None
        }
        Body::Book { roles, max_cost, ask, on_allow, .. } => {
            if roles.as_ref().is_some_and(|roles| !roles.contains(&call.role))
                || max_cost.is_some_and(|limit| call.cost > limit)
            {
                Some((None, Decision::Deny, None))
            } else if *ask {
                Some((None, Decision::RequireApproval, None))
            } else {
                on_allow.then_some((None, Decision::Allow, None))
            }
        }
    }
}

/// The capability that lets the call through; else every one that does not.
fn capability(call: &Call) -> Result<&'static str, Vec<&'static str>> {
    let passes = |id: &&&'static str| match **id {
        "all" | "proposals" => true,
        "ops" => call.role == "ops",
        _ => false,
    };
    call.capabilities.iter().find(passes).copied().ok_or_else(|| call.capabilities.clone())
}

fn stricter(limit: &mut Option<u64>, other: u64) {
    *limit = Some(limit.map_or(other, |limit| limit.min(other)));
}

pub(crate) fn reference(world: &World, call: &Call) -> Told {
    let mut told = Told::default();
    // Whose word, in the order in which they are heard.
    let mut heard: Vec<(String, Option<String>, Decision)> = Vec::new();
    let mut hear =
        |policy: &str, rule: Option<String>, decision| heard.push((policy.to_owned(), rule, decision));
    if call.missing {
        hear("required", None, Decision::Deny);
    }
    if call.refused {
        hear("workflow", None, Decision::Deny);
    }
    match capability(call) {
        Ok(id) => told.capability = Some(id),
        Err(none) if none.is_empty() => hear("capability", None, Decision::Deny),
        Err(all) => {
            all.into_iter().for_each(|id| hear(&format!("capability:{id}"), None, Decision::Deny));
        }
    }
    let mut spoken = false;
    let mut conflict = None;
    for made in world.policies.iter().filter(|made| !made.shadow && concerned(&made.on, call)) {
        if let Body::Book { types, rate, .. } = &made.body {
            if types.as_ref().is_some_and(|types| !types.contains(&call.agent_type)) {
                continue;
            }
            if *rate {
                told.rates.push(made.name.clone());
            }
        }
        let Some((rule, decision, say)) = said(made, world, call) else { continue };
        spoken = true;
        hear(&made.name, rule, decision);
        match (decision, say) {
            (Decision::AllowWithConstraints, Some(Say::Limit { timeout, max_cost, read_only, set })) => {
                stricter(&mut told.timeout, *timeout);
                if let Some(cost) = max_cost {
                    told.max_cost = Some(told.max_cost.map_or(*cost, |limit| limit.min(*cost)));
                }
                told.read_only |= *read_only;
                if let Some(value) = set {
                    if told.sets.iter().any(|other| other != value) && conflict.is_none() {
                        conflict = Some(made.name.clone());
                    }
                    told.sets.insert(*value);
                }
            }
            (Decision::RequireApproval, _) => told.asks.push(made.name.clone()),
            (Decision::Throttle, Some(Say::Throttle(wait))) => {
                told.retry_after = told.retry_after.max(Some(*wait));
            }
            _ => {}
        }
    }
    if let Some(policy) = conflict {
        hear(&policy, None, Decision::Deny);
    }
    let denied = heard.iter().any(|(_, _, decision)| *decision == Decision::Deny);
    if !spoken && !denied {
        heard.push(("default".to_owned(), None, world.default));
        if world.default == Decision::RequireApproval {
            told.asks.push("default".to_owned());
        }
    }
    let strictest = heard.iter().map(|(_, _, decision)| *decision).max().unwrap();
    if strictest < Decision::Suggest && (call.suggest_only || told.capability == Some("proposals")) {
        heard.push(("autonomy".to_owned(), None, Decision::Suggest));
    }
    let decision = heard.iter().map(|(_, _, decision)| *decision).max().unwrap();
    let (policy, rule, _) = heard.into_iter().find(|(_, _, word)| *word == decision).unwrap();
    (told.decision, told.policy, told.rule) = (Some(decision), policy, rule);
    if ![Decision::RequireApproval, Decision::Remediate].contains(&decision) {
        told.asks.clear();
    }
    if decision != Decision::Throttle {
        told.retry_after = None;
    }
    told.remediates = decision == Decision::Remediate;
    told
}
