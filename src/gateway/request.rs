//! What stays the same over all evaluations of one call.

use super::api::Purpose;
use crate::{
    identity::Principal,
    model::{AgentId, CallId, CallKind, SharePlace, TraceId},
};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

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
    pub(crate) rest: Map<String, Value>,
    pub(crate) session: Arc<str>,
    pub(crate) workflow: Option<String>,
    pub(crate) trace_id: TraceId,
    /// The trace is the caller's own, not made here.
    pub(crate) traced: bool,
    pub(crate) call_id: CallId,
    /// Where it falls among all calls, for what counts for a share of them.
    pub(crate) share: SharePlace,
    /// When it came, on the clock that never goes back.
    pub(crate) began: Duration,
}

impl Request {
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
