//! Reading the chain: queries, the lines of an export, and verification.

use super::{
    index::{self, BLOCK, Contents, Members, Wanted},
    kept::Inventory,
};
use crate::{
    journal,
    model::{Event, EventDraft},
    store::{BadRecord, ChainReport, EventLine, EventQuery, StoreError, chain},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row};

/// Rows that one read transaction of a verification takes, so that a long one does not hold back the
/// checkpoint of the WAL. A whole number of blocks.
const PAGE: i64 = 64 * BLOCK;

/// What a query asks for, read in its order from one state of the database.
fn each<T>(
    connection: &Connection,
    query: &EventQuery,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    // Inside the writing transaction that is the state already.
    let _snapshot = if connection.is_autocommit() { Some(connection.unchecked_transaction()?) } else { None };
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    let mut reading = Reading {
        query,
        asked: query.wanted(),
        statement: connection.prepare_cached(if query.newest_first {
            "SELECT seq, prev_hash, hash, body FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq DESC"
        } else {
            "SELECT seq, prev_hash, hash, body FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq"
        })?,
        read,
        after: query.after_seq.unwrap_or(0).max(0),
        until: query.until_seq.unwrap_or(last).min(last),
        found: Vec::new(),
        bytes: 0,
    };
    let Some(wanted) = Wanted::of(query) else {
        reading.span(0, last)?;
        return Ok(reading.found);
    };
    // Of the last block only its records know what is in it.
    let tail = last.div_euclid(BLOCK);
    if query.newest_first {
        reading.span(index::before(tail), last)?;
    }
    let low = index::block_of(reading.after + 1);
    let high = index::block_of(reading.until).min(tail - 1);
    let mut blocks = connection.prepare_cached(if query.newest_first {
        "SELECT block, first_at, last_at, terms FROM blocks WHERE block >= ?1 AND block <= ?2 ORDER BY block DESC"
    } else {
        "SELECT block, first_at, last_at, terms FROM blocks WHERE block >= ?1 AND block <= ?2 ORDER BY block"
    })?;
    let mut rows = blocks.query((low, high))?;
    while !reading.done()
        && let Some(row) = rows.next()?
    {
        if wanted.in_block(row.get(1)?, row.get(2)?, row.get_ref(3)?.as_blob().unwrap_or_default()) {
            let block: i64 = row.get(0)?;
            reading.span(index::before(block), index::before(block + 1))?;
        }
    }
    if !query.newest_first {
        reading.span(index::before(tail), last)?;
    }
    Ok(reading.found)
}

/// A query being read.
struct Reading<'q, T, R> {
    query: &'q EventQuery,
    asked: journal::index::Wanted,
    statement: CachedStatement<'q>,
    read: R,
    after: i64,
    until: i64,
    found: Vec<T>,
    /// Of the bodies of what was found.
    bytes: usize,
}

