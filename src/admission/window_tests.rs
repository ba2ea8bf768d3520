use super::*;
use std::sync::Arc;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

fn zone(name: &str) -> BudgetZone {
    BudgetZone { name: Arc::from(name), rules: TimeZone::get(name).unwrap() }
}

fn check(zone: Option<&BudgetZone>, window: BudgetWindow, now: &str, start: Option<&str>, end: Option<&str>) {
    let shown = |at: Option<i64>| at.map(|at| Timestamp::from_microsecond(at).unwrap().to_string());
    let place = format!("{zone:?} {window:?} {now}");
    assert_eq!(shown(start_of(window, zone, at(now))), shown(start.map(at)), "{place}");
    assert_eq!(shown(end_of(window, zone, at(now))), shown(end.map(at)), "{place}");
}

#[test]
fn calendar_windows_are_utc_where_no_zone_is_named() {
    let check = |window, now, start, end| check(None, window, now, start, end);
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

/// A day in a zone begins with the zone's day, and is 23, 24 or 25 hours long.
#[test]
fn days_and_months_are_those_of_the_zone() {
    let berlin = zone("Europe/Berlin");
    let check = |window, now, start, end| check(Some(&berlin), window, now, Some(start), Some(end));
    use BudgetWindow::{Day, Month};
    check(Day, "2026-11-30T22:59:59Z", "2026-11-29T23:00:00Z", "2026-11-30T23:00:00Z");
    check(Day, "2026-11-30T23:00:00Z", "2026-11-30T23:00:00Z", "2026-12-01T23:00:00Z");
    check(Month, "2026-11-30T22:59:59Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
    check(Month, "2026-11-30T23:00:00Z", "2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z");
    // 29 March has 23 hours, 25 October has 25; so have their months.
    check(Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    check(Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    check(Month, "2026-03-29T12:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z");
    check(Month, "2026-10-25T12:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z");
    // A day that begins at one o'clock, one that was left out, and offsets that are no whole hours.
    let check = |name: &str, now, start, end| check_in(name, now, start, end);
    check("America/Havana", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z");
    check("Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    check("Asia/Kathmandu", "2026-05-11T18:14:59Z", "2026-05-10T18:15:00Z", "2026-05-11T18:15:00Z");
}

fn check_in(name: &str, now: &str, start: &str, end: &str) {
    check(Some(&zone(name)), BudgetWindow::Day, now, Some(start), Some(end));
}

/// An hour that the clock shows twice is two windows.
#[test]
fn hours_follow_the_clock_of_the_zone() {
    let check = |name: &str, now, start, end| {
        check(Some(&zone(name)), BudgetWindow::Hour, now, Some(start), Some(end));
    };
    check("Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z");
    check("Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z");
    check("Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z");
    check("Asia/Kolkata", "2026-05-11T12:45:00Z", "2026-05-11T12:30:00Z", "2026-05-11T13:30:00Z");
    // Half an hour back at 02:00: the half hour that comes again is of an hour of its own.
    check("Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z");
    check("Australia/Lord_Howe", "2026-04-04T15:10:00Z", "2026-04-04T14:30:00Z", "2026-04-04T15:30:00Z");
}

/// Every moment is in one window, windows follow each other without a gap, and none is longer than it is taken to be.
#[test]
fn windows_follow_each_other() {
    let from = at("2026-01-01T00:00:00Z");
    for name in [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Pacific/Chatham",
    ] {
        let zone = zone(name);
        for window in [BudgetWindow::Hour, BudgetWindow::Day, BudgetWindow::Month] {
            let mut now = from;
            let mut known = Vec::new();
            while now < from + 400 * DAY {
                let start = start_of(window, Some(&zone), now).unwrap();
                let end = end_of(window, Some(&zone), now).unwrap();
                assert!(now < end && start <= now, "{name} {window:?} {now}");
                assert_eq!(start_of(window, Some(&zone), end - 1), Some(start), "{name} {window:?} {now}");
                assert_ne!(start_of(window, Some(&zone), end), Some(start), "{name} {window:?} {now}");
                assert!(is_over(window, start, end + 33 * DAY) && !is_over(window, start, end - 1), "{name}");
                known.push(start);
                now = end;
            }
            known.dedup();
            let all = known.len();
            known.sort_unstable();
            known.dedup();
            assert_eq!(known.len(), all, "{name} {window:?}: a window came again");
        }
    }
}
