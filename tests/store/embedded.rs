//! What holds of the embedded store in particular: tampering, dead processes, opening, and caps under any sequence.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use crate::store::*;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;
use std::{collections::HashMap, fs::File, path::Path, sync::Arc};
use tollgate::{
    audit::{Coverage, export_jsonl, verify_export},
    config::Durability,
    cost::{BudgetWindow, BudgetZone, Elastic},
    decision::BudgetLimit,
    evidence::content_hash,
    journal::{Draft, SEGMENT_HEAD, Segment, Step, index_path},
    model::{ApprovalStatus, EventDraft, EventType, MicroUsd, Outcome, OwnerId},
    store::{
        Admission, AdmitRequest, ApprovalFilter, ApprovalUpdate, AskLimits, BudgetReset, BudgetUsage,
        EventQuery, Kept, KeptKind, ResetBy, Store as _, StoreError, embedded::EmbeddedStore,
    },
};

fn raw(dir: &Path) -> Connection {
    Connection::open(database(dir)).unwrap()
}

/// Moves everything into the database file itself.
fn fold(dir: &Path) {
    let connection = raw(dir);
    let busy = || -> i64 {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap_or(1)
    };
    while busy() != 0 {
        std::thread::yield_now();
    }
}

/// What a person reads who looks whether the record is whole: where, and what is wrong.
async fn named(store: &EmbeddedStore) -> Option<String> {
    match store.verify().await {
        Ok(report) => report.bad.map(|bad| format!("record {}: {}", bad.seq, bad.problem)),
        Err(StoreError::Damaged(problem)) => Some(problem),
        Err(error) => panic!("{error}"),
    }
}

/// I9, R57: what was written is never written over, whatever is done.
#[tokio::test]
async fn events_are_append_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let limit = BudgetLimit { max_tokens: Some(1_000), ..budget("b", BudgetWindow::Ever) };
    let call = AdmitRequest { tokens: 10, budgets: vec![limit], ..request("a", start()) };
    let asked = pending("d", start());
    let update = ApprovalUpdate {
        id: asked.id.clone(),
        expected_version: 1,
        status: ApprovalStatus::Rejected,
        answers: Vec::new(),
        covered_by: None,
    };
    let mut before = std::fs::read(&segments(dir.path())[0]).unwrap();
    for step in 0..7 {
        match step {
            0 => store.record(vec![decision("a", start()); 3]).await.unwrap(),
            1 => drop(store.admit(call.clone()).await.unwrap()),
            2 => store.settle(settlement(&call, Some(3), None)).await.unwrap(),
            3 => drop(store.ask(asked.clone(), Vec::new(), AskLimits::NONE).await.unwrap()),
            4 => drop(store.update_approval(update.clone(), Vec::new()).await.unwrap()),
            5 => drop(store.settle_dead_owners(start()).await.unwrap()),
            _ => drop(open(dir.path())),
        }
        let now = std::fs::read(&segments(dir.path())[0]).unwrap();
        assert!(now.starts_with(&before), "step {step}");
        before = now;
    }
}

/// I9: every kind of tampering is found and named, by who has the store open and by who opens it, and nothing goes on
/// behind it.
#[tokio::test]
async fn tampering_is_named_by_its_seq() {
    let check = async |change: &dyn Fn(&mut Vec<u8>, &[At]), seq: i64, word: &str| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for n in 0..8 {
            let mut event = decision("a", later(start(), n));
            event.approval_id = Some("approval".into());
            store.record(vec![event]).await.unwrap();
        }
        assert_eq!(named(&store).await, None);
        let segment = segments(dir.path()).remove(0);
        let found = frames(&segment);
        edit(&segment, |bytes| change(bytes, &found));
        let told = named(&store).await.unwrap_or_else(|| panic!("not found: {seq}, {word}"));
        assert!(told.contains(word), "{told}");
        assert!(
            told.contains(&format!("record {seq}:")) || told.contains("behind record 8"),
            "{seq}: {told}"
        );
        store.close().await;
        let refused = try_open(dir.path()).map(drop).unwrap_err().to_string();
        let place = format!("behind record {}", seq - 1);
        assert!(refused.contains(&place) || refused.contains("record 8 was there"), "{seq}: {refused}");
    };
    let body = |bytes: &mut Vec<u8>, at: &At| bytes[at.records[0].1.start + 20] ^= 1;
    check(&|bytes, at| body(bytes, &at[2]), 3, "hash").await;
    check(&|bytes, at| bytes[at[4].records[0].1.end..][..32].fill(0), 5, "hash").await;
    check(&|bytes, at| bytes[at[4].offset + 40..][..32].fill(0), 5, "does not follow").await;
    check(&|bytes, at| bytes[at[4].offset + at[4].length - 5] ^= 1, 5, "hash").await;
    check(&|bytes, at| bytes[at[4].offset + 5] ^= 1, 5, "no frame begins there").await;
    let without = |bytes: &mut Vec<u8>, at: &At| drop(bytes.drain(at.offset..at.offset + at.length));
    check(&|bytes, at| without(bytes, &at[3]), 4, "it had").await;
    check(&|bytes, at| without(bytes, &at[0]), 1, "it had").await;
    check(&|bytes, at| bytes.truncate(at[6].offset), 7, "it had").await;
    check(&|bytes, at| bytes.truncate(at[0].offset), 1, "it had").await;
    let swap = |bytes: &mut Vec<u8>, at: &[At]| {
        let (one, two) = (&at[1], &at[2]);
        let moved = bytes[one.offset..two.offset].to_vec();
        drop(bytes.drain(one.offset..two.offset));
        let behind = one.offset + two.length;
        drop(bytes.splice(behind..behind, moved));
    };
    check(&swap, 2, "does not follow").await;
    // Twice the same at the end.
    let again = |bytes: &mut Vec<u8>, at: &[At]| {
        let last = bytes[at[7].offset..].to_vec();
        bytes.extend(last);
    };
    check(&again, 9, "does not follow").await;
}

/// I9: of a group with one damaged record that one is named.
#[tokio::test]
async fn tampering_within_a_group_is_named_by_its_seq() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record((0..5).map(|n| decision("a", later(start(), n))).collect()).await.unwrap();
    let (segment, frame) = frame_of(dir.path(), 4);
    edit(&segment, |bytes| bytes[frame.records[3].1.start + 30] ^= 1);
    assert_eq!(store.verify().await.unwrap().bad.unwrap().seq, 4);
}

