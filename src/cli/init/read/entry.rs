//! One server of a client's file: what it is, or why it is left out.

use super::{Client, Server};
use crate::cli::clients::carries_own_key;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, path::Path};

/// Why an entry is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum NotTaken {
    /// It is Tollgate itself.
    Tollgate,
    /// It is not what can be taken over: why, in words.
    Because(String),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tollgate => f.write_str("it is Tollgate itself"),
            Self::Because(why) => f.write_str(why),
        }
    }
}

impl From<String> for NotTaken {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

impl From<&str> for NotTaken {
    fn from(why: &str) -> Self {
        Self::Because(why.to_owned())
    }
}

/// What a client's file says of a server beside how it is reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::cli) struct Switches {
    /// The only tools that its client takes.
    pub(in crate::cli) only: Option<Vec<String>>,
    /// Tools that its client leaves out.
    pub(in crate::cli) without: Vec<String>,
    /// Seconds that a call may take.
    pub(in crate::cli) timeout: Option<u64>,
    /// Its client signs a person in.
    pub(in crate::cli) sign_in: bool,
    /// What cannot be taken over.
    pub(in crate::cli) lost: Vec<String>,
}

impl Switches {
    pub(super) fn of(entry: &Value, client: Client) -> Self {
        let list = |names: &[&str]| {
            let found = names.iter().find_map(|name| entry.get(*name)?.as_array());
            found.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
        };
        let number = |name: &str| entry.get(name).and_then(Value::as_f64).filter(|n| *n > 0.0);
        let seconds = match client {
            Client::Codex => number("tool_timeout_sec"),
            Client::Cline => number("timeout"),
            Client::Gemini | Client::ClaudeCode => number("timeout").map(|ms| ms / 1000.0),
            Client::ClaudeDesktop
            | Client::Cursor
            | Client::Vscode
            | Client::Zed
            | Client::Windsurf
            | Client::Other => None,
        };
        let lost = entry.get("headersHelper").map(|_| {
            "its headers come from a program (`headersHelper`), which Tollgate does not run: set them yourself".to_owned()
        });
        Self {
            // `["*"]` is all of them (Copilot's form).
            only: list(&["includeTools", "enabled_tools"])
                .filter(|only| !only.iter().any(|name| name == "*")),
            without: list(&["excludeTools", "disabled_tools", "disabledTools"]).unwrap_or_default(),
            timeout: seconds.map(|seconds| seconds.ceil().clamp(1.0, 86_400.0) as u64),
            sign_in: ["oauth", "auth"].iter().any(|name| entry.get(*name).is_some_and(Value::is_object))
                || entry.get("authProviderType").is_some(),
            lost: lost.into_iter().collect(),
        }
    }
}

impl Switches {
    /// With what another client says of the same server, too: a tool that any of them leaves out stays out. What is said of that, for
    /// people.
    pub(in crate::cli) fn narrow(&mut self, other: Self, whose: &str) -> Vec<String> {
        let mut told = Vec::new();
        let (only, without) = (self.only.clone(), self.without.clone());
        self.only = match (self.only.take(), other.only) {
            (Some(own), Some(theirs)) => Some(own.into_iter().filter(|tool| theirs.contains(tool)).collect()),
            (own, theirs) => own.or(theirs),
        };
        if self.only != only {
            let left = self.only.as_ref().map(|only| only.join(", ")).unwrap_or_default();
            told.push(format!(
                "{whose} takes only some of its tools; what all of its clients take is granted: {left}"
            ));
        }
        let more: Vec<String> = other.without.into_iter().filter(|tool| !without.contains(tool)).collect();
        if !more.is_empty() {
            told.push(format!("{whose} leaves out {}: denied here, whichever client it is", more.join(", ")));
        }
        self.without.extend(more);
        self.timeout = self.timeout.max(other.timeout);
        self.sign_in |= other.sign_in;
        let lost = other.lost.into_iter().filter(|lost| !self.lost.contains(lost));
        let lost: Vec<String> = lost.collect();
        told.extend(lost.iter().cloned());
        self.lost.extend(lost);
        told
    }
}

/// Whether its client starts it.
pub(super) fn is_on(entry: &Value) -> bool {
    entry.get("disabled") != Some(&Value::Bool(true)) && entry.get("enabled") != Some(&Value::Bool(false))
}

/// An entry whose `command` is an object of its own, as Zed wrote it, in the form of the others.
pub(super) fn flat(entry: Value) -> Value {
    let Value::Object(mut members) = entry else { return entry };
    if let Some(Value::Object(command)) = members.get("command").cloned() {
        members.remove("command");
        members.extend(command.into_iter().map(|(name, value)| match name.as_str() {
            "path" => ("command".to_owned(), value),
            _ => (name, value),
        }));
    }
    Value::Object(members)
}

/// What no client's `type` says that Tollgate speaks.
const KINDS: &[&str] =
    &["stdio", "local", "http", "sse", "remote", "streamable-http", "streamable_http", "streamablehttp"];

