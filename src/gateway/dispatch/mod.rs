//! Dispatch: consumes a [`Permit`], makes the call under its constraints, and settles whatever comes of it.

pub(super) mod complete;
pub(super) mod converse;
pub(super) mod params;
mod settle;

use super::{
    InForce,
    admit::{Permit, Permitted},
    answer::{Reserved, change_notice},
    api::{CallReply, ClientPort, Purpose, StateSeal},
    call_log::{CallLog, granted},
    decided::Decided,
    ending::{Ending, given_up},
    looking::{Answered, look_through},
    measures::Measures,
    output::OutputAlerts,
    prepared::Prepared,
    relay::{Relay, Relaying, Sampling},
    request::uri_of,
    spending::{Promised, Spending},
    suspend::{client_handle::ClientHandle, handle::takes_tasks, passing::pass_pages},
    target::Target,
};
use crate::{
    clock::{Clock, IdSource},
    model::{AgentId, CallKind, Decision, UpstreamName, code},
    offload::Offload,
    policy::Constraints,
    redaction::Tokenized,
    store::Store,
    upstream::{CallRelay as _, Era, Upstream},
};
use params::{Call, Outgoing};
use settle::Settling;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Makes admitted calls.
pub(crate) struct Dispatcher {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) seal: Arc<dyn StateSeal>,
    pub(super) large: Arc<Offload>,
    pub(super) measures: Arc<Measures>,
    pub(super) promised: Arc<Promised>,
    pub(super) log: Arc<CallLog>,
    pub(super) output_alerts: OutputAlerts,
}

impl Dispatcher {
    /// Makes the call and settles it, to its end; `gone` says that the caller no longer waits.
    pub(crate) async fn dispatch(
        &self,
        permit: Permit,
        mut outgoing: Box<Outgoing>,
        client_handle: Arc<ClientHandle>,
        gone: CancellationToken,
    ) -> CallReply {
        let Permitted { decided, upstream, in_force, strict, caps } = permit.consume();
        let changed =
            decided.original.is_some().then(|| change_notice(&decided, outgoing.trace_id, &in_force));
        let Decided { prepared, verdict, applied, .. } = *decided;
        let approved = verdict.decision == Decision::RequireApproval;
        let word = granted(&verdict, approved, applied.is_some());
        let constraints = verdict.constraints;
        let started = self.clock.monotonic();
        let timeout = timeout_of(&in_force, upstream.name(), &constraints);
        let Prepared { target, arguments, facts, recorded, outbound, estimate, tokenizer, workflow, .. } =
            prepared;
        let revealed = prepared.revealed;
        let client = client_handle.client();
        let kind = outgoing.kind;
        let tasks = kind == CallKind::Tool && outgoing.is_use() && takes_tasks(client.as_ref());
        let agent = facts.agent.id.clone();
        let model = in_force.policies.authority.agents.get(&agent).and_then(|a| a.model.clone());
        // Only sampling is decided again.
        let facts = (tasks || client.capabilities().get("sampling").is_some()).then_some(facts);
        let limits = (constraints.max_cost, caps);
        let spending = Spending::new(&self.promised, &in_force, facts, model.clone(), &estimate, limits);
        // It may share the arguments, which go on alone.
        drop(recorded);
        let arguments = outbound.unwrap_or_else(|| Arc::unwrap_or_clone(arguments));
        let uri = uri_of(&arguments).unwrap_or_default().to_owned();
        let completing = outgoing.completing(&arguments);
        let call = outgoing.call(&target, arguments, completing.as_ref(), timeout, (approved, tasks));
        let relay = self.relay(
            (agent.clone(), client_handle.clone(), revealed),
            (&in_force, &target, &constraints),
            (completing.is_none(), timeout, sampling_of(strict, &spending)),
        );
        let ending =
            self.talk(&upstream, call, &mut outgoing, (&target, &uri), (&*client, &relay), gone).await;
        let completing = completing.map(|(argument, known)| {
            (argument, known, outgoing.view_of_templates(&in_force, workflow.as_ref()))
        });
        let settling = Settling {
            word,
            model,
            estimate,
            tool_price: prepared.tool_price,
            kept_as: prepared.kept_as,
            redacted: prepared.redacted,
            timeout,
            started,
            was_changed: changed.is_some(),
            tasks,
            strict,
            spending,
            revealed: relay.revealed_names(),
        };
        let answered = Answered {
            is_upstreams: ending.answered(),
            ending,
            in_force: in_force.clone(),
            kind,
            target,
            constraints,
            era: client.era(),
            upstream_is_modern: upstream.era() == Some(Era::Modern),
            is_use: outgoing.is_use(),
            completing,
            reserved: strict.then_some(Reserved { tokenizer, tokens: settling.estimate.result_tokens }),
            changed,
            tokenizer,
            rules: relay.result_rules(),
            breach: None,
        };
        let looked = look_through((&self.measures, &self.large), &agent, answered).await;
        let asked = std::mem::take(&mut *relay.asked().lock());
        self.settle(settling, outgoing, looked, asked)
    }

