//! The whole path of a call on one page (`call.rs`), and everything the fronts need of it.

mod account;
mod activation;
mod admit;
mod alerts;
mod answer;
mod api;
mod ask_link;
mod asked_for;
mod auth_failures;
mod blocks;
mod boundary;
mod call;
mod call_log;
mod catalog_cost;
mod changed;
mod checkpoints;
mod checks;
mod copies;
mod counted;
mod current;
mod dead_letters;
mod decided;
mod declared;
mod delivery;
mod digest;
mod dispatch;
mod edits;
mod ending;
mod evaluate;
mod explain;
mod extras;
mod fit;
mod freezes;
mod in_force;
mod keep;
mod labelled;
mod later;
mod lifecycle;
mod looking;
mod measures;
mod metering;
mod news;
mod notices;
mod notify;
mod orders;
mod outlets;
mod output;
mod people;
mod personal;
mod pin_book;
mod pins;
mod placeholders;
mod prepare;
mod prepared;
mod reach;
mod refusal;
mod refused;
mod relay;
mod relaying;
mod repeats;
mod request;
mod request_state;
mod resource_watch;
mod result_rules;
mod served;
mod server_requests;
mod shape;
mod skill_files;
mod spending;
mod stage_counts;
mod standing;
mod subject;
mod suspend;
mod target;
mod tool_search;
mod trial;
mod valued;

pub use api::*;
pub use ask_link::{AskLink, ask_token, is_ask_token, open_ask_token};
pub use catalog_cost::{CatalogCost, catalog_costs};
pub use digest::CALL_KEY;
pub use explain::*;
pub use in_force::{CheckedFiles, InForce, Origin, Trial};
pub use lifecycle::{GatewayParts, ReloadError, StartError};
pub use notify::try_webhook;
pub use orders::FolderReader;
pub(crate) use people::question::taken_as;
pub(crate) use request::named_workflow;
pub(crate) use shape::{for_models, for_sessions};
pub use standing::{RolloutWish, Wish};
pub(crate) use suspend::handle::{takes_tasks, tasks_not_declared};

use crate::{
    approval::Approvals,
    catalog::{Catalog, CatalogBuilder},
    clock::{Clock, IdSource},
    evidence::{Rollout, session_started},
    identity::{AuthError, Doorkeeper, KeyUse, Presented, Principal},
    model::RpcError,
    offload::Offload,
    store::Store,
    telemetry::Telemetry,
    upstream::{Health, UpstreamState},
};
use admit::Admission;
use auth_failures::AuthFailures;
use call_log::CallLog;
use checks::Checks;
use current::Current;
use dispatch::Dispatcher;
use evaluate::Evaluator;
use freezes::Freezes;
use keep::References;
use metering::Looks;
use orders::Orders;
use outlets::Troubles;
use parking_lot::Mutex;
use people::People;
use personal::Personal;
use pin_book::Pins;
use reach::Labels;
use refused::Refusals;
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use suspend::{held::HeldCalls, parked::Parking, tasks::Tasks};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tool_search::ToolSearch;

/// The tools that are Tollgate's own.
pub(crate) const OWN_TOOLS: [&str; 3] = [tool_search::FIND, tool_search::CALL, people::review::NAME];

/// The extension by which servers serve skills.
const SKILLS: &str = "io.modelcontextprotocol/skills";

/// How long the first lists are waited for.
const FIRST_LISTS: Duration = Duration::from_secs(10);

/// How long answers to requests that are cut off may take to be made.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The gateway; cloning it is cheap.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

/// How the gateway stands, for `/readyz`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Readiness {
    /// Config and store stand, dead owners' calls are settled, and every upstream has listed or failed once.
    pub ready: bool,
    /// It is ending: calls in flight may finish, and nothing new should be sent here.
    pub draining: bool,
    /// What is waited for or wrong.
    pub details: Vec<String>,
    /// Why the newest reload was refused, where it was.
    pub rejected_reload: Option<String>,
}