/// I9: what records and approvals are found by is verified too, so that none can be hidden from a query.
#[tokio::test]
async fn tampering_with_the_index_is_named() {
    async fn filled(dir: &Path) -> Arc<EmbeddedStore> {
        let store = open(dir);
        store.seal_after(50).await.unwrap();
        for n in 1..=120 {
            let budgets = vec![calls("b", BudgetWindow::Day, 1_000)];
            let call = AdmitRequest { budgets, ..request("a", later(start(), n)) };
            assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
        }
        store.ask(pending("d", start()), Vec::new(), AskLimits::NONE).await.unwrap();
        let (body, name) = ("{}", "s-1".to_owned());
        let hash = content_hash(body);
        store.keep(Kept { kind: KeptKind::Bundle, name, hash, body: body.to_owned() }).await.unwrap();
        // Whoever looks for something makes the indexes where they are not made yet.
        let query = EventQuery { agent_id: Some("a".into()), ..EventQuery::default() };
        assert_eq!(store.events(query).await.unwrap().len(), 120);
        assert_eq!(named(&store).await, None);
        store
    }
    // An index with other content whose sums are right, and one with a wrong byte.
    for change in ["another", "byte", "shorter"] {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path()).await;
        let found = segments(dir.path());
        assert_eq!(found.len(), 3);
        let index = index_path(&found[1]);
        match change {
            "another" => drop(std::fs::copy(index_path(&found[0]), &index).unwrap()),
            "byte" => edit(&index, |bytes| *bytes.last_mut().unwrap() ^= 1),
            _ => edit(&index, |bytes| bytes.truncate(bytes.len() - 1)),
        }
        let bad = store.verify().await.unwrap().bad.unwrap();
        assert_eq!(bad.seq, 51, "{change}: {}", bad.problem);
        assert!(bad.problem.contains("index"), "{change}: {}", bad.problem);
    }
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    for (sql, table) in [
        ("UPDATE usage SET calls = calls - 1", "usage"),
        ("UPDATE usage SET tokens = 1", "usage"),
        ("UPDATE usage SET cost = cost + 1", "usage"),
        ("UPDATE usage SET alerted = 7", "usage"),
        ("UPDATE usage SET start = start + 1", "usage"),
        ("UPDATE usage SET counter = counter + 1", "usage"),
        ("DELETE FROM usage", "usage"),
        ("INSERT INTO usage VALUES (1, 2, 3, 4, 5, 6)", "usage"),
        ("UPDATE counters SET policy_id = 'c'", "counters"),
        ("UPDATE counters SET kind = 'hour'", "counters"),
        ("UPDATE counters SET key = 'other'", "counters"),
        ("UPDATE counters SET id = id + 1", "counters"),
        ("DELETE FROM counters", "counters"),
        ("UPDATE approvals SET id = 'other'", "approvals"),
        ("UPDATE approvals SET version = 2", "approvals"),
        ("UPDATE approvals SET status = 'approved'", "approvals"),
        ("UPDATE approvals SET agent = 'other'", "approvals"),
        ("UPDATE approvals SET binding = zeroblob(32)", "approvals"),
        ("UPDATE approvals SET created_at = created_at + 1", "approvals"),
        ("UPDATE approvals SET expires_at = expires_at + 1", "approvals"),
        ("UPDATE approvals SET rejected_at = 1", "approvals"),
        ("UPDATE approvals SET records = '[]'", "approvals"),
        ("DELETE FROM approvals", "approvals"),
        ("UPDATE kept SET name = 's-2'", "kept"),
        ("DELETE FROM kept", "kept"),
        (
            "INSERT INTO kept VALUES ('bundle', 's-9', '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a', '{}')",
            "kept",
        ),
        ("DELETE FROM owners", "owners"),
        ("UPDATE owners SET lock_path = '/elsewhere'", "owners"),
    ] {
        let other = raw(dir.path());
        let columns = "SELECT group_concat(name) FROM pragma_table_info(?1)";
        let columns: String = other.query_row(columns, [table], |row| row.get(0)).unwrap();
        other
            .execute_batch(&format!("CREATE TEMP TABLE kept_rows AS SELECT {columns} FROM {table}"))
            .unwrap();
        assert!(other.execute(sql, []).unwrap() > 0, "{sql}");
        let bad = store.verify().await.unwrap().bad.unwrap_or_else(|| panic!("not found: {sql}"));
        assert!(bad.problem.contains(table), "{sql}: {}", bad.problem);
        other
            .execute_batch(&format!(
                "BEGIN; DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {columns} FROM kept_rows; COMMIT"
            ))
            .unwrap();
        assert_eq!(named(&store).await, None, "put back: {sql}");
    }
}

