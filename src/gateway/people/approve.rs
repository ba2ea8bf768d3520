//! Asking a person: the durable record first, then the agent's own client where that may answer, then waiting for an
//! answer given elsewhere. Silence never approves.

use super::{
    PendingCall, People,
    client_questions::ClientQuestions,
    follow::{Follow, WaitState},
    remaining, store_error,
};
use crate::gateway::{
    InForce, api::CallReply, decided::Decided, extras, refusal::Refusal, request_state::Opened,
};
use crate::{
    model::{ApprovalStatus, EventDecision, RpcError, code},
    redaction::display_text,
    store::{ApprovalRecord, Asked, StandingGrant, StoreError},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The most bytes of arguments of a call that is held while its client asks for it as a task.
const LARGEST_HELD: u64 = 64 * 1024;

/// How long an ask that another process has cancelled waits for the policies of that process.
const FOLLOWS: Duration = Duration::from_secs(2);

/// What to do next.
pub(crate) enum Step {
    /// An approval that this call may use.
    Use(Box<ApprovalRecord>),
    /// A standing grant that covers this call.
    UseGrant(Box<StandingGrant>),
    /// Something changed: evaluate again.
    Again,
    /// Nothing is dispatched, and why.
    Reply(EventDecision, CallReply),
}

impl Step {
    /// In one word, for the span of the wait.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Use(_) => "approved",
            Self::UseGrant(_) => "grant",
            Self::Again => "again",
            // Nobody has decided it: it can still be approved.
            Self::Reply(EventDecision::PendingApproval, _) => "pending",
            Self::Reply(EventDecision::Rejected, _) => "rejected",
            Self::Reply(EventDecision::Expired, _) => "expired",
            Self::Reply(_, _) => "refused",
        }
    }
}

impl People {
    /// Gets a person's decision on a call that needs one.
    pub(crate) async fn seek_approval(&self, call: PendingCall<'_>, asking: &mut ClientQuestions) -> Step {
        match self.try_approval(call, asking).await {
            Ok(step) => step,
            Err(error) => {
                let trace = &call.request.trace_id;
                tracing::error!(error = %error, trace.id = %trace, "an approval could not be asked for");
                self.refuse(call, Refusal::deny("store", error.refusal()), asking).await
            }
        }
    }

    async fn try_approval(
        &self,
        call: PendingCall<'_>,
        asking: &mut ClientQuestions,
    ) -> Result<Step, StoreError> {
        let prepared = &call.decided.prepared;
        self.references.keep_tools(prepared).await?;
        let binding = prepared.binding(&call.in_force.policies.snapshot);
        // A retry speaks of the record it was asked about: where that was rejected meanwhile, it stays so.
        if let Some(Opened::Approval(id, ..)) = &asking.opened {
            let known = self.approvals.get(id).await.map_err(store_error)?;
            if let Some(known) = known.filter(|known| known.binding.same_call(&binding)) {
                if known.binding.digest != binding.digest {
                    return Ok(self.other_extras(call, &known, asking).await);
                }
                match known.status {
                    ApprovalStatus::Rejected | ApprovalStatus::Expired => {
                        return Ok(self.ended(call, &known, asking).await);
                    }
                    // What was cancelled was asked for under other policies: these create a new approval request.
                    ApprovalStatus::Pending
                    | ApprovalStatus::Approved
                    | ApprovalStatus::Consumed
                    | ApprovalStatus::Cancelled => {}
                }
            }
        }
        let requirements = self.requirements(call);
        if requirements.is_empty() {
            return Err(StoreError::Failed("a call needs approval and no rule says by whom".into()));
        }
        let now = self.clock.now();
        let found = self.store.approval_for(binding.clone(), requirements.clone(), now).await?;
        let found = match found {
            Some(record) if record.status == ApprovalStatus::Approved => {
                return Ok(Step::Use(Box::new(record)));
            }
            // A person has said no to this very call a moment ago: they are not asked again.
            Some(record) if self.rejection_stands(call.in_force, &record) => {
                return Ok(self.ended(call, &record, asking).await);
            }
            found => found,
        };
        if let Some(grant) = self.grant_for(call, asking).await? {
            // Whoever was asked about this call need not answer any more.
            if let Some(waits) = found.filter(|found| found.status == ApprovalStatus::Pending) {
                self.approvals.cancel_covered(waits, &grant.id).await?;
            }
            return Ok(Step::UseGrant(Box::new(grant)));
        }
        let record = match found {
            Some(record) if record.status == ApprovalStatus::Pending => record,
            Some(_) | None => {
                let record = self.new_record(call, binding, requirements);
                if let Some(refusal) = self.unanswerable(call, &record, asking.client.as_ref()) {
                    return Ok(self.refuse(call, refusal, asking).await);
                }
                match self.ask(call, record, asking).await? {
                    Asked::Made(record) | Asked::Reused(record) => {
                        self.cancel_if_outdated(&record).await?;
                        record
                    }
                    // The agent asks more often than it may.
                    Asked::Refused(limit) => {
                        return Ok(self.refuse(call, Refusal::by_limit(limit), asking).await);
                    }
                }
            }
        };
        self.record_ask(call, &record, asking).await?;
        self.ask_person(call, asking, record).await
    }

