//! What this process remembers of the journal: counters, open calls, owners. It follows every frame, its own and those of
//! other processes. Calendar windows that did not change lately are only in the projection, and are read when a request needs
//! them.

use super::{
    kinds::Kinds,
    notes::{self, Note},
};
use crate::{
    admission::{
        self, Cursor, Effect, Limit, MINUTE, Moved, Request, Ruling, State, Usage, Window, WindowUsage,
        window,
    },
    decision::BudgetLimit,
    journal::Place,
    store::{AdmitRequest, OTHERS, StoreError},
};
use rusqlite::{Connection, OptionalExtension as _};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Windows and names that are remembered beyond those that the projection has still to take.
const MOST: usize = 100_000;

/// Frames of twice the rolling window are read again at a start, so that a caller with an old clock finds what it needs.
const KEPT: i64 = 2 * MINUTE;

/// Times of frames are noted no closer than this.
const MARKED: i64 = 1_000_000;

/// So many counters of a budget are kept apart. The keys of some are an agent's to choose, as the URIs of resources are: those
/// beyond share one counter, and with it the cap.
pub(super) const MOST_KEYS: usize = if cfg!(test) { 50 } else { 20_000 };

/// What a counter's number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) kind: String,
    pub(super) policy_id: String,
    pub(super) key: String,
}

/// A process that may have calls open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) lock: String,
}

/// What has changed since the projection last took it.
#[derive(Debug, Default)]
pub(super) struct Unprojected {
    windows: HashSet<Window>,
    pub(super) counters: HashSet<i64>,
    /// Windows that are to go.
    forgotten: HashSet<Window>,
    /// Counters that are to go.
    pub(super) gone: HashSet<i64>,
    pub(super) owners: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) names: HashMap<i64, Counter>,
    pub(super) state: State,
    owners: BTreeMap<i64, Owner>,
    pub(super) unprojected: Unprojected,
    /// Where frames begin that name these times or later ones.
    marks: VecDeque<(i64, Place)>,
    /// The time that frames have reached.
    marked: Cursor,
    hand: Cursor,
    forgot_at: i64,
    /// When windows that are over were last looked for.
    pub(super) swept_at: i64,
    /// How many counters of a kind and a budget there are, of those that were asked about.
    pub(super) keys: HashMap<(String, String), usize>,
    pub(super) kinds: Kinds,
}

