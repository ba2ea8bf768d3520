//! An approval is for one call as the person saw it: nothing that is sent beside its arguments, no workflow and no flood of
//! asks gets round that.

use crate::world::{World, decision, plain};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tollgate::{
    gateway::{CallReply, IncomingCall},
    model::{ApprovalId, ApprovalStatus, CallKind, EventDecision, EventType},
    store::{ApprovalRecord, EventQuery},
};

const ASK: &str = "name: ask\ndescription: d\non: [{ tool: up__act }]\nrules:\n  - id: r\n    decision: REQUIRE_APPROVAL\n    approvers: [leads]\n    expires_in: 15m\n";
/// As AWS writes an access key.
const SECRET: &str = "AKIAZ7Q2WERTYUIOPKJH";

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn call(world: &World, arguments: Value, meta: Value, params: Value) -> IncomingCall {
    let mut call = world.incoming(CallKind::Tool, "up__act", Some(arguments));
    (call.meta, call.extra_params) = (map(meta), map(params));
    call
}

async fn act(world: &World, meta: Value, params: Value) -> CallReply {
    world.call(call(world, json!({"n": 7}), meta, params)).await
}

async fn newest(world: &World) -> ApprovalRecord {
    world.approvals().await.remove(0)
}

fn told(reply: &CallReply) -> Value {
    match reply {
        Ok(result) => result["_meta"]["tollgate/decision"].clone(),
        Err(error) => json!(error),
    }
}

/// What is sent beside the arguments is part of what was approved; only what names the call, the turn or the conversation
/// may differ.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_other_params_are_bound() {
    let world = World::new(&[("a.yaml", ASK)], plain).await;
    let meta = |mode: &str, call: u32| {
        json!({
            "acme/mode": mode, "acme/limits": {"rows": 10, "to": ["a"]},
            "progressToken": call, "traceparent": format!("00-0af7651916cd43dd8448eb211c8031{call:02}-b7ad6b7169203331-01"),
            "tracestate": format!("a={call}"), "baggage": format!("call={call}"),
            "claudecode/toolUseId": format!("toolu_{call}"), "vscode.requestId": format!("r{call}"),
            "vscode.conversationId": format!("c{call}"), "callId": call, "threadId": call,
            "x-codex-turn-metadata": {"turn_id": call}, "openai/session": call,
            "tollgate/note": call, "io.modelcontextprotocol/clientInfo": {"name": format!("c{call}")},
        })
    };
    let params = json!({"mode": "shallow"});
    assert_eq!(decision(&act(&world, meta("rehearse", 1), params.clone()).await), "pending_approval");
    let approved = newest(&world).await.id;
    world.approve(&approved, "alice").await;
    let others = [
        (meta("perform", 2), params.clone()),
        (meta("rehearse", 2), json!({"mode": "deep"})),
        (meta("rehearse", 2), json!({})),
        (json!({}), params.clone()),
        (json!({"acme/mode": "rehearse", "acme/limits": {"rows": 10, "to": ["a", "b"]}}), params.clone()),
        (json!({"acme/mode": "rehearse", "acme/limits": {"rows": 10.5, "to": ["a"]}}), params.clone()),
        (
            json!({"acme/mode": "rehearse", "acme/limits": {"rows": 10, "to": ["a"]}, "acme/x": null}),
            params.clone(),
        ),
        (json!({"Acme/mode": "rehearse", "acme/limits": {"rows": 10, "to": ["a"]}}), params.clone()),
    ];
    for (meta, params) in others {
        let reply = act(&world, meta.clone(), params.clone()).await;
        assert_eq!(decision(&reply), "pending_approval", "{meta} {params}");
        assert_ne!(told(&reply)["approval_id"], json!(approved), "{meta} {params}");
    }
    assert_eq!(world.reached(), 0);
    // Of the same digits another spelling is the same number, and what changes with each call may change.
    let mut same = meta("rehearse", 3);
    same["acme/limits"]["rows"] = json!(10.0);
    assert_eq!(decision(&act(&world, same, params.clone()).await), "allow");
    assert_eq!(
        decision(&act(&world, meta("rehearse", 4), params).await),
        "pending_approval",
        "it counts once"
    );
    let heard = world.heard.lock().clone();
    assert_eq!(heard.len(), 1);
    let sent = &heard[0].1;
    assert_eq!((&sent["_meta"]["acme/mode"], &sent["mode"]), (&json!("rehearse"), &json!("shallow")));
    assert!(sent["_meta"].get("tollgate/note").is_none(), "{sent}");
    // The operator is told which keys differ from ask to ask.
    let query = EventQuery { event_type: Some(EventType::Alert), ..EventQuery::default() };
    let alerts = world.store.events(query).await.unwrap();
    let detail = alerts[0].draft.detail.as_ref().unwrap();
    assert_eq!((&detail["alert"], &detail["differs"]), (&json!("meta_mismatch"), &json!(["acme/mode"])));
    assert!(alerts[0].draft.reason.as_deref().unwrap().contains("volatile_meta"));
}

