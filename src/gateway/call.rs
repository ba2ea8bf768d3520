//! The whole path of a call: scope → schema → redaction → estimate → decide → approval → admit → dispatch → settle → reply.

use super::{
    Gateway, InForce,
    admit::AdmitError,
    api::{CallReply, IncomingCall},
    decided::{Applied, Decided},
    edits, finding,
    fit::{self, Looks},
    people::approve::Step,
    people::asking::{Asking, Waiter},
    prepare::{Prepared, Stop, Version, arguments_of, named_workflow, subject, unknown_policy},
    refusal::Refusal,
    request::Request,
};
use crate::{
    decision::{ApprovalRequirement, Verdict, decide, stricter},
    evidence::{self, Judged, ResolvedTool},
    identity::Principal,
    model::{
        CallKind, Decision, PolicyId, RpcError, SharePlace, TraceId, Uri, code,
        weight::{weight, weight_of},
    },
    offload::{Busy, LARGE},
    policy::Remediation,
    upstream::Era,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How often a call may be changed by constraints and remediation before that itself is a refusal.
const MAX_CHANGES: usize = 4;

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
            share: SharePlace::default(),
        };
        request.share = self.share_of(&request, call.client.era());
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
            let chosen = self.choose(&request);
            let in_force = &chosen.in_force;
            if !self.still_valid(&request.principal) {
                let refusal = Refusal::deny("identity", "this credential is no longer valid");
                return Box::pin(self.refuse(&request, None, in_force, refusal, &mut asking)).await;
            }
            if let Some(why) = &in_force.blocked {
                let refusal = Refusal::deny("activation", &**why);
                return Box::pin(self.refuse(&request, None, in_force, refusal, &mut asking)).await;
            }
            let evaluated = match is_large(&request, &arguments) {
                false => Ok(self.evaluate(in_force, &request, arguments.clone(), &looks)),
                true => {
                    Box::pin(self.evaluate_beside(in_force, &request, arguments.clone(), &mut looks)).await
                }
            };
            let Ok(evaluated) = evaluated else {
                let refusal = fit::too_many();
                return Box::pin(self.refuse(&request, None, in_force, refusal, &mut asking)).await;
            };
            let mut decided = match evaluated {
                Ok(decided) => decided,
                Err(Stop::Unchecked(look)) => {
                    let taken = looks.take(&self.0.large, &request.agent, *look);
                    if let Err(Busy) = Box::pin(taken).await {
                        let refusal = fit::too_many();
                        return Box::pin(self.refuse(&request, None, in_force, refusal, &mut asking)).await;
                    }
                    continue;
                }
                Err(Stop::Unknown) => {
                    if chosen.compares() {
                        let compared = self.compare_refused(&chosen, &request, &arguments, &mut looks, None);
                        Box::pin(compared).await;
                    }
                    return Box::pin(self.refuse_unknown(&request, in_force, &mut asking)).await;
                }
                Err(Stop::Refused(refusal, prepared)) => {
                    if chosen.compares() && first {
                        let refused = Some(&*refusal);
                        let compared =
                            self.compare_refused(&chosen, &request, &arguments, &mut looks, refused);
                        Box::pin(compared).await;
                    }
                    let refused = self.refuse(&request, prepared.as_deref(), in_force, *refusal, &mut asking);
                    return Box::pin(refused).await;
                }
            };
            if let Err(error) = asking.open(self, &request, &decided) {
                // The attempt is recorded; to the client it is an error of the protocol.
                let refusal = Refusal::deny("request_state", error.message.clone());
                let refused = self.refuse(&request, Some(&decided.prepared), in_force, refusal, &mut asking);
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
            if chosen.compares() {
                let compared = self.compare(&chosen, &request, &arguments, &mut looks, &mut decided, first);
                Box::pin(compared).await;
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
                    return Box::pin(self.refuse_unaskable(&request, in_force, &decided, &mut asking)).await;
                }
                Decision::RequireApproval => {
                    asking.keep(&arguments);
                    match Box::pin(self.seek_approval(in_force, &request, &decided, &mut asking)).await {
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
                        self.refuse(&request, Some(&decided.prepared), in_force, refusal, &mut asking);
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
            return match self.admit_and_dispatch(in_force, &request, decided, approval, &mut asking).await {
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
                    Box::pin(self.refuse(&request, None, in_force, refusal, &mut asking)).await
                }
                Err(AdmitError::Replaced(returned)) => {
                    arguments = kept.unwrap_or(returned);
                    continue;
                }
                Err(AdmitError::Unrecorded(refusal)) => {
                    Box::pin(self.refuse(&request, None, in_force, *refusal, &mut asking)).await
                }
                Err(AdmitError::Limited(limited)) => {
                    Box::pin(self.refuse_by_limit(&request, in_force, *limited, &mut asking)).await
                }
                Err(AdmitError::Refused(refusal)) => {
                    let refused =
                        subject(&request, None, in_force).refused(self.0.clock.now(), &refusal.ruling());
                    self.log_call(&request, &refused);
                    refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies)
                }
            };
        }
    }

    /// Where a call falls among all: by its session, in the eras that have one; else by its workflow, or its trace.
    fn share_of(&self, request: &Request, era: Era) -> SharePlace {
        let session = match era {
            Era::Legacy => Some(&*request.session),
            Era::Modern => None,
        };
        let in_force = self.0.in_force.load();
        let agent = in_force.policies.authority.agents.get(&request.agent);
        let default = agent.and_then(|agent| agent.workflow.as_deref());
        let workflow = request.workflow.as_deref().or(default);
        SharePlace::of(&request.agent, session, workflow, request.trace_id)
    }

    /// [`Self::evaluate`] of large arguments: to look through them takes longer than a connection's thread can spare.
    pub(super) async fn evaluate_beside(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &mut Looks,
    ) -> Result<Result<Box<Decided>, Stop>, Busy> {
        let (gateway, in_force, asked) = (self.clone(), in_force.clone(), request.clone());
        let known = std::mem::take(looks);
        let work = move || {
            let evaluated = gateway.evaluate(&in_force, &asked, arguments, &known);
            (evaluated, known)
        };
        let (evaluated, known) = self.0.large.run(&request.agent, work).await?;
        *looks = known;
        Ok(evaluated)
    }

    /// Decides a call, and decides it again where a constraint or an applied remediation changes it: digest, prompt and
    /// record describe what will be dispatched, and the stricter of all outcomes stands (SPEC 4).
    // Long: a decision and the changes that rules make to the call take turns, and each turn needs all that the one before left.
    pub(crate) fn evaluate(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Arc<Value>,
        looks: &Looks,
    ) -> Result<Box<Decided>, Stop> {
        let view = self.view(in_force, &request.principal).ok_or(Stop::Unknown)?;
        let mut name = request.name.clone();
        let mut arguments = arguments;
        let mut earlier: Option<Verdict> = None;
        let mut original: Option<(Arc<str>, Arc<Value>)> = None;
        let mut applied: Option<Applied> = None;
        let mut told = EarlierTold::default();
        for _ in 0..MAX_CHANGES {
            let version =
                Version { name: &name, arguments: arguments.clone(), remediated: applied.is_some() };
            let mut prepared = match self.0.prepare(in_force, &view, request, version, looks) {
                // The agent's own tool is there: what is not is the rule's.
                Err(Stop::Unknown) if name != request.name => {
                    let reason = "the changed call is not in this agent's scope";
                    let policy = earlier.map_or(unknown_policy(), |first| first.policy_id);
                    return Err(Stop::Refused(Box::new(Refusal::deny(&policy, reason)), None));
                }
                prepared => prepared?,
            };
            let mut verdict = decide(&in_force.policies, &prepared.facts);
            if let Some(first) = earlier.take() {
                verdict = stricter(first, verdict, &prepared.facts);
            }
            let mut change = edits::apply(&prepared.arguments, &verdict.constraints.arguments)
                .map(|change| change.filter(|to| !is_same_resource(request.kind, to, &prepared.arguments)));
            let mut other_tool = None;
            if verdict.decision == Decision::Remediate
                && let Some(remediation) = verdict.remediation.clone().filter(|r| r.apply)
            {
                let base = match &change {
                    Ok(Some(changed)) => changed.clone(),
                    Ok(None) | Err(_) => (*prepared.arguments).clone(),
                };
                change =
                    change.and_then(|_| Ok(Some(edits::apply(&base, &remediation.edits)?.unwrap_or(base))));
                other_tool = remediation.tool.clone();
                applied = Some(Applied {
                    remediation,
                    policy_id: verdict.policy_id.clone(),
                    rule_id: verdict.rule_id.clone(),
                    reason: verdict.reason.clone(),
                });
            } else if verdict.decision > Decision::RequireApproval {
                // Nothing will be dispatched: there is nothing to change.
                change = Ok(None);
            }
            if !matches!(change, Ok(Some(_))) {
                prepared.judged = Some(told.judged(&prepared, &verdict));
            }
            match change {
                Err(reason) => {
                    let refusal = Refusal::deny(&verdict.policy_id, reason);
                    return Err(Stop::Refused(Box::new(refusal), Some(Box::new(prepared))));
                }
                Ok(Some(mut changed)) => {
                    told.note(&prepared);
                    original.get_or_insert_with(|| (prepared.shown.clone(), prepared.recorded));
                    earlier = Some(verdict);
                    if let Some(tool) = other_tool {
                        aim(request.kind, &mut changed, &tool);
                        name = tool.to_string();
                    } else if request.kind == CallKind::Resource {
                        // A resource is its URI: another one is another target, with its own scope.
                        name = uri_of(&changed).unwrap_or_default().to_owned();
                    }
                    arguments = Arc::new(changed);
                }
                // It is passed on a few times, and large.
                Ok(None) => return Ok(Box::new(Decided { prepared, verdict, original, applied })),
            }
        }
        let refusal = Refusal::deny("constraints", "the constraints on this call keep changing it");
        Err(Stop::Refused(Box::new(refusal), None))
    }
}

