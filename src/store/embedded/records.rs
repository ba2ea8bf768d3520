//! Reading the chain: queries, and the lines of an export.

use crate::{
    journal::{Entry, JournalError, Range, Reader, chain},
    model::{Event, EventDraft},
    store::{EventLine, EventQuery, StoreError},
};
use std::ops::ControlFlow;

/// What a query asks for, in its order.
fn each<T>(
    journal: &Reader,
    query: &EventQuery,
    read: impl Fn(&Entry) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let range = Range {
        first: query.after_seq.unwrap_or(0).max(0).saturating_add(1),
        last: query.until_seq.unwrap_or(i64::MAX),
        newest_first: query.newest_first,
    };
    let (mut found, mut bytes, mut failed) = (Vec::new(), 0, Ok(()));
    journal.find_readable(&query.wanted(), range, &mut |entry| {
        bytes += entry.body.len();
        match read(&entry) {
            Ok(value) => found.push(value),
            Err(error) => {
                failed = Err(error);
                return Ok(ControlFlow::Break(()));
            }
        }
        let full = (query.limit > 0 && found.len() >= query.limit)
            || (query.most_bytes > 0 && bytes >= query.most_bytes);
        Ok::<_, JournalError>(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    failed.map(|()| found)
}

/// Events as values.
pub(super) fn query(journal: &Reader, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
    each(journal, query, |entry| {
        let draft = EventDraft::from_body(&entry.body)
            .map_err(|error| StoreError::Damaged(format!("event {} cannot be read: {error}", entry.seq)))?;
        let (prev_hash, hash) = (chain::to_hex(&entry.prev), chain::to_hex(&entry.hash));
        Ok(Event { seq: entry.seq, prev_hash, hash, draft })
    })
}

/// Events as lines of an export.
pub(super) fn lines(journal: &Reader, query: &EventQuery) -> Result<Vec<EventLine>, StoreError> {
    each(journal, query, |entry| {
        Ok(EventLine { seq: entry.seq, json: splice(&entry.body, entry.seq, &entry.prev, &entry.hash) })
    })
}

/// Puts the chain's members into a body, where [`Event`] writes them. Quotes inside a JSON string are escaped, so
/// the text that is looked for can only be the end of `metadata`.
fn splice(body: &str, seq: i64, prev: &chain::Hash, hash: &chain::Hash) -> String {
    let members = format!(
        "\"seq\":{seq},\"prev_hash\":\"{}\",\"hash\":\"{}\"",
        chain::to_hex(prev),
        chain::to_hex(hash)
    );
    match body.split_once("},\"call_id\":") {
        Some((before, after)) => format!("{before}}},{members},\"call_id\":{after}"),
        None => match body.strip_suffix('}') {
            Some("{") | None => format!("{{{members}}}"),
            Some(rest) => format!("{rest},{members}}}"),
        },
    }
}
