//! Where the counters stand, for people to read.

use super::ledger::{Counter, Ledger};
use crate::{
    admission::{
        Standing, Usage, Window,
        window::{self, start_of, window_of},
    },
    cost::LearnedSizes,
    model::{MicroUsd, PolicyId},
    store::{BudgetUsage, Counted, StoreError},
};
use jiff::Timestamp;
use rusqlite::Connection;
use std::collections::HashMap;

/// What is only in memory of where the counters stand.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// The counters that roll.
    pub(super) rolling: HashMap<i64, Standing>,
    /// What open calls hold of calendar windows.
    pub(super) reserved: HashMap<Window, Usage>,
}

impl Remembered {
    /// As of a time.
    pub(super) fn of(ledger: &mut Ledger, now: Timestamp) -> Self {
        let state = ledger.state_mut();
        Self { rolling: state.all_last_minute(now.as_microsecond()), reserved: state.all_reserved() }
    }
}

/// Every counter that has counted something in the window that holds `now`. Whether that window of a zone is the one or has
/// just ended is the caller's to tell, by its start.
pub(super) fn read(
    connection: &Connection,
    now: Timestamp,
    remembered: &Remembered,
) -> Result<Vec<BudgetUsage>, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut counters = snapshot
        .prepare_cached("SELECT id, kind, policy_id, key FROM counters ORDER BY policy_id, key, kind")?;
    let mut current = snapshot.prepare_cached(
        "SELECT start, calls, tokens, cost FROM usage WHERE counter = ?1 AND start BETWEEN ?2 AND ?3 ORDER BY start",
    )?;
    let mut rows = counters.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let counter = Counter { kind: row.get(1)?, policy_id: row.get(2)?, key: row.get(3)? };
        let id = row.get(0)?;
        let between = |(first, last): (i64, i64)| -> Result<Vec<(i64, Usage)>, StoreError> {
            let read = current.query_map((id, first, last), |row| {
                Ok((row.get(0)?, Usage { calls: row.get(1)?, tokens: row.get(2)?, cost: row.get(3)? }))
            });
            Ok(read?.collect::<Result<_, _>>()?)
        };
        found.extend(standing(id, &counter, now, remembered, between)?);
    }
    Ok(found)
}

/// The same from what a process remembers, where there is no room for the projection to follow.
pub(super) fn remembered(
    connection: &Connection,
    ledger: &Ledger,
    now: Timestamp,
    remembered: &Remembered,
) -> Result<Vec<BudgetUsage>, StoreError> {
    let windows = ledger.windows(connection)?;
    let mut counters: Vec<(i64, Counter)> = ledger.counters(connection)?.into_iter().collect();
    counters.sort_by(|(_, a), (_, b)| (&a.policy_id, &a.key, &a.kind).cmp(&(&b.policy_id, &b.key, &b.kind)));
    let mut found = Vec::new();
    for (id, counter) in counters {
        let between = |(first, last): (i64, i64)| {
            let of_this =
                windows.iter().filter(|((of, start), _)| *of == id && (first..=last).contains(start));
            Ok(of_this.map(|((_, start), standing)| (*start, standing.usage)).collect())
        };
        found.extend(standing(id, &counter, now, remembered, between)?);
    }
    Ok(found)
}

/// Where one counter stands: nothing where it has counted nothing.
fn standing(
    id: i64,
    counter: &Counter,
    now: Timestamp,
    remembered: &Remembered,
    mut between: impl FnMut((i64, i64)) -> Result<Vec<(i64, Usage)>, StoreError>,
) -> Result<Vec<BudgetUsage>, StoreError> {
    let Some(window) = window_of(&counter.kind) else { return Ok(Vec::new()) };
    let micros = now.as_microsecond();
    let standings: Vec<(Option<i64>, Standing)> = match start_of(window, None, micros) {
        None => remembered.rolling.get(&id).map(|standing| (None, *standing)).into_iter().collect(),
        Some(start) => {
            // When a window of a zone begins is not known here: each that may hold this moment.
            let in_zone = counter.kind.contains('@');
            let range = match window::longest(window).filter(|_| in_zone) {
                Some(longest) => (micros.saturating_sub(longest), micros),
                None => (start, start),
            };
            let standing = |(start, usage)| {
                let reserved = remembered.reserved.get(&(id, start)).copied().unwrap_or_default();
                (Some(start), Standing { usage, reserved, oldest: None })
            };
            between(range)?.into_iter().map(standing).collect()
        }
    };
    let counted = |usage: Usage| Counted {
        calls: u64::try_from(usage.calls).unwrap_or(0),
        tokens: u64::try_from(usage.tokens).unwrap_or(0),
        cost_usd: MicroUsd(usage.cost),
    };
    let told = standings.into_iter().filter(|(_, standing)| standing.usage != Usage::default());
    Ok(told
        .map(|(start, Standing { usage, reserved, oldest })| {
            let Counted { calls, tokens, cost_usd } = counted(usage);
            BudgetUsage {
                id: PolicyId::from(counter.policy_id.as_str()),
                key: counter.key.clone(),
                window: window::word(window).to_owned(),
                kind: counter.kind.clone(),
                window_start: start.and_then(|start| Timestamp::from_microsecond(start).ok()),
                calls,
                tokens,
                cost_usd,
                reserved: counted(reserved),
                oldest: oldest.and_then(|oldest| Timestamp::from_microsecond(oldest).ok()),
            }
        })
        .collect())
}

/// Takes in what the projection has of the sizes of results.
pub(super) fn learned(connection: &Connection, sizes: &LearnedSizes) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("SELECT tool, milli_tokens FROM learned ORDER BY tool")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sizes.take_in(row.get_ref(0)?.as_str().unwrap_or_default(), row.get(1)?);
    }
    Ok(())
}
