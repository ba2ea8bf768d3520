//! Tollgate's own records as people and other systems read them: the five questions, exports and their
//! offline verification, and sinks for committed events.

mod advice;
mod checkpoints;
mod compliance;
mod dead_letters;
mod digest;
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
mod shared_keys;
mod simulate;
mod spend;
mod verify;

pub use advice::{advice_on_recorded, advise_on_record};

pub use checkpoints::{
    CheckpointError, KeptCheckpoint, KeptCheckpoints, Trees, checkpoint_folders, hold, keep,
    kept_checkpoints, make, read_checkpoint,
};
pub use compliance::{Compliance, ComplianceRow, ComplianceStatus, Standard};
pub use dead_letters::{
    DeadLetter, DeadLetterError, DeadLetterPage, Handled, dead_letter, dead_letters, dismiss, handle,
    was_let_through,
};
pub use digest::{Digest, DigestFiles, DigestSpend, Figure, OpenLetter, OpenLetters, digest};
pub use drift::drift_on_record;
pub use export::{
    CSV_COLUMNS, ExportError, export_csv, export_jsonl, export_jsonl_without_values, export_ocsf,
};
pub use log_keys::{KeysError, LogKeys};
pub use maturity::{Control, Looked, Maturity, maturity, test_files};
pub use ocsf::ocsf;
pub use questions::{
    ApprovalCall, ApprovalEnd, ApprovalReport, CallReport, DecisionReport, Evidence, Execution, GrantReport,
    Initiator, NamedApprovals, OtherRecord, ResultSize, TraceReport, questions,
};
pub use recorded::{Pace, Stop, kept_bundle};
pub use render::render;
pub use replay::{RecordedDifference, ReplayReport, replay_recorded};
pub use scorecard::scorecard;
pub use shared_keys::KeysPlace;
pub use simulate::{Compare, SimulatedTraffic, simulate_recorded};
pub use spend::spend_on_record;
pub use verify::{Coverage, ExportReport, verify_export};

#[cfg(test)]
mod tests;
