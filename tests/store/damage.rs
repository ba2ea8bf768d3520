//! What a store does with files that somebody or something damaged: it tells, it reads what is whole, it goes on only where a
//! person says so, and what follows from the journal is made anew (I2, I4, I9).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use crate::{approved, made, store::*, using};
use sha2::{Digest as _, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tollgate::{
    config::Durability,
    cost::BudgetWindow,
    evidence,
    journal::{Segment, SegmentHead},
    model::{Event, EventDecision, EventType, OwnerId},
    policy::Violation,
    store::{
        Admission, AdmitRequest, ApprovalFilter, ApprovalRecord, AskLimits, Asked, EventQuery, Store,
        StoreError, embedded::EmbeddedStore,
    },
};

async fn alerts(store: &dyn Store, action: &str) -> Vec<Event> {
    let query = EventQuery { event_type: Some(EventType::Alert), ..EventQuery::default() };
    let found = store.events(query).await.unwrap();
    found.into_iter().filter(|event| event.draft.action.as_deref() == Some(action)).collect()
}

async fn written(store: &EmbeddedStore, from: i64, to: i64) {
    for n in from..to {
        store.record(vec![decision(&format!("agent-{n:02}"), later(start(), n))]).await.unwrap();
    }
}

fn accept(dir: &Path) -> Result<Option<String>, StoreError> {
    EmbeddedStore::accept_damage(&database(dir), dir, &|problem, places| {
        evidence::damage_accepted(
            later(start(), 5_000),
            Some("carol"),
            &tollgate::redaction::DataRules::built_in().said("no backup", 100),
            problem,
            places,
        )
    })
}

/// A record's body with one bit changed.
fn flip(dir: &Path, seq: i64) {
    let (path, frame) = frame_of(dir, seq);
    let body = frame.records.iter().find(|(at, _)| *at == seq).unwrap().1.clone();
    edit(&path, |bytes| bytes[body.start + 5] ^= 1);
}

/// R57: a running process tells of a record that was changed behind it, once, whichever process finds it first, and goes
/// on; what was put back whole in place of what it has read is told too.
#[tokio::test]
async fn a_running_store_tells_of_damage_in_what_it_has_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(dir.path()), open(dir.path()));
    store.seal_after(10).await.unwrap();
    written(&store, 0, 25).await;
    written(&other, 25, 27).await;
    store.look_over().await.unwrap();
    assert_eq!((store.damage(), alerts(&*store, "journal_damaged").await.len()), (Vec::new(), 0));
    // One in a sealed segment, one in that which grows.
    for (n, seq) in [(1, 3), (2, 24)] {
        flip(dir.path(), seq);
        for by in [&store, &store, &other] {
            by.look_over().await.unwrap();
            let told = by.damage();
            assert!(
                told.iter().any(|one| one.problem.contains(&format!("behind record {}", seq - 1))),
                "{told:?}"
            );
        }
        let told = alerts(&*store, "journal_damaged").await;
        assert_eq!(told.len(), n, "{told:?}");
        assert_eq!(told[n - 1].draft.detail.as_ref().unwrap()["after"], seq - 1);
        assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
        flip(dir.path(), seq);
    }
    assert_eq!(store.verify().await.unwrap().bad, None);
    store.close().await;
    other.close().await;
    // Another end of the same journal, whole, in place of what was read.
    let twin = tempfile::tempdir().unwrap();
    copy(dir.path(), twin.path());
    let (store, other) = (open(dir.path()), open(twin.path()));
    written(&store, 30, 33).await;
    written(&other, 40, 46).await;
    store.look_over().await.unwrap();
    let newest = |dir: &Path| segments(dir).pop().unwrap();
    let bytes = std::fs::read(newest(twin.path())).unwrap();
    std::fs::write(newest(dir.path()), bytes).unwrap();
    // Nothing is written behind what it does not know.
    assert!(store.look_over().await.is_err());
    assert!(store.damage().iter().any(|one| one.problem.contains("was replaced")), "{:?}", store.damage());
}

/// Approvals, counters and records in three segments.
async fn filled(dir: &Path) -> ([ApprovalRecord; 2], Vec<Event>) {
    let store = open(dir);
    store.seal_after(12).await.unwrap();
    written(&store, 0, 6).await;
    let consumed = approved(&*store, "consumed").await;
    assert_eq!(store.admit(using(&consumed, start())).await.unwrap(), Admission::Granted);
    let usable = approved(&*store, "usable").await;
    written(&store, 6, 30).await;
    let events = all_events(&*store).await;
    store.close().await;
    ([usable, consumed], events)
}

