//! How large results are: learned from what was settled, by tool, by the size of the arguments and by agent, so that
//! estimates come true.
//!
//! A cell is one tool, one band of argument sizes and one agent. It holds the sizes of its newest results, and its word is
//! their median: one outlier says nothing, and what really changed is believed after four results. An agent is estimated by
//! its own cell once that has enough results; before, by the median over all agents, each with one voice. So no agent can
//! make the calls of others look dear or cheap for longer than their first few.

use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// What a tool's result is taken to be, in tokens, where nothing was configured or learned.
pub const DEFAULT_RESULT_TOKENS: u64 = 200;

/// Tools of one generation. Two are kept, so that memory stays bounded whatever upstreams invent, and what is in use
/// stays known.
const MAX_TOOLS: usize = 10_000;
/// Agents of one tool and band; beyond them the one that was heard of least lately goes.
const MAX_AGENTS: usize = 8;
/// So many results of its own, and an agent is estimated by them alone.
const ENOUGH: usize = 3;

/// Between the parts of a cell's name.
const PART: char = '\u{1f}';

/// Argument sizes of which each band is a quarter of an octave; larger ones share the last band.
const LAST_BAND: u8 = 87;

/// One tool, one band of argument sizes, one agent, as the store names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SizeCell(String);

impl SizeCell {
    /// The cell of an agent's call with so many tokens of arguments.
    pub fn new(tool: &str, argument_tokens: u64, agent: &str) -> Self {
        Self(format!("{tool}{PART}{}{PART}{agent}", band(argument_tokens)))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tool, band and agent; `None` for the name of a tool alone, under which older versions kept a mean.
    fn parts(name: &str) -> Option<(&str, u8, &str)> {
        let mut parts = name.rsplitn(3, PART);
        let (agent, band, tool) = (parts.next()?, parts.next()?, parts.next()?);
        Some((tool, band.parse().ok()?, agent))
    }
}

/// The band of an argument size: exact up to 8 tokens, then four bands for each doubling.
fn band(tokens: u64) -> u8 {
    let band = match tokens.checked_ilog2() {
        None | Some(0 | 1) => tokens,
        Some(log) => u64::from(log) * 4 + ((tokens >> (log - 2)) & 3),
    };
    u8::try_from(band).unwrap_or(LAST_BAND).min(LAST_BAND)
}

/// The sizes of a cell's newest results: up to seven, of nine bits each, the newest in the lowest bits. A size is told to
/// about 2 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentSizes(i64);

impl RecentSizes {
    const BITS: u32 = 9;
    const MASK: i64 = (1 << Self::BITS) - 1;
    const MOST: usize = 7;
    /// Steps of one doubling.
    const STEPS: f64 = 17.0;

    /// As the store keeps it.
    pub fn from_stored(stored: i64) -> Self {
        Self(stored & i64::MAX)
    }

    /// For the store.
    pub fn stored(self) -> i64 {
        self.0
    }

    /// With one more result; the oldest of seven goes.
    #[must_use]
    pub fn with(self, tokens: u64) -> Self {
        Self(((self.0 << Self::BITS) | code(tokens)) & i64::MAX)
    }

    fn codes(self) -> Vec<i64> {
        let mut left = self.0;
        let mut codes = Vec::with_capacity(Self::MOST);
        while left != 0 {
            codes.push(left & Self::MASK);
            left >>= Self::BITS;
        }
        codes
    }

    fn len(self) -> usize {
        (64 - self.0.leading_zeros()).div_ceil(Self::BITS) as usize
    }

