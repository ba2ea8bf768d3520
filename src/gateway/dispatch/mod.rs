//! Dispatch: consumes a [`Permit`], makes the call under its constraints, and settles whatever comes of it.

pub(super) mod asked;
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
    ending::{Ending, cut, given_up},
    freezes::{self, Freezes},
    later::DecidedOn,
    looking::{Answered, Measured, look_through},
    measures::Measures,
    output::OutputAlerts,
    prepared::Prepared,
    reach::Labels,
    relay::Relay,
    relaying::{Relaying, Sampling},
    request::uri_of,
    skill_files::SkillFiles,
    spending::{Promised, Spending},
    suspend::{client_handle::ClientHandle, handle::takes_tasks, passing::pass_pages},
    target::Target,
};
use crate::{
    clock::{Clock, IdSource},
    model::{CallKind, Decision, UpstreamName, code},
    offload::Offload,
    policy::Constraints,
    store::Store,
    telemetry::Telemetry,
    upstream::{CallRelay as _, Era, Upstream},
};
use asked::{Answer, Asked};
use params::{Call, Outgoing};
use serde_json::json;
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
    pub(super) labels: Arc<Labels>,
    pub(super) log: Arc<CallLog>,
    pub(super) freezes: Arc<Freezes>,
    pub(super) output_alerts: Arc<OutputAlerts>,
    pub(super) skill_files: SkillFiles,
    pub(super) telemetry: Arc<Telemetry>,
    /// Nothing that is in flight is waited for any longer.
    pub(super) cutting: CancellationToken,
}

