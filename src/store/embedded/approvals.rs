//! Approval records: made, found, changed by compare-and-swap, used once.

use super::writer::{Tx, unwritable};
use crate::{
    admission::{AskHistory, repeat_key},
    model::{AgentId, ApprovalId, ApprovalStatus, EventDraft},
    store::{
        ApprovalBinding, ApprovalFilter, ApprovalHead, ApprovalRecord, ApprovalUpdate, AskLimits, Asked,
        Requirement, StoreError,
    },
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};
use sha2::{Digest as _, Sha256};

/// The key under which the approvals of one call are found, whatever is sent beside its arguments, and under whatever
/// policies.
fn key(binding: &ApprovalBinding) -> Result<[u8; 32], StoreError> {
    let ApprovalBinding { agent, user, workflow, tool, fingerprint, digest: _, call, snapshot: _ } = binding;
    let text = serde_json::to_vec(&(agent, user, workflow, tool, fingerprint, call));
    Ok(Sha256::digest(text.map_err(unwritable)?).into())
}

fn parse(text: &str) -> Result<ApprovalRecord, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Damaged(format!("an approval cannot be read: {e}")))
}

/// One approval.
pub(super) fn get(connection: &Connection, id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT record FROM approvals WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    text.as_deref().map(parse).transpose()
}

/// The newest of this call that fits and has not expired.
fn newest(
    connection: &Connection,
    binding: &ApprovalBinding,
    now: Timestamp,
    fits: impl Fn(&ApprovalRecord) -> bool,
) -> Result<Option<ApprovalRecord>, StoreError> {
    first(connection, "created_at DESC, n DESC", binding, now, fits)
}

fn first(
    connection: &Connection,
    order: &'static str,
    binding: &ApprovalBinding,
    now: Timestamp,
    fits: impl Fn(&ApprovalRecord) -> bool,
) -> Result<Option<ApprovalRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT record FROM approvals WHERE binding = ?1 AND expires_at > ?2 ORDER BY {order}"
    ))?;
    let mut rows = statement.query((key(binding)?, now.as_microsecond()))?;
    while let Some(row) = rows.next()? {
        let record = parse(row.get_ref(0)?.as_str().unwrap_or_default())?;
        if record.binding.same_call(binding) && fits(&record) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The one that a call with this binding has to heed.
pub(super) fn find(
    connection: &Connection,
    binding: &ApprovalBinding,
    needed: &[Requirement],
    now: Timestamp,
) -> Result<Option<ApprovalRecord>, StoreError> {
    let find = |states: &[ApprovalStatus]| {
        newest(connection, binding, now, |record| {
            states.contains(&record.status) && record.is_about(binding, needed)
        })
    };
    if let Some(approved) = find(&[ApprovalStatus::Approved])? {
        return Ok(Some(approved));
    }
    match find(&[ApprovalStatus::Pending, ApprovalStatus::Rejected])? {
        Some(pending) if pending.status == ApprovalStatus::Pending => Ok(Some(pending)),
        // An earlier rejection of exactly this does not hide a later one of the call with something else beside it.
        Some(_) | None => first(connection, "rejected_at DESC, n DESC", binding, now, |record| {
            record.status == ApprovalStatus::Rejected && record.covers(needed)
        }),
    }
}

/// Newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &ApprovalFilter,
) -> Result<Vec<ApprovalRecord>, StoreError> {
    let mut sql = "SELECT record FROM approvals WHERE 1".to_owned();
    let mut values: Vec<Value> = Vec::new();
    if !filter.status.is_empty() {
        sql.push_str(" AND status IN (");
        for (index, status) in filter.status.iter().enumerate() {
            sql.push_str(if index == 0 { "?" } else { ", ?" });
            values.push(Value::from(status.as_str().to_owned()));
        }
        sql.push(')');
    }
    if let Some(agent) = &filter.agent {
        sql.push_str(" AND agent = ?");
        values.push(Value::from(AgentId::as_str(agent).to_owned()));
    }
    if let Some(call) = &filter.call {
        sql.push_str(" AND binding = ?");
        values.push(Value::from(key(call)?.to_vec()));
    }
    if let Some(due) = filter.due {
        sql.push_str(" AND expires_at <= ?");
        values.push(Value::from(due.as_microsecond()));
    }
    sql.push_str(" ORDER BY created_at DESC, n DESC");
    if filter.limit > 0 {
        sql.push_str(" LIMIT ?");
        values.push(Value::from(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(parse(row.get_ref(0)?.as_str().unwrap_or_default())?);
    }
    Ok(records)
}

/// How the newest stand.
pub(super) fn heads(connection: &Connection, limit: usize) -> Result<Vec<ApprovalHead>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, version, status FROM approvals ORDER BY created_at DESC, n DESC LIMIT ?1",
    )?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        let word = row.get_ref(2)?.as_str().unwrap_or_default();
        heads.push(ApprovalHead {
            id: row.get::<_, String>(0)?.into(),
            version: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
            status: ApprovalStatus::parse(word)
                .ok_or_else(|| StoreError::Damaged(format!("`{word}` is no state of an approval")))?,
        });
    }
    Ok(heads)
}

