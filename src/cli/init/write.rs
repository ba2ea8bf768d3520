//! The first servers.toml and policies/: what was imported, and a bundle that asks a person about whatever is not known to
//! only read.

use super::{
    read::{Input, Server},
    variables::{Variables, references, variable},
};
use crate::{
    config::{is_secret, secret_in_argument},
    redaction::{DataRules, display_text},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// One upstream to be written.
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) from: String,
    pub(super) server: Server,
    pub(super) enabled: bool,
}

/// A URL with variables in place of what looks like a secret in its path and query, and without what is never sent.
fn clean_url(url: &str, upstream: &str, rules: &DataRules, variables: &mut Variables) -> String {
    let (url, _fragment) = url.split_once('#').unwrap_or((url, ""));
    let (start, query) = match url.split_once('?') {
        Some((start, query)) => (start, Some(query)),
        None => (url, None),
    };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut out = Vec::new();
    for (place, segment) in start.split('/').enumerate() {
        // Scheme, nothing, host; then the path.
        out.push(if place > 2 && is_secret(rules, "segment", &decoded(segment)) {
            let name = variable(&[upstream, "PATH", &(place - 2).to_string()]);
            variables.stand_for(segment, name, format!("a part of the path of `{upstream}`, percent-encoded"))
        } else {
            references(segment, upstream, variables)
        });
    }
    let mut text = out.join("/");
    for (place, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if place == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, value)) if is_secret(rules, &decoded(name), &decoded(value)) => {
                let own = variable(&[upstream, &decoded(name)]);
                let what = format!("`{}` in the URL of `{upstream}`, percent-encoded", decoded(name));
                text.push_str(&format!("{name}={}", variables.stand_for(value, own, what)));
            }
            None if is_secret(rules, "part", &decoded(pair)) => {
                let own = variable(&[upstream, "QUERY"]);
                let what = format!("a part of the URL of `{upstream}`, percent-encoded");
                text.push_str(&variables.stand_for(pair, own, what));
            }
            Some(_) | None => text.push_str(&references(pair, upstream, variables)),
        }
    }
    text
}

/// A text of TOML, always on one line: what a client's file says must not become a line of its own.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's too; TOML has one more control character.
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

/// A text inside a comment.
fn comment(text: &str) -> String {
    display_text(text, 400)
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_owned() } else { quoted(name) }
}

/// What programs must know of the network they are in: the way out, and whose certificates to trust.
const NETWORK: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
];

/// Those of them that are set here.
pub(super) fn network(is_set: impl Fn(&str) -> bool) -> Vec<&'static str> {
    NETWORK.iter().copied().filter(|name| is_set(name)).collect()
}

/// `[upstreams.NAME]` of all of them, and what must be set for them.
pub(super) fn servers(
    environment: &str,
    upstreams: &[Upstream],
    inputs: &BTreeMap<String, Input>,
    passed: &[&str],
) -> (String, Variables) {
    let rules = DataRules::built_in();
    let mut variables = Variables::with(inputs);
    let mut out = gateway(environment);
    for upstream in upstreams {
        server(&mut out, upstream, passed, &rules, &mut variables);
    }
    (out, variables)
}

/// The tables of the gateway itself.
fn gateway(environment: &str) -> String {
    format!(
        "# The gateway and the MCP servers behind it. `tollgate check` reads it all; a running gateway takes changes over.
# A server that is started gets PATH, HOME, USER, LANG, LC_* and TMPDIR, and of all else what its `env` lists. Behind a proxy,
# or with certificates of your own: env = {{ HTTPS_PROXY = \"${{HTTPS_PROXY:-}}\" }}, and so NO_PROXY, SSL_CERT_FILE,
# NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE. One that is not set is left out.

[gateway]
listen = \"127.0.0.1:8787\"        # MCP for agents at /mcp
environment = {}          # `env` in conditions
policies = \"policies\"
data_dir = \".tollgate\"
approval_wait = \"60s\"            # how long a call waits for an approval given elsewhere

[admin]
listen = \"127.0.0.1:8788\"        # API, health; never on the agents' port

[store]
url = \"sqlite:.tollgate/tollgate.db\"   # and the journal beside it
retention = \"400d\"               # older records go, unless they are under a legal hold; \"forever\" keeps them
",
        quoted(environment)
    )
}

