//! Money is integer micro-USD inside and a JSON number with up to six decimals outside.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, iter::Sum};

/// An amount of money in millionths of a US dollar. Arithmetic saturates: a limit is never
/// passed because a sum wrapped round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(pub i64);

/// Why a text is not an amount of money.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an amount in USD: expected a number with at most six decimals, like 0.25")]
pub struct MoneyError(String);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal number exactly. More than six decimals are an error unless they are zero;
    /// exponents are understood, since JSON writers use them.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let (whole, rest) = Self::read(text)?;
        if rest { Err(MoneyError(text.chars().take(40).collect())) } else { Ok(whole) }
    }

    /// The same for amounts that others state in whatever precision: what is beyond the sixth decimal counts as one
    /// millionth more.
    pub fn parse_up(text: &str) -> Result<Self, MoneyError> {
        let (whole, rest) = Self::read(text)?;
        Ok(if rest && !text.starts_with('-') { whole.plus(Self(1)) } else { whole })
    }

    /// The amount towards zero, and whether there is more of it.
    fn read(text: &str) -> Result<(Self, bool), MoneyError> {
        let bad = || MoneyError(text.chars().take(40).collect());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || digits.len() > 40 || !(-40..=40).contains(&exponent) {
            return Err(bad());
        }
        let mut value: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(bad());
            }
            value =
                value.checked_mul(10).and_then(|v| v.checked_add(i128::from(byte - b'0'))).ok_or_else(bad)?;
        }
        let fraction_digits = i32::try_from(fraction.len()).map_err(|_| bad())?;
        let mut shift = 6 + exponent - fraction_digits;
        while shift > 0 && value != 0 {
            value = value.checked_mul(10).ok_or_else(bad)?;
            shift -= 1;
        }
        let mut rest = false;
        while shift < 0 && value != 0 {
            rest |= value % 10 != 0;
            value /= 10;
            shift += 1;
        }
        let value = i64::try_from(value).map_err(|_| bad())?;
        Ok((Self(if negative { -value } else { value }), rest))
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, saturating.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Serialize for MicroUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number: serde_json::Number = self.to_string().parse().map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MicroUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        Self::parse(&number.to_string()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_both_ways() {
        let check = |input: &str, expect: Option<(i64, &str)>| {
            let got = MicroUsd::parse(input).ok();
            assert_eq!(got.map(|m| m.0), expect.map(|e| e.0), "{input}");
            if let (Some(got), Some((_, text))) = (got, expect) {
                assert_eq!(got.to_string(), text);
                assert_eq!(serde_json::to_string(&got).unwrap(), text);
                assert_eq!(serde_json::from_str::<MicroUsd>(text).unwrap(), got);
            }
        };
        check("1.25", Some((1_250_000, "1.25")));
        check("50.00", Some((50_000_000, "50")));
        check("0.000001", Some((1, "0.000001")));
        check("-0.1", Some((-100_000, "-0.1")));
        check("5e-6", Some((5, "0.000005")));
        check("1.0000000", Some((1_000_000, "1")));
        check("0.0000001", None);
        check("99999999999999999999", None);
        check("1e400", None);
        check("", None);
        check(".", None);
        check("1.2.3", None);
        check("NaN", None);
    }

    #[test]
    fn amounts_of_others_are_rounded_up() {
        let check = |input: &str, expect: Option<i64>| {
            assert_eq!(MicroUsd::parse_up(input).ok().map(|m| m.0), expect, "{input}");
        };
        check("0.25", Some(250_000));
        check("0.0000001", Some(1));
        check("0.00031725000000000003", Some(318));
        check("1.0000010", Some(1_000_001));
        check("3.1e-7", Some(1));
        check("0e-9", Some(0));
        check("-0.0000019", Some(-1));
        check("1e30", None);
        check("", None);
    }
}
