//! The one writer of a process: a thread with a bounded queue, and group commit. Whoever holds it drains what is queued,
//! runs it, appends one frame to the journal and then answers everybody.

use super::{
    job::{Job, Kind, job},
    memory::Memory,
    origin::Origin,
    queue::Queue,
    tx::Tx,
};
use crate::{
    journal::{Lock, Patience},
    store::StoreError,
};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{fs::File, sync::Arc};

/// Operations in one group.
const BATCH: usize = 512;

/// Bytes of the journal after which the projection takes what changed since.
const PROJECTED_EVERY: u64 = 16 << 20;

/// How a batch ended.
enum Batch {
    /// So many of its operations are committed; the rest was not begun.
    Committed(usize),
    /// An operation failed; the others may be well.
    Spoiled(StoreError),
    /// The database failed.
    Failed(StoreError),
}

impl Batch {
    /// Of an operation's error. Whom the lock or the disk stops, it stops with everybody else.
    fn spoiled(error: StoreError) -> Self {
        match error {
            StoreError::Locked | StoreError::Full | StoreError::Clock(_) => Self::Failed(error),
            StoreError::Failed(_)
            | StoreError::NoSuchCall(_)
            | StoreError::Overloaded
            | StoreError::Closed
            | StoreError::Unverified(_)
            | StoreError::RegisterFull(_)
            | StoreError::Damaged(_) => Self::Spoiled(error),
        }
    }
}

/// Runs operations up to the first after which the projection has to follow: those behind it read it.
fn attempt(tx: &mut Tx<'_>, jobs: &mut [Box<dyn Job>]) -> Batch {
    // What is remembered holds all the same: where it does not, following says so itself.
    if let Err(error) = tx.begin(jobs.iter().all(|job| job.reads())) {
        return Batch::Failed(error);
    }
    let mut done = 0;
    for job in jobs {
        if let Err(error) = job.run(tx) {
            tx.roll_back();
            return Batch::spoiled(error);
        }
        done += 1;
        if !tx.rows.is_empty() {
            break;
        }
    }
    match tx.commit() {
        Ok(()) => {
            tx.publish();
            Batch::Committed(done)
        }
        Err(error) => {
            tx.roll_back();
            Batch::Failed(error)
        }
    }
}

fn fail_all(jobs: &mut Vec<Box<dyn Job>>, error: &StoreError, queue: &Queue) {
    for job in jobs.drain(..) {
        fail(job, error, queue, false);
    }
}

/// What failed is told so, or kept for another try. `apart`: others of its group succeeded.
fn fail(job: Box<dyn Job>, error: &StoreError, queue: &Queue, apart: bool) {
    let told = if job.again(error) { queue.put_back(job, apart).err() } else { Some(job) };
    if let Some(job) = told {
        job.answer(Err(error.clone()));
    }
}

/// Runs a batch so that an operation that fails fails alone. The error is the store's own. `inline`: a caller runs it, whose
/// thread must not go on for long.
fn execute(
    tx: &mut Tx<'_>,
    jobs: &mut Vec<Box<dyn Job>>,
    inline: bool,
    queue: &Queue,
) -> Result<(), StoreError> {
    while !jobs.is_empty() {
        let reading = jobs.iter().filter(|job| job.reads()).count();
        let error = match attempt(tx, jobs) {
            Batch::Committed(done) => {
                if reading < jobs.len() {
                    tx.failing().over();
                }
                // Whoever is answered may look at once whether anything waits still.
                queue.runs(jobs.iter().skip(done).filter(|job| !job.wanted()).count());
                for job in jobs.drain(..done) {
                    job.answer(Ok(()));
                }
                continue;
            }
            Batch::Spoiled(_) if inline && jobs.len() > 1 => {
                queue.put_first(jobs);
                return Ok(());
            }
            Batch::Spoiled(error) if jobs.len() > 1 => {
                tracing::warn!(%error, operations = jobs.len(), "store.batch_spoiled");
                return one_by_one(tx, jobs, queue);
            }
            Batch::Spoiled(error) => {
                tx.failing().tell(&error, 1);
                fail_all(jobs, &error, queue);
                return Ok(());
            }
            Batch::Failed(error) => error,
        };
        tx.failing().tell(&error, jobs.len());
        // What writes nothing needs no room.
        if matches!(error, StoreError::Full) && (1..jobs.len()).contains(&reading) {
            let (reads, mut writes) = std::mem::take(jobs).into_iter().partition(|job| job.reads());
            fail_all(&mut writes, &error, queue);
            *jobs = reads;
            continue;
        }
        fail_all(jobs, &error, queue);
        return Err(error);
    }
    Ok(())
}

