//! News, each for those who may see what has changed: of a resource that an upstream says has changed, and of lists.

use super::{
    Gateway,
    api::{IncomingCall, ListKind, Listed, Purpose, ResourceNews, WatchSlot},
    freezes::subject_of,
    request::named_workflow,
    resource_watch::Changed,
    target::Target,
    tool_search,
};
use crate::{
    catalog::{digest, naming},
    identity::{Principal, user_of},
    model::{RpcError, WorkflowId, code},
};
use sha2::{Digest as _, Sha256};

impl Gateway {
    /// `resources/subscribe`: decided and recorded like a read of the resource, and looked at again for scope with
    /// every piece of news.
    pub async fn watch(&self, call: IncomingCall) -> Result<ResourceNews, RpcError> {
        let slot = WatchSlot::default();
        let (principal, asked) = (call.principal.clone(), call.name.clone());
        let workflow = named_workflow(Some(&call.meta), call.workflow.clone());
        self.call(IncomingCall { purpose: Purpose::Watch(slot.clone()), ..call }).await?;
        let Some(mut watch) = slot.0.lock().take() else {
            return Err(RpcError::new(code::INTERNAL_ERROR, "the resource could not be watched"));
        };
        let gateway = self.clone();
        Ok(Box::pin(async_stream::stream! {
            while let Some(changed) = watch.next().await {
                let told = match (changed, &watch.alias) {
                    // The client's own spelling of what it asked for.
                    (Changed::Itself, _) => asked.clone(),
                    (Changed::Below(uri), Some(alias)) => naming::aliased(alias, &uri),
                    (Changed::Below(uri), None) => uri.to_string(),
                };
                if gateway.sees_resource(&principal, workflow.as_deref(), &told) {
                    yield told;
                }
            }
        }))
    }

    /// What a principal's lists hold now, in the workflow that it names. Where it names none: in its own, and in each that
    /// it may name and that has capabilities of its own, so that news of all it may list come.
    pub fn listed(&self, principal: &Principal, workflow: Option<&str>) -> Listed {
        let in_force = self.in_force_of(principal);
        let Some(agent) = principal.agent() else {
            let tools = digest(&*self.list(principal, ListKind::Tools, None));
            return Listed { tools, ..Listed::default() };
        };
        if !self.still_valid(principal) {
            return Listed::default();
        }
        let authority = &in_force.policies.authority;
        let narrows =
            |id: &&WorkflowId| authority.workflows.get(*id).is_some_and(|w| w.capabilities.is_some());
        let others = authority.agents.get(agent).map(|agent| &agent.workflows).filter(|_| workflow.is_none());
        let others = others.into_iter().flatten().filter(narrows).map(|id| Some(id.as_str()));
        let searched = tool_search::is_on(&in_force);
        let (mut tools, mut resources, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for workflow in std::iter::once(workflow).chain(others) {
            let Some(view) = in_force.view_in(principal, workflow) else { continue };
            let digests = view.digests();
            // Where tools are searched for, what can be found counts: who has found one may have kept it.
            tools.extend_from_slice(&digests.tools);
            resources.extend_from_slice(&digests.resources);
            prompts.extend_from_slice(&digests.prompts);
        }
        tools.push(u8::from(searched));
        let sum = |of: Vec<u8>| Sha256::digest(of).into();
        Listed { tools: sum(tools), resources: sum(resources), prompts: sum(prompts) }
    }

    fn sees_resource(&self, principal: &Principal, workflow: Option<&str>, uri: &str) -> bool {
        let in_force = self.in_force_of(principal);
        if !self.still_valid(principal) {
            return false;
        }
        let Some(view) = in_force.view_in(principal, workflow) else { return false };
        let Ok(Some((covered, uri))) = view.resource(uri, None) else { return false };
        let Some(agent) = principal.agent() else { return true };
        let user = user_of(principal, &in_force.policies.authority);
        let target = Target::Item(covered.entry, uri.into());
        let subject = subject_of(agent, user, &target, &covered.capabilities);
        self.0.freezes.frozen(&subject).is_none()
    }
}
