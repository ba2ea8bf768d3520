//! What one agent sees: computed once per catalog, bundle and agent, then looked up by name.

use super::{
    capped::CappedTools,
    entry::{Catalog, Claim, HeldReason, ItemEntry, SkillEntry, ToolEntry},
    pages,
    search::Index,
    skills,
};
use crate::{
    model::{CallKind, CapabilityId, Glob, UpstreamName, Uri, UriError, UriPattern, spell_around},
    policy::{Agent, Authority, Capability},
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// A target in scope, with the capabilities that cover it, in the agent's order.
#[derive(Clone, Debug)]
pub struct Covered<T> {
    /// What.
    pub entry: Arc<T>,
    /// By what; never empty.
    pub capabilities: Arc<[CapabilityId]>,
}

/// One agent's part of the catalog.
#[derive(Debug, Default)]
pub struct View {
    tools: HashMap<Arc<str>, Covered<ToolEntry>>,
    prompts: HashMap<Arc<str>, Covered<ItemEntry>>,
    resources: HashMap<Arc<str>, Covered<ItemEntry>>,
    templates: Vec<Arc<ItemEntry>>,
    capabilities: Vec<Capability>,
    claims: Arc<[Claim]>,
    held: Held,
    /// Tools in scope of upstreams that are down.
    away: HashMap<Arc<str>, Covered<ToolEntry>>,
    /// All of the catalog: what lies in a skill and is none of its files is no resource.
    skills: Vec<Arc<SkillEntry>>,
    /// `tools/list`, in the order of names.
    pub tool_list: Arc<Vec<Value>>,
    /// `prompts/list`
    pub prompt_list: Arc<Vec<Value>>,
    /// `resources/list`
    pub resource_list: Arc<Vec<Value>>,
    /// `resources/templates/list`
    pub template_list: Arc<Vec<Value>>,
    /// `skills/list`: those of which every file is in scope.
    pub skill_list: Arc<Vec<Value>>,
    /// Over `tool_list`, where it has been searched.
    pub search: OnceLock<Index>,
    tokens: OnceLock<Vec<u64>>,
    capped: OnceLock<Arc<CappedTools>>,
    digests: OnceLock<Digests>,
}

/// What is in scope and not served, each with the capabilities that would cover it.
#[derive(Debug, Default)]
struct Held {
    tools: HashMap<Arc<str>, (HeldReason, Arc<[CapabilityId]>)>,
    entries: HashMap<Arc<str>, Arc<ToolEntry>>,
    prompts: HashMap<Arc<str>, (HeldReason, Arc<[CapabilityId]>)>,
    resources: HashMap<Arc<str>, (HeldReason, Arc<[CapabilityId]>)>,
    templates: Vec<(Arc<ItemEntry>, HeldReason)>,
    skills: Vec<(Arc<SkillEntry>, HeldReason)>,
}

/// The SHA-256 of each of a view's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Of `tool_list`.
    pub tools: [u8; 32],
    /// Of `prompt_list`.
    pub prompts: [u8; 32],
    /// Of `resource_list`, `template_list` and `skill_list`.
    pub resources: [u8; 32],
}

/// Over the items as they are written.
pub fn digest<'i>(items: impl IntoIterator<Item = &'i Value>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for item in items {
        digest.update(item.to_string());
        digest.update([0]);
    }
    digest.finalize().into()
}

