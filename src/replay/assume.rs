//! Conditions that have no certain answer, since they meet a masked value: yes, no and an error are tried for each in turn.

use crate::{
    decision::{Facts, Verdict, decide_by},
    model::{CapabilityId, pointer::Pointer},
    policy::{
        PolicySet,
        condition::{Condition, EvalError, Hidden, Surroundings},
    },
};
use std::cell::Cell;

/// Evaluations of one call before it is given up: each condition without a certain answer has three.
const MOST_RUNS: usize = 243;

/// What is assumed of a condition that has no certain answer.
#[derive(Clone, Copy, Debug)]
enum AssumedAnswer {
    Yes,
    No,
    Error,
}

/// The answers to the conditions without a certain one, in the order in which they are asked.
pub(super) struct Assumed<'p> {
    path: &'p [AssumedAnswer],
    asked: Cell<usize>,
}

impl Assumed<'_> {
    fn next(&self) -> Result<bool, EvalError> {
        let place = self.asked.get();
        self.asked.set(place + 1);
        match self.path.get(place) {
            Some(AssumedAnswer::Yes) => Ok(true),
            // One that nothing is assumed of yet only has to end the evaluation.
            Some(AssumedAnswer::No) | None => Ok(false),
            Some(AssumedAnswer::Error) => Err(EvalError { message: "a masked value".to_owned() }),
        }
    }

    /// Decides on facts of which these places of the arguments are masked.
    pub(super) fn decide(&self, set: &PolicySet, facts: &Facts, masked: &[Pointer]) -> Verdict {
        let hidden = (!masked.is_empty()).then(|| Hidden::of(&facts.args, masked));
        let ask = |condition: &Condition, capability: Option<&CapabilityId>| {
            let around = Surroundings { environment: &set.environment, capability };
            match &hidden {
                None => condition.evaluate(facts, around),
                Some(hidden) => {
                    condition.evaluate_hidden(facts, around, hidden).unwrap_or_else(|| self.next())
                }
            }
        };
        decide_by(set, facts, &ask)
    }
}

/// Everything that `run` may come to: one, unless a masked value matters. `None`: there is more than can be looked at.
pub(super) fn every<T, E>(run: impl Fn(&Assumed<'_>) -> Result<T, E>) -> Result<Option<Vec<T>>, E> {
    let mut found: Vec<T> = Vec::new();
    let mut paths: Vec<Vec<AssumedAnswer>> = vec![Vec::new()];
    let mut runs = 0;
    while let Some(path) = paths.pop() {
        runs += 1;
        if runs > MOST_RUNS {
            return Ok(None);
        }
        let assumed = Assumed { path: &path, asked: Cell::new(0) };
        let outcome = run(&assumed);
        if assumed.asked.get() > path.len() {
            for answer in [AssumedAnswer::Yes, AssumedAnswer::No, AssumedAnswer::Error] {
                paths.push(path.iter().copied().chain([answer]).collect());
            }
        } else {
            found.push(outcome?);
        }
    }
    Ok(Some(found))
}
