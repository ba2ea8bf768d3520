//! Every place where the composition root takes hold of another room, so that a change of its signature is met here.

use super::{args::ExportFormat, environment::Environment, failure::CliError, known};
use crate::{
    activation::{self, Recorded, Standing},
    audit,
    clock::{IdSource as _, System},
    config,
    config::{Bundle, Config, Listings},
    connections::Connections,
    evidence, front,
    front::tls::Tls,
    gateway::{CheckedFiles, Gateway, GatewayParts, ReloadError, StartError},
    identity::{AgentPrincipal, Principal},
    model::{Event, EventDraft, Problems, SnapshotId},
    outbound::{Outbound, Reply},
    policy::{PolicySet, SourceFile, ToolFacts},
    replay::{Advice, DriftReport, Scorecard, SpendReport},
    store::{EventQuery, KeptKind, Store},
    telemetry,
    telemetry::Telemetry,
    upstream::{UpstreamDeps, UpstreamSet, supervise},
};
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::Full;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use super::stores::*;
pub(crate) use config::Loaded;

/// Reads servers.toml and the bundle.
pub(crate) fn load(path: &Path) -> Result<Loaded, Problems> {
    load_knowing(path, &known::remembered)
}

/// The same, with what upstreams are known to list.
pub(crate) fn load_knowing(path: &Path, listings: &dyn Fn(&Config) -> Listings) -> Result<Loaded, Problems> {
    let environment = Environment::of(path)?;
    config::load_knowing(path, &|name| environment.get(name), listings)
}

/// The same with the bundle of a folder that servers.toml does not name.
pub(crate) fn load_folder(path: &Path, folder: &Path) -> Result<Loaded, Problems> {
    load_bundle(path, &known::remembered, Bundle::Folder(folder))
}

/// The same with a bundle that the store keeps.
pub(crate) fn load_kept(
    path: &Path,
    listings: &dyn Fn(&Config) -> Listings,
    snapshot: &SnapshotId,
    files: &[SourceFile],
) -> Result<Loaded, Problems> {
    load_bundle(path, listings, Bundle::Files { name: &format!("snapshot {snapshot}"), files })
}

fn load_bundle(
    path: &Path,
    listings: &dyn Fn(&Config) -> Listings,
    bundle: Bundle<'_>,
) -> Result<Loaded, Problems> {
    let environment = Environment::of(path)?;
    config::load_bundle(path, &|name| environment.get(name), listings, bundle)
}

/// What is ordered to be in force, by the store that a servers.toml names, which need not be open.
pub(crate) fn standing(path: &Path) -> Result<Standing, CliError> {
    match store_place(path) {
        Some((store, data_dir)) => Ok(activation::standing_at_rest(brought(&store, &data_dir)?)?),
        None => Ok(Standing::default()),
    }
}

/// The bundle that came into force last, by the record of the store that a servers.toml names.
pub(crate) fn recorded(path: &Path) -> Result<Option<Recorded>, CliError> {
    match store_place(path) {
        Some((store, data_dir)) => Ok(activation::recorded_at_rest(brought(&store, &data_dir)?)?),
        None => Ok(None),
    }
}

/// The tools that are known beside those of the record; none where servers.toml cannot be read.
pub(crate) fn listed_tools(path: &Path) -> BTreeMap<Arc<str>, ToolFacts> {
    load(path).map(|loaded| known::tools(&loaded.config)).unwrap_or_default()
}

/// The bundle of a snapshot as it is kept.
pub(crate) async fn kept_bundle(
    store: &dyn Store,
    snapshot: &SnapshotId,
) -> Result<Option<PolicySet>, CliError> {
    Ok(audit::kept_bundle(store, snapshot).await?)
}

