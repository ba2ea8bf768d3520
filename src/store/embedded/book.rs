//! Approvals as they are read: what one says is read from its records in the journal; the projection says only where they
//! are, and by what an approval is found.

use crate::{
    evidence,
    journal::{
        JournalError, Place, Range, Reader,
        index::{Field, Pattern, Wanted},
    },
    model::{ApprovalId, ApprovalStatus, EventDraft, GrantId},
    store::{
        ApprovalAnswer, ApprovalBinding, ApprovalFilter, ApprovalHead, ApprovalRecord, Requirement,
        StoreError,
    },
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::ops::ControlFlow;

/// The key under which the approvals of one call are found, whatever is sent beside its arguments, and under whatever
/// policies.
fn key(binding: &ApprovalBinding) -> Result<[u8; 32], StoreError> {
    let ApprovalBinding { agent, user, workflow, tool, fingerprint, digest: _, call, snapshot: _ } = binding;
    let text = serde_json::to_vec(&(agent, user, workflow, tool, fingerprint, call));
    Ok(Sha256::digest(text.map_err(unwritable)?).into())
}

fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Failed(format!("the record cannot be written as JSON: {error}"))
}

/// What a later record says of an approval.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    version: u64,
    status: ApprovalStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<ApprovalAnswer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    covered_by: Option<GrantId>,
}

/// What an event makes of its approval, as it stood before; `None` where it says nothing of one.
pub(super) fn changed(
    event: &EventDraft,
    before: impl FnOnce(&ApprovalId) -> Result<Option<ApprovalRecord>, StoreError>,
) -> Result<Option<ApprovalRecord>, StoreError> {
    let Some((id, told)) = evidence::approval_of(event) else { return Ok(None) };
    let damaged = |problem: String| {
        StoreError::Damaged(format!("a record of approval `{id}` cannot be read: {problem}"))
    };
    let text = told.to_string();
    if told.get("binding").is_some() {
        let record: ApprovalRecord =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        return match record.id == *id {
            true => Ok(Some(record)),
            false => Err(damaged(format!("it is of `{}`", record.id))),
        };
    }
    let change: Change = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    // Its first record went with an old segment.
    let Some(mut record) = before(id)? else { return Ok(None) };
    if change.version != record.version + 1 {
        return Err(damaged(format!("it makes version {} of version {}", change.version, record.version)));
    }
    record.version = change.version;
    record.status = change.status;
    if let Some(answers) = change.answers {
        record.answers = answers;
    }
    record.covered_by = change.covered_by.or(record.covered_by);
    Ok(Some(record))
}

/// A record's place in the chain, its segment, and its offset there.
type Told = (i64, i64, u64);

/// What the projection says of one approval.
struct Listed {
    version: u64,
    status: String,
    told: Vec<Told>,
}

/// Approvals as they stand: the projection finds them, the journal says what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Book<'b> {
    pub(super) connection: &'b Connection,
    pub(super) journal: &'b Reader,
}

