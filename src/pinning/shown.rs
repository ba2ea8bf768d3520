//! Texts of upstreams as people compare them: a character that nobody sees is written as its code point.

use crate::redaction::{hidden_as, is_hidden};
use serde_json::{Map, Value};

/// A text in which each hidden character is written as `[U+E0041]`. Line feeds and tabs stay.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            hidden if is_hidden(hidden) => hidden_as(hidden, &mut out),
            plain => out.push(plain),
        }
    }
    out
}

/// The same for each text and each name in a value.
pub fn shown_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(shown(text)),
        Value::Array(items) => Value::Array(items.iter().map(shown_value).collect()),
        Value::Object(map) => {
            let shown: Map<String, Value> =
                map.iter().map(|(name, value)| (shown(name), shown_value(value))).collect();
            Value::Object(shown)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hidden_characters_are_written_out() {
        let check = |text: &str, expect: &str| assert_eq!(shown(text), expect);
        check("Grüße\n\t漢字", "Grüße\n\t漢字");
        check("a\u{e0041}b", "a[U+E0041]b");
        check("x\u{202e}y\u{200b}\u{1b}\r", "x[U+202E]y[U+200B][U+001B][U+000D]");
        assert_eq!(
            shown_value(&json!({"a\u{200d}": ["b\u{feff}", 1]})),
            json!({"a[U+200D]": ["b[U+FEFF]", 1]})
        );
    }

    #[test]
    fn nothing_hidden_comes_out() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|c| !matches!(c, '\n' | '\t')) {
            assert!(!shown(&c.to_string()).chars().any(is_hidden), "{c:?}");
        }
    }
}
