//! The one writer of a process: a thread with a bounded queue, and group commit. Whoever holds it drains what is queued,
//! runs it, appends one frame to the journal and then answers everybody.

use super::{
    Shared, approvals,
    fold::{self, Row},
    job::{Job, Kind, job},
    learned::Learned,
    ledger::Ledger,
    notes,
    projection::{self, Mark},
    queue::Queue,
};
use crate::{
    admission::{Effect, Limit, Request, Ruling, State},
    evidence,
    journal::{Cut, Draft, Journal, JournalError, Lock, PROJECTED, Patience, Place, Reader, chain},
    model::{CallId, Event, EventDraft, json},
    store::{AdmitRequest, StoreError},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
};
use tokio::sync::broadcast;

/// Operations in one group.
const BATCH: usize = 512;

/// Bytes of the journal after which the projection takes what changed since.
const PROJECTED_EVERY: u64 = 16 << 20;

/// What the writer remembers between groups.
struct Memory {
    owner: i64,
    journal: Journal,
    /// What was cut off and is not recorded yet.
    cut: Option<Cut>,
    reader: Arc<Reader>,
    draft: Draft,
    ledger: Ledger,
    open: HashMap<CallId, i64>,
    learned: Learned,
    /// A group failed: what is remembered does not hold, and is read again.
    stale: bool,
    /// Frames are not in the projection that it has to follow at once.
    behind: bool,
    /// Bytes of the journal since the projection was written.
    unprojected: u64,
    shared: Arc<Shared>,
    events: broadcast::Sender<Arc<Event>>,
    /// Whom to tell of a sealed segment, which is to be indexed.
    sealed: mpsc::SyncSender<std::path::PathBuf>,
}

/// A group being run.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    memory: &'c mut Memory,
    pub(super) owner: i64,
    /// What the projection takes at once when the group is committed.
    rows: Vec<Row>,
    /// The projection is to take everything.
    pub(super) project: bool,
    committed: Vec<Arc<Event>>,
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

impl<'c> Tx<'c> {
    fn new(connection: &'c Connection, memory: &'c mut Memory) -> Self {
        let owner = memory.owner;
        Self { connection, memory, owner, rows: Vec::new(), project: false, committed: Vec::new() }
    }

    /// Begins where the lock is held: takes in what other processes have appended, and has room for more.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.rows.clear();
        self.project = false;
        self.committed.clear();
        self.memory.follow(self.connection)?;
        if let Some(cut) = self.memory.journal.take_cut() {
            self.memory.cut = Some(cut);
        }
        if self.memory.journal.is_full() {
            self.memory.project(self.connection)?;
            self.memory.seal()?;
        }
        if self.memory.behind {
            self.memory.project(self.connection)?;
        }
        self.memory.journal.prepare()?;
        self.memory.draft.begin(self.memory.journal.head());
        if let Some(Cut { place, bytes }) = self.memory.cut.clone() {
            self.append(&evidence::torn_tail(self.memory.now(), place.segment, place.offset, bytes))?;
        }
        Ok(())
    }

    /// What the group has changed is committed, and the projection follows where it must.
    fn commit(&mut self) -> Result<(), StoreError> {
        let memory = &mut *self.memory;
        memory.ledger.tidy(memory.draft.at());
        if !self.rows.is_empty() {
            memory.draft.flag(PROJECTED);
        }
        if !memory.draft.is_empty() {
            let place = memory.journal.append(&mut memory.draft)?;
            memory.ledger.mark(place, memory.draft.at().unwrap_or_default());
            memory.cut = None;
            memory.unprojected += memory.journal.place().offset.saturating_sub(place.offset);
        }
        if !self.rows.is_empty() || self.project {
            // It is committed: where the projection fails, it follows before the next group.
            if let Err(error) = memory.project_with(self.connection, &self.rows) {
                tracing::error!(%error, "store.projection_failed");
                memory.behind = true;
            }
        }
        Ok(())
    }

    /// After it nothing that was remembered can be trusted.
    fn roll_back(&mut self) {
        self.memory.stale = true;
        self.memory.open.clear();
        self.committed.clear();
    }

    /// Notes a time that an operation named.
    pub(super) fn saw(&mut self, now: Timestamp) -> i64 {
        let now = now.as_microsecond();
        self.memory.draft.saw(now);
        now
    }

    /// The `seq` of the event that is appended next.
    pub(super) fn next_seq(&self) -> i64 {
        self.memory.draft.seq() + 1
    }

    /// What is counted, to be brought to a time.
    pub(super) fn counted(&mut self) -> &mut State {
        self.memory.ledger.state_mut()
    }

    /// The limits of an admission, with what they are judged by in memory.
    pub(super) fn limits<'r>(
        &mut self,
        request: &'r AdmitRequest,
        agent: &'r str,
        now: i64,
    ) -> Result<Vec<Limit<'r>>, StoreError> {
        self.memory.ledger.limits(self.connection, self.memory.draft.notes(), request, agent, now)
    }

    /// Judges a request whose limits come from [`Self::limits`].
    pub(super) fn judge<'q>(&mut self, request: &'q Request<'_>) -> Ruling<'q> {
        self.memory.ledger.admit(request)
    }

    /// What is counted.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.memory.ledger
    }

    /// Takes in an effect and notes it.
    pub(super) fn put(&mut self, effect: Effect) -> Result<(), StoreError> {
        self.memory.ledger.put(self.connection, self.memory.draft.notes(), effect)
    }

    /// Notes something that is no effect.
    pub(super) fn note(&mut self, note: notes::Note) {
        notes::write(self.memory.draft.notes(), &note);
        self.memory.ledger.note(note);
    }

    /// Learns the size of a result.
    pub(super) fn learn(&mut self, tool: &str, tokens: i64) -> Result<(), StoreError> {
        self.memory.learned.learn(self.connection, self.memory.draft.notes(), tool, tokens)
    }

    /// The calls that this process has open, by the `seq` of their decisions. After a failure some may be missing.
    pub(super) fn open(&mut self) -> &mut HashMap<CallId, i64> {
        &mut self.memory.open
    }

    /// What has been committed.
    pub(super) fn reader(&self) -> &Arc<Reader> {
        &self.memory.reader
    }

    /// Approvals as they stand.
    pub(super) fn approvals(&self) -> approvals::Book<'_> {
        approvals::Book { connection: self.connection, journal: &self.memory.reader }
    }

    /// Has the projection take a row once the group is committed. Nothing else of the group reads it before.
    pub(super) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Seals segments after so few records.
    pub(super) fn seal_after(&mut self, records: u32) {
        self.memory.journal.seal_after(records);
    }

    /// Puts an event at the end of the chain.
    pub(super) fn append(&mut self, draft: &EventDraft) -> Result<(i64, Place), StoreError> {
        self.append_with_limits(draft, None)
    }

    /// The same with other `limits` than the draft's own, as JSON text.
    pub(super) fn append_with_limits(
        &mut self,
        draft: &EventDraft,
        limits: Option<&str>,
    ) -> Result<(i64, Place), StoreError> {
        let memory = &mut *self.memory;
        let record = memory.draft.record(|out| draft.write_body(out, limits));
        let (seq, prev, hash) = (record.seq, record.prev, record.hash);
        let mut place = memory.journal.place();
        place.offset += record.offset as u64;
        if memory.events.receiver_count() > 0 {
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
        Ok((seq, place))
    }

    /// Tells the others of this process what was committed.
    fn publish(&mut self) {
        for event in self.committed.drain(..) {
            // An error means that nobody listens any more.
            drop(self.memory.events.send(event));
        }
        if self.rows.iter().any(Row::is_approval) {
            self.memory.shared.approvals.send_modify(|count| *count += 1);
        }
    }
}

