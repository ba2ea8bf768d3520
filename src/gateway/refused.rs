//! Refused calls: what is recorded of them, and how they are answered.

use super::{
    InForce,
    api::CallReply,
    call_log::{CallLog, Told},
    counted::{By, CountedRefusals, Key, Noted},
    decided::{Decided, Limited},
    keep::References,
    people::client_questions::ClientQuestions,
    prepared::Prepared,
    refusal::{Refusal, unknown, unknown_policy},
    request::Request,
    subject::subject,
};
use crate::{
    clock::Clock,
    decision::Facts,
    evidence::{CallSubject, Explained, LONGEST_REFUSED},
    model::{EventDecision, EventDraft},
    store::{Store, StoreError, Unrecorded},
};
use std::{sync::Arc, time::Duration};

/// Records refused calls, and counts those that repeat another.
pub(super) struct Refusals {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) references: Arc<References>,
    pub(super) log: Arc<CallLog>,
    pub(super) counted: CountedRefusals,
}

impl Refusals {
    pub(super) fn new(
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        references: &Arc<References>,
        log: &Arc<CallLog>,
    ) -> Self {
        Self {
            store: store.clone(),
            clock: clock.clone(),
            references: references.clone(),
            log: log.clone(),
            counted: CountedRefusals::default(),
        }
    }

    /// Records a refusal, or counts it where it repeats another, and answers with it. Where it cannot be recorded, the agent
    /// is told that instead: either way nothing was dispatched.
    pub(crate) async fn refuse(
        &self,
        request: &Request,
        prepared: Option<&Prepared>,
        in_force: &Arc<InForce>,
        refusal: Refusal,
        asking: &mut ClientQuestions,
    ) -> CallReply {
        let mut refusal = refusal;
        if let Some(prepared) = prepared {
            refusal.cost_estimate.get_or_insert(prepared.estimate.cost);
        }
        if let Err(error) = self.record_refusal(request, prepared, in_force, &refusal, asking).await {
            refusal = Refusal::deny("store", error.refusal());
        }
        refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies)
    }

    async fn record_refusal(
        &self,
        request: &Request,
        prepared: Option<&Prepared>,
        in_force: &Arc<InForce>,
        refusal: &Refusal,
        asking: &mut ClientQuestions,
    ) -> Result<(), StoreError> {
        let subject = subject(request, prepared, in_force);
        let refused = subject.refused(self.clock.now(), &refusal.ruling());
        asking.has_line();
        self.log_call(request, &refused);
        let mut events = Vec::new();
        // What has begun on record ends there.
        let key = (!asking.started() && request.replay_of.is_none())
            .then(|| key(request, prepared, in_force, refusal, &refused));
        if let Some(key) = &key {
            let now = self.clock.monotonic();
            let noted = self.counted.note(&request.agent, key, &refused, false, now, &mut events);
            if noted == Noted::Counted {
                self.write_counted(events).await;
                return Ok(());
            }
        }
        let ended = events.clone();
        if asking.start() {
            events.push(subject.start(refused.timestamp));
        }
        events.push(explained(&subject, request, prepared, refusal, refused.timestamp));
        let kept = match prepared {
            Some(prepared) => self.references.keep_tools(prepared).await,
            None => Ok(()),
        };
        let recorded = kept.and(self.store.record(events).await);
        if let Err(error) = &recorded {
            tracing::error!(error = %error, trace.id = %request.trace_id, "a refusal could not be recorded");
            self.counted.keep(ended);
            if let Some(key) = &key {
                self.counted.unrecorded(&request.agent, key, &refused);
            }
        }
        recorded
    }

    /// Answers a call that a limit has stopped.
    pub(super) async fn refuse_by_limit(
        &self,
        request: &Request,
        in_force: &Arc<InForce>,
        limited: Limited,
        asking: &mut ClientQuestions,
    ) -> CallReply {
        let Limited { decided, refusal, recorded } = limited;
        let prepared = Some(&decided.prepared);
        if !recorded {
            return self.refuse(request, prepared, in_force, refusal, asking).await;
        }
        let refused = subject(request, prepared, in_force).refused(self.clock.now(), &refusal.ruling());
        asking.has_line();
        self.log_call(request, &refused);
        let key = key(request, prepared, in_force, &refusal, &refused);
        let mut ended = Vec::new();
        // The next one like it is a repeat.
        self.counted.note(&request.agent, &key, &refused, true, self.clock.monotonic(), &mut ended);
        self.write_counted(ended).await;
        refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies)
    }

    /// Which refusals by limits the store leaves to [`Self::refuse_by_limit`]: repeats, and those of large arguments, which
    /// are recorded cut. `begun`: the call is on record already.
    pub(super) fn unrecorded(&self, word: &'static str, prepared: &Prepared, begun: bool) -> Unrecorded {
        let Facts { agent, call, .. } = &prepared.facts;
        if call.size > LONGEST_REFUSED as u64 {
            Unrecorded::All
        } else if begun {
            Unrecorded::None
        } else {
            self.counted.repeats(&agent.id, word, &prepared.shown, self.clock.monotonic())
        }
    }

    /// Records the counts whose minute is over or that have stood for as long as `every`, or all.
    pub(super) async fn record_counted(&self, all: bool, every: Duration) {
        let ended = self.counted.ended(all, every, self.clock.monotonic(), self.clock.now());
        self.write_counted(ended).await;
    }

    async fn write_counted(&self, events: Vec<EventDraft>) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.store.record(events.clone()).await {
            tracing::error!(error = %error, records = events.len(), "counts of refusals could not be recorded yet");
            self.counted.keep(events);
        }
    }

    /// One line of the log about a call that is not dispatched.
    pub(crate) fn log_call(&self, request: &Request, event: &EventDraft) {
        self.say_in_span(request, event);
        self.log.note(event, &self.told(request));
    }

    /// The same of a call that waits for a person, which has no line yet.
    pub(crate) fn log_ask(&self, request: &Request, event: &EventDraft, asking: &ClientQuestions) {
        self.say_in_span(request, event);
        let line = self.log.note_silently(event, &self.told(request));
        asking.line.put(&self.log, &self.clock, request.began, line);
    }

    fn told(&self, request: &Request) -> Told {
        let took = self.clock.monotonic().saturating_sub(request.began);
        let own = took.saturating_sub(request.waited);
        let span = request.tracing.span.as_deref().map(|span| span.id());
        Told { kind: request.word(), decision: None, took, own, span }
    }

    /// The same for the call's span alone, where it is counted already.
    pub(crate) fn say_in_span(&self, request: &Request, event: &EventDraft) {
        if let Some(span) = request.tracing.span.as_deref() {
            span.decided(event.decision, event);
        }
    }

    /// Nobody is asked about a completion or a subscription: only what they are for can be approved.
    pub(super) async fn refuse_unaskable(
        &self,
        request: &Request,
        in_force: &Arc<InForce>,
        decided: &Decided,
        asking: &mut ClientQuestions,
    ) -> CallReply {
        let verdict = &decided.verdict;
        let reason = format!(
            "{}; approval is given to a use of it, never to this",
            verdict.reason.trim_end_matches('.')
        );
        let refusal =
            Refusal::new(EventDecision::Deny, verdict.policy_id.clone(), verdict.rule_id.clone(), reason);
        self.refuse(request, Some(&decided.prepared), in_force, refusal, asking).await
    }

    pub(super) async fn refuse_unknown(
        &self,
        request: &Request,
        in_force: &Arc<InForce>,
        asking: &mut ClientQuestions,
    ) -> CallReply {
        let refusal = Refusal::deny(&unknown_policy(), "not in this agent's scope, or not there");
        // What cannot be recorded has been told to the log: the answer is the same as for a tool that does not exist.
        self.record_refusal(request, None, in_force, &refusal, asking).await.ok();
        Err(unknown(request.kind, &request.name))
    }
}

