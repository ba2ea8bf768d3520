//! External checks: an HTTP service that a policy rule asks about a call before it is decided. What it answers is a fact of
//! the call, recorded with it, so that the decision can be made again without asking.
//!
//! The request is signed as Standard Webhooks has it, and has the members of an `interceptor/invoke` of MCP's proposed
//! interceptors (`event`, `phase`, `payload`, `context`). Arguments go as they may be recorded: masked. The answer is
//! `{decision?: allow | deny | require_approval, reason?, labels?}`, or that proposal's `{valid, messages}`. What is
//! neither, comes late or is too large is no answer, and the rule says what holds then.

use super::{
    InForce,
    notify::signed,
    prepared::Prepared,
    request::Request,
    target::{LONGEST_NAME, cut},
};
use crate::{
    clock::{Clock, IdSource},
    config::CheckConfig,
    model::{AgentId, Digest},
    outbound::Outbound,
    policy::{CheckAnswer, CheckDecision, PolicySet},
    redaction::visible,
};
use dashmap::DashMap;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What is read of an answer.
const MOST_BYTES: usize = 64 << 10;
/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 300;
/// Labels of one answer that are kept.
const MOST_LABELS: usize = 16;
/// Requests for one agent at a time; further ones wait for their turn within their own time.
const MOST_AT_ONCE: usize = 16;
/// Answers that one call may need: of its own arguments, and of what constraints and remediation make of them.
const MOST_ANSWERS: usize = 32;
/// How long an answer holds for a call that waits for a person.
const FRESH: Duration = Duration::from_secs(60);

/// The answers that one call has got.
#[derive(Default)]
pub(crate) struct Answers(Vec<(Digest, Duration, CheckAnswer)>);

impl Answers {
    /// Those about these arguments.
    pub(crate) fn about(&self, call: &Digest) -> Vec<CheckAnswer> {
        let about = self.0.iter().filter(|(digest, ..)| digest == call);
        about.map(|(_, _, answer)| answer.clone()).collect()
    }

    /// Leaves out what was answered too long ago.
    pub(crate) fn forget_old(&mut self, now: Duration) {
        self.0.retain(|(_, at, _)| now.saturating_sub(*at) < FRESH);
    }
}

/// Asks external checks.
pub(crate) struct Checks {
    pub(super) outbound: Outbound,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) places: DashMap<AgentId, Arc<Semaphore>>,
}

