//! What an upstream asked of the agent's client on the way: for the record, and for the price where the agent's model
//! worked for it.

use crate::gateway::InForce;
use crate::{
    cost::TokenCounter,
    model::{MicroUsd, RpcError},
};
use serde_json::{Value, json};

/// How many questions a record tells of.
const MAX_NOTES: usize = 64;
/// How deep the text of a sampling is looked for.
const MAX_DEPTH: usize = 32;

/// What was asked on the way, for the record and the price.
#[derive(Debug, Default)]
pub(in crate::gateway) struct ServerRequests {
    /// Method and what became of it.
    pub(in crate::gateway) questions: Vec<(&'static str, &'static str)>,
    pub(in crate::gateway) sampled: Vec<Sampled>,
}

/// What the agent's own model was given and wrote for an upstream.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Sampled {
    /// As the client names it.
    pub(in crate::gateway) model: Option<String>,
    pub(in crate::gateway) prompt: String,
    pub(in crate::gateway) answer: String,
}

impl ServerRequests {
    pub(in crate::gateway) fn note(&mut self, method: &str, outcome: &'static str) {
        if self.questions.len() < MAX_NOTES {
            self.questions.push((known(method), outcome));
        }
    }

    pub(in crate::gateway) fn answered(&mut self, method: &str, outcome: &Result<Value, RpcError>) {
        let word = match outcome {
            Err(_) => "failed",
            Ok(answer) => match answer.get("action").and_then(Value::as_str) {
                Some("accept") => "accepted",
                Some("decline") => "declined",
                Some("cancel") => "cancelled",
                Some(_) | None => "answered",
            },
        };
        self.note(method, word);
    }

    /// What a client brings in a retry, to a question that was put in a result.
    pub(in crate::gateway) fn brought(&mut self, method: &str, answer: &Value) {
        if method == "sampling/createMessage" {
            self.note(method, "answered");
            self.sampled.push(sampled(answer));
        }
    }
}

pub(in crate::gateway) fn known(method: &str) -> &'static str {
    match method {
        "elicitation/create" => "elicitation/create",
        "sampling/createMessage" => "sampling/createMessage",
        "roots/list" => "roots/list",
        _ => "other",
    }
}

pub(in crate::gateway) fn sampled(answer: &Value) -> Sampled {
    let mut text = String::new();
    gather(answer.get("content").unwrap_or(&Value::Null), &mut text, 0);
    let model = answer.get("model").and_then(Value::as_str).map(str::to_owned);
    Sampled { model, prompt: String::new(), answer: text }
}

/// What a model reads of `sampling/createMessage`.
pub(in crate::gateway) fn prompt_of(params: &Value) -> String {
    let mut text = String::new();
    for key in ["systemPrompt", "messages", "tools"] {
        gather(params.get(key).unwrap_or(&Value::Null), &mut text, 0);
    }
    text
}

/// Every text in a value, but for data that is not text.
fn gather(value: &Value, into: &mut String, depth: usize) {
    match value {
        Value::String(text) => {
            into.push_str(text);
            into.push('\n');
        }
        Value::Array(items) if depth < MAX_DEPTH => {
            items.iter().for_each(|item| gather(item, into, depth + 1));
        }
        Value::Object(map) if depth < MAX_DEPTH => {
            let spoken =
                map.iter().filter(|(key, _)| !matches!(key.as_str(), "data" | "type" | "role" | "mimeType"));
            spoken.for_each(|(_, item)| gather(item, into, depth + 1));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
    }
}

/// Tokens and price of what the agent's model did for the upstream: it read the prompt and wrote the answer. The client
/// names the model that did it; a name does not make it cheaper than the agent's own.
pub(in crate::gateway) fn price_sampled(
    counter: &TokenCounter,
    in_force: &InForce,
    model: Option<&str>,
    sampled: &[Sampled],
) -> (u64, MicroUsd) {
    let prices = &in_force.policies.prices;
    let price = |model: Option<&str>, one: &Sampled| {
        let tokenizer = prices.tokenizer(model);
        let prompt = counter.count_for(tokenizer, &one.prompt);
        let answer = counter.count_for(tokenizer, &one.answer);
        (prompt.saturating_add(answer), prices.settle(model, answer, prompt, MicroUsd::ZERO))
    };
    let mut total = (0_u64, MicroUsd::ZERO);
    for one in sampled {
        let own = price(model, one);
        let named = one.model.as_deref().filter(|named| Some(*named) != model);
        let (tokens, cost) = match named.map(|named| price(Some(named), one)) {
            Some(named) => (named.0.max(own.0), named.1.max(own.1)),
            None => own,
        };
        total = (total.0.saturating_add(tokens), total.1.plus(cost));
    }
    total
}

/// What a record says of an upstream's questions: nothing where there were none.
pub(in crate::gateway) fn questions_detail(
    questions: &[(&'static str, &'static str)],
    sampled_tokens: u64,
) -> String {
    let mut told = String::new();
    if !questions.is_empty() {
        let list: Vec<_> =
            questions.iter().map(|(method, outcome)| json!({"method": method, "outcome": outcome})).collect();
        told.push_str(&format!(r#","questions":{}"#, Value::Array(list)));
    }
    if sampled_tokens > 0 {
        told.push_str(&format!(r#","sampled_tokens":{sampled_tokens}"#));
    }
    told
}
