//! What the projection takes at once, with the frame that says it.

use super::{book, grants, kept};
use crate::{
    journal::Place,
    store::{ApprovalRecord, StandingGrant, StoreError},
};
use rusqlite::Connection;

/// What the projection takes at once.
#[derive(Clone, Debug)]
pub(super) enum Row {
    /// How an approval stands, and the record that says so.
    Approval { record: Box<ApprovalRecord>, whole: bool, seq: i64, place: Place },
    /// How a standing grant stands, and the record that says so.
    Grant { grant: Box<StandingGrant>, whole: bool, seq: i64, place: Place },
    /// Segments before this one are removed.
    Retired { stays: i64 },
    /// Something that records refer to.
    Kept { kind: String, name: String, hash: String, body: String },
}

impl Row {
    /// Whether somebody may wait for it.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Approval { .. } | Self::Grant { whole: true, .. })
    }

    /// Writes it, in the projection's open transaction.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Approval { record, whole, seq, place } => {
                book::write(connection, record, *whole, *seq, *place)
            }
            Self::Grant { grant, whole, seq, place } => {
                grants::write(connection, grant, *whole, *seq, *place)
            }
            Self::Retired { stays } => {
                book::forget(connection, *stays).and_then(|()| grants::forget(connection, *stays))
            }
            Self::Kept { kind, name, hash, body } => kept::write(connection, kind, name, hash, body),
        }
    }
}
