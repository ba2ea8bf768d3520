//! One upstream: its connection kept up, its listing kept true, and the calls made on it.

mod calling;

use super::{
    breaker::Breaker,
    call::Call,
    connect::{self, Connection, Hello},
    contain::{self, Containment},
    deps::UpstreamDeps,
    http,
    limits::Limits,
    listing::{self, Listed, Reading},
    pool::Pool,
    refusal::{Cause, Failure},
    slots::Slots,
    types::{
        CallRelay, Era, Health, Listing, ResourceUpdate, Upstream, UpstreamError, UpstreamRequest,
        UpstreamState,
    },
    watching::Watching,
    wiring::Wiring,
};
use crate::{
    config::{UpstreamConfig, UpstreamTransport},
    model::{Holder, UpstreamName},
};
use arc_swap::ArcSwapOption;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The longest reason that is logged and shown, in characters.
const LONGEST_REASON: usize = 1_000;

/// An upstream of the set.
pub(super) struct Server {
    pub(super) config: UpstreamConfig,
    deps: UpstreamDeps,
    state: watch::Sender<Arc<UpstreamState>>,
    ticks: Arc<watch::Sender<u64>>,
    settled: watch::Sender<bool>,
    main: ArcSwapOption<Connection>,
    own: Pool,
    http: Result<Option<http::Means>, String>,
    breaker: Breaker,
    slots: Arc<Slots>,
    /// The calls under way, those that wait included.
    calls: TaskTracker,
    updates: broadcast::Sender<ResourceUpdate>,
    watching: Watching,
    limits: Arc<Limits>,
    era: Mutex<Option<Era>>,
    speaks_both: AtomicBool,
    spans: AtomicU64,
    /// What it is let in by is another: it connects again, at once.
    renewed: Notify,
    stop: CancellationToken,
    ended: watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.config.name).finish_non_exhaustive()
    }
}

/// What an attempt to connect brought.
type Attempt = Result<(Arc<Connection>, Hello, Listed), Failure>;

impl Server {
    /// Begins to connect, with what `holder` connected where it needs that. `generation` is where its listing's counter goes
    /// on from.
    pub(super) fn start(
        config: UpstreamConfig,
        deps: UpstreamDeps,
        ticks: Arc<watch::Sender<u64>>,
        (holder, generation): (&Holder, u64),
    ) -> Arc<Self> {
        let http = match &config.transport {
            UpstreamTransport::Http { url, oauth, .. } => {
                http::Means::new(url, oauth.as_ref(), (&config.name, holder), &deps).map(Some)
            }
            UpstreamTransport::Stdio { .. } => Ok(None),
        };
        let state = UpstreamState {
            name: config.name.clone(),
            health: Health::Starting,
            listing: Arc::new(Listing::default()),
            missing: Arc::default(),
            era: None,
            capabilities: Value::Null,
            server_info: Value::Null,
            instructions: None,
            containment: None,
            generation,
        };
        let random = deps.ids.random();
        let span = random.first_chunk::<8>().map_or(1, |bytes| u64::from_be_bytes(*bytes));
        let server = Arc::new(Self {
            state: watch::Sender::new(Arc::new(state)),
            ticks,
            settled: watch::Sender::new(false),
            main: ArcSwapOption::empty(),
            own: Pool::new(deps.clock.clone(), deps.timing.max_connections),
            http,
            breaker: Breaker::new(config.breaker, deps.clock.clone()),
            slots: Slots::new(config.max_concurrency.min(1 << 20)),
            calls: TaskTracker::new(),
            updates: broadcast::Sender::new(256),
            watching: Watching::new(),
            limits: Limits::new(),
            era: Mutex::new(None),
            speaks_both: AtomicBool::new(false),
            spans: AtomicU64::new(span),
            renewed: Notify::new(),
            stop: CancellationToken::new(),
            ended: watch::Sender::new(false),
            config,
            deps,
        });
        tokio::spawn(server.clone().run());
        server
    }

    /// Ends once it has listed or failed for the first time.
    pub(super) async fn settled(&self) {
        let mut settled = self.settled.subscribe();
        // The sender lives as long as this does.
        drop(settled.wait_for(|settled| *settled).await);
    }

    /// Whether it has listed or failed for the first time.
    pub(super) fn has_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// Connects again, at once.
    pub(super) fn reconnect(&self) {
        self.renewed.notify_one();
    }

