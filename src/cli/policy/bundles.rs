//! A bundle as it is named on the command line: a folder, a snapshot that is kept, or the one in force.

use super::super::{failure::CliError, setup::refused, wiring};
use crate::{activation, policy::PolicySet, store::Store};
use std::{path::Path, sync::Arc};

/// The word for the bundle in force: the one that came into force last, by the record.
const ACTIVE: &str = "active";

/// Finds and compiles it. `path` is the servers.toml that a folder is read beside.
pub(super) async fn named(path: &Path, store: &dyn Store, name: &str) -> Result<Arc<PolicySet>, CliError> {
    let folder = Path::new(name);
    if name != ACTIVE && folder.is_dir() {
        let loaded = wiring::load_folder(path, folder).map_err(|problems| refused(folder, problems))?;
        return Ok(Arc::new(loaded.policies));
    }
    let snapshot = match name {
        ACTIVE => {
            let newest = activation::newest(store).await?;
            newest
                .ok_or_else(|| unknown(name, "nothing was activated yet: `tollgate serve` does that"))?
                .snapshot
        }
        _ => activation::resolve(store, name).await?,
    };
    let set = wiring::kept_bundle(store, &snapshot).await?.ok_or_else(|| {
        unknown(&snapshot, "its files are not kept in the store, or this version cannot read them")
    })?;
    Ok(Arc::new(set))
}

fn unknown(name: &str, hint: &str) -> CliError {
    CliError::Unknown { kind: "bundle", name: name.to_owned(), hint: hint.to_owned() }
}
