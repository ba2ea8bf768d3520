//! The store in one SQLite file, for any number of processes on one machine (I10).
//!
//! One thread per process writes, with group commit; a few connections read. Counters are exact because
//! they are read and changed inside the writing transaction, which only one process can hold.

mod approvals;
mod calls;
mod checkpoint;
mod entries;
mod events;
mod index;
mod job;
mod kept;
mod learned;
mod ledger;
mod owners;
mod queue;
mod readers;
mod schema;
mod usage;
mod watch;
mod writer;

use super::{
    Admission, AdmitRequest, Answer, ApprovalBinding, ApprovalFilter, ApprovalHead, ApprovalRecord,
    ApprovalUpdate, AskLimits, Asked, BudgetUsage, ChainReport, EventLine, EventQuery, Kept, KeptKind,
    Requirement, Settlement, Store, StoreError,
};
use crate::{
    config::Durability,
    model::{ApprovalId, CallId, Event, EventDraft, OwnerId},
};
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
use rusqlite::Connection;
use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Poll,
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{broadcast, watch as signal};
use writer::{Desk, Tx, Writer};

/// Events that a slow listener may be behind.
const EVENTS_BEHIND: usize = 8_192;

/// How long whoever waits for the writer does so: longer than it waits for a lock itself. A disk that hangs holds nobody.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// A probe under way, for all who asked.
type Probing = SharedFuture<BoxFuture<'static, Result<(), StoreError>>>;

/// What the threads of one store share.
#[derive(Debug)]
struct Shared {
    /// Ends with the writer, so that listeners see the end.
    events: broadcast::WeakSender<Arc<Event>>,
    approvals: signal::Sender<u64>,
    closed: AtomicBool,
    /// Why nothing more is written, where the database file is no longer the one that was opened.
    lost: OnceLock<StoreError>,
    /// Calls that were granted to callers who had left.
    left: Mutex<Vec<CallId>>,
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
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

/// The store in one SQLite file.
#[derive(Debug)]
pub struct EmbeddedStore {
    path: PathBuf,
    data_dir: PathBuf,
    owner: OwnerId,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    desk: Desk,
    /// Commits wait for no disk: whoever waits for an admission may run it.
    leads: bool,
    readers: Arc<Readers>,
    files: watch::Files,
    /// The newest probe, which all share while it is under way.
    probe: Mutex<Option<Probing>>,
    lock: Mutex<Option<OwnerLock>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    watcher: JoinHandle<()>,
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
        if let (Some(Admission::Granted), Some(call_id)) = (self.admission.take(), self.call_id.take()) {
            self.shared.left.lock().push(call_id);
            // Where the writer has ended, the next process does it.
            self.queue.nudge();
        }
    }
}

