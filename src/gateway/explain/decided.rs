//! A question, resolved and decided as a call is.

use super::Question;
use crate::{
    admission::{LoopSeen, LoopWatch},
    decision::{Facts, Verdict},
    gateway::{
        InForce,
        call_log::granted,
        decided::Decided,
        evaluate::Evaluator,
        fit::{Looks, too_many},
        placeholders::KnownValues,
        prepare::Stop,
        prepared::Prepared,
        refusal::Refusal,
    },
    model::{Decision, EventDecision},
    store::{BudgetUsage, LoopQuery},
};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// What questions are answered from.
#[derive(Clone, Copy)]
pub(super) struct Ground<'g> {
    pub(super) evaluator: &'g Evaluator,
    pub(super) in_force: &'g Arc<InForce>,
    /// Where counters stand at a time; none where there is no store.
    pub(super) usage: Option<(Timestamp, &'g [BudgetUsage])>,
    /// Where the rules about loops stand; none where that is not known.
    pub(super) loops: Option<&'g [LoopSeen]>,
}

/// What is to be asked of a store about loops, of a call that policies let through.
pub(super) fn loop_query(ground: Ground<'_>, question: &Question, now: Timestamp) -> Option<LoopQuery> {
    let (Came::Decided(decided), _) = decide(ground, question) else { return None };
    let Decided { prepared, verdict, .. } = *decided;
    Some(LoopQuery {
        now,
        agent: prepared.facts.agent.id,
        workflow: prepared.workflow,
        tool: prepared.shown,
        digest: prepared.call_digest,
        max_repeats: verdict.limits.max_repeats,
        loops: LoopWatch { rules: verdict.limits.loops, shape: prepared.shape },
    })
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
    let Ground { evaluator, in_force, .. } = ground;
    let assumed = question.assumed();
    let request = question.request(&in_force.policies);
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
        let evaluated =
            evaluator.evaluate_as(in_force, &request, arguments.clone(), &looks, Some(&assumed), &mut seen);
        let came = match evaluated {
            Ok(decided) => Came::Decided(decided),
            Err(Stop::Unknown) => Came::Unknown,
            Err(Stop::Refused(refusal, prepared)) => Came::Refused(refusal, prepared),
            Err(Stop::Away(refusal, _)) => Came::Refused(refusal, None),
            // Nobody is asked: what a check would say stands with the verdict as unasked.
            Err(Stop::Unasked(_, prepared)) => {
                let reason = "an external check would have to be asked";
                Came::Refused(Box::new(Refusal::deny("checks", reason)), Some(prepared))
            }
            // Nothing is revealed: conditions see the placeholders.
            Err(Stop::Sealed(_)) => {
                looks.opened = KnownValues::of(Vec::new());
                continue;
            }
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
