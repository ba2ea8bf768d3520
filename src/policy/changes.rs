//! What differs between two bundles in what they say: policies and their rules, agents, capabilities, people, workflows,
//! budgets, data rules and prices. Comments, layout and the order of keys are no difference.

use super::{
    PolicySet, SourceFile,
    meaning::same,
    read::short,
    source::{Kind, Node, Report, parse_yaml},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Details of one part that are told.
const MOST_DETAILS: usize = 200;
/// Characters of a value that are told.
const MOST_SHOWN: usize = 200;

/// A part of a bundle that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// `policy`, `agent`, `capability`, `person`, `workflow`, `budget`, `data`, `prices`, `bundle`.
    pub kind: &'static str,
    /// Its name; of `data`, `prices` and `bundle` the file's.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// What of it, where it was changed.
    pub details: Vec<Detail>,
    /// There are more.
    pub truncated: bool,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It says something else.
    Changed,
    /// It is gone.
    Removed,
}

impl Change {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// One value that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Where: `rules[production].condition`.
    pub at: String,
    /// What it was; null where it is new.
    pub before: Option<String>,
    /// What it is; null where it is gone.
    pub after: Option<String>,
}

/// The parts that differ, by kind and name.
pub fn changes(before: &PolicySet, after: &PolicySet) -> Vec<PartChange> {
    let (old, new) = (parts(before), parts(after));
    let names: BTreeSet<&(&'static str, String)> = old.keys().chain(new.keys()).collect();
    let mut changed = Vec::new();
    for part in names {
        let (kind, name) = part;
        let mut found = PartChange {
            kind,
            name: name.clone(),
            change: Change::Changed,
            details: Vec::new(),
            truncated: false,
        };
        match (old.get(part), new.get(part)) {
            (Some(old), Some(new)) if same(old, new) => continue,
            (Some(old), Some(new)) => compare(old, new, "", &mut found),
            (None, _) => found.change = Change::Added,
            (Some(_), None) => found.change = Change::Removed,
        }
        changed.push(found);
    }
    changed
}

type Parts = BTreeMap<(&'static str, String), Node>;

/// Each part under its kind and name. Both bundles were compiled: what cannot be read is not there.
fn parts(set: &PolicySet) -> Parts {
    let mut parts = Parts::new();
    for SourceFile { name, text } in set.files.iter() {
        let Some(root) = parse_yaml(&mut Report::new(name, text)) else { continue };
        let mut all = |kind: &'static str, list: Option<&Node>, id: &str| {
            for item in list.map(Node::items).unwrap_or_default() {
                if let Some(named) = item.get(id).and_then(Node::as_text) {
                    parts.insert((kind, named.to_owned()), item.clone());
                }
            }
        };
        match name.as_str() {
            "authority.yaml" => {
                for (kind, section) in [
                    ("capability", "capabilities"),
                    ("agent", "agents"),
                    ("person", "people"),
                    ("workflow", "workflows"),
                ] {
                    for entry in root.get(section).map(Node::entries).unwrap_or_default() {
                        parts.insert((kind, entry.key.clone()), entry.value.clone());
                    }
                }
            }
            "budgets.yaml" => all("budget", root.get("budgets"), "id"),
            "bundle.yaml" => drop(parts.insert(("bundle", name.clone()), root)),
            "data.yaml" => drop(parts.insert(("data", name.clone()), root)),
            "prices.yaml" => drop(parts.insert(("prices", name.clone()), root)),
            _ if root.get("policies").is_some() => all("policy", root.get("policies"), "id"),
            _ => {
                if let Some(id) = root.get("name").and_then(Node::as_text) {
                    parts.insert(("policy", id.to_owned()), root.clone());
                }
            }
        }
    }
    parts
}

fn compare(old: &Node, new: &Node, at: &str, found: &mut PartChange) {
    if same(old, new) {
        return;
    }
    match (members(old), members(new)) {
        (Some(old), Some(new)) => {
            let names: BTreeSet<&Arc<str>> = old.keys().chain(new.keys()).collect();
            for name in names {
                let place = match name.starts_with('[') || at.is_empty() {
                    true => format!("{at}{name}"),
                    false => format!("{at}.{name}"),
                };
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => compare(old, new, &place, found),
                    (old, new) => tell(found, place, old.copied(), new.copied()),
                }
            }
        }
        (_, _) => tell(found, at.to_owned(), Some(old), Some(new)),
    }
}

fn tell(found: &mut PartChange, at: String, before: Option<&Node>, after: Option<&Node>) {
    if found.details.len() >= MOST_DETAILS {
        found.truncated = true;
        return;
    }
    let shown = |node: &Node| written(node, &at);
    let (before, after) = (before.map(shown), after.map(shown));
    found.details.push(Detail { at, before, after });
}

/// The members of a map, or the elements of a list of maps: by their `id`, else by their place.
fn members(node: &Node) -> Option<BTreeMap<Arc<str>, &Node>> {
    match &node.kind {
        Kind::Map(entries) => {
            Some(entries.iter().map(|entry| (Arc::from(entry.key.as_str()), &entry.value)).collect())
        }
        Kind::List(items)
            if !items.is_empty() && items.iter().all(|item| matches!(item.kind, Kind::Map(_))) =>
        {
            let id = |(place, item): (usize, &Node)| match item.get("id").and_then(Node::as_text) {
                Some(id) => format!("[{id}]"),
                None => format!("[{}]", place + 1),
            };
            let named: BTreeMap<Arc<str>, &Node> =
                items.iter().enumerate().map(|pair| (id(pair).into(), pair.1)).collect();
            (named.len() == items.len()).then_some(named)
        }
        Kind::List(_) | Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
    }
}

/// A value as a file could write it in one line, cut. Digests of keys are told as changed, and not shown.
fn written(node: &Node, at: &str) -> String {
    if at == "keys" || at.ends_with(".keys") {
        return format!("{} given", node.items().len());
    }
    let mut out = String::new();
    write(node, &mut out);
    match out.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", out.get(..end).unwrap_or_default()),
        None => out,
    }
}

fn write(node: &Node, out: &mut String) {
    // What is cut off need not be written.
    if out.len() > 4 * MOST_SHOWN {
        return;
    }
    match &node.kind {
        Kind::Null => out.push_str("null"),
        Kind::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Kind::Number(text) | Kind::Text(text) => out.push_str(text),
        Kind::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Kind::Map(entries) => {
            out.push_str("{ ");
            for (index, entry) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&short(&entry.key));
                out.push_str(": ");
                if entry.key == "keys" {
                    out.push('…');
                } else {
                    write(&entry.value, out);
                }
            }
            out.push_str(" }");
        }
    }
}
