//! `[store] retention`: whole old segments go, and what is still needed of them stays (R58).

use crate::store::*;
use std::path::Path;
use tollgate::{
    approval::{HoldError, Holds},
    cost::BudgetWindow,
    model::{AgentId, ApprovalStatus, EventType, PersonId, TraceId},
    store::{
        Admission, AdmitRequest, ApprovalFilter, ApprovalUpdate, AskLimits, EventQuery, GrantMade, Held,
        Kept, KeptKind, Pattern, Register, RegisterChange, Store as _, embedded::EmbeddedStore,
    },
};

pub(crate) const DAY: i64 = 86_400_000;

fn segments(dir: &Path) -> usize {
    tollgate::journal::list(&dir.join("tollgate.journal")).unwrap().len()
}

/// A hundred calls on a day.
pub(crate) async fn calls_on(store: &EmbeddedStore, day: i64) {
    for n in 0..100 {
        let mut request = request("planner-01", later(start(), day * DAY + n * 100));
        request.budgets =
            vec![calls("ever", BudgetWindow::Ever, 100_000), calls("day", BudgetWindow::Day, 100_000)];
        assert_eq!(store.admit(request.clone()).await.unwrap(), Admission::Granted);
        store.settle(settlement(&request, None, None)).await.unwrap();
    }
}

fn counted(usage: &[tollgate::store::BudgetUsage]) -> Vec<(String, u64)> {
    usage.iter().map(|usage| (usage.window.clone(), usage.calls)).collect()
}

