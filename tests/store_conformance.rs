//! What every store must do, whatever it is made of (I1, I4, I9, I10; R23, R36 to R39, R45, R47, R57).
//! Each check takes a factory that opens one more handle, as another process would, on the same data.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test file"
)]

#[path = "store/accepted.rs"]
mod accepted;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/differing.rs"]
mod differing;
#[path = "store/embedded.rs"]
mod embedded;
#[path = "store/encrypted.rs"]
mod encrypted;
#[path = "store/failing.rs"]
mod failing;
#[path = "store/figures.rs"]
mod figures;
#[path = "store/grants.rs"]
mod grants;
#[path = "store/import.rs"]
mod import;
#[path = "store/journal.rs"]
mod journal;
#[path = "store/lost.rs"]
mod lost;
#[path = "store/origin.rs"]
mod origin;
#[path = "store/power.rs"]
mod power;
#[path = "store/registers.rs"]
mod registers;
#[path = "store/replicas.rs"]
mod replicas;
#[path = "store/retention.rs"]
mod retention;
mod store;
#[path = "store/tree.rs"]
mod tree;
#[path = "store/vault.rs"]
mod vault;
#[path = "store/waits.rs"]
mod waits;

use jiff::Timestamp;
use std::{collections::BTreeSet, sync::Arc};
use store::*;
use tollgate::{
    admission,
    cost::{BudgetAction, BudgetWindow, LearnedSizes, SizeCell},
    decision::BudgetLimit,
    evidence::content_hash,
    model::{
        AgentId, ApprovalId, ApprovalStatus, CallId, Event, EventDecision, EventDraft, EventType, MicroUsd,
        Outcome, PersonId, PolicyId, SnapshotId, TraceId, WorkflowId,
    },
    policy::{ChannelKind, LoopRule, LoopRules, Violation},
    store::{
        Admission, AdmitRequest, ApprovalAnswer, ApprovalFilter, ApprovalHead, ApprovalRecord,
        ApprovalUpdate, AskLimits, Asked, BudgetReset, Counted, EventQuery, GrantEnd, GrantEndReason,
        GrantFilter, GrantMade, Kept, KeptKind, LimitRefusal, LoopWatch, Pattern, ResetBy, ResetCounter,
        StandingGrant, Store, StoreError, Unrecorded,
    },
};

type Opener<'f> = &'f (dyn Fn() -> Arc<dyn Store> + Sync);

macro_rules! conformance {
    ($($check:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let dir = tempfile::tempdir().unwrap();
                let opener = || -> Arc<dyn Store> { open(dir.path()) };
                checks::$check(&opener).await;
            }
        )*

        /// The same on PostgreSQL: each handle is a replica with a folder of its own.
        mod on_postgresql {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    if !database::is_there() {
                        return;
                    }
                    let (dir, database) = (tempfile::tempdir().unwrap(), database::server().database());
                    let opener = || -> Arc<dyn Store> { database.replica(dir.path()) };
                    checks::$check(&opener).await;
                }
            )*
        }
    };
}

conformance! {
    a_cap_holds_under_64_tasks
    a_cap_holds_over_two_handles
    the_minute_rolls_exactly
    a_rate_is_per_agent_and_policy
    calendar_windows_begin_anew
    a_refusal_reserves_nothing
    a_refusal_that_is_the_callers_to_record_leaves_no_record
    the_strictest_full_limit_refuses
    tokens_and_money_are_reserved_and_corrected
    an_unknown_outcome_keeps_its_reservation
    another_handle_may_settle
    a_settlement_counts_once
    a_loop_is_stopped_before_the_budget
    loops_of_every_kind_are_one_for_all_processes
    an_alert_is_written_once_per_window
    the_decision_records_the_counters_it_saw
    budget_usage_is_what_was_counted
    a_reset_gives_back_what_has_ended_and_no_more
    each_step_of_a_budget_alerts_once
    an_identical_ask_reuses_the_pending_record
    pending_asks_are_bounded
    rejected_and_unapproved_asks_are_bounded
    a_binding_is_all_of_it_and_a_rejection_is_of_the_call
    the_last_rejection_of_a_call_is_found
    of_two_deciders_one_is_first
    an_approval_is_consumed_once
    an_unusable_approval_reserves_nothing
    a_person_excuses_the_budget_that_asked
    a_change_elsewhere_wakes_a_waiter
    a_grant_is_used_so_often_and_no_more
    a_grant_that_may_not_be_used_reserves_nothing
    a_grant_is_made_with_its_approval_or_not_at_all
    a_grant_excuses_no_budget_and_no_loop
    grants_survive_and_are_found
    approvals_survive_and_are_found
    events_are_found_by_every_index
    a_committed_event_is_seen_at_once_and_published
    an_operation_that_fails_fails_alone
    a_caller_who_left_leaves_nothing_reserved
    results_are_learned
    secrets_are_the_same_everywhere
    what_is_kept_stays
    of_two_orders_one_is_first
    a_call_decided_on_an_older_entry_is_not_admitted
    registers_change_all_or_nothing
    of_two_changes_of_an_entry_one_is_first
    registers_survive_and_versions_never_return
    a_change_of_a_register_elsewhere_wakes
    a_register_is_bounded
    a_closed_store_refuses
    the_chain_verifies
}

async fn grant(store: &dyn Store, request: AdmitRequest) {
    let call = request.event.call_id.clone();
    assert_eq!(store.admit(request).await.unwrap(), Admission::Granted, "{call:?}");
}

