//! What upstreams listed when they were last up, kept in the data directory: `check` starts nothing, and must know all the
//! same whether a name in the files fits a tool.

use super::demo_upstream::DemoUpstream;
use crate::{
    catalog::by_tables,
    config::{Config, Listed, Listings, UpstreamConfig, UpstreamTransport},
    model::UpstreamName,
    policy::ToolFacts,
    redaction::DataRules,
    upstream::{Health, Listing, UpstreamState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
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
}

/// The form of the file.
const VERSION: u32 = 1;

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

/// Keeps what upstreams list now; what is known of others stays, as long as servers.toml has them.
pub(crate) fn keep(config: &Config, now: &Listings) -> io::Result<()> {
    let folder = &config.gateway.data_dir;
    let mut kept = read(folder);
    let before = kept.upstreams.len();
    kept.upstreams
        .retain(|name, _| config.upstreams.contains_key(name) || config.disabled.contains_key(name));
    let mut changed = kept.upstreams.len() != before;
    for (name, listed) in now {
        let Some(upstream) = config.upstreams.get(name) else { continue };
        let entry = Entry { reached: reached(upstream), listed: listed.clone() };
        if kept.upstreams.get(name) != Some(&entry) {
            kept.upstreams.insert(name.clone(), entry);
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    kept.version = VERSION;
    let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
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
    let UpstreamTransport::Stdio { command, .. } = &upstream.transport else { return None };
    if *command != ["tollgate", "demo-upstream"] {
        return None;
    }
    let (tools, prompts) = DemoUpstream::lists();
    Some(Listed { resources: true, ..names_of(&Listing { tools, prompts, ..Listing::default() }) })
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
