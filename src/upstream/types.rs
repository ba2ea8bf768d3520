//! What is said to an upstream and what comes back. Results stay JSON values, so that what Tollgate
//! does not know passes unchanged.

use super::{
    contain::Containment,
    refusal::{Cause, Failure, HttpRefusal},
};
use crate::{
    model::{RetryPlan, RpcError, TraceId, UpstreamName, code},
    telemetry::Below,
};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

/// Which generation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// initialize-based, with sessions: 2024-10-07 to 2025-11-25.
    Legacy,
    /// Stateless: 2026-07-28.
    Modern,
}

/// One request to an upstream, as the upstream knows the target (its own tool name, not the exposed one).
#[derive(Debug)]
pub struct UpstreamRequest {
    /// `tools/call`, `resources/read`, `prompts/get`, `completion/complete`, …
    pub method: &'static str,
    /// The params without the protocol's own `_meta` keys (version, capabilities, client info, progress token),
    /// which the upstream connection fills in. Other `_meta` keys of the caller are kept in it.
    pub params: Arc<Map<String, Value>>,
    /// The calling agent's declared client capabilities, for upstreams of the modern era.
    pub client_capabilities: Value,
    /// Whether the caller wants progress; it comes through [`CallRelay::notify`].
    pub wants_progress: bool,
    /// The log level the caller asked for (modern era).
    pub log_level: Option<String>,
    /// Passed on as `traceparent`.
    pub trace_id: TraceId,
    /// The span in it.
    pub below: Below,
    /// How long the upstream may take, from when the call has a slot. Human time does not count: the clock stands while
    /// an `elicitation/create` waits in [`CallRelay::ask`].
    pub timeout: Duration,
    /// Whether a repeat is safe.
    pub retry: RetryPlan,
    /// Headers to mirror arguments into (`x-mcp-header`, modern HTTP): name without `Mcp-Param-`, value as text.
    pub param_headers: Vec<(String, String)>,
    /// Which connection: isolation decides what of it counts.
    pub caller: CallerKey,
    /// The caller's era; an upstream that speaks both is spoken to in it.
    pub era: Era,
}

/// Who calls, for `isolation`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerKey {
    /// The agent.
    pub agent: crate::model::AgentId,
    /// The person it acts for.
    pub user: Option<crate::model::PersonId>,
    /// The agent's session, or the connection of a stateless caller: its own id per agent.
    pub session: Arc<str>,
}

/// The caller's side of one call, for what the upstream says before it answers.
pub trait CallRelay: Send + Sync {
    /// Whether the upstream may have seen the request; said whenever that changes.
    fn sent(&self, _sent: bool) {}
    /// Under which id it is sent, in which version of the protocol; said with each attempt.
    fn sent_as(&self, _id: u64, _version: &Arc<str>) {}
    /// A notification that belongs to this call, in the order it came: `notifications/progress` (with the
    /// progress token taken out), `notifications/message`, or whatever else the upstream sent.
    fn notify(&self, method: &str, params: Value);
    /// A request of the upstream to the client: `elicitation/create`, `sampling/createMessage`, `roots/list`.
    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>>;
}

/// A resource that its upstream says has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceUpdate {
    /// Whose resource.
    pub upstream: UpstreamName,
    /// Its URI, as the upstream knows it.
    pub uri: Arc<str>,
}

/// Why an upstream gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// The upstream answered with a JSON-RPC error. It was called.
    #[error("the upstream answered with error {}: {}", .0.code, .0.message)]
    Rpc(RpcError),
    /// Nothing was sent: not connected, breaker open, no free slot, the process is gone.
    #[error("{0}")]
    NotSent(String),
    /// Something was sent, and no answer came: whether the upstream acted is unknown.
    #[error("{0}")]
    Lost(String),
    /// No answer in time; the upstream was told to cancel. Whether it acted is unknown.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The answer is larger than `max_result_bytes`. The upstream acted.
    #[error("the result is larger than {0} bytes")]
    TooLarge(u64),
    /// An HTTP status in place of an answer. Whether the upstream acted is unknown.
    #[error("the upstream answered with {0}")]
    Refused(HttpRefusal),
    /// What came back is not what the protocol allows. The upstream acted, probably.
    #[error("the upstream answered with something that is not MCP: {0}")]
    Malformed(String),
}

/// What an upstream has, complete over all its pages, each item as the upstream wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// `tools/list`
    pub tools: Vec<Value>,
    /// `resources/list`
    pub resources: Vec<Value>,
    /// `resources/templates/list`
    pub templates: Vec<Value>,
    /// `prompts/list`
    pub prompts: Vec<Value>,
    /// `skills/list`
    pub skills: Vec<Value>,
}

