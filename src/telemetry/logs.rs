//! Lines of the log on their way to a collector: what standard error shows, with its fields, and the trace where a line names one.

use super::{Telemetry, queue::Queue};
use opentelemetry::{
    InstrumentationScope, SpanId, TraceFlags, TraceId,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider},
};
use std::{fmt, sync::Arc, time::Duration};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// The longest text of a field that goes out, in bytes.
const LONGEST: usize = 4_096;

/// A line, and whose it is.
pub(super) type Entry = Box<(SdkLogRecord, InstrumentationScope)>;

/// Takes lines, where there is a collector for them.
pub(super) struct Logs {
    logger: SdkLogger,
    /// Ends its processor with it.
    _provider: SdkLoggerProvider,
}

impl Logs {
    pub(super) fn new(queue: Arc<Queue<Entry>>, scope: InstrumentationScope) -> Self {
        let provider = SdkLoggerProvider::builder().with_log_processor(Gather(queue)).build();
        Self { logger: provider.logger_with_scope(scope), _provider: provider }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

#[derive(Debug)]
struct Gather(Arc<Queue<Entry>>);

impl LogProcessor for Gather {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.put(std::iter::once(Box::new((record.clone(), scope.clone()))));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The layer of a subscriber that hands lines over; before a collector is named it does nothing.
#[derive(Debug)]
pub struct LogLayer(pub Arc<Telemetry>);

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(logs) = self.0.logs() else { return };
        let mut record = logs.logger.create_log_record();
        let (severity, word) = match *event.metadata().level() {
            Level::ERROR => (Severity::Error, "ERROR"),
            Level::WARN => (Severity::Warn, "WARN"),
            Level::INFO => (Severity::Info, "INFO"),
            Level::DEBUG => (Severity::Debug, "DEBUG"),
            Level::TRACE => (Severity::Trace, "TRACE"),
        };
        record.set_severity_number(severity);
        record.set_severity_text(word);
        record.set_target(event.metadata().target());
        let mut fields = Fields { record: &mut record, trace: None, span: None };
        event.record(&mut fields);
        let Fields { trace, span, .. } = fields;
        if let Some(trace) = trace {
            record.set_trace_context(
                trace,
                span.unwrap_or(SpanId::INVALID),
                span.map(|_| TraceFlags::SAMPLED),
            );
        }
        logs.logger.emit(record);
    }
}

struct Fields<'r> {
    record: &'r mut SdkLogRecord,
    trace: Option<TraceId>,
    span: Option<SpanId>,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<AnyValue>) {
        match field.name() {
            "message" => self.record.set_body(value.into()),
            name => self.record.add_attribute(name, value),
        }
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "trace.id" => self.trace = TraceId::from_hex(text).ok(),
            "span.id" => self.span = SpanId::from_hex(text).ok(),
            _ => {
                let mut end = text.len().min(LONGEST);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                self.put(field, text.get(..end).unwrap_or_default().to_owned());
            }
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format!("{value:?}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, i64::try_from(value).unwrap_or(i64::MAX));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}
