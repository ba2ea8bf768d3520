//! The embedded store, for any number of processes on one machine: the journal, and a SQLite projection of it.
//!
//! Whatever is done is a frame of the journal, appended under its lock; a process judges by what it remembers of the frames
//! (`ledger.rs`) and of the projection. One thread per process writes, with group commit; a few connections read.

mod accept;
mod accepted;
mod approvals;
mod aside;
mod at_rest;
mod book;
mod boot;
mod calls;
mod carry;
mod copy;
mod duty;
mod failing;
mod figures;
mod fold;
mod granting;
mod grants;
mod import;
mod indexer;
mod job;
mod kept;
mod kinds;
mod learned;
mod leave;
mod ledger;
mod lost;
mod memory;
mod notes;
mod open;
mod origin;
mod owners;
mod patrol;
mod port;
mod projection;
mod queue;
mod readable;
mod readers;
mod records;
mod register_set;
mod registers;
mod resets;
mod retire;
mod rows;
mod sweep;
mod terms;
mod trees;
mod tx;
mod usage;
mod vault;
mod verify;
mod waits;
mod watch;
mod writer;

pub use at_rest::AtRest;
pub use leave::Leaving;
pub use lost::Accepted;
pub use origin::{Differs, End, Known, News, NotAppended, Origin, Stop, Tells};
pub use vault::LeavingVault;

use super::{Admission, AdmitRequest, ChainReport, Store, StoreError, StoreFuture};
use crate::{
    clock::Clock,
    config::Durability,
    cost::LearnedSizes,
    journal::{JournalError, Reader},
    model::{ApprovalId, CallId, Event, EventDraft, OwnerId},
};
use book::Book;
use calls::Chained;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared as SharedFuture},
};
use jiff::Timestamp;
use job::{Job, Kind, job};
use owners::{OwnerLock, Probe};
use parking_lot::Mutex;
use queue::Queue;
use readers::Readers;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{broadcast, watch as signal};
use tx::Tx;
use waits::{blocking, in_time, not_in, others_first};
use writer::WriterLock;

/// Events that a slow listener may be behind.
const EVENTS_BEHIND: usize = 8_192;

/// After what time a probe says that the store does not answer.
const PROBE: Duration = Duration::from_secs(1);

/// How long an admission waits for settlements of other processes before it is refused for want of them: each goes with
/// the next group of its own process.
const SETTLING: Duration = Duration::from_millis(25);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Locked,
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(_) | None => Self::Failed(error.to_string()),
        }
    }
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full => Self::Full,
            JournalError::Locked => Self::Locked,
            JournalError::Damaged(damage) => Self::Damaged(damage.to_string()),
            JournalError::Failed { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// A probe under way, for all who asked.
type Probing = SharedFuture<BoxFuture<'static, Result<(), StoreError>>>;

/// What the threads of one store share.
#[derive(Debug)]
struct Shared {
    /// Ends with the writer, so that listeners see the end.
    events: broadcast::WeakSender<Arc<Event>>,
    approvals: signal::Sender<u64>,
    /// Told whenever what is in force may have changed.
    control: signal::Sender<u64>,
    /// Told whenever a register may have changed that wakes.
    registers: signal::Sender<u64>,
    closed: AtomicBool,
    /// Why nothing more is written, where the database file is no longer the one that was opened.
    lost: OnceLock<StoreError>,
    /// Calls that were granted, and whose callers had left or were told that it failed.
    left: Mutex<Vec<CallId>>,
    /// The name of this process among replicas, whose journal is a copy.
    replica: Option<Arc<str>>,
    /// What the log says of failures.
    failing: failing::Failing,
    /// How large results are, as all processes have learned.
    sizes: Arc<LearnedSizes>,
    /// Approvals that were found not to be what their records say.
    unverified: Mutex<BTreeMap<ApprovalId, String>>,
}

/// Approvals that do not verify and are named.
const MOST_UNVERIFIED: usize = 100;

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Notes an approval that does not verify, and tells of it once.
    fn note_unverified(&self, id: &ApprovalId, problem: &str) {
        let mut known = self.unverified.lock();
        if known.len() < MOST_UNVERIFIED && known.insert(id.clone(), problem.to_owned()).is_none() {
            tracing::error!(approval = %id, problem, "store.approval_unverified: it is not used and not listed");
        }
    }

    /// Whether something may be asked of the store.
    fn usable(&self) -> Result<(), StoreError> {
        match (self.is_closed(), self.lost.get()) {
            (true, _) => Err(StoreError::Closed),
            (false, Some(lost)) => Err(lost.clone()),
            (false, None) => Ok(()),
        }
    }
}

