//! What is asked of people, in the store: the durable record, and the events that tell of it.

use super::{PendingCall, People, client_questions::ClientQuestions};
use crate::gateway::{extras, subject::subject};
use crate::{
    approval::about,
    evidence::{Explained, Ruling},
    model::{ApprovalStatus, EventDecision, EventDraft, EventType},
    store::{ApprovalBinding, ApprovalFilter, ApprovalRecord, AskLimits, Asked, Requirement, StoreError},
};
use serde_json::json;
use std::time::Duration;

impl People {
    /// What the rules that ask now ask for.
    pub(super) fn requirements(&self, call: PendingCall<'_>) -> Vec<Requirement> {
        let PendingCall { in_force, decided, .. } = call;
        let now = self.clock.now();
        let plus = |d: Duration| now.checked_add(d).unwrap_or(jiff::Timestamp::MAX);
        let default = &in_force.policies.bundle.default_approvers;
        decided
            .verdict
            .approvals
            .iter()
            .map(|needed| Requirement {
                policy_id: needed.policy_id.clone(),
                rule_id: needed.rule_id.clone(),
                reason: needed.reason.to_string(),
                approvers: needed.rule.approvers.clone().or_else(|| default.clone()).unwrap_or_default(),
                quorum: needed.rule.quorum.max(1),
                evidence_required: needed.rule.evidence_required,
                separate: needed.rule.separate,
                channels: needed.rule.channels.clone(),
                escalation: needed.rule.escalate.as_ref().map(|e| (plus(e.after), e.to.clone())),
                grants: needed.rule.grants,
            })
            .collect()
    }

    /// What a person would be asked.
    pub(super) fn new_record(
        &self,
        call: PendingCall<'_>,
        binding: ApprovalBinding,
        requirements: Vec<Requirement>,
    ) -> ApprovalRecord {
        let PendingCall { in_force, request, decided } = call;
        let prepared = &decided.prepared;
        let (arguments, context, redacted) = extras::shown(in_force, prepared);
        let now = self.clock.now();
        let plus = |d: Duration| now.checked_add(d).unwrap_or(jiff::Timestamp::MAX);
        let may_grant = requirements.iter().all(|requirement| requirement.grants.is_some());
        let expires_in = decided.verdict.approvals.iter().map(|a| a.rule.expires_in).min();
        ApprovalRecord {
            id: self.ids.approval_id(),
            version: 0,
            status: ApprovalStatus::Pending,
            binding,
            call_id: request.call_id.clone(),
            trace_id: request.trace_id,
            workflow_id: prepared.workflow.clone(),
            capability_id: decided.verdict.capability.clone(),
            upstream: prepared.target.upstream().clone(),
            action: prepared.shown_action.to_string(),
            arguments,
            redacted,
            context,
            policy_id: decided.verdict.policy_id.clone(),
            rule_id: decided.verdict.rule_id.clone(),
            reason: decided.verdict.reason.to_string(),
            cost_estimate_usd: prepared.estimate.cost,
            operator: prepared.operator.clone(),
            attended: prepared.attended,
            requirements,
            created_at: now,
            expires_at: plus(expires_in.unwrap_or_default()),
            answers: Vec::new(),
            shape: if may_grant { self.call_shape(in_force, prepared) } else { None },
            covered_by: None,
        }
    }

