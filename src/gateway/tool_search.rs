//! `catalog = "search"`: in place of all its tools an agent sees two, one that finds and one that calls. What is found is what
//! the agent may use, and what is called goes the path of any call under its own name.

use super::{
    InForce, api::CallReply, fit, measures::Measures, people::client_questions::ClientQuestions,
    refusal::Refusal, refused::Refusals, request::Request, subject::subject,
};
use crate::{
    catalog::{View, is_for_pages_only, search::Index},
    clock::Clock,
    config::CatalogMode,
    cost::Tokenizer,
    evidence::Ruling,
    model::{EventDecision, PolicyId, text},
    offload::Offload,
    replay::FIND_ACTION,
    store::Store,
};
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

/// Finds tools.
pub(crate) const FIND: &str = "tollgate__find_tools";
/// Calls one.
pub(crate) const CALL: &str = "tollgate__call_tool";

/// How many are found where nothing else is said, and at most.
const USUAL: usize = 8;
const MOST: usize = 50;
/// The longest query, in characters.
const LONGEST: usize = 1_000;

/// What `tools/list` has in this mode.
static TOOLS: LazyLock<Arc<Vec<Value>>> = LazyLock::new(|| {
    Arc::new(vec![
        json!({
            "name": CALL,
            "title": "Call a tool",
            "description": "Calls a tool that tollgate__find_tools has found, with arguments that fit its inputSchema. \
                            The result is that tool's own.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": { "type": "string", "description": "The tool's name, as it was found" },
                    "arguments": { "type": "object", "description": "The tool's arguments" },
                },
                "required": ["name"],
                "additionalProperties": false,
            },
        }),
        json!({
            "name": FIND,
            "title": "Find tools",
            "description": "Finds the tools that fit a task, best first, with what they do and the arguments they take. \
                            Call what you find with tollgate__call_tool.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "query": { "type": "string", "description": "What is to be done, in a few words" },
                    "limit": { "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL },
                },
                "required": ["query"],
                "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        }),
    ])
});

/// Whether agents see the two tools only.
pub(crate) fn is_on(in_force: &InForce) -> bool {
    match in_force.config.gateway.catalog {
        CatalogMode::Full => false,
        CatalogMode::Search => true,
    }
}

/// The list in this mode; empty where there is nothing to find.
pub(crate) fn listed(view: &View) -> Arc<Vec<Value>> {
    if view.tool_list.is_empty() { Arc::default() } else { TOOLS.clone() }
}

/// The call that is meant by one of [`CALL`]. The error says what is wrong with its arguments.
pub(crate) fn meant(arguments: Option<Value>) -> Result<(String, Option<Value>), &'static str> {
    let Some(Value::Object(mut given)) = arguments else { return Err("`name` is missing: which tool?") };
    let name = match given.swap_remove("name") {
        Some(Value::String(name)) => name,
        Some(_) => return Err("`name` must be a string"),
        None => return Err("`name` is missing: which tool?"),
    };
    let arguments = match given.swap_remove("arguments") {
        None | Some(Value::Null) => None,
        Some(arguments @ Value::Object(_)) => Some(arguments),
        Some(_) => return Err("`arguments` must be an object"),
    };
    if !given.is_empty() {
        return Err("only `name` and `arguments` are taken: the tool's own arguments go into `arguments`");
    }
    Ok((name, arguments))
}

/// Whether what is called is for pages alone: whoever calls through [`CALL`] is a model, for which there is no such tool.
pub(crate) fn is_hidden(in_force: &InForce, request: &Request) -> bool {
    let view = in_force.view_in(&request.principal, request.workflow.as_deref());
    let tool = view.and_then(|view| view.tool_in_flight(&request.name));
    tool.is_some_and(|tool| is_for_pages_only(&tool.item))
}

