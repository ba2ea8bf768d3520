//! Upstreams that misbehave, and agents that use an upstream so that others cannot: with real processes and servers.

use crate::binary::pipe;
use axum::{Router, body::Body, extract::State, http::Method, response::IntoResponse, routing::any};
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tollgate::{
    clock::{Clock as _, Fake, IdSource as _, System},
    config::{
        self, Asks, BreakerConfig, HttpWire, Isolation, RetryConfig, UpstreamConfig, UpstreamTransport,
    },
    connections::Connections,
    front::state::SealedState,
    gateway::{CallReply, CheckedFiles, Gateway, GatewayParts, IncomingCall, Origin, Purpose},
    identity::{AgentPrincipal, Principal, Proof},
    model::{CallKind, EventType, MicroUsd, Outcome, RetryPlan, RpcError, TraceId},
    store::{EventQuery, Store, embedded::EmbeddedStore},
    upstream::{
        CallRelay, CallerKey, Era, Health, Upstream, UpstreamDeps, UpstreamError, UpstreamRequest,
        UpstreamSet,
    },
};

/// No test waits longer than this for anything.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it did not happen")
}

pub(crate) fn deps() -> UpstreamDeps {
    let system = Arc::new(System::default());
    let mut deps = UpstreamDeps::new(system.clone(), system, Arc::new(str::to_owned)).unwrap();
    deps.supervisor = vec![env!("CARGO_BIN_EXE_tollgate").into(), "supervise-child".into()];
    deps
}

fn config(transport: UpstreamTransport) -> UpstreamConfig {
    UpstreamConfig {
        name: "up".into(),
        transport,
        prefix: "up".to_owned(),
        isolation: Isolation::Shared,
        timeout: Duration::from_secs(30),
        max_concurrency: 64,
        max_result_bytes: 200_000,
        retry: RetryConfig { attempts: 1, backoff: Duration::from_millis(1) },
        breaker: BreakerConfig { failures: 3, cooldown: Duration::from_secs(600) },
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

pub(crate) fn http(url: &str) -> UpstreamConfig {
    let (url, headers) = (url.parse().unwrap(), BTreeMap::new());
    config(UpstreamTransport::Http { url, headers, wire: HttpWire::Auto, oauth: None })
}

/// A child of the legacy era in `sh`, with what it does at the beginning, for a list, for a call and for our answer.
pub(crate) fn child(begin: &str, list: &str, call: &str, answer: &str) -> UpstreamConfig {
    const SCRIPT: &str = r#"
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$1" "$2"; }
@BEGIN
while read -r line; do
  id=${line#*\"id\":}; id=${id%%,*}
  case "$line" in
  *'"server/discover"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
  *'"initialize"'*) answer "$id" '{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"s","version":"1"}}' ;;
  *'"tools/list"'*) @LIST ;;
  *'"tools/call"'*) @CALL ;;
  *'"result"'*) @ANSWER ;;
  esac
done
"#;
    let script = SCRIPT
        .replace("@BEGIN", begin)
        .replace("@LIST", list)
        .replace("@CALL", call)
        .replace("@ANSWER", answer);
    let command = ["sh".to_owned(), "-c".to_owned(), script].to_vec();
    config(UpstreamTransport::Stdio { command, env: BTreeMap::new(), cwd: std::env::temp_dir() })
}

pub(crate) const LISTS: &str = r#"answer "$id" '{"tools":[{"name":"t"}]}'"#;
pub(crate) const ANSWERS: &str = r#"answer "$id" '{"content":[]}'"#;

pub(crate) async fn up(config: UpstreamConfig) -> (UpstreamSet, Arc<dyn Upstream>) {
    up_with(deps(), config).await
}

async fn up_with(deps: UpstreamDeps, config: UpstreamConfig) -> (UpstreamSet, Arc<dyn Upstream>) {
    let set = UpstreamSet::start([config], deps);
    soon(set.settled()).await;
    let upstream = set.get(&"up".into()).unwrap();
    let state = upstream.state().borrow().clone();
    assert_eq!(state.health, Health::Up, "{state:?}");
    (set, upstream)
}

