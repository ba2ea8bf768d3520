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
pub(in crate::cli) struct Found {
    /// As it is called there.
    pub(in crate::cli) name: String,
    /// Where it stands.
    pub(in crate::cli) file: PathBuf,
    /// What it is, or why it is left out.
    pub(in crate::cli) server: Result<Server, String>,
    /// Its client starts it.
    pub(in crate::cli) enabled: bool,
}

/// What one file brings.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) found: Vec<Found>,
    /// What its client asks a person for (`inputs` of VS Code), by id: the default, and what can be picked.
    pub(super) inputs: BTreeMap<String, Input>,
    /// Servers of the working folder's .mcp.json that this file switches off.
    pub(super) off_in_project: Vec<String>,
}

/// One thing that a client asks a person for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Input {
    pub(super) default: Option<String>,
    pub(super) options: Vec<String>,
}

/// How it is reached.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Server {
    /// A child process.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its environment.
        env: BTreeMap<String, String>,
        /// The folder that it works in.
        cwd: Option<String>,
        /// A file of further variables.
        env_file: Option<String>,
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
pub(in crate::cli) fn usual_places(here: &Path, home: Option<&Path>) -> Vec<PathBuf> {
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

/// The folders that references in a client's file stand for.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Folders<'f> {
    /// The working folder.
    pub(in crate::cli) here: &'f Path,
    pub(in crate::cli) home: Option<&'f Path>,
}

/// Reads one file; the error says where it is wrong and what was expected.
pub(super) fn file(path: &Path, folders: Folders<'_>) -> Result<Read, String> {
    let told = |problem: &str| format!("{}: {problem}", path.display());
    let text = text_of(path)?;
    if path.extension().is_some_and(|end| end == "toml") {
        return Err(told("TOML is not read here: expected JSON with `mcpServers` or `servers`"));
    }
    let root = object(path, &text)?;
    match servers(&root, path, folders)? {
        (read, true) => Ok(read),
        (_, false) => {
            Err(told("it has no servers: expected `mcpServers` (Claude, Cursor) or `servers` (VS Code)"))
        }
    }
}

/// The servers that any client's file names, also in the forms that are not imported (Codex, Zed); none where it names none.
pub(in crate::cli) fn client_servers(path: &Path, folders: Folders<'_>) -> Result<Vec<Found>, String> {
    let text = text_of(path)?;
    let mut root = match path.extension().is_some_and(|end| end == "toml") {
        true => {
            let read: toml::Table = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
            let servers = read.get("mcp_servers").and_then(|servers| serde_json::to_value(servers).ok());
            Map::from_iter(servers.map(|servers| ("mcpServers".to_owned(), servers)))
        }
        false => object(path, &text)?,
    };
    if let Some(Value::Object(of_zed)) = root.remove("context_servers") {
        let flat = of_zed.into_iter().map(|(name, entry)| (name, flat_command(entry)));
        root.insert("mcpServers".to_owned(), Value::Object(flat.collect()));
    }
    servers(&root, path, folders).map(|(read, _)| read.found)
}

