//! Budgets, rates and loops: exact, across tasks and processes.

use crate::harness::*;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::{clock::Fake, model::EventType};

fn budget(keys: &str) -> String {
    format!("=== budgets.yaml\nbudgets:\n  - {{ id: cap, {keys} }}\n")
}

fn noon() -> std::sync::Arc<Fake> {
    Fake::at("2026-11-01T12:00:00Z".parse().unwrap())
}

/// How many of these replies went through, and the word of all others.
fn went(replies: &[Reply], word: &str) -> usize {
    let (went, refused): (Vec<_>, Vec<_>) =
        replies.iter().partition(|r| r.body["result"]["isError"] != json!(true));
    for reply in refused {
        assert_eq!(reply.word(), word, "{:#}", reply.body);
        assert_eq!(reply.decision()["policy_id"], "cap");
    }
    went.len()
}

/// R36: a cap of N calls is N under 64 concurrent calls, of several agents and in two processes (I10).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_is_exact_under_concurrency() {
    let world = World::of(&budget("scope: global, window: day, max_calls: 10, on_exceed: deny")).await;
    let other = world.second().await;
    let mut clients = Vec::new();
    for agent in ["ada", "eve", "bot", "ada"] {
        clients.push(world.modern(agent));
        clients.push(Client::modern(&world.http, &other.mcp, agent, json!({})));
    }
    let calls = (0..64).map(|n| {
        let client = &clients[n % clients.len()];
        client.call("up__echo", json!({"n": n}))
    });
    let replies = futures::future::join_all(calls).await;
    assert_eq!(went(&replies, "deny"), 10);
    assert_eq!(world.up.count(), 10);
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());
}

/// R36: USD: the reservation holds the cap under concurrency, before any call has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_in_usd_is_held_by_reservations() {
    let world = World::of(&budget("scope: agent, window: day, max_cost_usd: 1.10, on_exceed: deny")).await;
    world.up.hangs();
    let client = world.modern("ada");
    let calls: Vec<_> = (0..16)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.call("up__pay", json!({"n": n})).await })
        })
        .collect();
    world.up.until_count(4).await;
    // Four reservations of 25 cents and a little fit; the other twelve are refused while those hang.
    let mut calls: futures::stream::FuturesUnordered<_> = calls.into_iter().collect();
    for _ in 0..12 {
        let refused = soon(calls.next()).await.unwrap().unwrap();
        assert_eq!((refused.word(), refused.decision()["policy_id"].as_str()), ("deny", Some("cap")));
    }
    assert_eq!(world.up.count(), 4);
    for call in calls {
        call.abort();
    }
}

/// R36: each scope keeps its own counters, and `match` says which calls count.
#[tokio::test]
async fn each_scope_has_its_own_counter() {
    let check = async |keys: &str, calls: &[(&str, &str, &str, bool)]| {
        let world = World::of(&budget(&format!("{keys}, window: day, max_calls: 1, on_exceed: deny"))).await;
        for (n, (agent, tool, workflow, through)) in calls.iter().enumerate() {
            let client = world.modern(agent);
            let params = json!({"name": tool, "arguments": {"n": n, "path": "/a"}, "_meta": {"tollgate/workflow_id": workflow}});
            let reply = client.request("tools/call", params).await;
            assert_eq!(
                reply.body["result"]["isError"] != json!(true),
                *through,
                "{keys} {n}: {:#}",
                reply.body
            );
        }
    };
    let (echo, read) = ("up__echo", "up__read");
    check(
        "scope: agent",
        &[("ada", echo, "wf-1", true), ("ada", read, "wf-2", false), ("eve", echo, "wf-1", true)],
    )
    .await;
    check(
        "scope: tool",
        &[("ada", echo, "wf-1", true), ("eve", echo, "wf-1", false), ("ada", read, "wf-1", true)],
    )
    .await;
    check(
        "scope: workflow",
        &[
            ("ada", echo, "wf-1", true),
            ("eve", read, "wf-1", false),
            ("ada", read, "wf-2", true),
            ("bot", echo, "wf-2", false),
        ],
    )
    .await;
    check(
        "scope: role",
        &[("ada", echo, "wf-1", true), ("eve", echo, "wf-1", false), ("bot", echo, "wf-2", true)],
    )
    .await;
    check("scope: user", &[("ada", echo, "wf-1", true), ("bot", echo, "wf-2", false)]).await;
    check("scope: upstream", &[("ada", echo, "wf-1", true), ("bot", read, "wf-2", false)]).await;
    check(
        "scope: global, match: { tool: up__read }",
        &[
            ("ada", echo, "wf-1", true),
            ("ada", read, "wf-1", true),
            ("eve", read, "wf-1", false),
            ("eve", echo, "wf-1", true),
        ],
    )
    .await;
}

