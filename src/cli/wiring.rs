//! Every place where the composition root takes hold of another room, so that a change of its signature is met here.

use super::failure::CliError;
use crate::{
    clock::System,
    config::Config,
    front,
    gateway::{Gateway, InForce},
    model::{AgentId, Event, OwnerId, Problems, TraceId},
    policy::PolicySet,
    store::Store,
    upstream::UpstreamState,
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the files say.
pub(crate) struct Loaded {
    /// servers.toml.
    pub(crate) config: Config,
    /// The bundle.
    pub(crate) policies: PolicySet,
    /// What somebody should look at.
    pub(crate) lints: Problems,
}

fn unwired<T>(what: &str) -> Result<T, CliError> {
    Err(CliError::Told(format!("{what} is not connected")))
}

/// Reads servers.toml and the bundle.
pub(crate) fn load(path: &Path) -> Result<Loaded, Problems> {
    use crate::model::{Place, Problem, Severity};
    let place = Place { file: path.display().to_string(), line: 0, column: 0 };
    let message = "config::load is not connected".to_owned();
    Err(Problems(vec![Problem { place, severity: Severity::Error, message, expected: String::new() }]))
}

/// Problems for people.
pub(crate) fn render(problems: &Problems) -> String {
    problems.to_string()
}

/// Makes `data_dir`, mode 0700.
pub(crate) fn ensure_data_dir(_config: &Config) -> Result<(), CliError> {
    unwired("config::ensure_data_dir")
}

/// Opens the store, making it where it is missing.
pub(crate) fn open_store(_config: &Config, _owner: OwnerId) -> Result<Arc<dyn Store>, CliError> {
    unwired("store::sqlite")
}

/// Starts the upstreams and the gateway over them.
pub(crate) async fn start_gateway(
    _in_force: InForce,
    _store: Arc<dyn Store>,
    _system: Arc<System>,
) -> Result<Arc<Gateway>, CliError> {
    unwired("gateway::Gateway::start")
}

/// Puts another bundle and servers.toml in force.
pub(crate) async fn reload(_gateway: &Gateway, _in_force: InForce) {}

/// Tells the gateway that a reload was refused.
pub(crate) async fn reload_rejected(_gateway: &Gateway, _problems: Problems) {}

/// Ends the gateway: calls in flight may finish within `drain`, upstreams are closed.
pub(crate) async fn shutdown(_gateway: &Gateway, _drain: Duration) {}

/// Serves MCP until told to stop.
pub(crate) async fn serve_mcp(
    _listener: TcpListener,
    _gateway: Arc<Gateway>,
    _stop: CancellationToken,
) -> Result<(), CliError> {
    unwired("front::http::serve")
}

/// Serves the admin API until told to stop.
pub(crate) async fn serve_admin(
    _listener: TcpListener,
    gateway: Arc<Gateway>,
    system: Arc<System>,
    _stop: CancellationToken,
) -> Result<(), CliError> {
    let _router = front::admin::router(Arc::new(front::admin::Desk::new(gateway, system)));
    unwired("front::http::serve")
}

/// Serves one agent over standard input and output until it ends or is told to stop.
pub(crate) async fn serve_stdio(
    _gateway: Arc<Gateway>,
    _agent: AgentId,
    _stop: CancellationToken,
) -> Result<(), CliError> {
    unwired("front::stdio::run")
}

/// Connects to the upstreams of a configuration, gives them `patience`, says how each stands, and lets go of them.
pub(crate) async fn inspect_upstreams(
    _config: &Config,
    _system: &Arc<System>,
    _patience: Duration,
) -> Result<Vec<Arc<UpstreamState>>, CliError> {
    unwired("upstream::UpstreamSet::start")
}

/// The five answers about one trace, for people.
pub(crate) fn trace_text(_trace: TraceId, events: &[Event]) -> String {
    events.iter().map(|event| event.draft.body()).collect::<Vec<_>>().join("\n")
}

/// The CSV header, and one CSV line per event.
pub(crate) fn csv(_events: &[Event], _header: bool) -> Result<String, CliError> {
    unwired("audit's CSV")
}

/// The demo upstream, over standard input and output.
pub(crate) async fn demo_upstream() -> Result<(), CliError> {
    unwired("cli::demo_upstream")
}

/// The watch over one child.
pub(crate) fn supervise_child(_args: Vec<std::ffi::OsString>) -> Result<std::process::ExitCode, CliError> {
    unwired("upstream::supervise")
}
