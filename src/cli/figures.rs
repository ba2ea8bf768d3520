//! `tollgate report scorecard | maturity`.

use super::{
    args::ReportArgs,
    failure::CliError,
    screen::{Screen, progress, time},
    setup::Setup,
    wiring,
};
use crate::{
    audit::{Looked, Maturity, maturity as look, test_files},
    clock::{Clock as _, System},
    replay::{AgentDrift, AgentOwnDrift, Figure, Moved, Scorecard},
    store::Store,
};
use std::path::Path;

async fn counted(store: &dyn Store, system: &System, args: &ReportArgs) -> Result<Scorecard, CliError> {
    let now = system.now();
    let bar = progress("records");
    let card = wiring::scorecard(store, (args.since.at(now), now), &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    card
}

/// Prints the figures.
pub(super) async fn scorecard(store: &dyn Store, system: &System, args: ReportArgs) -> Result<(), CliError> {
    let card = counted(store, system, &args).await?;
    let mut screen = Screen::new();
    if args.json.json { screen.json(&card) } else { show(&mut screen, &card) }
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

fn show(screen: &mut Screen, card: &Scorecard) -> Result<(), CliError> {
    screen.line(&format!("from {} to {}", time(card.since), time(card.until)))?;
    screen.line("\ndecisions by workflow")?;
    let rows: Vec<Vec<String>> = card
        .decision_distribution
        .iter()
        .map(|(workflow, one)| {
            let counts = [
                one.calls,
                one.allow + one.allow_with_constraints,
                one.pending_approval,
                one.approved,
                one.remediate,
                one.suggest,
                one.throttle,
                one.deny,
            ];
            let mut row = vec![workflow.clone()];
            row.extend(counts.iter().map(ToString::to_string));
            row.extend([percent(one.allow_rate), percent(one.deny_rate)]);
            row
        })
        .collect();
    let head = [
        "workflow",
        "calls",
        "allow",
        "ask",
        "approved",
        "remediate",
        "suggest",
        "throttle",
        "deny",
        "allowed",
        "refused",
    ];
    screen.table(&head, &rows, "no call was decided")?;
    let approvals = &card.approval_integrity;
    screen.line("\napprovals")?;
    screen.field("asked", &approvals.asked.to_string())?;
    screen.field("approved", &approvals.approved.to_string())?;
    screen.field("rejected", &approvals.rejected.to_string())?;
    screen.field("expired", &approvals.expirations.to_string())?;
    screen.field("mismatches", &approvals.mismatches.to_string())?;
    let waits = &approvals.latency;
    screen.field(
        "answered in",
        &format!("{} (half), {} (nine of ten)", span(waits.p50_ms), span(waits.p90_ms)),
    )?;
    let risky = &card.constraint_usage;
    screen.line("\nrisky calls (writes that destroy or reach outside, confidential data)")?;
    screen.field("calls", &risky.high_risk.to_string())?;
    screen.field("limited", &risky.constrained.to_string())?;
    screen.field("asked", &risky.asked.to_string())?;
    screen.field("stopped", &risky.stopped.to_string())?;
    screen.field("as they were", &format!("{} ({} were not)", risky.plain, percent(risky.mitigated_rate)))?;
    let complete = &card.audit_completeness;
    screen.line("\nthe record of dispatched calls")?;
    screen.field("dispatched", &complete.dispatched.to_string())?;
    screen.field("complete", &format!("{} ({})", complete.complete, percent(complete.complete_rate)))?;
    screen.field("unknown", &complete.unknown.to_string())?;
    screen.field("missing", &complete.missing.to_string())?;
    let drift = &card.drift_indicators;
    screen.line("\nagainst the same time before")?;
    for (name, moved) in [
        ("refused", &drift.deny_rate),
        ("lacked metadata", &drift.missing_metadata),
        ("failed", &drift.failures),
    ] {
        screen.field(name, &told(moved))?;
    }
    for (agent, AgentDrift { deny_rate, failures }) in &drift.agents {
        screen.field(agent, &format!("refused {}; failed {}", told(deny_rate), told(failures)))?;
    }
    Ok(())
}

/// Prints how agents differ from their own past.
pub(super) async fn drift(store: &dyn Store, system: &System, args: ReportArgs) -> Result<(), CliError> {
    let now = system.now();
    let bar = progress("records");
    let report = wiring::drift(store, (args.since.at(now), now), &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let report = report?;
    let mut screen = Screen::new();
    if args.json.json {
        return screen.json(&report);
    }
    screen.line(&format!(
        "from {} to {}, against the same time before",
        time(report.since),
        time(report.until)
    ))?;
    let mark = |drifts: bool| if drifts { " (drifts)" } else { "" };
    let moved = |figure: &Figure, digits: usize| {
        format!("{:.digits$} → {:.digits$}{}", figure.before, figure.now, mark(figure.drifts))
    };
    let row = |one: &AgentOwnDrift| {
        let named = one.tools.moved.first().map_or_else(String::new, |tool| {
            format!("; {} {} → {}", tool.tool, percent(tool.before), percent(tool.now))
        });
        let (before, now) = (percent(one.deny_rate.before), percent(one.deny_rate.now));
        vec![
            one.agent.clone(),
            format!("{} → {}", one.calls_before, one.calls),
            format!("{:.3}{}{named}", one.tools.distance, mark(one.tools.drifts)),
            format!("{before} → {now}{}", mark(one.deny_rate.drifts)),
            moved(&one.cost_usd, 6),
            moved(&one.size_tokens, 0),
        ]
    };
    let rows: Vec<Vec<String>> = report.agents.iter().map(row).collect();
    let header = ["agent", "calls", "mix of tools (bits)", "refused", "USD a call", "tokens a call"];
    screen.table(&header, &rows, "no agent made a call")
}

fn told(moved: &Moved) -> String {
    let mark = if moved.drifts { "  ← drifts" } else { "" };
    format!("{} → {}{mark}", percent(moved.before), percent(moved.now))
}

/// Prints the level and the controls.
pub(super) async fn maturity(
    path: &Path,
    store: &dyn Store,
    system: &System,
    args: ReportArgs,
) -> Result<(), CliError> {
    let setup = Setup::load(path)?;
    let card = counted(store, system, &args).await?;
    let (config, policies) = (&setup.loaded.config, &setup.loaded.policies);
    let report = look(Looked { config, policies, tests: test_files(&config.gateway.policies), card: &card });
    let mut screen = Screen::new();
    if args.json.json { screen.json(&report) } else { show_controls(&mut screen, &report) }
}

fn show_controls(screen: &mut Screen, report: &Maturity) -> Result<(), CliError> {
    screen.line(&format!("level {} of 4: {}\n", report.level, report.title))?;
    let rows: Vec<Vec<String>> = report
        .controls
        .iter()
        .map(|one| {
            let mark = if one.met { "yes" } else { "no" };
            vec![one.level.to_string(), mark.to_owned(), one.control.to_owned(), one.found.clone()]
        })
        .collect();
    screen.table(&["level", "stands", "control", "found"], &rows, "")?;
    if !report.missing.is_empty() {
        screen.line(&format!("\nfor level {}", report.level + 1))?;
        for one in &report.missing {
            screen.line(&format!("- {}: {}", one.control, one.advice))?;
        }
    }
    Ok(())
}
