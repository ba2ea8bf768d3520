//! Tells people that somebody is asked and of alerts, so that nobody need look by chance: by the webhooks of servers.toml, each in its
//! format. It notifies and does nothing else: nothing that comes back decides anything.
//!
//! What is told is read from the record, in its order, by one process of a store for each webhook (whoever holds its lock, which dies
//! with the process). How far it went, and of which asks a chat was told, stands in a register, written after each message: a process
//! that is killed loses none, and at most repeats the one that it was sending, under the same id. What fails is tried again as long as
//! it is of use, and holds up no other webhook.

mod json;
mod notice;
mod send;

pub(super) use json::signed;

use super::{Gateway, outlets::Cause};
use crate::{
    clock::{Clock, IdSource},
    config::{Config, Tells, WebhookConfig, WebhookTarget},
    model::{ApprovalId, Event, EventType},
    outbound::Outbound,
    oversight::Alerted,
    store::{ApprovalRecord, Duty, EventQuery, Register, RegisterChange, StoreError},
    telemetry::Label,
};
use dashmap::DashMap;
use jiff::Timestamp;
use send::{Done, Message, Refused, Sender};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What there may be to tell of.
const KINDS: [EventType; 5] = [
    EventType::ApprovalRequested,
    EventType::ApprovalDecided,
    EventType::ApprovalExpired,
    EventType::ApprovalCancelled,
    EventType::Alert,
];
/// Records of one kind that are read at a time.
const BATCH: usize = 20;
/// How often it is looked for new records where nothing wakes it.
const LOOK: Duration = Duration::from_millis(500);
/// Before the second attempt; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What is no open ask and could not be told for so long makes room for what comes behind it.
const STALE: Duration = Duration::from_secs(3_600);
/// The same of JSON, which a program reads.
const STALE_JSON: Duration = Duration::from_secs(86_400);
/// How far it is looked through without anything to tell before that is written down.
const FAR: i64 = 10_000;
/// Asks of one agent that wait and of which a chat, a mailbox or a pager is told; further ones are found on the page.
const MOST_OF_ONE: usize = 20;
/// Asks that wait and of which one webhook was told.
const MOST_OPEN: usize = 200;
/// Alerts under way to one webhook, and how often each is tried.
const MOST: usize = 64;
const ATTEMPTS: u32 = 8;
/// From this attempt on every second one goes without what the agent wrote: whatever stands in between may mind just that, and what
/// comes behind it must not wait for as long as the ask does.
const PLAINER: u32 = 4;
/// What the names of its troubles begin with.
const KIND: &str = "webhook ";

fn key(webhook: &WebhookConfig) -> String {
    format!("{KIND}{}", webhook.name)
}

/// Alerts that are on their way, by webhook: one that takes none holds up no other.
#[derive(Debug, Default)]
pub(super) struct Notifications {
    places: DashMap<Arc<str>, Arc<Semaphore>>,
}

impl Notifications {
    fn place(&self, webhook: &Arc<str>) -> Option<OwnedSemaphorePermit> {
        let made = || Arc::new(Semaphore::new(MOST));
        let places = self.places.entry(webhook.clone()).or_insert_with(made).clone();
        places.try_acquire_owned().ok()
    }
}

/// How far a webhook was told.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// The newest record that was looked at.
    at: i64,
    /// What the register says.
    kept: i64,
    version: u64,
}

/// What becomes of the list of asks that a chat was told of.
enum Told {
    Nothing,
    /// It was told of this one, of this agent, which ends then.
    Of(String, Timestamp),
    /// This one is over.
    Over,
}

impl Gateway {
    /// Follows the record for as long as this process lives.
    pub(super) async fn notify(self) {
        let run =
            |gateway: Self, webhook: Arc<WebhookConfig>| async move { gateway.tell_all(&webhook).await };
        self.for_each_outlet(KIND, |config| &config.webhooks, run).await;
    }

    /// A webhook is told of what happens from the first start on that knows it.
    pub(super) async fn begin_webhooks(&self) -> Result<(), StoreError> {
        let webhooks = self.in_force().config.webhooks.clone();
        for webhook in &webhooks {
            self.position(webhook).await?;
        }
        Ok(())
    }

