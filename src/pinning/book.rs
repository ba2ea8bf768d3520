//! Every pin, and how a listed item stands by them.

use super::{
    NewItems, OnFindings,
    item::ItemKind,
    observed::Observed,
    scan::{Finding, FindingKind, kinds_of},
};
use crate::model::{Fingerprint, PersonId, UpstreamName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What of an upstream's table concerns pins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinSettings {
    /// `new_tools`
    pub new_items: NewItems,
    /// `findings`
    pub findings: OnFindings,
}

/// What was accepted of an item: as it was seen first, or as a person took it for what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Of the item then.
    pub fingerprint: Fingerprint,
    /// What was pinned, masked and bounded; none where there was no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// When.
    pub at: Timestamp,
    /// Who accepted it; nobody: it was pinned as it was listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PersonId>,
    /// The findings that the person accepted with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<FindingKind>,
    /// The findings of which an alert was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerted: Vec<FindingKind>,
}

impl Pin {
    pub(super) fn of(fingerprint: Fingerprint, form: Option<Value>, at: Timestamp) -> Self {
        Self { fingerprint, form, at, by: None, accepted: Vec::new(), alerted: Vec::new() }
    }
}

/// Why an item waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldWhy {
    /// It is not what was pinned.
    Changed,
    /// It appeared after its upstream was pinned.
    New,
    /// The scan found something in it.
    Flagged,
}

impl HeldWhy {
    /// Its word in listings and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::New => "new",
            Self::Flagged => "flagged",
        }
    }

    /// Why, as the end of a sentence about the item.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Changed => "it is not what it was when it was pinned",
            Self::New => "it appeared after its server was pinned",
            Self::Flagged => "its text looks like instructions to a model, or like another server's tool",
        }
    }
}

/// What waits for a person, as a gateway saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Of the item as it is listed.
    pub fingerprint: Fingerprint,
    /// What is listed, masked and bounded; none where there was no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub why: HeldWhy,
    /// What the scan found in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// A version of an item that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ToldVersion {
    pub(super) fingerprint: Fingerprint,
    pub(super) at: Timestamp,
}

/// Everything that is kept of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Whose.
    pub upstream: UpstreamName,
    /// What it is.
    pub kind: ItemKind,
    /// The upstream's own name for it, as it may be shown.
    pub name: String,
    /// Its name in lists, as it may be shown.
    pub exposed: String,
    /// What was accepted; none of an item that only waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// When it was pinned first; none: it has the pin that it had first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<Timestamp>,
    /// What waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The newest versions that were told, so that nobody is told of one twice in an hour, and a server that keeps changing
    /// writes only so much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) told: Vec<ToldVersion>,
}

impl Record {
    /// The record after a person accepted what waits; none where nothing does.
    pub fn accept_held(&self, by: &PersonId, now: Timestamp) -> Option<Self> {
        let held = self.held.clone()?;
        Some(self.accept((held.fingerprint, held.form), &held.findings, by, now))
    }

    /// The record after a person accepted a version of the item: its fingerprint, and what is kept of it.
    pub fn accept(
        &self,
        (fingerprint, form): (Fingerprint, Option<Value>),
        findings: &[Finding],
        by: &PersonId,
        now: Timestamp,
    ) -> Self {
        let same = self.pin.as_ref().filter(|pin| pin.fingerprint == fingerprint);
        let alerted = same.map(|pin| pin.alerted.clone()).unwrap_or_default();
        let form = form.or_else(|| same.and_then(|pin| pin.form.clone()));
        let accepted = kinds_of(findings);
        let pin = Pin { by: Some(by.clone()), accepted, alerted, ..Pin::of(fingerprint, form, now) };
        Self { pin: Some(pin), first: self.since(), held: None, ..self.clone() }
    }

    /// When the item was pinned first.
    pub fn since(&self) -> Option<Timestamp> {
        self.first.or_else(|| self.pin.as_ref().map(|pin| pin.at))
    }

