//! What goes to an upstream with each request or start: variables and headers, which may be secrets. No message shows a value.

use super::{
    expand::{Env, expand},
    file::{read_file, resolve},
    input::{Input, expanded},
    variables,
};
use crate::policy::{
    read::{Fields, short},
    source::{Kind, Report},
};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};

/// Set by the transport itself; another value would break it or the session.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];
pub(super) type NameCheck = fn(&str) -> Result<(), &'static str>;

pub(super) fn header(name: &str) -> Result<(), &'static str> {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err("an HTTP header's name");
    }
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err("another header: the transport sets this one");
    }
    Ok(())
}

/// A table of texts that may be secrets: no message shows a value.
pub(super) fn secrets(
    map: &Fields<'_>,
    key: &str,
    env: Env<'_>,
    check: NameCheck,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, SecretString>> {
    let Some(node) = map.get(key) else { return Some(BTreeMap::new()) };
    let Kind::Map(written) = &node.kind else {
        report.error(node.start, format!("`{key}` is not a table"), "{ NAME = \"value\" }");
        return None;
    };
    let mut read = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut good = true;
    for entry in written {
        if let Err(expected) = check(&entry.key) {
            report.error(entry.at, format!("`{}` cannot stand in `{key}`", short(&entry.key)), expected);
            good = false;
        }
        if key == "headers" && !seen.insert(entry.key.to_ascii_lowercase()) {
            report.error(
                entry.at,
                format!("`{}` stands twice in `{key}`", short(&entry.key)),
                "each header once",
            );
            good = false;
        }
        let text = match &entry.value.kind {
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Null | Kind::Number(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => {
                entry.value.as_text().map(str::to_owned)
            }
        };
        let Some(text) = text else {
            report.error(
                entry.value.start,
                format!("`{}` in `{key}` is not a text", short(&entry.key)),
                "a text",
            );
            good = false;
            continue;
        };
        match expand(&entry.value, &text, env, report) {
            Some(value) if value.contains(['\0', '\r', '\n']) && key == "headers" || value.contains('\0') => {
                report.error(
                    entry.value.start,
                    format!(
                        "`{}` in `{key}` holds a control character (the value is not shown)",
                        short(&entry.key)
                    ),
                    "a text on one line",
                );
                good = false;
            }
            // `${NAME:-}` of a variable that is not set: a child that finds it empty may take that for a setting.
            Some(value) if key == "env" && value.is_empty() && text.ends_with(":-}") => {}
            Some(value) => {
                read.insert(entry.key.clone(), SecretString::from(value));
            }
            None => good = false,
        }
    }
    good.then_some(read)
}

/// The variables of `env_file`, as `NAME=value` lines. A file that cannot be read disables this upstream; what is wrong in
/// one is an error that shows no value.
pub(super) fn env_file(
    map: &Fields<'_>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, SecretString>> {
    let Some(node) = map.get("env_file") else { return Some(BTreeMap::new()) };
    let path = resolve(input.path, &expanded(map, "env_file", input, report)??);
    let text = match read_file(&path) {
        Ok(text) => text,
        Err(unreadable) => {
            input.env.unavailable(node, unreadable.why, "a file of NAME=value lines", report);
            return None;
        }
    };
    match variables::read(&text, &path.display().to_string()) {
        Ok(read) => Some(read),
        Err(why) => {
            report.error(node.start, why, "NAME=value on each line; `#` begins a comment");
            None
        }
    }
}
