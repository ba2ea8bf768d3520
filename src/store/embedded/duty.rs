//! What one process on the store does at a time: whoever holds a lock beside the store, which dies with its process. Processes
//! may share a store and have different data directories.

use super::terms;
use crate::{
    journal::open_private,
    store::{Duty, StoreError},
};
use std::{
    fs::{File, TryLockError},
    path::Path,
};

#[derive(Debug)]
struct Locked {
    /// Held until it is closed.
    _file: File,
}

impl Duty for Locked {
    fn is_held(&self) -> bool {
        true
    }
}

pub(super) fn take(store: &Path, name: &str) -> Result<Option<Box<dyn Duty>>, StoreError> {
    let mut path = store.as_os_str().to_owned();
    path.push(format!(".{name}.lock"));
    let file = open_private(Path::new(&path)).map_err(|error| terms::io(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Box::new(Locked { _file: file }))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(terms::io(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes on one store take turns, whatever else they share; what one holds of one thing keeps nobody from another.
    #[test]
    fn one_at_a_time_holds_what_lies_beside_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("tollgate.db");
        let first = take(&store, "alerts").unwrap();
        assert!(first.is_some());
        // By another name of the same folder, too.
        let other = folder.path().join(".").join("tollgate.db");
        assert!(take(&other, "alerts").unwrap().is_none());
        assert!(take(&store, "delivery-one").unwrap().is_some());
        drop(first);
        assert!(take(&other, "alerts").unwrap().is_some());
    }
}
