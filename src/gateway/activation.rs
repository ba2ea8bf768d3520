//! What is recorded when a snapshot comes into force, or is refused: which, after which, what changed, who or what did it.

use super::{Gateway, InForce, Origin};
use crate::{
    activation,
    catalog::ToolEntry,
    evidence::{Activated, Order, Ordered, difference},
    model::{EventDraft, EventType, PersonId},
    store::StoreError,
};
use std::{collections::BTreeMap, sync::Arc};

impl Gateway {
    /// One `policy_activated` event per change of snapshot: a restart with the same one is none.
    pub(super) async fn record_activation(
        &self,
        old: Option<&InForce>,
        new: &InForce,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let last = activation::newest(&*self.0.store).await?;
        let last = last.as_ref();
        let from = last.map(|last| last.snapshot.clone());
        let kept = self.0.references.keep_bundle(&new.config, &new.policies).await?;
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
            origin: &origin,
            ordered: None,
        };
        self.0.store.record(vec![activated.event(self.0.clock.now())]).await
    }

    /// Writes the order that holds the bundle in force anew before retention removes its record: without it the folder would
    /// be followed.
    pub(super) async fn renew_order(&self, before: jiff::Timestamp) {
        let standing = self.standing();
        let Some(held) = standing.held.as_ref().filter(|held| held.since < before) else { return };
        let in_force = self.in_force();
        let person = PersonId::from(held.by.as_str());
        let origin = Origin { by: held.by.clone(), reason: held.reason.clone(), ..Origin::default() };
        let renewed = async {
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
            // Whoever was first has done it.
            self.0.store.order(vec![activated.event(self.0.clock.now())], standing.seq).await
        };
        if let Err(error) = renewed.await {
            tracing::error!(%error, "orders.not_renewed");
        }
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
