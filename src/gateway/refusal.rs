//! How a refusal reaches the agent: one plain sentence and `tollgate/decision` (SPEC 4).

use super::api::CallReply;
use crate::model::{
    ApprovalId, CallKind, EventDecision, MicroUsd, PolicyId, RpcError, RuleId, SnapshotId, TraceId, code,
};
use serde_json::{Map, Value, json};

/// Why nothing was dispatched, and what would work instead.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) decision: EventDecision,
    pub(crate) policy_id: PolicyId,
    pub(crate) rule_id: Option<RuleId>,
    /// One sentence, without sensitive values.
    pub(crate) reason: String,
    pub(crate) approval_id: Option<ApprovalId>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) remediation: Option<Value>,
    pub(crate) cost_estimate: Option<MicroUsd>,
    /// Every policy's say, for the record; null where none was asked.
    pub(crate) steps: Value,
}

impl Refusal {
    pub(crate) fn deny(policy: &str, reason: impl Into<String>) -> Self {
        Self::new(EventDecision::Deny, PolicyId::from(policy), None, reason)
    }

    pub(crate) fn new(
        decision: EventDecision,
        policy_id: PolicyId,
        rule_id: Option<RuleId>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            decision,
            policy_id,
            rule_id,
            reason: reason.into(),
            approval_id: None,
            retry_after_ms: None,
            remediation: None,
            cost_estimate: None,
            steps: Value::Null,
        }
    }

    /// The object under `tollgate/decision`.
    pub(crate) fn decision_object(&self, trace: TraceId, snapshot: &SnapshotId) -> Value {
        let mut object = Map::new();
        object.insert("decision".into(), json!(self.decision));
        object.insert("policy_id".into(), json!(self.policy_id));
        object.insert("rule_id".into(), json!(self.rule_id));
        object.insert("reason".into(), json!(self.reason));
        object.insert("trace_id".into(), json!(trace));
        object.insert("policy_snapshot".into(), json!(snapshot));
        if let Some(id) = &self.approval_id {
            object.insert("approval_id".into(), json!(id));
        }
        if let Some(ms) = self.retry_after_ms {
            object.insert("retry_after_ms".into(), json!(ms));
        }
        if let Some(remediation) = &self.remediation {
            object.insert("remediation".into(), remediation.clone());
        }
        if let Some(cost) = self.cost_estimate {
            object.insert("cost_estimate_usd".into(), json!(cost));
        }
        Value::Object(object)
    }

    /// The sentence.
    pub(crate) fn sentence(&self, what: &str) -> String {
        let by = match &self.rule_id {
            Some(rule) => format!("policy `{}`, rule `{rule}`", self.policy_id),
            None => format!("policy `{}`", self.policy_id),
        };
        let reason = self.reason.trim_end_matches('.');
        let then = match (self.decision, &self.approval_id, self.retry_after_ms) {
            (EventDecision::PendingApproval, Some(id), _) => {
                format!(" Make the same call again once approval `{id}` is given.")
            }
            (EventDecision::Throttle, _, Some(ms)) => format!(" Try again in {} s.", ms.div_ceil(1000)),
            (
                EventDecision::Allow
                | EventDecision::AllowWithConstraints
                | EventDecision::PendingApproval
                | EventDecision::Approved
                | EventDecision::Rejected
                | EventDecision::Expired
                | EventDecision::Remediate
                | EventDecision::Suggest
                | EventDecision::Throttle
                | EventDecision::Deny,
                _,
                _,
            ) => String::new(),
        };
        let verb = match self.decision {
            EventDecision::PendingApproval => "is waiting for approval",
            EventDecision::Rejected => "was rejected",
            EventDecision::Expired => "was not approved in time",
            EventDecision::Remediate => "was not made: a safer variant is proposed",
            EventDecision::Suggest => "was not made: this agent may only propose it",
            EventDecision::Throttle => "was not made now",
            EventDecision::Deny
            | EventDecision::Allow
            | EventDecision::AllowWithConstraints
            | EventDecision::Approved => "was denied",
        };
        format!("`{what}` {verb} by {by}: {reason}.{then}")
    }

    /// The reply: a tool result with `isError`, or for resources and prompts the error -32010.
    pub(crate) fn reply(
        &self,
        kind: CallKind,
        what: &str,
        trace: TraceId,
        snapshot: &SnapshotId,
    ) -> CallReply {
        let sentence = self.sentence(what);
        let decision = self.decision_object(trace, snapshot);
        match kind {
            CallKind::Tool => Ok(json!({
                "content": [{"type": "text", "text": sentence}],
                "isError": true,
                "_meta": {"tollgate/decision": decision},
            })),
            CallKind::Resource | CallKind::Prompt => {
                Err(RpcError::new(code::REFUSED, sentence).with_data(json!({"tollgate/decision": decision})))
            }
        }
    }
}
