//! Which processes use the store. Each holds an OS lock on a file that dies with it, so that calls of a dead
//! process can be told from those of a slow one.

use crate::{config::private_dir, model::OwnerId, store::StoreError};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// This process's lock, for as long as it lives.
#[derive(Debug)]
pub(super) struct OwnerLock {
    file: File,
    path: PathBuf,
}

/// By what a process is known in the journal.
pub(super) fn owner_id(owner: &str) -> i64 {
    let hash: [u8; 32] = Sha256::digest(owner).into();
    hash.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// What can be told of an owner by its lock.
pub(super) enum Probe {
    /// Somebody holds it.
    Alive,
    /// Nobody does; held by us until it is dropped.
    Dead(Option<OwnerLock>),
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("owners")
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Whether the path still names the file that was opened: a cleaner may have taken it away in between.
#[cfg(unix)]
fn still_named(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok(named.ino() == ours.ino() && named.dev() == ours.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn still_named(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// An id becomes a file name; only what ids are made of may.
fn file_name(owner: &str) -> Option<String> {
    let plain = !owner.is_empty()
        && owner.len() <= 100
        && owner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain.then(|| format!("{owner}.lock"))
}

impl OwnerLock {
    /// Takes this process's lock. Only after that may anything be written in its name.
    pub(super) fn take(data_dir: &Path, owner: &OwnerId) -> Result<Self, StoreError> {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Failed(format!(
                "the lock in `{}` cannot be taken: {e}",
                folder(data_dir).display()
            )),
        };
        let name = file_name(owner)
            .ok_or_else(|| StoreError::Failed(format!("`{owner}` cannot be the id of a process")))?;
        private_dir(&folder(data_dir)).map_err(failed)?;
        let path = fs::canonicalize(folder(data_dir)).map_err(failed)?.join(name);
        for _ in 0..100 {
            let file = open(&path, true).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if still_named(&file, &path).map_err(failed)? => return Ok(Self { file, path }),
                // A cleaner was faster: it took the new file for one that was left behind.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(2)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(StoreError::Failed(format!("`{}` is locked by another process", path.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file away while the lock is held, so that nobody else can hold it meanwhile.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "store.owner_lock_not_removed");
        }
        drop(self.file);
    }
}

/// Whether any process has a store open that keeps its locks here, other than the one of this lock.
pub(super) fn any_alive(data_dir: &Path, but: Option<&Path>) -> bool {
    let Ok(entries) = fs::read_dir(folder(data_dir)) else { return false };
    let locks = entries.flatten().map(|entry| entry.path());
    locks
        .filter(|path| path.extension().is_some_and(|extension| extension == "lock"))
        .filter(|path| but.and_then(Path::file_name) != path.file_name())
        .any(|path| matches!(probe(&path), Probe::Alive))
}

/// Where an owner's lock is: a folder that was moved, or that another container sees under another name, still has it.
pub(super) fn found(lock_path: &Path, data_dir: &Path) -> PathBuf {
    match lock_path.file_name() {
        Some(name) if !lock_path.exists() => folder(data_dir).join(name),
        Some(_) | None => lock_path.to_owned(),
    }
}

/// Tries an owner's lock. An error that is not an answer counts as life: nothing is settled on a guess.
pub(super) fn probe(path: &Path) -> Probe {
    match open(path, false) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Probe::Dead(Some(OwnerLock { file, path: path.to_owned() })),
            Err(TryLockError::WouldBlock) => Probe::Alive,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(path = %path.display(), %error, "store.owner_lock_unknown");
                Probe::Alive
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Probe::Dead(None),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "store.owner_lock_unknown");
            Probe::Alive
        }
    }
}

/// Takes away lock files that nobody holds and that no row names, as of processes that died between the two.
pub(super) fn sweep(data_dir: &Path, is_known: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(folder(data_dir)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "lock") {
            continue;
        }
        let Ok(path) = fs::canonicalize(&path) else { continue };
        // The lock first: a process writes its row only while it holds it.
        if let Probe::Dead(Some(lock)) = probe(&path)
            && !is_known(&path)
        {
            lock.remove();
        }
    }
}
