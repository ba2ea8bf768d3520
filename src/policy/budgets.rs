//! budgets.yaml: caps and throttles.

use super::{
    gates::{Ids, selector},
    names::Scope,
    read::{boolean, count, fields, list_of, mismatch, money, word},
    source::{Kind, Node, Report},
};
use crate::{
    cost::{BudgetAction, BudgetRule, BudgetScope, BudgetWindow},
    model::Selector,
};

const KEYS: &[&str] = &[
    "id",
    "scope",
    "match",
    "window",
    "max_calls",
    "max_tokens",
    "max_cost_usd",
    "on_exceed",
    "alert_at",
    "strict",
];
const CAPS: &[&str] = &["max_calls", "max_tokens", "max_cost_usd"];

const SCOPES: &[(&str, BudgetScope)] = &[
    ("agent", BudgetScope::Agent),
    ("user", BudgetScope::User),
    ("role", BudgetScope::Role),
    ("workflow", BudgetScope::Workflow),
    ("tool", BudgetScope::Tool),
    ("upstream", BudgetScope::Upstream),
    ("global", BudgetScope::Global),
];

const WINDOWS: &[(&str, BudgetWindow)] = &[
    ("minute", BudgetWindow::Minute),
    ("hour", BudgetWindow::Hour),
    ("day", BudgetWindow::Day),
    ("month", BudgetWindow::Month),
    ("ever", BudgetWindow::Ever),
];

const ACTIONS: &[(&str, BudgetAction)] = &[
    ("throttle", BudgetAction::Throttle),
    ("deny", BudgetAction::Deny),
    ("require_approval", BudgetAction::RequireApproval),
];

/// Reads the budgets.
pub(super) fn read(root: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Vec<BudgetRule> {
    if matches!(root.kind, Kind::Null) {
        return Vec::new();
    }
    let Some(map) = fields(root, "budgets.yaml", &["budgets"], report) else { return Vec::new() };
    let Some(node) = map.required("budgets", "a list of budgets", report) else { return Vec::new() };
    list_of(node, "budgets", report, |item, _, report| budget(item, scope, ids, report)).unwrap_or_default()
}

fn budget(node: &Node, scope: Scope<'_>, ids: &mut Ids, report: &mut Report<'_>) -> Option<BudgetRule> {
    let map = fields(node, "a budget", KEYS, report)?;
    let id = map.required("id", "the budget's id", report).and_then(|node| ids.take(node, "id", report));
    let per = map
        .required("scope", "agent, user, role, workflow, tool, upstream or global", report)
        .and_then(|node| word(SCOPES)(node, "scope", report));
    let window = map
        .required("window", "minute, hour, day, month or ever", report)
        .and_then(|node| word(WINDOWS)(node, "window", report));
    let matches: Vec<Selector> = match map.get("match") {
        None => Vec::new(),
        Some(node @ Node { kind: Kind::List(items), .. }) => {
            if items.is_empty() {
                mismatch(node, "match", "at least one entry, or no `match` for every call", report);
            }
            items.iter().filter_map(|item| selector(item, "match", scope, report)).collect()
        }
        Some(node) => selector(node, "match", scope, report).into_iter().collect(),
    };
    if CAPS.iter().all(|key| map.lacks(key)) {
        report.error(node.start, "the budget has no cap", format!("at least one of {}", CAPS.join(", ")));
    }
    let strict = map.read("strict", report, boolean).unwrap_or(false);
    if let Some(entry) = map.entry("strict").filter(|_| strict)
        && map.get("max_tokens").is_none()
        && map.get("max_cost_usd").is_none()
    {
        report.error(
            entry.at,
            "`strict` does nothing for a cap on calls",
            "max_tokens or max_cost_usd beside it",
        );
    }
    let alert_at = map.read("alert_at", report, count(1, 100)).and_then(|share| u8::try_from(share).ok());
    Some(BudgetRule {
        max_calls: map.read("max_calls", report, count(0, u64::MAX)),
        max_tokens: map.read("max_tokens", report, count(0, u64::MAX)),
        max_cost: map.read("max_cost_usd", report, money),
        on_exceed: map.read("on_exceed", report, word(ACTIONS)).unwrap_or(BudgetAction::Deny),
        alert_at,
        strict,
        matches,
        id: id?,
        scope: per?,
        window: window?,
    })
}
