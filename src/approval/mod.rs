//! Approvals: the state machine over the durable record, who may decide, and the channels that write to it.

mod freezes;
mod grants;
mod holds;
mod labels;
mod rules;
mod withheld;

pub use freezes::{FreezeError, Freezes, Froze, Frozen, freeze_doubt, frozen_by};
pub use grants::{GrantProposal, RevokeError, answer_form, bounds_form, read_answer as read_grant};
pub use holds::{HoldError, Holds, ShownHold};
pub use labels::{ClearError, HeldLabels, clear_all_labels, held_labels};
pub use rules::{DecideError, QuorumProgress, apply, deciders, eligible, standing};
pub use withheld::sees_values;

use crate::{
    clock::Clock,
    evidence::ApprovalSubject,
    model::{ApprovalId, ApprovalStatus, EventDecision, EventDraft, EventType, PersonId, SnapshotId},
    policy::{Approver, ChannelKind, PolicySet, Role},
    store::{
        ApprovalAnswer, ApprovalFilter, ApprovalRecord, ApprovalUpdate, EventQuery, GrantAnswer, GrantMade,
        Store, StoreError,
    },
    telemetry::{Label, Telemetry},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The approvals of one store. Every channel decides through [`Approvals::decide`].
#[derive(Clone, Debug)]
pub struct Approvals {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
}

/// A person's answer as a channel brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalResponse {
    /// Yes or no.
    pub approve: bool,
    /// What they say.
    pub comment: Option<String>,
    /// What they show.
    pub evidence: Option<String>,
    /// The standing grant that they answer with; an approval of more than one call.
    pub grant: Option<GrantAnswer>,
}

/// The longest comment or evidence that is kept, in characters.
pub const MAX_TEXT: usize = 4000;