    /// Records once that the call waits for people, and counts it.
    async fn record_ask(
        &self,
        call: PendingCall<'_>,
        record: &ApprovalRecord,
        asking: &mut ClientQuestions,
    ) -> Result<(), StoreError> {
        if std::mem::replace(&mut asking.recorded, true) {
            return Ok(());
        }
        // A retry about this very ask is the same call, which is on record and counted already.
        if matches!(&asking.opened, Some(Opened::Approval(id, ..)) if *id == record.id) {
            let (_, told) = self.pending_events(call, record, false);
            self.refusals.say_in_span(call.request, &told);
            return Ok(());
        }
        let (events, told) = self.pending_events(call, record, asking.start());
        self.store.record(events).await?;
        self.refusals.log_ask(call.request, &told, asking);
        Ok(())
    }

    /// Ends what was asked for under policies that went while it was written: whoever put the others in force has looked for
    /// such asks already.
    async fn cancel_if_outdated(&self, record: &ApprovalRecord) -> Result<(), StoreError> {
        let in_force = self.current.in_force();
        if in_force.decides_under(&record.binding.snapshot) {
            return Ok(());
        }
        // Of no other ask this process knows that nobody decides by it.
        self.approvals.cancel_outdated(vec![record.clone()], &in_force.snapshots()).await.map_err(store_error)
    }

    /// Nothing is dispatched, and the agent is told why.
    async fn refuse(&self, call: PendingCall<'_>, refusal: Refusal, asking: &mut ClientQuestions) -> Step {
        let PendingCall { in_force, request, decided } = call;
        let why = refusal.decision;
        let refused = self.refusals.refuse(request, Some(&decided.prepared), in_force, refusal, asking);
        Step::Reply(why, refused.await)
    }

    fn rejection_stands(&self, in_force: &InForce, record: &ApprovalRecord) -> bool {
        let said = record.answers.iter().filter(|answer| !answer.approve).map(|answer| answer.at).max();
        let until = said.and_then(|at| at.checked_add(in_force.config.gateway.rejection_stands).ok());
        record.status == ApprovalStatus::Rejected && until.is_some_and(|until| self.clock.now() < until)
    }

    /// A retry that differs from what was asked about beside the arguments. A new ask would have the person decide once
    /// more, and a client that changes such a key with each call would never come to an end.
    async fn other_extras(
        &self,
        call: PendingCall<'_>,
        known: &ApprovalRecord,
        asking: &mut ClientQuestions,
    ) -> Step {
        let (_, now, _) = extras::shown(call.in_force, &call.decided.prepared);
        let names = extras::differing(&known.context, &now);
        let names = display_text(&names.join(", "), 300);
        let text = format!(
            "requestState is not valid for this call: `_meta` or other params differ from what was asked about ({names}). \
             Repeat the request as it was; keys that a client changes with each call belong in [gateway] volatile_meta"
        );
        drop(self.refuse(call, Refusal::deny("request_state", text.clone()), asking).await);
        Step::Reply(EventDecision::Deny, Err(RpcError::new(code::INVALID_PARAMS, text)))
    }

