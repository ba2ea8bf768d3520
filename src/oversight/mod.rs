//! What people are told of and do about it, on the store: the book of alerts, incidents, duties, and calls that are looked at
//! afterwards. Each change is one transaction with the record that tells it, the same for all processes.

mod alerts;
mod duties;
mod incidents;
mod samples;
mod watcher;

pub use alerts::{AlertFilter, AlertPage, alerts, open_alerts, say};
pub use duties::{duties, duty_done};
pub use incidents::{IncidentPage, Told, close_incident, incident, incidents, timeline};
pub use samples::{Finding, SamplePage, Sampled, review, reviewer, samples};
pub use watcher::{Alerted, Watcher};

use crate::{
    alerts::Book,
    model::{EventDraft, PersonId},
    redaction::{DataRules, Said},
    store::{Register, RegisterChange, Store, StoreError},
};
use jiff::Timestamp;

/// The longest note, in characters.
const LONGEST_NOTE: usize = 2_000;
/// How often a change is tried again that somebody else was first with.
const TRIES: usize = 10;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OversightError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It does not stand so that this could be done.
    #[error("{0}")]
    Conflict(String),
    /// Nobody said what they found.
    #[error("say what you found (`note`): it is kept in the record")]
    NoNote,
    /// It is too long.
    #[error("the note is longer than {LONGEST_NOTE} characters")]
    LongNote,
    /// The store did not do it; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who says something, and what.
#[derive(Clone, Copy, Debug)]
pub struct Remark<'s> {
    /// The person.
    pub by: &'s PersonId,
    /// What masks what they say.
    pub data: &'s DataRules,
    /// What they say.
    pub note: Option<&'s str>,
}

impl Remark<'_> {
    /// The note, masked, without what surrounds it; none where there is nothing in it.
    fn note(&self) -> Result<Option<Said>, OversightError> {
        let note = self.note.map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
            return Err(OversightError::LongNote);
        }
        Ok(note.map(|note| self.data.said(note, LONGEST_NOTE)))
    }

    /// A note that must be there.
    fn needed(&self) -> Result<Said, OversightError> {
        self.note()?.ok_or(OversightError::NoNote)
    }
}

/// The book as it stands.
async fn load(store: &dyn Store) -> Result<Book, StoreError> {
    let mut book = Book::default();
    for (register, is_incident) in [(Register::Alert, false), (Register::Incident, true)] {
        for entry in store.register(register).await? {
            book.put(is_incident, &entry.key, entry.version, &entry.value);
        }
    }
    Ok(book)
}

/// What has changed in a book, as changes of registers, and the records of it.
fn changes(book: Book) -> (Vec<RegisterChange>, Vec<EventDraft>) {
    let (changes, events) = book.into_changes();
    let changes = changes.into_iter().map(|change| RegisterChange {
        register: if change.is_incident { Register::Incident } else { Register::Alert },
        key: change.key,
        expected: Some(change.expected),
        value: change.value,
    });
    (changes.collect(), events)
}

/// Where something stands in a list of which the newest is first, told so that the list goes on behind it even where it is listed no
/// more.
fn cursor(at: Timestamp, id: &str) -> String {
    format!("{id}@{}", at.as_nanosecond())
}

/// The place that a cursor names, or, of one without a time, that of what has this id.
fn place<'i>(
    before: &str,
    mut all: impl Iterator<Item = (Timestamp, &'i str)>,
) -> Option<(Timestamp, String)> {
    let told = before
        .rsplit_once('@')
        .and_then(|(id, at)| Some((Timestamp::from_nanosecond(at.parse().ok()?).ok()?, id.to_owned())));
    told.or_else(|| all.find(|(_, id)| *id == before).map(|(at, id)| (at, id.to_owned())))
}

/// Whether something stands behind a place in the list.
fn is_behind(place: Option<&(Timestamp, String)>, at: Timestamp, id: &str) -> bool {
    place.is_some_and(|(then, known)| (at, id) < (*then, known.as_str()))
}

fn raced() -> OversightError {
    OversightError::Conflict("others change the same all the time: try again".to_owned())
}
