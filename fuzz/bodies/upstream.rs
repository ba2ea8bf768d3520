//! Anything as an upstream's answer to a call, with any status and type: the call ends, and the next one is answered.
//!
//! Input: a line with status and content type, then the body, in which `$ID` stands for the request's id.

use super::world::{World, config};
use axum::{
    Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse as _, routing::any,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate::config::HttpWire;

/// What the next call is answered with.
type Next = Arc<Mutex<Option<Vec<u8>>>>;

struct Target {
    world: World,
    next: Next,
}

thread_local! {
    static TARGET: Target = {
        let next = Next::default();
        let routes = Router::new().route("/mcp", any(answer)).with_state(next.clone());
        Target { world: World::start(routes, |url| config(url, HttpWire::Streamable)), next }
    };
}

async fn answer(State(next): State<Next>, body: Bytes) -> axum::response::Response {
    let message: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let id = &message["id"];
    let json_answer = |result: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
        ([("content-type", "application/json")], body).into_response()
    };
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json_answer(json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
            "serverInfo": { "name": "f", "version": "1" } }))
        }
        "tools/list" => json_answer(json!({ "tools": [{ "name": "t" }] })),
        "tools/call" => match next.lock().take() {
            None => json_answer(json!({ "content": [] })),
            Some(data) => raw(&data, id),
        },
        "" => StatusCode::ACCEPTED.into_response(),
        _ if id.is_null() => StatusCode::ACCEPTED.into_response(),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn raw(data: &[u8], id: &Value) -> axum::response::Response {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = data.split_at(end);
    let head = String::from_utf8_lossy(head);
    let (status, kind) = head.split_once(' ').unwrap_or(("200", "application/json"));
    let status = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_informational()).unwrap_or(StatusCode::OK);
    let kind =
        axum::http::HeaderValue::from_str(kind).unwrap_or(axum::http::HeaderValue::from_static("text/plain"));
    let body = super::world::with_id(body, id);
    (status, [("content-type", kind)], body).into_response()
}

pub(crate) fn run(data: &[u8]) {
    TARGET.with(|target| {
        *target.next.lock() = Some(data.to_vec());
        target.world.call();
        // Where it was never asked for, it is not the next one's.
        target.next.lock().take();
        target.world.call_well();
    });
}
