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
    let nameless = text.lines().find(|line| {
        line.starts_with("mcp_client_operation_duration_seconds_count")
            && line.contains(call)
            && !line.contains("gen_ai_tool_name")
    });
    assert_eq!(nameless, None, "each call is measured once");
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
    // What we ask of an upstream ourselves is measured as what agents ask.
    for method in ["tools/list", "resources/list"] {
        let labels = [&*format!("mcp_method_name=\"{method}\""), r#"tollgate_upstream="up""#];
        let asked = of("mcp_client_operation_duration_seconds_count", &labels);
        assert!(asked.is_some_and(|asked| asked >= 1.0), "{method}: {text}");
    }
    let opened = ["initialize", "server/discover"].map(|method| {
        of("mcp_client_operation_duration_seconds_count", &[&format!("mcp_method_name=\"{method}\"")])
    });
    assert!(opened.iter().any(Option::is_some), "{text}");
    assert_eq!(of("tollgate_estimate_error_ratio_count", &[]), Some(4.0), "{text}");
    for kind in ["deny_rate", "loop", "upstream_down", "duty"] {
        assert_eq!(of("tollgate_alerts_open", &[&format!("kind=\"{kind}\"")]), Some(0.0), "{kind}");
    }
}

/// An ask that the agent's own client answers with a retry (2026-07-28) is counted once, and once more as what it comes to; a refused
/// retry counts as a call of its own.
#[tokio::test]
async fn an_ask_that_a_retry_answers_is_counted_once() {
    let world = World::of(RULES).await;
    let client = world.modern("ada");
    let decided = async |word: &str| {
        let (_, text) = scrape(&world, None).await;
        value(&text, "tollgate_calls_total", &[&format!("decision=\"{word}\"")])
    };
    let asked = client.call("up__write", json!({"path": "/a"})).await;
    let state = asked.question().1.to_owned();
    assert_eq!(decided("pending_approval").await, Some(1.0));
    // Decides nothing: the ask stands, and is the same one.
    let cancel = json!({"action": "cancel"});
    pending(&client.retry("up__write", json!({"path": "/a"}), &state, cancel).await);
    assert_eq!(decided("pending_approval").await, Some(1.0));
    client.retry("up__write", json!({"path": "/a"}), &state, form("approve")).await.ok();
    assert_eq!(decided("pending_approval").await, Some(1.0));
    assert_eq!(decided("approved").await, Some(1.0));
    let second = client.call("up__write", json!({"path": "/b"})).await;
    client.retry("up__write", json!({"path": "/b"}), second.question().1, form("reject")).await.decision();
    assert_eq!(decided("pending_approval").await, Some(2.0));
    assert_eq!(decided("rejected").await, Some(1.0));
    // What is drawn and reported of the record says the same.
    let (status, card) = world.api("dan", "report/scorecard", None).await;
    assert_eq!(status, 200, "{card:#}");
    let of = card["decision_distribution"].as_object().unwrap().values().next().unwrap();
    assert_eq!(
        (&of["calls"], &of["pending_approval"], &of["approved"]),
        (&json!(2), &json!(2), &json!(1)),
        "{card:#}"
    );
    assert_eq!(card["approval_integrity"]["asked"], 2, "{card:#}");
    let (_, drawn) = world.api("dan", "series?name=decisions&by=decision&since=1h&step=1h", None).await;
    let drawn_of = |word: &str| {
        let groups = drawn["groups"].as_array().unwrap();
        groups.iter().find(|group| group["name"] == word).map(|group| group["total"].clone())
    };
    assert_eq!(drawn_of("pending_approval"), Some(json!(2)), "{drawn:#}");
    assert_eq!(drawn_of("approved"), Some(json!(1)), "{drawn:#}");
    let events = world.events().await;
    let pending = events.iter().filter(|event| {
        event.draft.event_type == tollgate::model::EventType::AgentDecision
            && event.draft.decision == Some(tollgate::model::EventDecision::PendingApproval)
    });
    assert_eq!(pending.count(), 2);
}

