//! The conversation of one call with its upstream: its rounds, and the questions in between. Nothing else calls an upstream.

use super::{
    asked::{Answer, Asked, transport_of},
    params::{Call, Continuation, relayed, session_named},
};
use crate::gateway::{
    InForce,
    api::{CallReply, ClientPort, StateSeal, TaskRequest, TaskVerb, WatchSlot},
    ending::{Ending, failed, told, withheld},
    notices::Mute,
    relay::Relay,
    resource_watch::ResourceWatch,
    suspend::{handle::Made, passing::pass_question},
    target::Target,
};
use crate::{
    clock::Clock,
    config::Asks,
    identity::user_of,
    model::{Outcome, RetryPlan, RpcError, code},
    redaction::Outbound,
    telemetry::{Operation, Telemetry},
    upstream::{CallerKey, Era, Upstream, UpstreamError, UpstreamRequest},
};
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How many times an upstream may ask before it answers.
const MAX_ROUNDS: usize = 8;

/// The call and, where its client is asked here, the questions in between.
pub(super) async fn converse(
    seal: &dyn StateSeal,
    upstream: &Arc<dyn Upstream>,
    mut call: Call,
    (continuation, unasked): (Continuation, Option<Map<String, Value>>),
    client: &dyn ClientPort,
    relay: &Arc<Relay>,
    bound: &[u8],
) -> Ending {
    let modern = upstream.era() == Some(Era::Modern);
    let (mut responses, mut state) = (None, None);
    if let Some((continuing, brought)) = continuation.filter(|_| modern) {
        state = continuing.state;
        match Box::pin(relay.bring(brought, &continuing.asked)).await {
            Ok(brought) => responses = (!brought.is_empty()).then_some(brought),
            Err(error) => return withheld(error),
        }
    }
    if let Some(answers) = unasked.filter(|_| modern) {
        match Box::pin(relay.bring_unasked(answers)).await {
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
            Err(UpstreamError::Refused(refusal)) if refusal.lacks_scope => {
                call.account.lacks_scopes.store(true, Ordering::Relaxed);
                let ending = failed(UpstreamError::Refused(refusal), call.method);
                return ending.beside(call.of_more_scopes);
            }
            Err(error) => {
                call.account.not_sent.store(matches!(error, UpstreamError::NotSent(_)), Ordering::Relaxed);
                return failed(error, call.method);
            }
        };
        relay.answered();
        // Earlier versions have results of one type only: what one says of itself there means nothing.
        if let Some(map) = result.as_object_mut().filter(|_| !modern) {
            map.shift_remove("resultType");
        }
        if result.get("resultType").and_then(Value::as_str) != Some("input_required") {
            return told(result);
        }
        if !may_ask_again {
            return Box::pin(pass_question(seal, result, relay, bound)).await;
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
                    lack: None,
                };
            }
        }
    }
    failed(UpstreamError::Malformed(format!("it asked more than {MAX_ROUNDS} times")), call.method)
}

impl Call {
    fn request(
        &mut self,
        client: &dyn ClientPort,
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
            below: self.below,
            timeout: self.timeout,
            retry: self.retry,
            param_headers: self.headers.clone(),
            caller: self.caller.clone(),
            era: client.era(),
        }
    }
}

/// Begins to watch a resource, for as long as the slot keeps it.
pub(super) async fn begin_watch(
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
            Ending {
                reply: Ok(json!({})),
                outcome: Outcome::Succeeded,
                sent: true,
                reason: None,
                ours: None,
                lack: None,
            }
        }
        Err(error) => failed(error, "resources/subscribe"),
    }
}

/// What goes with the trace of a request about a task, as data.yaml lets it go; all of it stays here where some may not.
fn context_of(in_force: &InForce, request: &TaskRequest, target: &Target) -> Option<Value> {
    if request.context.is_empty() {
        return None;
    }
    let context = Value::Object(request.context.clone());
    let looked = in_force.policies.data.inspect_arguments(&context, &target.place());
    match (looked.outbound, looked.minted.is_empty()) {
        (Outbound::Unchanged, _) => Some(context),
        (Outbound::Changed(changed), true) => Some(changed),
        (Outbound::Changed(_), false) | (Outbound::Blocked(_), _) => None,
    }
}

/// A request about a task that a call became: no call of its own, for that one had its permit.
pub(crate) async fn ask_task(
    (telemetry, clock): (&Telemetry, &dyn Clock),
    in_force: &Arc<InForce>,
    request: &TaskRequest,
    verb: TaskVerb,
    made: &Made,
    target: &Target,
    mut params: Map<String, Value>,
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
    let user = user_of(&request.principal, &in_force.policies.authority).cloned();
    // Where the client says nothing of a trace, it is that of the call.
    let trace = request.parent.map_or(made.trace, |parent| parent.trace);
    let operation = Operation::of(method, transport_of(in_force, target.upstream()));
    let asked = Asked::begin(&request.tracing, operation, target.upstream(), in_force);
    if let Some(context) = context_of(in_force, request, target) {
        params.insert("_meta".to_owned(), context);
    }
    let told = UpstreamRequest {
        method,
        params: Arc::new(params),
        client_capabilities: relayed(client.capabilities(), settings.asks, true),
        wants_progress: false,
        log_level: None,
        trace_id: trace,
        below: asked.below(),
        timeout: settings.timeout,
        retry,
        param_headers: Vec::new(),
        caller: CallerKey { agent, user, session: session_named(&request.session, client) },
        era: client.era(),
    };
    let (mute, began) = (Arc::new(Mute::default()), clock.monotonic());
    let reply = upstream.call(told, mute.clone()).await.map_err(|error| match error {
        UpstreamError::Rpc(error) => error,
        other => RpcError::new(other.code(), other.to_string()),
    });
    let answer = Answer {
        failure: reply.as_ref().err().map(|error| Some(error.code)),
        name: None,
        is_named: false,
        sent_as: mute.0.get(),
        took: clock.monotonic().saturating_sub(began),
        trace,
    };
    asked.end(telemetry, answer);
    reply
}