impl View {
    /// Computes it.
    pub fn new(catalog: &Catalog, authority: &Authority, agent: &Agent) -> Self {
        let capabilities: Vec<Capability> =
            agent.capabilities.iter().filter_map(|id| authority.capabilities.get(id)).cloned().collect();
        let covering = |globs: fn(&Capability) -> &[Glob], name: &str| -> Option<Arc<[CapabilityId]>> {
            let ids = ids(&capabilities, |c| globs(c).iter().any(|g| g.matches(name)));
            (!ids.is_empty()).then(|| ids.into())
        };
        let mut view = Self::default();
        let mut list = Vec::new();
        for (name, entry) in &catalog.tools {
            if let Some(ids) = covering(|c| &c.tools, &entry.full) {
                list.push(entry.item.clone());
                view.tools.insert(name.clone(), Covered { entry: entry.clone(), capabilities: ids });
            }
        }
        for (name, entry) in &catalog.away {
            if let Some(ids) = covering(|c| &c.tools, &entry.full) {
                view.away.insert(name.clone(), Covered { entry: entry.clone(), capabilities: ids });
            }
        }
        let mut tools = std::mem::take(&mut list);
        for (name, entry) in &catalog.prompts {
            if let Some(ids) = covering(|c| &c.prompts, name) {
                list.push(entry.item.clone());
                view.prompts.insert(name.clone(), Covered { entry: entry.clone(), capabilities: ids });
            }
        }
        view.prompt_list = Arc::new(std::mem::take(&mut list));
        for (name, entry) in &catalog.resources {
            let ids = ids(&capabilities, |c| c.resources.iter().any(|pattern| pattern.grants(name, true)));
            if !ids.is_empty() {
                list.push(entry.item.clone());
                let covered = Covered { entry: entry.clone(), capabilities: ids.into() };
                view.resources.insert(name.clone(), covered);
            }
        }
        view.resource_list = Arc::new(std::mem::take(&mut list));
        for entry in catalog.templates.values() {
            // A template is shown where some expansion of it can be in scope: where the literal beginnings of
            // template and pattern agree.
            if capabilities.iter().flat_map(|c| &c.resources).any(|p| p.may_overlap(entry.head())) {
                list.push(entry.item.clone());
                view.templates.push(entry.clone());
            }
        }
        view.template_list = Arc::new(list);
        let grants = |uri: &str| {
            capabilities.iter().any(|c| c.resources.iter().any(|pattern| pattern.grants(uri, false)))
        };
        let whole = |skill: &&Arc<SkillEntry>| match &skill.files {
            Some(files) => files.keys().all(|file| grants(file)),
            None => grants(&skill.uri),
        };
        let skills = catalog.skills.values().filter(whole).map(|skill| skill.item.clone());
        view.skill_list = Arc::new(skills.collect());
        view.skills = catalog.skills.values().cloned().collect();
        view.capabilities = capabilities;
        view.claims = catalog.claims.clone();
        for (tool, entry) in
            tools.iter_mut().zip(catalog.tools.values().filter(|e| view.tools.contains_key(&e.exposed)))
        {
            pages::relink(tool, |page| view.page(&entry.upstream, page));
        }
        view.tool_list = Arc::new(tools);
        view.hold(catalog);
        view
    }

    /// Takes in what of the scope is not served.
    fn hold(&mut self, catalog: &Catalog) {
        let capabilities = &self.capabilities;
        let covering = |covers: &dyn Fn(&Capability) -> bool| -> Option<Arc<[CapabilityId]>> {
            let ids = ids(capabilities, covers);
            (!ids.is_empty()).then(|| ids.into())
        };
        let mut held = Held::default();
        for (name, (entry, why)) in &catalog.held.tools {
            let covers = |c: &Capability| c.tools.iter().any(|glob| glob.matches(&entry.full));
            if let Some(ids) = covering(&covers) {
                held.tools.insert(name.clone(), (*why, ids));
                held.entries.insert(name.clone(), entry.clone());
            }
        }
        for (name, (_, why)) in &catalog.held.prompts {
            let covers = |c: &Capability| c.prompts.iter().any(|glob| glob.matches(name));
            held.prompts.extend(covering(&covers).map(|ids| (name.clone(), (*why, ids))));
        }
        for (name, (_, why)) in &catalog.held.resources {
            let covers = |c: &Capability| c.resources.iter().any(|pattern| pattern.grants(name, true));
            held.resources.extend(covering(&covers).map(|ids| (name.clone(), (*why, ids))));
        }
        held.templates.extend(catalog.held.templates.values().cloned());
        held.skills.extend(catalog.held.skills.values().cloned());
        self.held = held;
    }

    /// Why something in scope is not served; none: it is, or is not in scope. `name` is as the agent wrote it.
    pub fn held(&self, kind: CallKind, name: &str, narrow: Option<&[CapabilityId]>) -> Option<HeldReason> {
        let of = |held: &HashMap<Arc<str>, (HeldReason, Arc<[CapabilityId]>)>, name: &str| {
            let (why, ids) = held.get(name)?;
            narrow.is_none_or(|narrow| ids.iter().any(|id| narrow.contains(id))).then_some(*why)
        };
        match kind {
            CallKind::Tool => of(&self.held.tools, name),
            CallKind::Prompt => of(&self.held.prompts, name),
            CallKind::Resource => {
                let uri = Uri::parse(name).ok()?;
                of(&self.held.resources, uri.as_str())
                    .or_else(|| self.held_skill(&uri, narrow))
                    .or_else(|| self.held_template(&uri, narrow))
            }
        }
    }

    /// A tool in scope, served or not, and while its upstream is down: what goes on with a call that was made while it was.
    pub fn tool_in_flight(&self, name: &str) -> Option<Arc<ToolEntry>> {
        let of = |tools: &HashMap<Arc<str>, Covered<ToolEntry>>| {
            tools.get(name).map(|covered| covered.entry.clone())
        };
        of(&self.tools).or_else(|| self.held.entries.get(name).cloned()).or_else(|| of(&self.away))
    }

