//! The store under attack, with the real binary: a database that another program has locked or removed, a disk that is
//! really full, and the power that may go at any moment.

use crate::binary::{Answer, Serving, tollgate};
use axum::{Json, Router, extract::State, response::IntoResponse as _, routing::any};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::sync::watch;

/// An upstream that counts the calls that reach it, and answers them when it may.
struct Upstream {
    url: String,
    calls: watch::Receiver<usize>,
    may_answer: watch::Sender<bool>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Script {
    calls: watch::Sender<usize>,
    may_answer: watch::Receiver<bool>,
}

async fn answer(State(mut script): State<Script>, body: String) -> axum::response::Response {
    let Ok(message) = serde_json::from_str::<Value>(&body) else {
        return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let Some(id) = message.get("id") else { return axum::http::StatusCode::ACCEPTED.into_response() };
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "serverInfo": {"name": "up", "version": "1"},
            "capabilities": {"tools": {}},
        }),
        "tools/list" => json!({"tools": [tool("act"), tool("ask")]}),
        "tools/call" => {
            script.calls.send_modify(|calls| *calls += 1);
            script.may_answer.wait_for(|may| *may).await.unwrap();
            json!({"content": [{"type": "text", "text": "done"}]})
        }
        _ => {
            let error = json!({"code": -32601, "message": "no"});
            return Json(json!({"jsonrpc": "2.0", "id": id, "error": error})).into_response();
        }
    };
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
}

impl Upstream {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (may_answer, may) = watch::channel(true);
        let (told, calls) = watch::channel(0);
        let script = Script { calls: told, may_answer: may };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let router = Router::new().route("/mcp", any(answer)).with_state(script);
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, calls, may_answer, _runtime: runtime }
    }

    fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    fn until_calls(&self, count: usize) {
        let mut calls = self.calls.clone();
        let reached = async move {
            tokio::time::timeout(Duration::from_secs(60), calls.wait_for(|calls| *calls >= count))
                .await
                .map(drop)
        };
        self._runtime.block_on(reached).expect("the call reaches the upstream");
    }
}

/// A gateway's files, in front of one upstream.
struct Files {
    folder: tempfile::TempDir,
    up: Upstream,
    data: PathBuf,
}

const KEY: &str = "key-robot";
const PERSON: &str = "key-carol";

impl Files {
    fn of(durability: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let up = Upstream::start();
        let data = folder.path().join("data");
        let servers = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\napproval_wait = \"0s\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [store]\nurl = \"sqlite:data/tollgate.db\"\ndurability = \"{durability}\"\n\
             [upstreams.up]\nurl = \"{}\"\nprefix = \"up\"\n",
            up.url
        );
        std::fs::write(folder.path().join("servers.toml"), servers).unwrap();
        let digest = |key: &str| format!("sha256:{}", hex::encode(Sha256::digest(key)));
        let authority = format!(
            "capabilities:\n  all: {{ tools: [\"**\"] }}\n\
             agents:\n  robot: {{ owner: tests, capabilities: [all], keys: [\"{}\"] }}\n\
             people:\n  carol: {{ groups: [leads], roles: [approver, auditor], keys: [\"{}\"] }}\n",
            digest(KEY),
            digest(PERSON)
        );
        let bundle = folder.path().join("policies");
        std::fs::create_dir(&bundle).unwrap();
        for (name, text) in [
            ("bundle.yaml", "version: \"1\"\nowner: tests\ndefault_decision: ALLOW\n"),
            ("authority.yaml", &authority),
            (
                "budgets.yaml",
                "budgets:\n  - { id: cap, scope: agent, window: ever, max_calls: 1000, on_exceed: deny }\n",
            ),
            (
                "ask.yaml",
                "name: ask\ndescription: d\non: [{ tool: up__ask }]\nrules:\n  - { id: r, decision: REQUIRE_APPROVAL, approvers: [leads] }\n",
            ),
        ] {
            std::fs::write(bundle.join(name), text).unwrap();
        }
        Self { folder, up, data }
    }

    fn serve(&self, arguments: &[&str]) -> Serving {
        ready(Serving::start(self.folder.path(), arguments))
    }

    fn database(&self) -> PathBuf {
        self.data.join("tollgate.db")
    }

    /// As the system names it.
    fn folder(&self) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap()
    }

    /// The journal's lock, as another program that holds it.
    fn locked(&self) -> std::fs::File {
        let lock = std::fs::File::open(self.folder().join("data/tollgate.journal/lock")).unwrap();
        lock.lock().unwrap();
        lock
    }

    fn segment(&self) -> PathBuf {
        self.folder().join("data/tollgate.journal/00000000000000000001.segment")
    }

    /// Every call that was decided has an end, the counter is the number of those that were let through, and the chain
    /// is whole.
    fn holds(&self, serving: &Serving, granted: usize) {
        let listed = |kind: &str| {
            let path = format!("/api/v1/events?event_type={kind}&limit=1000");
            serving.admin(Some(PERSON), "GET", &path, "").json()["events"].as_array().unwrap().clone()
        };
        let allowed = listed("agent_decision").iter().filter(|event| event["decision"] == "allow").count();
        let ends: Vec<Value> = listed("agent_side_effect");
        assert_eq!((allowed, ends.len()), (granted, granted));
        assert!(ends.iter().all(|event| event["outcome"] == "succeeded"), "{ends:#?}");
        let budgets = serving.admin(Some(PERSON), "GET", "/api/v1/budgets", "").json();
        assert_eq!(budgets["budgets"][0]["used"]["calls"], granted, "{budgets:#}");
        let verified = tollgate(self.folder.path(), &["audit", "verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
    }
}

fn ready(serving: Serving) -> Serving {
    until_ready(&serving);
    serving
}

/// Asks until it is ready by itself; only the outside can be asked here.
fn until_ready(serving: &Serving) {
    let look = || (serving.admin(None, "GET", "/readyz", "").status == 200).then_some(());
    crate::binary::eventually(look).expect("it never became ready");
}

fn act(serving: &Serving) -> Value {
    serving.call(KEY, "up__act", &json!({}))
}

fn assert_done(result: &Value) {
    assert_eq!(result["content"][0]["text"], "done", "{result:#}");
}

fn assert_refused(result: &Value, word: &str) {
    assert_eq!(result["isError"], true, "{result:#}");
    let decision = &result["_meta"]["tollgate/decision"];
    assert_eq!((&decision["decision"], &decision["policy_id"]), (&json!("deny"), &json!("store")));
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(word), "{text}");
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text.contains("the store does not answer"), "{answer:?}");
}

