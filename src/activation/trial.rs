//! A rollout: a bundle is tried beside the one in force, for no call in earnest first, then for a share of them, until it is in
//! force or goes back. Each stage ends with a record of what it has seen.

use super::{
    OnTrial, OrderError, Standing,
    entitled::{admin, clean_reason, keep},
    newest,
};
use crate::{
    evidence::{
        Activated, Bounds, OBSERVED, Order, Ordered, Origin, ROLLOUT, Rollout, RolloutEvent, RolloutRecord,
        RolloutState, RolloutStep, Seen, Stage,
    },
    model::{EventDraft, EventType, PersonId},
    policy::{PolicySet, Role},
    store::{EventQuery, Pattern, Store, StoreError},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Records that are read at a time.
const PAGE: usize = 500;
/// Steps of a rollout that are told.
const MOST_STEPS: usize = 100;
/// The most stages of one.
const MOST_STAGES: usize = 20;

/// How a rollout begins.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// Its own id.
    pub id: String,
    /// Who.
    pub person: &'a PersonId,
    /// Why.
    pub reason: &'a str,
    /// What is tried, compiled with servers.toml as it is now.
    pub candidate: &'a PolicySet,
    /// What servers.toml resolves to, for the record.
    pub servers: Value,
    /// Whether `[policies] verify` wants a signature.
    pub signed: bool,
    /// The stages, each wider than the one before.
    pub stages: Vec<Stage>,
    /// When a stage goes back.
    pub bounds: Bounds,
}

/// A rollout as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// It.
    pub rollout: Rollout,
    /// What its stage has seen.
    pub seen: Seen,
    /// What happened, oldest first.
    pub steps: Vec<RolloutEvent>,
}

impl Status {
    /// For pages and programs.
    pub fn form(&self) -> Value {
        let Rollout {
            id, base, candidate, stages, state, bounds, by, reason, started_at, stage_since, ..
        } = &self.rollout;
        json!({
            "id": id,
            "state": state,
            "in_force": base,
            "candidate": candidate,
            "stages": stages,
            "stage": self.rollout.stage(),
            "next": self.rollout.next(),
            "bounds": bounds,
            "by": by,
            "reason": reason,
            "started_at": started_at,
            "stage_since": stage_since,
            "seen": self.seen,
            "steps": self.steps.iter().map(RolloutEvent::form).collect::<Vec<_>>(),
        })
    }
}

/// Whether each stage is wider than the one before.
fn in_order(stages: &[Stage]) -> Result<(), OrderError> {
    let refused = |why: &str| Err(OrderError::Refused(why.to_owned()));
    match stages.first() {
        None => return refused("a rollout needs a stage: `shadow`, a share like `10%`, or `all`"),
        Some(Stage::All) => {
            return refused("a rollout that begins with `all` is an activation: `tollgate policy activate`");
        }
        Some(Stage::Shadow | Stage::Share(_)) => {}
    }
    if stages.len() > MOST_STAGES {
        return refused("a rollout has at most 20 stages");
    }
    let wider = |pair: &[Stage]| match pair {
        [Stage::Shadow, Stage::Share(_) | Stage::All] | [Stage::Share(_), Stage::All] => true,
        [Stage::Share(one), Stage::Share(other)] => one < other,
        _ => false,
    };
    match stages.windows(2).all(wider) {
        true => Ok(()),
        false => refused("each stage must be wider than the one before, like `shadow,10%,50%,all`"),
    }
}

/// Begins a rollout.
pub async fn start(
    store: &dyn Store,
    standing: &Standing,
    in_force: &PolicySet,
    start: Start<'_>,
    now: Timestamp,
) -> Result<Rollout, OrderError> {
    let reason = clean_reason(start.reason, in_force)?;
    admin(&in_force.authority, start.person)?;
    in_order(&start.stages)?;
    if standing.trial.is_some() {
        return Err(OrderError::RolloutRuns);
    }
    let Some(last) = newest(store).await? else {
        return Err(OrderError::Refused("nothing is in force yet: start `tollgate serve` first".to_owned()));
    };
    if last.snapshot == start.candidate.snapshot {
        return Err(OrderError::Refused("the bundle to be tried is in force already".to_owned()));
    }
    let people = &start.candidate.authority.people;
    if !people.values().any(|person| person.roles.contains(&Role::Admin)) {
        return Err(OrderError::NobodyAdmin);
    }
    let bundle = keep(store, start.candidate, start.servers, start.signed).await?;
    let rollout = Rollout {
        id: start.id,
        base: last.snapshot,
        candidate: start.candidate.snapshot.clone(),
        bundle,
        stages: start.stages,
        at: 0,
        state: RolloutState::Running,
        bounds: start.bounds,
        by: start.person.clone(),
        reason: reason.clone(),
        started_at: now,
        stage_since: now,
    };
    let record = RolloutRecord {
        step: RolloutStep::Started,
        rollout: &rollout,
        seen: Seen::default(),
        process: None,
        person: Some(start.person),
        reason: &reason,
    };
    ordered(store, vec![record.event(now)], standing).await?;
    Ok(rollout)
}

