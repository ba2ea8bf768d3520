//! The figures of one row.

use crate::model::MicroUsd;

/// What is counted of some records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Decisions on calls; refusals that were counted together are each one.
    pub decided: u64,
    /// Approvals that were asked for.
    pub asked: u64,
    /// Approvals that were answered, ran out or were cancelled.
    pub answered: u64,
    /// Calls that ended upstream.
    pub ended: u64,
    /// Those of them that failed, or of which nobody knows.
    pub failed: u64,
    /// What they cost.
    pub cost: MicroUsd,
    /// Tokens of their arguments and results.
    pub tokens: u64,
    /// How long they took.
    pub durations: Durations,
}

impl Cell {
    /// Takes another one in.
    pub fn add(&mut self, other: &Self) {
        self.decided = self.decided.saturating_add(other.decided);
        self.asked = self.asked.saturating_add(other.asked);
        self.answered = self.answered.saturating_add(other.answered);
        self.ended = self.ended.saturating_add(other.ended);
        self.failed = self.failed.saturating_add(other.failed);
        self.cost = self.cost.plus(other.cost);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.durations.add(&other.durations);
    }
}

/// Buckets for each doubling, as a power of two: a quantile is off by a sixteenth at most.
const FINE: u32 = 3;

/// How long calls took: counts in buckets that grow with the time. They add up, which quantiles do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations(Vec<(u8, u64)>);

impl Durations {
    /// Of one call, in milliseconds.
    pub fn of(ms: u64) -> Self {
        Self(vec![(bucket(ms), 1)])
    }

    /// Of counted buckets, as [`Self::buckets`] gave them; the error says what is wrong.
    pub fn from_buckets(buckets: Vec<(u8, u64)>) -> Result<Self, &'static str> {
        match buckets.is_sorted_by(|one, next| one.0 < next.0) {
            true => Ok(Self(buckets)),
            false => Err("its durations are in no order"),
        }
    }

    /// Buckets with their counts, ascending.
    pub fn buckets(&self) -> &[(u8, u64)] {
        &self.0
    }

    /// Takes others in.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            match self.0.binary_search_by_key(bucket, |known| known.0) {
                Ok(at) => {
                    if let Some((_, known)) = self.0.get_mut(at) {
                        *known = known.saturating_add(*count);
                    }
                }
                Err(at) => self.0.insert(at, (*bucket, *count)),
            }
        }
    }

    /// The time in milliseconds within which so many of a hundred ended; `None`: none ended.
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        let all = self.0.iter().fold(0_u64, |all, (_, count)| all.saturating_add(*count));
        let rank = (u128::from(all) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0_u128;
        for (bucket, count) in &self.0 {
            below += u128::from(*count);
            if below >= rank {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

/// Less than a millisecond counts as one; more than 49 days as that.
fn bucket(ms: u64) -> u8 {
    let ms = ms.clamp(1, u64::from(u32::MAX));
    let doublings = ms.ilog2();
    let part = match doublings >= FINE {
        true => ms >> (doublings - FINE),
        false => ms << (FINE - doublings),
    };
    let part = part & ((1 << FINE) - 1);
    u8::try_from((u64::from(doublings) << FINE) | part).unwrap_or(u8::MAX)
}

fn middle(bucket: u8) -> u64 {
    let (doublings, part) = (u32::from(bucket) >> FINE, u64::from(bucket) & ((1 << FINE) - 1));
    let low = (((1 << FINE) | part) << doublings) >> FINE;
    low + ((1 << doublings) >> (FINE + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_found_in_its_bucket_within_a_sixteenth() {
        for ms in (1..5_000).chain([60_000, 3_600_000, u64::from(u32::MAX)]) {
            let told = middle(bucket(ms));
            assert!(told.abs_diff(ms) * 16 <= ms, "{ms} is told as {told}");
        }
        assert_eq!(middle(bucket(0)), 1);
        assert_eq!(bucket(u64::MAX), bucket(u64::from(u32::MAX)));
    }

    #[test]
    fn quantiles_of_a_sum_are_those_of_all() {
        let mut all = Durations::default();
        assert_eq!(all.quantile(50), None);
        for ms in 1..=100 {
            all.add(&Durations::of(ms));
        }
        for (percent, ms) in [(50, 50), (95, 95), (99, 99), (100, 100)] {
            let told = all.quantile(percent).unwrap();
            assert!(told.abs_diff(ms) <= 6, "{percent} %: {told}");
        }
        assert!(Durations::from_buckets(vec![(3, 1), (3, 1)]).is_err());
    }
}
