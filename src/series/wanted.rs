//! What can be asked for, and within which bounds.

use super::{UNKNOWN, seen::kept};
use jiff::Timestamp;
use std::{collections::BTreeSet, sync::Arc};

/// Points of a series, at most.
pub const MOST_POINTS: i64 = 1_000;
/// Groups that are told apart where nobody says, and at most.
pub const USUAL_GROUPS: usize = 8;
/// Groups that are told apart at most.
pub const MOST_GROUPS: usize = 20;

/// Points of a series where nobody says a step, about.
const USUAL_POINTS: i64 = 120;

/// The minute of a time, since 1970.
pub fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// The minutes that a row spans, in each of the resolutions in which rows are kept.
pub const LEVELS: [i64; 4] = [1, 10, 60, 1_440];

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$one_doc:meta])* $one:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$one_doc])* $one,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$one,)*];

            /// The word in a query.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$one => $word,)*
                }
            }

            /// Reads a word.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What is counted.
    Measure {
        /// Calls that were decided, each ask once.
        Calls = "calls",
        /// Decisions, also those after people answered.
        Decisions = "decisions",
        /// Refusals, by policy, by people or by their silence.
        Denies = "denies",
        /// Calls that failed upstream, or of which nobody knows.
        Errors = "errors",
        /// What calls cost.
        SpendUsd = "spend_usd",
        /// Tokens of arguments and results.
        Tokens = "tokens",
        /// Approvals that wait, at the end of each step.
        Pending = "pending",
        /// How long calls took upstream.
        Latency = "latency",
    }
}

words! {
    /// By what the figures are told apart.
    By {
        /// All in one.
        None = "none",
        /// By agent.
        Agent = "agent",
        /// By exposed name of the tool, URI of a resource, name of a prompt.
        Tool = "tool",
        /// By upstream.
        Upstream = "upstream",
        /// By workflow.
        Workflow = "workflow",
        /// By decision.
        Decision = "decision",
    }
}

impl By {
    /// Where its name stands in a row.
    pub(super) fn place(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Agent => Some(0),
            Self::Tool => Some(1),
            Self::Upstream => Some(2),
            Self::Workflow => Some(3),
            Self::Decision => Some(4),
        }
    }
}

impl Measure {
    /// Whether what is counted has a decision of its own.
    pub fn is_decided(self) -> bool {
        match self {
            Self::Calls | Self::Decisions | Self::Denies => true,
            Self::Errors | Self::SpendUsd | Self::Tokens | Self::Pending | Self::Latency => false,
        }
    }

    /// What its figures are in.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Decisions => "decisions",
            Self::Denies => "refusals",
            Self::Errors => "calls",
            Self::SpendUsd => "USD",
            Self::Tokens => "tokens",
            Self::Pending => "approvals",
            Self::Latency => "ms",
        }
    }
}

/// How much time one point spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// As it is written.
    pub word: &'static str,
    /// In minutes.
    pub minutes: i64,
}

impl Step {
    /// All of them, ascending.
    pub const ALL: [Self; 7] = [
        Self { word: "1m", minutes: 1 },
        Self { word: "5m", minutes: 5 },
        Self { word: "10m", minutes: 10 },
        Self { word: "30m", minutes: 30 },
        Self { word: "1h", minutes: 60 },
        Self { word: "6h", minutes: 360 },
        Self { word: "1d", minutes: 1_440 },
    ];

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.word == text)
    }

    /// The shortest that draws so many minutes with at most so many points.
    pub fn fitting(minutes: i64, points: i64) -> Self {
        let [.., longest] = Self::ALL;
        Self::ALL.into_iter().find(|step| minutes / step.minutes <= points).unwrap_or(longest)
    }
}

/// Rows of workflows stand apart: where each run of an agent has an id of its own, hardly two calls would share a row. Those by one
/// name are sums of those by all: a chart reads as many rows as it tells names apart, and not each agent with each tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Facet {
    /// By agent, tool, upstream and decision.
    Callers,
    /// By agent and decision.
    Agents,
    /// By tool, its upstream and decision.
    Tools,
    /// By upstream and decision.
    Upstreams,
    /// By workflow and decision.
    Workflows,
    /// By counter of a budget.
    Budgets,
}

impl Facet {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Callers, Self::Agents, Self::Tools, Self::Upstreams, Self::Workflows, Self::Budgets];

    /// Which of the names of agent, tool, upstream, workflow and decision its rows have, of those of [`Self::Callers`].
    pub(super) fn keeps(self) -> [bool; 5] {
        match self {
            Self::Agents => [true, false, false, false, true],
            Self::Tools => [false, true, true, false, true],
            Self::Upstreams => [false, false, true, false, true],
            Self::Callers | Self::Workflows | Self::Budgets => [true; 5],
        }
    }
}

/// Minutes since 1970, from one on up to another that is not among them, in rows of so many minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which rows.
    pub facet: Facet,
    /// The first.
    pub first: i64,
    /// The first that is not among them.
    pub end: i64,
    /// The minutes of a row, one of [`LEVELS`].
    pub level: i64,
}

