//! What was decided of a question, told with all that led to it.

use super::{
    Question,
    answer::{CallView, EvaluationView, Explanation},
    changes,
    decided::{Came, Ground, Seen, decide},
    limits,
};
use crate::{
    decision::{Facts, decide_by, tree},
    evidence::masked_places,
    gateway::{decided::Decided, prepared::Prepared, refusal::unknown_policy},
    model::{CallKind, EventDecision},
    policy::{
        PolicySet,
        condition::{Examined, Hidden, Surroundings},
        names::did_you_mean,
    },
    redaction::display_text,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest name that a sentence repeats.
const LONGEST_NAME: usize = 200;

/// What would be decided, and why; `changes`: what other arguments would change, too.
pub(super) fn explain(ground: Ground<'_>, question: &Question, with_changes: bool) -> Explanation {
    let (came, seen) = decide(ground, question);
    let set = &*ground.in_force.policies;
    let operator = set.authority.agents.get(&question.agent).and_then(|agent| agent.operator.as_ref());
    let mut told = match &came {
        Came::Decided(decided) => {
            let mut told = Explanation::of(set, operator, &decided.verdict);
            let (policy, rule, reason) = decided.attribution();
            told.decision = came.word().0;
            (told.policy_id, told.rule_id, told.reason) = (policy.clone(), rule.cloned(), reason.to_string());
            told.remediation = remediation(decided);
            limits::add(&mut told, ground, decided, operator);
            told
        }
        Came::Unknown => unknown(ground, question),
        Came::Refused(refusal, _) => {
            let reason = refusal.reason.clone();
            let mut told = Explanation::refused(set, refusal.decision, refusal.policy_id.clone(), reason);
            told.rule_id = refusal.rule_id.clone();
            told.notes.extend(refusal.advice.map(str::to_owned));
            told
        }
    };
    let prepared = match &came {
        Came::Decided(decided) => Some(&decided.prepared),
        Came::Refused(_, prepared) => prepared.as_deref(),
        Came::Unknown => None,
    };
    told.call = prepared.map(call);
    if prepared.is_some_and(|prepared| prepared.unchecked) {
        told.notes.push("the arguments could not be held against the tool's schema".to_owned());
    }
    told.evaluations = seen.iter().map(|seen| evaluation(set, seen)).collect();
    taken(set, &mut told);
    let mut unasked: Vec<&Arc<str>> = seen.iter().flat_map(|seen| &seen.verdict.unasked).collect();
    unasked.dedup();
    told.notes.extend(unasked.into_iter().map(|check| {
        format!("external check `{check}` was not asked, for nothing is sent: its answer decides a call that is made")
    }));
    if with_changes && let Some(first) = seen.first() {
        told.changes = changes::find(ground, question, first, came.word());
    }
    told
}

/// What policies say of facts that somebody states, with `env` as stated.
pub fn explain_facts(set: &PolicySet, facts: &Facts, environment: &str) -> Explanation {
    let verdict = decide_by(set, facts, &|condition, capability| {
        condition.evaluate(facts, Surroundings { environment, capability })
    });
    let hidden = Hidden::of(&facts.args, &[]);
    let around = Surroundings { environment, capability: verdict.capability.as_ref() };
    let on = Examined { facts, shown: facts, hidden: &hidden, is_recorded: false, around };
    let mut told = Explanation::of(set, facts.agent.operator.as_ref(), &verdict);
    told.evaluations.push(EvaluationView {
        decision: verdict.decision.event_word(),
        arguments: facts.args.clone(),
        name: facts.tool.name.clone(),
        tree: tree(set, &on, &verdict),
    });
    told
}

/// What of the required metadata is taken to be there.
fn taken(set: &PolicySet, told: &mut Explanation) {
    let own = |name: &&Arc<str>| !["workflow_id", "user"].contains(&&***name);
    let names: Vec<String> = set.bundle.required.iter().filter(own).map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        told.notes.push(format!("the call is taken to carry {}", names.join(", ")));
    }
}

fn call(prepared: &Prepared) -> CallView {
    CallView {
        name: prepared.shown.clone(),
        action: prepared.shown_action.clone(),
        arguments: prepared.recorded.clone(),
        ..CallView::of(&prepared.facts)
    }
}

