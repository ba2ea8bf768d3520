//! Orders: a person puts a bundle in force, or the folder again. What it takes is held here for every way in which it is asked.

use super::{
    Standing,
    entitled::{admin, clean_reason, keep},
    error::OrderError,
    newest, trial,
};
use crate::{
    evidence::{Activated, Order, Ordered, Origin, RolloutState},
    model::{EventDraft, PersonId, SnapshotId},
    policy::{PolicySet, Role},
    store::Store,
};
use jiff::Timestamp;
use serde_json::Value;

/// What is ordered, by whom.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Who.
    pub person: &'a PersonId,
    /// Why.
    pub reason: &'a str,
    /// `cli` or `api`.
    pub channel: &'static str,
    /// What.
    pub order: Order,
    /// Where the files come from.
    pub source: String,
    /// The bundle, compiled with servers.toml as it is now.
    pub next: &'a PolicySet,
    /// What servers.toml resolves to, for the record.
    pub servers: Value,
    /// Whether `[policies] verify` wants a signature.
    pub signed: bool,
    /// The commit of the folder, where the files come from one.
    pub git: (Option<String>, Option<bool>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is in force for the next message of this process, and within a second of every other one.
    Done {
        /// What is in force.
        snapshot: SnapshotId,
        /// What somebody should know.
        notes: Vec<String>,
    },
    /// It was so already: a sentence says what.
    Nothing {
        /// What is in force.
        snapshot: SnapshotId,
        /// Why nothing was changed.
        why: String,
    },
}

/// Puts a bundle in force, or the folder again: the record is the order, which every process follows. `in_force` is what the
/// person's right is judged by.
pub async fn activate(
    store: &dyn Store,
    standing: &Standing,
    in_force: &PolicySet,
    ask: Ask<'_>,
    now: Timestamp,
) -> Result<Outcome, OrderError> {
    let reason = clean_reason(ask.reason, in_force)?;
    admin(&in_force.authority, ask.person)?;
    // Each machine has a folder of its own: what one of them says is held for all.
    let ask = Ask { order: if store.is_shared() { Order::Hold } else { ask.order }, ..ask };
    let last = newest(store).await?;
    let same = last.as_ref().is_some_and(|last| last.snapshot == ask.next.snapshot);
    let nothing =
        |why: &str| Ok(Outcome::Nothing { snapshot: ask.next.snapshot.clone(), why: why.to_owned() });
    match ask.order {
        Order::Hold if same => return nothing("this bundle is in force already; nothing was changed"),
        Order::Follow if same && standing.held.is_none() => {
            return nothing(
                "the folder is followed already, and what it says is in force; nothing was changed",
            );
        }
        Order::Hold | Order::Follow => {}
    }
    let mut notes = Vec::new();
    if ask.order == Order::Hold {
        somebody_admin(ask.next)?;
    }
    if admin(&ask.next.authority, ask.person).is_err() {
        notes.push(format!("`{}` has not the role `admin` in the bundle that is in force now", ask.person));
    }
    let bundle = keep(store, ask.next, ask.servers, ask.signed).await?;
    let origin = Origin {
        by: ask.person.to_string(),
        reason: reason.clone(),
        git_commit: ask.git.0,
        git_clean: ask.git.1,
    };
    let ordered =
        Ordered { order: ask.order, person: Some(ask.person), channel: ask.channel, source: ask.source };
    let activated = Activated {
        policies: ask.next,
        bundle: &bundle,
        from: last.as_ref().map(|last| &last.snapshot),
        before: last.as_ref().and_then(|last| last.parts.clone()),
        changed: Vec::new(),
        origin: &origin,
        ordered: Some(ordered),
    };
    let mut events: Vec<EventDraft> = vec![activated.event(now)];
    if let Some(trial) = &standing.trial {
        let why = "another bundle was put in force by an order";
        events.push(trial::ending(store, trial, RolloutState::Aborted, Some(ask.person), why, now).await?);
        notes.push("the rollout that went on has ended".to_owned());
    }
    match store.order(events, standing.seq).await? {
        true => Ok(Outcome::Done { snapshot: ask.next.snapshot.clone(), notes }),
        false => Err(OrderError::Raced),
    }
}

fn somebody_admin(policies: &PolicySet) -> Result<(), OrderError> {
    let mut people = policies.authority.people.values();
    match people.any(|person| person.roles.contains(&Role::Admin)) {
        true => Ok(()),
        false => Err(OrderError::NobodyAdmin),
    }
}

/// Holds the bundle of the first folder that comes to a store which machines share, for all of them. Where another one was first,
/// nothing is changed.
pub async fn hold_first(
    store: &dyn Store,
    policies: &PolicySet,
    (servers, signed): (Value, bool),
    (origin, source): (Origin, String),
    now: Timestamp,
) -> Result<(), OrderError> {
    somebody_admin(policies)?;
    let standing = super::standing(store).await?;
    if standing.held.is_some() {
        return Ok(());
    }
    let bundle = keep(store, policies, servers, signed).await?;
    let last = newest(store).await?;
    let activated = Activated {
        policies,
        bundle: &bundle,
        from: last.as_ref().map(|last| &last.snapshot),
        before: last.as_ref().and_then(|last| last.parts.clone()),
        changed: Vec::new(),
        origin: &origin,
        ordered: Some(Ordered { order: Order::Hold, person: None, channel: "start", source }),
    };
    // Whoever was first has done it.
    store.order(vec![activated.event(now)], standing.seq).await?;
    Ok(())
}
