//! `tollgate policy diff`: what differs between two bundles in meaning, and what that changes.

use super::{
    super::{
        args::DiffArgs,
        failure::CliError,
        screen::{Screen, progress},
        wiring,
    },
    bundles, flips,
};
use crate::{
    audit::Compare,
    clock::{Clock as _, System},
    model::SnapshotId,
    policy::{PartChange, changes},
    replay::{ChangedCell, SimulateReport, changed_cells},
    store::{EventQuery, Store},
};
use serde::Serialize;
use std::{path::Path, sync::Arc};

/// Rows of the table of cells; JSON has all.
const MOST_ROWS: usize = 100;

#[derive(Serialize)]
struct Told {
    from: SnapshotId,
    to: SnapshotId,
    changes: Vec<PartChange>,
    #[serde(flatten)]
    report: SimulateReport,
    cells: Vec<ChangedCell>,
    cells_truncated: bool,
}

/// Runs it; `path` is the servers.toml.
pub(in crate::cli) async fn diff(
    path: &Path,
    store: Arc<dyn Store>,
    system: Arc<System>,
    args: DiffArgs,
) -> Result<(), CliError> {
    let done = compared(path, &*store, &system, args).await;
    store.close().await;
    done
}

async fn compared(path: &Path, store: &dyn Store, system: &System, args: DiffArgs) -> Result<(), CliError> {
    let before = bundles::named(path, store, &args.before).await?;
    let after = bundles::named(path, store, &args.after).await?;
    let now = system.now();
    let query = EventQuery { since: Some(args.since.at(now)), ..EventQuery::default() };
    let bar = progress("decisions");
    let compare = Compare::Bundles(Arc::clone(&before), Arc::clone(&after));
    let simulated = wiring::simulate(store, query, compare, &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let simulated = simulated?;
    let mut tools = wiring::listed_tools(path);
    // What was resolved in earnest counts before what tables say.
    tools.extend(simulated.tools);
    let (cells, cells_truncated) = changed_cells(&before, &after, &tools, now);
    let told = Told {
        from: before.snapshot.clone(),
        to: after.snapshot.clone(),
        changes: changes(&before, &after),
        report: simulated.report,
        cells,
        cells_truncated,
    };
    let mut screen = Screen::new();
    if args.json.json { screen.json(&told) } else { show(&mut screen, &told) }
}

fn show(screen: &mut Screen, told: &Told) -> Result<(), CliError> {
    screen.line(&format!("from {}\nto   {}\n", told.from, told.to))?;
    if told.changes.is_empty() {
        screen.line("both say the same")?;
    }
    for part in &told.changes {
        screen.line(&format!("{} {} `{}`", part.change.as_str(), part.kind, part.name))?;
        for detail in &part.details {
            let line = match (&detail.before, &detail.after) {
                (Some(before), Some(after)) => format!("{}: {before} → {after}", at(&detail.at)),
                (None, Some(after)) => format!("{} is new: {after}", at(&detail.at)),
                (Some(before), None) => format!("{} is gone: {before}", at(&detail.at)),
                (None, None) => continue,
            };
            screen.line(&format!("  {line}"))?;
        }
        if part.truncated {
            screen.line("  and more")?;
        }
    }
    screen.line("\nrecorded calls under both")?;
    flips::show(screen, &told.report)?;
    screen.line("")?;
    let rows: Vec<Vec<String>> = told
        .cells
        .iter()
        .take(MOST_ROWS)
        .map(|cell| {
            vec![cell.agent.to_string(), cell.tool.to_string(), cell.from.to_string(), cell.to.to_string()]
        })
        .collect();
    screen.table(&["agent", "tool", "from", "to"], &rows, "no agent gets another answer for a known tool")?;
    if told.cells.len() > rows.len() || told.cells_truncated {
        screen.line("more cells change; --json lists them")?;
    }
    Ok(())
}

/// A place; of the whole part, what it is.
fn at(place: &str) -> &str {
    if place.is_empty() { "all of it" } else { place }
}
