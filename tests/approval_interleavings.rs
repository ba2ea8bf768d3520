//! Answers, expiry and use of one approval in any order and at once, from two processes on one database: there is exactly
//! one outcome, and the records explain it (R22, R29, R30, I4).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test file")]

mod store;

use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use store::*;
use tollgate::{
    approval::{ApprovalResponse, Approvals, DecideError},
    clock::Fake,
    model::{ApprovalStatus, EventDecision, EventDraft, EventType},
    policy::{Approver, ChannelKind, CompileInput, KnownNames, PolicySet, SourceFile, compile},
    store::{Admission, AdmitRequest, ApprovalRecord, AskLimits, Asked, EventQuery, Store},
};

const PEOPLE: [&str; 4] = ["ann", "ben", "cat", "outsider"];

#[derive(Clone, Debug)]
enum Op {
    Answer { person: usize, approve: bool, evidence: bool },
    Use,
    Expire,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..PEOPLE.len(), prop::bool::weighted(0.85), prop::bool::weighted(0.8))
            .prop_map(|(person, approve, evidence)| Op::Answer { person, approve, evidence }),
        3 => Just(Op::Use),
        1 => Just(Op::Expire),
    ]
}

/// What happens at once, and how much time passes after it.
fn batches() -> impl Strategy<Value = Vec<(Vec<Op>, u64)>> {
    let minutes = prop_oneof![6 => Just(0_u64), 2 => Just(4), 1 => Just(16)];
    prop::collection::vec((prop::collection::vec(op(), 1..5), minutes), 1..6)
}

fn policies() -> PolicySet {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let files = [
        file("bundle.yaml", "version: '1'\nowner: tests\n"),
        file(
            "authority.yaml",
            "people:\n  ann: { groups: [leads], roles: [approver] }\n  ben: { groups: [leads], roles: [approver] }\n  \
             cat: { groups: [leads], roles: [approver] }\n  outsider: { groups: [], roles: [approver] }\n",
        ),
    ];
    let input = CompileInput {
        environment: "test".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(&files, &input);
    set.unwrap_or_else(|| panic!("{problems}"))
}

fn record(quorum: u32, evidence: bool) -> ApprovalRecord {
    let mut record = pending("d", start());
    record.binding.snapshot = policies().snapshot;
    for requirement in &mut record.requirements {
        requirement.approvers = vec![Approver::Group("leads".into())];
        requirement.quorum = quorum;
        requirement.channels = ChannelKind::ALL.to_vec();
        requirement.evidence_required = evidence;
    }
    record
}

#[derive(Debug, Default)]
struct Told {
    approved: usize,
    rejected: usize,
    granted: usize,
}

async fn play(
    op: Op,
    store: Arc<dyn Store>,
    clock: Arc<Fake>,
    policies: Arc<PolicySet>,
    record: ApprovalRecord,
) -> Told {
    let approvals = Approvals::new(store.clone(), clock.clone());
    let mut told = Told::default();
    match op {
        Op::Answer { person, approve, evidence } => {
            let answer = ApprovalResponse {
                approve,
                comment: None,
                evidence: evidence.then(|| "T-1".to_owned()),
                grant: None,
            };
            let person = PEOPLE[person].into();
            match approvals.decide(&policies, &person, &record.id, ChannelKind::Api, answer).await {
                Ok(now) => match now.status {
                    ApprovalStatus::Approved => told.approved += 1,
                    ApprovalStatus::Rejected => told.rejected += 1,
                    ApprovalStatus::Pending => {}
                    other => panic!("an answer made it {other}"),
                },
                Err(DecideError::Store(error)) => panic!("{error}"),
                Err(_) => {}
            }
        }
        Op::Use => {
            let now = tollgate::clock::Clock::now(&*clock);
            let approval = Some((record.id.clone(), record.binding.clone()));
            let mut request = AdmitRequest { approval, ..request("planner-01", now) };
            request.event.decision = Some(EventDecision::Approved);
            request.event.approval_id = Some(record.id.clone());
            if store.admit(request).await.unwrap() == Admission::Granted {
                told.granted += 1;
            }
        }
        Op::Expire => approvals.expire_all_due().await.unwrap(),
    }
    told
}

async fn run(batches: Vec<(Vec<Op>, u64)>, quorum: u32, evidence: bool) {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Store>; 2] = [open(dir.path()), open(dir.path())];
    let clock = Fake::at(start());
    let policies = Arc::new(policies());
    let asked = stores[0].ask(record(quorum, evidence), vec![requested()], AskLimits::NONE).await.unwrap();
    let Asked::Made(made) = asked else { panic!("{asked:?}") };
    let mut told = Told::default();
    let mut nth = 0;
    for (ops, minutes) in batches {
        let tasks: Vec<_> = ops
            .into_iter()
            .map(|op| {
                nth += 1;
                let store = stores[nth % 2].clone();
                tokio::spawn(play(op, store, clock.clone(), policies.clone(), made.clone()))
            })
            .collect();
        for task in tasks {
            let one = task.await.unwrap();
            told.approved += one.approved;
            told.rejected += one.rejected;
            told.granted += one.granted;
        }
        clock.advance(Duration::from_secs(60 * minutes));
    }
    explained(&*stores[1], &made, &told, quorum, evidence).await;
}