fn one_by_one(tx: &mut Tx<'_>, jobs: &mut Vec<Box<dyn Job>>, queue: &Queue) -> Result<(), StoreError> {
    let mut failed = Vec::new();
    let mut rest = std::mem::take(jobs).into_iter();
    let mut any_committed = false;
    let mut outcome = Ok(());
    for mut job in rest.by_ref() {
        match attempt(tx, std::slice::from_mut(&mut job)) {
            Batch::Committed(_) => {
                any_committed = true;
                job.answer(Ok(()));
            }
            Batch::Spoiled(error) => failed.push((job, error)),
            // The others would wait for the same, one after the other.
            Batch::Failed(error) => {
                failed.push((job, error.clone()));
                outcome = Err(error);
                break;
            }
        }
    }
    if let Err(error) = &outcome {
        failed.extend(rest.map(|job| (job, error.clone())));
    }
    for (job, error) in failed {
        fail(job, &error, queue, any_committed && outcome.is_ok());
    }
    outcome
}

/// The one that writes. Whoever holds it runs a group: the writer's own thread, or a caller for whom that is no wait.
pub(super) struct Writer {
    connection: Connection,
    memory: Memory,
    lock: Arc<Lock>,
    /// A group is being run; where nobody runs one, somebody panicked in it, and nothing that is remembered counts.
    running: bool,
    /// How long a group waits for the lock.
    patience: Patience,
}

/// Where the writer is; none once it has ended.
pub(super) type WriterLock = Arc<Mutex<Option<Writer>>>;

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

/// The lock between processes, for as long as this is there, whatever happens meanwhile.
pub(super) struct Held {
    lock: Arc<Lock>,
    origin: Option<Arc<dyn Origin>>,
}

impl Held {
    pub(super) fn new(lock: &Arc<Lock>) -> Self {
        Self::with(lock, None)
    }

    /// The same, and what is held of the origin meanwhile.
    fn with(lock: &Arc<Lock>, origin: Option<Arc<dyn Origin>>) -> Self {
        Self { lock: lock.clone(), origin }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(origin) = &self.origin {
            origin.release();
        }
        self.lock.release();
    }
}

impl Writer {
    pub(super) fn new(connection: Connection, lock: Arc<Lock>, memory: Memory) -> Self {
        Self { connection, memory, lock, running: false, patience: Patience::Long }
    }

    /// What is next: grants that found nobody are taken back before anything else, for they hold room.
    fn next(&self, queue: &Queue) -> Vec<Box<dyn Job>> {
        let mut jobs: Vec<_> = std::mem::take(&mut *self.memory.shared.left.lock())
            .into_iter()
            .map(|call_id| job(Kind::FireAndForget, move |tx| super::calls::abandon(tx, &call_id), |()| ()).0)
            .collect();
        jobs.extend(queue.take(BATCH));
        jobs
    }

    /// Runs a group; `held`: a caller runs it, who has taken the lock for it.
    fn group(&mut self, jobs: &mut Vec<Box<dyn Job>>, held: Option<Held>, queue: &Queue) {
        self.running = true;
        queue.runs(jobs.iter().filter(|job| !job.wanted()).count());
        let inline = held.is_some();
        let locked = match held {
            Some(held) => Ok(held),
            None => self
                .lock
                .take(self.patience)
                .map(|()| Held::with(&self.lock, self.memory.origin.clone()))
                .map_err(StoreError::from),
        };
        let outcome = match locked {
            Ok(_held) => {
                let outcome = execute(&mut Tx::new(&self.connection, &mut self.memory), jobs, inline, queue);
                if !self.memory.shared.left.lock().is_empty() {
                    queue.nudge();
                }
                outcome
            }
            Err(error) => {
                self.memory.shared.failing.tell(&error, jobs.len());
                fail_all(jobs, &error, queue);
                Err(error)
            }
        };
        queue.runs(0);
        // Who holds the lock for so long keeps it, most likely: those who come meanwhile are refused soon.
        self.patience = match outcome {
            Err(StoreError::Locked) => Patience::Short,
            Ok(()) | Err(_) => Patience::Long,
        };
        self.running = false;
    }

