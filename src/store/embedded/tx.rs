//! A group of operations: what they read, and what they append.

use super::{
    book::Book, failing::Failing, grants::Grants, kept, ledger::Ledger, memory::Memory, notes,
    origin::Origin, registers::Registers, rows::Row, usage::Remembered,
};
use crate::{
    admission::{Effect, Limit, LoopCheck, LoopSeen, RepeatLimit, Request, Ruling, State, Usage, Window},
    cost::SizeCell,
    decision::BudgetLimit,
    evidence,
    journal::{Cut, PROJECTED, Place, REGISTERS, Reader, chain},
    model::{CallId, Event, EventDraft, json},
    store::{AdmitRequest, Kept, StoreError},
};
use jiff::Timestamp;
use rusqlite::Connection;
use std::{collections::HashMap, path::Path, sync::Arc};

/// A group being run.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    memory: &'c mut Memory,
    pub(super) owner: i64,
    /// What the projection takes at once when the group is committed.
    pub(super) rows: Vec<Row>,
    /// The projection is to take everything.
    pub(super) project: bool,
    /// The group holds an order about what is in force.
    pub(super) ordered: bool,
    /// The group changes a register that wakes.
    wakes: bool,
    committed: Vec<Arc<Event>>,
    /// Calls that the group has closed, with what was remembered of each.
    closed: Vec<(CallId, i64, Vec<BudgetLimit>)>,
}