/// I9, I11: what a record refers to by a hash is verified with it, and what nothing refers to as well.
#[tokio::test]
async fn tampering_with_what_is_kept_is_named() {
    let check = async |sql: &str, seq: i64, word: &str| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let keep = async |kind: KeptKind, name: Option<&str>, body: &str| {
            let hash = content_hash(body);
            let name = name.unwrap_or(&hash).to_owned();
            store.keep(Kept { kind, name, hash: hash.clone(), body: body.to_owned() }).await.unwrap();
            hash
        };
        let bundle = keep(KeptKind::Bundle, Some("s-1"), "{\"files\":[]}").await;
        let tool = keep(KeptKind::Tool, None, "{\"name\":\"t\"}").await;
        keep(KeptKind::Tool, None, "{\"name\":\"unused\"}").await;
        let mut activated = EventDraft::system(EventType::PolicyActivated, start());
        activated.policy_snapshot = Some("s-1".into());
        activated.detail = Some(json!({"bundle": bundle}));
        let mut decided = decision("a", start());
        decided.texts.facts = Some(format!(r#"{{"version":1,"kind":"tool","tool":"{tool}"}}"#).into());
        store.record(vec![decision("a", start()), activated, decided]).await.unwrap();
        assert_eq!(store.verify().await.unwrap().bad, None);
        assert!(raw(dir.path()).execute(sql, []).unwrap() > 0, "{sql}");
        let bad = store.verify().await.unwrap().bad.unwrap_or_else(|| panic!("not found: {sql}"));
        assert_eq!(bad.seq, seq, "{sql}: {}", bad.problem);
        assert!(bad.problem.contains(word), "{sql}: {}", bad.problem);
    };
    check("UPDATE kept SET body = '{}' WHERE name = 's-1'", 2, "bundle").await;
    check("DELETE FROM kept WHERE name = 's-1'", 2, "bundle").await;
    check("UPDATE kept SET hash = name WHERE name = 's-1'", 2, "bundle").await;
    check("UPDATE kept SET body = replace(body, '\"t\"', '\"u\"')", 3, "tool").await;
    check("DELETE FROM kept WHERE kind = 'tool'", 3, "tool").await;
    check("UPDATE kept SET kind = 'bundle' WHERE kind = 'tool'", 3, "tool").await;
    check("UPDATE kept SET body = '{}' WHERE body LIKE '%unused%'", 0, "its hash is not that of its content")
        .await;
}

/// R47: what the index says is found, whichever process wrote it and wherever the block ends.
#[tokio::test]
async fn events_are_found_by_every_member() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let name = |n: i64| format!("agent-{}", n % 7);
    for n in 1..=300 {
        let mut event = decision(&name(n), later(start(), n));
        if n % 50 == 0 {
            event.approval_id = Some("approval".into());
        }
        stores[usize::try_from(n / 40).unwrap() % 2].record(vec![event]).await.unwrap();
    }
    let seqs = async |query: EventQuery| -> Vec<i64> {
        stores[0].events(query).await.unwrap().iter().map(|event| event.seq).collect()
    };
    for newest_first in [false, true] {
        let check = async |query: EventQuery, fit: &dyn Fn(i64) -> bool| {
            let mut expect: Vec<i64> = (1..=300).filter(|n| fit(*n)).collect();
            if newest_first {
                expect.reverse();
            }
            assert_eq!(seqs(EventQuery { newest_first, ..query.clone() }).await, expect, "{query:?}");
            expect.truncate(3);
            assert_eq!(
                seqs(EventQuery { newest_first, limit: 3, ..query.clone() }).await,
                expect,
                "{query:?}"
            );
        };
        let all = EventQuery::default;
        check(all(), &|_| true).await;
        check(EventQuery { agent_id: Some("agent-3".into()), ..all() }, &|n| n % 7 == 3).await;
        check(EventQuery { approval_id: Some("approval".into()), ..all() }, &|n| n % 50 == 0).await;
        let both =
            EventQuery { agent_id: Some("agent-1".into()), approval_id: Some("approval".into()), ..all() };
        check(both, &|n| n % 7 == 1 && n % 50 == 0).await;
        check(EventQuery { agent_id: Some("agent-9".into()), ..all() }, &|_| false).await;
        let since =
            EventQuery { since: Some(later(start(), 100)), until: Some(later(start(), 210)), ..all() };
        check(since, &|n| (100..210).contains(&n)).await;
        let seqs = EventQuery {
            after_seq: Some(64),
            until_seq: Some(190),
            agent_id: Some("agent-2".into()),
            ..all()
        };
        check(seqs, &|n| n > 64 && n <= 190 && n % 7 == 2).await;
    }
    let call = stores[1]
        .events(EventQuery { after_seq: Some(69), limit: 1, ..EventQuery::default() })
        .await
        .unwrap();
    let call_id = call[0].draft.call_id.clone();
    assert_eq!(seqs(EventQuery { call_id, ..EventQuery::default() }).await, [70]);
    assert_eq!(stores[0].verify().await.unwrap().bad, None);
}

/// The hashes themselves are recomputed by somebody from a changed record on: only a noted head tells.
#[tokio::test]
async fn a_recomputed_tail_is_found_by_the_noted_head() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record(vec![decision("a", start())]).await.unwrap();
    assert_eq!(named(&store).await, None);
    let (path, at) = frame_of(dir.path(), 1);
    let segment = Segment::open(&path, false).unwrap();
    let mut draft = Draft::default();
    let mut scan = segment.scan(SEGMENT_HEAD, segment.head.before).unwrap();
    while let Step::Frame { frame, before, .. } = scan.step().unwrap() {
        draft.begin(&before);
        for record in frame.records() {
            let body = std::str::from_utf8(record.body).unwrap().replace("let through", "let thrOugh");
            draft.record(|out| out.extend_from_slice(body.as_bytes()));
        }
        draft.notes().extend_from_slice(frame.notes());
        draft.saw(frame.head.at);
    }
    let (frame, _) = draft.finish().unwrap();
    assert_eq!(frame.len(), at.length);
    edit(&path, |bytes| bytes[at.offset..].copy_from_slice(frame));
    let bad = store.verify().await.unwrap().bad.unwrap();
    assert!(bad.seq == 1 && bad.problem.contains("replaced"), "{bad:?}");
}

/// `audit verify` offline: an export carries what the chain hashed, byte for byte.
#[tokio::test]
async fn an_export_verifies_offline() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..5 {
        let mut event = decision("a", later(start(), n));
        event.detail = Some(
            serde_json::from_str(
                r#"{"z":1.50,"a":1E+2,"x":"},\"call_id\":","long":123456789012345678901234567890,"u":"\u2028é"}"#,
            )
            .unwrap(),
        );
        store.record(vec![event]).await.unwrap();
    }
    let mut out = Vec::new();
    assert_eq!(export_jsonl(&*store, EventQuery::default(), &mut out).await.unwrap(), 5);
    let text = String::from_utf8(out).unwrap();
    let whole = verify_export(text.as_bytes(), Coverage::Whole).unwrap();
    assert_eq!((whole.records, &whole.bad, whole.gaps), (5, &None, 0));
    assert_eq!(whole.head, store.verify().await.unwrap().head);
    // An event as the API writes it is the same JSON, and nothing in an export hides.
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let events = all_events(&*store).await;
    let first: Vec<_> = events.iter().map(|e| read(&serde_json::to_string(e).unwrap())).collect();
    assert_eq!(text.lines().map(read).collect::<Vec<_>>(), first);
    assert!(text.contains(r"\u2028"), "{text}");

    let check = |text: &str, coverage, seq: Option<i64>| {
        let report = verify_export(text.as_bytes(), coverage).unwrap();
        assert_eq!(report.bad.as_ref().map(|b| b.seq), seq, "{:?}", report.bad);
    };
    check(&text.replace(":1.50,", ": 1.50 ,"), Coverage::Whole, None);
    check(&text.replacen("let through", "Let through", 1), Coverage::Whole, Some(1));
    check(&text.replacen("\"redacted\":false", "\"redacted\":false,\"new\":1", 1), Coverage::Part, Some(1));
    let lines: Vec<&str> = text.lines().collect();
    check(&[lines[0], lines[1], lines[3]].join("\n"), Coverage::Whole, Some(3));
    check(&[lines[0], lines[1], lines[3]].join("\n"), Coverage::Part, None);
    check(&[lines[1], lines[0]].join("\n"), Coverage::Part, Some(1));
    check("nonsense", Coverage::Part, Some(1));
}

/// Plays a process that admits calls and is killed.
#[tokio::test]
async fn peer_that_holds_calls() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    for _ in 0..3 {
        let limit = BudgetLimit { max_tokens: Some(1_000), ..budget("b", BudgetWindow::Ever) };
        let request = AdmitRequest { tokens: 10, budgets: vec![limit], ..request("a", start()) };
        assert_eq!(store.admit(request).await.unwrap(), Admission::Granted);
    }
    say("ready");
    wait_for_parent();
}

