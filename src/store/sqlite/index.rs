//! By what events are found. Records are appended in blocks of a fixed number of `seq`s, and one row a block keeps the
//! fingerprints of all values that occur in it: a commit must not touch a page for every value of every record. A query
//! reads these rows in its order, and the records of the blocks that can have what it asks for. The block at the end of
//! the chain is not indexed yet, and is looked through.

use crate::{
    model::{EventDraft, TraceId},
    store::{EventQuery, Pattern, StoreError},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
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

    /// Its type's word.
    pub(super) fn event_type(&self) -> &str {
        &self.event_type
    }

    pub(super) fn terms(&self) -> Terms<'_> {
        Terms {
            at: self.timestamp.as_microsecond(),
            trace: self.trace_id.as_ref().map(TraceId::bytes),
            texts: [
                (Kind::EventType, Some(&self.event_type)),
                (Kind::Workflow, self.workflow_id.as_deref()),
                (Kind::Agent, self.agent_id.as_deref()),
                (Kind::Policy, self.policy_id.as_deref()),
                (Kind::Decision, self.decision.as_deref()),
                (Kind::Tool, self.tool.as_deref()),
                (Kind::Call, self.call_id.as_deref()),
                (Kind::Approval, self.approval_id.as_deref()),
            ],
        }
    }
}

/// What a value is of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EventType,
    Trace,
    Workflow,
    Agent,
    Policy,
    Decision,
    Tool,
    Call,
    Approval,
}

impl Kind {
    /// Stands in fingerprints, and so in the file.
    fn number(self) -> u8 {
        match self {
            Self::EventType => 1,
            Self::Trace => 2,
            Self::Workflow => 3,
            Self::Agent => 4,
            Self::Policy => 5,
            Self::Decision => 6,
            Self::Tool => 7,
            Self::Call => 8,
            Self::Approval => 9,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::EventType => "event_type",
            Self::Trace => "trace_id",
            Self::Workflow => "workflow_id",
            Self::Agent => "agent_id",
            Self::Policy => "policy_id",
            Self::Decision => "decision",
            Self::Tool => "tool",
            Self::Call => "call_id",
            Self::Approval => "approval_id",
        }
    }

    /// FNV-1a, folded. Values that share one cost a look at a block too many and nothing else: a record is always held
    /// against the query itself.
    fn fingerprint(self, value: &[u8]) -> u32 {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = value.iter().fold(step(0xcbf2_9ce4_8422_2325, &self.number()), step);
        ((hash >> 32) ^ (hash & 0xffff_ffff)) as u32
    }
}

