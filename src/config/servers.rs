//! servers.toml → [`Config`]: defaults filled in, paths resolved, keys checked against each other.

use super::{
    AdminConfig, AuthConfig, CatalogMode, CheckConfig, Config, Durability, Formats, GatewayConfig,
    LabelTerms, MetaKey, RejectedAsks, StoreConfig, Unchecked, UpstreamTransport, VaultConfig, audit,
    contain, delivery,
    expand::{Env, expand},
    file::resolve,
    incoming::{forwarded_by, tls, trusted_proxies},
    input::{Input, expanded},
    jwt, oidc,
    otel::{metrics_key, otel},
    secret_url, signed, upstreams, webhook,
};
use crate::{
    model::AgentId,
    policy::{
        names::did_you_mean,
        read::{
            Fields, boolean, bytes, count, duration, fields, list_of, mismatch, section, short,
            show_duration, text, texts, word,
        },
        source::{Kind, Node, Report},
    },
};
use secrecy::SecretString;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const GATEWAY_KEYS: &[&str] = &[
    "listen",
    "environment",
    "policies",
    "data_dir",
    "separator",
    "approval_wait",
    "max_pending_approvals",
    "rejection_stands",
    "rejected_asks",
    "labels",
    "volatile_meta",
    "public_url",
    "allowed_hosts",
    "allowed_origins",
    "max_body",
    "max_sessions",
    "drain",
    "instructions",
    "catalog",
    "unchecked_arguments",
    "formats",
    "tls",
    "behind_tls_proxy",
    "trusted_proxies",
    "forwarded_by",
];

const ADMIN_KEYS: &[&str] = &["listen", "public_url", "metrics_key", "oidc"];
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8788);

const STORE_KEYS: &[&str] = &[
    "url",
    "durability",
    "retention",
    "allow_short_retention",
    "vault_key",
    "vault_key_before",
    "vault_retention",
];

/// What the vault's keys are encrypted with holds 192 bits or more where it is random base64.
const SHORTEST_VAULT_KEY: usize = 32;
const HOUR: Duration = Duration::from_secs(3_600);

/// How long evidence stays where nobody says.
const USUAL_RETENTION: Duration = Duration::from_secs(400 * 86_400);
/// Evidence that goes sooner than this must be meant to.
const SHORT_RETENTION: Duration = Duration::from_secs(180 * 86_400);

static NOTHING: Node = Node { start: 0, end: 0, kind: Kind::Map(Vec::new()) };

/// Reads the whole file; what is wrong is in `report`.
pub(super) fn read(root: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<Config> {
    let map = fields(
        root,
        "servers.toml",
        &[
            "gateway",
            "admin",
            "otel",
            "store",
            "audit",
            "auth",
            "webhook",
            "webhooks",
            "delivery",
            "policies",
            "checks",
            "upstreams",
        ],
        report,
    )?;
    let table = |name: &str, known: &'static [&'static str], report: &mut Report<'_>| {
        fields(map.get(name).unwrap_or(&NOTHING), name, known, report)
    };
    let gateway_map = table("gateway", GATEWAY_KEYS, report)?;
    let admin_map = table("admin", ADMIN_KEYS, report)?;
    let otel_map = table("otel", &["endpoint"], report)?;
    let store_map = table("store", STORE_KEYS, report)?;
    let auth_map = table("auth", &["anonymous_agent", "jwt"], report)?;

    let gateway = gateway(&gateway_map, input, report);
    let tls = gateway_map.get("tls").is_some();
    let admin = admin(&admin_map, tls, input, report);
    let otel = otel(&otel_map, input, report);
    let data_dir = gateway.as_ref().map(|g| g.data_dir.clone());
    let store = store(&store_map, data_dir, input, report);
    let audit = audit::read(map.get("audit"), input, report);
    let mut auth = auth(&auth_map, gateway.as_ref(), input, report);
    let has_page = admin.as_ref().is_some_and(|admin| admin.public_url.is_some() || admin.oidc.is_some());
    let named = section(&map, "webhooks", report);
    let webhooks = webhook::read(map.get("webhook"), named, webhook::Around { input, has_page }, report);
    let deliveries = delivery::read(section(&map, "delivery", report), input, report);
    let verify = signed::keys(map.get("policies"), input, report);
    let checks = section(&map, "checks", report).iter().filter_map(|entry| {
        let read = check(&entry.key, &entry.value, input, report)?;
        Some((Arc::from(entry.key.as_str()), Arc::new(read)))
    });
    let checks = checks.collect();
    let separator = gateway.as_ref().map_or("__", |gateway| &gateway.separator);
    let tables = section(&map, "upstreams", report);
    let (upstreams, disabled) = upstreams::read(tables, separator, input, report);
    auth.exchanged_for(upstreams.values());
    if let (Some(gateway), Some(admin)) = (&gateway, &admin) {
        listeners(&gateway_map, &admin_map, gateway, admin, report);
    }
    let mut config = Config {
        path: input.path.to_owned(),
        gateway: gateway?,
        admin: admin?,
        otel,
        store: store?,
        audit: audit?,
        deliveries: deliveries?,
        auth,
        webhooks: webhooks?,
        verify: verify?,
        checks,
        upstreams,
        disabled,
    };
    contain::guard(tables, &mut config, report);
    shared(&config, &store_map, report);
    delivery::of_one_machine(section(&map, "delivery", report), &config, report);
    Some(config)
}

