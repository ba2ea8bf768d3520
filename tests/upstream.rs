//! Upstream connections against real rmcp servers and against scripted ones that misbehave.
//!
//! Child processes are this binary again: `supervisor` and `child_entry` below are their entries.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own functions may fail by panicking, as the test itself may"
)]

#[path = "upstream/child.rs"]
mod child;
#[path = "upstream/fixture.rs"]
mod fixture;
#[path = "upstream/http.rs"]
mod http;
#[path = "upstream/oauth.rs"]
mod oauth;
#[path = "upstream/statuses.rs"]
mod statuses;
#[path = "upstream/stdio.rs"]
mod stdio;
#[path = "upstream/support.rs"]
mod support;
#[path = "upstream/two_urls.rs"]
mod two_urls;
#[path = "upstream/web.rs"]
mod web;

/// Entry of the supervisor: does nothing unless it is started as one.
#[test]
fn supervisor() {
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(at) = args.iter().position(|arg| arg == support::SUPERVISE) {
        let code = tollgate::upstream::supervise::main(args.into_iter().skip(at + 1));
        // The number cannot be had from an `ExitCode`; whether all went well can.
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// Entry of a child: does nothing unless a role is set.
#[test]
fn child_entry() {
    if let Ok(role) = std::env::var(support::ROLE) {
        child::play(&role);
        std::process::exit(0);
    }
}

/// Entry of a gateway process that will be killed.
#[test]
fn gateway_entry() {
    if std::env::var(support::GATEWAY).is_ok() {
        stdio::gateway();
    }
}
