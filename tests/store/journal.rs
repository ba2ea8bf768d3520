//! The journal's own conformance: whatever a crash, a disk, a clock or a person does to a store's files, nothing that was
//! answered is lost, and nothing that is wrong is taken for right (I1, I4, I9, I10).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use crate::{answer, approved, made, store::*, using};
use std::{io::Write as _, ops::Range, path::Path, sync::Arc};
use tollgate::{
    cost::{BudgetWindow, SizeCell},
    decision::BudgetLimit,
    evidence::content_hash,
    journal::{Draft, Journal, JournalError, Reader, index_path},
    model::{ApprovalStatus, Event, EventDraft, EventType},
    policy::Violation,
    store::{
        Admission, AdmitRequest, ApprovalFilter, ApprovalRecord, AskLimits, Asked, BudgetUsage, EventQuery,
        Kept, KeptKind, Store as _, StoreError, embedded::EmbeddedStore,
    },
};

/// How a store stands, as it tells it.
#[derive(Debug, PartialEq)]
struct Stands {
    approvals: Vec<ApprovalRecord>,
    usage: Vec<BudgetUsage>,
    learned: Vec<(String, u64)>,
    kept: Option<Kept>,
}

async fn stands(store: &EmbeddedStore) -> Stands {
    Stands {
        approvals: store.approvals(ApprovalFilter::default()).await.unwrap(),
        usage: store.budget_usage(later(start(), 1_000)).await.unwrap(),
        learned: store.learned_sizes().await.unwrap().by_tool(),
        kept: store.kept(KeptKind::Bundle, "s-1".to_owned()).await.unwrap(),
    }
}

fn limited(now: jiff::Timestamp) -> AdmitRequest {
    let day = BudgetLimit { max_tokens: Some(10_000), ..budget("day", BudgetWindow::Day) };
    AdmitRequest {
        tokens: 10,
        budgets: vec![day, calls("minute", BudgetWindow::Minute, 90)],
        ..request("a", now)
    }
}

/// Approvals in every state, budgets, a learned size, something kept and an open call; the approved and the consumed one.
async fn fill(store: &EmbeddedStore) -> [ApprovalRecord; 2] {
    let body = "{\"files\":[]}";
    let (hash, name) = (content_hash(body), "s-1".to_owned());
    store.keep(Kept { kind: KeptKind::Bundle, name, hash, body: body.to_owned() }).await.unwrap();
    made(store, "pending").await;
    let rejected = made(store, "rejected").await;
    assert!(
        store.update_approval(answer(&rejected, ApprovalStatus::Rejected, "bob"), Vec::new()).await.unwrap()
    );
    let consumed = approved(store, "consumed").await;
    assert_eq!(store.admit(using(&consumed, start())).await.unwrap(), Admission::Granted);
    let approved = approved(store, "approved").await;
    let call = limited(start());
    assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
    let mut settled = settlement(&call, Some(7), Some(3));
    settled.learned = Some((SizeCell::new("files__write_file", 10, "a"), 120));
    store.settle(settled).await.unwrap();
    assert_eq!(store.admit(limited(later(start(), 5))).await.unwrap(), Admission::Granted);
    [approved, consumed]
}