    /// The median, as a code.
    fn median(self) -> Option<f64> {
        middle(self.codes().into_iter().map(precise).collect())
    }
}

/// A size as a number of steps, one more than what it is, so that none is 0.
fn code(tokens: u64) -> i64 {
    let steps = ((tokens as f64 + 1.0).log2() * RecentSizes::STEPS).round();
    (steps as i64 + 1).min(RecentSizes::MASK)
}

fn precise(code: i64) -> f64 {
    code as f64
}

/// The most that a code may stand for, in tokens: codes are rounded.
fn most_of(code: f64) -> u64 {
    (((code - 0.5) / RecentSizes::STEPS).exp2() - 1.0).ceil().max(0.0) as u64
}

/// What a code stands for, in tokens.
fn tokens_of(code: f64) -> u64 {
    (((code - 1.0) / RecentSizes::STEPS).exp2() - 1.0).round().max(0.0) as u64
}

/// The middle of some codes; between the two middle ones of an even number.
fn middle(mut codes: Vec<f64>) -> Option<f64> {
    codes.sort_by(f64::total_cmp);
    let half = codes.len() / 2;
    let upper = *codes.get(half)?;
    match codes.len() % 2 {
        0 => codes.get(half.wrapping_sub(1)).map(|lower| f64::midpoint(*lower, upper)),
        _ => Some(upper),
    }
}

/// How large results are, by tool, size of the arguments and agent. In memory, shared between calls.
#[derive(Debug, Default)]
pub struct LearnedSizes(RwLock<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Arc<str>, ToolSizes>,
    old: HashMap<Arc<str>, ToolSizes>,
}

impl Generations {
    fn get(&self, tool: &str) -> Option<&ToolSizes> {
        self.young.get(tool).or_else(|| self.old.get(tool))
    }

    fn entry(&mut self, tool: &str) -> &mut ToolSizes {
        if !self.young.contains_key(tool) {
            if self.young.len() >= MAX_TOOLS {
                self.old = std::mem::take(&mut self.young);
            }
            let (name, known) =
                self.old.remove_entry(tool).unwrap_or_else(|| (tool.into(), ToolSizes::default()));
            self.young.insert(name, known);
        }
        self.young.entry(tool.into()).or_default()
    }
}

/// The sizes in one band, by agent.
type BandSizes = Vec<(Arc<str>, RecentSizes)>;

/// What is known of one tool.
#[derive(Clone, Debug, Default)]
struct ToolSizes {
    /// The mean of an older version, in tokens.
    mean: Option<u64>,
    /// By band, in order; agents in the order in which they were heard of last.
    bands: Vec<(u8, BandSizes)>,
}

impl ToolSizes {
    fn put(&mut self, band: u8, agent: &str, recent: RecentSizes) {
        let place = match self.bands.binary_search_by_key(&band, |(known, _)| *known) {
            Ok(place) => place,
            Err(place) => {
                self.bands.insert(place, (band, Vec::new()));
                place
            }
        };
        let Some((_, agents)) = self.bands.get_mut(place) else { return };
        let known =
            agents.iter().position(|(known, _)| **known == *agent).map(|place| agents.remove(place).0);
        if agents.len() >= MAX_AGENTS {
            agents.remove(0);
        }
        agents.push((known.unwrap_or_else(|| agent.into()), recent));
    }

    fn expected(&self, band: u8, agent: &str) -> Option<u64> {
        let found = self.bands.binary_search_by_key(&band, |(known, _)| *known);
        let code = match found {
            Ok(place) => {
                let (_, agents) = self.bands.get(place)?;
                let own = agents.iter().find(|(known, recent)| **known == *agent && recent.len() >= ENOUGH);
                match own {
                    Some((_, recent)) => recent.median(),
                    None => shared(agents),
                }
            }
            Err(place) => {
                let at = |place: usize| {
                    let (band, agents) = self.bands.get(place)?;
                    Some((f64::from(*band), shared(agents)?))
                };
                match (place.checked_sub(1).and_then(at), at(place)) {
                    (Some((below, low)), Some((above, high))) => {
                        Some(low + (high - low) * (f64::from(band) - below) / (above - below))
                    }
                    (Some((_, code)), None) | (None, Some((_, code))) => Some(code),
                    (None, None) => None,
                }
            }
        };
        code.map(tokens_of).or(self.mean)
    }