/// I10: only calls of a process whose lock is gone are settled, as unknown, and keep their reservation.
#[tokio::test]
async fn calls_of_a_dead_process_are_settled_and_of_a_live_one_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let own = request("own", start());
    assert_eq!(store.admit(own.clone()).await.unwrap(), Admission::Granted);
    let mut dead = Peer::spawn("embedded::peer_that_holds_calls", dir.path());
    let mut alive = Peer::spawn("embedded::peer_that_holds_calls", dir.path());
    assert_eq!(dead.says().as_deref(), Some("ready"));
    assert_eq!(alive.says().as_deref(), Some("ready"));
    assert_eq!(store.settle_dead_owners(start()).await.unwrap(), 0);
    let locks = || std::fs::read_dir(dir.path().join("owners")).unwrap().count();
    assert_eq!(locks(), 3);

    dead.kill();
    let left_behind = dir.path().join("owners/left-behind.lock");
    std::fs::write(&left_behind, "").unwrap();
    let now = later(start(), 5_000);
    assert_eq!(store.settle_dead_owners(now).await.unwrap(), 3);
    assert_eq!(store.settle_dead_owners(now).await.unwrap(), 0);
    assert_eq!(locks(), 2, "files of the dead are cleaned");

    let kind = Some(EventType::AgentSideEffect);
    let settled = store.events(EventQuery { event_type: kind, ..EventQuery::default() }).await.unwrap();
    assert_eq!(settled.len(), 3);
    for event in &settled {
        let draft = &event.draft;
        assert_eq!((draft.outcome, draft.timestamp), (Some(Outcome::Unknown), now));
        assert_eq!(draft.tool.as_deref(), Some("files__write_file"));
        assert!(draft.call_id.is_some() && draft.trace_id.is_some());
    }
    assert_eq!(store.budget_usage(start()).await.unwrap()[0].tokens, 60, "reservations are kept");
    store.settle(settlement(&own, None, None)).await.unwrap();
    alive.wait();
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A process that closes in order leaves nothing; one that closes with calls open leaves them to the next.
#[tokio::test]
async fn closing_gives_up_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let locks = || std::fs::read_dir(dir.path().join("owners")).unwrap().count();
    let store = open(dir.path());
    store.close().await;
    assert_eq!(locks(), 0);
    let store = open(dir.path());
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    store.close().await;
    let next = open(dir.path());
    assert_eq!(next.settle_dead_owners(start()).await.unwrap(), 1);
    assert_eq!(locks(), 1);
}

/// I9, I10: a decision of an earlier segment that somebody damaged is named by `verify`, and keeps no process from
/// starting.
#[tokio::test]
async fn a_damaged_decision_is_settled_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    let seq = all_events(&*store).await.last().unwrap().seq;
    store.seal_after(1).await.unwrap();
    store.record(vec![decision("b", start())]).await.unwrap();
    store.close().await;
    let (segment, frame) = frame_of(dir.path(), seq);
    assert_ne!(segments(dir.path()).pop().unwrap(), segment);
    edit(&segment, |bytes| bytes[frame.records[0].1.start + 40] ^= 1);
    let next = open(dir.path());
    assert_eq!(next.settle_dead_owners(later(start(), 5)).await.unwrap(), 1);
    assert_eq!(next.settle_dead_owners(later(start(), 5)).await.unwrap(), 0);
    let last = next.events(EventQuery { after_seq: Some(seq + 1), ..EventQuery::default() }).await.unwrap();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].draft.outcome, Some(Outcome::Unknown));
    assert_eq!(next.verify().await.unwrap().bad.unwrap().seq, seq);
}

/// A settlement that the database does not take is tried again until it does: nobody else would make it.
#[tokio::test]
async fn a_settlement_outlives_a_failing_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let limit = BudgetLimit { max_tokens: Some(1_000), ..budget("b", BudgetWindow::Ever) };
    let call = AdmitRequest { tokens: 100, budgets: vec![limit], ..request("a", start()) };
    assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
    let away = "ALTER TABLE usage RENAME TO usage_away; ALTER TABLE mark RENAME TO mark_away";
    raw(dir.path()).execute_batch(away).unwrap();
    let settled = store.settle(settlement(&call, Some(7), None));
    // Comes after it and needs a window that is in the database alone: both fail with it.
    let needs = vec![calls("another", BudgetWindow::Day, 9)];
    assert!(store.admit(AdmitRequest { budgets: needs, ..request("a", start()) }).await.is_err());
    assert_eq!(store.budget_usage(start()).await.ok().map_or(100, |usage| usage[0].tokens), 100);
    let back = "ALTER TABLE usage_away RENAME TO usage; ALTER TABLE mark_away RENAME TO mark";
    raw(dir.path()).execute_batch(back).unwrap();
    // Whatever else comes meanwhile puts it off no further.
    tokio::pin!(settled);
    loop {
        tokio::select! {
            biased;
            outcome = &mut settled => break outcome.unwrap(),
            recorded = store.record(vec![decision("b", start())]) => recorded.unwrap(),
        }
    }
    assert_eq!(store.budget_usage(start()).await.unwrap()[0].tokens, 7);
    let kind = Some(EventType::AgentSideEffect);
    let effects = store.events(EventQuery { event_type: kind, ..EventQuery::default() }).await.unwrap();
    assert_eq!(effects.len(), 1);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A caller that settles and then asks for the same room again finds it free: a settlement counts before every admission
/// that was asked for after it, whichever thread runs the groups.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_settlement_counts_before_every_later_admission() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let callers: Vec<_> = (0..12)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let whole = BudgetLimit {
                    key: format!("caller-{caller}").into(),
                    max_tokens: Some(100),
                    ..budget("room", BudgetWindow::Ever)
                };
                for round in 0..1_500 {
                    let call = AdmitRequest {
                        tokens: 100,
                        budgets: vec![whole.clone()],
                        ..request("a", later(start(), round))
                    };
                    let admission = store.admit(call.clone()).await.unwrap();
                    assert_eq!(admission, Admission::Granted, "caller {caller}, round {round}");
                    // Nobody waits for a settlement.
                    drop(store.settle(settlement(&call, Some(0), None)));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(store.budget_usage(start()).await.unwrap().iter().map(|u| u.tokens).sum::<u64>(), 0);
}

