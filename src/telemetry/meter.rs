//! Counters and histograms by label. A call finds its cell behind a read lock and adds to atomics; a family has a bound of cells,
//! beyond which all is counted as `other`.

use crate::model::TraceId;
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The value of a label: never longer than what names it in a file or a list.
#[derive(Clone)]
pub enum Label {
    /// One of our own words.
    Word(&'static str),
    /// A name that somebody configured or listed.
    Name(Arc<str>),
}

impl Label {
    /// No such label.
    pub const NONE: Self = Self::Word("");
    /// What is beyond the bound of a family.
    pub const OTHER: Self = Self::Word("other");

    /// As text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Name(name) => name,
        }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&'static str> for Label {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<Arc<str>> for Label {
    fn from(name: Arc<str>) -> Self {
        Self::Name(name)
    }
}

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Stands somewhere.
    Gauge,
    /// Falls into buckets.
    Histogram,
}

/// What a family is, once for all its cells.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// By OpenTelemetry's way of naming: `tollgate.call.duration`.
    pub name: &'static str,
    /// By Prometheus': with its unit, and without `_total`.
    pub exposed: &'static str,
    /// In one sentence, without a full stop.
    pub help: &'static str,
    /// As OpenTelemetry writes it: `s`, `{call}`.
    pub unit: &'static str,
    /// As OpenMetrics writes it, where the exposed name ends in it.
    pub exposed_unit: &'static str,
    /// What kind.
    pub kind: Kind,
}

/// Labels of a cell by their keys.
pub type Labels = Vec<(&'static str, Label)>;

/// A family as it stands.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it is.
    pub about: About,
    /// Each cell with its labels, by OpenTelemetry's names; those without a value are left out.
    pub cells: Vec<(Labels, Reading)>,
}

/// What a cell stands at.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Buckets {
        /// Upper bounds, as text.
        bounds: Vec<String>,
        /// How many fell into each, and beyond the last.
        counts: Vec<u64>,
        /// Of all.
        sum: f64,
        /// The newest of each bucket that has a trace.
        exemplars: Vec<Option<Exemplar>>,
    },
}

/// A measured value, and the trace in which it was measured.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar {
    /// In which trace.
    pub trace: TraceId,
    /// How much.
    pub seconds: f64,
    /// When.
    pub at: Instant,
}

/// Cells by label, as many as `most`.
struct Cells<const N: usize, C> {
    known: RwLock<HashMap<[Label; N], Arc<C>>>,
    most: usize,
}

impl<const N: usize, C> Cells<N, C> {
    fn new(most: usize) -> Self {
        Self { known: RwLock::default(), most }
    }

    fn with(&self, labels: [Label; N], make: impl FnOnce() -> C, add: impl FnOnce(&C)) {
        if let Some(cell) = self.known.read().get(&labels) {
            return add(cell);
        }
        let mut known = self.known.write();
        let labels = match known.len() < self.most || known.contains_key(&labels) {
            true => labels,
            false => std::array::from_fn(|_| Label::OTHER),
        };
        add(known.entry(labels).or_insert_with(|| Arc::new(make())));
    }

    fn told(&self, keys: [&'static str; N], read: impl Fn(&C) -> Reading) -> Vec<(Labels, Reading)> {
        let all: Vec<_> =
            self.known.read().iter().map(|(labels, cell)| (labels.clone(), cell.clone())).collect();
        let mut told: Vec<_> = all
            .into_iter()
            .map(|(labels, cell)| {
                let labels = keys.into_iter().zip(labels).filter(|(_, label)| !label.as_str().is_empty());
                (labels.collect::<Vec<_>>(), read(&cell))
            })
            .collect();
        told.sort_by(|(a, _), (b, _)| {
            let text = |labels: &Vec<(&'static str, Label)>| -> Vec<(&'static str, String)> {
                labels.iter().map(|(key, label)| (*key, label.as_str().to_owned())).collect()
            };
            text(a).cmp(&text(b))
        });
        told
    }
}

/// A family of counters.
pub struct Counters<const N: usize> {
    about: About,
    keys: [&'static str; N],
    /// How many of what is added make one of what is told.
    scale: u64,
    cells: Cells<N, AtomicU64>,
}

impl<const N: usize> Counters<N> {
    pub(super) fn new(about: About, keys: [&'static str; N], scale: u64, most: usize) -> Self {
        Self { about, keys, scale, cells: Cells::new(most) }
    }

    /// Adds to one.
    pub fn add(&self, labels: [Label; N], amount: u64) {
        self.cells.with(labels, AtomicU64::default, |cell| {
            cell.fetch_add(amount, Ordering::Relaxed);
        });
    }

    pub(super) fn told(&self) -> Told {
        let scale = to_f64(self.scale);
        let read = |cell: &AtomicU64| Reading::Number(to_f64(cell.load(Ordering::Relaxed)) / scale);
        Told { about: self.about, cells: self.cells.told(self.keys, read) }
    }
}

impl<const N: usize> fmt::Debug for Counters<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.about.name)
    }
}

