//! Why a command failed, in words that say what to do.

use crate::{
    activation::OrderError, approval::DecideError, model::Problems, policy::Role, store::StoreError,
};
use std::{io, path::PathBuf};

/// Why a command failed. Every one is exit code 1, but a reader that has gone away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// servers.toml or the bundle is wrong.
    #[error("{rendered}\n`{}` cannot be used: correct what is listed above; `tollgate check` looks again", .path.display())]
    Files {
        /// The servers.toml.
        path: PathBuf,
        /// All that is wrong, for people.
        rendered: String,
        /// The same, for machines.
        problems: Problems,
    },
    /// TOLLGATE_KEY is nobody's.
    #[error(
        "TOLLGATE_KEY is not the key of a person in authority.yaml: correct it, or unset it to read as the local admin"
    )]
    WrongKey,
    /// TOLLGATE_KEY was somebody's.
    #[error(
        "the key in TOLLGATE_KEY has expired: `tollgate people rotate NAME` makes another one, or unset it to read as the local admin"
    )]
    ExpiredKey,
    /// TOLLGATE_KEY is not usable text.
    #[error("TOLLGATE_KEY is empty or not text: set it to a person's key, or unset it")]
    UnreadableKey,
    /// TOLLGATE_KEY is missing where a person must act.
    #[error("this needs a person: set TOLLGATE_KEY to the key of somebody who may decide this approval")]
    KeyNeeded,
    /// TOLLGATE_KEY is missing where an admin must act.
    #[error("this needs a person: set TOLLGATE_KEY to the key of somebody with the role `admin`")]
    AdminNeeded,
    /// What is in force was not changed.
    #[error("{0}")]
    Order(#[from] OrderError),
    /// The person may not do this.
    #[error("`{person}` may not do this: it takes the role {}", Role::any_of(.needs))]
    NotEntitled {
        /// Who.
        person: String,
        /// One of these roles it takes.
        needs: &'static [Role],
    },
    /// There is no store yet.
    #[error(
        "there is no store at `{}`: `tollgate serve` makes it; if yours is elsewhere, say --config FILE",
        .0.display()
    )]
    NoStore(PathBuf),
    /// The store did not do it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The approval was not decided.
    #[error("{0}")]
    Decide(#[from] DecideError),
    /// A name that is not there.
    #[error("there is no {kind} `{name}`: {hint}")]
    Unknown {
        /// What kind of thing.
        kind: &'static str,
        /// The name given.
        name: String,
        /// What there is, or where to look.
        hint: String,
    },
    /// The audit chain is broken.
    #[error("the chain is broken at seq {seq}: {problem}")]
    Chain {
        /// The first bad record.
        seq: i64,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not any more what was read of it.
    #[error("`{}` was changed by somebody else in this moment, so nothing was written: do this again", .0.display())]
    Changed(PathBuf),
    /// Something could not be read, written or opened.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and what to do.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// Anything else, said in full.
    #[error("{0}")]
    Told(String),
}

impl CliError {
    /// Standard output's reader has gone (`| head`): nothing to complain about.
    pub(crate) fn reader_gone(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
