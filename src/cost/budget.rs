//! Budgets as the bundle states them. Counting them is admission's, in the store's transaction.

use crate::model::{MicroUsd, PolicyId};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Per what one counter is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetScope {
    /// One counter per agent.
    Agent,
    /// One per person the agent acts for.
    User,
    /// One per agent role.
    Role,
    /// One per tenant of agents.
    Tenant,
    /// One per workflow.
    Workflow,
    /// One per exposed tool name.
    Tool,
    /// One per upstream.
    Upstream,
    /// One per capability that lets calls through.
    Capability,
    /// One for all.
    Global,
}

impl BudgetScope {
    /// Each with its word in budgets.yaml.
    pub const NAMED: [(&str, Self); 9] = [
        ("agent", Self::Agent),
        ("user", Self::User),
        ("role", Self::Role),
        ("tenant", Self::Tenant),
        ("workflow", Self::Workflow),
        ("tool", Self::Tool),
        ("upstream", Self::Upstream),
        ("capability", Self::Capability),
        ("global", Self::Global),
    ];

    /// Its word in budgets.yaml.
    pub fn as_str(self) -> &'static str {
        Self::NAMED.iter().find(|(_, scope)| *scope == self).map_or("", |(word, _)| word)
    }
}

/// Over what time a counter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetWindow {
    /// The last 60 s, rolling and exact.
    Minute,
    /// The calendar hour.
    Hour,
    /// The calendar day.
    Day,
    /// The calendar month.
    Month,
    /// For ever.
    Ever,
}

/// What happens to a call that would exceed a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetAction {
    /// Refused until the window has room; `retry_after_ms` says when.
    Throttle,
    /// Refused.
    Deny,
    /// A person decides.
    RequireApproval,
}

impl BudgetAction {
    /// Each with its word in budgets.yaml.
    pub const NAMED: [(&str, Self); 3] =
        [("throttle", Self::Throttle), ("deny", Self::Deny), ("require_approval", Self::RequireApproval)];

    /// Its word in budgets.yaml.
    pub fn as_str(self) -> &'static str {
        Self::NAMED.iter().find(|(_, action)| *action == self).map_or("", |(word, _)| word)
    }
}

/// The time zone in which calendar windows begin and end, with its rules: they are data of the bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetZone {
    /// Its name, like `Europe/Berlin`.
    pub name: Arc<str>,
    /// Its rules.
    pub rules: TimeZone,
}

/// One budget. At least one of the three caps is set.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetRule {
    /// Its id, which stands as `policy_id` where it stops a call.
    pub id: PolicyId,
    /// Per what one counter is kept.
    pub scope: BudgetScope,
    /// Which calls count; any entry may match; empty means every call. Same keys as `on`.
    pub matches: Vec<crate::model::Selector>,
    /// Over what time.
    pub window: BudgetWindow,
    /// In which zone its calendar windows are; none: UTC.
    pub zone: Option<BudgetZone>,
    /// At most so many dispatched calls.
    pub max_calls: Option<u64>,
    /// At most so many tokens (arguments and results).
    pub max_tokens: Option<u64>,
    /// At most so much money.
    pub max_cost: Option<MicroUsd>,
    /// What happens above.
    pub on_exceed: BudgetAction,
    /// Alert when these shares of a cap are used, in percent from 1 to 100, the smallest first.
    pub alert_at: Arc<[u8]>,
    /// Whether results are cut at what was reserved.
    pub strict: bool,
}