/// The parts of a gateway.
pub(crate) struct Inner {
    current: Arc<Current>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    seal: Arc<dyn StateSeal>,
    doorkeeper: Doorkeeper,
    /// Held while the next one in force is built.
    builder: Mutex<CatalogBuilder>,
    /// For `hash` in data.yaml.
    hash_key: [u8; 32],
    references: Arc<References>,
    refusals: Arc<Refusals>,
    search: ToolSearch,
    evaluator: Arc<Evaluator>,
    checks: Checks,
    people: People,
    personal: Arc<Personal>,
    admission: Admission,
    labels: Arc<Labels>,
    dispatcher: Dispatcher,
    freezes: Arc<Freezes>,
    parking: Arc<Parking>,
    held: Arc<HeldCalls>,
    tasks: Tasks,
    large: Arc<Offload>,
    log: Arc<CallLog>,
    troubles: Troubles,
    notifications: notify::Notifications,
    looks: Looks,
    auth_failures: AuthFailures,
    telemetry: Arc<Telemetry>,
    ready: watch::Sender<bool>,
    /// Since when it ends, on the clock that never goes back.
    draining: OnceLock<Duration>,
    rejected_reload: Mutex<Option<String>>,
    lints: Mutex<Vec<String>>,
    orders: Orders,
    pins: Arc<Pins>,
    in_flight: TaskTracker,
    /// Calls that the end of the process did not wait for.
    cut: AtomicUsize,
    /// What is in flight is not waited for any longer.
    cutting: CancellationToken,
    stop: CancellationToken,
}

impl Gateway {
    /// Authenticates whoever sends a request.
    pub fn authenticate(&self, peer: IpAddr, presented: &Presented<'_>) -> Result<Principal, AuthError> {
        let in_force = self.0.current.peek();
        let authority = &in_force.policies.authority;
        let known = self.0.doorkeeper.authenticate(
            &in_force.keyring,
            authority,
            &in_force.config.auth,
            peer,
            presented,
        );
        known.inspect_err(|error| self.count_failure(error))
    }

    /// Verifies an access token, where [`Gateway::authenticate`] gave [`AuthError::Unverified`].
    pub async fn verify(&self, peer: IpAddr, presented: &Presented<'_>) -> Result<Principal, AuthError> {
        let in_force = self.0.current.in_force();
        let (keyring, authority) = (&in_force.keyring, &in_force.policies.authority);
        let auth = &in_force.config.auth;
        let known = self.0.doorkeeper.verify(keyring, authority, auth, peer, presented).await;
        known.inspect_err(|error| self.count_failure(error))
    }

    /// When keys were last used here.
    pub fn key_use(&self) -> &KeyUse {
        self.0.doorkeeper.key_use()
    }

    /// Whether a principal still is one (revocation; checked at every message of a live session).
    pub fn still_valid(&self, principal: &Principal) -> bool {
        self.0.current.still_valid(principal)
    }

    /// What seals what others keep for it.
    pub fn seal(&self) -> &dyn StateSeal {
        &*self.0.seal
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.0.current.in_force()
    }

    /// Told whenever a list may have changed.
    pub fn generations(&self) -> watch::Receiver<ListGenerations> {
        self.0.current.generations()
    }

    /// Waits until the first lists can be complete (at most 10 s).
    pub async fn ready(&self) {
        let mut ready = self.0.ready.subscribe();
        if *ready.borrow() {
            return;
        }
        // Whichever comes first: an upstream that never answers delays nobody for longer.
        drop(tokio::time::timeout(FIRST_LISTS, ready.wait_for(|ready| *ready)).await);
    }

