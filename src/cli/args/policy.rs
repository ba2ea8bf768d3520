//! `policy …`: its arguments.

use super::*;
use crate::{evidence::Stage, model::Share};
use clap::builder::NonEmptyStringValueParser;

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
    /// Run the tests of the bundle: policies/tests/*.yaml
    #[command(
        long_about = "\
Decides each call (or each set of facts) in policies/tests/*.yaml and holds the outcome against what the test expects. A \
call is resolved as a real one: its tool as the upstream listed it last, its arguments looked through and held against \
the tool's schema, priced and decided. An upstream whose lists are not known is taken to have what servers.toml and the \
tests name. Nothing is started, recorded, counted or sent. Exit code 1 if a test fails. Rules that no test reaches are \
named.",
        after_help = "\
A test:
  tests:
    - name: the scratch folder is free
      call: { agent: demo-agent, tool: demo__note_write, arguments: { path: /scratch/a.md, text: x } }
      expect: { decision: ALLOW, policy_id: writes, rule_id: scratch }

`tollgate audit show TRACE --as-test` prints one of a recorded call."
    )]
    Test(TestArgs),
    /// Tell what would be decided of a call, and why
    #[command(
        long_about = "\
Tells what would be decided of a call and why: which policies concern it and which do not, which rule applies, each part \
of its condition with its value, how the outcomes combine, which limit comes from where, who would be asked, and what \
other arguments would change. With --trace it explains a decision on record. Nothing is recorded, counted or sent.",
        after_help = "\
Examples:
  tollgate policy explain --agent demo-agent --tool demo__note_write --args '{\"path\": \"/notes/a.md\", \"text\": \"x\"}'
  tollgate policy explain --agent demo-agent --tool demo__search --args '{\"query\": \"plan\"}' --at 2027-12-24T12:00Z
  tollgate policy explain --trace 0af7651916cd43dd8448eb211c80319c"
    )]
    Explain(Box<ExplainArgs>),
    /// What another bundle would change: recorded calls decided under it
    #[command(long_about = "\
Takes each recorded call as it was decided first, decides it under the bundle in DIR, and counts what would be decided \
otherwise: by policy, agent and tool, with example traces; which approvals would be asked and no longer asked, and what \
spend would be stopped. Calls that would be denied are listed for review before the bundle is activated. A call that a \
person approved counts as asked about. Rates, budgets and repeats are judged with the counters on record; of a counter that \
the record does not have, the calls of the range are counted by their estimates. Estimates, levels and labels are those on \
record. A call that depends on a value that is masked in the record cannot be judged. Nothing is recorded, counted or sent. \
A bundle with errors is exit code 1.")]
    Simulate(SimulateArgs),
    /// What differs between two bundles, in meaning, and what it changes for recorded calls
    #[command(long_about = "\
Names the policies, rules, agents, capabilities, people, workflows, budgets, data rules and prices that differ between two \
bundles, decides recorded calls under both and counts those that are decided otherwise, and names the cells of agents and \
tools that change. A bundle is a folder, a snapshot that was in force or tried (its first characters are enough), or the word \
`active`: the one in force, by the record. What an agent gets for a tool is asked of a call without cost, data and labels; \
where that depends on the arguments, it says so. Comments, layout and the order of keys are no difference.")]
    Diff(DiffArgs),
}

/// `policy simulate`
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The folder of the bundle, or a snapshot that is kept in the store
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: String,
    /// Calls since: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h)
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
    pub(crate) since: Moment,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `policy history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// Only those of records with a lower seq: `next` of a listing that stopped at its limit
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) before: Option<i64>,
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

/// `policy diff`
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The bundle before: a folder, a snapshot, or `active`
    #[arg(value_name = "A")]
    pub(crate) before: String,
    /// The bundle after
    #[arg(value_name = "B")]
    pub(crate) after: String,
    /// Calls since: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h)
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
    pub(crate) since: Moment,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
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

/// `policy test`
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Write the results as JUnit XML to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `policy explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The agent that would make the call
    #[arg(long, value_name = "NAME", required_unless_present = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) agent: Option<String>,
    #[command(flatten)]
    pub(crate) target: ExplainTarget,
    /// The arguments of the call: a JSON object
    #[arg(long = "args", value_name = "JSON", conflicts_with = "trace", value_parser = arguments)]
    pub(crate) arguments: Option<serde_json::Value>,
    /// The person that the agent acts for; else its operator
    #[arg(long, value_name = "NAME", conflicts_with = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// The workflow that the call names; else the agent's own
    #[arg(long, value_name = "NAME", conflicts_with = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) workflow: Option<String>,
    /// When the call would be made: a time (2026-12-24T08:00Z), a day, or how long ago (24h); else now
    #[arg(long, value_name = "TIME", conflicts_with = "trace", value_parser = moment)]
    pub(crate) at: Option<Moment>,
    /// The labels that have reached its session (`session.labels`), like restricted,secret; else none
    #[arg(long, value_name = "NAMES", conflicts_with = "trace", value_delimiter = ',')]
    pub(crate) labels: Vec<String>,
    /// Under the bundle of this snapshot (its first 6 characters are enough), as it is kept in the store; else the one in
    /// force
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) snapshot: Option<String>,
    /// Explain a decision on record instead, from its facts and under the bundle that made it
    #[arg(long, value_name = "TRACE", value_parser = trace, conflicts_with = "agent")]
    pub(crate) trace: Option<TraceId>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// What the call names.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(crate) struct ExplainTarget {
    /// The tool, by the name that agents see
    #[arg(long, value_name = "NAME", required_unless_present_any = ["resource", "prompt", "trace"], conflicts_with = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tool: Option<String>,
    /// A resource, by its URI
    #[arg(long, value_name = "URI", conflicts_with = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) resource: Option<String>,
    /// A prompt, by the name that agents see
    #[arg(long, value_name = "NAME", conflicts_with = "trace", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) prompt: Option<String>,
}

fn arguments(text: &str) -> Result<serde_json::Value, String> {
    match crate::model::json::parse(text.as_bytes()) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err("expected a JSON object, like '{\"path\": \"/scratch/a.md\"}'".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
