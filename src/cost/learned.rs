//! How large a tool's results are: learned from what was settled, so that estimates come true.

use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// What a tool's result is taken to be, in tokens, where nothing was configured or learned.
pub const DEFAULT_RESULT_TOKENS: u64 = 200;

/// Names of one generation. Two are kept, so that memory stays bounded whatever upstreams invent, and what is in use
/// stays known.
const MAX_NAMES: usize = 10_000;

/// One observation moves the mean by 1/8 of its distance.
const WEIGHT_SHIFT: u32 = 3;

/// Sizes are kept in 1/256 tokens, so that small steps are not lost to rounding.
const SCALE: u64 = 256;

/// The exponentially weighted mean of each tool's result tokens, by exposed name.
/// Integer, in memory, shared between calls.
#[derive(Debug, Default)]
pub struct LearnedSizes(RwLock<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Arc<str>, u64>,
    old: HashMap<Arc<str>, u64>,
}

impl Generations {
    fn get(&self, tool: &str) -> Option<u64> {
        self.young.get(tool).or_else(|| self.old.get(tool)).copied()
    }

    fn put(&mut self, tool: Arc<str>, mean: u64) {
        if self.young.len() >= MAX_NAMES && !self.young.contains_key(&tool) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tool, mean);
    }
}

impl LearnedSizes {
    /// Nothing learned yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the next result will probably take: learned, else `configured`, else [`DEFAULT_RESULT_TOKENS`].
    /// Rounded up.
    pub fn expected(&self, tool: &str, configured: Option<u64>) -> u64 {
        let mean = self.0.read().get(tool);
        mean.map_or_else(|| configured.unwrap_or(DEFAULT_RESULT_TOKENS), |mean| mean.div_ceil(SCALE))
    }

    /// Takes in what a result took. The first observation starts from `configured` or the default.
    pub fn observe(&self, tool: &str, configured: Option<u64>, tokens: u64) {
        let step = |mean: u64| {
            let seen = tokens.saturating_mul(SCALE);
            if seen >= mean {
                mean.saturating_add((seen - mean) >> WEIGHT_SHIFT)
            } else {
                mean - ((mean - seen) >> WEIGHT_SHIFT)
            }
        };
        let mut sizes = self.0.write();
        if let Some(mean) = sizes.young.get_mut(tool) {
            *mean = step(*mean);
            return;
        }
        let start = || configured.unwrap_or(DEFAULT_RESULT_TOKENS).saturating_mul(SCALE);
        let mean = sizes.old.get(tool).copied().unwrap_or_else(start);
        sizes.put(Arc::from(tool), step(mean));
    }

    /// Puts back what an earlier process learned; what this one learned already stands.
    pub fn seed(&self, tool: &str, tokens: u64) {
        let mut sizes = self.0.write();
        if sizes.get(tool).is_none() && sizes.old.len() < 2 * MAX_NAMES {
            sizes.old.insert(Arc::from(tool), tokens.saturating_mul(SCALE));
        }
    }

    /// Everything learned, in tokens rounded up, to be kept elsewhere.
    pub fn learned(&self) -> Vec<(Arc<str>, u64)> {
        let sizes = self.0.read();
        let old = sizes.old.iter().filter(|(tool, _)| !sizes.young.contains_key(*tool));
        let mut all: Vec<(Arc<str>, u64)> =
            sizes.young.iter().chain(old).map(|(tool, mean)| (tool.clone(), mean.div_ceil(SCALE))).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_follow_what_is_observed() {
        let sizes = LearnedSizes::new();
        assert_eq!(sizes.expected("t", None), DEFAULT_RESULT_TOKENS);
        assert_eq!(sizes.expected("t", Some(80)), 80);
        sizes.observe("t", Some(80), 880);
        assert_eq!(sizes.expected("t", Some(80)), 180);
        sizes.observe("t", Some(80), 180);
        assert_eq!(sizes.expected("t", None), 180);
        for _ in 0..200 {
            sizes.observe("t", None, 1_000);
        }
        assert_eq!(sizes.expected("t", None), 1_000);
        for _ in 0..200 {
            sizes.observe("t", None, 0);
        }
        assert!(sizes.expected("t", None) <= 1);
        assert_eq!(sizes.expected("other", None), DEFAULT_RESULT_TOKENS);
    }

    #[test]
    fn overflow_saturates_and_seeds_do_not_override() {
        let sizes = LearnedSizes::new();
        sizes.observe("big", Some(u64::MAX), u64::MAX);
        assert!(sizes.expected("big", None) > u64::MAX / 512);
        sizes.seed("big", 1);
        assert!(sizes.expected("big", None) > 1);
        sizes.seed("kept", 42);
        assert_eq!(sizes.expected("kept", None), 42);
        assert_eq!(sizes.learned().len(), 2);
    }

    /// An upstream that renames its tools for ever fills no memory, and what is in use stays known.
    #[test]
    fn names_without_end_are_forgotten() {
        let sizes = LearnedSizes::new();
        for n in 0..5 * MAX_NAMES {
            sizes.observe(&format!("t{n}"), None, 300);
            if n % 1_000 == 0 {
                sizes.observe("used", Some(1_000), 1_000);
            }
        }
        assert!(sizes.learned().len() <= 2 * MAX_NAMES);
        assert_eq!(sizes.expected("used", None), 1_000);
        assert_eq!(sizes.expected("t0", None), DEFAULT_RESULT_TOKENS);
        assert_ne!(sizes.expected(&format!("t{}", 5 * MAX_NAMES - 1), None), DEFAULT_RESULT_TOKENS);
    }

    #[test]
    fn many_threads_lose_no_tool() {
        let sizes = LearnedSizes::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sizes = &sizes;
                scope.spawn(move || {
                    for i in 0..500 {
                        sizes.observe(&format!("tool-{}", (i + thread) % 50), None, 300);
                    }
                });
            }
        });
        assert_eq!(sizes.learned().len(), 50);
        assert!(sizes.learned().iter().all(|(_, tokens)| (200..=300).contains(tokens)));
    }
}
