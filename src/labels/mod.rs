//! What data has reached whom: the labels that follow a workflow, an agent and a session. They only grow until their time is
//! over; a person alone takes them away. Pure.
//!
//! # Who is followed
//!
//! What an agent reads reaches its session, the workflow that the call runs in, and the agent itself. A call is decided on
//! what has reached any of the three, so that neither another session, nor another workflow, nor another generation of the
//! protocol is a way round:
//!
//! | who | how long |
//! |---|---|
//! | session | to its end: it lives in one process, and so does what is known of it ([`Sessions`]) |
//! | workflow | until `[gateway] labels.keep` after it was last used; for all agents that act in it |
//! | agent | until `[gateway] labels.window` after a label last reached it |
//!
//! Sets of workflows and agents are durable and the same in all processes: entries of the store's register, by [`Holder::key`].

mod holder;
mod sessions;
mod set;

pub use holder::Holder;
pub use sessions::Sessions;
pub use set::{LabelSet, Mark};
