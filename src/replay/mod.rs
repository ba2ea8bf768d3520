//! Deciding again: recorded facts under a bundle, held against what was decided then. Pure.
//!
//! A condition that meets a masked value has no certain answer. Both answers and an error are tried, for each such condition
//! in turn: where the verdict is the same whatever they are, it is certain.

mod advice;
mod assume;
mod cells;
mod digest;
mod drift;
mod flips;
mod limits;
mod rebase;
mod scorecard;
mod simulate;
mod spend;
mod traffic;

pub use advice::{Advice, AdviceStep, CostlyWorkflow, advise};
pub use cells::{Cell, ChangedCell, changed_cells};
pub use digest::{
    Alerts, DigestChange, DigestSeen, Digesting, FailedAt, Failures, Happened, Refusals, RefusedBy,
    digest_seen,
};
pub use drift::{AgentOwnDrift, DriftReport, Drifted, Drifting, Figure, MixDrift, MovedTool, drifted};
pub use flips::{Compared, Example, Flip, SimulateReport, Tally};
pub use limits::CountersOnRecord;
pub use scorecard::{
    AgentDrift, ApprovalIntegrity, AuditCompleteness, ConstraintUsage, Distribution, DriftIndicators,
    Latency, Moved, Noted, Scorecard, Tallying, note,
};
pub use simulate::{RecordedCall, Ruled, Simulated, simulate};
pub use spend::{
    EstimateError, FIND_ACTION, Named, SearchSavings, SearchTask, Spend, SpendLine, SpendReport, SpendSeen,
    spent,
};
pub use traffic::{Seen, Traffic, see};

use crate::{
    decision::{Verdict, stricter},
    evidence::{Counted, Recalled, Unreadable, recall, steps, verdict},
    model::{Decision, EventDecision, EventDraft},
    policy::{PolicySet, ToolFacts},
};
use assume::{Assumed, every};
use serde_json::Value;

/// What came of deciding a recorded decision again.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// The verdict and its limits are what they were.
    Same,
    /// They are not.
    Differs(Difference),
    /// It cannot be told.
    Unjudgeable(Why),
    /// The record stands for several refusals like one that was recorded before, and has no facts of its own.
    Counted,
    /// No rule was asked: an unknown tool, arguments that do not fit, a credential that is gone.
    NotByRules,
}

/// Why a decision cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The facts are not there, or not readable.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The verdict that was recorded is not there.
    #[error("its verdict is not recorded")]
    NoVerdict,
    /// The name of the target is masked: no selector can be held against it.
    #[error("the name of its target is masked in the record")]
    TargetMasked,
    /// A masked value mattered, or may have.
    #[error("it depends on a value that is masked in the record")]
    Masked,
    /// Rules change the call, and what is decided on then is not recorded.
    #[error("a rule sends it to another target, of which the record does not tell enough")]
    OtherTarget,
    /// The bundle requires metadata of which the record does not tell whether the call had it.
    #[error("the bundle requires `{0}`, and the record does not tell whether the call had it")]
    Metadata(std::sync::Arc<str>),
    /// A rule leaves its outcome to an external check that was not asked then.
    #[error("a rule asks the external check `{0}`, which was not asked then")]
    Unasked(std::sync::Arc<str>),
}

impl Why {
    /// The same without names, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(Unreadable::None) => "recorded without facts, by a version before they were",
            Self::Unreadable(Unreadable::Cut) => "facts that were too large for the record of a refusal",
            Self::Unreadable(Unreadable::Version(_)) => "facts of another version",
            Self::Unreadable(Unreadable::Damaged(_)) | Self::NoVerdict => "facts that cannot be read",
            Self::Unreadable(Unreadable::NoTool(_)) => "the resolved tool is not kept",
            Self::Unreadable(Unreadable::NoAgent(_) | Unreadable::NoWorkflow(_)) => {
                "the bundle does not have the agent or workflow"
            }
            Self::TargetMasked => "the name of the target is masked",
            Self::Masked => "a masked value may have mattered",
            Self::OtherTarget => "a rule sends the call to another target",
            Self::Unasked(_) => "a rule asks an external check that was not asked then",
            Self::Metadata(_) => "the bundle requires metadata that the record does not tell",
        }
    }
}

/// Both verdicts of a decision that differs, as records tell them.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// What was decided then.
    pub recorded: Value,
    /// What is decided now; of a call with masked values, one of what may be.
    pub now: Value,
    /// What is not the same, in words.
    pub what: String,
}

/// Every verdict that a recorded call can have under a bundle: one, unless a masked value matters. `None`: there are more
/// than can be looked at.
pub fn verdicts(set: &PolicySet, evaluations: &[Recalled]) -> Option<Vec<Verdict>> {
    every(|assumed| once(set, evaluations, assumed).ok_or(())).ok().flatten()
}