async fn whole(store: &EmbeddedStore) {
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A frame that follows what is there, as a process begins to write it.
fn next_frame(dir: &Path) -> Vec<u8> {
    let reader = Reader::open(&journal(dir)).unwrap();
    reader.refresh().unwrap();
    let mut draft = Draft::default();
    draft.begin(&reader.head());
    draft.record(|out| out.extend_from_slice(br#"{"event_type":"alert"}"#));
    draft.notes().extend_from_slice(b"some notes");
    draft.saw(start().as_microsecond());
    draft.finish().unwrap().0.to_vec()
}

/// What a process that is killed leaves of a frame.
fn leave(dir: &Path, torn: &[u8]) -> u64 {
    let path = segments(dir).pop().unwrap();
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    let before = file.metadata().unwrap().len();
    file.write_all(torn).unwrap();
    before
}

/// The newest records of frames that were cut off; 0: all.
async fn cuts(store: &EmbeddedStore, limit: usize) -> Vec<Event> {
    let kind = Some(EventType::Alert);
    let alerts = EventQuery { event_type: kind, newest_first: true, limit, ..EventQuery::default() };
    let alerts = store.events(alerts).await.unwrap();
    alerts.into_iter().filter(|event| event.draft.action.as_deref() == Some("torn_tail_cut")).collect()
}

/// I9: a frame that was torn at any byte is cut off by who opens the store and by who has it open, a record says so, and
/// the store goes on.
#[tokio::test]
async fn a_frame_torn_at_any_byte_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let running = open(dir.path());
    fill(&running).await;
    let length = next_frame(dir.path()).len();
    let mut torn = 0;
    for cut in 1..length {
        for reopened in [false, true] {
            if reopened && cut % 4 != 0 {
                continue;
            }
            let other = reopened.then(|| open(dir.path()));
            let offset = leave(dir.path(), &next_frame(dir.path())[..cut]);
            let opened = (cut % 9 == 0).then(|| open(dir.path()));
            let by = opened.as_ref().or(other.as_ref()).unwrap_or(&running);
            by.record(vec![decision("a", start())]).await.unwrap();
            torn += 1;
            let told = cuts(&running, 1).await;
            let detail = told[0].draft.detail.clone().unwrap();
            assert_eq!(
                (detail["offset"].as_u64(), detail["bytes"].as_u64()),
                (Some(offset), Some(cut as u64))
            );
            if let Some(opened) = opened {
                opened.close().await;
            }
            if let Some(other) = other {
                other.close().await;
            }
            assert_eq!(running.admit(request("a", start())).await.unwrap(), Admission::Granted);
        }
        if cut % 16 == 0 {
            whole(&running).await;
        }
    }
    whole(&running).await;
    assert_eq!(cuts(&running, 0).await.len(), torn);
    let before = stands(&running).await;
    let next = open(dir.path());
    assert_eq!(stands(&next).await, before);
}

/// The same where the file grew and its last bytes never came, as after a power failure; not where a frame stands behind.
#[tokio::test]
async fn zeros_at_the_end_are_torn_and_zeros_before_a_frame_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.record(vec![decision("a", start())]).await.unwrap();
    let frame = next_frame(dir.path());
    for zeros in [32, frame.len() - 40, frame.len()] {
        let mut torn = frame.clone();
        let from = torn.len() - zeros;
        torn[from..].fill(0);
        leave(dir.path(), &torn);
        store.record(vec![decision("a", start())]).await.unwrap();
    }
    assert_eq!(cuts(&store, 0).await.len(), 3);
    whole(&store).await;
    store.close().await;
    // Somebody's edit of an early record, and zeros behind the last: nothing is cut.
    let (path, early) = frame_of(dir.path(), 1);
    edit(&path, |bytes| {
        bytes[early.offset + 3] ^= 1;
        bytes.extend([0; 64]);
    });
    let length = std::fs::metadata(&path).unwrap().len();
    assert!(matches!(try_open(dir.path()), Err(StoreError::Damaged(_))));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
}

/// A last frame that is cut short takes nothing else with it; one that the projection has followed is missed.
#[tokio::test]
async fn a_journal_that_was_cut_opens_with_what_is_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    let before = stands(&store).await;
    store.record(vec![decision("last", start())]).await.unwrap();
    let path = segments(dir.path()).pop().unwrap();
    let last = frames(&path).pop().unwrap();
    let records = last.records[0].0 - 1;
    let name = |dir: &Path| segments(dir).pop().unwrap();
    let ends = (last.offset + 1..last.offset + last.length).step_by(37).chain([
        last.offset + last.length - 1,
        last.offset + 39,
        last.offset + 40,
    ]);
    for end in ends {
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        edit(&name(other.path()), |bytes| bytes.truncate(end));
        let opened = open(other.path());
        assert_eq!(stands(&opened).await, before, "{end}");
        opened.record(vec![decision("next", start())]).await.unwrap();
        let report = opened.verify().await.unwrap();
        assert_eq!((report.records, report.bad), (records.cast_unsigned() + 2, None), "{end}");
        assert_eq!(cuts(&opened, 0).await.len(), 1);
    }
    // What the projection knows of is missed, wherever the cut is.
    whole(&store).await;
    store.close().await;
    for end in [last.offset - 1, last.offset, last.offset + 50] {
        edit(&name(dir.path()), |bytes| bytes.truncate(end));
        let refused = try_open(dir.path()).map(drop).unwrap_err().to_string();
        assert!(refused.contains("were lost or cut off"), "{refused}");
    }
}

/// The frame in which a byte stands.
fn covering(found: &[At], at: usize) -> Range<usize> {
    let frame = found.iter().find(|frame| (frame.offset..frame.offset + frame.length).contains(&at));
    frame.map_or(0..found[0].offset, |frame| frame.offset..frame.offset + frame.length)
}

