//! What an upstream says to the client before it answers: in order, to this call's client only, and with the
//! upstream's name in front of what a person reads.

use super::{
    InForce,
    asked::{Asked, Sampled, known, prompt_of},
    parked::{Answering, Seat},
    prepare::Target,
    question::supports_form,
};
use crate::{
    catalog::naming::strip_reserved,
    config::Asks,
    model::{RpcError, UpstreamName, code, pointer::Pointer},
    redaction::{Place, Towards, display_text, is_hidden},
    upstream::{CallRelay, Era},
};
use futures::future::{BoxFuture, try_join_all};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// How many questions an upstream may ask in one round.
const MAX_QUESTIONS: usize = 16;

pub(crate) struct Relay {
    seat: Arc<Seat>,
    upstream: UpstreamName,
    target: Target,
    in_force: Arc<InForce>,
    redact: Vec<Pointer>,
    /// Not every method's result may ask.
    may_ask: bool,
    /// A strict budget binds the call: nothing may be spent that was not reserved.
    strict: bool,
    asked: Arc<Mutex<Asked>>,
    /// Whether the upstream may have seen the request under way, and whether it has answered one.
    sent: AtomicBool,
    answered: AtomicBool,
}

impl Relay {
    pub(crate) fn new(
        seat: Arc<Seat>,
        target: Target,
        in_force: Arc<InForce>,
        redact: Vec<Pointer>,
        may_ask: bool,
        strict: bool,
    ) -> Self {
        let upstream = target.upstream().clone();
        let (asked, sent, answered) = (Arc::default(), AtomicBool::new(false), AtomicBool::new(false));
        Self { seat, upstream, target, in_force, redact, may_ask, strict, asked, sent, answered }
    }