/// The embedded store.
#[derive(Debug)]
pub struct EmbeddedStore {
    path: PathBuf,
    data_dir: PathBuf,
    owner: i64,
    journal: Arc<Reader>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    writer_lock: WriterLock,
    /// Commits wait for no disk: whoever waits for an admission may run it.
    runs_inline: bool,
    readers: Arc<Readers>,
    files: watch::Files,
    /// The newest probe, which all share while it is under way.
    probe: Mutex<Option<Probing>>,
    lock: Mutex<Option<OwnerLock>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    watcher: JoinHandle<()>,
    patrol: Arc<Mutex<patrol::Patrol>>,
    patroller: JoinHandle<()>,
    vault: Arc<dyn super::Vault>,
    /// Of what the journal is a copy.
    origin: Option<Arc<dyn Origin>>,
}

/// An admission on its way to the caller. Where the caller has left, the grant is taken back: nobody
/// else would ever settle it.
struct Delivery {
    admission: Option<Admission>,
    call_id: Option<CallId>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

impl Delivery {
    fn take(mut self) -> Option<Admission> {
        self.admission.take()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let (Some(Admission::Granted | Admission::GrantedUpTo(_)), Some(call_id)) =
            (self.admission.take(), self.call_id.take())
        {
            self.shared.left.lock().push(call_id);
            // Where the writer has ended, the next process does it.
            self.queue.nudge();
        }
    }
}

impl EmbeddedStore {
    /// Opens the store whose projection is at `path`, with the journal beside it, making what is missing, and takes this
    /// process's lock below `data_dir`. Blocks for as long as another process holds the journal (at most some seconds).
    pub fn open(
        path: &Path,
        data_dir: &Path,
        durability: Durability,
        owner: OwnerId,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        open::open(path, data_dir, durability, &owner, clock)
    }

