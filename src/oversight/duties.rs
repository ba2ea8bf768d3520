//! What people have to do regularly: how it stands, and that it was done.

use super::{OversightError, Remark, TRIES, changes, load, raced};
use crate::{
    alerts::{Done, DutyState, duties as states},
    evidence::{self, SaidBy},
    model::AlertKind,
    policy::{DutyRule, Oversight, names::did_you_mean},
    store::{Register, RegisterChange, Store, StoreError},
};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// When each was done, and the version of that.
pub(super) async fn done(store: &dyn Store) -> Result<BTreeMap<String, (Done, u64)>, StoreError> {
    let entries = store.register(Register::Duty).await?;
    let read = |entry: crate::store::RegisterEntry| {
        let done = serde_json::from_str(&entry.value.to_string()).ok()?;
        Some((entry.key.to_string(), (done, entry.version)))
    };
    Ok(entries.into_iter().filter_map(read).collect())
}

/// Those that are not known yet count from now on.
pub(super) fn begun(
    rules: &[DutyRule],
    known: &BTreeMap<String, (Done, u64)>,
    now: Timestamp,
) -> Vec<RegisterChange> {
    let unknown = rules.iter().filter(|rule| !known.contains_key(&*rule.name));
    let begin = |rule: &DutyRule| {
        let since = json!(Done { at: now, by: None, note: None });
        RegisterChange::set(Register::Duty, &*rule.name, since).at(0)
    };
    unknown.map(begin).collect()
}

/// How the duties of a bundle stand.
pub async fn duties(
    store: &dyn Store,
    rules: &Oversight,
    now: Timestamp,
) -> Result<Vec<DutyState>, StoreError> {
    let known = done(store).await?;
    Ok(states(&rules.duties, |name| known.get(name).map(|(done, _)| done), now))
}

/// A duty was done: it is due again after its time from now.
pub async fn duty_done(
    store: &dyn Store,
    name: &str,
    said: Remark<'_>,
    (rules, now): (&Oversight, Timestamp),
) -> Result<DutyState, OversightError> {
    let note = said.needed()?;
    let Some(rule) = rules.duties.iter().find(|rule| &*rule.name == name) else {
        let names = rules.duties.iter().map(|rule| &*rule.name);
        let hint = did_you_mean(name, names);
        return Err(OversightError::NotFound(format!(
            "the bundle in force has no such duty{hint}: `tollgate duties list` shows those that it has"
        )));
    };
    for _ in 0..TRIES {
        let known = done(store).await?;
        let before = known.get(name);
        let fresh = Done { at: now, by: Some(said.by.clone()), note: Some(note.to_string()) };
        let mut book = load(store).await?;
        let subject = format!("duty:{name}");
        let by = SaidBy { person: Some(said.by), note: Some(&note), ..SaidBy::default() };
        book.done(AlertKind::Duty, &subject, (said.by, Some(&note)), now);
        let (mut changes, mut events) = changes(book);
        events.insert(0, evidence::duty_done(name, before.map(|(before, _)| before.at), by, now));
        let version = before.map_or(0, |(_, version)| *version);
        changes.push(RegisterChange::set(Register::Duty, name, json!(fresh)).at(version));
        if store.set(changes, events).await? {
            let state = states(std::slice::from_ref(rule), |_| Some(&fresh), now).pop();
            return state.ok_or_else(raced);
        }
    }
    Err(raced())
}
