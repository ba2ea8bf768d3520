//! Timestamps and durations of conditions. Where a `get…` function names a time zone, its rules were read when the
//! condition was compiled: deciding reads nothing but its facts.

use super::kind::What;
use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

const SECOND: i128 = 1_000_000_000;

/// What the `get…` functions give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    /// From 0.
    Month,
    /// Of the month, from 1.
    Date,
    /// From 0.
    DayOfMonth,
    /// Sunday is 0.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "getFullYear" => Self::FullYear,
            "getMonth" => Self::Month,
            "getDate" => Self::Date,
            "getDayOfMonth" => Self::DayOfMonth,
            "getDayOfWeek" => Self::DayOfWeek,
            "getDayOfYear" => Self::DayOfYear,
            "getHours" => Self::Hours,
            "getMinutes" => Self::Minutes,
            "getSeconds" => Self::Seconds,
            "getMilliseconds" => Self::Milliseconds,
            _ => return None,
        })
    }

    /// What the clock there shows.
    pub(super) fn of_time(self, time: Timestamp, zone: &TimeZone) -> i128 {
        let there = zone.to_datetime(time);
        match self {
            Self::FullYear => i128::from(there.year()),
            Self::Month => i128::from(there.month()) - 1,
            Self::Date => i128::from(there.day()),
            Self::DayOfMonth => i128::from(there.day()) - 1,
            Self::DayOfWeek => i128::from(there.weekday().to_sunday_zero_offset()),
            Self::DayOfYear => i128::from(there.day_of_year()) - 1,
            Self::Hours => i128::from(there.hour()),
            Self::Minutes => i128::from(there.minute()),
            Self::Seconds => i128::from(there.second()),
            Self::Milliseconds => i128::from(there.millisecond()),
        }
    }

    /// Of a duration: all of it in that unit, and the thousandths beyond whole seconds.
    pub(super) fn of_span(self, nanos: i128) -> Result<i128, What> {
        match self {
            Self::Hours => Ok(nanos / (3600 * SECOND)),
            Self::Minutes => Ok(nanos / (60 * SECOND)),
            Self::Seconds => Ok(nanos / SECOND),
            Self::Milliseconds => Ok(nanos % SECOND / 1_000_000),
            Self::FullYear
            | Self::Month
            | Self::Date
            | Self::DayOfMonth
            | Self::DayOfWeek
            | Self::DayOfYear => Err(What::Needs("a timestamp", super::kind::Kind::Span)),
        }
    }
}

/// Reads RFC 3339.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, What> {
    let invalid = What::Invalid("a timestamp like `2026-01-31T08:00:00Z`");
    if text.len() > 64 {
        return Err(invalid);
    }
    text.parse().map_err(|_| invalid)
}

/// Seconds since 1970.
pub(super) fn from_seconds(seconds: i128) -> Result<Timestamp, What> {
    i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok()).ok_or(What::Range)
}

/// A time moved by nanoseconds.
pub(super) fn moved(time: Timestamp, nanos: i128) -> Result<Timestamp, What> {
    let sum = time.as_nanosecond().checked_add(nanos).ok_or(What::Range)?;
    Timestamp::from_nanosecond(sum).map_err(|_| What::Range)
}

/// Reads `1h30m`, `-1.5s`, `250ms` and the like; units h, m, s, ms, us, ns.
pub(super) fn duration(text: &str) -> Result<i128, What> {
    read_duration(text).ok_or(What::Invalid("a duration like `1h30m`"))
}

fn read_duration(text: &str) -> Option<i128> {
    if text.len() > 64 {
        return None;
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?)?;
        let (unit, after) = after
            .split_at_checked(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()))?;
        let nanos: i128 = match unit {
            "h" => 3600 * SECOND,
            "m" => 60 * SECOND,
            "s" => SECOND,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let power = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        total =
            total.checked_add(whole.checked_mul(nanos)?)?.checked_add(part.checked_mul(nanos)? / power)?;
        rest = after;
    }
    // Ten thousand years, the range of timestamps, is the longest that means anything.
    (total <= 10_000 * 366 * 86_400 * SECOND).then_some(if negative { -total } else { total })
}

/// Reads `UTC`, `Z` or `±HH:MM`.
pub(in crate::policy) fn offset(text: &str) -> Option<TimeZone> {
    if text == "UTC" || text == "Z" {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))?;
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}
