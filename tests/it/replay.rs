//! The record of a decision is enough to decide it again (I11): what it holds, what it keeps, and what comes of it.

use crate::harness::*;
use serde_json::{Value, json};
use std::{process::Stdio, sync::Arc};
use tollgate::{
    audit::{ReplayReport, replay_recorded},
    model::{Event, EventDecision, EventType},
    store::{EventQuery, KeptKind},
};

const SECRET: &str = "ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";

const GATE: &str = "=== rules.yaml
name: rules
description: d
on: [{ upstream: up }]
rules:
  - { id: deletes, condition: \"tool.name == 'up__delete'\", decision: DENY }
  - { id: writes, condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL }
  - { id: clamp, condition: \"tool.name == 'up__echo' && has(args.n) && args.n > 10\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout: 20s, arguments: { clamp: { /n: { max: 10 } } } } }
  - { id: prod, condition: \"tool.name == 'up__echo' && has(args.token) && args.token.startsWith('prod')\", decision: DENY }
=== read.yaml
name: reads
description: d
on: [{ tool: up__read }]
rules: [{ condition: \"!has(args.limit)\", decision: REMEDIATE, remediation: { mode: apply, set: { /limit: 5 }, reason: less is enough } }]
=== budgets.yaml
budgets:
  - { id: pays, scope: agent, match: [{ tool: up__pay }], window: day, max_calls: 1, on_exceed: deny }
";

async fn replay(world: &World) -> ReplayReport {
    let mut seen = 0;
    let report =
        replay_recorded(&*world.gate.store, EventQuery::default(), &mut |count| seen = count).await.unwrap();
    assert_eq!(seen, report.judged + report.unjudgeable + report.not_by_rules + report.counted);
    report
}

fn decisions(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.draft.event_type == EventType::AgentDecision).collect()
}

/// I11: each kind of decision is the same under its own bundle, also after another came into force, and what depends on a
/// masked value is told apart.
#[tokio::test]
async fn recorded_decisions_are_decided_again() {
    let world = World::of(GATE).await;
    let client = world.bare("ada");
    client.call("up__echo", json!({"n": 3})).await.ok();
    client.call("up__echo", json!({"n": 30})).await.ok();
    client.call("up__echo", json!({"note": SECRET, "n": 4})).await.ok();
    client.call("up__echo", json!({"token": SECRET})).await.ok();
    client.call("up__read", json!({"path": "/a"})).await.ok();
    client.call("up__delete", json!({})).await;
    client.call("up__pay", json!({})).await.ok();
    assert_eq!(client.call("up__pay", json!({})).await.word(), "deny");
    let id = pending(&client.call("up__write", json!({})).await);
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    client.call("up__write", json!({})).await.ok();
    let id = pending(&client.call("up__write", json!({"again": true})).await);
    assert_eq!(world.decide("carol", &id, "reject").await, 200);
    assert_eq!(client.call("up__write", json!({"again": true})).await.word(), "rejected");
    assert_eq!(world.bare("scout").call("up__echo", json!({})).await.word(), "suggest");
    client.request("resources/read", json!({"uri": "file:///open/a.txt"})).await.ok();
    client.request("prompts/get", json!({"name": "up__short"})).await.ok();
    client.call("up__none", json!({})).await;
    let report = replay(&world).await;
    assert_eq!(report.differs, 0, "{:#?}", report.differences);
    // Ten calls of tools that were let through or stopped, two asks and what came of them, a proposal, resource, prompt.
    assert_eq!((report.judged, report.same), (14, 14), "{report:#?}");
    // The token was read, and was masked.
    assert_eq!((report.unjudgeable, report.not_by_rules), (1, 1), "{report:#?}");
    world.reload("=== none.yaml\nname: none\ndescription: d\nrules: [{ decision: DENY }]\n").await;
    assert_eq!(client.call("up__echo", json!({"n": 3})).await.word(), "deny");
    let report = replay(&world).await;
    assert_eq!((report.judged, report.differs), (15, 0), "{:#?}", report.differences);
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());
}

/// I11, R79: a rule that names a capability and a time zone is decided again with the zone's rules as they were kept.
#[tokio::test]
async fn a_zone_is_kept_with_the_bundle_that_names_it() {
    let gate = "=== hours.yaml
name: hours
description: d
on: [{ capability: all, tenant: acme }]
rules:
  - { id: hours, condition: \"capability == 'all' && now.getHours('Asia/Kolkata') == now.getHours('+05:30')\", decision: DENY }
";
    let world = World::of(gate).await;
    assert_eq!(world.bare("ada").call("up__echo", json!({"n": 3})).await.word(), "deny");
    world.bare("narrow").call("up__read", json!({"path": "/a"})).await.ok();
    let events = world.events().await;
    let snapshot = decisions(&events)[0].draft.policy_snapshot.clone().unwrap();
    let kept = world.gate.store.kept(KeptKind::Bundle, snapshot.to_string()).await.unwrap().unwrap();
    let body: Value = serde_json::from_str(&kept.body).unwrap();
    assert_eq!(body["zones"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Asia/Kolkata"]);
    let report = replay(&world).await;
    assert_eq!((report.judged, report.same), (2, 2), "{report:#?}");
}

/// SPEC 8: who, where and by what program; nothing raw, nothing twice.
#[tokio::test]
async fn a_decision_carries_its_facts() {
    let world = World::of(GATE).await;
    let client = world.bare("ada");
    client.call("up__echo", json!({"note": SECRET, "n": 30})).await.ok();
    world.until_settled(1).await;
    let events = world.events().await;
    let decision = &decisions(&events)[0].draft;
    let text = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
    assert_eq!(text(&decision.tenant).as_deref(), Some("acme"));
    assert_eq!(text(&decision.environment).as_deref(), Some("staging"));
    assert_eq!(decision.operator.as_deref(), Some("alice"));
    assert_eq!(decision.user.as_deref(), Some("alice"));
    assert_eq!(decision.evaluator.as_deref(), Some(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
    let facts = decision.facts.as_ref().unwrap();
    assert_eq!(facts["version"], 1);
    assert_eq!(facts["kind"], "tool");
    assert_eq!(facts["capabilities"], json!(["all"]));
    assert_eq!(facts["masked"], json!(["/args/note"]));
    // The call as it came was another: its facts stand before those of the call as it went.
    assert_eq!(facts["earlier"][0]["masked"], json!(["/args/note"]));
    let detail = decision.detail.as_ref().unwrap();
    assert_eq!(detail["arguments"]["n"], 10);
    assert_eq!(detail["original_arguments"]["n"], 30);
    assert_eq!(detail["verdict"]["decision"], "allow_with_constraints");
    assert_eq!(detail["verdict"]["constraints"]["timeout_ms"], 20_000);
    let whole = serde_json::to_string(&events).unwrap();
    assert!(!whole.contains(SECRET));
    assert_eq!(
        facts.to_string().matches("arguments").count(),
        0,
        "arguments stand in the record once: {facts}"
    );

    // What it refers to is kept, by the hash of its content.
    let tool = facts["tool"].as_str().unwrap();
    let kept = world.gate.store.kept(KeptKind::Tool, tool.to_owned()).await.unwrap().unwrap();
    let tool: Value = serde_json::from_str(&kept.body).unwrap();
    assert_eq!((&tool["name"], &tool["labels"]), (&json!("up__echo"), &json!(["internal"])));
    let snapshot = decision.policy_snapshot.clone().unwrap();
    let bundle = world.gate.store.kept(KeptKind::Bundle, snapshot.to_string()).await.unwrap().unwrap();
    assert!(bundle.body.contains("less is enough") && bundle.body.contains("staging"));
    assert!(!bundle.body.contains(&world.up.url()), "a URL may hold a secret");
    let activated = events.iter().find(|e| e.draft.event_type == EventType::PolicyActivated).unwrap();
    assert_eq!(activated.draft.detail.as_ref().unwrap()["bundle"], bundle.hash);
}

/// The digest of a result tells equal from unequal to whoever has the store's key, and nothing to others.
#[tokio::test]
async fn a_side_effect_has_the_digest_of_its_result() {
    let world = World::of("").await;
    let client = world.bare("ada");
    for n in [1, 1, 2] {
        client.call("up__echo", json!({"n": n})).await.ok();
    }
    world
        .up
        .script(|seen| (seen.method() == "tools/call").then(|| answer(error(seen, -32000, "no such thing"))));
    client.call("up__echo", json!({})).await;
    let digests: Vec<_> =
        world.until_settled(4).await.into_iter().map(|event| event.draft.result_digest.unwrap()).collect();
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
    assert_ne!(digests[2], digests[3]);
    assert_eq!(digests[0].len(), 64);
    let elsewhere = World::of("").await;
    elsewhere.bare("ada").call("up__echo", json!({"n": 1})).await.ok();
    let other = elsewhere.last_settled().await.result_digest.unwrap();
    assert_ne!(other, digests[0], "it is keyed by its store");
}

/// The command: a table or JSON, and an exit code.
#[tokio::test]
async fn the_command_says_what_differs() {
    let world = World::of(GATE).await;
    let client = world.bare("ada");
    client.call("up__echo", json!({"n": 3})).await.ok();
    client.call("up__delete", json!({})).await;
    world.until_settled(1).await;
    let run = async |more: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .arg("--config")
            .arg(world.dir.join("servers.toml"))
            .args(["policy", "replay"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["--json"]).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!((&told["judged"], &told["same"], &told["differs"]), (&json!(2), &json!(2), &json!(0)));
    assert_eq!((&told["unjudgeable"], &told["differences"]), (&json!(0), &json!([])));
    let (code, text) = run(&["--since", "24h"]).await;
    assert_eq!(code, Some(0));
    assert!(text.contains("judged 2: same 2, differs 0"), "{text}");

    // A record that says otherwise than its facts.
    let events = world.events().await;
    let mut forged = decisions(&events)[1].draft.clone();
    assert_eq!(forged.decision, Some(EventDecision::Deny));
    forged.decision = Some(EventDecision::Allow);
    let trace = forged.trace_id.unwrap().to_string();
    world.gate.store.record(vec![forged]).await.unwrap();
    let (code, text) = run(&["--json", "--trace", &trace]).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["differs"]), (Some(1), &json!(1)), "{text}");
    let difference = &told["differences"][0];
    assert_eq!((&difference["trace_id"], &difference["tool"]), (&json!(trace), &json!("up__delete")));
    let (code, text) = run(&[]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("up__delete") && text.contains("differs 1"), "{text}");
    world.expect_differences();
}