    /// Makes the record, or finds that an identical ask is pending, or that the agent asks too often.
    pub(super) async fn ask(
        &self,
        call: PendingCall<'_>,
        record: ApprovalRecord,
        asking: &mut ClientQuestions,
    ) -> Result<Asked, StoreError> {
        let PendingCall { in_force, request, decided } = call;
        let prepared = &decided.prepared;
        let now = record.created_at;
        let role = &prepared.facts.agent.role;
        let mut event = about(&record).of_agent(EventType::ApprovalRequested, now, role);
        event.decision = Some(EventDecision::PendingApproval);
        event.reason = Some(record.reason.as_str().into());
        event.sensitivity_level = prepared.level;
        let mut detail = json!({
            "arguments": record.arguments,
            "meta": record.context.meta,
            "params": record.context.params,
            "requirements": record.requirements,
        });
        if let (Some(of), Some(members)) = (&request.replay_of, detail.as_object_mut()) {
            members.insert("replay_of".to_owned(), json!(of));
        }
        event.detail = Some(detail);
        // One transaction: the call's start, its decision, and the ask, in this order.
        let (mut events, told) = match asking.recorded {
            true => (Vec::new(), None),
            false => {
                let (events, told) = self.pending_events(call, &record, !asking.started);
                (events, Some(told))
            }
        };
        events.extend(self.outdated(&record, now).await?);
        events.push(event);
        let gateway = &in_force.config.gateway;
        let limits = AskLimits {
            pending: gateway.max_pending_approvals,
            rejected: gateway.rejected_asks.count,
            unapproved: gateway.max_pending_approvals.saturating_mul(2),
            window: gateway.rejected_asks.window,
        };
        let asked = self.store.ask(record, events, limits).await?;
        if matches!(asked, Asked::Made(_)) {
            (asking.recorded, asking.started) = (true, true);
            if let Some(told) = told {
                self.refusals.log_ask(request, &told, asking);
            }
        }
        Ok(asked)
    }

    /// What is told where the same call was asked about under other policies, or with something else beside its
    /// arguments: that approval is for none of these, so it is asked again.
    async fn outdated(
        &self,
        new: &ApprovalRecord,
        now: jiff::Timestamp,
    ) -> Result<Option<EventDraft>, StoreError> {
        let filter = ApprovalFilter {
            status: vec![ApprovalStatus::Pending, ApprovalStatus::Approved, ApprovalStatus::Cancelled],
            call: Some(new.binding.clone()),
            ..ApprovalFilter::default()
        };
        let same = |old: &ApprovalRecord| {
            let (a, b) = (&old.binding, &new.binding);
            (&a.snapshot, &a.digest) != (&b.snapshot, &b.digest) && old.expires_at > now
        };
        let old = self.store.approvals(filter).await?.into_iter().find(same);
        Ok(old.map(|old| {
            let mut event = about(&old).event(EventType::Alert, now);
            if old.binding.snapshot != new.binding.snapshot {
                let reason = "the policies have changed since this was asked for: the call is asked about again";
                event.reason = Some(reason.into());
                event.detail = Some(json!({
                    "alert": "snapshot_mismatch",
                    "status": old.status,
                    "asked_under": old.binding.snapshot,
                    "in_force": new.binding.snapshot,
                    "asked_again_as": new.id,
                }));
            } else {
                let reason = "`_meta` or other params differ from what was asked about: the call is asked about again; \
                              keys that a client changes with each call belong in [gateway] volatile_meta";
                event.reason = Some(reason.into());
                event.detail = Some(json!({
                    "alert": "meta_mismatch",
                    "status": old.status,
                    "differs": extras::differing(&old.context, &new.context),
                    "asked_again_as": new.id,
                }));
            }
            event
        }))
    }

    /// What is recorded of a call that waits, and of that the decision, which is told once it stands.
    pub(super) fn pending_events(
        &self,
        call: PendingCall<'_>,
        record: &ApprovalRecord,
        start: bool,
    ) -> (Vec<EventDraft>, EventDraft) {
        let PendingCall { in_force, request, decided } = call;
        let now = self.clock.now();
        let subject = subject(request, Some(&decided.prepared), in_force);
        let verdict = &decided.verdict;
        let ruling = Ruling {
            decision: EventDecision::PendingApproval,
            policy_id: &verdict.policy_id,
            rule_id: verdict.rule_id.as_ref(),
            reason: verdict.reason.clone(),
            approval_id: Some(&record.id),
        };
        let extras = extras::masked(in_force, &decided.prepared).map(|(value, _)| value);
        let explained = Explained { extras: extras.as_ref(), ..decided.explained() };
        let event = subject.explained(now, &ruling, &explained);
        let events = start.then(|| subject.start(now)).into_iter().chain([event.clone()]).collect();
        (events, event)
    }
}
