//! The writer's image of every counter. It is a fold over tables that any process may append to, and holds
//! while nobody else has committed; after that the new part is read, inside the writing transaction.

use super::{entries, limits::Slot};
use crate::{
    admission::{Entry, Grant, Hand, MINUTE, Repeats, Rolling, Usage},
    store::{StoreError, chain},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use std::collections::{BTreeMap, HashMap};

/// Calendar counters are forgotten (and read again when needed) beyond so many.
const MAX_CACHED: usize = 100_000;

/// Ledger rows are kept for twice the window, so that a caller with an old clock reading finds them.
const KEPT: i64 = 2 * MINUTE;

/// A calendar window of a counter.
pub(super) type Window = (i64, i64);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) usage: Usage,
    /// When the alert of this window was written; 0: not yet.
    pub(super) alerted: i64,
    dirty: bool,
}

/// The end of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: chain::Hash,
    /// Whether this transaction moved it.
    pub(super) moved: bool,
}

/// An open call of any process, and the row that says so.
#[derive(Clone, Debug)]
struct Open {
    row: i64,
    grant: Grant,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    ids: HashMap<Box<str>, i64>,
    windows: HashMap<Window, Standing>,
    dirty: Vec<Window>,
    rolling: HashMap<i64, Rolling>,
    repeats: Repeats,
    /// By the `seq` of their decisions.
    open: BTreeMap<i64, Open>,
    last_n: i64,
    /// The entries of this transaction, and the latest time in them.
    written: Vec<u8>,
    latest: Option<i64>,
    hand: Hand,
    pruned_at: i64,
    old_windows_dropped: bool,
}

impl Ledger {
    /// Reads what other processes have appended.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.windows.clear();
        self.dirty.clear();
        // Rows that were taken out before they were read here may have closed calls.
        let first: Option<i64> =
            connection.prepare_cached("SELECT min(n) FROM ledger")?.query_row([], |row| row.get(0))?;
        if first.is_some_and(|first| first > self.last_n + 1) {
            self.rolling.clear();
            self.repeats = Repeats::default();
            self.open.clear();
        }
        let mut statement =
            connection.prepare_cached("SELECT n, entries FROM ledger WHERE n > ?1 ORDER BY n")?;
        let mut rows = statement.query([self.last_n])?;
        while let Some(row) = rows.next()? {
            let n: i64 = row.get(0)?;
            let entries = entries::read(row.get_ref(1)?.as_blob().unwrap_or_default())
                .ok_or_else(|| StoreError::Damaged(format!("row {n} of the ledger cannot be read")))?;
            entries.into_iter().for_each(|entry| self.apply(n, entry));
            self.last_n = n;
        }
        Ok(())
    }

    fn apply(&mut self, row: i64, entry: Entry) {
        match entry {
            Entry::Granted(grant) => {
                for counter in &grant.rolling {
                    self.rolling.entry(*counter).or_default().push(grant.seq, grant.at, grant.usage());
                }
                if let Some(key) = grant.repeat {
                    self.repeats.push(grant.at, key);
                }
                self.open.insert(grant.seq, Open { row, grant });
            }
            Entry::Carried(grant) => {
                self.open.insert(grant.seq, Open { row, grant });
            }
            Entry::Closed { seq, change } => {
                let Some(Open { grant, .. }) = self.open.remove(&seq) else { return };
                if change != Usage::default() {
                    for counter in &grant.rolling {
                        self.rolling.entry(*counter).or_default().amend(seq, change);
                    }
                }
            }
            Entry::Asked { at, repeat } => self.repeats.push(at, repeat),
        }
    }

    /// Puts an entry into this transaction's row.
    pub(super) fn append(&mut self, at: i64, entry: Entry) {
        entries::write(&mut self.written, &entry);
        self.latest = self.latest.max(Some(at));
        self.apply(self.last_n + 1, entry);
    }

    /// An open call, of whichever process.
    pub(super) fn open(&self, seq: i64) -> Option<&Grant> {
        self.open.get(&seq).map(|open| &open.grant)
    }

    /// The decisions of all open calls, or of one process's.
    pub(super) fn open_seqs(&self, owner: Option<i64>) -> Vec<i64> {
        let of = |open: &&Open| owner.is_none_or(|owner| open.grant.owner == owner);
        self.open.values().filter(of).map(|open| open.grant.seq).collect()
    }

    /// How many calls are open, in all processes.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Whether open calls of other processes than `owner` have reserved something here.
    pub(super) fn reserved_by_others(&self, owner: i64, slot: Slot) -> bool {
        self.open.values().map(|open| &open.grant).any(|grant| {
            grant.owner != owner
                && match slot {
                    Slot::Rolling(counter) => grant.rolling.contains(&counter),
                    Slot::Window(counter, start) => grant.windows.contains(&(counter, start)),
                }
        })
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

    /// Where a calendar window stands.
    pub(super) fn window(&mut self, connection: &Connection, window: Window) -> Result<Standing, StoreError> {
        if let Some(standing) = self.windows.get(&window) {
            return Ok(*standing);
        }
        let standing = connection
            .prepare_cached(
                "SELECT calls, tokens, cost, alerted FROM usage WHERE counter = ?1 AND start = ?2",
            )?
            .query_row(window, |row| {
                let usage = Usage { calls: row.get(0)?, tokens: row.get(1)?, cost: row.get(2)? };
                Ok(Standing { usage, alerted: row.get(3)?, dirty: false })
            })
            .optional()?
            .unwrap_or_default();
        self.windows.insert(window, standing);
        Ok(standing)
    }

    /// Changes a calendar window; it is written once, at the end of the transaction.
    pub(super) fn change(
        &mut self,
        connection: &Connection,
        window: Window,
        change: impl FnOnce(&mut Standing),
    ) -> Result<(), StoreError> {
        let mut standing = self.window(connection, window)?;
        change(&mut standing);
        if !standing.dirty {
            standing.dirty = true;
            self.dirty.push(window);
        }
        self.windows.insert(window, standing);
        Ok(())
    }

    pub(super) fn rolling(&mut self, counter: i64) -> &mut Rolling {
        self.rolling.entry(counter).or_default()
    }

    /// How often, and when the first of them was made.
    pub(super) fn repeats(&mut self, key: i64, now: i64) -> (u32, i64) {
        let now = self.repeats.advance(now);
        (self.repeats.count(key), now)
    }

    /// When at most `keep` of these remain.
    pub(super) fn repeats_room_at(&self, key: i64, keep: u32) -> Option<i64> {
        self.repeats.room_at(key, keep)
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
            for window in self.dirty.drain(..) {
                if let Some(standing) = self.windows.get_mut(&window) {
                    standing.dirty = false;
                    let usage = standing.usage;
                    upsert.execute((
                        window.0,
                        window.1,
                        usage.calls,
                        usage.tokens,
                        usage.cost,
                        standing.alerted,
                    ))?;
                }
            }
        }
        if self.windows.len() > MAX_CACHED {
            self.windows.clear();
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
        self.repeats.advance(now);
        self.rolling.retain(|_, rolling| {
            rolling.advance(now);
            !rolling.is_empty()
        });
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
        let carried: Vec<Grant> =
            self.open.values().filter(|open| open.row < before).map(|open| open.grant.clone()).collect();
        for grant in carried {
            self.append(now, Entry::Carried(grant));
        }
        Ok(Some(before))
    }
}
