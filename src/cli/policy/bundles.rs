//! A bundle as it is named on the command line: a folder, a snapshot that is kept, or the one that was activated last.

use super::super::{failure::CliError, wiring};
use crate::{
    model::{EventType, SnapshotId},
    policy::PolicySet,
    store::{EventQuery, Store},
};
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// The word for the bundle that was activated last.
const ACTIVE: &str = "active";
/// Characters of a snapshot that name it, at least.
const FEWEST: usize = 6;
/// Snapshots that are told of where a name fits several.
const TOLD: usize = 5;

/// Finds and compiles it. `path` is the servers.toml that a folder is read beside.
pub(super) async fn named(path: &Path, store: &dyn Store, name: &str) -> Result<Arc<PolicySet>, CliError> {
    let folder = Path::new(name);
    if name != ACTIVE && folder.is_dir() {
        let loaded = wiring::load_bundle(path, folder).map_err(|problems| CliError::Files {
            path: folder.to_owned(),
            rendered: wiring::render(&problems),
            problems,
        })?;
        return Ok(Arc::new(loaded.policies));
    }
    let snapshot = match name {
        ACTIVE => activated(store, |_| true)
            .await?
            .pop()
            .ok_or_else(|| unknown(name, "nothing was activated yet: `tollgate serve` does that"))?,
        _ => by_beginning(store, name).await?,
    };
    let set = wiring::kept_bundle(store, &snapshot).await?.ok_or_else(|| {
        unknown(&snapshot, "its files are not kept in the store, or this version cannot read them")
    })?;
    Ok(Arc::new(set))
}

fn unknown(name: &str, hint: &str) -> CliError {
    CliError::Unknown { kind: "bundle", name: name.to_owned(), hint: hint.to_owned() }
}

async fn by_beginning(store: &dyn Store, name: &str) -> Result<SnapshotId, CliError> {
    let is_hex = name.len() >= FEWEST && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hint = "name a folder, a snapshot that was in force (its first 6 characters are enough), or `active`";
    if !is_hex {
        return Err(unknown(name, hint));
    }
    let beginning = name.to_ascii_lowercase();
    let found = activated(store, |snapshot| snapshot.starts_with(&beginning)).await?;
    let found: BTreeSet<SnapshotId> = found.into_iter().collect();
    match (found.first(), found.len()) {
        (Some(only), 1) => Ok(only.clone()),
        (None, _) => Err(unknown(name, hint)),
        (Some(_), _) => {
            let some: Vec<&str> = found.iter().take(TOLD).map(|snapshot| &**snapshot).collect();
            Err(unknown(name, &format!("several snapshots begin so: {}", some.join(", "))))
        }
    }
}

/// The snapshots that were activated, oldest first.
async fn activated(
    store: &dyn Store,
    wanted: impl Fn(&SnapshotId) -> bool,
) -> Result<Vec<SnapshotId>, CliError> {
    let query = EventQuery { event_type: Some(EventType::PolicyActivated), ..EventQuery::default() };
    let events = store.events(query).await?;
    Ok(events.into_iter().filter_map(|event| event.draft.policy_snapshot).filter(|id| wanted(id)).collect())
}
