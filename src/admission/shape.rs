//! What calls that are nearly the same have in common: their arguments without numbers, spaces and long tails.

use serde_json::{Map, Value};

/// Characters of a text that count.
const LONGEST: usize = 64;
/// Members of an object or a list that count.
const MOST_MEMBERS: usize = 32;
/// Values that are looked at in all, and levels.
const MOST_VALUES: usize = 1_000;
const DEEPEST: usize = 16;

/// The shape of arguments: two calls of one tool with the same shape are nearly the same. Numbers count as one, in texts
/// too, and with them what hex digits and dashes stand between them (ids, dates); spaces and case do not count, nor what
/// comes behind the first 64 characters of a text. Looks at a bounded part of a value, whatever its size.
pub fn shape(arguments: &Value) -> Value {
    of(arguments, 0, &mut MOST_VALUES.clone())
}

fn of(value: &Value, depth: usize, left: &mut usize) -> Value {
    if *left == 0 || depth > DEEPEST {
        return Value::Null;
    }
    *left -= 1;
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) => Value::from("#"),
        Value::String(text) => Value::from(of_text(text)),
        Value::Array(items) => {
            Value::Array(items.iter().take(MOST_MEMBERS).map(|item| of(item, depth + 1, left)).collect())
        }
        Value::Object(members) => {
            let of_member = |(name, value): (&String, &Value)| (name.clone(), of(value, depth + 1, left));
            Value::Object(members.iter().take(MOST_MEMBERS).map(of_member).collect::<Map<_, _>>())
        }
    }
}

fn of_text(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if length >= LONGEST {
            break;
        }
        if c.is_alphanumeric() || c == '-' {
            word.extend(c.to_lowercase());
            if word.len() < LONGEST * 4 {
                continue;
            }
        }
        length += push_word(&mut out, &word);
        word.clear();
        if c.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else if !c.is_alphanumeric() && c != '-' {
            out.push(c);
        }
        length += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

/// A word without its numbers: an id is one number; of other words the digits are.
fn push_word(out: &mut String, word: &str) -> usize {
    let has_digit = word.chars().any(char::is_numeric);
    let is_id = has_digit && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_id {
        out.push('#');
        return 1;
    }
    let mut last = ' ';
    let mut pushed = 0;
    for c in word.chars() {
        let c = if c.is_numeric() { '#' } else { c };
        if !(c == '#' && last == '#') {
            out.push(c);
            pushed += 1;
        }
        last = c;
    }
    pushed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn alike(a: Value, b: Value, expect: bool) {
        assert_eq!(shape(&a) == shape(&b), expect, "{} and {}", shape(&a), shape(&b));
    }

    #[test]
    fn numbers_ids_spaces_and_tails_do_not_count() {
        alike(json!({"page": 1}), json!({"page": 27}), true);
        alike(json!({"q": "retry 1"}), json!({"q": "Retry  29 "}), true);
        alike(json!({"q": "try no. 1!"}), json!({"q": "try no. 33!"}), true);
        alike(
            json!({"id": "0b6e7f0a-2d0f-4f7a-9a55-3f3bb7a0f001"}),
            json!({"id": "ffffffff-1d0f-4f7a-9a55-3f3bb7a0f002"}),
            true,
        );
        alike(json!({"at": "2026-11-30T10:00:00Z"}), json!({"at": "2025-01-02T03:04:05Z"}), true);
        alike(
            json!({"t": format!("{}a", "x ".repeat(90))}),
            json!({"t": format!("{}b", "x ".repeat(90))}),
            true,
        );
        alike(json!({"user7": 1}), json!({"user8": 1}), false);
    }

    #[test]
    fn what_an_agent_really_changes_counts() {
        alike(json!({"path": "/notes/a.md"}), json!({"path": "/notes/b.md"}), false);
        alike(json!({"q": "mail"}), json!({"q": "calendar"}), false);
        alike(json!({"q": "cafe"}), json!({"q": "face"}), false);
        alike(json!({"a": 1}), json!({"b": 1}), false);
        alike(json!({"deep": true}), json!({"deep": false}), false);
        alike(json!({"to": ["a"]}), json!({"to": ["a", "b"]}), false);
        alike(json!({"q": ""}), json!({"q": "x"}), false);
    }

    /// However large the arguments are, a bounded part of them is looked at.
    #[test]
    fn large_arguments_cost_no_more() {
        let wide = Value::Array((0..100_000).map(|n| json!({ "n": n })).collect());
        assert!(shape(&wide).to_string().len() < 4_000);
        let long = shape(&json!({"t": "word ".repeat(1 << 20), "u": "x".repeat(1 << 20)}));
        assert!(long.to_string().len() < 2_000, "{}", long.to_string().len());
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(shape(&deep).to_string().len() < 100);
    }
}
