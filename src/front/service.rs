//! What the fronts need of the gateway, as a port, so that a front can be tested against a script.

use crate::{
    gateway::{
        CallReply, Gateway, InForce, IncomingCall, ListGenerations, ListKind, Listed, ResourceNews,
        TaskRequest,
    },
    identity::{AuthError, Presented, Principal},
    model::{RpcError, code},
    offload::Offload,
    telemetry::{Telemetry, Tracing, Wire},
};
use futures::future::BoxFuture;
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};
use tokio::sync::watch;

/// The gateway as a front sees it. [`Gateway`] is the one implementation outside tests.
pub trait Service: Send + Sync + 'static {
    /// Authenticates whoever sends a request.
    fn authenticate(&self, peer: IpAddr, presented: &Presented<'_>) -> Result<Principal, AuthError>;
    /// Verifies an access token, where [`Service::authenticate`] gave [`AuthError::Unverified`].
    fn verify<'a>(
        &'a self,
        _peer: IpAddr,
        _presented: &'a Presented<'a>,
    ) -> BoxFuture<'a, Result<Principal, AuthError>> {
        Box::pin(std::future::ready(Err(AuthError::Unknown)))
    }
    /// Whether a principal still is one.
    fn still_valid(&self, principal: &Principal) -> bool;
    /// Told whenever somebody's list, or who may see it, may have changed.
    fn generations(&self) -> watch::Receiver<ListGenerations>;
    /// What a principal's lists hold now.
    fn listed(&self, principal: &Principal, workflow: Option<&str>) -> Listed;
    /// Waits until the first lists can be complete.
    fn ready(&self) -> BoxFuture<'_, ()>;
    /// The same of what a principal alone has. A call does so by itself.
    fn make_ready<'a>(&'a self, _principal: &'a Principal) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
    /// `serverInfo`.
    fn server_info(&self) -> Value;
    /// `capabilities` for this principal, as of now.
    fn capabilities(&self, principal: &Principal) -> Value;
    /// `instructions`.
    fn instructions(&self) -> Option<String>;
    /// One whole list, as it is in the workflow that the request names.
    fn list(&self, principal: &Principal, kind: ListKind, workflow: Option<&str>) -> Arc<Vec<Value>>;
    /// One entry of `skills/list`.
    fn skill(&self, _principal: &Principal, _uri: &str, _workflow: Option<&str>) -> Option<Value> {
        None
    }
    /// The exposed input schema of a tool that this principal may see.
    fn input_schema(&self, principal: &Principal, tool: &str) -> Option<Arc<Value>>;
    /// A call. Dropping the future cancels it.
    fn call(&self, call: IncomingCall) -> BoxFuture<'_, CallReply>;
    /// A request about a call that became a task.
    fn task(&self, _request: TaskRequest) -> BoxFuture<'_, CallReply> {
        Box::pin(std::future::ready(Err(RpcError::new(code::METHOD_NOT_FOUND, "there are no tasks here"))))
    }
    /// News of a resource, for as long as they are kept.
    fn watch(&self, call: IncomingCall) -> BoxFuture<'_, Result<ResourceNews, RpcError>> {
        let shown: String = call.name.chars().take(128).collect();
        Box::pin(async move {
            Err(RpcError::new(code::METHOD_NOT_FOUND, format!("nothing can be watched here: `{shown}`")))
        })
    }
    /// Where large work is done.
    fn offload(&self) -> Arc<Offload> {
        Arc::default()
    }
    /// Where requests are measured.
    fn telemetry(&self) -> Arc<Telemetry> {
        Arc::default()
    }
    /// A request arrives that is no call.
    fn arrive(&self, _method: &'static str, _meta: Option<&Value>, _wire: &Wire) -> Tracing {
        Tracing::default()
    }
    /// A session was opened.
    fn session_opened(&self, principal: &Principal, client_info: &Value);
    /// What is in force now, where a reload can change it.
    fn in_force(&self) -> Option<Arc<InForce>> {
        None
    }
}

impl Service for Gateway {
    fn authenticate(&self, peer: IpAddr, presented: &Presented<'_>) -> Result<Principal, AuthError> {
        Gateway::authenticate(self, peer, presented)
    }
    fn verify<'a>(
        &'a self,
        peer: IpAddr,
        presented: &'a Presented<'a>,
    ) -> BoxFuture<'a, Result<Principal, AuthError>> {
        Box::pin(Gateway::verify(self, peer, presented))
    }
    fn still_valid(&self, principal: &Principal) -> bool {
        Gateway::still_valid(self, principal)
    }
    fn generations(&self) -> watch::Receiver<ListGenerations> {
        Gateway::generations(self)
    }
    fn listed(&self, principal: &Principal, workflow: Option<&str>) -> Listed {
        Gateway::listed(self, principal, workflow)
    }
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(Gateway::ready(self))
    }
    fn make_ready<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, ()> {
        Box::pin(Gateway::make_ready(self, principal))
    }
    fn server_info(&self) -> Value {
        Gateway::server_info(self)
    }
    fn capabilities(&self, principal: &Principal) -> Value {
        Gateway::capabilities(self, principal)
    }
    fn instructions(&self) -> Option<String> {
        Gateway::instructions(self)
    }
    fn list(&self, principal: &Principal, kind: ListKind, workflow: Option<&str>) -> Arc<Vec<Value>> {
        Gateway::list(self, principal, kind, workflow)
    }
    fn skill(&self, principal: &Principal, uri: &str, workflow: Option<&str>) -> Option<Value> {
        Gateway::skill(self, principal, uri, workflow)
    }
    fn input_schema(&self, principal: &Principal, tool: &str) -> Option<Arc<Value>> {
        Gateway::input_schema(self, principal, tool)
    }
    fn call(&self, call: IncomingCall) -> BoxFuture<'_, CallReply> {
        Box::pin(self.unless_cut(Gateway::call(self, call)))
    }
    fn task(&self, request: TaskRequest) -> BoxFuture<'_, CallReply> {
        Box::pin(self.unless_cut(Gateway::task(self, request)))
    }
    fn watch(&self, call: IncomingCall) -> BoxFuture<'_, Result<ResourceNews, RpcError>> {
        Box::pin(self.unless_cut(Gateway::watch(self, call)))
    }
    fn session_opened(&self, principal: &Principal, client_info: &Value) {
        Gateway::session_opened(self, principal, client_info);
    }
    fn offload(&self) -> Arc<Offload> {
        Arc::clone(Gateway::offload(self))
    }
    fn arrive(&self, method: &'static str, meta: Option<&Value>, wire: &Wire) -> Tracing {
        Gateway::arrive(self, method, meta, wire)
    }
    fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(Gateway::telemetry(self))
    }
    fn in_force(&self) -> Option<Arc<InForce>> {
        Some(Gateway::in_force(self))
    }
}
