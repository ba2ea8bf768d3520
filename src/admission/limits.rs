//! One limit held against what stands: when it has room again, and what it says when it is full.

use super::{
    effect::{Alert, Effect},
    limit::{Above, Limit, Slot},
    refusal::NeverFrees,
    rolling::MINUTE,
    state::{State, WindowUsage},
    usage::{Unit, Usage, amount},
    window,
};
use crate::{
    cost::{BudgetWindow, LEAST_RESULT_TOKENS},
    model::{MicroUsd, counted},
};

impl Limit<'_> {
    /// When a request that this limit throttles is worth making again, if nothing else happens.
    pub(super) fn frees_at(&self, state: &State, now: i64, need: Usage) -> Option<i64> {
        let fits_alone = self.caps.passed(Usage::default(), need).is_none();
        match (self.above, self.slot) {
            (Above::Throttle, _) if !fits_alone => None,
            (Above::Throttle, Slot::Rolling(counter)) => state.room_at(counter, &self.caps, need),
            (Above::Throttle, Slot::Window(_)) => window::end_of(self.window, self.zone, now),
            (Above::Deny | Above::Ask, _) => None,
        }
    }

    /// Why a call that this limit throttles has no room later either; none where it has, or where it is not throttled. A strict
    /// budget that no call fits into says so whatever happens above it, unless a person is asked.
    pub(super) fn never_frees(&self, need: Usage) -> Option<NeverFrees> {
        let no_call = |cap: i64| cap <= amount(LEAST_RESULT_TOKENS);
        if self.strict && self.above != Above::Ask && self.caps.tokens.is_some_and(no_call) {
            return Some(NeverFrees::NoCall);
        }
        if self.above != Above::Throttle {
            return None;
        }
        let unit = self.caps.passed(Usage::default(), need);
        let cap = match unit {
            Some(Unit::Calls) => self.caps.calls,
            Some(Unit::Tokens) => self.caps.tokens,
            Some(Unit::Cost) => self.caps.cost,
            None if self.window == BudgetWindow::Ever => return Some(NeverFrees::Ever),
            None => return None,
        };
        Some(if cap == Some(0) { NeverFrees::Closed } else { NeverFrees::TooLarge })
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
    /// Why this limit stops a call, with figures. `in_flight`: calls that have not ended hold a part of what is missing.
    pub(super) fn sentence(&self, unit: Unit, need: Usage, in_flight: bool) -> String {
        let (limit, used) = (self.limit, self.standing.usage);
        let what = if limit.budget { "budget" } else { "policy" };
        let (id, key, span) = (limit.id, limit.key, span(limit.window));
        let cap = |cap: Option<i64>| cap.unwrap_or_default();
        let held = if in_flight { "used or reserved by calls in flight" } else { "used" };
        match unit {
            Unit::Calls => format!(
                "{what} `{id}` allows `{key}` {} {span}, and {} used",
                many(cap(limit.caps.calls), "call"),
                are(used.calls)
            ),
            Unit::Tokens => format!(
                "{what} `{id}` allows `{key}` {} {span}, {} {held}, and this call may take {}",
                many(cap(limit.caps.tokens), "token"),
                are(used.tokens),
                need.tokens
            ),
            Unit::Cost => format!(
                "{what} `{id}` allows `{key}` {} USD {span}, {} are {held}, and this call may cost {}",
                MicroUsd(cap(limit.caps.cost)),
                MicroUsd(used.cost),
                MicroUsd(need.cost)
            ),
        }
    }

    /// The alerts that are due once `need` has been added: one for each share that was not reached before. `full`: the cap that
    /// stops a call which would fit into it alone; it counts as used up.
    pub(super) fn alerts(&self, need: Usage, now: i64, full: Option<Unit>) -> Vec<Alert> {
        let limit = self.limit;
        let (Some(window), Some(_)) = (limit.window(), limit.alert_at.first()) else { return Vec::new() };
        let alerted = self.standing.alerted;
        let reached = match limit.slot {
            // What was reached a minute ago may be reached again.
            Slot::Rolling(_) if now.saturating_sub(alerted.at) >= MINUTE => 0,
            Slot::Rolling(_) | Slot::Window(_) if alerted.at == 0 => 0,
            Slot::Rolling(_) | Slot::Window(_) => alerted.step,
        };
        let after = self.standing.usage.plus(need);
        let (id, key, span) = (limit.id, limit.key, span(limit.window));
        let due = |step: &&u8| **step > reached;
        let alert = |step: &u8| {
            let unit = self.unit_at(*step, after).or(full)?;
            let counted = self.counted(unit, after);
            let sentence = format!("budget `{id}` of `{key}` has reached {step} %: {counted} {span}");
            Some(Alert { window, at: now.max(1), step: *step, policy_id: id.clone(), sentence })
        };
        limit.alert_at.iter().filter(due).map_while(alert).collect()
    }

    /// The first cap of which so much is used, in percent.
    fn unit_at(&self, step: u8, after: Usage) -> Option<Unit> {
        let caps = &self.limit.caps;
        let of = [
            (Unit::Calls, caps.calls, after.calls),
            (Unit::Tokens, caps.tokens, after.tokens),
            (Unit::Cost, caps.cost, after.cost),
        ];
        let reached = |cap: i64, value: i64| i128::from(value) * 100 >= i128::from(cap) * i128::from(step);
        of.into_iter()
            .find(|(_, cap, value)| cap.is_some_and(|cap| reached(cap, *value)))
            .map(|(unit, ..)| unit)
    }

    fn counted(&self, unit: Unit, after: Usage) -> String {
        let caps = &self.limit.caps;
        match unit {
            Unit::Calls => format!("{} of {}", after.calls, many(caps.calls.unwrap_or_default(), "call")),
            Unit::Tokens => format!("{} of {}", after.tokens, many(caps.tokens.unwrap_or_default(), "token")),
            Unit::Cost => {
                format!("{} of {} USD", MicroUsd(after.cost), MicroUsd(caps.cost.unwrap_or_default()))
            }
        }
    }
}

/// The alerts that are due after a call took more than it had reserved: of these limits, as they stand now.
pub fn overshot(state: &State, limits: &[Limit<'_>], now: i64) -> Vec<Effect> {
    let alerts = limits
        .iter()
        .flat_map(|limit| Check { limit, standing: state.of(limit) }.alerts(Usage::default(), now, None));
    alerts.map(Effect::Alerted).collect()
}

fn many(count: i64, word: &str) -> String {
    counted(count.unsigned_abs(), word)
}

fn are(count: i64) -> String {
    format!("{count} {}", if count == 1 { "is" } else { "are" })
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