impl Memory {
    /// Takes in what other processes have appended.
    fn follow(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.stale {
            self.recall(connection)?;
        }
        let mut followed = None;
        let (ledger, learned) = (&mut self.ledger, &mut self.learned);
        let (behind, unprojected) = (&mut self.behind, &mut self.unprojected);
        let mut failed = Ok(());
        let outcome = self.journal.follow(&mut |frame, place, _| {
            let mut take = || -> Result<(), StoreError> {
                let followed = match followed {
                    Some(followed) => followed,
                    None => {
                        projection::still_known(connection)?;
                        *followed.insert(projection::followed(connection)?)
                    }
                };
                let notes = notes::read(frame.notes()).ok_or_else(|| fold::unreadable(place))?;
                notes.iter().for_each(|note| learned.take_in(note));
                *behind |= frame.head.is_projected() && followed.is_none_or(|followed| place >= followed);
                *unprojected += frame.head.length as u64;
                ledger.take_in(connection, followed, place, frame.head.at, notes)
            };
            if failed.is_ok() {
                failed = take();
            }
            Ok(())
        });
        if let Err(error) = failed.and(outcome.map_err(StoreError::from)) {
            self.stale = true;
            return Err(error);
        }
        Ok(())
    }

    /// Reads again what is remembered: the projection, and what the journal has behind it.
    fn recall(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.ledger = Ledger::default();
        self.learned = Learned::default();
        self.journal.follow(&mut |_, _, _| Ok(()))?;
        self.reader.refresh()?;
        self.behind = fold::recall(connection, &self.reader, &mut self.ledger, &mut self.learned)?;
        self.stale = false;
        Ok(())
    }

    /// The time that the newest frames name, for records that no operation asks for.
    fn now(&self) -> Timestamp {
        self.ledger.reached()
    }

    /// The projection takes everything up to the journal's end. Only between groups.
    fn project(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.project_with(connection, &[])
    }

