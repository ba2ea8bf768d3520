//! What is in force now, and who is told when that changes.

use super::{InForce, ListGenerations};
use crate::{
    clock::Clock,
    identity::{Principal, still_valid},
};
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use tokio::sync::watch;

/// What is in force now. It is swapped whole; whoever holds an older one goes on with that.
pub(super) struct Current {
    in_force: ArcSwap<InForce>,
    generations: watch::Sender<ListGenerations>,
    clock: Arc<dyn Clock>,
}

impl Current {
    /// Begins with this.
    pub(super) fn new(in_force: InForce, clock: Arc<dyn Clock>) -> Self {
        let generations = watch::Sender::new(ListGenerations::default());
        Self { in_force: ArcSwap::from_pointee(in_force), generations, clock }
    }

    /// What is in force now, to be kept.
    pub(super) fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// The same for a short look.
    pub(super) fn peek(&self) -> Guard<Arc<InForce>> {
        self.in_force.load()
    }

    /// Puts the next one in force.
    pub(super) fn swap(&self, next: Arc<InForce>) {
        self.in_force.store(next);
    }

    /// Whether a principal still is one (revocation).
    pub(super) fn still_valid(&self, principal: &Principal) -> bool {
        let in_force = self.peek();
        still_valid(&in_force.policies.authority, &in_force.config.auth, self.clock.now(), principal)
    }

    /// Counts up where a list may have changed, and tells those who listen.
    pub(super) fn count_up(&self, change: impl FnOnce(&mut ListGenerations)) {
        self.generations.send_modify(change);
    }

    /// Told whenever a list may have changed.
    pub(super) fn generations(&self) -> watch::Receiver<ListGenerations> {
        self.generations.subscribe()
    }
}
