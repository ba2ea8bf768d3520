//! Where the counters stand, for people to read.

use crate::{
    admission::{
        Usage,
        window::{self, start_of, window_of},
    },
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
    let now = now.as_microsecond();
    let mut counters = snapshot
        .prepare_cached("SELECT id, kind, policy_id, key FROM counters ORDER BY policy_id, key, kind")?;
    let mut current =
        snapshot.prepare_cached("SELECT calls, tokens, cost FROM usage WHERE counter = ?1 AND start = ?2")?;
    let mut rows = counters.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Some(window) = window_of(row.get_ref(1)?.as_str().unwrap_or_default()) else { continue };
        let start = start_of(window, now);
        let usage = match start {
            Some(start) => current
                .query_row((id, start), |row| {
                    Ok(Usage { calls: row.get(0)?, tokens: row.get(1)?, cost: row.get(2)? })
                })
                .optional()?
                .unwrap_or_default(),
            None => rolling.get(&id).copied().unwrap_or_default(),
        };
        if usage == Usage::default() {
            continue;
        }
        let policy: String = row.get(2)?;
        found.push(BudgetUsage {
            id: PolicyId::from(policy),
            key: row.get(3)?,
            window: window::word(window).to_owned(),
            window_start: start.and_then(|s| Timestamp::from_microsecond(s).ok()),
            calls: u64::try_from(usage.calls).unwrap_or(0),
            tokens: u64::try_from(usage.tokens).unwrap_or(0),
            cost_usd: MicroUsd(usage.cost),
        });
    }
    Ok(found)
}

/// Result tokens per tool, rounded up.
pub(super) fn learned(connection: &Connection) -> Result<Vec<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT tool, milli_tokens FROM learned ORDER BY tool")?;
    let rows = statement.query_map([], |row| {
        let milli: i64 = row.get(1)?;
        Ok((row.get(0)?, u64::try_from(milli).unwrap_or(0).div_ceil(1_000)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
