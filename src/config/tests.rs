//! What servers.toml means, that everything wrong is told with its place, and that no secret is told.

use super::*;
use crate::{
    model::{Problems, Severity},
    policy::RuleOutcome,
};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use std::{path::PathBuf, time::Duration};

const BUNDLE: &str = "version: 1\nowner: me\n";
const AUTHORITY: &str = "capabilities:\n  all: { tools: [\"files__*\"] }\nagents:\n  planner-01: { capabilities: [all] }\npeople:\n  a: { groups: [security-team], roles: [approver] }\n  b: { groups: [platform-lead], roles: [approver] }\n";
const GATE: &str = include_str!("../../tests/fixtures/prod-safety-gate.yaml");
const BOOK: &str = include_str!("../../tests/fixtures/aegis-rulebook.yaml");

const FULL: &str = r#"
[gateway]
listen = "127.0.0.1:9000"
environment = "production"
policies = "policies"
data_dir = "data"
separator = "--"
approval_wait = "5s"
max_pending_approvals = 9
rejection_stands = "1m"
rejected_asks = { count = 3, window = "2m" }
labels = { window = "0s", keep = "7d" }
volatile_meta = ["ide.turn", "acme/*"]
public_url = "https://gate.example"
allowed_hosts = ["gate.example"]
allowed_origins = ["https://ide.example"]
max_body = "2MiB"
max_sessions = 7
drain = "1m"
instructions = "Be careful"
catalog = "full"
unchecked_arguments = "pass"
formats = "assert"
behind_tls_proxy = true

[admin]
listen = "localhost:9001"

[store]
url = "sqlite:data/x.db"
durability = "fsync"

[auth]
anonymous_agent = "planner-01"
[auth.jwt]
issuer = "https://login.example"
audience = ["https://gate.example/mcp", "${ROOT:-gate}"]
jwks_url = "http://localhost:9/jwks"
agent_claim = "client_id"
scope_map = { "mcp:read" = "all", "mcp:none" = [] }

[webhook]
url = "https://hooks.example/${FILES_TOKEN}"
secret = "${CRM_TOKEN}-and-some-more-characters"
link = "https://inbox.example/"

[webhooks.mail]
format = "email"
url = "smtp://mail.example"
user = "tollgate"
password = "${FILES_TOKEN}"
from = "Tollgate <tollgate@acme.example>"
to = ["leads@acme.example"]
tell = ["asks", "alerts"]

[upstreams.files]
command = ["npx", "-y", "server", "${ROOT:-/srv/docs}"]
env = { LOG = "info", TOKEN = "pre ${FILES_TOKEN} $${LITERAL}", PORT = 80 }
prefix = ""
isolation = "agent"
timeout = "5s"
max_concurrency = 3
max_result_bytes = "2MiB"
retry = { attempts = 3, backoff = "1s" }
breaker = { failures = 2, cooldown = "10s" }
labels = ["internal"]
asks = ["roots", "sampling"]
trust_annotations = true
trust_cost = true
output_schema = "alert"
[upstreams.files.tools.write_file]
action = "files:write"
labels = ["write"]
read_only = false
idempotent = true
destructive = true
open_world = false
cost_usd = 0.25
expected_result_tokens = 200
sensitive = ["/content", "/items/*/key"]
output_schema = "refuse"

[upstreams.crm]
url = "https://crm.example/mcp"
headers = { Authorization = "Bearer ${CRM_TOKEN}" }

[upstreams.billing]
url = "https://billing.example/mcp?x#part"
transport = "sse"
oauth = { token_url = "https://login.example/token", client_id = "tollgate", client_secret = "${CRM_TOKEN}", scopes = ["read", "write"], auth_method = "client_secret_post" }
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "CRM_TOKEN" => Some("crm-s3cret".into()),
        "FILES_TOKEN" => Some("files-s3cret".into()),
        "EMPTY" => Some(String::new()),
        "EVIL" => Some("ev1l\r\nX: 1".into()),
        _ => None,
    }
}

/// A folder with servers.toml and a bundle.
fn folder(servers: &str, policies: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers.toml");
    std::fs::write(&path, servers).unwrap();
    let bundle = dir.path().join("policies");
    std::fs::create_dir(&bundle).unwrap();
    for (name, text) in [("bundle.yaml", BUNDLE), ("authority.yaml", AUTHORITY)].iter().chain(policies) {
        std::fs::write(bundle.join(name), text).unwrap();
    }
    (dir, path)
}

fn loaded(servers: &str) -> Loaded {
    let (_dir, path) = folder(servers, &[]);
    load(&path, &env).unwrap_or_else(|problems| panic!("{problems}"))
}

fn unmark(text: &str) -> (String, Vec<(usize, usize)>) {
    let mut places = Vec::new();
    let mut clean = String::new();
    for (index, line) in text.split('\n').enumerate() {
        let mut column = 1;
        for c in line.chars() {
            if c == '‸' {
                places.push((index + 1, column));
            } else {
                clean.push(c);
                column += 1;
            }
        }
        clean.push('\n');
    }
    (clean, places)
}

/// Every error of servers.toml: its place is marked with `‸`, its message names the offending text,
/// it says what was expected, and neither it nor its rendering shows a secret.
fn check(marked: &str, expect: &[(&str, &str)]) {
    let (text, places) = unmark(marked);
    let (_dir, path) = folder(&text, &[]);
    let problems = match load(&path, &env) {
        Ok(_) => panic!("{text} was taken"),
        Err(problems) => problems,
    };
    let shown = render(&problems, &|file| std::fs::read_to_string(file).ok());
    assert!(!problems.to_string().contains("s3cret") && !shown.contains("s3cret"), "{shown}");
    let errors: Vec<_> = problems.0.iter().filter(|p| p.severity == Severity::Error).collect();
    let got: Vec<_> = errors.iter().map(|p| (p.place.line, p.place.column)).collect();
    assert_eq!(got, places, "{text}{problems}");
    assert_eq!(errors.len(), expect.len(), "{problems}");
    for (problem, (offending, expected)) in errors.iter().zip(expect) {
        assert!(problem.message.contains(offending), "`{offending}` is not in: {}", problem.message);
        assert!(problem.expected.contains(expected), "`{expected}` is not in: {}", problem.expected);
    }
}

