//! The question that a person is asked in the agent's own client, and the answer as it comes back.

use super::InForce;
use crate::{
    approval::Answer,
    model::ToolTraits,
    redaction::{cut_value, display_text},
    store::ApprovalRecord,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How much of the arguments a prompt shows, in characters.
const SHOWN_ARGUMENTS: usize = 2000;
/// How much of a tool's description.
const SHOWN_DESCRIPTION: usize = 500;

/// The elicitation's parameters: what a person reads, and the form.
pub(crate) fn question(in_force: &InForce, changed: bool, record: &ApprovalRecord, left: Duration) -> Value {
    let context = &record.context;
    let block = |title: &str, value: &Value| match value {
        Value::Null => String::new(),
        value => format!("\n{title} (sensitive values masked):\n---\n{}\n---", shown_value(value)),
    };
    let workflow = record.workflow_id.as_ref();
    let workflow = workflow.map(|id| format!("\nWorkflow: {}", display_text(id, 100))).unwrap_or_default();
    let description = context.description.as_ref();
    let description = description
        .map(|text| format!("\nThe server says of it: \"{}\"", display_text(text, SHOWN_DESCRIPTION)))
        .unwrap_or_default();
    let traits = context.traits.map(|traits| format!("\nIt is taken as: {}", taken_as(traits)));
    let rule = record.rule_id.as_ref().map(|r| format!(", rule `{r}`")).unwrap_or_default();
    let minutes = Duration::from_secs(left.as_secs().max(1));
    let changed = if changed { "\nThe arguments are as policy changed them." } else { "" };
    let message = format!(
        "Tollgate asks for your approval.\nAgent: {}{workflow}\nTool: {} ({}){description}{}{}{changed}{}{}\nPolicy: `{}`{rule}\nReason: {}\nEstimated cost: ${}\nYour answer counts for {}.",
        display_text(&record.binding.agent, 100),
        display_text(&record.binding.tool, 200),
        display_text(&record.action, 200),
        traits.unwrap_or_default(),
        block("Arguments", &record.arguments),
        block("Metadata that is sent with it, `_meta`", &context.meta),
        block("Other parameters that are sent with it", &context.params),
        record.policy_id,
        display_text(&in_force.policies.data.redact_text(&record.reason), 500),
        record.cost_estimate_usd,
        humantime::format_duration(minutes),
    );
    let evidence = record.requirements.iter().any(|r| r.evidence_required);
    let mut properties = Map::new();
    properties.insert(
        "decision".into(),
        json!({"type": "string", "title": "Decision", "description": "Whether this one call may be made", "enum": ["approve", "reject"]}),
    );
    properties.insert(
        "comment".into(),
        json!({"type": "string", "title": "Comment", "description": "Kept in the audit record", "maxLength": crate::approval::MAX_TEXT}),
    );
    let mut required = vec!["decision"];
    if evidence {
        properties.insert(
            "evidence".into(),
            json!({"type": "string", "title": "Evidence", "description": "What shows that the call is right: a ticket, a change number", "minLength": 1, "maxLength": crate::approval::MAX_TEXT}),
        );
        required.push("evidence");
    }
    json!({
        "mode": "form",
        "message": message,
        "requestedSchema": {"type": "object", "properties": properties, "required": required},
    })
}

/// What Tollgate takes a tool to be, in words.
pub(crate) fn taken_as(traits: ToolTraits) -> String {
    let words = [
        if traits.read_only { "read-only" } else { "changes something" },
        if traits.destructive { "may destroy" } else { "destroys nothing" },
        if traits.idempotent { "a repeat does no more" } else { "a repeat acts again" },
        if traits.open_world { "reaches outside" } else { "stays inside" },
    ];
    words.join(", ")
}

/// A value over several lines, with something of each of its members where not all of it has room: a line break is the layout's own, never one of a value's (JSON escapes those), so
/// that nothing in a value can look like a line of the prompt.
fn shown_value(value: &Value) -> String {
    let pretty = serde_json::to_string_pretty(&cut_value(value, SHOWN_ARGUMENTS)).unwrap_or_default();
    // The layout of what is nested deep takes room of its own.
    let mut left = 2 * SHOWN_ARGUMENTS;
    let mut lines = Vec::new();
    let mut cut = 0;
    for line in pretty.lines() {
        let length = line.chars().count();
        match left.checked_sub(length) {
            Some(after) => {
                left = after;
                lines.push(display_text(line, length));
            }
            None if left > 0 => lines.push(display_text(line, std::mem::take(&mut left))),
            None => cut += 1,
        }
    }
    if cut > 0 {
        lines.push(format!("… (cut: {cut} more lines)"));
    }
    lines.join("\n")
}

/// Whether a client can show a form: `elicitation: {}` means form mode (2025-06-18 and later).
pub(crate) fn supports_form(capabilities: &Value) -> bool {
    capabilities
        .get("elicitation")
        .and_then(Value::as_object)
        .is_some_and(|modes| modes.is_empty() || modes.contains_key("form") || !modes.contains_key("url"))
}

/// An `ElicitResult`: accept with `approve` or `reject`, or decline. Everything else decides nothing.
pub(crate) fn read_answer(result: &Value) -> Option<Answer> {
    let content = result.get("content");
    let text = |name: &str| {
        content.and_then(|c| c.get(name)).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
    };
    let approve = match result.get("action").and_then(Value::as_str)? {
        "accept" => match content?.get("decision").and_then(Value::as_str)? {
            "approve" => true,
            "reject" => false,
            _ => return None,
        },
        "decline" => false,
        _ => return None,
    };
    Some(Answer { approve, comment: text("comment"), evidence: text("evidence") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPEC 6: what an agent wrote cannot look like a line of the prompt, and a cut says how much.
    #[test]
    fn arguments_are_shown_over_lines_of_their_own() {
        let shown = shown_value(&json!({"a": "x\n---\nPolicy: none", "b": "\u{202e}z"}));
        assert_eq!(shown, "{\n  \"a\": \"x\\n---\\nPolicy: none\",\n  \"b\": \"\\u{202e}z\"\n}");
        let long = shown_value(&json!({"a": "y".repeat(5000), "b": 1}));
        assert!(long.contains(" more characters)"), "{long}");
        assert!(long.ends_with("\"b\": 1\n}"), "nothing hides behind it: {long}");
        let many = shown_value(&json!(vec![json!({"a": [1, 2, 3]}); 500]));
        assert!(many.contains("more items)") || many.ends_with("more lines)"), "{many}");
        assert!(many.chars().count() < 5000, "{}", many.len());
    }

    /// I3: only an explicit answer decides anything.
    #[test]
    fn silence_and_nonsense_decide_nothing() {
        let check = |value: Value, expect: Option<bool>| {
            assert_eq!(read_answer(&value).map(|a| a.approve), expect, "{value}");
        };
        check(json!({"action": "accept", "content": {"decision": "approve"}}), Some(true));
        check(json!({"action": "accept", "content": {"decision": "reject"}}), Some(false));
        check(json!({"action": "decline"}), Some(false));
        check(json!({"action": "cancel"}), None);
        check(json!({"action": "accept"}), None);
        check(json!({"action": "accept", "content": {}}), None);
        check(json!({"action": "accept", "content": {"decision": true}}), None);
        check(json!({"action": "accept", "content": {"decision": "APPROVE"}}), None);
        check(json!({"action": "approve", "content": {"decision": "approve"}}), None);
        check(json!({}), None);
        check(json!(null), None);
    }

    #[test]
    fn only_clients_with_forms_are_asked() {
        let check = |value: Value, expect: bool| assert_eq!(supports_form(&value), expect, "{value}");
        check(json!({}), false);
        check(json!({"elicitation": {}}), true);
        check(json!({"elicitation": {"form": {}}}), true);
        check(json!({"elicitation": {"url": {}}}), false);
        check(json!({"elicitation": {"form": {}, "url": {}}}), true);
        check(json!({"elicitation": true}), false);
    }
}
