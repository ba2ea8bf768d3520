//! What all upstreams have, merged into one deterministic catalog, named, and scoped per agent.

pub mod naming;
mod schema;
pub mod search;
mod template;
mod view;

pub use schema::{
    ArgumentSchema, Budget, Misfit, SchemaCache, SchemaError, ToolSchema, Violation, param_headers,
};
pub use view::{Covered, View};

use crate::{
    config::{Config, ToolConfig, UpstreamConfig},
    model::{Fingerprint, MicroUsd, ToolTraits, UpstreamName, json, normalize_uri, pointer::Pointer},
    redaction::{SchemaMarks, display_text},
    upstream::{Health, UpstreamState},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use template::UriTemplate;

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
    /// Places in the arguments that are sensitive: from its table and from marks in its schema.
    pub sensitive: Arc<[Pointer]>,
    /// Its argument schema.
    pub schema: Arc<ToolSchema>,
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
    /// The normalised URI, the template text, or the exposed prompt name: what globs see.
    pub name: Arc<str>,
    /// Whose.
    pub upstream: UpstreamName,
    /// The upstream's own name (prompts), or URI as written.
    pub own_name: Arc<str>,
    /// What agents write: a prompt's exposed name; a URI or template as the upstream wrote it, but where another upstream
    /// had it first.
    pub listed: Arc<str>,
    /// What stands in front of such a URI: `UPSTREAM+`.
    pub alias: Option<Arc<str>>,
    /// As the upstream wrote it, but for a prompt's name and a URI that another upstream had first.
    pub item: Value,
    /// `action` in selectors and events: `<upstream>:<own name>`.
    pub action: Arc<str>,
    /// Its upstream's.
    pub labels: Arc<[Arc<str>]>,
    template: Option<UriTemplate>,
}

impl ItemEntry {
    /// Whether it stands for many resources.
    pub fn is_template(&self) -> bool {
        self.template.is_some()
    }

    /// A URI as the upstream knows it, of one that an agent wrote.
    pub fn own_uri<'u>(&self, uri: &'u str) -> &'u str {
        let Some(alias) = &self.alias else { return uri };
        match uri.split_at_checked(alias.len()) {
            // Schemes know no case.
            Some((head, own)) if head.eq_ignore_ascii_case(alias) => own,
            Some(_) | None => uri,
        }
    }
}

/// Schemas of one upstream that are compiled with its list, in bytes of their text or a sixteenth of the room they take, so
/// that what is wrong with them is told at once; others are compiled when they are needed.
const COMPILED_AT_ONCE: usize = 256 << 10;

/// What is taken over from one catalog to the next.
#[derive(Debug, Default)]
struct Kept {
    schemas: HashMap<Fingerprint, Arc<ToolSchema>>,
    /// What is left of [`COMPILED_AT_ONCE`].
    at_once: usize,
}

/// Templates that one upstream may have had over time.
const MOST_TEMPLATES: usize = 1_000;

/// Everything, merged.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Tools, by exposed name.
    pub tools: BTreeMap<Arc<str>, Arc<ToolEntry>>,
    /// Resources, by normalised URI.
    pub resources: BTreeMap<Arc<str>, Arc<ItemEntry>>,
    /// Templates, by their text.
    pub templates: BTreeMap<Arc<str>, Arc<ItemEntry>>,
    /// Prompts, by exposed name.
    pub prompts: BTreeMap<Arc<str>, Arc<ItemEntry>>,
    /// Resources whose URI another upstream had first, by upstream and normalised own URI.
    aliases: HashMap<UpstreamName, HashMap<String, Arc<str>>>,
    /// Who had which template first, in that order: what it matches is theirs, also while they are away.
    claims: Arc<[Claim]>,
    /// What was withheld, and why: one plain sentence each.
    pub withheld: Vec<String>,
}

/// A template that an upstream had at some time.
#[derive(Clone, Debug)]
struct Claim {
    upstream: UpstreamName,
    name: Arc<str>,
    template: UriTemplate,
}