/// An entry whose `command` is an object of its own, as Zed writes it.
fn flat_command(entry: Value) -> Value {
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

fn text_of(path: &Path) -> Result<String, String> {
    let told = |problem: &str| format!("{}: {problem}", path.display());
    let size = std::fs::metadata(path).map_err(|error| told(&error.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(told(&format!("larger than {MOST_BYTES} bytes: no configuration of a client")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| told(&error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}');
    match text.trim().is_empty() {
        true => Err(told("the file is empty")),
        false => Ok(text.to_owned()),
    }
}

fn object(path: &Path, text: &str) -> Result<Map<String, Value>, String> {
    let value = json::parse(plain(text).as_bytes()).map_err(|error| {
        format!("{}:{}:{}: {}", path.display(), error.line(), error.column(), words(&error))
    })?;
    match value {
        Value::Object(root) => Ok(root),
        _ => Err(format!("{}: expected an object with `mcpServers` or `servers`", path.display())),
    }
}

/// What a client's file brings, and whether it has a place for servers at all.
fn servers(root: &Map<String, Value>, path: &Path, folders: Folders<'_>) -> Result<(Read, bool), String> {
    let told = |problem: &str| format!("{}: {problem}", path.display());
    let own = project_of(path, folders);
    // Claude Code keeps what it knows of each project in one file.
    let here = folders.here.to_string_lossy();
    let project = root.get("projects").and_then(|projects| projects.get(&*here));
    let off = project.and_then(|project| project.get("disabledMcpServers")).and_then(Value::as_array);
    let off = |name: &str| off.is_some_and(|off| off.iter().any(|other| other == name));
    let places = [
        (root.get("mcpServers"), own),
        (root.get("servers"), own),
        // VS Code's settings.json, in both spellings.
        (root.get("mcp").and_then(|mcp| mcp.get("servers")), own),
        (root.get("mcp.servers"), own),
        (project.and_then(|project| project.get("mcpServers")), folders.here),
    ];
    let off_in_project =
        project.and_then(|project| project.get("disabledMcpjsonServers")).and_then(Value::as_array);
    let off_in_project = off_in_project.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let mut read = Read {
        found: Vec::new(),
        inputs: inputs(root.get("inputs")),
        off_in_project: off_in_project.collect(),
    };
    let mut seen = root.contains_key("projects");
    for (servers, workspace) in places {
        let Some(servers) = servers else { continue };
        seen = true;
        let Value::Object(servers) = servers else {
            return Err(told("`mcpServers` (or `servers`) must be an object of servers by name"));
        };
        let stands_for = |text: &str| standing(text, workspace, folders.home);
        read.found.extend(servers.iter().map(|(name, entry)| Found {
            name: name.clone(),
            file: path.to_owned(),
            server: server(entry, &stands_for),
            enabled: entry.get("disabled") != Some(&Value::Bool(true))
                && entry.get("enabled") != Some(&Value::Bool(false))
                && !off(name),
        }));
    }
    Ok((read, seen))
}

/// The project that a file belongs to: not the folder that its client keeps it in. A file at home is of whichever project
/// is worked on.
fn project_of<'p>(path: &'p Path, folders: Folders<'p>) -> &'p Path {
    let folder = path.parent().unwrap_or(Path::new("."));
    let at_home = folders.home.is_some_and(|home| path.starts_with(home) && !path.starts_with(folders.here));
    let kept = folder.file_name().is_some_and(|name| [".vscode", ".cursor"].iter().any(|own| name == *own));
    match folder.parent() {
        _ if at_home => folders.here,
        Some(project) if kept => project,
        Some(_) | None => folder,
    }
}

/// The text with the folders that its client would put there.
fn standing(text: &str, workspace: &Path, home: Option<&Path>) -> String {
    let mut text = text.to_owned();
    let name = workspace.file_name().unwrap_or_default();
    let mut put = |reference: &str, path: &Path| text = text.replace(reference, &path.to_string_lossy());
    for reference in ["${workspaceFolder}", "${workspaceRoot}", "${cwd}"] {
        put(reference, workspace);
    }
    put("${workspaceFolderBasename}", Path::new(name));
    put("${pathSeparator}", Path::new("/"));
    put("${/}", Path::new("/"));
    if let Some(home) = home {
        put("${userHome}", home);
    }
    text
}

fn inputs(written: Option<&Value>) -> BTreeMap<String, Input> {
    let written = written.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().or_else(|| value.get("value")?.as_str()).map(str::to_owned);
    let read = |input: &Value| {
        let options = input.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let default =
            input.get("default").and_then(text).filter(|_| input.get("password") != Some(&Value::Bool(true)));
        let id = input.get("id")?.as_str()?.to_owned();
        Some((id, Input { default, options: options.iter().filter_map(text).collect() }))
    };
    written.iter().filter_map(read).collect()
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

fn server(entry: &Value, standing: &dyn Fn(&str) -> String) -> Result<Server, String> {
    let Value::Object(entry) = entry else { return Err("its entry is not an object".to_owned()) };
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
            let text = |name: &str| entry.get(name).and_then(Value::as_str).map(standing);
            let env = pairs(entry, "env")?;
            if program.trim().is_empty() {
                return Err("its `command` names no program".to_owned());
            }
            let texts = command.iter().chain(env.values());
            if texts.chain(&text("cwd")).chain(&text("envFile")).any(|text| text.contains('\0')) {
                return Err("it holds a NUL character, which no program can be given".to_owned());
            }
            Ok(Server::Command {
                command: command.iter().map(|word| standing(word)).collect(),
                env: env.into_iter().map(|(name, value)| (name, standing(&value))).collect(),
                cwd: text("cwd"),
                env_file: text("envFile"),
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
        (None, Some(Value::String(url))) if !url.contains("${") && url::Url::parse(url).is_err() => {
            Err("its `url` is no URL".to_owned())
        }
        (None, Some(Value::String(url))) => {
            let headers = pairs(entry, "headers")?;
            let good = |(name, value): (&String, &String)| {
                http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !value.contains(['\0', '\r', '\n'])
            };
            match headers.iter().all(good) {
                true => Ok(Server::Url { url: url.clone(), headers, sse }),
                false => Err("its `headers` hold what no header can".to_owned()),
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read_at(name: &str, text: &str) -> Result<Read, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        file(&path, Folders { here: Path::new("/home/me/project"), home: Some(Path::new("/home/me")) })
    }

    fn read(text: &str) -> Result<Vec<Found>, String> {
        read_at("mcp.json", text).map(|read| read.found)
    }

    fn command(words: &[&str]) -> Server {
        Server::Command {
            command: words.iter().map(|w| (*w).to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
            env_file: None,
        }
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
            &[("a", Some(command(&["npx", "-y", "x"]))), ("off", Some(command(&["y"])))],
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
        // One bad entry costs itself only.
        check(
            r#"{"mcpServers": {"e": {"command": " "}, "z": {"command": "a", "args": ["\u0000"]}, "h": {"url": "https://a/", "headers":
                {"A": "x\r\nB: y"}}, "u": {"url": "https://["}, "good": {"command": "x"}}}"#,
            &[("e", None), ("z", None), ("h", None), ("u", None), ("good", Some(command(&["x"])))],
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

    /// What a client would put into a text, and what it would not start.
    #[test]
    fn folders_inputs_and_switches_are_those_of_the_client() {
        let text = r#"{"inputs": [
            {"id": "region", "type": "pickString", "options": ["eu", {"label": "US", "value": "us"}], "default": "eu"},
            {"id": "key", "type": "promptString", "password": true, "default": "s3cret"}],
          "servers": {"a": {"command": "${workspaceFolder}/run", "args": ["${userHome}/x", 7], "cwd": "${workspaceFolder}/sub",
            "envFile": "${workspaceFolder}/.env", "env": {"A": null, "B": "${input:region}"}}}}"#;
        let read = read_at("app/.vscode/mcp.json", text).unwrap();
        let Ok(Server::Command { command, env, cwd, env_file }) = &read.found[0].server else {
            panic!("{read:?}")
        };
        assert!(command[0].ends_with("/app/run") && command[1..] == ["/home/me/x", "7"], "{command:?}");
        assert!(
            cwd.as_ref().unwrap().ends_with("/app/sub") && env_file.as_ref().unwrap().ends_with("/app/.env")
        );
        assert_eq!(env.keys().collect::<Vec<_>>(), ["B"]);
        assert_eq!(
            read.inputs["region"],
            Input { default: Some("eu".into()), options: vec!["eu".into(), "us".into()] }
        );
        assert_eq!(read.inputs["key"], Input::default());
        let off = r#"{"mcpServers": {"one": {"command": "x"}, "two": {"command": "y", "disabled": true}}, "projects":
          {"/home/me/project": {"disabledMcpServers": ["one"], "mcpServers": {"three": {"command": "${workspaceFolder}/z"}}}}}"#;
        let read = read_at(".claude.json", &format!("\u{feff}{off}")).unwrap();
        let enabled: Vec<_> = read.found.iter().map(|found| (found.name.as_str(), found.enabled)).collect();
        assert_eq!(enabled, [("one", false), ("two", false), ("three", true)]);
        assert_eq!(read.found[2].server, Ok(super::tests::command(&["/home/me/project/z"])));
    }

    /// Files of clients whose servers are not imported, but found.
    #[test]
    fn servers_are_found_in_every_clients_file() {
        let check = |name: &str, text: &str, expect: &[(&str, bool)]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let folders = Folders { here: folder.path(), home: None };
            let found = client_servers(&path, folders).unwrap();
            let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.server.is_ok())).collect();
            assert_eq!(found, expect, "{text}");
        };
        check(
            "config.toml",
            "model = 'x'\n[mcp_servers.docs]\ncommand = 'npx'\nargs = ['-y', 'docs']\n[mcp_servers.web]\nurl = 'https://a.example/mcp'\n",
            &[("docs", true), ("web", true)],
        );
        check("config.toml", "model = 'x'\n", &[]);
        check(
            "settings.json",
            r#"{"theme": "x", "context_servers": {"old": {"command": {"path": "a", "args": ["b"]}}, "new": {"command": "c", "args": []},
                "own": {"command": {"path": "/usr/bin/tollgate", "args": []}}}}"#,
            &[("old", true), ("new", true), ("own", false)],
        );
        check("settings.json", r#"{"theme": "x"}"#, &[]);
        check(
            "mcp_config.json",
            r#"{"mcpServers": {"a": {"serverUrl": "https://a.example/mcp"}}}"#,
            &[("a", true)],
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
        check("{\"mcp\": {}}", "it has no servers");
        check("{\"mcpServers\": []}", "must be an object");
        let settings =
            r#"{"mcp": {"servers": {"s": {"command": "s"}}}, "mcp.servers": {"t": {"command": "t"}}}"#;
        assert_eq!(read(settings).unwrap().len(), 2);
        let error = read_at("config.toml", "[mcp_servers.a]\ncommand = 'a'\n").unwrap_err();
        assert!(error.contains("expected JSON"), "{error}");
        check(" \n", "the file is empty");
    }
}
