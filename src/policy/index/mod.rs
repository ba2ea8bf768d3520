//! Which policies can concern a call, so that a thousand of them cost little.

use super::{Policy, PolicyBody};
use crate::model::{Glob, Selected, Selector, UriPattern, paths};
use std::collections::HashMap;

/// The keys by which a policy is found, the telling ones first.
#[derive(Clone, Copy, Debug)]
enum Key {
    Tool,
    Resource,
    Prompt,
    Action,
    Agent,
    Workflow,
    Upstream,
    Role,
    AgentType,
    Capability,
    Tenant,
    Label,
}

impl Key {
    const ALL: [Self; 12] = [
        Self::Tool,
        Self::Resource,
        Self::Prompt,
        Self::Action,
        Self::Agent,
        Self::Workflow,
        Self::Upstream,
        Self::Role,
        Self::AgentType,
        Self::Capability,
        Self::Tenant,
        Self::Label,
    ];

    fn glob(self, selector: &Selector) -> Option<&Glob> {
        match self {
            Self::Tool => selector.tool.as_ref(),
            // A rule about a path concerns it whatever follows.
            Self::Resource => selector.resource.as_ref().map(UriPattern::path),
            Self::Prompt => selector.prompt.as_ref(),
            Self::Action => selector.action.as_ref(),
            Self::Agent => selector.agent.as_ref(),
            Self::Workflow => selector.workflow.as_ref(),
            Self::Upstream => selector.upstream.as_ref(),
            Self::Role => selector.role.as_ref(),
            Self::AgentType => selector.agent_type.as_ref(),
            Self::Capability => selector.capability.as_ref(),
            Self::Tenant => selector.tenant.as_ref(),
            Self::Label => selector.label.as_ref(),
        }
    }
}

/// The policies that name one key, by the literal text or by the text before the first wildcard.
#[derive(Debug, Default)]
struct Bucket {
    literal: ByText,
    /// By length of the text before the wildcard, which is never empty.
    prefix: Vec<(usize, ByText)>,
}

type ByText = HashMap<Box<str>, Vec<usize>>;

impl Bucket {
    fn add_literal(&mut self, text: &str, policy: usize) {
        self.literal.entry(text.into()).or_default().push(policy);
    }

    fn add_prefix(&mut self, text: &str, policy: usize) {
        let at = match self.prefix.iter().position(|(length, _)| *length == text.len()) {
            Some(at) => at,
            None => {
                self.prefix.push((text.len(), HashMap::new()));
                self.prefix.len() - 1
            }
        };
        if let Some((_, map)) = self.prefix.get_mut(at) {
            map.entry(text.into()).or_default().push(policy);
        }
    }

    fn find(&self, text: &str, found: &mut Vec<usize>) {
        if let Some(policies) = self.literal.get(text) {
            found.extend_from_slice(policies);
        }
        for (length, map) in &self.prefix {
            if let Some(policies) = text.get(..*length).and_then(|start| map.get(start)) {
                found.extend_from_slice(policies);
            }
        }
    }
}

/// Made once per bundle.
#[derive(Debug, Default)]
pub struct PolicyIndex {
    /// One for each of [`Key::ALL`].
    buckets: [Bucket; 12],
    /// Policies that name nothing by which they could be found.
    always: Vec<usize>,
}

impl PolicyIndex {
    /// Indexes the policies by what their selectors name literally, or by how it starts.
    pub fn build(policies: &[Policy]) -> Self {
        let mut index = Self::default();
        for (position, policy) in policies.iter().enumerate() {
            index.add(position, policy);
        }
        index
    }

    fn add(&mut self, position: usize, policy: &Policy) {
        if policy.on.is_empty() {
            // A rulebook policy's types say to whom it applies, as selectors do.
            match &policy.body {
                PolicyBody::Rulebook(rulebook) => match &rulebook.agent_types {
                    Some(types) => {
                        for agent_type in types {
                            self.bucket(Key::AgentType).add_literal(agent_type, position);
                        }
                    }
                    None => self.always.push(position),
                },
                PolicyBody::Gate(_) => self.always.push(position),
            }
        }
        for selector in &policy.on {
            self.add_selector(position, selector);
        }
    }

    fn add_selector(&mut self, position: usize, selector: &Selector) {
        let literal =
            Key::ALL.into_iter().find_map(|key| Some((key, key.glob(selector)?.literal()?.to_owned())));
        if let Some((key, text)) = literal {
            return self.bucket(key).add_literal(&text, position);
        }
        let start = Key::ALL.into_iter().find_map(|key| {
            let (start, _) = key.glob(selector)?.as_str().split_once('*')?;
            (!start.is_empty()).then_some((key, start))
        });
        match start {
            Some((key, start)) => self.bucket(key).add_prefix(start, position),
            None => self.always.push(position),
        }
    }

    fn bucket(&mut self, key: Key) -> &mut Bucket {
        let [
            tool,
            resource,
            prompt,
            action,
            agent,
            workflow,
            upstream,
            role,
            agent_type,
            capability,
            tenant,
            label,
        ] = &mut self.buckets;
        match key {
            Key::Tool => tool,
            Key::Resource => resource,
            Key::Prompt => prompt,
            Key::Action => action,
            Key::Agent => agent,
            Key::Workflow => workflow,
            Key::Upstream => upstream,
            Key::Role => role,
            Key::AgentType => agent_type,
            Key::Capability => capability,
            Key::Tenant => tenant,
            Key::Label => label,
        }
    }

    /// The positions of the policies that can concern the call, in file order, each once. Some of
    /// them may not match; none that matches is left out.
    pub fn candidates(&self, of: &Selected<'_>) -> Vec<usize> {
        let mut found = self.always.clone();
        let [
            tool,
            resource,
            prompt,
            action,
            agent,
            workflow,
            upstream,
            role,
            agent_type,
            capability,
            tenant,
            label,
        ] = &self.buckets;
        for (bucket, text) in [
            (tool, of.tool),
            (prompt, of.prompt),
            (action, of.action),
            (agent, of.agent),
            (workflow, of.workflow),
            (upstream, of.upstream),
            (role, of.role),
            (agent_type, of.agent_type),
            (capability, of.capability),
            (tenant, of.tenant),
        ] {
            bucket.find(text, &mut found);
        }
        for path in paths(of.resource) {
            resource.find(&path, &mut found);
        }
        for text in of.labels {
            label.find(text, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
