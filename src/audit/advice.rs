//! Advice on what to do next with the policies, from a store.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    model::Event,
    replay::{Advice, Traffic, advise, see},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;

/// Looks at the traffic of a time, and says what to do next; `progress` is told how many records were looked at.
pub async fn advice_on_recorded(
    store: &dyn Store,
    since: Timestamp,
    until: Timestamp,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Advice, StoreError> {
    advise_on_record(store, (since, until), (Pace::Whole, &Stop::default()), progress).await
}

/// The same at this pace, as far as it comes before it is stopped.
pub async fn advise_on_record(
    store: &dyn Store,
    (since, until): (Timestamp, Timestamp),
    (pace, stop): (Pace, &Stop),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Advice, StoreError> {
    let needed = Traffic::needed_since(since);
    let query = EventQuery { since: Some(needed), until: Some(until), ..EventQuery::default() };
    let judge = |event: &Event, referred: &Referred| {
        Some((event.draft.timestamp, see(&event.draft, &|hash| referred.tool(hash))?))
    };
    let mut traffic = Traffic::new(since, until);
    let mut seen = 0;
    walk(store, query, (pace, stop), judge, &mut |looked| {
        for one in looked {
            seen += 1;
            if let Some((at, said)) = one {
                traffic.take(at, said);
            }
        }
        progress(seen);
    })
    .await?;
    Ok(advise(&traffic))
}