/// Too many answers were needed for one call.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Checks {
    pub(super) fn new(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self { outbound: Outbound::default(), clock, ids, places: DashMap::new() }
    }

    /// Asks these checks about a call, all at once, and keeps what they answer.
    pub(super) async fn ask(
        &self,
        in_force: &InForce,
        request: &Request,
        checks: &[Arc<str>],
        prepared: &Prepared,
        answers: &mut Answers,
    ) -> Result<(), TooMany> {
        if answers.0.len() + checks.len() > MOST_ANSWERS {
            return Err(TooMany);
        }
        let body: Arc<str> = description(request, prepared).to_string().into();
        let asked = checks.iter().map(|name| self.one(in_force, request, name, &body));
        for answer in join_all(asked).await {
            answers.0.push((prepared.call_digest.clone(), self.clock.monotonic(), answer));
        }
        Ok(())
    }

    async fn one(&self, in_force: &InForce, request: &Request, name: &Arc<str>, body: &str) -> CheckAnswer {
        let began = self.clock.monotonic();
        let got = match in_force.config.checks.get(name) {
            Some(check) => self.answer(check, &request.agent, body).await,
            None => Err(format!("servers.toml has no [checks.{name}]")),
        };
        let took = self.clock.monotonic().saturating_sub(began);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut answer = CheckAnswer {
            check: name.clone(),
            decision: None,
            reason: None,
            labels: Vec::new(),
            error: None,
            took_ms,
        };
        match got.and_then(|body| read(&body)) {
            Ok(said) => said.into_answer(&in_force.policies, &mut answer),
            Err(error) => {
                tracing::warn!(check = &**name, trace.id = %request.trace_id, error, took_ms, "an external check gave no answer");
                answer.error = Some(error.into());
            }
        }
        answer
    }

    /// Waiting for its turn counts: a service that is slow for one agent holds up that agent's calls, and each only so long.
    async fn answer(&self, check: &CheckConfig, agent: &AgentId, body: &str) -> Result<Vec<u8>, String> {
        let exchange = async {
            let places =
                self.places.entry(agent.clone()).or_insert_with(|| Arc::new(Semaphore::new(MOST_AT_ONCE)));
            let places = places.value().clone();
            let _place = places.acquire_owned().await.map_err(|_| "the gateway is ending".to_owned())?;
            let id = format!("chk_{}", self.ids.uuid());
            let request = signed(check.url.as_str(), &check.secret, &*self.clock, &id, body)
                .ok_or("its URL cannot be requested")?;
            let reply = self.outbound.send(request, MOST_BYTES, check.timeout).await;
            let reply = reply.map_err(|error| error.to_string())?;
            if !reply.status.is_success() {
                return Err(format!("HTTP status {}", reply.status.as_u16()));
            }
            Ok(reply.body.to_vec())
        };
        let late = || format!("no answer within {}", humantime::format_duration(check.timeout));
        tokio::time::timeout(check.timeout, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// What a service is told of a call. Values are masked as in the record.
fn description(request: &Request, prepared: &Prepared) -> Value {
    let facts = &prepared.facts;
    let event = match facts.call.kind {
        crate::model::CallKind::Tool => "tools/call",
        crate::model::CallKind::Resource => "resources/read",
        crate::model::CallKind::Prompt => "prompts/get",
    };
    json!({
        "event": event,
        "phase": "request",
        "payload": {"name": prepared.shown, "arguments": prepared.recorded},
        "context": {
            "principal": {"type": "agent", "id": facts.agent.id},
            "traceId": request.trace_id,
            "timestamp": facts.now,
        },
        "tollgate": {
            "call_id": request.call_id,
            "agent": facts.agent,
            "user": facts.user,
            "workflow": facts.workflow,
            "upstream": facts.tool.upstream,
            "action": prepared.shown_action,
            "labels": facts.tool.labels,
            "read_only": facts.tool.traits.read_only,
            "destructive": facts.tool.traits.destructive,
            "data": facts.data,
            "session_labels": facts.session_labels,
            "cost_estimate_usd": facts.cost.estimate,
            "redacted": prepared.redacted,
        },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Allow,
    Deny,
    RequireApproval,
}

/// Both forms of an answer. Members that are not known are left alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    decision: Option<Word>,
    reason: Option<String>,
    labels: Vec<String>,
    valid: Option<bool>,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

fn read(body: &[u8]) -> Result<Said, String> {
    let said: Said = serde_json::from_slice(body).map_err(|_| {
        "its answer is not {\"decision\": \"allow\" | \"deny\" | \"require_approval\", \"reason\", \"labels\"}".to_owned()
    })?;
    match (&said.decision, said.valid, said.labels.is_empty()) {
        (Some(_), Some(_), _) => Err("its answer has both `decision` and `valid`".to_owned()),
        (None, None, true) => Err("its answer has no `decision`, no `valid` and no `labels`".to_owned()),
        _ => Ok(said),
    }
}

impl Said {
    /// A reason may repeat what the call brought: it is masked, and what cannot be seen is written out.
    fn into_answer(self, policies: &PolicySet, answer: &mut CheckAnswer) {
        let shown = |text: &str, most: usize| -> Arc<str> {
            let text = policies.data.redact_text(text);
            cut(&visible(&text), most).into()
        };
        answer.decision = match (self.decision, self.valid) {
            (Some(Word::Allow), _) | (None, Some(true)) => Some(CheckDecision::Allow),
            (Some(Word::Deny), _) | (None, Some(false)) => Some(CheckDecision::Deny),
            (Some(Word::RequireApproval), _) => Some(CheckDecision::RequireApproval),
            (None, None) => None,
        };
        let first = self.messages.into_iter().next().map(|first| first.message);
        answer.reason = self.reason.or(first).map(|reason| shown(&reason, LONGEST_REASON));
        let labels = self.labels.iter().take(MOST_LABELS);
        answer.labels = labels.map(|label| shown(label, LONGEST_NAME)).collect();
    }
}
