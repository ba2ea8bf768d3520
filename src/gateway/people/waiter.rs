//! What a call tells that begins to wait for a person elsewhere, and to whom.

use crate::gateway::api::{ClientPort, IncomingCall, Purpose};
use crate::{identity::Principal, model::CallKind};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Who is told when a call begins to wait for a person elsewhere.
pub(crate) struct Waiter {
    pub(super) told: oneshot::Sender<Waited>,
    /// As the agent sent them.
    pub(super) arguments: Option<Arc<Value>>,
}

impl Waiter {
    pub(crate) fn new(told: oneshot::Sender<Waited>) -> Self {
        Self { told, arguments: None }
    }
}

/// What a call tells that begins to wait for a person elsewhere.
pub(crate) struct Waited {
    /// The call as the agent made it.
    pub(crate) again: Again,
    /// `tollgate/decision`
    pub(crate) decision: Value,
    /// Until the approval expires.
    pub(crate) left: Duration,
    /// Answered with whether the call is held from now on.
    pub(crate) held: oneshot::Sender<bool>,
}

/// What it takes to make the call again with an answer.
#[derive(Clone)]
pub(crate) struct Again {
    pub(crate) name: String,
    pub(crate) arguments: Arc<Value>,
    pub(crate) meta: Map<String, Value>,
    pub(crate) extra_params: Map<String, Value>,
    pub(crate) session: Arc<str>,
    pub(crate) workflow: Option<String>,
    pub(crate) principal: Principal,
}

impl Again {
    /// The call once more, with what its client answered.
    pub(in crate::gateway) fn call(
        &self,
        client: Arc<dyn ClientPort>,
        input_responses: Map<String, Value>,
        request_state: Option<String>,
    ) -> IncomingCall {
        IncomingCall {
            principal: self.principal.clone(),
            purpose: Purpose::Use,
            kind: CallKind::Tool,
            name: self.name.clone(),
            arguments: Some(Value::clone(&self.arguments)),
            meta: self.meta.clone(),
            extra_params: self.extra_params.clone(),
            wire: Default::default(),
            workflow: self.workflow.clone(),
            session: self.session.clone(),
            input_responses: Some(input_responses),
            request_state,
            client,
        }
    }
}
