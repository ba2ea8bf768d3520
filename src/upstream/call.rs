//! One call under way: its request, its caller, and the clock that stands still while a person is asked.

use super::{
    types::{CallRelay, CallerKey, Era, UpstreamRequest},
    wire::Dialect,
};
use crate::model::{RetryPlan, RpcError, TraceId, code};
use futures::future::BoxFuture;
use parking_lot::Mutex;
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
    /// Params that a further round adds: `inputResponses`, `requestState`.
    pub(super) round: Mutex<Map<String, Value>>,
    /// Whether an agent waits behind it.
    pub(super) from_agent: bool,
    sent: AtomicBool,
    /// How many questions somebody is being asked; whoever changes it tells.
    asks: AtomicUsize,
    asks_changed: Notify,
}

impl Call {
    pub(super) fn new(request: UpstreamRequest, relay: Arc<dyn CallRelay>, span: u64) -> Self {
        let traceparent = Some(format!("00-{}-{:016x}-01", request.trace_id, span.max(1)));
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
            timeout,
            retry: RetryPlan::Safe,
            param_headers: Vec::new(),
            caller: CallerKey { agent: "".into(), session: "".into() },
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
            round: Mutex::new(Map::new()),
            from_agent,
            sent: AtomicBool::new(false),
            asks: AtomicUsize::new(0),
            asks_changed: Notify::new(),
        }
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
        self.sent.store(sent, Ordering::Release);
    }

    /// Holds the clock until dropped.
    pub(super) fn asking(self: &Arc<Self>) -> Asking {
        self.asks.fetch_add(1, Ordering::AcqRel);
        self.asks_changed.notify_waiters();
        Asking(self.clone())
    }

    /// Ends when `limit` has passed, not counting the time in which somebody was asked.
    pub(super) async fn expired(&self, limit: Duration) {
        let mut left = limit;
        loop {
            // Made before the count is looked at: it hears every change after that.
            let changed = self.asks_changed.notified();
            if self.asks.load(Ordering::Acquire) > 0 {
                changed.await;
                continue;
            }
            let started = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                () = changed => left = left.saturating_sub(started.elapsed()),
            }
        }
    }
}

/// Holds a call's clock while somebody is asked.
pub(super) struct Asking(Arc<Call>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asks.fetch_sub(1, Ordering::AcqRel);
        self.0.asks_changed.notify_waiters();
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