#[test]
fn every_key_is_read() {
    let loaded = loaded(FULL);
    let config = &loaded.config;
    let home = config.path.parent().unwrap();
    let g = &config.gateway;
    assert_eq!((g.listen.to_string().as_str(), &*g.environment), ("127.0.0.1:9000", "production"));
    assert_eq!((&g.policies, &g.data_dir), (&home.join("policies"), &home.join("data")));
    assert_eq!(
        (g.separator.as_str(), g.approval_wait, g.drain),
        ("--", Duration::from_secs(5), Duration::from_secs(60))
    );
    assert_eq!((g.max_pending_approvals, g.rejection_stands), (9, Duration::from_secs(60)));
    assert_eq!(g.rejected_asks, RejectedAsks { count: 3, window: Duration::from_secs(120) });
    assert_eq!(g.labels, LabelTerms { window: Duration::ZERO, keep: Duration::from_secs(7 * 86_400) });
    let volatile = |key: &str| g.volatile_meta.iter().any(|entry| entry.matches(key));
    assert!(volatile("ide.turn") && volatile("acme/call") && !volatile("acme") && !volatile("ide.turn2"));
    assert_eq!((g.max_body, g.max_sessions, g.behind_tls_proxy), (2 << 20, 7, true));
    assert_eq!(
        (g.allowed_hosts.len(), g.allowed_origins.len(), g.public_url.as_deref()),
        (1, 1, Some("https://gate.example"))
    );
    assert_eq!(g.instructions.as_deref(), Some("Be careful"));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9001");
    assert_eq!((&config.store.path, config.store.durability), (&home.join("data/x.db"), Durability::Fsync));
    assert_eq!(config.auth.anonymous_agent.as_deref(), Some("planner-01"));
    let jwt = config.auth.jwt.as_ref().unwrap();
    assert_eq!((jwt.issuer.as_str(), jwt.agent_claim.as_str()), ("https://login.example", "client_id"));
    assert_eq!(jwt.audience, ["https://gate.example/mcp", "gate"]);
    assert_eq!(jwt.keys, JwksSource::Url("http://localhost:9/jwks".parse().unwrap()));
    assert_eq!(jwt.scope_map["mcp:read"], ["all".into()]);
    assert!(jwt.scope_map["mcp:none"].is_empty());

    let [webhook, mail] = config.webhooks.as_slice() else { panic!("two") };
    let WebhookTarget::Json { url, .. } = &webhook.target else { panic!("json") };
    assert_eq!(url.as_str(), "https://hooks.example/files-s3cret");
    assert_eq!((webhook.link.as_deref(), webhook.tells), (Some("https://inbox.example/"), Tells::ALL));
    let WebhookTarget::Email(email) = &mail.target else { panic!("email") };
    assert_eq!(
        (&*email.host, email.port, email.tls_from_start, email.loopback),
        ("mail.example", 587, false, false)
    );
    assert_eq!((&*mail.name, email.to.len(), mail.tells), ("mail", 1, Tells::ASKS.and(Tells::ALERTS)));
    assert!(!format!("{:?}", config.webhooks).contains("s3cret"));

    let files = &config.upstreams["files"];
    let UpstreamTransport::Stdio { command, env, .. } = &files.transport else { panic!("stdio") };
    assert_eq!(command, &["npx", "-y", "server", "/srv/docs"]);
    let value = |name: &str| env[name].expose_secret().to_owned();
    assert_eq!((value("TOKEN"), value("PORT")), ("pre files-s3cret ${LITERAL}".into(), "80".into()));
    assert_eq!((files.prefix.as_str(), files.isolation, files.max_concurrency), ("", Isolation::Agent, 3));
    assert_eq!((files.timeout, files.max_result_bytes), (Duration::from_secs(5), 2 << 20));
    assert_eq!(files.retry, RetryConfig { attempts: 3, backoff: Duration::from_secs(1) });
    assert_eq!(files.breaker, BreakerConfig { failures: 2, cooldown: Duration::from_secs(10) });
    assert!(files.trust_annotations && files.trust_cost);
    assert_eq!(files.asks, Asks { elicitation: false, sampling: true, roots: true });
    let tool = &files.tools["write_file"];
    assert_eq!(
        (tool.action.as_deref(), tool.price.base.0, tool.expected_result_tokens),
        (Some("files:write"), 250_000, Some(200))
    );
    assert_eq!(
        (tool.read_only, tool.idempotent, tool.destructive, tool.open_world),
        (Some(false), Some(true), Some(true), Some(false))
    );
    assert_eq!(tool.sensitive.len(), 2);
    assert_eq!((files.output_schema, tool.output_schema), (OutputCheck::Alert, Some(OutputCheck::Refuse)));

    let crm = &config.upstreams["crm"];
    let UpstreamTransport::Http { url, headers, .. } = &crm.transport else { panic!("http") };
    assert_eq!(
        (url.as_str(), headers["Authorization"].expose_secret()),
        ("https://crm.example/mcp", "Bearer crm-s3cret")
    );
    let billing = &config.upstreams["billing"];
    let UpstreamTransport::Http { wire, oauth: Some(oauth), .. } = &billing.transport else { panic!("http") };
    assert_eq!(*wire, HttpWire::Sse);
    let OauthGrant::ClientCredentials(TokenSource { token_url, client }) = &oauth.grant else {
        panic!("client credentials")
    };
    assert_eq!((token_url.as_str(), client.id.as_str()), ("https://login.example/token", "tollgate"));
    let secret = client.secret.as_ref().map(ExposeSecret::expose_secret);
    assert_eq!((secret, client.auth_method), (Some("crm-s3cret"), ClientAuth::Post));
    assert_eq!(oauth.scopes, ["read", "write"]);
    assert_eq!(oauth.resource.as_deref(), Some("https://billing.example/mcp?x"));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(&*loaded.policies.environment, "production");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let loaded = loaded("[upstreams.files]\ncommand = [\"x\"]\n");
    let config = &loaded.config;
    let home = config.path.parent().unwrap();
    let g = &config.gateway;
    assert_eq!(
        (g.listen.to_string().as_str(), &*g.environment, g.separator.as_str()),
        ("127.0.0.1:8787", "staging", "__")
    );
    assert_eq!((g.approval_wait, g.drain), (Duration::from_secs(60), Duration::from_secs(20)));
    assert_eq!((g.max_body, g.max_sessions, g.catalog), (4 << 20, 1000, CatalogMode::Full));
    assert_eq!(
        g.labels,
        LabelTerms { window: Duration::from_secs(3600), keep: Duration::from_secs(30 * 86_400) }
    );
    assert_eq!(g.rejected_asks, RejectedAsks { count: 20, window: Duration::from_secs(600) });
    assert!(g.volatile_meta.is_empty());
    assert!(g.tls.is_none() && !g.behind_tls_proxy && g.public_url.is_none());
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8788");
    assert_eq!(
        (&config.store.path, config.store.durability),
        (&home.join(".tollgate/tollgate.db"), Durability::Commit)
    );
    let files = &config.upstreams["files"];
    assert_eq!(
        (files.prefix.as_str(), files.isolation, files.max_concurrency),
        ("files", Isolation::Shared, 64)
    );
    assert_eq!((files.timeout, files.max_result_bytes), (Duration::from_secs(30), 1 << 20));
    assert_eq!(files.retry, RetryConfig { attempts: 2, backoff: Duration::from_millis(200) });
    assert_eq!(files.breaker, BreakerConfig { failures: 5, cooldown: Duration::from_secs(30) });
    assert!(!files.trust_annotations && !files.trust_cost);
    assert_eq!(files.output_schema, OutputCheck::Lint);
    let vault = &config.store.vault;
    assert!(vault.key.is_none() && vault.key_before.is_none());
    assert_eq!(vault.retention, Duration::from_secs(30 * 86_400));
}

