//! The way to a collector: which signals go where is what OpenTelemetry's variables say, and `[otel] endpoint` where they say
//! nothing. The exporters are OpenTelemetry's own.

use super::{
    Telemetry,
    logs::Logs,
    queue::{Queue, Terms, Trouble},
    sdk_metrics,
    trace::Tracer,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    logs::{LogBatch, LogExporter as _},
    metrics::SdkMeterProvider,
    trace::{Sampler, SpanExporter as _},
};
use parking_lot::Mutex;
use std::{fmt, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Sends one HTTP request to a collector.
pub type Send = Arc<
    dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, Result<http::Response<Bytes>, String>>
        + std::marker::Send
        + Sync,
>;

/// What the start of OTLP needs of outside.
pub struct Outside<'o> {
    /// `[otel] endpoint`.
    pub endpoint: Option<&'o str>,
    /// `deployment.environment.name`.
    pub environment: &'o str,
    /// `service.instance.id`.
    pub instance: String,
    /// The environment.
    pub env: &'o dyn Fn(&str) -> Option<String>,
    /// For OTLP over HTTP.
    pub send: Send,
}

/// The spec's own defaults.
const SPANS: Terms = Terms { most: 2_048, batch: 512, delay: Duration::from_secs(5) };
const LINES: Terms = Terms { most: 2_048, batch: 512, delay: Duration::from_secs(1) };

/// How a signal goes out.
enum Way {
    Http(Option<String>),
    Grpc { endpoint: Option<String>, tls: bool },
}

/// What runs for a collector.
pub(super) struct Running {
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    meters: Option<SdkMeterProvider>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

struct Client(Send);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        (self.0)(request).await.map_err(Into::into)
    }
}

impl Outside<'_> {
    fn said(&self, name: &str) -> Option<String> {
        (self.env)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.said(name)?.parse().ok()
    }

    /// How a signal goes out; none where it does not.
    fn way(&self, signal: &str) -> Result<Option<Way>, String> {
        let of_signal = |what: &str| self.said(&format!("OTEL_EXPORTER_OTLP_{signal}_{what}"));
        let either =
            |what: &str| of_signal(what).or_else(|| self.said(&format!("OTEL_EXPORTER_OTLP_{what}")));
        if self.said("OTEL_SDK_DISABLED").is_some_and(|said| said.eq_ignore_ascii_case("true"))
            || self.said(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|said| said == "none")
        {
            return Ok(None);
        }
        let named = either("ENDPOINT");
        let Some(endpoint) = named.as_deref().or(self.endpoint) else { return Ok(None) };
        // What the environment names the exporter reads itself.
        let own = named.is_none();
        match either("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => {
                let path = format!("{endpoint}/v1/{}", signal.to_ascii_lowercase());
                Ok(Some(Way::Http(own.then_some(path))))
            }
            Some("grpc") => {
                let tls = endpoint.starts_with("https:");
                Ok(Some(Way::Grpc { endpoint: own.then(|| endpoint.to_owned()), tls }))
            }
            Some(other) => Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is `{}`: expected `grpc` or `http/protobuf`",
                crate::redaction::display_text(other, 40)
            )),
        }
    }

    fn client(&self) -> Client {
        Client(self.send.clone())
    }

    /// Who says it.
    fn resource(&self) -> Resource {
        let named = self.said("OTEL_SERVICE_NAME").is_some()
            || self.said("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|said| said.contains("service.name="));
        let builder = Resource::builder().with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", self.instance.clone()),
            KeyValue::new("deployment.environment.name", self.environment.to_owned()),
        ]);
        if named { builder.build() } else { builder.with_service_name("tollgate").build() }
    }

    fn sampler(&self) -> Result<Sampler, String> {
        let ratio = || match self.said("OTEL_TRACES_SAMPLER_ARG") {
            None => Ok(1.0),
            Some(text) => text
                .parse::<f64>()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .ok_or("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1".to_owned()),
        };
        let below = |root: Sampler| Sampler::ParentBased(Box::new(root));
        Ok(match self.said("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("parentbased_always_on") => below(Sampler::AlwaysOn),
            Some("parentbased_always_off") => below(Sampler::AlwaysOff),
            Some("parentbased_traceidratio") => below(Sampler::TraceIdRatioBased(ratio()?)),
            Some("always_on") => Sampler::AlwaysOn,
            Some("always_off") => Sampler::AlwaysOff,
            Some("traceidratio") => Sampler::TraceIdRatioBased(ratio()?),
            Some(_) => {
                return Err("OTEL_TRACES_SAMPLER: expected always_on, always_off, traceidratio, \
                            parentbased_always_on, parentbased_always_off or parentbased_traceidratio"
                    .to_owned());
            }
        })
    }

    /// A queue's terms, as `OTEL_BSP_…` or `OTEL_BLRP_…` says.
    fn terms(&self, which: &str, usual: Terms) -> Terms {
        let size = |name: &str, usual: usize| {
            let said = self.number(&format!("OTEL_{which}_{name}")).and_then(|n| usize::try_from(n).ok());
            said.filter(|n| (1..=1 << 20).contains(n)).unwrap_or(usual)
        };
        let most = size("MAX_QUEUE_SIZE", usual.most);
        let delay =
            self.number(&format!("OTEL_{which}_SCHEDULE_DELAY")).map_or(usual.delay, Duration::from_millis);
        Terms { most, batch: size("MAX_EXPORT_BATCH_SIZE", usual.batch).min(most), delay }
    }
}

