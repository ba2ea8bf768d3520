//! Why a call is not let through now.

use crate::{
    model::{EventDecision, PolicyId},
    policy::LoopKind,
};

/// Which limit stopped a call.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRefusal {
    /// The budget's or policy's id, or `loop`.
    pub policy_id: PolicyId,
    /// What it says: throttle, deny, or pending_approval for a budget that asks.
    pub decision: EventDecision,
    /// One plain sentence with figures.
    pub reason: String,
    /// When it is worth trying again, where that can be said.
    pub retry_after_ms: Option<u64>,
    /// Why waiting does not help, where it does not.
    pub never: Option<NeverFrees>,
    /// What kind of loop it is, and the window in seconds, where it is one.
    pub looping: Option<(LoopKind, u32)>,
}

/// Why a limit has no room for a call later either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverFrees {
    /// Its cap is zero: no call fits.
    Closed,
    /// The call alone is more than the cap.
    TooLarge,
    /// It counts for ever.
    Ever,
    /// It is strict, and its cap is below the least that any call needs.
    NoCall,
}

impl NeverFrees {
    /// What would help, said to the agent.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Closed => {
                "Waiting does not help: its cap is 0, so that it lets no call through. Go on without this call, or have an \
                 admin raise the cap."
            }
            Self::TooLarge => {
                "Waiting does not help: this call alone is more than the cap. Ask for less in one call, or have an admin \
                 raise the cap."
            }
            Self::NoCall => {
                "No call fits into this budget, however small: it is strict and needs room for the arguments and 128 tokens of \
                 result. Go on without this call, or have an admin raise the cap."
            }
            Self::Ever => {
                "Waiting does not help: this budget counts for ever. Go on without this call, or have an admin raise the cap \
                 or set the budget back."
            }
        }
    }
}