/// The same over two processes: a settlement that is on its way is waited for before its room is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_settlement_counts_before_a_later_admission_of_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    for (round, window) in (0..).zip([BudgetWindow::Ever, BudgetWindow::Minute].repeat(40)) {
        let whole = BudgetLimit { max_tokens: Some(100), ..budget("room", window) };
        let call = AdmitRequest { tokens: 100, budgets: vec![whole], ..request("a", start()) };
        let admission = stores[round % 2].admit(call.clone()).await.unwrap();
        assert_eq!(admission, Admission::Granted, "round {round}");
        drop(stores[round % 2].settle(settlement(&call, Some(0), None)));
    }
    // What is really held is refused, and recorded once.
    let whole = BudgetLimit { max_tokens: Some(100), ..budget("room", BudgetWindow::Ever) };
    let call =
        || AdmitRequest { tokens: 100, budgets: vec![whole.clone()], ..request("held", later(start(), 1)) };
    assert_eq!(stores[0].admit(call()).await.unwrap(), Admission::Granted);
    assert!(matches!(stores[1].admit(call()).await.unwrap(), Admission::Refused(_)));
    let held = EventQuery { agent_id: Some("held".into()), ..EventQuery::default() };
    assert_eq!(stores[0].events(held).await.unwrap().len(), 2);
}

/// A program that holds the journal: calls are refused in bounded time, a probe answers, settlements wait, and all goes
/// on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_journal_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let limit = BudgetLimit { max_tokens: Some(1_000), ..budget("b", BudgetWindow::Ever) };
    let calls: Vec<_> = (0..5)
        .map(|n| AdmitRequest {
            tokens: 200,
            budgets: vec![limit.clone()],
            ..request("a", later(start(), n))
        })
        .collect();
    for call in &calls {
        assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
    }
    let other = File::open(journal(dir.path()).join("lock")).unwrap();
    other.lock().unwrap();
    let settled: Vec<_> = calls.iter().map(|call| store.settle(settlement(call, Some(7), None))).collect();
    let probes = futures::future::join_all((0..100).map(|_| store.ping())).await;
    assert!(probes.iter().all(Result::is_err));
    for _ in 0..3 {
        let refused = store.admit(request("a", start())).await.unwrap_err();
        assert!(matches!(refused, StoreError::Locked), "{refused}");
    }
    assert!(store.record(vec![decision("a", start())]).await.is_err());
    assert_eq!(store.unsettled(), 5);
    // Reads see what was committed.
    assert_eq!(store.approvals(ApprovalFilter::default()).await.unwrap().len(), 0);
    other.unlock().unwrap();
    // The settlements count before the first admission after it.
    let whole = AdmitRequest { tokens: 965, budgets: vec![limit], ..request("a", later(start(), 9)) };
    assert_eq!(store.admit(whole).await.unwrap(), Admission::Granted);
    for settled in settled {
        settled.await.unwrap();
    }
    assert_eq!(store.unsettled(), 0);
    store.ping().await.unwrap();
    assert_eq!(store.budget_usage(start()).await.unwrap()[0].tokens, 1_000);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A store that cannot reach its journal ends all the same.
#[tokio::test]
async fn a_locked_journal_keeps_nobody_from_ending() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let call = request("a", start());
    assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
    let other = File::open(journal(dir.path()).join("lock")).unwrap();
    other.lock().unwrap();
    let settled = store.settle(settlement(&call, None, None));
    store.close().await;
    assert!(settled.await.is_err());
    other.unlock().unwrap();
    let next = open(dir.path());
    assert_eq!(next.settle_dead_owners(start()).await.unwrap(), 1);
}

/// Two versions of Tollgate on one store: the older one stops granting once the newer has written, and says why.
#[tokio::test]
async fn a_newer_schema_is_not_written_by_an_older_process() {
    let dir = tempfile::tempdir().unwrap();
    let (store, newer) = (open(dir.path()), open(dir.path()));
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    let other = raw(dir.path());
    let version: i64 = other.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    // Its first frame says who it is; any will do.
    newer.record(vec![decision("b", start())]).await.unwrap();
    other.pragma_update(None, "user_version", version + 1).unwrap();
    let refused = store.admit(request("a", start())).await.unwrap_err().to_string();
    assert!(refused.contains("restart"), "{refused}");
    other.pragma_update(None, "user_version", version).unwrap();
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// I9: a process whose files were taken away grants nothing more: what it writes would be found by nobody.
#[cfg(unix)]
#[tokio::test]
async fn files_that_were_removed_or_replaced_end_the_grants() {
    let check = async |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
        assert_eq!(store.settle_dead_owners(start()).await.unwrap(), 0);
        change(dir.path());
        let told = store.settle_dead_owners(start()).await.unwrap_err().to_string();
        assert!(told.contains("removed or replaced"), "{told}");
        let refused = store.admit(request("a", start())).await.unwrap_err().to_string();
        assert!(refused.contains("removed or replaced"), "{refused}");
        assert!(store.ping().await.is_err());
        store.close().await;
    };
    check(&|dir| std::fs::remove_file(database(dir)).unwrap()).await;
    check(&|dir| std::fs::remove_file(dir.join("tollgate.db-wal")).unwrap()).await;
    check(&|dir| std::fs::remove_file(dir.join("tollgate.db-shm")).unwrap()).await;
    check(&|dir| std::fs::remove_dir_all(dir.join("owners")).unwrap()).await;
    check(&|dir| {
        std::fs::rename(database(dir), dir.join("aside")).unwrap();
        std::fs::copy(dir.join("aside"), database(dir)).unwrap();
    })
    .await;
    check(&|dir| {
        std::fs::rename(dir.join("tollgate.db"), dir.join("aside")).unwrap();
        drop(Connection::open(dir.join("tollgate.db")).unwrap());
    })
    .await;
}

/// I10: who sees the folder under another name finds the locks in it: nobody alive is taken for dead.
#[tokio::test]
async fn a_folder_under_another_name_has_the_same_owners() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let store = open(&old);
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    std::fs::rename(&old, &new).unwrap();
    let other = open(&new);
    assert_eq!(other.settle_dead_owners(start()).await.unwrap(), 0);
    store.close().await;
    assert_eq!(other.settle_dead_owners(start()).await.unwrap(), 1);
}

/// Pages that rotted: whatever they held, the store answers with errors or well, and never falls over.
#[tokio::test]
async fn rotten_pages_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..40 {
        let limits = vec![calls("b", BudgetWindow::Day, 1_000)];
        let call = AdmitRequest { budgets: limits, max_repeats: Some(9), ..request("a", later(start(), n)) };
        assert_eq!(store.admit(call).await.unwrap(), Admission::Granted);
    }
    store.close().await;
    fold(dir.path());
    let sound = std::fs::read(database(dir.path())).unwrap();
    let pages = sound.len() / 4096;
    let (mut refused, mut granted) = (0, 0);
    for page in 0..pages {
        for offset in [0, 8, 200, 3_000] {
            let dir = tempfile::tempdir().unwrap();
            let mut rotten = sound.clone();
            rotten[page * 4096 + offset..][..64].fill(0xa5);
            std::fs::write(database(dir.path()), rotten).unwrap();
            let owner = OwnerId::from(unique());
            let opened =
                EmbeddedStore::open(&database(dir.path()), dir.path(), Durability::Commit, owner, clock());
            let Ok(store) = opened else {
                refused += 1;
                continue;
            };
            drop(store.settle_dead_owners(start()).await);
            drop(store.verify().await);
            drop(store.budget_usage(start()).await);
            match store.admit(request("a", later(start(), 50))).await {
                Ok(_) => granted += 1,
                Err(_) => refused += 1,
            }
            store.close().await;
        }
    }
    assert!(refused > 0 && granted > 0, "{refused} refused, {granted} granted");
}

