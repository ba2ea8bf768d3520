//! What the tests share: configurations, a caller that records, and waiting for states.

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tollgate::{
    clock::Fake,
    config::{Asks, BreakerConfig, HttpWire, Isolation, RetryConfig, UpstreamConfig, UpstreamTransport},
    model::{RetryPlan, RpcError, TraceId, UpstreamName},
    upstream::{
        CallRelay, CallerKey, Era, Health, Timing, Upstream, UpstreamDeps, UpstreamError, UpstreamRequest,
        UpstreamSet, UpstreamState,
    },
};

pub(crate) const ROLE: &str = "UPSTREAM_TEST_ROLE";
pub(crate) const GATEWAY: &str = "UPSTREAM_TEST_GATEWAY";
pub(crate) const SUPERVISE: &str = "supervise-this";

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not happen")
}

pub(crate) fn deps() -> (UpstreamDeps, Arc<Fake>) {
    let clock = Fake::at(Timestamp::UNIX_EPOCH);
    let own = std::env::current_exe().unwrap();
    let redact = Arc::new(|text: &str| text.replace("secret-word", "[redacted]"));
    let mut deps = UpstreamDeps::new(clock.clone(), clock.clone(), redact).unwrap();
    deps.supervisor = vec![own.into_os_string()];
    deps.supervisor.extend(
        ["supervisor", "--exact", "--nocapture", "--skip", "child_entry", "--", SUPERVISE].map(Into::into),
    );
    deps.timing = Timing {
        probe: Duration::from_millis(300),
        restart_first: Duration::from_millis(1),
        restart_max: Duration::from_millis(20),
        debounce: Duration::from_millis(1),
        stream_retry: Duration::from_millis(5),
        ..Timing::default()
    };
    (deps, clock)
}

fn config(name: &str, transport: UpstreamTransport) -> UpstreamConfig {
    UpstreamConfig {
        name: name.into(),
        transport,
        prefix: name.to_owned(),
        isolation: Isolation::Shared,
        timeout: Duration::from_secs(30),
        max_concurrency: 64,
        max_result_bytes: 200_000,
        retry: RetryConfig { attempts: 2, backoff: Duration::from_millis(1) },
        breaker: BreakerConfig { failures: 100, cooldown: Duration::from_secs(30) },
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

/// An upstream that is this binary in the given role.
pub(crate) fn stdio(name: &str, role: &str) -> UpstreamConfig {
    let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let command = [own.as_str(), "child_entry", "--exact", "--nocapture"].map(str::to_owned).to_vec();
    let env = [(ROLE.to_owned(), role.to_owned().into())].into();
    config(name, UpstreamTransport::Stdio { command, env, cwd: std::env::temp_dir() })
}

pub(crate) fn http(name: &str, url: url::Url) -> UpstreamConfig {
    let headers = [("X-Own".to_owned(), "mine".to_owned().into())].into();
    config(name, UpstreamTransport::Http { url, headers, wire: HttpWire::Auto, oauth: None })
}

/// A set with one upstream, up.
pub(crate) async fn up(config: UpstreamConfig) -> (UpstreamSet, Arc<dyn Upstream>) {
    let name = config.name.clone();
    let set = UpstreamSet::start([config], deps().0);
    let upstream = set.get(&name).unwrap();
    soon(set.settled()).await;
    let state = upstream.state().borrow().clone();
    assert_eq!(state.health, Health::Up, "{state:?}");
    (set, upstream)
}

pub(crate) async fn until(
    upstream: &Arc<dyn Upstream>,
    what: impl FnMut(&Arc<UpstreamState>) -> bool,
) -> Arc<UpstreamState> {
    soon(upstream.state().wait_for(what)).await.unwrap().clone()
}

pub(crate) fn tools(state: &UpstreamState) -> Vec<&str> {
    state.listing.tools.iter().map(|t| t["name"].as_str().unwrap()).collect()
}

pub(crate) fn request(tool: &str, arguments: Value) -> UpstreamRequest {
    let Value::Object(params) = json!({ "name": tool, "arguments": arguments }) else { unreachable!() };
    UpstreamRequest {
        method: "tools/call",
        params: params.into(),
        client_capabilities: json!({ "elicitation": { "form": {} } }),
        wants_progress: false,
        log_level: None,
        trace_id: TraceId::from_bytes([7; 16]),
        below: Default::default(),
        timeout: Duration::from_secs(30),
        retry: RetryPlan::Never,
        param_headers: Vec::new(),
        caller: CallerKey { agent: "a".into(), user: None, session: "s".into() },
        era: Era::Modern,
    }
}

/// The request after one that was answered with a question of the tool `ask`.
pub(crate) fn answering(question: &Value) -> UpstreamRequest {
    let mut next = request("ask", json!({}));
    let params = Arc::make_mut(&mut next.params);
    let answer = json!({ "who": { "action": "accept", "content": { "name": "Ada" } } });
    params.insert("inputResponses".to_owned(), answer);
    params.insert("requestState".to_owned(), question["requestState"].clone());
    next
}

/// A caller that records what it is told and answers every question alike.
pub(crate) struct Caller {
    pub(crate) told: mpsc::UnboundedSender<(String, Value)>,
    pub(crate) answer: Mutex<Option<BoxFuture<'static, Result<Value, RpcError>>>>,
}

impl CallRelay for Caller {
    fn notify(&self, method: &str, params: Value) {
        drop(self.told.send((method.to_owned(), params)));
    }
    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        drop(self.told.send((method, params)));
        match self.answer.lock().take() {
            Some(answer) => answer,
            None => Box::pin(async { Ok(json!({ "action": "accept", "content": { "name": "Ada" } })) }),
        }
    }
}

pub(crate) fn caller() -> (Arc<Caller>, mpsc::UnboundedReceiver<(String, Value)>) {
    let (told, hears) = mpsc::unbounded_channel();
    (Arc::new(Caller { told, answer: Mutex::new(None) }), hears)
}

pub(crate) async fn call(upstream: &Arc<dyn Upstream>, tool: &str) -> Result<Value, UpstreamError> {
    soon(upstream.call(request(tool, json!({})), caller().0)).await
}

pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

pub(crate) fn name(text: &str) -> UpstreamName {
    text.into()
}
