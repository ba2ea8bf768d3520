//! Follows the record and raises alerts. What is raised, the records of it and how far the record was looked through are one
//! transaction, so that a process which is killed loses no alert, and the next one raises none twice. Whom people are told of is kept
//! until whoever watches takes it, whatever the store answers meanwhile.

use super::{changes, duties, load};
use crate::{
    alerts::{Alert, Level, Signal, Watch, due_alert},
    model::{AlertKind, AlertSeverity, AlertStatus, Event, EventDraft, EventType},
    policy::Oversight,
    store::{EventQuery, Register, RegisterChange, RegisterEntry, Store, StoreError},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};

const STATE: &str = "state";
/// Records in one read, and the bytes of their bodies.
const PAGE: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
/// After so many records the state is kept in any case: so many are read again after a kill.
const KEPT_AFTER: i64 = 20_000;
/// The first one to watch begins so far back, and with so many records at most.
const FIRST_SINCE: SignedDuration = SignedDuration::from_hours(24);
const FIRST_RECORDS: i64 = 20_000;
/// Records that people are told of at a time; of more, the newest.
const MOST_ALERTED: usize = 256;
/// What time alone changes is looked at so often, at most.
const TICK: SignedDuration = SignedDuration::from_secs(5);

/// A record of type `alert`, for whoever is told of them.
#[derive(Debug)]
pub struct Alerted {
    /// The record.
    pub event: Event,
    /// The alert that it is of; none: it names its alert itself, or is of none of the kinds.
    pub alert: Option<(String, AlertSeverity)>,
}

#[derive(Debug)]
struct Known {
    watch: Watch,
    version: u64,
    /// How far it was as it was kept last.
    seq: i64,
    window: Option<i64>,
}

/// What was written without an answer: whether it stands is seen once the state has another version.
#[derive(Debug)]
struct Unsure {
    /// Of the state that it was to replace.
    version: u64,
    alerted: Vec<Alerted>,
}

/// One who watches. Of all processes on a store one does so at a time; where two do, the store sees to it that each alert is raised
/// once.
#[derive(Debug, Default)]
pub struct Watcher {
    known: Option<Known>,
    ticked: Option<Timestamp>,
    alerted: VecDeque<Alerted>,
    unsure: Option<Unsure>,
}

impl Watcher {
    /// The records that people are told of, in order, the newest of them: those behind which the state stands by now. To be asked for
    /// after a step that failed, too.
    pub fn alerted(&mut self) -> VecDeque<Alerted> {
        std::mem::take(&mut self.alerted)
    }

    /// Another one may watch: nothing is known any more, and it is looked whether what was written last without an answer stands.
    pub async fn rest(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.known = None;
        if self.unsure.is_some() {
            let entry = store.register_entry(Register::Watch, STATE.to_owned()).await?;
            let watch = entry.as_ref().and_then(read);
            self.found(entry.map_or(0, |entry| entry.version), watch.map_or(0, |watch| watch.seq));
        }
        Ok(())
    }

    /// The state stands as of this record. What was written without an answer is told of where that is past it, whoever wrote it: a
    /// repeat has the same id.
    fn found(&mut self, version: u64, seq: i64) {
        if let Some(unsure) = self.unsure.take_if(|unsure| unsure.version != version) {
            self.tell(unsure.alerted.into_iter().filter(|alerted| alerted.event.seq <= seq));
        }
    }

    fn tell(&mut self, alerted: impl IntoIterator<Item = Alerted>) {
        self.alerted.extend(alerted);
        let beyond = self.alerted.len().saturating_sub(MOST_ALERTED);
        self.alerted.drain(..beyond);
    }

    /// Takes in what was recorded since, and how servers stand now.
    pub async fn step(
        &mut self,
        store: &dyn Store,
        rules: &Oversight,
        levels: &[Level],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        loop {
            let mut known = match self.known.take() {
                Some(known) => known,
                None => {
                    let begun = begin(store, now).await?;
                    self.found(begun.version, begun.watch.seq);
                    begun
                }
            };
            let query = EventQuery {
                after_seq: Some(known.watch.seq),
                limit: PAGE,
                most_bytes: PAGE_BYTES,
                ..EventQuery::default()
            };
            let events = store.events(query).await?;
            let mut signals = Vec::new();
            let is_last = events.is_empty();
            let mut records = Vec::new();
            for event in events {
                signals.extend(known.watch.take(event.seq, &event.draft, &rules.alerts, now));
                if event.draft.event_type == EventType::Alert {
                    records.push(event);
                }
            }
            if is_last {
                signals.extend(known.watch.tick(now, &rules.alerts, levels));
            }
            let due = self.ticked.is_none_or(|last| {
                let often = SignedDuration::try_from(rules.alerts.window / 5).unwrap_or(TICK).min(TICK);
                now.duration_since(last).abs() >= often
            });
            let tick = is_last && due;
            // Nothing is known any more where the store does not answer: it is read again.
            let written = self.write(store, rules, known, (signals, records, tick), now).await?;
            if written && is_last {
                return Ok(());
            }
        }
    }