    fn project_with(&mut self, connection: &Connection, rows: &[Row]) -> Result<(), StoreError> {
        let mark = Mark {
            journal: self.journal.id(),
            place: self.journal.place(),
            head: *self.journal.head(),
            base: self.ledger.base(self.journal.place()),
            open: self.ledger.open(),
        };
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut write = || -> Result<(), StoreError> {
            match self.behind {
                true => {
                    self.reader.refresh()?;
                    let from = projection::followed(connection)?.unwrap_or(fold::START);
                    fold::follow_rows(connection, &self.reader, from)?;
                }
                false => rows.iter().try_for_each(|row| row.write(connection))?,
            }
            self.ledger.project(connection)?;
            self.learned.project(connection)?;
            projection::write_mark(connection, &mark)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        };
        if let Err(error) = write() {
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "store.rollback_failed");
            }
            return Err(error);
        }
        self.ledger.projected();
        self.learned.projected();
        self.behind = false;
        self.unprojected = 0;
        Ok(())
    }

    /// Ends the newest segment, which the projection has followed to its end.
    fn seal(&mut self) -> Result<(), StoreError> {
        let path = self.journal.tail_path().to_owned();
        self.journal.seal()?;
        // Where the thread has enough to do, whoever needs the index makes it.
        self.sealed.try_send(path).ok();
        Ok(())
    }
}

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
            StoreError::Locked | StoreError::Full => Self::Failed(error),
            StoreError::Failed(_)
            | StoreError::NoSuchCall(_)
            | StoreError::Overloaded
            | StoreError::Closed
            | StoreError::Damaged(_) => Self::Spoiled(error),
        }
    }
}

/// Runs operations up to the first after which the projection has to follow: those behind it read it.
fn attempt(tx: &mut Tx<'_>, jobs: &mut [Box<dyn Job>]) -> Batch {
    if let Err(error) = tx.begin() {
        tx.roll_back();
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

/// Runs a batch so that an operation that fails fails alone. The error is the store's own. `led`: a caller runs it, whose
/// thread must not go on for long.
fn execute(
    tx: &mut Tx<'_>,
    jobs: &mut Vec<Box<dyn Job>>,
    led: bool,
    queue: &Queue,
) -> Result<(), StoreError> {
    while !jobs.is_empty() {
        let error = match attempt(tx, jobs) {
            Batch::Committed(done) => {
                for job in jobs.drain(..done) {
                    job.answer(Ok(()));
                }
                continue;
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
pub(super) type Desk = Arc<Mutex<Option<Writer>>>;

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

/// The lock between processes, for as long as this is there, whatever happens meanwhile.
pub(super) struct Held(Arc<Lock>);

impl Held {
    pub(super) fn new(lock: &Arc<Lock>) -> Self {
        Self(lock.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What a writer is made of.
pub(super) struct Parts {
    pub(super) connection: Connection,
    pub(super) journal: Journal,
    /// What was cut off as it was opened.
    pub(super) cut: Option<Cut>,
    pub(super) reader: Arc<Reader>,
    pub(super) lock: Arc<Lock>,
    pub(super) owner: i64,
    pub(super) shared: Arc<Shared>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) sealed: mpsc::SyncSender<std::path::PathBuf>,
}

impl Writer {
    /// What is remembered is read by the first group.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { connection, journal, cut, reader, lock, owner, shared, events, sealed } = parts;
        let memory = Memory {
            owner,
            journal,
            cut,
            reader,
            draft: Draft::default(),
            ledger: Ledger::default(),
            open: HashMap::new(),
            learned: Learned::default(),
            stale: true,
            behind: false,
            unprojected: 0,
            shared,
            events,
            sealed,
        };
        Self { connection, memory, lock, running: false, patience: Patience::Long }
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

    /// Runs a group; `held`: a caller runs it, who has taken the lock for it.
    fn group(&mut self, jobs: &mut Vec<Box<dyn Job>>, held: Option<Held>, queue: &Queue) {
        self.running = true;
        queue.runs(jobs.iter().filter(|job| !job.wanted()).count());
        let led = held.is_some();
        let locked = match held {
            Some(held) => Ok(held),
            None => self.lock.take(self.patience).map(|()| Held::new(&self.lock)).map_err(StoreError::from),
        };
        let outcome = match locked {
            Ok(_held) => execute(&mut Tx::new(&self.connection, &mut self.memory), jobs, led, queue),
            Err(error) => {
                tracing::error!(%error, operations = jobs.len(), "store.write_failed");
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
    fn project_if_due(&mut self) {
        if !self.is_due() {
            return;
        }
        // Another process has it: later.
        if !matches!(self.lock.try_take(), Ok(true)) {
            return;
        }
        self.running = true;
        let _held = Held::new(&self.lock);
        let memory = &mut self.memory;
        let projected = memory
            .follow(&self.connection)
            .and_then(|()| memory.journal.flush().map_err(StoreError::from))
            .and_then(|()| memory.project(&self.connection));
        if let Err(error) = projected {
            tracing::warn!(%error, "store.projection_failed");
            // Not with every group.
            memory.unprojected = 0;
        }
        self.running = false;
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
            writer.group(&mut jobs, None, queue);
        }
        writer.project_if_due();
        open = writer.memory.ledger.state().open_count();
        drop(place);
        if queue.is_finished() {
            return;
        }
    }
}
