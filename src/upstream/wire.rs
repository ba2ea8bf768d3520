//! JSON-RPC on the wire: a request becomes bytes once, and what comes back is read once and moved on.

use super::dialect::Dialect;
use super::{call::Call, scan::IdScan, types::Era};
use crate::model::{RpcError, code, json, weight};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json, value::RawValue};

/// The stateless version that is spoken.
pub(super) const MODERN: &str = "2026-07-28";
/// The version offered in `initialize`.
pub(super) const LEGACY: &str = "2025-11-25";
/// What an upstream may answer in `initialize`, the newest first. The messages of the older ones are the same.
pub(super) const LEGACY_ACCEPTED: &[&str] =
    &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "2024-10-07"];
/// What is offered to a server that refuses [`LEGACY`] and does not say which versions it speaks.
const OLDER: &str = "2024-11-05";
/// What an envelope adds to a result.
pub(super) const ENVELOPE: u64 = 512;

/// Messages of one batch.
const MOST_IN_BATCH: usize = 256;
/// Values of one message: each costs memory many times its text.
const MOST_VALUES: usize = 250_000;
/// Arrays and objects within each other, the message included: the JSON library's own limit.
const MOST_LEVELS: usize = 127;
/// Where results may be larger than usual, so many of their bytes are taken for a value.
const BYTES_OF_A_VALUE: u64 = 8;

const KEY_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const KEY_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const KEY_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const KEY_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Where a modern server names itself.
pub(super) const KEY_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The version chosen in an answer to `initialize`.
pub(super) fn legacy_version(result: &Value) -> Result<&'static str, String> {
    let version = result.get("protocolVersion").and_then(Value::as_str);
    let Some(version) = version else {
        return Err("the answer to `initialize` names no `protocolVersion`".to_owned());
    };
    let known = LEGACY_ACCEPTED.iter().find(|known| **known == version);
    known.copied().ok_or_else(|| {
        // It stands in the log: a date may, any text not.
        let is_date = version.len() <= 10 && version.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let version = if is_date {
            format!("the protocol version `{version}`, which")
        } else {
            "a protocol version that".to_owned()
        };
        format!("it speaks {version} is not known here")
    })
}

fn put(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    let start = out.len();
    // Writing JSON values and text into memory cannot fail; should it, what stays is still JSON.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

fn member(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &(impl serde::Serialize + ?Sized)) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    put(out, key);
    out.push(b':');
    put(out, value);
}

/// The request as bytes. Its id is its progress token too: both are ours and unique on the connection.
pub(super) fn request(id: u64, call: &Call, dialect: &Dialect) -> Vec<u8> {
    call.relay.sent_as(id, &dialect.version);
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    put(&mut out, &id);
    out.extend_from_slice(b",\"method\":");
    put(&mut out, call.request.method);
    out.extend_from_slice(b",\"params\":{");
    let mut first = true;
    for (key, value) in call.request.params.iter() {
        if key != "_meta" {
            member(&mut out, &mut first, key, value);
        }
    }
    if !first {
        out.push(b',');
    }
    out.extend_from_slice(b"\"_meta\":{");
    meta(&mut out, id, call, dialect);
    out.extend_from_slice(b"}}}");
    out
}

fn meta(out: &mut Vec<u8>, id: u64, call: &Call, dialect: &Dialect) {
    let mut first = true;
    if let Some(Value::Object(own)) = call.request.params.get("_meta") {
        for (key, value) in own {
            let ours = matches!(
                key.as_str(),
                "progressToken" | "traceparent" | KEY_VERSION | KEY_CLIENT | KEY_CAPABILITIES | KEY_LOG_LEVEL
            );
            if !ours {
                member(out, &mut first, key, value);
            }
        }
    }
    if call.request.wants_progress {
        member(out, &mut first, "progressToken", &id);
    }
    if let Some(traceparent) = &call.traceparent {
        member(out, &mut first, "traceparent", traceparent);
    }
    match dialect.era {
        Era::Legacy => {}
        Era::Modern => {
            member(out, &mut first, KEY_VERSION, &*dialect.version);
            member(out, &mut first, KEY_CLIENT, &*dialect.client_info);
            if call.request.client_capabilities.is_object() {
                member(out, &mut first, KEY_CAPABILITIES, &call.request.client_capabilities);
            } else {
                member(out, &mut first, KEY_CAPABILITIES, &Map::<String, Value>::new());
            }
            if let Some(level) = &call.request.log_level {
                member(out, &mut first, KEY_LOG_LEVEL, level);
            }
        }
    }
}

