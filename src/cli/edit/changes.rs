//! servers.toml and files of the bundle that are changed together: tried as the gateway would read them, and written all of them
//! or none.

use super::file::{Opened, Readers};
use crate::{
    cli::{environment::Environment, failure::CliError, setup::Setup},
    config::{self, Bundle, Config, Listings, Loaded},
    policy::SourceFile,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Each file as it is, and as it is to be.
#[derive(Debug, Default)]
pub(in crate::cli) struct Changes(Vec<Change>);

/// One of them.
#[derive(Debug)]
struct Change {
    opened: Opened,
    new: String,
    readers: Readers,
}

impl Changes {
    /// One more file.
    pub(in crate::cli) fn push(&mut self, opened: Opened, new: String) {
        self.0.push(Change { opened, new, readers: Readers::AsBefore });
    }

    /// One with secrets in it, which is written before the others.
    pub(in crate::cli) fn first(&mut self, opened: Opened, new: String, readers: Readers) {
        self.0.insert(0, Change { opened, new, readers });
    }

    /// Each: its path, as it is, and as it is to be.
    pub(in crate::cli) fn iter(&self) -> impl Iterator<Item = (&Path, &str, &str)> {
        self.0.iter().map(|one| (one.opened.path(), one.opened.text(), one.new.as_str()))
    }

    /// What they come to, read as the gateway reads it. Where that is wrong, nothing is to be written.
    pub(in crate::cli) fn tried(
        &self,
        setup: &Setup,
        environment: &Environment,
        listings: &dyn Fn(&Config) -> Listings,
    ) -> Result<Loaded, CliError> {
        let path = &setup.path;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let of_servers = self.0.iter().find(|one| one.opened.path() == path);
        let staged = match of_servers {
            None => None,
            Some(change) => Some(staged(folder, &change.new).map_err(|source| CliError::Io {
                what: format!("cannot write in `{}`", folder.display()),
                source,
            })?),
        };
        let read = staged.as_ref().map_or(path.as_path(), |staged| staged.path());
        let files = self.bundle(setup, path);
        let policies = setup.loaded.config.gateway.policies.display().to_string();
        let bundle = Bundle::Files { name: &policies, files: &files };
        config::load_bundle(read, &|name| environment.get(name), listings, bundle).map_err(|problems| {
            // What else there is to say of the files is not why.
            let shown = problems
                .errors()
                .to_string()
                .replace(&read.display().to_string(), &path.display().to_string());
            CliError::Told(format!("this would be wrong, and nothing was written:\n{shown}"))
        })
    }

    /// The bundle as it would be.
    fn bundle(&self, setup: &Setup, servers_toml: &Path) -> Vec<SourceFile> {
        let mut files: BTreeMap<&str, &str> = BTreeMap::new();
        for file in setup.loaded.policies.files.iter() {
            files.insert(&file.name, &file.text);
        }
        let policies = &setup.loaded.config.gateway.policies;
        for Change { opened, new, .. } in &self.0 {
            let within = opened.path().parent() == Some(policies.as_path());
            if within && opened.path() != servers_toml {
                files.insert(opened.path().file_name().and_then(OsStr::to_str).unwrap_or_default(), new);
            }
        }
        let file = |(name, text): (&str, &str)| SourceFile { name: name.to_owned(), text: text.to_owned() };
        files.into_iter().map(file).collect()
    }

    /// Writes all of them; where one cannot be written, those before it are as they were.
    pub(in crate::cli) fn write(&self) -> Result<(), CliError> {
        for (place, change) in self.0.iter().enumerate() {
            let Change { opened, new, readers } = change;
            if opened.is_there() && opened.text() == new {
                continue;
            }
            let Err(error) = opened.replace_for(*readers, new) else { continue };
            let left: Vec<PathBuf> =
                self.0.iter().take(place).filter_map(|before| before.back().err()).collect();
            return Err(match left.as_slice() {
                [] => error,
                left => CliError::Told(format!(
                    "{error}\nThe change stays in {}, which could not be put back: look at it",
                    left.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
                )),
            });
        }
        Ok(())
    }
}

impl Change {
    /// As it was, if it is still what was written. The error is its path.
    fn back(&self) -> Result<(), PathBuf> {
        let path = || self.opened.path().to_owned();
        let now = Opened::read(&path()).map_err(|_| path())?;
        let done = match self.opened.is_there() {
            _ if now.text() != self.new => return Err(path()),
            true => now.replace(self.opened.text()),
            false => now.remove(),
        };
        done.map_err(|_| path())
    }
}

/// A servers.toml beside the real one, for its owner alone.
fn staged(folder: &Path, text: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".tollgate-trial-").suffix(".toml").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn where_one_cannot_be_written_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("c"), "c").unwrap();
        let mut changes = Changes::default();
        for name in ["a", "b", "c"] {
            changes.push(Opened::read(&at(name)).unwrap(), format!("new {name}"));
        }
        // Somebody else is faster.
        fs::write(at("c"), "theirs").unwrap();
        assert!(matches!(changes.write().unwrap_err(), CliError::Changed(_)));
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "a");
        assert!(!at("b").exists());
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "theirs");
    }
}
