//! The task id that an agent gets: a sealed handle that names its call. Every process on one store can open it, and it is
//! worth nothing to anybody else.

use crate::gateway::api::{ClientPort, StateSeal};
use crate::{
    identity::Principal,
    model::{CallId, RpcError, TraceId, UpstreamName, WorkflowId, code},
    upstream::Era,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The extension's name among capabilities.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// How long a handle can be used.
const HANDLE_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest task id of an upstream.
const LONGEST_ID: usize = 512;

/// What a task id means.
#[derive(Serialize, Deserialize)]
pub(super) enum Handle {
    /// An upstream's task.
    Made(Box<Made>),
    /// A call that waits in this process.
    Held(String),
}

/// A call that its upstream turned into a task.
#[derive(Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) upstream: UpstreamName,
    /// The upstream's own id, once it is known.
    pub(crate) own: String,
    /// The tool's exposed name.
    pub(crate) tool: String,
    pub(crate) trace: TraceId,
    pub(crate) call: CallId,
    /// What policy masks in the result.
    pub(crate) redact: Vec<String>,
    /// The placeholders whose values the upstream got.
    #[serde(default)]
    pub(crate) revealed: Vec<Arc<str>>,
    /// How much of the result the agent gets.
    #[serde(default)]
    pub(crate) max_result_bytes: Option<u64>,
    /// The same in tokens.
    #[serde(default)]
    pub(crate) max_result_tokens: Option<u64>,
    /// What a strict budget reserved for it.
    #[serde(default)]
    pub(crate) reserved_tokens: Option<u64>,
    /// Something limits what the call may cost. It has been settled, so that no later sampling would count.
    #[serde(alias = "strict")]
    pub(crate) no_sampling: bool,
    /// The workflow in which it was made.
    #[serde(default)]
    pub(crate) workflow: Option<WorkflowId>,
    /// What had reached its session then.
    #[serde(default)]
    pub(crate) session_labels: Vec<Arc<str>>,
}

/// Whether a client takes tasks.
pub(crate) fn takes_tasks(client: &dyn ClientPort) -> bool {
    client.era() == Era::Modern
        && client
            .capabilities()
            .get("extensions")
            .is_some_and(|extensions| extensions.get(EXTENSION).is_some())
}

/// Whether a result is a task in place of a result.
pub(crate) fn is_task(result: &Value) -> bool {
    result.get("resultType").and_then(Value::as_str) == Some("task")
}

/// What a client gets that asks about tasks and has not said that it takes any.
pub(crate) fn tasks_not_declared() -> RpcError {
    let needed = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
    let text = format!("the client has not declared `{EXTENSION}`");
    RpcError::new(code::MISSING_CLIENT_CAPABILITY, text).with_data(needed)
}

pub(in crate::gateway) fn not_found() -> RpcError {
    RpcError::new(
        code::INVALID_PARAMS,
        "Task not found: it is unknown, has ended long ago, or is somebody else's",
    )
}

fn bound_to(principal: &Principal) -> Vec<u8> {
    format!("task\n{}", principal.key()).into_bytes()
}

fn seal_handle(seal: &dyn StateSeal, principal: &Principal, handle: &Handle) -> Result<String, String> {
    let text = serde_json::to_string(handle).map_err(|error| error.to_string())?;
    seal.seal(&text, &bound_to(principal), HANDLE_TTL)
}

pub(super) fn open_handle(seal: &dyn StateSeal, principal: &Principal, sealed: &str) -> Option<Handle> {
    serde_json::from_str(&seal.open(sealed, &bound_to(principal))?).ok()
}

/// The task id of a call that is held here.
pub(in crate::gateway) fn held_handle(
    seal: &dyn StateSeal,
    principal: &Principal,
    id: &str,
) -> Result<String, String> {
    seal_handle(seal, principal, &Handle::Held(id.to_owned()))
}

/// Puts our handle in the place of an upstream's task id. `None`: it is no task that could be asked for later.
pub(in crate::gateway) fn hand_out(
    seal: &dyn StateSeal,
    principal: &Principal,
    mut made: Made,
    result: &mut Value,
) -> Option<()> {
    let own = result.get("taskId").and_then(Value::as_str);
    made.own = own.filter(|own| (1..=LONGEST_ID).contains(&own.len()))?.to_owned();
    result.get("status").and_then(Value::as_str)?;
    let handle = seal_handle(seal, principal, &Handle::Made(Box::new(made))).ok()?;
    result.as_object_mut()?.insert("taskId".to_owned(), Value::String(handle));
    Some(())
}