/// The table of one upstream.
fn server(
    out: &mut String,
    upstream: &Upstream,
    passed: &[&str],
    rules: &DataRules,
    variables: &mut Variables,
) {
    let name = &upstream.name;
    let _written = write!(out, "\n# {}\n[upstreams.{}]\n", comment(&upstream.from), key(name));
    if !upstream.enabled {
        out.push_str("enabled = false                  # as in its client\n");
    }
    match &upstream.server {
        Server::Command { command, env, cwd, env_file } => {
            let words: Vec<String> = (0..command.len())
                .map(|place| quoted(&word(command, place, name, rules, variables)))
                .collect();
            let _written = writeln!(out, "command = [{}]", words.join(", "));
            for (key, path) in [("cwd", cwd), ("env_file", env_file)] {
                if let Some(path) = path {
                    let path = quoted(&references(path, name, variables));
                    let _written = writeln!(out, "{key} = {path}");
                }
            }
            table(out, "env", env, passed, name, rules, variables);
        }
        Server::Url { url, headers, sse } => {
            let _written = writeln!(out, "url = {}", quoted(&clean_url(url, name, rules, variables)));
            if *sse {
                out.push_str("transport = \"sse\"\n");
            }
            table(out, "headers", headers, &[], name, rules, variables);
        }
    }
    out.push_str(
        "# Its own word on which tools only read is believed: nobody is asked about those. With false a person is asked about\n\
         # each tool that has no table with `read_only = true` here.\n\
         trust_annotations = true\n",
    );
}

/// One word of a command, with a variable in place of what looks like a secret.
fn word(
    command: &[String],
    place: usize,
    upstream: &str,
    rules: &DataRules,
    variables: &mut Variables,
) -> String {
    let word = command.get(place).map_or("", String::as_str);
    let before = place.checked_sub(1).filter(|before| *before > 0);
    let before = before.and_then(|before| command.get(before)).map(String::as_str);
    let from = if place > 0 { secret_in_argument(rules, before, word) } else { None };
    let (kept, secret) = word.split_at(from.unwrap_or(word.len()));
    let mut text = references(kept, upstream, variables);
    if from.is_some() {
        let own = variable(&[upstream, "ARG", &place.to_string()]);
        let what = match (kept.is_empty(), before) {
            (false, _) => format!("what follows `{kept}` in an argument of `{upstream}`"),
            (true, Some(flag)) if flag.starts_with('-') => {
                format!("the argument of `{upstream}` after `{flag}`")
            }
            (true, _) => format!("an argument of `{upstream}`"),
        };
        text.push_str(&variables.stand_for(secret, own, what));
    }
    text
}

