//! An upstream in this process: it counts what reaches it, and misbehaves as a test tells it to.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
};
use tokio_util::sync::CancellationToken;

/// One message as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
    pub(crate) fn tool(&self) -> &str {
        self.body["params"]["name"].as_str().unwrap_or_default()
    }
    pub(crate) fn arguments(&self) -> &Value {
        &self.body["params"]["arguments"]
    }
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Script = Arc<dyn Fn(&Seen) -> Option<BoxFuture<'static, Response>> + Send + Sync>;

struct Inner {
    calls: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
    /// Notifications and whatever else is no call.
    told: Mutex<Vec<Seen>>,
    told_count: watch::Sender<usize>,
    /// Calls whose connection the gateway closed before the answer.
    dropped: watch::Sender<usize>,
    script: Mutex<Option<Script>>,
    tools: Mutex<Vec<Vec<Value>>>,
    resources: Mutex<Vec<Value>>,
    prompts: Mutex<Vec<Value>>,
    news: broadcast::Sender<String>,
    listeners: watch::Sender<usize>,
    modern: bool,
}

/// A listening upstream; dropped, it is gone with its connections.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    stop: CancellationToken,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A tool with an open schema.
pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("The tool {name}"), "inputSchema": {"type": "object"}})
}

/// The tool `read` of the default upstream.
pub(crate) fn read_tool() -> Value {
    let mut read = tool("read");
    read["inputSchema"] = json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "maxLength": 200, "pattern": "^/"},
            "limit": {"type": "integer", "minimum": 1},
        },
        "required": ["path"],
        "additionalProperties": true,
    });
    read
}

fn default_tools() -> Vec<Value> {
    let mut tools = vec![read_tool()];
    tools.extend(["write", "delete", "pay", "echo", "hidden"].map(tool));
    tools
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        Self::with(default_tools(), false).await
    }

    pub(crate) async fn with(tools: Vec<Value>, modern: bool) -> Self {
        let item = |uri: &str| json!({"uri": uri, "name": uri});
        let prompt = |name: &str| json!({"name": name});
        let inner = Arc::new(Inner {
            calls: Mutex::default(),
            count: watch::Sender::new(0),
            told: Mutex::default(),
            told_count: watch::Sender::new(0),
            dropped: watch::Sender::new(0),
            script: Mutex::new(None),
            tools: Mutex::new(vec![tools]),
            resources: Mutex::new(vec![item("file:///open/a.txt"), item("file:///closed/b.txt")]),
            prompts: Mutex::new(vec![prompt("short"), prompt("long")]),
            news: broadcast::channel(16).0,
            listeners: watch::Sender::new(0),
            modern,
        });
        let (address, stop) = listen(inner.clone(), ([127, 0, 0, 1], 0).into()).await;
        Self { address, inner, stop }
    }

    /// Lists one more resource, to whoever lists from now on.
    pub(crate) fn offers(&self, uri: &str) {
        self.inner.resources.lock().push(json!({"uri": uri, "name": uri}));
    }

    /// Lists these resources from now on.
    pub(crate) fn has_resources(&self, resources: Vec<Value>) {
        *self.inner.resources.lock() = resources;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Answers what the script has an answer for.
    pub(crate) fn script(
        &self,
        script: impl Fn(&Seen) -> Option<BoxFuture<'static, Response>> + Send + Sync + 'static,
    ) {
        *self.inner.script.lock() = Some(Arc::new(script));
    }

    /// The same result for each call.
    pub(crate) fn results(&self, result: Value) {
        self.script(move |seen| (seen.method() == "tools/call").then(|| answer(json_reply(seen, &result))));
    }

    /// Nothing answers a call any more.
    pub(crate) fn hangs(&self) {
        let inner = self.inner.clone();
        self.script(move |seen| {
            ["tools/call", "resources/read"].contains(&seen.method()).then(|| hang(&inner.dropped))
        });
    }

    pub(crate) fn behaves(&self) {
        *self.inner.script.lock() = None;
    }

    /// What it lists, page by page.
    pub(crate) fn lists(&self, pages: Vec<Vec<Value>>) {
        *self.inner.tools.lock() = pages;
    }

    /// Says that its tools changed, as soon as somebody listens.
    pub(crate) async fn announce(&self) {
        self.tell(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    }

    /// Waits until so many streams of news were opened.
    pub(crate) async fn until_heard(&self, at_least: usize) {
        super::soon(self.inner.listeners.subscribe().wait_for(|count| *count >= at_least)).await.unwrap();
    }

    /// Says that a resource changed.
    pub(crate) async fn updated(&self, uri: &str) {
        let method = "notifications/resources/updated";
        self.tell(json!({"jsonrpc": "2.0", "method": method, "params": {"uri": uri}})).await;
    }

    async fn tell(&self, message: Value) {
        let mut listeners = self.inner.listeners.subscribe();
        super::soon(listeners.wait_for(|listeners| *listeners > 0)).await.unwrap();
        self.inner.news.send(message.to_string()).ok();
    }

    /// Closes the listener and every connection.
    pub(crate) fn die(&self) {
        self.stop.cancel();
    }

    /// Listens again where it did.
    pub(crate) async fn revive(&mut self) {
        self.stop = listen(self.inner.clone(), self.address).await.1;
    }

    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.inner.calls.lock().clone()
    }

    /// How many calls reached it.
    pub(crate) fn count(&self) -> usize {
        self.inner.calls.lock().len()
    }

    pub(crate) async fn until_count(&self, at_least: usize) {
        super::soon(self.inner.count.subscribe().wait_for(|count| *count >= at_least)).await.unwrap();
    }

    /// Waits until this many hanging calls lost their connection.
    pub(crate) async fn until_dropped(&self, at_least: usize) {
        super::soon(self.inner.dropped.subscribe().wait_for(|count| *count >= at_least)).await.unwrap();
    }

    /// Waits for a message that is no call, and gives it.
    pub(crate) async fn until_told(&self, method: &str) -> Seen {
        let mut count = self.inner.told_count.subscribe();
        super::soon(async {
            loop {
                count.borrow_and_update();
                if let Some(seen) = self.inner.told.lock().iter().find(|seen| seen.method() == method) {
                    return seen.clone();
                }
                count.changed().await.unwrap();
            }
        })
        .await
    }
}

