//! Where every counter stands, and which calls are open: a fold over [`Effect`]s, the same in every process that reads the
//! same ones.

use super::{
    approval::Named,
    effect::{Effect, Grant, LoopMark, Reset, Window},
    grant::NamedGrant,
    limit::{ALERTS, Limit, Slot},
    loops::{LoopCheck, LoopSeen, Loops},
    repeats::{Repeats, repeat_key},
    rolling::Rolling,
    usage::{Caps, Unit, Usage},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

/// Where a calendar window stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowUsage {
    /// What was reserved and settled in it.
    pub usage: Usage,
    /// Its last alert.
    pub alerted: Alerted,
}

/// The last alert of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alerted {
    /// When it was given, in microseconds; 0: not yet.
    pub at: i64,
    /// The share of the cap that had been reached, in percent.
    pub step: u8,
}

/// Where a counter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it has counted: what was settled, and what open calls hold.
    pub usage: Usage,
    /// What open calls hold of that.
    pub reserved: Usage,
    /// The time of the oldest call that it counts, of a counter that rolls.
    pub oldest: Option<i64>,
}

/// What admission judges by.
#[derive(Clone, Debug, Default)]
pub struct State {
    windows: HashMap<Window, WindowUsage>,
    rolling: HashMap<i64, Rolling>,
    repeats: Repeats,
    loops: Loops,
    /// By the `seq` of their decisions.
    open: BTreeMap<i64, Grant>,
}

/// What a caller asks for, with what its store knows of it.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// When, in microseconds.
    pub now: i64,
    /// The process that would dispatch the call.
    pub owner: i64,
    /// The `seq` that the decision will have; it names the call in later effects.
    pub seq: i64,
    /// Who calls.
    pub agent: &'r str,
    /// What is checked, counted and reserved.
    pub limits: Vec<Limit<'r>>,
    /// How often the same call may be made in 60 s.
    pub repeats: Option<RepeatLimit>,
    /// What else may be a loop.
    pub loops: Vec<LoopCheck>,
    /// What it calls, for sentences.
    pub tool: &'r str,
    /// What the call may take.
    pub need: Usage,
    /// What of it strict budgets may reserve in place of that; none: no strict budget counts it.
    pub stretch: Option<Stretch>,
    /// The approval that it uses.
    pub approval: Option<Named<'r>>,
    /// The standing grant that it uses.
    pub grant: Option<NamedGrant<'r>>,
}

/// How much may be reserved of a call whose result is cut at that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The least: a strict budget without room for it has none for the call.
    pub least: Usage,
    /// The most, in tokens.
    pub most_tokens: i64,
    /// What a million tokens beyond the least cost, in millionths of a USD.
    pub per_mtok: i64,
}

/// One part in so many of what the estimate leaves of a limit may be reserved beyond it.
const BEYOND_ESTIMATE: i64 = 4;

impl Stretch {
    /// So many tokens, at least the least, with what they cost.
    fn of(&self, tokens: i64) -> Usage {
        let more = tokens.saturating_sub(self.least.tokens).max(0);
        let cost = (i128::from(more) * i128::from(self.per_mtok.max(0)) + 999_999) / 1_000_000;
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        Usage {
            tokens: self.least.tokens.saturating_add(more),
            cost: self.least.cost.saturating_add(cost),
            ..self.least
        }
    }

    /// What is reserved where so much is left of some limits: the estimate, as far as there is room, and beyond it at most a
    /// quarter of what remains of each, so that one call never takes what others need.
    pub(super) fn within(
        &self,
        estimate: Usage,
        left: impl Iterator<Item = (Option<i64>, Option<i64>)>,
    ) -> Usage {
        let share = |left: i64, estimate: i64| match left.saturating_sub(estimate) {
            more if more > 0 => estimate.saturating_add(more / BEYOND_ESTIMATE),
            _ => left,
        };
        let mut tokens = self.most_tokens;
        for (left_tokens, left_cost) in left {
            tokens = tokens.min(left_tokens.map_or(i64::MAX, |left| share(left, estimate.tokens)));
            if let Some(cost) = left_cost.filter(|_| self.per_mtok > 0) {
                let cost = share(cost, estimate.cost);
                let more = i128::from(cost.saturating_sub(self.least.cost).max(0)) * 1_000_000;
                let more = i64::try_from(more / i128::from(self.per_mtok)).unwrap_or(i64::MAX);
                tokens = tokens.min(self.least.tokens.saturating_add(more));
            }
        }
        self.of(tokens)
    }
}

