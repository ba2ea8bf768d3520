//! What upstreams listed when they were last up, kept in the data directory: `check` starts nothing, and must know all the
//! same whether a name in the files fits a tool.

use super::demo_upstream::DemoUpstream;
use crate::{
    catalog::{Catalog, CatalogBuilder, by_tables, naming},
    config::{Config, Listed, Listings, UpstreamConfig, UpstreamTransport},
    model::{CallKind, UpstreamName},
    pinning::{self, Book, ItemKind, own_name},
    policy::ToolFacts,
    redaction::DataRules,
    upstream::{Health, Listing, UpstreamState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{self, Read as _, Write as _},
    path::Path,
    sync::Arc,
};

const FILE: &str = "listed.json";
/// The largest file that is read or written.
const MOST_BYTES: usize = 16 << 20;

/// The file: by upstream, what it listed, and how it was reached then.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    upstreams: BTreeMap<UpstreamName, Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    reached: String,
    #[serde(flatten)]
    listed: Listed,
    /// The items themselves, where there is room for them; those that hold something sensitive by their names alone.
    #[serde(default)]
    items: Option<Items>,
}

/// What an upstream lists, each item as it wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Items {
    tools: Vec<Value>,
    resources: Vec<Value>,
    templates: Vec<Value>,
    prompts: Vec<Value>,
    #[serde(default)]
    skills: Vec<Value>,
}

/// The same of each upstream.
pub(crate) type AllItems = BTreeMap<UpstreamName, Items>;

/// The form of the file.
const VERSION: u32 = 2;

/// What the upstreams of a configuration are known to list: what they listed last, where they are still reached alike, and
/// what is built in.
pub(crate) fn remembered(config: &Config) -> Listings {
    let mut kept = read(&config.gateway.data_dir);
    let known = |upstream: &UpstreamConfig| {
        let entry = kept.upstreams.remove(&upstream.name).filter(|entry| entry.reached == reached(upstream));
        Some((upstream.name.clone(), entry.map(|entry| entry.listed).or_else(|| built_in(upstream))?))
    };
    config.upstreams.values().filter_map(known).collect()
}

/// The tools that upstreams are known to list, by exposed name, as far as servers.toml tells what they are taken for.
pub(crate) fn tools(config: &Config) -> BTreeMap<Arc<str>, ToolFacts> {
    let mut tools = BTreeMap::new();
    for (name, listed) in remembered(config) {
        let Some(upstream) = config.upstreams.get(&name) else { continue };
        for own in listed.tools.keys() {
            let tool = by_tables(upstream, &config.gateway.separator, own);
            tools.insert(tool.name.clone(), tool);
        }
    }
    tools
}

/// The upstreams that list now and could be read whole. Names are an upstream's text, and are kept and told: one that has a
/// secret in a name is left out.
pub(crate) fn listed_now(states: &[Arc<UpstreamState>], data: &DataRules) -> Listings {
    let whole = |state: &&Arc<UpstreamState>| state.health == Health::Up && state.missing.is_empty();
    let listings = states.iter().filter(whole).map(|state| (state.name.clone(), names_of(&state.listing)));
    let is_clean = |listed: &Listed| all_names(listed).all(|name| data.redact_text(name) == *name);
    listings.filter(|(_, listed)| is_clean(listed)).collect()
}

/// The items of the upstreams that list now. Of an item that holds something sensitive only the name stays; where that does,
/// nothing.
pub(crate) fn items_now(states: &[Arc<UpstreamState>], data: &DataRules) -> AllItems {
    let clean = |items: &[Value], member: &str| -> Vec<Value> {
        let one = |item: &Value| match data.redact_value(item) {
            Cow::Borrowed(_) => Some(item.clone()),
            Cow::Owned(_) => {
                let name = item.get(member)?.as_str()?;
                (data.redact_text(name) == name).then(|| json!({ member: name, "name": name }))
            }
        };
        items.iter().filter_map(one).collect()
    };
    let items = |listing: &Listing| Items {
        tools: clean(&listing.tools, "name"),
        resources: clean(&listing.resources, "uri"),
        templates: clean(&listing.templates, "uriTemplate"),
        prompts: clean(&listing.prompts, "name"),
        skills: listing
            .skills
            .iter()
            .filter(|skill| matches!(data.redact_value(skill), Cow::Borrowed(_)))
            .cloned()
            .collect(),
    };
    let up = states.iter().filter(|state| state.health == Health::Up && state.missing.is_empty());
    up.map(|state| (state.name.clone(), items(&state.listing))).collect()
}

