//! What looks like a secret in a client's file or in servers.toml, and so is not copied, and belongs elsewhere.

use crate::redaction::{DataRules, Place};
use serde_json::json;
use std::borrow::Cow;

/// Whether a value looks like something that belongs in no file, by what it is or what it is called.
pub fn is_secret(rules: &DataRules, name: &str, value: &str) -> bool {
    // A reference is no secret; what stands beside it may be one by its form.
    let (name, value) = match value.contains("${") {
        true => ("part", Cow::Owned(without_references(value))),
        false => (name, Cow::Borrowed(value)),
    };
    !value.is_empty() && rules.inspect_arguments(&json!({ name: value }), &Place::NOWHERE).redacted
}

/// Whether what is called so holds a secret.
pub(super) fn names_secret(rules: &DataRules, name: &str) -> bool {
    is_secret(rules, name, "q7Z")
}

fn without_references(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once("${") {
        out.push_str(before);
        rest = inner.split_once('}').map_or("", |(_, after)| after);
    }
    out + rest
}
