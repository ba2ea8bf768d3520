//! `/metrics`: what calls, people, upstreams and the store are counted as.

use crate::harness::*;
use serde_json::json;
use tollgate::telemetry::{OPEN_METRICS, PLAIN};

const RULES: &str = "=== no.yaml
name: no
description: d
on: [{ tool: up__delete }]
rules: [{ id: no, decision: DENY, reason: not here }]
=== ask.yaml
name: ask
description: d
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads] }]
";

/// The exposition, and its `Content-Type`.
async fn scrape(world: &World, accept: Option<&str>) -> (String, String) {
    let mut request = world.http.get(format!("{}/metrics", world.gate.admin));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let reply = soon(request.send()).await.unwrap();
    assert_eq!(reply.status(), 200);
    let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, reply.text().await.unwrap())
}

/// The value of the one sample that has this name and all these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.split(" # ").next()?;
        let (given, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        labels.iter().all(|label| given.contains(label)).then(|| value.parse::<f64>().unwrap())
    });
    let one = found.next();
    assert_eq!(found.next(), None, "{name} {labels:?} is ambiguous");
    one
}

/// R91: each call is counted by kind, upstream and decision; durations fall into the convention's buckets; and what an agent makes
/// up is no label.
#[tokio::test]
async fn calls_are_counted() {
    let world = World::of(RULES).await;
    let client = world.legacy("ada").await;
    client.tools().await;
    for n in 0..3 {
        client.call("up__echo", json!({"n": n})).await.ok();
    }
    assert_eq!(client.call("up__delete", json!({})).await.word(), "deny");
    for n in 0..50 {
        client.call(&format!("up__made_up_{n}"), json!({})).await;
    }
    client.request("resources/read", json!({"uri": "file:///open/a.txt"})).await;
    let stranger = world.http.get(format!("{}/api/v1/me", world.gate.admin)).bearer_auth("nobody");
    assert_eq!(soon(stranger.send()).await.unwrap().status(), 401);
    world.until_settled(4).await;
    let (kind, text) = scrape(&world, None).await;
    assert_eq!(kind, PLAIN);
    let of = |name: &str, labels: &[&str]| value(&text, name, labels);
    let calls = |labels: &[&str]| of("tollgate_calls_total", labels);
    let tool = r#"kind="tool""#;
    assert_eq!(calls(&[tool, r#"upstream="up""#, r#"decision="allow""#]), Some(3.0), "{text}");
    assert_eq!(calls(&[tool, r#"upstream="up""#, r#"decision="deny""#]), Some(1.0));
    assert_eq!(calls(&[r#"kind="resource""#, r#"decision="allow""#]), Some(1.0));
    assert!(!text.contains("made_up"), "an agent's inventions are no labels");
    let mcp = "mcp_server_operation_duration_seconds";
    let call = r#"mcp_method_name="tools/call""#;
    let echo = [call, r#"gen_ai_tool_name="up__echo""#, r#"network_transport="tcp""#];
    assert_eq!(of(&format!("{mcp}_count"), &echo), Some(3.0), "{text}");
    let refused = [call, r#"gen_ai_tool_name="up__delete""#, r#"error_type="tool_error""#];
    assert_eq!(of(&format!("{mcp}_count"), &refused), Some(1.0));
    assert_eq!(of(&format!("{mcp}_count"), &[r#"mcp_method_name="tools/list""#]), Some(1.0));
    assert_eq!(of(&format!("{mcp}_count"), &[r#"mcp_method_name="initialize""#]), Some(1.0));
    let unknown = [call, r#"error_type="-32602""#, r#"rpc_response_status_code="-32602""#];
    assert_eq!(of(&format!("{mcp}_count"), &unknown), Some(50.0), "{text}");
    let sent = [call, r#"gen_ai_tool_name="echo""#, r#"tollgate_upstream="up""#];
    assert_eq!(of("mcp_client_operation_duration_seconds_count", &sent), Some(3.0));
    let buckets: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(&format!("{mcp}_bucket")) && line.contains("up__echo"))
        .map(|line| line.split("le=\"").nth(1).unwrap().split('"').next().unwrap())
        .collect();
    let convention = "0.01 0.02 0.05 0.1 0.2 0.5 1.0 2.0 5.0 10.0 30.0 60.0 120.0 300.0 +Inf";
    assert_eq!(buckets.join(" "), convention);
    let all: f64 = text
        .lines()
        .filter(|line| line.starts_with("tollgate_call_duration_seconds_count"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((all - 55.0).abs() < 1e-9, "{text}");
    assert_eq!(of("tollgate_overhead_seconds_count", &[tool]), Some(54.0));
    assert_eq!(of("tollgate_store_admit_seconds_count", &[]), Some(4.0));
    assert!(of("tollgate_cost_usd_total", &[r#"agent="ada""#]).unwrap() > 0.0);
    assert!(of("tollgate_tokens_total", &[r#"agent="ada""#]).unwrap() > 0.0);
    assert_eq!(of("tollgate_auth_failures_total", &[r#"reason="unknown""#]), Some(1.0));
    assert_eq!(of("tollgate_upstream_up", &[r#"upstream="up""#]), Some(1.0));
    assert_eq!(of("tollgate_store_up", &[]), Some(1.0));
    assert!(of("tollgate_store_records", &[]).unwrap() >= 10.0);
    for name in [
        "approvals_pending",
        "freezes",
        "dead_letters_open",
        "tools_quarantined",
        "store_unsettled",
        "store_damaged",
    ] {
        assert_eq!(of(&format!("tollgate_{name}"), &[]), Some(0.0), "{name}");
    }
    assert!(text.contains("# TYPE tollgate_estimate_error_ratio histogram"));
}

/// A person is waited for and counted; the wait is no part of what Tollgate itself took.
#[tokio::test]
async fn people_are_waited_for() {
    let world = World::of(RULES).await;
    let client = world.modern("bot");
    let id = pending(&client.call("up__write", json!({"path": "/a"})).await);
    let (_, text) = scrape(&world, None).await;
    assert_eq!(value(&text, "tollgate_approvals_pending", &[]), Some(1.0), "{text}");
    assert_eq!(value(&text, "tollgate_calls_total", &[r#"decision="pending_approval""#]), Some(1.0));
    assert_eq!(world.decide("alice", &id, "approve").await, 200);
    let (_, text) = scrape(&world, None).await;
    assert_eq!(
        value(&text, "tollgate_approval_wait_seconds_count", &[r#"outcome="approved""#]),
        Some(1.0),
        "{text}"
    );
    client.call("up__write", json!({"path": "/a"})).await.ok();
    let (_, text) = scrape(&world, None).await;
    assert_eq!(value(&text, "tollgate_calls_total", &[r#"decision="approved""#]), Some(1.0));
}

/// OpenMetrics, where it is asked for: with the trace in which something was measured.
#[tokio::test]
async fn exemplars_name_a_trace() {
    let world = World::of(RULES).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let meta = json!({"traceparent": format!("00-{trace}-00f067aa0ba902b7-01")});
    let params = json!({"name": "up__echo", "arguments": {}, "_meta": meta});
    let client = world.legacy("ada").await;
    client.request("tools/call", params).await.ok();
    let (kind, text) =
        scrape(&world, Some("application/openmetrics-text; version=1.0.0, text/plain;q=0.5")).await;
    assert_eq!(kind, OPEN_METRICS);
    assert!(text.ends_with("# EOF\n"));
    for name in [
        "tollgate_call_duration_seconds_bucket",
        "tollgate_overhead_seconds_bucket",
        "mcp_server_operation_duration_seconds_bucket",
        "mcp_client_operation_duration_seconds_bucket",
    ] {
        let exemplar = format!("# {{trace_id=\"{trace}\"}} ");
        assert!(
            text.lines().any(|line| line.starts_with(name) && line.contains(&exemplar)),
            "{name}\n{text}"
        );
    }
}
