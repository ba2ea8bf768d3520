//! The whole path of a call: scope → schema → redaction → estimate → decide → approval → admit → dispatch → settle → reply.

use super::{
    Gateway, InForce, Inner,
    admit::Drafted,
    api::{CallReply, IncomingCall},
    checks::TooMany,
    dead_letters::Replay,
    decided::{AdmitError, Decided, Warrant},
    dispatch::params::Outgoing,
    evaluate::{is_large, refusal_of},
    fit::{self, Looks},
    freezes,
    people::{
        PendingCall, approve::Step, client_questions::ClientQuestions, connect::Connected, waiter::Waiter,
    },
    placeholders::{KnownValues, caller_of, vault_failed},
    prepare::Stop,
    prepared::Prepared,
    reach::{Reach, unreadable},
    refusal::Refusal,
    request::{Request, Standing, arguments_of, named_workflow, own_session},
    request_state::bound_to,
    served::Served,
    subject::subject,
    suspend::{
        client_handle::ClientHandle,
        held::{CallPath, may_hold},
        parked::{Waiting, Work},
    },
    tool_search,
    trial::Chosen,
};
use crate::{
    identity::{Principal, user_of},
    model::{AgentId, CallKind, Decision, RpcError, SharePlace},
    offload::Busy,
    telemetry::Attribute,
    upstream::Era,
};
use futures::future::BoxFuture;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often identical calls may be quicker to use an approval before that itself is a refusal.
const MAX_LOST: usize = 4;

/// A call on its path.
struct Underway {
    request: Request,
    /// As the agent sent them.
    arguments: Arc<Value>,
    asking: ClientQuestions,
    looks: Looks,
    /// It is counted among the repeats.
    counted: bool,
    /// How often another call was quicker to use its approval.
    lost: usize,
}

/// Why the path ends before the upstream has answered.
enum Halt {
    /// Something changed: the call is decided again.
    Again,
    Reply(CallReply),
}

impl CallPath for Gateway {
    fn go(&self, call: IncomingCall, waiter: Option<Waiter>) -> BoxFuture<'static, CallReply> {
        let gateway = self.clone();
        Box::pin(async move { gateway.call_through(call, waiter, None).await })
    }
}

impl Gateway {
    /// A call: the whole path. Dropping the future cancels it; what was dispatched is settled all the same.
    ///
    /// What most calls do not come to is boxed, so that their future stays small.
    pub async fn call(&self, call: IncomingCall) -> CallReply {
        if may_hold(&call, self.0.store.is_shared()) {
            return Box::pin(self.0.held.call_or_hold(call, self.clone())).await;
        }
        self.call_through(call, None, None).await
    }

    /// The path, measured; `waiter` is told where the call begins to wait for a person elsewhere.
    pub(super) async fn call_through(
        &self,
        mut call: IncomingCall,
        waiter: Option<Waiter>,
        replay: Option<Replay>,
    ) -> CallReply {
        let mut served = self.serve(&mut call);
        let era = call.client.era();
        let mut reply = self.go_through(call, waiter, replay, &mut served).await;
        if era == Era::Modern {
            // Spans and metrics have the code that the client gets.
            reply = reply.map_err(RpcError::modernized);
        }
        served.end(&self.0.telemetry, self.0.clock.monotonic(), &reply);
        reply
    }

