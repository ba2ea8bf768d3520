//! The admin listener: probes for machines, and the API for people. It is never on the agents' port.

mod alerts;
mod body;
pub mod budgets;
mod dead_letters;
mod decide;
mod drift;
mod error;
mod explain;
mod freezes;
mod grants;
mod guard;
mod page;
mod params;
mod person;
mod pins;
mod policies;
mod read;
mod simulate;
mod spend;
mod stream;
pub mod view;

use crate::{
    activation::{FolderState, Held, OrderError, Outcome, Standing},
    approval::{Approvals, Freezes},
    audit::DeadLetterError,
    catalog::{AcceptError, Accepted, Catalog, PinChange, Wanted},
    clock::Clock,
    evidence::{Bounds, Rollout, Stage},
    gateway::{
        CatalogCost, ExplainError, Explanation, Gateway, InForce, Question, Readiness, RolloutWish, Wish,
    },
    identity::{AuthError, Principal},
    model::{CallId, PersonId, SnapshotId, UpstreamName},
    pinning::ItemKind,
    store::Store,
    upstream::UpstreamState,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, delete, get, post},
};
pub use grants::grant_with_calls;
pub use read::{approval_use, named_approvals, trace_report};

use error::ApiError;
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What the admin listener needs of the gateway.
pub trait AdminPort: Send + Sync + 'static {
    /// Authenticates an `Authorization` header value; failures count against the address.
    fn authenticate(&self, peer: IpAddr, authorization: &[u8]) -> Result<Principal, AuthError>;
    /// What is in force now.
    fn in_force(&self) -> Arc<InForce>;
    /// How the gateway stands.
    fn readiness(&self) -> Readiness;
    /// What time it is.
    fn now(&self) -> Timestamp;
    /// The approvals.
    fn approvals(&self) -> &Approvals;
    /// What people freeze.
    fn freezes(&self) -> &Freezes;
    /// Makes the call of a dead letter again.
    fn replay_dead_letter(
        &self,
        person: PersonId,
        call: CallId,
    ) -> BoxFuture<'_, Result<serde_json::Value, DeadLetterError>>;
    /// Takes what is frozen by now for the next message here; other processes follow by themselves.
    fn look_at_freezes(&self) -> BoxFuture<'_, ()>;
    /// The store.
    fn store(&self) -> &Arc<dyn Store>;
    /// Every upstream's state.
    fn upstreams(&self) -> Vec<Arc<UpstreamState>>;
    /// The merged catalog.
    fn catalog(&self) -> Arc<Catalog>;
    /// What would be decided of a call, under the bundle in force or that of a snapshot, and why.
    fn explain(
        &self,
        question: Question,
        snapshot: Option<SnapshotId>,
    ) -> BoxFuture<'_, Result<Explanation, ExplainError>>;
    /// What is measured, in Prometheus' text format.
    fn metrics(&self) -> String;
    /// What each agent's list of tools costs now. It may count for a while: not for a connection's thread.
    fn catalog_costs(&self) -> Vec<CatalogCost>;
    /// Cancelled when the gateway ends: streams end then.
    fn stopped(&self) -> CancellationToken;
    /// What is ordered to be in force.
    fn standing(&self) -> Arc<Standing>;
    /// How the folder differs from what is held in force, with that.
    fn folder(&self) -> Option<(FolderState, Arc<Held>)>;
    /// Puts in force what a person wants.
    fn order(&self, person: PersonId, wish: Wish, reason: String) -> Ordering<'_, Outcome>;
    /// Begins a rollout of a snapshot.
    fn start_rollout(
        &self,
        person: PersonId,
        snapshot: String,
        plan: (Vec<Stage>, Bounds),
        reason: String,
    ) -> Ordering<'_, Rollout>;
    /// Takes the rollout to its next stage, or ends it.
    fn order_rollout(&self, person: PersonId, wish: RolloutWish, reason: String) -> Ordering<'_, Rollout>;
    /// What is not as it was pinned, of one upstream or of all.
    fn pin_changes(&self, of: Option<UpstreamName>) -> Vec<PinChange>;
    /// Accepts an item of an upstream by its name, or everything of it that waits; a fingerprint says what was seen.
    fn accept_pins(
        &self,
        person: PersonId,
        upstream: UpstreamName,
        name: Option<String>,
        fingerprint: Option<String>,
    ) -> Accepting<'_, Vec<Accepted>>;
    /// Pins everything that upstreams list as it is now.
    fn pin_all(&self, person: PersonId, of: Option<UpstreamName>) -> Accepting<'_, PinCounts>;
}

/// An order under way.
pub type Ordering<'a, T> = BoxFuture<'a, Result<T, OrderError>>;

