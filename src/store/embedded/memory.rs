//! What the writer remembers between groups: it follows the journal, and has the projection follow.

use super::{
    Shared, fold,
    learned::Learned,
    ledger::{Ledger, Owner},
    notes::{self, Note},
    origin::{Known, NotAppended, Origin, Tells},
    projection::{self, Mark},
    registers::Registers,
    rows::Row,
    terms::remedied,
};
use crate::{
    clock::Clock,
    decision::BudgetLimit,
    journal::{self, Cut, Draft, Journal, JournalError, PROJECTED, Place, REGISTERS, Reader},
    model::{CallId, Event},
    store::StoreError,
};
use jiff::Timestamp;
use rusqlite::Connection;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::broadcast;

/// Between two tries of those who only read to find out what became of calls in doubt.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// What the writer remembers between groups.
pub(super) struct Memory {
    pub(super) owner: i64,
    /// Which process this is.
    pub(super) own: Owner,
    /// Up to where the projection was written here last.
    pub(super) projected_to: Option<Place>,
    pub(super) journal: Journal,
    /// Of what the journal is a copy.
    pub(super) origin: Option<Arc<dyn Origin>>,
    /// The first segment that the origin has, up to which those before it were removed here, and how many orders it has.
    first: i64,
    removed: i64,
    orders: i64,
    /// What was cut off and is not recorded yet.
    pub(super) cut: Option<Cut>,
    pub(super) reader: Arc<Reader>,
    pub(super) draft: Draft,
    pub(super) ledger: Ledger,
    /// The calls that this process has open, by the `seq` of their decisions.
    pub(super) open: HashMap<CallId, i64>,
    /// The budgets of open calls that alert.
    pub(super) alerting: HashMap<CallId, Vec<BudgetLimit>>,
    /// Nobody knows yet whether the origin has the group that was appended last.
    pub(super) in_doubt: bool,
    /// The calls that it grants, each with the `seq` that its decision has if it is there: at most those of one group.
    pub(super) doubted: Vec<(CallId, i64)>,
    /// When a group that only reads has tried to find out last.
    looked: Option<Duration>,
    pub(super) learned: Learned,
    pub(super) registers: Registers,
    /// A group failed: what is remembered does not hold, and is read again.
    pub(super) stale: bool,
    /// What was followed since then, and nobody was told of yet.
    untold: Untold,
    /// Frames are not in the projection that it has to follow at once.
    pub(super) behind: bool,
    /// Bytes of the journal since the projection was written.
    pub(super) unprojected: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    /// Whom to tell of a sealed segment, which is to be indexed.
    pub(super) sealed: mpsc::SyncSender<PathBuf>,
    /// For records that no operation asks for.
    clock: Arc<dyn Clock>,
}

/// What frames that others appended changed, for those who wait for it.
#[derive(Default)]
struct Untold {
    registers: bool,
    approvals: bool,
}

