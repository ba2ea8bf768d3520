//! Watches the record for what people should look at. Of all processes on a store one does so: whoever has that duty, which ends
//! with its process.

use super::Gateway;
use crate::{alerts::Level, oversight::Watcher, store::Duty, upstream::Health};
use std::time::Duration;

/// How often it is looked, where windows are no shorter.
const LOOK: Duration = Duration::from_secs(1);
const LEAST: Duration = Duration::from_millis(100);
/// Before it is looked again after the store did not answer.
const AGAIN: Duration = Duration::from_secs(5);

impl Gateway {
    /// Watches for as long as the gateway runs.
    pub(super) async fn watch_record(self) {
        loop {
            match self.0.store.duty("alerts").await {
                Ok(Some(duty)) => self.watch_while(&*duty).await,
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "alerts.duty_not_taken"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn watch_while(&self, duty: &dyn Duty) {
        let mut watcher = Watcher::default();
        while duty.is_held() {
            let in_force = self.in_force();
            let rules = &in_force.policies.oversight;
            let levels = self.levels();
            match watcher.step(&*self.0.store, rules, &levels, self.0.clock.now()).await {
                Ok(looked) => self.tell_alerts(&looked.alerted),
                Err(error) => {
                    tracing::error!(%error, "alerts.record_not_watched: it is tried again");
                    // It reads again how far it was.
                    watcher = Watcher::default();
                    tokio::time::sleep(AGAIN).await;
                }
            }
            tokio::time::sleep((rules.alerts.window / 10).clamp(LEAST, LOOK)).await;
        }
    }

    fn levels(&self) -> Vec<Level> {
        let level = |state: &crate::upstream::UpstreamState| Level {
            upstream: state.name.clone(),
            down: match &state.health {
                // An alert stands on record for good: what the upstream said is no part of it.
                Health::Down { cause, .. } => Some(cause.reason.clone()),
                Health::Starting | Health::Up => None,
            },
        };
        self.upstreams().iter().map(|state| level(state)).collect()
    }
}
