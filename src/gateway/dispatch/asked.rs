//! A request to an upstream as metrics and its CLIENT span have it.

use crate::gateway::InForce;
use crate::{
    config::UpstreamTransport,
    model::{TraceId, UpstreamName},
    telemetry::{
        Attribute, Below, Child, ChildKind, Label, Operation, Telemetry, Tracing, Transport, span_name,
        target_attributes,
    },
};
use std::{sync::Arc, time::Duration};

/// A request under way.
pub(crate) struct Asked<'t> {
    tracing: &'t Tracing,
    child: Option<Child>,
    operation: Operation,
    upstream: Label,
    /// Where it listens, over HTTP.
    server: Option<(Arc<str>, i64)>,
}

/// What is known of it once it has ended.
pub(crate) struct Answer<'a> {
    /// How it failed, where it did: by the code of an error, or as a tool does.
    pub(crate) failure: Option<Option<i64>>,
    /// The upstream's own name of its target, where there is a span.
    pub(crate) name: Option<Arc<str>>,
    /// That is a part of the span's name.
    pub(crate) is_named: bool,
    /// Under which id it was sent, in which version.
    pub(crate) sent_as: Option<&'a (u64, Arc<str>)>,
    pub(crate) took: Duration,
    pub(crate) trace: TraceId,
}

impl<'t> Asked<'t> {
    /// It begins.
    pub(crate) fn begin(
        tracing: &'t Tracing,
        operation: Operation,
        upstream: &UpstreamName,
        in_force: &InForce,
    ) -> Self {
        let child = tracing.child();
        let server = child.and_then(|_| address_of(in_force, upstream));
        Self { tracing, child, operation, upstream: Label::from(upstream.shared()), server }
    }

    /// The span below which the upstream's work stands.
    pub(crate) fn below(&self) -> Below {
        self.tracing.below(self.child)
    }

    /// It was answered, or nobody waits any more.
    pub(crate) fn end(self, telemetry: &Telemetry, answer: Answer<'_>) {
        let Self { tracing, child, mut operation, upstream, server } = self;
        let Answer { failure, name, is_named, sent_as, took, trace } = answer;
        if let Some(code) = failure {
            operation = operation.failed(code);
        }
        if let (Some(span), Some(child)) = (&tracing.span, child) {
            let title = span_name(operation.method, name.as_deref().filter(|_| is_named));
            let mut told = target_attributes(operation.method, name, operation.transport);
            told.push(("mcp.method.name", Attribute::from(operation.method)));
            told.push(("tollgate.upstream", Attribute::from(&upstream)));
            if let Some((address, port)) = server {
                told.push(("server.address", Attribute::from(address)));
                told.push(("server.port", Attribute::Number(port)));
            }
            if let Some((id, version)) = sent_as {
                told.push(("jsonrpc.request.id", Attribute::Text(id.to_string().into())));
                told.push(("mcp.protocol.version", Attribute::from(version.clone())));
            }
            let error = Some(operation.error.clone()).filter(|error| !error.as_str().is_empty());
            span.end_child(child, ChildKind::Client, title, told, error);
        }
        telemetry.metrics.asked(&operation, upstream, took, Some(trace));
    }
}

/// Over what an upstream is reached.
pub(crate) fn transport_of(in_force: &InForce, upstream: &UpstreamName) -> Transport {
    match in_force.config.upstreams.get(upstream).map(|settings| &settings.transport) {
        Some(UpstreamTransport::Stdio { .. }) => Transport::Pipe,
        Some(UpstreamTransport::Http { .. }) | None => Transport::Tcp,
    }
}

fn address_of(in_force: &InForce, upstream: &UpstreamName) -> Option<(Arc<str>, i64)> {
    match &in_force.config.upstreams.get(upstream)?.transport {
        UpstreamTransport::Stdio { .. } => None,
        UpstreamTransport::Http { url, .. } => {
            Some((url.host_str()?.into(), i64::from(url.port_or_known_default()?)))
        }
    }
}
