//! `tollgate__review_approvals`: people decide in their own MCP client.

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::{model::ApprovalStatus, policy::ChannelKind};

const TOOL: &str = "tollgate__review_approvals";

fn gate(keys: &str) -> String {
    format!(
        "=== ask.yaml\nname: writes\ndescription: d\non: [{{ tool: up__write }}]\nrules: [{{ id: ask, decision: REQUIRE_APPROVAL, {keys} }}]\n"
    )
}

async fn ask(world: &World, n: u32) -> String {
    pending(&world.bare("bot").call("up__write", json!({ "n": n })).await)
}

async fn status(world: &World, id: &str) -> ApprovalStatus {
    world.approvals().await.into_iter().find(|r| r.id.as_str() == id).unwrap().status
}

/// Only approvers see it, agents do not, and nobody sees anything else of the gateway's.
#[tokio::test]
async fn only_approvers_have_the_tool() {
    let world = World::of(&gate("approvers: [leads]")).await;
    for client in [world.modern("carol"), world.legacy("carol").await] {
        assert_eq!(client.tools().await, [TOOL]);
        assert!(client.names("resources/list", "resources").await.is_empty());
        let other = client.call("up__read", json!({"path": "/a"})).await;
        assert_eq!(other.error()["code"], -32602);
    }
    for who in ["dan", "ada"] {
        let client = world.modern(who);
        assert!(!client.tools().await.contains(&TOOL.to_owned()));
        assert_eq!(client.call(TOOL, json!({})).await.error()["code"], -32602);
    }
    assert_eq!(world.up.count(), 0);
}

/// Legacy: one after the other during the call; what is cancelled stays as it was.
#[tokio::test]
async fn a_legacy_client_is_asked_one_by_one() {
    let world = World::of(&gate("approvers: [leads]")).await;
    let ids = [ask(&world, 1).await, ask(&world, 2).await, ask(&world, 3).await];
    let carol = world.legacy("carol").await;
    let mut asked = Vec::new();
    let reply = carol
        .request_with("tools/call", json!({"name": TOOL, "arguments": {}}), |question| {
            asked.push(question["params"]["message"].as_str().unwrap().to_owned());
            Some(match asked.len() {
                1 => json!({"action": "accept", "content": {"decision": "approve", "comment": "fine"}}),
                2 => json!({"action": "decline"}),
                _ => json!({"action": "cancel"}),
            })
        })
        .await;
    assert_eq!(asked.len(), 3);
    assert!(asked[0].contains("Agent: bot") && asked[0].contains("\"n\": 1"), "{}", asked[0]);
    assert_eq!(reply.ok()["structuredContent"]["left"], 1);
    let statuses =
        [status(&world, &ids[0]).await, status(&world, &ids[1]).await, status(&world, &ids[2]).await];
    assert_eq!(statuses, [ApprovalStatus::Approved, ApprovalStatus::Rejected, ApprovalStatus::Pending]);
    let record = world.approvals().await.into_iter().find(|r| r.id.as_str() == ids[0]).unwrap();
    assert_eq!((record.answers[0].person.as_str(), record.answers[0].channel), ("carol", ChannelKind::Mcp));
    world.bare("bot").call("up__write", json!({"n": 1})).await.ok();
    assert_eq!(world.up.count(), 1);
}

