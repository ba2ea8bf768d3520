//! Registers: small keyed state that all processes share (R39, R57, R58, I9, I10).

use crate::{Opener, store::*};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use tollgate::{
    model::{EventDraft, EventType},
    store::{
        Admission, AdmitRequest, AskLimits, EventQuery, Register, RegisterChange, RegisterEntry,
        RegisterRead, Store, StoreError, embedded::EmbeddedStore,
    },
};

fn set(key: &str, value: Value) -> RegisterChange {
    RegisterChange::set(Register::Freeze, key, value)
}

fn remove(key: &str) -> RegisterChange {
    RegisterChange::remove(Register::Freeze, key)
}

fn event(kind: EventType) -> EventDraft {
    EventDraft::system(kind, start())
}

async fn held(store: &dyn Store) -> Vec<(String, Value)> {
    let entries = store.register(Register::Freeze).await.unwrap();
    entries.into_iter().map(|entry| (entry.key.as_ref().to_owned(), Value::clone(&entry.value))).collect()
}

async fn entry(store: &dyn Store, key: &str) -> Option<RegisterEntry> {
    store.register_entry(Register::Freeze, key.to_owned()).await.unwrap()
}

async fn events(store: &dyn Store, kind: EventType) -> usize {
    let query = EventQuery { event_type: Some(kind), ..EventQuery::default() };
    store.events(query).await.unwrap().len()
}

/// Entries and the records that tell of them: all, or none where one entry is not as expected.
pub(crate) async fn registers_change_all_or_nothing(open: Opener<'_>) {
    let store = open();
    let both = vec![set("a", json!({"n": 1.50})), set("b", json!("two")).at(0)];
    assert!(store.set(both, vec![event(EventType::Frozen)]).await.unwrap());
    let all = [("a".to_owned(), json!({"n": 1.50})), ("b".to_owned(), json!("two"))];
    assert_eq!(held(&*store).await, all);
    // `b` is there by now.
    let changes = vec![set("a", json!(3)), set("b", json!(4)).at(0), remove("a2")];
    assert!(!store.set(changes, vec![event(EventType::Frozen)]).await.unwrap());
    assert_eq!(held(&*store).await, all);
    assert_eq!(events(&*store, EventType::Frozen).await, 1);
    let version = entry(&*store, "b").await.unwrap().version;
    assert!(store.set(vec![set("b", json!(5)).at(version)], Vec::new()).await.unwrap());
    assert!(!store.set(vec![remove("b").at(version)], Vec::new()).await.unwrap());
    assert!(store.set(vec![remove("b"), remove("nobody")], vec![event(EventType::Unfrozen)]).await.unwrap());
    assert_eq!(held(&*store).await, [("a".to_owned(), json!({"n": 1.50}))]);
    // Of other registers nothing was said.
    assert_eq!(store.register(Register::Pin).await.unwrap(), Vec::new());
    for bad in ["", "a\nb", &"k".repeat(2_000)] {
        assert!(store.set(vec![set(bad, json!(1))], Vec::new()).await.is_err(), "{bad:?}");
    }
    assert!(store.set(vec![set("c", json!(1)), set("c", json!(2))], Vec::new()).await.is_err());
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// I10: a compare-and-set has one winner, whichever process asks.
pub(crate) async fn of_two_changes_of_an_entry_one_is_first(open: Opener<'_>) {
    let stores = [open(), open()];
    for round in 0..10_u64 {
        let version = entry(&*stores[0], "k").await.map_or(0, |entry| entry.version);
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = stores[n % 2].clone();
                let change = set("k", json!([round, n])).at(version);
                tokio::spawn(async move { store.set(vec![change], vec![event(EventType::Frozen)]).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await.unwrap().unwrap());
        }
        assert_eq!(won, 1);
        assert_eq!(entry(&*stores[0], "k").await, entry(&*stores[1], "k").await);
    }
    assert_eq!(events(&*stores[1], EventType::Frozen).await, 10);
}

/// What was set is there for whoever opens the store later, and a version is given once.
pub(crate) async fn registers_survive_and_versions_never_return(open: Opener<'_>) {
    let store = open();
    store.set(vec![set("k", json!(1)), set("l", json!(2))], Vec::new()).await.unwrap();
    let first = entry(&*store, "k").await.unwrap();
    store.set(vec![remove("k")], Vec::new()).await.unwrap();
    store.close().await;
    let store = open();
    assert_eq!(held(&*store).await, [("l".to_owned(), json!(2))]);
    store.set(vec![set("k", json!(1)).at(0)], Vec::new()).await.unwrap();
    let second = entry(&*store, "k").await.unwrap();
    assert!(second.version > first.version + 1, "{second:?}");
    assert!(!store.set(vec![remove("k").at(first.version)], Vec::new()).await.unwrap());
}

/// I10: who waits for changes learns of one, in this process and in another.
pub(crate) async fn a_change_of_a_register_elsewhere_wakes(open: Opener<'_>) {
    let (store, other) = (open(), open());
    let mut changes = store.register_changes();
    other.set(vec![set("agent:a", json!(1))], Vec::new()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while held(&*store).await.is_empty() {
            changes.changed().await.unwrap();
        }
    })
    .await
    .unwrap();
    let mut own = store.register_changes();
    own.mark_unchanged();
    store.set(vec![set("all", json!(1))], Vec::new()).await.unwrap();
    assert!(own.has_changed().unwrap());
}

