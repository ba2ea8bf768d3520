//! How upstreams stand, found out by connecting to them as a command, and letting go.

use super::{
    failure::CliError,
    wiring::{connections_on, open_store, start_upstreams, store_exists},
};
use crate::{
    clock::System,
    config::Config,
    connections::{Connections, code_grant},
    model::{Holder, UpstreamName},
    policy::PolicySet,
    store::Store,
    upstream::{Health, UpstreamState},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Connects to the upstreams of a configuration, gives them `patience`, says how each stands, and lets go of them.
pub(crate) async fn inspect_upstreams(
    config: &Config,
    policies: &PolicySet,
    system: &Arc<System>,
    patience: Duration,
) -> Result<Vec<Arc<UpstreamState>>, CliError> {
    watch_upstreams(config, policies, system, patience, &mut |_| {}).await
}

/// The same; one of them with the account of its holder.
pub(crate) async fn inspect_as(
    config: &Config,
    policies: &PolicySet,
    system: &Arc<System>,
    (patience, whose): (Duration, Option<(&UpstreamName, &Holder)>),
) -> Result<Vec<Arc<UpstreamState>>, CliError> {
    watched(config, policies, system, (patience, whose), &mut |_| {}).await
}

/// The same; each is told as soon as it stands.
pub(crate) async fn watch_upstreams(
    config: &Config,
    policies: &PolicySet,
    system: &Arc<System>,
    patience: Duration,
    told: &mut (dyn FnMut(&UpstreamState) + Send),
) -> Result<Vec<Arc<UpstreamState>>, CliError> {
    watched(config, policies, system, (patience, None), told).await
}

async fn watched(
    config: &Config,
    policies: &PolicySet,
    system: &Arc<System>,
    (patience, whose): (Duration, Option<(&UpstreamName, &Holder)>),
    told: &mut (dyn FnMut(&UpstreamState) + Send),
) -> Result<Vec<Arc<UpstreamState>>, CliError> {
    let connections = known_connections(config, system).await?;
    let held = (&Arc::default(), connections.as_ref().map(|(connections, _)| connections));
    let upstreams = start_upstreams(config, policies, system, held)?;
    let own = whose.and_then(|(name, holder)| Some((config.upstreams.get(name)?, holder)));
    let upstreams = upstreams.with_personal(own, None);
    let standing = |mut state: watch::Receiver<Arc<UpstreamState>>| async move {
        let stands = state.wait_for(|state| state.health != Health::Starting);
        // Whoever has not answered by then is shown as it stands.
        drop(tokio::time::timeout(patience, stands).await);
        let state = state.borrow();
        state.clone()
    };
    let mut waiting: FuturesUnordered<_> = upstreams.states().into_iter().map(standing).collect();
    let mut states = Vec::new();
    while let Some(state) = waiting.next().await {
        told(&state);
        states.push(state);
    }
    drop(waiting);
    upstreams.shutdown(Duration::from_secs(2)).await;
    if let Some((connections, store)) = connections {
        connections.settled().await;
        store.close().await;
    }
    states.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(states)
}

/// Who is connected to what, where somebody connects an upstream and there is a store that says it.
pub(crate) async fn known_connections(
    config: &Config,
    system: &Arc<System>,
) -> Result<Option<(Arc<Connections>, Arc<dyn Store>)>, CliError> {
    let any = config.upstreams.values().any(|upstream| code_grant(upstream).is_some());
    if !any || !store_exists(&config.store).unwrap_or(false) {
        return Ok(None);
    }
    let store = open_store(config, system)?;
    let connections = connections_on(&store, config, system).await?;
    Ok(Some((connections, store)))
}
