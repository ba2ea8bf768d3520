//! The stdio front over real pipes.

use crate::script::{Script, agent, modern_meta};
use crate::wire::rpc;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines};
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::System,
    front::stdio::{StdioError, StdioOptions, run},
};

struct Pipe {
    script: Arc<Script>,
    stdin: Option<DuplexStream>,
    stdout: Lines<BufReader<DuplexStream>>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), StdioError>>,
}

impl Pipe {
    fn open(max_message: usize) -> Self {
        let script = Script::new();
        let (stdin, theirs_in) = tokio::io::duplex(64 * 1024);
        let (theirs_out, stdout) = tokio::io::duplex(64 * 1024);
        let shutdown = CancellationToken::new();
        let options =
            StdioOptions { max_message, ids: Arc::new(System::default()), shutdown: shutdown.clone() };
        let running = tokio::spawn(run(script.clone(), agent("a"), options, theirs_in, theirs_out));
        Self { script, stdin: Some(stdin), stdout: BufReader::new(stdout).lines(), shutdown, running }
    }

    async fn write(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    async fn send(&mut self, message: Value) {
        self.write(&message.to_string()).await;
    }

    /// The next line, which must be a message; none at the end.
    async fn next(&mut self) -> Option<Value> {
        let line =
            tokio::time::timeout(Duration::from_secs(20), self.stdout.next_line()).await.unwrap().unwrap();
        line.map(|line| {
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(message.get("jsonrpc").or(message.get(0).map(|m| &m["jsonrpc"])).unwrap(), "2.0");
            message
        })
    }

    async fn ask(&mut self, message: Value) -> Value {
        self.send(message).await;
        self.next().await.unwrap()
    }

    async fn initialize(&mut self, version: &str) {
        let params = json!({ "protocolVersion": version, "capabilities": { "elicitation": {} } });
        assert_eq!(self.ask(rpc(0, "initialize", params)).await["result"]["protocolVersion"], version);
        self.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    }

    async fn end(mut self) -> Result<(), StdioError> {
        self.stdin = None;
        tokio::time::timeout(Duration::from_secs(20), self.running).await.unwrap().unwrap()
    }
}

fn modern(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"] = modern_meta(json!({})).into();
    rpc(id, method, params)
}

#[tokio::test]
async fn both_eras_on_one_connection() {
    let mut pipe = Pipe::open(1 << 20);
    assert_eq!(pipe.ask(rpc(1, "ping", json!({}))).await["result"], json!({}));
    assert_eq!(pipe.ask(rpc(1, "tools/list", json!({}))).await["error"]["code"], -32602);
    let discover = pipe.ask(modern(2, "server/discover", json!({}))).await;
    assert_eq!(discover["result"]["supportedVersions"][0], "2026-07-28");
    let mut old = modern(3, "tools/list", json!({}));
    old["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1900-01-01");
    assert_eq!(pipe.ask(old).await["error"]["code"], -32022);
    assert_eq!(pipe.ask(modern(4, "no/such", json!({}))).await["error"]["code"], -32601);
    pipe.initialize("2025-11-25").await;
    let again = rpc(5, "initialize", json!({ "protocolVersion": "2025-11-25" }));
    assert_eq!(pipe.ask(again).await["error"]["code"], -32600);
    assert!(pipe.ask(rpc(6, "tools/list", json!({}))).await["result"].get("resultType").is_none());
    assert_eq!(pipe.ask(modern(7, "tools/list", json!({}))).await["result"]["resultType"], "complete");
    assert_eq!(pipe.ask(rpc(8, "tools/call", json!({ "name": "echo" }))).await["id"], 8);
    assert_eq!(pipe.ask(json!([rpc(1, "ping", json!({}))])).await["error"]["code"], -32600);
    pipe.end().await.unwrap();
}

#[tokio::test]
async fn lines_are_bounded_and_bad_ones_are_answered() {
    let mut pipe = Pipe::open(1000);
    for (line, code) in [
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#, -32700),
        ("7", -32600),
        (&"[".repeat(999), -32700),
        (&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(100_000)), -32600),
    ] {
        pipe.write(line).await;
        assert_eq!(pipe.next().await.unwrap()["error"]["code"], code);
    }
    pipe.write("").await;
    pipe.write("  \r").await;
    assert_eq!(pipe.ask(rpc(2, "ping", json!({}))).await["id"], 2);
    pipe.write("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"ping\"}\r").await;
    assert_eq!(pipe.next().await.unwrap()["id"], 3);
    pipe.end().await.unwrap();
}