fn table(
    out: &mut String,
    what: &str,
    pairs: &BTreeMap<String, String>,
    passed: &[&str],
    upstream: &str,
    rules: &DataRules,
    variables: &mut Variables,
) {
    // As they are set where Tollgate runs; what its client says counts.
    let own = |name: &&&str| !pairs.contains_key(**name);
    let mut members: Vec<String> = passed
        .iter()
        .filter(own)
        .map(|name| format!("{name} = {}", quoted(&format!("${{{name}:-}}"))))
        .collect();
    for (name, value) in pairs {
        let passes =
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with("TOLLGATE_");
        if what == "env" && !passes {
            let _written = writeln!(out, "# left out of `env`: a child never gets {}", comment(name));
            continue;
        }
        let text = if is_secret(rules, name, value) {
            let own = if what == "env" { variable(&[name]) } else { variable(&[upstream, name]) };
            let scheme = value.split_once(' ').filter(|(scheme, _)| {
                ["bearer", "basic", "token"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
            });
            let secret = scheme.map_or(value.as_str(), |(_, secret)| secret);
            let reference =
                variables.stand_for(secret, own, format!("the {what} value `{name}` of `{upstream}`"));
            match scheme {
                Some((scheme, _)) => format!("{scheme} {reference}"),
                None => reference,
            }
        } else {
            references(value, upstream, variables)
        };
        members.push(format!("{} = {}", key(name), quoted(&text)));
    }
    if !members.is_empty() {
        let _written = writeln!(out, "{what} = {{ {} }}", members.join(", "));
    }
}

/// The first budgets.yaml.
const BUDGETS: &str = "\
# What an agent may cost before somebody is asked. `tollgate budget status` shows what is used.
budgets:
  - id: agent-day
    scope: agent
    window: day
    max_cost_usd: 100.00
    on_exceed: require_approval
    alert_at: 80
";

/// The files of policies/, by name.
// Long: the texts of the files that it writes
pub(super) fn policies(
    upstreams: &[Upstream],
    (agent, agent_digest): (&str, &str),
    (person, person_digest): (&str, &str),
) -> Vec<(&'static str, String)> {
    let mut capabilities = String::new();
    for Upstream { name, .. } in upstreams {
        let _written =
            write!(capabilities, "  {name}.all:\n    tools: [\"{name}__*\"]\n    prompts: [\"{name}__*\"]\n");
    }
    let _written = write!(capabilities, "  resources.all:\n    resources: [\"*\"]\n");
    let all: Vec<String> = upstreams.iter().map(|upstream| format!("{}.all", upstream.name)).collect();
    let all = format!("{}, resources.all", all.join(", "));
    let bundle = "\
version: \"1\"
owner: platform-team             # who answers for this bundle
default_decision: DENY           # what no policy speaks of is not done
default_approvers: [leads]
loop:                            # beside more than 20 identical calls in 60 s
  errors: { count: 20 }          # failures of one tool in a row, within 60 s
  alternating: { count: 15 }     # rounds of two or three calls that take turns
  similar: { count: 240 }        # calls of one tool that differ in a number only
"
    .to_owned();
    let authority = format!(
        "\
# Who may do what. Keys are kept as their SHA-256; `tollgate agents add NAME` makes more.
# A capability names tools as the agent sees them, and resources by URI: tools: [\"files__read_*\"],
# resources: [\"file:///srv/docs/**\"].
capabilities:
{capabilities}
agents:
  {agent}:
    type: assistant
    role: assistant
    owner: platform-team
    operator: {person}
    attended: true               # the operator sits at its client and may answer there
    workflow: everyday
    autonomy: supervised         # suggest_only: proposals, never a call
    capabilities: [{all}]
    keys: [\"{agent_digest}\"]

people:
  {person}:
    groups: [leads]
    roles: [approver, admin, auditor]
    keys: [\"{person_digest}\"]

workflows:
  everyday: {{ owner: platform-team, approval_sla: 15m }}
"
    );
    let gate = "\
name: ask-before-acting
description: What may change something is agreed to by a person first
owner: platform-team
on:
  - tool: \"*\"
  - resource: \"*\"
  - prompt: \"*\"
rules:
  - id: secrets                  # the arguments hold a key, a password or the like
    condition: \"data.level == 'restricted'\"
    decision: REQUIRE_APPROVAL
    approvers: [operator, leads]
  - id: reads                    # resources and prompts are read; a tool where its server says that it only reads and
                                 # `trust_annotations` is true, or its table in servers.toml has `read_only = true`
    condition: \"tool.read_only || call.kind != 'tool'\"
    decision: ALLOW
  - id: ask
    decision: REQUIRE_APPROVAL
    approvers: [operator, leads]
"
    .to_owned();
    vec![
        ("bundle.yaml", bundle),
        ("authority.yaml", authority),
        ("ask-before-acting.yaml", gate),
        ("budgets.yaml", BUDGETS.to_owned()),
        ("tests/ask-before-acting.yaml", tests(upstreams.first(), agent)),
    ]
}

/// The first tests of the bundle.
fn tests(upstream: Option<&Upstream>, agent: &str) -> String {
    let (capability, tool) = match upstream {
        Some(Upstream { name, .. }) => (format!("{name}.all"), format!("{name}__some_tool")),
        None => ("resources.all".to_owned(), "some_tool".to_owned()),
    };
    format!(
        "\
# `tollgate policy test` runs these. `tollgate audit show TRACE --as-test` prints one of a recorded call.
tests:
  - name: a tool that only reads needs nobody
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: true }} }}
    expect: {{ decision: ALLOW, policy_id: ask-before-acting, rule_id: reads }}
  - name: a tool that may change something is agreed to first
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: false }} }}
    expect: {{ decision: REQUIRE_APPROVAL, policy_id: ask-before-acting, rule_id: ask, approvers: [operator, leads] }}
  - name: a call whose arguments hold a secret is agreed to first
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: true }}, data: {{ level: restricted }} }}
    expect: {{ decision: REQUIRE_APPROVAL, policy_id: ask-before-acting, rule_id: secrets }}
  - name: a resource is read
    facts: {{ agent: {agent}, capability: resources.all, resource: \"file:///srv/docs/a.md\" }}
    expect: {{ decision: ALLOW, policy_id: ask-before-acting, rule_id: reads }}
"
    )
}

