//! Numbers in conditions are exact decimals, so that `cost.estimate_usd > 0.3` and a 30-digit
//! argument compare as written and not as the nearest double.

use std::{cmp::Ordering, fmt};

/// A longer number is not read at all: no rule needs it, and its digits would cost time.
const LONGEST: usize = 400;

/// A number of a call or of a condition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number<'a> {
    /// A whole number, written without point and exponent.
    Whole(i128),
    /// `digits` / 10^`scale`, written with a point or an exponent.
    Decimal {
        /// All digits.
        digits: i128,
        /// How many of them stand behind the point.
        scale: u32,
    },
    /// Valid JSON beyond both; it compares exactly and does not calculate.
    Wide(&'a str),
}

impl<'a> Number<'a> {
    /// Reads JSON's number form. `None` where it is none, or beyond what is read.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let digits = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        if mantissa == text && fraction.is_empty() {
            return Some(text.parse().map_or(Self::Wide(text), Self::Whole));
        }
        Some(Self::decimal(mantissa.starts_with('-'), whole, fraction, exponent).unwrap_or(Self::Wide(text)))
    }

    fn decimal(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Option<Self> {
        let fraction = fraction.trim_end_matches('0');
        let mut digits: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            digits = digits.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let mut scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if digits == 0 {
            scale = 0;
        }
        while scale < 0 {
            digits = digits.checked_mul(10)?;
            scale += 1;
        }
        while scale > 0 && digits % 10 == 0 && digits != 0 {
            digits /= 10;
            scale -= 1;
        }
        let scale = u32::try_from(scale).ok().filter(|s| *s <= 60)?;
        Some(Self::Decimal { digits: if negative { -digits } else { digits }, scale })
    }

    /// The shortest decimal that names this double; `None` where that is beyond what calculates.
    pub(super) fn from_double(double: f64) -> Option<Number<'static>> {
        let text = format!("{double:e}");
        match Number::parse(&text)? {
            Number::Whole(whole) => Some(Number::Decimal { digits: whole, scale: 0 }),
            Number::Decimal { digits, scale } => Some(Number::Decimal { digits, scale }),
            Number::Wide(_) => None,
        }
    }

    /// The nearest double.
    pub(super) fn to_double(self) -> Option<f64> {
        self.to_string().parse().ok().filter(|d: &f64| d.is_finite())
    }

    fn parts(self) -> Option<(i128, u32)> {
        match self {
            Self::Whole(whole) => Some((whole, 0)),
            Self::Decimal { digits, scale } => Some((digits, scale)),
            Self::Wide(_) => None,
        }
    }

    /// Both over the larger scale.
    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let ((a, a_scale), (b, b_scale)) = (self.parts()?, other.parts()?);
        let scale = a_scale.max(b_scale);
        let raise = |digits: i128, from: u32| digits.checked_mul(10i128.checked_pow(scale - from)?);
        Some((raise(a, a_scale)?, raise(b, b_scale)?, scale))
    }

    fn made(self, other: Self, digits: i128, scale: u32) -> Number<'static> {
        match (self, other) {
            (Self::Whole(_), Self::Whole(_)) => Number::Whole(digits),
            _ => Number::Decimal { digits, scale },
        }
    }

    /// The sum; `None` on overflow.
    pub(super) fn plus(self, other: Self) -> Option<Number<'static>> {
        let (a, b, scale) = self.aligned(other)?;
        Some(self.made(other, a.checked_add(b)?, scale))
    }

    /// The difference; `None` on overflow.
    pub(super) fn minus(self, other: Self) -> Option<Number<'static>> {
        let (a, b, scale) = self.aligned(other)?;
        Some(self.made(other, a.checked_sub(b)?, scale))
    }

    /// The product; `None` on overflow.
    pub(super) fn times(self, other: Self) -> Option<Number<'static>> {
        let ((a, a_scale), (b, b_scale)) = (self.parts()?, other.parts()?);
        let scale = a_scale.checked_add(b_scale).filter(|s| *s <= 60)?;
        Some(self.made(other, a.checked_mul(b)?, scale))
    }

    /// The quotient: truncated between whole numbers, that of doubles otherwise.
    /// `None` on division by zero and on overflow.
    pub(super) fn over(self, other: Self) -> Option<Number<'static>> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.checked_div(b).map(Number::Whole),
            _ => Number::from_double(self.to_double()? / other.to_double().filter(|d| *d != 0.0)?),
        }
    }

    /// The remainder of whole numbers; `None` for others and for zero.
    pub(super) fn modulo(self, other: Self) -> Option<Number<'static>> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.checked_rem(b).map(Number::Whole),
            _ => None,
        }
    }

    /// Its negative; `None` on overflow.
    pub(super) fn negated(self) -> Option<Number<'static>> {
        match self {
            Self::Whole(whole) => whole.checked_neg().map(Number::Whole),
            Self::Decimal { digits, scale } => Some(Number::Decimal { digits: digits.checked_neg()?, scale }),
            Self::Wide(_) => None,
        }
    }

    /// Towards zero.
    pub(super) fn truncated(self) -> Option<i128> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Decimal { digits, scale } => {
                Some(10i128.checked_pow(scale).map_or(0, |power| digits / power))
            }
            Self::Wide(_) => None,
        }
    }

    /// As a double's kind, same value.
    pub(super) fn as_decimal(self) -> Self {
        match self {
            Self::Whole(digits) => Self::Decimal { digits, scale: 0 },
            other => other,
        }
    }

    /// The exact order.
    pub(super) fn order(self, other: Self) -> Option<Ordering> {
        if let (Self::Whole(a), Self::Whole(b)) = (self, other) {
            return Some(a.cmp(&b));
        }
        if let Some((a, b, _)) = self.aligned(other) {
            return Some(a.cmp(&b));
        }
        Some(Spelled::of(&self.to_string())?.cmp(&Spelled::of(&other.to_string())?))
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Wide(text) => f.write_str(text),
            Self::Decimal { digits, scale } => {
                let sign = if digits < 0 { "-" } else { "" };
                let width = usize::try_from(scale).unwrap_or(0) + 1;
                let all = format!("{:0>width$}", digits.unsigned_abs());
                let (whole, fraction) = all.split_at_checked(all.len() + 1 - width).unwrap_or((&all, ""));
                let fraction = fraction.trim_end_matches('0');
                let point = if fraction.is_empty() { "" } else { "." };
                write!(f, "{sign}{whole}{point}{fraction}")
            }
        }
    }
}

