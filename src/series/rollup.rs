//! Cells by minute and names: what the records of one segment come to.

use super::{
    OTHERS,
    cell::Cell,
    seen::Seen,
    wanted::{Facet, Span},
};
use std::collections::{BTreeMap, HashMap};

/// Agents, tools, upstreams, workflows and decisions that are told apart in one segment; further ones are one. What callers
/// choose (URIs of resources, ids of runs) can be new with each call.
const MOST_NAMES: [usize; 5] = [2_000, 2_000, 1_000, 1_000, 64];
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
    /// Their numbers, by what they name.
    numbers: [HashMap<Box<str>, u32>; 5],
    callers: BTreeMap<Key, Cell>,
    workflows: BTreeMap<Key, Cell>,
}

impl Rollup {
    /// Takes a record in.
    pub fn add(&mut self, seen: &Seen<'_>) {
        let mut names = [NO_NAME; 5];
        for (field, (number, name)) in names.iter_mut().zip(&seen.names).enumerate() {
            if let Some(name) = name {
                *number = self.number(field, name);
            }
        }
        let [agent, tool, upstream, workflow, decision] = names;
        let caller = Key { minute: seen.minute, names: [agent, tool, upstream, NO_NAME, decision] };
        self.callers.entry(caller).or_default().add(&seen.cell);
        let flow = Key { minute: seen.minute, names: [NO_NAME, NO_NAME, NO_NAME, workflow, decision] };
        self.workflows.entry(flow).or_default().add(&seen.cell);
    }

    fn number(&mut self, field: usize, name: &str) -> u32 {
        let Some((numbers, most)) = self.numbers.get_mut(field).zip(MOST_NAMES.get(field)) else {
            return NO_NAME;
        };
        let name = name.get(..name.floor_char_boundary(LONGEST)).unwrap_or_default();
        let name = match numbers.contains_key(name) || numbers.len() < *most {
            true => name,
            false => OTHERS,
        };
        if let Some(known) = numbers.get(name) {
            return *known;
        }
        self.names.push(name.into());
        let number = u32::try_from(self.names.len()).unwrap_or(NO_NAME);
        numbers.insert(name.into(), number);
        number
    }

    fn of(&self, facet: Facet) -> &BTreeMap<Key, Cell> {
        match facet {
            Facet::Callers => &self.callers,
            Facet::Workflows => &self.workflows,
        }
    }

    /// The names, that of number 1 first.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The cells, each of so many minutes.
    pub fn cells(&self, facet: Facet, minutes: i64) -> BTreeMap<Key, Cell> {
        let mut coarse: BTreeMap<Key, Cell> = BTreeMap::new();
        for (key, cell) in self.of(facet) {
            let minute = key.minute - key.minute.rem_euclid(minutes.max(1));
            coarse.entry(Key { minute, ..*key }).or_default().add(cell);
        }
        coarse
    }

    /// Hands on the rows of some minutes, each of one minute.
    pub fn rows(&self, span: Span, take: &mut dyn FnMut(Row<'_>)) {
        if span.first >= span.end {
            return;
        }
        let from = |minute| Key { minute, names: [NO_NAME; 5] };
        for (key, cell) in self.of(span.facet).range(from(span.first)..from(span.end)) {
            let names = key.names.map(|number| name_of(&self.names, number));
            take(Row { minute: key.minute, names, cell });
        }
    }
}

/// The name of a number.
fn name_of(names: &[Box<str>], number: u32) -> Option<&str> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    names.get(at).map(|name| &**name)
}
