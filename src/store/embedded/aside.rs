//! A projection that cannot be read: it follows from the journal, so it is set aside and made anew.

use super::{
    projection::{self, journal_dir},
    terms::locked,
    writer::Held,
};
use crate::{
    journal::{self, Lock, Patience},
    store::StoreError,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files that were set aside; the last is written over where there are more.
const MOST: u32 = 8;

/// What was set aside, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    pub(super) problem: String,
    pub(super) kept: PathBuf,
}

fn named(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Sets the projection aside where it cannot be read and there is a journal to make it from; `None` where it can, or where it is
/// none of ours. `thorough`: each page of it is read.
pub(super) fn set_unreadable_aside(path: &Path, thorough: bool) -> Result<Option<Aside>, StoreError> {
    let dir = journal_dir(path);
    let has_journal = dir.is_dir() && journal::list(&dir).is_ok_and(|segments| !segments.is_empty());
    if !has_journal || projection::unreadable(path, thorough).is_none() {
        return Ok(None);
    }
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let _held = Held::new(&lock);
    // Another process may have done it.
    match projection::unreadable(path, thorough) {
        Some(problem) => set_aside(path, &problem).map(Some),
        None => Ok(None),
    }
}

/// Renames the projection's files. For the holder of the lock.
pub(super) fn set_aside(path: &Path, problem: &str) -> Result<Aside, StoreError> {
    let free = (1..MOST).map(|n| named(path, &format!(".damaged-{n}"))).find(|kept| !kept.exists());
    let kept = free.unwrap_or_else(|| named(path, &format!(".damaged-{MOST}")));
    for end in ["-wal", "-shm", ""] {
        let (from, to) = (named(path, end), named(&kept, end));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Failed(format!("`{}` cannot be set aside: {error}", from.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    tracing::error!(
        problem, kept = %kept.display(),
        "store.projection_set_aside: the index cannot be read; it is made anew from the journal"
    );
    Ok(Aside { problem: problem.to_owned(), kept })
}