    /// The path itself.
    async fn go_through(
        &self,
        call: IncomingCall,
        waiter: Option<Waiter>,
        replay: Option<Replay>,
        served: &mut Served,
    ) -> CallReply {
        let Principal::Agent(agent) = &call.principal else {
            return Box::pin(self.0.people.call_of_person(call)).await;
        };
        let agent = agent.id.clone();
        let (mut request, mut given, mut asking) = self.received(agent, call, waiter, served);
        if let Some(Replay { call_id, of }) = replay {
            (request.call_id, request.replay_of) = (call_id, Some(of));
        }
        if request.kind == CallKind::Tool
            && [tool_search::FIND, tool_search::CALL].contains(&request.name.as_str())
        {
            let in_force = self.in_force_of(&request.principal);
            let user = user_of(&request.principal, &in_force.policies.authority);
            let frozen = self.0.freezes.frozen_agent(&request.agent, user).is_some();
            // Of a frozen agent the round below says so.
            if tool_search::is_on(&in_force) && self.still_valid(&request.principal) && !frozen {
                if request.name == tool_search::FIND {
                    request.listed = Some(tool_search::FIND.into());
                    served.knows(&request);
                    return Box::pin(self.0.search.find_tools(&in_force, &request, given, &mut asking)).await;
                }
                // From here on it is the call of the tool that is meant.
                match tool_search::meant(given) {
                    Ok((name, arguments)) => {
                        (request.name, given) = (name, arguments);
                        if tool_search::is_hidden(&in_force, &request) {
                            let unknown = self.0.refusals.refuse_unknown(&request, &in_force, &mut asking);
                            return Box::pin(unknown).await;
                        }
                    }
                    Err(wrong) => {
                        let refusal = Refusal::deny("schema", wrong);
                        let refused = self.0.refusals.refuse(&request, None, &in_force, refusal, &mut asking);
                        return Box::pin(refused).await;
                    }
                }
            }
        }
        let arguments = Arc::new(arguments_of(request.kind, &request.name, given));
        let looks = Looks::default();
        let mut underway = Underway { request, arguments, asking, looks, counted: false, lost: 0 };
        self.take_connect_state(&underway.request, &mut underway.asking);
        loop {
            let Request { principal, kind, name, .. } = &underway.request;
            self.make_ready_for(principal, *kind, name).await;
            // Each round sees what is in force now: a key or a policy may have gone while a person was asked.
            let chosen = self.choose(&underway.request);
            match self.round(&chosen, &mut underway).await {
                Ok(reply) | Err(Halt::Reply(reply)) => {
                    served.knows(&underway.request);
                    return reply;
                }
                Err(Halt::Again) => {}
            }
        }
    }

    /// What stays the same over all rounds, the arguments, and what will be asked and answered.
    fn received(
        &self,
        agent: AgentId,
        call: IncomingCall,
        waiter: Option<Waiter>,
        served: &Served,
    ) -> (Request, Option<Value>, ClientQuestions) {
        let workflow = named_workflow(Some(&call.meta), call.workflow);
        let mut extra_params = call.extra_params;
        // Only what was sealed for this call goes back to an upstream that asked.
        extra_params.retain(|name, _| !["inputResponses", "requestState"].contains(&name.as_str()));
        let mut request = Request {
            agent,
            kind: call.kind,
            purpose: call.purpose,
            meta: call.meta,
            extra_params,
            own_session: own_session(&call.session, &call.principal, call.client.era()),
            standing: Standing::default(),
            session: call.session,
            principal: call.principal,
            workflow,
            trace_id: served.trace,
            traced: served.traced,
            tracing: served.tracing.clone(),
            call_id: self.0.ids.call_id(),
            replay_of: None,
            began: served.began,
            listed: None,
            waited: Duration::ZERO,
            is_retry: call.request_state.is_some(),
            counted: None,
            name: call.name,
            share: SharePlace::default(),
        };
        request.share = self.share_of(&request, call.client.era());
        let asking = ClientQuestions::new(call.client, call.input_responses, call.request_state, waiter);
        (request, call.arguments, asking)
    }

    /// Where a call falls among all: by its session, in the eras that have one; else by its workflow, or its trace.
    fn share_of(&self, request: &Request, era: Era) -> SharePlace {
        let session = match era {
            Era::Legacy => Some(&*request.session),
            Era::Modern => None,
        };
        let in_force = self.0.current.peek();
        let agent = in_force.policies.authority.agents.get(&request.agent);
        let default = agent.and_then(|agent| agent.workflow.as_deref());
        let workflow = request.workflow.as_deref().or(default);
        SharePlace::of(&request.agent, session, workflow, request.trace_id)
    }

