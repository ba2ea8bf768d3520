//! Holds what is listed against its pins: what changed, what is new and what the scan objects to is not served.

use super::{
    entry::{Catalog, HeldReason, ItemEntry, MOST_SENTENCES, Seen, Source},
    resolved::resolved,
};
use crate::{
    config::Config,
    model::UpstreamName,
    pinning::{self, Book, Finding, HeldWhy, ItemKind, NamedItem, Names, Observed, Standing, scan_item},
    redaction::{DataRules, display_text},
    upstream::{Listing, UpstreamState},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What was found in the items of each upstream by themselves, as long as it lists the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Scans {
    of: HashMap<UpstreamName, Scanned>,
}

#[derive(Clone, Debug)]
struct Scanned {
    listing: Arc<Listing>,
    instructions: Option<String>,
    found: HashMap<(ItemKind, Arc<str>), Vec<Finding>>,
}

/// The places of an upstream's items in its lists, by kind and own name: the first of a name counts.
struct Places<'s> {
    state: &'s UpstreamState,
    at: HashMap<(ItemKind, &'s str), usize>,
}

impl<'s> Places<'s> {
    fn of(state: &'s UpstreamState) -> Self {
        let listing = &state.listing;
        let mut at = HashMap::new();
        for (kind, items) in [
            (ItemKind::Tool, &listing.tools),
            (ItemKind::Prompt, &listing.prompts),
            (ItemKind::Resource, &listing.resources),
            (ItemKind::Template, &listing.templates),
            (ItemKind::Skill, &listing.skills),
        ] {
            for (place, item) in items.iter().enumerate() {
                if let Some(name) = pinning::own_name(kind, item) {
                    at.entry((kind, name)).or_insert(place);
                }
            }
        }
        Self { state, at }
    }

    fn source(&self, kind: ItemKind, own: &str) -> Option<Source> {
        let listing = self.state.listing.clone();
        let at = || self.at.get(&(kind, own)).copied();
        Some(match kind {
            ItemKind::Tool => Source::Tool(listing, at()?),
            ItemKind::Prompt => Source::Prompt(listing, at()?),
            ItemKind::Resource => Source::Resource(listing, at()?),
            ItemKind::Template => Source::Template(listing, at()?),
            ItemKind::Instructions => Source::Instructions(self.state.instructions.as_deref()?.into()),
            ItemKind::Skill => Source::Skill(listing, at()?),
            ItemKind::SkillFile => return None,
        })
    }
}

impl Scans {
    /// What an item has in it by itself.
    fn of(&mut self, state: &UpstreamState, (kind, own): (ItemKind, &Arc<str>), raw: &Value) -> Vec<Finding> {
        let scanned = self.of.entry(state.name.clone()).or_insert_with(|| Scanned {
            listing: state.listing.clone(),
            instructions: state.instructions.clone(),
            found: HashMap::new(),
        });
        if !Arc::ptr_eq(&scanned.listing, &state.listing) || scanned.instructions != state.instructions {
            scanned.listing = state.listing.clone();
            scanned.instructions = state.instructions.clone();
            scanned.found.clear();
        }
        scanned.found.entry((kind, own.clone())).or_insert_with(|| scan_item(raw)).clone()
    }
}

/// An item that has a name in the catalog.
struct Named {
    kind: ItemKind,
    upstream: UpstreamName,
    own: Arc<str>,
    exposed: Arc<str>,
}

fn named(catalog: &Catalog) -> Vec<Named> {
    let tools = catalog.tools.values().map(|tool| Named {
        kind: ItemKind::Tool,
        upstream: tool.upstream.clone(),
        own: tool.own_name.clone(),
        exposed: tool.exposed.clone(),
    });
    let items = [
        (ItemKind::Prompt, &catalog.prompts),
        (ItemKind::Resource, &catalog.resources),
        (ItemKind::Template, &catalog.templates),
    ];
    let items = items.into_iter().flat_map(|(kind, items)| {
        items.values().map(move |item| Named {
            kind,
            upstream: item.upstream.clone(),
            own: item.own_name.clone(),
            exposed: item.listed.clone(),
        })
    });
    let skills = catalog.skills.values().map(|skill| Named {
        kind: ItemKind::Skill,
        upstream: skill.upstream.clone(),
        own: skill.entry.own_name.clone(),
        exposed: skill.uri.clone(),
    });
    tools.chain(items).chain(skills).collect()
}

/// By what is listed is judged.
pub(super) struct Judge<'j> {
    pub(super) data: &'j DataRules,
    pub(super) pins: Option<&'j Book>,
    /// Items of upstreams that are not asked.
    pub(super) others: &'j [NamedItem],
    pub(super) scans: &'j mut Scans,
}

