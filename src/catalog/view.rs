//! What one agent sees (I7): computed once per catalog, bundle and agent, then looked up by name.

use super::{Catalog, Claim, ItemEntry, ToolEntry, search::Index};
use crate::{
    model::{CapabilityId, Glob, normalize_uri},
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
    /// `tools/list`, in the order of names.
    pub tool_list: Arc<Vec<Value>>,
    /// `prompts/list`
    pub prompt_list: Arc<Vec<Value>>,
    /// `resources/list`
    pub resource_list: Arc<Vec<Value>>,
    /// `resources/templates/list`
    pub template_list: Arc<Vec<Value>>,
    /// Over `tool_list`, where it has been searched.
    pub search: OnceLock<Index>,
    /// What `tool_list` costs this agent's model, where that was asked.
    pub tokens: OnceLock<u64>,
    digests: OnceLock<Digests>,
}

/// The SHA-256 of each of a view's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Of `tool_list`.
    pub tools: [u8; 32],
    /// Of `prompt_list`.
    pub prompts: [u8; 32],
    /// Of `resource_list` and `template_list`.
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
            let ids: Vec<CapabilityId> = capabilities
                .iter()
                .filter(|c| globs(c).iter().any(|g| g.matches(name)))
                .map(|c| c.id.clone())
                .collect();
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
        view.tool_list = Arc::new(std::mem::take(&mut list));
        for (name, entry) in &catalog.prompts {
            if let Some(ids) = covering(|c| &c.prompts, name) {
                list.push(entry.item.clone());
                view.prompts.insert(name.clone(), Covered { entry: entry.clone(), capabilities: ids });
            }
        }
        view.prompt_list = Arc::new(std::mem::take(&mut list));
        for (name, entry) in &catalog.resources {
            if let Some(ids) = covering(|c| &c.resources, name) {
                list.push(entry.item.clone());
                view.resources.insert(name.clone(), Covered { entry: entry.clone(), capabilities: ids });
            }
        }
        view.resource_list = Arc::new(std::mem::take(&mut list));
        for entry in catalog.templates.values() {
            // A template is shown where some expansion of it can be in scope: where the literal beginnings of
            // template and glob agree.
            if capabilities.iter().flat_map(|c| &c.resources).any(|glob| may_overlap(glob, &entry.name)) {
                list.push(entry.item.clone());
                view.templates.push(entry.clone());
            }
        }
        view.template_list = Arc::new(list);
        view.capabilities = capabilities;
        view.claims = catalog.claims.clone();
        view
    }

    /// What its lists hold, computed once.
    pub fn digests(&self) -> &Digests {
        self.digests.get_or_init(|| Digests {
            tools: digest(&*self.tool_list),
            prompts: digest(&*self.prompt_list),
            resources: digest(self.resource_list.iter().chain([&Value::Null]).chain(&*self.template_list)),
        })
    }

    /// A tool by exposed name, narrowed to the capabilities of the workflow where it has any.
    pub fn tool(&self, name: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ToolEntry>> {
        self.tools.get(name).and_then(|covered| narrowed(covered, narrow))
    }

    /// A prompt by exposed name.
    pub fn prompt(&self, name: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ItemEntry>> {
        self.prompts.get(name).and_then(|covered| narrowed(covered, narrow))
    }

    /// A resource by URI as the agent wrote it: listed, or an expansion of a template in scope. Also gives the
    /// normalised URI.
    pub fn resource(
        &self,
        uri: &str,
        narrow: Option<&[CapabilityId]>,
    ) -> Option<(Covered<ItemEntry>, String)> {
        let normal = normalize_uri(uri)?;
        if let Some(covered) = self.resources.get(normal.as_str()) {
            return Some((narrowed(covered, narrow)?, normal));
        }
        let ids: Vec<CapabilityId> = self
            .capabilities
            .iter()
            .filter(|c| c.resources.iter().any(|g| g.matches(&normal)))
            .map(|c| c.id.clone())
            .collect();
        // SPEC 7: a newcomer's template takes nothing away from those that were there first.
        let first = self.claims.iter().find(|claim| claim.template.matches(&normal))?;
        let entry = self.templates.iter().find(|e| e.name == first.name && e.upstream == first.upstream)?;
        let covered = Covered { entry: entry.clone(), capabilities: ids.into() };
        Some((narrowed(&covered, narrow)?, normal))
    }

    /// The template with this text, for completion.
    pub fn template(&self, text: &str, narrow: Option<&[CapabilityId]>) -> Option<Covered<ItemEntry>> {
        let entry = self.templates.iter().find(|e| *e.listed == *text)?;
        let ids =
            self.capabilities.iter().filter(|c| c.resources.iter().any(|g| may_overlap(g, &entry.name)));
        let ids: Vec<CapabilityId> = ids.map(|c| c.id.clone()).collect();
        narrowed(&Covered { entry: entry.clone(), capabilities: ids.into() }, narrow)
    }

    /// Whether an expansion of the template with these variables can be in scope; those that are missing may become
    /// anything.
    pub fn may_expand(&self, template: &ItemEntry, variables: &Map<String, Value>) -> bool {
        let mut expanded = String::new();
        let mut rest = &*template.listed;
        let mut open = false;
        while let Some((literal, tail)) = rest.split_once('{') {
            expanded.push_str(literal);
            let (name, tail) = tail.split_once('}').unwrap_or((tail, ""));
            match variables.get(name.trim_start_matches('+')).and_then(Value::as_str) {
                Some(value) => expanded.push_str(value),
                None => {
                    open = true;
                    break;
                }
            }
            rest = tail;
        }
        if open {
            return self.capabilities.iter().flat_map(|c| &c.resources).any(|g| may_overlap(g, &expanded));
        }
        expanded.push_str(rest);
        let Some(uri) = normalize_uri(&expanded) else { return false };
        self.capabilities.iter().flat_map(|c| &c.resources).any(|glob| glob.matches(&uri))
    }
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

fn may_overlap(glob: &Glob, template: &str) -> bool {
    let head = |text: &str, stop: char| text.split(stop).next().unwrap_or_default().to_owned();
    let (glob, template) = (head(glob.as_str(), '*'), head(template, '{'));
    glob.starts_with(&template) || template.starts_with(&glob)
}
