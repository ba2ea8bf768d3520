//! Checkpoints of the record: made, kept in folders, and held against the record again.

use super::{KeysError, LogKeys};
use crate::{
    config::Config,
    journal::sync_folder,
    proof::{Checkpoint, Note, Signer, VerifierKey},
    store::{Store, StoreError, TreeAnswer, TreePath, embedded::AtRest},
};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The newest one of a folder.
const NEWEST: &str = "checkpoint";
/// The last one of a day.
const OF_DAY: &str = "checkpoint-";
/// Days that are kept in a folder.
const MOST_DAYS: usize = 1_000;
/// The longest file that is read as one.
const LONGEST: u64 = 1 << 20;

/// Why no checkpoint was made, or one does not hold.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record is not what an earlier checkpoint says it was.
    #[error("{0}")]
    Inconsistent(String),
    /// A file cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    Failed {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is no checkpoint, or nobody who is known has signed it.
    #[error("`{}` is no checkpoint that counts: {why}", path.display())]
    NoCheckpoint {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Whatever answers for the tree over the records: an open store, or one as it lies there.
pub trait Trees: Sync {
    /// The tree over the first `size` records, or all.
    fn tree(&self, size: Option<u64>, path: TreePath) -> BoxFuture<'_, Result<TreeAnswer, StoreError>>;
}

impl Trees for dyn Store {
    fn tree(&self, size: Option<u64>, path: TreePath) -> BoxFuture<'_, Result<TreeAnswer, StoreError>> {
        Store::tree(self, size, path)
    }
}

impl Trees for AtRest {
    fn tree(&self, size: Option<u64>, path: TreePath) -> BoxFuture<'_, Result<TreeAnswer, StoreError>> {
        let answer = Self::tree(self, size, path);
        async move { answer }.boxed()
    }
}

/// A checkpoint that was kept.
#[derive(Clone, Debug)]
pub struct KeptCheckpoint {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// As it is written.
    pub note: Note,
}

