//! What stands at a moment, looked at for `/metrics`: what waits for people, how the upstreams and the store are.

use super::{Gateway, Inner};
use crate::{
    audit::dead_letters,
    model::{AlertKind, ApprovalStatus},
    oversight::open_alerts,
    store::{EventQuery, Store, StoreError},
    telemetry::{Exposition, Gauge, Label},
    upstream::Health,
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Duration};

/// Approvals and dead letters that are counted; more are told as so many.
const MOST: usize = 10_000;
/// What is asked of the store is asked again after this much more than it took, and after a moment at least: looking is not to be
/// what the store is busy with.
const PAUSE: u32 = 20;
const SHORTEST: Duration = Duration::from_millis(200);
/// How long whoever asks waits for a look; after that they are told what was found before.
const PATIENCE: Duration = Duration::from_secs(2);
/// How old what a collector hears may be.
const FOR_COLLECTOR: Duration = Duration::from_secs(5);

/// What was found in the store, and when it is to be looked for again.
#[derive(Debug, Default)]
pub(super) struct Looks {
    found: Mutex<Found>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Found {
    again: Duration,
    pending: usize,
    dead_letters: usize,
    alerts: BTreeMap<AlertKind, u64>,
    records: i64,
    is_up: bool,
}

impl Looks {
    async fn look(&self, inner: &Inner) -> Found {
        let fresh = || Some(self.found.lock().clone()).filter(|found| inner.clock.monotonic() < found.again);
        if let Some(found) = fresh() {
            return found;
        }
        let _turn = self.turn.lock().await;
        if let Some(found) = fresh() {
            return found;
        }
        let began = inner.clock.monotonic();
        let looked = look(&*inner.store, inner.clock.now()).await;
        let now = inner.clock.monotonic();
        let pause = now.saturating_sub(began).saturating_mul(PAUSE).max(SHORTEST);
        let mut found = self.found.lock();
        match looked {
            Ok(looked) => *found = looked,
            // What cannot be looked at is as it was.
            Err(_) => found.is_up = false,
        }
        found.again = now.saturating_add(pause);
        found.clone()
    }
}

async fn look(store: &dyn Store, now: jiff::Timestamp) -> Result<Found, StoreError> {
    let is_up = store.ping().await.is_ok();
    let heads = store.approval_heads(MOST).await?;
    let pending = heads.iter().filter(|head| head.status == ApprovalStatus::Pending).count();
    let dead_letters = dead_letters(store, false, (MOST, None), now).await?.found.len();
    let newest = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
    let records = store.events(newest).await?.first().map_or(0, |event| event.seq);
    let alerts = open_alerts(store).await?;
    Ok(Found { again: Duration::ZERO, pending, dead_letters, alerts, records, is_up })
}

fn number(count: usize) -> f64 {
    count as f64
}

impl Gateway {
    /// What is measured, as Prometheus reads it.
    pub async fn metrics(&self, form: Exposition) -> String {
        self.look_at_gauges().await;
        self.0.telemetry.render(form, self.0.clock.now())
    }

    /// Looks at what stands, for whoever asks what was found.
    pub(super) async fn look_at_gauges(&self) {
        let gateway = self.clone();
        // A long look goes on, and is there for the next who asks.
        let look = tokio::spawn(async move { gateway.0.looks.look(&gateway.0).await });
        let found = match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) | Err(_) => self.0.looks.found.lock().clone(),
        };
        let Found { pending, dead_letters, alerts, records, is_up, .. } = found;
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        let store = &self.0.store;
        let mut found = vec![
            (Gauge::ApprovalsPending, Vec::new(), number(pending)),
            (Gauge::DeadLetters, Vec::new(), number(dead_letters)),
            (Gauge::StoreRecords, Vec::new(), number(usize::try_from(records).unwrap_or_default())),
            (Gauge::StoreUp, Vec::new(), flag(is_up)),
            (Gauge::StoreUnsettled, Vec::new(), number(store.unsettled())),
            (Gauge::StoreDamaged, Vec::new(), number(store.damage().len())),
            (Gauge::Freezes, Vec::new(), number(self.0.freezes.count())),
            (Gauge::Quarantined, Vec::new(), number(self.pin_changes(None).len())),
            (Gauge::Build, vec![("version", Label::from(env!("CARGO_PKG_VERSION")))], 1.0),
        ];
        for (kind, count) in alerts {
            let labels = vec![("kind", Label::from(kind.as_str()))];
            found.push((Gauge::AlertsOpen, labels, number(usize::try_from(count).unwrap_or_default())));
        }
        for state in self.upstreams() {
            let labels = vec![("upstream", Label::from(state.name.shared()))];
            found.push((Gauge::UpstreamUp, labels, flag(state.health == Health::Up)));
        }
        self.0.telemetry.gauges.put(found);
    }

    /// Looks at what stands now and then, where a collector is to hear of it, for ever.
    pub(super) async fn look_for_collector(&self) {
        while self.0.telemetry.exports() {
            self.look_at_gauges().await;
            tokio::time::sleep(FOR_COLLECTOR).await;
        }
    }
}