pub(crate) fn request(agent: &str, tool: &str) -> UpstreamRequest {
    let Value::Object(params) = json!({"name": tool, "arguments": {}}) else { unreachable!() };
    UpstreamRequest {
        method: "tools/call",
        params: params.into(),
        client_capabilities: json!({"elicitation": {"form": {}}}),
        wants_progress: false,
        log_level: None,
        trace_id: TraceId::from_bytes([7; 16]),
        below: Default::default(),
        timeout: Duration::from_secs(30),
        retry: RetryPlan::Never,
        param_headers: Vec::new(),
        caller: CallerKey { agent: agent.into(), user: None, session: "s".into() },
        era: Era::Legacy,
    }
}

/// Asks a person, who takes their time.
pub(crate) struct Person {
    asked: mpsc::UnboundedSender<oneshot::Sender<Value>>,
}

impl CallRelay for Person {
    fn notify(&self, _: &str, _: Value) {}
    fn ask(&self, _: String, _: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        let (answer, answered) = oneshot::channel();
        self.asked.send(answer).unwrap();
        Box::pin(async move { answered.await.map_err(|_| RpcError::new(-1, "gone")) })
    }
}

pub(crate) fn person() -> (Arc<Person>, mpsc::UnboundedReceiver<oneshot::Sender<Value>>) {
    let (asked, hears) = mpsc::unbounded_channel();
    (Arc::new(Person { asked }), hears)
}

pub(crate) async fn call(
    upstream: &Arc<dyn Upstream>,
    agent: &str,
    tool: &str,
) -> Result<Value, UpstreamError> {
    soon(upstream.call(request(agent, tool), person().0)).await
}

/// What a test's HTTP server does for a request: method, and the message.
type Script = Arc<dyn Fn(Method, Value) -> BoxFuture<'static, axum::response::Response> + Send + Sync>;

pub(crate) async fn serve(
    script: impl Fn(Method, Value) -> BoxFuture<'static, axum::response::Response> + Send + Sync + 'static,
) -> String {
    async fn handle(State(script): State<Script>, method: Method, body: String) -> axum::response::Response {
        script(method, serde_json::from_str(&body).unwrap_or_default()).await
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let script: Script = Arc::new(script);
    let router = Router::new().route("/mcp", any(handle)).with_state(script);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

pub(crate) fn reply(message: &Value, result: &Value) -> axum::response::Response {
    axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}

/// What a plain server of the legacy era says.
pub(crate) fn plain(method: &Method, message: &Value) -> axum::response::Response {
    use axum::http::StatusCode;
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => reply(
            message,
            &json!({"protocolVersion": "2025-11-25", "serverInfo": {"name": "u", "version": "1"},
            "capabilities": {"tools": {}}}),
        ),
        "tools/list" => reply(message, &json!({"tools": [{"name": "t"}, {"name": "slow"}]})),
        "tools/call" => reply(message, &json!({"content": []})),
        "server/discover" => StatusCode::BAD_REQUEST.into_response(),
        _ => StatusCode::ACCEPTED.into_response(),
    }
}

fn is_call(message: &Value, tool: &str) -> bool {
    message["method"] == "tools/call" && message["params"]["name"] == tool
}

/// Calls that wait longer than the upstream's own time limit all come to their turn, no breaker opens, and another agent's
/// call does not wait for the queue of the first.
#[tokio::test]
async fn waiting_for_a_slot_is_no_failure_and_no_queue_for_others() {
    let url = serve(|method, message| {
        Box::pin(async move {
            if message["method"] == "tools/call" {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            plain(&method, &message)
        })
    })
    .await;
    let mut config = http(&url);
    // Twelve calls of 0.4 s, one by one, take longer than each of them may.
    config.timeout = Duration::from_secs(4);
    config.max_concurrency = 1;
    let (_set, upstream) = up(config).await;
    let order = Mutex::new(Vec::new());
    let agents = std::iter::repeat_n("a", 12).chain(["b"]);
    let calls = agents.map(|agent| {
        let (upstream, order) = (&upstream, &order);
        async move {
            let outcome = call(upstream, agent, "slow").await;
            order.lock().push(agent);
            outcome
        }
    });
    for outcome in soon(join_all(calls)).await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    let place = order.lock().iter().position(|agent| *agent == "b").unwrap();
    assert!(place <= 2, "{:?}", order.lock());
}

/// A call whose client's person is asked holds no slot, however long they take; afterwards it goes on.
#[tokio::test]
async fn a_person_who_takes_their_time_holds_no_slot() {
    let ask = r#"case "$line" in
      *'"name":"ask"'*) asked=$id; printf '{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"?"}}\n' ;;
      *) answer "$id" '{"content":[]}' ;;
    esac"#;
    let mut config = child("", LISTS, ask, r#"answer "$asked" '{"content":[],"asked":true}'"#);
    config.max_concurrency = 1;
    let (_set, upstream) = up(config).await;
    let (relay, mut hears) = person();
    let asking = upstream.call(request("a", "ask"), relay);
    tokio::pin!(asking);
    let answer = tokio::select! {
        outcome = &mut asking => panic!("{outcome:?}"),
        answer = soon(hears.recv()) => answer.unwrap(),
    };
    let others = async {
        for agent in ["b", "a", "b"] {
            call(&upstream, agent, "t").await.unwrap();
        }
        answer.send(json!({"action": "accept", "content": {}})).unwrap();
    };
    let (outcome, ()) = soon(async { tokio::join!(asking, others) }).await;
    assert_eq!(outcome.unwrap()["asked"], true);
}

/// The call that tries whether an upstream works again may ask a person: the others do not wait for the answer.
#[tokio::test]
async fn a_person_who_takes_their_time_keeps_no_breaker_open() {
    let call_script = r#"case "$line" in
      *'"name":"bad"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{}} and more\n' "$id" ;;
      *'"name":"ask"'*) asked=$id; printf '{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"?"}}\n' ;;
      *) answer "$id" '{"content":[]}' ;;
    esac"#;
    let mut config = child("", LISTS, call_script, r#"answer "$asked" '{"content":[],"asked":true}'"#);
    // On a connection that others used lately nobody could tell whose question it is.
    config.isolation = Isolation::Agent;
    let cooldown = Duration::from_secs(600);
    config.breaker = BreakerConfig { failures: 2, cooldown };
    let clock = Fake::at(System::default().now());
    let (_set, upstream) = up_with(UpstreamDeps { clock: clock.clone(), ..deps() }, config).await;
    for agent in ["a", "b"] {
        call(&upstream, agent, "bad").await.unwrap_err();
    }
    call(&upstream, "c", "t").await.unwrap_err();
    clock.advance(cooldown);
    let (relay, mut hears) = person();
    let asking = upstream.call(request("a", "ask"), relay);
    tokio::pin!(asking);
    let answer = tokio::select! {
        outcome = &mut asking => panic!("{outcome:?}"),
        answer = soon(hears.recv()) => answer.unwrap(),
    };
    let others = async {
        call(&upstream, "c", "t").await.unwrap();
        answer.send(json!({"action": "accept", "content": {}})).unwrap();
    };
    let (outcome, ()) = soon(async { tokio::join!(asking, others) }).await;
    assert_eq!(outcome.unwrap()["asked"], true);
}

