//! A store whose journal is a copy: everything here can be made anew from its origin, and what is not there does not count.

use super::{
    EmbeddedStore,
    origin::{Known, Origin},
    projection,
    writer::Held,
};
use crate::{
    config::private_dir,
    journal::{Journal, JournalError, Lock, Patience, Segment, list, move_segment},
    model::OwnerId,
    store::StoreError,
};
use std::{fs, path::Path, sync::Arc};

/// Frames after which it is told how far copying has come.
const TOLD_EVERY: i64 = 1_000_000;

/// By what a process is known to others on the same origin, who do not see its lock.
pub(super) fn lock_name(owner: &OwnerId) -> String {
    format!("replica:{}", owner.as_str())
}

/// The process of such a name.
pub(super) fn owner_of(lock_name: &str) -> &str {
    lock_name.strip_prefix("replica:").unwrap_or(lock_name)
}

/// What to do where the copy is not what it was copied from.
pub(super) fn remedied(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(problem) => StoreError::Damaged(format!(
            "{problem}. This folder holds a copy of the record in the database: see \"When the database lost records\" in \
             docs/replicas.md before anything is removed"
        )),
        other => other,
    }
}

impl EmbeddedStore {
    /// Has the copy of an origin at `path` hold all that it has, for whoever reads it without opening it.
    pub fn bring_copy(path: &Path, origin: &dyn Origin) -> Result<(), StoreError> {
        bring(path, origin)
    }
}

/// Has the copy beside `path` hold all that the origin has.
pub(super) fn bring(path: &Path, origin: &dyn Origin) -> Result<(), StoreError> {
    let dir = projection::journal_dir(path);
    private_dir(&dir).map_err(|error| StoreError::Failed(format!("`{}`: {error}", dir.display())))?;
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| super::terms::locked(path, error))?;
    let _held = Held::new(&lock);
    let begins = origin.begins()?;
    let mut journal = match opened(&dir, origin) {
        Ok(journal) => journal,
        Err(JournalError::Damaged(damage)) => {
            tracing::error!(%damage, "store.copy_damaged: this machine's copy of the record is made anew from the database");
            set_aside(&dir)?;
            opened(&dir, origin)?
        }
        Err(error) => return Err(error.into()),
    };
    if journal.id() != begins.journal {
        return Err(StoreError::Failed(format!(
            "`{}` is the copy of another database: set another `data_dir`, or remove it",
            dir.display()
        )));
    }
    // What was written as the process ended stands whole at the origin.
    drop(journal.take_cut());
    let mut told = journal.head().seq;
    loop {
        let known = Known { place: journal.place(), head: *journal.head() };
        let news = origin.read(known)?;
        if news.frames.is_empty() {
            return Ok(());
        }
        journal.write_copied(known.place, &news.frames)?;
        journal.follow(&mut |_, _, _| Ok(()))?;
        if journal.head().seq - told >= TOLD_EVERY {
            told = journal.head().seq;
            tracing::info!(records = told, "store.copying: the record is copied from the database");
        }
    }
}

/// The copy as far as it goes, begun where there is none.
fn opened(dir: &Path, origin: &dyn Origin) -> Result<Journal, JournalError> {
    if list(dir)?.is_empty() {
        let begins = origin
            .begins()
            .map_err(|error| JournalError::Failed { path: dir.to_owned(), problem: error.to_string() })?;
        Segment::create(dir, &begins)?;
    }
    Journal::open(dir, [0; 16], false)
}

/// Moves the segments of a damaged copy, and what is made of them, out of the way.
fn set_aside(dir: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Failed(format!("`{}`: {error}", dir.display()));
    let aside = dir.join("damaged");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(failed)?;
    }
    fs::create_dir(&aside).map_err(failed)?;
    Ok(list(dir)?.iter().try_for_each(|(_, segment)| move_segment(segment, &aside))?)
}
