//! `[upstreams.*]`: how each upstream is reached, what it is trusted with, and its tools' tables.

use super::{
    Asks, BreakerConfig, DisabledUpstream, HttpWire, Isolation, OutputCheck, RetryConfig, ToolConfig,
    UpstreamConfig, UpstreamTransport, apps, contain,
    expand::{Env, expand},
    file::resolve,
    input::{Input, expanded},
    oauth,
    outgoing::{env_file, header, secrets},
    variables::env_name,
};
use crate::{
    cost::ToolPrice,
    model::UpstreamName,
    pinning::{NewItems, OnFindings, PinSettings},
    policy::{
        read::{
            Fields, boolean, bytes, count, duration, entries, fields, mismatch, money, pointers, short, text,
            texts, word,
        },
        source::{Entry, Kind, Node, Report},
        tool_price,
    },
};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

const KEYS: &[&str] = &[
    "enabled",
    "command",
    "env",
    "env_file",
    "cwd",
    "url",
    "headers",
    "transport",
    "oauth",
    "prefix",
    "isolation",
    "timeout",
    "max_concurrency",
    "max_result_bytes",
    "retry",
    "breaker",
    "labels",
    "apps",
    "asks",
    "contain",
    "trust_annotations",
    "trust_cost",
    "new_tools",
    "findings",
    "output_schema",
    "tools",
];
const TOOL_KEYS: &[&str] = &[
    "action",
    "labels",
    "read_only",
    "idempotent",
    "destructive",
    "open_world",
    "cost_usd",
    "cost",
    "expected_result_tokens",
    "sensitive",
    "output_schema",
];
const OUTPUT_CHECKS: &[(&str, OutputCheck)] =
    &[("lint", OutputCheck::Lint), ("alert", OutputCheck::Alert), ("refuse", OutputCheck::Refuse)];
const ISOLATION: &[(&str, Isolation)] =
    &[("shared", Isolation::Shared), ("agent", Isolation::Agent), ("session", Isolation::Session)];
const NEW_ITEMS: &[(&str, NewItems)] =
    &[("hidden", NewItems::Hidden), ("ask", NewItems::Ask), ("listed", NewItems::Listed)];
const FINDINGS: &[(&str, OnFindings)] =
    &[("tell", OnFindings::Tell), ("alert", OnFindings::Alert), ("quarantine", OnFindings::Quarantine)];
const WIRES: &[(&str, HttpWire)] =
    &[("auto", HttpWire::Auto), ("streamable-http", HttpWire::Streamable), ("sse", HttpWire::Sse)];
/// Tollgate's own tools begin so; no upstream may.
const RESERVED: &str = "tollgate";

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Those that are started and those that are not, by name.
type Upstreams = (BTreeMap<UpstreamName, UpstreamConfig>, BTreeMap<UpstreamName, DisabledUpstream>);

/// Reads every upstream.
pub(super) fn read(
    written: &[Entry],
    separator: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Upstreams {
    let (mut upstreams, mut disabled) = Upstreams::default();
    let mut prefixes: BTreeMap<String, String> = BTreeMap::new();
    // Those that are not started too: what is right must not depend on the environment.
    let mut heads: Vec<(String, String)> = Vec::new();
    for entry in written {
        let upstream = upstream(entry, input, report);
        let prefix = match &upstream {
            Some(Read::Enabled(upstream)) => Some(&upstream.prefix),
            Some(Read::Disabled(upstream)) => Some(&upstream.prefix),
            None => None,
        };
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
            let head = format!("{prefix}{separator}");
            nested(entry, prefix, &head, &heads, report);
            heads.push((head, entry.key.clone()));
        }
        let upstream = match upstream {
            Some(Read::Enabled(upstream)) => upstream,
            Some(Read::Disabled(upstream)) => {
                disabled.insert(upstream.name.clone(), upstream);
                continue;
            }
            None => continue,
        };
        if let Some(other) = prefixes.insert(upstream.prefix.clone(), entry.key.clone()) {
            let prefix_at = entry.value.get("prefix").map_or(entry.at, |node| node.start);
            report.error(
                prefix_at,
                format!(
                    "upstreams `{}` and `{}` have the same prefix `{}`",
                    short(&other),
                    short(&entry.key),
                    upstream.prefix
                ),
                "a prefix of its own for each, so that their tools' names differ",
            );
        }
        upstreams.insert(upstream.name.clone(), *upstream);
    }
    (upstreams, disabled)
}

