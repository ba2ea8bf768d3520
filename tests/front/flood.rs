//! Floods in moderate numbers: bounded memory, and other agents still served.

use crate::wire::{Server, rpc};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tollgate::front::http::Limits;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sessions_of_one_key_leave_the_other_alone() {
    let limits = Limits { sessions_per_principal: 100, sessions_total: 150, ..Limits::default() };
    let server = Server::with(limits).await;
    let mut other = server.as_agent("b");
    other.initialize("2025-11-25").await;
    let body =
        rpc(0, "initialize", json!({ "protocolVersion": "2025-11-25", "capabilities": {} })).to_string();
    let flooding: Vec<_> = (0..8)
        .map(|_| {
            let (http, body) = (server.as_agent("a"), body.clone());
            tokio::spawn(async move {
                for _ in 0..1250 {
                    assert_eq!(http.send(http.request(body.clone())).await.status, 200);
                }
            })
        })
        .collect();
    for flood in flooding {
        assert_eq!(other.post(rpc(1, "ping", json!({}))).await.status, 200);
        flood.await.unwrap();
    }
    assert_eq!(other.post(rpc(1, "ping", json!({}))).await.status, 200);
}

#[tokio::test]
async fn requests_of_one_principal_are_bounded() {
    let server = Server::with(Limits { requests_per_principal: 4, ..Limits::default() }).await;
    let http = server.as_agent("a");
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let http = http.clone();
            tokio::spawn(async move { http.modern("tools/call", json!({ "name": "wait" })).await })
        })
        .collect();
    server.script.entered.reaches(4).await;
    let refused = http.modern("tools/list", json!({})).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(server.as_agent("b").modern("tools/list", json!({})).await.status, 200);
    server.script.release.send_replace(true);
    for call in waiting {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert_eq!(http.modern("tools/list", json!({})).await.status, 200);
}

#[tokio::test]
async fn subscriptions_of_one_principal_are_bounded_and_take_no_place_from_requests() {
    let limits = Limits { requests_per_principal: 1, streams_per_principal: 2, ..Limits::default() };
    let server = Server::with(limits).await;
    let http = server.as_agent("a");
    let listen = || http.modern_request(1, "subscriptions/listen", json!({ "notifications": {} }), json!({}));
    let mut one = http.open(listen()).await;
    let mut two = http.open(listen()).await;
    assert!(one.next().await.is_some() && two.next().await.is_some());
    assert_eq!(http.send(listen()).await.status, 429);
    assert_eq!(http.modern("tools/list", json!({})).await.status, 200);
    server.script.revoke("a");
    while one.next().await.is_some() {}
}

/// One principal's large bodies wait for each other; another's do not wait for them.
#[tokio::test]
async fn large_bodies_share_bounded_memory() {
    let limits = Limits {
        large_bodies_per_principal: 4 << 20,
        large_bodies: 16 << 20,
        body_timeout: Duration::from_secs(4),
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let large = |name: &str| json!({ "name": name, "arguments": { "x": "y".repeat(3_000_000) } });
    let http = server.as_agent("a");
    let waiting = tokio::spawn({
        let (http, params) = (http.clone(), large("wait"));
        async move { http.modern("tools/call", params).await }
    });
    server.script.entered.reaches(1).await;
    assert_eq!(http.modern("tools/call", large("echo")).await.status, 429);
    assert_eq!(http.modern("tools/list", json!({})).await.status, 200);
    assert_eq!(server.as_agent("b").modern("tools/call", large("echo")).await.status, 200);
    server.script.release.send_replace(true);
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(http.modern("tools/call", large("echo")).await.status, 200);
}

/// Peers that read nothing of large answers, and peers that send nothing, hold up nobody.
#[tokio::test]
async fn slow_peers_hold_up_nobody() {
    let server = Server::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut peer = tokio::net::TcpStream::connect(server.address).await.unwrap();
        peer.write_all(b"POST /mcp HTTP/1.1\r\nHost: local").await.unwrap();
        silent.push(peer);
    }
    let meta = crate::script::modern_meta(json!({}));
    let body = rpc(1, "tools/call", json!({ "name": "large", "_meta": meta })).to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-a\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: large\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..50 {
        let mut peer = tokio::net::TcpStream::connect(server.address).await.unwrap();
        peer.write_all(request.as_bytes()).await.unwrap();
        silent.push(peer);
    }
    let http = server.as_agent("b");
    assert_eq!(http.modern("tools/call", json!({ "name": "large" })).await.status, 200);
    assert_eq!(http.modern("tools/list", json!({})).await.status, 200);
    drop(silent);
}