#[tokio::test]
async fn requests_run_side_by_side_and_are_cancelled_by_name() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    pipe.send(rpc(10, "tools/call", json!({ "name": "wait" }))).await;
    pipe.send(modern(11, "tools/call", json!({ "name": "wait" }))).await;
    pipe.script.entered.reaches(2).await;
    assert_eq!(pipe.ask(rpc(12, "tools/call", json!({ "name": "echo" }))).await["id"], 12);
    assert_eq!(pipe.ask(rpc(10, "tools/call", json!({ "name": "echo" }))).await["error"]["code"], -32600);
    pipe.send(
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 11 } }),
    )
    .await;
    pipe.script.dropped.reaches(1).await;
    pipe.script.release.send_replace(true);
    assert_eq!(pipe.next().await.unwrap()["id"], 10, "the cancelled one is not answered");
    pipe.end().await.unwrap();
}

#[tokio::test]
async fn questions_progress_and_news_share_the_line() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    let question = pipe.ask(rpc(1, "tools/call", json!({ "name": "ask" }))).await;
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    assert!(pipe.ask(answer).await["result"]["content"][0]["text"].as_str().unwrap().contains("decline"));
    pipe.send(rpc(2, "tools/call", json!({ "name": "progress", "_meta": { "progressToken": "t" } }))).await;
    for progress in [1.0, 2.0, 3.0] {
        assert_eq!(pipe.next().await.unwrap()["params"]["progress"], progress);
    }
    assert_eq!(pipe.next().await.unwrap()["id"], 2);
    pipe.script.tools_changed();
    assert_eq!(pipe.next().await.unwrap()["method"], "notifications/tools/list_changed");
    pipe.end().await.unwrap();
}

#[tokio::test]
async fn subscriptions_on_stdio() {
    let mut pipe = Pipe::open(1 << 20);
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let ack = pipe.ask(modern(1, "subscriptions/listen", filter.clone())).await;
    assert_eq!(ack["method"], "notifications/subscriptions/acknowledged");
    pipe.script.tools_changed();
    let told = pipe.next().await.unwrap();
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    assert_eq!(pipe.ask(modern(1, "subscriptions/listen", filter.clone())).await["error"]["code"], -32600);
    pipe.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }))
        .await;
    let ack = pipe.ask(modern(2, "subscriptions/listen", filter)).await;
    assert_eq!(ack["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 2);
    pipe.script.tools_changed();
    assert_eq!(pipe.next().await.unwrap()["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 2);
    pipe.shutdown.cancel();
    assert_eq!(pipe.next().await.unwrap()["method"], "notifications/cancelled");
    assert_eq!(pipe.next().await.unwrap()["id"], 2);
    pipe.end().await.unwrap();
}

/// I3
#[tokio::test]
async fn the_end_of_stdin_cancels_calls_and_lets_lists_finish() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.script.ready.send_replace(false);
    pipe.initialize("2025-11-25").await;
    pipe.script.ready.send_replace(true);
    pipe.send(rpc(1, "tools/call", json!({ "name": "wait" }))).await;
    pipe.script.entered.reaches(1).await;
    pipe.script.ready.send_replace(false);
    pipe.send(rpc(2, "tools/list", json!({}))).await;
    pipe.stdin = None;
    pipe.script.dropped.reaches(1).await;
    pipe.script.ready.send_replace(true);
    assert_eq!(pipe.next().await.unwrap()["id"], 2);
    assert_eq!(pipe.next().await, None);
    pipe.end().await.unwrap();
}

/// What a script writes at once, and nothing after it: its lists are answered as those of a client that waits.
#[tokio::test]
async fn lists_that_came_with_the_end_are_answered() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    let both = [rpc(2, "tools/list", json!({})), modern(3, "tools/list", json!({}))];
    pipe.write(&both.map(|request| request.to_string()).join("\n")).await;
    pipe.stdin = None;
    let mut answered = [pipe.next().await.unwrap()["id"].clone(), pipe.next().await.unwrap()["id"].clone()];
    answered.sort_by_key(|id| id.as_i64());
    assert_eq!(answered, [json!(2), json!(3)]);
    assert_eq!(pipe.next().await, None);
    pipe.end().await.unwrap();
}

#[tokio::test]
async fn a_revoked_agent_is_hung_up_on() {
    for initialized in [true, false] {
        let mut pipe = Pipe::open(1 << 20);
        if initialized {
            pipe.initialize("2025-11-25").await;
        }
        pipe.script.revoke("a");
        if !initialized {
            pipe.send(modern(1, "tools/call", json!({ "name": "echo" }))).await;
        }
        assert_eq!(pipe.next().await, None);
        assert!(matches!(pipe.end().await, Err(StdioError::Revoked)));
    }
}

/// The 257th waits; what it waits for is not held up by it.
#[tokio::test]
async fn requests_beyond_those_worked_on_wait_for_their_turn() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    for id in 1..=400 {
        let call = json!({ "name": "wait" });
        // Both eras wait in one row.
        pipe.send(if id % 2 == 0 { rpc(id, "tools/call", call) } else { modern(id, "tools/call", call) })
            .await;
    }
    pipe.script.entered.reaches(256).await;
    assert_eq!(pipe.ask(rpc(1000, "ping", json!({}))).await["id"], 1000);
    // One that waits and one that is worked on are cancelled alike.
    for id in [399, 2] {
        let params = json!({ "requestId": id });
        pipe.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })).await;
    }
    pipe.script.dropped.reaches(1).await;
    pipe.script.entered.reaches(257).await;
    pipe.script.release.send_replace(true);
    let mut ids: Vec<i64> = Vec::new();
    for _ in 0..398 {
        let answer = pipe.next().await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        ids.push(answer["id"].as_i64().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=400).filter(|id| ![2, 399].contains(id)).collect::<Vec<_>>());
    assert_eq!(pipe.script.entered.get(), 399);
    pipe.end().await.unwrap();
}

