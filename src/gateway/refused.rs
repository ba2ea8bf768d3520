//! Refused calls: what is recorded of them, and how they are answered.

use super::{
    Gateway, InForce,
    api::CallReply,
    asking::Asking,
    call::{Decided, unknown},
    prepare::{Prepared, Request, subject, unknown_policy},
    refusal::Refusal,
};
use crate::{
    evidence::{CallSubject, Explained},
    model::{EventDecision, EventDraft},
};
use std::sync::Arc;

impl Gateway {
    /// Records a refusal and answers with it. Where it cannot be recorded, the agent is told that instead: either way
    /// nothing was dispatched.
    pub(crate) async fn refuse(
        &self,
        request: &Request,
        prepared: Option<&Prepared>,
        in_force: &Arc<InForce>,
        refusal: Refusal,
        asking: &mut Asking,
    ) -> CallReply {
        let mut refusal = refusal;
        if let Some(prepared) = prepared {
            refusal.cost_estimate.get_or_insert(prepared.estimate.cost);
        }
        let subject = subject(request, prepared, in_force);
        let mut events = Vec::with_capacity(2);
        if asking.start() {
            events.push(subject.start(self.0.clock.now()));
        }
        let event = refusal_event(&subject, request, prepared, &refusal, self.0.clock.now());
        self.log_call(request, &event);
        events.push(event);
        let kept = match prepared {
            Some(prepared) => self.keep_tools(prepared).await,
            None => Ok(()),
        };
        if let Err(error) = kept.and(self.0.store.record(events).await) {
            tracing::error!(error = %error, trace.id = %request.trace_id, "a refusal could not be recorded");
            refusal = Refusal::deny("store", error.refusal());
        }
        refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies)
    }

    /// One line of the log about a call that is not dispatched.
    pub(crate) fn log_call(&self, request: &Request, event: &EventDraft) {
        self.0.call_log.note(event, None, self.0.clock.monotonic().saturating_sub(request.began));
    }

    /// Nobody is asked about a completion or a subscription: only what they are for can be approved.
    pub(super) async fn refuse_unaskable(
        &self,
        request: &Request,
        in_force: &Arc<InForce>,
        decided: &Decided,
        asking: &mut Asking,
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

    pub(super) async fn refuse_unknown(&self, request: &Request, in_force: &Arc<InForce>) -> CallReply {
        let refusal = Refusal::new(
            EventDecision::Deny,
            unknown_policy(),
            None,
            "not in this agent's scope, or not there",
        );
        let subject = subject(request, None, in_force);
        let start = subject.start(self.0.clock.now());
        let event = refusal_event(&subject, request, None, &refusal, self.0.clock.now());
        self.log_call(request, &event);
        if let Err(error) = self.0.store.record(vec![start, event]).await {
            tracing::error!(error = %error, trace.id = %request.trace_id, "a refusal could not be recorded");
        }
        Err(unknown(request.kind, &request.name))
    }
}

/// The decision of a call that is refused.
pub(super) fn refusal_event(
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
        ..Explained::default()
    };
    subject.explained(now, &refusal.ruling(), &explained)
}
