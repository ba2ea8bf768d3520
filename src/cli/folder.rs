//! The folder that servers.toml names, held against the bundle that somebody ordered to be in force.

use super::{
    failure::CliError,
    known, origin,
    setup::load_standing,
    wiring::{self, Loaded},
};
use crate::{
    activation::{self, FolderState, OrderError, Standing},
    clock::{Clock as _, System},
    config::without_secrets,
    gateway::{Gateway, Origin},
    store::Store,
};
use jiff::Timestamp;
use std::{path::Path, sync::Arc};

/// As deep as a bundle can reasonably be.
const DEEPEST: usize = 8;

/// How the folder differs from the bundle that is held; none: it does not, or nothing is held.
pub(super) fn differs(path: &Path, standing: &Standing) -> Option<FolderState> {
    let held = standing.held.as_ref()?;
    let folder = wiring::load(path).ok();
    let in_force = wiring::load_kept(path, &known::remembered, &held.snapshot, &held.files).ok();
    let snapshot = folder.as_ref().map(|loaded| loaded.policies.snapshot.clone());
    if let (Some(snapshot), Some(in_force)) = (&snapshot, &in_force)
        && *snapshot == in_force.policies.snapshot
    {
        return None;
    }
    let config = folder.as_ref().or(in_force.as_ref()).map(|loaded| &loaded.config);
    let policies = config.map(|config| config.gateway.policies.clone()).unwrap_or_else(|| "policies".into());
    // As people write it, where it lies beside servers.toml.
    let shown = path.parent().and_then(|parent| policies.strip_prefix(parent).ok()).unwrap_or(&policies);
    let shown = shown.display().to_string();
    Some(FolderState::new(snapshot, changed(&policies, 0), held, shown))
}

/// When something in a folder changed last.
fn changed(folder: &Path, depth: usize) -> Option<Timestamp> {
    let time = |path: &Path| {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        Timestamp::try_from(modified).ok()
    };
    let mut newest = time(folder);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let found = if path.is_dir() && depth < DEEPEST { changed(&path, depth + 1) } else { time(&path) };
        newest = newest.max(found);
    }
    newest
}

/// Tells a gateway that was started which orders its files followed, how the folder is read, and whether it differs.
pub(super) async fn follow(path: &Path, gateway: &Arc<Gateway>, standing: Standing) {
    let owned = path.to_owned();
    gateway.set_folder_reader(Box::new(move || {
        let loaded = load_standing(&owned, &Standing::default()).map_err(|error| error.to_string())?;
        Ok(loaded.policies)
    }));
    if standing.held.is_some() {
        let (owned, known) = (path.to_owned(), standing.clone());
        let differs = tokio::task::spawn_blocking(move || differs(&owned, &known)).await;
        gateway.set_folder(differs.ok().flatten());
    }
    gateway.set_standing(standing);
}

/// On a store that machines share all serve one bundle: that of the first folder, until a person activates another.
pub(super) async fn agree(
    path: &Path,
    store: &dyn Store,
    (loaded, standing): (Loaded, Standing),
    system: &System,
) -> Result<(Loaded, Standing), CliError> {
    if !store.is_shared() || standing.held.is_some() {
        return Ok((loaded, standing));
    }
    let Loaded { config, policies, .. } = &loaded;
    let folder = &config.gateway.policies;
    let origin = Origin {
        reason: "it was the first on this database".to_owned(),
        ..origin::of(folder, "start").await
    };
    let kept = (without_secrets(config), !config.verify.is_empty());
    let source = (origin, folder.display().to_string());
    match activation::hold_first(store, policies, kept, source, system.now()).await {
        Ok(()) => {}
        Err(OrderError::NobodyAdmin) => {
            tracing::warn!(
                "files.not_held: nobody has the role `admin` in the bundle, so that nobody could put another in its place: each replica \
                 serves its own folder"
            );
            return Ok((loaded, standing));
        }
        Err(error) => return Err(error.into()),
    }
    let standing = activation::standing(store).await?;
    Ok((load_standing(path, &standing)?, standing))
}