/// Where too many wait, nothing is read until one is answered, and none is refused or lost.
#[tokio::test]
async fn a_client_that_asks_without_end_is_slowed_down() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    let mut stdin = pipe.stdin.take().unwrap();
    let sending = tokio::spawn(async move {
        for id in 1..=5000 {
            let line = format!("{}\n", rpc(id, "tools/call", json!({ "name": "wait" })));
            stdin.write_all(line.as_bytes()).await.unwrap();
        }
        stdin
    });
    pipe.script.entered.reaches(256).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!sending.is_finished(), "all of it was read");
    pipe.script.release.send_replace(true);
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 5000 {
        let answer = pipe.next().await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        ids.insert(answer["id"].as_i64().unwrap());
    }
    pipe.stdin = Some(sending.await.unwrap());
    pipe.end().await.unwrap();
}

/// All that are worked on wait for the client, and its answers come behind more requests than may wait: those are refused,
/// and the answers are read.
#[tokio::test]
async fn answers_are_read_however_many_requests_stand_before_them() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    let question = pipe.ask(rpc(1, "tools/call", json!({ "name": "ask" }))).await;
    for id in 2..=256 {
        pipe.send(rpc(id, "tools/call", json!({ "name": "wait" }))).await;
    }
    pipe.script.entered.reaches(255).await;
    let mut stdin = pipe.stdin.take().unwrap();
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    let sending = tokio::spawn(async move {
        for id in 257..=2000 {
            let line = format!("{}\n", rpc(id, "tools/call", json!({ "name": "wait" })));
            stdin.write_all(line.as_bytes()).await.unwrap();
        }
        stdin.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        stdin
    });
    let mut refused = 0;
    loop {
        let message = pipe.next().await.unwrap();
        match message["id"].as_i64() {
            Some(1) => break,
            Some(id) => {
                assert!(id > 1000 && message["error"]["code"] == -32603, "{message}");
                refused += 1;
            }
            None => panic!("{message}"),
        }
    }
    assert!(refused > 0);
    pipe.script.release.send_replace(true);
    pipe.stdin = Some(sending.await.unwrap());
    pipe.end().await.unwrap();
}

#[tokio::test]
async fn subscriptions_take_no_turn_and_are_bounded() {
    let mut pipe = Pipe::open(1 << 20);
    for id in 1..=64 {
        let ack = pipe.ask(modern(id, "subscriptions/listen", json!({ "notifications": {} }))).await;
        assert_eq!(ack["method"], "notifications/subscriptions/acknowledged");
    }
    let one_more = modern(65, "subscriptions/listen", json!({ "notifications": {} }));
    assert_eq!(pipe.ask(one_more.clone()).await["error"]["code"], -32603);
    assert_eq!(pipe.ask(modern(66, "tools/call", json!({ "name": "echo" }))).await["id"], 66);
    pipe.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } }))
        .await;
    // The place is free once the subscription has ended.
    let until = async {
        while pipe.ask(one_more.clone()).await.get("error").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until).await.unwrap();
    pipe.end().await.unwrap();
}

/// I7: what changes for others only is not told.
#[tokio::test]
async fn a_list_that_changes_for_others_is_not_told() {
    let mut pipe = Pipe::open(1 << 20);
    pipe.initialize("2025-11-25").await;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let ack = pipe.ask(modern(1, "subscriptions/listen", filter)).await;
    assert_eq!(ack["method"], "notifications/subscriptions/acknowledged");
    pipe.script.unmoved.lock().unwrap().insert("agent:a".to_owned());
    for round in 0..10 {
        pipe.script.tools_changed();
        assert_eq!(pipe.ask(rpc(100 + round, "ping", json!({}))).await["id"], 100 + round);
    }
    pipe.script.unmoved.lock().unwrap().clear();
    pipe.script.tools_changed();
    for _ in 0..2 {
        assert_eq!(pipe.next().await.unwrap()["method"], "notifications/tools/list_changed");
    }
    pipe.end().await.unwrap();
}