#[test]
fn the_key_of_the_vault_is_shown_nowhere() {
    let long = "0123456789abcdef0123456789abcdef";
    let text = format!(
        "[store]\nvault_key = \"{long}\"\nvault_key_before = \"${{EMPTY:-{long}2}}\"\nvault_retention = \"7d\"\n"
    );
    let loaded = loaded(&text);
    let vault = &loaded.config.store.vault;
    assert_eq!(vault.key.as_ref().unwrap().expose_secret(), long);
    assert_eq!(vault.key_before.as_ref().unwrap().expose_secret(), format!("{long}2"));
    assert_eq!(vault.retention, Duration::from_secs(7 * 86_400));
    assert!(!format!("{:?}", loaded.config).contains(long));
    let lints: Vec<&str> = loaded.lints.0.iter().map(|lint| lint.message.as_str()).collect();
    assert_eq!(
        lints.iter().filter(|text| text.contains("`vault_key` is written out")).count(),
        1,
        "{lints:?}"
    );
    assert!(!lints.join(" ").contains(long));
}

#[test]
fn the_reference_examples_load_in_a_whole_configuration() {
    let (_dir, path) = folder(FULL, &[("gate.yaml", GATE), ("book.yaml", BOOK)]);
    let loaded = load(&path, &env).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.policies.policies.len(), 3);
    let crate::policy::PolicyBody::Gate(rules) = &loaded.policies.policies[2].body else { panic!("a gate") };
    assert!(matches!(rules[0].outcome, RuleOutcome::RequireApproval(_)));
    assert!(!loaded.lints.has_errors() && !loaded.lints.0.is_empty());
}

#[test]
fn a_wrong_gateway_says_where() {
    let gateway = |line: &str, offending: &str, expected: &str| {
        check(&format!("[gateway]\n{line}"), &[(offending, expected)])
    };
    gateway("‸lisen = \"127.0.0.1:1\"", "`lisen`; did you mean `listen`?", "one of listen");
    gateway("listen = ‸\"8787\"", "`8787`", "like 127.0.0.1:8787");
    gateway("listen = ‸\"0.0.0.0:8787\"", "`0.0.0.0:8787`", "tls = { cert, key } or behind_tls_proxy");
    gateway(
        "listen = ‸\"127.0.0.1:8788\"",
        "`127.0.0.1:8788` is the listener of agents and of people",
        "a port of its own",
    );
    gateway("catalog = ‸\"some\"", "`some`", "search");
    gateway("catalog = ‸\"some\"", "`some`", "one of full");
    gateway("unchecked_arguments = ‸\"allow\"", "`allow`", "refuse");
    gateway("formats = ‸\"check\"", "`check`", "annotate");
    gateway("separator = ‸\"/\"", "`/`", "1 to 8 letters");
    gateway("approval_wait = ‸60", "`60`", "a duration like");
    gateway("approval_wait = ‸\"2h\"", "`2h`", "from 0ms to 1h");
    gateway("max_body = ‸\"4 bananas\"", "`4 bananas`", "4MiB");
    gateway("max_body = ‸1", "`1`", "from 1024");
    gateway("max_sessions = ‸-1", "`-1`", "a whole number");
    gateway("public_url = ‸\"ftp://x\"", "`ftp://x`", "http or https");
    gateway("rejected_asks = { ‸limit = 3 }", "`limit`", "count, window");
    gateway("rejected_asks = { count = ‸0 }", "`0`", "from 1");
    gateway("labels = { ‸for = \"1h\" }", "`for`", "window, keep");
    gateway("labels = { window = ‸3600 }", "`3600`", "a duration like");
    gateway("labels = ‸{ window = \"2d\", keep = \"1d\" }", "`window` is longer", "not longer than `keep`");
    for all in ["*", "a*", "a/*/*", "/*"] {
        gateway(&format!("volatile_meta = [\"a/b\", ‸\"{all}\"]"), &format!("`{all}`"), "vendor/*");
    }
    gateway("environment = ‸true", "`true`", "a text");
    gateway("environment = \"‸${NOPE}\"", "`${NOPE}` is not set", "NOPE");
    check(
        "[gateway]\ntls = { cert = ‸\"no.pem\", ‸kee = 1, key = ‸\"no.key\" }",
        &[("no.pem` is not a file", "PEM"), ("`kee`", "cert, key"), ("no.key` is not", "PEM")],
    );
    check("[gateway]\ntls = ‸{ cert = \"servers.toml\" }", &[("`key` is missing", "PEM")]);
}

#[test]
fn a_wrong_store_auth_or_admin_says_where() {
    check(
        "[store]\nurl = \"postgres://u:s3cret@h/db\"\ndurability = ‸\"fsync\"",
        &[("`durability` is of the store of one machine", "PostgreSQL keeps")],
    );
    check(
        "[store]\nurl = ‸\"postgres://u:s3cret@h/db\"\n[upstreams.crm]\nurl = \"https://crm.example/mcp\"\n\
         oauth = { grant = \"authorization_code\" }",
        &[("`vault_key` is missing: people connect upstream `crm`", "openssl rand -base64 32")],
    );
    check("[store]\nurl = ‸\"s3cret\"", &[("`url` names no store", "sqlite:PATH")]);
    check("[store]\nurl = ‸\"sqlite::memory:\"", &[("`url` names no store", "the path of a file")]);
    check("[store]\ndurability = ‸\"never\"", &[("`never`", "commit, fsync")]);
    check("[auth]\nanonymous_agent = ‸\"nobody\"", &[("no agent `nobody`", "authority.yaml")]);
    check(
        "[gateway]\nlisten = \"0.0.0.0:1\"\nbehind_tls_proxy = true\n[auth]\nanonymous_agent = ‸\"planner-01\"",
        &[("`planner-01`", "127.0.0.1")],
    );
    check("[admin]\nlisten = ‸\"[::]:1\"", &[("`[::]:1`", "loopback")]);
    check("[admin]\nmetrics_key = ‸\"s3cret\"", &[("`metrics_key` is too short", "openssl rand")]);
    check("[admin]\nmetrics_key = \"‸${NOPE}\"", &[("`${NOPE}` is not set", "NOPE")]);
    for wrong in ["s3cret", "ftp://s3cret/x", "http://u:s3cret@h", "http://h/?key=s3cret"] {
        let expected = [("`endpoint` is no collector's address", "OTEL_EXPORTER_OTLP_HEADERS")];
        check(&format!("[otel]\nendpoint = ‸\"{wrong}\""), &expected);
    }
    check(
        "‸gate = 1\n[‸upstream.x]\n",
        &[("`gate`", "gateway, admin"), ("`upstream`; did you mean `upstreams`?", "")],
    );
}

