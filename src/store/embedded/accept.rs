//! Going on behind damage, wherever it is, or behind records that were cut off: because a person says so, or because the power
//! went. What is lost may have used approvals, grants and money: no approval and no grant of before can be used any more, and
//! what the projection had counted counts on.

use super::{
    aside,
    book::{self, Book},
    fold,
    grants::{self, Grants},
    notes::{self, Note},
    owners,
    projection::{self, Mark},
    registers::Registers,
    terms::locked,
    writer::Held,
};
use crate::{
    admission::{Usage, Window, WindowUsage},
    evidence,
    journal::{
        self, Damage, Draft, Lock, PROJECTED, Patience, REGISTERS, Range, Reader, Survey,
        index::{Field, Pattern, Wanted},
    },
    model::{ApprovalStatus, EventDraft, EventType},
    store::{GrantEnd, GrantEndReason, StoreError},
};
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::Arc};

/// Places that a message names one by one.
const NAMED: usize = 8;

/// What says that it goes on: from the words and the places, as JSON.
pub(super) type Said<'s> = &'s dyn Fn(&str, Value) -> EventDraft;

/// What is known to be wrong of a journal beside what reading it finds.
#[derive(Default)]
pub(super) struct Further {
    /// A record up to which there were some.
    pub(super) at_least: i64,
    pub(super) found: Vec<Lost>,
    /// The folder of the segments is none that stays: they are told by their names.
    pub(super) by_name: bool,
}

/// Something that is not there, and the last record that is known of it, its hash and when it was written, in microseconds.
pub(super) struct Lost {
    pub(super) damage: Damage,
    pub(super) known: Option<(i64, String, i64)>,
}

/// Says what was wrong; `None` where nothing is. `said`: the record of who accepts it, and why.
pub(super) fn accept(path: &Path, data_dir: &Path, said: Said<'_>) -> Result<Option<String>, StoreError> {
    if owners::any_alive(data_dir, None) {
        return Err(StoreError::Failed(
            "a Tollgate has the store open: stop it, so that nothing is appended to the damaged part"
                .to_owned(),
        ));
    }
    let dir = projection::journal_dir(path);
    let lock = Arc::new(Lock::open(&dir)?);
    lock.take(Patience::Long).map_err(|error| locked(path, error))?;
    let _held = Held::new(&lock);
    // What it says cannot be read, and is not missed: the journal is what counts.
    if let Some(problem) = projection::unreadable(path, true) {
        aside::set_aside(path, &problem)?;
    }
    let connection = projection::open_writer(path)?;
    go_on(&dir, &connection, Further::default(), said)
}

/// After a power loss: the journal ends before what the projection has followed of it. `at`: now.
pub(super) fn after_power_loss(dir: &Path, connection: &Connection, at: Timestamp) -> Result<(), StoreError> {
    let said = |problem: &str, places| evidence::records_lost(at, problem, places);
    let problem = go_on(dir, connection, Further::default(), &said)?;
    tracing::error!(
        problem,
        "store.records_lost: the newest records were not on the disk as the power went; approvals of before are withdrawn"
    );
    Ok(())
}

/// Goes on in a new segment, where something is wrong that nobody accepted before. For the holder of the lock.
pub(super) fn go_on(
    dir: &Path,
    connection: &Connection,
    further: Further,
    said: Said<'_>,
) -> Result<Option<String>, StoreError> {
    let mark = projection::mark(connection)?;
    let followed = mark.as_ref().map_or(0, |mark| mark.head.seq);
    // What is known to be lost is told once.
    let at_least = if further.found.is_empty() { followed } else { 0 };
    let Some(mut survey) = journal::survey(dir, at_least)? else { return Ok(None) };
    // No number is given twice.
    survey.before.seq = survey.before.seq.max(further.at_least);
    if survey.journal == [0; 16] {
        survey.journal = mark.as_ref().map_or([0; 16], |mark| mark.journal);
    }
    let reader = Reader::open_damaged(dir)?;
    reader.refresh()?;
    let mut found = unaccepted(&reader, std::mem::take(&mut survey.damage))?;
    if further.by_name {
        found.iter_mut().for_each(|damage| damage.path = segment(damage).into());
    }
    let lost = unaccepted_lost(&reader, further.found)?;
    if found.is_empty() && lost.is_empty() {
        found.extend(cut_off(&survey, mark.as_ref()));
    }
    let places = found.iter().map(place).chain(lost.iter().map(lost_place)).collect();
    found.extend(lost.into_iter().map(|lost| lost.damage));
    if found.is_empty() && !survey.is_unfinished() {
        return Ok(None);
    }
    let problem = in_words(&found);
    let mut draft = first_frame(connection, &reader, &survey, &said(&problem, places))?;
    journal::go_on(dir, &survey, &mut draft)?;
    let reader = Reader::open(dir)?;
    reader.refresh()?;
    fold::make_anew(connection, survey.journal, &reader)?;
    Ok(Some(problem))
}

