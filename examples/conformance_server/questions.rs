//! The tools and the prompt that ask the client something: in the result (2026-07-28) or during the call (before).

use crate::content::{decoded, failure, text};
use rmcp::{
    ErrorData, Peer, RoleServer,
    model::{
        CallToolResult, ClientCapabilities, CreateMessageRequestParams, ElicitRequestParams, ElicitResult,
        InputRequests, InputRequiredResult, InputResponses, RequestStateCodec,
    },
};
use serde_json::{Value, json};

/// What a tool that asks does next.
pub(crate) enum Next {
    Ask(InputRequiredResult),
    Done(String),
}

/// The answers and the state that came with a request.
pub(crate) struct Round<'a> {
    pub(crate) answers: Option<&'a InputResponses>,
    pub(crate) state: Option<&'a str>,
    pub(crate) capabilities: &'a ClientCapabilities,
    pub(crate) codec: &'a RequestStateCodec,
}

impl Round<'_> {
    /// A field of an accepted elicitation.
    fn accepted(&self, key: &str, field: &str) -> Option<&Value> {
        let answer = self.answers?.get(key)?;
        (answer.get("action")?.as_str()? == "accept").then(|| answer.get("content")?.get(field)).flatten()
    }

    fn accepted_text(&self, key: &str, field: &str) -> Option<&str> {
        self.accepted(key, field)?.as_str()
    }

    fn sampled(&self, key: &str) -> Option<&str> {
        let content = self.answers?.get(key)?.get("content")?;
        content.get("text").or_else(|| content.get(0)?.get("text"))?.as_str()
    }

    fn roots(&self, key: &str) -> Option<Vec<&str>> {
        let roots = self.answers?.get(key)?.get("roots")?.as_array()?;
        Some(roots.iter().filter_map(|root| root.get("uri")?.as_str()).collect())
    }

    /// The sealed state, where it came back whole.
    fn opened(&self) -> Result<Option<Value>, ErrorData> {
        let Some(state) = self.state else { return Ok(None) };
        let opened = self.codec.open_json(state);
        opened
            .map(Some)
            .map_err(|_| ErrorData::invalid_params("requestState failed its integrity check", None))
    }

    fn sealed(&self, state: &Value) -> Result<String, ErrorData> {
        self.codec.seal_json(state).map_err(|e| ErrorData::internal_error(e.to_string(), None))
    }
}

fn form(message: &str, field: &str, kind: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "mode": "form", "message": message, "requestedSchema": {
        "type": "object", "properties": { field: { "type": kind } }, "required": [field],
    } } })
}

fn sampling(prompt: &str, max_tokens: u32) -> Value {
    json!({ "method": "sampling/createMessage", "params": { "maxTokens": max_tokens, "messages": [
        { "role": "user", "content": { "type": "text", "text": prompt } },
    ] } })
}

fn ask(requests: Value, state: Option<String>) -> Result<Next, ErrorData> {
    let requests: InputRequests = decoded(requests)?;
    Ok(Next::Ask(InputRequiredResult::new(Some(requests), state)))
}

/// The prompt that asks; `None`: the answer is not there yet.
pub(crate) fn prompt_context<'a>(round: &'a Round<'_>) -> Option<&'a str> {
    round.accepted_text("user_context", "context")
}

pub(crate) fn ask_prompt_context() -> Result<Next, ErrorData> {
    ask(json!({ "user_context": form("What context should the prompt use?", "context", "string") }), None)
}

/// Asks for the name with which a task is made; `Done` holds the name.
pub(crate) fn name_for_task(round: &Round<'_>) -> Result<Next, ErrorData> {
    match round.accepted_text("user_name", "name") {
        Some(name) => Ok(Next::Done(name.to_owned())),
        None => ask(json!({ "user_name": form("What is your name?", "name", "string") }), None),
    }
}