#[test]
fn wrong_sign_in_says_where() {
    let oidc = |more: &str, offending: &str, expected: &str| {
        let rest = "issuer = \"https://idp.example\", client_id = \"gate\"";
        check(&format!("[admin]\noidc = {{ {rest}, {more} }}"), &[(offending, expected)]);
    };
    oidc("‸clients = 1", "`clients`", "client_id, client_secret");
    oidc("client_secret = \"‸${NOPE}\"", "`${NOPE}` is not set", "NOPE");
    oidc("public_url = ‸\"http://gate.example\"", "cannot be trusted", "https");
    oidc("public_url = ‸\"https://gate.example/admin\"", "`public_url`", "without a path");
    oidc("groups = { ops = [‸\"auditer\"] }", "did you mean `auditor`", "viewer");
    oidc("people = { \"248\" = ‸\"nobody\" }", "no person `nobody`", "authority.yaml");
    oidc("idle = ‸\"1s\"", "`1s`", "from");
    let issuer = |url: &str| {
        check(
            &format!("[admin]\noidc = {{ issuer = ‸\"{url}\", client_id = \"gate\" }}"),
            &[("`issuer`", "https")],
        );
    };
    for url in ["http://idp.example", "idp", "https://u:p@idp.example", "https://idp.example/?a=b"] {
        issuer(url);
    }
    check(
        "[gateway]\nbehind_tls_proxy = true\n[admin]\nlisten = \"0.0.0.0:1\"\noidc = ‸{ issuer = \"https://i\", client_id = \"g\" }",
        &[("`public_url` is missing", "as people reach it")],
    );
}

#[test]
fn sign_in_is_read_with_its_defaults() {
    let text = "[admin]\nlisten = \"127.0.0.1:9001\"\n[admin.oidc]\nissuer = \"https://idp.example/a\"\nclient_id = \"gate\"\n\
                groups = { ops = [\"approver\", \"viewer\"] }\nscopes = [\"openid\", \"groups\"]\n";
    let (_dir, path) = folder(text, &[]);
    let config = load(&path, &env).unwrap().config;
    let oidc = config.admin.oidc.unwrap();
    assert_eq!(
        (oidc.issuer.as_str(), oidc.public_url.as_str()),
        ("https://idp.example/a", "http://127.0.0.1:9001")
    );
    assert_eq!((oidc.person_claim.as_str(), oidc.groups_claim.as_str()), ("sub", "groups"));
    assert_eq!(oidc.scopes, ["groups"]);
    assert_eq!(
        oidc.groups.as_ref().unwrap()["ops"],
        [crate::policy::Role::Approver, crate::policy::Role::Viewer]
    );
    assert!(oidc.people.is_none() && oidc.client_secret.is_none());
}

#[test]
fn wrong_token_rules_say_where() {
    let jwt = |rules: &str, offending: &str, expected: &str| {
        check(&format!("[auth.jwt]\n{rules}"), &[(offending, expected)]);
    };
    let rest = "audience = \"a\"\njwks_url = \"https://x/k\"";
    check(
        "[auth]\njwt = ‸‸‸{}",
        &[("`audience`", "`aud`"), ("`issuer`", "URL"), ("names no keys", "jwks_url")],
    );
    jwt(&format!("issuer = ‸\"login\"\n{rest}"), "`login` does not fit `issuer`", "http or https");
    jwt(&format!("issuer = \"https://i\"\n{rest}\n‸keys = 1"), "`keys`", "agent_claim");
    let rest = "issuer = \"https://i\"\n";
    jwt(&format!("{rest}jwks_url = \"https://x/k\"\naudience = ‸[]"), "`audience`", "at least one");
    jwt(&format!("{rest}jwks_url = \"https://x/k\"\naudience = [\"a\", ‸[1]]"), "`audience`", "text");
    let rest = "issuer = \"https://i\"\naudience = \"a\"\n";
    jwt(&format!("{rest}jwks_url = ‸\"http://x/k\""), "make tokens", "https");
    jwt(&format!("{rest}jwks_file = ‸\"none.json\""), "none.json` is not a file", "JWK set");
    jwt(&format!("{rest}jwks_url = \"https://x/k\"\njwks_file = ‸\"servers.toml\""), "both", "one of");
    let rest = format!("{rest}jwks_url = \"https://x/k\"\n");
    jwt(&format!("{rest}scope_map = {{ r = ‸\"nothing\" }}"), "no capability `nothing`", "authority.yaml");
    jwt(&format!("{rest}scope_map = {{ ‸\"a b\" = \"all\" }}"), "`a b` is not a scope", "without spaces");
}

#[test]
fn a_wrong_webhook_says_where() {
    let hook = |keys: &str, offending: &str, expected: &str| {
        check(&format!("[webhook]\n{keys}"), &[(offending, expected)]);
    };
    let secret = "secret = \"s3cret-s3cret-s3cret-s3cret\"";
    hook(&format!("url = ‸\"http://hooks.example/s3cret\"\n{secret}"), "webhook cannot be used", "https");
    hook("url = \"https://h/x\"\nsecret = ‸\"s3cret\"", "too short", "24");
    hook(&format!("url = \"https://h/x\"\n{secret}\nlink = ‸\"inbox\""), "`inbox`", "inbox page");
    hook(&format!("url = \"https://h/x\"\n{secret}\n‸retries = 1"), "`retries`", "url, secret");
}

/// R97. What is wrong with a webhook is named, without its URL and its keys.
#[test]
fn a_wrong_format_of_a_webhook_says_where() {
    let hook = |keys: &str, offending: &str, expected: &str| {
        check(&format!("[webhooks.x]\n{keys}"), &[(offending, expected)]);
    };
    hook(
        "format = ‸\"slak\"\nurl = \"https://h/s3cret\"",
        "did you mean `slack`",
        "json, slack, teams, email, pagerduty",
    );
    hook(
        "format = \"slack\"\nurl = ‸\"http://hooks.slack.com/s3cret\"",
        "webhook `x` cannot be used",
        "https",
    );
    hook(
        "format = \"teams\"\nurl = \"https://h/s3cret\"\nsecret = ‸\"s3cret\"",
        "`secret` says nothing",
        "format = \"json\"",
    );
    check("‸[webhooks.x]\nformat = \"pagerduty\"", &[("`routing_key` is missing", "Events API v2")]);
    hook(
        "format = \"pagerduty\"\nrouting_key = ‸\"s3cret\"",
        "`routing_key` of the webhook `x` is none",
        "32",
    );
    hook(
        "format = \"slack\"\nurl = \"https://h/s3cret\"\nrouting_key = ‸\"s3cret\"",
        "`routing_key` says nothing",
        "pagerduty",
    );
    hook(
        "format = \"slack\"\nurl = \"https://h/s3cret\"\ntell = [‸\"ask\"]",
        "did you mean `asks`",
        "escalations",
    );
    let mail = |keys: &str, offending: &str, expected: &str| {
        hook(&format!("format = \"email\"\nfrom = \"t@acme.example\"\n{keys}"), offending, expected);
    };
    mail("url = ‸\"https://h/s3cret\"\nto = [\"a@acme.example\"]", "is no mail server", "smtps://");
    mail("url = ‸\"smtp://u:s3cret@h\"\nto = [\"a@acme.example\"]", "is no mail server", "smtp://");
    mail("url = \"smtp://h\"\nto = [‸\"acme\"]", "`acme`", "a mail address");
    mail("url = \"smtp://h\"\nto = [\"a@acme.example\"]\nuser = ‸\"u\"", "stands alone", "`password`");
    check("[webhooks.‸\"a b\"]\nurl = \"https://h/x\"", &[("cannot name a webhook", "letters")]);
}

