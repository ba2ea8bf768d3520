//! One file that is edited: read, changed as a text, and put back in one step.

use crate::cli::failure::CliError;
use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// The largest file of a client or of ours that is read and edited: Claude Code keeps histories in its own.
pub(in crate::cli) const MOST_BYTES: u64 = 64 << 20;
/// So many copies are kept beside a file.
const MOST_COPIES: u32 = 1_000;
/// So often is looked whether another edit in the same folder is over, which takes no longer than a write, and so far apart.
const TURNS: u32 = 500;
const TURN: Duration = Duration::from_millis(10);
/// So often an edit is done once more.
const MOST_TRIES: u32 = 100;

/// A file as it was when it was read; or none yet.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Opened {
    /// As it was named.
    shown: PathBuf,
    /// Where it lies, links followed.
    target: PathBuf,
    /// What it holds; none where it is not there.
    text: Option<String>,
}

impl Opened {
    /// Reads it. One that is not there can be made.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, CliError> {
        let told = |source| CliError::Io { what: format!("cannot read `{}`", path.display()), source };
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                return Ok(Self { shown: path.to_owned(), target: path.to_owned(), text: None });
            }
            Err(error) => return Err(told(error)),
        };
        let about = fs::metadata(&target).map_err(told)?;
        // What waits for somebody to write into it would be waited for.
        if !about.is_file() {
            return Err(CliError::Told(format!(
                "`{}` is no file: move it away, or name another place",
                path.display()
            )));
        }
        if about.len() > MOST_BYTES {
            return Err(CliError::Told(format!(
                "`{}` is larger than {MOST_BYTES} bytes: it is not edited here",
                path.display()
            )));
        }
        let text = fs::read_to_string(&target).map_err(told)?;
        Ok(Self { shown: path.to_owned(), target, text: Some(text) })
    }

    /// Where it lies, as it was named.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.shown
    }

    /// What it holds.
    pub(in crate::cli) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Whether it was there.
    pub(in crate::cli) fn is_there(&self) -> bool {
        self.text.is_some()
    }

    /// Puts this text in its place, in one step: whoever reads it finds the old or the new. Its rights, its owner and a link to
    /// it stay. What somebody else wrote meanwhile is not lost.
    pub(in crate::cli) fn replace(&self, new: &str) -> Result<(), CliError> {
        self.replace_for(Readers::AsBefore, new)
    }

    /// The same, and who may read it from now on.
    pub(in crate::cli) fn replace_for(&self, readers: Readers, new: &str) -> Result<(), CliError> {
        let _turn = self.turn()?;
        self.unchanged()?;
        self.put(&self.target, new, readers, self.is_there())
    }

    /// The same, and what it held is kept beside it, as readable as it was itself. An empty copy says that there was no file.
    pub(in crate::cli) fn replace_and_keep(&self, readers: Readers, new: &str) -> Result<PathBuf, CliError> {
        let _turn = self.turn()?;
        self.unchanged()?;
        let copy = Copies::of(&self.target).next()?;
        self.put(&copy, self.text(), Readers::AsBefore, false)?;
        match self.put(&self.target, new, readers, self.is_there()) {
            Ok(()) => Ok(copy),
            Err(error) => {
                // It is of nothing that was done.
                fs::remove_file(&copy).ok();
                Err(error)
            }
        }
    }

    /// Removes it.
    pub(in crate::cli) fn remove(&self) -> Result<(), CliError> {
        let _turn = self.turn()?;
        self.unchanged()?;
        fs::remove_file(&self.target).map_err(self.failed(&self.target))
    }

    /// What it would be read by now, in octal; none where it is not there.
    pub(in crate::cli) fn mode(&self) -> Option<u32> {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(&self.target).ok().map(|about| about.permissions().mode() & 0o777)
    }

    /// Whoever writes files of this folder here waits for whoever does: between the look and the rename nobody else comes.
    fn turn(&self) -> Result<Option<File>, CliError> {
        let folder = folder_of(&self.target);
        let failed = self.failed(&self.target);
        fs::create_dir_all(folder).map_err(&failed)?;
        let folder = File::open(folder).map_err(&failed)?;
        for _ in 0..TURNS {
            match folder.try_lock() {
                Ok(()) => return Ok(Some(folder)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN),
                // Some file systems lock no folders; what is there is compared all the same.
                Err(TryLockError::Error(_)) => return Ok(None),
            }
        }
        let held = "another program holds a lock on its folder";
        Err(failed(io::Error::new(ErrorKind::WouldBlock, held)))
    }

    fn unchanged(&self) -> Result<(), CliError> {
        let now = match fs::read_to_string(&self.target) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.failed(&self.target)(error)),
        };
        match now == self.text {
            true => Ok(()),
            false => Err(CliError::Changed(self.shown.clone())),
        }
    }

    /// The text in a file of its own, then in its place. Nobody reads of it who may not read the whole.
    fn put(&self, path: &Path, text: &str, readers: Readers, replaces: bool) -> Result<(), CliError> {
        let folder = folder_of(path);
        let written = || -> io::Result<()> {
            let like = fs::metadata(&self.target).ok();
            let mut new = begun(folder, like.as_ref(), readers)?;
            new.write_all(text.as_bytes())?;
            if like.is_none() && readers == Readers::AsBefore {
                new.as_file().set_permissions(usual(folder)?)?;
            }
            new.as_file().sync_all()?;
            match replaces {
                true => new.persist(path).map_err(|error| error.error)?,
                false => new.persist_noclobber(path).map_err(|error| error.error)?,
            };
            File::open(folder)?.sync_all()
        };
        written().map_err(self.failed(path))
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> CliError + use<> {
        let what = format!("cannot write `{}`", path.display());
        move |source| CliError::Io { what: what.clone(), source }
    }
}