    /// What the chain alone says of the approval and the grant that a call uses.
    async fn chained(&self, request: &AdmitRequest) -> Result<Chained, StoreError> {
        self.shared.usable()?;
        self.caught_up().await?;
        let journal = self.journal.clone();
        let approval = request.approval.as_ref().map(|(id, _)| id.clone());
        let grant = request.grant.as_ref().map(|(id, _)| id.clone());
        self.readers
            .clone()
            .read(move |connection| {
                // The writer says what stops it.
                match journal.refresh() {
                    Ok(()) | Err(JournalError::Damaged(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                let approval = match approval {
                    Some(id) => {
                        let first = Book { connection, journal: &journal }.first_seq(&id)?;
                        book::chained(&journal, &id, first)?
                    }
                    None => None,
                };
                let grant = grant.map(|id| grants::chained(&journal, &id)).transpose()?.flatten();
                Ok(Chained { approval, grant })
            })
            .await
    }

    /// The projection's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a store at `path`: the projection, or the journal, from which that can be made.
    pub fn exists(path: &Path) -> std::io::Result<bool> {
        Ok(path.try_exists()? || projection::journal_dir(path).try_exists()?)
    }

    /// Takes over a store of before the journal at `path`, and says how many records it had; `None` where there is none.
    /// `progress` is told how many are done, of how many. It must not be open elsewhere.
    pub fn import(
        path: &Path,
        data_dir: &Path,
        now: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<u64>, StoreError> {
        open::import(path, data_dir, now, progress)
    }

    /// Verifies the store at `path` as it lies there, without opening it, which would put right what can be made anew; `None`
    /// where there is no journal.
    pub fn verify_at_rest(path: &Path) -> Result<Option<ChainReport>, StoreError> {
        verify::at_rest(path)
    }

    /// The store at `path` as it lies there; `None` where there is none, or one of before the journal.
    pub fn at_rest(path: &Path) -> Result<Option<AtRest>, StoreError> {
        AtRest::of(path)
    }

    /// Opens the store at `path` for reading alone, where it is damaged: what can be read of it.
    pub fn open_damaged(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(readable::ReadableStore::open(path)?))
    }

    /// Takes over a store of before the journal at `path` as a start does, and says how many records it had; `None` where there
    /// is none.
    pub fn take_over(path: &Path, data_dir: &Path, now: Timestamp) -> Result<Option<u64>, StoreError> {
        import::take_over(path, data_dir, (true, now), &mut |_, _| {})
    }

    /// Lets the store at `path` go on behind damage of the journal, wherever it is, or records that were cut off, because a
    /// person says so, and tells what was wrong; `None` where nothing is that was not accepted before. `said` makes the record
    /// of it from the words and the places. Refused while another process has it open. No approval of before can be used from
    /// then on: whether it was is not known.
    pub fn accept_damage(
        path: &Path,
        data_dir: &Path,
        said: &dyn Fn(&str, serde_json::Value) -> EventDraft,
    ) -> Result<Option<String>, StoreError> {
        accept::accept(path, data_dir, said)
    }

    fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.shared.usable()?;
        self.queue.push(job, false)
    }

    /// Queues an operation at once, before the future is first polled, and answers when it is committed.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (job, answer) = job(Kind::Awaited, work, |value| value);
        let sent = self.send(job);
        async move {
            sent?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
        .boxed()
    }

    /// Queues an admission at once. `None`: it is to be looked at once more, for the `last` time.
    fn submit<'s>(
        &'s self,
        request: &Arc<AdmitRequest>,
        chained: Arc<Chained>,
        last: bool,
    ) -> impl Future<Output = Result<Option<Admission>, StoreError>> + use<'s> {
        let call_id = request.event.call_id.clone();
        let (shared, queue) = (self.shared.clone(), self.queue.clone());
        let request = request.clone();
        let work = move |tx: &mut Tx<'_>| calls::admit(tx, &request, &chained, last);
        let finish = move |admission| Delivery { admission, call_id, shared, queue };
        let (job, mut answer) = job(Kind::OnlyIfAwaited, work, finish);
        let sent = self.shared.usable().and_then(|()| self.queue.push(job, self.runs_inline));
        async move {
            sent?;
            if self.runs_inline {
                // Those that are ready on this thread come along.
                others_first().await;
                if answer.is_empty() {
                    writer::run_inline(&self.queue, &self.writer_lock);
                }
            }
            let delivery = match answer.try_recv() {
                Ok(delivery) => delivery,
                Err(_) => in_time(async { answer.await.unwrap_or(Err(StoreError::Closed)) }).await,
            };
            Ok(delivery?.take())
        }
    }

    /// Waits until everything that was queued before is committed: a settlement that nobody waited for is seen.
    async fn all_queued(&self) -> Result<(), StoreError> {
        self.shared.usable()?;
        if self.origin.is_some() {
            return self.caught_up().await;
        }
        if self.queue.is_idle() && self.shared.left.lock().is_empty() {
            return Ok(());
        }
        // What is committed can be read while there is no room for what waits.
        match in_time(self.write(|_| Ok(()))).await {
            Err(StoreError::Full) => return Ok(()),
            done => done?,
        }
        // A grant that found nobody is taken back by the group after its own.
        let granted_to_nobody = !self.shared.left.lock().is_empty();
        if granted_to_nobody {
            self.write(|_| Ok(())).await?;
        }
        Ok(())
    }

    /// Reads the journal after everything that was queued before, on a thread of its own.
    fn read_records<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let queued = self.all_queued();
        async move {
            queued.await?;
            let journal = self.journal.clone();
            self.readers
                .clone()
                .read(move |_| {
                    match journal.refresh() {
                        Ok(()) => {}
                        // What stands before it is read all the same, and whoever asks is told.
                        Err(JournalError::Damaged(damage)) => {
                            journal.note(*damage);
                        }
                        Err(error) => return Err(error.into()),
                    }
                    read(&journal)
                })
                .await
        }
        .boxed()
    }

