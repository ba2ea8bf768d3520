//! `tollgate audit hold` as a person meets it.

use crate::binary::{Serving, shipped, tollgate, tollgate_with_key};
use serde_json::{Value, json};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Placed by the local admin, listed with the first record that it keeps, released by an admin with a key and a reason; all of it
/// in the record, which verifies.
#[test]
fn records_are_held_and_released() {
    let folder = shipped();
    let path = folder.path();
    let serving = Serving::start(path, &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__note_read", &json!({"path": "/notes/welcome.md"}));
    assert_eq!(serving.end().0, 0);
    let decided = tollgate(path, &["audit", "query", "--event-type", "agent_decision", "--json"]);
    let decided = parsed(&decided.out)["events"][0].clone();
    let (trace, agent) = (decided["trace_id"].as_str().unwrap(), decided["agent_id"].as_str().unwrap());

    let none = tollgate(path, &["audit", "hold", "list"]);
    assert_eq!((none.code, none.out.trim()), (0, "no record is under a legal hold"), "{}", none.err);
    for (wrong, code) in [
        (vec!["audit", "hold", "add", "--reason", "r"], 2),
        (vec!["audit", "hold", "add", "--trace", trace, "--agent", agent, "--reason", "r"], 2),
        (vec!["audit", "hold", "add", "--trace", "xyz", "--reason", "r"], 2),
        (vec!["audit", "hold", "add", "--agent", agent], 2),
        (vec!["audit", "hold", "add", "--agent", agent, "--reason", " "], 1),
        (vec!["audit", "hold", "release", "hold-1"], 2),
    ] {
        assert_eq!(tollgate(path, &wrong).code, code, "{wrong:?}");
    }
    let add = ["audit", "hold", "add", "--trace", trace, "--reason", "case 17", "--json"];
    let added = tollgate(path, &add);
    assert_eq!(added.code, 0, "{}", added.err);
    let added = parsed(&added.out);
    assert_eq!(
        (&added["trace"], &added["agent"], &added["by"], &added["reason"]),
        (&json!(trace), &Value::Null, &Value::Null, &json!("case 17"))
    );
    assert!(added["first_seq"].as_i64().unwrap() <= decided["seq"].as_i64().unwrap(), "{added}");
    let of_agent = tollgate(path, &["audit", "hold", "add", "--agent", agent, "--reason", "case 18"]);
    assert!(
        of_agent.out.starts_with(&format!("held: agent `{agent}`; retention removes nothing")),
        "{}",
        of_agent.out
    );
    let nobody = tollgate(path, &["audit", "hold", "add", "--agent", "nobody", "--reason", "case 19"]);
    assert!(nobody.err.contains("no record of agent `nobody` now"), "{}", nobody.err);
    // A person without the role holds nothing.
    let key = tollgate_with_key(path, "demo-bob-key", &add);
    assert_eq!(key.code, 1, "{}", key.out);

    let listed = parsed(&tollgate(path, &["audit", "hold", "list", "--json"]).out);
    let reasons: Vec<&str> =
        listed["holds"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["case 19", "case 18", "case 17"]);
    let id = added["id"].as_str().unwrap();
    let release = ["audit", "hold", "release", id, "--reason", "closed"];
    let without = tollgate(path, &release);
    assert!(without.code == 1 && without.err.contains("TOLLGATE_KEY"), "{}", without.err);
    let released = tollgate_with_key(path, "demo-carol-key", &release);
    assert_eq!(
        (released.code, released.out.trim()),
        (0, format!("released: trace {trace}").as_str()),
        "{}",
        released.err
    );
    let again = tollgate_with_key(path, "demo-carol-key", &release);
    assert!(again.code == 1 && again.err.contains("no such hold"), "{}", again.err);
    let shown = tollgate(path, &["audit", "show", trace]);
    assert!(shown.out.contains("case 17") && shown.out.contains("closed"), "{}", shown.out);
    assert_eq!(tollgate(path, &["audit", "verify"]).code, 0);
}

/// What is done is recorded with the role that lets one do it, whatever else one may be.
#[test]
fn a_note_is_by_the_role_that_reads_records() {
    let folder = shipped();
    let path = folder.path();
    let add = ["people", "add", "vera", "--role", "viewer", "--role", "auditor", "--json"];
    let vera = parsed(&tollgate(path, &add).out)["key"].as_str().unwrap().to_owned();
    let serving = Serving::start(path, &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__note_read", &json!({"path": "/notes/welcome.md"}));
    assert_eq!(serving.end().0, 0);
    let of = |kind: &str| {
        let found = tollgate(path, &["audit", "query", "--event-type", kind, "--json"]);
        parsed(&found.out)["events"][0].clone()
    };
    let trace = of("agent_decision")["trace_id"].as_str().unwrap().to_owned();
    let noted = tollgate_with_key(path, &vera, &["audit", "note", &trace, "looked at"]);
    assert_eq!(noted.code, 0, "{}", noted.err);
    let note = of("note");
    assert_eq!((&note["actor"]["role"], &note["detail"]["person"]), (&json!("auditor"), &json!("vera")));
}
