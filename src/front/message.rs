//! JSON-RPC as MCP uses it: read strictly, written once.

use crate::model::{
    RpcError, code,
    json::{self, Root},
    weight,
};
use serde::{
    Deserializer as _, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Number, Value, value::RawValue};
use std::{borrow::Cow, fmt};

/// The longest text that is taken as a request's id.
const MAX_ID_BYTES: usize = 512;
/// The most messages in one batch.
const MAX_BATCH: usize = 100;

/// A request's id: a string or an integer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    /// As the client wrote it.
    Number(Number),
    /// Likewise.
    Text(String),
}

impl Id {
    /// An id of our own.
    pub(crate) fn from_u64(id: u64) -> Self {
        Self::Number(id.into())
    }

    /// Reads an id; none where it is neither a short string nor an integer.
    pub(crate) fn read(value: Value) -> Option<Self> {
        match value {
            Value::Number(number) if integer(&number) => Some(Self::Number(number)),
            Value::String(text) if text.len() <= MAX_ID_BYTES => Some(Self::Text(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }
}

fn integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64()
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    /// Echoed in the answer.
    pub(crate) id: Id,
    /// The method.
    pub(crate) method: String,
    /// Empty where there were none.
    pub(crate) params: Map<String, Value>,
}

/// A notification.
#[derive(Debug)]
pub(crate) struct Notification {
    /// The method.
    pub(crate) method: String,
    /// Empty where there were none.
    pub(crate) params: Map<String, Value>,
}

/// A client's answer to something we asked.
#[derive(Debug)]
pub(crate) struct Response {
    /// Of our request.
    pub(crate) id: Id,
    /// The result or the error.
    pub(crate) outcome: Result<Value, RpcError>,
}

/// Any of the three.
#[derive(Debug)]
pub(crate) enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Is one.
    Response(Response),
}

/// Something that is no message.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Where it could be found.
    pub(crate) id: Option<Id>,
    /// What is wrong.
    pub(crate) error: Box<RpcError>,
}

/// One document from a client.
#[derive(Debug)]
pub(crate) enum Document {
    /// One message.
    One(Result<Message, Malformed>),
    /// A batch (2025-03-26 only); never empty, never more than 100.
    Batch(Vec<Result<Message, Malformed>>),
}

/// The most values in one document: each costs memory many times its text.
const MAX_VALUES: usize = 500_000;

/// Reads one document. The error is what JSON-RPC calls a parse error, or a batch of a wrong size. A request that cannot
/// be read is malformed where its id can be found, so that whoever made it gets an answer.
pub(crate) fn read(bytes: &[u8]) -> Result<Document, RpcError> {
    let bytes = json::without_mark(bytes);
    let root = match root(bytes) {
        Ok(root) => root,
        Err(error) => match request_id(bytes) {
            Some(id) => return Ok(Document::One(Err(Malformed { id: Some(id), error: Box::new(error) }))),
            None => return Err(error),
        },
    };
    match root {
        Root::Object(members) => Ok(Document::One(message(members))),
        Root::Other(Value::Array(items)) if items.is_empty() => {
            Err(RpcError::new(code::INVALID_REQUEST, "an empty batch"))
        }
        Root::Other(Value::Array(items)) if items.len() > MAX_BATCH => {
            let text = format!("a batch of {} messages: at most {MAX_BATCH} are read", items.len());
            Err(RpcError::new(code::INVALID_REQUEST, text))
        }
        Root::Other(Value::Array(items)) => Ok(Document::Batch(items.into_iter().map(one_of_many).collect())),
        Root::Other(_) => Ok(Document::One(Err(no_object()))),
    }
}

fn root(bytes: &[u8]) -> Result<Root<6>, RpcError> {
    if weight::has_more_values(bytes, MAX_VALUES) {
        let text = format!("more than {MAX_VALUES} values in one message");
        return Err(RpcError::new(code::INVALID_REQUEST, text));
    }
    let read = json::parse_members(bytes, &MEMBERS).or_else(|error| match json::as_javascript(bytes) {
        Some(mended) => json::parse_members(&mended, &MEMBERS),
        None => Err(error),
    });
    read.map_err(|error| RpcError::new(code::PARSE_ERROR, format!("not a JSON document: {error}")))
}

