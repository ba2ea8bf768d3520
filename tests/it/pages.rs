//! What an auditor reads: the page of `audit show` for each kind of call, held against a golden page in `pages/`.
//!
//! A page answers five questions, and it answers them from records that many parts of the gateway write. A change of any of
//! them shows here as what it means to a reader. Read a page whole before it is accepted (`INSTA_UPDATE=always`). Each page is held
//! as text and as JSON (R52). Incidents of more than one step are in `incidents.rs`.

use crate::{harness::*, incidents};
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use std::{collections::BTreeSet, panic::AssertUnwindSafe, path::Path, sync::Arc, time::Duration};
use tollgate::{
    audit::{questions, render},
    clock::Fake,
    evidence::Counted,
    front::admin::{named_approvals, trace_report},
    model::{Event, EventType, TraceId},
    store::{EventQuery, Store},
};

/// The name of a page, and its text.
pub(crate) type Page = (&'static str, String);

/// The trace of a page's call; further calls of a page have the ones behind it.
const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_3100;

const CUSTOMER: &str = "DE89 3704 0044 0532 0130 00";

/// A world whose time stands still, so that pages have the same times whenever they are made.
pub(crate) async fn world(files: &str) -> (World, Arc<Fake>) {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let setup = Setup { files: files.to_owned(), clock: Some(clock.clone()), ..Setup::default() };
    (World::start(setup).await, clock)
}

/// A gate over everything of the upstream with these rules.
pub(crate) fn gate(name: &str, rules: &str) -> String {
    format!("=== {name}.yaml\nname: {name}\ndescription: d\non: [{{ upstream: up }}]\nrules:\n{rules}\n")
}

pub(crate) fn ask(keys: &str) -> String {
    gate(
        "writes",
        &format!(
            "  - {{ id: ask, condition: \"tool.name == 'up__write'\", decision: REQUIRE_APPROVAL, {keys} }}"
        ),
    )
}

/// The client, with its next call in the n-th trace.
pub(crate) fn traced(client: &Client, n: u128) -> Client {
    client.header("traceparent", &format!("00-{:032x}-b7ad6b7169203331-01", TRACE + n))
}

/// The n-th trace.
pub(crate) fn trace(n: u128) -> TraceId {
    TraceId::parse(&format!("{:032x}", TRACE + n)).unwrap()
}

/// What `audit show` prints of the n-th trace, with names in place of what differs from run to run.
pub(crate) async fn show(world: &World, n: u128) -> String {
    show_of(&*world.gate.store, trace(n)).await
}

/// The same of any trace, in a store: the text, and what `--json` has beside the events themselves.
pub(crate) async fn show_of(store: &dyn Store, trace: TraceId) -> String {
    let events = store.events(EventQuery { trace_id: Some(trace), ..EventQuery::default() }).await.unwrap();
    assert!(!events.is_empty(), "nothing is recorded of trace {trace}");
    let approvals = named_approvals(store, &events).await.unwrap();
    let all = store.events(EventQuery::default()).await.unwrap();
    let text = render(&questions(&events, &approvals));
    let mut report = trace_report(trace, &events, &approvals);
    let listed = report.as_object_mut().unwrap().remove("events").unwrap();
    assert_eq!(listed.as_array().unwrap().len(), events.len());
    five_answers(&text, &report);
    steady_json(&mut report);
    let report = serde_json::to_string_pretty(&report).unwrap();
    format!("{}\n--- json\n{}", named(text, &all), named(report, &all))
}

/// Each call of a page answers all five questions, on the screen and as JSON.
fn five_answers(text: &str, report: &Value) {
    let calls = report["calls"].as_array().unwrap();
    for question in [
        "who initiated?",
        "what was decided, and why?",
        "was approval required, and who approved?",
        "what executed, where, with what limits?",
        "where is the immutable evidence?",
    ] {
        assert_eq!(text.matches(question).count(), calls.len(), "{question}: {text}");
    }
    for call in calls {
        let who = &call["initiated"];
        assert!(who["agent_id"].is_string() && who["at"].is_string(), "{call:#}");
        let decided = call["decided"].as_array().unwrap();
        assert!(!decided.is_empty(), "{call:#}");
        for one in decided {
            let said = ["decision", "policy_id", "reason", "policy_snapshot"];
            assert!(said.iter().all(|name| one[*name].is_string()), "{one:#}");
        }
        let (approvals, grants) = (&call["approvals"], &call["grants"]);
        assert!(approvals.is_array() && grants.is_array(), "{call:#}");
        let executed = &call["executed"];
        assert!(executed.is_null() || (executed["outcome"].is_string() && executed["upstream"].is_string()));
        let evidence = call["evidence"].as_array().unwrap();
        assert!(
            evidence.iter().all(|one| one["hash"].as_str().is_some_and(|hash| hash.len() == 64)),
            "{call:#}"
        );
        assert!(!evidence.is_empty(), "{call:#}");
    }
}

/// What differs from run to run, in JSON: places in the chain, and what results took.
fn steady_json(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(steady_json),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match (name.as_str(), value.is_number()) {
                    ("seq" | "tokens" | "cost_usd", true) => *value = json!("N"),
                    (_, _) => steady_json(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every id by the order in which the record has it, and no hash.
fn named(mut page: String, events: &[Event]) -> String {
    let mut ids: Vec<(&str, String)> = Vec::new();
    for event in events {
        let draft = &event.draft;
        let of_event = [
            ("TRACE", draft.trace_id.map(|id| id.to_string())),
            ("CALL", draft.call_id.as_ref().map(|id| id.to_string())),
            ("APPROVAL", draft.approval_id.as_ref().map(|id| id.to_string())),
            ("GRANT", draft.grant_id.as_ref().map(|id| id.to_string())),
            ("SNAPSHOT", draft.policy_snapshot.as_ref().map(|id| id.to_string())),
        ];
        for (kind, id) in of_event {
            if let Some(id) = id
                && ids.iter().all(|(_, known)| *known != id)
            {
                ids.push((kind, id));
            }
        }
        page = page.replace(&event.hash, "HASH");
    }
    for kind in ["TRACE", "CALL", "APPROVAL", "GRANT", "SNAPSHOT"] {
        let of_kind = ids.iter().filter(|(of, _)| *of == kind);
        for (n, (_, id)) in of_kind.enumerate() {
            page = page.replace(id, &format!("{kind}-{}", n + 1));
        }
    }
    page.lines().map(|line| format!("{}\n", placeholders(&steady(line)))).collect()
}

/// Placeholders of a vault are its own.
fn placeholders(line: &str) -> String {
    let mut parts = line.split("[token:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (token, rest) = part.split_once(']').unwrap_or((part, ""));
        out.push_str(&format!("[token:{}:T]{rest}", token.split(':').next().unwrap_or_default()));
    }
    out
}

/// What an upstream lists may be recorded before the call or after it, so places in the chain differ; its results echo ids of
/// each run, so their tokens, and what these cost, differ as well.
fn steady(line: &str) -> String {
    if let Some((_, rest)) = line.strip_prefix("    seq ").and_then(|rest| rest.split_once(' ')) {
        return format!("    seq N {rest}");
    }
    if line.starts_with("    result ")
        && let Some((size, rest)) = line.split_once(" bytes, ")
        && let Some((_, rest)) = rest.split_once(" tokens")
    {
        return format!("{size} bytes, N tokens{rest}");
    }
    match line.rsplit_once(" ms, ") {
        Some((before, cost)) if cost.ends_with(" USD") => format!("{before} ms, COST USD"),
        Some(_) | None => line.to_owned(),
    }
}

/// The page of one call that is refused, or that is dispatched and settled.
async fn one(name: &'static str, files: &str, agent: &str, tool: &str, arguments: Value) -> Page {
    let (world, _) = world(files).await;
    made(name, &world, &world.bare(agent), "tools/call", json!({"name": tool, "arguments": arguments})).await
}

/// The same with any request, in a world that is there.
async fn made(name: &'static str, world: &World, client: &Client, method: &str, params: Value) -> Page {
    traced(client, 0).request(method, params).await;
    if world.up.count() > 0 {
        world.until_settled(1).await;
    }
    (name, show(world, 0).await)
}

async fn allowed() -> Page {
    one("allowed", "", "ada", "up__pay", json!({"to": "carol", "amount": 5})).await
}

async fn allowed_with_constraints() -> Page {
    let files = gate(
        "careful",
        "  - id: small\n    decision: ALLOW_WITH_CONSTRAINTS\n    constraints: { timeout: 5s, max_result_tokens: 100, arguments: { clamp: { /limit: { max: 10 } } } }",
    );
    one("allowed_with_constraints", &files, "ada", "up__read", json!({"path": "/a", "limit": 500})).await
}

fn safer(mode: &str) -> String {
    gate(
        "safer",
        &format!(
            "  - id: swap\n    condition: \"tool.name == 'up__delete'\"\n    decision: REMEDIATE\n    remediation: {{ mode: {mode}, set: {{ /to: /archive }}, tool: up__write, reason: an archive can be read }}"
        ),
    )
}

async fn remediated() -> Page {
    one("remediated", &safer("apply"), "ada", "up__delete", json!({"path": "/a"})).await
}

async fn remediation_suggested() -> Page {
    one("remediation_suggested", &safer("suggest"), "ada", "up__delete", json!({"path": "/a"})).await
}

async fn throttled_by_a_rate() -> Page {
    let (world, clock) = world(
        "=== rates.yaml
version: \"1.0\"
policies:
  - id: writers
    description: Writers take their time
    on: [{ tool: up__echo }]
    conditions: { allowed_roles: [writer], max_calls_per_minute: 2 }
    actions: { on_allow: permit, on_deny: deny, on_violation: throttle }
",
    )
    .await;
    let client = world.bare("ada");
    for n in 0..2 {
        client.call("up__echo", json!({"n": n})).await.ok();
        world.until_settled(n + 1).await;
        clock.advance(Duration::from_secs(5));
    }
    let params = json!({"name": "up__echo", "arguments": {"n": 2}});
    made("throttled_by_a_rate", &world, &client, "tools/call", params).await
}

async fn denied_by_a_policy() -> Page {
    let files = gate("deletes", "  - { id: never, condition: \"tool.destructive\", decision: DENY }");
    one("denied_by_a_policy", &files, "bot", "up__delete", json!({"path": "/a"})).await
}

async fn denied_by_a_budget() -> Page {
    let (world, _) = world(
        "=== budgets.yaml
budgets:
  - { id: pays, scope: agent, match: [{ tool: up__pay }], window: day, max_cost_usd: 0.40, on_exceed: deny }
",
    )
    .await;
    let client = world.bare("ada");
    client.call("up__pay", json!({"n": 0})).await.ok();
    world.until_settled(1).await;
    let params = json!({"name": "up__pay", "arguments": {"n": 1}});
    made("denied_by_a_budget", &world, &client, "tools/call", params).await
}

async fn stopped_loop() -> Page {
    let (world, clock) = world("").await;
    let client = world.bare("ada");
    for n in 1..=20 {
        client.call("up__echo", json!({"a": 1})).await.ok();
        world.until_settled(n).await;
        clock.advance(Duration::from_secs(1));
    }
    let params = json!({"name": "up__echo", "arguments": {"a": 1}});
    made("stopped_loop", &world, &client, "tools/call", params).await
}

async fn unknown_tool() -> Page {
    one("unknown_tool", "", "ada", "up__none", json!({"x": 1})).await
}

async fn out_of_scope() -> Page {
    one("out_of_scope", "", "narrow", "up__write", json!({"path": "/a"})).await
}

async fn refused_by_schema() -> Page {
    one("refused_by_schema", "", "ada", "up__read", json!({"path": "a", "limit": 0})).await
}

async fn approved_inline() -> Page {
    let (world, _) = world(&ask("approvers: [operator]")).await;
    let client = traced(&world.legacy("ada").await, 0);
    let answer = json!({"action": "accept", "content": {"decision": "approve", "comment": "fine"}});
    client.call_answering("up__write", json!({"path": "/a"}), answer).await.ok();
    world.until_settled(1).await;
    ("approved_inline", show(&world, 0).await)
}

/// One call asks, a person answers elsewhere, and a second call in another trace uses the answer: the page of either.
async fn approved_elsewhere() -> [Page; 2] {
    let (world, clock) = world(&ask("approvers: [leads]")).await;
    let client = world.bare("bot");
    let id = pending(&traced(&client, 0).call("up__write", json!({"path": "/a"})).await);
    clock.advance(Duration::from_secs(60));
    assert_eq!(world.decide("carol", &id, "approve").await, 200);
    clock.advance(Duration::from_secs(60));
    traced(&client, 1).call("up__write", json!({"path": "/a"})).await.ok();
    world.until_settled(1).await;
    [("approved_elsewhere_asked", show(&world, 0).await), ("approved_elsewhere_used", show(&world, 1).await)]
}

async fn waits_for_approval() -> Page {
    one("waits_for_approval", &ask("approvers: [leads]"), "bot", "up__write", json!({"path": "/a"})).await
}

async fn rejected() -> Page {
    let (world, clock) = world(&ask("approvers: [leads]")).await;
    let client = traced(&world.bare("bot"), 0);
    let id = pending(&client.call("up__write", json!({"path": "/a"})).await);
    clock.advance(Duration::from_secs(60));
    let body = json!({"decision": "reject", "comment": "use /tmp"});
    assert_eq!(world.api("alice", &format!("approvals/{id}/decision"), Some(body)).await.0, 200);
    ("rejected", show(&world, 0).await)
}

async fn expired() -> Page {
    let (world, clock) = world(&ask("approvers: [leads], expires_in: 15m")).await;
    let id = pending(&traced(&world.bare("bot"), 0).call("up__write", json!({"path": "/a"})).await);
    clock.advance(Duration::from_secs(901));
    assert_eq!(world.decide("carol", &id, "approve").await, 409);
    world.until_event(|e| e.draft.event_type == EventType::ApprovalExpired).await;
    ("expired", show(&world, 0).await)
}

async fn cancelled_by_new_policies() -> Page {
    let (world, clock) = world(&ask("approvers: [leads]")).await;
    pending(&traced(&world.bare("bot"), 0).call("up__write", json!({"path": "/a"})).await);
    clock.advance(Duration::from_secs(60));
    world.reload(&ask("approvers: [security]")).await;
    world.until_event(|e| e.draft.event_type == EventType::ApprovalCancelled).await;
    ("cancelled_by_new_policies", show(&world, 0).await)
}

async fn quorum_of_two() -> Page {
    let (world, clock) =
        world(&ask("approvers: [leads, security], quorum: 2, evidence_required: true")).await;
    let client = traced(&world.bare("bot"), 0);
    let id = pending(&client.call("up__write", json!({"path": "/a"})).await);
    for (person, evidence) in [("carol", "CHG-17"), ("bob", "INC-204")] {
        clock.advance(Duration::from_secs(30));
        let body = json!({"decision": "approve", "evidence": evidence});
        assert_eq!(world.api(person, &format!("approvals/{id}/decision"), Some(body)).await.0, 200);
    }
    client.call("up__write", json!({"path": "/a"})).await.ok();
    world.until_settled(1).await;
    ("quorum_of_two", show(&world, 0).await)
}

async fn upstream_error() -> Page {
    let (world, _) = world("").await;
    world.up.script(|seen| {
        (seen.method() == "tools/call").then(|| answer(error(seen, -32050, "the ledger is closed")))
    });
    let params = json!({"name": "up__pay", "arguments": {"to": "carol"}});
    made("upstream_error", &world, &world.bare("ada"), "tools/call", params).await
}

/// The upstream has the call, and its connection ends before it has answered: nobody knows what it did.
async fn upstream_died() -> Page {
    let (world, _) = world("").await;
    world.up.hangs();
    let client = traced(&world.bare("ada"), 0);
    let call = client.call("up__write", json!({"path": "/a"}));
    let died = async {
        world.up.until_count(1).await;
        world.up.die();
    };
    tokio::join!(call, died);
    world.until_settled(1).await;
    ("upstream_died", show(&world, 0).await)
}

async fn redacted_arguments() -> Page {
    let arguments = json!({
        "path": "/a",
        "content": "the whole plan",
        "password": "hunter2-hunter2",
        "note": format!("pay to {CUSTOMER}, ask carol@example.org"),
    });
    let (_, text) = one("", "", "ada", "up__write", arguments).await;
    for secret in ["the whole plan", "hunter2", CUSTOMER, "carol@"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    ("redacted_arguments", text)
}

async fn cut_result() -> Page {
    let files = gate(
        "short",
        "  - { id: brief, decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_bytes: 1000 } }",
    );
    let (world, _) = world(&files).await;
    world.up.results(text_result(&"word ".repeat(4000)));
    let params = json!({"name": "up__echo", "arguments": {}});
    made("cut_result", &world, &world.bare("ada"), "tools/call", params).await
}

async fn resource() -> Page {
    let (world, _) = world("").await;
    made("resource", &world, &world.bare("ada"), "resources/read", json!({"uri": "file:///open/a.txt"})).await
}

async fn prompt() -> Page {
    let (world, _) = world("").await;
    let params = json!({"name": "up__short", "arguments": {"about": "tea"}});
    made("prompt", &world, &world.bare("ada"), "prompts/get", params).await
}

async fn repeated_refusals() -> Page {
    let (world, clock) =
        world(&gate("deletes", "  - { id: never, condition: \"tool.destructive\", decision: DENY }")).await;
    let client = world.bare("bot");
    traced(&client, 0).call("up__delete", json!({"path": "/0"})).await;
    for n in 1..=4 {
        clock.advance(Duration::from_secs(2));
        client.call("up__delete", json!({"path": format!("/{n}")})).await;
    }
    clock.advance(Duration::from_secs(60));
    world.until_event(|e| Counted::of(&e.draft).is_some()).await;
    ("repeated_refusals", show(&world, 0).await)
}

async fn all() -> Vec<Page> {
    let single: Vec<LocalBoxFuture<'_, Page>> = vec![
        Box::pin(allowed()),
        Box::pin(allowed_with_constraints()),
        Box::pin(remediated()),
        Box::pin(remediation_suggested()),
        Box::pin(throttled_by_a_rate()),
        Box::pin(denied_by_a_policy()),
        Box::pin(denied_by_a_budget()),
        Box::pin(stopped_loop()),
        Box::pin(unknown_tool()),
        Box::pin(out_of_scope()),
        Box::pin(refused_by_schema()),
        Box::pin(approved_inline()),
        Box::pin(waits_for_approval()),
        Box::pin(rejected()),
        Box::pin(expired()),
        Box::pin(cancelled_by_new_policies()),
        Box::pin(quorum_of_two()),
        Box::pin(upstream_error()),
        Box::pin(upstream_died()),
        Box::pin(redacted_arguments()),
        Box::pin(cut_result()),
        Box::pin(resource()),
        Box::pin(prompt()),
        Box::pin(repeated_refusals()),
    ];
    let mut pages = Vec::new();
    for page in single {
        pages.push(page.await);
    }
    pages.extend(approved_elsewhere().await);
    pages.extend(incidents::all().await);
    pages
}

/// Each page is as it was accepted, and no accepted page is without its call.
#[tokio::test]
async fn the_pages_of_audit_show() {
    let pages = all().await;
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("pages");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut differ = Vec::new();
    for (name, text) in &pages {
        // All that differ are shown, not the first alone.
        let held = || settings.bind(|| insta::assert_snapshot!(*name, text));
        if std::panic::catch_unwind(AssertUnwindSafe(held)).is_err() {
            differ.push(*name);
        }
    }
    assert!(differ.is_empty(), "these pages are not as they were accepted: {differ:?}");
    let made: BTreeSet<String> = pages.iter().map(|(name, _)| format!("{name}.snap")).collect();
    assert_eq!(made.len(), pages.len(), "two pages have one name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/pages");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let accepted: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(
        accepted, made,
        "tests/it/pages has a page that no call makes, or one that is not accepted yet"
    );
}