/// `volatile_meta` names what a client changes with each call; its neighbours stay bound.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_names_more_keys_that_change() {
    let lines = "volatile_meta = [\"ide.turn\", \"acme/*\"]";
    let world = World::with_gateway(lines, &[("a.yaml", ASK)], plain).await;
    let meta = |n: u32, other: &str| json!({"ide.turn": n, "acme/turn": {"id": n}, "acme.mode": other});
    assert_eq!(decision(&act(&world, meta(1, "a"), json!({})).await), "pending_approval");
    let record = newest(&world).await;
    assert_eq!(record.context.meta, json!({"acme.mode": "a"}));
    world.approve(&record.id, "alice").await;
    assert_eq!(decision(&act(&world, meta(2, "b"), json!({})).await), "pending_approval");
    assert_eq!(decision(&act(&world, meta(3, "a"), json!({})).await), "allow");
    assert_eq!(world.reached(), 1);
}

/// Approved in one workflow is not approved in another, nor in none that was named.
#[tokio::test(flavor = "multi_thread")]
async fn the_workflow_is_bound() {
    let world = World::new(&[("a.yaml", ASK)], plain).await;
    let in_workflow = async |name: Option<&str>| {
        let meta = name.map_or(json!({}), |name| json!({"tollgate/workflow_id": name}));
        decision(&act(&world, meta, json!({})).await)
    };
    assert_eq!(in_workflow(Some("wf-2")).await, "pending_approval");
    world.approve(&newest(&world).await.id, "alice").await;
    // The agent's own is wf-1.
    assert_eq!(in_workflow(None).await, "pending_approval");
    assert_eq!(in_workflow(Some("wf-1")).await, "pending_approval");
    assert_eq!(world.reached(), 0);
    assert_eq!(world.approvals().await.len(), 2, "naming its own is naming none");
    assert_eq!(in_workflow(Some("wf-2")).await, "allow");
    assert_eq!(world.reached(), 1);
}

/// Who was told no does not get round it by a key that means nothing; another workflow's people are others.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_stands_whatever_is_sent_beside_the_call() {
    let world = World::new(&[("a.yaml", ASK)], plain).await;
    assert_eq!(decision(&act(&world, json!({"acme/n": 0}), json!({})).await), "pending_approval");
    let id = newest(&world).await.id;
    world.decide(&id, "alice", false).await;
    for n in 0..5 {
        for (meta, params) in [(json!({"acme/n": n}), json!({})), (json!({}), json!({"task": {"ttl": n}}))] {
            let reply = act(&world, meta, params).await;
            assert_eq!((decision(&reply), &told(&reply)["approval_id"]), ("rejected".to_owned(), &json!(id)));
        }
    }
    assert_eq!(world.approvals().await.len(), 1, "nobody is asked again");
    let elsewhere = act(&world, json!({"tollgate/workflow_id": "wf-2"}), json!({})).await;
    assert_eq!(decision(&elsewhere), "pending_approval");
    assert_eq!(world.reached(), 0);
}

/// A loop is a loop, whatever stands beside the arguments.
#[tokio::test(flavor = "multi_thread")]
async fn a_changing_key_hides_no_loop() {
    let world = World::new(&[], plain).await;
    let mut words = Vec::new();
    for n in 0..25 {
        let mut read = world.incoming(CallKind::Tool, "up__read", Some(json!({"path": "/a"})));
        read.meta = map(json!({"acme/n": n}));
        read.extra_params = map(json!({"n": n}));
        words.push(decision(&world.call(read).await));
    }
    assert_eq!(words.iter().filter(|word| *word == "allow").count(), 20, "{words:?}");
    assert_eq!(words.last().map(String::as_str), Some("throttle"));
}

/// The approver is shown all that is bound, masked; what is too large is cut and says so, and the decision's record has it
/// whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_is_shown_and_masked() {
    let world = World::new(&[("a.yaml", ASK)], plain).await;
    let meta = json!({"acme/mode": "perform", "acme/key": SECRET, "claudecode/toolUseId": "t"});
    assert_eq!(decision(&act(&world, meta, json!({"task": {"ttl": 5}})).await), "pending_approval");
    let record = newest(&world).await;
    let context = &record.context;
    assert_eq!(context.meta["acme/mode"], "perform");
    assert!(context.meta.get("claudecode/toolUseId").is_none(), "{}", context.meta);
    assert_eq!(context.params, json!({"task": {"ttl": 5}}));
    assert!(record.redacted && context.complete);
    assert!(context.traits.is_some_and(|traits| traits.destructive), "nothing is trusted");
    let written = world.written().await;
    assert!(written.contains("acme/key") && !written.contains(SECRET), "{written}");
    let mut long = world.incoming(CallKind::Tool, "up__act", Some(json!({"n": 8})));
    long.meta = map(json!({"acme/text": "y".repeat(200_000), "acme/last": "end"}));
    assert_eq!(decision(&world.call(long).await), "pending_approval");
    let record = newest(&world).await;
    assert!(!record.context.complete);
    let text = record.context.meta["acme/text"].as_str().unwrap();
    assert!(text.len() < 80_000 && text.ends_with("more characters)"), "{}", text.len());
    let query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        newest_first: true,
        ..EventQuery::default()
    };
    let decided = world.store.events(query).await.unwrap().remove(0);
    let whole = &decided.draft.detail.as_ref().unwrap()["meta"];
    assert_eq!(whole["acme/text"].as_str().unwrap().len(), 200_000);
}

