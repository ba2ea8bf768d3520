//! What stops the store, in words that say what to do.

use crate::{journal::JournalError, store::StoreError};
use std::path::Path;

/// What to do where the journal is damaged.
pub(super) fn remedied(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(problem) if !problem.contains("backup") => StoreError::Damaged(format!(
            "{problem}. No gateway starts on it until the journal is put back from a backup, or an admin says that it goes \
                 on all the same: `tollgate store accept --reason TEXT`"
        )),
        other => other,
    }
}

/// In the terms of whoever starts something.
pub(super) fn locked(path: &Path, error: JournalError) -> StoreError {
    match error {
        JournalError::Locked => {
            StoreError::Failed(format!("`{}` is locked by another process", path.display()))
        }
        JournalError::Full | JournalError::Failed { .. } | JournalError::Damaged(_) => error.into(),
    }
}

/// What a file of the store's own says.
pub(super) fn io(error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Failed(error.to_string()),
    }
}
