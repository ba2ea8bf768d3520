//! Arguments mirrored into HTTP headers (`x-mcp-header`, 2026-07-28), and what may stand in a header value.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::collections::HashSet;

const ANNOTATION: &str = "x-mcp-header";

/// A text as a header value: as it is where that is safe, else in the Base64 sentinel form.
pub fn value_as_header(text: &str) -> String {
    let visible = text.bytes().all(|b| (0x20..=0x7e).contains(&b) || b == b'\t');
    let padded = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    let sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
    let plain = visible && !padded && !sentinel;
    if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

/// Why a tool's annotations make its definition invalid; such a tool must not be offered over HTTP.
pub(super) fn invalid_annotation(tool: &Value) -> Option<String> {
    let mut seen = HashSet::new();
    let schema = tool.get("inputSchema")?;
    check(schema, true, true, &mut seen).err()
}

fn check(schema: &Value, root: bool, reachable: bool, seen: &mut HashSet<String>) -> Result<(), String> {
    let Value::Object(members) = schema else { return Ok(()) };
    if let Some(annotation) = members.get(ANNOTATION) {
        if root || !reachable {
            return Err(format!("`{ANNOTATION}` stands where no chain of `properties` leads"));
        }
        name(annotation, members.get("type"), seen)?;
    }
    for (key, value) in members {
        match key.as_str() {
            "properties" => {
                for child in value.as_object().into_iter().flat_map(Map::values) {
                    check(child, false, reachable, seen)?;
                }
            }
            "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => {
                for child in value.as_object().into_iter().flat_map(Map::values) {
                    check(child, false, false, seen)?;
                }
            }
            "items"
            | "additionalItems"
            | "prefixItems"
            | "contains"
            | "oneOf"
            | "anyOf"
            | "allOf"
            | "not"
            | "if"
            | "then"
            | "else"
            | "additionalProperties"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties" => match value {
                Value::Array(children) => {
                    for child in children {
                        check(child, false, false, seen)?;
                    }
                }
                Value::Object(_) => check(value, false, false, seen)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            },
            _ => {}
        }
    }
    Ok(())
}

fn name(annotation: &Value, kind: Option<&Value>, seen: &mut HashSet<String>) -> Result<(), String> {
    let Value::String(name) = annotation else {
        return Err(format!("`{ANNOTATION}` is not a text"));
    };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("`{ANNOTATION}` is not a header name"));
    }
    if !seen.insert(name.to_ascii_lowercase()) {
        return Err(format!("`{ANNOTATION}` names `{name}` twice"));
    }
    let primitive = |kind: &Value| matches!(kind.as_str(), Some("string" | "integer" | "boolean"));
    let fits = match kind {
        Some(Value::Array(kinds)) => {
            kinds.iter().any(primitive) && kinds.iter().all(|k| primitive(k) || k.as_str() == Some("null"))
        }
        Some(kind) => primitive(kind),
        None => false,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("`{ANNOTATION}` `{name}` stands at no string, integer or boolean"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of the 2026-07-28 transport page.
    #[test]
    fn values_are_encoded_where_they_must_be() {
        let check = |input: &str, expect: &str| assert_eq!(value_as_header(input), expect);
        check("us-west1", "us-west1");
        check("a b\tc", "a b\tc");
        check("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?=");
        check(" padded ", "=?base64?IHBhZGRlZCA=?=");
        check("line1\nline2", "=?base64?bGluZTEKbGluZTI=?=");
        check("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=");
    }

    #[test]
    fn annotations_along_properties_are_valid() {
        let schema = json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
            "flag": { "type": "boolean", "x-mcp-header": "Flag" },
            "none": { "type": ["string", "null"], "x-mcp-header": "None" }
        }});
        assert_eq!(invalid_annotation(&json!({ "inputSchema": schema })), None);
    }

    #[test]
    fn invalid_annotations_are_found() {
        let bad = |schema: Value, word: &str| {
            let reason = invalid_annotation(&json!({ "inputSchema": schema })).unwrap();
            assert!(reason.contains(word), "{reason}");
        };
        let at = |header: Value, kind: &str| json!({ "properties": { "a": { "type": kind, ANNOTATION: header } } });
        bad(at(json!(""), "string"), "not a header name");
        bad(at(json!("a b"), "string"), "not a header name");
        bad(at(json!("a\r\nb"), "string"), "not a header name");
        bad(at(json!(1), "string"), "not a text");
        bad(at(json!("A"), "number"), "no string");
        bad(at(json!("A"), "object"), "no string");
        bad(
            json!({ "properties": { "a": { "type": "string", ANNOTATION: "X" }, "b": { "type": "string", ANNOTATION: "x" } } }),
            "twice",
        );
        bad(json!({ ANNOTATION: "X", "type": "object" }), "no chain");
        bad(
            json!({ "properties": { "l": { "items": { "properties": { "a": { "type": "string", ANNOTATION: "X" } } } } } }),
            "no chain",
        );
        bad(json!({ "anyOf": [at(json!("X"), "string")] }), "no chain");
        bad(json!({ "$defs": { "d": at(json!("X"), "string") } }), "no chain");
        let named =
            json!({ "properties": { ANNOTATION: { "type": "array", "default": { ANNOTATION: 1 } } } });
        assert_eq!(invalid_annotation(&json!({ "inputSchema": named })), None);
    }
}
