//! What an allowed call costs in system calls that write. Each of them is a switch into the kernel that the caller waits for,
//! and each write to the disk is one that all calls share. A benchmark on a busy machine does not show one more of them; a
//! count does, on any machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's own functions may fail by panicking, as the test itself may"
)]

mod binary;

use axum::{Json, Router, response::IntoResponse as _, routing::any};
use binary::Serving;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

/// Calls that are counted, and those before them that open connections and fill caches.
const COUNTED: usize = 20;
const WARM: usize = 10;

/// The most writes of one call, by where they go.
const BUDGET: [(Target, usize); 6] = [
    // The group that admits the call, and the group that has its settlement; with other calls they share either.
    (Target::Journal, 2),
    // The projection is written where an approval changed or much was appended, never for a call.
    (Target::Projection, 0),
    // The reply, head and body at once.
    (Target::Agent, 1),
    // The request, head and body at once.
    (Target::Upstream, 1),
    // Threads that wake each other: the agent's connection, the store's thread and the log's task.
    (Target::Wake, 6),
    // No other file, pipe or socket is written for a call.
    (Target::Other, 0),
];

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Journal,
    Projection,
    Agent,
    Upstream,
    Admin,
    Wake,
    /// Standard error: written by a thread of its own, some lines at once. No call waits for it, so it has no budget.
    Log,
    Other,
}

const KEY: &str = "key-robot";
const PERSON: &str = "key-carol";

/// An upstream that says `done`; it lives as long as its runtime.
fn upstream() -> (String, tokio::runtime::Runtime) {
    async fn answer(body: String) -> axum::response::Response {
        let Ok(message) = serde_json::from_str::<Value>(&body) else {
            return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
        };
        let Some(id) = message.get("id") else { return axum::http::StatusCode::ACCEPTED.into_response() };
        let result = match message["method"].as_str().unwrap() {
            "initialize" => json!({
                "protocolVersion": "2025-11-25",
                "serverInfo": {"name": "up", "version": "1"},
                "capabilities": {"tools": {}},
            }),
            "tools/list" => json!({"tools": [{"name": "act", "inputSchema": {"type": "object"}}]}),
            "tools/call" => json!({"content": [{"type": "text", "text": "done"}]}),
            _ => {
                let error = json!({"code": -32601, "message": "no"});
                return Json(json!({"jsonrpc": "2.0", "id": id, "error": error})).into_response();
            }
        };
        Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().route("/mcp", any(answer));
    runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, runtime)
}

fn write_files(folder: &Path, upstream: &str) {
    let servers = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nurl = \"sqlite:data/tollgate.db\"\n[upstreams.up]\nurl = \"http://{upstream}/mcp\"\n"
    );
    std::fs::write(folder.join("servers.toml"), servers).unwrap();
    let digest = |key: &str| format!("sha256:{}", hex::encode(Sha256::digest(key)));
    let authority = format!(
        "capabilities:\n  all: {{ tools: [\"**\"] }}\n\
         agents:\n  robot: {{ owner: tests, capabilities: [all], keys: [\"{}\"] }}\n\
         people:\n  carol: {{ roles: [auditor], keys: [\"{}\"] }}\n",
        digest(KEY),
        digest(PERSON)
    );
    let bundle = folder.join("policies");
    std::fs::create_dir(&bundle).unwrap();
    let files = [
        ("bundle.yaml", "version: \"1\"\nowner: tests\ndefault_decision: ALLOW\n"),
        ("authority.yaml", &authority),
        (
            "budgets.yaml",
            "budgets:\n  - { id: cap, scope: agent, window: day, max_calls: 1000, on_exceed: deny }\n",
        ),
        (
            "gate.yaml",
            "name: gate\ndescription: d\non: [{ upstream: up }]\nrules:\n  - { id: never, condition: \"args.n == 4711\", decision: DENY }\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(bundle.join(name), text).unwrap();
    }
}

/// An agent on one connection that stays open.
struct Agent(BufReader<TcpStream>);

impl Agent {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(BufReader::new(stream))
    }

    fn call(&mut self, n: usize) {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"name": "up__act", "arguments": {"n": n}, "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": params}).to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
             Mcp-Name: up__act\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection was closed");
            if line == "\r\n" {
                break;
            }
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let reply: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(reply["result"]["content"][0]["text"], "done", "{reply:#}");
    }
}