impl<T, R: Fn(&Row<'_>) -> Result<T, StoreError>> Reading<'_, T, R> {
    fn done(&self) -> bool {
        full(self.query, self.found.len(), self.bytes)
    }

    /// Takes what fits of the records between two `seq`s.
    fn span(&mut self, low: i64, high: i64) -> Result<(), StoreError> {
        let mut rows = self.statement.query((low.max(self.after), high.min(self.until)))?;
        while !full(self.query, self.found.len(), self.bytes)
            && let Some(row) = rows.next()?
        {
            let body = row.get_ref(3)?.as_str().unwrap_or_default();
            let members = journal::index::Members::read(body).map_err(|error| damaged(row, &error))?;
            if self.asked.fit(&members) {
                self.bytes += body.len();
                self.found.push((self.read)(row)?);
            }
        }
        Ok(())
    }
}

fn full(query: &EventQuery, found: usize, bytes: usize) -> bool {
    (query.limit > 0 && found >= query.limit) || (query.most_bytes > 0 && bytes >= query.most_bytes)
}

fn damaged(row: &Row<'_>, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("event {} cannot be read: {error}", row.get::<_, i64>(0).unwrap_or_default()))
}

/// Events as values.
pub(super) fn query(connection: &Connection, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
    each(connection, query, |row| {
        let body = row.get_ref(3)?.as_str().unwrap_or_default();
        let draft = EventDraft::from_body(body).map_err(|error| damaged(row, &error))?;
        let (prev, hash) = (chain::to_hex(&row.get(1)?), chain::to_hex(&row.get(2)?));
        Ok(Event { seq: row.get(0)?, prev_hash: prev, hash, draft })
    })
}

/// Events as lines of an export.
pub(super) fn lines(connection: &Connection, query: &EventQuery) -> Result<Vec<EventLine>, StoreError> {
    each(connection, query, |row| {
        let seq: i64 = row.get(0)?;
        let body = row.get_ref(3)?.as_str().unwrap_or_default();
        let (prev, hash): (chain::Hash, chain::Hash) = (row.get(1)?, row.get(2)?);
        Ok(EventLine { seq, json: splice(body, seq, &prev, &hash) })
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

/// Recomputes the chain and its index up to the head at the start. Records are never changed, so that reading them
/// page by page sees what one long snapshot would.
pub(super) fn verify(connection: &Connection) -> Result<ChainReport, StoreError> {
    let head: Option<(i64, chain::Hash)> = connection
        .prepare_cached("SELECT seq, hash FROM ledger ORDER BY n DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    // The head may have moved on between the two reads, and then `last` is the newer one.
    // Read after the last record that is looked at: what it refers to was kept before it.
    let kept = Inventory::read(connection)?;
    let mut check = Check {
        connection,
        last,
        at: (0, chain::GENESIS),
        records: 0,
        contents: Contents::default(),
        kept: &kept,
    };
    let mut bad = None;
    while bad.is_none() {
        let before = check.at.0;
        bad = check.page()?;
        if check.at.0 == before || check.at.0 >= last {
            break;
        }
    }
    let (at, hash) = check.at;
    let bad = bad.or_else(|| match head {
        Some((seq, _)) if seq > at => Some(missing(at + 1)),
        Some((seq, noted)) if seq == at && noted != hash => {
            Some(BadRecord { seq, problem: "its hash is not the one noted as the chain's head".to_owned() })
        }
        None if at > 0 => {
            Some(BadRecord { seq: at, problem: "the note of the chain's head is missing".to_owned() })
        }
        Some(_) | None => None,
    });
    let records = check.records;
    let bad = bad.or_else(|| kept.damaged().map(|problem| BadRecord { seq: 0, problem }));
    Ok(ChainReport { records, head: chain::to_hex(&hash), bad })
}

fn missing(seq: i64) -> BadRecord {
    BadRecord { seq, problem: "the record is missing".to_owned() }
}

/// A verification under way.
struct Check<'c> {
    connection: &'c Connection,
    last: i64,
    at: (i64, chain::Hash),
    records: u64,
    /// Of the block that is being read.
    contents: Contents,
    /// What records refer to.
    kept: &'c Inventory,
}

impl Check<'_> {
    fn page(&mut self) -> Result<Option<BadRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, prev_hash, hash, body FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        )?;
        let from = if self.at.0 == 0 { i64::MIN } else { self.at.0 };
        let mut rows = statement.query((from, self.last, PAGE))?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            if seq != self.at.0 + 1 {
                return Ok(Some(if seq > self.at.0 {
                    missing(self.at.0 + 1)
                } else {
                    BadRecord { seq, problem: "it stands before the first record".to_owned() }
                }));
            }
            match self.row(row, seq)? {
                Ok(hash) => self.at = (seq, hash),
                Err(problem) => return Ok(Some(BadRecord { seq, problem })),
            }
            self.records += 1;
            let block = index::block_of(seq);
            if seq == index::before(block + 1) {
                let contents = std::mem::take(&mut self.contents);
                if let Some((seq, problem)) = contents.differs(self.connection, block)? {
                    return Ok(Some(BadRecord { seq, problem }));
                }
            }
        }
        Ok(None)
    }

    /// The record's hash, or what is wrong with it.
    fn row(&mut self, row: &Row<'_>, seq: i64) -> Result<Result<chain::Hash, String>, StoreError> {
        let prev = &self.at.1;
        if row.get_ref(1)?.as_blob().unwrap_or_default() != prev {
            return Ok(Err("its prev_hash is not the hash of the record before".to_owned()));
        }
        let Ok(body) = row.get_ref(3)?.as_str() else {
            return Ok(Err("its body is not text".to_owned()));
        };
        let hash = chain::link(prev, seq, body);
        if row.get_ref(2)?.as_blob().unwrap_or_default() != hash {
            return Ok(Err("its hash is not that of its body".to_owned()));
        }
        let members = match Members::read(body) {
            Ok(members) => members,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(problem) = self.kept.problem(members.event_type(), body) {
            return Ok(Err(problem));
        }
        self.contents.add(seq, &members.terms());
        Ok(Ok(hash))
    }
}
