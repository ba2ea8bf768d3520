//! What stops the database, in words that name it.

use crate::store::StoreError;
use std::sync::Arc;
use tokio_postgres::error::SqlState;

/// Says of which database a problem is.
#[derive(Clone, Debug)]
pub(super) struct Problem(pub(super) Arc<str>);

impl Problem {
    /// In the store's terms.
    pub(super) fn of(&self, error: &tokio_postgres::Error) -> StoreError {
        let Some(told) = error.as_db_error() else {
            return self.says(&with_causes(error));
        };
        match told.code() {
            code if *code == SqlState::DISK_FULL => StoreError::Full,
            code if *code == SqlState::LOCK_NOT_AVAILABLE => self.says(
                "another replica holds what this one needs, the end of the record most likely, and has not let go of it in time: it may be waiting for a standby",
            ),
            code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => self.says("it is read-only"),
            _ => self.says(told.message()),
        }
    }

    /// A sentence about it.
    pub(super) fn says(&self, what: &str) -> StoreError {
        StoreError::Failed(format!("PostgreSQL at {}: {what}", self.0))
    }

    /// It does not answer.
    pub(super) fn no_answer(&self) -> StoreError {
        self.says("it does not answer in time")
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