/// I9, R57: a bit that differs anywhere in the newest segment keeps the store from opening, and its place is named.
#[tokio::test]
async fn a_flipped_bit_is_named_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    store.close().await;
    let path = segments(dir.path()).pop().unwrap();
    let (sound, found) = (std::fs::read(&path).unwrap(), frames(&path));
    let other = tempfile::tempdir().unwrap();
    let written = other.path().join(path.file_name().unwrap());
    // A frame's own test has every bit of every byte.
    for at in (0..sound.len()).step_by(3) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&written, &bytes).unwrap();
        match Journal::open(other.path(), [0; 16], false) {
            Err(JournalError::Damaged(damage)) => {
                let frame = covering(&found, at);
                assert_eq!(damage.offset, frame.start as u64, "byte {at}: {damage}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(std::fs::metadata(&written).unwrap().len(), sound.len() as u64, "nothing is cut");
    }
    for at in (0..sound.len()).step_by(173) {
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        edit(&segments(other.path())[0], |bytes| bytes[at] ^= 0x80);
        let refused = try_open(other.path()).map(drop).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Damaged(text) if text.contains("is damaged at byte")),
            "{refused}"
        );
    }
}

/// I9: the same in a segment that is sealed: a store that opens names it, and answers with what was written or not at all.
#[tokio::test]
async fn a_flipped_bit_in_a_sealed_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [_, consumed] = fill(&store).await;
    store.seal_after(2).await.unwrap();
    store.record(vec![decision("last", start())]).await.unwrap();
    let sound = all_events(&*store).await;
    store.close().await;
    let found = segments(dir.path());
    assert_eq!(found.len(), 2);
    let length = std::fs::read(&found[0]).unwrap().len();
    let (mut opened, mut refused) = (0, 0);
    for at in (0..length).step_by(211).chain(length - 70..length - 66) {
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        edit(&segments(other.path())[0], |bytes| bytes[at] ^= 4);
        let store = match try_open(other.path()) {
            Ok(store) => store,
            Err(StoreError::Damaged(_)) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("byte {at}: {error}"),
        };
        opened += 1;
        match store.verify().await {
            Ok(report) => assert!(report.bad.is_some(), "byte {at} is not named"),
            Err(StoreError::Damaged(_)) => {}
            Err(error) => panic!("byte {at}: {error}"),
        }
        for agent in ["a", "planner-01", "last"] {
            let query = EventQuery { agent_id: Some(agent.into()), ..EventQuery::default() };
            if let Ok(events) = store.events(query).await {
                assert!(events.iter().all(|event| sound.contains(event)), "byte {at}");
            }
        }
        if let Ok(admission) = store.admit(using(&consumed, start())).await {
            assert!(matches!(admission, Admission::ApprovalUnusable(_)), "byte {at}: {admission:?}");
        }
    }
    assert!(opened > 0, "{opened} opened, {refused} refused");
}

/// I4, I9: whoever has the store open uses no approval of which a record was changed, wherever that is.
#[tokio::test]
async fn an_approval_with_a_changed_record_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let record = approved(&*store, "d").await;
    for seq in 1..=2 {
        let (path, frame) = frame_of(dir.path(), seq);
        let (_, body) = frame.records.iter().find(|(at, _)| *at == seq).unwrap();
        for at in body.clone().step_by(29) {
            edit(&path, |bytes| bytes[at] ^= 1);
            let admitted = store.admit(using(&record, start())).await;
            assert!(!matches!(admitted, Ok(Admission::Granted)), "record {seq}, byte {at}: {admitted:?}");
            edit(&path, |bytes| bytes[at] ^= 1);
        }
    }
    assert_eq!(store.admit(using(&record, start())).await.unwrap(), Admission::Granted);
    whole(&store).await;
}

fn without_projection(dir: &Path) {
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(dir.join(format!("tollgate.db{end}"))).ok();
    }
}

fn sql(dir: &Path, sql: &str) {
    rusqlite::Connection::open(database(dir)).unwrap().execute_batch(sql).unwrap();
}

