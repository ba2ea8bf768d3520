//! What JSON costs in memory, which is many times its text where it holds many small values.

use serde_json::{Map, Value};

/// What each value costs beside its text.
const NODE: usize = 64;

/// Whether the text may hold more values than `most`; it is read only where it is long enough for that.
pub fn has_more_values(bytes: &[u8], most: usize) -> bool {
    if bytes.len() <= most {
        return false;
    }
    let (mut count, mut quoted, mut escaped) = (1usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count > most
}

/// [`weight`] of an object's members.
pub fn weight_of(members: &Map<String, Value>, limit: usize) -> usize {
    sum(members.iter().map(|(key, item)| (NODE + key.len(), item)), limit)
}

/// [`weight`] of a list's items.
pub fn weight_of_list(items: &[Value], limit: usize) -> usize {
    sum(items.iter().map(|item| (NODE, item)), limit)
}

/// About how many bytes of memory a value costs, counted no further than to `limit`.
pub fn weight(value: &Value, limit: usize) -> usize {
    match value {
        Value::Null | Value::Bool(_) => NODE,
        Value::Number(number) => NODE + number.as_str().len(),
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => weight_of_list(items, limit),
        Value::Object(members) => weight_of(members, limit),
    }
}

fn sum<'v>(children: impl Iterator<Item = (usize, &'v Value)>, limit: usize) -> usize {
    let mut sum = NODE;
    for (own, child) in children {
        if sum > limit {
            break;
        }
        sum += own + weight(child, limit.saturating_sub(sum));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn weight_stops_at_its_limit() {
        assert!(weight(&json!(vec![0; 100_000]), 1000) < 1200);
        assert!(weight(&json!({"a": "x".repeat(5000)}), 1000) > 1000);
    }

    #[test]
    fn values_are_counted_outside_of_texts() {
        assert!(has_more_values(b"[0,0,0,0]", 4));
        assert!(!has_more_values(b"[0,0,0,0]", 5));
        assert!(!has_more_values(br#"["[,{,\",[{,"]"#, 4));
    }
}
