//! `tollgate audit show TRACE --as-test`: recorded calls as tests of the bundle.

use crate::{
    evidence::Counted,
    model::{CallId, Event, EventDecision, EventDraft, EventType, TraceId},
    redaction::visible_json,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::{self, Write},
};

/// The calls of a trace as a file for `policies/tests/`; `None` where it has no decision.
pub(super) fn file(trace: TraceId, events: &[Event]) -> Option<String> {
    let mut seen: BTreeSet<&CallId> = BTreeSet::new();
    let decisions: Vec<&EventDraft> = events
        .iter()
        .map(|event| &event.draft)
        .filter(|draft| draft.event_type == EventType::AgentDecision && Counted::of(draft).is_none())
        // A call is a test as it was decided first.
        .filter(|draft| draft.call_id.as_ref().is_none_or(|call| seen.insert(call)))
        .collect();
    if decisions.is_empty() {
        return None;
    }
    let mut out = format!("# Recorded in trace {trace}.\ntests:\n");
    for (index, draft) in decisions.iter().enumerate() {
        // Writing to a String cannot fail.
        one(trace, index + 1, draft, &mut out).unwrap_or_default();
    }
    Some(out)
}

/// A value of YAML's flow style; JSON is one.
fn written(value: &Value) -> String {
    visible_json(&value.to_string()).into_owned()
}

fn one(trace: TraceId, number: usize, draft: &EventDraft, out: &mut String) -> fmt::Result {
    let detail = |name: &str| draft.detail.as_ref().and_then(|detail| detail.get(name));
    let fact = |name: &str| draft.facts.as_ref().and_then(|facts| facts.get(name));
    let tool = detail("original_tool").and_then(Value::as_str).or(draft.tool.as_deref()).unwrap_or_default();
    let verdict = detail("verdict");
    let said = |name: &str| verdict.and_then(|verdict| verdict.get(name)).cloned();
    let (decision, policy, rule) = match (draft.decision, verdict) {
        // What people decide is no part of a test, and neither is what a counter says: what policies said is.
        (Some(decision), Some(_)) if decision != EventDecision::Remediate => {
            (said("decision"), said("policy_id"), said("rule_id"))
        }
        (decision, _) => (Some(json!(decision)), Some(json!(draft.policy_id)), Some(json!(draft.rule_id))),
    };
    let decision = decision.unwrap_or_default();
    let agent = draft.agent_id.as_deref().unwrap_or_default();
    let word = decision.as_str().unwrap_or_default();
    let name = format!("{agent} calls {tool}: {word} ({trace}, {number})");
    writeln!(out, "  - name: {}", written(&json!(name)))?;
    comments(draft, &policy, out)?;
    writeln!(out, "    call:")?;
    let mut put = |key: &str, value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(()),
        Some(value) => writeln!(out, "      {key}: {}", written(value)),
    };
    put("agent", Some(&json!(agent)))?;
    let kind = match fact("kind").and_then(Value::as_str) {
        Some(kind) => kind,
        // A call that was refused before it had facts names its kind nowhere else.
        None if tool.contains("://") => "resource",
        None => "tool",
    };
    put(kind, Some(&json!(tool)))?;
    if kind != "resource" {
        put("arguments", detail("original_arguments").or_else(|| detail("arguments")))?;
    }
    put("workflow", fact("workflow_refused").cloned().or_else(|| Some(json!(draft.workflow_id))).as_ref())?;
    put("user", Some(&json!(draft.user.as_ref().filter(|user| draft.operator.as_ref() != Some(*user)))))?;
    put("now", fact("now"))?;
    put("repeats", fact("repeats").filter(|repeats| repeats.as_u64() != Some(0)))?;
    put("labels", fact("session_labels"))?;
    writeln!(out, "    expect:")?;
    let expected = [("decision", Some(decision)), ("policy_id", policy), ("rule_id", rule)];
    for (key, value) in expected {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            writeln!(out, "      {key}: {}", written(&value))?;
        }
    }
    Ok(())
}

/// What a reader has to know of the record.
fn comments(draft: &EventDraft, policy: &Option<Value>, out: &mut String) -> fmt::Result {
    let masked = draft.facts.as_ref().and_then(|facts| facts.get("masked")).and_then(Value::as_array);
    let places: Vec<String> = masked.into_iter().flatten().map(written).collect();
    if !places.is_empty() {
        writeln!(
            out,
            "    # Masked in the record and not to be had again, so that what is decided on them may differ: {}",
            places.join(", ")
        )?;
    }
    if draft.detail.as_ref().is_some_and(|detail| detail.get(crate::evidence::CUT_ARGUMENTS).is_some()) {
        writeln!(out, "    # The record holds a part of the arguments only: put the whole ones here.")?;
    }
    if let (Some(Value::String(said)), Some(stopped)) = (policy, &draft.policy_id)
        && **stopped != **said
        && draft.decision != Some(EventDecision::Remediate)
    {
        let stopped = written(&json!(stopped));
        writeln!(
            out,
            "    # The call was stopped by {stopped}. Counters are no part of a test: this is what policies said."
        )?;
    }
    Ok(())
}