/// A name for an upstream that is valid and not among those that are taken.
pub(super) fn name(wanted: &str, taken: &[String]) -> String {
    let mut name: String = wanted
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' })
        .take(32)
        .collect();
    // Two of them stand between a server and its tools.
    while name.contains("__") {
        name = name.replace("__", "_");
    }
    let name = name.trim_matches(['-', '_', '.']).to_owned();
    let name = match name.as_str() {
        "" => "server".to_owned(),
        reserved if reserved.eq_ignore_ascii_case("tollgate") => "server-tollgate".to_owned(),
        _ => name,
    };
    let free = |name: &String| !taken.iter().any(|other| other.eq_ignore_ascii_case(name));
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone()).chain(numbered).find(free).unwrap_or(name)
}

/// What was written, for machines.
pub(super) fn told(upstreams: &[Upstream], variables: &Variables, passed: &[&str]) -> Value {
    json!({
        "passed": passed,
        "upstreams": upstreams.iter().map(|u| json!({"name": u.name, "from": u.from})).collect::<Vec<_>>(),
        "variables": variables.needed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_client_become_ours() {
        let check = |text: &str, expect: &str, needs: &[&str]| {
            let mut variables = Variables::default();
            assert_eq!(references(text, "u", &mut variables), expect, "{text}");
            assert_eq!(variables.needed.keys().collect::<Vec<_>>(), needs, "{text}");
        };
        check("plain $HOME", "plain $HOME", &[]);
        check("${env:TOKEN}", "${TOKEN}", &["TOKEN"]);
        check("${LEVEL:-info}", "${LEVEL:-info}", &[]);
        // A default that is a secret is not copied.
        check("${TOKEN:-x}", "${TOKEN}", &["TOKEN"]);
        check("Bearer ${input:api-key}", "Bearer ${API_KEY}", &["API_KEY"]);
        check("${a b} ${", "$${a b} $${", &[]);
        let pick = |default: Option<&str>| Input {
            default: default.map(str::to_owned),
            options: vec!["eu".to_owned(), "us".to_owned()],
        };
        let inputs = [("region".to_owned(), pick(Some("eu"))), ("zone".to_owned(), pick(None))].into();
        let mut variables = Variables::with(&inputs);
        assert_eq!(references("${input:region}-${input:zone}", "u", &mut variables), "${REGION:-eu}-${ZONE}");
        assert!(variables.needed["ZONE"].ends_with(": one of eu, us"), "{variables:?}");
    }

    #[test]
    fn names_are_valid_and_unique() {
        let taken = vec!["files".to_owned(), "files-2".to_owned()];
        let check = |wanted: &str, expect: &str| assert_eq!(name(wanted, &taken), expect, "{wanted}");
        check("files", "files-3");
        check("My Server!", "My-Server");
        check("a__b", "a_b");
        check("Tollgate", "server-tollgate");
        check("…", "server");
    }

    #[test]
    fn secrets_stand_in_no_file() {
        let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        let upstreams = [
            Upstream {
                name: "git".to_owned(),
                from: "a test".to_owned(),
                server: Server::Command {
                    command: vec!["npx".to_owned(), "git".to_owned(), token.clone()],
                    env: [
                        ("API_KEY".to_owned(), "short".to_owned()),
                        ("LOG".to_owned(), "in\"fo".to_owned()),
                    ]
                    .into(),
                    cwd: Some("/srv/a b".to_owned()),
                    env_file: None,
                },
                enabled: false,
            },
            Upstream {
                name: "web".to_owned(),
                from: "a test".to_owned(),
                server: Server::Url {
                    sse: false,
                    url: "https://a.example/mcp".to_owned(),
                    headers: [("Authorization".to_owned(), format!("Bearer {token}"))].into(),
                },
                enabled: true,
            },
        ];
        let (text, variables) = servers("staging", &upstreams, &BTreeMap::new(), &[]);
        assert!(!text.contains(&token) && !text.contains("short"), "{text}");
        assert!(text.contains("\"Bearer ${WEB_AUTHORIZATION}\""), "{text}");
        let needed: Vec<&str> = variables.needed.keys().map(String::as_str).collect();
        assert_eq!(needed, ["API_KEY", "GIT_ARG_2", "WEB_AUTHORIZATION"]);
        let read: toml::Table = text.parse().unwrap();
        let git = &read["upstreams"]["git"];
        assert_eq!(git["env"]["LOG"].as_str(), Some("in\"fo"));
        assert_eq!((git["cwd"].as_str(), git["enabled"].as_bool()), (Some("/srv/a b"), Some(false)));
        assert!(read["upstreams"]["web"].get("enabled").is_none());
    }

    /// Nothing that a client's file says becomes a line of servers.toml: it may come with somebody else's repository.
    #[test]
    fn no_text_becomes_a_line() {
        let evil = "x\n[auth]\nanonymous_agent = \"agent\"\r\n\"\"\"\u{7f}\u{1b}'\\";
        let both = |server: Server| Upstream {
            name: name(evil, &[]),
            from: format!("`{evil}` of /tmp/{evil}/.mcp.json"),
            server,
            enabled: true,
        };
        let pairs: BTreeMap<String, String> =
            [(evil.to_owned(), evil.to_owned()), ("A".to_owned(), evil.to_owned())].into();
        let child = Server::Command {
            command: vec![evil.to_owned(), evil.to_owned()],
            env: pairs.clone(),
            cwd: Some(evil.to_owned()),
            env_file: Some(evil.to_owned()),
        };
        let web = Server::Url { url: format!("https://a.example/{evil}"), headers: pairs, sse: true };
        for server in [child, web] {
            let (text, _) = servers(evil, &[both(server)], &BTreeMap::new(), &[]);
            let read: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(read.keys().collect::<Vec<_>>(), ["admin", "gateway", "store", "upstreams"], "{text}");
            assert_eq!(read["upstreams"].as_table().unwrap().len(), 1, "{text}");
            assert_eq!(read["gateway"]["environment"].as_str(), Some(evil));
        }
    }

    /// Wherever in a URL it stands, and whatever else is called so.
    #[test]
    fn secrets_of_urls_have_variables_of_their_own() {
        let one = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        let two = format!("ghp_{}", "z1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7Z9");
        let rules = DataRules::built_in();
        let mut variables = Variables::default();
        let mut check = |url: String, expect: &str| {
            assert_eq!(clean_url(&url, "u", &rules, &mut variables), expect, "{url}");
        };
        check(
            format!("https://a.example/mcp?key={one}&key={two}&p=1"),
            "https://a.example/mcp?key=${U_KEY}&key=${U_KEY_2}&p=1",
        );
        check(format!("https://a.example/mcp?{one}"), "https://a.example/mcp?${U_QUERY}");
        check(format!("https://a.example/mcp#access_token={one}"), "https://a.example/mcp");
        check(format!("https://a.example/mcp?key={one}${{X}}"), "https://a.example/mcp?key=${U_KEY_3}");
        check("https://a.example/mcp?key=${env:X}".to_owned(), "https://a.example/mcp?key=${X}");
        let env = |value: &str| Upstream {
            name: "git".to_owned(),
            from: "a test".to_owned(),
            server: Server::Command {
                command: vec!["x".to_owned()],
                env: [("TOKEN".to_owned(), value.to_owned())].into(),
                cwd: None,
                env_file: None,
            },
            enabled: true,
        };
        // Two servers, two secrets of one name; a third has the first's.
        let (text, _) = servers("staging", &[env(&one), env(&two), env(&one)], &BTreeMap::new(), &[]);
        assert_eq!(text.matches("\"${TOKEN}\"").count(), 2, "{text}");
        assert_eq!(text.matches("\"${TOKEN_2}\"").count(), 1, "{text}");
    }
}