/// An acceptance under way.
pub type Accepting<'a, T> = BoxFuture<'a, Result<T, AcceptError>>;

/// How many items were pinned, by upstream and kind.
pub type PinCounts = BTreeMap<UpstreamName, BTreeMap<ItemKind, usize>>;

/// The port over a running gateway.
pub struct Desk {
    gateway: Arc<Gateway>,
    clock: Arc<dyn Clock>,
}

impl Desk {
    /// Over a gateway.
    pub fn new(gateway: Arc<Gateway>, clock: Arc<dyn Clock>) -> Self {
        Self { gateway, clock }
    }
}

impl AdminPort for Desk {
    fn authenticate(&self, peer: IpAddr, authorization: &[u8]) -> Result<Principal, AuthError> {
        self.gateway.authenticate(peer, Some(authorization))
    }
    fn in_force(&self) -> Arc<InForce> {
        self.gateway.in_force()
    }
    fn readiness(&self) -> Readiness {
        self.gateway.readiness()
    }
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn approvals(&self) -> &Approvals {
        self.gateway.approvals()
    }
    fn freezes(&self) -> &Freezes {
        self.gateway.freezes()
    }
    fn replay_dead_letter(
        &self,
        person: PersonId,
        call: CallId,
    ) -> BoxFuture<'_, Result<serde_json::Value, DeadLetterError>> {
        async move { self.gateway.replay_dead_letter(&person, &call).await }.boxed()
    }
    fn look_at_freezes(&self) -> BoxFuture<'_, ()> {
        self.gateway.look_at_freezes().boxed()
    }
    fn store(&self) -> &Arc<dyn Store> {
        self.gateway.store()
    }
    fn upstreams(&self) -> Vec<Arc<UpstreamState>> {
        self.gateway.upstreams()
    }
    fn catalog(&self) -> Arc<Catalog> {
        self.gateway.catalog()
    }
    fn explain(
        &self,
        question: Question,
        snapshot: Option<SnapshotId>,
    ) -> BoxFuture<'_, Result<Explanation, ExplainError>> {
        Box::pin(self.gateway.explain(question, snapshot))
    }
    fn metrics(&self) -> String {
        self.gateway.metrics()
    }
    fn catalog_costs(&self) -> Vec<CatalogCost> {
        self.gateway.catalog_costs()
    }
    fn stopped(&self) -> CancellationToken {
        self.gateway.stopped()
    }
    fn standing(&self) -> Arc<Standing> {
        self.gateway.standing()
    }
    fn folder(&self) -> Option<(FolderState, Arc<Held>)> {
        self.gateway.folder()
    }
    fn order(&self, person: PersonId, wish: Wish, reason: String) -> Ordering<'_, Outcome> {
        async move { self.gateway.order(&person, wish, &reason).await }.boxed()
    }
    fn start_rollout(
        &self,
        person: PersonId,
        snapshot: String,
        plan: (Vec<Stage>, Bounds),
        reason: String,
    ) -> Ordering<'_, Rollout> {
        async move { self.gateway.start_rollout(&person, &snapshot, plan, &reason).await }.boxed()
    }
    fn order_rollout(&self, person: PersonId, wish: RolloutWish, reason: String) -> Ordering<'_, Rollout> {
        async move { self.gateway.order_rollout(&person, wish, &reason).await }.boxed()
    }
    fn pin_changes(&self, of: Option<UpstreamName>) -> Vec<PinChange> {
        self.gateway.pin_changes(of.as_ref())
    }
    fn accept_pins(
        &self,
        person: PersonId,
        upstream: UpstreamName,
        name: Option<String>,
        fingerprint: Option<String>,
    ) -> Accepting<'_, Vec<Accepted>> {
        async move {
            let (name, fingerprint) = (name.as_deref(), fingerprint.as_deref());
            let wanted = Wanted { upstream: &upstream, name, fingerprint, channel: "api" };
            self.gateway.accept_pins(&person, wanted).await
        }
        .boxed()
    }
    fn pin_all(&self, person: PersonId, of: Option<UpstreamName>) -> Accepting<'_, PinCounts> {
        async move { self.gateway.pin_all(&person, of.as_ref()).await }.boxed()
    }
}

/// The OpenAPI document, served as it stands.
const OPENAPI: &str = include_str!("openapi.json");

/// The largest body that is read.
const MAX_BODY: usize = 256 * 1024;
/// The longest that one may take to come in.
const BODY_TIME: Duration = Duration::from_secs(30);

type State = axum::extract::State<Arc<dyn AdminPort>>;
type Routes = MethodRouter<Arc<dyn AdminPort>>;

