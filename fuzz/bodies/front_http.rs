//! Any headers and any body: the front answers with HTTP, and what it answers with is JSON-RPC or events.
//!
//! Input: lines `Name: value` up to an empty one, then the body.

use super::quiet;
use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt as _;
use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::System,
    front::http::{Endpoint, HttpOptions, Limits},
};

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let system = Arc::new(System::default());
    let shutdown = CancellationToken::new();
    // Streams without an end of their own end at once.
    shutdown.cancel();
    let options = HttpOptions {
        listen: ([127, 0, 0, 1], 8787).into(),
        public_url: None,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        limits: Limits { sessions_per_principal: 8, ..Limits::default() },
        clock: system.clone(),
        ids: system,
        shutdown,
    };
    Endpoint::new(quiet::Quiet::new(), options)
});

thread_local! {
    static SESSION: RefCell<Option<http::HeaderValue>> = const { RefCell::new(None) };
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

async fn answer(request: Request<Body>) -> http::Response<axum::body::Bytes> {
    let response = ENDPOINT.answer([127, 0, 0, 1].into(), request).await;
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(Duration::from_secs(5), body.collect()).await.expect("an end");
    http::Response::from_parts(parts, body.expect("a body").to_bytes())
}

pub(crate) fn run(data: &[u8]) {
    let split = data.windows(2).position(|two| two == b"\n\n").unwrap_or(0);
    let (head, body) = data.split_at(split);
    let mut request = Request::post("/mcp")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(session) = SESSION.with_borrow(Clone::clone) {
        request = request.header("mcp-session-id", session);
    }
    for line in head.split(|byte| *byte == b'\n') {
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = line.split_at(colon);
            let value = value[1..].trim_ascii();
            if http::HeaderName::from_bytes(name).is_ok() && http::HeaderValue::from_bytes(value).is_ok() {
                request = request.header(name, value);
            }
        }
    }
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    RUNTIME.with(|runtime| {
        let response = runtime.block_on(answer(request));
        if let Some(session) = response.headers().get("mcp-session-id") {
            SESSION.set(Some(session.clone()));
        }
        let kind = response.headers().get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        match kind {
            Some(b"application/json") => {
                serde_json::from_slice::<serde_json::Value>(response.body()).expect("JSON");
            }
            Some(b"text/event-stream") => {
                let text = std::str::from_utf8(response.body()).expect("UTF-8");
                for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                    serde_json::from_str::<serde_json::Value>(line).expect("JSON");
                }
            }
            _ => assert!(response.body().is_empty()),
        }
    });
}
