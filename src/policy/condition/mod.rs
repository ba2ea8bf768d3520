//! Conditions: CEL, parsed, type-checked against the declared facts and compiled once at load.

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {}
