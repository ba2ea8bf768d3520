//! Pins of what upstreams list: read from the store, held against each list, written at first use and where something waits
//! for a person. While the store does not say what is pinned, what would need it is not served.

use super::{
    Gateway, InForce,
    lifecycle::Next,
    pin_book::{context, write},
};
use crate::{
    catalog::{AcceptError, Accepted, FoundItem, PinChange, Review, Seen, Wanted},
    model::{PersonId, UpstreamName},
    pinning::{Book, ItemKind, Observed, Writes, reconcile, shown},
    store::StoreError,
    upstream::Health,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// How soon a store that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often lists are held against pins that change under them, before others have their turn.
const MOST_ROUNDS: usize = 8;

impl Gateway {
    /// Reads what is pinned. Whether it is something else than before.
    pub(super) async fn read_pins(&self) -> Result<bool, StoreError> {
        self.0.pins.read(&*self.0.store).await
    }

    /// Follows the pins that other processes and people write, for ever.
    pub(super) async fn follow_pins(self) {
        let mut changes = self.0.store.register_changes();
        let mut is_due = false;
        loop {
            let followed = match self.read_pins().await {
                Ok(changed) if changed || is_due => self.relist().await,
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            is_due = followed.is_err();
            if let Err(error) = followed {
                tracing::error!(%error, "pins.not_followed");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.0.pins.poked.notified() => is_due = true,
            }
        }
    }

    /// Builds what is in force from what the upstreams list now, and writes what the pins need, until nothing more does.
    pub(super) async fn relist(&self) -> Result<(), StoreError> {
        let _turn = self.0.pins.turn.lock().await;
        for _ in 0..MOST_ROUNDS {
            let Some(replaced) = self.replace_aside(Next::Lists).await else { return Ok(()) };
            let live = self.0.people.approvals.live_grants().await?;
            self.0.people.end_outdated_grants(&replaced.new, live, None).await?;
            let writes = self.writes(&replaced.new).await;
            if writes.is_empty() {
                return Ok(());
            }
            let mut is_full = false;
            for writes in writes {
                let context = context(&replaced.new, self.0.clock.now());
                match write(&*self.0.store, context, writes).await {
                    Ok(true) => {}
                    // Another process was first: what it wrote is read and counts.
                    Ok(false) => break,
                    // What has no pin is not served, until room is made.
                    Err(StoreError::RegisterFull(_)) => is_full = true,
                    Err(error) => return Err(error),
                }
            }
            self.read_pins().await?;
            if is_full {
                tracing::error!(
                    "pins.full: items of servers are not served, because there is no room for their pins"
                );
                drop(self.replace_aside(Next::Lists).await);
                return Ok(());
            }
        }
        // They change faster than they can be written: later is soon enough, nothing is served meanwhile.
        self.0.pins.poke();
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }

    /// What is to be written about what is listed.
    pub(super) async fn writes(&self, in_force: &Arc<InForce>) -> Vec<Writes> {
        let (in_force, book, now) = (in_force.clone(), self.0.pins.book(), self.0.clock.now());
        let work = move || {
            let seen = &in_force.catalog.seen;
            let observed: Vec<Observed> = seen.iter().map(|seen| seen.item.clone()).collect();
            let places: HashMap<(&UpstreamName, ItemKind, &str), &Seen> = seen
                .iter()
                .map(|seen| ((&seen.item.upstream, seen.item.kind, &*seen.item.name), seen))
                .collect();
            let data = &in_force.policies.data;
            let settings = |name: &UpstreamName| {
                in_force.config.upstreams.get(name).map(|upstream| upstream.pins).unwrap_or_default()
            };
            let form = |item: &Observed| {
                let seen = places.get(&(&item.upstream, item.kind, &*item.name));
                seen.map(|seen| data.redact_value(&seen.form()).into_owned()).unwrap_or_default()
            };
            let name = |text: &str| shown(&data.redact_text(text)).chars().take(300).collect();
            reconcile(&book, &settings, &observed, &form, &name, now)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    /// Whether an upstream lists something else than what is in force was built from, so that a call may be decided by a list
    /// of before. The next one is on its way.
    pub(super) fn is_outdated(&self, in_force: &InForce, upstream: &UpstreamName) -> bool {
        let Some(server) = in_force.upstreams.get(upstream) else { return false };
        let state = server.state();
        let state = state.borrow();
        state.health == Health::Up && !in_force.catalog.is_made_of(upstream, &state.listing)
    }

    /// Waits until what is in force is newer than this.
    pub(super) async fn catch_up(&self, in_force: &Arc<InForce>) {
        let _turn = self.0.pins.turn.lock().await;
        // Whoever had the turn before has done it.
        if self.0.current.peek().is_or_tries(in_force) {
            drop(self.replace_aside(Next::Lists).await);
            // What it brings is written by those whose task that is.
            self.0.pins.poke();
        }
    }

    /// What is not as it was pinned, of one upstream or of all.
    pub fn pin_changes(&self, of: Option<&UpstreamName>) -> Vec<PinChange> {
        let in_force = self.in_force();
        let (book, listed) = (self.0.pins.book(), listed(&in_force));
        let seen = self.0.personal.seen(&in_force);
        review(&in_force, (&book, &seen), &listed).changes(of)
    }

    /// Everything in which something was found, of one upstream or of all, whether it is served or not.
    pub fn pin_findings(&self, of: Option<&UpstreamName>) -> Vec<FoundItem> {
        let in_force = self.in_force();
        let (book, listed) = (self.0.pins.book(), listed(&in_force));
        let seen = self.0.personal.seen(&in_force);
        review(&in_force, (&book, &seen), &listed).findings(of)
    }

    /// A person accepts what waits.
    pub async fn accept_pins(&self, by: &PersonId, wanted: Wanted<'_>) -> Result<Vec<Accepted>, AcceptError> {
        self.read_pins().await?;
        let in_force = self.in_force();
        let (book, listed) = (self.0.pins.book(), listed(&in_force));
        let seen = self.0.personal.seen(&in_force);
        let review = review(&in_force, (&book, &seen), &listed);
        let accepted =
            review.accept(&*self.0.store, by, &wanted, context(&in_force, self.0.clock.now())).await?;
        self.read_pins().await?;
        self.relist().await?;
        Ok(accepted)
    }

    /// A person pins everything that upstreams list as it is now.
    pub async fn pin_all(
        &self,
        by: &PersonId,
        of: Option<&UpstreamName>,
    ) -> Result<BTreeMap<UpstreamName, BTreeMap<ItemKind, usize>>, AcceptError> {
        self.read_pins().await?;
        let in_force = self.in_force();
        let (book, listed) = (self.0.pins.book(), listed(&in_force));
        let seen = self.0.personal.seen(&in_force);
        let upstreams: Vec<UpstreamName> =
            listed.iter().filter(|name| of.is_none_or(|of| of == *name)).cloned().collect();
        let review = review(&in_force, (&book, &seen), &listed);
        let counts =
            review.pin(&*self.0.store, &upstreams, Some(by), context(&in_force, self.0.clock.now())).await?;
        self.read_pins().await?;
        self.relist().await?;
        Ok(counts)
    }
}

/// The upstreams whose lists are known whole.
fn listed(in_force: &InForce) -> HashSet<UpstreamName> {
    let states = in_force.upstream_states();
    let whole = states.iter().filter(|state| state.health == Health::Up && state.missing.is_empty());
    whole.map(|state| state.name.clone()).collect()
}

fn review<'r>(
    in_force: &'r InForce,
    (book, seen): (&'r Book, &'r [Seen]),
    listed: &'r HashSet<UpstreamName>,
) -> Review<'r> {
    Review { book, seen, listed, data: &in_force.policies.data }
}
