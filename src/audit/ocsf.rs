//! Events as the Open Cybersecurity Schema Framework has them, version 1.8.0, class API Activity (6003): what a SIEM takes without
//! a parser of its own. What that class has no place for stands in `unmapped`, under the names of the event's own fields.

use crate::model::{Event, EventDecision, EventDraft, EventType, Outcome};
use serde_json::{Map, Value, json};

/// The version of the schema.
const VERSION: &str = "1.8.0";

/// What came of it, in the schema's numbers.
struct Result {
    status: (u8, &'static str),
    action: (u8, &'static str),
    disposition: (u8, &'static str),
    severity: (u8, &'static str),
    is_alert: bool,
}

const SUCCESS: (u8, &str) = (1, "Success");
const FAILURE: (u8, &str) = (2, "Failure");
const UNKNOWN: (u8, &str) = (0, "Unknown");
const ALLOWED: (u8, &str) = (1, "Allowed");
const DENIED: (u8, &str) = (2, "Denied");
const OBSERVED: (u8, &str) = (3, "Observed");
const MODIFIED: (u8, &str) = (4, "Modified");
const BLOCKED: (u8, &str) = (2, "Blocked");
const CORRECTED: (u8, &str) = (11, "Corrected");
const LOGGED: (u8, &str) = (17, "Logged");
const ALERT: (u8, &str) = (19, "Alert");
const OTHER: u8 = 99;
const INFORMATIONAL: (u8, &str) = (1, "Informational");
const LOW: (u8, &str) = (2, "Low");
const MEDIUM: (u8, &str) = (3, "Medium");

fn result(event: &EventDraft) -> Result {
    let of = |status, action, disposition, severity| Result {
        status,
        action,
        disposition,
        severity,
        is_alert: false,
    };
    match (event.event_type, event.outcome, event.decision) {
        (EventType::Alert, ..) => Result { is_alert: true, ..of((OTHER, "Alert"), OBSERVED, ALERT, MEDIUM) },
        (_, Some(Outcome::Succeeded), _) => of(SUCCESS, ALLOWED, ALLOWED, INFORMATIONAL),
        (_, Some(Outcome::Failed), _) => of(FAILURE, ALLOWED, ALLOWED, LOW),
        (_, Some(Outcome::Unknown), _) => of(UNKNOWN, ALLOWED, ALLOWED, MEDIUM),
        (_, None, Some(decision)) => match decision {
            EventDecision::Allow | EventDecision::Approved => of(SUCCESS, ALLOWED, ALLOWED, INFORMATIONAL),
            EventDecision::AllowWithConstraints => of(SUCCESS, MODIFIED, CORRECTED, INFORMATIONAL),
            EventDecision::PendingApproval => {
                let pending = (OTHER, "Pending approval");
                of(pending, pending, pending, INFORMATIONAL)
            }
            EventDecision::Remediate
            | EventDecision::Suggest
            | EventDecision::Throttle
            | EventDecision::Deny
            | EventDecision::Rejected
            | EventDecision::Expired => of(FAILURE, DENIED, BLOCKED, LOW),
        },
        (EventType::PolicyRejected, None, None) => of(FAILURE, DENIED, BLOCKED, LOW),
        (_, None, None) => of(SUCCESS, OBSERVED, LOGGED, INFORMATIONAL),
    }
}

/// Puts a member where there is something to say.
fn put(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Leaves out whatever is null.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(items) => Some(items.into_iter().filter_map(without_nulls).collect()),
        Value::Object(members) => {
            let members = members.into_iter().filter_map(|(name, value)| Some((name, without_nulls(value)?)));
            Some(Value::Object(members.collect()))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value),
    }
}

fn actor(event: &EventDraft) -> Value {
    let mut actor = Map::new();
    let program = event.agent_id.as_ref().map_or("tollgate", |agent| agent.as_str());
    actor.insert("app_name".to_owned(), program.into());
    put(&mut actor, "app_uid", event.agent_id.as_ref().map(|agent| agent.as_str()));
    let person = match &*event.actor.kind {
        "person" => event.person(),
        _ => event.user.as_ref().map(|user| user.as_str()),
    };
    if let Some(person) = person {
        actor.insert("user".to_owned(), json!({"name": person, "uid": person, "type_id": 1, "type": "User"}));
    }
    put(&mut actor, "invoked_by", event.operator.as_ref().map(|person| person.as_str()));
    Value::Object(actor)
}

fn api(event: &EventDraft) -> Value {
    let mut api = Map::new();
    let operation = text(event.tool.as_ref()).or_else(|| text(event.action.as_ref()));
    api.insert("operation".to_owned(), operation.unwrap_or_else(|| event.event_type.to_string()).into());
    if let Some(upstream) = &event.upstream {
        api.insert("service".to_owned(), json!({"name": upstream.as_str()}));
    }
    if let Some(call) = &event.call_id {
        api.insert("request".to_owned(), json!({"uid": call.to_string()}));
    }
    if let Some(outcome) = event.outcome {
        api.insert("response".to_owned(), json!({"message": outcome.as_str()}));
    }
    Value::Object(api)
}

fn metadata(event: &Event) -> Value {
    let draft = &event.draft;
    let mut metadata = Map::new();
    metadata.insert("version".to_owned(), VERSION.into());
    let product =
        json!({"name": "Tollgate", "vendor_name": "Tollgate", "version": env!("CARGO_PKG_VERSION")});
    metadata.insert("product".to_owned(), product);
    metadata.insert("profiles".to_owned(), json!(["security_control"]));
    metadata.insert("event_code".to_owned(), draft.event_type.to_string().into());
    metadata.insert("log_name".to_owned(), "tollgate audit".into());
    metadata.insert("original_time".to_owned(), draft.timestamp.to_string().into());
    metadata.insert("sequence".to_owned(), event.seq.into());
    put(&mut metadata, "uid", Some(event.hash.as_str()).filter(|hash| !hash.is_empty()));
    put(&mut metadata, "correlation_uid", text(draft.trace_id.as_ref()));
    put(&mut metadata, "tenant_uid", text(draft.tenant.as_ref()));
    Value::Object(metadata)
}

/// The event, as one object without a null.
pub fn ocsf(event: &Event) -> Value {
    let draft = &event.draft;
    let Result { status, action, disposition, severity, is_alert } = result(draft);
    let mut line = Map::new();
    for (name, number) in
        [("activity_id", 99), ("category_uid", 6), ("class_uid", 6003), ("type_uid", 600_399)]
    {
        line.insert(name.to_owned(), number.into());
    }
    for (name, caption) in [
        ("activity_name", draft.event_type.as_str()),
        ("category_name", "Application Activity"),
        ("class_name", "API Activity"),
        ("type_name", "API Activity: Other"),
    ] {
        line.insert(name.to_owned(), caption.into());
    }
    for (name, (number, caption)) in
        [("status", status), ("action", action), ("disposition", disposition), ("severity", severity)]
    {
        line.insert(format!("{name}_id"), number.into());
        line.insert(name.to_owned(), caption.into());
    }
    line.insert("is_alert".to_owned(), is_alert.into());
    line.insert("time".to_owned(), draft.timestamp.as_millisecond().into());
    line.insert("actor".to_owned(), actor(draft));
    line.insert("api".to_owned(), api(draft));
    line.insert("metadata".to_owned(), metadata(event));
    let source = draft.agent_id.as_ref().map_or("tollgate", |agent| agent.as_str());
    line.insert("src_endpoint".to_owned(), json!({"uid": source, "svc_name": source}));
    if let Some(upstream) = &draft.upstream {
        line.insert("dst_endpoint".to_owned(), json!({"svc_name": upstream.as_str()}));
    }
    if let Some(policy) = &draft.policy_id {
        let mut told = Map::new();
        told.insert("uid".to_owned(), policy.as_str().into());
        put(&mut told, "name", draft.rule_id.as_ref().map(|rule| format!("{policy}/{rule}")));
        put(&mut told, "version", text(draft.policy_snapshot.as_ref()));
        line.insert("policy".to_owned(), Value::Object(told));
    }
    put(&mut line, "message", text(draft.reason.as_ref()));
    put(&mut line, "status_detail", text(draft.reason.as_ref()));
    put(&mut line, "unmapped", serde_json::to_value(event).ok().and_then(without_nulls));
    Value::Object(line)
}