/// Records of before go with their segments. Open calls, counters, what is kept and approvals that a call may use survive,
/// also where the projection is made anew from what is left; and what is left verifies.
#[tokio::test(flavor = "multi_thread")]
async fn old_segments_go_and_what_is_needed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(50).await.unwrap();
    let body = "{}".to_owned();
    let name = tollgate::evidence::content_hash(&body);
    let kept = Kept { kind: KeptKind::Tool, name: name.clone(), hash: name.clone(), body };
    store.keep(kept.clone()).await.unwrap();
    // Asked on the first day: one that lasts, and one that is over.
    let mut lasting = pending("lasting", start());
    lasting.expires_at = later(start(), 400 * DAY);
    let mut over = pending("over", start());
    over.expires_at = later(start(), DAY);
    for record in [&lasting, &over] {
        store.ask(record.clone(), Vec::new(), AskLimits::NONE).await.unwrap();
    }
    let approve = ApprovalUpdate {
        id: lasting.id.clone(),
        expected_version: 1,
        status: ApprovalStatus::Approved,
        answers: Vec::new(),
        covered_by: None,
    };
    assert!(store.update_approval(approve, Vec::new()).await.unwrap());
    // A standing grant of the first day that lasts, used once then.
    let asked = pending("granted", start());
    store.ask(asked.clone(), Vec::new(), AskLimits::NONE).await.unwrap();
    let mut lasts = granted(&asked, 3, start());
    lasts.terms.expires_at = later(start(), 400 * DAY);
    let approve = ApprovalUpdate {
        id: asked.id.clone(),
        expected_version: 1,
        status: ApprovalStatus::Approved,
        answers: Vec::new(),
        covered_by: None,
    };
    let made = store.make_grant(approve, lasts.clone(), Vec::new(), grant_made(&lasts), 9).await.unwrap();
    assert_eq!(made, GrantMade::Made);
    let under = |now| AdmitRequest {
        grant: Some((lasts.id.clone(), lasts.terms.clone().into())),
        ..request("planner-01", now)
    };
    let used = under(start());
    assert_eq!(store.admit(used.clone()).await.unwrap(), Admission::Granted);
    store.settle(settlement(&used, None, None)).await.unwrap();
    // A call that is open all the time.
    let open_call = request("planner-01", start());
    assert_eq!(store.admit(open_call.clone()).await.unwrap(), Admission::Granted);
    calls_on(&store, 0).await;
    calls_on(&store, 300).await;
    let before = segments(dir.path());
    let now = later(start(), 300 * DAY + 60_000);
    let usage = store.budget_usage(now).await.unwrap();

    assert_eq!(store.retire(later(start(), -DAY), now).await.unwrap(), 0, "nothing is that old");
    let gone = store.retire(later(start(), 100 * DAY), now).await.unwrap();
    assert!(gone >= 150, "{gone}");
    assert!(segments(dir.path()) < before);
    let check = async |store: &EmbeddedStore| {
        assert_eq!(store.verify().await.unwrap().bad, None);
        let old = EventQuery { until: Some(later(start(), DAY)), limit: 1, ..EventQuery::default() };
        let oldest = store.events(old).await.unwrap();
        // Of the segment that both days are in some may be left.
        assert!(oldest.iter().all(|event| event.seq > 150), "{oldest:?}");
        assert_eq!(counted(&store.budget_usage(now).await.unwrap()), counted(&usage));
        let left = store.approvals(ApprovalFilter::default()).await.unwrap();
        assert_eq!(left.iter().map(|record| &record.id).collect::<Vec<_>>(), [&lasting.id]);
        assert_eq!(store.kept(KeptKind::Tool, name.clone()).await.unwrap().as_ref(), Some(&kept));
        let said = EventQuery { event_type: Some(EventType::AdminAction), ..EventQuery::default() };
        let said = store.events(said).await.unwrap();
        assert!(
            said.iter().any(|event| event.draft.action.as_deref() == Some("records_retired")),
            "{said:?}"
        );
    };
    check(&store).await;
    store.close().await;
    // Another process, and one that has to make the projection anew.
    let store = open(dir.path());
    check(&store).await;
    store.close().await;
    for file in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm"] {
        std::fs::remove_file(dir.path().join(file)).ok();
    }
    let store = open(dir.path());
    check(&store).await;
    // The open call of the process that ended is settled, and the approval used once.
    assert_eq!(store.settle_dead_owners(now).await.unwrap(), 1);
    let using = AdmitRequest {
        approval: Some((lasting.id.clone(), lasting.binding.clone())),
        ..request("planner-01", now)
    };
    assert_eq!(store.admit(using).await.unwrap(), Admission::Granted);
    let again = AdmitRequest {
        approval: Some((lasting.id.clone(), lasting.binding.clone())),
        ..request("planner-01", now)
    };
    assert!(matches!(store.admit(again).await.unwrap(), Admission::ApprovalUnusable(_)));
    // Of the grant two uses are left, and no third.
    for expect in [true, true, false] {
        assert_eq!(store.admit(under(now)).await.unwrap() == Admission::Granted, expect);
    }
    assert_eq!(store.verify().await.unwrap().bad, None);
}

/// A window that goes on is not forgotten with old segments, in whatever zone it began.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_goes_on_is_kept_whatever_its_zone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(50).await.unwrap();
    let at = |text: &str| -> jiff::Timestamp { text.parse().unwrap() };
    let zone = |name: &str| tollgate::cost::BudgetZone {
        name: name.into(),
        rules: jiff::tz::TimeZone::get(name).unwrap(),
    };
    let month = || tollgate::decision::BudgetLimit {
        zone: Some(zone("Europe/Berlin")),
        ..calls("month", BudgetWindow::Month, 100)
    };
    let call = async |now| {
        let mut request = request("planner-01", now);
        request.budgets = vec![month()];
        let admitted = store.admit(request.clone()).await.unwrap();
        if admitted == Admission::Granted {
            store.settle(settlement(&request, None, None)).await.unwrap();
        }
        admitted == Admission::Granted
    };
    for n in 0..100 {
        assert!(call(later(at("2026-11-01T12:00:00Z"), n)).await);
    }
    assert!(!call(at("2026-11-20T11:00:00Z")).await);
    let gone = store.retire(at("2026-11-13T00:00:00Z"), at("2026-11-20T12:00:00Z")).await.unwrap();
    assert!(gone >= 50, "{gone}");
    assert!(!call(at("2026-11-20T13:00:00Z")).await, "the month goes on");
    assert!(call(at("2026-11-30T23:30:00Z")).await, "another month");
}