#[test]
fn wrong_client_credentials_say_where() {
    let http = |line: &str, offending: &str, expected: &str| {
        check(&format!("[upstreams.files]\nurl = \"https://x/mcp\"\n{line}"), &[(offending, expected)]);
    };
    let oauth = |keys: &str, offending: &str, expected: &str| {
        let all = "client_id = \"c\", client_secret = \"s3cret\"";
        http(&format!("oauth = {{ {all}, {keys} }}"), offending, expected);
    };
    http("asks = ‸[\"roots\", \"money\"]", "`money`", "elicitation, sampling, roots");
    http("transport = ‸\"ws\"", "`ws`", "auto, streamable-http, sse");
    http("oauth = ‸{ client_id = \"c\", client_secret = \"s3cret\" }", "`token_url`", "token endpoint");
    oauth("token_url = ‸\"http://x/token\"", "cannot be sent a password", "https");
    oauth("token_url = ‸\"https://a:s3cret@x/token\"", "cannot be sent a password", "without a user");
    oauth(
        "token_url = \"https://x/t\", resource = ‸\"https://x/#s3cret\"",
        "`resource`",
        "without a fragment",
    );
    oauth("token_url = \"https://x/t\", auth_method = ‸\"none\"", "`none`", "client_secret_basic");
    oauth("token_url = \"https://x/t\", ‸secret = 1", "`secret`", "client_secret");
    oauth("token_url = \"https://x/t\", grant = ‸\"password\"", "`password`", "authorization_code");
    oauth("token_url = \"https://x/t\", ‸per = \"person\"", "`per` does nothing", "another `grant`");
    let code = |keys: &str, offending: &str, expected: &str| {
        http(&format!("oauth = {{ grant = \"authorization_code\", {keys} }}"), offending, expected);
    };
    code("per = ‸\"team\"", "`team`", "gateway, person, agent");
    code("‸token_url = \"https://x/t\"", "`token_url` does nothing", "no `token_url`");
    code("‸client_secret = \"s3cret\"", "`client_secret` without `client_id`", "`client_id`");
    code(
        "client_id = \"c\", ‸client_metadata_url = \"https://x/c.json\"",
        "both `client_id` and `client_metadata_url`",
        "one of the two",
    );
    code("client_metadata_url = ‸\"http://x/c.json\"", "Metadata Document", "https");
    code("issuer = ‸\"http://login.example\"", "cannot be trusted", "https");
    code("redirect = ‸\"https://tollgate.example/callback\"", "listen on", "this machine");
    code("redirect = ‸\"http://127.0.0.1/callback\"", "listen on", "this machine");
    let both = "headers = { authorization = \"s3cret\" }\n‸oauth = { token_url = \"https://x/t\", client_id = \"c\", \
                client_secret = \"s3cret\" }";
    http(both, "both `oauth` and an `Authorization`", "one of the two");
    for key in ["transport = \"sse\"", "oauth = { }"] {
        let text = format!("[upstreams.files]\ncommand = [\"x\"]\n‸{key}");
        check(&text, &[("", "url")]);
    }
}

#[test]
fn somebody_connects_an_upstream() {
    let read = |keys: &str| {
        let oauth = format!("oauth = {{ grant = \"authorization_code\"{keys} }}");
        let loaded = loaded(&format!("[upstreams.crm]\nurl = \"https://crm.example/mcp\"\n{oauth}\n"));
        let UpstreamTransport::Http { oauth: Some(oauth), .. } = &loaded.config.upstreams["crm"].transport
        else {
            panic!("http")
        };
        OauthConfig::clone(oauth)
    };
    let of_gateway = read("");
    let grant = of_gateway.code_grant().unwrap();
    assert_eq!((grant.per, &grant.client, &of_gateway.resource), (CredentialOf::Gateway, &None, &None));
    let own = read(
        ", per = \"person\", client_id = \"c\", client_secret = \"${CRM_TOKEN}\", scopes = [\"read\"], \
         issuer = \"https://login.example\", redirect = \"http://127.0.0.1:8789/callback\"",
    );
    let grant = own.code_grant().unwrap();
    let client = grant.client.as_ref().unwrap();
    assert_eq!(
        (grant.per, client.id.as_str(), own.scopes.as_slice()),
        (CredentialOf::Person, "c", &["read".to_owned()][..])
    );
    assert_eq!(grant.issuer.as_deref(), Some("https://login.example"));
    assert_eq!(grant.redirect.as_ref().unwrap().port(), Some(8789));
    assert!(!format!("{own:?}").contains("crm-s3cret"));
    assert_eq!(own, own.clone());
    assert_ne!(own, of_gateway);
}

