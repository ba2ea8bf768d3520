//! What is asked for where no rule says how.

use super::ApprovalRequirement;
use crate::{
    model::PolicyId,
    policy::{ApprovalRule, ChannelKind, Facts, PolicySet},
};
use std::{sync::Arc, time::Duration};

/// How long an approval that no rule describes can be answered.
const EXPIRY: Duration = Duration::from_secs(15 * 60);

/// An approval by whoever approves where a rule names nobody.
pub(super) fn plain_ask(policy: &str, reason: &Arc<str>) -> ApprovalRequirement {
    let rule = ApprovalRule {
        approvers: None,
        quorum: 1,
        expires_in: EXPIRY,
        escalate: None,
        evidence_required: false,
        channels: ChannelKind::ALL.to_vec(),
        separate: false,
        grants: None,
    };
    ApprovalRequirement { policy_id: PolicyId::from(policy), rule_id: None, rule, reason: reason.clone() }
}

/// Why a newcomer asks: it appeared after its server was pinned, and nobody has accepted it yet.
pub(super) fn newcomer(set: &PolicySet, facts: &Facts) -> Option<ApprovalRequirement> {
    if !facts.tool.unaccepted {
        return None;
    }
    let mut ask = plain_ask("pin", &Arc::default());
    let who = super::sentence::approvers(&ask.rule, set.bundle.default_approvers.as_deref());
    ask.reason = format!(
        "needs approval by {who}: it appeared after its server was pinned, and nobody has accepted it yet"
    )
    .into();
    Some(ask)
}
