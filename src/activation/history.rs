//! What was in force, when, by whom and why.

use super::OrderError;
use crate::{
    evidence::{Activation, KeptBundle, ROLLOUT, RolloutEvent},
    model::{EventType, SnapshotId},
    store::{EventQuery, KeptKind, Pattern, Store, StoreError},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Records that are read at a time.
const PAGE: usize = 500;
/// The shortest beginning of a snapshot that is looked for.
const SHORTEST_PREFIX: usize = 4;
/// Hex digits of a snapshot.
const WHOLE: usize = 64;

/// Activations, newest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// At most as many as were asked for.
    pub entries: Vec<Activation>,
    /// There are older ones.
    pub truncated: bool,
}

/// The newest `limit` activations, of those before the record with this `seq` where one is given.
pub async fn history(store: &dyn Store, limit: usize, before: Option<i64>) -> Result<History, StoreError> {
    let mut found = History::default();
    let mut query = EventQuery {
        event_type: Some(EventType::PolicyActivated),
        newest_first: true,
        limit: PAGE.min(limit.saturating_add(1)),
        until_seq: before.map(|seq| seq.saturating_sub(1)),
        ..EventQuery::default()
    };
    loop {
        let page = store.events(query.clone()).await?;
        let Some(last) = page.last() else { return Ok(found) };
        query.until_seq = Some(last.seq - 1);
        for entry in page.iter().filter_map(Activation::of) {
            if found.entries.len() == limit {
                found.truncated = true;
                return Ok(found);
            }
            found.entries.push(entry);
        }
    }
}

/// What came into force last.
pub async fn newest(store: &dyn Store) -> Result<Option<Activation>, StoreError> {
    Ok(history(store, 1, None).await?.entries.pop())
}

/// One entry for programs; `active`: nothing has come into force since.
pub fn entry(activation: &Activation, active: bool) -> Value {
    json!({
        "snapshot": activation.snapshot,
        "activated_at": activation.at,
        "by": activation.by,
        "reason": activation.reason,
        "git_commit": activation.git_commit,
        "active": active,
        "ordered": activation.order.is_some(),
        "source": activation.source,
        "changed": activation.changed,
        "seq": activation.seq,
    })
}

/// All entries for programs. `first`: the newest of them is the newest of all.
pub fn form(history: &History, first: bool) -> Vec<Value> {
    history.entries.iter().enumerate().map(|(at, activation)| entry(activation, first && at == 0)).collect()
}

/// The snapshots that were in force before, newest first, each once, without the one that is.
pub async fn before(store: &dyn Store) -> Result<Vec<SnapshotId>, StoreError> {
    let mut all: Vec<SnapshotId> = Vec::new();
    for activation in history(store, usize::MAX, None).await?.entries {
        if !all.contains(&activation.snapshot) {
            all.push(activation.snapshot);
        }
    }
    Ok(all.into_iter().skip(1).collect())
}

/// A snapshot by its beginning, among those that were ever in force or tried.
pub async fn resolve(store: &dyn Store, written: &str) -> Result<SnapshotId, OrderError> {
    let unknown = || OrderError::Unknown(written.chars().take(80).collect());
    let prefix = written.to_ascii_lowercase();
    if !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) || prefix.len() < SHORTEST_PREFIX {
        return Err(unknown());
    }
    if prefix.len() >= WHOLE {
        let kept = store.kept(KeptKind::Bundle, prefix.clone()).await?;
        return kept.map(|_| SnapshotId::from(prefix)).ok_or_else(unknown);
    }
    let mut fitting: BTreeSet<SnapshotId> = BTreeSet::new();
    let activated = history(store, usize::MAX, None).await?.entries;
    fitting.extend(activated.into_iter().map(|entry| entry.snapshot));
    let tried = EventQuery {
        event_type: Some(EventType::AdminAction),
        policy_id: Some(Pattern::from(ROLLOUT)),
        ..EventQuery::default()
    };
    let tried = store.events(tried).await?;
    fitting.extend(tried.iter().filter_map(RolloutEvent::of).map(|event| event.rollout.candidate));
    fitting.retain(|snapshot| snapshot.starts_with(&prefix));
    let mut fitting = fitting.into_iter();
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => Err(OrderError::Ambiguous {
            written: prefix,
            first: first.chars().take(16).collect(),
            second: second.chars().take(16).collect(),
        }),
        (None, _) => Err(unknown()),
    }
}

/// What is kept of a snapshot.
pub async fn kept_bundle(store: &dyn Store, snapshot: &SnapshotId) -> Result<KeptBundle, OrderError> {
    let kept = store.kept(KeptKind::Bundle, snapshot.to_string()).await?;
    let kept = kept.ok_or_else(|| OrderError::Unknown(snapshot.to_string()))?;
    KeptBundle::read(&kept.body)
        .map_err(|error| StoreError::Damaged(format!("the bundle of snapshot `{snapshot}`: {error}")).into())
}
