//! What differs from its pins, for a person, and what happens when they accept it.

use super::entry::Seen;
use crate::{
    evidence::PinContext,
    model::{EventDraft, Fingerprint, PersonId, UpstreamName},
    pinning::{
        Book, Difference, Finding, HeldWhy, ItemKind, Record, Standing, differences, key, marker, shown,
        shown_value,
    },
    redaction::DataRules,
    store::{Register, RegisterChange, Store, StoreError},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One item that is not as it was pinned.
#[derive(Clone, Debug, Serialize)]
pub struct PinChange {
    /// Whose.
    pub upstream: UpstreamName,
    /// What it is.
    pub kind: ItemKind,
    /// The upstream's own name for it.
    pub name: String,
    /// Its name in lists.
    pub exposed: String,
    /// `changed`, `new`, `flagged` or `gone`.
    pub state: &'static str,
    /// What was pinned; null: nothing was, or there was no room to keep it.
    pub before: Option<Value>,
    /// What is listed; null: nothing is.
    pub after: Option<Value>,
    /// Where the two differ.
    pub differences: Vec<Difference>,
    /// What the scan found in what is listed.
    pub findings: Vec<Finding>,
    /// Of what is listed: whoever accepts can name it.
    pub fingerprint: Option<Fingerprint>,
    /// What was pinned, when, and by whom it was accepted.
    pub pinned: Option<Value>,
    /// Since when a running gateway holds it.
    pub since: Option<Timestamp>,
    /// What else a person should know.
    pub note: Option<&'static str>,
    #[serde(skip)]
    key: String,
    #[serde(skip)]
    version: u64,
    #[serde(skip)]
    record: Record,
    /// What would be pinned.
    #[serde(skip)]
    target: Option<(Fingerprint, Option<Value>)>,
    /// The name as the upstream wrote it, where it is listed.
    #[serde(skip)]
    raw_names: Vec<String>,
}

/// An item in which something was found.
#[derive(Clone, Debug, Serialize)]
pub struct FoundItem {
    /// Whose.
    pub upstream: UpstreamName,
    /// What it is.
    pub kind: ItemKind,
    /// The upstream's own name for it.
    pub name: String,
    /// Its name in lists.
    pub exposed: String,
    /// `served`; `asks`: served, and each use needs an approval; `pinning`: not served until the store has its pin; or why it is
    /// held: `changed`, `new`, `flagged`.
    pub state: &'static str,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What a person wants to accept.
#[derive(Clone, Debug)]
pub struct Wanted<'w> {
    /// Of which upstream.
    pub upstream: &'w UpstreamName,
    /// The item's own or exposed name; none: everything of the upstream that waits.
    pub name: Option<&'w str>,
    /// Of this kind alone: a tool and a prompt may have the same name.
    pub kind: Option<ItemKind>,
    /// What they have seen; none: whatever it is now.
    pub fingerprint: Option<&'w str>,
    /// Through what they say it: `cli` or `api`.
    pub channel: &'static str,
}

/// What was accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// What it is.
    pub kind: ItemKind,
    /// The upstream's own name for it.
    pub name: String,
    /// Its name in lists.
    pub exposed: String,
    /// How it stood.
    pub state: &'static str,
    /// What is pinned now; null: the pin was removed.
    pub fingerprint: Option<Fingerprint>,
}

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// There is nothing to accept.
    #[error("{0}")]
    Nothing(String),
    /// What the person saw is not what is listed now.
    #[error("`{0}` has changed again since: look at it once more before you accept it")]
    Other(String),
    /// Somebody else changed it at the same moment.
    #[error("somebody else changed what is pinned at the same moment: look at it, and say it again")]
    Raced,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Entries that are written at once.
const MOST_AT_ONCE: usize = 100;

/// What is pinned, beside what is listed now.
pub struct Review<'r> {
    /// All pins.
    pub book: &'r Book,
    /// What upstreams list now, judged by these pins.
    pub seen: &'r [Seen],
    /// The upstreams whose lists are known whole: what they do not list is gone.
    pub listed: &'r HashSet<UpstreamName>,
    /// What may be shown.
    pub data: &'r DataRules,
}

