//! Following orders: what a person puts in force, through whatever process, is in force here for the next message. What this
//! process cannot follow refuses every call.

use super::{FolderReader, Gateway, InForce, Origin, ReloadError, Trial, lifecycle::Next};
use crate::{
    activation::{self, Ask, FolderState, OnTrial, OrderError, Outcome, Standing},
    config::{compile_kept, without_secrets},
    evidence::{Order, Rollout, Stage},
    model::{PersonId, SnapshotId},
    policy::{PolicySet, SourceFile},
    store::StoreError,
};
use std::{sync::Arc, time::Duration};

fn not_put(error: ReloadError) -> StoreError {
    match error {
        ReloadError::NotRecorded(error) => error,
        ReloadError::NotBuilt | ReloadError::Outdated => StoreError::Failed(error.to_string()),
    }
}

/// How soon a store that did not answer is asked again, and how often what a rollout has seen is looked at.
const AGAIN: Duration = Duration::from_secs(1);

/// What a person wants to be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This snapshot, or the only one that begins so.
    Snapshot(String),
    /// What was in force before.
    Before,
    /// What the folder says.
    Folder,
}

/// What a person wants of the rollout that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutWish {
    /// The next stage.
    Advance,
    /// Its end.
    Abort,
}

impl Gateway {
    /// Follows orders, for ever.
    pub(super) async fn follow_orders(self) {
        let mut changes = self.0.store.control_changes();
        let mut tick = tokio::time::interval(AGAIN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.obey().await {
                tracing::error!(%error, "orders.not_read");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            loop {
                tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = self.0.orders.poked.notified() => break,
                    _ = tick.tick(), if self.in_force().trial.is_some() => self.record_seen(false).await,
                }
            }
        }
    }

    /// The orders under which the files were read that the gateway was started with: what has come since is followed.
    pub fn set_standing(&self, standing: Standing) {
        // The files are followed, and a bundle on trial is not yet.
        *self.0.orders.standing.lock() = Arc::new(Standing { trial: None, ..standing });
        self.0.orders.poked.notify_one();
    }

    /// What stands, as this process follows it.
    pub fn standing(&self) -> Arc<Standing> {
        self.0.orders.standing.lock().clone()
    }

    /// Wakes where an order says that another bundle is held, or that the folder is followed again.
    pub fn folder_wanted(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.orders.folder_wanted.subscribe()
    }

    /// How the folder is read, for whoever activates it through the API.
    pub fn set_folder_reader(&self, reader: FolderReader) {
        // Set once, as the process starts.
        self.0.orders.folder_reader.set(reader).ok();
    }

    /// How the folder differs from the bundle that is held; none: it does not, or is followed.
    pub fn set_folder(&self, folder: Option<FolderState>) {
        *self.0.orders.folder.lock() = folder;
    }

    /// How the folder differs from the bundle that is held, with what is held.
    pub fn folder(&self) -> Option<(FolderState, Arc<activation::Held>)> {
        let folder = self.0.orders.folder.lock().clone()?;
        Some((folder, self.standing().held.clone()?))
    }

    /// Reads what stands and follows it.
    pub(super) async fn obey(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.0.orders.obeying.lock().await;
        self.obey_locked().await
    }