async fn refuse(store: &dyn Store, request: AdmitRequest) -> LimitRefusal {
    match store.admit(request).await.unwrap() {
        Admission::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn with(budgets: &[BudgetLimit], now: jiff::Timestamp) -> AdmitRequest {
    AdmitRequest { budgets: budgets.to_vec(), ..request("planner-01", now) }
}

async fn made(store: &dyn Store, digest: &str) -> ApprovalRecord {
    match store.ask(pending(digest, start()), Vec::new(), AskLimits::NONE).await.unwrap() {
        Asked::Made(record) => record,
        other => panic!("{other:?}"),
    }
}

fn answer(record: &ApprovalRecord, status: ApprovalStatus, person: &str) -> ApprovalUpdate {
    ApprovalUpdate {
        id: record.id.clone(),
        expected_version: record.version,
        status,
        answers: vec![ApprovalAnswer {
            person: PersonId::from(person),
            approve: status == ApprovalStatus::Approved,
            at: start(),
            channel: ChannelKind::Cli,
            comment: Some("seen".to_owned()),
            evidence: None,
            snapshot: SnapshotId::from("snapshot"),
            grant: None,
            grant_id: None,
        }],
        covered_by: None,
    }
}

async fn approved(store: &dyn Store, digest: &str) -> ApprovalRecord {
    let record = made(store, digest).await;
    assert!(
        store.update_approval(answer(&record, ApprovalStatus::Approved, "alice"), Vec::new()).await.unwrap()
    );
    store.approval(record.id).await.unwrap().unwrap()
}

fn using(record: &ApprovalRecord, now: jiff::Timestamp) -> AdmitRequest {
    AdmitRequest { approval: Some((record.id.clone(), record.binding.clone())), ..request("planner-01", now) }
}

/// A standing grant that is made of a new approval.
async fn with_grant(store: &dyn Store, uses: u64) -> StandingGrant {
    let record = made(store, &unique()).await;
    let grant = granted(&record, uses, start());
    let update = answer(&record, ApprovalStatus::Approved, "alice");
    let made = store.make_grant(update, grant.clone(), Vec::new(), grant_made(&grant), 100).await.unwrap();
    assert_eq!(made, GrantMade::Made);
    grant
}

fn under(grant: &StandingGrant, now: jiff::Timestamp) -> AdmitRequest {
    AdmitRequest {
        grant: Some((grant.id.clone(), Arc::new(grant.terms.clone()))),
        ..request("planner-01", now)
    }
}

mod checks {
    pub(super) use super::registers::{
        a_call_decided_on_an_older_entry_is_not_admitted, a_change_of_a_register_elsewhere_wakes,
        a_register_is_bounded, of_two_changes_of_an_entry_one_is_first, registers_change_all_or_nothing,
        registers_survive_and_versions_never_return,
    };
    use super::*;

    /// R87: never more calls than it says, whoever uses it at once, and each names it.
    pub(super) async fn a_grant_is_used_so_often_and_no_more(open: Opener<'_>) {
        let stores = [open(), open()];
        let grant = with_grant(&*stores[0], 10).await;
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (store, request) = (stores[n % 2].clone(), under(&grant, start()));
                tokio::spawn(async move { store.admit(request).await.unwrap() })
            })
            .collect();
        let mut through = 0;
        for task in tasks {
            match task.await.unwrap() {
                Admission::Granted => through += 1,
                Admission::ApprovalUnusable(reason) => assert!(reason.contains("used up"), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(through, 10);
        let ended = open().grant(grant.id.clone()).await.unwrap().unwrap();
        assert_eq!((ended.used, ended.uses_left()), (10, 0));
        assert_eq!(ended.ended.unwrap().why, GrantEndReason::UsedUp);
        let of = async |event_type, decision| {
            let query = EventQuery {
                event_type,
                decision,
                grant_id: Some(grant.id.clone()),
                ..EventQuery::default()
            };
            stores[1].events(query).await.unwrap().len()
        };
        assert_eq!(of(Some(EventType::AgentDecision), Some(EventDecision::Allow)).await, 10);
        assert_eq!(of(Some(EventType::GrantMade), None).await, 1);
        assert_eq!(of(Some(EventType::GrantEnded), None).await, 1);
        assert_eq!(stores[0].verify().await.unwrap().bad, None);
    }

    pub(super) async fn a_grant_that_may_not_be_used_reserves_nothing(open: Opener<'_>) {
        let store = open();
        let limit = [calls("one", BudgetWindow::Day, 1)];
        let check = async |request: AdmitRequest, part: &str| {
            let request = AdmitRequest { budgets: limit.to_vec(), ..request };
            match store.admit(request).await.unwrap() {
                Admission::ApprovalUnusable(reason) => assert!(reason.contains(part), "{reason}"),
                other => panic!("{part}: {other:?}"),
            }
        };
        let (used, revoked, other) =
            (with_grant(&*store, 1).await, with_grant(&*store, 3).await, with_grant(&*store, 3).await);
        grant(&*store, under(&used, start())).await;
        check(under(&used, start()), "used up").await;
        let end = GrantEnd {
            why: GrantEndReason::Revoked,
            at: start(),
            by: Some(PersonId::from("alice")),
            reason: Some("done".to_owned()),
        };
        let ended = open().end_grant(revoked.id.clone(), end.clone()).await.unwrap().unwrap();
        assert_eq!(ended.ended.as_ref(), Some(&end));
        assert_eq!(store.end_grant(revoked.id.clone(), end.clone()).await.unwrap(), None, "once");
        assert_eq!(store.end_grant("grant-of-nobody".into(), end).await.unwrap(), None);
        check(under(&revoked, start()), "revoked").await;
        check(under(&other, later(start(), 3_600_000)), "expired").await;
        let mut foreign = under(&other, start());
        foreign.event.agent_id = Some(AgentId::from("another"));
        check(foreign, "other calls").await;
        let mut wider = other.clone();
        wider.terms.uses = 100;
        check(under(&wider, start()), "other calls").await;
        let unknown = StandingGrant { id: "grant-of-nobody".into(), ..other.clone() };
        check(under(&unknown, start()), "no grant").await;
        grant(&*store, AdmitRequest { budgets: limit.to_vec(), ..under(&other, start()) }).await;
        let left = store.grant(other.id).await.unwrap().unwrap();
        assert_eq!((left.used, left.uses_left()), (1, 2));
        assert_eq!(store.verify().await.unwrap().bad, None);
    }

    pub(super) async fn a_grant_is_made_with_its_approval_or_not_at_all(open: Opener<'_>) {
        let store = open();
        let record = made(&*store, "d").await;
        let grant = granted(&record, 5, start());
        let make = async |expected_version, most| {
            let update =
                ApprovalUpdate { expected_version, ..answer(&record, ApprovalStatus::Approved, "alice") };
            store.make_grant(update, grant.clone(), Vec::new(), grant_made(&grant), most).await.unwrap()
        };
        assert_eq!(make(record.version + 1, 100).await, GrantMade::Outdated);
        let others = [with_grant(&*store, 1).await, with_grant(&*store, 1).await];
        assert_eq!(make(record.version, 2).await, GrantMade::TooMany(2));
        assert_eq!(store.approval(record.id.clone()).await.unwrap().unwrap().status, ApprovalStatus::Pending);
        assert_eq!(store.grant(grant.id.clone()).await.unwrap(), None);
        // One that is used up makes room.
        super::grant(&*store, under(&others[0], start())).await;
        assert_eq!(make(record.version, 2).await, GrantMade::Made);
        assert_eq!(open().grant(grant.id.clone()).await.unwrap().unwrap(), grant);
        assert_eq!(store.approval(record.id).await.unwrap().unwrap().status, ApprovalStatus::Approved);
    }

    /// R87: a grant answers the rules that asked, and nothing else.
    pub(super) async fn a_grant_excuses_no_budget_and_no_loop(open: Opener<'_>) {
        let store = open();
        let granted = with_grant(&*store, 5).await;
        let asks =
            BudgetLimit { on_exceed: BudgetAction::RequireApproval, ..calls("gate", BudgetWindow::Day, 0) };
        let full = AdmitRequest { budgets: vec![asks], ..under(&granted, start()) };
        assert_eq!(refuse(&*store, full).await.decision, EventDecision::PendingApproval);
        let same =
            || AdmitRequest { max_repeats: Some(1), digest: "same".into(), ..under(&granted, start()) };
        grant(&*store, same()).await;
        assert_eq!(&*refuse(&*store, same()).await.policy_id, "loop");
        assert_eq!(store.grant(granted.id).await.unwrap().unwrap().used, 1);
    }

    pub(super) async fn grants_survive_and_are_found(open: Opener<'_>) {
        let store = open();
        let (first, second) = (with_grant(&*store, 2).await, with_grant(&*store, 2).await);
        grant(&*store, under(&first, start())).await;
        let list = async |filter: GrantFilter| -> Vec<_> {
            let found = open().grants(filter).await.unwrap();
            found.into_iter().map(|grant| (grant.id, grant.used)).collect()
        };
        let all = [(second.id.clone(), 0), (first.id.clone(), 1)];
        assert_eq!(list(GrantFilter::default()).await, all);
        assert_eq!(list(GrantFilter { limit: 1, ..GrantFilter::default() }).await, all[..1]);
        let before =
            |grant: &StandingGrant| GrantFilter { before: Some(grant.id.clone()), ..GrantFilter::default() };
        assert_eq!(list(before(&second)).await, all[1..]);
        assert_eq!(list(before(&first)).await, []);
        let agent = |name: &str| GrantFilter { agent: Pattern::parse(name).ok(), ..GrantFilter::default() };
        assert_eq!(list(agent("planner-01")).await, all);
        assert_eq!(list(agent("another")).await, []);
        assert_eq!(list(GrantFilter { limit: 1, ..agent("planner-*") }).await, all[..1]);
        assert_eq!(list(agent("b*")).await, []);
        let tool = |name: &str| GrantFilter { tool: Pattern::parse(name).ok(), ..agent("planner-01") };
        assert_eq!(list(tool("files__write_file")).await, all);
        assert_eq!(list(tool("files__*")).await, all);
        assert_eq!(list(tool("git__*")).await, []);
        let at = |millis| later(start(), millis);
        assert_eq!(list(GrantFilter { due: Some(at(3_599_999)), ..GrantFilter::default() }).await, []);
        assert_eq!(list(GrantFilter { due: Some(at(3_600_000)), ..GrantFilter::default() }).await, all);
        assert_eq!(list(GrantFilter { valid_at: Some(at(3_600_000)), ..GrantFilter::default() }).await, []);
        grant(&*store, under(&first, start())).await;
        let live = GrantFilter { live: true, valid_at: Some(start()), ..GrantFilter::default() };
        assert_eq!(list(live).await, all[..1]);
    }

    /// I11: what records refer to is kept once, and seen by every process.
    pub(super) async fn what_is_kept_stays(open: Opener<'_>) {
        let (one, other) = (open(), open());
        let kept = |name: &str, body: &str| Kept {
            kind: KeptKind::Bundle,
            name: name.to_owned(),
            hash: content_hash(body),
            body: body.to_owned(),
        };
        let first = kept("s-1", "{\"a\":1}");
        one.keep(first.clone()).await.unwrap();
        let found = async |name: &str| other.kept(KeptKind::Bundle, name.to_owned()).await.unwrap();
        assert_eq!(found("s-1").await, Some(first.clone()));
        other.keep(kept("s-1", "{\"a\":2}")).await.unwrap();
        assert_eq!(found("s-1").await, Some(first));
        assert_eq!(found("s-2").await, None);
        assert_eq!(other.kept(KeptKind::Tool, "s-1".to_owned()).await.unwrap(), None);
    }

    /// I10, R19: of two orders that know the same, one is appended, through whatever handle; and every handle wakes for it.
    pub(super) async fn of_two_orders_one_is_first(open: Opener<'_>) {
        let (one, other) = (open(), open());
        let order = |reason: &str| {
            let mut event = EventDraft::system(EventType::PolicyActivated, start());
            event.policy_id = Some(PolicyId::from("activation"));
            event.reason = Some(reason.into());
            vec![event]
        };
        let mut woken = other.control_changes();
        woken.mark_unchanged();
        let (first, second) = tokio::join!(one.order(order("a"), 0), other.order(order("b"), 0));
        assert_ne!(first.unwrap(), second.unwrap(), "exactly one of them");
        tokio::time::timeout(std::time::Duration::from_secs(60), woken.changed()).await.unwrap().unwrap();
        let told = all_events(&*one).await;
        assert_eq!(told.len(), 1);
        // Whoever knows of it may give the next, and nobody else.
        assert!(!other.order(order("c"), 0).await.unwrap());
        one.record(vec![EventDraft::system(EventType::Alert, start())]).await.unwrap();
        assert!(other.order(order("d"), told[0].seq).await.unwrap(), "other records are no orders");
        // Two through one handle, which may go in one group.
        let known = all_events(&*one).await.last().unwrap().seq;
        let (first, second) = tokio::join!(one.order(order("e"), known), one.order(order("f"), known));
        assert_ne!(first.unwrap(), second.unwrap(), "exactly one of them");
        assert_eq!(one.verify().await.unwrap().bad, None);
    }

    /// R36: never more than N, whoever asks at once.
    pub(super) async fn a_cap_holds_under_64_tasks(open: Opener<'_>) {
        let store = open();
        let limits = [calls("daily", BudgetWindow::Day, 40), calls("minute", BudgetWindow::Minute, 50)];
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (store, request) = (store.clone(), with(&limits, start()));
                tokio::spawn(async move { store.admit(request).await.unwrap() })
            })
            .collect();
        let mut granted = 0;
        for task in tasks {
            match task.await.unwrap() {
                Admission::Granted => granted += 1,
                Admission::Refused(refusal) => assert_eq!(&*refusal.policy_id, "daily"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(granted, 40);
        assert_eq!(all_events(&*store).await.len(), 64, "every admission has its decision on record");
    }

    /// I10: counters are one for all processes.
    pub(super) async fn a_cap_holds_over_two_handles(open: Opener<'_>) {
        let stores = [open(), open()];
        let limits = [calls("minute", BudgetWindow::Minute, 25), calls("ever", BudgetWindow::Ever, 30)];
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (store, request) = (stores[n % 2].clone(), with(&limits, start()));
                tokio::spawn(async move { store.admit(request).await.unwrap() == Admission::Granted })
            })
            .collect();
        let mut granted = 0;
        for task in tasks {
            granted += u32::from(task.await.unwrap());
        }
        assert_eq!(granted, 25);
        let report = stores[0].verify().await.unwrap();
        assert_eq!((report.records, report.bad), (64, None));
    }

    pub(super) async fn the_minute_rolls_exactly(open: Opener<'_>) {
        let store = open();
        let limit = [calls("minute", BudgetWindow::Minute, 2)];
        let t0 = start();
        grant(&*store, with(&limit, t0)).await;
        grant(&*store, with(&limit, later(t0, 20_000))).await;
        let refusal = refuse(&*store, with(&limit, later(t0, 59_999))).await;
        assert_eq!((refusal.decision, refusal.retry_after_ms), (EventDecision::Throttle, Some(1)));
        grant(&*store, with(&limit, later(t0, 60_000))).await;
        let refusal = refuse(&*store, with(&limit, later(t0, 60_001))).await;
        assert_eq!(refusal.retry_after_ms, Some(19_999));
        // A restart forgets nothing, and another handle knows the same.
        let refusal = refuse(&*open(), with(&limit, later(t0, 79_000))).await;
        assert_eq!(refusal.retry_after_ms, Some(1_000));
        grant(&*open(), with(&limit, later(t0, 80_000))).await;
        refuse(&*store, with(&limit, later(t0, 80_000))).await;
    }

    /// R37, R38.
    pub(super) async fn a_rate_is_per_agent_and_policy(open: Opener<'_>) {
        let store = open();
        let ask = |agent: &str, id: &str, on| AdmitRequest {
            rates: vec![rate(id, 1, on)],
            ..request(agent, start())
        };
        grant(&*store, ask("a", "p", Violation::Throttle)).await;
        grant(&*store, ask("b", "p", Violation::Throttle)).await;
        grant(&*store, ask("a", "q", Violation::Deny)).await;
        let refusal = refuse(&*store, ask("a", "p", Violation::Throttle)).await;
        assert_eq!((refusal.decision, &*refusal.policy_id), (EventDecision::Throttle, "p"));
        assert_eq!(refusal.retry_after_ms, Some(60_000));
        let refusal = refuse(&*store, ask("a", "q", Violation::Deny)).await;
        assert_eq!((refusal.decision, refusal.retry_after_ms), (EventDecision::Deny, None));
        let mut costly = ask("c", "usd", Violation::Throttle);
        costly.rates[0].max_calls = None;
        costly.rates[0].max_cost = Some(MicroUsd(100));
        costly.cost = MicroUsd(60);
        grant(&*store, costly.clone()).await;
        costly.event.call_id = Some(CallId::from(unique()));
        let refusal = refuse(&*store, costly).await;
        assert!(refusal.reason.contains("0.0001 USD"), "{}", refusal.reason);
    }

    pub(super) async fn calendar_windows_begin_anew(open: Opener<'_>) {
        let store = open();
        let check = async |window, before: &str, after: &str, wait: u64| {
            let limit = [calls(&format!("{window:?}"), window, 1)];
            grant(&*store, with(&limit, time(before))).await;
            let refusal = refuse(&*store, with(&limit, time(before))).await;
            assert_eq!(refusal.retry_after_ms, Some(wait), "{window:?}");
            grant(&*store, with(&limit, time(after))).await;
            refuse(&*store, with(&limit, time(after))).await;
        };
        check(BudgetWindow::Hour, "2026-05-11T12:59:59.5Z", "2026-05-11T13:00:00Z", 500).await;
        check(BudgetWindow::Day, "2026-05-11T23:00:00Z", "2026-05-12T00:00:00Z", 3_600_000).await;
        check(BudgetWindow::Month, "2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z", 43_200_000).await;
        let ever = [calls("ever", BudgetWindow::Ever, 1)];
        grant(&*store, with(&ever, time("2026-01-01T00:00:00Z"))).await;
        let refusal = refuse(&*store, with(&ever, time("2036-01-01T00:00:00Z"))).await;
        assert_eq!(refusal.retry_after_ms, None);
    }

    /// All or nothing.
    pub(super) async fn a_refusal_reserves_nothing(open: Opener<'_>) {
        let store = open();
        let both = [calls("wide", BudgetWindow::Day, 3), calls("narrow", BudgetWindow::Minute, 1)];
        grant(&*store, with(&both, start())).await;
        for _ in 0..5 {
            assert_eq!(&*refuse(&*store, with(&both, start())).await.policy_id, "narrow");
        }
        let wide = &both[..1];
        grant(&*store, with(wide, start())).await;
        grant(&*store, with(wide, start())).await;
        refuse(&*store, with(wide, start())).await;
        let refused = store
            .events(EventQuery { decision: Some(EventDecision::Throttle), ..EventQuery::default() })
            .await
            .unwrap();
        assert_eq!(refused.len(), 6);
        assert_eq!(refused[0].draft.policy_id.as_deref(), Some("narrow"));
        assert_eq!(refused[0].draft.rule_id, None);
        assert!(refused[0].draft.reason.as_deref().unwrap().contains("1 call in 60 s, and 1 is used"));
    }

    /// I12: it is refused all the same, reserves nothing, and neither its start nor its decision is written.
    pub(super) async fn a_refusal_that_is_the_callers_to_record_leaves_no_record(open: Opener<'_>) {
        let store = open();
        let full = [calls("full", BudgetWindow::Minute, 1)];
        let asks =
            [BudgetLimit { on_exceed: BudgetAction::RequireApproval, ..calls("asks", BudgetWindow::Day, 0) }];
        let ask = |budgets: &[BudgetLimit], unrecorded: Unrecorded| {
            let mut start_event = decision("planner-01", start());
            start_event.event_type = EventType::AgentStart;
            AdmitRequest { start: Some(start_event), unrecorded, ..with(budgets, start()) }
        };
        // What is let through is recorded, whatever was said of refusals.
        grant(&*store, ask(&full, Unrecorded::All)).await;
        let all = async || store.events(EventQuery::default()).await.unwrap().len();
        assert_eq!(all().await, 2);
        let of = |id: &str, said| Unrecorded::Of(vec![(PolicyId::from(id), said)]);
        let check = async |budgets: &[BudgetLimit], unrecorded: Unrecorded, more: usize| {
            let before = all().await;
            refuse(&*store, ask(budgets, unrecorded.clone())).await;
            assert_eq!(all().await - before, more, "{unrecorded:?}");
        };
        check(&full, Unrecorded::None, 2).await;
        check(&full, Unrecorded::All, 0).await;
        check(&full, of("full", EventDecision::Throttle), 0).await;
        check(&full, of("other", EventDecision::Throttle), 2).await;
        check(&full, of("full", EventDecision::Deny), 2).await;
        // It goes on: a person is asked.
        check(&asks, Unrecorded::All, 2).await;
        let refused = refuse(&*store, ask(&full, Unrecorded::All)).await;
        assert!(refused.reason.contains("1 is used"), "{}", refused.reason);
        assert!(store.verify().await.unwrap().bad.is_none());
    }

    pub(super) async fn the_strictest_full_limit_refuses(open: Opener<'_>) {
        let store = open();
        let budget = |id: &str, on_exceed| BudgetLimit { on_exceed, ..calls(id, BudgetWindow::Day, 0) };
        let check = async |budgets: &[BudgetLimit], expect: &str, decision| {
            let refusal = refuse(&*store, with(budgets, start())).await;
            assert_eq!((&*refusal.policy_id, refusal.decision), (expect, decision));
        };
        let ask = budget("ask", BudgetAction::RequireApproval);
        let throttle = budget("throttle", BudgetAction::Throttle);
        let deny = budget("deny", BudgetAction::Deny);
        check(&[ask.clone(), throttle.clone(), deny], "deny", EventDecision::Deny).await;
        check(&[ask.clone(), throttle], "throttle", EventDecision::Throttle).await;
        check(&[ask], "ask", EventDecision::PendingApproval).await;
    }

    pub(super) async fn tokens_and_money_are_reserved_and_corrected(open: Opener<'_>) {
        let store = open();
        for window in [BudgetWindow::Day, BudgetWindow::Minute] {
            let limit = [BudgetLimit {
                max_tokens: Some(100),
                max_cost: Some(MicroUsd(1_000)),
                ..budget(&format!("{window:?}"), window)
            }];
            let ask = |tokens, cost| AdmitRequest { tokens, cost: MicroUsd(cost), ..with(&limit, start()) };
            let first = ask(60, 400);
            grant(&*store, first.clone()).await;
            refuse(&*store, ask(41, 0)).await;
            refuse(&*store, ask(0, 601)).await;
            grant(&*store, ask(40, 600)).await;
            // Real: 10 tokens, 100 micro-USD.
            store.settle(settlement(&first, Some(10), Some(100))).await.unwrap();
            refuse(&*store, ask(51, 0)).await;
            let second = ask(50, 300);
            grant(&*store, second.clone()).await;
            // An overshoot is recorded and counts.
            store.settle(settlement(&second, Some(70), Some(300))).await.unwrap();
            let refusal = refuse(&*store, ask(1, 0)).await;
            assert!(refusal.reason.contains("120 are used"), "{}", refusal.reason);
        }
    }

    pub(super) async fn an_unknown_outcome_keeps_its_reservation(open: Opener<'_>) {
        let store = open();
        let limit = [BudgetLimit { max_tokens: Some(100), ..budget("b", BudgetWindow::Day) }];
        let first = AdmitRequest { tokens: 80, ..with(&limit, start()) };
        grant(&*store, first.clone()).await;
        let mut unknown = settlement(&first, None, None);
        unknown.outcome = Outcome::Unknown;
        store.settle(unknown).await.unwrap();
        refuse(&*store, AdmitRequest { tokens: 21, ..with(&limit, start()) }).await;
        let last = all_events(&*store).await.remove(1);
        assert_eq!(last.draft.outcome, Some(Outcome::Unknown));
    }

    pub(super) async fn another_handle_may_settle(open: Opener<'_>) {
        let (one, two) = (open(), open());
        let limit = [
            BudgetLimit { max_tokens: Some(100), ..budget("day", BudgetWindow::Day) },
            BudgetLimit { max_tokens: Some(100), ..budget("minute", BudgetWindow::Minute) },
        ];
        let first = AdmitRequest { tokens: 100, ..with(&limit, start()) };
        grant(&*one, first.clone()).await;
        two.settle(settlement(&first, Some(1), None)).await.unwrap();
        one.settle(settlement(&first, Some(100), None)).await.unwrap();
        grant(&*one, AdmitRequest { tokens: 99, ..with(&limit, start()) }).await;
        refuse(&*two, AdmitRequest { tokens: 1, ..with(&limit, start()) }).await;
    }

    pub(super) async fn a_settlement_counts_once(open: Opener<'_>) {
        let store = open();
        let limit = [BudgetLimit { max_tokens: Some(100), ..budget("b", BudgetWindow::Ever) }];
        let first = AdmitRequest { tokens: 50, ..with(&limit, start()) };
        grant(&*store, first.clone()).await;
        for _ in 0..3 {
            store.settle(settlement(&first, Some(10), None)).await.unwrap();
        }
        assert_eq!(all_events(&*store).await.len(), 2);
        assert_eq!(store.budget_usage(start()).await.unwrap()[0].tokens, 10);
        let never = settlement(&request("x", start()), None, None);
        assert!(matches!(store.settle(never).await, Err(StoreError::NoSuchCall(_))));
    }

    /// R39.
    pub(super) async fn a_loop_is_stopped_before_the_budget(open: Opener<'_>) {
        let store = open();
        let limit = [calls("daily", BudgetWindow::Day, 100)];
        let same = |agent: &str, now| AdmitRequest {
            digest: "same".into(),
            max_repeats: Some(3),
            budgets: limit.to_vec(),
            ..request(agent, now)
        };
        let t0 = start();
        grant(&*store, same("planner-01", t0)).await;
        grant(&*open(), same("planner-01", later(t0, 1_000))).await;
        // An ask is a repeat too.
        store.ask(pending("same", later(t0, 2_000)), Vec::new(), AskLimits::NONE).await.unwrap();
        let refusal = refuse(&*store, same("planner-01", later(t0, 3_000))).await;
        assert_eq!((&*refusal.policy_id, refusal.decision), ("loop", EventDecision::Throttle));
        assert_eq!(refusal.retry_after_ms, Some(57_000));
        assert!(refusal.reason.contains("3 times in the last 60 s"), "{}", refusal.reason);
        grant(&*store, same("other", later(t0, 3_000))).await;
        grant(&*store, same("planner-01", later(t0, 60_000))).await;
        refuse(&*store, same("planner-01", later(t0, 60_000))).await;
        assert_eq!(store.budget_usage(later(t0, 60_000)).await.unwrap()[0].calls, 4);
    }

    /// R39: what counts as a loop is the same in every process, and in one that starts later; people are told once.
    pub(super) async fn loops_of_every_kind_are_one_for_all_processes(open: Opener<'_>) {
        let store = open();
        let rule = |count| Some(LoopRule { count, window_s: 60 });
        let t0 = start();
        let call = |rules: LoopRules, n: i64| AdmitRequest {
            loops: LoopWatch { rules, shape: Some("shape".into()) },
            digest: format!("turn {}", n % 2).as_str().into(),
            ..request("planner-01", later(t0, n * 10))
        };
        for (kind, rules) in [
            ("similar", LoopRules { similar: rule(4), ..LoopRules::default() }),
            ("alternating", LoopRules { alternating: rule(2), ..LoopRules::default() }),
            ("fan_out", LoopRules { fan_out: rule(4), ..LoopRules::default() }),
            ("errors", LoopRules { errors: rule(4), ..LoopRules::default() }),
        ] {
            for n in 0..4 {
                let store = if n % 2 == 0 { store.clone() } else { open() };
                let made = call(rules, n);
                grant(&*store, made.clone()).await;
                let mut failed = settlement(&made, Some(1), None);
                failed.outcome = Outcome::Failed;
                store.settle(failed).await.unwrap();
            }
            for store in [store.clone(), open()] {
                let refusal = refuse(&*store, call(rules, 4)).await;
                assert_eq!(
                    (&*refusal.policy_id, refusal.decision),
                    ("loop", EventDecision::Throttle),
                    "{kind}"
                );
                assert_eq!(refusal.looping.map(|(kind, _)| kind.as_str()), Some(kind));
                assert!(
                    refusal.retry_after_ms.is_some_and(|wait| (59_000..60_000).contains(&wait)),
                    "{refusal:?}"
                );
            }
        }
        let alerts = EventQuery { event_type: Some(EventType::Alert), ..EventQuery::default() };
        let alerts = store.events(alerts).await.unwrap();
        assert_eq!(alerts.len(), 1, "{alerts:#?}");
        assert_eq!(alerts[0].draft.detail.as_ref().unwrap()["alert"], "loop");
    }

    pub(super) async fn an_alert_is_written_once_per_window(open: Opener<'_>) {
        let store = open();
        for window in [BudgetWindow::Hour, BudgetWindow::Minute] {
            let id = format!("{window:?}");
            let limit = [BudgetLimit { alert_at: [50].into(), ..calls(&id, window, 4) }];
            for _ in 0..4 {
                grant(&*store, with(&limit, start())).await;
            }
            let of = |id: &str| EventQuery {
                event_type: Some(EventType::Alert),
                policy_id: Some(Pattern::from(id)),
                ..EventQuery::default()
            };
            let alerts = store.events(of(&id)).await.unwrap();
            assert_eq!(alerts.len(), 1, "{window:?}");
            assert!(alerts[0].draft.reason.as_deref().unwrap().contains("2 of 4 calls"));
            let next = later(start(), 3_600_000);
            for _ in 0..3 {
                grant(&*open(), with(&limit, next)).await;
            }
            assert_eq!(store.events(of(&id)).await.unwrap().len(), 2, "{window:?}");
        }
    }

    pub(super) async fn the_decision_records_the_counters_it_saw(open: Opener<'_>) {
        let store = open();
        let limit = [BudgetLimit { max_cost: Some(MicroUsd(2_500_000)), ..calls("b", BudgetWindow::Day, 9) }];
        let ask = || {
            let mut ask = AdmitRequest { cost: MicroUsd(1_250_000), ..with(&limit, start()) };
            ask.event.limits = Some(serde_json::json!({"timeout": "30s"}));
            ask
        };
        let mut published = store.committed();
        grant(&*store, ask()).await;
        grant(&*store, ask()).await;
        let events = all_events(&*store).await;
        assert_eq!(
            events[1].draft.limits,
            Some(serde_json::json!({
                "timeout": "30s",
                "counters": [
                    {"id": "b", "key": "key", "window": "day", "unit": "calls", "used": 1, "cap": 9},
                    {"id": "b", "key": "key", "window": "day", "unit": "cost_usd", "used": 1.25, "cap": 2.5},
                ]
            }))
        );
        assert_eq!(*published.recv().await.unwrap(), events[0]);
        assert_eq!(*published.recv().await.unwrap(), events[1]);
    }

    pub(super) async fn budget_usage_is_what_was_counted(open: Opener<'_>) {
        let store = open();
        let limits = [budget("day", BudgetWindow::Day), budget("minute", BudgetWindow::Minute)];
        let first = AdmitRequest { tokens: 7, cost: MicroUsd(11), ..with(&limits, start()) };
        grant(&*store, first.clone()).await;
        store.settle(settlement(&first, Some(5), Some(10))).await.unwrap();
        let usage = open().budget_usage(later(start(), 1_000)).await.unwrap();
        let seen: Vec<_> =
            usage.iter().map(|u| (&*u.id, &*u.window, u.calls, u.tokens, u.cost_usd.0)).collect();
        assert_eq!(seen, [("day", "day", 1, 5, 10), ("minute", "minute", 1, 5, 10)]);
        assert_eq!(usage[0].window_start, Some(time("2026-05-11T00:00:00Z")));
        assert_eq!(usage[1].window_start, None);
        let usage = store.budget_usage(later(start(), 60_000)).await.unwrap();
        assert_eq!(usage.len(), 1, "the minute has rolled on");
    }

    /// A reset takes away what ended calls took, in every process and for good; open calls hold what they hold.
    pub(super) async fn a_reset_gives_back_what_has_ended_and_no_more(open: Opener<'_>) {
        for window in [BudgetWindow::Day, BudgetWindow::Minute, BudgetWindow::Ever] {
            let stores = [open(), open()];
            let id = format!("{window:?}");
            let limit = [BudgetLimit { max_tokens: Some(100), ..calls(&id, window, 9) }];
            let ask = || AdmitRequest { tokens: 30, ..with(&limit, start()) };
            let asks = [ask(), ask(), ask()];
            for (n, ask) in asks.iter().enumerate() {
                grant(&*stores[n % 2], ask.clone()).await;
            }
            stores[0].settle(settlement(&asks[0], Some(25), Some(0))).await.unwrap();
            refuse(&*stores[1], ask()).await;
            let begins = admission::window::start_of(window, None, start().as_microsecond());
            let reset = |key: Option<&str>| BudgetReset {
                id: PolicyId::from(&*id),
                key: key.map(str::to_owned),
                kind: admission::window::word(window).to_owned(),
                window_start: begins.map(|at| Timestamp::from_microsecond(at).unwrap()),
                by: ResetBy {
                    person: PersonId::from("dan"),
                    channel: "api",
                    reason: tollgate::redaction::DataRules::built_in().said("why", 100),
                },
                now: start(),
            };
            assert_eq!(stores[1].reset_budget(reset(Some("another"))).await.unwrap(), []);
            let done = stores[1].reset_budget(reset(None)).await.unwrap();
            let counted = |calls, tokens| Counted { calls, tokens, cost_usd: MicroUsd(0) };
            let expect =
                ResetCounter { key: "key".to_owned(), before: counted(3, 85), after: counted(2, 60) };
            assert_eq!(done, [expect], "{window:?}");
            // One more has room, in the other process.
            grant(&*stores[0], ask()).await;
            refuse(&*stores[1], ask()).await;
            // What was open as it was set back is settled as ever.
            stores[0].settle(settlement(&asks[1], Some(10), Some(0))).await.unwrap();
            stores[1].settle(settlement(&asks[2], None, None)).await.unwrap();
            let usage = open().budget_usage(later(start(), 1_000)).await.unwrap();
            let at = usage.iter().find(|at| *at.id == *id).unwrap();
            assert_eq!((at.calls, at.tokens, at.reserved), (3, 70, counted(1, 30)), "{window:?}");
            let resets: Vec<_> = all_events(&*stores[0])
                .await
                .into_iter()
                .filter(|event| event.draft.action.as_deref() == Some("budget_reset"))
                .collect();
            let told = resets.last().unwrap();
            assert_eq!(
                (told.draft.policy_id.as_deref(), told.draft.reason.as_deref()),
                (Some(&*id), Some("why"))
            );
            assert_eq!(told.draft.detail.as_ref().unwrap()["counters"][0]["before"]["tokens"], 85);
        }
        assert!(open().verify().await.unwrap().bad.is_none());
    }

    /// Each share alerts once, in whichever process it is reached: by a call, by one that was larger than it said, by one that
    /// is refused.
    pub(super) async fn each_step_of_a_budget_alerts_once(open: Opener<'_>) {
        let stores = [open(), open()];
        let limit = [BudgetLimit {
            max_tokens: Some(100),
            alert_at: [40, 80, 100].into(),
            ..budget("b", BudgetWindow::Ever)
        }];
        let ask = |tokens| AdmitRequest { tokens, ..with(&limit, start()) };
        let steps = async || -> Vec<u64> {
            let events = all_events(&*open()).await;
            let of_budget = |event: &&Event| event.draft.event_type == EventType::Alert;
            events
                .iter()
                .filter(of_budget)
                .map(|e| e.draft.detail.as_ref().unwrap()["step"].as_u64().unwrap())
                .collect()
        };
        let first = ask(39);
        grant(&*stores[0], first.clone()).await;
        assert_eq!(steps().await, [0_u64; 0]);
        let second = ask(1);
        grant(&*stores[1], second.clone()).await;
        assert_eq!(steps().await, [40]);
        stores[0].settle(settlement(&first, Some(85), Some(0))).await.unwrap();
        assert_eq!(steps().await, [40, 80]);
        refuse(&*stores[1], ask(50)).await;
        refuse(&*stores[0], ask(50)).await;
        assert_eq!(steps().await, [40, 80, 100]);
        stores[1].settle(settlement(&second, Some(300), Some(0))).await.unwrap();
        refuse(&*open(), ask(50)).await;
        assert_eq!(steps().await, [40, 80, 100]);
    }

    /// An identical ask reuses the pending record, in every process.
    pub(super) async fn an_identical_ask_reuses_the_pending_record(open: Opener<'_>) {
        let stores = [open(), open()];
        let tasks: Vec<_> = (0..16)
            .map(|n| {
                let store = stores[n % 2].clone();
                let event = EventDraft::system(EventType::ApprovalRequested, start());
                tokio::spawn(async move {
                    store.ask(pending("d", start()), vec![event], AskLimits::NONE).await.unwrap()
                })
            })
            .collect();
        let mut ids = BTreeSet::new();
        let mut made = 0;
        for task in tasks {
            match task.await.unwrap() {
                Asked::Made(record) => {
                    made += 1;
                    ids.insert(record.id);
                }
                Asked::Reused(record) => {
                    ids.insert(record.id);
                }
                Asked::Refused(limit) => panic!("{limit:?} of no bound"),
            }
        }
        assert_eq!((made, ids.len()), (1, 1));
        assert_eq!(all_events(&*stores[0]).await.len(), 1);
        let expired = pending("d", later(start(), 15 * 60_000));
        assert!(matches!(stores[0].ask(expired, Vec::new(), AskLimits::NONE).await.unwrap(), Asked::Made(_)));
        assert!(matches!(
            stores[0].ask(pending("e", start()), Vec::new(), AskLimits::NONE).await.unwrap(),
            Asked::Made(_)
        ));
    }

    /// An agent has so many pending and no more, whichever process asks; what has expired does not count.
    pub(super) async fn pending_asks_are_bounded(open: Opener<'_>) {
        let stores = [open(), open()];
        let ask = |n: usize, at: jiff::Timestamp| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                let event = EventDraft::system(EventType::ApprovalRequested, at);
                let limits = AskLimits { pending: 5, ..AskLimits::NONE };
                store.ask(pending(&format!("d{n}"), at), vec![event], limits).await.unwrap()
            })
        };
        let tasks: Vec<_> = (0..16).map(|n| ask(n, start())).collect();
        let mut made = 0;
        for task in tasks {
            match task.await.unwrap() {
                Asked::Made(_) => made += 1,
                Asked::Refused(limit) => {
                    assert_eq!((&*limit.policy_id, limit.decision), ("approvals", EventDecision::Throttle));
                    assert!(limit.reason.starts_with("5 calls of this agent wait"), "{}", limit.reason);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((made, all_events(&*stores[0]).await.len()), (5, 5));
        let later = later(start(), 15 * 60_000);
        assert!(matches!(ask(20, later).await.unwrap(), Asked::Made(_)));
    }

    /// An agent that was rejected so often within a window asks no more in it, and neither does one whose asks nobody
    /// approves, however they end; counted from the records, by whichever process, and for each agent alone.
    pub(super) async fn rejected_and_unapproved_asks_are_bounded(open: Opener<'_>) {
        let window = std::time::Duration::from_secs(600);
        let limits = AskLimits { pending: usize::MAX, rejected: 3, unapproved: 6, window };
        let t0 = start();
        let ask = async |agent: &str, n: i64, seconds: i64| {
            let mut record = pending(&format!("{agent} {n}"), later(t0, seconds * 1_000));
            record.binding.agent = AgentId::from(agent);
            open().ask(record, Vec::new(), limits).await.unwrap()
        };
        let asked = async |agent: &str, n: i64, seconds: i64| match ask(agent, n, seconds).await {
            Asked::Made(record) => record,
            other => panic!("{agent} {n}: {other:?}"),
        };
        let decide = async |record: &ApprovalRecord, status: ApprovalStatus, seconds: i64| {
            let mut update = answer(record, status, "alice");
            update.answers[0].at = later(t0, seconds * 1_000);
            assert!(open().update_approval(update, Vec::new()).await.unwrap());
        };
        let refused = |asked: Asked, part: &str, wait: u64| match asked {
            Asked::Refused(limit) => {
                assert!(limit.reason.contains(part), "{}", limit.reason);
                assert_eq!((limit.decision, limit.retry_after_ms), (EventDecision::Throttle, Some(wait)));
            }
            other => panic!("{other:?}"),
        };
        // Asked long before they are rejected: what counts is when people said no.
        let old = [asked("a", 0, 0).await, asked("a", 1, 0).await, asked("a", 2, 0).await];
        decide(&old[0], ApprovalStatus::Rejected, 650).await;
        decide(&old[1], ApprovalStatus::Rejected, 660).await;
        decide(&asked("a", 3, 670).await, ApprovalStatus::Approved, 670).await;
        decide(&old[2], ApprovalStatus::Rejected, 680).await;
        refused(ask("a", 4, 690).await, "rejected 3 calls of this agent within 10m", 560_000);
        asked("b", 0, 690).await;
        refused(ask("a", 4, 1_249).await, "rejected 3 calls", 1_000);
        asked("a", 4, 1_250).await;
        // Nobody decides these, and some run out: the seventh within the window is one too many. Approved ones are none.
        for n in 0..6 {
            let record = asked("c", n, n * 10).await;
            if n == 2 {
                decide(&record, ApprovalStatus::Expired, 25).await;
            }
        }
        refused(ask("c", 6, 60).await, "6 calls of this agent were asked about within 10m", 540_000);
        let all = open().approvals(ApprovalFilter::default()).await.unwrap();
        let one = all.iter().find(|r| r.binding.agent.as_str() == "c" && r.created_at == later(t0, 50_000));
        decide(one.unwrap(), ApprovalStatus::Approved, 61).await;
        asked("c", 6, 62).await;
        refused(ask("c", 7, 62).await, "not approved", 538_000);
        asked("c", 7, 600).await;
    }

    /// I4: an approval is for its user, workflow, tool and everything that is sent. A rejection is of the call: what else is
    /// sent makes no other of it.
    pub(super) async fn a_binding_is_all_of_it_and_a_rejection_is_of_the_call(open: Opener<'_>) {
        let (store, now) = (open(), later(start(), 1_000));
        let record = made(&*store, "d").await;
        let own = record.binding.clone();
        let with = |change: &dyn Fn(&mut tollgate::store::ApprovalBinding)| {
            let mut other = own.clone();
            change(&mut other);
            other
        };
        let others = [
            with(&|b| b.agent = "another".into()),
            with(&|b| b.user = Some("alice".into())),
            with(&|b| b.workflow = Some("wf-2".into())),
            with(&|b| b.tool = "files__delete".to_owned()),
            with(&|b| b.fingerprint = "g".into()),
            with(&|b| b.call = "another call".into()),
            with(&|b| b.snapshot = "another bundle".into()),
        ];
        let beside = with(&|b| b.digest = "with other metadata".into());
        let found = async |binding: &tollgate::store::ApprovalBinding| {
            let found = store.approval_for(binding.clone(), record.requirements.clone(), now).await.unwrap();
            found.map(|found| (found.id, found.status))
        };
        let is = |status| Some((record.id.clone(), status));
        assert_eq!(found(&own).await, is(ApprovalStatus::Pending));
        assert_eq!(found(&beside).await, None);
        assert!(
            store.update_approval(answer(&record, ApprovalStatus::Rejected, "alice"), vec![]).await.unwrap()
        );
        assert_eq!(found(&own).await, is(ApprovalStatus::Rejected));
        assert_eq!(found(&beside).await, is(ApprovalStatus::Rejected));
        for other in &others {
            assert_eq!(found(other).await, None, "{other:?}");
        }
        for (number, binding) in others.iter().chain([&beside]).enumerate() {
            let filter = ApprovalFilter { call: Some(binding.clone()), ..ApprovalFilter::default() };
            let of_call = store.approvals(filter).await.unwrap().len();
            // The same call under another bundle, or with something else beside it.
            assert_eq!(of_call, usize::from(number >= others.len() - 1), "{binding:?}");
        }
        // Its own ask comes before the rejection of another.
        let mut second = pending("d", now);
        second.binding = beside.clone();
        let Asked::Made(second) = store.ask(second, Vec::new(), AskLimits::NONE).await.unwrap() else {
            panic!()
        };
        assert_eq!(found(&beside).await, Some((second.id.clone(), ApprovalStatus::Pending)));
        assert!(
            store.update_approval(answer(&second, ApprovalStatus::Approved, "alice"), vec![]).await.unwrap()
        );
        for other in others.iter().chain([&own]) {
            let use_it = AdmitRequest {
                approval: Some((second.id.clone(), other.clone())),
                ..request("planner-01", now)
            };
            let used = store.admit(use_it).await.unwrap();
            assert!(matches!(used, Admission::ApprovalUnusable(_)), "{other:?}: {used:?}");
        }
        let use_it = AdmitRequest { approval: Some((second.id, beside)), ..request("planner-01", now) };
        grant(&*store, use_it).await;
    }

    /// Whatever stands beside the arguments, and in whatever order they were asked about.
    pub(super) async fn the_last_rejection_of_a_call_is_found(open: Opener<'_>) {
        let (store, now) = (open(), later(start(), 10_000));
        let ask = async |beside: &str| {
            let mut record = pending("d", start());
            record.binding.digest = beside.into();
            match store.ask(record, Vec::new(), AskLimits::NONE).await.unwrap() {
                Asked::Made(record) => record,
                other => panic!("{other:?}"),
            }
        };
        let asked = [ask("first").await, ask("second").await, ask("third").await];
        for (number, at) in [(1, 1_000), (0, 2_000), (2, 3_000)] {
            let mut update = answer(&asked[number], ApprovalStatus::Rejected, "alice");
            update.answers[0].at = later(start(), at);
            assert!(store.update_approval(update, Vec::new()).await.unwrap());
            for record in &asked {
                let (binding, needed) = (record.binding.clone(), record.requirements.clone());
                let found = store.approval_for(binding, needed, now).await.unwrap().unwrap();
                let is_pending = store.approval(record.id.clone()).await.unwrap().unwrap().status
                    == ApprovalStatus::Pending;
                let expect = if is_pending { &record.id } else { &asked[number].id };
                assert_eq!(found.id, *expect);
            }
        }
    }

    /// R22, R29: whoever is second changes nothing and leaves no event.
    pub(super) async fn of_two_deciders_one_is_first(open: Opener<'_>) {
        let stores = [open(), open()];
        let record = made(&*stores[0], "d").await;
        let tasks: Vec<_> = [(0, ApprovalStatus::Approved), (1, ApprovalStatus::Rejected)]
            .into_iter()
            .map(|(n, status)| {
                let (store, update) = (stores[n].clone(), answer(&record, status, "alice"));
                let event = EventDraft::system(EventType::ApprovalDecided, start());
                tokio::spawn(async move { store.update_approval(update, vec![event]).await.unwrap() })
            })
            .collect();
        let mut won = Vec::new();
        for task in tasks {
            won.push(task.await.unwrap());
        }
        assert_eq!(won.iter().filter(|w| **w).count(), 1);
        let decided = |event: &&Event| event.draft.event_type == EventType::ApprovalDecided;
        assert_eq!(all_events(&*stores[0]).await.iter().filter(decided).count(), 1);
        let after = stores[0].approval(record.id.clone()).await.unwrap().unwrap();
        let expect = if won[0] { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
        assert_eq!((after.status, after.version, after.answers.len()), (expect, 2, 1));
    }

    /// I4: at most once, across processes too.
    pub(super) async fn an_approval_is_consumed_once(open: Opener<'_>) {
        let stores = [open(), open()];
        let record = approved(&*stores[0], "d").await;
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let (store, request) = (stores[n % 2].clone(), using(&record, start()));
                tokio::spawn(async move { store.admit(request).await.unwrap() })
            })
            .collect();
        let mut granted = 0;
        for task in tasks {
            match task.await.unwrap() {
                Admission::Granted => granted += 1,
                Admission::ApprovalUnusable(reason) => assert!(reason.contains("used already"), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(granted, 1);
        let after = stores[1].approval(record.id).await.unwrap().unwrap();
        assert_eq!(after.status, ApprovalStatus::Consumed);
        assert_eq!(stores[1].approval_for(after.binding, Vec::new(), start()).await.unwrap(), None);
    }

    pub(super) async fn an_unusable_approval_reserves_nothing(open: Opener<'_>) {
        let store = open();
        let limit = [calls("b", BudgetWindow::Day, 1)];
        let check = async |request: AdmitRequest, expect: &str| {
            let request = AdmitRequest { budgets: limit.to_vec(), ..request };
            let call = request.event.call_id.clone();
            match store.admit(request).await.unwrap() {
                Admission::ApprovalUnusable(reason) => assert!(reason.contains(expect), "{reason}"),
                other => panic!("{other:?}"),
            }
            let events = store.events(EventQuery { call_id: call, ..EventQuery::default() }).await.unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].draft.decision, Some(EventDecision::Deny));
            assert!(events[0].draft.reason.as_deref().unwrap().contains(expect));
        };
        let waiting = made(&*store, "waiting").await;
        check(using(&waiting, start()), "has not been decided").await;
        store.update_approval(answer(&waiting, ApprovalStatus::Rejected, "bob"), Vec::new()).await.unwrap();
        check(using(&waiting, start()), "was rejected").await;
        let record = approved(&*store, "d").await;
        check(using(&record, later(start(), 15 * 60_000)), "has expired").await;
        let mut other = using(&record, start());
        other.approval.as_mut().unwrap().1.digest = "another".into();
        check(other, "another call").await;
        let mut nothing = using(&record, start());
        nothing.approval.as_mut().unwrap().0 = "nothing".into();
        check(nothing, "there is no approval").await;
        // A full budget does not use the approval up either.
        let full =
            AdmitRequest { budgets: vec![calls("full", BudgetWindow::Day, 0)], ..using(&record, start()) };
        refuse(&*store, full).await;
        grant(&*store, AdmitRequest { budgets: limit.to_vec(), ..using(&record, start()) }).await;
    }

    pub(super) async fn a_person_excuses_the_budget_that_asked(open: Opener<'_>) {
        let store = open();
        let asks = |id: &str| BudgetLimit {
            on_exceed: BudgetAction::RequireApproval,
            ..calls(id, BudgetWindow::Day, 0)
        };
        let record = approved(&*store, "d").await;
        let other = AdmitRequest { budgets: vec![asks("other")], ..using(&record, start()) };
        assert_eq!(refuse(&*store, other).await.decision, EventDecision::PendingApproval);
        // The record's requirement names `gate`.
        grant(&*store, AdmitRequest { budgets: vec![asks("gate")], ..using(&record, start()) }).await;
        assert_eq!(store.budget_usage(start()).await.unwrap()[0].calls, 1);
    }

    /// I10: a decision made in one process wakes a caller waiting in another.
    pub(super) async fn a_change_elsewhere_wakes_a_waiter(open: Opener<'_>) {
        let (waiter, decider) = (open(), open());
        let record = made(&*waiter, "d").await;
        for (store, status) in [(&decider, ApprovalStatus::Approved), (&waiter, ApprovalStatus::Cancelled)] {
            let mut changes = waiter.approval_changes();
            let waiting = {
                let (waiter, id) = (waiter.clone(), record.id.clone());
                tokio::spawn(async move {
                    loop {
                        let now = waiter.approval(id.clone()).await.unwrap().unwrap();
                        if now.status == status {
                            return;
                        }
                        changes.changed().await.unwrap();
                    }
                })
            };
            let current = store.approval(record.id.clone()).await.unwrap().unwrap();
            assert!(store.update_approval(answer(&current, status, "alice"), Vec::new()).await.unwrap());
            waiting.await.unwrap();
        }
    }

    /// R23.
    pub(super) async fn approvals_survive_and_are_found(open: Opener<'_>) {
        let store = open();
        let first = made(&*store, "a").await;
        let second = approved(&*store, "b").await;
        store.close().await;
        let store = open();
        let ids = |records: Vec<ApprovalRecord>| records.into_iter().map(|r| r.id).collect::<Vec<_>>();
        let find = async |filter| ids(store.approvals(filter).await.unwrap());
        assert_eq!(find(ApprovalFilter::default()).await, [second.id.clone(), first.id.clone()]);
        let pending = ApprovalFilter { status: vec![ApprovalStatus::Pending], ..ApprovalFilter::default() };
        assert_eq!(find(pending).await, std::slice::from_ref(&first.id));
        let nobody = ApprovalFilter { agent: Some(Pattern::from("nobody")), ..ApprovalFilter::default() };
        assert!(find(nobody).await.is_empty());
        let like = async |glob: &str, limit| {
            let agent = Some(Pattern::parse(glob).unwrap());
            find(ApprovalFilter { agent, limit, ..ApprovalFilter::default() }).await
        };
        let agent = first.binding.agent.as_str();
        let all: String = agent.chars().take(1).chain(['*']).collect();
        assert_eq!(like(&all, 0).await, [second.id.clone(), first.id.clone()], "of {agent}");
        assert_eq!(like(&all, 1).await, std::slice::from_ref(&second.id));
        assert!(like("nobody*", 0).await.is_empty());
        let newest = find(ApprovalFilter { limit: 1, ..ApprovalFilter::default() }).await;
        assert_eq!(newest, std::slice::from_ref(&second.id));
        let before = async |id: &ApprovalId| {
            find(ApprovalFilter { before: Some(id.clone()), ..ApprovalFilter::default() }).await
        };
        assert_eq!(before(&second.id).await, std::slice::from_ref(&first.id));
        assert!(before(&first.id).await.is_empty());
        assert!(before(&ApprovalId::from("none")).await.is_empty());
        assert_eq!(first.expires_at, second.expires_at);
        let due = async |at| find(ApprovalFilter { due: Some(at), ..ApprovalFilter::default() }).await;
        assert_eq!(due(first.expires_at).await, [second.id.clone(), first.id.clone()]);
        let before = first.expires_at.checked_sub(jiff::SignedDuration::from_micros(1)).unwrap();
        assert!(due(before).await.is_empty());
        let head = |record: &ApprovalRecord| ApprovalHead {
            id: record.id.clone(),
            version: record.version,
            status: record.status,
        };
        let heads = [head(&second), head(&first)];
        assert_eq!(store.approval_heads(10).await.unwrap(), heads);
        assert_eq!(store.approval_heads(1).await.unwrap(), heads[..1]);
        assert_eq!(store.approval(second.id.clone()).await.unwrap(), Some(second.clone()));
        let found = async |now| {
            store.approval_for(second.binding.clone(), Vec::new(), now).await.unwrap().map(|r| r.id)
        };
        assert_eq!(found(start()).await, Some(second.id.clone()));
        assert_eq!(found(second.expires_at).await, None);
    }

    /// R47.
    pub(super) async fn events_are_found_by_every_index(open: Opener<'_>) {
        let store = open();
        let mut wanted = decision("wanted", time("2026-05-12T00:00:00.0000005Z"));
        wanted.trace_id = TraceId::parse("11111111111111111111111111111111");
        wanted.workflow_id = Some(WorkflowId::from("wanted"));
        wanted.policy_id = Some(PolicyId::from("wanted"));
        wanted.tool = Some("wanted".into());
        wanted.decision = Some(EventDecision::Suggest);
        wanted.event_type = EventType::AdminAction;
        wanted.approval_id = Some("wanted".into());
        wanted.user = Some("wanted".into());
        wanted.detail = Some(serde_json::json!({"person": "wanted"}));
        let others = (0..5).map(|_| decision("other", start()));
        let drafts: Vec<_> = others.clone().chain([wanted.clone()]).chain(others).collect();
        store.record(drafts).await.unwrap();
        let any = EventQuery::default;
        let exact = || Some(Pattern::from("wanted"));
        let glob = |text| Some(Pattern::parse(text).unwrap());
        let queries = [
            EventQuery { trace_id: wanted.trace_id, ..any() },
            EventQuery { workflow_id: exact(), ..any() },
            EventQuery { agent_id: exact(), ..any() },
            EventQuery { policy_id: exact(), ..any() },
            EventQuery { tool: exact(), ..any() },
            EventQuery { user: exact(), ..any() },
            EventQuery { person: exact(), ..any() },
            EventQuery { workflow_id: glob("want*"), ..any() },
            EventQuery { agent_id: glob("*nted"), ..any() },
            EventQuery { policy_id: glob("w*d"), ..any() },
            EventQuery { tool: glob("**ant**"), ..any() },
            EventQuery { user: glob("w**"), ..any() },
            EventQuery { person: glob("*"), ..any() },
            EventQuery { tool: glob("want*"), call_id: wanted.call_id.clone(), ..any() },
            EventQuery { decision: wanted.decision, ..any() },
            EventQuery { event_type: Some(wanted.event_type), ..any() },
            EventQuery { call_id: wanted.call_id.clone(), ..any() },
            EventQuery { approval_id: wanted.approval_id.clone(), ..any() },
            EventQuery { since: Some(time("2026-05-12T00:00:00Z")), ..any() },
            EventQuery { after_seq: Some(5), limit: 1, ..any() },
            EventQuery { agent_id: exact(), trace_id: wanted.trace_id, newest_first: true, ..any() },
        ];
        for query in queries {
            let found = store.events(query.clone()).await.unwrap();
            assert_eq!(found.len(), 1, "{query:?}");
            assert_eq!((found[0].seq, &found[0].draft), (6, &wanted), "{query:?}");
        }
        for none in ["ante", "want", "*/wanted", "wanted?*"] {
            let query = EventQuery { tool: glob(none), ..any() };
            assert!(store.events(query).await.unwrap().is_empty(), "{none}");
        }
        let until = EventQuery { until: Some(time("2026-05-12T00:00:00Z")), ..any() };
        assert_eq!(store.events(until).await.unwrap().len(), 10);
        let seqs = async |query| -> Vec<i64> {
            store.events(query).await.unwrap().into_iter().map(|e| e.seq).collect()
        };
        assert_eq!(seqs(EventQuery { newest_first: true, limit: 3, ..any() }).await, [11, 10, 9]);
        assert_eq!(seqs(EventQuery { limit: 2, ..any() }).await, [1, 2]);
        // One that fits comes in any case, and none after as many bytes as may be.
        assert_eq!(seqs(EventQuery { most_bytes: 1, ..any() }).await, [1]);
        assert_eq!(seqs(EventQuery { most_bytes: 1, newest_first: true, ..any() }).await, [11]);
        assert_eq!(seqs(EventQuery { most_bytes: 1_000_000, ..any() }).await.len(), 11);
    }

    /// R45: nothing answers before it is committed, and what is committed is seen by every later read.
    pub(super) async fn a_committed_event_is_seen_at_once_and_published(open: Opener<'_>) {
        let (store, other) = (open(), open());
        let (mut here, mut there) = (store.committed(), other.committed());
        for n in 1..=20 {
            store.record(vec![decision("a", start())]).await.unwrap();
            let query = EventQuery { after_seq: Some(n - 1), ..EventQuery::default() };
            assert_eq!(other.events(query.clone()).await.unwrap().len(), 1);
            assert_eq!(store.events(query).await.unwrap()[0], *here.recv().await.unwrap());
        }
        assert!(there.try_recv().is_err(), "only this process's own");
        store.close().await;
        assert!(here.recv().await.is_err(), "the end is told");
    }

    pub(super) async fn an_operation_that_fails_fails_alone(open: Opener<'_>) {
        let store = open();
        let mut tasks = Vec::new();
        for n in 0..64 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                if n % 8 == 0 {
                    let never = settlement(&request("x", start()), None, None);
                    assert!(store.settle(never).await.is_err());
                    0
                } else {
                    store.record(vec![decision("a", start())]).await.unwrap();
                    1
                }
            }));
        }
        let mut recorded = 0;
        for task in tasks {
            recorded += task.await.unwrap();
        }
        let report = store.verify().await.unwrap();
        assert_eq!((report.records, report.bad), (recorded, None));
        assert_eq!(recorded, 56);
    }

    /// I1: nothing stays reserved for a call that nobody will dispatch.
    pub(super) async fn a_caller_who_left_leaves_nothing_reserved(open: Opener<'_>) {
        let store = open();
        let limit = [calls("b", BudgetWindow::Minute, 1_000), calls("d", BudgetWindow::Day, 1_000)];
        for round in 0..200_u32 {
            let mut admission = store.admit(AdmitRequest { tokens: 10, ..with(&limit, start()) });
            // Polled once or not at all, then dropped while the writer is at it.
            if round % 2 == 0 {
                drop(futures::poll!(&mut admission));
            }
            drop(admission);
        }
        // Everything queued before this has been answered, and what was left behind is next.
        store.ping().await.unwrap();
        store.ping().await.unwrap();
        let usage = store.budget_usage(start()).await.unwrap();
        assert!(usage.iter().all(|u| u.tokens == 0), "{usage:?}");
        let events = all_events(&*store).await;
        let count = |kind| events.iter().filter(|e| e.draft.event_type == kind).count();
        assert_eq!(count(EventType::AgentDecision), count(EventType::AgentSideEffect));
    }

    pub(super) async fn results_are_learned(open: Opener<'_>) {
        let store = open();
        for (n, tokens) in [800, 0, 1_600].into_iter().enumerate() {
            let call = request("a", start());
            let store = if n == 1 { open() } else { store.clone() };
            grant(&*store, call.clone()).await;
            let mut settlement = settlement(&call, None, None);
            settlement.learned = Some((SizeCell::new("files__read", 10, "a"), tokens));
            store.settle(settlement).await.unwrap();
        }
        // The median, to about 2 %; and each handle has what the others learned.
        let about = |sizes: &LearnedSizes| sizes.expected("files__read", 10, "a", None).abs_diff(800) <= 16;
        let sizes = store.learned_sizes().await.unwrap();
        assert!(about(&sizes) && sizes.by_tool().len() == 1, "{:?}", sizes.by_tool());
        let other = open();
        let theirs = other.learned_sizes().await.unwrap();
        assert!(about(&theirs));
        for tokens in [5_000; 4] {
            let call = request("a", start());
            grant(&*store, call.clone()).await;
            let mut settlement = settlement(&call, None, None);
            settlement.learned = Some((SizeCell::new("files__read", 10, "a"), tokens));
            store.settle(settlement).await.unwrap();
        }
        grant(&*other, request("b", start())).await;
        let told = theirs.expected("files__read", 10, "a", None);
        assert!((4_900..=5_100).contains(&told), "{told}");
    }

    pub(super) async fn secrets_are_the_same_everywhere(open: Opener<'_>) {
        let (one, two) = (open(), open());
        assert_eq!(one.secret("digest", [1; 32]).await.unwrap(), [1; 32]);
        assert_eq!(two.secret("digest", [2; 32]).await.unwrap(), [1; 32]);
        assert_eq!(two.secret("other", [3; 32]).await.unwrap(), [3; 32]);
    }

    pub(super) async fn a_closed_store_refuses(open: Opener<'_>) {
        let store = open();
        let waiting: Vec<_> = (0..100).map(|_| store.record(vec![decision("a", start())])).collect();
        store.close().await;
        for answer in waiting {
            answer.await.unwrap();
        }
        assert!(matches!(store.ping().await, Err(StoreError::Closed)));
        assert!(matches!(store.admit(request("a", start())).await, Err(StoreError::Closed)));
        assert!(matches!(store.events(EventQuery::default()).await, Err(StoreError::Closed)));
        store.close().await;
        assert_eq!(all_events(&*open()).await.len(), 100);
    }

    /// I9, R57.
    pub(super) async fn the_chain_verifies(open: Opener<'_>) {
        let (one, two) = (open(), open());
        assert_eq!(one.verify().await.unwrap().records, 0);
        for n in 0..30 {
            let store = if n % 2 == 0 { &one } else { &two };
            store.record(vec![decision("a", start()), decision("b", start())]).await.unwrap();
        }
        let report = one.verify().await.unwrap();
        assert_eq!((report.records, &report.bad), (60, &None));
        let events = all_events(&*one).await;
        assert_eq!(events.last().unwrap().hash, report.head);
        assert_eq!(events[0].prev_hash, "0".repeat(64));
        for pair in events.windows(2) {
            assert_eq!((pair[1].seq, &pair[1].prev_hash), (pair[0].seq + 1, &pair[0].hash));
        }
    }
}