    /// One round: the steps of a call in their order, each of which may end it.
    async fn round(&self, chosen: &Chosen, underway: &mut Underway) -> Result<CallReply, Halt> {
        let in_force = &chosen.in_force;
        let tracing = underway.request.tracing.clone();
        let child = tracing.child();
        let decided = self.decide(chosen, underway).await;
        tracing.end(child, "tollgate.decide", decision_attributes(&decided));
        let mut decided = decided?;
        let is_first = !underway.counted;
        let frozen = decided.prepared.freeze_subject();
        if let Some(frozen) = self.0.freezes.frozen(&frozen) {
            let refusal = freezes::refusal(frozen);
            return Err(self.refuse(in_force, underway, Some(&decided.prepared), refusal).await);
        }
        self.take_up(in_force, underway, &decided).await?;
        if chosen.compares() {
            let Underway { request, arguments, looks, .. } = underway;
            Box::pin(self.compare(chosen, request, arguments, looks, &mut decided, is_first)).await;
        }
        underway.asking.ask_for_budgets(&mut decided);
        // Whoever is asked meanwhile need not answer any more: it could not be done.
        let warrant = tokio::select! {
            biased;
            frozen = self.0.freezes.until_frozen(&frozen) => Err(frozen),
            warrant = self.warrant_of(in_force, underway, &decided) => Ok(warrant?),
        };
        let warrant = match warrant {
            Ok(warrant) => warrant,
            Err(frozen) => {
                let refusal = freezes::refusal(frozen);
                return Err(self.refuse(in_force, underway, Some(&decided.prepared), refusal).await);
            }
        };
        // Nothing is made for a client that has gone away. Where it can come back, the call is decided again then.
        if let Some(back) = underway.asking.client.until_present() {
            back.await;
            return Err(Halt::Again);
        }
        // Placeholders go upstream in place of values that are kept by then.
        let minted = std::mem::take(&mut decided.prepared.minted);
        if !minted.is_empty()
            && let Err(error) =
                Box::pin(self.0.tasks.measures.placeholders.keep(&in_force.config, minted)).await
        {
            let refusal = vault_failed(&error);
            return Err(self.refuse(in_force, underway, Some(&decided.prepared), refusal).await);
        }
        self.carry_out(in_force, underway, decided, warrant).await
    }

    /// Scope, schema, redaction, estimate and decision.
    async fn decide(&self, chosen: &Chosen, underway: &mut Underway) -> Result<Box<Decided>, Halt> {
        let in_force = &chosen.in_force;
        if !self.still_valid(&underway.request.principal) {
            let refusal = Refusal::deny("identity", "this credential is no longer valid");
            return Err(self.refuse(in_force, underway, None, refusal).await);
        }
        let user = user_of(&underway.request.principal, &in_force.policies.authority);
        if let Some(frozen) = self.0.freezes.frozen_agent(&underway.request.agent, user) {
            return Err(self.refuse(in_force, underway, None, freezes::refusal(frozen)).await);
        }
        if let Some(why) = &in_force.blocked {
            return Err(self.refuse(in_force, underway, None, Refusal::deny("activation", &**why)).await);
        }
        match self.0.labels.standing(&Reach::of(in_force, &underway.request)).await {
            Ok(standing) => underway.request.standing = standing,
            Err(error) => return Err(self.refuse(in_force, underway, None, unreadable(&error)).await),
        }
        let evaluator = &self.0.evaluator;
        let Underway { request, arguments, looks, .. } = underway;
        looks.answers.forget_old(self.0.clock.monotonic());
        let evaluated = match is_large(request, arguments) {
            false => Ok(evaluator.evaluate(in_force, request, arguments.clone(), looks)),
            true => Box::pin(evaluator.evaluate_beside(in_force, request, arguments.clone(), looks)).await,
        };
        let stop = match evaluated {
            Ok(Ok(decided)) => {
                request.listed = Some(decided.prepared.listed());
                return Ok(decided);
            }
            Ok(Err(stop)) => stop,
            Err(Busy) => return Err(self.refuse(in_force, underway, None, fit::too_many()).await),
        };
        if chosen.compares() && !underway.counted {
            let Underway { request, arguments, looks, .. } = underway;
            Box::pin(self.compare_refused(chosen, request, arguments, looks, &stop)).await;
        }
        Err(self.resolve_stop(in_force, underway, stop).await)
    }

