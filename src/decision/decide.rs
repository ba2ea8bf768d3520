//! From facts to verdict.

use super::Verdict;
use crate::{
    model::{Decision, PolicyId},
    policy::{Constraints, Facts, PolicySet},
};

/// Decides a call. Cannot fail: an error inside is a deny that says so (I2).
pub fn decide(set: &PolicySet, _facts: &Facts) -> Verdict {
    Verdict {
        decision: Decision::Deny,
        policy_id: PolicyId::from("default"),
        rule_id: None,
        reason: "no policy decides yet".into(),
        trace: Default::default(),
        constraints: Constraints::default(),
        approvals: Vec::new(),
        remediation: None,
        retry_after: None,
        limits: Default::default(),
        capability: None,
        snapshot: set.snapshot.clone(),
    }
}
