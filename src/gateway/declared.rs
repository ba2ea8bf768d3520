//! Results of tools that declare an `outputSchema`: clients hold a result to it and throw away what does not fit, so that
//! what was masked or cut here still has to.

use crate::{
    catalog::{ArgumentSchema, Budget, Misfit, ToolSchema},
    model::pointer::Pointer,
};
use serde_json::{Map, Number, Value, json};
use std::{iter::once, sync::Arc};

/// Places of one result that are mended.
const MOST_MENDED: usize = 32;
/// Values that are tried at one place.
const MOST_TRIED: usize = 12;
/// Steps of the schema that mending may take, for the whole result.
const STEPS: u64 = 200_000;
/// The deepest that declared members are followed.
const MAX_DEPTH: usize = 32;

/// What a client is told where a masked result cannot be what its tool declares.
const CANNOT_BE_MASKED: &str = "[The call was made and succeeded; there is no need to repeat it. Its structured result is \
     left out: the data policy masks a part of it that the tool's outputSchema does not let be masked.]";

/// After masking: makes the structured content fit what is declared, or leaves it out and says so. `original`: what the
/// upstream sent.
pub(crate) fn hold(schema: &Arc<ToolSchema>, original: &Value, result: &mut Value) {
    let Some(before) = original.get("structuredContent") else { return };
    if result.get("structuredContent") == Some(before) {
        return;
    }
    let compiled = schema.compile();
    if let Ok(compiled) = compiled.as_ref()
        && compiled.unchecked().is_empty()
        && let Some(content) = result.get_mut("structuredContent")
        && mend(compiled, schema.written(), before, content)
    {
        return;
    }
    leave_out(result);
}

fn leave_out(result: &mut Value) {
    let Some(map) = result.as_object_mut() else { return };
    map.shift_remove("structuredContent");
    if map.get("isError") == Some(&Value::Bool(true)) {
        return;
    }
    map.insert("isError".into(), Value::Bool(true));
    let note = json!({"type": "text", "text": CANNOT_BE_MASKED});
    match map.get_mut("content") {
        Some(Value::Array(content)) => content.push(note),
        _ => drop(map.insert("content".into(), json!([note]))),
    }
}

/// Puts values that fit where masks do not. Only what was masked is touched.
fn mend(schema: &ArgumentSchema, written: &Value, before: &Value, content: &mut Value) -> bool {
    let mut left = STEPS;
    let mut look = |content: &Value| {
        let (found, steps) = schema.measured(content, Budget::of(left));
        left = left.saturating_sub(steps);
        found
    };
    let mut found = look(content);
    for _ in 0..MOST_MENDED {
        let violations = match &found {
            Ok(()) => return true,
            Err(Misfit::Exceeded) => return false,
            Err(Misfit::Breaks(violations)) => violations,
        };
        let Some(at) = violations.first().and_then(|violation| Pointer::parse(&violation.path).ok()) else {
            return false;
        };
        let (Some(original), Some(masked)) = (at.get(before), at.get(content).cloned()) else { return false };
        if *original == masked {
            return false;
        }
        let places = places(written, at.tokens());
        let mut mended = None;
        for candidate in candidates(written, &places, original, &masked).into_iter().take(MOST_TRIED) {
            let Some(slot) = at.get_mut(content).filter(|_| candidate != masked) else { continue };
            *slot = candidate;
            let now = look(content);
            let still = match &now {
                Ok(()) => false,
                Err(Misfit::Exceeded) => return false,
                Err(Misfit::Breaks(violations)) => violations.iter().any(|other| other.path == at.as_str()),
            };
            if !still {
                mended = Some(now);
                break;
            }
        }
        match mended {
            Some(now) => found = now,
            None => return false,
        }
    }
    found.is_ok()
}

