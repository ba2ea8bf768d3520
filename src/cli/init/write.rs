//! The first servers.toml: what was imported, with variables in place of secrets.

use super::{
    gather::Upstream,
    look::{Looked, Proposal},
    read::Server,
    variables::{Variables, references, variable},
};
use crate::{
    config::{is_secret, secret_in_argument, variable_line},
    redaction::{DataRules, display_text},
};
use secrecy::SecretString;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// A URL with variables in place of what looks like a secret in its path and query, and without what is never sent.
pub(super) fn clean_url(url: &str, upstream: &str, rules: &DataRules, variables: &mut Variables) -> String {
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

/// The text of the file of variables beside servers.toml.
pub(super) fn variables(values: &BTreeMap<&str, &SecretString>) -> String {
    let lines = values.iter().map(|(name, value)| variable_line(name, value));
    let head = "# What servers.toml names as ${NAME}. Every command that reads servers.toml reads it; a variable that is set where Tollgate\n\
                # runs comes before it. For its owner alone: mode 0600, and in no repository.\n";
    std::iter::once(head.to_owned()).chain(lines).collect()
}

/// The text of a file of variables that is there, with what it does not have yet.
pub(super) fn more_variables(
    text: &str,
    known: &BTreeMap<String, SecretString>,
    values: &BTreeMap<&str, &SecretString>,
) -> String {
    let values: BTreeMap<&str, &SecretString> = values
        .iter()
        .filter(|(name, _)| !known.contains_key(**name))
        .map(|(name, value)| (*name, *value))
        .collect();
    if text.is_empty() {
        return variables(&values);
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let lines: String = values.iter().map(|(name, value)| variable_line(name, value)).collect();
    format!("{text}{end}{lines}")
}

/// Names of variables in a servers.toml.
pub(super) fn named_in(text: &str) -> Vec<String> {
    let inner = text.split("${").skip(1);
    let name = |inner: &str| inner.split(['}', ':']).next().unwrap_or_default().to_owned();
    inner.map(name).collect()
}

/// The table of each upstream, without what is known of its tools.
pub(super) fn tables(
    upstreams: &[Upstream],
    passed: &[&str],
    folder: &Path,
    variables: &mut Variables,
) -> Vec<String> {
    let rules = DataRules::built_in();
    upstreams.iter().map(|upstream| table_of(upstream, passed, folder, &rules, variables)).collect()
}

/// servers.toml as a whole.
pub(super) fn servers(environment: &str, tables: &[String], tools: &[String]) -> String {
    let upstreams = tables.iter().zip(tools).map(|(table, tools)| format!("{table}{tools}"));
    std::iter::once(gateway(environment)).chain(upstreams).collect()
}

/// The tables of the gateway itself.
pub(super) fn gateway(environment: &str) -> String {
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
fn table_of(
    upstream: &Upstream,
    passed: &[&str],
    folder: &Path,
    rules: &DataRules,
    variables: &mut Variables,
) -> String {
    let name = &upstream.name;
    let passed = if upstream.is_built_in() { &[] } else { passed };
    let mut out = format!("\n# {}\n[upstreams.{}]\n", comment(&upstream.from), key(name));
    if !upstream.enabled {
        out.push_str(match upstream.agreed {
            true => "enabled = false                  # as in its client\n",
            false => "enabled = false                  # it came with the project, and nobody has agreed to its start\n",
        });
    }
    match &upstream.server {
        Server::Command { command, env, cwd, env_file } => {
            let words: Vec<String> = (0..command.len())
                .map(|place| quoted(&word(command, place, name, rules, variables)))
                .collect();
            let _written = writeln!(out, "command = [{}]", words.join(", "));
            // Where its client starts it; without one it is the folder of servers.toml.
            let project = upstream.project.as_ref().filter(|project| *project != folder && project.is_dir());
            let cwd = cwd.clone().or_else(|| project.map(|project| project.to_string_lossy().into_owned()));
            for (key, path) in [("cwd", &cwd), ("env_file", env_file)] {
                if let Some(path) = path {
                    let path = quoted(&references(path, name, variables));
                    let _written = writeln!(out, "{key} = {path}");
                }
            }
            table(&mut out, "env", env, passed, name, rules, variables);
        }
        Server::Url { url, headers, sse } => {
            let _written = writeln!(out, "url = {}", quoted(&clean_url(url, name, rules, variables)));
            if *sse {
                out.push_str("transport = \"sse\"\n");
            }
            table(&mut out, "headers", headers, &[], name, rules, variables);
        }
    }
    if let Some(seconds) = upstream.switches.timeout {
        let _written = writeln!(out, "timeout = \"{seconds}s\"");
    }
    out
}

/// What is known of an upstream's tools: what was looked at stands there for each, and of what was not its own word counts.
pub(super) fn tools(upstream: &Upstream, looked: Option<&Looked>, signs_in: bool) -> String {
    let Some(Looked { tools, .. }) = looked else {
        let oauth = match signs_in {
            true => format!(
                "# It wants somebody to sign in: tollgate servers login {}. With per = \"person\" each person has an account of their own.\n\
                 oauth = {{ grant = \"authorization_code\", per = \"gateway\" }}\n",
                upstream.name
            ),
            false => String::new(),
        };
        if !upstream.agreed {
            return oauth
                + "# Nobody has agreed to its start: a person is asked about each of its tools that has no table with `read_only = true` here.\n\
                    trust_annotations = false\n";
        }
        return oauth
            + "# Its tools were not looked at: its own word on which of them only read is believed. With false a person is asked\n\
                # about each tool that has no table with `read_only = true` here.\n\
                trust_annotations = true\n";
    };
    let mut out = "# What its tools are taken for stands below; its own word counts for nothing else.\ntrust_annotations = false\n".to_owned();
    let lines: Vec<String> = tools.iter().filter_map(tool_line).collect();
    if !lines.is_empty() {
        let _written = write!(out, "[upstreams.{}.tools]\n{}", key(&upstream.name), lines.concat());
    }
    out
}

fn tool_line(proposal: &Proposal) -> Option<String> {
    let mut members = Vec::new();
    if proposal.read_only {
        members.push("read_only = true".to_owned());
    } else if let Some(destructive) = proposal.destructive {
        members.push(format!("destructive = {destructive}"));
    }
    if !proposal.labels.is_empty() {
        let labels: Vec<String> = proposal.labels.iter().map(|label| format!("\"{label}\"")).collect();
        members.push(format!("labels = [{}]", labels.join(", ")));
    }
    (!members.is_empty()).then(|| format!("{} = {{ {} }}\n", key(&proposal.tool), members.join(", ")))
}

/// One word of a command, with a variable in place of what looks like a secret.
pub(super) fn word(
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

/// A value of `env` or `headers`, with a variable in place of what looks like a secret.
pub(super) fn value(
    what: &str,
    (name, value): (&str, &str),
    upstream: &str,
    rules: &DataRules,
    variables: &mut Variables,
) -> String {
    if !is_secret(rules, name, value) {
        return references(value, upstream, variables);
    }
    let own = if what == "env" { variable(&[name]) } else { variable(&[upstream, name]) };
    let scheme = value.split_once(' ').filter(|(scheme, _)| {
        ["bearer", "basic", "token"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
    });
    let secret = scheme.map_or(value, |(_, secret)| secret);
    let reference = variables.stand_for(secret, own, format!("the {what} value `{name}` of `{upstream}`"));
    match scheme {
        Some((scheme, _)) => format!("{scheme} {reference}"),
        None => reference,
    }
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
        let text = self::value(what, (name.as_str(), value.as_str()), upstream, rules, variables);
        members.push(format!("{} = {}", key(name), quoted(&text)));
    }
    if !members.is_empty() {
        let _written = writeln!(out, "{what} = {{ {} }}", members.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::read::Input, *};

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
            ..Input::default()
        };
        let inputs = [("region".to_owned(), pick(Some("eu"))), ("zone".to_owned(), pick(None))].into();
        let mut variables = Variables::with(&inputs);
        assert_eq!(references("${input:region}-${input:zone}", "u", &mut variables), "${REGION:-eu}-${ZONE}");
        assert!(variables.needed["ZONE"].ends_with(": one of eu, us"), "{variables:?}");
    }

    #[test]
    fn names_are_valid() {
        let check = |wanted: &str, expect: &str| {
            assert_eq!(crate::cli::init::words::table_name(wanted), expect, "{wanted}")
        };
        check("files", "files");
        check("My Server!", "My-Server");
        check("a__b", "a_b");
        check("Tollgate", "server-tollgate");
        check("…", "server");
    }

    fn written(upstreams: &[Upstream], variables: &mut Variables) -> String {
        let tables = tables(upstreams, &[], Path::new("/srv"), variables);
        let tools: Vec<String> = upstreams.iter().map(|one| tools(one, None, false)).collect();
        servers("staging", &tables, &tools)
    }

    #[test]
    fn secrets_stand_in_no_file() {
        let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        let mut upstreams = [
            Upstream::of(
                "git",
                Server::Command {
                    command: vec!["npx".to_owned(), "git".to_owned(), token.clone()],
                    env: [
                        ("API_KEY".to_owned(), "short".to_owned()),
                        ("LOG".to_owned(), "in\"fo".to_owned()),
                    ]
                    .into(),
                    cwd: Some("/srv/a b".to_owned()),
                    env_file: None,
                },
            ),
            Upstream::of(
                "web",
                Server::Url {
                    sse: false,
                    url: "https://a.example/mcp".to_owned(),
                    headers: [("Authorization".to_owned(), format!("Bearer {token}"))].into(),
                },
            ),
        ];
        upstreams[0].enabled = false;
        let mut variables = Variables::default();
        let text = written(&upstreams, &mut variables);
        assert!(!text.contains(&token) && !text.contains("short"), "{text}");
        assert!(text.contains("\"Bearer ${WEB_AUTHORIZATION}\""), "{text}");
        let needed: Vec<&str> = variables.needed.keys().map(String::as_str).collect();
        assert_eq!(needed, ["API_KEY", "GIT_ARG_2", "WEB_AUTHORIZATION"]);
        let kept = super::variables(&variables.known());
        assert!(
            kept.contains(&format!("GIT_ARG_2=\"{token}\"\n")) && kept.contains("API_KEY=\"short\"\n"),
            "{kept}"
        );
        assert!(!format!("{variables:?}").contains(&token));
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
            from: format!("`{evil}` of /tmp/{evil}/.mcp.json"),
            ..Upstream::of(&crate::cli::init::words::table_name(evil), server)
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
            let upstreams = [both(server)];
            let tables = tables(&upstreams, &[], Path::new("/srv"), &mut Variables::default());
            let listed = [serde_json::json!({"name": evil, "annotations": {"readOnlyHint": true}})];
            let looked = Looked::at(&listed, false);
            let text = servers(evil, &tables, &[tools(&upstreams[0], Some(&looked), false)]);
            let read: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(read.keys().collect::<Vec<_>>(), ["admin", "gateway", "store", "upstreams"], "{text}");
            assert_eq!(read["upstreams"].as_table().unwrap().len(), 1, "{text}");
            let upstream = read["upstreams"].as_table().unwrap().values().next().unwrap();
            assert_eq!(upstream["tools"][evil]["read_only"].as_bool(), Some(true), "{text}");
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
        let env = |value: &str| {
            let env = [("TOKEN".to_owned(), value.to_owned())].into();
            let server = Server::Command { command: vec!["x".to_owned()], env, cwd: None, env_file: None };
            Upstream::of("git", server)
        };
        // Two servers, two secrets of one name; a third has the first's.
        let text = written(&[env(&one), env(&two), env(&one)], &mut Variables::default());
        assert_eq!(text.matches("\"${TOKEN}\"").count(), 2, "{text}");
        assert_eq!(text.matches("\"${TOKEN_2}\"").count(), 1, "{text}");
    }
}
