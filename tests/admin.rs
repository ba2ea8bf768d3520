//! A whole gateway from outside: approvals across processes, hot reload, revocation, events, and an orderly end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test"
)]

mod binary;
#[path = "store/database.rs"]
mod database;
#[path = "admin/replicas.rs"]
mod replicas;
#[path = "admin/roles.rs"]
mod roles;

use binary::{Serving, http, https, shipped, tollgate, tollgate_with_key};
use serde_json::{Value, json};

const BOB: Option<&str> = Some("demo-bob-key");

fn pending(serving: &Serving) -> Vec<Value> {
    let answer = serving.admin(BOB, "GET", "/api/v1/approvals?status=pending", "");
    answer.json()["approvals"].as_array().unwrap().clone()
}

#[test]
fn an_approval_is_given_in_another_process_and_used_once() {
    let folder = shipped();
    let events = folder.path().join("events.jsonl");
    let serving =
        Serving::start(folder.path(), &["--events", events.to_str().unwrap(), "--events", "stdout"]);
    serving.admin_until("/readyz", |answer| answer.status == 200);

    let write = json!({"path": "/notes/new.md", "text": "hello"});
    let asked = serving.call("demo-agent-key", "demo__note_write", &write);
    assert_eq!(asked["isError"], true, "{asked}");
    assert_eq!(asked["_meta"]["tollgate/decision"]["decision"], "pending_approval", "{asked}");
    let waiting = pending(&serving);
    assert_eq!(waiting.len(), 1);
    let id = waiting[0]["id"].as_str().unwrap();
    assert_eq!(waiting[0]["agent_id"], "demo-agent");

    // R29: bob's group is not named by the rule; carol administers and does not decide.
    let decision = format!("/api/v1/approvals/{id}/decision");
    let approve = r#"{"decision":"approve"}"#;
    assert_eq!(serving.admin(BOB, "POST", &decision, approve).status, 403);
    assert_eq!(serving.admin(Some("demo-carol-key"), "POST", &decision, approve).status, 403);
    assert_eq!(serving.admin(Some("demo-agent-key"), "POST", &decision, approve).status, 403);
    assert_eq!(serving.admin(None, "POST", &decision, approve).status, 401);
    assert_eq!(pending(&serving).len(), 1);

    // I10: decided by the command line, on the same store.
    let secret = "call me at +1 415 555 2671, alice@example.org";
    let said = tollgate_with_key(
        folder.path(),
        "demo-alice-key",
        &["approvals", "approve", id, "--comment", secret],
    );
    assert_eq!(said.code, 0, "{}", said.err);
    let record = serving.admin(BOB, "GET", &format!("/api/v1/approvals/{id}"), "").json();
    assert_eq!((&record["status"], &record["decisions"][0]["channel"]), (&json!("approved"), &json!("cli")));
    assert!(!record.to_string().contains("alice@example.org"), "I5: {record}");
    let done = serving.call("demo-agent-key", "demo__note_write", &write);
    assert!(!done["isError"].as_bool().unwrap_or(false), "{done}");
    // I4: it was consumed; the same call asks again.
    let again = serving.call("demo-agent-key", "demo__note_write", &write);
    assert_eq!(again["_meta"]["tollgate/decision"]["decision"], "pending_approval", "{again}");
    let used = serving.admin(BOB, "GET", &format!("/api/v1/approvals/{id}"), "").json();
    assert_eq!(used["status"], "consumed");

    // R52 to R56: the five answers of the trace that asked.
    let trace = record["trace_id"].as_str().unwrap();
    let report = serving.admin(BOB, "GET", &format!("/api/v1/traces/{trace}"), "").json();
    assert_eq!(report["calls"][0]["approvals"][0]["decisions"][0]["person"], "alice");
    let shown = tollgate(folder.path(), &["audit", "show", trace]);
    assert!(shown.out.contains("who initiated?") && shown.out.contains("alice"), "{}", shown.out);
    // The ids of the approval and of the call lead to the same page.
    let call = report["calls"][0]["call_id"].as_str().unwrap();
    for other in [id, call] {
        let by_id = tollgate(folder.path(), &["audit", "show", other]);
        assert_eq!(by_id.out, shown.out, "{}", by_id.err);
        assert!(by_id.err.contains(trace), "{}", by_id.err);
    }
    // R46: the call that used the approval stands in the trace that asked for it.
    assert_eq!(report["calls"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report["calls"][1]["executed"]["outcome"], "succeeded", "{report}");
    // R6, R29: each event of an approval names the capability, and who decided in which role.
    let of_approval = |kind: &str| {
        let found =
            serving.admin(BOB, "GET", &format!("/api/v1/events?event_type={kind}&trace_id={trace}"), "");
        found.json()["events"][0].clone()
    };
    let (asked, decided) = (of_approval("approval_requested"), of_approval("approval_decided"));
    assert_eq!(
        (&asked["capability_id"], &decided["capability_id"]),
        (&json!("notes.write"), &json!("notes.write"))
    );
    assert_eq!(decided["actor"], json!({"type": "person", "role": "approver"}));
    assert_eq!(decided["detail"]["person"], "alice");
    // R47: what a person did, and what is of an approval.
    let seqs = |more: &[&str]| -> Vec<Value> {
        let said = tollgate(folder.path(), &[&["audit", "query", "--json"], more].concat());
        let listed: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        listed["events"].as_array().unwrap().iter().map(|event| event["seq"].clone()).collect()
    };
    assert_eq!(seqs(&["--person", "al*", "--approval", id]), [decided["seq"].clone()]);
    assert!(seqs(&["--approval", id]).contains(&asked["seq"]));
    assert!(seqs(&["--person", "nobody"]).is_empty());
    let by_api = serving.admin(BOB, "GET", &format!("/api/v1/events?person=alice&approval_id={id}"), "");
    assert_eq!(by_api.json()["events"], json!([decided]));
    assert_eq!(tollgate(folder.path(), &["audit", "verify"]).code, 0);
    let exported = tollgate(folder.path(), &["audit", "export", "--limit", "12"]);
    assert_eq!(exported.out.lines().count(), 12);
    // I9: an export is verified without the store, and a changed one is named by its seq.
    let export = folder.path().join("export.jsonl");
    std::fs::write(&export, &exported.out).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let verify = ["audit", "verify", "--file", export.to_str().unwrap()];
    let empty = elsewhere.path().join("empty.jsonl");
    std::fs::write(&empty, "\n").unwrap();
    let nothing = tollgate(elsewhere.path(), &["audit", "verify", "--file", empty.to_str().unwrap()]);
    assert!(nothing.code == 1 && nothing.err.contains("no record at all"), "{} {}", nothing.out, nothing.err);
    let whole = tollgate(elsewhere.path(), &verify);
    assert!(whole.code == 0 && whole.out.contains("12 records"), "{} {}", whole.out, whole.err);
    std::fs::write(&export, exported.out.replacen("demo-agent", "other-agent", 1)).unwrap();
    let changed = tollgate(elsewhere.path(), &verify);
    let seq = 1 + exported.out.lines().position(|line| line.contains("demo-agent")).unwrap();
    assert!(changed.code == 1 && changed.err.contains(&seq.to_string()), "{} {}", changed.out, changed.err);
    assert!(exported.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));

    let (code, out, log) = serving.end();
    assert_eq!(code, 0, "{log}");
    // Sinks hold every event, in order, up to the last one.
    let sunk = std::fs::read_to_string(&events).unwrap();
    assert_eq!(sunk, out);
    let seqs: Vec<i64> = sunk
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    for place in [&sunk, &log] {
        assert!(!place.contains("alice@example.org"), "I5");
    }
}

