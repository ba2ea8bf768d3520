//! The resolved servers.toml. No secret shows in `Debug`.

use super::{
    allowed::{AppsConfig, Asks, ContainConfig},
    oauth::{OauthConfig, OauthGrant},
    record::{AuditConfig, DeliveryConfig},
    secret_url::SecretUrl,
    sign_in::OidcConfig,
    signed::VerifyKey,
    told::WebhookConfig,
};
use crate::{
    cost::ToolPrice,
    model::{AgentId, ApprovalId, CapabilityId, UpstreamName, pointer::Pointer},
    pinning::PinSettings,
};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Everything in servers.toml, with defaults filled in and paths made absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[otel]`
    pub otel: OtelConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[audit]`
    pub audit: AuditConfig,
    /// `[delivery.*]`
    pub deliveries: Vec<Arc<DeliveryConfig>>,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[webhook]`, then `[webhooks.*]`.
    pub webhooks: Vec<Arc<WebhookConfig>>,
    /// `[policies] verify`: whose signature a bundle must carry; empty: it need not have one.
    pub verify: Vec<VerifyKey>,
    /// `[checks.*]`, by name.
    pub checks: BTreeMap<Arc<str>, Arc<CheckConfig>>,
    /// `[upstreams.*]`, by name.
    pub upstreams: BTreeMap<UpstreamName, UpstreamConfig>,
    /// Those of them that are known and not started.
    pub disabled: BTreeMap<UpstreamName, DisabledUpstream>,
}

impl Config {
    /// The page as people reach it, or at the admin listener; without a `/` at its end.
    pub fn page_link(&self) -> String {
        let linked = self.webhooks.iter().find_map(|webhook| webhook.link.as_deref());
        let base = linked.or(self.public_page()).map_or_else(
            || {
                let scheme = if self.gateway.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", reached(self.admin.listen))
            },
            str::to_owned,
        );
        base.trim_end_matches('/').to_owned()
    }

    /// The page's address, where the file says one.
    pub fn public_page(&self) -> Option<&str> {
        let oidc = self.admin.oidc.as_ref().map(|oidc| oidc.public_url.as_str());
        self.admin.public_url.as_deref().or(oidc)
    }

    /// Where people open an approval.
    pub fn approval_link(&self, id: &ApprovalId) -> String {
        format!("{}/#{id}", self.page_link())
    }
}

/// `[checks.NAME]`: an HTTP service that a policy rule may ask about a call.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// Where calls are described. A part of it may be a secret.
    pub url: SecretUrl,
    /// What the descriptions are signed with.
    pub secret: SecretString,
    /// How long an answer may take.
    pub timeout: Duration,
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
    /// Approvals of one agent that may be pending at a time.
    pub max_pending_approvals: usize,
    /// How long a rejection answers the same ask again.
    pub rejection_stands: Duration,
    /// An agent whose asks were rejected so often within a window is throttled for the rest of it.
    pub rejected_asks: RejectedAsks,
    /// How long labels follow whom they have reached.
    pub labels: LabelTerms,
    /// Keys of `_meta` that clients change with each call, beside those that are known: no approval binds them.
    pub volatile_meta: Vec<MetaKey>,
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
    /// What becomes of arguments that cannot be checked within the budget.
    pub unchecked_arguments: Unchecked,
    /// What `format` in an argument schema means.
    pub formats: Formats,
    /// For both listeners.
    pub tls: Option<TlsConfig>,
    /// Something in front ends TLS.
    pub behind_tls_proxy: bool,
    /// Proxies that are believed when they say whose request they pass on.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// In which header they say so.
    pub forwarded_by: ForwardedBy,
}

/// `forwarded_by`: of two headers the one that proxies do not write is the client's to make up, so one of them counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// `rejected_asks`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedAsks {
    /// So many.
    pub count: usize,
    /// In so long.
    pub window: Duration,
}

impl Default for RejectedAsks {
    fn default() -> Self {
        Self { count: 20, window: Duration::from_secs(600) }
    }
}

/// `labels`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelTerms {
    /// How long a label follows an agent, from session to session, after it last reached it. Zero: not at all.
    pub window: Duration,
    /// How long labels follow a workflow after it was last used.
    pub keep: Duration,
}

impl Default for LabelTerms {
    fn default() -> Self {
        Self { window: Duration::from_secs(3600), keep: Duration::from_secs(30 * 86_400) }
    }
}

/// One entry of `volatile_meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// This key.
    Exact(String),
    /// Every key that begins so: `vendor/` of `vendor/*`.
    Prefix(String),
}

