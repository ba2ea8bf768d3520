//! The one writer of a process: a thread with a bounded queue, and group commit. It drains what is queued,
//! runs it in one transaction, commits once and then answers everybody.

use super::{
    Shared, checkpoint,
    index::{Index, Terms},
    job::{Job, Kind, job},
    learned::Learned,
    ledger::{Head, Ledger},
    queue::Queue,
    schema,
};
use crate::{
    journal::chain,
    model::{CallId, Event, EventDraft, json},
    store::StoreError,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
};
use tokio::sync::broadcast;

/// Operations in one transaction.
const BATCH: usize = 512;

/// What is kept of room for bodies, in bytes.
const LARGEST_ROOM: usize = 64 * 1024;

struct Statements<'c> {
    insert_event: CachedStatement<'c>,
    insert_ledger: CachedStatement<'c>,
}

/// What the writer remembers between transactions.
struct Memory {
    owner: i64,
    ledger: Ledger,
    open: HashMap<CallId, i64>,
    learned: Learned,
    index: Index,
    version: Option<i64>,
    head: Head,
    written: usize,
    room: Vec<u8>,
    shared: Arc<Shared>,
    events: broadcast::Sender<Arc<Event>>,
}

/// The open transaction.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    statements: Statements<'c>,
    pub(super) owner: i64,
    pub(super) ledger: &'c mut Ledger,
    /// The calls that this process has open, by the `seq` of their decisions. After a failure some may be missing.
    pub(super) open: &'c mut HashMap<CallId, i64>,
    pub(super) learned: &'c mut Learned,
    index: &'c mut Index,
    /// The latest time that any operation of this transaction named, in microseconds.
    pub(super) now: Option<i64>,
    pub(super) approvals_changed: bool,
    version: &'c mut Option<i64>,
    head: &'c mut Head,
    /// Bytes of records since the last checkpoint was asked for.
    written: &'c mut usize,
    /// Where bodies are written, one after the other.
    room: &'c mut Vec<u8>,
    shared: &'c Arc<Shared>,
    events: &'c broadcast::Sender<Arc<Event>>,
    committed: Vec<Arc<Event>>,
}

impl<'c> Tx<'c> {
    fn new(connection: &'c Connection, memory: &'c mut Memory) -> Result<Self, StoreError> {
        let statements = Statements {
            insert_event: connection
                .prepare_cached("INSERT INTO events (seq, prev_hash, hash, body) VALUES (?1, ?2, ?3, ?4)")?,
            insert_ledger: connection.prepare_cached(
                "INSERT INTO ledger (n, at, seq, hash, entries) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
        };
        Ok(Self {
            connection,
            statements,
            owner: memory.owner,
            ledger: &mut memory.ledger,
            open: &mut memory.open,
            learned: &mut memory.learned,
            index: &mut memory.index,
            now: None,
            approvals_changed: false,
            version: &mut memory.version,
            head: &mut memory.head,
            written: &mut memory.written,
            room: &mut memory.room,
            shared: &memory.shared,
            events: &memory.events,
            committed: Vec::new(),
        })
    }

    /// Takes the write lock, waiting for it where another process has it.
    fn lock(&self) -> Result<(), StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    /// Begins where the write lock is held.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.now = None;
        self.approvals_changed = false;
        self.head.moved = false;
        self.committed.clear();
        // I10: it changes with every commit of another connection, and is read inside the writing transaction. What
        // this process knows of chain and counters holds while it stays.
        let version: i64 =
            self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if *self.version != Some(version) {
            schema::still_known(self.connection)?;
            self.learned.forget();
            self.index.forget();
            self.ledger.refresh(self.connection)?;
            self.read_head()?;
            *self.version = Some(version);
        }
        Ok(())
    }

    /// The note of the head outlives records that somebody took away: what follows then does not close the gap.
    fn read_head(&mut self) -> Result<(), StoreError> {
        let read = |sql| {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        };
        let last =
            read("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")?.unwrap_or((0, chain::GENESIS));
        let noted =
            read("SELECT seq, hash FROM ledger ORDER BY n DESC LIMIT 1")?.unwrap_or((0, chain::GENESIS));
        let (seq, hash) = if noted.0 > last.0 { noted } else { last };
        *self.head = Head { seq, hash, moved: false };
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.ledger.flush(self.connection, &mut self.statements.insert_ledger, self.now, self.head)?;
        self.learned.write(self.connection)?;
        if self.approvals_changed {
            self.connection
                .prepare_cached("UPDATE approvals_generation SET generation = generation + 1")?
                .execute([])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// After it nothing that was remembered can be trusted.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "store.rollback_failed");
        }
        *self.ledger = Ledger::default();
        self.open.clear();
        self.learned.forget();
        self.index.forget();
        *self.version = None;
        self.committed.clear();
    }

    /// Notes a time that an operation named.
    pub(super) fn saw(&mut self, now: Timestamp) -> i64 {
        let now = now.as_microsecond();
        self.now = Some(self.now.map_or(now, |seen| seen.max(now)));
        now
    }

