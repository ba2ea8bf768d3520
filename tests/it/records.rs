//! What stands in the audit chain of a call, and what joins it to the world outside.

use crate::harness::*;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tollgate::{gateway::ListKind, identity::Presented, model::EventType};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const FIELDS: [&str; 35] = [
    "event_type",
    "timestamp",
    "trace_id",
    "workflow_id",
    "agent_id",
    "action",
    "policy_id",
    "decision",
    "cost_estimate_usd",
    "actor",
    "metadata",
    "seq",
    "prev_hash",
    "hash",
    "call_id",
    "tool",
    "upstream",
    "capability_id",
    "rule_id",
    "reason",
    "policy_snapshot",
    "approval_id",
    "outcome",
    "duration_ms",
    "cost_usd",
    "limits",
    "tenant",
    "environment",
    "operator",
    "user",
    "evaluator",
    "labels",
    "grant_id",
    "result_digest",
    "facts",
];

async fn events(world: &World) -> Vec<Map<String, Value>> {
    let value = |event| match serde_json::to_value(event).unwrap() {
        Value::Object(map) => map,
        _ => unreachable!(),
    };
    world.events().await.into_iter().map(value).collect()
}

/// R17, R44, R45: every event has every field; every call a start and a decision, and what went out a side effect.
#[tokio::test]
async fn every_call_is_recorded_whole() {
    let gate = "=== gate.yaml
name: rules
description: d
on: [{ upstream: up }]
rules:
  - { condition: \"tool.name == 'up__delete'\", decision: DENY }
  - { condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL }
  - { condition: \"tool.name == 'up__pay'\", decision: THROTTLE }
";
    let world = World::of(gate).await;
    let client = world.bare("ada");
    client.call("up__echo", json!({})).await.ok();
    client.call("up__delete", json!({})).await;
    client.call("up__pay", json!({})).await;
    client.call("up__read", json!({})).await;
    client.call("up__none", json!({})).await;
    let id = pending(&client.call("up__write", json!({})).await);
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    client.call("up__write", json!({})).await.ok();
    client.request("resources/read", json!({"uri": "file:///open/a.txt"})).await.ok();
    client.request("prompts/get", json!({"name": "up__short"})).await.ok();
    world.until_settled(world.up.count()).await;
    let reference: Value = serde_json::from_str(include_str!("../fixtures/decision-event.json")).unwrap();
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events(&world).await {
        for field in FIELDS {
            assert!(event.contains_key(field), "{field} is missing: {event:#?}");
        }
        for (field, value) in reference.as_object().unwrap() {
            assert!(event.contains_key(field), "{field} of the reference is missing");
            for inner in value.as_object().into_iter().flatten() {
                assert!(event[field].get(inner.0).is_some(), "{field}.{} is missing", inner.0);
            }
        }
        assert_eq!(event["policy_snapshot"].as_str().map(str::len), Some(64), "{event:#?}");
        if let Some(call) = event["call_id"].as_str() {
            assert_eq!(event["agent_id"], "ada");
            assert_eq!(event["trace_id"].as_str().map(str::len), Some(32));
            calls.entry(call.to_owned()).or_default().push(event["event_type"].as_str().unwrap().to_owned());
        }
        let decided = event["event_type"] == "agent_decision";
        if decided && event["tool"] != "up__none" {
            for field in
                ["action", "policy_id", "decision", "cost_estimate_usd", "tool", "upstream", "reason"]
            {
                assert!(!event[field].is_null(), "{field} is null: {event:#?}");
            }
        }
        // R6: the capability stands in every event of a call that one covers.
        if event["upstream"].is_string() && event["event_type"].as_str().unwrap().starts_with("agent_") {
            assert_eq!(event["capability_id"], "all", "{event:#?}");
        }
        if event["event_type"] == "agent_side_effect" {
            assert_eq!(event["outcome"], "succeeded");
            assert!(
                event["duration_ms"].is_u64() && event["cost_usd"].is_number() && event["limits"].is_object(),
                "{event:#?}"
            );
        }
    }
    assert_eq!(calls.len(), 9);
    for (call, types) in &calls {
        assert_eq!(types[0], "agent_start", "{call}: {types:?}");
        assert!(types.iter().any(|t| t == "agent_decision"), "{call}: {types:?}");
        assert_eq!(types.iter().filter(|t| *t == "agent_start").count(), 1, "{types:?}");
    }
    let effects = calls.values().filter(|types| types.iter().any(|t| t == "agent_side_effect")).count();
    assert_eq!(effects, world.up.count());
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());
}

/// R46: the trace comes from `_meta`, then from the header, goes upstream, and joins all events.
#[tokio::test]
async fn traces_join() {
    let world = World::of("").await;
    let legacy = world.legacy("ada").await;
    let client = world.modern("ada");
    let with = |meta: Value| json!({"name": "up__echo", "arguments": {}, "_meta": meta});
    let seen = async |n: usize| {
        let seen = world.up.calls()[n].clone();
        let meta = seen.body["params"]["_meta"]["traceparent"].as_str().map(str::to_owned);
        meta.or(seen.header("traceparent").map(str::to_owned)).expect("a trace goes upstream")
    };
    client.request("tools/call", with(json!({"traceparent": PARENT}))).await.ok();
    client.header("traceparent", PARENT).call("up__echo", json!({"n": 1})).await.ok();
    legacy.request("tools/call", with(json!({"traceparent": PARENT}))).await.ok();
    for n in 0..3 {
        assert!(seen(n).await.contains(TRACE));
    }
    // What is no trace is not taken; one is made.
    client
        .request(
            "tools/call",
            with(json!({"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"})),
        )
        .await
        .ok();
    assert!(!seen(3).await.contains("00000000000000000000000000000000"));
    world.until_settled(4).await;
    let joined: Vec<_> = events(&world).await.into_iter().filter(|e| e["trace_id"] == TRACE).collect();
    assert_eq!(joined.iter().filter(|e| e["event_type"] == "agent_side_effect").count(), 3);
    for form in [TRACE.to_owned(), "0af76519-16cd-43dd-8448-eb211c80319c".to_owned()] {
        let (status, trace) = world.api("bob", &format!("traces/{form}"), None).await;
        assert_eq!(status, 200);
        assert!(trace.to_string().contains("up__echo"), "{trace:#}");
    }
}

/// R2: a call runs in the workflow it names, else in its agent's own; another is denied.
#[tokio::test]
async fn workflows_are_checked() {
    let world = World::of("").await;
    let client = world.modern("ada");
    let of = async |client: &Client, meta: Value| {
        client.request("tools/call", json!({"name": "up__echo", "arguments": {}, "_meta": meta})).await
    };
    of(&client, json!({})).await.ok();
    of(&client, json!({"tollgate/workflow_id": "wf-2"})).await.ok();
    of(&client.header("x-workflow-id", "wf-2"), json!({})).await.ok();
    let seen: Vec<Value> = events(&world)
        .await
        .iter()
        .filter(|e| e["event_type"] == "agent_decision")
        .map(|e| e["workflow_id"].clone())
        .collect();
    assert_eq!(seen, ["wf-1", "wf-2", "wf-2"]);
    for name in ["wf-3", "", "WF-1"] {
        let reply = of(&client, json!({"tollgate/workflow_id": name})).await;
        assert_eq!((reply.word(), reply.decision()["policy_id"].as_str()), ("deny", Some("workflow")));
        // `_meta` wins over the header, whatever that says.
        let reply = of(&client.header("x-workflow-id", "wf-1"), json!({"tollgate/workflow_id": name})).await;
        assert_eq!(reply.word(), "deny");
    }
    // I2: what is no name is nobody's, and not as if nothing had been named.
    for odd in [json!(5), json!(true), json!(["wf-1"]), json!({"id": "wf-1"})] {
        let reply = of(&client, json!({"tollgate/workflow_id": odd})).await;
        assert_eq!((reply.word(), reply.decision()["policy_id"].as_str()), ("deny", Some("workflow")));
    }
    // Known to the bundle, and not among the agent's own.
    assert_eq!(of(&world.modern("eve"), json!({"tollgate/workflow_id": "wf-2"})).await.word(), "deny");
    // What is Tollgate's own does not go upstream.
    assert!(world.up.calls().iter().all(|c| !c.body["params"].to_string().contains("tollgate/")));
}

/// R2, I7: what an agent may not use in its workflow it does not see there either.
#[tokio::test]
async fn lists_are_of_the_workflow() {
    let narrow = "  wf-1: { owner: tests, approval_sla: 15m, capabilities: [reading] }";
    let authority = authority().replace("  wf-1: { owner: tests, approval_sla: 15m }", narrow);
    let authority = authority.replacen("capabilities: [all]", "capabilities: [all, reading]", 1);
    assert!(authority.contains(narrow) && authority.contains("[all, reading]"));
    let world = World::of(&format!("=== authority.yaml\n{authority}")).await;
    let listed = async |client: &Client, meta: Value| {
        let mut all = Vec::new();
        for (method, member, name) in [
            ("tools/list", "tools", "name"),
            ("prompts/list", "prompts", "name"),
            ("resources/list", "resources", "uri"),
            ("resources/templates/list", "resourceTemplates", "uriTemplate"),
        ] {
            let reply = client.request(method, json!({"_meta": meta})).await;
            let items = reply.ok()[member].as_array().unwrap().clone();
            all.push(items.iter().map(|item| item[name].as_str().unwrap().to_owned()).collect::<Vec<_>>());
        }
        all
    };
    let legacy = world.legacy("ada").await;
    let modern = world.modern("ada");
    let own = listed(&modern, json!({})).await;
    assert_eq!(own[0], ["up__read"]);
    assert!(own.iter().flatten().all(|name| !name.contains("secret") && name != "up__echo"), "{own:?}");
    let wide = listed(&modern, json!({"tollgate/workflow_id": "wf-2"})).await;
    assert!(wide[0].len() > 3 && wide[0].contains(&"up__echo".to_owned()), "{wide:?}");
    assert_eq!(listed(&modern.header("x-workflow-id", "wf-2"), json!({})).await, wide);
    assert_eq!(listed(&legacy, json!({})).await, own);
    assert_eq!(listed(&legacy.header("x-workflow-id", "wf-2"), json!({})).await, wide);
    // Where it may not act it sees nothing.
    for odd in [json!("wf-3"), json!(""), json!(7)] {
        let none = listed(&modern, json!({"tollgate/workflow_id": odd})).await;
        assert!(none.iter().all(Vec::is_empty), "{none:?}");
    }
    // What is listed is what can be called.
    for (meta, expect) in [(json!({}), &own), (json!({"tollgate/workflow_id": "wf-2"}), &wide)] {
        for tool in &wide[0] {
            let reply =
                modern.request("tools/call", json!({"name": tool, "arguments": {}, "_meta": meta})).await;
            let unknown = reply.body["error"]["message"].as_str().is_some_and(|m| m.contains("Unknown tool"));
            assert_eq!(unknown, !expect[0].contains(tool), "{tool} {meta}");
        }
    }
}

/// R2, I7: whoever watches in a workflow is told of what it can see there, at each piece of news.
#[tokio::test]
async fn news_are_of_the_workflow() {
    let narrow = |to: &str| {
        let workflow = format!("  wf-1: {{ owner: tests, approval_sla: 15m, capabilities: [{to}] }}");
        let text = authority().replace("  wf-1: { owner: tests, approval_sla: 15m }", &workflow);
        let text = text.replacen("capabilities: [all]", "capabilities: [all, reading]", 1);
        assert!(text.contains(&workflow) && text.contains("[all, reading]"));
        format!("=== authority.yaml\n{text}")
    };
    let world = World::of(&narrow("all")).await;
    let client = world.legacy("ada").await;
    let mut news = client.listen().await;
    for (workflow, uri) in [("wf-1", "file:///closed/b.txt"), ("wf-2", "file:///open/a.txt")] {
        let client = client.header("x-workflow-id", workflow);
        client.request("resources/subscribe", json!({"uri": uri})).await.ok();
    }
    let mut told = async || loop {
        let message = soon(news.next()).await.expect("the stream stays open");
        if message["method"] == "notifications/resources/updated" {
            return message["params"]["uri"].as_str().unwrap().to_owned();
        }
    };
    world.up.updated("file:///closed/b.txt").await;
    assert_eq!(told().await, "file:///closed/b.txt");
    world.reload(&narrow("reading")).await;
    world.up.updated("file:///closed/b.txt").await;
    world.up.updated("file:///open/a.txt").await;
    assert_eq!(told().await, "file:///open/a.txt");
    world.reload(&narrow("all")).await;
    world.up.updated("file:///closed/b.txt").await;
    assert_eq!(told().await, "file:///closed/b.txt");
}

/// A key that is removed shows nothing either, to a request that came in before.
#[tokio::test]
async fn a_removed_key_lists_nothing() {
    let world = World::of("").await;
    let gateway = world.gate.gateway.clone();
    let peer = std::net::IpAddr::from([127, 0, 0, 1]);
    let principal = gateway.authenticate(peer, &Presented::header(Some(b"Bearer key-ada"))).unwrap();
    let kinds = [ListKind::Tools, ListKind::Resources, ListKind::Templates, ListKind::Prompts];
    assert!(kinds.iter().any(|kind| !gateway.list(&principal, *kind, None).is_empty()));
    let other = authority().replace(&digest("key-ada"), &digest("another"));
    world.reload(&format!("=== authority.yaml\n{other}")).await;
    assert!(kinds.iter().all(|kind| gateway.list(&principal, *kind, None).is_empty()));
}

/// R57: the queries of the API find an event by each of its filters, and only that.
#[tokio::test]
async fn events_are_found_by_filter() {
    let world = World::of(
        "=== g.yaml\nname: g\ndescription: d\non: [{ tool: up__delete }]\nrules: [{ decision: DENY }]\n",
    )
    .await;
    world.modern("ada").call("up__echo", json!({})).await.ok();
    world.modern("eve").call("up__delete", json!({})).await;
    world.until_settled(1).await;
    let found = async |query: &str| {
        let (status, body) = world.api("bob", &format!("events?{query}"), None).await;
        assert_eq!(status, 200, "{query}: {body:#}");
        body["events"].as_array().unwrap_or_else(|| panic!("{body:#}")).clone()
    };
    let check = async |query: &str, field: &str, value: &str| {
        let events = found(query).await;
        assert!(!events.is_empty(), "{query}");
        assert!(events.iter().all(|e| e[field] == value), "{query}: {events:#?}");
    };
    check("agent_id=eve", "agent_id", "eve").await;
    check("policy_id=g", "policy_id", "g").await;
    check("tool=up__echo", "tool", "up__echo").await;
    check("decision=deny", "decision", "deny").await;
    check("event_type=agent_side_effect", "event_type", "agent_side_effect").await;
    check("workflow_id=wf-1", "workflow_id", "wf-1").await;
    assert!(found("agent_id=nobody").await.is_empty());
    assert_eq!(found("limit=2").await.len(), 2);
    assert_eq!(world.api("nobody", "events", None).await.0, 401);
}

/// I9: the chain has no gap, each record holds the hash of the one before, and the decision stands before the effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_is_whole_under_concurrency() {
    let world = World::of("").await;
    let client = world.modern("ada");
    let calls = (0..48).map(|n| client.call("up__echo", json!({"n": n})));
    for reply in futures::future::join_all(calls).await {
        reply.ok();
    }
    world.until_settled(48).await;
    let events = world.events().await;
    let mut last = "0".repeat(64);
    let mut decided = BTreeSet::new();
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.seq, n as i64 + 1);
        assert_eq!(event.prev_hash, last);
        last = event.hash.clone();
        let call = event.draft.call_id.clone();
        match event.draft.event_type {
            EventType::AgentDecision => assert!(decided.insert(call)),
            EventType::AgentSideEffect => assert!(decided.contains(&call)),
            _ => {}
        }
    }
    assert_eq!(decided.len(), 48);
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());
}