#[test]
fn a_wrong_upstream_says_where() {
    let upstream = |line: &str, offending: &str, expected: &str| {
        check(&format!("[upstreams.files]\n{line}"), &[(offending, expected)]);
    };
    let child = |line: &str, offending: &str, expected: &str| {
        check(&format!("[upstreams.files]\ncommand = [\"x\"]\n{line}"), &[(offending, expected)]);
    };
    check("[upstreams.‸files]\n", &[("`files` has neither `command` nor `url`", "one of the two")]);
    upstream("command = [\"x\"]\nurl = ‸\"https://x\"", "both `command` and `url`", "one of the two");
    upstream("command = ‸\"npx --token s3cret\"", "`command` is not a list", "program");
    upstream("command = ‸[]", "`command` names no program", "program");
    upstream("command = [\"x\", 1.5e‸]", "the list cannot be read", "a comma");
    upstream("command = [\"x\", \"‸${A B}\"]", "`${A B}` names no variable", "letters");
    upstream("command = [\"x\", \"s3cret ‸${A\"]", "`${` has no end", "$${");
    upstream("url = ‸\"s3cret\"", "`url` is not an http or https URL", "https://host/path");
    upstream("url = ‸\"https://u:s3cret@x/\"", "user name or a password", "headers");
    upstream("url = \"https://x/\"\n‸env = { A = \"s3cret\" }", "`env` does nothing here", "`command`");
    child("‸headers = { A = \"s3cret\" }", "`headers` does nothing here", "`url`");
    child("env = { ‸TOLLGATE_KEY = \"s3cret\" }", "`TOLLGATE_KEY`", "never gets TOLLGATE_*");
    child("env = { ‸\"A B\" = \"s3cret\" }", "`A B`", "a variable's name");
    child("env = { A = ‸[\"s3cret\"] }", "`A` in `env` is not a text", "a text");
    child("env = ‸\"s3cret\"", "`env` is not a table", "NAME");
    upstream(
        "url = \"https://x/\"\nheaders = { ‸Host = \"s3cret\" }",
        "`Host`",
        "the transport sets this one",
    );
    upstream("url = \"https://x/\"\nheaders = { X = ‸\"s3cret ${EVIL}\" }", "control character", "one line");
    upstream("url = \"https://x/\"\nheaders = { X = \"a\", ‸x = \"s3cret\" }", "`x` stands twice", "once");
    child("prefix = ‸\"Tollgate\"", "`Tollgate` is reserved", "another prefix");
    child("prefix = ‸\"a/b\"", "`a/b` cannot be the prefix", "tool names");
    child("isolation = ‸\"user\"", "`user`", "shared, agent, session");
    child("new_tools = ‸\"quarantine\"", "`quarantine`", "hidden, ask, listed");
    child("findings = ‸\"block\"", "`block`", "tell, alert, quarantine");
    child("timeout = ‸\"0s\"", "`0s`", "from 1ms");
    child("max_concurrency = ‸0", "`0`", "from 1");
    child("retry = { attempts = ‸0 }", "`0`", "from 1 to 10");
    child("retry = { ‸tries = 1 }", "`tries`", "attempts, backoff");
    child("breaker = { cooldown = ‸\"5\" }", "`5`", "a duration");
    child("labels = [\"a\", ‸\"a\"]", "`a` stands twice", "once");
    child("tools.w.cost_usd = ‸0.0000001", "`0.0000001`", "six decimals");
    child("tools.w.cost_usd = ‸nan", "`nan`", "a number");
    child("tools.w.sensitive = [‸\"/~\"]", "`/~`", "JSON pointer");
    child("tools.w.sensitive = [\"body\", ‸\"nested/x\"]", "`nested/x`", "JSON pointer");
    child("tools.w = { read_only = true, ‸destructive = true }", "`destructive`", "one of the two");
    check(
        "[upstreams.‸tollgate]\ncommand = [\"x\"]",
        &[("`tollgate` is reserved", "another name of an upstream")],
    );
    check(
        "[upstreams.a]\ncommand = [\"x\"]\nprefix = \"\"\n[upstreams.b]\ncommand = [\"x\"]\nprefix = ‸\"\"\n[upstreams.c]\ncommand = [\"x\"]\nprefix = \"d\"\n[upstreams.‸d]\ncommand = [\"x\"]",
        &[("`a` and `b` have the same prefix ``", "a prefix of its own"), ("`c` and `d`", "differ")],
    );
    // Whose a name is must be plain from its beginning, also where one of the two is not started.
    check(
        "[upstreams.mail]\ncommand = [\"x\"]\n[upstreams.‸mail__archive]\ncommand = [\"x\"]\nenabled = false",
        &[(
            "tools of upstream `mail__archive` have names that upstream `mail` could list too",
            "the separator",
        )],
    );
    check(
        "[upstreams.b]\ncommand = [\"x\"]\nprefix = \"p_\"\n[upstreams.a]\ncommand = [\"x\"]\nprefix = ‸\"p\"",
        &[("tools of upstream `b` have names that upstream `a` could list too", "the separator")],
    );
}

#[test]
fn everything_wrong_in_both_formats_comes_together() {
    let (_dir, path) = folder(
        "[gateway]\nlisten = 1\nlisten = 2\n[store]\nurl = \"mysql:x\"\n",
        &[("gate.yaml", "name: g\nrules: [{ decision: NO }]\n"), ("late.yml", "name: h\n")],
    );
    std::fs::remove_file(path.parent().unwrap().join("policies/authority.yaml")).unwrap();
    let problems = load(&path, &env).map(|_| ()).unwrap_err();
    let got: Vec<_> = problems
        .0
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .map(|p| (p.place.file.rsplit('/').next().unwrap(), p.place.line))
        .collect();
    assert_eq!(
        got,
        [
            ("authority.yaml", 0),
            ("gate.yaml", 2),
            ("late.yml", 0),
            ("servers.toml", 2),
            ("servers.toml", 3),
            ("servers.toml", 5)
        ],
        "{problems}"
    );
    let problems = load(std::path::Path::new("/no/such/servers.toml"), &env).map(|_| ()).unwrap_err();
    assert!(problems.to_string().contains("`/no/such/servers.toml` cannot be read"), "{problems}");
}

/// What is wrong has its place, also where a file or folder cannot be read at all.
#[test]
fn what_cannot_be_read_has_its_place() {
    let (dir, path) = folder("[gateway]\npolicies = \"x\"\n", &[]);
    let check = |file: &str, line: usize, column: usize, part: &str| {
        let problems = load(&path, &env).map(|_| ()).unwrap_err();
        let first = problems.0.iter().find(|problem| problem.severity == Severity::Error).unwrap();
        let place = &first.place;
        assert!(place.file.ends_with(file) && first.message.contains(part), "{problems}");
        assert_eq!((place.line, place.column), (line, column), "{problems}");
    };
    check("servers.toml", 2, 12, "cannot be read");
    std::fs::rename(dir.path().join("policies"), dir.path().join("x")).unwrap();
    let gate = dir.path().join("x/gate.yaml");
    for (bytes, line, column) in [(&b"\xff"[..], 1, 1), (b"\nname: \xc3\xa4\xff", 2, 8), (b"a\n\n\xe4", 3, 1)]
    {
        std::fs::write(&gate, bytes).unwrap();
        check("gate.yaml", line, column, "is not UTF-8");
    }
}

/// The bundle is checked even where servers.toml is not TOML.
#[test]
fn a_syntax_error_hides_nothing_in_the_bundle() {
    let (dir, path) = folder("[gateway]\npolicies = \"rules\"\nlisten = = 1\n", &[]);
    std::fs::rename(dir.path().join("policies"), dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("rules/gate.yaml"), "name: g\nrules: [{ decision: NO }]\n").unwrap();
    let problems = load(&path, &env).map(|_| ()).unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("`=` stands twice") && text.contains("`NO`"), "{text}");
}

