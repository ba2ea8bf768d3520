//! Connections of peers that say nothing, or nothing that counts: they keep nobody out.

use crate::{
    h2raw::Peer,
    script::modern_meta,
    tls::trusting,
    wire::{Server, rpc},
};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

/// More than a listener has places, all from one address.
const FLOOD: usize = 4096 + 200;

/// A request with a right key, as bytes on a connection that stays open.
pub(crate) fn list_request(key: &str) -> String {
    let body = rpc(1, "tools/list", json!({ "_meta": modern_meta(json!({})) })).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One answer with a `Content-Length`, off the connection.
pub(crate) async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, String::from_utf8(body).unwrap())
}

async fn asks<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, key: &str) -> u16 {
    stream.write_all(list_request(key).as_bytes()).await.unwrap();
    answer(stream).await.0
}

async fn flood(address: SocketAddr) -> Vec<TcpStream> {
    let mut silent = Vec::with_capacity(FLOOD);
    for number in 0..FLOOD {
        let mut peer = TcpStream::connect(address).await.unwrap();
        // Some say a little; one whose place is gone meanwhile says it to nobody.
        if number % 3 == 0 {
            drop(peer.write_all(b"POST /mcp HTTP/1.1\r\nHost: local").await);
        }
        silent.push(peer);
    }
    silent
}

/// Whatever it was told before.
fn is_closed(peer: &TcpStream) -> bool {
    let mut bytes = [0; 64];
    loop {
        match peer.try_read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

async fn until_closed(peer: &TcpStream) {
    let closed = async {
        while !is_closed(peer) {
            peer.readable().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_of_one_address_keep_no_right_key_from_it_out() {
    let server = Server::start().await;
    let mut mine = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(asks(&mut mine, "key-a").await, 200);
    let silent = flood(server.address).await;
    // Who was there stays, who comes gets in, and those that came first have made room.
    assert_eq!(asks(&mut mine, "key-a").await, 200);
    let mut new = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(asks(&mut new, "key-b").await, 200);
    assert_eq!(server.as_agent("a").modern("tools/list", json!({})).await.status, 200);
    until_closed(&silent[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_handshake_is_a_strangers() {
    let server = Server::over_tls().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting()));
    let open = async || {
        let stream = TcpStream::connect(server.address).await.unwrap();
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    };
    let mut mine = open().await;
    assert_eq!(asks(&mut mine, "key-a").await, 200);
    let silent = flood(server.address).await;
    assert_eq!(asks(&mut mine, "key-a").await, 200);
    let mut new = open().await;
    assert_eq!(asks(&mut new, "key-b").await, 200);
    until_closed(&silent[0]).await;
}

/// Who acknowledges every ping and sends no request is not waited for; nor is who begins and never ends a head or a TLS
/// handshake.
#[tokio::test]
async fn a_peer_that_sends_no_request_is_given_up() {
    let server = Server::start().await;
    let mut alive = Peer::open(server.address, &[]).await;
    let mut half = Peer::open(server.address, &[]).await;
    // A head that goes on and on is none.
    half.headers(1, false, &[(":method", "POST"), (":path", "/mcp")]).await.unwrap();
    let secure = Server::over_tls().await;
    // It goes on until nobody takes it any more.
    let drips = async |address: SocketAddr, first: &[u8], drop: &[u8]| {
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(first).await.unwrap();
        while slow.write_all(drop).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // A record of a handshake, and a hello that is to be ten thousand bytes long.
    let hello = [22, 3, 1, 0x27, 0x14, 1, 0, 0x27, 0x10, 3, 3];
    let head = drips(server.address, b"POST /mcp HTTP/1.1\r\n", b"a: b\r\n");
    let handshake = drips(secure.address, &hello, &[0]);
    let ended = async { tokio::join!(alive.until_closed(), half.until_closed(), head, handshake) };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
}

/// What an agent does not read of its answers is its own, and bounded; others do not pay for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_bounded_for_each_principal() {
    let limits = tollgate::front::http::Limits { untaken_per_principal: 8 << 20, ..Default::default() };
    let server = Server::with(limits).await;
    // A window of nothing: what is answered cannot leave.
    let mut peer = Peer::open(server.address, &[(4, 0)]).await;
    let body = rpc(1, "tools/call", json!({ "name": "large", "_meta": modern_meta(json!({})) })).to_string();
    for stream in 0..10 {
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/mcp"),
            (":authority", "localhost"),
            ("authorization", "Bearer key-a"),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "large"),
        ];
        peer.headers(2 * stream + 1, true, &head).await.unwrap();
        peer.data(2 * stream + 1, true, body.as_bytes()).await.unwrap();
    }
    let a = server.as_agent("a");
    let until = async |status: u16| {
        while a.modern("tools/list", json!({})).await.status != status {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until(429)).await.unwrap();
    assert_eq!(server.as_agent("b").modern("tools/call", json!({ "name": "large" })).await.status, 200);
    drop(peer);
    tokio::time::timeout(Duration::from_secs(60), until(200)).await.unwrap();
}

/// The same without a key: there is nobody to count for, so the connection ends.
#[tokio::test]
async fn a_stranger_that_reads_no_refusal_loses_its_connection() {
    let server = Server::start().await;
    let mut peer = Peer::open(server.address, &[(4, 0)]).await;
    for stream in 0..100 {
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/mcp"),
            (":authority", "localhost"),
            ("authorization", "Bearer nobody"),
        ];
        if peer.headers(2 * stream + 1, true, &head).await.is_err() {
            break;
        }
    }
    tokio::time::timeout(Duration::from_secs(60), peer.until_closed()).await.unwrap();
}