type Damaging<'d> = &'d dyn Fn(&Path);

/// R57, R58: wherever the journal is damaged, what is whole is read and what is not is named before anybody accepts it; an
/// admin may accept it, wherever it is; then the store goes on, gives no number twice, uses no approval of before, and
/// keeps naming it.
#[tokio::test]
async fn damage_anywhere_is_read_around_and_can_be_accepted() {
    let head = |at: usize| move |dir: &Path| edit(&segments(dir)[at], |bytes| bytes[40] ^= 1);
    let newest = |dir: &Path| segments(dir).pop().unwrap();
    let cases: [(&str, Damaging<'_>); 8] = [
        ("a record of a sealed segment", &|dir| flip(dir, 3)),
        ("the head of a sealed segment", &head(1)),
        ("the head of the first segment", &head(0)),
        ("the head of the newest segment", &|dir| edit(&newest(dir), |bytes| bytes[40] ^= 1)),
        ("a frame's head in a sealed segment", &|dir| {
            let (path, frame) = frame_of(dir, 4);
            edit(&path, |bytes| bytes[frame.offset + 9] ^= 1);
        }),
        ("a record of the newest segment", &|dir| {
            let last = frames(&newest(dir)).len();
            assert!(last > 2);
            let seq = frames(&newest(dir))[1].records[0].0;
            flip(dir, seq);
        }),
        ("the last record", &|dir| {
            let seq = frames(&newest(dir)).pop().unwrap().records[0].0;
            flip(dir, seq);
        }),
        ("the last frames, head and all", &|dir| {
            let from = frames(&newest(dir)).iter().rev().nth(1).unwrap().offset;
            edit(&newest(dir), |bytes| bytes[from..].iter_mut().for_each(|byte| *byte ^= 0x5a));
        }),
    ];
    for (why, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        let ([usable, consumed], sound) = filled(dir.path()).await;
        damage(dir.path());
        let before: Vec<Vec<u8>> =
            segments(dir.path()).iter().map(|path| std::fs::read(path).unwrap()).collect();
        // Reading puts nothing right.
        let reading = EmbeddedStore::open_damaged(&database(dir.path())).unwrap();
        let read = reading.events(EventQuery::default()).await.unwrap();
        assert!(read.iter().all(|event| sound.contains(event)), "{why}");
        assert!(read.len() + 3 > sound.len(), "{why}: {} of {}", read.len(), sound.len());
        let of_agent = EventQuery { agent_id: Some("agent-28".into()), ..EventQuery::default() };
        assert!(reading.events(of_agent).await.unwrap().len() <= 1, "{why}");
        let named = reading.damage();
        assert!(named.iter().all(|one| one.problem.contains(".segment")), "{why}: {named:?}");
        assert!(!named.is_empty() || why.contains("the first segment") || why.contains("a sealed"), "{why}");
        let bad = reading.verify().await.unwrap().bad.unwrap_or_else(|| panic!("{why}: not named"));
        assert!(bad.problem.contains(".segment"), "{why}: {}", bad.problem);
        assert!(matches!(reading.admit(using(&usable, start())).await, Err(StoreError::Damaged(_))), "{why}");
        drop(reading);

        let said = accept(dir.path()).unwrap().unwrap_or_else(|| panic!("{why}: nothing to accept"));
        assert!(said.contains(".segment"), "{why}: {said}");
        let after: Vec<PathBuf> = segments(dir.path());
        assert_eq!(after.len(), before.len() + 1, "{why}");
        for (path, bytes) in after.iter().zip(&before) {
            assert!(std::fs::read(path).unwrap() == *bytes, "{why}: what is damaged stays as it is");
        }
        let store = open(dir.path());
        let read = all_events(&*store).await;
        let last = sound.last().unwrap().seq;
        assert!(read.iter().filter(|event| event.seq <= last).all(|event| sound.contains(event)), "{why}");
        let told =
            read.iter().find(|event| event.draft.action.as_deref() == Some("damage_accepted")).unwrap();
        assert!(told.seq > last, "{why}: {} was a number of before, up to {last}", told.seq);
        for record in [&usable, &consumed] {
            let used = store.admit(using(record, start())).await;
            assert!(!matches!(used, Ok(Admission::Granted)), "{why}: {used:?}");
        }
        assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted, "{why}");
        let verified = store.verify().await.unwrap().bad.unwrap_or_else(|| panic!("{why}: forgotten"));
        assert!(verified.problem.contains(".segment"), "{why}: {verified:?}");
        store.close().await;
        // Once is enough, and the index can be made anew from what is left.
        assert_eq!(accept(dir.path()).unwrap(), None, "{why}");
        for end in ["", "-wal", "-shm"] {
            std::fs::remove_file(dir.path().join(format!("tollgate.db{end}"))).ok();
        }
        let store = open(dir.path());
        let used = store.admit(using(&consumed, start())).await;
        assert!(!matches!(used, Ok(Admission::Granted)), "{why}: {used:?}");
        store.close().await;
    }
}