/// How an upstream stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    /// Not yet connected for the first time.
    Starting,
    /// Connected and listed.
    Up,
    /// Not connected; why, and how many attempts in a row failed.
    Down {
        /// Why, shown as it may be shown.
        cause: Cause,
        /// Attempts that failed in a row.
        attempts: u32,
    },
}

/// What everybody may see of an upstream; published on every change.
#[derive(Clone, Debug)]
pub struct UpstreamState {
    /// Its name.
    pub name: UpstreamName,
    /// How it stands.
    pub health: Health,
    /// What it has; the last known list while it is down is kept out: a dead upstream has none.
    pub listing: Arc<Listing>,
    /// What of its lists could not be read, and why: one sentence each.
    pub missing: Arc<[String]>,
    /// The era it speaks, once known; the modern one where it speaks both.
    pub era: Option<Era>,
    /// Its `capabilities`, as it wrote them.
    pub capabilities: Value,
    /// Its `serverInfo`, as it wrote it.
    pub server_info: Value,
    /// Its `instructions`.
    pub instructions: Option<String>,
    /// What keeps it within its limits, where it is contained and was started.
    pub containment: Option<Arc<Containment>>,
    /// Counts up with every change of the listing.
    pub generation: u64,
}

/// An upstream MCP server. Only `gateway/dispatch/` may call [`Upstream::call`].
pub trait Upstream: Send + Sync + std::fmt::Debug {
    /// Its name.
    fn name(&self) -> &UpstreamName;
    /// Makes one call, as soon as its agent's turn for a slot has come. Dropping the future cancels it: the upstream is
    /// told, and its slot is freed.
    fn call<'a>(
        &'a self,
        request: UpstreamRequest,
        relay: Arc<dyn CallRelay>,
    ) -> BoxFuture<'a, Result<Value, UpstreamError>>;
    /// Its state, and every later one.
    fn state(&self) -> tokio::sync::watch::Receiver<Arc<UpstreamState>>;
    /// The era that its state names.
    fn era(&self) -> Option<Era> {
        self.state().borrow().era
    }
    /// Resources that changed, of those that were asked for with [`Upstream::watch_resource`].
    fn updates(&self) -> tokio::sync::broadcast::Receiver<ResourceUpdate> {
        tokio::sync::broadcast::channel(1).1
    }
    /// Has its lists read again: what it serves is not what it listed.
    fn list_again(&self) {}
    /// Asks the upstream to tell of changes of a resource (`resources/subscribe`, or `subscriptions/listen`), or to
    /// stop. Counted: it stops with the last who stops. Renewed when the upstream comes back.
    fn watch_resource<'a>(&'a self, _uri: &'a str, _on: bool) -> BoxFuture<'a, Result<(), UpstreamError>> {
        let refusal = RpcError::new(crate::model::code::METHOD_NOT_FOUND, "nothing can be watched here");
        Box::pin(std::future::ready(Err(UpstreamError::Rpc(refusal))))
    }
    /// An orderly end: legacy sessions deleted, children asked to leave, then killed.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

impl UpstreamError {
    /// The code of an error that says that there is no result.
    pub fn code(&self) -> i64 {
        match self {
            Self::TimedOut(_) => code::UPSTREAM_TIMEOUT,
            Self::Rpc(error) => error.code,
            Self::NotSent(_) | Self::Lost(_) | Self::TooLarge(_) | Self::Refused(_) | Self::Malformed(_) => {
                code::UPSTREAM_UNAVAILABLE
            }
        }
    }

    /// The same with what is the upstream's own text apart.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Rpc(error) => Cause {
                reason: format!("the upstream answered with error {}", error.code),
                said: format!("it says: {}", error.message),
            },
            Self::Refused(refusal) => Cause {
                reason: format!("the upstream answered with {}", refusal.cause()),
                said: refusal.said.to_string(),
            },
            Self::NotSent(_) | Self::Lost(_) | Self::TimedOut(_) | Self::TooLarge(_) | Self::Malformed(_) => {
                self.to_string().into()
            }
        }
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        let retry_after = match &error {
            UpstreamError::Refused(refusal) => refusal.retry_after,
            UpstreamError::Rpc(_)
            | UpstreamError::NotSent(_)
            | UpstreamError::Lost(_)
            | UpstreamError::TimedOut(_)
            | UpstreamError::TooLarge(_)
            | UpstreamError::Malformed(_) => None,
        };
        Self { cause: error.cause(), retry_after }
    }
}
