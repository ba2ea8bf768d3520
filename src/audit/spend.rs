//! What was spent, from a store.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    model::{AgentId, Event, SnapshotId},
    replay::{Spend, SpendReport, spent},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;

/// Adds up what was spent from `since` until `until`, as far as it comes before it is stopped; `progress` is told how many
/// records were looked at.
pub async fn spend_on_record(
    store: &dyn Store,
    (since, until): (Timestamp, Timestamp),
    (pace, stop): (Pace, &Stop),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<SpendReport, StoreError> {
    let query = EventQuery { since: Some(since), until: Some(until), ..EventQuery::default() };
    let judge = |event: &Event, referred: &Referred| {
        let model = |snapshot: &SnapshotId, agent: &AgentId| {
            referred.bundle(snapshot)?.authority.agents.get(agent)?.model.clone()
        };
        Some((event.draft.timestamp, spent(&event.draft, &model)?))
    };
    let mut spend = Spend::new(since, until);
    let mut seen = 0;
    walk(store, query, (pace, stop), judge, &mut |looked| {
        for one in looked {
            seen += 1;
            if let Some((at, said)) = one {
                spend.take(at, said);
            }
        }
        progress(seen);
    })
    .await?;
    Ok(spend.report())
}