    /// What becomes of a call that was not decided: what it lacks is found out, and it is decided again, or it is refused.
    async fn resolve_stop(&self, in_force: &Arc<InForce>, underway: &mut Underway, stop: Stop) -> Halt {
        let evaluator = &self.0.evaluator;
        let Underway { request, looks, .. } = underway;
        match stop {
            Stop::Unchecked(look) => match Box::pin(evaluator.look(looks, request, *look)).await {
                Ok(()) => Halt::Again,
                Err(Busy) => self.refuse(in_force, underway, None, fit::too_many()).await,
            },
            Stop::Sealed(placeholders) => {
                let caller = caller_of(&in_force.policies, &request.agent);
                let kept = &self.0.tasks.measures.placeholders;
                match Box::pin(kept.look_up(&in_force.config, placeholders, &caller)).await {
                    Ok(found) => {
                        looks.opened = KnownValues::of(found);
                        Halt::Again
                    }
                    Err(error) => self.refuse(in_force, underway, None, vault_failed(&error)).await,
                }
            }
            Stop::Unasked(checks, prepared) => {
                // Nothing leaves for a call that is frozen, not even a question about it.
                if let Some(frozen) = self.0.freezes.frozen(&prepared.freeze_subject()) {
                    let refusal = freezes::refusal(frozen);
                    return self.refuse(in_force, underway, Some(&prepared), refusal).await;
                }
                let asked = self.0.checks.ask(in_force, request, &checks, &prepared, &mut looks.answers);
                match Box::pin(asked).await {
                    Ok(()) => Halt::Again,
                    Err(TooMany) => {
                        let refusal = Refusal::deny("check", "the external checks of this call never end");
                        self.refuse(in_force, underway, Some(&prepared), refusal).await
                    }
                }
            }
            Stop::Unknown => {
                let Underway { request, asking, .. } = underway;
                match Box::pin(self.connect_first(in_force, request, asking)).await {
                    Some(Connected::Yes) => Halt::Again,
                    Some(Connected::Reply(reply)) => Halt::Reply(reply),
                    None => {
                        Halt::Reply(Box::pin(self.0.refusals.refuse_unknown(request, in_force, asking)).await)
                    }
                }
            }
            Stop::Away(refusal, called) => {
                let Underway { request, asking, .. } = underway;
                match Box::pin(self.connect_again(in_force, request, asking)).await {
                    Some(Connected::Yes) => return Halt::Again,
                    Some(Connected::Reply(reply)) => return Halt::Reply(reply),
                    None => {}
                }
                let refusal = self.0.freezes.frozen(&called).map_or(*refusal, freezes::refusal);
                self.refuse(in_force, underway, None, refusal).await
            }
            Stop::Refused(refusal, prepared) => {
                request.listed = prepared.as_ref().map(|prepared| prepared.listed());
                self.refuse(in_force, underway, prepared.as_deref(), *refusal).await
            }
        }
    }

    /// What a retry hands back: the answer to a question, or the handle of a call in flight, which goes on in place of this
    /// one.
    async fn take_up(
        &self,
        in_force: &Arc<InForce>,
        underway: &mut Underway,
        decided: &Decided,
    ) -> Result<(), Halt> {
        let Underway { request, asking, counted, .. } = underway;
        if let Err(error) = asking.open(&*self.0.seal, request, decided) {
            // The attempt is recorded; to the client it is an error of the protocol.
            let refusal = Refusal::deny("request_state", error.message.clone());
            drop(self.refuse(in_force, underway, Some(&decided.prepared), refusal).await);
            return Err(Halt::Reply(Err(error)));
        }
        // No call of its own: the one in flight goes on.
        if let Some((id, responses)) = asking.parked() {
            let bound = bound_to(request, decided);
            let resumed = self.0.parking.resume(&id, &bound, asking.client.clone(), responses);
            return Err(Halt::Reply(Box::pin(resumed).await));
        }
        // The retry that brings an answer goes on with the trace in which it was asked for.
        if !request.traced
            && let Some(trace) = asking.trace()
        {
            request.join(trace);
        }
        // The retry that answers for an approval was counted as it was asked about.
        if !std::mem::replace(counted, true) && asking.trace().is_none() {
            self.0.evaluator.note(request, decided);
        }
        Ok(())
    }

