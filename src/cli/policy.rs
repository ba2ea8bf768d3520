//! `tollgate policy …`: what the bundles decide, and decided.

use super::{
    args::{JsonFlag, moment, trace},
    failure::CliError,
    screen::{Screen, or_dash, time},
    wiring,
};
use crate::{
    audit::{RecordedDifference, ReplayReport},
    clock::{Clock as _, System},
    model::{Moment, TraceId},
    store::{EventQuery, Store},
};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;

/// `policy …`
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Decide recorded calls again, each under the bundle that decided it
    #[command(long_about = "\
Takes each recorded decision with its facts, decides it again under the bundle that was in force then, and holds the \
verdict and its limits against the record. What differs is a fault of Tollgate or of the record: exit code 1. A decision \
that depends on a value that is masked in the record cannot be judged, and neither can one that was recorded before facts \
were. Decisions on which no rule was asked (an unknown tool, arguments that do not fit) are not judged. Nothing is \
recorded, counted or sent.")]
    Replay(ReplayArgs),
}

/// `policy replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Not before: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h). A day or a time is local, of this
    /// machine's time zone, unless it ends in Z (UTC) or names an offset
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Of this trace
    #[arg(long, value_name = "TRACE", value_parser = trace)]
    trace: Option<TraceId>,
    #[command(flatten)]
    json: JsonFlag,
}

/// Runs one of them.
pub(super) async fn policy(
    store: Arc<dyn Store>,
    system: Arc<System>,
    command: PolicyCommand,
) -> Result<(), CliError> {
    let PolicyCommand::Replay(args) = command;
    let query = EventQuery {
        since: args.since.map(|moment| moment.at(system.now())),
        trace_id: args.trace,
        ..EventQuery::default()
    };
    // Drawn on a terminal only.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} decisions, {per_sec}") {
        bar.set_style(style);
    }
    let replayed = wiring::replay(store.as_ref(), query, &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    store.close().await;
    show(&replayed?, args.json.json)
}

fn show(report: &ReplayReport, json: bool) -> Result<(), CliError> {
    let mut screen = Screen::new();
    if json {
        screen.json(report)?;
    } else {
        let rows: Vec<Vec<String>> = report.differences.iter().map(row).collect();
        if !rows.is_empty() {
            screen.table(
                &["seq", "time", "agent", "tool", "recorded", "now", "differs in", "trace"],
                &rows,
                "",
            )?;
        }
        if report.truncated {
            screen.line("more decisions differ than are listed")?;
        }
        screen.line(&format!(
            "judged {}: same {}, differs {}; unjudgeable {}; not by rules {}",
            report.judged, report.same, report.differs, report.unjudgeable, report.not_by_rules
        ))?;
        for (why, count) in &report.unjudgeable_because {
            screen.line(&format!("  unjudgeable {count}: {why}"))?;
        }
    }
    match report.differs {
        0 => Ok(()),
        count => Err(CliError::Told(format!(
            "{count} recorded decisions are decided otherwise now: a fault of Tollgate or of the record"
        ))),
    }
}

fn row(one: &RecordedDifference) -> Vec<String> {
    let word = |verdict: &serde_json::Value| or_dash(verdict.get("decision").and_then(|word| word.as_str()));
    vec![
        one.seq.to_string(),
        time(one.timestamp),
        or_dash(one.agent_id.as_ref()),
        or_dash(one.tool.as_ref()),
        word(&one.difference.recorded),
        word(&one.difference.now),
        one.difference.what.clone(),
        or_dash(one.trace_id),
    ]
}
