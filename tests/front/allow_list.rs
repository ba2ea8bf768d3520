//! What is turned away before anything of it is read, and how.

use crate::wire::{Server, rpc};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// (26) (28)
#[tokio::test]
async fn the_door_is_checked_before_the_body() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let ping = rpc(1, "ping", json!({})).to_string();
    let check = async |change: &[(&'static str, &'static str)], status: u16| {
        let mut request = http.request(ping.clone()).build().unwrap();
        for (name, value) in change {
            if value.is_empty() {
                request.headers_mut().remove(*name);
            } else {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
        }
        let response = http.client.execute(request).await.unwrap();
        assert_eq!(response.status(), status, "{change:?}");
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        if status >= 400 {
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["jsonrpc"], "2.0", "{change:?}");
            assert!(body["error"]["code"].is_i64());
        }
        headers
    };
    check(&[], 200).await;
    check(&[("host", "evil.example")], 403).await;
    check(&[("host", "localhost:1234")], 200).await;
    check(&[("host", "gate.example")], 200).await;
    check(&[("origin", "https://evil.example")], 403).await;
    check(&[("origin", "null")], 403).await;
    let headers = check(&[("origin", "https://app.example")], 200).await;
    assert_eq!(headers["access-control-allow-origin"], "https://app.example");
    check(&[("origin", "http://localhost:3000")], 403).await;
    let own: &'static str = format!("http://{}", server.address).leak();
    check(&[("origin", own)], 200).await;
    check(&[("sec-fetch-site", "cross-site")], 403).await;
    check(&[("sec-fetch-site", "none")], 200).await;
    // A wrong origin is told nothing about keys.
    check(&[("origin", "https://evil.example"), ("authorization", "")], 403).await;
    let headers = check(&[("authorization", "")], 401).await;
    assert_eq!(headers["www-authenticate"], "Bearer");
    let headers = check(&[("authorization", "Bearer nobody")], 401).await;
    assert_eq!(headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    let headers = check(&[("authorization", "Bearer limited")], 429).await;
    assert_eq!(headers["retry-after"], "7");
    // Two are none, whichever comes first.
    for keys in [["Bearer key-a", "Bearer nobody"], ["Bearer nobody", "Bearer key-a"], ["Bearer key-a"; 2]] {
        let mut request = http.request(ping.clone()).build().unwrap();
        request.headers_mut().remove("authorization");
        for key in keys {
            request.headers_mut().append("authorization", key.parse().unwrap());
        }
        assert_eq!(http.client.execute(request).await.unwrap().status(), 401, "{keys:?}");
    }
    check(&[("content-type", "text/plain")], 415).await;
    check(&[("content-type", "")], 415).await;
    check(&[("content-type", "application/json; charset=utf-8")], 200).await;
    check(&[("accept", "text/html")], 406).await;
    check(&[("accept", "*/*")], 200).await;
    check(&[("accept", "")], 200).await;
}

#[tokio::test]
async fn methods_and_paths() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let check = async |method: reqwest::Method, headers: &[(&'static str, &str)], status: u16| {
        let request = http.client.request(method.clone(), &http.url).bearer_auth("key-a");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let reply = http.send(request).await;
        assert_eq!(reply.status, status, "{method} {headers:?}");
        reply
    };
    let put = check(reqwest::Method::PUT, &[], 405).await;
    assert_eq!(put.headers["allow"], "POST, GET, DELETE");
    check(reqwest::Method::PATCH, &[], 405).await;
    check(reqwest::Method::OPTIONS, &[], 405).await;
    let preflight = check(reqwest::Method::OPTIONS, &[("origin", "https://app.example")], 204).await;
    assert!(preflight.headers["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
    // A stateless client has no GET and no DELETE.
    check(reqwest::Method::GET, &[("mcp-protocol-version", "2026-07-28")], 405).await;
    check(reqwest::Method::GET, &[("accept", "text/event-stream")], 400).await;
    check(reqwest::Method::DELETE, &[], 400).await;
    let elsewhere = http.client.get(format!("http://{}/", server.address)).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404);
    assert!(elsewhere.text().await.unwrap().contains("MCP is at /mcp"));
}

#[tokio::test]
async fn bodies_that_are_no_messages() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let check = async |body: String, status: u16, code: i64| {
        let shown: String = body.chars().take(40).collect();
        let reply = http.send(http.request(body)).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{shown}");
        reply.json()
    };
    check(String::new(), 400, -32700).await;
    check("{".to_owned(), 400, -32700).await;
    check("\u{feff}{}".to_owned(), 400, -32600).await;
    check(r#"{"jsonrpc":"2.0","id":1,"method":"ping","id":2}"#.to_owned(), 400, -32700).await;
    check("[".repeat(10_000), 400, -32700).await;
    check(
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
            r#"{"a":"#.repeat(9_999),
            "}".repeat(9_999)
        ),
        400,
        -32700,
    )
    .await;
    check("7".to_owned(), 400, -32600).await;
    check("[]".to_owned(), 400, -32600).await;
    let reply = check(r#"{"jsonrpc":"1.0","id":5,"method":"ping"}"#.to_owned(), 400, -32600).await;
    assert_eq!(reply["id"], 5);
    check(format!("[{}1]", "1,".repeat(600_000)), 400, -32600).await;
    // Just under the limit, and over it.
    let fitting =
        rpc(1, "tools/call", json!({ "name": "echo", "arguments": { "x": "y".repeat(4_000_000) } }));
    assert_eq!(check(fitting.to_string(), 200, 0).await["id"], 1);
    check(format!("\"{}\"", "x".repeat(4 << 20)), 413, -32600).await;
    let chunks = (0..80).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let reply = http.send(http.request(String::new()).body(stream)).await;
    assert_eq!((reply.status, reply.code()), (413, -32600));
    assert_eq!(http.post(rpc(1, "ping", json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_slow_body_and_a_head_without_end_are_given_up() {
    let limits = tollgate::front::http::Limits {
        body_timeout: std::time::Duration::from_millis(100),
        ..Default::default()
    };
    let server = Server::with(limits).await;
    let mut slow = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 32];
    slow.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408"));
    let mut huge = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(100_000));
    // The server may hang up while this is written.
    drop(huge.write_all(head.as_bytes()).await);
    let mut answer = Vec::new();
    drop(huge.read_to_end(&mut answer).await);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}
