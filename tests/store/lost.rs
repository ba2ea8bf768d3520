//! Databases that lost records, or whose records were edited, and a person who says that they go on all the same.

use crate::{
    approved, grant,
    replicas::{call, frames_of, verified},
    store::{
        database::{Database, Server, copy_of, is_there, server},
        *,
    },
    under, using, with_grant,
};
use std::{path::Path, sync::Arc};
use tollgate::{
    evidence,
    model::{ApprovalStatus, Event, EventType},
    redaction::DataRules,
    store::{
        Admission, EventQuery, GrantEndReason, Store, StoreError,
        embedded::{Accepted, EmbeddedStore},
        postgres,
    },
};

/// A person's acceptance on the machine of a folder.
fn accept(database: &Database, folder: &Path) -> Result<Option<Accepted>, StoreError> {
    let said = |problem: &str, places| {
        let reason = DataRules::built_in().said("no backup", 100);
        evidence::damage_accepted(later(start(), 5_000), Some("carol"), &reason, problem, places)
    };
    std::fs::create_dir_all(folder).unwrap();
    postgres::accept(&database.url.clone().into(), &copy_of(folder), folder, &said)
}

/// Where a copy that was set aside is kept.
fn kept(folder: &Path) -> std::path::PathBuf {
    folder.join("replica.before-1")
}

async fn acceptances(store: &dyn Store) -> Vec<Event> {
    let query = EventQuery { event_type: Some(EventType::AdminAction), ..EventQuery::default() };
    let found = store.events(query).await.unwrap();
    found.into_iter().filter(|event| event.draft.action.as_deref() == Some("damage_accepted")).collect()
}

async fn calls_counted(store: &dyn Store) -> u64 {
    store.budget_usage(later(start(), 100)).await.unwrap().iter().map(|usage| usage.calls).sum()
}

/// What verification of a copy says where nothing but what was accepted is wrong.
async fn verified_but_for_what_was_accepted(store: &dyn Store) {
    let bad = store.verify().await.unwrap().bad.unwrap();
    assert!(bad.problem.contains("as a person accepted"), "{}", bad.problem);
}

fn refused(opened: Result<Arc<EmbeddedStore>, StoreError>) -> String {
    let refused = opened.map(drop).unwrap_err().to_string();
    assert!(refused.contains("tollgate store accept --reason"), "{refused}");
    refused
}

/// Two replicas both know records that the database lost: an acceptance on one is one for both. No approval and no grant of before
/// can be used, what was spent stays spent, the record says what is lost, and what was known is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_database_lost_is_accepted_once_for_all_who_knew_it() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let folders = ["a", "b", "c"].map(|name| dir.path().join(name));
    let [one, other, late] = folders.each_ref();
    let stores = [database.try_open(one).unwrap(), database.try_open(other).unwrap()];
    stores[0].seal_after(20).await.unwrap();
    assert_eq!(call(&*stores[0], 1, 100).await, Admission::Granted);
    let (usable, granted) = (approved(&*stores[0], "usable").await, with_grant(&*stores[0], 5).await);
    let back = server().back_to_now(&database);
    let after = verified(&*stores[0]).await;
    // What is lost: uses of both, calls over more than one segment, and an approval that nobody else knows.
    assert_eq!(stores[0].admit(using(&usable, start())).await.unwrap(), Admission::Granted);
    grant(&*stores[1], under(&granted, start())).await;
    for at in 2..30 {
        call(&*stores[usize::try_from(at % 2).unwrap()], at, 100).await;
    }
    let unknown = approved(&*stores[1], "unknown").await;
    let last = verified(&*stores[0]).await;
    assert_eq!(verified(&*stores[1]).await, last);
    server().sql(&database.name, &back);
    for store in &stores {
        let refused = store.admit(using(&usable, start())).await.unwrap_err().to_string();
        assert!(refused.contains("does not go on from record"), "{refused}");
    }
    // Not while anybody lives on it.
    let alive = accept(&database, one).unwrap_err().to_string();
    assert!(alive.contains("lives on it"), "{alive}");
    for store in stores {
        store.close().await;
    }
    refused(database.try_open(one));

    let accepted = accept(&database, one).unwrap().unwrap();
    assert!(accepted.problem.contains(&format!("record {last} with the hash")), "{}", accepted.problem);
    assert_eq!(accepted.kept, Some(kept(one)));
    assert_eq!(accept(&database, one).unwrap(), None, "there is nothing more");
    let stores = folders.each_ref().map(|folder| database.try_open(folder).unwrap());
    assert!(kept(other).exists() && !kept(late).exists());
    for store in &stores {
        assert_eq!(
            store.approval(usable.id.clone()).await.unwrap().unwrap().status,
            ApprovalStatus::Cancelled
        );
        assert_eq!(store.approval(unknown.id.clone()).await.unwrap(), None);
        for gone in [using(&usable, start()), using(&unknown, start()), under(&granted, start())] {
            let used = store.admit(gone).await;
            assert!(!matches!(used, Ok(Admission::Granted | Admission::GrantedUpTo(_))), "{used:?}");
        }
        let ended = store.grant(granted.id.clone()).await.unwrap().unwrap().ended.unwrap();
        assert_eq!(ended.why, GrantEndReason::Lost);
        assert_eq!(calls_counted(&**store).await, 29, "what was spent stays spent");
        verified_but_for_what_was_accepted(&**store).await;
    }
    let [said] = <[Event; 1]>::try_from(acceptances(&*stores[2]).await).unwrap();
    let detail = said.draft.detail.unwrap();
    assert_eq!(
        (detail["person"].as_str(), detail["places"][0]["after"].as_u64()),
        (Some("carol"), Some(after))
    );
    assert_eq!(detail["places"][0]["known"]["seq"].as_u64(), Some(last));
    assert!(said.seq > i64::try_from(last).unwrap(), "no number is given twice");
    // It goes on, on all of them.
    for store in &stores {
        assert_eq!(call(&**store, 50, 100).await, Admission::Granted);
    }
    assert_eq!(calls_counted(&*stores[0]).await, 32);
    for store in stores {
        store.close().await;
    }
    let (first, second) = (frames_of(one), frames_of(other));
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|((seq, here), (other, there))| seq == other && there.starts_with(here))
    );
    // What each knew is read as a store of one machine.
    for folder in [one, other] {
        let known = open(&kept(folder));
        assert_eq!(calls_counted(&*known).await, 29);
        assert_eq!(
            known.approval(usable.id.clone()).await.unwrap().unwrap().status,
            ApprovalStatus::Consumed
        );
    }
}

