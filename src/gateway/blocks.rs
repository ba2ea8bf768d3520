//! Blocks of content as clients read them: official SDKs refuse a whole result over one block that is not what the protocol
//! says, so that each is put right, or stands there as a text. It comes after redaction: what was masked in the data of a
//! picture is no Base64 any more.

use crate::redaction::masks;
use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What is read of Base64 with or without its padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const IN_URLS: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Blocks that clients know.
const KINDS: [&str; 5] = ["text", "image", "audio", "resource", "resource_link"];
/// The type of what does not say its own.
const SOME_BYTES: &str = "application/octet-stream";
/// Masks that are named of what is left out.
const NAMED: usize = 8;

/// Puts right what a result holds: the content of a tool's, the contents of a resource's, the messages of a prompt's. `uri`:
/// what was read.
pub(super) fn put_right(result: &mut Value, uri: Option<&str>) {
    let Some(map) = result.as_object_mut() else { return };
    keep(map, "_meta", Value::is_object);
    if let Some(flag) = map.get("isError").filter(|flag| !flag.is_boolean()) {
        // What is no word for "it failed" is none for "it succeeded".
        let failed = !flag.is_null();
        map.insert("isError".to_owned(), Value::Bool(failed));
    }
    if let Some(Value::Array(items)) = map.get_mut("content") {
        items.iter_mut().for_each(block);
    }
    if let Some(Value::Array(items)) = map.get_mut("contents") {
        for item in items {
            *item = resource(item.take(), uri);
        }
    }
    if let Some(Value::Array(items)) = map.get_mut("messages") {
        let messages: Vec<Value> = std::mem::take(items).into_iter().flat_map(message).collect();
        *items = messages;
        keep(map, "description", Value::is_string);
    }
}