impl Catalog {
    /// Puts the URIs that agents know into a result that names resources of its upstream: links, and contents.
    pub fn alias_links(&self, upstream: &UpstreamName, result: &mut Value) {
        let Some(aliases) = self.aliases.get(upstream) else { return };
        for member in ["content", "contents"] {
            let Some(Value::Array(blocks)) = result.get_mut(member) else { continue };
            for block in blocks {
                let linked = match block.get("type").and_then(Value::as_str) {
                    Some("resource") => {
                        block.get_mut("resource").and_then(|resource| resource.get_mut("uri"))
                    }
                    Some("resource_link") | None => block.get_mut("uri"),
                    Some(_) => None,
                };
                let Some(Value::String(uri)) = linked else { continue };
                let alias = normalize_uri(uri).and_then(|normal| aliases.get(&normal));
                if let Some(alias) = alias {
                    uri.insert_str(0, alias);
                }
            }
        }
    }
}

/// Builds catalogs, and remembers across them who had a name first: a newcomer never replaces a name (SPEC 7).
#[derive(Debug, Default)]
pub struct CatalogBuilder {
    owners: HashMap<(Kind, Arc<str>), UpstreamName>,
    claims: Vec<Claim>,
    schemas: HashMap<Fingerprint, Arc<ToolSchema>>,
    compiled: SchemaCache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Tool,
    Resource,
    Template,
    Prompt,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Template => "resource template",
            Self::Prompt => "prompt",
        }
    }
}

impl CatalogBuilder {
    /// Merges the upstreams' listings. Upstreams come in the order of their names, so that the same listings
    /// give the same catalog.
    pub fn build(&mut self, config: &Config, states: &[Arc<UpstreamState>]) -> Catalog {
        self.owners.retain(|_, owner| config.upstreams.contains_key(owner));
        self.claims.retain(|claim| config.upstreams.contains_key(&claim.upstream));
        let mut catalog = Catalog::default();
        let mut states: Vec<&Arc<UpstreamState>> = states.iter().filter(|s| s.health == Health::Up).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        let mut kept = Kept::default();
        for state in states {
            let Some(upstream) = config.upstreams.get(&state.name) else { continue };
            let separator = &config.gateway.separator;
            kept.at_once = COMPILED_AT_ONCE;
            for item in &state.listing.tools {
                self.add_tool(&mut catalog, upstream, separator, item, &mut kept);
            }
            let listing = &state.listing;
            for (kind, items) in [
                (Kind::Resource, &listing.resources),
                (Kind::Template, &listing.templates),
                (Kind::Prompt, &listing.prompts),
            ] {
                for item in items {
                    self.add_item(&mut catalog, upstream, separator, kind, item);
                }
            }
        }
        self.schemas = kept.schemas;
        catalog.claims = self.claims.clone().into();
        catalog
    }

    /// Whether this upstream may have this name, and if not, why.
    fn claim(
        &mut self,
        kind: Kind,
        name: &Arc<str>,
        upstream: &UpstreamName,
        taken: bool,
    ) -> Result<(), String> {
        let owner = self.owners.entry((kind, name.clone())).or_insert_with(|| upstream.clone());
        if owner != upstream {
            return Err(format!(
                "{} `{name}` of upstream `{upstream}` is withheld: upstream `{owner}` has that name",
                kind.word()
            ));
        }
        if taken {
            return Err(format!(
                "{} `{name}` of upstream `{upstream}` is listed twice; the first counts",
                kind.word()
            ));
        }
        Ok(())
    }