/// I4: an acceptance that died before it had written what it withdraws is none: the store stays shut, and another acceptance
/// withdraws all of it.
#[tokio::test]
async fn an_acceptance_that_died_half_way_lets_nothing_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let ([usable, _], sound) = filled(dir.path()).await;
    let last = sound.last().unwrap().seq;
    flip(dir.path(), last);
    let newest = Segment::open(segments(dir.path()).last().unwrap(), false).unwrap();
    let before = tollgate::journal::Head { seq: last + 4, ..newest.head.before };
    let head = SegmentHead { before, after_damage: true, ..newest.head };
    Segment::create(&journal(dir.path()), &head).unwrap();
    let refused = try_open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("tollgate store accept"), "{refused}");
    assert!(accept(dir.path()).unwrap().is_some());
    let store = open(dir.path());
    let used = store.admit(using(&usable, start())).await.unwrap();
    assert!(matches!(used, Admission::ApprovalUnusable(_)), "{used:?}");
}

/// What was counted in records that are lost counts on, and every approval that could be used is withdrawn by a record.
#[tokio::test]
async fn an_acceptance_keeps_what_was_counted_and_withdraws_approvals() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let usable = approved(&*store, "usable").await;
    let pending = made(&*store, "pending").await;
    let call = || AdmitRequest {
        budgets: vec![calls("day", BudgetWindow::Day, 4)],
        rates: vec![rate("r", 100, Violation::Deny)],
        ..request("a", start())
    };
    for _ in 0..3 {
        assert_eq!(store.admit(call()).await.unwrap(), Admission::Granted);
    }
    assert_eq!(store.budget_usage(start()).await.unwrap().iter().map(|one| one.calls).max(), Some(3));
    store.close().await;
    // The projection has followed three calls, of which the journal keeps one.
    let path = segments(dir.path()).pop().unwrap();
    let cut = frames(&path).into_iter().filter(|frame| !frame.records.is_empty()).rev().nth(1).unwrap();
    edit(&path, |bytes| bytes.truncate(cut.offset));
    assert!(matches!(try_open(dir.path()), Err(StoreError::Damaged(_))));
    assert!(accept(dir.path()).unwrap().unwrap().contains("was there before"));
    let store = open(dir.path());
    assert_eq!(store.admit(call()).await.unwrap(), Admission::Granted);
    assert!(matches!(store.admit(call()).await.unwrap(), Admission::Refused(_)));
    let listed = store.approvals(ApprovalFilter::default()).await.unwrap();
    let status = |id| listed.iter().find(|record| record.id == id).unwrap().status.as_str();
    assert_eq!([status(usable.id.clone()), status(pending.id.clone())], ["cancelled"; 2]);
    let of = EventQuery {
        approval_id: Some(usable.id.clone()),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    };
    let told = store.events(of).await.unwrap().pop().unwrap();
    assert!(told.draft.reason.unwrap().contains("withdrawn"));
}

