//! One snapshot in force: configuration, bundle, catalog and the servers that they mean, as one immutable value.
//!
//! A call reads it once per evaluation, so that it is never decided by new policies over an old tool table, and goes to the
//! server that it was decided for. A reload, or a change of what an upstream lists, builds the next one whole and swaps it.

use super::{request::workflow_of, stage_counts::StageCounts};
use crate::{
    activation::OnTrial,
    catalog::{Catalog, View},
    config::Config,
    evidence::Stage,
    identity::{Keyring, Principal, granted},
    model::{AgentId, CapabilityId, SnapshotId, UpstreamName},
    policy::PolicySet,
    upstream::{UpstreamSet, UpstreamState, is_personal},
};
use dashmap::DashMap;
use std::sync::Arc;

/// Views of agents whose tokens, workflows or people grant a part of what they have. There is one for each set of capabilities that
/// they grant, of which an issuer could make many.
const MOST_NARROW_VIEWS: usize = 1_000;

pub use crate::evidence::Origin;

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
    /// A bundle that is tried beside this one.
    pub trial: Option<Arc<Trial>>,
    /// Why every call is refused: an order that this process cannot follow.
    pub(super) blocked: Option<Arc<str>>,
    /// Upstreams that nobody shares: they are reached with the credential of whoever uses them.
    pub(super) personal: Arc<[UpstreamName]>,
    /// Of what it is that of some holders of credentials; none: it is everybody's.
    shared: Option<Arc<InForce>>,
    views: Views,
}

/// A bundle that is tried beside the one in force, over the same catalog and servers.
#[derive(Debug)]
pub struct Trial {
    /// The rollout, as its newest record has it.
    pub on: Arc<OnTrial>,
    /// The candidate as it would be in force.
    pub candidate: Arc<InForce>,
    pub(super) counts: Arc<StageCounts>,
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
        let (trial, blocked, shared, views) = (None, None, None, Views::default());
        let personal = config.upstreams.values().filter(|upstream| is_personal(upstream));
        let personal = personal.map(|upstream| upstream.name.clone()).collect();
        Self { config, policies, catalog, upstreams, keyring, trial, blocked, personal, shared, views }
    }

    /// With a bundle that is tried beside it.
    pub(super) fn with_trial(
        mut self,
        trial: Option<(Arc<OnTrial>, Arc<PolicySet>, Arc<StageCounts>)>,
    ) -> Self {
        self.trial = trial.map(|(on, policies, counts)| {
            let (config, catalog) = (self.config.clone(), self.catalog.clone());
            let candidate = Self::new(config, policies, catalog, self.upstreams.clone());
            Arc::new(Trial { on, candidate: Arc::new(candidate), counts })
        });
        self
    }

    /// Whether it is everybody's.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_none()
    }

    /// The same over the catalog and servers of some holders of credentials.
    pub(super) fn over(self: &Arc<Self>, catalog: Arc<Catalog>, upstreams: UpstreamSet) -> Self {
        let made = |of: &Arc<Self>| {
            let (config, policies) = (of.config.clone(), of.policies.clone());
            let mut made = Self::new(config, policies, catalog.clone(), upstreams.clone());
            (made.blocked, made.shared) = (of.blocked.clone(), Some(of.clone()));
            made
        };
        let mut own = made(self);
        own.trial = self.trial.as_ref().map(|trial| {
            let candidate = Arc::new(made(&trial.candidate));
            Arc::new(Trial { on: trial.on.clone(), candidate, counts: trial.counts.clone() })
        });
        own
    }

    /// What decides a call that was asked about under a snapshot: that of a candidate decides its own.
    pub fn policies_of(&self, snapshot: &SnapshotId) -> &Arc<PolicySet> {
        match &self.trial {
            Some(trial) if trial.candidate.policies.snapshot == *snapshot => &trial.candidate.policies,
            Some(_) | None => &self.policies,
        }
    }

    /// Whether calls are decided under a snapshot now.
    pub(super) fn decides_under(&self, snapshot: &SnapshotId) -> bool {
        self.snapshots().contains(&snapshot)
    }

    /// Whether this or its candidate is what a call was decided under.
    pub(super) fn is_or_tries(&self, other: &Arc<Self>) -> bool {
        let other = other.shared.as_ref().unwrap_or(other);
        std::ptr::eq(self, &**other)
            || self.trial.as_ref().is_some_and(|trial| Arc::ptr_eq(&trial.candidate, other))
    }

    /// The snapshots under which calls are decided: its own first.
    pub(super) fn snapshots(&self) -> Vec<&SnapshotId> {
        let tried = self.trial.as_ref().filter(|trial| trial.on.rollout.stage() != Stage::Shadow);
        let tried = tried.map(|trial| &trial.candidate.policies.snapshot);
        std::iter::once(&self.policies.snapshot).chain(tried).collect()
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
        match granted(principal, &self.policies.authority) {
            None => self.whole_view(agent),
            Some(granted) => self.narrow_view(agent, &granted),
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
                let bound = granted(principal, authority);
                let is_granted = |id: &&CapabilityId| bound.as_ref().is_none_or(|bound| bound.contains(*id));
                let kept: Arc<[CapabilityId]> = narrow.iter().filter(is_granted).cloned().collect();
                self.narrow_view(&agent.id, &kept)
            }
        }
    }

    /// What an agent sees; nothing where it is unknown.
    pub(super) fn whole_view(&self, agent: &AgentId) -> Option<Arc<View>> {
        if let Some(view) = self.views.whole.get(agent) {
            return Some(view.clone());
        }
        let known = self.policies.authority.agents.get(agent)?;
        let view = Arc::new(View::new(&self.catalog, &self.policies.authority, known));
        self.views.whole.insert(agent.clone(), view.clone());
        Some(view)
    }

    /// What an agent sees where its token, its workflow or the person it acts for grants a part of its capabilities.
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
