//! Spend that cannot run away: zones, alerts, resets, prices that follow arguments, and what somebody tries who wants more than
//! a budget gives.

use crate::harness::*;
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::{
    clock::Fake,
    model::{Event, EventType, MicroUsd},
    store::BudgetUsage,
};

fn budget(keys: &str) -> String {
    format!("=== budgets.yaml\nbudgets:\n  - {{ id: cap, {keys} }}\n")
}

async fn stands(gate: &Gate) -> BudgetUsage {
    let usage = gate.store.budget_usage(gate.gateway.clock().now()).await.unwrap();
    usage.into_iter().find(|at| at.id.as_str() == "cap").unwrap()
}

fn went(reply: &Reply) -> bool {
    reply.body["result"]["isError"] != json!(true)
}

fn alerts(events: &[Event]) -> Vec<String> {
    let of_budget = |event: &&Event| event.draft.action.as_deref() == Some("budget_alert");
    events.iter().filter(of_budget).map(|event| event.draft.reason.as_deref().unwrap().to_owned()).collect()
}

/// R36: a day of a budget is the day of its zone.
#[tokio::test]
async fn a_day_begins_where_the_budget_says() {
    // 23:30 in Berlin, where 30 November ends at 23:00 UTC.
    let clock = Fake::at("2026-11-30T22:30:00Z".parse().unwrap());
    let files = "=== budgets.yaml
budgets:
  - { id: berlin, scope: agent, window: day, max_calls: 1, on_exceed: throttle, zone: Europe/Berlin }
  - { id: utc, scope: agent, window: day, max_calls: 2, on_exceed: deny }
";
    let world =
        World::start(Setup { files: files.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await;
    let client = world.modern("ada");
    client.call("up__echo", json!({"n": 1})).await.ok();
    let full = client.call("up__echo", json!({"n": 2})).await;
    assert_eq!((full.word(), full.decision()["policy_id"].as_str()), ("throttle", Some("berlin")));
    let wait = full.decision()["retry_after_ms"].as_u64().unwrap();
    assert!((1_790_000..=1_800_001).contains(&wait), "half an hour: {wait}");
    clock.advance(Duration::from_millis(wait + 1));
    client.call("up__echo", json!({"n": 3})).await.ok();
    let (_, told) = world.api("dan", "budgets", None).await;
    let row =
        |id: &str| told["budgets"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
    assert_eq!(row("berlin")["window_start"], "2026-11-30T23:00:00Z");
    assert_eq!(row("berlin")["frees_at"], "2026-12-01T23:00:00Z");
    assert_eq!(
        (&row("berlin")["zone"], &row("berlin")["used"]["calls"]),
        (&json!("Europe/Berlin"), &json!(1))
    );
    assert_eq!((&row("utc")["zone"], &row("utc")["used"]["calls"]), (&Value::Null, &json!(2)));
    // The day of the other one goes on.
    clock.advance(Duration::from_secs(600));
    assert_eq!(client.call("up__echo", json!({"n": 4})).await.decision()["policy_id"], "utc");
}

/// R36: one counter per tenant, and one per capability that lets calls through.
#[tokio::test]
async fn tenants_and_capabilities_have_counters() {
    let check = async |scope: &str, calls: &[(&str, bool)]| {
        let people = authority().replace("role: batch, tenant: acme", "role: batch, tenant: globex");
        let cap = budget(&format!("scope: {scope}, window: day, max_calls: 1, on_exceed: deny"));
        let world = World::of(&format!("{cap}=== authority.yaml\n{people}")).await;
        for (n, (agent, through)) in calls.iter().enumerate() {
            let reply = world.modern(agent).call("up__read", json!({"path": "/a", "n": n})).await;
            assert_eq!(went(&reply), *through, "{scope} {agent}: {:#}", reply.body);
        }
    };
    check("tenant", &[("ada", true), ("eve", false), ("bot", true), ("bot", false)]).await;
    check("capability", &[("ada", true), ("bot", false), ("narrow", true), ("narrow", false)]).await;
}

/// Each share of a cap alerts once, whichever process reaches it, and a restart tells none of them again.
#[tokio::test]
async fn each_step_alerts_once_in_all_processes() {
    let cap = budget("scope: agent, window: ever, max_calls: 4, on_exceed: deny, alert_at: [100, 50, 75]");
    let world = World::of(&cap).await;
    let other = world.second().await;
    let clients = [world.modern("ada"), Client::modern(&world.http, &other.mcp, "ada", json!({}))];
    for n in 0..4 {
        clients[n % 2].call("up__echo", json!({"n": n})).await.ok();
    }
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(client.call("up__echo", json!({"over": n})).await.word(), "deny");
    }
    let expect = [50, 75, 100]
        .map(|step| format!("budget `cap` of `ada` has reached {step} %: {} of 4 calls in all", step / 25));
    assert_eq!(alerts(&world.events().await), expect);
    for gate in [&world.gate, &other] {
        gate.gateway.shutdown().await;
        gate.store.close().await;
    }
    let again = world.second().await;
    let client = Client::modern(&world.http, &again.mcp, "ada", json!({}));
    assert_eq!(client.call("up__echo", json!({"over": 3})).await.word(), "deny");
    // Another counter has alerts of its own.
    let eve = Client::modern(&world.http, &again.mcp, "eve", json!({}));
    eve.call("up__echo", json!({"n": 1})).await.ok();
    eve.call("up__echo", json!({"n": 2})).await.ok();
    let told = alerts(&again.events().await);
    assert_eq!((told.len(), told[3].contains("`eve` has reached 50 %")), (4, true), "{told:?}");
}

/// A reset is an admin's, is recorded, holds in every process at once, and keeps what calls in flight hold.
#[tokio::test]
async fn a_reset_is_recorded_and_keeps_calls_in_flight() {
    let cap = budget("scope: agent, window: ever, max_calls: 2, on_exceed: deny");
    let world = World::of(&cap).await;
    let other = world.second().await;
    let there = Client::modern(&world.http, &other.mcp, "ada", json!({}));
    let here = world.modern("ada");
    there.call("up__echo", json!({"n": 1})).await.ok();
    world.up.hangs();
    let hanging = {
        let there = there.clone();
        tokio::spawn(async move { there.call("up__echo", json!({"n": 2})).await })
    };
    world.up.until_count(2).await;
    world.up.behaves();
    assert!(!went(&here.call("up__echo", json!({"n": 3})).await));
    let (_, told) = world.api("dan", "budgets", None).await;
    let row = &told["budgets"][0];
    assert_eq!(
        (&row["key"], &row["limit"]["calls"], &row["left"]["calls"]),
        (&json!("ada"), &json!(2), &json!(0))
    );
    assert_eq!((&row["used"]["calls"], &row["reserved"]["calls"]), (&json!(1), &json!(1)), "{row:#}");
    assert!(row["reserved"]["cost_usd"].as_f64().unwrap() > 0.0, "{row:#}");
    let reset = async |person: &str, id: &str, body: Value| {
        world.api(person, &format!("budgets/{id}/reset"), Some(body)).await
    };
    assert_eq!(reset("alice", "cap", json!({"reason": "more"})).await.0, 403);
    assert_eq!(reset("dan", "cap", json!({})).await.0, 400);
    assert_eq!(reset("dan", "cap", json!({"reason": " "})).await.0, 400);
    assert_eq!(reset("dan", "cap", json!({"reason": "x", "all": true})).await.0, 400);
    let (status, unknown) = reset("dan", "cab", json!({"reason": "more"})).await;
    assert_eq!(status, 404);
    assert!(unknown["error"]["message"].as_str().unwrap().contains("did you mean `cap`?"), "{unknown}");
    let (status, none) = reset("dan", "cap", json!({"reason": "more", "key": "eve"})).await;
    assert_eq!((status, &none["reset"]), (200, &json!([])));
    assert!(!went(&here.call("up__echo", json!({"n": 3})).await));
    let (status, done) = reset("dan", "cap", json!({"reason": "the report is due"})).await;
    assert_eq!(status, 200, "{done}");
    let counter = &done["reset"][0];
    assert_eq!((&counter["before"]["calls"], &counter["after"]["calls"]), (&json!(2), &json!(1)));
    let event = world.until_event(|event| event.draft.action.as_deref() == Some("budget_reset")).await.draft;
    assert_eq!((event.event_type, event.policy_id.as_deref()), (EventType::AdminAction, Some("cap")));
    let detail = event.detail.unwrap();
    assert_eq!((&detail["person"], event.reason.as_deref()), (&json!("dan"), Some("the report is due")));
    assert_eq!(&detail["counters"], &done["reset"]);
    // One is in flight, so one more goes, in whichever process.
    there.call("up__echo", json!({"n": 4})).await.ok();
    assert!(!went(&here.call("up__echo", json!({"n": 5})).await));
    hanging.abort();
    for gate in [&world.gate, &other] {
        gate.gateway.shutdown().await;
        gate.store.close().await;
    }
    let again = world.second().await;
    assert_eq!(stands(&again).await.calls, 2, "it survives a restart");
    assert!(again.store.verify().await.unwrap().bad.is_none());
}

/// R36: the chart of a counter says how it came to where it stands: calls, refusals not among them, and a reset.
#[tokio::test]
async fn the_use_of_a_budget_is_drawn() {
    // 13:00 of a day.
    let clock = Fake::at("2026-11-30T13:00:00Z".parse().unwrap());
    let cap = budget("scope: agent, window: day, max_calls: 3, on_exceed: deny");
    let world = World::start(Setup { files: cap, clock: Some(clock.clone()), ..Setup::default() }).await;
    let client = world.modern("ada");
    let drawn = async || {
        let (status, burn) = world.api("alice", "budgets/cap/burn?key=ada", None).await;
        assert_eq!(status, 200, "{burn}");
        burn
    };
    let calls = |burn: &Value| burn["used"]["calls"].as_array().unwrap().clone();
    client.call("up__echo", json!({"n": 1})).await.ok();
    client.call("up__echo", json!({"n": 2})).await.ok();
    world.until_settled(2).await;
    let burn = drawn().await;
    assert_eq!(
        (&burn["window_start"], &burn["window_end"]),
        (&json!("2026-11-30T00:00:00Z"), &json!("2026-12-01T00:00:00Z"))
    );
    assert_eq!(
        (&burn["step_seconds"], &burn["limit"]["calls"], &burn["partial"]),
        (&json!(600), &json!(3), &json!(false))
    );
    assert_eq!(
        (burn["at"].as_array().unwrap().len(), calls(&burn)[77].clone(), calls(&burn)[78].clone()),
        (79, json!(0), json!(2))
    );
    clock.advance(Duration::from_secs(3_600));
    client.call("up__echo", json!({"n": 3})).await.ok();
    assert!(!went(&client.call("up__echo", json!({"n": 4})).await), "the cap is used up");
    world.until_settled(3).await;
    let burn = drawn().await;
    assert_eq!(
        calls(&burn)[77..],
        [json!(0), json!(2), json!(2), json!(2), json!(2), json!(2), json!(2), json!(3)]
    );
    clock.advance(Duration::from_secs(1_200));
    let reset = world.api("dan", "budgets/cap/reset", Some(json!({"reason": "more", "key": "ada"}))).await;
    assert_eq!(reset.0, 200);
    let burn = drawn().await;
    assert_eq!(calls(&burn)[83..], [json!(2), json!(3), json!(3), json!(0)]);
    for (path, status) in
        [("budgets/cap/burn?key=nobody", 200), ("budgets/cab/burn", 404), ("budgets/cap/burn?kez=x", 400)]
    {
        assert_eq!(world.api("alice", path, None).await.0, status, "{path}");
    }
    assert_eq!(world.api("ada", "budgets/cap/burn?key=ada", None).await.0, 403);
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());
}

/// The command sets a budget back beside a running gateway, and needs an admin's key.
#[tokio::test]
async fn the_command_sets_a_budget_back() {
    let cap = budget("scope: agent, window: day, max_calls: 1, on_exceed: deny");
    let files = Files::of(Setup { files: cap, ..Setup::default() }).await;
    let serve = files.serve().await;
    let client = files.client(&serve, "ada");
    client.call("up__echo", json!({"n": 1})).await.ok();
    assert!(!went(&client.call("up__echo", json!({"n": 2})).await));
    let fails = async |person: Option<&str>, arguments: &[&str]| {
        let (mut child, _said) = files.command_of(person, arguments);
        !soon(child.wait()).await.unwrap().success()
    };
    let told = async |person: Option<&str>, arguments: &[&str]| -> Value {
        let (mut child, lines) = files.command_of(person, arguments);
        assert!(soon(child.wait()).await.unwrap().success());
        // What it wrote is read by a task of its own.
        let whole = async {
            loop {
                match serde_json::from_str(&lines.text()) {
                    Ok(told) => return told,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        soon(whole).await
    };
    let reset = ["budget", "reset", "cap", "--key", "ada", "--reason", "a second try", "--json"];
    assert!(fails(None, &reset).await && fails(Some("alice"), &reset).await);
    assert!(!went(&client.call("up__echo", json!({"n": 3})).await));
    let done = told(Some("dan"), &reset).await;
    assert_eq!((&done["id"], &done["reset"][0]["before"]["calls"]), (&json!("cap"), &json!(1)));
    client.call("up__echo", json!({"n": 4})).await.ok();
    let listed = told(None, &["budget", "status", "--json"]).await;
    let row = &listed["budgets"][0];
    assert_eq!((&row["id"], &row["scope"], &row["key"]), (&json!("cap"), &json!("agent"), &json!("ada")));
    assert_eq!(
        (&row["window"], &row["used"]["calls"], &row["left"]["calls"]),
        (&json!("day"), &json!(1), &json!(0))
    );
    let (_child, lines) = files.command_of(None, &["budget", "status"]);
    lines.until(|text| text.contains("1 of 1")).await;
}

/// Scripted attack: many calls at once, in both eras and in two processes, on one cap: money is not spent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overspend_race_wins_nothing() {
    let cap = budget("scope: global, window: day, max_cost_usd: 2.60, on_exceed: deny");
    let world = World::of(&cap).await;
    let other = world.second().await;
    let mut clients = Vec::new();
    for (mcp, http) in [(&world.gate.mcp, &world.http), (&other.mcp, &world.http)] {
        for agent in ["ada", "eve", "bot"] {
            clients.push(Client::modern(http, mcp, agent, json!({})));
            clients.push(Client::legacy(http, mcp, agent, json!({})).await);
        }
    }
    let calls = (0..96).map(|n| {
        let client = &clients[n % clients.len()];
        client.call("up__pay", json!({"n": n}))
    });
    let replies = futures::future::join_all(calls).await;
    // Of a quarter of a dollar and some tokens, ten fit.
    assert_eq!(replies.iter().filter(|reply| went(reply)).count(), 10);
    assert_eq!(world.up.count(), 10);
    let spent: i64 = world.until_settled(10).await.iter().map(|event| event.draft.cost_usd.unwrap().0).sum();
    assert!((2_500_000..=2_600_000).contains(&spent), "{spent}");
    let usage = stands(&world.gate).await;
    assert_eq!((usage.calls, usage.cost_usd.0, usage.reserved.calls), (10, spent, 0));
}

/// Scripted attack: calls that look cheap and whose results are huge. The overshoot is at most that of the calls in flight, is
/// recorded and alerted, and the next call is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cheap_looking_calls_overshoot_once() {
    const FLIGHT: usize = 4;
    let cap = budget("scope: agent, window: day, max_tokens: 5000, on_exceed: deny, alert_at: [100]");
    let world = World::of(&cap).await;
    let huge = text_result(&"word ".repeat(8_000));
    let gate = std::sync::Arc::new(tokio::sync::Barrier::new(FLIGHT));
    world.up.script(move |seen| {
        let (reply, gate) = (json_reply(seen, &huge), gate.clone());
        (seen.method() == "tools/call").then(|| -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move {
                // All of them are in flight before any ends.
                gate.wait().await;
                reply
            })
        })
    });
    let client = world.modern("ada");
    let calls = (0..FLIGHT).map(|n| client.call("up__echo", json!({"n": n})));
    for reply in futures::future::join_all(calls).await {
        reply.ok();
    }
    let effects = world.until_settled(FLIGHT).await;
    let mut real = 0;
    for event in &effects {
        real += event.draft.detail.as_ref().unwrap()["result_tokens"].as_u64().unwrap();
    }
    assert!(real > 8_000 * FLIGHT as u64, "{real}");
    let stopped = client.call("up__echo", json!({"next": 1})).await;
    assert_eq!((stopped.word(), stopped.decision()["policy_id"].as_str()), ("deny", Some("cap")));
    assert_eq!(world.up.count(), FLIGHT);
    let usage = stands(&world.gate).await;
    assert!(usage.tokens >= real && usage.tokens < real + 400, "all of it is counted: {usage:?}");
    let told = alerts(&world.events().await);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("has reached 100 %"), "{told:?}");
}

