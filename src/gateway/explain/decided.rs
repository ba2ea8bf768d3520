//! A question, resolved and decided as a call is.

use super::Question;
use crate::{
    catalog::{Catalog, View},
    config::Config,
    decision::{Facts, Verdict},
    gateway::{
        call_log::granted,
        decided::Decided,
        evaluator::{Assumed, Evaluator, Grounds},
        fit::{Looks, too_many},
        prepare::{Prepared, Stop},
        refusal::Refusal,
    },
    model::{Decision, EventDecision},
    policy::PolicySet,
    store::BudgetUsage,
};
use serde_json::Value;
use std::sync::Arc;

/// What questions are answered from.
#[derive(Clone, Copy)]
pub(super) struct Ground<'g> {
    pub(super) evaluator: Evaluator<'g>,
    pub(super) policies: &'g PolicySet,
    pub(super) config: &'g Config,
    pub(super) catalog: &'g Catalog,
    pub(super) view: &'g View,
    /// Where counters stand; none where there is no store.
    pub(super) usage: Option<&'g [BudgetUsage]>,
}

/// An evaluation of a call, as it was decided.
pub(super) struct Seen {
    pub(super) facts: Facts,
    pub(super) recorded: Arc<Value>,
    pub(super) shown: Arc<str>,
    pub(super) shown_action: Arc<str>,
    pub(super) verdict: Verdict,
}

/// What came of a question.
pub(super) enum Came {
    Decided(Box<Decided>),
    Unknown,
    Refused(Box<Refusal>, Option<Box<Prepared>>),
}

impl Came {
    /// The last word, and how strict it is.
    pub(super) fn word(&self) -> (EventDecision, Decision) {
        match self {
            Self::Decided(decided) => {
                let decision = decided.verdict.decision;
                let word = match decision {
                    Decision::Allow | Decision::AllowWithConstraints => {
                        granted(&decided.verdict, false, decided.applied.is_some())
                    }
                    other => other.event_word(),
                };
                (word, decision)
            }
            Self::Unknown => (EventDecision::Deny, Decision::Deny),
            Self::Refused(refusal, _) => (refusal.decision, Decision::Deny),
        }
    }
}

/// Decides a question, and tells each evaluation.
pub(super) fn decide(ground: Ground<'_>, question: &Question) -> (Came, Vec<Seen>) {
    let assumed: Assumed = question.assumed();
    let evaluator = Evaluator { assumed: Some(&assumed), ..ground.evaluator };
    let grounds = Grounds { policies: ground.policies, config: ground.config, view: ground.view };
    let request = question.request(ground.policies);
    let arguments = Arc::new(question.given());
    let mut looks = Looks::default();
    loop {
        let mut all = Vec::new();
        let mut seen = |prepared: &Prepared, verdict: &Verdict| {
            all.push(Seen {
                facts: prepared.facts.clone(),
                recorded: prepared.recorded.clone(),
                shown: prepared.shown.clone(),
                shown_action: prepared.shown_action.clone(),
                verdict: verdict.clone(),
            });
        };
        let came = match evaluator.evaluate(grounds, &request, arguments.clone(), &looks, &mut seen) {
            Ok(decided) => Came::Decided(decided),
            Err(Stop::Unknown) => Came::Unknown,
            Err(Stop::Refused(refusal, prepared)) => Came::Refused(refusal, prepared),
            Err(Stop::Unchecked(look)) => {
                if looks.take_here(*look) {
                    continue;
                }
                Came::Refused(Box::new(too_many()), None)
            }
        };
        return (came, all);
    }
}
