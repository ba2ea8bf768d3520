//! The four patterns of gates that are shipped (environment, privilege, blast radius, time), each at its edges.

use serde_json::{Value, json};
use std::path::Path;
use tollgate::{
    decision::{Facts, decide},
    model::Decision,
    policy::{CompileInput, KnownNames, PolicySet, SourceFile, compile},
};

/// The shipped bundle with only this gate of its policies.
fn shipped(gate: &str, environment: &str) -> PolicySet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_meant = text.lines().any(|line| line == format!("name: {gate}"));
        if ["bundle.yaml", "authority.yaml"].contains(&name.as_str()) || is_meant {
            files.push(SourceFile { name, text });
        }
    }
    assert_eq!(files.len(), 3, "`{gate}` is shipped");
    let input = CompileInput {
        environment: environment.into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    set.unwrap_or_else(|| panic!("{problems}"))
}

fn facts(case: &Value) -> Facts {
    let or = |name: &str, default: Value| case.get(name).cloned().unwrap_or(default);
    serde_json::from_value(json!({
        "agent": {"id": "demo-agent", "type": "assistant", "role": or("role", json!("writer")), "tenant": "demo",
            "owner": "notes-team", "operator": "alice", "autonomy": "supervised", "attended": true},
        "user": "alice",
        "workflow": {"id": "wf-notes", "owner": "notes-team"},
        "tool": {"name": "demo__x", "upstream": "demo", "action": "demo:x", "labels": case["labels"],
            "read_only": false, "destructive": false, "idempotent": false, "open_world": false,
            "fingerprint": "", "pinned": false},
        "args": {},
        "call": {"kind": "tool", "repeats": 0, "size": or("size", json!(10))},
        "cost": {"estimate": or("cost_usd", json!(0)), "tokens": 10},
        "data": {"level": "internal", "labels": [], "findings": []},
        "session_labels": [],
        "now": or("now", json!("2027-06-01T00:00:00Z")),
        "capabilities": ["notes.write"],
        "missing_metadata": [],
        "workflow_refused": null,
        "resource": "",
        "prompt": "",
        "remediated": false,
    }))
    .unwrap()
}

#[test]
fn the_shipped_gates_decide_at_their_edges() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gates.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in &cases {
        let gate = case["gate"].as_str().unwrap();
        let says = &case["says"];
        let set = shipped(gate, case["env"].as_str().unwrap_or("staging"));
        let verdict = decide(&set, &facts(case));
        let expect = &case["expect"];
        if expect.is_null() {
            assert_ne!(verdict.policy_id.as_str(), gate, "{gate}: {says}");
            continue;
        }
        assert_eq!(verdict.policy_id.as_str(), gate, "{gate}: {says}");
        assert_eq!(verdict.rule_id.as_deref(), expect["rule"].as_str(), "{gate}: {says}");
        let decided = match verdict.decision {
            Decision::Deny => "DENY",
            Decision::RequireApproval => "REQUIRE_APPROVAL",
            other => panic!("{gate}: {says}: {other:?}"),
        };
        assert_eq!(decided, expect["decision"], "{gate}: {says}");
        if let Some(asked) = verdict.approvals.first() {
            assert_eq!(u64::from(asked.rule.quorum), expect["quorum"].as_u64().unwrap(), "{gate}: {says}");
            assert_eq!(asked.rule.evidence_required, expect["evidence"] == true, "{gate}: {says}");
            assert_eq!(asked.rule.separate, expect["separate"] == true, "{gate}: {says}");
        }
    }
    for gate in ["environment", "privilege", "blast-radius", "year-end-freeze"] {
        assert!(cases.iter().filter(|case| case["gate"] == gate).count() > 2, "{gate}");
    }
}
