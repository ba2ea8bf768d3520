//! The admin listener: probes for machines, and the API for people. It is never on the agents' port.

mod alerts;
mod asks;
mod body;
pub mod budgets;
mod connections;
mod cookies;
mod dead_letters;
mod decide;
mod error;
mod explain;
mod freezes;
mod grants;
mod guard;
mod holds;
mod labels;
mod page;
mod paging;
mod params;
mod person;
mod pins;
mod policies;
mod read;
mod reports;
mod routes;
mod series;
mod sign_in;
mod simulate;
mod stream;
mod verify;
pub mod view;

use crate::{
    activation::{FolderState, Held, OrderError, Outcome, Standing},
    approval::{Approvals, Freezes},
    audit::DeadLetterError,
    catalog::{AcceptError, Accepted, Catalog, FoundItem, PinChange, Wanted},
    clock::Clock,
    connections::Connections,
    evidence::{Bounds, Rollout, Stage},
    gateway::{
        CatalogCost, ExplainError, Explanation, Gateway, InForce, Question, Readiness, RolloutWish,
        StateSeal, Wish,
    },
    identity::{AuthError, Presented, Principal, SignIn},
    model::{CallId, Holder, PersonId, SnapshotId, UpstreamName},
    pinning::ItemKind,
    store::Store,
    telemetry::Exposition,
    upstream::UpstreamState,
};
use axum::routing::MethodRouter;
pub use grants::grant_with_calls;
pub use read::{approval_use, named_approvals, trace_report, with_frozen};
pub use routes::router;
pub(crate) use routes::{ADMIN, RECORDS, VALUES, roles_of};
pub use verify::verified_form;

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What the admin listener needs of the gateway.
pub trait AdminPort: Send + Sync + 'static {
    /// Authenticates an `Authorization` header value; failures count against the address.
    fn authenticate(&self, peer: IpAddr, authorization: &[u8]) -> Result<Principal, AuthError>;
    /// Who signs in by an issuer, and the sessions that came of it.
    fn sign_in(&self) -> &SignIn;
    /// Seals what a browser keeps.
    fn seal(&self) -> &dyn StateSeal;
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
    /// Who is connected to what; none: nobody can.
    fn connections(&self) -> Option<&Arc<Connections>> {
        None
    }
    /// Every upstream's state.
    fn upstreams(&self) -> Vec<Arc<UpstreamState>>;
    /// The same of upstreams that are reached with credentials of callers' own, as far as somebody has asked.
    fn personal_upstreams(&self) -> Vec<Arc<UpstreamState>> {
        Vec::new()
    }
    /// The merged catalog.
    fn catalog(&self) -> Arc<Catalog>;
    /// The same, with what somebody's own accounts list.
    fn catalog_of<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Arc<Catalog>>;
    /// What would be decided of a call, under the bundle in force or that of a snapshot, and why.
    fn explain(
        &self,
        question: Question,
        snapshot: Option<SnapshotId>,
    ) -> BoxFuture<'_, Result<Explanation, ExplainError>>;
    /// What is measured, as Prometheus reads it.
    fn metrics(&self, form: Exposition) -> BoxFuture<'_, String>;
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
    /// Everything in which something was found, served or not.
    fn pin_findings(&self, of: Option<UpstreamName>) -> Vec<FoundItem>;
    /// Accepts an item of an upstream by its name, or everything of it that waits; a fingerprint says what was seen.
    fn accept_pins(
        &self,
        person: PersonId,
        upstream: UpstreamName,
        named: (Option<String>, Option<ItemKind>),
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
    sign_in: SignIn,
    clock: Arc<dyn Clock>,
}

impl Desk {
    /// Over a gateway.
    pub fn new(gateway: Arc<Gateway>, clock: Arc<dyn Clock>) -> Self {
        Self { gateway, sign_in: SignIn::new(clock.clone()), clock }
    }
}

impl AdminPort for Desk {
    fn authenticate(&self, peer: IpAddr, authorization: &[u8]) -> Result<Principal, AuthError> {
        self.gateway.authenticate(peer, &Presented::header(Some(authorization)))
    }
    fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }
    fn seal(&self) -> &dyn StateSeal {
        self.gateway.seal()
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
    fn connections(&self) -> Option<&Arc<Connections>> {
        Some(self.gateway.connections())
    }
    fn upstreams(&self) -> Vec<Arc<UpstreamState>> {
        self.gateway.upstreams()
    }
    fn personal_upstreams(&self) -> Vec<Arc<UpstreamState>> {
        self.gateway.personal_upstreams()
    }
    fn catalog(&self) -> Arc<Catalog> {
        self.gateway.catalog()
    }
    fn catalog_of<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Arc<Catalog>> {
        Box::pin(self.gateway.catalog_of(holder))
    }
    fn explain(
        &self,
        question: Question,
        snapshot: Option<SnapshotId>,
    ) -> BoxFuture<'_, Result<Explanation, ExplainError>> {
        Box::pin(self.gateway.explain(question, snapshot))
    }
    fn metrics(&self, form: Exposition) -> BoxFuture<'_, String> {
        self.gateway.metrics(form).boxed()
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
    fn pin_findings(&self, of: Option<UpstreamName>) -> Vec<FoundItem> {
        self.gateway.pin_findings(of.as_ref())
    }
    fn accept_pins(
        &self,
        person: PersonId,
        upstream: UpstreamName,
        (name, kind): (Option<String>, Option<ItemKind>),
        fingerprint: Option<String>,
    ) -> Accepting<'_, Vec<Accepted>> {
        async move {
            let (name, fingerprint) = (name.as_deref(), fingerprint.as_deref());
            let wanted = Wanted { upstream: &upstream, name, kind, fingerprint, channel: "api" };
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

#[cfg(test)]
mod tests;