/// Reads a checkpoint that one of the keys has signed.
///
/// # Errors
/// [`CheckpointError::Failed`] or [`CheckpointError::NoCheckpoint`].
pub fn read_checkpoint(path: &Path, keys: &[VerifierKey]) -> Result<KeptCheckpoint, CheckpointError> {
    let failed = |source| CheckpointError::Failed { path: path.to_owned(), source };
    let refused = |why: String| CheckpointError::NoCheckpoint { path: path.to_owned(), why };
    if fs::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(refused("it is longer than 1 MiB".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let note = Note::parse(&text).map_err(|error| refused(error.to_string()))?;
    note.verify(keys).map_err(|error| refused(error.to_string()))?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(|error| refused(error.to_string()))?;
    Ok(KeptCheckpoint { path: path.to_owned(), checkpoint, note })
}

/// The checkpoints of a folder, whose names say so; what is wrong with one is its own result. A folder that is not there has none.
///
/// # Errors
/// Where the folder cannot be read.
pub fn kept_checkpoints(
    folder: &Path,
    keys: &[VerifierKey],
) -> Result<Vec<Result<KeptCheckpoint, CheckpointError>>, CheckpointError> {
    let names = names(folder)?;
    Ok(names.iter().map(|name| read_checkpoint(&folder.join(name), keys)).collect())
}

fn names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let failed = |source| CheckpointError::Failed { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name == NEWEST || name.starts_with(OF_DAY) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Holds a checkpoint against the record.
///
/// # Errors
/// [`CheckpointError::Inconsistent`] where the record was cut or rewritten.
pub async fn hold(trees: &(impl Trees + ?Sized), kept: &KeptCheckpoint) -> Result<(), CheckpointError> {
    let Checkpoint { size, root, .. } = &kept.checkpoint;
    let path = kept.path.display();
    let records = trees.tree(None, TreePath::None).await?.records;
    if records < *size {
        return Err(CheckpointError::Inconsistent(format!(
            "the record was cut: it has {records} records, and there were {size} when `{path}` was signed"
        )));
    }
    if trees.tree(Some(*size), TreePath::None).await?.root != *root {
        return Err(CheckpointError::Inconsistent(format!(
            "the record was rewritten: its first {size} records are not those that there were when `{path}` was signed"
        )));
    }
    Ok(())
}

/// The checkpoints that a record is held against.
#[derive(Debug)]
pub struct KeptCheckpoints {
    /// Whose signatures count.
    pub keys: Vec<VerifierKey>,
    /// Where checkpoints are kept.
    pub folders: Vec<PathBuf>,
    /// Some that were kept elsewhere.
    pub named: Vec<PathBuf>,
}

/// Where checkpoints are kept: beside the store, and where servers.toml says.
pub fn checkpoint_folders(config: &Config) -> Vec<PathBuf> {
    let mut folders = vec![config.gateway.data_dir.join("checkpoints")];
    folders.extend(config.audit.checkpoints.iter().cloned());
    folders
}

impl KeptCheckpoints {
    /// Those of the log's own keys, where it has any; without there are none.
    ///
    /// # Errors
    /// Where the keys cannot be read.
    pub async fn of(store: &dyn Store, config: &Config) -> Result<Self, KeysError> {
        let known = LogKeys::known_of(store, (&config.gateway.data_dir, &config.store.vault)).await?;
        let folders = if known.is_some() { checkpoint_folders(config) } else { Vec::new() };
        Ok(Self { keys: known.iter().flat_map(LogKeys::verifiers).collect(), folders, named: Vec::new() })
    }

    /// Holds the record against them, and says how many there were, or what contradicts one of them.
    ///
    /// # Errors
    /// Where the record cannot be read.
    pub async fn hold(&self, trees: &(impl Trees + ?Sized)) -> Result<Result<usize, String>, StoreError> {
        let mut all: Vec<Result<KeptCheckpoint, CheckpointError>> =
            self.named.iter().map(|path| read_checkpoint(path, &self.keys)).collect();
        for folder in &self.folders {
            match kept_checkpoints(folder, &self.keys) {
                Ok(kept) => all.extend(kept),
                Err(error) => all.push(Err(error)),
            }
        }
        let mut problems = Vec::new();
        let count = all.len();
        for kept in all {
            let held = match kept {
                Ok(kept) => hold(trees, &kept).await,
                Err(error) => Err(error),
            };
            match held {
                Ok(()) => {}
                Err(CheckpointError::Store(error)) => return Err(error),
                Err(error) => problems.push(error.to_string()),
            }
        }
        Ok(if problems.is_empty() { Ok(count) } else { Err(problems.join("\n")) })
    }
}

/// A checkpoint of all that is recorded, signed by the log's key and by others of its keys. Nothing is signed that is not
/// consistent with the newest checkpoints of the folders.
///
/// # Errors
/// [`CheckpointError`].
pub async fn make(
    trees: &(impl Trees + ?Sized),
    keys: &LogKeys,
    further: &[&Signer],
    folders: &[PathBuf],
) -> Result<(Checkpoint, Note), CheckpointError> {
    let verifiers = keys.verifiers();
    for folder in folders {
        let path = folder.join(NEWEST);
        if path.exists() {
            let kept = read_checkpoint(&path, &verifiers)?;
            hold(trees, &kept).await?;
        }
    }
    let TreeAnswer { size, root, .. } = trees.tree(None, TreePath::None).await?;
    let origin = keys.signer().verifier().name.clone();
    let checkpoint = Checkpoint { origin, size, root };
    let mut signers = vec![keys.signer()];
    signers.extend(further);
    let note = checkpoint.sign(&signers);
    Ok((checkpoint, note))
}

/// Keeps a checkpoint in a folder, as its newest and as the last of its day, unless a newer one is there: `false` then.
///
/// # Errors
/// [`CheckpointError::Failed`].
pub fn keep(
    folder: &Path,
    checkpoint: &Checkpoint,
    note: &Note,
    keys: &[VerifierKey],
    now: Timestamp,
) -> Result<bool, CheckpointError> {
    let failed = |path: &Path, source| CheckpointError::Failed { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let newest = folder.join(NEWEST);
    if newest.exists() && read_checkpoint(&newest, keys)?.checkpoint.size > checkpoint.size {
        return Ok(false);
    }
    let day = folder.join(format!("{OF_DAY}{}", now.strftime("%Y-%m-%d")));
    for path in [day, newest] {
        let write = || {
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
            write!(file, "{note}")?;
            file.as_file().sync_all()?;
            readable(file.as_file())?;
            file.persist(&path).map_err(|error| error.error)?;
            sync_folder(&path)
        };
        write().map_err(|error| failed(&path, error))?;
    }
    let names = names(folder)?;
    let days = names.iter().filter(|name| name.starts_with(OF_DAY));
    for old in days.rev().skip(MOST_DAYS) {
        let path = folder.join(old);
        fs::remove_file(&path).map_err(|error| failed(&path, error))?;
    }
    Ok(true)
}

/// A checkpoint is nobody's secret: an auditor's account may read it.
#[cfg(unix)]
fn readable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &fs::File) -> io::Result<()> {
    Ok(())
}
