//! Which calendar window a counter is in, and when that ends. All times are microseconds. Where a budget names no zone, its
//! calendar is UTC's.

use super::rolling::MINUTE;
use crate::cost::{BudgetWindow, BudgetZone};
use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};
use std::borrow::Cow;

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The start of the calendar window that holds `now`; `None` for the rolling one. Each moment is in one window. A window is
/// known by this number: where a zone's clock is changed in the middle of an hour, it may lie before its first moment.
pub fn start_of(window: BudgetWindow, zone: Option<&BudgetZone>, now: i64) -> Option<i64> {
    let Some(zone) = zone else { return utc_start(window, now) };
    match window {
        BudgetWindow::Minute => None,
        BudgetWindow::Ever => Some(0),
        BudgetWindow::Hour => {
            let at = Timestamp::from_microsecond(now).unwrap_or_default();
            let offset = i64::from(zone.rules.to_offset(at).seconds()) * 1_000_000;
            Some((now.saturating_add(offset)).div_euclid(HOUR).saturating_mul(HOUR).saturating_sub(offset))
        }
        BudgetWindow::Day | BudgetWindow::Month => Some(
            dates(window, &zone.rules, now).and_then(|(first, _)| begin(first, &zone.rules)).unwrap_or(0),
        ),
    }
}

fn utc_start(window: BudgetWindow, now: i64) -> Option<i64> {
    match window {
        BudgetWindow::Minute => None,
        BudgetWindow::Hour => Some(now.div_euclid(HOUR) * HOUR),
        BudgetWindow::Day => Some(now.div_euclid(DAY) * DAY),
        BudgetWindow::Month => {
            let utc = &TimeZone::UTC;
            Some(dates(window, utc, now).and_then(|(first, _)| begin(first, utc)).unwrap_or(0))
        }
        BudgetWindow::Ever => Some(0),
    }
}

/// When the calendar window that holds `now` ends; `None` where it never does, or rolls.
pub fn end_of(window: BudgetWindow, zone: Option<&BudgetZone>, now: i64) -> Option<i64> {
    let utc = TimeZone::UTC;
    let rules = zone.map_or(&utc, |zone| &zone.rules);
    match window {
        BudgetWindow::Minute | BudgetWindow::Ever => None,
        BudgetWindow::Hour => {
            let end = start_of(window, zone, now)?.saturating_add(HOUR);
            // A clock that is changed before the hour is over may end it.
            let at = Timestamp::from_microsecond(now).ok()?;
            let changed = rules.following(at).next().map(|change| change.timestamp().as_microsecond());
            let ends = |change: &i64| {
                *change < end && start_of(window, zone, *change) != start_of(window, zone, now)
            };
            Some(changed.filter(ends).unwrap_or(end))
        }
        BudgetWindow::Day | BudgetWindow::Month => begin(dates(window, rules, now)?.1, rules),
    }
}

/// The first date of the window, and that of the next.
fn dates(window: BudgetWindow, rules: &TimeZone, now: i64) -> Option<(Date, Date)> {
    let today = rules.to_datetime(Timestamp::from_microsecond(now).ok()?).date();
    Some(match window {
        BudgetWindow::Month => (today.first_of_month(), today.last_of_month().tomorrow().ok()?),
        BudgetWindow::Minute | BudgetWindow::Hour | BudgetWindow::Day | BudgetWindow::Ever => {
            (today, today.tomorrow().ok()?)
        }
    })
}

/// The first moment of a date: not every day begins at midnight.
fn begin(date: Date, rules: &TimeZone) -> Option<i64> {
    let midnight: Zoned = date.to_zoned(rules.clone()).ok()?;
    let first = midnight.start_of_day().ok()?;
    Some(first.timestamp().as_microsecond())
}

/// No window is longer, whatever its zone; `None` for those that never end, or roll.
pub fn longest(window: BudgetWindow) -> Option<i64> {
    match window {
        BudgetWindow::Minute | BudgetWindow::Ever => None,
        BudgetWindow::Hour => Some(2 * HOUR),
        BudgetWindow::Day => Some(2 * DAY),
        BudgetWindow::Month => Some(33 * DAY),
    }
}

/// Whether a window that began at `start` is over by `now` in any case.
pub fn is_over(window: BudgetWindow, start: i64, now: i64) -> bool {
    longest(window).is_some_and(|longest| start.saturating_add(longest) <= now)
}

/// The word in records.
pub fn word(window: BudgetWindow) -> &'static str {
    match window {
        BudgetWindow::Minute => "minute",
        BudgetWindow::Hour => "hour",
        BudgetWindow::Day => "day",
        BudgetWindow::Month => "month",
        BudgetWindow::Ever => "ever",
    }
}

/// The kind of a counter that is a rulebook policy's minute; a budget's is its window's word.
pub const RATE: &str = "rate";

/// The kind of a budget's counters: its window's word, and its zone where it names one.
pub fn kind(window: BudgetWindow, zone: Option<&BudgetZone>) -> Cow<'static, str> {
    match zone {
        None => word(window).into(),
        Some(zone) => format!("{}@{}", word(window), zone.name).into(),
    }
}

/// The window of a kind of counters.
pub fn window_of(kind: &str) -> Option<BudgetWindow> {
    match kind.split_once('@').map_or(kind, |(word, _)| word) {
        RATE | "minute" => Some(BudgetWindow::Minute),
        "hour" => Some(BudgetWindow::Hour),
        "day" => Some(BudgetWindow::Day),
        "month" => Some(BudgetWindow::Month),
        "ever" => Some(BudgetWindow::Ever),
        _ => None,
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
