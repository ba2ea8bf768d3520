//! Forms that ask a person for a secret, which a form must not: MCP 2025-11-25 and later have URL mode for that.

use super::{DataRules, detector::Kind, is_hidden};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// How deep a form is looked into. MCP's own are flat.
const MAX_DEPTH: usize = 8;
/// Words with which something is asked for.
const ASKS: &[&str] = &[
    "enter", "provide", "type", "paste", "give", "input", "supply", "share", "confirm", "send", "what",
    "tell",
];
/// Words with which nothing is.
const DENIES: &[&str] = &["never", "not", "don't", "without"];

impl DataRules {
    /// What secret the parameters of a form elicitation ask for: a field that is to be filled in and that is called like
    /// one, or a message that asks for it. The name of its detector comes back.
    pub fn asks_for_secret(&self, params: &Value) -> Option<&str> {
        let schema = params.get("requestedSchema");
        let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        let by_field = properties.and_then(|properties| self.field_of(properties, 0));
        let kind = by_field.or_else(|| {
            let fillable = properties.is_some_and(|all| all.values().any(is_filled_in));
            let said = ["message", "title", "description"].into_iter().flat_map(|key| {
                let said = [params.get(key), schema.and_then(|schema| schema.get(key))];
                said.into_iter().flatten().filter_map(Value::as_str)
            });
            fillable.then_some(said)?.find_map(|said| self.sentence_of(&seen(said), true))
        });
        kind.and_then(|kind| self.inner.detectors.get(usize::from(kind.0))).map(|detector| &*detector.name)
    }

    fn field_of(&self, properties: &Map<String, Value>, depth: usize) -> Option<Kind> {
        properties.iter().find_map(|(name, field)| {
            if let Some(Value::Object(inner)) = field.get("properties").filter(|_| depth < MAX_DEPTH) {
                return self.field_of(inner, depth + 1);
            }
            if !is_filled_in(field) {
                return None;
            }
            let text = |key: &str| field.get(key).and_then(Value::as_str);
            if text("format") == Some("password") {
                return Some(Kind::FIELD_PASSWORD);
            }
            let named =
                |name: &str| self.inner.scanner.fields.kind(&seen(name)).filter(|kind| self.is_secret(*kind));
            named(name)
                .or_else(|| text("title").and_then(named))
                .or_else(|| text("description").and_then(|said| self.sentence_of(&seen(said), false)))
        })
    }

    fn is_secret(&self, kind: Kind) -> bool {
        let detector = self.inner.detectors.get(usize::from(kind.0));
        detector.and_then(|d| self.inner.classes.get(d.class)).is_some_and(|class| &*class.name == "secret")
    }

    /// A secret at the end of a clause, where the clause asks for it or that is clear anyway; a sentence that says no says
    /// it for all of its clauses.
    fn sentence_of(&self, text: &str, must_ask: bool) -> Option<Kind> {
        let says = |part: &str, words: &[&str]| {
            part.split_whitespace().any(|word| {
                let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
                words.contains(&word.as_str())
            })
        };
        let sentences = text.split(['.', '!', '?', '\n']).filter(|sentence| !says(sentence, DENIES));
        sentences.flat_map(|sentence| sentence.split([',', ';', ':', '(', ')'])).find_map(|clause| {
            let kind = self.inner.scanner.fields.kind_at_end(clause).filter(|kind| self.is_secret(*kind))?;
            (!must_ask || says(clause, ASKS)).then_some(kind)
        })
    }
}

/// A text as it looks: what nobody sees takes no word apart.
fn seen(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    // A control may stand where a space does.
    let shown = text.chars().filter_map(|c| match (is_hidden(c), c.is_ascii_control()) {
        (true, true) => Some(' '),
        (true, false) => None,
        (false, _) => Some(c),
    });
    Cow::Owned(shown.collect())
}

/// Whether a person writes into it: not a choice, not several, and not a yes or no.
fn is_filled_in(field: &Value) -> bool {
    let chosen =
        |field: &Value| ["enum", "oneOf", "anyOf", "const"].iter().any(|key| field.get(*key).is_some());
    match field.get("type").and_then(Value::as_str) {
        Some("boolean") => false,
        Some("array") => field.get("items").is_some_and(|items| !chosen(items)),
        Some(_) | None => !chosen(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_form_that_asks_for_a_secret_is_known() {
        let rules = DataRules::built_in();
        let form = |message: &str, fields: Value| json!({"message": message, "requestedSchema": {"type": "object", "properties": fields}});
        let check = |params: Value, expect: bool| {
            assert_eq!(rules.asks_for_secret(&params).is_some(), expect, "{params}");
        };
        let text = json!({"type": "string"});
        check(form("Log in", json!({"password": text})), true);
        check(form("Log in", json!({"userPassword": text})), true);
        check(form("x", json!({"api_key": text})), true);
        check(form("x", json!({"a": {"type": "string", "title": "GitHub access token"}})), true);
        check(form("x", json!({"a": {"type": "string", "format": "password"}})), true);
        check(
            form(
                "x",
                json!({"a": {"type": "string", "description": "Your account's password, as you set it"}}),
            ),
            true,
        );
        check(form("x", json!({"pin": {"type": "integer"}})), true);
        check(form("x", json!({"pass\u{200b}word": text})), true);
        check(form("Please enter your pass\u{2060}word", json!({"value": text})), true);
        check(form("x", json!({"a": {"type": "string", "title": "Access\u{feff} token"}})), true);
        check(
            form(
                "x",
                json!({"passwords": {"type": "array", "items": {"type": "string"}}, "password": {"type": "array", "items": {"type": "string"}}}),
            ),
            true,
        );
        check(
            json!({"message": "x", "requestedSchema": {"title": "Enter your password", "properties": {"a": text}}}),
            true,
        );
        check(
            form("x", json!({"password": {"type": "array", "items": {"type": "string", "enum": ["a"]}}})),
            false,
        );
        check(form("x", json!({"outer": {"type": "object", "properties": {"client_secret": text}}})), true);
        check(form("Please enter your API key", json!({"value": text})), true);
        check(
            form("To go on, please paste the one-time code: it was sent to you", json!({"value": text})),
            true,
        );
        check(form("Please enter your API key", json!({"agree": {"type": "boolean"}})), false);
        check(form("We will never ask for your password.", json!({"name": text})), false);
        let pin = "Your favorite integer (do not give us your phone number, pin, or other sensitive info)";
        check(form("x", json!({"integer": {"type": "integer", "description": pin}})), false);
        check(
            form("x", json!({"a": {"type": "string", "description": "Your name. Then your password"}})),
            true,
        );
        check(form("Reset your password?", json!({"resetPassword": {"type": "boolean"}})), false);
        check(form("How long?", json!({"max_tokens": {"type": "integer"}})), false);
        check(form("Which?", json!({"password_policy": text})), false);
        check(form("Which?", json!({"token": {"type": "string", "enum": ["a", "b"]}})), false);
        check(form("Name and city", json!({"name": text, "city": text, "keyboard": text})), false);
        check(json!({"message": "Please enter your password", "mode": "url"}), false);
        check(json!(null), false);
    }
}
