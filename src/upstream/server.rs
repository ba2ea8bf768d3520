//! One upstream: its connection kept up, its listing kept true, and the calls made on it.

use super::{
    breaker::{self, Breaker},
    call::Call,
    connect::{self, Connection, Hello, Wiring},
    deps::UpstreamDeps,
    http,
    inbox::Answer,
    listing,
    pool::Pool,
    types::{
        CallRelay, Era, Health, Listing, ResourceUpdate, Upstream, UpstreamError, UpstreamRequest,
        UpstreamState,
    },
    watching::Watching,
};
use crate::{
    config::{Isolation, UpstreamConfig, UpstreamTransport},
    model::{RetryPlan, RpcError, UpstreamName, code},
};
use arc_swap::ArcSwapOption;
use futures::future::{BoxFuture, join_all, try_join_all};
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
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// How long a fresh session's own stream is waited for.
const STREAM_WAIT: Duration = Duration::from_secs(1);
/// Rounds of questions (`input_required`) in one call.
const ROUNDS: usize = 16;

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
    slots: Semaphore,
    permits: u32,
    updates: broadcast::Sender<ResourceUpdate>,
    watching: Watching,
    era: Mutex<Option<Era>>,
    speaks_both: AtomicBool,
    spans: AtomicU64,
    stop: CancellationToken,
    ended: watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.config.name).finish_non_exhaustive()
    }
}

/// What an attempt to connect brought.
type Attempt = Result<(Arc<Connection>, Hello, Listing), String>;

