//! Every record of a call is built here and nowhere else, so that what a record says does not depend on which part of the
//! gateway wrote it. Pure: times and ids are arguments.

mod approval;
mod call;
mod detail;
mod other;

pub use approval::ApprovalSubject;
pub use call::{CallSubject, Ruling, Settled, TargetSubject};
pub use detail::{Explained, limits, settled_detail, steps};
pub use other::{TaskEnd, alert_of_call, lost, orphaned, session_started, task_ended};
