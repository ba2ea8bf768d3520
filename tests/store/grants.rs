//! Standing grants in the embedded store's files: killed in the middle, edited, retired, and of before there were any.

use crate::{approved, grant, store::*, under, using, with_grant};
use std::sync::Arc;
use tollgate::{
    model::EventType,
    store::{
        Admission, EventQuery, GrantEndReason, GrantFilter, StandingGrant, Store, StoreError,
        embedded::EmbeddedStore,
    },
};

fn projection(dir: &std::path::Path) -> rusqlite::Connection {
    rusqlite::Connection::open(database(dir)).unwrap()
}

/// R87, I9: an edit of the index gives no use back, and verification names the row.
#[tokio::test]
async fn an_edited_row_of_a_grant_is_seen() {
    let edits = [
        "UPDATE grants SET version = 1, newest_seq = whole_seq, newest_segment = whole_segment, newest_offset = whole_offset, live = 1",
        "UPDATE grants SET live = 1",
        "UPDATE grants SET version = version - 1",
        "UPDATE grants SET newest_offset = newest_offset - 1",
        "UPDATE grants SET agent = 'another'",
        "DELETE FROM grants",
    ];
    for edit in edits {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let granted = with_grant(&*store, 1).await;
        grant(&*store, under(&granted, start())).await;
        assert_eq!(store.verify().await.unwrap().bad, None);
        assert!(projection(dir.path()).execute(edit, []).unwrap() > 0, "{edit}");
        let used = store.admit(under(&granted, start())).await;
        let refused = match &used {
            Ok(Admission::ApprovalUnusable(reason)) => reason.contains("used up"),
            Err(StoreError::Damaged(problem)) => {
                problem.contains("somebody edited it") || problem.contains("no record is there")
            }
            Ok(_) | Err(_) => false,
        };
        assert!(refused, "{edit}: {used:?}");
        let bad = store.verify().await.unwrap().bad.unwrap();
        assert!(bad.problem.contains("grants"), "{edit}: {bad:?}");
        // A start takes the record.
        store.close().await;
        drop(store);
        let again = open(dir.path());
        let known = again.grant(granted.id.clone()).await.unwrap().unwrap();
        assert_eq!((known.used, known.ended.unwrap().why), (1, GrantEndReason::UsedUp), "{edit}");
        let edited = EventQuery { event_type: Some(EventType::AdminAction), ..EventQuery::default() };
        assert!(!again.events(edited).await.unwrap().is_empty(), "{edit}: it is told");
        assert_eq!(again.verify().await.unwrap().bad, None);
    }
}

/// A projection of before there were grants goes on; what was counted in it is not lost.
#[tokio::test]
async fn a_store_of_before_grants_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let record = approved(&*store, "d").await;
    store.close().await;
    drop(store);
    projection(dir.path()).execute_batch("DROP TABLE grants; PRAGMA user_version = 5;").unwrap();
    let store = open(dir.path());
    assert_eq!(store.approval(record.id.clone()).await.unwrap().unwrap(), record);
    grant(&*store, using(&record, start())).await;
    let granted = with_grant(&*store, 2).await;
    grant(&*store, under(&granted, start())).await;
    assert_eq!(open(dir.path()).grant(granted.id).await.unwrap().unwrap().uses_left(), 1);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// Never more than granted, wherever a process is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_and_gives_back_no_use() {
    const USES: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let granted = with_grant(&*open(dir.path()), USES).await;
    let mut said = 0;
    for _ in 0..6 {
        let mut peer = Peer::spawn("grants::uses_a_grant_until_it_is_killed", dir.path());
        for _ in 0..20 {
            if peer.says().is_none() {
                break;
            }
            said += 1;
        }
        peer.kill();
    }
    let store = open(dir.path());
    let known = store.grant(granted.id.clone()).await.unwrap().unwrap();
    assert!(known.used >= said && said > 0, "{} uses are known of {said} that were answered", known.used);
    let decisions = EventQuery {
        event_type: Some(EventType::AgentDecision),
        grant_id: Some(granted.id.clone()),
        ..EventQuery::default()
    };
    assert_eq!(store.events(decisions).await.unwrap().len() as u64, known.used);
    for _ in 0..known.uses_left() {
        grant(&*store, under(&granted, start())).await;
    }
    assert!(matches!(store.admit(under(&granted, start())).await.unwrap(), Admission::ApprovalUnusable(_)));
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// Plays the process that is killed.
#[tokio::test]
async fn uses_a_grant_until_it_is_killed() {
    let Some(dir) = peer_dir() else { return };
    let store: Arc<EmbeddedStore> = open(&dir);
    let granted: StandingGrant = store.grants(GrantFilter::default()).await.unwrap().remove(0);
    while store.admit(under(&granted, start())).await.unwrap() == Admission::Granted {
        say("used");
    }
}
