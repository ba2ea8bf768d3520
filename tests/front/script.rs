//! A gateway that follows a script, so that what the fronts do with it can be seen.

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use tollgate::{
    front::Service,
    gateway::{CallReply, IncomingCall, ListGenerations, ListKind, Listed},
    identity::{AgentPrincipal, AuthError, Presented, Principal, Proof},
    model::{RpcError, code},
};

/// A number that can be waited for.
pub(crate) struct Counter(watch::Sender<usize>);

impl Counter {
    pub(crate) fn new() -> Self {
        Self(watch::channel(0).0)
    }
    pub(crate) fn add(&self) {
        self.0.send_modify(|n| *n += 1);
    }
    pub(crate) fn get(&self) -> usize {
        *self.0.borrow()
    }
    pub(crate) async fn reaches(&self, least: usize) {
        let mut seen = self.0.subscribe();
        let reached = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(|n| *n >= least)).await;
        reached.unwrap_or_else(|_| panic!("{} instead of {least}", self.get())).unwrap();
    }
}

pub(crate) struct Script {
    pub(crate) generations: watch::Sender<ListGenerations>,
    /// Whose lists do not change with them.
    pub(crate) unmoved: Mutex<HashSet<String>>,
    pub(crate) revoked: Mutex<HashSet<String>>,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) opened: Counter,
    pub(crate) entered: Counter,
    pub(crate) dropped: Counter,
    pub(crate) asked: Counter,
    pub(crate) release: watch::Sender<bool>,
    pub(crate) last: Mutex<Value>,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            generations: watch::channel(ListGenerations::default()).0,
            unmoved: Mutex::default(),
            revoked: Mutex::default(),
            ready: watch::channel(true).0,
            opened: Counter::new(),
            entered: Counter::new(),
            dropped: Counter::new(),
            asked: Counter::new(),
            release: watch::channel(false).0,
            last: Mutex::new(Value::Null),
        })
    }

    pub(crate) fn revoke(&self, agent: &str) {
        self.revoked.lock().unwrap().insert(format!("agent:{agent}"));
        self.generations.send_modify(|g| g.authority += 1);
    }

    pub(crate) fn tools_changed(&self) {
        self.generations.send_modify(|g| g.tools += 1);
    }

    pub(crate) fn prompts_changed(&self) {
        self.generations.send_modify(|g| g.prompts += 1);
    }
}

pub(crate) fn agent(name: &str) -> Principal {
    Principal::Agent(AgentPrincipal::new(name.into(), Proof::Key([0; 32])))
}

struct OnDrop<'s>(&'s Counter, bool);
impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.add();
        }
    }
}

fn text(text: impl Into<String>) -> Value {
    json!({ "content": [{ "type": "text", "text": text.into() }], "isError": false })
}

impl Script {
    async fn tool(&self, call: IncomingCall) -> CallReply {
        let client = Arc::clone(&call.client);
        match call.name.as_str() {
            // What nobody here knows must come through.
            "echo" => Ok(json!({
                "content": [{ "type": "from-the-future", "x": call.arguments.unwrap_or(Value::Null) }],
                "vendor": 123456789012345678901234567890u128.to_string().parse::<serde_json::Number>().unwrap(),
                "_meta": { "upstream/one": 1, "io.modelcontextprotocol/serverInfo": { "name": "another" } },
            })),
            "progress" => {
                for (progress, text) in
                    [(1.0, "one"), (2.0, "two"), (2.0, "again"), (1.5, "back"), (3.0, "three")]
                {
                    let params = json!({ "progress": progress, "message": text, "total": 3 });
                    client.notify("notifications/progress", params);
                }
                let late = Arc::clone(&client);
                tokio::spawn(async move {
                    // After the answer: the reader must never see it.
                    tokio::task::yield_now().await;
                    late.notify("notifications/progress", json!({ "progress": 99 }));
                });
                Ok(text("done"))
            }
            "chatter" => {
                for progress in 0..10_000 {
                    client.notify("notifications/progress", json!({ "progress": progress }));
                }
                Ok(text("done"))
            }
            "log" => {
                for level in ["debug", "info", "warning", "error", "nonsense"] {
                    client.notify("notifications/message", json!({ "level": level, "data": level }));
                }
                client.notify("notifications/elicitation/complete", json!({}));
                Ok(text(client.log_level().unwrap_or_default()))
            }
            "ask" => {
                self.asked.add();
                let form = json!({ "message": "Go?", "requestedSchema": { "type": "object", "properties": {
                    "decision": { "type": "string" } } } });
                match client.ask("elicitation/create".to_owned(), form).await {
                    Ok(answer) => Ok(text(answer.to_string())),
                    Err(error) => Ok(text(format!("error {}", error.code))),
                }
            }
            "ask-and-drop" => {
                let asking = client.ask("elicitation/create".to_owned(), json!({ "message": "Go?" }));
                tokio::select! {
                    biased;
                    _ = asking => {}
                    () = tokio::task::yield_now() => {}
                }
                Ok(text("decided elsewhere"))
            }
            "wait" => {
                let mut on_drop = OnDrop(&self.dropped, true);
                self.entered.add();
                self.release.subscribe().wait_for(|go| *go).await.unwrap();
                on_drop.1 = false;
                Ok(text("released"))
            }
            "steps" => {
                let mut on_drop = OnDrop(&self.dropped, true);
                client.notify("notifications/progress", json!({ "progress": 1 }));
                self.entered.add();
                self.release.subscribe().wait_for(|go| *go).await.unwrap();
                client.notify("notifications/progress", json!({ "progress": 2 }));
                on_drop.1 = false;
                Ok(text("stepped"))
            }
            "input" => match (&call.input_responses, &call.request_state) {
                (None, None) => Ok(json!({
                    "resultType": "input_required",
                    "inputRequests": { "q": { "method": "elicitation/create", "params": {
                        "mode": "form", "message": "Go?", "requestedSchema": { "type": "object", "properties": {
                            "decision": { "type": "string" } } } } } },
                    "requestState": "sealed",
                })),
                (responses, state) => Ok(text(json!([responses, state]).to_string())),
            },
            "needs-sampling" => Err(RpcError::new(code::MISSING_CLIENT_CAPABILITY, "sampling is needed")
                .with_data(json!({ "requiredCapabilities": ["sampling"] }))),
            "seen" => {
                let seen = json!({
                    "principal": call.principal.key(), "session": &*call.session, "name": call.name,
                    "arguments": call.arguments, "meta": call.meta, "rest": call.extra_params,
                    "traceparent": call.wire.traceparent, "workflow": call.workflow,
                    "capabilities": client.capabilities(), "wants_progress": client.wants_progress(),
                    "responses": call.input_responses, "state": call.request_state,
                });
                *self.last.lock().unwrap() = seen.clone();
                Ok(json!({ "content": [], "structuredContent": seen }))
            }
            "large" => Ok(text("x".repeat(1 << 20))),
            "not-an-object" => Ok(json!(3)),
            "mirrored" => Ok(text("mirrored")),
            other => Err(RpcError::new(code::INVALID_PARAMS, format!("unknown tool `{other}`"))),
        }
    }
}

