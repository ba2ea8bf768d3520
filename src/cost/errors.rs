//! How far estimates of results are off, as a histogram for Prometheus.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

/// Upper bounds of the buckets, in thousandths of what a result took.
const BOUNDS: [u64; 9] = [50, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000];

const NAME: &str = "tollgate_estimate_error_ratio";

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

    /// In Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = format!(
            "# HELP {NAME} Estimated against real tokens of results: the difference as a share of what they took.\n\
             # TYPE {NAME} histogram\n"
        );
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            writeln!(out, "{NAME}_bucket{{le=\"{}\"}} {below}", share(*bound)).ok();
        }
        let count = self.count.load(Ordering::Relaxed);
        writeln!(out, "{NAME}_bucket{{le=\"+Inf\"}} {count}").ok();
        writeln!(out, "{NAME}_sum {}", share(self.thousandths.load(Ordering::Relaxed))).ok();
        writeln!(out, "{NAME}_count {count}").ok();
        out
    }
}

fn share(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
        let told = errors.render();
        for line in [
            "tollgate_estimate_error_ratio_bucket{le=\"0.05\"} 2",
            "tollgate_estimate_error_ratio_bucket{le=\"0.1\"} 3",
            "tollgate_estimate_error_ratio_bucket{le=\"1\"} 4",
            "tollgate_estimate_error_ratio_bucket{le=\"10\"} 4",
            "tollgate_estimate_error_ratio_bucket{le=\"+Inf\"} 5",
            "tollgate_estimate_error_ratio_sum 1001.1",
            "tollgate_estimate_error_ratio_count 5",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}: {told}");
        }
    }
}