/// I12: no register grows without end, and a full one can be emptied.
pub(crate) async fn a_register_is_bounded(open: Opener<'_>) {
    let store = open();
    let bounds = Register::Freeze.bounds();
    let many: Vec<_> = (0..bounds.entries).map(|n| set(&format!("k{n}"), json!(n))).collect();
    assert!(store.set(many, Vec::new()).await.unwrap());
    let full = store.set(vec![set("more", json!(1))], vec![event(EventType::Frozen)]).await;
    assert!(matches!(full, Err(StoreError::RegisterFull("freeze"))), "{full:?}");
    let long = store.set(vec![set("k0", json!("x".repeat(bounds.bytes)))], Vec::new()).await;
    assert!(matches!(long, Err(StoreError::RegisterFull("freeze"))), "{long:?}");
    assert_eq!(events(&*store, EventType::Frozen).await, 0);
    assert!(store.set(vec![remove("k0"), set("more", json!(1))], Vec::new()).await.unwrap());
    assert_eq!(store.register(Register::Freeze).await.unwrap().len(), bounds.entries);
}

/// What registers must come to in every process and after every restart, whatever segments were sealed between.
async fn same(dir: &Path, stores: &[Arc<EmbeddedStore>], expect: &[(String, Value)]) {
    for store in stores {
        assert_eq!(held(&**store).await, expect);
    }
    let next = open(dir);
    assert_eq!(held(&*next).await, expect);
    assert_eq!(next.verify().await.unwrap().bad, None);
    next.close().await;
}

