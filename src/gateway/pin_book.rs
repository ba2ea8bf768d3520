//! What this process knows of the pins.

use crate::{
    pinning::Book,
    store::{Register, RegisterEntry, Store, StoreError},
};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// What this process knows of the pins.
pub(super) struct Pins {
    known: Mutex<Known>,
    /// Lists are held against pins by one at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Lists are to be held against the pins, whatever has changed.
    pub(super) poked: Notify,
}

#[derive(Default)]
struct Known {
    book: Arc<Book>,
    /// The entries that it was read from, by key and version.
    versions: Vec<(Arc<str>, u64)>,
}

impl Pins {
    pub(super) fn new() -> Self {
        Self { known: Mutex::default(), turn: tokio::sync::Mutex::new(()), poked: Notify::new() }
    }

    /// What is pinned, as it was read last.
    pub(super) fn book(&self) -> Arc<Book> {
        self.known.lock().book.clone()
    }

    /// Reads what is pinned. Whether it is something else than before.
    pub(super) async fn read(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let entries = store.register(Register::Pin).await?;
        Ok(self.take_in(&entries))
    }

    /// Has lists held against the pins.
    pub(super) fn poke(&self) {
        self.poked.notify_one();
    }

    /// Takes in what the register holds. Whether that is something else than before.
    pub(super) fn take_in(&self, entries: &[RegisterEntry]) -> bool {
        let versions: Vec<(Arc<str>, u64)> =
            entries.iter().map(|entry| (entry.key.clone(), entry.version)).collect();
        let mut known = self.known.lock();
        if known.versions == versions {
            return false;
        }
        let entries = entries.iter().map(|entry| (&*entry.key, entry.version, &*entry.value));
        *known = Known { book: Arc::new(Book::read(entries)), versions };
        true
    }
}
