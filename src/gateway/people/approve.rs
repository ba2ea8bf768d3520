//! Asking a person: the durable record first, then the agent's own client where that may answer, then waiting for an
//! answer given elsewhere. Silence never approves (I3).

use crate::gateway::{
    Gateway, InForce,
    api::CallReply,
    decided::Decided,
    extras,
    people::asking::{Asking, Opened},
    prepare::{Prepared, subject},
    refusal::Refusal,
    request::Request,
};
use crate::{
    approval::{DecideError, about},
    evidence::{Explained, Ruling},
    model::{ApprovalStatus, EventDecision, EventDraft, EventType, RpcError, SnapshotId, code},
    redaction::display_text,
    store::{
        ApprovalBinding, ApprovalFilter, ApprovalRecord, AskLimits, Asked, LimitRefusal, Requirement,
        StoreError,
    },
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The most bytes of arguments of a call that is held while its client asks for it as a task.
const LARGEST_HELD: u64 = 64 * 1024;

/// What to do next.
pub(crate) enum Step {
    /// An approval that this call may use.
    Use(Box<ApprovalRecord>),
    /// Something changed: evaluate again.
    Again,
    /// Nothing is dispatched.
    Reply(CallReply),
}

/// What an approval of this call is bound to.
pub(crate) fn binding(snapshot: &SnapshotId, prepared: &Prepared) -> ApprovalBinding {
    ApprovalBinding {
        agent: prepared.facts.agent.id.clone(),
        user: prepared.facts.user.clone(),
        workflow: prepared.workflow.clone(),
        tool: prepared.shown.to_string(),
        fingerprint: prepared.target.fingerprint(),
        digest: prepared.digest.clone(),
        call: prepared.call_digest.clone(),
        snapshot: snapshot.clone(),
    }
}

impl Gateway {
    /// Gets a person's decision on a call that needs one.
    pub(crate) async fn seek_approval(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
    ) -> Step {
        match self.try_approval(in_force, request, decided, asking).await {
            Ok(step) => step,
            Err(error) => {
                tracing::error!(error = %error, trace.id = %request.trace_id, "an approval could not be asked for");
                let refusal = Refusal::deny("store", error.refusal());
                Step::Reply(self.refuse(request, Some(&decided.prepared), in_force, refusal, asking).await)
            }
        }
    }

    async fn try_approval(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
    ) -> Result<Step, StoreError> {
        self.keep_tools(&decided.prepared).await?;
        let binding = binding(&in_force.policies.snapshot, &decided.prepared);
        // A retry speaks of the record it was asked about: where that was rejected meanwhile, it stays so.
        if let Some(Opened::Approval(id, ..)) = &asking.opened {
            let known = self.0.approvals.get(id).await.map_err(store_error)?;
            if let Some(known) = known.filter(|known| known.binding.same_call(&binding)) {
                if known.binding.digest != binding.digest {
                    return Ok(self.other_extras(in_force, request, decided, &known, asking).await);
                }
                match known.status {
                    ApprovalStatus::Rejected | ApprovalStatus::Expired => {
                        return self.ended(in_force, request, decided, &known, asking).await;
                    }
                    // What was cancelled was asked for under other policies: these create a new approval request.
                    ApprovalStatus::Pending
                    | ApprovalStatus::Approved
                    | ApprovalStatus::Consumed
                    | ApprovalStatus::Cancelled => {}
                }
            }
        }
        let requirements = self.requirements(in_force, decided);
        if requirements.is_empty() {
            return Err(StoreError::Failed("a call needs approval and no rule says by whom".into()));
        }
        let now = self.0.clock.now();
        let found = self.0.store.approval_for(binding.clone(), requirements.clone(), now).await?;
        let record = match found {
            Some(record) if record.status == ApprovalStatus::Approved => {
                return Ok(Step::Use(Box::new(record)));
            }
            Some(record) if record.status == ApprovalStatus::Pending => record,
            // A person has said no to this very call a moment ago: they are not asked again.
            Some(record) if self.rejection_stands(in_force, &record) => {
                return self.ended(in_force, request, decided, &record, asking).await;
            }
            Some(_) | None => {
                let record = self.new_record(in_force, request, decided, binding, requirements);
                if let Some(refusal) = self.unanswerable(in_force, decided, &record, asking.client.as_ref()) {
                    let prepared = Some(&decided.prepared);
                    return Ok(Step::Reply(self.refuse(request, prepared, in_force, refusal, asking).await));
                }
                match self.ask(in_force, request, decided, record, asking).await? {
                    Asked::Made(record) | Asked::Reused(record) => record,
                    Asked::Refused(limit) => {
                        return Ok(self.too_often(in_force, request, decided, limit, asking).await);
                    }
                }
            }
        };
        if !std::mem::replace(&mut asking.recorded, true) {
            let events = self.pending_events(in_force, request, decided, &record, asking.start());
            self.0.store.record(events).await?;
        }
        self.ask_person(in_force, request, decided, asking, record).await
    }

    /// What the rules that ask now ask for.
    fn requirements(&self, in_force: &Arc<InForce>, decided: &Decided) -> Vec<Requirement> {
        let now = self.0.clock.now();
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
            })
            .collect()
    }

    fn rejection_stands(&self, in_force: &Arc<InForce>, record: &ApprovalRecord) -> bool {
        let said = record.answers.iter().filter(|answer| !answer.approve).map(|answer| answer.at).max();
        let until = said.and_then(|at| at.checked_add(in_force.config.gateway.rejection_stands).ok());
        record.status == ApprovalStatus::Rejected && until.is_some_and(|until| self.0.clock.now() < until)
    }

    /// The agent asks more often than it may.
    async fn too_often(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        limit: LimitRefusal,
        asking: &mut Asking,
    ) -> Step {
        let refusal = Refusal::by_limit(limit);
        Step::Reply(self.refuse(request, Some(&decided.prepared), in_force, refusal, asking).await)
    }

    /// A retry that differs from what was asked about beside the arguments. A new ask would have the person decide once
    /// more, and a client that changes such a key with each call would never come to an end.
    async fn other_extras(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        known: &ApprovalRecord,
        asking: &mut Asking,
    ) -> Step {
        let (_, now, _) = extras::shown(in_force, &decided.prepared);
        let names = extras::differing(&known.context, &now);
        let names = display_text(&names.join(", "), 300);
        let text = format!(
            "requestState is not valid for this call: `_meta` or other params differ from what was asked about ({names}). \
             Repeat the request as it was; keys that a client changes with each call belong in [gateway] volatile_meta"
        );
        let refusal = Refusal::deny("request_state", text.clone());
        drop(self.refuse(request, Some(&decided.prepared), in_force, refusal, asking).await);
        Step::Reply(Err(RpcError::new(code::INVALID_PARAMS, text)))
    }

    /// What a person would be asked.
    fn new_record(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        binding: ApprovalBinding,
        requirements: Vec<Requirement>,
    ) -> ApprovalRecord {
        let prepared = &decided.prepared;
        let (arguments, context, redacted) = extras::shown(in_force, prepared);
        let now = self.0.clock.now();
        let plus = |d: Duration| now.checked_add(d).unwrap_or(jiff::Timestamp::MAX);
        let expires_in = decided.verdict.approvals.iter().map(|a| a.rule.expires_in).min();
        ApprovalRecord {
            id: self.0.ids.approval_id(),
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
        }
    }

    /// Makes the record, or finds that an identical ask is pending, or that the agent asks too often.
    async fn ask(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        record: ApprovalRecord,
        asking: &mut Asking,
    ) -> Result<Asked, StoreError> {
        let prepared = &decided.prepared;
        let now = record.created_at;
        let role = &prepared.facts.agent.role;
        let mut event = about(&record).of_agent(EventType::ApprovalRequested, now, role);
        event.decision = Some(EventDecision::PendingApproval);
        event.reason = Some(record.reason.as_str().into());
        event.sensitivity_level = prepared.level;
        event.detail = Some(json!({
            "arguments": record.arguments,
            "meta": record.context.meta,
            "params": record.context.params,
            "requirements": record.requirements,
        }));
        // One transaction: the call's start, its decision, and the ask, in this order.
        let mut events = if asking.recorded {
            Vec::new()
        } else {
            self.pending_events(in_force, request, decided, &record, !asking.started)
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
        let asked = self.0.store.ask(record, events, limits).await?;
        if matches!(asked, Asked::Made(_)) {
            (asking.recorded, asking.started) = (true, true);
        }
        Ok(asked)
    }

    /// What is told where the same call was asked about under other policies, or with something else beside its
    /// arguments: that approval is for none of these (I4), so it is asked again.
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
        let old = self.0.store.approvals(filter).await?.into_iter().find(same);
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

    fn pending_events(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        record: &ApprovalRecord,
        start: bool,
    ) -> Vec<EventDraft> {
        let now = self.0.clock.now();
        let subject = subject(request, Some(&decided.prepared), in_force);
        let verdict = &decided.verdict;
        let ruling = Ruling {
            decision: EventDecision::PendingApproval,
            policy_id: &verdict.policy_id,
            rule_id: verdict.rule_id.as_ref(),
            reason: verdict.reason.clone(),
            approval_id: Some(&record.id),
        };
        let beside = extras::masked(in_force, &decided.prepared).map(|(value, _)| value);
        let explained = Explained { beside: beside.as_ref(), ..decided.explained() };
        let event = subject.explained(now, &ruling, &explained);
        self.log_call(request, &event);
        start.then(|| subject.start(now)).into_iter().chain([event]).collect()
    }

    /// Waits for an answer given elsewhere, at most `approval_wait`.
    pub(in crate::gateway) async fn wait_elsewhere(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
        record: ApprovalRecord,
    ) -> Result<Step, StoreError> {
        let mut changes = self.0.store.approval_changes();
        let mut generations = self.generations();
        if asking.client.wants_progress() {
            let message = format!("waiting for approval {}", record.id);
            asking.client.notify("notifications/progress", json!({"progress": 0, "message": message}));
        }
        let pending = || {
            let mut refusal = approval_refusal(decided, &record, EventDecision::PendingApproval);
            refusal.reason = decided.verdict.reason.to_string();
            refusal
        };
        let left = remaining(&record, self.0.clock.now());
        let decision = pending().decision_object(request.trace_id, &in_force.policies.snapshot);
        // A large call is not held: there may be many of them.
        let small = decided.prepared.facts.call.size <= LARGEST_HELD;
        let patience = match small && asking.offer(request, decision, left).await {
            true => left,
            false => in_force.config.gateway.approval_wait.min(left),
        };
        let patience = tokio::time::sleep(patience);
        tokio::pin!(patience);
        loop {
            // First looked at, then waited for: what changed before the subscription wakes nobody.
            if !self.still_valid(&request.principal) || self.moved_on(in_force, asking) {
                return Ok(Step::Again);
            }
            let now = self.0.approvals.get(&record.id).await.map_err(store_error)?;
            match now {
                Some(now) if now.status == ApprovalStatus::Pending => {}
                // Another process has other policies in force, and this one soon: the call is decided anew then.
                Some(now) if now.status == ApprovalStatus::Cancelled && !patience.is_elapsed() => {}
                Some(now) => return self.ended(in_force, request, decided, &now, asking).await,
                None => return Err(StoreError::Damaged("an approval has vanished".into())),
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| StoreError::Closed)?,
                _ = generations.changed() => {}
                () = &mut patience => {
                    let now = self.0.store.approval(record.id.clone()).await?;
                    if now.is_some_and(|now| now.status == ApprovalStatus::Cancelled) {
                        continue;
                    }
                    // The pending decision is recorded already.
                    return Ok(Step::Reply(pending().reply(request.kind, &request.name, request.trace_id, &in_force.policies)));
                }
            }
        }
    }

    /// Whether other policies have come into force since the call was decided: then it is decided anew, and its client may
    /// be asked about it again.
    pub(in crate::gateway) fn moved_on(&self, in_force: &Arc<InForce>, asking: &mut Asking) -> bool {
        let moved = !self.in_force().decides_under(&in_force.policies.snapshot);
        if moved {
            asking.begin_again();
        }
        moved
    }

    /// A record that is pending no more.
    pub(in crate::gateway) async fn ended(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        record: &ApprovalRecord,
        asking: &mut Asking,
    ) -> Result<Step, StoreError> {
        let decision = match record.status {
            ApprovalStatus::Pending | ApprovalStatus::Approved => return Ok(Step::Again),
            // Another identical call has used it: this one needs its own.
            ApprovalStatus::Consumed => return Ok(Step::Again),
            ApprovalStatus::Rejected | ApprovalStatus::Cancelled => EventDecision::Rejected,
            ApprovalStatus::Expired => EventDecision::Expired,
        };
        let refusal = approval_refusal(decided, record, decision);
        Ok(Step::Reply(self.refuse(request, Some(&decided.prepared), in_force, refusal, asking).await))
    }
}

