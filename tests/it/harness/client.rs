//! A raw JSON-RPC client of either era: it sends what a test says, and shows all that comes back.

use super::soon;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// One client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    url: String,
    pub(crate) key: String,
    capabilities: Value,
    pub(crate) session: Option<String>,
    next: Arc<AtomicU64>,
    pub(crate) headers: Vec<(String, String)>,
}

/// What came back for one request.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The JSON-RPC response.
    pub(crate) body: Value,
    /// Everything that came before it, in order.
    pub(crate) before: Vec<Value>,
}

impl Reply {
    /// The result of a call that went through.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Value {
        let result = &self.body["result"];
        assert!(result.is_object() && result["isError"] != json!(true), "{:#}", self.body);
        result
    }

    /// What `tollgate/decision` says of a refusal.
    #[track_caller]
    pub(crate) fn decision(&self) -> &Value {
        let (result, error) = (&self.body["result"], &self.body["error"]);
        let found = match result.is_object() {
            true => {
                assert_eq!(result["isError"], json!(true), "{:#}", self.body);
                &result["_meta"]["tollgate/decision"]
            }
            false => {
                let code = match error["data"]["tollgate/decision"]["decision"].as_str() {
                    Some("pending_approval") => 428,
                    Some("throttle") => 429,
                    Some(_) | None => 403,
                };
                assert_eq!(error["code"], code, "{:#}", self.body);
                &error["data"]["tollgate/decision"]
            }
        };
        assert!(found.is_object(), "{:#}", self.body);
        found
    }

    /// The decision's word.
    #[track_caller]
    pub(crate) fn word(&self) -> &str {
        self.decision()["decision"].as_str().unwrap()
    }

    /// The first text of the result.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        self.body["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{:#}", self.body))
    }

    /// The arguments that the default upstream echoes.
    #[track_caller]
    pub(crate) fn echoed(&self) -> Value {
        self.ok();
        serde_json::from_str(self.text()).unwrap()
    }

    /// The JSON-RPC error.
    #[track_caller]
    pub(crate) fn error(&self) -> &Value {
        assert!(self.body["error"].is_object(), "{:#}", self.body);
        &self.body["error"]
    }

    /// What a modern client is asked: the question's params, and the sealed state.
    #[track_caller]
    pub(crate) fn question(&self) -> (&Value, &str) {
        let result = &self.body["result"];
        assert_eq!(result["resultType"], json!("input_required"), "{:#}", self.body);
        let (_, question) = result["inputRequests"].as_object().unwrap().iter().next().unwrap();
        (&question["params"], result["requestState"].as_str().unwrap())
    }
}

/// The id of the approval that a call waits for.
#[track_caller]
pub(crate) fn pending(reply: &Reply) -> String {
    assert_eq!(reply.word(), "pending_approval", "{:#}", reply.body);
    reply.decision()["approval_id"].as_str().unwrap().to_owned()
}

/// An answer to an elicitation.
pub(crate) fn form(decision: &str) -> Value {
    json!({"action": "accept", "content": {"decision": decision}})
}

impl Client {
    pub(crate) async fn legacy(http: &reqwest::Client, url: &str, agent: &str, capabilities: Value) -> Self {
        Self::modern(http, url, agent, capabilities).session().await
    }

