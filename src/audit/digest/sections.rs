//! What a digest says, as sections of lines and tables: Markdown and HTML are two ways to write these.

use super::{Digest, Figure, OpenLetters};
use crate::{
    model::MicroUsd,
    redaction::display_text,
    replay::{DigestChange, Moved, Named},
};
use jiff::Timestamp;

/// The longest reason in a cell, in characters.
const LONGEST: usize = 240;
/// The longest bar, in blocks.
const BAR: i64 = 24;

/// A part of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Its heading.
    pub(super) title: &'static str,
    /// What it says, in order.
    pub(super) blocks: Vec<Block>,
}

/// A line of text, a list or a table. No text holds a control or a hidden character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// One line.
    Line(String),
    /// Lines of a list.
    List(Vec<String>),
    /// A table.
    Table {
        /// The heads of the columns, and whether the cells are numbers.
        head: Vec<(&'static str, bool)>,
        /// The rows.
        rows: Vec<Vec<String>>,
    },
}

fn text(text: &str) -> String {
    display_text(text, LONGEST)
}

fn or_dash<T: AsRef<str>>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| text(value.as_ref()))
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

fn span(ms: Option<i64>) -> String {
    let ms = ms.and_then(|ms| u64::try_from(ms).ok());
    ms.map_or_else(
        || "-".to_owned(),
        |ms| humantime::format_duration(std::time::Duration::from_millis(ms)).to_string(),
    )
}

