//! A share of calls, chosen by a stable hash: the same caller is always on the same side, and whoever is in a small share is in
//! every larger one.

use super::TraceId;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The places that calls are spread over: a hundredth of a percent each.
const PLACES: u16 = 10_000;

/// Where a call falls among all calls, from 0 to 9999.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SharePlace(u16);

impl SharePlace {
    /// By the agent and its session; without one by its workflow, else by the trace.
    pub fn of(agent: &str, session: Option<&str>, workflow: Option<&str>, trace: TraceId) -> Self {
        let (kind, name) = match (session, workflow) {
            (Some(session), _) => ("session", session.as_bytes()),
            (None, Some(workflow)) => ("workflow", workflow.as_bytes()),
            (None, None) => ("trace", trace.as_bytes().as_slice()),
        };
        let mut hash = Sha256::new();
        for part in [agent.as_bytes(), kind.as_bytes(), name] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let first = hash.finalize().first_chunk::<8>().copied().unwrap_or_default();
        // Far more values than places: each has the same weight.
        Self(u16::try_from(u64::from_be_bytes(first) % u64::from(PLACES)).unwrap_or(0))
    }

    /// By a call alone.
    pub fn of_call(call: &str) -> Self {
        Self::of("", Some(call), None, TraceId::from_bytes([0; 16]))
    }

    /// The number, from 0 to 9999; a larger one is taken for the last place.
    pub fn from_number(number: u64) -> Self {
        Self(u16::try_from(number).unwrap_or(PLACES).min(PLACES - 1))
    }

    /// As a number.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A share of all calls: above nothing, at most all, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// What a share looks like.
    pub const EXPECTED: &str = "a share of calls from 0.01% to 100%, like 10%";

    /// Reads `10%` or `0.25%`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 3 || fraction.len() > 2 {
            return None;
        }
        let hundredths: u16 = format!("{fraction:0<2}").parse().ok()?;
        let places = whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
        (1..=PLACES).contains(&places).then_some(Self(places))
    }

    /// Whether a call is in it.
    pub fn covers(self, place: SharePlace) -> bool {
        place.0 < self.0
    }

    /// As a number above 0, at most 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(PLACES)
    }

    /// The first place that is not in it; the last of all where every place is.
    pub fn first_outside(self) -> SharePlace {
        SharePlace::from_number(self.0.into())
    }

    /// Whether so many of all are more than this share of them.
    pub fn is_exceeded_by(self, count: u64, all: u64) -> bool {
        u128::from(count) * u128::from(PLACES) > u128::from(all) * u128::from(self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match hundredths {
            0 => write!(f, "{whole}%"),
            part if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            part => write!(f, "{whole}.{part:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown() {
        for text in ["10%", "0.01%", "100%", "0.5%", "12.34%"] {
            assert_eq!(Share::parse(text).map(|share| share.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Share::parse("7.50%"), Share::parse("7.5%"));
        for text in ["", "%", "10", "0%", "101%", "100.01%", "1.234%", "-1%", "1e1%", ".5%", "5.%", "ten%"] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }

    fn trace(number: u8) -> TraceId {
        TraceId::from_bytes([number; 16])
    }

    #[test]
    fn a_place_is_stable_and_places_are_spread_evenly() {
        let place = |n: usize| SharePlace::of("agent", Some(&format!("session-{n}")), None, trace(1));
        assert_eq!(place(1), place(1));
        let tenth = Share::parse("10%").unwrap();
        let half = Share::parse("50%").unwrap();
        let inside = (0..20_000).filter(|n| tenth.covers(place(*n))).count();
        assert!((1_800..2_200).contains(&inside), "{inside}");
        assert!((0..20_000).all(|n| !tenth.covers(place(n)) || half.covers(place(n))));
        assert!((0..1_000).all(|n| Share::parse("100%").unwrap().covers(place(n))));
        // A session counts before a workflow, and a workflow before a trace; their names are kept apart.
        let of = SharePlace::of;
        assert_eq!(of("a", Some("s"), Some("w"), trace(1)), of("a", Some("s"), None, trace(2)));
        assert_eq!(of("a", None, Some("w"), trace(1)), of("a", None, Some("w"), trace(2)));
        assert_ne!(of("a", Some("x"), None, trace(1)), of("a", None, Some("x"), trace(1)));
        assert_ne!(of("a", None, None, trace(1)), of("a", None, None, trace(2)));
        assert_ne!(of("ab", Some("c"), None, trace(1)), of("a", Some("bc"), None, trace(1)));
    }

    #[test]
    fn a_share_is_exceeded_by_more_than_it() {
        let tenth = Share::parse("10%").unwrap();
        assert!(!tenth.is_exceeded_by(0, 0));
        assert!(!tenth.is_exceeded_by(10, 100));
        assert!(tenth.is_exceeded_by(11, 100));
        assert!(tenth.is_exceeded_by(u64::MAX, u64::MAX));
    }
}