/// A projection that is missing, empty, older, of another journal or edited is made anew or brought up: all of it follows
/// from the journal.
#[tokio::test]
async fn the_projection_follows_from_the_journal() {
    let another = tempfile::tempdir().unwrap();
    let store = open(another.path());
    fill(&store).await;
    store.close().await;
    let empty = "DELETE FROM mark; DELETE FROM approvals; DELETE FROM usage; DELETE FROM counters; DELETE FROM learned;
                 DELETE FROM kept; DELETE FROM owners;";
    type Change<'c> = &'c dyn Fn(&Path, &Path);
    let changes: [(&str, Change<'_>); 9] = [
        ("deleted", &|dir, _| without_projection(dir)),
        ("emptied", &|dir, _| sql(dir, empty)),
        ("unmarked", &|dir, _| sql(dir, "DELETE FROM mark")),
        ("of another journal", &|dir, _| {
            without_projection(dir);
            copy(another.path(), &dir.join("another"));
            std::fs::rename(dir.join("another/tollgate.db"), database(dir)).unwrap();
        }),
        ("older", &|dir, old| {
            without_projection(dir);
            std::fs::copy(old.join("tollgate.db"), database(dir)).unwrap();
        }),
        ("approvals: consumed is approved", &|dir, _| {
            sql(dir, "UPDATE approvals SET status = 'approved' WHERE status = 'consumed'");
        }),
        ("approvals: records are missing", &|dir, _| {
            sql(dir, "UPDATE approvals SET records = '[]' WHERE status = 'consumed'");
        }),
        ("approvals: another binding", &|dir, _| sql(dir, "UPDATE approvals SET binding = zeroblob(32)")),
        ("approvals: another time", &|dir, _| {
            sql(dir, "UPDATE approvals SET expires_at = expires_at + 1 WHERE status = 'approved'");
        }),
    ];
    for (name, change) in changes {
        let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(dir.path());
        assert_eq!(store.admit(limited(start())).await.unwrap(), Admission::Granted);
        made(&*store, "early").await;
        store.close().await;
        copy(dir.path(), old.path());
        let store = open(dir.path());
        let [approved, consumed] = fill(&store).await;
        let before = stands(&store).await;
        store.close().await;
        change(dir.path(), old.path());
        let store = open(dir.path());
        assert_eq!(stands(&store).await, before, "{name}");
        whole(&store).await;
        let again = store.admit(using(&consumed, start())).await.unwrap();
        assert!(matches!(again, Admission::ApprovalUnusable(_)), "{name}: {again:?}");
        assert_eq!(store.admit(using(&approved, start())).await.unwrap(), Admission::Granted, "{name}");
        assert_eq!(store.settle_dead_owners(start()).await.unwrap(), 3, "{name}: calls were open");
    }
}

/// I3, I4: an edit of the projection under a running process brings no approval that the chain does not have; `verify`
/// names it before any restart.
#[tokio::test]
async fn an_edited_projection_brings_no_approval() {
    let edits = [
        "UPDATE approvals SET status = 'approved' WHERE id = ?1",
        "UPDATE approvals SET status = 'approved', version = 2 WHERE id = ?1",
        "UPDATE approvals SET status = 'approved', version = 2, records = (SELECT json_group_array(json(value)) FROM (SELECT value FROM json_each(records) LIMIT 2)) WHERE id = ?1",
        "UPDATE approvals SET status = 'approved', version = 2, records = (SELECT records FROM approvals WHERE id = ?2) WHERE id = ?1",
        "UPDATE approvals SET status = 'approved', version = 2, records = (SELECT json_array(json_extract(a.records, '$[0]'), json_extract(b.records, '$[1]')) FROM approvals a, approvals b WHERE a.id = ?1 AND b.id = ?2) WHERE id = ?1",
        "UPDATE approvals SET records = '[]' WHERE id = ?1",
        "UPDATE approvals SET records = 'nonsense' WHERE id = ?1",
        "UPDATE approvals SET records = '[[1,1,0]]', status = 'approved' WHERE id = ?1",
        "UPDATE approvals SET records = '[[1,77,136]]', status = 'approved' WHERE id = ?1",
        "DELETE FROM approvals WHERE id = ?1",
    ];
    for edit in edits {
        for what in ["consumed", "pending", "rejected"] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let lent = approved(&*store, "lent").await;
            let record = match what {
                "consumed" => {
                    let record = approved(&*store, "d").await;
                    assert_eq!(store.admit(using(&record, start())).await.unwrap(), Admission::Granted);
                    record
                }
                "pending" => made(&*store, "d").await,
                _ => {
                    let record = made(&*store, "d").await;
                    let rejects = answer(&record, ApprovalStatus::Rejected, "bob");
                    assert!(store.update_approval(rejects, Vec::new()).await.unwrap());
                    record
                }
            };
            let raw = rusqlite::Connection::open(database(dir.path())).unwrap();
            let ids = [record.id.as_str(), lent.id.as_str()];
            let named = usize::from(edit.contains("?2")) + 1;
            raw.execute(edit, rusqlite::params_from_iter(&ids[..named])).unwrap();
            let admitted = store.admit(using(&record, start())).await;
            assert!(!matches!(admitted, Ok(Admission::Granted)), "{what}: {edit}: {admitted:?}");
            let bad = store.verify().await.unwrap().bad.unwrap_or_else(|| panic!("{what}: {edit}"));
            assert!(bad.problem.contains("approvals"), "{what}: {edit}: {}", bad.problem);
            store.close().await;
            // A restart takes the journal.
            let store = open(dir.path());
            let admitted = store.admit(using(&record, start())).await;
            assert!(!matches!(admitted, Ok(Admission::Granted)), "{what}: {edit}: {admitted:?}");
            whole(&store).await;
            let admitted = store.admit(using(&record, start())).await.unwrap();
            assert!(matches!(admitted, Admission::ApprovalUnusable(_)), "{what}: {edit}: {admitted:?}");
        }
    }
}

