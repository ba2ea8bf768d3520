//! Cells by minute and names: what the records of one segment come to.

use super::{
    OTHERS, UNKNOWN,
    cell::Cell,
    seen::{Seen, kept},
    wanted::{Facet, Span},
};
use std::collections::{BTreeMap, HashMap};

/// Agents, tools, upstreams, workflows, decisions and counters of budgets that are told apart in one segment; further ones are
/// one. What callers choose (URIs of resources, ids of runs) can be new with each call.
const MOST_NAMES: [usize; 6] = [2_000, 2_000, 1_000, 1_000, 64, 2_000];
/// Where tools, decisions and counters stand among them.
const TOOL: usize = 1;
const WORKFLOW: usize = 3;
const DECISION: usize = 4;
const COUNTER: usize = 5;
/// Workflows of a segment whose rows are kept: those with the most calls and those with the highest cost. Where each run has an id of
/// its own, a chart would else read a row of each run.
const MOST_FLOWS: usize = 50;
/// Names of tools that no upstream has, as far as they are told apart in one segment: agents can make up any.
const MOST_MADE_UP: usize = 200;
/// In place of a decision: the row is of what people set back.
pub(super) const SET_BACK: &str = "reset";
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
    numbers: [HashMap<Box<str>, u32>; 6],
    made_up: usize,
    callers: BTreeMap<Key, Cell>,
    workflows: BTreeMap<Key, Cell>,
    /// The counter's name stands where others have the agent's, and [`SET_BACK`] where they have the decision.
    budgets: BTreeMap<Key, Cell>,
}

impl Rollup {
    /// Takes a record in.
    pub fn add(&mut self, seen: &Seen<'_>) {
        for one in &seen.counters {
            let counter = self.number(COUNTER, &one.counter);
            let kind = if one.is_reset { self.number(DECISION, SET_BACK) } else { NO_NAME };
            let key = Key { minute: seen.minute, names: [counter, NO_NAME, NO_NAME, NO_NAME, kind] };
            self.budgets.entry(key).or_default().add(&one.cell);
        }
        if seen.cell == Cell::default() {
            return;
        }
        let is_made_up = made_up(seen);
        let mut names = [NO_NAME; 5];
        for (field, (number, name)) in names.iter_mut().zip(&seen.names).enumerate() {
            if let Some(name) = name {
                *number = match field == TOOL && is_made_up {
                    true => self.made_up(name),
                    false => self.number(field, name),
                };
            }
        }
        let [agent, tool, upstream, workflow, decision] = names;
        let caller = Key { minute: seen.minute, names: [agent, tool, upstream, NO_NAME, decision] };
        self.callers.entry(caller).or_default().add(&seen.cell);
        let flow = Key { minute: seen.minute, names: [NO_NAME, NO_NAME, NO_NAME, workflow, decision] };
        self.workflows.entry(flow).or_default().add(&seen.cell);
    }

    /// The number of a tool that no upstream has: such names take no place of those that are there.
    fn made_up(&mut self, name: &str) -> u32 {
        let known = self.numbers.get(TOOL).is_some_and(|numbers| numbers.contains_key(name));
        if !known && self.made_up >= MOST_MADE_UP {
            return self.number(TOOL, UNKNOWN);
        }
        self.made_up += usize::from(!known);
        self.number(TOOL, name)
    }

    fn number(&mut self, field: usize, name: &str) -> u32 {
        let Some((numbers, most)) = self.numbers.get_mut(field).zip(MOST_NAMES.get(field)) else {
            return NO_NAME;
        };
        let name = kept(name);
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
        if field == WORKFLOW && numbers.len() == 2 * MOST_FLOWS {
            // What is not kept needs its name.
            self.number(WORKFLOW, OTHERS);
        }
        number
    }

    fn of(&self, facet: Facet) -> &BTreeMap<Key, Cell> {
        match facet {
            Facet::Callers | Facet::Agents | Facet::Tools | Facet::Upstreams => &self.callers,
            Facet::Workflows => &self.workflows,
            Facet::Budgets => &self.budgets,
        }
    }

    /// The names, that of number 1 first.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The cells, each of so many minutes.
    pub fn cells(&self, facet: Facet, minutes: i64) -> BTreeMap<Key, Cell> {
        let light = if facet == Facet::Workflows { self.light_flows() } else { HashMap::new() };
        let mut coarse: BTreeMap<Key, Cell> = BTreeMap::new();
        for (key, cell) in self.of(facet) {
            let minute = key.minute - key.minute.rem_euclid(minutes.max(1));
            let mut names = key.names;
            for (name, keeps) in names.iter_mut().zip(facet.keeps()) {
                *name = if keeps { *light.get(name).unwrap_or(name) } else { NO_NAME };
            }
            coarse.entry(Key { minute, names }).or_default().add(cell);
        }
        coarse
    }

    /// The workflows whose rows are not kept, each with the number of all others.
    fn light_flows(&self) -> HashMap<u32, u32> {
        let Some(numbers) = self.numbers.get(WORKFLOW) else { return HashMap::new() };
        let Some(others) = numbers.get(OTHERS).copied() else { return HashMap::new() };
        let mut weights: BTreeMap<u32, (u64, i64)> = BTreeMap::new();
        for (key, cell) in &self.workflows {
            let [.., flow, _] = key.names;
            let (calls, cost) = weights.entry(flow).or_default();
            *calls = calls.saturating_add(cell.decided).saturating_add(cell.ended);
            *cost = cost.saturating_add(cell.cost.0);
        }
        let heavy = |weight: &dyn Fn(&(u64, i64)) -> u128| -> Vec<u32> {
            let mut all: Vec<(u128, u32)> =
                weights.iter().map(|(flow, weights)| (weight(weights), *flow)).collect();
            all.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
            all.into_iter().take(MOST_FLOWS).map(|(_, flow)| flow).collect()
        };
        let by_calls = heavy(&|(calls, _)| u128::from(*calls));
        let by_cost = heavy(&|(_, cost)| u128::from(cost.unsigned_abs()));
        let is_light = |flow: &u32| *flow != NO_NAME && !by_calls.contains(flow) && !by_cost.contains(flow);
        weights.into_keys().filter(is_light).map(|flow| (flow, others)).collect()
    }

    /// Hands on the rows of some minutes, each of one minute; they may have more names than those of their facet.
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

/// Whether a tool was decided on that no upstream is named of: it is out of the agent's scope, or nowhere.
fn made_up(seen: &Seen<'_>) -> bool {
    let [_, _, upstream, ..] = &seen.names;
    seen.cell.decided > 0 && upstream.is_none()
}

/// The name of a number.
fn name_of(names: &[Box<str>], number: u32) -> Option<&str> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    names.get(at).map(|name| &**name)
}
