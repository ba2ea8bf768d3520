//! How often this process has just seen the same call: the fact `call.repeats`. The exact limit on loops is
//! admission's, in the store.

use crate::model::Digest;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

const WINDOW: Duration = Duration::from_secs(60);
/// Calls remembered per generation; two generations are kept, so that forgetting costs no search.
const MAX_CALLS: usize = 16_384;
/// Times remembered per call; a fact above it says nothing more.
const MAX_TIMES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Repeats {
    seen: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<(u64, Digest), Vec<Duration>>,
    old: HashMap<(u64, Digest), Vec<Duration>>,
    since: Duration,
}

impl Repeats {
    /// How many like it came in the last 60 s.
    pub(crate) fn before(&self, agent: &str, digest: &Digest, now: Duration) -> u64 {
        let since = now.saturating_sub(WINDOW);
        let key = (agent_key(agent), digest.clone());
        let seen = self.seen.lock();
        let count = |times: Option<&Vec<Duration>>| {
            times.map_or(0, |times| times.iter().filter(|at| **at >= since).count())
        };
        (count(seen.young.get(&key)) + count(seen.old.get(&key))) as u64
    }

    /// Notes a call.
    pub(crate) fn note(&self, agent: &str, digest: &Digest, now: Duration) {
        let key = (agent_key(agent), digest.clone());
        let mut seen = self.seen.lock();
        if seen.young.len() >= MAX_CALLS || now.saturating_sub(seen.since) > WINDOW {
            seen.old = std::mem::take(&mut seen.young);
            seen.since = now;
        }
        let times = seen.young.entry(key).or_default();
        if times.len() < MAX_TIMES {
            times.push(now);
        }
    }
}

fn agent_key(agent: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    agent.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_per_agent_and_forgotten_after_a_minute() {
        let repeats = Repeats::default();
        let digest = Digest::from("d");
        let at = Duration::from_secs;
        for second in 0..5 {
            assert_eq!(repeats.before("a", &digest, at(second)), second);
            repeats.note("a", &digest, at(second));
        }
        assert_eq!(repeats.before("b", &digest, at(5)), 0);
        assert_eq!(repeats.before("a", &Digest::from("e"), at(5)), 0);
        assert_eq!(repeats.before("a", &digest, at(62)), 3);
        repeats.note("a", &digest, at(90));
        assert_eq!(repeats.before("a", &digest, at(90)), 1);
    }
}
