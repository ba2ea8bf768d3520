//! The stores: two handles on one file, as two processes have them, or two replicas on one database.

use crate::{
    ASKS, Counters, Subject, counter,
    store::{self, database::Database},
};
use jiff::Timestamp;
use std::sync::Arc;
use tollgate::{
    admission::window,
    cost::BudgetWindow,
    model::{ApprovalStatus, EventDraft, EventType, PersonId, PolicyId, SnapshotId},
    policy::ChannelKind,
    store::{
        Admission, AdmitRequest, ApprovalAnswer, ApprovalRecord, ApprovalUpdate, Asked, BudgetReset,
        GrantEnd, GrantEndReason, GrantMade, ResetBy, StandingGrant, Store as _, embedded::EmbeddedStore,
    },
};

pub(crate) struct Stored {
    stores: [Arc<EmbeddedStore>; 2],
    dir: tempfile::TempDir,
    database: Option<Database>,
}

impl Stored {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { stores: [store::open(dir.path()), store::open(dir.path())], dir, database: None }
    }

    pub(crate) fn on_postgresql() -> Self {
        let (dir, database) = (tempfile::tempdir().unwrap(), store::database::server().database());
        let stores = [database.replica(dir.path()), database.replica(dir.path())];
        Self { stores, dir, database: Some(database) }
    }
}

impl Subject for Stored {
    async fn admit(&mut self, process: usize, request: AdmitRequest) -> Admission {
        self.stores[process].admit(request).await.unwrap()
    }

    async fn settle(&mut self, process: usize, request: &AdmitRequest, took: Option<(u64, i64)>) {
        let settlement =
            store::settlement(request, took.map(|(tokens, _)| tokens), took.map(|(_, cost)| cost));
        self.stores[process].settle(settlement).await.unwrap();
    }

    async fn ask(&mut self, process: usize, record: ApprovalRecord) -> Asked {
        let event = EventDraft::system(EventType::ApprovalRequested, record.created_at);
        self.stores[process].ask(record, vec![event], ASKS).await.unwrap()
    }

    async fn decide(&mut self, process: usize, record: &ApprovalRecord, approve: bool, now: Timestamp) {
        let update = ApprovalUpdate {
            id: record.id.clone(),
            expected_version: record.version,
            status: if approve { ApprovalStatus::Approved } else { ApprovalStatus::Rejected },
            answers: vec![ApprovalAnswer {
                person: PersonId::from("alice"),
                approve,
                at: now,
                channel: ChannelKind::Cli,
                comment: None,
                evidence: None,
                snapshot: SnapshotId::from("snapshot"),
                grant: None,
                grant_id: None,
            }],
            covered_by: None,
        };
        assert!(self.stores[process].update_approval(update, Vec::new()).await.unwrap());
    }

    async fn make_grant(&mut self, process: usize, record: &ApprovalRecord, grant: StandingGrant) {
        let update = ApprovalUpdate {
            id: record.id.clone(),
            expected_version: record.version,
            status: ApprovalStatus::Approved,
            answers: Vec::new(),
            covered_by: None,
        };
        let told = store::grant_made(&grant);
        let made = self.stores[process].make_grant(update, grant, Vec::new(), told, 1_000).await.unwrap();
        assert_eq!(made, GrantMade::Made);
    }

    async fn revoke(&mut self, process: usize, grant: &StandingGrant, now: Timestamp) -> bool {
        let end = GrantEnd { why: GrantEndReason::Revoked, at: now, by: Some("alice".into()), reason: None };
        self.stores[process].end_grant(grant.id.clone(), end).await.unwrap().is_some()
    }

    async fn crash(&mut self, process: usize) {
        self.stores[process] = match &self.database {
            None => store::open(self.dir.path()),
            // That a killed one is dead is seen after a while; one that says so leaves its calls open just so.
            Some(database) => {
                self.stores[process].close().await;
                database.replica(self.dir.path())
            }
        };
    }

    async fn settle_dead(&mut self, process: usize, now: Timestamp) -> u64 {
        self.stores[process].settle_dead_owners(now).await.unwrap()
    }

    async fn reset(&mut self, process: usize, counter: (&str, &str, BudgetWindow), now: Timestamp) {
        let (id, key, window) = counter;
        let start = window::start_of(window, None, now.as_microsecond());
        let reset = BudgetReset {
            id: PolicyId::from(id),
            key: Some(key.to_owned()),
            kind: window::word(window).to_owned(),
            window_start: start.map(|start| Timestamp::from_microsecond(start).unwrap()),
            by: ResetBy {
                person: PersonId::from("dan"),
                channel: "cli",
                reason: tollgate::redaction::DataRules::built_in().said("a trial", 100),
            },
            now,
        };
        for counter in self.stores[process].reset_budget(reset).await.unwrap() {
            assert!(counter.after.calls <= counter.before.calls, "{counter:?}");
        }
    }

    async fn counters(&mut self, process: usize, now: Timestamp) -> Counters {
        let usage = self.stores[process].budget_usage(now).await.unwrap();
        usage
            .into_iter()
            .map(|u| (counter(&u.id, &u.key, &u.window), (u.calls, u.tokens, u.cost_usd.0)))
            .collect()
    }

    async fn check(&mut self, _: Timestamp) {
        assert_eq!(self.stores[0].verify().await.unwrap().bad, None);
    }
}
