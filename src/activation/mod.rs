//! Which bundle is in force, how that changes, and what was in force before. An order (an activation, a stage of a rollout) is a
//! record: whoever reads the chain knows what stands, and every process follows it.

mod entitled;
mod error;
mod folder;
mod history;
mod order;
mod standing;
mod trial;

pub use error::OrderError;
pub use folder::{DIFFERS, FolderState};
pub use history::{History, before, entry, form, history, kept_bundle, newest, resolve};
pub use order::{Ask, Outcome, activate, hold_first};
pub use standing::{Held, OnTrial, Recorded, Standing, recorded_at_rest, standing, standing_at_rest};
pub use trial::{
    Start, Status, abort, advance, ended_by_change, go_back, observe, renewed, seen_of_stage, start, status,
};
