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
        _ => by_beginning(store, name).await?.ok_or_else(|| {
            let hint = "name a folder, a snapshot that was in force (its first 6 characters are enough), or `active`";
            unknown(name, hint)
        })?,
    };
    let set = wiring::kept_bundle(store, &snapshot).await?.ok_or_else(|| {
        unknown(&snapshot, "its files are not kept in the store, or this version cannot read them")
    })?;
    Ok(Arc::new(set))
}

fn unknown(name: &str, hint: &str) -> CliError {
    CliError::Unknown { kind: "bundle", name: name.to_owned(), hint: hint.to_owned() }
}

/// Whether `wanted` names the snapshot: whole, or by its first characters.
pub(super) fn begins(snapshot: &SnapshotId, wanted: &str) -> bool {
    wanted.len() >= FEWEST && snapshot.starts_with(&wanted.to_ascii_lowercase())
}

/// The bundle of a snapshot that is named whole or by its first characters; `None` where none is kept.
///
/// # Errors
/// If the store does not answer, or several snapshots begin so.
pub(super) async fn kept(store: &dyn Store, wanted: &str) -> Result<Option<PolicySet>, CliError> {
    let whole = SnapshotId::from(wanted.to_owned());
    if let Some(set) = wiring::kept_bundle(store, &whole).await? {
        return Ok(Some(set));
    }
    match by_beginning(store, wanted).await? {
        Some(snapshot) => Ok(wiring::kept_bundle(store, &snapshot).await?),
        None => Ok(None),
    }
}

/// The snapshot that was in force and begins so; `None` where none does.
async fn by_beginning(store: &dyn Store, name: &str) -> Result<Option<SnapshotId>, CliError> {
    let found = activated(store, |snapshot| begins(snapshot, name)).await?;
    let found: BTreeSet<SnapshotId> = found.into_iter().collect();
    if found.len() > 1 {
        let some: Vec<&str> = found.iter().take(TOLD).map(|snapshot| &**snapshot).collect();
        return Err(unknown(name, &format!("several snapshots begin so: {}", some.join(", "))));
    }
    Ok(found.into_iter().next())
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
