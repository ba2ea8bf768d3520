//! A series from rows: the groups that weigh most are found first, then each point is filled.

use super::{
    OTHERS,
    cell::Durations,
    rollup::Row,
    wanted::{By, Measure, SeriesAsk},
};
use crate::model::EventDecision;
use std::collections::HashMap;

/// Groups that are weighed; further ones are among the rest.
const MOST_WEIGHED: usize = 20_000;

/// A series.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnSeries {
    /// What was asked for.
    pub ask: SeriesAsk,
    /// The heaviest first, the rest last.
    pub groups: Vec<DrawnGroup>,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnGroup {
    /// Its name; empty: it has none.
    pub name: String,
    /// Whether it is all that was not told apart.
    pub is_rest: bool,
    /// A figure for each point.
    pub values: Values,
}

/// The figures of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Counts, or millionths of a US dollar.
    Numbers(Vec<i64>),
    /// How long calls took.
    Durations(Vec<Durations>),
}

/// A series that is being made.
#[derive(Debug)]
pub(super) struct Drawing {
    ask: SeriesAsk,
    weights: HashMap<Box<str>, u128>,
    /// Whether some were not weighed.
    crowded: bool,
    /// Once they are known: where each of the heaviest stands among the groups.
    chosen: Option<HashMap<Box<str>, usize>>,
    groups: Vec<DrawnGroup>,
}

impl Drawing {
    pub(super) fn new(ask: SeriesAsk) -> Self {
        let mut drawing =
            Self { ask, weights: HashMap::new(), crowded: false, chosen: None, groups: Vec::new() };
        if drawing.ask.by == By::None {
            drawing.weights.insert("".into(), 1);
            drawing.choose();
        }
        for (name, count) in drawing.ask.waiting.clone() {
            drawing.weigh(&name, u128::from(count));
        }
        drawing
    }

    fn weigh(&mut self, name: &str, weight: u128) {
        if weight == 0 {
            return;
        }
        if let Some(known) = self.weights.get_mut(name) {
            *known += weight;
        } else if self.weights.len() < MOST_WEIGHED {
            self.weights.insert(name.into(), weight);
        } else {
            self.crowded = true;
        }
    }

    pub(super) fn take(&mut self, row: Row<'_>) {
        let name = self.name(&row);
        let Some(chosen) = &self.chosen else {
            let weight = self.weight(&row);
            return self.weigh(name, weight);
        };
        let at = chosen.get(name).copied().unwrap_or(chosen.len());
        let point = (row.minute - self.ask.first).div_euclid(self.ask.step.minutes);
        let value = self.value(&row);
        let point = usize::try_from(point).ok();
        let Some((group, point)) = self.groups.get_mut(at).zip(point) else { return };
        match &mut group.values {
            Values::Numbers(all) => {
                if let Some(known) = all.get_mut(point) {
                    *known = known.saturating_add(value);
                }
            }
            Values::Durations(all) => {
                if let Some(known) = all.get_mut(point) {
                    known.add(&row.cell.durations);
                }
            }
        }
    }

    fn name<'r>(&self, row: &Row<'r>) -> &'r str {
        if self.ask.by == By::Tool {
            return self.ask.catalog.tool(row.names, row.cell.decided).unwrap_or_default();
        }
        let place = self.ask.by.place();
        place.and_then(|place| row.names.get(place).copied().flatten()).unwrap_or_default()
    }

    fn value(&self, row: &Row<'_>) -> i64 {
        let cell = row.cell;
        let [.., decision] = row.names;
        let decision = decision.and_then(EventDecision::parse);
        let count = |counts: bool| if counts { cell.decided } else { 0 };
        let value = match self.ask.measure {
            Measure::Calls => count(decision.is_some_and(is_of_a_new_call)),
            Measure::Decisions => cell.decided,
            Measure::Denies => count(decision.is_some_and(is_refusal)),
            Measure::Errors => cell.failed,
            Measure::SpendUsd => return cell.cost.0,
            Measure::Tokens => cell.tokens,
            Measure::Pending => {
                let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
                return number(cell.asked).saturating_sub(number(cell.answered));
            }
            Measure::Latency => cell.ended,
        };
        i64::try_from(value).unwrap_or(i64::MAX)
    }

    fn weight(&self, row: &Row<'_>) -> u128 {
        match self.ask.measure {
            Measure::Pending => u128::from(row.cell.asked) + u128::from(row.cell.answered),
            _ => u128::from(self.value(row).unsigned_abs()),
        }
    }

    /// Whether the rows are needed once more: the first time told which groups there are.
    pub(super) fn again(&mut self) -> bool {
        let first = self.chosen.is_none();
        if first {
            self.choose();
        }
        first
    }

    fn choose(&mut self) {
        let mut all: Vec<(Box<str>, u128)> = std::mem::take(&mut self.weights).into_iter().collect();
        all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let rest = all.len() > self.ask.groups || self.crowded;
        all.truncate(self.ask.groups);
        let points = usize::try_from(self.ask.points).unwrap_or_default();
        let empty = || match self.ask.measure {
            Measure::Latency => Values::Durations(vec![Durations::default(); points]),
            _ => Values::Numbers(vec![0; points]),
        };
        self.groups = all
            .iter()
            .map(|(name, _)| DrawnGroup { name: name.to_string(), is_rest: false, values: empty() })
            .collect();
        if rest {
            self.groups.push(DrawnGroup { name: OTHERS.to_owned(), is_rest: true, values: empty() });
        }
        self.chosen = Some(all.into_iter().enumerate().map(|(at, (name, _))| (name, at)).collect());
    }

    pub(super) fn finish(mut self) -> DrawnSeries {
        if self.ask.measure == Measure::Pending {
            self.hang();
        }
        DrawnSeries { ask: self.ask, groups: self.groups }
    }

    /// What came and went, hung on what waits at the end.
    fn hang(&mut self) {
        let chosen = self.chosen.take().unwrap_or_default();
        let mut at_end = vec![0_i64; self.groups.len()];
        for (name, count) in &self.ask.waiting {
            let at = chosen.get(name.as_str()).copied().unwrap_or(chosen.len());
            if let Some(known) = at_end.get_mut(at) {
                *known = known.saturating_add(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        for (group, mut waits) in self.groups.iter_mut().zip(at_end) {
            let Values::Numbers(all) = &mut group.values else { continue };
            for value in all.iter_mut().rev() {
                let net = std::mem::replace(value, waits.max(0));
                waits = waits.saturating_sub(net);
            }
        }
    }
}

/// A call that people were asked about was counted then.
pub(super) fn is_of_a_new_call(decision: EventDecision) -> bool {
    !matches!(decision, EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired)
}

fn is_refusal(decision: EventDecision) -> bool {
    matches!(decision, EventDecision::Deny | EventDecision::Rejected | EventDecision::Expired)
}
