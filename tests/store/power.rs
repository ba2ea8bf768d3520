//! What must be on the disk before something else is, or before somebody is told: a power cut cannot be had in a test, but the
//! order of the system calls can be read (R57, R89).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use crate::store::*;
use std::{collections::HashMap, path::Path, process::Command};
use tollgate::{
    redaction::Tokenized,
    store::{Store as _, TreePath, embedded::Leaving},
};

/// A system call, by the lines of the trace on which it began and ended.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    text: String,
}

struct Trace(Vec<Call>);

impl Trace {
    /// Runs a test of this binary as a process of its own, which works on the folder; `None`: there is no `strace`.
    fn of(test: &str, dir: &Path) -> Option<Self> {
        if Command::new("strace").arg("--version").output().is_err() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "`strace` is not installed");
            return None;
        }
        let log = dir.join("trace");
        let calls = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2";
        let told = Command::new("strace")
            .args(["-f", "-y", "-s", "200", "-e", calls, "-o"])
            .arg(&log)
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(PEER_DIR, dir)
            .output()
            .unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        let (mut calls, mut open) = (Vec::new(), HashMap::new());
        for (line, (pid, call)) in text.lines().filter_map(|line| line.split_once(' ')).enumerate() {
            let call = call.trim_start();
            if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
                open.insert(pid, (line, begun));
            } else if let Some((_, rest)) = call.split_once("resumed>") {
                let Some((began, begun)) = open.remove(pid) else { continue };
                calls.push(Call { began, ended: line, text: format!("{begun}{rest}") });
            } else {
                calls.push(Call { began: line, ended: line, text: call.to_owned() });
            }
        }
        calls.sort_by_key(|call| call.began);
        Some(Self(calls))
    }

    /// Where files got this name, in order.
    fn named(&self, path: &Path) -> Vec<&Call> {
        let name = format!("{}\"", path.display());
        self.0.iter().filter(|call| call.text.starts_with("rename") && call.text.contains(&name)).collect()
    }

    /// Where the process told this to its parent.
    fn told(&self, what: &str) -> &Call {
        self.0
            .iter()
            .find(|call| call.text.starts_with("write(1<") && call.text.contains(&format!("peer: {what}")))
            .unwrap()
    }

    fn is_synced(&self, path: &Path, after: usize, before: usize) -> bool {
        let path = format!("<{}>)", path.display());
        self.0.iter().any(|call| {
            (call.text.starts_with("fsync(") || call.text.starts_with("fdatasync("))
                && call.text.contains(&path)
                && call.text.trim_end().ends_with("= 0")
                && call.began > after
                && call.ended < before
        })
    }

    /// Whether all that had been written to a file was on the disk before a call.
    fn is_flushed(&self, path: &Path, before: &Call) -> bool {
        let name = format!("<{}>", path.display());
        let writes = self.0.iter().filter(|call| {
            call.text.starts_with("pwrite64(") && call.text.contains(&name) && call.began < before.began
        });
        let last = writes.map(|call| call.ended).max().unwrap();
        self.is_synced(path, last, before.began)
    }
}

fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    // As the system names it.
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

/// A vault's values are on the disk under the new key before the old one is forgotten.
#[test]
fn the_old_key_of_a_vault_is_forgotten_behind_what_needs_it() {
    let (_dir, path) = folder();
    let Some(trace) = Trace::of("power::rotates", &path) else { return };
    let keys = trace.named(&path.join("tollgate.vault-keys"));
    assert_eq!(keys.len(), 3, "the first key, both, and the new one alone: {keys:?}");
    assert!(trace.is_flushed(&path.join("tollgate.vault-wal"), keys[2]));
    // What is put next waits for no disk.
    assert!(!trace.is_flushed(&path.join("tollgate.vault-wal"), trace.told("put")));
}

#[tokio::test]
async fn rotates() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    let vault = store.vault().unwrap();
    let token = |number: u32| Tokenized {
        placeholder: format!("[token:email:{number:032x}]").into(),
        scope: "agent:a".into(),
        rule: "mails".into(),
        detector: "email".into(),
        value: "ada@example.org".to_owned().into(),
        is_json: false,
    };
    vault.put(vec![token(1)], start(), [1; 32]).await.unwrap();
    assert_eq!(vault.rotate(start(), [2; 32]).await.unwrap().unwrap().values, 1);
    vault.put(vec![token(2)], start(), [3; 32]).await.unwrap();
    say("put");
}

/// With `durability = "commit"` no root is given of records that a power cut could take back, and no block of the tree is kept.
#[test]
fn what_a_root_stands_for_is_on_the_disk_before_it_is_told() {
    let (_dir, path) = folder();
    let Some(trace) = Trace::of("power::asks_for_roots", &path) else { return };
    let segment = segments(&path).pop().unwrap();
    let blocks = trace.named(&journal(&path).join("tree"));
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    assert!(trace.is_flushed(&segment, blocks[0]));
    assert!(!trace.is_flushed(&segment, trace.told("recorded")), "a record alone waits for no disk");
    assert!(trace.is_flushed(&segment, trace.told("a root")));
}

#[tokio::test]
async fn asks_for_roots() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    let record = async || store.record(vec![decision("a", start())]).await.unwrap();
    for _ in 0..300 {
        record().await;
    }
    store.tree(Some(256), TreePath::None).await.unwrap();
    record().await;
    say("recorded");
    store.tree(None, TreePath::None).await.unwrap();
    say("a root");
}

/// Whoever is told that the record goes on elsewhere finds that said here after a power cut too.
#[test]
fn that_a_record_went_elsewhere_is_on_the_disk_before_it_is_told() {
    let (_dir, path) = folder();
    let Some(trace) = Trace::of("power::leaves", &path) else { return };
    let journal = journal(&path);
    let moved = trace.named(&journal.join("moved"));
    assert_eq!(moved.len(), 1, "whole or not at all: {moved:?}");
    let begun = moved[0].text.split('"').nth(1).unwrap();
    assert!(trace.is_synced(Path::new(begun), 0, moved[0].began), "{moved:?}");
    assert!(trace.is_synced(&journal, moved[0].ended, trace.told("left").began));
    assert!(try_open(&path).map(drop).unwrap_err().to_string().contains("goes on there"));
}

#[tokio::test]
async fn leaves() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    store.record(vec![decision("a", start())]).await.unwrap();
    store.close().await;
    drop(store);
    Leaving::of(&database(&dir), &dir).unwrap().left("elsewhere").unwrap();
    say("left");
}
