//! `tollgate policy test` and `policy explain` as a person meets them: the real binary, over the shipped bundle.

use crate::binary::{Said, Serving, shipped, tollgate};
use serde_json::{Value, json};
use std::path::Path;

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{} {}", said.out, said.err))
}

/// The shipped bundle with these tests alone.
fn with_tests(text: &str) -> tempfile::TempDir {
    let folder = shipped();
    let tests = folder.path().join("policies/tests");
    std::fs::remove_dir_all(&tests).unwrap();
    std::fs::create_dir(&tests).unwrap();
    std::fs::write(tests.join("own.yaml"), text).unwrap();
    folder
}

/// R67: the shipped bundle has tests, they pass without anything being started, and they reach every rule that can be.
#[test]
fn the_shipped_bundle_passes_its_tests() {
    let folder = shipped();
    let said = tollgate(folder.path(), &["policy", "test", "--json"]);
    assert_eq!(said.code, 0, "{} {}", said.out, said.err);
    let told = parsed(&said);
    assert_eq!(told["failures"], json!([]));
    assert!(told["passed"].as_u64().unwrap() >= 25, "{told}");
    assert_eq!(told["coverage"]["unreached"], json!([]), "{told}");
    assert_eq!(told["coverage"]["rules"], told["coverage"]["reached"]);
    assert!(!folder.path().join(".tollgate").exists(), "nothing was made");
    let text = tollgate(folder.path(), &["policy", "test"]);
    assert!(text.out.contains("failed 0; rules reached"), "{}", text.out);
}