/// While another program holds the database: every call is refused with a sentence, the probes and the admin API answer,
/// nothing reaches an upstream, and all goes on by itself.
#[test]
fn a_locked_database_denies_and_all_goes_on_by_itself() {
    let files = Files::of("commit");
    let serving = files.serve(&[]);
    assert_done(&act(&serving));
    std::thread::scope(|scope| {
        files.up.may_answer.send_replace(false);
        let in_flight = scope.spawn(|| act(&serving));
        files.up.until_calls(2);
        let other = files.locked();
        files.up.may_answer.send_replace(true);
        // Its result does not wait for the store.
        assert_done(&in_flight.join().unwrap());

        let refused: Vec<_> = (0..20).map(|_| scope.spawn(|| act(&serving))).collect();
        assert_eq!(serving.admin(None, "GET", "/healthz", "").status, 200);
        let probe = serving.admin(None, "GET", "/readyz", "");
        assert_eq!((probe.status, probe.json()), (503, json!({"status": "store unavailable"})));
        let told = serving.admin_until_as(PERSON, "/readyz", |told| told.json()["settlements_waiting"] == 1);
        assert_unavailable(&told);
        assert!(told.text.contains("1 settlements wait"), "{told:?}");
        for path in ["events", "budgets", "traces/0af7651916cd43dd8448eb211c80319c"] {
            assert_unavailable(&serving.admin(Some(PERSON), "GET", &format!("/api/v1/{path}"), ""));
        }
        for path in ["me", "approvals", "agents", "tools", "upstreams", "policies"] {
            let answer = serving.admin(Some(PERSON), "GET", &format!("/api/v1/{path}"), "");
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        for refused in refused {
            assert_refused(&refused.join().unwrap(), "locked");
        }
        assert_eq!(files.up.calls(), 2);
        other.unlock().unwrap();
    });
    until_ready(&serving);
    assert_done(&act(&serving));
    assert_eq!(files.up.calls(), 3);
    files.holds(&serving, 3);
}

/// A database that is locked keeps no process from ending, nor another from saying why it does not start.
#[test]
fn a_locked_database_keeps_nobody_from_ending() {
    let files = Files::of("commit");
    let serving = files.serve(&[]);
    assert_done(&act(&serving));
    let other = files.locked();
    let (code, _, log) = serving.end();
    assert_eq!(code, 0, "{log}");
    let said = tollgate(files.folder.path(), &["serve"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("locked by another process"), "{said:?}");
    other.unlock().unwrap();
    let serving = files.serve(&[]);
    assert_done(&act(&serving));
}

/// I9: a database that was removed while it was in use: no call is made that nobody would find on record.
#[test]
fn a_removed_database_ends_the_calls() {
    let files = Files::of("commit");
    let serving = files.serve(&[]);
    assert_done(&act(&serving));
    std::fs::remove_file(files.database()).unwrap();
    let told = serving.admin_until_as(PERSON, "/readyz", |told| told.status == 503);
    assert_unavailable(&told);
    assert_refused(&act(&serving), "does not answer");
    assert_eq!(files.up.calls(), 1);
    let (_, _, log) = serving.end();
    assert!(log.contains("removed or replaced"), "{log}");
}

/// Whether the machine can do what a test needs. Where it runs for a verdict it has to.
fn missing(what: &str) {
    assert!(std::env::var("CI").is_err(), "{what} is missing: .ci/setup has to provide it");
    #[expect(clippy::print_stderr, reason = "a test that was not run has to be seen")]
    {
        eprintln!("not tried: {what} is missing");
    }
}

/// A file system of its own for the data, with little room.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = std::fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
    }
}

