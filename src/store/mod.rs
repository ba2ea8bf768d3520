//! The store port: everything that must be durable or exact across processes. Each method is one
//! transaction; nothing of SQLite leaks through it.

mod duty;
pub mod embedded;
mod figures;
mod hold;
pub mod postgres;
mod register;
mod types;
mod vault;

pub use duty::Duty;
pub use figures::Figures;
pub use hold::{Held, Hold};
pub use register::{LONGEST_KEY, Register, RegisterBounds, RegisterChange, RegisterEntry, RegisterRead};
pub use types::*;
pub use vault::{NewCredential, Vault, VaultRotation};

use crate::{
    cost::LearnedSizes,
    model::{ApprovalId, Event, EventDraft, GrantId},
    series,
};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use std::{collections::BTreeSet, sync::Arc};

/// A future of a store's answer.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The store. Callers hold it as `Arc<dyn Store>`.
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// ONE transaction: the approval is consumed and the grant used once (where one is named), every limit is checked and
    /// reserved, and the decision event is written: as drafted where everything is granted, as a
    /// refusal by the first limit that is full otherwise (and then nothing is reserved or consumed), unless the request says
    /// that this refusal is not recorded. Where an entry of a register is not as the call was decided on, nothing is done.
    fn admit(&self, request: AdmitRequest) -> StoreFuture<'_, Admission>;

    /// Closes the audit record of a dispatched call: corrects the reservation to what was real, writes
    /// the side-effect event, and learns the tool's result size. A second settlement of one call
    /// changes nothing. It is queued before this returns: dropping the answer leaves it queued, and every later read
    /// through this handle sees it.
    fn settle(&self, settlement: Settlement) -> StoreFuture<'_, ()>;

    /// Appends events that belong to no dispatch, in order, in one transaction.
    fn record(&self, events: Vec<EventDraft>) -> StoreFuture<'_, ()>;

    /// Appends records of an order about what is in force, where no other order stands behind the record `after`; else
    /// appends nothing, and says so.
    fn order(&self, events: Vec<EventDraft>, after: i64) -> StoreFuture<'_, bool>;

    /// Makes an approval record and writes its events, unless a usable one with the same binding is there:
    /// a pending one is returned as it is (an identical ask reuses the pending record). The limits are counted
    /// from the records, in the same transaction: they hold across processes and restarts.
    fn ask(&self, new: ApprovalRecord, events: Vec<EventDraft>, limits: AskLimits) -> StoreFuture<'_, Asked>;

    /// One approval.
    fn approval(&self, id: ApprovalId) -> StoreFuture<'_, Option<ApprovalRecord>>;

    /// The approval that a call with this binding has to obey, of those that cover `needed` and whose expiry lies after
    /// `now`: the newest that is approved, else the newest that is pending or rejected. Where that is none that is pending,
    /// it is the one that was rejected last, whatever else stands beside the arguments of the same call.
    fn approval_for(
        &self,
        binding: ApprovalBinding,
        needed: Vec<Requirement>,
        now: Timestamp,
    ) -> StoreFuture<'_, Option<ApprovalRecord>>;

    /// Approvals, newest first.
    fn approvals(&self, filter: ApprovalFilter) -> StoreFuture<'_, Vec<ApprovalRecord>>;

    /// How the newest `limit` approvals stand, newest first.
    fn approval_heads(&self, limit: usize) -> StoreFuture<'_, Vec<ApprovalHead>>;

    /// Replaces status and answers of an approval where its version is still `expected_version`, and writes the events
    /// in the same transaction. `false`: somebody else was first, and nothing was changed.
    fn update_approval(&self, update: ApprovalUpdate, events: Vec<EventDraft>) -> StoreFuture<'_, bool>;

    /// The same, and in the same transaction it makes the standing grant that the approval was answered with, told by the
    /// event `made`; refused where the agent has `most` live grants already.
    fn make_grant(
        &self,
        update: ApprovalUpdate,
        grant: StandingGrant,
        events: Vec<EventDraft>,
        made: EventDraft,
        most: usize,
    ) -> StoreFuture<'_, GrantMade>;

    /// One standing grant.
    fn grant(&self, id: GrantId) -> StoreFuture<'_, Option<StandingGrant>>;

    /// Standing grants, newest first.
    fn grants(&self, filter: GrantFilter) -> StoreFuture<'_, Vec<StandingGrant>>;

    /// Ends a standing grant, and records it: the grant as it stands then; `None` where there is none, or it has ended
    /// already, and nothing was changed.
    fn end_grant(&self, id: GrantId, end: GrantEnd) -> StoreFuture<'_, Option<StandingGrant>>;

    /// Wakes whenever any approval or grant may have changed, in this process or another.
    fn approval_changes(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Wakes whenever a record of an activation or a rollout may have been written, in this process or another, within
    /// half a second.
    fn control_changes(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Changes registers and writes the records that tell of it: all of it, or nothing and `false` where an entry has not the
    /// version that was expected. A register that would hold too much is an error ([`StoreError::RegisterFull`]), and nothing
    /// is changed. Each key may be named once.
    fn set(&self, changes: Vec<RegisterChange>, events: Vec<EventDraft>) -> StoreFuture<'_, bool>;

    /// What stands in a register as of the journal's end, in the order of the keys.
    fn register(&self, register: Register) -> StoreFuture<'_, Vec<RegisterEntry>>;

    /// One entry of it.
    fn register_entry(&self, register: Register, key: String) -> StoreFuture<'_, Option<RegisterEntry>>;

    /// Wakes whenever a register may have changed that wakes ([`Register::wakes`]), in this process or another, within half a
    /// second.
    fn register_changes(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Events, in chain order (or newest first, as the query says).
    fn events(&self, query: EventQuery) -> StoreFuture<'_, Vec<Event>>;

    /// The same events as lines of an export: the stored body, byte for byte, with `seq`, `prev_hash` and
    /// `hash` put into it. What `audit::verify_export` can check offline.
    fn event_lines(&self, query: EventQuery) -> StoreFuture<'_, Vec<EventLine>>;

    /// What charts draw, of everything that was committed before. An engine that keeps no rows for it reads the events.
    fn figures(&self, asked: series::Asked) -> StoreFuture<'_, Figures> {
        async move { figures::of_events(self, asked).await }.boxed()
    }

    /// Every event that THIS process commits from now on, in chain order. Events of other processes do
    /// not come; a receiver that falls too far behind loses the oldest and is told how many.
    fn committed(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>>;

    /// What each budget counter stands at.
    fn budget_usage(&self, now: Timestamp) -> StoreFuture<'_, Vec<BudgetUsage>>;

    /// Where the rules about loops stand for a call, without counting it. `None`: this store does not know.
    fn loops(&self, query: LoopQuery) -> StoreFuture<'_, Option<Vec<LoopSeen>>> {
        drop(query);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Sets counters of a budget back to what open calls hold, and records who did it, why, and what stood there; nothing
    /// where no counter of that key has counted anything. In force for the next admission of every process.
    fn reset_budget(&self, reset: BudgetReset) -> StoreFuture<'_, Vec<ResetCounter>>;

    /// How large results are, as all processes have learned. The store keeps it current: whatever this or another process
    /// settles is in it, at the latest with this process's next admission.
    fn learned_sizes(&self) -> StoreFuture<'_, Arc<LearnedSizes>>;

    /// Settles as `unknown` the calls that are open in processes whose OS lock is gone, and says how many.
    fn settle_dead_owners(&self, now: Timestamp) -> StoreFuture<'_, u64>;

    /// Takes on what one process on this store does at a time, by this name; `None`: another one does it. An engine that only
    /// one process uses has nobody to ask.
    fn duty(&self, name: &str) -> StoreFuture<'_, Option<Box<dyn Duty>>> {
        let _ = name;
        duty::alone()
    }

    /// Whether processes on other machines use this store, which have other folders.
    fn is_shared(&self) -> bool {
        false
    }

    /// A named secret key of this store (32 random bytes, made on first use from `fresh`), the same in every process.
    fn secret(&self, name: &'static str, fresh: [u8; 32]) -> StoreFuture<'_, [u8; 32]>;

    /// What the processes of a store that is shared keep for each other beside the record, by its name; `None`: nothing.
    fn shared_value(&self, _name: &'static str) -> StoreFuture<'_, Option<Vec<u8>>> {
        async { Ok(None) }.boxed()
    }

    /// Puts it in place where it still is what was expected (`None`: nothing). `false`: somebody else was first, and nothing was
    /// changed.
    fn replace_shared_value(
        &self,
        _name: &'static str,
        _expected: Option<Vec<u8>>,
        _value: Vec<u8>,
    ) -> StoreFuture<'_, bool> {
        async { Err(StoreError::Failed("nothing is shared by this store".to_owned())) }.boxed()
    }

    /// The vault of `tokenize` that goes with this store. None: it has none, and `tokenize` masks.
    fn vault(&self) -> Option<Arc<dyn Vault>> {
        None
    }

    /// Keeps what records are about to refer to. Where something is kept under the name already, nothing is changed.
    fn keep(&self, kept: Kept) -> StoreFuture<'_, ()>;

    /// What is kept under a name. Its body is held against its hash.
    fn kept(&self, kind: KeptKind, name: String) -> StoreFuture<'_, Option<Kept>>;

    /// Recomputes the chain from every stored column, and holds what is kept against its hashes.
    fn verify(&self) -> StoreFuture<'_, ChainReport>;

    /// The tree over the first `size` records, or over all that there are, and a proof about it.
    fn tree(&self, size: Option<u64>, path: TreePath) -> StoreFuture<'_, TreeAnswer>;

    /// Removes records of before a time, as far as the store can remove them whole, and says how many went. What is still
    /// needed of them stays: open calls, where counters stand, approvals that a call may use. Nothing goes from the first record on
    /// that is under a legal hold ([`Register::Hold`]). What is left can be verified.
    fn retire(&self, before: Timestamp, now: Timestamp) -> StoreFuture<'_, u64>;

    /// Whether the store can write: answered within a second, however many ask.
    fn ping(&self) -> StoreFuture<'_, ()>;

    /// Tells processes on other machines by which snapshot this one decides.
    fn decides_by(&self, snapshot: &str) {
        let _ = snapshot;
    }

    /// By which other snapshots processes on other machines decide, as far as was heard of them: their servers.toml is another one, or
    /// they have not followed yet.
    fn other_snapshots(&self) -> BTreeSet<Arc<str>> {
        BTreeSet::new()
    }

    /// How many settlements are not committed yet. Where the database fails they wait and are tried again.
    fn unsettled(&self) -> usize;

    /// What this process has met that is not as it was written. Reads of records and approvals leave it out.
    fn damage(&self) -> Vec<KnownDamage> {
        Vec::new()
    }

    /// Writes what is queued and closes; later calls answer [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