    async fn position(&self, webhook: &WebhookConfig) -> Result<Position, StoreError> {
        let store = &self.0.store;
        let key = webhook.name.to_string();
        loop {
            if let Some(entry) = store.register_entry(Register::Webhook, key.clone()).await? {
                let kept = entry.value.get("seq").and_then(Value::as_i64).unwrap_or(0);
                return Ok(Position { at: kept, kept, version: entry.version });
            }
            let newest = self.newest().await?;
            let begun = RegisterChange::set(Register::Webhook, key.clone(), json!({"seq": newest})).at(0);
            store.set(vec![begun], Vec::new()).await?;
        }
    }

    async fn tell_all(&self, webhook: &WebhookConfig) {
        let failed = |error: &StoreError| {
            self.untold(webhook, Cause::Store, &format!("which process tells it cannot be told: {error}"))
        };
        loop {
            let duty = self.turn((&format!("webhook-{}", webhook.name), &key(webhook)), failed).await;
            self.tell_while(&*duty, webhook).await;
            // What it is not told is the matter of whoever tells it now.
            self.0.troubles.ends(&key(webhook), &[Cause::Store, Cause::Place]);
        }
    }

    /// Tells it for as long as this process is the one that does.
    async fn tell_while(&self, duty: &dyn Duty, webhook: &WebhookConfig) {
        let mut changes = self.0.store.approval_changes();
        let mut pause = FIRST_PAUSE;
        let mut position = None;
        while duty.is_held() {
            changes.borrow_and_update();
            match self.tell_news(duty, webhook, &mut position).await {
                Ok(()) => {
                    self.0.troubles.ends(&key(webhook), &[Cause::Store]);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    position = None;
                    self.untold(webhook, Cause::Store, &error.to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { tokio::time::sleep(LOOK).await },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Tells of all that there is by now, as long as this process is the one that does.
    async fn tell_news(
        &self,
        duty: &dyn Duty,
        webhook: &WebhookConfig,
        position: &mut Option<Position>,
    ) -> Result<(), StoreError> {
        // Where it ends early, the position is read again before anything else is told.
        let mut now = match position.take() {
            Some(known) => known,
            None => self.position(webhook).await?,
        };
        let newest = self.newest().await?;
        // Somebody put an older store in place: what is written from now on is told.
        now.at = now.at.min(newest);
        while now.at < newest {
            let (events, until) = self.news(now.at, newest).await?;
            for event in events {
                if !duty.is_held() {
                    return Ok(());
                }
                now.at = event.seq;
                let Some(told) = self.tell(duty, webhook, &event, now).await? else { return Ok(()) };
                now = told;
            }
            now.at = until;
            if now.at - now.kept >= FAR {
                let Some(kept) = self.keep_position(webhook, now, Vec::new()).await? else { return Ok(()) };
                now = kept;
            }
        }
        *position = Some(now);
        Ok(())
    }

    /// What there may be to tell of behind a record, in order, and up to which record that is all.
    async fn news(&self, after: i64, newest: i64) -> Result<(Vec<Event>, i64), StoreError> {
        let mut until = newest;
        let mut all = Vec::new();
        for kind in KINDS {
            let query = EventQuery {
                event_type: Some(kind),
                after_seq: Some(after),
                until_seq: Some(newest),
                limit: BATCH,
                ..EventQuery::default()
            };
            let found = self.0.store.events(query).await?;
            if found.len() >= BATCH {
                until = until.min(found.last().map_or(newest, |event| event.seq));
            }
            all.extend(found);
        }
        all.retain(|event| event.seq <= until);
        all.sort_by_key(|event| event.seq);
        Ok((all, until))
    }

    /// Writes how far it went, with what else there is to write; none: another process has meanwhile, and goes on from there.
    async fn keep_position(
        &self,
        webhook: &WebhookConfig,
        position: Position,
        mut changes: Vec<RegisterChange>,
    ) -> Result<Option<Position>, StoreError> {
        let key = webhook.name.to_string();
        let at = json!({"seq": position.at});
        changes.push(RegisterChange::set(Register::Webhook, key.clone(), at).at(position.version));
        if !self.0.store.set(changes, Vec::new()).await? {
            return Ok(None);
        }
        let kept = self.position(webhook).await?;
        Ok((kept.at == position.at).then_some(kept))
    }

    /// Tells of one record, however often it takes; none: another process tells by now.
    async fn tell(
        &self,
        duty: &dyn Duty,
        webhook: &WebhookConfig,
        event: &Event,
        position: Position,
    ) -> Result<Option<Position>, StoreError> {
        let outbound = Outbound::default();
        let sender = Sender { target: &webhook.target, outbound: &outbound, clock: &*self.0.clock };
        // The same for each attempt, in whatever process: a receiver can tell a repeat.
        let id = format!("msg_{}_{}", webhook.name, event.seq);
        let mut done = Done::new();
        let mut pause = FIRST_PAUSE;
        let mut attempt = 0;
        let (result, told) = loop {
            attempt += 1;
            let plainer = attempt >= PLAINER && attempt % 2 == 0;
            // What it was worth telling a minute ago may be over by now.
            let made = self.message_of(webhook, event, plainer).await?;
            let Some((message, told)) = made else { return Ok(Some(position)) };
            match sender.send(&id, &message, &mut done).await {
                Ok(_) => break ("sent", told),
                Err(Refused::ForGood(why)) => {
                    self.refused(webhook, Cause::Place, &why);
                    break ("refused", Told::Nothing);
                }
                Err(Refused::ForNow(why, wait)) => {
                    self.count_message(webhook, "failed");
                    self.untold(webhook, Cause::Place, &why);
                    let most = match (&message, &told) {
                        // As long as it waits; then there is nothing to tell.
                        (_, Told::Of(..)) => Duration::MAX,
                        (Message::Json(_), _) => STALE_JSON,
                        (Message::Notice { .. }, _) => STALE,
                    };
                    let old = self.0.clock.now().duration_since(event.draft.timestamp);
                    if Duration::try_from(old).is_ok_and(|old| old > most) {
                        break ("dropped", Told::Nothing);
                    }
                    tokio::time::sleep(pause.max(wait)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if !duty.is_held() {
                        return Ok(None);
                    }
                }
            }
        };
        self.count_message(webhook, result);
        if result == "sent" {
            self.goes_on(webhook);
        }
        let entry = event.draft.approval_id.as_ref().map(|id| entry_of(webhook, id));
        let change = match (entry, told) {
            (Some(entry), Told::Of(agent, until)) => {
                let value = json!({"agent": agent, "until": until});
                vec![RegisterChange::set(Register::Webhook, entry, value)]
            }
            (Some(entry), Told::Over) => vec![RegisterChange::remove(Register::Webhook, entry)],
            (_, _) => Vec::new(),
        };
        self.keep_position(webhook, position, change).await
    }

    fn count_message(&self, webhook: &WebhookConfig, result: &'static str) {
        let labels = [Label::from(webhook.name.clone()), Label::from(result)];
        self.0.telemetry.metrics.webhook_messages.add(labels, 1);
    }

    fn untold(&self, webhook: &WebhookConfig, cause: Cause, why: &str) {
        let sentence = format!("webhook `{}` is not told, and it is tried again: {why}", webhook.name);
        if self.0.troubles.begins(&key(webhook), cause, sentence) {
            tracing::error!(webhook = %webhook.name, why, "webhook.failed: it is tried again");
        }
    }

    /// One that is gone, or whose key is, refuses whatever it is told: that is seen, until it takes something.
    fn refused(&self, webhook: &WebhookConfig, cause: Cause, why: &str) {
        tracing::error!(webhook = %webhook.name, reason = why, "webhook.refused: this message is not sent again");
        let name = &webhook.name;
        let sentence = format!("webhook `{name}` refused its last message, which is not sent again: {why}");
        self.0.troubles.begins(&key(webhook), cause, sentence);
    }

    fn goes_on(&self, webhook: &WebhookConfig) {
        if self.0.troubles.ends(&key(webhook), &[Cause::Place, Cause::Alerts]) {
            tracing::info!(webhook = %webhook.name, "webhook.goes_on");
        }
    }

    /// What is told of a record by now; `plainer`: without what the agent wrote. None: nothing.
    async fn message_of(
        &self,
        webhook: &WebhookConfig,
        event: &Event,
        plainer: bool,
    ) -> Result<Option<(Message, Told)>, StoreError> {
        let in_force = self.in_force();
        let draft = &event.draft;
        let is_alert = draft.event_type == EventType::Alert;
        let record = match &draft.approval_id {
            Some(id) => self.0.store.approval(id.clone()).await?,
            None => None,
        };
        let (Some(record), Some(id)) = (record, &draft.approval_id) else { return Ok(None) };
        let Tells { asks, escalations, .. } = webhook.tells;
        let now = self.0.clock.now();
        let people = notice::deciders(&record, &in_force.policies.authority, now);
        let is_theirs =
            webhook.audience.is_empty() || webhook.audience.iter().any(|one| notice::is_among(one, &people));
        if let WebhookTarget::Json { .. } = webhook.target {
            // Of alerts it is told with their ids, by whoever watches the record.
            let wanted = is_theirs && asks && !is_alert;
            return Ok(
                wanted.then(|| (Message::Json(json::body(event, None, &in_force.config)), Told::Nothing))
            );
        }
        let entry = self.0.store.register_entry(Register::Webhook, entry_of(webhook, id)).await?;
        let wanted = match draft.event_type {
            EventType::ApprovalRequested => {
                asks && is_theirs && entry.is_none() && self.has_room(webhook, &record).await?
            }
            EventType::Alert => {
                escalations && is_theirs && (entry.is_some() || self.has_room(webhook, &record).await?)
            }
            // Who was not told of an ask need not know what became of it.
            _ => entry.is_some(),
        };
        if !wanted {
            return Ok(None);
        }
        let Some(stage) = notice::stage(event, &record, now) else { return Ok(None) };
        let told = match stage.is_open() {
            true => Told::Of(record.binding.agent.to_string(), record.expires_at),
            false => Told::Over,
        };
        let recipients = match &webhook.target {
            WebhookTarget::Email(email) => notice::recipients(&email.to, &email.addresses, &people),
            _ => Vec::new(),
        };
        if recipients.is_empty() && matches!(webhook.target, WebhookTarget::Email(_)) {
            return Ok(None);
        }
        let first = format!("ask-{id}.{}", webhook.name);
        let own = if entry.is_none() { first.clone() } else { format!("{first}.{}", event.seq) };
        let mut made = notice::of_ask((&in_force.config, webhook), record, stage, &*self.0.seal, now);
        if plainer {
            made = notice::plainer(made);
        }
        Ok(Some((Message::Notice { notice: Box::new(made), recipients, thread: (first, own) }, told)))
    }

    /// Tells of alerts that the watch over the record has found. They are sent beside each other, tried some times and not kept: the
    /// page has them.
    pub(super) fn tell_alerts<'a>(&self, alerts: impl IntoIterator<Item = &'a Alerted>) {
        let config = &self.in_force().config;
        for Alerted { event, alert } in alerts {
            let of_ask = event.draft.approval_id.is_some();
            for webhook in &config.webhooks {
                let is_json = matches!(webhook.target, WebhookTarget::Json { .. });
                let Tells { escalations, alerts, .. } = webhook.tells;
                if !(if of_ask { is_json && escalations } else { alerts }) {
                    continue;
                }
                let id = format!("alert-{}.{}", event.seq, webhook.name);
                let message = match is_json {
                    true => Message::Json(json::body(event, alert.as_ref(), config)),
                    false => Message::Notice {
                        notice: Box::new(notice::of_alert(config, webhook, event, alert.as_ref())),
                        recipients: everybody(webhook),
                        thread: (id.clone(), id),
                    },
                };
                let Some(place) = self.0.notifications.place(&webhook.name) else {
                    tracing::warn!(webhook = %webhook.name, "webhook.alert_left_out: it has too many under way");
                    self.count_message(webhook, "dropped");
                    continue;
                };
                let (gateway, webhook) = (self.clone(), webhook.clone());
                let id = format!("msg_{}_{}", webhook.name, event.seq);
                self.spawn_until_stop(async move {
                    let _place = place;
                    gateway.tell_alert(&webhook, &id, &message).await;
                });
            }
        }
    }

    async fn tell_alert(&self, webhook: &WebhookConfig, id: &str, message: &Message) {
        let outbound = Outbound::default();
        let sender = Sender { target: &webhook.target, outbound: &outbound, clock: &*self.0.clock };
        let (mut done, mut pause) = (Done::new(), FIRST_PAUSE);
        for attempt in 1..=ATTEMPTS {
            match sender.send(id, message, &mut done).await {
                Ok(_) => {
                    self.goes_on(webhook);
                    return self.count_message(webhook, "sent");
                }
                Err(Refused::ForGood(why)) => {
                    self.refused(webhook, Cause::Alerts, &why);
                    return self.count_message(webhook, "refused");
                }
                Err(Refused::ForNow(why, _)) if attempt == ATTEMPTS => {
                    tracing::error!(webhook = %webhook.name, reason = why, attempt, "webhook.alert_not_told");
                    self.untold(webhook, Cause::Alerts, &why);
                    return self.count_message(webhook, "dropped");
                }
                Err(Refused::ForNow(why, wait)) => {
                    self.count_message(webhook, "failed");
                    self.untold(webhook, Cause::Alerts, &why);
                    tokio::time::sleep(pause.max(wait)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Whether a webhook may be told of one more ask of this agent. What ended long ago is forgotten here.
    async fn has_room(&self, webhook: &WebhookConfig, record: &ApprovalRecord) -> Result<bool, StoreError> {
        let now = self.0.clock.now();
        let own = format!("{}/", webhook.name);
        let (mut open, mut of_agent, mut over) = (0, 0, Vec::new());
        for entry in self.0.store.register(Register::Webhook).await? {
            let text = |name: &str| entry.value.get(name).and_then(Value::as_str);
            let until = text("until").and_then(|until| until.parse::<Timestamp>().ok());
            let Some(until) = until.filter(|_| entry.key.contains('/')) else { continue };
            if now.duration_since(until) > jiff::SignedDuration::from_hours(24) {
                over.push(RegisterChange::remove(Register::Webhook, &*entry.key).at(entry.version));
            } else if entry.key.starts_with(&own) {
                open += 1;
                of_agent += usize::from(text("agent") == Some(record.binding.agent.as_str()));
            }
        }
        if !over.is_empty() {
            self.0.store.set(over, Vec::new()).await?;
        }
        Ok(open < MOST_OPEN && of_agent < MOST_OF_ONE)
    }
}

/// Under what it is known that a webhook was told of an ask.
fn entry_of(webhook: &WebhookConfig, id: &ApprovalId) -> String {
    format!("{}/{id}", webhook.name)
}

/// All who get mail by a webhook.
fn everybody(webhook: &WebhookConfig) -> Vec<lettre::Address> {
    let WebhookTarget::Email(email) = &webhook.target else { return Vec::new() };
    let mut all = email.to.clone();
    for (_, address) in email.addresses.iter().filter(|_| email.to.is_empty()) {
        if !all.contains(address) {
            all.push(address.clone());
        }
    }
    all
}

/// Sends a sample to a webhook, and says what came back.
pub async fn try_webhook(
    config: &Config,
    webhook: &WebhookConfig,
    clock: &dyn Clock,
    ids: &dyn IdSource,
) -> Result<String, String> {
    let outbound = Outbound::default();
    let sender = Sender { target: &webhook.target, outbound: &outbound, clock };
    let id = format!("msg_test_{}", ids.uuid());
    let sample = notice::sample(config, webhook);
    let message = match &webhook.target {
        WebhookTarget::Json { .. } => Message::Json(json::sample(config, clock)),
        WebhookTarget::Email(email) => {
            let mut recipients = email.to.clone();
            recipients.extend(email.addresses.iter().map(|(_, address)| address.clone()));
            Message::Notice { notice: Box::new(sample.clone()), recipients, thread: (id.clone(), id.clone()) }
        }
        _ => {
            let thread = (id.clone(), id.clone());
            Message::Notice { notice: Box::new(sample.clone()), recipients: Vec::new(), thread }
        }
    };
    let why = |refused| match refused {
        Refused::ForNow(why, _) | Refused::ForGood(why) => why,
    };
    let came = sender.send(&id, &message, &mut Done::new()).await.map_err(why)?;
    if let WebhookTarget::PagerDuty { .. } = webhook.target {
        sender.resolve(&sample).await.map_err(why)?;
    }
    Ok(came)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R97.
    #[test]
    fn a_webhook_that_takes_no_alert_leaves_others_their_places() {
        let (down, up) = (Arc::from("down"), Arc::from("up"));
        let all = Notifications::default();
        let held: Vec<_> = std::iter::from_fn(|| all.place(&down)).take(10 * MOST).collect();
        assert_eq!(held.len(), MOST);
        assert!(all.place(&up).is_some());
        drop(held);
        assert!(all.place(&down).is_some());
    }
}