/// A disk that is really full: calls are refused with a sentence that says so, nothing is half done, settlements of calls in
/// flight wait, and when there is room again all goes on by itself, the file of events included.
#[test]
fn a_full_disk_denies_and_all_goes_on_by_itself() {
    let files = Files::of("commit");
    let Some(disk) = Disk::mount(&files.data) else { return missing("the right to mount a tmpfs") };
    let copy = files.data.join("events.jsonl");
    let serving = files.serve(&["--events", copy.to_str().unwrap()]);
    assert_done(&act(&serving));
    let mut granted = 2;
    std::thread::scope(|scope| {
        files.up.may_answer.send_replace(false);
        let in_flight = scope.spawn(|| act(&serving));
        files.up.until_calls(2);
        disk.fill();
        files.up.may_answer.send_replace(true);
        assert_done(&in_flight.join().unwrap());
        // What is allocated already may still take a few.
        let mut result = act(&serving);
        while result["isError"] != true {
            granted += 1;
            result = act(&serving);
        }
        assert_refused(&result, "full");
    });
    for _ in 0..20 {
        assert_refused(&act(&serving), "full");
    }
    assert_eq!(files.up.calls(), granted);
    let told = serving.admin_until_as(PERSON, "/readyz", |told| told.status == 503);
    assert!(told.text.contains("the disk of the audit store is full"), "{told:?}");
    assert_eq!(serving.admin(None, "GET", "/healthz", "").status, 200);
    disk.free();
    until_ready(&serving);
    assert_done(&act(&serving));
    files.holds(&serving, granted + 1);
    let (code, _, log) = serving.end();
    assert_eq!(code, 0, "{log}");
    // The file has every event, once and whole.
    let copied = std::fs::read_to_string(&copy).unwrap();
    let exported = tollgate(files.folder.path(), &["audit", "export"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let exported: Vec<&str> = exported.out.lines().collect();
    let copied: Vec<&str> = copied.lines().collect();
    assert!(exported.ends_with(&copied), "{} copied, {} on record", copied.len(), exported.len());
    assert!(copied.len() >= 2 * granted);
}

/// A disk that may not be written any more says so at the start.
#[test]
fn a_read_only_disk_is_told_at_the_start() {
    let files = Files::of("commit");
    let Some(disk) = Disk::mount(&files.data) else { return missing("the right to mount a tmpfs") };
    let serving = files.serve(&[]);
    assert_done(&act(&serving));
    assert_eq!(serving.end().0, 0);
    let mounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap();
    assert!(mounted.success());
    let said = tollgate(files.folder.path(), &["serve"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("Read-only file system"), "{said:?}");
}

/// What strace saw, one call a line, as it ended.
struct Trace(Vec<Traced>);

#[derive(Debug)]
struct Traced {
    /// The line in which it began, and the one in which it ended.
    began: usize,
    ended: usize,
    text: String,
}

impl Trace {
    /// Joins what was interrupted by other threads.
    fn read(path: &Path) -> Self {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let mut calls: Vec<Traced> = Vec::new();
        let mut open: std::collections::HashMap<String, (usize, String)> = Default::default();
        for (number, line) in text.lines().enumerate() {
            let (pid, call) = line.split_once(' ').unwrap();
            let call = call.trim_start();
            if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
                open.insert(pid.to_owned(), (number, begun.to_owned()));
            } else if let Some(rest) = call.strip_prefix("<... ") {
                let Some((began, begun)) = open.remove(pid) else { continue };
                let rest = rest.split_once("resumed>").unwrap().1;
                calls.push(Traced { began, ended: number, text: format!("{begun}{rest}") });
            } else {
                calls.push(Traced { began: number, ended: number, text: call.to_owned() });
            }
        }
        calls.sort_by_key(|call| call.began);
        Self(calls)
    }

    fn all(&self, what: impl Fn(&str) -> bool) -> Vec<&Traced> {
        self.0.iter().filter(|call| what(&call.text)).collect()
    }

    /// The requests that called the upstream's tool.
    fn calls(&self, files: &Files) -> Vec<&Traced> {
        let address = files.up.url.trim_start_matches("http://").trim_end_matches("/mcp");
        self.all(|call| call.contains("tools/call") && call.contains(address))
    }

    fn writes(&self, path: &Path) -> impl Iterator<Item = &Traced> {
        let name = format!("<{}>", path.display());
        self.0.iter().filter(move |call| call.text.starts_with("pwrite64(") && call.text.contains(&name))
    }

    /// Whether a path was flushed to the disk between two lines.
    fn synced(&self, path: &Path, after: usize, before: usize) -> bool {
        let path = format!("<{}>)", path.display());
        self.0.iter().any(|call| {
            (call.text.starts_with("fsync(") || call.text.starts_with("fdatasync("))
                && call.text.contains(&path)
                && call.text.trim_end().ends_with("= 0")
                && call.began > after
                && call.ended < before
        })
    }
}

fn strace(into: &Path) -> Vec<String> {
    let calls =
        "trace=openat,mkdir,mkdirat,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,rename,renameat2";
    let into = into.to_str().unwrap();
    ["strace", "-D", "-f", "-y", "-s", "4000", "-e", calls, "-o", into].map(str::to_owned).to_vec()
}

/// Before how many of five calls what was written to the journal had been flushed to the disk, and what was seen.
fn flushed_calls(files: &Files, then: impl Fn(&Serving)) -> (usize, Trace) {
    let log = files.folder.path().join("trace");
    let serving = ready(Serving::start_under(&strace(&log), files.folder.path(), &[]));
    for _ in 0..5 {
        assert_done(&act(&serving));
    }
    then(&serving);
    let (code, _, told) = serving.end();
    assert_eq!(code, 0, "{told}");
    let trace = Trace::read(&log);
    let segment = files.segment();
    let calls = trace.calls(files);
    assert_eq!(calls.len(), 5, "{calls:?}");
    let flushed = calls.iter().filter(|call| {
        let written =
            trace.writes(&segment).filter(|write| write.began < call.began).map(|write| write.ended);
        trace.synced(&segment, written.max().unwrap(), call.began)
    });
    (flushed.count(), trace)
}

/// `durability = "fsync"` survives the power: what admits a call is on the disk, with the names of its files, before the
/// upstream hears of it; and so is what a person decides, before they are told.
#[test]
fn with_fsync_the_decision_is_on_the_disk_before_the_call_is_made() {
    if Command::new("strace").arg("--version").output().is_err() {
        return missing("strace");
    }
    assert_eq!(flushed_calls(&Files::of("commit"), |_| ()).0, 0, "a commit waits for no disk");
    let files = Files::of("fsync");
    let id = std::cell::OnceCell::new();
    let (flushed, trace) = flushed_calls(&files, |serving| {
        let asked_for = serving.call(KEY, "up__ask", &json!({}));
        let approval = asked_for["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap();
        id.set(approval.to_owned()).unwrap();
    });
    assert_eq!(flushed, 5);
    let first = trace.calls(&files)[0].began;
    let (folder, segment) = (files.folder(), files.segment());
    let data = folder.join("data");
    // The names: the folder that was made, and the files in it.
    let made = trace.all(|call| call.starts_with("mkdir") && call.contains(data.to_str().unwrap()));
    assert!(trace.synced(&folder, made[0].ended, first));
    let journal = data.join("tollgate.journal");
    let made = trace.all(|call| call.starts_with("mkdir") && call.contains(journal.to_str().unwrap()));
    assert!(trace.synced(&data, made[0].ended, first));
    assert!(trace.synced(&journal, made[0].ended, first));

    // Another process, which decides and ends.
    let log = folder.join("cli-trace");
    let said = crate::binary::under(
        &strace(&log),
        files.folder.path(),
        PERSON,
        &["approvals", "approve", id.get().unwrap()],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let trace = Trace::read(&log);
    let told = trace.all(|call| call.starts_with("write(1<"))[0].began;
    let last = trace.writes(&segment).map(|write| write.ended).filter(|ended| *ended < told).max().unwrap();
    assert!(trace.synced(&segment, last, told));
}
