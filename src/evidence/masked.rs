//! Where a record does not hold what was decided on: the places that were masked or cut.

use crate::model::pointer::{Pointer, escape};
use serde_json::Value;

/// The most places that are named, and the most bytes of their names together. Beyond either everything counts as masked.
const MOST: usize = 64;
const MOST_BYTES: usize = 4096;

/// The places, as JSON pointers below `root`, where `recorded` is not what `raw` is. An object whose names are masked is one
/// place, and so is a list that is recorded with another length.
pub(super) fn differing(raw: &Value, recorded: &Value, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = root.to_owned();
    walk(raw, recorded, &mut at, &mut found);
    let bytes: usize = found.iter().map(String::len).sum();
    if found.len() > MOST || bytes > MOST_BYTES {
        return vec![root.to_owned()];
    }
    found
}

/// The places of arguments that are not recorded as they are.
pub fn masked_places(raw: &Value, recorded: &Value) -> Vec<Pointer> {
    differing(raw, recorded, "").iter().filter_map(|place| Pointer::parse(place).ok()).collect()
}

fn walk(raw: &Value, recorded: &Value, at: &mut String, found: &mut Vec<String>) {
    // What is beyond is not named.
    if found.len() > MOST {
        return;
    }
    let end = at.len();
    match (raw, recorded) {
        (Value::Object(raw), Value::Object(recorded))
            if raw.len() == recorded.len() && raw.keys().all(|key| recorded.contains_key(key)) =>
        {
            for (key, raw) in raw {
                let Some(recorded) = recorded.get(key) else { continue };
                at.push('/');
                at.push_str(&escape(key));
                walk(raw, recorded, at, found);
                at.truncate(end);
            }
        }
        (Value::Array(raw), Value::Array(recorded)) if raw.len() == recorded.len() => {
            for (index, (raw, recorded)) in raw.iter().zip(recorded).enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                walk(raw, recorded, at, found);
                at.truncate(end);
            }
        }
        (raw, recorded) if raw == recorded => {}
        _ => found.push(at.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_named() {
        let check = |raw: Value, recorded: Value, expect: &[&str]| {
            assert_eq!(differing(&raw, &recorded, "/args"), expect, "{raw} {recorded}");
        };
        check(json!({"a": 1}), json!({"a": 1}), &[]);
        check(json!({"a": 1, "b": "s"}), json!({"a": 1, "b": "[m]"}), &["/args/b"]);
        check(json!({"a/b": {"c~": ["s", 1]}}), json!({"a/b": {"c~": ["[m]", 1]}}), &["/args/a~1b/c~0/0"]);
        check(json!({"a": {"k": 1}}), json!({"a": {"[m]": 1}}), &["/args/a"]);
        check(json!({"k": 1}), json!({"[m]": 1}), &["/args"]);
        check(json!([1, 2]), json!([1]), &["/args"]);
        check(json!(123_456_789), json!("[m]"), &["/args"]);
    }

    #[test]
    fn names_are_bounded() {
        let raw: Vec<usize> = (0..1000).collect();
        let recorded: Vec<String> = raw.iter().map(|n| format!("[{n}]")).collect();
        assert_eq!(differing(&json!(raw), &json!(recorded), "/args"), ["/args"]);
        let long = "k".repeat(5000);
        assert_eq!(differing(&json!({&long: 1}), &json!({&long: "m"}), "/args"), ["/args"]);
    }
}
