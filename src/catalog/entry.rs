//! What a catalog holds: tools, resources, templates and prompts, each under its name.

use super::{ToolSchema, naming, template::UriTemplate};
use crate::{
    config::AppsConfig,
    cost::ToolPrice,
    evidence::ResolvedTool,
    model::{Fingerprint, ToolTraits, UpstreamName, pointer::Pointer},
    pinning::{HeldWhy, Observed, Standing, form},
    upstream::Listing,
};
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// One tool of one upstream.
#[derive(Debug)]
pub struct ToolEntry {
    /// The name in lists, at most [`naming::MAX_NAME`] bytes.
    pub exposed: Arc<str>,
    /// The name before shortening: what globs, conditions and records see.
    pub full: Arc<str>,
    /// Whose.
    pub upstream: UpstreamName,
    /// The upstream's own name for it.
    pub own_name: Arc<str>,
    /// As the upstream wrote it, but for the name.
    pub item: Value,
    /// What is taken of it.
    pub traits: ToolTraits,
    /// `action` in selectors and events.
    pub action: Arc<str>,
    /// Its own and its upstream's.
    pub labels: Arc<[Arc<str>]>,
    /// What it is pinned by, and what an approval is bound to.
    pub fingerprint: Fingerprint,
    /// It appeared after its server was pinned, and nobody has accepted it: each call of it asks.
    pub unaccepted: bool,
    /// What decisions read of it, as it is kept.
    pub resolved: Arc<ResolvedTool>,
    /// Places in the arguments that are sensitive: from its table and from marks in its schema.
    pub sensitive: Arc<[Pointer]>,
    /// Its argument schema.
    pub schema: Arc<ToolSchema>,
    /// What its results are declared to be, where agents are told.
    pub output: Option<Arc<ToolSchema>>,
    /// Why each call of it is refused: what it declares of its results cannot be used, and `output_schema = "refuse"` has them
    /// held to that.
    pub refused: Option<Arc<str>>,
    /// Arguments mirrored into headers.
    pub param_headers: Vec<(String, Pointer)>,
    /// Its own price.
    pub price: ToolPrice,
    /// Where learning its result size starts.
    pub expected_result_tokens: Option<u64>,
}

/// A resource, template or prompt of one upstream.
#[derive(Debug)]
pub struct ItemEntry {
    /// The canonical URI, the template text, or the exposed prompt name: what globs see.
    pub name: Arc<str>,
    /// Whose.
    pub upstream: UpstreamName,
    /// The upstream's own name (prompts), or URI as written.
    pub own_name: Arc<str>,
    /// What agents write: a prompt's exposed name; a URI or template as the upstream wrote it, but where another upstream
    /// had it first.
    pub listed: Arc<str>,
    /// What stands in front of such a URI: `UPSTREAM+` ([`naming::aliased`]).
    pub alias: Option<Arc<str>>,
    /// As the upstream wrote it, but for a prompt's name and a URI that another upstream had first.
    pub item: Value,
    /// `action` in selectors and events: `<upstream>:<own name>`.
    pub action: Arc<str>,
    /// Its upstream's.
    pub labels: Arc<[Arc<str>]>,
    /// It appeared after its server was pinned, and nobody has accepted it: each use of it asks.
    pub unaccepted: bool,
    pub(super) template: Option<UriTemplate>,
}

impl ItemEntry {
    /// Whether it stands for many resources.
    pub fn is_template(&self) -> bool {
        self.template.is_some()
    }

    /// What all URIs of a template begin with.
    pub(super) fn head(&self) -> &str {
        self.template.as_ref().map_or(&*self.name, UriTemplate::head)
    }

    /// A template's expansion as far as the variables are known, and whether that is all of it.
    pub(super) fn expand(&self, variables: &Map<String, Value>) -> (String, bool) {
        match &self.template {
            Some(template) => template.expand(variables),
            None => (self.listed.to_string(), true),
        }
    }

    /// What its upstream is asked for where the canonical URI was matched: what is listed as it is written there, and
    /// what a template stands for in its canonical form.
    pub fn own_uri<'u>(&'u self, uri: &'u str) -> Cow<'u, str> {
        if !self.is_template() {
            return Cow::Borrowed(&self.own_name);
        }
        let alias = self.alias.as_deref();
        alias.and_then(|alias| naming::unaliased(alias, uri)).unwrap_or(Cow::Borrowed(uri))
    }
}

/// A skill of one upstream: a folder of files with instructions.
#[derive(Debug)]
pub struct SkillEntry {
    /// The canonical URI of its `SKILL.md`, as agents know it.
    pub uri: Arc<str>,
    /// Its folder, as agents know it, with the slash at the end.
    pub root: String,
    /// The same as its upstream knows it.
    pub own_root: String,
    /// Whose.
    pub upstream: UpstreamName,
    /// As the upstream wrote it, with the URIs that agents know.
    pub item: Value,
    /// Its files by canonical URI; none where they are dynamic.
    pub files: Option<BTreeMap<Arc<str>, SkillFile>>,
    /// What a person accepts of it.
    pub fingerprint: Fingerprint,
    /// What a file of it is read as.
    pub entry: Arc<ItemEntry>,
}

