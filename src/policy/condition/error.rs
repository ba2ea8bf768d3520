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
/// of the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What was missing or did not fit.
    pub message: String,
}

/// A part of the source, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte behind it.
    pub(super) end: usize,
}

impl At {
    /// From the start of this to the end of `other`.
    pub(super) fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The text there.
    pub(super) fn of(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or(source)
    }
}

/// An error at a part of the source.
pub(super) fn error(source: &str, at: At, message: &str, expected: &str) -> ConditionError {
    let start = (0..=at.start.min(source.len())).rev().find(|i| source.is_char_boundary(*i)).unwrap_or(0);
    let end = (at.end.min(source.len())..=source.len()).find(|i| source.is_char_boundary(*i));
    let text = source.get(start..end.unwrap_or(source.len())).unwrap_or_default();
    let offending: String = text.chars().take(80).collect();
    let message =
        if message.contains('`') { message.to_owned() } else { format!("`{offending}`: {message}") };
    ConditionError {
        offset: source.get(..start).map_or(0, |before| before.chars().count()),
        offending,
        message,
        expected: expected.to_owned(),
    }
}