/// A database that was cut off is made anew from the journal.
#[tokio::test]
async fn a_truncated_database_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..100 {
        store.admit(request("a", later(start(), n))).await.unwrap();
    }
    store.close().await;
    fold(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(database(dir.path())).unwrap();
    file.set_len(8192).unwrap();
    drop(file);
    let store = open(dir.path());
    assert_eq!(store.settle_dead_owners(later(start(), 200)).await.unwrap(), 100);
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A clock that is far ahead for a while wipes no counter.
#[tokio::test]
async fn a_clock_far_ahead_keeps_todays_counters() {
    let dir = tempfile::tempdir().unwrap();
    let day = |now| AdmitRequest { budgets: vec![calls("b", BudgetWindow::Day, 1)], ..request("a", now) };
    let store = open(dir.path());
    assert_eq!(store.admit(day(start())).await.unwrap(), Admission::Granted);
    store.close().await;
    let ahead = open(dir.path());
    let future = time("2099-01-01T00:00:00Z");
    assert_eq!(ahead.admit(day(future)).await.unwrap(), Admission::Granted);
    ahead.close().await;
    let store = open(dir.path());
    for millis in [1_000, 3_000, 200_000] {
        let again = store.admit(day(later(start(), millis))).await.unwrap();
        assert!(matches!(again, Admission::Refused(_)), "{again:?}");
    }
}

/// Whatever stands in a record, and however deep, it is read back, exported and verified as it was written.
#[tokio::test]
async fn odd_records_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    for detail in [json!({"$serde_json::private::RawValue": 1, "b": 2}), json!({"d": deep})] {
        let mut event = decision("a", start());
        event.detail = Some(json!({"arguments": detail}));
        store.record(vec![event.clone()]).await.unwrap();
        let last = all_events(&*store).await.pop().unwrap();
        assert_eq!(last.draft.detail, event.detail);
    }
    let mut out = Vec::new();
    assert_eq!(export_jsonl(&*store, EventQuery::default(), &mut out).await.unwrap(), 2);
    let whole = verify_export(&out[..], Coverage::Whole).unwrap();
    assert_eq!((whole.records, &whole.bad), (2, &None));
    assert_eq!(whole.head, store.verify().await.unwrap().head);
}

/// Plays a process that takes what it can of a budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_spends() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    say("ready");
    wait_for_parent();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let limits = vec![calls("m", BudgetWindow::Minute, 120), calls("d", BudgetWindow::Day, 130)];
            let request = AdmitRequest { budgets: limits, ..request("a", start()) };
            let store = store.clone();
            tokio::spawn(async move { store.admit(request).await.unwrap() == Admission::Granted })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += u32::from(task.await.unwrap());
    }
    say(&granted.to_string());
}

/// I10, R36: a cap is one for all processes, which opened a fresh file at the same moment.
#[tokio::test]
async fn a_cap_holds_over_processes() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers: Vec<Peer> =
        (0..3).map(|_| Peer::spawn("embedded::peer_that_spends", dir.path())).collect();
    for peer in &mut peers {
        assert_eq!(peer.says().as_deref(), Some("ready"));
    }
    for peer in &mut peers {
        peer.go();
    }
    let granted: u32 = peers.iter_mut().map(|peer| peer.says().unwrap().parse::<u32>().unwrap()).sum();
    assert_eq!(granted, 120);
    peers.into_iter().for_each(Peer::wait);
    let report = open(dir.path()).verify().await.unwrap();
    assert_eq!((report.records, report.bad), (600, None));
}

#[test]
fn what_cannot_be_opened_says_why() {
    let check = |make: &dyn Fn(&Path), expect: &str| {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let owner = OwnerId::from("owner");
        match EmbeddedStore::open(&database(dir.path()), dir.path(), Durability::Fsync, owner, clock()) {
            Err(StoreError::Failed(message)) => assert!(message.contains(expect), "{message}"),
            other => panic!("{other:?}"),
        }
    };
    check(
        &|dir| std::fs::write(database(dir), "this is not a database, at all".repeat(100)).unwrap(),
        "not a SQLite",
    );
    check(&|dir| std::fs::create_dir(database(dir)).unwrap(), "tollgate.db");
    check(&|dir| raw(dir).execute_batch("CREATE TABLE other (x)").unwrap(), "a database of another program");
    check(
        &|dir| {
            drop(open(dir));
            raw(dir).execute_batch("PRAGMA user_version = 99").unwrap();
        },
        "schema version 99",
    );
}

#[test]
fn several_may_open_a_fresh_file_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let dir = dir.path().to_owned();
            std::thread::spawn(move || open(&dir))
        })
        .collect();
    let opened: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(opened.len(), 8);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("made/for/it");
    std::fs::create_dir_all(nested.parent().unwrap()).unwrap();
    let store = open(&nested);
    store.record(vec![decision("a", start())]).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&nested), 0o700);
    for file in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm"] {
        assert_eq!(mode(&nested.join(file)), 0o600, "{file}");
    }
}

/// The log of changes does not grow without bound while somebody reads all the time.
#[tokio::test]
async fn the_wal_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let big = "x".repeat(8_000);
    for _ in 0..200 {
        let mut event = decision("a", start());
        event.detail = Some(serde_json::json!({ "big": big }));
        store.record(vec![event; 64]).await.unwrap();
        let newest = EventQuery { newest_first: true, limit: 64, ..EventQuery::default() };
        assert_eq!(store.events(newest).await.unwrap().len(), 64);
    }
    let wal = std::fs::metadata(dir.path().join("tollgate.db-wal")).unwrap().len();
    // The writer's own bound, and what was open when it was reached.
    assert!(wal < 80 << 20, "{wal}");
}

#[derive(Clone, Debug)]
enum Act {
    Admit { budget: usize, tokens: u64, cost: i64 },
    Settle { tokens: u64, cost: i64 },
    Wait { millis: i64 },
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => (0..4_usize, 0..40_u64, 0..40_i64)
            .prop_map(|(budget, tokens, cost)| Act::Admit { budget, tokens, cost }),
        3 => (0..40_u64, 0..40_i64).prop_map(|(tokens, cost)| Act::Settle { tokens, cost }),
        2 => (0..40_000_i64).prop_map(|millis| Act::Wait { millis }),
        1 => Just(Act::Reopen),
    ];
    proptest::collection::vec(act, 1..60)
}