/// Who may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Readers {
    /// Whoever could before; a new file, whoever the process's mask lets.
    AsBefore,
    /// Its owner and its group as before, and nobody else; a new file, its owner.
    NotOthers,
    /// Its owner.
    Owner,
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty file beside the one that it is to replace, with its owner and no more rights than it is to have: those of the file,
/// or its owner's alone.
fn begun(folder: &Path, like: Option<&Metadata>, readers: Readers) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
    let new = tempfile::Builder::new()
        .prefix(".tollgate-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    let Some(like) = like else { return Ok(new) };
    let own = new.as_file().metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        let (owner, group) = (like.uid(), like.gid());
        fchown(new.as_file(), Some(owner), Some(group)).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => io::Error::new(
                ErrorKind::PermissionDenied,
                format!(
                    "the file there is of user {owner} and group {group}, and whoever runs this may make none like it: run it as that \
                     user, in that group, or give the file to yourself first (`chown`)"
                ),
            ),
            _ => error,
        })?;
    }
    let kept = match readers {
        Readers::AsBefore => 0o7777,
        Readers::NotOthers => 0o7770,
        Readers::Owner => 0o7700,
    };
    new.as_file().set_permissions(fs::Permissions::from_mode(like.mode() & kept))?;
    Ok(new)
}

/// The rights that a new file has here: a mask of the process says so, and the folder may.
fn usual(folder: &Path) -> io::Result<fs::Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    let empty = tempfile::Builder::new()
        .prefix(".tollgate-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    Ok(empty.as_file().metadata()?.permissions())
}

/// Does an edit once more where somebody else was faster; what it is made of is read anew each time.
pub(in crate::cli) fn retried<T>(mut edit: impl FnMut() -> Result<T, CliError>) -> Result<T, CliError> {
    for _ in 0..MOST_TRIES {
        match edit() {
            Err(CliError::Changed(_)) => {}
            done => return done,
        }
    }
    edit()
}

/// The copies that are kept beside a file: `NAME.before-tollgate-1` and so on.
#[derive(Debug)]
pub(in crate::cli) struct Copies(PathBuf);