    /// How it stands.
    pub fn readiness(&self) -> Readiness {
        let draining = self.0.draining.get().is_some();
        let ready = *self.0.ready.borrow() && !draining;
        let mut details = Vec::new();
        if draining {
            details.push(
                "it is ending: calls in flight may finish, and nothing new should be sent here".to_owned(),
            );
        } else if !ready {
            details.push("upstreams are still making their first attempt".to_owned());
        }
        for state in self.upstreams() {
            match &state.health {
                Health::Up => {
                    let told = |why| format!("upstream `{}`: {why}", state.name);
                    details.extend(state.missing.iter().map(told));
                }
                Health::Starting => details.push(format!("upstream `{}` is starting", state.name)),
                Health::Down { cause, attempts } => {
                    let (name, reason) = (&state.name, &cause.reason);
                    details.push(format!("upstream `{name}` is down after {attempts} attempts: {reason}"));
                }
            }
        }
        for state in self.personal_upstreams() {
            if let Health::Down { cause, attempts } = &state.health {
                let (name, reason) = (&state.name, &cause.reason);
                details.push(format!(
                    "upstream `{name}`, which callers reach with accounts of their own, is down for at least one of them after {attempts} \
                     attempts: {reason}"
                ));
            }
        }
        details.extend(self.0.current.peek().catalog.withheld.iter().cloned());
        details.extend(self.0.lints.lock().iter().cloned());
        let in_force = self.0.current.peek();
        // What somebody switched off is as they want it.
        let missing = in_force.config.disabled.values().filter(|one| !one.switched_off);
        details.extend(missing.map(|one| format!("upstream `{}` is not started: {}", one.name, one.reason)));
        if let Some(why) = &in_force.blocked {
            details.push(format!("every call is refused: {why}"));
        }
        if let Some(trial) = &in_force.trial {
            let Rollout { candidate, .. } = &trial.on.rollout;
            details.push(format!(
                "a rollout of snapshot {candidate} goes on, stage {}",
                trial.on.rollout.stage()
            ));
        }
        details.extend(self.0.troubles.sentences());
        match self.0.freezes.count() {
            0 => {}
            count => details.push(format!("frozen: {count} (`tollgate freeze list` shows what and why)")),
        }
        details.extend(self.folder().map(|(folder, held)| folder.sentence(&held)));
        let rejected_reload = self.0.rejected_reload.lock().clone();
        if let Some(rejected) = &rejected_reload {
            details.push(format!("the newest reload was refused, the old bundle is in force: {rejected}"));
        }
        Readiness { ready, draining, details, rejected_reload }
    }

    /// Says from now on that it is ending, so that whoever balances load sends nothing new.
    pub fn drain(&self) {
        if self.0.draining.set(self.0.clock.monotonic()).is_ok() {
            let patience = humantime::format_duration(self.in_force().config.gateway.drain);
            let in_flight = self.0.in_flight.len();
            tracing::info!(in_flight, %patience, "drain.begins: calls in flight may finish");
        }
    }

    /// What is in flight is not waited for any longer: it is cancelled, and settled as what it came to.
    pub fn cut(&self) {
        if !self.0.cutting.is_cancelled() {
            self.0.cut.store(self.0.in_flight.len(), Ordering::Relaxed);
            self.0.cutting.cancel();
        }
    }

    /// Answers a request, or says that it was cut off where its own answer does not come soon after that.
    pub(crate) async fn unless_cut<T>(
        &self,
        work: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let cut = async {
            self.0.cutting.cancelled().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            biased;
            answer = work => answer,
            () = cut => Err(ending::cut_off()),
        }
    }

    /// What somebody should look at in the files in force, now that it is known what the upstreams list.
    pub fn set_lints(&self, lints: Vec<String>) {
        *self.0.lints.lock() = lints;
    }

    /// `serverInfo`.
    pub fn server_info(&self) -> Value {
        json!({"name": "tollgate", "title": "Tollgate", "version": env!("CARGO_PKG_VERSION")})
    }

    /// `capabilities`.
    pub fn capabilities(&self, principal: &Principal) -> Value {
        match principal {
            Principal::Agent(_) => json!({
                "tools": {"listChanged": true},
                "resources": {"listChanged": true, "subscribe": true},
                "prompts": {"listChanged": true},
                "completions": {},
                "logging": {},
                // Only clients of 2026-07-28 can use tasks; the others do not know them.
                "extensions": {suspend::handle::EXTENSION: {}, SKILLS: {}},
            }),
            Principal::Person(_) => json!({"tools": {"listChanged": true}}),
        }
    }

    /// `instructions`.
    pub fn instructions(&self) -> Option<String> {
        self.0.current.peek().config.gateway.instructions.clone()
    }