/// `[admin]`; `tls`: the listener has the gateway's certificate.
fn admin(map: &Fields<'_>, tls: bool, input: &Input<'_>, report: &mut Report<'_>) -> Option<AdminConfig> {
    let listen = listen(map, ADMIN_LISTEN, input, report)?;
    let oidc = match map.get("oidc") {
        None => None,
        Some(node) => Some(Arc::new(oidc::read(node, (listen, tls), input, report)?)),
    };
    let public_url = match map.get("public_url") {
        None => None,
        Some(node) => Some(oidc::origin(node, &expanded(map, "public_url", input, report)??, report)?),
    };
    Some(AdminConfig { listen, public_url, metrics_key: metrics_key(map, input, report), oidc })
}

/// Where the bundle is, and where that is written: needed even where the rest of the file is wrong.
pub(super) fn policies_folder(root: &Node, path: &Path, env: Env<'_>) -> (PathBuf, Option<usize>) {
    let mut quiet = Report::new("", "");
    let node = root.get("gateway").and_then(|gateway| gateway.get("policies"));
    let written = node.and_then(|node| node.as_text().and_then(|text| expand(node, text, env, &mut quiet)));
    (resolve(path, written.as_deref().unwrap_or("policies")), node.map(|node| node.start))
}

/// Where the store and its folder are, where nothing is wrong with these: the record must be readable even where the
/// rest of the file is not.
pub(super) fn store_place(root: &Node, path: &Path, env: Env<'_>) -> Option<(StoreConfig, PathBuf)> {
    let mut quiet = Report::new("", "");
    let input = Input { path, env, names: None };
    let written = match root.get("gateway").and_then(|gateway| gateway.get("data_dir")) {
        None => ".tollgate".to_owned(),
        Some(node) => expand(node, node.as_text()?, env, &mut quiet)?,
    };
    let data_dir = resolve(path, &written);
    let map = fields(root.get("store").unwrap_or(&NOTHING), "store", STORE_KEYS, &mut quiet)?;
    let store = store(&map, Some(data_dir.clone()), &input, &mut quiet)?;
    (!quiet.into_problems().has_errors()).then_some((store, data_dir))
}

