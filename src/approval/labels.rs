//! What data has reached workflows and agents, as people look at it, and how a person takes it away: what a machine has
//! raised, no machine lowers.

use crate::{
    evidence::labels_cleared,
    labels::{Holder, LabelSet},
    model::PersonId,
    policy::{PolicySet, Role},
    store::{Register, RegisterChange, Store, StoreError},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// How often others may be quicker.
const TRIES: usize = 16;

/// What stands of one holder.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldLabels {
    /// Whose.
    pub holder: Holder,
    /// What.
    pub set: LabelSet,
}

impl HeldLabels {
    /// Each label as listings show it, with a text by which it comes in order and can be found again.
    pub fn forms(&self, now: Timestamp) -> impl Iterator<Item = (String, Value)> {
        let Self { holder, set } = self;
        set.standing(now).map(move |(label, mark)| {
            let form = json!({
                holder.kind(): holder.id(),
                "label": label,
                "since": mark.since,
                "until": mark.until,
                "trace_id": mark.trace,
            });
            (format!("{} {label}", holder.key()), form)
        })
    }
}

/// Why labels were not taken away.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// This person may not.
    #[error("`{0}` may not take labels away: it takes the role `admin`")]
    Forbidden(PersonId),
    /// Nobody said why.
    #[error("say why (--reason on the command line, `reason` in the API): it is kept in the record")]
    NoReason,
    /// There is nothing to take away.
    #[error("no labels stand of {0}: `tollgate labels list` shows what does")]
    Nothing(Holder),
    /// The store did not do it; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged(format!("the labels of `{key}`: {error}"))
}

/// What stands of all workflows and agents.
pub async fn held_labels(store: &dyn Store, now: Timestamp) -> Result<Vec<HeldLabels>, StoreError> {
    let mut all = Vec::new();
    for entry in store.register(Register::Labels).await? {
        let Some(holder) = Holder::of_key(&entry.key) else { continue };
        let set: LabelSet = serde_json::from_value(entry.value.as_ref().clone())
            .map_err(|error| damaged(&entry.key, &error))?;
        if set.standing(now).next().is_some() {
            all.push(HeldLabels { holder, set });
        }
    }
    Ok(all)
}

/// Takes the labels of a workflow, an agent or both away, as `clear_labels` does; one of which nothing stands is left out where
/// there is another. `window`: how long labels stand of an agent. Gives what stood.
pub async fn clear_all_labels(
    store: &dyn Store,
    now: Timestamp,
    policies: &PolicySet,
    person: &PersonId,
    (holders, reason): (Vec<Holder>, &str),
    window: Duration,
) -> Result<Vec<HeldLabels>, ClearError> {
    let (mut cleared, mut nothing) = (Vec::new(), None);
    for holder in holders {
        match clear_labels(store, now, policies, person, (&holder, reason), window).await {
            Ok(set) => cleared.push(HeldLabels { holder, set }),
            Err(error @ ClearError::Nothing(_)) => nothing = nothing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match nothing {
        Some(error) if cleared.is_empty() => Err(error),
        Some(_) | None => Ok(cleared),
    }
}

/// Takes all labels of a holder away, in every process within half a second, and records who did it and why. What is under
/// way reaches it again. Gives what stood.
async fn clear_labels(
    store: &dyn Store,
    now: Timestamp,
    policies: &PolicySet,
    person: &PersonId,
    (holder, reason): (&Holder, &str),
    window: Duration,
) -> Result<LabelSet, ClearError> {
    let known = policies.authority.people.get(person);
    if !known.is_some_and(|person| person.roles.contains(&Role::Admin)) {
        return Err(ClearError::Forbidden(person.clone()));
    }
    let reason = policies.data.said(reason, super::MAX_TEXT);
    if reason.is_empty() {
        return Err(ClearError::NoReason);
    }
    let key = holder.key();
    for _ in 0..TRIES {
        let entry = store.register_entry(Register::Labels, key.clone()).await?;
        let before: LabelSet = match &entry {
            Some(entry) => {
                serde_json::from_value(entry.value.as_ref().clone()).map_err(|error| damaged(&key, &error))?
            }
            None => LabelSet::default(),
        };
        // Where an agent's window is none, its sessions alone hold what reached it.
        if matches!(holder, Holder::Agent(_)) && before.is_empty() && !window.is_zero() {
            return Err(ClearError::Nothing(holder.clone()));
        }
        // Sessions of an agent are known to their processes alone: it is noted of the agent that they start again.
        let (changed, version) = match (holder, &entry) {
            (Holder::Agent(_), entry) => {
                let cleared =
                    serde_json::to_value(LabelSet::cleared_at(now)).map_err(|error| damaged(&key, &error))?;
                (
                    RegisterChange::set(Register::Labels, &*key, cleared),
                    entry.as_ref().map_or(0, |e| e.version),
                )
            }
            (Holder::Workflow(_), Some(entry)) => {
                (RegisterChange::remove(Register::Labels, &*key), entry.version)
            }
            (Holder::Workflow(_), None) => return Err(ClearError::Nothing(holder.clone())),
        };
        // Whoever knows labels of before is woken by it.
        let told = RegisterChange::set(Register::LabelsCleared, "last", json!({"at": now}));
        let event = labels_cleared(holder, &before, (person, &reason), now);
        if store.set(vec![changed.at(version), told], vec![event]).await? {
            return Ok(before);
        }
    }
    Err(StoreError::Overloaded.into())
}
