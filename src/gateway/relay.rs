//! What an upstream says to the client before it answers: in order, to this call's client only, and with the
//! upstream's name in front of what a person reads.

use super::{api::ClientPort, approve::supports_form};
use crate::{
    model::{RpcError, UpstreamName, code},
    redaction::display_text,
    upstream::{CallRelay, Era},
};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;

/// How many questions an upstream may ask in one round.
const MAX_QUESTIONS: usize = 16;

pub(crate) struct Relay {
    client: Arc<dyn ClientPort>,
    upstream: UpstreamName,
}

impl Relay {
    pub(crate) fn new(client: Arc<dyn ClientPort>, upstream: UpstreamName) -> Self {
        Self { client, upstream }
    }

    /// Whether the client declared what this question needs.
    fn supported(&self, method: &str, params: &Value) -> bool {
        let capabilities = self.client.capabilities();
        match method {
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
        if method == "elicitation/create"
            && let Some(Value::String(message)) = params.get_mut("message")
        {
            *message = format!("[{}] {}", self.upstream, display_text(message, 4000));
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
            if !self.supported(&method, &params) {
                return Err(self.unsupported(&method));
            }
            if let Some(params) = request.get_mut("params") {
                self.label(&method, params);
            }
        }
        Ok(())
    }

    /// Asks a legacy client every question of a modern upstream's `InputRequiredResult`.
    pub(crate) async fn answer_all(&self, result: &Value) -> Result<Map<String, Value>, RpcError> {
        let mut answers = Map::new();
        let requests = result.get("inputRequests").and_then(Value::as_object);
        for (name, request) in requests.into_iter().flatten().take(MAX_QUESTIONS) {
            let method = request.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
            let params = request.get("params").cloned().unwrap_or(Value::Null);
            answers.insert(name.clone(), CallRelay::ask(self, method, params).await?);
        }
        Ok(answers)
    }
}

impl CallRelay for Relay {
    fn notify(&self, method: &str, params: Value) {
        self.client.notify(method, params);
    }

    fn ask(&self, method: String, mut params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        if self.client.era() == Era::Modern {
            let error = RpcError::new(
                code::INTERNAL_ERROR,
                "a client of 2026-07-28 cannot be asked during a call by an upstream of an earlier version",
            );
            return Box::pin(async { Err(error) });
        }
        if !self.supported(&method, &params) {
            let error = self.unsupported(&method);
            return Box::pin(async { Err(error) });
        }
        self.label(&method, &mut params);
        self.client.ask(method, params)
    }
}