    fn add_tool(
        &mut self,
        catalog: &mut Catalog,
        upstream: &UpstreamConfig,
        separator: &str,
        item: &Value,
        kept: &mut Kept,
    ) {
        let Some(own) = item.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) else {
            catalog
                .withheld
                .push(format!("a tool of upstream `{}` is withheld: it has no name", upstream.name));
            return;
        };
        let full = naming::full_name(&upstream.prefix, separator, own);
        let why = match (naming::reserved(&full, separator), naming::is_visible(own)) {
            (true, _) => Some("`tollgate` is reserved"),
            (false, false) => Some("its name holds characters that nobody sees"),
            (false, true) => None,
        };
        if let Some(why) = why {
            let shown = display_text(&full, 80);
            let upstream = &upstream.name;
            catalog.withheld.push(format!("tool `{shown}` of upstream `{upstream}` is withheld: {why}"));
            return;
        }
        let exposed: Arc<str> = naming::exposed_name(&full).into();
        let taken = catalog.tools.contains_key(&exposed);
        if let Err(why) = self.claim(Kind::Tool, &exposed, &upstream.name, taken) {
            catalog.withheld.push(why);
            return;
        }
        let table = upstream.tools.get(own);
        let fallback = ToolConfig::default();
        let table = table.unwrap_or(&fallback);
        let input = item.get("inputSchema").cloned().unwrap_or_else(|| json!({"type": "object"}));
        let fingerprint = fingerprint(&upstream.name, item);
        let schema = match self.schemas.get(&fingerprint) {
            Some(known) => known.clone(),
            None => self.compiled.schema(input.clone()),
        };
        let compiled = match schema.compiled() {
            None if schema.bytes() <= kept.at_once => {
                let compiled = schema.compile();
                let room = compiled.as_ref().as_ref().map_or(0, ArgumentSchema::weight) / 16;
                kept.at_once = kept.at_once.saturating_sub(schema.bytes().max(room));
                Some(compiled)
            }
            compiled => compiled,
        };
        if let Some(Err(error)) = compiled.as_deref() {
            catalog.withheld.push(format!("tool `{exposed}` cannot be called: {error}"));
        }
        kept.schemas.insert(fingerprint.clone(), schema.clone());
        let mut sensitive = table.sensitive.clone();
        sensitive.extend(SchemaMarks::collect(&input));
        let mut shown = item.clone();
        naming::strip_reserved(&mut shown);
        if let Some(name) = shown.get_mut("name") {
            *name = Value::String(exposed.to_string());
        }
        let entry = ToolEntry {
            full: full.into(),
            upstream: upstream.name.clone(),
            own_name: own.into(),
            traits: traits(upstream, table, item),
            action: table.action.clone().unwrap_or_else(|| format!("{}:{own}", upstream.name).into()),
            labels: upstream.labels.iter().chain(&table.labels).cloned().collect(),
            fingerprint,
            sensitive: sensitive.into(),
            schema,
            param_headers: param_headers(&input)
                .into_iter()
                .filter_map(|(name, path)| Some((name, Pointer::parse(&path).ok()?)))
                .collect(),
            cost: table.cost_usd,
            expected_result_tokens: table.expected_result_tokens,
            item: shown,
            exposed: exposed.clone(),
        };
        catalog.tools.insert(exposed, Arc::new(entry));
    }

    fn add_item(
        &mut self,
        catalog: &mut Catalog,
        upstream: &UpstreamConfig,
        separator: &str,
        kind: Kind,
        item: &Value,
    ) {
        let member = match kind {
            Kind::Resource => "uri",
            Kind::Template => "uriTemplate",
            Kind::Prompt | Kind::Tool => "name",
        };
        let Some(own) = item.get(member).and_then(Value::as_str).filter(|n| !n.is_empty()) else {
            let word = kind.word();
            catalog
                .withheld
                .push(format!("a {word} of upstream `{}` is withheld: no `{member}`", upstream.name));
            return;
        };
        let shown = display_text(own, 120);
        let mut withhold = |why: &str| {
            let word = kind.word();
            catalog
                .withheld
                .push(format!("{word} `{shown}` of upstream `{}` is withheld: {why}", upstream.name));
        };
        if !naming::is_visible(own) {
            return withhold("its name holds characters that nobody sees");
        }
        let mut shown_item = item.clone();
        naming::strip_reserved(&mut shown_item);
        let exposed = match kind {
            Kind::Resource if normalize_uri(own).is_none() => {
                return withhold("its URI is not absolute, or climbs out of its root");
            }
            Kind::Template if UriTemplate::parse(own).is_none() => {
                return withhold("its template cannot be understood");
            }
            Kind::Resource | Kind::Template => own.to_owned(),
            Kind::Prompt | Kind::Tool => {
                let full = naming::full_name(&upstream.prefix, separator, own);
                if naming::reserved(&full, separator) {
                    return withhold("`tollgate` is reserved");
                }
                naming::exposed_name(&full)
            }
        };
        let mut listed = exposed;
        let mut name = seen_by_globs(kind, &listed);
        let mut alias = None;
        // What another's template stands for is that one's, too.
        let of_a_template = |name: &str| {
            let first = self.claims.iter().find(|claim| claim.template.matches(name));
            kind == Kind::Resource && first.is_some_and(|claim| claim.upstream != upstream.name)
        };
        let another_has_it = |name: &Arc<str>| match self.owners.get(&(kind, name.clone())) {
            Some(owner) => *owner != upstream.name,
            None => of_a_template(name),
        };
        // A URI stays as it is written, but two upstreams' are not one resource.
        if matches!(kind, Kind::Resource | Kind::Template) && another_has_it(&name) {
            let prefix = naming::alias(&upstream.name);
            if let (Kind::Resource, Some(own)) = (kind, normalize_uri(own)) {
                catalog.aliases.entry(upstream.name.clone()).or_default().insert(own, prefix.clone());
            }
            listed = format!("{prefix}{listed}");
            name = seen_by_globs(kind, &listed);
            alias = Some(prefix);
        }
        let taken = match kind {
            Kind::Resource => catalog.resources.contains_key(&name),
            Kind::Template => catalog.templates.contains_key(&name),
            Kind::Prompt | Kind::Tool => catalog.prompts.contains_key(&name),
        };
        if let Err(why) = self.claim(kind, &name, &upstream.name, taken) {
            catalog.withheld.push(why);
            return;
        }
        if let Some(slot) = shown_item.get_mut(member) {
            *slot = Value::String(listed.clone());
        }
        let template = (kind == Kind::Template).then(|| UriTemplate::parse(&listed)).flatten();
        if let Some(template) = &template
            && !self.claims.iter().any(|claim| claim.name == name)
        {
            // Every URI is held against all of them, and they are kept.
            if self.claims.iter().filter(|claim| claim.upstream == upstream.name).count() >= MOST_TEMPLATES {
                let why = format!(
                    "more than {MOST_TEMPLATES} templates of upstream `{}`: the rest is withheld",
                    upstream.name
                );
                if !catalog.withheld.contains(&why) {
                    catalog.withheld.push(why);
                }
                return;
            }
            let (upstream, name) = (upstream.name.clone(), name.clone());
            self.claims.push(Claim { upstream, name, template: template.clone() });
        }
        let entry = Arc::new(ItemEntry {
            name: name.clone(),
            upstream: upstream.name.clone(),
            own_name: own.into(),
            template,
            listed: listed.into(),
            alias,
            item: shown_item,
            action: format!("{}:{own}", upstream.name).into(),
            labels: upstream.labels.iter().cloned().collect(),
        });
        match kind {
            Kind::Resource => catalog.resources.insert(name, entry),
            Kind::Template => catalog.templates.insert(name, entry),
            Kind::Prompt | Kind::Tool => catalog.prompts.insert(name, entry),
        };
    }
}