/// A counter is known by the hash of its name, so that every process and every rebuilt projection gives it one number.
pub(super) fn number(kind: &str, policy_id: &str, key: &str) -> i64 {
    let hash = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(policy_id)
        .chain_update([0])
        .chain_update(key)
        .finalize();
    hash.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

impl Ledger {
    /// What the counters and open calls are, as far as they are in memory.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The same, to be brought to a time.
    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The processes that may have calls open.
    pub(super) fn owners(&self) -> &BTreeMap<i64, Owner> {
        &self.owners
    }

    /// Takes owners and open calls as they stand in the projection; what was counted before came with the frames.
    pub(super) fn begin(&mut self, connection: &Connection, open: &[u8]) -> Result<(), StoreError> {
        self.state.forget_windows();
        let carried = notes::read(open)
            .ok_or_else(|| StoreError::Damaged("the open calls cannot be read".to_owned()))?;
        for note in carried {
            if let Note::Effect(effect) = note {
                self.state.apply(effect);
            }
        }
        let mut statement = connection.prepare_cached("SELECT id, owner, lock_path FROM owners")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.owners.insert(row.get(0)?, Owner { name: row.get(1)?, lock: row.get(2)? });
        }
        Ok(())
    }

    /// Takes in what a frame did that was projected already: rolling counters and open calls are in memory alone.
    pub(super) fn recall(&mut self, place: Place, at: i64, notes: Vec<Note>) {
        for note in notes {
            if let Note::Effect(effect) = note {
                self.state.apply(effect);
            }
        }
        self.mark(place, at);
    }

    /// Takes in a frame of another process. `followed`: up to where the projection in the file has come; windows that are
    /// not in memory are right there for all frames before it.
    pub(super) fn take_in(
        &mut self,
        connection: &Connection,
        followed: Option<Place>,
        place: Place,
        at: i64,
        notes: Vec<Note>,
    ) -> Result<(), StoreError> {
        let projected = followed.is_some_and(|followed| place < followed);
        for note in notes {
            match note {
                Note::Effect(effect) => {
                    let mut elsewhere = Vec::new();
                    for window in self.state.touched(&effect).iter() {
                        if self.state.standing(*window).is_some() {
                            self.unprojected.windows.insert(*window);
                        } else if projected {
                            elsewhere.push(*window);
                        } else {
                            self.read_window(connection, *window)?;
                            self.unprojected.windows.insert(*window);
                        }
                    }
                    self.state.apply(effect);
                    elsewhere.into_iter().for_each(|window| self.state.forget_window(window));
                }
                other => self.note(connection, other)?,
            }
        }
        self.mark(place, at);
        Ok(())
    }

    /// What is no effect. The same twice changes nothing.
    pub(super) fn note(&mut self, connection: &Connection, note: Note) -> Result<(), StoreError> {
        match note {
            Note::Retired { before, .. } => self.forget_windows(connection, before)?,
            Note::Stands(window, standing) => {
                self.state.tell(window, standing);
                self.unprojected.windows.insert(window);
            }
            Note::Counter { id, kind, policy_id, key } => {
                let of = (kind, policy_id);
                if self.keys.contains_key(&of)
                    && !self.is_counter(connection, id)?
                    && let Some(keys) = self.keys.get_mut(&of)
                {
                    *keys += 1;
                }
                let (kind, policy_id) = of;
                self.kinds.learn(&kind, &policy_id);
                self.names.insert(id, Counter { kind, policy_id, key });
                self.unprojected.counters.insert(id);
            }
            Note::Swept { before } => self.sweep(connection, before)?,
            Note::Owner { id, name, lock } => {
                self.owners.insert(id, Owner { name, lock });
                self.unprojected.owners = true;
            }
            Note::Gone { id } => {
                self.owners.remove(&id);
                self.unprojected.owners = true;
            }
            // Theirs to remember who keep them.
            Note::Effect(_)
            | Note::Learned { .. }
            | Note::Kept { .. }
            | Note::Registers { .. }
            | Note::Register { .. } => {}
        }
        Ok(())
    }

    /// Forgets calendar windows that ended before a time; the projection does with the next [`Self::project`].
    fn forget_windows(&mut self, connection: &Connection, before: i64) -> Result<(), StoreError> {
        let known: Vec<Window> = self.windows(connection)?.into_iter().map(|(window, _)| window).collect();
        for window in known {
            let kind = self.kind(connection, window.0)?.and_then(|kind| window::window_of(&kind));
            // Whatever its zone.
            if kind.is_some_and(|kind| window::is_over(kind, window.1, before)) {
                self.forget_window(window);
            }
        }
        Ok(())
    }

    pub(super) fn forget_window(&mut self, window: Window) {
        self.state.forget_window(window);
        self.unprojected.windows.remove(&window);
        self.unprojected.forgotten.insert(window);
    }

    /// Whether a number is a counter's already.
    fn is_counter(&self, connection: &Connection, id: i64) -> Result<bool, StoreError> {
        let is_projected = || connection.prepare_cached("SELECT 1 FROM counters WHERE id = ?1")?.exists([id]);
        Ok(self.names.contains_key(&id) || (!self.unprojected.gone.contains(&id) && is_projected()?))
    }

    fn kind(&self, connection: &Connection, counter: i64) -> Result<Option<String>, StoreError> {
        if let Some(counter) = self.names.get(&counter) {
            return Ok(Some(counter.kind.clone()));
        }
        let mut statement = connection.prepare_cached("SELECT kind FROM counters WHERE id = ?1")?;
        Ok(statement.query_row([counter], |row| row.get(0)).optional()?)
    }

    /// Where all calendar windows stand, in memory or in the projection.
    pub(super) fn windows(&self, connection: &Connection) -> Result<Vec<(Window, WindowUsage)>, StoreError> {
        let mut found = HashMap::new();
        let mut statement =
            connection.prepare_cached("SELECT counter, start, calls, tokens, cost, alerted FROM usage")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let usage = Usage { calls: row.get(2)?, tokens: row.get(3)?, cost: row.get(4)? };
            let alerted = notes::alerted_of(row.get(5)?);
            found.insert((row.get(0)?, row.get(1)?), WindowUsage { usage, alerted });
        }
        for window in &self.unprojected.windows {
            if let Some(standing) = self.state.standing(*window) {
                found.insert(*window, standing);
            }
        }
        for window in &self.unprojected.forgotten {
            if !self.unprojected.windows.contains(window) {
                found.remove(window);
            }
        }
        let mut found: Vec<(Window, WindowUsage)> = found.into_iter().collect();
        found.sort_by_key(|(window, _)| *window);
        Ok(found)
    }

    /// All that it knows, as notes: counters, where they stand, open calls, processes.
    pub(super) fn everything(&self, connection: &Connection) -> Result<Vec<Note>, StoreError> {
        let names = self.counters(connection)?;
        let mut notes: Vec<Note> = names
            .into_iter()
            .map(|(id, Counter { kind, policy_id, key })| Note::Counter { id, kind, policy_id, key })
            .collect();
        notes.extend(
            self.windows(connection)?.into_iter().map(|(window, standing)| Note::Stands(window, standing)),
        );
        notes.extend(self.state.open_calls().map(|grant| Note::Effect(Effect::Carried(grant.clone()))));
        notes.extend(self.owners.iter().map(|(id, owner)| Note::Owner {
            id: *id,
            name: owner.name.clone(),
            lock: owner.lock.clone(),
        }));
        Ok(notes)
    }

    /// What the counters' numbers stand for, in memory or in the projection.
    pub(super) fn counters(&self, connection: &Connection) -> Result<BTreeMap<i64, Counter>, StoreError> {
        let mut names: BTreeMap<i64, Counter> = BTreeMap::new();
        let mut statement = connection.prepare_cached("SELECT id, kind, policy_id, key FROM counters")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            names
                .insert(row.get(0)?, Counter { kind: row.get(1)?, policy_id: row.get(2)?, key: row.get(3)? });
        }
        names.retain(|id, _| !self.unprojected.gone.contains(id));
        let unprojected = self.unprojected.counters.iter();
        names.extend(unprojected.filter_map(|id| Some((*id, self.names.get(id)?.clone()))));
        Ok(names)
    }

    /// Notes where frames of a time begin. A frame may name an old time, as that of a call that ends late: only the hand
    /// tells whether the clock was set back, and then everything that is marked is read again rather than too little.
    pub(super) fn mark(&mut self, place: Place, at: i64) {
        if at == 0 {
            return;
        }
        let moved = self.marked.to(at);
        let reached = self.marked.reached;
        if moved == Moved::Back {
            let first = self.marks.front().map_or(place, |(_, first)| *first);
            self.marks = VecDeque::from([(reached, first)]);
        }
        let newest = self.marks.back().map_or(i64::MIN, |(at, _)| *at);
        if reached >= newest.saturating_add(MARKED) {
            self.marks.push_back((reached, place));
        }
        // One that is older stays, for frames between it and the next.
        while self.marks.get(1).is_some_and(|(second, _)| *second < reached.saturating_sub(KEPT)) {
            self.marks.pop_front();
        }
    }

    /// From where on frames must be read to know the last minutes, if they end at `end`.
    pub(super) fn base(&self, end: Place) -> Place {
        self.marks.front().map_or(end, |(_, place)| *place)
    }

    /// The limits of an admission, with what they are judged by in memory.
    pub(super) fn limits<'r>(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
        request: &'r AdmitRequest,
        agent: &'r str,
        now: i64,
    ) -> Result<Vec<Limit<'r>>, StoreError> {
        self.sweep_daily(connection, notes, now)?;
        let mut limits = Vec::with_capacity(request.rates.len() + request.budgets.len());
        for rate in &request.rates {
            let (counter, key) = self.counter(connection, notes, window::RATE, &rate.policy_id, agent)?;
            limits.push(Limit::rate(rate, agent, counter).counted_as(key));
        }
        for budget in &request.budgets {
            let kind = window::kind(budget.window, budget.zone.as_ref());
            let (counter, key) = self.counter(connection, notes, &kind, &budget.id, &budget.key)?;
            let limit = Limit::budget(budget, counter, now).counted_as(key);
            if let Some(window) = limit.calendar_window() {
                let of = (budget, &*kind, limit.key());
                self.carry_over(connection, notes, of, window, now)?;
            }
            limits.push(limit);
        }
        self.read_windows(connection, &limits)?;
        Ok(limits)
    }

    fn read_windows(&mut self, connection: &Connection, limits: &[Limit<'_>]) -> Result<(), StoreError> {
        for limit in limits {
            if let Some(window) = limit.window() {
                self.read_window(connection, window)?;
            }
        }
        Ok(())
    }

    /// Where a counter stands in the window that began at `start`, or in the last minute.
    pub(super) fn stands_at(
        &mut self,
        connection: &Connection,
        counter: i64,
        start: Option<i64>,
        now: i64,
    ) -> Result<Usage, StoreError> {
        let Some(start) = start else { return Ok(self.state.last_minute(counter, now)) };
        self.read_window(connection, (counter, start))?;
        Ok(self.state.standing((counter, start)).unwrap_or_default().usage)
    }

    /// Alerts of budgets on which a call counts that has taken more than it reserved. A counter that was forgotten since has
    /// none.
    pub(super) fn overshot(
        &mut self,
        connection: &Connection,
        budgets: &[BudgetLimit],
        now: i64,
    ) -> Result<Vec<Effect>, StoreError> {
        let numbered = budgets.iter().map(|budget| {
            let kind = window::kind(budget.window, budget.zone.as_ref());
            let counter = number(&kind, &budget.id, &budget.key);
            Limit::budget(budget, counter, now)
        });
        let limits: Vec<Limit<'_>> = numbered.collect();
        self.read_windows(connection, &limits)?;
        Ok(admission::overshot(&self.state, &limits, now))
    }

    /// Judges a request whose limits come from [`Self::limits`].
    pub(super) fn admit<'q>(&mut self, request: &'q Request<'_>) -> Ruling<'q> {
        self.state.advance(request);
        admission::admit(&self.state, request)
    }

    /// Takes in an effect of this process, and writes it into the notes of its frame.
    pub(super) fn put(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
        effect: Effect,
    ) -> Result<(), StoreError> {
        for window in self.state.touched(&effect).iter() {
            self.read_window(connection, *window)?;
            self.unprojected.windows.insert(*window);
        }
        notes::write_effect(notes, &effect);
        self.state.apply(effect);
        Ok(())
    }

    /// The number of a counter, whose meaning stands in the journal before it is used, and the key that it is counted under
    /// where that is not its own.
    fn counter(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
        kind: &str,
        policy_id: &str,
        key: &str,
    ) -> Result<(i64, Option<&'static str>), StoreError> {
        let id = number(kind, policy_id, key);
        if self.names.contains_key(&id) {
            return Ok((id, None));
        }
        let counter = Counter { kind: kind.to_owned(), policy_id: policy_id.to_owned(), key: key.to_owned() };
        if self.is_counter(connection, id)? {
            self.names.insert(id, counter);
            return Ok((id, None));
        }
        if key != OTHERS && self.keys(connection, kind, policy_id)? >= MOST_KEYS {
            let (id, _) = self.counter(connection, notes, kind, policy_id, OTHERS)?;
            return Ok((id, Some(OTHERS)));
        }
        let Counter { kind, policy_id, key } = counter;
        let note = Note::Counter { id, kind, policy_id, key };
        notes::write(notes, &note);
        self.note(connection, note)?;
        Ok((id, None))
    }

    /// What of a counter's windows is not in the projection yet: where they stand, or that they are gone.
    pub(super) fn unprojected_of(&self, counter: i64, mut each: impl FnMut(i64, Option<Usage>)) {
        let of_this = |window: &&Window| window.0 == counter;
        self.unprojected.forgotten.iter().filter(of_this).for_each(|window| each(window.1, None));
        for window in self.unprojected.windows.iter().filter(of_this) {
            each(window.1, self.state.standing(*window).map(|standing| standing.usage));
        }
    }

    /// Has a calendar window in memory as the projection has it: one that is not in memory did not change since then.
    pub(super) fn read_window(&mut self, connection: &Connection, window: Window) -> Result<(), StoreError> {
        if self.state.standing(window).is_some() {
            return Ok(());
        }
        let standing = connection
            .prepare_cached(
                "SELECT calls, tokens, cost, alerted FROM usage WHERE counter = ?1 AND start = ?2",
            )?
            .query_row(window, |row| {
                let usage = Usage { calls: row.get(0)?, tokens: row.get(1)?, cost: row.get(2)? };
                Ok(WindowUsage { usage, alerted: notes::alerted_of(row.get(3)?) })
            })
            .optional()?
            .filter(|_| !self.unprojected.forgotten.contains(&window))
            .unwrap_or_default();
        self.state.tell(window, standing);
        Ok(())
    }

    /// Forgets what has left the last minutes, now and then, and what the projection has where that grows too large.
    pub(super) fn tidy(&mut self, now: Option<i64>) {
        if let Some(now) = now {
            self.hand.to(now);
            if self.forgot_at.abs_diff(self.hand.reached) > 1_000_000 {
                self.forgot_at = self.hand.reached;
                self.state.forget(self.hand.reached);
            }
        }
        let Unprojected { windows, counters, .. } = &self.unprojected;
        if self.state.known_windows() > MOST {
            self.state.keep_windows(|window| windows.contains(window));
        }
        if self.names.len() > MOST {
            self.names.retain(|id, _| counters.contains(id));
        }
    }

    /// Whether so much is only here that the projection should take it.
    pub(super) fn is_heavy(&self) -> bool {
        let Unprojected { windows, counters, forgotten, gone, .. } = &self.unprojected;
        windows.len() + counters.len() + forgotten.len() + gone.len() > MOST / 2
    }

    /// The open calls as notes.
    pub(super) fn open(&self) -> Vec<u8> {
        let mut open = Vec::new();
        self.state
            .open_calls()
            .for_each(|grant| notes::write_effect(&mut open, &Effect::Carried(grant.clone())));
        open
    }

    /// Writes what changed into the projection, in its open transaction. Call [`Self::projected`] once that is committed.
    pub(super) fn project(&self, connection: &Connection) -> Result<(), StoreError> {
        let Unprojected { windows, counters, forgotten, gone, owners } = &self.unprojected;
        for id in gone {
            connection.prepare_cached("DELETE FROM counters WHERE id = ?1")?.execute([id])?;
        }
        for window in forgotten {
            connection
                .prepare_cached("DELETE FROM usage WHERE counter = ?1 AND start = ?2")?
                .execute((window.0, window.1))?;
        }
        let mut upsert = connection.prepare_cached(
            "INSERT INTO usage (counter, start, calls, tokens, cost, alerted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (counter, start) DO UPDATE SET
               calls = excluded.calls, tokens = excluded.tokens, cost = excluded.cost, alerted = excluded.alerted",
        )?;
        for window in windows {
            if let Some(WindowUsage { usage, alerted }) = self.state.standing(*window) {
                let alerted = notes::alerted_column(alerted);
                upsert.execute((window.0, window.1, usage.calls, usage.tokens, usage.cost, alerted))?;
            }
        }
        let mut insert = connection.prepare_cached(
            "INSERT OR IGNORE INTO counters (id, kind, policy_id, key) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for id in counters {
            if let Some(Counter { kind, policy_id, key }) = self.names.get(id) {
                insert.execute((id, kind, policy_id, key))?;
            }
        }
        if *owners {
            connection.prepare_cached("DELETE FROM owners")?.execute([])?;
            let mut insert =
                connection.prepare_cached("INSERT INTO owners (id, owner, lock_path) VALUES (?1, ?2, ?3)")?;
            for (id, Owner { name, lock }) in &self.owners {
                insert.execute((id, name, lock))?;
            }
        }
        Ok(())
    }

    /// The projection has taken everything.
    pub(super) fn projected(&mut self) {
        self.unprojected = Unprojected::default();
    }
}