    /// Whether so much changed that the projection should take it.
    fn is_due(&self) -> bool {
        self.memory.unprojected >= PROJECTED_EVERY || self.memory.ledger.is_heavy()
    }

    /// The projection takes what changed, where that is much. Not on a caller's time.
    fn project_due(&mut self) {
        // Another process has it: later.
        if !matches!(self.lock.try_take(), Ok(true)) {
            return;
        }
        self.running = true;
        let _held = Held::new(&self.lock);
        let memory = &mut self.memory;
        let projected =
            memory.follow(&self.connection, false).and_then(|()| memory.project(&self.connection));
        if let Err(error) = projected {
            tracing::warn!(%error, "store.projection_failed");
            // Not with every group.
            memory.unprojected = 0;
        }
        self.running = false;
    }
}

/// Groups that a caller runs before it leaves the rest to the writer's thread.
const MOST_INLINE: usize = 4;

/// Runs what is queued on the calling thread, if nobody else does and no other process holds the database. Only for a
/// store whose commits do not wait for the disk: the caller's thread serves others too.
pub(super) fn run_inline(queue: &Queue, writer_lock: &WriterLock) {
    for _ in 0..MOST_INLINE {
        // Whoever has it looks at the queue once more when it is done.
        let Some(mut place) = writer_lock.try_lock() else { return };
        let Some(writer) = place.as_mut().filter(|writer| !writer.running) else { break };
        if !queue.has_wanted() {
            drop(place);
            // Whoever came meanwhile and found the place taken relies on this look.
            if queue.has_wanted() {
                continue;
            }
            return;
        }
        if !matches!(writer.lock.try_take(), Ok(true)) {
            break;
        }
        let held = Held::new(&writer.lock);
        let mut jobs = writer.next(queue);
        writer.group(&mut jobs, Some(held), queue);
        let due = writer.is_due();
        drop(place);
        if due {
            break;
        }
        if !queue.has_wanted() {
            return;
        }
    }
    queue.nudge();
}

/// What the projection is about to follow is on the disk before it, so that after a power loss it has not followed more than is
/// there, as a rule. The disk takes its time: nobody waits for it.
fn project(writer_lock: &WriterLock, file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::warn!(%error, "store.journal_not_flushed");
    }
    if let Some(writer) = writer_lock.lock().as_mut().filter(|writer| !writer.running) {
        writer.project_due();
    }
}

/// The thread's whole life.
pub(super) fn run(writer_lock: &WriterLock, queue: &Arc<Queue>) {
    /// However the thread ends, nobody waits for it after that.
    struct End<'e>(&'e WriterLock, &'e Queue);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.1.end();
            *self.0.lock() = None;
        }
    }
    let _end = End(writer_lock, queue);
    let mut open = 0;
    loop {
        queue.wait(BATCH, open > 1);
        let mut place = writer_lock.lock();
        let Some(writer) = place.as_mut().filter(|writer| !writer.running) else {
            // Everything that is asked of the store from now on answers `Closed`.
            return tracing::error!("store.writer_failed");
        };
        let mut jobs = writer.next(queue);
        if !jobs.is_empty() {
            writer.group(&mut jobs, None, queue);
        }
        open = writer.memory.ledger.state().open_count();
        let due = writer.is_due().then(|| writer.memory.journal.tail_file());
        drop(place);
        if let Some(file) = due {
            project(writer_lock, &file);
        }
        if queue.is_finished() {
            return;
        }
    }
}
