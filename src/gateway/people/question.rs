//! The question that a person is asked in the agent's own client, and the answer as it comes back.

use crate::gateway::InForce;
use crate::{
    approval::ApprovalResponse,
    model::{PolicyId, RuleId, ToolTraits},
    policy::GrantLimits,
    redaction::{cut_value, display_text},
    store::{ApprovalRecord, GrantAnswer},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

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

/// Text of a prompt, and what of it does not fit.
struct Prompt {
    cut: Vec<&'static str>,
}

impl Prompt {
    fn text(&mut self, name: &'static str, text: &str) -> String {
        if text.chars().count() > SHOWN_TEXT {
            self.is_cut(name);
        }
        display_text(text, SHOWN_TEXT)
    }

    fn is_cut(&mut self, name: &'static str) {
        if !self.cut.contains(&name) {
            self.cut.push(name);
        }
    }

    fn block(&mut self, name: &'static str, title: &str, value: &Value) -> String {
        if value.is_null() {
            return String::new();
        }
        let (shown, whole) = shown_value(value);
        if !whole {
            self.is_cut(name);
        }
        format!("\n{title} (sensitive values masked):\n---\n{shown}\n---")
    }
}

/// The member of the form that makes a standing grant of an approval.
const SCOPE: &str = "scope";
/// Its word for this one call, which is also what an answer without it says.
const ONCE: &str = "once";
/// A grant that is offered first, where the rules allow as much.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The grants that a form offers: these very arguments, for an hour, and for as long as the rules allow. Other bounds are
/// given where there is room to see them: on the page, the command line and the API.
fn offered(limits: GrantLimits) -> Vec<(String, GrantAnswer)> {
    let mut durations = vec![HOUR.min(limits.max_duration), limits.max_duration];
    durations.dedup();
    let grant = |duration| {
        let word = format!("these arguments for {}", humantime::format_duration(duration));
        (word, GrantAnswer { duration, uses: limits.max_uses, arguments: BTreeMap::new() })
    };
    durations.into_iter().map(grant).collect()
}

/// What is asked about, and the names of what does not fit whole.
fn subject(in_force: &InForce, changed: bool, record: &ApprovalRecord) -> (String, Vec<&'static str>) {
    let context = &record.context;
    let mut prompt = Prompt { cut: Vec::new() };
    let mut line = |title: &'static str, text: Option<&str>| {
        let name = match title {
            "The server says of it: " => "what the server says of the tool",
            other => other.trim_end_matches(": "),
        };
        text.map(|text| format!("\n{title}{}", prompt.text(name, text))).unwrap_or_default()
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
    out.push_str(&prompt.block("the arguments", "Arguments", &record.arguments));
    out.push_str(&prompt.block("`_meta`", "Metadata that is sent with it, `_meta`", &context.meta));
    out.push_str(&prompt.block(
        "the other parameters",
        "Other parameters that are sent with it",
        &context.params,
    ));
    let mut why = |policy: &PolicyId, rule: Option<&RuleId>, reason: &str, title: &str| {
        let rule = rule.map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
        let reason = prompt.text("a reason", &in_force.policies.data.redact_text(reason));
        format!("\n{title}: `{policy}`{rule}\nReason: {reason}")
    };
    out.push_str(&why(&record.policy_id, record.rule_id.as_ref(), &record.reason, "Policy"));
    for also in &record.requirements {
        if (&also.policy_id, &also.rule_id) != (&record.policy_id, &record.rule_id) {
            out.push_str(&why(&also.policy_id, also.rule_id.as_ref(), &also.reason, "Also asked for by"));
        }
    }
    // The record itself is cut, and all that fits of it may be here.
    if !context.complete && prompt.cut.is_empty() {
        prompt.is_cut("a part of what is sent");
    }
    (out, prompt.cut)
}

/// Whether a prompt shows all that a person has to see before they approve: in a prompt nothing can be opened.
pub(crate) fn is_whole(in_force: &InForce, record: &ApprovalRecord) -> bool {
    subject(in_force, false, record).1.is_empty()
}

/// What is said where a prompt does not show all of it: what is cut, and where to open it. Where no rule took an answer
/// elsewhere, nobody was asked.
pub(crate) fn cut_notice(in_force: &InForce, record: &ApprovalRecord) -> String {
    let id = &record.id;
    let link = in_force.config.approval_link(id);
    let cut = subject(in_force, false, record).1.join(", ");
    format!(
        "It is too long for a prompt: not all is shown of {cut}. So it can be rejected here and not approved. Read approval {id} whole on the \
         inbox page, {link}, or with `tollgate approvals show {id}`, and approve it there or with `tollgate approvals approve {id}`."
    )
}

/// The elicitation's parameters: what a person reads, and the form.
pub(crate) fn question(in_force: &InForce, record: &ApprovalRecord, put: Put) -> Value {
    let (subject, cut) = subject(in_force, put.changed, record);
    let whole = cut.is_empty();
    let minutes = humantime::format_duration(Duration::from_secs(put.left.as_secs().max(1)));
    let again = if put.again { "An approval of this needs evidence, and none was given.\n" } else { "" };
    let cut = if whole { String::new() } else { format!("\n{}", cut_notice(in_force, record)) };
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
            json!({"type": "string", "title": "Evidence (only to approve)", "description": "Needed to approve, and not to reject: what shows that the call is right, like a ticket or a change number", "maxLength": crate::approval::MAX_TEXT}),
        );
    }
    if whole && let Some(limits) = record.grant_limits() {
        let words = [ONCE.to_owned()].into_iter().chain(offered(limits).into_iter().map(|(word, _)| word));
        let words: Vec<String> = words.collect();
        let uses = limits.max_uses;
        properties.insert(
            SCOPE.into(),
            json!({"type": "string", "title": "How far an approval goes", "description": format!("Only for an approval: this one call, or a standing grant, under which this agent may make the same call again with the same arguments, at most {uses} times, until it is revoked or the policies change"), "enum": words, "default": ONCE}),
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

/// An `ElicitResult`: accept with `approve` or `reject`, or decline. Everything else decides nothing, also an approval for
/// something that the form did not offer.
pub(crate) fn read_answer(result: &Value, limits: Option<GrantLimits>) -> Option<ApprovalResponse> {
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
    let grant = match content.and_then(|content| content.get(SCOPE)).filter(|_| approve) {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) if word.is_empty() || word == ONCE => None,
        Some(chosen) => {
            let mut offered = limits.map(offered).unwrap_or_default().into_iter();
            Some(offered.find(|(word, _)| chosen.as_str() == Some(word.as_str()))?.1)
        }
    };
    Some(ApprovalResponse { approve, comment: text("comment"), evidence: text("evidence"), grant })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an agent wrote cannot look like a line of the prompt, and a cut says how much.
    #[test]
    fn arguments_are_shown_over_lines_of_their_own() {
        let (shown, whole) = shown_value(&json!({"a": "x\n---\nPolicy: none", "b": "\u{202e}z"}));
        assert!(whole);
        assert_eq!(shown, "{\n  \"a\": \"x\\n---\\nPolicy: none\",\n  \"b\": \"[U+202E]z\"\n}");
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
            assert_eq!(read_answer(&value, None).map(|a| a.approve), expect, "{value}");
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

    /// R87: what the rules allow is offered, and nothing else makes a grant.
    #[test]
    fn a_form_offers_what_the_rules_allow() {
        let limits =
            |minutes: u64| GrantLimits { max_duration: Duration::from_secs(60 * minutes), max_uses: 7 };
        let words = |minutes| offered(limits(minutes)).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(words(480), ["these arguments for 1h", "these arguments for 8h"]);
        assert_eq!(words(60), ["these arguments for 1h"]);
        assert_eq!(words(20), ["these arguments for 20m"]);
        let check = |scope: Value, allowed: Option<u64>, expect: Option<Option<u64>>| {
            let value = json!({"action": "accept", "content": {"decision": "approve", "scope": scope}});
            let answer = read_answer(&value, allowed.map(limits));
            let granted = answer.map(|answer| answer.grant.map(|grant| grant.duration.as_secs() / 60));
            assert_eq!(granted, expect, "{scope}");
        };
        check(Value::Null, Some(480), Some(None));
        check(json!("once"), Some(480), Some(None));
        check(json!("these arguments for 8h"), Some(480), Some(Some(480)));
        check(json!("these arguments for 8h"), Some(60), None);
        check(json!("these arguments for 1h"), None, None);
        check(json!("ever"), Some(480), None);
        check(json!(["these arguments for 1h"]), Some(480), None);
        let rejected = json!({"action": "accept", "content": {"decision": "reject", "scope": "nonsense"}});
        assert_eq!(
            read_answer(&rejected, None).map(|answer| (answer.approve, answer.grant)),
            Some((false, None))
        );
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
