//! Which calendar window a counter is in, and when that ends. All of them are UTC, all times are microseconds.

use super::rolling::MINUTE;
use crate::cost::BudgetWindow;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The start of the calendar window that holds `now`, in microseconds; `None` for the rolling one.
pub fn start_of(window: BudgetWindow, now: i64) -> Option<i64> {
    match window {
        BudgetWindow::Minute => None,
        BudgetWindow::Hour => Some(now.div_euclid(HOUR) * HOUR),
        BudgetWindow::Day => Some(now.div_euclid(DAY) * DAY),
        BudgetWindow::Month => Some(month(now).map_or(0, |(start, _)| start)),
        BudgetWindow::Ever => Some(0),
    }
}

/// When the calendar window that holds `now` ends, in microseconds; `None` where it never does, or rolls.
pub fn end_of(window: BudgetWindow, now: i64) -> Option<i64> {
    match window {
        BudgetWindow::Minute | BudgetWindow::Ever => None,
        BudgetWindow::Hour => Some((now.div_euclid(HOUR) + 1) * HOUR),
        BudgetWindow::Day => Some((now.div_euclid(DAY) + 1) * DAY),
        BudgetWindow::Month => month(now).map(|(_, end)| end),
    }
}

fn month(now: i64) -> Option<(i64, i64)> {
    let date = TimeZone::UTC.to_datetime(Timestamp::from_microsecond(now).ok()?).date();
    let micros = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp().as_microsecond());
    let start = micros(date.first_of_month().to_datetime(jiff::civil::Time::midnight()))?;
    let end = micros(date.last_of_month().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight()))?;
    Some((start, end))
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

/// The window of a kind of counters.
pub fn window_of(kind: &str) -> Option<BudgetWindow> {
    match kind {
        RATE | "minute" => Some(BudgetWindow::Minute),
        "hour" => Some(BudgetWindow::Hour),
        "day" => Some(BudgetWindow::Day),
        "month" => Some(BudgetWindow::Month),
        "ever" => Some(BudgetWindow::Ever),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn calendar_windows_are_utc() {
        let check = |window, now: &str, start: Option<&str>, end: Option<&str>| {
            assert_eq!(start_of(window, at(now)), start.map(at), "{window:?} {now}");
            assert_eq!(end_of(window, at(now)), end.map(at), "{window:?} {now}");
        };
        let now = "2028-02-29T23:59:59.999999Z";
        check(BudgetWindow::Minute, now, None, None);
        check(BudgetWindow::Hour, now, Some("2028-02-29T23:00:00Z"), Some("2028-03-01T00:00:00Z"));
        check(BudgetWindow::Day, now, Some("2028-02-29T00:00:00Z"), Some("2028-03-01T00:00:00Z"));
        check(BudgetWindow::Month, now, Some("2028-02-01T00:00:00Z"), Some("2028-03-01T00:00:00Z"));
        check(BudgetWindow::Ever, now, Some("1970-01-01T00:00:00Z"), None);
        let new_year = "2027-01-01T00:00:00Z";
        check(BudgetWindow::Month, new_year, Some(new_year), Some("2027-02-01T00:00:00Z"));
        check(
            BudgetWindow::Day,
            "1969-12-31T12:00:00Z",
            Some("1969-12-31T00:00:00Z"),
            Some("1970-01-01T00:00:00Z"),
        );
    }
}