/// The 2026-07-28 tools; `None`: not one of them.
pub(crate) fn modern(name: &str, round: &Round<'_>) -> Result<Option<Next>, ErrorData> {
    let next = match name {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => {
            match round.accepted_text("user_name", "name") {
                Some(name) => Next::Done(format!("Hello, {name}!")),
                None => ask(json!({ "user_name": form("What is your name?", "name", "string") }), None)?,
            }
        }
        "test_input_required_result_sampling" => match round.sampled("capital_question") {
            Some(answer) => Next::Done(answer.to_owned()),
            None => {
                ask(json!({ "capital_question": sampling("What is the capital of France?", 100) }), None)?
            }
        },
        "test_input_required_result_list_roots" => match round.roots("client_roots") {
            Some(roots) => Next::Done(format!("Roots: {}", roots.join(", "))),
            None => ask(json!({ "client_roots": { "method": "roots/list", "params": {} } }), None)?,
        },
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            match (round.opened()?, round.accepted("confirm", "ok")) {
                (Some(_), Some(_)) => Next::Done("state-ok".to_owned()),
                _ => {
                    let state = round.sealed(&json!({ "tool": name }))?;
                    ask(json!({ "confirm": form("Please confirm", "ok", "boolean") }), Some(state))?
                }
            }
        }
        "test_input_required_result_multiple_inputs" => {
            let answers = (
                round.opened()?,
                round.accepted_text("user_name", "name"),
                round.sampled("greeting"),
                round.roots("client_roots"),
            );
            if let (Some(_), Some(name), Some(greeting), Some(roots)) = answers {
                Next::Done(format!("{greeting} {name}, {} roots", roots.len()))
            } else {
                let requests = json!({
                    "user_name": form("What is your name?", "name", "string"),
                    "greeting": sampling("Generate a greeting", 50),
                    "client_roots": { "method": "roots/list", "params": {} },
                });
                ask(requests, Some(round.sealed(&json!({ "tool": name }))?))?
            }
        }
        "test_input_required_result_multi_round" => multi_round(round)?,
        "test_input_required_result_capabilities" => {
            let mut requests = json!({});
            if let Some(map) = requests.as_object_mut() {
                if round.capabilities.elicitation.is_some() {
                    map.insert("user_name".to_owned(), form("What is your name?", "name", "string"));
                }
                if round.capabilities.sampling.is_some() {
                    map.insert("greeting".to_owned(), sampling("Generate a greeting", 50));
                }
            }
            let nothing = requests.as_object().is_none_or(serde_json::Map::is_empty);
            if round.answers.is_some() || nothing {
                Next::Done("asked what could be answered".to_owned())
            } else {
                ask(requests, None)?
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(next))
}

fn multi_round(round: &Round<'_>) -> Result<Next, ErrorData> {
    let state = round.opened()?;
    let first = state.as_ref().and_then(|state| state.get("name")?.as_str());
    if let (Some(name), Some(color)) = (first, round.accepted_text("step2", "color")) {
        return Ok(Next::Done(format!("{name} likes {color}")));
    }
    let name = first.or_else(|| state.as_ref().and(round.accepted_text("step1", "name")));
    match name {
        Some(name) => {
            let state = round.sealed(&json!({ "round": 2, "name": name }))?;
            ask(
                json!({ "step2": form("Step 2: What is your favorite color?", "color", "string") }),
                Some(state),
            )
        }
        None => {
            let state = round.sealed(&json!({ "round": 1 }))?;
            ask(json!({ "step1": form("Step 1: What is your name?", "name", "string") }), Some(state))
        }
    }
}

/// The tools of the eras before; `None`: not one of them.
pub(crate) async fn legacy(
    name: &str,
    arguments: &serde_json::Map<String, Value>,
    capabilities: &ClientCapabilities,
    peer: &Peer<RoleServer>,
) -> Option<Result<CallToolResult, ErrorData>> {
    let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    let schema = match name {
        "test_sampling" => return Some(sample(argument("prompt"), capabilities, peer).await),
        "test_elicitation" => json!({ "type": "object", "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        }, "required": ["username", "email"] }),
        "test_elicitation_sep1034_defaults" => json!({ "type": "object", "properties": {
            "name": { "type": "string", "description": "User name", "default": "John Doe" },
            "age": { "type": "integer", "description": "User age", "default": 30 },
            "score": { "type": "number", "description": "User score", "default": 95.5 },
            "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "description": "Whether it was checked", "default": true },
        }, "required": [] }),
        "test_elicitation_sep1330_enums" => enums(),
        _ => return None,
    };
    let (message, intro) = match name {
        "test_elicitation" => (argument("message"), "User response: "),
        _ => ("Please fill in the form", "Elicitation completed: "),
    };
    Some(elicit(message, intro, schema, capabilities, peer).await)
}

async fn sample(
    prompt: &str,
    capabilities: &ClientCapabilities,
    peer: &Peer<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    if capabilities.sampling.is_none() {
        return failure("the client cannot sample");
    }
    let params: CreateMessageRequestParams = decoded(json!({ "maxTokens": 100, "messages": [
        { "role": "user", "content": { "type": "text", "text": prompt } },
    ] }))?;
    let answer = peer.create_message(params).await;
    let answer = answer.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
    let answer = serde_json::to_value(&answer).unwrap_or_default();
    let said = answer.pointer("/content/text").or_else(|| answer.pointer("/content/0/text"));
    text(&format!("LLM response: {}", said.and_then(Value::as_str).unwrap_or_default()))
}

async fn elicit(
    message: &str,
    intro: &str,
    schema: Value,
    capabilities: &ClientCapabilities,
    peer: &Peer<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    if capabilities.elicitation.is_none() {
        return failure("the client cannot elicit");
    }
    let params: ElicitRequestParams =
        decoded(json!({ "mode": "form", "message": message, "requestedSchema": schema }))?;
    let answer: ElicitResult =
        peer.create_elicitation(params).await.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
    let answer = serde_json::to_value(&answer).unwrap_or_default();
    let action = answer.get("action").and_then(Value::as_str).unwrap_or_default();
    let content = answer.get("content").cloned().unwrap_or_else(|| json!({}));
    text(&format!("{intro}action={action}, content={content}"))
}

fn enums() -> Value {
    let titled = |names: [&str; 3]| -> Vec<Value> {
        names
            .iter()
            .enumerate()
            .map(|(at, title)| json!({ "const": format!("value{}", at + 1), "title": title }))
            .collect()
    };
    let options = json!(["option1", "option2", "option3"]);
    json!({ "type": "object", "required": [], "properties": {
        "untitledSingle": { "type": "string", "enum": options },
        "titledSingle": { "type": "string", "oneOf": titled(["First Option", "Second Option", "Third Option"]) },
        "legacyEnum": { "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"] },
        "untitledMulti": { "type": "array", "items": { "type": "string", "enum": options } },
        "titledMulti": { "type": "array",
            "items": { "anyOf": titled(["First Choice", "Second Choice", "Third Choice"]) } },
    } })
}
