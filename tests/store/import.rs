//! Taking over a store of before the journal: one SQLite file that held the records themselves (schema versions 2 to 4).

use crate::store::*;
use rusqlite::Connection;
use std::path::Path;
use tollgate::{
    config::Durability,
    cost::BudgetWindow,
    journal::chain,
    model::{ApprovalStatus, OwnerId},
    store::{
        Admission, ApprovalRecord, EventQuery, KeptKind, Store as _, StoreError, embedded::EmbeddedStore,
    },
};

/// The tables as they were in version 4, as far as they hold something.
const V4: &str = "
CREATE TABLE events (seq INTEGER PRIMARY KEY, prev_hash BLOB NOT NULL, hash BLOB NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE blocks (block INTEGER PRIMARY KEY, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, terms BLOB NOT NULL) STRICT;
CREATE TABLE owners (id INTEGER PRIMARY KEY, owner TEXT NOT NULL UNIQUE, lock_path TEXT NOT NULL) STRICT;
CREATE TABLE counters (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, policy_id TEXT NOT NULL, key TEXT NOT NULL, UNIQUE (kind, policy_id, key)) STRICT;
CREATE TABLE usage (counter INTEGER NOT NULL, start INTEGER NOT NULL, calls INTEGER NOT NULL, tokens INTEGER NOT NULL, cost INTEGER NOT NULL, alerted INTEGER NOT NULL, PRIMARY KEY (counter, start)) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (n INTEGER PRIMARY KEY, at INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, entries BLOB NOT NULL) STRICT;
CREATE TABLE learned (tool TEXT PRIMARY KEY, milli_tokens INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE approvals (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, status TEXT NOT NULL, agent TEXT NOT NULL, binding BLOB NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, record TEXT NOT NULL, rejected_at INTEGER) STRICT;
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kept (n INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (kind, name)) STRICT;
PRAGMA application_id = 1416588396;
PRAGMA user_version = 4;
";

/// Numbers as the old ledger had them: zigzag, in groups of seven bits.
fn numbers(all: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in all {
        let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
        loop {
            let low = (left & 0x7f) as u8;
            left >>= 7;
            out.push(if left == 0 { low } else { low | 0x80 });
            if left == 0 {
                break;
            }
        }
    }
    out
}

struct Old {
    records: i64,
    head: String,
    approval: ApprovalRecord,
    open: tollgate::store::AdmitRequest,
}

/// A store with five records, a used budget, an open call of a dead process, an approved call, and a key.
fn old_store(dir: &Path) -> Old {
    let db = Connection::open(database(dir)).unwrap();
    db.execute_batch(V4).unwrap();
    let (mut prev, mut open) = (chain::GENESIS, None);
    for seq in 1..=5 {
        let request = request("planner-01", later(start(), seq * 1_000));
        let body = request.event.body();
        let hash = chain::link(&prev, seq, &body);
        db.execute("INSERT INTO events VALUES (?1, ?2, ?3, ?4)", (seq, prev, hash, body)).unwrap();
        prev = hash;
        open = Some(request);
    }
    let day = start().as_microsecond().div_euclid(86_400_000_000) * 86_400_000_000;
    db.execute("INSERT INTO owners VALUES (3, 'dead', '/nowhere/dead.lock')", []).unwrap();
    db.execute("INSERT INTO counters VALUES (7, 'day', 'cap', 'key')", []).unwrap();
    db.execute("INSERT INTO usage VALUES (7, ?1, 2, 30, 40, 0)", [day]).unwrap();
    // Granted: seq, owner, at, tokens, cost, no repeat, no rolling counter, one window.
    let at = later(start(), 5_000).as_microsecond();
    let entries = numbers(&[1, 5, 3, at, 10, 20, 0, 0, 1, 7, day]);
    db.execute("INSERT INTO ledger VALUES (1, ?1, 5, ?2, ?3)", (at, prev, entries)).unwrap();
    db.execute("INSERT INTO learned VALUES ('files__read', 12000)", []).unwrap();
    let mut approval = pending("d", start());
    approval.status = ApprovalStatus::Approved;
    let text = serde_json::to_string(&approval).unwrap();
    db.execute(
        "INSERT INTO approvals VALUES (1, ?1, 1, 'approved', 'planner-01', x'00', 0, 0, ?2, NULL)",
        (approval.id.as_str(), text),
    )
    .unwrap();
    db.execute("INSERT INTO secrets VALUES ('k', ?1)", [[9u8; 32]]).unwrap();
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    db.execute("INSERT INTO kept VALUES (1, 'tool', ?1, ?1, '{}')", [hash]).unwrap();
    Old { records: 5, head: chain::to_hex(&prev), approval, open: open.unwrap() }
}

fn opened(dir: &Path) -> Result<std::sync::Arc<EmbeddedStore>, StoreError> {
    EmbeddedStore::open(
        &database(dir),
        dir,
        Durability::Commit,
        OwnerId::from(format!("owner-{}", unique())),
        clock(),
    )
}

async fn holds(store: &EmbeddedStore, old: &Old) {
    let events =
        store.events(EventQuery { until_seq: Some(old.records), ..EventQuery::default() }).await.unwrap();
    assert_eq!(events.len(), 5);
    assert_eq!(events[4].hash, old.head);
    let used = store.budget_usage(start()).await.unwrap();
    assert_eq!((used.len(), used[0].calls, used[0].tokens, used[0].cost_usd.0), (1, 2, 30, 40));
    assert_eq!(store.approval(old.approval.id.clone()).await.unwrap().as_ref(), Some(&old.approval));
    assert_eq!(store.secret("k", [1; 32]).await.unwrap(), [9; 32]);
    assert_eq!(store.learned_sizes().await.unwrap().by_tool(), [("files__read".to_owned(), 12)]);
    let tool = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".to_owned();
    assert_eq!(store.kept(KeptKind::Tool, tool).await.unwrap().map(|kept| kept.body), Some("{}".to_owned()));
}

/// The chain goes on byte for byte, and what was counted, open, approved and kept is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_before_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let old = old_store(dir.path());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(database(dir.path()), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let store = opened(dir.path()).unwrap();
    holds(&store, &old).await;
    assert_eq!(store.verify().await.unwrap().bad, None);
    // The call of the dead process is open, and settled as such.
    assert_eq!(store.settle_dead_owners(later(start(), 9_000)).await.unwrap(), 1);
    let settled = EventQuery { call_id: old.open.event.call_id.clone(), ..EventQuery::default() };
    assert_eq!(store.events(settled).await.unwrap().len(), 2);
    // The approval is used once, and the budget counts on.
    let using = || {
        let mut using = request("planner-01", later(start(), 10_000));
        using.approval = Some((old.approval.id.clone(), old.approval.binding.clone()));
        using.budgets = vec![calls("cap", BudgetWindow::Day, 3)];
        using
    };
    assert_eq!(store.admit(using()).await.unwrap(), Admission::Granted);
    assert!(matches!(store.admit(using()).await.unwrap(), Admission::ApprovalUnusable(_)));
    let mut full = request("planner-01", later(start(), 11_000));
    full.budgets = vec![calls("cap", BudgetWindow::Day, 3)];
    assert!(matches!(store.admit(full).await.unwrap(), Admission::Refused(_)));
    store.close().await;
    let aside = dir.path().join("tollgate.db.before-journal");
    assert!(aside.exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&aside).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "nobody else may read what it holds");
    }
    let again = opened(dir.path()).unwrap();
    assert_eq!(again.verify().await.unwrap().bad, None);
}

