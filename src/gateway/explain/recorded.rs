//! A decision on record, explained from its facts under the bundle that made it.

use super::answer::{EvaluationView, Explanation};
use crate::{
    decision::{decide_by, tree},
    evidence::{Recalled, recall},
    model::{CallKind, CapabilityId, EventDraft},
    policy::{
        PolicySet, ToolFacts,
        condition::{Condition, Examined, Hidden, Surroundings},
    },
    replay::{Why, verdicts},
};
use std::sync::Arc;

/// Explains a recorded decision: what was decided is the record's word; how it came about is decided again from the recorded
/// facts under `set`, the bundle of its snapshot. Where a masked value mattered, the notes say so.
pub fn explain_recorded(
    event: &EventDraft,
    set: &PolicySet,
    tool: &dyn Fn(&str) -> Option<ToolFacts>,
) -> Explanation {
    let mut told = match explained(event, set, tool) {
        Ok(told) => told,
        Err(why) => {
            let (decision, policy) = (event.decision, event.policy_id.clone());
            let mut told = Explanation::refused(
                set,
                decision.unwrap_or(crate::model::EventDecision::Deny),
                policy.unwrap_or_else(|| "unknown".into()),
                String::new(),
            );
            let note = match event.facts.is_none() && event.evaluator.is_some() {
                true => "no rule was asked: the call went no further than its preparation".to_owned(),
                false => why.to_string(),
            };
            told.notes.push(note);
            told
        }
    };
    if let Some(snapshot) = &event.policy_snapshot {
        told.policy_snapshot = snapshot.clone();
    }
    if let Some(decision) = event.decision {
        told.decision = decision;
    }
    if let Some(policy) = &event.policy_id {
        told.policy_id = policy.clone();
        told.rule_id = event.rule_id.clone();
    }
    if let Some(reason) = &event.reason {
        told.reason = reason.to_string();
    }
    told
}

fn explained(
    event: &EventDraft,
    set: &PolicySet,
    tool: &dyn Fn(&str) -> Option<ToolFacts>,
) -> Result<Explanation, Why> {
    let evaluations = recall(event, set, tool)?;
    let operator = evaluations.last().and_then(|last| last.facts.agent.operator.clone());
    let certain = verdicts(set, &evaluations);
    let (verdict, note) = match certain.as_deref() {
        Some([verdict]) => (verdict.clone(), None),
        Some(all @ [first, ..]) => {
            let same = all.iter().all(|other| other.decision == first.decision);
            let note = match same {
                true => "a rule depends on a value that is masked in the record",
                false => {
                    "what was decided depends on a value that is masked in the record: one of several outcomes is shown"
                }
            };
            (first.clone(), Some(note))
        }
        Some([]) | None => return Err(Why::Masked),
    };
    let mut told = Explanation::of(set, operator.as_ref(), &verdict);
    told.notes.extend(note.map(str::to_owned));
    told.evaluations = evaluations.iter().map(|recalled| evaluation(set, recalled)).collect();
    Ok(told)
}

fn evaluation(set: &PolicySet, recalled: &Recalled) -> EvaluationView {
    let Recalled { facts, masked, .. } = recalled;
    let hidden = Hidden::of(&facts.args, masked);
    let environment = &set.environment;
    let ask = |condition: &Condition, capability: Option<&CapabilityId>| {
        let around = Surroundings { environment, capability };
        condition.evaluate_hidden(facts, around, &hidden).unwrap_or(Ok(false))
    };
    let verdict = decide_by(set, facts, &ask);
    let around = Surroundings { environment, capability: verdict.capability.as_ref() };
    let on = Examined { facts, shown: facts, hidden: &hidden, is_recorded: true, around };
    let name = match facts.call.kind {
        CallKind::Tool => &facts.tool.name,
        CallKind::Resource => &facts.resource,
        CallKind::Prompt => &facts.prompt,
    };
    EvaluationView {
        decision: verdict.decision.event_word(),
        arguments: Arc::clone(&facts.args),
        name: name.clone(),
        tree: tree(set, &on, &verdict),
    }
}
