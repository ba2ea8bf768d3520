//! Admission: the only maker of a [`Permit`], after one store transaction has reserved the budget, counted the rates,
//! consumed the approval or used the grant, and committed the decision.

use super::{
    InForce,
    call_log::granted,
    decided::{AdmitError, Decided, Limited, Warrant},
    keep::References,
    prepared::Prepared,
    reach::Labels,
    refusal::{Refusal, store_policy},
    refused::Refusals,
    request::Request,
    spending::Cap,
    subject::subject,
};
use crate::{
    admission::LoopWatch,
    clock::Clock,
    cost::Elastic,
    decision::{ApprovalRequirement, Facts},
    evidence::{Explained, Ruling},
    model::{EventDecision, EventDraft},
    offload::{LARGE, Offload},
    policy::{ApprovalRule, ChannelKind},
    store::{Admission as Admitted, AdmitRequest, RegisterRead, Store, StoreError},
    telemetry::Telemetry,
    upstream::Upstream,
};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// The right to make one call, made by admission and consumed by dispatch.
#[must_use = "an admitted call must be dispatched, or settled as not sent"]
pub(crate) struct Permit {
    decided: Box<Decided>,
    upstream: Arc<dyn Upstream>,
    in_force: Arc<InForce>,
    reserved: Option<u64>,
    caps: Vec<Cap>,
}

/// What a permit holds.
pub(super) struct Permitted {
    pub(super) decided: Box<Decided>,
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) in_force: Arc<InForce>,
    /// What was reserved for the result, in tokens, where a strict budget counts the call: it is cut at that.
    pub(super) reserved: Option<u64>,
    /// The counters of tokens and money that the call counts on.
    pub(super) caps: Vec<Cap>,
}

impl Permit {
    /// Takes the permit apart: there is no other way to what it holds.
    pub(super) fn consume(self) -> Permitted {
        let Self { decided, upstream, in_force, reserved, caps } = self;
        Permitted { decided, upstream, in_force, reserved, caps }
    }
}

/// The records of a call, as they stand where it is admitted.
pub(super) struct Drafted {
    /// See [`Request::word`].
    word: &'static str,
    start: Option<EventDraft>,
    event: EventDraft,
    /// Its refusal is recorded whatever was refused before.
    recorded: bool,
    /// What the labels were read from that it was decided on.
    read: Vec<RegisterRead>,
}

impl Drafted {
    /// Drafted in the order of the records, so that their times keep to it too. `opens`: the call's start is not on record.
    pub(super) fn of(
        clock: &dyn Clock,
        in_force: &InForce,
        request: &Request,
        decided: &Decided,
        warrant: &Warrant,
        opens: bool,
    ) -> Self {
        let mut subject = subject(request, Some(&decided.prepared), in_force);
        let start = opens.then(|| subject.start(clock.now()));
        if let Some(target) = &mut subject.target {
            target.capability = decided.verdict.capability.as_ref();
        }
        let (policy_id, rule_id, reason) = decided.attribution();
        let (by_people, approval_id, grant_id) = match warrant {
            Warrant::Rules => (false, None, None),
            Warrant::Approval(approval) => (true, Some(&approval.id), None),
            Warrant::Grant(grant) => (true, None, Some(grant.id.clone())),
        };
        let ruling = Ruling {
            decision: granted(&decided.verdict, by_people, decided.applied.is_some()),
            policy_id,
            rule_id,
            reason: reason.clone(),
            approval_id,
        };
        let explained = Explained { method: request.method(), ..decided.explained() };
        let mut event = subject.explained(clock.now(), &ruling, &explained);
        event.grant_id = grant_id;
        Self {
            word: request.word(),
            start,
            event,
            recorded: request.replay_of.is_some(),
            read: request.standing.read.clone(),
        }
    }
}

/// Admits calls.
pub(super) struct Admission {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) large: Arc<Offload>,
    pub(super) references: Arc<References>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) labels: Arc<Labels>,
    pub(super) telemetry: Arc<Telemetry>,
}