fn wrong(error: impl fmt::Display) -> String {
    format!("OTLP cannot start: {error}")
}

/// Makes an exporter of either kind.
macro_rules! exporter {
    ($kind:ident, $way:expr, $outside:expr) => {
        match $way {
            Way::Http(endpoint) => {
                let builder = $kind::builder().with_http().with_http_client($outside.client());
                match endpoint {
                    Some(endpoint) => builder.with_endpoint(endpoint),
                    None => builder,
                }
                .build()
            }
            Way::Grpc { endpoint, tls } => {
                let mut builder = $kind::builder().with_tonic();
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if tls {
                    builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
                }
                builder.build()
            }
        }
        .map_err(wrong)
    };
}

impl Telemetry {
    /// Begins to send to a collector, where one is named. Must be called inside a tokio runtime. The error says what of the
    /// environment is wrong.
    pub fn start(self: &Arc<Self>, outside: &Outside<'_>) -> Result<bool, String> {
        let (traces, metrics, lines) =
            (outside.way("TRACES")?, outside.way("METRICS")?, outside.way("LOGS")?);
        if traces.is_none() && metrics.is_none() && lines.is_none() {
            return Ok(false);
        }
        let (resource, trouble) = (outside.resource(), Arc::new(Trouble::default()));
        let scope = InstrumentationScope::builder("tollgate").with_version(env!("CARGO_PKG_VERSION")).build();
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        if let Some(way) = traces {
            let mut exporter = exporter!(SpanExporter, way, outside)?;
            exporter.set_resource(&resource);
            let spans = Arc::new(Queue::new("spans", outside.terms("BSP", SPANS), &self.metrics, &trouble));
            self.trace_with(Tracer::new(outside.sampler()?, spans.clone(), scope.clone()));
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move { spans.run(stop, |batch| exporter.export(batch)).await }));
        }
        if let Some(way) = lines {
            let mut exporter = exporter!(LogExporter, way, outside)?;
            exporter.set_resource(&resource);
            let queue = Arc::new(Queue::new("logs", outside.terms("BLRP", LINES), &self.metrics, &trouble));
            self.log_with(Logs::new(queue.clone(), scope));
            let (stop, exporter) = (stop.clone(), Arc::new(exporter));
            let send = move |batch: Vec<super::logs::Entry>| {
                let exporter = exporter.clone();
                async move {
                    let lines: Vec<_> = batch.iter().map(|line| (&line.0, &line.1)).collect();
                    exporter.export(LogBatch::new(&lines)).await
                }
            };
            tasks.push(tokio::spawn(async move { queue.run(stop, send).await }));
        }
        let meters = match metrics {
            Some(way) => {
                let exporter = exporter!(MetricExporter, way, outside)?;
                Some(sdk_metrics::start(self, exporter, resource, trouble))
            }
            None => None,
        };
        self.runs(Running { stop, tasks: Mutex::new(tasks), meters });
        Ok(true)
    }

    /// Sends what waits, as long as `patience` allows, and sends nothing more.
    pub async fn stop(&self, patience: Duration) {
        let Some(running) = self.running() else { return };
        running.stop.cancel();
        let tasks = std::mem::take(&mut *running.tasks.lock());
        let meters = running.meters.clone();
        let rest = async {
            let last = meters.map(|meters| {
                tokio::task::spawn_blocking(move || meters.shutdown_with_timeout(patience).ok())
            });
            for task in tasks {
                task.await.ok();
            }
            if let Some(last) = last {
                last.await.ok();
            }
        };
        if tokio::time::timeout(patience, rest).await.is_err() {
            tracing::warn!("otlp.not_flushed: the collector did not take what was left in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vars: &[(&str, &str)], endpoint: Option<&str>, expect: &str) {
        let env =
            |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let send: Send = Arc::new(|_| Box::pin(std::future::ready(Err("nobody".to_owned()))));
        let outside = Outside { endpoint, environment: "test", instance: "1".to_owned(), env: &env, send };
        let told = ["TRACES", "METRICS"].map(|signal| match outside.way(signal) {
            Ok(None) => "off".to_owned(),
            Ok(Some(Way::Http(endpoint))) => format!("http {endpoint:?}"),
            Ok(Some(Way::Grpc { endpoint, tls })) => format!("grpc {endpoint:?} {tls}"),
            Err(error) => error,
        });
        assert_eq!(told.join("; "), expect, "{vars:?} {endpoint:?}");
    }

    #[test]
    fn where_a_signal_goes_is_what_the_variables_say() {
        let own = Some("http://c:4318");
        check(&[], None, "off; off");
        check(&[], own, "http Some(\"http://c:4318/v1/traces\"); http Some(\"http://c:4318/v1/metrics\")");
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e")], own, "http None; http None");
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None, "off; off");
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://e/v1/traces")], None, "http None; off");
        check(&[("OTEL_TRACES_EXPORTER", "none")], own, "off; http Some(\"http://c:4318/v1/metrics\")");
        check(&[("OTEL_SDK_DISABLED", "true")], own, "off; off");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        check(&[grpc], Some("https://c"), "grpc Some(\"https://c\") true; grpc Some(\"https://c\") true");
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        check(
            &[grpc, of_traces],
            own,
            "http Some(\"http://c:4318/v1/traces\"); grpc Some(\"http://c:4318\") false",
        );
        let wrong = "OTEL_EXPORTER_OTLP_PROTOCOL is `http/json`: expected `grpc` or `http/protobuf`";
        check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], own, &format!("{wrong}; {wrong}"));
    }

    #[test]
    fn the_sampler_is_what_the_variables_say() {
        let check = |vars: &[(&str, &str)], expect: Option<&str>| {
            let env = |name: &str| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let send: Send = Arc::new(|_| Box::pin(std::future::ready(Err("nobody".to_owned()))));
            let outside =
                Outside { endpoint: None, environment: "", instance: String::new(), env: &env, send };
            assert_eq!(
                outside.sampler().ok().map(|sampler| format!("{sampler:?}")).as_deref(),
                expect,
                "{vars:?}"
            );
        };
        check(&[], Some("ParentBased(AlwaysOn)"));
        check(&[("OTEL_TRACES_SAMPLER", "always_off")], Some("AlwaysOff"));
        let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        check(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")], Some("ParentBased(TraceIdRatioBased(0.25))"));
        check(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "2")], None);
        check(&[("OTEL_TRACES_SAMPLER", "jaeger")], None);
    }
}
