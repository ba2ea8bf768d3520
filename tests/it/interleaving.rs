//! Two agents over one shared upstream at load, on a transport where everything comes on one stream: no message of one
//! ever reaches the other (issue 3; R: isolation).

use crate::harness::*;
use axum::{Router, body::Body, extract::State, response::IntoResponse as _, routing::get};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

/// Calls of each client, and how many of them at a time.
const CALLS: usize = 120;
const AT_A_TIME: usize = 8;

/// An HTTP+SSE server with one tool, which talks while it works: with the names of its calls where the protocol has them,
/// and without where it has none.
#[derive(Clone, Default)]
struct Talker {
    stream: Arc<Mutex<Option<mpsc::UnboundedSender<Value>>>>,
    asked: Arc<AtomicU64>,
    /// What came back to its questions, by the text of the call.
    answers: Arc<Mutex<BTreeMap<u64, String>>>,
}

impl Talker {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let routes = Router::new().route("/mcp", get(open)).route("/in", axum::routing::post(take));
        let routes = routes.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    fn say(&self, message: Value) {
        if let Some(stream) = &*self.stream.lock() {
            stream.send(message).ok();
        }
    }

    /// One call: each message gives way to those of the others.
    async fn work(self, id: Value, params: Value) {
        let text = params["arguments"]["text"].clone();
        let token = params["_meta"]["progressToken"].clone();
        for step in 1..=3 {
            self.say(json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": step, "message": text}}));
            tokio::task::yield_now().await;
            self.say(json!({"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "error", "data": text}}));
            tokio::task::yield_now().await;
        }
        let question = self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.lock().insert(question, text.as_str().unwrap().to_owned());
        self.say(json!({"jsonrpc": "2.0", "id": question, "method": "elicitation/create",
            "params": {"message": text, "requestedSchema": {"type": "object", "properties": {}}}}));
        tokio::task::yield_now().await;
        self.say(json!({"jsonrpc": "2.0", "id": id,
            "result": {"content": [{"type": "text", "text": text}], "structuredContent": {"text": text}}}));
    }
}

async fn open(State(talker): State<Talker>) -> axum::response::Response {
    let (sender, mut messages) = mpsc::unbounded_channel();
    *talker.stream.lock() = Some(sender);
    let body = async_stream::stream! {
        yield Ok::<_, std::io::Error>("event: endpoint\ndata: /in\n\n".to_owned());
        while let Some(message) = messages.recv().await {
            yield Ok(format!("event: message\ndata: {message}\n\n"));
        }
    };
    ([("content-type", "text/event-stream")], Body::from_stream(body)).into_response()
}

async fn take(State(talker): State<Talker>, body: String) -> http::StatusCode {
    let message: Value = serde_json::from_str(&body).unwrap();
    let answer = |result: Value| talker.say(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            answer(json!({"protocolVersion": "2024-11-05", "serverInfo": {"name": "t", "version": "1"},
            "capabilities": {"tools": {}, "logging": {}}}))
        }
        "tools/list" => answer(json!({"tools": [tool("talk")]})),
        "tools/call" => {
            tokio::spawn(talker.clone().work(message["id"].clone(), message["params"].clone()));
        }
        // What a person answered says for whom.
        "" if message["result"]["content"]["who"].is_string() => {
            let who = message["result"]["content"]["who"].as_str().unwrap();
            let asked = talker.answers.lock()[&message["id"].as_u64().unwrap()].clone();
            assert!(asked.starts_with(who), "{who} answered the question of {asked}");
        }
        _ => {}
    }
    http::StatusCode::ACCEPTED
}

/// Every message that came to this client is about its own call.
fn all_own(text: &str, reply: &Reply) -> usize {
    assert_eq!(reply.ok()["structuredContent"]["text"], text);
    // A question that its call has outrun is withdrawn, by its number alone.
    for message in reply.before.iter().filter(|message| message["method"] != "notifications/cancelled") {
        let params = &message["params"];
        let about =
            params["message"].as_str().or(params["data"].as_str()).unwrap_or_else(|| panic!("{message:#}"));
        assert!(about.ends_with(text), "{text} heard: {message:#}");
    }
    reply.before.iter().filter(|m| m["method"] == "notifications/progress").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_of_one_agent_reaches_another() {
    let talker = Talker::default();
    let url = talker.start().await;
    let authority = authority().replace("tools: [\"up__*\"]", "tools: [\"*\"]");
    let setup = Setup {
        files: format!("=== authority.yaml\n{authority}"),
        servers: format!("[upstreams.talker]\nurl = \"{url}\"\nmax_concurrency = 64\n"),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let mut clients = Vec::new();
    for agent in ["ada", "eve"] {
        let legacy = world.legacy(agent).await;
        legacy.request("logging/setLevel", json!({"level": "debug"})).await.ok();
        clients.push((agent, "legacy", legacy));
        clients.push((agent, "modern", world.bare(agent)));
    }
    let load = clients.iter().map(|(agent, era, client)| async move {
        let calls = (0..CALLS).map(|number| async move {
            let text = format!("{agent}-{era}-{number}.");
            let meta = json!({"progressToken": text, "io.modelcontextprotocol/logLevel": "debug"});
            let meta = if *era == "modern" { meta } else { json!({"progressToken": text}) };
            let params = json!({"name": "talker__talk", "arguments": {"text": text}, "_meta": meta});
            let said = text.clone();
            let reply = client
                .request_with("tools/call", params, move |question| {
                    let message = question["params"]["message"].as_str().unwrap();
                    assert_eq!(message, format!("[talker] {said}"));
                    Some(json!({"action": "accept", "content": {"who": agent}}))
                })
                .await;
            all_own(&text, &reply)
        });
        use futures::StreamExt as _;
        let steps: Vec<usize> = futures::stream::iter(calls).buffer_unordered(AT_A_TIME).collect().await;
        steps.iter().sum::<usize>()
    });
    let steps: usize = soon(futures::future::join_all(load)).await.into_iter().sum();
    // Progress has a name on it, so that none of it is lost.
    assert_eq!(steps, 4 * CALLS * 3);
}
