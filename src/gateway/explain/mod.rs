//! What would be decided of a call, and why: resolved, priced and decided as if it were made. Nothing is recorded, counted
//! or sent.

mod answer;
mod changes;
mod decided;
mod limits;
mod question;
mod recorded;
mod render;
mod resolver;
mod told;

#[cfg(test)]
mod tests;

pub use answer::{
    ApprovalView, CallView, ChangeView, ConstraintSource, EvaluationView, Explanation, LimitView, LoopView,
    constraints,
};
pub use question::Question;
pub use recorded::explain_recorded;
pub use render::render;
pub use resolver::{ExplainError, Resolver, ResolverParts};
pub use told::explain_facts;
