//! When keys were last used, by the minute. Whoever authenticates pays for a look-up; what is new is written elsewhere, from
//! time to time.

use dashmap::DashMap;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How exact it is, in seconds.
const STEP: i64 = 60;

/// Keys of this process's callers, each with when it was last used. There are no more of them than the authority map has had:
/// a wrong key leaves nothing here.
#[derive(Debug, Default)]
pub struct KeyUse(DashMap<[u8; 32], Last>);

#[derive(Debug)]
struct Last {
    second: AtomicI64,
    new: AtomicBool,
}

/// A key that was used since somebody last asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The SHA-256 of the key.
    pub digest: [u8; 32],
    /// When, to the minute.
    pub at: Timestamp,
}

impl std::fmt::Debug for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Used").field("at", &self.at).finish_non_exhaustive()
    }
}

/// The second at which its minute began.
fn minute(now: Timestamp) -> i64 {
    now.as_second() - now.as_second().rem_euclid(STEP)
}

impl Used {
    /// A key that was used now.
    pub(super) fn of(digest: [u8; 32], now: Timestamp) -> Self {
        Self { digest, at: Timestamp::from_second(minute(now)).unwrap_or(now) }
    }
}

impl KeyUse {
    /// A right key was used.
    pub(super) fn note(&self, digest: &[u8; 32], now: Timestamp) {
        let now = minute(now);
        match self.0.get(digest) {
            Some(last) if last.second.load(Ordering::Relaxed) >= now => {}
            Some(last) => {
                last.second.store(now, Ordering::Relaxed);
                last.new.store(true, Ordering::Release);
            }
            None => {
                let first = || Last { second: AtomicI64::new(now), new: AtomicBool::new(true) };
                self.0.entry(*digest).or_insert_with(first);
            }
        }
    }

    /// The keys that were used since this was last asked.
    pub fn take(&self) -> Vec<Used> {
        let new = self.0.iter().filter(|last| last.new.swap(false, Ordering::AcqRel));
        let used = new.filter_map(|last| {
            let at = Timestamp::from_second(last.second.load(Ordering::Relaxed)).ok()?;
            Some(Used { digest: *last.key(), at })
        });
        used.collect()
    }
}