/// What makes another refusal a repeat of this one.
fn key(
    request: &Request,
    prepared: Option<&Prepared>,
    in_force: &InForce,
    refusal: &Refusal,
    refused: &EventDraft,
) -> Key {
    let of = match refusal.decision {
        // What a person said is about one record, and a proposal about one call.
        EventDecision::Rejected | EventDecision::Expired | EventDecision::PendingApproval => {
            refusal.approval_id.as_ref().map(|id| id.as_str().into())
        }
        EventDecision::Suggest | EventDecision::Remediate => {
            prepared.map(|prepared| prepared.call_digest.as_str().into())
        }
        EventDecision::Deny
        | EventDecision::Throttle
        | EventDecision::Allow
        | EventDecision::AllowWithConstraints
        | EventDecision::Approved => None,
    };
    Key {
        word: request.word(),
        tool: refused.tool.clone().unwrap_or_default(),
        user: refused.user.clone(),
        workflow: refused.workflow_id.clone(),
        by: By {
            decision: refusal.decision,
            policy: refusal.policy_id.clone(),
            rule: refusal.rule_id.clone(),
        },
        reason: refused.reason.clone().filter(|_| !refusal.is_limit),
        of,
        snapshot: in_force.policies.snapshot.clone(),
    }
}

/// The decision of a call that is refused, with what explains it.
fn explained(
    subject: &CallSubject<'_>,
    request: &Request,
    prepared: Option<&Prepared>,
    refusal: &Refusal,
    now: jiff::Timestamp,
) -> EventDraft {
    let explained = Explained {
        method: request.method(),
        arguments: prepared.map(|prepared| &*prepared.recorded),
        judged: prepared.and_then(|prepared| prepared.judged.as_ref()),
        remediation: refusal.remediation.as_ref(),
        trace: refusal.trace.as_ref(),
        refused: true,
        ..Explained::default()
    };
    subject.explained(now, &refusal.ruling(), &explained)
}
