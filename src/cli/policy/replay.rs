//! `tollgate policy replay`: recorded decisions decided again, each under the bundle that decided it.

use super::super::{
    args::ReplayArgs,
    failure::CliError,
    screen::{Screen, or_dash, progress, time},
    wiring,
};
use crate::{
    audit::{RecordedDifference, ReplayReport},
    clock::{Clock as _, System},
    store::{EventQuery, Store},
};
use std::sync::Arc;

pub(in crate::cli) async fn replay(
    store: Arc<dyn Store>,
    system: Arc<System>,
    args: ReplayArgs,
) -> Result<(), CliError> {
    let query = EventQuery {
        since: args.since.map(|moment| moment.at(system.now())),
        trace_id: args.trace,
        ..EventQuery::default()
    };
    let bar = progress("decisions");
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
        let counted = match report.counted {
            0 => String::new(),
            records => format!("; counts of refusals {records}"),
        };
        screen.line(&format!(
            "judged {}: same {}, differs {}; unjudgeable {}; not by rules {}{counted}",
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