impl<'c> Tx<'c> {
    pub(super) fn new(connection: &'c Connection, memory: &'c mut Memory) -> Self {
        let owner = memory.owner;
        Self {
            connection,
            memory,
            owner,
            rows: Vec::new(),
            project: false,
            ordered: false,
            wakes: false,
            committed: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Begins where the lock is held: takes in what other processes have appended, and has room for more, unless it only `reads`.
    pub(super) fn begin(&mut self, reads: bool) -> Result<(), StoreError> {
        self.rows.clear();
        self.project = false;
        self.ordered = false;
        self.wakes = false;
        self.committed.clear();
        self.closed.clear();
        // Calls in doubt hold room: whoever comes next finds out, by keeping others from appending.
        let mut holds = !reads || self.memory.looks_into_doubt();
        match self.memory.follow(self.connection, holds) {
            // Whoever only reads is answered, though it cannot be found out yet.
            Err(StoreError::Failed(_) | StoreError::Clock(_)) if reads && holds => {
                holds = false;
                self.memory.follow(self.connection, false)?;
            }
            followed => followed?,
        }
        if holds {
            self.memory.resolve();
        }
        if let Some(cut) = self.memory.journal.take_cut() {
            // What is torn off a copy stands whole where it was copied from.
            self.memory.cut = self.memory.origin.is_none().then_some(cut);
        }
        if reads && self.memory.behind && self.memory.origin.is_some() {
            // Nobody else does it.
            self.memory.project(self.connection)?;
        }
        if reads {
            self.memory.draft.begin(self.memory.journal.head());
            return Ok(());
        }
        if self.memory.journal.is_full() {
            self.memory.project(self.connection)?;
            self.memory.seal()?;
            // Of an origin others may have gone on behind it.
            self.memory.follow(self.connection, true)?;
        }
        if self.memory.behind {
            self.memory.project(self.connection)?;
        }
        self.memory.remove_gone()?;
        self.memory.journal.prepare()?;
        self.memory.draft.begin(self.memory.journal.head());
        if let Some(Cut { place, bytes, kept }) = self.memory.cut.clone() {
            let kept = kept.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
            let now = self.memory.now();
            self.append(&evidence::torn_tail(now, place.segment, (place.offset, bytes), kept.as_deref()))?;
        }
        Ok(())
    }

    /// What the group has changed is committed, and the projection follows where it must.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        let memory = &mut *self.memory;
        memory.ledger.tidy(memory.draft.at());
        if !self.rows.is_empty() {
            memory.draft.flag(PROJECTED);
        }
        if !memory.draft.is_empty() {
            memory.introduce(self.connection)?;
            let place = memory.append(self.ordered)?;
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
    pub(super) fn roll_back(&mut self) {
        self.memory.stale = true;
        let last = self.memory.journal.head().seq;
        let Memory { open, alerting, in_doubt, doubted, .. } = &mut *self.memory;
        for (call_id, seq, budgets) in self.closed.drain(..) {
            if !budgets.is_empty() {
                alerting.insert(call_id.clone(), budgets);
            }
            open.insert(call_id, seq);
        }
        // Nobody is told that those of this group were granted. Where the origin may have them all the same, the next group looks.
        if std::mem::take(in_doubt) {
            doubted.extend(open.iter().filter(|(_, seq)| **seq > last).map(|(id, seq)| (id.clone(), *seq)));
        }
        open.retain(|_, seq| *seq <= last);
        alerting.retain(|call, _| open.contains_key(call));
        self.committed.clear();
    }

    /// Notes a time that an operation named.
    pub(super) fn saw(&mut self, now: Timestamp) -> i64 {
        let now = now.as_microsecond();
        self.memory.draft.saw(now);
        now
    }

    /// The time, for a record that no operation asks for.
    pub(super) fn now(&self) -> Timestamp {
        self.memory.now()
    }

    /// The `seq` of the event that is appended next.
    pub(super) fn next_seq(&self) -> i64 {
        self.memory.draft.seq() + 1
    }

    /// What is counted, to be brought to a time.
    pub(super) fn counted(&mut self) -> &mut State {
        self.memory.ledger.state_mut()
    }

    /// What is only in memory of where the counters stand.
    pub(super) fn remembered(&mut self, now: Timestamp) -> Remembered {
        Remembered::of(&mut self.memory.ledger, now)
    }

    /// See [`State::loops_at`].
    pub(super) fn loops_at(
        &mut self,
        identical: Option<RepeatLimit>,
        checks: &[LoopCheck],
        now: i64,
    ) -> Vec<LoopSeen> {
        self.memory.ledger.state_mut().loops_at(identical, checks, now)
    }

    /// Where a counter stands.
    pub(super) fn stands_at(
        &mut self,
        counter: i64,
        start: Option<i64>,
        now: i64,
    ) -> Result<Usage, StoreError> {
        self.memory.ledger.stands_at(self.connection, counter, start, now)
    }

    /// See [`Ledger::of_other_kinds`].
    pub(super) fn of_other_kinds(&self, of: (&str, &str, Option<&str>)) -> Result<Vec<Window>, StoreError> {
        self.memory.ledger.of_other_kinds(self.connection, of)
    }

    /// Alerts that are due after a call took more than it had reserved.
    pub(super) fn overshot(&mut self, budgets: &[BudgetLimit], now: i64) -> Result<Vec<Effect>, StoreError> {
        self.memory.ledger.overshot(self.connection, budgets, now)
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
    pub(super) fn note(&mut self, note: notes::Note) -> Result<(), StoreError> {
        notes::write(self.memory.draft.notes(), &note);
        self.memory.ledger.note(self.connection, note)
    }

    /// What stands in registers.
    pub(super) fn registers(&self) -> &Registers {
        &self.memory.registers
    }

    /// Notes how registers stand, or what becomes of an entry.
    pub(super) fn note_register(&mut self, note: &notes::Note) -> Result<(), StoreError> {
        self.wakes |= self.memory.registers.take_in(note)?;
        notes::write(self.memory.draft.notes(), note);
        self.memory.draft.flag(REGISTERS);
        Ok(())
    }

    /// All that is remembered, in memory or in the projection, as notes.
    pub(super) fn everything(&self) -> Result<Vec<notes::Note>, StoreError> {
        let mut notes = self.memory.ledger.everything(self.connection)?;
        notes.extend(self.memory.learned.everything(self.connection)?);
        notes.extend(kept::everything(self.connection)?);
        Ok(notes)
    }

    /// Learns the size of a result.
    pub(super) fn learn(&mut self, cell: &SizeCell, tokens: u64) -> Result<(), StoreError> {
        self.memory.learned.learn(self.connection, self.memory.draft.notes(), cell, tokens)
    }

    /// Has whoever estimates sizes know all that is known of them.
    pub(super) fn share_sizes(&self) -> Result<(), StoreError> {
        self.memory.learned.share(self.connection)
    }

    /// The calls that this process has open, by the `seq` of their decisions.
    pub(super) fn open(&self) -> &HashMap<CallId, i64> {
        &self.memory.open
    }

    /// One more of them, with its budgets that alert.
    pub(super) fn opened(&mut self, call_id: CallId, seq: i64, alerting: Vec<BudgetLimit>) {
        if !alerting.is_empty() {
            self.memory.alerting.insert(call_id.clone(), alerting);
        }
        self.memory.open.insert(call_id, seq);
    }

    /// One that is over, with its budgets that alert. Where the group fails it is open again.
    pub(super) fn closed(&mut self, call_id: &CallId) -> Vec<BudgetLimit> {
        let budgets = self.memory.alerting.remove(call_id).unwrap_or_default();
        if let Some(seq) = self.memory.open.remove(call_id) {
            self.closed.push((call_id.clone(), seq, budgets.clone()));
        }
        budgets
    }

    /// What the log says of failures.
    pub(super) fn failing(&self) -> &Failing {
        &self.memory.shared.failing
    }

    /// Of what the journal is a copy.
    pub(super) fn origin(&self) -> Option<&Arc<dyn Origin>> {
        self.memory.origin.as_ref()
    }

    /// What has been committed.
    pub(super) fn reader(&self) -> &Arc<Reader> {
        &self.memory.reader
    }

    /// Approvals as they stand.
    pub(super) fn approvals(&self) -> Book<'_> {
        Book { connection: self.connection, journal: &self.memory.reader }
    }

    /// Standing grants as they stand.
    pub(super) fn grants(&self) -> Grants<'_> {
        self.approvals().into()
    }

    /// Keeps something; what is there under its name stays.
    pub(super) fn keep(&mut self, kept: &Kept) -> Result<(), StoreError> {
        if kept::has(self.connection, kept.kind, &kept.name)? {
            return Ok(());
        }
        let (kind, name) = (kept.kind.as_str().to_owned(), kept.name.clone());
        let (hash, body) = (kept.hash.clone(), kept.body.clone());
        self.note(notes::Note::Kept {
            kind: kind.clone(),
            name: name.clone(),
            hash: hash.clone(),
            body: body.clone(),
        })?;
        self.row(Row::Kept { kind, name, hash, body });
        Ok(())
    }

    /// Has the projection take a row once the group is committed. Nothing else of the group reads it before.
    pub(super) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Seals segments after so few records.
    pub(super) fn seal_after(&mut self, records: u32) {
        self.memory.journal.seal_after(records);
    }

    /// Has on the disk what was committed before.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        Ok(self.memory.journal.flush()?)
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
    pub(super) fn publish(&mut self) {
        for event in self.committed.drain(..) {
            // An error means that nobody listens any more.
            drop(self.memory.events.send(event));
        }
        if self.rows.iter().any(Row::is_awaited) {
            self.memory.shared.approvals.send_modify(|count| *count += 1);
        }
        if self.wakes {
            self.memory.shared.registers.send_modify(|count| *count += 1);
        }
        if self.ordered {
            self.memory.shared.control.send_modify(|count| *count += 1);
        }
    }
}