/// Values that say nothing of the original, the plainest first. Nothing that could be taken for a real value of a list of
/// names or of a pattern.
fn candidates(root: &Value, places: &[&Value], original: &Value, masked: &Value) -> Vec<Value> {
    let said = |keyword: &'static str| places.iter().filter_map(move |place| place.get(keyword));
    match (original, masked) {
        (Value::Number(_), _) => {
            let bounds = ["minimum", "maximum"].into_iter().flat_map(said).filter(|bound| bound.is_number());
            let beside = |keyword, by: f64| {
                said(keyword).filter_map(Value::as_f64).filter_map(move |bound| whole(bound + by))
            };
            once(json!(0))
                .chain(bounds.cloned())
                .chain(beside("exclusiveMinimum", 1.0))
                .chain(beside("exclusiveMaximum", -1.0))
                .chain(said("multipleOf").filter(|step| step.is_number()).cloned())
                .collect()
        }
        (Value::String(_), Value::String(mask)) => {
            let length =
                |keyword| said(keyword).filter_map(Value::as_u64).filter_map(|n| usize::try_from(n).ok());
            let most = length("maxLength").min().unwrap_or(usize::MAX);
            let least = length("minLength").max().unwrap_or(0).min(1 << 16);
            let mut fitted: String = mask.chars().take(most).collect();
            fitted.extend(std::iter::repeat_n('*', least.saturating_sub(fitted.chars().count())));
            let formats = said("format").filter_map(Value::as_str).filter_map(of_format);
            once(Value::String(fitted)).chain(formats.map(Value::from)).collect()
        }
        (Value::Object(before), Value::Object(after)) => {
            let needed = members(root, places, before, MAX_DEPTH);
            let mut filled = needed.clone();
            filled.extend(after.clone());
            vec![Value::Object(filled), Value::Object(needed)]
        }
        (Value::Object(_) | Value::Array(_), _) => vec![skeleton(root, places, original, MAX_DEPTH)],
        (_, _) => Vec::new(),
    }
}

fn whole(number: f64) -> Option<Value> {
    let text = format!("{number:.0}");
    text.parse::<Number>().ok().map(Value::Number)
}

/// What stands for a masked text of a format, and looks like a mask.
fn of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "email" | "idn-email" => "redacted@redacted.invalid",
        "hostname" | "idn-hostname" => "redacted.invalid",
        "uri" | "iri" | "uri-reference" | "iri-reference" | "url" => "https://redacted.invalid/",
        "uuid" => "00000000-0000-0000-0000-000000000000",
        "date-time" => "1970-01-01T00:00:00Z",
        "date" => "1970-01-01",
        "time" => "00:00:00Z",
        "duration" => "PT0S",
        "ipv4" => "0.0.0.0",
        "ipv6" => "::",
        "json-pointer" => "/redacted",
        _ => return None,
    })
}

/// Of a masked value: nothing of what it was but its type, and of an object the members that have to be there.
fn skeleton(root: &Value, places: &[&Value], original: &Value, depth: usize) -> Value {
    match original {
        Value::Object(map) => Value::Object(members(root, places, map, depth)),
        Value::Array(_) => json!([]),
        Value::Number(_) => json!(0),
        Value::Bool(_) => json!(false),
        Value::String(_) => json!("[redacted]"),
        Value::Null => Value::Null,
    }
}

fn members(root: &Value, places: &[&Value], map: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let Some(depth) = depth.checked_sub(1) else { return Map::new() };
    let required = places.iter().filter_map(|place| place.get("required")?.as_array()).flatten();
    required
        .filter_map(Value::as_str)
        .filter_map(|name| {
            let below = spread(root, step(places, name));
            Some((name.to_owned(), skeleton(root, &below, map.get(name)?, depth)))
        })
        .collect()
}

/// The subschemas that apply at a place, as they are written. What is not found costs a candidate.
fn places<'s>(schema: &'s Value, tokens: &[String]) -> Vec<&'s Value> {
    let start = spread(schema, vec![schema]);
    tokens.iter().fold(start, |places, token| spread(schema, step(&places, token)))
}

