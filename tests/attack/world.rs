//! A gateway in this process, in front of an upstream that does as the test says.
#![allow(dead_code, reason = "each test uses its part")]

use axum::{Json, Router, extract::State, response::IntoResponse, routing::any};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use tollgate::{
    approval::ApprovalResponse,
    clock::{IdSource as _, System},
    config,
    connections::Connections,
    front::state::SealedState,
    gateway::{CallReply, CheckedFiles, ClientPort, Gateway, GatewayParts, IncomingCall, Origin, Purpose},
    identity::{AgentPrincipal, Principal, Proof},
    model::{ApprovalId, CallKind, PersonId, RpcError},
    policy::ChannelKind,
    store::{ApprovalFilter, ApprovalRecord, EventQuery, Store, embedded::EmbeddedStore},
    upstream::{Era, UpstreamDeps, UpstreamSet},
};

type Script = Arc<dyn Fn(&str, &Value) -> Result<Value, Value> + Send + Sync>;

/// What the upstream was asked for: method and params of everything after the lists.
pub(crate) type Heard = Arc<Mutex<Vec<(String, Value)>>>;

async fn upstream(State((script, heard)): State<(Script, Heard)>, body: String) -> axum::response::Response {
    let Ok(message) = serde_json::from_str::<Value>(&body) else {
        return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    let Some(id) = message.get("id").cloned() else {
        return axum::http::StatusCode::ACCEPTED.into_response();
    };
    let answer = match method.as_str() {
        "initialize" => {
            Ok(json!({"protocolVersion": "2025-11-25", "serverInfo": {"name": "evil", "version": "1"},
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}}}))
        }
        "server/discover" => Err(json!({"code": -32601, "message": "no"})),
        _ => {
            if !method.ends_with("/list") {
                heard.lock().push((method.clone(), message["params"].clone()));
            }
            script(&method, &message["params"])
        }
    };
    Json(match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    })
    .into_response()
}

/// An upstream that does as the script says: its URL, and what it is asked for.
pub(crate) async fn upstream_that(
    script: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
) -> (String, Heard) {
    let heard = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let state: (Script, Heard) = (Arc::new(script), heard.clone());
    let router = Router::new().route("/mcp", any(upstream)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, heard)
}

/// A client without any capability.
pub(crate) struct Nobody;

impl ClientPort for Nobody {
    fn era(&self) -> Era {
        Era::Legacy
    }
    fn capabilities(&self) -> &Value {
        &Value::Null
    }
    fn wants_progress(&self) -> bool {
        false
    }
    fn log_level(&self) -> Option<String> {
        None
    }
    fn notify(&self, _method: &str, _params: Value) {}
    fn ask(&self, _method: String, _params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        Box::pin(async { Err(RpcError::new(-1, "nobody is here")) })
    }
}

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) heard: Heard,
    pub(crate) folder: tempfile::TempDir,
    table: String,
    lines: String,
}

const AUTHORITY: &str = r#"
capabilities:
  all: { tools: ["**"], resources: ["**", "**?**"], prompts: ["**"] }
agents:
  robot:
    type: worker
    role: worker
    tenant: acme
    owner: team
    operator: alice
    workflow: wf-1
    workflows: [wf-1, wf-2]
    model: gpt-4o
    capabilities: [all]
    keys: ["sha256:1111111111111111111111111111111111111111111111111111111111111111"]
  rival:
    type: worker
    role: worker
    tenant: acme
    owner: team
    operator: bob
    workflow: wf-1
    model: gpt-4o
    capabilities: [all]
    keys: ["sha256:4444444444444444444444444444444444444444444444444444444444444444"]
people:
  alice: { keys: ["sha256:2222222222222222222222222222222222222222222222222222222222222222"], groups: [leads], roles: [approver] }
  bob: { keys: ["sha256:3333333333333333333333333333333333333333333333333333333333333333"], groups: [security], roles: [approver] }
workflows:
  wf-1: { owner: team, approval_sla: 15m }
  wf-2: { owner: team, approval_sla: 15m }
"#;

fn load(folder: &Path, table: &str, gateway: &str) -> config::Loaded {
    // More keys of `[gateway]`, where a test writes some.
    let more = std::fs::read_to_string(folder.join("gateway.toml")).unwrap_or_default();
    let servers = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\napproval_wait = \"0s\"\n{gateway}\n{more}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [upstreams.up]\n{table}\nprefix = \"up\"\n"
    );
    let path = folder.join("servers.toml");
    std::fs::write(&path, servers).unwrap();
    config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

impl World {
    /// With these policy files beside bundle.yaml and authority.yaml.
    pub(crate) async fn new(
        policies: &[(&str, &str)],
        script: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
    ) -> Self {
        Self::with_gateway("", policies, script).await
    }

    /// The same with these lines under `[gateway]`.
    pub(crate) async fn with_gateway(
        gateway: &str,
        policies: &[(&str, &str)],
        script: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static,
    ) -> Self {
        let (url, heard) = upstream_that(script).await;
        Self::over(gateway, policies, &format!("url = \"{url}\""), heard).await
    }

