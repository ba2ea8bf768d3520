//! A gateway in this process over scripted upstreams, and raw clients of both eras.

mod bundle;
mod client;
mod failing;
mod issuer;
mod process;
mod upstream;

pub(crate) use bundle::{authority, digest, rewrite};
pub(crate) use client::{Client, Reply, Stream, form, pending};
pub(crate) use failing::{ADMISSION, ALL, Door, Duties, Failing, Fault, NOTHING, Question, Script, WRITES};
pub(crate) use issuer::{Issuer, SigningKey, set};
pub(crate) use process::{Files, Process};
pub(crate) use upstream::{Scripted, Seen, answer, error, json_reply, read_tool, text_result, tool};

use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate::{
    audit::{ReplayReport, kept_bundle, replay_recorded},
    clock::{Clock, Fake, IdSource, System},
    config::{self, Durability},
    connections::Connections,
    evidence::{ResolvedTool, tools_named},
    front::{self, http::HttpOptions},
    gateway::{CheckedFiles, Gateway, GatewayParts, Origin},
    model::{Event, EventType},
    replay::{Compared, Flip, Tally, simulate},
    store::{ApprovalFilter, ApprovalRecord, EventQuery, KeptKind, Store, embedded::EmbeddedStore},
    upstream::{Timing, UpstreamDeps, UpstreamSet},
};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not happen")
}

pub(crate) type Wrap = Box<dyn FnOnce(Arc<dyn Store>) -> Arc<dyn Store>>;

/// What a world is made of.
pub(crate) struct Setup {
    /// `=== name` and the text of each bundle file that differs from the default.
    pub(crate) files: String,
    /// More lines for `[gateway]`.
    pub(crate) gateway: String,
    /// Tables after those of the default upstream; `{name}` of a further upstream is its URL.
    pub(crate) servers: String,
    /// Lines for `[upstreams.up]`.
    pub(crate) up: String,
    /// Upstreams beside the default one.
    pub(crate) more: Vec<(&'static str, Scripted)>,
    /// The time that does not pass by itself.
    pub(crate) clock: Option<Arc<Fake>>,
    /// Stands between gateway and store.
    pub(crate) wrap: Option<Wrap>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            files: String::new(),
            gateway: "approval_wait = \"200ms\"".to_owned(),
            servers: String::new(),
            up: String::new(),
            more: Vec::new(),
            clock: None,
            wrap: None,
        }
    }
}

/// A running gateway with everything around it.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) up: Scripted,
    pub(crate) more: Vec<(&'static str, Scripted)>,
    pub(crate) gate: Gate,
    pub(crate) http: reqwest::Client,
    replayed: Replayed,
    _folder: tempfile::TempDir,
}

/// At the end of a world, every decision of its record is decided again: none may differ (I11).
struct Replayed(PathBuf, std::sync::atomic::AtomicBool);

impl Drop for Replayed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let dir = self.0.clone();
        // A test's own runtime cannot be waited on here.
        let replayed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(replay(&dir))
        });
        if let Some((report, flips)) = replayed.join().unwrap() {
            let differs = report.differs > 0;
            let expected = self.1.load(Ordering::SeqCst);
            assert_eq!(differs, expected, "{:#?}", report.differences);
            assert!(expected || flips.is_empty(), "no call changes under its own bundle: {flips:#?}");
        }
    }
}

/// Decides again what the store of a folder has recorded, and simulates it under its own bundles. None where a test has left no
/// store that can be read.
async fn replay(dir: &std::path::Path) -> Option<(ReplayReport, Vec<Flip>)> {
    let path = dir.join("data/tollgate.db");
    if !path.is_file() {
        return None;
    }
    let owner = System::default().owner_id();
    let store =
        EmbeddedStore::open(&path, &dir.join("data"), Durability::Commit, owner, Arc::new(System::default()))
            .ok()?;
    let report = replay_recorded(&*store, EventQuery::default(), &mut |_| {}).await.ok();
    for line in store.event_lines(EventQuery::default()).await.unwrap_or_default() {
        record::hold(&line.json);
    }
    let some = EventQuery { limit: 2_000, ..EventQuery::default() };
    store.events(some).await.unwrap_or_default().iter().for_each(record::hold_ocsf);
    let flips = own_flips(&*store).await;
    store.close().await;
    Some((report?, flips?))
}

/// The JSON Schema of a record.
#[path = "../../binary/record.rs"]
mod record;

