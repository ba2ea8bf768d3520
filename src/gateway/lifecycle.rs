//! Starting, reloading and ending a gateway, and the tasks that keep it true in between.

use super::{
    CheckedFiles, Gateway, InForce, Inner, Origin, StateSeal, Trial,
    admit::Admission,
    auth_failures::AuthFailures,
    call_log::CallLog,
    changed::Changed,
    checks::Checks,
    current::Current,
    digest::{CALL_KEY, DigestKey},
    dispatch::Dispatcher,
    evaluate::Evaluator,
    freezes::Freezes,
    keep::References,
    measures::Measures,
    metering::Looks,
    notify::Notifications,
    orders::Orders,
    outlets::Troubles,
    output::OutputAlerts,
    people::{People, prompts::Prompts},
    personal::Personal,
    pin_book::Pins,
    placeholders::Placeholders,
    prepare::Preparation,
    reach::Labels,
    refused::Refusals,
    skill_files::SkillFiles,
    spending::Promised,
    suspend::{held::HeldCalls, parked::Parking, spawn_until, tasks::Tasks},
    tool_search::ToolSearch,
};
use crate::{
    activation::OnTrial,
    approval::Approvals,
    catalog::CatalogBuilder,
    clock::{Clock, IdSource},
    config::Config,
    connections::Connections,
    cost::TokenCounter,
    evidence::output_unusable,
    identity::Doorkeeper,
    model::EventDraft,
    offload::Offload,
    policy::PolicySet,
    store::{Store, StoreError},
    telemetry::Telemetry,
    upstream::UpstreamSet,
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tools of which alerts are recorded at once.
const MOST_ALERTS: usize = 100;
/// How often records that are too old are looked for.
const RETIRE: Duration = Duration::from_secs(600);

/// How soon a store that did not take pins is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long calls that are cut may take to be settled.
const SETTLE: Duration = Duration::from_secs(2);

/// How often approvals are looked over for expiry, and dead processes for open calls.
const SWEEP: Duration = Duration::from_secs(2);

/// What a gateway is made of.
pub struct GatewayParts {
    /// servers.toml and the bundle.
    pub files: CheckedFiles,
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
    /// The credentials that people connect, which the upstreams have, too.
    pub connections: Arc<Connections>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not do what it must.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a reload did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The next snapshot could not be built; the old one stays in force.
    #[error("the next snapshot could not be built; the old one stays in force")]
    NotBuilt,
    /// The files are not what somebody ordered to be in force meanwhile.
    #[error("another bundle was ordered to be in force meanwhile")]
    Outdated,
    /// The new snapshot is in force, and the record does not say so.
    #[error("the new snapshot is in force, and could not be recorded: {0}")]
    NotRecorded(#[from] StoreError),
}

impl ReloadError {
    /// Whether the new files are in force all the same.
    pub fn is_in_force(&self) -> bool {
        match self {
            Self::NotBuilt | Self::Outdated => false,
            Self::NotRecorded(_) => true,
        }
    }
}

/// What every part of a gateway may need of the outside.
struct Outside {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    seal: Arc<dyn StateSeal>,
    large: Arc<Offload>,
    telemetry: Arc<Telemetry>,
    connections: Arc<Connections>,
}

impl Outside {
    /// Makes the parts, and gives each what it needs.
    // Long: one entry for each part, so that a reader finds what it is given.
    fn joined(self, current: Arc<Current>, measures: Arc<Measures>, hash_key: [u8; 32]) -> Inner {
        let Self { store, clock, ids, seal, large, telemetry, connections } = self;
        let personal = Arc::new(Personal::new(connections));
        let (stop, cutting) = (CancellationToken::new(), CancellationToken::new());
        let log = Arc::new(CallLog::new(&telemetry));
        let references = Arc::new(References::new(store.clone()));
        let refusals = Arc::new(Refusals::new(&store, &clock, &references, &log));
        let freezes = Arc::new(Freezes::new(&store, &clock));
        let pins = Arc::new(Pins::new());
        let output_alerts = Arc::new(OutputAlerts::default());
        let labels = Arc::new(Labels::new(&store, &clock));
        let held = Arc::new(HeldCalls::new(&clock, &ids, &seal, &stop));
        let preparation = Preparation::new(measures.clone(), clock.clone());
        Inner {
            search: ToolSearch {
                measures: measures.clone(),
                large: large.clone(),
                store: store.clone(),
                clock: clock.clone(),
                refusals: refusals.clone(),
            },
            evaluator: Arc::new(Evaluator { preparation, large: large.clone() }),
            checks: Checks::new(clock.clone(), ids.clone()),
            people: People {
                current: current.clone(),
                store: store.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                seal: seal.clone(),
                approvals: Approvals::new(store.clone(), clock.clone()).measured_by(&telemetry),
                prompts: Prompts::default(),
                references: references.clone(),
                refusals: refusals.clone(),
                measures: measures.clone(),
                cutting: cutting.clone(),
            },
            personal: personal.clone(),
            admission: Admission {
                store: store.clone(),
                clock: clock.clone(),
                large: large.clone(),
                references: references.clone(),
                refusals: refusals.clone(),
                labels: labels.clone(),
                telemetry: telemetry.clone(),
            },
            dispatcher: Dispatcher {
                store: store.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                seal: seal.clone(),
                large: large.clone(),
                measures: measures.clone(),
                promised: Arc::new(Promised::new(store.clone(), clock.clone(), measures.clone())),
                labels: labels.clone(),
                log: log.clone(),
                freezes: freezes.clone(),
                output_alerts: output_alerts.clone(),
                skill_files: SkillFiles { pins: pins.clone(), store: store.clone(), clock: clock.clone() },
                telemetry: telemetry.clone(),
                cutting: cutting.clone(),
            },
            parking: Arc::new(Parking::new(&store, &clock, &ids, &seal, &stop)),
            tasks: Tasks {
                current: current.clone(),
                personal,
                measures,
                held: held.clone(),
                store: store.clone(),
                clock: clock.clone(),
                seal: seal.clone(),
                freezes: freezes.clone(),
                labels: labels.clone(),
                output_alerts,
                telemetry: telemetry.clone(),
            },
            labels,
            doorkeeper: Doorkeeper::new(clock.clone()),
            builder: Mutex::new(CatalogBuilder::default()),
            ready: watch::Sender::new(false),
            draining: OnceLock::new(),
            rejected_reload: Mutex::new(None),
            lints: Mutex::default(),
            orders: Orders::new(ids.uuid()),
            pins,
            in_flight: TaskTracker::new(),
            cut: AtomicUsize::new(0),
            cutting,
            current,
            store,
            clock,
            ids,
            seal,
            hash_key,
            references,
            refusals,
            held,
            large,
            log,
            troubles: Troubles::default(),
            notifications: Notifications::default(),
            looks: Looks::default(),
            auth_failures: AuthFailures::default(),
            telemetry,
            stop,
            freezes,
        }
    }
}

impl Gateway {
    /// Starts: settles dead owners' calls, records the bundle in force, and begins to watch the upstreams.
    pub async fn start(parts: GatewayParts) -> Result<Self, StartError> {
        let GatewayParts { files, store, upstreams, clock, ids, seal, connections } = parts;
        let settled = store.settle_dead_owners(clock.now()).await?;
        if settled > 0 {
            tracing::warn!(calls = settled, "calls of processes that are gone were settled as unknown");
        }
        let digest_key = store.secret(CALL_KEY, ids.random()).await?;
        let hash_key = store.secret("data-hash", ids.random()).await?;
        let learned = store.learned_sizes().await?;
        let measures = Measures {
            tokens: TokenCounter::load(),
            learned,
            placeholders: Arc::new(Placeholders::new(store.vault(), clock.clone(), ids.clone())),
            digest_key: DigestKey::new(&digest_key),
        };
        let (config, policies, origin) = keyed(files, hash_key);
        let (large, telemetry) = (upstreams.offload(), upstreams.telemetry());
        connections.configure(&config);
        let in_force = InForce::new(config, policies, Arc::default(), upstreams);
        let current = Arc::new(Current::new(in_force, clock.clone()));
        connections.read().await?;
        let outside = Outside { store, clock, ids, seal, large, telemetry, connections };
        let gateway = Self(Arc::new(outside.joined(current, Arc::new(measures), hash_key)));
        // Before the first message: what was frozen stays so over every restart.
        gateway.0.freezes.look().await?;
        let in_force = gateway.in_force();
        gateway.0.store.decides_by(&in_force.policies.snapshot);
        gateway.record_activation(None, &in_force, &origin).await?;
        gateway.end_outdated(&in_force).await?;
        gateway.read_pins().await?;
        gateway.begin_webhooks().await?;
        gateway.spawn_tasks();
        Ok(gateway)
    }

    fn spawn_tasks(&self) {
        let watcher = self.clone();
        self.spawn_until_stop(async move {
            let mut changes = watcher.in_force().upstreams.changes();
            loop {
                if let Err(error) = watcher.relist().await {
                    // What is not pinned is not served: it is tried again.
                    tracing::error!(%error, "lists.not_pinned");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        let first = self.clone();
        self.spawn_until_stop(async move {
            drop(tokio::time::timeout(super::FIRST_LISTS, first.in_force().upstreams.settled()).await);
            if let Err(error) = first.relist().await {
                tracing::error!(%error, "lists.not_pinned");
            }
            first.0.ready.send_replace(true);
        });
        self.spawn_until_stop(self.clone().notify());
        self.spawn_until_stop(self.clone().deliver_records());
        self.spawn_until_stop(self.clone().watch_record());
        self.spawn_until_stop(self.clone().follow_orders());
        self.spawn_until_stop(self.0.freezes.clone().follow());
        self.spawn_until_stop(self.clone().follow_pins());
        self.spawn_until_stop(self.connections().clone().follow());
        self.spawn_until_stop(self.clone().follow_connections());
        self.spawn_until_stop(self.clone().follow_personal_lists());
        let labels = self.0.labels.clone();
        self.spawn_until_stop(async move { labels.follow().await });
        let logger = self.clone();
        self.spawn_until_stop(async move { logger.0.log.run().await });
        let looker = self.clone();
        self.spawn_until_stop(async move { looker.look_for_collector().await });
        let keeper = self.clone();
        self.spawn_until_stop(async move { keeper.retire_records().await });
        let signer = self.clone();
        self.spawn_until_stop(async move { signer.make_checkpoints().await });
        let sweeper = self.clone();
        self.spawn_until_stop(async move {
            let mut tick = tokio::time::interval(SWEEP);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = sweeper.0.people.approvals.expire_all_due().await {
                    tracing::error!(error = %error, "approvals could not be looked over");
                }
                if let Err(error) = sweeper.0.people.approvals.expire_grants_due().await {
                    tracing::error!(error = %error, "grants could not be looked over");
                }
                let in_force = sweeper.in_force();
                // Alerts look at a fifth of their window at a time.
                let every = in_force.policies.oversight.alerts.window / 5;
                sweeper.0.refusals.record_counted(false, every).await;
                sweeper.record_auth_failures(false).await;
                if let Err(error) = sweeper.0.people.approvals.alert_due(&in_force.policies).await {
                    tracing::error!(error = %error, "approvals could not be looked over for alerts");
                }
                match sweeper.0.store.settle_dead_owners(sweeper.0.clock.now()).await {
                    Ok(0) => {}
                    Ok(calls) => {
                        tracing::warn!(calls, "calls of processes that are gone were settled as unknown")
                    }
                    // The store's own log has it, damped.
                    Err(StoreError::Full) => {}
                    Err(error) => tracing::error!(error = %error, "dead processes could not be looked for"),
                }
            }
        });
    }

    /// Removes records that are older than `[store] retention`, now and then, and labels of which none stands any more.
    async fn retire_records(&self) {
        let mut tick = tokio::time::interval(RETIRE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.0.labels.tidy(self.in_force().config.gateway.labels).await {
                tracing::error!(%error, "labels that are over could not be removed");
            }
            self.0.tasks.measures.placeholders.retire(&self.in_force().config).await;
            let Some(retention) = self.in_force().config.store.retention else { continue };
            let now = self.0.clock.now();
            let Ok(before) = now.checked_sub(retention) else { continue };
            if !self.renew_orders(before).await {
                continue;
            }
            match self.0.store.retire(before, now).await {
                Ok(0) => {}
                Ok(records) => tracing::info!(records, %before, "store.records_retired"),
                Err(error) => tracing::error!(%error, "store.records_not_retired"),
            }
        }
    }

    pub(super) fn spawn_until_stop(&self, work: impl Future<Output = ()> + Send + 'static) {
        spawn_until(&self.0.stop, work);
    }

    /// Builds the next snapshot on a thread of its own: long lists take their time, in which calls go on.
    pub(super) async fn replace_aside(&self, next: Next) -> Option<Replaced> {
        let gateway = self.clone();
        let replaced = tokio::task::spawn_blocking(move || gateway.replace(next)).await;
        let replaced = replaced
            .inspect_err(|_| tracing::error!("the next snapshot could not be built; the old one stays"))
            .ok()?;
        self.tell_refused(&replaced).await;
        Some(replaced)
    }

    /// Records an alert about each tool of which calls are refused from now on, because its outputSchema cannot be used.
    async fn tell_refused(&self, Replaced { old, new }: &Replaced) {
        let known = |name: &str| old.catalog.tools.get(name).is_some_and(|tool| tool.refused.is_some());
        let tools = new.catalog.tools.values().filter(|tool| tool.refused.is_some() && !known(&tool.exposed));
        let now = self.0.clock.now();
        let events: Vec<EventDraft> = tools
            .take(MOST_ALERTS)
            .map(|tool| {
                let name = new.policies.data.redact_text(&tool.exposed);
                output_unusable(&tool.upstream, &name, tool.refused.as_deref().unwrap_or_default(), now)
            })
            .collect();
        if !events.is_empty()
            && let Err(error) = self.0.store.record(events).await
        {
            tracing::error!(%error, "alerts about tools could not be recorded");
        }
    }

    /// Builds what is in force from what comes next, from what else is in force already, and from what the upstreams list
    /// now; swaps it; and only then tells the fronts which lists changed. It waits for no upstream.
    fn replace(&self, next: Next) -> Replaced {
        let mut builder = self.0.builder.lock();
        let old = self.in_force();
        let is_reload = matches!(next, Next::Files(..));
        let (mut config, mut policies) = (old.config.clone(), old.policies.clone());
        let known =
            |trial: &Arc<Trial>| (trial.on.clone(), trial.candidate.policies.clone(), trial.counts.clone());
        let mut trial = old.trial.as_ref().map(known);
        let mut blocked = old.blocked.clone();
        match next {
            Next::Lists => {}
            Next::Files(newer, bundle) => {
                // What was tried beside another bundle says nothing about this one.
                trial = trial.filter(|_| bundle.snapshot == old.policies.snapshot);
                (config, policies, blocked) = (newer, bundle, None);
            }
            Next::Trial(next) => {
                trial = next.map(|(on, bundle)| {
                    let same = |(known, _, _): &(Arc<OnTrial>, _, _)| {
                        (&known.rollout.id, known.rollout.at) == (&on.rollout.id, on.rollout.at)
                    };
                    let counts = trial.filter(same).map(|(_, _, counts)| counts);
                    (on, bundle, counts.unwrap_or_default())
                });
            }
            Next::Blocked(why) => blocked = Some(why),
        }
        let promoted = old.upstreams.promoted();
        let (mut upstreams, promoted) = match promoted {
            Some((upstreams, retired)) => (upstreams, Some(retired)),
            None => (old.upstreams.clone(), None),
        };
        let mut replaced = None;
        if is_reload {
            let (next, retired) = upstreams.reconfigured(config.upstreams.values().cloned());
            (upstreams, replaced) = (next, Some(retired));
        }
        builder.data = policies.data.clone();
        builder.pins = Some(self.0.pins.book());
        let states: Vec<_> = upstreams.states().iter().map(|state| state.borrow().clone()).collect();
        let catalog = builder.build(&config, &states);
        for why in catalog.withheld.iter().filter(|why| !old.catalog.withheld.contains(why)) {
            tracing::warn!("{why}");
        }
        let changed = Changed::between(&old.catalog, &catalog);
        let drain = config.gateway.drain;
        let mut new = InForce::new(config, policies, Arc::new(catalog), upstreams).with_trial(trial);
        new.blocked = blocked;
        let new = Arc::new(new);
        if is_reload {
            // Whoever sees the new snapshot sees no refusal of the files before it.
            *self.0.rejected_reload.lock() = None;
        }
        self.0.current.swap(new.clone());
        self.0.store.decides_by(&new.policies.snapshot);
        drop(builder);
        for retired in promoted.into_iter().chain(replaced) {
            retired.end_after(drain);
        }
        if is_reload {
            self.connections().configure(&new.config);
            // The settings of pins may be others.
            self.0.pins.poke();
        }
        if is_reload || changed.any() {
            self.0.current.count_up(|g| {
                g.tools += u64::from(is_reload || changed.tools);
                g.prompts += u64::from(is_reload || changed.prompts);
                g.resources += u64::from(is_reload || changed.resources);
                g.authority += u64::from(is_reload);
            });
        }
        Replaced { old, new }
    }

    /// Puts a checked configuration and bundle in force: from the next message on for live sessions, subscriptions and
    /// waiting calls.
    pub async fn reload(&self, files: CheckedFiles) -> Result<(), ReloadError> {
        let _one_at_a_time = self.0.orders.obeying.lock().await;
        if let Some(held) = &self.standing().held
            && *files.policies.files != *held.files
        {
            return Err(ReloadError::Outdated);
        }
        let (config, policies, origin) = keyed(files, self.0.hash_key);
        self.0.references.keep_coming(&config, &policies);
        self.put(Next::Files(config, policies), origin).await
    }

    /// Ends in order: calls in flight may finish within `drain`, then the upstreams are asked to leave. The store stays
    /// open: whoever opened it closes it, after the last reader.
    pub async fn shutdown(&self) {
        let in_force = self.in_force();
        let drain = in_force.config.gateway.drain;
        self.drain();
        self.0.stop.cancel();
        self.0.parking.clear();
        self.0.held.clear();
        self.0.in_flight.close();
        if tokio::time::timeout(drain, self.0.in_flight.wait()).await.is_err() {
            tracing::warn!("calls were still in flight after the drain; they are settled as unknown");
            self.cut();
            // They are told at once, and settled.
            drop(tokio::time::timeout(SETTLE, self.0.in_flight.wait()).await);
        }
        in_force.upstreams.shutdown(drain).await;
        self.0.refusals.record_counted(true, Duration::ZERO).await;
        self.record_auth_failures(true).await;
        self.record_seen(true).await;
        self.0.log.write().await;
        let cut = self.0.cut.load(Ordering::Relaxed);
        let now = self.0.clock.monotonic();
        let took = self.0.draining.get().map_or(Duration::ZERO, |since| now.saturating_sub(*since));
        let took_ms = u64::try_from(took.as_millis());
        tracing::info!(
            cut,
            took_ms = took_ms.unwrap_or(u64::MAX),
            "drain.ended: calls that were cut are settled as unknown"
        );
    }
}

/// With the store's key for `hash` in data.yaml.
fn keyed(files: CheckedFiles, key: [u8; 32]) -> (Arc<Config>, Arc<PolicySet>, Origin) {
    let CheckedFiles { config, mut policies, origin } = files;
    policies.data = policies.data.with_key(key);
    (Arc::new(config), Arc::new(policies), origin)
}

/// What comes into force next, over what is in force already.
pub(super) enum Next {
    /// What the upstreams list now.
    Lists,
    /// Other files.
    Files(Arc<Config>, Arc<PolicySet>),
    /// A bundle to be tried beside the one in force, or none any more.
    Trial(Option<(Arc<OnTrial>, Arc<PolicySet>)>),
    /// Every call is refused, for this reason.
    Blocked(Arc<str>),
}

/// What was in force, and what is now.
pub(super) struct Replaced {
    pub(super) old: Arc<InForce>,
    pub(super) new: Arc<InForce>,
}
