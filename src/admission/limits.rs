//! One limit held against what stands: when it has room again, and what it says when it is full.

use super::{
    effect::Alert,
    limit::{Above, Limit, Slot},
    rolling::MINUTE,
    state::{Request, State, WindowUsage},
    usage::{Unit, Usage},
    window,
};
use crate::{cost::BudgetWindow, model::MicroUsd};

impl Limit<'_> {
    /// When a request that this limit throttles is worth making again, if nothing else happens.
    pub(super) fn frees_at(&self, state: &State, request: &Request<'_>) -> Option<i64> {
        let fits_alone = self.caps.passed(Usage::default(), request.need).is_none();
        match (self.above, self.slot) {
            (Above::Throttle, _) if !fits_alone => None,
            (Above::Throttle, Slot::Rolling(counter)) => state.room_at(counter, &self.caps, request.need),
            (Above::Throttle, Slot::Window(_)) => window::end_of(self.window, request.now),
            (Above::Deny | Above::Ask, _) => None,
        }
    }
}

/// A limit with what it stands at.
#[derive(Clone, Debug)]
pub(super) struct Check<'r> {
    pub(super) limit: &'r Limit<'r>,
    pub(super) standing: WindowUsage,
}

/// Whole milliseconds until `at`, rounded up, so that a retry after them finds room.
pub(super) fn wait(now: i64, at: i64) -> u64 {
    u64::try_from(at.saturating_sub(now).max(0)).unwrap_or(0).div_ceil(1_000)
}

impl Check<'_> {
    /// Why this limit stops a call, with figures.
    pub(super) fn sentence(&self, unit: Unit, need: Usage) -> String {
        let (limit, used) = (self.limit, self.standing.usage);
        let what = if limit.budget { "budget" } else { "policy" };
        let (id, key, span) = (limit.id, limit.key, span(limit.window));
        let cap = |cap: Option<i64>| cap.unwrap_or_default();
        match unit {
            Unit::Calls => format!(
                "{what} `{id}` allows `{key}` {} calls {span}, and {} are used",
                cap(limit.caps.calls),
                used.calls
            ),
            Unit::Tokens => format!(
                "{what} `{id}` allows `{key}` {} tokens {span}, {} are used, and this call may take {}",
                cap(limit.caps.tokens),
                used.tokens,
                need.tokens
            ),
            Unit::Cost => format!(
                "{what} `{id}` allows `{key}` {} USD {span}, {} are used, and this call may cost {}",
                MicroUsd(cap(limit.caps.cost)),
                MicroUsd(used.cost),
                MicroUsd(need.cost)
            ),
        }
    }

    /// The alert that is due once `need` has been added.
    pub(super) fn alert(&self, need: Usage, now: i64) -> Option<Alert> {
        let limit = self.limit;
        let percent = limit.alert_at?;
        let alerted = self.standing.alerted;
        // One per counter and window.
        let again = match limit.slot {
            Slot::Rolling(_) => now.saturating_sub(alerted) < MINUTE && alerted != 0,
            Slot::Window(_) => alerted != 0,
        };
        if again {
            return None;
        }
        let after = self.standing.usage.plus(need);
        let reached = |cap: Option<i64>, value: i64| {
            cap.is_some_and(|cap| i128::from(value) * 100 >= i128::from(cap) * i128::from(percent))
        };
        let text = if reached(limit.caps.calls, after.calls) {
            format!("{} of {} calls", after.calls, limit.caps.calls.unwrap_or_default())
        } else if reached(limit.caps.tokens, after.tokens) {
            format!("{} of {} tokens", after.tokens, limit.caps.tokens.unwrap_or_default())
        } else if reached(limit.caps.cost, after.cost) {
            let cap = MicroUsd(limit.caps.cost.unwrap_or_default());
            format!("{} of {cap} USD", MicroUsd(after.cost))
        } else {
            return None;
        };
        let (id, key, span) = (limit.id, limit.key, span(limit.window));
        Some(Alert {
            window: limit.window()?,
            at: now.max(1),
            policy_id: id.clone(),
            sentence: format!("budget `{id}` of `{key}` has reached {percent} %: {text} {span}"),
        })
    }
}

fn span(window: BudgetWindow) -> &'static str {
    match window {
        BudgetWindow::Minute => "in 60 s",
        BudgetWindow::Hour => "this hour",
        BudgetWindow::Day => "this day",
        BudgetWindow::Month => "this month",
        BudgetWindow::Ever => "in all",
    }
}