/// What no record says of that it was accepted.
fn unaccepted(reader: &Reader, found: Vec<Damage>) -> Result<Vec<Damage>, StoreError> {
    not_in_records(reader, found, |event, damage| {
        evidence::accepts(event, &segment(damage), (damage.after, Some(damage.offset)))
    })
}

/// The same of what is lost.
fn unaccepted_lost(reader: &Reader, found: Vec<Lost>) -> Result<Vec<Lost>, StoreError> {
    not_in_records(reader, found, |event, Lost { damage, known }| {
        let place = (&*segment(damage), damage.after);
        match known {
            None => evidence::accepts(event, place.0, (place.1, None)),
            Some((seq, hash, at)) => Timestamp::from_microsecond(*at)
                .is_ok_and(|at| evidence::accepts_lost(event, place, (*seq, hash), at)),
        }
    })
}

fn not_in_records<T>(
    reader: &Reader,
    mut found: Vec<T>,
    accepts: impl Fn(&EventDraft, &T) -> bool,
) -> Result<Vec<T>, StoreError> {
    if found.is_empty() {
        return Ok(found);
    }
    // A person's acceptance, and what a power loss took.
    for event_type in [EventType::AdminAction, EventType::Alert] {
        let terms = vec![(Field::EventType, Pattern::Exact(event_type.as_str().to_owned()))];
        let range = Range { first: 1, last: i64::MAX, newest_first: true };
        reader.find_readable(&Wanted { terms, ..Wanted::default() }, range, &mut |entry| {
            if let Ok(event) = EventDraft::from_body(&entry.body) {
                found.retain(|one| !accepts(&event, one));
            }
            Ok(if found.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(found)
}

fn segment(damage: &Damage) -> String {
    damage.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What the projection has followed and the journal has not any more, where no record is missing by its number.
fn cut_off(survey: &Survey, mark: Option<&Mark>) -> Option<Damage> {
    let end = survey.end;
    let cut = mark.is_some_and(|mark| mark.journal == survey.journal && mark.place > end);
    let damage = Damage {
        path: format!("{:020}.segment", end.segment).into(),
        offset: end.offset,
        after: survey.readable,
        problem: "more was written behind it: what counters and open calls were is lost or cut off"
            .to_owned(),
    };
    cut.then_some(damage)
}

fn in_words(found: &[Damage]) -> String {
    if found.is_empty() {
        return "an acceptance of damage was begun and not finished".to_owned();
    }
    let mut words: Vec<String> = found.iter().take(NAMED).map(ToString::to_string).collect();
    if found.len() > NAMED {
        words.push(format!("and {} places more", found.len() - NAMED));
    }
    words.join("; ")
}

fn place(damage: &Damage) -> Value {
    json!({"segment": segment(damage), "after": damage.after, "offset": damage.offset, "problem": damage.problem})
}

fn lost_place(lost: &Lost) -> Value {
    let mut place = place(&lost.damage);
    if let (Some(members), Some((seq, hash, _))) = (place.as_object_mut(), &lost.known) {
        members.insert("known".to_owned(), json!({"seq": seq, "hash": hash}));
    }
    place
}

/// The first frame behind the damage: who accepts it, what is withdrawn, and what counts on.
fn first_frame(
    connection: &Connection,
    reader: &Reader,
    survey: &Survey,
    event: &EventDraft,
) -> Result<Draft, StoreError> {
    // What can be read of the journal, in place of what the file says.
    let made = projection::in_memory()?;
    fold::rebuild(&made, reader, survey.journal)?;
    let mut draft = Draft::default();
    draft.begin(&survey.before);
    draft.saw(event.timestamp.as_microsecond());
    draft.record(|out| event.write_body(out, None));
    for record in cancelled(&made, connection, reader, event.timestamp)? {
        draft.record(|out| record.write_body(out, None));
    }
    for record in grants_ended(&made, connection, reader, event.timestamp)? {
        draft.record(|out| record.write_body(out, None));
    }
    for note in counted(&made, connection)? {
        notes::write(draft.notes(), &note);
    }
    // What a segment begins with behind damage is all that is known of registers from then on.
    for note in Registers::readable(reader)?.everything() {
        notes::write(draft.notes(), &note);
        draft.flag(REGISTERS);
    }
    draft.flag(PROJECTED);
    Ok(draft)
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
        Ok(((row.get(0)?, row.get(1)?), WindowUsage { usage, alerted: notes::alerted_of(row.get(5)?) }))
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
