//! What this process has seen of a rollout's stage, and what of it is on record.

use crate::evidence::Seen;
use parking_lot::Mutex;
use std::time::Duration;

/// How long a process waits between two records of what it has seen, at least and at most. In between it is a tenth of the time
/// that the stage has lasted.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);

/// What this process has seen of a stage.
#[derive(Debug, Default)]
pub(super) struct StageCounts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    seen: Seen,
    recorded: Seen,
    /// When that was, on the clock that never goes back.
    recorded_at: Duration,
    /// It is beyond its bound, and somebody is ending it.
    ending: bool,
}

impl StageCounts {
    /// Adds a call, and gives all of it.
    pub(super) fn add(&self, seen: Seen) -> Seen {
        let mut counted = self.0.lock();
        counted.seen = counted.seen.and(seen);
        counted.seen
    }

    /// Whether nobody is ending it yet.
    pub(super) fn begin_ending(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().ending, true)
    }

    /// It could not be ended: the next call may try again.
    pub(super) fn not_ended(&self) {
        self.0.lock().ending = false;
    }

    /// What is to be recorded now; `all`: whatever is not recorded yet.
    pub(super) fn due(&self, now: Duration, lasted: Duration, all: bool) -> Option<Seen> {
        let mut counted = self.0.lock();
        let wait = (lasted / 10).clamp(SOONEST, LATEST);
        if counted.seen == counted.recorded || !(all || now.saturating_sub(counted.recorded_at) >= wait) {
            return None;
        }
        counted.recorded = counted.seen;
        counted.recorded_at = now;
        Some(counted.seen)
    }

    /// It was not recorded after all.
    pub(super) fn not_recorded(&self) {
        self.0.lock().recorded = Seen::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_recorded_more_seldom_the_longer_a_stage_lasts() {
        let counts = StageCounts::default();
        let at = Duration::from_secs;
        assert_eq!(counts.due(at(100), at(5), false), None, "nothing was seen");
        let one = Seen { calls: 1, ..Seen::default() };
        counts.add(one);
        assert_eq!(counts.due(at(100), at(5), false), Some(one));
        counts.add(one);
        assert_eq!(counts.due(at(100), at(5), false), None);
        assert_eq!(counts.due(at(101), at(5), false), Some(one.and(one)));
        counts.add(one);
        assert_eq!(counts.due(at(110), at(3600), false), None);
        assert_eq!(counts.due(at(110), at(3600), true).map(|seen| seen.calls), Some(3));
        counts.not_recorded();
        assert_eq!(counts.due(at(170), at(360_000), false).map(|seen| seen.calls), Some(3));
    }
}
