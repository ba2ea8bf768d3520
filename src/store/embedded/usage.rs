//! Where the counters stand, for people to read.

use super::ledger::{Counter, Ledger};
use crate::{
    admission::{
        Usage, Window, WindowUsage,
        window::{self, start_of, window_of},
    },
    cost::LearnedSizes,
    model::{MicroUsd, PolicyId},
    store::{BudgetUsage, StoreError},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::HashMap;

/// Every counter that has counted something in the window that holds `now`. Those that roll are not in the projection:
/// `rolling` has where they stand.
pub(super) fn read(
    connection: &Connection,
    now: Timestamp,
    rolling: &HashMap<i64, Usage>,
) -> Result<Vec<BudgetUsage>, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut counters = snapshot
        .prepare_cached("SELECT id, kind, policy_id, key FROM counters ORDER BY policy_id, key, kind")?;
    let mut current =
        snapshot.prepare_cached("SELECT calls, tokens, cost FROM usage WHERE counter = ?1 AND start = ?2")?;
    let mut rows = counters.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let counter = Counter { kind: row.get(1)?, policy_id: row.get(2)?, key: row.get(3)? };
        let id = row.get(0)?;
        let usage = |start: i64| -> Result<Option<Usage>, StoreError> {
            let read = current.query_row((id, start), |row| {
                Ok(Usage { calls: row.get(0)?, tokens: row.get(1)?, cost: row.get(2)? })
            });
            Ok(read.optional()?)
        };
        found.extend(standing(id, counter, now, rolling, usage)?);
    }
    Ok(found)
}

/// The same from what a process remembers, where there is no room for the projection to follow.
pub(super) fn remembered(
    connection: &Connection,
    ledger: &Ledger,
    now: Timestamp,
    rolling: &HashMap<i64, Usage>,
) -> Result<Vec<BudgetUsage>, StoreError> {
    let windows: HashMap<Window, WindowUsage> = ledger.windows(connection)?.into_iter().collect();
    let mut counters: Vec<(i64, Counter)> = ledger.counters(connection)?.into_iter().collect();
    counters.sort_by(|(_, a), (_, b)| (&a.policy_id, &a.key, &a.kind).cmp(&(&b.policy_id, &b.key, &b.kind)));
    let mut found = Vec::new();
    for (id, counter) in counters {
        let usage = |start: i64| Ok(windows.get(&(id, start)).map(|standing| standing.usage));
        found.extend(standing(id, counter, now, rolling, usage)?);
    }
    Ok(found)
}

/// Where one counter stands; `None` where it has counted nothing.
fn standing(
    id: i64,
    counter: Counter,
    now: Timestamp,
    rolling: &HashMap<i64, Usage>,
    mut usage: impl FnMut(i64) -> Result<Option<Usage>, StoreError>,
) -> Result<Option<BudgetUsage>, StoreError> {
    let Some(window) = window_of(&counter.kind) else { return Ok(None) };
    let start = start_of(window, now.as_microsecond());
    let usage = match start {
        Some(start) => usage(start)?.unwrap_or_default(),
        None => rolling.get(&id).copied().unwrap_or_default(),
    };
    Ok((usage != Usage::default()).then(|| BudgetUsage {
        id: PolicyId::from(counter.policy_id),
        key: counter.key,
        window: window::word(window).to_owned(),
        window_start: start.and_then(|start| Timestamp::from_microsecond(start).ok()),
        calls: u64::try_from(usage.calls).unwrap_or(0),
        tokens: u64::try_from(usage.tokens).unwrap_or(0),
        cost_usd: MicroUsd(usage.cost),
    }))
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