async fn many(stores: &[Arc<EmbeddedStore>], from: i64, to: i64) {
    for n in from..to {
        let mut event = decision(&format!("agent-{}", n % 5), later(start(), n));
        event.tool = Some(format!("up__tool_{}", n % 3).into());
        stores[usize::try_from(n).unwrap() % stores.len()].record(vec![event]).await.unwrap();
    }
}

/// Every query over `from..to` written by [`many`], from both ends, as a store of its own finds it.
async fn found(store: &EmbeddedStore, count: i64, why: &str) {
    for newest_first in [false, true] {
        let check = async |query: EventQuery, fits: &dyn Fn(i64) -> bool| {
            let mut expect: Vec<i64> = (0..count).filter(|n| fits(*n)).map(|n| n + 1).collect();
            if newest_first {
                expect.reverse();
            }
            for limit in [0, 4] {
                let query = EventQuery { newest_first, limit, ..query.clone() };
                let events =
                    store.events(query.clone()).await.unwrap_or_else(|error| panic!("{why}: {error}"));
                let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
                let expect = if limit == 0 { &expect[..] } else { &expect[..limit.min(expect.len())] };
                assert_eq!(seqs, expect, "{why}: {query:?}");
            }
        };
        let all = EventQuery::default;
        check(all(), &|_| true).await;
        check(EventQuery { agent_id: Some("agent-3".into()), ..all() }, &|n| n % 5 == 3).await;
        let both = EventQuery { agent_id: Some("agent-1".into()), tool: Some("up__tool_2".into()), ..all() };
        check(both, &|n| n % 5 == 1 && n % 3 == 2).await;
        check(EventQuery { agent_id: Some("agent-7".into()), ..all() }, &|_| false).await;
        let times = EventQuery { since: Some(later(start(), 25)), until: Some(later(start(), 72)), ..all() };
        check(times, &|n| (25..72).contains(&n)).await;
        let within = EventQuery { after_seq: Some(15), until_seq: Some(61), ..all() };
        check(within, &|n| (15..61).contains(&n)).await;
        let empty = EventQuery {
            after_seq: Some(88),
            until_seq: Some(86),
            agent_id: Some("agent-1".into()),
            ..all()
        };
        check(empty, &|_| false).await;
    }
}

/// R47: over many segments that two processes have sealed in turn, everything is found in both directions, by who was
/// there all the time and by who opens the store, whatever became of the indexes.
#[tokio::test]
async fn queries_are_right_whatever_became_of_the_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    stores[0].seal_after(16).await.unwrap();
    stores[1].seal_after(11).await.unwrap();
    many(&stores, 0, 90).await;
    assert!(segments(dir.path()).len() > 6);
    for store in &stores {
        found(store, 90, "who was there").await;
        whole(store).await;
    }
    let next = open(dir.path());
    found(&next, 90, "who opens it").await;
    next.close().await;
    type Change<'c> = &'c dyn Fn(&Path, &Path);
    let changes: [(&str, Change<'_>); 5] = [
        ("deleted", &|index, _| std::fs::remove_file(index).unwrap()),
        ("emptied", &|index, _| std::fs::write(index, "").unwrap()),
        ("cut", &|index, _| edit(index, |bytes| bytes.truncate(bytes.len() / 2))),
        ("of another segment", &|index, other| {
            std::fs::copy(other, index).unwrap();
        }),
        ("another's bytes", &|index, _| std::fs::write(index, "no index at all".repeat(200)).unwrap()),
    ];
    for (why, change) in changes {
        let paths = segments(dir.path());
        for pair in paths[..paths.len() - 1].windows(2) {
            change(&index_path(&pair[0]), &index_path(&pair[1]));
        }
        let next = open(dir.path());
        found(&next, 90, why).await;
        whole(&next).await;
        next.close().await;
    }
    // One wrong byte, wherever it is: what cannot be read is made anew.
    let index = index_path(&segments(dir.path())[2]);
    let length = std::fs::read(&index).unwrap().len();
    for at in (0..length).step_by(19) {
        edit(&index, |bytes| bytes[at] ^= 0x10);
        let next = open(dir.path());
        found(&next, 90, &format!("byte {at}")).await;
        next.close().await;
    }
    // Under a process that has it open, too.
    edit(&index, |bytes| bytes[length / 2] ^= 1);
    found(&stores[0], 90, "under a process").await;
}