/// A replica that knew more than the one on which a loss was accepted does not go on by itself: it takes an acceptance of its own, which
/// the first one then follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_knew_more_takes_an_acceptance_of_its_own() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let [one, other, late] = ["a", "b", "c"].map(|name| dir.path().join(name));
    let stores = [database.try_open(&one).unwrap(), database.try_open(&other).unwrap()];
    let usable = approved(&*stores[1], "usable").await;
    let back = server().back_to_now(&database);
    assert_eq!(call(&*stores[0], 2, 100).await, Admission::Granted);
    stores[0].close().await;
    for at in 3..6 {
        assert_eq!(call(&*stores[1], at, 100).await, Admission::Granted);
    }
    stores[1].close().await;
    server().sql(&database.name, &back);
    assert!(accept(&database, &one).unwrap().is_some());
    refused(database.try_open(&other));
    assert!(!kept(&other).exists());
    assert!(accept(&database, &other).unwrap().is_some());
    for folder in [&one, &other, &late] {
        let store = database.try_open(folder).unwrap();
        assert_eq!(acceptances(&*store).await.len(), 2);
        assert_eq!(calls_counted(&*store).await, 4, "what the one that knew more had counted counts on");
        assert_eq!(
            store.approval(usable.id.clone()).await.unwrap().unwrap().status,
            ApprovalStatus::Cancelled
        );
        verified_but_for_what_was_accepted(&*store).await;
        store.close().await;
    }
}

/// A database that has gone on with other records in place of those that it lost goes on with them, and so does whoever made them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_on_otherwise_goes_on_with_what_it_has() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let [one, other] = ["a", "b"].map(|name| dir.path().join(name));
    let store = database.try_open(&one).unwrap();
    assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
    let back = server().back_to_now(&database);
    assert_eq!(call(&*store, 2, 100).await, Admission::Granted);
    store.close().await;
    server().sql(&database.name, &back);
    let fresh = database.try_open(&other).unwrap();
    for at in 3..8 {
        assert_eq!(call(&*fresh, at, 100).await, Admission::Granted);
    }
    fresh.close().await;
    refused(database.try_open(&one));
    assert!(accept(&database, &one).unwrap().is_some());
    for folder in [&one, &other] {
        let store = database.try_open(folder).unwrap();
        assert_eq!(calls_counted(&*store).await, 6);
        assert_eq!(acceptances(&*store).await.len(), 1);
        // No number is missing in what the database has.
        verified(&*store).await;
        store.close().await;
    }
    assert!(kept(&one).exists() && !kept(&other).exists());
}