/// The index follows from the journal: one that is no database, lacks a table or is damaged is kept aside and made anew, which
/// the record says.
#[tokio::test]
async fn an_index_that_cannot_be_read_is_set_aside_and_made_anew() {
    let cases: [(&str, Damaging<'_>); 4] = [
        ("other bytes", &|dir| std::fs::write(database(dir), "no database at all".repeat(500)).unwrap()),
        ("a table is gone", &|dir| {
            rusqlite::Connection::open(database(dir)).unwrap().execute_batch("DROP TABLE approvals").unwrap();
        }),
        ("a column is gone", &|dir| {
            let raw = rusqlite::Connection::open(database(dir)).unwrap();
            raw.execute_batch("DROP TABLE mark; CREATE TABLE mark (id INTEGER PRIMARY KEY)").unwrap();
        }),
        ("it was cut", &|dir| edit(&database(dir), |bytes| bytes.truncate(8_192))),
    ];
    for (why, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        let ([usable, consumed], sound) = filled(dir.path()).await;
        rusqlite::Connection::open(database(dir.path()))
            .unwrap()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        damage(dir.path());
        let report = EmbeddedStore::verify_at_rest(&database(dir.path())).unwrap().unwrap();
        assert!(report.bad.is_some_and(|bad| bad.seq == 0), "{why}: an index is no record");
        let before = clock().now();
        let store = open(dir.path());
        assert!(dir.path().join("tollgate.db.damaged-1").exists(), "{why}");
        let told = alerts(&*store, "index_set_aside").await;
        assert_eq!(told.len(), 1, "{why}");
        assert!(told[0].draft.timestamp >= before, "{why}: {}", told[0].draft.timestamp);
        assert_eq!(told[0].draft.detail.as_ref().unwrap()["kept"], "tollgate.db.damaged-1", "{why}");
        assert_eq!(all_events(&*store).await[..sound.len()], sound, "{why}");
        assert_eq!(store.admit(using(&usable, start())).await.unwrap(), Admission::Granted, "{why}");
        let again = store.admit(using(&consumed, start())).await.unwrap();
        assert!(matches!(again, Admission::ApprovalUnusable(_)), "{why}: {again:?}");
        assert_eq!(store.verify().await.unwrap().bad, None, "{why}");
        store.close().await;
        assert_eq!(alerts(&*open(dir.path()), "index_set_aside").await.len(), 1, "{why}: once");
    }
}

/// An edit of the index is told by a record, too.
#[tokio::test]
async fn an_edited_index_is_told_by_a_record() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let raw = rusqlite::Connection::open(database(dir.path())).unwrap();
    raw.execute_batch("UPDATE approvals SET status = 'approved' WHERE status = 'consumed'").unwrap();
    drop(raw);
    let before = clock().now();
    let store = open(dir.path());
    let told = alerts(&*store, "index_edited").await;
    assert_eq!(told.len(), 1);
    assert!(told[0].draft.timestamp >= before, "it says when it was found: {}", told[0].draft.timestamp);
    assert!(told[0].draft.detail.as_ref().unwrap()["problem"].as_str().unwrap().contains("approval"));
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// Cuts the newest records off, which the projection has followed; the approval that could be used before.
async fn lost(dir: &Path) -> ApprovalRecord {
    let store = open(dir);
    let usable = approved(&*store, "usable").await;
    let spent = AdmitRequest { budgets: vec![calls("day", BudgetWindow::Day, 1)], ..request("a", start()) };
    assert_eq!(store.admit(spent).await.unwrap(), Admission::Granted);
    assert_eq!(store.admit(using(&usable, start())).await.unwrap(), Admission::Granted);
    store.budget_usage(start()).await.unwrap();
    store.close().await;
    let path = segments(dir).pop().unwrap();
    let cut = frames(&path).into_iter().filter(|frame| !frame.records.is_empty()).rev().nth(1).unwrap();
    edit(&path, |bytes| bytes.truncate(cut.offset));
    usable
}

/// With `durability = "commit"` the newest records may be missing after the power went, and the index may know of them: the
/// store goes on by itself and says so, nothing that they used can be used again, and no number is given twice. In the same run
/// of the machine, or with `fsync`, nothing but a person's hand can have done it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn records_that_the_power_took_are_told_and_block_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let usable = lost(dir.path()).await;
    let boot = journal(dir.path()).join("boot");
    assert!(!std::fs::read_to_string(&boot).unwrap().is_empty());
    assert!(matches!(try_open(dir.path()), Err(StoreError::Damaged(_))), "the machine has run on");
    std::fs::write(&boot, "another run of the machine").unwrap();
    let owner = OwnerId::from(unique());
    let synced = EmbeddedStore::open(&database(dir.path()), dir.path(), Durability::Fsync, owner, clock());
    assert!(matches!(synced, Err(StoreError::Damaged(_))), "nothing that was synced can be missing");
    let store = open(dir.path());
    assert_eq!(alerts(&*store, "records_lost").await.len(), 1);
    let used = store.admit(using(&usable, start())).await.unwrap();
    assert!(matches!(used, Admission::ApprovalUnusable(_)), "{used:?}");
    let spent = AdmitRequest { budgets: vec![calls("day", BudgetWindow::Day, 1)], ..request("a", start()) };
    assert!(matches!(store.admit(spent).await.unwrap(), Admission::Refused(_)));
    store.close().await;
    let store = open(dir.path());
    assert_eq!(alerts(&*store, "records_lost").await.len(), 1, "once");
}