    /// Waits for an answer given elsewhere, at most `approval_wait`.
    pub(super) async fn wait_elsewhere(
        &self,
        call: PendingCall<'_>,
        asking: &mut ClientQuestions,
        record: ApprovalRecord,
    ) -> Result<Step, StoreError> {
        let PendingCall { in_force, request, decided } = call;
        let mut follow = Follow::new(self);
        if asking.client.wants_progress() {
            let message = format!("waiting for approval {}", record.id);
            asking.client.notify("notifications/progress", json!({"progress": 0, "message": message}));
        }
        let pending = || still_pending(decided, &record);
        let left = remaining(&record, self.clock.now());
        let decision = pending().decision_object(request.trace_id, &in_force.policies.snapshot);
        // A large call is not held: there may be many of them.
        let small = decided.prepared.facts.call.size <= LARGEST_HELD;
        let patience = match small && asking.offer(request, decision, left).await {
            true => left,
            false => in_force.config.gateway.approval_wait.min(left),
        };
        let (patience, follows) = (sleep(patience), sleep(FOLLOWS));
        tokio::pin!(patience, follows);
        let mut is_cancelled = false;
        loop {
            match follow.look(call, &record.id, asking).await? {
                WaitState::Pending => {}
                // Another process has other policies in force, and this one soon: the call is decided again then.
                WaitState::Cancelled(_) if !patience.is_elapsed() => {
                    if !std::mem::replace(&mut is_cancelled, true) {
                        follows.as_mut().reset(Instant::now() + FOLLOWS);
                    }
                }
                WaitState::Cancelled(now) | WaitState::Ended(now) => {
                    return Ok(self.ended(call, &now, asking).await);
                }
                WaitState::Outdated => return Ok(Step::Again),
            }
            tokio::select! {
                changed = follow.changed() => changed?,
                // Whoever calls again finds the ask as it stands then.
                () = self.cutting.cancelled() => return Ok(answer_pending(call, &record)),
                // No others came: what is in force here decides the call, and asks about it again.
                () = &mut follows, if is_cancelled => {
                    asking.begin_again();
                    return Ok(Step::Again);
                }
                () = &mut patience => {
                    let now = self.store.approval(record.id.clone()).await?;
                    if now.is_some_and(|now| now.status == ApprovalStatus::Cancelled) {
                        continue;
                    }
                    return Ok(answer_pending(call, &record));
                }
            }
        }
    }

    /// A record that is pending no more.
    pub(super) async fn ended(
        &self,
        call: PendingCall<'_>,
        record: &ApprovalRecord,
        asking: &mut ClientQuestions,
    ) -> Step {
        let decision = match record.status {
            ApprovalStatus::Pending | ApprovalStatus::Approved => return Step::Again,
            // Another identical call has used it: this one needs its own.
            ApprovalStatus::Consumed => return Step::Again,
            ApprovalStatus::Rejected | ApprovalStatus::Cancelled => EventDecision::Rejected,
            ApprovalStatus::Expired => EventDecision::Expired,
        };
        let refusal = approval_refusal(call.decided, record, decision);
        self.refuse(call, refusal, asking).await
    }
}

fn still_pending(decided: &Decided, record: &ApprovalRecord) -> Refusal {
    let mut refusal = approval_refusal(decided, record, EventDecision::PendingApproval);
    refusal.reason = decided.verdict.reason.to_string();
    refusal
}

/// That the ask waits. The pending decision is recorded already.
pub(super) fn answer_pending(call: PendingCall<'_>, record: &ApprovalRecord) -> Step {
    let PendingCall { in_force, request, decided } = call;
    let refusal = still_pending(decided, record);
    let reply = refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies);
    Step::Reply(EventDecision::PendingApproval, reply)
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