/// More identical calls in 60 s than this are a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatLimit {
    /// By what identical calls are known ([`super::repeat_key`]).
    pub key: i64,
    /// So many are let through.
    pub max: u32,
}

impl State {
    /// Takes in an effect.
    pub fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Granted(grant) => {
                for counter in &grant.rolling {
                    self.rolling.entry(*counter).or_default().push(grant.seq, grant.at, grant.usage());
                }
                for window in &grant.windows {
                    self.add(*window, grant.usage());
                }
                if let Some(key) = grant.repeat {
                    self.repeats.push(grant.at, key);
                }
                for mark in &grant.loops {
                    self.loops.apply(*mark, grant.at);
                }
                self.open.insert(grant.seq, grant);
            }
            Effect::Carried(grant) => {
                self.open.insert(grant.seq, grant);
            }
            Effect::Closed { seq, change } => {
                let Some(grant) = self.open.remove(&seq) else { return };
                if change != Usage::default() {
                    for counter in &grant.rolling {
                        self.rolling.entry(*counter).or_default().amend(seq, change);
                    }
                    for window in &grant.windows {
                        self.add(*window, change);
                    }
                }
            }
            Effect::Asked { at, repeat } => self.repeats.push(at, repeat),
            Effect::Failed { at, errors } => self.loops.failed(errors, at),
            Effect::Worked { errors } => self.loops.worked(errors),
            Effect::LoopAlerted { at, key, window } => self.loops.alerted(key, at, window),
            Effect::Alerted(alert) => {
                let alerted = Alerted { at: alert.at, step: alert.step };
                self.windows.entry(alert.window).or_default().alerted = alerted;
            }
            Effect::Reset(reset) => self.reset(reset),
            // Approvals and grants are named with each request.
            Effect::Consumed(_) | Effect::GrantUsed(_) => {}
        }
    }

    /// What open calls hold stays, and is corrected as they end. What is known is enough for it, whatever stood there before.
    fn reset(&mut self, Reset { counter, start }: Reset) {
        match start {
            Some(start) => {
                let usage = self.reserved((counter, start));
                self.windows.insert((counter, start), WindowUsage { usage, alerted: Alerted::default() });
            }
            None => {
                if let Some(rolling) = self.rolling.get_mut(&counter) {
                    rolling.keep(|seq| self.open.contains_key(&seq));
                }
                self.windows.insert((counter, ALERTS), WindowUsage::default());
            }
        }
    }

    /// What open calls hold of a calendar window.
    pub fn reserved(&self, window: Window) -> Usage {
        let holding = self.open.values().filter(|grant| grant.windows.contains(&window));
        holding.fold(Usage::default(), |sum, grant| sum.plus(grant.usage()))
    }

    /// What open calls hold of all calendar windows.
    pub fn all_reserved(&self) -> HashMap<Window, Usage> {
        let mut held: HashMap<Window, Usage> = HashMap::new();
        for grant in self.open.values() {
            for window in &grant.windows {
                let sum = held.entry(*window).or_default();
                *sum = sum.plus(grant.usage());
            }
        }
        held
    }

    fn add(&mut self, window: Window, change: Usage) {
        let standing = self.windows.entry(window).or_default();
        standing.usage = standing.usage.plus(change);
    }

    /// The calendar windows that an effect will change.
    pub fn touched<'e>(&self, effect: &'e Effect) -> Cow<'e, [Window]> {
        match effect {
            Effect::Granted(grant) => Cow::Borrowed(&grant.windows),
            Effect::Closed { seq, change } if *change != Usage::default() => {
                Cow::Owned(self.open(*seq).map(|grant| grant.windows.clone()).unwrap_or_default())
            }
            Effect::Alerted(alert) => Cow::Borrowed(std::slice::from_ref(&alert.window)),
            Effect::Reset(reset) => Cow::Owned(vec![(reset.counter, reset.start.unwrap_or(ALERTS))]),
            Effect::Closed { .. }
            | Effect::Carried(_)
            | Effect::Asked { .. }
            | Effect::Failed { .. }
            | Effect::Worked { .. }
            | Effect::LoopAlerted { .. }
            | Effect::Consumed(_)
            | Effect::GrantUsed(_) => Cow::Borrowed(&[]),
        }
    }

    /// Where a calendar window stands, as far as is known.
    pub fn standing(&self, window: Window) -> Option<WindowUsage> {
        self.windows.get(&window).copied()
    }

    /// For a store that keeps the calendar windows in a table of its own: tells what stands there. A window that such a
    /// store has not told counts as empty, so it tells all that a request checks and all that an effect touches.
    pub fn tell(&mut self, window: Window, standing: WindowUsage) {
        self.windows.insert(window, standing);
    }

    /// The same store's table may have changed: what was told holds no more.
    pub fn forget_windows(&mut self) {
        self.windows.clear();
    }

    /// The same of one window.
    pub fn forget_window(&mut self, window: Window) {
        self.windows.remove(&window);
    }

    /// The same of all but some.
    pub fn keep_windows(&mut self, keep: impl Fn(&Window) -> bool) {
        self.windows.retain(|window, _| keep(window));
    }

    /// How many calendar windows are known.
    pub fn known_windows(&self) -> usize {
        self.windows.len()
    }

    /// Brings what a request is judged by to its time: what has left the last minute counts no more. Without it too much
    /// counts, never too little.
    pub fn advance(&mut self, request: &Request<'_>) {
        for limit in &request.limits {
            if let Slot::Rolling(counter) = limit.slot {
                self.rolling.entry(counter).or_default().advance(request.now);
            }
        }
        if request.repeats.is_some() {
            self.repeats.advance(request.now);
        }
        self.loops.advance(&request.loops, request.now);
    }

    /// What the end of an open call says about failures in a row; none where they are not counted or nothing changes.
    pub fn ended(&self, seq: i64, failed: bool, now: i64) -> Option<Effect> {
        let errors = self.open(seq)?.loops.iter().find_map(|mark| match mark {
            LoopMark::Watched { errors } => Some(*errors),
            LoopMark::Counted { .. } | LoopMark::Turn { .. } => None,
        })?;
        match failed {
            true => Some(Effect::Failed { at: now, errors }),
            false => self.loops.is_failing(errors).then_some(Effect::Worked { errors }),
        }
    }

    /// That an agent loops with a tool, where that was not told within the window, in seconds.
    pub fn loop_alert(&self, agent: &str, tool: &str, window_s: u32, now: i64) -> Option<Effect> {
        let key = repeat_key(agent, &["loop alert", tool].join("\0"));
        let window = i64::from(window_s) * 1_000_000;
        (!self.loops.has_alerted(key, now)).then_some(Effect::LoopAlerted { at: now, key, window })
    }

    /// Where a rule about loops stands.
    pub(super) fn looped(&self, check: LoopCheck, now: i64) -> LoopSeen {
        self.loops.seen(check, now)
    }

    /// Where the rules about loops stand at `now` that a call is held against: identical calls before all others.
    pub fn loops_at(
        &mut self,
        identical: Option<RepeatLimit>,
        checks: &[LoopCheck],
        now: i64,
    ) -> Vec<LoopSeen> {
        self.repeats.advance(now);
        self.loops.advance(checks, now);
        let identical = identical.map(|RepeatLimit { key, max }| LoopSeen {
            check: LoopCheck::identical(key, max),
            seen: self.repeats.count(key),
            room_at: self.repeats.room_at(key, max.saturating_sub(1)),
        });
        identical.into_iter().chain(checks.iter().map(|check| self.loops.seen(*check, now))).collect()
    }

    /// That a call is asked about, which counts as a repeat of it.
    pub fn asked(&mut self, repeat: i64, now: i64) -> Effect {
        Effect::Asked { at: self.repeats.advance(now), repeat }
    }

    /// Forgets what has left the last minute of every counter.
    pub fn forget(&mut self, now: i64) {
        self.repeats.advance(now);
        self.loops.forget(now);
        self.rolling.retain(|_, rolling| {
            rolling.advance(now);
            !rolling.is_empty()
        });
    }

    /// What a rolling counter stands at, once it is at `now`.
    pub fn last_minute(&mut self, counter: i64, now: i64) -> Usage {
        self.rolling.get_mut(&counter).map(|rolling| rolling.used(now)).unwrap_or_default()
    }

    /// Where all rolling counters stand, once they are at `now`.
    pub fn all_last_minute(&mut self, now: i64) -> HashMap<i64, Standing> {
        let mut all: HashMap<i64, Standing> = HashMap::with_capacity(self.rolling.len());
        for (counter, rolling) in &mut self.rolling {
            let usage = rolling.used(now);
            let standing = Standing { usage, reserved: Usage::default(), oldest: rolling.oldest() };
            all.insert(*counter, standing);
        }
        for grant in self.open.values() {
            for counter in &grant.rolling {
                let Some(standing) = all.get_mut(counter) else { continue };
                if standing.oldest.is_some_and(|oldest| grant.at >= oldest) {
                    standing.reserved = standing.reserved.plus(grant.usage());
                }
            }
        }
        all
    }

    /// Counters that have counted something in the last minute, as far as they were brought to a time.
    pub fn rolling_counters(&self) -> impl Iterator<Item = i64> {
        self.rolling.iter().filter(|(_, rolling)| !rolling.is_empty()).map(|(counter, _)| *counter)
    }

    /// How often a call was made in the last minute, once that is at `now`.
    pub fn repeated(&mut self, key: i64, now: i64) -> u32 {
        self.repeats.advance(now);
        self.repeats.count(key)
    }

    /// Where a limit's counter stands.
    pub(super) fn of(&self, limit: &Limit<'_>) -> WindowUsage {
        let window = limit.window().and_then(|window| self.standing(window)).unwrap_or_default();
        match limit.slot {
            Slot::Window(_) => window,
            Slot::Rolling(counter) => {
                let usage = self.rolling.get(&counter).map(Rolling::sum).unwrap_or_default();
                WindowUsage { usage, alerted: window.alerted }
            }
        }
    }

    pub(super) fn repeats(&self) -> &Repeats {
        &self.repeats
    }

    /// At what time a rolling counter stands; one that has counted nothing has none.
    pub(super) fn reached(&self, counter: i64) -> i64 {
        self.rolling.get(&counter).map_or(i64::MIN, Rolling::reached)
    }

    /// When a rolling counter has room, if nothing else happens.
    pub(super) fn room_at(&self, counter: i64, caps: &Caps, need: Usage) -> Option<i64> {
        self.rolling.get(&counter)?.room_at(caps, need)
    }

    /// An open call, of whichever process.
    pub fn open(&self, seq: i64) -> Option<&Grant> {
        self.open.get(&seq)
    }

    /// The decisions of all open calls, or of one process's.
    pub fn open_seqs(&self, owner: Option<i64>) -> Vec<i64> {
        let of = |grant: &&Grant| owner.is_none_or(|owner| grant.owner == owner);
        self.open.values().filter(of).map(|grant| grant.seq).collect()
    }

    /// How many calls are open, in all processes.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// All open calls.
    pub fn open_calls(&self) -> impl Iterator<Item = &Grant> {
        self.open.values()
    }

    /// Whether open calls of other processes than `owner` have reserved something here.
    pub(super) fn reserved_by_others(&self, owner: i64, slot: Slot) -> bool {
        self.open.values().any(|grant| grant.owner != owner && slot.counts(grant))
    }

    /// Whether open calls of any process hold tokens or money here.
    pub(super) fn holds(&self, slot: Slot, unit: Unit) -> bool {
        self.open.values().any(|grant| {
            slot.counts(grant)
                && match unit {
                    Unit::Calls => false,
                    Unit::Tokens => grant.tokens > 0,
                    Unit::Cost => grant.cost > 0,
                }
        })
    }
}