/// What one agent provokes stops that agent: an error status, an answer that is none, a call that is not answered.
#[tokio::test]
async fn one_agents_failures_stop_nobody_else() {
    use axum::http::StatusCode;
    for tool in ["status", "odd", "silent"] {
        let url = serve(|method, message| {
            Box::pin(async move {
                match message["params"]["name"].as_str().unwrap_or_default() {
                    "status" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                    "odd" => "neither JSON nor anything".into_response(),
                    "silent" => std::future::pending().await,
                    _ => plain(&method, &message),
                }
            })
        })
        .await;
        let mut config = http(&url);
        config.timeout = Duration::from_millis(if tool == "silent" { 1_000 } else { 30_000 });
        let (_set, upstream) = up(config).await;
        for _ in 0..3 {
            call(&upstream, "a", tool).await.unwrap_err();
        }
        let refused = call(&upstream, "a", "t").await.unwrap_err().to_string();
        assert!(refused.contains("keeps failing"), "{tool}: {refused}");
        assert!(upstream.call(request("b", "t"), person().0).await.is_ok(), "{tool}");
        // Where it fails for others too it is the upstream's own matter.
        for agent in ["c", "d", "c", "d"] {
            call(&upstream, agent, tool).await.unwrap_err();
        }
        let refused = call(&upstream, "b", "t").await.unwrap_err().to_string();
        assert!(refused.contains("keeps failing"), "{tool}: {refused}");
    }
}

