//! Why nothing of what is in force was changed.

use crate::{model::PersonId, store::StoreError};

/// The longest reason, in characters.
pub(super) const MAX_REASON: usize = 1_000;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No such snapshot.
    #[error("there is no snapshot `{0}`: `tollgate policy history` lists those that were in force")]
    Unknown(String),
    /// Several begin so.
    #[error("several snapshots begin with `{written}`, like {first}… and {second}…: give more of it")]
    Ambiguous {
        /// What was given.
        written: String,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// A reason is needed.
    #[error("a reason is needed: it stands in the record")]
    NoReason,
    /// It is too long.
    #[error("the reason is longer than {} characters", MAX_REASON)]
    LongReason,
    /// The person may not.
    #[error("`{0}` may not do this: it takes the role `admin` in the bundle in force")]
    NotAdmin(PersonId),
    /// Nobody could change anything afterwards.
    #[error(
        "nobody has the role `admin` in that bundle: once it is held in force nobody could put another in its place. Add one to \
         its authority.yaml, or activate the folder"
    )]
    NobodyAdmin,
    /// There is nothing to go back to.
    #[error("no other bundle was in force before: there is nothing to go back to")]
    NothingBefore,
    /// What is kept of the snapshot has no signature.
    #[error(
        "the store keeps this snapshot without a signature, from before it was signed: change `version` in bundle.yaml, sign it \
         again, and activate that"
    )]
    KeptUnsigned,
    /// The bundle cannot be used here.
    #[error("{0}")]
    Refused(String),
    /// There is no rollout.
    #[error("no rollout is going on: `tollgate policy rollout start` begins one")]
    NoRollout,
    /// There is one.
    #[error("a rollout is going on already: `tollgate policy rollout status` shows it, `abort` ends it")]
    RolloutRuns,
    /// Somebody else was first.
    #[error("somebody else changed what is in force at the same moment: look at it, and say it again")]
    Raced,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
