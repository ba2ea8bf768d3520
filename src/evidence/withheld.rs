//! Records for whoever may read what happened, and not with which values: in the place of each value stands of what kind it is
//! and how long. A record that is told so does not verify by its hash; it says that it is told so.

use crate::{
    model::{Event, EventDraft, EventType, without_query},
    redaction::{own_words, withheld, without_queries, without_said},
};
use serde_json::{Map, Value};

/// The member of an event's `detail` that says that values are withheld.
pub const WITHHELD: &str = "withheld";

/// Members of a call's `detail` that say nothing of values.
const SHOWN: &[&str] = &[
    "verdict",
    "rollout",
    "steps",
    "schema",
    "method",
    "replay_of",
    "actors",
    "original_tool",
    "person",
    "subject",
    "why",
    "said",
    "channel",
    "evidence",
    "status",
    "decided_under",
    "asked_under",
    "in_force",
    "asked_again_as",
    "differs",
    "requirements",
    "since",
    "to",
    "alert",
    "loop",
    "task",
    "of_call",
];

/// Members that hold what an agent sent, wherever they stand.
const HELD: &[&str] = &[
    "arguments",
    "original_arguments",
    "arguments_cut",
    "remediation_cut",
    "meta",
    "params",
    // What a service answered about the arguments.
    "checks",
];

/// A committed event without the values of arguments and without the hashes of its chain: whoever has all else of a record and its
/// hashes can try values until one of them fits.
#[must_use]
pub fn event_without_values(event: Event) -> Event {
    without_hashes(Event { draft: without_values(event.draft), ..event })
}

/// A committed event without its hash and the one before, for whoever does not see the values of all records: what may be told
/// whole says by its `prev_hash` what the hash of the record before is.
#[must_use]
pub fn without_hashes(event: Event) -> Event {
    Event { prev_hash: String::new(), hash: String::new(), ..event }
}

/// An event without the values of arguments.
#[must_use]
pub fn without_values(draft: EventDraft) -> EventDraft {
    let mut draft = draft.with_values();
    draft.reason = draft.reason.map(|reason| match draft.event_type {
        EventType::AgentSideEffect => own_words(&reason).into(),
        _ => {
            // A sentence of ours may name what was called.
            let named = draft.tool.as_ref().map(|tool| reason.replace(&**tool, &without_query(tool)));
            sentence(named.as_deref().unwrap_or(&reason)).into()
        }
    });
    draft.tool = draft.tool.map(|tool| without_query(&tool).into());
    draft.facts = draft.facts.map(without_held);
    let of_call = match draft.event_type {
        EventType::AgentDecision
        | EventType::AgentSideEffect
        | EventType::ApprovalRequested
        | EventType::ApprovalDecided
        | EventType::ApprovalExpired
        | EventType::ApprovalCancelled
        | EventType::GrantMade
        | EventType::GrantEnded => true,
        EventType::AgentStart
        | EventType::Alert
        | EventType::PolicyActivated
        | EventType::PolicyRejected
        | EventType::AdminAction
        | EventType::AuthFailed
        | EventType::ToolQuarantined
        | EventType::ToolAccepted
        | EventType::Frozen
        | EventType::Unfrozen
        | EventType::Note => false,
    };
    draft.detail = match draft.detail {
        Some(Value::Object(members)) => Some(sentences(Value::Object(detail(members, of_call)))),
        other => other,
    };
    draft
}

/// Of a call, what is not known to say nothing of values is withheld, unless it is a count.
fn detail(members: Map<String, Value>, of_call: bool) -> Map<String, Value> {
    let told = |(name, value): (String, Value)| {
        let plain = value.is_number() || value.is_boolean() || value.is_null();
        let value = match name.as_str() {
            "remediation" => remediation(value),
            "record" | "grant_record" | "grant" => without_held(value),
            held if HELD.contains(&held) => withheld(&value),
            shown if SHOWN.contains(&shown) || plain => value,
            _ if of_call => withheld(&value),
            _ => without_held(value),
        };
        (name, value)
    };
    let mut members: Map<String, Value> = members.into_iter().map(told).collect();
    members.insert(WITHHELD.to_owned(), true.into());
    members
}

/// One of our sentences without what an external check said, and without queries.
fn sentence(text: &str) -> String {
    without_queries(&without_said(text))
}

