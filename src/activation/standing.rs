//! What was ordered and stands: read from the newest records of an activation and of a rollout.

use crate::{
    evidence::{ACTIVATION, Activation, KeptBundle, Order, ROLLOUT, Rollout, RolloutEvent, RolloutState},
    model::{Event, EventType, SnapshotId},
    policy::SourceFile,
    store::{EventQuery, Kept, KeptKind, Pattern, Store, StoreError, embedded::EmbeddedStore},
};
use jiff::Timestamp;
use std::{path::Path, sync::Arc};

/// A bundle that stays in force until the next order.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// As it was activated. Where servers.toml has changed since, the one in force has another.
    pub snapshot: SnapshotId,
    /// Its files.
    pub files: Arc<[SourceFile]>,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub since: Timestamp,
    /// The place of the order in the chain.
    pub seq: i64,
}

/// A bundle that is tried beside the one in force.
#[derive(Clone, Debug, PartialEq)]
pub struct OnTrial {
    /// How it stands.
    pub rollout: Rollout,
    /// The place of the newest record of it in the chain.
    pub seq: i64,
    /// When that was written.
    pub at: Timestamp,
    /// Its files.
    pub files: Arc<[SourceFile]>,
}

/// What stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The place of the newest order in the chain; 0 where there is none.
    pub seq: i64,
    /// The place of the newest activation that somebody ordered; 0 where there is none.
    pub ordered: i64,
    /// The bundle that is held; none: the folder is followed.
    pub held: Option<Arc<Held>>,
    /// The rollout that goes on.
    pub trial: Option<Arc<OnTrial>>,
}

/// What the newest records say, before what they name is read.
struct Named {
    seq: i64,
    ordered: i64,
    held: Option<Activation>,
    trial: Option<RolloutEvent>,
}

fn newest_of(event_type: EventType, policy: &str) -> EventQuery {
    EventQuery {
        event_type: Some(event_type),
        policy_id: Some(Pattern::from(policy)),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    }
}

fn queries() -> [EventQuery; 2] {
    [newest_of(EventType::PolicyActivated, ACTIVATION), newest_of(EventType::AdminAction, ROLLOUT)]
}

impl Named {
    fn of(activation: Option<&Event>, rollout: Option<&Event>) -> Result<Self, StoreError> {
        let unread = |event: &Event| {
            StoreError::Damaged(format!("record {} orders what is in force, and cannot be read", event.seq))
        };
        let activation = activation
            .map(|event| {
                Activation::of(event).filter(|read| read.order.is_some()).ok_or_else(|| unread(event))
            })
            .transpose()?;
        let rollout =
            rollout.map(|event| RolloutEvent::of(event).ok_or_else(|| unread(event))).transpose()?;
        let ordered = activation.as_ref().map_or(0, |activation| activation.seq);
        let tried = rollout.as_ref().map_or(0, |rollout| rollout.seq);
        Ok(Self {
            seq: ordered.max(tried),
            ordered,
            held: activation.filter(|activation| activation.order == Some(Order::Hold)),
            // Whatever came into force by an order ended what was tried before it.
            trial: rollout
                .filter(|event| event.rollout.state == RolloutState::Running && event.seq > ordered),
        })
    }

    fn wanted(&self) -> (Option<&SnapshotId>, Option<&SnapshotId>) {
        (
            self.held.as_ref().map(|held| &held.snapshot),
            self.trial.as_ref().map(|trial| &trial.rollout.candidate),
        )
    }

    fn with(self, held: Option<Kept>, trial: Option<Kept>) -> Result<Standing, StoreError> {
        let held = match self.held {
            None => None,
            Some(order) => {
                let files = files(held, &order.snapshot, order.bundle.as_deref())?;
                Some(Arc::new(Held {
                    files,
                    by: order.by.unwrap_or_default(),
                    reason: order.reason.unwrap_or_default(),
                    since: order.at,
                    seq: order.seq,
                    snapshot: order.snapshot,
                }))
            }
        };
        let trial = match self.trial {
            None => None,
            Some(event) => {
                let files = files(trial, &event.rollout.candidate, Some(&event.rollout.bundle))?;
                Some(Arc::new(OnTrial { files, seq: event.seq, at: event.at, rollout: event.rollout }))
            }
        };
        Ok(Standing { seq: self.seq, ordered: self.ordered, held, trial })
    }
}

/// The files that an order names, held against the hash in its record.
fn files(
    kept: Option<Kept>,
    snapshot: &SnapshotId,
    hash: Option<&str>,
) -> Result<Arc<[SourceFile]>, StoreError> {
    let damaged = |why: &str| {
        StoreError::Damaged(format!(
            "the bundle of snapshot {snapshot}, which is ordered to be in force, {why}: put the store back from a backup"
        ))
    };
    let kept = kept.ok_or_else(|| damaged("is not kept"))?;
    if hash.is_some_and(|hash| hash != kept.hash) {
        return Err(damaged("is not kept as its record says"));
    }
    let bundle =
        KeptBundle::read(&kept.body).map_err(|error| damaged(&format!("cannot be read ({error})")))?;
    Ok(bundle.files.into())
}

/// What stands, by a store.
pub async fn standing(store: &dyn Store) -> Result<Standing, StoreError> {
    let [activation, rollout] = queries();
    let (activation, rollout) = (store.events(activation).await?, store.events(rollout).await?);
    let named = Named::of(activation.first(), rollout.first())?;
    let (held, trial) = named.wanted();
    let (held, trial) = (held.cloned(), trial.cloned());
    let mut kept = [None, None];
    for (slot, snapshot) in kept.iter_mut().zip([held, trial]) {
        if let Some(snapshot) = snapshot {
            *slot = store.kept(KeptKind::Bundle, snapshot.to_string()).await?;
        }
    }
    let [held, trial] = kept;
    named.with(held, trial)
}

/// What stands, by the store whose index is at `path`, which need not be open. Where there is none, nothing does.
pub fn standing_at_rest(path: &Path) -> Result<Standing, StoreError> {
    let Some(store) = EmbeddedStore::at_rest(path)? else { return Ok(Standing::default()) };
    let [activation, rollout] = queries();
    let (activation, rollout) = (store.events(&activation)?, store.events(&rollout)?);
    let named = Named::of(activation.first(), rollout.first())?;
    let kept = |snapshot: Option<&SnapshotId>| match snapshot {
        Some(snapshot) => store.kept(KeptKind::Bundle, snapshot),
        None => Ok(None),
    };
    let (held, trial) = named.wanted();
    let (held, trial) = (kept(held)?, kept(trial)?);
    named.with(held, trial)
}

/// A snapshot with its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Which.
    pub snapshot: SnapshotId,
    /// As they are kept.
    pub files: Arc<[SourceFile]>,
}

/// The bundle that came into force last, by the record of the store whose index is at `path`, which need not be open. `None`:
/// nothing has come into force, or it is not kept.
pub fn recorded_at_rest(path: &Path) -> Result<Option<Recorded>, StoreError> {
    let Some(store) = EmbeddedStore::at_rest(path)? else { return Ok(None) };
    let query = EventQuery {
        event_type: Some(EventType::PolicyActivated),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    };
    let Some(newest) = store.events(&query)?.first().and_then(Activation::of) else { return Ok(None) };
    let Some(kept) = store.kept(KeptKind::Bundle, &newest.snapshot)? else { return Ok(None) };
    let files = files(Some(kept), &newest.snapshot, newest.bundle.as_deref())?;
    Ok(Some(Recorded { snapshot: newest.snapshot, files }))
}
