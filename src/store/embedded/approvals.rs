//! Approvals as they change: made, changed by compare-and-swap. Each change is told by a record ([`super::book`]).

use super::{
    book::{change, whole},
    rows::Row,
    tx::Tx,
};
use crate::{
    admission::{AskHistory, repeat_key},
    evidence,
    model::{AgentId, ApprovalStatus, EventDraft},
    store::{ApprovalRecord, ApprovalUpdate, AskLimits, Asked, StoreError},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

/// Appends the events of a change, one of which says what became of the approval, so that the chain does. `whole`: it says
/// all of it.
fn append(
    tx: &mut Tx<'_>,
    record: &ApprovalRecord,
    (told, whole): (&str, bool),
    mut events: Vec<EventDraft>,
    at: Timestamp,
) -> Result<(), StoreError> {
    if events.is_empty() {
        events.push(evidence::approval_changed(at));
    }
    let of_it = |event: &EventDraft| event.approval_id.as_ref() == Some(&record.id);
    let telling = events.iter().position(of_it).unwrap_or(0);
    for (n, mut event) in events.into_iter().enumerate() {
        if n == telling {
            evidence::put_approval(&mut event, &record.id, told);
        }
        let (seq, place) = tx.append(&event)?;
        if n == telling {
            tx.row(Row::Approval { record: Box::new(record.clone()), whole, seq, place });
        }
    }
    Ok(())
}

/// Makes a record, or finds the one that is pending; either way the ask counts as a repeat of the call.
pub(super) fn ask(
    tx: &mut Tx<'_>,
    new: &ApprovalRecord,
    events: &[EventDraft],
    limits: &AskLimits,
) -> Result<Asked, StoreError> {
    if tx.approvals().get(&new.id)?.is_some() {
        return Err(StoreError::Failed(format!("there is an approval `{}` already", new.id)));
    }
    let told = whole(new)?;
    let now = tx.saw(new.created_at);
    let repeat = repeat_key(&new.binding.agent, &new.binding.call);
    let counted = tx.counted().asked(repeat, now);
    tx.put(counted)?;
    let same = |record: &ApprovalRecord| {
        record.status == ApprovalStatus::Pending && record.is_about(&new.binding, &new.requirements)
    };
    if let Some(record) = tx.approvals().newest(&new.binding, new.created_at, same)? {
        return Ok(Asked::Reused(record));
    }
    let mut history = History { connection: tx.connection, agent: &new.binding.agent };
    if let Some(refusal) = limits.refusal(now, &mut history)? {
        return Ok(Asked::Refused(refusal));
    }
    append(tx, new, (&told, true), events.to_vec(), new.created_at)?;
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
    let Some(mut record) = tx.approvals().get(&update.id)? else { return Ok(false) };
    if record.version != update.expected_version {
        return Ok(false);
    }
    record.version += 1;
    record.status = update.status;
    record.answers.clone_from(&update.answers);
    record.covered_by.clone_from(&update.covered_by);
    let at = events.first().map_or(record.created_at, |event| event.timestamp);
    let told = change(&record, true)?;
    append(tx, &record, (&told, false), events.to_vec(), at)?;
    Ok(true)
}
