//! The scorecard of a store's record.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    model::Event,
    replay::{Scorecard, Tallying, note},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;

/// Adds up what is recorded from `since` to `until`, and holds it against the same time before, as far as it comes before it is
/// stopped; `progress` is told how many records were looked at.
pub async fn scorecard(
    store: &dyn Store,
    (since, until): (Timestamp, Timestamp),
    (pace, stop): (Pace, &Stop),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Scorecard, StoreError> {
    let needed = Tallying::needed_since(since, until);
    let query = EventQuery { since: Some(needed), until: Some(until), ..EventQuery::default() };
    let judge = |event: &Event, referred: &Referred| note(&event.draft, &|hash| referred.tool(hash));
    let mut tallying = Tallying::new(since, until);
    let mut seen = 0;
    walk(store, query, (pace, stop), judge, &mut |looked| {
        seen += u64::try_from(looked.len()).unwrap_or(0);
        looked.into_iter().flatten().for_each(|noted| tallying.take(noted));
        progress(seen);
    })
    .await?;
    Ok(tallying.finish())
}
