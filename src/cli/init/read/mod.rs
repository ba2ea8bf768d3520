//! The configurations of MCP clients: what servers they start or reach. Nine programs, JSON with comments and TOML.

mod codex;
mod entry;
mod places;

use crate::cli::{
    args::ClientKind,
    edit::{document::strict, file::MOST_BYTES},
};
use entry::server;
pub(in crate::cli) use entry::{NotTaken, Switches};
pub(in crate::cli) use places::{Place, parents_places, usual_places};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
    Codex,
    Gemini,
    Zed,
    Windsurf,
    Cline,
    /// A file that does not say.
    Other,
}

impl Client {
    /// The one that `connect` knows by this.
    pub(in crate::cli) fn kind(self) -> Option<ClientKind> {
        Some(match self {
            Self::ClaudeDesktop => ClientKind::ClaudeDesktop,
            Self::ClaudeCode => ClientKind::Claude,
            Self::Cursor => ClientKind::Cursor,
            Self::Vscode => ClientKind::Vscode,
            Self::Codex => ClientKind::Codex,
            Self::Gemini => ClientKind::Gemini,
            Self::Zed => ClientKind::Zed,
            Self::Windsurf => ClientKind::Windsurf,
            Self::Cline => ClientKind::Cline,
            Self::Other => return None,
        })
    }

    /// Its name, for names of servers.
    pub(in crate::cli) fn slug(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Zed => "zed",
            Self::Windsurf => "windsurf",
            Self::Cline => "cline",
            Self::Other => "file",
        }
    }
}

/// One server as a client's configuration has it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Found {
    /// As it is called there.
    pub(in crate::cli) name: String,
    /// Where it stands.
    pub(in crate::cli) file: PathBuf,
    /// Whose file that is.
    pub(in crate::cli) client: Client,
    /// The project that it is of, in whose folder its client starts it.
    pub(in crate::cli) project: Option<PathBuf>,
    /// The project under whose name it stands in a file of several.
    pub(in crate::cli) listed_for: Option<PathBuf>,
    /// What it is, or why it is left out.
    pub(in crate::cli) server: Result<Server, NotTaken>,
    /// Its client starts it.
    pub(in crate::cli) enabled: bool,
    /// What its client says of its tools, times and sign-in.
    pub(in crate::cli) switches: Switches,
}

#[cfg(test)]
impl Found {
    /// One for tests of whoever reads them.
    pub(in crate::cli) fn of(server: Result<Server, NotTaken>) -> Self {
        Self {
            name: "x".to_owned(),
            file: "/x".into(),
            client: Client::Other,
            project: None,
            listed_for: None,
            server,
            enabled: true,
            switches: Switches::default(),
        }
    }
}

/// What one file brings.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) found: Vec<Found>,
    /// What its client asks a person for (`inputs` of VS Code), by id.
    pub(super) inputs: BTreeMap<String, Input>,
    /// What Claude Code keeps of projects: which servers of their own .mcp.json it starts, and which it does not.
    pub(super) projects: BTreeMap<PathBuf, Project>,
}

/// One project of Claude Code.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Project {
    /// Servers of its .mcp.json that a person has agreed to.
    pub(super) on: Vec<String>,
    /// And those that are switched off.
    pub(super) off: Vec<String>,
}

/// One thing that a client asks a person for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Input {
    /// What it is, in the words of the file.
    pub(super) what: String,
    pub(super) default: Option<String>,
    pub(super) options: Vec<String>,
    /// It is not shown while it is typed.
    pub(super) secret: bool,
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

/// The folders that references in a client's file stand for.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Folders<'f> {
    /// The working folder.
    pub(in crate::cli) here: &'f Path,
    pub(in crate::cli) home: Option<&'f Path>,
}

/// Reads a file that a person names; the error says where it is wrong and what was expected.
pub(super) fn file(path: &Path, folders: Folders<'_>) -> Result<Read, String> {
    let place = places::named(path, folders);
    let (read, has_place) = of_place(&place, folders)?;
    match has_place {
        true => Ok(read),
        false => Err(format!(
            "{}: it has no servers: expected `mcpServers`, `servers` (VS Code), `context_servers` (Zed) or `[mcp_servers.NAME]` \
             (Codex)",
            path.display()
        )),
    }
}

/// Reads the file of a place; a member for servers that is not there is none without servers.
pub(super) fn place(place: &Place, folders: Folders<'_>) -> Result<Read, String> {
    of_place(place, folders).map(|(read, _)| read)
}

/// The servers that any client's file names, those of all projects in it; none where it names none.
pub(in crate::cli) fn client_servers(path: &Path, folders: Folders<'_>) -> Result<Vec<Found>, String> {
    of_place(&places::named(path, folders), folders).map(|(read, _)| read.found)
}

