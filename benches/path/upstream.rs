//! An MCP server that does nothing but answer, in both eras, in a process of its own.

use crate::{Fallible, process};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{borrow::Cow, convert::Infallible, time::Duration};
use tokio::net::TcpListener;

/// What every result holds, so that the generator can tell it from a refusal.
pub(crate) const MARK: &str = "answered by the bench upstream";
/// How long a call of `slow` takes.
const SLOW: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
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
    if asked.params.is_some_and(|params| params.name.as_deref() == Some("slow")) {
        tokio::time::sleep(SLOW).await;
    }
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
    let tool = |name: &str, description: &str, schema: Value| {
        json!({ "name": name, "description": description, "inputSchema": schema,
            "annotations": { "readOnlyHint": true } })
    };
    // Ambiguous at every level: a value that fits nowhere is tried along every path.
    let block = json!({ "anyOf": [{ "type": "array", "items": { "$ref": "#/$defs/block" } },
        { "type": "array", "items": { "$ref": "#/$defs/block" }, "maxItems": 9 }, { "type": "null" }] });
    let blocks = json!({ "type": "object", "properties": { "tree": { "$ref": "#/$defs/block" } },
        "$defs": { "block": block } });
    let tools = [
        tool("echo", "Answers at once", schema),
        tool("blocks", "Takes a tree of blocks", blocks),
        tool("slow", "Answers after two seconds", json!({ "type": "object" })),
        tool("any", "Takes anything", json!({ "type": "object" })),
    ];
    if modern {
        let result =
            json!({ "resultType": "complete", "tools": tools, "ttlMs": 60000, "cacheScope": "public" });
        return result.to_string();
    }
    json!({ "tools": tools }).to_string()
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
