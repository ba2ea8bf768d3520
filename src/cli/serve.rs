//! `tollgate serve` and `tollgate stdio`: starts everything in order, and ends it in the reverse order.

use super::{
    args::{LogFormat, RunArgs, ServeArgs, StdioArgs},
    failure::CliError,
    folder,
    follow::{self, Follower, Sink},
    key_book, log, names, origin, reload, running,
    setup::{exposed, load_to_run, load_to_serve},
    wiring::{self, Loaded},
};
use crate::{
    activation::Standing,
    clock::System,
    front::tls::Tls,
    gateway::{CheckedFiles, Gateway},
    identity::{AgentPrincipal, Delegation, Proof},
    store::{EventQuery, Store},
    telemetry::Telemetry,
};
use std::{
    future::Future,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What both commands start and end alike.
struct Running {
    gateway: Arc<Gateway>,
    store: Arc<dyn Store>,
    telemetry: Arc<Telemetry>,
    drain: Duration,
    sinks: Vec<JoinHandle<()>>,
    sinks_end: CancellationToken,
    reloader: JoinHandle<()>,
    names: JoinHandle<()>,
    told: JoinHandle<()>,
    key_use: JoinHandle<()>,
}

impl Running {
    async fn start(
        path: &Path,
        (loaded, standing): (Loaded, Standing),
        (args, command): (&RunArgs, &'static str),
        (system, telemetry): (Arc<System>, Arc<Telemetry>),
        tls: Option<Tls>,
    ) -> Result<Self, CliError> {
        for lint in &loaded.lints.0 {
            tracing::warn!(lint = %lint, "files.lint");
        }
        wiring::ensure_data_dir(&loaded.config)?;
        wiring::start_telemetry(&telemetry, &loaded.config, &system)?;
        let mut targets = Vec::new();
        for target in &args.events {
            targets.push(Sink::open(target).await?);
        }
        let store = wiring::open_store(&loaded.config, &system)?;
        let (loaded, standing) = folder::agree(path, &*store, (loaded, standing), &system).await?;
        if command == "serve" {
            exposed(path, &loaded)?;
        }
        let Loaded { config, policies, lints } = loaded;
        let sinks_end = CancellationToken::new();
        let mut sinks = Vec::new();
        if !targets.is_empty() {
            let head = follow::head(&store).await?;
            for target in targets {
                let follower = Follower::new(Arc::clone(&store), EventQuery::default(), head);
                sinks.push(tokio::spawn(follow::copy(follower, target, sinks_end.clone())));
            }
        }
        let drain = config.gateway.drain;
        let origin = origin::of(&config.gateway.policies, "start").await;
        let files = CheckedFiles { config, policies, origin };
        let gateway = wiring::start_gateway(files, Arc::clone(&store), system, &telemetry).await?;
        folder::follow(path, &gateway, standing).await;
        let logged = lints.0.iter().map(ToString::to_string).collect();
        let names = tokio::spawn(names::watch(path.to_owned(), Arc::clone(&gateway), logged));
        let told = tokio::spawn(running::tell(Arc::clone(&gateway), command));
        let watched = (path.to_owned(), Arc::clone(&gateway));
        let reloader = tokio::spawn(async move {
            let (path, gateway) = watched;
            if let Err(error) = reload::watch(path, gateway, tls).await {
                tracing::error!(error = %error, "reload.stopped");
            }
        });
        let key_use = tokio::spawn(key_book::follow(Arc::clone(&gateway)));
        Ok(Self { gateway, store, telemetry, drain, sinks, sinks_end, reloader, names, told, key_use })
    }

    /// Calls in flight first, then the upstreams, then the record of it all.
    async fn end(self) {
        self.reloader.abort();
        self.names.abort();
        self.told.abort();
        self.key_use.abort();
        key_book::note(&self.gateway).await;
        wiring::shutdown(&self.gateway).await;
        self.gateway.connections().settled().await;
        self.sinks_end.cancel();
        for sink in self.sinks {
            sink.await.ok();
        }
        self.store.close().await;
        // What the end itself had to tell goes too.
        self.telemetry.stop(COLLECTOR_GRACE).await;
    }
}

/// How long a collector may take to get what is left.
const COLLECTOR_GRACE: Duration = Duration::from_secs(5);

/// Runs the gateway until a signal ends it.
pub(super) async fn serve(path: PathBuf, args: ServeArgs) -> Result<(), CliError> {
    let telemetry = Arc::<Telemetry>::default();
    log::start(args.run.log_format, &telemetry)?;
    let (loaded, standing) = load_to_serve(&path)?;
    wiring::take_files();
    let system = Arc::new(System::default());
    let tls = wiring::tls(&loaded.config)?;
    // A port that is taken is told before anything is started.
    let mcp = bind(loaded.config.gateway.listen, "[gateway] listen").await?;
    let admin = bind(loaded.config.admin.listen, "[admin] listen").await?;
    let announcement = Announcement::new(&loaded, address(&mcp), address(&admin));
    let mut signals = Signals::listen()?;
    let own = (Arc::clone(&system), telemetry);
    let running = Running::start(&path, (loaded, standing), (&args.run, "serve"), own, tls.clone()).await?;
    let (mcp_end, admin_end) = (CancellationToken::new(), CancellationToken::new());
    wiring::follow_lists(tls.as_ref(), &system, &admin_end);
    let gateway = &running.gateway;
    let core_runtimes = wiring::core_runtimes()?;
    let serving = wiring::serve_mcp(
        (mcp, tls.clone()),
        Arc::clone(gateway),
        Arc::clone(&system),
        Arc::clone(&core_runtimes),
        mcp_end.clone(),
    );
    let mut mcp = tokio::spawn(serving);
    let serving = wiring::serve_admin((admin, tls), Arc::clone(gateway), system, admin_end.clone());
    let mut admin = tokio::spawn(serving);
    announcement.say(args.run.log_format);
    let ended = tokio::select! {
        () = signals.ending() => Ok(()),
        ended = &mut mcp => flat(ended),
        ended = &mut admin => flat(ended),
    };
    // The admin listener goes last: approvals and probes work while calls in flight finish.
    running.gateway.drain();
    mcp_end.cancel();
    let limit = running.drain;
    let rest = async {
        end_within(&mut mcp, limit, &running.gateway).await;
        running.end().await;
        admin_end.cancel();
        if !admin.is_finished() && tokio::time::timeout(ADMIN_GRACE, &mut admin).await.is_err() {
            admin.abort();
        }
    };
    finish(rest, signals).await;
    // Joining threads waits, if only for a moment.
    tokio::task::spawn_blocking(move || drop(core_runtimes)).await.ok();
    ended
}

/// How long answers of the admin listener may take to leave.
const ADMIN_GRACE: Duration = Duration::from_secs(2);

/// Serves one agent until its client goes away or a signal ends it.
pub(super) async fn stdio(path: PathBuf, args: StdioArgs) -> Result<(), CliError> {
    if args.run.events.iter().any(|target| target == Path::new("stdout")) {
        return Err(CliError::Told(
            "standard output carries MCP here: write events to a file with --events FILE".to_owned(),
        ));
    }
    let telemetry = Arc::<Telemetry>::default();
    log::start(args.run.log_format, &telemetry)?;
    let (loaded, standing) = load_to_run(&path)?;
    if !loaded.policies.authority.agents.contains_key(&args.agent) {
        return Err(CliError::Unknown {
            kind: "agent",
            name: args.agent.chars().take(80).collect(),
            hint: "`tollgate agents list` shows them all".to_owned(),
        });
    }
    if let Some(user) =
        args.user.as_ref().filter(|user| !loaded.policies.authority.people.contains_key(*user))
    {
        return Err(CliError::Unknown {
            kind: "person",
            name: user.chars().take(80).collect(),
            hint: "`tollgate people list` shows them all".to_owned(),
        });
    }
    let mut signals = Signals::listen()?;
    let system = Arc::new(System::default());
    let running = Running::start(
        &path,
        (loaded, standing),
        (&args.run, "stdio"),
        (Arc::clone(&system), telemetry),
        None,
    )
    .await?;
    let end = CancellationToken::new();
    let agent = AgentPrincipal {
        id: args.agent,
        proof: Proof::Stdio,
        delegation: args.user.map(Delegation::for_user),
    };
    let session = wiring::serve_stdio(Arc::clone(&running.gateway), system, agent, end.clone());
    let mut session = tokio::spawn(session);
    let ended = tokio::select! {
        () = signals.ending() => Ok(()),
        ended = &mut session => flat(ended),
    };
    running.gateway.drain();
    end.cancel();
    let limit = running.drain;
    let rest = async {
        end_within(&mut session, limit, &running.gateway).await;
        running.end().await;
    };
    finish(rest, signals).await;
    ended
}

/// How long answers to calls that are cut may take to leave.
const CUT_GRACE: Duration = Duration::from_secs(3);

/// Lets what is in flight finish within `limit`; what does not is cut, and told so.
async fn end_within(serving: &mut JoinHandle<Result<(), CliError>>, limit: Duration, gateway: &Gateway) {
    if serving.is_finished() || tokio::time::timeout(limit, &mut *serving).await.is_ok() {
        return;
    }
    gateway.cut();
    if tokio::time::timeout(CUT_GRACE, &mut *serving).await.is_err() {
        serving.abort();
    }
}

fn flat(ended: Result<Result<(), CliError>, tokio::task::JoinError>) -> Result<(), CliError> {
    ended.unwrap_or_else(|lost| Err(CliError::Told(format!("a listener stopped: {lost}"))))
}

/// Ends in order; a second signal ends at once.
async fn finish(rest: impl Future<Output = ()>, mut signals: Signals) {
    tokio::select! {
        () = rest => {}
        () = signals.ending() => tracing::warn!("a second signal: ended at once, calls in flight are left"),
    }
}

async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|source| CliError::Io {
        what: format!(
            "cannot listen on {address} (is another gateway running? {key} in servers.toml changes it)"
        ),
        source,
    })
}