async fn ordered(store: &dyn Store, events: Vec<EventDraft>, standing: &Standing) -> Result<(), OrderError> {
    match store.order(events, standing.seq).await? {
        true => Ok(()),
        false => Err(OrderError::Raced),
    }
}

fn running(standing: &Standing) -> Result<&OnTrial, OrderError> {
    standing.trial.as_deref().ok_or(OrderError::NoRollout)
}

/// Begins the next stage; with the stage `all` the candidate comes into force and is held. `candidate` is compiled with
/// servers.toml as it is now.
pub async fn advance(
    store: &dyn Store,
    standing: &Standing,
    in_force: &PolicySet,
    candidate: &PolicySet,
    (person, reason): (&PersonId, &str),
    now: Timestamp,
) -> Result<Rollout, OrderError> {
    let reason = clean_reason(reason, in_force)?;
    admin(&in_force.authority, person)?;
    let trial = running(standing)?;
    let Some(next) = trial.rollout.next() else {
        return Err(OrderError::Refused(format!(
            "this was the last stage: `tollgate policy activate {} --reason TEXT` puts the candidate in force for all calls",
            trial.rollout.candidate
        )));
    };
    let seen = seen_of_stage(store, trial).await?;
    let over = next == Stage::All;
    let rollout = Rollout {
        at: trial.rollout.at + 1,
        state: if over { RolloutState::Finished } else { RolloutState::Running },
        stage_since: now,
        ..trial.rollout.clone()
    };
    let step = if over { RolloutStep::Finished } else { RolloutStep::Advanced };
    let record =
        RolloutRecord { step, rollout: &rollout, seen, process: None, person: Some(person), reason: &reason };
    let mut events = vec![record.event(now)];
    if over {
        if candidate.snapshot != rollout.candidate {
            return Err(OrderError::Refused(
                "servers.toml has changed since the rollout began: what would come into force is not what was tried".to_owned(),
            ));
        }
        let before = newest(store).await?;
        let origin = Origin { by: person.to_string(), reason: reason.clone(), ..Origin::default() };
        let activated = Activated {
            policies: candidate,
            bundle: &rollout.bundle,
            from: Some(&rollout.base),
            before: before.and_then(|before| before.parts),
            changed: Vec::new(),
            origin: &origin,
            ordered: Some(Ordered {
                order: Order::Hold,
                person: Some(person),
                channel: "rollout",
                source: format!("rollout {}", rollout.id),
            }),
        };
        events.push(activated.event(now));
    }
    ordered(store, events, standing).await?;
    Ok(rollout)
}

/// The record with which a rollout ends before its end.
pub(super) async fn ending(
    store: &dyn Store,
    trial: &OnTrial,
    state: RolloutState,
    person: Option<&PersonId>,
    reason: &str,
    now: Timestamp,
) -> Result<EventDraft, StoreError> {
    let seen = seen_of_stage(store, trial).await?;
    let rollout = Rollout { state, ..trial.rollout.clone() };
    let step = match state {
        RolloutState::WentBack => RolloutStep::WentBack,
        RolloutState::Running | RolloutState::Aborted | RolloutState::Finished => RolloutStep::Aborted,
    };
    Ok(RolloutRecord { step, rollout: &rollout, seen, process: None, person, reason }.event(now))
}

/// The record with which a rollout goes on as it stands, where retention is about to remove the one before.
pub async fn renewed(store: &dyn Store, trial: &OnTrial, now: Timestamp) -> Result<EventDraft, StoreError> {
    let seen = seen_of_stage(store, trial).await?;
    let reason = format!("retention removes the record of {}", trial.at);
    let (step, rollout) = (RolloutStep::Renewed, &trial.rollout);
    Ok(RolloutRecord { step, rollout, seen, process: None, person: None, reason: &reason }.event(now))
}

