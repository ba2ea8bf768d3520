//! Puts what `init` makes in place: all of it together, or nothing.

use super::write;
use crate::{
    cli::{environment::Environment, failure::CliError},
    config::{self, Bundle, Config, Listings, Loaded},
};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A bundle as its files, by name.
pub(super) type Bundled = [(&'static str, String)];

/// Files that lie beside their places.
pub(super) struct Staged {
    folder: tempfile::TempDir,
    servers: tempfile::NamedTempFile,
    /// The servers.toml that they are for.
    servers_toml: PathBuf,
}

fn failed(what: &Path) -> impl FnOnce(io::Error) -> CliError + use<> {
    let what = format!("cannot write `{}`", what.display());
    move |source| CliError::Io { what, source }
}

impl Staged {
    /// Writes them.
    pub(super) fn write(servers_toml: &Path, servers: &str, bundle: &Bundled) -> Result<Self, CliError> {
        let folder = servers_toml.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let beside =
            tempfile::Builder::new().prefix(".tollgate-init-").tempdir_in(folder).map_err(failed(folder))?;
        let new = tempfile::Builder::new().prefix(".tollgate-init-").suffix(".toml").tempfile_in(folder);
        let new = new.map_err(failed(folder))?;
        let staged = Self { folder: beside, servers: new, servers_toml: servers_toml.to_owned() };
        fs::write(staged.servers.path(), servers).map_err(failed(servers_toml))?;
        staged.servers.as_file().sync_all().map_err(failed(servers_toml))?;
        let policies = staged.policies();
        let tests = policies.join("tests");
        fs::create_dir_all(&tests).map_err(failed(&tests))?;
        for (name, text) in bundle {
            let path = policies.join(name);
            private(&path, text).map_err(failed(&path))?;
        }
        Ok(staged)
    }

    fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    /// Reads them as the gateway would, with these variables and what servers are known to list.
    pub(super) fn load(
        &self,
        environment: &Environment,
        listings: &dyn Fn(&Config) -> Listings,
    ) -> Result<Loaded, CliError> {
        let policies = self.policies();
        let (path, bundle) = (self.servers.path(), Bundle::Folder(&policies));
        config::load_bundle(path, &|name| environment.get(name), listings, bundle).map_err(|problems| {
            CliError::Told(format!(
                "what would be written is not right, and was not written:\n{}",
                problems
                    .to_string()
                    .replace(&path.display().to_string(), &self.servers_toml.display().to_string())
            ))
        })
    }

    /// Moves them to their places, with the values of variables; what is there is moved aside where that is wanted.
    pub(super) fn put(
        self,
        policies: &Path,
        values: &BTreeMap<&str, &SecretString>,
        force: bool,
    ) -> Result<(), CliError> {
        let servers_toml = self.servers_toml.as_path();
        let folder = servers_toml.parent().unwrap_or(Path::new("."));
        let variables = config::variables_file(servers_toml);
        let new_policies = self.policies();
        let new_variables = self.folder.path().join("variables");
        if !values.is_empty() {
            private(&new_variables, &write::variables(values)).map_err(failed(&variables))?;
        }
        sync_folder(&new_policies.join("tests")).map_err(failed(policies))?;
        sync_folder(&new_policies).map_err(failed(policies))?;
        let mut moves = Moves::default();
        let old = [servers_toml, policies, &variables];
        for old in old.into_iter().filter(|old| force && old.exists()) {
            moves.make(old, &aside(old))?;
        }
        if !values.is_empty() {
            moves.make(&new_variables, &variables)?;
        }
        moves.make(&new_policies, policies)?;
        moves.make(self.servers.path(), servers_toml)?;
        moves.done();
        // It lies elsewhere now.
        let _path = self.servers.into_temp_path().keep();
        sync_folder(folder).map_err(failed(folder))
    }
}

/// Moves that are taken back where a later one fails.
#[derive(Default)]
struct Moves(Vec<(PathBuf, PathBuf)>);

impl Moves {
    fn make(&mut self, from: &Path, to: &Path) -> Result<(), CliError> {
        moved(from, to).map_err(failed(to))?;
        self.0.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn done(mut self) {
        self.0.clear();
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        for (from, to) in self.0.iter().rev() {
            moved(to, from).ok();
        }
    }
}

/// To a place where nothing is: what came there meanwhile is somebody else's.
fn moved(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do both in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        done => Ok(done?),
    }
}

/// A name beside it that is free.
pub(super) fn aside(path: &Path) -> PathBuf {
    let named = |number: u32| {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".old-{number}"));
        path.with_file_name(name)
    };
    (1..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(0))
}

/// A file that only its owner reads.
pub(super) fn private(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What was moved into a folder is there after a power loss too.
fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_moved_over_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("new"), "new").unwrap();
        fs::write(at("more"), "more").unwrap();
        fs::write(at("theirs"), "theirs").unwrap();
        let mut moves = Moves::default();
        moves.make(&at("new"), &at("free")).unwrap();
        assert!(moves.make(&at("more"), &at("theirs")).is_err());
        drop(moves);
        for name in ["new", "more", "theirs"] {
            assert_eq!(fs::read_to_string(at(name)).unwrap(), name);
        }
        assert!(!at("free").exists());
    }
}