/// R55: an approval that is used in another trace than the one that asked: its id shows both, each trace names the other
/// call, and nobody is told that nothing came of it. `approvals show` has the escalation and each channel.
#[test]
fn an_approval_shows_all_its_traces() {
    let folder = shipped();
    let rule = "name: walk\ndescription: d\nowner: tests\non: [{ tool: demo__note_write }]\nrules: [{ id: r, decision: REQUIRE_APPROVAL, \
                approvers: [alice], expires_in: 2h, escalate: { after: 1h, to: [bob, security-team] } }]\n";
    std::fs::write(folder.path().join("policies/walk.yaml"), rule).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let write = json!({"path": "/notes/two.md", "text": "two traces"});
    let traces = ["1f2e3d4c5b6a79880123456789abcdef", "fedcba98765432100987a6b5c4d3e2f1"];
    let call = |trace: &str| {
        let meta = json!({"traceparent": format!("00-{trace}-00f067aa0ba902b7-01")});
        serving.call_with("demo-agent-key", "demo__note_write", &write, &meta)
    };
    let asked = call(traces[0]);
    let id = asked["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap().to_owned();
    let shown = || tollgate(folder.path(), &["approvals", "show", &id]).out;
    let waits = shown();
    assert!(
        waits.contains("0 of 1 by alice; from ") && waits.contains(" also bob, security-team"),
        "{waits}"
    );
    let listed = tollgate(folder.path(), &["approvals", "list"]).out;
    assert!(listed.contains(" also bob, security-team"), "{listed}");
    let before = tollgate(folder.path(), &["audit", "show", traces[0]]).out;
    assert!(before.contains("nothing is recorded as executed") && !before.contains("used by"), "{before}");
    let said = tollgate_with_key(folder.path(), "demo-alice-key", &["approvals", "approve", &id]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(shown().contains("approved by alice by cli at "), "{}", shown());
    let done = call(traces[1]);
    assert!(!done["isError"].as_bool().unwrap_or(false), "{done}");

    let report = |of: &str| {
        let shown = tollgate(folder.path(), &["audit", "show", of, "--json"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        serde_json::from_str::<Value>(&shown.out).unwrap()
    };
    let whole = report(&id);
    assert_eq!((&whole["trace_id"], &whole["traces"]), (&json!(traces[0]), &json!(traces)));
    let calls = whole["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{whole}");
    assert_eq!((&calls[0]["trace_id"], &calls[0]["executed"]), (&json!(traces[0]), &Value::Null));
    assert_eq!(
        (&calls[1]["trace_id"], &calls[1]["executed"]["outcome"]),
        (&json!(traces[1]), &json!("succeeded"))
    );
    for (at, trace) in traces.iter().enumerate() {
        let one = report(trace);
        assert_eq!(one["calls"].as_array().unwrap().len(), 1, "{one}");
        let approval = &one["calls"][0]["approvals"][0];
        assert_eq!(approval["asked_by"]["trace_id"], traces[0], "{at}");
        assert_eq!(approval["used_by"]["trace_id"], traces[1], "{at}");
        assert_eq!(approval["used_by"]["call_id"], calls[1]["call_id"], "{at}");
        // The API tells the same to those who see values.
        let served =
            serving.admin(Some("demo-carol-key"), "GET", &format!("/api/v1/traces/{trace}"), "").json();
        assert_eq!(served["calls"], one["calls"]);
    }
    let text = tollgate(folder.path(), &["audit", "show", &id]);
    assert!(text.err.contains(&format!("is of traces {}, {}", traces[0], traces[1])), "{}", text.err);
    let used = format!("used by call {} in trace {}", calls[1]["call_id"].as_str().unwrap(), traces[1]);
    let asking = tollgate(folder.path(), &["audit", "show", traces[0]]).out;
    for shown in [&text.out, &asking] {
        assert!(shown.contains(&used) && !shown.contains("nothing is recorded as executed"), "{shown}");
    }
    assert!(text.out.contains("succeeded: demo__note_write on demo"), "{}", text.out);
    let using = tollgate(folder.path(), &["audit", "show", traces[1]]).out;
    assert!(
        using.contains(&format!("in trace {} at ", traces[0])) && using.contains("used by this call at "),
        "{using}"
    );

    // What is no export is told as what it is, and no broken chain.
    let csv = folder.path().join("events.csv");
    let exported = tollgate(folder.path(), &["audit", "export", "--format", "csv"]).out;
    std::fs::write(&csv, exported).unwrap();
    let verified = tollgate(folder.path(), &["audit", "verify", "--file", csv.to_str().unwrap()]);
    assert!(verified.code == 1 && verified.err.contains("it is a CSV export"), "{}", verified.err);
    assert!(!verified.err.contains("chain"), "{}", verified.err);
    let marked = folder.path().join("marked.jsonl");
    std::fs::write(&marked, format!("\u{feff}{}", tollgate(folder.path(), &["audit", "export"]).out))
        .unwrap();
    let verified = tollgate(folder.path(), &["audit", "verify", "--file", marked.to_str().unwrap()]);
    assert!(verified.code == 0 && verified.out.contains("the export is whole"), "{}", verified.err);
}

#[test]
fn a_broken_file_changes_nothing_and_a_good_one_counts_at_once() {
    let folder = shipped();
    let serving = Serving::start(folder.path(), &[]);
    let ready = serving.admin_until("/readyz", |answer| answer.status == 200).json();
    let snapshot = ready["policy_snapshot"].clone();
    let authority = folder.path().join("policies/authority.yaml");
    let good = std::fs::read_to_string(&authority).unwrap();

    std::fs::write(&authority, format!("{good}\nnonsense: true\n")).unwrap();
    let rejected = serving.admin_until("/readyz", |answer| !answer.json()["rejected_reload"].is_null());
    assert_eq!(rejected.status, 200, "a rejected reload is a detail");
    assert_eq!(rejected.json()["policy_snapshot"], snapshot);
    assert!(rejected.text.contains("nonsense"), "{}", rejected.text);
    let listed = serving.call("demo-agent-key", "demo__notes_list", &json!({}));
    assert!(!listed["isError"].as_bool().unwrap_or(false), "{listed}");

    // Carol leaves: her key is refused from then on.
    let without = good.replacen("  carol:\n", "  dora:\n", 1).replace(
        "sha256:074e16b18ceae77bd61d64737f7958946ae49a2d5b17a2c74be661ad9145abe8",
        &format!("sha256:{}", "0".repeat(64)),
    );
    assert_ne!(without, good);
    assert_eq!(serving.admin(Some("demo-carol-key"), "GET", "/api/v1/agents", "").status, 200);
    std::fs::write(&authority, without).unwrap();
    let reloaded = serving.admin_until("/readyz", |answer| answer.json()["policy_snapshot"] != snapshot);
    assert!(reloaded.json()["rejected_reload"].is_null());
    assert_eq!(serving.admin(Some("demo-carol-key"), "GET", "/api/v1/agents", "").status, 401);

    let of = |kind: &str| {
        let answer = serving.admin(BOB, "GET", &format!("/api/v1/events?event_type={kind}"), "");
        answer.json()["events"].as_array().unwrap().len()
    };
    assert_eq!((of("policy_rejected"), of("policy_activated")), (1, 2));
    let (code, _, log) = serving.end();
    assert_eq!(code, 0, "{log}");
}

/// TLS guards both listeners, and neither speaks anything else then.
#[test]
fn tls_is_on_both_listeners() {
    let folder = shipped();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/front/fixtures");
    let cert = folder.path().join("cert.pem");
    std::fs::copy(fixtures.join("cert.pem"), &cert).unwrap();
    std::fs::copy(fixtures.join("key.pem"), folder.path().join("key.pem")).unwrap();
    let servers = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    let tls = "[gateway]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\ninstructions = \"ask first\"";
    std::fs::write(&servers, text.replacen("[gateway]", tls, 1)).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    assert_eq!(https(&cert, &serving.admin, "GET", "/healthz", "", "").status, 200);
    let headers = "Authorization: Bearer demo-agent-key\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n";
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let opened = https(&cert, &serving.mcp, "POST", "/mcp", headers, &hello.to_string());
    assert_eq!(opened.status, 200, "{}", opened.text);
    assert!(opened.text.contains("ask first"), "{}", opened.text);
    for address in [&serving.mcp, &serving.admin] {
        let plain = std::panic::catch_unwind(|| http(address, "GET", "/healthz", "", "").status);
        assert!(plain.is_err(), "{plain:?}");
    }
}