async fn listen(inner: Arc<Inner>, at: SocketAddr) -> (SocketAddr, CancellationToken) {
    let listener = super::soon(async {
        loop {
            // The port of a server that was told to die is free a moment later.
            match TcpListener::bind(at).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let router = Router::new().fallback(handle).with_state(inner);
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            stream.set_nodelay(true).unwrap();
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
            tokio::spawn(stopped.clone().run_until_cancelled_owned(async move {
                connection.await.ok();
            }));
        }
    }));
    (address, stop)
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET {
        return news(&inner);
    }
    let body = axum::body::to_bytes(body, 8 << 20).await.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen { headers: parts.headers, body };
    let script = inner.script.lock().clone();
    let special = script.and_then(|script| script(&seen));
    let plain = plain(&inner, &seen);
    let call = matches!(seen.method(), "tools/call" | "resources/read" | "prompts/get");
    let (log, count) = if call { (&inner.calls, &inner.count) } else { (&inner.told, &inner.told_count) };
    log.lock().push(seen);
    count.send_modify(|count| *count += 1);
    match special {
        Some(response) => response.await,
        None => plain,
    }
}

fn news(inner: &Inner) -> Response {
    if inner.modern {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let mut news = inner.news.subscribe();
    inner.listeners.send_modify(|listeners| *listeners += 1);
    let stream = async_stream::stream! {
        while let Ok(message) = news.recv().await {
            yield Ok::<_, std::io::Error>(format!("event: message\ndata: {message}\n\n"));
        }
    };
    ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
}

pub(crate) fn answer(response: Response) -> BoxFuture<'static, Response> {
    Box::pin(async move { response })
}

/// A JSON-RPC result.
pub(crate) fn json_reply(seen: &Seen, result: &Value) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": result});
    ([("content-type", "application/json")], body.to_string()).into_response()
}

/// A JSON-RPC error.
pub(crate) fn error(seen: &Seen, code: i64, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": seen.body["id"], "error": {"code": code, "message": message}});
    ([("content-type", "application/json")], body.to_string()).into_response()
}

pub(crate) fn text_result(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// Never answers; counts when the other side gives up.
fn hang(dropped: &watch::Sender<usize>) -> BoxFuture<'static, Response> {
    struct Counted(watch::Sender<usize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.send_modify(|count| *count += 1);
        }
    }
    let counted = Counted(dropped.clone());
    Box::pin(async move {
        let _counted = counted;
        std::future::pending().await
    })
}

fn plain(inner: &Inner, seen: &Seen) -> Response {
    let params = &seen.body["params"];
    let done = |mut result: Map<String, Value>| {
        if inner.modern {
            result.insert("resultType".to_owned(), "complete".into());
        }
        json_reply(seen, &Value::Object(result))
    };
    let object = |value: Value| match value {
        Value::Object(map) => done(map),
        _ => unreachable!(),
    };
    let capabilities =
        json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}, "prompts": {}});
    match seen.method() {
        "server/discover" if inner.modern => object(json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities,
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}},
        })),
        "initialize" if !inner.modern => object(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities,
            "serverInfo": {"name": "scripted", "version": "1"},
        })),
        "server/discover" | "initialize" => StatusCode::BAD_REQUEST.into_response(),
        "tools/list" => {
            let pages = inner.tools.lock().clone();
            let at: usize = params["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
            let mut list = json!({"tools": pages.get(at).cloned().unwrap_or_default()});
            if at + 1 < pages.len() {
                list["nextCursor"] = (at + 1).to_string().into();
            }
            object(list)
        }
        "resources/list" => object(json!({"resources": *inner.resources.lock()})),
        "resources/templates/list" => object(json!({"resourceTemplates": []})),
        "prompts/list" => object(json!({"prompts": *inner.prompts.lock()})),
        "resources/read" => {
            object(json!({"contents": [{"uri": params["uri"], "mimeType": "text/plain", "text": "content"}]}))
        }
        "prompts/get" => object(
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": params.to_string()}}]}),
        ),
        "tools/call" => object(text_result(&params["arguments"].to_string())),
        "ping" | "resources/subscribe" | "resources/unsubscribe" => object(json!({})),
        _ if seen.body.get("id").is_some() => error(seen, -32601, "Method not found"),
        _ => StatusCode::ACCEPTED.into_response(),
    }
}
