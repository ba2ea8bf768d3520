//! Merges what upstreams list into one catalog, the same for the same listings, and remembers who had a name first.

use super::{
    SchemaCache, ToolSchema,
    entry::{Catalog, Claim, ItemEntry, MOST_SENTENCES, ToolEntry},
    naming,
    resolved::resolved,
    schema::param_headers,
    template::UriTemplate,
    tool::{COMPILED_AT_ONCE, Kept, declare_objects, fault_of, fingerprint, traits},
};
use crate::{
    config::{Config, Formats, GatewayConfig, ToolConfig, UpstreamConfig},
    model::{Fingerprint, UpstreamName, Uri, pointer::Pointer},
    redaction::{DataRules, SchemaMarks, display_text},
    upstream::{Health, UpstreamState},
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// Templates of one upstream: every URI is held against all of them.
const MOST_TEMPLATES: usize = 1_000;

/// Builds catalogs, and remembers across them who had a name first: a newcomer never replaces a name (SPEC 7).
///
/// A name that begins with the prefix of an upstream is that one's alone, whoever lists it, and also while that one is away
/// or not started. For what no prefix decides, the upstreams that list at the start come in the order of their names,
/// however fast each of them is; from then on whoever has a name keeps it.
///
/// A name belongs to its upstream as long as that lists it, and while that is down. An upstream that is up and lists
/// without it has given it up, so that what is remembered is never more than what is listed.
#[derive(Debug, Default)]
pub struct CatalogBuilder {
    /// What may be said of names that are withheld.
    pub data: DataRules,
    pub(super) owners: HashMap<(Kind, Arc<str>), Owner>,
    pub(super) claims: Vec<Claim>,
    /// Every upstream of the configuration has listed or failed once: owners no longer change by order of names.
    is_settled: bool,
    heads: naming::Heads,
    /// Counts the merges.
    merge: u64,
    pub(super) schemas: HashMap<Fingerprint, Arc<ToolSchema>>,
    outputs: HashMap<Fingerprint, Arc<ToolSchema>>,
    compiled: SchemaCache,
}

/// Who has a name.
#[derive(Debug)]
pub(super) struct Owner {
    upstream: UpstreamName,
    /// The merge in which it was listed last.
    listed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
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
    /// Masked before it is cut: half a secret is one no detector knows.
    fn told(&self, text: &str, most: usize) -> String {
        display_text(&self.data.redact_text(text), most)
    }

    /// Merges the upstreams' listings. Upstreams come in the order of their names, so that the same listings
    /// give the same catalog.
    pub fn build(&mut self, config: &Config, states: &[Arc<UpstreamState>]) -> Catalog {
        self.owners.retain(|_, owner| config.upstreams.contains_key(&owner.upstream));
        self.claims.retain(|claim| config.upstreams.contains_key(&claim.upstream));
        if !self.is_settled {
            self.owners.clear();
            self.claims.clear();
            self.is_settled = states.iter().all(|state| state.health != Health::Starting);
        }
        self.heads = naming::Heads::of(config);
        let mut states: Vec<&Arc<UpstreamState>> = states.iter().filter(|s| s.health == Health::Up).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        let mut catalog = self.merge(config, &states);
        // Whoever wants a name that was given up has it at once. Where that was in place of another name, this is given up too.
        for _ in 0..2 {
            if !self.forget_unlisted(&states) {
                break;
            }
            catalog = self.merge(config, &states);
        }
        catalog.claims = self.claims.clone().into();
        catalog.tell_lost_pages(|text, most| self.told(text, most));
        catalog
    }

    /// Forgets what upstreams that are up did not list in the last merge. Whether there was any.
    fn forget_unlisted(&mut self, up: &[&Arc<UpstreamState>]) -> bool {
        let before = self.owners.len() + self.claims.len();
        let merge = self.merge;
        let stays = |upstream: &UpstreamName, listed: u64| {
            listed == merge || up.binary_search_by(|state| state.name.cmp(upstream)).is_err()
        };
        self.owners.retain(|_, owner| stays(&owner.upstream, owner.listed));
        self.claims.retain(|claim| stays(&claim.upstream, claim.listed));
        self.owners.len() + self.claims.len() < before
    }

    fn merge(&mut self, config: &Config, up: &[&Arc<UpstreamState>]) -> Catalog {
        self.merge = self.merge.wrapping_add(1);
        let mut catalog = Catalog::default();
        let mut kept = Kept::default();
        for state in up {
            let Some(upstream) = config.upstreams.get(&state.name) else { continue };
            let sentences = catalog.withheld.len();
            let separator = &config.gateway.separator;
            kept.at_once = COMPILED_AT_ONCE;
            for item in &state.listing.tools {
                self.add_tool(&mut catalog, upstream, &config.gateway, item, &mut kept);
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
            let more = catalog.withheld.len().saturating_sub(sentences + MOST_SENTENCES);
            if more > 0 {
                catalog.withheld.truncate(sentences + MOST_SENTENCES);
                catalog.withheld.push(format!("{more} more items of upstream `{}` are withheld", state.name));
            }
        }
        self.schemas = kept.schemas;
        self.outputs = kept.outputs;
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
        let new = || Owner { upstream: upstream.clone(), listed: 0 };
        let owner = self.owners.entry((kind, name.clone())).or_insert_with(new);
        if owner.upstream != *upstream {
            let owner = owner.upstream.clone();
            return Err(format!(
                "{} `{}` of upstream `{upstream}` is withheld: upstream `{owner}` has that name",
                kind.word(),
                self.told(name, 120)
            ));
        }
        owner.listed = self.merge;
        if taken {
            return Err(format!(
                "{} `{}` of upstream `{upstream}` is listed twice; the first counts",
                kind.word(),
                self.told(name, 120)
            ));
        }
        Ok(())
    }

    fn add_tool(
        &mut self,
        catalog: &mut Catalog,
        upstream: &UpstreamConfig,
        config: &GatewayConfig,
        item: &Value,
        kept: &mut Kept,
    ) {
        let separator = &*config.separator;
        let Some(own) = item.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) else {
            catalog
                .withheld
                .push(format!("a tool of upstream `{}` is withheld: it has no name", upstream.name));
            return;
        };
        let full = naming::full_name(&upstream.prefix, separator, own);
        let why = match (naming::reserved(&full, separator), naming::is_visible(own)) {
            (true, _) => Some("`tollgate` is reserved".to_owned()),
            (false, false) => Some("its name holds characters that nobody sees".to_owned()),
            (false, true) => self.heads.of_another(&full, upstream),
        };
        if let Some(why) = why {
            let shown = self.told(&full, 80);
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
        let input = item.get("inputSchema").filter(|schema| !schema.is_null()).cloned();
        let input = input.unwrap_or_else(|| json!({"type": "object"}));
        let fingerprint = fingerprint(&upstream.name, item);
        let asserts = config.formats == Formats::Assert;
        let known =
            self.schemas.get(&fingerprint).filter(|known| known.asserts_formats() == asserts).cloned();
        let is_new = known.is_none();
        let schema = known.unwrap_or_else(|| self.compiled.schema(input.clone(), asserts));
        if is_new {
            kept.compile(&schema);
        }
        if let Some(Err(error)) = schema.compiled().as_deref() {
            let why = self.told(&format!("the inputSchema of tool `{exposed}`: {error}"), 500);
            catalog.withheld.push(why);
        }
        kept.schemas.insert(fingerprint.clone(), schema.clone());
        let output = item.get("outputSchema").filter(|schema| schema.is_object());
        let output = output.map(|output| {
            let known = self.outputs.get(&fingerprint).cloned();
            let schema = known.unwrap_or_else(|| {
                // Clients assert formats.
                let schema = self.compiled.schema(output.clone(), true);
                kept.compile(&schema);
                schema
            });
            kept.outputs.insert(fingerprint.clone(), schema.clone());
            schema
        });
        let mut sensitive = table.sensitive.clone();
        sensitive.extend(SchemaMarks::collect(&input));
        let mut shown = item.clone();
        naming::strip_reserved(&mut shown);
        if let Some(name) = shown.get_mut("name") {
            *name = Value::String(exposed.to_string());
        }
        declare_objects(&mut shown);
        let output = output.filter(|schema| match fault_of(schema) {
            None => true,
            Some(fault) => {
                let told = format!("the outputSchema of tool `{exposed}` is not declared: {fault}");
                catalog.withheld.push(self.told(&told, 500));
                false
            }
        });
        if output.is_none()
            && let Some(map) = shown.as_object_mut()
        {
            map.shift_remove("outputSchema");
        }
        let traits = traits(upstream, table, item);
        let action = table.action.clone().unwrap_or_else(|| format!("{}:{own}", upstream.name).into());
        let labels: Arc<[_]> = upstream.labels.iter().chain(&table.labels).cloned().collect();
        let names = (&*full, &*action);
        let resolved = resolved(&self.data, upstream, names, &labels, traits, &fingerprint);
        let entry = ToolEntry {
            full: full.into(),
            upstream: upstream.name.clone(),
            own_name: own.into(),
            traits,
            action,
            labels,
            fingerprint,
            resolved: Arc::new(resolved),
            sensitive: sensitive.into(),
            schema,
            output,
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
        let shown = self.told(own, 120);
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
        if kind == Kind::Resource
            && let Err(wrong) = Uri::parse(own)
        {
            return withhold(&format!("its URI cannot be used: {wrong}"));
        }
        let exposed = match kind {
            Kind::Template if UriTemplate::parse(own).is_none() => {
                return withhold("its template cannot be understood");
            }
            Kind::Resource | Kind::Template => own.to_owned(),
            Kind::Prompt | Kind::Tool => {
                let full = naming::full_name(&upstream.prefix, separator, own);
                if naming::reserved(&full, separator) {
                    return withhold("`tollgate` is reserved");
                }
                if let Some(why) = self.heads.of_another(&full, upstream) {
                    return withhold(&why);
                }
                naming::exposed_name(&full)
            }
        };
        let mut listed = exposed;
        let mut name = seen_by_globs(kind, &listed);
        let mut alias = None;
        // What another's template stands for is that one's, too.
        let of_a_template = |name: &str| {
            let first = || self.claims.iter().find(|claim| claim.template.matches(name));
            kind == Kind::Resource && first().is_some_and(|claim| claim.upstream != upstream.name)
        };
        let another_has_it = |name: &Arc<str>| match self.owners.get(&(kind, name.clone())) {
            Some(owner) => owner.upstream != upstream.name,
            None => of_a_template(name),
        };
        // A URI stays as it is written, but two upstreams' are not one resource.
        if matches!(kind, Kind::Resource | Kind::Template) && another_has_it(&name) {
            let prefix = naming::alias(&upstream.name);
            if let (Kind::Resource, Ok(own)) = (kind, Uri::parse(own)) {
                let aliases = catalog.aliases.entry(upstream.name.clone()).or_default();
                aliases.insert(own.into_string(), prefix.clone());
            }
            listed = naming::aliased(&prefix, &listed);
            name = seen_by_globs(kind, &listed);
            alias = Some(prefix);
        }
        let taken = match kind {
            Kind::Resource => catalog.resources.contains_key(&name),
            Kind::Template => catalog.templates.contains_key(&name),
            Kind::Prompt | Kind::Tool => catalog.prompts.contains_key(&name),
        };
        let template = (kind == Kind::Template).then(|| UriTemplate::parse(&listed)).flatten();
        let claimed = self.claims.iter().position(|claim| claim.name == name);
        let full =
            || self.claims.iter().filter(|claim| claim.upstream == upstream.name).count() >= MOST_TEMPLATES;
        if template.is_some() && claimed.is_none() && full() {
            let why = format!(
                "more than {MOST_TEMPLATES} templates of upstream `{}`: the rest is withheld",
                upstream.name
            );
            if !catalog.withheld.contains(&why) {
                catalog.withheld.push(why);
            }
            return;
        }
        if let Err(why) = self.claim(kind, &name, &upstream.name, taken) {
            catalog.withheld.push(why);
            return;
        }
        if let Some(slot) = shown_item.get_mut(member) {
            *slot = Value::String(listed.clone());
        }
        match (&template, claimed.and_then(|at| self.claims.get_mut(at))) {
            (Some(_), Some(claim)) => claim.listed = self.merge,
            (Some(template), None) => self.claims.push(Claim {
                upstream: upstream.name.clone(),
                name: name.clone(),
                template: template.clone(),
                listed: self.merge,
            }),
            (None, _) => {}
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
        Kind::Resource => Uri::parse(listed).map_or_else(|_| listed.into(), |uri| uri.as_str().into()),
        Kind::Template | Kind::Prompt | Kind::Tool => listed.into(),
    }
}