/// Modern: in results, with a state that only this person can bring back; what it was not shown it cannot answer.
#[tokio::test]
async fn a_modern_client_is_asked_in_results() {
    let world = World::of(&gate("approvers: [leads]")).await;
    let (first, second) = (ask(&world, 1).await, ask(&world, 2).await);
    let carol = world.modern("carol");
    let shown = carol.call(TOOL, json!({})).await;
    let result = &shown.body["result"];
    assert_eq!(result["resultType"], "input_required", "{:#}", shown.body);
    let names: Vec<&str> = result["inputRequests"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, [first.as_str(), second.as_str()]);
    let state = result["requestState"].clone();
    let later = ask(&world, 3).await;
    let yes = json!({"action": "accept", "content": {"decision": "approve"}});
    let retry = |responses: Value, state: Value| json!({"name": TOOL, "arguments": {}, "inputResponses": responses, "requestState": state});
    // Another person's state, a changed one, and none.
    let both = json!({first.as_str(): yes, second.as_str(): yes, later.as_str(): yes});
    let alice = world.modern("alice");
    let stolen = alice.request("tools/call", retry(both.clone(), state.clone())).await;
    assert_eq!(stolen.error()["code"], -32602);
    let changed = json!(format!("{}x", state.as_str().unwrap()));
    assert_eq!(carol.request("tools/call", retry(both.clone(), changed)).await.error()["code"], -32602);
    let unasked = json!({"name": TOOL, "arguments": {}, "inputResponses": both});
    assert_eq!(carol.request("tools/call", unasked).await.body["result"]["resultType"], "input_required");
    for id in [&first, &second, &later] {
        assert_eq!(status(&world, id).await, ApprovalStatus::Pending);
    }
    // One is answered, one is not, and one more has come meanwhile: it is shown next.
    let answers = json!({first.as_str(): yes, later.as_str(): yes});
    let next = carol.request("tools/call", retry(answers, state.clone())).await;
    let shown: Vec<&String> = next.body["result"]["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(shown, [&later]);
    assert_eq!(status(&world, &first).await, ApprovalStatus::Approved);
    assert_eq!(status(&world, &later).await, ApprovalStatus::Pending);
    let state = next.body["result"]["requestState"].clone();
    let done = carol.request("tools/call", retry(json!({}), state)).await;
    assert_eq!(done.ok()["structuredContent"]["left"], 2);
    assert!(done.text().contains("approved: `up__write` for `bot`"), "{}", done.text());
}

/// What somebody else decided meanwhile, what needs evidence, and whom the rule does not name.
#[tokio::test]
async fn what_cannot_be_decided_is_told() {
    let world = World::of(&gate("approvers: [leads], evidence_required: true")).await;
    let id = ask(&world, 1).await;
    // Bob is in security, and not asked at all.
    let bob = world.modern("bob").call(TOOL, json!({})).await;
    assert!(bob.text().contains("Nothing waits"), "{}", bob.text());
    let bare = world.bare("carol").call(TOOL, json!({})).await;
    assert_eq!(bare.body["result"]["structuredContent"]["pending"], json!([id]));
    let carol = world.modern("carol");
    let shown = carol.call(TOOL, json!({})).await;
    let state = &shown.body["result"]["requestState"];
    let form = &shown.body["result"]["inputRequests"][&id]["params"]["requestedSchema"];
    assert_eq!(form["required"], json!(["decision"]));
    let with = |state: &Value, content: Value| {
        json!({"name": TOOL, "arguments": {}, "requestState": state,
            "inputResponses": {id.as_str(): {"action": "accept", "content": content}}})
    };
    let answer = |content: Value| with(state, content);
    // Once more, and then it is told.
    let again = carol.request("tools/call", answer(json!({"decision": "approve"}))).await;
    let result = &again.body["result"];
    let message = result["inputRequests"][&id]["params"]["message"].as_str().unwrap();
    assert!(message.starts_with("An approval of this needs evidence"), "{message}");
    let without = with(&result["requestState"], json!({"decision": "approve", "evidence": " "}));
    let without = carol.request("tools/call", without).await;
    assert!(without.text().contains("needs evidence"), "{}", without.text());
    assert_eq!(world.decide("alice", &id, "reject").await, 200);
    let late = carol.request("tools/call", answer(json!({"decision": "approve", "evidence": "T-1"}))).await;
    assert!(late.text().contains("already rejected"), "{}", late.text());
    assert_eq!(status(&world, &id).await, ApprovalStatus::Rejected);
    assert_eq!(carol.call(TOOL, json!({"all": true})).await.error()["code"], -32602);
}
