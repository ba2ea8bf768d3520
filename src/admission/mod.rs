//! The rules of admission. Pure: time and what is stored are arguments.

mod approval;
mod effect;
mod refusal;
mod repeats;
mod rolling;
mod usage;
pub mod window;

pub use approval::{
    ApprovalAnswer, ApprovalBinding, ApprovalContext, ApprovalRecord, AskLimits, Requirement,
};
pub use effect::{Entry, Grant};
pub use refusal::LimitRefusal;
pub use repeats::{Repeats, repeat_key};
pub use rolling::{Hand, MINUTE, Moved, Rolling};
pub use usage::{Caps, Unit, Usage, amount, money};
