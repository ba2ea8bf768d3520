//! Watches the record for what people should look at. Of all processes on a store one does so: whoever has that duty, which ends
//! with its process.

use super::{Gateway, outlets::Cause};
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
        // It outlives a duty that is lost: what was written without an answer is looked at again by whoever wrote it.
        let mut watcher = Watcher::default();
        loop {
            match self.0.store.duty("alerts").await {
                Ok(Some(duty)) => self.watch_while(&*duty, &mut watcher).await,
                // What does not arrive is the matter of whoever watches now.
                Ok(None) => self.0.troubles.end_all(Cause::Alerts),
                Err(error) => tracing::error!(%error, "alerts.duty_not_taken"),
            }
            if let Err(error) = watcher.rest(&*self.0.store).await {
                tracing::error!(%error, "alerts.not_known_whether_told: it is looked again");
            }
            self.tell_alerts(&watcher.alerted());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn watch_while(&self, duty: &dyn Duty, watcher: &mut Watcher) {
        while duty.is_held() {
            let in_force = self.in_force();
            let rules = &in_force.policies.oversight;
            let levels = self.levels();
            let stepped = watcher.step(&*self.0.store, rules, &levels, self.0.clock.now()).await;
            // Of those that were written before the store did not answer, too: nobody reads them again.
            self.tell_alerts(&watcher.alerted());
            if let Err(error) = stepped {
                tracing::error!(%error, "alerts.record_not_watched: it is tried again");
                tokio::time::sleep(AGAIN).await;
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
