//! The keys that checkpoints are signed with: one file for this user alone, beside the store; replicas share them
//! ([`super::shared_keys`]). Each line is a key in the form that
//! c2sp.org/signed-note's tools read: earlier ones as what verifies, the newest as what signs.

use crate::{
    journal::{open_private, sync_folder},
    proof::{NoteError, Signer, VerifierKey},
    store::StoreError,
};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const FILE: &str = "checkpoint.keys";
/// Earlier keys that are kept.
const MOST: usize = 1_000;

/// Whose signatures stand for this log.
#[derive(Debug)]
pub struct LogKeys {
    signer: Signer,
    earlier: Vec<VerifierKey>,
}

/// Why keys are not there.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file system refused or failed.
    #[error("`{}`: {source}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("`{}`, line {line}: {source}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// From 1; 0: of all.
        line: usize,
        /// What is wrong.
        source: NoteError,
    },
    /// The store that replicas share does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Those in the database cannot be used.
    #[error("the keys of checkpoints in the database {0}")]
    Sealed(&'static str),
    /// There are none, or others put some in place all the time.
    #[error("there are no keys of checkpoints in the database, or others are being put in place: try again")]
    Unsteady,
}

impl LogKeys {
    /// The keys in a folder; `None` where there are none yet.
    ///
    /// # Errors
    /// Where the file cannot be read or holds something else.
    pub fn known(folder: &Path) -> Result<Option<Self>, KeysError> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeysError::Failed { path, source }),
        }
    }

    /// The keys in a folder, the same for all processes: made of 32 random bytes where there are none.
    ///
    /// # Errors
    /// Where the file cannot be read or made, or holds something else.
    pub fn open(folder: &Path, fresh: [u8; 32]) -> Result<Self, KeysError> {
        if let Some(known) = Self::known(folder)? {
            return Ok(known);
        }
        let path = folder.join(FILE);
        let made =
            Self::first(fresh).map_err(|source| KeysError::Wrong { path: path.clone(), line: 0, source })?;
        let failed = |source| KeysError::Failed { path: path.clone(), source };
        match made.new_file(folder).map_err(failed)?.persist_noclobber(&path) {
            Ok(_) => sync_folder(&path).map(|()| made).map_err(failed),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Self::known(folder)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
            }
            Err(error) => Err(failed(error.error)),
        }
    }

    /// The first key of a log.
    pub(super) fn first(fresh: [u8; 32]) -> Result<Self, NoteError> {
        let named = Signer::new("tollgate", fresh)?.verifier().to_string();
        // Another gateway's log has another name; it is nobody's secret.
        let id: String = named.chars().skip("tollgate+".len()).take(8).collect();
        Ok(Self { signer: Signer::new(&format!("tollgate/{id}"), fresh)?, earlier: Vec::new() })
    }

    /// As they are kept, for nobody else to read.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut text: String = self.earlier.iter().map(|key| format!("{key}\n")).collect();
        let secret = self.signer.secret();
        // The secret stands in one place, which is wiped.
        text.reserve_exact(secret.len() + 1);
        let mut text = Zeroizing::new(text);
        text.push_str(&secret);
        text.push('\n');
        text
    }

    /// A file with them that has no name yet.
    fn new_file(&self, folder: &Path) -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(self.text().as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// The same with a new key that signs; what signed before is given back, and verifies.
    pub(super) fn rotated(self, fresh: [u8; 32]) -> Result<(Self, Signer), NoteError> {
        let Self { signer: old, mut earlier } = self;
        let signer = Signer::new(&old.verifier().name, fresh)?;
        earlier.push(old.verifier().clone());
        let too_many = earlier.len().saturating_sub(MOST);
        earlier.drain(..too_many);
        Ok((Self { signer, earlier }, old))
    }

    /// Removes the keys of a folder: they are elsewhere now.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn remove(folder: &Path) -> Result<(), KeysError> {
        let path = folder.join(FILE);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeysError::Failed { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, KeysError> {
        let wrong = |line, source| KeysError::Wrong { path: path.to_owned(), line, source };
        let (mut signer, mut earlier) = (None, Vec::new());
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            if line.starts_with("PRIVATE+KEY+") {
                signer = Some(Signer::parse(line).map_err(|source| wrong(at + 1, source))?);
            } else {
                earlier.push(VerifierKey::parse(line).map_err(|source| wrong(at + 1, source))?);
            }
        }
        let none = || wrong(0, NoteError::Malformed("there is no key in it that signs"));
        Ok(Self { signer: signer.ok_or_else(none)?, earlier })
    }

    /// Puts a new key in place of the one that signs, which verifies from then on and is destroyed otherwise: gives it back, to
    /// sign once beside the new one.
    ///
    /// # Errors
    /// Where there is no file, or it cannot be written.
    pub fn rotate(folder: &Path, fresh: [u8; 32]) -> Result<(Self, Signer), KeysError> {
        let path = folder.join(FILE);
        let failed = |source| KeysError::Failed { path: path.clone(), source };
        let lock = open_private(&folder.join("checkpoint.lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let Some(known) = Self::known(folder)? else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };
        let rotated = known.rotated(fresh);
        let (keys, old) =
            rotated.map_err(|source| KeysError::Wrong { path: path.clone(), line: 0, source })?;
        let file = keys.new_file(folder).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        // Before anything is signed with it.
        sync_folder(&path).map_err(failed)?;
        Ok((keys, old))
    }

    /// What signs.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What verifies, the newest first.
    pub fn verifiers(&self) -> Vec<VerifierKey> {
        let mut keys = vec![self.signer.verifier().clone()];
        keys.extend(self.earlier.iter().rev().cloned());
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_rotated_with_the_old_ones_still_verifying() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(LogKeys::known(dir.path()).expect("readable").is_none());
        let made = LogKeys::open(dir.path(), [1; 32]).expect("made");
        let again = LogKeys::open(dir.path(), [2; 32]).expect("there");
        assert_eq!(made.verifiers(), again.verifiers());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(FILE)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let (rotated, old) = LogKeys::rotate(dir.path(), [3; 32]).expect("rotated");
        assert_eq!(old.verifier(), made.signer().verifier());
        assert_eq!(rotated.verifiers().len(), 2);
        assert_eq!(rotated.verifiers().last(), Some(old.verifier()));
        assert_eq!(rotated.signer().verifier().name, old.verifier().name);
        let known = LogKeys::known(dir.path()).expect("readable").expect("there");
        assert_eq!(known.verifiers(), rotated.verifiers());
        let text = fs::read_to_string(dir.path().join(FILE)).expect("readable");
        assert_eq!(text.matches("PRIVATE").count(), 1, "the old one cannot sign any more");
        fs::write(dir.path().join(FILE), "rubbish\n").expect("written");
        assert!(matches!(LogKeys::known(dir.path()), Err(KeysError::Wrong { line: 1, .. })));
    }
}