/// The same under a strict budget: results are cut at what was reserved, and the cap is never passed.
#[tokio::test]
async fn strict_budgets_are_never_passed() {
    let cap = budget("scope: agent, window: day, max_tokens: 1500, on_exceed: deny, strict: true");
    let world = World::of(&cap).await;
    world.up.results(text_result(&"word ".repeat(8_000)));
    let client = world.modern("ada");
    let mut through = 0;
    for n in 0..20 {
        let reply = client.call("up__echo", json!({"n": n})).await;
        if !went(&reply) {
            assert_eq!(reply.decision()["policy_id"], "cap");
            break;
        }
        through += 1;
        assert!(reply.body["result"]["content"].to_string().contains("cut by policy"), "{:#}", reply.body);
        world.until_settled(through).await;
        assert!(stands(&world.gate).await.tokens <= 1_500);
    }
    assert!((2..20).contains(&through), "{through}");
}

/// A result that is as large as those before is not cut, of whatever size; one that is larger is cut once, and teaches what it
/// took.
#[tokio::test]
async fn strict_budgets_learn_what_they_cut() {
    let cap = budget("scope: agent, window: day, max_tokens: 100000000, on_exceed: deny, strict: true");
    let world = World::of(&cap).await;
    let client = world.modern("ada");
    let (mut n, mut settled) = (0, 0);
    for words in [3, 61, 150, 190, 333, 777, 1_111, 2_345] {
        world.up.results(text_result(&"word ".repeat(words)));
        let mut cut = 0;
        for _ in 0..5 {
            n += 1;
            settled += 1;
            let reply = client.call("up__echo", json!({"n": n % 10})).await;
            cut += usize::from(reply.ok()["content"].to_string().contains("cut by policy"));
            world.until_settled(settled).await;
            if cut == 0 {
                break;
            }
        }
        assert!(cut <= 1, "{words} words were cut {cut} times");
        // Now it is learned.
        for _ in 0..3 {
            n += 1;
            settled += 1;
            let reply = client.call("up__echo", json!({"n": n % 10})).await;
            assert!(
                !reply.ok()["content"].to_string().contains("cut by policy"),
                "{words}: {:#}",
                reply.body
            );
            world.until_settled(settled).await;
        }
    }
    // One that was cut says on record what it took, and not what it was expected to take: nothing is held against that.
    let effects =
        world.events().await.into_iter().filter(|event| event.draft.event_type == EventType::AgentSideEffect);
    let details: Vec<Value> = effects.map(|event| event.draft.detail.unwrap()).collect();
    assert!(details.iter().any(|detail| detail.get("expected_tokens").is_none()));
}

