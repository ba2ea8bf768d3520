//! News, each for those who may see what has changed (I7): of a resource that an upstream says has changed, and of lists.

use super::{
    Gateway,
    api::{IncomingCall, ListKind, Listed, Purpose, ResourceNews, WatchSlot},
    finding,
    prepare::named_workflow,
};
use crate::{
    catalog::digest,
    identity::Principal,
    model::{RpcError, WorkflowId, code, normalize_uri},
    upstream::{ResourceUpdate, Upstream, UpstreamError},
};
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};
use tokio::sync::broadcast;

/// One watched resource; its upstream is told to stop when this is dropped.
pub(crate) struct ResourceWatch {
    upstream: Arc<dyn Upstream>,
    /// As the upstream knows it.
    own: Arc<str>,
    /// What stands in front of its URIs where agents see them.
    alias: Option<Arc<str>>,
    updates: broadcast::Receiver<ResourceUpdate>,
}

impl fmt::Debug for ResourceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceWatch").field("upstream", self.upstream.name()).finish_non_exhaustive()
    }
}

impl ResourceWatch {
    /// Begins. Only dispatch calls this.
    pub(super) async fn begin(
        upstream: Arc<dyn Upstream>,
        own: Arc<str>,
        alias: Option<Arc<str>>,
    ) -> Result<Self, UpstreamError> {
        // Before it is asked for, so that no news falls between.
        let updates = upstream.updates();
        let watch = Self { upstream, own, alias, updates };
        watch.upstream.watch_resource(&watch.own, true).await?;
        Ok(watch)
    }

    /// The next URI that changed: this resource, or one below it.
    async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            match self.updates.recv().await {
                Ok(update) if self.concerns(&update.uri) => return Some(update.uri),
                Ok(_) => {}
                // What was missed may have been about this one.
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(self.own.clone()),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn concerns(&self, uri: &str) -> bool {
        if uri == &*self.own {
            return true;
        }
        let (Some(changed), Some(own)) = (normalize_uri(uri), normalize_uri(&self.own)) else { return false };
        changed
            .strip_prefix(own.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Drop for ResourceWatch {
    fn drop(&mut self) {
        let (upstream, own) = (self.upstream.clone(), self.own.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // An upstream that is gone tells nothing more anyway.
                drop(upstream.watch_resource(&own, false).await);
            });
        }
    }
}

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
            while let Some(uri) = watch.next().await {
                // The client's own spelling of what it asked for.
                let told = match (*uri == *watch.own, &watch.alias) {
                    (true, _) => asked.clone(),
                    (false, Some(alias)) => format!("{alias}{uri}"),
                    (false, None) => uri.to_string(),
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
        let in_force = self.in_force();
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
        let searched = finding::is_on(&in_force);
        let (mut tools, mut resources, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for workflow in std::iter::once(workflow).chain(others) {
            let Some(view) = self.view_in(&in_force, principal, workflow) else { continue };
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
        let in_force = self.in_force();
        self.still_valid(principal)
            && self
                .view_in(&in_force, principal, workflow)
                .is_some_and(|view| view.resource(uri, None).is_some())
    }
}