/// What would change for recorded calls, each under the bundle that decided it: nothing, whatever limits and people did.
async fn own_flips(store: &dyn Store) -> Option<Vec<Flip>> {
    let query = EventQuery { event_type: Some(EventType::AgentDecision), ..EventQuery::default() };
    let mut tally = Tally::new(Compared::Recorded);
    let (mut bundles, mut tools) = (HashMap::new(), HashMap::new());
    for Event { draft, .. } in store.events(query).await.ok()? {
        let Some(snapshot) = draft.policy_snapshot.clone() else { continue };
        if !bundles.contains_key(&snapshot) {
            bundles.insert(snapshot.clone(), kept_bundle(store, &snapshot).await.ok()?);
        }
        for hash in tools_named(&draft) {
            let kept = store.kept(KeptKind::Tool, hash.to_owned()).await.ok()?;
            tools.insert(hash.to_owned(), kept.and_then(|kept| ResolvedTool::read(&kept.body)));
        }
        if let Some(set) = &bundles[&snapshot] {
            let tool = |hash: &str| tools.get(hash).cloned().flatten();
            let simulated = simulate(&draft, Some(set), &[set], &tool);
            tally.take(draft.call_id.as_ref(), draft.timestamp, simulated);
        }
    }
    Some(tally.finish().flips)
}

/// One gateway with its listeners; dropped, it stops listening.
pub(crate) struct Gate {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) mcp: String,
    pub(crate) admin: String,
    pub(crate) stop: CancellationToken,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The fake time with real ids, so that two gateways on one store do not make the same.
#[derive(Debug)]
struct Ids(System);

impl IdSource for Ids {
    fn random(&self) -> [u8; 32] {
        self.0.random()
    }
    fn uuid(&self) -> String {
        self.0.uuid()
    }
}

pub(crate) fn http_client() -> reqwest::Client {
    // The second and later calls find it installed.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl World {
    /// With these bundle files and the default for the rest.
    pub(crate) async fn of(files: &str) -> Self {
        Self::start(Setup { files: files.to_owned(), ..Setup::default() }).await
    }

    pub(crate) async fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let up = Scripted::start().await;
        let mut urls: Vec<(&str, String)> = setup.more.iter().map(|(name, s)| (*name, s.url())).collect();
        urls.push(("up", up.url()));
        bundle::write(&dir, &setup, &urls);
        let gate = Gate::start(&dir, setup.clock, setup.wrap).await;
        let replayed = Replayed(dir.clone(), false.into());
        Self { dir, up, more: setup.more, gate, http: http_client(), replayed, _folder: folder }
    }

    /// A test has written a decision that its facts do not give.
    pub(crate) fn expect_differences(&self) {
        self.replayed.1.store(true, Ordering::SeqCst);
    }

    /// Another gateway on the same store and files.
    pub(crate) async fn second(&self) -> Gate {
        Gate::start(&self.dir, None, None).await
    }

    /// A legacy client that can show forms.
    pub(crate) async fn legacy(&self, agent: &str) -> Client {
        Client::legacy(&self.http, &self.gate.mcp, agent, json!({"elicitation": {}})).await
    }

    /// A modern client that can show forms.
    pub(crate) fn modern(&self, agent: &str) -> Client {
        Client::modern(&self.http, &self.gate.mcp, agent, json!({"elicitation": {"form": {}}}))
    }

    /// A modern client that can show nothing.
    pub(crate) fn bare(&self, agent: &str) -> Client {
        Client::modern(&self.http, &self.gate.mcp, agent, json!({}))
    }

    /// The admin API: status and body.
    pub(crate) async fn api(&self, person: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        api(&self.http, &self.gate.admin, person, path, body).await
    }

    /// A person's decision through the API: the status.
    pub(crate) async fn decide(&self, person: &str, id: &str, decision: &str) -> u16 {
        let body = json!({"decision": decision, "comment": "seen"});
        self.api(person, &format!("approvals/{id}/decision"), Some(body)).await.0
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.gate.events().await
    }

    pub(crate) async fn approvals(&self) -> Vec<ApprovalRecord> {
        self.gate.store.approvals(ApprovalFilter::default()).await.unwrap()
    }

    /// Puts other bundle files in force, as a reload does.
    pub(crate) async fn reload(&self, files: &str) {
        bundle::rewrite(&self.dir, files);
        let loaded = config::load(&self.dir.join("servers.toml"), &|_| None).unwrap();
        let files =
            CheckedFiles { config: loaded.config, policies: loaded.policies, origin: Origin::default() };
        self.gate.gateway.reload(files).await.unwrap();
    }

    /// The newest decision of the newest call.
    pub(crate) async fn last_decision(&self) -> Event {
        let events = self.events().await;
        events.into_iter().rfind(|e| e.draft.event_type == EventType::AgentDecision).unwrap()
    }

    /// Waits until so many calls are settled, and gives their side effects in order.
    pub(crate) async fn until_settled(&self, at_least: usize) -> Vec<Event> {
        self.gate.until_settled(at_least).await
    }

    /// Waits until an approval, of whichever process, is as asked for.
    /// The newest record of how a call ended.
    pub(crate) async fn last_settled(&self) -> tollgate::model::EventDraft {
        self.until_settled(1).await.pop().unwrap().draft
    }

    pub(crate) async fn until_approval(&self, what: impl Fn(&ApprovalRecord) -> bool) -> ApprovalRecord {
        let mut changes = self.gate.store.approval_changes();
        soon(async {
            loop {
                if let Some(found) = self.approvals().await.into_iter().find(&what) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        })
        .await
    }

    /// Waits until an event of the chain is as asked for.
    pub(crate) async fn until_event(&self, what: impl Fn(&Event) -> bool) -> Event {
        self.gate.until_event(what).await
    }
}