/// Four results, of which one is much larger than the others: what the next one may take is far more than what is expected.
async fn one_large_among_small(world: &World, client: &Client) {
    for (n, words) in [3, 1_500, 3, 3].into_iter().enumerate() {
        world.up.results(text_result(&"word ".repeat(words)));
        client.call("up__write", json!({"n": n})).await.ok();
        world.until_settled(n + 1).await;
    }
}

/// One slow call holds what is estimated and a share of the rest, never all that is left of a strict budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_leaves_room_in_a_strict_budget() {
    let cap = budget("scope: agent, window: day, max_tokens: 2000, on_exceed: deny, strict: true");
    let world = World::of(&cap).await;
    let client = world.modern("ada");
    one_large_among_small(&world, &client).await;
    world.up.hangs();
    let slow = client.clone();
    let slow = tokio::spawn(async move { slow.call("up__write", json!({"n": 8})).await });
    world.up.until_count(5).await;
    let before = stands(&world.gate).await;
    assert!(before.reserved.tokens > 200 && before.tokens < 1_500, "{before:?}");
    world.up.results(text_result("done"));
    let reply = client.call("up__write", json!({"n": 9})).await;
    assert!(went(&reply), "{:#}", reply.body);
    slow.abort();
}

/// A call whose outcome nobody knows holds what was estimated, also of a strict budget: no longer result is to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_is_charged_as_estimated() {
    let cap = budget("scope: agent, window: day, max_tokens: 100000, on_exceed: deny, strict: true");
    let world = World::of(&cap).await;
    let client = world.modern("ada");
    one_large_among_small(&world, &client).await;
    let before = stands(&world.gate).await.tokens;
    world.up.script(|seen| {
        let page = || axum::response::Response::builder().status(502).body("gone".into()).unwrap();
        (seen.method() == "tools/call").then(|| answer(page()))
    });
    client.call("up__write", json!({"n": 5})).await;
    let settled = world.until_settled(5).await.pop().unwrap().draft;
    assert_eq!(settled.outcome, Some(tollgate::model::Outcome::Unknown));
    let usage = stands(&world.gate).await;
    assert_eq!(usage.reserved.tokens, 0);
    let held = usage.tokens - before;
    assert!(held > 0 && held < 100, "{held}");
}

