//! Starting, reloading and ending a gateway, and the tasks that keep it true in between.

use super::{
    Gateway, InForce, Inner, ListGenerations, StateSeal, digest::DigestKey, parked::Parking, repeats::Repeats,
};
use crate::{
    approval::Approvals,
    catalog::{Catalog, CatalogBuilder},
    clock::{Clock, IdSource},
    cost::{LearnedSizes, TokenCounter},
    identity::Doorkeeper,
    model::{EventDraft, EventType},
    store::{EventQuery, Store, StoreError},
    upstream::UpstreamSet,
};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often approvals are looked over for expiry, and dead processes for open calls.
const SWEEP: Duration = Duration::from_secs(2);

/// What a gateway is made of.
pub struct GatewayParts {
    /// servers.toml and the bundle.
    pub in_force: InForce,
    /// The store, opened.
    pub store: Arc<dyn Store>,
    /// The upstreams, starting.
    pub upstreams: UpstreamSet,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn IdSource>,
    /// The seal of `requestState`, keyed from the store.
    pub seal: Arc<dyn StateSeal>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not do what it must.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gateway {
    /// Starts: settles dead owners' calls, records the bundle in force, and begins to watch the upstreams.
    pub async fn start(parts: GatewayParts) -> Result<Self, StartError> {
        let GatewayParts { in_force, store, upstreams, clock, ids, seal } = parts;
        let settled = store.settle_dead_owners(clock.now()).await?;
        if settled > 0 {
            tracing::warn!(calls = settled, "calls of processes that are gone were settled as unknown");
        }
        let digest_key = store.secret("call-digest", ids.random()).await?;
        let hash_key = store.secret("data-hash", ids.random()).await?;
        let learned = LearnedSizes::new();
        for (tool, tokens) in store.learned_result_tokens().await? {
            learned.seed(&tool, tokens);
        }
        let gateway = Self(Arc::new(Inner {
            approvals: Approvals::new(store.clone(), clock.clone()),
            doorkeeper: Doorkeeper::new(clock.clone()),
            in_force: ArcSwap::from_pointee(in_force.keyed(hash_key)),
            store,
            upstreams,
            clock,
            ids,
            catalog: ArcSwap::from_pointee(Catalog::default()),
            builder: Mutex::new(CatalogBuilder::default()),
            views: DashMap::new(),
            narrow_views: DashMap::new(),
            generations: watch::Sender::new(ListGenerations::default()),
            tokens: TokenCounter::load(),
            learned,
            repeats: Repeats::default(),
            prompts: super::prompts::Prompts::default(),
            beside: super::fit::Beside::default(),
            promised: super::spending::Promised::default(),
            digest_key: DigestKey::new(&digest_key),
            hash_key,
            seal,
            ready: watch::Sender::new(false),
            rejected_reload: Mutex::new(None),
            lints: Mutex::default(),
            call_log: super::call_log::CallLog::default(),
            parking: Parking::default(),
            held: super::held::HeldCalls::default(),
            in_flight: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        gateway.record_activation().await?;
        gateway.spawn_tasks();
        Ok(gateway)
    }

    fn spawn_tasks(&self) {
        let watcher = self.clone();
        self.spawn_until_stop(async move {
            let mut changes = watcher.0.upstreams.changes();
            loop {
                watcher.rebuild_aside().await;
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        let first = self.clone();
        self.spawn_until_stop(async move {
            drop(tokio::time::timeout(super::FIRST_LISTS, first.0.upstreams.settled()).await);
            first.rebuild_aside().await;
            first.0.ready.send_replace(true);
        });
        self.spawn_until_stop(self.clone().notify());
        let logger = self.clone();
        self.spawn_until_stop(async move { logger.0.call_log.run().await });
        let sweeper = self.clone();
        self.spawn_until_stop(async move {
            let mut tick = tokio::time::interval(SWEEP);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = sweeper.0.approvals.expire_all_due().await {
                    tracing::error!(error = %error, "approvals could not be looked over");
                }
                let in_force = sweeper.in_force();
                if let Err(error) = sweeper.0.approvals.alert_due(&in_force.policies).await {
                    tracing::error!(error = %error, "approvals could not be looked over for alerts");
                }
                match sweeper.0.store.settle_dead_owners(sweeper.0.clock.now()).await {
                    Ok(0) => {}
                    Ok(calls) => {
                        tracing::warn!(calls, "calls of processes that are gone were settled as unknown")
                    }
                    Err(error) => tracing::error!(error = %error, "dead processes could not be looked for"),
                }
            }
        });
    }

    pub(super) fn spawn_until_stop(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// The same on a thread of its own: long lists take their time, in which calls go on.
    async fn rebuild_aside(&self) {
        let gateway = self.clone();
        if tokio::task::spawn_blocking(move || gateway.rebuild_catalog()).await.is_err() {
            tracing::error!("the catalog could not be built");
        }
    }

    /// Merges what the upstreams list now, and tells the fronts which lists changed.
    fn rebuild_catalog(&self) {
        let mut builder = self.0.builder.lock();
        let in_force = self.in_force();
        builder.data = in_force.policies.data.clone();
        let new = builder.build(&in_force.config, &self.upstreams());
        let old = self.0.catalog.load_full();
        for why in new.withheld.iter().filter(|why| !old.withheld.contains(why)) {
            tracing::warn!("{why}");
        }
        fn items<K: Ord, T>(
            map: &BTreeMap<K, Arc<T>>,
            item: fn(&T) -> &serde_json::Value,
        ) -> Vec<&serde_json::Value> {
            map.values().map(|entry| item(entry)).collect()
        }
        let tools = items(&old.tools, |t| &t.item) != items(&new.tools, |t| &t.item);
        let prompts = items(&old.prompts, |t| &t.item) != items(&new.prompts, |t| &t.item);
        let resources = items(&old.resources, |t| &t.item) != items(&new.resources, |t| &t.item)
            || items(&old.templates, |t| &t.item) != items(&new.templates, |t| &t.item);
        self.0.catalog.store(Arc::new(new));
        drop(builder);
        if tools || prompts || resources {
            self.0.generations.send_modify(|g| {
                g.tools += u64::from(tools);
                g.prompts += u64::from(prompts);
                g.resources += u64::from(resources);
            });
        }
    }

    /// Puts a checked configuration and bundle in force: from the next message on for live sessions, subscriptions and
    /// waiting calls.
    pub async fn reload(&self, new: InForce) -> Result<(), StoreError> {
        let configs: Vec<_> = new.config.upstreams.values().cloned().collect();
        let drain = new.config.gateway.drain;
        self.0.in_force.store(Arc::new(new.keyed(self.0.hash_key)));
        *self.0.rejected_reload.lock() = None;
        self.0.views.clear();
        self.0.upstreams.reconfigure(configs, drain).await;
        self.rebuild_aside().await;
        self.0.generations.send_modify(|g| {
            g.tools += 1;
            g.resources += 1;
            g.prompts += 1;
            g.authority += 1;
        });
        self.record_activation().await
    }

    /// Records that a changed configuration or bundle was refused; the old one stays in force.
    pub async fn reload_rejected(&self, problems: String) {
        let in_force = self.in_force();
        let clean = in_force.policies.data.redact_text(&problems);
        tracing::error!("the reload was refused, the old bundle stays in force:\n{clean}");
        let clean: String = clean.chars().take(4000).collect();
        *self.0.rejected_reload.lock() = Some(clean.clone());
        let mut event = EventDraft::system(EventType::PolicyRejected, self.0.clock.now());
        event.policy_snapshot = Some(in_force.policies.snapshot.clone());
        event.reason = Some(clean.into());
        if let Err(error) = self.0.store.record(vec![event]).await {
            tracing::error!(error = %error, "the refused reload could not be recorded");
        }
    }

    /// One `policy_activated` event per change of bundle: a restart with the same one is none.
    async fn record_activation(&self) -> Result<(), StoreError> {
        let in_force = self.in_force();
        let query = EventQuery {
            event_type: Some(EventType::PolicyActivated),
            newest_first: true,
            limit: 1,
            ..EventQuery::default()
        };
        let last = self.0.store.events(query).await?;
        let snapshot = Some(in_force.policies.snapshot.clone());
        if last.first().is_some_and(|event| event.draft.policy_snapshot == snapshot) {
            return Ok(());
        }
        let mut event = EventDraft::system(EventType::PolicyActivated, self.0.clock.now());
        event.policy_snapshot = snapshot;
        event.detail = Some(json!({
            "version": in_force.policies.bundle.version,
            "owner": in_force.policies.bundle.owner,
            "policies": in_force.policies.policies.len(),
        }));
        self.0.store.record(vec![event]).await
    }

    /// Ends in order: calls in flight may finish within `drain`, then the upstreams are asked to leave. The store stays
    /// open: whoever opened it closes it, after the last reader.
    pub async fn shutdown(&self) {
        let drain = self.0.in_force.load().config.gateway.drain;
        self.0.stop.cancel();
        self.0.parking.clear();
        self.0.held.clear();
        self.0.in_flight.close();
        if tokio::time::timeout(drain, self.0.in_flight.wait()).await.is_err() {
            tracing::warn!("calls were still in flight after the drain; they are settled as unknown");
        }
        self.0.upstreams.shutdown(drain).await;
        self.0.call_log.write().await;
    }
}