fn step<'s>(places: &[&'s Value], token: &str) -> Vec<&'s Value> {
    let mut below = Vec::new();
    for place in places {
        let named = place.get("properties").and_then(|properties| properties.get(token));
        let at = token.parse::<usize>().ok();
        let listed = |keyword: &str| at.and_then(|at| place.get(keyword)?.as_array()?.get(at));
        let item = || place.get("items").filter(|items| items.is_object() && at.is_some());
        let found = named.or_else(|| listed("prefixItems")).or_else(|| listed("items")).or_else(item);
        below.extend(found.or_else(|| place.get("additionalProperties")));
    }
    below
}

/// With what they refer to and are made of.
fn spread<'s>(root: &'s Value, mut open: Vec<&'s Value>) -> Vec<&'s Value> {
    let mut all: Vec<&Value> = Vec::new();
    while let Some(place) = open.pop() {
        if all.len() >= 64 || all.iter().any(|known| std::ptr::eq(*known, place)) {
            continue;
        }
        all.push(place);
        for keyword in ["allOf", "anyOf", "oneOf"] {
            open.extend(place.get(keyword).and_then(Value::as_array).into_iter().flatten());
        }
        let reference = place.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        open.extend(reference.and_then(|pointer| root.pointer(pointer)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::SchemaCache;

    fn held(schema: &Value, before: &Value, after: &Value) -> Value {
        let schema = SchemaCache::default().schema(schema.clone(), true);
        let original = json!({"content": [], "structuredContent": before});
        let mut result = json!({"content": [], "structuredContent": after});
        hold(&schema, &original, &mut result);
        result
    }

    #[test]
    fn masks_fit_what_is_declared() {
        let mask = "[redacted:sensitive:12]";
        for (schema, before, after, expect) in [
            (json!({"type": "integer", "minimum": 7}), json!(9), json!(0), json!(7)),
            (json!({"type": "integer", "maximum": -3}), json!(-9), json!(0), json!(-3)),
            (json!({"type": "number", "exclusiveMaximum": 0}), json!(-2.5), json!(0), json!(-1)),
            (
                json!({"anyOf": [{"type": "null"}, {"type": "integer", "exclusiveMinimum": 10}]}),
                json!(12),
                json!(0),
                json!(11),
            ),
            (json!({"type": "string", "maxLength": 9}), json!("secret"), json!(mask), json!("[redacted")),
            (
                json!({"type": "string", "minLength": 25}),
                json!("x".repeat(30)),
                json!(mask),
                json!(format!("{mask}**")),
            ),
            (
                json!({"type": "string", "format": "uuid"}),
                json!("u"),
                json!(mask),
                json!("00000000-0000-0000-0000-000000000000"),
            ),
            (json!({"$ref": "#/$defs/i"}), json!(4), json!(0), json!(3)),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/i"}}}),
                json!({"a": 5, "b": 1}),
                json!({}),
                json!({"a": 3}),
            ),
        ] {
            let whole = json!({"type": "object", "properties": {"v": schema}, "$defs": {"i": {"type": "integer", "minimum": 3}}});
            let result = held(&whole, &json!({"v": before, "w": 1}), &json!({"v": after, "w": 1}));
            assert_eq!(result["structuredContent"], json!({"v": expect, "w": 1}), "{whole}");
            assert!(result.get("isError").is_none());
        }
    }

    #[test]
    fn what_can_be_no_mask_is_left_out_and_told() {
        let mask = json!("[redacted:sensitive:4]");
        for schema in [
            json!({"enum": ["gold", "lead"]}),
            json!({"const": "gold"}),
            json!({"pattern": "^[a-z]{4}$"}),
            json!({"pattern": "(?<broken"}),
            json!({"type": "integer"}),
        ] {
            let whole = json!({"type": "object", "properties": {"v": schema}});
            let result = held(&whole, &json!({"v": "gold"}), &json!({"v": mask}));
            assert!(result.get("structuredContent").is_none() && result["isError"] == true, "{result}");
            assert!(
                result["content"][0]["text"].as_str().unwrap().contains("made and succeeded"),
                "{result}"
            );
        }
        // What nobody masked is the upstream's.
        let wrong = json!({"type": "object", "required": ["x"]});
        let same = held(&wrong, &json!({"v": 1}), &json!({"v": 1}));
        assert_eq!(same["structuredContent"], json!({"v": 1}));
    }
}
