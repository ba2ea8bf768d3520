//! `completion/complete`: from a call's arguments to the upstream's params, and the values that are in scope back.

use crate::gateway::target::Target;
use crate::{catalog::View, model::CallKind};
use serde_json::{Map, Value, json};

/// The params for the upstream. `known` holds the variables known so far and the one to be completed.
pub(super) fn params(kind: CallKind, own_name: &str, argument: &str, known: &Value) -> Map<String, Value> {
    let mut known = variables(kind, known).cloned().unwrap_or_default();
    let value = known.shift_remove(argument).unwrap_or_else(|| json!(""));
    let reference = match kind {
        CallKind::Tool | CallKind::Prompt => json!({"type": "ref/prompt", "name": own_name}),
        CallKind::Resource => json!({"type": "ref/resource", "uri": own_name}),
    };
    let mut params = Map::new();
    params.insert("ref".into(), reference);
    params.insert("argument".into(), json!({"name": argument, "value": value}));
    if !known.is_empty() {
        params.insert("context".into(), json!({"arguments": known}));
    }
    params
}

fn variables(kind: CallKind, arguments: &Value) -> Option<&Map<String, Value>> {
    match kind {
        CallKind::Tool | CallKind::Prompt => arguments.as_object(),
        CallKind::Resource => arguments.get("arguments").and_then(Value::as_object),
    }
}

/// Takes out of a template's completion what would lead out of what the agent sees.
pub(in crate::gateway) fn scope_values(
    view: Option<&View>,
    target: &Target,
    argument: &str,
    known: &Value,
    result: &mut Value,
) {
    let Target::Item(template, _) = target else { return };
    let Some(known) = variables(CallKind::Resource, known) else { return };
    let Some(Value::Array(values)) = result.pointer_mut("/completion/values") else { return };
    let before = values.len();
    values.retain(|value| {
        let mut with = known.clone();
        with.insert(argument.to_owned(), value.clone());
        view.is_some_and(|view| view.may_expand(template, &with))
    });
    // How many there are beyond these is nobody's business either.
    if values.len() < before
        && let Some(Value::Object(completion)) = result.get_mut("completion")
    {
        completion.shift_remove("total");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_told_from_what_is_known() {
        let check = |kind, known: Value, expect: Value| {
            assert_eq!(Value::Object(params(kind, "n", "b", &known)), expect)
        };
        check(
            CallKind::Prompt,
            json!({"a": "1", "b": "x"}),
            json!({"ref": {"type": "ref/prompt", "name": "n"}, "argument": {"name": "b", "value": "x"}, "context": {"arguments": {"a": "1"}}}),
        );
        check(
            CallKind::Resource,
            json!({"uri": "n", "arguments": {"b": "x"}}),
            json!({"ref": {"type": "ref/resource", "uri": "n"}, "argument": {"name": "b", "value": "x"}}),
        );
        check(
            CallKind::Prompt,
            json!({}),
            json!({"ref": {"type": "ref/prompt", "name": "n"}, "argument": {"name": "b", "value": ""}}),
        );
    }
}
