//! Tollgate's own records as people and other systems read them: the five questions, exports and their
//! offline verification, and sinks for committed events.

mod advice;
mod checkpoints;
mod dead_letters;
mod drift;
mod export;
mod log_keys;
mod maturity;
mod ocsf;
mod questions;
mod recorded;
mod render;
mod replay;
mod scorecard;
mod simulate;
mod spend;
mod verify;

pub use advice::advice_on_recorded;

pub use checkpoints::{
    CheckpointError, KeptCheckpoint, Trees, hold, keep, kept_checkpoints, make, read_checkpoint,
};
pub use dead_letters::{
    DeadLetter, DeadLetterError, Handled, dead_letter, dead_letters, dismiss, handle, was_let_through,
};
pub use drift::drift_on_record;
pub use export::{CSV_COLUMNS, ExportError, export_csv, export_jsonl, export_ocsf};
pub use log_keys::{KeysError, LogKeys};
pub use maturity::{Control, Looked, Maturity, maturity};
pub use ocsf::ocsf;
pub use questions::{
    ApprovalCall, ApprovalEnd, ApprovalReport, CallReport, DecisionReport, Evidence, Execution, GrantReport,
    Initiator, NamedApprovals, ResultSize, TraceReport, questions,
};
pub use recorded::{Pace, Stop, kept_bundle};
pub use render::render;
pub use replay::{RecordedDifference, ReplayReport, replay_recorded};
pub use scorecard::scorecard;
pub use simulate::{Compare, SimulatedTraffic, simulate_recorded};
pub use spend::spend_on_record;
pub use verify::{Coverage, ExportReport, verify_export};

#[cfg(test)]
mod tests;