impl Service for Script {
    fn authenticate(&self, _: IpAddr, presented: &Presented<'_>) -> Result<Principal, AuthError> {
        let key = match presented.authorization {
            None => return Err(AuthError::Missing),
            Some(header) => header.strip_prefix(b"Bearer ").unwrap_or_default(),
        };
        let principal = match key {
            b"key-a" => agent("a"),
            b"key-b" => agent("b"),
            b"limited" => return Err(AuthError::RateLimited(Duration::from_secs(7))),
            _ => return Err(AuthError::Unknown),
        };
        if self.still_valid(&principal) { Ok(principal) } else { Err(AuthError::Unknown) }
    }
    fn still_valid(&self, principal: &Principal) -> bool {
        !self.revoked.lock().unwrap().contains(&principal.key())
    }
    fn generations(&self) -> watch::Receiver<ListGenerations> {
        self.generations.subscribe()
    }
    fn listed(&self, principal: &Principal, _: Option<&str>) -> Listed {
        if self.unmoved.lock().unwrap().contains(&principal.key()) {
            return Listed::default();
        }
        let now = *self.generations.borrow();
        let of = |generation: u64| {
            let mut list = [0; 32];
            list[..8].copy_from_slice(&generation.to_be_bytes());
            list
        };
        Listed { tools: of(now.tools), resources: of(now.resources), prompts: of(now.prompts) }
    }
    fn ready(&self) -> BoxFuture<'_, ()> {
        let mut ready = self.ready.subscribe();
        Box::pin(async move {
            ready.wait_for(|ready| *ready).await.unwrap();
        })
    }
    fn server_info(&self) -> Value {
        json!({ "name": "tollgate", "version": "0" })
    }
    fn capabilities(&self, _: &Principal) -> Value {
        json!({ "tools": { "listChanged": true }, "resources": { "listChanged": true }, "prompts": {}, "logging": {}, "completions": {} })
    }
    fn instructions(&self) -> Option<String> {
        Some("Read first.".to_owned())
    }
    fn list(&self, principal: &Principal, kind: ListKind, _: Option<&str>) -> Arc<Vec<Value>> {
        let object = json!({ "type": "object" });
        Arc::new(match kind {
            ListKind::Tools => ["echo", "progress", "ask", "wait", "input", "log"]
                .into_iter()
                .map(|name| json!({ "name": name, "inputSchema": object, "vendor": principal.key() }))
                .collect(),
            ListKind::Resources => vec![json!({ "uri": "file:///a", "name": "a" })],
            ListKind::Templates => vec![json!({ "uriTemplate": "file:///{x}", "name": "x" })],
            ListKind::Prompts => vec![json!({ "name": "greet" })],
            ListKind::Skills => Vec::new(),
        })
    }
    fn input_schema(&self, _: &Principal, tool: &str) -> Option<Arc<Value>> {
        (tool == "mirrored").then(|| {
            Arc::new(json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } }))
        })
    }
    fn call(&self, call: IncomingCall) -> BoxFuture<'_, CallReply> {
        Box::pin(async move {
            if let tollgate::gateway::Purpose::Complete { argument } = &call.purpose {
                return Ok(json!({ "completion": { "values": [call.arguments.unwrap()[argument]] } }));
            }
            match call.kind {
                tollgate::model::CallKind::Tool => self.tool(call).await,
                tollgate::model::CallKind::Resource
                    if call.name == "file:///ask" && call.request_state.is_none() =>
                {
                    Ok(json!({ "resultType": "input_required", "requestState": "s" }))
                }
                tollgate::model::CallKind::Resource if call.name.starts_with("file:///") => Ok(json!({
                    "contents": [{ "uri": call.name, "text": "t" }], "ttlMs": 5000, "cacheScope": "public" })),
                tollgate::model::CallKind::Resource => {
                    Err(RpcError::new(code::RESOURCE_NOT_FOUND, "no such resource"))
                }
                tollgate::model::CallKind::Prompt => Ok(json!({ "messages": [] })),
            }
        })
    }
    fn session_opened(&self, _: &Principal, _: &Value) {
        self.opened.add();
    }
}

/// `params._meta` of a stateless request.
pub(crate) fn modern_meta(extra: Value) -> Map<String, Value> {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    meta.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
    meta.as_object().unwrap().clone()
}
