//! Leaving this engine: the record as it lies there, for whoever takes it to another one, and the word that it is no more.

use super::{owners, projection, terms, verify, writer::Held};
use crate::{
    journal::{Lock, Patience, list, replace_file},
    store::{ChainReport, StoreError},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Says where the record went.
const MOVED: &str = "moved";

/// A record that nobody appends to while this is there.
pub struct Leaving {
    dir: PathBuf,
    _held: Held,
    /// What verifying it found.
    pub report: ChainReport,
    /// Its segments, oldest first.
    pub segments: Vec<(i64, PathBuf)>,
    /// Its keys, by their names.
    pub keys: Vec<(String, [u8; 32])>,
}

impl Leaving {
    /// Verifies the store at `path`, which no process has open.
    pub fn of(path: &Path, data_dir: &Path) -> Result<Self, StoreError> {
        let dir = projection::journal_dir(path);
        if owners::any_alive(data_dir, None) {
            return Err(StoreError::Failed("a Tollgate has the store open: stop it first".to_owned()));
        }
        check(&dir)?;
        let Some(report) = verify::at_rest(path)? else {
            return Err(StoreError::Failed(format!("there is no store at `{}`", path.display())));
        };
        if let Some(bad) = &report.bad {
            return Err(StoreError::Damaged(format!("record {}: {}", bad.seq, bad.problem)));
        }
        let lock = Arc::new(Lock::open(&dir)?);
        lock.take(Patience::Long).map_err(|error| terms::locked(path, error))?;
        let held = Held::new(&lock);
        let (segments, keys) = (list(&dir)?, keys(&dir)?);
        Ok(Self { dir, _held: held, report, segments, keys })
    }

    /// From now on nobody goes on here, nor after a power cut.
    pub fn left(self, whereto: &str) -> Result<(), StoreError> {
        replace_file(&self.dir.join(MOVED), whereto.as_bytes()).map_err(|error| terms::io(&error))
    }
}

/// Refuses a journal that was taken elsewhere.
pub(super) fn check(dir: &Path) -> Result<(), StoreError> {
    match fs::read_to_string(dir.join(MOVED)) {
        Ok(whereto) => Err(StoreError::Failed(format!(
            "the record at `{}` was taken to {whereto}, and goes on there: set `[store] url`. What lies here is as it was then",
            dir.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(terms::io(&error)),
    }
}

fn keys(dir: &Path) -> Result<Vec<(String, [u8; 32])>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| terms::io(&error))? {
        let path = entry.map_err(|error| terms::io(&error))?.path();
        if path.extension().is_none_or(|extension| extension != "key") {
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| terms::io(&error))?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let key = bytes.try_into().map_err(|_| StoreError::Damaged(format!("the key `{name}` is no key")))?;
        found.push((name, key));
    }
    Ok(found)
}
