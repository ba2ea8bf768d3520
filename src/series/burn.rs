//! How the counter of a budget came to where it stands: what calls took, and what people set back.

use super::{
    OTHERS, counter_name,
    rollup::{Row, SET_BACK},
    seen::kept,
    wanted::{Facet, Span, Step, minute_of},
};
use crate::model::MicroUsd;
use jiff::Timestamp;

/// Points of a whole window, at most.
const POINTS: i64 = 150;

/// The use of one counter of a budget that is asked for, from some time until another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurnAsk {
    /// As rows name it.
    pub counter: String,
    /// The first minute.
    pub first: i64,
    /// How many points.
    pub points: i64,
    /// What each spans.
    pub step: Step,
    /// What is used at the end: calls, tokens and money.
    pub used: (u64, u64, MicroUsd),
}

impl BurnAsk {
    /// Of a window that began at `since` and has come to `now`; `until` is where it ends, or `now` where it does not.
    pub fn new(
        (budget, key): (&str, &str),
        (since, now, until): (Timestamp, Timestamp, Timestamp),
        used: (u64, u64, MicroUsd),
    ) -> Self {
        let (first, last) = (minute_of(since), minute_of(now.max(since)));
        let step = Step::fitting(minute_of(until).max(last) - first, POINTS);
        // Windows of a zone need not begin where coarse rows do.
        let first = first - first.rem_euclid(step.minutes);
        let points = (last - first) / step.minutes + 1;
        let counter = kept(&counter_name(budget, key)).to_owned();
        Self { counter, first, points, step, used }
    }

    /// The rows that it needs.
    pub fn span(&self) -> Span {
        Span::of(Facet::Budgets, self.first, self.points, self.step)
    }
}

/// The use of one counter, as it grew.
#[derive(Clone, Debug, PartialEq)]
pub struct Burn {
    /// What was asked for.
    pub ask: BurnAsk,
    /// What was used at the end of each point.
    pub calls: Vec<i64>,
    /// The same of tokens.
    pub tokens: Vec<i64>,
    /// The same of money, in millionths of a US dollar.
    pub cost: Vec<i64>,
}

/// One that is being made: what each point adds.
#[derive(Debug)]
pub(super) struct Burning(Burn);

impl Burning {
    pub(super) fn new(ask: BurnAsk) -> Self {
        let points = usize::try_from(ask.points).unwrap_or_default();
        Self(Burn { ask, calls: vec![0; points], tokens: vec![0; points], cost: vec![0; points] })
    }

    pub(super) fn take(&mut self, row: Row<'_>) {
        let Burn { ask, calls, tokens, cost } = &mut self.0;
        let [counter, .., kind] = row.names;
        if counter.is_none_or(|counter| counter != ask.counter || counter == OTHERS) {
            return;
        }
        let point = usize::try_from((row.minute - ask.first).div_euclid(ask.step.minutes)).ok();
        let Some(point) = point else { return };
        let sign = if kind == Some(SET_BACK) { -1 } else { 1 };
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(sign);
        let added = [number(row.cell.ended), number(row.cell.tokens), row.cell.cost.0.saturating_mul(sign)];
        for (values, added) in [calls, tokens, cost].into_iter().zip(added) {
            if let Some(value) = values.get_mut(point) {
                *value = value.saturating_add(added);
            }
        }
    }

    pub(super) fn finish(self) -> Burn {
        let Burn { ask, mut calls, mut tokens, mut cost } = self.0;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let ends = [number(ask.used.0), number(ask.used.1), ask.used.2.0];
        // What was added, hung on what is used at the end: that is what the counter says.
        for (values, mut used) in [&mut calls, &mut tokens, &mut cost].into_iter().zip(ends) {
            for value in values.iter_mut().rev() {
                let added = std::mem::replace(value, used.max(0));
                used = used.saturating_sub(added);
            }
        }
        Burn { ask, calls, tokens, cost }
    }
}