impl Server {
    /// Begins to connect. `generation` is where its listing's counter goes on from.
    pub(super) fn start(
        config: UpstreamConfig,
        deps: UpstreamDeps,
        ticks: Arc<watch::Sender<u64>>,
        generation: u64,
    ) -> Arc<Self> {
        let http = match &config.transport {
            UpstreamTransport::Http { url, oauth, .. } => {
                http::Means::new(url, oauth.as_ref(), &deps).map(Some)
            }
            UpstreamTransport::Stdio { .. } => Ok(None),
        };
        let state = UpstreamState {
            name: config.name.clone(),
            health: Health::Starting,
            listing: Arc::new(Listing::default()),
            era: None,
            capabilities: Value::Null,
            server_info: Value::Null,
            instructions: None,
            generation,
        };
        let random = deps.ids.random();
        let span = random.first_chunk::<8>().map_or(1, |bytes| u64::from_be_bytes(*bytes));
        let permits = u32::try_from(config.max_concurrency.clamp(1, 1 << 20)).unwrap_or(1);
        let server = Arc::new(Self {
            state: watch::Sender::new(Arc::new(state)),
            ticks,
            settled: watch::Sender::new(false),
            main: ArcSwapOption::empty(),
            own: Pool::new(deps.clock.clone(), deps.timing.max_connections),
            http,
            breaker: Breaker::new(config.breaker, deps.clock.clone()),
            slots: Semaphore::new(usize::try_from(permits).unwrap_or(1)),
            permits,
            updates: broadcast::Sender::new(256),
            watching: Watching::new(),
            era: Mutex::new(None),
            speaks_both: AtomicBool::new(false),
            spans: AtomicU64::new(span),
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

    /// Begins to close it, with no regard to its calls.
    pub(super) fn abandon(&self) {
        self.stop.cancel();
    }

    /// Lets its calls end, at most for `drain`, then closes it.
    pub(super) async fn retire(&self, drain: Duration) {
        drop(tokio::time::timeout(drain, self.slots.acquire_many(self.permits)).await);
        self.slots.close();
        self.stop.cancel();
        let mut ended = self.ended.subscribe();
        drop(ended.wait_for(|ended| *ended).await);
    }

    async fn run(self: Arc<Self>) {
        let mut attempts = 0_u32;
        loop {
            let limit = self.deps.timing.handshake;
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(limit, self.attempt()) => outcome.unwrap_or_else(|_| {
                    Err(format!("it did not connect and list within {}", humantime::format_duration(limit)))
                }),
                () = self.stop.cancelled() => break,
            };
            let reason = match outcome {
                Ok((connection, hello, listing)) => {
                    let began = self.deps.clock.monotonic();
                    let reason = self.serve(&connection, &hello, listing).await;
                    if self.stop.is_cancelled() {
                        break;
                    }
                    // One that lists and dies over and over waits ever longer too.
                    if self.deps.clock.monotonic().saturating_sub(began) >= self.deps.timing.restart_max {
                        attempts = 0;
                    }
                    reason
                }
                Err(reason) => reason,
            };
            attempts = attempts.saturating_add(1);
            tracing::warn!(upstream = %self.config.name, attempts, reason, "the upstream is down");
            self.publish(|state| {
                state.health = Health::Down { reason, attempts };
                state.listing = Arc::new(Listing::default());
            });
            self.settled.send_replace(true);
            tokio::select! {
                () = tokio::time::sleep(self.backoff(attempts)) => {}
                () = self.stop.cancelled() => break,
            }
        }
        if let Some(connection) = self.main.swap(None) {
            connection.close().await;
        }
        join_all(self.own.drain().iter().map(|slot| slot.close())).await;
        self.publish(|state| {
            state.health = Health::Down { reason: "shut down".to_owned(), attempts: 0 };
            state.listing = Arc::new(Listing::default());
        });
        self.settled.send_replace(true);
        self.ended.send_replace(true);
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
        Ok(Wiring { config: &self.config, deps: &self.deps, means, updates: &self.updates, declared })
    }

    async fn attempt(&self) -> Attempt {
        let hint = *self.era.lock();
        let wiring = self.wiring(connect::declared_to_all(self.config.asks))?;
        let connected = connect::connect(&wiring, hint).await;
        let (connection, hello) = connected.inspect_err(|_| *self.era.lock() = None)?;
        *self.era.lock() = Some(hello.era);
        self.speaks_both.store(hello.speaks_both, Ordering::Relaxed);
        let listing = listing::list(&self.config.name, &connection, &hello, &self.deps.redact).await;
        let listing = listing.map_err(|error| match connection.signals().closed_reason() {
            Some(reason) => reason.to_string(),
            None => (self.deps.redact)(&format!("it cannot be listed: {error}")),
        })?;
        Ok((Arc::new(connection), hello, listing))
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

    /// Holds a connection until it ends; the reason why it did.
    async fn serve(&self, connection: &Arc<Connection>, hello: &Hello, listing: Listing) -> String {
        self.breaker.reset();
        self.main.store(Some(connection.clone()));
        tracing::info!(upstream = %self.config.name, era = ?hello.era, tools = listing.tools.len(), "the upstream is up");
        self.publish(|state| {
            state.health = Health::Up;
            state.listing = Arc::new(listing);
            state.era = Some(hello.era);
            state.capabilities = hello.capabilities.clone();
            state.server_info = hello.server_info.clone();
            state.instructions = hello.instructions.clone();
        });
        self.settled.send_replace(true);
        drop(connection.listen(hello, self.watching.uris()));
        self.watch_again(connection, hello.era).await;
        let signals = connection.signals();
        let mut sweep = tokio::time::interval(self.deps.timing.idle.max(Duration::from_millis(10)));
        let reason = loop {
            tokio::select! {
                reason = signals.closed() => break reason.to_string(),
                () = self.stop.cancelled() => return String::new(),
                () = signals.changed.notified() => tokio::select! {
                    listed = self.list_again(connection, hello) => match listed {
                        Ok(listing) => self.publish(|state| state.listing = Arc::new(listing)),
                        Err(reason) => break reason,
                    },
                    reason = signals.closed() => break reason.to_string(),
                    () = self.stop.cancelled() => return String::new(),
                },
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
        reason
    }

    async fn list_again(&self, connection: &Connection, hello: &Hello) -> Result<Listing, String> {
        tokio::time::sleep(self.deps.timing.debounce).await;
        let listing = listing::list(&self.config.name, connection, hello, &self.deps.redact);
        match tokio::time::timeout(self.deps.timing.handshake, listing).await {
            Ok(listed) => {
                listed.map_err(|error| (self.deps.redact)(&format!("it cannot be listed: {error}")))
            }
            Err(_) => Err("it did not list again in time".to_owned()),
        }
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

    /// The whole of one call under its time limit.
    async fn timed(&self, call: &Arc<Call>) -> Answer {
        let limit = call.request.timeout.min(self.config.timeout);
        let expired = call.expired(limit);
        tokio::pin!(expired);
        let _slot = tokio::select! {
            biased;
            slot = self.slots.acquire() => slot.map_err(|_| self.not_connected())?,
            () = &mut expired => {
                let waited = humantime::format_duration(limit);
                return Err(UpstreamError::NotSent(format!("no free slot at `{}` within {waited}", self.config.name)));
            }
        };
        let mut attempt = 1;
        loop {
            let leave = self.breaker.enter().map_err(|left| {
                let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
                UpstreamError::NotSent(format!(
                    "`{}` keeps failing: not asked for another {left}",
                    self.config.name
                ))
            })?;
            let (outcome, verdict) = tokio::select! {
                biased;
                outcome = self.once(call) => outcome,
                () = &mut expired => {
                    let error = if call.sent() {
                        UpstreamError::TimedOut(limit)
                    } else {
                        UpstreamError::NotSent(format!("no connection to `{}` in time", self.config.name))
                    };
                    // A caller whose own limit is shorter says nothing of the upstream to others.
                    if limit >= self.config.timeout {
                        leave.report(breaker::Health::Failed);
                    }
                    return Err(error);
                }
                () = self.stop.cancelled() => {
                    let reason = format!("`{}` was shut down", self.config.name);
                    return Err(if call.sent() { UpstreamError::Lost(reason) } else { UpstreamError::NotSent(reason) });
                }
            };
            if let Some(verdict) = verdict {
                leave.report(verdict);
            }
            let again = match &outcome {
                Err(UpstreamError::NotSent(_)) => true,
                Err(UpstreamError::Lost(_)) => call.request.retry == RetryPlan::Safe,
                Ok(_)
                | Err(
                    UpstreamError::Rpc(_)
                    | UpstreamError::TimedOut(_)
                    | UpstreamError::TooLarge(_)
                    | UpstreamError::Refused(_)
                    | UpstreamError::Malformed(_),
                ) => false,
            };
            if !again || attempt >= self.config.retry.attempts || self.stop.is_cancelled() {
                return outcome;
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.retry.backoff.saturating_mul(1 << (attempt - 1).min(16))) => {}
                () = &mut expired => return outcome,
            }
            attempt += 1;
        }
    }

    /// One attempt, and what it says of the upstream, where it says something.
    async fn once(&self, call: &Arc<Call>) -> (Answer, Option<breaker::Health>) {
        call.set_sent(false);
        let era = self.era_for(call);
        let outcome = match (self.config.isolation, era) {
            (Isolation::Shared, None) => match self.main.load_full() {
                Some(connection) => self.rounds(&connection, call).await,
                None => return (Err(self.not_connected()), None),
            },
            (Isolation::Shared | Isolation::Agent | Isolation::Session, _) => {
                let key = era.unwrap_or(Era::Modern);
                let Some((lease, evicted)) = self.own.lease(self.config.isolation, &call.request.caller, key)
                else {
                    let reason = format!(
                        "all connections to `{}` that this agent may have are in use",
                        self.config.name
                    );
                    return (Err(UpstreamError::NotSent(reason)), None);
                };
                if let Some(slot) = evicted {
                    tokio::spawn(async move { slot.close().await });
                }
                match Box::pin(self.own_connection(&lease.slot, call)).await {
                    Ok(connection) => self.rounds(&connection, call).await,
                    // It lists versions that it does not speak after all: bridged from now on, until it comes anew.
                    Err(reason) if era.is_some() => {
                        tracing::warn!(upstream = %self.config.name, reason, "the other era is refused");
                        self.speaks_both.store(false, Ordering::Relaxed);
                        drop(lease);
                        return Box::pin(self.once(call)).await;
                    }
                    Err(reason) => {
                        tracing::warn!(upstream = %self.config.name, reason, "a connection of a caller's own cannot be made");
                        let reason = format!("`{}` cannot be connected", self.config.name);
                        return (Err(UpstreamError::NotSent(reason)), Some(breaker::Health::Failed));
                    }
                }
            }
        };
        let verdict = breaker::Health::of(&outcome);
        (outcome, Some(verdict))
    }

    /// The era to be spoken where it is not the one that was found out: a caller of the legacy era meets an upstream
    /// that speaks both in its own, so that nothing needs a bridge. One child that all share keeps its one era: on its
    /// single stream nobody could tell whose question a question is.
    fn era_for(&self, call: &Call) -> Option<Era> {
        let alone = match (&self.config.transport, self.config.isolation) {
            (UpstreamTransport::Stdio { .. }, Isolation::Shared) => false,
            (UpstreamTransport::Stdio { .. }, Isolation::Agent | Isolation::Session)
            | (UpstreamTransport::Http { .. }, Isolation::Shared | Isolation::Agent | Isolation::Session) => {
                true
            }
        };
        let mirrored = alone && call.request.era == Era::Legacy && self.speaks_both.load(Ordering::Relaxed);
        mirrored.then_some(Era::Legacy)
    }

    async fn own_connection(&self, slot: &super::pool::Slot, call: &Call) -> Result<Arc<Connection>, String> {
        let mut place = slot.connection.lock().await;
        if let Some(connection) = place.as_ref().filter(|c| c.signals().closed_reason().is_none()) {
            return Ok(connection.clone());
        }
        let declared = match self.config.isolation {
            Isolation::Session => connect::declared_for(self.config.asks, &call.request.client_capabilities),
            Isolation::Agent | Isolation::Shared => connect::declared_to_all(self.config.asks),
        };
        let hint = self.era_for(call).or(*self.era.lock());
        let (connection, hello) = connect::connect(&self.wiring(declared)?, hint).await?;
        let connection = Arc::new(connection);
        if hello.era == Era::Legacy {
            // A modern upstream tells its changes on the shared connection.
            // The first call may be answered with logs and questions on that stream.
            if let Some(stands) = connection.listen(&hello, self.watching.uris()) {
                drop(tokio::time::timeout(STREAM_WAIT, stands).await);
            }
        }
        *place = Some(connection.clone());
        Ok(connection)
    }

    /// A request, and as many more as its questions take where they are answered here.
    async fn rounds(&self, connection: &Connection, call: &Arc<Call>) -> Answer {
        let mut rounds = 0;
        loop {
            let result = match connection.request(call).await {
                Ok(result) => result,
                Err(error) => {
                    self.heed(connection, &error);
                    return Err(error);
                }
            };
            let asks = result.get("resultType").and_then(Value::as_str) == Some("input_required");
            if !asks || !call.relay.answers_input() {
                return Ok(result);
            }
            rounds += 1;
            if rounds > ROUNDS {
                return Err(UpstreamError::Malformed(format!("it asked {ROUNDS} times without an end")));
            }
            let next = Box::pin(answers(call, result)).await.map_err(UpstreamError::Rpc)?;
            *call.round.lock() = next;
        }
    }

    /// What an error says of the connection as a whole.
    fn heed(&self, connection: &Connection, error: &UpstreamError) {
        if let UpstreamError::Rpc(RpcError { code, .. }) = error {
            match *code {
                // The tool's header annotations changed.
                code::HEADER_MISMATCH => connection.signals().changed.notify_one(),
                code::UNSUPPORTED_VERSION => {
                    *self.era.lock() = None;
                    connection.signals().close("it no longer speaks the version it spoke");
                }
                _ => {}
            }
        }
    }
}

/// Asks the caller what a modern upstream wants to know; the params of the next round.
async fn answers(call: &Arc<Call>, mut result: Value) -> Result<Map<String, Value>, RpcError> {
    let _asking = call.asking();
    let mut next = Map::new();
    if let Some(Value::Object(requests)) = result.get_mut("inputRequests").map(Value::take) {
        let asked = requests.into_iter().map(|(key, mut request)| async move {
            let params =
                request.get_mut("params").map(Value::take).unwrap_or_else(|| Value::Object(Map::new()));
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
            call.relay.ask(method, params).await.map(|answer| (key, answer))
        });
        let responses: Map<String, Value> = try_join_all(asked).await?.into_iter().collect();
        next.insert("inputResponses".to_owned(), Value::Object(responses));
    }
    if let Some(state) = result.get_mut("requestState").map(Value::take) {
        next.insert("requestState".to_owned(), state);
    }
    Ok(next)
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