    /// The record after the item was pinned as it is listed, by nobody.
    #[must_use]
    pub fn as_listed(&self, (fingerprint, form): (Fingerprint, Option<Value>), at: Timestamp) -> Self {
        let pin = Some(Pin::of(fingerprint, form, at));
        Self { pin, first: self.since(), held: None, ..self.clone() }
    }

    /// A record of an item of which nothing is kept yet. Both names are as they may be kept.
    pub fn blank(upstream: &UpstreamName, kind: ItemKind, name: String, exposed: String) -> Self {
        Self {
            upstream: upstream.clone(),
            kind,
            name,
            exposed,
            pin: None,
            first: None,
            held: None,
            told: Vec::new(),
        }
    }
}

/// How a listed item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was accepted.
    Pinned,
    /// To be pinned as it is, and not served before that.
    Unpinned,
    /// New: served, and each use needs an approval until a person accepts it.
    Asks,
    /// Not served until a person accepts it.
    Held(HeldWhy),
}

/// The key of an item's record. Names are an upstream's text, and may be long or hold what may not be stored.
pub fn key(upstream: &UpstreamName, kind: ItemKind, own_name: &str) -> String {
    let digest = hex::encode(Sha256::digest(own_name.as_bytes()));
    format!("{upstream}:{kind}:{}", digest.get(..40).unwrap_or_default())
}

/// The key that says that an upstream's items of a kind were pinned: what comes later is new.
pub fn marker(upstream: &UpstreamName, kind: ItemKind) -> String {
    format!("{upstream}:{kind}")
}

/// All that is pinned, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    records: BTreeMap<String, (u64, Record)>,
    markers: HashMap<String, u64>,
    /// Entries that cannot be read: what they are of is not served.
    unreadable: HashSet<String>,
    /// Bytes of all forms, about.
    pub(super) form_bytes: usize,
    /// The same of each upstream.
    pub(super) form_bytes_of: HashMap<UpstreamName, usize>,
    /// Records of resources of each upstream.
    resources_of: HashMap<UpstreamName, usize>,
    /// Where lists are not read now: the keys of items of which only the name is known.
    offline: Option<HashSet<String>>,
}

/// Resources of one upstream that are pinned; others are served all the same, and scanned.
pub(super) const MOST_RESOURCES_OF_ONE: usize = 1_000;
/// The same of all upstreams.
const MOST_RESOURCES: usize = 5_000;

impl Book {
    /// The same for whoever starts nothing, and judges lists as they were seen last: what a running gateway holds is held, what
    /// would be pinned as it comes is taken as pinned, and so is an item with a pin of which only the name is known (`partial`,
    /// by its key).
    #[must_use]
    pub fn offline(self, partial: HashSet<String>) -> Self {
        Self { offline: Some(partial), ..self }
    }

    /// How many more resources of an upstream can be pinned.
    pub fn room_for_resources(&self, upstream: &UpstreamName) -> usize {
        let own = self.resources_of.get(upstream).copied().unwrap_or_default();
        let all: usize = self.resources_of.values().sum();
        MOST_RESOURCES_OF_ONE.saturating_sub(own).min(MOST_RESOURCES.saturating_sub(all))
    }

