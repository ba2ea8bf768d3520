//! One limit of a request: what it counts, where, and what happens above it.

use super::{
    effect::{Grant, Window},
    usage::{Caps, amount, money},
    window,
};
use crate::{
    cost::{BudgetAction, BudgetWindow, BudgetZone},
    decision::{BudgetLimit, RateLimit},
    model::{EventDecision, PolicyId},
    policy::Violation,
};

/// The `start` under which a rolling counter keeps when it last alerted.
pub const ALERTS: i64 = -1;

/// Where a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// In the last minute of a counter.
    Rolling(i64),
    /// In a calendar window.
    Window(Window),
}

impl Slot {
    /// Whether a call counts there.
    pub(super) fn counts(self, grant: &Grant) -> bool {
        match self {
            Self::Rolling(counter) => grant.rolling.contains(&counter),
            Self::Window(window) => grant.windows.contains(&window),
        }
    }
}

/// What happens above a limit, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Above {
    Deny,
    Throttle,
    Ask,
}

impl Above {
    pub(super) fn decision(self) -> EventDecision {
        match self {
            Self::Deny => EventDecision::Deny,
            Self::Throttle => EventDecision::Throttle,
            Self::Ask => EventDecision::PendingApproval,
        }
    }
}

/// One limit of a request.
#[derive(Clone, Debug)]
pub struct Limit<'r> {
    pub(super) id: &'r PolicyId,
    pub(super) key: &'r str,
    pub(super) window: BudgetWindow,
    pub(super) zone: Option<&'r BudgetZone>,
    pub(super) caps: Caps,
    pub(super) above: Above,
    pub(super) slot: Slot,
    pub(super) alert_at: &'r [u8],
    pub(super) budget: bool,
    /// Results are cut at what was reserved.
    pub(super) strict: bool,
}

impl<'r> Limit<'r> {
    /// A rulebook policy's minute of an agent, which counts under the number `counter`.
    pub fn rate(rate: &'r RateLimit, agent: &'r str, counter: i64) -> Self {
        Self {
            id: &rate.policy_id,
            key: agent,
            window: BudgetWindow::Minute,
            zone: None,
            caps: Caps { calls: rate.max_calls.map(amount), tokens: None, cost: rate.max_cost.map(money) },
            above: match rate.on_violation {
                Violation::Throttle => Above::Throttle,
                Violation::Deny => Above::Deny,
            },
            slot: Slot::Rolling(counter),
            alert_at: &[],
            budget: false,
            strict: false,
        }
    }

    /// A budget's counter at `now`, which counts under the number `counter`.
    pub fn budget(budget: &'r BudgetLimit, counter: i64, now: i64) -> Self {
        Self {
            id: &budget.id,
            key: &budget.key,
            window: budget.window,
            zone: budget.zone.as_ref(),
            caps: Caps {
                calls: budget.max_calls.map(amount),
                tokens: budget.max_tokens.map(amount),
                cost: budget.max_cost.map(money),
            },
            above: match budget.on_exceed {
                BudgetAction::Throttle => Above::Throttle,
                BudgetAction::Deny => Above::Deny,
                BudgetAction::RequireApproval => Above::Ask,
            },
            slot: match window::start_of(budget.window, budget.zone.as_ref(), now) {
                Some(start) => Slot::Window((counter, start)),
                None => Slot::Rolling(counter),
            },
            alert_at: &budget.alert_at,
            budget: true,
            strict: budget.strict,
        }
    }

    /// The same, counted under another key than its own.
    #[must_use]
    pub fn counted_as(self, key: Option<&'r str>) -> Self {
        Self { key: key.unwrap_or(self.key), ..self }
    }

    /// The key that it is counted under.
    pub fn key(&self) -> &str {
        self.key
    }

    /// The calendar window that it counts in; none for one that rolls.
    pub fn calendar_window(&self) -> Option<Window> {
        match self.slot {
            Slot::Window(window) => Some(window),
            Slot::Rolling(_) => None,
        }
    }

    /// The calendar window that it is judged by. A rolling counter keeps only its alert among them.
    pub fn window(&self) -> Option<Window> {
        match self.slot {
            Slot::Window(window) => Some(window),
            Slot::Rolling(counter) => (!self.alert_at.is_empty()).then_some((counter, ALERTS)),
        }
    }
}