/// R67: what is otherwise than expected is told with both, in each of the three forms, and is exit code 1.
#[test]
fn a_failure_says_what_was_expected_and_what_came() {
    let folder = with_tests(
        "tests:
  - name: wrong <decision>
    call: { agent: demo-agent, tool: demo__note_write, arguments: { path: /notes/a.md, text: x } }
    expect: { decision: ALLOW, policy_id: writes, rule_id: scratch, approvers: [], constraints: { timeout: 5s } }
  - name: right
    call: { agent: demo-agent, tool: demo__notes_list }
    expect: { decision: allow, constraints: {} }
  - name: wrong limits and reason
    call: { agent: demo-agent, tool: demo__slow_echo, arguments: { text: x } }
    expect: { decision: ALLOW_WITH_CONSTRAINTS, constraints: { timeout: 6s }, reason: nonsense }
",
    );
    let report = folder.path().join("report.xml");
    let said = tollgate(folder.path(), &["policy", "test", "--json", "--junit", report.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{}", said.err);
    let told = parsed(&said);
    assert_eq!((&told["passed"], &told["failed"]), (&json!(1), &json!(2)));
    let failure = &told["failures"][0];
    assert_eq!(failure["name"], "wrong <decision>");
    assert_eq!(
        failure["expected"],
        json!({"decision": "allow", "policy_id": "writes", "rule_id": "scratch", "approvers": [], "constraints": {"timeout": "5s"}})
    );
    assert_eq!(failure["got"]["decision"], "pending_approval");
    assert_eq!((&failure["got"]["policy_id"], &failure["got"]["rule_id"]), (&json!("writes"), &json!("ask")));
    assert_eq!(failure["got"]["approvers"], json!(["operator", "platform-lead"]));
    let unreached = told["coverage"]["unreached"].as_array().unwrap();
    assert!(
        unreached.contains(&json!("deletes/others")) && !unreached.contains(&json!("writes/ask")),
        "{told}"
    );
    // Unmet by what came, not by what was reached.
    assert!(!unreached.contains(&json!("agent-rate")), "a policy of a rulebook counts as one rule");
    let text = tollgate(folder.path(), &["policy", "test"]);
    assert_eq!(text.code, 1);
    for part in [
        "FAIL wrong <decision>",
        "own.yaml:2",
        "decision: expected allow, got pending_approval",
        "timeout",
        "reason: expected a part `nonsense`",
        "passed 1, failed 2",
        "reached by no test:",
    ] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    let xml = std::fs::read_to_string(report).unwrap();
    assert!(
        xml.contains("tests=\"3\" failures=\"2\"") && xml.contains("name=\"wrong &lt;decision&gt;\""),
        "{xml}"
    );
}

/// Errors in the files of tests have their places and proposals like the others of the bundle, all of them at once.
#[test]
fn wrong_tests_are_told_with_their_places() {
    let folder = with_tests(
        "tests:
  - name: one
    call: { agent: demo-agnet, tool: demo__notes_list }
    expect: { decision: ALLOW }
  - name: two
    call: { agent: demo-agent, tool: demo__notes_list, argumnets: {} }
    expect: { decision: REQUIRE_APROVAL, policy_id: wirtes }
  - name: three
    call: { agent: demo-agent, tool: a, prompt: b }
    expect: { decision: ALLOW, policy_id: writes, rule_id: scrtach }
  - name: one
    facts: { agent: demo-agent, now: soon, data: { level: secret } }
    expect: { decision: approved }
  - name: four
    call: { agent: demo-agent, tool: a, now: 2026-01-01T00:00:00Z, repeats: -1 }
",
    );
    let said = tollgate(folder.path(), &["policy", "test"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.out);
    for part in [
        "own.yaml:3:20",
        "did you mean `demo-agent`?",
        "unknown key `argumnets`; did you mean `arguments`?",
        "`REQUIRE_APROVAL` is no decision; did you mean `REQUIRE_APPROVAL`?",
        "there is no policy `wirtes`; did you mean `writes`?",
        "`prompt` beside another target",
        "policy `writes` has no rule `scrtach`; did you mean `scratch`?",
        "duplicate test `one`",
        "`soon` does not fit `now`",
        "`secret` does not fit `level`",
        "`approved` is no decision",
        "`-1` does not fit `repeats`",
        "`expect` is missing",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    std::fs::rename(
        folder.path().join("policies/tests/own.yaml"),
        folder.path().join("policies/tests/own.yml"),
    )
    .unwrap();
    let said = tollgate(folder.path(), &["policy", "test"]);
    assert!(said.code == 1 && said.err.contains("would not be read"), "{}", said.err);
    // They are no part of what the bundle means.
    assert_eq!(tollgate(folder.path(), &["check"]).code, 0);
}

/// A call of an upstream that never listed is resolved from servers.toml; facts stand for what is not known at all.
#[test]
fn calls_of_an_unknown_upstream_are_resolved_from_the_files() {
    let folder = with_tests(
        "tests:
  - name: a table says that it is a write
    call: { agent: demo-agent, tool: crm__update, arguments: { id: 1 } }
    expect: { decision: REQUIRE_APPROVAL, policy_id: crm }
  - name: a tool without a table is taken at its worst
    call: { agent: demo-agent, tool: crm__other }
    expect: { decision: DENY, policy_id: default }
  - name: facts say what the tool is
    facts: { agent: demo-agent, tool: { name: crm__other, labels: [write], upstream: crm, action: \"notes:write\" }, args: { path: /scratch/a } }
    expect: { decision: ALLOW, policy_id: writes, rule_id: scratch }
",
    );
    let servers = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    let crm = "[upstreams.crm]\nurl = \"http://127.0.0.1:1/mcp\"\n[upstreams.crm.tools.update]\naction = \"crm:write\"\n";
    std::fs::write(&servers, format!("{text}\n{crm}")).unwrap();
    let authority = folder.path().join("policies/authority.yaml");
    let text = std::fs::read_to_string(&authority).unwrap();
    let text = text.replace(
        "capabilities:\n  notes.read",
        "capabilities:\n  crm.all: { tools: [\"crm__*\"] }\n  notes.read",
    );
    let text = text.replace(
        "[notes.read, notes.write, notes.delete,",
        "[crm.all, notes.read, notes.write, notes.delete,",
    );
    std::fs::write(&authority, text).unwrap();
    std::fs::write(
        folder.path().join("policies/crm.yaml"),
        "name: crm\ndescription: d\nowner: o\non: [{ action: \"crm:write\" }]\nrules: [{ decision: REQUIRE_APPROVAL }]\n",
    )
    .unwrap();
    let said = tollgate(folder.path(), &["policy", "test"]);
    assert_eq!(said.code, 0, "{} {}", said.out, said.err);
    assert!(said.err.contains("what upstream `crm` lists is not known yet"), "{}", said.err);
}

/// R65: what is wrong in a test is told by `check`, and is an error under `--strict`, and a test of facts that no capability
/// covers says what to state.
#[test]
fn check_reads_the_tests() {
    let folder = with_tests(
        "tests:\n  - nam: x\n    facts: { agent: demo-agent }\n    expect: { decision: ALLOWW }\n",
    );
    let said = tollgate(folder.path(), &["check"]);
    assert!(said.code == 0 && said.out.contains("own.yaml:2:5: lint: unknown key `nam`"), "{}", said.out);
    let said = tollgate(folder.path(), &["check", "--strict", "--json"]);
    let told = parsed(&said);
    assert_eq!((said.code, &told["ok"]), (1, &json!(false)), "{}", said.err);
    let messages: Vec<&str> =
        told["errors"].as_array().unwrap().iter().filter_map(|error| error["message"].as_str()).collect();
    assert!(messages.contains(&"unknown key `nam`; did you mean `name`?"), "{messages:?}");
    assert!(messages.contains(&"`ALLOWW` is no decision; did you mean `ALLOW`?"), "{messages:?}");

    let folder = with_tests(
        "tests:\n  - name: n\n    facts: { agent: demo-agent, tool: demo__admin_reset }\n    expect: { decision: ALLOW }\n",
    );
    assert_eq!(tollgate(folder.path(), &["check"]).code, 0);
    let said = tollgate(folder.path(), &["policy", "test"]);
    assert!(said.code == 1 && said.out.contains("state `capability: NAME` in the facts"), "{}", said.out);
}

fn explain(folder: &Path, more: &[&str]) -> Value {
    let said = tollgate(folder, &[&["policy", "explain", "--json"], more].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    parsed(&said)
}

/// R71: the shape that others build on; nothing is needed but the files.
#[test]
fn a_call_is_explained_from_the_files() {
    let folder = shipped();
    let write = ["--agent", "demo-agent", "--tool", "demo__note_write", "--args"];
    let told = explain(folder.path(), &[&write[..], &[r#"{"path":"/notes/a.md","text":"x"}"#]].concat());
    assert_eq!(
        (&told["decision"], &told["policy_id"], &told["rule_id"]),
        (&json!("pending_approval"), &json!("writes"), &json!("ask"))
    );
    assert!(told["reason"].as_str().unwrap().contains("needs approval"), "{told}");
    assert_eq!(told["approvers"], json!(["operator", "platform-lead"]));
    assert_eq!(told["constraints"], json!({}));
    assert!(told["steps"].as_array().unwrap().iter().any(|step| step["policy_id"] == "writes"), "{told}");
    let changes = told["changes"].as_array().unwrap();
    let scratch = changes.iter().find(|change| change["rule_id"] == "scratch").unwrap();
    assert_eq!(
        (&scratch["if"], &scratch["decision"], &scratch["arguments"]),
        (&json!("args.path were within /scratch"), &json!("allow"), &json!({"/path": "/scratch/a.md"}))
    );
    let frozen = [r#"{"path":"/scratch/a.md","text":"x"}"#, "--at", "2027-12-31T00:00:00Z"];
    let told = explain(folder.path(), &[&write[..], &frozen].concat());
    assert_eq!((&told["policy_id"], &told["rule_id"]), (&json!("year-end-freeze"), &json!("frozen")));
    let search = ["--agent", "demo-agent", "--tool", "demo__search", "--args", r#"{"query":"q","limit":99}"#];
    let told = explain(folder.path(), &search);
    assert_eq!(told["decision"], "allow_with_constraints");
    assert_eq!(
        told["constraints"],
        json!({"timeout": "10s", "max_cost": 0.5, "max_result_tokens": 2000, "arguments": {"clamp": {"/limit": {"max": 10}}}})
    );
    assert_eq!(
        told["evaluations"].as_array().unwrap().len(),
        2,
        "the call as it came, and as it was changed"
    );
    let unknown = explain(folder.path(), &["--agent", "demo-agent", "--tool", "demo__nothing"]);
    assert_eq!((&unknown["decision"], &unknown["policy_id"]), (&json!("deny"), &json!("scope")));
    let hidden = explain(folder.path(), &["--agent", "demo-keeper", "--tool", "demo__note_write"]);
    assert_eq!((&hidden["decision"], &hidden["policy_id"]), (&json!("deny"), &json!("scope")));
    let note = explain(folder.path(), &["--agent", "demo-agent", "--resource", "note:///notes/welcome.md"]);
    assert_eq!((&note["decision"], &note["policy_id"]), (&json!("allow"), &json!("reads")));
    assert!(!folder.path().join(".tollgate").exists(), "nothing was made");
    let said = tollgate(folder.path(), &["policy", "explain", "--agent", "demo-agnet", "--tool", "x"]);
    assert!(said.code == 1 && said.err.contains("did you mean `demo-agent`?"), "{}", said.err);
    let said = tollgate(folder.path(), &["policy", "explain", "--agent", "demo-agent"]);
    assert!(said.code == 2 && said.err.contains("--tool"), "{}", said.err);
    for wrong in [
        &["policy", "explain", "--trace", "0af7651916cd43dd8448eb211c80319c", "--tool", "x"][..],
        &["policy", "explain", "--tool", "x"],
        &["policy", "explain", "--agent", "a", "--tool", "x", "--args", "[]"],
    ] {
        assert_eq!(tollgate(folder.path(), wrong).code, 2, "{wrong:?}");
    }
}

/// R71, R67: a running gateway explains as the command does, records nothing of it, and what it recorded of real calls is
/// explained and becomes tests that pass.
#[test]
fn recorded_calls_are_explained_and_become_tests() {
    let folder = shipped();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let write = json!({"path": "/notes/new.md", "text": "hello"});
    let asked = serving.call("demo-agent-key", "demo__note_write", &write);
    let decision = &asked["_meta"]["tollgate/decision"];
    assert_eq!(decision["decision"], "pending_approval", "{asked}");
    let trace = decision["trace_id"].as_str().unwrap();
    let snapshot = decision["policy_snapshot"].as_str().unwrap().to_owned();

    let before = tollgate(folder.path(), &["audit", "query", "--json"]).out;
    let question = json!({"agent": "demo-agent", "tool": "demo__note_write", "arguments": write});
    let alice = Some("demo-alice-key");
    let told = serving.admin(alice, "POST", "/api/v1/explain", &question.to_string());
    assert_eq!(told.status, 200);
    let told = told.json();
    assert_eq!(
        (&told["decision"], &told["policy_id"], &told["rule_id"], &told["policy_snapshot"]),
        (&json!("pending_approval"), &json!("writes"), &json!("ask"), &json!(snapshot))
    );
    let other =
        json!({"agent": "demo-agent", "tool": "demo__note_write", "arguments": write, "snapshot": snapshot});
    assert_eq!(serving.admin(alice, "POST", "/api/v1/explain", &other.to_string()).status, 200);
    let gone = json!({"agent": "demo-agent", "tool": "x", "snapshot": "none"});
    assert_eq!(serving.admin(alice, "POST", "/api/v1/explain", &gone.to_string()).status, 404);
    assert_eq!(
        serving.admin(Some("demo-agent-key"), "POST", "/api/v1/explain", &question.to_string()).status,
        403
    );
    assert_eq!(serving.admin(None, "POST", "/api/v1/explain", &question.to_string()).status, 401);
    assert_eq!(serving.admin(alice, "POST", "/api/v1/explain", "{}").status, 400);
    let cli = explain(
        folder.path(),
        &[
            "--agent",
            "demo-agent",
            "--tool",
            "demo__note_write",
            "--args",
            &write.to_string(),
            "--snapshot",
            snapshot.get(..8).unwrap(),
        ],
    );
    for member in
        ["decision", "policy_id", "rule_id", "reason", "approvers", "constraints", "steps", "changes"]
    {
        assert_eq!(cli[member], told[member], "{member}");
    }
    let recorded = explain(folder.path(), &["--trace", trace]);
    for member in ["decision", "policy_id", "rule_id", "reason", "approvers", "policy_snapshot"] {
        assert_eq!(recorded[member], told[member], "{member}");
    }
    for member in ["agent", "name", "upstream", "action", "labels", "arguments", "user", "workflow", "level"]
    {
        assert_eq!(recorded["call"][member], told["call"][member], "{member}");
    }
    let said = tollgate(folder.path(), &["policy", "replay", "--trace", "0af7651916cd43dd8448eb211c80319c"]);
    assert!(
        said.code == 1 && said.err.contains("there is no decision of trace"),
        "{} {}",
        said.out,
        said.err
    );
    let text = tollgate(folder.path(), &["policy", "explain", "--trace", trace]).out;
    assert!(text.contains("false  within(args.path, '/scratch')   [args.path = '/notes/new.md']"), "{text}");
    assert_eq!(tollgate(folder.path(), &["audit", "query", "--json"]).out, before, "nothing was recorded");

    // A call that no rule saw, and one with a value that the record masks.
    let unknown = json!({"_meta": {}});
    serving.call("demo-keeper-key", "demo__note_write", &unknown);
    // One that is held to limits.
    serving.call("demo-agent-key", "demo__search", &json!({"query": "plan", "limit": 99}));
    let secret = json!({"path": "/scratch/b.md", "text": "ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8"});
    assert_ne!(serving.call("demo-agent-key", "demo__note_write", &secret)["isError"], json!(true));
    let events =
        parsed(&tollgate(folder.path(), &["audit", "query", "--json", "--event-type", "agent_decision"]));
    let traces: std::collections::BTreeSet<&str> =
        events["events"].as_array().unwrap().iter().filter_map(|event| event["trace_id"].as_str()).collect();
    assert_eq!(traces.len(), 4, "{events}");
    let asked = trace.to_owned();
    let tests = folder.path().join("policies/tests");
    std::fs::remove_dir_all(&tests).unwrap();
    std::fs::create_dir(&tests).unwrap();
    for trace in traces {
        let said = tollgate(folder.path(), &["audit", "show", trace, "--as-test"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(!said.out.contains("ghp_"), "{}", said.out);
        if trace == asked {
            assert!(said.out.contains(r#"approvers: ["operator","platform-lead"]"#), "{}", said.out);
        }
        if said.out.contains("demo__search") {
            assert!(said.out.contains(r#"constraints: {"timeout":"10s","max_cost":0.5,"#), "{}", said.out);
        }
        if said.out.contains("/scratch/b.md") {
            assert!(
                said.out.contains("# Masked in the record") && said.out.contains("/args/text"),
                "{}",
                said.out
            );
        }
        std::fs::write(tests.join(format!("{trace}.yaml")), said.out).unwrap();
    }
    let said = tollgate(folder.path(), &["policy", "test", "--json"]);
    assert_eq!((said.code, &parsed(&said)["passed"]), (0, &json!(4)), "{} {}", said.out, said.err);
}

/// What `init` writes comes with tests that pass.
#[test]
fn the_first_bundle_passes_its_tests() {
    let folder = tempfile::tempdir().unwrap();
    let clients = json!({"mcpServers": {"files": {"command": "files-server", "args": ["/srv"]}}});
    std::fs::write(folder.path().join(".mcp.json"), clients.to_string()).unwrap();
    let said = tollgate(folder.path(), &["init"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = tollgate(folder.path(), &["policy", "test", "--json"]);
    assert_eq!(said.code, 0, "{} {}", said.out, said.err);
    let told = parsed(&said);
    assert_eq!((&told["passed"], &told["coverage"]["unreached"]), (&json!(5), &json!([])));
}
