//! Calls whose result comes later: the extension `io.modelcontextprotocol/tasks`.
//!
//! A call that its upstream turned into a task has been decided, admitted and recorded like any other. What the agent gets
//! in place of the upstream's task id is a sealed handle that names the call: nothing is kept here, every process on one
//! store can open it, and it is worth nothing to anybody else. What comes through it later is held to the rules that are in
//! force then: the tool must still be in scope, results and questions are limited as they are during a call.

use crate::gateway::{
    InForce,
    answer::Reserved,
    api::{CallReply, StateSeal, TaskRequest, TaskVerb},
    current::Current,
    dispatch::converse::ask_task,
    edits,
    freezes::{self, Freezes, subject_of},
    labelled::AllPassed,
    later::{DecidedOn, may_answer_recorded, withheld},
    measures::Measures,
    output::{self, Breach, OutputAlerts},
    personal::Personal,
    placeholders::caller_of,
    reach::{Labels, Reach, unkept},
    relay::Relay,
    relaying::{Relaying, Sampling},
    request::own_session,
    result_rules::ResultRules,
    server_requests::price_sampled,
    shape,
    suspend::{
        client_handle::ClientHandle,
        handle::{Handle, Made, not_found, open_handle, takes_tasks, tasks_not_declared},
        held::{Held, HeldCalls},
    },
    target::Target,
};
use crate::{
    admission::FreezeSubject,
    catalog::naming::strip_reserved,
    clock::Clock,
    cost::SizeCell,
    evidence::{TaskEnd, output_alert, task_ended},
    identity::user_of,
    model::{AgentId, CallKind, Outcome, RpcError, code, pointer::Pointer, text},
    policy::Constraints,
    redaction::Entry,
    redaction::Tokenized,
    store::Store,
    telemetry::{Attribute, Telemetry},
    upstream::Era,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Said where values cannot be looked up or kept for placeholders.
const VAULT_AWAY: &str = "the vault of `tokenize` does not answer: ask for the task again later";

/// Answers requests about calls that became tasks.
pub(crate) struct Tasks {
    pub(in crate::gateway) current: Arc<Current>,
    pub(in crate::gateway) measures: Arc<Measures>,
    pub(in crate::gateway) held: Arc<HeldCalls>,
    pub(in crate::gateway) store: Arc<dyn Store>,
    pub(in crate::gateway) clock: Arc<dyn Clock>,
    pub(in crate::gateway) personal: Arc<Personal>,
    pub(in crate::gateway) seal: Arc<dyn StateSeal>,
    pub(in crate::gateway) freezes: Arc<Freezes>,
    pub(in crate::gateway) labels: Arc<Labels>,
    pub(in crate::gateway) output_alerts: Arc<OutputAlerts>,
    pub(in crate::gateway) telemetry: Arc<Telemetry>,
}

impl Tasks {
    /// `tasks/get`, `tasks/update`, `tasks/cancel`.
    pub(in crate::gateway) async fn task(&self, request: TaskRequest) -> CallReply {
        if !takes_tasks(request.client.as_ref()) {
            return Err(tasks_not_declared());
        }
        let in_force = self.personal.of(self.current.in_force(), &request.principal);
        if !self.current.still_valid(&request.principal) {
            return Err(not_found());
        }
        match open_handle(&*self.seal, &request.principal, &request.task_id).ok_or_else(not_found)? {
            Handle::Made(made) => {
                let id = request.task_id.clone();
                self.made_task(&in_force, request, *made, &id).await
            }
            Handle::Held(id) => {
                let held = self.held.get(&id).ok_or_else(not_found)?;
                self.held_task(&in_force, request, &held).await
            }
        }
    }

    /// A call that was held here and became its upstream's task after all.
    pub(in crate::gateway) async fn inner_task(
        &self,
        in_force: &Arc<InForce>,
        request: TaskRequest,
        inner: &str,
    ) -> CallReply {
        let shown = request.task_id.clone();
        match open_handle(&*self.seal, &request.principal, inner).ok_or_else(not_found)? {
            Handle::Made(made) => self.made_task(in_force, request, *made, &shown).await,
            Handle::Held(_) => Err(not_found()),
        }
    }

    async fn made_task(
        &self,
        in_force: &Arc<InForce>,
        request: TaskRequest,
        made: Made,
        shown: &str,
    ) -> CallReply {
        if let Some(span) = &request.tracing.span {
            // Of the call that it is about, where its client says nothing else.
            if request.parent.is_none() {
                span.joins(made.trace);
            }
            span.say("tollgate.call.id", Attribute::from(made.call.shared()));
        }
        let (target, subject) = target_of(in_force, &request, &made)?;
        // What stops the work may still go out.
        if let Some(frozen) = self.freezes.frozen(&subject).filter(|_| request.verb != TaskVerb::Cancel) {
            let refusal = freezes::refusal(frozen);
            return refusal.reply(CallKind::Resource, target.listed(), made.trace, &in_force.policies);
        }
        let redact: Vec<Pointer> = made.redact.iter().filter_map(|text| Pointer::parse(text).ok()).collect();
        let (client_handle, _asked) = ClientHandle::new(request.client.clone());
        let settings = in_force.config.upstreams.get(&made.upstream).ok_or_else(not_found)?;
        let agent = request.principal.agent().ok_or_else(not_found)?.clone();
        let session = own_session(&request.session, &request.principal, request.client.era());
        let reach = Reach::outside(in_force, agent.clone(), session, made.workflow.clone(), made.trace);
        // What it was decided on is not known here: `bring_answers` goes by its record.
        let decided_on = DecidedOn { labels: self.labels.clone(), reach: reach.clone(), facts: None };
        let relay = Relay::new(Relaying {
            revealed: self.revealed_in(in_force, &agent, &made).await?,
            redact: redact.clone(),
            sampling: match made.no_sampling {
                true => Sampling::Refused("for which a limit on its call's cost has nothing left"),
                false => Sampling::Free,
            },
            ..Relaying::of(
                (&agent, &self.measures),
                &client_handle,
                &target,
                in_force,
                settings.timeout,
                decided_on,
            )
        });
        let mut rules = relay.result_rules();
        let mut params = Map::new();
        params.insert("taskId".to_owned(), Value::String(made.own.clone()));
        let ended_here =
            self.bring_answers(in_force, &request, &made, (&relay, &reach, &target), &mut params).await?;
        let brought = params.contains_key("inputResponses");
        // An update without an answer to a question is sent to nobody, and recorded all the same.
        let unasked = ended_here.as_ref().is_some_and(Result::is_ok);
        let outcome = match ended_here {
            Some(outcome) => outcome,
            None => {
                let by = (&*self.telemetry, &*self.clock);
                ask_task(by, in_force, &request, request.verb, &made, &target, params).await
            }
        };
        let constraints = limits_of(&made, redact);
        let reserved = reserved_for(in_force, &request, &made);
        let shown = (request.verb, shown);
        let (reply, entry, breach) = self
            .limited((in_force, &mut rules), &relay, &target, (&constraints, reserved), outcome, shown)
            .await;
        let reply = self.keep_minted(in_force, &mut rules, reply).await;
        // They stand before anybody sees what brings them.
        let reply = self.labels.let_through(&in_force.policies, &reach, &entry.reached).await.and(reply);
        let ended = reply.as_ref().ok().and_then(|task| task.get("status")).and_then(Value::as_str);
        let ended = ended.filter(|status| ["completed", "failed", "cancelled"].contains(status));
        if brought || request.verb != TaskVerb::Get || ended.is_some() || reply.is_err() {
            let word = word_of(request.verb, ended, unasked);
            self.record_task(in_force, &request, &made, &target, &relay, &reply, (word, breach)).await;
        }
        reply
    }

    /// What is shown of an upstream's answer about a task, what came in with it, and in what its result is not what was declared.
    async fn limited(
        &self,
        (in_force, rules): (&Arc<InForce>, &mut ResultRules),
        relay: &Relay,
        target: &Target,
        (constraints, reserved): (&Constraints, Option<Reserved>),
        outcome: CallReply,
        (verb, shown): (TaskVerb, &str),
    ) -> (CallReply, Entry, Option<Breach>) {
        match outcome {
            Ok(mut result) => {
                strip_reserved(&mut result);
                match verb {
                    TaskVerb::Get => {
                        let limits = (constraints, reserved);
                        let passed =
                            self.shown_task((in_force, rules), relay, target, limits, &mut result).await;
                        match passed {
                            Ok((entry, breach)) => (Ok(with_id(result, shown)), entry, breach),
                            Err(error) => (Err(error), Entry::default(), None),
                        }
                    }
                    TaskVerb::Update | TaskVerb::Cancel => (Ok(json!({})), Entry::default(), None),
                }
            }
            Err(mut error) => {
                edits::strip_reserved_error(&mut error);
                let entry = self.measures.limit_error(rules, &mut error, constraints, target, reserved).entry;
                (Err(without_pages(error)), entry, None)
            }
        }
    }

    /// Puts the answers to questions that stand into what is sent: whatever else is brought, the upstream did not ask for.
    /// A reply where nothing is to be sent: no such question stands, or the upstream does not tell what it asks.
    async fn bring_answers(
        &self,
        in_force: &Arc<InForce>,
        request: &TaskRequest,
        made: &Made,
        (relay, reach, target): (&Relay, &Reach, &Target),
        params: &mut Map<String, Value>,
    ) -> Result<Option<CallReply>, RpcError> {
        let (TaskVerb::Update, Some(responses)) = (request.verb, request.input_responses.clone()) else {
            return Ok(None);
        };
        let by = (&*self.telemetry, &*self.clock);
        let asked = ask_task(by, in_force, request, TaskVerb::Get, made, target, params.clone());
        let mut now = match asked.await {
            Ok(now) => now,
            Err(error) => return Ok(Some(Err(error))),
        };
        let asks = now.get("status").and_then(Value::as_str) == Some("input_required");
        let asked = if asks { relay.label_all(&mut now).await? } else { AllPassed::new() };
        let responses = relay.bring(responses, &asked).await?;
        if !responses.is_empty() {
            self.may_answer(in_force, reach, made).await?;
        }
        if responses.is_empty() {
            return Ok(Some(Ok(json!({}))));
        }
        params.insert("inputResponses".to_owned(), Value::Object(responses));
        Ok(None)
    }

    /// Whether answers may still go to a task's upstream, where more has reached its session since it was made: its record says
    /// what it was decided on.
    async fn may_answer(&self, in_force: &InForce, reach: &Reach, made: &Made) -> Result<(), RpcError> {
        if !in_force.policies.read_session_labels() {
            return Ok(());
        }
        let standing = self.labels.standing_now(reach).await.map_err(|error| unkept(&error))?;
        if standing.labels.iter().all(|label| made.session_labels.contains(label)) {
            return Ok(());
        }
        let may = may_answer_recorded(&*self.store, in_force, &made.call, &standing.labels).await;
        match may.map_err(|error| unkept(&error))? {
            true => Ok(()),
            false => Err(withheld()),
        }
    }

    /// The values that the upstream got for placeholders, as long as the vault has them: they come back as those.
    async fn revealed_in(
        &self,
        in_force: &InForce,
        agent: &AgentId,
        made: &Made,
    ) -> Result<Vec<Tokenized>, RpcError> {
        let caller = caller_of(&in_force.policies, agent);
        let known = self.measures.placeholders.look_up(&in_force.config, made.revealed.clone(), &caller);
        known.await.map_err(|_| RpcError::new(code::INTERNAL_ERROR, VAULT_AWAY))
    }

    /// The reply, once the values are kept for which the agent is about to get placeholders.
    async fn keep_minted(&self, in_force: &InForce, rules: &mut ResultRules, reply: CallReply) -> CallReply {
        let minted = std::mem::take(&mut rules.minted);
        match self.measures.placeholders.keep(&in_force.config, minted).await {
            Ok(()) => reply,
            Err(_) => Err(RpcError::new(code::INTERNAL_ERROR, VAULT_AWAY)),
        }
    }

    /// Holds a task's state to the rules for results and questions, and says what it is labelled with.
    async fn shown_task(
        &self,
        (in_force, rules): (&Arc<InForce>, &mut ResultRules),
        relay: &Relay,
        target: &Target,
        (constraints, reserved): (&Constraints, Option<Reserved>),
        task: &mut Value,
    ) -> Result<(Entry, Option<Breach>), RpcError> {
        let malformed = || RpcError::new(code::INTERNAL_ERROR, "the upstream's answer is not a task");
        let status = task.get("status").and_then(Value::as_str).ok_or_else(malformed)?.to_owned();
        let asks = status == "input_required";
        if asks {
            relay.label_all(task).await?;
        }
        let map = task.as_object_mut().ok_or_else(malformed)?;
        let result = map.shift_remove("result");
        // Only a task that asks has questions, and those were looked at.
        let questions = map.shift_remove("inputRequests").filter(|_| asks);
        // The error and what is left, the message, are text of the upstream's.
        map.shift_remove("resultType");
        let error = map.shift_remove("error").map(|error| {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(code::INTERNAL_ERROR);
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            let mut told = RpcError::new(code, message);
            told.data = error.get("data").cloned();
            edits::strip_reserved_error(&mut told);
            let limited = self.measures.limit_error(rules, &mut told, constraints, target, reserved);
            (json!(without_pages(told)), limited.entry)
        });
        let unlimited = Constraints::default();
        let place = (target, None, Era::Modern);
        let mut entry = self.measures.limit_result(rules, task, &unlimited, place, None).entry;
        let mut breach = None;
        let map = task.as_object_mut().ok_or_else(malformed)?;
        map.insert("status".to_owned(), Value::String(status));
        if let Some(mut result) = result {
            shape::list_content(CallKind::Tool, &mut result);
            in_force.catalog.cap_pages(target.upstream(), &mut result);
            in_force.catalog.alias_links(target.upstream(), &mut result);
            breach = output::breach_here(in_force, target, &result);
            if let Some(breach) = &breach {
                breach.refuse(&mut result);
            }
            let place = (target, target.declared(), Era::Modern);
            let limited = self.measures.limit_result(rules, &mut result, constraints, place, reserved);
            entry.join(limited.entry);
            map.insert("result".to_owned(), result);
        }
        if let Some((error, came)) = error {
            entry.join(came);
            map.insert("error".to_owned(), error);
        }
        map.extend(questions.map(|questions| ("inputRequests".to_owned(), questions)));
        Ok((entry, breach))
    }

    #[expect(clippy::too_many_arguments, reason = "each is one thing that the record tells")]
    async fn record_task(
        &self,
        in_force: &Arc<InForce>,
        request: &TaskRequest,
        made: &Made,
        target: &Target,
        relay: &Relay,
        reply: &CallReply,
        (word, breach): (&str, Option<Breach>),
    ) {
        let agent = request.principal.agent().cloned();
        let known = agent.as_ref().and_then(|agent| in_force.policies.authority.agents.get(agent));
        let model = known.and_then(|agent| agent.model.clone());
        let outcome = match reply {
            // The error that stands there is ours.
            Ok(_) if breach.as_ref().is_some_and(Breach::refuses) => Outcome::Succeeded,
            Ok(task) => match task.pointer("/result/isError").and_then(Value::as_bool) {
                Some(true) => Outcome::Failed,
                Some(false) | None if word == "failed" => Outcome::Failed,
                Some(false) | None => Outcome::Succeeded,
            },
            Err(_) => Outcome::Failed,
        };
        let asked = std::mem::take(&mut *relay.asked().lock());
        let (sampled, _) = price_sampled(&self.measures.tokens, in_force, model.as_deref(), &asked.sampled);
        let text = reply.as_ref().ok().and_then(|task| task.get("result")).map(text::of).unwrap_or_default();
        let tokens =
            self.measures.tokens.count_for(in_force.policies.prices.tokenizer(model.as_deref()), &text);
        if word == "completed" {
            let kept_as = target.kept_as(&in_force.policies.data);
            // Its arguments are not known any more.
            let cell = SizeCell::new(&kept_as, 0, agent.as_deref().unwrap_or_default());
            self.measures.learned.observe(&cell, tokens);
        }
        let mut detail = json!({
            "task": word,
            "of_call": made.call,
            "result_bytes": text.len(),
            "result_tokens": tokens,
            "sampled_tokens": sampled,
        });
        if let (Some(breach), Some(members)) = (&breach, detail.as_object_mut()) {
            members.insert("output_schema".to_owned(), breach.detail());
        }
        let ended = TaskEnd {
            trace_id: made.trace,
            agent,
            snapshot: &in_force.policies.snapshot,
            tool: target.shown(&in_force.policies.data),
            action: target.shown_action(&in_force.policies.data),
            upstream: &made.upstream,
            outcome,
            // Its words may repeat what was masked in the call.
            reason: reply.as_ref().err().map(|error| format!("it ended with error {}", error.code).into()),
            detail,
        };
        let now = self.clock.now();
        let mut events = vec![task_ended(ended, now)];
        if let Some(breach) = breach.filter(Breach::alerts)
            && let Some(since) = self.output_alerts.due(target, self.clock.monotonic())
        {
            events.extend(events.first().map(|event| output_alert(event, breach.sentence(), since, now)));
        }
        if let Err(error) = self.store.record(events).await {
            tracing::error!(error = %error, trace.id = %made.trace, "a task's end could not be recorded");
        }
    }

    async fn held_task(&self, in_force: &Arc<InForce>, request: TaskRequest, held: &Arc<Held>) -> CallReply {
        let view = in_force.view(&request.principal).ok_or_else(not_found)?;
        if request.principal.agent() != Some(&held.agent) || view.tool_in_flight(&held.tool).is_none() {
            return Err(not_found());
        }
        if let Some(inner) = held.became() {
            return self.inner_task(in_force, request, &inner).await;
        }
        match request.verb {
            TaskVerb::Get => Ok(with_id(held.shown(), &request.task_id)),
            TaskVerb::Update => {
                held.answer(request.input_responses.unwrap_or_default(), request.client);
                Ok(json!({}))
            }
            TaskVerb::Cancel => {
                held.cancel();
                Ok(json!({}))
            }
        }
    }
}

/// The tool of a task, and what a freeze of the call would name. The call was made: what its tool is now does not end it.
fn target_of(
    in_force: &InForce,
    request: &TaskRequest,
    made: &Made,
) -> Result<(Target, FreezeSubject), RpcError> {
    let view = in_force.view(&request.principal).ok_or_else(not_found)?;
    let tool = view.tool_in_flight(&made.tool).filter(|tool| tool.upstream == made.upstream);
    let target = Target::Tool(tool.ok_or_else(not_found)?);
    let called = view.tool(&made.tool, None).or_else(|| view.away(&made.tool, None));
    let capabilities = called.map(|called| called.capabilities).unwrap_or_default();
    let agent = request.principal.agent().ok_or_else(not_found)?;
    let user = user_of(&request.principal, &in_force.policies.authority);
    let subject = subject_of(agent, user, &target, &capabilities);
    Ok((target, subject))
}

/// What its call was held to and its result is.
fn limits_of(made: &Made, redact: Vec<Pointer>) -> Constraints {
    Constraints {
        redact,
        max_result_bytes: made.max_result_bytes,
        max_result_tokens: made.max_result_tokens,
        ..Constraints::default()
    }
}

/// How a request about a task is recorded; `ended`: how the task did, `unasked`: it answers no question that stands.
fn word_of(verb: TaskVerb, ended: Option<&str>, unasked: bool) -> &str {
    match verb {
        TaskVerb::Get => ended.unwrap_or("asked"),
        TaskVerb::Update if unasked => "unasked",
        TaskVerb::Update => "answered",
        TaskVerb::Cancel => "cancel",
    }
}

/// What a strict budget reserved for a task, in tokens as its agent's model counts them.
fn reserved_for(in_force: &InForce, request: &TaskRequest, made: &Made) -> Option<Reserved> {
    let authority = &in_force.policies.authority;
    let agent = request.principal.agent().and_then(|agent| authority.agents.get(agent));
    let model = agent.and_then(|agent| agent.model.as_deref());
    let tokenizer = in_force.policies.prices.tokenizer(model);
    made.reserved_tokens.map(|tokens| Reserved { tokenizer, tokens })
}

/// A client that takes tasks is of 2026-07-28, which has no error that opens pages.
fn without_pages(error: RpcError) -> RpcError {
    match error.code {
        code::URL_ELICITATION_REQUIRED => RpcError::new(code::INTERNAL_ERROR, error.message),
        _ => error,
    }
}

fn with_id(mut task: Value, id: &str) -> Value {
    if let Some(map) = task.as_object_mut() {
        map.insert("resultType".to_owned(), "complete".into());
        map.insert("taskId".to_owned(), id.into());
    }
    task
}