/// A notification as bytes.
pub(super) fn notification(method: &str, params: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    put(&mut out, &json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    out
}

/// `notifications/cancelled` for one of our requests.
pub(super) fn cancelled(id: u64) -> Vec<u8> {
    notification(
        "notifications/cancelled",
        &json!({ "requestId": id, "reason": "the caller no longer waits" }),
    )
}

/// Our answer to a request of the upstream.
pub(super) fn reply(id: &Value, outcome: &Result<Value, RpcError>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let message = match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    };
    put(&mut out, &message);
    out
}

/// One message from an upstream.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// The answer to one of our requests; without an id where the upstream could not read it.
    Response { id: Option<u64>, outcome: Result<Value, RpcError> },
    /// Something it wants to know.
    Request { id: Value, method: String, params: Value },
    /// Something it tells.
    Notification { method: String, params: Value },
    /// What cannot be read. Where it answers one of our requests, which; what is wrong, without quoting it.
    Unreadable { answers: Option<u64>, reason: String },
}

/// How many values a message may hold where results may be so large.
fn most_values(max_result: u64) -> usize {
    usize::try_from(max_result / BYTES_OF_A_VALUE).unwrap_or(usize::MAX).max(MOST_VALUES)
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default, deserialize_with = "given")]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default, deserialize_with = "given")]
    params: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    result: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    error: Option<Value>,
}

/// A member; `null` is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    json::foreign(deserializer).map(|value| Some(value).filter(|value| !value.is_null()))
}

/// Reads one message, or a batch of them (2025-03-26). What cannot be read costs itself only.
pub(super) fn parse(bytes: &[u8], max_result: u64) -> Vec<Message> {
    let bytes = json::without_mark(bytes);
    let most = most_values(max_result);
    if weight::has_more_values(bytes, most) {
        return vec![unreadable(bytes, format!("more than {most} values in one message"))];
    }
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
        return vec![one(bytes)];
    }
    match serde_json::from_slice::<Vec<&RawValue>>(bytes).map_err(|error| why(&error)) {
        Ok(messages) if messages.len() > MOST_IN_BATCH => {
            vec![unreadable(bytes, format!("a batch of more than {MOST_IN_BATCH} messages"))]
        }
        Ok(messages) if messages.is_empty() => vec![unreadable(bytes, "an empty batch".to_owned())],
        Ok(messages) => messages.into_iter().map(|message| one(message.get().as_bytes())).collect(),
        // Raw values are UTF-8.
        Err(reason) => match json::as_javascript(bytes) {
            Some(mended) if std::str::from_utf8(bytes).is_err() => parse(&mended, max_result),
            Some(_) | None => vec![unreadable(bytes, reason)],
        },
    }
}

/// The error says what is wrong without quoting it.
fn why(error: &serde_json::Error) -> String {
    // The library has no other sign of it.
    if error.to_string().starts_with("recursion limit exceeded") {
        return format!(
            "nested deeper than {MOST_LEVELS} levels (line {}, column {})",
            error.line(),
            error.column()
        );
    }
    match error.classify() {
        serde_json::error::Category::Data => format!("not a JSON-RPC message (column {})", error.column()),
        _ => format!("not JSON (line {}, column {})", error.line(), error.column()),
    }
}

fn one(bytes: &[u8]) -> Message {
    let read = |bytes: &[u8]| {
        let envelope = serde_json::from_slice(bytes).map_err(|error| why(&error))?;
        message(envelope)
    };
    let message =
        read(bytes).or_else(|wrong| json::as_javascript(bytes).map_or(Err(wrong), |mended| read(&mended)));
    message.unwrap_or_else(|reason| unreadable(bytes, reason))
}

fn unreadable(bytes: &[u8], reason: String) -> Message {
    let mut scan = IdScan::default();
    scan.push(bytes);
    Message::Unreadable { answers: scan.id(), reason }
}