fn requested() -> EventDraft {
    EventDraft::system(EventType::ApprovalRequested, start())
}

/// The record as it is in the end, against its answers, its events, and what everybody was told.
async fn explained(store: &dyn Store, made: &ApprovalRecord, told: &Told, quorum: u32, evidence: bool) {
    let now = store.approval(made.id.clone()).await.unwrap().unwrap();
    let events = store
        .events(EventQuery { approval_id: Some(made.id.clone()), ..EventQuery::default() })
        .await
        .unwrap();
    let count = |kind: EventType| events.iter().filter(|event| event.draft.event_type == kind).count();
    let used = events.iter().filter(|event| {
        event.draft.event_type == EventType::AgentDecision
            && event.draft.decision == Some(EventDecision::Approved)
    });
    let used = used.count();
    assert_eq!(count(EventType::ApprovalDecided), now.answers.len(), "{now:?}");
    assert_eq!(used, told.granted, "{now:?}");
    assert!(told.approved + told.rejected <= 1 && told.granted <= 1, "{told:?} {now:?}");
    let yes: BTreeSet<_> = now.answers.iter().filter(|a| a.approve).map(|a| a.person.to_string()).collect();
    assert_eq!(yes.len(), now.answers.iter().filter(|a| a.approve).count(), "nobody counts twice: {now:?}");
    assert!(!yes.contains("outsider"));
    assert!(!evidence || now.answers.iter().all(|a| !a.approve || a.evidence.is_some()), "{now:?}");
    let met = yes.len() >= quorum as usize;
    let refused = now.answers.iter().filter(|a| !a.approve).count();
    let expired = count(EventType::ApprovalExpired);
    let facts = (met, refused, told.granted, expired);
    match now.status {
        ApprovalStatus::Pending => assert_eq!(facts, (false, 0, 0, 0), "{now:?}"),
        ApprovalStatus::Approved => assert_eq!(facts, (true, 0, 0, 0), "{now:?}"),
        ApprovalStatus::Consumed => assert_eq!(facts, (true, 0, 1, 0), "{now:?}"),
        ApprovalStatus::Rejected => assert_eq!((met, told.granted, expired), (false, 0, 0), "{now:?}"),
        ApprovalStatus::Expired => assert_eq!((refused, told.granted, expired), (0, 0, 1), "{now:?}"),
        ApprovalStatus::Cancelled => panic!("{now:?}"),
    }
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// Each end is met, so that what the property says is said of something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_outcome_is_met() {
    let answer = |person, approve| Op::Answer { person, approve, evidence: true };
    let policies = Arc::new(policies());
    for (ops, minutes, expected) in [
        (vec![answer(0, true)], 0, ApprovalStatus::Pending),
        (vec![answer(0, true), answer(1, true)], 0, ApprovalStatus::Approved),
        (vec![answer(0, true), answer(1, true), Op::Use, Op::Use], 0, ApprovalStatus::Consumed),
        (vec![answer(0, true), answer(1, false), answer(2, true)], 0, ApprovalStatus::Rejected),
        (vec![answer(0, true), answer(3, true), Op::Expire], 16, ApprovalStatus::Expired),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = open(dir.path());
        let clock = Fake::at(start());
        let asked = store.ask(record(2, true), vec![requested()], AskLimits::NONE).await.unwrap();
        let Asked::Made(made) = asked else { panic!("{asked:?}") };
        let mut told = Told::default();
        for op in ops {
            if matches!(op, Op::Expire) {
                clock.advance(Duration::from_secs(60 * minutes));
            }
            let one = play(op, store.clone(), clock.clone(), policies.clone(), made.clone()).await;
            told.approved += one.approved;
            told.rejected += one.rejected;
            told.granted += one.granted;
        }
        assert_eq!(store.approval(made.id.clone()).await.unwrap().unwrap().status, expected);
        explained(&*store, &made, &told, 2, true).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn there_is_one_outcome(batches in batches(), quorum in 1..4_u32, evidence in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(batches, quorum, evidence));
    }
}
