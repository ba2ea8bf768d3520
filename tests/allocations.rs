//! What an allowed call costs in allocations. No single one of them is slow, and so no benchmark shows one more; together
//! they are a good part of what a call costs, and a change adds some without anybody asking for it. A count is the same on
//! every machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's own functions may fail by panicking, as the test itself may"
)]

#[path = "attack/world.rs"]
mod world;

use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};
use tollgate::{gateway::IncomingCall, model::CallKind};
use world::{Heard, World, decision};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls of one round, and rounds: what other threads allocate now and then is in some of them, so the smallest counts.
const CALLS: usize = 100;
const ROUNDS: usize = 7;
const WARM: usize = 200;

/// The most of one call, from the gateway's front to the settlement: some 15 % above what was counted when it was set. A call
/// that needs more for a reason gets a new budget, in the commit that has the reason.
const ALLOCATIONS: usize = 164;
const BYTES: usize = 53_000;

/// An upstream that answers calls from a buffer that it has: nothing that it does for a call is counted.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0u8; 64 << 10];
    let mut reply = [0u8; 1024];
    let mut filled = 0;
    loop {
        let Some((head, whole)) = request(&buffer[..filled]) else {
            match stream.read(&mut buffer[filled..]) {
                Ok(0) | Err(_) => return,
                Ok(more) => filled += more,
            }
            continue;
        };
        let body = &buffer[head..whole];
        let written = if find(body, b"\"tools/call\"").is_some() {
            let mut to = &mut reply[..];
            write_called(&mut to, body);
            let left = to.len();
            stream.write_all(&reply[..reply.len() - left])
        } else {
            stream.write_all(other(body).as_bytes())
        };
        if written.is_err() {
            return;
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part))
}

/// Where the body of the first request begins and ends, once all of it is there.
fn request(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let length = match find(&buffer[..head], b"\ncontent-length:") {
        Some(at) => {
            let digits = buffer[at + 16..head].iter().skip_while(|byte| **byte == b' ');
            digits.take_while(|byte| byte.is_ascii_digit()).fold(0, |n, d| n * 10 + usize::from(d - b'0'))
        }
        None => 0,
    };
    (buffer.len() >= head + length).then_some((head, head + length))
}

/// The result of a call, written without an allocation.
fn write_called(to: &mut &mut [u8], body: &[u8]) {
    let at = find(body, b"\"id\":").unwrap() + 5;
    let end = body[at..].iter().position(|byte| matches!(byte, b',' | b'}')).unwrap() + at;
    let id = &body[at..end];
    let (open, rest) = (
        b"{\"jsonrpc\":\"2.0\",\"id\":",
        b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"done\"}]}}",
    );
    let length = open.len() + id.len() + rest.len();
    write!(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
        .unwrap();
    for part in [open.as_slice(), id, rest.as_slice()] {
        to.write_all(part).unwrap();
    }
}

/// The answer to what is no call.
fn other(body: &[u8]) -> String {
    let message: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let Some(id) = message.get("id") else {
        return "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n".to_owned();
    };
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => Some(json!({
            "protocolVersion": "2025-11-25",
            "serverInfo": {"name": "up", "version": "1"},
            "capabilities": {"tools": {}},
        })),
        "tools/list" => Some(json!({"tools": [{"name": "act", "inputSchema": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["path"],
        }}]})),
        _ => None,
    };
    let answer = match result {
        Some(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        None => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}}),
    };
    let answer = answer.to_string();
    let length = answer.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{answer}")
}

const POLICIES: [(&str, &str); 2] = [
    (
        "gate.yaml",
        "name: gate\ndescription: d\non: [{ upstream: up }]\nrules:\n  - { id: never, condition: \"args.path == '/etc'\", decision: DENY }\n",
    ),
    (
        "budgets.yaml",
        "budgets:\n  - { id: cap, scope: agent, window: day, max_calls: 100000, on_exceed: deny }\n",
    ),
];

fn incoming(world: &World, n: usize) -> IncomingCall {
    let arguments = json!({"path": format!("/notes/{n:06}.txt"), "limit": 10});
    world.incoming(CallKind::Tool, "up__act", Some(arguments))
}

/// Each allowed call of a warm gateway allocates no more than [`ALLOCATIONS`] times and [`BYTES`] in all.
#[tokio::test]
async fn an_allowed_call_allocates_no_more_than_its_budget() {
    let world = World::over("", &POLICIES, &format!("url = \"{}\"", upstream()), Heard::default()).await;
    for n in 0..WARM {
        assert_eq!(decision(&world.gateway.call(incoming(&world, n)).await), "allow");
    }
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        // Made before they are counted: a front reads them from bytes, which is no part of this.
        let calls: Vec<IncomingCall> = (0..CALLS).map(|n| incoming(&world, round * 1000 + n)).collect();
        let mut replies = Vec::with_capacity(CALLS);
        let region = Region::new(ALLOCATOR);
        for call in calls {
            replies.push(world.gateway.call(call).await);
        }
        let used = region.change();
        for reply in &replies {
            assert_eq!(decision(reply), "allow", "{reply:?}");
        }
        // What grows in place is asked for anew as well.
        rounds.push(((used.allocations + used.reallocations) / CALLS, used.bytes_allocated / CALLS));
    }
    eprintln!("allocations and bytes per call, round by round: {rounds:?}");
    let allocations = rounds.iter().map(|(allocations, _)| *allocations).min().unwrap();
    let bytes = rounds.iter().map(|(_, bytes)| *bytes).min().unwrap();
    assert!(
        allocations <= ALLOCATIONS && bytes <= BYTES,
        "an allowed call makes {allocations} allocations of {bytes} bytes; its budget is {ALLOCATIONS} of {BYTES}: {rounds:?}"
    );
}
