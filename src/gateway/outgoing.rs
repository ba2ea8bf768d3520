//! What a call looks like to its upstream: its params, the client's capabilities as far as they are relayed, and on whose
//! connection it goes.

use super::{
    api::ClientPort,
    extras::goes_on,
    prepare::{Request, Target},
    tasks::EXTENSION,
};
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

/// What a client declared, without what Tollgate does not carry: an upstream must not answer with a task that nobody
/// can follow.
pub(super) fn relayed(capabilities: &Value, asks: Asks, tasks: bool) -> Value {
    let mut capabilities = capabilities.clone();
    asks.limit(&mut capabilities);
    if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions").filter(|_| !tasks) {
        extensions.shift_remove(EXTENSION);
    }
    capabilities
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
