//! What the format `json` tells: who, which tool, which policy and a link, and no argument; signed as Standard Webhooks has it
//! (`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,…` over `id.timestamp.body`).

use crate::{
    clock::Clock,
    config::Config,
    evidence::without_values,
    model::{AlertSeverity, Event, EventType},
    redaction::display_text,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, header};
use http_body_util::Full;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

/// The longest sentence about an alert, in characters.
const LONGEST_REASON: usize = 500;

/// What is told of an event. `alert`: the alert that it is of, where it does not name that itself.
pub(super) fn body(event: &Event, alert: Option<&(String, AlertSeverity)>, config: &Config) -> Value {
    let draft = &event.draft;
    let is_alert = draft.event_type == EventType::Alert;
    let id = draft.approval_id.as_ref();
    let detail = |name: &str| draft.detail.as_ref().and_then(|detail| detail.get(name));
    // A sentence of ours, without what it may repeat of a call.
    let shown = is_alert.then(|| without_values(draft.clone()));
    let reason = shown.as_ref().and_then(|shown| shown.reason.as_deref());
    let tool = shown.as_ref().unwrap_or(draft).tool.as_deref();
    // Whom an escalation names.
    let to = draft.detail.as_ref().and_then(|detail| detail.pointer("/approval/to"));
    json!({
        "type": draft.event_type,
        "alert": detail("alert"),
        "alert_id": detail("alert_id").cloned().or_else(|| alert.map(|(id, _)| json!(id))),
        "severity": detail("severity").cloned().or_else(|| alert.map(|(_, severity)| json!(severity))),
        "reason": reason.map(|reason| display_text(reason, LONGEST_REASON)),
        "escalated_to": to,
        "timestamp": draft.timestamp,
        "approval_id": id,
        "decision": draft.decision,
        "agent_id": draft.agent_id,
        "workflow_id": draft.workflow_id,
        "upstream": draft.upstream,
        "tool": tool,
        "policy_id": draft.policy_id,
        "rule_id": draft.rule_id,
        "environment": config.gateway.environment,
        "link": id.map_or_else(|| format!("{}/#/alerts", config.page_link()), |id| config.approval_link(id)),
    })
}

/// What somebody sends who tries whether it arrives.
pub(super) fn sample(config: &Config, clock: &dyn Clock) -> Value {
    json!({
        "type": "test",
        "timestamp": clock.now(),
        "environment": config.gateway.environment,
        "link": config.page_link(),
    })
}

/// `v1,` and the base64 of the HMAC-SHA-256 over `id.timestamp.body`.
fn signature(secret: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// A request with a body of JSON. None: the URL cannot be requested.
pub(super) fn posted(url: &str, body: String) -> Option<Request<Full<Bytes>>> {
    Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .ok()
}

/// A signed request. Each attempt has its own time, so that a receiver may refuse what is old. None: the URL cannot be
/// requested.
pub(in crate::gateway) fn signed(
    url: &str,
    secret: &SecretString,
    clock: &dyn Clock,
    id: &str,
    body: &str,
) -> Option<Request<Full<Bytes>>> {
    let timestamp = clock.now().as_second();
    let signed = signature(secret.expose_secret().as_bytes(), id, timestamp, body.as_bytes())?;
    let mut request = posted(url, body.to_owned())?;
    for (name, value) in
        [("webhook-id", id), ("webhook-timestamp", &timestamp.to_string()), ("webhook-signature", &signed)]
    {
        request.headers_mut().insert(name, value.parse().ok()?);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference library.
    #[test]
    fn deliveries_are_signed_as_the_specification_has_it() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }
}