/// They outlast segments, and each segment says all of them: none of before is read.
#[tokio::test]
async fn they_outlast_sealed_segments_and_a_lost_index() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    stores[0].seal_after(7).await.unwrap();
    stores[1].seal_after(5).await.unwrap();
    let mut expect = std::collections::BTreeMap::new();
    for n in 0..80_usize {
        let store = &stores[n % 2];
        assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
        // Long values, so that the frame that seals a segment is found from its end.
        let key = format!("k{}", n % 9);
        let value = json!({"n": n, "TGfr": "x".repeat(3_000)});
        if n % 4 == 3 {
            store.set(vec![remove(&key)], vec![event(EventType::Unfrozen)]).await.unwrap();
            expect.remove(&key);
        } else {
            store.set(vec![set(&key, value.clone())], vec![event(EventType::Frozen)]).await.unwrap();
            expect.insert(key, value);
        }
        if n % 16 == 0 {
            let expect: Vec<_> = expect.clone().into_iter().collect();
            same(dir.path(), &stores, &expect).await;
        }
    }
    let expect: Vec<_> = expect.into_iter().collect();
    assert!(segments(dir.path()).len() > 15);
    same(dir.path(), &stores, &expect).await;
    for store in &stores {
        store.close().await;
    }
    // Nothing of them is in the projection: whatever somebody does to it, they stand.
    for file in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm"] {
        std::fs::remove_file(dir.path().join(file)).ok();
    }
    same(dir.path(), &[], &expect).await;
    // What stands before the newest sealed segment is not needed.
    let paths = segments(dir.path());
    let twin = tempfile::tempdir().unwrap();
    copy(dir.path(), twin.path());
    for path in &paths[..paths.len() - 2] {
        std::fs::remove_file(twin.path().join("tollgate.journal").join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(held(&*open(twin.path())).await, expect);
}

/// R58: retention removes the segments that said it, not what they said.
#[tokio::test(flavor = "multi_thread")]
async fn they_outlast_retention() {
    const DAY: i64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(20).await.unwrap();
    store.set(vec![set("all", json!({"by": "carol"})), set("gone", json!(1))], Vec::new()).await.unwrap();
    store.set(vec![remove("gone")], Vec::new()).await.unwrap();
    let version = entry(&*store, "all").await.unwrap().version;
    for day in [0, 300] {
        for n in 0..50 {
            let request = request("a", later(start(), day * DAY + n));
            assert_eq!(store.admit(request.clone()).await.unwrap(), Admission::Granted);
            store.settle(settlement(&request, None, None)).await.unwrap();
        }
    }
    let before = segments(dir.path()).len();
    // Twice: what was told again is told again.
    for days in [100, 301] {
        let now = later(start(), days.max(300) * DAY + 60_000);
        store.retire(later(start(), days * DAY), now).await.unwrap();
        let expect = [("all".to_owned(), json!({"by": "carol"}))];
        same(dir.path(), std::slice::from_ref(&store), &expect).await;
        assert_eq!(entry(&*store, "all").await.unwrap().version, version);
    }
    assert!(segments(dir.path()).len() < before);
}

/// Wherever a process is killed, what it said it had set is set, and nothing is set by half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_leaves_whole_changes() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    for _ in 0..5 {
        let mut peer = Peer::spawn("registers::sets_until_it_is_killed", dir.path());
        let mut said = 0;
        for _ in 0..25 {
            said = peer.says().unwrap().parse::<u64>().unwrap();
        }
        peer.kill();
        let store = open(dir.path());
        let entries = held(&*store).await;
        assert_eq!((&*entries[0].0, &*entries[1].0), ("a", "b"));
        assert_eq!(entries[0].1, entries[1].1, "both or neither");
        assert!(entries[0].1.as_u64().unwrap() >= said);
        assert_eq!(
            events(&*store, EventType::Frozen).await as u64,
            entries[0].1.as_u64().unwrap(),
            "each is told"
        );
        assert_eq!(store.verify().await.unwrap().bad, None);
        store.close().await;
    }
}

/// Plays the process that is killed.
#[tokio::test]
async fn sets_until_it_is_killed() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    store.seal_after(9).await.unwrap();
    let mut n = entry(&*store, "a").await.map_or(0, |entry| entry.value.as_u64().unwrap());
    loop {
        n += 1;
        let both = vec![set("a", json!(n)), set("b", json!(n))];
        assert!(store.set(both, vec![event(EventType::Frozen)]).await.unwrap());
        say(&n.to_string());
    }
}

