//! A condition after checking: the tree that is evaluated.

use super::{error::At, fact::Fact, function::Function, time::Part, value::Value};
use crate::model::Glob;
use jiff::tz::TimeZone;
use regex_automata::meta::Regex;
use std::sync::Arc;

/// An expression and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) op: Op,
}

/// What an expression does.
#[derive(Debug)]
pub(super) enum Op {
    Const(Constant),
    Fact(Fact),
    Args,
    /// The variable of the loop around it.
    Item,
    /// A member of a JSON object.
    Member(Box<Node>, Box<str>),
    Index(Box<Node>, Box<Node>),
    Has(Box<Node>, Box<str>),
    /// Whether a nullable fact is there.
    HasFact(Fact),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    If(Box<[Node; 3]>),
    Equal(Box<Node>, Box<Node>),
    Unequal(Box<Node>, Box<Node>),
    IsNull(Box<Node>),
    NotNull(Box<Node>),
    Order(Relation, Box<Node>, Box<Node>),
    /// The rank of a level among levels, to be ordered by.
    Rank(Box<Node>),
    In(Box<Node>, Box<Node>),
    OneOf(Box<Node>, Box<[Node]>),
    Calculate(Arithmetic, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    List(Box<[Node]>),
    Call(Function, Box<[Node]>),
    /// `matches` with a pattern compiled at load.
    Matches(Box<Node>, Arc<Regex>),
    /// `glob` with a pattern compiled at load.
    Glob(Box<Node>, Glob),
    /// A part of a timestamp in a time zone.
    PartIn(Box<Node>, Part, TimeZone),
    Loop(Loop, Box<LoopParts>),
}

/// What a loop runs over and does.
#[derive(Debug)]
pub(super) struct LoopParts {
    pub(super) over: Node,
    /// Of `map` with three arguments.
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

/// The macros over lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// `<` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// `+` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// A literal, or what a function gives for literals.
#[derive(Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Number(super::number::Number<'static>),
    Text(Box<str>),
    Bytes(Arc<[u8]>),
    Time(jiff::Timestamp),
    Span(i128),
    Kind(super::kind::Kind),
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(bool) => Value::Bool(*bool),
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes.iter().copied().collect()),
            Self::Time(time) => Value::Time(*time),
            Self::Span(span) => Value::Span(*span),
            Self::Kind(kind) => Value::Kind(*kind),
        }
    }
}
