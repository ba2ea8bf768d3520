//! Dispatch: consumes a [`Permit`], makes the call under its constraints, and settles whatever comes of it.

use super::{
    Gateway, InForce,
    admit::{Permit, Permitted},
    answer::{Reserved, change_told, reported_cost},
    api::{CallReply, ClientPort, Purpose, TaskRequest, TaskVerb, WatchSlot},
    call_log::granted,
    complete,
    decided::Decided,
    ending::{Ending, code_of, failed, given_up, withheld},
    looking::{Answered, Measured},
    outgoing::{named, param_headers, params, relayed, session_named, session_of},
    people::asked::{Asked, told_of_questions},
    people::asking::Asking,
    prepared::Prepared,
    relay::{Mute, Relay, Relaying, Sampling},
    request::{Request, uri_of},
    request_state::Continuing,
    resource_watch::ResourceWatch,
    spending::Spending,
    subject::subject,
    suspend::{
        client_handle::ClientHandle,
        handle::{Made, is_task, takes_tasks},
    },
    target::Target,
};
use crate::{
    config::Asks,
    evidence::{Settled, limits, settled_detail},
    identity::Principal,
    model::{CallKind, Decision, EventDraft, MicroUsd, Outcome, RetryPlan, RpcError, TraceId, code},
    store::Settlement,
    upstream::{CallRelay as _, CallerKey, Era, Upstream, UpstreamError, UpstreamRequest},
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How many times an upstream may ask before it answers.
const MAX_ROUNDS: usize = 8;

/// What dispatch needs beside the permit, taken from the request before its task starts.
pub(crate) struct Outgoing {
    kind: CallKind,
    purpose: Purpose,
    principal: Principal,
    meta: Map<String, Value>,
    rest: Map<String, Value>,
    caller: CallerKey,
    trace_id: TraceId,
    side_effect: EventDraft,
    /// What an upstream that asked gets back.
    continuation: Continuation,
    /// Answers that came before anybody asked.
    unasked: Option<Map<String, Value>>,
    pub(crate) bound: Arc<[u8]>,
    began: Duration,
}

/// An upstream's own state, and the answers to what it asked.
type Continuation = Option<(Continuing, Map<String, Value>)>;

impl Gateway {
    /// Takes what dispatch needs out of the request.
    pub(crate) fn dispatch_request(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        decided: &Decided,
        asking: &mut Asking,
    ) -> Box<Outgoing> {
        let (policy, rule, _) = decided.says();
        let capability = decided.verdict.capability.as_ref();
        let side_effect = subject(request, Some(&decided.prepared), in_force).side_effect(
            self.0.clock.now(),
            policy,
            rule,
            capability,
        );
        let (meta, rest) = match &decided.prepared.beside {
            Some(changed) => changed.clone(),
            None => (request.meta.clone(), request.rest.clone()),
        };
        let approved = decided.verdict.decision == Decision::RequireApproval;
        Box::new(Outgoing {
            kind: request.kind,
            purpose: request.purpose.clone(),
            principal: request.principal.clone(),
            meta,
            rest,
            caller: CallerKey {
                agent: request.agent.clone(),
                session: session_of(request, asking.client.as_ref()),
            },
            trace_id: request.trace_id,
            side_effect,
            continuation: asking.upstream_continuation(approved),
            unasked: asking.unasked(approved),
            bound: Self::state_binding(request, decided),
            began: request.began,
        })
    }

    /// Makes the call and settles it, to its end; `gone` says that the caller no longer waits.
    // Long: the upstream and the client talk until there is a result.
    pub(crate) async fn dispatch(
        &self,
        permit: Permit,
        outgoing: Box<Outgoing>,
        seat: Arc<ClientHandle>,
        gone: CancellationToken,
    ) -> CallReply {
        let Permitted { decided, upstream, in_force, strict, caps } = permit.consume();
        let trace_id = outgoing.trace_id;
        let changed = decided.original.is_some().then(|| change_told(&decided, trace_id, &in_force));
        let Decided { prepared, verdict, applied, .. } = *decided;
        let word = granted(&verdict, verdict.decision == Decision::RequireApproval, applied.is_some());
        let constraints = verdict.constraints;
        let was_changed = changed.is_some();
        let started = self.0.clock.monotonic();
        let settings = in_force.config.upstreams.get(upstream.name());
        let limit = settings.map_or(Duration::from_secs(30), |s| s.timeout);
        let timeout = constraints.timeout.map_or(limit, |t| t.min(limit));
        let Outgoing {
            kind,
            purpose,
            principal,
            meta,
            rest,
            caller,
            trace_id: _,
            mut side_effect,
            continuation,
            unasked,
            bound,
            began,
        } = *outgoing;
        let Prepared {
            target,
            arguments,
            facts,
            recorded,
            outbound,
            estimate,
            tokenizer,
            tool_price,
            workflow,
            redacted,
            kept_as,
            ..
        } = prepared;
        let client = seat.client();
        let tasks = kind == CallKind::Tool && matches!(purpose, Purpose::Use) && takes_tasks(client.as_ref());
        let agent = facts.agent.id.clone();
        let model = in_force.policies.authority.agents.get(&agent).and_then(|a| a.model.clone());
        // Only sampling is decided again.
        let facts = (tasks || client.capabilities().get("sampling").is_some()).then_some(facts);
        let spending = Spending::new(
            self.clone(),
            in_force.clone(),
            facts,
            model.clone(),
            &estimate,
            constraints.max_cost,
            caps,
        );
        // It may share the arguments, which go on alone.
        drop(recorded);
        let arguments = outbound.unwrap_or_else(|| Arc::unwrap_or_clone(arguments));
        let traits = target.traits();
        let headers = param_headers(&target, &arguments);
        // As it was matched and decided.
        let uri = uri_of(&arguments).unwrap_or_default().to_owned();
        let completing = match &purpose {
            Purpose::Complete { argument } => Some((argument.clone(), arguments.clone())),
            Purpose::Use | Purpose::Watch(_) => None,
        };
        let (method, own_params) = match (&completing, kind) {
            (Some((argument, known)), _) => {
                ("completion/complete", complete::params(kind, target.own_name(), argument, known))
            }
            (None, CallKind::Tool) => ("tools/call", named(target.own_name(), arguments)),
            (None, CallKind::Prompt) => ("prompts/get", named(target.own_name(), arguments)),
            (None, CallKind::Resource) => {
                ("resources/read", Map::from_iter([("uri".into(), json!(target.own_uri(&uri)))]))
            }
        };
        let call = Call {
            method,
            params: Arc::new(params(own_params, meta, rest)),
            retry: if traits.read_only || traits.idempotent { RetryPlan::Safe } else { RetryPlan::Never },
            timeout,
            trace_id,
            caller,
            headers,
            approved: verdict.decision == Decision::RequireApproval,
            tasks,
        };
        let relay = Arc::new(Relay::new(Relaying {
            seat: seat.clone(),
            target: target.clone(),
            in_force: in_force.clone(),
            redact: constraints.redact.clone(),
            may_ask: completing.is_none(),
            timeout,
            sampling: match strict {
                true => Sampling::Refused("for which a strict budget has nothing reserved"),
                false => Sampling::Paid(spending.clone()),
            },
        }));
        let asked = relay.asked();
        let conversation = async {
            match &purpose {
                Purpose::Watch(slot) => {
                    relay.sent(true);
                    Box::pin(begin_watch(&upstream, &target, &uri, timeout, slot)).await
                }
                Purpose::Use | Purpose::Complete { .. } => {
                    self.converse(&upstream, call, (continuation, unasked), &client, &relay, &bound).await
                }
            }
        };
        let ending = tokio::select! {
            biased;
            () = gone.cancelled() => given_up(relay.was_sent()),
            ending = conversation => ending,
        };
        let mut ending = ending;
        if let Err(error) = &ending.reply
            && error.code == code::URL_ELICITATION_REQUIRED
        {
            let can_retry = matches!(purpose, Purpose::Use) && upstream.era() != Some(Era::Modern);
            ending.reply = Box::pin(self.pass_pages(error, &relay, client.era(), can_retry, &bound)).await;
        }
        let is_upstreams = ending.answered();
        let reserved = strict.then_some(Reserved { tokenizer, tokens: estimate.result_tokens });
        let is_resource = kind == CallKind::Resource;
        let completing = completing.map(|(argument, known)| {
            let workflow = workflow.as_ref().map(|id| id.as_str());
            let view = is_resource.then(|| self.view_in(&in_force, &principal, workflow)).flatten();
            (argument, known, view)
        });
        let answered = Answered {
            ending,
            in_force: in_force.clone(),
            kind,
            target,
            constraints,
            era: client.era(),
            upstream_is_modern: upstream.era() == Some(Era::Modern),
            is_use: matches!(purpose, Purpose::Use),
            completing,
            reserved,
            changed,
            tokenizer,
        };
        let (mut answered, mut measured) = self.look_through(&agent, answered, is_upstreams).await;
        let Answered { ending, constraints, target, .. } = &mut answered;
        let became_task = ending.reply.as_ref().is_ok_and(is_task);
        if became_task {
            let made = Made {
                upstream: target.upstream().clone(),
                own: String::new(),
                tool: target.listed().to_string(),
                trace: trace_id,
                call: side_effect.call_id.clone().unwrap_or_else(|| self.0.ids.call_id()),
                redact: constraints.redact.iter().map(|pointer| pointer.as_str().to_owned()).collect(),
                max_result_bytes: constraints.max_result_bytes,
                max_result_tokens: constraints.max_result_tokens,
                reserved_tokens: reserved.map(|reserved| reserved.tokens),
                no_sampling: strict || spending.is_bound(),
            };
            let handed =
                ending.reply.as_mut().ok().filter(|_| tasks).and_then(|r| self.hand_out(&principal, made, r));
            if handed.is_none() {
                let text = "the upstream made a task of the call that nobody could ask for";
                *ending = Ending {
                    reply: Err(RpcError::new(code::INTERNAL_ERROR, text)),
                    outcome: Outcome::Unknown,
                    sent: true,
                    reason: Some(text.into()),
                    ours: None,
                };
            }
        }
        if became_task {
            measured = match answered.ending.reply.is_ok() {
                // What it will be is not known: it costs what was reserved for it.
                true => Measured { tokens: estimate.result_tokens, ..measured },
                false => Measured { cut: measured.cut, ..answered.measure(self, is_upstreams) },
            };
        }
        let Answered { ending, constraints, target, .. } = answered;
        let Measured { cut, size, tokens: result_tokens, digest: result_digest } = measured;
        let Asked { questions, sampled } = std::mem::take(&mut *asked.lock());
        let (sampled_tokens, sampled_cost) = self.price_sampled(&in_force, model.as_deref(), &sampled);
        let reported =
            settings.filter(|s| s.trust_cost).and_then(|_| reported_cost(ending.reply.as_ref().ok()?));
        // What is unknown costs as reserved. Where a model worked for it, that is known and comes on top.
        let keeps_reservation = ending.outcome == Outcome::Unknown;
        let own = match (ending.outcome, ending.sent) {
            (Outcome::Unknown, _) => (estimate.tokens(), estimate.cost),
            (Outcome::Failed, false) => (0, MicroUsd::ZERO),
            (Outcome::Succeeded | Outcome::Failed, _) => {
                let cost = reported.unwrap_or_else(|| {
                    in_force.policies.prices.settle(
                        model.as_deref(),
                        estimate.argument_tokens,
                        result_tokens,
                        tool_price,
                    )
                });
                (estimate.argument_tokens.saturating_add(result_tokens), cost)
            }
        };
        let (tokens, cost) = match keeps_reservation && sampled.is_empty() {
            true => (None, None),
            false => (Some(own.0.saturating_add(sampled_tokens)), Some(own.1.plus(sampled_cost))),
        };
        let used = matches!(purpose, Purpose::Use);
        let learned =
            (used && !became_task && !cut && ending.outcome == Outcome::Succeeded && ending.reply.is_ok())
                .then(|| {
                    self.0.learned.observe(&kept_as, target.expected_result_tokens(), result_tokens);
                    (kept_as.to_string(), result_tokens)
                });
        let took = self.0.clock.monotonic().saturating_sub(started);
        let mut asked = told_of_questions(&questions, sampled_tokens);
        if became_task {
            asked.push_str(r#","task":"made""#);
        }
        let settled = Settled {
            outcome: ending.outcome,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            cost,
            reason: ending.told(&in_force.policies, redacted),
            result_digest,
            limits: limits(&constraints, timeout, was_changed),
            detail: settled_detail(size, result_tokens, cut, &asked),
        };
        settled.complete(&mut side_effect, self.0.clock.now());
        self.0.call_log.note(&side_effect, Some(word), self.0.clock.monotonic().saturating_sub(began));
        let call_id = side_effect.call_id.clone().unwrap_or_else(|| self.0.ids.call_id());
        let settlement =
            Settlement { call_id, event: side_effect, tokens, cost, outcome: ending.outcome, learned };
        // The settlement is queued before the reply goes out and committed with the next group: the agent does not wait
        // for the disk twice. Where it is lost with this process, the call is settled as unknown.
        drop(self.0.store.settle(settlement));
        ending.reply
    }

    /// A request about a task that a call became: no call of its own, for that one had its permit.
    pub(super) async fn ask_task(
        &self,
        in_force: &Arc<InForce>,
        request: &TaskRequest,
        verb: TaskVerb,
        made: &Made,
        target: &Target,
        params: Map<String, Value>,
    ) -> CallReply {
        let gone = || RpcError::new(code::UPSTREAM_UNAVAILABLE, "the task's upstream is gone");
        let upstream = in_force.upstreams.get(target.upstream()).ok_or_else(gone)?;
        let settings = in_force.config.upstreams.get(target.upstream()).ok_or_else(gone)?;
        let client = request.client.as_ref();
        let (method, retry) = match verb {
            TaskVerb::Get => ("tasks/get", RetryPlan::Safe),
            TaskVerb::Update => ("tasks/update", RetryPlan::Never),
            TaskVerb::Cancel => ("tasks/cancel", RetryPlan::Safe),
        };
        let agent = request.principal.agent().ok_or_else(gone)?.clone();
        let asked = UpstreamRequest {
            method,
            params: Arc::new(params),
            client_capabilities: relayed(client.capabilities(), settings.asks, true),
            wants_progress: false,
            log_level: None,
            trace_id: made.trace,
            timeout: settings.timeout,
            retry,
            param_headers: Vec::new(),
            caller: CallerKey { agent, session: session_named(&request.session, client) },
            era: client.era(),
        };
        upstream.call(asked, Arc::new(Mute)).await.map_err(|error| match error {
            UpstreamError::Rpc(error) => error,
            other => RpcError::new(code_of(&other), other.to_string()),
        })
    }

    /// The call and, where its client is asked here, the questions in between.
    async fn converse(
        &self,
        upstream: &Arc<dyn Upstream>,
        mut call: Call,
        (continuation, unasked): (Continuation, Option<Map<String, Value>>),
        client: &Arc<dyn ClientPort>,
        relay: &Arc<Relay>,
        bound: &[u8],
    ) -> Ending {
        let modern = upstream.era() == Some(Era::Modern);
        let (mut responses, mut state) = (None, None);
        if let Some((continuing, brought)) = continuation.filter(|_| modern) {
            state = continuing.state;
            match relay.bring(brought, &continuing.asked) {
                Ok(brought) => responses = (!brought.is_empty()).then_some(brought),
                Err(error) => return withheld(error),
            }
        }
        if let Some(answers) = unasked.filter(|_| modern) {
            match relay.bring_unasked(answers) {
                Ok(answers) => responses = (!answers.is_empty()).then_some(answers),
                Err(error) => return withheld(error),
            }
        }
        let asks = relay.asks();
        // Only then are the params needed again.
        let may_ask_again = modern && (call.approved || client.era() == Era::Legacy);
        for _ in 0..MAX_ROUNDS {
            let request = call.request(client, asks, responses.take(), state.take(), may_ask_again);
            let answer = upstream.call(request, relay.clone()).await;
            let mut result = match answer {
                Ok(result) => result,
                // The rounds before this one were answered: that nothing was sent is not so.
                Err(UpstreamError::NotSent(reason)) if relay.has_answered() => {
                    return failed(UpstreamError::Lost(reason), call.method);
                }
                Err(error) => return failed(error, call.method),
            };
            relay.answered();
            // Earlier versions have results of one type only: what one says of itself there means nothing.
            if let Some(map) = result.as_object_mut().filter(|_| !modern) {
                map.shift_remove("resultType");
            }
            if result.get("resultType").and_then(Value::as_str) != Some("input_required") {
                return Ending {
                    outcome: match result.get("isError").and_then(Value::as_bool) {
                        Some(true) => Outcome::Failed,
                        Some(false) | None => Outcome::Succeeded,
                    },
                    reply: Ok(result),
                    sent: true,
                    reason: None,
                    ours: None,
                };
            }
            if !may_ask_again {
                return Box::pin(self.pass_question(result, relay, bound)).await;
            }
            state = result.get("requestState").and_then(Value::as_str).map(str::to_owned);
            match Box::pin(relay.answer_all(result)).await {
                Ok(answers) => responses = Some(answers),
                Err(error) => {
                    return Ending {
                        reply: Err(error),
                        outcome: Outcome::Failed,
                        sent: true,
                        reason: Some("the client did not answer the upstream's question".into()),
                        ours: None,
                    };
                }
            }
        }
        failed(UpstreamError::Malformed(format!("it asked more than {MAX_ROUNDS} times")), call.method)
    }
}

/// One call as every round of it needs it.
struct Call {
    method: &'static str,
    params: Arc<Map<String, Value>>,
    retry: RetryPlan,
    timeout: Duration,
    trace_id: TraceId,
    caller: CallerKey,
    headers: Vec<(String, String)>,
    /// A second round is not a second call: where a person approved this one, the rounds stay in it.
    approved: bool,
    /// It may become a task.
    tasks: bool,
}

impl Call {
    fn request(
        &mut self,
        client: &Arc<dyn ClientPort>,
        asks: Asks,
        responses: Option<Map<String, Value>>,
        state: Option<String>,
        keep: bool,
    ) -> UpstreamRequest {
        // Shared: what a round adds makes its own copy.
        let mut params = if keep { self.params.clone() } else { std::mem::take(&mut self.params) };
        if let Some(responses) = responses {
            Arc::make_mut(&mut params).insert("inputResponses".into(), Value::Object(responses));
        }
        if let Some(state) = state {
            Arc::make_mut(&mut params).insert("requestState".into(), Value::String(state));
        }
        UpstreamRequest {
            method: self.method,
            params,
            client_capabilities: relayed(client.capabilities(), asks, self.tasks),
            wants_progress: client.wants_progress(),
            log_level: client.log_level(),
            trace_id: self.trace_id,
            timeout: self.timeout,
            retry: self.retry,
            param_headers: self.headers.clone(),
            caller: self.caller.clone(),
            era: client.era(),
        }
    }
}

/// Begins to watch a resource, for as long as the slot keeps it.
async fn begin_watch(
    upstream: &Arc<dyn Upstream>,
    target: &Target,
    uri: &str,
    timeout: Duration,
    slot: &WatchSlot,
) -> Ending {
    let (own, alias) = match target {
        Target::Item(item, _) => (item.own_uri(uri).into(), item.alias.clone()),
        Target::Tool(_) => (uri.into(), None),
    };
    let watching = tokio::time::timeout(timeout, ResourceWatch::begin(upstream.clone(), own, alias)).await;
    match watching.unwrap_or(Err(UpstreamError::TimedOut(timeout))) {
        Ok(watch) => {
            *slot.0.lock() = Some(watch);
            Ending { reply: Ok(json!({})), outcome: Outcome::Succeeded, sent: true, reason: None, ours: None }
        }
        Err(error) => failed(error, "resources/subscribe"),
    }
}
