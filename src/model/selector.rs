//! One entry of `on` (policies) or `match` (budgets): all of its keys must match.

use super::{Glob, UriPattern};

/// What a selector is held against.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// The tool's action.
    pub action: &'a str,
    /// The exposed tool name before shortening; empty for resources and prompts.
    pub tool: &'a str,
    /// The labels of the tool and its upstream.
    pub labels: &'a [std::sync::Arc<str>],
    /// The upstream's name.
    pub upstream: &'a str,
    /// The agent's name.
    pub agent: &'a str,
    /// The agent's role.
    pub role: &'a str,
    /// The agent's type.
    pub agent_type: &'a str,
    /// The agent's tenant.
    pub tenant: &'a str,
    /// The capability that lets the call through; empty where none does.
    pub capability: &'a str,
    /// The workflow's name; empty where there is none.
    pub workflow: &'a str,
    /// The canonical URI of a resource; empty otherwise.
    pub resource: &'a str,
    /// The exposed name of a prompt; empty otherwise.
    pub prompt: &'a str,
}

/// One entry; an absent key matches everything, an entry without keys matches every call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Glob over the action.
    pub action: Option<Glob>,
    /// Glob over the exposed tool name; matches tools only.
    pub tool: Option<Glob>,
    /// Glob over the labels; any one may match.
    pub label: Option<Glob>,
    /// Glob over the upstream.
    pub upstream: Option<Glob>,
    /// Glob over the agent.
    pub agent: Option<Glob>,
    /// Glob over the agent's role.
    pub role: Option<Glob>,
    /// Glob over the agent's type.
    pub agent_type: Option<Glob>,
    /// Glob over the agent's tenant.
    pub tenant: Option<Glob>,
    /// Glob over the capability that lets the call through.
    pub capability: Option<Glob>,
    /// Glob over the workflow.
    pub workflow: Option<Glob>,
    /// Pattern over the URI; matches resources only.
    pub resource: Option<UriPattern>,
    /// Glob over the prompt's name; matches prompts only.
    pub prompt: Option<Glob>,
}

/// A key of an entry that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key.
    pub key: &'static str,
    /// What the entry wants.
    pub pattern: String,
    /// What the call has; empty where it has none.
    pub found: String,
}

impl Selector {
    /// The first key that does not match; `None` where all of them do.
    pub fn mismatch(&self, of: &Selected<'_>) -> Option<Mismatch> {
        let none = Self::default;
        let labels = of.labels.join(", ");
        let keys = [
            ("tool", Self { tool: self.tool.clone(), ..none() }, of.tool),
            ("resource", Self { resource: self.resource.clone(), ..none() }, of.resource),
            ("prompt", Self { prompt: self.prompt.clone(), ..none() }, of.prompt),
            ("action", Self { action: self.action.clone(), ..none() }, of.action),
            ("label", Self { label: self.label.clone(), ..none() }, &labels),
            ("upstream", Self { upstream: self.upstream.clone(), ..none() }, of.upstream),
            ("agent", Self { agent: self.agent.clone(), ..none() }, of.agent),
            ("role", Self { role: self.role.clone(), ..none() }, of.role),
            ("agent_type", Self { agent_type: self.agent_type.clone(), ..none() }, of.agent_type),
            ("tenant", Self { tenant: self.tenant.clone(), ..none() }, of.tenant),
            ("capability", Self { capability: self.capability.clone(), ..none() }, of.capability),
            ("workflow", Self { workflow: self.workflow.clone(), ..none() }, of.workflow),
        ];
        let (key, alone, found) = keys.into_iter().find(|(_, alone, _)| !alone.matches(of))?;
        Some(Mismatch { key, pattern: alone.written(), found: found.to_owned() })
    }

    /// The patterns that are set.
    fn written(&self) -> String {
        let Self { action, tool, label, upstream, agent, role, agent_type, tenant, capability, .. } = self;
        let Self { workflow, resource, prompt, .. } = self;
        let globs =
            [action, tool, label, upstream, agent, role, agent_type, tenant, capability, workflow, prompt];
        let globs = globs.into_iter().flatten().map(Glob::as_str);
        globs.chain(resource.as_ref().map(UriPattern::as_str)).collect::<Vec<_>>().join(", ")
    }

    /// Whether every key that is set matches.
    pub fn matches(&self, of: &Selected<'_>) -> bool {
        let ok = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|g| g.matches(text));
        let ok_only = |glob: &Option<Glob>, text: &str| {
            glob.as_ref().is_none_or(|g| !text.is_empty() && g.matches(text))
        };
        ok_only(&self.tool, of.tool)
            && self.resource.as_ref().is_none_or(|p| !of.resource.is_empty() && p.concerns(of.resource))
            && ok_only(&self.prompt, of.prompt)
            && ok(&self.action, of.action)
            && self.label.as_ref().is_none_or(|g| of.labels.iter().any(|l| g.matches(l)))
            && ok(&self.upstream, of.upstream)
            && ok(&self.agent, of.agent)
            && ok(&self.role, of.role)
            && ok(&self.agent_type, of.agent_type)
            && ok_only(&self.tenant, of.tenant)
            && ok_only(&self.capability, of.capability)
            && ok_only(&self.workflow, of.workflow)
    }
}
