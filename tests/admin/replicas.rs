//! Replicas on PostgreSQL as they are met from outside: the same answers whoever is asked, and the same refusals (SPEC 14).

use crate::{
    binary::{Serving, eventually, http, shipped, tollgate, tollgate_with_key},
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

/// A call of a client of 2026-07-28 that takes tasks: the result.
fn with_tasks(replica: &Serving, tool: &str, arguments: &Value) -> Value {
    let version = "2026-07-28";
    let headers = format!(
        "Authorization: Bearer demo-agent-key\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: {version}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
    );
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool,
        "arguments": arguments,
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        },
    }});
    let answer = http(&replica.mcp, "POST", "/mcp", &headers, &body.to_string());
    let message = answer.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    let message: Value =
        serde_json::from_str(message.unwrap_or(&answer.text)).unwrap_or_else(|_| panic!("{answer:?}"));
    message["result"].clone()
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

    // Nobody is given a task that lives in one replica: the next request may come to another.
    let answer = with_tasks(&replicas[0], "demo__note_write", &write);
    assert_ne!(answer["resultType"], "task", "{answer}");
    assert_eq!(answer["_meta"]["tollgate/decision"]["decision"], "pending_approval", "{answer}");

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
    // A replica hears of it a moment later.
    let call = || Some(replicas[0].call("demo-agent-key", "demo__notes_list", &json!({})));
    eventually(|| call().filter(|after| after["isError"] != true)).expect("it goes on");

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

