//! What can be asked for, and within which bounds.

use jiff::Timestamp;

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

/// Rows of workflows stand apart: where each run of an agent has an id of its own, hardly two calls would share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// By agent, tool, upstream and decision.
    Callers,
    /// By workflow and decision.
    Workflows,
}

impl Facet {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Callers, Self::Workflows];
}

/// Minutes since 1970, from one on up to another that is not among them, in rows of so many minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        Ok(Self { measure, by, first, points, step, groups, waiting: Vec::new() })
    }

    /// The rows that it needs: the longest that fit its step.
    pub fn span(&self) -> Span {
        let step = self.step.minutes;
        let level = LEVELS.into_iter().rev().find(|level| step % level == 0).unwrap_or(1);
        let facet = match self.by {
            By::Workflow => Facet::Workflows,
            By::None | By::Agent | By::Tool | By::Upstream | By::Decision => Facet::Callers,
        };
        let end = self.first.saturating_add(self.points.saturating_mul(step));
        Span { facet, first: self.first, end, level }
    }
}

/// The agents and tools of some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixAsk {
    /// The first minute.
    pub first: i64,
    /// The first minute that is not among them.
    pub end: i64,
}

impl MatrixAsk {
    /// The rows that it needs: coarser ones for a longer time, which it begins with whole.
    pub fn span(&self) -> Span {
        let level = match self.end - self.first {
            ..=360 => 1,
            361..=4_320 => 10,
            4_321..=64_800 => 60,
            _ => 1_440,
        };
        let first = self.first - self.first.rem_euclid(level);
        Span { facet: Facet::Callers, first, end: self.end, level }
    }
}
