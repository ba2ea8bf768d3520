//! Metrics on their way to a collector: counters and gauges are read where they are counted, durations are taken in twice, for
//! histograms of others cannot be handed to OpenTelemetry's SDK.

use super::{
    Telemetry,
    meter::{About, Kind, Reading, Told},
    queue::Trouble,
};
use opentelemetry::{KeyValue, metrics::MeterProvider as _};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        PeriodicReader, SdkMeterProvider, Temporality, data::ResourceMetrics, exporter::PushMetricExporter,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

/// Exports on a thread of the SDK's, which has no runtime of its own.
struct InRuntime {
    exporter: MetricExporter,
    runtime: Handle,
    trouble: Arc<Trouble>,
}

impl PushMetricExporter for InRuntime {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = TokioContext::new(self.exporter.export(metrics), self.runtime.clone()).await;
        exported.inspect_err(|error| self.trouble.say("metrics", &error.to_string()))
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// Begins to export; the interval is `OTEL_METRIC_EXPORT_INTERVAL`'s.
pub(super) fn start(
    telemetry: &Arc<Telemetry>,
    exporter: MetricExporter,
    resource: Resource,
    trouble: Arc<Trouble>,
) -> SdkMeterProvider {
    let exporter = InRuntime { exporter, runtime: Handle::current(), trouble };
    let reader = PeriodicReader::builder(exporter).build();
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
    let meter = provider.meter("tollgate");
    telemetry.metrics.export_to(&meter);
    for Told { about, .. } in telemetry.told() {
        // It ends with the process: what it reads ends later.
        let telemetry = telemetry.clone();
        let read = move |observe: &dyn Fn(f64, &[KeyValue])| {
            let told = telemetry.told().into_iter().find(|told| told.about.name == about.name);
            for (labels, reading) in told.into_iter().flat_map(|told| told.cells) {
                let Reading::Number(number) = reading else { continue };
                let labels: Vec<KeyValue> = labels
                    .into_iter()
                    .map(|(key, label)| KeyValue::new(key, label.as_str().to_owned()))
                    .collect();
                observe(number, &labels);
            }
        };
        let About { name, help, unit, kind, .. } = about;
        match kind {
            Kind::Counter => {
                let counter = meter.f64_observable_counter(name).with_description(help).with_unit(unit);
                counter.with_callback(move |to| read(&|number, labels| to.observe(number, labels))).build();
            }
            Kind::Gauge => {
                let gauge = meter.f64_observable_gauge(name).with_description(help).with_unit(unit);
                gauge.with_callback(move |to| read(&|number, labels| to.observe(number, labels))).build();
            }
            Kind::Histogram => {}
        }
    }
    provider
}
