//! `policy …`: its arguments.

use super::*;
use crate::{evidence::Stage, model::Share};

/// `policy …`
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Decide recorded calls again, each under the bundle that decided it
    #[command(long_about = "\
Takes each recorded decision with its facts, decides it again under the bundle that was in force then, and holds the \
verdict and its limits against the record. What differs is a fault of Tollgate or of the record: exit code 1. A decision \
that depends on a value that is masked in the record cannot be judged, and neither can one that was recorded before facts \
were. Decisions on which no rule was asked (an unknown tool, arguments that do not fit) are not judged. Nothing is \
recorded, counted or sent.")]
    Replay(ReplayArgs),
    /// What was in force: when, by whom, why
    History(HistoryArgs),
    /// Show a snapshot that was in force, file by file as it was
    Show(ShowArgs),
    /// Put a snapshot, or a folder, in force; needs TOLLGATE_KEY of an admin
    #[command(
        long_about = "\
Puts a bundle in force: a snapshot that was in force before (its first digits will do), or the bundle of a folder. It is in \
force for the next message of every running process, and it is held: whatever happens to the folder that servers.toml names, \
through reloads and restarts, until the next activation. The folder of servers.toml itself is not held but followed again: \
what is edited there comes into force.",
        after_help = "\
Examples:
  TOLLGATE_KEY=… tollgate policy activate 1a2b3c4d --reason 'the new limits stop the nightly run'
  TOLLGATE_KEY=… tollgate policy activate ./candidate --reason 'reviewed in 4711'
  TOLLGATE_KEY=… tollgate policy activate policies --reason 'mended: back to the folder'"
    )]
    Activate(ActivateArgs),
    /// Go back to what was in force before; needs TOLLGATE_KEY of an admin
    Rollback(RollbackArgs),
    /// Try a bundle beside the one in force, stage by stage
    #[command(
        subcommand,
        after_help = "\
Examples:
  TOLLGATE_KEY=… tollgate policy rollout start ./candidate --stages shadow,10%,50%,all --max-deny-increase 1% --reason 'new limits'
  tollgate policy rollout status
  TOLLGATE_KEY=… tollgate policy rollout advance --reason 'nothing flipped in a day'
  TOLLGATE_KEY=… tollgate policy rollout abort --reason 'not this week'"
    )]
    Rollout(RolloutCommand),
    /// Print what a signature over a bundle covers
    #[command(
        long_about = "\
Prints the manifest of a bundle: the name and the SHA-256 of each of its files. A signature over it, beside the files as \
bundle.sig (SSH) or bundle.minisig (minisign), is what `[policies] verify` in servers.toml asks for. The fixtures in tests/ are \
no part of it.",
        after_help = "\
Examples:
  tollgate policy manifest > manifest && ssh-keygen -Y sign -n tollgate -f ~/.ssh/id_ed25519 manifest && mv manifest.sig policies/bundle.sig
  tollgate policy manifest > manifest && minisign -Sm manifest && mv manifest.minisig policies/bundle.minisig"
    )]
    Manifest(ManifestArgs),
}

/// `policy history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `policy show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The snapshot, or the first digits of it
    pub(crate) snapshot: String,
    /// This file alone, byte for byte
    pub(crate) file: Option<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `policy activate`
#[derive(Debug, Args)]
pub(crate) struct ActivateArgs {
    /// A snapshot, or the first digits of it, or a folder
    #[arg(value_name = "SNAPSHOT|DIR")]
    pub(crate) what: String,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `policy rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `policy manifest`
#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// The folder of the bundle; without it the one that servers.toml names
    pub(crate) folder: Option<PathBuf>,
}

/// `policy rollout …`
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Begin: every call is decided under both bundles, and what the other one says stands in its record
    Start(RolloutStartArgs),
    /// How the rollout stands, and what its stages have seen
    Status(JsonFlag),
    /// Go on to the next stage; with `all` the bundle is in force
    Advance(RollbackArgs),
    /// End it: the bundle in force decides every call
    Abort(RollbackArgs),
}

/// `policy rollout start`
#[derive(Debug, Args)]
pub(crate) struct RolloutStartArgs {
    /// A snapshot, or the first digits of it, or a folder
    #[arg(value_name = "SNAPSHOT|DIR")]
    pub(crate) what: String,
    /// The stages, each wider than the one before: `shadow` decides nothing, `10%` that share of calls
    #[arg(long, value_name = "STAGES", value_delimiter = ',', default_value = "shadow,10%,50%,all", value_parser = stage)]
    pub(crate) stages: Vec<Stage>,
    /// It ends by itself where the new bundle alone denies more than this share of the calls of a stage
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    pub(crate) max_deny_increase: Share,
    /// And where conditions of the new bundle alone have no answer on more calls of a stage than this
    #[arg(long, value_name = "CALLS", default_value_t = 0)]
    pub(crate) max_errors: u64,
    /// Fewer calls than this say nothing about a share of them
    #[arg(long, value_name = "CALLS", default_value_t = 20)]
    pub(crate) min_calls: u64,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

fn stage(text: &str) -> Result<Stage, String> {
    Stage::parse(text).ok_or_else(|| "expected `shadow`, a share like `10%`, or `all`".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    Share::parse(text).ok_or_else(|| format!("expected {}", Share::EXPECTED))
}

/// `policy replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Not before: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h). A day or a time is local, of this
    /// machine's time zone, unless it ends in Z (UTC) or names an offset
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Of this trace
    #[arg(long, value_name = "TRACE", value_parser = trace)]
    pub(crate) trace: Option<TraceId>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}