/// What it is made of.
pub(super) struct Parts {
    pub(super) journal: Journal,
    pub(super) origin: Option<Arc<dyn Origin>>,
    /// What was cut off as it was opened.
    pub(super) cut: Option<Cut>,
    pub(super) reader: Arc<Reader>,
    pub(super) owner: Owner,
    pub(super) owner_id: i64,
    pub(super) shared: Arc<Shared>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) sealed: mpsc::SyncSender<PathBuf>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Memory {
    /// What is remembered is read by the first group.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { journal, origin, cut, reader, owner, owner_id, shared, events, sealed, clock } = parts;
        Self {
            owner: owner_id,
            own: owner,
            projected_to: None,
            journal,
            origin,
            first: 0,
            removed: 0,
            orders: 0,
            cut,
            reader,
            draft: Draft::default(),
            ledger: Ledger::default(),
            open: HashMap::new(),
            learned: Learned::new(shared.sizes.clone()),
            alerting: HashMap::new(),
            in_doubt: false,
            doubted: Vec::new(),
            looked: None,
            registers: Registers::default(),
            stale: true,
            untold: Untold::default(),
            behind: false,
            unprojected: 0,
            shared,
            events,
            sealed,
            clock,
        }
    }

    /// Takes in what other processes have appended. `hold`: nobody appends anything to the origin from then on, until this
    /// process has.
    pub(super) fn follow(&mut self, connection: &Connection, hold: bool) -> Result<(), StoreError> {
        if self.stale {
            self.follow_untold().map_err(|error| remedied(error.into()))?;
            while self.copy(hold)? {
                self.follow_untold()?;
            }
            self.recall(connection)?;
            let Untold { registers, approvals } = std::mem::take(&mut self.untold);
            self.tell(registers, approvals);
        }
        self.take_in(connection)?;
        while self.copy(hold)? {
            self.take_in(connection)?;
        }
        Ok(())
    }

    /// Follows frames that are taken in later, with everything else that is remembered.
    fn follow_untold(&mut self) -> Result<(), JournalError> {
        let (untold, copied) = (&mut self.untold, self.origin.is_some());
        self.journal.follow(&mut |frame, _, _| {
            untold.registers |= frame.head.has_registers();
            untold.approvals |= copied && frame.head.is_projected();
            Ok(())
        })
    }

    /// Wakes whoever waits for a change of registers or of approvals.
    fn tell(&self, registers: bool, approvals: bool) {
        if approvals {
            self.shared.approvals.send_modify(|count| *count += 1);
        }
        if registers {
            self.shared.registers.send_modify(|count| *count += 1);
        }
    }

    /// Copies what the origin has behind what is known here. `false`: nothing, and that was the end.
    fn copy(&mut self, hold: bool) -> Result<bool, StoreError> {
        let Some(origin) = &self.origin else { return Ok(false) };
        let known = Known { place: self.journal.place(), head: *self.journal.head() };
        let news = if hold { origin.hold(known)? } else { origin.read(known)? };
        if let Some(stop) = news.stop {
            if hold {
                origin.release();
            }
            return Err(stop.into_error());
        }
        if hold && news.more {
            // Others go on while much is copied; it is held again for what comes behind it.
            origin.release();
        }
        self.first = self.first.max(news.first);
        if news.orders > self.orders {
            self.orders = news.orders;
            self.shared.control.send_modify(|count| *count += 1);
        }
        if news.frames.is_empty() {
            return Ok(false);
        }
        self.journal.write_copied(known.place, &news.frames)?;
        Ok(true)
    }

    /// Takes in what the journal has behind what is known.
    fn take_in(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut followed = None;
        let (ledger, learned, registers) = (&mut self.ledger, &mut self.learned, &mut self.registers);
        let (mut wakes, mut answered, copied) = (false, false, self.origin.is_some());
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
                for note in notes.iter().filter(|_| frame.head.has_registers()) {
                    wakes |= registers.take_in(note)?;
                }
                answered |= copied && frame.head.is_projected();
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
            // What of it was followed is not known.
            self.untold = Untold { registers: true, approvals: copied };
            return Err(remedied(error));
        }
        self.tell(wakes, answered);
        Ok(())
    }

    /// Appends what the group has written, and says where it stands.
    pub(super) fn append(&mut self, orders: bool) -> Result<Place, StoreError> {
        let Some(origin) = &self.origin else { return Ok(self.journal.append(&mut self.draft)?) };
        let wakes = orders || self.draft.has(PROJECTED) || self.draft.has(REGISTERS);
        let tells = Tells { wakes, orders };
        let appended = self.journal.append_with(&mut self.draft, |frame| origin.append(frame, tells));
        self.in_doubt = matches!(appended, Err(NotAppended::InDoubt(_)));
        Ok(appended?)
    }

    /// Whether a group that only reads should find out what became of calls in doubt: now and then, since it may have to wait for
    /// others, and so would whoever reads.
    pub(super) fn looks_into_doubt(&mut self) -> bool {
        let now = self.clock.monotonic();
        let due = self.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_AGAIN);
        let looks = due && !self.doubted.is_empty();
        if looks {
            self.looked = Some(now);
        }
        looks
    }

    /// Once nobody else can append, and what is there was taken in: what became of the calls in doubt. Those that were granted all the
    /// same are open, and are taken back, for nobody dispatches them.
    pub(super) fn resolve(&mut self) {
        self.looked = None;
        for (call_id, seq) in self.doubted.drain(..) {
            // What this process grants it grants one group after the other: the record is that call's, or another process's.
            if self.ledger.state().open(seq).is_some_and(|grant| grant.owner == self.owner) {
                self.open.insert(call_id.clone(), seq);
                self.shared.left.lock().push(call_id);
            }
        }
    }

    /// Removes from the copy the segments that the origin has not any more. Only where the projection has followed.
    pub(super) fn remove_gone(&mut self) -> Result<(), StoreError> {
        if self.first <= self.removed {
            return Ok(());
        }
        for (first, path) in journal::list(self.journal.dir())? {
            if first < self.first && first != self.journal.place().segment {
                journal::remove_segment(&path)?;
            }
        }
        self.removed = self.first;
        Ok(self.reader.refresh()?)
    }

    /// Reads what is remembered up to where the journal is known, without the lock: what comes behind it is followed.
    pub(super) fn recall_ahead(&mut self, connection: &Connection) -> Result<(), StoreError> {
        // Mark, owners and windows of one state of the projection, whoever writes it meanwhile.
        let _snapshot = connection.unchecked_transaction()?;
        projection::mark(connection)?;
        self.reader.refresh()?;
        let until = Some(self.journal.place());
        self.registers = Registers::recall(&self.reader, until)?;
        self.behind = fold::recall(connection, &self.reader, &mut self.ledger, &mut self.learned, until)?;
        self.stale = false;
        Ok(())
    }

    /// Reads again what is remembered: the projection, and what the journal has behind it.
    pub(super) fn recall(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.ledger = Ledger::default();
        self.learned = Learned::new(self.shared.sizes.clone());
        let read = self.follow_untold().and_then(|()| self.reader.refresh());
        read.map_err(|error| remedied(error.into()))?;
        self.behind = fold::recall(connection, &self.reader, &mut self.ledger, &mut self.learned, None)
            .map_err(remedied)?;
        self.registers = Registers::recall(&self.reader, None).map_err(remedied)?;
        self.stale = false;
        Ok(())
    }

    /// The time, for records that no operation asks for.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Before anything is done in its name, the journal says which process it is.
    pub(super) fn introduce(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.ledger.owners().contains_key(&self.owner) {
            return Ok(());
        }
        let Owner { name, lock } = self.own.clone();
        let note = Note::Owner { id: self.owner, name, lock };
        notes::write(self.draft.notes(), &note);
        self.ledger.note(connection, note)
    }

    /// The projection takes everything up to the journal's end. Only between groups.
    pub(super) fn project(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.project_with(connection, &[])
    }

    pub(super) fn project_with(&mut self, connection: &Connection, rows: &[Row]) -> Result<(), StoreError> {
        if rows.is_empty() && !self.behind && self.projected_to == Some(self.journal.place()) {
            return Ok(());
        }
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
        self.projected_to = Some(mark.place);
        self.behind = false;
        self.unprojected = 0;
        Ok(())
    }

    /// Ends the newest segment, which the projection has followed to its end. The frame that does says how registers stand.
    pub(super) fn seal(&mut self) -> Result<(), StoreError> {
        let path = self.journal.tail_path().to_owned();
        let mut notes = Vec::new();
        self.registers.everything().for_each(|note| notes::write(&mut notes, &note));
        match &self.origin {
            None => self.journal.seal(&notes)?,
            Some(origin) => {
                let tells = Tells { wakes: false, orders: false };
                self.journal.seal_with(&notes, |frame| origin.append(frame, tells))?;
            }
        }
        // Where the thread has enough to do, whoever needs the index makes it.
        self.sealed.try_send(path).ok();
        Ok(())
    }
}
