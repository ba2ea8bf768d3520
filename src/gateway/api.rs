//! What the fronts say to the gateway and what they get back.

use crate::{
    identity::Principal,
    model::{CallKind, RpcError},
    telemetry::{Parent, Tracing, Wire},
    upstream::Era,
};
use futures::{future::BoxFuture, stream::BoxStream};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The calling client's side of one request, as its front offers it.
pub trait ClientPort: Send + Sync {
    /// Which generation of the protocol it speaks.
    fn era(&self) -> Era;
    /// The capabilities it declared: at initialize (legacy) or in this request's `_meta` (modern).
    fn capabilities(&self) -> &Value;
    /// Whether it sent a progress token with this request.
    fn wants_progress(&self) -> bool;
    /// The log level it asked for, if any.
    fn log_level(&self) -> Option<String>;
    /// Where its connection has broken and it can come back to this request: waits until it is back. None where it is
    /// there.
    fn until_present(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
    /// Sends a notification that belongs to this request. `notifications/progress` comes without its token,
    /// which the front fills in; what the client did not ask for is dropped by the front.
    fn notify(&self, method: &str, params: Value);
    /// Asks the client (legacy era: `elicitation/create`, `sampling/createMessage`, `roots/list`); the answer is the
    /// JSON-RPC result. A modern client cannot be asked this way and answers with an error at once.
    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>>;
}

/// What is wanted of the thing that a call names. All go the whole path; only using it can ask a person.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// `tools/call`, `resources/read`, `prompts/get`
    Use,
    /// `completion/complete` of one argument of a prompt or resource template.
    Complete {
        /// Which of the call's arguments.
        argument: String,
    },
    /// `resources/subscribe`: news of a resource, as long as what is put into the slot is kept.
    Watch(WatchSlot),
}

/// Where a watch is put by its dispatch.
#[derive(Clone, Debug, Default)]
pub struct WatchSlot(pub(crate) Arc<parking_lot::Mutex<Option<super::resource_watch::ResourceWatch>>>);

/// The URIs that a client is to be told of, one at a time. Dropping it ends the watch.
pub type ResourceNews = BoxStream<'static, String>;

/// A `tools/call`, `resources/read` or `prompts/get` as a front parsed it, or what stands around them.
pub struct IncomingCall {
    /// Who calls.
    pub principal: Principal,
    /// What for.
    pub purpose: Purpose,
    /// What kind.
    pub kind: CallKind,
    /// The exposed tool name, the URI (or the text of a template, to be completed), or the exposed prompt name.
    pub name: String,
    /// `params.arguments`, where there were any; not of `resources/read`. For a completion those known so far and the
    /// one to be completed.
    pub arguments: Option<Value>,
    /// `params._meta`.
    pub meta: Map<String, Value>,
    /// Members of `params` that Tollgate does not know; passed on unchanged.
    pub extra_params: Map<String, Value>,
    /// How it came.
    pub wire: Wire,
    /// The HTTP header `X-Workflow-Id`.
    pub workflow: Option<String>,
    /// The legacy session's id, or one id per connection or stateless principal.
    pub session: Arc<str>,
    /// Modern era: `params.inputResponses`.
    pub input_responses: Option<Map<String, Value>>,
    /// Modern era: `params.requestState`.
    pub request_state: Option<String>,
    /// The client.
    pub client: Arc<dyn ClientPort>,
}

/// The answer to a call: the value of `result` (possibly with `resultType: "input_required"` for a modern client),
/// or an error.
pub type CallReply = Result<Value, RpcError>;

/// What is asked of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskVerb {
    /// `tasks/get`
    Get,
    /// `tasks/update`
    Update,
    /// `tasks/cancel`
    Cancel,
}

/// A request about a call that became a task (2026-07-28, `io.modelcontextprotocol/tasks`).
pub struct TaskRequest {
    /// Who asks.
    pub principal: Principal,
    /// What for.
    pub verb: TaskVerb,
    /// `params.taskId`: a handle of ours.
    pub task_id: String,
    /// `params.inputResponses` of `tasks/update`.
    pub input_responses: Option<Map<String, Value>>,
    /// One id per connection or stateless principal.
    pub session: Arc<str>,
    /// The client.
    pub client: Arc<dyn ClientPort>,
    /// Its span, where it has one.
    pub tracing: Tracing,
    /// The span below which it stands, where it names one.
    pub parent: Option<Parent>,
    /// What goes with that: `tracestate` and `baggage`.
    pub context: Map<String, Value>,
}

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`
    Tools,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
    /// `prompts/list`
    Prompts,
    /// `skills/list`
    Skills,
}

impl ListKind {
    /// The member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
            Self::Skills => "skills",
        }
    }
}

/// Counts up whenever what some agent sees of a list may have changed (upstreams or bundle).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListGenerations {
    /// Tools.
    pub tools: u64,
    /// Resources and templates.
    pub resources: u64,
    /// Prompts.
    pub prompts: u64,
    /// The bundle or servers.toml was replaced: live sessions check their principal again.
    pub authority: u64,
}

impl ListGenerations {
    /// Any list may have changed.
    pub(super) fn any_list(&mut self) {
        self.tools += 1;
        self.resources += 1;
        self.prompts += 1;
    }
}

/// What a principal's lists hold, as the SHA-256 of each. A list that changes for others only keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Tools.
    pub tools: [u8; 32],
    /// Resources and templates.
    pub resources: [u8; 32],
    /// Prompts.
    pub prompts: [u8; 32],
}

/// Seals what a modern client must hand back (`requestState`): integrity and expiry are the implementation's, single use
/// is the store's.
pub trait StateSeal: Send + Sync {
    /// Seals a text, bound to `bound_to` and for `ttl`.
    fn seal(&self, text: &str, bound_to: &[u8], ttl: std::time::Duration) -> Result<String, String>;
    /// The text, where the seal holds, fits `bound_to` and has not expired.
    fn open(&self, sealed: &str, bound_to: &[u8]) -> Option<String>;
}
