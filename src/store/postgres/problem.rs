//! What stops the database, in words that name it.

use crate::store::StoreError;
use std::sync::Arc;
use tokio_postgres::error::SqlState;

/// It does not answer.
pub(super) const NO_ANSWER: &str = "it does not answer in time";

/// Says of which database a problem is.
#[derive(Clone, Debug)]
pub(super) struct Problem(pub(super) Arc<str>);

impl Problem {
    /// In the store's terms.
    pub(super) fn of(&self, error: &tokio_postgres::Error) -> StoreError {
        match error.code() {
            Some(code) if *code == SqlState::DISK_FULL => StoreError::Full,
            Some(_) | None => self.says(&Self::words(error)),
        }
    }

    /// In words, without saying of which database it is.
    pub(super) fn words(error: &tokio_postgres::Error) -> String {
        let Some(told) = error.as_db_error() else { return with_causes(error) };
        match told.code() {
            code if *code == SqlState::LOCK_NOT_AVAILABLE => {
                "another replica holds what this one needs, the end of the record most likely, and has not let go of it in time: it may be waiting for a standby".to_owned()
            }
            code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => "it is read-only".to_owned(),
            _ => told.message().to_owned(),
        }
    }

    /// A sentence about it.
    pub(super) fn says(&self, what: &str) -> StoreError {
        StoreError::Failed(format!("PostgreSQL at {}: {what}", self.0))
    }

    /// What it said is there may be gone with the server.
    pub(super) fn unconfirmed(&self) -> StoreError {
        self.says("it has warned that what it confirmed may be lost: a standby was not waited for")
    }

    /// It does not answer.
    pub(super) fn no_answer(&self) -> StoreError {
        self.says(NO_ANSWER)
    }
}

/// An error with what is behind it: its own words say only what was being done.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    words
}
