//! The shipped bundle, agent by tool: what each meets, as one table. An agent or a tool that is not in the table fails
//! the test, so nobody is added unseen (R2, R20, R31 to R34).

use crate::harness::*;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// Agent, its published key.
const AGENTS: [(&str, &str); 3] =
    [("demo-agent", "demo-agent-key"), ("demo-keeper", "demo-keeper-key"), ("demo-scout", "demo-scout-key")];

/// Tool, arguments that show a rule, and what the three agents meet in the order above; `-` is not there.
fn table() -> Vec<(&'static str, Value, [&'static str; 3])> {
    let pending = "pending_approval";
    let text = |path: &str| json!({"path": path, "text": "x"});
    let path = |path: &str| json!({"path": path});
    vec![
        ("demo__notes_list", json!({}), ["allow", "allow", "suggest"]),
        ("demo__notes_read", path("/notes/welcome.md"), ["allow", "allow", "suggest"]),
        ("demo__slow_echo", json!({"text": "x", "wait_ms": 0}), ["allow", "allow", "suggest"]),
        ("demo__note_write", text("/scratch/a.md"), ["allow", "-", "suggest"]),
        ("demo__note_write", text("/notes/a.md"), [pending, "-", "suggest"]),
        ("demo__note_write", text("/archive/a.md"), ["deny", "-", "deny"]),
        ("demo__note_write", text("/scratch/../notes/a.md"), [pending, "-", "suggest"]),
        (
            "demo__note_write",
            json!({"path": "/scratch/b.md", "text": "x".repeat(20_000)}),
            [pending, "-", "suggest"],
        ),
        ("demo__note_archive", path("/notes/agenda.md"), [pending, "-", "suggest"]),
        ("demo__note_delete", path("/archive/a.md"), ["deny", "deny", "-"]),
        ("demo__note_delete", path("/drafts/retro.md"), ["remediate", "remediate", "-"]),
        ("demo__note_delete", path("/notes/agenda.md"), ["deny", pending, "-"]),
        ("demo__search", json!({"query": "plan", "limit": 100}), ["allow", "-", "-"]),
        ("demo__send_mail", json!({"to": "a@example.com", "subject": "s", "body": "b"}), [pending, "-", "-"]),
        (
            "demo__send_mail",
            json!({"to": "a@example.net", "subject": "s", "body": "b"}),
            ["suggest", "-", "-"],
        ),
        ("demo__send_mail", json!({"to": "", "subject": "s", "body": "b"}), ["deny", "-", "-"]),
        ("demo__report", json!({"rows": 5, "format": "summary"}), ["allow", "-", "-"]),
        ("demo__report", json!({"rows": 5, "format": "full"}), ["allow", "-", "-"]),
        ("demo__admin_reset", json!({}), ["-", "-", "-"]),
    ]
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_bundle_holds_its_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(&root.join("policies"), &folder.path().join("policies"));
    let servers = std::fs::read_to_string(root.join("servers.toml")).unwrap();
    let servers = servers.replace("approval_wait = \"10s\"", "approval_wait = \"50ms\"");
    std::fs::write(folder.path().join("servers.toml"), servers).unwrap();
    let gate = Gate::start(folder.path(), None, None).await;
    let http = http_client();

    let in_force = gate.gateway.in_force();
    let known: Vec<&str> = in_force.policies.authority.agents.keys().map(|id| id.as_str()).collect();
    assert_eq!(known, AGENTS.map(|(name, _)| name), "an agent without a column");
    let table = table();
    let covered: BTreeSet<&str> = table.iter().map(|(tool, _, _)| *tool).collect();
    let tools: BTreeSet<String> = gate.gateway.catalog().tools.keys().map(ToString::to_string).collect();
    assert_eq!(tools, covered.iter().map(ToString::to_string).collect(), "a tool without a row");

    let mut wrong = Vec::new();
    for (column, (name, key)) in AGENTS.iter().enumerate() {
        let mut client = Client::modern(&http, &gate.mcp, name, json!({}));
        client.key = (*key).to_owned();
        let visible: BTreeSet<String> = client.tools().await.into_iter().collect();
        let granted =
            table.iter().filter(|(_, _, words)| words[column] != "-").map(|(tool, _, _)| tool.to_string());
        assert_eq!(visible, granted.collect(), "{name} sees other tools");
        for (tool, arguments, words) in &table {
            let reply = client.call(tool, arguments.clone()).await;
            let word = match &reply.body {
                body if body["error"]["code"] == -32602 => "-",
                body if body["result"]["_meta"]["tollgate/decision"].is_object()
                    && body["result"]["isError"] == true =>
                {
                    reply.word()
                }
                _ => "allow",
            };
            if word != words[column] {
                wrong.push(format!(
                    "{name} {tool} {arguments:.80}: {word}, not {}: {:.600}",
                    words[column], reply.body
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    gate.gateway.shutdown().await;
}
