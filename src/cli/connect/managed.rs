//! `--managed`: the files by which a fleet's clients reach Tollgate and nothing else. They are written into a folder; whoever manages
//! the machines brings them where they count.

use super::governed::Behind;
use crate::cli::{
    args::ClientKind,
    clients::{NAME, Reach},
    edit::{
        document::{Document, Format},
        file::{Opened, Readers},
    },
    failure::CliError,
    screen::Screen,
};
use serde_json::{Value, json};
use std::path::Path;

/// One file, and where it counts.
struct Made {
    name: &'static str,
    text: String,
    place: &'static str,
}

/// Writes those of a client.
pub(super) fn write(
    client: ClientKind,
    folder: &Path,
    reach: &Reach<'_>,
    behind: &Behind,
    json: bool,
) -> Result<(), CliError> {
    let files = files(client, reach, behind)?;
    for file in &files {
        let opened = Opened::read(&folder.join(file.name))?;
        match opened.is_there() {
            true if opened.text() == file.text => {}
            true => drop(opened.replace_and_keep(Readers::AsBefore, &file.text)?),
            false => opened.replace(&file.text)?,
        }
    }
    let mut screen = Screen::new();
    if json {
        let told = files
            .iter()
            .map(|file| json!({"file": folder.join(file.name).display().to_string(), "place": file.place}));
        return screen.json(&json!({"client": client.title(), "files": told.collect::<Vec<_>>()}));
    }
    for file in &files {
        screen.line(&format!("wrote {}", folder.join(file.name).display()))?;
        screen.field("belongs to", file.place)?;
    }
    screen.line("\nThey count where a machine's users cannot change them. `tollgate doctor` on a machine names what still goes round the gateway.")
}

fn files(client: ClientKind, reach: &Reach<'_>, behind: &Behind) -> Result<Vec<Made>, CliError> {
    let entry = client.entry(reach, "");
    let pretty = |value: &Value| format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default());
    let allowed = json!([match reach {
        Reach::Stdio { program, args } => {
            let words: Vec<&str> = std::iter::once(*program).chain(args.iter().map(String::as_str)).collect();
            json!({"serverCommand": words})
        }
        Reach::Http { url } => json!({"serverUrl": url}),
    }]);
    let denied = behind.originals();
    Ok(match client {
        ClientKind::Claude => vec![
            Made {
                name: "managed-mcp.json",
                text: pretty(&json!({"mcpServers": {NAME: entry}})),
                place: "/etc/claude-code/ (Linux), /Library/Application Support/ClaudeCode/ (macOS), C:\\Program Files\\ClaudeCode\\ \
                        (Windows): the only servers that Claude Code loads",
            },
            Made {
                name: "managed-settings.json",
                text: pretty(&json!({
                    "allowManagedMcpServersOnly": true, "allowedMcpServers": allowed, "deniedMcpServers": denied,
                })),
                place: "the same folder: what else is never loaded",
            },
        ],
        ClientKind::Vscode => vec![Made {
            name: "managed-settings.json",
            text: pretty(&json!({"allowedMcpServers": allowed, "deniedMcpServers": denied})),
            place: "your enterprise's managed settings of GitHub Copilot, which VS Code and its other clients follow",
        }],
        ClientKind::Gemini => vec![Made {
            name: "settings.json",
            text: pretty(&json!({"mcp": {"allowed": [NAME]}, "mcpServers": {NAME: entry}})),
            place: "/etc/gemini-cli/ (Linux), /Library/Application Support/GeminiCli/ (macOS), C:\\ProgramData\\gemini-cli\\ (Windows)",
        }],
        ClientKind::Codex => {
            let identity = match reach {
                Reach::Stdio { program, .. } => json!({"command": program}),
                Reach::Http { url } => json!({"url": url}),
            };
            let requirement = json!({"identity": identity});
            let text = Document::parse("", Format::Toml)
                .and_then(|empty| empty.set(&["mcp_servers".to_owned()], NAME, &requirement))
                .map_err(CliError::Told)?
                .text();
            vec![Made {
                name: "requirements.toml",
                text,
                place: "/etc/codex/ (Linux, macOS): no other server is started",
            }]
        }
        ClientKind::ClaudeDesktop
        | ClientKind::Cursor
        | ClientKind::Zed
        | ClientKind::Windsurf
        | ClientKind::Cline => {
            return Err(CliError::Told(format!(
                "{} has no file that pins its servers for a fleet: claude, vscode, codex and gemini have",
                client.title()
            )));
        }
    })
}
