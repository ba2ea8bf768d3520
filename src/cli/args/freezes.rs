//! `freeze …` and `unfreeze …`

use super::*;

/// What is frozen or lifted: one of these.
#[derive(Debug, Args)]
#[group(id = "frozen", multiple = false)]
pub(crate) struct FreezeTargetArgs {
    /// An agent, as authority.yaml names it
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// A person: every call that agents make for them
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// A tool, by the name that agents see
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// A server, as servers.toml names it
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    /// A capability: every call that it covers
    #[arg(long, value_name = "NAME")]
    pub(crate) capability: Option<String>,
    /// Everything
    #[arg(long)]
    pub(crate) all: bool,
}

/// `freeze`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct FreezeArgs {
    #[command(subcommand)]
    pub(crate) command: Option<FreezeCommand>,
    #[command(flatten)]
    pub(crate) target: FreezeTargetArgs,
    /// Why; kept in the record, and not told to agents
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `freeze …`
#[derive(Debug, Subcommand)]
pub(crate) enum FreezeCommand {
    /// List what is frozen, since when, by whom and why
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `unfreeze`
#[derive(Debug, Args)]
pub(crate) struct UnfreezeArgs {
    /// The id of a freeze
    #[arg(value_name = "ID", conflicts_with = "frozen")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) target: FreezeTargetArgs,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}
