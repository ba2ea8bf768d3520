//! Admission: the only maker of a [`Permit`], after one store transaction has reserved the budget, counted the rates,
//! consumed the approval and committed the decision (I1, I9).

use super::{
    Gateway, InForce,
    api::CallReply,
    call::store_policy,
    call_log::granted,
    decided::Decided,
    parked::{ClientHandle, Waiting, Work},
    people::approve::binding,
    people::asking::Asking,
    prepare::{Prepared, subject},
    refusal::Refusal,
    request::Request,
    spending::Cap,
};
use crate::{
    decision::{ApprovalRequirement, Facts},
    evidence::{Explained, Ruling},
    model::{EventDecision, EventDraft},
    offload::LARGE,
    policy::{ApprovalRule, ChannelKind},
    store::{Admission, AdmitRequest, ApprovalRecord, StoreError},
    upstream::Upstream,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The right to make one call, made by admission and consumed by dispatch.
#[must_use = "an admitted call must be dispatched, or settled as not sent"]
pub(crate) struct Permit {
    decided: Box<Decided>,
    upstream: Arc<dyn Upstream>,
    in_force: Arc<InForce>,
    strict: bool,
    caps: Vec<Cap>,
}

/// What a permit holds.
pub(super) struct Permitted {
    pub(super) decided: Box<Decided>,
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) in_force: Arc<InForce>,
    /// A strict budget counts the call: its result is cut at what was reserved.
    pub(super) strict: bool,
    /// The counters of tokens and money that the call counts on.
    pub(super) caps: Vec<Cap>,
}

impl Permit {
    /// Takes the permit apart: there is no other way to what it holds.
    pub(super) fn consume(self) -> Permitted {
        let Self { decided, upstream, in_force, strict, caps } = self;
        Permitted { decided, upstream, in_force, strict, caps }
    }
}

/// The records of a call, as they stand where it is admitted.
struct Drafted {
    /// See [`Request::word`].
    word: &'static str,
    start: Option<EventDraft>,
    event: EventDraft,
}

/// Why there is no permit.
pub(crate) enum AdmitError {
    /// A budget asks for a person; the arguments come back unused.
    AskAbout(Box<ApprovalRequirement>, Arc<Value>),
    /// Another call used the approval first, and the record says so; the arguments come back unused.
    AskAnew(Arc<Value>),
    /// Another snapshot is in force by now: the call is decided under that one.
    Replaced(Arc<Value>),
    /// A limit is full.
    Limited(Box<Limited>),
    /// The store does not answer, or the gateway failed inside: nothing can be recorded of it.
    Refused(Box<Refusal>),
    /// Refused before the store was asked: its record is still to be made.
    Unrecorded(Box<Refusal>),
}

/// A call that a limit has stopped.
pub(crate) struct Limited {
    pub(super) decided: Box<Decided>,
    pub(super) refusal: Refusal,
    /// The store has recorded it in the transaction that refused it; else its record is still to be made, or to be counted.
    pub(super) recorded: bool,
}

impl Gateway {
    /// Admits and dispatches so that a caller that goes away cancels the call and never its settlement.
    pub(crate) async fn admit_and_dispatch(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: Box<Decided>,
        approval: Option<ApprovalRecord>,
        asking: &mut Asking,
    ) -> Result<CallReply, AdmitError> {
        if !self.0.in_force.load().is_or_tries(in_force) {
            return Err(AdmitError::Replaced(decided.prepared.arguments));
        }
        let Some(upstream) = in_force.upstreams.get(decided.prepared.target.upstream()) else {
            return Err(AdmitError::Unrecorded(Box::new(Refusal::deny("scope", "its upstream is gone"))));
        };
        let gone = CancellationToken::new();
        let cancel_when_dropped = gone.clone().drop_guard();
        let gateway = self.clone();
        let in_force = in_force.clone();
        let dispatch = self.dispatch_request(&in_force, request, &decided, asking);
        // Drafted in the order of the records, so that their times keep to it too.
        let mut subject = subject(request, Some(&decided.prepared), &in_force);
        let opens = asking.start();
        let start = opens.then(|| subject.start(self.0.clock.now()));
        if let Some(target) = &mut subject.target {
            target.capability = decided.verdict.capability.as_ref();
        }
        let (policy_id, rule_id, reason) = decided.says();
        let ruling = Ruling {
            decision: granted(&decided.verdict, approval.is_some(), decided.applied.is_some()),
            policy_id,
            rule_id,
            reason: reason.clone(),
            approval_id: approval.as_ref().map(|approval| &approval.id),
        };
        let explained = Explained { method: request.method(), ..decided.explained() };
        let event = subject.explained(self.0.clock.now(), &ruling, &explained);
        let drafted = Drafted { word: request.word(), start, event };
        let waiting = (request.agent.clone(), request.call_id.clone(), dispatch.bound.clone());
        let (seat, questions) = ClientHandle::new(asking.client.clone());
        let seated = seat.clone();
        let tracked = self.0.in_flight.track_future(async move {
            let permit = gateway.admit(&in_force, upstream, decided, approval, drafted).await?;
            Ok(gateway.dispatch(permit, dispatch, seated, gone).await)
        });
        let (agent, call_id, bound) = waiting;
        let work = Work::new(tracked);
        let waiting = Waiting::new(agent, call_id, bound, work, (seat, questions), cancel_when_dropped);
        let ended = self.attend(waiting).await;
        if let Err(AdmitError::Limited(limited)) = &ended
            && opens
            && !limited.recorded
        {
            // Its start was not written either.
            asking.started = false;
        }
        ended
    }