    /// Writes what came of signals, and keeps which records of alerts people are told of. `false`: another one has watched meanwhile.
    async fn write(
        &mut self,
        store: &dyn Store,
        rules: &Oversight,
        mut known: Known,
        (signals, records, tick): (Vec<Signal>, Vec<Event>, bool),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let told_of = !records.is_empty();
        let Raise { mut changed, events, mut of_records } = match tick || !signals.is_empty() {
            true => raise(store, rules, signals, tick, now).await?,
            false => Raise::default(),
        };
        let alerted = records.into_iter().filter_map(|event| {
            let alert = of_records.remove(&event.seq).flatten();
            is_news(&event, alert.as_ref())
                .then(|| Alerted { alert: alert.map(|alert| (alert.id, alert.severity)), event })
        });
        let alerted: Vec<Alerted> = alerted.collect();
        let window = known.watch.window();
        // What people are told of is looked at once.
        let keeps = !changed.is_empty()
            || told_of
            || (window.is_some() && window != known.window)
            || known.watch.seq - known.seq >= KEPT_AFTER;
        if keeps {
            let written = json!(known.watch);
            let state = RegisterChange::set(Register::Watch, STATE, written.clone()).at(known.version);
            changed.push(state);
            match store.set(changed, events).await {
                Ok(true) => self.tell(alerted),
                Ok(false) => return Ok(false),
                Err(error) => {
                    // It may be committed all the same, or still be: then nobody reads these records again.
                    self.unsure = Some(Unsure { version: known.version, alerted });
                    return Err(error);
                }
            }
            // It was read at this version and is another one now: what was unsure before was read again, and is told.
            self.unsure = None;
            let entry = store.register_entry(Register::Watch, STATE.to_owned()).await?;
            // Another one may have gone on from it already: then its state is the one that is known, and is read again.
            self.known = entry.filter(|entry| *entry.value == written).map(|entry| {
                known.version = entry.version;
                (known.seq, known.window) = (known.watch.seq, window);
                known.watch.kept();
                known
            });
        } else {
            self.known = Some(known);
        }
        if tick {
            self.ticked = Some(now);
        }
        Ok(true)
    }
}

/// What signals make of the book.
#[derive(Default)]
struct Raise {
    changed: Vec<RegisterChange>,
    events: Vec<EventDraft>,
    /// The alerts that records are of.
    of_records: BTreeMap<i64, Option<Alert>>,
}

async fn raise(
    store: &dyn Store,
    rules: &Oversight,
    signals: Vec<Signal>,
    tick: bool,
    now: Timestamp,
) -> Result<Raise, StoreError> {
    let mut made = Raise::default();
    let mut book = load(store).await?;
    for signal in signals {
        let told = match &signal {
            Signal::Raised(raised) => raised.record.map(|seq| (seq, raised.kind, raised.subject.clone())),
            Signal::Over(_) => None,
        };
        book.signal(signal, rules, now);
        if let Some((seq, kind, subject)) = told {
            made.of_records.insert(seq, book.told_as(seq, kind, &subject).cloned());
        }
    }
    if tick {
        let done = duties::done(store).await?;
        made.changed.extend(duties::begun(&rules.duties, &done, now));
        for rule in &rules.duties {
            let late = done.get(&*rule.name).and_then(|(done, _)| due_alert(rule, done, now));
            if let Some(late) = late {
                book.raise(late, rules, now);
            }
        }
        book.tick(rules, now);
    }
    let (of_book, told) = changes(book);
    made.changed.extend(of_book);
    made.events = told;
    Ok(made)
}

/// Whether people are told of a record: what is turned off or tuned out raised no alert, and repeats of one that somebody has seen
/// are none. Each step of a budget is.
fn is_news(event: &Event, alert: Option<&Alert>) -> bool {
    let word = |name: &str| event.draft.detail.as_ref().and_then(|detail| detail.get(name)?.as_str());
    let kind = word("alert").and_then(AlertKind::parse);
    match (kind, alert) {
        // One that the book has raised names itself, and what is of no kind is always told.
        (None, _) => true,
        _ if word("alert_id").is_some() => true,
        (Some(_), None) => false,
        (Some(AlertKind::Budget), Some(_)) => true,
        (Some(_), Some(alert)) => alert.status != AlertStatus::Acked,
    }
}

fn read(entry: &RegisterEntry) -> Option<Watch> {
    serde_json::from_str(&entry.value.to_string()).ok()
}

/// Where the one before left off.
async fn begin(store: &dyn Store, now: Timestamp) -> Result<Known, StoreError> {
    let one = EventQuery { limit: 1, ..EventQuery::default() };
    let newest = EventQuery { newest_first: true, ..one.clone() };
    let newest = store.events(newest).await?.first().map_or(0, |event| event.seq);
    let entry = store.register_entry(Register::Watch, STATE.to_owned()).await?;
    let version = entry.as_ref().map_or(0, |entry| entry.version);
    let watch = match entry.as_ref().and_then(read) {
        // Somebody put an older store in place: what is written from now on is looked at.
        Some(watch) if watch.seq > newest => Watch::behind(newest),
        Some(watch) => watch,
        None => {
            let since = now.checked_sub(FIRST_SINCE).unwrap_or(Timestamp::MIN);
            let first = store.events(EventQuery { since: Some(since), ..one }).await?;
            let first = first.first().map_or(newest, |event| event.seq - 1);
            Watch::behind(first.max(newest - FIRST_RECORDS).max(0))
        }
    };
    let seq = watch.seq;
    Ok(Known { watch, version, seq, window: None })
}