/// Without the record that says so, removed segments are records that are missing.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_somebody_removed_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(50).await.unwrap();
    calls_on(&store, 0).await;
    store.close().await;
    let (_, first) = tollgate::journal::list(&dir.path().join("tollgate.journal")).unwrap().remove(0);
    std::fs::remove_file(first).unwrap();
    let report = EmbeddedStore::verify_at_rest(&database(dir.path())).unwrap().unwrap();
    let bad = report.bad.unwrap();
    assert!(bad.seq == 1 && bad.problem.contains("missing"), "{bad:?}");
}

const HELD_TRACE: &str = "11111111111111111111111111111111";

/// A store of two days: on the first a hundred calls, one of `held-01` under its own trace with an approval that was asked for
/// before all of them, and a hundred more; and on the last a hundred that are young. Gives the `seq` of the call that is held.
async fn two_days(dir: &Path) -> (std::sync::Arc<EmbeddedStore>, i64) {
    let store = open(dir);
    store.seal_after(50).await.unwrap();
    calls_on(&store, 0).await;
    let mut held = request("held-01", later(start(), 20_000));
    held.event.trace_id = TraceId::parse(HELD_TRACE);
    assert_eq!(store.admit(held.clone()).await.unwrap(), Admission::Granted);
    store.settle(settlement(&held, None, None)).await.unwrap();
    let of = EventQuery { agent_id: Some(Pattern::from("held-01")), limit: 1, ..EventQuery::default() };
    let seq = store.events(of).await.unwrap()[0].seq;
    calls_on(&store, 1).await;
    calls_on(&store, 300).await;
    (store, seq)
}

/// A legal hold keeps the segments of what it holds and all behind them, over restarts and from a process that did not place it;
/// once it is released they go. The record verifies all along.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_a_legal_hold_stays() {
    let by = PersonId::from("carol");
    for held in [Held::Trace(TraceId::parse(HELD_TRACE).unwrap()), Held::Agent(AgentId::from("held-01"))] {
        let dir = tempfile::tempdir().unwrap();
        let (store, seq) = two_days(dir.path()).await;
        let now = later(start(), 300 * DAY + 60_000);
        let before = later(start(), 100 * DAY);
        let other = open(dir.path());
        let data = tollgate::redaction::DataRules::built_in();
        let holds = Holds::new(other.clone());
        let placed = holds.place(&data, held.clone(), (Some(&by), "case 17"), now).await.unwrap();
        assert_eq!(placed.first.map(|(seq, _)| seq), Some(seq));
        // Another matter, about somebody who has done nothing: it holds nothing of before.
        let nobody = Held::Agent(AgentId::from("nobody"));
        assert_eq!(holds.place(&data, nobody, (None, "case 18"), now).await.unwrap().first, None);

        let gone = store.retire(before, now).await.unwrap();
        assert!(gone >= 50 && i64::try_from(gone).unwrap() < seq, "{gone} of {seq}");
        let oldest = async |store: &EmbeddedStore| {
            store.events(EventQuery { limit: 1, ..EventQuery::default() }).await.unwrap()[0].seq
        };
        assert_eq!(oldest(&store).await, i64::try_from(gone).unwrap() + 1);
        assert_eq!(store.retire(before, now).await.unwrap(), 0, "no more may go");
        assert_eq!(store.verify().await.unwrap().bad, None);
        other.close().await;
        store.close().await;
        // The projection has nothing to say about it.
        for file in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm"] {
            std::fs::remove_file(dir.path().join(file)).ok();
        }

        let store = open(dir.path());
        assert_eq!(store.retire(before, now).await.unwrap(), 0, "it outlasts the processes");
        let data = tollgate::redaction::DataRules::built_in();
        let holds = Holds::new(store.clone());
        let listed = holds.list().await.unwrap();
        let shown: Vec<_> = listed.iter().map(|one| (&one.hold.held, one.hold.reason.as_str())).collect();
        assert!(shown.contains(&(&held, "case 17")) && shown.len() == 2, "{shown:?}");
        let id = &listed.iter().find(|one| one.hold.held == held).unwrap().hold.id;
        assert!(matches!(holds.release(&data, id, (&by, " "), now).await, Err(HoldError::NoReason)));
        assert!(matches!(holds.release(&data, "hold-0", (&by, "r"), now).await, Err(HoldError::NotFound)));
        holds.release(&data, id, (&by, "closed"), now).await.unwrap();
        assert!(matches!(holds.release(&data, id, (&by, "closed"), now).await, Err(HoldError::NotFound)));
        let more = store.retire(before, now).await.unwrap();
        assert!(oldest(&store).await > seq, "{gone} and {more} went, and {seq} is there");
        assert_eq!(store.verify().await.unwrap().bad, None);
        // Who held and released it is told by records that stay.
        let told = EventQuery { event_type: Some(EventType::AdminAction), ..EventQuery::default() };
        let told = store.events(told).await.unwrap();
        let of = told.iter().map(|event| &event.draft).filter(|draft| {
            draft.action.as_deref() == Some("legal_hold")
                && draft.detail.as_ref().unwrap()["hold"] == serde_json::json!(id)
        });
        let told: Vec<_> = of
            .map(|draft| {
                let detail = draft.detail.as_ref().unwrap();
                (detail["status"].clone(), detail["person"].clone(), draft.reason.as_deref().unwrap())
            })
            .collect();
        assert_eq!(
            told,
            [("placed".into(), "carol".into(), "case 17"), ("released".into(), "carol".into(), "closed")]
        );
        store.close().await;
    }
}

