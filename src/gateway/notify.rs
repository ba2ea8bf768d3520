//! Tells a webhook that somebody is asked and of each alert, so that nobody need look by chance. It notifies and does nothing
//! else: no argument of a call leaves through it, and nothing that it answers decides anything.
//!
//! Deliveries are signed as Standard Webhooks has it (`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,…` over
//! `id.timestamp.body`), and tried again where they fail. Of approvals each process tells what it commits itself, the command
//! line too ([`tell_webhook`]); of alerts the one that watches the record tells, whoever found them. What a process has not
//! delivered when it ends is not told.

use super::Gateway;
use crate::{
    clock::{Clock, IdSource},
    config::{Config, WebhookConfig},
    evidence::without_values,
    model::{AlertSeverity, Event, EventType},
    outbound::Outbound,
    oversight::Alerted,
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
use std::{ops::ControlFlow, sync::Arc, time::Duration};
use tokio::sync::{
    Semaphore,
    broadcast::{self, error::RecvError},
};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one delivery is tried.
const ATTEMPTS: u32 = 8;
/// The same for a command, which somebody waits for.
const ATTEMPTS_OF_A_COMMAND: u32 = 3;
/// Before the second attempt; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Deliveries under way or waiting to be tried again; more are not told, which the log says.
const MOST: usize = 256;
/// The longest sentence about an alert, in characters.
const LONGEST_REASON: usize = 500;
/// What is read of an answer.
const MOST_BYTES: usize = 64 * 1024;

/// Whether somebody is asked, or an ask has come to its end.
fn is_of_approval(event: &Event) -> bool {
    matches!(
        event.draft.event_type,
        EventType::ApprovalRequested
            | EventType::ApprovalDecided
            | EventType::ApprovalExpired
            | EventType::ApprovalCancelled
    ) && event.draft.approval_id.is_some()
}

/// What is told of an event. `alert`: the alert that it is of, where it does not name that itself.
fn told(event: &Event, alert: Option<&(String, AlertSeverity)>, config: &Config) -> Value {
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

/// `v1,` and the base64 of the HMAC-SHA-256 over `id.timestamp.body`.
fn signature(secret: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// What is on its way to the webhook.
#[derive(Debug)]
pub(super) struct Notifications {
    outbound: Outbound,
    places: Arc<Semaphore>,
}

impl Default for Notifications {
    fn default() -> Self {
        Self { outbound: Outbound::default(), places: Arc::new(Semaphore::new(MOST)) }
    }
}

/// What a store tells of what it commits.
pub(super) type Committed = broadcast::Receiver<Arc<Event>>;

impl Gateway {
    /// Follows the events of this process for as long as it lives, where there is a webhook: whom nobody listens to, the
    /// store need not tell, and that costs each call something. `since_start`: what was committed since the start began.
    pub(super) async fn notify(self, mut since_start: Option<Committed>) {
        let mut generations = self.generations();
        loop {
            generations.borrow_and_update();
            if self.in_force().config.webhook.is_some() {
                let committed = since_start.take().unwrap_or_else(|| self.0.store.committed());
                if self.follow_events(committed).await.is_break() {
                    return;
                }
            } else if generations.changed().await.is_err() {
                return;
            }
        }
    }

    /// Until there is no webhook any more, or (`Break`) no event to come.
    async fn follow_events(&self, mut committed: Committed) -> ControlFlow<()> {
        loop {
            let event = match committed.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events came faster than the webhook is told of them");
                    continue;
                }
                Err(RecvError::Closed) => return ControlFlow::Break(()),
            };
            let in_force = self.in_force();
            if in_force.config.webhook.is_none() {
                return ControlFlow::Continue(());
            }
            if is_of_approval(&event) {
                self.send_to_webhook(told(&event, None, &in_force.config));
            }
        }
    }

    /// Tells of alerts that somebody has found, where there is a webhook.
    pub(super) fn tell_alerts<'a>(&self, alerts: impl IntoIterator<Item = &'a Alerted>) {
        let in_force = self.in_force();
        if in_force.config.webhook.is_some() {
            for Alerted { event, alert } in alerts {
                self.send_to_webhook(told(event, alert.as_ref(), &in_force.config));
            }
        }
    }

    fn send_to_webhook(&self, told: Value) {
        let Ok(place) = self.0.notifications.places.clone().try_acquire_owned() else {
            tracing::warn!("the webhook has too many deliveries under way: one is left out");
            return;
        };
        let gateway = self.clone();
        self.spawn_until_stop(async move {
            let _place = place;
            gateway.deliver(&told).await;
        });
    }

    async fn deliver(&self, told: &Value) {
        let id = format!("msg_{}", self.0.ids.uuid());
        let body = told.to_string();
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            // A reload may have changed where it goes, or ended it.
            let Some(webhook) = self.in_force().config.webhook.clone() else { return };
            match send(&self.0.notifications.outbound, &webhook, &*self.0.clock, &id, &body).await {
                Ok(()) => return,
                Err(Refused::ForGood(why)) => {
                    tracing::error!(reason = why, "the webhook refuses a notification");
                    return;
                }
                Err(Refused::ForNow(why)) if attempt == ATTEMPTS => {
                    tracing::error!(reason = why, attempt, "the webhook could not be told");
                }
                Err(Refused::ForNow(why)) => {
                    tracing::warn!(reason = why, attempt, "the webhook could not be told yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Tells the webhook of what a process without a gateway has committed, and says what could not be told.
pub async fn tell_webhook(
    config: &Config,
    clock: &dyn Clock,
    ids: &dyn IdSource,
    event: &Event,
) -> Result<(), String> {
    let Some(webhook) = &config.webhook else { return Ok(()) };
    if !is_of_approval(event) {
        return Ok(());
    }
    let told = told(event, None, config);
    let outbound = Outbound::default();
    let id = format!("msg_{}", ids.uuid());
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS_OF_A_COMMAND {
        match send(&outbound, webhook, clock, &id, &told.to_string()).await {
            Ok(()) => break,
            Err(Refused::ForGood(why)) => return Err(why),
            Err(Refused::ForNow(why)) if attempt == ATTEMPTS_OF_A_COMMAND => return Err(why),
            Err(Refused::ForNow(_)) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    Ok(())
}

async fn send(
    outbound: &Outbound,
    webhook: &WebhookConfig,
    clock: &dyn Clock,
    id: &str,
    body: &str,
) -> Result<(), Refused> {
    let request = signed(webhook.url.as_str(), &webhook.secret, clock, id, body)
        .ok_or_else(|| Refused::ForGood("its URL cannot be requested".to_owned()))?;
    let reply = outbound.send(request, MOST_BYTES, PATIENCE).await;
    let status = reply.map_err(|error| Refused::ForNow(error.to_string()))?.status;
    match status.as_u16() {
        200..=299 => Ok(()),
        // What is wrong with it will be wrong again; 408, 425 and 429 ask for another attempt.
        400..=499 if ![408, 425, 429].contains(&status.as_u16()) => {
            Err(Refused::ForGood(format!("HTTP status {status}")))
        }
        _ => Err(Refused::ForNow(format!("HTTP status {status}"))),
    }
}

/// A signed request. Each attempt has its own time, so that a receiver may refuse what is old. None: the URL cannot be
/// requested.
pub(super) fn signed(
    url: &str,
    secret: &SecretString,
    clock: &dyn Clock,
    id: &str,
    body: &str,
) -> Option<Request<Full<Bytes>>> {
    let timestamp = clock.now().as_second();
    let signed = signature(secret.expose_secret().as_bytes(), id, timestamp, body.as_bytes())?;
    Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signed)
        .body(Full::new(Bytes::from(body.to_owned())))
        .ok()
}

enum Refused {
    ForNow(String),
    ForGood(String),
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