impl Review<'_> {
    fn shown(&self, text: &str) -> String {
        shown(&self.data.redact_text(text))
    }

    fn form(&self, form: &Value) -> Value {
        self.data.redact_value(form).into_owned()
    }

    /// What is not as it was pinned, of one upstream or of all; in the order of upstreams, kinds and names.
    pub fn changes(&self, of: Option<&UpstreamName>) -> Vec<PinChange> {
        let seen: HashMap<String, &Seen> = self
            .seen
            .iter()
            .map(|seen| (key(&seen.item.upstream, seen.item.kind, &seen.item.name), seen))
            .collect();
        let wanted = |upstream: &UpstreamName| of.is_none_or(|of| of == upstream);
        let mut changes: Vec<PinChange> = Vec::new();
        for (key, version, record) in self.book.records().filter(|(_, _, record)| wanted(&record.upstream)) {
            changes.extend(self.change(key, version, record, seen.get(key.as_str()).copied()));
        }
        // What was never written: a reader has no gateway that would.
        for (key, seen) in seen.iter().filter(|(key, _)| self.book.get(key).is_none()) {
            if let Standing::Held(_) | Standing::Asks = seen.standing
                && wanted(&seen.item.upstream)
            {
                let item = &seen.item;
                let names = (self.shown(&item.name), self.shown(&item.exposed));
                let record = Record::blank(&item.upstream, item.kind, names.0, names.1);
                changes.extend(self.change(key, 0, &record, Some(seen)));
            }
        }
        changes.sort_by(|one, other| {
            (&one.upstream, one.kind, &one.name).cmp(&(&other.upstream, other.kind, &other.name))
        });
        changes
    }

    /// Everything in which something was found, of one upstream or of all, served or not; in the order of upstreams, kinds and
    /// names.
    pub fn findings(&self, of: Option<&UpstreamName>) -> Vec<FoundItem> {
        let found = self.seen.iter().map(|seen| (&seen.item, seen.standing));
        let mut found: Vec<FoundItem> = found
            .filter(|(item, _)| !item.findings.is_empty() && of.is_none_or(|of| *of == item.upstream))
            .map(|(item, standing)| FoundItem {
                upstream: item.upstream.clone(),
                kind: item.kind,
                name: self.shown(&item.name),
                exposed: self.shown(&item.exposed),
                state: match standing {
                    Standing::Pinned => "served",
                    Standing::Asks => "asks",
                    Standing::Unpinned => "pinning",
                    Standing::Held(why) => why.as_str(),
                },
                findings: item.findings.clone(),
            })
            .collect();
        found.sort_by(|one, other| {
            (&one.upstream, one.kind, &one.name).cmp(&(&other.upstream, other.kind, &other.name))
        });
        found
    }

    fn change(&self, key: &str, version: u64, record: &Record, seen: Option<&Seen>) -> Option<PinChange> {
        let pin = record.pin.as_ref();
        let held = record.held.as_ref();
        let (state, target, findings, note) = match (seen, held) {
            (Some(seen), held) => match (seen.standing, held) {
                (Standing::Held(why), _) => {
                    (why.as_str(), Some(listed(self, seen)), seen.item.findings.clone(), None)
                }
                (Standing::Asks, _) => {
                    let note = "it is listed, and each use of it needs an approval until it is accepted";
                    let why = HeldWhy::New.as_str();
                    (why, Some(listed(self, seen)), seen.item.findings.clone(), Some(note))
                }
                (Standing::Pinned | Standing::Unpinned, Some(held)) => {
                    let note = "a running gateway saw it so; a new connection lists it as it was pinned";
                    let target = (held.fingerprint.clone(), held.form.clone());
                    (held.why.as_str(), Some(target), held.findings.clone(), Some(note))
                }
                (Standing::Pinned | Standing::Unpinned, None) => return None,
            },
            (None, _)
                if self.listed.contains(&record.upstream)
                    && pin.is_some()
                    && record.kind.is_listed()
                    // What there is to read comes and goes.
                    && (record.kind != ItemKind::Resource || held.is_some()) =>
            {
                let note = "its pin stays: where it comes back it is held against that";
                ("gone", None, Vec::new(), Some(note))
            }
            (None, Some(held)) => {
                let target = (held.fingerprint.clone(), held.form.clone());
                (held.why.as_str(), Some(target), held.findings.clone(), None)
            }
            (None, None) => return None,
        };
        let before = pin.and_then(|pin| pin.form.as_ref());
        let after = target.as_ref().and_then(|(_, form)| form.as_ref());
        let differences = match (before, after) {
            (Some(before), Some(after)) => differences(before, after),
            (None, Some(after)) if pin.is_none() => differences(&json!({}), after),
            _ => Vec::new(),
        };
        let same = pin.is_some_and(|pin| target.as_ref().is_some_and(|(print, _)| *print == pin.fingerprint));
        let unseen = "what differs was not kept: it is beyond what is kept of an item, or there was no room";
        let note = note.or_else(|| (differences.is_empty() && !same).then_some(unseen));
        Some(PinChange {
            upstream: record.upstream.clone(),
            kind: record.kind,
            name: shown(&record.name),
            exposed: shown(&record.exposed),
            state,
            before: before.map(shown_value),
            after: after.map(shown_value),
            differences,
            findings,
            fingerprint: target.as_ref().map(|(fingerprint, _)| fingerprint.clone()),
            pinned: pin.map(|pin| json!({"fingerprint": pin.fingerprint, "at": pin.at, "by": pin.by})),
            since: held.map(|held| held.at),
            note,
            key: key.to_owned(),
            version,
            record: record.clone(),
            target,
            raw_names: seen
                .map(|seen| vec![seen.item.name.to_string(), seen.item.exposed.to_string()])
                .unwrap_or_default(),
        })
    }

    /// Accepts what waits, for a person with the right to. What is gone is accepted only by its name: its pin goes.
    pub async fn accept(
        &self,
        store: &dyn Store,
        by: &PersonId,
        wanted: &Wanted<'_>,
        context: PinContext<'_>,
    ) -> Result<Vec<Accepted>, AcceptError> {
        let changes = self.changes(Some(wanted.upstream));
        let chosen: Vec<&PinChange> = changes
            .iter()
            .filter(|change| wanted.kind.is_none_or(|kind| change.kind == kind))
            .filter(|change| match wanted.name {
                None => change.target.is_some(),
                Some(name) => change.is_named(name),
            })
            .collect();
        if chosen.is_empty() {
            return Err(AcceptError::Nothing(nothing(wanted, &changes)));
        }
        if let Some(seen) = wanted.fingerprint {
            let same =
                |change: &&PinChange| change.fingerprint.as_ref().is_some_and(|print| **print == *seen);
            if let Some(other) = chosen.iter().find(|change| !same(change)) {
                return Err(AcceptError::Other(other.exposed.clone()));
            }
        }
        let mut accepted = Vec::new();
        for part in chosen.chunks(MOST_AT_ONCE) {
            let (mut entries, mut events) = (Vec::new(), Vec::new());
            for change in part {
                let after = change
                    .target
                    .clone()
                    .map(|target| change.record.accept(target, &change.findings, by, context.now));
                events.push(change.event(after.as_ref(), by, wanted.channel, context));
                entries.push(RegisterChange {
                    register: Register::Pin,
                    key: change.key.clone(),
                    expected: Some(change.version),
                    value: after.map(|after| json!(after)),
                });
                accepted.push(Accepted {
                    kind: change.kind,
                    name: change.name.clone(),
                    exposed: change.exposed.clone(),
                    state: change.state,
                    fingerprint: change.fingerprint.clone(),
                });
            }
            if !store.set(entries, events).await? {
                return Err(AcceptError::Raced);
            }
        }
        Ok(accepted)
    }

    /// Pins everything that these upstreams list as it is now; pins of what is gone go. `by`: a person with the right to
    /// accept; none: only what has no pin yet is pinned. Gives how many there are of each upstream and kind.
    pub async fn pin(
        &self,
        store: &dyn Store,
        upstreams: &[UpstreamName],
        by: Option<&PersonId>,
        context: PinContext<'_>,
    ) -> Result<BTreeMap<UpstreamName, BTreeMap<ItemKind, usize>>, AcceptError> {
        let mut counts: BTreeMap<UpstreamName, BTreeMap<ItemKind, usize>> = BTreeMap::new();
        for upstream in upstreams {
            let mut writing = Writing { store, entries: Vec::new(), events: Vec::new() };
            let mut keys = HashSet::new();
            let mut kinds: BTreeMap<ItemKind, Vec<(String, Fingerprint)>> = BTreeMap::new();
            let mut room = self.book.room_for_resources(upstream);
            let own = self.seen.iter().filter(|seen| seen.item.upstream == *upstream);
            for seen in own {
                let item = &seen.item;
                let key = key(upstream, item.kind, &item.name);
                if item.kind == ItemKind::Resource && self.book.get(&key).is_none() {
                    // Beyond what is pinned of resources they are served all the same.
                    let Some(left) = room.checked_sub(1) else { continue };
                    room = left;
                }
                *counts.entry(upstream.clone()).or_default().entry(item.kind).or_default() += 1;
                keys.insert(key.clone());
                let known = self.book.get(&key);
                if by.is_none() && known.is_some_and(|(_, record)| record.pin.is_some()) {
                    continue;
                }
                let record = match known {
                    Some((_, record)) => record.clone(),
                    None => {
                        Record::blank(upstream, item.kind, self.shown(&item.name), self.shown(&item.exposed))
                    }
                };
                let listed = listed(self, seen);
                let name = record.name.clone();
                let next = match by {
                    Some(by) => record.accept(listed, &item.findings, by, context.now),
                    None => record.as_listed(listed, context.now),
                };
                kinds.entry(item.kind).or_default().push((name, item.fingerprint.clone()));
                writing.entry(key, known.map_or(0, |(version, _)| version), Some(json!(next))).await?;
            }
            if by.is_some() && self.listed.contains(upstream) {
                let gone = self.book.of(upstream).filter(|(key, _, _)| !keys.contains(key.as_str()));
                for (key, version, _) in gone {
                    writing.entry(key.clone(), version, None).await?;
                }
            }
            for (kind, items) in &kinds {
                let first_use = self.book.marked(upstream, *kind).is_none();
                if first_use {
                    writing.entries.push(
                        RegisterChange::set(
                            Register::Pin,
                            marker(upstream, *kind),
                            json!({"since": context.now}),
                        )
                        .at(0),
                    );
                }
                writing.events.push(context.pinned((upstream, *kind), items, first_use, by));
            }
            writing.finish().await?;
        }
        Ok(counts)
    }
}