impl Admission {
    /// The one transaction, and the permit where it grants one.
    pub(super) async fn admit(
        &self,
        in_force: &Arc<InForce>,
        upstream: Arc<dyn Upstream>,
        mut decided: Box<Decided>,
        warrant: Warrant,
        drafted: Drafted,
    ) -> Result<Permit, AdmitError> {
        let Drafted { word, start, event, recorded, read } = drafted;
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
        let unrecorded = self.refusals.unrecorded(word, prepared, recorded || start.is_none());
        let (approval, grant) = match warrant {
            Warrant::Rules => (None, None),
            Warrant::Approval(used) => (Some((used.id, prepared.binding(&in_force.policies.snapshot))), None),
            Warrant::Grant(used) => (None, Some((used.id, Arc::new(used.terms)))),
        };
        let request = AdmitRequest {
            now: self.clock.now(),
            start,
            event,
            rates: limits.rates,
            budgets: limits.budgets,
            max_repeats: limits.max_repeats,
            loops: LoopWatch { rules: limits.loops, shape: prepared.shape.clone() },
            digest: prepared.call_digest.clone(),
            tokens: prepared.estimate.tokens(),
            cost: prepared.estimate.cost,
            elastic: strict.then(|| elastic(in_force, prepared)),
            approval,
            grant,
            subject: Some(Arc::new(prepared.freeze_subject())),
            unrecorded: unrecorded.clone(),
            read,
        };
        let admission = match self.references.keep_tools(prepared).await {
            Ok(()) => self.reserve(prepared, request).await,
            Err(error) => Err(error),
        };
        match admission {
            Ok(Admitted::Granted) => {
                let reserved = strict.then_some(prepared.estimate.result_tokens);
                Ok(Permit { decided, upstream, in_force: in_force.clone(), reserved, caps })
            }
            Ok(Admitted::GrantedUpTo(tokens)) => {
                let reserved = Some(tokens.saturating_sub(prepared.estimate.argument_tokens));
                Ok(Permit { decided, upstream, in_force: in_force.clone(), reserved, caps })
            }
            Ok(Admitted::Refused(limit)) if limit.decision == EventDecision::PendingApproval => {
                let requirement = ApprovalRequirement {
                    policy_id: limit.policy_id,
                    rule_id: None,
                    rule: budget_approval(),
                    reason: limit.reason.into(),
                };
                Err(AdmitError::AskAbout(Box::new(requirement), prepared.arguments.clone()))
            }
            Ok(Admitted::Refused(limit)) => {
                let recorded = !unrecorded.covers(&limit);
                let mut refusal = Refusal::by_limit(limit);
                refusal.cost_estimate = Some(prepared.estimate.cost);
                Err(AdmitError::Limited(Box::new(Limited { decided, refusal, recorded })))
            }
            // More has reached its caller, by way of another process.
            Ok(Admitted::Outdated(read)) => {
                self.labels.forget(&read);
                Err(AdmitError::Replaced(prepared.arguments.clone()))
            }
            Ok(Admitted::ApprovalUnusable(_)) => Err(AdmitError::AskAnew(prepared.arguments.clone())),
            Err(error) => Err(failed(&error, prepared)),
        }
    }
}

impl Admission {
    /// The one transaction, measured.
    async fn reserve(&self, prepared: &Prepared, request: AdmitRequest) -> Result<Admitted, StoreError> {
        let (began, trace) = (self.clock.monotonic(), request.event.trace_id);
        let admission = self.commit(prepared, request).await;
        let took = self.clock.monotonic().saturating_sub(began);
        self.telemetry.metrics.store_admit.observe([], took, trace);
        admission
    }

    /// The same. A large record is hashed and written on a thread for large work.
    async fn commit(&self, prepared: &Prepared, request: AdmitRequest) -> Result<Admitted, StoreError> {
        let Facts { agent, call, .. } = &prepared.facts;
        if call.size <= LARGE as u64 {
            return self.store.admit(request).await;
        }
        let (store, on) = (self.store.clone(), Handle::current());
        Box::pin(self.large.finish(&agent.id, move || on.block_on(store.admit(request)))).await
    }
}

/// What strict budgets may reserve of a call.
fn elastic(in_force: &InForce, prepared: &Prepared) -> Elastic {
    let policies = &in_force.policies;
    let agent = policies.authority.agents.get(&prepared.facts.agent.id);
    let model = agent.and_then(|agent| agent.model.as_deref());
    let arguments = prepared.estimate.argument_tokens;
    policies.prices.elastic(model, arguments, prepared.most_result_tokens, prepared.tool_price)
}

/// The refusal where the store does not answer.
fn failed(error: &StoreError, prepared: &Prepared) -> AdmitError {
    // A full disk stands in the store's own log, damped.
    if !matches!(error, StoreError::Full) {
        tracing::error!(error = %error, "admission failed");
    }
    let mut refusal = Refusal::new(EventDecision::Deny, store_policy(), None, error.refusal());
    refusal.cost_estimate = Some(prepared.estimate.cost);
    AdmitError::Refused(Box::new(refusal))
}

/// What a budget with `on_exceed: require_approval` asks for.
pub(super) fn budget_approval() -> ApprovalRule {
    ApprovalRule {
        approvers: None,
        quorum: 1,
        expires_in: Duration::from_secs(15 * 60),
        escalate: None,
        evidence_required: false,
        channels: ChannelKind::ALL.to_vec(),
        separate: false,
        grants: None,
    }
}
