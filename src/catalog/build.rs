//! Merges what upstreams list into one catalog, the same for the same listings, and remembers who had a name first.

use super::{
    SchemaCache, ToolSchema, apps,
    entry::{Catalog, Claim, ItemEntry, MOST_SENTENCES, ToolEntry},
    naming,
    pinned::{Judge, Scans},
    resolved::resolved,
    schema::param_headers,
    template::UriTemplate,
    tool::{COMPILED_AT_ONCE, Kept, declare_objects, fault_of, fingerprint, traits},
};
use crate::{
    config::{AppsConfig, Config, Formats, GatewayConfig, OutputCheck, ToolConfig, UpstreamConfig},
    model::{Fingerprint, UpstreamName, Uri, pointer::Pointer},
    pinning::{Book, NamedItem},
    redaction::{DataRules, SchemaMarks, display_text},
    upstream::{Health, UpstreamState},
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// Templates of one upstream: every URI is held against all of them.
const MOST_TEMPLATES: usize = 1_000;

/// Builds catalogs, and remembers across them who had a name first: a newcomer never replaces a name.
///
/// A name that begins with the prefix of an upstream is that one's alone, whoever lists it, and also while that one is away
/// or not started. For what no prefix decides, the upstreams that list at the start come in the order of their names,
/// however fast each of them is; from then on whoever has a name keeps it.
///
/// A name belongs to its upstream as long as that lists it, and while that is down. An upstream that is up and lists
/// without it has given it up, so that what is remembered is never more than what is listed.
#[derive(Clone, Debug, Default)]
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
    /// By what is listed is judged; none: whoever asks starts nothing, and everything is taken as pinned.
    pub pins: Option<Arc<Book>>,
    /// Items of upstreams that are not asked, by which names and texts are judged.
    pub others: Vec<NamedItem>,
    pub(super) scans: Scans,
    /// The tools that each upstream served last.
    served: HashMap<UpstreamName, Vec<Arc<ToolEntry>>>,
}

/// Who has a name.
#[derive(Clone, Debug)]
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
    Skill,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Template => "resource template",
            Self::Prompt => "prompt",
            Self::Skill => "skill",
        }
    }

    /// The member of an item that names it.
    fn member(self) -> &'static str {
        match self {
            Self::Resource | Self::Skill => "uri",
            Self::Template => "uriTemplate",
            Self::Prompt | Self::Tool => "name",
        }
    }
}

impl CatalogBuilder {
    /// Masked before it is cut: half a secret is one no detector knows.
    pub(super) fn told(&self, text: &str, most: usize) -> String {
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
        let away: Vec<&UpstreamName> =
            states.iter().filter(|s| s.health != Health::Up).map(|s| &s.name).collect();
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
        let pins = self.pins.as_deref();
        let mut judge = Judge { data: &self.data, pins, others: &self.others, scans: &mut self.scans };
        judge.settle(&mut catalog, config, &states);
        catalog.tell_lost_pages(|text, most| self.told(text, most));
        self.keep_served(&mut catalog, config, &away);
        catalog
    }