/// Entries and records on their way to the store.
struct Writing<'w> {
    store: &'w dyn Store,
    entries: Vec<RegisterChange>,
    events: Vec<EventDraft>,
}

impl Writing<'_> {
    async fn entry(&mut self, key: String, expected: u64, value: Option<Value>) -> Result<(), AcceptError> {
        self.entries.push(RegisterChange { register: Register::Pin, key, expected: Some(expected), value });
        if self.entries.len() >= MOST_AT_ONCE {
            self.finish().await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), AcceptError> {
        if self.entries.is_empty() && self.events.is_empty() {
            return Ok(());
        }
        let done =
            self.store.set(std::mem::take(&mut self.entries), std::mem::take(&mut self.events)).await?;
        if done { Ok(()) } else { Err(AcceptError::Raced) }
    }
}

impl PinChange {
    /// Whether a person means it: by its own name or its name in lists.
    fn is_named(&self, name: &str) -> bool {
        self.raw_names.iter().any(|own| own == name)
            || [&self.name, &self.exposed].contains(&&name.to_owned())
    }

    fn event(
        &self,
        after: Option<&Record>,
        by: &PersonId,
        channel: &'static str,
        context: PinContext<'_>,
    ) -> EventDraft {
        let places: Vec<&str> = self.differences.iter().map(|one| one.at.as_str()).collect();
        context.accepted(&self.record, after, by, channel, (self.state, &self.findings, json!(places)))
    }
}

/// What would be pinned of a listed item.
fn listed(review: &Review<'_>, seen: &Seen) -> (Fingerprint, Option<Value>) {
    (seen.item.fingerprint.clone(), Some(review.form(&seen.form())))
}

/// Why there is nothing to accept.
fn nothing(wanted: &Wanted<'_>, changes: &[PinChange]) -> String {
    let waiting: Vec<&str> = changes
        .iter()
        .filter(|change| change.target.is_some())
        .take(10)
        .map(|change| change.name.as_str())
        .collect();
    let upstream = wanted.upstream;
    match (wanted.name, waiting.as_slice()) {
        (None, _) | (Some(_), []) => match wanted.kind {
            Some(kind) => format!("no {kind} of server `{upstream}` waits to be accepted"),
            None => format!("nothing of server `{upstream}` waits to be accepted"),
        },
        (Some(name), names) => {
            format!(
                "`{}` is nothing of server `{upstream}` that waits; what waits: {}",
                shown(name),
                names.join(", ")
            )
        }
    }
}
