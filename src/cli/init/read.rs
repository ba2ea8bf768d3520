//! The configurations of MCP clients: what servers they start or reach. Four programs, two members, one of them with
//! comments in its JSON.

use crate::model::json;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The largest file that is read.
const MOST_BYTES: u64 = 4 << 20;

/// One server as a client's configuration has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// As it is called there.
    pub(super) name: String,
    /// Where it stands.
    pub(super) file: PathBuf,
    /// What it is, or why it is left out.
    pub(super) server: Result<Server, String>,
}

/// How it is reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Server {
    /// A child process.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its environment.
        env: BTreeMap<String, String>,
    },
    /// Streamable HTTP.
    Url {
        /// Where.
        url: String,
        /// What is sent along.
        headers: BTreeMap<String, String>,
        /// It is said to speak HTTP+SSE.
        sse: bool,
    },
}

/// Where clients keep their configuration, the working folder's first.
pub(super) fn usual_places(here: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        [".mcp.json", "mcp.json", ".cursor/mcp.json", ".vscode/mcp.json"].map(|name| here.join(name)).into();
    let at_home = [
        ".claude.json",
        ".cursor/mcp.json",
        ".config/Claude/claude_desktop_config.json",
        "Library/Application Support/Claude/claude_desktop_config.json",
        "AppData/Roaming/Claude/claude_desktop_config.json",
        ".config/Code/User/mcp.json",
        "Library/Application Support/Code/User/mcp.json",
    ];
    places.extend(home.iter().flat_map(|home| at_home.iter().map(|name| home.join(name))));
    places.retain(|place| place.is_file());
    places
}

