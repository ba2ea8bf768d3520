//! The one writer of a process: a thread with a bounded queue, and group commit. It drains what is queued,
//! runs it in one transaction, commits once and then answers everybody.

use super::{Shared, checkpoint, ledger::Ledger};
use crate::{
    model::{CallId, Event, EventDraft},
    store::{StoreError, chain},
};
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::{broadcast, oneshot};

/// Operations in one transaction.
const BATCH: usize = 512;

/// Operations that may wait. Beyond it the store is overloaded and refuses: it must not grow without bound.
pub(super) const QUEUE: usize = 8_192;

/// What reaches the writer.
pub(super) enum Message {
    Run(Box<dyn Job>),
    /// Nobody waits for it: it goes with the next group, or after [`PATIENCE`].
    Settle(Box<dyn Job>),
    /// Look at the calls whose callers left.
    Wake,
    /// Finish what is queued, then end.
    Close,
}

/// One operation. It may run more than once, since a batch in which any operation fails is rolled back
/// and run again one by one; only the last run is committed.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Task<T, R, W, F> {
    work: W,
    value: Option<T>,
    /// Makes the answer, once the value is committed.
    finish: F,
    reply: oneshot::Sender<Result<R, StoreError>>,
    /// Not run at all where nobody waits any more.
    only_if_wanted: bool,
}

impl<T, R, W, F> Job for Task<T, R, W, F>
where
    T: Send,
    R: Send,
    W: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
    F: FnOnce(T) -> R + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.value = None;
        if self.only_if_wanted && self.reply.is_closed() {
            return Ok(());
        }
        self.value = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, finish, reply, .. } = *self;
        let value = match (outcome, value) {
            (Ok(()), Some(value)) => Ok(finish(value)),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        // Where nobody waits, a value that matters cleans up as it is dropped, and a failure is told here.
        if let Err(Err(error)) = reply.send(value) {
            tracing::error!(error = %error, "a record nobody waits for was not written");
        }
    }
}

/// An operation's answer, on its way.
pub(super) type Reply<R> = oneshot::Receiver<Result<R, StoreError>>;

/// Makes a job and the place where its answer comes.
pub(super) fn job<T, R, W, F>(only_if_wanted: bool, work: W, finish: F) -> (Box<dyn Job>, Reply<R>)
where
    T: Send + 'static,
    R: Send + 'static,
    W: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    F: FnOnce(T) -> R + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Task { work, value: None, finish, reply, only_if_wanted }), answer)
}

/// A call that this process has open.
#[derive(Clone, Debug)]
pub(super) struct OpenCall {
    pub(super) seq: i64,
    pub(super) tokens: i64,
    pub(super) cost: i64,
    /// Its row in the ledger of rolling windows.
    pub(super) ledger: Option<i64>,
    pub(super) rolling: Vec<i64>,
    pub(super) windows: Vec<(i64, i64)>,
}

struct Statements<'c> {
    begin: CachedStatement<'c>,
    commit: CachedStatement<'c>,
    version: CachedStatement<'c>,
    last: CachedStatement<'c>,
    head: CachedStatement<'c>,
    insert_event: CachedStatement<'c>,
    set_head: CachedStatement<'c>,
}

/// The statements that every call needs.
pub(super) struct CallStatements<'c> {
    pub(super) insert_open: CachedStatement<'c>,
    pub(super) delete_open: CachedStatement<'c>,
    pub(super) insert_ledger: CachedStatement<'c>,
}

/// The open transaction, and what the writer remembers between transactions.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    statements: Statements<'c>,
    pub(super) calls: CallStatements<'c>,
    pub(super) owner: i64,
    pub(super) ledger: Ledger,
    pub(super) open: HashMap<CallId, OpenCall>,
    pub(super) learned: HashMap<String, i64>,
    /// The latest time that any operation of this transaction named, in microseconds.
    pub(super) now: Option<i64>,
    pub(super) approvals_changed: bool,
    version: Option<i64>,
    head: (i64, chain::Hash),
    appended: bool,
    /// Bytes of records since the last checkpoint was asked for.
    written: usize,
    shared: Arc<Shared>,
    events: broadcast::Sender<Arc<Event>>,
    committed: Vec<Arc<Event>>,
}

