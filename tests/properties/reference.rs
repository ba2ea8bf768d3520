//! A naive decision to hold the real one against.

use crate::world::{Body, Call, Made, On, Say, When, World};
use std::collections::BTreeSet;
use tollgate::model::Decision;

// The reference: the contract read word by word, with no index, no trace and no sharing.

/// True, false, or no answer.
fn holds(when: &When, world: &World) -> Option<bool> {
    match when {
        When::Always => Some(true),
        When::Production => Some(world.production),
        When::Staging => Some(!world.production),
        When::Role(role) => Some(*role == world.call.role),
        When::ArgAbove(limit) => world.call.arg.map(|n| n > *limit),
        When::Broken => None,
        When::BrokenUnlessStaging => (!world.production).then_some(true),
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

fn said(made: &Made, world: &World) -> Option<(Decision, Option<Say>)> {
    let call = &world.call;
    if made.shadow || !concerned(&made.on, call) {
        return None;
    }
    match &made.body {
        Body::Gate(rules) => {
            for (when, say) in rules {
                match holds(when, world) {
                    Some(true) => return Some((word(say, call), Some(say.clone()))),
                    Some(false) => {}
                    None => return Some((Decision::Deny, None)),
                }
            }
            None
        }
        Body::Book { roles, types, max_cost, ask, on_allow, .. } => {
            if types.as_ref().is_some_and(|types| !types.contains(&call.agent_type)) {
                None
            } else if roles.as_ref().is_some_and(|roles| !roles.contains(&call.role))
                || max_cost.is_some_and(|limit| call.cost > limit)
            {
                Some((Decision::Deny, None))
            } else if *ask {
                Some((Decision::RequireApproval, None))
            } else {
                on_allow.then_some((Decision::Allow, None))
            }
        }
    }
}

pub(crate) fn reference(world: &World) -> Decision {
    let call = &world.call;
    let said: Vec<(Decision, Option<Say>)> = world.policies.iter().filter_map(|p| said(p, world)).collect();
    let sets: BTreeSet<i64> = said
        .iter()
        .filter(|(decision, _)| *decision == Decision::AllowWithConstraints)
        .filter_map(|(_, say)| match say {
            Some(Say::Limit { set, .. }) => *set,
            _ => None,
        })
        .collect();
    let stopped = call.missing || call.refused || !call.covered || sets.len() > 1;
    let strictest = match (stopped, said.iter().map(|(decision, _)| *decision).max()) {
        (true, _) => Decision::Deny,
        (false, Some(decision)) => decision,
        (false, None) => world.default,
    };
    if call.suggest_only { strictest.max(Decision::Suggest) } else { strictest }
}
