//! Where MCP clients keep their configuration.

use super::{Client, Folders};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A client's file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Place {
    /// Whose it is.
    pub(in crate::cli) client: Client,
    /// Where it lies.
    pub(in crate::cli) path: PathBuf,
    /// The project whose file it is; a person's own is of none.
    pub(in crate::cli) project: Option<PathBuf>,
    /// It holds much else: nobody expects servers in it.
    pub(in crate::cli) aside: bool,
}

/// In the folder of a project.
const IN_PROJECT: &[(Client, &str)] = &[
    (Client::ClaudeCode, ".mcp.json"),
    (Client::Other, "mcp.json"),
    (Client::Cursor, ".cursor/mcp.json"),
    (Client::Vscode, ".vscode/mcp.json"),
    (Client::Codex, ".codex/config.toml"),
    (Client::Gemini, ".gemini/settings.json"),
    (Client::Zed, ".zed/settings.json"),
];

/// Below a person's home folder.
const AT_HOME: &[(Client, &str)] = &[
    (Client::ClaudeCode, ".claude.json"),
    (Client::Cursor, ".cursor/mcp.json"),
    (Client::Codex, ".codex/config.toml"),
    (Client::Gemini, ".gemini/settings.json"),
    (Client::Windsurf, ".codeium/windsurf/mcp_config.json"),
    (Client::Windsurf, ".codeium/mcp_config.json"),
    (Client::Cline, ".cline/data/settings/cline_mcp_settings.json"),
    (Client::Zed, ".config/zed/settings.json"),
    (Client::Zed, ".var/app/dev.zed.Zed/config/zed/settings.json"),
];

/// Below the folder that the system keeps settings of programs in.
const IN_SETTINGS: &[(Client, &str)] = &[
    (Client::ClaudeDesktop, "Claude/claude_desktop_config.json"),
    (Client::Zed, "zed/settings.json"),
    (Client::Zed, "Zed/settings.json"),
];

/// Those folders, by system.
const SETTINGS: &[&str] = &[".config", "Library/Application Support", "AppData/Roaming"];

/// Editors that are VS Code, or made of it.
const EDITORS: &[(Client, &str)] = &[
    (Client::Vscode, "Code"),
    (Client::Vscode, "Code - Insiders"),
    (Client::Vscode, "VSCodium"),
    (Client::Cline, "Cursor"),
    (Client::Cline, "Windsurf"),
];

/// The settings of Cline in such an editor.
const CLINE: &str = "globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json";

/// The files that are there, the working folder's first.
pub(in crate::cli) fn usual_places(folders: Folders<'_>) -> Vec<Place> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    places(folders, &var)
}

/// The same; `var` answers for the environment.
fn places(folders: Folders<'_>, var: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<Place> {
    let mut places = Vec::new();
    let here = || Some(folders.here.to_owned());
    for (client, name) in IN_PROJECT {
        let path = folders.here.join(name);
        places.push(Place { client: *client, path, project: here(), aside: false });
    }
    let path = folders.here.join(".vscode/settings.json");
    places.push(Place { client: Client::Vscode, path, project: here(), aside: true });
    let mut add = |client: Client, path: PathBuf, aside: bool| {
        places.push(Place { client, path, project: None, aside })
    };
    for (name, client, file) in [
        ("CLAUDE_CONFIG_DIR", Client::ClaudeCode, ".claude.json"),
        ("CODEX_HOME", Client::Codex, "config.toml"),
    ] {
        if let Some(folder) = var(name) {
            add(client, folder.join(file), false);
        }
    }
    let home = folders.home.into_iter();
    for home in home.clone() {
        for (client, name) in AT_HOME {
            add(*client, home.join(name), false);
        }
    }
    let settings = home.flat_map(|home| SETTINGS.iter().map(|name| home.join(name)));
    for settings in var("XDG_CONFIG_HOME").into_iter().chain(settings) {
        for (client, name) in IN_SETTINGS {
            add(*client, settings.join(name), false);
        }
        for (client, editor) in EDITORS {
            let user = settings.join(editor).join("User");
            if *client == Client::Vscode {
                add(Client::Vscode, user.join("mcp.json"), false);
                add(Client::Vscode, user.join("settings.json"), true);
                for profile in profiles(&user) {
                    add(Client::Vscode, profile.join("mcp.json"), false);
                }
            }
            add(Client::Cline, user.join(CLINE), false);
        }
    }
    let mut seen = BTreeSet::new();
    // What is there and is no file, or a link to nothing, is named by whoever reads it.
    places.retain(|place| {
        let path = &place.path;
        path.symlink_metadata().is_ok() && seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone()))
    });
    places
}

/// What Claude Code loads here of the folders that the working folder lies in, the nearest first.
pub(in crate::cli) fn parents_places(folders: Folders<'_>) -> Vec<Place> {
    let client = Client::ClaudeCode;
    let above = folders.here.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    let places = above.map(|folder| {
        let project = Some(folder.to_owned());
        Place { client, path: folder.join(".mcp.json"), project, aside: true }
    });
    places.filter(|place| place.path.symlink_metadata().is_ok()).collect()
}

/// A file that a person names.
pub(super) fn named(path: &Path, folders: Folders<'_>) -> Place {
    let project = project_of(path, folders).map(Path::to_owned);
    Place { client: client_of(path), path: path.to_owned(), project, aside: false }
}

/// The project that a file belongs to: not the folder that its client keeps it in. A file at home is of none.
fn project_of<'p>(path: &'p Path, folders: Folders<'p>) -> Option<&'p Path> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let is_home = |home: &Path| {
        let below = path.strip_prefix(home).ok().and_then(|below| below.iter().next());
        below.is_some_and(|first| {
            let first = first.to_string_lossy();
            first.starts_with('.') || ["Library", "AppData"].contains(&&*first)
        })
    };
    let at_home = folders.home.is_some_and(is_home)
        && (!path.starts_with(folders.here) || folders.home == Some(folders.here));
    let kept = [".vscode", ".cursor", ".codex", ".gemini", ".zed"];
    let kept = folder.file_name().is_some_and(|name| kept.iter().any(|own| name == *own));
    match folder.parent() {
        _ if at_home => None,
        Some(project) if kept => Some(project),
        Some(_) | None => Some(folder),
    }
}

/// Whose file one is, by what it is called.
fn client_of(path: &Path) -> Client {
    let ends = |name: &str| path.ends_with(name);
    let known = IN_PROJECT.iter().chain(AT_HOME).chain(IN_SETTINGS).find(|(_, name)| ends(name));
    match known {
        Some((client, _)) => *client,
        None if ends("config.toml") => Client::Codex,
        None if ends("claude_desktop_config.json") => Client::ClaudeDesktop,
        None if ends("cline_mcp_settings.json") => Client::Cline,
        None if ends("mcp_config.json") => Client::Windsurf,
        None if ends("User/mcp.json") => Client::Vscode,
        None => Client::Other,
    }
}

fn profiles(user: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(user.join("profiles")).into_iter().flatten().flatten();
    let mut profiles: Vec<PathBuf> = entries.map(|entry| entry.path()).take(100).collect();
    profiles.sort();
    profiles
}
