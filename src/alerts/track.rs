//! What is counted of one agent, workflow or server: the slices of the window, and what is usual.

use super::baseline::{Bill, ODD, Odd, Price, Rate};
use crate::{
    model::AlertKind,
    policy::{AlertRule, AlertRules},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Slices of a window.
pub(super) const SLICES: usize = 5;
/// Whole windows that are looked at together, so that few calls are enough where it lasts.
pub(super) const WINDOWS: usize = 6;
/// Added to what a call costs before its logarithm is taken: a ten-thousandth of a dollar more or less is nothing.
const NEXT_TO_NOTHING: f64 = 100.0;

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What happened in a slice, or in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub(super) calls: u64,
    #[serde(rename = "d", default, skip_serializing_if = "is_zero")]
    pub(super) denied: u64,
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub(super) lacking: u64,
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub(super) ruled: u64,
    #[serde(rename = "b", default, skip_serializing_if = "is_zero")]
    pub(super) barred: u64,
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    pub(super) ended: u64,
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub(super) failed: u64,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    pub(super) priced: u64,
    /// Millionths of a dollar.
    #[serde(rename = "m", default, skip_serializing_if = "is_zero")]
    pub(super) micros: u64,
    #[serde(rename = "x", default, skip_serializing_if = "is_zero")]
    pub(super) logs: f64,
    #[serde(rename = "y", default, skip_serializing_if = "is_zero")]
    pub(super) squares: f64,
}

impl Tally {
    pub(super) fn cost(&mut self, micros: u64) {
        let log = (float_of(micros) + NEXT_TO_NOTHING).ln();
        self.priced += 1;
        self.micros = self.micros.saturating_add(micros);
        self.logs += log;
        self.squares += log * log;
    }

    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            denied: self.denied + other.denied,
            lacking: self.lacking + other.lacking,
            ruled: self.ruled + other.ruled,
            barred: self.barred + other.barred,
            ended: self.ended + other.ended,
            failed: self.failed + other.failed,
            priced: self.priced + other.priced,
            micros: self.micros.saturating_add(other.micros),
            logs: self.logs + other.logs,
            squares: self.squares + other.squares,
        }
    }

    /// What the whole window costs, as a logarithm.
    fn bill(&self) -> Option<f64> {
        (self.priced > 0).then(|| (float_of(self.micros) + NEXT_TO_NOTHING).ln())
    }
}

/// Money as a number: whole millionths up to four thousand dollars, then whole dollars.
fn float_of(micros: u64) -> f64 {
    match u32::try_from(micros) {
        Ok(micros) => f64::from(micros),
        Err(_) => f64::from(u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX)) * 1e6,
    }
}

fn sum(tallies: &[Tally]) -> Tally {
    tallies.iter().fold(Tally::default(), |all, tally| all.plus(*tally))
}

/// What is looked for in the windows of a subject.
const KINDS: [AlertKind; 5] = [
    AlertKind::DenyRate,
    AlertKind::DenyDrop,
    AlertKind::MissingMetadata,
    AlertKind::Failures,
    AlertKind::CostSpike,
];

/// A bit for each of some [`KINDS`].
fn bits<'k>(kinds: impl IntoIterator<Item = &'k AlertKind>) -> u8 {
    let bit = |kind: &AlertKind| KINDS.iter().position(|known| known == kind).map_or(0, |at| 1 << at);
    kinds.into_iter().fold(0, |bits, kind| bits | bit(kind))
}

/// What is odd about one subject as a slice ends, or is odd no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Odd {
        kind: AlertKind,
        odd: Odd,
        tally: Tally,
        /// Of so many windows.
        windows: usize,
    },
    Over(AlertKind),
}

