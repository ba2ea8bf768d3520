//! `tollgate policy simulate`: recorded calls under another bundle.

use super::{
    super::{
        args::SimulateArgs,
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
    replay::SimulateReport,
    store::{EventQuery, Store},
};
use serde::Serialize;
use std::{path::Path, sync::Arc};

#[derive(Serialize)]
struct Told<'t> {
    snapshot: &'t SnapshotId,
    #[serde(flatten)]
    report: &'t SimulateReport,
}

/// Runs it; `path` is the servers.toml.
pub(in crate::cli) async fn simulate(
    path: &Path,
    store: Arc<dyn Store>,
    system: Arc<System>,
    args: SimulateArgs,
) -> Result<(), CliError> {
    let done = simulated(path, &*store, &system, args).await;
    store.close().await;
    done
}

async fn simulated(
    path: &Path,
    store: &dyn Store,
    system: &System,
    args: SimulateArgs,
) -> Result<(), CliError> {
    let set = bundles::named(path, store, &args.bundle).await?;
    let snapshot = set.snapshot.clone();
    let query = EventQuery { since: Some(args.since.at(system.now())), ..EventQuery::default() };
    let bar = progress("decisions");
    let simulated =
        wiring::simulate(store, query, Compare::Recorded(set), &mut |seen| bar.set_position(seen)).await;
    bar.finish_and_clear();
    let report = simulated?.report;
    let mut screen = Screen::new();
    if args.json.json {
        return screen.json(&Told { snapshot: &snapshot, report: &report });
    }
    screen.line(&format!("what bundle {snapshot} would change"))?;
    flips::show(&mut screen, &report)
}
