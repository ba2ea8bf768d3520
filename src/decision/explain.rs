//! A verdict in words.

use super::Verdict;

/// Renders a verdict and its trace for people.
pub fn explain(verdict: &Verdict) -> String {
    format!("{}: {}\n", verdict.decision, verdict.reason)
}
