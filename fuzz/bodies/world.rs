//! One upstream that a fuzzer plays, and calls to it.

use axum::Router;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::runtime::{Builder, Runtime};
use tollgate::{
    clock::System,
    config::{Asks, BreakerConfig, HttpWire, Isolation, RetryConfig, UpstreamConfig, UpstreamTransport},
    model::{RetryPlan, RpcError, TraceId},
    upstream::{
        CallRelay, CallerKey, Era, Timing, Upstream, UpstreamDeps, UpstreamError, UpstreamRequest,
        UpstreamSet,
    },
};

/// No call takes longer, or it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    runtime: Runtime,
    upstream: Arc<dyn Upstream>,
    _set: UpstreamSet,
}

/// An upstream at this URL.
pub(crate) fn config(url: url::Url, wire: HttpWire) -> UpstreamConfig {
    UpstreamConfig {
        name: "f".into(),
        transport: UpstreamTransport::Http { url, headers: BTreeMap::new(), wire, oauth: None },
        prefix: "f".to_owned(),
        isolation: Isolation::Shared,
        timeout: Duration::from_secs(2),
        max_concurrency: 4,
        max_result_bytes: 4096,
        retry: RetryConfig { attempts: 1, backoff: Duration::from_millis(1) },
        breaker: BreakerConfig { failures: 1_000_000, cooldown: Duration::from_secs(1) },
        labels: Vec::new(),
        asks: Asks::ALL,
        contain: None,
        apps: None,
        trust_annotations: false,
        trust_cost: false,
        pins: Default::default(),
        output_schema: tollgate::config::OutputCheck::Lint,
        tools: BTreeMap::new(),
    }
}

/// With the request's id where the input says so.
pub(crate) fn with_id(data: &[u8], id: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = rest.windows(3).position(|window| window == b"$ID") {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(id.to_string().as_bytes());
        rest = after.get(3..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Answers every question, and hears everything.
struct Anybody;

impl CallRelay for Anybody {
    fn notify(&self, _: &str, _: Value) {}
    fn ask(&self, _: String, _: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        Box::pin(std::future::ready(Ok(json!({ "action": "decline" }))))
    }
}

impl World {
    pub(crate) fn start(routes: Router, config: impl FnOnce(url::Url) -> UpstreamConfig) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (set, upstream) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
            tokio::spawn(async move { axum::serve(listener, routes).await });
            let system = Arc::new(System::default());
            let mut deps = UpstreamDeps::new(system.clone(), system, Arc::new(str::to_owned)).expect("deps");
            deps.timing = Timing {
                probe: Duration::from_millis(200),
                restart_first: Duration::from_millis(1),
                restart_max: Duration::from_millis(5),
                debounce: Duration::from_millis(1),
                stream_retry: Duration::from_millis(1),
                ..Timing::default()
            };
            let set = UpstreamSet::start([config(url.parse().expect("a URL"))], deps);
            set.settled().await;
            let upstream = set.get(&"f".into()).expect("the upstream");
            (set, upstream)
        });
        Self { runtime, upstream, _set: set }
    }

    fn made(&self) -> Result<Value, UpstreamError> {
        let params = Map::from_iter([("name".to_owned(), "t".into()), ("arguments".to_owned(), json!({}))]);
        let request = UpstreamRequest {
            method: "tools/call",
            params: params.into(),
            client_capabilities: json!({ "elicitation": {} }),
            wants_progress: true,
            log_level: None,
            trace_id: TraceId::from_bytes([1; 16]),
            below: Default::default(),
            timeout: Duration::from_secs(1),
            retry: RetryPlan::Never,
            param_headers: Vec::new(),
            caller: CallerKey { agent: "a".into(), user: None, session: "s".into() },
            era: Era::Legacy,
        };
        let call = self.upstream.call(request, Arc::new(Anybody));
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await.expect("the call hangs") })
    }

    /// A call, however it ends.
    pub(crate) fn call(&self) {
        self.made().ok();
    }

    /// A call that is answered: at once, or as soon as a connection stands again that the input has ended.
    pub(crate) fn call_well(&self) {
        for _ in 0..50 {
            match self.made() {
                Ok(_) => return,
                Err(UpstreamError::NotSent(_) | UpstreamError::Lost(_)) => {
                    let mut state = self.upstream.state();
                    let up = state.wait_for(|state| state.health == tollgate::upstream::Health::Up);
                    self.runtime.block_on(async {
                        tokio::time::timeout(PATIENCE, up).await.expect("it stays down").ok()
                    });
                }
                Err(error) => panic!("the next call: {error}"),
            }
        }
        panic!("the next call is never answered");
    }
}