/// An upstream that says without end that its lists changed, under other names each time, is listed ever more rarely.
#[tokio::test]
async fn an_upstream_that_renames_its_tools_for_ever_is_read_rarely() {
    let list = r#"n=$((n+1)); answer "$id" "{\"tools\":[{\"name\":\"t$n\"}]}"
      printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'"#;
    let count = r#"answer "$id" "{\"content\":[],\"lists\":$n}""#;
    let begun = Instant::now();
    let (_set, upstream) = up(child("n=0", list, count, ":")).await;
    let mut lists = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        lists = call(&upstream, "a", "t").await.unwrap()["lists"].as_u64().unwrap();
    }
    let most = 8 + begun.elapsed().as_secs() * 3 / 5;
    assert!((3..=most).contains(&lists), "{lists}");
    assert_eq!(upstream.state().borrow().listing.tools.len(), 1);
}

/// A child that writes nothing but junk is closed, and it is told why.
#[tokio::test]
async fn junk_without_end_ends_the_connection() {
    // Whole lines are no messages; a line without end is one that is too large.
    for (junk, expect) in
        [("exec yes junk", "what is not a message"), ("tr '\\0' x < /dev/zero", "KiB that are read of one")]
    {
        let (_set, upstream) = up(child("", LISTS, junk, ":")).await;
        let mut states = upstream.state();
        let is_told =
            |health: &Health| matches!(health, Health::Down { cause, .. } if cause.reason.contains(expect));
        let down =
            async { soon(states.wait_for(|state| is_told(&state.health))).await.unwrap().name.clone() };
        let (lost, _) = tokio::join!(call(&upstream, "a", "t"), down);
        assert!(matches!(lost, Err(UpstreamError::Lost(_))), "{lost:?}");
        soon(states.wait_for(|state| state.health == Health::Up)).await.unwrap();
    }
}

/// Notifications without end are passed on at a bounded rate.
#[tokio::test]
async fn notifications_without_end_are_slowed() {
    let flood = r#"while :; do printf '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n%.0s' 1 2 3 4 5 6 7 8 9; done"#;
    let (_set, upstream) = up(child("", LISTS, flood, ":")).await;
    let told = Arc::new(Counter::default());
    let mut flooded = request("a", "t");
    flooded.timeout = Duration::from_secs(2);
    let begun = Instant::now();
    soon(upstream.call(flooded, told.clone())).await.unwrap_err();
    let most = 4 * 1024 + 1024 * (begun.elapsed().as_secs() + 1);
    let told = told.0.load(Ordering::Relaxed);
    assert!((1..=most).contains(&told), "{told}");
}

/// Counts what it is told.
#[derive(Default)]
struct Counter(AtomicU64);

impl CallRelay for Counter {
    fn notify(&self, _: &str, _: Value) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn ask(&self, _: String, _: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        Box::pin(async { Err(RpcError::new(-1, "nobody")) })
    }
}

/// A stream of comments without end is read at a bounded rate, and calls go on beside it.
#[tokio::test]
async fn a_stream_of_nothing_keeps_nobody_busy() {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = taken.clone();
    let url = serve(move |method, message| {
        let counted = counted.clone();
        Box::pin(async move {
            if method != Method::GET {
                return plain(&method, &message);
            }
            let comments = bytes::Bytes::from(": nothing\n\n".repeat(6_000));
            let stream = async_stream::stream! {
                loop {
                    yield Ok::<_, std::io::Error>(comments.clone());
                    counted.fetch_add(comments.len() as u64, Ordering::Relaxed);
                }
            };
            ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
        })
    })
    .await;
    let (_set, upstream) = up(http(&url)).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        call(&upstream, "a", "t").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What is allowed, and what the sockets hold.
    let most = (4 << 20) + (1 << 20) * (begun.elapsed().as_secs() + 1) + (24 << 20);
    let taken = taken.load(Ordering::Relaxed);
    assert!((1..=most).contains(&taken), "{taken}");
}

/// What a child writes to standard error reaches the log at a bounded rate, with how much was left out.
#[tokio::test]
async fn a_child_cannot_fill_the_log() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let flood = "yes 'a line of diagnostics that nobody will ever read' >&2 &";
    let UpstreamTransport::Stdio { command, .. } = child(flood, LISTS, ANSWERS, ":").transport else {
        unreachable!()
    };
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("child.sh");
    std::fs::write(&script, &command[2]).unwrap();
    write_files(folder.path(), &format!("command = [\"sh\", {:?}]", script.to_str().unwrap()));
    let mut serving = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .current_dir(folder.path())
        .arg("serve")
        .env("TOLLGATE_LOG", "info,tollgate::upstream=debug")
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(serving.stderr.take().unwrap()).lines();
    let (begun, mut bytes, mut told) = (Instant::now(), 0, 0);
    while told < 20 {
        let line = soon(log.next_line()).await.unwrap().expect("it ended");
        bytes += line.len();
        told += u32::from(line.contains("were left out"));
    }
    // The burst, and per second as much again as a tenth of it; the lines' own heads included.
    let most = (256 << 10) + (16 << 10) * usize::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!(bytes <= most, "{bytes}");
    serving.kill().await.unwrap();
}

