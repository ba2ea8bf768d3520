//! What counters count, and the caps that they are held against.

use crate::model::MicroUsd;

/// Nothing real is larger, and sums of it do not overflow soon.
const MOST: i64 = 1 << 53;

/// An amount from outside as a counter takes it.
pub fn amount(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(MOST).min(MOST)
}

/// Money as a counter takes it: never below zero.
pub fn money(value: MicroUsd) -> i64 {
    value.0.clamp(0, MOST)
}

/// What a counter has counted. Amounts saturate: a cap is never passed because a sum wrapped round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Dispatched calls.
    pub calls: i64,
    /// Tokens.
    pub tokens: i64,
    /// Money, in millionths of a USD.
    pub cost: i64,
}

impl Usage {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    /// Without the other.
    pub fn minus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(other.calls),
            tokens: self.tokens.saturating_sub(other.tokens),
            cost: self.cost.saturating_sub(other.cost),
        }
    }
}

/// The caps of one limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caps {
    pub(super) calls: Option<i64>,
    pub(super) tokens: Option<i64>,
    pub(super) cost: Option<i64>,
}

/// Which cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Calls,
    Tokens,
    Cost,
}

impl Caps {
    /// The first cap that `need` on top of `used` would pass.
    pub(super) fn passed(&self, used: Usage, need: Usage) -> Option<Unit> {
        let after = used.plus(need);
        let over = |cap: Option<i64>, value: i64| cap.is_some_and(|cap| value > cap);
        if over(self.calls, after.calls) {
            Some(Unit::Calls)
        } else if over(self.tokens, after.tokens) {
            Some(Unit::Tokens)
        } else if over(self.cost, after.cost) {
            Some(Unit::Cost)
        } else {
            None
        }
    }
}
