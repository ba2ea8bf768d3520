//! What stays the same over all evaluations of one call, and what a request names.

use super::{
    api::Purpose,
    repeats::CountedCall,
    target::{LONGEST_NAME, cut},
};
use crate::{
    identity::Principal,
    model::{AgentId, CallId, CallKind, SharePlace, TraceId, WorkflowId},
    policy::{Agent, Workflow},
    store::RegisterRead,
    telemetry::Tracing,
    upstream::Era,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What stays the same over all evaluations of one call.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) principal: Principal,
    pub(crate) agent: AgentId,
    pub(crate) kind: CallKind,
    pub(crate) purpose: Purpose,
    /// As the agent wrote it.
    pub(crate) name: String,
    pub(crate) meta: Map<String, Value>,
    /// The other members of `params`, which go upstream as they are.
    pub(crate) extra_params: Map<String, Value>,
    pub(crate) session: Arc<str>,
    /// The same where it is a session, or a process that serves one client: stateless requests over HTTP have none.
    pub(crate) own_session: Option<Arc<str>>,
    /// What had reached its caller when it was last decided.
    pub(crate) standing: Standing,
    pub(crate) workflow: Option<String>,
    pub(crate) trace_id: TraceId,
    /// The trace is the caller's own, not made here.
    pub(crate) traced: bool,
    pub(crate) call_id: CallId,
    /// Where it falls among all calls, for what counts for a share of them.
    pub(crate) share: SharePlace,
    /// The dead letter that it makes again.
    pub(crate) replay_of: Option<CallId>,
    /// When it came, on the clock that never goes back.
    pub(crate) began: Duration,
    /// How it is traced.
    pub(crate) tracing: Tracing,
    /// As the agent sees its target in lists, once one was found.
    pub(crate) listed: Option<Arc<str>>,
    /// How long people took of it.
    pub(crate) waited: Duration,
    /// It brought a `requestState`: what a client answers in the middle of a call makes no other call of it.
    pub(crate) is_retry: bool,
    /// As it is counted among the repeats, once it is.
    pub(crate) counted: Option<CountedCall>,
}

/// The method of a request.
pub(super) fn method_of(kind: CallKind, purpose: &Purpose) -> &'static str {
    match (purpose, kind) {
        (Purpose::Use, CallKind::Tool) => "tools/call",
        (Purpose::Use, CallKind::Resource) => "resources/read",
        (Purpose::Use, CallKind::Prompt) => "prompts/get",
        (Purpose::Complete { .. }, _) => "completion/complete",
        (Purpose::Watch(_), _) => "resources/subscribe",
    }
}

impl Request {
    /// It goes on with the trace of another.
    pub(super) fn join(&mut self, trace: TraceId) {
        self.trace_id = trace;
        if let Some(span) = &self.tracing.span {
            span.joins(trace);
        }
    }

    /// What distinguishes it in digests, beside target and arguments.
    pub(super) fn word(&self) -> &'static str {
        match &self.purpose {
            Purpose::Use => self.kind.as_str(),
            Purpose::Complete { .. } => "complete",
            Purpose::Watch(_) => "watch",
        }
    }

    /// The method, in records of what is no plain use.
    pub(crate) fn method(&self) -> Option<&'static str> {
        match &self.purpose {
            Purpose::Use => None,
            Purpose::Complete { .. } => Some("completion/complete"),
            Purpose::Watch(_) => Some("resources/subscribe"),
        }
    }
}

/// What had reached whoever makes a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// In order, each once.
    pub(crate) labels: Vec<Arc<str>>,
    /// The entries that say so.
    pub(crate) read: Vec<RegisterRead>,
}

/// A session of its own: where the front has none, it names the principal.
pub(crate) fn own_session(session: &Arc<str>, principal: &Principal, era: Era) -> Option<Arc<str>> {
    (era == Era::Legacy || !principal.has_key(session)).then(|| session.clone())
}

/// The workflow that a request names: in `_meta`, else in its header. What is no text is a name that nobody has.
pub(crate) fn named_workflow(meta: Option<&Map<String, Value>>, header: Option<String>) -> Option<String> {
    match meta.and_then(|meta| meta.get("tollgate/workflow_id")) {
        None | Some(Value::Null) => header,
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => Some(other.to_string()),
    }
}

/// The workflow a request of this agent runs in, or the name it may not use. A name that is allowed but unknown cannot
/// be: the bundle was checked.
pub(crate) fn workflow_of<'w>(
    known: &'w BTreeMap<WorkflowId, Workflow>,
    agent: &Agent,
    named: Option<&str>,
) -> (Option<&'w Workflow>, Option<Arc<str>>) {
    let wanted = match named {
        Some(named) => {
            let allowed = agent.workflows.iter().chain(&agent.workflow).any(|w| w.as_str() == named);
            if !allowed {
                return (None, Some(cut(named, LONGEST_NAME).into()));
            }
            named
        }
        None => match &agent.workflow {
            Some(default) => default.as_str(),
            None => return (None, None),
        },
    };
    (known.get(wanted), None)
}

/// The arguments of a call as policies see them.
pub(crate) fn arguments_of(kind: CallKind, name: &str, given: Option<Value>) -> Value {
    match (kind, given) {
        (CallKind::Tool | CallKind::Prompt, given) => given.unwrap_or_else(|| json!({})),
        (CallKind::Resource, None) => json!({"uri": name}),
        // A template's variables, while they are being completed.
        (CallKind::Resource, Some(given)) => json!({"uri": name, "arguments": given}),
    }
}

/// The URI among a resource's arguments.
pub(crate) fn uri_of(arguments: &Value) -> Option<&str> {
    arguments.get("uri").and_then(Value::as_str)
}
