//! What differs, for people and for logs: as `diff -u` says it, without the secrets that stand in either text.

use super::document::{strict, toml_value};
use crate::{
    config::{is_secret, secret_in_argument},
    redaction::DataRules,
};
use serde_json::Value;

/// What stands in a secret's place.
pub(in crate::cli) const MASK: &str = "‹a secret›";

/// Empty where nothing differs. What hides in a text or turns its direction is for the screen to show.
pub(in crate::cli) fn difference(name: &str, before: &str, after: &str) -> String {
    let plain = similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .header(&format!("{name} (as it is)"), &format!("{name} (as it would be)"))
        .to_string();
    masked(&plain, &[before, after])
}

fn masked(told: &str, texts: &[&str]) -> String {
    let rules = DataRules::built_in();
    let mut secrets = Vec::new();
    for text in texts {
        if let Some(value) = value(text) {
            gather(&rules, "", &value, &mut secrets);
        }
    }
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|secret: &String| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    let mut told = told.to_owned();
    for secret in secrets {
        let written = serde_json::to_string(&secret).unwrap_or_default();
        let escaped = written.trim_matches('"');
        for quote in ['"', '\''] {
            for form in [secret.as_str(), escaped] {
                told = told.replace(&format!("{quote}{form}{quote}"), &format!("{quote}{MASK}{quote}"));
            }
        }
        // What is short may stand in any word.
        if secret.len() > 3 {
            told = told.replace(&secret, MASK).replace(escaped, MASK);
        }
    }
    rules.redact_text(&told).into_owned()
}

/// What a text says, whichever of the formats that are edited it is in.
fn value(text: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}');
    let json = || jsonc_parser::parse_to_serde_value::<Value>(text, &strict()).ok();
    let toml = || toml_value(text).ok().map(Value::Object);
    json().filter(|value| !value.is_null()).or_else(toml).or_else(|| serde_saphyr::from_str(text).ok())
}

fn gather(rules: &DataRules, name: &str, value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) if is_secret(rules, name, text) => secrets.push(text.clone()),
        Value::Array(items) => {
            let mut before = None;
            for item in items {
                let word = item.as_str();
                match word.and_then(|word| word.get(secret_in_argument(rules, before, word)?..)) {
                    Some(secret) => secrets.push(secret.to_owned()),
                    None => gather(rules, name, item, secrets),
                }
                before = word;
            }
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| gather(rules, name, value, secrets))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_as_diff_does() {
        let told = difference("x", "a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(told, "--- x (as it is)\n+++ x (as it would be)\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(difference("x", "a\n", "a\n"), "");
    }

    /// Lines that stand around the change are told, too.
    #[test]
    fn no_secret_is_told() {
        let check = |before: &str, after: &str, secrets: &[&str], plain: &[&str]| {
            let told = difference("x", before, after);
            for secret in secrets {
                assert!(!told.contains(secret), "{secret}: {told}");
            }
            for plain in plain {
                assert!(told.contains(plain), "{plain}: {told}");
            }
        };
        let toml = "[upstreams.a]\ncommand = ['a', '--api-key', 'hunter2', \"--token=s3cr3t\", '--pass', 'xyz', '--level', 'debug']\n\
                    env = { API_KEY = \"tiger\", LEVEL = \"info\" }\nheaders = { Authorization = \"Bearer cheetah\" }\n";
        let more = format!("{toml}[upstreams.b]\ncommand = ['b', '--password', 'lion-king']\n");
        check(
            toml,
            &more,
            &["hunter2", "s3cr3t", "xyz", "tiger", "cheetah", "lion-king"],
            &["--api-key", "debug", "info", "+[upstreams.b]"],
        );
        check(&more, toml, &["hunter2", "lion-king"], &["-[upstreams.b]"]);
        let json = "{ // mine\n \"mcpServers\": {\"a\": {\"command\": \"a\", \"args\": [\"--api-key\", \"hunter2\"],\n \"env\": {\"PASSWORD\": \"a\\\"b\\\\c\"}}}}\n";
        check(json, &format!("{json}\n"), &["hunter2", "a\\\"b"], &["--api-key"]);
        check("a: 1\n", "a: 1\npassword: tiger\n", &["tiger"], &["+password"]);
    }
}