/// Of one agent, workflow or server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// The slices of the window that are over, the newest last, and the one that goes on.
    ring: [Tally; SLICES],
    now: Tally,
    /// The slice before those of the window: what is missed is looked for one slice later, when all refusals of a slice are told.
    #[serde(default)]
    before: Tally,
    /// The whole windows before the one that goes on, the newest last. One is learned as it leaves them, so that what is looked at is
    /// never learned.
    past: [Tally; WINDOWS],
    /// What was odd in each of them, a bit for each of [`KINDS`]: such a window is learned at little weight, and told once.
    #[serde(default)]
    told: [u8; WINDOWS],
    deny: Rate,
    /// What rules refuse of what they have the last word about.
    #[serde(default)]
    bar: Rate,
    lack: Rate,
    fail: Rate,
    price: Price,
    bill: Bill,
    /// What is odd, and for how many slices it has not been any more.
    odd: BTreeMap<AlertKind, usize>,
    /// The slice in which something was counted last.
    pub(super) last: i64,
}

impl Track {
    pub(super) fn now(&mut self, slice: i64) -> &mut Tally {
        self.last = slice;
        &mut self.now
    }

    /// Takes in what happened so many slices before the one that goes on; what is older counts to the oldest that is looked at.
    pub(super) fn add(&mut self, slice: i64, ago: i64, tally: Tally) {
        self.last = slice;
        let slices = i64::try_from(SLICES).unwrap_or(1);
        let ago = ago.clamp(0, slices - 1);
        if ago == 0 {
            self.now = self.now.plus(tally);
            return;
        }
        let at = usize::try_from(ago).ok().and_then(|ago| SLICES.checked_sub(ago));
        if let Some(known) = at.and_then(|at| self.ring.get_mut(at)) {
            *known = known.plus(tally);
        }
        let window = |slice: i64| slice.div_euclid(slices);
        if window(slice - ago) < window(slice)
            && let Some(last) = self.past.last_mut()
        {
            *last = last.plus(tally);
        }
    }

    /// Whether nothing stands in the windows.
    pub(super) fn is_idle(&self) -> bool {
        let none = Tally::default();
        self.odd.is_empty()
            && self.now == none
            && self.before == none
            && self.ring.iter().chain(&self.past).all(|tally| *tally == none)
    }

    /// Forgets the windows, where slices have another length.
    pub(super) fn recut(&mut self) {
        (self.ring, self.now, self.before, self.past, self.told) = Default::default();
        self.bill = Bill::default();
    }

    /// Ends the slice that goes on, and tells what is odd in the window then, or in the windows before it. `ends`: a whole window ends
    /// with it; `begins`: one begins with it.
    pub(super) fn end_slice(
        &mut self,
        (begins, ends): (bool, bool),
        rules: &AlertRules,
        keep: f64,
    ) -> Vec<Found> {
        self.ring.rotate_left(1);
        if let Some(last) = self.ring.last_mut() {
            self.before = std::mem::replace(last, std::mem::take(&mut self.now));
        }
        let window = sum(&self.ring);
        let told_whole = self.ring.split_last().map_or(self.before, |(_, told)| self.before.plus(sum(told)));
        let leaves = ends.then(|| {
            self.past.rotate_left(1);
            self.told.rotate_left(1);
            let was = self.told.last_mut().map(std::mem::take).unwrap_or_default();
            (self.past.last_mut().map(|last| std::mem::replace(last, window)).unwrap_or_default(), was)
        });
        let mut found = Vec::new();
        for (bit, kind) in KINDS.into_iter().enumerate().map(|(at, kind)| (1 << at, kind)) {
            let rule = rules.of(kind);
            let look = |tally: &Tally, windows: usize| {
                Some((self.look(kind, (tally, windows), &rule)?, *tally, windows))
            };
            // Refusals are counted, and told up to a slice later than what is let through.
            let is_late = kind == AlertKind::DenyDrop;
            let (window, whole) = if is_late { (&told_whole, begins) } else { (&window, ends) };
            // What was told of a window is not told of several with it.
            let long = || whole.then(|| self.untold(bit));
            let odd = if rule.enabled { look(window, 1).or_else(|| look(&long()?, WINDOWS)) } else { None };
            match odd {
                Some((odd, tally, windows)) => {
                    self.odd.insert(kind, 0);
                    if windows > 1 {
                        self.told.iter_mut().for_each(|told| *told |= bit);
                    } else if is_late
                        && begins
                        && let Some(last) = self.told.last_mut()
                    {
                        *last |= bit;
                    }
                    found.push(Found::Odd { kind, odd, tally, windows });
                }
                None => {
                    if let Some(quiet) = self.odd.get_mut(&kind) {
                        *quiet += 1;
                        if *quiet >= SLICES {
                            self.odd.remove(&kind);
                            found.push(Found::Over(kind));
                        }
                    }
                }
            }
        }
        if let Some((leaves, was)) = leaves {
            if let Some(last) = self.told.last_mut() {
                *last |= bits(self.odd.keys());
            }
            self.learn(leaves, was, keep);
        }
        found
    }