/// Where the admin listener is, and whether it speaks TLS.
pub(super) fn admin_place(root: &Node, path: &Path, env: Env<'_>) -> Option<(SocketAddr, bool)> {
    let mut quiet = Report::new("", "");
    let input = Input { path, env, names: None };
    let map = fields(root.get("admin").unwrap_or(&NOTHING), "admin", ADMIN_KEYS, &mut quiet)?;
    let listen = listen(&map, ADMIN_LISTEN, &input, &mut quiet)?;
    let tls = root.get("gateway").and_then(|gateway| gateway.get("tls")).is_some();
    (!quiet.into_problems().has_errors()).then_some((listen, tls))
}

fn path(
    map: &Fields<'_>,
    key: &str,
    default: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    expanded(map, key, input, report)
        .map(|written| resolve(input.path, written.as_deref().unwrap_or(default)))
}

fn listen(
    map: &Fields<'_>,
    default: SocketAddr,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<SocketAddr> {
    let Some(written) = expanded(map, "listen", input, report)? else { return Some(default) };
    let numeric = match written.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => written,
    };
    let read = numeric.parse().ok();
    if let (None, Some(node)) = (read, map.get("listen")) {
        mismatch(node, "listen", "an address and a port, like 127.0.0.1:8787", report);
    }
    read
}

fn gateway(map: &Fields<'_>, input: &Input<'_>, report: &mut Report<'_>) -> Option<GatewayConfig> {
    let listen = listen(map, SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)), input, report);
    let environment = expanded(map, "environment", input, report);
    let policies = path(map, "policies", "policies", input, report);
    let data_dir = path(map, "data_dir", ".tollgate", input, report);
    let separator = map.read("separator", report, separator).unwrap_or_else(|| "__".to_owned());
    let wait = duration(Duration::ZERO, Duration::from_secs(3_600));
    let approval_wait = map.read("approval_wait", report, wait).unwrap_or(Duration::from_secs(60));
    let public_url = public_url(map, input, report);
    let drain = duration(Duration::ZERO, Duration::from_secs(600));
    let modes = const { &[("full", CatalogMode::Full), ("search", CatalogMode::Search)] };
    let catalog = map.read("catalog", report, word(modes)).unwrap_or(CatalogMode::Full);
    let unchecked = const { &[("refuse", Unchecked::Refuse), ("pass", Unchecked::Pass)] };
    let unchecked_arguments =
        map.read("unchecked_arguments", report, word(unchecked)).unwrap_or(Unchecked::Refuse);
    let formats = const { &[("annotate", Formats::Annotate), ("assert", Formats::Assert)] };
    let formats = map.read("formats", report, word(formats)).unwrap_or(Formats::Annotate);
    let tls = map.get("tls").and_then(|node| tls(node, input, report));
    Some(GatewayConfig {
        listen: listen?,
        environment: Arc::from(environment?.unwrap_or_else(|| "staging".to_owned())),
        policies: policies?,
        data_dir: data_dir?,
        separator,
        approval_wait,
        max_pending_approvals: map
            .read("max_pending_approvals", report, count(1, 100_000))
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(50),
        rejection_stands: map.read("rejection_stands", report, wait).unwrap_or(Duration::from_secs(300)),
        rejected_asks: map.get("rejected_asks").map(|node| rejected_asks(node, report)).unwrap_or_default(),
        labels: map.get("labels").map(|node| labels(node, report)).unwrap_or_default(),
        volatile_meta: map.get("volatile_meta").map(|node| volatile_meta(node, report)).unwrap_or_default(),
        public_url,
        allowed_hosts: list_of_text(map, "allowed_hosts", report),
        allowed_origins: list_of_text(map, "allowed_origins", report),
        max_body: map.read("max_body", report, bytes(1 << 10, 1 << 30)).unwrap_or(4 << 20),
        max_sessions: map
            .read("max_sessions", report, count(1, 1_000_000))
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1000),
        drain: map.read("drain", report, drain).unwrap_or(Duration::from_secs(20)),
        instructions: map.read("instructions", report, text).map(|text| text.to_string()),
        catalog,
        unchecked_arguments,
        formats,
        tls,
        behind_tls_proxy: map.read("behind_tls_proxy", report, boolean).unwrap_or(false),
        trusted_proxies: trusted_proxies(map, report),
        forwarded_by: forwarded_by(map, report),
    })
}