    async fn admit(
        &self,
        in_force: &Arc<InForce>,
        upstream: Arc<dyn Upstream>,
        mut decided: Box<Decided>,
        approval: Option<ApprovalRecord>,
        drafted: Drafted,
    ) -> Result<Permit, AdmitError> {
        let Drafted { word, start, event } = drafted;
        let mut limits = std::mem::take(&mut decided.verdict.limits);
        for budget in &mut limits.budgets {
            // What is counted per tool is counted under a name that may be kept.
            if budget.key == *decided.prepared.target.full() {
                budget.key = decided.prepared.kept_as.clone();
            }
        }
        let strict = limits.budgets.iter().any(|budget| budget.strict);
        let prepared = &decided.prepared;
        let caps = Cap::of(&limits, &prepared.facts.agent.id);
        let unrecorded = self.unrecorded(word, prepared, start.is_none());
        let request = AdmitRequest {
            now: self.0.clock.now(),
            start,
            event,
            rates: limits.rates,
            budgets: limits.budgets,
            max_repeats: limits.max_repeats,
            digest: prepared.call_digest.clone(),
            tokens: prepared.estimate.tokens(),
            cost: prepared.estimate.cost,
            approval: approval.map(|a| (a.id, binding(&in_force.policies.snapshot, prepared))),
            unrecorded: unrecorded.clone(),
        };
        let admission = match self.keep_tools(prepared).await {
            Ok(()) => self.reserve(prepared, request).await,
            Err(error) => Err(error),
        };
        match admission {
            Ok(Admission::Granted) => {
                Ok(Permit { decided, upstream, in_force: in_force.clone(), strict, caps })
            }
            Ok(Admission::Refused(limit)) if limit.decision == EventDecision::PendingApproval => {
                let requirement = ApprovalRequirement {
                    policy_id: limit.policy_id,
                    rule_id: None,
                    rule: budget_approval(),
                    reason: limit.reason.into(),
                };
                Err(AdmitError::AskAbout(Box::new(requirement), prepared.arguments.clone()))
            }
            Ok(Admission::Refused(limit)) => {
                let recorded = !unrecorded.covers(&limit);
                let mut refusal = Refusal::by_limit(limit);
                refusal.cost_estimate = Some(prepared.estimate.cost);
                Err(AdmitError::Limited(Box::new(Limited { decided, refusal, recorded })))
            }
            Ok(Admission::ApprovalUnusable(_)) => Err(AdmitError::AskAnew(prepared.arguments.clone())),
            Err(error) => {
                tracing::error!(error = %error, "admission failed");
                let mut refusal = Refusal::new(EventDecision::Deny, store_policy(), None, error.refusal());
                refusal.cost_estimate = Some(prepared.estimate.cost);
                Err(AdmitError::Refused(Box::new(refusal)))
            }
        }
    }
}

impl Gateway {
    /// The one transaction. A large record is hashed and written on a thread for large work.
    async fn reserve(&self, prepared: &Prepared, request: AdmitRequest) -> Result<Admission, StoreError> {
        let Facts { agent, call, .. } = &prepared.facts;
        if call.size <= LARGE as u64 {
            return self.0.store.admit(request).await;
        }
        let (store, on) = (self.0.store.clone(), Handle::current());
        Box::pin(self.0.large.finish(&agent.id, move || on.block_on(store.admit(request)))).await
    }
}

/// What a budget with `on_exceed: require_approval` asks for.
fn budget_approval() -> ApprovalRule {
    ApprovalRule {
        approvers: None,
        quorum: 1,
        expires_in: Duration::from_secs(15 * 60),
        escalate: None,
        evidence_required: false,
        channels: ChannelKind::ALL.to_vec(),
        separate: false,
    }
}
