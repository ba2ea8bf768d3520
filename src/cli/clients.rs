//! The MCP clients that Tollgate is put into: which file is theirs, where in it servers stand, and how an entry looks.

use super::{args::ClientKind, edit::document::Format};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where a client finds the agent's key. Not `TOLLGATE_KEY`: that is a person's.
pub(super) const KEY_VARIABLE: &str = "TOLLGATE_AGENT_KEY";
/// What Tollgate is called in a client's file.
pub(super) const NAME: &str = "tollgate";
/// What VS Code asks a person for.
const INPUT: &str = "tollgate-agent-key";

/// How a client reaches Tollgate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach<'r> {
    /// It starts `tollgate stdio`.
    Stdio {
        /// The program.
        program: &'r str,
        /// Its arguments.
        args: &'r [String],
    },
    /// It goes to a running `tollgate serve`.
    Http {
        /// Where that answers.
        url: &'r str,
    },
}

/// How the key stands in a client's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyReference {
    /// As a text that the client puts the variable's value into.
    Variable(&'static str),
    /// The client asks for it once and keeps it.
    Asked,
    /// The client knows no references: the key itself stands there.
    Written,
    /// The client starts its servers itself.
    NoHttp,
}

impl ClientKind {
    /// As people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Claude => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Cursor => "Cursor",
            Self::Vscode => "VS Code",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
            Self::Zed => "Zed",
            Self::Windsurf => "Windsurf",
            Self::Cline => "Cline",
        }
    }

    pub(super) fn format(self) -> Format {
        match self {
            Self::Codex => Format::Toml,
            Self::Claude
            | Self::ClaudeDesktop
            | Self::Cursor
            | Self::Vscode
            | Self::Gemini
            | Self::Zed
            | Self::Windsurf
            | Self::Cline => Format::Json,
        }
    }

    /// The member of its file that holds the servers.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::Codex => "mcp_servers",
            Self::Zed => "context_servers",
            Self::Claude
            | Self::ClaudeDesktop
            | Self::Cursor
            | Self::Gemini
            | Self::Windsurf
            | Self::Cline => "mcpServers",
        }
    }

    pub(super) fn key(self) -> KeyReference {
        match self {
            Self::Claude | Self::Gemini => KeyReference::Variable("${TOLLGATE_AGENT_KEY}"),
            Self::Cursor | Self::Windsurf => KeyReference::Variable("${env:TOLLGATE_AGENT_KEY}"),
            Self::Codex => KeyReference::Variable(KEY_VARIABLE),
            Self::Vscode => KeyReference::Asked,
            Self::Zed | Self::Cline => KeyReference::Written,
            Self::ClaudeDesktop => KeyReference::NoHttp,
        }
    }

    /// Its file in the folder of a project, from there on.
    pub(super) fn project_file(self) -> Option<&'static str> {
        match self {
            Self::Claude => Some(".mcp.json"),
            Self::Cursor => Some(".cursor/mcp.json"),
            Self::Vscode => Some(".vscode/mcp.json"),
            Self::Codex => Some(".codex/config.toml"),
            Self::Gemini => Some(".gemini/settings.json"),
            Self::Zed => Some(".zed/settings.json"),
            Self::ClaudeDesktop | Self::Windsurf | Self::Cline => None,
        }
    }

    /// Where its file of a person may lie, the likeliest first. `var` answers for the environment.
    pub(super) fn user_files(self, home: &Path, var: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
        let settings = match (var("XDG_CONFIG_HOME"), cfg!(target_os = "macos")) {
            (Some(named), _) => named,
            (None, true) => home.join("Library/Application Support"),
            (None, false) => home.join(".config"),
        };
        match self {
            Self::Claude => var("CLAUDE_CONFIG_DIR")
                .into_iter()
                .chain([home.to_owned()])
                .map(|at| at.join(".claude.json"))
                .collect(),
            Self::ClaudeDesktop => vec![settings.join("Claude/claude_desktop_config.json")],
            Self::Cursor => vec![home.join(".cursor/mcp.json")],
            Self::Vscode => ["Code", "Code - Insiders", "VSCodium"]
                .map(|editor| settings.join(editor).join("User/mcp.json"))
                .into(),
            Self::Codex => {
                let folders = var("CODEX_HOME").into_iter().chain([home.join(".codex")]);
                folders.map(|at| at.join("config.toml")).collect()
            }
            Self::Gemini => vec![home.join(".gemini/settings.json")],
            Self::Zed => {
                [home.join(".config/zed"), settings.join("zed")].map(|at| at.join("settings.json")).into()
            }
            Self::Windsurf => vec![home.join(".codeium/windsurf/mcp_config.json")],
            Self::Cline => vec![
                settings
                    .join("Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
                home.join(".cline/data/settings/cline_mcp_settings.json"),
            ],
        }
    }

    /// The variables that it passes on to the servers that it starts; `None`: all of its own.
    pub(super) fn passes(self) -> Option<&'static [&'static str]> {
        match self {
            // The official SDK's choice, which these clients take.
            Self::ClaudeDesktop | Self::Cline => Some(&["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]),
            Self::Codex => Some(&[
                "HOME",
                "LOGNAME",
                "PATH",
                "SHELL",
                "USER",
                "__CF_USER_TEXT_ENCODING",
                "LANG",
                "LC_ALL",
                "TERM",
                "TMPDIR",
                "TZ",
            ]),
            Self::Claude | Self::Cursor | Self::Vscode | Self::Gemini | Self::Zed | Self::Windsurf => None,
        }
    }

    /// The entry, where `key` stands for the agent's key if the client takes no reference.
    pub(super) fn entry(self, reach: &Reach<'_>, key: &str) -> Value {
        match *reach {
            Reach::Stdio { program, args } => match self {
                Self::Vscode => json!({"type": "stdio", "command": program, "args": args}),
                Self::Zed => json!({"source": "custom", "command": program, "args": args}),
                Self::Cline => json!({"command": program, "args": args, "disabled": false}),
                Self::Claude
                | Self::ClaudeDesktop
                | Self::Cursor
                | Self::Codex
                | Self::Gemini
                | Self::Windsurf => json!({"command": program, "args": args}),
            },
            Reach::Http { url } => {
                let key = match self.key() {
                    KeyReference::Variable(reference) => reference.to_owned(),
                    KeyReference::Asked => format!("${{input:{INPUT}}}"),
                    KeyReference::Written | KeyReference::NoHttp => key.to_owned(),
                };
                let headers = json!({"Authorization": format!("Bearer {key}")});
                match self {
                    Self::Claude | Self::Vscode => json!({"type": "http", "url": url, "headers": headers}),
                    Self::Codex => json!({"url": url, "bearer_token_env_var": key}),
                    Self::Gemini => json!({"httpUrl": url, "headers": headers}),
                    Self::Windsurf => json!({"serverUrl": url, "headers": headers}),
                    Self::Cline => {
                        json!({"type": "streamableHttp", "url": url, "headers": headers, "disabled": false})
                    }
                    Self::Cursor | Self::Zed | Self::ClaudeDesktop => json!({"url": url, "headers": headers}),
                }
            }
        }
    }

    /// What it asks a person for, beside the entry.
    pub(super) fn input(self, reach: &Reach<'_>) -> Option<Value> {
        match (self.key(), reach) {
            (KeyReference::Asked, Reach::Http { .. }) => Some(json!({
                "type": "promptString", "id": INPUT, "description": "Tollgate: the agent's key", "password": true,
            })),
            _ => None,
        }
    }

    /// What its user has to do once, beside a new start.
    pub(super) fn then(self, project: bool) -> Option<&'static str> {
        match (self, project) {
            (Self::Claude, true) => {
                Some("Claude Code asks once whether servers of a project's file may be started: say yes")
            }
            (Self::Vscode, _) => Some("VS Code asks once whether the server is trusted: say yes"),
            (Self::Codex, true) => Some("Codex reads a project's file only where the project is trusted"),
            (Self::Gemini, true) => {
                Some("Gemini CLI reads a project's file only where the folder is trusted")
            }
            (Self::ClaudeDesktop, _) => Some("quit Claude Desktop wholly and start it again"),
            _ => None,
        }
    }
}

