//! Reading the chain: queries, the lines of an export, and verification.

use crate::{
    model::{Event, EventDraft},
    store::{BadRecord, ChainReport, EventLine, EventQuery, StoreError, chain},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};
use serde::Deserialize;
use std::borrow::Cow;

/// Rows that one read transaction of a verification takes, so that a long one does not hold back the
/// checkpoint of the WAL.
const PAGE: i64 = 4_096;

/// Builds the statement of a query; one index is chosen by hand, since SQLite does not know which
/// column tells most apart.
fn select(query: &EventQuery) -> (String, Vec<Value>) {
    let mut conditions: Vec<(&str, &str, Value)> = Vec::new();
    let text = |value: &str| Value::from(value.to_owned());
    if let Some(call) = &query.call_id {
        conditions.push(("call_id = ?", "events_call", text(call)));
    }
    if let Some(approval) = &query.approval_id {
        conditions.push(("approval_id = ?", "events_approval", text(approval)));
    }
    if let Some(trace) = &query.trace_id {
        conditions.push(("trace_id = ?", "events_trace", Value::Blob(trace.bytes().to_vec())));
    }
    if let Some(workflow) = &query.workflow_id {
        conditions.push(("workflow_id = ?", "events_workflow", text(workflow)));
    }
    if let Some(policy) = &query.policy_id {
        conditions.push(("policy_id = ?", "events_policy", text(policy)));
    }
    if let Some(agent) = &query.agent_id {
        conditions.push(("agent_id = ?", "events_agent", text(agent)));
    }
    if let Some(kind) = query.event_type {
        conditions.push(("event_type = ?", "", text(kind.as_str())));
    }
    if let Some(decision) = query.decision {
        conditions.push(("decision = ?", "", text(decision.as_str())));
    }
    if let Some(tool) = &query.tool {
        conditions.push(("tool = ?", "", text(tool)));
    }
    let index = conditions.iter().map(|c| c.1).find(|name| !name.is_empty());
    // With an index by name its own rows are in the order of `seq`; by time they would have to be sorted.
    let mut sql = "SELECT seq, prev_hash, hash, body FROM events".to_owned();
    if let Some(index) = index {
        sql.push_str(" INDEXED BY ");
        sql.push_str(index);
    }
    sql.push_str(" WHERE 1");
    let mut values = Vec::with_capacity(conditions.len() + 4);
    for (condition, _, value) in conditions {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    }
    if let Some(after) = query.after_seq {
        sql.push_str(" AND seq > ?");
        values.push(Value::from(after));
    }
    if let Some(until) = query.until_seq {
        sql.push_str(" AND seq <= ?");
        values.push(Value::from(until));
    }
    if let Some(since) = query.since {
        sql.push_str(" AND timestamp >= ?");
        values.push(Value::from(ceiling(since)));
    }
    if let Some(until) = query.until {
        sql.push_str(" AND timestamp < ?");
        values.push(Value::from(ceiling(until)));
    }
    sql.push_str(if query.newest_first { " ORDER BY seq DESC" } else { " ORDER BY seq" });
    if query.limit > 0 {
        sql.push_str(" LIMIT ?");
        values.push(Value::from(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    }
    (sql, values)
}

/// Columns hold whole microseconds, cut off; a bound between two of them means the later one.
fn ceiling(time: Timestamp) -> i64 {
    let micros = time.as_microsecond();
    micros + i64::from(time.as_nanosecond() > i128::from(micros) * 1_000)
}

fn each<T>(
    connection: &Connection,
    query: &EventQuery,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let (sql, values) = select(query);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Events as values.
pub(super) fn query(connection: &Connection, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
    each(connection, query, |row| {
        let seq: i64 = row.get(0)?;
        let body = row.get_ref(3)?.as_str().unwrap_or_default();
        let draft = EventDraft::from_body(body)
            .map_err(|e| StoreError::Damaged(format!("event {seq} cannot be read: {e}")))?;
        Ok(Event { seq, prev_hash: chain::to_hex(&row.get(1)?), hash: chain::to_hex(&row.get(2)?), draft })
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

/// What the indexed columns are copies of.
#[derive(Deserialize)]
struct Copies<'b> {
    #[serde(borrow)]
    event_type: Cow<'b, str>,
    timestamp: Timestamp,
    trace_id: Option<crate::model::TraceId>,
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

const COPIES: &[&str] =
    &["workflow_id", "agent_id", "policy_id", "decision", "tool", "call_id", "approval_id"];

/// Recomputes the chain up to the head at the start. Records are never changed, so that reading them
/// page by page sees what one long snapshot would.
pub(super) fn verify(connection: &Connection) -> Result<ChainReport, StoreError> {
    let head: Option<(i64, chain::Hash)> = connection
        .prepare_cached("SELECT seq, hash FROM chain_head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    // The head may have moved on between the two reads, and then `last` is the newer one.
    let mut report = ChainReport { records: 0, head: chain::to_hex(&chain::GENESIS), bad: None };
    let mut at = (0_i64, chain::GENESIS);
    loop {
        let before = at.0;
        if let Some(bad) = verify_page(connection, &mut at, last, &mut report.records)? {
            report.bad = Some(bad);
            break;
        }
        if at.0 == before || at.0 >= last {
            break;
        }
    }
    report.head = chain::to_hex(&at.1);
    if report.bad.is_none() {
        report.bad = match head {
            Some((seq, _)) if seq > at.0 => Some(missing(at.0 + 1)),
            Some((seq, hash)) if seq == at.0 && hash != at.1 => Some(BadRecord {
                seq,
                problem: "its hash is not the one noted as the chain's head".to_owned(),
            }),
            None if at.0 > 0 => {
                Some(BadRecord { seq: at.0, problem: "the note of the chain's head is missing".to_owned() })
            }
            Some(_) | None => None,
        };
    }
    Ok(report)
}

fn missing(seq: i64) -> BadRecord {
    BadRecord { seq, problem: "the record is missing".to_owned() }
}

fn verify_page(
    connection: &Connection,
    at: &mut (i64, chain::Hash),
    last: i64,
    records: &mut u64,
) -> Result<Option<BadRecord>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, prev_hash, hash, body, event_type, timestamp, trace_id, workflow_id, agent_id, policy_id,
           decision, tool, call_id, approval_id
         FROM events NOT INDEXED WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query((if at.0 == 0 { i64::MIN } else { at.0 }, last, PAGE))?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        if seq != at.0 + 1 {
            return Ok(Some(if seq > at.0 {
                missing(at.0 + 1)
            } else {
                BadRecord { seq, problem: "it stands before the first record".to_owned() }
            }));
        }
        match verify_row(row, seq, &at.1)? {
            Ok(hash) => *at = (seq, hash),
            Err(problem) => return Ok(Some(BadRecord { seq, problem })),
        }
        *records += 1;
    }
    Ok(None)
}

/// The record's hash, or what is wrong with it.
fn verify_row(
    row: &Row<'_>,
    seq: i64,
    prev: &chain::Hash,
) -> Result<Result<chain::Hash, String>, StoreError> {
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
    let copies: Copies<'_> = match serde_json::from_str(body) {
        Ok(copies) => copies,
        Err(error) => return Ok(Err(format!("its body is not an event: {error}"))),
    };
    let differs = |name: &str| Ok(Err(format!("the indexed copy `{name}` is not what the body says")));
    if row.get_ref(4)?.as_str().ok() != Some(&*copies.event_type) {
        return differs("event_type");
    }
    if row.get_ref(5)?.as_i64().ok() != Some(copies.timestamp.as_microsecond()) {
        return differs("timestamp");
    }
    let trace = copies.trace_id.as_ref().map(crate::model::TraceId::bytes);
    if row.get_ref(6)?.as_blob_or_null().ok().flatten() != trace.as_ref().map(|t| &t[..]) {
        return differs("trace_id");
    }
    let texts = [
        &copies.workflow_id,
        &copies.agent_id,
        &copies.policy_id,
        &copies.decision,
        &copies.tool,
        &copies.call_id,
        &copies.approval_id,
    ];
    for (index, (name, expected)) in COPIES.iter().zip(texts).enumerate() {
        if row.get_ref(7 + index)?.as_str_or_null().ok().flatten() != expected.as_deref() {
            return differs(name);
        }
    }
    Ok(Ok(hash))
}
