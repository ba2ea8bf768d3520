//! Requests that are no calls, as metrics have them. A call is measured by the gateway, which knows whether its tool is one.

use crate::{
    model::RpcError,
    telemetry::{Operation, Telemetry, Transport},
};
use std::sync::Arc;
use tokio::time::Instant;

/// A request under way, where it is measured here.
pub(crate) struct Measured(Option<(Arc<Telemetry>, Operation, Instant)>);

impl Measured {
    /// One of this name begins; none: the gateway measures it.
    pub(crate) fn begin(
        telemetry: &Arc<Telemetry>,
        name: Option<&'static str>,
        transport: Transport,
    ) -> Self {
        Self(name.map(|name| (Arc::clone(telemetry), Operation::of(name, transport), Instant::now())))
    }

    /// It was answered.
    pub(crate) fn end(self, error: Option<&RpcError>) {
        let Some((telemetry, mut operation, began)) = self.0 else { return };
        if let Some(error) = error {
            operation = operation.failed(Some(error.code));
        }
        telemetry.metrics.served(&operation, began.elapsed(), None);
    }
}
