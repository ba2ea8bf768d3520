//! `tollgate report digest | compliance` and `tollgate schema` as a person meets them.

use crate::binary::{Serving, shipped, tollgate};
use serde_json::{Value, json};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The same digest in each form, of what was recorded; times that make no sense are told.
#[test]
fn a_digest_comes_in_three_forms() {
    let folder = shipped();
    let path = folder.path();
    let serving = Serving::start(path, &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    serving.call("demo-agent-key", "demo__note_read", &json!({"path": "/notes/welcome.md"}));
    assert_eq!(serving.end().0, 0);
    let report = |more: &[&str]| tollgate(path, &[&["report", "digest"][..], more].concat());
    let markdown = report(&[]);
    assert_eq!(markdown.code, 0, "{}", markdown.err);
    assert!(
        markdown.out.starts_with("# Tollgate from ") && markdown.out.contains("\n- 1 calls, "),
        "{}",
        markdown.out
    );
    let html = report(&["--format", "html"]);
    assert!(html.out.starts_with("<!doctype html>") && html.out.contains("<li>1 calls, "), "{}", html.out);
    for json in [report(&["--json"]), report(&["--format", "json"])] {
        assert_eq!(parsed(&json.out)["decisions"]["calls"], 1, "{}", json.out);
    }
    let before = parsed(&report(&["--json", "--since", "14d", "--until", "7d"]).out);
    assert_eq!(before["decisions"]["calls"], 0, "what came later is no part of it");
    let backwards = report(&["--since", "1d", "--until", "2d"]);
    assert!(backwards.code == 1 && backwards.err.contains("--until"), "{}", backwards.err);
    assert_eq!(report(&["--format", "html", "--json"]).code, 2);
    assert_eq!(report(&["--format", "pdf"]).code, 2);
}

/// It needs neither servers.toml nor a store, and hides no gap.
#[test]
fn the_table_of_compliance_is_in_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let report = |more: &[&str]| tollgate(folder.path(), &[&["report", "compliance"][..], more].concat());
    let page = report(&["--markdown"]);
    assert_eq!((page.code, page.out.as_str()), (0, include_str!("../../docs/compliance.md")), "{}", page.err);
    let table = parsed(&report(&["--json"]).out);
    let rows = table["requirements"].as_array().unwrap();
    let of = |status: &str| rows.iter().filter(|row| row["status"] == status).count();
    assert!(of("met") > 0 && of("in_part") > 0 && of("not_met") > 0, "{table:#}");
    let gaps = parsed(&report(&["--json", "--gaps"]).out);
    assert_eq!(gaps["requirements"].as_array().unwrap().len(), of("in_part") + of("not_met"));
    let screen = report(&["--standard", "eu-ai-act", "--gaps"]);
    assert!(screen.out.contains("Art. 12(3)") && !screen.out.contains("MCP01"), "{}", screen.out);
    let unknown = report(&["--standard", "iso"]);
    assert!(unknown.code == 1 && unknown.err.contains("iso-42001"), "{}", unknown.err);
    let schema = tollgate(folder.path(), &["schema", "event"]);
    assert_eq!((schema.code, schema.out.as_str()), (0, include_str!("../../schemas/event.json")));
    for of in ["servers", "bundle", "authority", "gate", "rulebook", "budgets", "data", "prices"] {
        let schema = tollgate(folder.path(), &["schema", of]);
        assert_eq!(schema.code, 0, "{of}: {}", schema.err);
        assert_eq!(parsed(&schema.out)["$id"], format!("urn:tollgate:schema:{of}"));
    }
    assert_eq!(tollgate(folder.path(), &["schema", "nothing"]).code, 2);
}
