//! What other arguments would change: values that the conditions at hand speak of are tried, one at a time, and two where one
//! is not enough. What is told was decided.

use super::{
    Question,
    answer::ChangeView,
    decided::{Came, Ground, Seen, decide},
};
use crate::{
    decision::selected,
    model::{Decision, EventDecision, pointer::Pointer},
    policy::{
        Policy, PolicyBody,
        condition::{Condition, Variation},
    },
};
use serde_json::{Map, Value};
use std::cmp::Reverse;

/// Calls that are tried for one question.
const MOST_TRIED: usize = 96;
/// Pairs of changes that are tried besides.
const MOST_PAIRS: usize = 96;
/// Changes that are told.
const MOST_TOLD: usize = 8;
/// Arguments that are larger are not tried: each try looks through all of them.
const LARGEST: usize = 16 << 10;

/// What each change comes to, the least strict first; only what differs from what is decided now.
pub(super) fn find(
    ground: Ground<'_>,
    question: &Question,
    seen: &Seen,
    now: (EventDecision, Decision),
) -> Vec<ChangeView> {
    let given = question.given();
    if given.to_string().len() > LARGEST {
        return Vec::new();
    }
    let variations = variations(ground, seen);
    let mut told: Vec<(Decision, ChangeView)> = Vec::new();
    for variation in &variations {
        told.extend(tried(ground, question, &given, &[variation], now));
    }
    if now.1 > Decision::AllowWithConstraints && !told.iter().any(|(_, change)| change.less_strict) {
        let pairs = variations.iter().enumerate().flat_map(|(index, first)| {
            let rest = variations.iter().skip(index + 1).filter(|second| second.at != first.at);
            rest.map(move |second| [first, second])
        });
        for pair in pairs.take(MOST_PAIRS) {
            let one = tried(ground, question, &given, &pair, now);
            told.extend(one.filter(|(_, change)| change.less_strict));
        }
    }
    told.sort_by_key(|(decision, change)| (Reverse(change.less_strict), *decision));
    // One example for each argument and outcome is enough.
    let mut kept: Vec<ChangeView> = Vec::new();
    for (_, change) in told {
        let places = |of: &ChangeView| of.arguments.keys().cloned().collect::<Vec<_>>();
        let known = |other: &ChangeView| {
            places(other) == places(&change)
                && (&other.decision, &other.policy_id, &other.rule_id)
                    == (&change.decision, &change.policy_id, &change.rule_id)
        };
        if kept.len() < MOST_TOLD && !kept.iter().any(known) {
            kept.push(change);
        }
    }
    kept
}

/// What the conditions at hand speak of: those of the capabilities that cover the call and of the policies that concern it.
fn variations(ground: Ground<'_>, seen: &Seen) -> Vec<Variation> {
    let set = &*ground.in_force.policies;
    let selected = selected(&seen.facts, seen.verdict.capability.as_ref());
    let capabilities = seen.facts.capabilities.iter().filter_map(|id| set.authority.capabilities.get(id));
    let concerned =
        |policy: &&Policy| policy.on.is_empty() || policy.on.iter().any(|entry| entry.matches(&selected));
    let conditions = capabilities
        .filter_map(|capability| capability.condition.as_ref())
        .chain(set.policies.iter().filter(concerned).flat_map(conditions));
    let mut found: Vec<Variation> = Vec::new();
    for variation in conditions.flat_map(|condition| condition.variations(&seen.recorded)) {
        let known = |other: &Variation| other.at == variation.at && other.value == variation.value;
        if !found.iter().any(known) {
            found.push(variation);
        }
        // Further ones are not tried.
        if found.len() >= MOST_TRIED {
            break;
        }
    }
    found
}

fn conditions(policy: &Policy) -> Vec<&Condition> {
    match &policy.body {
        PolicyBody::Gate(rules) => rules.iter().filter_map(|rule| rule.condition.as_ref()).collect(),
        PolicyBody::Rulebook(book) => book.condition.iter().collect(),
    }
}

/// What a change comes to, where that is another decision.
fn tried(
    ground: Ground<'_>,
    question: &Question,
    given: &Value,
    changes: &[&Variation],
    now: (EventDecision, Decision),
) -> Option<(Decision, ChangeView)> {
    let mut arguments = given.clone();
    let mut tried = Map::new();
    for Variation { at, value, .. } in changes {
        put(&mut arguments, at, value.as_ref())?;
        tried.insert(at.as_str().to_owned(), value.clone().unwrap_or_default());
    }
    if arguments == *given {
        return None;
    }
    let (came, _) = decide(ground, &question.with(arguments));
    let (word, decision) = came.word();
    let (policy_id, rule_id) = match &came {
        Came::Decided(decided) => {
            let (policy, rule, _) = decided.attribution();
            (policy.clone(), rule.cloned())
        }
        // Arguments that do not fit their schema, or another target: no rule spoke of them.
        Came::Unknown | Came::Refused(..) => return None,
    };
    let words: Vec<&str> = changes.iter().map(|change| change.words.as_str()).collect();
    let change = ChangeView {
        words: words.join(" and "),
        arguments: tried,
        decision: word,
        policy_id,
        rule_id,
        less_strict: decision < now.1,
    };
    (word != now.0).then_some((decision, change))
}

fn put(arguments: &mut Value, at: &Pointer, value: Option<&Value>) -> Option<()> {
    match value {
        Some(value) => at.set(arguments, value.clone()).then_some(()),
        None => at.remove(arguments).map(drop),
    }
}
