//! Refusals cost their agent's share of the record and no more (I12): the first is whole, its repeats are a count.

use crate::harness::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tollgate::{
    audit::{NamedApprovals, questions, render, replay_recorded},
    clock::Fake,
    evidence::{Counted, LONGEST_REFUSED},
    model::{Event, EventDecision, EventType},
    store::EventQuery,
};

const RULES: &str = "=== rules.yaml
name: rules
description: d
on: [{ upstream: up }]
rules:
  - { id: deletes, condition: \"tool.name == 'up__delete'\", decision: DENY }
  - { id: prod, condition: \"tool.name == 'up__echo' && has(args.env) && args.env == 'prod'\", decision: DENY }
  - { id: writes, condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL }
=== budgets.yaml
budgets:
  - { id: pays, scope: agent, match: [{ tool: up__pay }], window: day, max_calls: 1, on_exceed: deny }
";

fn noon() -> Arc<Fake> {
    Fake::at("2026-11-01T12:00:00Z".parse().unwrap())
}

async fn world(clock: &Arc<Fake>) -> World {
    World::start(Setup { files: RULES.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await
}

/// What is out of scope was asked for in a workflow all the same: the one that was named, or the agent's own.
#[tokio::test]
async fn a_call_out_of_scope_stands_in_its_workflow() {
    let world = World::of("").await;
    let workflow = async |client: &Client| {
        client.call("nowhere__tool", json!({})).await.error();
        world.last_decision().await.draft.workflow_id.map(|id| id.to_string())
    };
    let ada = world.modern("ada");
    assert_eq!(workflow(&ada.header("x-workflow-id", "wf-2")).await.as_deref(), Some("wf-2"));
    assert_eq!(workflow(&world.modern("eve")).await.as_deref(), Some("wf-1"));
    // A name that the agent may not use is no workflow of its call.
    assert_eq!(workflow(&world.modern("bot").header("x-workflow-id", "made-up")).await, None);
}

fn decisions(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|e| e.draft.event_type == EventType::AgentDecision).collect()
}

/// Tool, policy and count of each decision; a record of one call has none.
fn told(events: &[Event]) -> Vec<(String, String, Option<u64>)> {
    let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let mut told: Vec<_> = decisions(events)
        .iter()
        .map(|event| {
            let draft = &event.draft;
            let count = Counted::of(draft).map(|counted| counted.count);
            (text(draft.tool.as_deref()), text(draft.policy_id.as_deref()), count)
        })
        .collect();
    told.sort();
    told
}

fn row(tool: &str, policy: &str, count: Option<u64>) -> (String, String, Option<u64>) {
    (tool.to_owned(), policy.to_owned(), count)
}

/// What an agent reads of a refusal, without what is each call's own.
fn read(reply: &Reply) -> String {
    let text = reply.body.to_string();
    let text = match reply.body.pointer("/result/_meta/tollgate~1decision/trace_id") {
        Some(Value::String(trace)) => text.replace(trace.as_str(), "TRACE"),
        _ => text,
    };
    let id = reply.body["id"].to_string();
    text.replace(&format!("\"id\":{id}"), "\"id\":0")
}

/// I12: every kind of refusal; the agent reads the same each time.
#[tokio::test]
async fn repeats_are_one_record_with_a_count() {
    let clock = noon();
    let world = world(&clock).await;
    let client = world.bare("ada");
    client.call("up__pay", json!({"n": 0})).await.ok();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut answers: Vec<Vec<String>> = Vec::new();
    for round in 0..5 {
        let mut answered = Vec::new();
        // The arguments differ, the refusal does not.
        let own = json!({"traceparent": format!("00-{trace}-b7ad6b716920333{round}-01")});
        let first = json!({"name": "up__delete", "arguments": {"n": round}, "_meta": own});
        let meta = if round == 0 { first } else { json!({"name": "up__delete", "arguments": {"n": round}}) };
        answered.push(read(&client.request("tools/call", meta).await));
        for (tool, arguments) in [
            ("up__none", json!({"n": round})),
            ("up__pay", json!({"n": round + 1})),
            ("up__read", json!({"limit": "many"})),
        ] {
            answered.push(read(&client.call(tool, arguments).await));
        }
        for (method, params) in [
            ("resources/read", json!({"uri": "secret://x"})),
            ("prompts/get", json!({"name": "up__unknown"})),
        ] {
            answered.push(read(&client.request(method, params).await));
        }
        answers.push(answered);
        clock.advance(Duration::from_secs(1));
    }
    for other in &answers[2..] {
        assert_eq!(other, &answers[1]);
    }
    world.until_settled(1).await;
    let whole = [
        row("secret://x", "scope", None),
        row("up__delete", "rules", None),
        row("up__none", "scope", None),
        row("up__pay", "default", None),
        row("up__pay", "pays", None),
        row("up__read", "schema", None),
        row("up__unknown", "scope", None),
    ];
    let events = world.events().await;
    assert_eq!(told(&events), whole);
    // Neither starts nor anything else comes of a repeat.
    assert_eq!(
        events
            .iter()
            .filter(|e| e.draft.event_type == EventType::AgentStart && e.draft.call_id.is_some())
            .count(),
        whole.len()
    );
    // Nobody else's calls are counted with them.
    assert_eq!(world.bare("eve").call("up__delete", json!({})).await.word(), "deny");
    assert_eq!(decisions(&world.events().await).len(), whole.len() + 1);

    clock.advance(Duration::from_secs(60));
    let counted = world
        .until_event(|e| Counted::of(&e.draft).is_some() && e.draft.tool.as_deref() == Some("up__delete"))
        .await;
    world
        .until_event(|e| Counted::of(&e.draft).is_some() && e.draft.tool.as_deref() == Some("secret://x"))
        .await;
    let events = world.events().await;
    let mut expect = whole.to_vec();
    expect.extend(
        whole.iter().filter(|row| row.1 != "default").map(|(tool, policy, _)| row(tool, policy, Some(4))),
    );
    expect.push(row("up__delete", "rules", None));
    expect.sort();
    assert_eq!(told(&events), expect);
    let draft = &counted.draft;
    assert_eq!((draft.decision, draft.agent_id.as_deref()), (Some(EventDecision::Deny), Some("ada")));
    assert_eq!((draft.rule_id.as_deref(), draft.upstream.as_deref()), (Some("deletes"), Some("up")));
    let first =
        decisions(&events).into_iter().find(|e| e.draft.tool.as_deref() == Some("up__delete")).unwrap();
    assert_eq!((&draft.call_id, &draft.reason), (&first.draft.call_id, &first.draft.reason));
    let span = Counted::of(draft).unwrap();
    assert_eq!(span.since.to_string(), "2026-11-01T12:00:01Z");
    assert_eq!(span.until.to_string(), "2026-11-01T12:00:04Z");

    // Whoever looks at the first is told of the others.
    let of_trace: Vec<Event> =
        events.iter().filter(|e| e.draft.trace_id.is_some_and(|t| t.to_string() == trace)).cloned().collect();
    let report = questions(&of_trace, &NamedApprovals::default());
    assert_eq!((report.calls.len(), report.calls[0].decided.len()), (1, 2));
    let shown = render(&report);
    assert!(
        shown.contains("and 4 more like it from 2026-11-01T12:00:01Z to 2026-11-01T12:00:04Z: deny by rules"),
        "{shown}"
    );
    // I11: a count is not decided again.
    let replayed = replay_recorded(&*world.gate.store, EventQuery::default(), &mut |_| {}).await.unwrap();
    assert_eq!((replayed.counted, replayed.differs, replayed.unjudgeable), (6, 0, 0), "{replayed:#?}");
    assert!(world.gate.store.verify().await.unwrap().bad.is_none());

    // The minute is over: the next one is whole again.
    assert_eq!(client.call("up__delete", json!({})).await.word(), "deny");
    assert_eq!(Counted::of(&world.last_decision().await.draft), None);
}

/// I12: new names and new arguments each time have a bound as well.
#[tokio::test]
async fn what_is_new_each_time_is_counted_by_what_refused_it() {
    let clock = noon();
    let world = world(&clock).await;
    let client = world.bare("ada");
    for number in 0..150 {
        client.call(&format!("up__invented_{number}"), json!({})).await;
    }
    let events = world.events().await;
    assert_eq!(decisions(&events).len(), 60);
    // A limit's refusal by the store counts as any other.
    client.call("up__pay", json!({"n": 0})).await.ok();
    for n in 1..4 {
        assert_eq!(client.call("up__pay", json!({"n": n})).await.word(), "deny");
    }
    assert_eq!(decisions(&world.events().await).len(), 61);
    // Another agent's are recorded as ever.
    world.bare("eve").call("up__invented", json!({})).await;
    assert_eq!(decisions(&world.events().await).len(), 62);
    clock.advance(Duration::from_secs(60));
    let counted = |policy: &'static str| {
        move |e: &Event| Counted::of(&e.draft).is_some() && e.draft.policy_id.as_deref() == Some(policy)
    };
    let scope = world.until_event(counted("scope")).await;
    assert_eq!(Counted::of(&scope.draft).unwrap().count, 90);
    assert_eq!((&scope.draft.tool, scope.draft.agent_id.as_deref()), (&None, Some("ada")));
    assert!(scope.draft.reason.as_deref().unwrap().contains("counted together"));
    let pays = world.until_event(counted("pays")).await;
    assert_eq!(Counted::of(&pays.draft).unwrap().count, 3);
}

/// I12: what a refused call brought is recorded within a bound, and the record still says what it was.
#[tokio::test]
async fn large_arguments_of_refused_calls_are_cut() {
    let clock = noon();
    let world = world(&clock).await;
    let client = world.bare("ada");
    let text = "a large note. ".repeat(15_000);
    let size = |event: &Event| event.draft.body().len();
    // By a rule that does not look at them, by one that does, and by a budget.
    let denied = client.call("up__delete", json!({"note": text})).await;
    assert_eq!((denied.word(), denied.decision()["rule_id"].as_str()), ("deny", Some("deletes")));
    client.call("up__echo", json!({"env": "prod", "note": text})).await;
    client.call("up__pay", json!({"n": 0})).await.ok();
    for n in 1..3 {
        assert_eq!(client.call("up__pay", json!({"n": n, "note": text})).await.word(), "deny");
    }
    let events = world.events().await;
    let refused: Vec<&Event> =
        decisions(&events).into_iter().filter(|e| e.draft.decision == Some(EventDecision::Deny)).collect();
    assert_eq!(refused.len(), 3);
    for event in refused {
        assert!(size(event) < LONGEST_REFUSED + 4_096, "{}", size(event));
        let detail = event.draft.detail.as_ref().unwrap();
        assert_eq!(detail.get("arguments"), None);
        let cut = &detail["arguments_cut"];
        assert!(cut["bytes"].as_u64().unwrap() > text.len() as u64);
        assert_eq!(cut["sha256"].as_str().unwrap().len(), 64);
    }
    // What is asked about is whole: a person has to see it.
    let asked = client.call("up__write", json!({"path": "/a", "note": text})).await;
    assert_eq!(asked.word(), "pending_approval");
    let event = world.last_decision().await;
    assert!(size(&event) > text.len());
    // I11: a decision that did not depend on what is cut can be decided again, and one that may have is not judged.
    let report = replay_recorded(&*world.gate.store, EventQuery::default(), &mut |_| {}).await.unwrap();
    assert_eq!((report.differs, report.unjudgeable), (0, 1), "{report:#?}");
}

/// I12: counts outlive a reload and the end of the process.
#[tokio::test]
async fn counts_are_written_at_a_reload_and_at_the_end() {
    let clock = noon();
    let world = world(&clock).await;
    let client = world.bare("ada");
    for n in 0..3 {
        client.call("up__delete", json!({"n": n})).await;
    }
    world.reload(&RULES.replace("id: deletes", "id: removes")).await;
    let counts = async || {
        let events = world.events().await;
        let counts =
            events.iter().filter_map(|e| Some((e.draft.rule_id.clone()?, Counted::of(&e.draft)?.count)));
        counts.map(|(rule, count)| (rule.to_string(), count)).collect::<Vec<_>>()
    };
    assert_eq!(counts().await, [("deletes".to_owned(), 2)]);
    // Under other policies the first is whole again.
    for n in 0..4 {
        client.call("up__delete", json!({"n": n})).await;
    }
    let events = world.events().await;
    assert_eq!(decisions(&events).len(), 3);
    soon(world.gate.gateway.shutdown()).await;
    assert_eq!(counts().await, [("deletes".to_owned(), 2), ("removes".to_owned(), 3)]);
}

/// A rejection that stands is recorded once for its approval, and what was asked about is ended one by one.
#[tokio::test]
async fn a_standing_rejection_is_counted() {
    let clock = noon();
    let world = world(&clock).await;
    let client = world.bare("ada");
    let call = async || client.call("up__write", json!({"path": "/a", "content": "x"})).await;
    let id = pending(&call().await);
    assert_eq!(world.decide("carol", &id, "reject").await, 200);
    let before = decisions(&world.events().await).len();
    for _ in 0..5 {
        assert_eq!(call().await.word(), "rejected");
    }
    assert_eq!(decisions(&world.events().await).len(), before + 1);
    clock.advance(Duration::from_secs(60));
    let counted = world.until_event(|e| Counted::of(&e.draft).is_some()).await;
    assert_eq!(counted.draft.approval_id.as_deref(), Some(&*id));
    assert_eq!(counted.draft.decision, Some(EventDecision::Rejected));
    assert_eq!(Counted::of(&counted.draft).unwrap().count, 4);
}
