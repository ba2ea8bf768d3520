//! A whole compiled bundle.

use super::{
    condition::Condition,
    index::PolicyIndex,
    input::SourceFile,
    loops::LoopRules,
    meaning::BundleParts,
    oversight::Oversight,
    types::{Authority, BundleInfo, Policy},
    zones::ZoneData,
};
use crate::{
    cost::{BudgetRule, PriceTable},
    model::SnapshotId,
    redaction::DataRules,
};
use std::sync::Arc;

/// A whole bundle in force. Immutable; a reload makes another.
#[derive(Debug)]
pub struct PolicySet {
    /// The hash of what the bundle says, however it is written, and of what servers.toml resolves to.
    pub snapshot: SnapshotId,
    /// The same by its parts, so that two bundles can be compared.
    pub parts: BundleParts,
    /// `env` in conditions: `[gateway] environment`.
    pub environment: Arc<str>,
    /// bundle.yaml.
    pub bundle: BundleInfo,
    /// authority.yaml.
    pub authority: Authority,
    /// prices.yaml, or the built-in table.
    pub prices: PriceTable,
    /// budgets.yaml.
    pub budgets: Vec<BudgetRule>,
    /// data.yaml, or the built-in default.
    pub data: DataRules,
    /// Gates and rulebook policies, by file name and then position.
    pub policies: Vec<Policy>,
    /// More identical calls of one agent in 60 s than this are a loop.
    pub max_repeats: u32,
    /// What else is a loop.
    pub loops: LoopRules,
    /// What people are told of, must do, and look at afterwards.
    pub oversight: Oversight,
    /// The time zones that its conditions name, as they were when it was loaded; part of the snapshot.
    pub zones: ZoneData,
    /// The files as they were loaded.
    pub files: Arc<[SourceFile]>,
    /// Which policies can concern a call; made from `policies`.
    pub index: PolicyIndex,
}

impl PolicySet {
    /// Whether anything in it reads what has reached the session of a call.
    pub fn read_session_labels(&self) -> bool {
        let of_capabilities = self.authority.capabilities.values().filter_map(|c| c.condition.as_ref());
        let mut conditions = self.policies.iter().flat_map(Policy::conditions).chain(of_capabilities);
        // External checks are told of it.
        conditions.any(Condition::reads_session_labels) || self.policies.iter().any(Policy::asks_outside)
    }
}