/// What globs match of an item.
fn seen_by_globs(kind: Kind, listed: &str) -> Arc<str> {
    match kind {
        Kind::Resource => normalize_uri(listed).map_or_else(|| listed.into(), Into::into),
        Kind::Template | Kind::Prompt | Kind::Tool => listed.into(),
    }
}

/// SHA-256 over upstream, name, description, schemas and annotations (SPEC 7).
pub fn fingerprint(upstream: &UpstreamName, item: &Value) -> Fingerprint {
    let pick = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    let material = json!({
        "upstream": upstream,
        "name": pick("name"),
        "description": pick("description"),
        "inputSchema": pick("inputSchema"),
        "outputSchema": pick("outputSchema"),
        "annotations": pick("annotations"),
    });
    let mut bytes = Vec::new();
    json::canonical(&material, &mut bytes);
    Fingerprint::from(hex::encode(Sha256::digest(&bytes)))
}

/// The table's word first, then the annotation where the upstream's are trusted, then the cautious value (I8).
fn traits(upstream: &UpstreamConfig, table: &ToolConfig, item: &Value) -> ToolTraits {
    let hint = |name: &str| -> Option<bool> {
        upstream.trust_annotations.then(|| item.get("annotations")?.get(name)?.as_bool()).flatten()
    };
    let cautious = ToolTraits::UNTRUSTED;
    let read_only = table.read_only.or_else(|| hint("readOnlyHint")).unwrap_or(cautious.read_only);
    ToolTraits {
        read_only,
        // What only reads destroys nothing, and repeating it changes nothing.
        destructive: table.destructive.or_else(|| hint("destructiveHint")).unwrap_or(!read_only),
        idempotent: table.idempotent.or_else(|| hint("idempotentHint")).unwrap_or(read_only),
        open_world: table.open_world.or_else(|| hint("openWorldHint")).unwrap_or(cautious.open_world),
    }
}

#[cfg(test)]
mod tests;