/// Of several that start at once one takes it over, and the others find it done.
#[tokio::test(flavor = "multi_thread")]
async fn several_starts_take_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let old = old_store(dir.path());
    let at_once = std::sync::Barrier::new(6);
    let stores: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            at_once.wait();
            opened(dir.path()).unwrap()
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    holds(&stores[0], &old).await;
    for store in &stores {
        assert_eq!(store.verify().await.unwrap().bad, None);
    }
    let taken =
        EventQuery { event_type: Some(tollgate::model::EventType::AdminAction), ..EventQuery::default() };
    let told = stores[0].events(taken).await.unwrap();
    let told = told.iter().filter(|event| event.draft.action.as_deref() == Some("store_taken_over"));
    assert_eq!(told.count(), 1);
}

/// Stopped between any two of its last steps, it goes on at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_that_was_stopped_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let old = old_store(dir.path());
    let copy = std::fs::read(database(dir.path())).unwrap();
    opened(dir.path()).unwrap().close().await;
    // The journal is in its place, and the old file was not marked yet.
    for name in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm", "tollgate.db.before-journal"] {
        std::fs::remove_file(dir.path().join(name)).ok();
    }
    std::fs::write(database(dir.path()), &copy).unwrap();
    let store = opened(dir.path()).unwrap();
    holds(&store, &old).await;
    assert_eq!(store.verify().await.unwrap().bad, None);
    store.close().await;
    // Marked, and not put aside.
    for name in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm"] {
        std::fs::remove_file(dir.path().join(name)).ok();
    }
    std::fs::rename(dir.path().join("tollgate.db.before-journal"), database(dir.path())).unwrap();
    let store = opened(dir.path()).unwrap();
    holds(&store, &old).await;
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A chain that is not whole is not made whole by being copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_of_before_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path());
    let db = Connection::open(database(dir.path())).unwrap();
    db.execute("UPDATE events SET body = replace(body, 'planner-01', 'planner-02') WHERE seq = 3", [])
        .unwrap();
    drop(db);
    let refused = opened(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("record 3"), "{refused}");
    let db = Connection::open(database(dir.path())).unwrap();
    let left: i64 = db.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 5);
    assert!(!dir.path().join("tollgate.journal").join(format!("{:020}.segment", 1)).exists());
}

/// Another Tollgate of before would go on writing to the old file.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_in_use_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    old_store(dir.path());
    let lock = dir.path().join("alive.lock");
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let db = Connection::open(database(dir.path())).unwrap();
    db.execute("UPDATE owners SET lock_path = ?1", [lock.to_string_lossy()]).unwrap();
    drop(db);
    let refused = opened(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("stop it"), "{refused}");
    drop(held);
    let mut told = Vec::new();
    let taken = EmbeddedStore::import(&database(dir.path()), dir.path(), clock().now(), &mut |done, all| {
        told.push((done, all))
    });
    assert_eq!(taken.unwrap(), Some(5));
    assert_eq!(told, [(5, 5)]);
    assert_eq!(
        EmbeddedStore::import(&database(dir.path()), dir.path(), clock().now(), &mut |_, _| {}).unwrap(),
        None
    );
}
