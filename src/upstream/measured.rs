//! Requests of our own to an upstream as metrics have them: handshakes, lists, pings and subscriptions. Those of agents are measured
//! where they are dispatched.

use super::{call::Call, wiring::Wiring};
use crate::{
    config::UpstreamTransport,
    model::code,
    telemetry::{Label, Operation, Telemetry, Transport},
};
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// Measures the requests of one connection.
pub(super) struct OwnRequests {
    telemetry: Arc<Telemetry>,
    upstream: Label,
    transport: Transport,
}

/// One of them, until its answer is there. Dropped before, it had none in time.
pub(super) struct OwnRequest<'o> {
    of: &'o OwnRequests,
    method: &'static str,
    began: Instant,
    failed: Option<i64>,
}

impl fmt::Debug for OwnRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRequests").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl OwnRequests {
    pub(super) fn of(wiring: &Wiring<'_>) -> Self {
        let transport = match &wiring.config.transport {
            UpstreamTransport::Stdio { .. } => Transport::Pipe,
            UpstreamTransport::Http { .. } => Transport::Tcp,
        };
        let upstream = Label::from(wiring.config.name.shared());
        Self { telemetry: wiring.deps.telemetry.clone(), upstream, transport }
    }

    /// A request begins, where it is one of our own.
    pub(super) fn begin(&self, call: &Call) -> Option<OwnRequest<'_>> {
        let (method, began) = (call.request.method, Instant::now());
        // Made where it is one: what is dropped is measured.
        (!call.from_agent).then(|| OwnRequest {
            of: self,
            method,
            began,
            failed: Some(code::UPSTREAM_TIMEOUT),
        })
    }
}

impl OwnRequest<'_> {
    /// It was answered, or failed with this code.
    pub(super) fn end(mut self, failed: Option<i64>) {
        self.failed = failed;
    }
}

impl Drop for OwnRequest<'_> {
    fn drop(&mut self) {
        let Self { of, method, began, failed } = self;
        let mut operation = Operation::of(method, of.transport);
        if let Some(code) = failed {
            operation = operation.failed(Some(*code));
        }
        of.telemetry.metrics.asked(&operation, of.upstream.clone(), began.elapsed(), None);
    }
}
