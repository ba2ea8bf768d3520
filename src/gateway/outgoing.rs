//! What a call looks like to its upstream: its params, the client's capabilities as far as they are relayed, and on whose
//! connection it goes.

use super::{api::ClientPort, extras::goes_on, request::Request, suspend::handle::EXTENSION, target::Target};
use crate::{config::Asks, upstream::Era};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) fn named(own_name: &str, arguments: Value) -> Map<String, Value> {
    Map::from_iter([("name".into(), json!(own_name)), ("arguments".into(), arguments)])
}

pub(super) fn params(
    own: Map<String, Value>,
    meta: Map<String, Value>,
    rest: Map<String, Value>,
) -> Map<String, Value> {
    let mut params = rest;
    params.extend(own);
    let mut meta = meta;
    meta.retain(|key, _| goes_on(key));
    if !meta.is_empty() {
        params.insert("_meta".into(), Value::Object(meta));
    }
    params
}

/// The extension under which a server shows an app in place of text, and the one kind of app that there is.
const APPS: &str = "io.modelcontextprotocol/ui";
const APP: &str = "text/html;profile=mcp-app";

/// The client capabilities that an upstream gets: only those that both sides know by name. An upstream must not answer with a task
/// that nobody can follow.
pub(super) fn relayed(capabilities: &Value, asks: Asks, tasks: bool) -> Value {
    let mut relayed = asks.relayed(capabilities);
    let declared = |name: &str| capabilities.get("extensions").and_then(|extensions| extensions.get(name));
    let mut extensions = Map::new();
    if tasks && declared(EXTENSION).is_some() {
        extensions.insert(EXTENSION.to_owned(), json!({}));
    }
    if let Some(apps) = declared(APPS) {
        let kinds = apps.get("mimeTypes").and_then(Value::as_array);
        let shows = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == APP));
        let told = if shows { json!({"mimeTypes": [APP]}) } else { json!({}) };
        extensions.insert(APPS.to_owned(), told);
    }
    if !extensions.is_empty() {
        relayed.insert("extensions".to_owned(), Value::Object(extensions));
    }
    Value::Object(relayed)
}

/// The session that upstream isolation sees. Stateless requests have none: those of one agent share a connection where
/// they can be asked the same things, since a legacy upstream is told that once per connection.
pub(super) fn session_of(request: &Request, client: &dyn ClientPort) -> Arc<str> {
    session_named(&request.session, client)
}

pub(super) fn session_named(session: &Arc<str>, client: &dyn ClientPort) -> Arc<str> {
    if client.era() == Era::Legacy {
        return session.clone();
    }
    let has = |pointer: &str| client.capabilities().pointer(pointer).is_some();
    let mut session = session.to_string();
    for pointer in
        ["/elicitation", "/elicitation/form", "/elicitation/url", "/sampling", "/sampling/tools", "/roots"]
    {
        session.push(if has(pointer) { '+' } else { '-' });
    }
    session.into()
}

pub(super) fn param_headers(target: &Target, arguments: &Value) -> Vec<(String, String)> {
    let Target::Tool(tool) = target else { return Vec::new() };
    tool.param_headers
        .iter()
        .filter_map(|(name, at)| {
            let text = match at.get(arguments)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((name.clone(), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_wrote_is_relayed() {
        let check = |declared: Value, asks: Asks, tasks: bool, expect: Value| {
            assert_eq!(relayed(&declared, asks, tasks), expect, "{declared}");
        };
        let full = json!({
            "experimental": {"x": "s"},
            "elicitation": {"form": {"s": 1}, "url": {}, "s": "s"},
            "sampling": {"tools": {"s": 1}, "context": {}, "s": 1},
            "roots": {"listChanged": true, "s": 1},
            "s": "s",
            "extensions": {EXTENSION: {"s": 1}, APPS: {"mimeTypes": ["s", APP], "s": 1}, "vendor/s": {}},
        });
        let modes = json!({"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}});
        let mut whole = modes.clone();
        whole["extensions"] = json!({EXTENSION: {}, APPS: {"mimeTypes": [APP]}});
        check(full.clone(), Asks::ALL, true, whole);
        let none = Asks { elicitation: false, sampling: false, roots: false };
        check(full, none, false, json!({"extensions": {APPS: {"mimeTypes": [APP]}}}));
        check(
            json!({"elicitation": {}, "sampling": "s", "roots": null}),
            Asks::ALL,
            true,
            json!({"elicitation": {}}),
        );
        check(Value::Null, Asks::ALL, true, json!({}));
    }
}
