//! One call under way: its request, its caller, and the clock that stands still while a person is asked (elicitation).

use super::{
    dialect::Dialect,
    slots::Slot,
    types::{CallRelay, CallerKey, Era, UpstreamRequest},
};
use crate::{
    model::{RetryPlan, RpcError, TraceId, code},
    telemetry::Below,
};
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The largest page of a listing.
pub(super) const LARGEST_PAGE: u64 = 8 << 20;

/// Shared by the future that waits for the answer and the tasks that read what the upstream says before it.
pub(super) struct Call {
    pub(super) request: UpstreamRequest,
    pub(super) relay: Arc<dyn CallRelay>,
    /// W3C `traceparent`; our own requests have none.
    pub(super) traceparent: Option<String>,
    /// Whether an agent waits behind it.
    pub(super) from_agent: bool,
    sent: AtomicBool,
    is_lost: AtomicBool,
    /// How many questions somebody is being asked.
    asks: AtomicUsize,
    /// Whether its slot was given back meanwhile.
    is_aside: AtomicBool,
    /// Whoever changes one of the two tells.
    changed: Notify,
}

impl Call {
    pub(super) fn new(request: UpstreamRequest, relay: Arc<dyn CallRelay>, span: u64) -> Self {
        let span = request.below.span.map_or(span.max(1), u64::from_be_bytes);
        let flags = u8::from(request.below.sampled);
        let traceparent = Some(format!("00-{}-{span:016x}-{flags:02x}", request.trace_id));
        Self::build(request, relay, traceparent, true)
    }

    /// A request of Tollgate itself: handshake and listing.
    pub(super) fn internal(method: &'static str, params: Map<String, Value>, timeout: Duration) -> Self {
        let request = UpstreamRequest {
            method,
            params: Arc::new(params),
            client_capabilities: Value::Object(Map::new()),
            wants_progress: false,
            log_level: None,
            trace_id: TraceId::from_bytes([0; 16]),
            below: Below::default(),
            timeout,
            retry: RetryPlan::Safe,
            param_headers: Vec::new(),
            caller: CallerKey { agent: "".into(), user: None, session: "".into() },
            era: Era::Modern,
        };
        Self::build(request, Arc::new(Nobody), None, false)
    }

    /// Of the legacy era, with the capabilities that are declared.
    pub(super) fn initialize(declared: &Value, dialect: &Dialect, timeout: Duration) -> Self {
        let mut params = Map::new();
        params.insert("protocolVersion".to_owned(), Value::String(dialect.version.to_string()));
        params.insert("capabilities".to_owned(), declared.clone());
        params.insert("clientInfo".to_owned(), Value::clone(&dialect.client_info));
        Self::internal("initialize", params, timeout)
    }

    fn build(
        request: UpstreamRequest,
        relay: Arc<dyn CallRelay>,
        traceparent: Option<String>,
        from_agent: bool,
    ) -> Self {
        Self {
            request,
            relay,
            traceparent,
            from_agent,
            sent: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            asks: AtomicUsize::new(0),
            is_aside: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// What of its trace goes into headers beside `_meta`: over HTTP both say it.
    pub(super) fn trace_headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let meta = self.request.params.get("_meta");
        let of_meta = move |key: &str| meta.and_then(|meta| meta.get(key)).and_then(Value::as_str);
        let traceparent = self.traceparent.as_deref();
        let (state, baggage) = match traceparent {
            Some(_) => (of_meta("tracestate"), of_meta("baggage")),
            None => (None, None),
        };
        [("traceparent", traceparent), ("tracestate", state), ("baggage", baggage)].into_iter().filter_map(
            |(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value?).ok()?)),
        )
    }

    /// The largest answer that is taken: a list may be longer than a result.
    pub(super) fn largest_answer(&self, max_result: u64) -> u64 {
        if self.from_agent { max_result } else { max_result.max(LARGEST_PAGE) }
    }

    /// Whether the upstream may have seen it.
    pub(super) fn sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    pub(super) fn set_sent(&self, sent: bool) {
        let sent = sent || self.is_lost.load(Ordering::Acquire);
        self.sent.store(sent, Ordering::Release);
        self.relay.sent(sent);
    }

    /// An attempt was sent and its answer lost: whatever a further attempt comes to, the upstream may have acted.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.set_sent(true);
    }

    /// Says that somebody is asked, until dropped: the call's clock stands, and its slot is given back.
    pub(super) fn asking(self: &Arc<Self>) -> PendingQuestion {
        self.asks.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        PendingQuestion(self.clone())
    }

    /// Holds the slot, and ends when `limit` has passed. While somebody is asked the clock stands and the slot is given
    /// back, and the time until there is a slot again does not count either.
    pub(super) async fn expired(&self, limit: Duration, mut slot: Slot) {
        let mut left = limit;
        loop {
            // Made before the count is looked at: it hears every change after that.
            let changed = self.changed.notified();
            if self.asks.load(Ordering::Acquire) == 0 {
                let started = Instant::now();
                tokio::select! {
                    () = tokio::time::sleep(left) => return,
                    () = changed => left = left.saturating_sub(started.elapsed()),
                }
                continue;
            }
            let Some(yielded) = slot.yielded() else { return std::future::pending().await };
            self.is_aside.store(true, Ordering::Release);
            self.nobody_is_asked().await;
            match yielded.back().await {
                Ok(again) => slot = again,
                // Whoever closed the slots ends the calls.
                Err(_) => return std::future::pending().await,
            }
            self.is_aside.store(false, Ordering::Release);
            self.changed.notify_waiters();
        }
    }

    /// Ends when somebody is asked.
    pub(super) async fn somebody_is_asked(&self) {
        loop {
            let changed = self.changed.notified();
            if self.asks.load(Ordering::Acquire) > 0 {
                return;
            }
            changed.await;
        }
    }

    async fn nobody_is_asked(&self) {
        loop {
            let changed = self.changed.notified();
            if self.asks.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Ends when the upstream may go on with the call after an answer: when the call has its slot again.
    pub(super) async fn may_go_on(&self) {
        loop {
            let changed = self.changed.notified();
            // An upstream that waits for a further answer does no work meanwhile.
            if !self.is_aside.load(Ordering::Acquire) || self.asks.load(Ordering::Acquire) > 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Somebody is asked about a call.
pub(super) struct PendingQuestion(Arc<Call>);

impl Drop for PendingQuestion {
    fn drop(&mut self) {
        self.0.asks.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// The caller's side of our own requests: nobody to ask.
struct Nobody;

impl CallRelay for Nobody {
    fn notify(&self, _method: &str, _params: Value) {}
    fn ask(&self, method: String, _params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        Box::pin(async move {
            Err(RpcError::new(code::METHOD_NOT_FOUND, format!("nobody is there to answer `{method}`")))
        })
    }
}
