//! An MCP server that does nothing but answer, in both eras, in a process of its own.

use crate::{Fallible, process};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::{borrow::Cow, convert::Infallible};
use tokio::net::TcpListener;

/// What every result holds, so that the generator can tell it from a refusal.
pub(crate) const MARK: &str = "answered by the bench upstream";

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Serves until it is killed.
pub(crate) async fn serve() -> Fallible<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    process::tell(listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            if let Err(error) = served.await {
                eprintln!("bench upstream: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let modern = request.headers().get("mcp-protocol-version").is_some_and(|v| v == "2026-07-28");
    if request.method() != Method::POST {
        let status = if request.method() == Method::DELETE { 200 } else { 405 };
        return Ok(empty(status));
    }
    let Ok(body) = request.into_body().collect().await else { return Ok(empty(400)) };
    let body = body.to_bytes();
    let Ok(asked) = serde_json::from_slice::<Asked<'_>>(&body) else { return Ok(empty(400)) };
    let Some(id) = asked.id else { return Ok(empty(202)) };
    let result = match asked.method.as_ref() {
        "tools/call" if modern => {
            format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{MARK}"}}]}}"#)
        }
        "tools/call" => format!(r#"{{"content":[{{"type":"text","text":"{MARK}"}}]}}"#),
        "tools/list" => tools(modern),
        "initialize" => initialized(),
        "server/discover" => discovered(),
        "ping" => "{}".to_owned(),
        _ => {
            let error = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#
            );
            return Ok(json_of(if modern { 404 } else { 200 }, error));
        }
    };
    let mut response = json_of(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    if asked.method == "initialize" {
        response.headers_mut().insert("mcp-session-id", HeaderValue::from_static("bench"));
    }
    Ok(response)
}

fn tools(modern: bool) -> String {
    let schema = json!({ "type": "object", "properties": { "text": { "type": "string", "maxLength": 200 },
        "count": { "type": "integer", "minimum": 0 } }, "required": ["text"], "additionalProperties": false });
    let tool = json!({ "name": "echo", "description": "Answers at once", "inputSchema": schema,
        "annotations": { "readOnlyHint": true } });
    if modern {
        let result =
            json!({ "resultType": "complete", "tools": [tool], "ttlMs": 60000, "cacheScope": "public" });
        return result.to_string();
    }
    json!({ "tools": [tool] }).to_string()
}

fn initialized() -> String {
    json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
        "serverInfo": { "name": "bench", "version": "1" } })
    .to_string()
}

fn discovered() -> String {
    json!({ "resultType": "complete", "supportedVersions": ["2026-07-28", "2025-11-25"],
        "capabilities": { "tools": {} }, "ttlMs": 60000, "cacheScope": "public",
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "bench", "version": "1" } } })
    .to_string()
}

fn empty(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn json_of(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