/// Refuses a prefix within which all names of another upstream lie: whose a name is must be plain from its beginning.
fn nested(entry: &Entry, prefix: &str, head: &str, heads: &[(String, String)], report: &mut Report<'_>) {
    let lies_in = |one: &str, other: &str| one != other && one.starts_with(other);
    let other = heads.iter().find(|(known, _)| lies_in(head, known) || lies_in(known, head));
    if let Some((known, name)) = other {
        let at = entry.value.get("prefix").map_or(entry.at, |node| node.start);
        let (outer, inner) = if lies_in(head, known) { (name, &entry.key) } else { (&entry.key, name) };
        report.error(
            at,
            format!(
                "prefix `{prefix}`: tools of upstream `{}` have names that upstream `{}` could list too",
                short(inner),
                short(outer)
            ),
            "prefixes of which none begins with another and the separator",
        );
    }
}

/// One table.
enum Read {
    Enabled(Box<UpstreamConfig>),
    Disabled(DisabledUpstream),
}

fn upstream(entry: &Entry, input: &Input<'_>, report: &mut Report<'_>) -> Option<Read> {
    let named = tool_word(&entry.key, entry.at, "name of an upstream", report);
    let map = fields(&entry.value, &entry.key, KEYS, report)?;
    let enabled = map.read("enabled", report, boolean).unwrap_or(true);
    let reasons = RefCell::default();
    let env = if enabled { input.env.disabling(&entry.key, &reasons) } else { input.env.disabled() };
    let input = &Input { env, ..*input };
    let prefix = prefix(&map, &entry.key, report)?;
    let transport = transport(&map, entry, input, report);
    let retry = map.get("retry").and_then(|node| retry(node, report));
    let breaker = map.get("breaker").and_then(|node| breaker(node, report));
    let tools = tools(&map, report);
    let name = UpstreamName::from(entry.key.as_str());
    let labels = map.read("labels", report, texts).unwrap_or_default();
    let isolation = map.read("isolation", report, word(ISOLATION)).unwrap_or(Isolation::Shared);
    let timeout = map.read("timeout", report, duration(MILLISECOND, DAY));
    let max_concurrency = map.read("max_concurrency", report, count(1, 100_000));
    let max_result_bytes = map.read("max_result_bytes", report, bytes(1 << 10, 1 << 30));
    let asks = map.read("asks", report, asks).unwrap_or(Asks::ALL);
    let apps = match map.get("apps") {
        None => Some(None),
        Some(node) => apps::read(node, report).map(|apps| Some(Arc::new(apps))),
    };
    let contain = match map.get("contain") {
        None => Some(None),
        Some(node) => contain::read(node, input, report).map(Some),
    };
    let trust_annotations = map.read("trust_annotations", report, boolean).unwrap_or(false);
    let trust_cost = map.read("trust_cost", report, boolean).unwrap_or(false);
    let pins = PinSettings {
        new_items: map.read("new_tools", report, word(NEW_ITEMS)).unwrap_or_default(),
        findings: map.read("findings", report, word(FINDINGS)).unwrap_or_default(),
    };
    let output_schema = map.read("output_schema", report, word(OUTPUT_CHECKS)).unwrap_or_default();
    named?;
    let reason = match reasons.into_inner().into_iter().next() {
        _ if !enabled => "`enabled = false` in servers.toml".to_owned(),
        Some(reason) => reason,
        None => {
            return Some(Read::Enabled(Box::new(UpstreamConfig {
                name,
                transport: transport?,
                prefix,
                isolation,
                timeout: timeout.unwrap_or(Duration::from_secs(30)),
                max_concurrency: max_concurrency.and_then(|n| usize::try_from(n).ok()).unwrap_or(64),
                max_result_bytes: max_result_bytes.unwrap_or(1 << 20),
                retry: retry.unwrap_or(RetryConfig { attempts: 2, backoff: Duration::from_millis(200) }),
                breaker: breaker.unwrap_or(BreakerConfig { failures: 5, cooldown: Duration::from_secs(30) }),
                labels,
                asks,
                contain: contain?.map(Arc::new),
                apps: apps?,
                trust_annotations,
                trust_cost,
                pins,
                output_schema,
                tools,
            })));
        }
    };
    let contained = matches!(contain, Some(Some(_)));
    Some(Read::Disabled(DisabledUpstream {
        name,
        reason,
        switched_off: !enabled,
        contained,
        prefix,
        labels,
        tools,
    }))
}

