//! News, each for those who may see what has changed (I7): of a resource that an upstream says has changed, and of lists.

use super::{
    Gateway,
    api::{IncomingCall, ListKind, Listed, Purpose, ResourceNews, WatchSlot},
    finding,
    prepare::named_workflow,
};
use crate::{
    catalog::{digest, naming},
    identity::Principal,
    model::{RpcError, Uri, WorkflowId, code},
    upstream::{ResourceUpdate, Upstream, UpstreamError},
};
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};
use tokio::sync::broadcast;

/// One watched resource; its upstream is told to stop when this is dropped.
pub(crate) struct ResourceWatch {
    upstream: Arc<dyn Upstream>,
    /// As the upstream is asked for it.
    own: Arc<str>,
    /// The same in its canonical form.
    canonical: String,
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
        let canonical = Uri::parse(&own).map_or_else(|_| own.to_string(), Uri::into_string);
        let watch = Self { upstream, own, canonical, alias, updates };
        watch.upstream.watch_resource(&watch.own, true).await?;
        Ok(watch)
    }

    /// What changed next: this resource, or one below it.
    async fn next(&mut self) -> Option<Changed> {
        loop {
            match self.updates.recv().await {
                Ok(update) => {
                    if let Some(changed) = changed(&self.own, &self.canonical, &update.uri) {
                        return Some(changed);
                    }
                }
                // What was missed may have been about this one.
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(Changed::Itself),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// What an upstream says of a watched resource.
#[derive(Debug, PartialEq, Eq)]
enum Changed {
    Itself,
    /// One below it, as the upstream wrote it.
    Below(Arc<str>),
}

/// Whether news of `uri` are news of the watched resource, however the upstream spells it.
fn changed(own: &str, canonical: &str, uri: &Arc<str>) -> Option<Changed> {
    if **uri == *own {
        return Some(Changed::Itself);
    }
    let told = Uri::parse(uri).ok()?;
    match told.as_str().strip_prefix(canonical.trim_end_matches('/'))? {
        "" | "/" => Some(Changed::Itself),
        below => below.starts_with('/').then(|| Changed::Below(uri.clone())),
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
                .is_some_and(|view| view.resource(uri, None).is_ok_and(|found| found.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_recognised_in_every_spelling() {
        let check = |own: &str, uri: &str, expect: Option<bool>| {
            let canonical = Uri::parse(own).unwrap().into_string();
            let found = changed(own, &canonical, &uri.into());
            assert_eq!(found.map(|changed| changed == Changed::Itself), expect, "{own} {uri}");
        };
        check("FILE:///srv/My Docs//a", "FILE:///srv/My Docs//a", Some(true));
        check("FILE:///srv/My Docs//a", "file:///srv/My%20Docs/a", Some(true));
        check("file:///srv/docs", "file:///srv/docs/", Some(true));
        check("file:///srv/docs/", "file:///srv/docs/x", Some(false));
        check("file:///srv/docs", "file:///srv/docsx", None);
        check("file:///srv/docs", "file:///srv/docs/../x", None);
        check("file:///srv/docs", "no uri", None);
        check("https://h.example", "https://h.example/x", Some(false));
        check("memo:a", "MEMO:%61", Some(true));
    }
}