    /// The call's side of its upstream and its client.
    fn relay(
        &self,
        (agent, client_handle, revealed): (AgentId, Arc<ClientHandle>, Vec<Tokenized>),
        (in_force, target, constraints): (&Arc<InForce>, &Target, &Constraints),
        (may_ask, timeout, sampling): (bool, Duration, Sampling),
    ) -> Arc<Relay> {
        Arc::new(Relay::new(Relaying {
            agent,
            revealed,
            measures: self.measures.clone(),
            client_handle,
            target: target.clone(),
            in_force: in_force.clone(),
            redact: constraints.redact.clone(),
            may_ask,
            timeout,
            sampling,
        }))
    }

    /// How the call ends: what its upstream answers, or that nobody waits for that any more.
    async fn talk(
        &self,
        upstream: &Arc<dyn Upstream>,
        call: Call,
        outgoing: &mut Outgoing,
        (target, uri): (&Target, &str),
        (client, relay): (&dyn ClientPort, &Arc<Relay>),
        gone: CancellationToken,
    ) -> Ending {
        let brought = (outgoing.continuation.take(), outgoing.unasked.take());
        let timeout = call.timeout;
        let conversation = async {
            match &outgoing.purpose {
                Purpose::Watch(slot) => {
                    relay.sent(true);
                    Box::pin(converse::begin_watch(upstream, target, uri, timeout, slot)).await
                }
                Purpose::Use | Purpose::Complete { .. } => {
                    converse::converse(&*self.seal, upstream, call, brought, client, relay, &outgoing.bound)
                        .await
                }
            }
        };
        let mut ending = tokio::select! {
            biased;
            () = gone.cancelled() => given_up(relay.was_sent()),
            ending = conversation => ending,
        };
        if let Err(error) = &ending.reply
            && error.code == code::URL_ELICITATION_REQUIRED
        {
            let can_retry = outgoing.is_use() && upstream.era() != Some(Era::Modern);
            let passed = pass_pages(&*self.seal, error, relay, client.era(), can_retry, &outgoing.bound);
            ending.reply = Box::pin(passed).await;
        }
        ending
    }
}

/// How long the upstream may take: what servers.toml says, or less where a rule says so.
fn timeout_of(in_force: &InForce, upstream: &UpstreamName, constraints: &Constraints) -> Duration {
    let settings = in_force.config.upstreams.get(upstream);
    let limit = settings.map_or(Duration::from_secs(30), |settings| settings.timeout);
    constraints.timeout.map_or(limit, |timeout| timeout.min(limit))
}

/// What pays for sampling.
fn sampling_of(strict: bool, spending: &Arc<Spending>) -> Sampling {
    match strict {
        true => Sampling::Refused("for which a strict budget has nothing reserved"),
        false => Sampling::Paid(spending.clone()),
    }
}