fn asked(arguments: Option<&Value>) -> Result<(&str, usize), &'static str> {
    let missing = "`query` must be a text that says what is to be done";
    let given = arguments.and_then(Value::as_object).ok_or(missing)?;
    let query = match given.get("query") {
        Some(Value::String(query)) if query.chars().nth(LONGEST).is_some() => {
            return Err("`query` is longer than 1000 characters");
        }
        Some(Value::String(query)) if !query.trim().is_empty() => query,
        Some(_) | None => return Err(missing),
    };
    let limit = match given.get("limit") {
        None | Some(Value::Null) => USUAL,
        Some(limit) => limit
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or("`limit` must be a whole number from 1 to 50")?,
    };
    match given.keys().find(|key| !["query", "limit"].contains(&key.as_str())) {
        Some(_) => Err("only `query` and `limit` are taken"),
        None => Ok((query, limit)),
    }
}

/// More tools are searched on a thread beside.
const SEARCHED_AT_ONCE: usize = 200;

/// The places of what is found with how well it fits, and the tokens of the whole list and of this mode's.
fn look_for(
    measures: &Measures,
    view: &View,
    query: &str,
    limit: usize,
    tokenizer: Tokenizer,
) -> (Vec<(usize, f64)>, u64, u64) {
    let count = |tools: &[Value]| -> u64 {
        tools.iter().map(|tool| measures.tokens.count_for(tokenizer, &text::of(tool))).sum()
    };
    let full = view.tool_tokens(&|tool| count(std::slice::from_ref(tool))).iter().sum();
    let index = view.search.get_or_init(|| Index::new(view.tool_list.iter()));
    (index.search(query, limit), full, count(&TOOLS))
}

/// Tools as a search shows them, each with its score. What is for pages alone is nothing for a model.
fn shown(view: &View, places: Vec<(usize, f64)>) -> Vec<Value> {
    let shown = |(place, score): (usize, f64)| {
        let tool = view.tool_list.get(place).filter(|tool| !is_for_pages_only(tool))?;
        let mut shown = Map::new();
        for member in ["name", "title", "description", "inputSchema"] {
            shown.extend(tool.get(member).map(|value| (member.to_owned(), value.clone())));
        }
        shown.insert("score".to_owned(), json!((score * 1_000.0).round() / 1_000.0));
        Some(Value::Object(shown))
    };
    places.into_iter().filter_map(shown).collect()
}

/// Finds tools for agents.
pub(super) struct ToolSearch {
    pub(super) measures: Arc<Measures>,
    pub(super) large: Arc<Offload>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) refusals: Arc<Refusals>,
}

impl ToolSearch {
    /// A call of [`FIND`]: looks through what this agent may use, and calls no upstream.
    pub(crate) async fn find_tools(
        &self,
        in_force: &Arc<InForce>,
        request: &Request,
        arguments: Option<Value>,
        asking: &mut ClientQuestions,
    ) -> CallReply {
        let (query, limit) = match asked(arguments.as_ref()) {
            Ok(asked) => asked,
            Err(wrong) => {
                return self
                    .refusals
                    .refuse(request, None, in_force, Refusal::deny("schema", wrong), asking)
                    .await;
            }
        };
        let view = in_force.view_in(&request.principal, request.workflow.as_deref()).unwrap_or_default();
        let agent = in_force.policies.authority.agents.get(&request.agent);
        let tokenizer = in_force.policies.prices.tokenizer(agent.and_then(|agent| agent.model.as_deref()));
        let view_is_small = view.tool_list.len() <= SEARCHED_AT_ONCE;
        let found = {
            let (measures, view, query) = (self.measures.clone(), view.clone(), query.to_owned());
            let search = move || look_for(&measures, &view, &query, limit, tokenizer);
            // The first search of many tools reads all their texts.
            if view_is_small { Ok(search()) } else { self.large.run(&request.agent, search).await }
        };
        let Ok((places, full, listed)) = found else {
            return self.refusals.refuse(request, None, in_force, fit::too_many(), asking).await;
        };
        let found = shown(&view, places);
        // Below zero where there are so few tools that listing them would have been cheaper.
        let saved = i128::from(full) - i128::from(listed);
        let tokens =
            json!({"full": full, "listed": listed, "saved": i64::try_from(saved).unwrap_or(i64::MAX)});
        let structured = json!({"tools": found, "tools_in_scope": view.tool_list.len(), "tokens": tokens});
        let answer = text::of(&structured);
        // What the agent's model writes for the search, and reads of its answer.
        let search = self
            .measures
            .tokens
            .count_for(tokenizer, query)
            .saturating_add(self.measures.tokens.count_for(tokenizer, &answer));
        let mut recorded = tokens.clone();
        if let Some(members) = recorded.as_object_mut() {
            members.insert("search".to_owned(), search.into());
        }
        let in_scope = view.tool_list.len();
        if let Err(refusal) =
            self.record(in_force, request, (query, limit), (&found, in_scope), recorded, asking).await
        {
            return refusal.reply(request.kind, &request.name, request.trace_id, &in_force.policies);
        }
        Ok(json!({
            "content": [{"type": "text", "text": answer}],
            "structuredContent": structured,
        }))
    }

