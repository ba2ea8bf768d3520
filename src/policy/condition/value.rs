//! What an expression evaluates to: borrowed from the facts wherever possible.

use super::{
    kind::{Kind, What},
    number::Number,
};
use crate::model::MicroUsd;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use std::{borrow::Cow, cmp::Ordering, rc::Rc, sync::Arc};

/// The value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// JSON null.
    Null,
    /// A declared fact that the call does not have.
    Absent,
    /// A nullable record that the call has; only its presence can be asked.
    Present,
    Bool(bool),
    Number(Number<'a>),
    Text(Cow<'a, str>),
    Bytes(Rc<[u8]>),
    Time(Timestamp),
    /// A duration, in nanoseconds.
    Span(i128),
    List(List<'a>),
    Map(&'a Map<String, Json>),
    Kind(Kind),
}

/// A list, wherever its elements are.
#[derive(Clone, Debug)]
pub(super) enum List<'a> {
    Json(&'a [Json]),
    Names(&'a [Arc<str>]),
    Made(Rc<[Value<'a>]>),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Number(Number::Whole(i128::try_from(count).unwrap_or(i128::MAX)))
    }

    pub(super) fn money(amount: MicroUsd) -> Self {
        Self::Number(Number::Decimal { digits: i128::from(amount.0), scale: 6 })
    }

    /// A part of the arguments.
    pub(super) fn json(json: &'a Json) -> Result<Self, What> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(bool) => Self::Bool(*bool),
            Json::Number(number) => Self::Number(Number::parse(number.as_str()).ok_or(What::Range)?),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(map) => Self::Map(map),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Null | Self::Absent => Kind::Null,
            Self::Present | Self::Map(_) => Kind::Map,
            Self::Bool(_) => Kind::Bool,
            Self::Number(Number::Whole(_)) => Kind::Int,
            Self::Number(Number::Decimal { .. } | Number::Wide(_)) => Kind::Double,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
            Self::Time(_) => Kind::Time,
            Self::Span(_) => Kind::Span,
            Self::List(_) => Kind::List,
            Self::Kind(_) => Kind::Type,
        }
    }

    /// Strict equality: unlike types are an error, never false, so that no rule passes over a
    /// call because an agent chose another type. Only a declared fact that is absent differs
    /// from every value.
    pub(super) fn same(&self, other: &Value<'_>) -> Result<bool, What> {
        Ok(match (self, other) {
            (Value::Null | Value::Absent, Value::Null | Value::Absent) => true,
            (Value::Absent, _) | (_, Value::Absent) => false,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a.order(*b).ok_or(What::Range)? == Ordering::Equal,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Span(a), Value::Span(b)) => a == b,
            (Value::Kind(a), Value::Kind(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                let mut all = true;
                for index in 0..a.len() {
                    if let (Some(a), Some(b)) = (a.get(index), b.get(index)) {
                        all &= a?.same(&b?)?;
                    }
                }
                all
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() || a.keys().any(|key| !b.contains_key(key)) {
                    return Ok(false);
                }
                let mut all = true;
                for (key, mine) in a.iter() {
                    if let Some(theirs) = b.get(key) {
                        all &= Value::json(mine)?.same(&Value::json(theirs)?)?;
                    }
                }
                all
            }
            (a, b) => return Err(What::Unlike(a.kind(), b.kind())),
        })
    }

    /// The order of like values.
    pub(super) fn order(&self, other: &Value<'_>) -> Result<Ordering, What> {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => a.order(*b).ok_or(What::Range),
            (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Ok(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Ok(a.cmp(b)),
            (Value::Span(a), Value::Span(b)) => Ok(a.cmp(b)),
            (a, b) => Err(What::Unlike(a.kind(), b.kind())),
        }
    }

    /// How much there is to look at, for the bound on the cost.
    pub(super) fn weight(&self) -> usize {
        self.weight_within(usize::MAX)
    }

    /// The same where it is less; else not less than `most`. It takes no longer than `most` says.
    fn weight_within(&self, most: usize) -> usize {
        match self {
            Self::Text(text) => text.len() / 32,
            Self::Bytes(bytes) => bytes.len() / 32,
            Self::List(List::Json(items)) => sum_within(items.iter(), most, weight),
            Self::List(List::Names(names)) => names.len(),
            Self::List(List::Made(values)) => sum_within(values.iter(), most, |value, most| {
                // An empty value is looked at, too.
                1 + value.weight_within(most)
            }),
            Self::Map(map) => sum_within(map.iter(), most, member),
            Self::Null
            | Self::Absent
            | Self::Present
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Time(_)
            | Self::Span(_)
            | Self::Kind(_) => 1,
        }
    }

    /// The weight of the lighter of the two, as a comparison ends with it; the heavier is not looked through.
    pub(super) fn lighter(&self, other: &Value<'_>) -> usize {
        let mut most: usize = 64;
        loop {
            let weight = self.weight_within(most).min(other.weight_within(most));
            if weight < most || most == usize::MAX {
                return weight;
            }
            most = most.saturating_mul(8);
        }
    }
}

/// A sum that ends where it is not less than `most`.
fn sum_within<T>(items: impl Iterator<Item = T>, most: usize, weight: impl Fn(T, usize) -> usize) -> usize {
    let mut sum: usize = 0;
    for item in items {
        if sum >= most {
            break;
        }
        sum = sum.saturating_add(weight(item, most - sum));
    }
    sum
}

fn member((key, value): (&String, &Json), most: usize) -> usize {
    (key.len() / 32).saturating_add(weight(value, most))
}

fn weight(json: &Json, most: usize) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
        Json::String(text) => 1 + text.len() / 32,
        Json::Array(items) => sum_within(items.iter(), most, weight).saturating_add(1),
        Json::Object(map) => sum_within(map.iter(), most, member).saturating_add(1),
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Names(names) => names.len(),
            Self::Made(values) => values.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Result<Value<'a>, What>> {
        match self {
            Self::Json(items) => items.get(index).map(Value::json),
            Self::Names(names) => names.get(index).map(|name| Ok(Value::text(name))),
            Self::Made(values) => values.get(index).cloned().map(Ok),
        }
    }
}
