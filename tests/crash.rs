//! A process is killed at any moment, and what it was told stands: no grant is lost, no call stays open for
//! ever, no counter differs from the record, and the chain is whole (I1, I9, I10).

mod store;

use std::collections::HashSet;
use store::*;
use tollgate::{
    cost::BudgetWindow,
    decision::BudgetLimit,
    model::{EventType, Outcome},
    store::{Admission, AdmitRequest, EventQuery, Store as _},
};

/// Plays a process that admits and settles until it is killed, telling what it was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_works() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0.. {
                    let limits = [
                        BudgetLimit { max_tokens: Some(u64::MAX), ..budget("ever", BudgetWindow::Ever) },
                        budget("minute", BudgetWindow::Minute),
                    ];
                    let request = AdmitRequest {
                        tokens: 10,
                        budgets: limits.to_vec(),
                        max_repeats: Some(3),
                        ..request("a", start())
                    };
                    let id = request.event.call_id.clone().unwrap();
                    assert_eq!(store.admit(request.clone()).await.unwrap(), Admission::Granted);
                    say(&format!("granted {id}"));
                    if (task + round) % 3 != 0 {
                        store.settle(settlement(&request, Some(7), None)).await.unwrap();
                        say(&format!("settled {id}"));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_killed_process_was_told_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (mut granted, mut settled) = (HashSet::new(), HashSet::new());
    for round in 0..6 {
        let mut peer = Peer::spawn("peer_that_works", dir.path());
        for _ in 0..(7 + 13 * round) {
            let said = peer.says().unwrap();
            match said.split_once(' ').unwrap() {
                ("granted", id) => granted.insert(id.to_owned()),
                ("settled", id) => settled.insert(id.to_owned()),
                other => panic!("{other:?}"),
            };
        }
        peer.kill();

        let store = open(dir.path());
        store.settle_dead_owners(later(start(), 1_000)).await.unwrap();
        assert_eq!(store.verify().await.unwrap().bad, None);
        let of = async |kind| {
            let query = EventQuery { event_type: Some(kind), ..EventQuery::default() };
            store.events(query).await.unwrap()
        };
        let decisions = of(EventType::AgentDecision).await;
        let effects = of(EventType::AgentSideEffect).await;
        let ids = |events: &[tollgate::model::Event], unknown: bool| -> HashSet<String> {
            let of_kind = events.iter().filter(|e| unknown || e.draft.outcome != Some(Outcome::Unknown));
            of_kind.map(|e| e.draft.call_id.as_ref().unwrap().to_string()).collect()
        };
        assert!(granted.is_subset(&ids(&decisions, true)), "a grant was lost");
        assert!(settled.is_subset(&ids(&effects, false)), "a settlement was lost");
        assert_eq!(ids(&decisions, true), ids(&effects, true), "every call has an end");
        assert_eq!(decisions.len(), effects.len(), "and only one");
        let known = ids(&effects, false).len() as u64;
        let all = decisions.len() as u64;
        for usage in store.budget_usage(start()).await.unwrap() {
            let seen = (usage.calls, usage.tokens);
            assert_eq!(seen, (all, 7 * known + 10 * (all - known)), "{}", usage.id);
        }
        store.close().await;
    }
}
