//! Legal holds: records that retention must not remove, as [`super::Register::Hold`] has them.

use super::RegisterEntry;
use crate::model::{AgentId, PersonId, TraceId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Whose records are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Those of one trace, and what other traces say of the approvals and standing grants that it used.
    Trace(TraceId),
    /// Those of one agent, of before and from now on.
    Agent(AgentId),
}

impl Held {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Trace(trace) => format!("trace {trace}"),
            Self::Agent(agent) => format!("agent `{agent}`"),
        }
    }

    /// The trace, if it is one.
    pub fn trace(&self) -> Option<TraceId> {
        match self {
            Self::Trace(trace) => Some(*trace),
            Self::Agent(_) => None,
        }
    }

    /// The agent, if it is one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(agent) => Some(agent),
            Self::Trace(_) => None,
        }
    }
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// By what it is found.
    pub id: String,
    /// Whose records.
    pub held: Held,
    /// Why.
    pub reason: String,
    /// Who placed it; none: the local admin.
    pub by: Option<PersonId>,
    /// Since when.
    pub since: Timestamp,
}

impl Hold {
    /// What an entry of [`super::Register::Hold`] says; `None` where it cannot be read, and then all records are held.
    pub fn read(entry: &RegisterEntry) -> Option<Self> {
        serde_json::from_str(&entry.value.to_string()).ok()
    }

    /// As the API and the command line show it.
    pub fn form(&self) -> Value {
        let Self { id, held, reason, by, since } = self;
        json!({
            "id": id, "trace": held.trace(), "agent": held.agent(), "reason": reason, "by": by, "since": since,
        })
    }
}