    /// The windows of before in which nothing of a kind was odd.
    fn untold(&self, bit: u8) -> Tally {
        let calm = self.past.iter().zip(self.told).filter(|(_, told)| told & bit == 0);
        sum(&calm.map(|(tally, _)| *tally).collect::<Vec<_>>())
    }

    fn look(&self, kind: AlertKind, (window, windows): (&Tally, usize), rule: &AlertRule) -> Option<Odd> {
        match kind {
            AlertKind::DenyRate => self.deny.risen(window.calls, window.denied, rule),
            AlertKind::DenyDrop => self.bar.dropped(window.ruled, window.barred, rule),
            AlertKind::MissingMetadata => self.lack.risen(window.calls, window.lacking, rule),
            AlertKind::Failures => self.fail.risen(window.ended, window.failed, rule),
            AlertKind::CostSpike => {
                if u64::try_from(rule.min_cost.0).is_ok_and(|least| window.micros < least) {
                    return None;
                }
                if windows > 1 {
                    return self.price.risen(window.priced, window.logs, rule);
                }
                let dear = match self.price.is_known() {
                    true => self.price.risen(window.priced, window.logs, rule),
                    false => self.dear_at_first(rule),
                };
                dear.or_else(|| self.bill.risen(window.bill()?, rule))
            }
            _ => None,
        }
    }

    /// Where too little is known yet, the newest slice is held against what came before it.
    fn dear_at_first(&self, rule: &AlertRule) -> Option<Odd> {
        let (newest, before) = self.ring.split_last()?;
        let mut price = self.price;
        for tally in self.past.iter().chain(before) {
            price.learn(tally.priced, tally.logs, tally.squares, 1.0, 1.0);
        }
        price.risen(newest.priced, newest.logs, rule)
    }

    /// Learns a window; `was`: what was odd in it. While something is odd, nothing is quite usual.
    fn learn(&mut self, over: Tally, was: u8, keep: f64) {
        let odd = was | bits(self.odd.keys());
        let weight = |kinds: &[AlertKind]| if odd & bits(kinds) == 0 { 1.0 } else { ODD };
        let denies = weight(&[AlertKind::DenyRate, AlertKind::DenyDrop]);
        let (lacks, fails) = (weight(&[AlertKind::MissingMetadata]), weight(&[AlertKind::Failures]));
        let costs = weight(&[AlertKind::CostSpike]);
        self.deny.learn(over.calls, over.denied, keep, denies);
        self.bar.learn(over.ruled, over.barred, keep, denies);
        self.lack.learn(over.calls, over.lacking, keep, lacks);
        self.fail.learn(over.ended, over.failed, keep, fails);
        self.price.learn(over.priced, over.logs, over.squares, keep, costs);
        if let Some(bill) = over.bill() {
            self.bill.learn(bill, keep, costs);
        }
    }
}