impl Book<'_> {
    fn listed(&self, id: &ApprovalId) -> Result<Option<Listed>, StoreError> {
        let sql = "SELECT version, status, records FROM approvals WHERE id = ?1";
        let row: Option<(i64, String, String)> = self
            .connection
            .prepare_cached(sql)?
            .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((version, status, records)) = row else { return Ok(None) };
        let told = serde_json::from_str(&records).map_err(|_| differs(id, "where its records are"))?;
        Ok(Some(Listed { version: u64::try_from(version).unwrap_or(0), status, told }))
    }

    /// One approval, read from the records that the projection names and held against what it says.
    pub(super) fn get(&self, id: &ApprovalId) -> Result<Option<ApprovalRecord>, StoreError> {
        match self.listed(id)? {
            Some(listed) => self.read(id, &listed).map(Some),
            None => Ok(None),
        }
    }

    /// Where the records of an approval begin, as the projection says: later ones are all that the chain can say of it. An
    /// edit that names a later record makes it say less than is held against it, and never more.
    pub(super) fn first_seq(&self, id: &ApprovalId) -> Result<i64, StoreError> {
        let listed = match self.listed(id) {
            Err(StoreError::Unverified(_)) => None,
            listed => listed?,
        };
        let first = listed.and_then(|listed| listed.told.iter().map(|(seq, ..)| *seq).min());
        Ok(first.unwrap_or(1).max(1))
    }

    fn read(&self, id: &ApprovalId, listed: &Listed) -> Result<ApprovalRecord, StoreError> {
        self.read_told(id, listed).map_err(|error| match error {
            StoreError::Damaged(problem) => StoreError::Unverified(problem),
            other => other,
        })
    }

    fn read_told(&self, id: &ApprovalId, listed: &Listed) -> Result<ApprovalRecord, StoreError> {
        let mut record: Option<ApprovalRecord> = None;
        for (seq, segment, offset) in &listed.told {
            let place = Place { segment: *segment, offset: *offset };
            let entry = self.journal.record_at(place, *seq).map_err(|error| match error {
                // There is no such segment: nobody but an editor would name one.
                JournalError::Failed { .. } => differs(id, "where its records are"),
                JournalError::Full | JournalError::Locked | JournalError::Damaged(_) => error.into(),
            })?;
            let event = EventDraft::from_body(&entry.body)
                .map_err(|error| StoreError::Damaged(format!("record {seq} cannot be read: {error}")))?;
            if event.approval_id.as_ref() != Some(id) {
                return Err(differs(id, "its records"));
            }
            let before = record.take();
            record = changed(&event, |_| Ok(before))?;
        }
        let record = record.ok_or_else(|| differs(id, "its records"))?;
        if record.version != listed.version || record.status.as_str() != listed.status {
            return Err(differs(id, "its status"));
        }
        Ok(record)
    }

    /// Whether everything by which an approval is found is what its records say.
    pub(super) fn check(&self, id: &ApprovalId) -> Result<bool, StoreError> {
        let Some(record) = self.get(id)? else { return Ok(false) };
        let sql = "SELECT 1 FROM approvals WHERE id = ?1 AND agent = ?2 AND binding = ?3 AND created_at = ?4
                   AND expires_at = ?5 AND rejected_at IS ?6";
        let times = (record.created_at.as_microsecond(), record.expires_at.as_microsecond());
        let row = (
            id.as_str(),
            record.binding.agent.as_str(),
            key(&record.binding)?,
            times.0,
            times.1,
            record.rejected_at(),
        );
        Ok(self.connection.prepare_cached(sql)?.exists(row)?)
    }

    /// Reads what a query of ids has found, in its order. One that does not verify is left out and told.
    fn all(
        &self,
        ids: Vec<String>,
        left_out: &dyn Fn(&ApprovalId, &str),
    ) -> Result<Vec<ApprovalRecord>, StoreError> {
        let mut records = Vec::with_capacity(ids.len());
        for id in ids.into_iter().map(ApprovalId::from) {
            match self.get(&id) {
                Err(StoreError::Unverified(problem)) => left_out(&id, &problem),
                found => records.extend(found?),
            }
        }
        Ok(records)
    }

    /// The newest of this call that fits and has not expired.
    pub(super) fn newest(
        &self,
        binding: &ApprovalBinding,
        now: Timestamp,
        fits: impl Fn(&ApprovalRecord) -> bool,
    ) -> Result<Option<ApprovalRecord>, StoreError> {
        self.first("created_at DESC, n DESC", binding, now, fits)
    }

    fn first(
        &self,
        order: &'static str,
        binding: &ApprovalBinding,
        now: Timestamp,
        fits: impl Fn(&ApprovalRecord) -> bool,
    ) -> Result<Option<ApprovalRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT id FROM approvals WHERE binding = ?1 AND expires_at > ?2 ORDER BY {order}"
        ))?;
        let mut rows = statement.query((key(binding)?, now.as_microsecond()))?;
        while let Some(row) = rows.next()? {
            let id = ApprovalId::from(row.get::<_, String>(0)?);
            let found = match self.get(&id) {
                // It cannot be used: a call asks for a new one.
                Err(StoreError::Unverified(problem)) => {
                    tracing::error!(approval = %id, problem, "store.approval_unverified");
                    continue;
                }
                found => found?,
            };
            let Some(record) = found else { continue };
            if record.binding.same_call(binding) && fits(&record) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The one that a call with this binding has to heed.
    pub(super) fn find(
        &self,
        binding: &ApprovalBinding,
        needed: &[Requirement],
        now: Timestamp,
    ) -> Result<Option<ApprovalRecord>, StoreError> {
        let find = |states: &[ApprovalStatus]| {
            self.newest(binding, now, |record| {
                states.contains(&record.status) && record.is_about(binding, needed)
            })
        };
        if let Some(approved) = find(&[ApprovalStatus::Approved])? {
            return Ok(Some(approved));
        }
        match find(&[ApprovalStatus::Pending, ApprovalStatus::Rejected])? {
            Some(pending) if pending.status == ApprovalStatus::Pending => Ok(Some(pending)),
            // An earlier rejection of exactly this does not hide a later one of the call with something else beside it.
            Some(_) | None => self.first("rejected_at DESC, n DESC", binding, now, |record| {
                record.status == ApprovalStatus::Rejected && record.covers(needed)
            }),
        }
    }
}

