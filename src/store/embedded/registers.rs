//! Registers, as a fold over notes of the journal. The frame that seals a segment says all of them, so that a start reads
//! that one and those behind it; nothing of them is in the projection, which an editor can reach.

use super::{
    fold::{START, unreadable},
    notes::{self, Note},
};
use crate::{
    admission::{FreezeKind, FreezeSubject},
    journal::{Frame, JournalError, Place, Reader},
    store::{Register, RegisterBounds, RegisterChange, RegisterEntry, StoreError},
};
use std::{collections::BTreeMap, sync::Arc};

/// What stands in one register.
#[derive(Debug, Default)]
struct Entries {
    by_key: BTreeMap<Arc<str>, (RegisterEntry, usize)>,
    /// Of keys and values, as they are written.
    bytes: usize,
}

/// What stands in registers.
#[derive(Debug, Default)]
pub(super) struct Registers {
    of: BTreeMap<Register, Entries>,
    /// The newest version that an entry had.
    newest: i64,
}

fn damaged(register: Register, key: &str, problem: &str) -> StoreError {
    StoreError::Damaged(format!(
        "what register `{}` says of `{key}` cannot be read: {problem}",
        register.as_str()
    ))
}

impl Registers {
    /// What frames say of them: those that matter for how they stand, up to a place or the end of what was read.
    pub(super) fn recall(journal: &Reader, until: Option<Place>) -> Result<Self, StoreError> {
        Self::folded(|take| journal.registers(until, take))
    }

    /// The same of a journal that may be damaged, from all that can be read of it.
    pub(super) fn readable(journal: &Reader) -> Result<Self, StoreError> {
        Self::folded(|take| journal.frames(START, None, take))
    }