fn address(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
}

/// What is served where, said once it is.
struct Announcement {
    mcp: String,
    admin: String,
    environment: Arc<str>,
    snapshot: String,
}

impl Announcement {
    fn new(loaded: &Loaded, mcp: String, admin: String) -> Self {
        let scheme = if loaded.config.gateway.tls.is_some() { "https" } else { "http" };
        Self {
            mcp: format!("{scheme}://{mcp}/mcp"),
            admin: format!("{scheme}://{admin}"),
            environment: Arc::clone(&loaded.policies.environment),
            snapshot: loaded.policies.snapshot.to_string(),
        }
    }

    /// One line, for people or for machines; a closed standard error is no reason to stop.
    fn say(&self, format: LogFormat) {
        let Self { mcp, admin, environment, snapshot } = self;
        let short: String = snapshot.chars().take(12).collect();
        let line = format!("MCP at {mcp}, admin at {admin}, environment `{environment}`, policies {short}");
        match format {
            LogFormat::Text => {
                writeln!(std::io::stderr(), "tollgate: {line}").ok();
            }
            LogFormat::Json => tracing::info!(mcp, admin, environment = &**environment, snapshot, "{line}"),
        }
    }
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let open = |kind| {
            signal(kind)
                .map_err(|source| CliError::Io { what: "cannot listen for signals".to_owned(), source })
        };
        Ok(Self { interrupt: open(SignalKind::interrupt())?, terminate: open(SignalKind::terminate())? })
    }

    async fn ending(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