/// I10: what a process remembers after segments were sealed is what one reads that opens the store then, and what both had
/// counted stands.
#[tokio::test]
async fn what_is_remembered_survives_sealing() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    stores[0].seal_after(7).await.unwrap();
    stores[1].seal_after(5).await.unwrap();
    let mut open_calls = Vec::new();
    for n in 0..60_usize {
        let (store, now) = (&stores[n % 2], later(start(), i64::try_from(n).unwrap()));
        let call = limited(now);
        assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
        match n % 3 {
            0 => store.settle(settlement(&call, Some(4), Some(1))).await.unwrap(),
            1 => stores[(n + 1) % 2].settle(settlement(&call, Some(5), Some(2))).await.unwrap(),
            _ => open_calls.push(call),
        }
        if n % 10 == 0 {
            let record = approved(&**store, &format!("d{n}")).await;
            assert_eq!(stores[(n + 1) % 2].admit(using(&record, now)).await.unwrap(), Admission::Granted);
        }
    }
    assert!(segments(dir.path()).len() > 10);
    let now = later(start(), 100);
    let usage = stores[0].budget_usage(now).await.unwrap();
    assert_eq!(usage.iter().map(|one| one.calls).collect::<Vec<_>>(), [60, 60]);
    assert_eq!(usage[0].tokens, 20 * (4 + 5 + 10));
    let next = open(dir.path());
    assert_eq!(next.budget_usage(now).await.unwrap(), usage);
    assert_eq!(stores[1].budget_usage(now).await.unwrap(), usage);
    // Settled by whom it was not admitted, from a memory that was read back.
    for call in &open_calls {
        next.settle(settlement(call, Some(0), Some(0))).await.unwrap();
    }
    assert_eq!(stores[1].budget_usage(now).await.unwrap()[0].tokens, 20 * (4 + 5));
    // The minute has 90 calls: 30 more.
    for n in 0..31 {
        let admission = stores[0].admit(limited(now)).await.unwrap();
        assert_eq!(admission == Admission::Granted, n < 30, "{n}: {admission:?}");
    }
    for store in &stores {
        whole(store).await;
        store.close().await;
    }
    assert_eq!(next.settle_dead_owners(now).await.unwrap(), 6 + 30);
    without_projection(dir.path());
    next.close().await;
    without_projection(dir.path());
    let rebuilt = open(dir.path());
    assert_eq!(rebuilt.budget_usage(now).await.unwrap()[0].calls, 90);
    whole(&rebuilt).await;
}

/// A segment that one process has sealed and behind which it could make no other: whoever comes next makes it, and nobody
/// writes to the sealed one any more.
#[tokio::test]
async fn a_sealed_segment_is_never_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    many(std::slice::from_ref(&store), 0, 3).await;
    // The next segment's name is taken by something that is none.
    let blocked = journal(dir.path()).join("00000000000000000004.segment");
    std::fs::create_dir(&blocked).unwrap();
    store.seal_after(1).await.ok();
    assert!(store.admit(request("a", start())).await.is_err());
    let sealed = std::fs::read(&segments(dir.path())[0]).unwrap();
    assert!(store.admit(request("a", start())).await.is_err());
    std::fs::remove_dir(&blocked).unwrap();
    store.seal_after(100).await.unwrap();
    let other = open(dir.path());
    other.record(vec![decision("b", start())]).await.unwrap();
    assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    assert_eq!(std::fs::read(&segments(dir.path())[0]).unwrap(), sealed);
    assert_eq!(segments(dir.path()).len(), 2);
    for store in [&store, &other] {
        assert_eq!(all_events(&**store).await.len(), 5);
        whole(store).await;
    }
}