/// One evaluation of the whole call: as it came, and as rules changed it. `None`: there is none.
fn once(set: &PolicySet, evaluations: &[Recalled], assumed: &Assumed<'_>) -> Option<Verdict> {
    let mut last: Option<Verdict> = None;
    for Recalled { facts, masked, .. } in evaluations {
        let verdict = assumed.decide(set, facts, masked);
        last = Some(match last {
            Some(first) => stricter(first, verdict, facts),
            None => verdict,
        });
    }
    last
}

/// Decides a recorded decision again, under the bundle of its snapshot.
pub fn replay(event: &EventDraft, set: &PolicySet, tool: &dyn Fn(&str) -> Option<ToolFacts>) -> Finding {
    if Counted::of(event).is_some() {
        return Finding::Counted;
    }
    if event.facts.is_none() && event.evaluator.is_some() {
        return Finding::NotByRules;
    }
    judge(event, set, tool).unwrap_or_else(Finding::Unjudgeable)
}

fn judge(
    event: &EventDraft,
    set: &PolicySet,
    tool: &dyn Fn(&str) -> Option<ToolFacts>,
) -> Result<Finding, Why> {
    let evaluations = recall(event, set, tool)?;
    let detail = |name: &str| event.detail.as_ref().and_then(|detail| detail.get(name));
    let recorded = detail("verdict").ok_or(Why::NoVerdict)?;
    if let Some(what) = contradiction(event, recorded) {
        let now = Value::Null;
        return Ok(Finding::Differs(Difference { recorded: recorded.clone(), now, what }));
    }
    if evaluations.iter().any(|evaluation| evaluation.target_masked) {
        return Err(Why::TargetMasked);
    }
    let all = verdicts(set, &evaluations).ok_or(Why::Masked)?;
    let told: Vec<Value> =
        all.iter().map(|found| serde_json::from_str(&verdict(found, "", "")).unwrap_or_default()).collect();
    let same = told.iter().filter(|now| *now == recorded).count();
    if same == 0 {
        let now = told.into_iter().next().unwrap_or_default();
        let what = names(recorded, &now);
        return Ok(Finding::Differs(Difference { recorded: recorded.clone(), now, what }));
    }
    if same < told.len() {
        return Err(Why::Masked);
    }
    // What each policy said is certain only where nothing was assumed.
    if let ([only], Some(then)) = (all.as_slice(), detail("steps")) {
        let now = steps(&only.trace);
        if sayings(then) != sayings(&now) {
            let what = "what single policies said".to_owned();
            return Ok(Finding::Differs(Difference { recorded: then.clone(), now, what }));
        }
    }
    Ok(Finding::Same)
}

/// Whether a decision was recorded that its verdict does not allow. Limits and people may stop what policies let through,
/// and nothing lets through what they stopped.
fn contradiction(event: &EventDraft, recorded: &Value) -> Option<String> {
    let word = recorded.get("decision").and_then(Value::as_str);
    let verdict = Decision::ALL.iter().find(|decision| Some(decision.event_word().as_str()) == word)?;
    let told = event.decision?;
    let fits = match told {
        EventDecision::Allow | EventDecision::AllowWithConstraints => *verdict < Decision::RequireApproval,
        // An applied remediation may be asked about, and a budget may ask about what is allowed.
        EventDecision::Remediate => {
            matches!(verdict, Decision::Allow | Decision::AllowWithConstraints | Decision::Remediate)
        }
        EventDecision::Approved
        | EventDecision::PendingApproval
        | EventDecision::Rejected
        | EventDecision::Expired => *verdict <= Decision::RequireApproval,
        EventDecision::Suggest => *verdict == Decision::Suggest,
        EventDecision::Throttle | EventDecision::Deny => true,
    };
    (!fits)
        .then(|| format!("`{told}` was recorded of a call on which policies said `{}`", verdict.event_word()))
}

/// The members that are not the same.
fn names(recorded: &Value, now: &Value) -> String {
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let mut all = keys(recorded);
    all.extend(keys(now));
    let mut differ: Vec<String> = Vec::new();
    for key in all {
        if recorded.get(&key) != now.get(&key) && !differ.contains(&key) {
            differ.push(key);
        }
    }
    differ.join(", ")
}

/// What policies said, without the words in which they said it, and without what limits said beside them.
fn sayings(steps: &Value) -> Vec<[Option<&Value>; 5]> {
    let steps = steps.as_array().into_iter().flatten();
    steps
        .filter(|step| step.get("limit").is_none())
        .map(|step| ["policy_id", "rule_id", "decision", "shadow", "error"].map(|name| step.get(name)))
        .collect()
}

#[cfg(test)]
mod simulate_tests;
#[cfg(test)]
mod tests;
