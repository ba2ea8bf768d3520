//! The bundle in `policies/`: files → checked, compiled [`PolicySet`] with its snapshot hash. Pure.

pub mod condition;
mod facts;
pub mod index;
mod types;

pub use facts::*;
pub use types::*;