/// What a call names.
pub(crate) type Named = (CallKind, String);

/// A catalog made without starting anything: of what upstreams listed last, and of what is built in. An upstream whose lists
/// are not known is taken to have what its table in servers.toml and the calls at hand name: it is named beside the catalog.
/// With `pins` it is judged by them, as far as that can be known; without, everything is taken as pinned.
pub(crate) fn catalog(
    config: &Config,
    data: &DataRules,
    named: &[Named],
    pins: Option<Book>,
) -> (Catalog, Vec<UpstreamName>) {
    let mut kept = read(&config.gateway.data_dir);
    let mut unknown = Vec::new();
    let mut states = Vec::new();
    for upstream in config.upstreams.values() {
        let entry = kept.upstreams.remove(&upstream.name).filter(|entry| entry.reached == reached(upstream));
        let listing = match entry.and_then(|entry| entry.items) {
            Some(Items { tools, resources, templates, prompts, skills }) => {
                Listing { tools, resources, templates, prompts, skills }
            }
            None => match is_built_in(upstream) {
                true => DemoUpstream::lists(),
                false => {
                    unknown.push(upstream.name.clone());
                    continue;
                }
            },
        };
        states.push(state(upstream, listing));
    }
    let alone = unknown.len() == 1;
    for upstream in config.upstreams.values().filter(|upstream| unknown.contains(&upstream.name)) {
        states.push(state(upstream, taken(config, upstream, named, alone)));
    }
    let mut builder = CatalogBuilder::default();
    builder.data = data.clone();
    builder.pins = pins.map(|book| Arc::new(book.offline(partial(&states))));
    (builder.build(config, &states), unknown)
}

/// The keys of items of which only the name is known: their texts hold something sensitive, or were never seen here.
fn partial(states: &[Arc<UpstreamState>]) -> HashSet<String> {
    let mut keys = HashSet::new();
    for state in states {
        let Listing { tools, resources, templates, prompts, skills: _ } = &*state.listing;
        for (kind, items) in [
            (ItemKind::Tool, tools),
            (ItemKind::Resource, resources),
            (ItemKind::Template, templates),
            (ItemKind::Prompt, prompts),
        ] {
            let names = |member: &String| ["name", "uri", "uriTemplate"].contains(&member.as_str());
            let bare =
                items.iter().filter(|item| item.as_object().is_some_and(|item| item.keys().all(names)));
            keys.extend(bare.filter_map(|item| Some(pinning::key(&state.name, kind, own_name(kind, item)?))));
        }
    }
    keys
}

fn state(upstream: &UpstreamConfig, listing: Listing) -> Arc<UpstreamState> {
    Arc::new(UpstreamState {
        name: upstream.name.clone(),
        health: Health::Up,
        listing: Arc::new(listing),
        missing: Arc::from([]),
        era: None,
        capabilities: Value::Null,
        server_info: Value::Null,
        instructions: None,
        containment: None,
        generation: 0,
    })
}

/// What an upstream is taken to list: what its table names, and what of the calls at hand begins as its names do. A resource
/// is taken for its own where there is no other that it could be of.
fn taken(config: &Config, upstream: &UpstreamConfig, named: &[Named], alone: bool) -> Listing {
    let separator = &config.gateway.separator;
    let head = naming::full_name(&upstream.prefix, separator, "");
    let own = |kind: CallKind| {
        let of_kind = named.iter().filter(move |(other, _)| *other == kind);
        of_kind.filter_map(|(_, name)| match upstream.prefix.is_empty() {
            true => alone.then_some(name.as_str()),
            false => name.strip_prefix(&head),
        })
    };
    let names = |all: BTreeSet<&str>| all.into_iter().map(|name| json!({ "name": name })).collect();
    let resources = named.iter().filter(|(kind, _)| alone && *kind == CallKind::Resource);
    Listing {
        tools: names(upstream.tools.keys().map(String::as_str).chain(own(CallKind::Tool)).collect()),
        prompts: names(own(CallKind::Prompt).collect()),
        resources: resources.map(|(_, uri)| json!({ "uri": uri, "name": uri })).collect(),
        templates: Vec::new(),
        skills: Vec::new(),
    }
}

