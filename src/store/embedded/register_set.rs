//! Changes of registers, inside the writing transaction.

use super::{notes::Note, tx::Tx};
use crate::{
    model::EventDraft,
    store::{LONGEST_KEY, Register, RegisterChange, StoreError},
};
use std::collections::BTreeSet;

/// Whether each change names an entry that there can be, and names it once.
pub(super) fn check(changes: &[RegisterChange]) -> Result<(), StoreError> {
    let mut named = BTreeSet::new();
    for RegisterChange { register, key, .. } in changes {
        if key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control) {
            return Err(StoreError::Failed(format!("`{}` is no key of a register", key.escape_debug())));
        }
        if !named.insert((*register, key)) {
            return Err(StoreError::Failed(format!("the key `{key}` is named twice")));
        }
    }
    Ok(())
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Done,
    /// An entry has another version than was expected.
    Outdated,
    Full(Register),
}

/// Changes registers and appends what tells of it: all of it, or nothing. The changes have passed [`check`].
pub(super) fn set(
    tx: &mut Tx<'_>,
    changes: &[RegisterChange],
    events: &[EventDraft],
) -> Result<Set, StoreError> {
    let as_expected = |change: &RegisterChange| {
        let version = tx.registers().get(change.register, &change.key).map_or(0, |entry| entry.version);
        change.expected.is_none_or(|expected| expected == version)
    };
    if !changes.iter().all(as_expected) {
        return Ok(Set::Outdated);
    }
    let written: Vec<(&RegisterChange, Option<String>)> =
        changes.iter().map(|change| (change, change.value.as_ref().map(ToString::to_string))).collect();
    if let Some(full) = tx.registers().overflow(&written) {
        return Ok(Set::Full(full));
    }
    for event in events {
        tx.saw(event.timestamp);
        tx.append(event)?;
    }
    for (change, value) in written {
        // What is not there need not be removed.
        if value.is_none() && tx.registers().get(change.register, &change.key).is_none() {
            continue;
        }
        let version = tx.registers().next();
        let (register, key) = (change.register, change.key.clone());
        tx.note_register(&Note::Register { register, key, version, value })?;
    }
    Ok(Set::Done)
}