    /// The `seq` of the event that is appended next.
    pub(super) fn next_seq(&self) -> i64 {
        self.head.seq + 1
    }

    /// Puts an event at the end of the chain.
    pub(super) fn append(&mut self, draft: &EventDraft) -> Result<i64, StoreError> {
        self.append_with_limits(draft, None)
    }

    /// The same with other `limits` than the draft's own, as JSON text.
    pub(super) fn append_with_limits(
        &mut self,
        draft: &EventDraft,
        limits: Option<&str>,
    ) -> Result<i64, StoreError> {
        let mut room = std::mem::take(self.room);
        room.clear();
        draft.write_body(&mut room, limits);
        // Everything in it came from text.
        let body = std::str::from_utf8(&room).unwrap_or_default();
        let seq = self.append_body(draft, body, limits)?;
        if room.capacity() <= LARGEST_ROOM {
            *self.room = room;
        }
        Ok(seq)
    }

    fn append_body(
        &mut self,
        draft: &EventDraft,
        body: &str,
        limits: Option<&str>,
    ) -> Result<i64, StoreError> {
        let prev = self.head.hash;
        let seq = self.head.seq + 1;
        let hash = chain::link(&prev, seq, body);
        self.statements.insert_event.execute((seq, prev, hash, body))?;
        *self.head = Head { seq, hash, moved: true };
        self.index.note(self.connection, seq, &Terms::of(draft))?;
        *self.written += body.len();
        if self.events.receiver_count() > 0 {
            let mut draft = draft.clone().with_values();
            if let Some(limits) = limits.and_then(|text| json::parse_inner(text.as_bytes()).ok()) {
                draft.limits = Some(limits);
            }
            self.committed.push(Arc::new(Event {
                seq,
                prev_hash: chain::to_hex(&prev),
                hash: chain::to_hex(&hash),
                draft,
            }));
        }
        Ok(seq)
    }

    /// Tells the others of this process what was committed.
    fn publish(&mut self) {
        for event in self.committed.drain(..) {
            // An error means that nobody listens any more.
            drop(self.events.send(event));
        }
        if self.approvals_changed {
            self.shared.approvals.send_modify(|count| *count += 1);
        }
    }
}

/// A draft that cannot be written as JSON.
pub(super) fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Failed(format!("the record cannot be written as JSON: {error}"))
}

/// How a batch ended.
enum Batch {
    Committed,
    /// An operation failed; the others may be well.
    Spoiled(StoreError),
    /// The database failed.
    Failed(StoreError),
}

impl Batch {
    /// Of an operation's error. Whom the lock or the disk stops, it stops with everybody else.
    fn spoiled(error: StoreError) -> Self {
        match error {
            StoreError::Locked | StoreError::Full => Self::Failed(error),
            StoreError::Failed(_)
            | StoreError::NoSuchCall(_)
            | StoreError::Overloaded
            | StoreError::Closed
            | StoreError::Damaged(_) => Self::Spoiled(error),
        }
    }
}