impl<'c> Tx<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        owner: i64,
        shared: Arc<Shared>,
        events: broadcast::Sender<Arc<Event>>,
    ) -> Result<Self, StoreError> {
        let statements = Statements {
            begin: connection.prepare_cached("BEGIN IMMEDIATE")?,
            commit: connection.prepare_cached("COMMIT")?,
            version: connection.prepare_cached("PRAGMA data_version")?,
            last: connection.prepare_cached("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")?,
            head: connection.prepare_cached("SELECT seq, hash FROM chain_head")?,
            insert_event: connection.prepare_cached(
                "INSERT INTO events (seq, prev_hash, hash, body, event_type, timestamp, trace_id, workflow_id,
                   agent_id, policy_id, decision, tool, call_id, approval_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?,
            set_head: connection.prepare_cached(
                "INSERT INTO chain_head (id, seq, hash) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
            )?,
        };
        let calls = CallStatements {
            insert_open: connection.prepare_cached(
                "INSERT INTO open_calls (seq, call_id, owner, tokens, cost, ledger, counters)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            delete_open: connection.prepare_cached("DELETE FROM open_calls WHERE seq = ?1")?,
            insert_ledger: connection.prepare_cached(
                "INSERT INTO ledger (n, at, amends, tokens, cost, repeat, counters)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
        };
        Ok(Self {
            connection,
            statements,
            calls,
            owner,
            ledger: Ledger::default(),
            open: HashMap::new(),
            learned: HashMap::new(),
            now: None,
            approvals_changed: false,
            version: None,
            head: (0, chain::GENESIS),
            appended: false,
            written: 0,
            shared,
            events,
            committed: Vec::new(),
        })
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.statements.begin.execute([])?;
        self.now = None;
        self.approvals_changed = false;
        self.appended = false;
        self.committed.clear();
        let version: i64 = self.statements.version.query_row([], |row| row.get(0))?;
        // I10: the head is read inside the writing transaction, always. The note of it outlives records that
        // somebody took away: what follows then does not close the gap.
        let read = |statement: &mut CachedStatement<'_>| {
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        };
        let last = read(&mut self.statements.last)?.unwrap_or((0, chain::GENESIS));
        let noted = read(&mut self.statements.head)?.unwrap_or((0, chain::GENESIS));
        self.head = if noted.0 > last.0 { noted } else { last };
        if self.version != Some(version) {
            self.learned.clear();
            self.ledger.refresh(self.connection)?;
            self.version = Some(version);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.ledger.flush(self.connection, self.now)?;
        if self.appended {
            self.statements.set_head.execute((self.head.0, self.head.1))?;
        }
        if self.approvals_changed {
            self.connection
                .prepare_cached("UPDATE approvals_generation SET generation = generation + 1")?
                .execute([])?;
        }
        self.statements.commit.execute([])?;
        Ok(())
    }

    /// After it nothing that was remembered can be trusted.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "store.rollback_failed");
        }
        self.ledger = Ledger::default();
        self.open.clear();
        self.learned.clear();
        self.version = None;
        self.committed.clear();
    }

    /// Notes a time that an operation named.
    pub(super) fn saw(&mut self, now: Timestamp) -> i64 {
        let now = now.as_microsecond();
        self.now = Some(self.now.map_or(now, |seen| seen.max(now)));
        now
    }

    /// Puts an event at the end of the chain.
    pub(super) fn append(&mut self, draft: &EventDraft) -> Result<i64, StoreError> {
        self.append_body(draft, &draft.body().map_err(unwritable)?, || None)
    }

    /// The same where the body is written already; `limits` are those in the body where they are not the draft's.
    pub(super) fn append_body(
        &mut self,
        draft: &EventDraft,
        body: &str,
        limits: impl FnOnce() -> Option<serde_json::Value>,
    ) -> Result<i64, StoreError> {
        let (last, prev) = self.head;
        let seq = last + 1;
        let hash = chain::link(&prev, seq, body);
        let trace = draft.trace_id.as_ref().map(crate::model::TraceId::bytes);
        self.statements.insert_event.execute((
            seq,
            prev,
            hash,
            body,
            draft.event_type.as_str(),
            draft.timestamp.as_microsecond(),
            trace,
            draft.workflow_id.as_deref(),
            draft.agent_id.as_deref(),
            draft.policy_id.as_deref(),
            draft.decision.map(|d| d.as_str()),
            draft.tool.as_deref(),
            draft.call_id.as_deref(),
            draft.approval_id.as_deref(),
        ))?;
        self.head = (seq, hash);
        self.appended = true;
        self.written += body.len();
        if self.events.receiver_count() > 0 {
            let mut draft = draft.clone();
            if let Some(limits) = limits() {
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

fn attempt(tx: &mut Tx<'_>, jobs: &mut [Box<dyn Job>]) -> Batch {
    if let Err(error) = tx.begin() {
        tx.roll_back();
        return Batch::Failed(error);
    }
    for job in jobs {
        if let Err(error) = job.run(tx) {
            tx.roll_back();
            return Batch::Spoiled(error);
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

fn answer_all(jobs: &mut Vec<Box<dyn Job>>, outcome: &Result<(), StoreError>) {
    for job in jobs.drain(..) {
        job.answer(outcome.clone());
    }
}

/// Runs a batch so that an operation that fails fails alone.
fn execute(tx: &mut Tx<'_>, jobs: &mut Vec<Box<dyn Job>>) {
    let error = match attempt(tx, jobs) {
        Batch::Committed => return answer_all(jobs, &Ok(())),
        Batch::Spoiled(error) if jobs.len() > 1 => {
            tracing::warn!(%error, operations = jobs.len(), "store.batch_spoiled");
            for mut job in jobs.drain(..) {
                let outcome = match attempt(tx, std::slice::from_mut(&mut job)) {
                    Batch::Committed => Ok(()),
                    Batch::Spoiled(error) | Batch::Failed(error) => Err(error),
                };
                job.answer(outcome);
            }
            return;
        }
        Batch::Spoiled(error) | Batch::Failed(error) => error,
    };
    tracing::error!(%error, operations = jobs.len(), "store.write_failed");
    answer_all(jobs, &Err(error));
}

/// How long a settlement may wait for a group to go with.
const PATIENCE: Duration = Duration::from_millis(2);

/// How long a group is gathered where several calls are open: a commit costs as much as several records, and
/// whoever waits for one would else wait for the one before it. Longer was measured to cost more than it saves.
const GATHER: Duration = Duration::from_micros(60);

/// What goes into one transaction.
#[derive(Default)]
struct Group {
    jobs: Vec<Box<dyn Job>>,
    /// Somebody waits for it.
    wanted: bool,
    closing: bool,
}

impl Group {
    fn take(&mut self, message: Message) {
        match message {
            Message::Run(job) => {
                self.wanted = true;
                self.jobs.push(job);
            }
            Message::Settle(job) => self.jobs.push(job),
            Message::Wake => self.wanted = true,
            Message::Close => (self.wanted, self.closing) = (true, true),
        }
    }

    fn open(&self) -> bool {
        !self.closing && self.jobs.len() < BATCH
    }

    fn drain(&mut self, queue: &mpsc::Receiver<Message>) {
        while self.open()
            && let Ok(message) = queue.try_recv()
        {
            self.take(message);
        }
    }

    /// Waits for company as long as that pays: with settlements alone, for somebody who waits; with several calls open,
    /// for the next of them.
    fn gather(&mut self, queue: &mpsc::Receiver<Message>, calls: usize) {
        self.drain(queue);
        while !self.wanted && self.open() {
            match queue.recv_timeout(PATIENCE) {
                Ok(message) => self.take(message),
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => self.closing = true,
            }
            self.drain(queue);
        }
        if calls > 1 && self.open() {
            std::thread::sleep(GATHER);
            self.drain(queue);
        }
    }
}

/// The thread's whole life.
pub(super) fn run(
    connection: &Connection,
    owner: i64,
    shared: &Arc<Shared>,
    events: broadcast::Sender<Arc<Event>>,
    queue: &mpsc::Receiver<Message>,
    checkpoint: &mpsc::SyncSender<()>,
) {
    let mut tx = match Tx::new(connection, owner, shared.clone(), events) {
        Ok(tx) => tx,
        // Everything that is asked of the store from now on answers `Closed`.
        Err(error) => return tracing::error!(%error, "store.writer_failed"),
    };
    let mut group = Group::default();
    while !group.closing {
        let Ok(first) = queue.recv() else { break };
        group.wanted = false;
        group.take(first);
        group.gather(queue, tx.open.len());
        for call_id in std::mem::take(&mut *shared.left.lock()) {
            group.jobs.push(job(false, move |tx| super::calls::abandon(tx, &call_id), |()| ()).0);
        }
        if !group.jobs.is_empty() {
            execute(&mut tx, &mut group.jobs);
        }
        if tx.written >= checkpoint::EVERY {
            tx.written = 0;
            // One that is under way already is enough.
            checkpoint.try_send(()).ok();
        }
    }
}