    /// The same client in a session of the legacy era.
    pub(crate) async fn session(&self) -> Self {
        let mut client = self.clone();
        let params = json!({
            "protocolVersion": LEGACY,
            "capabilities": client.capabilities,
            "clientInfo": {"name": "raw", "version": "1"},
        });
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = soon(client.post(&body).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        client.session = Some(response.headers()["mcp-session-id"].to_str().unwrap().to_owned());
        client.notify("notifications/initialized", json!({})).await;
        client
    }

    pub(crate) fn modern(http: &reqwest::Client, url: &str, agent: &str, capabilities: Value) -> Self {
        Self {
            http: http.clone(),
            url: url.to_owned(),
            key: format!("key-{agent}"),
            capabilities,
            session: None,
            next: Arc::new(AtomicU64::new(1)),
            headers: Vec::new(),
        }
    }

    /// The same client with one more header.
    pub(crate) fn header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// A POST of this body, with the headers that every message needs.
    pub(crate) fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .post(&self.url)
            .bearer_auth(&self.key)
            .header("accept", "application/json, text/event-stream")
            .json(body);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", LEGACY);
        } else if body["method"] != "initialize" {
            request = request
                .header("mcp-protocol-version", MODERN)
                .header("mcp-method", body["method"].as_str().unwrap());
            let params = &body["params"];
            if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
                request = request.header("mcp-name", name);
            }
        }
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// A session's call on a stream from the start: the id of its first event, and then its connection is broken.
    pub(crate) async fn call_and_break(&self, tool: &str, arguments: Value) -> String {
        let body = self.body("tools/call", json!({"name": tool, "arguments": arguments}));
        let mut request = self.post(&body).build().unwrap();
        request.headers_mut().insert("accept", "text/event-stream, application/json".parse().unwrap());
        let response = soon(self.http.execute(request)).await.unwrap();
        let first = soon(response.bytes_stream().next()).await.unwrap().unwrap();
        let first = String::from_utf8(first.to_vec()).unwrap();
        first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
    }

    /// What comes first after an event of this session.
    pub(crate) async fn resume(&self, event: &str) -> Value {
        let request = self.http.get(&self.url).bearer_auth(&self.key).header("accept", "text/event-stream");
        let request = request.header("mcp-session-id", self.session.clone().unwrap());
        let response = soon(request.header("last-event-id", event).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        soon(Stream::new(response).next()).await.expect("the stream ended")
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        let response = soon(self.post(&body).send()).await.unwrap();
        assert_eq!(response.status(), 202);
    }

    /// A request's body, with what the era wants in it.
    pub(crate) fn body(&self, method: &str, mut params: Value) -> Value {
        if self.session.is_none() {
            let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        }
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Reply {
        self.request_with(method, params, |question| panic!("nothing should be asked: {question:#}")).await
    }

    /// A request during which the server may ask; `None` leaves a question without an answer.
    pub(crate) async fn request_with(
        &self,
        method: &str,
        params: Value,
        mut answer: impl FnMut(&Value) -> Option<Value>,
    ) -> Reply {
        let body = self.body(method, params);
        let response = soon(self.post(&body).send()).await.unwrap();
        let events = response
            .headers()
            .get("content-type")
            .is_some_and(|value| value.to_str().unwrap().starts_with("text/event-stream"));
        if !events {
            let bytes = soon(response.bytes()).await.unwrap();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return Reply { body, before: Vec::new() };
        }
        let mut stream = Stream::new(response);
        let mut before = Vec::new();
        loop {
            let message = soon(stream.next()).await.expect("the stream ended without an answer");
            if message.get("method").is_none() && message["id"] == body["id"] {
                return Reply { body: message, before };
            }
            if message.get("id").is_some()
                && message.get("method").is_some()
                && let Some(result) = answer(&message)
            {
                self.respond(&message, result).await;
            }
            before.push(message);
        }
    }

    async fn respond(&self, question: &Value, result: Value) {
        let body = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        let response = soon(self.post(&body).send()).await.unwrap();
        assert_eq!(response.status(), 202);
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.request("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// A call during which the person at the client answers each question alike.
    pub(crate) async fn call_answering(&self, tool: &str, arguments: Value, result: Value) -> Reply {
        let params = json!({"name": tool, "arguments": arguments});
        self.request_with("tools/call", params, |_| Some(result.clone())).await
    }

    /// A modern client's retry with the person's answer.
    pub(crate) async fn retry(&self, tool: &str, arguments: Value, state: &str, result: Value) -> Reply {
        let params = json!({
            "name": tool,
            "arguments": arguments,
            "requestState": state,
            "inputResponses": {"tollgate_approval": result},
        });
        self.request("tools/call", params).await
    }

    /// The names in a list.
    pub(crate) async fn names(&self, method: &str, member: &str) -> Vec<String> {
        let reply = self.request(method, json!({})).await;
        let name = |item: &Value| item["uri"].as_str().or(item["name"].as_str()).unwrap().to_owned();
        reply.ok()[member].as_array().unwrap().iter().map(name).collect()
    }

    pub(crate) async fn tools(&self) -> Vec<String> {
        self.names("tools/list", "tools").await
    }

    /// The session's own stream.
    pub(crate) async fn listen(&self) -> Stream {
        let request = self
            .http
            .get(&self.url)
            .bearer_auth(&self.key)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", self.session.as_deref().unwrap());
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Stream::new(response)
    }
}

/// The messages of an event stream.
pub(crate) struct Stream {
    response: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
}

impl Stream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self { response: response.bytes_stream().boxed(), buffer: String::new() }
    }

    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let data: String = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                let rest = rest.to_owned();
                let parsed = (!data.is_empty()).then(|| serde_json::from_str(&data).unwrap());
                self.buffer = rest;
                if parsed.is_some() {
                    return parsed;
                }
                continue;
            }
            let chunk = self.response.next().await?.ok()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).expect("a cut inside a character"));
        }
    }
}