fn differs(id: &ApprovalId, what: &str) -> StoreError {
    StoreError::Unverified(format!(
        "the index says something else of approval `{id}` than the record does ({what}): somebody edited it; \
         `tollgate audit verify` names what differs, and a restart takes the record"
    ))
}

/// What a call may use: the approval that the projection names, held against `chained`, which is all that the chain says of
/// it as of a moment ago. An edit of the projection can neither bring an answer nor take a use away.
pub(super) fn held(
    found: Option<ApprovalRecord>,
    chained: Option<&ApprovalRecord>,
    id: &ApprovalId,
) -> Result<Option<ApprovalRecord>, StoreError> {
    match (found, chained) {
        // It was made since, and nobody has answered.
        (Some(record), None) if record.answers.is_empty() && record.status == ApprovalStatus::Pending => {
            Ok(Some(record))
        }
        (Some(_), None) => Err(differs(id, "its records")),
        (None, None) => Ok(None),
        (Some(found), Some(chained)) if found == *chained || found.version > chained.version => {
            Ok(Some(found))
        }
        (Some(_) | None, Some(_)) => Err(differs(id, "its records")),
    }
}

/// One approval, by everything that the chain says of it from a record on.
pub(super) fn chained(
    journal: &Reader,
    id: &ApprovalId,
    first: i64,
) -> Result<Option<ApprovalRecord>, StoreError> {
    let wanted = Wanted {
        terms: vec![(Field::Approval, Pattern::Exact(id.as_str().to_owned()))],
        ..Wanted::default()
    };
    let range = Range { first, last: i64::MAX, newest_first: false };
    let (mut record, mut failed) = (None, Ok(()));
    journal.find(&wanted, range, &mut |entry| {
        let before = record.take();
        let made = EventDraft::from_body(&entry.body)
            .map_err(|error| StoreError::Damaged(format!("record {} cannot be read: {error}", entry.seq)))
            .and_then(|event| {
                let kept = before.clone();
                Ok(changed(&event, |_| Ok(kept))?.or(before))
            });
        match made {
            Ok(made) => record = made,
            Err(error) => failed = Err(error),
        }
        Ok(if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    failed.map(|()| record)
}

/// Newest first.
pub(super) fn list(
    book: Book<'_>,
    filter: &ApprovalFilter,
    left_out: &dyn Fn(&ApprovalId, &str),
) -> Result<Vec<ApprovalRecord>, StoreError> {
    let mut sql = "SELECT id, agent FROM approvals WHERE 1".to_owned();
    let mut values: Vec<Value> = Vec::new();
    if !filter.status.is_empty() {
        sql.push_str(" AND status IN (");
        for (index, status) in filter.status.iter().enumerate() {
            sql.push_str(if index == 0 { "?" } else { ", ?" });
            values.push(Value::from(status.as_str().to_owned()));
        }
        sql.push(')');
    }
    if let Some(Pattern::Exact(agent)) = &filter.agent {
        sql.push_str(" AND agent = ?");
        values.push(Value::from(agent.clone()));
    }
    if let Some(call) = &filter.call {
        sql.push_str(" AND binding = ?");
        values.push(Value::from(key(call)?.to_vec()));
    }
    if let Some(due) = filter.due {
        sql.push_str(" AND expires_at <= ?");
        values.push(Value::from(due.as_microsecond()));
    }
    if let Some(before) = &filter.before {
        sql.push_str(" AND (created_at, n) < (SELECT created_at, n FROM approvals WHERE id = ?)");
        values.push(Value::from(before.as_str().to_owned()));
    }
    sql.push_str(" ORDER BY created_at DESC, n DESC");
    let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
    let mut statement = book.connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < limit
        && let Some(row) = rows.next()?
    {
        let agent: String = row.get(1)?;
        if filter.agent.as_ref().is_none_or(|wanted| wanted.matches(&agent)) {
            ids.push(row.get(0)?);
        }
    }
    drop(rows);
    book.all(ids, left_out)
}

/// The newest.
pub(super) fn newest_ids(connection: &Connection, limit: usize) -> Result<Vec<ApprovalId>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM approvals ORDER BY created_at DESC, n DESC LIMIT ?1")?;
    let ids =
        statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get::<_, String>(0))?;
    Ok(ids.map(|id| id.map(ApprovalId::from)).collect::<Result<_, _>>()?)
}

/// Those that have a record in a segment before this one.
pub(super) fn ids_in(connection: &Connection, stays: i64) -> Result<Vec<ApprovalId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id, records FROM approvals ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let id = ApprovalId::from(row.get::<_, String>(0)?);
        let told: Vec<Told> = serde_json::from_str(row.get_ref(1)?.as_str().unwrap_or_default())
            .map_err(|_| differs(&id, "where its records are"))?;
        if told.iter().any(|(_, segment, _)| *segment < stays) {
            ids.push(id);
        }
    }
    Ok(ids)
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

