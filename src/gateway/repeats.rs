//! How often this process has just seen the same call: the fact `call.repeats`. The exact limit on loops is
//! admission's, in the store.

use crate::model::{AgentId, Digest};
use dashmap::DashMap;
use std::{collections::VecDeque, time::Duration};

const WINDOW: Duration = Duration::from_secs(60);
const MAX_CALLS: usize = 4096;
const MAX_TIMES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Repeats {
    seen: DashMap<(AgentId, Digest), VecDeque<Duration>>,
}

impl Repeats {
    /// How many like it came in the last 60 s.
    pub(crate) fn before(&self, agent: &AgentId, digest: &Digest, now: Duration) -> u64 {
        let since = now.saturating_sub(WINDOW);
        let times = self.seen.get(&(agent.clone(), digest.clone()));
        times.map_or(0, |times| times.iter().filter(|at| **at >= since).count() as u64)
    }

    /// Notes a call.
    pub(crate) fn note(&self, agent: &AgentId, digest: &Digest, now: Duration) {
        let since = now.saturating_sub(WINDOW);
        if self.seen.len() >= MAX_CALLS {
            self.seen.retain(|_, times| times.back().is_some_and(|last| *last >= since));
        }
        let key = (agent.clone(), digest.clone());
        if self.seen.len() >= MAX_CALLS && !self.seen.contains_key(&key) {
            return;
        }
        let mut times = self.seen.entry(key).or_default();
        while times.front().is_some_and(|first| *first < since) || times.len() >= MAX_TIMES {
            times.pop_front();
        }
        times.push_back(now);
    }
}
