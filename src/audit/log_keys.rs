//! The keys that checkpoints are signed with: one file for this user alone, beside the store. Each line is a key in the form that
//! c2sp.org/signed-note's tools read: earlier ones as what verifies, the newest as what signs.

use crate::{
    journal::open_private,
    proof::{NoteError, Signer, VerifierKey},
    store::{Store, StoreError},
};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

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
}

/// Of what a first key is made where there is none: of random bytes, or of a secret that all replicas share, so that they sign
/// with one key.
///
/// # Errors
/// Where the store does not answer.
pub async fn key_seed(store: &dyn Store, random: [u8; 32]) -> Result<[u8; 32], StoreError> {
    if store.is_shared() { store.secret("checkpoints", random).await } else { Ok(random) }
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
        let wrong = |source| KeysError::Wrong { path: path.clone(), line: 0, source };
        let named = Signer::new("tollgate", fresh).map_err(wrong)?.verifier().to_string();
        // Another gateway's log has another name; it is nobody's secret.
        let id: String = named.chars().skip("tollgate+".len()).take(8).collect();
        let signer = Signer::new(&format!("tollgate/{id}"), fresh).map_err(wrong)?;
        let failed = |source| KeysError::Failed { path: path.clone(), source };
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        writeln!(file, "{}", *signer.secret()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(Self { signer, earlier: Vec::new() }),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Self::known(folder)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
            }
            Err(error) => Err(failed(error.error)),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KeysError> {
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
        let Some(Self { signer: old, mut earlier }) = Self::known(folder)? else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };
        let signer = Signer::new(&old.verifier().name, fresh);
        let signer = signer.map_err(|source| KeysError::Wrong { path: path.clone(), line: 0, source })?;
        earlier.push(old.verifier().clone());
        let too_many = earlier.len().saturating_sub(MOST);
        earlier.drain(..too_many);
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        for key in &earlier {
            writeln!(file, "{key}").map_err(failed)?;
        }
        writeln!(file, "{}", *signer.secret()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok((Self { signer, earlier }, old))
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
