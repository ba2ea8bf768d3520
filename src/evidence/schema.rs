//! The JSON Schema of a record in its public form. The tests hold every record that they make against it.

/// The schema: `schemas/event.json` of the repository.
pub const EVENT_SCHEMA: &str = include_str!("../../schemas/event.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, EventDecision, EventDraft, EventType, Outcome, Sensitivity, TraceId};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn schema() -> Value {
        serde_json::from_str(EVENT_SCHEMA).unwrap()
    }

    fn event(kind: EventType) -> Value {
        let mut draft = EventDraft::system(kind, Timestamp::UNIX_EPOCH);
        draft.trace_id = TraceId::parse("0af7651916cd43dd8448eb211c80319c");
        draft.agent_id = Some("planner-01".into());
        draft.call_id = Some("c".into());
        draft.policy_id = Some("p".into());
        draft.reason = Some("because".into());
        draft.policy_snapshot = Some("ab".repeat(32).as_str().into());
        draft.evaluator = Some("tollgate/0.1.0".into());
        draft.environment = Some("staging".into());
        draft.decision = Some(EventDecision::Allow);
        draft.labels = Some(vec!["internal".into()]);
        json!(Event { seq: 1, prev_hash: "0".repeat(64), hash: "1".repeat(64), draft })
    }

    fn words<T: ToString>(all: &[T]) -> Vec<Value> {
        all.iter().map(|word| Value::String(word.to_string())).collect()
    }

    /// Its members are those of the public form, in their order, all required; and its words are those of the program.
    #[test]
    fn it_lists_what_a_record_has() {
        let schema = schema();
        let properties = schema["properties"].as_object().unwrap();
        let named: Vec<&String> = properties.keys().collect();
        let record = event(EventType::AgentDecision);
        assert_eq!(named, record.as_object().unwrap().keys().collect::<Vec<_>>());
        assert_eq!(schema["required"], json!(named));
        assert_eq!(properties["event_type"]["enum"], json!(words(EventType::ALL)));
        let nullable = |mut all: Vec<Value>| {
            all.push(Value::Null);
            json!(all)
        };
        let sorted = |value: &Value| {
            let mut all: Vec<String> = value.as_array().unwrap().iter().map(Value::to_string).collect();
            all.sort();
            all
        };
        let decisions = nullable(words(EventDecision::ALL));
        assert_eq!(sorted(&properties["decision"]["enum"]), sorted(&decisions));
        let outcomes = [Outcome::Succeeded, Outcome::Failed, Outcome::Unknown].map(Outcome::as_str);
        assert_eq!(properties["outcome"]["enum"], nullable(words(&outcomes)));
        let levels = &properties["metadata"]["properties"]["sensitivity_level"]["enum"];
        assert_eq!(sorted(levels), sorted(&json!(words(&Sensitivity::ALL))));
    }

    /// What is wrong in one place is refused, whatever the place.
    #[test]
    fn a_wrong_record_is_refused() {
        let schema = schema();
        assert!(jsonschema::meta::is_valid(&schema));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let right = event(EventType::AgentDecision);
        validator.validate(&right).unwrap();
        let check = |pointer: &str, value: Value| {
            let mut wrong = right.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            assert!(!validator.is_valid(&wrong), "{pointer}: {wrong}");
        };
        check("/event_type", json!("agent_decided"));
        check("/timestamp", json!("yesterday"));
        check("/timestamp", json!("2026-13-45T12:00:00Z"));
        check("/timestamp", json!("2026-11-01T12:00:00+01:00"));
        check("/trace_id", json!("0AF7651916CD43DD8448EB211C80319C"));
        check("/trace_id", json!("0".repeat(32)));
        check("/trace_id", Value::Null);
        check("/decision", json!("maybe"));
        check("/decision", Value::Null);
        check("/cost_estimate_usd", json!(-1));
        check("/cost_estimate_usd", json!("1.25"));
        check("/actor", json!({"type": "agent"}));
        check("/actor/type", json!("robot"));
        check("/metadata/redacted", json!("no"));
        check("/metadata/sensitivity_level", json!("secret"));
        check("/seq", json!(0));
        check("/prev_hash", json!("x"));
        check("/hash", Value::Null);
        check("/call_id", json!(""));
        check("/call_id", Value::Null);
        check("/policy_snapshot", json!("snapshot"));
        check("/evaluator", json!("somebody"));
        check("/labels", json!(["a", "a"]));
        check("/outcome", json!("succeeded"));
        check("/duration_ms", json!(1));
        check("/limits", json!([]));
        check("/detail", json!("text"));
        for name in right.as_object().unwrap().keys() {
            let mut lacking = right.clone();
            lacking.as_object_mut().unwrap().shift_remove(name);
            assert!(!validator.is_valid(&lacking), "without `{name}`");
        }
        let mut more = right.clone();
        more["secret"] = json!("x");
        assert!(!validator.is_valid(&more));
        // Of another kind other fields must be there.
        for kind in [
            EventType::AgentSideEffect,
            EventType::ApprovalRequested,
            EventType::GrantMade,
            EventType::Frozen,
        ] {
            assert!(!validator.is_valid(&event(kind)), "{kind}");
        }
    }
}
