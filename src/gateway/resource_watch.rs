//! A watch over one resource: what its upstream says of it.

use crate::{
    model::Uri,
    upstream::{ResourceUpdate, Upstream, UpstreamError},
};
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
    pub(super) alias: Option<Arc<str>>,
    updates: broadcast::Receiver<ResourceUpdate>,
}

impl fmt::Debug for ResourceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceWatch").field("upstream", self.upstream.name()).finish_non_exhaustive()
    }
}

impl ResourceWatch {
    /// Begins. Only dispatch calls this.
    pub(crate) async fn begin(
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
    pub(super) async fn next(&mut self) -> Option<Changed> {
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

/// What an upstream says of a watched resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
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
