//! The journal: what is appended and never changed, in segments, and what finds records in them.

pub mod index;
