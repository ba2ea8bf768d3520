//! The last 60 s of a counter, exactly, and what it takes the time to be.

use super::usage::{Caps, Usage};
use std::collections::VecDeque;

/// The rolling window, in microseconds.
pub const MINUTE: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

/// One grant in a rolling window.
#[derive(Clone, Copy, Debug)]
struct Entry {
    n: i64,
    at: i64,
    usage: Usage,
}

/// The time a counter has reached. It does not go back: a caller whose clock reading is a little old cannot
/// bring back what has left. One old reading may also be a call that waited long, and counts at the time
/// reached; only a second one, a second later with no newer one between, shows that the clock was set back.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// That time, in microseconds.
    pub reached: i64,
    behind: Option<i64>,
}

/// What a clock reading did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Nothing, or forward.
    On,
    /// The clock was set back by more than the window.
    Back,
}

impl Cursor {
    /// Takes a clock reading.
    pub fn to(&mut self, now: i64) -> Moved {
        if now.saturating_add(MINUTE) >= self.reached {
            self.reached = self.reached.max(now);
            self.behind = None;
            return Moved::On;
        }
        match self.behind {
            Some(first) if now >= first.saturating_add(SECOND) => {
                self.reached = now;
                self.behind = None;
                Moved::Back
            }
            Some(_) => Moved::On,
            None => {
                self.behind = Some(now);
                Moved::On
            }
        }
    }
}

/// The last 60 s of one counter, exactly. An entry made at `t` counts until, and not at, `t` + 60 s.
#[derive(Clone, Debug, Default)]
pub(super) struct Rolling {
    entries: VecDeque<Entry>,
    sum: Usage,
    hand: Cursor,
}

impl Rolling {
    /// Moves to `now`, and says at what time the counter stands.
    pub(super) fn advance(&mut self, now: i64) -> i64 {
        match self.hand.to(now) {
            Moved::On => {}
            Moved::Back => {
                self.entries.retain(|e| e.at < now.saturating_add(MINUTE));
                self.sum = self.entries.iter().fold(Usage::default(), |sum, e| sum.plus(e.usage));
            }
        }
        while let Some(front) = self.entries.front() {
            if front.at.saturating_add(MINUTE) > self.hand.reached {
                break;
            }
            self.sum = self.sum.minus(front.usage);
            self.entries.pop_front();
        }
        self.hand.reached
    }

    /// What is in it, as far as it was moved.
    pub(super) fn sum(&self) -> Usage {
        self.sum
    }

    /// At what time it stands.
    pub(super) fn reached(&self) -> i64 {
        self.hand.reached
    }

    pub(super) fn used(&mut self, now: i64) -> Usage {
        self.advance(now);
        self.sum
    }

    pub(super) fn push(&mut self, n: i64, at: i64, usage: Usage) {
        self.hand.reached = self.hand.reached.max(at);
        self.sum = self.sum.plus(usage);
        self.entries.push_back(Entry { n, at, usage });
    }

    /// Corrects the entry `n`, where it has not left yet.
    pub(super) fn amend(&mut self, n: i64, difference: Usage) {
        if let Ok(index) = self.entries.binary_search_by_key(&n, |e| e.n)
            && let Some(entry) = self.entries.get_mut(index)
        {
            entry.usage = entry.usage.plus(difference);
            self.sum = self.sum.plus(difference);
        }
    }

    /// Keeps the entries of some calls alone.
    pub(super) fn keep(&mut self, keep: impl Fn(i64) -> bool) {
        self.entries.retain(|entry| keep(entry.n));
        self.sum = self.entries.iter().fold(Usage::default(), |sum, entry| sum.plus(entry.usage));
    }

    /// The time of the oldest entry.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When `need` fits, if nothing else happens; `None` where it never does.
    pub(super) fn room_at(&self, caps: &Caps, need: Usage) -> Option<i64> {
        let mut left = self.sum;
        for entry in &self.entries {
            left = left.minus(entry.usage);
            if caps.passed(left, need).is_none() {
                return Some(entry.at.saturating_add(MINUTE));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolling_entry_leaves_after_exactly_sixty_seconds() {
        let one = Usage { calls: 1, tokens: 10, cost: 5 };
        let mut rolling = Rolling::default();
        rolling.push(1, 1_000, one);
        rolling.push(2, 2_000, one);
        assert_eq!(rolling.used(MINUTE + 999).calls, 2);
        assert_eq!(rolling.used(MINUTE + 1_000).calls, 1);
        // An older reading does not bring the first one back, and nothing is lost by it.
        assert_eq!(rolling.used(1_500).calls, 1);
        rolling.amend(2, Usage { calls: 0, tokens: -4, cost: 1 });
        rolling.amend(1, Usage { calls: 0, tokens: -4, cost: 1 });
        assert_eq!(rolling.used(MINUTE + 1_000), Usage { calls: 1, tokens: 6, cost: 6 });
        assert_eq!(rolling.used(MINUTE + 2_000), Usage::default());
    }

    #[test]
    fn a_clock_set_far_back_does_not_stop_calls_for_good() {
        let one = Usage { calls: 1, tokens: 0, cost: 0 };
        let mut rolling = Rolling::default();
        rolling.push(1, 100 * MINUTE, one);
        // One old reading may be a call that waited long; it counts where the counter stands.
        assert_eq!(rolling.used(10 * MINUTE).calls, 1);
        assert_eq!(rolling.used(100 * MINUTE).calls, 1);
        assert_eq!(rolling.used(10 * MINUTE).calls, 1);
        assert_eq!(rolling.used(10 * MINUTE + SECOND).calls, 0);
        rolling.push(2, 10 * MINUTE + SECOND, one);
        assert_eq!(rolling.used(10 * MINUTE + SECOND).calls, 1);
    }

    #[test]
    fn room_comes_when_enough_of_the_oldest_have_left() {
        let mut rolling = Rolling::default();
        for n in 1..=3 {
            rolling.push(n, n * 1_000, Usage { calls: 1, tokens: 10, cost: 0 });
        }
        let caps = Caps { calls: None, tokens: Some(30), cost: None };
        let need = |tokens| Usage { calls: 1, tokens, cost: 0 };
        assert_eq!(rolling.room_at(&caps, need(10)), Some(1_000 + MINUTE));
        assert_eq!(rolling.room_at(&caps, need(15)), Some(2_000 + MINUTE));
        assert_eq!(rolling.room_at(&caps, need(30)), Some(3_000 + MINUTE));
        assert_eq!(rolling.room_at(&caps, need(31)), None);
    }
}
