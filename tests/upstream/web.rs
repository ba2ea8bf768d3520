//! HTTP counterparts in this process: the rmcp service, and servers scripted request by request.

use super::fixture::Fixture;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use futures::future::BoxFuture;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::AbortHandle};
use tokio_util::sync::CancellationToken;

/// A listening server; dropped, it is gone with its connections.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
    accepting: AbortHandle,
    stop: CancellationToken,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.accepting.abort();
        self.stop.cancel();
    }
}

impl Web {
    pub(crate) fn url(&self) -> url::Url {
        format!("http://{}/mcp", self.address).parse().unwrap()
    }
}

pub(crate) async fn serve(router: Router, at: Option<SocketAddr>) -> Web {
    let listener = TcpListener::bind(at.unwrap_or(([127, 0, 0, 1], 0).into())).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    let accepting = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            // Else the end of a stream waits for an acknowledgement that is itself held back.
            stream.set_nodelay(true).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                tokio::select! {
                    _ = connection => {}
                    () = stopped.cancelled() => {}
                }
            });
        }
    });
    Web { address, accepted, accepting: accepting.abort_handle(), stop }
}

/// The fixture behind rmcp's own HTTP service, with sessions for legacy clients.
pub(crate) async fn rmcp(fixture: Fixture, at: Option<SocketAddr>) -> Web {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = true;
    let service = StreamableHttpService::new(
        move || Ok(fixture.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    serve(Router::new().route_service("/mcp", service), at).await
}

/// One request as a scripted server sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
    pub(crate) fn tool(&self) -> &str {
        self.body["params"]["name"].as_str().unwrap_or_default()
    }
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }
}

pub(crate) type Script = Arc<dyn Fn(&Seen) -> Option<BoxFuture<'static, Response>> + Send + Sync>;

#[derive(Clone)]
struct Scripted {
    script: Script,
    seen: mpsc::UnboundedSender<Seen>,
    modern: bool,
}

/// A server that does what the script says, and where that says nothing, what a plain server of the era does.
pub(crate) async fn scripted(
    modern: bool,
    at: Option<SocketAddr>,
    script: impl Fn(&Seen) -> Option<BoxFuture<'static, Response>> + Send + Sync + 'static,
) -> (Web, mpsc::UnboundedReceiver<Seen>) {
    let (seen, requests) = mpsc::unbounded_channel();
    let state = Scripted { script: Arc::new(script), seen, modern };
    let router = Router::new().fallback(handle).with_state(state);
    (serve(router, at).await, requests)
}

async fn handle(State(scripted): State<Scripted>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen { method: parts.method, headers: parts.headers, body };
    let special = (scripted.script)(&seen);
    let plain = plain(&seen, scripted.modern);
    drop(scripted.seen.send(seen));
    match special {
        Some(response) => response.await,
        None => plain,
    }
}

/// A JSON-RPC answer as JSON.
pub(crate) fn json_answer(seen: &Seen, result: Value) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": seen.body["id"], "result": result });
    ([("content-type", "application/json")], body.to_string()).into_response()
}

pub(crate) fn json_error(seen: &Seen, status: u16, error: Value) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": seen.body["id"], "error": error });
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body.to_string())
        .into_response()
}

pub(crate) fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

/// A stream that sends these pieces, and then ends or stays open.
pub(crate) fn events(pieces: Vec<String>, stays: bool) -> Response {
    let stream = async_stream::stream! {
        for piece in pieces {
            yield Ok::<_, std::io::Error>(piece);
        }
        if stays {
            std::future::pending::<()>().await;
        }
    };
    ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
}

fn plain(seen: &Seen, modern: bool) -> Response {
    if seen.method != Method::POST {
        return status(405);
    }
    match (seen.rpc(), modern) {
        ("server/discover", true) => json_answer(
            seen,
            json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "_meta": {
                "io.modelcontextprotocol/serverInfo": { "name": "m", "version": "1" } } }),
        ),
        ("initialize", false) => json_answer(
            seen,
            json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                "serverInfo": { "name": "l", "version": "1" } }),
        ),
        ("server/discover" | "initialize", _) => status(400),
        ("tools/list", _) => json_answer(seen, json!({ "tools": [{ "name": "t" }] })),
        ("tools/call", _) => json_answer(seen, json!({ "content": [] })),
        _ => status(202),
    }
}
