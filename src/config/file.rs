//! A file of the configuration: where it is, and its text, of bounded size.

use crate::{
    model::{Place, Problem, Severity},
    policy::source::MAX_FILE_BYTES,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Relative paths start at servers.toml's folder.
pub(super) fn resolve(config: &Path, path: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(path)
}

/// Why a file has no text, and the line and column where that shows.
pub(super) struct Unreadable {
    pub(super) why: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<String> for Unreadable {
    fn from(why: String) -> Self {
        Self { why, line: 0, column: 0 }
    }
}

impl Unreadable {
    pub(super) fn problem(self, file: &str, expected: &str) -> Problem {
        let mut problem = whole_file(file, self.why, expected);
        (problem.place.line, problem.place.column) = (self.line, self.column);
        problem
    }
}

/// A file's text, of bounded size.
pub(super) fn read_file(path: &Path) -> Result<String, Unreadable> {
    let shown = path.display();
    let why = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("`{shown}` cannot be read: it is not there"),
        kind => format!("`{shown}` cannot be read: {kind}"),
    };
    let file = std::fs::File::open(path).map_err(why)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!("`{shown}` has more than {MAX_FILE_BYTES} bytes").into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        let (before, line) = good.rsplit_once('\n').unwrap_or(("", &good));
        let lines = if good.contains('\n') { before.split('\n').count() } else { 0 };
        Unreadable {
            why: format!("`{shown}` is not UTF-8"),
            line: lines + 1,
            column: line.chars().count() + 1,
        }
    })
}

/// A problem of a file as a whole.
pub(super) fn whole_file(file: &str, message: impl Into<String>, expected: &str) -> Problem {
    Problem {
        place: Place { file: file.to_owned(), line: 0, column: 0 },
        severity: Severity::Error,
        message: message.into(),
        expected: expected.to_owned(),
        strict: false,
    }
}
