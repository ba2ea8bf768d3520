//! Calls by a key in a window that rolls: more of one key than a bundle lets through are a loop. Identical calls of an agent
//! have the last 60 s.

use super::rolling::{Cursor, MINUTE, Moved};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};

/// Calls that are counted at a time; beyond them the oldest count no more.
const MOST: usize = 1_000_000;

/// How often each key was counted in a window.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    window: i64,
    queue: VecDeque<(i64, i64)>,
    counts: HashMap<i64, u32>,
    hand: Cursor,
}

impl Default for Repeats {
    fn default() -> Self {
        Self::over(MINUTE)
    }
}

impl Repeats {
    /// Over a window in microseconds.
    pub(super) fn over(window: i64) -> Self {
        Self { window, queue: VecDeque::new(), counts: HashMap::new(), hand: Cursor::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn advance(&mut self, now: i64) -> i64 {
        match self.hand.to(now) {
            Moved::On => {}
            Moved::Back => {
                let latest = now.saturating_add(self.window);
                self.queue.retain(|(at, _)| *at < latest);
                self.counts.clear();
                for (_, key) in &self.queue {
                    *self.counts.entry(*key).or_default() += 1;
                }
            }
        }
        while let Some((at, key)) = self.queue.front().copied() {
            if at.saturating_add(self.window) > self.hand.reached && self.queue.len() <= MOST {
                break;
            }
            self.queue.pop_front();
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
        self.hand.reached
    }

    pub(super) fn push(&mut self, at: i64, key: i64) {
        self.hand.reached = self.hand.reached.max(at);
        self.queue.push_back((at, key));
        *self.counts.entry(key).or_default() += 1;
    }

    pub(super) fn count(&self, key: i64) -> u32 {
        self.counts.get(&key).copied().unwrap_or(0)
    }

    /// At what time they stand.
    pub(super) fn reached(&self) -> i64 {
        self.hand.reached
    }

    /// When at most `keep` of these remain.
    pub(super) fn room_at(&self, key: i64, keep: u32) -> Option<i64> {
        let leaving = usize::try_from(self.count(key).checked_sub(keep)?.checked_sub(1)?).ok()?;
        let (at, _) = self.queue.iter().filter(|(_, k)| *k == key).nth(leaving)?;
        Some(at.saturating_add(self.window))
    }
}

/// By what identical calls of one agent are known.
pub fn repeat_key(agent: &str, digest: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(agent);
    hasher.update([0]);
    hasher.update(digest);
    let hash: [u8; 32] = hasher.finalize().into();
    hash.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}