    /// The upstream has answered a request of this call: a further round changes nothing of that.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Release);
    }

    /// Whether the upstream has answered a request of this call.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether the upstream may have acted.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire) || self.has_answered()
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Arc<Mutex<Asked>> {
        self.asked.clone()
    }

    /// What the upstream may ask at all.
    pub(crate) fn asks(&self) -> Asks {
        self.in_force.config.upstreams.get(&self.upstream).map_or(Asks::ALL, |upstream| upstream.asks)
    }

    /// Whether a question may be put. The error is the upstream's answer, and what is recorded.
    fn check(&self, method: &str, params: &Value) -> Result<(), RpcError> {
        let refuse = |outcome: &'static str, error: RpcError| {
            self.asked.lock().note(method, outcome);
            Err(error)
        };
        let upstream = &self.upstream;
        if !self.asks().allows(method) && known(method) != "other" {
            let text = format!("upstream `{upstream}` may not ask for `{}` here", known(method));
            return refuse("denied", RpcError::new(code::METHOD_NOT_FOUND, text));
        }
        if !self.supported(method, params) {
            return refuse("unsupported", self.unsupported(method));
        }
        if self.strict && method == "sampling/createMessage" {
            let text = format!(
                "upstream `{upstream}` asks for sampling, for which a strict budget has nothing reserved"
            );
            return refuse("denied", RpcError::new(code::METHOD_NOT_FOUND, text));
        }
        let is_form =
            method == "elicitation/create" && params.get("mode").and_then(Value::as_str) != Some("url");
        // MCP 2025-11-25 and later, elicitation: secrets are not asked for in form mode.
        if is_form && let Some(what) = self.in_force.policies.data.asks_for_secret(params) {
            let text =
                format!("upstream `{upstream}` asks for a secret ({what}) in a form: URL mode is for that");
            return refuse("secret", RpcError::new(code::INVALID_PARAMS, text));
        }
        Ok(())
    }

    /// What an upstream says on the way is held to the same rules as its result. The error says why it may not pass.
    fn limited(&self, mut params: Value) -> Result<Value, RpcError> {
        strip_reserved(&mut params);
        let place = Place {
            upstream: &self.upstream,
            tool: self.target.full(),
            labels: self.target.labels(),
            sensitive: self.target.sensitive(),
        };
        match self.in_force.policies.data.inspect_result(&params, &place, &self.redact).towards {
            Towards::Unchanged => Ok(params),
            Towards::Changed(changed) => Ok(changed),
            Towards::Blocked(reason) => {
                let text = format!("the question was withheld by the data policy: {reason}");
                Err(RpcError::new(code::INTERNAL_ERROR, text))
            }
        }
    }

    /// Whether the client declared what this question needs.
    fn supported(&self, method: &str, params: &Value) -> bool {
        let client = self.seat.client();
        let capabilities = client.capabilities();
        self.may_ask
            && match method {
                "elicitation/create" if params.get("mode").and_then(Value::as_str) == Some("url") => {
                    capabilities.get("elicitation").is_some_and(|e| e.get("url").is_some())
                }
                "elicitation/create" => supports_form(capabilities),
                "sampling/createMessage" => capabilities.get("sampling").is_some(),
                "roots/list" => capabilities.get("roots").is_some(),
                _ => false,
            }
    }

    /// Puts the upstream's name in front of an elicitation's message.
    fn label(&self, method: &str, params: &mut Value) {
        let Some(map) = params.as_object_mut().filter(|_| method == "elicitation/create") else { return };
        let message = map.get("message").and_then(Value::as_str).unwrap_or_default();
        let labelled = format!("[{}] {}", self.upstream, display_text(message, 4000));
        map.insert("message".into(), Value::String(labelled));
        if let Some(schema) = map.get_mut("requestedSchema") {
            show_words(schema);
        }
    }

    fn unsupported(&self, method: &str) -> RpcError {
        let shown: String = method.chars().take(64).collect();
        RpcError::new(
            code::METHOD_NOT_FOUND,
            format!("upstream `{}` asks for `{shown}`, which this client has not declared", self.upstream),
        )
    }

    /// Labels every question of an `InputRequiredResult`; an undeclared one refuses the whole.
    pub(crate) fn label_all(&self, result: &mut Value) -> Result<(), RpcError> {
        let Some(Value::Object(requests)) = result.get_mut("inputRequests") else { return Ok(()) };
        if requests.len() > MAX_QUESTIONS {
            return Err(RpcError::new(code::INTERNAL_ERROR, "the upstream asks too many questions at once"));
        }
        for request in requests.values_mut() {
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
            let params = request.get("params").cloned().unwrap_or(Value::Null);
            self.check(&method, &params)?;
            if let Some(params) = request.get_mut("params") {
                *params = self.limited(params.take())?;
                self.label(&method, params);
            }
        }
        Ok(())
    }

    /// Asks the client every question of a modern upstream's `InputRequiredResult`, all at once.
    pub(crate) async fn answer_all(&self, mut result: Value) -> Result<Map<String, Value>, RpcError> {
        self.label_all(&mut result)?;
        let Some(Value::Object(requests)) = result.get_mut("inputRequests").map(Value::take) else {
            return Ok(Map::new());
        };
        let mut names = Vec::with_capacity(requests.len());
        let mut questions = Vec::with_capacity(requests.len());
        for (name, mut request) in requests {
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
            let params =
                request.get_mut("params").map(Value::take).unwrap_or_else(|| Value::Object(Map::new()));
            questions.push((Some(name.clone()), method, params));
            names.push(name);
        }
        let answers = try_join_all(self.put(questions)).await?;
        Ok(names.into_iter().zip(answers).collect())
    }

    /// Asks in the client's own way: by requests during the call, or in the call's result.
    fn put(&self, questions: Vec<(Option<String>, String, Value)>) -> Vec<Answering> {
        let client = self.seat.client();
        let prompt =
            |method: &str, params: &Value| (method == "sampling/createMessage").then(|| prompt_of(params));
        let told: Vec<_> =
            questions.iter().map(|(_, method, params)| (known(method), prompt(method, params))).collect();
        let answers: Vec<Answering> = match client.era() {
            Era::Legacy => {
                questions.into_iter().map(|(_, method, params)| client.ask(method, params)).collect()
            }
            Era::Modern => self.seat.ask(questions),
        };
        let noted = answers.into_iter().zip(told).map(|(answer, (method, prompt))| -> Answering {
            let asked = self.asked.clone();
            Box::pin(async move {
                let outcome = answer.await;
                asked.lock().answered(method, prompt, &outcome);
                outcome
            })
        });
        noted.collect()
    }

    /// Questions go to the client in this call's result; a retry brings the answers. What the agent's model will read is
    /// counted now, for the retry does not repeat it.
    pub(crate) fn passed(&self, result: &Value) {
        let Some(Value::Object(requests)) = result.get("inputRequests") else { return };
        let mut asked = self.asked.lock();
        for request in requests.values() {
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
            asked.note(method, "passed");
            if method == "sampling/createMessage" {
                let prompt = prompt_of(request.get("params").unwrap_or(&Value::Null));
                asked.sampled.push(Sampled { prompt, ..Sampled::default() });
            }
        }
    }
}

/// What a form shows of its fields, without characters that nobody sees.
fn show_words(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text)
                        if matches!(key.as_str(), "title" | "description") && text.chars().any(is_hidden) =>
                    {
                        *text = display_text(text, 4000);
                    }
                    other => show_words(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(show_words),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl CallRelay for Relay {
    fn sent(&self, sent: bool) {
        self.sent.store(sent, Ordering::Release);
    }

    fn notify(&self, method: &str, params: Value) {
        // What the rules hold back is not told: a notification has no other answer.
        if let Ok(params) = self.limited(params) {
            self.seat.client().notify(method, params);
        }
    }

    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        if let Err(error) = self.check(&method, &params) {
            return Box::pin(async { Err(error) });
        }
        let mut params = match self.limited(params) {
            Ok(params) => params,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        self.label(&method, &mut params);
        if params.is_null() {
            params = Value::Object(Map::new());
        }
        let answer = self.put(vec![(None, method, params)]).pop();
        answer.unwrap_or_else(|| {
            Box::pin(async { Err(RpcError::new(code::INTERNAL_ERROR, "nobody was asked")) })
        })
    }
}

/// Nobody: a request about a task has nothing to be told on the way, and nobody is asked.
pub(super) struct Mute;

impl CallRelay for Mute {
    fn notify(&self, _method: &str, _params: Value) {}

    fn ask(&self, method: String, _params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        let shown: String = method.chars().take(64).collect();
        Box::pin(async move {
            Err(RpcError::new(code::METHOD_NOT_FOUND, format!("nobody is there to answer `{shown}`")))
        })
    }
}