    /// The most that an agent's result probably takes, as a code: its largest of late. As long as there are few of its own, the
    /// largest of what other agents say too: their medians, so that one outlier of somebody else's is nothing to it.
    fn largest(&self, band: u8, agent: &str) -> Option<f64> {
        let of = |(_, agents): &(u8, BandSizes)| {
            let own = agents.iter().find(|(known, _)| **known == *agent).map(|(_, recent)| *recent);
            let largest = own.and_then(|own| own.codes().into_iter().max()).map(precise);
            let others = match own {
                Some(own) if own.len() >= ENOUGH => None,
                Some(_) | None => {
                    agents.iter().filter_map(|(_, recent)| recent.median()).max_by(f64::total_cmp)
                }
            };
            largest.into_iter().chain(others).max_by(f64::total_cmp)
        };
        match self.bands.binary_search_by_key(&band, |(known, _)| *known) {
            Ok(place) => of(self.bands.get(place)?),
            Err(place) => {
                let near =
                    [place.checked_sub(1).and_then(|below| self.bands.get(below)), self.bands.get(place)];
                near.into_iter().flatten().filter_map(of).max_by(f64::total_cmp)
            }
        }
    }

    fn usual(&self) -> Option<u64> {
        middle(self.bands.iter().filter_map(|(_, agents)| shared(agents)).collect())
            .map(tokens_of)
            .or(self.mean)
    }
}

/// What all agents of a band say, each with one voice.
fn shared(agents: &[(Arc<str>, RecentSizes)]) -> Option<f64> {
    middle(agents.iter().filter_map(|(_, recent)| recent.median()).collect())
}

impl LearnedSizes {
    /// Nothing learned yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the next result of an agent's call will probably take: learned, else `configured`, else
    /// [`DEFAULT_RESULT_TOKENS`].
    pub fn expected(&self, tool: &str, argument_tokens: u64, agent: &str, configured: Option<u64>) -> u64 {
        self.expected_and_most(tool, argument_tokens, agent, configured).0
    }

    /// The same, and what a strict budget reserves for it where it has the room: a quarter more than the largest result of
    /// late, or than what is expected where nothing was learned.
    pub fn expected_and_most(
        &self,
        tool: &str,
        argument_tokens: u64,
        agent: &str,
        configured: Option<u64>,
    ) -> (u64, u64) {
        let sizes = self.0.read();
        let (band, known) = (band(argument_tokens), sizes.get(tool));
        let learned = known.and_then(|known| known.expected(band, agent));
        let expected = learned.unwrap_or_else(|| configured.unwrap_or(DEFAULT_RESULT_TOKENS));
        let largest = known.and_then(|known| known.largest(band, agent)).map_or(0, most_of).max(expected);
        (expected, largest.saturating_add(largest.div_ceil(4)))
    }

    /// Takes in what a result took, in this process alone.
    pub fn observe(&self, cell: &SizeCell, tokens: u64) {
        let Some((tool, band, agent)) = SizeCell::parts(cell.as_str()) else { return };
        let mut sizes = self.0.write();
        let known = sizes.entry(tool);
        let agents = known.bands.iter().find(|(at, _)| *at == band).map(|(_, agents)| agents);
        let recent = agents.and_then(|agents| agents.iter().find(|(name, _)| **name == *agent));
        let recent = recent.map(|(_, recent)| *recent).unwrap_or_default().with(tokens);
        known.put(band, agent, recent);
    }

    /// Takes in what the store says of a name: what this or another process learned, or an older version's mean of a tool.
    pub fn take_in(&self, name: &str, stored: i64) {
        let mut sizes = self.0.write();
        match SizeCell::parts(name) {
            Some((tool, band, agent)) => {
                sizes.entry(tool).put(band, agent, RecentSizes::from_stored(stored));
            }
            None => sizes.entry(name).mean = u64::try_from(stored).ok().map(|milli| milli.div_ceil(1_000)),
        }
    }

    /// What a result of each tool usually takes, in tokens, by name.
    pub fn by_tool(&self) -> Vec<(String, u64)> {
        let sizes = self.0.read();
        let old = sizes.old.iter().filter(|(tool, _)| !sizes.young.contains_key(*tool));
        let all = sizes.young.iter().chain(old);
        let mut all: Vec<(String, u64)> =
            all.filter_map(|(tool, known)| Some((tool.to_string(), known.usual()?))).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
