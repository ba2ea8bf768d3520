//! What is to be written about items as they are listed now: first uses, what waits for a person, what is again as it was.

use super::{
    OnFindings,
    book::{Book, Held, HeldWhy, Pin, PinSettings, Record, Standing, ToldVersion, key, marker},
    item::ItemKind,
    observed::Observed,
    scan::{Finding, FindingKind, kinds_of},
};
use crate::model::{Fingerprint, UpstreamName};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// One entry to be written, where it still has the version that was read; 0: where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its key.
    pub key: String,
    /// The version that it must have.
    pub expected: u64,
    /// What it becomes; none: it goes.
    pub value: Option<Value>,
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Items were pinned as they were listed.
    Pinned {
        /// Whose.
        upstream: UpstreamName,
        /// What they are.
        kind: ItemKind,
        /// Own names, as they may be shown, and fingerprints.
        items: Vec<(String, Fingerprint)>,
        /// The first of this kind of this upstream.
        first_use: bool,
    },
    /// An item waits for a person.
    Held {
        /// Which.
        record: Box<Record>,
        /// It is served all the same, and each use of it asks.
        asks: bool,
    },
    /// The scan found something in an item, which is served.
    Found {
        /// Which, as it may be shown: upstream, kind, own name and name in lists.
        item: (UpstreamName, ItemKind, String, String),
        /// Of the item.
        fingerprint: Fingerprint,
        /// What.
        findings: Vec<Finding>,
    },
}

/// What is written in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writes {
    /// Entries.
    pub entries: Vec<Write>,
    /// What is told of them.
    pub told: Vec<Told>,
}

/// Entries of one transaction.
const MOST_AT_ONCE: usize = 200;
/// Pins of one upstream beside those of its resources: what is listed beyond them is not pinned, and so not served.
const MOST_OF_ONE: usize = 10_000;
/// Forms that are kept of all items together, in bytes, about.
const ROOM_FOR_FORMS: usize = 8 << 20;
/// The same of one upstream.
const ROOM_OF_ONE: usize = 2 << 20;
/// Versions of one item that are written within [`TOLD_FOR`].
const MOST_VERSIONS: usize = 8;
/// The same of all items of one upstream.
const MOST_VERSIONS_OF_ONE: usize = 500;
/// How long a version counts as told.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What is to be written about what upstreams list now. `form` gives what is kept of an item, masked; `shown` a name as it
/// may be kept.
pub fn reconcile(
    book: &Book,
    settings: &dyn Fn(&UpstreamName) -> PinSettings,
    observed: &[Observed],
    form: &dyn Fn(&Observed) -> Value,
    shown: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> Vec<Writes> {
    let mut groups: BTreeMap<(&UpstreamName, ItemKind), Vec<&Observed>> = BTreeMap::new();
    for item in observed {
        groups.entry((&item.upstream, item.kind)).or_default().push(item);
    }
    let mut pen = Pen {
        book,
        form,
        shown,
        now,
        room: ROOM_FOR_FORMS.saturating_sub(book.form_bytes),
        own_room: 0,
        resources: 0,
        done: Vec::new(),
    };
    for ((upstream, kind), items) in groups {
        pen.group(settings(upstream), upstream, kind, &items);
    }
    pen.done
}

struct Pen<'r> {
    book: &'r Book,
    form: &'r dyn Fn(&Observed) -> Value,
    shown: &'r dyn Fn(&str) -> String,
    now: Timestamp,
    room: usize,
    own_room: usize,
    /// Resources that get a record.
    resources: usize,
    done: Vec<Writes>,
}

