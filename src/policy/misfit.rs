//! Values that do not fit their keys.

use super::{
    shown::short,
    source::{Kind, Node, Report},
};

/// Says that a value does not fit its key.
pub fn mismatch(node: &Node, key: &str, expected: &str, report: &mut Report<'_>) {
    unfit(node, key, "", expected, report);
}

/// The same with what may have been meant.
pub(super) fn unfit(node: &Node, key: &str, near: &str, expected: &str, report: &mut Report<'_>) {
    let message = match &node.kind {
        Kind::Null if report.is_before_comment(node) => {
            format!("`{key}` has no value: what follows `#` is a comment, unless it stands in quotes")
        }
        Kind::Null => format!("`{key}` has no value"),
        Kind::Bool(value) => format!("`{value}` does not fit `{key}`{near}"),
        Kind::Number(text) | Kind::Text(text) => format!("`{}` does not fit `{key}`{near}", short(text)),
        Kind::List(_) => format!("a list does not fit `{key}`{near}"),
        Kind::Map(_) => format!("a map does not fit `{key}`{near}"),
    };
    report.error(node.start, message, expected);
}

/// What was expected of a number that may stand in quotes.
pub(super) fn unquoted(node: &Node, expected: &str) -> String {
    match &node.kind {
        Kind::Text(text) if text.parse::<f64>().is_ok() => format!("{expected}, without quotes"),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => {
            expected.to_owned()
        }
    }
}