    /// What is measured here.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.0.telemetry
    }

    /// What each agent's list of tools costs now. Counts what was not counted yet: large work.
    pub fn catalog_costs(&self) -> Vec<CatalogCost> {
        catalog_cost::of_agents(&self.in_force(), &self.0.search.measures.tokens)
    }

    /// One whole list, scoped, in a deterministic order, each item as its upstream wrote it but for its name.
    /// `workflow` is the one that the request names: what a call in it could not reach is not shown.
    pub fn list(&self, principal: &Principal, kind: ListKind, workflow: Option<&str>) -> Arc<Vec<Value>> {
        let in_force = self.in_force_of(principal);
        // The request's body may have taken its time, and the key may have gone meanwhile.
        if !self.still_valid(principal) {
            return Arc::default();
        }
        if let (Principal::Person(person), ListKind::Tools) = (principal, kind) {
            return people::review::listed(&in_force, person);
        }
        let Some(view) = in_force.view_in(principal, workflow) else { return Arc::default() };
        match kind {
            ListKind::Tools if tool_search::is_on(&in_force) => tool_search::listed(&view),
            ListKind::Tools => match principal.agent() {
                Some(agent) => catalog_cost::listed(&in_force, &self.0.search.measures.tokens, agent, &view),
                None => view.tool_list.clone(),
            },
            ListKind::Resources => view.resource_list.clone(),
            ListKind::Templates => view.template_list.clone(),
            ListKind::Prompts => view.prompt_list.clone(),
            ListKind::Skills => view.skill_list.clone(),
        }
    }

    /// One entry of `skills/list`, by the URI of its `SKILL.md`.
    pub fn skill(&self, principal: &Principal, uri: &str, workflow: Option<&str>) -> Option<Value> {
        let in_force = self.in_force_of(principal);
        if !self.still_valid(principal) {
            return None;
        }
        in_force.view_in(principal, workflow)?.skill(uri).cloned()
    }

    /// The exposed input schema of a tool that this principal may see (for `Mcp-Param-*` checks).
    pub fn input_schema(&self, principal: &Principal, tool: &str) -> Option<Arc<Value>> {
        let in_force = self.in_force_of(principal);
        let covered = in_force.view(principal)?.tool(tool, None)?;
        // Only a tool that mirrors arguments into headers needs the check: the others cost no copy.
        (!covered.entry.param_headers.is_empty())
            .then(|| covered.entry.item.get("inputSchema").cloned().map(Arc::new))
            .flatten()
    }

    /// Records that an agent opened a session (`agent_start`).
    pub fn session_opened(&self, principal: &Principal, client_info: &Value) {
        let Some(agent) = principal.agent() else { return };
        let in_force = self.0.current.peek();
        let text = |name: &str| {
            // Masked before it is cut: half a secret is not known for one.
            let given = client_info.get(name).and_then(Value::as_str).unwrap_or_default();
            in_force.policies.data.redact_text(given).chars().take(100).collect::<String>()
        };
        let detail = json!({"client": {"name": text("name"), "version": text("version")}});
        let policies = &in_force.policies;
        let role = policies.authority.agents.get(agent).map(|agent| &agent.role);
        let event = session_started(agent, role, &policies.snapshot, self.0.clock.now(), detail);
        let store = self.0.store.clone();
        self.0.in_flight.spawn(async move {
            if let Err(error) = store.record(vec![event]).await {
                tracing::error!(error = %error, "a session's start could not be recorded");
            }
        });
    }

    /// Cancelled when it ends.
    pub fn stopped(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// The approvals.
    pub fn approvals(&self) -> &Approvals {
        &self.0.people.approvals
    }

    /// What people freeze.
    pub fn freezes(&self) -> &crate::approval::Freezes {
        self.0.freezes.on_store()
    }

    /// Takes what is frozen by now for the next message.
    pub async fn look_at_freezes(&self) {
        // What cannot be read is followed later, and admission looks at the store's own.
        if let Err(error) = self.0.freezes.look().await {
            tracing::error!(%error, "freeze.not_read");
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Where large work is done.
    pub fn offload(&self) -> &Arc<Offload> {
        &self.0.large
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Every upstream's state.
    pub fn upstreams(&self) -> Vec<Arc<UpstreamState>> {
        self.0.current.peek().upstream_states()
    }

    /// The same of upstreams that are reached with credentials of callers' own: of each how it stands for the holder for whom it
    /// failed most often.
    pub fn personal_upstreams(&self) -> Vec<Arc<UpstreamState>> {
        self.0.personal.states(&self.0.current.peek())
    }

    /// Told whenever an upstream may stand otherwise, over every reload.
    pub fn upstream_changes(&self) -> watch::Receiver<u64> {
        self.0.current.peek().upstreams.changes()
    }

    /// The merged catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.current.peek().catalog.clone()
    }

    /// `tasks/get`, `tasks/update`, `tasks/cancel`.
    pub async fn task(&self, request: TaskRequest) -> CallReply {
        self.0.tasks.task(request).await
    }
}
