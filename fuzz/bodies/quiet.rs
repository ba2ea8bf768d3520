//! A gateway in which everything answers at once, so that a fuzzer sees the front alone.

use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::watch;
use tollgate::{
    front::Service,
    gateway::{CallReply, IncomingCall, ListGenerations, ListKind, Listed, ResourceNews, TaskRequest},
    identity::{AgentPrincipal, AuthError, Presented, Principal, Proof},
    model::RpcError,
};

pub(crate) struct Quiet(watch::Sender<ListGenerations>);

impl Quiet {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::channel(ListGenerations::default()).0))
    }
}

pub(crate) fn agent() -> Principal {
    Principal::Agent(AgentPrincipal::new("a".into(), Proof::Stdio))
}

impl Service for Quiet {
    fn authenticate(&self, _: IpAddr, _: &Presented<'_>) -> Result<Principal, AuthError> {
        Ok(agent())
    }
    fn still_valid(&self, _: &Principal) -> bool {
        true
    }
    fn generations(&self) -> watch::Receiver<ListGenerations> {
        self.0.subscribe()
    }
    fn listed(&self, _: &Principal, _: Option<&str>) -> Listed {
        Listed::default()
    }
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn server_info(&self) -> Value {
        json!({ "name": "tollgate", "version": "0" })
    }
    fn capabilities(&self, _: &Principal) -> Value {
        json!({ "tools": { "listChanged": true } })
    }
    fn instructions(&self) -> Option<String> {
        None
    }
    fn list(&self, _: &Principal, _: ListKind, _: Option<&str>) -> Arc<Vec<Value>> {
        Arc::new(vec![json!({ "name": "echo" })])
    }
    fn input_schema(&self, _: &Principal, _: &str) -> Option<Arc<Value>> {
        let region = json!({ "type": "string", "x-mcp-header": "Region" });
        Some(Arc::new(json!({ "properties": { "region": region } })))
    }
    fn call(&self, call: IncomingCall) -> BoxFuture<'_, CallReply> {
        call.client.notify("notifications/progress", call.arguments.clone().unwrap_or_default());
        call.client.notify("notifications/message", json!({ "level": "error", "data": call.meta }));
        Box::pin(std::future::ready(Ok(json!({ "rest": call.extra_params, "arguments": call.arguments }))))
    }
    fn watch(&self, call: IncomingCall) -> BoxFuture<'_, Result<ResourceNews, RpcError>> {
        Box::pin(std::future::ready(Ok(Box::pin(futures::stream::iter([call.name])) as ResourceNews)))
    }
    fn task(&self, request: TaskRequest) -> BoxFuture<'_, CallReply> {
        Box::pin(std::future::ready(Ok(
            json!({ "task": request.task_id, "answers": request.input_responses }),
        )))
    }
    fn session_opened(&self, _: &Principal, _: &Value) {}
}