    /// In front of the upstream that these lines of its table name.
    pub(crate) async fn over(gateway: &str, policies: &[(&str, &str)], table: &str, heard: Heard) -> Self {
        let (lines, table) = (gateway.to_owned(), table.to_owned());
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("policies");
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("bundle.yaml"), "version: \"1\"\nowner: team\ndefault_decision: ALLOW\n")
            .unwrap();
        std::fs::write(bundle.join("authority.yaml"), AUTHORITY).unwrap();
        for (name, text) in policies {
            std::fs::write(bundle.join(name), text).unwrap();
        }
        let config::Loaded { config, policies, .. } = load(folder.path(), &table, &lines);
        config::ensure_data_dir(&config).unwrap();
        let system = Arc::new(System::default());
        let store: Arc<dyn Store> = EmbeddedStore::open(
            &config.store.path,
            &config.gateway.data_dir,
            config.store.durability,
            system.owner_id(),
            system.clone(),
        )
        .unwrap();
        let mut deps = UpstreamDeps::new(system.clone(), system.clone(), Arc::new(str::to_owned)).unwrap();
        deps.supervisor = vec![env!("CARGO_BIN_EXE_tollgate").into(), "supervise-child".into()];
        let upstreams = UpstreamSet::start(config.upstreams.values().cloned(), deps);
        let connections = Connections::new(store.clone(), system.clone(), system.clone());
        let gateway = Gateway::start(GatewayParts {
            files: CheckedFiles { config, policies, origin: Origin::default() },
            store: store.clone(),
            upstreams,
            clock: system.clone(),
            ids: system,
            seal: Arc::new(SealedState::new(&[7; 32]).unwrap()),
            connections,
        })
        .await
        .unwrap();
        gateway.ready().await;
        let world = Self { gateway: Arc::new(gateway), store, heard, folder, table, lines };
        assert!(!world.gateway.catalog().tools.is_empty(), "{:?}", world.gateway.readiness());
        world
    }

    /// Reads the files again and puts them in force.
    pub(crate) async fn reload(&self) {
        let config::Loaded { config, policies, .. } = load(self.folder.path(), &self.table, &self.lines);
        self.gateway.reload(CheckedFiles { config, policies, origin: Origin::default() }).await.unwrap();
    }

    pub(crate) fn principal(&self) -> Principal {
        Principal::Agent(AgentPrincipal::new("robot".into(), Proof::Stdio))
    }

    pub(crate) fn incoming(&self, kind: CallKind, name: &str, arguments: Option<Value>) -> IncomingCall {
        IncomingCall {
            principal: self.principal(),
            kind,
            purpose: Purpose::Use,
            name: name.to_owned(),
            arguments,
            meta: Map::new(),
            extra_params: Map::new(),
            wire: Default::default(),
            workflow: None,
            session: Arc::from("s"),
            input_responses: None,
            request_state: None,
            client: Arc::new(Nobody),
        }
    }

    /// A call that must end: none of these is allowed to hang.
    pub(crate) async fn call(&self, call: IncomingCall) -> CallReply {
        tokio::time::timeout(Duration::from_secs(20), self.gateway.call(call)).await.expect("the call hangs")
    }

    pub(crate) async fn tool(&self, name: &str, arguments: Value) -> CallReply {
        self.call(self.incoming(CallKind::Tool, name, Some(arguments))).await
    }

    pub(crate) async fn approve(&self, id: &ApprovalId, person: &str) {
        self.decide(id, person, true).await;
    }

    pub(crate) async fn decide(&self, id: &ApprovalId, person: &str, approve: bool) {
        let in_force = self.gateway.in_force();
        let answer = ApprovalResponse { approve, comment: None, evidence: None, grant: None };
        let approvals = self.gateway.approvals();
        approvals
            .decide(&in_force.policies, &PersonId::from(person), id, ChannelKind::Api, answer)
            .await
            .unwrap();
    }

    pub(crate) async fn approvals(&self) -> Vec<ApprovalRecord> {
        self.store.approvals(ApprovalFilter::default()).await.unwrap()
    }

    /// How many calls reached the upstream.
    pub(crate) fn reached(&self) -> usize {
        self.heard.lock().len()
    }

    /// Everything that was written down: events and approval records.
    pub(crate) async fn written(&self) -> String {
        let events = self.store.events(EventQuery { limit: 10_000, ..EventQuery::default() }).await.unwrap();
        let learned = self.store.learned_sizes().await.unwrap().by_tool();
        format!(
            "{}\n{}\n{learned:?}",
            serde_json::to_string(&events).unwrap(),
            serde_json::to_string(&self.approvals().await).unwrap()
        )
    }
}

/// The word of a refusal, or `allow`.
pub(crate) fn decision(reply: &CallReply) -> String {
    let told = match reply {
        Ok(result) => result["_meta"]["tollgate/decision"]["decision"].as_str().map(str::to_owned),
        Err(error) => error
            .data
            .as_ref()
            .and_then(|d| d["tollgate/decision"]["decision"].as_str().map(str::to_owned))
            .or(Some(format!("error {}", error.code))),
    };
    told.unwrap_or_else(|| "allow".to_owned())
}

/// Two tools, one resource template.
pub(crate) fn plain(method: &str, params: &Value) -> Result<Value, Value> {
    Ok(match method {
        "tools/list" => json!({"tools": [
            {"name": "act", "inputSchema": {"type": "object"}},
            {"name": "read", "inputSchema": {"type": "object"}},
        ]}),
        "resources/list" => json!({"resources": []}),
        "resources/templates/list" => {
            json!({"resourceTemplates": [{"uriTemplate": "db://{+q}", "name": "q"}]})
        }
        "prompts/list" => json!({"prompts": []}),
        "resources/read" => json!({"contents": [{"uri": params["uri"], "text": "x"}]}),
        _ => json!({"content": [{"type": "text", "text": "done"}]}),
    })
}
