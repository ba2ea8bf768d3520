//! The whole path of a call on one page (`call.rs`), and everything the fronts need of it.

mod activation;
mod admit;
mod answer;
mod api;
mod call;
mod call_log;
mod complete;
mod counted;
mod decided;
mod declared;
mod digest;
mod dispatch;
mod edits;
mod ending;
mod extras;
mod finding;
mod fit;
mod in_force;
mod keep;
mod labelled;
mod lifecycle;
mod looking;
mod news;
mod notify;
mod outgoing;
mod parked;
mod people;
mod prepare;
mod refusal;
mod refused;
mod relay;
mod repeats;
mod request;
mod shape;
mod spending;
mod stage_counts;
mod standing;
mod suspend;
mod trial;

pub use api::*;
pub use in_force::{CheckedFiles, InForce, Origin, Trial};
pub use lifecycle::{GatewayParts, ReloadError, StartError};
pub use notify::tell_webhook;
pub(crate) use people::question::taken_as;
pub(crate) use prepare::named_workflow;
pub(crate) use shape::for_sessions;
pub use standing::{FolderReader, RolloutWish, Wish};
pub(crate) use suspend::tasks::{takes_tasks, tasks_not_declared};

use crate::{
    activation::{FolderState, Standing},
    approval::Approvals,
    catalog::{Catalog, CatalogBuilder, View},
    clock::{Clock, IdSource},
    cost::{LearnedSizes, TokenCounter},
    evidence::{Rollout, session_started},
    identity::{AuthError, Doorkeeper, Principal, still_valid},
    model::CapabilityId,
    offload::Offload,
    store::Store,
    upstream::{Health, UpstreamState},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the first lists are waited for (SPEC 12).
const FIRST_LISTS: Duration = Duration::from_secs(10);

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
    /// What is waited for or wrong.
    pub details: Vec<String>,
    /// Why the newest reload was refused, where it was.
    pub rejected_reload: Option<String>,
}

pub(crate) struct Inner {
    in_force: ArcSwap<InForce>,
    store: Arc<dyn Store>,
    approvals: Approvals,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    doorkeeper: Doorkeeper,
    /// Held while the next one in force is built.
    builder: Mutex<CatalogBuilder>,
    generations: watch::Sender<ListGenerations>,
    tokens: TokenCounter,
    learned: LearnedSizes,
    kept_tools: keep::KeptTools,
    repeats: repeats::Repeats,
    refused: counted::CountedRefusals,
    prompts: people::prompts::Prompts,
    large: Arc<Offload>,
    promised: spending::Promised,
    digest_key: digest::DigestKey,
    /// For `hash` in data.yaml.
    hash_key: [u8; 32],
    seal: Arc<dyn StateSeal>,
    ready: watch::Sender<bool>,
    rejected_reload: Mutex<Option<String>>,
    lints: Mutex<Vec<String>>,
    /// Orders as this process follows them.
    standing: Mutex<Arc<Standing>>,
    /// Held while an order is followed, or files are put in force: one at a time.
    obeying: tokio::sync::Mutex<()>,
    /// Orders are to be looked at.
    poked: tokio::sync::Notify,
    folder: Mutex<Option<FolderState>>,
    folder_wanted: watch::Sender<u64>,
    folder_reader: OnceLock<FolderReader>,
    /// What this process is called in what it has seen of a rollout.
    process: String,
    call_log: call_log::CallLog,
    parking: parked::Parking,
    held: suspend::held::HeldCalls,
    in_flight: TaskTracker,
    stop: CancellationToken,
}

impl Gateway {
    /// Authenticates an `Authorization` header value.
    pub fn authenticate(&self, peer: IpAddr, authorization: Option<&[u8]>) -> Result<Principal, AuthError> {
        let in_force = self.0.in_force.load();
        let authority = &in_force.policies.authority;
        self.0.doorkeeper.authenticate(
            &in_force.keyring,
            authority,
            &in_force.config.auth,
            peer,
            authorization,
        )
    }

    /// Verifies an access token, where [`Gateway::authenticate`] gave [`AuthError::Unverified`].
    pub async fn verify(&self, peer: IpAddr, authorization: &[u8]) -> Result<Principal, AuthError> {
        let in_force = self.0.in_force.load_full();
        let authority = &in_force.policies.authority;
        self.0.doorkeeper.verify(authority, &in_force.config.auth, peer, authorization).await
    }

    /// Whether a principal still is one (revocation; checked at every message of a live session).
    pub fn still_valid(&self, principal: &Principal) -> bool {
        let in_force = self.0.in_force.load();
        still_valid(&in_force.policies.authority, &in_force.config.auth, self.0.clock.now(), principal)
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.0.in_force.load_full()
    }