/// What a cut teaches is in force for the next call, however soon that comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_teaches_at_once() {
    let cap = budget("scope: agent, window: day, max_tokens: 100000000, on_exceed: deny, strict: true");
    let world = World::of(&cap).await;
    let client = world.modern("ada");
    for words in [400, 1_500, 5_000, 15_000] {
        world.up.results(text_result(&"word ".repeat(words)));
        let cut = client.call("up__echo", json!({"n": words})).await;
        assert!(cut.ok()["content"].to_string().contains("cut by policy"), "{words}");
        let next = client.call("up__echo", json!({"n": words + 1})).await;
        assert!(!next.ok()["content"].to_string().contains("cut by policy"), "{words}");
    }
}

/// A cap that no call fits into says so.
#[tokio::test]
async fn a_strict_budget_that_no_call_fits_into_says_so() {
    let cap = budget("scope: agent, window: day, max_tokens: 128, on_exceed: deny, strict: true");
    let world = World::of(&cap).await;
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    assert!(reply.text().contains("No call fits into this budget"), "{}", reply.text());
}

/// What is held back is told truly: where no waiting helps, that is said, and what would help.
#[tokio::test]
async fn a_throttle_says_whether_waiting_helps() {
    let check = async |keys: &str, calls: usize, expect: &str| {
        let world = World::of(&budget(&format!("scope: agent, on_exceed: throttle, {keys}"))).await;
        let client = world.modern("ada");
        for n in 0..calls {
            client.call("up__echo", json!({"n": n})).await.ok();
        }
        let refused = client.call("up__echo", json!({"n": "last"})).await;
        assert_eq!((refused.word(), refused.decision()["policy_id"].as_str()), ("throttle", Some("cap")));
        let waits = refused.decision().get("retry_after_ms").is_some();
        let said = refused.text();
        assert!(said.contains(expect), "{keys}: {said}");
        assert_eq!(waits, expect.starts_with("Try again in"), "{keys}: {said}");
        assert!(!said.contains("Try again later"), "{keys}: {said}");
        said.to_owned()
    };
    let said =
        check("window: ever, max_calls: 1", 1, "Waiting does not help: this budget counts for ever").await;
    assert!(said.contains("allows `ada` 1 call in all, and 1 is used"), "{said}");
    check("window: day, max_calls: 0", 0, "Waiting does not help: its cap is 0").await;
    check("window: day, max_tokens: 5", 0, "Waiting does not help: this call alone is more than the cap")
        .await;
    check("window: ever, max_tokens: 5", 0, "this call alone is more than the cap").await;
    let said = check("window: day, max_calls: 2", 2, "Try again in").await;
    assert!(said.contains("allows `ada` 2 calls this day, and 2 are used"), "{said}");
}

