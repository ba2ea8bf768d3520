//! Budgets as the bundle states them. Counting them is admission's, in the store's transaction.

use crate::model::{MicroUsd, PolicyId};
use serde::{Deserialize, Serialize};

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
    /// One per workflow.
    Workflow,
    /// One per exposed tool name.
    Tool,
    /// One per upstream.
    Upstream,
    /// One for all.
    Global,
}

/// Over what time a counter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetWindow {
    /// The last 60 s, rolling and exact.
    Minute,
    /// The calendar hour, UTC.
    Hour,
    /// The calendar day, UTC.
    Day,
    /// The calendar month, UTC.
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
    /// At most so many dispatched calls.
    pub max_calls: Option<u64>,
    /// At most so many tokens (arguments and results).
    pub max_tokens: Option<u64>,
    /// At most so much money.
    pub max_cost: Option<MicroUsd>,
    /// What happens above.
    pub on_exceed: BudgetAction,
    /// Alert when this share of a cap is used, in percent from 1 to 100.
    pub alert_at: Option<u8>,
    /// Whether results are cut at what was reserved.
    pub strict: bool,
}