/// The keys of checkpoints that a replica knows, what signs first.
fn keys(folder: &Path) -> Vec<String> {
    let told = tollgate(folder, &["audit", "checkpoint", "--vkey", "--json"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let earlier = told["earlier"].as_array().unwrap();
    std::iter::once(&told["verifier_key"])
        .chain(earlier)
        .map(|key| key.as_str().unwrap().to_owned())
        .collect()
}

/// The rotations that are recorded, each with the key before and after.
fn rotations(folder: &Path) -> Vec<[String; 2]> {
    let exported = tollgate(folder, &["audit", "export"]).out;
    let events = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rotated = events.filter(|event| event["action"] == "checkpoint_key_rotated");
    let key = |event: &Value, name: &str| event["detail"][name].as_str().unwrap().to_owned();
    rotated.map(|event| [key(&event, "before"), key(&event, "after")]).collect()
}

/// A key that is put in place on one replica signs on every other one, which knows those of before; two at once follow each other.
#[test]
fn a_rotation_on_one_replica_is_every_replicas() {
    if !is_there() {
        return;
    }
    let server = Server::start();
    let database = server.database();
    let folders = [(); 2].map(|()| on(&database));
    let config = folders[1].path().join("servers.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[audit]\nrecords = 1\n")).unwrap();
    let serving = Serving::start(folders[1].path(), &[]);
    ready(&serving);
    let [one, other] = folders.each_ref().map(|folder| folder.path());
    let first = keys(one);
    assert_eq!((first.len(), &first), (1, &keys(other)));
    let kept = one.join("first.checkpoint");
    std::fs::write(&kept, tollgate(other, &["audit", "checkpoint"]).out).unwrap();

    let rotate = ["audit", "checkpoint", "--rotate"];
    let nobody = tollgate(one, &rotate);
    assert!(nobody.code != 0 && keys(one) == first, "{}", nobody.err);
    let rotated = tollgate_with_key(one, "demo-carol-key", &rotate);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    let second = keys(other);
    assert_eq!((second.len(), &second[1], &second), (2, &first[0], &keys(one)));
    assert_eq!(rotations(other), [[first[0].clone(), second[0].clone()]]);
    // The one that runs signs with it as soon as there is something new.
    serving.call("demo-agent-key", "demo__notes_list", &json!({}));
    let newest = other.join(".tollgate/checkpoints/checkpoint");
    let id = second[0].split('+').nth(1).unwrap();
    let signed = |text: &str| {
        let note = tollgate::proof::Note::parse(text).unwrap();
        let key = tollgate::proof::VerifierKey::parse(&second[0]).unwrap();
        note.verify(&[key]).is_ok()
    };
    let seen = eventually(|| signed(&std::fs::read_to_string(&newest).ok()?).then_some(()));
    assert!(seen.is_some(), "nothing is signed with {id}");
    // What was signed before holds on both.
    for folder in [one, other] {
        let held = tollgate(folder, &["audit", "verify", "--checkpoint", kept.to_str().unwrap()]);
        assert!(held.code == 0 && held.out.contains("hold"), "{} {}", held.out, held.err);
        assert!(!folder.join(".tollgate/checkpoint.keys").exists());
    }

    std::thread::scope(|scope| {
        let both = [one, other]
            .map(|folder| scope.spawn(move || tollgate_with_key(folder, "demo-carol-key", &rotate)));
        for done in both {
            let done = done.join().unwrap();
            assert_eq!(done.code, 0, "{}", done.err);
        }
    });
    let last = keys(one);
    assert_eq!((last.len(), &last), (4, &keys(other)));
    let told = rotations(one);
    assert_eq!(told.len(), 3);
    for pair in last.windows(2) {
        assert!(told.contains(&[pair[1].clone(), pair[0].clone()]), "{told:?}");
    }
    assert_eq!(serving.end().0, 0);
}

/// A database that lost records stops commands and replicas with a sentence until an admin says that it goes on with what it has;
/// who did so stands in the record, and what was known is kept.
#[test]
fn a_database_that_lost_records_goes_on_because_an_admin_says_so() {
    if !is_there() {
        return;
    }
    let server = Server::start();
    let database = server.database();
    let folder = on(&database);
    let serve_and_call = || {
        let serving = Serving::start(folder.path(), &[]);
        ready(&serving);
        let done = serving.call("demo-agent-key", "demo__notes_list", &json!({}));
        assert!(!done["isError"].as_bool().unwrap_or(false), "{done}");
        serving
    };
    serve_and_call().end();
    let back = server.back_to_now(&database);
    let accept = ["store", "accept", "--reason", "no backup of last night"];
    let serving = serve_and_call();
    let alive = tollgate_with_key(folder.path(), "demo-carol-key", &accept);
    assert!(alive.code != 0 && alive.err.contains("lives on it"), "{}", alive.err);
    serving.end();
    let fine = tollgate_with_key(folder.path(), "demo-carol-key", &accept);
    assert!(fine.code == 0 && fine.out.contains("nothing was done"), "{} {}", fine.out, fine.err);
    server.sql(&database.name, &back);
    let refused = tollgate(folder.path(), &["audit", "query"]);
    assert!(refused.code != 0 && refused.err.contains("tollgate store accept --reason"), "{}", refused.err);
    for key in [None, Some("demo-alice-key")] {
        let refused = match key {
            Some(key) => tollgate_with_key(folder.path(), key, &accept),
            None => tollgate(folder.path(), &accept),
        };
        assert!(refused.code != 0, "{key:?}: {}", refused.out);
    }
    let accepted = tollgate_with_key(folder.path(), "demo-carol-key", &accept);
    assert_eq!(accepted.code, 0, "{}", accepted.err);
    for told in ["accepted by carol", "the last", "replica.before-1", "start the replicas"] {
        assert!(accepted.out.contains(told), "{told}: {}", accepted.out);
    }
    assert!(folder.path().join(".tollgate/replica.before-1/tollgate.db").exists());
    let verified = tollgate(folder.path(), &["audit", "verify"]);
    assert!(verified.code != 0 && verified.err.contains("as a person accepted"), "{}", verified.err);
    let recorded = tollgate(folder.path(), &["audit", "export"]).out;
    assert!(
        recorded
            .lines()
            .any(|line| line.contains("damage_accepted") && line.contains("no backup of last night"))
    );
    assert_eq!(serve_and_call().end().0, 0);
    let again = tollgate_with_key(folder.path(), "demo-carol-key", &accept);
    assert!(again.code == 0 && again.out.contains("nothing was done"), "{} {}", again.out, again.err);
}

/// When a key was used on one replica is known on another.
#[test]
fn when_a_key_was_used_is_known_on_every_replica() {
    if !is_there() {
        return;
    }
    let server = Server::start();
    let database = server.database();
    let folders = [(); 2].map(|()| on(&database));
    let used = |folder: &Path| -> Value {
        let shown = tollgate(folder, &["agents", "show", "demo-agent", "--json"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        serde_json::from_str::<Value>(&shown.out).unwrap()["last_used"].clone()
    };
    let serving = Serving::start(folders[0].path(), &[]);
    ready(&serving);
    assert_eq!(used(folders[1].path()), Value::Null);
    serving.call("demo-agent-key", "demo__notes_list", &json!({}));
    serving.end();
    let here = used(folders[0].path());
    assert!(here.is_string() && here == used(folders[1].path()), "{here}");
}

/// The record of one machine is taken to a database by the command line, and serves there; what is of one machine is refused.
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
    let rotated = tollgate_with_key(folder.path(), "demo-carol-key", &["audit", "checkpoint", "--rotate"]);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    let known = keys(folder.path());
    let kept = folder.path().join("before.checkpoint");
    std::fs::write(&kept, tollgate(folder.path(), &["audit", "checkpoint"]).out).unwrap();
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
    // The keys of checkpoints went along, and are those of a replica that comes later.
    let late = on(&database);
    for folder in [folder.path(), late.path()] {
        assert_eq!(keys(folder), known);
        let held = tollgate(folder, &["audit", "verify", "--checkpoint", kept.to_str().unwrap()]);
        assert!(held.code == 0 && held.out.contains("hold"), "{} {}", held.out, held.err);
    }
    assert!(!folder.path().join(".tollgate/checkpoint.keys").exists());
    let import = tollgate(folder.path(), &["store", "import"]);
    assert!(
        import.code != 0 && import.err.contains("sqlite:PATH") && import.err.contains("store migrate --to"),
        "{}",
        import.err
    );
}

/// Has a folder's rules tokenize addresses that come from the demo upstream, which gets them back.
fn tokenize(folder: &Path) {
    let rule = "rules:\n  - id: mails\n    detectors: [email]\n    on: [{ upstream: demo }]\n    results: tokenize\n    \
        permitted: [{ upstream: demo }]\n";
    std::fs::write(folder.join("policies/data.yaml"), rule).unwrap();
}

fn set_vault_key(folder: &Path, key: &str) {
    let file = folder.join("servers.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("vault_key"));
    let lines: Vec<&str> = lines.collect();
    let key = format!("[store]\nvault_key = \"{key}\"");
    std::fs::write(file, format!("{}\n", lines.join("\n")).replace("[store]", &key)).unwrap();
}

const ADDRESS: &str = "maria@example.com";

/// A note of the demo upstream of this replica alone: what it is told of its size.
fn written(replica: &Serving, text: &str) -> Value {
    let note = json!({"path": "/scratch/mail.md", "text": text});
    replica.call("demo-agent-key", "demo__note_write", &note)
}

/// What an agent sees in place of an address that it read on this replica.
fn placeholder(replica: &Serving) -> String {
    let read = replica.call("demo-agent-key", "demo__notes_read", &json!({"path": "/scratch/mail.md"}));
    let seen = read["structuredContent"]["text"].as_str().unwrap_or_else(|| panic!("{read}")).to_owned();
    assert!(seen.starts_with("[token:email:") && !read.to_string().contains(ADDRESS), "{read}");
    seen
}

/// A placeholder that one replica made is resolved by another, before and after keys were rotated on the command line. Without
/// `vault_key` nothing starts, and with another one nothing is resolved.
#[test]
fn a_placeholder_of_one_replica_is_good_on_another() {
    if !is_there() {
        return;
    }
    let server = Server::start();
    let database = server.database();
    let folders = [(); 2].map(|()| on(&database));
    folders.iter().for_each(|folder| tokenize(folder.path()));
    for command in [["check"].as_slice(), &["serve"], &["doctor"]] {
        let refused = tollgate(folders[0].path(), command);
        let said = format!("{}{}", refused.out, refused.err);
        assert!(refused.code != 0 && said.contains("`[store]` of servers.toml has no `vault_key`"), "{said}");
        let is_told_what_to_set = said.contains("openssl rand -base64 32") || command[0] == "doctor";
        assert!(said.contains("data.yaml") && is_told_what_to_set, "{said}");
    }
    let key = "a-very-long-first-passphrase-of-the-admin";
    folders.iter().for_each(|folder| set_vault_key(folder.path(), key));
    let mut replicas: Vec<Serving> =
        folders.iter().map(|folder| Serving::start(folder.path(), &[])).collect();
    replicas.iter().for_each(ready);

    let size = ADDRESS.len();
    assert_eq!(written(&replicas[0], ADDRESS)["structuredContent"]["bytes"], size);
    let seen = placeholder(&replicas[0]);
    assert_eq!(written(&replicas[1], &seen)["structuredContent"]["bytes"], size);
    assert_eq!(placeholder(&replicas[1]), seen, "it is the same one on both");
    let rotated = tollgate_with_key(folders[1].path(), "demo-carol-key", &["store", "rotate-key"]);
    assert!(
        rotated.code == 0 && rotated.out.contains("1 value is encrypted under key 2 now"),
        "{}",
        rotated.err
    );
    for replica in &replicas {
        assert_eq!(written(replica, &seen)["structuredContent"]["bytes"], size);
    }

    drop(replicas.pop());
    set_vault_key(folders[1].path(), "another-passphrase-that-is-just-as-long");
    let stranger = Serving::start(folders[1].path(), &[]);
    ready(&stranger);
    let refused = written(&stranger, &seen);
    assert!(refused["isError"] == true && text(&refused).contains("the vault of `tokenize`"), "{refused}");
    let (_, _, log) = stranger.end();
    assert!(log.contains("encrypted with another `vault_key`"), "{log}");
    let rotate = tollgate_with_key(folders[1].path(), "demo-carol-key", &["store", "rotate-key"]);
    assert!(rotate.code != 0 && rotate.err.contains("encrypted with another `vault_key`"), "{}", rotate.err);
    assert_eq!(written(&replicas[0], &seen)["structuredContent"]["bytes"], size);
}

/// Values that agents know by their placeholders go along with the record of one machine.
#[test]
fn a_vault_moves_to_postgresql_with_its_store() {
    if !is_there() {
        return;
    }
    let server = Server::start();
    let database = server.database();
    let folder = shipped();
    tokenize(folder.path());
    let serving = Serving::start(folder.path(), &[]);
    ready(&serving);
    written(&serving, ADDRESS);
    let seen = placeholder(&serving);
    serving.end();
    let to = ["store", "migrate", "--to", &database.url];
    let refused = tollgate(folder.path(), &to);
    assert!(refused.code != 0 && refused.err.contains("`[store]` has no `vault_key`"), "{}", refused.err);
    set_vault_key(folder.path(), "a-very-long-first-passphrase-of-the-admin");
    let moved = tollgate(folder.path(), &to);
    assert!(
        moved.code == 0 && moved.out.contains("1 values and 0 credentials"),
        "{} {}",
        moved.out,
        moved.err
    );
    point(folder.path(), &database);
    let serving = Serving::start(folder.path(), &[]);
    ready(&serving);
    assert_eq!(written(&serving, &seen)["structuredContent"]["bytes"], ADDRESS.len());
    serving.end();
}
