//! data.yaml: handed to the redaction room, whose complaints get their places here.

use super::source::{Node, Report};
use crate::redaction::DataRules;

/// Compiles data.yaml, or takes the built-in rules where there is none.
pub(super) fn compile(root: Option<&Node>, report: &mut Report<'_>) -> DataRules {
    let Some(root) = root else { return DataRules::default() };
    // Redaction's spec type reads the tree here; until it does, a file that would be ignored is refused.
    report.error(root.start, "data.yaml cannot be read", "no data.yaml");
    DataRules::default()
}
