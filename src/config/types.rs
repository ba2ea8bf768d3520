//! The resolved servers.toml. No secret shows in `Debug`.

use crate::model::{AgentId, MicroUsd, UpstreamName, pointer::Pointer};
use secrecy::SecretString;
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Everything in servers.toml, with defaults filled in and paths made absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[upstreams.*]`, by name.
    pub upstreams: BTreeMap<UpstreamName, UpstreamConfig>,
}

/// `[gateway]`
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The agents' listener; MCP at `/mcp`.
    pub listen: SocketAddr,
    /// `env` in conditions.
    pub environment: Arc<str>,
    /// The bundle's folder.
    pub policies: PathBuf,
    /// Where Tollgate keeps its own files; made with mode 0700.
    pub data_dir: PathBuf,
    /// Between upstream prefix and tool name.
    pub separator: String,
    /// How long a call waits for an approval given elsewhere.
    pub approval_wait: Duration,
    /// The URL agents reach the gateway at, where it is not the listener's.
    pub public_url: Option<String>,
    /// `Host` values that are accepted beside the listener's own.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are accepted beside the listener's own.
    pub allowed_origins: Vec<String>,
    /// The largest request body.
    pub max_body: u64,
    /// Legacy sessions per principal; the idlest goes first.
    pub max_sessions: usize,
    /// How long calls in flight may finish at a shutdown.
    pub drain: Duration,
    /// Told to clients in initialize and discover.
    pub instructions: Option<String>,
    /// Whether agents see all tools or a search.
    pub catalog: CatalogMode,
    /// For both listeners.
    pub tls: Option<TlsConfig>,
    /// Something in front ends TLS.
    pub behind_tls_proxy: bool,
}

/// `catalog`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogMode {
    /// Every tool is listed.
    Full,
    /// Two are: one that finds tools, and one that calls them.
    Search,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// API, pages, metrics and probes.
    pub listen: SocketAddr,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The SQLite file.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
}

/// `durability`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The process.
    Commit,
    /// The power.
    Fsync,
}

/// `[auth]`
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Callers without a key act as this agent.
    pub anonymous_agent: Option<AgentId>,
}

/// `[upstreams.NAME]`
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// The table's name.
    pub name: UpstreamName,
    /// How it is reached.
    pub transport: UpstreamTransport,
    /// Before the separator in exposed names; empty: none, and no separator.
    pub prefix: String,
    /// Who shares one connection.
    pub isolation: Isolation,
    /// How long one call may take.
    pub timeout: Duration,
    /// Calls in flight at once.
    pub max_concurrency: usize,
    /// The largest result.
    pub max_result_bytes: u64,
    /// Repeats where they are safe.
    pub retry: RetryConfig,
    /// When to stop asking.
    pub breaker: BreakerConfig,
    /// For selectors and conditions.
    pub labels: Vec<Arc<str>>,
    /// Whether the tools' annotations are believed.
    pub trust_annotations: bool,
    /// Whether cost that it reports counts.
    pub trust_cost: bool,
    /// `[upstreams.NAME.tools.*]`, by the upstream's own tool name.
    pub tools: BTreeMap<String, ToolConfig>,
}

/// How an upstream is reached. `Debug` shows neither arguments nor the URL's path: both may hold secrets.
#[derive(Clone)]
pub enum UpstreamTransport {
    /// A child process.
    Stdio {
        /// Program and arguments. The program `tollgate` means this binary.
        command: Vec<String>,
        /// Beyond the short list (PATH, HOME, USER, LANG, LC_*, TMPDIR).
        env: BTreeMap<String, SecretString>,
    },
    /// Streamable HTTP.
    Http {
        /// The MCP endpoint.
        url: url::Url,
        /// Sent with every request.
        headers: BTreeMap<String, SecretString>,
    },
}

impl fmt::Debug for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { command, env } => f
                .debug_struct("Stdio")
                .field("program", &command.first())
                .field("arguments", &command.len().saturating_sub(1))
                .field("env", &env.keys())
                .finish(),
            Self::Http { url, headers } => f
                .debug_struct("Http")
                .field("origin", &url.origin().ascii_serialization())
                .field("headers", &headers.keys())
                .finish(),
        }
    }
}

/// `isolation`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All agents.
    Shared,
    /// One connection per agent.
    Agent,
    /// One connection per agent session.
    Session,
}

/// `retry`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// Attempts in all.
    pub attempts: u32,
    /// Before the second; doubles.
    pub backoff: Duration,
}

/// `breaker`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open before one call tries.
    pub cooldown: Duration,
}

/// `[upstreams.NAME.tools.TOOL]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolConfig {
    /// Default `<upstream>:<tool>`.
    pub action: Option<Arc<str>>,
    /// Added to the upstream's.
    pub labels: Vec<Arc<str>>,
    /// Overrides what is taken of the tool.
    pub read_only: Option<bool>,
    /// Overrides.
    pub idempotent: Option<bool>,
    /// Overrides.
    pub destructive: Option<bool>,
    /// Overrides.
    pub open_world: Option<bool>,
    /// Price of one call.
    pub cost_usd: MicroUsd,
    /// Where learning starts.
    pub expected_result_tokens: Option<u64>,
    /// Pointers into the arguments.
    pub sensitive: Vec<Pointer>,
}
