//! Names of one server that stand for another's: the same, nearly the same, or only to the eye the same; and texts that speak of
//! another server's tool.

use super::{Finding, FindingKind, around, plain};
use crate::{
    model::UpstreamName,
    pinning::{item::ItemKind, shown::shown},
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

/// An item by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedItem {
    /// Whose.
    pub upstream: UpstreamName,
    /// What it is.
    pub kind: ItemKind,
    /// The upstream's own name for it.
    pub name: Arc<str>,
    /// Its name in lists.
    pub exposed: Arc<str>,
    /// When it was pinned first; none: it has no pin. Of two names that are alike the one that was there first stands for nothing.
    pub since: Option<Timestamp>,
}

impl NamedItem {
    /// Whether it was pinned before the other.
    fn is_before(&self, other: &Self) -> bool {
        self.since.is_some_and(|since| other.since.is_none_or(|other| since < other))
    }
}

/// The names of all items that are listed at a time.
#[derive(Debug, Default)]
pub struct Names {
    items: Vec<NamedItem>,
    /// Items by how their own names look.
    looks: HashMap<String, Vec<usize>>,
    /// Items by words with which a text can speak of them.
    spoken: HashMap<String, Vec<usize>>,
    /// Items by hashes of their names with up to one character left out.
    near: HashMap<u64, Vec<usize>>,
}

/// Names among which near ones are looked for.
const MOST_NEAR: usize = 4_000;
/// The shortest name that can be near another, and the longest that is compared.
const NEAR: std::ops::RangeInclusive<usize> = 6..=64;
/// The shortest name that a text can speak of.
const SHORTEST_SPOKEN: usize = 6;
/// The text of an item in which other names are looked for, in bytes.
const MOST_TEXT: usize = 64 << 10;
/// The longest name of which it is known how it looks, in bytes.
const LONGEST: usize = 256;
/// Items of one look or word that are remembered.
const MOST_ALIKE: usize = 16;
/// Findings of one item.
const MOST_FINDINGS: usize = 6;

impl Names {
    /// Of these tools and prompts; items of other kinds have URIs, or no names.
    pub fn new(items: Vec<NamedItem>) -> Self {
        let items: Vec<NamedItem> =
            items.into_iter().filter(|item| matches!(item.kind, ItemKind::Tool | ItemKind::Prompt)).collect();
        let mut names = Self::default();
        let looks_near = items.len() <= MOST_NEAR;
        for (place, item) in items.iter().enumerate() {
            let note = |slots: &mut Vec<usize>| {
                if slots.len() < MOST_ALIKE {
                    slots.push(place);
                }
            };
            if item.name.len() > LONGEST {
                continue;
            }
            note(names.looks.entry(look(&item.name)).or_default());
            if item.kind == ItemKind::Tool {
                for word in [&item.name, &item.exposed] {
                    if is_telling(word) {
                        note(names.spoken.entry(word.to_ascii_lowercase()).or_default());
                    }
                }
            }
            if looks_near {
                for hash in variants(&loose(&item.name)) {
                    note(names.near.entry(hash).or_default());
                }
            }
        }
        names.items = items;
        names
    }

    /// What an item's name and text have to do with other servers' items.
    pub fn scan(&self, item: &NamedItem, value: &Value) -> Vec<Finding> {
        let mut found = Vec::new();
        if matches!(item.kind, ItemKind::Tool | ItemKind::Prompt) && item.name.len() <= LONGEST {
            self.alike(item, &mut found);
            if found.iter().all(|known| known.kind != FindingKind::LookAlike) {
                foreign_letters(&item.name, &mut found);
            }
        }
        self.speaks(item, value, &mut found);
        found.truncate(MOST_FINDINGS);
        found
    }

    /// Items of other servers that this one may stand for: those that were not pinned after it.
    fn of_others<'n>(
        &'n self,
        item: &'n NamedItem,
        places: Option<&'n Vec<usize>>,
    ) -> impl Iterator<Item = &'n NamedItem> {
        let all = places.into_iter().flatten().filter_map(|place| self.items.get(*place));
        all.filter(|other| {
            other.upstream != item.upstream && other.kind == item.kind && !item.is_before(other)
        })
    }

    fn alike(&self, item: &NamedItem, found: &mut Vec<Finding>) {
        let own = loose(&item.name);
        for other in self.of_others(item, self.looks.get(&look(&item.name))) {
            let (kind, how) = if other.name == item.name {
                (FindingKind::SameName, "has the same name as")
            } else if loose(&other.name) == own {
                (FindingKind::NearName, "is named nearly as")
            } else {
                (FindingKind::LookAlike, "looks like")
            };
            if found.iter().all(|known: &Finding| known.kind != kind) {
                found.push(finding(kind, item, how, other));
            }
        }
        if !NEAR.contains(&own.len()) || found.iter().any(|known| known.kind != FindingKind::Shadowing) {
            return;
        }
        for hash in variants(&own) {
            let near =
                self.of_others(item, self.near.get(&hash)).find(|other| is_near(&own, &loose(&other.name)));
            if let Some(other) = near {
                found.push(finding(FindingKind::NearName, item, "is named nearly as", other));
                return;
            }
        }
    }

    /// Words of the item's text that are another server's tools and none of its own.
    fn speaks(&self, item: &NamedItem, value: &Value, found: &mut Vec<Finding>) {
        let mut room = MOST_TEXT;
        let mut texts = Vec::new();
        collect(value, &mut String::new(), &mut room, 0, &mut texts);
        for (at, text) in texts {
            for (place, word) in words(text) {
                if !is_telling(word) {
                    continue;
                }
                let Some(places) = self.spoken.get(&word.to_ascii_lowercase()) else { continue };
                let mut known = places.iter().filter_map(|place| self.items.get(*place));
                // A server may speak of what it has itself.
                if places.len() >= MOST_ALIKE || known.clone().any(|other| other.upstream == item.upstream) {
                    continue;
                }
                let Some(other) = known.next() else { continue };
                let what = format!(
                    "it speaks of `{}`, a tool of server `{}`",
                    shown(&other.exposed),
                    other.upstream
                );
                if found.len() < MOST_FINDINGS && found.iter().all(|known| known.what != what) {
                    let (kind, text) = (FindingKind::Shadowing, around(text, place));
                    found.push(Finding { kind, at: at.clone(), what, text });
                }
            }
        }
    }
}