/// A family of histograms: of durations, and of shares, of which one is taken in like a second.
pub struct Histograms<const N: usize> {
    about: About,
    keys: [&'static str; N],
    /// Upper bounds, in millionths of the unit.
    bounds: &'static [u64],
    cells: Cells<N, Buckets>,
    /// Where a collector gets them.
    exported: OnceLock<Histogram<f64>>,
}

struct Buckets {
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
    exemplars: Box<[Mutex<Option<Exemplar>>]>,
}

impl<const N: usize> Histograms<N> {
    pub(super) fn new(about: About, keys: [&'static str; N], bounds: &'static [u64], most: usize) -> Self {
        Self { about, keys, bounds, cells: Cells::new(most), exported: OnceLock::new() }
    }

    /// Has them taken in by an instrument of the SDK's too, with the same buckets.
    pub(super) fn export_to(&self, meter: &Meter) {
        let About { name, help, unit, .. } = self.about;
        let bounds = self.bounds.iter().map(|micros| to_f64(*micros) / 1e6).collect();
        let build = || {
            meter.f64_histogram(name).with_description(help).with_unit(unit).with_boundaries(bounds).build()
        };
        self.exported.get_or_init(build);
    }

    /// Takes in how long something took, in which trace.
    pub fn observe(&self, labels: [Label; N], took: Duration, trace: Option<TraceId>) {
        if let Some(exported) = self.exported.get() {
            let told = self.keys.into_iter().zip(&labels).filter(|(_, label)| !label.as_str().is_empty());
            let told: Vec<KeyValue> = told
                .map(|(key, label)| match label {
                    Label::Word(word) => KeyValue::new(key, *word),
                    Label::Name(name) => KeyValue::new(key, name.clone()),
                })
                .collect();
            exported.record(took.as_secs_f64(), &told);
        }
        let micros = took.as_micros();
        let at = self.bounds.partition_point(|bound| u128::from(*bound) < micros);
        let make = || Buckets {
            counts: (0..=self.bounds.len()).map(|_| AtomicU64::default()).collect(),
            nanos: AtomicU64::default(),
            exemplars: (0..=self.bounds.len()).map(|_| Mutex::default()).collect(),
        };
        self.cells.with(labels, make, |cell| {
            if let Some(count) = cell.counts.get(at) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            cell.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            // Whoever comes second at the same moment is as good an example.
            if let Some(trace) = trace
                && let Some(mut place) = cell.exemplars.get(at).and_then(Mutex::try_lock)
            {
                *place = Some(Exemplar { trace, seconds: took.as_secs_f64(), at: Instant::now() });
            }
        });
    }

    pub(super) fn told(&self) -> Told {
        let read = |cell: &Buckets| Reading::Buckets {
            bounds: self.bounds.iter().map(|micros| decimal(*micros, 1_000_000)).collect(),
            counts: cell.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: to_f64(cell.nanos.load(Ordering::Relaxed)) / 1e9,
            exemplars: cell.exemplars.iter().map(|place| *place.lock()).collect(),
        };
        Told { about: self.about, cells: self.cells.told(self.keys, read) }
    }
}

impl<const N: usize> fmt::Debug for Histograms<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.about.name)
    }
}

/// A count as a float: exact up to 2^53, which no process counts to.
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// A part of `whole` as a decimal with at least one place.
fn decimal(part: u64, whole: u64) -> String {
    let whole = whole.max(1);
    let places = whole.checked_ilog10().unwrap_or_default() as usize;
    let text = format!("{}.{:0places$}", part / whole, part % whole);
    let short = text.trim_end_matches('0');
    match short.ends_with('.') {
        true => format!("{short}0"),
        false => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        name: "a.b",
        exposed: "a_b_seconds",
        help: "Help",
        unit: "s",
        exposed_unit: "seconds",
        kind: Kind::Histogram,
    };

    #[test]
    fn decimals_are_short_and_have_a_place() {
        for (part, whole, expect) in [
            (10_000, 1_000_000, "0.01"),
            (5_000_000, 1_000_000, "5.0"),
            (0, 1_000, "0.0"),
            (1_250, 1_000, "1.25"),
            (3, 1, "3.0"),
        ] {
            assert_eq!(decimal(part, whole), expect);
        }
    }

    /// However many names there are, a family stays within its bound, and nothing is lost.
    #[test]
    fn a_family_is_bounded() {
        let family = Counters::new(ABOUT, ["name"], 1, 10);
        for number in 0..100 {
            family.add([Label::from(Arc::<str>::from(format!("n{number}")))], 1);
        }
        let told = family.told();
        assert_eq!(told.cells.len(), 11);
        let all: f64 = told
            .cells
            .iter()
            .map(|(_, reading)| match reading {
                Reading::Number(number) => *number,
                Reading::Buckets { .. } => 0.0,
            })
            .sum();
        assert!((all - 100.0).abs() < f64::EPSILON);
        assert!(told.cells.iter().any(|(labels, _)| labels == &[("name", Label::OTHER)]));
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let family = Histograms::new(ABOUT, [], &[1_000, 2_000], 1);
        for micros in [0, 999, 1_000, 1_001, 2_000, 2_001, 9_000_000] {
            family.observe([], Duration::from_micros(micros), Some(TraceId::from_bytes([7; 16])));
        }
        let told = family.told();
        let Some((_, Reading::Buckets { bounds, counts, sum, exemplars })) = told.cells.first() else {
            panic!("{told:?}")
        };
        assert_eq!(bounds, &["0.001", "0.002"]);
        assert_eq!(counts, &[3, 2, 2]);
        assert!((sum - 9.007_001).abs() < 1e-9, "{sum}");
        assert!(exemplars.iter().all(Option::is_some));
    }
}