/// A table, or a line where it has no row.
fn table(head: &[(&'static str, bool)], rows: Vec<Vec<String>>, none: &str) -> Block {
    match rows.is_empty() {
        true => Block::Line(none.to_owned()),
        false => Block::Table { head: head.to_vec(), rows },
    }
}

/// All of it, in order: what happened first, what to do last.
pub(super) fn sections(digest: &Digest) -> Vec<Section> {
    vec![
        summary(digest),
        decisions(digest),
        spend(digest),
        refusals(digest),
        approvals(digest),
        changes(digest),
        alerts(digest),
        failures(digest),
        figures(digest),
        maturity(digest),
        advice(digest),
    ]
}

fn summary(digest: &Digest) -> Section {
    let (all, spend) = (&digest.decisions, &digest.spend.total);
    let mut lines = vec![
        format!("{} calls, {} of them refused ({})", all.calls, all.deny, percent(all.deny_rate)),
        format!("{} USD spent in {} dispatched calls", spend.cost_usd, spend.calls),
        format!(
            "{} approvals asked for, {} expired unanswered",
            digest.approvals.asked, digest.approvals.expirations
        ),
        format!(
            "{} alerts, {} changes, {} dead letters open",
            digest.happened.alerts.iter().map(|one| one.count).sum::<u64>(),
            digest.happened.changes_before + u64::try_from(digest.happened.changes.len()).unwrap_or(u64::MAX),
            open(&digest.dead_letters)
        ),
        format!("maturity: level {} of 4, {}", digest.maturity.level, digest.maturity.title),
    ];
    if digest.partial {
        lines.push("only a part of the record was looked at: there was no time for all of it".to_owned());
    }
    if digest.happened.truncated {
        lines.push("there were more names than are told apart: some are left out of the tables".to_owned());
    }
    Section { title: "In short", blocks: vec![Block::List(lines)] }
}

fn open(letters: &OpenLetters) -> String {
    match letters.truncated {
        true => format!("{} or more", letters.open),
        false => letters.open.to_string(),
    }
}

fn decisions(digest: &Digest) -> Section {
    let all = &digest.decisions;
    let row = |word: &str, calls: u64| {
        let share = if all.calls == 0 { 0.0 } else { as_f64(calls) / as_f64(all.calls) };
        vec![word.to_owned(), calls.to_string(), percent(share)]
    };
    let rows = vec![
        row("let through", all.allow),
        row("let through under limits", all.allow_with_constraints),
        row("put before people", all.pending_approval),
        row("changed, or a change proposed", all.remediate),
        row("answered with a proposal", all.suggest),
        row("held back for a while", all.throttle),
        row("refused", all.deny),
    ];
    let head = [("decision", false), ("calls", true), ("share", true)];
    let blocks = vec![
        table(&head, if all.calls == 0 { Vec::new() } else { rows }, "No call was decided."),
        Block::Line(format!("Let through after people had approved: {}.", all.approved)),
    ];
    Section { title: "Calls and decisions", blocks }
}

fn as_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn spend(digest: &Digest) -> Section {
    let spend = &digest.spend;
    let mut blocks = vec![Block::Line(format!(
        "{} USD in {} calls, of which {} failed; estimated were {} USD.",
        spend.total.cost_usd, spend.total.calls, spend.total.failed, spend.total.estimate_usd
    ))];
    let none = "Nothing was spent.";
    for (name, lines) in
        [("day", &spend.day), ("workflow", &spend.workflow), ("agent", &spend.agent), ("tool", &spend.tool)]
    {
        if !lines.is_empty() {
            blocks.push(costs(name, lines, none));
        }
    }
    if !spend.throttles.is_empty() {
        blocks.push(Block::Line(
            "Workflows that cost most, with a cap that lets their usual traffic through:".to_owned(),
        ));
        let rows = spend.throttles.iter().map(|one| {
            vec![
                text(one.workflow.as_str()),
                one.calls.to_string(),
                one.cost_usd.to_string(),
                one.max_cost_per_minute_usd.to_string(),
            ]
        });
        let head = [("workflow", false), ("calls", true), ("USD", true), ("proposed USD a minute", true)];
        blocks.push(table(&head, rows.collect(), none));
    }
    if let Some(one) = &spend.estimates {
        blocks.push(Block::Line(format!(
            "Estimates of {} results were off by {} (half of them) and {} (nine of ten).",
            one.calls,
            percent(one.median),
            percent(one.p90)
        )));
    }
    Section { title: "Spend", blocks }
}

fn costs(name: &'static str, lines: &[Named], none: &str) -> Block {
    let most = lines.iter().map(|one| one.line.cost_usd).max().unwrap_or(MicroUsd::ZERO).0.max(1);
    let rows = lines.iter().map(|one| {
        let line = &one.line;
        let share = line.cost_usd.0.clamp(0, most).saturating_mul(BAR) / most;
        vec![
            or_dash(one.name.as_ref()),
            line.calls.to_string(),
            line.failed.to_string(),
            line.tokens.to_string(),
            line.cost_usd.to_string(),
            "█".repeat(usize::try_from(share).unwrap_or(0)),
        ]
    });
    let head =
        [(name, false), ("calls", true), ("failed", true), ("tokens", true), ("USD", true), ("", false)];
    table(&head, rows.collect(), none)
}

fn refusals(digest: &Digest) -> Section {
    let rows = digest.happened.refusals.iter().take(super::TOP).map(|one| {
        let rule = one.rule_id.as_ref().map(|rule| format!("/{rule}")).unwrap_or_default();
        vec![
            text(&format!("{}{rule}", one.policy_id.as_ref().map_or("-", |policy| policy.as_str()))),
            one.decision.to_string(),
            one.calls.to_string(),
            one.agents.to_string(),
            or_dash(one.reason.as_ref()),
            one.trace_id.map_or_else(|| "-".to_owned(), |trace| trace.to_string()),
        ]
    });
    let head = [
        ("policy", false),
        ("decision", false),
        ("calls", true),
        ("agents", true),
        ("the newest says", false),
        ("its trace", false),
    ];
    let mut blocks = vec![table(&head, rows.collect(), "Nothing was refused.")];
    more(&mut blocks, digest.happened.refusals.len(), "policies and rules");
    if digest.happened.unauthenticated > 0 {
        blocks.push(Block::Line(format!(
            "{} requests came without a key, or with a wrong one.",
            digest.happened.unauthenticated
        )));
    }
    Section { title: "Refusals by policy", blocks }
}

fn more(blocks: &mut Vec<Block>, all: usize, what: &str) {
    if all > super::TOP {
        blocks.push(Block::Line(format!("And {} more {what}: the JSON form has them.", all - super::TOP)));
    }
}

fn approvals(digest: &Digest) -> Section {
    let one = &digest.approvals;
    let waits = &one.latency;
    let rows = vec![vec![
        one.asked.to_string(),
        one.approved.to_string(),
        one.rejected.to_string(),
        one.expirations.to_string(),
        one.cancelled.to_string(),
        one.mismatches.to_string(),
        span(waits.p50_ms),
        span(waits.p90_ms),
        span(waits.max_ms),
    ]];
    let head = [
        ("asked", true),
        ("approved", true),
        ("rejected", true),
        ("expired", true),
        ("cancelled", true),
        ("mismatches", true),
        ("answered in (half)", true),
        ("nine of ten", true),
        ("longest", true),
    ];
    let rows = if one.asked + one.approved + one.rejected + one.expirations == 0 { Vec::new() } else { rows };
    Section { title: "Approvals", blocks: vec![table(&head, rows, "Nobody was asked.")] }
}

fn changes(digest: &Digest) -> Section {
    let rows = digest.happened.changes.iter().map(|change| {
        let DigestChange { at, event_type, action, what, by, reason } = change;
        let done = match action {
            Some(action) => text(&format!("{event_type}: {action}")),
            None => event_type.to_string(),
        };
        vec![time(*at), done, or_dash(what.as_ref()), or_dash(by.as_ref()), or_dash(reason.as_ref())]
    });
    let head = [("when", false), ("change", false), ("of", false), ("by", false), ("why", false)];
    let mut blocks = vec![table(&head, rows.collect(), "Nothing was changed.")];
    if digest.happened.changes_before > 0 {
        blocks.push(Block::Line(format!(
            "{} changes came before these: `tollgate audit query` lists them.",
            digest.happened.changes_before
        )));
    }
    Section { title: "Changes", blocks }
}

fn alerts(digest: &Digest) -> Section {
    let rows = digest.happened.alerts.iter().take(super::TOP).map(|one| {
        vec![text(&one.kind), one.count.to_string(), time(one.newest), or_dash(one.reason.as_ref())]
    });
    let head = [("alert", false), ("count", true), ("newest", false), ("it says", false)];
    let mut blocks = vec![table(&head, rows.collect(), "Nothing was alerted.")];
    more(&mut blocks, digest.happened.alerts.len(), "kinds");
    Section { title: "Alerts", blocks }
}

fn failures(digest: &Digest) -> Section {
    let rows = digest.happened.failures.iter().take(super::TOP).map(|one| {
        let upstream = one.upstream.as_ref().map(|name| name.as_str());
        vec![
            or_dash(one.tool.as_ref()),
            or_dash(upstream.as_ref()),
            one.failed.to_string(),
            one.unknown.to_string(),
            or_dash(one.reason.as_ref()),
        ]
    });
    let head =
        [("tool", false), ("server", false), ("failed", true), ("unknown", true), ("the newest says", false)];
    let mut blocks = vec![table(&head, rows.collect(), "No dispatched call failed.")];
    more(&mut blocks, digest.happened.failures.len(), "tools");
    let letters = &digest.dead_letters;
    blocks.push(Block::Line(format!(
        "{} dead letters are open: calls that may have changed something, and whose end nobody has looked at.",
        open(letters)
    )));
    if !letters.newest.is_empty() {
        let rows = letters.newest.iter().map(|one| {
            vec![
                time(one.at),
                or_dash(one.tool.as_ref()),
                one.outcome.map_or("-", |outcome| outcome.as_str()).to_owned(),
                or_dash(one.reason.as_ref()),
                or_dash(one.call_id.as_ref().map(|call| call.as_str()).as_ref()),
            ]
        });
        let head = [("when", false), ("tool", false), ("outcome", false), ("reason", false), ("call", false)];
        blocks.push(table(&head, rows.collect(), ""));
    }
    Section { title: "Failures and dead letters", blocks }
}

fn figures(digest: &Digest) -> Section {
    let shown = |figure: &Figure, value: Option<f64>| match (value, figure.unit) {
        (None, _) => "-".to_owned(),
        (Some(value), "rate") => percent(value),
        (Some(value), "ms") => span(Some(value as i64)),
        (Some(value), _) => format!("{value:.0}"),
    };
    let rows = digest.scorecard.iter().map(|figure| {
        vec![
            figure.figure.to_owned(),
            shown(figure, figure.before),
            shown(figure, figure.now),
            if figure.drifts { "drifts" } else { "" }.to_owned(),
        ]
    });
    let head = [("figure", false), ("before", true), ("now", true), ("", false)];
    let mut blocks = vec![table(&head, rows.collect(), "")];
    let drifting = digest.drifting.iter().map(|(agent, drift)| {
        let moved = |moved: &Moved| format!("{} → {}", percent(moved.before), percent(moved.now));
        format!(
            "agent {}: refused {}, failed {}",
            text(agent),
            moved(&drift.deny_rate),
            moved(&drift.failures)
        )
    });
    let drifting: Vec<String> = drifting.collect();
    if !drifting.is_empty() {
        blocks.push(Block::Line("Agents that are not as they were:".to_owned()));
        blocks.push(Block::List(drifting));
    }
    Section { title: "Scorecard, against the same time before", blocks }
}

fn maturity(digest: &Digest) -> Section {
    let maturity = &digest.maturity;
    let mut blocks = vec![Block::Line(format!("Level {} of 4: {}.", maturity.level, maturity.title))];
    if !maturity.missing.is_empty() {
        blocks.push(Block::Line(format!("For level {} these are missing:", maturity.level + 1)));
        let rows = maturity
            .missing
            .iter()
            .map(|one| vec![one.control.to_owned(), text(&one.found), text(one.advice)]);
        let head = [("control", false), ("found", false), ("what to do", false)];
        blocks.push(table(&head, rows.collect(), ""));
    }
    Section { title: "Maturity", blocks }
}

fn advice(digest: &Digest) -> Section {
    let rows = digest.advice.iter().map(|one| {
        let mark = if one.done { "done" } else { "to do" };
        vec![one.step.to_string(), one.title.to_owned(), mark.to_owned(), text(&one.found), text(&one.advice)]
    });
    let head = [("step", true), ("what", false), ("", false), ("found", false), ("advice", false)];
    let blocks = vec![
        Block::Line(
            "From the traffic of the last month; `tollgate report advice` has the policy files.".to_owned(),
        ),
        table(&head, rows.collect(), ""),
    ];
    Section { title: "What to do next", blocks }
}
