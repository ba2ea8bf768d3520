//! Who is to look at what: detectors over what is recorded, the book of alerts, incidents and duties. Pure: a fold over records in
//! the order of the chain, in slices of time; clock, rules and records are arguments.
//!
//! `docs/alerts.md` states the methods, and what false alarms they make.

mod alert;
mod baseline;
mod book;
mod duty;
mod incident;
mod observe;
mod track;
mod watch;

pub use alert::{Alert, Tuning};
pub use book::{Book, BookChange, Verdict};
pub use duty::{Done, DutyState, due_alert, duties};
pub use incident::Incident;
pub use watch::{Level, Over, Raised, Signal, Watch};

#[cfg(test)]
mod tests;