/// The .mcp.json of the projects that Claude Code knows by this file, with those of its servers that it starts there unasked; none:
/// all of them.
pub(in crate::cli) fn agreed_places(path: &Path, folders: Folders<'_>) -> Vec<(Place, Option<Vec<String>>)> {
    let Ok((read, _)) = of_place(&places::named(path, folders), folders) else { return Vec::new() };
    let place = |(folder, project): (PathBuf, Project)| {
        let on = started_by_settings(&folder, folders).map(|more| [project.on, more].concat());
        let path = folder.join(".mcp.json");
        (Place { client: Client::ClaudeCode, path, project: Some(folder), aside: true }, on)
    };
    let all = read.projects.into_iter().filter(|(folder, _)| !folders.here.starts_with(folder));
    let all = all.filter(|(folder, _)| folder.join(".mcp.json").is_file()).map(place);
    all.filter(|(_, on)| on.as_ref().is_none_or(|on| !on.is_empty())).collect()
}

/// What Claude Code's settings say of the servers of a project's .mcp.json: which are started; none: all.
fn started_by_settings(project: &Path, folders: Folders<'_>) -> Option<Vec<String>> {
    let files = [".claude/settings.json", ".claude/settings.local.json"];
    let own = folders.home.map(|home| home.join(".claude/settings.json"));
    let mut on = Vec::new();
    for file in files.map(|file| project.join(file)).into_iter().chain(own).filter(|file| file.is_file()) {
        let Ok(root) = text_of(&file).and_then(|text| object(&file, &text)) else { continue };
        if root.get("enableAllProjectMcpServers") == Some(&Value::Bool(true)) {
            return None;
        }
        on.extend(names(root.get("enabledMcpjsonServers")));
    }
    Some(on)
}

/// What a file brings, and whether it has a place for servers at all.
fn of_place(place: &Place, folders: Folders<'_>) -> Result<(Read, bool), String> {
    let path = &place.path;
    let text = text_of(path)?;
    let root = match path.extension().is_some_and(|end| end == "toml") {
        true => codex::root(path, &text)?,
        false => object(path, &text)?,
    };
    servers(&root, place, folders)
}

