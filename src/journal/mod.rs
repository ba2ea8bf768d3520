//! The append-only record on disk.

pub mod chain;