/// Writes what the projection says of an approval: how it stands, and where its newest record is. `whole`: that says all of
/// it, and the earlier ones are not needed.
pub(super) fn write(
    connection: &Connection,
    record: &ApprovalRecord,
    whole: bool,
    seq: i64,
    place: Place,
) -> Result<(), StoreError> {
    let known: Option<String> = connection
        .prepare_cached("SELECT records FROM approvals WHERE id = ?1")?
        .query_row([record.id.as_str()], |row| row.get(0))
        .optional()?;
    let mut told: Vec<Told> = match known {
        Some(known) if !whole => {
            serde_json::from_str(&known).map_err(|_| differs(&record.id, "where its records are"))?
        }
        Some(_) | None => Vec::new(),
    };
    // A frame that is followed twice adds nothing.
    if told.iter().all(|(known, ..)| *known != seq) {
        told.push((seq, place.segment, place.offset));
    }
    connection
        .prepare_cached(
            "INSERT INTO approvals (id, version, status, agent, binding, created_at, expires_at, rejected_at, records)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, status = excluded.status,
               rejected_at = excluded.rejected_at, records = excluded.records",
        )?
        .execute((
            record.id.as_str(),
            i64::try_from(record.version).unwrap_or(i64::MAX),
            record.status.as_str(),
            record.binding.agent.as_str(),
            key(&record.binding)?,
            record.created_at.as_microsecond(),
            record.expires_at.as_microsecond(),
            record.rejected_at(),
            serde_json::to_string(&told).map_err(unwritable)?,
        ))?;
    Ok(())
}

/// The first record of an approval says all of it.
pub(super) fn whole(record: &ApprovalRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(unwritable)
}

pub(super) fn change(record: &ApprovalRecord, answers: bool) -> Result<String, StoreError> {
    let ApprovalRecord { version, status, answers: all, covered_by, .. } = record;
    let answers = answers.then(|| all.clone());
    let change = Change { version: *version, status: *status, answers, covered_by: covered_by.clone() };
    serde_json::to_string(&change).map_err(unwritable)
}

/// The whole of an approval in a record of now, where its own records are not of this journal any more.
pub(super) fn carried(
    record: &ApprovalRecord,
    reason: &str,
    at: Timestamp,
) -> Result<EventDraft, StoreError> {
    let mut event = evidence::approval_changed(at);
    event.action = Some("approval_carried".into());
    event.reason = Some(reason.into());
    event.agent_id = Some(record.binding.agent.clone());
    event.tool = Some(record.binding.tool.as_str().into());
    event.policy_snapshot = Some(record.binding.snapshot.clone());
    evidence::put_approval(&mut event, &record.id, &whole(record)?);
    Ok(event)
}

/// The use of an approval, said by the decision of the call that uses it.
pub(super) fn used(decision: &mut EventDraft, record: &ApprovalRecord) -> Result<(), StoreError> {
    evidence::put_approval(decision, &record.id, &change(record, false)?);
    Ok(())
}

/// The projection forgets approvals whose records are gone.
pub(super) fn forget(connection: &Connection, stays: i64) -> Result<(), StoreError> {
    for id in ids_in(connection, stays)? {
        connection.prepare_cached("DELETE FROM approvals WHERE id = ?1")?.execute([id.as_str()])?;
    }
    Ok(())
}
