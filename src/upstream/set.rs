//! All upstreams of one configuration, started side by side and exchanged one by one at a reload.

use super::{
    deps::UpstreamDeps,
    server::Server,
    types::{Upstream, UpstreamState},
};
use crate::{
    config::{OauthConfig, UpstreamConfig, UpstreamTransport},
    model::UpstreamName,
};
use arc_swap::ArcSwap;
use futures::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The upstreams in force.
pub struct UpstreamSet {
    deps: UpstreamDeps,
    servers: ArcSwap<BTreeMap<UpstreamName, Arc<Server>>>,
    ticks: Arc<watch::Sender<u64>>,
    reconfiguring: tokio::sync::Mutex<()>,
}

impl fmt::Debug for UpstreamSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamSet").field(&self.servers.load().keys().collect::<Vec<_>>()).finish()
    }
}

impl Drop for UpstreamSet {
    fn drop(&mut self) {
        for server in self.servers.load().values() {
            server.abandon();
        }
    }
}

impl UpstreamSet {
    /// Begins to connect all of them, side by side. Must be called inside a tokio runtime.
    pub fn start(configs: impl IntoIterator<Item = UpstreamConfig>, deps: UpstreamDeps) -> Self {
        let ticks = Arc::new(watch::Sender::new(0));
        let servers = configs
            .into_iter()
            .map(|config| (config.name.clone(), Server::start(config, deps.clone(), ticks.clone(), 0)))
            .collect();
        Self {
            deps,
            servers: ArcSwap::from_pointee(servers),
            ticks,
            reconfiguring: tokio::sync::Mutex::new(()),
        }
    }

    /// One of them.
    pub fn get(&self, name: &UpstreamName) -> Option<Arc<dyn Upstream>> {
        self.servers.load().get(name).map(|server| server.clone() as Arc<dyn Upstream>)
    }

    /// The state of each, by name. A reload makes new ones: ask again when [`Self::changes`] ticks.
    pub fn states(&self) -> Vec<watch::Receiver<Arc<UpstreamState>>> {
        self.servers.load().values().map(|server| server.state()).collect()
    }

    /// Ticks on every change of any state, and when the set itself changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Ends when every upstream has listed or failed its first attempt.
    pub async fn settled(&self) {
        let servers = self.servers.load_full();
        join_all(servers.values().map(|server| server.settled())).await;
    }

    /// Takes up a new configuration. What did not change keeps its connections; what changed is replaced as soon as
    /// its successor has listed or failed; what is gone ends after its calls, at most after `drain`.
    pub async fn reconfigure(&self, configs: impl IntoIterator<Item = UpstreamConfig>, drain: Duration) {
        let _turn = self.reconfiguring.lock().await;
        let old = self.servers.load_full();
        let mut next = BTreeMap::new();
        let mut fresh = Vec::new();
        for config in configs {
            let name = config.name.clone();
            let server = match old.get(&name) {
                Some(server) if same(&server.config, &config) => server.clone(),
                before => {
                    let generation = before.map_or(0, |s| s.state().borrow().generation.saturating_add(1));
                    let server = Server::start(config, self.deps.clone(), self.ticks.clone(), generation);
                    fresh.push(server.clone());
                    server
                }
            };
            next.insert(name, server);
        }
        let all_settled = join_all(fresh.iter().map(|server| server.settled()));
        // One that takes long is taken up all the same; it says `Starting`.
        drop(tokio::time::timeout(self.deps.timing.replace, all_settled).await);
        let gone: Vec<Arc<Server>> = old
            .iter()
            .filter(|(name, server)| {
                next.get(*name).is_none_or(|kept: &Arc<Server>| !Arc::ptr_eq(kept, server))
            })
            .map(|(_, server)| server.clone())
            .collect();
        self.servers.store(Arc::new(next));
        self.ticks.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
        for server in gone {
            tokio::spawn(async move { server.retire(drain).await });
        }
    }

    /// Lets calls end, at most for `drain`, then closes everything.
    pub async fn shutdown(&self, drain: Duration) {
        let _turn = self.reconfiguring.lock().await;
        let servers = self.servers.load_full();
        join_all(servers.values().map(|server| server.retire(drain))).await;
    }
}

fn same_oauth(a: &OauthConfig, b: &OauthConfig) -> bool {
    a.token_url == b.token_url
        && a.client_id == b.client_id
        && a.client_secret.expose_secret() == b.client_secret.expose_secret()
        && a.scopes == b.scopes
        && a.resource == b.resource
        && a.auth_method == b.auth_method
}

/// Whether two configurations mean the same connection and the same treatment of calls. Prefix, labels, trust and
/// tool tables are other rooms' matter.
fn same(a: &UpstreamConfig, b: &UpstreamConfig) -> bool {
    let secrets = |a: &BTreeMap<String, SecretString>, b: &BTreeMap<String, SecretString>| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|((ka, va), (kb, vb))| ka == kb && va.expose_secret() == vb.expose_secret())
    };
    let transport = match (&a.transport, &b.transport) {
        (
            UpstreamTransport::Stdio { command: ca, env: ea, cwd: da },
            UpstreamTransport::Stdio { command: cb, env: eb, cwd: db },
        ) => ca == cb && da == db && secrets(ea, eb),
        (
            UpstreamTransport::Http { url: ua, headers: ha, wire: wa, oauth: oa },
            UpstreamTransport::Http { url: ub, headers: hb, wire: wb, oauth: ob },
        ) => {
            let oauth = match (oa, ob) {
                (None, None) => true,
                (Some(a), Some(b)) => same_oauth(a, b),
                (Some(_), None) | (None, Some(_)) => false,
            };
            ua == ub && wa == wb && oauth && secrets(ha, hb)
        }
        (UpstreamTransport::Stdio { .. }, UpstreamTransport::Http { .. })
        | (UpstreamTransport::Http { .. }, UpstreamTransport::Stdio { .. }) => false,
    };
    transport
        && a.isolation == b.isolation
        && a.asks == b.asks
        && a.timeout == b.timeout
        && a.max_concurrency == b.max_concurrency
        && a.max_result_bytes == b.max_result_bytes
        && a.retry == b.retry
        && a.breaker == b.breaker
}
