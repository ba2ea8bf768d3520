//! `[store] retention`: whole old segments go, and what is still needed of them stays (R58).

use crate::store::*;
use std::path::Path;
use tollgate::{
    cost::BudgetWindow,
    model::{ApprovalStatus, EventType},
    store::{
        Admission, AdmitRequest, ApprovalFilter, ApprovalUpdate, AskLimits, EventQuery, GrantMade, Kept,
        KeptKind, Store as _, embedded::EmbeddedStore,
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