    /// The same of what lies in the folder of a skill that is not served.
    fn held_skill(&self, uri: &Uri, narrow: Option<&[CapabilityId]>) -> Option<HeldReason> {
        let (_, why) = self.in_held_skill(uri.as_str())?;
        let granted = ids(&self.capabilities, |c| {
            c.resources.iter().any(|pattern| pattern.grants(uri.as_str(), false))
        });
        let in_scope = granted.iter().any(|id| narrow.is_none_or(|narrow| narrow.contains(id)));
        in_scope.then_some(*why)
    }

    /// The skill that is not served in whose folder this lies, and in that of no other skill within it.
    fn in_held_skill(&self, uri: &str) -> Option<&(Arc<SkillEntry>, HeldReason)> {
        let served = skills::holding(self.skills.iter(), uri).map_or(0, |skill| skill.root.len());
        let held = self.held.skills.iter().filter(|(skill, _)| uri.starts_with(&skill.root));
        held.max_by_key(|(skill, _)| skill.root.len()).filter(|(skill, _)| skill.root.len() > served)
    }

    /// The same of what a template that is not served stands for.
    fn held_template(&self, uri: &Uri, narrow: Option<&[CapabilityId]>) -> Option<HeldReason> {
        let first = self.claims.iter().find(|claim| claim.template.matches(uri.as_str()))?;
        let held = self.held.templates.iter();
        let (_, why) = held.clone().find(|(e, _)| e.name == first.name && e.upstream == first.upstream)?;
        let granted = ids(&self.capabilities, |c| {
            c.resources.iter().any(|pattern| pattern.grants(uri.as_str(), false))
        });
        let in_scope = granted.iter().any(|id| narrow.is_none_or(|narrow| narrow.contains(id)));
        in_scope.then_some(*why)
    }

    /// What a tool's link to its page is for this agent: to its own upstream's resource, and none where that is out of scope.
    fn page(&self, upstream: &UpstreamName, page: &str) -> Option<String> {
        let shown = pages::candidates(upstream, page).find_map(|uri| {
            let found = self.resource(uri.as_str(), None).ok()??;
            (found.0.entry.upstream == *upstream).then_some(found)
        });
        shown.map(|(covered, uri)| match covered.entry.is_template() {
            true => uri,
            false => covered.entry.listed.to_string(),
        })
    }

    /// What its lists hold, computed once.
    pub fn digests(&self) -> &Digests {
        self.digests.get_or_init(|| Digests {
            tools: digest(&*self.tool_list),
            prompts: digest(&*self.prompt_list),
            resources: digest(
                self.resource_list
                    .iter()
                    .chain([&Value::Null])
                    .chain(&*self.template_list)
                    .chain([&Value::Null])
                    .chain(&*self.skill_list),
            ),
        })
    }

    /// The tokens of each tool of `tool_list`, counted once.
    pub fn tool_tokens(&self, count: &dyn Fn(&Value) -> u64) -> &[u64] {
        self.tokens.get_or_init(|| self.tool_list.iter().map(count).collect())
    }

    /// The tools that fit into so many tokens, made once: first those of the agent's first capability, then those of its second
    /// and so on, within each by name. So the order of `capabilities` in authority.yaml says what matters most.
    pub fn capped(&self, most: u64, count: &dyn Fn(&Value) -> u64) -> &Arc<CappedTools> {
        self.capped.get_or_init(|| {
            let tokens = self.tool_tokens(count);
            Arc::new(CappedTools::of(&self.tool_list, tokens, |tool| self.rank(tool), most))
        })
    }

    /// Whether the cap was looked at already.
    pub fn is_capped(&self) -> bool {
        self.capped.get().is_some()
    }

    /// The place of the first of the agent's capabilities that covers a tool.
    fn rank(&self, tool: &Value) -> usize {
        let covered = tool.get("name").and_then(Value::as_str).and_then(|name| self.tools.get(name));
        let first = covered.and_then(|covered| covered.capabilities.first());
        first
            .and_then(|first| self.capabilities.iter().position(|capability| capability.id == *first))
            .unwrap_or(usize::MAX)
    }

