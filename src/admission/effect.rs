//! What an admission, a question or a settlement changes: it is written, and it is what [`super::State`] is a fold over.

use super::{approval::ApprovalRecord, grant::StandingGrant, usage::Usage};
use crate::model::PolicyId;

/// A calendar window of a counter: the counter's number, and the window's start in microseconds.
pub type Window = (i64, i64);

/// A granted call, and where it was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Of its decision; it names the call in later effects.
    pub seq: i64,
    /// The process that dispatches it.
    pub owner: i64,
    /// When it counts, in microseconds: the latest time that any of its counters has reached.
    pub at: i64,
    /// Tokens reserved.
    pub tokens: i64,
    /// Money reserved.
    pub cost: i64,
    /// By what identical calls are known, where they are counted.
    pub repeat: Option<i64>,
    /// What else is told of it about loops.
    pub loops: Vec<LoopMark>,
    /// The rolling counters.
    pub rolling: Vec<i64>,
    /// The calendar windows.
    pub windows: Vec<Window>,
}

/// Where a granted call counts as a part of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopMark {
    /// It is one of a kind.
    Counted {
        /// Of which.
        key: i64,
        /// In so many seconds.
        window_s: u32,
    },
    /// It is the newest call of an agent.
    Turn {
        /// By what the agent is known.
        agent: i64,
        /// By what identical calls are known.
        call: i64,
    },
    /// Whether it fails is counted.
    Watched {
        /// By what agent and tool are known.
        errors: i64,
    },
}

impl Grant {
    /// What it reserved.
    pub fn usage(&self) -> Usage {
        Usage { calls: 1, tokens: self.tokens, cost: self.cost }
    }
}

/// A counter that is set back: what it has counted goes, but for what open calls hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The counter's number.
    pub counter: i64,
    /// The calendar window's start, in microseconds; none for a counter that rolls.
    pub start: Option<i64>,
}

/// A budget's alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The window that it is the alert of.
    pub window: Window,
    /// When, in microseconds; never 0.
    pub at: i64,
    /// The share of the cap that was reached, in percent.
    pub step: u8,
    /// The budget.
    pub policy_id: PolicyId,
    /// What it says, as one plain sentence.
    pub sentence: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A call was granted and is open from now on.
    Granted(Grant),
    /// It is open still, and was counted before: nothing is counted again.
    Carried(Grant),
    /// It is open no more; its reservation changes by so much.
    Closed {
        /// Of its decision.
        seq: i64,
        /// What is added to its counters.
        change: Usage,
    },
    /// A call was asked about, which counts as a repeat of it.
    Asked {
        /// When it counts, in microseconds.
        at: i64,
        /// By what identical calls are known.
        repeat: i64,
    },
    /// A call whose failures are counted failed.
    Failed {
        /// When, in microseconds.
        at: i64,
        /// See [`LoopMark::Watched`].
        errors: i64,
    },
    /// One did not: what failed before it counts no more.
    Worked {
        /// See [`LoopMark::Watched`].
        errors: i64,
    },
    /// It was told that an agent loops.
    LoopAlerted {
        /// When, in microseconds.
        at: i64,
        /// By what agent and tool are known.
        key: i64,
        /// For so long it is not told again.
        window: i64,
    },
    /// A budget alerted.
    Alerted(Alert),
    /// A person set a counter back.
    Reset(Reset),
    /// An approval was used: its record from now on.
    Consumed(Box<ApprovalRecord>),
    /// A standing grant was used: how it stands from now on.
    GrantUsed(Box<StandingGrant>),
}

impl Effect {
    /// When it counts, in microseconds, where that need not be when it is written.
    pub fn at(&self) -> Option<i64> {
        match self {
            Self::Granted(grant) => Some(grant.at),
            Self::Asked { at, .. } | Self::Failed { at, .. } | Self::LoopAlerted { at, .. } => Some(*at),
            Self::Carried(_)
            | Self::Closed { .. }
            | Self::Worked { .. }
            | Self::Alerted(_)
            | Self::Reset(_)
            | Self::Consumed(_)
            | Self::GrantUsed(_) => None,
        }
    }
}
