//! One file that is edited: read, changed as a text, and put back in one step.

use crate::cli::failure::CliError;
use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// The largest file that is edited.
const MOST_BYTES: u64 = 16 << 20;
/// So many copies are kept beside a file.
const MOST_COPIES: u32 = 1_000;

/// A file as it was when it was read; or none yet.
#[derive(Debug)]
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
        let size = fs::metadata(&target).map_err(told)?.len();
        if size > MOST_BYTES {
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
        self.unchanged()?;
        let old = fs::metadata(&self.target).ok();
        self.put(&self.target, new, old.as_ref())
    }

    /// Removes it.
    pub(in crate::cli) fn remove(&self) -> Result<(), CliError> {
        self.unchanged()?;
        fs::remove_file(&self.target).map_err(self.failed(&self.target))
    }

    /// Keeps what it holds beside it, as readable as it is itself. An empty copy says that there was no file.
    pub(in crate::cli) fn copy(&self) -> Result<PathBuf, CliError> {
        let copies = Copies::of(&self.target);
        let path = copies.next()?;
        let old = fs::metadata(&self.target).ok();
        self.put(&path, self.text(), old.as_ref()).map(|()| path)
    }

    fn unchanged(&self) -> Result<(), CliError> {
        let now = match fs::read_to_string(&self.target) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.failed(&self.target)(error)),
        };
        match now == self.text {
            true => Ok(()),
            false => Err(CliError::Told(format!(
                "`{}` was changed by somebody else in this moment, so nothing was written: do this again",
                self.shown.display()
            ))),
        }
    }

    fn put(&self, path: &Path, text: &str, like: Option<&Metadata>) -> Result<(), CliError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let failed = self.failed(path);
        let written = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut new = builder().tempfile_in(folder)?;
            new.write_all(text.as_bytes())?;
            if let Some(like) = like {
                as_before(new.as_file(), new.path(), like)?;
            }
            new.as_file().sync_all()?;
            new.persist(path).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        };
        written().map_err(failed)
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> CliError + use<> {
        let what = format!("cannot write `{}`", path.display());
        move |source| CliError::Io { what: what.clone(), source }
    }
}

/// What a new file may be read by, the process's mask says.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tollgate-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
}

/// The rights and the owner of the file that it replaces.
fn as_before(file: &File, path: &Path, like: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (like.uid(), like.gid()) {
            chown(path, Some(like.uid()), Some(like.gid()))?;
        }
    }
    file.set_permissions(like.permissions())
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

/// What differs, as `diff -u` says it; empty where nothing does.
pub(in crate::cli) fn difference(name: &str, before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .header(&format!("{name} (as it is)"), &format!("{name} (as it would be)"))
        .to_string()
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
        let copy = opened.copy().unwrap();
        opened.replace("two").unwrap();
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
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        let next = Opened::read(&link).unwrap();
        assert_eq!(next.copy().unwrap(), Copies::of(&link).newest().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_file_is_made_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/new.json");
        let opened = Opened::read(&path).unwrap();
        assert!(!opened.is_there() && opened.text().is_empty());
        opened.replace("{}").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        Opened::read(&path).unwrap().remove().unwrap();
        assert!(!path.exists());
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(Opened::read(&path).is_err(), "a link to nothing is not written through");
    }

    #[test]
    fn a_difference_is_told_as_diff_does() {
        let told = difference("x", "a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(told, "--- x (as it is)\n+++ x (as it would be)\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(difference("x", "a\n", "a\n"), "");
    }
}