pub(crate) async fn api(
    http: &reqwest::Client,
    admin: &str,
    person: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("{admin}/api/v1/{path}");
    let request = match &body {
        Some(body) => http.post(url).json(body),
        None => http.get(url),
    };
    let reply = soon(request.bearer_auth(format!("key-{person}")).send()).await.unwrap();
    let status = reply.status().as_u16();
    (status, reply.json().await.unwrap_or(Value::Null))
}

impl Gate {
    pub(crate) async fn start(dir: &std::path::Path, fake: Option<Arc<Fake>>, wrap: Option<Wrap>) -> Self {
        let loaded = config::load(&dir.join("servers.toml"), &|_| None)
            .unwrap_or_else(|p| panic!("{}", config::render(&p, &|name| std::fs::read_to_string(name).ok())));
        config::ensure_data_dir(&loaded.config).unwrap();
        let system = Arc::new(System::default());
        let ids: Arc<dyn IdSource> = Arc::new(Ids(System::default()));
        let clock: Arc<dyn Clock> = match fake {
            Some(fake) => fake,
            None => system,
        };
        let settings = &loaded.config;
        let store: Arc<dyn Store> = EmbeddedStore::open(
            &settings.store.path,
            &settings.gateway.data_dir,
            settings.store.durability,
            ids.owner_id(),
            clock.clone(),
        )
        .unwrap();
        let store = match wrap {
            Some(wrap) => wrap(store),
            None => store,
        };
        let rules = loaded.policies.data.clone();
        let redact = Arc::new(move |text: &str| rules.redact_text(text).into_owned());
        let mut deps = UpstreamDeps::new(clock.clone(), ids.clone(), redact).unwrap();
        let binary = env!("CARGO_BIN_EXE_tollgate");
        deps.supervisor = vec![binary.into(), tollgate::upstream::supervise::SUBCOMMAND.into()];
        deps.own_binary = binary.into();
        deps.timing = Timing {
            probe: Duration::from_millis(500),
            restart_first: Duration::from_millis(1),
            restart_max: Duration::from_millis(20),
            debounce: Duration::from_millis(1),
            stream_retry: Duration::from_millis(5),
            ..Timing::default()
        };
        let connections = Connections::new(store.clone(), clock.clone(), ids.clone());
        deps.credentials = Some(connections.clone());
        let upstreams = UpstreamSet::start(settings.upstreams.values().cloned(), deps);
        let key = store.secret("request-state", ids.random()).await.unwrap();
        let seal = Arc::new(front::state::SealedState::new(&key).unwrap());
        let files =
            CheckedFiles { config: loaded.config, policies: loaded.policies, origin: Origin::default() };
        let parts = GatewayParts {
            files,
            store: store.clone(),
            upstreams,
            clock: clock.clone(),
            ids: ids.clone(),
            seal,
            connections,
        };
        let gateway = Arc::new(Gateway::start(parts).await.unwrap());
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mcp = listener.local_addr().unwrap();
        let in_force = gateway.in_force();
        let mut options =
            HttpOptions::new(&in_force.config.gateway, clock.clone(), ids.clone(), stop.clone());
        options.listen = mcp;
        let endpoint = front::http::Endpoint::new(gateway.clone(), options);
        tokio::spawn(front::http::serve(listener, None, endpoint, stop.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        let desk = front::admin::Desk::new(gateway.clone(), clock);
        let router = front::admin::router(Arc::new(desk));
        tokio::spawn(front::http::serve(listener, None, router, stop.clone()));
        soon(gateway.ready()).await;
        Self { gateway, store, mcp: format!("http://{mcp}/mcp"), admin: format!("http://{admin}"), stop }
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.store.events(EventQuery::default()).await.unwrap()
    }

    pub(crate) async fn until_settled(&self, at_least: usize) -> Vec<Event> {
        let mut committed = self.store.committed();
        soon(async {
            loop {
                let events = self.events().await.into_iter();
                let settled: Vec<Event> =
                    events.filter(|e| e.draft.event_type == EventType::AgentSideEffect).collect();
                if settled.len() >= at_least {
                    return settled;
                }
                committed.recv().await.unwrap();
            }
        })
        .await
    }

    pub(crate) async fn until_event(&self, what: impl Fn(&Event) -> bool) -> Event {
        let mut committed = self.store.committed();
        if let Some(found) = self.events().await.into_iter().find(&what) {
            return found;
        }
        soon(async {
            loop {
                let event = committed.recv().await.unwrap();
                if what(&event) {
                    return (*event).clone();
                }
            }
        })
        .await
    }
}
