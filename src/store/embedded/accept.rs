//! Going on behind damage of the journal's end, or behind records that were cut off, because a person says so. What is lost may
//! have used approvals, grants and money: no approval and no grant of before can be used any more, and what the projection had counted counts on.

use super::{
    book::{self, Book},
    fold,
    grants::{self, Grants},
    notes::{self, Note},
    open::locked,
    owners, projection,
    writer::Held,
};
use crate::{
    admission::{Usage, Window, WindowUsage},
    journal::{self, Draft, Journal, Lock, PROJECTED, Patience, Reader},
    model::{ApprovalStatus, EventDraft},
    store::{GrantEnd, GrantEndReason, StoreError},
};
use jiff::Timestamp;
use rusqlite::Connection;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Says what was wrong; `None` where nothing is. `said`: the record of who accepts it, and why.
pub(super) fn accept(
    path: &Path,
    data_dir: &Path,
    said: &dyn Fn(&str) -> EventDraft,
) -> Result<Option<String>, StoreError> {
    if owners::any_alive(data_dir) {
        return Err(StoreError::Failed(
            "a Tollgate has the store open: stop it, so that nothing is appended to the damaged part"
                .to_owned(),
        ));
    }
    let dir = projection::journal_dir(path);
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let _held = Held::new(&lock);
    let connection = projection::open_writer(path)?;
    let noted = projection::mark(&connection)?;
    let at_least = noted.as_ref().map_or(0, |mark| mark.head.seq);
    let Some(damage) = journal::accept_damage(&dir, at_least)? else { return Ok(None) };
    let problem = damage.to_string();
    let begun = begin(&dir, &connection, &said(&problem));
    // A segment that does not begin with what is withdrawn would let it be used: it is as if nobody had accepted.
    if begun.is_err()
        && let Some((_, segment)) = journal::list(&dir)?.pop()
        && let Err(error) = std::fs::remove_file(&segment)
    {
        tracing::error!(segment = %segment.display(), %error, "store.acceptance_not_taken_back");
    }
    let (journal, reader) = begun?;
    reader.refresh()?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    projection::clear(&connection)?;
    fold::rebuild(&connection, &reader, journal.id())?;
    connection.execute_batch("COMMIT")?;
    Ok(Some(problem))
}

/// The first frame behind the damage: who accepts it, what is withdrawn, and what counts on.
fn begin(dir: &Path, connection: &Connection, event: &EventDraft) -> Result<(Journal, Reader), StoreError> {
    let mut journal = Journal::open(dir, [0; 16], true)?;
    let reader = Reader::open(dir)?;
    reader.refresh()?;
    // What can be read of the journal, in place of what the file says.
    let made = projection::in_memory()?;
    fold::rebuild(&made, &reader, journal.id())?;
    let mut draft = Draft::default();
    draft.begin(journal.head());
    draft.saw(event.timestamp.as_microsecond());
    draft.record(|out| event.write_body(out, None));
    for record in cancelled(&made, connection, &reader, event.timestamp)? {
        draft.record(|out| record.write_body(out, None));
    }
    for record in grants_ended(&made, connection, &reader, event.timestamp)? {
        draft.record(|out| record.write_body(out, None));
    }
    for note in counted(&made, connection)? {
        notes::write(draft.notes(), &note);
    }
    draft.flag(PROJECTED);
    journal.prepare()?;
    journal.append(&mut draft)?;
    Ok((journal, reader))
}

/// Records that withdraw every approval that could be used: whether it was used in what is lost is not known.
fn cancelled(
    made: &Connection,
    stored: &Connection,
    reader: &Reader,
    at: Timestamp,
) -> Result<Vec<EventDraft>, StoreError> {
    let mut records = Vec::new();
    for connection in [made, stored] {
        let book = Book { connection, journal: reader };
        for id in book::newest_ids(connection, usize::MAX)? {
            // One whose records are lost cannot be used: nothing in the journal speaks of it.
            let Ok(Some(mut record)) = book.get(&id) else { continue };
            let usable = matches!(record.status, ApprovalStatus::Pending | ApprovalStatus::Approved);
            let known = records.iter().any(|event: &EventDraft| event.approval_id.as_ref() == Some(&id));
            if usable && !known {
                record.status = ApprovalStatus::Cancelled;
                record.version += 1;
                records.push(book::carried(
                    &record,
                    "withdrawn: it may have been used in records that are lost",
                    at,
                )?);
            }
        }
    }
    Ok(records)
}

/// Records that end every standing grant: how often it was used in what is lost is not known.
fn grants_ended(
    made: &Connection,
    stored: &Connection,
    reader: &Reader,
    at: Timestamp,
) -> Result<Vec<EventDraft>, StoreError> {
    let mut records = Vec::new();
    for connection in [made, stored] {
        for id in grants::newest_live(connection, usize::MAX)? {
            // One whose records are lost cannot be used: nothing in the journal speaks of it.
            let Ok(Some(grant)) = (Grants { connection, journal: reader }).get(&id) else { continue };
            let known = records.iter().any(|event: &EventDraft| event.grant_id.as_ref() == Some(&id));
            if grant.ended.is_none() && !known {
                let end = GrantEnd { why: GrantEndReason::Lost, at, by: None, reason: None };
                let told = grants::ended(&grant, &end, true)?;
                let grant = grant.ended_by(end);
                records.push(grants::carried(&grant, GrantEndReason::Lost.phrase(), at)?);
                records.push(told);
            }
        }
    }
    Ok(records)
}

type Windows = BTreeMap<Window, WindowUsage>;

fn windows(connection: &Connection) -> Result<Windows, StoreError> {
    let mut statement =
        connection.prepare("SELECT counter, start, calls, tokens, cost, alerted FROM usage")?;
    let rows = statement.query_map([], |row| {
        let usage = Usage { calls: row.get(2)?, tokens: row.get(3)?, cost: row.get(4)? };
        Ok(((row.get(0)?, row.get(1)?), WindowUsage { usage, alerted: row.get(5)? }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where calendar windows stand, as the larger of both has it.
fn counted(made: &Connection, stored: &Connection) -> Result<Vec<Note>, StoreError> {
    let (made, stored_windows) = (windows(made)?, windows(stored)?);
    let mut found = Vec::new();
    let mut names = stored.prepare("SELECT id, kind, policy_id, key FROM counters")?;
    let mut rows = names.query([])?;
    while let Some(row) = rows.next()? {
        found.push(Note::Counter {
            id: row.get(0)?,
            kind: row.get(1)?,
            policy_id: row.get(2)?,
            key: row.get(3)?,
        });
    }
    for (window, stored) in stored_windows {
        let known = made.get(&window).copied().unwrap_or_default();
        let usage = Usage {
            calls: known.usage.calls.max(stored.usage.calls),
            tokens: known.usage.tokens.max(stored.usage.tokens),
            cost: known.usage.cost.max(stored.usage.cost),
        };
        found.push(Note::Stands(window, WindowUsage { usage, alerted: known.alerted.max(stored.alerted) }));
    }
    Ok(found)
}
