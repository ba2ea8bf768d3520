//! What follows from the journal: the projection's rows, and what a process remembers beside them.

use super::{
    book::{self, Book},
    grants::{self, Grants},
    kept,
    learned::Learned,
    ledger::Ledger,
    notes::{self, Note},
    projection::{self, Mark},
};
use crate::{
    journal::{Frame, JournalError, Place, Reader, chain},
    model::{ApprovalId, EventDraft},
    store::StoreError,
};
use rusqlite::Connection;

/// Before the first frame.
pub(super) const START: Place = Place { segment: 0, offset: 0 };

/// A frame whose notes are not as this program writes them.
pub(super) fn unreadable(place: Place) -> StoreError {
    let Place { segment, offset } = place;
    StoreError::Damaged(format!("the notes at byte {offset} of segment {segment} cannot be read"))
}

fn notes_of(frame: &Frame<'_>, place: Place) -> Result<Vec<Note>, StoreError> {
    notes::read(frame.notes()).ok_or_else(|| unreadable(place))
}

/// Goes through frames with errors of the store's kind.
fn each(
    reader: &Reader,
    from: Place,
    until: Option<Place>,
    take: &mut dyn FnMut(Place, &Frame<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut failed = Ok(());
    let outcome = reader.frames(from, until, &mut |place, frame| {
        take(place, frame).map_err(|error| {
            let problem = error.to_string();
            failed = Err(error);
            JournalError::Failed { path: reader.dir().to_owned(), problem }
        })
    });
    failed.and(outcome.map_err(StoreError::from))
}

/// The rows of one frame.
fn write_rows(
    connection: &Connection,
    journal: &Reader,
    place: Place,
    frame: &Frame<'_>,
) -> Result<(), StoreError> {
    let mut retired = None;
    for note in notes_of(frame, place)? {
        match note {
            Note::Kept { kind, name, hash, body } => kept::write(connection, &kind, &name, &hash, &body)?,
            Note::Retired { stays, .. } => retired = Some(stays),
            Note::Effect(_)
            | Note::Stands(..)
            | Note::Counter { .. }
            | Note::Owner { .. }
            | Note::Gone { .. }
            | Note::Swept { .. }
            | Note::Learned { .. }
            | Note::Registers { .. }
            | Note::Register { .. } => {}
        }
    }
    for record in frame.records() {
        let at = Place { offset: place.offset + record.offset as u64, ..place };
        // One that somebody damaged says nothing; verification names it.
        let body = std::str::from_utf8(record.body).unwrap_or_default();
        if chain::link(&record.prev, record.seq, body) != record.hash {
            continue;
        }
        let Ok(event) = EventDraft::from_body(body) else { continue };
        let book = Book { connection, journal };
        let mut whole = true;
        let before = |id: &ApprovalId| {
            whole = false;
            book.get(id)
        };
        if let Some(changed) = book::changed(&event, before)? {
            book::write(connection, &changed, whole, record.seq, at)?;
        }
        if let Some((grant, whole)) = grants::changed(&event, |id| Grants::from(book).get(id))? {
            grants::write(connection, &grant, whole, record.seq, at)?;
        }
    }
    // What this frame carries is in it by now.
    match retired {
        Some(stays) => book::forget(connection, stays).and_then(|()| grants::forget(connection, stays)),
        None => Ok(()),
    }
}

/// Writes the rows of all frames from a place on that have some, in the projection's open transaction.
pub(super) fn follow_rows(connection: &Connection, journal: &Reader, from: Place) -> Result<(), StoreError> {
    each(journal, from, None, &mut |place, frame| match frame.head.is_projected() {
        true => write_rows(connection, journal, place, frame),
        false => Ok(()),
    })
}

/// Reads what a process remembers: what the projection has, and the frames behind it, up to a place or the end. Says whether the projection has to
/// follow some of them at once.
pub(super) fn recall(
    connection: &Connection,
    journal: &Reader,
    ledger: &mut Ledger,
    learned: &mut Learned,
    until: Option<Place>,
) -> Result<bool, StoreError> {
    let mark = projection::mark(connection)?;
    let followed = mark.as_ref().map(|mark| mark.place);
    let base = mark.as_ref().map_or(START, |mark| mark.base.min(mark.place));
    let mut begun = mark.is_none();
    let mut behind = false;
    let mut begin = |ledger: &mut Ledger| match (&mark, std::mem::replace(&mut begun, true)) {
        (Some(mark), false) => ledger.begin(connection, &mark.open),
        (Some(_) | None, _) => Ok(()),
    };
    each(journal, base, until, &mut |place, frame| {
        let notes = notes_of(frame, place)?;
        if followed.is_some_and(|followed| place < followed) {
            ledger.recall(place, frame.head.at, notes);
            return Ok(());
        }
        begin(ledger)?;
        behind |= frame.head.is_projected();
        notes.iter().for_each(|note| learned.take_in(note));
        ledger.take_in(connection, followed, place, frame.head.at, notes)
    })?;
    begin(ledger)?;
    Ok(behind)
}

/// Fills an empty projection from the whole journal.
pub(super) fn rebuild(connection: &Connection, journal: &Reader, id: [u8; 16]) -> Result<(), StoreError> {
    fill(connection, journal, id, None)
}

/// The same from what is before a place.
pub(super) fn rebuild_until(
    connection: &Connection,
    journal: &Reader,
    id: [u8; 16],
    until: Place,
) -> Result<(), StoreError> {
    fill(connection, journal, id, Some(until))
}

fn fill(
    connection: &Connection,
    journal: &Reader,
    id: [u8; 16],
    until: Option<Place>,
) -> Result<(), StoreError> {
    let (mut ledger, mut learned) = (Ledger::default(), Learned::default());
    let mut latest = None;
    each(journal, START, until, &mut |place, frame| {
        let notes = notes_of(frame, place)?;
        notes.iter().for_each(|note| learned.take_in(note));
        ledger.take_in(connection, None, place, frame.head.at, notes)?;
        latest = latest.max(Some(frame.head.at));
        if frame.head.is_projected() {
            write_rows(connection, journal, place, frame)?;
        }
        if ledger.is_heavy() {
            ledger.project(connection)?;
            ledger.projected();
        }
        ledger.tidy(latest);
        Ok(())
    })?;
    ledger.project(connection)?;
    learned.project(connection)?;
    let end = journal.end();
    let mark =
        Mark { journal: id, place: end, head: journal.head(), base: ledger.base(end), open: ledger.open() };
    projection::write_mark(connection, &mark)
}

/// Makes the projection anew from the journal. For the holder of the lock.
pub(super) fn make_anew(connection: &Connection, id: [u8; 16], reader: &Reader) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = projection::clear(connection)
        .and_then(|()| rebuild(connection, reader, id))
        .and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if made.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    made
}
