//! Loops beside identical calls: a tool that fails again and again, calls that take turns, calls that are nearly the same,
//! and floods. What is counted follows from effects, like everything else here, so that it is the same in every process.

use super::{
    effect::LoopMark,
    repeats::{Repeats, repeat_key},
};
use crate::{
    model::Digest,
    policy::{LoopKind, LoopRule, LoopRules},
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Calls of one agent that are remembered for taking turns: as many as the longest rule needs.
const TRAIL: usize = 128;
/// Failures of one agent and tool that are remembered.
const FAILURES: usize = 128;
/// Agents, and agents with tools, that are remembered; beyond them those that were heard of least lately go.
const MOST: usize = 20_000;
const SECOND: i64 = 1_000_000;

/// What a bundle looks for, and the call's shape where it looks for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoopWatch {
    /// The rules.
    pub rules: LoopRules,
    /// The digest of [`super::shape`], where there is a rule about that.
    pub shape: Option<Digest>,
}

/// One rule with what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopCheck {
    /// What kind of loop.
    pub kind: LoopKind,
    /// What is let through.
    pub rule: LoopRule,
    mark: LoopMark,
    /// It is the workflow's and not the agent's.
    pub of_workflow: bool,
}

/// A rule with what it stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopSeen {
    /// The rule.
    pub check: LoopCheck,
    /// In the unit of the rule.
    pub seen: u32,
    /// When one more is let through, if nothing else happens, in microseconds.
    pub room_at: Option<i64>,
}

impl LoopSeen {
    /// Whether one more is a loop.
    pub fn is_full(&self) -> bool {
        self.seen >= self.check.rule.count
    }
}

impl LoopWatch {
    /// What a call is held against, in the order in which it is told.
    pub fn checks(&self, agent: &str, workflow: Option<&str>, tool: &str, digest: &Digest) -> Vec<LoopCheck> {
        let LoopRules { errors, alternating, similar, fan_out } = self.rules;
        let key = |parts: &[&str]| repeat_key(agent, &parts.join("\0"));
        let mut checks = Vec::new();
        let mut add = |kind, rule: Option<LoopRule>, mark: &dyn Fn(LoopRule) -> LoopMark, of_workflow| {
            checks.extend(rule.map(|rule| LoopCheck { kind, rule, mark: mark(rule), of_workflow }));
        };
        let errors_key = key(&["errors", tool]);
        add(LoopKind::Errors, errors, &|_| LoopMark::Watched { errors: errors_key }, false);
        let (trail, call) = (key(&["turns"]), repeat_key(agent, digest));
        add(LoopKind::Alternating, alternating, &|_| LoopMark::Turn { agent: trail, call }, false);
        if let Some(shape) = &self.shape {
            let key = key(&["similar", tool, shape]);
            add(
                LoopKind::Similar,
                similar,
                &|rule| LoopMark::Counted { key, window_s: rule.window_s },
                false,
            );
        }
        let of_agent = key(&["fan_out"]);
        add(
            LoopKind::FanOut,
            fan_out,
            &|rule| LoopMark::Counted { key: of_agent, window_s: rule.window_s },
            false,
        );
        if let Some(workflow) = workflow {
            let key = repeat_key("workflow", &["fan_out", workflow].join("\0"));
            add(LoopKind::FanOut, fan_out, &|rule| LoopMark::Counted { key, window_s: rule.window_s }, true);
        }
        checks
    }
}

impl LoopCheck {
    /// That of identical calls, which has the last 60 s.
    pub(super) fn identical(key: i64, max: u32) -> Self {
        let rule = LoopRule { count: max, window_s: 60 };
        Self {
            kind: LoopKind::Identical,
            rule,
            mark: LoopMark::Counted { key, window_s: 60 },
            of_workflow: false,
        }
    }

    /// What is written where the call is granted.
    pub(super) fn mark(&self) -> LoopMark {
        self.mark
    }

    /// What the agent does, and what would help: one plain sentence.
    pub fn sentence(&self, agent: &str, tool: &str, seen: u32) -> String {
        let LoopRule { count, window_s } = self.rule;
        match self.kind {
            LoopKind::Identical => identical(seen, count),
            LoopKind::Errors => format!(
                "`{tool}` has failed {seen} times in a row within {window_s} s: it looks like a loop, so read its last \
                 error and change the arguments, or go on without this tool"
            ),
            LoopKind::Alternating => format!(
                "nothing but the same two or three calls was made within {window_s} s, about {seen} times each: it looks like a \
                 loop, so use what they have answered, or do something else first"
            ),
            LoopKind::Similar => format!(
                "`{tool}` was called {seen} times within {window_s} s with nearly the same arguments, and {count} are let \
                 through: it looks like a loop, so ask for more at once, or change what you look for"
            ),
            LoopKind::FanOut => {
                let who = if self.of_workflow { "the workflow" } else { agent };
                format!(
                    "{} made {seen} calls within {window_s} s, and {count} are let through: make fewer calls at a time",
                    if self.of_workflow { who.to_owned() } else { format!("`{who}`") }
                )
            }
        }
    }
}

/// The sentence about identical calls.
pub fn identical(seen: impl std::fmt::Display, max: u32) -> String {
    format!(
        "the same call was made {seen} times in the last 60 s, and {max} are let through: it looks like a loop, so use the \
         answer that you have, or change the arguments"
    )
}

/// What all of these rules are judged by.
#[derive(Clone, Debug, Default)]
pub(super) struct Loops {
    /// By window, in seconds.
    counted: BTreeMap<u32, Repeats>,
    trails: HashMap<i64, VecDeque<(i64, i64)>>,
    failing: HashMap<i64, VecDeque<i64>>,
    /// When each alert was given, and how long it holds.
    alerted: HashMap<i64, (i64, i64)>,
}