impl MetaKey {
    /// Whether it means this key.
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Exact(exact) => key == exact,
            Self::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

impl GatewayConfig {
    /// The URL of `/mcp` as agents reach it.
    pub fn endpoint(&self) -> String {
        match &self.public_url {
            Some(url) if url.trim_end_matches('/').ends_with("/mcp") => url.trim_end_matches('/').to_owned(),
            Some(url) => format!("{}/mcp", url.trim_end_matches('/')),
            None => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}/mcp", reached(self.listen))
            }
        }
    }
}

/// A listener as this machine reaches it: one that takes any address is at this machine's own.
pub fn reached(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// `catalog`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogMode {
    /// Every tool is listed.
    Full,
    /// Two are: one that finds tools, and one that calls them.
    Search,
}

/// `unchecked_arguments`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchecked {
    /// The call is refused.
    Refuse,
    /// The call goes on, and its record says that nobody knows whether they fit.
    Pass,
}

/// `formats`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formats {
    /// They say what a value means, and refuse none.
    Annotate,
    /// What is not of its format is refused.
    Assert,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// PEM certificates of who vouches for clients' certificates; none: clients are asked for none.
    pub client_ca: Option<PathBuf>,
    /// PEM lists of certificates that these have revoked.
    pub crl: Option<PathBuf>,
}

/// `[admin]`. `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// API, pages, metrics and probes.
    pub listen: SocketAddr,
    /// The page's address as people reach it, without a path.
    pub public_url: Option<String>,
    /// `metrics_key`: opens `/metrics` and nothing else.
    pub metrics_key: Option<SecretString>,
    /// How people sign in beside their keys.
    pub oidc: Option<Arc<OidcConfig>>,
}

/// `[otel]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtelConfig {
    /// The collector's base URL; without one, what the environment says counts.
    pub endpoint: Option<String>,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The SQLite file: of the store, or of the copy of what is in the database.
    pub path: PathBuf,
    /// The database that replicas share.
    pub postgres: Option<SecretString>,
    /// What a commit survives.
    pub durability: Durability,
    /// How old records become before they are removed, whole segments at a time, where no legal hold is on them; none: they stay.
    pub retention: Option<Duration>,
    /// The vault of `tokenize`.
    pub vault: VaultConfig,
}

/// `[store] vault_…`. `Debug` shows no key.
#[derive(Clone)]
pub struct VaultConfig {
    /// `vault_key`: what the vault's keys are encrypted with.
    pub key: Option<SecretString>,
    /// `vault_key_before`: what they were encrypted with before.
    pub key_before: Option<SecretString>,
    /// `vault_retention`: how long a value is kept that nobody uses.
    pub retention: Duration,
}

impl Default for VaultConfig {
    fn default() -> Self {
        Self { key: None, key_before: None, retention: Duration::from_secs(30 * 86_400) }
    }
}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("key", &self.key.is_some())
            .field("key_before", &self.key_before.is_some())
            .field("retention", &self.retention)
            .finish()
    }
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
    /// Whose access tokens are taken beside keys.
    pub jwt: Option<Arc<JwtConfig>>,
}

impl AuthConfig {
    /// Access tokens are kept as they were sent where they are exchanged for one of these.
    pub(super) fn exchanged_for<'u>(&mut self, mut upstreams: impl Iterator<Item = &'u UpstreamConfig>) {
        if let Some(jwt) = self.jwt.as_mut().map(Arc::make_mut) {
            jwt.exchanged = upstreams.any(UpstreamConfig::exchanges_tokens);
        }
    }
}

/// `[auth] jwt`: OAuth 2.1 access tokens in the form of RFC 9068, of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// `iss`, compared byte by byte.
    pub issuer: String,
    /// `aud` must name one of these.
    pub audience: Vec<String>,
    /// Where the issuer's public keys are.
    pub keys: JwksSource,
    /// The claim that names the agent of authority.yaml, or the path of one, as `act.sub`.
    pub agent_claim: String,
    /// The same of the person that the agent acts for; none: tokens name nobody.
    pub user_claim: Option<String>,
    /// What each scope grants. Empty: scopes are not looked at, and an agent may what authority.yaml gives it.
    pub scope_map: BTreeMap<String, Vec<CapabilityId>>,
    /// Tokens that are bound to no key are refused.
    pub dpop_required: bool,
    /// They are exchanged for some upstream: only then are they kept as they were sent.
    pub exchanged: bool,
}

