//! Requests that are no calls, as metrics have them. A call is measured by the gateway, which knows whether its tool is one.

use super::service::Service;
use crate::{
    model::RpcError,
    telemetry::{Operation, Telemetry, Tracing, Wire},
};
use serde_json::Value;
use std::sync::Arc;
use tokio::time::Instant;

/// A request under way, where it is measured here.
pub(crate) struct Measured(Option<UnderWay>);

struct UnderWay {
    telemetry: Arc<Telemetry>,
    operation: Operation,
    tracing: Tracing,
    began: Instant,
}

impl Measured {
    /// One of this name begins; none: the gateway measures it.
    pub(crate) fn begin(
        (service, telemetry): (&dyn Service, &Arc<Telemetry>),
        name: Option<&'static str>,
        meta: Option<&Value>,
        wire: &Wire,
    ) -> Self {
        Self(name.map(|name| UnderWay {
            telemetry: Arc::clone(telemetry),
            operation: Operation::of(name, wire.transport),
            tracing: service.arrive(name, meta, wire),
            began: Instant::now(),
        }))
    }

    /// How it is traced.
    pub(crate) fn tracing(&self) -> Tracing {
        self.0.as_ref().map(|under_way| under_way.tracing.clone()).unwrap_or_default()
    }

    /// It was answered.
    pub(crate) fn end(self, error: Option<&RpcError>) {
        let Some(UnderWay { telemetry, mut operation, tracing, began }) = self.0 else { return };
        if let Some(error) = error {
            operation = operation.failed(Some(error.code));
        }
        if let Some(span) = &tracing.span {
            span.end(error.map(|_| &operation.error));
        }
        telemetry.metrics.served(&operation, began.elapsed(), None);
    }
}
