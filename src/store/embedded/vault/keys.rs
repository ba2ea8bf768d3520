//! The file of the keys: beside the vault, for this user alone.

use super::super::terms;
use crate::{
    config::VaultConfig,
    store::{StoreError, vault::Ring},
};
use std::{io::Write as _, path::Path};
use zeroize::Zeroizing;

/// Reads the file. None: there is none.
pub(super) fn read(path: &Path, settings: &VaultConfig) -> Result<Option<Ring>, StoreError> {
    match std::fs::read(path) {
        Ok(text) => Ring::read(&Zeroizing::new(text), settings).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(terms::io(&error)),
    }
}

/// Writes the file, whole or not at all.
pub(super) fn write(ring: &mut Ring, path: &Path, settings: &VaultConfig) -> Result<(), StoreError> {
    replace(path, &ring.text(settings)?).map_err(|error| terms::io(&error))?;
    ring.settled();
    Ok(())
}

fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable for this user alone from the start.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}
