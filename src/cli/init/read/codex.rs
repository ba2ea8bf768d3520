//! Codex's config.toml, brought into the form of the others.

use serde_json::{Map, Value, json};
use std::path::Path;

/// The tables `[mcp_servers.NAME]`, as `mcpServers`.
pub(super) fn root(path: &Path, text: &str) -> Result<Map<String, Value>, String> {
    let read: toml::Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}: {}", path.display(), error.message())
    })?;
    let Some(servers) = read.get("mcp_servers") else { return Ok(Map::new()) };
    let servers = match serde_json::to_value(servers) {
        Ok(Value::Object(servers)) => {
            Value::Object(servers.into_iter().map(|(name, entry)| (name, entry_of(entry))).collect())
        }
        Ok(other) => other,
        Err(_) => Value::Null,
    };
    Ok(Map::from_iter([("mcpServers".to_owned(), servers)]))
}

fn entry_of(entry: Value) -> Value {
    let Value::Object(mut entry) = entry else { return entry };
    let mut headers = Map::new();
    if let Some(Value::Object(written)) = entry.remove("http_headers") {
        headers.extend(written);
    }
    if let Some(Value::Object(named)) = entry.remove("env_http_headers") {
        let of = |(header, name): (String, Value)| Some((header, json!(format!("${{{}}}", name.as_str()?))));
        headers.extend(named.into_iter().filter_map(of));
    }
    if let Some(name) = entry.get("bearer_token_env_var").and_then(Value::as_str) {
        headers.insert("Authorization".to_owned(), json!(format!("Bearer ${{{name}}}")));
    }
    if let Some(token) = entry.get("bearer_token").and_then(Value::as_str) {
        headers.insert("Authorization".to_owned(), json!(format!("Bearer {token}")));
    }
    if !headers.is_empty() {
        entry.insert("headers".to_owned(), Value::Object(headers));
    }
    // Variables that are passed on as they are.
    let names = entry.remove("env_vars").and_then(|names| names.as_array().cloned()).unwrap_or_default();
    let name = |one: &Value| one.as_str().or_else(|| one.get("name")?.as_str()).map(str::to_owned);
    let passed: Vec<String> = names.iter().filter_map(name).collect();
    if !passed.is_empty() {
        let mut env = match entry.remove("env") {
            Some(Value::Object(env)) => env,
            Some(_) | None => Map::new(),
        };
        for name in passed {
            env.entry(name.clone()).or_insert_with(|| json!(format!("${{{name}}}")));
        }
        entry.insert("env".to_owned(), Value::Object(env));
    }
    Value::Object(entry)
}