fn approval_refusal(decided: &Decided, record: &ApprovalRecord, decision: EventDecision) -> Refusal {
    let reason = match decision {
        EventDecision::Rejected => {
            let comment = record.answers.iter().rev().find(|a| !a.approve).and_then(|a| a.comment.as_deref());
            let said = match comment.filter(|c| !c.trim().is_empty()) {
                Some(comment) => format!("a person rejected it: {}", display_text(comment, 300)),
                None if record.status == ApprovalStatus::Cancelled => {
                    "the policies have changed since a person was asked: call again".to_owned()
                }
                None => "a person rejected it".to_owned(),
            };
            // What is sent beside the arguments does not make another call of it.
            match record.binding.digest == decided.prepared.digest {
                true => said,
                false => format!("{said} (it was asked about with other `_meta` or params)"),
            }
        }
        EventDecision::Expired => "nobody approved it in time".to_owned(),
        EventDecision::Allow
        | EventDecision::AllowWithConstraints
        | EventDecision::PendingApproval
        | EventDecision::Approved
        | EventDecision::Remediate
        | EventDecision::Suggest
        | EventDecision::Throttle
        | EventDecision::Deny => record.reason.clone(),
    };
    let mut refusal = Refusal::new(decision, record.policy_id.clone(), record.rule_id.clone(), reason);
    refusal.approval_id = Some(record.id.clone());
    refusal.cost_estimate = Some(decided.prepared.estimate.cost);
    refusal
}

pub(in crate::gateway) fn store_error(error: DecideError) -> StoreError {
    match error {
        DecideError::Store(error) => error,
        other => StoreError::Failed(other.to_string()),
    }
}

pub(in crate::gateway) fn remaining(record: &ApprovalRecord, now: jiff::Timestamp) -> Duration {
    Duration::try_from(record.expires_at.duration_since(now)).unwrap_or(Duration::ZERO)
}