impl Span {
    /// Of so many points: the longest rows that fit their step.
    pub(super) fn of(facet: Facet, first: i64, points: i64, step: Step) -> Self {
        let level = LEVELS.into_iter().rev().find(|level| step.minutes % level == 0).unwrap_or(1);
        Self { facet, first, end: first.saturating_add(points.saturating_mul(step.minutes)), level }
    }
}

/// A series that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesAsk {
    /// What is counted.
    pub measure: Measure,
    /// By what.
    pub by: By,
    /// The first minute; a multiple of the step.
    pub first: i64,
    /// How many points, at most [`MOST_POINTS`].
    pub points: i64,
    /// What each spans.
    pub step: Step,
    /// Groups that are told apart, at most [`MOST_GROUPS`].
    pub groups: usize,
    /// For [`Measure::Pending`]: what waits at the end, by name.
    pub waiting: Vec<(String, u64)>,
    /// For [`By::Tool`].
    pub catalog: Catalog,
}

/// The names that can be called. An agent may name anything: what is neither among them nor has an upstream on record counts
/// as [`UNKNOWN`]. Empty: every name counts as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog(Arc<BTreeSet<Box<str>>>);

impl Catalog {
    /// Of these names.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(Arc::new(names.into_iter().map(|name| Box::from(kept(name))).collect()))
    }

    /// The name under which the tool of a row counts; by its names and how many decisions are counted in it.
    pub(super) fn tool<'r>(&self, names: [Option<&'r str>; 5], decided: u64) -> Option<&'r str> {
        let [_, tool, upstream, ..] = names;
        let is_unknown =
            |tool: &str| decided > 0 && upstream.is_none() && !self.0.is_empty() && !self.0.contains(tool);
        tool.map(|tool| if is_unknown(tool) { UNKNOWN } else { tool })
    }
}

/// Why no series is drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// What comes of calls is recorded without their decision.
    #[error("`{0}` is of what came of calls, which have no decision: expected another `by`")]
    Undecided(Measure),
    /// People are asked before anything goes to an upstream.
    #[error("approvals wait for people, not for upstreams: expected another `by`")]
    NoUpstream,
    /// The time ends before it begins.
    #[error("`until` lies before `since`")]
    Backwards,
    /// Too many points.
    #[error("these are {0} points of {1}, and there are at most {MOST_POINTS}: expected a longer `step`")]
    Long(i64, &'static str),
}

impl SeriesAsk {
    /// Of some time, in whole steps; the step fits the time where nobody says one.
    pub fn new(
        (measure, by): (Measure, By),
        (since, until): (Timestamp, Timestamp),
        step: Option<Step>,
        groups: Option<usize>,
    ) -> Result<Self, AskError> {
        if by == By::Decision && !measure.is_decided() {
            return Err(AskError::Undecided(measure));
        }
        if by == By::Upstream && measure == Measure::Pending {
            return Err(AskError::NoUpstream);
        }
        if until < since {
            return Err(AskError::Backwards);
        }
        let (first, last) = (minute_of(since), minute_of(until));
        let step = step.unwrap_or_else(|| Step::fitting(last - first, USUAL_POINTS));
        let first = first - first.rem_euclid(step.minutes);
        let points = (last - first) / step.minutes + 1;
        if points > MOST_POINTS {
            return Err(AskError::Long(points, step.word));
        }
        let groups = groups.unwrap_or(USUAL_GROUPS).clamp(1, MOST_GROUPS);
        let (waiting, catalog) = (Vec::new(), Catalog::default());
        Ok(Self { measure, by, first, points, step, groups, waiting, catalog })
    }

    /// The rows that it needs: the longest that fit its step.
    pub fn span(&self) -> Span {
        let facet = match self.by {
            By::Workflow => Facet::Workflows,
            By::Agent => Facet::Agents,
            By::Tool => Facet::Tools,
            By::None | By::Upstream | By::Decision => Facet::Upstreams,
        };
        Span::of(facet, self.first, self.points, self.step)
    }
}

/// The agents and tools of some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixAsk {
    /// The first minute.
    pub first: i64,
    /// The first minute that is not among them.
    pub end: i64,
    /// What there is to be called.
    pub catalog: Catalog,
}

impl MatrixAsk {
    /// The rows that it needs: the longest that fit, and shorter ones up to where those begin and from where they end.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let (mut first, mut end) = (self.first, self.end);
        let span = |first, end, level| Span { facet: Facet::Callers, first, end, level };
        for (level, next) in LEVELS.into_iter().zip(LEVELS.into_iter().skip(1)) {
            let begin = first + (-first).rem_euclid(next);
            let stop = end - end.rem_euclid(next);
            if begin >= stop {
                spans.push(span(first, end, level));
                return spans;
            }
            spans.push(span(first, begin, level));
            spans.push(span(stop, end, level));
            (first, end) = (begin, stop);
        }
        let [.., longest] = LEVELS;
        spans.push(span(first, end, longest));
        spans.retain(|span| span.first < span.end);
        spans
    }
}