/// Whether looking through what the agent sent is large work.
pub(super) fn is_large(request: &Request, arguments: &Value) -> bool {
    let own = weight(arguments, LARGE);
    let beside = |members| weight_of(members, LARGE);
    own.saturating_add(beside(&request.meta)).saturating_add(beside(&request.rest)) > LARGE
}

/// The evaluations after which rules changed a call, for the record of the last.
#[derive(Default)]
struct EarlierTold {
    facts: Vec<Box<str>>,
    tools: Vec<Arc<ResolvedTool>>,
}

impl EarlierTold {
    fn note(&mut self, prepared: &Prepared) {
        self.facts.push(prepared.evaluated().earlier(self.facts.is_empty()));
        self.tools.extend(prepared.resolved().cloned());
    }

    fn judged(&mut self, prepared: &Prepared, verdict: &Verdict) -> Judged {
        let mut tools = std::mem::take(&mut self.tools);
        tools.extend(prepared.resolved().cloned());
        let facts = prepared.evaluated().text(&self.facts);
        let verdict = evidence::verdict(verdict, prepared.target.full(), &prepared.shown);
        Judged { facts, verdict, tools, compared: None }
    }
}

fn keep(all: &mut Vec<ApprovalRequirement>, more: impl Iterator<Item = ApprovalRequirement>) {
    for requirement in more {
        if !all.contains(&requirement) {
            all.push(requirement);
        }
    }
}