const AUTHORITY: &str = r#"
capabilities:
  all: { tools: ["**"] }
agents:
  one: { type: worker, role: worker, tenant: acme, owner: team, workflow: wf, model: gpt-4o, capabilities: [all], keys: ["sha256:1111111111111111111111111111111111111111111111111111111111111111"] }
  two: { type: worker, role: worker, tenant: acme, owner: team, workflow: wf, model: gpt-4o, capabilities: [all], keys: ["sha256:2222222222222222222222222222222222222222222222222222222222222222"] }
workflows:
  wf: { owner: team, approval_sla: 15m }
"#;

fn write_files(folder: &Path, upstream: &str) {
    let bundle = folder.join("policies");
    std::fs::create_dir(&bundle).unwrap();
    let version = "version: \"1\"\nowner: team\ndefault_decision: ALLOW\n";
    std::fs::write(bundle.join("bundle.yaml"), version).unwrap();
    std::fs::write(bundle.join("authority.yaml"), AUTHORITY).unwrap();
    let servers = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstreams.up]\n{upstream}\n"
    );
    std::fs::write(folder.join("servers.toml"), servers).unwrap();
}

/// A gateway in this process with two agents, in front of one upstream.
struct World {
    gateway: Gateway,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(upstream: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), upstream);
        let loaded = config::load(&folder.path().join("servers.toml"), &|_| None);
        let config::Loaded { config, policies, .. } = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        config::ensure_data_dir(&config).unwrap();
        let system = Arc::new(System::default());
        let (path, durability) = (&config.store.path, config.store.durability);
        let store: Arc<dyn Store> = EmbeddedStore::open(
            path,
            &config.gateway.data_dir,
            durability,
            system.owner_id(),
            system.clone(),
        )
        .unwrap();
        let upstreams = UpstreamSet::start(config.upstreams.values().cloned(), deps());
        let connections = Connections::new(store.clone(), system.clone(), system.clone());
        let parts = GatewayParts {
            files: CheckedFiles { config, policies, origin: Origin::default() },
            store: store.clone(),
            upstreams,
            clock: system.clone(),
            ids: system,
            seal: Arc::new(SealedState::new(&[7; 32]).unwrap()),
            connections,
        };
        let gateway = Gateway::start(parts).await.unwrap();
        gateway.ready().await;
        assert!(!gateway.catalog().tools.is_empty(), "{:?}", gateway.readiness());
        Self { gateway, store, _folder: folder }
    }

    fn call(&self, agent: &str, tool: &str, arguments: Value) -> impl Future<Output = CallReply> + use<> {
        let gateway = self.gateway.clone();
        let call = IncomingCall {
            principal: Principal::Agent(AgentPrincipal::new(agent.into(), Proof::Stdio)),
            kind: CallKind::Tool,
            purpose: Purpose::Use,
            name: tool.to_owned(),
            arguments: Some(arguments),
            meta: Map::new(),
            extra_params: Map::new(),
            wire: Default::default(),
            workflow: None,
            session: Arc::from("s"),
            input_responses: None,
            request_state: None,
            client: Arc::new(crate::world::Nobody),
        };
        async move { gateway.call(call).await }
    }

    /// Waits until so many records of a kind are there.
    async fn events(&self, kind: EventType, count: usize) -> Vec<tollgate::model::Event> {
        let mut committed = self.store.committed();
        soon(async {
            loop {
                let query = EventQuery { event_type: Some(kind), limit: 1_000, ..EventQuery::default() };
                let events = self.store.events(query).await.unwrap();
                if events.len() >= count {
                    return events;
                }
                // One that falls behind has missed something, and looks again too.
                drop(committed.recv().await);
            }
        })
        .await
    }
}

