//! What the files of a bundle say, before it is known that all of it is right.

use super::{ApprovalRule, Authority, BundleInfo, LoopRules, Oversight, Policy, PolicyBody, RuleOutcome};
use crate::{
    cost::{BudgetAction, BudgetRule, PriceTable},
    model::Decision,
    redaction::DataRules,
};

/// What bundle.yaml says: about the bundle, identical calls, other loops, and what people are told of.
pub(super) type BundleParsed = (BundleInfo, u32, LoopRules, Oversight);

/// What the files of a bundle say.
pub(super) struct Parts {
    pub(super) bundle: Option<BundleParsed>,
    pub(super) authority: Authority,
    pub(super) prices: PriceTable,
    pub(super) budgets: Vec<BudgetRule>,
    pub(super) data: DataRules,
    pub(super) policies: Vec<Policy>,
}

impl Parts {
    /// Whether something asks for an approval without saying of whom.
    pub(super) fn asks_everyone(&self) -> bool {
        let nobody_by_default =
            self.bundle.as_ref().is_some_and(|(info, ..)| info.default_approvers.is_none());
        nobody_by_default && self.asks(|rule| rule.is_none_or(|rule| rule.approvers.is_none()))
    }

    /// Whether something asks for an approval of which this is true; the default and budgets ask without a rule.
    pub(super) fn asks(&self, wanted: impl Fn(Option<&ApprovalRule>) -> bool) -> bool {
        let by_default =
            self.bundle.as_ref().is_some_and(|(info, ..)| info.default_decision == Decision::RequireApproval);
        let by_budget = self.budgets.iter().any(|b| b.on_exceed == BudgetAction::RequireApproval);
        let by_policy = |policy: &Policy| match &policy.body {
            PolicyBody::Gate(rules) => rules.iter().any(|rule| match &rule.outcome {
                RuleOutcome::RequireApproval(approval) => wanted(Some(approval)),
                RuleOutcome::Check(check) => wanted(Some(&check.approval)),
                RuleOutcome::Allow
                | RuleOutcome::AllowWithConstraints(_)
                | RuleOutcome::Remediate(_)
                | RuleOutcome::Suggest
                | RuleOutcome::Throttle(_)
                | RuleOutcome::Deny => false,
            }),
            PolicyBody::Rulebook(book) => {
                book.requires_approval.as_ref().is_some_and(|approval| wanted(Some(approval)))
            }
        };
        (by_default || by_budget) && wanted(None) || self.policies.iter().any(by_policy)
    }
}