/// Where a JWK set (RFC 7517) is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// Over the network.
    Url(url::Url),
    /// On this machine.
    File(PathBuf),
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
    /// What it may ask of the agent's client.
    pub asks: Asks,
    /// What it may reach of this machine; none: whatever its user may.
    pub contain: Option<Arc<ContainConfig>>,
    /// What its pages may ask of the host that shows them; none: nothing.
    pub apps: Option<Arc<AppsConfig>>,
    /// Whether the tools' annotations are believed.
    pub trust_annotations: bool,
    /// Whether cost that it reports counts.
    pub trust_cost: bool,
    /// What becomes of items that appear later, and of what the scan finds.
    pub pins: PinSettings,
    /// What happens to results that are not what their tool's `outputSchema` declares.
    pub output_schema: OutputCheck,
    /// `[upstreams.NAME.tools.*]`, by the upstream's own tool name.
    pub tools: BTreeMap<String, ToolConfig>,
}

impl UpstreamConfig {
    /// What happens to a result of a tool, by its own name, that is not what the tool declares.
    pub fn output_check(&self, own: &str) -> OutputCheck {
        self.tools.get(own).and_then(|tool| tool.output_schema).unwrap_or(self.output_schema)
    }
}

/// `output_schema`: what happens to a result that is not what its tool's `outputSchema` declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputCheck {
    /// The record of the call says so.
    #[default]
    Lint,
    /// An alert says so too.
    Alert,
    /// The agent gets an error in its place.
    Refuse,
}

impl OutputCheck {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Alert => "alert",
            Self::Refuse => "refuse",
        }
    }
}

/// An upstream that is known and not started: `enabled = false`, or a variable that its table names is not set.
#[derive(Clone, Debug)]
pub struct DisabledUpstream {
    /// The table's name.
    pub name: UpstreamName,
    /// Why, as one sentence without an end.
    pub reason: String,
    /// Somebody switched it off; else something is missing.
    pub switched_off: bool,
    /// Whether it would be contained.
    pub contained: bool,
    /// As of one that is started: policies may speak of its tools.
    pub prefix: String,
    /// Likewise.
    pub labels: Vec<Arc<str>>,
    /// Likewise.
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
        /// The folder that it works in.
        cwd: PathBuf,
    },
    /// Streamable HTTP.
    Http {
        /// The MCP endpoint.
        url: url::Url,
        /// Sent with every request.
        headers: BTreeMap<String, SecretString>,
        /// Which of the HTTP transports.
        wire: HttpWire,
        /// Where an access token for it is fetched.
        oauth: Option<Arc<OauthConfig>>,
    },
}

/// `transport`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpWire {
    /// Streamable HTTP; where the server does not know that, HTTP+SSE.
    Auto,
    /// Streamable HTTP only.
    Streamable,
    /// HTTP+SSE of 2024-11-05 only: the URL is that of the event stream.
    Sse,
}

impl fmt::Debug for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { command, env, cwd } => f
                .debug_struct("Stdio")
                .field("program", &command.first())
                .field("arguments", &command.len().saturating_sub(1))
                .field("env", &env.keys())
                .field("cwd", cwd)
                .finish(),
            Self::Http { url, headers, wire, oauth } => f
                .debug_struct("Http")
                .field("origin", &url.origin().ascii_serialization())
                .field("headers", &headers.keys())
                .field("wire", wire)
                .field("oauth", oauth)
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
    /// Price of one call: `cost_usd` or `cost`.
    pub price: ToolPrice,
    /// Where learning starts.
    pub expected_result_tokens: Option<u64>,
    /// In place of the upstream's `output_schema`.
    pub output_schema: Option<OutputCheck>,
    /// Pointers into the arguments.
    pub sensitive: Vec<Pointer>,
}

impl UpstreamConfig {
    /// Whether callers' own tokens are exchanged for it.
    pub fn exchanges_tokens(&self) -> bool {
        matches!(&self.transport, UpstreamTransport::Http { oauth: Some(oauth), .. }
            if matches!(oauth.grant, OauthGrant::TokenExchange(..)))
    }
}
