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

/// A call that is counted: it is no repeat of itself where it is decided anew.
#[derive(Clone, Debug)]
pub(crate) struct CountedCall {
    digest: Digest,
    at: Duration,
}

impl Repeats {
    /// How many like it came in the last 60 s, without the call itself where that is counted already: as `own`, or as it was
    /// before its client was asked (`is_retry`).
    pub(crate) fn before(
        &self,
        agent: &str,
        digest: &Digest,
        (own, is_retry): (Option<&CountedCall>, bool),
        now: Duration,
    ) -> u64 {
        let since = now.saturating_sub(WINDOW);
        let key = (agent_key(agent), digest.clone());
        let seen = self.seen.lock();
        let count = |times: Option<&Vec<Duration>>| {
            times.map_or(0, |times| times.iter().filter(|at| **at >= since).count())
        };
        let all = count(seen.young.get(&key)) + count(seen.old.get(&key));
        let itself = own.is_some_and(|own| own.digest == *digest && own.at >= since);
        all.saturating_sub(usize::from(itself) + usize::from(is_retry)) as u64
    }

    /// Notes a call. `None`: so many like it are remembered that one more says nothing.
    pub(crate) fn note(&self, agent: &str, digest: &Digest, now: Duration) -> Option<CountedCall> {
        let key = (agent_key(agent), digest.clone());
        let mut seen = self.seen.lock();
        if seen.young.len() >= MAX_CALLS || now.saturating_sub(seen.since) > WINDOW {
            seen.old = std::mem::take(&mut seen.young);
            seen.since = now;
        }
        let times = seen.young.entry(key).or_default();
        (times.len() < MAX_TIMES).then(|| {
            times.push(now);
            CountedCall { digest: digest.clone(), at: now }
        })
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
            assert_eq!(repeats.before("a", &digest, (None, false), at(second)), second);
            let own = repeats.note("a", &digest, at(second)).unwrap();
            assert_eq!(repeats.before("a", &digest, (Some(&own), false), at(second)), second, "itself");
            assert_eq!(repeats.before("a", &digest, (None, false), at(second)), second + 1);
            assert_eq!(
                repeats.before("a", &Digest::from("e"), (Some(&own), false), at(second)),
                0,
                "as it was changed"
            );
        }
        assert_eq!(repeats.before("b", &digest, (None, false), at(5)), 0);
        assert_eq!(repeats.before("a", &Digest::from("e"), (None, false), at(5)), 0);
        assert_eq!(repeats.before("a", &digest, (None, false), at(62)), 3);
        let own = repeats.note("a", &digest, at(90)).unwrap();
        assert_eq!(repeats.before("a", &digest, (None, false), at(90)), 1);
        repeats.note("a", &digest, at(140));
        assert_eq!(
            repeats.before("a", &digest, (None, true), at(140)),
            1,
            "as it was before its client was asked"
        );
        // It waited for a person: it is out of the window itself.
        assert_eq!(repeats.before("a", &digest, (Some(&own), false), at(160)), 1);
    }
}