fn attempt(tx: &mut Tx<'_>, jobs: &mut [Box<dyn Job>], locked: bool) -> Batch {
    let begun = if locked { Ok(()) } else { tx.lock() };
    if let Err(error) = begun.and_then(|()| tx.begin()) {
        tx.roll_back();
        return Batch::Failed(error);
    }
    for job in jobs {
        if let Err(error) = job.run(tx) {
            tx.roll_back();
            return Batch::spoiled(error);
        }
    }
    match tx.commit() {
        Ok(()) => {
            tx.publish();
            Batch::Committed
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

/// Runs a batch so that an operation that fails fails alone. The error is the database's own. `led`: the write lock is
/// held already, and the thread must not wait for it another time.
fn execute(
    tx: &mut Tx<'_>,
    jobs: &mut Vec<Box<dyn Job>>,
    led: bool,
    queue: &Queue,
) -> Result<(), StoreError> {
    let error = match attempt(tx, jobs, led) {
        Batch::Committed => {
            for job in jobs.drain(..) {
                job.answer(Ok(()));
            }
            return Ok(());
        }
        Batch::Spoiled(_) if led && jobs.len() > 1 => {
            queue.put_first(jobs);
            return Ok(());
        }
        Batch::Spoiled(error) if jobs.len() > 1 => {
            tracing::warn!(%error, operations = jobs.len(), "store.batch_spoiled");
            return one_by_one(tx, jobs, queue);
        }
        Batch::Spoiled(error) => {
            tracing::error!(%error, "store.write_failed");
            fail_all(jobs, &error, queue);
            return Ok(());
        }
        Batch::Failed(error) => error,
    };
    tracing::error!(%error, operations = jobs.len(), "store.write_failed");
    fail_all(jobs, &error, queue);
    Err(error)
}

fn one_by_one(tx: &mut Tx<'_>, jobs: &mut Vec<Box<dyn Job>>, queue: &Queue) -> Result<(), StoreError> {
    let mut failed = Vec::new();
    let mut rest = std::mem::take(jobs).into_iter();
    let mut any_committed = false;
    let mut outcome = Ok(());
    for mut job in rest.by_ref() {
        match attempt(tx, std::slice::from_mut(&mut job), false) {
            Batch::Committed => {
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
    checkpoint: mpsc::SyncSender<()>,
    /// A group is being run; where nobody runs one, somebody panicked in it, and nothing that is remembered counts.
    running: bool,
    /// How long a group waits for the write lock.
    patience: schema::Patience,
}

/// Where the writer is; none once it has ended.
pub(super) type Desk = Arc<Mutex<Option<Writer>>>;

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        owner: i64,
        shared: Arc<Shared>,
        events: broadcast::Sender<Arc<Event>>,
        checkpoint: mpsc::SyncSender<()>,
    ) -> Self {
        let memory = Memory {
            owner,
            ledger: Ledger::default(),
            open: HashMap::new(),
            learned: Learned::default(),
            index: Index::default(),
            version: None,
            head: Head { seq: 0, hash: chain::GENESIS, moved: false },
            written: 0,
            room: Vec::new(),
            shared,
            events,
        };
        Self { connection, memory, checkpoint, running: false, patience: schema::Patience::Long }
    }

    /// What is next: grants that found nobody are taken back before anything else, for they hold room.
    fn next(&self, queue: &Queue) -> Vec<Box<dyn Job>> {
        let mut jobs: Vec<_> = std::mem::take(&mut *self.memory.shared.left.lock())
            .into_iter()
            .map(|call_id| job(Kind::Aside, move |tx| super::calls::abandon(tx, &call_id), |()| ()).0)
            .collect();
        jobs.extend(queue.take(BATCH));
        jobs
    }

    /// Runs a group; `led` says that a caller runs it, who holds the write lock already.
    fn group(&mut self, jobs: &mut Vec<Box<dyn Job>>, led: bool, queue: &Queue) {
        self.running = true;
        queue.runs(jobs.iter().filter(|job| !job.wanted()).count());
        let outcome = match Tx::new(&self.connection, &mut self.memory) {
            Ok(mut tx) => execute(&mut tx, jobs, led, queue),
            Err(error) => {
                fail_all(jobs, &error, queue);
                Err(error)
            }
        };
        queue.runs(0);
        // Who holds the lock for so long keeps it, most likely: those who come meanwhile are refused soon.
        let patience = match outcome {
            Err(StoreError::Locked) => schema::Patience::Short,
            Ok(()) | Err(_) => schema::Patience::Long,
        };
        if patience != self.patience {
            self.patience = patience;
            if let Err(error) = self.connection.busy_handler(Some(patience.handler())) {
                tracing::error!(%error, "store.busy_handler_not_set");
            }
        }
        if self.memory.written >= checkpoint::EVERY {
            self.memory.written = 0;
            // One that is under way already is enough.
            self.checkpoint.try_send(()).ok();
        }
        self.running = false;
    }

    /// Takes the write lock where that is no wait.
    fn lock_at_once(&self) -> rusqlite::Result<bool> {
        self.connection.busy_handler(None)?;
        let locked =
            self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
        self.connection.busy_handler(Some(self.patience.handler()))?;
        Ok(locked.is_ok())
    }
}

/// Groups that a caller runs before it leaves the rest to the writer's thread.
const MOST_LED: usize = 4;

/// Runs what is queued on the calling thread, if nobody else does and no other process holds the database. Only for a
/// store whose commits do not wait for the disk: the caller's thread serves others too.
pub(super) fn lead(queue: &Queue, desk: &Desk) {
    for _ in 0..MOST_LED {
        // Whoever has it looks at the queue once more when it is done.
        let Some(mut place) = desk.try_lock() else { return };
        let Some(writer) = place.as_mut().filter(|writer| !writer.running) else { break };
        if !queue.has_wanted() {
            drop(place);
            // Whoever came meanwhile and found the place taken relies on this look.
            if queue.has_wanted() {
                continue;
            }
            return;
        }
        if !matches!(writer.lock_at_once(), Ok(true)) {
            break;
        }
        let mut jobs = writer.next(queue);
        writer.group(&mut jobs, true, queue);
        drop(place);
        if !queue.has_wanted() {
            return;
        }
    }
    queue.nudge();
}

/// The thread's whole life.
pub(super) fn run(desk: &Desk, queue: &Arc<Queue>) {
    /// However the thread ends, nobody waits for it after that.
    struct End<'e>(&'e Desk, &'e Queue);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.1.end();
            *self.0.lock() = None;
        }
    }
    let _end = End(desk, queue);
    let mut open = 0;
    loop {
        queue.wait(BATCH, open > 1);
        let mut place = desk.lock();
        let Some(writer) = place.as_mut().filter(|writer| !writer.running) else {
            // Everything that is asked of the store from now on answers `Closed`.
            return tracing::error!("store.writer_failed");
        };
        let mut jobs = writer.next(queue);
        if !jobs.is_empty() {
            writer.group(&mut jobs, false, queue);
        }
        open = writer.memory.ledger.state().open_count();
        drop(place);
        if queue.is_finished() {
            return;
        }
    }
}
