//! The end of a process: calls in flight may finish, and those that do not are told so.

use crate::harness::*;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tollgate::{model::Outcome, store::EventQuery};

const GATE: &str = "=== ask.yaml
name: writes
description: d
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads] }]
";
const TERM: rustix::process::Signal = rustix::process::Signal::TERM;

async fn files() -> Files {
    let gateway = "drain = \"300ms\"\napproval_wait = \"60s\"".to_owned();
    let files = Files::of(Setup { files: GATE.to_owned(), gateway, ..Setup::default() }).await;
    files.up.hangs();
    files
}

/// What is on record of the calls that were cut.
async fn settled(files: &Files) -> Vec<(Option<Outcome>, String)> {
    let store = files.store();
    let events = store.events(EventQuery::default()).await.unwrap();
    let of = |event: tollgate::model::Event| {
        (event.draft.outcome, event.draft.reason.as_deref().unwrap_or_default().to_owned())
    };
    events.into_iter().filter(|event| event.draft.outcome.is_some()).map(of).collect()
}

#[track_caller]
fn is_unknown(text: &str) {
    assert!(text.contains("Tollgate was stopped") && text.contains("unknown"), "{text}");
}

/// A call that the drain cuts off has an answer that says what is known of it, in both eras, as JSON and on a stream; one that
/// waits for a person is told that it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_cut_off_are_answered() {
    let files = files().await;
    let mut process = files.serve().await;
    let modern = files.client(&process, "ada");
    let legacy = modern.session().await;
    let streaming = |method: &'static str, params: Value, client: &Client| {
        let (client, body) = (client.clone(), client.body(method, params));
        tokio::spawn(async move {
            let mut request = client.post(&body).build().unwrap();
            request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
            let response = client.http.execute(request).await.unwrap();
            response.text().await.unwrap()
        })
    };
    let called = |tool: &'static str, n: u32, client: &Client| {
        let client = client.clone();
        tokio::spawn(async move { client.call(tool, json!({"n": n})).await })
    };
    let tool = |n: u32| json!({"name": "up__echo", "arguments": {"n": n}});
    let read = json!({"uri": "file:///open/a.txt"});
    let streams = [streaming("tools/call", tool(1), &modern), streaming("tools/call", tool(2), &legacy)];
    let whole = [called("up__echo", 3, &modern), called("up__echo", 4, &legacy)];
    let reading = streaming("resources/read", read, &modern);
    let waiting = called("up__write", 5, &modern);
    files.up.until_count(5).await;
    process.until_event(|event| event["event_type"] == "approval_requested").await;
    process.signal(TERM);
    for stream in streams {
        let text = soon(stream).await.unwrap();
        assert!(text.contains("isError\":true"), "{text}");
        is_unknown(&text);
    }
    for reply in whole {
        let reply = soon(reply).await.unwrap();
        assert_eq!(reply.body["result"]["isError"], true, "{:#}", reply.body);
        is_unknown(reply.text());
    }
    let text = soon(reading).await.unwrap();
    assert!(text.contains("\"code\":502"), "{text}");
    is_unknown(&text);
    pending(&soon(waiting).await.unwrap());
    assert!(process.ended().await);
    let settled = settled(&files).await;
    assert_eq!(settled.len(), 5, "{settled:#?}");
    for (outcome, reason) in settled {
        assert_eq!(outcome, Some(Outcome::Unknown));
        assert!(reason.contains("Tollgate was stopped"), "{reason}");
    }
    process.log.until_end().await;
    assert!(process.log.text().contains("cut=5"), "{}", process.log.text());
}

/// The same over stdio.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_cut_off_are_answered_over_stdio() {
    let files = files().await;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["stdio", "--agent", "ada", "--config"])
        .arg(files.dir.join("servers.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = BufReader::new(output).lines();
    let line = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "up__echo",
        "arguments": {"n": 1},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }});
    input.write_all((line.to_string() + "\n").as_bytes()).await.unwrap();
    files.up.until_count(1).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, TERM).unwrap();
    let reply = soon(output.next_line()).await.unwrap().expect("it ended without an answer");
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!((&reply["id"], &reply["result"]["isError"]), (&json!(7), &json!(true)), "{reply:#}");
    is_unknown(&reply.to_string());
    assert!(soon(child.wait()).await.unwrap().success());
    let settled = settled(&files).await;
    assert_eq!(settled.len(), 1, "{settled:#?}");
    assert_eq!(settled[0].0, Some(Outcome::Unknown));
}