    /// Reads the projection as it stands after all that was committed before, on a thread of its own.
    fn read<T: Send + 'static>(
        &self,
        read: impl Fn(Book<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> StoreFuture<'_, T> {
        if let Err(error) = self.shared.usable() {
            return async { Err(error) }.boxed();
        }
        let read = Arc::new(read);
        async move {
            self.caught_up().await?;
            let (journal, first) = (self.journal.clone(), read.clone());
            let tried = self.readers.clone().read(move |connection| {
                journal.refresh()?;
                let followed = projection::followed(connection)?;
                let behind =
                    journal.projected().is_some_and(|last| followed.is_none_or(|followed| last >= followed));
                match behind {
                    true => Ok(None),
                    false => first(Book { connection, journal: &journal }).map(Some),
                }
            });
            match tried.await {
                Ok(Some(read)) => return Ok(read),
                Ok(None) => {}
                // What others appended may have come between two looks of it.
                Err(StoreError::Damaged(_) | StoreError::Unverified(_)) if self.origin.is_some() => {}
                Err(error) => return Err(error),
            }
            // Whoever wrote it has died before the projection followed, or it failed: the next group does it.
            in_time(self.write(|_| Ok(()))).await?;
            let journal = self.journal.clone();
            self.readers.clone().read(move |connection| read(Book { connection, journal: &journal })).await
        }
        .boxed()
    }

    /// Has here what others have appended to the origin: a copy does not show it by itself.
    async fn caught_up(&self) -> Result<(), StoreError> {
        if self.origin.is_some() { self.remembered(|_| ()).await } else { Ok(()) }
    }

    /// Where somebody replaced or removed the files, what is written goes nowhere: nothing more is granted.
    fn check_files(&self) -> Result<(), StoreError> {
        if let Err(problem) = self.files.check().and_then(|()| self.journal.check_named()) {
            tracing::error!(problem, "store.lost");
            self.shared.lost.get_or_init(|| StoreError::Failed(problem));
        }
        self.shared.usable()
    }

    async fn settle_dead(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.check_files()?;
        let own = self.owner;
        let owners = self.write(|tx| Ok(tx.ledger().owners().clone())).await?;
        let names = owners.values().map(|owner| copy::owner_of(&owner.lock).to_owned()).collect();
        let silent = match self.origin.clone() {
            Some(origin) => blocking(move || origin.dead(names)).await?,
            None => BTreeSet::new(),
        };
        let mut settled = 0;
        for (id, owner) in owners.iter().filter(|(id, _)| **id != own) {
            let lock = match &self.origin {
                // The first that settles them has done it for all.
                Some(_) if silent.contains(copy::owner_of(&owner.lock)) => None,
                Some(_) => continue,
                // The lock is held until the calls are settled: no second process does the same meanwhile.
                None => match owners::probe(&owners::found(Path::new(&owner.lock), &self.data_dir)) {
                    Probe::Dead(lock) => lock,
                    Probe::Alive => continue,
                },
            };
            let id = *id;
            settled += self.write(move |tx| calls::settle_owner(tx, id, now)).await?;
            if let Some(lock) = lock {
                lock.remove();
            }
        }
        self.sweep().await?;
        Ok(settled)
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let data_dir = self.data_dir.clone();
        let own = self.lock.lock().as_ref().map(|lock| lock.path().to_owned());
        let owners = self.write(|tx| Ok(tx.ledger().owners().clone())).await?;
        let sweep = move || {
            owners::sweep(&data_dir, |path| {
                own.as_deref() == Some(path) || owners.values().any(|owner| Path::new(&owner.lock) == path)
            });
        };
        blocking(move || {
            sweep();
            Ok(())
        })
        .await
    }

    async fn shut(&self) {
        // Calls that are still open stay open: the lock goes, and the next process settles them.
        let gone = self
            .write(move |tx| {
                if calls::has_open(tx) {
                    return Ok(false);
                }
                let id = tx.owner;
                // One that has done nothing leaves nothing.
                if tx.ledger().owners().contains_key(&id) {
                    tx.project = true;
                    tx.note(notes::Note::Gone { id })?;
                }
                Ok(true)
            })
            .await
            .unwrap_or(false);
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.watcher.thread().unpark();
        self.patroller.thread().unpark();
        let (queue, origin) = (self.queue.clone(), self.origin.clone());
        let writer = self.writer.lock().take();
        let end = move || {
            queue.close();
            if let Some(writer) = writer
                && writer.join().is_err()
            {
                tracing::error!("store.writer_panicked");
            }
            if let Some(origin) = origin {
                origin.close();
            }
        };
        if tokio::task::spawn_blocking(end).await.is_err() {
            tracing::error!("store.close_failed");
        }
        self.readers.close();
        match self.lock.lock().take() {
            Some(lock) if gone => lock.remove(),
            Some(_) | None => {}
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.queue.close();
        self.watcher.thread().unpark();
        self.patroller.thread().unpark();
    }
}