    /// Begins to close it, with no regard to its calls.
    pub(super) fn abandon(&self) {
        self.stop.cancel();
    }

    /// Lets its calls end, at most for `drain`, then closes it.
    pub(super) async fn retire(&self, drain: Duration) {
        self.calls.close();
        drop(tokio::time::timeout(drain, self.calls.wait()).await);
        self.stop.cancel();
        let mut ended = self.ended.subscribe();
        drop(ended.wait_for(|ended| *ended).await);
    }

    async fn run(self: Arc<Self>) {
        let mut attempts = 0_u32;
        loop {
            let limit = self.deps.timing.handshake;
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(limit, self.attempt()) => {
                    outcome.unwrap_or_else(|_| Err(self.too_slow(limit).into()))
                }
                () = self.stop.cancelled() => break,
            };
            let Failure { cause, retry_after } = match outcome {
                Ok((connection, hello, listed)) => {
                    let began = self.deps.clock.monotonic();
                    let cause = self.serve(&connection, &hello, listed).await;
                    if self.stop.is_cancelled() {
                        break;
                    }
                    // One that lists and dies over and over waits ever longer too.
                    if self.deps.clock.monotonic().saturating_sub(began) >= self.deps.timing.restart_max {
                        attempts = 0;
                    }
                    Failure { cause, retry_after: None }
                }
                Err(failure) => failure,
            };
            attempts = attempts.saturating_add(1);
            let cause = cause.shown(&self.deps.redact, LONGEST_REASON);
            let Cause { reason, said } = &cause;
            tracing::warn!(upstream = %self.config.name, attempts, reason, "the upstream is down");
            tracing::debug!(upstream = %self.config.name, said, "what it said");
            self.publish(|state| {
                state.health = Health::Down { cause, attempts };
                state.listing = Arc::new(Listing::default());
                state.missing = Arc::default();
            });
            self.settle();
            let asked = retry_after.unwrap_or_default().min(self.deps.timing.retry_after);
            tokio::select! {
                () = tokio::time::sleep(self.backoff(attempts).max(asked)) => {}
                () = self.renewed.notified() => {
                    self.close_own();
                    attempts = 0;
                }
                () = self.stop.cancelled() => break,
            }
        }
        self.slots.close();
        if let Some(connection) = self.main.swap(None) {
            connection.close().await;
        }
        join_all(self.own.drain().iter().map(|slot| slot.close())).await;
        self.publish(|state| {
            state.health = Health::Down { cause: "shut down".to_owned().into(), attempts: 0 };
            state.listing = Arc::new(Listing::default());
            state.missing = Arc::default();
        });
        self.settle();
        self.ended.send_replace(true);
    }

    /// Why it is down that was not there in time. What it writes on standard output tells why, where that is no message.
    fn too_slow(&self, limit: Duration) -> Cause {
        let late = format!("it did not connect and list within {}", humantime::format_duration(limit));
        match self.limits.no_message() {
            None => Cause::from(late),
            Some((why, line)) => Cause {
                reason: format!(
                    "{late}, and it writes on standard output what is no message of MCP ({why}): is it a server that speaks MCP there, \
                     with its log on standard error?"
                ),
                said: format!("the first such line: `{line}`"),
            },
        }
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let timing = &self.deps.timing;
        let doubled = timing.restart_first.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        // Between half and all of it, so that many gateways do not come at once.
        let jitter = u32::from(self.deps.ids.random().first().copied().unwrap_or(0));
        doubled.min(timing.restart_max).saturating_mul(256 + jitter) / 512
    }

    fn wiring(&self, declared: Value) -> Result<Wiring<'_>, String> {
        let means = self.http.as_ref().map_err(Clone::clone)?.as_ref();
        let (config, deps, updates, limits) = (&self.config, &self.deps, &self.updates, &self.limits);
        Ok(Wiring { config, deps, means, updates, limits, declared })
    }

    async fn attempt(&self) -> Attempt {
        let hint = *self.era.lock();
        self.limits.starts();
        let containment = self.containment().await?;
        let wiring = self.wiring(connect::declared_to_all(self.config.asks))?;
        let connected = connect::connect(&wiring, hint).await;
        let (connection, mut hello) = connected.inspect_err(|_| *self.era.lock() = None)?;
        hello.containment = containment;
        *self.era.lock() = Some(hello.era);
        self.speaks_both.store(hello.speaks_both, Ordering::Relaxed);
        let listed = listing::list(&self.reading(&connection, &hello), None).await;
        let listed = listed.map_err(|error| match connection.signals().closed_reason() {
            Some(cause) => Cause::clone(&cause).into(),
            None => Failure::from(error).reworded(|error| format!("it cannot be listed: {error}")),
        })?;
        Ok((Arc::new(connection), hello, listed))
    }

    /// What keeps the process within its limits, where it has any. It is not started where one cannot be had.
    async fn containment(&self) -> Result<Option<Arc<Containment>>, String> {
        let Some(config) = &self.config.contain else { return Ok(None) };
        let Some(tried) = contain::tried(&self.config, &self.deps.own_binary).await else { return Ok(None) };
        let stands = tried?;
        if let Some(refusal) = stands.refusal(config) {
            return Err(refusal);
        }
        if !stands.missing.is_empty() {
            let missing = stands.missing.join("; ");
            tracing::warn!(upstream = %self.config.name, missing, "the upstream is contained in part only");
        }
        Ok(Some(Arc::new(stands)))
    }

    fn reading<'a>(&'a self, connection: &'a Connection, hello: &'a Hello) -> Reading<'a> {
        Reading {
            upstream: &self.config.name,
            connection,
            hello,
            log: &self.limits.log,
            redact: &self.deps.redact,
            timing: &self.deps.timing,
        }
    }

    fn publish(&self, change: impl FnOnce(&mut UpstreamState)) {
        self.state.send_modify(|state| {
            let mut next = UpstreamState::clone(state);
            change(&mut next);
            if next.listing != state.listing {
                next.generation = next.generation.saturating_add(1);
            }
            *state = Arc::new(next);
        });
        self.ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
    }

    /// It has listed or failed: whoever waits to put it in its place is told.
    fn settle(&self) {
        if !self.settled.send_replace(true) {
            self.ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
        }
    }

    /// Holds a connection until it ends; why it did.
    async fn serve(&self, connection: &Arc<Connection>, hello: &Hello, listed: Listed) -> Cause {
        let Listed { listing, missing, mut is_whole, was_hurried } = listed;
        self.breaker.reset();
        self.main.store(Some(connection.clone()));
        tracing::info!(upstream = %self.config.name, era = ?hello.era, tools = listing.tools.len(), "the upstream is up");
        self.publish(|state| {
            state.health = Health::Up;
            state.listing = Arc::new(listing);
            state.missing = missing.into();
            state.era = Some(hello.era);
            state.capabilities = hello.capabilities.clone();
            state.server_info = hello.server_info.clone();
            state.instructions = hello.instructions.clone();
            state.containment = hello.containment.clone();
        });
        self.settle();
        drop(connection.listen(hello, self.watching.uris()));
        self.watch_again(connection, hello.era).await;
        let signals = connection.signals();
        if was_hurried {
            signals.changed.notify_one();
        }
        let mut sweep = tokio::time::interval(self.deps.timing.idle.max(Duration::from_millis(10)));
        let mut again = self.deps.timing.restart_max;
        let cause = loop {
            if is_whole {
                again = self.deps.timing.restart_max;
            }
            tokio::select! {
                cause = signals.closed() => break cause,
                () = self.stop.cancelled() => return Cause::default(),
                () = self.renewed.notified() => {
                    self.close_own();
                    // At once, and with no wait in between.
                    self.renewed.notify_one();
                    break Arc::new(Cause::from("its credential was replaced or removed".to_owned()));
                }
                () = signals.changed.notified() => tokio::select! {
                    whole = self.list_again(connection, hello) => is_whole = whole.unwrap_or(is_whole),
                    cause = signals.closed() => break cause,
                    () = self.stop.cancelled() => return Cause::default(),
                },
                // What was missing may be there by now; it is looked for ever more rarely.
                () = tokio::time::sleep(again), if !is_whole => {
                    // Rarer than the sweep it would never come to its turn.
                    again = again.saturating_mul(2).min(self.deps.timing.idle / 2);
                    signals.changed.notify_one();
                }
                () = signals.renewed.notified() => {
                    self.watch_again(connection, hello.era).await;
                    signals.changed.notify_one();
                }
                _ = sweep.tick() => {
                    if let Ok(Some(means)) = &self.http {
                        means.pool.sweep();
                    }
                    for slot in self.own.idle(self.deps.timing.idle) {
                        tokio::spawn(async move { slot.close().await });
                    }
                }
            }
        };
        self.main.store(None);
        let closing = connection.clone();
        tokio::spawn(async move { closing.close().await });
        Arc::unwrap_or_clone(cause)
    }

    /// Callers' own connections were made with the credential of before.
    fn close_own(&self) {
        for slot in self.own.drain() {
            tokio::spawn(async move { slot.close().await });
        }
    }

    /// Whether its lists are whole now; none where its connection ended.
    async fn list_again(&self, connection: &Connection, hello: &Hello) -> Option<bool> {
        // An upstream that says so without end is asked ever more rarely.
        let pause = self.limits.before_list(Instant::now());
        tokio::time::sleep(pause.max(self.deps.timing.debounce)).await;
        let before = self.state.borrow().listing.clone();
        // Fails with its connection only, which is seen where this is waited for.
        let listed = listing::list(&self.reading(connection, hello), Some(&before)).await.ok()?;
        self.limits.was_listed(Instant::now());
        let Listed { listing, missing, is_whole, .. } = listed;
        let is_known = {
            let state = self.state.borrow();
            *state.listing == listing && *state.missing == *missing
        };
        if !is_known {
            self.publish(|state| {
                state.listing = Arc::new(listing);
                state.missing = missing.into();
            });
        }
        Some(is_whole)
    }

    async fn watch_again(&self, connection: &Connection, era: Era) {
        if era == Era::Legacy {
            self.watching.again(|uri, on| self.tell_watch(connection, uri, on)).await;
        }
    }

    async fn tell_watch(&self, connection: &Connection, uri: String, on: bool) -> Result<(), UpstreamError> {
        let method = if on { "resources/subscribe" } else { "resources/unsubscribe" };
        let mut params = Map::new();
        params.insert("uri".to_owned(), Value::String(uri));
        let limit = self.config.timeout;
        let call = Arc::new(Call::internal(method, params, limit));
        let answered = tokio::time::timeout(limit, connection.request(&call)).await;
        answered.map_err(|_| UpstreamError::TimedOut(limit))?.map(drop)
    }

    /// Why it is down is for those who run it: the log and its state have it. What it wrote last may be about anybody.
    fn not_connected(&self) -> UpstreamError {
        let state = self.state.borrow();
        UpstreamError::NotSent(match &state.health {
            Health::Down { .. } => format!("`{}` is down", self.config.name),
            Health::Starting | Health::Up => format!("`{}` is not connected yet", self.config.name),
        })
    }
}

