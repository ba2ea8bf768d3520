//! What people write for the record may hold a secret by mistake: it is masked before it is recorded, stored or shown (I5).

use crate::harness::*;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use tollgate::model::EventType;

/// What every detector of secrets knows; each order says it with a word of its own, so that it is known to have been kept.
const SECRET: &str = "AKIAQ3EGR7WJ2LPXC4ZD";

const FILES: &str = "=== ask.yaml
name: asks
description: Writes are asked about
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], grants: { max_duration: 8h, max_uses: 50 } }]
=== budgets.yaml
budgets: [{ id: calls, scope: agent, window: day, max_calls: 1000 }]
";

fn said(word: &str) -> String {
    format!("{word}: the key is {SECRET}, mail it")
}

async fn delete(world: &World, person: &str, path: &str) -> (u16, Value) {
    let url = format!("{}/api/v1/{path}", world.gate.admin);
    let reply = soon(world.http.delete(url).bearer_auth(format!("key-{person}")).send()).await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap_or(Value::Null))
}

/// Runs a command as Dan, who is an admin; what it printed, on both streams.
async fn run(world: &World, arguments: &[&str]) -> String {
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["--config", world.dir.join("servers.toml").to_str().unwrap()])
        .args(arguments)
        .env("TOLLGATE_KEY", "key-dan")
        .stdin(Stdio::null())
        .output();
    let done = soon(command).await.unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{arguments:?}: {told}");
    told
}

fn files_hold_no(dir: &Path, value: &str) -> usize {
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seen += files_hold_no(&path, value);
        } else if let Ok(bytes) = std::fs::read(&path) {
            seen += 1;
            let found = bytes.windows(value.len()).any(|window| window == value.as_bytes());
            assert!(!found, "it stands in {}", path.display());
        }
    }
    seen
}

async fn lost(world: &World, count: usize) -> String {
    world.up.script(|seen| {
        (seen.method() == "tools/call")
            .then(|| answer(axum::response::Response::builder().status(502).body("gone".into()).unwrap()))
    });
    world.bare("ada").call("up__pay", json!({"n": count})).await;
    let settled = world.until_settled(count).await.pop().unwrap().draft;
    world.up.behaves();
    settled.call_id.unwrap().to_string()
}

