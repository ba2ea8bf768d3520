//! `catalog = "search"`: two tools in place of all, and the same governance.

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::model::EventType;

const FIND: &str = "tollgate__find_tools";
const CALL: &str = "tollgate__call_tool";

async fn world(files: &str) -> World {
    let gateway = "approval_wait = \"200ms\"\ncatalog = \"search\"".to_owned();
    World::start(Setup { files: files.to_owned(), gateway, ..Setup::default() }).await
}

fn names(found: &Value) -> Vec<&str> {
    found["structuredContent"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect()
}

/// Listed are two; found is what the agent may use (I7), best first, with what it takes; the call goes its own way.
#[tokio::test]
async fn what_is_found_is_called_under_its_own_name() {
    let world = world("").await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        assert_eq!(client.tools().await, [CALL, FIND]);
        let reply = client.call(FIND, json!({"query": "read a file"})).await;
        let found = reply.ok();
        assert_eq!(names(found).first(), Some(&"up__read"), "{found:#}");
        assert!(found["structuredContent"]["tools"][0]["inputSchema"].is_object(), "{found:#}");
        let tokens = &found["structuredContent"]["tokens"];
        assert!(tokens["full"].as_u64().unwrap() > 0 && tokens["listed"].as_u64().unwrap() > 0, "{tokens}");
        let arguments = json!({"path": "/a", "n": 1});
        let before = world.up.count();
        let reply = client.call(CALL, json!({"name": "up__read", "arguments": arguments})).await;
        assert_eq!(reply.echoed(), arguments);
        assert_eq!(world.up.count(), before + 1);
        let decision = world.last_decision().await.draft;
        assert_eq!(decision.tool.as_deref(), Some("up__read"));
        // The tools themselves can be called too.
        client.call("up__read", arguments).await.ok();
    }
    let searches: Vec<_> = world
        .events()
        .await
        .into_iter()
        .filter(|e| e.draft.policy_id.as_deref() == Some("catalog"))
        .collect();
    assert_eq!(searches.len(), 2);
    assert_eq!(searches[0].draft.event_type, EventType::AgentDecision);
    assert_eq!(searches[0].draft.tool.as_deref(), Some(FIND));
    assert_eq!(searches[0].draft.detail.as_ref().unwrap()["arguments"]["query"], "read a file");
}

/// I7, R25: nothing gets through this way that would not get through by itself.
#[tokio::test]
async fn it_is_no_way_round() {
    let gate = "=== gate.yaml
name: deletes
description: Nobody deletes
on: [{ tool: up__delete }]
rules: [{ id: never, decision: DENY }]
=== ask.yaml
name: writes
description: A person agrees
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator] }]
";
    let world = world(gate).await;
    let narrow = world.modern("narrow");
    let found = narrow.call(FIND, json!({"query": "read write delete echo", "limit": 50})).await;
    assert_eq!(names(found.ok()), ["up__read"]);
    let hidden = narrow.call(CALL, json!({"name": "up__write", "arguments": {}})).await;
    let absent = narrow.call(CALL, json!({"name": "up__nothing", "arguments": {}})).await;
    assert_eq!(hidden.error()["code"], absent.error()["code"]);
    let ada = world.modern("ada");
    let denied = ada.call(CALL, json!({"name": "up__delete", "arguments": {"path": "/a"}})).await;
    assert_eq!(denied.decision()["policy_id"], "deletes");
    for nested in [CALL, FIND] {
        let reply = ada.call(CALL, json!({"name": nested, "arguments": {"name": "up__read"}})).await;
        assert_eq!(reply.error()["code"], -32602, "{nested}: {:#}", reply.body);
    }
    for wrong in [json!({}), json!({"name": 1}), json!({"name": "up__read", "arguments": 1})] {
        assert_eq!(ada.call(CALL, wrong.clone()).await.decision()["policy_id"], "schema", "{wrong}");
    }
    assert_eq!(ada.call(FIND, json!({"query": ""})).await.decision()["policy_id"], "schema");
    assert_eq!(world.up.count(), 0);

    // An approval is asked for, bound to, and given to the call that is meant.
    let arguments = json!({"name": "up__write", "arguments": {"path": "/a"}});
    let asked = ada.call(CALL, arguments.clone()).await;
    let (_, state) = asked.question();
    ada.retry(CALL, arguments.clone(), state, form("approve")).await.ok();
    assert_eq!(world.up.count(), 1);
    assert_eq!(world.approvals().await[0].binding.tool, "up__write");
    let legacy = world.legacy("ada").await;
    legacy.call_answering(CALL, arguments, form("approve")).await.ok();
    assert_eq!(world.up.count(), 2);
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

/// In the usual mode there are no such tools; a reload turns them on for the next message.
#[tokio::test]
async fn the_mode_is_reloaded() {
    let world = World::of("").await;
    let client = world.legacy("ada").await;
    assert!(client.tools().await.contains(&"up__read".to_owned()));
    assert_eq!(client.call(FIND, json!({"query": "read"})).await.error()["code"], -32602);
    let servers = world.dir.join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    std::fs::write(&servers, text.replacen("[gateway]\n", "[gateway]\ncatalog = \"search\"\n", 1)).unwrap();
    world.reload("").await;
    assert_eq!(client.tools().await, [CALL, FIND]);
}
