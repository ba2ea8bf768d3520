//! Events of PagerDuty's Events API v2: one incident for each ask, which ends with it.

use super::{About, Alert, Ask, Notice, Stage, Words, escaped};
use serde_json::{Map, Value, json};

/// PagerDuty's bounds.
const SUMMARY: usize = 1_024;
const KEY: usize = 255;
/// Ours, of a value of the details.
const VALUE: usize = 2_000;

fn as_is(c: char, out: &mut String) {
    out.push(c);
}

fn of_ask(ask: &Ask) -> (&'static str, String, &'static str) {
    let action = if ask.stage.is_open() { "trigger" } else { "resolve" };
    let severity = match (&ask.stage, ask.risk.destructive) {
        (Stage::Escalated { .. }, true) => "critical",
        (Stage::Escalated { .. }, false) => "error",
        (_, _) => "warning",
    };
    (action, ask.id.clone(), severity)
}

fn of_alert(alert: &Alert) -> (&'static str, String, &'static str) {
    let severity = match alert.severity.as_str() {
        "critical" => "critical",
        "high" => "error",
        "medium" => "warning",
        _ => "info",
    };
    ("trigger", alert.id.clone(), severity)
}

/// The body of the request; the routing key is put in by whoever sends it. None: PagerDuty is told nothing of this.
pub fn event(notice: &Notice) -> Option<Value> {
    let (action, key, severity) = match &notice.about {
        About::Ask(ask) if matches!(ask.stage, Stage::Answered { .. }) => return None,
        About::Ask(ask) => of_ask(ask),
        About::Alert(alert) => of_alert(alert),
        // It is resolved as soon as it was tried.
        About::Sample { webhook } => ("trigger", format!("sample {webhook}"), "info"),
    };
    let key = escaped(&format!("tollgate {key}"), KEY, as_is);
    if action == "resolve" {
        return Some(json!({"event_action": action, "dedup_key": key}));
    }
    let Words { title, sentence, rows, link, foot, .. } = notice.words();
    let details: Map<String, Value> = rows
        .into_iter()
        .map(|(label, value)| (label.to_owned(), escaped(&value, VALUE, as_is).into()))
        .chain([("Note".to_owned(), escaped(&foot, VALUE, as_is).into())])
        .collect();
    let component = match &notice.about {
        About::Ask(ask) => Some(super::name(&ask.upstream)),
        About::Alert(_) | About::Sample { .. } => None,
    };
    let class = match &notice.about {
        About::Ask(_) => "approval",
        About::Alert(_) => "alert",
        About::Sample { .. } => "sample",
    };
    let mut payload = json!({
        "summary": escaped(&format!("{title}: {sentence}"), SUMMARY, as_is),
        "source": format!("tollgate {}", super::name(&notice.environment)),
        "severity": severity,
        "class": class,
        "custom_details": details,
    });
    if let (Some(component), Some(payload)) = (component, payload.as_object_mut()) {
        payload.insert("component".to_owned(), component.into());
    }
    let mut event = json!({
        "event_action": action,
        "dedup_key": key,
        "payload": payload,
        "client": "Tollgate",
    });
    if let (Some(url), Some(event)) = (&notice.link, event.as_object_mut()) {
        event.insert("client_url".to_owned(), url.as_str().into());
        event.insert("links".to_owned(), json!([{"href": url, "text": link}]));
    }
    Some(event)
}

/// What ends the incident that a trigger began.
pub fn resolution(trigger: &Value) -> Value {
    json!({"event_action": "resolve", "dedup_key": trigger["dedup_key"]})
}
