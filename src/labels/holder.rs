//! Whom labels follow in the store.

use crate::model::{AgentId, WorkflowId};
use std::fmt;

/// A holder of labels whose set is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An agent, for a while.
    Agent(AgentId),
    /// A workflow, whichever agent acts in it.
    Workflow(WorkflowId),
}

impl Holder {
    /// Under what its set is kept.
    pub fn key(&self) -> String {
        format!("{}:{}", self.kind(), self.id())
    }

    /// Whose set a key names; none where it names none.
    pub fn of_key(key: &str) -> Option<Self> {
        match key.split_once(':')? {
            ("agent", id) => Some(Self::Agent(id.into())),
            ("workflow", id) => Some(Self::Workflow(id.into())),
            _ => None,
        }
    }

    /// `agent` or `workflow`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Workflow(_) => "workflow",
        }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        match self {
            Self::Agent(id) => id,
            Self::Workflow(id) => id,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_holder() {
        for holder in [Holder::Agent("a:b".into()), Holder::Workflow("wf 1".into()), Holder::Agent("".into())]
        {
            assert_eq!(Holder::of_key(&holder.key()), Some(holder));
        }
        for other in ["", "agent", "session:x", "Agent:a"] {
            assert_eq!(Holder::of_key(other), None, "{other}");
        }
    }
}
