//! Replicas on PostgreSQL as they are met from outside: the same answers whoever is asked, and the same refusals (SPEC 14).

use crate::{
    binary::{Serving, shipped, tollgate, tollgate_with_key},
    database::{Database, Server, is_there},
    pending,
};
use serde_json::{Value, json};
use std::path::Path;

/// The shipped files on a database, with a folder of its own.
fn on(database: &Database) -> tempfile::TempDir {
    let folder = shipped();
    point(folder.path(), database);
    folder
}

fn point(folder: &Path, database: &Database) {
    let file = folder.join("servers.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let url = format!("url = \"{}\"", database.url);
    assert!(text.contains("url = \"sqlite:.tollgate/tollgate.db\""));
    std::fs::write(file, text.replace("url = \"sqlite:.tollgate/tollgate.db\"", &url)).unwrap();
}

fn ready(serving: &Serving) {
    serving.admin_until("/readyz", |answer| answer.status == 200);
}

fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

/// An approval that one replica was asked for is given at a second and used at a third; a budget and a freeze are one for all;
/// commands say the same in every folder; a replica that is killed is missed by nobody; and while the database is away all of
/// them refuse.
#[test]
fn whichever_replica_is_asked_the_answer_is_the_same() {
    if !is_there() {
        return;
    }
    let mut server = Server::start();
    let database = server.database();
    let folders = [(); 3].map(|()| on(&database));
    let mut replicas: Vec<Serving> =
        folders.iter().map(|folder| Serving::start(folder.path(), &[])).collect();
    replicas.iter().for_each(ready);

    let write = json!({"path": "/notes/new.md", "text": "hello"});
    let asked = replicas[0].call("demo-agent-key", "demo__note_write", &write);
    assert_eq!(asked["_meta"]["tollgate/decision"]["decision"], "pending_approval", "{asked}");
    let waiting = pending(&replicas[1]);
    assert_eq!(waiting.len(), 1);
    let id = waiting[0]["id"].as_str().unwrap();
    let said = tollgate_with_key(folders[1].path(), "demo-alice-key", &["approvals", "approve", id]);
    assert_eq!(said.code, 0, "{}", said.err);
    let done = replicas[2].call("demo-agent-key", "demo__note_write", &write);
    assert!(!done["isError"].as_bool().unwrap_or(false), "{done}");
    let again = replicas[0].call("demo-agent-key", "demo__note_write", &write);
    assert_eq!(again["_meta"]["tollgate/decision"]["decision"], "pending_approval", "{again}");

    // Five searches a minute, wherever they are made.
    let found = (0..9).map(|n| {
        let found =
            replicas[n % 3].call("demo-agent-key", "demo__search", &json!({"query": format!("q{n}")}));
        usize::from(!found["isError"].as_bool().unwrap_or(false))
    });
    assert_eq!(found.sum::<usize>(), 5);

    let frozen =
        tollgate_with_key(folders[2].path(), "demo-carol-key", &["freeze", "--all", "--reason", "a drill"]);
    assert_eq!(frozen.code, 0, "{}", frozen.err);
    for replica in &replicas {
        let refused = replica.call("demo-agent-key", "demo__notes_list", &json!({}));
        assert!(refused["isError"] == true && text(&refused).contains("frozen"), "{refused}");
    }
    assert_eq!(
        tollgate_with_key(folders[0].path(), "demo-carol-key", &["unfreeze", "--all", "--reason", "over"])
            .code,
        0
    );

    drop(replicas.remove(0));
    let after = replicas[0].call("demo-agent-key", "demo__notes_list", &json!({}));
    assert!(!after["isError"].as_bool().unwrap_or(false), "{after}");

    server.stop("INT");
    for replica in &replicas {
        let refused = replica.call("demo-agent-key", "demo__notes_list", &json!({}));
        assert!(refused["isError"] == true && text(&refused).contains("store"), "{refused}");
        replica.admin_until("/readyz", |answer| answer.status == 503);
    }
    server.run(&[]);
    replicas.iter().for_each(ready);
    let back = replicas[1].call("demo-agent-key", "demo__notes_list", &json!({}));
    assert!(!back["isError"].as_bool().unwrap_or(false), "{back}");

    let exported = folders.each_ref().map(|folder| {
        let verified = tollgate(folder.path(), &["audit", "verify"]);
        assert_eq!(verified.code, 0, "{}", verified.err);
        tollgate(folder.path(), &["audit", "export", "--limit", "40"]).out
    });
    assert_eq!(exported[0].lines().count(), 40);
    assert!(exported[0] == exported[1] && exported[1] == exported[2]);
    for replica in replicas {
        let (code, _, log) = replica.end();
        assert_eq!(code, 0, "{log}");
    }
}

/// The record of one machine is taken to a database by the command line, and serves there; what is not shared yet is refused.
#[test]
fn a_store_moves_to_postgresql_and_serves_there() {
    if !is_there() {
        return;
    }
    let server = Server::start();
    let database = server.database();
    let folder = shipped();
    let serving = Serving::start(folder.path(), &[]);
    ready(&serving);
    serving.call("demo-agent-key", "demo__notes_list", &json!({}));
    let to = ["store", "migrate", "--to", &database.url];
    let refused = tollgate(folder.path(), &to);
    assert!(refused.code != 0 && refused.err.contains("stop it first"), "{}", refused.err);
    serving.end();
    let before = tollgate(folder.path(), &["audit", "export"]).out;
    let moved = tollgate(folder.path(), &to);
    assert!(moved.code == 0 && moved.out.contains("both sides were verified"), "{} {}", moved.out, moved.err);
    let old = tollgate(folder.path(), &["audit", "query"]);
    assert!(old.code != 0 && old.err.contains("was taken to PostgreSQL"), "{}", old.err);
    point(folder.path(), &database);
    let serving = Serving::start(folder.path(), &[]);
    ready(&serving);
    let done = serving.call("demo-agent-key", "demo__notes_list", &json!({}));
    assert!(!done["isError"].as_bool().unwrap_or(false), "{done}");
    serving.end();
    assert!(tollgate(folder.path(), &["audit", "export"]).out.starts_with(&before));
    let accept =
        tollgate_with_key(folder.path(), "demo-carol-key", &["store", "accept", "--reason", "a trial"]);
    assert!(accept.code != 0 && accept.err.contains("docs/replicas.md"), "{}", accept.err);
    let rule = "rules:\n  - id: mails\n    detectors: [email]\n    on: [{ upstream: demo }]\n    results: tokenize\n";
    std::fs::write(folder.path().join("policies/data.yaml"), rule).unwrap();
    let checked = tollgate(folder.path(), &["check"]);
    assert!(
        checked.code != 0 && checked.out.contains("tokenize") | checked.err.contains("tokenize"),
        "{} {}",
        checked.out,
        checked.err
    );
}
