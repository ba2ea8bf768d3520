//! What an upstream says of the sensitivity of its own data: the annotations of SEP-1913, of the extension that grew out of
//! it, and of information-flow labels. Nothing here is believed: a claim raises, and says how far (`entry.rs`).

use crate::model::Sensitivity;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The class of data that somebody outside may have written: what an agent reads in it may be meant to steer it.
pub(super) const UNTRUSTED: &str = "untrusted";

/// The extension's name, under which `_meta` has its annotations.
const EXTENSION: &str = "io.modelcontextprotocol/trust-annotations";

/// What is claimed of data. It is made of a fixed vocabulary, whatever an upstream writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Names of built-in classes.
    pub(super) classes: BTreeSet<&'static str>,
    /// The highest level that is claimed by itself.
    pub(super) level: Option<Sensitivity>,
    /// Something says in plain words that the data is public.
    pub(super) public: bool,
}

impl Claims {
    /// Those of a result, of its content, or of the params of a question or notification.
    pub fn of(value: &Value) -> Self {
        let mut claims = Self::default();
        claims.meta(value);
        for list in ["content", "contents"] {
            value.get(list).and_then(Value::as_array).into_iter().flatten().for_each(|one| claims.meta(one));
        }
        for message in value.get("messages").and_then(Value::as_array).into_iter().flatten() {
            if let Some(content) = message.get("content") {
                claims.meta(content);
            }
        }
        claims
    }

    /// The same with what the tool says of all its results, in its place in the list.
    #[must_use]
    pub fn with_tool(mut self, item: &Value) -> Self {
        if let Some(annotations) = item.get("annotations").and_then(Value::as_object) {
            // That a tool may reach the open world does not say that this result comes from there.
            self.annotations(annotations, false);
        }
        self
    }

    /// Whether nothing is claimed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn meta(&mut self, of: &Value) {
        let Some(Value::Object(meta)) = of.get("_meta") else { return };
        if let Some(Value::Object(marks)) = meta.get(EXTENSION) {
            let is = |name: &str| marks.get(name).is_some_and(|mark| *mark != Value::Bool(false));
            if is("sensitive") {
                self.classes.insert("sensitive");
            }
            if is("untrusted") {
                self.classes.insert(UNTRUSTED);
            }
        }
        if let Some(Value::Object(annotations)) = meta.get("annotations") {
            self.annotations(annotations, true);
        }
        if let Some(Value::Object(labels)) = meta.get("ifc") {
            self.flow_labels(labels);
        }
    }

    /// SEP-1913, in both of its drafts.
    fn annotations(&mut self, annotations: &Map<String, Value>, of_result: bool) {
        let is = |name: &str| annotations.get(name) == Some(&Value::Bool(true));
        match annotations.get("sensitiveHint") {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::String(word)) => match word.as_str() {
                "low" => self.at_least(Sensitivity::Internal),
                "medium" => self.at_least(Sensitivity::Confidential),
                "high" => self.at_least(Sensitivity::Restricted),
                // A word that nobody knows is no reason to think less of it.
                _ => drop(self.classes.insert("sensitive")),
            },
            Some(_) => drop(self.classes.insert("sensitive")),
        }
        if is("privateHint") {
            self.at_least(Sensitivity::Internal);
        }
        if of_result && (is("openWorldHint") || is("maliciousActivityHint")) {
            self.classes.insert(UNTRUSTED);
        }
        if let Some(Value::Object(metadata)) = annotations.get("returnMetadata") {
            let (mut public, mut none) = (false, false);
            each(metadata.get("source"), |source| match source.as_str() {
                Some("untrustedPublic") => {
                    public = true;
                    self.classes.insert(UNTRUSTED);
                }
                Some("trustedPublic") => public = true,
                Some(_) | None => self.at_least(Sensitivity::Internal),
            });
            each(metadata.get("sensitivity"), |class| match class.as_str() {
                Some("none") => none = true,
                Some("pii" | "user") => drop(self.classes.insert("personal")),
                Some("financial") => drop(self.classes.insert("financial")),
                Some("credentials") => drop(self.classes.insert("secret")),
                Some(_) | None => drop(self.classes.insert("sensitive")),
            });
            self.public |= public && none;
        }
    }

    /// Labels of information-flow control: integrity and confidentiality.
    fn flow_labels(&mut self, labels: &Map<String, Value>) {
        match labels.get("integrity").and_then(Value::as_str) {
            None | Some("trusted") => {}
            Some(_) => drop(self.classes.insert(UNTRUSTED)),
        }
        match labels.get("confidentiality") {
            None | Some(Value::Null) => {}
            Some(Value::String(word)) if word == "public" => self.public = true,
            // Private, or for those that a list names.
            Some(_) => drop(self.classes.insert("sensitive")),
        }
    }

    fn at_least(&mut self, level: Sensitivity) {
        self.level = self.level.max(Some(level));
    }
}