/// The text of a client's file, within a bound.
pub(in crate::cli) fn text_of(path: &Path) -> Result<String, String> {
    let told = |problem: &str| format!("{}: {problem}", path.display());
    let meta = std::fs::metadata(path).map_err(|error| told(&error.to_string()))?;
    // What waits for somebody to write into it would be waited for.
    if !meta.is_file() {
        return Err(told("it is no file"));
    }
    let (mut bytes, most) = (Vec::new(), usize::try_from(MOST_BYTES).unwrap_or(usize::MAX));
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| told(&error.to_string()))?;
    if bytes.len() > most {
        return Err(told(&format!("larger than {MOST_BYTES} bytes: no configuration of a client")));
    }
    // Windows' editors write UTF-16 where they are left alone.
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => String::from_utf8(bytes).ok(),
    };
    let text = text.ok_or_else(|| told("it is no text in UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}');
    match text.trim().is_empty() {
        true => Err(told("the file is empty")),
        false => Ok(text.to_owned()),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
}

fn object(path: &Path, text: &str) -> Result<Map<String, Value>, String> {
    let read: Result<Value, _> = jsonc_parser::parse_to_serde_value(text, &strict());
    match read {
        Ok(Value::Object(root)) => Ok(root),
        Ok(_) => Err(format!("{}: expected an object with `mcpServers` or `servers`", path.display())),
        Err(error) => Err(format!(
            "{}:{}:{}: {}",
            path.display(),
            error.line_display(),
            error.column_display(),
            error.kind()
        )),
    }
}

/// What is left out of a list of a project's servers.
fn names(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// One map of servers in a file.
struct Table<'t> {
    servers: &'t Value,
    /// What `${workspaceFolder}` stands for.
    workspace: &'t Path,
    /// Where its client starts the servers.
    project: Option<&'t Path>,
    /// Under which project's name it stands.
    listed_for: Option<&'t Path>,
    /// Servers that are switched off by name.
    off: Vec<String>,
}

/// What a client's file brings, and whether it has a place for servers at all.
fn servers(root: &Map<String, Value>, place: &Place, folders: Folders<'_>) -> Result<(Read, bool), String> {
    let path = place.path.as_path();
    let started_in = place.project.as_deref();
    let workspace = started_in.unwrap_or(folders.here);
    let mut tables = Vec::new();
    let settings = root.get("mcp");
    // Gemini CLI's own switches for all of its servers.
    let allowed = settings.and_then(|mcp| mcp.get("allowed")).map(|allowed| names(Some(allowed)));
    let excluded = names(settings.and_then(|mcp| mcp.get("excluded")));
    for servers in [
        root.get("mcpServers"),
        root.get("servers"),
        root.get("context_servers"),
        // VS Code's settings.json, in both spellings.
        settings.and_then(|mcp| mcp.get("servers")),
        root.get("mcp.servers"),
    ] {
        let off = excluded.clone();
        let listed_for = None;
        tables.extend(servers.map(|servers| Table {
            servers,
            workspace,
            project: started_in,
            listed_for,
            off,
        }));
    }
    let mut seen = root.contains_key("projects") || !tables.is_empty();
    let mut projects = BTreeMap::new();
    // Claude Code keeps what it knows of each project in one file.
    for (folder, project) in root.get("projects").and_then(Value::as_object).into_iter().flatten() {
        let folder = Path::new(folder.as_str());
        let disabled = names(project.get("disabledMcpServers"));
        if folder == folders.here {
            // What is switched off here is so for the servers of all projects, too.
            let of_all = tables.iter_mut().filter(|table| table.listed_for.is_none());
            of_all.for_each(|table| table.off.extend(disabled.clone()));
        }
        if let Some(servers) = project.get("mcpServers") {
            let project = Some(folder);
            tables.push(Table { servers, workspace: folder, project, listed_for: project, off: disabled });
        }
        let (on, off) = ("enabledMcpjsonServers", "disabledMcpjsonServers");
        let known = Project { on: names(project.get(on)), off: names(project.get(off)) };
        projects.insert(folder.to_owned(), known);
    }
    let inputs = root.get("inputs").or_else(|| settings.and_then(|mcp| mcp.get("inputs")));
    let mut read = Read { found: Vec::new(), inputs: inputs_of(inputs), projects };
    for table in tables {
        seen = true;
        let Value::Object(servers) = table.servers else {
            return Err(format!(
                "{}: the member for servers must be an object of servers by name",
                path.display()
            ));
        };
        let stands_for = |text: &str| standing(text, table.workspace, folders.home);
        read.found.extend(servers.iter().map(|(name, written)| {
            let entry = entry::flat(written.clone());
            let server = server(&entry, place.client, &stands_for);
            Found {
                name: name.clone(),
                file: path.to_owned(),
                client: place.client,
                project: table.project.map(Path::to_owned),
                listed_for: table.listed_for.map(Path::to_owned),
                server: server.map(|server| below(server, table.project)),
                enabled: entry::is_on(&entry)
                    && !table.off.contains(name)
                    && allowed.as_ref().is_none_or(|allowed| allowed.contains(name)),
                switches: Switches::of(&entry, place.client),
            }
        }));
    }
    Ok((read, seen))
}

/// With paths from the project's folder on, where they are relative.
fn below(server: Server, project: Option<&Path>) -> Server {
    let whole = |path: Option<String>| match (path, project) {
        (Some(path), Some(project)) if !path.starts_with(['$', '~']) => {
            Some(project.join(path).to_string_lossy().into_owned())
        }
        (path, _) => path,
    };
    match server {
        Server::Command { command, env, cwd, env_file } => {
            Server::Command { command, env, cwd: whole(cwd), env_file: whole(env_file) }
        }
        url @ Server::Url { .. } => url,
    }
}

/// The text with the folders that its client would put there.
fn standing(text: &str, workspace: &Path, home: Option<&Path>) -> String {
    let mut text = text.to_owned();
    let name = workspace.file_name().unwrap_or_default();
    let mut put = |reference: &str, path: &Path| text = text.replace(reference, &path.to_string_lossy());
    for reference in ["${workspaceFolder}", "${workspaceRoot}", "${cwd}", "${CLAUDE_PROJECT_DIR}"] {
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

fn inputs_of(written: Option<&Value>) -> BTreeMap<String, Input> {
    let written = written.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().or_else(|| value.get("value")?.as_str()).map(str::to_owned);
    let read = |input: &Value| {
        let options = input.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let secret = input.get("password") == Some(&Value::Bool(true));
        let default = input.get("default").and_then(text).filter(|_| !secret);
        let id = input.get("id")?.as_str()?.to_owned();
        let what = match input.get("command").and_then(Value::as_str) {
            Some(command) => format!("what the command `{command}` of its client gives"),
            None => input.get("description").and_then(text).unwrap_or_default(),
        };
        Some((id, Input { what, default, options: options.iter().filter_map(text).collect(), secret }))
    };
    written.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
