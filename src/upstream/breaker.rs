//! Stops asking an upstream that keeps failing, so that callers get their answer at once.

use super::{inbox::Answer, types::UpstreamError};
use crate::{clock::Clock, config::BreakerConfig};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// Opens after failures in a row; after the cooldown one call at a time tries.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { since: Duration },
    HalfOpen,
}

/// What one call's end says of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answered, with whatever.
    Answered,
    /// The transport failed, or no answer came in time.
    Failed,
}

impl Health {
    /// What an attempt's outcome says.
    pub(super) fn of(outcome: &Answer) -> Self {
        match outcome {
            Ok(_) | Err(UpstreamError::Rpc(_) | UpstreamError::TooLarge(_)) => Self::Answered,
            // What it says of one request is no reason to ask nothing else; that it knows us no more, or has too much to
            // do, is one.
            Err(UpstreamError::Refused(status)) if !matches!(status, 401 | 403 | 407 | 408 | 429) => {
                Self::Answered
            }
            Err(
                UpstreamError::NotSent(_)
                | UpstreamError::Lost(_)
                | UpstreamError::TimedOut(_)
                | UpstreamError::Refused(_)
                | UpstreamError::Malformed(_),
            ) => Self::Failed,
        }
    }
}

/// Leave to make one call. Dropped without a report (the caller went away) it says nothing of the upstream.
#[derive(Debug)]
#[must_use]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    probe: bool,
    reported: bool,
}

impl Breaker {
    pub(super) fn new(config: BreakerConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Leave to call, or how long the breaker stays open.
    pub(super) fn enter(&self) -> Result<Leave<'_>, Duration> {
        let mut state = self.state.lock();
        match &*state {
            State::Closed { .. } => Ok(Leave { breaker: self, probe: false, reported: false }),
            State::Open { since } => {
                let waited = self.clock.monotonic().saturating_sub(*since);
                if waited < self.config.cooldown {
                    return Err(self.config.cooldown.saturating_sub(waited));
                }
                *state = State::HalfOpen;
                Ok(Leave { breaker: self, probe: true, reported: false })
            }
            State::HalfOpen => Err(Duration::ZERO),
        }
    }

    /// A fresh connection that listed is a proof of life.
    pub(super) fn reset(&self) {
        *self.state.lock() = State::Closed { failures: 0 };
    }
}

impl Leave<'_> {
    pub(super) fn report(mut self, health: Health) {
        self.reported = true;
        let mut state = self.breaker.state.lock();
        match health {
            Health::Answered => {
                // A call that began before the breaker opened does not close it again.
                if self.probe || matches!(*state, State::Closed { .. }) {
                    *state = State::Closed { failures: 0 };
                }
            }
            Health::Failed => {
                let failures = match *state {
                    State::Closed { failures } => failures.saturating_add(1),
                    State::HalfOpen if self.probe => self.breaker.config.failures,
                    State::HalfOpen | State::Open { .. } => return,
                };
                *state = if failures >= self.breaker.config.failures.max(1) {
                    State::Open { since: self.breaker.clock.monotonic() }
                } else {
                    State::Closed { failures }
                };
            }
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.probe && !self.reported {
            let mut state = self.breaker.state.lock();
            if matches!(*state, State::HalfOpen) {
                let now = self.breaker.clock.monotonic();
                *state = State::Open { since: now.saturating_sub(self.breaker.config.cooldown) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Fake;
    use jiff::Timestamp;

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let clock = Fake::at(Timestamp::UNIX_EPOCH);
        let config = BreakerConfig { failures: 2, cooldown: Duration::from_secs(30) };
        let breaker = Breaker::new(config, clock.clone());
        breaker.enter().unwrap().report(Health::Failed);
        breaker.enter().unwrap().report(Health::Answered);
        breaker.enter().unwrap().report(Health::Failed);
        breaker.enter().unwrap().report(Health::Failed);
        assert_eq!(breaker.enter().unwrap_err(), Duration::from_secs(30));
        clock.advance(Duration::from_secs(30));
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_err(), "one probe at a time");
        probe.report(Health::Failed);
        assert!(breaker.enter().is_err(), "a failed probe opens it again");
        clock.advance(Duration::from_secs(30));
        drop(breaker.enter().unwrap());
        breaker.enter().unwrap().report(Health::Answered);
        breaker.enter().unwrap().report(Health::Failed);
        breaker.enter().unwrap().report(Health::Answered);
    }

    #[test]
    fn a_late_answer_does_not_close_it() {
        let clock = Fake::at(Timestamp::UNIX_EPOCH);
        let breaker = Breaker::new(BreakerConfig { failures: 1, cooldown: Duration::from_secs(1) }, clock);
        let early = breaker.enter().unwrap();
        breaker.enter().unwrap().report(Health::Failed);
        early.report(Health::Answered);
        assert!(breaker.enter().is_err());
    }
}
