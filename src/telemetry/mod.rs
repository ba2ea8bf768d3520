//! What this process says of itself: counters and histograms for `/metrics`, spans of calls, and the way of all of it and of the
//! log to an OTLP collector. The crates of OpenTelemetry appear here and nowhere else.
//!
//! Nothing here holds a call up: a count is an atomic, a span is put into a bounded queue, and what a collector does not take is
//! dropped and counted.

mod exposition;
mod families;
mod logs;
mod meter;
mod otlp;
mod queue;
mod sdk_metrics;
mod trace;
mod wire;

pub use exposition::{Exposition, OPEN_METRICS, PLAIN};
pub use families::{Gauge, Gauges, Metrics, Operation, Standing, Transport};
pub use logs::LogLayer;
pub use meter::{About, Exemplar, Kind, Label, Labels, Reading, Told};
pub use otlp::{Outside, Send};
pub use trace::{
    Attribute, Below, CallSpan, Child, ChildKind, Incoming, Parent, SpanId, Tracing, span_name,
    target_attributes,
};
pub use wire::Wire;

use jiff::Timestamp;
use logs::Logs;
use otlp::Running;
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;
use trace::Tracer;

/// One for a process.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What stands at a moment, as it was last looked at.
    pub gauges: Gauges,
    tracer: OnceLock<Arc<Tracer>>,
    logs: OnceLock<Logs>,
    running: OnceLock<Running>,
}

impl Telemetry {
    /// What is measured, as an exposition.
    pub fn render(&self, form: Exposition, now: Timestamp) -> String {
        exposition::render(form, &self.told(), (now, Instant::now()))
    }

    /// What is measured.
    fn told(&self) -> Vec<Told> {
        let mut told = self.metrics.told();
        told.extend(self.gauges.told());
        told
    }

    /// Whether anything goes to a collector.
    pub fn exports(&self) -> bool {
        self.running.get().is_some()
    }

    /// Whether spans are made.
    pub fn traces(&self) -> bool {
        self.tracer.get().is_some()
    }

    fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.get()
    }

    fn trace_with(&self, tracer: Tracer) {
        self.tracer.get_or_init(|| Arc::new(tracer));
    }

    fn logs(&self) -> Option<&Logs> {
        self.logs.get()
    }

    fn log_with(&self, logs: Logs) {
        self.logs.get_or_init(|| logs);
    }

    fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    fn runs(&self, running: Running) {
        self.running.get_or_init(|| running);
    }
}

/// Which side of a session this process is.
#[derive(Clone, Debug)]
enum Side {
    Server { version: &'static str },
    Client { upstream: Label, version: Label, failed: bool },
}

/// Measures a session from its making to its drop.
#[derive(Debug)]
pub struct Session {
    telemetry: Arc<Telemetry>,
    transport: Transport,
    side: Side,
    began: Instant,
}

/// `error.type` of a session at an upstream that ended before it was asked to.
const LOST: &str = "connection_lost";

impl Session {
    /// A client's session here.
    pub fn of_client(telemetry: Arc<Telemetry>, transport: Transport, version: &'static str) -> Self {
        Self { telemetry, transport, side: Side::Server { version }, began: Instant::now() }
    }

    /// A session of ours at an upstream.
    pub fn at_upstream(
        telemetry: Arc<Telemetry>,
        transport: Transport,
        (upstream, version): (Label, Label),
    ) -> Self {
        let side = Side::Client { upstream, version, failed: false };
        Self { telemetry, transport, side, began: Instant::now() }
    }

    /// Another one like it, from now on.
    #[must_use]
    pub fn next(&self) -> Self {
        let (telemetry, side) = (self.telemetry.clone(), self.side.clone());
        Self { telemetry, transport: self.transport, side, began: Instant::now() }
    }

    /// It ends before anybody asked it to.
    pub fn lost(mut self) {
        if let Side::Client { failed, .. } = &mut self.side {
            *failed = true;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (metrics, lasted) = (&self.telemetry.metrics, self.began.elapsed());
        let transport = Label::from(self.transport.as_str());
        match &self.side {
            Side::Server { version } => {
                metrics.server_session.observe([transport, Label::from(*version)], lasted, None);
            }
            Side::Client { upstream, version, failed } => {
                let error = if *failed { Label::from(LOST) } else { Label::NONE };
                let labels = [transport, upstream.clone(), version.clone(), error];
                metrics.client_session.observe(labels, lasted, None);
            }
        }
    }
}