/// What a client answers in the middle of a call makes no repeat of it, in either era: neither for rules nor for the limit on loops.
#[tokio::test]
async fn an_answer_is_no_repeat() {
    let rules = "=== bundle.yaml\nversion: \"1\"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\nloop: { max_repeats: 2 }
=== ask.yaml
name: asks
description: d
on: [{ tool: up__write }]
rules:
  - { id: again, condition: \"call.repeats > 0\", decision: DENY }
  - { id: ask, decision: REQUIRE_APPROVAL, approvers: [operator] }
=== reads.yaml
name: reads
description: d
on: [{ tool: up__read }]
rules: [{ id: ask, condition: \"call.repeats == 0\", decision: REQUIRE_APPROVAL, approvers: [operator] }]
";
    let world = World::of(rules).await;
    let modern = world.modern("ada");
    let asked = modern.call("up__write", json!({"path": "/a"})).await;
    modern.retry("up__write", json!({"path": "/a"}), asked.question().1, form("approve")).await.ok();
    let legacy = world.legacy("ada").await;
    legacy.call_answering("up__write", json!({"path": "/b"}), form("approve")).await.ok();
    // It was one call each: the next one is the second.
    for path in ["/a", "/b"] {
        let again = modern.call("up__write", json!({"path": path})).await;
        assert_eq!(again.decision()["rule_id"], "again", "{:#}", again.body);
    }
    // Two are let through: the one that was asked about, and the next. The third is a loop.
    let asked = modern.call("up__read", json!({"path": "/r"})).await;
    modern.retry("up__read", json!({"path": "/r"}), asked.question().1, form("approve")).await.ok();
    modern.call("up__read", json!({"path": "/r"})).await.ok();
    let third = modern.call("up__read", json!({"path": "/r"})).await;
    assert_eq!(
        (third.word(), third.decision()["policy_id"].as_str()),
        ("throttle", Some("loop")),
        "{:#}",
        third.body
    );
}

/// A call has one line in the log, also where a person was asked about it: at its end, as what it came to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_has_one_line() {
    let gateway = "approval_wait = \"100ms\"".to_owned();
    let files = Files::of(Setup { files: RULES.to_owned(), gateway, ..Setup::default() }).await;
    let mut process = files.serve().await;
    let capable = Client::modern(&files.http, &process.mcp, "ada", json!({"elicitation": {}}));
    let approved = capable.session().await;
    approved.call_answering("up__write", json!({"n": 1}), form("approve")).await.ok();
    pending(&files.client(&process, "bot").call("up__write", json!({"n": 2})).await);
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await);
    process.log.until_end().await;
    let log = process.log.text();
    let of = |agent: &str| {
        let lines = log
            .lines()
            .filter(|line| line.contains("call.decided") && line.contains(&format!("agent.id=\"{agent}\"")));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let [approved, pending] = [of("ada"), of("bot")];
    assert_eq!((approved.len(), pending.len()), (1, 1), "{log}");
    assert!(
        approved[0].contains("decision=\"approved\"") && pending[0].contains("decision=\"pending_approval\""),
        "{log}"
    );
}

/// Metrics have the code that the client got: 2026-07-28 has no code of its own for a resource that is not there.
#[tokio::test]
async fn an_error_has_the_code_of_its_era() {
    let world = World::of(RULES).await;
    let read = json!({"uri": "file:///nowhere/at/all"});
    let modern = world.modern("ada").request("resources/read", read.clone()).await;
    assert_eq!(modern.error()["code"], -32602, "{:#}", modern.body);
    let count = async |code: &str| {
        let (_, text) = scrape(&world, None).await;
        let labels = [r#"mcp_method_name="resources/read""#, &format!("error_type=\"{code}\"")];
        value(&text, "mcp_server_operation_duration_seconds_count", &labels)
    };
    assert_eq!((count("-32602").await, count("-32002").await), (Some(1.0), None));
    let legacy = world.legacy("ada").await.request("resources/read", read).await;
    assert_eq!(legacy.error()["code"], -32002, "{:#}", legacy.body);
    assert_eq!((count("-32602").await, count("-32002").await), (Some(1.0), Some(1.0)));
}

/// A search for tools is a decision, counted like others.
#[tokio::test]
async fn a_search_for_tools_is_counted() {
    let setup = Setup { gateway: "catalog = \"search\"".to_owned(), ..Setup::default() };
    let world = World::start(setup).await;
    world.modern("ada").call("tollgate__find_tools", json!({"query": "read a file"})).await.ok();
    let (_, text) = scrape(&world, None).await;
    let labels = [r#"kind="tool""#, r#"decision="allow""#];
    assert_eq!(value(&text, "tollgate_calls_total", &labels), Some(1.0), "{text}");
    let labels = [r#"gen_ai_tool_name="tollgate__find_tools""#];
    assert_eq!(value(&text, "mcp_server_operation_duration_seconds_count", &labels), Some(1.0), "{text}");
}

/// A session of a client is measured when it ends, and one at an upstream when that goes.
#[tokio::test]
async fn sessions_are_measured_as_they_end() {
    let world = World::of(RULES).await;
    let client = world.legacy("ada").await;
    client.call("up__echo", json!({})).await.ok();
    let (_, text) = scrape(&world, None).await;
    let server = "mcp_server_session_duration_seconds_count";
    assert_eq!(value(&text, server, &[]), None, "{text}");
    // A stream of its own is open meanwhile.
    let stream = client.listen().await;
    let end = world.http.delete(&world.gate.mcp).bearer_auth("key-ada");
    let end = end.header("mcp-session-id", client.session.as_deref().unwrap()).send();
    assert!(soon(end).await.unwrap().status().is_success());
    let (_, text) = scrape(&world, None).await;
    let labels = [r#"network_transport="tcp""#, r#"mcp_protocol_version="2025-11-25""#];
    assert_eq!(value(&text, server, &labels), Some(1.0), "{text}");
    drop(stream);
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
