//! Tollgate's own records as people and other systems read them: the five questions, exports and their
//! offline verification, and sinks for committed events.

mod export;
mod questions;
mod render;
mod replay;
mod verify;

pub use export::{CSV_COLUMNS, ExportError, export_csv, export_jsonl};
pub use questions::{
    ApprovalCall, ApprovalEnd, ApprovalReport, CallReport, DecisionReport, Evidence, Execution, GrantReport,
    Initiator, NamedApprovals, ResultSize, TraceReport, questions,
};
pub use render::render;
pub use replay::{RecordedDifference, ReplayReport, kept_bundle, replay_recorded};
pub use verify::{Coverage, ExportReport, verify_export};

#[cfg(test)]
mod tests;
