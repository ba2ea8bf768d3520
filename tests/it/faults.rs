//! Upstreams, stores and files that fail, and what stays true meanwhile.

use crate::harness::*;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tollgate::{
    clock::Fake,
    model::{ApprovalStatus, EventType, Outcome},
};

const CRM: &str = "
[upstreams.crm]
url = \"{crm}\"
retry = { attempts = 1, backoff = \"1ms\" }
";

const BOTH: &str = "=== authority.yaml
capabilities:
  all: { tools: [\"*\"] }
agents:
  ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] }
  eve: { owner: tests, capabilities: [all], keys: [\"{eve}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
";

async fn with_crm(servers: &str) -> World {
    let crm = Scripted::with(vec![tool("find"), tool("slow")], false).await;
    crm.lists(vec![vec![tool("find")], vec![tool("slow")]]);
    let setup = Setup {
        files: BOTH.to_owned(),
        servers: servers.to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    World::start(setup).await
}

/// The second page counts; a dead upstream takes nobody else's tools, and comes back with `list_changed`.
#[tokio::test]
async fn a_dead_upstream_takes_nobody_with_it() {
    let mut world = with_crm(CRM).await;
    let client = world.legacy("ada").await;
    let mut news = client.listen().await;
    let tools = client.tools().await;
    for name in ["up__echo", "crm__find", "crm__slow"] {
        assert!(tools.contains(&name.to_owned()), "{tools:?}");
    }
    world.more[0].1.die();
    let failed = client.call("crm__find", json!({})).await;
    assert_eq!(failed.body["result"]["isError"], true, "{:#}", failed.body);
    client.call("up__echo", json!({})).await.ok();
    assert!(client.tools().await.contains(&"up__echo".to_owned()));
    world.more[0].1.lists(vec![vec![tool("find"), tool("fresh")]]);
    world.more[0].1.revive().await;
    loop {
        let message = soon(news.next()).await.expect("the stream stays open");
        if message["method"] == "notifications/tools/list_changed"
            && client.tools().await.contains(&"crm__fresh".to_owned())
        {
            break;
        }
    }
    client.call("crm__fresh", json!({})).await.ok();
    let (status, ready) = get(&world, "readyz").await;
    assert_eq!(status, 200, "{ready}");
}

/// A tool that was listed last is not unknown while its upstream is down: whoever has it in scope is told what is the matter, a
/// freeze before that; nobody else learns of it.
#[tokio::test]
async fn a_tool_of_a_dead_upstream_is_not_unknown() {
    let crm = Scripted::with(vec![tool("find")], false).await;
    let files = BOTH
        .replace("agents:", "  own: { tools: [\"up__*\"] }\nagents:")
        .replace("eve: { owner: tests, capabilities: [all]", "eve: { owner: tests, capabilities: [own]")
        + "  dan: { keys: [\"{dan}\"], roles: [admin] }\n";
    let setup = Setup { files, servers: CRM.to_owned(), more: vec![("crm", crm)], ..Setup::default() };
    let mut world = World::start(setup).await;
    let (ada, eve) = (world.modern("ada"), world.modern("eve"));
    ada.call("crm__find", json!({})).await.ok();
    world.more[0].1.die();
    soon(async {
        while ada.tools().await.contains(&"crm__find".to_owned()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let down = ada.call("crm__find", json!({})).await;
    assert_eq!(down.body["result"]["isError"], true, "{:#}", down.body);
    assert!(down.text().contains("`crm` is down (nothing was sent)"), "{}", down.text());
    assert_eq!(down.decision()["policy_id"], "upstream");
    assert_eq!(world.last_decision().await.draft.policy_id.unwrap().as_str(), "upstream");
    for unknown in [eve.call("crm__find", json!({})).await, ada.call("crm__other", json!({})).await] {
        assert_eq!(unknown.error()["code"], -32602, "{:#}", unknown.body);
    }
    let (status, _) = world.api("dan", "freeze", Some(json!({"tool": "crm__find", "reason": "r"}))).await;
    assert_eq!(status, 201);
    soon(async {
        while ada.call("crm__find", json!({})).await.decision()["policy_id"] != "freeze" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.more[0].1.revive().await;
    soon(async {
        while !ada.tools().await.contains(&"crm__find".to_owned()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// An upstream that never answers delays nobody else.
#[tokio::test]
async fn a_slow_upstream_delays_nobody() {
    let world = with_crm(CRM).await;
    world.more[0].1.hangs();
    let client = world.modern("ada");
    let slow: Vec<_> = (0..8)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.call("crm__slow", json!({"n": n})).await })
        })
        .collect();
    world.more[0].1.until_count(8).await;
    for n in 0..20 {
        client.call("up__echo", json!({"n": n})).await.ok();
    }
    assert!(slow.iter().all(|call| !call.is_finished()));
    for call in slow {
        call.abort();
    }
    world.more[0].1.until_dropped(8).await;
}

/// An upstream that is down at the start is a detail of readiness, and the rest works.
#[tokio::test]
async fn a_missing_upstream_is_a_detail() {
    let setup = Setup {
        files: BOTH.to_owned(),
        servers: "[upstreams.gone]\nurl = \"http://127.0.0.1:9/mcp\"\n".to_owned(),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let (status, _) = get(&world, "readyz").await;
    assert_eq!(status, 200);
    let readiness = world.gate.gateway.readiness();
    assert!(readiness.details.iter().any(|d| d.contains("gone")), "{readiness:?}");
    world.modern("ada").call("up__echo", json!({})).await.ok();
}

/// The breaker: after failures in a row nothing is sent for a while, then one call tries.
#[tokio::test]
async fn the_breaker_opens_and_closes() {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let setup = Setup {
        up: "breaker = { failures = 3, cooldown = \"30s\" }".to_owned(),
        clock: Some(clock.clone()),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    world.up.script(|seen| {
        let down = || axum::http::StatusCode::SERVICE_UNAVAILABLE;
        (seen.method() == "tools/call").then(|| answer(axum::response::IntoResponse::into_response(down())))
    });
    let client = world.modern("ada");
    for n in 0..3 {
        client.call("up__echo", json!({"n": n})).await;
    }
    let sent = world.up.count();
    assert_eq!(sent, 3);
    let refused = client.call("up__echo", json!({"n": 3})).await;
    assert_eq!(refused.body["result"]["isError"], true);
    assert!(refused.text().contains("nothing was sent"), "{}", refused.text());
    assert_eq!(world.up.count(), sent);
    let settled = world.until_settled(4).await;
    assert_eq!(settled[3].draft.outcome, Some(Outcome::Failed));
    assert_eq!(settled[3].draft.cost_usd.map(|c| c.0), Some(0));
    clock.advance(Duration::from_secs(31));
    world.up.behaves();
    client.call("up__echo", json!({"n": 4})).await.ok();
    client.call("up__echo", json!({"n": 5})).await.ok();
}

/// A repeat only where it is safe.
#[tokio::test]
async fn only_safe_calls_are_repeated() {
    let world = World::of("").await;
    world.up.script(|seen| {
        (seen.method() == "tools/call").then(|| {
            answer(axum::response::IntoResponse::into_response(axum::http::StatusCode::SERVICE_UNAVAILABLE))
        })
    });
    let client = world.modern("ada");
    client.call("up__write", json!({})).await;
    assert_eq!(world.up.count(), 1);
    client.call("up__read", json!({"path": "/a"})).await;
    assert_eq!(world.up.count(), 3, "one repeat of a call that is trusted as read-only");
}

/// A caller that goes away cancels upstream; the call is settled all the same.
#[tokio::test]
async fn a_cancelled_call_is_told_and_settled() {
    let world = World::of("").await;
    world.up.hangs();
    // Modern: closing the stream.
    let client = world.modern("ada");
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("up__echo", json!({"n": 1})).await }
    });
    world.up.until_count(1).await;
    call.abort();
    world.up.until_dropped(1).await;
    assert_eq!(world.until_settled(1).await[0].draft.outcome, Some(Outcome::Unknown));
    // Legacy: a notification, from the same session only.
    let (mine, other) = (world.legacy("ada").await, world.legacy("ada").await);
    let body = mine.body("tools/call", json!({"name": "up__echo", "arguments": {"n": 2}}));
    let sent = tokio::spawn({
        let request = mine.post(&body);
        async move { request.send().await.unwrap().text().await.unwrap() }
    });
    world.up.until_count(2).await;
    let cancel = json!({"requestId": body["id"], "reason": "enough"});
    other.notify("notifications/cancelled", cancel.clone()).await;
    mine.notify("notifications/cancelled", cancel).await;
    world.up.until_told("notifications/cancelled").await;
    let settled = world.until_settled(2).await;
    assert_eq!(settled[1].draft.outcome, Some(Outcome::Unknown));
    let answer = soon(sent).await.unwrap();
    assert!(!answer.contains("\"result\""), "{answer}");
}

/// Malformed results, foreign ids, empty bodies and HTML are answered as what they are: nothing hangs or breaks.
#[tokio::test]
async fn nonsense_from_an_upstream_is_contained() {
    use axum::response::IntoResponse as _;
    let up = "breaker = { failures = 100, cooldown = \"30s\" }".to_owned();
    let world = World::start(Setup { up, ..Setup::default() }).await;
    let client = world.modern("ada");
    type Make = fn(&Seen) -> axum::response::Response;
    let cases: [Make; 6] = [
        |_| ([("content-type", "application/json")], "{").into_response(),
        |_| ([("content-type", "text/html")], "<html>").into_response(),
        |_| ([("content-type", "application/json")], "").into_response(),
        |_| ([("content-type", "application/json")], "[]").into_response(),
        |_| {
            ([("content-type", "application/json")], r#"{"jsonrpc":"2.0","id":"other","result":{}}"#)
                .into_response()
        },
        |_| ([("content-type", "text/event-stream")], "data: {\n\n").into_response(),
    ];
    for (n, make) in cases.into_iter().enumerate() {
        world.up.script(move |seen| (seen.method() == "tools/call").then(|| answer(make(seen))));
        let reply = client.call("up__echo", json!({"n": n})).await;
        assert_eq!(reply.body["result"]["isError"], true, "{n}: {:#}", reply.body);
    }
    // A result of no shape at all passes as it is: Tollgate does not know better than the client.
    world.up.results(json!({"strange": [1, 2]}));
    assert_eq!(client.call("up__echo", json!({"n": 99})).await.ok()["strange"], json!([1, 2]));
    world.until_settled(7).await;
}

/// A result above `max_result_bytes` is not passed on, and the upstream acted.
#[tokio::test]
async fn an_oversized_result_is_refused() {
    let setup = Setup { up: "max_result_bytes = \"64KiB\"".to_owned(), ..Setup::default() };
    let world = World::start(setup).await;
    world.up.results(text_result(&"x".repeat(200_000)));
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    assert_eq!(reply.body["result"]["isError"], true);
    assert!(reply.body.to_string().len() < 4000);
    assert_eq!(world.until_settled(1).await[0].draft.outcome, Some(Outcome::Failed));
}

async fn get(world: &World, path: &str) -> (u16, Value) {
    let reply = soon(world.http.get(format!("{}/{path}", world.gate.admin)).send()).await.unwrap();
    let status = reply.status().as_u16();
    (status, reply.json().await.unwrap_or(Value::Null))
}

/// Hot reload of servers.toml: which hosts are allowed, how large a body and how many sessions there may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fronts_settings_are_reloaded() {
    let world = World::of("").await;
    let client = world.legacy("ada").await;
    let large =
        client.body("tools/call", json!({"name": "up__echo", "arguments": {"text": "x".repeat(8_000)}}));
    let status = async |client: &Client, body: &Value| soon(client.post(body).send()).await.unwrap().status();
    let named = client.header("host", "gate.example");
    assert_eq!(status(&client, &large).await, 200);
    assert_eq!(status(&named, &large).await, 403);
    let servers = world.dir.join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    let with = |lines: &str| {
        std::fs::write(&servers, text.replacen("[gateway]\n", &format!("[gateway]\n{lines}\n"), 1))
    };
    with("allowed_hosts = [\"gate.example\"]\nmax_body = \"4KiB\"\nmax_sessions = 1").unwrap();
    world.reload("").await;
    assert_eq!(status(&client, &large).await, 413);
    let small = client.body("tools/call", json!({"name": "up__echo", "arguments": {"n": 1}}));
    assert_eq!(status(&named, &small).await, 200);
    let second = world.legacy("ada").await;
    assert_eq!(status(&client, &small).await, 404, "one session is left: the newest");
    assert_eq!(status(&second, &small).await, 200);
    with("max_body = \"8MiB\"").unwrap();
    world.reload("").await;
    let larger =
        second.body("tools/call", json!({"name": "up__echo", "arguments": {"text": "x".repeat(5 << 20)}}));
    assert_eq!(status(&second, &larger).await, 200, "a body of the new size has room");
    assert_eq!(status(&second.header("host", "gate.example"), &small).await, 403);
}

/// Hot reload: what is right is in force at the next message, what is wrong changes nothing and says so.
#[tokio::test]
async fn a_reload_is_in_force_at_once_or_not_at_all() {
    let world = World::of("").await;
    let client = world.legacy("ada").await;
    client.call("up__echo", json!({})).await.ok();
    let gate = "=== g.yaml\nname: g\ndescription: d\non: [{ tool: up__echo }]\nrules: [{ decision: DENY }]\n";
    world.reload(gate).await;
    assert_eq!(client.call("up__echo", json!({})).await.decision()["policy_id"], "g");
    world.gate.gateway.reload_rejected("gate.yaml:3:1: error: `ALOW` is no decision".to_owned()).await;
    assert_eq!(client.call("up__echo", json!({})).await.decision()["policy_id"], "g");
    let (status, body) = get(&world, "readyz").await;
    assert_eq!(status, 200, "a rejected reload is a detail: {body}");
    assert!(world.gate.gateway.readiness().rejected_reload.unwrap().contains("ALOW"));
    let kinds: Vec<EventType> = world.events().await.iter().map(|e| e.draft.event_type).collect();
    assert_eq!(kinds.iter().filter(|k| **k == EventType::PolicyActivated).count(), 2);
    assert_eq!(kinds.iter().filter(|k| **k == EventType::PolicyRejected).count(), 1);
    world.reload("").await;
    client.call("up__echo", json!({})).await.ok();
    assert_eq!(world.gate.gateway.readiness().rejected_reload, None);
}

/// A removed key ends live sessions and their streams; a removed capability hides its tools.
#[tokio::test]
async fn revocation_takes_effect_in_live_sessions() {
    let world = World::of("").await;
    let (ada, eve) = (world.legacy("ada").await, world.legacy("eve").await);
    let mut stream = ada.listen().await;
    assert!(ada.tools().await.contains(&"up__echo".to_owned()));
    let narrowed = authority()
        .lines()
        .filter(|line| !line.trim_start().starts_with("ada:"))
        .map(|line| line.replace("tools: [\"up__*\"]", "tools: [\"up__read\"]"))
        .collect::<Vec<_>>()
        .join("\n");
    world.reload(&format!("=== authority.yaml\n{narrowed}")).await;
    assert_eq!(eve.tools().await, ["up__read"]);
    assert_eq!(eve.call("up__echo", json!({})).await.error()["code"], -32602);
    let body = ada.body("tools/list", json!({}));
    assert_eq!(soon(ada.post(&body).send()).await.unwrap().status(), 401);
    // Whatever still comes, the stream ends.
    soon(async { while stream.next().await.is_some() {} }).await;
    assert_eq!(world.up.count(), 0);
}

/// A session id works only for the principal that opened it.
#[tokio::test]
async fn a_session_belongs_to_its_principal() {
    let world = World::of("").await;
    let ada = world.legacy("ada").await;
    let mut thief = ada.clone();
    thief.key = "key-eve".to_owned();
    let body = thief.body("tools/list", json!({}));
    assert_eq!(soon(thief.post(&body).send()).await.unwrap().status(), 404);
    ada.call("up__echo", json!({})).await.ok();
}

// ---- A store that fails

/// I2, I9: a store that does not answer denies, says so, and nothing is dispatched; afterwards all goes on.
#[tokio::test]
async fn a_failing_store_denies() {
    let fails = Arc::new(AtomicU8::new(NOTHING));
    let told = fails.clone();
    let setup = Setup {
        files: "=== ask.yaml
name: rules
description: d
on: [{ upstream: up }]
rules:
  - { condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL }
  - { condition: \"tool.name == 'up__delete'\", decision: DENY }
"
        .to_owned(),
        wrap: Some(Box::new(move |inner| Arc::new(Failing::new(inner, told)))),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let client = world.modern("ada");
    client.call("up__echo", json!({"n": 0})).await.ok();
    world.until_settled(1).await;
    for mode in [ADMISSION, WRITES, ALL] {
        fails.store(mode, Ordering::SeqCst);
        let reply = client.call("up__echo", json!({"n": mode})).await;
        assert_eq!((reply.word(), reply.decision()["policy_id"].as_str()), ("deny", Some("store")), "{mode}");
        assert!(reply.text().contains("store"), "{}", reply.text());
        if mode >= WRITES {
            for tool in ["up__write", "up__delete", "up__read"] {
                let reply = client.call(tool, json!({"n": mode})).await;
                assert_eq!(reply.decision()["policy_id"], "store", "{mode} {tool}: {:#}", reply.body);
            }
        }
        assert!(!reply.text().contains("I/O"), "what the agent sees differs from what the log holds");
    }
    assert_eq!(world.up.count(), 1);
    fails.store(NOTHING, Ordering::SeqCst);
    client.call("up__echo", json!({"n": 9})).await.ok();
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());
}

/// While the store does not take a pin, what would need it is not served; what is pinned goes on being known.
#[tokio::test]
async fn what_cannot_be_pinned_is_not_served() {
    let fails = Arc::new(AtomicU8::new(NOTHING));
    let told = fails.clone();
    let wrap: Wrap = Box::new(move |inner| Arc::new(Failing::new(inner, told)));
    let world = World::start(Setup { wrap: Some(wrap), ..Setup::default() }).await;
    let client = world.modern("ada");
    let mut changes = world.gate.gateway.generations();
    fails.store(WRITES, Ordering::SeqCst);
    world.up.lists(vec![vec![tool("echo"), tool("late")]]);
    world.up.announce().await;
    while world.gate.gateway.catalog().tools.len() != 1 {
        soon(changes.changed()).await.unwrap();
    }
    assert_eq!(client.tools().await, ["up__echo"]);
    fails.store(NOTHING, Ordering::SeqCst);
    while world.gate.gateway.catalog().tools.len() != 2 {
        soon(changes.changed()).await.unwrap();
    }
    client.call("up__late", json!({})).await.ok();
}

/// R28, SPEC 6: an ask that is being written while other policies come into force is cancelled like those that were there, and the
/// call is asked about again under the policies of now.
#[tokio::test]
async fn an_ask_that_is_written_during_a_reload_is_not_left() {
    let gate = Arc::new(Door::default());
    let asks = gate.clone();
    let rules = |description: &str| {
        format!(
            "=== rules.yaml\nname: rules\ndescription: {description}\non: [{{ tool: up__write }}]\n\
             rules: [{{ id: ask, decision: REQUIRE_APPROVAL }}]\n"
        )
    };
    let setup = Setup {
        files: rules("before"),
        wrap: Some(Box::new(move |inner| Arc::new(Failing { asks, ..Failing::new(inner, Arc::default()) }))),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    gate.open.send_replace(false);
    let client = world.bare("ada");
    let call = tokio::spawn(async move { client.call("up__write", json!({"n": 1})).await });
    soon(gate.came.acquire()).await.unwrap().forget();
    world.reload(&rules("after")).await;
    gate.open.send_replace(true);
    let id = pending(&soon(call).await.unwrap());
    let mut left: Vec<_> =
        world.approvals().await.into_iter().map(|one| (one.id.to_string(), one.status)).collect();
    left.retain(|(_, status)| *status == ApprovalStatus::Pending);
    assert_eq!(left, [(id, ApprovalStatus::Pending)]);
    let cancelled =
        world.events().await.into_iter().filter(|e| e.draft.event_type == EventType::ApprovalCancelled);
    assert_eq!(
        cancelled.map(|e| e.draft.reason.unwrap().to_string()).collect::<Vec<_>>(),
        ["snapshot_mismatch"]
    );
    assert_eq!(world.up.count(), 0);
}

/// A settlement that cannot be written does not lose the result, and the next call is governed as ever.
#[tokio::test]
async fn a_settlement_that_fails_loses_no_result() {
    let fails = Arc::new(AtomicU8::new(NOTHING));
    let told = fails.clone();
    let setup =
        Setup { wrap: Some(Box::new(move |inner| Arc::new(Failing::new(inner, told)))), ..Setup::default() };
    let world = World::start(setup).await;
    let during = fails.clone();
    world.up.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            during.store(WRITES, Ordering::SeqCst);
            answer(json_reply(seen, &text_result("done")))
        })
    });
    let client = world.modern("ada");
    assert_eq!(client.call("up__echo", json!({"n": 1})).await.text(), "done");
    assert_eq!(client.call("up__echo", json!({"n": 2})).await.decision()["policy_id"], "store");
    assert_eq!(world.up.count(), 1);
}

/// R41: what has no labels that stand is not seen, where policies read them; the upstream was called, and the record says so.
#[tokio::test]
async fn a_result_whose_labels_cannot_be_kept_is_withheld() {
    let fails = Arc::new(AtomicU8::new(NOTHING));
    let told = fails.clone();
    let setup = Setup {
        files: "=== flows.yaml
name: flows
description: d
on: [{ tool: up__pay }]
rules: [{ id: stays, condition: \"'restricted' in session.labels\", decision: DENY }]
"
        .to_owned(),
        wrap: Some(Box::new(move |inner| Arc::new(Failing::new(inner, told)))),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let during = fails.clone();
    world.up.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            during.store(WRITES, Ordering::SeqCst);
            answer(json_reply(seen, &text_result("AKIAQ3EGR7WJ2LPXC4ZD")))
        })
    });
    let reply = world.modern("ada").call("up__echo", json!({"n": 1})).await;
    assert_eq!(reply.body["result"]["isError"], true, "{:#}", reply.body);
    assert!(reply.text().contains("withheld") && !reply.text().contains("AKIA"), "{}", reply.text());
    assert_eq!(world.up.count(), 1);
}

/// The database goes away under a running gateway: what follows is denied.
#[tokio::test]
async fn a_closed_store_denies() {
    let world = World::of("").await;
    let client = world.modern("ada");
    client.call("up__echo", json!({"n": 1})).await.ok();
    world.gate.store.close().await;
    assert_eq!(client.call("up__echo", json!({"n": 2})).await.decision()["policy_id"], "store");
    assert_eq!(world.up.count(), 1);
    let (status, _) = get(&world, "readyz").await;
    assert_ne!(status, 200);
}

// ---- Floods

/// 10,000 sessions of one key are bounded, the idlest goes first, and another agent is served throughout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_sessions_is_bounded() {
    use futures::StreamExt as _;
    let setup =
        Setup { gateway: "approval_wait = \"200ms\"\nmax_sessions = 50".to_owned(), ..Setup::default() };
    let world = World::start(setup).await;
    let (first, other) = (world.legacy("ada").await, world.legacy("eve").await);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "flood", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let opener = world.modern("ada");
    let mut floods = futures::stream::iter(0..10_000)
        .map(|_| async { opener.post(&body).send().await.unwrap().status().as_u16() })
        .buffer_unordered(64);
    let mut opened = 0;
    while let Some(status) = soon(floods.next()).await {
        assert!(status == 200 || status == 429, "{status}");
        opened += 1;
        if opened % 2500 == 0 {
            other.call("up__echo", json!({"n": opened})).await.ok();
        }
    }
    let probe = first.body("ping", json!({}));
    assert_eq!(soon(first.post(&probe).send()).await.unwrap().status(), 404, "the idlest is gone");
    world.legacy("ada").await.call("up__echo", json!({})).await.ok();
}

/// Bodies up to the limit and beyond it, and deep nesting, end in an answer; another agent is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_deep_bodies_are_bounded() {
    let world = World::of("").await;
    let (ada, eve) = (world.modern("ada"), world.modern("eve"));
    let call = |arguments: Value| ada.body("tools/call", json!({"name": "up__echo", "arguments": arguments}));
    let large = call(json!({"text": "x ".repeat(2_000_000)}));
    let over = call(json!({"text": "x".repeat(5 << 20)}));
    // Where the answer comes before all was sent, the connection may end first.
    let status = async |body: &Value| match soon(ada.post(body).send()).await {
        Ok(response) => response.status().as_u16(),
        Err(_) => 413,
    };
    let many = futures::future::join_all((0..6).map(|_| status(&large)));
    let (many, reply) = tokio::join!(many, eve.call("up__echo", json!({})));
    reply.ok();
    assert!(many.iter().all(|s| matches!(s, 200 | 429 | 503)), "{many:?}");
    assert_eq!(status(&over).await, 413);
    let text = call(json!({})).to_string();
    for deep in
        ["[".repeat(100_000), "{\"a\":".repeat(100_000), format!("{}{}", "[".repeat(2000), "]".repeat(2000))]
    {
        let body = text.replace("\"arguments\":{}", &format!("\"arguments\":{{\"x\":{deep}}}"));
        let response = soon(ada.post(&call(json!({}))).body(body).send()).await.unwrap();
        assert_eq!(response.status(), 400);
    }
    eve.call("up__echo", json!({})).await.ok();
}
