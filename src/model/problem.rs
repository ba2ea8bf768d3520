//! What is wrong in a file an admin wrote: with its place, the offending text and what was expected.

use serde::{Serialize, Serializer};
use std::fmt;

/// Where in a file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file as the admin knows it.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant, which is told as 1.
    #[serde(serialize_with = "from_one")]
    pub line: usize,
    /// The column in characters, from 1; 0 where the whole file is meant, which is told as 1.
    #[serde(serialize_with = "from_one")]
    pub column: usize,
}

fn from_one<S: Serializer>(value: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    value.max(&1).serialize(serializer)
}

/// As editors read it: where the whole file is meant, its first character.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line.max(1), self.column.max(1))
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The files cannot be used.
    Error,
    /// The files can be used; somebody should look.
    Lint,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in the admin's words, with the offending text in backticks. Never a secret.
    pub message: String,
    /// What would have been right.
    pub expected: String,
    /// A lint that `check --strict` takes for an error: what is meant by the file does not apply.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Lint => "lint",
        };
        write!(f, "{}: {kind}: {}", self.place, self.message)?;
        if !self.expected.is_empty() {
            write!(f, " (expected {})", self.expected)?;
        }
        Ok(())
    }
}

/// All that is wrong, together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether any of them forbids using the files.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|p| p.severity == Severity::Error)
    }

    /// Those that forbid it.
    pub fn errors(mut self) -> Self {
        self.0.retain(|problem| problem.severity == Severity::Error);
        self
    }

    /// In the order of files and lines, each once.
    pub fn sort(&mut self) {
        self.0.sort();
        self.0.dedup();
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
