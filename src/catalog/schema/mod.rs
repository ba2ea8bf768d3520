//! Argument schemas: compiled once per tool fingerprint, bounded, and never fetched from anywhere.

use crate::model::pointer::escape;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The largest schema in nodes.
const MAX_NODES: usize = 20_000;
/// The deepest schema.
const MAX_DEPTH: usize = 64;
/// How many violations are told at once.
const MAX_VIOLATIONS: usize = 5;
/// Steps a pattern may backtrack before the value counts as not matching.
const BACKTRACK_LIMIT: usize = 50_000;

/// A compiled argument schema.
#[derive(Debug)]
pub struct ArgumentSchema {
    validator: Validator,
}

/// Why a schema cannot be used. The tool stays listed; calling it is refused with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not an object or a boolean, or no valid schema of its dialect, or it refers outside itself.
    #[error("its inputSchema cannot be used: {0}")]
    Invalid(String),
    /// Too large or too deep.
    #[error("its inputSchema is larger than {MAX_NODES} nodes or deeper than {MAX_DEPTH} levels")]
    TooLarge,
}

/// One violation: where in the arguments, and which rule. Values are never told (I5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer into the arguments; empty for the whole.
    pub path: String,
    /// The schema keyword.
    pub rule: String,
    /// What it asks for, without the value.
    pub message: String,
}

impl ArgumentSchema {
    /// Compiles one. The dialect is `$schema`'s, else 2020-12.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let mut nodes = 0;
        measure(schema, 0, &mut nodes)?;
        if let Some(reference) = remote_reference(schema) {
            let shown: String = reference.chars().take(120).collect();
            return Err(SchemaError::Invalid(format!(
                "`$ref` to `{shown}` lies outside it and is never fetched"
            )));
        }
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(
                PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_LIMIT).size_limit(1 << 20),
            )
            .build(schema)
            .map_err(|error| SchemaError::Invalid(error.masked().to_string().chars().take(300).collect()))?;
        Ok(Self { validator })
    }

    /// Holds arguments against it.
    pub fn check(&self, arguments: &Value) -> Result<(), Vec<Violation>> {
        if self.validator.is_valid(arguments) {
            return Ok(());
        }
        let violations: Vec<Violation> = self
            .validator
            .iter_errors(arguments)
            .take(MAX_VIOLATIONS)
            .map(|error| Violation {
                path: error.instance_path().as_str().to_owned(),
                rule: error.kind().keyword().to_owned(),
                message: error.masked().to_string().chars().take(300).collect(),
            })
            .collect();
        if violations.is_empty() {
            // is_valid said no: whatever the reason, it is not let through.
            return Err(vec![Violation {
                path: String::new(),
                rule: "schema".into(),
                message: "does not fit".into(),
            }]);
        }
        Err(violations)
    }
}

fn measure(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), SchemaError> {
    *nodes += 1;
    if depth > MAX_DEPTH || *nodes > MAX_NODES {
        return Err(SchemaError::TooLarge);
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Object(map) => map.values().try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The first `$ref` that is neither local (`#…`) nor to a standard meta-schema.
fn remote_reference(value: &Value) -> Option<&str> {
    match value {
        Value::Array(items) => items.iter().find_map(remote_reference),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            let here = (key == "$ref" || key == "$dynamicRef")
                .then(|| item.as_str())
                .flatten()
                .filter(|r| r.contains("://") && !r.contains("json-schema.org/draft"));
            here.or_else(|| remote_reference(item))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Which arguments are mirrored into headers: `(name, path of property names)` per `x-mcp-header`
/// (2026-07-28, Streamable HTTP, custom headers).
pub fn param_headers(schema: &Value) -> Vec<(String, String)> {
    fn walk(schema: &Value, path: &str, depth: usize, found: &mut Vec<(String, String)>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        if depth > MAX_DEPTH {
            return;
        }
        for (name, property) in properties {
            let here = format!("{path}/{}", escape(name));
            if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
                found.push((header.to_owned(), here.clone()));
            }
            walk(property, &here, depth + 1, found);
        }
    }
    let mut found = Vec::new();
    walk(schema, "", 0, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_violation_names_path_and_rule_and_no_value() {
        let schema = json!({"type": "object", "required": ["path"], "additionalProperties": false,
            "properties": {"path": {"type": "string", "maxLength": 3}, "n": {"type": "integer", "maximum": 5}}});
        let schema = ArgumentSchema::compile(&schema).unwrap();
        assert!(schema.check(&json!({"path": "abc", "n": 5})).is_ok());
        let check = |arguments: Value, path: &str, rule: &str| {
            let violations = schema.check(&arguments).unwrap_err();
            assert!(violations.iter().any(|v| v.path == path && v.rule == rule), "{violations:?}");
            assert!(!format!("{violations:?}").contains("hunter2"), "{violations:?}");
        };
        check(json!({}), "", "required");
        check(json!({"path": "hunter2"}), "/path", "maxLength");
        check(json!({"path": ["hunter2"]}), "/path", "type");
        check(json!({"path": "a", "n": 6}), "/n", "maximum");
        check(json!({"path": "a", "x": "hunter2"}), "", "additionalProperties");
    }

    #[test]
    fn hostile_schemas_are_refused_or_bounded() {
        let remote = json!({"properties": {"a": {"$ref": "http://169.254.169.254/latest"}}});
        assert!(
            matches!(ArgumentSchema::compile(&remote), Err(SchemaError::Invalid(m)) if m.contains("never fetched"))
        );
        assert!(ArgumentSchema::compile(&json!({"$ref": "file:///etc/passwd"})).is_err());
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"not": deep});
        }
        assert_eq!(ArgumentSchema::compile(&deep).unwrap_err(), SchemaError::TooLarge);
        assert!(ArgumentSchema::compile(&json!({"type": "strin"})).is_err());
        let slow = ArgumentSchema::compile(&json!({"type": "string", "pattern": "^(a+)+(?!x)$"})).unwrap();
        assert!(slow.check(&json!(format!("{}!", "a".repeat(5000)))).is_err());
        assert!(
            ArgumentSchema::compile(&json!({"$defs": {"x": {"type": "string"}}, "$ref": "#/$defs/x"}))
                .is_ok()
        );
    }

    #[test]
    fn draft_07_is_understood() {
        let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{"type": "string"}]});
        let schema = ArgumentSchema::compile(&schema).unwrap();
        assert!(schema.check(&json!([1])).is_err());
        assert!(schema.check(&json!(["a", 1])).is_ok());
    }

    #[test]
    fn header_parameters_are_found_below_properties_only() {
        let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"},
            "a": {"type": "object", "properties": {"b/c": {"type": "integer", "x-mcp-header": "BC"}}},
            "list": {"items": {"x-mcp-header": "No"}}}});
        assert_eq!(
            param_headers(&schema),
            vec![("Region".into(), "/region".into()), ("BC".into(), "/a/b~1c".into())]
        );
    }
}