    /// From the entries of a register: key, version and value of each.
    pub fn read<'e>(entries: impl IntoIterator<Item = (&'e str, u64, &'e Value)>) -> Self {
        let mut book = Self::default();
        for (key, version, value) in entries {
            if key.matches(':').count() < 2 {
                book.markers.insert(key.to_owned(), version);
                continue;
            }
            match Record::deserialize(value) {
                Ok(record) => {
                    let forms = [
                        record.pin.as_ref().and_then(|pin| pin.form.as_ref()),
                        record.held.as_ref().and_then(|held| held.form.as_ref()),
                    ];
                    let bytes = forms.into_iter().flatten().map(|form| form.to_string().len()).sum::<usize>();
                    book.form_bytes += bytes;
                    *book.form_bytes_of.entry(record.upstream.clone()).or_default() += bytes;
                    if record.kind == ItemKind::Resource {
                        *book.resources_of.entry(record.upstream.clone()).or_default() += 1;
                    }
                    book.records.insert(key.to_owned(), (version, record));
                }
                Err(_) => drop(book.unreadable.insert(key.to_owned())),
            }
        }
        book
    }

    /// The record of a key, with its version.
    pub fn get(&self, key: &str) -> Option<(u64, &Record)> {
        self.records.get(key).map(|(version, record)| (*version, record))
    }

    /// The version of a marker; none where an upstream's items of a kind were not pinned yet.
    pub fn marked(&self, upstream: &UpstreamName, kind: ItemKind) -> Option<u64> {
        self.markers.get(&marker(upstream, kind)).copied()
    }

    /// The records of one upstream, by their keys.
    pub fn of<'b>(&'b self, upstream: &UpstreamName) -> impl Iterator<Item = (&'b String, u64, &'b Record)> {
        let (from, to) = (format!("{upstream}:"), format!("{upstream};"));
        self.records.range(from..to).map(|(key, (version, record))| (key, *version, record))
    }

    /// When an item was pinned first; none: it has no pin.
    pub fn since(&self, upstream: &UpstreamName, kind: ItemKind, own_name: &str) -> Option<Timestamp> {
        self.get(&key(upstream, kind, own_name)).and_then(|(_, record)| record.since())
    }

    /// Every record.
    pub fn records(&self) -> impl Iterator<Item = (&String, u64, &Record)> {
        self.records.iter().map(|(key, (version, record))| (key, *version, record))
    }

    /// How a listed item stands.
    pub fn standing(&self, settings: PinSettings, item: &Observed) -> Standing {
        let key = key(&item.upstream, item.kind, &item.name);
        if self.unreadable.contains(&key) {
            return Standing::Held(HeldWhy::Changed);
        }
        let record = self.records.get(&key).map(|(_, record)| record);
        let pin = record.and_then(|record| record.pin.as_ref());
        if let Some(partial) = &self.offline {
            match record.and_then(|record| record.held.as_ref()) {
                Some(held) if held.why == HeldWhy::New && settings.new_items == NewItems::Ask => {
                    return Standing::Asks;
                }
                Some(held) => return Standing::Held(held.why),
                None if pin.is_some() && partial.contains(&key) => return Standing::Pinned,
                None => {}
            }
        }
        match self.judged(settings, item, pin) {
            Standing::Unpinned if self.offline.is_some() => Standing::Pinned,
            standing => standing,
        }
    }

    /// The same of an item by what it is and what is pinned of it.
    fn judged(&self, settings: PinSettings, item: &Observed, pin: Option<&Pin>) -> Standing {
        let matching = pin.filter(|pin| pin.fingerprint == item.fingerprint);
        let flagged = settings.findings == OnFindings::Quarantine && {
            let accepted = matching.filter(|pin| pin.by.is_some()).map(|pin| pin.accepted.as_slice());
            let accepted = accepted.unwrap_or_default();
            kinds_of(&item.findings).iter().any(|kind| !accepted.contains(kind))
        };
        let is_resource = item.kind == ItemKind::Resource;
        let is_known = self.marked(&item.upstream, item.kind).is_some();
        match (pin, matching) {
            (Some(_), None) => Standing::Held(HeldWhy::Changed),
            (Some(_), Some(_)) if flagged => Standing::Held(HeldWhy::Flagged),
            (Some(_), Some(_)) => Standing::Pinned,
            // What there is to read comes with the data: a new one is served as it comes, and pinned where there is room.
            (None, _) if is_resource && (is_known || self.room_for_resources(&item.upstream) == 0) => {
                if flagged {
                    Standing::Held(HeldWhy::Flagged)
                } else {
                    Standing::Pinned
                }
            }
            (None, _) if !is_known => Standing::Unpinned,
            (None, _) => match settings.new_items {
                NewItems::Listed => Standing::Unpinned,
                NewItems::Hidden => Standing::Held(HeldWhy::New),
                NewItems::Ask if flagged => Standing::Held(HeldWhy::Flagged),
                NewItems::Ask => Standing::Asks,
            },
        }
    }
}
