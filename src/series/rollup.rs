//! Cells by minute and names: what the records of one segment come to.

use super::{OTHERS, cell::Cell, seen::Seen};
use std::collections::{BTreeMap, HashMap};

/// Names that are told apart in one segment; further ones are one.
const MOST_NAMES: usize = 20_000;
/// Bytes of a name that are kept.
const LONGEST: usize = 200;

/// The number of no name.
pub const NO_NAME: u32 = 0;

/// What one cell is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// In minutes since 1970: the first of what it spans.
    pub minute: i64,
    /// Numbers of the names of agent, tool, upstream, workflow and decision; [`NO_NAME`]: it has none.
    pub names: [u32; 5],
}

/// A cell with its names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'r> {
    /// In minutes since 1970: the first of what it spans.
    pub minute: i64,
    /// Of agent, tool, upstream, workflow and decision.
    pub names: [Option<&'r str>; 5],
    /// The figures.
    pub cell: &'r Cell,
}

/// All cells of some records.
#[derive(Clone, Debug, Default)]
pub struct Rollup {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
    cells: BTreeMap<Key, Cell>,
}

impl Rollup {
    /// Takes a record in.
    pub fn add(&mut self, seen: &Seen<'_>) {
        let [agent, tool, upstream, workflow, decision] = &seen.names;
        let names = [agent, tool, upstream, workflow, decision]
            .map(|name| name.as_deref().map_or(NO_NAME, |name| self.number(name)));
        self.cells.entry(Key { minute: seen.minute, names }).or_default().add(&seen.cell);
    }

    fn number(&mut self, name: &str) -> u32 {
        let name = name.get(..name.floor_char_boundary(LONGEST)).unwrap_or_default();
        let name = match self.numbers.contains_key(name) || self.names.len() < MOST_NAMES {
            true => name,
            false => OTHERS,
        };
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        self.names.push(name.into());
        let number = u32::try_from(self.names.len()).unwrap_or(NO_NAME);
        self.numbers.insert(name.into(), number);
        number
    }

    /// The names, that of number 1 first.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The cells, each of so many minutes.
    pub fn cells(&self, minutes: i64) -> BTreeMap<Key, Cell> {
        let mut coarse: BTreeMap<Key, Cell> = BTreeMap::new();
        for (key, cell) in &self.cells {
            let minute = key.minute - key.minute.rem_euclid(minutes.max(1));
            coarse.entry(Key { minute, ..*key }).or_default().add(cell);
        }
        coarse
    }

    /// Hands on the rows from a minute on, up to another that is not among them.
    pub fn rows(&self, (first, end): (i64, i64), take: &mut dyn FnMut(Row<'_>)) {
        if first >= end {
            return;
        }
        let from = |minute| Key { minute, names: [NO_NAME; 5] };
        for (key, cell) in self.cells.range(from(first)..from(end)) {
            let names = key.names.map(|number| name_of(&self.names, number));
            take(Row { minute: key.minute, names, cell });
        }
    }
}

/// The name of a number.
pub(crate) fn name_of(names: &[Box<str>], number: u32) -> Option<&str> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    names.get(at).map(|name| &**name)
}
