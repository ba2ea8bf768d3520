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

/// What does not arrive, by where it should.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<String, String>>);

impl Troubles {
    /// Why, in sentences.
    pub(super) fn sentences(&self) -> Vec<String> {
        self.0.lock().values().cloned().collect()
    }

    /// Something does not arrive; whether that is new.
    pub(super) fn begins(&self, place: &str, sentence: String) -> bool {
        self.0.lock().insert(place.to_owned(), sentence).is_none()
    }

    /// It arrives; whether it did not.
    pub(super) fn ends(&self, place: &str) -> bool {
        self.0.lock().remove(place).is_some()
    }

    fn forget(&self, kind: &str) {
        self.0.lock().retain(|place, _| !place.starts_with(kind));
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

    /// Waits for its turn at something: until no other process on the store has it.
    pub(super) async fn turn(&self, what: &str, failed: impl Fn(&StoreError)) -> Box<dyn Duty> {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.0.store.duty(what).await {
                Ok(Some(duty)) => return duty,
                Ok(None) => {}
                Err(error) => failed(&error),
            }
        }
    }
}
