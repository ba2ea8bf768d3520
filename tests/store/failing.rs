//! A copy whose origin fails in the middle of what it does: nothing that was granted is taken back, nothing that was not is left,
//! and what ended meanwhile counts (I1, I4, I9).

use crate::{
    origin::{Fate, InMemory, Shared},
    replicas::until,
    store::{
        database::{is_there, server},
        *,
    },
};
use std::sync::Arc;
use tollgate::{
    cost::BudgetWindow,
    decision::BudgetLimit,
    model::{Event, EventType, Outcome},
    store::{
        Admission, AdmitRequest, AskLimits, EventQuery, Register, RegisterChange, Store, StoreError,
        embedded::EmbeddedStore,
    },
};

fn capped(now: i64, budget: BudgetLimit) -> AdmitRequest {
    AdmitRequest { budgets: vec![budget], tokens: 10, ..request("planner-01", later(start(), now)) }
}

fn cap() -> BudgetLimit {
    calls("cap", BudgetWindow::Ever, 100)
}

async fn ended(store: &dyn Store, request: &AdmitRequest) -> Vec<Event> {
    let query = EventQuery {
        call_id: request.event.call_id.clone(),
        event_type: Some(EventType::AgentSideEffect),
        ..EventQuery::default()
    };
    store.events(query).await.unwrap()
}

async fn counted(store: &dyn Store) -> u64 {
    store.budget_usage(later(start(), 1_000)).await.unwrap().iter().map(|usage| usage.calls).sum()
}

/// Has the writer busy with a group, so that whatever is asked of it meanwhile goes with the next one.
async fn busy(store: &Arc<EmbeddedStore>, origin: &InMemory) -> tokio::task::JoinHandle<()> {
    origin.shut(true);
    let mut arrived = origin.arrived.subscribe();
    let before = *arrived.borrow();
    let store = store.clone();
    let event = tollgate::model::EventDraft::system(EventType::AdminAction, start());
    let work = tokio::spawn(async move { store.record(vec![event]).await.unwrap() });
    arrived.wait_for(|count| *count > before).await.unwrap();
    work
}

/// A group that one operation spoils is run again one by one: a call that is granted then is open until it ends, and its end is
/// recorded as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_spoiled_group_ends_as_it_did() {
    let (store, origin) = Shared::new().process();
    let work = busy(&store, &origin).await;
    let call = capped(1, cap());
    let granted = store.admit(call.clone());
    let unknown = store.settle(settlement(&request("planner-01", start()), None, None));
    origin.shut(false);
    work.await.unwrap();
    assert!(matches!(unknown.await, Err(StoreError::NoSuchCall(_))));
    assert_eq!(granted.await.unwrap(), Admission::Granted);
    // Its call is on its way while others go on.
    for at in 2..4 {
        assert_eq!(store.admit(capped(at, cap())).await.unwrap(), Admission::Granted);
    }
    assert_eq!(ended(&*store, &call).await, Vec::new());
    store.settle(settlement(&call, Some(7), Some(3))).await.unwrap();
    let ended = ended(&*store, &call).await;
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (ended[0].draft.outcome, &ended[0].draft.reason),
        (Some(Outcome::Succeeded), &call.event.reason)
    );
    assert_eq!(counted(&*store).await, 3);
}

/// While appends fail, admissions are refused and leave nothing that is tried again, whether it is known that nothing is there or
/// not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_fail_leave_nothing() {
    for fate in [Fate::Refused, Fate::Lost] {
        let (store, origin) = Shared::new().process();
        let open = capped(1, cap());
        assert_eq!(store.admit(open.clone()).await.unwrap(), Admission::Granted);
        origin.fail(fate, 10_000);
        for at in 0..30 {
            let group = (0..8).map(|n| store.admit(capped(at * 10 + n, cap())));
            let group: Vec<_> = group.collect();
            for refused in futures::future::join_all(group).await {
                assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
            }
            assert_eq!(store.unsettled(), 0, "{fate:?}");
        }
        origin.mend();
        store.settle(settlement(&open, Some(1), Some(1))).await.unwrap();
        assert_eq!(store.admit(capped(900, cap())).await.unwrap(), Admission::Granted);
        assert_eq!((store.unsettled(), counted(&*store).await), (0, 2), "{fate:?}");
        let all = EventQuery { event_type: Some(EventType::AgentSideEffect), ..EventQuery::default() };
        assert_eq!(store.events(all).await.unwrap().len(), 1, "{fate:?}");
    }
}

