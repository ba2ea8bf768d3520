//! What is usual, and how sure it is that something is not: exponentially weighted counts, means and variances, held against what a
//! window shows.

use crate::policy::AlertRule;
use serde::{Deserialize, Serialize};

/// A share of which nothing is known yet is taken for this, as if it had been seen in so many calls.
const PRIOR_SHARE: f64 = 0.05;
const PRIOR_CALLS: f64 = 30.0;
/// More calls than this make a baseline no surer: the world is not that steady.
const MOST_CALLS: f64 = 5_000.0;
/// How quickly it is learned how far windows scatter.
const SCATTER: f64 = 0.1;
const MOST_SCATTER: f64 = 20.0;
/// While something is odd, little of it is taken for usual.
pub(super) const ODD: f64 = 0.1;

/// How odd a window is: 1 is just enough for an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Odd {
    pub(super) score: f64,
    /// What is usual, and what is seen.
    pub(super) usual: f64,
    pub(super) seen: f64,
}

/// A count as a number. Counts of a window are far below where this would not be exact.
pub(super) fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// How far one share is from another, in nats a call.
fn divergence(share: f64, from: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    part(share, from) + part(1.0 - share, 1.0 - from)
}

fn scattered(scatter: f64, chi: f64) -> f64 {
    scatter + SCATTER * (chi.clamp(0.0, MOST_SCATTER) - scatter)
}

/// A share of calls: how many of how many, the older the less they count, and how far windows scatter beyond chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    n: f64,
    d: f64,
    s: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { n: 0.0, d: 0.0, s: 1.0 }
    }
}

impl Rate {
    fn usual(&self) -> (f64, f64) {
        let n = self.n + PRIOR_CALLS;
        (n, ((self.d + PRIOR_CALLS * PRIOR_SHARE) / n).clamp(0.000_1, 0.999_9))
    }

    /// Takes in a window that is over. `keep` is how much of what was stays, `weight` how much the window counts.
    pub(super) fn learn(&mut self, of: u64, count: u64, keep: f64, weight: f64) {
        let (n, d) = (float(of), float(count));
        if of == 0 {
            return;
        }
        let (_, p) = self.usual();
        if weight >= 1.0 && n >= 5.0 && self.n >= PRIOR_CALLS {
            let off = d - n * p;
            self.s = scattered(self.s, off * off / (n * p * (1.0 - p)));
        }
        self.n = self.n * keep + n * weight;
        self.d = self.d * keep + d * weight;
        if self.n > MOST_CALLS {
            self.d *= MOST_CALLS / self.n;
            self.n = MOST_CALLS;
        }
    }

    /// How sure it is that the window has another share than `p` of `m` calls, in nats: the likelihood ratio of two shares against
    /// one, by how far windows scatter.
    fn evidence(&self, (n, d): (f64, f64), (m, p): (f64, f64)) -> f64 {
        let both = (d + m * p) / (n + m);
        let ratio = n * divergence(d / n, both) + m * divergence(p, both);
        ratio.max(0.0) / self.s.max(1.0)
    }

    /// Whether a share has risen.
    pub(super) fn risen(&self, of: u64, count: u64, rule: &AlertRule) -> Option<Odd> {
        if of < rule.min_calls.max(1) || count < rule.min_count {
            return None;
        }
        let (n, d) = (float(of), float(count));
        let (m, usual) = self.usual();
        let seen = d / n;
        let evidence = self.evidence((n, d), (m, usual));
        let score = (evidence / rule.evidence).min((seen - usual) / rule.min_change.max(0.000_1));
        (score >= 1.0).then_some(Odd { score, usual, seen })
    }

    /// Whether hardly anything is left of a share that is known: a prior says nothing here.
    pub(super) fn dropped(&self, of: u64, count: u64, rule: &AlertRule) -> Option<Odd> {
        let (n, d) = (float(of), float(count));
        let usual = (self.d / self.n.max(1.0)).clamp(0.0, 0.999_9);
        if of < rule.min_calls.max(1) || self.n < PRIOR_CALLS || usual * n < float(rule.min_count).max(1.0) {
            return None;
        }
        let seen = d / n;
        let gone = (usual - seen) / (usual * rule.min_change.max(0.000_1));
        let score = (self.evidence((n, d), (self.n, usual)) / rule.evidence).min(gone);
        (gone >= 1.0 && score >= 1.0).then_some(Odd { score, usual, seen })
    }
}

