//! Numbers with a unit: durations and sizes.

use super::{
    misfit::{mismatch, unfit},
    source::{Node, Report},
};
use std::time::Duration;

/// A duration within bounds.
pub fn duration(
    min: Duration,
    max: Duration,
) -> impl Fn(&Node, &str, &mut Report<'_>) -> Option<Duration> + Copy {
    move |node, key, report| {
        let read = node.as_text().and_then(parse_duration);
        match read {
            Some(value) if (min..=max).contains(&value) => Some(value),
            Some(_) => {
                mismatch(
                    node,
                    key,
                    &format!("from {} to {}", show_duration(min), show_duration(max)),
                    report,
                );
                None
            }
            None => {
                let near = node.as_text().and_then(near_duration).unwrap_or_default();
                unfit(
                    node,
                    key,
                    &near,
                    "a duration like 300s, 15m, 2h or 1h30m (units ms, s, m, h, d)",
                    report,
                );
                None
            }
        }
    }
}

/// What may be meant by a number without a unit, or with another word for one.
fn near_duration(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, word) = text.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
    let unit = match word.trim().to_ascii_lowercase().as_str() {
        "" => return Some(format!("; did you mean `{number}s` or `{number}m`?")),
        "millis" | "msec" | "millisecond" | "milliseconds" | "ms" => "ms",
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "min" | "mins" | "minute" | "minutes" | "m" => "m",
        "hr" | "hrs" | "hour" | "hours" | "h" => "h",
        "day" | "days" | "d" => "d",
        _ => return None,
    };
    Some(format!("; did you mean `{number}{unit}`?"))
}

/// A longest duration that nobody needs to exceed.
pub const DAYS_366: Duration = Duration::from_secs(366 * 86_400);

/// Reads `15m`, `300s`, `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// Writes a duration the way it is read.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if millis >= factor && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    format!("{millis}ms")
}

/// A number of bytes within bounds: `4MiB`, `512 KiB`, `1048576`.
pub fn bytes(min: u64, max: u64) -> impl Fn(&Node, &str, &mut Report<'_>) -> Option<u64> + Copy {
    move |node, key, report| {
        let read = node.as_text().and_then(parse_bytes);
        match read {
            Some(value) if (min..=max).contains(&value) => Some(value),
            Some(_) => {
                let most = if max == u64::MAX { String::new() } else { format!(" to {max}") };
                mismatch(node, key, &format!("from {min}{most} bytes"), report);
                None
            }
            None => {
                mismatch(node, key, "a size like 4MiB, 512KiB or a number of bytes", report);
                None
            }
        }
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}