/// A name that the JSON library keeps for itself is an error where it comes in, whoever sends it, and stands in no record.
#[tokio::test]
async fn reserved_names_stop_at_the_door() {
    let world = World::of("").await;
    let (modern, legacy) = (world.modern("ada"), world.legacy("ada").await);
    for name in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
        for value in [json!(1), json!("1"), json!("{")] {
            for client in [&modern, &legacy] {
                let arguments = json!({"x": {name: value}});
                let body = client.body("tools/call", json!({"name": "up__echo", "arguments": arguments}));
                let response = soon(client.post(&body).send()).await.unwrap();
                assert_eq!(response.status(), 400);
                let told = soon(response.text()).await.unwrap();
                assert!(told.contains("-32700") && told.contains("reserved"), "{told}");
            }
        }
    }
    assert_eq!(world.up.count(), 0);
    // The same from an upstream is an answer that cannot be read.
    world.up.results(json!({"content": [], "structuredContent": {"$serde_json::private::RawValue": "{}"}}));
    let reply = modern.call("up__echo", json!({})).await;
    assert!(reply.text().contains("answer"), "{:#}", reply.body);
    world.until_settled(1).await;
    let events = serde_json::to_string(&world.events().await).unwrap();
    assert!(!events.contains("private::"), "{events}");
}