/// R57, I9: an edit of what the journal says of a register is damage: it is named, and nothing is judged by it.
#[tokio::test]
async fn an_edit_in_the_journal_is_named_and_not_believed() {
    // In the newest segment, and in the frame that sealed the one before it.
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store
            .set(vec![set("all", json!({"reason": "intruder"}))], vec![event(EventType::Frozen)])
            .await
            .unwrap();
        if sealed {
            store.seal_after(1).await.unwrap();
            assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
            store.seal_after(1_000).await.unwrap();
            let before = segments(dir.path()).len();
            // So much later that a start reads nothing of before but the frame that sealed it.
            for minute in [10, 20, 30] {
                let now = later(start(), minute * 60_000);
                assert_eq!(store.admit(request("a", now)).await.unwrap(), Admission::Granted);
            }
            // The projection follows an approval, and with it all of that.
            let asked = pending("asked", later(start(), 30 * 60_000));
            store.ask(asked, Vec::new(), AskLimits::NONE).await.unwrap();
            assert_eq!(segments(dir.path()).len(), before);
        }
        store.close().await;
        assert_eq!(EmbeddedStore::verify_at_rest(&database(dir.path())).unwrap().unwrap().bad, None);
        let paths = segments(dir.path());
        let path = &paths[paths.len() - 1 - usize::from(sealed)];
        edit(path, |bytes| {
            let at = bytes.windows(8).rposition(|part| part == b"intruder").unwrap();
            bytes[at] = b'I';
        });
        let bad = EmbeddedStore::verify_at_rest(&database(dir.path())).unwrap().unwrap().bad.unwrap();
        assert!(bad.problem.contains("damaged"), "{bad:?}");
        let opened = try_open(dir.path());
        let read = match &opened {
            Ok(store) => store.register(Register::Freeze).await.map(|_| ()),
            Err(error) => Err(error.clone()),
        };
        assert!(matches!(read, Err(StoreError::Damaged(_))), "sealed {sealed}: {read:?}");
    }
}

/// R58: a person who accepts damage lifts nothing: what can be read of registers goes on.
#[tokio::test]
async fn they_outlast_accepted_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(10).await.unwrap();
    let call = async || assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    for _ in 0..25 {
        call().await;
    }
    store.set(vec![set("all", json!(1))], vec![event(EventType::Frozen)]).await.unwrap();
    for _ in 0..30 {
        call().await;
    }
    store.close().await;
    let (path, frame) = frame_of(dir.path(), 52);
    edit(&path, |bytes| bytes[frame.records[0].1.start + 5] ^= 1);
    let said = |problem: &str, places: Value| {
        tollgate::evidence::damage_accepted(
            start(),
            Some("carol"),
            &tollgate::redaction::DataRules::built_in().said("no backup", 100),
            problem,
            places,
        )
    };
    assert!(EmbeddedStore::accept_damage(&database(dir.path()), dir.path(), &said).unwrap().is_some());
    let expect = [("all".to_owned(), json!(1))];
    let store = open(dir.path());
    assert_eq!(held(&*store).await, expect);
    // The one that reads around damage says the same.
    let readable = EmbeddedStore::open_damaged(&database(dir.path())).unwrap();
    assert_eq!(held(&*readable).await, expect);
    store.seal_after(1).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.admit(request("a", start())).await.unwrap(), Admission::Granted);
    }
    store.close().await;
    assert_eq!(held(&*open(dir.path())).await, expect);
}

/// A call that was decided on an older entry, by whichever handle, is not admitted, and nothing is done: R41.
pub(crate) async fn a_call_decided_on_an_older_entry_is_not_admitted(open: Opener<'_>) {
    let (one, other) = (open(), open());
    let read = |key: &str, version| RegisterRead { register: Register::Labels, key: key.to_owned(), version };
    let call = |read: Vec<RegisterRead>| AdmitRequest { read, ..request("planner-01", start()) };
    let both = vec![read("agent:a", 0), read("workflow:w", 0)];
    assert_eq!(one.admit(call(both.clone())).await.unwrap(), Admission::Granted);
    let raised = RegisterChange::set(Register::Labels, "workflow:w", json!({"labels": {}}));
    assert!(other.set(vec![raised], Vec::new()).await.unwrap());
    let before = one.events(EventQuery::default()).await.unwrap().len();
    let outdated = Admission::Outdated(vec![read("workflow:w", 0)]);
    assert_eq!(one.admit(call(both)).await.unwrap(), outdated);
    assert_eq!(one.events(EventQuery::default()).await.unwrap().len(), before, "nothing is recorded");
    let version = one.register_entry(Register::Labels, "workflow:w".into()).await.unwrap().unwrap().version;
    let now = vec![read("agent:a", 0), read("workflow:w", version)];
    assert_eq!(one.admit(call(now)).await.unwrap(), Admission::Granted);
}