/// A frame that is edited, or missing, in the database is copied by nobody until a person says so; then new replicas copy what can
/// be read, and those whose copies are whole go on with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_database_is_accepted_like_any_other() {
    if !is_there() {
        return;
    }
    let middle = "(SELECT at FROM tollgate.frames ORDER BY at OFFSET 5 LIMIT 1)";
    for damage in [
        format!(
            "UPDATE tollgate.frames SET body = set_byte(body, 150, get_byte(body, 150) # 1) WHERE at = {middle}"
        ),
        format!("DELETE FROM tollgate.frames WHERE at = {middle}"),
        "DELETE FROM tollgate.frames WHERE at = (SELECT max(at) FROM tollgate.frames)".to_owned(),
    ] {
        let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
        let [one, fresh] = ["a", "b"].map(|name| dir.path().join(name));
        let store = database.try_open(&one).unwrap();
        let usable = approved(&*store, "usable").await;
        for at in 0..10 {
            assert_eq!(call(&*store, at, 100).await, Admission::Granted);
        }
        store.close().await;
        server().sql(&database.name, &damage);
        refused(database.try_open(&fresh));
        // On a machine that has no copy of its own of what is missing.
        assert!(accept(&database, &fresh).unwrap().is_some(), "{damage}");
        let store = database.try_open(&fresh).unwrap();
        assert_eq!(acceptances(&*store).await.len(), 1);
        let found = store.approval(usable.id.clone()).await.unwrap();
        assert!(found.is_none_or(|record| record.status == ApprovalStatus::Cancelled), "{damage}");
        // No record was in the last: it said that its process had ended.
        let is_named = store.verify().await.unwrap().bad.is_some();
        assert!(is_named || damage.contains("max"), "{damage}: it keeps being named");
        assert_eq!(call(&*store, 50, 100).await, Admission::Granted);
        store.close().await;
        match database.try_open(&one) {
            Ok(store) => {
                assert_eq!(call(&*store, 51, 100).await, Admission::Granted);
                store.close().await;
            }
            // Where the last is missing, the copy has what the acceptance did not know.
            Err(error) => {
                refused(Err(error));
                assert!(accept(&database, &one).unwrap().is_some(), "{damage}");
                let store = database.try_open(&one).unwrap();
                assert_eq!(calls_counted(&*store).await, 11, "{damage}");
                store.close().await;
            }
        }
    }
}

/// Nothing is accepted where nothing is wrong, and where the database does not answer it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_accepted_of_a_database_that_is_whole_or_away() {
    if !is_there() {
        return;
    }
    let mut own = Server::start();
    let (dir, database) = (tempfile::tempdir().unwrap(), own.database());
    let folder = dir.path().join("a");
    assert_eq!(accept(&database, &folder).unwrap(), None);
    let store = database.try_open(&folder).unwrap();
    call(&*store, 1, 100).await;
    let usable = approved(&*store, "usable").await;
    store.close().await;
    for folder in [&folder, &dir.path().join("b")] {
        assert_eq!(accept(&database, folder).unwrap(), None);
        assert!(!kept(folder).exists());
    }
    let store = database.try_open(&folder).unwrap();
    assert_eq!(store.admit(using(&usable, start())).await.unwrap(), Admission::Granted);
    verified(&*store).await;
    store.close().await;
    own.stop("INT");
    assert!(accept(&database, &folder).unwrap_err().to_string().contains("PostgreSQL at "));
}

/// A replica that was away while retention removed what its copy ends with copies anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_while_its_records_were_removed_copies_anew() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let [one, other] = ["a", "b"].map(|name| dir.path().join(name));
    let stores = [database.try_open(&one).unwrap(), database.try_open(&other).unwrap()];
    stores[0].seal_after(50).await.unwrap();
    call(&*stores[1], 0, 100_000).await;
    stores[1].close().await;
    crate::retention::calls_on(&stores[0], 0).await;
    crate::retention::calls_on(&stores[0], 40).await;
    let removed = stores[0]
        .retire(later(start(), 20 * crate::retention::DAY), later(start(), 41 * crate::retention::DAY));
    assert!(removed.await.unwrap() > 0);
    let store = database.try_open(&other).unwrap();
    assert_eq!(verified(&*store).await, verified(&*stores[0]).await);
    assert_eq!(frames_of(&other)[0].0, frames_of(&one)[0].0);
    call(&*store, 41 * crate::retention::DAY, 100_000).await;
}
