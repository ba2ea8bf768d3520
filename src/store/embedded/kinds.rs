//! Under which kinds the counters of budgets are kept: another kind of one budget is what its window or zone was before.

use crate::admission::Window;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Windows that are known to need nothing; beyond them all are looked at again.
const MOST_SEEN: usize = 50_000;

/// What was looked at for changes of kind.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// The kinds of each budget's counters, once they were looked for.
    pub(super) known: Option<HashMap<String, BTreeSet<String>>>,
    /// The kind under which each budget counted last, and when it was seen to be another.
    last: HashMap<String, (String, Option<i64>)>,
    /// Windows that were held against the counters of other kinds.
    seen: HashSet<Window>,
}

impl Kinds {
    /// A counter is new.
    pub(super) fn learn(&mut self, kind: &str, policy_id: &str) {
        let Some(known) = &mut self.known else { return };
        match known.get_mut(policy_id) {
            Some(kinds) if kinds.contains(kind) => {}
            Some(kinds) => drop(kinds.insert(kind.to_owned())),
            None => drop(known.insert(policy_id.to_owned(), BTreeSet::from([kind.to_owned()]))),
        }
    }

    /// Whether a window is to be held against the counters of other kinds: once, until the budget's kind changes again.
    pub(super) fn is_due(&mut self, (policy_id, kind): (&str, &str), window: Window, now: i64) -> bool {
        let last = self.last.get(policy_id);
        if last.is_none_or(|(last, _)| last != kind) {
            let changed = last.map(|_| now);
            self.last.insert(policy_id.to_owned(), (kind.to_owned(), changed));
            self.seen.clear();
        }
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(window)
    }

    /// When this process saw the kind of a budget change last.
    pub(super) fn changed(&self, policy_id: &str) -> Option<i64> {
        self.last.get(policy_id).and_then(|(_, changed)| *changed)
    }

    /// Counters are gone: what there is has to be looked for again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
