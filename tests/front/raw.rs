//! Requests as no client library sends them: shapes that two readers could take for different requests, and frames
//! that cost their sender little and their reader much.

use crate::{
    h2raw::{Peer, literal},
    pressure::{answer, list_request},
    wire::Server,
};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Everything that comes back until the server hangs up.
async fn all(server: &Server, bytes: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // It may hang up before it has read all.
    drop(stream.write_all(bytes.as_bytes()).await);
    let mut got = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut got)).await;
    drop(read.expect("the server hangs up"));
    String::from_utf8(got).unwrap()
}

fn statuses(got: &str) -> Vec<u16> {
    got.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).unwrap().parse().unwrap()).collect()
}

/// A request with these lines in place of its own `Content-Length`, and what is hidden behind it.
fn with(lines: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-a\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\n{lines}\r\n{body}"
    )
}

/// However the end of a body is said, nothing behind it is taken for a request that another reader did not see.
#[tokio::test]
async fn no_second_request_hides_in_the_first() {
    let server = Server::start().await;
    let hidden = list_request("key-b");
    let length = hidden.len() + 5;
    let cases = [
        // The one with chunks counts, and the connection ends with it.
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), "0\r\n\r\n", 400),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), "0\r\n\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 0\r\n".to_owned(), "", 400),
        ("Content-Length: 0, 5\r\n".to_owned(), "", 400),
        ("Content-Length: +0\r\n".to_owned(), "", 400),
        ("Content-Length: 0x0\r\n".to_owned(), "", 400),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), "0\r\n\r\n", 400),
        ("Transfer-Encoding: identity\r\n".to_owned(), "0\r\n\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), "0\r\n\r\n", 400),
        ("Transfer-Encoding : chunked\r\n".to_owned(), "0\r\n\r\n", 400),
        ("Transfer-Encoding:\u{b}chunked\r\n".to_owned(), "0\r\n\r\n", 400),
        ("X: y\r\n Transfer-Encoding: chunked\r\n".to_owned(), "0\r\n\r\n", 400),
        ("Content-Length: 0\r\nX:\0y\r\n".to_owned(), "", 400),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "10000000000000000\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "-1\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "0;a=\n\r\n\r\n", 400),
    ];
    for (lines, body, status) in cases {
        let got = all(&server, &format!("{}{hidden}", with(&lines, body))).await;
        let seen = statuses(&got);
        assert!(seen.len() <= 1 && seen.iter().all(|seen| *seen == status), "{lines:?} {body:?}: {got}");
    }
    // HTTP/1.0 knows no chunks.
    let old = with("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1);
    let got = all(&server, &format!("{old}{hidden}")).await;
    assert!(statuses(&got).len() <= 1 && !got.contains("\"result\""), "{got}");
}

#[tokio::test]
async fn ambiguous_requests_are_turned_away() {
    let server = Server::start().await;
    let whole = list_request("key-a").replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let cases = [
        ("Host: localhost", "Host: localhost\r\nHost: evil.example", 403),
        ("Host: localhost", "Host: localhost\r\nHost: localhost", 403),
        ("Host: localhost\r\n", "", 403),
        ("Host: localhost", "Host: localhost/evil", 403),
        ("POST /mcp", "POST http://evil.example/mcp", 403),
        ("POST /mcp", "POST http://localhost/mcp", 200),
        ("POST /mcp", "POST http://a@localhost/mcp", 403),
        ("POST /mcp", "POST /mcp/", 200),
        ("POST /mcp", "POST /mcp//", 404),
        ("POST /mcp", "POST //mcp", 404),
        ("POST /mcp", "POST /%6dcp", 404),
        ("POST /mcp", "POST /x/../mcp", 404),
        ("POST /mcp", "OPTIONS *", 404),
        ("POST /mcp", "TRACE /mcp", 405),
        ("POST /mcp", "CONNECT localhost:80", 404),
        ("Authorization: Bearer key-a", "Authorization: Bearer key-a\r\nAuthorization: Bearer key-a", 401),
        ("Authorization: Bearer key-a", "Authorization: Bearer key-a, Bearer key-b", 401),
        ("Content-Type: application/json", "Content-Type: text/plain\r\nContent-Type: application/json", 400),
        ("Accept: ", "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\nAccept: ", 400),
        ("Accept: ", "X-Workflow-Id: a\r\nX-Workflow-Id: b\r\nAccept: ", 400),
        ("Mcp-Method: tools/list", "Mcp-Method: tools/list\r\nMcp-Method: tools/call", 400),
        (
            "MCP-Protocol-Version: 2026-07-28",
            "MCP-Protocol-Version: 2026-07-28\r\nMCP-Protocol-Version: 2025-11-25",
            400,
        ),
        // Nobody speaks another protocol here.
        (
            "Accept: ",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nAccept: ",
            200,
        ),
        (
            "Accept: ",
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nAccept: ",
            200,
        ),
        ("HTTP/1.1", "HTTP/1.0", 200),
        ("HTTP/1.1", "HTTP/1.2", 400),
        ("HTTP/1.1", "HTTP/2.0", 400),
    ];
    for (from, to, status) in cases {
        let got = all(&server, &whole.replacen(from, to, 1)).await;
        let first = got.split(' ').nth(1).map(|status| status.parse::<u16>().unwrap());
        assert_eq!(first, Some(status), "{to}: {got}");
    }
}