impl Dispatcher {
    /// Makes the call and settles it, to its end; `gone` says that the caller no longer waits.
    // Long: what a permitted call takes apart is put together again for its end
    pub(crate) async fn dispatch(
        &self,
        permit: Permit,
        mut outgoing: Box<Outgoing>,
        client_handle: Arc<ClientHandle>,
        gone: CancellationToken,
    ) -> CallReply {
        let Permitted { decided, upstream, in_force, reserved, caps } = permit.consume();
        let strict = reserved.is_some();
        let changed =
            decided.original.is_some().then(|| change_notice(&decided, outgoing.trace_id, &in_force));
        let Decided { prepared, verdict, applied, .. } = *decided;
        let frozen = prepared.freeze_subject();
        let approved = verdict.decision == Decision::RequireApproval;
        let word = granted(&verdict, approved, applied.is_some());
        let constraints = verdict.constraints;
        let (started, timeout) =
            (self.clock.monotonic(), timeout_of(&in_force, upstream.name(), &constraints));
        let Prepared { target, arguments, facts, recorded, outbound, estimate, tokenizer, workflow, .. } =
            prepared;
        let (client, kind, revealed) = (client_handle.client(), outgoing.kind, prepared.revealed);
        let tasks = kind == CallKind::Tool && outgoing.is_use() && takes_tasks(client.as_ref());
        let agent = facts.agent.id.clone();
        let model = in_force.policies.authority.agents.get(&agent).and_then(|a| a.model.clone());
        let session_labels = facts.session_labels.clone();
        // Decided again is what depends on what the client may answer.
        let facts = (tasks || may_be_asked(&*client)).then(|| Arc::new(facts));
        let limits = (constraints.max_cost, caps);
        let spending =
            Spending::new(&self.promised, &in_force, facts.clone(), model.clone(), &estimate, limits);
        drop(recorded); // It may share the arguments, which go on alone.
        let arguments = outbound.unwrap_or_else(|| Arc::unwrap_or_clone(arguments));
        let uri = uri_of(&arguments).unwrap_or_default().to_owned();
        let completing = outgoing.completing(&arguments);
        let may = (approved, tasks);
        let mut call = outgoing.call(&target, arguments, completing.as_ref(), timeout, may, &in_force);
        let decided_on = DecidedOn { labels: self.labels.clone(), reach: outgoing.reach.clone(), facts };
        let relay = Arc::new(Relay::new(Relaying {
            may_ask: completing.is_none(),
            sampling: sampling_of(strict, &spending),
            redact: constraints.redact.clone(),
            revealed,
            ..Relaying::of((&agent, &self.measures), &client_handle, &target, &in_force, timeout, decided_on)
        }));
        let operation = outgoing.operation(call.method, &target, &in_force);
        let tracing = outgoing.tracing.clone();
        let asked = Asked::begin(&tracing, operation, target.upstream(), &in_force);
        call.below = asked.below();
        let began = self.clock.monotonic();
        let talk = self.talk(&upstream, call, &mut outgoing, (&target, &uri), (&*client, &relay), gone);
        let ended = tokio::select! {
            biased;
            frozen = self.freezes.until_frozen(&frozen) => Err(frozen),
            ending = talk => Ok(ending),
        };
        let (ending, refused) = match ended {
            Ok(ending) => (ending, None),
            Err(frozen) => {
                let name = target.listed();
                let reply = freezes::refusal(frozen).reply(kind, name, outgoing.trace_id, &in_force.policies);
                (freezes::ended(frozen, relay.was_sent()), Some(reply))
            }
        };
        let talked = self.clock.monotonic().saturating_sub(began);
        let answer = Answer {
            failure: ending.failure(),
            name: tracing.span.as_ref().and_then(|_| outgoing.own_name(&target)),
            is_named: outgoing.kind != CallKind::Resource && outgoing.is_use(),
            sent_as: relay.was_sent_as(),
            took: talked,
            trace: outgoing.trace_id,
        };
        asked.end(&self.telemetry, answer);
        let view = outgoing.view_of_resources(&in_force, workflow.as_ref());
        let settling = Settling {
            word,
            model,
            estimate,
            tool_price: prepared.tool_price,
            kept_as: prepared.kept_as,
            redacted: prepared.redacted,
            timeout,
            started,
            talked,
            was_changed: changed.is_some(),
            tasks,
            reserved,
            spending,
            session_labels,
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
            view,
            file: None,
            sent: uri,
            reserved: reserved.map(|tokens| Reserved { tokenizer, tokens }),
            changed,
            tokenizer,
            rules: relay.result_rules(),
            breach: None,
        };
        let mut looked = look_through((&self.measures, &self.large), &agent, answered).await;
        if self.skill_files.hold(&mut looked.0).await {
            looked.1 = Measured { entry: looked.1.entry, ..looked.0.measure(&self.measures) };
        }
        self.let_through(&outgoing, &relay, &mut looked).await;
        let questions = std::mem::take(&mut *relay.asked().lock());
        let reply = self.settle(settling, outgoing, looked, questions);
        refused.unwrap_or(reply)
    }

    /// Raises the labels of whoever is about to see the answer, so that they stand before it is seen; where they cannot be kept,
    /// the answer is withheld.
    async fn let_through(
        &self,
        outgoing: &Outgoing,
        relay: &Relay,
        (answered, measured): &mut (Answered, Measured),
    ) {
        // What came on the way goes first.
        relay.told().await;
        // What is not the upstream's brings nothing of it, and neither does the news that something is watched.
        if !answered.ending.sent || matches!(outgoing.purpose, Purpose::Watch(_)) {
            return;
        }
        let (policies, reached) = (&answered.in_force.policies, &measured.entry.reached);
        let Err(error) = self.labels.let_through(policies, &outgoing.reach, reached).await else { return };
        measured.digest = None;
        let ending = &mut answered.ending;
        ending.reason = Some(error.message.clone());
        ending.reply = match answered.kind {
            CallKind::Tool if outgoing.is_use() => {
                Ok(json!({"content": [{"type": "text", "text": error.message}], "isError": true}))
            }
            CallKind::Tool | CallKind::Resource | CallKind::Prompt => Err(error),
        };
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
        let (timeout, method) = (call.timeout, call.method);
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
            () = self.cutting.cancelled() => cut(relay.was_sent(), method),
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

/// Whether its client can answer what an upstream asks.
fn may_be_asked(client: &dyn ClientPort) -> bool {
    ["sampling", "elicitation"].iter().any(|name| client.capabilities().get(name).is_some())
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
