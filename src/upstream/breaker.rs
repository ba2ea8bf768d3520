//! Stops asking an upstream that keeps failing, so that callers get their answer at once.
//!
//! Failures count by agent. One agent's own failures in a row stop that agent alone: its calls may be what makes the
//! upstream fail. Failures of several agents, with no answer to anybody in between, stop everybody. An upstream that
//! cannot be reached at all is down, which is another matter (`server.rs`).

use super::{inbox::ServerResponse, types::UpstreamError};
use crate::{clock::Clock, config::BreakerConfig, model::AgentId};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Agents whose failures are remembered at a time.
const MOST_AGENTS: usize = 1024;

/// Opens after failures in a row; after the cooldown one call at a time tries.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For everybody.
    all: Gate,
    /// Failures of each agent since anybody was answered.
    since_answer: HashMap<AgentId, u32>,
    /// For those that have failures of their own.
    own: HashMap<AgentId, Gate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Closed,
    /// So many failures in a row.
    Counting(u32),
    Open {
        since: Duration,
    },
    /// One call tries.
    HalfOpen,
}

impl Gate {
    /// Whether a call that enters now is the one that tries, or how long none may.
    fn admits(self, now: Duration, cooldown: Duration) -> Result<bool, Duration> {
        match self {
            Self::Closed | Self::Counting(_) => Ok(false),
            Self::Open { since } => {
                let waited = now.saturating_sub(since);
                if waited < cooldown { Err(cooldown.saturating_sub(waited)) } else { Ok(true) }
            }
            Self::HalfOpen => Err(Duration::ZERO),
        }
    }

    /// Whether the end of a call that began before the gate opened still says something about it.
    fn hears(self, tries: bool) -> bool {
        tries || matches!(self, Self::Closed | Self::Counting(_))
    }
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
    pub(super) fn of(outcome: &ServerResponse) -> Self {
        match outcome {
            Ok(_) | Err(UpstreamError::Rpc(_) | UpstreamError::TooLarge(_)) => Self::Answered,
            // What it says of one request is no reason to ask nothing else; that it knows us no more, has moved, has too
            // much to do or fails is one.
            Err(UpstreamError::Refused(refusal))
                if !matches!(refusal.status, 300..=399 | 401 | 407 | 408 | 429 | 500..)
                    && refusal.retry_after.is_none() =>
            {
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
    agent: AgentId,
    tries_all: bool,
    tries_own: bool,
    reported: bool,
}

impl Breaker {
    pub(super) fn new(config: BreakerConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, state: Mutex::default() }
    }

    /// Leave to call, or how long there is none.
    pub(super) fn enter(&self, agent: &AgentId) -> Result<Leave<'_>, Duration> {
        let (now, cooldown) = (self.clock.monotonic(), self.config.cooldown);
        let mut state = self.state.lock();
        let tries_all = state.all.admits(now, cooldown)?;
        let own = state.own.get_mut(agent);
        let tries_own = own.as_ref().map_or(Ok(false), |gate| gate.admits(now, cooldown))?;
        if let Some(gate) = own.filter(|_| tries_own) {
            *gate = Gate::HalfOpen;
        }
        if tries_all {
            state.all = Gate::HalfOpen;
        }
        Ok(Leave { breaker: self, agent: agent.clone(), tries_all, tries_own, reported: false })
    }

    /// A fresh connection that listed is a proof of life. What an agent's own calls provoke it does not disprove.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        state.all = Gate::Closed;
        state.since_answer.clear();
    }
}

impl State {
    /// One failure more for everybody: whether they are enough, and not one agent's alone. Of one agent's failures half
    /// of what is needed counts.
    fn enough_for_all(&mut self, agent: &AgentId, needed: u32) -> bool {
        let needed = needed.max(2);
        let from_one = needed.div_ceil(2);
        if self.since_answer.len() < MOST_AGENTS || self.since_answer.contains_key(agent) {
            let count = self.since_answer.entry(agent.clone()).or_default();
            *count = count.saturating_add(1).min(from_one);
        }
        let counted = self.since_answer.values().fold(0_u32, |sum, count| sum.saturating_add(*count));
        counted >= needed
    }

    /// One failure more of an agent's own.
    fn count_own(&mut self, agent: &AgentId, needed: u32, now: Duration, tried: bool) {
        if self.own.len() >= MOST_AGENTS && !self.own.contains_key(agent) {
            self.own.retain(|_, gate| !matches!(gate, Gate::Counting(_)));
        }
        if self.own.len() >= MOST_AGENTS && !self.own.contains_key(agent) {
            return;
        }
        let gate = self.own.entry(agent.clone()).or_default();
        let failures = match *gate {
            _ if tried => needed,
            Gate::Closed => 1,
            Gate::Counting(failures) => failures.saturating_add(1),
            Gate::Open { .. } | Gate::HalfOpen => return,
        };
        *gate = if failures >= needed { Gate::Open { since: now } } else { Gate::Counting(failures) };
    }
}