/// Reads one file; the error says where it is wrong and what was expected.
pub(super) fn file(path: &Path, here: &Path) -> Result<Vec<Found>, String> {
    let told = |problem: String| format!("{}: {problem}", path.display());
    let size = std::fs::metadata(path).map_err(|error| told(error.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(told(format!("larger than {MOST_BYTES} bytes: no configuration of a client")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let value = json::parse(plain(&text).as_bytes()).map_err(|error| {
        format!("{}:{}:{}: {}", path.display(), error.line(), error.column(), words(&error))
    })?;
    let Value::Object(root) = value else {
        return Err(told("expected an object with `mcpServers` or `servers`".to_owned()));
    };
    let mut found = Vec::new();
    let mut seen = false;
    let here = here.to_string_lossy();
    let project = root.get("projects").and_then(|projects| projects.get(&*here));
    let places = [root.get("mcpServers"), root.get("servers"), project.and_then(|p| p.get("mcpServers"))];
    for servers in places.into_iter().flatten() {
        seen = true;
        let Value::Object(servers) = servers else {
            return Err(told("`mcpServers` (or `servers`) must be an object of servers by name".to_owned()));
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        found.extend(servers.iter().map(|(name, entry)| Found {
            name: name.clone(),
            file: path.to_owned(),
            server: server(entry, folder),
        }));
    }
    // Claude Code's own file has much else in it.
    if !seen && root.get("projects").is_none() {
        return Err(told("expected `mcpServers` (Claude, Cursor) or `servers` (VS Code)".to_owned()));
    }
    Ok(found)
}

fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Comments and commas before a closing bracket become spaces, so that lines and columns stay what they were.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut comma: Option<usize> = None;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                comma = None;
                out.push(c);
                while let Some(inner) = chars.next() {
                    out.push(inner);
                    match inner {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if chars.peek() == Some(&'/') => {
                out.push(' ');
                while let Some(inner) = chars.next_if(|inner| *inner != '\n') {
                    out.extend(std::iter::repeat_n(' ', inner.len_utf8()));
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                out.push_str("  ");
                chars.next();
                let mut last = ' ';
                for inner in chars.by_ref() {
                    if inner == '\n' {
                        out.push('\n');
                    } else {
                        out.extend(std::iter::repeat_n(' ', inner.len_utf8()));
                    }
                    if last == '*' && inner == '/' {
                        break;
                    }
                    last = inner;
                }
            }
            ',' => {
                comma = Some(out.len());
                out.push(c);
            }
            ']' | '}' => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(c);
            }
            c => {
                if !c.is_whitespace() {
                    comma = None;
                }
                out.push(c);
            }
        }
    }
    out
}

fn server(entry: &Value, folder: &Path) -> Result<Server, String> {
    let Value::Object(entry) = entry else { return Err("its entry is not an object".to_owned()) };
    if entry.get("disabled") == Some(&Value::Bool(true)) {
        return Err("it is disabled there".to_owned());
    }
    let kind = entry.get("type").or_else(|| entry.get("transport")).and_then(Value::as_str);
    let sse = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("sse"));
    let url = ["url", "serverUrl", "httpUrl"].iter().find_map(|name| entry.get(*name));
    match (entry.get("command"), url) {
        (Some(Value::String(program)), None) => {
            let mut command = vec![program.clone()];
            command.extend(texts(entry, "args")?);
            if Path::new(program).file_stem().is_some_and(|name| name == "tollgate") {
                return Err("it is Tollgate itself".to_owned());
            }
            let folder = folder.to_string_lossy();
            let here = |text: String| text.replace("${workspaceFolder}", &folder);
            Ok(Server::Command {
                command: command.into_iter().map(here).collect(),
                env: pairs(entry, "env")?.into_iter().map(|(name, value)| (name, here(value))).collect(),
            })
        }
        (None, Some(Value::String(url)))
            if !["http://", "https://", "${"].iter().any(|start| url.starts_with(start)) =>
        {
            Err("its `url` is neither http nor https".to_owned())
        }
        (None, Some(Value::String(url))) if has_user(url) => {
            Err("its `url` holds a user or a password, which belong into an `Authorization` header"
                .to_owned())
        }
        (None, Some(Value::String(url))) => {
            Ok(Server::Url { url: url.clone(), headers: pairs(entry, "headers")?, sse })
        }
        (Some(_), Some(_)) => Err("it has a `command` and a `url`: one of them".to_owned()),
        (Some(_), None) => Err("its `command` is not a text".to_owned()),
        (None, Some(_)) => Err("its `url` is not a text".to_owned()),
        (None, None) => Err("it has neither `command` nor `url`".to_owned()),
    }
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
            items.iter().map(|i| i.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
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
            .map(|(key, value)| text(value).map(|value| (key.clone(), value)).ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Found>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp.json");
        std::fs::write(&path, text).unwrap();
        file(&path, Path::new("/home/me/project"))
    }

    fn command(words: &[&str]) -> Server {
        Server::Command { command: words.iter().map(|w| (*w).to_owned()).collect(), env: BTreeMap::new() }
    }

    #[test]
    fn every_clients_form_is_read() {
        let check = |text: &str, expect: &[(&str, Option<Server>)]| {
            let found = read(text).unwrap();
            let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.server.clone().ok())).collect();
            assert_eq!(found, expect, "{text}");
        };
        check(
            r#"{"mcpServers": {"a": {"command": "npx", "args": ["-y", "x"]}, "off": {"command": "y", "disabled": true}}}"#,
            &[("a", Some(command(&["npx", "-y", "x"]))), ("off", None)],
        );
        check(
            "{ // VS Code\n \"servers\": {\n  \"web\": { \"type\": \"http\", \"url\": \"https://a.example/mcp\", /* , } */ },\n }, }",
            &[(
                "web",
                Some(Server::Url {
                    url: "https://a.example/mcp".to_owned(),
                    headers: BTreeMap::new(),
                    sse: false,
                }),
            )],
        );
        check(
            r#"{"projects": {"/home/me/project": {"mcpServers": {"p": {"command": "p"}}}, "/other": {"mcpServers": {"q": {"command": "q"}}}}}"#,
            &[("p", Some(command(&["p"])))],
        );
        check(
            r#"{"mcpServers": {"s": {"type": "sse", "url": "http://a.example/sse"}, "me": {"command": "/usr/bin/tollgate"}, "n": {},
                "u": {"url": "https://me:secret@a.example/mcp"}}}"#,
            &[
                (
                    "s",
                    Some(Server::Url {
                        url: "http://a.example/sse".to_owned(),
                        headers: BTreeMap::new(),
                        sse: true,
                    }),
                ),
                ("me", None),
                ("n", None),
                ("u", None),
            ],
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let check = |text: &str, expect: &str| {
            let error = read(text).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check("{\n  \"mcpServers\": {\n    \"a\" 1\n}}", ":3:");
        check("{\"mcpServers\": {}, \"mcpServers\": {}}", "duplicate key");
        check("[]", "expected an object");
        check("{\"mcp\": {}}", "expected `mcpServers`");
        check("{\"mcpServers\": []}", "must be an object");
        check("", ":1:0:");
    }
}
