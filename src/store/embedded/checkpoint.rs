//! Moves what is committed from the WAL into the database file beside the writer, so that no caller waits for the
//! disk's flush. Where it falls behind, the writer's own checkpoint bounds the WAL.

use super::schema;
use std::{path::Path, sync::mpsc};

/// Bytes of records between two checkpoints: a page that is written often is moved once.
pub(super) const EVERY: usize = 4 << 20;

/// WAL pages at which the writer itself does the rest (64 MiB); most of it is moved by then.
pub(super) const WRITER_PAGES: u32 = 16_000;

/// The thread's whole life: it ends with the writer.
pub(super) fn run(path: &Path, wanted: &mpsc::Receiver<()>) {
    let connection = match schema::open_checkpointer(path) {
        Ok(connection) => connection,
        // The writer's own checkpoint does it all then.
        Err(error) => return tracing::error!(%error, "store.checkpoint_failed"),
    };
    while wanted.recv().is_ok() {
        let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(1));
        if let Err(error) = moved {
            tracing::warn!(%error, "store.checkpoint_failed");
        }
    }
}
