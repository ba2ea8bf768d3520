//! The whole path of a call: scope → schema → redaction → estimate → decide → approval → admit → dispatch → settle → reply.

use super::{
    Gateway, InForce,
    api::{CallReply, IncomingCall},
    decided::{AdmitError, Decided},
    edits,
    evaluate::{aim, is_large},
    finding,
    fit::{self, Looks},
    people::approve::Step,
    people::asking::Asking,
    people::waiter::Waiter,
    prepare::Stop,
    refusal::Refusal,
    request::{Request, arguments_of, named_workflow, trace_of},
    subject::subject,
};
use crate::{
    decision::ApprovalRequirement,
    identity::Principal,
    model::{CallKind, Decision},
    offload::Busy,
    policy::Remediation,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often identical calls may be quicker to use an approval before that itself is a refusal.
const MAX_LOST: usize = 4;

impl Gateway {
    /// A call: the whole path. Dropping the future cancels it; what was dispatched is settled all the same.
    ///
    /// What most calls do not come to is boxed, so that their future stays small.
    pub async fn call(&self, call: IncomingCall) -> CallReply {
        if Self::may_hold(&call) {
            return Box::pin(self.call_or_hold(call)).await;
        }
        self.call_through(call, None).await
    }

    /// The path itself; `waiter` is told where the call begins to wait for a person elsewhere.
    // Long: the path of a call in one place, each step in its order and what stops the call there.
    pub(super) async fn call_through(&self, call: IncomingCall, waiter: Option<Waiter>) -> CallReply {
        let Principal::Agent(agent) = &call.principal else {
            return Box::pin(self.call_of_person(call)).await;
        };
        let traced = trace_of(&call.meta, call.traceparent.as_deref());
        let trace_id = traced.unwrap_or_else(|| self.0.ids.trace_id());
        let workflow = named_workflow(Some(&call.meta), call.workflow);
        let mut rest = call.rest;
        // Only what was sealed for this call goes back to an upstream that asked.
        rest.retain(|name, _| !["inputResponses", "requestState"].contains(&name.as_str()));
        let mut request = Request {
            agent: agent.id.clone(),
            principal: call.principal,
            kind: call.kind,
            purpose: call.purpose,
            meta: call.meta,
            rest,
            session: call.session,
            workflow,
            trace_id,
            traced: traced.is_some(),
            call_id: self.0.ids.call_id(),
            began: self.0.clock.monotonic(),
            name: call.name,
        };
        let mut given = call.arguments;
        let mut asking = Asking::new(call.client, call.input_responses, call.request_state, waiter);
        if request.kind == CallKind::Tool && [finding::FIND, finding::CALL].contains(&request.name.as_str()) {
            let in_force = self.in_force();
            if finding::is_on(&in_force) && self.still_valid(&request.principal) {
                if request.name == finding::FIND {
                    return Box::pin(self.find_tools(&in_force, &request, given, &mut asking)).await;
                }
                // From here on it is the call of the tool that is meant.
                match finding::meant(given) {
                    Ok((name, arguments)) => (request.name, given) = (name, arguments),
                    Err(wrong) => {
                        let refusal = Refusal::deny("schema", wrong);
                        let refused = self.refuse(&request, None, &in_force, refusal, &mut asking);
                        return Box::pin(refused).await;
                    }
                }
            }
        }
        let mut arguments = Arc::new(arguments_of(request.kind, &request.name, given));
        let mut first = true;
        let mut lost = 0;
        let mut looks = Looks::default();
        loop {
            // Each round sees what is in force now: a key or a policy may have gone while a person was asked.
            let in_force = self.in_force();
            if !self.still_valid(&request.principal) {
                let refusal = Refusal::deny("identity", "this credential is no longer valid");
                return Box::pin(self.refuse(&request, None, &in_force, refusal, &mut asking)).await;
            }
            let evaluated = match is_large(&request, &arguments) {
                false => Ok(self.evaluate(&in_force, &request, arguments.clone(), &looks)),
                true => {
                    Box::pin(self.evaluate_beside(&in_force, &request, arguments.clone(), &mut looks)).await
                }
            };
            let Ok(evaluated) = evaluated else {
                let refusal = fit::too_many();
                return Box::pin(self.refuse(&request, None, &in_force, refusal, &mut asking)).await;
            };
            let mut decided = match evaluated {
                Ok(decided) => decided,
                Err(Stop::Unchecked(look)) => {
                    let taken = looks.take(&self.0.large, &request.agent, *look);
                    if let Err(Busy) = Box::pin(taken).await {
                        let refusal = fit::too_many();
                        return Box::pin(self.refuse(&request, None, &in_force, refusal, &mut asking)).await;
                    }
                    continue;
                }
                Err(Stop::Unknown) => {
                    return Box::pin(self.refuse_unknown(&request, &in_force, &mut asking)).await;
                }
                Err(Stop::Refused(refusal, prepared)) => {
                    let refused =
                        self.refuse(&request, prepared.as_deref(), &in_force, *refusal, &mut asking);
                    return Box::pin(refused).await;
                }
            };
            if let Err(error) = asking.open(self, &request, &decided) {
                // The attempt is recorded; to the client it is an error of the protocol.
                let refusal = Refusal::deny("request_state", error.message.clone());
                let refused = self.refuse(&request, Some(&decided.prepared), &in_force, refusal, &mut asking);
                drop(Box::pin(refused).await);
                return Err(error);
            }
            // No call of its own: the one in flight goes on.
            if let Some((id, responses)) = asking.parked() {
                let bound = Self::state_binding(&request, &decided);
                return Box::pin(self.resume(&id, &bound, asking.client.clone(), responses)).await;
            }
            // The retry that brings an answer goes on with the trace in which it was asked for.
            if traced.is_none()
                && let Some(trace) = asking.trace()
            {
                request.trace_id = trace;
            }
            if std::mem::take(&mut first) {
                self.0.repeats.note(&request.agent, &decided.prepared.call_digest, self.0.clock.monotonic());
            }
            // A budget that asks for a person adds its requirement to the rules' own.
            if !asking.also.is_empty() && decided.verdict.decision <= Decision::RequireApproval {
                if decided.verdict.decision < Decision::RequireApproval
                    && let Some(asks) = asking.also.first()
                {
                    let verdict = &mut decided.verdict;
                    verdict.policy_id = asks.policy_id.clone();
                    verdict.rule_id = asks.rule_id.clone();
                    verdict.reason = asks.reason.clone();
                }
                decided.verdict.decision = Decision::RequireApproval;
                // The step that stopped it stands with the policies' own.
                decided.verdict.trace.steps.extend(asking.also.iter().map(|asks| crate::decision::Step {
                    policy_id: asks.policy_id.clone(),
                    rule_id: asks.rule_id.clone(),
                    decision: Decision::RequireApproval,
                    reason: asks.reason.clone(),
                    shadow: false,
                    error: false,
                    limit: true,
                }));
                keep(&mut decided.verdict.approvals, asking.also.iter().cloned());
            }
            let approval = match decided.verdict.decision {
                Decision::Allow | Decision::AllowWithConstraints => None,
                Decision::RequireApproval if request.method().is_some() => {
                    return Box::pin(self.refuse_unaskable(&request, &in_force, &decided, &mut asking)).await;
                }
                Decision::RequireApproval => {
                    asking.keep(&arguments);
                    match Box::pin(self.seek_approval(&in_force, &request, &decided, &mut asking)).await {
                        Step::Use(record) => {
                            // The call that uses an approval joins the trace that asked for it, unless it is part
                            // of it or of another already.
                            if traced.is_none() && !asking.started() {
                                request.trace_id = record.trace_id;
                            }
                            Some(*record)
                        }
                        Step::Again => continue,
                        Step::Reply(reply) => return reply,
                    }
                }
                Decision::Remediate | Decision::Suggest | Decision::Throttle | Decision::Deny => {
                    let refusal = refusal_of(&decided);
                    let refused =
                        self.refuse(&request, Some(&decided.prepared), &in_force, refusal, &mut asking);
                    return Box::pin(refused).await;
                }
            };
            // I3: nothing is made for a client that has gone away. Where it can come back, the call is decided again then.
            if let Some(back) = asking.client.until_present() {
                back.await;
                continue;
            }
            // The arguments go with the call: only where it was changed is the agent's own version kept.
            let kept = decided.original.is_some().then(|| arguments.clone());
            drop(std::mem::take(&mut arguments));
            return match self.admit_and_dispatch(&in_force, &request, decided, approval, &mut asking).await {
                Ok(reply) => reply,
                Err(AdmitError::AskAbout(requirement, returned)) => {
                    asking.also.retain(|known| known.policy_id != requirement.policy_id);
                    asking.also.push(*requirement);
                    arguments = kept.unwrap_or(returned);
                    continue;
                }
                Err(AdmitError::AskAnew(returned)) => {
                    arguments = kept.unwrap_or(returned);
                    lost += 1;
                    if lost < MAX_LOST {
                        continue;
                    }
                    let refusal = Refusal::deny("approval", "other calls use up each approval of this one");
                    Box::pin(self.refuse(&request, None, &in_force, refusal, &mut asking)).await
                }
                Err(AdmitError::Replaced(returned)) => {
                    arguments = kept.unwrap_or(returned);
                    continue;
                }
                Err(AdmitError::Unrecorded(refusal)) => {
                    Box::pin(self.refuse(&request, None, &in_force, *refusal, &mut asking)).await
                }
                Err(AdmitError::Limited(limited)) => {
                    Box::pin(self.refuse_by_limit(&request, &in_force, *limited, &mut asking)).await
                }
                Err(AdmitError::Refused(refusal)) => {
                    let refused =
                        subject(&request, None, &in_force).refused(self.0.clock.now(), &refusal.ruling());
                    self.log_call(&request, &refused);
                    refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies)
                }
            };
        }
    }
}