/// Significant digits without zeros at either end, and the power of ten of the first.
#[derive(PartialEq, Eq)]
struct Spelled {
    negative: bool,
    exponent: i64,
    digits: String,
}

impl Spelled {
    fn of(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (negative, digits) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = [whole, fraction].concat();
        let leading = all.len() - all.trim_start_matches('0').len();
        let digits = all.trim_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, exponent: 0, digits });
        }
        let first = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        Some(Self { negative, exponent: first.checked_add(exponent)?, digits })
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl PartialOrd for Spelled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Spelled {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_written() {
        let check = |a: &str, expect: Ordering, b: &str| {
            let (a_number, b_number) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
            assert_eq!(a_number.order(b_number), Some(expect), "{a} {b}");
            assert_eq!(b_number.order(a_number), Some(expect.reverse()), "{b} {a}");
        };
        check("9007199254740993", Ordering::Greater, "9007199254740992");
        check("9007199254740993.0", Ordering::Greater, "9007199254740992");
        check("0.1", Ordering::Equal, "1e-1");
        check("1.0", Ordering::Equal, "1");
        check("-0.0", Ordering::Equal, "0");
        check("1e400", Ordering::Greater, "9e399");
        check("-1e400", Ordering::Less, "1");
        check("1e-400", Ordering::Greater, "0");
        check("123456789012345678901234567890123456789012345", Ordering::Greater, "1");
        check(
            "123456789012345678901234567890123456789012345",
            Ordering::Equal,
            "1.23456789012345678901234567890123456789012345e44",
        );
        check("0.30", Ordering::Less, "0.300001");
        check("100000000000000000000000000000000000000", Ordering::Greater, "0.00000000000000000001");
        assert!(Number::parse("1e99999999999999999999").is_none());
        assert!(Number::parse(&"1".repeat(500)).is_none());
        assert!(Number::parse("x").is_none());
    }

    #[test]
    fn sums_are_exact_and_overflow_is_told() {
        let number = |text| Number::parse(text).unwrap();
        let check = |got: Option<Number<'_>>, expect: Option<&str>| {
            assert_eq!(got.map(|n| n.to_string()).as_deref(), expect);
        };
        check(number("0.1").plus(number("0.2")), Some("0.3"));
        check(number("1").minus(number("1.25")), Some("-0.25"));
        check(number("0.5").times(number("4")), Some("2"));
        check(number("7").over(number("2")), Some("3"));
        check(number("7.0").over(number("2")), Some("3.5"));
        check(number("7").over(number("0")), None);
        check(number("7.5").over(number("0")), None);
        check(number("7").modulo(number("4")), Some("3"));
        check(number("7.5").modulo(number("4")), None);
        check(number("170141183460469231731687303715884105727").plus(number("1")), None);
        check(number("1e400").plus(number("1")), None);
        check(Number::from_double(5.25), Some("5.25"));
        check(Number::from_double(1e300), None);
        assert_eq!(number("-7.9").truncated(), Some(-7));
    }
}
