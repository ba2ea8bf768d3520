//! The tree of a regular expression, and what of it an engine with linear time can run.

use regex_syntax::hir::{ClassUnicode, Hir};
use std::sync::Arc;

/// Characters.
pub(super) type Set = Arc<ClassUnicode>;

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// One character of these.
    Set(Set),
    At(Anchor),
    All(Vec<Self>),
    Any(Vec<Self>),
    /// With the number of its group.
    Group(Box<Self>, usize),
    Repeat {
        part: Box<Self>,
        least: u32,
        most: Option<u32>,
    },
    /// Lookaround.
    Look {
        part: Box<Self>,
        behind: bool,
        negated: bool,
    },
    /// What one of these groups matched; in any case, where the flag says so.
    Back(Vec<usize>, bool),
}

/// A place between characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    End,
    LineStart,
    LineEnd,
    WordEdge,
    NoWordEdge,
}

impl Part {
    /// For an engine that takes linear time, where it can be said there.
    pub(super) fn to_hir(&self) -> Option<Hir> {
        use regex_syntax::hir::{Class, Look, Repetition};
        Some(match self {
            Self::Set(set) => Hir::class(Class::Unicode((**set).clone())),
            Self::At(Anchor::Start) => Hir::look(Look::Start),
            Self::At(Anchor::End) => Hir::look(Look::End),
            Self::At(Anchor::WordEdge) => Hir::look(Look::WordAscii),
            Self::At(Anchor::LineStart | Anchor::LineEnd | Anchor::NoWordEdge) => return None,
            Self::All(parts) => Hir::concat(parts.iter().map(Self::to_hir).collect::<Option<_>>()?),
            Self::Any(parts) => Hir::alternation(parts.iter().map(Self::to_hir).collect::<Option<_>>()?),
            // What a group matched is nobody's business here.
            Self::Group(part, _) => part.to_hir()?,
            Self::Repeat { part, least, most } => Hir::repetition(Repetition {
                min: *least,
                max: *most,
                greedy: true,
                sub: Box::new(part.to_hir()?),
            }),
            Self::Look { .. } | Self::Back(..) => return None,
        })
    }

    /// States that an automaton over bytes takes, roughly.
    pub(super) fn states(&self) -> u64 {
        match self {
            Self::Set(set) => 1 + set.ranges().len() as u64 * 2,
            Self::At(_) | Self::Back(..) => 1,
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().fold(1, |sum, part| sum.saturating_add(part.states()))
            }
            Self::Group(part, _) | Self::Look { part, .. } => part.states().saturating_add(2),
            Self::Repeat { part, least, most } => {
                let copies = u64::from(most.unwrap_or(*least)).max(1);
                part.states().saturating_add(1).saturating_mul(copies)
            }
        }
    }
}
