//! What keeps counters from growing without bound: windows that are over are forgotten, and so are counters that count
//! nothing any more; and a budget has so many counters of its own at most.

use super::{
    ledger::{Counter, Ledger},
    notes::{self, Note},
};
use crate::{
    admission::{ALERTS, MINUTE, window},
    cost::BudgetWindow,
    store::StoreError,
};
use rusqlite::Connection;
use std::collections::HashSet;

/// How often windows that are over are looked for, and how long they stay after their end: a clock may go back.
const SWEPT_EVERY: i64 = 24 * 60 * MINUTE;
const STAYS: i64 = 48 * 60 * MINUTE;

impl Ledger {
    /// Forgets windows that were over before a time, and counters that have none: the same in every process and every
    /// projection that follows the same frames.
    pub(super) fn sweep(&mut self, connection: &Connection, before: i64) -> Result<(), StoreError> {
        let counters = self.counters(connection)?;
        let mut counting = HashSet::new();
        for (window, standing) in self.windows(connection)? {
            let of = counters.get(&window.0).and_then(|counter| window::window_of(&counter.kind));
            let over = match of {
                Some(_) if window.1 == ALERTS => standing.alerted.at <= before,
                Some(of) => window::is_over(of, window.1, before),
                None => true,
            };
            match over {
                true => self.forget_window(window),
                false => drop(counting.insert(window.0)),
            }
        }
        for id in counters.into_keys().filter(|id| !counting.contains(id)) {
            self.names.remove(&id);
            self.unprojected.counters.remove(&id);
            self.unprojected.gone.insert(id);
        }
        self.keys.clear();
        self.kinds.forget();
        Ok(())
    }

    /// Once a day: where windows are over, notes that they are forgotten.
    pub(super) fn sweep_daily(
        &mut self,
        connection: &Connection,
        notes: &mut Vec<u8>,
        now: i64,
    ) -> Result<(), StoreError> {
        if now.abs_diff(self.swept_at) < SWEPT_EVERY.unsigned_abs() {
            return Ok(());
        }
        self.swept_at = now;
        let before = now.saturating_sub(STAYS);
        let windows = [BudgetWindow::Hour, BudgetWindow::Day, BudgetWindow::Month];
        let mut found = connection.prepare_cached(
            "SELECT 1 FROM usage JOIN counters ON counters.id = usage.counter
             WHERE (counters.kind = ?1 OR counters.kind LIKE ?1 || '@%') AND usage.start <= ?2 LIMIT 1",
        )?;
        let mut over = false;
        for of in windows {
            let longest = window::longest(of).unwrap_or_default();
            over = over || found.exists((window::word(of), before.saturating_sub(longest)))?;
        }
        if !over {
            return Ok(());
        }
        // What counts in the last minute is known by its name still.
        let names = self.counters(connection)?;
        let rolling: Vec<(i64, Counter)> =
            self.state.rolling_counters().filter_map(|id| Some((id, names.get(&id)?.clone()))).collect();
        let named = rolling.into_iter().map(|(id, Counter { kind, policy_id, key })| Note::Counter {
            id,
            kind,
            policy_id,
            key,
        });
        for note in std::iter::once(Note::Swept { before }).chain(named) {
            notes::write(notes, &note);
            self.note(connection, note)?;
        }
        Ok(())
    }

    /// How many counters a budget has.
    pub(super) fn keys(
        &mut self,
        connection: &Connection,
        kind: &str,
        policy_id: &str,
    ) -> Result<usize, StoreError> {
        let of = (kind.to_owned(), policy_id.to_owned());
        if let Some(keys) = self.keys.get(&of) {
            return Ok(*keys);
        }
        let same = |counter: &&Counter| counter.kind == kind && counter.policy_id == policy_id;
        let keys = self.counters(connection)?.values().filter(same).count();
        self.keys.insert(of, keys);
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admission::{Limit, Outcome, Request, Usage},
        cost::{BudgetAction, BudgetZone},
        decision::BudgetLimit,
        model::{Digest, EventDraft, EventType, MicroUsd, PolicyId},
        store::{
            AdmitRequest, OTHERS, Unrecorded,
            embedded::{
                ledger::{MOST_KEYS, number},
                projection,
            },
        },
    };
    use jiff::Timestamp;
    use std::sync::Arc;