/// The same of all that are called a reason or a subject, at any depth.
fn sentences(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let told = |(name, value): (String, Value)| {
                let value = match (name.as_str(), value) {
                    ("reason", Value::String(text)) => Value::String(sentence(&text)),
                    ("subject", Value::String(subject)) => Value::String(without_query(&subject)),
                    (_, value) => sentences(value),
                };
                (name, value)
            };
            Value::Object(members.into_iter().map(told).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sentences).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

/// How a safer call differs from the one that was made, but not by which values.
fn remediation(value: Value) -> Value {
    let Value::Object(members) = value else { return withheld(&value) };
    let told = |(name, value): (String, Value)| {
        let value = match name.as_str() {
            "mode" | "tool" | "remove" | "reason" => value,
            _ => withheld(&value),
        };
        (name, value)
    };
    Value::Object(members.into_iter().map(told).collect())
}

/// A value in which members of [`HELD`] are withheld, at any depth, and what is called has no query.
fn without_held(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let told = |(name, value): (String, Value)| {
                let value = match (name.as_str(), value) {
                    (held, value) if HELD.contains(&held) => withheld(&value),
                    ("tool" | "name", Value::String(target)) => Value::String(without_query(&target)),
                    (_, value) => without_held(value),
                };
                (name, value)
            };
            Value::Object(members.into_iter().map(told).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_held).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    /// Wherever a value stands in a record, and whatever a later version calls the member, it is not told.
    #[test]
    fn no_record_of_a_call_tells_a_value() {
        let secret = "the-value";
        let arguments = json!({"path": secret});
        let details = json!({
            "arguments": arguments,
            "original_arguments": arguments,
            "arguments_cut": {"text": secret, "bytes": 9},
            "remediation": {"mode": "apply", "set": {"path": secret}, "remove": ["/x"]},
            "remediation_cut": {"text": secret},
            "meta": {"k": secret},
            "params": {"k": secret},
            "record": {"arguments": arguments, "context": {"meta": {"k": secret}}, "binding": {"tool": format!("x:/a?{secret}")},
                       "answers": [{"grant": {"arguments": {"path": {"equals": secret}}}}]},
            "grant_record": {"terms": {"arguments": {"path": {"within": secret}}}},
            "grant": {"arguments": {"path": {"glob": secret}}},
            "something_new": {"told": [secret]},
            "result_bytes": 12,
            "steps": [{"policy_id": "p"}],
        });
        for kind in [EventType::AgentDecision, EventType::ApprovalRequested, EventType::GrantMade] {
            let mut draft = EventDraft::system(kind, Timestamp::UNIX_EPOCH);
            draft.tool = Some(format!("https://h/a?q={secret}").into());
            draft.texts.facts = Some(
                json!({"earlier": [{"arguments": arguments}], "checks": {"c": secret}}).to_string().into(),
            );
            draft.texts.detail = Some(details.to_string().into());
            let told = without_values(draft);
            assert!(!told.body().contains(secret), "{}", told.body());
            let detail = told.detail.unwrap();
            assert_eq!((&detail["withheld"], &detail["result_bytes"]), (&json!(true), &json!(12)));
            assert_eq!(detail["steps"][0]["policy_id"], "p");
            assert_eq!(detail["remediation"]["mode"], "apply");
            assert_eq!(detail["arguments"], json!({"path": "[withheld:string:9]"}));
        }
    }

    /// What an upstream or an external check said may repeat what it was sent.
    #[test]
    fn words_of_others_are_not_told() {
        let told = |kind: EventType, reason: &str, detail: Value| {
            let mut draft = EventDraft::system(kind, Timestamp::UNIX_EPOCH);
            draft.reason = Some(reason.into());
            draft.tool = Some("https://h/a?pin 4711".into());
            draft.detail = Some(detail);
            let body = without_values(draft).body();
            assert!(!body.contains("4711"), "{body}");
            body
        };
        let body =
            told(EventType::AgentSideEffect, "the upstream answered with error 7: no pin 4711", json!({}));
        assert!(body.contains("the upstream answered with error 7 (its words"), "{body}");
        let says = "`g` asks: the external check `pii` says: 4711";
        let detail = json!({"steps": [{"reason": says}], "requirements": [{"reason": says}], "record": {"reason": says}});
        for kind in [EventType::AgentDecision, EventType::ApprovalRequested] {
            assert!(told(kind, says, detail.clone()).contains("the external check `pii` says something"));
        }
        let subject = json!({"subject": "tool:https://h/a?pin=4711"});
        told(EventType::Alert, "calls of `https://h/a?pin 4711` fail", subject);
    }

    /// Whoever has all of a record but one value, and its hashes, could try values.
    #[test]
    fn hashes_are_not_told() {
        let draft = EventDraft::system(EventType::AgentDecision, Timestamp::UNIX_EPOCH);
        let event = Event { seq: 7, prev_hash: "0".repeat(64), hash: "1".repeat(64), draft };
        let told = serde_json::to_value(event_without_values(event)).unwrap();
        assert_eq!(
            (&told["seq"], &told["prev_hash"], &told["hash"]),
            (&json!(7), &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn what_people_did_is_told_whole() {
        let mut draft = EventDraft::system(EventType::PolicyActivated, Timestamp::UNIX_EPOCH);
        draft.detail = Some(json!({"reason": "because", "files": ["a.yaml"]}));
        let told = without_values(draft).detail.unwrap();
        assert_eq!((&told["reason"], &told["files"]), (&json!("because"), &json!(["a.yaml"])));
    }
}
