//! What verification finds, held against what persons accepted: each place by itself, so that an acceptance hides nothing but what
//! it was given for.

use crate::{
    evidence,
    journal::{Damage, JournalError, Range, Reader, index::Wanted},
    model::EventDraft,
    store::BadRecord,
};
use std::{ops::ControlFlow, path::Path};

/// Something that is not as it was written.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) bad: BadRecord,
    pub(super) of: Of,
}

/// What it is a problem of, as far as that says whether a person accepted it.
#[derive(Clone, Debug)]
pub(super) enum Of {
    /// A place of the journal: the segment by its name, the last record before it, and at which byte, where that is one.
    Place(String, i64, Option<u64>),
    /// A gap before records with which a person goes on behind damage.
    Restart,
    /// What a record refers to, which may be lost in damage that was accepted behind this segment.
    Reference(i64),
    /// What nobody is asked to accept, as files that are made of the records.
    Other,
}

impl Problem {
    pub(super) fn new(seq: i64, problem: String, of: Of) -> Self {
        Self { bad: BadRecord { seq, problem }, of }
    }

    pub(super) fn of_damage(damage: &Damage) -> Self {
        let place = Of::Place(named(&damage.path), damage.after, Some(damage.offset));
        Self::new(damage.after.saturating_add(1), damage.to_string(), place)
    }
}

/// The name of a segment's file.
pub(super) fn named(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// An acceptance: the first record of a segment that goes on behind damage.
struct Acceptance {
    event: EventDraft,
    first: i64,
    /// The name of the segment before.
    behind: String,
}

/// All of a journal.
pub(super) struct Acceptances(Vec<Acceptance>);

impl Acceptances {
    pub(super) fn read(journal: &Reader) -> Result<Self, JournalError> {
        let (mut found, paths) = (Vec::new(), journal.paths());
        for first in journal.behind_damage()? {
            // Names of segments are in the order of their numbers.
            let own = format!("{first:020}");
            let behind = paths.iter().map(|path| named(path)).filter(|name| **name < *own).max();
            let behind = behind.unwrap_or_default();
            let range = Range { first, last: first, newest_first: false };
            journal.find_readable(&Wanted::default(), range, &mut |entry| {
                let event = EventDraft::from_body(&entry.body).ok();
                found.extend(event.map(|event| Acceptance { event, first, behind: behind.clone() }));
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(Self(found))
    }

    /// The first problem that nobody accepted, and the first that somebody did.
    pub(super) fn judge(&self, problems: Vec<Problem>) -> (Option<BadRecord>, Option<BadRecord>) {
        let (mut new, mut accepted) = (None, None);
        for problem in problems {
            let told = if self.cover(&problem.of) { &mut accepted } else { &mut new };
            told.get_or_insert(problem.bad);
        }
        (new, accepted)
    }

    fn cover(&self, of: &Of) -> bool {
        match of {
            Of::Place(segment, after, at) => self.0.iter().any(|one| one.covers(segment, (*after, *at))),
            Of::Restart => true,
            Of::Reference(segment) => self.0.iter().any(|one| one.first > *segment),
            Of::Other => false,
        }
    }
}

impl Acceptance {
    fn covers(&self, segment: &str, (after, at): (i64, Option<u64>)) -> bool {
        // Of a power loss earlier versions told no places: it was in what was written last.
        let untold = || evidence::loses_untold(&self.event) && segment == self.behind && after < self.first;
        evidence::accepts(&self.event, segment, (after, at)) || untold()
    }
}
