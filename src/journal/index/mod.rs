//! By what records of the journal are found. A sealed segment has its index in a file of its own, written once, and the
//! segment that still grows has one in memory. An answer is a set of record numbers that can be too large and never too
//! small: the caller holds every hit against the record. An index holds nothing that its segment does not, so that one
//! that is lost or damaged costs time and no record.
//!
//! A file is made of pieces, each with its own checksum, and a search reads the pieces that it needs and no other: the
//! ids (trace, call, approval, grant) are a sorted table of hashes in pages; the names (everything else) are a sorted list in
//! blocks, whose entries lead to sets of record numbers. Nothing is kept in memory between two searches but the header.

mod build;
mod collect;
mod layout;
mod members;
mod names;
mod segment;
mod wanted;

pub use build::Builder;
pub use collect::TailIndex;
pub(super) use layout::{Bytes, Out, SUM, sum};
pub use members::Members;
pub use segment::SegmentIndex;
pub use wanted::{Pattern, Wanted};

use std::{io, path::PathBuf};

/// By what records are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The event's type.
    EventType,
    /// The trace.
    Trace,
    /// The workflow.
    Workflow,
    /// The agent.
    Agent,
    /// What decided.
    Policy,
    /// The decision.
    Decision,
    /// The exposed name of the tool, the URI of a resource, the name of a prompt.
    Tool,
    /// The call.
    Call,
    /// The approval.
    Approval,
    /// The standing grant.
    Grant,
    /// The person who acted.
    Person,
    /// The person the agent acts for.
    User,
}

/// Fields with a value of their own in almost every record. They are looked up whole.
const IDS: [Field; 4] = [Field::Trace, Field::Call, Field::Approval, Field::Grant];

/// Fields with few values in many records.
const NAMES: [Field; 8] = [
    Field::EventType,
    Field::Workflow,
    Field::Agent,
    Field::Policy,
    Field::Decision,
    Field::Tool,
    Field::Person,
    Field::User,
];

/// Why an index gives no answer. The segment itself still does.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file system failed.
    #[error("the index `{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// Of the index.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The file is not what was written.
    #[error("the index `{}` is damaged: {what}", path.display())]
    Damaged {
        /// Of the index.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests;