/// Everything that one event is found by.
pub(super) struct Terms<'e> {
    at: i64,
    trace: Option<[u8; 16]>,
    texts: [(Kind, Option<&'e str>); 8],
}

impl<'e> Terms<'e> {
    pub(super) fn of(draft: &'e EventDraft) -> Self {
        Self {
            at: draft.timestamp.as_microsecond(),
            trace: draft.trace_id.as_ref().map(TraceId::bytes),
            texts: [
                (Kind::EventType, Some(draft.event_type.as_str())),
                (Kind::Workflow, draft.workflow_id.as_deref()),
                (Kind::Agent, draft.agent_id.as_deref()),
                (Kind::Policy, draft.policy_id.as_deref()),
                (Kind::Decision, draft.decision.map(|decision| decision.as_str())),
                (Kind::Tool, draft.tool.as_deref()),
                (Kind::Call, draft.call_id.as_deref()),
                (Kind::Approval, draft.approval_id.as_deref()),
            ],
        }
    }

    fn each(&self) -> impl Iterator<Item = (Kind, u32)> {
        let trace = self.trace.iter().map(|trace| (Kind::Trace, Kind::Trace.fingerprint(trace)));
        let texts = self
            .texts
            .iter()
            .filter_map(|(kind, text)| text.map(|text| (*kind, kind.fingerprint(text.as_bytes()))));
        trace.chain(texts)
    }
}

/// What a block must have to hold what a query asks for.
pub(super) struct Wanted {
    fingerprints: Vec<u32>,
    since: i64,
    until: i64,
}

impl Wanted {
    /// `None`: every block can.
    pub(super) fn of(query: &EventQuery) -> Option<Self> {
        let trace = query.trace_id.as_ref().map(TraceId::bytes);
        // A glob is held against each record, and so is a person.
        let exact = |pattern: &Option<Pattern>| match pattern {
            Some(Pattern::Exact(text)) => Some(text.clone()),
            Some(Pattern::Glob(_)) | None => None,
        };
        let [workflow, tool, policy, agent] =
            [&query.workflow_id, &query.tool, &query.policy_id, &query.agent_id].map(exact);
        let texts = [
            (Kind::Call, query.call_id.as_deref()),
            (Kind::Approval, query.approval_id.as_deref()),
            (Kind::Workflow, workflow.as_deref()),
            (Kind::Tool, tool.as_deref()),
            (Kind::Policy, policy.as_deref()),
            (Kind::Agent, agent.as_deref()),
            (Kind::Decision, query.decision.map(|decision| decision.as_str())),
            (Kind::EventType, query.event_type.map(|kind| kind.as_str())),
        ];
        let terms = Terms { at: 0, trace, texts };
        let fingerprints: Vec<u32> = terms.each().map(|(_, fingerprint)| fingerprint).collect();
        if fingerprints.is_empty() && query.since.is_none() && query.until.is_none() {
            return None;
        }
        // Both ends are rounded outwards: the record's own time decides.
        let since = query.since.map_or(i64::MIN, Timestamp::as_microsecond);
        let until = query.until.map_or(i64::MAX, Timestamp::as_microsecond);
        Some(Self { fingerprints, since, until })
    }

    /// Whether a block can hold it.
    pub(super) fn in_block(&self, first_at: i64, last_at: i64, terms: &[u8]) -> bool {
        let chunks = terms.as_chunks::<4>().0;
        first_at <= self.until
            && last_at >= self.since
            && self
                .fingerprints
                .iter()
                .all(|wanted| chunks.binary_search_by_key(wanted, |chunk| u32::from_le_bytes(*chunk)).is_ok())
    }
}

/// What occurs in one block, and in which record first.
#[derive(Debug, Default)]
pub(super) struct Contents {
    terms: BTreeMap<u32, (i64, Kind)>,
    times: Option<(i64, i64)>,
}

impl Contents {
    pub(super) fn add(&mut self, seq: i64, terms: &Terms<'_>) {
        let (first, last) = self.times.unwrap_or((terms.at, terms.at));
        self.times = Some((first.min(terms.at), last.max(terms.at)));
        for (kind, fingerprint) in terms.each() {
            self.terms.entry(fingerprint).or_insert((seq, kind));
        }
    }

    fn write(&self, connection: &Connection, block: i64) -> Result<(), StoreError> {
        let (first, last) = self.times.unwrap_or_default();
        let terms: Vec<u8> = self.terms.keys().flat_map(|term| term.to_le_bytes()).collect();
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO blocks (block, first_at, last_at, terms) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((block, first, last, terms))?;
        Ok(())
    }

    /// Where the index says something else of a block than its records do, and what.
    pub(super) fn differs(
        &self,
        connection: &Connection,
        block: i64,
    ) -> Result<Option<(i64, String)>, StoreError> {
        let first_record = before(block) + 1;
        let kept: Option<(i64, i64, Vec<u8>)> = connection
            .prepare_cached("SELECT first_at, last_at, terms FROM blocks WHERE block = ?1")?
            .query_row([block], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((first_at, last_at, terms)) = kept else {
            return Ok(Some((first_record, "the index has nothing of its block".to_owned())));
        };
        if Some((first_at, last_at)) != self.times {
            return Ok(Some((first_record, "the index has another `timestamp` for its block".to_owned())));
        }
        let found = |term: &u32| {
            terms.as_chunks::<4>().0.binary_search_by_key(term, |chunk| u32::from_le_bytes(*chunk)).is_ok()
        };
        if let Some((seq, kind)) =
            self.terms.iter().filter(|(term, _)| !found(term)).map(|(_, place)| *place).min_by_key(|p| p.0)
        {
            return Ok(Some((seq, format!("the index does not find it by `{}`", kind.word()))));
        }
        if terms.len() != self.terms.len() * 4 {
            let problem = "the index finds records in its block that are not there";
            return Ok(Some((first_record, problem.to_owned())));
        }
        Ok(None)
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
    fn blocks_have_no_gap() {
        assert_eq!((block_of(1), block_of(BLOCK), block_of(BLOCK + 1)), (0, 0, 1));
        assert_eq!(before(1), BLOCK);
    }

    /// They stand in files: these figures are FNV-1a's and may not change.
    #[test]
    fn fingerprints_stay_as_they_are() {
        assert_eq!(Kind::Agent.fingerprint(b"planner-01"), 0x9342_acaa);
        assert_ne!(Kind::Agent.fingerprint(b"a"), Kind::Tool.fingerprint(b"a"));
        assert_ne!(Kind::Agent.fingerprint(b"a"), Kind::Agent.fingerprint(b"b"));
    }
}