/// What the power left of a frame is told once: nobody is asked to accept it again, and its end is no other damage.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_torn_end_that_the_power_left_is_accepted_once() {
    let dir = tempfile::tempdir().unwrap();
    lost(dir.path()).await;
    let newest = segments(dir.path()).pop().unwrap();
    edit(&newest, |bytes| bytes.extend([0; 100_000]));
    std::fs::write(journal(dir.path()).join("boot"), "another run of the machine").unwrap();
    let store = open(dir.path());
    assert_eq!(alerts(&*store, "records_lost").await.len(), 1);
    store.close().await;
    let reason = tollgate::redaction::DataRules::built_in().said("no backup", 100);
    let again = EmbeddedStore::accept_damage(&database(dir.path()), dir.path(), &|problem, places| {
        evidence::damage_accepted(later(start(), 5_000), Some("carol"), &reason, problem, places)
    });
    assert_eq!(again.unwrap(), None);
    let store = open(dir.path());
    assert_eq!(alerts(&*store, "records_lost").await.len(), 1);
}

/// I10: a process whose lock was removed appends nothing more, at once: another would hold a lock of the same name.
#[cfg(unix)]
#[tokio::test]
async fn a_removed_lock_ends_the_grants_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    std::fs::remove_file(journal(dir.path()).join("lock")).unwrap();
    let other = open(dir.path());
    assert_eq!(other.admit(request("b", start())).await.unwrap(), Admission::Granted);
    for _ in 0..3 {
        let refused = store.admit(request("a", start())).await.unwrap_err().to_string();
        assert!(refused.contains("was removed"), "{refused}");
    }
    assert_eq!(other.verify().await.unwrap().bad, None);
}

/// I4: an approval whose row was edited is left out of lists, which name it and show the others; a call that would use it is
/// told to ask for a new one, and gets one.
#[tokio::test]
async fn an_edited_approval_hides_no_other_and_a_new_one_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let edited = approved(&*store, "edited").await;
    let other = made(&*store, "other").await;
    let raw = rusqlite::Connection::open(database(dir.path())).unwrap();
    raw.execute("UPDATE approvals SET records = '[[1,1,136]]' WHERE id = ?1", [edited.id.as_str()]).unwrap();
    let listed = store.approvals(ApprovalFilter::default()).await.unwrap();
    assert_eq!(listed.iter().map(|record| &record.id).collect::<Vec<_>>(), [&other.id]);
    let named: Vec<_> = store.damage().into_iter().filter_map(|one| one.approval).collect();
    assert_eq!(named, std::slice::from_ref(&edited.id));
    let refused = store.admit(using(&edited, start())).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unverified(_)), "{refused}");
    assert!(refused.refusal().contains("ask for a new approval"), "{}", refused.refusal());
    let found =
        store.approval_for(edited.binding.clone(), edited.requirements.clone(), start()).await.unwrap();
    assert_eq!(found, None);
    let again = store.ask(pending("edited", start()), Vec::new(), AskLimits::NONE).await.unwrap();
    assert!(matches!(&again, Asked::Made(made) if made.id != edited.id), "{again:?}");
}

