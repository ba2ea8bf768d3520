//! Holds the names in the files against what the upstreams list, whenever that changes: what an admin wrote for a tool that is
//! not there protects nothing, and is told in the log and by `/readyz`.

use super::{known, wiring};
use crate::{config::Config, gateway::Gateway};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// Watches for ever. `told` are the lints that were logged already.
pub(super) async fn watch(path: PathBuf, gateway: Arc<Gateway>, told: Vec<String>) {
    let mut changes = gateway.generations();
    let mut told: BTreeSet<String> = told.into_iter().collect();
    loop {
        changes.borrow_and_update();
        let (path, asked) = (path.clone(), Arc::clone(&gateway));
        match tokio::task::spawn_blocking(move || look(&path, &asked)).await {
            Ok(Some(doubts)) => {
                for lint in doubts.iter().filter(|lint| !told.contains(*lint)) {
                    tracing::warn!(lint, "files.lint");
                }
                gateway.set_lints(doubts.clone());
                told = doubts.into_iter().collect();
            }
            // The files are wrong at this moment, which the reload tells.
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "names could not be looked at"),
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The names that fit nothing; none where the files cannot be read.
fn look(path: &std::path::Path, gateway: &Gateway) -> Option<Vec<String>> {
    let in_force = gateway.in_force();
    let (states, data) = (gateway.upstreams(), &in_force.policies.data);
    let now = known::listed_now(&states, data);
    if let Err(error) = known::keep(&in_force.config, &now, &known::items_now(&states, data)) {
        tracing::warn!(%error, "what the upstreams list could not be kept for `tollgate check`");
    }
    let listings = |config: &Config| {
        let mut listings = known::remembered(config);
        listings.extend(now.clone());
        listings
    };
    let loaded = wiring::load_knowing(path, &listings).ok()?;
    Some(loaded.lints.0.iter().filter(|lint| lint.strict).map(ToString::to_string).collect())
}
