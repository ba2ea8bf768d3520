//! What goes out to places that servers.toml names, beside calls: one task for each place, one process of a store at a time, and what
//! does not arrive is told.

use super::Gateway;
use crate::{
    config::Config,
    store::{Duty, StoreError},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether another process has left its turn.
const LOOK: Duration = Duration::from_millis(500);

/// What is in the way of something that should arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The store does not answer.
    Store,
    /// Where it should arrive does not take it.
    Place,
    /// The same, of alerts, which another process may send than whoever sends the rest.
    Alerts,
}

/// What does not arrive, by where it should and what is in the way.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<(String, Cause), String>>);

impl Troubles {
    /// Why, in sentences.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences: Vec<String> = self.0.lock().values().cloned().collect();
        sentences.dedup();
        sentences
    }

    /// Something does not arrive; whether that is new.
    pub(super) fn begins(&self, place: &str, cause: Cause, sentence: String) -> bool {
        self.0.lock().insert((place.to_owned(), cause), sentence).is_none()
    }

    /// Nothing of these is in the way; whether something was.
    pub(super) fn ends(&self, place: &str, causes: &[Cause]) -> bool {
        let mut all = self.0.lock();
        causes.iter().filter(|cause| all.remove(&(place.to_owned(), **cause)).is_some()).count() > 0
    }

    /// Nothing of this kind is this process's business any more, wherever.
    pub(super) fn end_all(&self, cause: Cause) {
        self.0.lock().retain(|(_, other), _| *other != cause);
    }

    fn forget(&self, kind: &str) {
        self.0.lock().retain(|(place, _), _| !place.starts_with(kind));
    }
}

impl Gateway {
    /// Runs a task for each place for as long as the gateway runs, and begins again where servers.toml names others. `kind` is what the
    /// names of their troubles begin with.
    pub(super) async fn for_each_outlet<T, W>(
        self,
        kind: &'static str,
        outlets: fn(&Config) -> &[Arc<T>],
        run: impl Fn(Self, Arc<T>) -> W + Send,
    ) where
        T: Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let mut generations = self.generations();
        loop {
            generations.borrow_and_update();
            let places = outlets(&self.in_force().config).to_vec();
            let end = CancellationToken::new();
            for place in &places {
                let (work, end) = (run(self.clone(), place.clone()), end.clone());
                self.spawn_until_stop(async move {
                    tokio::select! {
                        () = end.cancelled() => {}
                        () = work => {}
                    }
                });
            }
            let same = |other: &[Arc<T>]| {
                other.len() == places.len() && other.iter().zip(&places).all(|(a, b)| Arc::ptr_eq(a, b))
            };
            while same(outlets(&self.in_force().config)) {
                if generations.changed().await.is_err() {
                    return;
                }
            }
            end.cancel();
            self.0.troubles.forget(kind);
        }
    }

    /// Waits for its turn at something: until no other process on the store has it. What kept it from knowing is over once it is told
    /// whose turn it is.
    pub(super) async fn turn(
        &self,
        (what, place): (&str, &str),
        failed: impl Fn(&StoreError),
    ) -> Box<dyn Duty> {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let duty = self.0.store.duty(what).await;
            if duty.is_ok() {
                self.0.troubles.ends(place, &[Cause::Store]);
            }
            match duty {
                Ok(Some(duty)) => return duty,
                Ok(None) => {}
                Err(error) => failed(&error),
            }
        }
    }
}