/// Decides recorded decisions under other bundles.
pub(crate) async fn simulate(
    store: &dyn Store,
    query: EventQuery,
    compare: audit::Compare,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<audit::SimulatedTraffic, CliError> {
    let (pace, stop) = (audit::Pace::Whole, audit::Stop::default());
    Ok(audit::simulate_recorded(store, query, compare, pace, &stop, progress).await?)
}

/// What recorded traffic advises.
pub(crate) async fn advice(
    store: &dyn Store,
    since: Timestamp,
    now: Timestamp,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Advice, CliError> {
    Ok(audit::advice_on_recorded(store, since, now, progress).await?)
}

/// The figures of a time.
pub(crate) async fn scorecard(
    store: &dyn Store,
    span: (Timestamp, Timestamp),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Scorecard, CliError> {
    let pace = (audit::Pace::Whole, &audit::Stop::default());
    Ok(audit::scorecard(store, span, pace, progress).await?)
}

/// What a time was like.
pub(crate) async fn digest(
    store: &dyn Store,
    span: (Timestamp, Timestamp),
    (config, policies): (&Config, &PolicySet),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<audit::Digest, CliError> {
    let files = audit::DigestFiles { config, policies, tests: audit::test_files(&config.gateway.policies) };
    let (pace, stop) = (audit::Pace::Whole, audit::Stop::default());
    Ok(audit::digest(store, span, files, (pace, &stop), progress).await?)
}

/// How agents differ from their own past.
pub(crate) async fn drift(
    store: &dyn Store,
    span: (Timestamp, Timestamp),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<DriftReport, CliError> {
    let pace = (audit::Pace::Whole, &audit::Stop::default());
    Ok(audit::drift_on_record(store, span, pace, progress).await?)
}

/// What was spent.
pub(crate) async fn spend(
    store: &dyn Store,
    (since, until): (Timestamp, Timestamp),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<SpendReport, CliError> {
    let pace = (audit::Pace::Whole, &audit::Stop::default());
    Ok(audit::spend_on_record(store, (since, until), pace, progress).await?)
}

/// Decides recorded decisions again.
pub(crate) async fn replay(
    store: &dyn Store,
    query: EventQuery,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<audit::ReplayReport, CliError> {
    Ok(audit::replay_recorded(store, query, progress).await?)
}

/// The tools that a recorded decision names, as they are kept.
pub(crate) async fn kept_tools(
    store: &dyn Store,
    event: &EventDraft,
) -> Result<BTreeMap<String, ToolFacts>, CliError> {
    let mut tools = BTreeMap::new();
    for hash in evidence::tools_named(event) {
        let kept = store.kept(KeptKind::Tool, hash.to_owned()).await?;
        let tool = kept.and_then(|kept| evidence::ResolvedTool::read(&kept.body));
        tools.extend(tool.map(|tool| (hash.to_owned(), tool)));
    }
    Ok(tools)
}

/// Problems for people, each with its line.
pub(crate) fn render(problems: &Problems) -> String {
    config::render(problems, &|name| std::fs::read_to_string(name).ok())
}

/// Those alone that forbid using the files.
pub(crate) fn render_errors(problems: &Problems) -> String {
    config::render_errors(problems, &|name| std::fs::read_to_string(name).ok())
}

/// Makes `data_dir`, mode 0700.
pub(crate) fn ensure_data_dir(config: &Config) -> Result<(), CliError> {
    config::ensure_data_dir(config).map_err(CliError::Told)
}

/// The upstreams of a configuration, starting.
pub(crate) fn start_upstreams(
    config: &Config,
    policies: &PolicySet,
    system: &Arc<System>,
    (telemetry, connections): (&Arc<Telemetry>, Option<&Arc<Connections>>),
) -> Result<UpstreamSet, CliError> {
    // The rules that mask stderr are those the process began with: a reload changes what is decided and recorded.
    let rules = policies.data.clone();
    let redact = Arc::new(move |text: &str| rules.redact_text(text).into_owned());
    let mut deps = UpstreamDeps::new(system.clone(), system.clone(), redact)
        .map_err(|error| CliError::Told(format!("cannot find this program's own file: {error}")))?;
    deps.telemetry = telemetry.clone();
    deps.credentials = connections.map(|connections| Arc::clone(connections) as _);
    Ok(UpstreamSet::start(config.upstreams.values().cloned(), deps))
}

/// The longest answer of a collector that is read.
const COLLECTOR_ANSWER: usize = 1 << 20;
/// How long a collector may take with one batch, where OTEL_EXPORTER_OTLP_TIMEOUT does not say.
const COLLECTOR_TIME: Duration = Duration::from_secs(10);

/// Begins to send to a collector, where the environment or `[otel]` names one.
pub(crate) fn start_telemetry(
    telemetry: &Arc<Telemetry>,
    config: &Config,
    system: &System,
) -> Result<(), CliError> {
    let env = |name: &str| std::env::var(name).ok();
    let said = env("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|said| said.trim().parse().ok());
    let patience = said.map_or(COLLECTOR_TIME, Duration::from_millis);
    let outbound = Arc::new(Outbound::default());
    let send = Arc::new(move |request: http::Request<Bytes>| {
        let outbound = outbound.clone();
        async move {
            let reply = outbound.send(request.map(Full::new), COLLECTOR_ANSWER, patience).await;
            let Reply { status, headers, body } = reply.map_err(|error| error.to_string())?;
            let mut response = http::Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        }
        .boxed()
    });
    let outside = telemetry::Outside {
        endpoint: config.otel.endpoint.as_deref(),
        environment: &config.gateway.environment,
        instance: system.uuid(),
        env: &env,
        send,
    };
    telemetry.start(&outside).map(drop).map_err(CliError::Told)
}

/// Starts the upstreams and the gateway over them.
pub(crate) async fn start_gateway(
    files: CheckedFiles,
    store: Arc<dyn Store>,
    system: Arc<System>,
    telemetry: &Arc<Telemetry>,
) -> Result<Arc<Gateway>, CliError> {
    let key = store.secret("request-state", system.random()).await?;
    let seal = Arc::new(front::state::SealedState::new(&key).map_err(CliError::Told)?);
    let connections = connections_on(&store, &files.config, &system).await?;
    let held = (telemetry, Some(&connections));
    let upstreams = start_upstreams(&files.config, &files.policies, &system, held)?;
    let path = files.config.store.path.clone();
    let clock = system.clone();
    let parts = GatewayParts { files, store, upstreams, clock, ids: system, seal, connections };
    let gateway =
        Gateway::start(parts).await.map_err(|StartError::Store(error)| store_failed(&path, error))?;
    Ok(Arc::new(gateway))
}

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// The files are in force.
    Yes,
    /// They are not.
    No,
    /// Another bundle was ordered to be in force meanwhile: the files are to be read again.
    Outdated,
}

/// Puts another bundle and servers.toml in force.
pub(crate) async fn reload(gateway: &Gateway, files: CheckedFiles) -> Reloaded {
    match gateway.reload(files).await {
        Ok(()) => Reloaded::Yes,
        Err(ReloadError::Outdated) => Reloaded::Outdated,
        Err(error) => {
            tracing::error!(error = %error, "reload.failed");
            if error.is_in_force() { Reloaded::Yes } else { Reloaded::No }
        }
    }
}

/// Tells the gateway that a reload was refused.
pub(crate) async fn reload_rejected(gateway: &Gateway, problems: Problems) {
    // Lints refuse nothing, and there may be more of them than can be told.
    gateway.reload_rejected(problems.errors().to_string()).await;
}

/// Ends the gateway: calls in flight may finish within `drain`, upstreams are closed.
pub(crate) async fn shutdown(gateway: &Gateway) {
    gateway.shutdown().await;
}

/// What both listeners speak TLS with.
pub(crate) fn tls(config: &Config) -> Result<Option<Tls>, CliError> {
    config.gateway.tls.as_ref().map(front::tls::server_config).transpose().map_err(CliError::Told)
}

/// Reads the lists of revoked certificates again until it is told to stop.
pub(crate) fn follow_lists(tls: Option<&Tls>, system: &Arc<System>, stop: &CancellationToken) {
    if let Some(tls) = tls.filter(|tls| tls.has_lists()) {
        let follow = super::revoked::follow(tls.clone(), Arc::clone(system));
        drop(tokio::spawn(stop.clone().run_until_cancelled_owned(follow)));
    }
}

/// Whether listeners could use a certificate and key, and would take a client's certificate now.
pub(crate) fn check_tls(tls: &config::TlsConfig, now: jiff::Timestamp) -> Result<(), String> {
    let tls = front::tls::server_config(tls)?;
    tls.ended(now).map_or(Ok(()), Err)
}

/// Open files that are enough for the connections of both listeners and what stands behind them.
const FILES: u64 = 16 * 1024;

/// Takes as many open files as are needed, where the process may. What it may not have, the listeners do without: they
/// keep fewer connections.
pub(crate) fn take_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::warn!(error = %error, "the limit of open files could not be raised");
    }
}

/// Serves MCP until told to stop.
pub(crate) async fn serve_mcp(
    (listener, tls): (TcpListener, Option<Tls>),
    gateway: Arc<Gateway>,
    system: Arc<System>,
    core_runtimes: Arc<front::http::CoreRuntimes>,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let in_force = gateway.in_force();
    let mut options =
        front::http::HttpOptions::new(&in_force.config.gateway, system.clone(), system, stop.clone());
    if let Ok(address) = listener.local_addr() {
        options.listen = address;
    }
    let endpoint = front::http::Endpoint::new(gateway, options);
    front::http::serve_on(listener, tls, endpoint, stop, Some(&core_runtimes)).await.map_err(listener_failed)
}

/// Threads for agents' connections. They must outlive the gateway: what goes on for a client that left runs there.
pub(crate) fn core_runtimes() -> Result<Arc<front::http::CoreRuntimes>, CliError> {
    let core_runtimes = front::http::CoreRuntimes::start()
        .map_err(|source| CliError::Io { what: "cannot start the threads for agents".to_owned(), source })?;
    Ok(Arc::new(core_runtimes))
}

/// Serves the admin API until told to stop.
pub(crate) async fn serve_admin(
    (listener, tls): (TcpListener, Option<Tls>),
    gateway: Arc<Gateway>,
    system: Arc<System>,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let router = front::admin::router(Arc::new(front::admin::Desk::new(gateway, system)));
    front::http::serve(listener, tls, router, stop).await.map_err(listener_failed)
}

fn listener_failed(error: std::io::Error) -> CliError {
    CliError::Told(format!("a listener failed: {error}"))
}

/// Serves one agent over standard input and output until it ends or is told to stop.
pub(crate) async fn serve_stdio(
    gateway: Arc<Gateway>,
    system: Arc<System>,
    agent: AgentPrincipal,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let max_body = gateway.in_force().config.gateway.max_body;
    let options = front::stdio::StdioOptions {
        max_message: usize::try_from(max_body).unwrap_or(usize::MAX),
        ids: system,
        shutdown: stop,
    };
    front::stdio::run(gateway, Principal::Agent(agent), options, tokio::io::stdin(), tokio::io::stdout())
        .await
        .map_err(|error| CliError::Told(error.to_string()))
}

/// Who is connected to what, on an open store.
pub(crate) async fn connections_on(
    store: &Arc<dyn Store>,
    config: &Config,
    system: &Arc<System>,
) -> Result<Arc<Connections>, CliError> {
    let connections = Connections::new(store.clone(), system.clone(), system.clone());
    connections.configure(&Arc::new(config.clone()));
    connections.read().await?;
    Ok(connections)
}

/// The five answers about one trace or several, for people.
pub(crate) fn trace_text(events: &[Event], approvals: &audit::NamedApprovals) -> String {
    audit::render(&audit::questions(events, approvals))
}

/// Writes the events of a query as JSON lines or CSV, each as the chain keeps it.
pub(crate) async fn export(
    store: &dyn Store,
    query: EventQuery,
    (format, values): (ExportFormat, bool),
    out: &mut (dyn std::io::Write + Send),
) -> Result<(), CliError> {
    let written = match format {
        ExportFormat::Jsonl if values => audit::export_jsonl(store, query, out).await,
        ExportFormat::Jsonl => audit::export_jsonl_without_values(store, query, out).await,
        ExportFormat::Csv => audit::export_csv(store, query, values, out).await,
        ExportFormat::Ocsf => audit::export_ocsf(store, query, values, out).await,
    };
    match written {
        Ok(_) => Ok(()),
        Err(audit::ExportError::Store(error)) => Err(error.into()),
        Err(audit::ExportError::Write(error)) => Err(error.into()),
        // Where it is a broken pipe, the reader has seen enough, as with the other form.
        Err(audit::ExportError::Csv(error)) => match error.into_kind() {
            csv::ErrorKind::Io(error) => Err(error.into()),
            other => Err(CliError::Told(format!("the export cannot be written: {other:?}"))),
        },
    }
}

/// Checks an export of JSON lines.
pub(crate) fn verify_export(
    reader: impl std::io::BufRead,
    part: bool,
) -> std::io::Result<audit::ExportReport> {
    audit::verify_export(reader, if part { audit::Coverage::Part } else { audit::Coverage::Whole })
}

/// The demo upstream, over standard input and output.
pub(crate) async fn demo_upstream() -> Result<(), CliError> {
    super::demo_upstream::run().await.map_err(|error| CliError::Told(error.to_string()))
}

/// The watch over one child.
pub(crate) fn supervise_child(args: Vec<std::ffi::OsString>) -> std::process::ExitCode {
    supervise::main(args)
}
