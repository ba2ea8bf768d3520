//! What an admission or a settlement changes: it is written, and it is what [`super::State`] is a fold over.

use super::usage::Usage;

/// A granted call, and where it was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Of its decision; it names the call in later entries.
    pub seq: i64,
    /// The process that dispatches it.
    pub owner: i64,
    pub at: i64,
    pub tokens: i64,
    pub cost: i64,
    /// By what identical calls are known, where they are counted.
    pub repeat: Option<i64>,
    /// The rolling counters.
    pub rolling: Vec<i64>,
    /// The calendar windows.
    pub windows: Vec<(i64, i64)>,
}

impl Grant {
    /// What it reserved.
    pub fn usage(&self) -> Usage {
        Usage { calls: 1, tokens: self.tokens, cost: self.cost }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A call was granted and is open from now on.
    Granted(Grant),
    /// It is open still, and its first entry is about to be taken out: nothing is counted again.
    Carried(Grant),
    /// It is open no more; its reservation changes by so much.
    Closed { seq: i64, change: Usage },
    /// A call was asked about, which counts as a repeat of it.
    Asked { at: i64, repeat: i64 },
}
