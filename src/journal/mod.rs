//! The append-only record on disk: a folder of segments, each with the frames of some 100,000 records, hash-chained, and
//! appended to by any number of processes on one machine.
//!
//! - A group of operations is one frame, written with one write, under a lock between processes ([`Journal`]).
//! - A frame that was not written to its end is cut off by whoever writes next; anything else that is not as it was written
//!   is damage, is named, and nothing is written behind it until a person says how to go on ([`go_on`]).
//! - Whoever reads needs no lock: a frame counts once all of it is there ([`Reader`]).
//! - Over all records stands a Merkle tree, by which others can be shown that one is among them ([`tree`]).
//! - A segment that is full is sealed and never changes again; its index ([`index`]) and the figures that charts draw of it
//!   are made of it, and can be rebuilt.

pub mod chain;
mod damage;
mod files;
mod frame;
pub mod index;
mod indexed;
mod raw;
mod read;
mod registers;
mod rolled;
mod rollup_file;
mod segment;
mod tail;
pub mod tree;
mod write;

pub use damage::{Flow, Survey, Walked, go_on, survey, walk};
pub use files::{key, open_private, replace as replace_file, sync_folder, touch};
pub use frame::{Draft, Frame, FrameHead, Head, LAST_SEQ, PROJECTED, REGISTERS, Record, SEALED};
pub use indexed::{build_index, make_index};
pub use raw::{RawSegment, go_on_as};
pub use read::{Entry, Range, Reader, Take};
pub use rolled::Rows;
pub use rollup_file::{
    is_of_damaged as is_rollup_of_damaged, is_of_earlier_version as is_earlier_rollup, write as write_rollup,
};
pub use segment::{
    BYTES, RECORDS, SEGMENT_HEAD, Scan, Segment, SegmentHead, Step, index_path, list, move_segment,
    remove_segment, rollup_path,
};
pub use write::{Appended, Cut, Journal, Lock, Patience};

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Where something stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The segment, by the `seq` of its first record.
    pub segment: i64,
    /// In bytes of the segment.
    pub offset: u64,
}

/// Why the journal did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused or failed.
    #[error("`{}`: {problem}", path.display())]
    Failed {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// There is no room.
    #[error("the disk is full")]
    Full,
    /// Another process has held the lock for too long.
    #[error("another process has locked the journal")]
    Locked,
    /// What is there is not what was written.
    #[error("{0}")]
    Damaged(Box<Damage>),
}

/// What is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub path: PathBuf,
    /// Where, in bytes.
    pub offset: u64,
    /// The last record before it.
    pub after: i64,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, after, problem } = self;
        write!(f, "`{}` is damaged at byte {offset}, behind record {after}: {problem}", path.display())
    }
}

impl JournalError {
    fn of(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed { path: path.to_owned(), problem: error.to_string() },
        }
    }

    fn damaged(path: &Path, offset: u64, after: i64, problem: String) -> Self {
        Self::Damaged(Box::new(Damage { path: path.to_owned(), offset, after, problem }))
    }
}
