//! The settlement of a dispatched call: what it cost, what is recorded of it, and the reply.

use super::{Dispatcher, params::Outgoing};
use crate::gateway::{
    InForce,
    answer::reported_cost,
    api::CallReply,
    call_log::Told,
    ending::Ending,
    looking::{Answered, Measured},
    output::Breach,
    server_requests::{ServerRequests, price_sampled, questions_detail},
    spending::Spending,
    suspend::handle::{Made, hand_out, is_task},
    target::Target,
};
use crate::{
    cost::{Estimate, LEAST_RESULT_TOKENS, SizeCell},
    evidence::{Settled, limits, output_alert, settled_detail, token_detail},
    model::{EventDecision, EventDraft, MicroUsd, Outcome, RpcError, UpstreamName, code},
    store::Settlement,
    telemetry::Label,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// A result that was cut teaches at most so many times what was reserved for it: one of any size makes no call dearer than
/// that.
const MOST_TAUGHT: u64 = 8;

/// What is known before the call is made, and counts when it ends.
pub(super) struct Settling {
    /// The decision in one word, for the log.
    pub(super) word: EventDecision,
    pub(super) model: Option<Arc<str>>,
    pub(super) estimate: Estimate,
    pub(super) tool_price: MicroUsd,
    /// The name under which its result's size is learned.
    pub(super) kept_as: Arc<str>,
    /// Its arguments are not recorded as they were.
    pub(super) redacted: bool,
    pub(super) timeout: Duration,
    /// When it was dispatched, on the clock that never goes back.
    pub(super) started: Duration,
    /// How long the upstream took, with what its caller was asked on the way.
    pub(super) talked: Duration,
    pub(super) was_changed: bool,
    /// Its client takes tasks.
    pub(super) tasks: bool,
    /// What was reserved for the result, in tokens, where a strict budget counts the call.
    pub(super) reserved: Option<u64>,
    pub(super) spending: Arc<Spending>,
    /// What had reached the session when it was decided.
    pub(super) session_labels: Vec<Arc<str>>,
    /// The placeholders whose values the upstream got.
    pub(super) revealed: Vec<Arc<str>>,
}

impl Dispatcher {
    /// Settles the call, and gives the reply.
    pub(super) fn settle(
        &self,
        settling: Settling,
        mut outgoing: Box<Outgoing>,
        (mut answered, mut measured): (Answered, Measured),
        asked: ServerRequests,
    ) -> CallReply {
        let became_task = answered.ending.reply.as_ref().is_ok_and(is_task);
        if became_task {
            self.hand_out(&settling, &outgoing, &mut answered);
            measured = match answered.ending.reply.is_ok() {
                // What it will be is not known: it costs what was estimated.
                true => Measured { tokens: settling.charged_of_task(), ..measured },
                false => {
                    Measured { cut: measured.cut, entry: measured.entry, ..answered.measure(&self.measures) }
                }
            };
        }
        let Answered { ending, constraints, target, in_force, breach, .. } = answered;
        let Measured { cut, size, tokens: result_tokens, whole, digest: result_digest, entry } = measured;
        let ServerRequests { questions, sampled } = asked;
        let sampled_price =
            price_sampled(&self.measures.tokens, &in_force, settling.model.as_deref(), &sampled);
        let own = settling.price(&in_force, target.upstream(), &ending, result_tokens);
        // What is unknown costs as reserved. Where a model worked for it, that is known and comes on top.
        let keeps_reservation = ending.outcome == Outcome::Unknown;
        let known = (Some(own.0.saturating_add(sampled_price.0)), Some(own.1.plus(sampled_price.1)));
        let (tokens, cost) = match keeps_reservation && sampled.is_empty() {
            true => (None, None),
            false => known,
        };
        // What a strict budget set aside beyond the estimate was for a longer result: there is none to come.
        let charged = if settling.reserved.is_some() { known } else { (tokens, cost) };
        let learns =
            outgoing.is_use() && !became_task && ending.outcome == Outcome::Succeeded && ending.reply.is_ok();
        let learned = learns.then(|| self.learn(&settling, &outgoing, (result_tokens, whole)));
        let took = self.clock.monotonic().saturating_sub(settling.started);
        // Of a result that was cut at its reservation, what stands on record is not what it took.
        let expected = (learns && whole.is_none()).then_some(settling.estimate.result_tokens);
        let mut told = questions_detail(&questions, sampled_price.0);
        if became_task {
            told.push_str(r#","task":"made""#);
        }
        told.push_str(&settling.told(&outgoing, expected, breach.as_ref()));
        let settled = Settled {
            outcome: ending.outcome,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            cost,
            reason: ending.recorded_reason(&in_force.policies, settling.redacted),
            result_digest,
            limits: limits(&constraints, settling.timeout, settling.was_changed),
            detail: settled_detail(size, result_tokens, cut, &told),
        };
        let side_effect = &mut outgoing.side_effect;
        settled.complete(side_effect, self.clock.now());
        if ending.sent && !entry.labels.is_empty() {
            side_effect.sensitivity_level = side_effect.sensitivity_level.max(entry.level);
            side_effect.labels = Some(entry.labels);
        }
        self.note(&settling, &outgoing);
        let side_effect = &outgoing.side_effect;
        self.count_spending(side_effect, tokens, cost);
        if let Some(breach) = &breach {
            self.alert_of(breach, side_effect, &target);
        }
        let Outgoing { side_effect, .. } = *outgoing;
        let call_id = side_effect.call_id.clone().unwrap_or_else(|| self.ids.call_id());
        let outcome = ending.outcome;
        let settlement =
            Settlement { call_id, event: side_effect, tokens: charged.0, cost: charged.1, outcome, learned };
        // The settlement is queued before the reply goes out and committed with the next group: the agent does not wait
        // for the disk twice. Where it is lost with this process, the call is settled as unknown.
        drop(self.store.settle(settlement));
        ending.reply
    }

    /// Learns from what a result took, in tokens (`whole`: before it was cut). At once, for the agent's next call may come before the
    /// store has taken it in; then the store's value stands there.
    fn learn(
        &self,
        settling: &Settling,
        outgoing: &Outgoing,
        (tokens, whole): (u64, Option<u64>),
    ) -> (SizeCell, u64) {
        let agent = outgoing.side_effect.agent_id.as_deref().unwrap_or_default();
        let cell = SizeCell::new(&settling.kept_as, settling.estimate.argument_tokens, agent);
        // What a reservation cut off is learned too, else it would be cut off for ever.
        let bound = settling.reserved.unwrap_or(u64::MAX).saturating_mul(MOST_TAUGHT);
        let took = whole.map_or(tokens, |whole| whole.min(bound));
        let trace = Some(outgoing.trace_id);
        self.telemetry.metrics.estimated(settling.estimate.result_tokens, took, trace);
        self.measures.learned.observe(&cell, took);
        (cell, took)
    }

    /// Tells the log, the call's span and the metrics of it.
    fn note(&self, settling: &Settling, outgoing: &Outgoing) {
        let side_effect = &outgoing.side_effect;
        let took = self.clock.monotonic().saturating_sub(outgoing.began);
        let own = took.saturating_sub(settling.talked).saturating_sub(outgoing.waited);
        let span = outgoing.tracing.span.as_deref();
        if let Some(span) = span {
            span.decided(Some(settling.word), side_effect);
        }
        let span = span.map(|span| span.id());
        let told = Told { kind: outgoing.word, decision: Some(settling.word), took, own, span };
        self.log.note(side_effect, &told);
    }

    /// Adds what a call cost to what its agent has cost.
    fn count_spending(&self, event: &EventDraft, tokens: Option<u64>, cost: Option<MicroUsd>) {
        // Only whom authority.yaml names can make calls.
        let Some(agent) = event.agent_id.as_ref().map(|agent| agent.shared()) else { return };
        let metrics = &self.telemetry.metrics;
        if let Some(tokens) = tokens {
            metrics.tokens.add([Label::from(agent.clone())], tokens);
        }
        if let Some(cost) = cost.and_then(|cost| u64::try_from(cost.0).ok()) {
            metrics.cost.add([Label::from(agent)], cost);
        }
    }

    /// Writes an alert about a result that is not what its tool declares, where the setting says so.
    fn alert_of(&self, breach: &Breach, side_effect: &EventDraft, target: &Target) {
        let due = breach.alerts().then(|| self.output_alerts.due(target, self.clock.monotonic())).flatten();
        if let Some(since) = due {
            let event = output_alert(side_effect, breach.sentence(), since, self.clock.now());
            let store = self.store.clone();
            tokio::spawn(async move {
                if let Err(error) = store.record(vec![event]).await {
                    tracing::error!(%error, "an alert about a result could not be recorded");
                }
            });
        }
    }

    /// Puts our handle in the place of an upstream's task id, or ends the call where nobody could ask for the task.
    fn hand_out(&self, settling: &Settling, outgoing: &Outgoing, answered: &mut Answered) {
        let Answered { ending, constraints, target, .. } = answered;
        let made = Made {
            upstream: target.upstream().clone(),
            own: String::new(),
            tool: target.listed().to_string(),
            trace: outgoing.trace_id,
            call: outgoing.side_effect.call_id.clone().unwrap_or_else(|| self.ids.call_id()),
            revealed: settling.revealed.clone(),
            redact: constraints.redact.iter().map(|pointer| pointer.as_str().to_owned()).collect(),
            max_result_bytes: constraints.max_result_bytes,
            max_result_tokens: constraints.max_result_tokens,
            reserved_tokens: settling.reserved.map(|_| settling.charged_of_task()),
            no_sampling: settling.reserved.is_some() || settling.spending.is_bound(),
            workflow: outgoing.reach.workflow().cloned(),
            session_labels: settling.session_labels.clone(),
        };
        let task = ending.reply.as_mut().ok().filter(|_| settling.tasks);
        if task.and_then(|task| hand_out(&*self.seal, &outgoing.principal, made, task)).is_none() {
            let text = "the upstream made a task of the call that nobody could ask for";
            *ending = Ending {
                reply: Err(RpcError::new(code::INTERNAL_ERROR, text)),
                outcome: Outcome::Unknown,
                sent: true,
                reason: Some(text.into()),
                ours: None,
                lack: None,
            };
        }
    }
}

impl Settling {
    /// Further members of the record of a call's end, as JSON with a comma in front of each. `expected`: how many tokens its result was
    /// estimated at, where that can be compared.
    fn told(&self, outgoing: &Outgoing, expected: Option<u64>, breach: Option<&Breach>) -> String {
        let mut told = token_detail(self.estimate.argument_tokens, expected);
        told.push_str(&outgoing.budgets);
        if let Some(of) = &outgoing.replay_of {
            told.push_str(&format!(r#","replay_of":{}"#, json!(of)));
        }
        if !self.revealed.is_empty() {
            told.push_str(&format!(r#","revealed":{}"#, json!(self.revealed)));
        }
        if let Some(breach) = breach {
            told.push_str(&format!(r#","output_schema":{}"#, breach.detail()));
        }
        told
    }

    /// What the result of a task is charged before it is there, in tokens; under a strict budget it is cut at that.
    fn charged_of_task(&self) -> u64 {
        let estimate = self.estimate.result_tokens;
        self.reserved.map_or(estimate, |reserved| reserved.min(estimate.max(LEAST_RESULT_TOKENS)))
    }

    /// Tokens and price of the call itself.
    fn price(
        &self,
        in_force: &InForce,
        upstream: &UpstreamName,
        ending: &Ending,
        result_tokens: u64,
    ) -> (u64, MicroUsd) {
        let estimate = &self.estimate;
        match (ending.outcome, ending.sent) {
            (Outcome::Unknown, _) => {
                match self.reserved.filter(|reserved| *reserved < estimate.result_tokens) {
                    None => (estimate.tokens(), estimate.cost),
                    Some(reserved) => {
                        let (model, arguments) = (self.model.as_deref(), estimate.argument_tokens);
                        let cost =
                            in_force.policies.prices.settle(model, arguments, reserved, self.tool_price);
                        (arguments.saturating_add(reserved), cost.min(estimate.cost))
                    }
                }
            }
            (Outcome::Failed, false) => (0, MicroUsd::ZERO),
            (Outcome::Succeeded | Outcome::Failed, _) => {
                let trusted = in_force.config.upstreams.get(upstream).is_some_and(|is| is.trust_cost);
                let reported = ending.reply.as_ref().ok().filter(|_| trusted).and_then(reported_cost);
                let cost = reported.unwrap_or_else(|| {
                    let model = self.model.as_deref();
                    in_force.policies.prices.settle(
                        model,
                        estimate.argument_tokens,
                        result_tokens,
                        self.tool_price,
                    )
                });
                (estimate.argument_tokens.saturating_add(result_tokens), cost)
            }
        }
    }
}