/// Keeps what upstreams list now; what is known of others stays, as long as servers.toml has them.
pub(crate) fn keep(config: &Config, now: &Listings, items: &AllItems) -> io::Result<()> {
    let folder = &config.gateway.data_dir;
    let mut kept = read(folder);
    let before = kept.upstreams.len();
    kept.upstreams
        .retain(|name, _| config.upstreams.contains_key(name) || config.disabled.contains_key(name));
    let mut changed = kept.upstreams.len() != before;
    for (name, listed) in now {
        let Some(upstream) = config.upstreams.get(name) else { continue };
        let entry =
            Entry { reached: reached(upstream), listed: listed.clone(), items: items.get(name).cloned() };
        if kept.upstreams.get(name) != Some(&entry) {
            kept.upstreams.insert(name.clone(), entry);
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    kept.version = VERSION;
    let mut text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
    if text.len() > MOST_BYTES {
        // The names matter more.
        kept.upstreams.values_mut().for_each(|entry| entry.items = None);
        text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
    }
    if text.len() > MOST_BYTES {
        return Err(io::Error::other(format!("the names take more than {MOST_BYTES} bytes")));
    }
    // Whole or not at all: other processes read and write it too.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&text)?;
    file.persist(folder.join(FILE))?;
    Ok(())
}

fn all_names(listed: &Listed) -> impl Iterator<Item = &String> {
    let arguments = listed.tools.values().flatten().flatten();
    listed.tools.keys().chain(arguments).chain(&listed.prompts)
}

/// A file that is missing, too large or not ours: nothing is known.
fn read(folder: &Path) -> Kept {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let opened = std::fs::File::open(folder.join(FILE));
    if opened.and_then(|file| file.take(limit).read_to_end(&mut bytes)).is_err() {
        return Kept::default();
    }
    let kept: Kept = serde_json::from_slice(&bytes).unwrap_or_default();
    if kept.version == VERSION { kept } else { Kept::default() }
}

/// By what an upstream is reached: another command is another server. Hashed, for it may hold a secret.
fn reached(upstream: &UpstreamConfig) -> String {
    let how = match &upstream.transport {
        UpstreamTransport::Stdio { command, .. } => json!({ "command": command }),
        UpstreamTransport::Http { url, .. } => json!({ "url": url.as_str() }),
    };
    hex::encode(Sha256::digest(how.to_string()))
}

/// The demo's lists are in this program.
fn built_in(upstream: &UpstreamConfig) -> Option<Listed> {
    is_built_in(upstream).then(|| names_of(&DemoUpstream::lists()))
}

fn is_built_in(upstream: &UpstreamConfig) -> bool {
    match &upstream.transport {
        UpstreamTransport::Stdio { command, .. } => *command == ["tollgate", "demo-upstream"],
        UpstreamTransport::Http { .. } => false,
    }
}

fn names_of(listing: &Listing) -> Listed {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    Listed {
        tools: listing.tools.iter().filter_map(|tool| Some((name(tool)?, arguments(tool)))).collect(),
        prompts: listing.prompts.iter().filter_map(name).collect(),
        resources: !listing.resources.is_empty() || !listing.templates.is_empty(),
    }
}

/// The arguments that a schema names, where it plainly names them all.
fn arguments(tool: &Value) -> Option<BTreeSet<String>> {
    let schema = tool.get("inputSchema")?.as_object()?;
    let plain = schema.keys().all(|keyword| {
        !["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "patternProperties"]
            .contains(&keyword.as_str())
    });
    let open = !matches!(schema.get("additionalProperties"), None | Some(Value::Bool(false)));
    let properties = schema.get("properties")?.as_object()?;
    (plain && !open).then(|| properties.keys().cloned().collect())
}