/// A naive account of what one counter holds: (at, window, tokens, cost).
#[derive(Clone, Copy, Debug)]
struct Granted {
    at: i64,
    tokens: i64,
    cost: i64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// R36: whatever happens in whatever order, a naive account agrees with every grant and refusal.
    #[test]
    fn caps_hold_in_any_sequence(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(replay(acts));
    }
}

async fn replay(acts: Vec<Act>) {
    let windows = [BudgetWindow::Minute, BudgetWindow::Hour, BudgetWindow::Day, BudgetWindow::Ever];
    let limit = |n: usize| BudgetLimit {
        max_tokens: Some(60),
        max_cost: Some(MicroUsd(60)),
        ..calls(&format!("b{n}"), windows[n], 4)
    };
    let dir = tempfile::tempdir().unwrap();
    let mut stores: Vec<Arc<EmbeddedStore>> = vec![open(dir.path()), open(dir.path())];
    let mut now = time("2026-05-11T12:59:00Z");
    let mut accounts: HashMap<usize, Vec<Granted>> = HashMap::new();
    let mut in_flight: Vec<(AdmitRequest, usize, usize)> = Vec::new();
    for (step, act) in acts.into_iter().enumerate() {
        let store = stores[step % 2].clone();
        match act {
            Act::Admit { budget, tokens, cost } => {
                let request = AdmitRequest {
                    tokens,
                    cost: MicroUsd(cost),
                    budgets: vec![limit(budget)],
                    ..request("a", now)
                };
                let micros = now.as_microsecond();
                let account = accounts.entry(budget).or_default();
                let counts = |g: &&Granted| match windows[budget] {
                    BudgetWindow::Minute => g.at > micros - 60_000_000,
                    BudgetWindow::Hour => g.at / 3_600_000_000 == micros / 3_600_000_000,
                    _ => true,
                };
                let sum = |of: fn(&Granted) -> i64| account.iter().filter(counts).map(of).sum::<i64>();
                let fits = sum(|_| 1) < 4
                    && sum(|g| g.tokens) + i64::try_from(tokens).unwrap() <= 60
                    && sum(|g| g.cost) + cost <= 60;
                let granted = store.admit(request.clone()).await.unwrap() == Admission::Granted;
                assert_eq!(granted, fits, "step {step}: {account:?}");
                if granted {
                    account.push(Granted { at: micros, tokens: i64::try_from(tokens).unwrap(), cost });
                    in_flight.push((request, budget, account.len() - 1));
                }
            }
            Act::Settle { tokens, cost } => {
                let Some((request, budget, index)) = in_flight.pop() else { continue };
                store.settle(settlement(&request, Some(tokens), Some(cost))).await.unwrap();
                let entry = &mut accounts.get_mut(&budget).unwrap()[index];
                (entry.tokens, entry.cost) = (i64::try_from(tokens).unwrap(), cost);
            }
            Act::Wait { millis } => now = later(now, millis),
            Act::Reopen => {
                stores[step % 2].close().await;
                stores[step % 2] = open(dir.path());
            }
        }
    }
    assert_eq!(stores[0].verify().await.unwrap().bad, None);
}

fn zone(name: &str) -> BudgetZone {
    BudgetZone { name: name.into(), rules: jiff::tz::TimeZone::get(name).unwrap() }
}

/// A budget whose zone or window is changed counts what it had counted: to edit it frees nothing. A reset frees all of it.
#[tokio::test]
async fn a_budget_that_is_edited_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let now = start();
    let of = |window, of_zone: Option<&str>| BudgetLimit { zone: of_zone.map(zone), ..calls("b", window, 5) };
    let tried = std::cell::Cell::new(0);
    // How many calls it lets through.
    let through = async |store: &EmbeddedStore, limit: &BudgetLimit, most: usize| {
        let mut through = 0;
        for _ in 0..most {
            tried.set(tried.get() + 1);
            let call = AdmitRequest { budgets: vec![limit.clone()], ..request("a", later(now, tried.get())) };
            let ends = settlement(&call, None, None);
            if store.admit(call).await.unwrap() == Admission::Granted {
                store.settle(ends).await.unwrap();
                through += 1;
            }
        }
        through
    };
    let (utc, berlin) = (of(BudgetWindow::Day, None), of(BudgetWindow::Day, Some("Europe/Berlin")));
    assert_eq!(through(&store, &utc, 3).await, 3);
    assert_eq!(through(&store, &berlin, 1).await, 1);
    // Back, after a restart and in the same process.
    store.close().await;
    store = open(dir.path());
    assert_eq!(through(&store, &utc, 9).await, 1);
    assert_eq!(through(&store, &berlin, 9).await, 0);
    assert_eq!(through(&store, &of(BudgetWindow::Day, Some("Asia/Tokyo")), 9).await, 0);
    // A longer window begins with what was counted in the shorter ones that lie in it, and a shorter one with nothing.
    assert_eq!(through(&store, &of(BudgetWindow::Month, None), 9).await, 0);
    assert_eq!(through(&store, &of(BudgetWindow::Ever, None), 9).await, 0);
    assert_eq!(through(&store, &of(BudgetWindow::Hour, None), 2).await, 2);
    // Another key and another id are others.
    let other_key = BudgetLimit { key: "other".into(), ..utc.clone() };
    assert_eq!(through(&store, &other_key, 9).await, 5);
    assert_eq!(through(&store, &BudgetLimit { id: "c".into(), ..utc.clone() }, 9).await, 5);
    // What is set back stays so, under each kind and after a restart.
    let by = ResetBy {
        person: "dan".into(),
        channel: "cli",
        reason: tollgate::redaction::DataRules::built_in().said("tests", 100),
    };
    let window_start = start_of_day(now);
    let reset = BudgetReset {
        id: "b".into(),
        key: Some("key".to_owned()),
        kind: "day".to_owned(),
        window_start: Some(window_start),
        by,
        now: later(now, 500),
    };
    let told = store.reset_budget(reset).await.unwrap();
    assert_eq!((told.len(), told[0].before.calls, told[0].after.calls), (1, 5, 0), "{told:?}");
    store.close().await;
    store = open(dir.path());
    tried.set(1_000);
    assert_eq!(through(&store, &utc, 1).await, 1);
    assert_eq!(through(&store, &berlin, 9).await, 4);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// What was counted before a zone was changed counts in the window in which it was changed, and not in the next one.
