//! How far estimates of results are off, as a histogram.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, in thousandths of what a result took.
const BOUNDS: [u64; 9] = [50, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// Counted since the process began, by all calls.
#[derive(Debug, Default)]
pub struct EstimateErrors {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    thousandths: AtomicU64,
}

impl EstimateErrors {
    /// Takes in what a result was expected to take and what it took, in tokens.
    pub fn observe(&self, expected: u64, took: u64) {
        let off = u128::from(expected.abs_diff(took)) * 1_000 / u128::from(took.max(1));
        // One result cannot make the sum of all others meaningless.
        let off = u64::try_from(off).unwrap_or(u64::MAX).min(1_000_000);
        if let Some(bucket) =
            BOUNDS.iter().position(|bound| off <= *bound).and_then(|at| self.buckets.get(at))
        {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.thousandths.fetch_add(off, Ordering::Relaxed);
    }

    /// As it stands: the upper bounds in thousandths, how many fell into each and beyond the last, and the sum of all in
    /// thousandths.
    pub fn told(&self) -> (&'static [u64], Vec<u64>, u64) {
        let mut counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let within: u64 = counts.iter().sum();
        counts.push(self.count.load(Ordering::Relaxed).saturating_sub(within));
        (&BOUNDS, counts, self.thousandths.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_as_a_histogram() {
        let errors = EstimateErrors::default();
        for (expected, took) in [(100, 100), (90, 100), (100, 50), (0, 0), (u64::MAX, 1)] {
            errors.observe(expected, took);
        }
        assert_eq!(errors.told(), (&BOUNDS[..], vec![2, 1, 0, 0, 0, 1, 0, 0, 0, 1], 1_001_100));
    }
}
