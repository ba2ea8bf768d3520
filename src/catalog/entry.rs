//! What a catalog holds: tools, resources, templates and prompts, each under its name.

use super::{ToolSchema, naming, template::UriTemplate};
use crate::{
    config::AppsConfig,
    evidence::ResolvedTool,
    model::{Fingerprint, MicroUsd, ToolTraits, UpstreamName, pointer::Pointer},
};
use serde_json::{Map, Value};
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
    /// What an approval is bound to.
    pub fingerprint: Fingerprint,
    /// What decisions read of it, as it is kept.
    pub resolved: Arc<ResolvedTool>,
    /// Places in the arguments that are sensitive: from its table and from marks in its schema.
    pub sensitive: Arc<[Pointer]>,
    /// Its argument schema.
    pub schema: Arc<ToolSchema>,
    /// What its results are declared to be, where agents are told.
    pub output: Option<Arc<ToolSchema>>,
    /// Arguments mirrored into headers.
    pub param_headers: Vec<(String, Pointer)>,
    /// Its own price.
    pub cost: MicroUsd,
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
    /// What was withheld, and why: one plain sentence each.
    pub withheld: Vec<String>,
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
