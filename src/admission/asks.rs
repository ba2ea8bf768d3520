//! How often an agent may ask people.

use super::refusal::LimitRefusal;
use crate::model::{EventDecision, PolicyId};
use std::time::Duration;

/// How often one agent may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskLimits {
    /// Its asks that may be pending at a time.
    pub pending: usize,
    /// Its asks that people may reject within the window; one more throttles it.
    pub rejected: usize,
    /// Its asks within the window that nobody has approved.
    pub unapproved: usize,
    /// The window.
    pub window: Duration,
}

impl AskLimits {
    /// No limit.
    pub const NONE: Self =
        Self { pending: usize::MAX, rejected: usize::MAX, unapproved: usize::MAX, window: Duration::ZERO };
}

/// What an agent asked before, as its store's records say it. Times are microseconds.
pub trait AskHistory {
    /// Why it cannot be read.
    type Error;

    /// How many of its asks are pending and expire after `now`.
    fn pending(&mut self, now: i64) -> Result<usize, Self::Error>;

    /// When the `nth` last of its asks that people rejected after `after` was rejected; the last is the 0th. `None`: there
    /// are fewer.
    fn rejected(&mut self, after: i64, nth: usize) -> Result<Option<i64>, Self::Error>;

    /// When the `nth` last of its asks made after `after`, and neither approved nor used, was made; the last is the 0th.
    /// `None`: there are fewer.
    fn unapproved(&mut self, after: i64, nth: usize) -> Result<Option<i64>, Self::Error>;
}

/// When an agent with too many pending asks may try again.
const PENDING_WAIT: u64 = 60_000;

impl AskLimits {
    /// Why an agent with this history may not ask at `now`.
    pub fn refusal<H: AskHistory>(
        &self,
        now: i64,
        history: &mut H,
    ) -> Result<Option<LimitRefusal>, H::Error> {
        let refusal = |reason: String, retry_after_ms: u64| LimitRefusal {
            policy_id: PolicyId::from("approvals"),
            decision: EventDecision::Throttle,
            reason,
            retry_after_ms: Some(retry_after_ms),
            never: None,
            looping: None,
        };
        if history.pending(now)? >= self.pending {
            let most = self.pending;
            let reason =
                format!("{most} calls of this agent wait for approval already: no more are asked for");
            return Ok(Some(refusal(reason, PENDING_WAIT)));
        }
        let window = i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX);
        let after = now.saturating_sub(window);
        // Until the oldest of `most` has left the window, there are `most` of them.
        let left = |at: i64| {
            let left = at.saturating_add(window).saturating_sub(now).max(0);
            u64::try_from(left).unwrap_or_default().div_ceil(1_000)
        };
        let span = humantime::format_duration(self.window);
        let most = self.rejected;
        if let Some(at) = history.rejected(after, most.saturating_sub(1))? {
            let reason =
                format!("people rejected {most} calls of this agent within {span}: no more are asked for");
            return Ok(Some(refusal(reason, left(at))));
        }
        let most = self.unapproved;
        Ok(history.unapproved(after, most.saturating_sub(1))?.map(|at| {
            let reason = format!(
                "{most} calls of this agent were asked about within {span} and not approved: no more are asked for"
            );
            refusal(reason, left(at))
        }))
    }
}