impl Loops {
    pub(super) fn advance(&mut self, checks: &[LoopCheck], now: i64) {
        for check in checks {
            if let LoopMark::Counted { window_s, .. } = check.mark {
                self.over(window_s).advance(now);
            }
        }
    }

    fn over(&mut self, window_s: u32) -> &mut Repeats {
        self.counted.entry(window_s).or_insert_with(|| Repeats::over(i64::from(window_s) * SECOND))
    }

    pub(super) fn apply(&mut self, mark: LoopMark, at: i64) {
        match mark {
            LoopMark::Counted { key, window_s } => self.over(window_s).push(at, key),
            LoopMark::Turn { agent, call } => {
                bound(&mut self.trails, |trail| trail.back().map_or(0, |(at, _)| *at));
                let trail = self.trails.entry(agent).or_default();
                if trail.len() >= TRAIL {
                    trail.pop_front();
                }
                trail.push_back((at, call));
            }
            LoopMark::Watched { .. } => {}
        }
    }

    pub(super) fn failed(&mut self, key: i64, at: i64) {
        bound(&mut self.failing, |times| times.back().copied().unwrap_or(0));
        let times = self.failing.entry(key).or_default();
        if times.len() >= FAILURES {
            times.pop_front();
        }
        times.push_back(at);
    }

    pub(super) fn worked(&mut self, key: i64) {
        self.failing.remove(&key);
    }

    pub(super) fn is_failing(&self, key: i64) -> bool {
        self.failing.contains_key(&key)
    }

    pub(super) fn alerted(&mut self, key: i64, at: i64, window: i64) {
        bound(&mut self.alerted, |(at, _)| *at);
        self.alerted.insert(key, (at, window));
    }

    pub(super) fn has_alerted(&self, key: i64, now: i64) -> bool {
        self.alerted.get(&key).is_some_and(|(at, window)| at.saturating_add(*window) > now)
    }

    pub(super) fn seen(&self, check: LoopCheck, now: i64) -> LoopSeen {
        let LoopRule { count, window_s } = check.rule;
        let since = now.saturating_sub(i64::from(window_s) * SECOND);
        let leaves = |at: i64| at.saturating_add(i64::from(window_s) * SECOND);
        let (seen, room_at) = match check.mark {
            LoopMark::Counted { key, .. } => {
                let counted = self.counted.get(&window_s);
                let seen = counted.map_or(0, |counted| counted.count(key));
                (seen, counted.and_then(|counted| counted.room_at(key, count.saturating_sub(1))))
            }
            LoopMark::Turn { agent, call } => {
                let trail = self.trails.get(&agent);
                turns(trail, call, since, count).map_or((0, None), |at| (count, Some(leaves(at))))
            }
            LoopMark::Watched { errors } => {
                let times: Vec<i64> = self
                    .failing
                    .get(&errors)
                    .into_iter()
                    .flatten()
                    .copied()
                    .filter(|at| *at > since)
                    .collect();
                let seen = u32::try_from(times.len()).unwrap_or(u32::MAX);
                let first =
                    usize::try_from(seen.saturating_sub(count)).ok().and_then(|first| times.get(first));
                (seen, first.map(|at| leaves(*at)))
            }
        };
        LoopSeen { check, seen, room_at }
    }

    /// Forgets what no rule can count any more.
    pub(super) fn forget(&mut self, now: i64) {
        let old = now.saturating_sub(600 * SECOND);
        self.counted.values_mut().for_each(|counted| {
            counted.advance(now);
        });
        self.counted.retain(|_, counted| !counted.is_empty());
        self.trails.retain(|_, trail| trail.back().is_some_and(|(at, _)| *at > old));
        self.failing.retain(|_, times| times.back().is_some_and(|at| *at > old));
        self.alerted.retain(|_, (at, window)| at.saturating_add(*window) > now);
    }
}

/// Makes room for one more: the half that was heard of least lately goes.
fn bound<T>(map: &mut HashMap<i64, T>, at: impl Fn(&T) -> i64) {
    if map.len() >= MOST {
        let mut times: Vec<i64> = map.values().map(&at).collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or(i64::MAX);
        map.retain(|_, entry| at(entry) > middle);
    }
}

/// When the round began that has to leave the window first, where the newest calls since then are `rounds` rounds of two or
/// three calls of which this is one, and no others. Which of them comes when does not matter, and a call that was refused
/// in between breaks nothing.
fn turns(trail: Option<&VecDeque<(i64, i64)>>, call: i64, since: i64, rounds: u32) -> Option<i64> {
    let trail = trail?;
    let rounds = usize::try_from(rounds).ok()?;
    (2..=3usize).find_map(|calls| {
        let long = rounds * calls;
        let newest = trail.iter().rev().take(long);
        let mut times: Vec<(i64, usize)> = Vec::with_capacity(calls + 1);
        let (mut first, mut length) = (i64::MAX, 0);
        for (at, key) in newest.take_while(|(at, _)| *at > since) {
            match times.iter().position(|(known, _)| known == key).and_then(|place| times.get_mut(place)) {
                Some((_, times)) => *times += 1,
                None => times.push((*key, 1)),
            }
            if times.len() > calls {
                return None;
            }
            (first, length) = (*at, length + 1);
        }
        let fair = times.len() == calls && times.iter().all(|(_, times)| times * 2 >= rounds);
        let is_one = times.iter().any(|(known, _)| *known == call);
        (length == long && fair && is_one).then_some(first)
    })
}
