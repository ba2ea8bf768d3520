//! A call as its client sees it: what metrics and spans have of it.

use super::{
    Gateway,
    api::{CallReply, IncomingCall},
    request::{Request, method_of, own_session},
};
use crate::{
    model::{CallKind, TraceId},
    telemetry::{Attribute, CallSpan, Incoming, Label, Operation, Telemetry, Tracing, Wire},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The longest text that a client chose and a span has, in characters.
const LONGEST: usize = 128;

/// A call under way.
pub(super) struct Served {
    operation: Operation,
    kind: CallKind,
    /// When it came, on the clock that never goes back.
    pub(super) began: Duration,
    /// The trace that it continues, or one of its own.
    pub(super) trace: TraceId,
    /// It is the caller's own.
    pub(super) traced: bool,
    pub(super) tracing: Tracing,
}

impl Gateway {
    /// A call arrives.
    pub(super) fn serve(&self, call: &mut IncomingCall) -> Served {
        let inner = &self.0;
        let method = method_of(call.kind, &call.purpose);
        let incoming = Incoming::take(&mut call.meta, &call.wire);
        let trace = incoming.parent.map_or_else(|| inner.ids.trace_id(), |parent| parent.trace);
        let state = call.meta.get("tracestate").and_then(Value::as_str).filter(|_| incoming.parent.is_some());
        let tracing = inner.telemetry.arrive(
            (method, call.wire.transport),
            &incoming,
            (trace, state),
            inner.clock.now(),
            || inner.ids.random(),
        );
        if tracing.span.is_some() {
            self.introduce(call, &tracing);
        }
        Served {
            operation: Operation::of(method, call.wire.transport),
            kind: call.kind,
            began: inner.clock.monotonic(),
            trace,
            traced: incoming.parent.is_some(),
            tracing,
        }
    }

    /// A request arrives that is no call: its span, where there is a collector.
    pub fn arrive(&self, method: &'static str, meta: Option<&Value>, wire: &Wire) -> Tracing {
        let inner = &self.0;
        if !inner.telemetry.traces() {
            return Tracing::default();
        }
        let mut meta = meta.and_then(Value::as_object).cloned().unwrap_or_default();
        let incoming = Incoming::take(&mut meta, wire);
        let trace = incoming.parent.map_or_else(|| inner.ids.trace_id(), |parent| parent.trace);
        let state = meta.get("tracestate").and_then(Value::as_str).filter(|_| incoming.parent.is_some());
        let (now, random) = (inner.clock.now(), || inner.ids.random());
        let tracing =
            inner.telemetry.arrive((method, wire.transport), &incoming, (trace, state), now, random);
        if let Some(span) = &tracing.span {
            self.say_wire(span, wire);
        }
        tracing
    }

    fn say_wire(&self, span: &CallSpan, wire: &Wire) {
        if let Some(version) = wire.version {
            span.say("mcp.protocol.version", version);
        }
        if let Some(id) = &wire.request_id {
            // It is the client's to choose: masked before it is cut, like a name that nobody knows.
            let in_force = self.0.current.peek();
            let masked = in_force.policies.data.redact_text(id);
            let text: Arc<str> = masked.chars().take(LONGEST).collect::<String>().into();
            span.say("jsonrpc.request.id", Attribute::from(text));
        }
    }

    /// Who calls, and how.
    fn introduce(&self, call: &IncomingCall, tracing: &Tracing) {
        let Some(span) = &tracing.span else { return };
        if let Some(agent) = call.principal.agent() {
            span.say("tollgate.agent.id", agent.shared());
        }
        if let Some(session) = own_session(&call.session, &call.principal, call.client.era()) {
            span.say("mcp.session.id", session);
        }
        self.say_wire(span, &call.wire);
    }
}

impl Served {
    /// What has become known on the way. A name that nobody lists is no label: an agent could make up any number.
    pub(super) fn knows(&mut self, request: &Request) {
        self.trace = request.trace_id;
        if let Some(span) = &self.tracing.span {
            span.say("tollgate.call.id", request.call_id.shared());
        }
        let Some(listed) = request.listed.clone() else { return };
        match self.kind {
            CallKind::Tool => self.operation.tool = Label::from(listed.clone()),
            CallKind::Prompt => self.operation.prompt = Label::from(listed.clone()),
            // A URI is an argument, and any number of them are one resource.
            CallKind::Resource => return,
        }
        if let Some(span) = &self.tracing.span {
            span.aims_at(listed);
        }
    }

    /// It was answered.
    pub(super) fn end(self, telemetry: &Telemetry, now: Duration, reply: &CallReply) {
        let Self { mut operation, began, trace, tracing, .. } = self;
        if let Some(code) = failure(reply) {
            operation = operation.failed(code);
        }
        if let Some(span) = &tracing.span {
            span.end(Some(&operation.error).filter(|error| !error.as_str().is_empty()));
        }
        telemetry.metrics.served(&operation, now.saturating_sub(began), Some(trace));
    }
}

/// How a reply says that it failed: by the code of an error, or as a tool does.
fn failure(reply: &CallReply) -> Option<Option<i64>> {
    match reply {
        Err(error) => Some(Some(error.code)),
        Ok(result) => (result.get("isError").and_then(Value::as_bool) == Some(true)).then_some(None),
    }
}
