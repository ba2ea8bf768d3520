//! Every decision of SPEC 4, end to end.

use crate::harness::*;
use serde_json::json;

/// R14: allowed, in both eras, and the arguments arrive as they were sent.
#[tokio::test]
async fn an_allowed_call_passes_unchanged() {
    let world = World::of("").await;
    let arguments =
        json!({"path": "/a", "n": 12345678901234567890123_u128.to_string(), "deep": [{"x": null}]});
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let reply = client.call("up__read", arguments.clone()).await;
        assert_eq!(reply.echoed(), arguments);
    }
    assert_eq!(world.up.count(), 2);
    assert!(world.up.calls().iter().all(|seen| seen.tool() == "read"));
}

/// R14: a deny says which policy and rule, and nothing is dispatched.
#[tokio::test]
async fn a_denied_call_says_why_and_goes_nowhere() {
    let world = World::of(
        "=== gate.yaml
name: deletes
description: Nobody deletes
on: [{ label: destructive }]
rules:
  - { id: never, decision: DENY, reason: nobody deletes here }
",
    )
    .await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let reply = client.call("up__delete", json!({"path": "/a"})).await;
        let decision = reply.decision();
        assert_eq!(decision["decision"], "deny");
        assert_eq!(decision["policy_id"], "deletes");
        assert_eq!(decision["rule_id"], "never");
        assert_eq!(decision["trace_id"].as_str().unwrap().len(), 32);
        assert!(decision["policy_snapshot"].as_str().is_some_and(|text| !text.is_empty()));
        for word in ["up__delete", "deletes", "never", "nobody deletes here"] {
            assert!(reply.text().contains(word), "{}", reply.text());
        }
    }
    assert_eq!(world.up.count(), 0);
}