/// Takes a member away that is not what it has to be.
fn keep(map: &mut Map<String, Value>, member: &str, fits: impl Fn(&Value) -> bool) {
    if map.get(member).is_some_and(|value| !fits(value)) {
        map.shift_remove(member);
    }
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// What a client cannot read, as the JSON that it is.
fn as_text(value: &Value) -> Value {
    text_block(&value.to_string())
}

/// A block of content.
fn block(item: &mut Value) {
    let Some(map) = item.as_object_mut() else {
        *item = as_text(item);
        return;
    };
    keep(map, "_meta", Value::is_object);
    annotations(map);
    let word = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let kind = KINDS.into_iter().find(|kind| *kind == word).unwrap_or_default();
    let reads = match kind {
        "text" => map.get("text").is_some_and(Value::is_string),
        "image" | "audio" => match bytes(map, "data") {
            Ok(()) => {
                if !map.get("mimeType").is_some_and(Value::is_string) {
                    map.insert("mimeType".to_owned(), SOME_BYTES.into());
                }
                true
            }
            Err(why) => {
                let mime = map.get("mimeType").and_then(Value::as_str).unwrap_or("of no type");
                *item = text_block(&format!("[the {kind} ({mime}) is left out: {why}]"));
                return;
            }
        },
        "resource_link" => link(map),
        "resource" => {
            let reads =
                map.get("resource").is_some_and(|resource| resource.get("uri").is_some_and(Value::is_string));
            if reads && let Some(inner) = map.get_mut("resource") {
                *inner = resource(inner.take(), None);
            }
            reads
        }
        _ => false,
    };
    if !reads {
        *item = as_text(item);
    }
}

/// Whether a link can be read once what is wrong in it is gone.
fn link(map: &mut Map<String, Value>) -> bool {
    let Some(uri) = map.get("uri").and_then(Value::as_str).map(str::to_owned) else { return false };
    if !map.get("name").is_some_and(Value::is_string) {
        map.insert("name".to_owned(), uri.into());
    }
    for member in ["title", "description", "mimeType"] {
        keep(map, member, Value::is_string);
    }
    keep(map, "size", Value::is_number);
    let is_icon = |icon: &Value| {
        let texts = |value: Option<&Value>| value.is_none_or(Value::is_string);
        let sizes = icon.get("sizes");
        icon.get("src").is_some_and(Value::is_string)
            && texts(icon.get("mimeType"))
            && sizes
                .is_none_or(|sizes| sizes.as_array().is_some_and(|sizes| sizes.iter().all(Value::is_string)))
            && icon.get("theme").is_none_or(|theme| theme == "light" || theme == "dark")
    };
    keep(map, "icons", |icons| icons.as_array().is_some_and(|icons| icons.iter().all(is_icon)));
    true
}

/// The content of a resource; `uri`: what was read, where it does not say its own.
fn resource(item: Value, uri: Option<&str>) -> Value {
    let mut map = match item {
        Value::Object(map) => map,
        Value::String(text) => Map::from_iter([("text".to_owned(), Value::String(text))]),
        other => Map::from_iter([("text".to_owned(), Value::String(other.to_string()))]),
    };
    keep(&mut map, "_meta", Value::is_object);
    keep(&mut map, "mimeType", Value::is_string);
    annotations(&mut map);
    let whole = |map: &Map<String, Value>| Value::Object(map.clone()).to_string();
    if map.get("text").is_some_and(Value::is_string) {
        // Of both a client takes the text.
        if bytes(&mut map, "blob").is_err() {
            map.shift_remove("blob");
        }
    } else if map.contains_key("blob") {
        map.shift_remove("text");
        if let Err(why) = bytes(&mut map, "blob") {
            let mime = map.get("mimeType").and_then(Value::as_str).unwrap_or("of no type");
            let told = format!("[the data ({mime}) is left out: {why}]");
            map.shift_remove("blob");
            map.insert("mimeType".to_owned(), "text/plain".into());
            map.insert("text".to_owned(), told.into());
        }
    } else {
        let text = whole(&map);
        map.insert("mimeType".to_owned(), "application/json".into());
        map.insert("text".to_owned(), text.into());
    }
    if !map.get("uri").is_some_and(Value::is_string) {
        map.insert("uri".to_owned(), uri.unwrap_or_default().into());
    }
    Value::Object(map)
}

/// A message of a prompt: one for each block, where it has several.
fn message(item: Value) -> Vec<Value> {
    let Value::Object(mut map) = item else {
        return vec![json!({"role": "user", "content": as_text(&item)})];
    };
    if !matches!(map.get("role").and_then(Value::as_str), Some("user" | "assistant")) {
        map.insert("role".to_owned(), "user".into());
    }
    let one = |mut content: Value| {
        match &content {
            Value::String(text) => content = text_block(text),
            _ => block(&mut content),
        }
        let mut message = map.clone();
        message.insert("content".to_owned(), content);
        Value::Object(message)
    };
    match map.get("content").cloned() {
        Some(Value::Array(blocks)) => blocks.into_iter().map(one).collect(),
        Some(content) => vec![one(content)],
        None => {
            let content = as_text(&Value::Object(map.clone()));
            vec![one(content)]
        }
    }
}

/// Makes the Base64 of a member what every client reads. The error says why it is none.
fn bytes(map: &mut Map<String, Value>, member: &str) -> Result<(), String> {
    let Some(Value::String(data)) = map.get_mut(member) else { return Err(format!("it has no `{member}`")) };
    if STANDARD.decode(&*data).is_ok() {
        return Ok(());
    }
    let found = masks(data, NAMED);
    if !found.is_empty() {
        return Err(format!("what it holds is sensitive: {}", found.join(" ")));
    }
    let plain: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let read = PLAIN.decode(&plain).or_else(|_| IN_URLS.decode(&plain));
    *data = STANDARD.encode(read.map_err(|_| format!("its `{member}` is not Base64"))?);
    Ok(())
}

/// Takes away what is wrong in the annotations.
fn annotations(map: &mut Map<String, Value>) {
    keep(map, "annotations", Value::is_object);
    let Some(Value::Object(annotations)) = map.get_mut("annotations") else { return };
    let is_role = |role: &Value| matches!(role.as_str(), Some("user" | "assistant"));
    keep(annotations, "audience", |of| of.as_array().is_some_and(|of| of.iter().all(is_role)));
    keep(annotations, "priority", |value| value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value)));
    keep(annotations, "lastModified", |value| value.as_str().is_some_and(is_moment));
}

