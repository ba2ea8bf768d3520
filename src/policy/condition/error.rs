//! What is wrong with a condition, at load and while deciding.

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (expected {expected})")]
pub struct ConditionError {
    /// Where the offending text starts, in characters from the start of the source.
    pub offset: usize,
    /// The offending text; at most 80 characters.
    pub offending: String,
    /// What is wrong, with the offending text in backticks.
    pub message: String,
    /// What would have been right.
    pub expected: String,
}

/// Why a condition has no value for a call. Names expressions of the condition, and never a value
/// of the call (I5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What was missing or did not fit.
    pub message: String,
}