/// What a skill lists of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillFile {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: Arc<str>,
    /// In bytes.
    pub size: u64,
}

/// Everything, merged.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Tools, by exposed name.
    pub tools: BTreeMap<Arc<str>, Arc<ToolEntry>>,
    /// Resources, by canonical URI.
    pub resources: BTreeMap<Arc<str>, Arc<ItemEntry>>,
    /// Templates, by their text.
    pub templates: BTreeMap<Arc<str>, Arc<ItemEntry>>,
    /// Prompts, by exposed name.
    pub prompts: BTreeMap<Arc<str>, Arc<ItemEntry>>,
    /// Skills, by the canonical URI of their `SKILL.md`.
    pub skills: BTreeMap<Arc<str>, Arc<SkillEntry>>,
    /// What pages of each upstream may ask for.
    pub(super) apps: HashMap<UpstreamName, Arc<AppsConfig>>,
    /// Resources whose URI another upstream had first, by upstream and canonical own URI.
    pub(super) aliases: HashMap<UpstreamName, HashMap<String, Arc<str>>>,
    /// Who had which template first, in that order: what it matches is theirs, also while they are away.
    pub(super) claims: Arc<[Claim]>,
    /// What is not served until a person accepts it, or the store has its pin.
    pub held: HeldItems,
    /// Tools of upstreams that are down, as they were served last, by exposed name: calls of them are answered with that.
    pub away: BTreeMap<Arc<str>, Arc<ToolEntry>>,
    /// Everything that is listed and named, as it stands by the pins.
    pub seen: Vec<Seen>,
    /// The lists that it was made of.
    pub(super) made_of: HashMap<UpstreamName, Arc<Listing>>,
    /// What was withheld, and why: one plain sentence each.
    pub withheld: Vec<String>,
}

impl Catalog {
    /// Whether it was made of this list of an upstream.
    pub fn is_made_of(&self, upstream: &UpstreamName, listing: &Arc<Listing>) -> bool {
        self.made_of.get(upstream).is_some_and(|known| Arc::ptr_eq(known, listing))
    }
}

/// Why an item is not served: it waits for a person, or (none) for the store to have its pin.
pub type HeldReason = Option<HeldWhy>;

/// Items that are not served, each where it would be.
#[derive(Debug, Default)]
pub struct HeldItems {
    /// Tools, by exposed name.
    pub tools: BTreeMap<Arc<str>, (Arc<ToolEntry>, HeldReason)>,
    /// Prompts, by exposed name.
    pub prompts: BTreeMap<Arc<str>, (Arc<ItemEntry>, HeldReason)>,
    /// Resources, by canonical URI.
    pub resources: BTreeMap<Arc<str>, (Arc<ItemEntry>, HeldReason)>,
    /// Templates, by their text.
    pub templates: BTreeMap<Arc<str>, (Arc<ItemEntry>, HeldReason)>,
    /// Skills, by the canonical URI of their `SKILL.md`: nothing in their folders is served.
    pub skills: BTreeMap<Arc<str>, (Arc<SkillEntry>, HeldReason)>,
}

/// An item as it is listed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its names, its fingerprint, and what the scan found.
    pub item: Observed,
    /// How it stands by its pin.
    pub standing: Standing,
    pub(super) source: Source,
}

/// Where an item stands in what its upstream lists.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Tool(Arc<Listing>, usize),
    Prompt(Arc<Listing>, usize),
    Resource(Arc<Listing>, usize),
    Template(Arc<Listing>, usize),
    Skill(Arc<Listing>, usize),
    Instructions(Arc<str>),
}

impl Source {
    /// The item as its upstream wrote it.
    pub(super) fn raw(&self) -> Cow<'_, Value> {
        let (items, at) = match self {
            Self::Tool(listing, at) => (&listing.tools, at),
            Self::Prompt(listing, at) => (&listing.prompts, at),
            Self::Resource(listing, at) => (&listing.resources, at),
            Self::Template(listing, at) => (&listing.templates, at),
            Self::Skill(listing, at) => (&listing.skills, at),
            Self::Instructions(text) => return Cow::Owned(json!({"instructions": text})),
        };
        items.get(*at).map_or(Cow::Owned(Value::Null), Cow::Borrowed)
    }
}

impl Seen {
    /// What of it is pinned: bounded, as its upstream wrote it.
    pub fn form(&self) -> Value {
        form(self.item.kind, &self.source.raw())
    }
}

/// A template that an upstream has, or had when it was last up.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) upstream: UpstreamName,
    pub(super) name: Arc<str>,
    pub(super) template: UriTemplate,
    /// The merge in which it was listed last.
    pub(super) listed: u64,
}

/// Sentences about what is withheld of one upstream; the rest is counted.
pub(super) const MOST_SENTENCES: usize = 50;