/// Every order that takes words, by API and by command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_keeps_a_secret_that_is_said_with_it() {
    let world = World::of(FILES).await;
    let mut shown: Vec<String> = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let api = async |path: &str, body: Value| {
        let (status, body) = world.api("dan", path, Some(body)).await;
        assert!(status < 300, "{path}: {body:#}");
        body.to_string()
    };

    // Dead letters, and a trace to speak of.
    let id = lost(&world, 1).await;
    shown.push(
        api(&format!("deadletters/{id}"), json!({"action": "dismiss", "reason": said("dismissed")})).await,
    );
    let other = lost(&world, 2).await;
    shown.push(run(&world, &["deadletters", "dismiss", &other, "--reason", &said("dropped")]).await);
    let trace = world.last_decision().await.draft.trace_id.unwrap().to_string();
    shown.push(run(&world, &["audit", "note", &trace, &said("noted")]).await);
    words.extend(["dismissed", "dropped", "noted"]);

    // Freezes.
    shown.push(api("freeze", json!({"agent": "eve", "reason": said("frozen")})).await);
    shown.push(world.api("dan", "freeze", None).await.1.to_string());
    shown.push(run(&world, &["freeze", "list"]).await);
    let (_, listed) = world.api("dan", "freeze", None).await;
    let freeze = listed["freezes"][0]["id"].as_str().unwrap();
    let (status, lifted) =
        delete(&world, "dan", &format!("freeze/{freeze}?reason={}", said("lifted").replace(' ', "%20")))
            .await;
    assert_eq!(status, 200, "{lifted:#}");
    shown.push(lifted.to_string());
    shown.push(run(&world, &["freeze", "--agent", "eve", "--reason", &said("iced")]).await);
    shown.push(run(&world, &["unfreeze", "--agent", "eve", "--reason", &said("thawed")]).await);
    words.extend(["frozen", "lifted", "iced", "thawed"]);

    // Budgets and labels.
    shown.push(api("budgets/calls/reset", json!({"reason": said("reset")})).await);
    world.bare("ada").call("up__echo", json!({})).await.ok();
    shown.push(run(&world, &["budget", "reset", "calls", "--reason", &said("again")]).await);
    shown.push(run(&world, &["labels", "clear", "--agent", "ada", "--reason", &said("cleared")]).await);
    words.extend(["reset", "again", "cleared"]);

    // Approvals and grants.
    let asked = world.bare("bot").call("up__write", json!({"path": "/a"})).await;
    let approval = pending(&asked);
    let body = json!({"decision": "approve", "comment": said("commented"), "evidence": said("evident"),
        "grant": {"duration": "1h", "uses": 3}});
    let (status, decided) = world.api("carol", &format!("approvals/{approval}/decision"), Some(body)).await;
    assert_eq!(status, 200, "{decided:#}");
    let grant = decided["decisions"][0]["grant_id"].as_str().map(str::to_owned);
    shown.push(decided.to_string());
    shown.push(world.api("dan", &format!("approvals/{approval}"), None).await.1.to_string());
    words.extend(["commented", "evident"]);
    if let Some(grant) = grant {
        let path = format!("grants/{grant}?reason={}", said("revoked").replace(' ', "%20"));
        let (status, revoked) = delete(&world, "dan", &path).await;
        assert_eq!(status, 200, "{revoked:#}");
        shown.push(revoked.to_string());
        words.push("revoked");
    }

    // What is in force.
    let folder = world.dir.join("policies");
    let more = "budgets: [{ id: calls, scope: agent, window: day, max_calls: 1001 }]\n";
    std::fs::write(folder.join("budgets.yaml"), more).unwrap();
    let folder = folder.to_str().unwrap();
    shown.push(run(&world, &["policy", "activate", folder, "--reason", &said("activated")]).await);
    words.push("activated");

    let events = world.events().await;
    let whole = serde_json::to_string(&events).unwrap();
    for word in &words {
        assert!(whole.contains(&format!("{word}: the key is [redacted:")), "`{word}` is on record, masked");
    }
    assert!(!whole.contains(SECRET));
    assert!(events.iter().any(|event| event.draft.event_type == EventType::Note));
    for text in &shown {
        assert!(!text.contains(SECRET), "{text}");
    }
    for page in [
        "deadletters?status=all",
        "freeze",
        "approvals?status=all",
        "grants?all=true",
        "events?limit=200",
        "policies/history",
        "budgets",
    ] {
        let (_, body) = world.api("dan", page, None).await;
        assert!(!body.to_string().contains(SECRET), "{page}: {body:#}");
    }
    assert!(files_hold_no(&world.dir.join("data"), SECRET) > 3);
}

/// What an upstream says of its own failure becomes a reason on record, and on every page that shows its state.
#[tokio::test]
async fn no_reason_of_an_upstreams_keeps_a_secret() {
    let world = World::of("").await;
    world.up.script(|seen| {
        (seen.method() == "tools/call").then(|| answer(error(seen, -32000, &said("refused"))))
    });
    world.bare("ada").call("up__pay", json!({})).await;
    world.up.script(|seen| {
        (seen.method() == "tools/call").then(|| {
            answer(axum::response::Response::builder().status(500).body(said("broken").into()).unwrap())
        })
    });
    world.bare("ada").call("up__pay", json!({})).await;
    let settled = world.until_settled(2).await;
    assert!(settled.iter().all(|event| event.draft.reason.is_some()));
    assert!(!serde_json::to_string(&world.events().await).unwrap().contains(SECRET));
    for page in ["upstreams", "deadletters?status=all", "events?limit=200"] {
        let (_, body) = world.api("dan", page, None).await;
        assert!(!body.to_string().contains(SECRET), "{page}: {body:#}");
    }
    assert!(files_hold_no(&world.dir.join("data"), SECRET) > 3);
}
