//! The functions of conditions: which there are, what they take, and what they do.

use super::{
    kind::{Kind, What},
    number::Number,
    time::{self, Part},
    types::Type,
    value::Value,
};
use crate::model::{self, Glob, UriError};
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// A function with one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Glob,
    Within,
    Host,
    Int,
    Uint,
    Double,
    Text,
    Bool,
    Bytes,
    Timestamp,
    Duration,
    TypeOf,
    Dyn,
    /// A part of a timestamp in UTC, or of a duration.
    Part(Part),
}

/// What a parameter takes; arguments of the call are checked at run time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Param {
    Text,
    Sized,
    Moment,
    /// A scalar that can be converted.
    Scalar,
    Any,
}

impl Param {
    pub(super) fn takes(self, given: &Type) -> bool {
        match (self, given.present()) {
            (_, Type::Record(_)) => false,
            (Self::Any, _) | (_, Type::Dyn) => true,
            (Self::Text, Type::Text) => true,
            (Self::Sized, Type::Text | Type::Bytes | Type::List(_)) => true,
            (Self::Moment, Type::Time | Type::Span) => true,
            (
                Self::Scalar,
                Type::Bool | Type::Number | Type::Text | Type::Bytes | Type::Time | Type::Span,
            ) => true,
            (Self::Text | Self::Sized | Self::Moment | Self::Scalar, _) => false,
        }
    }

    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Sized => "text, bytes, a list or an object",
            Self::Moment => "a timestamp or a duration",
            Self::Scalar => "text, a number, true or false, bytes, a timestamp or a duration",
            Self::Any => "a value",
        }
    }
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x)`
    Global,
    /// `x.f()`
    Member,
    /// Either.
    Both,
}

/// One function as declared.
pub(super) struct Signature {
    pub(super) function: Function,
    pub(super) style: Style,
    /// The receiver first.
    pub(super) params: &'static [Param],
    pub(super) result: Type,
    /// For messages.
    pub(super) usage: &'static str,
}

/// All names, for messages.
pub(super) const FUNCTIONS: &str = "one of size, contains, startsWith, endsWith, matches, glob, within, host, \
     int, uint, double, string, bool, bytes, type, dyn, timestamp, duration, getFullYear, getMonth, getDate, \
     getDayOfMonth, getDayOfWeek, getDayOfYear, getHours, getMinutes, getSeconds, getMilliseconds, has, all, \
     exists, exists_one, map, filter";

/// The function of that name. `matches` is the checker's own, for it takes a literal.
pub(super) fn find(name: &str) -> Option<Signature> {
    use Param::{Any, Moment, Scalar, Sized, Text};
    use Style::{Both, Global, Member};
    let make =
        |function, style, params, result, usage| Some(Signature { function, style, params, result, usage });
    if let Some(part) = Part::parse(name) {
        return make(
            Function::Part(part),
            Member,
            &[Moment],
            Type::Number,
            "`now.getHours()`, or `now.getHours('Europe/Berlin')` in a time zone",
        );
    }
    match name {
        "size" => make(Function::Size, Both, &[Sized], Type::Number, "`size(x)`"),
        "contains" => make(Function::Contains, Member, &[Text, Text], Type::Bool, "`text.contains(part)`"),
        "startsWith" => {
            make(Function::StartsWith, Member, &[Text, Text], Type::Bool, "`text.startsWith(part)`")
        }
        "endsWith" => make(Function::EndsWith, Member, &[Text, Text], Type::Bool, "`text.endsWith(part)`"),
        "glob" => make(Function::Glob, Global, &[Text, Text], Type::Bool, "`glob(text, pattern)`"),
        "within" => make(Function::Within, Global, &[Text, Text], Type::Bool, "`within(path, root)`"),
        "host" => make(Function::Host, Global, &[Text], Type::Text, "`host(url)`"),
        "int" => make(Function::Int, Global, &[Scalar], Type::Number, "`int(x)`"),
        "uint" => make(Function::Uint, Global, &[Scalar], Type::Number, "`uint(x)`"),
        "double" => make(Function::Double, Global, &[Scalar], Type::Number, "`double(x)`"),
        "string" => make(Function::Text, Global, &[Scalar], Type::Text, "`string(x)`"),
        "bool" => make(Function::Bool, Global, &[Scalar], Type::Bool, "`bool(x)`"),
        "bytes" => make(Function::Bytes, Global, &[Scalar], Type::Bytes, "`bytes(x)`"),
        "timestamp" => {
            make(Function::Timestamp, Global, &[Scalar], Type::Time, "`timestamp('2026-01-31T08:00:00Z')`")
        }
        "duration" => make(Function::Duration, Global, &[Scalar], Type::Span, "`duration('1h30m')`"),
        "type" => make(Function::TypeOf, Global, &[Any], Type::Kind, "`type(x)`"),
        "dyn" => make(Function::Dyn, Global, &[Any], Type::Dyn, "`dyn(x)`"),
        _ => None,
    }
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, What> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(What::Needs("text", other.kind())),
    }
}

impl Function {
    /// How much work a call is, beyond the one step that every call is.
    pub(super) fn weight(self, args: &[Value<'_>]) -> usize {
        let total = || args.iter().map(Value::weight).sum::<usize>();
        match self {
            Self::Glob => match args {
                [_, Value::Text(pattern)] => {
                    total().saturating_mul(2 + 2 * pattern.bytes().filter(|b| *b == b'*').count())
                }
                _ => total(),
            },
            Self::Within | Self::Host => total().saturating_mul(32),
            Self::Size => match args {
                [Value::Text(_)] => total(),
                _ => 0,
            },
            Self::Contains
            | Self::StartsWith
            | Self::EndsWith
            | Self::Int
            | Self::Uint
            | Self::Double
            | Self::Text
            | Self::Bool
            | Self::Bytes
            | Self::Timestamp
            | Self::Duration => total(),
            Self::TypeOf | Self::Dyn | Self::Part(_) => 0,
        }
    }

    /// Calls it. The error names the argument by position.
    pub(super) fn call<'a>(self, args: &[Value<'a>]) -> Result<Value<'a>, (usize, What)> {
        let one = args.first().ok_or((0, What::Missing))?;
        let first = |result: Result<Value<'a>, What>| result.map_err(|what| (0, what));
        let both = || -> Result<(&str, &str), (usize, What)> {
            let two = args.get(1).ok_or((1, What::Missing))?;
            Ok((text(one).map_err(|what| (0, what))?, text(two).map_err(|what| (1, what))?))
        };
        match self {
            Self::Size => first(size(one)),
            Self::Contains => both().map(|(a, b)| Value::Bool(a.contains(b))),
            Self::StartsWith => both().map(|(a, b)| Value::Bool(a.starts_with(b))),
            Self::EndsWith => both().map(|(a, b)| Value::Bool(a.ends_with(b))),
            Self::Glob => {
                let (text, pattern) = both()?;
                let glob = Glob::parse(pattern).map_err(|_| (1, What::Invalid("a glob")))?;
                Ok(Value::Bool(glob.matches(text)))
            }
            Self::Within => {
                let (path, root) = both()?;
                let inside = model::within(path, root).map_err(|_| (0, What::Invalid(ONE_PATH)))?;
                Ok(Value::Bool(inside))
            }
            Self::Host => first(text(one).and_then(host)),
            Self::Int => first(whole(one).map(Value::Number)),
            Self::Uint => first(whole(one).and_then(|number| match number {
                Number::Whole(whole) if whole >= 0 => Ok(Value::Number(number)),
                _ => Err(What::Range),
            })),
            Self::Double => first(double(one)),
            Self::Text => first(string(one)),
            Self::Bool => first(match one {
                Value::Bool(bool) => Ok(Value::Bool(*bool)),
                Value::Text(text) if text == "true" => Ok(Value::Bool(true)),
                Value::Text(text) if text == "false" => Ok(Value::Bool(false)),
                Value::Text(_) => Err(What::Invalid("`true` or `false`")),
                other => Err(What::Needs("text", other.kind())),
            }),
            Self::Bytes => first(match one {
                Value::Bytes(_) => Ok(one.clone()),
                Value::Text(text) => Ok(Value::Bytes(text.as_bytes().into())),
                other => Err(What::Needs("text", other.kind())),
            }),
            Self::Timestamp => first(match one {
                Value::Time(_) => Ok(one.clone()),
                Value::Text(text) => time::timestamp(text).map(Value::Time),
                Value::Number(Number::Whole(seconds)) => time::from_seconds(*seconds).map(Value::Time),
                other => Err(What::Needs("text", other.kind())),
            }),
            Self::Duration => first(match one {
                Value::Span(_) => Ok(one.clone()),
                Value::Text(text) => time::duration(text).map(Value::Span),
                other => Err(What::Needs("text", other.kind())),
            }),
            Self::TypeOf => Ok(Value::Kind(one.kind())),
            Self::Dyn => Ok(one.clone()),
            Self::Part(part) => first(match one {
                Value::Time(time) => Ok(Value::Number(Number::Whole(part.of_time(*time, &TimeZone::UTC)))),
                Value::Span(span) => part.of_span(*span).map(|n| Value::Number(Number::Whole(n))),
                other => Err(What::Needs("a timestamp", other.kind())),
            }),
        }
    }
}

fn size<'a>(value: &Value<'a>) -> Result<Value<'a>, What> {
    match value {
        Value::Text(text) => Ok(Value::count(text.chars().count())),
        Value::Bytes(bytes) => Ok(Value::count(bytes.len())),
        Value::List(list) => Ok(Value::count(list.len())),
        Value::Map(map) => Ok(Value::count(map.len())),
        other => Err(What::Needs("text, a list or an object", other.kind())),
    }
}

/// What a path and a URL must be so that a rule about them holds, whoever reads them.
const ONE_PATH: &str = "a path that all parsers read alike";
const ONE_URL: &str = "a URL that all parsers read alike";

fn host<'a>(text: &str) -> Result<Value<'a>, What> {
    let wrong = |error: UriError| match error.has_no_host() {
        true => What::Invalid("a URL with a host"),
        false => What::Invalid(ONE_URL),
    };
    model::host(text).map(|host| Value::Text(Cow::Owned(host))).map_err(wrong)
}

fn whole(value: &Value<'_>) -> Result<Number<'static>, What> {
    match value {
        Value::Number(number) => number.truncated().map(Number::Whole).ok_or(What::Range),
        Value::Text(text) => match Number::parse(text) {
            Some(Number::Whole(whole)) => Ok(Number::Whole(whole)),
            _ => Err(What::Invalid("a whole number")),
        },
        Value::Time(time) => Ok(Number::Whole(i128::from(time.as_second()))),
        other => Err(What::Needs("a number or text", other.kind())),
    }
}

fn double<'a>(value: &Value<'a>) -> Result<Value<'a>, What> {
    match value {
        Value::Number(number) => Ok(Value::Number(number.as_decimal())),
        Value::Text(text) => match Number::parse(text).map(Number::as_decimal) {
            Some(Number::Decimal { digits, scale }) => Ok(Value::Number(Number::Decimal { digits, scale })),
            _ => Err(What::Invalid("a number")),
        },
        other => Err(What::Needs("a number or text", other.kind())),
    }
}

fn string<'a>(value: &Value<'a>) -> Result<Value<'a>, What> {
    let text = match value {
        Value::Text(_) => return Ok(value.clone()),
        Value::Number(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Span(nanos) => {
            let seconds = Number::Decimal { digits: *nanos, scale: 9 };
            format!("{seconds}s")
        }
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(What::Invalid("UTF-8")),
        },
        other => return Err(What::Needs("a number, text, or true or false", other.kind())),
    };
    Ok(Value::Text(Cow::Owned(text)))
}

/// The type that a name in `type(x) == name` stands for.
pub(super) fn type_name(name: &str) -> Option<Kind> {
    Some(match name {
        "int" => Kind::Int,
        "double" => Kind::Double,
        "string" => Kind::Text,
        "bool" => Kind::Bool,
        "bytes" => Kind::Bytes,
        "list" => Kind::List,
        "map" => Kind::Map,
        "null_type" => Kind::Null,
        _ => return None,
    })
}
