//! Who called what, and what was decided: agents by tools.

use super::{OTHERS, UNKNOWN, rollup::Row, wanted::MatrixAsk};
use crate::model::MicroUsd;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Agents and tools that are told, the busiest.
const MOST_AGENTS: usize = 40;
const MOST_TOOLS: usize = 60;
/// What is told behind all names, however heavy.
const LAST: [&str; 2] = [OTHERS, UNKNOWN];
/// Pairs that are told apart while they are counted.
const MOST_PAIRS: usize = 50_000;

/// Who called what in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// The busiest first, the rest last; an empty name: it has none.
    pub agents: Vec<String>,
    /// The busiest first, then the rest, then what is in no catalog.
    pub tools: Vec<String>,
    /// By agent and tool, where there is anything.
    pub cells: BTreeMap<(String, String), MatrixCell>,
    /// Whether some agents or tools are among the rest.
    pub truncated: bool,
}

/// What was decided of an agent's calls of a tool, and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatrixCell {
    /// Decisions, by word.
    pub decisions: BTreeMap<String, u64>,
    /// Calls that ended.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// What they cost.
    pub cost: MicroUsd,
}

impl MatrixCell {
    fn add(&mut self, other: Self) {
        for (word, count) in other.decisions {
            let known = self.decisions.entry(word).or_default();
            *known = known.saturating_add(count);
        }
        self.ended = self.ended.saturating_add(other.ended);
        self.failed = self.failed.saturating_add(other.failed);
        self.cost = self.cost.plus(other.cost);
    }

    fn weight(&self) -> u128 {
        self.decisions.values().copied().chain([self.ended]).map(u128::from).sum()
    }
}

/// An agent and a tool.
type Pair = (Box<str>, Box<str>);

/// One that is being made.
#[derive(Debug)]
pub(super) struct Filling {
    ask: MatrixAsk,
    pairs: HashMap<Pair, MatrixCell>,
    crowded: bool,
}

impl Filling {
    pub(super) fn new(ask: MatrixAsk) -> Self {
        Self { ask, pairs: HashMap::new(), crowded: false }
    }

    pub(super) fn take(&mut self, row: Row<'_>) {
        let [agent, _, _, _, decision] = row.names;
        let tool = self.ask.catalog.tool(row.names, row.cell.decided);
        let Some(agent) = agent.filter(|_| row.minute < self.ask.end) else { return };
        if row.cell.decided == 0 && row.cell.ended == 0 {
            return;
        }
        let mut pair: Pair = (agent.into(), tool.unwrap_or_default().into());
        if self.pairs.len() >= MOST_PAIRS && !self.pairs.contains_key(&pair) {
            self.crowded = true;
            pair = (OTHERS.into(), OTHERS.into());
        }
        let mut more = MatrixCell {
            decisions: BTreeMap::new(),
            ended: row.cell.ended,
            failed: row.cell.failed,
            cost: row.cell.cost,
        };
        if row.cell.decided > 0 {
            more.decisions.insert(decision.unwrap_or_default().to_owned(), row.cell.decided);
        }
        self.pairs.entry(pair).or_default().add(more);
    }

    pub(super) fn finish(self) -> Matrix {
        let heaviest = |name: &dyn Fn(&Pair) -> Box<str>, most: usize| {
            let mut weights: HashMap<Box<str>, u128> = HashMap::new();
            for (pair, cell) in &self.pairs {
                *weights.entry(name(pair)).or_default() += cell.weight();
            }
            let mut all: Vec<(Box<str>, u128)> =
                weights.into_iter().filter(|(name, _)| !LAST.contains(&&**name)).collect();
            all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            all.truncate(most);
            all.into_iter().map(|(name, _)| name.into_string()).collect::<Vec<String>>()
        };
        let mut agents = heaviest(&|pair| pair.0.clone(), MOST_AGENTS);
        let mut tools = heaviest(&|pair| pair.1.clone(), MOST_TOOLS);
        let (told_agents, told_tools): (BTreeSet<String>, BTreeSet<String>) =
            (agents.iter().cloned().collect(), tools.iter().cloned().collect());
        let mut cells: BTreeMap<(String, String), MatrixCell> = BTreeMap::new();
        let (mut rest_of_agents, mut rest_of_tools, mut unknown) = (false, false, false);
        for ((agent, tool), cell) in self.pairs {
            let (mut agent, mut tool) = (agent.into_string(), tool.into_string());
            if !told_agents.contains(&agent) {
                (agent, rest_of_agents) = (OTHERS.to_owned(), true);
            }
            if tool == UNKNOWN {
                unknown = true;
            } else if !told_tools.contains(&tool) {
                (tool, rest_of_tools) = (OTHERS.to_owned(), true);
            }
            cells.entry((agent, tool)).or_default().add(cell);
        }
        let rest = || OTHERS.to_owned();
        agents.extend(rest_of_agents.then(rest));
        tools.extend(rest_of_tools.then(rest));
        tools.extend(unknown.then(|| UNKNOWN.to_owned()));
        Matrix { agents, tools, cells, truncated: self.crowded || rest_of_agents || rest_of_tools }
    }
}
