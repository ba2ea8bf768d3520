//! `loop` of bundle.yaml: what is a loop beside identical calls. All of it is off unless the bundle says so: some programs
//! page, poll and fan out for good reasons, and nobody but the admin knows which.

use super::{
    read::{count, duration, fields},
    source::{Node, Report},
};
use std::{fmt, time::Duration};

/// The longest window; what is counted in it is kept in memory.
const LONGEST: Duration = Duration::from_secs(600);
/// The most rounds of calls that take turns.
const MOST_ROUNDS: u64 = 40;
/// The most failures in a row.
const MOST_FAILURES: u64 = 100;
/// The most calls of a kind that is counted.
const MOST_CALLS: u64 = 1_000_000;

const KEYS: &[&str] = &["max_repeats", "similar", "alternating", "errors", "fan_out"];

/// A kind of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoopKind {
    /// The same call again and again.
    Identical,
    /// The same tool fails again and again.
    Errors,
    /// Two or three calls take turns.
    Alternating,
    /// Calls of one tool whose arguments differ in a number, in spaces or far behind only.
    Similar,
    /// Very many calls of one agent or workflow.
    FanOut,
}

impl LoopKind {
    /// Its word in bundle.yaml, in records and alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Errors => "errors",
            Self::Alternating => "alternating",
            Self::Similar => "similar",
            Self::FanOut => "fan_out",
        }
    }
}

impl fmt::Display for LoopKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many of a kind are let through in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopRule {
    /// So many are let through: calls, failures, or rounds of calls that take turns.
    pub count: u32,
    /// In so many seconds.
    pub window_s: u32,
}

/// What is a loop beside identical calls. None: it is not looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopRules {
    /// Failures of one tool in a row.
    pub errors: Option<LoopRule>,
    /// Rounds of two or three calls that take turns.
    pub alternating: Option<LoopRule>,
    /// Calls that are nearly the same.
    pub similar: Option<LoopRule>,
    /// Calls of an agent, and of a workflow.
    pub fan_out: Option<LoopRule>,
}

/// The limit on identical calls, where bundle.yaml has one, and the rules.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> (Option<u64>, LoopRules) {
    let Some(map) = fields(node, "loop", KEYS, report) else { return (None, LoopRules::default()) };
    let max_repeats = map.read("max_repeats", report, count(1, u64::from(u32::MAX)));
    let mut rule = |key: &str, most: u64| {
        let map = fields(map.get(key)?, key, &["count", "window"], report)?;
        let at = map.required("count", "how many are let through", report)?;
        let count = count(2, most)(at, "count", report)?;
        let window = match map.get("window") {
            Some(node) => duration(Duration::from_secs(1), LONGEST)(node, "window", report)?,
            None => Duration::from_secs(60),
        };
        Some(LoopRule {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            window_s: u32::try_from(window.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX),
        })
    };
    let rules = LoopRules {
        errors: rule("errors", MOST_FAILURES),
        alternating: rule("alternating", MOST_ROUNDS),
        similar: rule("similar", MOST_CALLS),
        fan_out: rule("fan_out", MOST_CALLS),
    };
    (max_repeats, rules)
}
