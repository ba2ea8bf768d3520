//! What goes wrong with credentials: found out by one for all who wait, and told once in a while.

use crate::model::ConnectionKey;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

/// How long nobody tries again after a renewal that failed.
const PAUSE: Duration = Duration::from_secs(5);
/// How long none of its tokens is sent after the upstream took none.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// A failure that goes on is recorded no more often.
const RECORDED: Duration = Duration::from_secs(60);
/// A credential of which the upstream has taken no token for so long has ended.
const REFUSED: Duration = Duration::from_secs(3 * 60);
/// Refusals that lie further apart have nothing to do with each other.
const APART: Duration = Duration::from_secs(10 * 60);
/// Credentials of which something is remembered.
const MOST: usize = 10_000;

/// What is wrong with credentials at this moment, in this process. All times are on the clock that never goes back.
#[derive(Default)]
pub(super) struct Troubles(Mutex<HashMap<ConnectionKey, Trouble>>);

#[derive(Default)]
struct Trouble {
    /// Of the credential with this number.
    generation: u64,
    /// When a renewal failed last, and why.
    failed: Option<(Duration, String)>,
    /// When that was recorded.
    recorded: Option<Duration>,
    /// Since when the upstream takes none of its tokens, and when it was seen last.
    refused: Option<(Duration, Duration)>,
}

impl Troubles {
    fn change<T>(&self, key: &ConnectionKey, generation: u64, change: impl FnOnce(&mut Trouble) -> T) -> T {
        let mut all = self.0.lock();
        if all.len() >= MOST && !all.contains_key(key) {
            all.clear();
        }
        let trouble = all.entry(key.clone()).or_default();
        if trouble.generation != generation {
            *trouble = Trouble { generation, ..Trouble::default() };
        }
        change(trouble)
    }

    fn look<T>(
        &self,
        key: &ConnectionKey,
        generation: u64,
        look: impl FnOnce(&Trouble) -> Option<T>,
    ) -> Option<T> {
        let all = self.0.lock();
        look(all.get(key).filter(|trouble| trouble.generation == generation)?)
    }

    /// A renewal has failed. Whether that is to be recorded.
    pub(super) fn failed(&self, key: &ConnectionKey, generation: u64, why: &str, now: Duration) -> bool {
        self.change(key, generation, |trouble| {
            trouble.failed = Some((now, why.to_owned()));
            let is_due = trouble.recorded.is_none_or(|at| now.saturating_sub(at) >= RECORDED);
            if is_due {
                trouble.recorded = Some(now);
            }
            is_due
        })
    }

    /// Why nobody renews it just now.
    pub(super) fn is_paused(&self, key: &ConnectionKey, generation: u64, now: Duration) -> Option<String> {
        let is_fresh = |at: &Duration| now.saturating_sub(*at) < PAUSE;
        self.look(key, generation, |trouble| {
            trouble.failed.as_ref().filter(|(at, _)| is_fresh(at)).map(|(_, why)| why.clone())
        })
    }

    /// It was renewed.
    pub(super) fn renewed(&self, key: &ConnectionKey, generation: u64) {
        self.change(key, generation, |trouble| (trouble.failed, trouble.recorded) = (None, None));
    }

    /// The upstream takes not even its fresh token. Whether that has gone on for so long that it has ended.
    pub(super) fn refused(&self, key: &ConnectionKey, generation: u64, now: Duration) -> bool {
        self.change(key, generation, |trouble| {
            let since = trouble.refused.filter(|(_, last)| now.saturating_sub(*last) < APART);
            let since = since.map_or(now, |(since, _)| since);
            trouble.refused = Some((since, now));
            now.saturating_sub(since) >= REFUSED
        })
    }

    /// Whether none of its tokens is sent just now.
    pub(super) fn is_refused(&self, key: &ConnectionKey, generation: u64, now: Duration) -> bool {
        let is_fresh = |last: Duration| now.saturating_sub(last) < REFUSED_PAUSE;
        self.look(key, generation, |trouble| trouble.refused.filter(|(_, last)| is_fresh(*last))).is_some()
    }

    /// The upstream takes its tokens.
    pub(super) fn accepted(&self, key: &ConnectionKey) {
        if let Some(trouble) = self.0.lock().get_mut(key) {
            trouble.refused = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Holder;

    fn key() -> ConnectionKey {
        ConnectionKey { upstream: "crm".into(), holder: Holder::Gateway }
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_failure_counts_for_a_moment_and_is_recorded_once_a_minute() {
        let (troubles, key) = (Troubles::default(), key());
        assert_eq!(troubles.is_paused(&key, 1, at(0)), None);
        assert!(troubles.failed(&key, 1, "first", at(0)));
        assert_eq!(troubles.is_paused(&key, 1, at(4)).as_deref(), Some("first"));
        // Of another credential it says nothing.
        assert_eq!(troubles.is_paused(&key, 2, at(4)), None);
        assert_eq!(troubles.is_paused(&key, 1, at(5)), None);
        assert!(!troubles.failed(&key, 1, "second", at(5)));
        assert_eq!(troubles.is_paused(&key, 1, at(6)).as_deref(), Some("second"));
        assert!(troubles.failed(&key, 1, "third", at(60)));
        troubles.renewed(&key, 1);
        assert_eq!(troubles.is_paused(&key, 1, at(61)), None);
        assert!(troubles.failed(&key, 1, "fourth", at(62)));
    }

    /// One minute in which an upstream takes no token ends nothing: whoever goes on for three ends it.
    #[test]
    fn a_credential_ends_when_it_is_refused_for_minutes() {
        let (troubles, key) = (Troubles::default(), key());
        assert!(!troubles.refused(&key, 1, at(0)));
        assert!(troubles.is_refused(&key, 1, at(29)) && !troubles.is_refused(&key, 1, at(30)));
        assert!(!troubles.refused(&key, 1, at(179)));
        troubles.accepted(&key);
        assert!(!troubles.is_refused(&key, 1, at(180)));
        assert!(!troubles.refused(&key, 1, at(180)), "it was taken in between");
        assert!(!troubles.refused(&key, 1, at(780)), "too far apart");
        assert!(!troubles.refused(&key, 2, at(900)), "another credential");
        assert!(!troubles.refused(&key, 2, at(1_000)));
        assert!(troubles.refused(&key, 2, at(1_080)));
    }
}
