//! What the log says of a store that fails: once, and then now and then how often.

use crate::store::StoreError;
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// The same failure is told again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// What fails at present.
#[derive(Debug)]
pub(super) struct Failing {
    /// Where the journal is: its folder, or the database.
    place: String,
    fails: AtomicBool,
    state: Mutex<Option<Told>>,
}

#[derive(Debug)]
struct Told {
    problem: String,
    at: Instant,
    /// Operations that failed since, and were not told.
    since: usize,
}

impl Failing {
    pub(super) fn new(place: String) -> Self {
        Self { place, fails: AtomicBool::new(false), state: Mutex::new(None) }
    }

    /// So many operations failed of this.
    #[expect(
        clippy::disallowed_methods,
        reason = "how often the log is written, which decides nothing that is recorded"
    )]
    pub(super) fn tell(&self, error: &StoreError, operations: usize) {
        let now = Instant::now();
        let problem = error.to_string();
        self.fails.store(true, Ordering::Release);
        let mut state = self.state.lock();
        let not_told = match state.as_mut() {
            Some(told) if told.problem == problem && now.duration_since(told.at) < AGAIN => {
                told.since += operations;
                return;
            }
            Some(told) if told.problem == problem => told.since,
            Some(_) | None => 0,
        };
        *state = Some(Told { problem, at: now, since: 0 });
        drop(state);
        let (place, operations) = (&self.place, operations + not_told);
        match error {
            StoreError::Full => tracing::error!(
                place,
                operations,
                "store.full: there is no room on the disk of this place. Calls are denied until some is freed, and then go on by \
                 themselves; nothing of the record is lost"
            ),
            error => tracing::error!(place, %error, operations, "store.write_failed"),
        }
    }

    /// It writes.
    pub(super) fn over(&self) {
        if self.fails.swap(false, Ordering::AcqRel)
            && let Some(told) = self.state.lock().take()
        {
            tracing::info!(problem = told.problem, not_told = told.since, "store.writes_again");
        }
    }
}
