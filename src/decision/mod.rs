//! The pure core (I6): a compiled snapshot and [`Facts`] in, a [`Verdict`] with its trace and the
//! limits that apply out. No clock, no randomness, no IO; it cannot fail, an error inside is a deny.

mod facts;
mod verdict;

pub use facts::*;
pub use verdict::*;
