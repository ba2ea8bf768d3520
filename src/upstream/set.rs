//! All upstreams of one configuration, started side by side, as an immutable value that a reload replaces.

use super::{
    deps::UpstreamDeps,
    server::Server,
    types::{Upstream, UpstreamState},
};
use crate::{
    config::{CredentialOf, OauthGrant, UpstreamConfig, UpstreamTransport},
    model::{Holder, UpstreamName},
    offload::Offload,
    telemetry::Telemetry,
};
use futures::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The upstreams of one configuration: a value. A reload makes another one, which shares the servers that stay, so that
/// whoever decided by this one still calls the servers that it means.
///
/// A server ends when the last set that has it is dropped, or when it is retired.
#[derive(Clone)]
pub struct UpstreamSet {
    source: Arc<Source>,
    servers: BTreeMap<UpstreamName, Place>,
}

/// What servers are made with, and who is notified of their changes.
struct Source {
    deps: UpstreamDeps,
    ticks: Arc<watch::Sender<u64>>,
}

/// One upstream's place in a set.
#[derive(Clone)]
struct Place {
    /// Takes the calls.
    serving: Arc<Running>,
    /// Takes its place once it has listed or failed: the same upstream, reached or treated in another way.
    successor: Option<Arc<Running>>,
}

/// A server that ends when nobody has it any more.
struct Running(Arc<Server>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Servers that a newer set does not have. Dropping it closes them with no regard to their calls.
#[must_use]
pub struct Retired(Vec<Arc<Running>>);

impl Retired {
    /// Lets their calls end, at most for `drain`, then closes them. Does not wait for it.
    pub fn end_after(self, drain: Duration) {
        for running in self.0 {
            tokio::spawn(async move { running.0.retire(drain).await });
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for UpstreamSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamSet").field(&self.servers.keys().collect::<Vec<_>>()).finish()
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retired").field(&self.0.len()).finish()
    }
}

impl Source {
    fn start(&self, config: UpstreamConfig, generation: u64) -> Arc<Running> {
        self.start_for(config, &Holder::Gateway, generation)
    }

    fn start_for(&self, config: UpstreamConfig, holder: &Holder, generation: u64) -> Arc<Running> {
        let (deps, ticks) = (self.deps.clone(), self.ticks.clone());
        Arc::new(Running(Server::start(config, deps, ticks, (holder, generation))))
    }
}

impl Place {
    fn all(&self) -> impl Iterator<Item = &Arc<Running>> {
        [&self.serving].into_iter().chain(&self.successor)
    }
}

impl UpstreamSet {
    /// Begins to connect all of them, side by side. Must be called inside a tokio runtime.
    pub fn start(configs: impl IntoIterator<Item = UpstreamConfig>, deps: UpstreamDeps) -> Self {
        let source = Arc::new(Source { deps, ticks: Arc::new(watch::Sender::new(0)) });
        let servers = configs
            .into_iter()
            .filter(|config| !is_personal(config))
            .map(|config| {
                let name = config.name.clone();
                (name, Place { serving: source.start(config, 0), successor: None })
            })
            .collect();
        Self { source, servers }
    }

    /// Where large work is done, for whoever else has some.
    pub fn offload(&self) -> Arc<Offload> {
        self.source.deps.offload.clone()
    }

    /// Where they are measured, for whoever else is.
    pub fn telemetry(&self) -> Arc<Telemetry> {
        self.source.deps.telemetry.clone()
    }

    /// One of them.
    pub fn get(&self, name: &UpstreamName) -> Option<Arc<dyn Upstream>> {
        self.servers.get(name).map(|place| place.serving.0.clone() as Arc<dyn Upstream>)
    }

    /// The state of each, by name. Another set has other ones: ask again when [`Self::changes`] ticks.
    pub fn states(&self) -> Vec<watch::Receiver<Arc<UpstreamState>>> {
        self.servers.values().map(|place| place.serving.0.state()).collect()
    }

    /// Ticks on every change of any state, in this set and in all that follow it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.source.ticks.subscribe()
    }

    /// Ends when each of these has listed or failed its first attempt.
    pub async fn settled_of<'n>(&self, names: impl IntoIterator<Item = &'n UpstreamName>) {
        let places = names.into_iter().filter_map(|name| self.servers.get(name));
        join_all(places.flat_map(Place::all).map(|running| running.0.settled())).await;
    }

    /// Whether each of these has listed or failed its first attempt.
    pub fn has_settled<'n>(&self, names: impl IntoIterator<Item = &'n UpstreamName>) -> bool {
        let mut places = names.into_iter().filter_map(|name| self.servers.get(name));
        places.all(|place| place.all().all(|running| running.0.has_settled()))
    }

    /// Ends when every upstream has listed or failed its first attempt.
    pub async fn settled(&self) {
        join_all(self.servers.values().flat_map(Place::all).map(|running| running.0.settled())).await;
    }

    /// The set of another configuration, without waiting for anything. What did not change is shared. Another upstream under
    /// a known name (another command, another URL) replaces the old one at once: calls that are decided by the new
    /// configuration never reach the old one. The same upstream that is reached or treated in another way goes on as it was
    /// until its successor has listed or failed ([`Self::promoted`]).
    pub fn reconfigured(&self, configs: impl IntoIterator<Item = UpstreamConfig>) -> (Self, Retired) {
        let place = |config: UpstreamConfig| {
            let Some(old) = self.servers.get(&config.name) else {
                return Place { serving: self.source.start(config, 0), successor: None };
            };
            if let Some(same) = old.all().find(|running| same(&running.0.config, &config)) {
                // A successor that is still wanted keeps waiting; one that is not is retired with the others.
                let waits = !Arc::ptr_eq(same, &old.serving) && same_upstream(&old.serving.0.config, &config);
                let (serving, successor) =
                    if waits { (&old.serving, Some(same.clone())) } else { (same, None) };
                return Place { serving: serving.clone(), successor };
            }
            let generation = old.serving.0.state().borrow().generation.saturating_add(1);
            let continues = same_upstream(&old.serving.0.config, &config);
            let fresh = self.source.start(config, generation);
            if continues {
                Place { serving: old.serving.clone(), successor: Some(fresh) }
            } else {
                Place { serving: fresh, successor: None }
            }
        };
        let shared = configs.into_iter().filter(|config| !is_personal(config));
        let servers = shared.map(|config| (config.name.clone(), place(config))).collect();
        self.followed_by(servers)
    }

    /// The same set with servers of their own for holders of credentials, each of which `before` may have already. They end
    /// with the last set that has them.
    pub fn with_personal<'c>(
        &self,
        wanted: impl IntoIterator<Item = (&'c UpstreamConfig, &'c Holder)>,
        before: Option<&Self>,
    ) -> Self {
        let mut next = self.clone();
        for (config, holder) in wanted {
            let known = before.and_then(|before| before.servers.get(&config.name));
            let known = known.filter(|place| same(&place.serving.0.config, config));
            let place = match known {
                Some(place) => place.clone(),
                None => {
                    let serving = self.source.start_for(config.clone(), holder, 0);
                    Place { serving, successor: None }
                }
            };
            next.servers.insert(config.name.clone(), place);
        }
        next
    }

    /// Has one of them connect again, at once: what it is let in by is another.
    pub fn reconnect(&self, name: &UpstreamName) {
        for running in self.servers.get(name).into_iter().flat_map(Place::all) {
            running.0.reconnect();
        }
    }

    /// The set in which successors that have listed or failed have taken their places; none where there is none.
    pub fn promoted(&self) -> Option<(Self, Retired)> {
        let ready = |place: &Place| place.successor.as_ref().is_some_and(|next| next.0.has_settled());
        if !self.servers.values().any(ready) {
            return None;
        }
        let promote = |place: &Place| match &place.successor {
            Some(next) if next.0.has_settled() => Place { serving: next.clone(), successor: None },
            Some(_) | None => place.clone(),
        };
        let servers = self.servers.iter().map(|(name, place)| (name.clone(), promote(place))).collect();
        Some(self.followed_by(servers))
    }

    fn followed_by(&self, servers: BTreeMap<UpstreamName, Place>) -> (Self, Retired) {
        let stays = |running: &Arc<Running>| {
            servers.values().flat_map(Place::all).any(|other| Arc::ptr_eq(other, running))
        };
        let gone =
            self.servers.values().flat_map(Place::all).filter(|running| !stays(running)).cloned().collect();
        (Self { source: self.source.clone(), servers }, Retired(gone))
    }

    /// Lets calls end, at most for `drain`, then closes everything.
    pub async fn shutdown(&self, drain: Duration) {
        join_all(self.servers.values().flat_map(Place::all).map(|running| running.0.retire(drain))).await;
    }
}