/// A key that no counter has is an error that names those that there are; one that has counted nothing yet is none.
#[tokio::test]
async fn a_reset_of_an_unknown_key_names_the_known_ones() {
    let world = World::of(&budget("scope: agent, window: day, max_calls: 1, on_exceed: deny")).await;
    world.modern("ada").call("up__echo", json!({"n": 1})).await.ok();
    let reset = async |key: &str| {
        world.api("dan", "budgets/cap/reset", Some(json!({"key": key, "reason": "tests"}))).await
    };
    let (status, told) = reset("adda").await;
    assert_eq!(status, 404, "{told}");
    let told = told.to_string();
    assert!(
        told.contains("keeps no counter of `adda`; did you mean `ada`?")
            && told.contains("of each agent: `ada`"),
        "{told}"
    );
    let (status, told) = reset("bot").await;
    assert_eq!((status, &told["reset"]), (200, &json!([])));
    let (status, told) = reset("ada").await;
    assert_eq!((status, told["reset"][0]["before"]["calls"].as_u64()), (200, Some(1)));
}

/// A time that ends before it begins has no report and no records: that is an error, and no empty answer.
#[tokio::test]
async fn until_before_since_is_an_error() {
    let world = World::of(&budget("scope: agent, window: day, max_calls: 1")).await;
    for path in ["report/spend?since=2026-11-20&until=2026-11-19", "events?since=1h&until=2h"] {
        let (status, told) = world.api("bob", path, None).await;
        assert_eq!(status, 400, "{path}: {told}");
        assert!(told.to_string().contains("is before `since`"), "{path}: {told}");
    }
}

