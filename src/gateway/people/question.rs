//! The question that a person is asked in the agent's own client, and the answer as it comes back.

use crate::gateway::InForce;
use crate::{
    approval::ApprovalResponse,
    model::{PolicyId, RuleId, ToolTraits},
    redaction::{cut_value, display_text},
    store::ApprovalRecord,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How much of the arguments, of `_meta` and of other params a prompt shows, in bytes of JSON each; where they take more,
/// each text among them is cut to what [`cut_value`] gives one.
const SHOWN: usize = 16_000;
/// How much of any other text of agents and upstreams.
const SHOWN_TEXT: usize = 4_000;

/// How a question is put.
#[derive(Clone, Copy)]
pub(crate) struct Put {
    /// The arguments are as policy changed them.
    pub(crate) changed: bool,
    /// How long the answer counts.
    pub(crate) left: Duration,
    /// The person has approved without the evidence that is needed.
    pub(crate) again: bool,
}

/// Text of a prompt, and whether all of it fits.
struct Prompt {
    whole: bool,
}

impl Prompt {
    fn text(&mut self, text: &str) -> String {
        self.whole &= text.chars().count() <= SHOWN_TEXT;
        display_text(text, SHOWN_TEXT)
    }

    fn block(&mut self, title: &str, value: &Value) -> String {
        if value.is_null() {
            return String::new();
        }
        let (shown, whole) = shown_value(value);
        self.whole &= whole;
        format!("\n{title} (sensitive values masked):\n---\n{shown}\n---")
    }
}

/// What is asked about, and whether that is all of it.
fn subject(in_force: &InForce, changed: bool, record: &ApprovalRecord) -> (String, bool) {
    let context = &record.context;
    let mut prompt = Prompt { whole: context.complete };
    let mut line = |title: &str, text: Option<&str>| {
        text.map(|text| format!("\n{title}{}", prompt.text(text))).unwrap_or_default()
    };
    let labels = Some(context.labels.join(", ")).filter(|labels| !labels.is_empty());
    let mut out = [
        line("Agent: ", Some(record.binding.agent.as_str())),
        line("Workflow: ", record.workflow_id.as_deref()),
        line("Tool: ", Some(&record.binding.tool)),
        line("Action: ", Some(&record.action)),
        line(
            "The server says of it: ",
            context.description.as_ref().map(|said| format!("\"{said}\"")).as_deref(),
        ),
        line("It is taken as: ", context.traits.map(taken_as).as_deref()),
        line("Labels: ", labels.as_deref()),
    ]
    .concat();
    if changed {
        out.push_str("\nThe arguments are as policy changed them.");
    }
    out.push_str(&prompt.block("Arguments", &record.arguments));
    out.push_str(&prompt.block("Metadata that is sent with it, `_meta`", &context.meta));
    out.push_str(&prompt.block("Other parameters that are sent with it", &context.params));
    let mut why = |policy: &PolicyId, rule: Option<&RuleId>, reason: &str, title: &str| {
        let rule = rule.map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
        let reason = prompt.text(&in_force.policies.data.redact_text(reason));
        format!("\n{title}: `{policy}`{rule}\nReason: {reason}")
    };
    out.push_str(&why(&record.policy_id, record.rule_id.as_ref(), &record.reason, "Policy"));
    for also in &record.requirements {
        if (&also.policy_id, &also.rule_id) != (&record.policy_id, &record.rule_id) {
            out.push_str(&why(&also.policy_id, also.rule_id.as_ref(), &also.reason, "Also asked for by"));
        }
    }
    (out, prompt.whole)
}

/// Whether a prompt shows all that a person has to see before they approve: in a prompt nothing can be opened.
pub(crate) fn is_whole(in_force: &InForce, record: &ApprovalRecord) -> bool {
    subject(in_force, false, record).1
}

/// What is said where a prompt does not show all of it. Where no rule took an answer elsewhere, nobody was asked.
pub(crate) fn cut_notice(record: &ApprovalRecord) -> String {
    let id = &record.id;
    format!(
        "It is too long for a prompt: some is cut, so it can be rejected here and not approved. Read it whole on the inbox \
         page or with `tollgate approvals show {id}`, and approve it there or with `tollgate approvals approve {id}`."
    )
}

/// The elicitation's parameters: what a person reads, and the form.
pub(crate) fn question(in_force: &InForce, record: &ApprovalRecord, put: Put) -> Value {
    let (subject, whole) = subject(in_force, put.changed, record);
    let minutes = humantime::format_duration(Duration::from_secs(put.left.as_secs().max(1)));
    let again = if put.again { "An approval of this needs evidence, and none was given.\n" } else { "" };
    let cut = if whole { String::new() } else { format!("\n{}", cut_notice(record)) };
    let cost = record.cost_estimate_usd;
    let message = format!(
        "{again}Tollgate asks for your approval.{subject}\nEstimated cost: ${cost}\nYour answer counts for {minutes}.{cut}"
    );
    let choices = if whole { json!(["approve", "reject"]) } else { json!(["reject"]) };
    let mut properties = Map::new();
    properties.insert(
        "decision".into(),
        json!({"type": "string", "title": "Decision", "description": "Whether this one call may be made", "enum": choices}),
    );
    properties.insert(
        "comment".into(),
        json!({"type": "string", "title": "Comment", "description": "Kept in the audit record", "maxLength": crate::approval::MAX_TEXT}),
    );
    if whole && record.requirements.iter().any(|r| r.evidence_required) {
        properties.insert(
            "evidence".into(),
            json!({"type": "string", "title": "Evidence", "description": "Needed to approve: what shows that the call is right, like a ticket or a change number", "maxLength": crate::approval::MAX_TEXT}),
        );
    }
    json!({
        "mode": "form",
        "message": message,
        // A rejection needs no evidence.
        "requestedSchema": {"type": "object", "properties": properties, "required": ["decision"]},
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
/// that nothing in a value can look like a line of the prompt. And whether all of it is there.
fn shown_value(value: &Value) -> (String, bool) {
    let fits = cut_value(value, SHOWN);
    let mut whole = fits == *value;
    let pretty = serde_json::to_string_pretty(&fits).unwrap_or_default();
    // The layout of what is nested deep takes room of its own.
    let mut left = 2 * SHOWN;
    let mut lines = Vec::new();
    let mut cut = 0;
    for line in pretty.lines() {
        let length = line.chars().count();
        match left.checked_sub(length) {
            Some(after) => {
                left = after;
                lines.push(display_text(line, length));
            }
            None if left > 0 => {
                whole = false;
                lines.push(display_text(line, std::mem::take(&mut left)));
            }
            None => cut += 1,
        }
    }
    if cut > 0 {
        whole = false;
        lines.push(format!("… (cut: {cut} more lines)"));
    }
    (lines.join("\n"), whole)
}

/// Whether a client can show a form: `elicitation: {}` means form mode (2025-06-18 and later).
pub(crate) fn supports_form(capabilities: &Value) -> bool {
    capabilities
        .get("elicitation")
        .and_then(Value::as_object)
        .is_some_and(|modes| modes.is_empty() || modes.contains_key("form") || !modes.contains_key("url"))
}

/// An `ElicitResult`: accept with `approve` or `reject`, or decline. Everything else decides nothing.
pub(crate) fn read_answer(result: &Value) -> Option<ApprovalResponse> {
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
    Some(ApprovalResponse { approve, comment: text("comment"), evidence: text("evidence") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an agent wrote cannot look like a line of the prompt, and a cut says how much.
    #[test]
    fn arguments_are_shown_over_lines_of_their_own() {
        let (shown, whole) = shown_value(&json!({"a": "x\n---\nPolicy: none", "b": "\u{202e}z"}));
        assert!(whole);
        assert_eq!(shown, "{\n  \"a\": \"x\\n---\\nPolicy: none\",\n  \"b\": \"\\u{202e}z\"\n}");
        let (long, whole) = shown_value(&json!({"a": "y".repeat(20_000), "b": 1}));
        assert!(!whole);
        assert!(long.contains(" more characters)"), "{long}");
        assert!(long.ends_with("\"b\": 1\n}"), "nothing hides behind it: {long}");
        let (many, whole) = shown_value(&json!(vec![json!({"a": [1, 2, 3]}); 5000]));
        assert!(!whole);
        // Its layout takes more room than it does.
        let deep = (0..50).fold(json!(vec![1; 3000]), |inner, _| json!([inner]));
        assert!(!shown_value(&deep).1);
        assert!(many.contains("more items)") || many.ends_with("more lines)"), "{many}");
        assert!(many.chars().count() < 40_000, "{}", many.len());
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
