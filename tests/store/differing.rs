//! What replicas notice of each other: that they start at the same moment, that a clock or a snapshot is another one, and that a copy
//! is in use (SPEC 14; I4, I9, I10).

use crate::{
    replicas::{call, until, verified},
    store::{
        database::{copy_of, is_there, server},
        edit,
    },
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier},
};
use tollgate::{
    journal::{SEGMENT_HEAD, list},
    store::{Admission, Store, StoreError},
};

/// Replicas that start at the same moment on an empty database: one makes the tables, and the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_may_start_at_the_same_moment() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let (database, barrier) = (server().database(), Arc::new(Barrier::new(4)));
        let threads: Vec<_> = (0..4)
            .map(|at| {
                let (barrier, database) = (barrier.clone(), database.clone());
                let folder = dir.path().join(format!("{round}-{at}"));
                std::thread::spawn(move || {
                    barrier.wait();
                    database.try_open(&folder)
                })
            })
            .collect();
        let opened: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
        for (at, store) in (0..).zip(&stores) {
            assert_eq!(call(&**store, at, 3).await == Admission::Granted, at < 3);
        }
    }
}

/// A machine whose clock is far from the database's decides nothing until it is set, and says how far it is; what is slow is no other
/// clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_wrong_clock_nothing_is_decided() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let clock = |by: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION shim.clock_timestamp() RETURNS timestamptz LANGUAGE sql
                 AS 'SELECT pg_catalog.clock_timestamp() + interval ''{by}'''"
        )
    };
    let sql = |text: &str| server().sql(&database.name, text);
    sql("CREATE SCHEMA shim");
    sql(&clock("1 s"));
    sql(&format!("ALTER DATABASE {} SET search_path = shim, pg_catalog", database.name));
    let store = database.replica(dir.path());
    assert_eq!(call(&*store, 1, 9).await, Admission::Granted);
    for (by, says) in
        [("70 s", "s behind that of PostgreSQL at "), ("-20 min", "s ahead of that of PostgreSQL at ")]
    {
        sql(&clock(by));
        until("the replica says that its clock is wrong", || async {
            match store.ping().await {
                Err(error @ StoreError::Clock(_)) => error.to_string().contains(says),
                Ok(()) | Err(_) => false,
            }
        })
        .await;
        let late = match database.try_open(&dir.path().join("late")) {
            Ok(late) => late.ping().await,
            Err(error) => Err(error),
        };
        assert!(matches!(late, Err(StoreError::Clock(_))), "{late:?}");
    }
    sql(&clock("-1 s"));
    until("it decides again", || async { store.ping().await.is_ok() }).await;
    assert_eq!(call(&*store, 2, 9).await, Admission::Granted);
    verified(&*store).await;
}

/// Each replica hears by which snapshot the others decide, and forgets those that have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_snapshots_are_heard_of() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let [one, two, command] =
        ["one", "two", "command"].map(|name| database.try_open(&dir.path().join(name)).unwrap());
    one.decides_by("a");
    two.decides_by("a");
    assert_eq!(command.other_snapshots(), BTreeSet::new(), "what decides nothing differs from nobody");
    two.decides_by("b");
    until("one hears of two", || async { one.other_snapshots() == BTreeSet::from(["b".into()]) }).await;
    until("two hears of one", || async { two.other_snapshots() == BTreeSet::from(["a".into()]) }).await;
    two.close().await;
    until("who ended is no other", || async { one.other_snapshots().is_empty() }).await;
}

/// A copy that is damaged while a process has it open is not replaced under it by another one, which says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_use_is_not_replaced() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let folder = dir.path().join("a");
    let serving = database.try_open(&folder).unwrap();
    for at in 0..20 {
        call(&*serving, at, 100).await;
    }
    let segment = list(&copy_of(&folder).with_extension("journal")).unwrap().remove(0).1;
    edit(&segment, |bytes| bytes[usize::try_from(SEGMENT_HEAD).unwrap() + 200] ^= 1);
    let refused = database.try_open(&folder).map(drop).unwrap_err().to_string();
    assert!(refused.contains("has this copy open"), "{refused}");
    assert_eq!(call(&*serving, 30, 100).await, Admission::Granted);
    serving.close().await;
    verified(&*database.try_open(&folder).unwrap()).await;
}
