//! Lints of what servers.toml hands to upstreams: credentials that are written out or open too much, and settings that have an
//! upstream log what it is sent. No message shows a value.

use super::{
    argument,
    secret::{is_secret, names_secret},
};
use crate::{
    policy::{
        read::short,
        source::{Entry, Node, Report},
    },
    redaction::DataRules,
};
use std::collections::BTreeMap;

/// Words in the name of a credential that opens everything.
const BROAD: &[&str] =
    &["root", "admin", "administrator", "master", "superuser", "sudo", "owner", "service_role"];
/// Users of databases and systems that may do everything.
const BROAD_USERS: &[&str] = &["root", "postgres", "admin", "administrator", "sa", "sysdba", "superuser"];
/// Scopes that grant everything.
const BROAD_SCOPES: &[&str] = &["*", "all", "admin", "full", "full_access", "root", "write:all", "superuser"];

const REFERENCE: &str = "`${NAME}`, with the value in the environment or in `env_file`";
const NARROW: &str = "a credential of its own for this upstream, which may do no more than its tools need";

/// Looks through every upstream's table.
pub(super) fn lint(root: &Node, report: &mut Report<'_>) {
    let rules = DataRules::built_in();
    // Whose each variable is that holds a secret.
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for upstream in root.get("upstreams").map(Node::entries).unwrap_or_default() {
        let mut table =
            Table { name: &upstream.key, rules: &rules, owners: &mut owners, report: &mut *report };
        for key in ["headers", "env"] {
            for pair in upstream.value.get(key).map(Node::entries).unwrap_or_default() {
                table.pair(key, pair);
            }
        }
        if let Some(command) = upstream.value.get("command") {
            table.command(command.items());
        }
        if let Some(url) = upstream.value.get("url") {
            table.url(url);
        }
        let scopes = upstream.value.get("oauth").and_then(|oauth| oauth.get("scopes"));
        for scope in scopes.map(Node::items).unwrap_or_default() {
            if let Some(text) =
                scope.as_text().filter(|text| BROAD_SCOPES.contains(&text.to_ascii_lowercase().as_str()))
            {
                let why = format!(
                    "scope `{}` of upstream `{}` opens everything there",
                    short(text),
                    short(table.name)
                );
                table.report.lint(scope.start, why, "the scopes that its tools need");
            }
        }
    }
}

struct Table<'t, 'r, 's> {
    name: &'t str,
    rules: &'t DataRules,
    owners: &'t mut BTreeMap<String, String>,
    report: &'r mut Report<'s>,
}

impl Table<'_, '_, '_> {
    /// One member of `headers` or `env`.
    fn pair(&mut self, of: &str, pair: &Entry) {
        let Some(text) = pair.value.as_text() else { return };
        let at = pair.value.start;
        if is_secret(self.rules, &pair.key, text) || has_secret_default(self.rules, text) {
            self.literal(at, &format!("`{}` in `{of}`", short(&pair.key)));
            return;
        }
        self.broad(at, &pair.key, text);
        if of == "env" && logs_input(&pair.key, text) {
            self.logs(at, &format!("`{}`", short(&pair.key)));
        }
    }

    fn command(&mut self, items: &[Node]) {
        for (place, item) in items.iter().enumerate().skip(1) {
            let Some(word) = item.as_text() else { continue };
            let before = items.get(place - 1).filter(|_| place > 1).and_then(Node::as_text);
            if argument::secret(self.rules, before, word).is_some() || has_secret_default(self.rules, word) {
                self.literal(item.start, &format!("argument {place} of `command`"));
                continue;
            }
            self.broad(item.start, "", word);
            if verbose(before, word) {
                self.logs(item.start, &format!("`{}`", short(word)));
            } else if before == Some("-c") && [">>", " > ", "| tee "].iter().any(|sign| word.contains(sign)) {
                self.logs(item.start, "what the shell writes to a file");
            }
        }
    }

    fn url(&mut self, node: &Node) {
        let Some(text) = node.as_text() else { return };
        let query = text.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        if pairs.any(|(name, value)| is_secret(self.rules, name, value)) {
            self.literal(node.start, "a part of `url`");
        } else {
            self.broad(node.start, "", text);
        }
    }

    fn literal(&mut self, at: usize, what: &str) {
        let message = format!(
            "{what} of upstream `{}` looks like a secret that is written out (not shown)",
            short(self.name)
        );
        self.report.lint(at, message, REFERENCE);
    }

    fn logs(&mut self, at: usize, what: &str) {
        let message = format!(
            "{what} has upstream `{}` log what it is sent: raw input, before anything in it is masked",
            short(self.name)
        );
        self.report.lint(at, message, "a level like `info`, or none");
    }

    /// A credential that opens everything, by what it is called or whose it is, or that opens several upstreams.
    fn broad(&mut self, at: usize, key: &str, text: &str) {
        let references = references(text);
        let secret = |name: &&str| names_secret(self.rules, name);
        let named = std::iter::once(key).chain(references.iter().copied()).filter(|name| !name.is_empty());
        let broad =
            named.filter(secret).find(|name| has_word(name, BROAD)).map(|name| format!("`{}`", short(name)));
        let user = || broad_user(text).map(|user| format!("the user `{}`", short(user)));
        if let Some(what) = broad.or_else(user) {
            let message =
                format!("{what} of upstream `{}` is a credential that opens everything", short(self.name));
            self.report.lint(at, message, NARROW);
            return;
        }
        for name in references.into_iter().filter(secret) {
            match self.owners.get(name) {
                Some(other) if other != self.name => {
                    let message = format!(
                        "`${{{}}}` opens upstream `{}` and upstream `{}` alike",
                        short(name),
                        short(other),
                        short(self.name)
                    );
                    self.report.lint(at, message, NARROW);
                }
                Some(_) => {}
                None => {
                    self.owners.insert(name.to_owned(), self.name.to_owned());
                }
            }
        }
    }
}