#[tokio::test]
async fn what_was_carried_over_is_not_carried_again() {
    let at = |text: &str| -> jiff::Timestamp { text.parse().unwrap() };
    let moments = [
        (
            BudgetWindow::Month,
            "America/New_York",
            "2026-11-09T12:00:00Z",
            "2026-11-10T12:00:00Z",
            "2026-12-01T06:00:00Z",
        ),
        (
            BudgetWindow::Month,
            "Europe/Berlin",
            "2026-11-09T12:00:00Z",
            "2026-11-10T12:00:00Z",
            "2026-11-30T23:30:00Z",
        ),
        (
            BudgetWindow::Day,
            "Asia/Tokyo",
            "2026-11-09T11:00:00Z",
            "2026-11-09T12:00:00Z",
            "2026-11-09T16:00:00Z",
        ),
        (
            BudgetWindow::Hour,
            "Asia/Kolkata",
            "2026-11-09T11:05:00Z",
            "2026-11-09T11:10:00Z",
            "2026-11-09T11:35:00Z",
        ),
    ];
    for (window, name, before, changed, next) in moments {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let through = async |store: &EmbeddedStore, zoned: bool, key: &str, now: &str| {
            let zone = zoned.then(|| zone(name));
            let limit = BudgetLimit { zone, key: key.into(), ..calls("b", window, 2) };
            let mut through = 0;
            for n in 0..4 {
                let call = AdmitRequest { budgets: vec![limit.clone()], ..request("a", later(at(now), n)) };
                let ends = settlement(&call, None, None);
                if store.admit(call).await.unwrap() == Admission::Granted {
                    store.settle(ends).await.unwrap();
                    through += 1;
                }
            }
            through
        };
        for key in ["one", "two"] {
            assert_eq!(through(&store, false, key, before).await, 2, "{window:?}");
        }
        assert_eq!(through(&store, true, "one", changed).await, 0, "{window:?}");
        for again in [false, true] {
            if again {
                store.close().await;
                store = open(dir.path());
            }
            let expected = if again { 0 } else { 2 };
            assert_eq!(through(&store, true, "one", next).await, expected, "{window:?} {name}");
        }
        // One that did not call between: nothing is freed while the old window goes on.
        let expected = if name == "America/New_York" { 2 } else { 0 };
        assert_eq!(through(&store, true, "two", next).await, expected, "{window:?} {name}");
        assert_eq!(store.verify().await.unwrap().bad, None);
    }
}

/// A budget in two kinds of one window has one row in each: where both windows begin alike, they are not taken for one another.
#[tokio::test]
async fn counters_of_two_zones_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let now: jiff::Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    let utc = calls("b", BudgetWindow::Day, 5);
    let london = BudgetLimit { zone: Some(zone("Europe/London")), ..utc.clone() };
    for (n, limit) in [&utc, &utc, &london].into_iter().enumerate() {
        let call = AdmitRequest { budgets: vec![limit.clone()], ..request("a", later(now, n as i64)) };
        assert_eq!(store.admit(call).await.unwrap(), Admission::Granted);
    }
    let usage = store.budget_usage(now).await.unwrap();
    let of = |zone: Option<&BudgetZone>| {
        BudgetUsage::of(&usage, ("b", "key"), (BudgetWindow::Day, zone), now).unwrap().calls
    };
    assert_eq!((usage.len(), of(None), of(london.zone.as_ref())), (2, 2, 3));
}

/// A call whose result is cut at its reservation gets as much as there is room for, and no limit is passed by that.
#[tokio::test]
async fn what_is_elastic_is_reserved_as_far_as_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tokens = BudgetLimit { max_tokens: Some(1_000), strict: true, ..budget("t", BudgetWindow::Day) };
    let money = BudgetLimit { max_cost: Some(MicroUsd(900)), ..budget("m", BudgetWindow::Day) };
    let elastic = |most_tokens| Elastic {
        least_tokens: 100,
        least_cost: MicroUsd(50),
        most_tokens,
        usd_per_mtok: MicroUsd(1_000_000),
    };
    let call = |n, tokens: u64, most, budgets: &[&BudgetLimit]| AdmitRequest {
        tokens,
        cost: MicroUsd(i64::try_from(tokens).unwrap()),
        elastic: Some(elastic(most)),
        budgets: budgets.iter().copied().cloned().collect(),
        ..request("a", later(start(), n))
    };
    // As much as it may take: the estimate, and a quarter of what that leaves at most; the money for it: the least, and one
    // millionth a token beyond that.
    let first = call(0, 200, 300, &[&tokens, &money]);
    assert_eq!(store.admit(first.clone()).await.unwrap(), Admission::GrantedUpTo(300));
    let usage = store.budget_usage(start()).await.unwrap();
    let of = |id: &str| usage.iter().find(|at| at.id.as_str() == id).unwrap();
    assert_eq!((of("t").tokens, of("m").cost_usd), (300, MicroUsd(250)));
    // What is estimated has to fit into a budget that is not strict; a strict one needs room for the least.
    let large = call(1, 950, 5_000, &[&tokens, &money]);
    assert!(
        matches!(store.admit(large).await.unwrap(), Admission::Refused(why) if why.policy_id.as_str() == "m")
    );
    let large = call(2, 950, 5_000, &[&tokens]);
    assert_eq!(store.admit(large.clone()).await.unwrap(), Admission::GrantedUpTo(700));
    assert!(
        matches!(store.admit(call(3, 5, 300, &[&tokens])).await.unwrap(), Admission::Refused(why) if why.policy_id.as_str() == "t")
    );
    // It ended, and took less.
    store.settle(settlement(&large, Some(110), Some(60))).await.unwrap();
    store.settle(settlement(&first, Some(200), Some(150))).await.unwrap();
    // Bound by the money: 150 are left, 120 are estimated, and a quarter of the rest is 7; 50 go for the least.
    let bound = BudgetLimit { max_cost: Some(MicroUsd(300)), ..money.clone() };
    assert_eq!(store.admit(call(4, 120, 5_000, &[&bound])).await.unwrap(), Admission::GrantedUpTo(177));
    // 690 are left: the estimate, and a quarter of the other 570. Others have room as long as something is left.
    assert_eq!(store.admit(call(5, 120, 5_000, &[&tokens])).await.unwrap(), Admission::GrantedUpTo(262));
    assert_eq!(store.admit(call(6, 120, 5_000, &[&tokens])).await.unwrap(), Admission::GrantedUpTo(197));
    // What is estimated it gets as far as there is room. What stops the next is told as what it is: nothing of it need be spent.
    assert_eq!(store.admit(call(7, 950, 5_000, &[&tokens])).await.unwrap(), Admission::GrantedUpTo(231));
    let Admission::Refused(why) = store.admit(call(8, 120, 300, &[&tokens])).await.unwrap() else { panic!() };
    assert!(why.reason.contains("used or reserved by calls in flight"), "{}", why.reason);
}

fn start_of_day(at: jiff::Timestamp) -> jiff::Timestamp {
    at.to_zoned(jiff::tz::TimeZone::UTC).start_of_day().unwrap().timestamp()
}
