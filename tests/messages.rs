//! Why messages are carried as JSON values (`docs/messages.md`): what rmcp's typed model makes of messages that are valid, and
//! hold more than it knows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use rmcp::model::{CallToolResult, ListToolsResult, ServerResult, Tool};
use serde_json::{Value, json};
use tollgate::model::json;

/// A message as it comes out of the typed model again.
fn typed<T: serde::de::DeserializeOwned + serde::Serialize>(message: &Value) -> Value {
    let read: T = serde_json::from_value(message.clone()).unwrap();
    serde_json::to_value(read).unwrap()
}

/// A message as it comes out of our own layer again.
fn ours(message: &Value) -> Value {
    json::parse(message.to_string().as_bytes()).unwrap()
}

#[test]
fn the_typed_model_loses_members_that_it_does_not_know() {
    let check = |message: Value, typed: Value, lost: &[&str]| {
        for path in lost {
            assert!(message.pointer(path).is_some(), "{path} {message}");
            assert_eq!(typed.pointer(path), None, "{path} {typed}");
            assert_eq!(ours(&message).pointer(path), message.pointer(path), "{path}");
        }
    };
    let result = json!({
        "content": [{"type": "text", "text": "t", "com.example/citation": {"page": 7}}],
        "isError": false,
        "com.example/cost": 3,
    });
    check(
        result.clone(),
        typed::<CallToolResult>(&result),
        &["/com.example~1cost", "/content/0/com.example~1citation"],
    );
    check(result.clone(), typed::<ServerResult>(&result), &["/com.example~1cost"]);
    let tool = json!({
        "name": "a",
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": true, "com.example/secretHint": true},
        "com.example/owner": "team",
    });
    check(
        tool.clone(),
        typed::<Tool>(&tool),
        &["/com.example~1owner", "/annotations/com.example~1secretHint"],
    );
}

#[test]
fn the_typed_model_decodes_a_result_with_one_more_member_as_another() {
    let result = |more: &str, value: Value| {
        let mut result = json!({"content": [{"type": "text", "text": "42"}], "isError": false});
        result[more] = value;
        result
    };
    for (more, value) in [("tools", json!([])), ("messages", json!([])), ("contents", json!([]))] {
        let message = result(more, value);
        let read: ServerResult = serde_json::from_value(message.clone()).unwrap();
        assert!(!matches!(read, ServerResult::CallToolResult(_)), "{more}: {read:?}");
        // What the tool said is gone.
        assert_eq!(serde_json::to_value(read).unwrap().get("content"), None, "{more}");
        assert_eq!(ours(&message), message, "{more}");
    }
}

#[test]
fn one_bad_item_fails_the_whole_typed_list() {
    let list = json!({"tools": [
        {"name": "good", "inputSchema": {"type": "object"}},
        {"name": "bad", "inputSchema": true},
    ]});
    assert!(serde_json::from_value::<ListToolsResult>(list.clone()).is_err());
    // Our layer carries it; what is wrong with an item costs that item (`upstream/items.rs`).
    assert_eq!(ours(&list), list);
    let content = json!({"content": [{"type": "text", "text": "t"}, {"type": "hologram", "data": "…"}]});
    assert!(serde_json::from_value::<CallToolResult>(content.clone()).is_err());
    assert_eq!(ours(&content), content);
}

/// Two readers of one text must not read two different things: a policy would decide on the one and the client get the other.
#[test]
fn a_name_that_stands_twice_is_refused_and_not_chosen_from() {
    let text = r#"{"content":[],"structuredContent":{"to":"alice","to":"mallory"}}"#;
    let read: CallToolResult = serde_json::from_str(text).unwrap();
    assert_eq!(read.structured_content.unwrap()["to"], "mallory");
    assert!(json::parse(text.as_bytes()).is_err());
}
