//! Counters of a budget whose zone or window was changed: what was counted before the change counts after it. An id and a key name
//! one budget's counter, and its kind says over which window of which calendar it counts; another kind of the same id and key is
//! what it was before.

use super::{
    ledger::{Ledger, number},
    notes::{self, Note},
};
use crate::{
    admission::{MINUTE, Usage, Window, WindowUsage, window},
    cost::{BudgetWindow, BudgetZone},
    decision::BudgetLimit,
    store::StoreError,
};
use jiff::tz::TimeZone;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// So far apart are the beginnings of one date in two zones at most.
const FARTHEST: i64 = 26 * HOUR;

/// How long windows may be, of which one that began later may be the one of now; none where only one word tells.
fn current(of: BudgetWindow) -> i64 {
    match of {
        BudgetWindow::Minute | BudgetWindow::Ever => 0,
        BudgetWindow::Hour => HOUR,
        BudgetWindow::Day => DAY + HOUR,
        BudgetWindow::Month => 31 * DAY + HOUR,
    }
}

/// Shorter windows before those that they lie in.
fn length(of: BudgetWindow) -> u8 {
    match of {
        BudgetWindow::Minute => 0,
        BudgetWindow::Hour => 1,
        BudgetWindow::Day => 2,
        BudgetWindow::Month => 3,
        BudgetWindow::Ever => 4,
    }
}

/// When the window of this kind ends that began at a time; none where that cannot be told.
fn ended(kind: &str, began: i64) -> Option<i64> {
    let zone = match kind.split_once('@') {
        None => None,
        Some((_, name)) => Some(BudgetZone { name: name.into(), rules: TimeZone::get(name).ok()? }),
    };
    window::end_of(window::window_of(kind)?, zone.as_ref(), began)
}

fn larger(one: Usage, other: Usage) -> Usage {
    Usage {
        calls: one.calls.max(other.calls),
        tokens: one.tokens.max(other.tokens),
        cost: one.cost.max(other.cost),
    }
}

impl Ledger {
    /// Has the window of a budget's counter count no less than the same budget has counted under another zone, or in shorter
    /// windows that lie in it. What a longer window has counted says nothing of a shorter one. A rolling minute is over before
    /// it matters.
    pub(super) fn carry_over(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
        (budget, kind, key): (&BudgetLimit, &str, &str),
        (counter, start): Window,
        now: i64,
    ) -> Result<(), StoreError> {
        let id = budget.id.as_str();
        let others = self.other_kinds(connection, id, kind)?;
        if others.is_empty() {
            return Ok(());
        }
        if !self.kinds.is_due((id, kind), (counter, start), now) {
            return Ok(());
        }
        let mut counted = Usage::default();
        for other in others {
            let Some(of) = window::window_of(&other) else { continue };
            let of_this = number(&other, id, key);
            if of == budget.window {
                let since = now.saturating_sub(current(of));
                let newest = self.windows_of(connection, of_this, (since, now))?.pop();
                if let Some((began, usage)) = newest
                    && ended(&other, began).is_none_or(|ended| ended > now)
                    && !self.took_over(connection, id, (counter, start), began)?
                {
                    counted = larger(counted, usage);
                }
            } else if length(of) < length(budget.window) && of != BudgetWindow::Minute {
                let within = self.windows_of(connection, of_this, (start, now))?;
                let sum = within.into_iter().fold(Usage::default(), |sum, (_, usage)| sum.plus(usage));
                counted = larger(counted, sum);
            }
        }
        self.read_window(connection, (counter, start))?;
        let stands = self.state.standing((counter, start)).unwrap_or_default();
        let usage = larger(stands.usage, counted);
        if usage != stands.usage {
            let note = Note::Stands((counter, start), WindowUsage { usage, ..stands });
            notes::write(notes, &note);
            self.note(connection, note)?;
        }
        Ok(())
    }

    /// Whether a counter had a window before this one that went on with what another kind's window, which began at `began`, had
    /// counted: then that is no matter of this one. Where the kind was changed in this window, it is.
    fn took_over(
        &self,
        connection: &Connection,
        id: &str,
        (counter, start): Window,
        began: i64,
    ) -> Result<bool, StoreError> {
        if self.kinds.changed(id).is_some_and(|changed| changed >= start) {
            return Ok(false);
        }
        let before = (began.saturating_sub(FARTHEST), start.saturating_sub(1));
        Ok(!self.windows_of(connection, counter, before)?.is_empty())
    }

    /// The windows of a budget's counters of other kinds than this, with what stands there: of one key, or of all.
    pub(super) fn of_other_kinds(
        &self,
        connection: &Connection,
        (id, kind, key): (&str, &str, Option<&str>),
    ) -> Result<Vec<Window>, StoreError> {
        let mut found = Vec::new();
        for (counter, name) in self.counters(connection)? {
            let is_other = name.policy_id == id && name.kind != kind && name.kind != window::RATE;
            if is_other && key.is_none_or(|key| key == name.key) {
                let all = self.windows_of(connection, counter, (0, i64::MAX))?;
                found.extend(all.into_iter().map(|(start, _)| (counter, start)));
            }
        }
        Ok(found)
    }

    fn other_kinds(
        &mut self,
        connection: &Connection,
        id: &str,
        kind: &str,
    ) -> Result<Vec<String>, StoreError> {
        if self.kinds.known.is_none() {
            self.kinds.known = Some(HashMap::new());
            for counter in self.counters(connection)?.into_values() {
                self.kinds.learn(&counter.kind, &counter.policy_id);
            }
        }
        let known = self.kinds.known.as_ref().and_then(|known| known.get(id));
        let others = known.into_iter().flatten().filter(|other| *other != kind && *other != window::RATE);
        Ok(others.cloned().collect())
    }

    /// What a counter has counted in the windows that began in a time, the newest last.
    fn windows_of(
        &self,
        connection: &Connection,
        counter: i64,
        (first, last): (i64, i64),
    ) -> Result<Vec<(i64, Usage)>, StoreError> {
        let mut found = BTreeMap::new();
        let mut statement = connection.prepare_cached(
            "SELECT start, calls, tokens, cost FROM usage WHERE counter = ?1 AND start BETWEEN ?2 AND ?3",
        )?;
        let mut rows = statement.query([counter, first, last])?;
        while let Some(row) = rows.next()? {
            let usage = Usage { calls: row.get(1)?, tokens: row.get(2)?, cost: row.get(3)? };
            found.insert(row.get(0)?, usage);
        }
        self.unprojected_of(counter, |start, standing| {
            if (first..=last).contains(&start) {
                match standing {
                    Some(usage) => drop(found.insert(start, usage)),
                    None => drop(found.remove(&start)),
                }
            }
        });
        Ok(found.into_iter().collect())
    }
}
