//! `tollgate policy …`: what the bundles decide, and decided.

mod activate;
mod bundles;
mod diff;
mod explain;
mod flips;
mod history;
mod junit;
mod manifest;
mod replay;
mod rollout;
mod simulate;
mod test;

pub(super) use explain::of_event;
pub(super) use test::wrong_tests;

use super::{
    args::PolicyCommand,
    failure::CliError,
    setup::{Setup, record_of_calls},
};
use std::path::PathBuf;

/// Runs one of them; `path` is the servers.toml.
pub(super) async fn policy(path: PathBuf, command: PolicyCommand) -> Result<(), CliError> {
    match command {
        // The folder's tests are of the folder's bundle, whatever is held in force.
        PolicyCommand::Test(args) => test::test(Setup::load_folder(&path)?, &args),
        PolicyCommand::Explain(args) => explain::explain(path, *args).await,
        PolicyCommand::Replay(args) => {
            let (store, system, _) = record_of_calls(&path)?;
            replay::replay(store, system, args).await
        }
        PolicyCommand::Simulate(args) => {
            let (store, system, _) = record_of_calls(&path)?;
            simulate::simulate(&path, store, system, args).await
        }
        PolicyCommand::Diff(args) => {
            let (store, system, _) = record_of_calls(&path)?;
            diff::diff(&path, store, system, args).await
        }
        PolicyCommand::History(args) => history::history(&path, &args).await,
        PolicyCommand::Show(args) => history::show(&path, &args).await,
        PolicyCommand::Activate(args) => activate::activate(&path, &args).await,
        PolicyCommand::Rollback(args) => activate::rollback(&path, &args).await,
        PolicyCommand::Rollout(command) => rollout::rollout(&path, command).await,
        PolicyCommand::Manifest(args) => manifest::manifest(&path, &args),
    }
}
