//! What a query asks for, held against one record, or narrowed down with what an index has.

use super::{Field, Members};
use crate::model::{ASKS, Glob, GlobError, TraceId, path_of};
use jiff::Timestamp;
use roaring::RoaringBitmap;

/// Records of which the times are kept together.
pub(super) const BLOCK: u32 = 64;

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(String),
    /// A text that the glob matches.
    Glob(Glob),
}

impl Pattern {
    /// As people write it: a text with a `*` is a glob.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.contains('*') { Glob::parse(text).map(Self::Glob) } else { Ok(Self::from(text)) }
    }

    /// The same of what is called: a URI without a query is of that path, whatever was asked there.
    pub fn parse_target(text: &str) -> Result<Self, GlobError> {
        let is_path = text.contains(':') && !text.contains(ASKS);
        match Glob::parse(text) {
            Ok(glob) if is_path => Ok(Self::Glob(glob)),
            Ok(_) | Err(_) => Self::parse(text),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(wanted) => wanted,
            Self::Glob(glob) => glob.as_str(),
        }
    }

    /// Whether a text is so.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Glob(glob) => glob.matches(text),
        }
    }

    /// Whether it names what was asked at a URI: its query or its fragment.
    pub fn names_query(&self) -> bool {
        self.text().contains(ASKS)
    }

    /// Whether what is called is so. Query and fragment of a URI are no part of what a glob matches, unless it names them.
    pub fn matches_target(&self, called: &str) -> bool {
        match self {
            Self::Glob(glob) if !self.names_query() => glob.matches(path_of(called)),
            Self::Glob(_) | Self::Exact(_) => self.matches(called),
        }
    }

    /// Whether the value of a field is so.
    pub(super) fn fits(&self, field: Field, text: &str) -> bool {
        if field == Field::Tool { self.matches_target(text) } else { self.matches(text) }
    }
}

/// Exactly this text.
impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self::Exact(text.to_owned())
    }
}

/// What a query asks for: every term must fit, and the time.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What fields must be.
    pub terms: Vec<(Field, Pattern)>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl Wanted {
    /// Whether every record is wanted.
    pub fn is_all(&self) -> bool {
        self.terms.is_empty() && self.since.is_none() && self.until.is_none()
    }

    /// Whether a record is wanted.
    pub fn fit(&self, members: &Members<'_>) -> bool {
        self.since.is_none_or(|since| members.at() >= since)
            && self.until.is_none_or(|until| members.at() < until)
            && self.terms.iter().all(|(field, pattern)| has(members, *field, pattern))
    }

    /// The microseconds that a record's own may be, rounded outwards: the record's own time decides.
    pub(super) fn between(&self) -> Times {
        Times {
            first: self.since.map_or(i64::MIN, Timestamp::as_microsecond),
            last: self.until.map_or(i64::MAX, Timestamp::as_microsecond),
        }
    }

    /// The records in the sets of all terms. `None`: no term says anything of the records.
    pub(super) fn narrow<E>(
        &self,
        mut records: impl FnMut(Field, &Pattern) -> Result<Option<RoaringBitmap>, E>,
    ) -> Result<Option<RoaringBitmap>, E> {
        let mut found: Option<RoaringBitmap> = None;
        // An id leaves the fewest records.
        let (ids, names): (Vec<_>, Vec<_>) =
            self.terms.iter().partition(|(field, _)| super::IDS.contains(field));
        for (field, pattern) in ids.into_iter().chain(names) {
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            if let Some(these) = records(*field, pattern)? {
                found = Some(match found {
                    Some(found) => found & these,
                    None => these,
                });
            }
        }
        Ok(found)
    }
}

fn has(members: &Members<'_>, field: Field, pattern: &Pattern) -> bool {
    match (field, pattern) {
        // Both forms of a trace id name the same trace.
        (Field::Trace, Pattern::Exact(text)) => {
            members.trace().is_some_and(|trace| TraceId::parse(text) == Some(trace))
        }
        (_, Pattern::Exact(_) | Pattern::Glob(_)) => {
            members.value(field).is_some_and(|text| pattern.fits(field, &text))
        }
    }
}

/// The smallest and the largest time of some records, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Times {
    /// Of no records: it overlaps with nothing.
    pub(super) const NONE: Self = Self { first: i64::MAX, last: i64::MIN };

    pub(super) fn add(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    pub(super) fn of(at: Timestamp) -> Self {
        Self { first: at.as_microsecond(), last: at.as_microsecond() }
    }

    pub(super) fn overlap(self, other: Self) -> bool {
        self.first <= other.last && self.last >= other.first
    }

    pub(super) fn within(self, other: Self) -> bool {
        self.first >= other.first && self.last <= other.last
    }
}

/// The records of the blocks that can have a time in `between`.
pub(super) fn records_of_blocks(
    blocks: impl Iterator<Item = Times>,
    between: Times,
    records: u32,
) -> RoaringBitmap {
    let mut found = RoaringBitmap::new();
    for (block, times) in (0u32..).zip(blocks) {
        if times.overlap(between) {
            let first = block.saturating_mul(BLOCK);
            found.insert_range(first.min(records)..first.saturating_add(BLOCK).min(records));
        }
    }
    found
}
