//! A call whose arguments or tool were changed is decided again; what was said of the call as it
//! came still holds of the call as it goes.

use super::{Step, Verdict, constrain, decide::unmet};
use crate::{
    model::{Decision, PolicyId},
    policy::{Constraints, Facts},
};

/// The verdict on a changed call: `second`, but not weaker than `first` was beside the change
/// itself. Every approval requirement and every constraint of both is kept, and every step told.
/// A first verdict that stops the call (SUGGEST and stricter) stands as it is. `facts` are those of the changed call: it
/// must meet the first call's constraints too, whichever policy they came from.
#[must_use]
pub fn stricter(first: Verdict, second: Verdict, facts: &Facts) -> Verdict {
    if first.decision >= Decision::Suggest {
        return first;
    }
    let mut result = second;
    for approval in first.approvals {
        let known = |kept: &super::ApprovalRequirement| {
            kept.policy_id == approval.policy_id && kept.rule_id == approval.rule_id
        };
        if !result.approvals.iter().any(known) {
            result.approvals.push(approval);
        }
    }
    for rate in first.limits.rates {
        if !result.limits.rates.contains(&rate) {
            result.limits.rates.push(rate);
        }
    }
    for budget in first.limits.budgets {
        if !result.limits.budgets.contains(&budget) {
            result.limits.budgets.push(budget);
        }
    }
    let limited = first.constraints != Constraints::default();
    let (constraints, conflict) = constrain::intersect(&[
        (PolicyId::from("the call as it came"), &first.constraints),
        (PolicyId::from("the changed call"), &result.constraints),
    ]);
    result.constraints = constraints;
    let mut steps = first.trace.steps;
    steps.append(&mut result.trace.steps);
    result.trace.steps = steps;

    let broken = match conflict {
        Some(conflict) => Some(conflict.reason),
        None if result.decision <= Decision::RequireApproval => unmet(&result.constraints, facts),
        None => None,
    };
    if let Some(reason) = broken {
        result.trace.steps.push(Step {
            policy_id: first.policy_id.clone(),
            rule_id: None,
            decision: Decision::Deny,
            reason: reason.as_str().into(),
            shadow: false,
            error: false,
            limit: false,
        });
        (result.decision, result.policy_id, result.rule_id, result.reason) =
            (Decision::Deny, first.policy_id, None, reason.into());
    } else if let Some(approval) = result.approvals.first()
        && result.decision < Decision::RequireApproval
    {
        result.decision = Decision::RequireApproval;
        result.policy_id = approval.policy_id.clone();
        result.rule_id = approval.rule_id.clone();
        result.reason = approval.reason.clone();
    } else if limited && result.decision < Decision::AllowWithConstraints {
        let step = result
            .trace
            .steps
            .iter()
            .find(|step| !step.shadow && step.decision == Decision::AllowWithConstraints);
        if let Some(step) = step {
            (result.policy_id, result.rule_id, result.reason) =
                (step.policy_id.clone(), step.rule_id.clone(), step.reason.clone());
        }
        result.decision = Decision::AllowWithConstraints;
    }
    if result.decision > Decision::Remediate {
        result.approvals.clear();
    }
    result
}
