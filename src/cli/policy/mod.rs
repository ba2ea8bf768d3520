//! `tollgate policy …`: what the bundles decide, and decided.

mod replay;

use super::{args::PolicyCommand, failure::CliError};
use crate::{clock::System, store::Store};
use std::sync::Arc;

/// Runs one of them.
pub(super) async fn policy(
    store: Arc<dyn Store>,
    system: Arc<System>,
    command: PolicyCommand,
) -> Result<(), CliError> {
    match command {
        PolicyCommand::Replay(args) => replay::replay(store, system, args).await,
    }
}