impl Judge<'_> {
    /// Judges everything that was named, and takes out what is not served.
    pub(super) fn settle(&mut self, catalog: &mut Catalog, config: &Config, up: &[&Arc<UpstreamState>]) {
        let places: HashMap<&UpstreamName, Places<'_>> =
            up.iter().map(|state| (&state.name, Places::of(state))).collect();
        self.scans.of.retain(|name, _| config.upstreams.contains_key(name));
        let mut all = named(catalog);
        all.extend(up.iter().filter(|state| state.instructions.is_some()).map(|state| Named {
            kind: ItemKind::Instructions,
            upstream: state.name.clone(),
            own: "instructions".into(),
            exposed: "instructions".into(),
        }));
        let pins = self.pins;
        let since = |upstream: &UpstreamName, kind, own: &str| pins?.since(upstream, kind, own);
        let name = |item: &Named| NamedItem {
            upstream: item.upstream.clone(),
            kind: item.kind,
            name: item.own.clone(),
            exposed: item.exposed.clone(),
            since: since(&item.upstream, item.kind, &item.own),
        };
        let others = self.others.iter().map(|other| NamedItem {
            since: since(&other.upstream, other.kind, &other.name),
            ..other.clone()
        });
        let names = Names::new(all.iter().map(name).chain(others).collect());
        let mut seen = Vec::with_capacity(all.len());
        for item in &all {
            let Some(places) = places.get(&item.upstream) else { continue };
            let Some(source) = places.source(item.kind, &item.own) else { continue };
            let raw = source.raw();
            let mut findings = self.scans.of(places.state, (item.kind, &item.own), &raw);
            findings.extend(names.scan(&name(item), &raw));
            let fingerprint = match (item.kind, catalog.tools.get(&item.exposed)) {
                (ItemKind::Tool, Some(tool)) => tool.fingerprint.clone(),
                _ => pinning::fingerprint(item.kind, &item.upstream, &raw),
            };
            let item = Observed {
                upstream: item.upstream.clone(),
                kind: item.kind,
                name: item.own.clone(),
                exposed: item.exposed.clone(),
                fingerprint,
                findings: masked(self.data, findings),
            };
            drop(raw);
            let settings =
                config.upstreams.get(&item.upstream).map(|upstream| upstream.pins).unwrap_or_default();
            let standing = match self.pins {
                Some(book) => book.standing(settings, &item),
                None => Standing::Pinned,
            };
            seen.push(Seen { item, standing, source });
        }
        let mut told: HashMap<UpstreamName, usize> = HashMap::new();
        for seen in &seen {
            match seen.standing {
                Standing::Pinned => {}
                Standing::Asks => self.ask(catalog, config, &seen.item),
                Standing::Unpinned => hold(catalog, &seen.item, None),
                Standing::Held(why) => {
                    hold(catalog, &seen.item, Some(why));
                    if seen.item.kind == ItemKind::Instructions {
                        continue;
                    }
                    let told = told.entry(seen.item.upstream.clone()).or_default();
                    *told += 1;
                    if *told <= MOST_SENTENCES {
                        let sentence = self.quarantined(&seen.item, why);
                        catalog.withheld.push(sentence);
                    }
                }
            }
        }
        catalog.seen = seen;
        catalog.made_of = up.iter().map(|state| (state.name.clone(), state.listing.clone())).collect();
    }

    fn quarantined(&self, item: &Observed, why: HeldWhy) -> String {
        format!(
            "{} `{}` of upstream `{}` is quarantined: {}; `tollgate servers diff {}` shows it",
            item.kind,
            display_text(&self.data.redact_text(&item.exposed), 120),
            item.upstream,
            why.phrase(),
            item.upstream
        )
    }

    /// Marks an item whose uses ask until a person accepts it.
    fn ask(&self, catalog: &mut Catalog, config: &Config, item: &Observed) {
        match item.kind {
            ItemKind::Tool => {
                let Some(upstream) = config.upstreams.get(&item.upstream) else { return };
                let tool = catalog.tools.get_mut(&item.exposed).and_then(Arc::get_mut);
                if let Some(tool) = tool {
                    tool.unaccepted = true;
                    let resolved = resolved(
                        self.data,
                        upstream,
                        (&tool.full, &tool.action),
                        &tool.labels,
                        tool.traits,
                        (&tool.fingerprint, true),
                    );
                    tool.resolved = Arc::new(resolved);
                }
            }
            ItemKind::Prompt => unaccepted(&mut catalog.prompts, item),
            ItemKind::Resource => unaccepted(&mut catalog.resources, item),
            ItemKind::Template => unaccepted(&mut catalog.templates, item),
            // Whoever may read its files may read them: what is asked about is used, and a skill is only read.
            ItemKind::Skill => hold(catalog, item, Some(HeldWhy::New)),
            ItemKind::Instructions | ItemKind::SkillFile => {}
        }
    }
}

