//! What a tool's own schema says is sensitive: `writeOnly: true`, `format: password`, `x-sensitive: true`.

use crate::model::pointer::{Pointer, escape};
use serde_json::Value;
use std::collections::BTreeSet;

/// A schema is followed no deeper, references included; one that nests deeper is cut there.
const MAX_DEPTH: usize = 24;

/// A schema that takes more steps or gives more pointers than this is not followed further, and all
/// that the tool takes counts as sensitive.
const MAX_STEPS: usize = 20_000;
const MAX_POINTERS: usize = 512;

/// The marks of one tool's schema, collected when the tool is listed.
#[derive(Clone, Copy, Debug)]
pub struct SchemaMarks;

impl SchemaMarks {
    /// Pointers to the places that the schema marks, `*` standing for array elements and for members
    /// without a fixed name. `$ref` is followed inside the schema only. A schema too large to follow
    /// marks everything (the pointer to the root).
    pub fn collect(schema: &Value) -> Vec<Pointer> {
        let mut walk = Walk { root: schema, steps: 0, found: BTreeSet::new() };
        walk.schema(schema, &mut String::new(), 0);
        if walk.steps > MAX_STEPS || walk.found.len() > MAX_POINTERS {
            return Pointer::parse("").into_iter().collect();
        }
        walk.found.iter().filter_map(|text| Pointer::parse(text).ok()).collect()
    }
}

struct Walk<'s> {
    root: &'s Value,
    steps: usize,
    found: BTreeSet<String>,
}

impl<'s> Walk<'s> {
    fn schema(&mut self, schema: &'s Value, path: &mut String, depth: usize) {
        self.steps += 1;
        let Value::Object(members) = schema else { return };
        if depth > MAX_DEPTH || self.steps > MAX_STEPS || self.found.len() > MAX_POINTERS {
            return;
        }
        let is = |key: &str| members.get(key) == Some(&Value::Bool(true));
        let password = members.get("format").and_then(Value::as_str) == Some("password");
        if is("writeOnly") || is("x-sensitive") || password {
            self.found.insert(path.clone());
            return;
        }
        for (key, value) in members {
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        self.below(property, &escape(name), path, depth);
                    }
                }
                ("patternProperties", Value::Object(properties)) => {
                    for property in properties.values() {
                        self.below(property, "*", path, depth);
                    }
                }
                (
                    "items" | "additionalProperties" | "unevaluatedProperties" | "unevaluatedItems",
                    Value::Object(_),
                ) => {
                    self.below(value, "*", path, depth);
                }
                ("prefixItems" | "items", Value::Array(items)) => {
                    for (at, item) in items.iter().enumerate() {
                        self.below(item, &at.to_string(), path, depth);
                    }
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                    for part in parts {
                        self.schema(part, path, depth + 1);
                    }
                }
                ("if" | "then" | "else", _) => self.schema(value, path, depth + 1),
                ("dependentSchemas", Value::Object(parts)) => {
                    for part in parts.values() {
                        self.schema(part, path, depth + 1);
                    }
                }
                ("$ref", Value::String(reference)) => {
                    let target = reference.strip_prefix('#').and_then(|pointer| Pointer::parse(pointer).ok());
                    if let Some(target) = target.and_then(|pointer| pointer.get(self.root)) {
                        self.schema(target, path, depth + 1);
                    }
                }
                _ => {}
            }
        }
    }

    fn below(&mut self, schema: &'s Value, token: &str, path: &mut String, depth: usize) {
        let length = path.len();
        path.push('/');
        path.push_str(token);
        self.schema(schema, path, depth + 1);
        path.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, expect: &[&str]) {
        let got = SchemaMarks::collect(schema);
        assert_eq!(got.iter().map(Pointer::as_str).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn marks_are_collected_wherever_schemas_nest() {
        check(&json!({"type": "object", "properties": {"a": {"type": "string"}}}), &[]);
        check(
            &json!({
                "properties": {
                    "password": {"type": "string", "format": "password"},
                    "a/b": {"writeOnly": true},
                    "plain": {"writeOnly": false, "format": "email"},
                    "users": {"items": {"properties": {"pin": {"x-sensitive": true}}}},
                    "pair": {"prefixItems": [{}, {"format": "password"}]},
                    "headers": {"additionalProperties": {"x-sensitive": true}},
                    "either": {"anyOf": [{"type": "null"}, {"properties": {"key": {"writeOnly": true}}}]},
                    "login": {"$ref": "#/$defs/login"}
                },
                "$defs": {"login": {"properties": {"secret": {"writeOnly": true}}}}
            }),
            &["/a~1b", "/either/key", "/headers/*", "/login/secret", "/pair/1", "/password", "/users/*/pin"],
        );
        check(&json!({"x-sensitive": true}), &[""]);
        check(&json!({"$ref": "https://elsewhere.example/schema"}), &[]);
        check(&json!(true), &[]);
    }

    #[test]
    fn schemas_that_never_end_mark_everything_or_stop() {
        check(&json!({"$ref": "#"}), &[]);
        check(&json!({"properties": {"a": {"$ref": "#"}}}), &[]);
        check(&json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}), &[""]);
        let deep = (0..200).fold(json!({"writeOnly": true}), |inner, _| json!({"properties": {"a": inner}}));
        check(&deep, &[]);
        let wide: serde_json::Map<String, Value> =
            (0..600).map(|at| (format!("p{at}"), json!({"writeOnly": true}))).collect();
        check(&json!({"properties": wide}), &[""]);
    }
}
