//! What this process knows of the pins, and how they are written.

use super::InForce;
use crate::{
    evidence::PinContext,
    model::EventDraft,
    pinning::{Book, Told, Write, Writes},
    store::{Register, RegisterChange, RegisterEntry, Store, StoreError},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// What this process knows of the pins.
pub(super) struct Pins {
    known: Mutex<Known>,
    /// Held while they are read: what was read first must not be taken in last.
    reading: tokio::sync::Mutex<()>,
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
        Self {
            known: Mutex::default(),
            reading: tokio::sync::Mutex::new(()),
            turn: tokio::sync::Mutex::new(()),
            poked: Notify::new(),
        }
    }

    /// What is pinned, as it was read last.
    pub(super) fn book(&self) -> Arc<Book> {
        self.known.lock().book.clone()
    }

    /// Reads what is pinned. Whether it is something else than before.
    pub(super) async fn read(&self, store: &dyn Store) -> Result<bool, StoreError> {
        self.read_by(store.register(Register::Pin)).await
    }

    async fn read_by(
        &self,
        entries: impl Future<Output = Result<Vec<RegisterEntry>, StoreError>>,
    ) -> Result<bool, StoreError> {
        let _reading = self.reading.lock().await;
        Ok(self.take_in(&entries.await?))
    }

    /// Has lists held against the pins.
    pub(super) fn poke(&self) {
        self.poked.notify_one();
    }

    /// Takes in what the register holds. Whether that is something else than before.
    fn take_in(&self, entries: &[RegisterEntry]) -> bool {
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

/// Whether it was written: false where an entry is not as it was read.
pub(super) async fn write(
    store: &dyn Store,
    context: PinContext<'_>,
    writes: Writes,
) -> Result<bool, StoreError> {
    let mut events: Vec<EventDraft> = Vec::new();
    for told in &writes.told {
        match told {
            Told::Pinned { upstream, kind, items, first_use } => {
                tracing::info!(%upstream, %kind, items = items.len(), first_use, "pins.pinned");
                events.push(context.pinned((upstream, *kind), items, *first_use, None));
            }
            Told::Held { record, asks } => {
                let why = record.held.as_ref().map(|held| held.why.as_str());
                let (upstream, tool) = (&record.upstream, &record.exposed);
                tracing::warn!(%upstream, kind = %record.kind, tool, why, asks, "pins.held");
                events.extend(context.held(record, *asks));
            }
            Told::Found { item, fingerprint, findings } => {
                tracing::warn!(upstream = %item.0, kind = %item.1, tool = item.3, "pins.found");
                events.push(context.found(item, fingerprint, findings));
            }
        }
    }
    let changes = writes.entries.into_iter().map(|Write { key, expected, value }| RegisterChange {
        register: Register::Pin,
        key,
        expected: Some(expected),
        value,
    });
    store.set(changes.collect(), events).await
}

/// What the records of pins tell beside them.
pub(super) fn context(in_force: &InForce, now: Timestamp) -> PinContext<'_> {
    PinContext {
        snapshot: Some(&in_force.policies.snapshot),
        environment: &in_force.policies.environment,
        now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    /// Two that read at the same time leave what was read last.
    #[tokio::test]
    async fn what_was_read_first_is_not_taken_in_last() {
        let entry = |version| RegisterEntry { key: "k".into(), version, value: Arc::default() };
        let (pins, (answer, answered)) = (Pins::new(), tokio::sync::oneshot::channel());
        let mut first = pin!(pins.read_by(async { Ok(answered.await.unwrap()) }));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = pin!(pins.read_by(async { Ok(vec![entry(2)]) }));
        assert!(futures::poll!(&mut second).is_pending());
        answer.send(vec![entry(1)]).unwrap();
        assert!(first.await.unwrap());
        assert!(second.await.unwrap());
        assert_eq!(pins.known.lock().versions, [("k".into(), 2)]);
    }
}
