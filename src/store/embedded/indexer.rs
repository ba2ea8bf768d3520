//! Indexes of sealed segments, made beside the writer: whoever looks for something finds them there.

use crate::journal;
use std::{path::PathBuf, sync::mpsc};

/// The thread's whole life: it ends with the writer.
pub(super) fn run(sealed: &mpsc::Receiver<PathBuf>) {
    while let Ok(segment) = sealed.recv() {
        if let Err(error) = journal::make_index(&segment) {
            tracing::warn!(segment = %segment.display(), %error, "store.index_not_made: the next query makes it");
        }
    }
}