/// The id of a request that cannot be read as a whole. None where there are two, or where it may be a response: an
/// answer to that could be taken for one to a request of the client's.
fn request_id(bytes: &[u8]) -> Option<Id> {
    let mut found = Found::default();
    // What was found before the error counts.
    drop(serde_json::Deserializer::from_slice(bytes).deserialize_map(&mut found));
    let id = match found.id {
        Some(_) if found.twice => return None,
        Some(id) if found.method => id.get(),
        Some(_) | None => id_by_places(bytes)?,
    };
    // What is longer is no id, and may hold more values than a message may.
    let short = id.len() <= LONGEST_ESCAPE * MAX_ID_BYTES + 2;
    short.then(|| json::parse(id.as_bytes()).ok()).flatten().and_then(Id::read)
}

/// The id of a request that cannot be read up to it, as it is written: found by quotes and braces alone.
fn id_by_places(bytes: &[u8]) -> Option<&str> {
    let (mut depth, mut at) = (0_usize, 0);
    let (mut id, mut has_method) = (None, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = end_of_text(bytes, at)?;
                let colon = after_spaces(bytes, end);
                if depth == 1 && bytes.get(colon) == Some(&b':') {
                    match bytes.get(at..end)? {
                        b"\"method\"" => has_method = true,
                        b"\"id\"" => {
                            let value = scalar(bytes, after_spaces(bytes, colon + 1))?;
                            if id.replace(value).is_some() {
                                return None;
                            }
                        }
                        _ => {}
                    }
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
    std::str::from_utf8(id.filter(|_| has_method)?).ok()
}

/// One past the closing quote of the text that begins here.
fn end_of_text(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn after_spaces(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// A text or a number that begins here.
fn scalar(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let end = match bytes.get(start)? {
        b'"' => end_of_text(bytes, start)?,
        _ => {
            let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            start + bytes.get(start..)?.iter().take_while(is_part).count()
        }
    };
    bytes.get(start..end)
}

/// A byte of a text takes at most so many in JSON: `\u0041`.
const LONGEST_ESCAPE: usize = 6;

#[derive(Default)]
struct Found<'de> {
    id: Option<&'de RawValue>,
    method: bool,
    twice: bool,
}

impl<'de> Visitor<'de> for &mut Found<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            match &*name {
                "id" => self.twice |= self.id.replace(members.next_value()?).is_some(),
                name => {
                    self.method |= name == "method";
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The members that a message can have.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

fn no_object() -> Malformed {
    malformed(None, "a message is a JSON object")
}

fn one_of_many(value: Value) -> Result<Message, Malformed> {
    let Value::Object(mut object) = value else { return Err(no_object()) };
    message(MEMBERS.map(|name| object.swap_remove(name)))
}

fn message(members: [Option<Value>; 6]) -> Result<Message, Malformed> {
    let [version, id, method, params, result, error] = members;
    let version = matches!(version, Some(Value::String(version)) if version == VERSION);
    let had_id = id.is_some();
    let id = id.and_then(Id::read);
    if !version {
        return Err(malformed(id, "`jsonrpc` must be \"2.0\""));
    }
    if had_id && id.is_none() {
        return Err(malformed(None, "`id` must be a string of at most 512 bytes or an integer"));
    }
    match (method, id) {
        (Some(Value::String(method)), id) => {
            let params = match params {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(params)) => params,
                Some(_) => return Err(malformed(id, "`params` must be an object")),
            };
            Ok(match id {
                Some(id) => Message::Request(Request { id, method, params }),
                None => Message::Notification(Notification { method, params }),
            })
        }
        (Some(_), id) => Err(malformed(id, "`method` must be a string")),
        (None, Some(id)) => match (result, error) {
            (Some(result), None) => Ok(Message::Response(Response { id, outcome: Ok(result) })),
            (None, Some(error)) => match serde_json::from_value::<RpcError>(error) {
                Ok(error) => Ok(Message::Response(Response { id, outcome: Err(error) })),
                Err(_) => Err(malformed(Some(id), "`error` must have an integer `code` and a `message`")),
            },
            (Some(_), Some(_)) | (None, None) => Err(malformed(
                Some(id),
                "neither a request nor a response: no `method`, and not one of `result` and `error`",
            )),
        },
        (None, None) => Err(malformed(None, "neither `method` nor `id`")),
    }
}

fn malformed(id: Option<Id>, text: &'static str) -> Malformed {
    Malformed { id, error: Box::new(RpcError::new(code::INVALID_REQUEST, text)) }
}

/// Whether a message that was written here is a notification.
pub(crate) fn is_notification(message: &[u8]) -> bool {
    message.starts_with(br#"{"jsonrpc":"2.0","method":"#)
}

/// The id in an answer that was written here.
pub(crate) fn answered_id(message: &[u8]) -> Option<Id> {
    #[derive(serde::Deserialize)]
    struct Answered {
        id: Value,
        /// A question has one, and an answer has none.
        method: Option<IgnoredAny>,
    }
    let answered = serde_json::from_slice::<Answered>(message).ok();
    answered.filter(|answered| answered.method.is_none()).and_then(|answered| Id::read(answered.id))
}

#[derive(Serialize)]
struct Success<'a, T> {
    jsonrpc: &'static str,
    id: &'a Id,
    result: &'a T,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    error: &'a RpcError,
}

#[derive(Serialize)]
struct NotificationMessage<'a, T> {
    jsonrpc: &'static str,
    method: &'a str,
    params: &'a T,
}

#[derive(Serialize)]
struct RequestMessage<'a, T> {
    jsonrpc: &'static str,
    id: &'a Id,
    method: &'a str,
    params: &'a T,
}

const VERSION: &str = "2.0";

fn write(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    if serde_json::to_writer(&mut bytes, value).is_err() {
        // Only a map with keys that are no text can fail, and there is none.
        bytes.clear();
    }
    bytes
}

/// A response with a result.
pub(crate) fn success(id: &Id, result: &impl Serialize) -> Vec<u8> {
    write(&Success { jsonrpc: VERSION, id, result })
}

/// A response with an error. Without an id where none could be read.
pub(crate) fn failure(id: Option<&Id>, error: &RpcError) -> Vec<u8> {
    write(&Failure { jsonrpc: VERSION, id, error })
}

/// A notification.
pub(crate) fn notification(method: &str, params: &impl Serialize) -> Vec<u8> {
    write(&NotificationMessage { jsonrpc: VERSION, method, params })
}

/// A request to the client.
pub(crate) fn request(id: &Id, method: &str, params: &impl Serialize) -> Vec<u8> {
    write(&RequestMessage { jsonrpc: VERSION, id, method, params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(text: &str) -> String {
        let one = |message: Result<Message, Malformed>| match message {
            Ok(Message::Request(request)) => format!("request {:?} {}", request.id, request.method),
            Ok(Message::Notification(notification)) => format!("notification {}", notification.method),
            Ok(Message::Response(response)) => format!("response {}", response.outcome.is_ok()),
            Err(bad) => format!("malformed {} {}", bad.id.is_some(), bad.error.code),
        };
        match read(text.as_bytes()) {
            Ok(Document::One(message)) => one(message),
            Ok(Document::Batch(messages)) => format!("batch of {}", messages.len()),
            Err(error) => format!("error {}", error.code),
        }
    }

    #[test]
    fn documents_are_told_apart() {
        let check = |text: &str, expect: &str| assert_eq!(kind(text), expect, "{text}");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request Number(Number(1)) ping");
        check(r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, r#"request Text("a") ping"#);
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notification notifications/initialized",
        );
        check(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, "response true");
        check(r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#, "response false");
        check(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},3]"#, "batch of 2");
        check("[]", "error -32600");
        check("{", "error -32700");
        check("", "error -32700");
        check(r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#, "malformed true -32700");
        check(r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"a":1,"a":2}}"#, "malformed true -32700");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":tru"#, "malformed true -32700");
        check(
            &format!(r#"{{"method":"m","params":{}{},"id":1}}"#, "[".repeat(5_000), "]".repeat(5_000)),
            "malformed true -32700",
        );
        // What is no id is not read as one, however much it holds.
        for (id, found) in [
            (format!("[{}0]", "0,".repeat(MAX_VALUES)), false),
            (format!("\"{}\"", "x".repeat(MAX_ID_BYTES + 1)), false),
            (format!("\"{}\"", "\\u0041".repeat(MAX_ID_BYTES)), true),
            (format!("\"{}\"", "\\u0041".repeat(MAX_ID_BYTES + 1)), false),
            (r#"{"$serde_json::private::Number":"1"}"#.to_owned(), false),
            ("1.5".to_owned(), false),
            ("-7".to_owned(), true),
        ] {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"m","params":[{}0],"id":{id}}}"#,
                "0,".repeat(MAX_VALUES)
            );
            check(&text, if found { "malformed true -32600" } else { "error -32600" });
        }
        // Which one is not known, or it may be an answer.
        check(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, "error -32700");
        check(r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#, "error -32700");
        check("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", "request Number(Number(1)) ping");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, "request Number(Number(1)) ping");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"\udfffx"}"#, "request Number(Number(1)) \u{fffd}x");
        check(&"[".repeat(10_000), "error -32700");
        check("3", "malformed false -32600");
        check("{}", "malformed false -32600");
        check(r#"{"id":1,"method":"ping"}"#, "malformed true -32600");
        check(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "malformed false -32600");
        check(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "malformed false -32600");
        check(r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "malformed true -32600");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, "malformed true -32600");
        check(r#"{"jsonrpc":"2.0","id":1}"#, "malformed true -32600");
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}"#,
            "malformed true -32600",
        );
        check(&format!("[{}1]", "1,".repeat(MAX_VALUES)), "error -32600");
        check(
            &format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, ",[{".repeat(200_000)),
            &format!("notification {}", ",[{".repeat(200_000)),
        );
        check(&json!(vec![1; 101]).to_string(), "error -32600");
    }

    #[test]
    fn what_is_written_is_json_rpc() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let id = Id::Text("x".to_owned());
        assert_eq!(text(success(&id, &json!({}))), r#"{"jsonrpc":"2.0","id":"x","result":{}}"#);
        let error = RpcError::new(-1, "no");
        assert_eq!(text(failure(None, &error)), r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"no"}}"#);
        assert_eq!(
            text(failure(Some(&Id::from_u64(3)), &error)),
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"no"}}"#
        );
        assert_eq!(
            text(notification("n", &json!({"a":1}))),
            r#"{"jsonrpc":"2.0","method":"n","params":{"a":1}}"#
        );
        for (written, notification, answered) in [
            (success(&id, &json!({"method": "x"})), false, Some(&id)),
            (failure(Some(&id), &error), false, Some(&id)),
            (failure(None, &error), false, None),
            (super::notification("n", &json!({"id": 1})), true, None),
            (request(&Id::from_u64(9), "m", &json!({})), false, None),
            (b"[]".to_vec(), false, None),
        ] {
            assert_eq!(is_notification(&written), notification);
            assert_eq!(answered_id(&written).as_ref(), answered);
        }
        assert_eq!(
            text(request(&Id::from_u64(9), "m", &json!({}))),
            r#"{"jsonrpc":"2.0","id":9,"method":"m","params":{}}"#
        );
    }

    /// R100: whoever asks gets an answer: the id is found behind what cannot be read too, and nobody else's is taken for it.
    #[test]
    fn the_id_behind_a_fault_is_found() {
        let check = |text: &str, expect: Option<&str>| {
            let found = request_id(text.as_bytes()).map(|id| serde_json::to_string(&id).unwrap());
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check(r#"{"method":"tools/call","params":{"x":NaN},"id":412}"#, Some("412"));
        check(r#"{"method":"tools/call","params":{"x":"\x41"} , "id" : "q-7" }"#, Some("\"q-7\""));
        check(r#"{"params":{"id":5,"x":Infinity},"method":"ping","id":6}"#, Some("6"));
        check(r#"{"method":"ping","params":{"x":NaN},"id":1,"id":2}"#, None);
        check(r#"{"params":{"x":NaN},"id":2,"result":{}}"#, None);
        check(r#"{"method":"ping","params":{"x":NaN,"id":2}}"#, None);
        check(r#"{"method":"ping","params":{"x":NaN},"id":{"a":1}}"#, None);
        check(r#"{"method":"ping","params":[NaN}]],"id":9}"#, None);
        check(r#"{"method":"ping","params":{"x":NaN},"id":"open"#, None);
    }
}
