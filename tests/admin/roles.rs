//! Who may use which route of the admin listener, tried over HTTP with keys of people who have one role each.

use crate::binary::{Serving, shipped, tollgate, tollgate_with_key};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
};

const ROLES: [&str; 5] = ["approver", "admin", "auditor", "auditor-full", "viewer"];

fn key(role: &str) -> String {
    format!("key-of-one-{role}")
}

/// The shipped bundle with a person of each role.
fn with_people() -> tempfile::TempDir {
    let folder = shipped();
    let path = folder.path().join("policies/authority.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut people = String::from("people:\n");
    for role in ROLES {
        let digest = hex::encode(Sha256::digest(key(role)));
        writeln!(people, "  one-{role}: {{ keys: [\"sha256:{digest}\"], groups: [], roles: [{role}] }}")
            .unwrap();
    }
    assert_eq!(text.matches("people:\n").count(), 1);
    std::fs::write(path, text.replace("people:\n", &people)).unwrap();
    folder
}

/// The status alone: a stream has no end.
fn status(address: &str, method: &str, path: &str, key: Option<&str>) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let body = if method == "POST" { "{}" } else { "" };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{key}\r\n{body}"
    )
    .unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// R61: a route that is not in the snapshot, or lets in somebody else, fails here.
#[test]
fn the_matrix_of_routes_and_roles() {
    let folder = with_people();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let document = serving.admin(Some(&key("viewer")), "GET", "/api/v1/openapi.json", "").json();
    let mut out = format!("{:<48} nobody agent ", "route");
    out.push_str(&ROLES.join(" "));
    out.push('\n');
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let asked = path.replace("{id}", "none").replace("{snapshot}", "none");
            let asked = asked.replace("{trace_id}", "0af7651916cd43dd8448eb211c80319c");
            let method = method.to_uppercase();
            let word = |key: Option<&str>| match status(&serving.admin, &method, &asked, key) {
                401 => "401",
                403 => "403",
                _ => "yes",
            };
            write!(
                out,
                "{:<48} {:<6} {:<5}",
                format!("{method} {path}"),
                word(None),
                word(Some("demo-agent-key"))
            )
            .unwrap();
            for role in ROLES {
                write!(out, " {:<width$}", word(Some(&key(role))), width = role.len()).unwrap();
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admin"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("routes", out));
}

/// What each role is told of a call, by the API and by the command line.
#[test]
fn an_auditor_sees_what_happened_and_not_with_which_values() {
    let folder = with_people();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let asked = serving.call(
        "demo-agent-key",
        "demo__note_write",
        &json!({"path": "/notes/secret-plan.md", "text": "xyzzy"}),
    );
    let decision = &asked["_meta"]["tollgate/decision"];
    let trace = decision["trace_id"].as_str().unwrap();
    let approval = decision["approval_id"].as_str().unwrap();
    let paths = [
        "/api/v1/events?limit=1000".to_owned(),
        format!("/api/v1/traces/{trace}"),
        "/api/v1/approvals".to_owned(),
        format!("/api/v1/approvals/{approval}"),
    ];
    let commands: [&[&str]; 7] = [
        &["audit", "query", "--json"],
        &["audit", "show", trace],
        &["audit", "show", trace, "--json"],
        &["audit", "export"],
        &["audit", "export", "--format", "csv"],
        &["approvals", "list", "--json"],
        &["approvals", "show", approval],
    ];
    let seen = |text: &str| text.contains("secret-plan") || text.contains("xyzzy");
    for (role, values) in [("admin", true), ("auditor-full", true), ("auditor", false), ("approver", false)] {
        for path in &paths {
            let got = serving.admin(Some(&key(role)), "GET", path, "");
            assert_eq!((got.status, seen(&got.text)), (200, values), "{role} {path}: {}", got.text);
            assert_eq!(got.text.contains("[withheld:string:21]"), !values, "{role} {path}: {}", got.text);
        }
        for command in commands {
            let got = tollgate_with_key(folder.path(), &key(role), command);
            assert_eq!(
                (got.code, seen(&got.out)),
                (0, values),
                "{role} {command:?}: {} {}",
                got.out,
                got.err
            );
        }
        let test = tollgate_with_key(folder.path(), &key(role), &["audit", "show", trace, "--as-test"]);
        assert_eq!(test.code == 0, values, "{role}: {}", test.err);
        let explained =
            tollgate_with_key(folder.path(), &key(role), &["policy", "explain", "--trace", trace]);
        assert_eq!(explained.code == 0, values, "{role}: {}", explained.err);
    }
    for command in commands {
        let refused = tollgate_with_key(folder.path(), &key("viewer"), command);
        assert!(refused.code == 1 && refused.err.contains("`auditor`"), "{command:?}: {}", refused.err);
    }
    let counted = tollgate_with_key(folder.path(), &key("viewer"), &["report", "scorecard", "--json"]);
    assert_eq!(counted.code, 0, "{}", counted.err);
    // Alice's group is asked: she sees what she decides on. Without a key it is the local admin who looks.
    let whole = serving.admin(Some("demo-alice-key"), "GET", &paths[3], "");
    assert!(seen(&whole.text), "{}", whole.text);
    assert!(seen(&tollgate(folder.path(), commands[0]).out));
    // What is told without values says so, and what is counted has none.
    let events = serving.admin(Some(&key("auditor")), "GET", &paths[0], "").json();
    let told = events["events"].as_array().unwrap();
    assert!(told.iter().any(|event| event["detail"]["withheld"] == true), "{events}");
    for report in ["scorecard", "maturity", "spend", "advice"] {
        let got =
            serving.admin(Some(&key("viewer")), "GET", &format!("/api/v1/report/{report}?since=1d"), "");
        assert_eq!((got.status, seen(&got.text)), (200, false), "{report}: {}", got.text);
        assert_eq!(got.json()["partial"], false, "{report}");
    }
}

/// With a record's hash and all else of it, values could be tried.
#[test]
fn no_hash_is_for_those_who_see_no_values() {
    let folder = with_people();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let called = serving.call("demo-agent-key", "demo__notes_read", &json!({"path": "/notes/welcome.md"}));
    assert!(!called["isError"].as_bool().unwrap_or(false), "{called}");
    let whole = serving.admin(Some(&key("admin")), "GET", "/api/v1/events?limit=1000", "").json();
    let events = whole["events"].as_array().unwrap();
    let hashes: Vec<&str> = events.iter().map(|event| event["hash"].as_str().unwrap()).collect();
    let of_call = events.iter().find(|event| event["event_type"] == "agent_decision").unwrap();
    let (trace, call) = (of_call["trace_id"].as_str().unwrap(), of_call["call_id"].as_str().unwrap());
    let tells = |text: &str| hashes.iter().any(|hash| text.contains(hash));
    for (role, values) in [("admin", true), ("auditor-full", true), ("auditor", false), ("approver", false)] {
        for path in ["/api/v1/events?limit=1000".to_owned(), format!("/api/v1/traces/{trace}")] {
            let got = serving.admin(Some(&key(role)), "GET", &path, "");
            assert_eq!((got.status, tells(&got.text)), (200, values), "{role} {path}: {}", got.text);
        }
        let commands: [&[&str]; 8] = [
            &["audit", "query", "--json"],
            &["audit", "show", trace],
            &["audit", "show", trace, "--json"],
            &["audit", "export"],
            &["audit", "export", "--format", "csv"],
            &["audit", "export", "--format", "ocsf"],
            &["audit", "verify"],
            &["audit", "verify", "--json"],
        ];
        for command in commands {
            let got = tollgate_with_key(folder.path(), &key(role), command);
            assert_eq!(
                (got.code, tells(&got.out)),
                (0, values),
                "{role} {command:?}: {} {}",
                got.out,
                got.err
            );
        }
        let proof = tollgate_with_key(folder.path(), &key(role), &["audit", "prove", call]);
        assert_eq!(proof.code == 0, values, "{role}: {} {}", proof.out, proof.err);
    }
    // What is told without hashes is no export that verifies, and says why.
    let exported = tollgate_with_key(folder.path(), &key("auditor"), &["audit", "export"]);
    let file = folder.path().join("export.jsonl");
    std::fs::write(&file, exported.out).unwrap();
    let verified = tollgate(folder.path(), &["audit", "verify", "--file", file.to_str().unwrap()]);
    assert!(verified.code == 1 && verified.err.contains("prev_hash"), "{}", verified.err);
}

/// The command line lets in whom the admin listener lets in.
#[test]
fn a_role_may_the_same_by_command_and_by_route() {
    let folder = with_people();
    let bundle = folder.path().join("policies/bundle.yaml");
    let text = std::fs::read_to_string(&bundle).unwrap();
    assert!(!text.contains("\naudit:"));
    std::fs::write(&bundle, text + "\naudit: { sample: 100% }\n").unwrap();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__notes_read", &json!({"path": "/notes/welcome.md"}));
    serving.call("demo-agent-key", "demo__note_delete", &json!({"path": "/archive/x"}));
    let commands: [(&[&str], &str); 13] = [
        (&["budget", "status"], "/api/v1/budgets"),
        (&["policy", "history"], "/api/v1/policies/history"),
        (&["policy", "rollout", "status"], "/api/v1/policies/rollout"),
        (&["agents", "list"], "/api/v1/agents"),
        (&["agents", "show", "demo-agent"], "/api/v1/agents"),
        (&["people", "list"], "/api/v1/people"),
        (&["people", "show", "one-viewer"], "/api/v1/people"),
        (&["freeze", "list"], "/api/v1/freeze"),
        (&["deadletters", "list"], "/api/v1/deadletters"),
        (&["audit", "sample", "list"], "/api/v1/samples"),
        (&["audit", "verify"], "/api/v1/audit/verify"),
        (&["servers", "diff"], "/api/v1/pins"),
        (&["servers", "list"], "/api/v1/upstreams"),
    ];
    for role in ROLES {
        for (command, path) in commands {
            let got = tollgate_with_key(folder.path(), &key(role), command);
            let served = serving.admin(Some(&key(role)), "GET", path, "").status;
            assert!(matches!(served, 200 | 403), "{role} {path}: {served}");
            assert_eq!(got.code == 0, served == 200, "{role} {command:?}: {} {}", got.out, got.err);
            assert!(
                served == 200 || got.err.contains("it takes the role"),
                "{role} {command:?}: {}",
                got.err
            );
        }
    }
    // By command and by route one finds the same.
    for role in ["admin", "auditor"] {
        let by_command = tollgate_with_key(folder.path(), &key(role), &["audit", "verify", "--json"]);
        let by_command: Value = serde_json::from_str(&by_command.out).unwrap();
        let by_route = serving.admin(Some(&key(role)), "GET", "/api/v1/audit/verify", "").json();
        for member in ["bad", "contradicted"] {
            assert_eq!((&by_command[member], &by_route[member]), (&Value::Null, &Value::Null));
        }
        assert!(
            by_route["records"].as_u64().unwrap() > 0 && by_route["checkpoints"].is_number(),
            "{by_route}"
        );
        assert_eq!(by_route["head"].is_string(), role == "admin");
    }
    let explain: &[&str] =
        &["policy", "explain", "--agent", "demo-agent", "--tool", "demo__notes_read", "--args", "{}"];
    for role in ROLES {
        let got = tollgate_with_key(folder.path(), &key(role), explain);
        assert_eq!(got.code == 0, role != "viewer", "{role}: {}", got.err);
    }
    let checkpoint = tollgate_with_key(folder.path(), &key("viewer"), &["audit", "checkpoint"]);
    assert!(checkpoint.code == 1 && checkpoint.err.contains("it takes the role"), "{}", checkpoint.err);
    // What people do is found by who did it.
    let rotated = tollgate_with_key(folder.path(), &key("admin"), &["audit", "checkpoint", "--rotate"]);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    let trace =
        serving.admin(Some(&key("admin")), "GET", "/api/v1/events?event_type=agent_decision", "").json();
    let trace = trace["events"][0]["trace_id"].as_str().unwrap().to_owned();
    let noted = tollgate_with_key(folder.path(), &key("auditor"), &["audit", "note", &trace, "looked at"]);
    assert_eq!(noted.code, 0, "{}", noted.err);
    for (person, event_type, role) in
        [("one-admin", "admin_action", "admin"), ("one-auditor", "note", "auditor")]
    {
        let found =
            serving.admin(Some(&key("admin")), "GET", &format!("/api/v1/events?person={person}"), "").json();
        let found = found["events"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["event_type"], &found[0]["actor"]["role"]), (&json!(event_type), &json!(role)));
        assert_eq!(found[0]["detail"]["person"], person);
    }
    let digest = |role: &str| -> (Value, Value) {
        let got = tollgate_with_key(folder.path(), &key(role), &["report", "digest", "--json"]);
        assert_eq!(got.code, 0, "{}", got.err);
        let served = serving.admin(Some(&key(role)), "GET", "/api/v1/report/digest", "");
        (serde_json::from_str(&got.out).unwrap(), served.json())
    };
    let (by_command, by_route) = digest("auditor");
    for told in [by_command, by_route] {
        assert!(!told["changes"].as_array().unwrap().is_empty(), "{told:#}");
        assert!(
            told["refusals"][0]["reason"].is_string() && told["refusals"][0]["trace_id"].is_string(),
            "{told:#}"
        );
    }
    let (by_command, by_route) = digest("viewer");
    for told in [by_command, by_route] {
        assert_eq!((&told["changes"], &told["dead_letters"]["newest"]), (&json!([]), &json!([])));
        let refused = &told["refusals"][0];
        assert!(refused["calls"].as_u64().unwrap() > 0, "{told:#}");
        assert_eq!((&refused["reason"], &refused["trace_id"]), (&Value::Null, &Value::Null));
    }
    let events = serving
        .admin(
            Some(&key("admin")),
            "GET",
            "/api/v1/events?event_type=agent_decision&tool=demo__notes_read",
            "",
        )
        .json();
    let call = events["events"][0]["call_id"].as_str().unwrap();
    let review = |role: &str| {
        tollgate_with_key(folder.path(), &key(role), &["audit", "sample", "review", call, "--finding", "ok"])
    };
    let reviewed = review("auditor-full");
    assert_eq!(reviewed.code, 0, "{}", reviewed.err);
    let told = serving.admin(Some(&key("admin")), "GET", "/api/v1/events?event_type=admin_action", "").json();
    let told = told["events"].as_array().unwrap().iter().find(|event| event["action"] == "review").unwrap();
    assert_eq!(told["actor"]["role"], "auditor-full", "the role by which they may: {told:#}");
    let refused = review("approver");
    assert!(refused.code == 1 && refused.err.contains("`auditor-full`"), "{}", refused.err);
    let oracle = ["audit", "query", "--tool", "https://h/a?q=1"];
    let refused = tollgate_with_key(folder.path(), &key("auditor"), &oracle);
    assert!(refused.code == 1 && refused.err.contains("query of a URI"), "{}", refused.err);
    assert_eq!(tollgate_with_key(folder.path(), &key("auditor-full"), &oracle).code, 0);
}

/// A probe without a key finds out how it stands, and nothing is written for it.
#[test]
fn probes_write_nothing() {
    let folder = with_people();
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let files = || {
        let mut found = Vec::new();
        let mut folders = vec![folder.path().join(".tollgate")];
        while let Some(one) = folders.pop() {
            for entry in std::fs::read_dir(one).unwrap().flatten() {
                let meta = entry.metadata().unwrap();
                match meta.is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push((entry.path(), meta.len())),
                }
            }
        }
        found.sort();
        found
    };
    let before = files();
    for _ in 0..50 {
        let got = serving.admin(None, "GET", "/readyz", "");
        assert_eq!((got.status, got.json()), (200, json!({"status": "ready"})));
        assert_eq!(serving.admin(None, "GET", "/healthz", "").status, 200);
    }
    assert_eq!(files(), before);
    let details: Value = serving.admin(Some(&key("viewer")), "GET", "/readyz", "").json();
    assert!(details["details"].is_array() && details["upstreams"].is_array(), "{details}");
}
