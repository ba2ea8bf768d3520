//! Times as people type them.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use std::time::Duration;

/// A time as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At this time.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    /// Reads one. A day and a time without a zone are of this zone; a `Z` behind a day makes it one of UTC. The error says
    /// what is expected.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        let utc = TimeZone::UTC;
        let (day, zone) = match text.strip_suffix('Z') {
            Some(day) => (day, &utc),
            None => (text, zone),
        };
        // Nothing that names a zone in another way, which would be passed over.
        let plain = day.bytes().all(|byte| byte.is_ascii_digit() || b"-T:.".contains(&byte));
        let civil = match day.len() {
            10 => day.parse::<Date>().ok().map(|day| day.at(0, 0, 0, 0)),
            16.. if day.contains('T') => day.parse::<DateTime>().ok(),
            _ => None,
        };
        let at = civil.filter(|_| plain).and_then(|civil| zone.to_timestamp(civil).ok());
        if let Some(at) = at {
            return Ok(Self::At(at));
        }
        humantime::parse_duration(text).map(Self::Ago).map_err(|_| {
            "expected a time like 2026-11-20T08:00Z or 2026-11-20T08:00, a day like 2026-11-20, or how long ago, like 7d"
                .to_owned()
        })
    }

    /// When that is.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => jiff::SignedDuration::try_from(ago)
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
                .unwrap_or(Timestamp::MIN),
        }
    }
}

/// That a time does not end before it begins; the error says so.
pub fn in_order(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), String> {
    match (since, until) {
        (Some(since), Some(until)) if until < since => Err(format!(
            "`until` ({until}) is before `since` ({since}): no record lies between; expected a later `until`, or an earlier \
             `since`"
        )),
        (_, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_take_three_forms_and_a_zone() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |text: &str| Ok(Moment::At(text.parse().unwrap()));
        let check = |input: &str, expect: Result<Moment, ()>| {
            assert_eq!(Moment::parse(input, &zone).map_err(drop), expect, "{input}")
        };
        check("2026-11-20T08:00:00Z", at("2026-11-20T08:00:00Z"));
        check("2026-11-20T08:00Z", at("2026-11-20T08:00:00Z"));
        check("2026-11-20T08:00:00+02:00", at("2026-11-20T06:00:00Z"));
        check("2026-11-20T08:00", at("2026-11-20T07:00:00Z"));
        check("2026-07-20T08:00:30", at("2026-07-20T06:00:30Z"));
        check("2026-11-20", at("2026-11-19T23:00:00Z"));
        check("2026-11-20Z", at("2026-11-20T00:00:00Z"));
        // A time that the clocks pass over is the one after it.
        check("2026-03-29T02:30", at("2026-03-29T01:30:00Z"));
        check("24h", Ok(Moment::Ago(Duration::from_secs(86_400))));
        check("7d", Ok(Moment::Ago(Duration::from_secs(7 * 86_400))));
        for wrong in
            ["yesterday", "", "Z", "7dZ", "2026-11-31", "2026-11-20T08:00[Asia/Tokyo]", "20261120", "2026-11"]
        {
            check(wrong, Err(()));
        }
    }

    #[test]
    fn a_time_that_ends_before_it_begins_is_an_error() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let (early, late) = (at("2026-11-20T08:00:00Z"), at("2026-11-21T08:00:00Z"));
        for (since, until) in [(early, late), (early, early), (None, early), (late, None), (None, None)] {
            assert_eq!(in_order(since, until), Ok(()));
        }
        let told = in_order(late, early).unwrap_err();
        assert!(
            told.contains("`until` (2026-11-20T08:00:00Z) is before `since` (2026-11-21T08:00:00Z)"),
            "{told}"
        );
    }
}