impl Pen<'_> {
    fn group(&mut self, settings: PinSettings, upstream: &UpstreamName, kind: ItemKind, items: &[&Observed]) {
        let own = self.book.form_bytes_of.get(upstream).copied().unwrap_or_default();
        self.own_room = ROOM_OF_ONE.saturating_sub(own);
        let first_use = kind.is_listed() && self.book.marked(upstream, kind).is_none();
        let is_resource = kind == ItemKind::Resource;
        let of_others =
            self.book.of(upstream).filter(|(_, _, record)| record.kind != ItemKind::Resource).count();
        let mut room = match is_resource {
            true => self.book.room_for_resources(upstream).saturating_sub(self.resources),
            false => MOST_OF_ONE.saturating_sub(of_others),
        };
        let mut gone = if is_resource { self.gone(upstream, items) } else { Vec::new() };
        let mut versions = self.versions_of(upstream);
        let mut writes = Writes::default();
        let mut pinned: Vec<(String, Fingerprint)> = Vec::new();
        for item in items {
            if writes.entries.len() >= MOST_AT_ONCE {
                self.finish(&mut writes, &mut pinned, (upstream, kind), first_use);
            }
            let key = key(upstream, kind, &item.name);
            let (version, record) = match self.book.get(&key) {
                Some((version, record)) => (version, Some(record)),
                None => (0, None),
            };
            let standing = self.book.standing(settings, item);
            if record.is_none() && room == 0 {
                let Some((key, version)) = gone.pop() else { continue };
                writes.entries.push(Write { key, expected: version, value: None });
                room = 1;
            }
            let (next, is_held) = match standing {
                // A new resource, or one for which there was no room before.
                Standing::Pinned if record.is_none_or(|record| record.pin.is_none()) => {
                    (Some(self.pinned(item, record)), false)
                }
                Standing::Unpinned => {
                    pinned.push(((self.shown)(&item.name), item.fingerprint.clone()));
                    (Some(self.pinned(item, record)), false)
                }
                Standing::Held(why) => (self.held(item, record, why, &mut versions), true),
                Standing::Asks => (self.held(item, record, HeldWhy::New, &mut versions), true),
                Standing::Pinned => (as_it_was(record), false),
            };
            let found = self.found(settings, standing, item, next.as_ref().or(record), &mut versions);
            let next = match found {
                Some((next, told)) => {
                    writes.told.push(told);
                    Some(next)
                }
                None => next,
            };
            let Some(next) = next else { continue };
            if record.is_none() {
                room = room.saturating_sub(1);
                self.resources += usize::from(is_resource);
            }
            if is_held && !self.is_told(record, &item.fingerprint) {
                let asks = standing == Standing::Asks;
                writes.told.push(Told::Held { record: Box::new(next.clone()), asks });
            }
            writes.entries.push(Write { key, expected: version, value: Some(json!(next)) });
        }
        if first_use && !items.is_empty() {
            let value = json!({"since": self.now});
            writes.entries.push(Write { key: marker(upstream, kind), expected: 0, value: Some(value) });
        }
        self.finish(&mut writes, &mut pinned, (upstream, kind), first_use);
    }

    /// Pins of resources that make room for others, the first to go last: of what is not listed, was pinned by nobody, and has
    /// stood for a while, so that a server that lists others all the time writes only so much.
    fn gone(&self, upstream: &UpstreamName, listed: &[&Observed]) -> Vec<(String, u64)> {
        let keys: HashSet<String> =
            listed.iter().map(|item| key(upstream, ItemKind::Resource, &item.name)).collect();
        let mut gone: Vec<(bool, Timestamp, &String, u64)> = self
            .book
            .of(upstream)
            .filter(|(key, _, record)| record.kind == ItemKind::Resource && !keys.contains(key.as_str()))
            .filter_map(|(key, version, record)| {
                let pin = record.pin.as_ref().filter(|pin| pin.by.is_none())?;
                let rests = self.now.duration_since(pin.at) >= TOLD_FOR;
                rests.then_some((record.held.is_some(), pin.at, key, version))
            })
            .collect();
        gone.sort_unstable_by(|one, other| other.cmp(one));
        gone.into_iter().map(|(_, _, key, version)| (key.clone(), version)).collect()
    }

    /// Closes a transaction.
    fn finish(
        &mut self,
        writes: &mut Writes,
        pinned: &mut Vec<(String, Fingerprint)>,
        (upstream, kind): (&UpstreamName, ItemKind),
        first_use: bool,
    ) {
        if !pinned.is_empty() {
            let items = std::mem::take(pinned);
            writes.told.push(Told::Pinned { upstream: upstream.clone(), kind, items, first_use });
        }
        if !writes.entries.is_empty() {
            self.done.push(std::mem::take(writes));
        }
    }

    /// Versions of an upstream's items that were told lately.
    fn versions_of(&self, upstream: &UpstreamName) -> usize {
        self.book.of(upstream).map(|(_, _, record)| self.recent(record)).sum()
    }

    fn recent(&self, record: &Record) -> usize {
        record.told.iter().filter(|told| self.now.duration_since(told.at) < TOLD_FOR).count()
    }

    /// Whether a version was told lately.
    fn is_told(&self, record: Option<&Record>, fingerprint: &Fingerprint) -> bool {
        let told = record.map(|record| record.told.as_slice()).unwrap_or_default();
        told.iter()
            .any(|told| told.fingerprint == *fingerprint && self.now.duration_since(told.at) < TOLD_FOR)
    }

    fn blank(&self, item: &Observed) -> Record {
        Record::blank(&item.upstream, item.kind, (self.shown)(&item.name), (self.shown)(&item.exposed))
    }

    /// What is kept of an item, while there is room.
    fn form(&mut self, item: &Observed) -> Option<Value> {
        let form = (self.form)(item);
        let bytes = form.to_string().len();
        let (room, own_room) = (self.room.checked_sub(bytes)?, self.own_room.checked_sub(bytes)?);
        (self.room, self.own_room) = (room, own_room);
        Some(form)
    }

    fn pinned(&mut self, item: &Observed, record: Option<&Record>) -> Record {
        let before = record.cloned().unwrap_or_else(|| self.blank(item));
        let form = self.form(item);
        before.as_listed((item.fingerprint.clone(), form), self.now)
    }

    /// An item that waits, where that is news: bounded, so that a server that changes all the time writes only so much.
    fn held(
        &mut self,
        item: &Observed,
        record: Option<&Record>,
        why: HeldWhy,
        versions: &mut usize,
    ) -> Option<Record> {
        let known = record.and_then(|record| record.held.as_ref());
        if known.is_some_and(|held| held.fingerprint == item.fingerprint && held.why == why) {
            return None;
        }
        if record.is_some_and(|record| self.recent(record) >= MOST_VERSIONS)
            || *versions >= MOST_VERSIONS_OF_ONE
        {
            return None;
        }
        *versions += 1;
        let mut next = record.cloned().unwrap_or_else(|| self.blank(item));
        let form = self.form(item);
        let (fingerprint, findings) = (item.fingerprint.clone(), item.findings.clone());
        next.held = Some(Held { fingerprint: fingerprint.clone(), form, at: self.now, why, findings });
        self.tell(&mut next, fingerprint);
        Some(next)
    }

    /// Remembers that a version is told; those that were told long ago are forgotten.
    fn tell(&self, record: &mut Record, fingerprint: Fingerprint) {
        record.told.retain(|told| self.now.duration_since(told.at) < TOLD_FOR);
        record.told.push(ToldVersion { fingerprint, at: self.now });
    }

    /// What the scan found in an item that is served, where that is an alert and news.
    fn found(
        &self,
        settings: PinSettings,
        standing: Standing,
        item: &Observed,
        record: Option<&Record>,
        versions: &mut usize,
    ) -> Option<(Record, Told)> {
        let is_served = match standing {
            Standing::Pinned | Standing::Unpinned | Standing::Asks => true,
            Standing::Held(_) => false,
        };
        let will_be_held = settings.findings == OnFindings::Quarantine && standing == Standing::Unpinned;
        let kinds = kinds_of(&item.findings);
        if !is_served || will_be_held || settings.findings == OnFindings::Tell || kinds.is_empty() {
            return None;
        }
        let pin = record.and_then(|record| record.pin.as_ref());
        let pin = pin.filter(|pin| pin.fingerprint == item.fingerprint);
        // Of an item that is not pinned yet its own record tells, as it comes.
        let pin = pin?;
        let is_told = |kind: &FindingKind| pin.alerted.contains(kind) || pin.accepted.contains(kind);
        if kinds.iter().all(is_told) {
            return None;
        }
        let is_restless = record.is_some_and(|record| self.recent(record) >= MOST_VERSIONS);
        if is_restless || *versions >= MOST_VERSIONS_OF_ONE {
            return None;
        }
        *versions += 1;
        let pin = Pin { alerted: kinds, ..pin.clone() };
        let mut next = record.cloned().unwrap_or_else(|| self.blank(item));
        next.pin = Some(pin);
        // That it is served with findings is other news than that it is held.
        self.tell(&mut next, Fingerprint::from(format!("found:{}", item.fingerprint)));
        let item_named = (item.upstream.clone(), item.kind, next.name.clone(), next.exposed.clone());
        let told = Told::Found {
            item: item_named,
            fingerprint: item.fingerprint.clone(),
            findings: item.findings.clone(),
        };
        Some((next, told))
    }
}

/// An item that is as it was pinned waits no more.
fn as_it_was(record: Option<&Record>) -> Option<Record> {
    let record = record.filter(|record| record.held.is_some())?;
    Some(Record { held: None, ..record.clone() })
}

#[cfg(test)]
mod tests;