fn finding(kind: FindingKind, item: &NamedItem, how: &str, other: &NamedItem) -> Finding {
    let before = if other.is_before(item) { ", which was pinned before it" } else { "" };
    let what = format!("its name {how} `{}` of server `{}`{before}", shown(&other.name), other.upstream);
    Finding { kind, at: "/name".to_owned(), what, text: shown(&item.name) }
}

/// Letters of other scripts in a name that is written in Latin ones.
fn foreign_letters(name: &str, found: &mut Vec<Finding>) {
    let is_foreign = |c: char| {
        let is_wide = matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}');
        u32::from(c) >= 0x250 && (plain::as_latin(c).is_some() || is_wide)
    };
    let latin = name.chars().filter(char::is_ascii_alphabetic).count();
    let foreign: Vec<char> = name.chars().filter(|c| is_foreign(*c)).collect();
    // A name in another script is no imitation of one in Latin letters.
    let others = name.chars().filter(|c| c.is_alphabetic() && !c.is_ascii()).count();
    if let Some(first) = foreign.first()
        && (latin > 0 || foreign.len() == others)
    {
        let what =
            format!("its name has letters that only look like Latin ones, U+{:04X} first", u32::from(*first));
        found.push(Finding { kind: FindingKind::LookAlike, at: "/name".to_owned(), what, text: shown(name) });
    }
}

/// How a name looks: letters as the Latin ones that they look like, without what stands between words.
fn look(name: &str) -> String {
    let joined = loose(&plain::plain(name, true).0).replace("rn", "m").replace("vv", "w");
    let same = |c: char| match c {
        '0' => 'o',
        '1' | 'i' => 'l',
        '5' => 's',
        c => c,
    };
    joined.chars().map(same).collect()
}

/// A name without what stands between words, in lower case.
fn loose(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ' | '/')).flat_map(char::to_lowercase).collect()
}

/// Whether a word in a text can only be meant as a name: it has parts.
fn is_telling(word: &str) -> bool {
    let has_parts = word.bytes().any(|b| matches!(b, b'_' | b'-'))
        || word.chars().zip(word.chars().skip(1)).any(|(one, two)| one.is_lowercase() && two.is_uppercase());
    word.len() >= SHORTEST_SPOKEN
        && word.len() <= LONGEST
        && has_parts
        && word.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Hashes of a name and of what is left of it without one of its characters.
fn variants(name: &str) -> Vec<u64> {
    let length = name.chars().count();
    if !NEAR.contains(&length) {
        return Vec::new();
    }
    let hash = |left_out: usize| {
        let mut hasher = DefaultHasher::new();
        for (place, c) in name.chars().enumerate() {
            if place != left_out {
                c.hash(&mut hasher);
            }
        }
        hasher.finish()
    };
    let mut all: Vec<u64> = (0..=length).map(hash).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether one character more, less, other or swapped makes one name of the other. A plural or another number is another name.
fn is_near(one: &str, other: &str) -> bool {
    let plural = |one: &str, other: &str| one.strip_suffix('s') == Some(other);
    let digits = |name: &str| -> String { name.chars().filter(char::is_ascii_digit).collect() };
    one != other
        && !plural(one, other)
        && !plural(other, one)
        && digits(one) == digits(other)
        && strsim::damerau_levenshtein(one, other) == 1
}

/// The texts of a value with their places, as far as there is room.
fn collect<'v>(
    value: &'v Value,
    at: &mut String,
    room: &mut usize,
    depth: usize,
    texts: &mut Vec<(String, &'v str)>,
) {
    if *room == 0 || depth > 32 {
        return;
    }
    match value {
        Value::String(text) => {
            let taken = super::cut(text, *room);
            *room -= taken;
            texts.push((at.clone(), text.get(..taken).unwrap_or_default()));
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                below(item, &place.to_string(), at, room, depth, texts);
            }
        }
        Value::Object(map) => {
            for (name, item) in map {
                // Its own name is no speech, and what only clients read is none of a model's.
                if depth > 0 || !matches!(name.as_str(), "name" | "uri" | "uriTemplate" | "_meta" | "icons") {
                    below(item, name, at, room, depth, texts);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn below<'v>(
    item: &'v Value,
    name: &str,
    at: &mut String,
    room: &mut usize,
    depth: usize,
    texts: &mut Vec<(String, &'v str)>,
) {
    let length = at.len();
    at.push('/');
    at.push_str(&shown(&crate::model::pointer::escape(
        name.get(..super::cut(name, 100)).unwrap_or_default(),
    )));
    collect(item, at, room, depth + 1, texts);
    at.truncate(length);
}

/// Words as names are written, with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut rest = 0;
    std::iter::from_fn(move || {
        loop {
            let tail = text.get(rest..)?;
            let start = tail.find(is_part)?;
            let word = tail.get(start..)?;
            let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
            let place = rest + start;
            rest = place + end;
            let word = word.get(..end)?.trim_matches(|c| matches!(c, '_' | '-'));
            if !word.is_empty() {
                return Some((place, word));
            }
        }
    })
}