    fn folded(
        frames: impl FnOnce(
            &mut dyn FnMut(Place, &Frame<'_>) -> Result<(), JournalError>,
        ) -> Result<(), JournalError>,
    ) -> Result<Self, StoreError> {
        let mut registers = Self::default();
        let mut failed = Ok(());
        frames(&mut |place, frame| {
            if failed.is_ok() && frame.head.has_registers() {
                failed = registers.take_in_frame(place, frame);
            }
            Ok(())
        })?;
        failed.map(|()| registers)
    }

    fn take_in_frame(&mut self, place: Place, frame: &Frame<'_>) -> Result<(), StoreError> {
        for note in notes::read(frame.notes()).ok_or_else(|| unreadable(place))? {
            self.take_in(&note)?;
        }
        Ok(())
    }

    /// Takes in what a note says, and tells whether somebody may wait for that.
    pub(super) fn take_in(&mut self, note: &Note) -> Result<bool, StoreError> {
        match note {
            Note::Registers { newest } => {
                self.of.clear();
                self.newest = *newest;
                Ok(false)
            }
            Note::Register { register, key, version, value } => {
                let entries = self.of.entry(*register).or_default();
                if let Some((_, bytes)) = entries.by_key.remove(key.as_str()) {
                    entries.bytes = entries.bytes.saturating_sub(bytes);
                }
                if let Some(text) = value {
                    let value = serde_json::from_str(text)
                        .map_err(|error| damaged(*register, key, &error.to_string()))?;
                    let key: Arc<str> = key.as_str().into();
                    let version = u64::try_from(*version).unwrap_or_default();
                    let entry = RegisterEntry { key: key.clone(), version, value: Arc::new(value) };
                    let bytes = key.len() + text.len();
                    entries.bytes += bytes;
                    entries.by_key.insert(key, (entry, bytes));
                }
                self.newest = self.newest.max(*version);
                Ok(register.wakes())
            }
            Note::Effect(_)
            | Note::Stands(..)
            | Note::Counter { .. }
            | Note::Owner { .. }
            | Note::Gone { .. }
            | Note::Learned { .. }
            | Note::Kept { .. }
            | Note::Retired { .. }
            | Note::Swept { .. } => Ok(false),
        }
    }

    /// How all of them stand, as notes; nothing where nothing was ever in them.
    pub(super) fn everything(&self) -> impl Iterator<Item = Note> {
        let begin = (self.newest > 0).then_some(Note::Registers { newest: self.newest });
        let entries = self.of.iter().flat_map(|(register, entries)| {
            entries.by_key.values().map(|(entry, _)| Note::Register {
                register: *register,
                key: entry.key.as_ref().to_owned(),
                version: i64::try_from(entry.version).unwrap_or(i64::MAX),
                value: Some(entry.value.to_string()),
            })
        });
        begin.into_iter().chain(entries)
    }

    /// What stands in one, in the order of the keys.
    pub(super) fn of(&self, register: Register) -> Vec<RegisterEntry> {
        let entries = self.of.get(&register);
        entries
            .into_iter()
            .flat_map(|entries| entries.by_key.values())
            .map(|(entry, _)| entry.clone())
            .collect()
    }

    /// One entry.
    pub(super) fn get(&self, register: Register, key: &str) -> Option<&RegisterEntry> {
        self.of.get(&register)?.by_key.get(key).map(|(entry, _)| entry)
    }

    /// By what a call is frozen, if it is.
    pub(super) fn frozen(&self, subject: &FreezeSubject) -> Option<FreezeKind> {
        let frozen = &self.of.get(&Register::Freeze)?.by_key;
        if frozen.is_empty() {
            return None;
        }
        subject.frozen(|key| frozen.contains_key(key))
    }

    /// The version of the next change.
    pub(super) fn next(&self) -> i64 {
        self.newest.saturating_add(1)
    }

    fn holds(&self, register: Register) -> (usize, usize) {
        self.of.get(&register).map_or((0, 0), |entries| (entries.by_key.len(), entries.bytes))
    }

    /// What a register would hold after changes, where that is more than before and too much.
    pub(super) fn overflow(&self, changes: &[(&RegisterChange, Option<String>)]) -> Option<Register> {
        let mut after: BTreeMap<Register, (usize, usize)> = BTreeMap::new();
        for (change, text) in changes {
            let (entries, bytes) =
                after.entry(change.register).or_insert_with(|| self.holds(change.register));
            let known = self.of.get(&change.register).and_then(|held| held.by_key.get(change.key.as_str()));
            if let Some((_, held)) = known {
                *entries = entries.saturating_sub(1);
                *bytes = bytes.saturating_sub(*held);
            }
            if let Some(text) = text {
                *entries += 1;
                *bytes += change.key.len() + text.len();
            }
        }
        after.into_iter().find_map(|(register, (entries, bytes))| {
            let bounds: RegisterBounds = register.bounds();
            let (entries_before, bytes_before) = self.holds(register);
            let too_much = (entries > bounds.entries && entries > entries_before)
                || (bytes > bounds.bytes && bytes > bytes_before);
            too_much.then_some(register)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn note(register: Register, key: &str, version: i64, value: Option<&str>) -> Note {
        Note::Register { register, key: key.to_owned(), version, value: value.map(str::to_owned) }
    }

    #[test]
    fn what_is_told_again_is_what_was() {
        let mut told = Registers::default();
        assert_eq!(told.everything().count(), 0);
        for note in [
            note(Register::Freeze, "all", 1, Some("{\"id\":\"f\"}")),
            note(Register::Freeze, "agent:a", 2, Some("1.50")),
            note(Register::Freeze, "all", 3, None),
            note(Register::Vault, "v", 4, Some("\"x\"")),
            note(Register::Vault, "v", 5, None),
        ] {
            told.take_in(&note).unwrap();
        }
        let mut again = Registers::default();
        again.take_in(&note(Register::Labels, "gone", 9, Some("1"))).unwrap();
        for note in told.everything() {
            again.take_in(&note).unwrap();
        }
        for register in Register::ALL {
            assert_eq!(again.of(*register), told.of(*register));
            assert_eq!(again.holds(*register), told.holds(*register));
        }
        assert_eq!(again.newest, 5, "a version is never given twice");
        assert_eq!(again.get(Register::Freeze, "agent:a").unwrap().version, 2);
        assert!(again.of(Register::Vault).is_empty() && again.of(Register::Labels).is_empty());
    }

    #[test]
    fn bounds_stop_growth_and_nothing_else() {
        let mut held = Registers::default();
        let most = Register::Freeze.bounds().entries;
        for n in 0..most {
            held.take_in(&note(Register::Freeze, &format!("k{n}"), 1, Some("1"))).unwrap();
        }
        let set = |key: &str, value| RegisterChange {
            register: Register::Freeze,
            key: key.to_owned(),
            expected: None,
            value,
        };
        let overflow = |changes: &[RegisterChange]| {
            let written: Vec<_> = changes
                .iter()
                .map(|change| (change, change.value.as_ref().map(ToString::to_string)))
                .collect();
            held.overflow(&written)
        };
        assert_eq!(overflow(&[set("more", Some(json!(1)))]), Some(Register::Freeze));
        assert_eq!(overflow(&[set("k1", Some(json!(2)))]), None);
        assert_eq!(overflow(&[set("k1", None)]), None);
        assert_eq!(overflow(&[set("k1", None), set("more", Some(json!(1)))]), None);
        let long = "x".repeat(Register::Freeze.bounds().bytes);
        assert_eq!(overflow(&[set("k1", Some(json!(long)))]), Some(Register::Freeze));
    }
}
