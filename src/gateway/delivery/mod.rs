//! Every record goes where `[delivery.NAME]` says, in order and at least once. How far it went is kept in the store: a process that
//! is killed in the middle of a batch sends that batch again when it, or another, goes on. Of all processes on a store one delivers
//! to each place: whoever has that duty, which ends with the process.

mod file;
mod post;
mod syslog;

use super::{Gateway, outlets::Cause};
use crate::{
    audit::ocsf,
    config::{DeliveryConfig, DeliveryFormat, DeliveryTarget},
    model::Event,
    store::{Duty, EventQuery, Register, RegisterChange, StoreError},
};
use file::FileSink;
use post::PostSink;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use syslog::SyslogSink;

/// Records of one batch, and the bytes of their bodies.
const BATCH: usize = 200;
const BATCH_BYTES: usize = 1 << 20;
/// How often it is looked for new records.
const LOOK: Duration = Duration::from_millis(500);
/// Before a batch that failed is sent again; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What the names of its troubles begin with.
const KIND: &str = "delivery ";

fn key(place: &DeliveryConfig) -> String {
    format!("{KIND}{}", place.name)
}

/// One record, ready to go.
#[derive(Debug)]
struct Line {
    event: Event,
    text: String,
}

/// Where lines go.
enum Sink {
    File(FileSink),
    Post(Box<PostSink>),
    Syslog(SyslogSink),
}

impl Sink {
    fn of(config: &DeliveryConfig) -> Self {
        match &config.target {
            DeliveryTarget::File { path, max_bytes, keep } => {
                Self::File(FileSink::new(path.clone(), *max_bytes, *keep))
            }
            DeliveryTarget::Webhook { url, secret } => {
                Self::Post(Box::new(PostSink::new(url.clone(), secret.clone())))
            }
            DeliveryTarget::Syslog { transport, address } => {
                Self::Syslog(SyslogSink::new(*transport, address.clone()))
            }
        }
    }

    async fn send(&mut self, gateway: &Gateway, name: &str, lines: &[Line]) -> Result<(), String> {
        match self {
            Self::File(sink) => sink.send(lines),
            Self::Post(sink) => sink.send(gateway, name, lines).await,
            Self::Syslog(sink) => sink.send(lines).await,
        }
    }
}

impl Gateway {
    /// Delivers for as long as the gateway runs, and begins again where servers.toml names other places.
    pub(super) async fn deliver_records(self) {
        let run = |gateway: Self, place: Arc<DeliveryConfig>| async move { gateway.deliver_to(&place).await };
        self.for_each_outlet(KIND, |config| &config.deliveries, run).await;
    }

    async fn deliver_to(&self, place: &DeliveryConfig) {
        let failed = |error: &StoreError| {
            self.trouble(place, Cause::Store, &format!("which process delivers cannot be told: {error}"))
        };
        loop {
            let duty = self.turn((&format!("delivery-{}", place.name), &key(place)), failed).await;
            self.deliver_while(&*duty, place).await;
            // What does not arrive is the matter of whoever delivers now.
            self.0.troubles.ends(&key(place), &[Cause::Place]);
        }
    }

    /// Delivers for as long as this process is the one that does.
    async fn deliver_while(&self, duty: &dyn Duty, place: &DeliveryConfig) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sink = Sink::of(place);
        let mut pause = FIRST_PAUSE;
        // What takes no more than so much at a time gets no more.
        let mut batch = BATCH;
        while duty.is_held() {
            match self.deliver_batch(place, &mut sink, batch).await {
                Ok(sent) => {
                    if self.0.troubles.ends(&key(place), &[Cause::Place]) {
                        tracing::info!(delivery = %place.name, "delivery.goes_on");
                    }
                    pause = FIRST_PAUSE;
                    if sent < batch {
                        tick.tick().await;
                    }
                    batch = (batch * 2).min(BATCH);
                }
                Err(why) => {
                    self.trouble(place, Cause::Place, &why);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    batch = (batch / 2).max(1);
                    sink = Sink::of(place);
                }
            }
        }
    }

    fn trouble(&self, place: &DeliveryConfig, cause: Cause, why: &str) {
        let told = format!("delivery `{}` does not arrive, and is tried again: {why}", place.name);
        if self.0.troubles.begins(&key(place), cause, told) {
            tracing::error!(delivery = %place.name, why, "delivery.failed: it is tried again");
        }
    }

    /// How many records went.
    async fn deliver_batch(
        &self,
        place: &DeliveryConfig,
        sink: &mut Sink,
        batch: usize,
    ) -> Result<usize, String> {
        let failed = |error: StoreError| error.to_string();
        let store = &self.0.store;
        let key = place.name.to_string();
        let entry = store.register_entry(Register::Delivery, key.clone()).await.map_err(failed)?;
        let at = match &entry {
            Some(entry) => entry.value.get("seq").and_then(serde_json::Value::as_i64).unwrap_or(0),
            None if place.from_start => 0,
            None => self.newest().await.map_err(failed)?,
        };
        let version = entry.as_ref().map_or(0, |entry| entry.version);
        let query = EventQuery {
            after_seq: Some(at),
            limit: batch,
            most_bytes: BATCH_BYTES,
            ..EventQuery::default()
        };
        let lines = self.lines(place.format, query).await.map_err(failed)?;
        let last = match lines.last() {
            Some(line) => line.event.seq,
            // Somebody put an older store in place: what is written from now on goes.
            None if at > 0 && entry.is_some() => at.min(self.newest().await.map_err(failed)?),
            None => at,
        };
        if !lines.is_empty() {
            sink.send(self, &place.name, &lines).await?;
        }
        if last != at || entry.is_none() {
            let change = RegisterChange::set(Register::Delivery, key, json!({"seq": last})).at(version);
            store.set(vec![change], Vec::new()).await.map_err(failed)?;
        }
        Ok(lines.len())
    }

    /// The place of the newest record.
    pub(super) async fn newest(&self) -> Result<i64, StoreError> {
        let newest = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
        Ok(self.0.store.events(newest).await?.first().map_or(0, |event| event.seq))
    }

    async fn lines(&self, format: DeliveryFormat, query: EventQuery) -> Result<Vec<Line>, StoreError> {
        let events = self.0.store.events(query.clone()).await?;
        if format == DeliveryFormat::Ocsf {
            let line = |event: Event| Line { text: ocsf(&event).to_string(), event };
            return Ok(events.into_iter().map(line).collect());
        }
        // As the chain keeps them, byte for byte, so that whoever gets them can verify them.
        let until_seq = events.last().map(|event| event.seq);
        let mut texts = self.0.store.event_lines(EventQuery { until_seq, ..query }).await?.into_iter();
        let line = |event: Event| {
            let text = texts.find(|line| line.seq == event.seq)?.json;
            Some(Line { text, event })
        };
        Ok(events.into_iter().map_while(line).collect())
    }
}