    const NOON: i64 = 1_778_500_800_000_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    fn budget(id: &str, key: &str, window: BudgetWindow) -> BudgetLimit {
        BudgetLimit {
            id: PolicyId::from(id),
            key: Arc::from(key),
            window,
            zone: None,
            max_calls: Some(30),
            max_tokens: None,
            max_cost: None,
            on_exceed: BudgetAction::Deny,
            alert_at: [10].into(),
            strict: false,
        }
    }

    struct Process {
        ledger: Ledger,
        connection: Connection,
        seq: i64,
        /// What it wrote: the notes of each frame.
        written: Vec<Vec<u8>>,
    }

    impl Process {
        fn new() -> Self {
            let connection = projection::in_memory().unwrap();
            Self { ledger: Ledger::default(), connection, seq: 0, written: Vec::new() }
        }

        /// One call, in a frame of its own; the keys that it was counted under, where it was granted.
        fn call(&mut self, now: i64, budgets: Vec<BudgetLimit>) -> Option<Vec<String>> {
            let at = Timestamp::from_microsecond(now).unwrap();
            let asked = AdmitRequest {
                now: at,
                start: None,
                event: EventDraft::system(EventType::AgentDecision, at),
                rates: Vec::new(),
                budgets,
                max_repeats: None,
                loops: crate::admission::LoopWatch::default(),
                digest: Digest::from("d"),
                tokens: 0,
                cost: MicroUsd::ZERO,
                elastic: None,
                approval: None,
                grant: None,
                unrecorded: Unrecorded::None,
                subject: None,
                read: Vec::new(),
            };
            let mut notes = Vec::new();
            self.seq += 1;
            let limits = self.ledger.limits(&self.connection, &mut notes, &asked, "a", now).unwrap();
            let keys = limits.iter().map(|limit: &Limit<'_>| limit.key().to_owned()).collect();
            let request = Request {
                now,
                owner: 1,
                seq: self.seq,
                agent: "a",
                tool: "t",
                loops: Vec::new(),
                limits,
                repeats: None,
                need: Usage { calls: 1, tokens: 0, cost: 0 },
                stretch: None,
                approval: None,
                grant: None,
            };
            let outcome = self.ledger.admit(&request).outcome;
            let granted = match outcome {
                Outcome::Granted(effects) => {
                    for effect in effects {
                        self.ledger.put(&self.connection, &mut notes, effect).unwrap();
                    }
                    true
                }
                _ => false,
            };
            self.ledger.tidy(Some(now));
            self.written.push(notes);
            granted.then_some(keys)
        }

        fn project(&mut self) {
            self.ledger.project(&self.connection).unwrap();
            self.ledger.projected();
        }

        #[expect(clippy::type_complexity, reason = "two tables, row by row")]
        fn rows(&self) -> (Vec<(i64, i64, i64)>, Vec<(String, String)>) {
            let mut usage =
                self.connection.prepare("SELECT counter, start, calls FROM usage ORDER BY 1, 2").unwrap();
            let usage = usage.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            let mut names =
                self.connection.prepare("SELECT policy_id, key FROM counters ORDER BY 1, 2").unwrap();
            let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            (usage.map(Result::unwrap).collect(), names.map(Result::unwrap).collect())
        }

        /// The same from its frames alone.
        fn rebuilt(&self) -> Self {
            let mut other = Self::new();
            for notes in &self.written {
                let notes = notes::read(notes).unwrap();
                other
                    .ledger
                    .take_in(
                        &other.connection,
                        None,
                        crate::journal::Place { segment: 0, offset: 0 },
                        0,
                        notes,
                    )
                    .unwrap();
            }
            other.project();
            other
        }
    }

