//! `connect` and `client-config`.

use super::JsonFlag;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `connect`
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The client
    #[arg(value_enum)]
    pub(crate) client: ClientKind,
    /// The agent of authority.yaml that the client is
    #[arg(long, value_name = "NAME", required_unless_present = "undo")]
    pub(crate) agent: Option<String>,
    /// Take Tollgate out again: the file as it was, but for what somebody changed since
    #[arg(long, conflicts_with_all = ["agent", "http", "stdio", "no_check"])]
    pub(crate) undo: bool,
    /// Write this file: the project's in the working folder, or that of your own settings
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) scope: Option<ScopeWord>,
    /// The client goes to a running `tollgate serve`, with the agent's key in TOLLGATE_AGENT_KEY
    #[arg(long, conflicts_with = "stdio")]
    pub(crate) http: bool,
    /// The client starts `tollgate stdio`; so it is without --managed
    #[arg(long)]
    pub(crate) stdio: bool,
    /// Write files into this folder that pin the clients of a fleet to the gateway: claude, vscode, codex, gemini
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "managed")]
    pub(crate) managed: Option<PathBuf>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Write without trying the client's next start
    #[arg(long)]
    pub(crate) no_check: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// Which of a client's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeWord {
    /// That of the project in the working folder
    Project,
    /// That of your own settings
    User,
}

/// `client-config`
#[derive(Debug, Args)]
pub(crate) struct ClientConfigArgs {
    /// The client
    #[arg(value_enum)]
    pub(crate) client: ClientKind,
    /// The agent of authority.yaml that the client is
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: String,
}

/// A client whose configuration is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientKind {
    /// Claude Code
    Claude,
    /// Claude Desktop
    ClaudeDesktop,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// Zed
    Zed,
    /// Windsurf
    Windsurf,
    /// Cline
    Cline,
}