/// What is cut off is kept for whoever wants to look at it, within a bound, and what a process was writing as it died is
/// removed once it is old.
#[tokio::test]
async fn what_is_cut_off_is_kept_within_a_bound_and_old_leavings_go() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..20_u8 {
        store.record(vec![decision("a", start())]).await.unwrap();
        let path = segments(dir.path()).pop().unwrap();
        std::fs::File::options().append(true).open(path).unwrap().write_all(&[n; 9]).unwrap();
    }
    store.record(vec![decision("a", start())]).await.unwrap();
    let kept = |dir: &Path| std::fs::read_dir(journal(dir).join("torn")).unwrap().count();
    assert_eq!(kept(dir.path()), 16);
    let told = alerts(&*store, "torn_tail_cut").await;
    assert_eq!(told.len(), 20);
    let name = told[19].draft.detail.as_ref().unwrap()["kept"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read(journal(dir.path()).join("torn").join(name)).unwrap(), [19; 9]);
    let (old, fresh) = (journal(dir.path()).join("a.new-1"), journal(dir.path()).join("b.new-2"));
    for path in [&old, &fresh] {
        std::fs::write(path, "unfinished").unwrap();
    }
    let modified = std::fs::metadata(&fresh).unwrap().modified().unwrap() - Duration::from_secs(3_600);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(modified).unwrap();
    drop(open(dir.path()));
    assert_eq!((old.exists(), fresh.exists()), (false, true));
}

/// Bytes with their own sum, as whoever knows the format would write them.
fn summed(bytes: &mut [u8], at: usize, number: i64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Numbers at the end of what a file can say are damage, and nothing falls over: in a segment's head, a frame's head and a
/// name.
#[tokio::test]
async fn hostile_numbers_are_damage() {
    let numbers = [i64::MAX, i64::MAX - 1, i64::MIN, -1, 0, (1 << 62) - 1, 1 << 62, (1 << 62) + 1];
    for number in numbers {
        for what in ["segment", "frame", "name"] {
            for which in [0, 1, 2] {
                let dir = tempfile::tempdir().unwrap();
                filled(dir.path()).await;
                let path = segments(dir.path())[which].clone();
                let frame = frames(&path)[1].offset;
                let sound = std::fs::read(&path).unwrap();
                match what {
                    "segment" => edit(&path, |bytes| {
                        summed(bytes, 24, number);
                        let sum = Sha256::digest(&bytes[..104]);
                        bytes[104..136].copy_from_slice(&sum);
                    }),
                    "frame" => edit(&path, |bytes| {
                        summed(bytes, frame + 28, number);
                        let sum = Sha256::digest(&bytes[frame..frame + 36]);
                        bytes[frame + 36..frame + 40].copy_from_slice(&sum[..4]);
                    }),
                    _ => {
                        std::fs::rename(&path, path.with_file_name(format!("{number:020}.segment"))).unwrap()
                    }
                }
                let why = format!("{number} in the {what} of segment {which}");
                if std::fs::read(&path).is_ok_and(|now| now == sound) {
                    continue;
                }
                match EmbeddedStore::open_damaged(&database(dir.path())) {
                    Ok(reading) => {
                        reading.events(EventQuery::default()).await.ok();
                        reading.verify().await.ok();
                    }
                    Err(error) => assert!(!error.to_string().is_empty(), "{why}"),
                }
                if let Ok(Some(report)) = EmbeddedStore::verify_at_rest(&database(dir.path())) {
                    assert!(report.bad.is_some(), "{why}: not named");
                }
                if let Ok(store) = try_open(dir.path()) {
                    store.verify().await.ok();
                    store
                        .events(EventQuery { decision: Some(EventDecision::Allow), ..EventQuery::default() })
                        .await
                        .ok();
                    store.close().await;
                }
                accept(dir.path()).ok();
                drop(try_open(dir.path()));
            }
        }
    }
}

/// A query of a store that is open leaves a damaged record out and says so, in place of failing.
#[tokio::test]
async fn a_query_leaves_a_damaged_record_out_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ([..], sound) = filled(dir.path()).await;
    flip(dir.path(), 3);
    let store: Arc<EmbeddedStore> = open(dir.path());
    let found = all_events(&*store).await;
    assert!(found.iter().all(|event| event.seq != 3));
    assert_eq!(found.len(), sound.len() - 1);
    let named = store.damage();
    assert!(named.len() == 1 && named[0].problem.contains("behind record 2"), "{named:?}");
    let lines = store.event_lines(EventQuery::default()).await.unwrap();
    assert_eq!(lines.len(), found.len());
    // A filter that means another record says nothing of it.
    let other = EventQuery { agent_id: Some("agent-09".into()), ..EventQuery::default() };
    assert_eq!(store.events(other).await.unwrap().len(), 1);
}