    /// A tool by exposed name, narrowed to the capabilities of the workflow where it has any.
    pub fn tool(&self, name: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ToolEntry>> {
        self.tools.get(name).and_then(|covered| narrowed(covered, narrow))
    }

    /// The same of one whose upstream is down: nothing can be sent to it.
    pub fn away(&self, name: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ToolEntry>> {
        self.away.get(name).and_then(|covered| narrowed(covered, narrow))
    }

    /// A prompt by exposed name.
    pub fn prompt(&self, name: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ItemEntry>> {
        self.prompts.get(name).and_then(|covered| narrowed(covered, narrow))
    }

    /// A resource by URI as the agent wrote it: listed, or an expansion of a template in scope. Also gives the
    /// canonical URI. Whether a text is an error depends on nothing but the text and on what this agent sees.
    pub fn resource(
        &self,
        written: &str,
        narrow: Option<&[CapabilityId]>,
    ) -> Result<Option<(Covered<ItemEntry>, String)>, UriError> {
        let uri = match Uri::parse(written) {
            Err(wrong) if wrong.is_not_absolute() => return Ok(None),
            read => read?,
        };
        if self.in_held_skill(uri.as_str()).is_some() {
            return Ok(None);
        }
        let skill = skills::holding(self.skills.iter(), uri.as_str());
        if skill.is_some_and(|skill| !skill.has(uri.as_str())) {
            return Ok(None);
        }
        if let Some(covered) = self.resources.get(uri.as_str()) {
            return Ok(narrowed(covered, narrow).map(|covered| (covered, uri.into_string())));
        }
        match uri.doubt() {
            Some(doubt) => Err(doubt.clone()),
            None if skill.is_some() => Ok(skill
                .and_then(|skill| self.file(skill, uri.as_str(), narrow))
                .map(|c| (c, uri.into_string()))),
            None => Ok(self.expansion(uri.as_str(), narrow).map(|covered| (covered, uri.into_string()))),
        }
    }

    /// A file of a skill, where it is in scope.
    fn file(
        &self,
        skill: &SkillEntry,
        uri: &str,
        narrow: Option<&[CapabilityId]>,
    ) -> Option<Covered<ItemEntry>> {
        let ids = ids(&self.capabilities, |c| c.resources.iter().any(|pattern| pattern.grants(uri, false)));
        narrowed(&Covered { entry: skill.entry.clone(), capabilities: ids.into() }, narrow)
            .filter(|covered| !covered.capabilities.is_empty())
    }

    /// A skill by the URI of its `SKILL.md`, where all of it is in scope.
    pub fn skill(&self, written: &str) -> Option<&Value> {
        let uri = Uri::parse(written).ok()?;
        let of = |item: &&Value| {
            let listed = item.get("uri").and_then(Value::as_str).and_then(|listed| Uri::parse(listed).ok());
            listed.is_some_and(|listed| listed.as_str() == uri.as_str())
        };
        self.skill_list.iter().find(of)
    }

    /// A template in scope that stands for this canonical URI.
    fn expansion(&self, uri: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ItemEntry>> {
        let ids = ids(&self.capabilities, |c| c.resources.iter().any(|pattern| pattern.grants(uri, false)));
        if ids.is_empty() {
            return None;
        }
        // A newcomer's template takes nothing away from those that were there first.
        let first = self.claims.iter().find(|claim| claim.template.matches(uri))?;
        let entry = self.templates.iter().find(|e| e.name == first.name && e.upstream == first.upstream)?;
        narrowed(&Covered { entry: entry.clone(), capabilities: ids.into() }, narrow)
    }

    /// The template with this text, for completion.
    pub fn template(&self, text: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ItemEntry>> {
        let entry = self.templates.iter().find(|e| *e.listed == *text)?;
        let ids = ids(&self.capabilities, |c| c.resources.iter().any(|p| p.may_overlap(entry.head())));
        narrowed(&Covered { entry: entry.clone(), capabilities: ids.into() }, narrow)
    }

    /// Whether an expansion of the template with these variables can be in scope; those that are missing may become
    /// anything.
    pub fn may_expand(&self, template: &ItemEntry, variables: &Map<String, Value>) -> bool {
        let (expanded, whole) = template.expand(variables);
        let covers =
            |of: &dyn Fn(&UriPattern) -> bool| self.capabilities.iter().flat_map(|c| &c.resources).any(of);
        if !whole {
            let head = spell_around(&expanded, |_| None).unwrap_or(expanded);
            return covers(&|pattern| pattern.may_overlap(&head));
        }
        match Uri::parse(&expanded) {
            Ok(uri) if uri.doubt().is_none() => {
                self.resources.contains_key(uri.as_str())
                    || covers(&|pattern| pattern.grants(uri.as_str(), false))
            }
            Ok(_) | Err(_) => false,
        }
    }
}

/// The capabilities that cover something.
fn ids(capabilities: &[Capability], covers: impl Fn(&Capability) -> bool) -> Vec<CapabilityId> {
    capabilities.iter().filter(|capability| covers(capability)).map(|c| c.id.clone()).collect()
}

fn narrowed<T>(covered: &Covered<T>, narrow: Option<&[CapabilityId]>) -> Option<Covered<T>> {
    let Some(allowed) = narrow else {
        return (!covered.capabilities.is_empty())
            .then(|| Covered { entry: covered.entry.clone(), capabilities: covered.capabilities.clone() });
    };
    let ids: Vec<CapabilityId> =
        covered.capabilities.iter().filter(|id| allowed.contains(id)).cloned().collect();
    (!ids.is_empty()).then(|| Covered { entry: covered.entry.clone(), capabilities: ids.into() })
}