fn keep(all: &mut Vec<ApprovalRequirement>, more: impl Iterator<Item = ApprovalRequirement>) {
    for requirement in more {
        if !all.contains(&requirement) {
            all.push(requirement);
        }
    }
}

fn refusal_of(decided: &Decided) -> Refusal {
    let verdict = &decided.verdict;
    let mut refusal = Refusal::new(
        verdict.decision.event_word(),
        verdict.policy_id.clone(),
        verdict.rule_id.clone(),
        verdict.reason.to_string(),
    );
    refusal.trace = Some(verdict.trace.clone());
    refusal.retry_after_ms = verdict.retry_after.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    refusal.remediation = verdict.remediation.as_deref().map(|remediation| proposal(decided, remediation));
    if verdict.decision == Decision::Suggest {
        refusal.remediation = Some(json!({
            "mode": "suggest",
            "tool": decided.prepared.shown,
            "arguments": decided.prepared.recorded,
        }));
    }
    refusal
}

/// The safer variant, as the agent can make it itself. Values that the author of the rule wrote are shown; the agent's
/// own are masked like everywhere.
fn proposal(decided: &Decided, remediation: &Remediation) -> Value {
    let mut arguments = edits::apply(&decided.prepared.recorded, &remediation.edits)
        .ok()
        .flatten()
        .unwrap_or_else(|| Value::clone(&decided.prepared.recorded));
    if let Some(tool) = &remediation.tool {
        aim(decided.prepared.facts.call.kind, &mut arguments, tool);
    }
    json!({
        "mode": if remediation.apply { "apply" } else { "suggest" },
        "tool": remediation.tool.as_deref().unwrap_or(&*decided.prepared.shown),
        "arguments": arguments,
        "reason": remediation.reason,
    })
}
