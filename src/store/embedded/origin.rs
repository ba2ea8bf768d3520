//! A journal that replicas share. All of them append to one origin, and each works on a copy of it: the same segments, byte
//! for byte, and all that is made of them. Nothing counts before the origin has it.

use crate::{
    journal::{Appended, Head, JournalError, Place, SegmentHead},
    store::{Duty, StoreError, Vault},
};
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Up to where a process knows the journal.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Where the next frame goes.
    pub place: Place,
    /// What it follows.
    pub head: Head,
}

/// Where an origin ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the next frame goes.
    pub place: Place,
    /// What it follows.
    pub head: Head,
}

/// What the origin has behind what was known.
#[derive(Debug, Default)]
pub struct News {
    /// Frames of one segment, as they stand there, without a gap.
    pub frames: Vec<u8>,
    /// There is more behind them.
    pub more: bool,
    /// The first segment that is still there.
    pub first: i64,
    /// How many groups with an order about what is in force were appended, ever.
    pub orders: i64,
    /// Why nothing can be read on from what was known.
    pub stop: Option<Stop>,
}

/// Why an origin does not go on from what was known of it.
#[derive(Clone, Debug)]
pub enum Stop {
    /// It has not what was known: it lost records, or has others there.
    Lost(StoreError),
    /// What was known, and what came behind it, was removed.
    Removed(StoreError),
    /// Damage behind it was accepted, and the segment that follows this goes on.
    GoesOn(Head),
}

impl Stop {
    /// For whoever has read on until then, and cannot any more.
    pub fn into_error(self) -> StoreError {
        match self {
            Self::Lost(error) | Self::Removed(error) => error,
            Self::GoesOn(_) => StoreError::Failed(
                "the database lost records, a person accepted that, and it goes on: start this replica again"
                    .to_owned(),
            ),
        }
    }
}

/// Where a copy is not what the origin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// In which segment.
    pub segment: i64,
    /// The first byte that is another one there, or missing on one side; of a frame its first.
    pub offset: u64,
    /// The last record before it.
    pub after: i64,
    /// In words.
    pub problem: String,
}

/// Whom an appended frame is for.
#[derive(Clone, Copy, Debug)]
pub struct Tells {
    /// Other replicas look at once: somebody may wait for it.
    pub wakes: bool,
    /// It holds an order about what is in force.
    pub orders: bool,
}

/// Why a frame was not appended, as far as that is known.
#[derive(Clone, Debug)]
pub enum NotAppended {
    /// It is not there, and never will be.
    Nothing(StoreError),
    /// It may be there, or not: whoever holds the end next sees which.
    InDoubt(StoreError),
}

impl From<NotAppended> for StoreError {
    fn from(error: NotAppended) -> Self {
        match error {
            NotAppended::Nothing(error) | NotAppended::InDoubt(error) => error,
        }
    }
}

impl From<JournalError> for NotAppended {
    /// Here, and so perhaps after the origin took it.
    fn from(error: JournalError) -> Self {
        Self::InDoubt(error.into())
    }
}

/// The journal that all replicas share. Calls block, each within a limit of its own: a step of a group for some seconds, of which a group
/// has several, and [`Self::take`] and [`Self::compare`], which read much, for hours. Errors name the place that failed.
pub trait Origin: Send + Sync + fmt::Debug + 'static {
    /// How the first segment that is there begins.
    fn begins(&self) -> Result<SegmentHead, StoreError>;

    /// How each segment that is there begins, oldest first.
    fn segments(&self) -> Result<Vec<SegmentHead>, StoreError>;

    /// The first frame of a segment, as it stands there; `None`: it has none.
    fn first_frame(&self, segment: i64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Where it ends.
    fn end(&self) -> Result<End, StoreError>;

    /// Goes on in a new segment with this first frame, where it still ends so: both are there for good when this returns.
    fn go_on(&self, end: &End, head: &SegmentHead, frame: &[u8]) -> Result<(), StoreError>;

    /// Takes a segment into a folder as it stands there, whether or not it can be read.
    fn take(&self, head: &SegmentHead, dir: &Path) -> Result<(), StoreError>;

    /// Reads on.
    fn read(&self, known: Known) -> Result<News, StoreError>;

    /// Keeps all others from appending until [`Self::append`] or [`Self::release`], and reads on. Where this process does so
    /// already, nothing is new.
    fn hold(&self, known: Known) -> Result<News, StoreError>;

    /// Appends a frame, which is there for good when this returns, and lets others go on.
    fn append(&self, frame: &Appended<'_>, tells: Tells) -> Result<(), NotAppended>;

    /// Lets others go on.
    fn release(&self);

    /// Removes the segments before one.
    fn remove_before(&self, first: i64) -> Result<(), StoreError>;

    /// The key of this name, the same for all who ask: made of `fresh` where there is none.
    fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// The vault that all share: what lay on one machine others would not find.
    fn vault(&self) -> Arc<dyn Vault>;

    /// What is kept for all under this name; `None`: nothing.
    fn value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts it in place where it still is what was expected (`None`: nothing). `false`: it is not.
    fn replace_value(
        &self,
        name: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError>;

    /// Those of these processes that are no more: they said so, or have not been heard of for too long.
    fn dead(&self, owners: BTreeSet<String>) -> Result<BTreeSet<String>, StoreError>;

    /// Takes on what one process does at a time; `None`: another one does it.
    fn duty(&self, name: &str) -> Result<Option<Box<dyn Duty>>, StoreError>;

    /// Has this be called whenever it should be looked whether there is something new; on a thread that must not wait.
    fn listen(&self, look: Box<dyn Fn() + Send + Sync>);

    /// Tells other processes by which snapshot this one decides.
    fn decides_by(&self, snapshot: &str);

    /// By which other snapshots they decide, as far as was heard of them.
    fn other_snapshots(&self) -> BTreeSet<Arc<str>>;

    /// Where it is, for people.
    fn place(&self) -> String;

    /// Holds the segments of a copy against what is there, and says what differs: of each segment its first place.
    fn compare(&self, segments: &[(i64, PathBuf)]) -> Result<Vec<Differs>, StoreError>;

    /// The process ends: nothing is held any more.
    fn close(&self);
}
