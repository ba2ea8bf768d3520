//! Masks for whoever may see what happened, and not with which values.

use serde_json::Value;

/// What stands in a value's place. Names of members stay, where they look like names; what is in lists and objects is looked
/// through, so that one sees how much there is.
#[must_use]
pub fn withheld(value: &Value) -> Value {
    let mask = |kind: &str, length: usize| Value::String(format!("[withheld:{kind}:{length}]"));
    match value {
        Value::Null => mask("null", 1),
        Value::Bool(_) => mask("boolean", 1),
        Value::Number(number) => mask("number", number.to_string().len()),
        Value::String(text) => mask("string", text.chars().count()),
        Value::Array(items) => Value::Array(items.iter().map(withheld).collect()),
        Value::Object(members) => {
            let told =
                |(at, (name, value)): (usize, (&String, &Value))| (member_name(at, name), withheld(value));
            Value::Object(members.iter().enumerate().map(told).collect())
        }
    }
}

/// A map's keys may be values too: what no parameter would be called is not told.
fn member_name(at: usize, name: &str) -> String {
    let is_name = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if is_name { name.to_owned() } else { format!("[withheld:name:{}:{at}]", name.chars().count()) }
}

/// What is called, without the query of a URI: that is what was asked there.
#[must_use]
pub fn without_query(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) if target.contains(':') => {
            format!("{path}?[withheld:string:{}]", query.chars().count())
        }
        Some(_) | None => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_told_by_kind_and_length() {
        let value = json!({"path": "/a/é", "n": 12.5, "deep": [{"on": true}, null], "a secret key": 1});
        assert_eq!(
            withheld(&value),
            json!({
                "path": "[withheld:string:4]",
                "n": "[withheld:number:4]",
                "deep": [{"on": "[withheld:boolean:1]"}, "[withheld:null:1]"],
                "[withheld:name:12:3]": "[withheld:number:1]",
            })
        );
        assert_eq!(without_query("https://h/find?q=secret"), "https://h/find?[withheld:string:8]");
        assert_eq!(without_query("files__read"), "files__read");
    }
}