/// Reads one entry. `standing` puts the folders in place that its client would.
pub(super) fn server(
    entry: &Value,
    client: Client,
    standing: &dyn Fn(&str) -> String,
) -> Result<Server, NotTaken> {
    let Value::Object(entry) = entry else { return Err("its entry is not an object".into()) };
    let kind = ["type", "transport", "transportType"].iter().find_map(|name| entry.get(*name)?.as_str());
    if let Some(kind) = kind.filter(|kind| !KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known))) {
        let kind: String = kind.chars().take(40).collect();
        let why = format!("its type is `{kind}`: Tollgate speaks stdio, Streamable HTTP and HTTP+SSE");
        return Err(why.into());
    }
    let sse = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("sse"));
    let url = ["httpUrl", "url", "serverUrl"].iter().find_map(|name| entry.get(*name));
    // Gemini CLI takes the address where there are both.
    let program = entry.get("command").filter(|_| client != Client::Gemini || url.is_none());
    if let Some(reference) = of_an_editor(entry).filter(|_| matches!(client, Client::Vscode | Client::Other))
    {
        let why = format!("it takes {reference}, which only its editor knows: write what it stands for");
        return Err(why.into());
    }
    let standing = |text: &str| match client {
        Client::Gemini => standing(&braced(text)),
        Client::ClaudeDesktop
        | Client::ClaudeCode
        | Client::Cursor
        | Client::Vscode
        | Client::Codex
        | Client::Zed
        | Client::Windsurf
        | Client::Cline
        | Client::Other => standing(text),
    };
    match (program, url) {
        (Some(Value::String(program)), None) => command(entry, program, &standing),
        (None, Some(Value::String(url)))
            if !["http://", "https://", "${"].iter().any(|start| url.starts_with(start)) =>
        {
            Err("its `url` is neither http nor https".into())
        }
        (None, Some(Value::String(url))) if has_user(url) => {
            Err("its `url` holds a user or a password, which belong into an `Authorization` header".into())
        }
        (None, Some(Value::String(url))) if !url.contains("${") && url::Url::parse(url).is_err() => {
            Err("its `url` is no URL".into())
        }
        (None, Some(Value::String(url))) => {
            let headers = pairs(entry, "headers")?;
            let headers: BTreeMap<String, String> =
                headers.into_iter().map(|(name, value)| (name, standing(&value))).collect();
            let good = |(name, value): (&String, &String)| {
                http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !value.contains(['\0', '\r', '\n'])
            };
            match headers.iter().all(good) {
                true if headers.values().any(|value| carries_own_key(value)) => Err(NotTaken::Tollgate),
                true => Ok(Server::Url { url: standing(url), headers, sse }),
                false => Err("its `headers` hold what no header can".into()),
            }
        }
        (Some(_), Some(_)) => Err("it has a `command` and a `url`: one of them".into()),
        (Some(_), None) => Err("its `command` is not a text".into()),
        (None, Some(_)) => Err("its `url` is not a text".into()),
        (None, None) if entry.get("source").is_some_and(|source| source == "extension") || entry.contains_key("settings") => {
            Err("an extension of its client starts it, and how stands in no file: write its `command` into servers.toml".into())
        }
        (None, None) => Err("it has neither `command` nor `url`".into()),
    }
}

/// What stands for the file that is open in an editor, for its settings or for what its commands give: nobody else can know.
fn of_an_editor(entry: &Map<String, Value>) -> Option<String> {
    const KNOWN: &[&str] = &[
        "file",
        "fileWorkspaceFolder",
        "fileWorkspaceFolderBasename",
        "relativeFile",
        "relativeFileDirname",
        "fileBasename",
        "fileBasenameNoExtension",
        "fileExtname",
        "fileDirname",
        "fileDirnameBasename",
        "lineNumber",
        "columnNumber",
        "selectedText",
        "execPath",
        "defaultBuildTask",
    ];
    let text = Value::Object(entry.clone()).to_string();
    let names = text.split("${").skip(1).filter_map(|inner| inner.split_once('}').map(|(name, _)| name));
    let is_its = |name: &&str| {
        KNOWN.contains(name)
            || ["command:", "config:", "workspaceFolder:"].iter().any(|start| name.starts_with(start))
    };
    names.into_iter().find(is_its).map(|name| format!("`${{{}}}`", name.chars().take(60).collect::<String>()))
}

/// A child process.
fn command(
    entry: &Map<String, Value>,
    program: &str,
    standing: &dyn Fn(&str) -> String,
) -> Result<Server, NotTaken> {
    let mut command = vec![program.to_owned()];
    command.extend(texts(entry, "args")?);
    if program.trim().is_empty() {
        return Err("its `command` names no program".into());
    }
    if is_tollgate(&command) {
        return Err(NotTaken::Tollgate);
    }
    let text = |name: &str| entry.get(name).and_then(Value::as_str).map(standing);
    let env = pairs(entry, "env")?;
    let texts = command.iter().chain(env.values());
    if texts.chain(&text("cwd")).chain(&text("envFile")).any(|text| text.contains('\0')) {
        return Err("it holds a NUL character, which no program can be given".into());
    }
    Ok(Server::Command {
        command: command.iter().map(|word| standing(word)).collect(),
        env: env.into_iter().map(|(name, value)| (name, standing(&value))).collect(),
        cwd: text("cwd"),
        env_file: text("envFile"),
    })
}

/// Whether a command starts a gateway, by itself or through another program (`uvx`, `npx`, `wsl`, a shell).
fn is_tollgate(command: &[String]) -> bool {
    let named = |word: &str| Path::new(word).file_stem().is_some_and(|name| name == "tollgate");
    let words = || command.iter().flat_map(|word| word.split_whitespace());
    command.first().is_some_and(|program| named(program))
        || (words().any(named) && words().any(|word| word == "stdio"))
}

/// `$NAME` as `${NAME}`.
fn braced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c != '$' || !chars.peek().is_some_and(|next| next.is_ascii_alphabetic() || *next == '_') {
            continue;
        }
        out.push('{');
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            out.push(c);
        }
        out.push('}');
    }
    out
}

/// Whether something stands before the host.
fn has_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn texts(entry: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("its `{name}` is not a list of texts");
    match entry.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            let text = |item: &Value| match item {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            items.iter().map(|item| text(item).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn pairs(entry: &Map<String, Value>, name: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || format!("its `{name}` is not an object of texts");
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match entry.get(name) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(members)) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| text(value).map(|value| (key.clone(), value)).ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}