/// What stands before the names of an upstream's tools: its own name, where nothing is said.
fn prefix(map: &Fields<'_>, name: &str, report: &mut Report<'_>) -> Option<String> {
    let Some(node) = map.get("prefix") else { return Some(name.to_owned()) };
    match node.as_text() {
        Some("") => {}
        Some(text) => tool_word(text, node.start, "prefix", report)?,
        None => {
            mismatch(node, "prefix", "a text; \"\" for none", report);
            return None;
        }
    }
    node.as_text().map(ToOwned::to_owned)
}

/// What is said of single tools.
fn tools(map: &Fields<'_>, report: &mut Report<'_>) -> BTreeMap<String, ToolConfig> {
    let mut tools = BTreeMap::new();
    for tool in map.get("tools").and_then(|node| entries(node, "tools", report)).unwrap_or(&[]) {
        if tool.key.is_empty() || tool.key.chars().count() > 128 || tool.key.chars().any(char::is_control) {
            report.error(
                tool.at,
                format!("`{}` is not a tool's name", short(&tool.key)),
                "1 to 128 characters",
            );
        }
        tools.extend(tool_table(&tool.value, &tool.key, report).map(|table| (tool.key.clone(), table)));
    }
    tools
}

/// A list of what may be asked.
fn asks(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Asks> {
    let mut read = Asks { elicitation: false, sampling: false, roots: false };
    for word in texts(node, key, report)? {
        match &*word {
            "elicitation" => read.elicitation = true,
            "sampling" => read.sampling = true,
            "roots" => read.roots = true,
            other => {
                let why = format!("`{}` is nothing that an upstream asks for", short(other));
                report.error(node.start, why, "some of elicitation, sampling, roots");
                return None;
            }
        }
    }
    Some(read)
}

/// Part of an exposed tool name, which clients restrict.
fn tool_word(text: &str, at: usize, what: &str, report: &mut Report<'_>) -> Option<()> {
    if text.eq_ignore_ascii_case(RESERVED) {
        report.error(
            at,
            format!("`{}` is reserved for Tollgate's own tools", short(text)),
            format!("another {what}"),
        );
        return None;
    }
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if good {
        return Some(());
    }
    report.error(
        at,
        format!("`{}` cannot be the {what}", short(text)),
        "1 to 64 letters, digits, `_`, `.` or `-`: it becomes part of tool names",
    );
    None
}

fn transport(
    map: &Fields<'_>,
    entry: &Entry,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<UpstreamTransport> {
    let env = input.env;
    let name = short(&entry.key);
    let only = |key: &str, beside: &str, report: &mut Report<'_>| {
        if let Some(extra) = map.entry(key) {
            report.error(
                extra.at,
                format!("`{key}` does nothing here"),
                format!("`{key}` only beside `{beside}`"),
            );
        }
    };
    match (map.get("command"), map.get("url")) {
        (None, None) => {
            report.error(
                entry.at,
                format!("upstream `{name}` has neither `command` nor `url`"),
                "one of the two",
            );
            None
        }
        (Some(program), Some(at)) => {
            command(program, env, report);
            url(at, env, report);
            report.error(
                at.start,
                format!("upstream `{name}` has both `command` and `url`"),
                "one of the two",
            );
            None
        }
        (Some(node), None) => {
            for key in ["headers", "transport", "oauth"] {
                only(key, "url", report);
            }
            let command = command(node, env, report);
            let from_file = env_file(map, input, report);
            let vars = secrets(map, "env", env, env_name, report);
            let cwd = expanded(map, "cwd", input, report);
            Some(UpstreamTransport::Stdio {
                command: command?,
                // What the table says itself counts.
                env: from_file?.into_iter().chain(vars?).collect(),
                cwd: resolve(input.path, cwd?.as_deref().unwrap_or("")),
            })
        }
        (None, Some(node)) => {
            for key in ["env", "env_file", "cwd", "contain"] {
                only(key, "command", report);
            }
            let url = url(node, env, report);
            let headers = secrets(map, "headers", env, header, report);
            let wire = map.read("transport", report, word(WIRES)).unwrap_or(HttpWire::Auto);
            let oauth = match map.entry("oauth") {
                None => Some(None),
                Some(entry) => {
                    if headers
                        .as_ref()
                        .is_some_and(|h| h.keys().any(|k| k.eq_ignore_ascii_case("authorization")))
                    {
                        report.error(
                            entry.at,
                            "both `oauth` and an `Authorization` in `headers`",
                            "one of the two",
                        );
                    }
                    oauth::read(&entry.value, url.as_ref(), env, report).map(|read| Some(Arc::new(read)))
                }
            };
            Some(UpstreamTransport::Http { url: url?, headers: headers?, wire, oauth: oauth? })
        }
    }
}

fn command(node: &Node, env: Env<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let Kind::List(items) = &node.kind else {
        report.error(
            node.start,
            "`command` is not a list (not shown: it may hold a secret)",
            "[\"program\", \"argument\", …]",
        );
        return None;
    };
    let mut words = Vec::new();
    let mut good = true;
    for item in items {
        let Some(text) = item.as_text() else {
            report.error(
                item.start,
                "an element of `command` is not a text",
                "the program and its arguments, each a text",
            );
            good = false;
            continue;
        };
        match expand(item, text, env, report) {
            Some(word) if word.contains('\0') => {
                report.error(item.start, "an element of `command` holds a NUL", "a text without NUL");
                good = false;
            }
            Some(word) => words.push(word),
            None => good = false,
        }
    }
    if items.is_empty() || words.first().is_some_and(String::is_empty) {
        report.error(node.start, "`command` names no program", "[\"program\", \"argument\", …]");
        return None;
    }
    good.then_some(words)
}

/// The text of the URL is not shown in messages: it may hold a secret.
fn url(node: &Node, env: Env<'_>, report: &mut Report<'_>) -> Option<url::Url> {
    let Some(text) = node.as_text() else {
        report.error(node.start, "`url` is not a text", "an http or https URL");
        return None;
    };
    let expanded = expand(node, text, env, report)?;
    let parsed = url::Url::parse(&expanded)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(parsed) = parsed else {
        report.error(
            node.start,
            "`url` is not an http or https URL (not shown: it may hold a secret)",
            "https://host/path",
        );
        return None;
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        report.error(
            node.start,
            "`url` holds a user name or a password",
            "headers = { Authorization = \"…\" }",
        );
        return None;
    }
    if parsed.scheme() == "http" && !super::is_loopback(&parsed) {
        report.lint(
            node.start,
            "`http` beyond this machine: calls and credentials travel unencrypted",
            "https",
        );
    }
    Some(parsed)
}

fn retry(node: &Node, report: &mut Report<'_>) -> Option<RetryConfig> {
    let map = fields(node, "retry", &["attempts", "backoff"], report)?;
    let attempts = map.read("attempts", report, count(1, 10)).and_then(|n| u32::try_from(n).ok());
    let backoff = map.read("backoff", report, duration(MILLISECOND, Duration::from_secs(60)));
    Some(RetryConfig {
        attempts: attempts.unwrap_or(2),
        backoff: backoff.unwrap_or(Duration::from_millis(200)),
    })
}

fn breaker(node: &Node, report: &mut Report<'_>) -> Option<BreakerConfig> {
    let map = fields(node, "breaker", &["failures", "cooldown"], report)?;
    let failures = map.read("failures", report, count(1, 10_000)).and_then(|n| u32::try_from(n).ok());
    let cooldown = map.read("cooldown", report, duration(MILLISECOND, Duration::from_secs(3_600)));
    Some(BreakerConfig {
        failures: failures.unwrap_or(5),
        cooldown: cooldown.unwrap_or(Duration::from_secs(30)),
    })
}

fn tool_table(node: &Node, name: &str, report: &mut Report<'_>) -> Option<ToolConfig> {
    let map = fields(node, name, TOOL_KEYS, report)?;
    let amount = map.read("cost_usd", report, money).map(ToolPrice::flat);
    let price = map.read("cost", report, tool_price).or(amount);
    if let (Some(entry), Some(_)) = (map.entry("cost"), map.entry("cost_usd")) {
        report.error(
            entry.at,
            format!("tool `{}` has both `cost` and `cost_usd`", short(name)),
            "one of the two: `cost_usd` is an amount, `cost` a formula",
        );
    }
    let table = ToolConfig {
        action: map.read("action", report, text),
        labels: map.read("labels", report, texts).unwrap_or_default(),
        read_only: map.read("read_only", report, boolean),
        idempotent: map.read("idempotent", report, boolean),
        destructive: map.read("destructive", report, boolean),
        open_world: map.read("open_world", report, boolean),
        price: price.unwrap_or_default(),
        expected_result_tokens: map.read("expected_result_tokens", report, count(0, 100_000_000)),
        sensitive: map.read("sensitive", report, pointers).unwrap_or_default(),
        output_schema: map.read("output_schema", report, word(OUTPUT_CHECKS)),
    };
    if table.read_only == Some(true) && table.destructive == Some(true) {
        report.error(
            map.entry("destructive").map_or(node.start, |e| e.at),
            format!("tool `{}` is said to be read_only and `destructive`", short(name)),
            "one of the two",
        );
    }
    Some(table)
}