impl Approvals {
    /// Over a store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, telemetry: Arc::default() }
    }

    /// The same, with the time that people take measured.
    #[must_use]
    pub fn measured_by(self, telemetry: &Arc<Telemetry>) -> Self {
        Self { telemetry: telemetry.clone(), ..self }
    }

    /// A record that was pending is so no more.
    fn measure(&self, record: &ApprovalRecord, now: jiff::Timestamp, status: ApprovalStatus) {
        let waited = Duration::try_from(now.duration_since(record.created_at)).unwrap_or_default();
        let wait = &self.telemetry.metrics.approval_wait;
        if record.status == ApprovalStatus::Pending && status != ApprovalStatus::Pending {
            wait.observe([Label::from(status.as_str())], waited, Some(record.trace_id));
        }
    }

    /// Wakes whenever any approval may have changed, in this process or another.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store.approval_changes()
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
        answer: ApprovalResponse,
    ) -> Result<ApprovalRecord, DecideError> {
        self.decide_signed(policies, (person, None), id, channel, answer).await
    }

    /// The same of a person who signed in by an issuer: the record says who they are there.
    pub async fn decide_signed(
        &self,
        policies: &PolicySet,
        (person, subject): (&PersonId, Option<String>),
        id: &ApprovalId,
        channel: ChannelKind,
        answer: ApprovalResponse,
    ) -> Result<ApprovalRecord, DecideError> {
        let clean = |text: String| String::from(policies.data.said(&text, MAX_TEXT));
        let answer = ApprovalResponse {
            approve: answer.approve,
            comment: answer.comment.map(clean),
            evidence: answer.evidence.map(clean),
            grant: answer.grant,
        };
        loop {
            let record = self.get(id).await?.ok_or(DecideError::NotFound)?;
            let now = self.clock.now();
            let mut given = ApprovalAnswer {
                person: person.clone(),
                approve: answer.approve,
                at: now,
                channel,
                comment: answer.comment.clone(),
                evidence: answer.evidence.clone(),
                snapshot: policies.snapshot.clone(),
                grant: answer.grant.clone(),
                grant_id: None,
            };
            let status = apply(&policies.authority, &record, &given, now)?;
            if let Some(asked) = &given.grant {
                let refused = match given.approve {
                    true => grants::refusal(policies, &record, asked),
                    false => Some("a standing grant goes with an approval, not with a rejection".to_owned()),
                };
                refused.map_or(Ok(()), |why| Err(DecideError::GrantRefused(why)))?;
            }
            let mut answers = record.answers.clone();
            answers.push(given.clone());
            let grant = match status {
                ApprovalStatus::Approved => grants::made_by(policies, &record, &answers, &given),
                _ => None,
            };
            if let (Some(grant), Some(last)) = (&grant, answers.last_mut()) {
                given.grant_id = Some(grant.id.clone());
                last.grant_id.clone_from(&given.grant_id);
            }
            let mut event = decided_event(&record, &given, status);
            if let (Some(subject), Some(Value::Object(detail))) = (&subject, event.detail.as_mut()) {
                detail.insert("subject".to_owned(), subject.as_str().into());
            }
            grants::tell(&mut event, &given);
            let update = ApprovalUpdate {
                id: id.clone(),
                expected_version: record.version,
                status,
                answers: answers.clone(),
                covered_by: None,
            };
            let is_done = match grant {
                None => self.store.update_approval(update, vec![event]).await?,
                Some(grant) => {
                    let made = grants::made_event(&grant, &given);
                    let agent = grant.terms.agent.clone();
                    match self.store.make_grant(update, grant, vec![event], made, grants::MOST_LIVE).await? {
                        GrantMade::Made => true,
                        GrantMade::Outdated => false,
                        GrantMade::TooMany(most) => return Err(grants::too_many(most, &agent)),
                    }
                }
            };
            if is_done {
                self.measure(&record, now, status);
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
        let mut event = about(&record).event(EventType::ApprovalExpired, self.clock.now());
        event.decision = Some(EventDecision::Expired);
        event.reason = Some(reason.into());
        let update = ApprovalUpdate {
            id: record.id.clone(),
            expected_version: record.version,
            status: ApprovalStatus::Expired,
            answers: record.answers.clone(),
            covered_by: None,
        };
        if self.store.update_approval(update, vec![event]).await? {
            self.measure(&record, self.clock.now(), ApprovalStatus::Expired);
            let version = record.version + 1;
            return Ok(ApprovalRecord { status: ApprovalStatus::Expired, version, ..record });
        }
        // Somebody else changed it meanwhile: what they wrote counts.
        Ok(self.store.approval(record.id.clone()).await?.unwrap_or(record))
    }

    /// Tells once of every pending record whose escalation has begun, and of every one that outlasts the SLA of its
    /// workflow. The record's version is what keeps two processes from telling twice.
    pub async fn alert_due(&self, policies: &PolicySet) -> Result<(), DecideError> {
        let filter = ApprovalFilter { status: vec![ApprovalStatus::Pending], ..ApprovalFilter::default() };
        let now = self.clock.now();
        for record in self.store.approvals(filter).await? {
            let due = alerts(policies, &record, now);
            if due.is_empty() {
                continue;
            }
            let told = self
                .store
                .events(EventQuery {
                    event_type: Some(EventType::Alert),
                    approval_id: Some(record.id.clone()),
                    ..EventQuery::default()
                })
                .await?;
            // Each escalation is one of its own: of whom, and from when.
            let subject = |event: &EventDraft| {
                let member = |name: &str| event.detail.as_ref().and_then(|detail| detail.get(name)).cloned();
                (member("alert"), member("approval"))
            };
            let mut known: Vec<_> = told.iter().map(|event| subject(&event.draft)).collect();
            let mut fresh = due;
            fresh.retain(|event| {
                let subject = subject(event);
                let is_new = !known.contains(&subject);
                known.push(subject);
                is_new
            });
            if fresh.is_empty() {
                continue;
            }
            let update = ApprovalUpdate {
                id: record.id.clone(),
                expected_version: record.version,
                status: record.status,
                answers: record.answers.clone(),
                covered_by: None,
            };
            // Where somebody was first, the next look tells whether there is still something to tell.
            self.store.update_approval(update, fresh).await?;
        }
        Ok(())
    }

    /// What waits for an answer, or was approved and is not used yet.
    pub async fn open(&self) -> Result<Vec<ApprovalRecord>, StoreError> {
        let status = vec![ApprovalStatus::Pending, ApprovalStatus::Approved];
        self.store.approvals(ApprovalFilter { status, ..ApprovalFilter::default() }).await
    }

    /// Cancels what of `open` was asked for under other policies than those that are in force, or are tried for a share of
    /// calls: no answer to it could let anything through, and what was approved cannot be used. Each is recorded once,
    /// whichever process does it.
    pub async fn cancel_outdated(
        &self,
        open: Vec<ApprovalRecord>,
        in_force: &[&SnapshotId],
    ) -> Result<(), DecideError> {
        for record in open {
            let mut record = self.expire_if_due(record).await?;
            while matches!(record.status, ApprovalStatus::Pending | ApprovalStatus::Approved)
                && !in_force.contains(&&record.binding.snapshot)
            {
                let mut event = about(&record).event(EventType::ApprovalCancelled, self.clock.now());
                event.reason = Some("snapshot_mismatch".into());
                event.detail = Some(json!({
                    "status": record.status,
                    "asked_under": record.binding.snapshot,
                    "in_force": in_force.first(),
                }));
                let update = ApprovalUpdate {
                    id: record.id.clone(),
                    expected_version: record.version,
                    status: ApprovalStatus::Cancelled,
                    answers: record.answers.clone(),
                    covered_by: None,
                };
                if self.store.update_approval(update, vec![event]).await? {
                    self.measure(&record, self.clock.now(), ApprovalStatus::Cancelled);
                    break;
                }
                // Somebody was first: what they wrote is looked at.
                let Some(now) = self.store.approval(record.id.clone()).await? else { break };
                record = now;
            }
        }
        Ok(())
    }

    /// Expires everything that is due.
    pub async fn expire_all_due(&self) -> Result<(), DecideError> {
        let filter = ApprovalFilter {
            status: vec![ApprovalStatus::Pending, ApprovalStatus::Approved],
            due: Some(self.clock.now()),
            ..ApprovalFilter::default()
        };
        for record in self.store.approvals(filter).await? {
            self.expire_if_due(record).await?;
        }
        Ok(())
    }
}

/// What there is to tell of a pending record by now.
fn alerts(policies: &PolicySet, record: &ApprovalRecord, now: jiff::Timestamp) -> Vec<EventDraft> {
    let mut due = Vec::new();
    let mut tell = |kind: &str, reason: String, more: serde_json::Value| {
        let mut event = about(record).event(EventType::Alert, now);
        event.decision = Some(EventDecision::PendingApproval);
        event.reason = Some(reason.into());
        event.detail = Some(json!({"alert": kind, "approval": more}));
        due.push(event);
    };
    let workflow = record.workflow_id.as_ref().and_then(|id| policies.authority.workflows.get(id));
    if let Some(sla) = workflow.and_then(|workflow| workflow.approval_sla)
        && record.created_at.checked_add(sla).is_ok_and(|until| now >= until)
    {
        let shown = humantime::format_duration(sla);
        let reason = format!("nobody has decided within its workflow's approval SLA of {shown}");
        tell("approval_sla", reason, json!({"waiting_since": record.created_at}));
    }
    let met = standing(&policies.authority, record, &record.answers).met;
    for (requirement, (have, need)) in record.requirements.iter().zip(met) {
        let escalation = requirement.escalation.as_ref().filter(|(at, _)| now >= *at && have < need);
        if let Some((at, to)) = escalation {
            let names: Vec<&str> = to.iter().map(Approver::name).collect();
            let reason = format!("nobody has decided: {} may decide now too", names.join(", "));
            tell("approval_escalated", reason, json!({"since": at, "to": names}));
        }
    }
    due
}

/// The approval as its records name it.
pub fn about(record: &ApprovalRecord) -> ApprovalSubject<'_> {
    ApprovalSubject {
        id: &record.id,
        trace_id: record.trace_id,
        call_id: &record.call_id,
        workflow: record.workflow_id.as_ref(),
        agent: &record.binding.agent,
        capability: record.capability_id.as_ref(),
        action: &record.action,
        policy_id: &record.policy_id,
        rule_id: record.rule_id.as_ref(),
        cost: record.cost_estimate_usd,
        redacted: record.redacted,
        tool: &record.binding.tool,
        upstream: &record.upstream,
        operator: record.operator.as_ref(),
        user: record.binding.user.as_ref(),
        snapshot: &record.binding.snapshot,
    }
}

fn decided_event(record: &ApprovalRecord, answer: &ApprovalAnswer, status: ApprovalStatus) -> EventDraft {
    let role = Role::Approver.as_str();
    let mut event = about(record).of_person(EventType::ApprovalDecided, answer.at, role);
    event.decision = Some(match status {
        ApprovalStatus::Approved | ApprovalStatus::Consumed => EventDecision::Approved,
        ApprovalStatus::Rejected | ApprovalStatus::Cancelled => EventDecision::Rejected,
        ApprovalStatus::Pending => EventDecision::PendingApproval,
        ApprovalStatus::Expired => EventDecision::Expired,
    });
    event.reason = answer.comment.as_deref().map(Into::into);
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
