//! What charts draw, from events alone.

use super::{EventQuery, Store, StoreError};
use crate::series::{Answer, Asked, Figuring, Rollup, Seen};
use jiff::Timestamp;

/// Events that are read at a time.
const PAGE: usize = 1_000;

/// What charts draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// What was asked for.
    pub answer: Answer,
    /// Parts of the record that are not counted yet: the same question counts more of them.
    pub missing: usize,
}

/// Folds the events of the time that is asked for.
pub(super) async fn of_events<S: Store + ?Sized>(store: &S, asked: Asked) -> Result<Figures, StoreError> {
    let spans = asked.spans();
    let first = spans.iter().map(|span| span.first).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let at = |minute: i64| Timestamp::from_second(minute.saturating_mul(60)).ok();
    let mut query = EventQuery { since: at(first), until: at(end), limit: PAGE, ..EventQuery::default() };
    let mut rollup = Rollup::default();
    loop {
        let page = store.events(query.clone()).await?;
        let Some(last) = page.last() else { break };
        query.after_seq = Some(last.seq);
        for event in &page {
            if let Some(seen) = Seen::read(&event.draft.body()) {
                rollup.add(&seen);
            }
        }
    }
    let mut work = Figuring::new(asked);
    loop {
        for span in &spans {
            rollup.rows(*span, &mut |row| work.take(row));
        }
        if !work.again() {
            return Ok(Figures { answer: work.finish(), missing: 0 });
        }
    }
}