    /// By what the call may be dispatched: an approval or a grant, where it needs one.
    async fn warrant_of(
        &self,
        in_force: &Arc<InForce>,
        underway: &mut Underway,
        decided: &Decided,
    ) -> Result<Warrant, Halt> {
        let Underway { request, arguments, asking, .. } = underway;
        match decided.verdict.decision {
            Decision::Allow | Decision::AllowWithConstraints => Ok(Warrant::Rules),
            Decision::RequireApproval if request.method().is_some() => {
                let refused = self.0.refusals.refuse_unaskable(request, in_force, decided, asking);
                Err(Halt::Reply(Box::pin(refused).await))
            }
            Decision::RequireApproval => {
                asking.keep(arguments);
                let call = PendingCall { in_force, request, decided };
                let (since, child) = (self.0.clock.monotonic(), request.tracing.child());
                let sought = Box::pin(self.0.people.seek_approval(call, asking)).await;
                request.waited += self.0.clock.monotonic().saturating_sub(since);
                let outcome = vec![("tollgate.approval.outcome", sought.outcome().into())];
                request.tracing.end(child, "tollgate.approval", outcome);
                match sought {
                    Step::Use(record) => {
                        // The call that uses an approval joins the trace that asked for it, unless it is part of it or
                        // of another already.
                        if !request.traced && !asking.started() {
                            request.join(record.trace_id);
                        }
                        Ok(Warrant::Approval(record))
                    }
                    Step::UseGrant(grant) => Ok(Warrant::Grant(grant)),
                    Step::Again => Err(Halt::Again),
                    Step::Reply(_, reply) => Err(Halt::Reply(reply)),
                }
            }
            Decision::Remediate | Decision::Suggest | Decision::Throttle | Decision::Deny => {
                let refusal = refusal_of(decided);
                Err(self.refuse(in_force, underway, Some(&decided.prepared), refusal).await)
            }
        }
    }

    /// Admits and dispatches; where admission does not grant it, the call is decided again or refused.
    async fn carry_out(
        &self,
        in_force: &Arc<InForce>,
        underway: &mut Underway,
        decided: Box<Decided>,
        warrant: Warrant,
    ) -> Result<CallReply, Halt> {
        let Underway { request, arguments, asking, lost, .. } = underway;
        // The arguments go with the call: only where it was changed is the agent's own version kept.
        // A call that may be made once more is kept, too.
        let used = self.used(in_force, request, decided.prepared.target.upstream());
        let kept = (decided.original.is_some() || used.is_some()).then(|| arguments.clone());
        drop(std::mem::take(arguments));
        let returned = match self.admit_and_dispatch(in_force, request, decided, warrant, asking).await {
            Ok(reply) => {
                let Some(used) = used else { return Ok(reply) };
                match Box::pin(self.with_other_account(in_force, request, used, reply, asking)).await {
                    Connected::Reply(reply) => return Ok(reply),
                    // Another call, with a record of its own.
                    Connected::Yes => request.call_id = self.0.ids.call_id(),
                }
                *arguments = kept.unwrap_or_default();
                return Err(Halt::Again);
            }
            Err(AdmitError::AskAbout(requirement, returned)) => {
                asking.also.retain(|known| known.policy_id != requirement.policy_id);
                asking.also.push(*requirement);
                returned
            }
            Err(AdmitError::AskAnew(returned)) => {
                *lost += 1;
                if *lost >= MAX_LOST {
                    let refusal = Refusal::deny("approval", "other calls use up each approval of this one");
                    return Err(self.refuse(in_force, underway, None, refusal).await);
                }
                returned
            }
            Err(AdmitError::Replaced(returned)) => returned,
            Err(AdmitError::Unrecorded(refusal)) => {
                return Err(self.refuse(in_force, underway, None, *refusal).await);
            }
            Err(AdmitError::Limited(limited)) => {
                let refused = self.0.refusals.refuse_by_limit(request, in_force, *limited, asking);
                return Err(Halt::Reply(Box::pin(refused).await));
            }
            Err(AdmitError::Refused(refusal)) => {
                let refused = subject(request, None, in_force).refused(self.0.clock.now(), &refusal.ruling());
                asking.has_line();
                self.0.refusals.log_call(request, &refused);
                let policies = &in_force.policies;
                return Ok(refusal.reply(request.kind, &request.name, request.trace_id, policies));
            }
        };
        *arguments = kept.unwrap_or(returned);
        Err(Halt::Again)
    }