/// R36: tokens are counted, and settled by what the result really had.
#[tokio::test]
async fn tokens_are_settled_by_the_result() {
    let world = World::of(&budget("scope: agent, window: day, max_tokens: 2000, on_exceed: deny")).await;
    world.up.results(text_result(&"word ".repeat(1500)));
    let client = world.modern("ada");
    client.call("up__echo", json!({"n": 1})).await.ok();
    world.until_settled(1).await;
    let usage = world.gate.store.budget_usage(world.gate.gateway.clock().now()).await.unwrap();
    let tokens = usage.iter().find(|u| u.id.as_str() == "cap").unwrap().tokens;
    assert!((1400..1800).contains(&tokens), "{usage:?}");
    // A result above its estimate oversteps once at most: then the cap is known to be reached.
    let mut refused = client.call("up__echo", json!({"n": 2})).await;
    if refused.body["result"]["isError"] != json!(true) {
        world.until_settled(2).await;
        refused = client.call("up__echo", json!({"n": 3})).await;
    }
    assert_eq!((refused.word(), refused.decision()["policy_id"].as_str()), ("deny", Some("cap")));
    assert!(refused.decision()["cost_estimate_usd"].is_number(), "{:#}", refused.body);
    assert!(world.up.count() <= 2);
}

/// R36: the minute rolls, the day is the calendar's.
#[tokio::test]
async fn windows_end() {
    let clock = noon();
    let files = "=== budgets.yaml
budgets:
  - { id: minute, scope: agent, window: minute, max_calls: 2, on_exceed: throttle }
  - { id: day, scope: agent, window: day, max_calls: 4, on_exceed: deny }
";
    let world =
        World::start(Setup { files: files.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await;
    let client = world.modern("ada");
    let n = std::cell::Cell::new(0);
    let call = async || {
        n.set(n.get() + 1);
        client.call("up__echo", json!({"n": n.get()})).await
    };
    call().await.ok();
    clock.advance(Duration::from_secs(30));
    call().await.ok();
    let full = call().await;
    assert_eq!((full.word(), full.decision()["policy_id"].as_str()), ("throttle", Some("minute")));
    let wait = full.decision()["retry_after_ms"].as_u64().unwrap();
    assert!((29_000..=30_001).contains(&wait), "{wait}");
    clock.advance(Duration::from_millis(wait + 1));
    call().await.ok();
    // The first is out of the minute, the second is not yet.
    assert_eq!(call().await.decision()["policy_id"], "minute");
    clock.advance(Duration::from_secs(61));
    call().await.ok();
    let full = call().await;
    assert_eq!((full.word(), full.decision()["policy_id"].as_str()), ("deny", Some("day")));
    clock.advance(Duration::from_secs(12 * 3600));
    call().await.ok();
    assert_eq!(world.up.count(), 5);
}

/// R36: a budget that asks: the call over the cap waits for a person, and is then dispatched once.
#[tokio::test]
async fn a_budget_may_ask_a_person() {
    let world =
        World::of(&budget("scope: agent, window: day, max_calls: 1, on_exceed: require_approval")).await;
    let client = world.bare("bot");
    client.call("up__echo", json!({"n": 1})).await.ok();
    let reply = client.call("up__echo", json!({"n": 2})).await;
    let id = pending(&reply);
    assert_eq!(world.up.count(), 1);
    // What stopped it is a step of its own: which budget, its limit, and what is used.
    let (_, asked) = world.api("carol", &format!("approvals/{id}"), None).await;
    let said = asked["requirements"][0]["reason"].as_str().unwrap();
    assert!(said.contains("allows `bot` 1 call ") && said.contains("1 is used"), "{said}");
    assert_eq!(
        (&asked["reason"], &asked["policy_id"]),
        (&json!(said), &asked["requirements"][0]["policy_id"])
    );
    let detail = world.last_decision().await.draft.detail.unwrap();
    let steps = detail["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["policy_id"] == asked["policy_id"]).unwrap();
    assert_eq!((&step["decision"], &step["reason"]), (&json!("pending_approval"), &json!(said)));
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    client.call("up__echo", json!({"n": 2})).await.ok();
    assert_ne!(pending(&client.call("up__echo", json!({"n": 2})).await), id);
    assert_eq!(world.up.count(), 2);
}

/// A call that is decided anew, since its budget asks, is no repeat of itself; the same call made again is one of it.
#[tokio::test]
async fn a_call_that_is_decided_anew_is_no_repeat_of_itself() {
    let files = format!(
        "{}=== twice.yaml\nname: twice\ndescription: d\non: [{{ tool: up__echo }}]\nrules: [{{ id: again, condition: \"call.repeats >= 1\", decision: DENY }}]\n",
        budget("scope: agent, window: day, max_calls: 1, on_exceed: require_approval")
    );
    let world = World::of(&files).await;
    let client = world.bare("bot");
    client.call("up__echo", json!({"n": 1})).await.ok();
    pending(&client.call("up__echo", json!({"n": 2})).await);
    let again = client.call("up__echo", json!({"n": 2})).await;
    assert_eq!((again.word(), again.decision()["policy_id"].as_str()), ("deny", Some("twice")));
}

/// Where a rule asks beside the budget, the person reads both.
#[tokio::test]
async fn a_budget_that_asks_beside_a_rule_is_shown() {
    let files = format!(
        "{}=== ask.yaml\nname: ask\ndescription: d\non: [{{ tool: up__write }}]\nrules: [{{ id: r, decision: REQUIRE_APPROVAL, approvers: [operator] }}]\n",
        budget("scope: global, window: day, max_calls: 1, on_exceed: require_approval")
    );
    let world = World::of(&files).await;
    world.bare("bot").call("up__echo", json!({})).await.ok();
    let bot = world.bare("bot");
    let first = pending(&bot.call("up__write", json!({"n": 1})).await);
    assert_eq!(world.decide("alice", &first, "approve").await, 200);
    // The person who approved of it saw the rule alone: the budget is asked about with it.
    let both = pending(&bot.call("up__write", json!({"n": 1})).await);
    assert_ne!(both, first);
    let (_, asked) = world.api("alice", &format!("approvals/{both}"), None).await;
    let reasons = asked["requirements"].to_string();
    assert!(reasons.contains("\"r\"") && reasons.contains("1 is used"), "{asked:#}");
    let review = json!({"name": "tollgate__review_approvals", "arguments": {}});
    let shown = world.modern("alice").request("tools/call", review).await;
    let message = &shown.body["result"]["inputRequests"][&both]["params"]["message"];
    let message = message.as_str().unwrap();
    assert!(message.contains("Policy: `ask`, rule `r`"), "{message}");
    assert!(message.contains("Also asked for by: `") && message.contains("1 is used"), "{message}");
}

/// I1: a waiting call holds no budget; a refused one neither.
#[tokio::test]
async fn what_is_not_dispatched_costs_nothing() {
    let files = format!(
        "{}=== ask.yaml\nname: ask\ndescription: d\non: [{{ tool: up__write }}, {{ tool: up__delete }}]\nrules:\n  - {{ condition: \"tool.name == 'up__delete'\", decision: DENY }}\n  - {{ decision: REQUIRE_APPROVAL }}\n",
        budget("scope: agent, window: day, max_calls: 1, on_exceed: deny")
    );
    let world = World::of(&files).await;
    let client = world.bare("bot");
    pending(&client.call("up__write", json!({})).await);
    assert_eq!(client.call("up__delete", json!({})).await.word(), "deny");
    assert_eq!(client.call("up__read", json!({})).await.decision()["policy_id"], "schema");
    client.call("up__echo", json!({})).await.ok();
    assert_eq!(went(&[client.call("up__echo", json!({"n": 1})).await], "deny"), 0);
}

/// A failure before anything was sent gives the reservation back; an unknown outcome keeps it.
#[tokio::test]
async fn an_unknown_outcome_keeps_its_reservation() {
    let files = format!(
        "{}=== quick.yaml\nname: quick\ndescription: d\non: [{{ tool: up__echo }}]\nrules: [{{ decision: ALLOW_WITH_CONSTRAINTS, constraints: {{ timeout: 50ms }} }}]\n",
        budget("scope: agent, window: day, max_calls: 2, max_cost_usd: 10.0, on_exceed: deny")
    );
    let world = World::of(&files).await;
    world.up.hangs();
    let client = world.modern("ada");
    client.call("up__echo", json!({"n": 1})).await;
    world.until_settled(1).await;
    let usage = world.gate.store.budget_usage(world.gate.gateway.clock().now()).await.unwrap();
    let cap = usage.iter().find(|u| u.id.as_str() == "cap").unwrap();
    assert_eq!(cap.calls, 1);
    assert!(cap.cost_usd.0 > 0, "{cap:?}");
    world.up.behaves();
    client.call("up__echo", json!({"n": 2})).await.ok();
    assert_eq!(went(&[client.call("up__echo", json!({"n": 3})).await], "deny"), 0);
}

/// R38: the rulebook's USD per minute is exact.
#[tokio::test]
async fn a_rulebooks_cost_per_minute_is_held() {
    let clock = noon();
    let files = "=== book.yaml
version: \"1.0\"
policies:
  - id: cap
    description: d
    on: [{ upstream: up }]
    conditions: { max_cost_per_minute_usd: 0.60 }
    actions: { on_violation: deny }
";
    let world =
        World::start(Setup { files: files.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await;
    let client = world.modern("ada");
    let replies = [
        client.call("up__pay", json!({"n": 1})).await,
        client.call("up__pay", json!({"n": 2})).await,
        client.call("up__pay", json!({"n": 3})).await,
    ];
    assert_eq!(went(&replies, "deny"), 2);
    world.modern("eve").call("up__pay", json!({})).await.ok();
    clock.advance(Duration::from_secs(61));
    client.call("up__pay", json!({"n": 4})).await.ok();
    // The counters that admission saw stand in the event.
    let event = serde_json::to_value(world.last_decision().await).unwrap();
    assert!(event["limits"].to_string().contains("cap"), "{event:#}");
}

/// R39: a loop is stopped: more than 20 identical calls in 60 s; other arguments are another call.
#[tokio::test]
async fn a_loop_is_stopped() {
    let clock = noon();
    let world = World::start(Setup { clock: Some(clock.clone()), ..Setup::default() }).await;
    let client = world.modern("ada");
    for _ in 0..20 {
        client.call("up__echo", json!({"a": 1, "b": [1.0]})).await.ok();
    }
    // Written otherwise, it is the same call.
    let stopped = client.call("up__echo", json!({"b": [1], "a": 1})).await;
    assert_eq!(
        (stopped.word(), stopped.decision()["policy_id"].as_str()),
        ("throttle", Some("loop")),
        "{:#}",
        stopped.body
    );
    client.call("up__echo", json!({"a": 2, "b": [1]})).await.ok();
    world.modern("eve").call("up__echo", json!({"a": 1, "b": [1]})).await.ok();
    clock.advance(Duration::from_secs(61));
    client.call("up__echo", json!({"a": 1, "b": [1]})).await.ok();
    assert_eq!(world.up.count(), 23);
}

/// R35: the estimate stands in the decision event and in refusals; the settled cost on the side effect.
#[tokio::test]
async fn cost_stands_where_it_must() {
    let world = World::of("").await;
    world.modern("ada").call("up__pay", json!({"text": "x"})).await.ok();
    world.until_settled(1).await;
    let events: Vec<Value> = world.events().await.iter().map(|e| serde_json::to_value(e).unwrap()).collect();
    let of = |kind: EventType| {
        events.iter().find(|e| e["event_type"] == json!(kind) && e["call_id"].is_string()).unwrap()
    };
    assert!(of(EventType::AgentDecision)["cost_estimate_usd"].as_f64().unwrap() > 0.25);
    let effect = of(EventType::AgentSideEffect);
    assert!(effect["cost_usd"].as_f64().unwrap() > 0.25, "{effect:#}");
    assert_eq!(effect["outcome"], "succeeded");
}

/// `strict` cuts a result at what was reserved, counted as it was reserved: for the model of the agent.
#[tokio::test]
async fn strict_counts_for_the_agents_model() {
    let other =
        authority().replacen("workflow: wf-2, model: gpt-4o", "workflow: wf-2, model: claude-sonnet-4", 1);
    assert!(other.contains("claude"));
    let files = format!(
        "{}=== authority.yaml\n{other}",
        budget("scope: agent, window: day, max_tokens: 1000000, strict: true")
    );
    let mut words = Vec::new();
    for agent in ["ada", "bot"] {
        // Nobody has learned anything.
        let world = World::of(&files).await;
        world.up.results(text_result(&"word ".repeat(20_000)));
        let reply = world.modern(agent).call("up__echo", json!({})).await;
        let text = reply.ok()["content"].to_string();
        assert!(text.contains("cut by policy"), "{text}");
        words.push(text.matches("word").count());
    }
    // A word is a token to one, and a quarter more to the other.
    let [one, other] = words[..] else { unreachable!() };
    assert!(other > one / 2 && other * 5 / 4 <= one + 10, "{one} {other}");
}

/// Cost that the upstream reports counts only where it is trusted, and never below zero.
#[tokio::test]
async fn reported_cost_counts_only_where_trusted() {
    let check = async |trust: bool, reported: Value, expect: &dyn Fn(f64) -> bool| {
        let up = format!("trust_cost = {trust}");
        let world = World::start(Setup { up, ..Setup::default() }).await;
        let mut result = text_result("done");
        result["_meta"] = json!({"cost_usd": reported});
        world.up.results(result);
        world.modern("ada").call("up__pay", json!({})).await.ok();
        let effect = serde_json::to_value(world.until_settled(1).await.pop().unwrap()).unwrap();
        let cost = effect["cost_usd"].as_f64().unwrap();
        assert!(expect(cost), "{trust} {reported}: {cost}");
    };
    check(false, json!(7.5), &|cost| (0.25..0.26).contains(&cost)).await;
    check(true, json!(7.5), &|cost| cost == 7.5).await;
    check(true, json!(0.000_317_25), &|cost| cost == 0.000_318).await;
    check(true, json!(-3), &|cost| cost == 0.0).await;
    check(true, json!("free"), &|cost| (0.25..0.26).contains(&cost)).await;
}

/// R36: budgets survive a restart, with what was dispatched before it.
#[tokio::test]
async fn budgets_survive_a_restart() {
    let world = World::of(&budget("scope: agent, window: month, max_calls: 2, on_exceed: deny")).await;
    world.modern("ada").call("up__echo", json!({})).await.ok();
    world.gate.gateway.shutdown().await;
    world.gate.store.close().await;
    let again = world.second().await;
    let client = Client::modern(&world.http, &again.mcp, "ada", json!({}));
    client.call("up__echo", json!({"n": 1})).await.ok();
    assert_eq!(went(&[client.call("up__echo", json!({"n": 2})).await], "deny"), 0);
    assert_eq!(world.up.count(), 2);
}
