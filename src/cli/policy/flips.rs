//! What changes for recorded calls, as people read it.

use super::super::{
    failure::CliError,
    screen::{Screen, or_dash, time},
};
use crate::{
    model::{EventDecision, counted},
    replay::{Flip, SimulateReport},
};

/// Rows of one table; JSON has all.
const MOST_ROWS: usize = 50;
/// Rows of a sum.
const MOST_SUMS: usize = 10;

/// Writes it. `before` and `after` name the two sides.
pub(super) fn show(screen: &mut Screen, report: &SimulateReport) -> Result<(), CliError> {
    let range = match (report.first, report.last) {
        (Some(first), Some(last)) => format!(", from {} to {}", time(first), time(last)),
        (_, _) => String::new(),
    };
    let repeats = match report.repeats {
        0 => String::new(),
        repeats => format!(", {repeats} of them repeats that are on record as counts"),
    };
    screen.line(&format!(
        "calls judged {}{repeats}; unjudgeable {}; not by rules {}{range}",
        report.judged, report.unjudgeable, report.not_by_rules
    ))?;
    for (why, count) in &report.unjudgeable_because {
        screen.line(&format!("  unjudgeable {count}: {why}"))?;
    }
    for note in &report.notes {
        screen.line(&format!("  note: {note}"))?;
    }
    if report.changed == 0 {
        return screen.line("no call is decided otherwise");
    }
    let asks = &report.approvals;
    screen.line(&format!(
        "decided otherwise {}; approvals asked {} → {} ({} more, {} no longer)",
        report.changed, asks.before, asks.after, asks.added, asks.no_longer
    ))?;
    let spend = &report.spend;
    for (calls, cost, what) in [
        (spend.stopped_calls, spend.stopped_usd, "spend stopped"),
        (spend.asked_calls, spend.asked_usd, "spend that waits for a person first"),
        (spend.released_calls, spend.released_usd, "spend let through that was stopped"),
    ] {
        if calls > 0 {
            screen.line(&format!("{what}: {cost} USD in {}, by their estimates", counted(calls, "call")))?;
        }
    }
    screen.line("")?;
    table(screen, report.flips.iter(), report.flips.len())?;
    sums(screen, "by policy", report.by(|flip| flip.policy_id.to_string()))?;
    sums(screen, "by agent", report.by(|flip| or_dash(flip.agent.as_ref())))?;
    sums(screen, "by tool", report.by(|flip| or_dash(flip.tool.as_ref())))?;
    denies(screen, report)
}

fn table<'f>(screen: &mut Screen, flips: impl Iterator<Item = &'f Flip>, all: usize) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> = flips
        .take(MOST_ROWS)
        .map(|flip| {
            let example = flip.examples.first();
            vec![
                flip.calls.to_string(),
                flip.from.to_string(),
                flip.to.to_string(),
                or_dash(flip.agent.as_ref()),
                or_dash(flip.tool.as_ref()),
                flip.policy_id.to_string(),
                or_dash(example.and_then(|example| example.rule_id.as_ref())),
                flip.cost_usd.to_string(),
                or_dash(example.and_then(|example| example.trace_id)),
            ]
        })
        .collect();
    screen.table(&["calls", "from", "to", "agent", "tool", "policy", "rule", "usd", "example"], &rows, "")?;
    if all > rows.len() {
        screen.line(&format!("{} more kinds of changes; --json lists them", all - rows.len()))?;
    }
    Ok(())
}

fn sums(screen: &mut Screen, what: &str, sums: Vec<(String, u64)>) -> Result<(), CliError> {
    let more = sums.len().saturating_sub(MOST_SUMS);
    let told: Vec<String> =
        sums.iter().take(MOST_SUMS).map(|(name, calls)| format!("{name} {calls}")).collect();
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    screen.line(&format!("{what}: {}{more}", told.join(", ")))
}

/// Calls that would be denied and were not: what somebody has to look at before the bundle comes into force.
fn denies(screen: &mut Screen, report: &SimulateReport) -> Result<(), CliError> {
    let denied = || report.flips.iter().filter(|flip| flip.to == EventDecision::Deny);
    if denied().next().is_none() {
        return Ok(());
    }
    screen.line("")?;
    screen.line(&format!(
        "expected denies, to review before activation: {}",
        counted(report.expected_denies, "call")
    ))?;
    for flip in denied().take(MOST_ROWS) {
        screen.line(&format!(
            "  {} of {} by {}: {}",
            counted(flip.calls, "call"),
            or_dash(flip.tool.as_ref()),
            or_dash(flip.agent.as_ref()),
            flip.examples.first().map_or("", |example| &example.reason)
        ))?;
        let traces: Vec<String> =
            flip.examples.iter().filter_map(|example| Some(example.trace_id?.to_string())).collect();
        screen.line(&format!("    was {} by {}; traces {}", flip.from, names(flip), traces.join(", ")))?;
    }
    Ok(())
}

/// So many calls.
fn names(flip: &Flip) -> String {
    let names: Vec<&str> = flip.policies_before.iter().map(|policy| &**policy).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
