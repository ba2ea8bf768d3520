//! Checkpoints of the record while the gateway runs: made every so many records and minutes, kept where `[audit]` says, and shown
//! to witnesses. A record that an earlier checkpoint contradicts is never signed again: it is told, in the log and by an alert.

use super::Gateway;
use crate::{
    audit::{self, CheckpointError, LogKeys},
    config::Witness,
    evidence,
    model::Event,
    outbound::Outbound,
    proof::{self, Checkpoint, Note},
    store::{EventQuery, StoreError, TreePath},
};
use http_body_util::Full;
use std::{collections::HashMap, path::PathBuf, time::Duration};
use tokio::time::Instant;

/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long a witness may take, and how much it may say.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 64 << 10;

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Keys(#[from] audit::KeysError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is remembered from one to the next.
#[derive(Debug)]
struct Last {
    seq: i64,
    at: Instant,
    told: bool,
    outbound: Outbound,
    /// The sizes that witnesses have signed last, by their names.
    witnessed: HashMap<String, u64>,
}

impl Gateway {
    /// Makes checkpoints for as long as the gateway runs.
    pub(super) async fn make_checkpoints(&self) {
        let (outbound, witnessed) = (Outbound::default(), HashMap::new());
        let mut last = Last { seq: 0, at: Instant::now(), told: false, outbound, witnessed };
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.checkpoint_where_due(&mut last).await {
                if !std::mem::replace(&mut last.told, true) {
                    self.tell_of(&error).await;
                }
                // Not again before its time.
                last.at = Instant::now();
            }
        }
    }

    async fn checkpoint_where_due(&self, last: &mut Last) -> Result<(), Failed> {
        let newest = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
        let Some(Event { seq, .. }) = self.0.store.events(newest).await?.pop() else { return Ok(()) };
        let config = self.in_force().config.clone();
        let new = u64::try_from(seq - last.seq).unwrap_or(0);
        let is_first = last.seq == 0;
        if new == 0 || (new < config.audit.records && last.at.elapsed() < config.audit.every && !is_first) {
            return Ok(());
        }
        let place = (config.gateway.data_dir.as_path(), &config.store.vault);
        let keys = LogKeys::of(&*self.0.store, place, self.0.ids.random()).await?;
        let folders = audit::checkpoint_folders(&config);
        let (checkpoint, mut note) = audit::make(&*self.0.store, &keys, &[], &folders).await?;
        for witness in &config.audit.witnesses {
            if let Err(why) = self.witness(witness, &checkpoint, &mut note, last).await {
                tracing::warn!(witness = %witness.key.name, why, "audit.checkpoint_not_witnessed");
            }
        }
        self.keep_checkpoint(folders, &keys, checkpoint, note).await?;
        (last.seq, last.at, last.told) = (seq, Instant::now(), false);
        Ok(())
    }

    async fn keep_checkpoint(
        &self,
        folders: Vec<PathBuf>,
        keys: &LogKeys,
        checkpoint: Checkpoint,
        note: Note,
    ) -> Result<(), Failed> {
        let (verifiers, now) = (keys.verifiers(), self.0.clock.now());
        let kept = tokio::task::spawn_blocking(move || {
            let mut first = Ok(());
            for folder in folders {
                // One that cannot be written keeps no other from being written.
                let kept = audit::keep(&folder, &checkpoint, &note, &verifiers, now);
                first = first.and(kept.map(drop));
            }
            first
        });
        match kept.await {
            Ok(kept) => Ok(kept?),
            Err(_) => Err(StoreError::Closed.into()),
        }
    }

    /// Has a witness sign beside (c2sp.org/tlog-witness).
    async fn witness(
        &self,
        witness: &Witness,
        checkpoint: &Checkpoint,
        note: &mut Note,
        last: &mut Last,
    ) -> Result<(), String> {
        let name = &witness.key.name;
        // It says itself which it signed last, where that is not known.
        for _ in 0..2 {
            let old = last.witnessed.get(name).copied().unwrap_or(0);
            if old > checkpoint.size {
                return Err(format!(
                    "it has signed a tree of {old} records, and there are {}",
                    checkpoint.size
                ));
            }
            let path = TreePath::Consistency(old);
            let tree =
                self.0.store.tree(Some(checkpoint.size), path).await.map_err(|error| error.to_string())?;
            let mut body = format!("old {old}\n");
            for hash in &tree.path {
                body.push_str(&proof::encode(hash));
                body.push('\n');
            }
            body.push('\n');
            body.push_str(&note.to_string());
            let url = format!("{}/add-checkpoint", witness.url.as_str().trim_end_matches('/'));
            let request =
                http::Request::post(url).body(Full::from(body)).map_err(|error| error.to_string())?;
            let reply = last
                .outbound
                .send(request, LONGEST_ANSWER, PATIENCE)
                .await
                .map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&reply.body);
            match reply.status.as_u16() {
                200 => {
                    let signed = note.add(&text, &witness.key).map_err(|error| error.to_string())?;
                    if !signed {
                        return Err("it answered without a signature of its key".to_owned());
                    }
                    last.witnessed.insert(name.clone(), checkpoint.size);
                    return Ok(());
                }
                409 if text.trim().parse() != Ok(old) => {
                    let known = text.trim().parse().map_err(|_| "it says 409 without a size".to_owned())?;
                    last.witnessed.insert(name.clone(), known);
                }
                status => return Err(format!("it answered {status}")),
            }
        }
        Err("it names another size each time".to_owned())
    }

    async fn tell_of(&self, error: &Failed) {
        tracing::error!(%error, "audit.no_checkpoint");
        if let Failed::Checkpoint(CheckpointError::Inconsistent(problem)) = error {
            let alert = evidence::checkpoint_contradicted(self.0.clock.now(), problem);
            if let Err(error) = self.0.store.record(vec![alert]).await {
                tracing::error!(%error, "audit.alert_not_recorded");
            }
        }
    }
}
