//! budgets.yaml: caps and throttles.

use super::{
    condition::offset,
    gates::{Ids, selector},
    names::Scope,
    read::{boolean, count, fields, list_of, mismatch, money, short, word},
    source::{Entry, Kind, Node, Report},
    units::duration,
};
use crate::{
    cost::{BudgetAction, BudgetRule, BudgetScope, BudgetWindow, BudgetZone, LEAST_RESULT_TOKENS},
    model::{MicroUsd, Selector},
};
use jiff::tz::TimeZone;
use std::{sync::Arc, time::Duration};

const KEYS: &[&str] = &[
    "id",
    "scope",
    "match",
    "window",
    "zone",
    "max_calls",
    "max_tokens",
    "max_cost_usd",
    "on_exceed",
    "alert_at",
    "strict",
    "lease",
];
/// How long a replica may be allowed to hold a share of a cap.
const LEASE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
const CAPS: &[&str] = &["max_calls", "max_tokens", "max_cost_usd"];

const WINDOWS: &[(&str, BudgetWindow)] = &[
    ("minute", BudgetWindow::Minute),
    ("hour", BudgetWindow::Hour),
    ("day", BudgetWindow::Day),
    ("month", BudgetWindow::Month),
    ("ever", BudgetWindow::Ever),
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
        .required(
            "scope",
            "agent, user, role, tenant, workflow, tool, upstream, capability or global",
            report,
        )
        .and_then(|node| word(&BudgetScope::NAMED)(node, "scope", report));
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
    // A permission that this program makes no use of: its replicas count exactly.
    map.read("lease", report, duration(LEASE.0, LEASE.1));
    let alert_at = map.read("alert_at", report, steps).unwrap_or_default();
    let zone = map.read("zone", report, |node, key, report| zone(node, key, scope, report)).flatten();
    if let Some(entry) = map.entry("zone")
        && matches!(window, Some(BudgetWindow::Minute | BudgetWindow::Ever))
    {
        report.error(
            entry.at,
            "`zone` does nothing for this window: it is the same in every zone",
            "a window of hour, day or month, or no `zone`",
        );
    }
    let on_exceed = map.read("on_exceed", report, word(&BudgetAction::NAMED)).unwrap_or(BudgetAction::Deny);
    let caps @ (max_calls, max_tokens, max_cost) = (
        map.read("max_calls", report, count(0, u64::MAX)),
        map.read("max_tokens", report, count(0, u64::MAX)),
        map.read("max_cost_usd", report, money),
    );
    if let (true, Some(most), Some(entry)) = (strict, max_tokens, map.entry("max_tokens")) {
        lint_strict(entry, most, report);
    }
    if on_exceed == BudgetAction::Throttle
        && let Some(entry) = map.entry("on_exceed")
    {
        lint_throttle(entry, window, caps, report);
    }
    Some(BudgetRule {
        max_calls,
        max_tokens,
        max_cost,
        on_exceed,
        alert_at,
        strict,
        matches,
        id: id?,
        scope: per?,
        window: window?,
        zone,
    })
}

/// A strict budget that no call fits into.
fn lint_strict(entry: &Entry, most_tokens: u64, report: &mut Report<'_>) {
    if most_tokens <= LEAST_RESULT_TOKENS {
        let told = format!(
            "no call fits into this budget: a strict one needs room for the arguments of a call and {LEAST_RESULT_TOKENS} \
             tokens of its result"
        );
        let expected = "a higher max_tokens, or no `strict`; to stop all calls, a policy that denies them";
        report.doubt(entry.at, told, expected);
    }
}

/// A budget that tells agents to come back, though it never has room again.
fn lint_throttle(
    entry: &Entry,
    window: Option<BudgetWindow>,
    (calls, tokens, cost): (Option<u64>, Option<u64>, Option<MicroUsd>),
    report: &mut Report<'_>,
) {
    if calls == Some(0) || tokens == Some(0) || cost == Some(MicroUsd::ZERO) {
        report.lint(
            entry.at,
            "a cap of 0 lets no call through: to throttle says that there is room later, and there never is",
            "`on_exceed: deny` where no such call may be made, or a cap above 0",
        );
    } else if window == Some(BudgetWindow::Ever) {
        report.lint(
            entry.at,
            "the window `ever` never frees: to throttle says that there is room later, and there never is",
            "`on_exceed: deny` or `require_approval`, or a window that ends, like month",
        );
    }
}

/// One share in percent, or several, the smallest first.
fn steps(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Arc<[u8]>> {
    let share = |node: &Node, report: &mut Report<'_>| {
        count(1, 100)(node, key, report).and_then(|share| u8::try_from(share).ok())
    };
    let Kind::List(items) = &node.kind else { return share(node, report).map(|share| [share].into()) };
    if items.is_empty() || items.len() > 100 {
        mismatch(node, key, "1 to 100 shares in percent, like [50, 80, 100]", report);
        return None;
    }
    let mut steps: Vec<u8> = Vec::with_capacity(items.len());
    for item in items {
        let Some(step) = share(item, report) else { continue };
        if steps.contains(&step) {
            report.error(item.start, format!("`{step}` stands twice in `{key}`"), "each share once");
        }
        steps.push(step);
    }
    steps.sort_unstable();
    Some(steps.into())
}

/// A time zone; none for UTC.
fn zone(node: &Node, key: &str, scope: Scope<'_>, report: &mut Report<'_>) -> Option<Option<BudgetZone>> {
    let Some(name) = node.as_text() else {
        mismatch(node, key, "a time zone like Europe/Berlin, `UTC`, or an offset like \"+02:00\"", report);
        return None;
    };
    let rules = match offset(name) {
        Some(fixed) if fixed == TimeZone::UTC => return Some(None),
        Some(fixed) => fixed,
        None => match scope.zones.get(name) {
            Ok(rules) => rules,
            Err(wrong) => {
                report.error(node.start, format!("`{}`: {}", short(name), wrong.message), wrong.expected);
                return None;
            }
        },
    };
    Some(Some(BudgetZone { name: Arc::from(name), rules }))
}