/// What a call costs, as a logarithm: its mean and variance, and how far means of windows scatter beyond chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Price {
    n: f64,
    mean: f64,
    var: f64,
    s: f64,
}

impl Default for Price {
    fn default() -> Self {
        Self { n: 0.0, mean: 0.0, var: 0.0, s: 1.0 }
    }
}

/// Calls that must be known before one can be dear.
const ENOUGH_PRICES: f64 = 20.0;
/// Prices of one tool are often all the same: nothing is surer than this.
const LEAST_VARIANCE: f64 = 0.062_5;

impl Price {
    /// Takes in the calls of a window that is over: how many, the sum of their logarithms and of the squares.
    pub(super) fn learn(&mut self, of: u64, sum: f64, squares: f64, keep: f64, weight: f64) {
        if of == 0 {
            return;
        }
        let n = float(of);
        let mean = sum / n;
        let within = (squares / n - mean * mean).max(0.0);
        if weight >= 1.0 && self.n >= ENOUGH_PRICES {
            let off = mean - self.mean;
            self.s = scattered(self.s, off * off / self.error(n));
        }
        let (old, new) = (self.n * keep, n * weight);
        let all = old + new;
        let off = mean - self.mean;
        let share = new / all;
        self.mean += off * share;
        self.var = (old * self.var + new * within) / all + off * off * share * (1.0 - share);
        self.n = all.min(MOST_CALLS);
    }

    /// The variance of the difference of a window's mean from the usual one, without what windows scatter.
    fn error(&self, n: f64) -> f64 {
        self.var.max(LEAST_VARIANCE) * (1.0 / n + 1.0 / self.n.max(1.0))
    }

    /// Whether so many calls are known that one can be dear.
    pub(super) fn is_known(&self) -> bool {
        self.n >= ENOUGH_PRICES
    }

    /// Whether calls cost more.
    pub(super) fn risen(&self, of: u64, sum: f64, rule: &AlertRule) -> Option<Odd> {
        if of < rule.min_calls.max(1) || !self.is_known() {
            return None;
        }
        let n = float(of);
        let off = sum / n - self.mean;
        let evidence = off * off / (2.0 * self.error(n) * self.s.max(1.0));
        let score = (evidence / rule.evidence).min(off / rule.ratio.ln());
        (score >= 1.0).then(|| Odd { score, usual: self.mean.exp(), seen: (sum / n).exp() })
    }
}

/// What a window costs, as a logarithm: its mean and variance over windows with calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bill {
    n: f64,
    mean: f64,
    var: f64,
}

/// Windows that must be known before one can be dear.
const ENOUGH_BILLS: f64 = 12.0;
const LEAST_BILL_VARIANCE: f64 = 0.25;
/// More windows than this make it no surer.
const MOST_BILLS: f64 = 2_000.0;

impl Bill {
    /// Takes in a window that is over and had calls.
    pub(super) fn learn(&mut self, log: f64, keep: f64, weight: f64) {
        let old = self.n * keep;
        let all = old + weight;
        let (off, share) = (log - self.mean, weight / all);
        self.mean += off * share;
        self.var = (1.0 - share) * (self.var + off * off * share);
        self.n = all.min(MOST_BILLS);
    }

    /// Whether a window costs more, however many calls that are. Traffic has its hours: it takes twice the ratio.
    pub(super) fn risen(&self, log: f64, rule: &AlertRule) -> Option<Odd> {
        if self.n < ENOUGH_BILLS {
            return None;
        }
        let off = log - self.mean;
        let evidence = off * off / (2.0 * self.var.max(LEAST_BILL_VARIANCE));
        let score = (evidence / rule.evidence).min(off / (2.0 * rule.ratio).ln());
        (score >= 1.0).then(|| Odd { score, usual: self.mean.exp(), seen: log.exp() })
    }
}
