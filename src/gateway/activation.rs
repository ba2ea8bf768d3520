//! What is recorded when a snapshot comes into force, or is refused: which, after which, what changed, who or what did it; and
//! what ends with the one before. Several processes may be at it on one store: each records and ends only by what stands there.

use super::{
    Gateway, InForce, Origin, ReloadError,
    lifecycle::{Next, Replaced},
    people::store_error,
};
use crate::{
    activation::{self, Standing},
    catalog::ToolEntry,
    evidence::{Activated, Order, Ordered, Stage, difference},
    model::{EventDraft, EventType, PersonId},
    store::StoreError,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

impl Gateway {
    /// Puts what comes next in force, and records what that is to be recorded of.
    pub(super) async fn put(&self, next: Next, origin: Origin) -> Result<(), ReloadError> {
        let brings_files = matches!(next, Next::Files(..));
        let Some(Replaced { old, new }) = self.replace_aside(next).await else {
            return Err(ReloadError::NotBuilt);
        };
        if brings_files {
            // They were refused under what was in force.
            self.0.refusals.record_counted(true, Duration::ZERO).await;
            self.record_activation(Some(&old), &new, &origin).await?;
            if old.policies.snapshot != new.policies.snapshot {
                self.end_rollout_of_other(&old.policies.snapshot).await;
            }
        }
        // A process that dies before this leaves it to the next.
        Ok(self.end_outdated(&new).await?)
    }

    /// What stands in the store, where this process follows it. None where it is to follow another order first, or can follow
    /// none: then it says for nobody what is in force.
    async fn followed(&self, in_force: &InForce) -> Result<Option<Standing>, StoreError> {
        if in_force.blocked.is_some() {
            return Ok(None);
        }
        let standing = match activation::standing(&*self.0.store).await {
            Ok(standing) => standing,
            // Whoever follows orders says so, and refuses every call.
            Err(StoreError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_held = standing.held.as_ref().is_none_or(|held| *held.files == *in_force.policies.files);
        Ok(is_held.then_some(standing))
    }

    /// Ends what was asked for or granted under what decides calls neither here nor by what stands in the store.
    pub(super) async fn end_outdated(&self, in_force: &InForce) -> Result<(), StoreError> {
        let approvals = &self.0.people.approvals;
        // Read before what stands is: what comes under a later order is not among them.
        let (asked, grants) = (approvals.open().await?, approvals.live_grants().await?);
        let Some(standing) = self.followed(in_force).await? else { return Ok(()) };
        let mut decide = in_force.snapshots();
        // Other processes may try a bundle that this one does not try yet, or cannot.
        let tried = standing.trial.as_ref().map(|trial| &trial.rollout).filter(|rollout| {
            let goes_on = standing.held.is_some() || rollout.base == in_force.policies.snapshot;
            goes_on && rollout.stage() != Stage::Shadow
        });
        decide.extend(tried.map(|rollout| &rollout.candidate));
        approvals.cancel_outdated(asked, &decide).await.map_err(store_error)?;
        self.0.people.end_outdated_grants(in_force, grants, Some(&decide)).await
    }

    /// One `policy_activated` event per change of snapshot: a restart with the same one is none, and of one that is not what
    /// is ordered there is none.
    pub(super) async fn record_activation(
        &self,
        old: Option<&InForce>,
        new: &InForce,
        origin: &Origin,
    ) -> Result<(), StoreError> {
        let kept = self.0.references.keep_bundle(&new.config, &new.policies).await?;
        while let Some(standing) = self.followed(new).await? {
            let last = activation::newest(&*self.0.store).await?;
            let last = last.as_ref();
            let from = last.map(|last| last.snapshot.clone());
            // An activation of before bundles were kept names none, and is recorded once more.
            let named = last.and_then(|last| last.bundle.as_deref());
            if from.as_ref() == Some(&new.policies.snapshot) && named == Some(kept.as_str()) {
                return Ok(());
            }
            let tools_changed = old.map(|old| ("tools", difference(&tools(old), &tools(new))));
            let before = match old {
                Some(old) => Some(old.policies.parts.clone()),
                None => last.and_then(|last| last.parts.clone()),
            };
            let activated = Activated {
                policies: &new.policies,
                bundle: &kept,
                from: from.as_ref(),
                before,
                changed: tools_changed.into_iter().collect(),
                origin,
                ordered: None,
            };
            let events = vec![activated.event(self.0.clock.now())];
            if standing.held.is_none() {
                return self.0.store.record(events).await;
            }
            // Behind an order that came meanwhile it would say that this one is in force.
            if self.0.store.order(events, standing.seq).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the standing orders once more before retention removes their records: without them the folder would be followed,
    /// and a rollout would be over. Whether records may go now.
    pub(super) async fn renew_orders(&self, before: jiff::Timestamp) -> bool {
        let renewed = self.try_renewing(before).await;
        renewed.inspect_err(|error| tracing::error!(%error, "orders.not_renewed")).unwrap_or(false)
    }

    async fn try_renewing(&self, before: jiff::Timestamp) -> Result<bool, StoreError> {
        let (store, in_force) = (&*self.0.store, self.in_force());
        let standing = activation::standing(store).await?;
        let held = standing.held.as_ref().filter(|held| held.since < before);
        let trial = standing.trial.as_ref().filter(|trial| held.is_some() || trial.at < before);
        if held.is_none() && trial.is_none() {
            return Ok(true);
        }
        let now = self.0.clock.now();
        let mut events = Vec::new();
        if let Some(held) = held {
            // Whoever has other files in force cannot say what is held: who has these does.
            if in_force.blocked.is_some() || !self.has_files(&held.files) {
                return Ok(false);
            }
            let person = PersonId::from(held.by.as_str());
            let origin = Origin { by: held.by.clone(), reason: held.reason.clone(), ..Origin::default() };
            let bundle = self.0.references.keep_bundle(&in_force.config, &in_force.policies).await?;
            let activated = Activated {
                policies: &in_force.policies,
                bundle: &bundle,
                from: Some(&in_force.policies.snapshot),
                before: None,
                changed: Vec::new(),
                origin: &origin,
                ordered: Some(Ordered {
                    order: Order::Hold,
                    person: Some(&person),
                    channel: "retention",
                    source: format!("the order of {}", held.since),
                }),
            };
            events.push(activated.event(now));
        }
        if let Some(trial) = trial {
            // Behind the order: an activation ends what was tried before it.
            events.push(activation::renewed(store, trial, now).await?);
        }
        // Where somebody was first, what they ordered is looked at the next time.
        store.order(events, standing.seq).await
    }

    /// Records that a changed configuration or bundle was refused; the old one stays in force.
    pub async fn reload_rejected(&self, problems: String) {
        let in_force = self.in_force();
        let clean = in_force.policies.data.redact_text(&problems);
        tracing::error!("the reload was refused, the old bundle stays in force:\n{clean}");
        let clean: String = clean.chars().take(4000).collect();
        *self.0.rejected_reload.lock() = Some(clean.clone());
        let mut event = EventDraft::system(EventType::PolicyRejected, self.0.clock.now());
        event.policy_snapshot = Some(in_force.policies.snapshot.clone());
        event.reason = Some(clean.into());
        if let Err(error) = self.0.store.record(vec![event]).await {
            tracing::error!(error = %error, "the refused reload could not be recorded");
        }
    }
}

/// A tool counts as changed where its fingerprint changed, or what the configuration takes it for.
fn tools(in_force: &InForce) -> BTreeMap<Arc<str>, SameTool<'_>> {
    in_force.catalog.tools.values().map(|tool| (tool.full.clone(), SameTool(tool))).collect()
}

/// A tool, compared by what a decision reads of it.
struct SameTool<'t>(&'t ToolEntry);

impl PartialEq for SameTool<'_> {
    fn eq(&self, other: &Self) -> bool {
        let facts = |tool: &ToolEntry| {
            (
                tool.fingerprint.clone(),
                tool.traits,
                tool.action.clone(),
                tool.labels.clone(),
                tool.price.clone(),
            )
        };
        facts(self.0) == facts(other.0)
    }
}
