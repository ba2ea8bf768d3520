//! servers.toml as the same located tree that the bundle is read from.

use super::toml_error;
use crate::policy::source::{Entry, Kind, MAX_FILE_BYTES, Node, Report};
use toml::de::{DeTable, DeValue};

/// Reads the text. Where it is not TOML, what could be recovered is there with `whole` false:
/// enough to find the bundle, not to be checked.
pub(super) struct Tree {
    pub(super) root: Node,
    pub(super) whole: bool,
}

/// Parses; syntax errors are in `report`.
pub(super) fn parse(text: &str, report: &mut Report<'_>) -> Tree {
    if text.len() > MAX_FILE_BYTES {
        report.error(0, format!("the file has `{}` bytes", text.len()), format!("at most {MAX_FILE_BYTES}"));
        return Tree { root: Node { start: 0, end: 0, kind: Kind::Null }, whole: false };
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut whole = true;
    let mut told = false;
    // Where a table ends that stands twice.
    let mut twice = 0;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let duplicate = error.message() == "duplicate key";
        whole &= duplicate;
        if duplicate && span.start < twice {
            // A key of a table that stands twice itself.
        } else if duplicate {
            let line = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
            if text.get(line..).is_some_and(|line| line.trim_start().starts_with('[')) {
                let next = text.get(span.start..).and_then(|rest| rest.find("\n["));
                twice = next.map_or(text.len(), |next| span.start + next);
            }
            let key = text.get(span.clone()).unwrap_or_default();
            report.error(
                span.start,
                format!("duplicate key `{}`", crate::policy::read::short(key)),
                "each key once",
            );
        } else if !told {
            // What it says of the lines that follow comes of the first.
            told = true;
            let explained = toml_error::explain(text, error.message(), span.start);
            report.error(explained.at, explained.message, explained.expected);
        }
    }
    Tree { root: table_node(table.get_ref(), 0, text.len()), whole }
}

fn table_node(table: &DeTable<'_>, start: usize, end: usize) -> Node {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| {
            let span = value.span();
            let at = key.span().start;
            Entry {
                key: key.get_ref().to_string(),
                at,
                value: value_node(value.get_ref(), if span.is_empty() { at } else { span.start }, span.end),
            }
        })
        .collect();
    entries.sort_by_key(|entry| entry.at);
    Node { start, end: end.max(start), kind: Kind::Map(entries) }
}

fn value_node(value: &DeValue<'_>, start: usize, end: usize) -> Node {
    let kind = match value {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => Kind::Number(number.to_string()),
        DeValue::Float(number) => Kind::Number(number.to_string()),
        DeValue::Boolean(value) => Kind::Bool(*value),
        DeValue::Datetime(value) => Kind::Text(value.to_string()),
        DeValue::Array(items) => Kind::List(
            items.iter().map(|item| value_node(item.get_ref(), item.span().start, item.span().end)).collect(),
        ),
        DeValue::Table(table) => return table_node(table, start, end),
    };
    Node { start, end: end.max(start), kind }
}