    /// Told whenever a list may have changed.
    pub fn generations(&self) -> watch::Receiver<ListGenerations> {
        self.0.generations.subscribe()
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
        let ready = *self.0.ready.borrow();
        let mut details = Vec::new();
        if !ready {
            details.push("upstreams are still making their first attempt".to_owned());
        }
        for state in self.upstreams() {
            match &state.health {
                Health::Up => {
                    let told = |why| format!("upstream `{}`: {why}", state.name);
                    details.extend(state.missing.iter().map(told));
                }
                Health::Starting => details.push(format!("upstream `{}` is starting", state.name)),
                Health::Down { reason, attempts } => {
                    details.push(format!(
                        "upstream `{}` is down after {attempts} attempts: {reason}",
                        state.name
                    ));
                }
            }
        }
        details.extend(self.0.in_force.load().catalog.withheld.iter().cloned());
        details.extend(self.0.lints.lock().iter().cloned());
        let in_force = self.0.in_force.load();
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
        details.extend(self.folder().map(|(folder, held)| folder.sentence(&held)));
        let rejected_reload = self.0.rejected_reload.lock().clone();
        if let Some(rejected) = &rejected_reload {
            details.push(format!("the newest reload was refused, the old bundle is in force: {rejected}"));
        }
        Readiness { ready, details, rejected_reload }
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
                // Only clients of 2026-07-28 can use it; the others do not know it.
                "extensions": {suspend::tasks::EXTENSION: {}},
            }),
            Principal::Person(_) => json!({"tools": {"listChanged": true}}),
        }
    }

    /// `instructions`.
    pub fn instructions(&self) -> Option<String> {
        self.0.in_force.load().config.gateway.instructions.clone()
    }

    /// One whole list, scoped, in a deterministic order, each item as its upstream wrote it but for its name.
    /// `workflow` is the one that the request names: what a call in it could not reach is not shown (I7).
    pub fn list(&self, principal: &Principal, kind: ListKind, workflow: Option<&str>) -> Arc<Vec<Value>> {
        let in_force = self.in_force();
        // The request's body may have taken its time, and the key may have gone meanwhile.
        if !self.still_valid(principal) {
            return Arc::default();
        }
        if let (Principal::Person(person), ListKind::Tools) = (principal, kind) {
            return people::review::listed(&in_force, person);
        }
        let Some(view) = self.view_in(&in_force, principal, workflow) else { return Arc::default() };
        match kind {
            ListKind::Tools if finding::is_on(&in_force) => finding::listed(&view),
            ListKind::Tools => view.tool_list.clone(),
            ListKind::Resources => view.resource_list.clone(),
            ListKind::Templates => view.template_list.clone(),
            ListKind::Prompts => view.prompt_list.clone(),
        }
    }

    /// The exposed input schema of a tool that this principal may see (for `Mcp-Param-*` checks).
    pub fn input_schema(&self, principal: &Principal, tool: &str) -> Option<Arc<Value>> {
        let in_force = self.in_force();
        let covered = self.view(&in_force, principal)?.tool(tool, None)?;
        // Only a tool that mirrors arguments into headers needs the check: the others cost no copy.
        (!covered.entry.param_headers.is_empty())
            .then(|| covered.entry.item.get("inputSchema").cloned().map(Arc::new))
            .flatten()
    }

    /// Records that an agent opened a session (`agent_start`).
    pub fn session_opened(&self, principal: &Principal, client_info: &Value) {
        let Some(agent) = principal.agent() else { return };
        let in_force = self.0.in_force.load();
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
        &self.0.approvals
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
        self.0.in_force.load().upstream_states()
    }

    /// The merged catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.in_force.load().catalog.clone()
    }

    /// What one agent sees now.
    pub fn view(&self, in_force: &Arc<InForce>, principal: &Principal) -> Option<Arc<View>> {
        let agent = principal.agent()?;
        match principal.grants() {
            None => in_force.whole_view(agent),
            Some(grants) => in_force.narrow_view(agent, grants),
        }
    }

    /// What one agent sees in the workflow that it names, or in its own: nothing where it may not act in that one.
    pub(super) fn view_in(
        &self,
        in_force: &Arc<InForce>,
        principal: &Principal,
        named: Option<&str>,
    ) -> Option<Arc<View>> {
        let authority = &in_force.policies.authority;
        let agent = authority.agents.get(principal.agent()?)?;
        let workflow = match prepare::workflow_of(&authority.workflows, agent, named) {
            (workflow, None) => workflow,
            (_, Some(_)) => return None,
        };
        match workflow.and_then(|workflow| workflow.capabilities.as_deref()) {
            None => self.view(in_force, principal),
            Some(narrow) => {
                let granted =
                    |id: &&CapabilityId| principal.grants().is_none_or(|granted| granted.contains(*id));
                let kept: Arc<[CapabilityId]> = narrow.iter().filter(granted).cloned().collect();
                in_force.narrow_view(&agent.id, &kept)
            }
        }
    }
}
