//! Every decision, end to end.

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::model::{EventType, Outcome};

/// R14: allowed, in both eras, and the arguments arrive as they were sent.
#[tokio::test]
async fn an_allowed_call_passes_unchanged() {
    let world = World::of("").await;
    let text = r#"{"path": "/a", "large": 12345678901234567890123, "exact": 0.10, "deep": [{"x": null}]}"#;
    let arguments: Value = serde_json::from_str(text).unwrap();
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

/// No outcome at all is the default decision.
#[tokio::test]
async fn silence_of_all_policies_is_the_default() {
    let world = World::of("=== bundle.yaml\nversion: \"1\"\nowner: tests\n").await;
    let reply = world.modern("ada").call("up__read", json!({"path": "/a"})).await;
    assert_eq!(reply.word(), "deny");
    assert_eq!(reply.decision()["policy_id"], "default");
    assert_eq!(world.up.count(), 0);
}

/// R14, R15: a throttle says when to try again.
#[tokio::test]
async fn a_throttled_call_says_when() {
    let world = World::of(
        "=== gate.yaml
name: slow
description: Not now
on: [{ tool: up__echo }]
rules: [{ decision: THROTTLE, retry_after: 90s }]
",
    )
    .await;
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    assert_eq!(reply.word(), "throttle");
    assert_eq!(reply.decision()["retry_after_ms"], 90_000);
    assert_eq!(world.up.count(), 0);
}

/// R16: suggested, the safer variant comes back and nothing is dispatched; made as proposed, it passes.
#[tokio::test]
async fn a_suggested_remediation_is_returned_and_works_when_made() {
    let world = World::of(
        "=== gate.yaml
name: safer
description: Deletes become archives
on: [{ tool: up__delete }]
rules:
  - decision: REMEDIATE
    remediation: { mode: suggest, set: { /to: /archive }, remove: [/force], tool: up__write, reason: an archive can be read }
",
    )
    .await;
    let client = world.modern("ada");
    let reply = client.call("up__delete", json!({"path": "/a", "force": true})).await;
    assert_eq!(reply.word(), "remediate");
    let proposal = reply.decision()["remediation"].clone();
    assert_eq!(proposal["mode"], "suggest");
    assert_eq!(proposal["tool"], "up__write");
    assert_eq!(proposal["arguments"], json!({"path": "/a", "to": "/archive"}));
    assert_eq!(world.up.count(), 0);
    let made = client.call(proposal["tool"].as_str().unwrap(), proposal["arguments"].clone()).await;
    assert_eq!(made.echoed(), proposal["arguments"]);
}

/// R16: applied, the upstream gets the safer call; both versions are recorded, and the agent is told.
#[tokio::test]
async fn an_applied_remediation_is_dispatched_and_both_versions_are_recorded() {
    let world = World::of(
        "=== gate.yaml
name: safer
description: Deletes become archives
on: [{ tool: up__delete }]
rules:
  - id: swap
    decision: REMEDIATE
    remediation: { mode: apply, set: { /to: /archive }, tool: up__write, reason: an archive can be read }
",
    )
    .await;
    let reply = world.legacy("ada").await.call("up__delete", json!({"path": "/a"})).await;
    assert_eq!(reply.echoed(), json!({"path": "/a", "to": "/archive"}));
    let told = &reply.body["result"]["_meta"]["tollgate/decision"];
    assert_eq!(told["decision"], "remediate", "{:#}", reply.body);
    let calls = world.up.calls();
    assert_eq!((calls.len(), calls[0].tool()), (1, "write"));
    let event = serde_json::to_value(world.last_decision().await).unwrap();
    assert_eq!((&event["decision"], &event["policy_id"]), (&json!("remediate"), &json!("safer")));
    assert_eq!(event["tool"], "up__write");
    assert_eq!(event["detail"]["arguments"], json!({"path": "/a", "to": "/archive"}));
    assert_eq!(event["detail"]["original_arguments"], json!({"path": "/a"}));
    assert!(event.to_string().contains("up__delete"), "the tool that was asked for is recorded: {event:#}");
    // What Tollgate tells beside the answer is neither charged nor learned from.
    let mut upstreams = reply.body["result"].clone();
    upstreams.as_object_mut().unwrap().remove("_meta");
    let settled = world.last_settled().await.detail.unwrap();
    assert!(settled["result_bytes"].as_u64().unwrap() <= upstreams.to_string().len() as u64, "{settled:#}");
}

/// A rule that sends a read elsewhere: what was decided on is what is asked for, or proposed.
#[tokio::test]
async fn a_read_that_is_sent_elsewhere_goes_where_it_was_decided() {
    let world = World::of(
        "=== gate.yaml
name: safer
description: Closed files are read in their open version
on: [{ resource: \"file:///closed/**\" }]
rules:
  - condition: \"agent.id == 'ada'\"
    decision: REMEDIATE
    remediation: { mode: apply, tool: \"file:///open/a.txt\", reason: the open version }
  - decision: REMEDIATE
    remediation: { mode: suggest, tool: \"file:///open/a.txt\", reason: the open version }
",
    )
    .await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let read = client.request("resources/read", json!({"uri": "file:///closed/b.txt"})).await;
        assert_eq!(read.ok()["contents"][0]["uri"], "file:///open/a.txt");
    }
    let asked: Vec<_> = world.up.calls().iter().map(|seen| seen.body["params"]["uri"].clone()).collect();
    assert_eq!(asked, ["file:///open/a.txt"; 2]);
    let event = serde_json::to_value(world.last_decision().await).unwrap();
    assert_eq!(event["detail"]["arguments"]["uri"], "file:///open/a.txt");
    assert_eq!(event["detail"]["original_arguments"]["uri"], "file:///closed/b.txt");
    let reply = world.modern("bot").request("resources/read", json!({"uri": "file:///closed/b.txt"})).await;
    assert_eq!(reply.word(), "remediate", "{:#}", reply.body);
    let proposal = &reply.decision()["remediation"];
    assert_eq!(
        (&proposal["tool"], &proposal["arguments"]["uri"]),
        (&json!("file:///open/a.txt"), &json!("file:///open/a.txt"))
    );
    assert_eq!(world.up.count(), 2);
}

/// A changed call is a new call: every policy sees it, and the stricter outcome stands.
#[tokio::test]
async fn a_changed_call_is_evaluated_again() {
    let world = World::of(
        "=== a.yaml
name: swap
description: Echoes become writes, and prices are set
on: [{ tool: up__echo }]
rules:
  - condition: \"has(args.swap)\"
    decision: REMEDIATE
    remediation: { mode: apply, tool: up__write, reason: safer }
  - condition: \"has(args.out)\"
    decision: REMEDIATE
    remediation: { mode: apply, tool: up__nothing, reason: safer }
  - condition: \"has(args.again)\"
    decision: REMEDIATE
    remediation: { mode: apply, set: { /again: twice }, reason: safer }
  - decision: ALLOW_WITH_CONSTRAINTS
    constraints: { arguments: { set: { /level: 9 } } }
=== b.yaml
name: writes
description: Nobody writes
on: [{ tool: up__write }]
rules: [{ id: never, decision: DENY }]
=== c.yaml
name: levels
description: The level after every change counts
on: [{ tool: up__echo }]
rules:
  - { id: nine, condition: \"has(args.level) && args.level == 9\", decision: DENY }
=== d.yaml
name: schema
description: Reads are changed into what their schema refuses
on: [{ tool: up__read }]
rules:
  - condition: \"args.path == '/zero'\"
    decision: ALLOW_WITH_CONSTRAINTS
    constraints: { arguments: { set: { /limit: 0 } } }
",
    )
    .await;
    let client = world.modern("ada");
    let check = async |tool: &str, arguments: Value, policy: &str| {
        let reply = client.call(tool, arguments).await;
        assert_eq!(reply.word(), "deny", "{:#}", reply.body);
        assert_eq!(reply.decision()["policy_id"], policy, "{:#}", reply.body);
    };
    check("up__echo", json!({"swap": 1}), "writes").await;
    check("up__echo", json!({"level": 1}), "levels").await;
    // No second remediation.
    check("up__echo", json!({"again": 1}), "swap").await;
    check("up__read", json!({"path": "/zero"}), "schema").await;
    // What it is changed into is not there: the call of a tool in scope must not end as one that is not there.
    let reply = client.call("up__echo", json!({"out": 1})).await;
    assert_eq!(reply.word(), "deny", "{:#}", reply.body);
    assert_eq!(world.up.count(), 0);
}

/// R15: a timeout is enforced; the outcome is unknown and the upstream is told.
#[tokio::test]
async fn a_timeout_is_enforced() {
    let world = World::of(
        "=== gate.yaml
name: quick
description: Echoes are quick
on: [{ tool: up__echo }]
rules: [{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout: 50ms } }]
",
    )
    .await;
    world.up.hangs();
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    assert_eq!(reply.body["result"]["isError"], true, "{:#}", reply.body);
    assert!(reply.text().contains("unknown"), "{}", reply.text());
    world.up.until_told("notifications/cancelled").await;
    let settled = world.until_settled(1).await;
    assert_eq!(settled[0].draft.outcome, Some(Outcome::Unknown));
    let event = serde_json::to_value(&settled[0]).unwrap();
    assert_eq!(event["limits"]["timeout_ms"], 50, "{event:#}");
    assert_eq!(event["cost_usd"], Value::Null);
}

/// R15: `max_cost` and `read_only` stop what they must, before it is sent.
#[tokio::test]
async fn cost_and_read_only_are_enforced() {
    let world = World::of(
        "=== gate.yaml
name: bounds
description: Cheap reads only
on: [{ upstream: up }]
rules:
  - { id: pay, condition: \"tool.name == 'up__pay'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_cost: 0.20 } }
  - { id: rest, decision: ALLOW_WITH_CONSTRAINTS, constraints: { read_only: true, max_cost: 1.00 } }
",
    )
    .await;
    let client = world.modern("ada");
    let dear = client.call("up__pay", json!({})).await;
    assert_eq!((dear.word(), dear.decision()["rule_id"].as_str()), ("deny", Some("pay")));
    // The price of the call stands in the refusal.
    assert!(dear.decision()["cost_estimate_usd"].as_f64().unwrap() >= 0.25, "{:#}", dear.body);
    assert_eq!(client.call("up__write", json!({})).await.word(), "deny");
    client.call("up__read", json!({"path": "/a"})).await.ok();
    assert_eq!(world.up.count(), 1);
}

/// R15: results are held to their limits, and say so.
#[tokio::test]
async fn results_are_cut() {
    let world = World::of(
        "=== gate.yaml
name: small
description: Small answers
on: [{ upstream: up }]
rules:
  - { condition: \"tool.name == 'up__echo'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_bytes: 1000 } }
  - { condition: \"tool.name == 'up__read'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_tokens: 100 } }
",
    )
    .await;
    world.up.results(text_result(&"word ".repeat(4000)));
    let client = world.modern("ada");
    for (tool, arguments, most) in [("up__echo", json!({}), 1300), ("up__read", json!({"path": "/a"}), 1000)]
    {
        let reply = client.call(tool, arguments).await;
        let size = reply.ok()["content"].to_string().len();
        assert!(size < most, "{tool}: {size}");
        assert!(reply.ok()["content"].to_string().contains("cut by policy"), "{:#}", reply.body);
    }
    let whole = client.call("up__write", json!({})).await;
    assert_eq!(whole.text().len(), 20_000);
}

/// R15: arguments are set, removed and clamped; constraints of several policies intersect.
#[tokio::test]
async fn arguments_are_changed_and_constraints_intersect() {
    let world = World::of(
        "=== a.yaml
name: a
description: One
on: [{ tool: up__echo }]
rules:
  - decision: ALLOW_WITH_CONSTRAINTS
    constraints: { arguments: { set: { /mode: safe }, remove: [/force], clamp: { /limit: { min: 2, max: 10 } } } }
=== b.yaml
name: b
description: Two
on: [{ tool: up__echo }]
rules:
  - decision: ALLOW_WITH_CONSTRAINTS
    constraints: { arguments: { clamp: { /limit: { max: 5 } } } }
",
    )
    .await;
    let client = world.legacy("ada").await;
    let check = async |arguments: Value, expect: Value| {
        assert_eq!(client.call("up__echo", arguments).await.echoed(), expect);
    };
    check(json!({"limit": 50, "force": true, "x": 1}), json!({"limit": 5, "x": 1, "mode": "safe"})).await;
    check(json!({"limit": 1}), json!({"limit": 2, "mode": "safe"})).await;
    check(json!({"limit": 4, "mode": "wild"}), json!({"limit": 4, "mode": "safe"})).await;
    check(json!({}), json!({"limit": 5, "mode": "safe"})).await;
    // What cannot be limited is not sent.
    assert_eq!(client.call("up__echo", json!({"limit": "50"})).await.word(), "deny");
    assert_eq!(world.up.count(), 4);
    let events = world.events().await;
    let first = events.iter().find(|event| event.draft.event_type == EventType::AgentDecision).unwrap();
    let event = serde_json::to_value(first).unwrap();
    assert_eq!(event["decision"], "allow_with_constraints", "{event:#}");
    assert_eq!(event["detail"]["original_arguments"], json!({"limit": 50, "force": true, "x": 1}));
}

/// `redact` takes places out of the result.
#[tokio::test]
async fn results_are_redacted_where_a_rule_says_so() {
    let world = World::of(
        "=== gate.yaml
name: rows
description: No rows leave
on: [{ tool: up__echo }]
rules: [{ decision: ALLOW_WITH_CONSTRAINTS, constraints: { redact: [/rows/*/iban] } }]
",
    )
    .await;
    world.up.results(json!({
        "content": [{"type": "text", "text": "two rows"}],
        "structuredContent": {"rows": [{"id": 1, "iban": "first-hidden"}, {"id": 2, "iban": "second-hidden"}]},
    }));
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    let shown = reply.ok().to_string();
    assert!(!shown.contains("hidden") && shown.contains("two rows"), "{shown}");
    assert_eq!(reply.ok()["structuredContent"]["rows"][1]["id"], 2);
}

/// The strictest wins over all policies, and under ties the first by file name.
#[tokio::test]
async fn the_strictest_wins() {
    let gate = |file: &str, id: &str, decision: &str| {
        format!(
            "=== {file}.yaml\nname: {id}\ndescription: d\non: [{{ upstream: up }}]\nrules: [{{ decision: {decision} }}]\n"
        )
    };
    let files = [
        gate("c", "c-allow", "ALLOW"),
        gate("b", "b-deny", "DENY"),
        gate("a", "z-deny", "DENY"),
        gate("d", "d-ask", "REQUIRE_APPROVAL"),
    ];
    let world = World::of(&files.concat()).await;
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    assert_eq!((reply.word(), reply.decision()["policy_id"].as_str()), ("deny", Some("z-deny")));
    let event = serde_json::to_value(world.last_decision().await).unwrap();
    let steps = event["detail"]["steps"].to_string();
    for id in ["c-allow", "b-deny", "z-deny", "d-ask"] {
        assert!(steps.contains(id), "every reason is kept: {event:#}");
    }
}

/// A shadow policy is recorded as would_*, and changes nothing.
#[tokio::test]
async fn shadow_is_recorded_and_changes_nothing() {
    let world = World::of(
        "=== gate.yaml
name: trial
description: On trial
mode: shadow
on: [{ upstream: up }]
rules:
  - { condition: \"has(args.limit)\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { set: { /limit: 1 } } } }
  - { decision: DENY }
",
    )
    .await;
    let client = world.modern("ada");
    assert_eq!(client.call("up__echo", json!({"limit": 9})).await.echoed(), json!({"limit": 9}));
    client.call("up__echo", json!({})).await.ok();
    let events: Vec<Value> =
        world.events().await.iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let decisions: Vec<&Value> = events.iter().filter(|e| e["event_type"] == "agent_decision").collect();
    assert_eq!(decisions.len(), 2);
    assert!(decisions.iter().all(|e| e["decision"] == "allow"));
    assert!(decisions[0].to_string().contains("would_allow_with_constraints"), "{:#}", decisions[0]);
    assert!(decisions[1].to_string().contains("would_deny"), "{:#}", decisions[1]);
}

/// R4: an agent that may only suggest never dispatches, and gets its proposal back; what is denied stays denied.
#[tokio::test]
async fn suggest_only_never_dispatches() {
    let world = World::of(
        "=== gate.yaml
name: writes
description: Writes need a person, deletes nobody makes
on: [{ upstream: up }]
rules:
  - { condition: \"tool.name == 'up__delete'\", decision: DENY }
  - { condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL }
  - { condition: \"tool.name == 'up__pay'\", decision: REMEDIATE, remediation: { mode: apply, set: { /a: 1 } } }
",
    )
    .await;
    let client = world.modern("scout");
    for tool in ["up__echo", "up__write", "up__pay"] {
        let reply = client.call(tool, json!({"x": 1})).await;
        assert_eq!(reply.word(), "suggest", "{tool}: {:#}", reply.body);
    }
    let reply = client.call("up__echo", json!({"x": 1})).await;
    assert_eq!(reply.decision()["remediation"]["arguments"], json!({"x": 1}));
    assert_eq!(client.call("up__delete", json!({})).await.word(), "deny");
    assert_eq!(world.up.count(), 0);
    assert!(world.approvals().await.is_empty());
}

/// A capability whose condition is false denies with a decision, and the tool stays visible; an error denies.
#[tokio::test]
async fn a_capabilitys_condition_is_held() {
    let world = World::of(
        "=== authority.yaml
capabilities:
  all: { tools: [\"up__echo\"], condition: \"args.n < 5\" }
agents:
  ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
",
    )
    .await;
    let client = world.modern("ada");
    assert_eq!(client.tools().await, ["up__echo"]);
    client.call("up__echo", json!({"n": 4})).await.ok();
    for arguments in [json!({"n": 5}), json!({}), json!({"n": "4"})] {
        let reply = client.call("up__echo", arguments).await;
        assert_eq!(reply.word(), "deny");
        assert_eq!(reply.decision()["policy_id"], "capability:all");
    }
    assert_eq!(world.up.count(), 1);
}

/// I2: a condition that errors denies and says so; it never falls through to an ALLOW after it.
#[tokio::test]
async fn a_condition_without_an_answer_denies() {
    let world = World::of(
        "=== gate.yaml
name: limits
description: d
on: [{ upstream: up }]
rules:
  - { id: broken, condition: \"args.level > 3\", decision: DENY }
  - { id: rest, decision: ALLOW }
",
    )
    .await;
    let client = world.modern("ada");
    client.call("up__echo", json!({"level": 1})).await.ok();
    for arguments in [json!({}), json!({"level": "1"}), json!({"level": null})] {
        let reply = client.call("up__echo", arguments).await;
        assert_eq!((reply.word(), reply.decision()["rule_id"].as_str()), ("deny", Some("broken")));
    }
    assert_eq!(world.up.count(), 1);
}

/// I7, R2: what is out of scope and what does not exist are answered alike, byte for byte but for the name.
#[tokio::test]
async fn out_of_scope_and_unknown_are_alike() {
    let world = World::of("").await;
    let (legacy, modern) = (world.legacy("narrow").await, world.modern("narrow"));
    assert_eq!(modern.tools().await, ["up__read"]);
    assert_eq!(modern.names("resources/list", "resources").await, ["file:///open/a.txt"]);
    assert_eq!(modern.names("prompts/list", "prompts").await, ["up__short"]);
    let pairs = [
        ("tools/call", "name", "up__hidden", "up__absent"),
        ("prompts/get", "name", "up__long", "up__gone"),
        ("resources/read", "uri", "file:///closed/b.txt", "file:///closed/x.txt"),
        ("resources/read", "uri", "file:///open/../closed/b.txt", "file:///open/../closed/x.txt"),
        ("tools/call", "name", "crm__x", "nothing"),
    ];
    for client in [legacy, modern] {
        for (method, member, hidden, absent) in pairs {
            let ask = async |name: &str| {
                let mut body = client.body(method, json!({member: name}));
                body["id"] = 77.into();
                let response = soon(client.post(&body).send()).await.unwrap();
                let head = (response.status(), response.headers().get("content-type").cloned());
                (head, soon(response.text()).await.unwrap().replace(name, "NAME"))
            };
            let (hidden, absent) = (ask(hidden).await, ask(absent).await);
            assert_eq!(hidden, absent, "{method}");
            assert!(hidden.1.contains("error"), "{}", hidden.1);
        }
    }
    assert_eq!(world.up.count(), 0);
}

/// A schema violation names path and rule, and no value; remote references are not fetched.
#[tokio::test]
async fn a_schema_violation_names_path_and_rule_without_values() {
    let world = World::of("").await;
    let mut strange = tool("strange");
    strange["inputSchema"] =
        json!({"type": "object", "properties": {"x": {"$ref": format!("{}/schema", world.up.url())}}});
    world.up.lists(vec![vec![tool("echo"), read_tool(), strange]]);
    world.up.announce().await;
    let client = world.modern("ada");
    until_listed(&world, "up__strange").await;
    for (arguments, path, rule) in [
        (json!({"path": 5551234}), "/path", "type"),
        (json!({"path": "secret-looking-value"}), "/path", "pattern"),
        (json!({"path": "/a", "limit": -5551234}), "/limit", "minimum"),
        (json!({}), "", "required"),
    ] {
        let reply = client.call("up__read", arguments).await;
        assert_eq!(reply.word(), "deny");
        assert_eq!(reply.decision()["policy_id"], "schema");
        let shown = reply.body.to_string();
        assert!(shown.contains(path) && shown.contains(rule), "{shown}");
        assert!(!shown.contains("5551234") && !shown.contains("secret-looking-value"), "{shown}");
    }
    let before = world.up.count();
    // A reference to elsewhere is never fetched: what it asks for is not checked, the rest is.
    client.call("up__strange", json!({"x": 1})).await.ok();
    assert_eq!(world.up.count(), before + 1);
    assert_eq!(client.call("up__strange", json!([1])).await.body["error"]["code"], -32602);
}

/// Duplicate keys are refused: what is checked is what is sent.
#[tokio::test]
async fn duplicate_keys_are_refused() {
    let world = World::of("").await;
    let client = world.modern("ada");
    let body = client.body("tools/call", json!({"name": "up__read", "arguments": {"path": "/a"}}));
    let text = body.to_string().replace("{\"path\":\"/a\"}", "{\"path\":\"/a\",\"path\":\"/b\"}");
    assert!(text.contains("/b"));
    let response = soon(client.post(&body).body(text).send()).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(world.up.count(), 0);
}

/// The rulebook of the reference document: roles, price, approval, rates (R9, R10).
#[tokio::test]
async fn a_rulebook_denies_asks_and_throttles() {
    let world = World::of(
        "=== book.yaml
version: \"1.0\"
policies:
  - id: writers
    description: Writers write
    on: [{ tool: up__write }]
    conditions: { allowed_roles: [writer], max_calls_per_minute: 2 }
    actions: { on_allow: permit, on_deny: deny, on_violation: throttle }
  - id: payers
    description: Paying is asked for
    on: [{ tool: up__pay }]
    conditions: { requires_approval: true, max_cost_usd: 0.50 }
  - id: jobs
    description: Jobs do not echo
    on: [{ tool: up__echo }]
    conditions: { agent_types: [job], allowed_roles: [nobody] }
=== bundle.yaml
version: \"1\"
owner: tests
default_decision: DENY
",
    )
    .await;
    let (ada, bot) = (world.bare("ada"), world.bare("bot"));
    assert_eq!(bot.call("up__write", json!({})).await.decision()["policy_id"], "writers");
    ada.call("up__write", json!({"n": 1})).await.ok();
    ada.call("up__write", json!({"n": 2})).await.ok();
    let third = ada.call("up__write", json!({"n": 3})).await;
    assert_eq!((third.word(), third.decision()["policy_id"].as_str()), ("throttle", Some("writers")));
    let wait = third.decision()["retry_after_ms"].as_u64().unwrap();
    assert!(0 < wait && wait <= 60_000, "{wait}");
    pending(&ada.call("up__pay", json!({})).await);
    assert_eq!(bot.call("up__echo", json!({})).await.decision()["policy_id"], "jobs");
    // The policy is for jobs only: for others it says nothing, and the default denies.
    assert_eq!(ada.call("up__echo", json!({})).await.decision()["policy_id"], "default");
    assert_eq!(world.up.count(), 2);
}

/// R1: a call that lacks metadata that the bundle requires is denied.
#[tokio::test]
async fn required_metadata_is_required() {
    let world = World::of(
        "=== bundle.yaml\nversion: \"1\"\nowner: tests\ndefault_decision: ALLOW\nrequired: [trace_id]\n",
    )
    .await;
    let client = world.modern("ada");
    let reply = client.call("up__echo", json!({})).await;
    assert_eq!((reply.word(), reply.decision()["policy_id"].as_str()), ("deny", Some("required")));
    assert!(reply.text().contains("trace_id"));
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let params = json!({"name": "up__echo", "arguments": {}, "_meta": {"traceparent": traced}});
    client.request("tools/call", params).await.ok();
    client.header("traceparent", traced).call("up__echo", json!({})).await.ok();

    // What is null is not there.
    world
        .reload(
            "=== bundle.yaml\nversion: \"1\"\nowner: tests\ndefault_decision: ALLOW\nrequired: [ticket]\n",
        )
        .await;
    for (ticket, passes) in [(json!(null), false), (json!("T-1"), true), (json!(0), true)] {
        let params = json!({"name": "up__echo", "arguments": {}, "_meta": {"ticket": ticket}});
        let reply = client.request("tools/call", params).await;
        assert_eq!(
            reply.body["result"]["isError"].as_bool() == Some(true),
            !passes,
            "{ticket}: {:#}",
            reply.body
        );
    }
}

/// A refusal for resources and prompts is a JSON-RPC error with the decision, and SEP-2643's shape of it.
#[tokio::test]
async fn resources_and_prompts_are_governed() {
    let world = World::of(
        "=== gate.yaml
name: closed
description: d
on: [{ resource: \"file:///closed/**\" }, { prompt: up__long }]
rules: [{ id: never, decision: DENY }]
",
    )
    .await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let read = client.request("resources/read", json!({"uri": "file:///open/a.txt"})).await;
        assert_eq!(read.ok()["contents"][0]["text"], "content");
        client.request("prompts/get", json!({"name": "up__short"})).await.ok();
        for (method, params) in [
            ("resources/read", json!({"uri": "file:///closed/b.txt"})),
            ("resources/read", json!({"uri": "file:///open/%2e%2e/closed/b.txt"})),
            ("prompts/get", json!({"name": "up__long"})),
        ] {
            let reply = client.request(method, params).await;
            assert_eq!((reply.word(), reply.decision()["rule_id"].as_str()), ("deny", Some("never")));
            let (error, decision) = (&reply.body["error"], reply.decision());
            assert_eq!(error["code"], 403);
            let authorization = &error["data"]["authorization"];
            assert_eq!(authorization["reason"], decision["reason"]);
            assert_eq!(authorization["authorizationContextId"], decision["trace_id"]);
            assert!(authorization["remediationHints"][0]["description"].is_string(), "{authorization}");
        }
    }
    assert_eq!(world.up.count(), 4);
}

/// I8: what an upstream writes under Tollgate's own name is taken out.
#[tokio::test]
async fn an_upstream_cannot_speak_as_tollgate() {
    let world = World::of("").await;
    let mut result = text_result("done");
    result["_meta"] = json!({"tollgate/decision": {"decision": "allow"}, "own/key": 1});
    world.up.results(result);
    let reply = world.modern("ada").call("up__echo", json!({})).await;
    assert_eq!(reply.ok()["_meta"].get("tollgate/decision"), None);
    assert_eq!(reply.ok()["_meta"]["own/key"], 1);
}

/// Waits until the gateway lists a tool.
async fn until_listed(world: &World, tool: &str) {
    let mut generations = world.gate.gateway.generations();
    soon(async {
        loop {
            generations.borrow_and_update();
            if world.gate.gateway.catalog().tools.contains_key(tool) {
                return;
            }
            generations.changed().await.unwrap();
        }
    })
    .await;
}

/// An argument that is mirrored into a header arrives as it was sent, once encoded: beyond ASCII, with spaces at its ends,
/// and in the encoding's own form.
#[tokio::test]
async fn a_mirrored_argument_is_encoded_once() {
    let mut lookup = tool("lookup");
    lookup["inputSchema"] = json!({
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    });
    let world = World::start(Setup {
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", Scripted::with(vec![lookup], true).await)],
        ..Setup::default()
    })
    .await;
    let upstream = &world.more[0].1;
    let values = [
        ("eu-1", "eu-1"),
        ("東京", "=?base64?5p2x5Lqs?="),
        (" eu ", "=?base64?IGV1IA==?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
    ];
    for (place, (region, header)) in values.into_iter().enumerate() {
        let client = world.modern("narrow").header("mcp-param-region", header);
        client.call("crm__lookup", json!({"region": region})).await.ok();
        let seen = upstream.calls();
        assert_eq!(seen.len(), place + 1);
        assert_eq!(seen[place].header("mcp-param-region"), Some(header), "{region}");
        assert_eq!(seen[place].arguments()["region"], region);
    }
    let wrong = world.modern("narrow").header("mcp-param-region", "us");
    assert_eq!(wrong.call("crm__lookup", json!({"region": "eu"})).await.error()["code"], -32020);
    assert_eq!(upstream.count(), 4);
}

/// Two upstreams with the same URI: one keeps it, the other's has its upstream's name in front, in list, read and link; each
/// is granted by what agents see, and each upstream hears its own URI only.
#[tokio::test]
async fn two_upstreams_with_the_same_uri_are_told_apart() {
    let uri = "file:///open/a.txt";
    let crm = Scripted::start().await;
    let link = json!({"content": [{"type": "resource_link", "uri": uri, "name": "a"}]});
    crm.results(link);
    let granted = authority().replace("\"file:///**\"]", "\"file:///**\", \"up+file:///open/**\"]");
    let granted = granted.replace("tools: [\"up__*\"]", "tools: [\"*\"]");
    let setup = Setup {
        files: format!("=== authority.yaml\n{granted}"),
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    let world = World::start(setup).await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let listed = client.names("resources/list", "resources").await;
        // `crm` is the first by name.
        assert_eq!(listed, ["file:///closed/b.txt", uri, "up+file:///open/a.txt"]);
        for (asked, ours, other) in [
            (uri, &world.more[0].1, &world.up),
            ("up+file:///open/a.txt", &world.up, &world.more[0].1),
            ("UP+file:///open/a.txt", &world.up, &world.more[0].1),
        ] {
            let before = (ours.count(), other.count());
            let read = client.request("resources/read", json!({"uri": asked})).await;
            let own = asked.split_once('+').map_or(asked, |(_, own)| own);
            assert_eq!(ours.calls().last().unwrap().body["params"]["uri"], own);
            assert_eq!((ours.count(), other.count()), (before.0 + 1, before.1));
            let shown = &read.ok()["contents"][0]["uri"];
            assert_eq!(shown, if own == asked { uri } else { "up+file:///open/a.txt" }, "{asked}");
        }
        let hidden = client.request("resources/read", json!({"uri": "up+file:///closed/b.txt"})).await;
        assert!(hidden.error()["message"].as_str().unwrap().contains("not found"), "{:#}", hidden.body);
        let linked = client.call("crm__read", json!({"path": "/a"})).await;
        assert_eq!(linked.ok()["content"][0]["uri"], uri);
    }
    world.up.results(json!({"content": [{"type": "resource_link", "uri": uri, "name": "a"}]}));
    let linked = world.modern("ada").call("up__read", json!({"path": "/a"})).await;
    assert_eq!(linked.ok()["content"][0]["uri"], "up+file:///open/a.txt");
    // Who may read `file:///open/**` has not been given another upstream's.
    let narrow = world.modern("narrow");
    assert_eq!(narrow.names("resources/list", "resources").await, [uri]);
    let refused = narrow.request("resources/read", json!({"uri": "up+file:///open/a.txt"})).await;
    assert!(refused.error()["message"].as_str().unwrap().contains("not found"), "{:#}", refused.body);
}

/// I8: a limit on results holds for whatever an upstream calls its answer.
#[tokio::test]
async fn no_answer_escapes_the_limit() {
    let limited = "=== gate.yaml
name: small
description: Small answers
on: [{ upstream: up }]
rules:
  - { condition: \"tool.name == 'up__echo'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_bytes: 300 } }
  - { decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_tokens: 50 } }
";
    let world = World::of(limited).await;
    let long = "word ".repeat(2_000);
    let cut = async |what: &str| {
        for client in [world.modern("ada"), world.legacy("ada").await] {
            for (tool, arguments) in [("up__echo", json!({})), ("up__read", json!({"path": "/a"}))] {
                let reply = client.call(tool, arguments).await;
                let size = reply.body.to_string().len();
                assert!(size < 1_200, "{what} {tool}: {size}");
            }
        }
        let settled = world.until_settled(1).await.pop().unwrap().draft;
        assert!(settled.reason.is_none_or(|reason| reason.chars().count() < 1_100));
    };
    let told = long.clone();
    world.up.script(move |seen| (seen.method() == "tools/call").then(|| answer(error(seen, -32000, &told))));
    cut("an error").await;
    let charged = world.last_settled().await.detail.unwrap();
    assert!(charged["result_tokens"].as_u64().unwrap() > 5, "{charged}");
    assert_eq!(charged["cut"], true);
    let told = long.clone();
    world.up.script(move |seen| {
        let mut result = text_result(&told);
        result["resultType"] = "input_required".into();
        (seen.method() == "tools/call").then(|| answer(json_reply(seen, &result)))
    });
    cut("a question that is none").await;
}

/// I5: an upstream's words may repeat what is masked by its place.
#[tokio::test]
async fn an_error_repeats_no_masked_argument_in_the_record() {
    let world = World::of("").await;
    world.up.script(|seen| {
        let text = format!("cannot store {}", seen.arguments()["content"].as_str().unwrap_or("it"));
        (seen.method() == "tools/call").then(|| answer(error(seen, -32001, &text)))
    });
    let client = world.modern("ada");
    let reply = client.call("up__write", json!({"path": "/a", "content": "my dog is called Rex"})).await;
    assert!(reply.body["error"]["message"].as_str().unwrap().contains("Rex"), "the agent knows it");
    let told = world.last_settled().await;
    assert_eq!(
        told.reason.as_deref(),
        Some(
            "the upstream answered with error -32001 (its words are not recorded: the arguments are masked)"
        )
    );
    client.call("up__write", json!({"path": "/a"})).await;
    let told = world.last_settled().await;
    assert_eq!(told.reason.as_deref(), Some("the upstream answered with error -32001: cannot store it"));
    assert!(!json!(world.events().await).to_string().contains("Rex"));
}

/// I5: a name that is masked is masked wherever it is recorded.
#[tokio::test]
async fn a_masked_name_is_masked_in_proposals_and_changes() {
    let secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let crm = Scripted::with(Vec::new(), true).await;
    for place in ["srv", "old"] {
        crm.offers(&format!("file:///{place}/a?token={secret}"));
    }
    let files = "=== gate.yaml
name: proposals
description: Only proposals
on: [{ resource: 'file:///srv/**' }]
rules: [{ decision: SUGGEST }]
=== other.yaml
name: change
description: Another place
on: [{ resource: 'file:///old/**' }]
rules:
  - { decision: ALLOW_WITH_CONSTRAINTS, constraints: { arguments: { set: { /uri: 'file:///open/a.txt' } } } }
";
    let world = World::start(Setup {
        files: files.to_owned(),
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    })
    .await;
    let client = world.modern("ada");
    for place in ["srv", "old"] {
        let uri = format!("file:///{place}/a?token={secret}");
        client.request("resources/read", json!({"uri": uri})).await;
    }
    let events = json!(world.events().await).to_string();
    for part in ["[redacted:", "original_tool", "\"remediation\""] {
        assert!(events.contains(part), "{part}: {events}");
    }
    assert!(!events.contains(secret), "{events}");
}