/// The same where it waits for a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_before_it_is_connected_was_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    // The second process starts, and says nothing.
    let begun = pipe(two.clone());
    let begin = format!(
        "if [ -e {one:?} ]; then echo >{two:?}; while read -r line; do :; done; exit; fi; touch {one:?}"
    );
    let UpstreamTransport::Stdio { command, .. } = child(&begin, LISTS, ANSWERS, ":").transport else {
        unreachable!()
    };
    let script = folder.path().join("child.sh");
    std::fs::write(&script, &command[2]).unwrap();
    let command = format!("command = [\"sh\", {:?}]\nisolation = \"session\"", script.to_str().unwrap());
    let world = World::new(&command).await;
    let waiting = tokio::spawn(world.call("one", "up__t", json!({})));
    let begun = tokio::task::spawn_blocking(move || begun.recv_timeout(Duration::from_secs(60)));
    begun.await.unwrap().expect("the second process");
    waiting.abort();
    let settled = world.events(EventType::AgentSideEffect, 1).await;
    let given_up = &settled[0].draft;
    assert_eq!((given_up.outcome, given_up.cost_usd), (Some(Outcome::Failed), Some(MicroUsd::ZERO)));
    assert!(given_up.reason.as_deref().unwrap().contains("before anything was sent"), "{given_up:?}");
}

/// A server whose slow calls are answered when the test says so.
async fn gated() -> (String, Arc<Semaphore>, mpsc::UnboundedReceiver<Value>) {
    let (gate, (heard, hears)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let opens = gate.clone();
    let url = serve(move |method, message| {
        let (gate, heard) = (gate.clone(), heard.clone());
        Box::pin(async move {
            if message["method"] == "tools/call" {
                heard.send(message["params"].clone()).ok();
            }
            if is_call(&message, "slow") {
                gate.acquire().await.unwrap().forget();
            }
            plain(&method, &message)
        })
    })
    .await;
    (url, opens, hears)
}

/// One agent floods an upstream with calls that are not answered; another one is answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_slow_calls_leaves_room_for_another_agent() {
    let (url, gate, mut hears) = gated().await;
    let world = World::new(&format!("url = \"{url}\"\nmax_concurrency = 4\ntimeout = \"60s\"")).await;
    let flood: Vec<_> =
        (0..15).map(|n| tokio::spawn(world.call("one", "up__slow", json!({"n": n})))).collect();
    for _ in 0..3 {
        assert_eq!(soon(hears.recv()).await.unwrap()["name"], "slow");
    }
    world.events(EventType::AgentDecision, 15).await;
    let answer = soon(world.call("two", "up__t", json!({}))).await.unwrap();
    assert_eq!(answer["isError"].as_bool(), None, "{answer}");
    assert!(flood.iter().all(|call| !call.is_finished()), "the second agent was answered first");
    assert_eq!(hears.recv().await.unwrap()["name"], "t");
    assert!(hears.try_recv().is_err(), "one agent has three of four slots");
    gate.add_permits(15);
    for call in flood {
        let answer = soon(call).await.unwrap().unwrap();
        assert_eq!(answer["isError"].as_bool(), None, "{answer}");
    }
}

/// A call that is given up while it waits for a slot is recorded as what it is: never sent, and free.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_in_the_queue_was_never_sent() {
    let (url, gate, mut hears) = gated().await;
    let world = World::new(&format!("url = \"{url}\"\nmax_concurrency = 1\ntimeout = \"60s\"")).await;
    let first = tokio::spawn(world.call("one", "up__slow", json!({"n": 1})));
    soon(hears.recv()).await.unwrap();
    let waiting = tokio::spawn(world.call("one", "up__slow", json!({"n": 2})));
    world.events(EventType::AgentDecision, 2).await;
    waiting.abort();
    let settled = world.events(EventType::AgentSideEffect, 1).await;
    let given_up = &settled[0].draft;
    assert_eq!((given_up.outcome, given_up.cost_usd), (Some(Outcome::Failed), Some(MicroUsd::ZERO)));
    assert!(given_up.reason.as_deref().unwrap().contains("before anything was sent"), "{given_up:?}");
    gate.add_permits(1);
    soon(first).await.unwrap().unwrap();
    assert!(hears.try_recv().is_err(), "nothing of it reached the upstream");
    // One that was sent is another matter.
    let sent = tokio::spawn(world.call("one", "up__slow", json!({"n": 3})));
    soon(hears.recv()).await.unwrap();
    sent.abort();
    let settled = world.events(EventType::AgentSideEffect, 3).await;
    let unknown = settled.iter().filter(|event| event.draft.outcome == Some(Outcome::Unknown));
    assert_eq!(unknown.count(), 1);
}
