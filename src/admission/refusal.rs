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
    /// What kind of loop it is, and the window in seconds, where it is one.
    pub looping: Option<(LoopKind, u32)>,
}
