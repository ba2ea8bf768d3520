//! Credentials that opened nothing, as the record tells them: how many there were, at most once a minute, whoever tries.

use super::Gateway;
use crate::{evidence, identity::AuthError, model::EventDraft, telemetry::Label};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::time::Duration;

/// One record tells at least of so long.
const EVERY: Duration = Duration::from_secs(60);

/// What was counted since it was last recorded.
#[derive(Debug, Default)]
pub(super) struct AuthFailures(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    unknown: u64,
    rate_limited: u64,
    /// When the first of them came, by both clocks.
    first: Option<(Timestamp, Duration)>,
}

impl AuthFailures {
    fn add(&self, is_limited: bool, (at, now): (Timestamp, Duration)) {
        let mut counted = self.0.lock();
        match is_limited {
            true => counted.rate_limited += 1,
            false => counted.unknown += 1,
        }
        counted.first.get_or_insert((at, now));
    }

    /// What is to be recorded: what was counted for a minute, or `all`.
    fn take(&self, all: bool, now: Duration) -> Option<Counted> {
        let mut counted = self.0.lock();
        let (_, began) = counted.first?;
        (all || now.saturating_sub(began) >= EVERY).then(|| std::mem::take(&mut *counted))
    }

    /// What could not be recorded counts on.
    fn give_back(&self, lost: Counted) {
        let mut counted = self.0.lock();
        counted.unknown += lost.unknown;
        counted.rate_limited += lost.rate_limited;
        counted.first = lost.first.or(counted.first);
    }
}

impl Counted {
    fn event(&self, now: Timestamp) -> EventDraft {
        let since = self.first.map_or(now, |(at, _)| at);
        evidence::auth_failed((self.unknown, self.rate_limited), since, now)
    }
}

impl Gateway {
    /// A credential opened nothing.
    pub(super) fn count_failure(&self, error: &AuthError) {
        let (reason, is_limited) = match error {
            AuthError::Missing => ("missing", None),
            AuthError::Unknown => ("unknown", Some(false)),
            AuthError::Expired => ("expired", Some(false)),
            AuthError::Unproven(_) => ("unproven", Some(false)),
            AuthError::RateLimited(_) => ("rate_limited", Some(true)),
            AuthError::Unavailable => ("unavailable", None),
            // It is asked about once more.
            AuthError::Unverified => return,
        };
        self.0.telemetry.metrics.auth_failures.add([Label::from(reason)], 1);
        // Who gives no credential has not failed with one.
        if let Some(is_limited) = is_limited {
            let clock = &self.0.clock;
            self.0.auth_failures.add(is_limited, (clock.now(), clock.monotonic()));
        }
    }

    /// Records what was counted for a minute, or `all`.
    pub(super) async fn record_auth_failures(&self, all: bool) {
        let Some(counted) = self.0.auth_failures.take(all, self.0.clock.monotonic()) else { return };
        let told = vec![counted.event(self.0.clock.now())];
        if let Err(error) = self.0.store.record(told).await {
            tracing::error!(error = %error, "failed sign-ins could not be recorded yet");
            self.0.auth_failures.give_back(counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are told together, once a minute, and what could not be recorded is told with the next.
    #[test]
    fn failures_are_told_once_a_minute() {
        let failures = AuthFailures::default();
        let second = |n| (Timestamp::from_second(n).unwrap(), Duration::from_secs(n.unsigned_abs()));
        assert!(failures.take(true, Duration::ZERO).is_none());
        failures.add(false, second(10));
        failures.add(true, second(60));
        assert!(failures.take(false, Duration::from_secs(69)).is_none());
        let counted = failures.take(false, Duration::from_secs(70)).unwrap();
        assert_eq!((counted.unknown, counted.rate_limited), (1, 1));
        failures.add(false, second(71));
        failures.give_back(counted);
        let counted = failures.take(true, Duration::from_secs(72)).unwrap();
        let event = counted.event(second(72).0);
        let detail = event.detail.unwrap();
        assert_eq!(
            (&detail["count"], &detail["unknown"], &detail["rate_limited"]),
            (&3.into(), &2.into(), &1.into())
        );
        assert_eq!(detail["since"], "1970-01-01T00:00:10Z");
        assert!(failures.take(true, Duration::from_secs(72)).is_none());
    }
}
