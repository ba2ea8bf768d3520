//! The rules of admission, which every store runs: may this call be made now, what does it reserve, and what becomes of
//! that. Pure: time and what is stored are arguments.
//!
//! [`State`] is a fold over [`Effect`]s. [`admit`], [`settle`] and [`State::asked`] say which effects follow from a state;
//! the store writes them in the same transaction, and applies them to the state that it remembers. A process that has
//! read the same effects judges the same.

mod admit;
mod approval;
mod asks;
mod effect;
mod freeze;
mod grant;
mod limit;
mod limits;
mod loops;
mod refusal;
mod repeats;
mod rolling;
mod seen;
mod settle;
mod shape;
mod state;
#[cfg(test)]
mod tests;
mod usage;
pub mod window;

pub use admit::{Outcome, Ruling, admit};
pub use approval::{ApprovalAnswer, ApprovalBinding, ApprovalContext, ApprovalRecord, Named, Requirement};
pub use asks::{AskHistory, AskLimits};
pub use effect::{Alert, Effect, Grant, LoopMark, Reset, Window};
pub use freeze::{FREEZE, Freeze, FreezeKind, FreezeSubject, FreezeTarget, FrozenTarget};
pub use grant::{
    AskingRule, Bound, CallShape, CoveredCall, GrantAnswer, GrantEnd, GrantEndReason, GrantTerms, NamedGrant,
    StandingGrant,
};
pub use limit::{ALERTS, Limit};
pub use limits::overshot;
pub use loops::{LoopCheck, LoopSeen, LoopWatch, identical};
pub use refusal::{LimitRefusal, NeverFrees};
pub use repeats::repeat_key;
pub use rolling::{Cursor, MINUTE, Moved};
pub use settle::{End, settle};
pub use shape::shape;
pub use state::{Alerted, RepeatLimit, Request, Standing, State, Stretch, WindowUsage};
pub use usage::{Usage, amount, money};