/// Whether what is sent along is what agents show a gateway: its key, or what stands for it in entries that `connect` writes. Keys
/// begin so (`tollgate agents add`).
pub(super) fn carries_own_key(header: &str) -> bool {
    header.contains(KEY_VARIABLE)
        || header.contains(&format!("${{input:{INPUT}}}"))
        || header.strip_prefix("Bearer ").is_some_and(|key| key.starts_with("tg_"))
}

/// The gateway's own address, however its host is written. Another path of the same host is another server.
pub(super) fn is_same_place(own: &str, other: &str) -> bool {
    let read = |text: &str| {
        let url = url::Url::parse(text).ok()?;
        let host = match url.host_str()? {
            "localhost" | "[::1]" | "0.0.0.0" | "[::]" => "127.0.0.1".to_owned(),
            host => host.to_owned(),
        };
        let path = url.path().trim_end_matches('/').to_owned();
        Some((url.scheme().to_owned(), host, url.port_or_known_default(), path))
    };
    read(own).is_some_and(|own| read(other) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn a_place_is_a_host_a_port_and_a_path() {
        let check = |own: &str, other: &str, expect: bool| {
            assert_eq!(is_same_place(own, other), expect, "{own} {other}");
        };
        let own = "http://127.0.0.1:8787/mcp";
        check(own, "http://localhost:8787/mcp/", true);
        check("http://0.0.0.0:8787/mcp", own, true);
        check(own, "http://127.0.0.1:8787/other", false);
        check(own, "http://127.0.0.1:8787/", false);
        check(own, "http://127.0.0.1:8788/mcp", false);
        check(own, "https://127.0.0.1:8787/mcp", false);
        check(own, "npx", false);
    }

    /// I5: no file that a project may be shared with holds a key.
    #[test]
    fn a_reference_stands_in_place_of_the_key_wherever_a_client_has_a_file_of_a_project() {
        for client in ClientKind::value_variants() {
            let http = client.entry(&Reach::Http { url: "https://g.example/mcp" }, "tg_secret").to_string();
            let written = http.contains("tg_secret");
            assert_eq!(
                written,
                matches!(client.key(), KeyReference::Written | KeyReference::NoHttp),
                "{client:?}: {http}"
            );
            let args = ["stdio".to_owned()];
            let stdio = client.entry(&Reach::Stdio { program: "/opt/tollgate", args: &args }, "tg_secret");
            assert_eq!(
                (&stdio["command"], &stdio["args"]),
                (&json!("/opt/tollgate"), &json!(["stdio"])),
                "{client:?}"
            );
            assert!(!stdio.to_string().contains("tg_secret"));
        }
    }
}