fn list_of_text(map: &Fields<'_>, key: &str, report: &mut Report<'_>) -> Vec<String> {
    map.read(key, report, texts).unwrap_or_default().iter().map(|text| text.to_string()).collect()
}

fn rejected_asks(node: &Node, report: &mut Report<'_>) -> RejectedAsks {
    let mut read = RejectedAsks::default();
    let Some(map) = fields(node, "rejected_asks", &["count", "window"], report) else { return read };
    let most = map.read("count", report, count(1, 10_000)).and_then(|n| usize::try_from(n).ok());
    read.count = most.unwrap_or(read.count);
    let span = duration(Duration::from_secs(1), Duration::from_secs(24 * 3600));
    read.window = map.read("window", report, span).unwrap_or(read.window);
    read
}

fn labels(node: &Node, report: &mut Report<'_>) -> LabelTerms {
    let mut read = LabelTerms::default();
    let Some(map) = fields(node, "labels", &["window", "keep"], report) else { return read };
    let day = Duration::from_secs(86_400);
    read.window = map.read("window", report, duration(Duration::ZERO, 30 * day)).unwrap_or(read.window);
    let keep = map.read("keep", report, duration(Duration::from_secs(60), 400 * day));
    read.keep = keep.unwrap_or(read.keep);
    if read.window > read.keep {
        report.error(
            node.start,
            "`window` is longer than `keep`",
            "a `window` that is not longer than `keep`",
        );
    }
    read
}

/// Entries of `volatile_meta`, and the longest of them.
const MOST_META_KEYS: usize = 64;
const LONGEST_META_KEY: usize = 128;

fn volatile_meta(node: &Node, report: &mut Report<'_>) -> Vec<MetaKey> {
    let one = |item: &Node, key: &str, report: &mut Report<'_>| {
        let written = text(item, key, report)?;
        let prefix = written.strip_suffix('*');
        let good = written.len() <= LONGEST_META_KEY
            && match prefix {
                // A prefix names a vendor: `*` or `a*` would leave open what nobody meant.
                Some(prefix) => prefix.len() > 1 && prefix.ends_with('/') && !prefix.contains('*'),
                None => !written.contains('*'),
            };
        if !good {
            mismatch(item, key, "a key of `_meta`, or a prefix like `vendor/*`", report);
            return None;
        }
        Some(match prefix {
            Some(prefix) => MetaKey::Prefix(prefix.to_owned()),
            None => MetaKey::Exact(written.to_string()),
        })
    };
    let read = list_of(node, "volatile_meta", report, one).unwrap_or_default();
    if read.len() > MOST_META_KEYS {
        mismatch(node, "volatile_meta", "at most 64 keys", report);
    }
    read
}