impl Copies {
    /// Those of a file, links followed.
    pub(in crate::cli) fn of(path: &Path) -> Self {
        Self(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.0.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".before-tollgate-{number}"));
        self.0.with_file_name(name)
    }

    /// The newest.
    pub(in crate::cli) fn newest(&self) -> Option<PathBuf> {
        let there = (1..=MOST_COPIES).map(|number| self.numbered(number));
        there.take_while(|path| path.exists()).last()
    }

    fn next(&self) -> Result<PathBuf, CliError> {
        let free = (1..=MOST_COPIES).map(|number| self.numbered(number)).find(|path| !path.exists());
        free.ok_or_else(|| {
            CliError::Told(format!(
                "{MOST_COPIES} copies lie beside `{}` (.before-tollgate-N): remove those that you need no more",
                self.0.display()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_links_and_what_others_write_stay() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real.json"), folder.path().join("link.json"));
        fs::write(&file, "one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        let opened = Opened::read(&link).unwrap();
        let copy = opened.replace_and_keep(Readers::AsBefore, "two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(copy, fs::canonicalize(folder.path()).unwrap().join("real.json.before-tollgate-1"));
        for path in [&file, &copy] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert_eq!(fs::read_to_string(&copy).unwrap(), "one");
        // What was read is not what is there any more.
        let told = opened.replace("three").unwrap_err().to_string();
        assert!(told.contains("changed by somebody else"), "{told}");
        assert!(opened.replace_and_keep(Readers::AsBefore, "three").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no copy of what was not done");
        let next = Opened::read(&link).unwrap();
        let copy = next.replace_and_keep(Readers::AsBefore, "three").unwrap();
        assert_eq!(copy, Copies::of(&link).newest().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    /// While it is written, a file may be read by nobody who may not read it afterwards.
    #[test]
    fn what_is_being_written_is_not_open_to_more() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mode = |file: &File| file.metadata().unwrap().permissions().mode() & 0o777;
        let file = folder.path().join("x");
        for readers in [Readers::AsBefore, Readers::NotOthers, Readers::Owner] {
            assert_eq!(mode(begun(folder.path(), None, readers).unwrap().as_file()), 0o600);
        }
        for (was, readers, is) in [
            (0o600, Readers::AsBefore, 0o600),
            (0o664, Readers::AsBefore, 0o664),
            (0o664, Readers::NotOthers, 0o660),
            (0o664, Readers::Owner, 0o600),
        ] {
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(was)).unwrap();
            let new = begun(folder.path(), Some(&fs::metadata(&file).unwrap()), readers).unwrap();
            assert_eq!(mode(new.as_file()), is, "{was:o} {readers:?}");
            drop(new);
            Opened::read(&file).unwrap().replace_for(readers, "secret").unwrap();
            assert_eq!(mode(&File::open(&file).unwrap()), is, "{was:o} {readers:?}");
        }
        for readers in [Readers::NotOthers, Readers::Owner] {
            fs::remove_file(&file).unwrap();
            Opened::read(&file).unwrap().replace_for(readers, "secret").unwrap();
            assert_eq!(mode(&File::open(&file).unwrap()), 0o600, "{readers:?}");
        }
    }

    /// Whatever is added at the same time is there in the end.
    #[test]
    fn edits_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        let add = |line: String| {
            retried(|| {
                let opened = Opened::read(&file)?;
                opened.replace(&format!("{}{line}\n", opened.text()))
            })
        };
        let add = &add;
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || (0..20).for_each(|n| add(format!("{thread} {n}")).unwrap()));
            }
        });
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().collect::<std::collections::BTreeSet<_>>().len(), 160, "{text}");
    }

    #[test]
    fn a_file_is_made_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/new.json");
        let opened = Opened::read(&path).unwrap();
        assert!(!opened.is_there() && opened.text().is_empty());
        opened.replace("{}").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        assert!(opened.replace("[]").is_err(), "somebody else made it meanwhile");
        Opened::read(&path).unwrap().remove().unwrap();
        assert!(!path.exists());
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(Opened::read(&path).is_err(), "a link to nothing is not written through");
    }
}
