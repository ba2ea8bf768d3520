//! Clients read a result whole or not at all: an upstream's is put into the shape that the protocol gives it, so that the
//! result of a call that acted is not lost over it.

use crate::{
    catalog::{ToolSchema, is_for_pages_only},
    model::CallKind,
    upstream::Era,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Said where a tool's declared object is none.
const NO_OBJECT: &str = "[The call was made; there is no need to repeat it. Its structured result is not an object, as the tool's \
     outputSchema has it, and stands here as text.]";

/// Makes the content of a result a list of items. It comes before redaction, so that nothing hides in another shape.
pub(crate) fn list_content(kind: CallKind, result: &mut Value) {
    let Some(map) = result.as_object_mut().filter(|map| is_result(map)) else { return };
    let member = match kind {
        CallKind::Tool => "content",
        CallKind::Resource => "contents",
        CallKind::Prompt => "messages",
    };
    let items = match map.get_mut(member).map(Value::take) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    };
    let items = items.into_iter().filter(|item| !item.is_null());
    let items = match kind {
        CallKind::Tool => items.map(block).collect(),
        CallKind::Resource | CallKind::Prompt => items.collect(),
    };
    map.insert(member.to_owned(), Value::Array(items));
}

/// A question and a task have no content.
fn is_result(map: &Map<String, Value>) -> bool {
    !matches!(map.get("resultType").and_then(Value::as_str), Some("input_required" | "task"))
}

/// An object of an unknown type stays as it is.
fn block(item: Value) -> Value {
    match item {
        Value::Object(_) => item,
        Value::String(text) => json!({"type": "text", "text": text}),
        other => json!({"type": "text", "text": other.to_string()}),
    }
}

/// After redaction: leaves structured content out that a client of the sessions' era cannot read, and gives it as text where
/// there is no other content.
pub(crate) fn show_structured(era: Era, declared: Option<&Arc<ToolSchema>>, result: &mut Value) {
    let Some(map) = result.as_object_mut().filter(|map| is_result(map)) else { return };
    let Some(structured) = map.get("structuredContent") else { return };
    if map.get("content").and_then(Value::as_array).is_some_and(Vec::is_empty) && !structured.is_null() {
        let text = structured.to_string();
        map.insert("content".to_owned(), json!([{"type": "text", "text": text}]));
    }
    let is_readable = map.get("structuredContent").is_some_and(Value::is_object);
    if era == Era::Modern || is_readable {
        return;
    }
    map.shift_remove("structuredContent");
    // Such a client takes a result without what is declared for an error of its own.
    if declared.is_some() && map.get("isError") != Some(&Value::Bool(true)) {
        map.insert("isError".to_owned(), Value::Bool(true));
        if let Some(Value::Array(content)) = map.get_mut("content") {
            content.push(json!({"type": "text", "text": NO_OBJECT}));
        }
    }
}

/// What is declared to a client of this era: in that of the sessions only objects can be.
pub(crate) fn declared_to(era: Era, declared: Option<&Arc<ToolSchema>>) -> Option<&Arc<ToolSchema>> {
    declared.filter(|schema| era == Era::Modern || is_of_objects(schema.written()))
}

fn is_of_objects(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

/// A list of tools as clients of the sessions' era can read it: they lose it whole over an `outputSchema` of anything but
/// objects.
pub(crate) fn for_sessions(tools: Arc<Vec<Value>>) -> Arc<Vec<Value>> {
    let is_unreadable = |tool: &Value| tool.get("outputSchema").is_some_and(|schema| !is_of_objects(schema));
    if !tools.iter().any(is_unreadable) {
        return tools;
    }
    let mut tools = Arc::unwrap_or_clone(tools);
    for tool in &mut tools {
        if is_unreadable(tool)
            && let Some(map) = tool.as_object_mut()
        {
            map.shift_remove("outputSchema");
        }
    }
    Arc::new(tools)
}

/// The extension of clients that show pages.
const PAGES: &str = "io.modelcontextprotocol/ui";

/// A list of tools for a client: one that shows no pages would hand its model the tools that are for pages alone.
pub(crate) fn for_models(tools: Arc<Vec<Value>>, capabilities: &Value) -> Arc<Vec<Value>> {
    let shows_pages = capabilities.get("extensions").and_then(|extensions| extensions.get(PAGES)).is_some();
    if shows_pages || !tools.iter().any(is_for_pages_only) {
        return tools;
    }
    Arc::new(tools.iter().filter(|tool| !is_for_pages_only(tool)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_becomes_a_list_of_items() {
        let check = |kind, mut given: Value, expect: Value| {
            list_content(kind, &mut given);
            assert_eq!(given, expect);
        };
        let text = |text: &str| json!({"type": "text", "text": text});
        for given in [json!({"content": null}), json!({}), json!({"content": [null, null]})] {
            check(CallKind::Tool, given, json!({"content": []}));
        }
        check(CallKind::Tool, json!({"content": text("one")}), json!({"content": [text("one")]}));
        let strange = json!({"type": "hologram", "depth": 3});
        let given = json!({"content": [null, "two", strange, 4, ["x"]]});
        let expect = json!({"content": [text("two"), strange, text("4"), text("[\"x\"]")]});
        check(CallKind::Tool, given, expect);
        check(CallKind::Resource, json!({"contents": null}), json!({"contents": []}));
        check(
            CallKind::Prompt,
            json!({"messages": {"role": "user"}}),
            json!({"messages": [{"role": "user"}]}),
        );
        for whole in [json!({"resultType": "task", "taskId": "t"}), json!({"resultType": "input_required"})] {
            check(CallKind::Tool, whole.clone(), whole);
        }
    }

    #[test]
    fn structured_content_is_what_the_era_reads() {
        let check = |era, given: Value, expect: Value| {
            let mut result = given;
            show_structured(era, None, &mut result);
            assert_eq!(result, expect);
        };
        let text = json!([{"type": "text", "text": "[\"a\",7]"}]);
        let list = json!({"content": [], "structuredContent": ["a", 7]});
        check(Era::Legacy, list.clone(), json!({"content": text}));
        check(Era::Modern, list, json!({"content": text, "structuredContent": ["a", 7]}));
        let object = json!({"content": [], "structuredContent": {"k": true}});
        let shown =
            json!({"content": [{"type": "text", "text": "{\"k\":true}"}], "structuredContent": {"k": true}});
        check(Era::Legacy, object, shown);
        let said = json!([{"type": "text", "text": "said"}]);
        check(Era::Legacy, json!({"content": said, "structuredContent": 9}), json!({"content": said}));
        check(Era::Legacy, json!({"content": [], "structuredContent": null}), json!({"content": []}));
    }

    #[test]
    fn lists_for_sessions_declare_objects_only() {
        let tools = Arc::new(vec![
            json!({"name": "a", "outputSchema": {"type": "array"}}),
            json!({"name": "b", "outputSchema": {"type": "object"}}),
            json!({"name": "c", "outputSchema": {"oneOf": []}}),
        ]);
        let expect = json!([{"name": "a"}, {"name": "b", "outputSchema": {"type": "object"}}, {"name": "c"}]);
        assert_eq!(json!(*for_sessions(tools.clone())), expect);
        let readable = Arc::new(vec![json!({"name": "b", "outputSchema": {"type": "object"}})]);
        assert!(Arc::ptr_eq(&for_sessions(readable.clone()), &readable));
    }
}
