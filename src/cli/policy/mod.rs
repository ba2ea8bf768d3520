//! `tollgate policy …`: what the bundles decide, and decided.

mod bundles;
mod diff;
mod flips;
mod replay;
mod simulate;

use super::{args::PolicyCommand, failure::CliError};
use crate::{clock::System, store::Store};
use std::{path::Path, sync::Arc};

/// Runs one of them; `path` is the servers.toml.
pub(super) async fn policy(
    path: &Path,
    store: Arc<dyn Store>,
    system: Arc<System>,
    command: PolicyCommand,
) -> Result<(), CliError> {
    let done = match command {
        PolicyCommand::Replay(args) => return replay::replay(store, system, args).await,
        PolicyCommand::Simulate(args) => simulate::simulate(path, &*store, &system, args).await,
        PolicyCommand::Diff(args) => diff::diff(path, &*store, &system, args).await,
    };
    store.close().await;
    done
}
