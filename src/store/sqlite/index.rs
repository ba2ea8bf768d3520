//! By what events are found. Records are appended in blocks of a fixed number of `seq`s, and for each block it is kept
//! which values occur in it: a value that stands in every record costs one row a block instead of one a record.
//! The block at the end of the chain is not indexed yet, and is looked through.

use crate::{
    model::{EventDraft, TraceId},
    store::{EventQuery, StoreError},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, collections::BTreeMap};

/// Records in a block.
pub(super) const BLOCK: i64 = 64;

/// Which block a record belongs to.
pub(super) fn block_of(seq: i64) -> i64 {
    (seq - 1).div_euclid(BLOCK)
}

/// The `seq` before a block's first record.
pub(super) fn before(block: i64) -> i64 {
    block * BLOCK
}

/// The members of an event that it can be found by, in its body's own text.
#[derive(Deserialize)]
pub(super) struct Members<'b> {
    #[serde(borrow)]
    event_type: Cow<'b, str>,
    timestamp: Timestamp,
    trace_id: Option<TraceId>,
    #[serde(borrow)]
    workflow_id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    agent_id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    policy_id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    decision: Option<Cow<'b, str>>,
    #[serde(borrow)]
    tool: Option<Cow<'b, str>>,
    #[serde(borrow)]
    call_id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    approval_id: Option<Cow<'b, str>>,
}

impl<'b> Members<'b> {
    /// Of a stored body; the error says what is wrong with it.
    pub(super) fn read(body: &'b str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| format!("its body is not an event: {error}"))
    }

    /// Whether a query asks for it.
    pub(super) fn fit(&self, query: &EventQuery) -> bool {
        let same = |wanted: Option<&str>, own: Option<&str>| wanted.is_none_or(|wanted| own == Some(wanted));
        same(query.event_type.map(|kind| kind.as_str()), Some(&self.event_type))
            && same(query.workflow_id.as_deref(), self.workflow_id.as_deref())
            && same(query.agent_id.as_deref(), self.agent_id.as_deref())
            && same(query.policy_id.as_deref(), self.policy_id.as_deref())
            && same(query.decision.map(|decision| decision.as_str()), self.decision.as_deref())
            && same(query.tool.as_deref(), self.tool.as_deref())
            && same(query.call_id.as_deref(), self.call_id.as_deref())
            && same(query.approval_id.as_deref(), self.approval_id.as_deref())
            && query.trace_id.is_none_or(|wanted| self.trace_id == Some(wanted))
            && query.since.is_none_or(|since| self.timestamp >= since)
            && query.until.is_none_or(|until| self.timestamp < until)
    }

    pub(super) fn terms(&self) -> Terms<'_> {
        Terms {
            at: self.timestamp.as_microsecond(),
            trace: self.trace_id.as_ref().map(TraceId::bytes),
            texts: [
                (EVENT_TYPE, Some(&self.event_type)),
                (WORKFLOW, self.workflow_id.as_deref()),
                (AGENT, self.agent_id.as_deref()),
                (POLICY, self.policy_id.as_deref()),
                (DECISION, self.decision.as_deref()),
                (TOOL, self.tool.as_deref()),
                (CALL, self.call_id.as_deref()),
                (APPROVAL, self.approval_id.as_deref()),
            ],
        }
    }
}

const EVENT_TYPE: u8 = b'e';
const TRACE: u8 = b't';
const WORKFLOW: u8 = b'w';
const AGENT: u8 = b'a';
const POLICY: u8 = b'p';
const DECISION: u8 = b'd';
const TOOL: u8 = b'o';
const CALL: u8 = b'c';
const APPROVAL: u8 = b'q';

/// What a kind is called in an event.
fn word(kind: u8) -> &'static str {
    match kind {
        EVENT_TYPE => "event_type",
        TRACE => "trace_id",
        WORKFLOW => "workflow_id",
        AGENT => "agent_id",
        POLICY => "policy_id",
        DECISION => "decision",
        TOOL => "tool",
        CALL => "call_id",
        _ => "approval_id",
    }
}

