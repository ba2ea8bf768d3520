//! Anything on the one stream of an HTTP+SSE upstream, between a call and its answer: the call ends, and the next one is
//! answered.
//!
//! Input: what stands on the stream, in which `$ID` stands for the request's id.

use super::world::{World, config, with_id};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::IntoResponse as _,
    routing::{get, post},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use tollgate::config::HttpWire;

#[derive(Clone, Default)]
struct Server {
    next: Arc<Mutex<Option<Vec<u8>>>>,
    stream: Arc<Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>>,
}

struct Target {
    world: World,
    server: Server,
}

thread_local! {
    static TARGET: Target = {
        let server = Server::default();
        let routes = Router::new().route("/mcp", get(open)).route("/in", post(take)).with_state(server.clone());
        Target { world: World::start(routes, |url| config(url, HttpWire::Sse)), server }
    };
}

async fn open(State(server): State<Server>) -> axum::response::Response {
    let (sender, mut bytes) = mpsc::unbounded_channel();
    *server.stream.lock() = Some(sender);
    let first = futures::stream::iter([Ok::<_, std::io::Error>(b"event: endpoint\ndata: /in\n\n".to_vec())]);
    let rest = futures::stream::poll_fn(move |cx| bytes.poll_recv(cx).map(|bytes| bytes.map(Ok)));
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn take(State(server): State<Server>, body: Bytes) -> StatusCode {
    let message: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let id = message["id"].clone();
    let say = |bytes: Vec<u8>| {
        if let Some(stream) = &*server.stream.lock() {
            stream.send(bytes).ok();
        }
    };
    let answer = |result: Value| {
        say(format!("data: {}\n\n", json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_bytes());
    };
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => answer(json!({ "protocolVersion": "2024-11-05", "capabilities": { "tools": {} },
            "serverInfo": { "name": "f", "version": "1" } })),
        "tools/list" => answer(json!({ "tools": [{ "name": "t" }] })),
        "tools/call" => {
            if let Some(data) = server.next.lock().take() {
                say(with_id(&data, &id));
                // Whatever it began is over: the answer is an event of its own.
                say(b"\n\n".to_vec());
            }
            answer(json!({ "content": [] }));
        }
        _ => {}
    }
    StatusCode::ACCEPTED
}

pub(crate) fn run(data: &[u8]) {
    TARGET.with(|target| {
        *target.server.next.lock() = Some(data.to_vec());
        target.world.call();
        target.server.next.lock().take();
        target.world.call_well();
    });
}