/// I5: no secret in `Debug`, in what is hashed, in what is shown.
#[test]
fn secrets_are_nowhere() {
    let loaded = loaded(FULL);
    for shown in [
        format!("{:?}", loaded.config),
        format!("{loaded:?}"),
        String::from_utf8(digest_material(&loaded.config)).unwrap(),
    ] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let host = FULL.replace("hooks.example/", "hooks.example");
    assert!(host.contains("hooks.example${FILES_TOKEN}"));
    assert!(!format!("{:?}", super::tests::loaded(&host).config).contains("s3cret"));
    let args = super::tests::loaded(
        "[upstreams.x]\ncommand = [\"x\", \"--token=${CRM_TOKEN}\"]\n[upstreams.y]\nurl = \"https://h/${CRM_TOKEN}\"\n",
    );
    assert!(!format!("{args:?}").contains("s3cret"));
    // What is kept with a bundle names what decisions read, and neither commands nor URLs.
    let kept = without_secrets(&args.config).to_string();
    assert!(!kept.contains("s3cret") && !kept.contains("https://h"), "{kept}");
    let kept = without_secrets(&loaded.config).to_string();
    assert!(kept.contains("files:write") && kept.contains("0.25"), "{kept}");
    assert!(!kept.contains("s3cret"), "{kept}");
}

#[test]
fn the_digest_follows_what_bears_on_decisions() {
    let of = |servers: &str| loaded(servers).policies.snapshot;
    let base = of(FULL);
    for (from, to, same) in [
        ("\"info\"", "\"debug\"", true),
        ("Bearer ", "Token ", true),
        ("listen = \"127.0.0.1:9000\"", "listen = \"127.0.0.1:9002\"", true),
        ("\"production\"", "\"staging\"", false),
        ("\"server\"", "\"servant\"", false),
        ("crm.example", "crm2.example", false),
        ("\"internal\"", "\"external\"", false),
        ("trust_cost = true", "trust_cost = false", false),
        ("trust_cost = true", "trust_cost = true\nnew_tools = \"hidden\"", false),
        ("trust_cost = true", "trust_cost = true\nfindings = \"tell\"", false),
        ("trust_cost = true", "trust_cost = true\nfindings = \"alert\"", true),
        ("cost_usd = 0.25", "cost_usd = 0.26", false),
        ("\"files:write\"", "\"files:put\"", false),
    ] {
        assert_eq!(of(&FULL.replace(from, to)) == base, same, "{from} → {to}");
    }
}

#[test]
fn variables_expand_as_stated() {
    let check = |written: &str, expect: &str| {
        let servers = format!("[upstreams.x]\ncommand = [\"x\", '{written}']\n");
        let UpstreamTransport::Stdio { command, .. } = &loaded(&servers).config.upstreams["x"].transport
        else {
            panic!("stdio")
        };
        assert_eq!(command[1], expect, "{written}");
    };
    check("${CRM_TOKEN}", "crm-s3cret");
    check("a${CRM_TOKEN}b${CRM_TOKEN}", "acrm-s3cretbcrm-s3cret");
    check("${NOPE:-x y}", "x y");
    check("${NOPE:-}", "");
    check("${EMPTY:-z}", "z");
    check("${EMPTY}", "");
    check("$${CRM_TOKEN}", "${CRM_TOKEN}");
    check("$HOME costs 5$", "$HOME costs 5$");
    check("${CRM_TOKEN:-${X}", "crm-s3cret");
    check("é${NOPE:-ü}", "éü");
}

#[test]
fn problems_are_shown_with_line_and_caret() {
    let (_dir, path) = folder(
        "[gateway]\nlisten = \"nowhere\"\n",
        &[("gate.yaml", "name: g\ndescription: d\non: [{ tool: x }]\nrules:\n  - decison: DENY\n")],
    );
    let problems = load(&path, &env).map(|_| ()).unwrap_err();
    let shown = render(&problems, &|file| std::fs::read_to_string(file).ok());
    let shown = shown.replace(&path.parent().unwrap().display().to_string(), "");
    assert!(
        shown.contains("/policies/gate.yaml:5:5: error: unknown key `decison`; did you mean `decision`?\n 5 |   - decison: DENY\n   |     ^\n   expected one of id, condition"),
        "{shown}"
    );
    assert!(shown.contains("/servers.toml:2:10: error: `nowhere` does not fit `listen`\n 2 | listen = \"nowhere\"\n   |          ^\n"), "{shown}");
    assert!(shown.contains("2 errors, "), "{shown}");
    let json = serde_json::to_value(&problems).unwrap();
    let first = &json[0];
    for key in ["file", "line", "column", "severity", "message", "expected"] {
        assert!(first.get(key).is_some(), "{key}: {first}");
    }
    let (_dir, path) = folder(
        "[upstreams.x]\ncommand = [\"x\", \"hunter2\", \"${NOPE}\"] # hunter3\nurl = \"https://hunter4\"\n",
        &[("authority.yaml", "agents: { a: { keys: [hunter5, hunter6] } }\n")],
    );
    let problems = load(&path, &env).map(|_| ()).unwrap_err();
    let shown = render(&problems, &|file| std::fs::read_to_string(file).ok());
    assert!(
        shown.contains(" | agents: { a: { keys: [·")
            && shown.contains("2 | command = [\"x\", \"·······\", \"${NOPE}\"] # ·······\n"),
        "{shown}"
    );
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(render(&Problems::default(), &|_| None), "");
}

