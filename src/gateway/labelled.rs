//! What an upstream asks and tells, as a client may show it: the upstream's name stands in front, nothing in it is hidden,
//! and nothing but a web page is opened.

use crate::redaction::{display_text, is_hidden};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use url::{Host, Url};

/// How much of one text a person is shown, in characters.
const LONGEST_TEXT: usize = 4000;
/// How much of a title or of a logger's name.
const LONGEST_TITLE: usize = 200;
/// The longest URL of a page, and the longest id of an elicitation, in bytes.
const LONGEST_URL: usize = 8 << 10;
const LONGEST_ID: usize = 256;
/// How much of names and choices with hidden characters is remembered for the answer, in bytes.
const MOST_RENAMED: usize = 4 << 10;
/// The longest name of a notification.
const LONGEST_NAME: usize = 128;
/// Where a client finds by program whose something is.
const LABEL: &str = "tollgate/upstream";

/// Names and choices of a form that are shown otherwise than their upstream wrote them: shown → written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Renamed(BTreeMap<String, String>);

impl Renamed {
    fn note(&mut self, shown: &str, written: &str) {
        self.0.insert(shown.to_owned(), written.to_owned());
    }

    fn size(&self) -> usize {
        self.0.iter().map(|(shown, written)| shown.len() + written.len()).sum()
    }

    /// An answer in the upstream's own names and choices.
    pub(super) fn restore(&self, answer: &mut Value) {
        if let Some(content) = answer.get_mut("content").filter(|_| !self.0.is_empty()) {
            *content = self.written(content.take());
        }
    }