/// Whether a text is a date and time with its offset, as every client reads one.
fn is_moment(text: &str) -> bool {
    let in_form = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 => byte == b':',
        _ => byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'Z' | b'+' | b'-'),
    });
    in_form && text.len() > 16 && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        text_block(text)
    }

    #[test]
    fn each_block_is_one_that_clients_read() {
        let check = |mut given: Value, expect: Value| {
            let whole = given.clone();
            block(&mut given);
            assert_eq!(given, expect, "{whole}");
            block(&mut given);
            assert_eq!(given, expect, "twice: {whole}");
        };
        check(text("a"), text("a"));
        let smell = json!({"type": "smell", "of": "rain"});
        check(smell.clone(), text(&smell.to_string()));
        check(json!({"type": "text"}), text("{\"type\":\"text\"}"));
        check(json!({"type": "text", "text": 4}), text("{\"type\":\"text\",\"text\":4}"));
        let odd = json!({"type": "text", "text": "a", "_meta": [], "annotations": {"audience": ["all"], "priority": 7, "lastModified": "2026-01-01", "x": 1}});
        check(odd, json!({"type": "text", "text": "a", "annotations": {"x": 1}}));
        let right = json!({"type": "text", "text": "a", "_meta": {}, "annotations": {"audience": ["user"], "priority": 1, "lastModified": "2026-01-01T10:00:00+02:00"}});
        check(right.clone(), right);
        let image = |data: &str| json!({"type": "image", "data": data, "mimeType": "image/png"});
        check(image("QUJD"), image("QUJD"));
        check(image("QUJ\nD"), image("QUJD"));
        check(image("_-8"), image("/+8="));
        check(image("QQ"), image("QQ=="));
        check(
            image("QU[redacted:email:17]JD"),
            text("[the image (image/png) is left out: what it holds is sensitive: [redacted:email:17]]"),
        );
        check(image("!"), text("[the image (image/png) is left out: its `data` is not Base64]"));
        check(
            json!({"type": "audio", "mimeType": "audio/wav"}),
            text("[the audio (audio/wav) is left out: it has no `data`]"),
        );
        check(
            json!({"type": "audio", "data": ""}),
            json!({"type": "audio", "data": "", "mimeType": SOME_BYTES}),
        );
        check(
            json!({"type": "resource_link", "uri": "a:b", "title": 1, "icons": [{}], "size": "x"}),
            json!({"type": "resource_link", "uri": "a:b", "name": "a:b"}),
        );
        check(
            json!({"type": "resource_link", "name": "n"}),
            text("{\"type\":\"resource_link\",\"name\":\"n\"}"),
        );
        let embedded = |resource: Value| json!({"type": "resource", "resource": resource});
        check(
            embedded(json!({"uri": "a:b", "blob": "[redacted:email:17]", "mimeType": "image/png"})),
            embedded(
                json!({"uri": "a:b", "mimeType": "text/plain", "text": "[the data (image/png) is left out: what it holds is sensitive: [redacted:email:17]]"}),
            ),
        );
        check(embedded(json!({"text": "a"})), text("{\"type\":\"resource\",\"resource\":{\"text\":\"a\"}}"));
    }

    #[test]
    fn results_are_put_right_and_nothing_is_lost() {
        let check = |mut given: Value, expect: Value| {
            put_right(&mut given, Some("a:read"));
            assert_eq!(given, expect);
        };
        check(json!({"content": [], "isError": null, "_meta": 4}), json!({"content": [], "isError": false}));
        check(json!({"content": [], "isError": "no"}), json!({"content": [], "isError": true}));
        check(
            json!({"contents": ["plain", {"x": 1}, {"uri": "a:b", "text": "t", "blob": "!"}]}),
            json!({"contents": [
                {"text": "plain", "uri": "a:read"},
                {"x": 1, "mimeType": "application/json", "text": "{\"x\":1}", "uri": "a:read"},
                {"uri": "a:b", "text": "t"},
            ]}),
        );
        check(
            json!({"description": 1, "messages": [{"role": "tool", "content": "s"}, {"role": "assistant", "content": [text("a"), text("b")]}, 4]}),
            json!({"messages": [
                {"role": "user", "content": text("s")},
                {"role": "assistant", "content": text("a")},
                {"role": "assistant", "content": text("b")},
                {"role": "user", "content": text("4")},
            ]}),
        );
    }
}