fn message(envelope: Envelope) -> Result<Message, String> {
    let params = |params: Option<Value>| params.unwrap_or_else(|| Value::Object(Map::new()));
    match envelope {
        Envelope { method: Some(method), id: Some(id), params: p, .. } => {
            Ok(Message::Request { id, method, params: params(p) })
        }
        Envelope { method: Some(method), params: p, .. } => {
            Ok(Message::Notification { method, params: params(p) })
        }
        Envelope { id: None, error: Some(error), .. } if !error.is_object() => {
            Err("an error that is not an object".to_owned())
        }
        Envelope { id, error: Some(error), .. } => {
            Ok(Message::Response { id: own_id(id.as_ref()), outcome: Err(rpc_error(error)) })
        }
        Envelope { id, result: Some(result), .. } => {
            Ok(Message::Response { id: own_id(id.as_ref()), outcome: Ok(result) })
        }
        Envelope { .. } => Err("neither a method nor a result nor an error".to_owned()),
    }
}

/// Our ids are numbers; some servers echo them as text.
pub(super) fn own_id(id: Option<&Value>) -> Option<u64> {
    match id? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn rpc_error(error: Value) -> RpcError {
    let mut members = match error {
        Value::Object(members) => members,
        Value::String(text) => return RpcError::new(code::INTERNAL_ERROR, text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return RpcError::new(code::INTERNAL_ERROR, "the upstream gave an error that is not an object");
        }
    };
    let code = members.get("code").and_then(Value::as_i64).unwrap_or(code::INTERNAL_ERROR);
    let message = match members.remove("message") {
        Some(Value::String(text)) => text,
        Some(_) | None => "the upstream gave no message".to_owned(),
    };
    RpcError { code, message, data: members.remove("data") }
}

/// Whether a text says of itself that it is JSON-RPC: many a framework's error looks like an answer without an id.
pub(super) fn is_json_rpc(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Claim<'a> {
        #[serde(borrow)]
        jsonrpc: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Claim<'_>>(json::without_mark(bytes)).is_ok_and(|claim| claim.jsonrpc == "2.0")
}

/// Which version to offer a server that refused [`LEGACY`]: the newest of those that it names, or an old one where it
/// only says that it is about the version.
pub(super) fn version_instead(error: &RpcError) -> Option<&'static str> {
    let named = error.data.as_ref().and_then(|data| data.get("supported")).and_then(Value::as_array);
    let version = match named {
        Some(named) => {
            let speaks = |known: &&&str| named.iter().any(|version| version.as_str() == Some(**known));
            LEGACY_ACCEPTED.iter().find(speaks).copied()
        }
        None => {
            let message = error.message.to_ascii_lowercase();
            let about_it =
                ["protocol version", "protocolversion"].iter().any(|words| message.contains(words));
            about_it.then_some(OLDER)
        }
    };
    version.filter(|version| *version != LEGACY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn call(params: Value) -> Call {
        let Value::Object(params) = params else { panic!("params are an object") };
        Call::internal("tools/call", params, Duration::from_secs(1))
    }

    #[test]
    fn what_is_nested_too_deep_is_said_to_be() {
        let deep = |levels| format!(r#"{{"id":3,"result":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let read = |levels| parse(deep(levels).as_bytes(), 1 << 20).remove(0);
        assert!(matches!(read(MOST_LEVELS - 1), Message::Response { id: Some(3), .. }));
        match read(MOST_LEVELS) {
            Message::Unreadable { answers: Some(3), reason } => {
                assert!(reason.starts_with("nested deeper than 127 levels"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reserved_meta_is_ours_and_the_rest_is_the_callers() {
        let mut call = call(json!({
            "name": "a",
            "_meta": { "x": 1, "progressToken": "theirs", KEY_VERSION: "1", "tracestate": "s" }
        }));
        call.request.wants_progress = true;
        call.request.log_level = Some("info".to_owned());
        let check = |era, expect: Value| {
            let dialect = Dialect::new(era, MODERN, "t", "1");
            let sent: Value = serde_json::from_slice(&request(7, &call, &dialect)).unwrap();
            assert_eq!(sent, expect);
        };
        check(
            Era::Legacy,
            json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
                "name": "a", "_meta": { "x": 1, "tracestate": "s", "progressToken": 7 } } }),
        );
        check(
            Era::Modern,
            json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
                "name": "a", "_meta": { "x": 1, "tracestate": "s", "progressToken": 7,
                    KEY_VERSION: MODERN, KEY_CLIENT: { "name": "t", "version": "1" },
                    KEY_CAPABILITIES: {}, KEY_LOG_LEVEL: "info" } } }),
        );
    }

    #[test]
    fn messages_are_told_apart_and_big_numbers_survive() {
        let parse = |bytes: &[u8]| parse(bytes, 1 << 20);
        let check = |input: &str, expect: Message| assert_eq!(parse(input.as_bytes()), [expect]);
        check(
            r#"{"result":{"n":12345678901234567890123},"id":"4"}"#,
            Message::Response {
                id: Some(4),
                outcome: Ok(serde_json::from_str(r#"{"n":12345678901234567890123}"#).unwrap()),
            },
        );
        check(
            r#"{"id":null,"error":{"code":-32700}}"#,
            Message::Response {
                id: None,
                outcome: Err(RpcError::new(-32700, "the upstream gave no message")),
            },
        );
        check(
            r#"{"id":"q","method":"ping"}"#,
            Message::Request { id: json!("q"), method: "ping".into(), params: json!({}) },
        );
        check(
            r#"{"method":"n","params":{"a":[]}}"#,
            Message::Notification { method: "n".into(), params: json!({"a": []}) },
        );
        let charts = json!({"tools": [{"description": "Draws charts \u{fffd}"}]});
        let charts = |id| Message::Response { id: Some(id), outcome: Ok(charts.clone()) };
        check(r#"{"id":1,"result":{"tools":[{"description":"Draws charts \udc11"}]}}"#, charts(1));
        check(
            "\u{feff}{\"id\":2,\"result\":{\"tools\":[{\"description\":\"Draws charts \u{fffd}\"}]}}",
            charts(2),
        );
        assert_eq!(parse(b"{\"method\":\"\xe9\"}"), parse("{\"method\":\"\u{fffd}\"}".as_bytes()));
        assert_eq!(parse(b"[{\"method\":\"a\"},{\"method\":\"\xe9\"}]").len(), 2);
    }

    #[test]
    fn what_cannot_be_read_costs_itself_only() {
        let found = |text: &str, max_result: u64| -> Vec<String> {
            let told = |message: Message| match message {
                Message::Response { id, .. } => format!("response {id:?}"),
                Message::Request { .. } => "request".to_owned(),
                Message::Notification { .. } => "notification".to_owned(),
                Message::Unreadable { answers, .. } => format!("unreadable {answers:?}"),
            };
            parse(text.as_bytes(), max_result).into_iter().map(told).collect()
        };
        let check = |text: &str, expect: &[&str]| assert_eq!(found(text, 1 << 20), expect, "{text:.80}");
        check(
            r#"[{"method":"a"},{"method":1},7,{"id":3,"result":{}}]"#,
            &["notification", "unreadable None", "unreadable None", "response Some(3)"],
        );
        let deep = format!(r#"{{"result":{}{},"id":6}}"#, "[".repeat(200), "]".repeat(200));
        check(&deep, &["unreadable Some(6)"]);
        check(&format!(r#"[{deep},{{"id":1,"result":{{}}}}]"#), &["unreadable Some(6)", "response Some(1)"]);
        check(r#"{"id":8,"result":{"a":tru}}"#, &["unreadable Some(8)"]);
        // A question of the upstream's has an id of the upstream's.
        check(r#"{"id":8,"method":"ping","params":{"a":tru}}"#, &["unreadable None"]);
        check(r#"{"id":1}"#, &["unreadable Some(1)"]);
        for none in ["", "hello", "{}", "[1]", "[]", "[{", &"[".repeat(5000), "{\"method\":1}"] {
            check(none, &["unreadable None"]);
        }
        let batch = |messages: usize| format!("[{}]", vec![r#"{"method":"a"}"#; messages].join(","));
        assert_eq!(found(&batch(MOST_IN_BATCH), 0).len(), MOST_IN_BATCH);
        check(&batch(MOST_IN_BATCH + 1), &["unreadable None"]);
        let many = |values: usize| format!(r#"{{"id":5,"result":{{"a":[{}0]}}}}"#, "0,".repeat(values));
        check(&many(MOST_VALUES + 10), &["unreadable Some(5)"]);
        check(&many(MOST_VALUES - 10), &["response Some(5)"]);
        assert_eq!(found(&many(MOST_VALUES + 10), 16 << 20), ["response Some(5)"]);
    }
}
