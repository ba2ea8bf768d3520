//! Times as people type them.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
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
    /// Reads one; the error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let day = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        if let Some(at) = text.parse::<Date>().ok().filter(|_| text.len() == 10).and_then(day) {
            return Ok(Self::At(at));
        }
        humantime::parse_duration(text).map(Self::Ago).map_err(|_| {
            "expected a time like 2026-11-20T08:00:00Z, a day like 2026-11-20 (UTC), or how long ago, like 24h".to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_take_three_forms() {
        let at = |text: &str| Ok(Moment::At(text.parse().unwrap()));
        let check = |input: &str, expect: Result<Moment, ()>| {
            assert_eq!(Moment::parse(input).map_err(drop), expect, "{input}")
        };
        check("2026-11-20T08:00:00Z", at("2026-11-20T08:00:00Z"));
        check("2026-11-20T08:00:00+02:00", at("2026-11-20T06:00:00Z"));
        check("2026-11-20", at("2026-11-20T00:00:00Z"));
        check("24h", Ok(Moment::Ago(Duration::from_secs(86_400))));
        check("yesterday", Err(()));
        check("", Err(()));
    }
}