impl EmbeddedStore {
    /// Opens the database at `path`, making it where it is missing, and takes this process's lock below
    /// `data_dir`. Blocks for as long as another process holds the file (at most some seconds).
    pub fn open(
        path: &Path,
        data_dir: &Path,
        durability: Durability,
        owner: OwnerId,
    ) -> Result<Arc<Self>, StoreError> {
        let lock = OwnerLock::take(data_dir, &owner)?;
        let connection = schema::open_writer(path, durability)?;
        let lock_path = lock.path().to_string_lossy().into_owned();
        connection
            .execute("INSERT INTO owners (owner, lock_path) VALUES (?1, ?2)", (owner.as_str(), lock_path))?;
        let id = connection.last_insert_rowid();

        let files = watch::Files::of(path, lock.path());

        let events = broadcast::Sender::new(EVENTS_BEHIND);
        let shared = Arc::new(Shared {
            events: events.downgrade(),
            approvals: signal::Sender::new(0),
            closed: AtomicBool::new(false),
            lost: OnceLock::new(),
            left: Mutex::new(Vec::new()),
        });
        let queue = Arc::new(Queue::default());
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let failed = |e: std::io::Error| StoreError::Failed(format!("a thread could not be started: {e}"));
        let (checkpoint, wanted) = mpsc::sync_channel(1);
        {
            let path = path.to_owned();
            thread("store-checkpoint").spawn(move || checkpoint::run(&path, &wanted)).map_err(failed)?;
        }
        let writer = Writer::new(connection, id, shared.clone(), events, checkpoint);
        let desk: Desk = Arc::new(Mutex::new(Some(writer)));
        let writer = {
            let (desk, queue) = (desk.clone(), queue.clone());
            thread("store-writer").spawn(move || writer::run(&desk, &queue)).map_err(failed)?
        };
        let watcher = {
            let (shared, path) = (Arc::downgrade(&shared), path.to_owned());
            thread("store-watch").spawn(move || watch::run(&path, &shared)).map_err(failed)?
        };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            data_dir: data_dir.to_owned(),
            owner,
            shared,
            queue,
            desk,
            leads: durability == Durability::Commit,
            readers: Readers::new(path.to_owned()),
            files,
            probe: Mutex::new(None),
            lock: Mutex::new(Some(lock)),
            writer: Mutex::new(Some(writer)),
            watcher,
        }))
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
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
        last: bool,
    ) -> impl Future<Output = Result<Option<Admission>, StoreError>> + use<'s> {
        let call_id = request.event.call_id.clone();
        let (shared, queue) = (self.shared.clone(), self.queue.clone());
        let request = request.clone();
        let work = move |tx: &mut Tx<'_>| calls::admit(tx, &request, last);
        let finish = move |admission| Delivery { admission, call_id, shared, queue };
        let (job, mut answer) = job(Kind::OnlyIfAwaited, work, finish);
        let sent = self.shared.usable().and_then(|()| self.queue.push(job, self.leads));
        async move {
            sent?;
            if self.leads {
                // Those that are ready on this thread come along.
                others_first().await;
                if answer.is_empty() {
                    writer::lead(&self.queue, &self.desk);
                }
            }
            let delivery = match answer.try_recv() {
                Ok(delivery) => delivery,
                Err(_) => in_time(async { answer.await.unwrap_or(Err(StoreError::Closed)) }).await,
            };
            Ok(delivery?.take())
        }
    }

    /// The same after everything that was queued before is committed: a settlement that nobody waited for is seen.
    fn read_all_queued<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let queued = self.write(|_| Ok(()));
        async move {
            in_time(queued).await?;
            // A grant that found nobody is taken back by the transaction after its own.
            let granted_to_nobody = !self.shared.left.lock().is_empty();
            if granted_to_nobody {
                self.write(|_| Ok(())).await?;
            }
            self.read(read).await
        }
        .boxed()
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        if let Err(error) = self.shared.usable() {
            return async { Err(error) }.boxed();
        }
        self.readers.clone().read(read).boxed()
    }

    /// Where somebody replaced or removed the files, what is written goes nowhere: nothing more is granted.
    fn check_files(&self) -> Result<(), StoreError> {
        if let Err(problem) = self.files.check() {
            tracing::error!(problem, "store.lost");
            self.shared.lost.get_or_init(|| StoreError::Failed(problem));
        }
        self.shared.usable()
    }

    async fn settle_dead(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.check_files()?;
        let own = self.owner.clone();
        let others = self
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT owner, lock_path FROM owners WHERE owner <> ?1")?;
                let rows = statement.query_map([own.as_str()], |row| {
                    Ok((row.get::<_, String>(0)?, PathBuf::from(row.get::<_, String>(1)?)))
                })?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        let mut settled = 0;
        for (owner, lock_path) in &others {
            // The lock is held until the calls are settled: no second process does the same meanwhile.
            let Probe::Dead(lock) = owners::probe(&owners::found(lock_path, &self.data_dir)) else {
                continue;
            };
            let owner = owner.clone();
            settled += self.write(move |tx| calls::settle_owner(tx, &owner, now)).await?;
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
        self.read(move |connection| {
            owners::sweep(&data_dir, |path| {
                let named = connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM owners WHERE lock_path = ?1)")
                    .and_then(|mut s| s.query_row([path.to_string_lossy()], |row| row.get(0)));
                // What cannot be told stays.
                own.as_deref() == Some(path) || named.unwrap_or(true)
            });
            Ok(())
        })
        .await
    }

    async fn shut(&self) {
        let owner = self.owner.clone();
        // Calls that are still open stay open: the lock goes, and the next process settles them.
        let gone = self
            .write(move |tx| {
                if calls::has_open(tx) {
                    return Ok(false);
                }
                tx.connection.execute("DELETE FROM owners WHERE owner = ?1", [owner.as_str()])?;
                Ok(true)
            })
            .await
            .unwrap_or(false);
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.watcher.thread().unpark();
        let queue = self.queue.clone();
        let writer = self.writer.lock().take();
        let end = move || {
            queue.close();
            if let Some(writer) = writer
                && writer.join().is_err()
            {
                tracing::error!("store.writer_panicked");
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
    }
}

impl Store for EmbeddedStore {
    fn admit(&self, request: AdmitRequest) -> Answer<'_, Admission> {
        let request = Arc::new(request);
        let first = self.submit(&request, false);
        async move {
            if let Some(admission) = first.await? {
                return Ok(admission);
            }
            tokio::time::sleep(SETTLING).await;
            self.submit(&request, true).await?.ok_or(StoreError::Closed)
        }
        .boxed()
    }

    fn settle(&self, settlement: Settlement) -> Answer<'_, ()> {
        let (job, answer) = job(Kind::Aside, move |tx: &mut Tx<'_>| calls::settle(tx, &settlement), |()| ());
        let sent = self.shared.usable().and_then(|()| self.queue.push_settlement(job));
        async move {
            sent?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
        .boxed()
    }

    fn record(&self, events: Vec<EventDraft>) -> Answer<'_, ()> {
        let written = self.write(move |tx| {
            for event in &events {
                tx.append(event)?;
            }
            Ok(())
        });
        in_time(written).boxed()
    }

    fn ask(&self, new: ApprovalRecord, events: Vec<EventDraft>, limits: AskLimits) -> Answer<'_, Asked> {
        self.write(move |tx| approvals::ask(tx, &new, &events, &limits))
    }

    fn approval(&self, id: ApprovalId) -> Answer<'_, Option<ApprovalRecord>> {
        self.read(move |connection| approvals::get(connection, &id))
    }

    fn approval_for(
        &self,
        binding: ApprovalBinding,
        needed: Vec<Requirement>,
        now: Timestamp,
    ) -> Answer<'_, Option<ApprovalRecord>> {
        self.read(move |connection| approvals::find(connection, &binding, &needed, now))
    }

    fn approvals(&self, filter: ApprovalFilter) -> Answer<'_, Vec<ApprovalRecord>> {
        self.read(move |connection| approvals::list(connection, &filter))
    }

    fn approval_heads(&self, limit: usize) -> Answer<'_, Vec<ApprovalHead>> {
        self.read(move |connection| approvals::heads(connection, limit))
    }

    fn update_approval(&self, update: ApprovalUpdate, events: Vec<EventDraft>) -> Answer<'_, bool> {
        self.write(move |tx| approvals::update(tx, &update, &events))
    }

    fn approval_changes(&self) -> signal::Receiver<u64> {
        let receiver = self.shared.approvals.subscribe();
        self.watcher.thread().unpark();
        receiver
    }

    fn events(&self, query: EventQuery) -> Answer<'_, Vec<Event>> {
        self.read_all_queued(move |connection| events::query(connection, &query))
    }

    fn event_lines(&self, query: EventQuery) -> Answer<'_, Vec<EventLine>> {
        self.read_all_queued(move |connection| events::lines(connection, &query))
    }

    fn committed(&self) -> broadcast::Receiver<Arc<Event>> {
        match self.shared.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    fn budget_usage(&self, now: Timestamp) -> Answer<'_, Vec<BudgetUsage>> {
        self.read_all_queued(move |connection| usage::read(connection, now))
    }

    fn learned_result_tokens(&self) -> Answer<'_, Vec<(String, u64)>> {
        self.read(usage::learned)
    }

    fn settle_dead_owners(&self, now: Timestamp) -> Answer<'_, u64> {
        self.settle_dead(now).boxed()
    }

    fn secret(&self, name: &'static str, fresh: [u8; 32]) -> Answer<'_, [u8; 32]> {
        self.write(move |tx| {
            tx.connection
                .execute("INSERT OR IGNORE INTO secrets (name, value) VALUES (?1, ?2)", (name, fresh))?;
            let found = "SELECT value FROM secrets WHERE name = ?1";
            Ok(tx.connection.query_row(found, [name], |row| row.get(0))?)
        })
    }

    fn keep(&self, kept: Kept) -> Answer<'_, ()> {
        in_time(self.write(move |tx| kept::keep(tx.connection, &kept))).boxed()
    }

    fn kept(&self, kind: KeptKind, name: String) -> Answer<'_, Option<Kept>> {
        self.read(move |connection| kept::get(connection, kind, &name))
    }

    fn verify(&self) -> Answer<'_, ChainReport> {
        self.read_all_queued(events::verify)
    }

    fn ping(&self) -> Answer<'_, ()> {
        let mut newest = self.probe.lock();
        let probe = match newest.take() {
            Some(probe) if probe.clone().now_or_never().is_none() => probe,
            Some(_) | None => self.write(probe).shared(),
        };
        *newest = Some(probe.clone());
        drop(newest);
        async move { tokio::time::timeout(PROBE, probe).await.unwrap_or_else(|_| Err(not_in(PROBE))) }.boxed()
    }

    fn unsettled(&self) -> usize {
        self.queue.settlements()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shut().boxed()
    }
}
/// Writes a page as it was: a full disk is seen too.
fn probe(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let same = "UPDATE approvals_generation SET generation = generation";
    tx.connection.prepare_cached(same)?.execute([])?;
    Ok(())
}

/// Waits for an answer of the writer, within [`PATIENCE`].
async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(not_in(PATIENCE)))
}

fn not_in(limit: Duration) -> StoreError {
    StoreError::Failed(format!("the database has not answered for {} s", limit.as_secs()))
}

/// Gives its turn away once. tokio's own wakes the task later, too, where it has been woken and gone on meanwhile, and a
/// call's task mostly has been.
async fn others_first() {
    let mut been = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