    fn written(&self, value: Value) -> Value {
        let text = |text: String| self.0.get(&text).cloned().unwrap_or(text);
        match value {
            Value::String(shown) => Value::String(text(shown)),
            Value::Array(items) => items.into_iter().map(|item| self.written(item)).collect(),
            Value::Object(map) => {
                Value::Object(map.into_iter().map(|(key, value)| (text(key), self.written(value))).collect())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }
}

/// A question as it is put. The error says what is wrong with it.
pub(super) fn question(upstream: &str, method: &str, params: Value) -> Result<(Value, Renamed), String> {
    let params = match params {
        Value::Object(params) => params,
        // It has nothing to say.
        Value::Null if method == "roots/list" => Map::new(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err("its params are not an object".to_owned());
        }
    };
    match method {
        "elicitation/create" => elicitation(upstream, params),
        "sampling/createMessage" => Ok((sampling(upstream, params), Renamed::default())),
        _ => Ok((Value::Object(params), Renamed::default())),
    }
}

fn elicitation(upstream: &str, mut params: Map<String, Value>) -> Result<(Value, Renamed), String> {
    match params.get("mode").map(Value::as_str) {
        None | Some(Some("form")) => {
            for other in ["url", "elicitationId"] {
                params.shift_remove(other);
            }
            if params.get("requestedSchema").is_some_and(|schema| !schema.is_object()) {
                return Err("its `requestedSchema` is not an object".to_owned());
            }
        }
        Some(Some("url")) => {
            params.shift_remove("requestedSchema");
            let url = page(params.get("url").and_then(Value::as_str).unwrap_or_default())?;
            params.insert("url".to_owned(), Value::String(url));
            let id = params.get("elicitationId").and_then(Value::as_str).unwrap_or_default();
            if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(is_hidden) {
                return Err("its `elicitationId` is not text, or hides characters".to_owned());
            }
        }
        Some(Some(_) | None) => return Err("its `mode` is neither `form` nor `url`".to_owned()),
    }
    let label = |text: &str, most: usize| Value::String(format!("[{upstream}] {}", display_text(text, most)));
    let message = label(params.get("message").and_then(Value::as_str).unwrap_or_default(), LONGEST_TEXT);
    let mut renamed = Renamed::default();
    let mut shown = Map::new();
    for (key, value) in params {
        let value = match (key.as_str(), value) {
            ("message", _) => continue,
            ("title" | "subtitle" | "description", Value::String(text)) => label(&text, LONGEST_TITLE),
            (_, value) => visible(value, true, &mut renamed),
        };
        shown.insert(display_text(&key, LONGEST_TITLE), value);
    }
    shown.insert("message".to_owned(), message);
    if let Some(Value::String(title)) = shown.get_mut("requestedSchema").and_then(|s| s.get_mut("title")) {
        *title = format!("[{upstream}] {title}");
    }
    if renamed.size() > MOST_RENAMED {
        return Err("it hides characters in too many of its names and choices".to_owned());
    }
    Ok((Value::Object(shown), renamed))
}

/// A value without characters that nobody sees. Of a form's names and choices the answer has to be in the upstream's
/// own, so they are remembered (`counts`); titles and descriptions are only read.
fn visible(value: Value, counts: bool, renamed: &mut Renamed) -> Value {
    let text = |text: String, counts: bool, renamed: &mut Renamed| {
        if !text.chars().any(is_hidden) {
            return text;
        }
        let shown = display_text(&text, LONGEST_TEXT);
        if counts {
            renamed.note(&shown, &text);
        }
        shown
    };
    match value {
        Value::String(written) => Value::String(text(written, counts, renamed)),
        Value::Array(items) => items.into_iter().map(|item| visible(item, counts, renamed)).collect(),
        Value::Object(map) => {
            let mut shown = Map::new();
            for (key, value) in map {
                let is_read = matches!(key.as_str(), "title" | "description" | "enumNames");
                let value = visible(value, !is_read, renamed);
                shown.insert(text(key, true, renamed), value);
            }
            Value::Object(shown)
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// A page that a person may be asked to open, as parsers read it: on the web, and without anything in front of its host
/// that looks like one.
fn page(text: &str) -> Result<String, String> {
    let refused = |why: &str| Err(format!("the page that it wants opened {why}"));
    if text.len() > LONGEST_URL || text.chars().any(|c| c == '\\' || is_hidden(c)) {
        return refused("is too long, or is written with characters that no URL has");
    }
    let Ok(url) = Url::parse(text) else { return refused("has no URL") };
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return refused("is on no host"),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_local) {
        return refused("is not on https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("has a user name in its URL");
    }
    Ok(url.into())
}

/// A prompt for the agent's model says whose it is, to the person who looks it over, to the model and to programs; it
/// brings in nothing of other servers.
fn sampling(upstream: &str, mut params: Map<String, Value>) -> Value {
    params.shift_remove("includeContext");
    let system = match params.get("systemPrompt").and_then(Value::as_str) {
        Some(text) => format!("[{upstream}] {text}"),
        None => format!("[{upstream}] The MCP server `{upstream}` asks this."),
    };
    params.insert("systemPrompt".to_owned(), Value::String(system));
    mark(upstream, &mut params);
    Value::Object(params)
}

fn mark(upstream: &str, params: &mut Map<String, Value>) {
    let meta = params.entry("_meta").or_insert_with(|| json!({}));
    if !meta.is_object() {
        *meta = json!({});
    }
    if let Some(meta) = meta.as_object_mut() {
        meta.insert(LABEL.to_owned(), Value::String(upstream.to_owned()));
    }
}

/// Whether an upstream may name one of its questions so among a result's: never as Tollgate names its own.
pub(super) fn may_name(name: &str) -> bool {
    let starts_as_ours = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("tollgate"));
    !starts_as_ours && name.len() <= LONGEST_ID && !name.chars().any(is_hidden)
}

/// Whether a notification may reach the client of a call: by its name, which is one that a server sends about a request, or
/// one that MCP does not have.
pub(super) fn may_notify(method: &str) -> bool {
    let Some(name) = method.strip_prefix("notifications/") else { return false };
    // What a client sends, and what Tollgate itself tells of lists, resources, subscriptions and cancellations.
    let is_taken = ["initialized", "cancelled", "resources/updated"].contains(&name)
        || name.starts_with("subscriptions/")
        || name.ends_with("list_changed");
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
    !is_taken && !name.is_empty() && method.len() <= LONGEST_NAME && name.bytes().all(fits)
}

/// A notification as it is told.
pub(super) fn notification(upstream: &str, method: &str, params: Value) -> Option<Value> {
    let Value::Object(mut params) = params else { return None };
    match method {
        "notifications/progress" => {
            if let Some(Value::String(message)) = params.get_mut("message")
                && message.chars().any(is_hidden)
            {
                *message = display_text(message, LONGEST_TEXT);
            }
        }
        "notifications/message" => {
            let logger = params.get("logger").and_then(Value::as_str);
            let logger = match logger {
                Some(logger) => format!("{upstream}/{}", display_text(logger, LONGEST_TITLE)),
                None => upstream.to_owned(),
            };
            params.insert("logger".to_owned(), Value::String(logger));
        }
        "notifications/elicitation/complete" => {}
        _ => mark(upstream, &mut params),
    }
    Some(Value::Object(params))
}

/// Of a question that went to a client of 2026-07-28: what its answer has to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(super) method: String,
    pub(super) renamed: Renamed,
}

/// The questions that went in one result, by their names.
pub(crate) type AllPassed = BTreeMap<String, Passed>;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(params: Value) -> Result<(Value, Renamed), String> {
        question("crm", "elicitation/create", params)
    }

    #[test]
    fn a_form_shows_all_of_itself_and_whose_it_is() {
        let (shown, renamed) = put(json!({
            "message": "Go\u{202e}on", "title": "Tollgate approval", "url": "https://x.example",
            "requestedSchema": {"type": "object", "title": "Tollgate", "properties": {
                "na\u{200b}me": {"type": "string", "description": "a\u{2066}b", "default": "d\u{200d}"},
                "pick": {"type": "string", "enum": ["y\u{feff}es", "no"], "enumNames": ["Y\u{feff}", "N"]},
            }, "required": ["na\u{200b}me"]},
        }))
        .unwrap();
        assert_eq!(shown["message"], "[crm] Go[U+202E]on");
        assert_eq!(shown["title"], "[crm] Tollgate approval");
        assert_eq!(shown["requestedSchema"]["title"], "[crm] Tollgate");
        assert!(shown.get("url").is_none());
        assert!(!shown.to_string().chars().any(is_hidden), "{shown}");
        let mut answer =
            json!({"action": "accept", "content": {"na[U+200B]me": "d[U+200D]", "pick": "y[U+FEFF]es"}});
        renamed.restore(&mut answer);
        assert_eq!(answer["content"], json!({"na\u{200b}me": "d\u{200d}", "pick": "y\u{feff}es"}));
        // Nothing hidden: nothing changes.
        let plain =
            json!({"type": "object", "properties": {"pick": {"type": "string", "enum": ["yes", "no"]}}});
        let (shown, renamed) = put(json!({"message": "m", "requestedSchema": plain})).unwrap();
        assert_eq!((&shown["requestedSchema"], renamed), (&plain, Renamed::default()));
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let refused = |params: Value| assert!(put(params.clone()).is_err(), "{params}");
        for params in [json!("Tollgate approval"), json!(["m"]), json!(null), json!(5)] {
            refused(params);
        }
        for mode in [json!("URL"), json!(null), json!(1), json!("frm")] {
            refused(json!({"message": "m", "mode": mode}));
        }
        refused(json!({"message": "m", "requestedSchema": "x"}));
        refused(json!({"message": "m", "mode": "url", "url": "https://a.example"}));
        refused(
            json!({"message": "m", "mode": "url", "url": "https://a.example", "elicitationId": "a\u{200b}"}),
        );
        let choices: Vec<String> = (0..500).map(|n| format!("choice\u{200b}{n}")).collect();
        refused(json!({"message": "m", "requestedSchema": {"properties": {"a": {"enum": choices}}}}));
        assert!(question("crm", "roots/list", Value::Null).is_ok());
        assert!(question("crm", "sampling/createMessage", json!([1])).is_err());
    }

    #[test]
    fn only_pages_of_the_web_are_opened() {
        let check = |text: &str, expect: Option<&str>| {
            let params = json!({"message": "m", "mode": "url", "url": text, "elicitationId": "1"});
            let shown = put(params).ok().map(|(params, _)| params["url"].as_str().unwrap().to_owned());
            assert_eq!(shown.as_deref(), expect, "{text}");
        };
        check("https://crm.example/key?a=b#c", Some("https://crm.example/key?a=b#c"));
        check("http://127.0.0.1:8080/x", Some("http://127.0.0.1:8080/x"));
        check("http://localhost/x", Some("http://localhost/x"));
        check("http://[::1]/x", Some("http://[::1]/x"));
        check("https://b\u{fc}cher.example/", Some("https://xn--bcher-kva.example/"));
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "vscode://x/y",
            "http://crm.example/",
            "https://tollgate.example@evil.example/",
            "https://:p@evil.example/",
            "https://tollgate.example\\@evil.example/",
            "https://a.example/\u{202e}x",
            "https://",
            "crm.example",
            "",
        ] {
            check(bad, None);
        }
        check(&format!("https://a.example/{}", "x".repeat(9000)), None);
    }

    #[test]
    fn no_question_is_named_as_ours() {
        for good in ["q", "", "who", "name-1", "toll"] {
            assert!(may_name(good), "{good}");
        }
        for bad in ["tollgate_approval", "Tollgate", "a\u{200b}", &"x".repeat(300)] {
            assert!(!may_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_prompt_says_whose_it_is() {
        let ask = |params: Value| question("crm", "sampling/createMessage", params).unwrap().0;
        let shown = ask(json!({"messages": [], "includeContext": "allServers", "_meta": {"a": 1}}));
        assert_eq!(shown["systemPrompt"], "[crm] The MCP server `crm` asks this.");
        assert_eq!(shown["_meta"], json!({"a": 1, "tollgate/upstream": "crm"}));
        assert!(shown.get("includeContext").is_none());
        assert_eq!(ask(json!({"systemPrompt": "Be brief", "_meta": 5}))["systemPrompt"], "[crm] Be brief");
    }

    #[test]
    fn notifications_are_known_by_their_names() {
        for good in ["progress", "message", "elicitation/complete", "x.vendor/thing_2"] {
            assert!(may_notify(&format!("notifications/{good}")), "{good}");
        }
        let long = format!("notifications/{}", "a".repeat(200));
        for bad in [
            "initialize",
            "elicitation/create",
            "notifications/",
            "notifications/a\nb",
            "notifications/\u{202e}",
            "notifications/initialized",
            "notifications/cancelled",
            "notifications/roots/list_changed",
            "notifications/tools/list_changed",
            "notifications/subscriptions/acknowledged",
            "notifications/resources/updated",
            &long,
        ] {
            assert!(!may_notify(bad), "{bad}");
        }
        let log = |params: Value| notification("crm", "notifications/message", params).unwrap();
        assert_eq!(log(json!({"logger": "tollgate", "data": 1}))["logger"], "crm/tollgate");
        assert_eq!(log(json!({"data": 1}))["logger"], "crm");
        let told = notification("crm", "notifications/progress", json!({"message": "a\u{202e}"})).unwrap();
        assert_eq!(told["message"], "a[U+202E]");
        assert_eq!(notification("crm", "notifications/x", json!([1])), None);
        let other = notification("crm", "notifications/x", json!({})).unwrap();
        assert_eq!(other["_meta"]["tollgate/upstream"], "crm");
    }
}