/// Waits until so many calls are settled. What it asks the admin listener for stands in the trace too.
fn until_settled(serving: &Serving, calls: usize) {
    serving.admin_until_as(PERSON, "/api/v1/events?event_type=agent_side_effect&limit=1000", |answer| {
        answer.status == 200 && answer.json()["events"].as_array().unwrap().len() == calls
    });
}

/// Where each write of a trace went, with its line, in order.
fn writes(trace: &str, serving: (&str, &str), upstream: &str) -> Vec<(Target, String)> {
    let (mcp, admin) = serving;
    let mut found = Vec::new();
    for line in trace.lines() {
        // The end of a call that was told in two lines.
        let Some((_, call)) = line.split_once(' ').filter(|(_, call)| !call.trim_start().starts_with("<..."))
        else {
            continue;
        };
        let call = call.trim_start();
        let Some((name, rest)) = call.split_once('(') else { continue };
        let kinds = ["write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"];
        if !kinds.contains(&name) {
            continue;
        }
        // What the descriptor is ends before the bytes begin.
        let to = rest.split_once(">, ").map_or(rest, |(to, _)| to);
        let target = match to {
            _ if to.contains("/tollgate.journal/") => Target::Journal,
            _ if to.contains("/tollgate.db") => Target::Projection,
            _ if to.contains(&format!("[{mcp}->")) => Target::Agent,
            _ if to.contains(&format!("[{admin}->")) => Target::Admin,
            _ if to.contains(&format!("->{upstream}]")) => Target::Upstream,
            _ if to.contains("[eventfd") => Target::Wake,
            _ if to.starts_with("2<") => Target::Log,
            _ => Target::Other,
        };
        found.push((target, line.to_owned()));
    }
    found
}

fn missing(program: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "`{program}` is not installed: writes cannot be counted"
    );
    eprintln!("`{program}` is not installed: the writes of a call are not counted");
}

/// The writes of a call on a connection that is open, to an upstream whose connection is open, are within [`BUDGET`].
#[test]
fn an_allowed_call_writes_no_more_than_its_budget() {
    if Command::new("strace").arg("--version").output().is_err() {
        return missing("strace");
    }
    let folder = tempfile::tempdir().unwrap();
    let (upstream, _runtime) = upstream();
    write_files(folder.path(), &upstream);
    let log = folder.path().join("trace");
    let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg";
    let strace = ["strace", "-D", "-f", "-yy", "-s", "200", "-e", calls, "-o", log.to_str().unwrap()];
    let serving = Serving::start_under(&strace.map(str::to_owned), folder.path(), &[]);
    serving.admin_until_as(PERSON, "/readyz", |answer| answer.status == 200);
    let mut agent = Agent::connect(&serving.mcp);
    (0..WARM).for_each(|n| agent.call(n));
    until_settled(&serving, WARM);
    (WARM..WARM + COUNTED).for_each(|n| agent.call(n));
    until_settled(&serving, WARM + COUNTED);
    let addresses = (serving.mcp.clone(), serving.admin.clone());
    let (code, _, told) = serving.end();
    assert_eq!(code, 0, "{told}");

    let trace = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let all = writes(&trace, (&addresses.0, &addresses.1), &upstream);
    // From the admin listener's last answer before the counted calls to its last answer after them.
    let mut replies =
        all.iter().enumerate().filter(|(_, (to, _))| *to == Target::Agent).map(|(at, _)| at).skip(WARM);
    let first = replies.next().expect("the trace shows the replies");
    let begin = all[..first].iter().rposition(|(to, _)| *to == Target::Admin).unwrap();
    let end = all.iter().rposition(|(to, _)| *to == Target::Admin).unwrap();
    let window = &all[begin + 1..end];
    let mut counted: BTreeMap<Target, usize> = BTreeMap::new();
    for (to, _) in window.iter().filter(|(to, _)| *to != Target::Admin) {
        *counted.entry(*to).or_default() += 1;
    }
    eprintln!("writes of {COUNTED} calls: {counted:?}");
    assert_eq!(counted.get(&Target::Agent), Some(&COUNTED), "each call has one reply: {counted:?}");
    for (target, most) in BUDGET {
        let made = counted.get(&target).copied().unwrap_or(0);
        let lines: Vec<&String> =
            window.iter().filter(|(to, _)| *to == target).map(|(_, line)| line).take(60).collect();
        assert!(
            made <= most * COUNTED,
            "{COUNTED} calls made {made} writes to {target:?}, and {} are its budget; all of them: {counted:?}\n{lines:#?}",
            most * COUNTED
        );
    }
}
