//! `tollgate policy …`: what the bundles decide, and decided.

mod activate;
mod history;
mod manifest;
mod replay;
mod rollout;

use super::{args::PolicyCommand, failure::CliError, setup::record};
use std::path::PathBuf;

/// Runs one of them.
pub(super) async fn policy(path: PathBuf, command: PolicyCommand) -> Result<(), CliError> {
    match command {
        PolicyCommand::Replay(args) => {
            let (store, system) = record(&path)?;
            replay::replay(store, system, args).await
        }
        PolicyCommand::History(args) => history::history(&path, &args).await,
        PolicyCommand::Show(args) => history::show(&path, &args).await,
        PolicyCommand::Activate(args) => activate::activate(&path, &args).await,
        PolicyCommand::Rollback(args) => activate::rollback(&path, &args).await,
        PolicyCommand::Rollout(command) => rollout::rollout(&path, command).await,
        PolicyCommand::Manifest(args) => manifest::manifest(&path, &args),
    }
}
