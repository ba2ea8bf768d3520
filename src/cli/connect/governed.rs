//! Which servers of a client's file stand behind the gateway: those that servers.toml reaches by the same command or address. What
//! stands there for a secret (`${NAME}`) fits any text.

use crate::cli::init::{Found, NotTaken, Server};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The servers of servers.toml, as they are written.
#[derive(Debug)]
pub(super) struct Behind(Vec<Upstream>);

#[derive(Debug)]
struct Upstream {
    name: String,
    enabled: bool,
    command: Vec<String>,
    url: Option<String>,
    env: BTreeMap<String, String>,
}

/// How a server of a client's file stands to the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is behind it, under this name.
    Governed(String),
    /// It is Tollgate itself.
    Own,
    /// Its client does not start it.
    Off,
    /// It goes round the gateway, for this reason.
    Round(String),
}

impl Behind {
    /// Of the text of a servers.toml.
    pub(super) fn of(servers: &Map<String, Value>) -> Self {
        let texts = |value: Option<&Value>| -> Vec<String> {
            let items = value.and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let pairs = |value: Option<&Value>| -> BTreeMap<String, String> {
            let members = value.and_then(Value::as_object).into_iter().flatten();
            members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        let upstreams = servers.get("upstreams").and_then(Value::as_object).into_iter().flatten();
        Self(
            upstreams
                .map(|(name, table)| Upstream {
                    name: name.clone(),
                    enabled: table.get("enabled") != Some(&Value::Bool(false)),
                    command: texts(table.get("command")),
                    url: table.get("url").and_then(Value::as_str).map(str::to_owned),
                    env: pairs(table.get("env")),
                })
                .collect(),
        )
    }

    /// What clients would reach the servers by without the gateway, as lists of denied servers have it. What holds a reference is
    /// known to nobody else.
    pub(super) fn originals(&self) -> Vec<Value> {
        let plain = |text: &String| !text.contains('$');
        let denied = |upstream: &Upstream| match &upstream.url {
            Some(url) => Some(url).filter(|url| plain(url)).map(|url| json!({"serverUrl": url})),
            None => {
                let command = Some(&upstream.command)
                    .filter(|command| !command.is_empty() && command.iter().all(plain));
                command.map(|command| json!({"serverCommand": command}))
            }
        };
        self.0.iter().filter_map(denied).collect()
    }

    /// How one stands. `is_endpoint` says whether a URL is the gateway's own.
    pub(super) fn standing(&self, found: &Found, is_endpoint: &dyn Fn(&str) -> bool) -> Standing {
        let server = match &found.server {
            Ok(Server::Url { url, .. }) if is_endpoint(url) => return Standing::Own,
            Ok(server) => server,
            Err(NotTaken::Tollgate) => return Standing::Own,
            Err(_) if !found.enabled => return Standing::Off,
            Err(why) => return Standing::Round(why.to_string()),
        };
        let mut nearly = None;
        for upstream in &self.0 {
            match upstream.holds(server) {
                Fit::Whole if upstream.enabled => return Standing::Governed(upstream.name.clone()),
                Fit::Whole => {
                    nearly =
                        Some(format!("`{}` in servers.toml is it, with `enabled = false`", upstream.name));
                }
                Fit::But(why) => nearly = nearly.or(Some(why)),
                Fit::Not => {}
            }
        }
        match nearly {
            _ if !found.enabled => Standing::Off,
            Some(why) => Standing::Round(why),
            None => Standing::Round("servers.toml has no such server".to_owned()),
        }
    }
}

enum Fit {
    Whole,
    /// The same but for this.
    But(String),
    Not,
}

impl Upstream {
    fn holds(&self, server: &Server) -> Fit {
        match server {
            Server::Url { url, .. } => {
                let sent = url.split('#').next().unwrap_or_default().trim_end_matches('/');
                match &self.url {
                    Some(own) if fits(own.trim_end_matches('/'), sent) => Fit::Whole,
                    Some(_) | None => Fit::Not,
                }
            }
            Server::Command { command, env, .. } => {
                let same = command.len() == self.command.len()
                    && !command.is_empty()
                    && self.command.iter().zip(command).all(|(own, word)| fits(own, word));
                if !same {
                    return Fit::Not;
                }
                let own = |name: &str, value: &str| self.env.get(name).is_some_and(|own| fits(own, value));
                let other =
                    env.iter().find(|(name, value)| !name.starts_with("TOLLGATE_") && !own(name, value));
                match other {
                    None => Fit::Whole,
                    Some((name, _)) => Fit::But(format!(
                        "`{}` in servers.toml has the same command, and another `{}` in `env`",
                        self.name,
                        name.chars().take(60).collect::<String>()
                    )),
                }
            }
        }
    }
}

/// Whether a text of servers.toml can stand for this one.
fn fits(own: &str, text: &str) -> bool {
    let parts = literals(own);
    let (Some((first, rest)), Some(last)) = (parts.split_first(), parts.last()) else { return false };
    if rest.is_empty() {
        return first == text;
    }
    let Some(mut left) = text.strip_prefix(first.as_str()).and_then(|left| left.strip_suffix(last.as_str()))
    else {
        return false;
    };
    let middles = rest.split_last().map(|(_, middles)| middles).unwrap_or_default();
    middles.iter().all(|middle| match left.split_once(middle.as_str()) {
        Some((_, after)) => {
            left = after;
            true
        }
        None => false,
    })
}

/// What stands before, between and behind references.
fn literals(own: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = own;
    while let Some((before, after)) = rest.split_once('$') {
        let mut put = |text: &str| {
            if let Some(part) = parts.last_mut() {
                part.push_str(text);
            }
        };
        put(before);
        rest = match (
            after.strip_prefix('$'),
            after.strip_prefix('{').and_then(|inner| inner.split_once('}')),
        ) {
            (Some(plain), _) => {
                put("$");
                plain
            }
            (None, Some((_, behind))) => {
                parts.push(String::new());
                behind
            }
            (None, None) => {
                put("$");
                after
            }
        };
    }
    if let Some(part) = parts.last_mut() {
        part.push_str(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stand_for_any_text() {
        let check = |own: &str, text: &str, expect: bool| assert_eq!(fits(own, text), expect, "{own} {text}");
        check("npx", "npx", true);
        check("npx", "npx2", false);
        check("${TOKEN}", "ghp_abc", true);
        check("--key=${KEY:-x}", "--key=secret", true);
        check("--key=${KEY}", "--kez=secret", false);
        check("a${X}b${Y}c", "a1b2c", true);
        check("a${X}b${Y}c", "a12c", false);
        check("ab${X}ba", "aba", false);
        check("$${HOME}", "${HOME}", true);
        check("$${HOME}", "/root", false);
        check("5$", "5$", true);
        check("${env", "${env", true);
    }

    fn found(server: Result<Server, NotTaken>) -> Found {
        Found::of(server)
    }

    #[test]
    fn a_server_is_governed_by_what_it_is_and_not_by_its_name() {
        let servers = crate::cli::edit::document::toml_value(
            "[upstreams.files]\ncommand = ['npx', 'files', '/srv']\n[upstreams.off]\nenabled = false\ncommand = ['off']\n\
             [upstreams.git]\ncommand = ['git-mcp']\nenv = { TOKEN = '${TOKEN}' }\n[upstreams.web]\nurl = 'https://a.example/mcp?k=${K}'\n",
        )
        .unwrap();
        let behind = Behind::of(&servers);
        let command = |words: &[&str], env: &[(&str, &str)]| {
            Ok(Server::Command {
                command: words.iter().map(|w| (*w).to_owned()).collect(),
                env: env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
                cwd: None,
                env_file: None,
            })
        };
        let url = |url: &str| Ok(Server::Url { url: url.to_owned(), headers: BTreeMap::new(), sse: false });
        let check = |server: Result<Server, NotTaken>, expect: &str| {
            let standing = behind.standing(&found(server), &|url| url == "http://127.0.0.1:8787/mcp");
            assert!(format!("{standing:?}").contains(expect), "{standing:?}: {expect}");
        };
        check(command(&["npx", "files", "/srv"], &[]), "Governed(\"files\")");
        check(command(&["npx", "files", "/other"], &[]), "no such server");
        check(command(&["git-mcp"], &[("TOKEN", "ghp_x")]), "Governed(\"git\")");
        check(command(&["git-mcp"], &[("TOKEN", "x"), ("DB", "prod")]), "another `DB`");
        check(command(&["off"], &[]), "enabled = false");
        check(url("https://a.example/mcp?k=secret"), "Governed(\"web\")");
        check(url("https://b.example/mcp"), "no such server");
        check(url("http://127.0.0.1:8787/mcp"), "Own");
        check(Err(NotTaken::Tollgate), "Own");
        check(Err("its `command` runs Tollgate itself, it says".into()), "Round(\"its `command`");
    }
}