/// Who approved a held call may stand in another trace, and older: that is held with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_approval_of_a_held_call_stays_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(50).await.unwrap();
    calls_on(&store, 0).await;
    let asked = pending("asked", later(start(), 20_000));
    store.ask(asked.clone(), Vec::new(), AskLimits::NONE).await.unwrap();
    let query = EventQuery { approval_id: Some(asked.id.clone()), limit: 1, ..EventQuery::default() };
    let first = store.events(query).await.unwrap()[0].seq;
    calls_on(&store, 1).await;
    let mut used = request("planner-01", later(start(), 2 * DAY));
    used.event.trace_id = TraceId::parse(HELD_TRACE);
    used.event.approval_id = Some(asked.id.clone());
    assert_eq!(store.admit(used.clone()).await.unwrap(), Admission::Granted);
    store.settle(settlement(&used, None, None)).await.unwrap();
    calls_on(&store, 300).await;
    let now = later(start(), 300 * DAY + 60_000);
    let held = Held::Trace(TraceId::parse(HELD_TRACE).unwrap());
    Holds::new(store.clone())
        .place(&tollgate::redaction::DataRules::built_in(), held, (None, "case 17"), now)
        .await
        .unwrap();
    let gone = store.retire(later(start(), 100 * DAY), now).await.unwrap();
    assert!(gone > 0 && i64::try_from(gone).unwrap() < first, "{gone} of {first}");
}

/// A hold that nobody can read holds everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_read_holds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = two_days(dir.path()).await;
    let now = later(start(), 300 * DAY + 60_000);
    let odd =
        RegisterChange::set(Register::Hold, "hold-of-later", serde_json::json!({"held": {"year": 2026}}));
    assert!(store.set(vec![odd.clone()], Vec::new()).await.unwrap());
    assert_eq!(store.retire(later(start(), 100 * DAY), now).await.unwrap(), 0);
    assert!(Holds::new(store.clone()).list().await.unwrap_err().to_string().contains("hold-of-later"));
    assert!(store.set(vec![RegisterChange { value: None, ..odd }], Vec::new()).await.unwrap());
    assert!(store.retire(later(start(), 100 * DAY), now).await.unwrap() > 0);
}
