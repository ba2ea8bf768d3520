//! Indexes of sealed segments, made beside the writer: whoever looks for something finds them there.

use super::EmbeddedStore;
use crate::{journal, store::StoreError};
use std::{path::PathBuf, sync::mpsc};

impl EmbeddedStore {
    /// Seals segments after so few records, so that a test has several of them.
    #[doc(hidden)]
    pub async fn seal_after(&self, records: u32) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.seal_after(records);
            Ok(())
        })
        .await
    }
}

/// The thread's whole life: it ends with the writer.
pub(super) fn run(sealed: &mpsc::Receiver<PathBuf>) {
    while let Ok(segment) = sealed.recv() {
        if let Err(error) = journal::make_index(&segment) {
            tracing::warn!(segment = %segment.display(), %error, "store.index_not_made: the next query makes it");
        }
    }
}
