//! The whole path of a call on one page, and everything the fronts need of it.

mod api;

pub use api::*;

use crate::{
    approval::Approvals,
    config::Config,
    identity::{AuthError, Principal},
    policy::PolicySet,
    store::Store,
    upstream::UpstreamState,
};
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};
use tokio::sync::watch;

/// The gateway. Fronts hold it as `Arc<Gateway>`.
pub struct Gateway {
    _private: (),
}

/// What is in force: replaced whole by a reload.
#[derive(Debug)]
pub struct InForce {
    /// servers.toml.
    pub config: Config,
    /// The bundle.
    pub policies: PolicySet,
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

#[expect(clippy::todo, unused_variables, reason = "signatures first; the bodies follow")]
impl Gateway {
    /// Authenticates an `Authorization` header value.
    pub fn authenticate(&self, peer: IpAddr, authorization: Option<&[u8]>) -> Result<Principal, AuthError> {
        todo!()
    }
    /// Whether a principal still is one (revocation; checked at every message of a live session).
    pub fn still_valid(&self, principal: &Principal) -> bool {
        todo!()
    }
    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        todo!()
    }
    /// Told whenever a list may have changed.
    pub fn generations(&self) -> watch::Receiver<ListGenerations> {
        todo!()
    }
    /// Waits until the first lists can be complete (at most 10 s).
    pub async fn ready(&self) {
        todo!()
    }
    /// How it stands.
    pub fn readiness(&self) -> Readiness {
        todo!()
    }
    /// `serverInfo`.
    pub fn server_info(&self) -> Value {
        todo!()
    }
    /// `capabilities` for this principal, as of now: tools, resources, prompts, completions, logging, each with
    /// `listChanged` where it applies.
    pub fn capabilities(&self, principal: &Principal) -> Value {
        todo!()
    }
    /// `instructions`.
    pub fn instructions(&self) -> Option<String> {
        todo!()
    }
    /// One whole list, scoped, in a deterministic order, each item as its upstream wrote it but for its name.
    pub fn list(&self, principal: &Principal, kind: ListKind) -> Arc<Vec<Value>> {
        todo!()
    }
    /// The exposed input schema of a tool that this principal may see (for `Mcp-Param-*` checks).
    pub fn input_schema(&self, principal: &Principal, tool: &str) -> Option<Arc<Value>> {
        todo!()
    }
    /// A call: the whole path. Dropping the future cancels it.
    pub async fn call(&self, call: IncomingCall) -> CallReply {
        todo!()
    }
    /// `completion/complete`: params in, result out; scoped like `prompts/get` and `resources/read`.
    pub async fn complete(
        &self,
        principal: &Principal,
        params: Value,
        client: Arc<dyn ClientPort>,
    ) -> CallReply {
        todo!()
    }
    /// Records that an agent opened a session (`agent_start`).
    pub fn session_opened(&self, principal: &Principal, client_info: &Value) {
        todo!()
    }
    /// The approvals.
    pub fn approvals(&self) -> &Approvals {
        todo!()
    }
    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        todo!()
    }
    /// Every upstream's state.
    pub fn upstreams(&self) -> Vec<Arc<UpstreamState>> {
        todo!()
    }
}