impl Upstream for Server {
    fn name(&self) -> &UpstreamName {
        &self.config.name
    }

    fn call<'a>(
        &'a self,
        request: UpstreamRequest,
        relay: Arc<dyn CallRelay>,
    ) -> BoxFuture<'a, Result<Value, UpstreamError>> {
        let span = self.spans.fetch_add(1, Ordering::Relaxed);
        let call = Arc::new(Call::new(request, relay, span));
        Box::pin(async move { self.timed(&call).await })
    }

    fn state(&self) -> watch::Receiver<Arc<UpstreamState>> {
        self.state.subscribe()
    }

    fn era(&self) -> Option<Era> {
        self.state.borrow().era
    }

    fn list_again(&self) {
        if let Some(connection) = self.main.load_full() {
            connection.signals().changed.notify_one();
        }
    }

    fn updates(&self) -> broadcast::Receiver<ResourceUpdate> {
        self.updates.subscribe()
    }

    fn watch_resource<'a>(&'a self, uri: &'a str, on: bool) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(async move {
            let tell = |uri: String, on: bool| async move {
                let era = *self.era.lock();
                match (self.main.load_full(), era) {
                    (Some(connection), Some(Era::Legacy)) => self.tell_watch(&connection, uri, on).await,
                    // A modern upstream is told by a fresh `subscriptions/listen`; one that is down, when it is back.
                    (Some(_) | None, Some(Era::Modern) | None) | (None, Some(Era::Legacy)) => Ok(()),
                }
            };
            self.watching.change(uri, on, tell).await
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.retire(Duration::ZERO))
    }
}