    /// Remembers what each upstream serves, and says of those that are away what they served last, under names that are theirs
    /// still.
    fn keep_served(&mut self, catalog: &mut Catalog, config: &Config, away: &[&UpstreamName]) {
        self.served.retain(|upstream, _| away.contains(&upstream));
        for tool in catalog.tools.values() {
            self.served.entry(tool.upstream.clone()).or_default().push(tool.clone());
        }
        let separator = &config.gateway.separator;
        for tool in away.iter().filter_map(|upstream| self.served.get(*upstream)).flatten() {
            let named = config.upstreams.get(&tool.upstream).is_some_and(|upstream| {
                *naming::full_name(&upstream.prefix, separator, &tool.own_name) == *tool.full
            });
            if named && !catalog.tools.contains_key(&tool.exposed) {
                catalog.away.insert(tool.exposed.clone(), tool.clone());
            }
        }
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
            if let Some(apps) = &upstream.apps {
                catalog.apps.insert(upstream.name.clone(), apps.clone());
            }
            // First: what lies in a skill is known by it.
            for item in &state.listing.skills {
                self.add_skill(&mut catalog, upstream, item);
            }
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
    pub(super) fn claim(
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

    /// A tool's name before shortening and its name in lists, where its upstream may have it; else why not.
    fn named_tool(
        &mut self,
        catalog: &Catalog,
        upstream: &UpstreamConfig,
        separator: &str,
        own: &str,
    ) -> Result<(String, Arc<str>), String> {
        let full = naming::full_name(&upstream.prefix, separator, own);
        let why = match (naming::reserved(&full, separator), naming::is_visible(own)) {
            (true, _) => Some("`tollgate` is reserved".to_owned()),
            (false, false) => Some("its name holds characters that nobody sees".to_owned()),
            (false, true) => self.heads.of_another(&full, upstream),
        };
        if let Some(why) = why {
            let shown = self.told(&full, 80);
            return Err(format!("tool `{shown}` of upstream `{}` is withheld: {why}", upstream.name));
        }
        let exposed: Arc<str> = naming::exposed_name(&full).into();
        let taken = catalog.tools.contains_key(&exposed);
        self.claim(Kind::Tool, &exposed, &upstream.name, taken)?;
        Ok((full, exposed))
    }

    /// The schema that arguments are held to: the one from the catalog before, where the tool did not change.
    fn argument_schema(
        &mut self,
        catalog: &mut Catalog,
        (exposed, fingerprint): (&str, &Fingerprint),
        input: &Value,
        formats: Formats,
        kept: &mut Kept,
    ) -> Arc<ToolSchema> {
        let asserts = formats == Formats::Assert;
        let known = self.schemas.get(fingerprint).filter(|known| known.asserts_formats() == asserts).cloned();
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
        schema
    }

    /// The schema that results are held to. None where the tool has none, or one with a fault: that is told, and agents do
    /// not see it. Beside it why calls are refused, where results have to be held to what cannot be used.
    fn result_schema(
        &mut self,
        catalog: &mut Catalog,
        (exposed, fingerprint): (&str, &Fingerprint),
        item: &Value,
        kept: &mut Kept,
        setting: OutputCheck,
    ) -> (Option<Arc<ToolSchema>>, Option<Arc<str>>) {
        let output = item.get("outputSchema").filter(|schema| !schema.is_null());
        let Some(output) = output else { return (None, None) };
        let mut found = Err("it is no object".to_owned());
        if output.is_object() {
            let known = self.outputs.get(fingerprint).cloned();
            let schema = known.unwrap_or_else(|| {
                // Clients assert formats.
                let schema = self.compiled.schema(output.clone(), true);
                kept.compile(&schema);
                schema
            });
            kept.outputs.insert(fingerprint.clone(), schema.clone());
            found = fault_of(&schema).map_or(Ok(schema), Err);
        }
        let fault = match found {
            Ok(schema) => return (Some(schema), None),
            Err(fault) => fault,
        };
        let told = self.told(&format!("the outputSchema of tool `{exposed}` is not declared: {fault}"), 500);
        let refused = (setting == OutputCheck::Refuse).then(|| {
            format!("{told}; calls of it are refused, because `output_schema = \"refuse\"` has its results held to that")
        });
        catalog.withheld.push(refused.clone().unwrap_or(told));
        (None, refused.map(Into::into))
    }

    fn add_tool(
        &mut self,
        catalog: &mut Catalog,
        upstream: &UpstreamConfig,
        config: &GatewayConfig,
        item: &Value,
        kept: &mut Kept,
    ) {
        let Some(own) = item.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) else {
            catalog
                .withheld
                .push(format!("a tool of upstream `{}` is withheld: it has no name", upstream.name));
            return;
        };
        let (full, exposed) = match self.named_tool(catalog, upstream, &config.separator, own) {
            Ok(names) => names,
            Err(why) => return catalog.withheld.push(why),
        };
        let fallback = ToolConfig::default();
        let table = upstream.tools.get(own).unwrap_or(&fallback);
        let input = item.get("inputSchema").filter(|schema| !schema.is_null()).cloned();
        let input = input.unwrap_or_else(|| json!({"type": "object"}));
        let fingerprint = fingerprint(&upstream.name, item);
        let named = (&*exposed, &fingerprint);
        let schema = self.argument_schema(catalog, named, &input, config.formats, kept);
        let (output, refused) = self.result_schema(catalog, named, item, kept, upstream.output_check(own));
        let mut sensitive = table.sensitive.clone();
        sensitive.extend(SchemaMarks::collect(&input));
        let traits = traits(upstream, table, item);
        let action = table.action.clone().unwrap_or_else(|| format!("{}:{own}", upstream.name).into());
        let labels: Arc<[_]> = upstream.labels.iter().chain(&table.labels).cloned().collect();
        let resolved =
            resolved(&self.data, upstream, (&full, &action), &labels, traits, (&fingerprint, false));
        let entry = ToolEntry {
            full: full.into(),
            upstream: upstream.name.clone(),
            own_name: own.into(),
            traits,
            action,
            labels,
            resolved: Arc::new(resolved),
            sensitive: sensitive.into(),
            schema,
            param_headers: param_headers(&input)
                .into_iter()
                .filter_map(|(name, path)| Some((name, Pointer::parse(&path).ok()?)))
                .collect(),
            price: table.price.clone(),
            expected_result_tokens: table.expected_result_tokens,
            item: shown_tool(item, &exposed, output.is_some(), upstream),
            output,
            refused,
            fingerprint,
            unaccepted: false,
            exposed: exposed.clone(),
        };
        catalog.tools.insert(exposed, Arc::new(entry));
    }

    /// The name that agents would have for an item, before it is looked at whether another upstream has it; else why the item
    /// is withheld.
    fn named_item(
        &self,
        upstream: &UpstreamConfig,
        separator: &str,
        kind: Kind,
        own: &str,
    ) -> Result<String, String> {
        if !naming::is_visible(own) {
            return Err("its name holds characters that nobody sees".to_owned());
        }
        match kind {
            Kind::Resource => match Uri::parse(own) {
                Ok(_) => Ok(own.to_owned()),
                Err(wrong) => Err(format!("its URI cannot be used: {wrong}")),
            },
            Kind::Template if UriTemplate::parse(own).is_none() => {
                Err("its template cannot be understood".to_owned())
            }
            Kind::Template => Ok(own.to_owned()),
            Kind::Prompt | Kind::Tool | Kind::Skill => {
                let full = naming::full_name(&upstream.prefix, separator, own);
                if naming::reserved(&full, separator) {
                    return Err("`tollgate` is reserved".to_owned());
                }
                match self.heads.of_another(&full, upstream) {
                    Some(why) => Err(why),
                    None => Ok(naming::exposed_name(&full)),
                }
            }
        }
    }

    /// What stands in front of a URI or template that another upstream had first: a URI stays as it is written, but two
    /// upstreams' are not one resource.
    pub(super) fn alias_for(
        &self,
        catalog: &Catalog,
        upstream: &UpstreamConfig,
        kind: Kind,
        name: &Arc<str>,
    ) -> Option<Arc<str>> {
        // What lies in a skill goes with it.
        if kind == Kind::Resource
            && let Some(skill) = catalog.skill_alias_of(&upstream.name, name)
        {
            return skill.entry.alias.clone();
        }
        // What another's template stands for is that one's, too.
        let of_a_template = || {
            let first = self.claims.iter().find(|claim| claim.template.matches(name));
            kind == Kind::Resource && first.is_some_and(|claim| claim.upstream != upstream.name)
        };
        let another_has_it = match self.owners.get(&(kind, name.clone())) {
            Some(owner) => owner.upstream != upstream.name,
            None => of_a_template(),
        };
        let is_uri = matches!(kind, Kind::Resource | Kind::Template);
        (is_uri && another_has_it).then(|| naming::alias(&upstream.name))
    }

    /// Whether an upstream has as many templates as it may, so that a new one is withheld.
    pub(super) fn has_most_templates(&self, upstream: &UpstreamName, name: &str) -> bool {
        self.claims.iter().all(|claim| &*claim.name != name)
            && self.claims.iter().filter(|claim| claim.upstream == *upstream).count() >= MOST_TEMPLATES
    }

    /// Remembers who had a template, from the first time that it was listed.
    pub(super) fn remember_template(
        &mut self,
        upstream: &UpstreamName,
        name: &Arc<str>,
        template: &UriTemplate,
    ) {
        match self.claims.iter_mut().find(|claim| claim.name == *name) {
            Some(claim) => claim.listed = self.merge,
            None => self.claims.push(Claim {
                upstream: upstream.clone(),
                name: name.clone(),
                template: template.clone(),
                listed: self.merge,
            }),
        }
    }

    /// Takes out of an item what pages of its upstream may not ask for, and says which in one sentence.
    fn cap_page(&self, upstream: &UpstreamConfig, listed: &str, item: &mut Value) -> Option<String> {
        let gone = apps::cap(item, upstream.apps.as_deref().unwrap_or(&AppsConfig::default()));
        (!gone.is_empty()).then(|| {
            let (shown, upstream) = (self.told(listed, 120), &upstream.name);
            let gone = self.told(&gone.join(", "), 300);
            format!(
                "page `{shown}` is listed without {gone}: `apps` of upstream `{upstream}` does not grant it"
            )
        })
    }

    fn add_item(
        &mut self,
        catalog: &mut Catalog,
        upstream: &UpstreamConfig,
        separator: &str,
        kind: Kind,
        item: &Value,
    ) {
        let (word, member) = (kind.word(), kind.member());
        let Some(own) = item.get(member).and_then(Value::as_str).filter(|n| !n.is_empty()) else {
            catalog
                .withheld
                .push(format!("a {word} of upstream `{}` is withheld: no `{member}`", upstream.name));
            return;
        };
        let mut listed = match self.named_item(upstream, separator, kind, own) {
            Ok(listed) => listed,
            Err(why) => {
                let (shown, upstream) = (self.told(own, 120), &upstream.name);
                let told = format!("{word} `{shown}` of upstream `{upstream}` is withheld: {why}");
                return catalog.withheld.push(told);
            }
        };
        let mut name = seen_by_globs(kind, &listed);
        let alias = self.alias_for(catalog, upstream, kind, &name);
        if let Some(prefix) = &alias {
            if let (Kind::Resource, Ok(own)) = (kind, Uri::parse(own)) {
                let aliases = catalog.aliases.entry(upstream.name.clone()).or_default();
                aliases.insert(own.into_string(), prefix.clone());
            }
            listed = naming::aliased(prefix, &listed);
            name = seen_by_globs(kind, &listed);
        }
        let template = (kind == Kind::Template).then(|| UriTemplate::parse(&listed)).flatten();
        if template.is_some() && self.has_most_templates(&upstream.name, &name) {
            let upstream = &upstream.name;
            let why = format!(
                "more than {MOST_TEMPLATES} templates of upstream `{upstream}`: the rest is withheld"
            );
            if !catalog.withheld.contains(&why) {
                catalog.withheld.push(why);
            }
            return;
        }
        let slots = match kind {
            Kind::Resource => &mut catalog.resources,
            Kind::Template => &mut catalog.templates,
            Kind::Prompt | Kind::Tool | Kind::Skill => &mut catalog.prompts,
        };
        if let Err(why) = self.claim(kind, &name, &upstream.name, slots.contains_key(&name)) {
            return catalog.withheld.push(why);
        }
        if let Some(template) = &template {
            self.remember_template(&upstream.name, &name, template);
        }
        let mut item = item.clone();
        naming::strip_reserved(&mut item);
        let capped = self.cap_page(upstream, &listed, &mut item);
        if let Some(slot) = item.get_mut(member) {
            *slot = Value::String(listed.clone());
        }
        let entry = ItemEntry {
            name: name.clone(),
            upstream: upstream.name.clone(),
            own_name: own.into(),
            template,
            listed: listed.into(),
            alias,
            item,
            unaccepted: false,
            action: format!("{}:{own}", upstream.name).into(),
            labels: upstream.labels.iter().cloned().collect(),
        };
        slots.insert(name, Arc::new(entry));
        catalog.withheld.extend(capped);
    }
}

/// A tool as agents see it: under its own name in lists, and without a result schema that has a fault.
fn shown_tool(item: &Value, exposed: &str, has_output: bool, upstream: &UpstreamConfig) -> Value {
    let mut shown = item.clone();
    naming::strip_reserved(&mut shown);
    apps::cap(&mut shown, upstream.apps.as_deref().unwrap_or(&AppsConfig::default()));
    if let Some(name) = shown.get_mut("name") {
        *name = Value::String(exposed.to_owned());
    }
    declare_objects(&mut shown);
    if !has_output && let Some(map) = shown.as_object_mut() {
        map.shift_remove("outputSchema");
    }
    shown
}

/// What globs match of an item.
fn seen_by_globs(kind: Kind, listed: &str) -> Arc<str> {
    match kind {
        Kind::Resource => Uri::parse(listed).map_or_else(|_| listed.into(), |uri| uri.as_str().into()),
        Kind::Template | Kind::Prompt | Kind::Tool | Kind::Skill => listed.into(),
    }
}