/// The URI among a resource's arguments.
pub(crate) fn uri_of(arguments: &Value) -> Option<&str> {
    arguments.get("uri").and_then(Value::as_str)
}

/// Whether only the spelling of a resource's URI was changed.
fn is_same_resource(kind: CallKind, changed: &Value, matched: &Value) -> bool {
    let (Some(written), Some(uri)) = (uri_of(changed), uri_of(matched)) else { return false };
    let mut respelled = changed.clone();
    if let Some(slot) = respelled.get_mut("uri") {
        *slot = json!(uri);
    }
    kind == CallKind::Resource
        && Uri::parse(written).is_ok_and(|written| written.as_str() == uri)
        && respelled == *matched
}

/// Points a changed call at what its rule names: a resource is asked for by the URI among its arguments.
fn aim(kind: CallKind, arguments: &mut Value, tool: &str) {
    if kind == CallKind::Resource
        && let Some(map) = arguments.as_object_mut()
    {
        map.insert("uri".into(), json!(tool));
    }
}

/// The answer for what does not exist, which is also the answer for what is out of scope (I7).
pub(crate) fn unknown(kind: CallKind, name: &str) -> RpcError {
    let shown: String = name.chars().take(128).collect();
    match kind {
        CallKind::Tool => RpcError::new(code::INVALID_PARAMS, format!("Unknown tool: {shown}")),
        CallKind::Prompt => RpcError::new(code::INVALID_PARAMS, format!("Unknown prompt: {shown}")),
        CallKind::Resource => {
            // The front turns this into -32602 for a client of 2026-07-28.
            RpcError::new(code::RESOURCE_NOT_FOUND, "Resource not found").with_data(json!({"uri": shown}))
        }
    }
}

fn trace_of(meta: &Map<String, Value>, header: Option<&str>) -> Option<TraceId> {
    meta.get("traceparent")
        .and_then(Value::as_str)
        .and_then(TraceId::from_traceparent)
        .or_else(|| header.and_then(TraceId::from_traceparent))
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

/// The id under which a store that does not answer denies.
pub(crate) fn store_policy() -> PolicyId {
    PolicyId::from("store")
}