/// The same where PostgreSQL lets itself be held and takes no frame, as one whose disk is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_room_leaves_nothing() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let store = database.replica(dir.path());
    let open = capped(1, cap());
    assert_eq!(store.admit(open.clone()).await.unwrap(), Admission::Granted);
    // In the order in which a group locks them.
    let first = "LOCK TABLE tollgate.head";
    let full = "CREATE FUNCTION tollgate.no_room() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER no_room BEFORE INSERT ON tollgate.frames FOR EACH ROW EXECUTE FUNCTION tollgate.no_room()";
    server().sql(&database.name, &format!("{first}; {full}"));
    for at in 0..10 {
        let group: Vec<_> = (0..8).map(|n| store.admit(capped(at * 10 + n, cap()))).collect();
        for refused in futures::future::join_all(group).await {
            assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
        }
        assert_eq!(store.unsettled(), 0);
    }
    let settled = store.settle(settlement(&open, Some(7), Some(1)));
    server().sql(&database.name, &format!("{first}; DROP TRIGGER no_room ON tollgate.frames"));
    settled.await.unwrap();
    assert_eq!((store.unsettled(), counted(&*store).await), (0, 1));
    let all = EventQuery { event_type: Some(EventType::AgentSideEffect), ..EventQuery::default() };
    assert_eq!(store.events(all).await.unwrap().len(), 1);
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// What is there although nobody heard of it is taken back once and costs nothing, as soon as it is looked for news; whoever comes
/// with the same call again is not taken for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_heard_of_is_taken_back() {
    let shared = Shared::new();
    let ((store, origin), (other, _)) = (shared.process(), shared.process());
    let (unheard, lost) = (capped(1, cap()), capped(2, cap()));
    origin.fail(Fate::Unheard, 1);
    assert!(store.admit(unheard.clone()).await.is_err());
    assert_eq!(counted(&*other).await, 1);
    origin.look();
    until("it is taken back", || async { !ended(&*other, &unheard).await.is_empty() }).await;
    origin.fail(Fate::Lost, 1);
    assert!(store.admit(lost.clone()).await.is_err());
    // A call of another process stands where that one would have stood.
    let elsewhere = capped(3, cap());
    assert_eq!(other.admit(elsewhere.clone()).await.unwrap(), Admission::Granted);
    assert_eq!(store.admit(lost.clone()).await.unwrap(), Admission::Granted);
    for (store, call) in [(&store, &lost), (&other, &elsewhere)] {
        store.settle(settlement(call, Some(1), Some(1))).await.unwrap();
    }
    for (call, outcome) in
        [(&unheard, Outcome::Failed), (&lost, Outcome::Succeeded), (&elsewhere, Outcome::Succeeded)]
    {
        let ended = ended(&*store, call).await;
        assert_eq!(ended.len(), 1, "{ended:#?}");
        assert_eq!(ended[0].draft.outcome, Some(outcome));
    }
    // A call that was taken back counts as one, and took nothing.
    let usage = store.budget_usage(later(start(), 1_000)).await.unwrap().remove(0);
    assert_eq!((usage.calls, usage.tokens, usage.reserved.calls), (3, 2, 0));
    assert_eq!(store.unsettled(), 0);
}

/// A settlement that is tried again is what it would have been at first: it is found by what is remembered of its call, and the
/// budget that it overshoots alerts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_is_tried_again_alerts() {
    for fate in [Fate::Refused, Fate::Lost, Fate::Unheard] {
        let (store, origin) = Shared::new().process();
        let budget = BudgetLimit {
            max_tokens: Some(100),
            alert_at: [80].into(),
            ..budget("tokens", BudgetWindow::Ever)
        };
        let call = capped(1, budget);
        assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
        origin.fail(fate, 1);
        store.settle(settlement(&call, Some(90), Some(1))).await.unwrap();
        assert_eq!(ended(&*store, &call).await.len(), 1, "{fate:?}");
        let alerts = EventQuery { event_type: Some(EventType::Alert), ..EventQuery::default() };
        assert_eq!(store.events(alerts).await.unwrap().len(), 1, "{fate:?}");
    }
}

/// What other processes changed while a group of this one failed wakes those who wait for it here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_over_a_failure_wakes() {
    let shared = Shared::new();
    let ((store, origin), (other, _)) = (shared.process(), shared.process());
    assert_eq!(store.admit(capped(1, cap())).await.unwrap(), Admission::Granted);
    let (mut registers, mut approvals) = (store.register_changes(), store.approval_changes());
    origin.fail(Fate::Refused, 1);
    assert!(store.admit(capped(2, cap())).await.is_err());
    registers.mark_unchanged();
    approvals.mark_unchanged();
    let frozen = RegisterChange::set(Register::Freeze, "k", serde_json::json!({"n": 1}));
    assert!(other.set(vec![frozen], Vec::new()).await.unwrap());
    other.ask(pending("digest", start()), Vec::new(), AskLimits::NONE).await.unwrap();
    // The group that takes it in is told of here once it is answered.
    assert_eq!(store.register(Register::Freeze).await.unwrap().len(), 1);
    assert!(registers.has_changed().unwrap());
    assert!(approvals.has_changed().unwrap());
    // And where nothing came, nobody is woken.
    origin.fail(Fate::Refused, 1);
    assert!(store.admit(capped(3, cap())).await.is_err());
    registers.mark_unchanged();
    assert_eq!(store.register(Register::Freeze).await.unwrap().len(), 1);
    assert!(!registers.has_changed().unwrap());
}

/// Whoever edits a frame at the origin stops this process until it is put back; what ended meanwhile is settled then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settlements_wait_for_damage_to_be_put_back() {
    let shared = Shared::new();
    let ((store, _), (other, _)) = (shared.process(), shared.process());
    let call = capped(1, cap());
    assert_eq!(store.admit(call.clone()).await.unwrap(), Admission::Granted);
    assert_eq!(other.admit(capped(2, cap())).await.unwrap(), Admission::Granted);
    shared.edit(true);
    let settled = store.settle(settlement(&call, Some(7), Some(3)));
    let refused = store.admit(capped(3, cap())).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    assert_eq!(store.unsettled(), 1);
    shared.edit(false);
    settled.await.unwrap();
    let ended = ended(&*other, &call).await;
    assert_eq!((ended.len(), ended[0].draft.outcome), (1, Some(Outcome::Succeeded)));
}