/// Everything that one event is found by.
pub(super) struct Terms<'e> {
    at: i64,
    trace: Option<[u8; 16]>,
    texts: [(u8, Option<&'e str>); 8],
}

impl<'e> Terms<'e> {
    pub(super) fn of(draft: &'e EventDraft) -> Self {
        Self {
            at: draft.timestamp.as_microsecond(),
            trace: draft.trace_id.as_ref().map(TraceId::bytes),
            texts: [
                (EVENT_TYPE, Some(draft.event_type.as_str())),
                (WORKFLOW, draft.workflow_id.as_deref()),
                (AGENT, draft.agent_id.as_deref()),
                (POLICY, draft.policy_id.as_deref()),
                (DECISION, draft.decision.map(|decision| decision.as_str())),
                (TOOL, draft.tool.as_deref()),
                (CALL, draft.call_id.as_deref()),
                (APPROVAL, draft.approval_id.as_deref()),
            ],
        }
    }

    fn each(&self, key: &mut Vec<u8>, mut with: impl FnMut(&[u8])) {
        if let Some(trace) = &self.trace {
            write_key(key, TRACE, &Term::Bytes(trace));
            with(key);
        }
        for (kind, text) in &self.texts {
            if let Some(text) = text {
                write_key(key, *kind, &Term::Text(text));
                with(key);
            }
        }
    }
}

/// A value that is looked for.
enum Term<'t> {
    Text(&'t str),
    Bytes(&'t [u8; 16]),
}

/// Longer texts go by their hash.
const SHORT: usize = 24;

/// No UTF-8 begins with these bytes: a text is never taken for another kind of key.
const BYTES: u8 = 0xfe;
const HASHED: u8 = 0xff;

/// The key of a value. UUIDs go as their bytes, so that those which begin with the time stand side by side.
fn write_key(key: &mut Vec<u8>, kind: u8, term: &Term<'_>) {
    key.clear();
    key.push(kind);
    match term {
        Term::Bytes(bytes) => {
            key.push(BYTES);
            key.extend_from_slice(*bytes);
        }
        Term::Text(text) if text.len() <= SHORT => key.extend_from_slice(text.as_bytes()),
        Term::Text(text) => match uuid_bytes(text) {
            Some(bytes) => {
                key.push(BYTES);
                key.extend_from_slice(&bytes);
            }
            None => {
                key.push(HASHED);
                key.extend(Sha256::digest(text).iter().take(16));
            }
        },
    }
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    // Other spellings of a UUID are other texts.
    let parsed = (text.len() == 36).then(|| uuid::Uuid::try_parse(text).ok()).flatten()?;
    (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then(|| parsed.into_bytes())
}

/// The keys that every record a query asks for has.
pub(super) fn keys_of(query: &EventQuery) -> Vec<Vec<u8>> {
    let trace = query.trace_id.as_ref().map(TraceId::bytes);
    // What tells most apart comes first.
    let terms = [
        (CALL, query.call_id.as_deref().map(Term::Text)),
        (APPROVAL, query.approval_id.as_deref().map(Term::Text)),
        (TRACE, trace.as_ref().map(Term::Bytes)),
        (WORKFLOW, query.workflow_id.as_deref().map(Term::Text)),
        (TOOL, query.tool.as_deref().map(Term::Text)),
        (POLICY, query.policy_id.as_deref().map(Term::Text)),
        (AGENT, query.agent_id.as_deref().map(Term::Text)),
        (DECISION, query.decision.map(|decision| Term::Text(decision.as_str()))),
        (EVENT_TYPE, query.event_type.map(|kind| Term::Text(kind.as_str()))),
    ];
    let mut keys = Vec::new();
    for (kind, term) in terms {
        if let Some(term) = term {
            let mut key = Vec::new();
            write_key(&mut key, kind, &term);
            keys.push(key);
        }
    }
    keys
}

/// What occurs in one block, and in which record first.
#[derive(Debug, Default)]
pub(super) struct Contents {
    keys: BTreeMap<Box<[u8]>, i64>,
    times: Option<(i64, i64)>,
    key: Vec<u8>,
}

impl Contents {
    pub(super) fn add(&mut self, seq: i64, terms: &Terms<'_>) {
        let (first, last) = self.times.unwrap_or((terms.at, terms.at));
        self.times = Some((first.min(terms.at), last.max(terms.at)));
        let Self { keys, key, .. } = self;
        terms.each(key, |key| {
            if !keys.contains_key(key) {
                keys.insert(key.into(), seq);
            }
        });
    }

    fn write(&self, connection: &Connection, block: i64) -> Result<(), StoreError> {
        let mut insert =
            connection.prepare_cached("INSERT OR IGNORE INTO postings (key, block) VALUES (?1, ?2)")?;
        for key in self.keys.keys() {
            insert.execute((key, block))?;
        }
        let (first, last) = self.times.unwrap_or_default();
        let count = i64::try_from(self.keys.len()).unwrap_or(i64::MAX);
        connection
            .prepare_cached("INSERT OR REPLACE INTO blocks (block, first_at, last_at, keys) VALUES (?1, ?2, ?3, ?4)")?
            .execute((block, first, last, count))?;
        Ok(())
    }

    /// Where the index says something else of a block than its records, and what. `found` is how many values the index
    /// has for it.
    pub(super) fn differs(
        &self,
        connection: &Connection,
        block: i64,
        found: i64,
    ) -> Result<Option<(i64, String)>, StoreError> {
        let mut find = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM postings WHERE key = ?1 AND block = ?2)")?;
        for (key, seq) in &self.keys {
            if !find.query_row((key, block), |row| row.get::<_, bool>(0))? {
                let word = word(key.first().copied().unwrap_or_default());
                return Ok(Some((*seq, format!("the index does not find it by `{word}`"))));
            }
        }
        let (first, last) = self.times.unwrap_or_default();
        let count = i64::try_from(self.keys.len()).unwrap_or(i64::MAX);
        let noted: Option<(i64, i64, i64)> = connection
            .prepare_cached("SELECT first_at, last_at, keys FROM blocks WHERE block = ?1")?
            .query_row([block], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let problem = match noted {
            None => "the index has nothing of its block",
            Some((noted_first, noted_last, _)) if (noted_first, noted_last) != (first, last) => {
                "the index has other times for its block: `timestamp`"
            }
            Some((_, _, noted)) if noted != count || found != count => {
                "the index finds records in its block that are not there"
            }
            Some(_) => return Ok(None),
        };
        Ok(Some((before(block) + 1, problem.to_owned())))
    }
}

/// Writes a block's part of the index in the transaction that appends its last record.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The block that was seen from its first record on.
    whole: Option<i64>,
    contents: Contents,
}

impl Index {
    /// Another process may have written records of this block.
    pub(super) fn forget(&mut self) {
        self.whole = None;
    }

    /// Notes a record that was appended.
    pub(super) fn note(
        &mut self,
        connection: &Connection,
        seq: i64,
        terms: &Terms<'_>,
    ) -> Result<(), StoreError> {
        let block = block_of(seq);
        if seq == before(block) + 1 {
            self.whole = Some(block);
            self.contents = Contents::default();
        }
        if self.whole == Some(block) {
            self.contents.add(seq, terms);
        }
        if seq == before(block + 1) {
            if self.whole != Some(block) {
                self.contents = contents(connection, block)?;
            }
            self.contents.write(connection, block)?;
            self.whole = None;
        }
        Ok(())
    }
}

/// What the records of a block say.
fn contents(connection: &Connection, block: i64) -> Result<Contents, StoreError> {
    let mut contents = Contents::default();
    let mut statement =
        connection.prepare_cached("SELECT seq, body FROM events WHERE seq > ?1 AND seq <= ?2")?;
    let mut rows = statement.query((before(block), before(block + 1)))?;
    while let Some(row) = rows.next()? {
        // One that somebody damaged is found by verification, and must not stop the chain.
        let seq = row.get(0)?;
        match Members::read(row.get_ref(1)?.as_str().unwrap_or_default()) {
            Ok(members) => contents.add(seq, &members.terms()),
            Err(error) => tracing::error!(seq, error, "store.record_damaged"),
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_told_apart() {
        let key = |kind, text: &str| {
            let mut key = Vec::new();
            write_key(&mut key, kind, &Term::Text(text));
            key
        };
        let texts = ["", "a", "b", &"x".repeat(24), &"x".repeat(25), &"x".repeat(5_000)];
        let uuids = ["0190aaaa-0000-7000-8000-00000000abcd", "0190AAAA-0000-7000-8000-00000000ABCD"];
        let mut seen = std::collections::BTreeSet::new();
        for kind in [AGENT, TOOL] {
            for text in texts.iter().chain(&uuids) {
                let key = key(kind, text);
                assert!(key.len() <= SHORT + 1, "{text}");
                assert!(seen.insert(key), "{text}");
            }
        }
    }

    #[test]
    fn blocks_have_no_gap() {
        assert_eq!((block_of(1), block_of(BLOCK), block_of(BLOCK + 1)), (0, 0, 1));
        assert_eq!(before(1), BLOCK);
    }
}