impl Leave<'_> {
    /// Whether others wait for what comes of this call.
    pub(super) fn tries(&self) -> bool {
        self.tries_all || self.tries_own
    }

    pub(super) fn report(mut self, health: Health) {
        self.reported = true;
        let needed = self.breaker.config.failures.max(1);
        let now = self.breaker.clock.monotonic();
        let mut state = self.breaker.state.lock();
        let state = &mut *state;
        match health {
            // A call that began before a gate opened does not close it again.
            Health::Answered => {
                if state.all.hears(self.tries_all) {
                    state.all = Gate::Closed;
                    state.since_answer.clear();
                }
                if state.own.get(&self.agent).is_some_and(|gate| gate.hears(self.tries_own)) {
                    state.own.remove(&self.agent);
                }
            }
            Health::Failed => {
                state.count_own(&self.agent, needed, now, self.tries_own);
                let opens = state.all.hears(self.tries_all)
                    && (state.enough_for_all(&self.agent, needed) || self.tries_all);
                if opens {
                    state.all = Gate::Open { since: now };
                    state.since_answer.clear();
                }
            }
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.reported || !self.tries() {
            return;
        }
        // The next one may try at once.
        let now = self.breaker.clock.monotonic();
        let again = Gate::Open { since: now.saturating_sub(self.breaker.config.cooldown) };
        let mut state = self.breaker.state.lock();
        if self.tries_all && state.all == Gate::HalfOpen {
            state.all = again;
        }
        if let Some(gate) =
            state.own.get_mut(&self.agent).filter(|gate| self.tries_own && **gate == Gate::HalfOpen)
        {
            *gate = again;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Fake;
    use jiff::Timestamp;

    fn breaker(failures: u32) -> (Breaker, Arc<Fake>) {
        let clock = Fake::at(Timestamp::UNIX_EPOCH);
        let config = BreakerConfig { failures, cooldown: Duration::from_secs(30) };
        (Breaker::new(config, clock.clone()), clock)
    }

    impl Breaker {
        fn says(&self, agent: &str, health: Health) {
            self.enter(&agent.into()).unwrap().report(health);
        }
        fn fails(&self, agent: &str, times: usize) {
            (0..times).for_each(|_| self.says(agent, Health::Failed));
        }
        fn is_open(&self, agent: &str) -> bool {
            self.enter(&agent.into()).is_err()
        }
    }

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_call_try() {
        let (breaker, clock) = breaker(2);
        breaker.fails("a", 1);
        breaker.says("a", Health::Answered);
        breaker.fails("a", 2);
        assert_eq!(breaker.enter(&"a".into()).unwrap_err(), Duration::from_secs(30));
        clock.advance(Duration::from_secs(30));
        let tries = breaker.enter(&"a".into()).unwrap();
        assert!(breaker.is_open("a"), "one at a time");
        tries.report(Health::Failed);
        assert!(breaker.is_open("a"), "one that fails opens it again");
        clock.advance(Duration::from_secs(30));
        drop(breaker.enter(&"a".into()).unwrap());
        breaker.says("a", Health::Answered);
        breaker.fails("a", 1);
        breaker.says("a", Health::Answered);
        assert!(breaker.state.lock().own.is_empty());
    }

    #[test]
    fn a_late_answer_does_not_close_it() {
        let (breaker, _) = breaker(1);
        let early = breaker.enter(&"a".into()).unwrap();
        breaker.fails("a", 1);
        early.report(Health::Answered);
        assert!(breaker.is_open("a"));
    }

    /// However often one agent's calls fail, the others are not shut out; where theirs fail too, everybody is.
    #[test]
    fn one_agents_failures_are_its_own() {
        for failures in 1..8 {
            let (breaker, clock) = breaker(failures);
            for round in 0..3 {
                breaker.fails("a", if round == 0 { failures as usize } else { 1 });
                assert!(breaker.is_open("a") && !breaker.is_open("b"), "{failures}");
                clock.advance(Duration::from_secs(30));
            }
            // Of another agent it takes half of them, and an answer to anybody begins again.
            let half = (failures.max(2) / 2) as usize;
            breaker.says("c", Health::Answered);
            breaker.fails("b", half);
            assert!(!breaker.is_open("c"), "{failures}");
            breaker.says("c", Health::Answered);
            let (first, rest) = (failures.max(2).div_ceil(2) as usize, half);
            breaker.fails("d", first);
            for n in 0..rest {
                assert!(!breaker.is_open("c"), "{failures} {n}");
                breaker.fails("e", 1);
            }
            assert!(breaker.is_open("c"), "{failures}");
            clock.advance(Duration::from_secs(30));
            breaker.says("c", Health::Answered);
            assert!(!breaker.is_open("f"), "{failures}");
        }
    }

    /// A new connection is a proof of life, but an agent whose calls end each connection stays out.
    #[test]
    fn a_new_connection_readmits_all_but_who_fails_alone() {
        let (breaker, _) = breaker(2);
        breaker.fails("a", 2);
        breaker.fails("b", 1);
        assert!(breaker.is_open("c"));
        breaker.reset();
        assert!(breaker.is_open("a") && !breaker.is_open("b") && !breaker.is_open("c"));
    }

    #[test]
    fn the_agents_that_are_remembered_are_bounded() {
        let (breaker, _) = breaker(1_000_000);
        for n in 0..3 * MOST_AGENTS {
            breaker.fails(&n.to_string(), 1);
        }
        let state = breaker.state.lock();
        assert!(state.own.len() <= MOST_AGENTS && state.since_answer.len() <= MOST_AGENTS);
    }
}