#[cfg(unix)]
#[test]
fn the_data_dir_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, path) = folder("[gateway]\ndata_dir = \"a/b\"\n", &[]);
    let config = load(&path, &env).unwrap().config;
    ensure_data_dir(&config).unwrap();
    ensure_data_dir(&config).unwrap();
    let mode = std::fs::metadata(dir.path().join("a/b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    std::fs::write(dir.path().join("f"), "").unwrap();
    let mut broken = config.clone();
    broken.gateway.data_dir = dir.path().join("f/x");
    assert!(ensure_data_dir(&broken).unwrap_err().contains("cannot be made"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// No input panics the loader or what renders its complaints, and no secret gets out.
    #[test]
    fn no_servers_toml_panics(edits in prop::collection::vec((0usize..4000, 0usize..6, ".{0,6}"), 1..5)) {
        let mut chars: Vec<char> = FULL.chars().collect();
        for (at, cut, put) in edits {
            let at = at % (chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, put.chars());
        }
        let text: String = chars.into_iter().collect();
        let mut report = crate::policy::source::Report::new("servers.toml", &text);
        let tree = tree::parse(&text, &mut report);
        let path = std::path::Path::new("servers.toml");
        let config = servers::read(&tree.root, &input::Input { path, env: expand::Env::new(&env, path), names: None }, &mut report);
        let problems = report.into_problems();
        let shown = render(&problems, &|_| Some(text.clone()));
        prop_assert!(!shown.contains("s3cret"));
        let debug = format!("{config:?}");
        prop_assert!(!debug.contains("s3cret"));
    }
}

#[test]
fn keys_of_endless_depth_are_refused() {
    for text in [format!("{}a = 1", "a.".repeat(300_000)), format!("[{}a]\n", "a.".repeat(300_000))] {
        let mut report = crate::policy::source::Report::new("servers.toml", &text);
        assert!(!tree::parse(&text, &mut report).whole);
        assert!(report.into_problems().has_errors());
    }
}

/// A policy that is not read without a word would be a hole.
#[test]
fn files_that_would_not_be_read_are_named() {
    let (dir, path) =
        folder("", &[("late.yml", "x"), ("Upper.YAML", "x"), (".hidden.yaml", "x"), ("notes.md", "x")]);
    for sub in ["tests", "more", ".git"] {
        std::fs::create_dir(dir.path().join("policies").join(sub)).unwrap();
        std::fs::write(dir.path().join("policies").join(sub).join("gate.yaml"), GATE).unwrap();
    }
    std::fs::write(dir.path().join("policies/binary.yaml"), [0xff, 0xfe]).unwrap();
    let problems = load(&path, &env).map(|_| ()).unwrap_err();
    let got: Vec<_> = problems
        .0
        .iter()
        .filter(|p| p.place.line == 0)
        .map(|p| (p.place.file.rsplit('/').next().unwrap(), p.severity))
        .collect();
    assert_eq!(
        got,
        [("Upper.YAML", Severity::Error), ("late.yml", Severity::Error), ("more", Severity::Lint),],
        "{problems}"
    );
}

/// A variable that is not set costs the upstream that names it, and nothing else; one of the gateway costs all.
#[test]
fn an_upstream_is_disabled_alone() {
    let load = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        for (name, text) in
            [("bundle.yaml", "version: \"1\"\nowner: o\n"), ("authority.yaml", "agents: {}\n")]
        {
            std::fs::write(folder.path().join("policies").join(name), text).unwrap();
        }
        let path = folder.path().join("servers.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, &|_| None)
    };
    let files = "[upstreams.files]\ncommand = [\"x\"]\n";
    for (table, reason) in [
        ("command = [\"x\", \"--token=${T}\"]", "`${T}` is not set in the environment"),
        ("url = \"${URL}\"", "`${URL}` is not set in the environment"),
        (
            "url = \"https://x/\"\nheaders = { A = \"Bearer ${K}\", B = \"${L}\" }",
            "`${K}` is not set in the environment",
        ),
        (
            "command = [\"x\"]\nenv = { K = \"${K}\" }\nlabels = [\"odd\"]",
            "`${K}` is not set in the environment",
        ),
        ("command = [\"${X}\"]\nenabled = false", "`enabled = false` in servers.toml"),
        (
            "enabled = false\nurl = \"https://x/\"\n[upstreams.crm.tools.t]\ncost_usd = 1",
            "`enabled = false` in servers.toml",
        ),
    ] {
        let loaded = load(&format!("{files}[upstreams.crm]\n{table}")).unwrap();
        assert_eq!(
            loaded.config.upstreams.keys().map(|n| n.as_str()).collect::<Vec<_>>(),
            ["files"],
            "{table}"
        );
        assert_eq!(loaded.config.disabled["crm"].reason, reason, "{table}");
        let told = loaded.lints.0.iter().any(|lint| lint.message.contains("upstream `crm` is disabled"));
        assert_eq!(told, reason.contains("not set"), "{table}: {}", loaded.lints);
    }
    // What is passed on only where it is set.
    let passed = "env = { P = \"${P:-}\", Q = \"${P:-}x\", R = \"\", S = \"${P:-y}\" }";
    let loaded = load(&format!("[upstreams.crm]\ncommand = [\"x\"]\n{passed}")).unwrap();
    let UpstreamTransport::Stdio { env, .. } = &loaded.config.upstreams["crm"].transport else {
        panic!("stdio")
    };
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    assert_eq!(env, [("Q", "x"), ("R", ""), ("S", "y")]);
    // A file of variables, and where a child works. A `$` is no reference: nothing of Tollgate's own environment gets in.
    const ENV_FILE: &str = "\u{feff}# don't expand\r\nexport A='one two'\nB=\"x\"\r\nC=3 # three\n\
        D=pa$PATH${PATH}$\nE='$PATH \\$'\nF=\"\\$x$PATH\"\nG=\\\\$PATH\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vars.env");
    std::fs::write(&file, ENV_FILE).unwrap();
    let table = format!(
        "command = [\"x\"]\nenv = {{ B = \"own\" }}\nenv_file = \"{}\"\ncwd = \"sub\"",
        file.display()
    );
    let loaded = load(&format!("[upstreams.crm]\n{table}")).unwrap();
    let UpstreamTransport::Stdio { env, cwd, .. } = &loaded.config.upstreams["crm"].transport else {
        panic!("stdio")
    };
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    assert_eq!(
        env,
        [
            ("A", "one two"),
            ("B", "own"),
            ("C", "3"),
            ("D", "pa$PATH${PATH}$"),
            ("E", "$PATH \\$"),
            ("F", "$x$PATH"),
            ("G", "\\$PATH")
        ]
    );
    assert!(cwd.is_absolute() && cwd.ends_with("sub"), "{cwd:?}");
    for (text, fault) in
        [("s3cret line\n", "a line that is not NAME=value"), ("TOLLGATE_KEY=s3cret\n", "`TOLLGATE_KEY`")]
    {
        std::fs::write(&file, text).unwrap();
        let problems = load(&format!("[upstreams.crm]\n{table}")).unwrap_err().to_string();
        assert!(problems.contains(fault) && !problems.contains("s3cret"), "{problems}");
    }
    std::fs::remove_file(&file).unwrap();
    let loaded = load(&format!("[upstreams.crm]\n{table}")).unwrap();
    assert!(loaded.config.disabled["crm"].reason.contains("vars.env` cannot be read"));
    // What is wrong in a disabled table is wrong all the same.
    for table in [
        "enabled = false\ntimeout = \"soon\"",
        "enabled = 1\ncommand = [\"x\"]",
        "url = \"${X}\"\nisolation = \"none\"",
    ] {
        assert!(load(&format!("[upstreams.crm]\n{table}")).is_err(), "{table}");
    }
    for table in [
        "command = [\"x\", \"${TOLLGATE_KEY}\"]",
        "command = [\"x\"]\nenv = { FOO = \"${TOLLGATE_KEY:-x}\" }",
        "url = \"https://x/\"\nheaders = { A = \"${TOLLGATE_LOG}\" }\nenabled = false",
    ] {
        let problems = load(&format!("[upstreams.crm]\n{table}")).unwrap_err().to_string();
        assert!(problems.contains("is Tollgate's own, and no upstream gets it"), "{table}: {problems}");
    }
    assert!(load("[gateway]\npublic_url = \"https://${HOST}/\"").is_err());
}
