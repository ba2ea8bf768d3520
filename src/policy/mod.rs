//! The bundle in `policies/`: files → checked, compiled [`PolicySet`] with its snapshot hash. Pure.

pub mod condition;
pub mod index;
mod types;

pub use types::*;
