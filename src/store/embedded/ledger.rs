//! The tables under the writer's [`State`]: `ledger`, whose rows any process may append and the state is a fold over, and
//! `usage`, the calendar windows. What is in memory holds while nobody else has committed; after that the new part is
//! read, inside the writing transaction.

use super::entries;
use crate::{
    admission::{self, Effect, Hand, Limit, MINUTE, Request, Ruling, Standing, State, Usage, Window, window},
    journal::chain,
    store::{AdmitRequest, StoreError},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use std::collections::{HashMap, HashSet};

/// Calendar counters are forgotten (and read again when needed) beyond so many.
const MAX_CACHED: usize = 100_000;

/// Ledger rows are kept for twice the window, so that a caller with an old clock reading finds them.
const KEPT: i64 = 2 * MINUTE;

/// The end of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: chain::Hash,
    /// Whether this transaction moved it.
    pub(super) moved: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    ids: HashMap<Box<str>, i64>,
    state: State,
    /// The calendar windows that this transaction changed.
    dirty: HashSet<Window>,
    last_n: i64,
    /// The effects of this transaction, and the latest time in them.
    written: Vec<u8>,
    latest: Option<i64>,
    hand: Hand,
    pruned_at: i64,
    old_windows_dropped: bool,
}

impl Ledger {
    /// Reads what other processes have appended. The calendar windows are read from their table when they are needed.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.dirty.clear();
        // Rows that were taken out before they were read here may have closed calls.
        let first: Option<i64> =
            connection.prepare_cached("SELECT min(n) FROM ledger")?.query_row([], |row| row.get(0))?;
        if first.is_some_and(|first| first > self.last_n + 1) {
            self.state = State::default();
        }
        let mut statement =
            connection.prepare_cached("SELECT n, entries FROM ledger WHERE n > ?1 ORDER BY n")?;
        let mut rows = statement.query([self.last_n])?;
        while let Some(row) = rows.next()? {
            let n: i64 = row.get(0)?;
            let effects = entries::read(row.get_ref(1)?.as_blob().unwrap_or_default())
                .ok_or_else(|| StoreError::Damaged(format!("row {n} of the ledger cannot be read")))?;
            effects.into_iter().for_each(|effect| self.state.apply(n, effect));
            self.last_n = n;
        }
        self.state.forget_windows();
        Ok(())
    }

    /// What the counters and open calls are, as far as they are in memory.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The same, to be brought to a time.
    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The limits of an admission, with what they are judged by in memory.
    pub(super) fn limits<'r>(
        &mut self,
        connection: &Connection,
        request: &'r AdmitRequest,
        agent: &'r str,
        now: i64,
    ) -> Result<Vec<Limit<'r>>, StoreError> {
        let mut limits = Vec::with_capacity(request.rates.len() + request.budgets.len());
        for rate in &request.rates {
            let counter = self.counter(connection, window::RATE, &rate.policy_id, agent)?;
            limits.push(Limit::rate(rate, agent, counter));
        }
        for budget in &request.budgets {
            let counter = self.counter(connection, window::word(budget.window), &budget.id, &budget.key)?;
            limits.push(Limit::budget(budget, counter, now));
        }
        for limit in &limits {
            if let Some(window) = limit.window() {
                self.read_window(connection, window)?;
            }
        }
        Ok(limits)
    }

    /// Judges a request whose limits come from [`Self::limits`].
    pub(super) fn admit<'q>(&mut self, request: &'q Request<'_>) -> Ruling<'q> {
        self.state.advance(request);
        admission::admit(&self.state, request)
    }

    /// Puts an effect into this transaction: into its row of the ledger, and into the calendar windows that it touches,
    /// which are written once, at the end. `now`: where it counts at no other time.
    pub(super) fn put(
        &mut self,
        connection: &Connection,
        now: i64,
        effect: Effect,
    ) -> Result<(), StoreError> {
        for window in self.state.touched(&effect).iter() {
            self.read_window(connection, *window)?;
            self.dirty.insert(*window);
        }
        self.append(effect.at().unwrap_or(now), effect);
        Ok(())
    }

    fn append(&mut self, at: i64, effect: Effect) {
        entries::write(&mut self.written, &effect);
        self.latest = self.latest.max(Some(at));
        self.state.apply(self.last_n + 1, effect);
    }

    /// The number of a counter, which never changes.
    pub(super) fn counter(
        &mut self,
        connection: &Connection,
        kind: &'static str,
        policy_id: &str,
        key: &str,
    ) -> Result<i64, StoreError> {
        let mut name = String::with_capacity(kind.len() + policy_id.len() + key.len() + 2);
        name.push_str(kind);
        name.push('\0');
        name.push_str(policy_id);
        name.push('\0');
        name.push_str(key);
        if let Some(id) = self.ids.get(name.as_str()) {
            return Ok(*id);
        }
        let found: Option<i64> = connection
            .prepare_cached("SELECT id FROM counters WHERE kind = ?1 AND policy_id = ?2 AND key = ?3")?
            .query_row((kind, policy_id, key), |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => connection
                .prepare_cached("INSERT INTO counters (kind, policy_id, key) VALUES (?1, ?2, ?3)")?
                .insert((kind, policy_id, key))?,
        };
        if self.ids.len() >= MAX_CACHED {
            self.ids.clear();
        }
        self.ids.insert(name.into_boxed_str(), id);
        Ok(id)
    }

    /// Has a calendar window in memory as its table has it.
    fn read_window(&mut self, connection: &Connection, window: Window) -> Result<(), StoreError> {
        if self.state.standing(window).is_some() {
            return Ok(());
        }
        let standing = connection
            .prepare_cached(
                "SELECT calls, tokens, cost, alerted FROM usage WHERE counter = ?1 AND start = ?2",
            )?
            .query_row(window, |row| {
                let usage = Usage { calls: row.get(0)?, tokens: row.get(1)?, cost: row.get(2)? };
                Ok(Standing { usage, alerted: row.get(3)? })
            })
            .optional()?
            .unwrap_or_default();
        self.state.tell(window, standing);
        Ok(())
    }

    /// Writes the windows that changed, and this transaction's row where something happened in it; now and then takes
    /// out what no window needs any more. The row holds the head of the chain as it is after this transaction.
    pub(super) fn flush(
        &mut self,
        connection: &Connection,
        insert: &mut CachedStatement<'_>,
        now: Option<i64>,
        head: &Head,
    ) -> Result<(), StoreError> {
        if !self.dirty.is_empty() {
            let mut upsert = connection.prepare_cached(
                "INSERT INTO usage (counter, start, calls, tokens, cost, alerted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (counter, start) DO UPDATE SET
                   calls = excluded.calls, tokens = excluded.tokens, cost = excluded.cost, alerted = excluded.alerted",
            )?;
            for window in self.dirty.drain() {
                if let Some(Standing { usage, alerted }) = self.state.standing(window) {
                    upsert.execute((window.0, window.1, usage.calls, usage.tokens, usage.cost, alerted))?;
                }
            }
        }
        if self.state.known_windows() > MAX_CACHED {
            self.state.forget_windows();
        }
        let mut before = None;
        if let Some(now) = now {
            self.hand.to(now);
            if self.pruned_at.abs_diff(self.hand.reached) > 1_000_000 {
                self.pruned_at = self.hand.reached;
                before = self.prune(connection, self.hand.reached)?;
            }
        }
        if head.moved || !self.written.is_empty() {
            self.last_n += 1;
            let at = self.latest.take().or(now).unwrap_or_default();
            insert.execute((self.last_n, at, head.seq, head.hash, self.written.as_slice()))?;
            self.written.clear();
        }
        if let Some(before) = before {
            connection.prepare_cached("DELETE FROM ledger WHERE n < ?1")?.execute([before])?;
        }
        Ok(())
    }

    /// Forgets what has left every window, and says before which row nothing is needed: calls that were granted there
    /// and are still open are carried into this transaction's row.
    fn prune(&mut self, connection: &Connection, now: i64) -> Result<Option<i64>, StoreError> {
        self.state.forget(now);
        if !self.old_windows_dropped {
            self.old_windows_dropped = true;
            // By an earlier row's time too: a clock that is far ahead must not wipe the counters of today.
            let days_62 = 62 * 24 * 60 * MINUTE;
            let then: Option<i64> = connection
                .prepare_cached("SELECT at FROM ledger ORDER BY n LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            let before = then.map_or(0, |then| then.min(now)).saturating_sub(days_62);
            connection.execute("DELETE FROM usage WHERE start > 0 AND start < ?1", [before])?;
        }
        // The last row stays: every process counts on from it, and it notes the chain's head. Rows from a clock that was
        // far ahead go.
        let oldest: Option<i64> = connection
            .prepare_cached("SELECT n FROM ledger WHERE at > ?1 AND at < ?2 ORDER BY n LIMIT 1")?
            .query_row((now.saturating_sub(KEPT), now.saturating_add(KEPT)), |row| row.get(0))
            .optional()?;
        let before = oldest.unwrap_or(self.last_n).min(self.last_n);
        let first: Option<i64> =
            connection.prepare_cached("SELECT min(n) FROM ledger")?.query_row([], |row| row.get(0))?;
        if first.is_none_or(|first| first >= before) {
            return Ok(None);
        }
        for grant in self.state.open_before(before) {
            self.append(now, Effect::Carried(grant));
        }
        Ok(Some(before))
    }
}
