//! Loops beside identical calls, through the whole gateway and across processes.

use crate::harness::*;
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::{clock::Fake, model::EventType};

fn bundle(rules: &str) -> String {
    format!(
        "=== bundle.yaml\nversion: \"1\"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\nloop: {{ {rules} }}\n"
    )
}

async fn world(rules: &str) -> (World, std::sync::Arc<Fake>) {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let files = bundle(rules);
    (World::start(Setup { files, clock: Some(clock.clone()), ..Setup::default() }).await, clock)
}

/// Asserts that it is refused as a loop, and gives the sentence.
#[track_caller]
fn looping(reply: &Reply) -> String {
    let decision = reply.decision();
    assert_eq!(
        (reply.word(), decision["policy_id"].as_str()),
        ("throttle", Some("loop")),
        "{:#}",
        reply.body
    );
    assert!(decision["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{decision:#}");
    reply.text().to_owned()
}

async fn loop_alerts(world: &World) -> Vec<Value> {
    let events = world.events().await.into_iter().map(|event| event.draft);
    let of_loop = events.filter(|draft| {
        draft.event_type == EventType::Alert
            && draft.detail.as_ref().is_some_and(|detail| detail["alert"] == "loop")
    });
    of_loop.map(|draft| json!({"agent": draft.agent_id, "tool": draft.tool, "loop": draft.detail.unwrap()["loop"]})).collect()
}

/// R39: a counter in the arguments makes no other call of it, in no process; the agent is told what would help, and people
/// once.
#[tokio::test]
async fn nearly_identical_calls_are_stopped_in_all_processes() {
    let (world, clock) = world("similar: { count: 6, window: 60s }").await;
    let other = Gate::start(&world.dir, Some(clock.clone()), None).await;
    let here = world.modern("ada");
    let there = Client::modern(&world.http, &other.mcp, "ada", json!({}));
    for n in 0..6 {
        let client = if n % 2 == 0 { &here } else { &there };
        client.call("up__echo", json!({"query": format!("attempt {n}"), "n": n})).await.ok();
    }
    for n in 6..9 {
        let client = if n % 2 == 0 { &here } else { &there };
        let said =
            looping(&client.call("up__echo", json!({"query": format!("attempt  {n} "), "n": n})).await);
        assert!(said.contains("up__echo") && said.contains("nearly the same arguments"), "{said}");
        assert!(said.contains("change what you look for"), "{said}");
    }
    assert_eq!(world.up.count(), 6);
    here.call("up__echo", json!({"query": "something else"})).await.ok();
    world.modern("eve").call("up__echo", json!({"query": "attempt 9", "n": 9})).await.ok();
    assert_eq!(loop_alerts(&world).await, [json!({"agent": "ada", "tool": "up__echo", "loop": "similar"})]);
    clock.advance(Duration::from_secs(60));
    here.call("up__echo", json!({"query": "attempt 9", "n": 9})).await.ok();
}

/// R39: a tool that fails in a row, however its arguments change; another tool goes on, and one success ends it.
#[tokio::test]
async fn failures_in_a_row_are_stopped() {
    let (world, clock) = world("errors: { count: 3, window: 30s }").await;
    let client = world.modern("ada");
    world.up.results(json!({"content": [{"type": "text", "text": "no such table"}], "isError": true}));
    for n in 0..3 {
        let reply = client.call("up__write", json!({"path": format!("/{n}")})).await;
        assert_eq!(reply.body["result"]["isError"], true, "{:#}", reply.body);
        world.until_settled(n + 1).await;
    }
    let said = looping(&client.call("up__write", json!({"path": "/other"})).await);
    assert!(said.contains("has failed 3 times in a row") && said.contains("read its last error"), "{said}");
    assert_eq!(world.up.count(), 3);
    world.up.behaves();
    client.call("up__echo", json!({"n": 1})).await.ok();
    clock.advance(Duration::from_secs(30));
    client.call("up__write", json!({"path": "/3"})).await.ok();
    assert_eq!(loop_alerts(&world).await.len(), 1);
}

/// R39
#[tokio::test]
async fn calls_that_take_turns_are_stopped_and_work_is_not() {
    let (world, _) = world("alternating: { count: 4 }, fan_out: { count: 60, window: 10s }").await;
    let client = world.modern("ada");
    for _ in 0..4 {
        client.call("up__read", json!({"path": "/a"})).await.ok();
        client.call("up__write", json!({"path": "/a"})).await.ok();
    }
    let said = looping(&client.call("up__read", json!({"path": "/a"})).await);
    assert!(
        said.contains("nothing but the same two or three calls") && said.contains("do something else first"),
        "{said}"
    );
    // A pager and a writer in between are none.
    for n in 0..12 {
        client.call("up__read", json!({"path": "/a", "page": n})).await.ok();
        client.call("up__write", json!({"path": "/a", "part": n})).await.ok();
    }
    // Then there are too many in all.
    let mut said = String::new();
    for n in 0..40 {
        let reply = client.call("up__echo", json!({"word": format!("w{n}x{n}")})).await;
        if reply.body["result"]["isError"] == json!(true) {
            said = looping(&reply);
            break;
        }
    }
    assert!(said.contains("make fewer calls at a time"), "{said}");
    let told: Vec<Value> = loop_alerts(&world).await;
    let kinds: Vec<&str> = told.iter().map(|one| one["loop"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["alternating", "fan_out"]);
}

/// Where the bundle says nothing, only identical calls are a loop: pages, batches and failures are nobody's business.
#[tokio::test]
async fn by_default_only_identical_calls_are_a_loop() {
    let world = World::of("").await;
    let client = world.modern("ada");
    for n in 0..150 {
        client.call("up__read", json!({"path": "/a", "page": n})).await.ok();
    }
    world.up.results(json!({"content": [], "isError": true}));
    for n in 0..30 {
        let reply = client.call("up__write", json!({"path": format!("/{n}")})).await;
        assert!(
            reply.body["result"]["_meta"]["tollgate/decision"]["policy_id"] != json!("loop"),
            "{:#}",
            reply.body
        );
    }
    assert_eq!(world.up.count(), 180);
    world.up.behaves();
    for _ in 0..20 {
        client.call("up__pay", json!({"bill": "x"})).await.ok();
    }
    let said = looping(&client.call("up__pay", json!({"bill": "x"})).await);
    assert!(said.contains("use the answer that you have"), "{said}");
    assert_eq!(loop_alerts(&world).await, [json!({"agent": "ada", "tool": "up__pay", "loop": "identical"})]);
}

/// An explanation says which rules about loops count the call, where they stand, and that it would be refused, in each process
/// and without counting it.
#[tokio::test]
async fn an_explanation_knows_loops() {
    let rules = "max_repeats: 3, errors: { count: 4, window: 60s }, alternating: { count: 2 }, similar: { count: 5, window: 30s }, \
                 fan_out: { count: 100 }";
    let (world, _clock) = world(rules).await;
    let client = world.modern("ada");
    let explain = async |arguments: Value| {
        let body = json!({"agent": "ada", "tool": "up__echo", "arguments": arguments});
        let (status, told) = world.api("bob", "explain", Some(body)).await;
        assert_eq!(status, 200, "{told}");
        told
    };
    let of = |told: &Value, kind: &str, whose: &str| {
        let all = told["loops"].as_array().unwrap();
        let one = all.iter().find(|one| one["kind"] == kind && one["of"] == whose).unwrap();
        (one["seen"].as_u64().unwrap(), one["max"].as_u64().unwrap(), one["full"].as_bool().unwrap())
    };
    let same = json!({"query": "same", "n": 1});
    let told = explain(same.clone()).await;
    assert_eq!(told["decision"], "allow", "{told:#}");
    assert_eq!(of(&told, "identical", "agent"), (0, 3, false));
    for _ in 0..3 {
        client.call("up__echo", same.clone()).await.ok();
    }
    for _ in 0..2 {
        // To ask changes nothing.
        let told = explain(same.clone()).await;
        assert_eq!((&told["decision"], &told["policy_id"]), (&json!("throttle"), &json!("loop")), "{told:#}");
        assert!(told["reason"].as_str().unwrap().contains("the same call was made 3 times"), "{told:#}");
        assert_eq!(of(&told, "identical", "agent"), (3, 3, true));
        assert_eq!(of(&told, "similar", "agent"), (3, 5, false));
        assert_eq!(of(&told, "fan_out", "agent"), (3, 100, false));
        assert_eq!(of(&told, "fan_out", "workflow"), (3, 100, false));
    }
    for n in 2..4 {
        client.call("up__echo", json!({"query": "same", "n": n})).await.ok();
    }
    let told = explain(json!({"query": "same", "n": 9})).await;
    assert_eq!((&told["decision"], &told["policy_id"]), (&json!("throttle"), &json!("loop")), "{told:#}");
    assert!(told["reason"].as_str().unwrap().contains("nearly the same arguments"), "{told:#}");
    assert_eq!(
        (of(&told, "similar", "agent"), of(&told, "identical", "agent")),
        ((5, 5, true), (0, 3, false))
    );
    // It is what comes of the call.
    let said = looping(&client.call("up__echo", json!({"query": "same", "n": 9})).await);
    assert!(said.contains(told["reason"].as_str().unwrap()), "{said}");
    world.up.results(json!({"content": [], "isError": true}));
    for n in 0..4 {
        client.call("up__read", json!({"path": format!("/{}", "x".repeat(n + 1))})).await;
    }
    world.until_settled(9).await;
    let body = json!({"agent": "ada", "tool": "up__read", "arguments": {"path": "/other"}});
    let (_, told) = world.api("bob", "explain", Some(body)).await;
    assert_eq!(
        (&told["decision"], of(&told, "errors", "agent")),
        (&json!("throttle"), (4, 4, true)),
        "{told:#}"
    );
    assert!(told["reason"].as_str().unwrap().contains("has failed 4 times in a row"), "{told:#}");
}