fn unaccepted(items: &mut BTreeMap<Arc<str>, Arc<ItemEntry>>, item: &Observed) {
    let same = |entry: &&mut Arc<ItemEntry>| entry.listed == item.exposed && entry.upstream == item.upstream;
    if let Some(entry) = items.values_mut().find(same).and_then(Arc::get_mut) {
        entry.unaccepted = true;
    }
}

/// Takes an item out of what is served.
fn hold(catalog: &mut Catalog, item: &Observed, why: HeldReason) {
    let held = &mut catalog.held;
    match item.kind {
        ItemKind::Tool => {
            if let Some((name, tool)) = catalog.tools.remove_entry(&item.exposed) {
                held.tools.insert(name, (tool, why));
            }
        }
        ItemKind::Prompt => take(&mut catalog.prompts, &mut held.prompts, item, why),
        ItemKind::Resource => take(&mut catalog.resources, &mut held.resources, item, why),
        ItemKind::Template => take(&mut catalog.templates, &mut held.templates, item, why),
        ItemKind::Skill => {
            if let Some((uri, skill)) = catalog.skills.remove_entry(&item.exposed) {
                held.skills.insert(uri, (skill, why));
            }
        }
        ItemKind::Instructions | ItemKind::SkillFile => {}
    }
}

fn take(
    served: &mut BTreeMap<Arc<str>, Arc<ItemEntry>>,
    held: &mut BTreeMap<Arc<str>, (Arc<ItemEntry>, HeldReason)>,
    item: &Observed,
    why: HeldReason,
) {
    let own = |entry: &Arc<ItemEntry>| entry.listed == item.exposed && entry.upstream == item.upstream;
    // Templates and prompts are kept by what is listed, resources by their canonical form.
    let key = match served.get(&item.exposed).filter(|entry| own(entry)) {
        Some(_) => Some(item.exposed.clone()),
        None => served.iter().find(|(_, entry)| own(entry)).map(|(key, _)| key.clone()),
    };
    if let Some((key, entry)) = key.and_then(|key| served.remove_entry(&key)) {
        held.insert(key, (entry, why));
    }
}

/// What the scan finds in a text, as it may be shown and recorded.
pub(super) fn scanned(data: &DataRules, item: &Value) -> Vec<Finding> {
    masked(data, scan_item(item))
}

/// Findings hold parts of an upstream's text: they are shown and recorded like everything else of it.
fn masked(data: &DataRules, findings: Vec<Finding>) -> Vec<Finding> {
    let mask = |text: String| data.redact_text(&text).into_owned();
    let one = |finding: Finding| Finding {
        at: mask(finding.at),
        what: mask(finding.what),
        text: mask(finding.text),
        ..finding
    };
    findings.into_iter().map(one).collect()
}