    /// Admits and dispatches so that a caller that goes away cancels the call and never its settlement.
    async fn admit_and_dispatch(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: Box<Decided>,
        warrant: Warrant,
        asking: &mut ClientQuestions,
    ) -> Result<CallReply, AdmitError> {
        if !self.0.current.peek().is_or_tries(in_force) {
            return Err(AdmitError::Replaced(decided.prepared.arguments));
        }
        if self.is_outdated(in_force, decided.prepared.target.upstream()) {
            // What it was decided by is not what its upstream lists now.
            Box::pin(self.catch_up(in_force)).await;
            return Err(AdmitError::Replaced(decided.prepared.arguments));
        }
        let Some(upstream) = in_force.upstreams.get(decided.prepared.target.upstream()) else {
            return Err(AdmitError::Unrecorded(Box::new(Refusal::deny("scope", "its upstream is gone"))));
        };
        let gone = CancellationToken::new();
        let cancel_when_dropped = gone.clone().drop_guard();
        let gateway = self.clone();
        let in_force = in_force.clone();
        let clock = &*self.0.clock;
        let brought = asking.brought();
        let outgoing = Outgoing::of(clock.now(), &in_force, request, &decided, asking);
        let opens = asking.start();
        let drafted = Drafted::of(clock, &in_force, request, &decided, &warrant, opens);
        let waiting = (request.agent.clone(), request.call_id.clone(), outgoing.bound.clone());
        asking.account = outgoing.account.clone();
        let (client_handle, questions) = ClientHandle::new(asking.client.clone());
        let handle_of_call = client_handle.clone();
        let line = asking.line.clone();
        let tracked = self.0.in_flight.track_future(async move {
            let Inner { admission, dispatcher, .. } = &*gateway.0;
            let permit = admission.admit(&in_force, upstream, decided, warrant, drafted).await?;
            line.discard();
            Ok(dispatcher.dispatch(permit, outgoing, handle_of_call, gone).await)
        });
        let (agent, call_id, bound) = waiting;
        let work = Work::new(tracked);
        let waiting =
            Waiting::new(agent, call_id, bound, work, (client_handle, questions), cancel_when_dropped);
        let ended = self.0.parking.attend(waiting).await;
        match &ended {
            // Its start was not written either.
            Err(AdmitError::Limited(limited)) if opens && !limited.recorded => asking.started = false,
            // Nothing was: it begins once more with what its client brought.
            Err(AdmitError::Replaced(_)) => {
                asking.started &= !opens;
                asking.bring_again(brought);
            }
            Ok(_) | Err(_) => {}
        }
        ended
    }

    /// Refuses the call.
    async fn refuse(
        &self,
        in_force: &Arc<InForce>,
        underway: &mut Underway,
        prepared: Option<&Prepared>,
        refusal: Refusal,
    ) -> Halt {
        let Underway { request, asking, .. } = underway;
        let refused = self.0.refusals.refuse(request, prepared, in_force, refusal, asking);
        Halt::Reply(Box::pin(refused).await)
    }
}

/// What a span says of a decision.
fn decision_attributes(decided: &Result<Box<Decided>, Halt>) -> Vec<(&'static str, Attribute)> {
    let Ok(decided) = decided else { return Vec::new() };
    let (policy, rule, _) = decided.attribution();
    let decision = decided.verdict.decision.event_word().as_str();
    let mut told = vec![
        ("tollgate.decision", Attribute::from(decision)),
        ("tollgate.policy.id", Attribute::from(policy.shared())),
    ];
    told.extend(rule.map(|rule| ("tollgate.rule.id", Attribute::from(rule.shared()))));
    told
}