/// The clock goes a day on and two days back, with restarts in between: nobody gets more than a window allows, and every
/// window has its room again.
#[tokio::test]
async fn clock_steps_keep_every_window() {
    for reopened in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let day = 24 * 3_600_000;
        let call = |now| AdmitRequest {
            rates: vec![rate("r", 3, Violation::Throttle)],
            budgets: vec![calls("day", BudgetWindow::Day, 5)],
            ..request("a", now)
        };
        // When, and how many calls of six a second apart are granted.
        let steps =
            [(0, 3), (61_000, 2), (day, 3), (-day, 3), (61_000 - day, 2), (130_000, 0), (day + 61_000, 2)];
        for (at, expect) in steps {
            if reopened {
                store.close().await;
                store = open(dir.path());
            }
            let mut granted = 0;
            // A clock that was set back is believed at the second look, a second later.
            for n in 0..8 {
                let admission = store.admit(call(later(start(), at + n * 1_000))).await.unwrap();
                granted += u32::from(admission == Admission::Granted);
            }
            assert_eq!(granted, expect, "at {at}, reopened: {reopened}");
            let followed = store.budget_usage(later(start(), at + 8_000)).await.unwrap();
            let other = open(dir.path());
            other.budget_usage(later(start(), at + 8_000)).await.unwrap();
            assert_eq!(other.budget_usage(later(start(), at + 9_500)).await.unwrap(), followed, "at {at}");
            other.close().await;
        }
        whole(&store).await;
    }
}

/// A small disk of its own, while it is there; `None`: this user may not mount one.
struct Disk(std::path::PathBuf, #[allow(dead_code, reason = "its folder lasts as long")] tempfile::TempDir);

impl Disk {
    fn of(kilobytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let size = format!("size={kilobytes}k");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tollgate-test"])
            .arg(&path)
            .stderr(std::process::Stdio::null())
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(path, folder)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// R56, I9: on a full disk nothing is granted and nothing is lost; with room again all goes on by itself, also where it ran
/// full in the middle of a frame, of the projection or of a new segment.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = Disk::of(6_000) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "a_full_disk_refuses_and_loses_nothing needs a right to mount a tmpfs"
        );
        return eprintln!(
            "a_full_disk_refuses_and_loses_nothing was not run: a tmpfs cannot be mounted here"
        );
    };
    let dir = disk.0.clone();
    let store = open(&dir);
    let other = open(&dir);
    let mut answered = 0;
    for round in 0..4 {
        let now = |n: i64| later(start(), round * 1_000 + n);
        let open_calls: Vec<_> = (0..3).map(|n| limited(now(n))).collect();
        for call in &open_calls {
            assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
            answered += 1;
        }
        if round == 2 {
            // The next thing to be written is a segment.
            store.seal_after(1).await.unwrap();
        }
        disk.fill();
        // There is room for some that was asked for ahead.
        let mut refused = 0;
        let big = "x".repeat(40_000);
        for n in 0..400 {
            let mut call = request("a", now(10 + n));
            call.event.detail = Some(serde_json::json!({ "big": big }));
            match store.admit(call).await {
                Ok(admission) => {
                    assert_eq!(admission, Admission::Granted);
                    answered += 1;
                }
                Err(StoreError::Full) => refused += 1,
                Err(error) => panic!("round {round}: {error}"),
            }
            if refused > 3 {
                break;
            }
        }
        assert!(refused > 3, "round {round}: the disk is not full");
        let settled: Vec<_> =
            open_calls.iter().map(|call| store.settle(settlement(call, Some(7), Some(1)))).collect();
        let asked = other.ask(pending(&format!("d{round}"), now(500)), Vec::new(), AskLimits::NONE).await;
        assert!(!matches!(asked, Ok(Asked::Refused(_))), "{asked:?}");
        assert!(matches!(store.admit(limited(now(501))).await, Err(StoreError::Full)));
        // Reads go on, where counters stand too.
        let stands = store.budget_usage(now(501)).await.unwrap();
        assert!(stands.iter().any(|one| one.calls >= 3), "{stands:?}");
        assert!(all_events(&*store).await.len() >= answered);
        disk.empty();
        for settled in settled {
            settled.await.unwrap();
        }
        store.seal_after(100_000).await.unwrap();
        assert_eq!(store.admit(request("b", now(600))).await.unwrap(), Admission::Granted);
        answered += 1;
        assert_eq!(store.unsettled(), 0);
        for store in [&store, &other] {
            whole(store).await;
            let decisions =
                EventQuery { event_type: Some(EventType::AgentDecision), ..EventQuery::default() };
            assert_eq!(store.events(decisions).await.unwrap().len(), answered, "round {round}");
        }
        let usage = other.budget_usage(now(700)).await.unwrap();
        assert_eq!(usage[0].tokens, u64::try_from(round + 1).unwrap() * 3 * 7, "round {round}");
    }
    store.close().await;
    let next = open(&dir);
    whole(&next).await;
    next.close().await;
    other.close().await;
}

