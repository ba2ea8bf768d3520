//! What an agent may use, as the authority map says.

use super::{Agent, Authority, Capability, Workflow};
use crate::model::{CallKind, CapabilityId};

impl Capability {
    /// Whether it covers a target: the exposed name of a tool before shortening, the canonical URI of a resource, the exposed
    /// name of a prompt. `listed`: the resource is one that its upstream lists, query and all.
    pub fn covers(&self, kind: CallKind, name: &str, listed: bool) -> bool {
        match kind {
            CallKind::Tool => self.tools.iter().any(|glob| glob.matches(name)),
            CallKind::Resource => self.resources.iter().any(|pattern| pattern.grants(name, listed)),
            CallKind::Prompt => self.prompts.iter().any(|glob| glob.matches(name)),
        }
    }

    /// Whether it may cover something of an upstream whose tools and prompts have names that begin like this. Of what its resources
    /// are called nothing is known.
    pub fn may_reach(&self, begin: &str) -> bool {
        let mut globs = self.tools.iter().chain(&self.prompts);
        !self.resources.is_empty() || globs.any(|glob| glob.may_match_below(begin))
    }
}

impl Authority {
    /// The capabilities of an agent that cover something, in its order, within those of the workflow where that names any.
    pub fn covering(
        &self,
        agent: &Agent,
        workflow: Option<&Workflow>,
        covers: impl Fn(&Capability) -> bool,
    ) -> Vec<CapabilityId> {
        let narrow = workflow.and_then(|workflow| workflow.capabilities.as_deref());
        let within = |id: &CapabilityId| narrow.is_none_or(|allowed| allowed.contains(id));
        let held = agent.capabilities.iter().filter(|id| within(id));
        held.filter(|id| self.capabilities.get(*id).is_some_and(&covers)).cloned().collect()
    }
}