/// A trailer is no header, and nothing of a body is asked for before its sender is known.
#[tokio::test]
async fn what_comes_behind_the_head_changes_nothing_in_it() {
    let server = Server::start().await;
    let unknown = |lines: &str, body: &str| {
        with(&format!("Connection: close\r\n{lines}"), body).replacen(
            "Authorization: Bearer key-a\r\n",
            "",
            1,
        )
    };
    let trailer = "0\r\nAuthorization: Bearer key-a\r\n\r\n";
    let got =
        all(&server, &unknown("Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n", trailer)).await;
    assert_eq!(statuses(&got), [401], "{got}");
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(20_000));
    let got = all(&server, &with("Transfer-Encoding: chunked\r\n", &many)).await;
    assert!(statuses(&got).iter().all(|status| *status == 400), "{got}");
    let got = all(&server, &unknown("Expect: 100-continue\r\nContent-Length: 4000000\r\n", "")).await;
    assert_eq!(statuses(&got), [401], "{got}");
    // Whoever is known is asked to go on.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let whole = list_request("key-a");
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    stream.write_all(format!("{head}\r\nExpect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 100);
    stream.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 200);
    // Requests in a row are answered in their order, each by its own key.
    let row = [list_request("key-a"), list_request("nobody"), list_request("key-b")].concat();
    stream.write_all(row.as_bytes()).await.unwrap();
    for (status, holds) in [(200, "agent:a"), (401, "unknown"), (200, "agent:b")] {
        let (got, body) = answer(&mut stream).await;
        assert!(got == status && body.contains(holds), "{got} {body}");
    }
}

const HEAD: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/mcp"),
    (":authority", "localhost"),
    ("authorization", "Bearer key-a"),
];

async fn is_served(server: &Server) {
    assert_eq!(server.as_agent("b").modern("tools/list", json!({})).await.status, 200);
}

/// Each of these ends the connection that does it after a bounded number of bytes, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_floods_end_their_own_connection() {
    let server = Server::start().await;
    let head: Vec<u8> = HEAD.iter().flat_map(|(name, value)| literal(name, value)).collect();

    // Streams that are reset as soon as they are opened.
    let mut peer = Peer::open(server.address, &[]).await;
    let mut opened = 0;
    while opened < 100_000 {
        let stream = 2 * opened + 1;
        if peer.coded(stream, &head).await.is_err() || peer.reset(stream).await.is_err() {
            break;
        }
        opened += 1;
    }
    assert!(opened < 100_000, "a hundred thousand streams were opened and reset");
    is_served(&server).await;

    // A head without end.
    let mut peer = Peer::open(server.address, &[]).await;
    peer.headers(1, false, &HEAD).await.unwrap();
    let part = literal("x", &"y".repeat(10_000));
    let mut sent = 0;
    while sent < 10_000 && peer.continuation(1, &part).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 10_000, "a hundred megabytes of one head were read");
    is_served(&server).await;

    // The same in small parts that say nothing.
    let mut peer = Peer::open(server.address, &[]).await;
    peer.headers(1, false, &HEAD).await.unwrap();
    let mut sent = 0;
    while sent < 1_000_000 && peer.continuation(1, &[]).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 1_000_000, "a million empty parts of one head were read");
    is_served(&server).await;

    // One field in the table, named thousands of times.
    let mut peer = Peer::open(server.address, &[]).await;
    let mut bomb = head.clone();
    // With incremental indexing (RFC 7541, section 6.2.1): the first entry of the dynamic table, number 62.
    let mut entry = literal("x", &"y".repeat(3_000));
    entry[0] = 0x40;
    bomb.extend_from_slice(&entry);
    bomb.extend(std::iter::repeat_n(0x80 | 62, 12_000));
    peer.coded(1, &bomb).await.unwrap();
    let ended = async {
        loop {
            match peer.next().await {
                // Refused by name, reset or hung up on: all but answered like any other.
                Ok((1, 1, block)) => {
                    // 431 has no entry in the static table: it stands as text.
                    assert!(
                        block.windows(3).any(|part| part == b"431") || !block.contains(&0x88),
                        "{block:?}"
                    );
                    return;
                }
                Ok((3 | crate::h2raw::GOAWAY, ..)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    is_served(&server).await;

    // Questions whose answers nobody reads.
    let mut peer = Peer::open(server.address, &[]).await;
    let mut sent = 0;
    let flood = async {
        while sent < 500_000 && peer.ping().await.is_ok() {
            sent += 1;
        }
    };
    // Either the server stops reading, or it has answered each and kept none.
    drop(tokio::time::timeout(Duration::from_secs(2), flood).await);
    is_served(&server).await;
}
