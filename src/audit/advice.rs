//! Advice on what to do next with the policies, from a store.

use super::recorded::{Pace, Referred, Stop, walk};
use crate::{
    model::Event,
    replay::{Advice, Traffic, advise, see},
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;

/// Looks at the traffic since a time, and says what to do next; `progress` is told how many records were looked at.
pub async fn advice_on_recorded(
    store: &dyn Store,
    since: Timestamp,
    now: Timestamp,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Advice, StoreError> {
    let query = EventQuery { since: Some(Traffic::needed_since(since)), ..EventQuery::default() };
    let judge = |event: &Event, referred: &Referred| {
        Some((event.draft.timestamp, see(&event.draft, &|hash| referred.tool(hash))?))
    };
    let mut traffic = Traffic::new(since, now);
    let mut seen = 0;
    walk(store, query, (Pace::Whole, &Stop::default()), judge, &mut |looked| {
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
