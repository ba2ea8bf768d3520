//! The records of budgets: alerts about calls that count on them, and counters that people set back.

use crate::{
    model::{Actor, EventDraft, EventType, PersonId, PolicyId},
    redaction::Said,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// An alert of a budget about the call of this decision or side effect: so much of a cap is used, in percent.
pub fn alert_of_call(
    about: &EventDraft,
    policy_id: &PolicyId,
    sentence: &str,
    step: u8,
    now: Timestamp,
) -> EventDraft {
    let mut event = EventDraft::system(EventType::Alert, now);
    event.trace_id = about.trace_id;
    event.workflow_id.clone_from(&about.workflow_id);
    event.agent_id.clone_from(&about.agent_id);
    event.action = Some("budget_alert".into());
    event.policy_id = Some(policy_id.clone());
    event.call_id.clone_from(&about.call_id);
    event.tool.clone_from(&about.tool);
    event.upstream.clone_from(&about.upstream);
    event.tenant.clone_from(&about.tenant);
    event.environment.clone_from(&about.environment);
    event.operator.clone_from(&about.operator);
    event.user.clone_from(&about.user);
    event.policy_snapshot.clone_from(&about.policy_snapshot);
    event.reason = Some(sentence.into());
    event.detail = Some(json!({"alert": "budget", "step": step}));
    event
}

/// Counters of a budget that a person set back.
#[derive(Clone, Copy, Debug)]
pub struct BudgetResetRecord<'r> {
    /// The budget, or the policy with a limit per minute.
    pub id: &'r PolicyId,
    /// Who did it.
    pub person: &'r PersonId,
    /// `cli` or `api`.
    pub channel: &'static str,
    /// Why.
    pub reason: &'r Said,
    /// The window's word.
    pub window: &'r str,
    /// When the window began; none where it rolls.
    pub window_start: Option<Timestamp>,
}

/// So many counters are told one by one.
const TOLD: usize = 100;

impl BudgetResetRecord<'_> {
    /// `admin_action`; of each counter its `key`, and what it counted `before` and counts `after`.
    pub fn event(&self, counters: &[Value], now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(EventType::AdminAction, now);
        event.actor = Actor { kind: "person".into(), role: Some("admin".into()) };
        event.action = Some("budget_reset".into());
        event.policy_id = Some(self.id.clone());
        event.reason = Some((&**self.reason).into());
        event.detail = Some(json!({
            "person": self.person,
            "channel": self.channel,
            "budget": self.id,
            "window": self.window,
            "window_start": self.window_start,
            "counters": counters.iter().take(TOLD).collect::<Vec<_>>(),
            "more_counters": counters.len().saturating_sub(TOLD),
        }));
        event
    }
}
