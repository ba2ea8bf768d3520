//! Approvals: the state machine over the durable record, who may decide, and the channels that write to it.

mod rules;

pub use rules::{DecideError, Standing, apply, eligible, standing};

use crate::{
    clock::Clock,
    model::{Actor, ApprovalId, ApprovalStatus, EventDecision, EventDraft, EventType, PersonId, Sensitivity},
    policy::{ChannelKind, PolicySet, Role},
    store::{ApprovalAnswer, ApprovalFilter, ApprovalRecord, ApprovalUpdate, Store},
};
use serde_json::json;
use std::sync::Arc;

/// The approvals of one store. Every channel decides through [`Approvals::decide`].
#[derive(Clone, Debug)]
pub struct Approvals {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// A person's answer as a channel brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Yes or no.
    pub approve: bool,
    /// What they say.
    pub comment: Option<String>,
    /// What they show.
    pub evidence: Option<String>,
}

/// The longest comment or evidence that is kept, in characters.
pub const MAX_TEXT: usize = 4000;

impl Approvals {
    /// Over a store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// One record, with its expiry applied.
    pub async fn get(&self, id: &ApprovalId) -> Result<Option<ApprovalRecord>, DecideError> {
        let Some(record) = self.store.approval(id.clone()).await? else { return Ok(None) };
        Ok(Some(self.expire_if_due(record).await?))
    }

    /// Records, newest first, with their expiry applied. A record whose time ran out is listed as expired.
    pub async fn list(&self, filter: ApprovalFilter) -> Result<Vec<ApprovalRecord>, DecideError> {
        let wanted = filter.status.clone();
        let mut all = Vec::new();
        for record in self.store.approvals(filter).await? {
            let record = self.expire_if_due(record).await?;
            if wanted.is_empty() || wanted.contains(&record.status) {
                all.push(record);
            }
        }
        Ok(all)
    }

    /// Writes one person's answer. Optimistic: where somebody else was first, the record is read again and the
    /// answer is held against what it is now.
    pub async fn decide(
        &self,
        policies: &PolicySet,
        person: &PersonId,
        id: &ApprovalId,
        channel: ChannelKind,
        answer: Answer,
    ) -> Result<ApprovalRecord, DecideError> {
        let clean = |text: String| -> String {
            policies.data.redact_text(&text.chars().take(MAX_TEXT).collect::<String>()).into_owned()
        };
        let answer = Answer {
            approve: answer.approve,
            comment: answer.comment.map(clean),
            evidence: answer.evidence.map(clean),
        };
        loop {
            let record = self.get(id).await?.ok_or(DecideError::NotFound)?;
            let now = self.clock.now();
            let given = ApprovalAnswer {
                person: person.clone(),
                approve: answer.approve,
                at: now,
                channel,
                comment: answer.comment.clone(),
                evidence: answer.evidence.clone(),
                snapshot: policies.snapshot.clone(),
            };
            let status = apply(&policies.authority, &record, &given, now)?;
            let mut answers = record.answers.clone();
            answers.push(given.clone());
            let event = decided_event(&record, &given, status);
            let update = ApprovalUpdate {
                id: id.clone(),
                expected_version: record.version,
                status,
                answers: answers.clone(),
            };
            if self.store.update_approval(update, vec![event]).await? {
                let version = record.version + 1;
                return Ok(ApprovalRecord { status, answers, version, ..record });
            }
        }
    }

    /// Turns a pending or approved record whose time ran out into an expired one, once, with its event.
    pub async fn expire_if_due(&self, record: ApprovalRecord) -> Result<ApprovalRecord, DecideError> {
        let due = matches!(record.status, ApprovalStatus::Pending | ApprovalStatus::Approved);
        if !due || self.clock.now() < record.expires_at {
            return Ok(record);
        }
        let reason = match record.status {
            ApprovalStatus::Pending => "nobody decided in time",
            ApprovalStatus::Approved
            | ApprovalStatus::Rejected
            | ApprovalStatus::Expired
            | ApprovalStatus::Cancelled
            | ApprovalStatus::Consumed => "it was approved, and not used in time",
        };
        let mut event = about(&record, EventType::ApprovalExpired, self.clock.now());
        event.decision = Some(EventDecision::Expired);
        event.reason = Some(reason.to_owned());
        let update = ApprovalUpdate {
            id: record.id.clone(),
            expected_version: record.version,
            status: ApprovalStatus::Expired,
            answers: record.answers.clone(),
        };
        if self.store.update_approval(update, vec![event]).await? {
            let version = record.version + 1;
            return Ok(ApprovalRecord { status: ApprovalStatus::Expired, version, ..record });
        }
        // Somebody else changed it meanwhile: what they wrote counts.
        Ok(self.store.approval(record.id.clone()).await?.unwrap_or(record))
    }

    /// Expires everything that is due.
    pub async fn expire_all_due(&self) -> Result<(), DecideError> {
        let filter = ApprovalFilter {
            status: vec![ApprovalStatus::Pending, ApprovalStatus::Approved],
            agent: None,
            limit: 0,
        };
        for record in self.store.approvals(filter).await? {
            self.expire_if_due(record).await?;
        }
        Ok(())
    }
}

/// An event about an approval, with what joins it to its call.
pub fn about(record: &ApprovalRecord, event_type: EventType, now: jiff::Timestamp) -> EventDraft {
    let mut event = EventDraft::system(event_type, now);
    event.trace_id = Some(record.trace_id);
    event.workflow_id = record.workflow_id.clone();
    event.agent_id = Some(record.binding.agent.clone());
    event.capability_id = record.capability_id.clone();
    event.action = Some(record.action.clone());
    event.policy_id = Some(record.policy_id.clone());
    event.rule_id = record.rule_id.clone();
    event.cost_estimate_usd = Some(record.cost_estimate_usd);
    event.redacted = record.redacted;
    event.sensitivity_level = Sensitivity::Internal;
    event.call_id = Some(record.call_id.clone());
    event.tool = Some(record.binding.tool.clone());
    event.upstream = Some(record.upstream.clone());
    event.policy_snapshot = Some(record.binding.snapshot.clone());
    event.approval_id = Some(record.id.clone());
    event
}

fn decided_event(record: &ApprovalRecord, answer: &ApprovalAnswer, status: ApprovalStatus) -> EventDraft {
    let mut event = about(record, EventType::ApprovalDecided, answer.at);
    event.actor = Actor { kind: "person".to_owned(), role: Some(Role::Approver.as_str().to_owned()) };
    event.decision = Some(match status {
        ApprovalStatus::Approved | ApprovalStatus::Consumed => EventDecision::Approved,
        ApprovalStatus::Rejected | ApprovalStatus::Cancelled => EventDecision::Rejected,
        ApprovalStatus::Pending => EventDecision::PendingApproval,
        ApprovalStatus::Expired => EventDecision::Expired,
    });
    event.reason = answer.comment.clone();
    event.detail = Some(json!({
        "person": answer.person,
        "approve": answer.approve,
        "channel": answer.channel,
        "evidence": answer.evidence,
        "status": status,
        "decided_under": answer.snapshot,
    }));
    event
}

#[cfg(test)]
mod tests;
