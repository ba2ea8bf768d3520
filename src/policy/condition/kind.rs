//! The kinds of values, and what can be wrong with one.

/// What kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Double,
    Text,
    Bytes,
    Time,
    Span,
    List,
    Map,
    Type,
}

impl Kind {
    /// For people.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int | Self::Double => "a number",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Time => "a timestamp",
            Self::Span => "a duration",
            Self::List => "a list",
            Self::Map => "an object",
            Self::Type => "a type",
        }
    }
}

/// What went wrong. Holds no value of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Missing,
    Unlike(Kind, Kind),
    Needs(&'static str, Kind),
    Invalid(&'static str),
    NoWorkflow,
    /// The call is for nobody.
    NoUser,
    Range,
    Calculation,
    TooLong,
    TooCostly,
    /// The record has a mask in place of it.
    Masked,
}
