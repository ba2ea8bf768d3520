//! The pure core: a compiled snapshot and [`Facts`] in, a [`Verdict`] with its trace and the
//! limits that apply out. No clock, no randomness, no IO; it cannot fail, an error inside is a deny.

mod constrain;
mod decide;
mod edits;
mod plain_ask;
mod sentence;
mod stricter;
mod tree;
mod verdict;

#[cfg(test)]
mod tests;

pub use crate::policy::{AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, WorkflowFacts};
pub use decide::{decide, decide_by, selected};
pub use edits::edited;
pub use stricter::stricter;
pub use tree::{CapabilityTree, PolicyTree, RuleCame, RuleTree, Tree, tree};
pub use verdict::*;
