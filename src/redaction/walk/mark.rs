//! Marks: the places that pointers, names of fields and allowances name, as they are carried down through a value.

use crate::redaction::{
    detector::Kind,
    rules::{Allow, Rule},
};

/// Why a place is marked.
#[derive(Clone, Copy)]
pub(super) enum Mark<'r> {
    /// By a pointer: whatever is there.
    Place(Kind),
    /// By a rule's pointer.
    Rule(&'r Rule),
    /// By its field's name: every text and number below.
    Field(Kind),
    /// Everything at and below is allowed.
    Allow(&'r Allow),
}

impl Mark<'_> {
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Place(kind) | Self::Field(kind) => Some(*kind),
            Self::Rule(_) => Some(Kind::POINTER),
            Self::Allow(_) => None,
        }
    }
}

/// A mark and the tokens that are still to be walked; none left: it is here.
#[derive(Clone, Copy)]
pub(super) struct Active<'r> {
    pub(super) tokens: &'r [String],
    pub(super) mark: Mark<'r>,
}

#[derive(Clone, Copy)]
pub(super) enum Token<'t> {
    Name(&'t str),
    Index(usize),
}

impl Token<'_> {
    pub(super) fn is(self, token: &str) -> bool {
        token == "*"
            || match self {
                Self::Name(name) => name == token,
                Self::Index(at) => token.parse() == Ok(at),
            }
    }
}

pub(super) fn below<'r>(active: &[Active<'r>], token: Token<'_>) -> Vec<Active<'r>> {
    let mut inner = Vec::new();
    for one in active {
        match one.tokens.split_first() {
            Some((first, tokens)) if token.is(first) => inner.push(Active { tokens, mark: one.mark }),
            Some(_) => {}
            None if matches!(one.mark, Mark::Field(_) | Mark::Allow(_)) => inner.push(*one),
            None => {}
        }
    }
    inner
}
