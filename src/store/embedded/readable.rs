//! A damaged store, opened for reading alone: what can be read of it, without anything being put right or written.

use super::{
    book::{self, Book},
    fold,
    grants::Grants,
    kept, projection, records,
    registers::Registers,
    trees, usage, verify,
};
use crate::{
    cost::LearnedSizes,
    journal::Reader,
    model::{ApprovalId, Event, EventDraft, GrantId},
    store::{
        Admission, AdmitRequest, ApprovalBinding, ApprovalFilter, ApprovalHead, ApprovalRecord,
        ApprovalUpdate, AskLimits, Asked, BudgetReset, BudgetUsage, ChainReport, EventLine, EventQuery,
        GrantEnd, GrantFilter, GrantMade, Kept, KeptKind, KnownDamage, Register, RegisterChange,
        RegisterEntry, Requirement, ResetCounter, Settlement, StandingGrant, Store, StoreError, StoreFuture,
        TreeAnswer, TreePath,
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{broadcast, watch as signal};

/// What can be read of a damaged store.
#[derive(Debug)]
pub(super) struct ReadableStore {
    path: PathBuf,
    journal: Reader,
    /// A projection of what can be read.
    made: Mutex<Connection>,
    registers: Registers,
    unverified: Mutex<BTreeMap<ApprovalId, String>>,
}

/// Everything that would write.
fn refused<T: Send + 'static>() -> StoreFuture<'static, T> {
    let problem = "it is opened for reading alone".to_owned();
    async move { Err(StoreError::Damaged(problem)) }.boxed()
}

fn done<'a, T: Send + 'a>(read: Result<T, StoreError>) -> StoreFuture<'a, T> {
    async move { read }.boxed()
}

impl ReadableStore {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let journal = Reader::open_damaged(&projection::journal_dir(path))?;
        journal.refresh()?;
        let made = projection::in_memory()?;
        fold::rebuild(&made, &journal, [0; 16])?;
        let registers = Registers::readable(&journal)?;
        let path = path.to_owned();
        Ok(Self { path, journal, made: Mutex::new(made), registers, unverified: Mutex::default() })
    }

    fn book<T>(&self, read: impl FnOnce(Book<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(Book { connection: &self.made.lock(), journal: &self.journal })
    }
}

impl Store for ReadableStore {
    fn admit(&self, _: AdmitRequest) -> StoreFuture<'_, Admission> {
        refused()
    }

    fn settle(&self, _: Settlement) -> StoreFuture<'_, ()> {
        refused()
    }

    fn record(&self, _: Vec<EventDraft>) -> StoreFuture<'_, ()> {
        refused()
    }

    fn order(&self, _: Vec<EventDraft>, _: i64) -> StoreFuture<'_, bool> {
        refused()
    }

    fn ask(&self, _: ApprovalRecord, _: Vec<EventDraft>, _: AskLimits) -> StoreFuture<'_, Asked> {
        refused()
    }

    fn approval(&self, id: ApprovalId) -> StoreFuture<'_, Option<ApprovalRecord>> {
        done(match self.book(|book| book.get(&id)) {
            Err(StoreError::Unverified(problem)) => {
                self.unverified.lock().insert(id, problem);
                Ok(None)
            }
            found => found,
        })
    }

    fn approval_for(
        &self,
        binding: ApprovalBinding,
        needed: Vec<Requirement>,
        now: Timestamp,
    ) -> StoreFuture<'_, Option<ApprovalRecord>> {
        done(self.book(|book| book.find(&binding, &needed, now)))
    }

    fn approvals(&self, filter: ApprovalFilter) -> StoreFuture<'_, Vec<ApprovalRecord>> {
        let left_out = |id: &ApprovalId, problem: &str| {
            self.unverified.lock().insert(id.clone(), problem.to_owned());
        };
        done(self.book(|book| book::list(book, &filter, &left_out)))
    }

    fn approval_heads(&self, limit: usize) -> StoreFuture<'_, Vec<ApprovalHead>> {
        done(self.book(|book| book::heads(book.connection, limit)))
    }

    fn update_approval(&self, _: ApprovalUpdate, _: Vec<EventDraft>) -> StoreFuture<'_, bool> {
        refused()
    }

    fn make_grant(
        &self,
        _: ApprovalUpdate,
        _: StandingGrant,
        _: Vec<EventDraft>,
        _: EventDraft,
        _: usize,
    ) -> StoreFuture<'_, GrantMade> {
        refused()
    }

    fn grant(&self, id: GrantId) -> StoreFuture<'_, Option<StandingGrant>> {
        done(self.book(|book| Grants::from(book).get(&id)))
    }

    fn grants(&self, filter: GrantFilter) -> StoreFuture<'_, Vec<StandingGrant>> {
        done(self.book(|book| Grants::from(book).list(&filter)))
    }

    fn end_grant(&self, _: GrantId, _: GrantEnd) -> StoreFuture<'_, Option<StandingGrant>> {
        refused()
    }

    fn approval_changes(&self) -> signal::Receiver<u64> {
        signal::Sender::new(0).subscribe()
    }

    fn control_changes(&self) -> signal::Receiver<u64> {
        signal::Sender::new(0).subscribe()
    }

    fn set(&self, _: Vec<RegisterChange>, _: Vec<EventDraft>) -> StoreFuture<'_, bool> {
        refused()
    }

    fn register(&self, register: Register) -> StoreFuture<'_, Vec<RegisterEntry>> {
        done(Ok(self.registers.of(register)))
    }

    fn register_entry(&self, register: Register, key: String) -> StoreFuture<'_, Option<RegisterEntry>> {
        done(Ok(self.registers.get(register, &key).cloned()))
    }

    fn register_changes(&self) -> signal::Receiver<u64> {
        signal::Sender::new(0).subscribe()
    }

    fn events(&self, query: EventQuery) -> StoreFuture<'_, Vec<Event>> {
        done(records::query(&self.journal, &query))
    }

    fn event_lines(&self, query: EventQuery) -> StoreFuture<'_, Vec<EventLine>> {
        done(records::lines(&self.journal, &query))
    }

    fn committed(&self) -> broadcast::Receiver<Arc<Event>> {
        broadcast::Sender::new(1).subscribe()
    }

    fn budget_usage(&self, now: Timestamp) -> StoreFuture<'_, Vec<BudgetUsage>> {
        done(self.book(|book| usage::read(book.connection, now, &usage::Remembered::default())))
    }

    fn reset_budget(&self, _: BudgetReset) -> StoreFuture<'_, Vec<ResetCounter>> {
        refused()
    }

    fn learned_sizes(&self) -> StoreFuture<'_, Arc<LearnedSizes>> {
        let sizes = Arc::new(LearnedSizes::new());
        done(self.book(|book| usage::learned(book.connection, &sizes)).map(|()| sizes))
    }

    fn settle_dead_owners(&self, _: Timestamp) -> StoreFuture<'_, u64> {
        refused()
    }

    fn secret(&self, _: &'static str, _: [u8; 32]) -> StoreFuture<'_, [u8; 32]> {
        refused()
    }

    fn keep(&self, _: Kept) -> StoreFuture<'_, ()> {
        refused()
    }

    fn kept(&self, kind: KeptKind, name: String) -> StoreFuture<'_, Option<Kept>> {
        done(self.book(|book| kept::get(book.connection, kind, &name)))
    }

    fn verify(&self) -> StoreFuture<'_, ChainReport> {
        done(
            verify::at_rest(&self.path).and_then(|report| {
                report.ok_or_else(|| StoreError::Failed("there is no journal".to_owned()))
            }),
        )
    }

    fn tree(&self, size: Option<u64>, path: TreePath) -> StoreFuture<'_, TreeAnswer> {
        done(trees::ask(&self.journal, size, path))
    }

    fn retire(&self, _: Timestamp, _: Timestamp) -> StoreFuture<'_, u64> {
        refused()
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        refused()
    }

    fn damage(&self) -> Vec<KnownDamage> {
        let of_record = self.journal.damage().into_iter();
        let mut known: Vec<KnownDamage> =
            of_record.map(|damage| KnownDamage { approval: None, problem: damage.to_string() }).collect();
        let unverified = self.unverified.lock();
        known.extend(
            unverified
                .iter()
                .map(|(id, problem)| KnownDamage { approval: Some(id.clone()), problem: problem.clone() }),
        );
        known
    }

    fn unsettled(&self) -> usize {
        0
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
