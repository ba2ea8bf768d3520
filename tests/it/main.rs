//! The whole gateway: a real store, real listeners and scripted upstreams, and where processes matter the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's own functions may fail by panicking, as the test itself may"
)]

mod harness;

mod approvals;
mod budgets;
mod certificates;
mod checks;
mod contents;
mod crash;
mod damage;
mod dead_letters;
mod decisions;
mod digest;
mod dpop;
mod drain;
mod faults;
mod forged;
mod freeze;
mod gates;
mod grants;
mod hostile;
mod incidents;
mod incoming;
mod interleaving;
mod kills;
mod labels;
mod large;
mod loops;
mod metrics;
mod money;
mod news;
mod orders;
mod outlets;
mod outputs;
mod pages;
mod pins;
mod placeholders;
mod policy_matrix;
mod questions;
mod records;
mod references;
mod refusals;
mod replay;
mod retention;
mod review;
mod said;
mod secrets;
mod shapes;
mod simulate;
mod snapshot;
mod spend;
mod tasks;
mod tokens;
mod tool_search;
mod users;
mod webhook;