/// Ends a rollout: the bundle in force decides every call.
pub async fn abort(
    store: &dyn Store,
    standing: &Standing,
    in_force: &PolicySet,
    (person, reason): (&PersonId, &str),
    now: Timestamp,
) -> Result<Rollout, OrderError> {
    let reason = clean_reason(reason, in_force)?;
    admin(&in_force.authority, person)?;
    let trial = running(standing)?;
    let event = ending(store, trial, RolloutState::Aborted, Some(person), &reason, now).await?;
    ordered(store, vec![event], standing).await?;
    Ok(Rollout { state: RolloutState::Aborted, ..trial.rollout.clone() })
}

/// Ends a rollout because what it was tried beside is not in force any more.
pub async fn ended_by_change(
    store: &dyn Store,
    standing: &Standing,
    now: Timestamp,
) -> Result<(), OrderError> {
    let trial = running(standing)?;
    let why = "the bundle in force, or servers.toml, has changed";
    let event = ending(store, trial, RolloutState::Aborted, None, why, now).await?;
    ordered(store, vec![event], standing).await
}

/// Ends a rollout because its stage is beyond its bound.
pub async fn go_back(
    store: &dyn Store,
    standing: &Standing,
    why: &str,
    now: Timestamp,
) -> Result<(), OrderError> {
    let trial = running(standing)?;
    let event = ending(store, trial, RolloutState::WentBack, None, why, now).await?;
    ordered(store, vec![event], standing).await
}

/// Records what a process has seen in the stage so far: all of it, so that its newest record counts alone.
pub async fn observe(
    store: &dyn Store,
    rollout: &Rollout,
    process: &str,
    seen: Seen,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = RolloutRecord {
        step: RolloutStep::Observed,
        rollout,
        seen,
        process: Some(process),
        person: None,
        reason: "what this process has seen in the stage so far",
    };
    store.record(vec![record.event(now)]).await
}

/// What all processes have recorded of the stage.
pub async fn seen_of_stage(store: &dyn Store, trial: &OnTrial) -> Result<Seen, StoreError> {
    let mut query = EventQuery {
        event_type: Some(EventType::AdminAction),
        policy_id: Some(Pattern::from(OBSERVED)),
        since: Some(trial.rollout.stage_since),
        newest_first: true,
        limit: PAGE,
        ..EventQuery::default()
    };
    let (mut all, mut processes) = (Seen::default(), BTreeSet::new());
    loop {
        let page = store.events(query.clone()).await?;
        let Some(last) = page.last() else { return Ok(all) };
        query.until_seq = Some(last.seq - 1);
        for event in page.iter().filter_map(RolloutEvent::of) {
            let of_stage = event.rollout.id == trial.rollout.id && event.rollout.at == trial.rollout.at;
            if of_stage && processes.insert(event.process.unwrap_or_default()) {
                all = all.and(event.seen);
            }
        }
    }
}

/// The newest rollout, whether it goes on or not.
pub async fn status(store: &dyn Store) -> Result<Option<Status>, StoreError> {
    let query = EventQuery {
        event_type: Some(EventType::AdminAction),
        policy_id: Some(Pattern::from(ROLLOUT)),
        newest_first: true,
        limit: MOST_STEPS,
        ..EventQuery::default()
    };
    let found = store.events(query).await?;
    let mut steps: Vec<RolloutEvent> = found.iter().filter_map(RolloutEvent::of).collect();
    let Some(newest) = steps.first().cloned() else { return Ok(None) };
    steps.retain(|step| step.rollout.id == newest.rollout.id);
    steps.reverse();
    let seen = match newest.rollout.state {
        RolloutState::Running => {
            let trial =
                OnTrial { rollout: newest.rollout.clone(), seq: newest.seq, at: newest.at, files: [].into() };
            seen_of_stage(store, &trial).await?
        }
        // What its last stage had seen stands in the record that ended it.
        RolloutState::WentBack | RolloutState::Aborted | RolloutState::Finished => newest.seen,
    };
    Ok(Some(Status { rollout: newest.rollout, seen, steps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_become_wider() {
        let check = |text: &str, expect: bool| {
            let stages: Vec<Stage> = text.split(',').filter_map(Stage::parse).collect();
            assert_eq!(in_order(&stages).is_ok(), expect, "{text}");
        };
        check("shadow,10%,50%,all", true);
        check("shadow", true);
        check("5%", true);
        check("shadow,all", true);
        check("", false);
        check("all", false);
        check("10%,shadow", false);
        check("10%,10%", false);
        check("shadow,all,50%", false);
    }
}