    /// Records a search like a call that is allowed, and tells the log.
    async fn record(
        &self,
        in_force: &InForce,
        request: &Request,
        (query, limit): (&str, usize),
        (found, in_scope): (&[Value], usize),
        tokens: Value,
        asking: &mut ClientQuestions,
    ) -> Result<(), Refusal> {
        let subject = subject(request, None, in_force);
        let policy_id = PolicyId::from("catalog");
        let reason = format!("found {} of {} tools that are in scope", found.len(), in_scope);
        let ruling = Ruling {
            decision: EventDecision::Allow,
            policy_id: &policy_id,
            rule_id: None,
            reason: reason.into(),
            approval_id: None,
        };
        let detail = json!({
            "arguments": {"query": in_force.policies.data.redact_text(query), "limit": limit},
            "found": found.iter().filter_map(|tool| tool.get("name")).collect::<Vec<_>>(),
            "tokens": tokens,
        });
        let mut event = subject.decision(self.clock.now(), &ruling, detail);
        event.action = Some(FIND_ACTION.into());
        let told = event.clone();
        let mut events = Vec::with_capacity(2);
        if asking.start() {
            events.push(subject.start(self.clock.now()));
        }
        events.push(event);
        if let Err(error) = self.store.record(events).await {
            tracing::error!(error = %error, trace.id = %request.trace_id, "a search could not be recorded");
            return Err(Refusal::deny("store", error.refusal()));
        }
        self.refusals.log_call(request, &told);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_is_meant_is_taken_out() {
        let check = |given: Value, expect: Result<(&str, Option<Value>), &str>| {
            let got = meant(Some(given.clone()));
            match (got, expect) {
                (Ok((name, arguments)), Ok(expect)) => {
                    assert_eq!((name.as_str(), arguments), expect, "{given}")
                }
                (Err(error), Err(expect)) => assert!(error.contains(expect), "{given}: {error}"),
                (got, expect) => panic!("{given}: {got:?}, not {expect:?}"),
            }
        };
        check(json!({"name": "a__b"}), Ok(("a__b", None)));
        check(json!({"name": "a__b", "arguments": {"x": 1}}), Ok(("a__b", Some(json!({"x": 1})))));
        check(json!({"name": "a__b", "x": 1}), Err("`arguments`"));
        check(json!({"name": 1}), Err("must be a string"));
        check(json!({}), Err("missing"));
        check(json!({"name": "a", "arguments": []}), Err("must be an object"));
        assert!(meant(None).is_err());
    }

    #[test]
    fn what_is_looked_for_is_checked() {
        assert_eq!(asked(Some(&json!({"query": "mail"}))), Ok(("mail", USUAL)));
        assert_eq!(asked(Some(&json!({"query": "mail", "limit": 50}))), Ok(("mail", 50)));
        for wrong in [
            json!({}),
            json!({"query": " "}),
            json!({"query": 1}),
            json!({"query": "a", "limit": 0}),
            json!({"query": "a", "limit": 51}),
            json!({"query": "a", "limit": 1.5}),
            json!({"query": "a", "more": 1}),
            json!({"query": "x".repeat(1_001)}),
        ] {
            assert!(asked(Some(&wrong)).is_err(), "{wrong}");
        }
    }
}