    /// Windows that are over go, with the names of what counted in them; what still counts stays, in every process that reads
    /// the same frames.
    #[test]
    fn windows_that_are_over_are_forgotten() {
        let mut process = Process::new();
        let zone =
            BudgetZone { name: "+05:30".into(), rules: jiff::tz::TimeZone::fixed(jiff::tz::offset(5)) };
        for day in 0..10 {
            let key = format!("agent-{day}");
            let budgets = vec![
                budget("hour", &key, BudgetWindow::Hour),
                BudgetLimit { zone: Some(zone.clone()), ..budget("day", &key, BudgetWindow::Day) },
                budget("minute", "all", BudgetWindow::Minute),
                budget("month", "all", BudgetWindow::Month),
                budget("ever", "all", BudgetWindow::Ever),
            ];
            assert!(process.call(NOON + day * DAY, budgets).is_some());
            process.project();
        }
        let (usage, names) = process.rows();
        let left = |id: &str| names.iter().filter(|(policy, _)| policy == id).count();
        assert!((2..=4).contains(&left("hour")) && (3..=5).contains(&left("day")), "{names:?}");
        assert_eq!((left("minute"), left("month"), left("ever")), (1, 1, 1), "{names:?}");
        assert!(usage.len() < 14, "{usage:?}");
        assert_eq!(process.rebuilt().rows(), (usage, names));
        // What was counted for ever still is.
        let mut through = 0;
        while process.call(NOON + 9 * DAY + 1, vec![budget("ever", "all", BudgetWindow::Ever)]).is_some() {
            through += 1;
        }
        assert_eq!(through, 30 - 10);
    }

    /// A counter that rolls keeps its name where it counts something as others are forgotten.
    #[test]
    fn what_rolls_keeps_its_name() {
        let mut process = Process::new();
        let rolls = || budget("minute", "all", BudgetWindow::Minute);
        process.call(
            NOON,
            vec![budget("hour", "a", BudgetWindow::Hour), budget("minute", "old", BudgetWindow::Minute)],
        );
        process.project();
        process.ledger.swept_at = NOON + 5 * DAY - MINUTE / 2;
        process.call(NOON + 5 * DAY - MINUTE / 2, vec![rolls()]);
        process.ledger.swept_at = 0;
        process.call(NOON + 5 * DAY, vec![budget("ever", "x", BudgetWindow::Ever)]);
        process.project();
        let (_, names) = process.rows();
        let named: Vec<&str> = names.iter().map(|(policy, _)| policy.as_str()).collect();
        assert_eq!(named, ["ever", "minute"], "{names:?}");
        assert_eq!(process.rebuilt().rows().1, names);
    }

    /// So many keys of a budget have a counter of their own; those beyond share one, and with it the cap.
    #[test]
    fn keys_without_end_share_a_counter() {
        let mut process = Process::new();
        let key = |n: usize| vec![budget("b", &format!("key-{n}"), BudgetWindow::Ever)];
        for n in 0..MOST_KEYS {
            assert_eq!(process.call(NOON, key(n)).unwrap(), [format!("key-{n}")]);
            if n % 20 == 0 {
                process.project();
            }
        }
        let mut through = 0;
        for n in MOST_KEYS..MOST_KEYS + 60 {
            if let Some(keys) = process.call(NOON, key(n)) {
                assert_eq!(keys, [OTHERS]);
                through += 1;
            }
        }
        assert_eq!(through, 30, "they share the cap");
        // What retention notes again is no further key.
        let named = |n: usize| Note::Counter {
            id: number("ever", "b", &format!("key-{n}")),
            kind: "ever".to_owned(),
            policy_id: "b".to_owned(),
            key: format!("key-{n}"),
        };
        process.project();
        process.ledger.names.clear();
        let counted = process.ledger.keys(&process.connection, "ever", "b").unwrap();
        for n in 0..MOST_KEYS {
            process.ledger.note(&process.connection, named(n)).unwrap();
        }
        assert_eq!(process.ledger.keys(&process.connection, "ever", "b").unwrap(), counted);
        // Those that were there before have theirs.
        assert_eq!(process.call(NOON, key(0)).unwrap(), ["key-0"]);
        process.project();
        assert_eq!(process.rows().1.len(), MOST_KEYS + 1);
        assert_eq!(process.rebuilt().rows(), process.rows());
    }
}