/// Plays a process that admits, settles, asks, decides and uses at random until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_does_everything() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    store.seal_after(60).await.unwrap();
    let tasks: Vec<tokio::task::JoinHandle<()>> = (0..4_u32)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut random = u64::from(std::process::id()) * 31 + u64::from(task);
                loop {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let call = limited_for_ever(start());
                    match random >> 61 {
                        0 | 1 => {
                            if store.admit(call.clone()).await.unwrap() == Admission::Granted {
                                say("granted");
                            }
                        }
                        2..=5 => {
                            if store.admit(call.clone()).await.unwrap() == Admission::Granted {
                                store
                                    .settle(settlement(&call, Some(random >> 60 & 7), Some(1)))
                                    .await
                                    .unwrap();
                                say("settled");
                            }
                        }
                        6 => {
                            let record = approved(&*store, &unique()).await;
                            let call = AdmitRequest { approval: using(&record, start()).approval, ..call };
                            assert_eq!(store.admit(call).await.unwrap(), Admission::Granted);
                            say(&format!("used {}", record.id));
                        }
                        _ => {
                            store
                                .record(vec![EventDraft::system(EventType::AdminAction, start())])
                                .await
                                .unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    // They go on until this process is killed.
    futures::future::join_all(tasks).await;
}

fn limited_for_ever(now: jiff::Timestamp) -> AdmitRequest {
    let ever = BudgetLimit { max_tokens: Some(u64::MAX >> 1), ..budget("ever", BudgetWindow::Ever) };
    AdmitRequest {
        tokens: 10,
        budgets: vec![ever, budget("minute", BudgetWindow::Minute)],
        ..request("a", now)
    }
}

/// I10: two processes at random, killed at random: one that has followed all of it and one that reads it back remember the
/// same, and both what the record says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_back_is_what_was_followed() {
    let dir = tempfile::tempdir().unwrap();
    let follower = open(dir.path());
    follower.seal_after(60).await.unwrap();
    let mut granted = 0;
    for round in 0..8_usize {
        let mut peers = [0, 1].map(|_| Peer::spawn("journal::peer_that_does_everything", dir.path()));
        for turn in 0..(11 + 17 * round) {
            let said = peers[turn % 2].says().unwrap();
            granted += u64::from(said != "ready");
            if turn % 5 == 0 {
                assert_eq!(follower.admit(limited_for_ever(start())).await.unwrap(), Admission::Granted);
                granted += 1;
            }
        }
        peers.into_iter().for_each(Peer::kill);
        let now = later(start(), 1_000);
        let usage = follower.budget_usage(now).await.unwrap();
        let next = open(dir.path());
        assert_eq!(next.budget_usage(now).await.unwrap(), usage, "round {round}");
        let of = async |kind| {
            let query = EventQuery { event_type: Some(kind), ..EventQuery::default() };
            next.events(query).await.unwrap()
        };
        let (decided, over) =
            (of(EventType::AgentDecision).await.len(), of(EventType::AgentSideEffect).await.len());
        assert!(decided as u64 >= granted, "a grant was lost: {decided}, {granted}");
        assert_eq!(usage.iter().map(|one| one.calls).collect::<Vec<_>>(), [decided as u64; 2]);
        // Who has just read it knows the open calls of the dead: all but the follower's own.
        let settled = next.settle_dead_owners(now).await.unwrap();
        let own = own_open(round);
        assert_eq!(settled + over as u64 + own, decided as u64, "round {round}");
        assert_eq!(follower.settle_dead_owners(now).await.unwrap(), 0);
        assert_eq!(follower.budget_usage(now).await.unwrap(), next.budget_usage(now).await.unwrap());
        whole(&next).await;
        next.close().await;
    }
}

/// Calls that the follower has admitted up to a round, and settles never.
fn own_open(round: usize) -> u64 {
    (0..=round).map(|round| (11 + 17 * round).div_ceil(5) as u64).sum()
}

/// A verification beside a process that writes finds nothing: what is newer than what it reads is not missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_beside_a_writer_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = (open(dir.path()), open(dir.path()));
    fill(&store).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writes = tokio::spawn(async move {
        let mut n = 0;
        while !*stopped.borrow() {
            made(&*writer, &format!("more {n}")).await;
            n += 1;
        }
        writer.close().await;
        n
    });
    for _ in 0..25 {
        whole(&store).await;
    }
    stop.send(true).unwrap();
    assert!(writes.await.unwrap() > 0);
}
