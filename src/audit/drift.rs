//! How agents differ from their own past, from a store.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    model::Event,
    replay::{DriftReport, Drifting, drifted},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;

/// Holds what is recorded from `since` to `until` against the same time before, as far as it comes before it is stopped;
/// `progress` is told how many records were looked at.
pub async fn drift_on_record(
    store: &dyn Store,
    (since, until): (Timestamp, Timestamp),
    (pace, stop): (Pace, &Stop),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<DriftReport, StoreError> {
    let needed = Drifting::needed_since(since, until);
    let query = EventQuery { since: Some(needed), until: Some(until), ..EventQuery::default() };
    let judge = |event: &Event, _: &Referred| drifted(&event.draft);
    let mut drifting = Drifting::new(since, until);
    let mut seen = 0;
    walk(store, query, (pace, stop), judge, &mut |looked| {
        seen += u64::try_from(looked.len()).unwrap_or(0);
        looked.into_iter().flatten().for_each(|one| drifting.take(one));
        progress(seen);
    })
    .await?;
    Ok(drifting.report())
}