/// Writes a record over the one with its id.
pub(super) fn write(tx: &mut Tx<'_>, record: &ApprovalRecord) -> Result<(), StoreError> {
    let text = serde_json::to_string(record).map_err(unwritable)?;
    tx.connection
        .prepare_cached(
            "INSERT INTO approvals (id, version, status, agent, binding, created_at, expires_at, record, rejected_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, status = excluded.status,
               record = excluded.record, rejected_at = excluded.rejected_at",
        )?
        .execute((
            record.id.as_str(),
            i64::try_from(record.version).unwrap_or(i64::MAX),
            record.status.as_str(),
            record.binding.agent.as_str(),
            key(&record.binding)?,
            record.created_at.as_microsecond(),
            record.expires_at.as_microsecond(),
            text,
            record.rejected_at(),
        ))?;
    tx.approvals_changed = true;
    Ok(())
}

/// Makes a record, or finds the one that is pending; either way the ask counts as a repeat of the call.
pub(super) fn ask(
    tx: &mut Tx<'_>,
    new: &ApprovalRecord,
    events: &[EventDraft],
    limits: &AskLimits,
) -> Result<Asked, StoreError> {
    let now = tx.saw(new.created_at);
    let repeat = repeat_key(&new.binding.agent, &new.binding.call);
    let counted = tx.ledger.state_mut().asked(repeat, now);
    tx.ledger.put(tx.connection, now, counted)?;
    let same = |record: &ApprovalRecord| {
        record.status == ApprovalStatus::Pending && record.is_about(&new.binding, &new.requirements)
    };
    if let Some(record) = newest(tx.connection, &new.binding, new.created_at, same)? {
        return Ok(Asked::Reused(record));
    }
    let mut history = History { connection: tx.connection, agent: &new.binding.agent };
    if let Some(refusal) = limits.refusal(now, &mut history)? {
        return Ok(Asked::Refused(refusal));
    }
    if get(tx.connection, &new.id)?.is_some() {
        return Err(StoreError::Failed(format!("there is an approval `{}` already", new.id)));
    }
    write(tx, new)?;
    for event in events {
        tx.append(event)?;
    }
    Ok(Asked::Made(new.clone()))
}

/// What an agent asked before.
struct History<'h> {
    connection: &'h Connection,
    agent: &'h AgentId,
}

impl History<'_> {
    fn nth(&self, sql: &str, after: i64, nth: usize) -> Result<Option<i64>, StoreError> {
        // Nobody has so many.
        let Ok(nth) = i64::try_from(nth) else { return Ok(None) };
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row((self.agent.as_str(), after, nth), |row| row.get(0))
            .optional()?)
    }
}

impl AskHistory for History<'_> {
    type Error = StoreError;

    fn pending(&mut self, now: i64) -> Result<usize, StoreError> {
        let sql =
            "SELECT COUNT(*) FROM approvals WHERE status = 'pending' AND agent = ?1 AND expires_at > ?2";
        let pending: i64 =
            self.connection.prepare_cached(sql)?.query_row((self.agent.as_str(), now), |row| row.get(0))?;
        Ok(usize::try_from(pending).unwrap_or(usize::MAX))
    }

    fn rejected(&mut self, after: i64, nth: usize) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT rejected_at FROM approvals WHERE agent = ?1 AND rejected_at > ?2
                   ORDER BY rejected_at DESC LIMIT 1 OFFSET ?3";
        self.nth(sql, after, nth)
    }

    fn unapproved(&mut self, after: i64, nth: usize) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT created_at FROM approvals WHERE agent = ?1 AND created_at > ?2
                   AND status NOT IN ('approved', 'consumed') ORDER BY created_at DESC LIMIT 1 OFFSET ?3";
        self.nth(sql, after, nth)
    }
}

/// Compare-and-swap by version.
pub(super) fn update(
    tx: &mut Tx<'_>,
    update: &ApprovalUpdate,
    events: &[EventDraft],
) -> Result<bool, StoreError> {
    let Some(mut record) = get(tx.connection, &update.id)? else { return Ok(false) };
    if record.version != update.expected_version {
        return Ok(false);
    }
    record.version += 1;
    record.status = update.status;
    record.answers.clone_from(&update.answers);
    write(tx, &record)?;
    for event in events {
        tx.append(event)?;
    }
    Ok(true)
}

/// Counts up with every transaction that changed an approval, in any process.
pub(super) fn generation(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection
        .prepare_cached("SELECT generation FROM approvals_generation")?
        .query_row([], |row| row.get(0))?)
}