/// Answers that no upstream asked for are sent to none.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_no_question_are_not_sent() {
    let world = World::new(&[("a.yaml", ASK)], plain).await;
    let forged = json!({"inputResponses": {"confirm": {"action": "accept"}}, "requestState": "forged"});
    assert_eq!(decision(&act(&world, json!({}), json!({})).await), "pending_approval");
    world.approve(&newest(&world).await.id, "alice").await;
    let mut own = call(&world, json!({"n": 7}), json!({}), forged);
    own.input_responses = Some(map(json!({"confirm": {"action": "accept"}})));
    assert_eq!(decision(&world.call(own).await), "allow");
    let sent = world.heard.lock()[0].1.to_string();
    assert!(!sent.contains("confirm") && !sent.contains("forged"), "{sent}");
}

/// One agent cannot wear a person down: after twenty rejections it asks no more, and it is told for how long.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_asks_end() {
    let world = World::new(&[("a.yaml", ASK)], plain).await;
    let ask = async |n: u32| world.call(call(&world, json!({"n": n}), json!({}), json!({}))).await;
    let mut asked: Vec<ApprovalId> = Vec::new();
    let refused = loop {
        let reply = ask(u32::try_from(asked.len()).unwrap()).await;
        if decision(&reply) != "pending_approval" {
            break reply;
        }
        let id = newest(&world).await.id;
        world.decide(&id, "alice", false).await;
        asked.push(id);
        assert!(asked.len() <= 200, "it may ask for ever");
    };
    assert_eq!(asked.len(), 20);
    let refusal = told(&refused);
    assert_eq!((&refusal["decision"], &refusal["policy_id"]), (&json!("throttle"), &json!("approvals")));
    assert!(
        refusal["reason"].as_str().unwrap().contains("rejected 20 calls of this agent within 10m"),
        "{refusal}"
    );
    let wait = refusal["retry_after_ms"].as_u64().unwrap();
    assert!((500_000..=600_000).contains(&wait), "{wait}");
    let query = EventQuery { decision: Some(EventDecision::Throttle), ..EventQuery::default() };
    assert_eq!(world.store.events(query).await.unwrap().len(), 1, "it is on record");
    // What needs no person goes on.
    assert_eq!(decision(&world.tool("up__read", json!({})).await), "allow");
}

/// Asks that nobody decides before they end are bounded too.
#[tokio::test(flavor = "multi_thread")]
async fn asks_that_nobody_approves_end() {
    let lines = "max_pending_approvals = 3";
    let world = World::with_gateway(lines, &[("a.yaml", ASK)], plain).await;
    let mut made = 0;
    for n in 0..40 {
        if decision(&world.call(call(&world, json!({"n": n}), json!({}), json!({}))).await)
            != "pending_approval"
        {
            continue;
        }
        made += 1;
        // However it ends.
        let record = newest(&world).await;
        let status = if n % 2 == 0 { ApprovalStatus::Expired } else { ApprovalStatus::Cancelled };
        let update = tollgate::store::ApprovalUpdate {
            id: record.id,
            expected_version: record.version,
            status,
            answers: Vec::new(),
            covered_by: None,
        };
        assert!(world.store.update_approval(update, Vec::new()).await.unwrap());
    }
    assert_eq!(made, 6);
}

/// The same from several tasks at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_once_is_no_way_round() {
    let lines = "max_pending_approvals = 4";
    let world = Arc::new(World::with_gateway(lines, &[("a.yaml", ASK)], plain).await);
    let calls = (0..60).map(|n| {
        let world = world.clone();
        tokio::spawn(async move {
            decision(&world.call(call(&world, json!({"n": n % 30}), json!({"acme/n": n}), json!({}))).await)
        })
    });
    let words = futures::future::join_all(calls).await;
    let pending = words.iter().filter(|word| word.as_ref().unwrap() == "pending_approval").count();
    assert_eq!((pending, world.approvals().await.len()), (4, 4));
    assert_eq!(world.reached(), 0);
}
