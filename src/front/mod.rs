//! front
pub mod state;