/// The facts of an evaluation as they may be shown.
fn shown(seen: &Seen) -> Facts {
    let mut facts = seen.facts.clone();
    facts.args = seen.recorded.clone();
    facts.tool.action = seen.shown_action.clone();
    match facts.call.kind {
        CallKind::Tool => facts.tool.name = seen.shown.clone(),
        CallKind::Resource => facts.resource = seen.shown.clone(),
        CallKind::Prompt => facts.prompt = seen.shown.clone(),
    }
    facts
}

fn evaluation(set: &PolicySet, seen: &Seen) -> EvaluationView {
    let shown = shown(seen);
    let places = masked_places(&seen.facts.args, &shown.args);
    let hidden = Hidden::of(&shown.args, &places);
    let on = Examined {
        facts: &seen.facts,
        shown: &shown,
        hidden: &hidden,
        is_recorded: false,
        around: Surroundings { environment: &set.environment, capability: seen.verdict.capability.as_ref() },
    };
    EvaluationView {
        decision: seen.verdict.decision.event_word(),
        arguments: seen.recorded.clone(),
        name: seen.shown.clone(),
        tree: tree(set, &on, &seen.verdict),
    }
}

/// The safer call: the one that would be made, or the one that is proposed.
fn remediation(decided: &Decided) -> Option<Value> {
    let (of, applied) = match (&decided.applied, &decided.verdict.remediation) {
        (Some(applied), _) => (&applied.remediation, true),
        (None, Some(remediation)) => (remediation, false),
        (None, None) => return None,
    };
    let mut told = json!({"mode": if of.apply { "apply" } else { "suggest" }, "reason": of.reason});
    if let Some(members) = told.as_object_mut() {
        match applied {
            true => {
                members.insert("tool".to_owned(), json!(decided.prepared.shown));
                members.insert("arguments".to_owned(), Value::clone(&decided.prepared.recorded));
            }
            false => drop(members.insert("tool".to_owned(), json!(of.tool))),
        }
    }
    Some(told)
}

/// A target that the agent does not have: to the agent the same whether it exists or not. Whoever asks is told why.
fn unknown(ground: Ground<'_>, question: &Question) -> Explanation {
    let kind = question.kind.as_str();
    let name = display_text(&ground.in_force.policies.data.redact_text(&question.name), LONGEST_NAME);
    let agent = &question.agent;
    let reason = format!("there is no {kind} `{name}` in the scope of {agent}");
    let mut told =
        Explanation::refused(&ground.in_force.policies, EventDecision::Deny, unknown_policy(), reason);
    told.notes.push(why_unknown(ground, question, &name));
    told
}

fn why_unknown(ground: Ground<'_>, question: &Question, shown: &str) -> String {
    let (catalog, kind) = (&ground.in_force.catalog, question.kind.as_str());
    let (exists, names): (bool, Vec<&str>) = match question.kind {
        CallKind::Tool => {
            let entry = catalog.tools.get(question.listed_name().as_str());
            (entry.is_some(), catalog.tools.keys().map(|name| &**name).collect())
        }
        CallKind::Prompt => (
            catalog.prompts.contains_key(&*question.name),
            catalog.prompts.keys().map(|name| &**name).collect(),
        ),
        CallKind::Resource => {
            let granted = "it is served by no upstream, or no capability grants its path";
            return format!("for the resource `{shown}`: {granted}");
        }
    };
    if !exists {
        let hint = did_you_mean(&question.name, names.into_iter());
        return format!("no upstream is known to list a {kind} `{shown}`{hint}");
    }
    let authority = &ground.in_force.policies.authority;
    let covering: Vec<String> = authority
        .capabilities
        .values()
        .filter(|capability| {
            let globs = match question.kind {
                CallKind::Tool => &capability.tools,
                CallKind::Prompt | CallKind::Resource => &capability.prompts,
            };
            globs.iter().any(|glob| glob.matches(&question.name))
        })
        .map(|capability| format!("`{}`", capability.id))
        .collect();
    match covering.is_empty() {
        true => format!("the {kind} `{shown}` exists, and no capability grants it"),
        false => format!(
            "the {kind} `{shown}` exists; {} would grant it, and {} has none of them here",
            covering.join(", "),
            question.agent
        ),
    }
}
