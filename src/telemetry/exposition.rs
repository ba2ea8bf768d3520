//! Families as text that Prometheus reads: its own format, and OpenMetrics with exemplars.

use super::meter::{Exemplar, Kind, Label, Reading, Told};
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;
use tokio::time::Instant;

/// `Content-Type` of the one.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// `Content-Type` of the other.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    Plain,
    /// OpenMetrics 1.0.0, which has exemplars.
    OpenMetrics,
}

impl Exposition {
    /// By a request's `Accept`: OpenMetrics where it is named and not refused.
    pub fn by_accept(accept: &str) -> Self {
        let wants = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let named =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            let zero = |part: &str| {
                let quality = part.strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok());
                quality.is_some_and(|quality| quality <= 0.0)
            };
            named && !parts.any(zero)
        };
        if accept.split(',').map(str::trim).any(wants) { Self::OpenMetrics } else { Self::Plain }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => PLAIN,
            Self::OpenMetrics => OPEN_METRICS,
        }
    }
}

/// One moment by both clocks: by the second one measured values say when they were.
type Now = (Timestamp, Instant);

/// Writes families.
pub(super) fn render(form: Exposition, families: &[Told], now: Now) -> String {
    let mut out = String::new();
    for family in families {
        write_family(&mut out, form, family, now);
    }
    if form == Exposition::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// When a value was measured, in seconds since 1970.
fn seconds_at(at: Instant, (now, then): Now) -> Option<String> {
    let ago = SignedDuration::try_from(then.saturating_duration_since(at)).ok()?;
    let millis = now.checked_sub(ago).ok()?.as_millisecond();
    Some(format!("{}.{:03}", millis.div_euclid(1_000), millis.rem_euclid(1_000)))
}

fn write_family(out: &mut String, form: Exposition, family: &Told, now: Now) {
    let about = &family.about;
    let (kind, total) = match about.kind {
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Histogram => ("histogram", ""),
    };
    // The older format names a counter's family like its samples.
    let suffix = if form == Exposition::Plain { total } else { "" };
    let name = about.exposed;
    writeln!(out, "# HELP {name}{suffix} {}", about.help).ok();
    writeln!(out, "# TYPE {name}{suffix} {kind}").ok();
    if !about.exposed_unit.is_empty() {
        writeln!(out, "# UNIT {name}{suffix} {}", about.exposed_unit).ok();
    }
    for (labels, reading) in &family.cells {
        match reading {
            Reading::Number(number) => {
                write!(out, "{name}{total}").ok();
                write_labels(out, labels, None);
                writeln!(out, " {number}").ok();
            }
            Reading::Buckets { bounds, counts, sum, exemplars } => {
                let mut below = 0;
                for (at, count) in counts.iter().enumerate() {
                    below += count;
                    let bound = bounds.get(at).map_or("+Inf", String::as_str);
                    write!(out, "{name}_bucket").ok();
                    write_labels(out, labels, Some(bound));
                    write!(out, " {below}").ok();
                    if form == Exposition::OpenMetrics
                        && let Some(Exemplar { trace, seconds, at }) = exemplars.get(at).copied().flatten()
                    {
                        write!(out, " # {{trace_id=\"{trace}\"}} {seconds}").ok();
                        if let Some(at) = seconds_at(at, now) {
                            write!(out, " {at}").ok();
                        }
                    }
                    out.push('\n');
                }
                for (what, value) in [("sum", sum.to_string()), ("count", below.to_string())] {
                    write!(out, "{name}_{what}").ok();
                    write_labels(out, labels, None);
                    writeln!(out, " {value}").ok();
                }
            }
        }
    }
}

fn write_labels(out: &mut String, labels: &[(&'static str, Label)], bound: Option<&str>) {
    if labels.is_empty() && bound.is_none() {
        return;
    }
    out.push('{');
    let mut first = true;
    for (key, value) in
        labels.iter().map(|(key, label)| (*key, label.as_str())).chain(bound.map(|le| ("le", le)))
    {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.extend(key.chars().map(|c| if c == '.' { '_' } else { c }));
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                // What cannot be seen has no place in a name that people read.
                c if c.is_control() => out.push('\u{fffd}'),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::TraceId, telemetry::Metrics};
    use std::{sync::Arc, time::Duration};

    #[test]
    fn the_form_is_what_the_client_asks_for() {
        let check =
            |accept: &str, expect: Exposition| assert_eq!(Exposition::by_accept(accept), expect, "{accept}");
        check("", Exposition::Plain);
        check("*/*", Exposition::Plain);
        check("text/plain;version=0.0.4", Exposition::Plain);
        check("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1", Exposition::OpenMetrics);
        check("application/openmetrics-text;q=0, text/plain", Exposition::Plain);
    }

    #[test]
    fn a_family_is_written_in_both_forms() {
        let metrics = Metrics::default();
        let odd: Arc<str> = "a\"b\\c\nd\u{7}".into();
        metrics.calls.add([Label::from("tool"), Label::from(odd), Label::from("allow")], 3);
        metrics.cost.add([Label::from("a")], 1_500_000);
        metrics.overhead.observe(
            [Label::from("tool")],
            Duration::from_micros(120),
            Some(TraceId::from_bytes([0xab; 16])),
        );
        // Ten seconds later.
        let now = (Timestamp::from_second(1_700_000_010).unwrap(), Instant::now() + Duration::from_secs(10));
        let plain = render(Exposition::Plain, &metrics.told(), now);
        let open = render(Exposition::OpenMetrics, &metrics.told(), now);
        let sample =
            "tollgate_calls_total{kind=\"tool\",upstream=\"a\\\"b\\\\c\\nd\u{fffd}\",decision=\"allow\"} 3";
        let bucket = "tollgate_overhead_seconds_bucket{kind=\"tool\",le=\"0.0002\"} 1";
        for line in [
            sample,
            "# TYPE tollgate_calls_total counter",
            "tollgate_cost_usd_total{agent=\"a\"} 1.5",
            bucket,
        ] {
            assert!(plain.lines().any(|told| told == line), "{line}\n{plain}");
        }
        let exemplar = format!("{bucket} # {{trace_id=\"{}\"}} 0.00012 ", "ab".repeat(16));
        let at =
            open.lines().find_map(|line| line.strip_prefix(&exemplar)).unwrap_or_else(|| panic!("{open}"));
        assert!((1_699_999_900.0..=1_700_000_000.0).contains(&at.parse::<f64>().unwrap()), "{at}");
        let lines = [
            sample,
            "# TYPE tollgate_calls counter",
            "# UNIT tollgate_cost_usd usd",
            "# UNIT tollgate_overhead_seconds seconds",
            "tollgate_overhead_seconds_count{kind=\"tool\"} 1",
        ];
        for line in lines {
            assert!(open.lines().any(|told| told == line), "{line}\n{open}");
        }
        assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF") && !plain.contains("trace_id"));
    }
}