fn separator(node: &Node, key: &str, report: &mut Report<'_>) -> Option<String> {
    let good = |text: &&str| {
        (1..=8).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    match node.as_text().filter(good) {
        Some(text) => Some(text.to_owned()),
        None => {
            mismatch(
                node,
                key,
                "1 to 8 letters, digits, `_`, `.` or `-`: it becomes part of tool names",
                report,
            );
            None
        }
    }
}

/// How long a check may take that says nothing of it, and at most.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST_CHECK: Duration = Duration::from_secs(60);

fn check(name: &str, node: &Node, input: &Input<'_>, report: &mut Report<'_>) -> Option<CheckConfig> {
    let map = fields(node, name, &["url", "secret", "timeout"], report)?;
    let (url, secret) =
        secret_url::signed(&map, &format!("the check `{name}`"), "the service that is asked", input, report);
    let timeout = map.read("timeout", report, duration(Duration::from_millis(10), LONGEST_CHECK));
    Some(CheckConfig { url: url?, secret: secret?, timeout: timeout.unwrap_or(CHECK_TIMEOUT) })
}

fn public_url(map: &Fields<'_>, input: &Input<'_>, report: &mut Report<'_>) -> Option<String> {
    let written = expanded(map, "public_url", input, report)??;
    let good =
        url::Url::parse(&written).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if let (false, Some(node)) = (good, map.get("public_url")) {
        mismatch(node, "public_url", "an http or https URL", report);
    }
    good.then_some(written)
}

fn store(
    map: &Fields<'_>,
    data_dir: Option<PathBuf>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<StoreConfig> {
    let durability = map
        .read("durability", report, word(&[("commit", Durability::Commit), ("fsync", Durability::Fsync)]))
        .unwrap_or(Durability::Commit);
    let retention = retention(map, report)?;
    let vault = vault(map, input, report)?;
    let Some(written) = expanded(map, "url", input, report)? else {
        return Some(StoreConfig {
            path: data_dir?.join("tollgate.db"),
            postgres: None,
            durability,
            retention,
            vault,
        });
    };
    let at = map.get("url").map_or(map.at, |node| node.start);
    let scheme = written.split(':').next().unwrap_or_default().to_ascii_lowercase();
    if matches!(scheme.as_str(), "postgres" | "postgresql") {
        if let Some(node) = map.get("durability") {
            let expected =
                "no `durability`: PostgreSQL keeps what it has confirmed, whatever becomes of a machine";
            report.error(node.start, "`durability` is of the store of one machine", expected);
        }
        let path = data_dir?.join("replica").join("tollgate.db");
        return Some(StoreConfig { path, postgres: Some(written.into()), durability, retention, vault });
    }
    let path = written.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    match path {
        Some(path) if !path.is_empty() && !path.starts_with(':') && !path.contains(['?', '\0']) => {
            Some(StoreConfig {
                path: resolve(input.path, path),
                postgres: None,
                durability,
                retention,
                vault,
            })
        }
        Some(_) | None => {
            report.error(
                at,
                "`url` names no store (not shown: it may hold a secret)",
                "sqlite:PATH, the path of a file, or postgres://USER:PASSWORD@HOST/DATABASE",
            );
            None
        }
    }
}

/// In PostgreSQL the keys of the vault lie beside what they encrypt: they have to be encrypted, with what is in no database.
pub(super) const NEEDED_VAULT_KEY: &str = "`vault_key = \"${NAME}\"` under [store] of servers.toml, the same on all replicas, with what `openssl rand -base64 32` \
     prints in that variable";

/// Whether a vault that keeps something would keep it in the clear for whoever reads the database.
pub(super) fn lacks_vault_key(config: &Config) -> bool {
    config.store.postgres.is_some() && config.store.vault.key.is_none()
}

/// Refuses credentials in a database without a `vault_key`.
fn shared(config: &Config, map: &Fields<'_>, report: &mut Report<'_>) {
    let at = map.get("url").map_or(map.at, |node| node.start);
    let connected = config.upstreams.iter().find(|(_, upstream)| match &upstream.transport {
        UpstreamTransport::Http { oauth: Some(oauth), .. } => oauth.code_grant().is_some(),
        UpstreamTransport::Http { oauth: None, .. } | UpstreamTransport::Stdio { .. } => false,
    });
    if let Some((name, _)) = connected.filter(|_| lacks_vault_key(config)) {
        let why = format!(
            "`vault_key` is missing: people connect upstream `{name}`, and the keys to their credentials would lie beside them in \
             PostgreSQL"
        );
        report.error(at, why, NEEDED_VAULT_KEY);
    }
}

/// How long records stay: `None` inside where they stay for ever, `None` outside where it is said wrongly.
fn retention(map: &Fields<'_>, report: &mut Report<'_>) -> Option<Option<Duration>> {
    let short = map.read("allow_short_retention", report, boolean).unwrap_or(false);
    let Some(node) = map.get("retention") else { return Some(Some(USUAL_RETENTION)) };
    if node.as_text() == Some("forever") {
        return Some(None);
    }
    let span = duration(Duration::from_secs(1), Duration::from_secs(100 * 366 * 86_400));
    let retention = map.read("retention", report, span)?;
    if retention < SHORT_RETENTION && !short {
        report.error(
            node.start,
            format!("`retention` removes evidence after {}", show_duration(retention)),
            "180d or more, or `allow_short_retention = true` beside it",
        );
        return None;
    }
    Some(Some(retention))
}

/// The vault of `tokenize`. No message shows a key.
fn vault(map: &Fields<'_>, input: &Input<'_>, report: &mut Report<'_>) -> Option<VaultConfig> {
    let mut key = |name: &str| -> Option<Option<SecretString>> {
        let Some(written) = expanded(map, name, input, report)? else { return Some(None) };
        if written.chars().count() < SHORTEST_VAULT_KEY {
            let at = map.get(name).map_or(map.at, |node| node.start);
            report.error(
                at,
                format!("`{name}` is shorter than {SHORTEST_VAULT_KEY} characters (not shown)"),
                "32 random bytes or more, from the environment: ${NAME}, made by `openssl rand -base64 32`",
            );
            return None;
        }
        if let Some(node) =
            map.get(name).filter(|node| node.as_text().is_some_and(|text| !text.contains("${")))
        {
            report.lint(
                node.start,
                format!("`{name}` is written out (not shown): whoever reads this file and the vault reads its values"),
                "`${NAME}`, with the value in the environment",
            );
        }
        Some(Some(SecretString::from(written)))
    };
    let (now, before) = (key("vault_key"), key("vault_key_before"));
    let retention = map.read("vault_retention", report, duration(HOUR, Duration::from_secs(3_660 * 86_400)));
    let retention = retention.unwrap_or(VaultConfig::default().retention);
    Some(VaultConfig { key: now?, key_before: before?, retention })
}

fn auth(
    map: &Fields<'_>,
    gateway: Option<&GatewayConfig>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> AuthConfig {
    let jwt = map.get("jwt").and_then(|node| jwt::read(node, input, report)).map(Arc::new);
    let name = map.read("anonymous_agent", report, text);
    if let (Some(name), Some(node)) = (&name, map.get("anonymous_agent")) {
        if gateway.is_some_and(|g| !g.listen.ip().is_loopback()) {
            report.error(
                node.start,
                format!(
                    "`anonymous_agent` is `{}`, and `listen` is not loopback: anyone could act as it",
                    short(name)
                ),
                "listen on 127.0.0.1, or no anonymous_agent",
            );
        }
        if let Some(names) = input.names.filter(|names| !names.agents.contains(&**name)) {
            let near = did_you_mean(name, names.agents.iter().map(String::as_str));
            report.error(
                node.start,
                format!("there is no agent `{}`{near}", short(name)),
                "an agent of authority.yaml",
            );
        }
    }
    AuthConfig { anonymous_agent: name.map(AgentId::from), jwt }
}

fn listeners(
    gateway_map: &Fields<'_>,
    admin_map: &Fields<'_>,
    gateway: &GatewayConfig,
    admin: &AdminConfig,
    report: &mut Report<'_>,
) {
    let protected = gateway_map.get("tls").is_some() || gateway.behind_tls_proxy;
    for (map, address) in [(gateway_map, gateway.listen), (admin_map, admin.listen)] {
        if !address.ip().is_loopback() && !protected {
            report.error(
                map.get("listen").map_or(map.at, |node| node.start),
                format!("`{address}` can be reached from other machines, without TLS"),
                "tls = { cert, key } or behind_tls_proxy = true in [gateway], or a loopback address",
            );
        }
    }
    if gateway.listen == admin.listen && gateway.listen.port() != 0 {
        report.error(
            admin_map.get("listen").or_else(|| gateway_map.get("listen")).map_or(0, |node| node.start),
            format!("`{}` is the listener of agents and of people", admin.listen),
            "a port of its own for [admin]",
        );
    }
}
