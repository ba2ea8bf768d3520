//! One snapshot in force: configuration, bundle, catalog and the servers that they mean, as one immutable value.
//!
//! A call reads it once per evaluation, so that it is never decided by new policies over an old tool table, and goes to the
//! server that it was decided for. A reload, or a change of what an upstream lists, builds the next one whole and swaps it.

use super::request::workflow_of;
use crate::{
    catalog::{Catalog, View},
    config::Config,
    identity::{Keyring, Principal},
    model::{AgentId, CapabilityId},
    policy::PolicySet,
    upstream::{UpstreamSet, UpstreamState},
};
use dashmap::DashMap;
use std::sync::Arc;

/// Views of agents whose tokens or workflows grant a part of what they have. There is one for each set of capabilities that
/// they grant, of which an issuer could make many.
const MOST_NARROW_VIEWS: usize = 1_000;

/// Who or what brings files, and where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Like `uid 1000`.
    pub by: String,
    /// `start`, `file change`, `SIGHUP`.
    pub reason: String,
    /// Where the folder of policies is in git: the commit that is checked out.
    pub git_commit: Option<String>,
    /// Whether the folder is as it stands in that commit.
    pub git_clean: Option<bool>,
}

/// What the files say, checked: what a reload brings.
#[derive(Debug)]
pub struct CheckedFiles {
    /// servers.toml.
    pub config: Config,
    /// The bundle.
    pub policies: PolicySet,
    /// Who or what brings them.
    pub origin: Origin,
}

/// What is in force: replaced whole.
#[derive(Debug)]
pub struct InForce {
    /// servers.toml.
    pub config: Arc<Config>,
    /// The bundle.
    pub policies: Arc<PolicySet>,
    /// What the upstreams list, named and labelled as the configuration says.
    pub catalog: Arc<Catalog>,
    pub(super) upstreams: UpstreamSet,
    /// The keys of the bundle's authority map.
    pub keyring: Keyring,
    views: Views,
}

/// What agents see of it, made when somebody asks.
#[derive(Debug, Default)]
struct Views {
    whole: DashMap<AgentId, Arc<View>>,
    narrow: DashMap<(AgentId, Arc<[CapabilityId]>), Arc<View>>,
}

impl InForce {
    /// Of parts that belong together.
    pub fn new(
        config: Arc<Config>,
        policies: Arc<PolicySet>,
        catalog: Arc<Catalog>,
        upstreams: UpstreamSet,
    ) -> Self {
        let keyring = Keyring::of(&policies.authority);
        Self { config, policies, catalog, upstreams, keyring, views: Views::default() }
    }

    /// The same under another bundle.
    pub(super) fn with_policies(&self, policies: Arc<PolicySet>) -> Arc<Self> {
        let (config, catalog) = (self.config.clone(), self.catalog.clone());
        Arc::new(Self::new(config, policies, catalog, self.upstreams.clone()))
    }

    /// How each upstream stands.
    pub(super) fn upstream_states(&self) -> Vec<Arc<UpstreamState>> {
        self.upstreams.states().iter().map(|state| state.borrow().clone()).collect()
    }

    /// What a principal sees; nothing where it is no agent that is known.
    pub(super) fn view(&self, principal: &Principal) -> Option<Arc<View>> {
        let agent = principal.agent()?;
        match principal.grants() {
            None => self.whole_view(agent),
            Some(grants) => self.narrow_view(agent, grants),
        }
    }

    /// What one agent sees in the workflow that it names, or in its own: nothing where it may not act in that one.
    pub(super) fn view_in(&self, principal: &Principal, named: Option<&str>) -> Option<Arc<View>> {
        let authority = &self.policies.authority;
        let agent = authority.agents.get(principal.agent()?)?;
        let workflow = match workflow_of(&authority.workflows, agent, named) {
            (workflow, None) => workflow,
            (_, Some(_)) => return None,
        };
        match workflow.and_then(|workflow| workflow.capabilities.as_deref()) {
            None => self.view(principal),
            Some(narrow) => {
                let granted =
                    |id: &&CapabilityId| principal.grants().is_none_or(|granted| granted.contains(*id));
                let kept: Arc<[CapabilityId]> = narrow.iter().filter(granted).cloned().collect();
                self.narrow_view(&agent.id, &kept)
            }
        }
    }

    /// What an agent sees; nothing where it is unknown.
    fn whole_view(&self, agent: &AgentId) -> Option<Arc<View>> {
        if let Some(view) = self.views.whole.get(agent) {
            return Some(view.clone());
        }
        let known = self.policies.authority.agents.get(agent)?;
        let view = Arc::new(View::new(&self.catalog, &self.policies.authority, known));
        self.views.whole.insert(agent.clone(), view.clone());
        Some(view)
    }

    /// What an agent sees where its token or its workflow grants a part of its capabilities.
    fn narrow_view(&self, agent: &AgentId, granted: &Arc<[CapabilityId]>) -> Option<Arc<View>> {
        let key = (agent.clone(), granted.clone());
        if let Some(view) = self.views.narrow.get(&key) {
            return Some(view.clone());
        }
        let mut known = self.policies.authority.agents.get(agent)?.clone();
        known.capabilities.retain(|id| granted.contains(id));
        let view = Arc::new(View::new(&self.catalog, &self.policies.authority, &known));
        if self.views.narrow.len() >= MOST_NARROW_VIEWS {
            self.views.narrow.clear();
        }
        self.views.narrow.insert(key, view.clone());
        Some(view)
    }
}