    async fn obey_locked(&self) -> Result<(), StoreError> {
        let standing = match activation::standing(&*self.0.store).await {
            Ok(standing) => Arc::new(standing),
            Err(StoreError::Damaged(why)) => {
                self.block(&why).await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let old = self.standing();
        if *old == *standing && self.in_force().blocked.is_none() {
            return Ok(());
        }
        match &standing.held {
            Some(order) if !self.has_files(&order.files) || self.in_force().blocked.is_some() => {
                let config = self.in_force().config.clone();
                let name = format!("snapshot {}", order.snapshot);
                match compile_kept(&config, &name, &order.files) {
                    Ok(policies) => {
                        let origin = Origin {
                            by: order.by.clone(),
                            reason: order.reason.clone(),
                            ..Origin::default()
                        };
                        let policies = Arc::new(self.with_hash_key(policies));
                        self.0.references.keep_coming(&config, &policies);
                        self.put(Next::Files(config, policies), origin).await.map_err(not_put)?;
                        tracing::info!(snapshot = %order.snapshot, by = order.by, "orders.activated");
                    }
                    Err(problems) => {
                        self.block(&format!(
                            "{} ordered snapshot {} to be in force, and this process cannot use it: {problems}",
                            order.by, order.snapshot
                        ))
                        .await;
                    }
                }
            }
            Some(_) | None => {}
        }
        let freed = standing.held.is_none() && self.in_force().blocked.is_some();
        if standing.ordered != old.ordered || freed {
            // Whoever reads the files takes the folder again, or says how it differs now.
            self.0.orders.folder_wanted.send_modify(|count| *count += 1);
        }
        if standing.held.is_none() {
            self.set_folder(None);
        }
        self.follow_trial(&standing).await?;
        // Only what was followed whole is known: the rest is tried again.
        *self.0.orders.standing.lock() = standing;
        Ok(())
    }

    /// Whether the bundle in force is made of these files.
    pub(super) fn has_files(&self, files: &[SourceFile]) -> bool {
        *self.in_force().policies.files == *files
    }

    fn with_hash_key(&self, mut policies: PolicySet) -> PolicySet {
        policies.data = policies.data.with_key(self.0.hash_key);
        policies
    }

    /// Tries the bundle that a rollout names, as far as its stage says, or lets go of the one that was tried.
    async fn follow_trial(&self, standing: &Standing) -> Result<(), StoreError> {
        let in_force = self.in_force();
        let tried = in_force.trial.as_ref().map(|trial| trial.on.clone());
        if tried == standing.trial {
            return Ok(());
        }
        if let Some(trial) = &in_force.trial {
            self.record_seen_of(trial, true).await;
        }
        let wanted = standing.trial.as_ref().filter(|trial| trial.rollout.base == in_force.policies.snapshot);
        let next = match wanted {
            None => {
                if let Some(trial) = &standing.trial {
                    tracing::warn!(
                        rollout = trial.rollout.id,
                        "orders.rollout_not_followed: this process has another bundle or servers.toml in force"
                    );
                }
                None
            }
            Some(trial) => self.compiled(&in_force, trial),
        };
        let stage = next.as_ref().map(|(trial, _)| trial.rollout.stage().to_string());
        if next.is_none() && in_force.trial.is_none() {
            return Ok(());
        }
        self.put(Next::Trial(next), Origin::default()).await.map_err(not_put)?;
        tracing::info!(stage = stage.as_deref().unwrap_or("none"), "orders.rollout");
        Ok(())
    }

    fn compiled(&self, in_force: &InForce, trial: &Arc<OnTrial>) -> Option<(Arc<OnTrial>, Arc<PolicySet>)> {
        let name = format!("snapshot {}", trial.rollout.candidate);
        match compile_kept(&in_force.config, &name, &trial.files) {
            Ok(policies) => {
                let policies = Arc::new(self.with_hash_key(policies));
                self.0.references.keep_coming(&in_force.config, &policies);
                Some((trial.clone(), policies))
            }
            Err(problems) => {
                // What is in force goes on deciding.
                tracing::error!(rollout = trial.rollout.id, %problems, "orders.rollout_not_followed");
                None
            }
        }
    }

    /// Refuses every call from here on, until an order or a reload brings what can be used.
    async fn block(&self, why: &str) {
        let in_force = self.in_force();
        let clean = in_force.policies.data.redact_text(why).into_owned();
        if in_force.blocked.as_deref() == Some(clean.as_str()) {
            return;
        }
        tracing::error!("every call is refused: {clean}");
        if let Err(error) = self.put(Next::Blocked(clean.into()), Origin::default()).await {
            tracing::error!(%error, "orders.block_not_whole");
        }
    }

    /// Records what this process has seen of a rollout's stage, where it is time, and ends the rollout where all processes
    /// together have seen too much.
    pub(super) async fn record_seen(&self, all: bool) {
        if let Some(trial) = &self.in_force().trial
            && self.record_seen_of(trial, all).await
        {
            match activation::seen_of_stage(&*self.0.store, &trial.on).await {
                Ok(seen) => {
                    if let Some(why) = seen.beyond(&trial.on.rollout.bounds)
                        && trial.counts.begin_ending()
                    {
                        self.goes_back(trial, &why).await;
                    }
                }
                Err(error) => tracing::error!(%error, "orders.rollout_not_read"),
            }
        }
    }

    /// Whether there was something to record, and it was.
    async fn record_seen_of(&self, trial: &Trial, all: bool) -> bool {
        let now = self.0.clock.now();
        let lasted = now.duration_since(trial.on.rollout.stage_since);
        let lasted = Duration::try_from(lasted).unwrap_or_default();
        let Some(seen) = trial.counts.due(self.0.clock.monotonic(), lasted, all) else { return false };
        let observed =
            activation::observe(&*self.0.store, &trial.on.rollout, &self.0.orders.process, seen, now).await;
        if let Err(error) = &observed {
            tracing::error!(%error, "orders.rollout_not_recorded");
            trial.counts.not_recorded();
        }
        observed.is_ok()
    }

    /// Ends a rollout whose stage is beyond its bound.
    pub(super) async fn goes_back(&self, trial: &Trial, why: &str) {
        self.record_seen_of(trial, true).await;
        let standing = self.standing();
        if standing.trial.as_ref() != Some(&trial.on) {
            return;
        }
        let rollout = &trial.on.rollout;
        match activation::go_back(&*self.0.store, &standing, why, self.0.clock.now()).await {
            Ok(()) => tracing::warn!(rollout = rollout.id, why, "orders.rollout_went_back"),
            Err(error) => {
                tracing::error!(%error, rollout = rollout.id, "orders.rollout_not_ended");
                trial.counts.not_ended();
            }
        }
        if let Err(error) = self.obey().await {
            tracing::error!(%error, "orders.not_read");
        }
    }

    /// Ends a rollout that what came into force here made pointless: what is in force is not what it was begun beside.
    pub(super) async fn end_rollout_of_other(&self, before: &SnapshotId) {
        let standing = self.standing();
        let Some(trial) = standing.trial.as_ref().filter(|trial| trial.rollout.base == *before) else {
            return;
        };
        if self.in_force().policies.snapshot == trial.rollout.base {
            return;
        }
        match activation::ended_by_change(&*self.0.store, &standing, self.0.clock.now()).await {
            Ok(()) | Err(OrderError::Raced) => {}
            Err(error) => tracing::error!(%error, "orders.rollout_not_ended"),
        }
        self.0.orders.poked.notify_one();
    }

    /// Puts in force what a person wants: the record first, then here at once; every other process follows within a second.
    pub async fn order(&self, person: &PersonId, wish: Wish, reason: &str) -> Result<Outcome, OrderError> {
        self.obey().await?;
        let standing = self.standing();
        let in_force = self.in_force();
        let store = &*self.0.store;
        let mut next = None;
        let (order, source) = match &wish {
            Wish::Folder => {
                let read = self.0.orders.folder_reader.get();
                let read =
                    read.ok_or_else(|| OrderError::Refused("this process follows no folder".to_owned()))?;
                next = Some(read().map_err(OrderError::Refused)?);
                (Order::Follow, in_force.config.gateway.policies.display().to_string())
            }
            Wish::Snapshot(written) => {
                let snapshot = activation::resolve(store, written).await?;
                next = Some(self.kept(&in_force, &snapshot).await?);
                (Order::Hold, format!("snapshot {snapshot}"))
            }
            Wish::Before => {
                let mut source = String::new();
                for snapshot in activation::before(store).await? {
                    let policies = self.kept(&in_force, &snapshot).await?;
                    // The same bundle with another servers.toml is no other bundle.
                    if policies.snapshot != in_force.policies.snapshot {
                        source = format!("snapshot {snapshot}");
                        next = Some(policies);
                        break;
                    }
                }
                (Order::Hold, source)
            }
        };
        let next = next.ok_or(OrderError::NothingBefore)?;
        let ask = Ask {
            person,
            reason,
            channel: "api",
            order,
            source,
            next: &next,
            servers: without_secrets(&in_force.config),
            signed: !in_force.config.verify.is_empty(),
            git: (None, None),
        };
        let done = activation::activate(store, &standing, &in_force.policies, ask, self.0.clock.now()).await;
        self.obey().await?;
        done
    }

    /// Takes the rollout that goes on to its next stage, or ends it.
    pub async fn order_rollout(
        &self,
        person: &PersonId,
        wish: RolloutWish,
        reason: &str,
    ) -> Result<Rollout, OrderError> {
        self.record_seen(true).await;
        self.obey().await?;
        let standing = self.standing();
        let in_force = self.in_force();
        let (store, now) = (&*self.0.store, self.0.clock.now());
        let trial = standing.trial.as_ref().ok_or(OrderError::NoRollout)?;
        let ordered = match wish {
            RolloutWish::Abort => {
                activation::abort(store, &standing, &in_force.policies, (person, reason), now).await
            }
            RolloutWish::Advance => {
                let candidate = self.kept(&in_force, &trial.rollout.candidate).await?;
                let said = (person, reason);
                activation::advance(store, &standing, &in_force.policies, &candidate, said, now).await
            }
        };
        self.obey().await?;
        ordered
    }

    /// Begins a rollout of a snapshot that the store keeps.
    pub async fn start_rollout(
        &self,
        person: &PersonId,
        written: &str,
        (stages, bounds): (Vec<Stage>, crate::evidence::Bounds),
        reason: &str,
    ) -> Result<Rollout, OrderError> {
        self.obey().await?;
        let (standing, in_force, store) = (self.standing(), self.in_force(), &*self.0.store);
        let snapshot = activation::resolve(store, written).await?;
        let candidate = self.kept(&in_force, &snapshot).await?;
        let start = activation::Start {
            id: self.0.ids.uuid(),
            person,
            reason,
            candidate: &candidate,
            servers: without_secrets(&in_force.config),
            signed: !in_force.config.verify.is_empty(),
            stages,
            bounds,
        };
        let started =
            activation::start(store, &standing, &in_force.policies, start, self.0.clock.now()).await;
        self.obey().await?;
        started
    }

    /// What the store keeps of a snapshot, compiled with the servers.toml in force.
    async fn kept(&self, in_force: &InForce, snapshot: &SnapshotId) -> Result<PolicySet, OrderError> {
        let kept = activation::kept_bundle(&*self.0.store, snapshot).await?;
        compile_kept(&in_force.config, &format!("snapshot {snapshot}"), &kept.files).map_err(|problems| {
            OrderError::Refused(format!(
                "snapshot {snapshot} cannot be used with servers.toml as it is now: {problems}"
            ))
        })
    }
}