/// Every path with its method: what is served, and what the OpenAPI document must list.
fn table() -> Vec<(&'static str, &'static str, Routes)> {
    vec![
        ("get", "/healthz", get(read::health)),
        ("get", "/readyz", get(read::ready)),
        ("get", "/metrics", get(read::metrics)),
        ("get", "/api/v1/me", get(read::me)),
        ("get", "/api/v1/stream", get(stream::stream)),
        ("get", "/api/v1/approvals", get(read::approvals)),
        ("get", "/api/v1/approvals/{id}", get(read::approval)),
        ("post", "/api/v1/approvals/{id}/decision", post(decide::decide)),
        ("get", "/api/v1/grants", get(grants::grants)),
        ("get", "/api/v1/grants/{id}", get(grants::grant)),
        ("delete", "/api/v1/grants/{id}", delete(grants::revoke)),
        ("get", "/api/v1/freeze", get(freezes::freezes)),
        ("post", "/api/v1/freeze", post(freezes::freeze)),
        ("delete", "/api/v1/freeze/{id}", delete(freezes::unfreeze)),
        ("get", "/api/v1/deadletters", get(dead_letters::list)),
        ("get", "/api/v1/deadletters/{id}", get(dead_letters::show)),
        ("post", "/api/v1/deadletters/{id}", post(dead_letters::act)),
        ("get", "/api/v1/alerts", get(alerts::list)),
        ("post", "/api/v1/alerts/{id}", post(alerts::say)),
        ("get", "/api/v1/incidents", get(alerts::incidents)),
        ("get", "/api/v1/incidents/{id}", get(alerts::incident)),
        ("post", "/api/v1/incidents/{id}", post(alerts::close)),
        ("get", "/api/v1/duties", get(alerts::duties)),
        ("post", "/api/v1/duties/{name}", post(alerts::duty)),
        ("get", "/api/v1/samples", get(alerts::samples)),
        ("post", "/api/v1/samples/{call_id}", post(alerts::review)),
        ("get", "/api/v1/events", get(read::events)),
        ("get", "/api/v1/traces/{trace_id}", get(read::trace)),
        ("get", "/api/v1/agents", get(read::agents)),
        ("get", "/api/v1/tools", get(read::tools)),
        ("get", "/api/v1/upstreams", get(read::upstreams)),
        ("get", "/api/v1/policies", get(read::policies)),
        ("get", "/api/v1/policies/history", get(policies::history)),
        ("get", "/api/v1/policies/{snapshot}", get(policies::snapshot)),
        ("post", "/api/v1/policies/activate", post(policies::activate)),
        ("post", "/api/v1/policies/rollback", post(policies::rollback)),
        ("get", "/api/v1/policies/rollout", get(policies::rollout)),
        ("post", "/api/v1/policies/rollout/start", post(policies::start)),
        ("post", "/api/v1/policies/rollout/advance", post(policies::advance)),
        ("post", "/api/v1/policies/rollout/abort", post(policies::abort)),
        ("get", "/api/v1/report/spend", spend::route()),
        ("get", "/api/v1/report/drift", drift::route()),
        ("get", "/api/v1/budgets", get(budgets::budgets)),
        ("post", "/api/v1/budgets/{id}/reset", post(budgets::reset)),
        ("get", "/api/v1/pins", get(pins::changes)),
        ("post", "/api/v1/pins/accept", post(pins::accept)),
        ("post", "/api/v1/pins/pin", post(pins::pin)),
        ("post", "/api/v1/explain", post(explain::explain)),
        ("post", "/api/v1/simulate", simulate::route()),
        ("get", "/api/v1/openapi.json", get(read::openapi)),
    ]
}

/// The page.
fn pages() -> [(&'static str, Routes); 4] {
    [
        ("/", get(page::index)),
        ("/page/{name}", get(page::module)),
        ("/page.css", get(page::style)),
        ("/icon.svg", get(page::icon)),
    ]
}

/// The whole listener. It wants the peer's address as [`axum::extract::ConnectInfo`].
pub fn router(port: Arc<dyn AdminPort>) -> Router {
    let mut router = Router::new();
    let mut served: Vec<(&str, Routes)> = Vec::new();
    for (path, routes) in table().into_iter().map(|(_, path, routes)| (path, routes)).chain(pages()) {
        match served.iter_mut().find(|(known, _)| *known == path) {
            Some((_, known)) => *known = std::mem::take(known).merge(routes),
            None => served.push((path, routes)),
        }
    }
    for (path, routes) in served {
        router = router.route(path, routes.fallback(|| async { ApiError::MethodNotAllowed }));
    }
    router
        .fallback(|| async { ApiError::NotFound("there is nothing at this path".to_owned()) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&port), guard::guard))
        .with_state(port)
}

#[cfg(test)]
mod tests;