/// The names of the variables in a text.
fn references(text: &str) -> Vec<&str> {
    let parts = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    parts.map(|(inside, _)| inside.split_once(":-").map_or(inside, |(name, _)| name)).collect()
}

/// `${TOKEN:-the secret}`
fn has_secret_default(rules: &DataRules, text: &str) -> bool {
    let mut parts = text.split("${").skip(1).filter_map(|rest| rest.split_once('}')?.0.split_once(":-"));
    parts.any(|(name, default)| !default.is_empty() && is_secret(rules, name, default))
}

fn has_word(name: &str, words: &[&str]) -> bool {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let padded = format!("_{lower}_");
    words.iter().any(|word| padded.contains(&format!("_{word}_")))
}

/// The user of a URL that may do everything there, as in `postgres://root:…@host`.
fn broad_user(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let (authority, _) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let (user, _) = authority.rsplit_once('@')?;
    let user = user.split(':').next()?;
    BROAD_USERS.contains(&user.to_ascii_lowercase().as_str()).then_some(user)
}

/// Whether a variable has a server log all that it gets.
fn logs_input(name: &str, value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let off = matches!(value.as_str(), "" | "0" | "false" | "no" | "off" | "none");
    let level = ["debug", "trace", "verbose", "silly", "all"].iter().any(|level| value.contains(level));
    let switch = has_word(name, &["debug", "verbose", "trace"]) && !off && !value.contains("${");
    switch || has_word(name, &["log", "logging", "loglevel"]) && level
}

/// Whether an argument does.
fn verbose(before: Option<&str>, word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let level = |text: &str| matches!(text, "debug" | "trace" | "verbose" | "silly");
    let flag = matches!(lower.as_str(), "--debug" | "--verbose" | "--trace" | "-vv" | "-vvv");
    let assigned = lower.split_once('=').is_some_and(|(flag, value)| flag.contains("log") && level(value));
    let apart = before.is_some_and(|before| before.starts_with("--log")) && level(&lower);
    flag || assigned || apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_users_that_open_everything_are_known() {
        let check = |name: &str, expect: bool| assert_eq!(has_word(name, BROAD), expect, "{name}");
        check("DB_ROOT_PASSWORD", true);
        check("ADMIN_TOKEN", true);
        check("x-admin-key", true);
        check("ADMINISTRATION_NOTES", false);
        check("CRM_TOKEN", false);
        let check = |url: &str, expect: Option<&str>| assert_eq!(broad_user(url), expect, "{url}");
        check("postgres://postgres:${PW}@db/x", Some("postgres"));
        check("postgres://reader:${PW}@db/x", None);
        check("https://db/root@x", None);
    }

    #[test]
    fn settings_that_log_what_is_sent_are_known() {
        let check = |name: &str, value: &str, expect: bool| {
            assert_eq!(logs_input(name, value), expect, "{name}={value}");
        };
        check("DEBUG", "*", true);
        check("DEBUG", "0", false);
        check("LOG_LEVEL", "trace", true);
        check("LOG", "info", false);
        check("RUST_LOG", "server=debug", true);
        check("DEBUGGER_HOST", "x", false);
        let check = |before: Option<&str>, word: &str, expect: bool| {
            assert_eq!(verbose(before, word), expect, "{before:?} {word}");
        };
        check(None, "--verbose", true);
        check(None, "--log-level=DEBUG", true);
        check(Some("--log-level"), "debug", true);
        check(Some("--name"), "debug", false);
        check(None, "--log-level=info", false);
    }
}