/// Whether whoever uses it has a server of their own: nobody else's credential serves for them.
pub fn is_personal(config: &UpstreamConfig) -> bool {
    let UpstreamTransport::Http { oauth: Some(oauth), .. } = &config.transport else { return false };
    match &oauth.grant {
        OauthGrant::ClientCredentials(_) => false,
        OauthGrant::AuthorizationCode(grant) => grant.per != CredentialOf::Gateway,
        OauthGrant::TokenExchange(..) => true,
    }
}

/// Whether two configurations mean one and the same upstream, however it is reached and treated.
fn same_upstream(a: &UpstreamConfig, b: &UpstreamConfig) -> bool {
    match (&a.transport, &b.transport) {
        (
            UpstreamTransport::Stdio { command: a, cwd: in_a, env: _ },
            UpstreamTransport::Stdio { command: b, cwd: in_b, env: _ },
        ) => a == b && in_a == in_b,
        (UpstreamTransport::Http { url: a, .. }, UpstreamTransport::Http { url: b, .. }) => a == b,
        (UpstreamTransport::Stdio { .. }, UpstreamTransport::Http { .. })
        | (UpstreamTransport::Http { .. }, UpstreamTransport::Stdio { .. }) => false,
    }
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
        ) => ua == ub && wa == wb && oa == ob && secrets(ha, hb),
        (UpstreamTransport::Stdio { .. }, UpstreamTransport::Http { .. })
        | (UpstreamTransport::Http { .. }, UpstreamTransport::Stdio { .. }) => false,
    };
    transport
        && a.isolation == b.isolation
        && a.asks == b.asks
        && a.contain == b.contain
        && a.timeout == b.timeout
        && a.max_concurrency == b.max_concurrency
        && a.max_result_bytes == b.max_result_bytes
        && a.retry == b.retry
        && a.breaker == b.breaker
}
