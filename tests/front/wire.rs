//! A server on a real socket, and HTTP towards it in the raw.

use crate::script::{Script, modern_meta};
use serde_json::{Map, Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Once},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::{Clock, System},
    front::http::{CoreRuntimes, Endpoint, HttpOptions, Limits, serve, serve_on},
};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) script: Arc<Script>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<std::io::Result<()>>,
}

pub(crate) fn provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap());
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::at(limits, Arc::new(System::default())).await
    }

    /// With a clock that a test can move.
    pub(crate) async fn at(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self::on(limits, clock, false).await
    }

    /// On threads of its own, as the gateway is.
    pub(crate) async fn over_tls() -> Self {
        Self::on(Limits::default(), Arc::new(System::default()), true).await
    }

    async fn on(limits: Limits, clock: Arc<dyn Clock>, tls: bool) -> Self {
        provider();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script::new();
        let shutdown = CancellationToken::new();
        let options = HttpOptions {
            listen: address,
            public_url: None,
            allowed_hosts: vec!["gate.example".to_owned()],
            allowed_origins: vec!["https://app.example".to_owned()],
            limits,
            clock,
            ids: Arc::new(System::default()),
            shutdown: shutdown.clone(),
        };
        let endpoint = Endpoint::new(script.clone(), options);
        let end = shutdown.clone();
        let served = tokio::spawn(async move {
            if !tls {
                return serve(listener, None, endpoint, end).await;
            }
            let lanes = CoreRuntimes::start()?;
            let tls = Some(crate::tls::server());
            serve_on(listener, tls, endpoint, end, Some(&lanes)).await
        });
        Self { address, url: format!("http://{address}/mcp"), script, shutdown, served }
    }

    pub(crate) fn as_agent(&self, name: &str) -> Http {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Http { client, url: self.url.clone(), key: format!("key-{name}"), session: None, version: None }
    }
}

/// One caller.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) session: Option<String>,
    pub(crate) version: Option<&'static str>,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }
    pub(crate) fn is_events(&self) -> bool {
        self.headers["content-type"] == "text/event-stream"
    }
    /// All messages, whichever form they came in.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if !self.is_events() {
            return vec![self.json()];
        }
        self.text
            .lines()
            .filter_map(|l| l.strip_prefix("data: "))
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }
    pub(crate) fn code(&self) -> i64 {
        self.messages().last().unwrap()["error"]["code"].as_i64().unwrap_or(0)
    }
    pub(crate) fn result(&self) -> Value {
        let message = self.messages().pop().unwrap();
        assert!(message.get("error").is_none(), "{message}");
        message["result"].clone()
    }
}

pub(crate) fn rpc(id: i64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

impl Http {
    pub(crate) fn request(&self, body: String) -> reqwest::RequestBuilder {
        let mut request = self.client.post(&self.url);
        request = request.header("authorization", format!("Bearer {}", self.key));
        request = request.header("content-type", "application/json");
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if let Some(version) = self.version {
            request = request.header("mcp-protocol-version", version);
        }
        request.body(body)
    }

    /// A request that would rather have a stream.
    pub(crate) fn streamed(&self, body: &Value) -> reqwest::RequestBuilder {
        let mut request = self.client.post(&self.url).bearer_auth(&self.key);
        request = request.header("accept", "text/event-stream, application/json");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        request.json(body)
    }

    /// A stream of this session, after an event.
    pub(crate) fn after(&self, event: &str) -> reqwest::RequestBuilder {
        let request = self.client.get(&self.url).bearer_auth(&self.key).header("accept", "text/event-stream");
        let request = request.header("last-event-id", event);
        request.header("mcp-session-id", self.session.clone().unwrap_or_default())
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = tokio::time::timeout(Duration::from_secs(20), request.send()).await.unwrap().unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = tokio::time::timeout(Duration::from_secs(20), response.text()).await.unwrap().unwrap();
        Reply { status, headers, text }
    }

    pub(crate) async fn post(&self, body: Value) -> Reply {
        self.send(self.request(body.to_string())).await
    }

    /// Opens a session.
    pub(crate) async fn initialize(&mut self, version: &'static str) -> Reply {
        self.initialize_with(version, json!({ "elicitation": {} })).await
    }

    pub(crate) async fn initialize_with(&mut self, version: &'static str, capabilities: Value) -> Reply {
        self.session = None;
        let params = json!({ "protocolVersion": version, "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "1" } });
        let reply = self.post(rpc(0, "initialize", params)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        self.session = Some(reply.headers["mcp-session-id"].to_str().unwrap().to_owned());
        let told = self.post(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        assert_eq!((told.status, told.text.as_str()), (202, ""));
        reply
    }

    /// A stateless request with all it needs.
    pub(crate) fn modern_request(
        &self,
        id: i64,
        method: &str,
        mut params: Value,
        meta: Value,
    ) -> reqwest::RequestBuilder {
        let params_map: &mut Map<String, Value> = params.as_object_mut().unwrap();
        params_map.insert("_meta".to_owned(), modern_meta(meta).into());
        let name = match method {
            "tools/call" | "prompts/get" => params_map.get("name"),
            "resources/read" => params_map.get("uri"),
            _ => None,
        };
        let name = name.and_then(Value::as_str).map(str::to_owned);
        let mut request = self.request(rpc(id, method, params).to_string());
        request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
        match name {
            Some(name) => request.header("mcp-name", name),
            None => request,
        }
    }

    pub(crate) async fn modern(&self, method: &str, params: Value) -> Reply {
        self.send(self.modern_request(1, method, params, json!({}))).await
    }

    pub(crate) async fn open(&self, request: reqwest::RequestBuilder) -> Events {
        let response = tokio::time::timeout(Duration::from_secs(20), request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Events { response, buffer: String::new(), comments: 0, last: String::new() }
    }

    pub(crate) async fn get_stream(&self) -> Events {
        let mut request = self.client.get(&self.url).header("authorization", format!("Bearer {}", self.key));
        request = request.header("accept", "text/event-stream");
        request = request.header("mcp-session-id", self.session.clone().unwrap());
        self.open(request).await
    }
}

/// A stream of events as it comes.
pub(crate) struct Events {
    response: reqwest::Response,
    buffer: String,
    pub(crate) comments: usize,
    /// The id of the last event.
    pub(crate) last: String,
}

impl Events {
    /// The id of the next event, which has no message.
    pub(crate) async fn primed(&mut self) -> String {
        while !self.buffer.contains("\n\n") {
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await.unwrap();
            self.buffer.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
        let (event, rest) = self.buffer.split_once("\n\n").unwrap();
        let mut lines: Vec<&str> = event.lines().collect();
        lines.sort_unstable();
        let [data, id, retry] = lines[..] else { panic!("{event}") };
        assert_eq!((data, retry), ("data:", "retry: 1000"));
        let id = id.strip_prefix("id: ").unwrap().to_owned();
        self.buffer = rest.to_owned();
        id
    }

    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let event = event.to_owned();
                self.buffer = rest.to_owned();
                if let Some(id) = event.lines().find_map(|line| line.strip_prefix("id: ")) {
                    id.clone_into(&mut self.last);
                }
                match event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    Some(data) => return Some(serde_json::from_str(data).unwrap()),
                    None => self.comments += 1,
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await.unwrap();
            self.buffer.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    /// The first comment tells that the stream stands.
    pub(crate) async fn stands(&mut self) {
        while self.comments == 0 {
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await.unwrap();
            self.buffer.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
            while let Some(rest) = self.buffer.strip_prefix(":\n\n") {
                self.comments += 1;
                self.buffer = rest.to_owned();
            }
        }
    }
}