const PRICES: &str = "=== prices.yaml
tools:
  up__echo: { base_usd: 0.01, per: [{ argument: /rows, usd: 0.001 }, { argument: /text, unit: KB, usd: 0.5, default: 0 }] }
  up__write: { per: [{ argument: /rows, usd: 0.001 }], max_usd: 3.5 }
";

/// A price follows the arguments; one that needs an argument which is no number is the most that the table names, or no call.
#[tokio::test]
async fn a_price_follows_the_arguments() {
    let world = World::of(PRICES).await;
    let client = world.modern("ada");
    let cost = async |tool: &str, arguments: Value| {
        let before = world.events().await.len();
        let reply = client.call(tool, arguments.clone()).await;
        let event = world.last_decision().await;
        assert!(world.events().await.len() > before);
        let estimate = event.draft.cost_estimate_usd.unwrap();
        // The record tells what the estimate was made of.
        let facts = event.draft.facts.as_ref().unwrap();
        let number = |name: &str| facts[name].as_u64().unwrap();
        let tool_usd: MicroUsd =
            serde_json::from_value(facts.get("tool_usd").cloned().unwrap_or(json!(0))).unwrap();
        let prices = &world.gate.gateway.in_force().policies.prices;
        let again = prices.estimate(
            Some("gpt-4o"),
            number("tokens") - number("result_tokens"),
            number("result_tokens"),
            tool_usd,
        );
        assert_eq!(again.cost, estimate, "{tool} {arguments}");
        (reply, tool_usd.0)
    };
    for (tool, arguments, expect) in [
        ("up__echo", json!({"rows": 20}), 30_000),
        ("up__echo", json!({"rows": 0, "text": "x".repeat(2_000)}), 1_010_000),
        ("up__write", json!({"rows": 10}), 10_000),
        ("up__write", json!({"rows": 1_000_000_000}), 3_500_000),
        ("up__write", json!({"rows": "many"}), 3_500_000),
        ("up__write", json!({}), 3_500_000),
    ] {
        let (reply, price) = cost(tool, arguments).await;
        reply.ok();
        assert_eq!(price, expect, "{tool}");
    }
    let through = world.up.count();
    for (arguments, problem) in [
        (json!({}), "is not there"),
        (json!({"rows": -5}), "is below zero"),
        (json!({"rows": "20"}), "is not a number"),
        (json!({"rows": [1]}), "is not a number"),
    ] {
        let refused = client.call("up__echo", arguments).await;
        assert_eq!((refused.word(), refused.decision()["policy_id"].as_str()), ("deny", Some("price")));
        let reason = refused.decision()["reason"].as_str().unwrap();
        assert!(reason.contains("`/rows`") && reason.contains(problem), "{reason}");
    }
    assert_eq!(world.up.count(), through, "nothing was sent");
    // What it really costs is settled as it was priced.
    let effects = world.until_settled(through).await;
    assert!(effects[0].draft.cost_usd.unwrap() >= MicroUsd(30_000));
}