/// A value, or each of a list of possible ones.
fn each(value: Option<&Value>, mut with: impl FnMut(&Value)) {
    match value {
        None | Some(Value::Null) => {}
        Some(Value::Array(all)) => all.iter().for_each(with),
        Some(one) => with(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(result: Value, classes: &[&str], level: Option<Sensitivity>, public: bool) {
        let found = Claims::of(&result);
        let names: Vec<&str> = found.classes.iter().copied().collect();
        assert_eq!((names.as_slice(), found.level, found.public), (classes, level, public), "{result}");
    }

    fn meta(meta: Value) -> Value {
        json!({"content": [], "_meta": meta})
    }

    #[test]
    fn each_dialect_is_read() {
        let extension = |marks: Value| meta(json!({EXTENSION: marks}));
        check(extension(json!({"sensitive": true})), &["sensitive"], None, false);
        check(extension(json!({"sensitive": false, "untrusted": true})), &["untrusted"], None, false);
        check(extension(json!({})), &[], None, false);
        let annotations = |hints: Value| meta(json!({"annotations": hints}));
        check(annotations(json!({"sensitiveHint": "high"})), &[], Some(Sensitivity::Restricted), false);
        check(annotations(json!({"sensitiveHint": "medium"})), &[], Some(Sensitivity::Confidential), false);
        check(annotations(json!({"sensitiveHint": "low"})), &[], Some(Sensitivity::Internal), false);
        check(annotations(json!({"sensitiveHint": "cosmic"})), &["sensitive"], None, false);
        check(annotations(json!({"sensitiveHint": true})), &["sensitive"], None, false);
        check(annotations(json!({"privateHint": true})), &[], Some(Sensitivity::Internal), false);
        check(annotations(json!({"openWorldHint": true})), &["untrusted"], None, false);
        check(annotations(json!({"maliciousActivityHint": true})), &["untrusted"], None, false);
        let returns = |source: Value, sensitivity: Value| {
            annotations(json!({"returnMetadata": {"source": source, "sensitivity": sensitivity}}))
        };
        check(returns(json!("trustedPublic"), json!("none")), &[], None, true);
        check(returns(json!("untrustedPublic"), json!("none")), &["untrusted"], None, true);
        check(returns(json!("internal"), json!("none")), &[], Some(Sensitivity::Internal), false);
        check(
            returns(json!("system"), json!(["pii", "credentials"])),
            &["personal", "secret"],
            Some(Sensitivity::Internal),
            false,
        );
        check(
            returns(json!("trustedPublic"), json!({"regulated": {"scopes": ["HIPAA"]}})),
            &["sensitive"],
            None,
            false,
        );
        let flow = |integrity: &str, confidentiality: Value| {
            meta(json!({"ifc": {"integrity": integrity, "confidentiality": confidentiality}}))
        };
        check(flow("trusted", json!("public")), &[], None, true);
        check(flow("untrusted", json!("private")), &["sensitive", "untrusted"], None, false);
        check(flow("trusted", json!(["ann", "bob"])), &["sensitive"], None, false);
    }

    #[test]
    fn a_part_claims_for_the_whole() {
        let mark = json!({EXTENSION: {"sensitive": true}});
        check(
            json!({"content": [{"type": "text", "text": "a"}, {"_meta": mark}]}),
            &["sensitive"],
            None,
            false,
        );
        check(json!({"contents": [{"uri": "a:b", "_meta": mark}]}), &["sensitive"], None, false);
        let message = json!({"role": "user", "content": {"type": "text", "text": "a", "_meta": mark}});
        check(json!({"messages": [message]}), &["sensitive"], None, false);
        for odd in [json!(null), json!([]), json!({"_meta": 5}), json!({"content": "x", "messages": [1]})] {
            check(odd, &[], None, false);
        }
        let tool =
            json!({"annotations": {"openWorldHint": true, "returnMetadata": {"sensitivity": "financial"}}});
        let claims = Claims::of(&json!({})).with_tool(&tool);
        assert_eq!(claims.classes.into_iter().collect::<Vec<_>>(), ["financial"]);
    }
}
