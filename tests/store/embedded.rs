//! What holds of the SQLite store in particular: tampering, dead processes, opening, and caps under any sequence.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use crate::store::*;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;
use std::{collections::HashMap, path::Path, sync::Arc};
use tollgate::{
    audit::{Coverage, export_jsonl, verify_export},
    config::Durability,
    cost::BudgetWindow,
    decision::BudgetLimit,
    evidence::content_hash,
    model::{ApprovalStatus, EventDraft, EventType, MicroUsd, Outcome, OwnerId},
    store::{
        Admission, AdmitRequest, ApprovalFilter, ApprovalUpdate, AskLimits, EventQuery, Kept, KeptKind,
        Store as _, StoreError, embedded::EmbeddedStore,
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

fn without_triggers(dir: &Path) -> Connection {
    let connection = raw(dir);
    connection.execute_batch("DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete;").unwrap();
    connection
}

/// I9, R57: records cannot be changed by accident.
#[tokio::test]
async fn events_are_append_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record(vec![decision("a", start())]).await.unwrap();
    for sql in ["UPDATE events SET body = '{}'", "DELETE FROM events"] {
        let error = raw(dir.path()).execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

/// I9: every kind of tampering is found, at its `seq`.
#[tokio::test]
async fn tampering_is_named_by_its_seq() {
    let check = async |sql: &str, seq: i64, word: &str| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for n in 0..8 {
            let mut event = decision("a", later(start(), n));
            event.approval_id = Some("approval".into());
            store.record(vec![event]).await.unwrap();
        }
        without_triggers(dir.path()).execute_batch(sql).unwrap();
        let bad = store.verify().await.unwrap().bad.unwrap_or_else(|| panic!("not found: {sql}"));
        assert_eq!(bad.seq, seq, "{sql}: {}", bad.problem);
        assert!(bad.problem.contains(word), "{sql}: {}", bad.problem);
        // The store goes on, and the damage stays visible.
        store.record(vec![decision("a", start())]).await.unwrap();
        assert_eq!(store.verify().await.unwrap().bad.unwrap().seq, seq, "{sql}");
    };
    check("UPDATE events SET body = replace(body, 'let through', 'let thrOugh') WHERE seq = 3", 3, "hash")
        .await;
    check("UPDATE events SET hash = zeroblob(32) WHERE seq = 5", 5, "hash").await;
    check("UPDATE events SET prev_hash = zeroblob(32) WHERE seq = 5", 5, "prev_hash").await;
    check("DELETE FROM events WHERE seq = 4", 4, "missing").await;
    check("DELETE FROM events WHERE seq = 1", 1, "missing").await;
    check("DELETE FROM events WHERE seq >= 7", 7, "missing").await;
    check("DELETE FROM events", 1, "missing").await;
    let swap = "UPDATE events SET seq = 100 WHERE seq = 2; UPDATE events SET seq = 2 WHERE seq = 3;
                UPDATE events SET seq = 3 WHERE seq = 100;";
    check(swap, 2, "prev_hash").await;
    let early = "INSERT INTO events SELECT -1, prev_hash, hash, body FROM events WHERE seq = 1";
    check(early, -1, "before the first").await;
}

/// I9: what records are found by is verified too, so that none can be hidden from a query.
#[tokio::test]
async fn tampering_with_the_index_is_named() {
    let check = async |sql: &str, seqs: std::ops::RangeInclusive<i64>, word: &str| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        // Two blocks and the beginning of a third.
        for n in 1..=150 {
            let mut event = decision("a", later(start(), n));
            event.approval_id = Some("approval".into());
            store.record(vec![event]).await.unwrap();
        }
        assert_eq!(store.verify().await.unwrap().bad, None);
        let changed = without_triggers(dir.path()).execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
        let bad = store.verify().await.unwrap().bad.unwrap_or_else(|| panic!("not found: {sql}"));
        assert!(seqs.contains(&bad.seq), "{sql}: {}: {}", bad.seq, bad.problem);
        assert!(bad.problem.contains(word), "{sql}: {}", bad.problem);
    };
    // Whose fingerprint comes first is chance.
    check("UPDATE blocks SET terms = substr(terms, 5) WHERE block = 1", 65..=128, "does not find it by")
        .await;
    check(
        "UPDATE blocks SET terms = zeroblob(length(terms)) WHERE block = 1",
        65..=65,
        "does not find it by",
    )
    .await;
    check("UPDATE blocks SET terms = CAST(terms || x'ffffffff' AS BLOB) WHERE block = 0", 1..=1, "not there")
        .await;
    check("UPDATE blocks SET last_at = last_at + 1 WHERE block = 0", 1..=1, "`timestamp`").await;
    check("UPDATE blocks SET first_at = first_at - 1 WHERE block = 1", 65..=65, "`timestamp`").await;
    check("DELETE FROM blocks WHERE block = 1", 65..=65, "nothing").await;
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
        decided.told.facts = Some(format!(r#"{{"version":1,"kind":"tool","tool":"{tool}"}}"#).into());
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

/// The hashes themselves are recomputed by an attacker from a changed record on: only the noted head tells.
#[tokio::test]
async fn a_recomputed_tail_is_found_by_the_noted_head() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record(vec![decision("a", start())]).await.unwrap();
    let connection = without_triggers(dir.path());
    let (body, prev): (String, [u8; 32]) = connection
        .query_row("SELECT body, prev_hash FROM events", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let body = body.replace("let through", "not let through");
    let hash = tollgate::journal::chain::link(&prev, 1, &body);
    connection.execute("UPDATE events SET body = ?1, hash = ?2", (body, hash)).unwrap();
    assert_eq!(store.verify().await.unwrap().bad.unwrap().seq, 1);
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

/// I9, I10: a decision that somebody damaged is named by `verify`, and keeps no process from starting.
#[tokio::test]
async fn a_damaged_decision_is_settled_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    let seq = all_events(&*store).await.last().unwrap().seq;
    store.close().await;
    without_triggers(dir.path())
        .execute("UPDATE events SET body = '{\"event_type\":1}' WHERE seq = ?1", [seq])
        .unwrap();
    let next = open(dir.path());
    assert_eq!(next.settle_dead_owners(later(start(), 5)).await.unwrap(), 1);
    assert_eq!(next.settle_dead_owners(later(start(), 5)).await.unwrap(), 0);
    let last = next.events(EventQuery { after_seq: Some(seq), ..EventQuery::default() }).await.unwrap();
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
    raw(dir.path()).execute_batch("ALTER TABLE ledger RENAME TO elsewhere").unwrap();
    let settled = store.settle(settlement(&call, Some(7), None));
    // Comes after it, and fails with it.
    assert!(store.admit(request("a", start())).await.is_err());
    assert_eq!(store.budget_usage(start()).await.ok().map_or(100, |usage| usage[0].tokens), 100);
    raw(dir.path()).execute_batch("ALTER TABLE elsewhere RENAME TO ledger").unwrap();
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

/// A program that holds the database: calls are refused in bounded time, a probe answers, settlements wait, and all goes
/// on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_refuses_and_loses_nothing() {
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
    let other = raw(dir.path());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
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
    other.execute_batch("ROLLBACK").unwrap();
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

/// A store that cannot reach its database ends all the same.
#[tokio::test]
async fn a_locked_database_keeps_nobody_from_ending() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let call = request("a", start());
    assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
    let other = raw(dir.path());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let settled = store.settle(settlement(&call, None, None));
    store.close().await;
    assert!(settled.await.is_err());
    other.execute_batch("ROLLBACK").unwrap();
    let next = open(dir.path());
    assert_eq!(next.settle_dead_owners(start()).await.unwrap(), 1);
}

/// Two versions of Tollgate on one file: the older one stops granting, and says why.
#[tokio::test]
async fn a_newer_schema_is_not_written_by_an_older_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    let other = raw(dir.path());
    let version: i64 = other.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
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
            let opened = EmbeddedStore::open(&database(dir.path()), dir.path(), Durability::Commit, owner);
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

/// A database that was cut off refuses.
#[tokio::test]
async fn a_truncated_database_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..100 {
        store.admit(request("a", later(start(), n))).await.unwrap();
    }
    store.close().await;
    fold(dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(database(dir.path())).unwrap();
    file.set_len(8192).unwrap();
    let owner = OwnerId::from(unique());
    match EmbeddedStore::open(&database(dir.path()), dir.path(), Durability::Commit, owner) {
        Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
        Ok(store) => assert!(store.admit(request("a", start())).await.is_err()),
    }
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
        match EmbeddedStore::open(&database(dir.path()), dir.path(), Durability::Fsync, owner) {
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

/// A database of the version before has approvals without what is bound now: they are read, listed and decided, and no
/// call may use them.
#[tokio::test]
async fn a_database_of_the_version_before_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let record = pending("d", start());
    store.ask(record.clone(), Vec::new(), AskLimits::NONE).await.unwrap();
    store.close().await;
    let mut old = serde_json::to_value(&record).unwrap();
    old.as_object_mut().unwrap().shift_remove("context");
    for name in ["user", "workflow", "call"] {
        old["binding"].as_object_mut().unwrap().shift_remove(name);
    }
    let database = raw(dir.path());
    database
        .execute_batch(
            "DROP INDEX approvals_rejected; DROP INDEX approvals_agent;
             ALTER TABLE approvals DROP COLUMN rejected_at; DROP TABLE kept; PRAGMA user_version = 2;",
        )
        .unwrap();
    let changed = database.execute(
        "UPDATE approvals SET record = ?1, binding = ?2",
        (old.to_string(), b"a key of before".as_slice()),
    );
    assert_eq!(changed.unwrap(), 1);
    drop(database);
    let store = open(dir.path());
    let read = store.approval(record.id.clone()).await.unwrap().unwrap();
    assert_eq!((&read.arguments, read.context.complete), (&record.arguments, false));
    assert_eq!(store.approvals(ApprovalFilter::default()).await.unwrap(), std::slice::from_ref(&read));
    let found =
        store.approval_for(record.binding.clone(), record.requirements.clone(), start()).await.unwrap();
    assert_eq!(found, None);
    let approve = ApprovalUpdate {
        id: record.id.clone(),
        expected_version: read.version,
        status: ApprovalStatus::Approved,
        answers: Vec::new(),
    };
    assert!(store.update_approval(approve, Vec::new()).await.unwrap());
    let use_it = AdmitRequest { approval: Some((record.id, record.binding)), ..request("a", start()) };
    assert!(matches!(store.admit(use_it).await.unwrap(), Admission::ApprovalUnusable(_)));
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
