//! Reading a store that need not be open, without taking anything: what is in force must be known before the files are read, and
//! by commands that write nothing.

use super::{
    kept,
    notes::{self, Note},
    projection::{self, journal_dir},
    records,
    terms::remedied,
    trees,
};
use crate::{
    journal::{self, Place, Reader},
    model::Event,
    store::{EventQuery, Kept, KeptKind, StoreError, TreeAnswer, TreePath},
};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// A store as it lies there.
#[derive(Debug)]
pub struct AtRest {
    path: PathBuf,
    journal: Reader,
}

impl AtRest {
    /// `None` where there is no journal, or one that opening has to take over first.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        let dir = journal_dir(path);
        if !dir.exists() || journal::list(&dir)?.is_empty() {
            return Ok(None);
        }
        let opened = Reader::open(&dir).and_then(|journal| journal.refresh().map(|()| journal));
        let journal = opened.map_err(|error| remedied(error.into()))?;
        Ok(Some(Self { path: path.to_owned(), journal }))
    }

    /// Events, as [`crate::store::Store::events`] gives them.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        records::query(&self.journal, query).map_err(remedied)
    }

    /// The tree over the first `size` records, or over all, as [`crate::store::Store::tree`] gives it.
    pub fn tree(&self, size: Option<u64>, path: TreePath) -> Result<TreeAnswer, StoreError> {
        trees::ask(&self.journal, size, path)
    }

    /// What is kept under a name: from the index, or from the journal where the index does not have it.
    pub fn kept(&self, kind: KeptKind, name: &str) -> Result<Option<Kept>, StoreError> {
        self.look_up(kind, name).map_err(remedied)
    }

    fn look_up(&self, kind: KeptKind, name: &str) -> Result<Option<Kept>, StoreError> {
        if let Some(found) = self.indexed(kind, name)? {
            return Ok(Some(found));
        }
        let mut found: Option<Kept> = None;
        self.journal.frames(Place { segment: 0, offset: 0 }, None, &mut |_, frame| {
            if found.is_some() || !frame.head.is_projected() {
                return Ok(());
            }
            for note in notes::read(frame.notes()).unwrap_or_default() {
                if let Note::Kept { kind: of, name: known, hash, body } = note
                    && of == kind.as_str()
                    && known == name
                {
                    found = Some(Kept { kind, name: known, hash, body });
                }
            }
            Ok(())
        })?;
        match found {
            Some(kept) if hex::encode(Sha256::digest(&kept.body)) != kept.hash => Err(StoreError::Damaged(
                format!("what is kept as {} `{name}`: its hash is not that of its content", kind.as_str()),
            )),
            found => Ok(found),
        }
    }

    fn indexed(&self, kind: KeptKind, name: &str) -> Result<Option<Kept>, StoreError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let connection = projection::open_reader(&self.path)?;
        match projection::mark_of(&connection)? {
            Some(_) => kept::get(&connection, kind, name),
            None => Ok(None),
        }
    }
}
