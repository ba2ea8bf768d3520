//! What can be typed: the commands, their flags, and the help that teaches them.

mod alerts;
mod approvals;
mod audit;
mod connect;
mod dead_letters;
mod freezes;
mod grants;
mod health;
mod labels;
mod manual;
mod policy;
mod principals;
mod report;
mod schema;
mod servers;
mod store;
mod webhooks;
mod zone;

pub(crate) use alerts::*;
pub(crate) use approvals::*;
pub(crate) use audit::*;
pub(crate) use connect::*;
pub(crate) use dead_letters::*;
pub(crate) use freezes::*;
pub(crate) use grants::*;
pub(crate) use health::*;
pub(crate) use labels::*;
pub(crate) use manual::*;
pub(crate) use policy::*;
pub(crate) use principals::*;
pub(crate) use report::*;
pub(crate) use schema::*;
pub(crate) use servers::*;
pub(crate) use store::*;
pub(crate) use webhooks::*;
pub(crate) use zone::take_zone;

use crate::{
    model::{AgentId, ApprovalStatus, EventDecision, EventType, Moment, PersonId, TraceId},
    policy::Role,
    store::Pattern,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const AFTER: &str = "\
First steps:
  tollgate init                         a first servers.toml and policies/, with the servers of your MCP clients
  tollgate check                        are servers.toml and policies/ right?
  tollgate serve                        MCP at http://127.0.0.1:8787/mcp, admin API at http://127.0.0.1:8788
  tollgate connect claude --agent NAME  Tollgate into your client, and its servers out
  tollgate approvals list               who waits for a decision
  tollgate audit show TRACE_ID          who asked, what was decided and why, what ran

Environment:
  TOLLGATE_KEY     a person's key. Without one you read and check as the local admin;
                   approving and rejecting always need the key of a person who may.
  TOLLGATE_CONFIG  the servers.toml, where --config names none.
  TOLLGATE_LOG     log filter of serve and stdio, like `info` or `tollgate=debug`.
  OTEL_EXPORTER_OTLP_ENDPOINT and the others of OpenTelemetry: where serve and
                 stdio send traces, metrics and logs (docs/observability.md).

Exit codes: 0 done, 1 it failed (standard error says why and what to do), 2 wrong usage.";

/// An MCP gateway that decides, asks, limits and records every call between agents and MCP servers.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about, after_help = AFTER, propagate_version = true)]
#[command(long_about = "\
To an agent Tollgate looks like one MCP server. Behind it stand many. Between the two every call is \
identified, scoped, priced, redacted, decided by policy, approved by a person where policy says so, \
limited, dispatched, metered and recorded.

Everything is configured in servers.toml (the gateway and the MCP servers behind it) and in the folder \
policies/ (who may do what).")]
pub(crate) struct Cli {
    /// The servers.toml to work with; relative paths in it count from its folder
    #[arg(long, global = true, value_name = "FILE", default_value = "servers.toml", env = "TOLLGATE_CONFIG")]
    pub(crate) config: PathBuf,
    /// Whose days and times those are that name no zone; this machine's without it
    #[arg(long, global = true, value_name = "ZONE", value_parser = zone::named_zone)]
    pub(crate) tz: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway and the admin listener
    #[command(long_about = "\
Runs the gateway (MCP over Streamable HTTP at /mcp) and the admin listener (API at /api/v1, /healthz, /readyz).

servers.toml and policies/ are read again when they change and on SIGHUP. A broken file changes nothing: what \
was in force stays in force, and the log and /readyz say what is wrong. SIGTERM and SIGINT end it after the \
calls in flight, at most [gateway] drain later.")]
    Serve(ServeArgs),
    /// Serve one agent over standard input and output; opens no listener
    #[command(long_about = "\
Serves MCP to one agent over standard input and output, for clients that start their servers themselves. \
It opens no listener, and shares store, budgets and approvals with any `tollgate serve` on the same files. \
Standard output carries MCP only; logs go to standard error. It ends when standard input ends.")]
    Stdio(StdioArgs),
    /// Write a first servers.toml and policies/, with the servers your MCP clients have already
    #[command(
        long_about = "\
Writes a first servers.toml and policies/ with the MCP servers that Claude Code, Claude Desktop, Cursor, VS Code, Codex, \
Gemini CLI, Zed, Windsurf and Cline know on this machine. At a terminal it asks before each step; --yes asks nothing. The \
servers are started once, so that each tool can be taken for one that reads, writes or destroys: nobody is asked about what \
only reads, a person is asked about the rest. Secrets are not copied into servers.toml: ${NAME} stands for each, and the \
values go into servers.env beside it. Keys for one agent and for people are made and shown once. At the end a first governed \
call is made. Nothing is overwritten (docs/init.md).",
        after_help = "\
Examples:
  tollgate init
  tollgate init --from ~/.cursor/mcp.json --agent my-ide
  tollgate init --dry-run
  tollgate init --add --yes"
    )]
    Init(InitArgs),
    /// Check servers.toml and policies/: all errors at once, and advice
    #[command(long_about = "\
Reads servers.toml and the whole bundle with its tests and prints every error and every lint, with file, line and column. \
Exit code 1 if there is any error. Nothing is written.

Names of tools and prompts are held against what the MCP servers list. What they listed when they last ran is \
remembered, so that nothing is started for it. --strict, for CI, starts those whose lists are not known, and takes for an \
error what does not do what it says: a name that fits nothing, a rule that is never reached, or one that nobody can \
approve. --smoke starts all of them, and one that does not answer \
is an error.")]
    Check(CheckArgs),
    /// Look at this machine: files and rights, keys, ports, clock, disk, servers, and clients that go round the gateway
    #[command(
        long_about = "\
Looks at what `check` does not: who can read and change the files, keys that anybody knows, whether the ports are free or a \
gateway has them, the clock against the newest record, the room on the disk, whether each server's program is there or its \
address answers, and which MCP clients of this machine reach servers without the gateway (Claude, Cursor, VS Code, Codex, \
Gemini, Zed, Windsurf, Cline). Each finding says what to do. Nothing is started or changed. Exit code 1 if something is wrong.",
        after_help = "\
Examples:
  tollgate doctor
  tollgate doctor --json | jq '.checks[] | select(.state != \"ok\")'"
    )]
    Doctor(DoctorArgs),
    /// Ask the running gateway whether it is ready: exit code 0 if so, as health checks want it
    Health(HealthArgs),
    /// See and decide what waits for a person
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate approvals list --status pending
  tollgate approvals show 0199a3f2-…
  TOLLGATE_KEY=… tollgate approvals approve 0199a3f2-… --comment 'seen the ticket'
  TOLLGATE_KEY=… tollgate approvals approve 0199a3f2-… --grant 1h --uses 10 --where 'path within /scratch'
  TOLLGATE_KEY=… tollgate approvals reject 0199a3f2-… --comment 'not on a Friday'

It works on the store itself, with or without a running `tollgate serve`; a call that waits is woken."
    )]
    Approvals(ApprovalsCommand),
    /// Standing grants: what people have let agents do again without being asked
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate grants list
  tollgate grants show grant-0199a3f2-…       what it covers, and the calls that it let through
  TOLLGATE_KEY=… tollgate grants revoke grant-0199a3f2-… --reason 'the job is done'

A grant is made by answering an approval: `tollgate approvals approve ID --grant 1h --uses 10`."
    )]
    Grants(GrantsCommand),
    /// Stop an agent, a person, a tool, a server, a capability or everything, at once
    #[command(
        long_about = "\
Stops all calls of an agent, for a person, of a tool, to a server, under a capability, or of everything: in force for the \
next message in every process, and over every restart, until somebody lifts it. Calls in flight are answered and \
cancelled at their server; approvals and grants count for nothing meanwhile. The agent is told that it is frozen, not \
why. Without TOLLGATE_KEY this is done as the local admin; lifting it (`tollgate unfreeze`) takes the key of a person with \
the role `admin`.",
        after_help = "\
Examples:
  tollgate freeze --agent planner-01 --reason 'it mails customers'
  tollgate freeze --tool files__write_file --reason 'incident 4711'
  tollgate freeze --all --reason 'nobody knows yet'
  tollgate freeze list
  TOLLGATE_KEY=… tollgate unfreeze --agent planner-01 --reason 'fixed'"
    )]
    Freeze(FreezeArgs),
    /// Side effects that failed, or of which nobody knows whether they happened: look, make again, dismiss
    #[command(
        subcommand,
        name = "deadletters",
        after_help = "\
Examples:
  tollgate deadletters list
  tollgate deadletters show 0199a3f2-…
  TOLLGATE_KEY=… tollgate deadletters replay 0199a3f2-…      the whole path, as a new call of the same agent
  TOLLGATE_KEY=… tollgate deadletters dismiss 0199a3f2-… --reason 'done by hand'

Nothing is ever made again by itself. A call whose arguments are masked on record cannot be made again from it. \
`replay` asks the running `tollgate serve`; the others work on the store itself."
    )]
    DeadLetters(DeadLettersCommand),
    /// What somebody should look at: see it, say that you have, or that it was none
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate alerts list --status open
  TOLLGATE_KEY=… tollgate alerts ack alert-5f0c1d2e3a4b5c6d --note 'the nightly import; looked at'
  TOLLGATE_KEY=… tollgate alerts false alert-5f0c1d2e3a4b5c6d --note 'month end'

A running `tollgate serve` or `stdio` raises them; from when on, `alerts` of bundle.yaml says."
    )]
    Alerts(AlertsCommand),
    /// Who is told of approvals and alerts: Slack, Teams, mail, PagerDuty, a service of yours; and whether it arrives
    #[command(subcommand, after_help = AFTER_WEBHOOKS)]
    Webhooks(WebhooksCommand),
    /// Incidents: alerts that met the bundle's criteria, with what happened around them, until somebody closes them
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate incidents list
  tollgate incidents show incident-5f0c1d2e3a4b5c6d
  TOLLGATE_KEY=… tollgate incidents close incident-5f0c1d2e3a4b5c6d --note 'the key was rotated'"
    )]
    Incidents(IncidentsCommand),
    /// What people have to do regularly: when it was done, and when it is due
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate duties list
  TOLLGATE_KEY=… tollgate duties done policy-review --note 'no changes needed'"
    )]
    Duties(DutiesCommand),
    /// Let go on what was frozen; needs TOLLGATE_KEY of a person with the role `admin`
    #[command(after_help = "\
Examples:
  TOLLGATE_KEY=… tollgate unfreeze --all --reason 'it was a false alarm'
  TOLLGATE_KEY=… tollgate unfreeze freeze-0199a3f2c4d5e6f7")]
    Unfreeze(UnfreezeArgs),
    /// What data has reached workflows and agents, by its labels
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate labels list                          who holds which labels, since when, and by which call
  tollgate labels list --workflow wf-notes --json
  TOLLGATE_KEY=… tollgate labels clear --workflow wf-notes --agent demo-agent --reason 'the export is over'

Results are labelled as they come in, and policies read what has reached the session of a call (`session.labels`): what
reached its session, its workflow, or its agent within `[gateway] labels.window`. Labels only grow until their time is over;
a person with the role `admin` takes them away."
    )]
    Labels(LabelsCommand),
    /// Ask, verify and export the record of what happened
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate audit query --agent demo-agent --decision deny --since 24h
  tollgate audit show 0af7651916cd43dd8448eb211c80319c
  tollgate audit verify
  tollgate audit export --format csv --since 2026-11-01 > november.csv
  tollgate audit tail --json | jq .tool"
    )]
    Audit(AuditCommand),
    /// What is in force, was and is tried; what policies decide, and would decide of recorded calls
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate policy history
  TOLLGATE_KEY=… tollgate policy rollback --reason 'the new limits stop the nightly run'
  tollgate policy simulate --bundle policies-draft --since 7d
  tollgate policy diff active policies-draft
  tollgate policy replay --since 24h
  tollgate policy replay --trace 0af7651916cd43dd8448eb211c80319c --json"
    )]
    Policy(PolicyCommand),
    /// Spend, scorecard, maturity, a week's digest, compliance, and what the record advises
    #[command(subcommand)]
    Report(ReportCommand),
    /// Print the JSON Schema of a record
    #[command(after_help = "\
Examples:
  tollgate schema event > event.schema.json
  tollgate audit export | check-jsonschema --schemafile event.schema.json -")]
    Schema(SchemaArgs),
    /// Take over an older store, go on behind a damaged record, or rotate the vault's key
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate store import
  TOLLGATE_KEY=… tollgate store accept --reason 'disk replaced, no backup; incident 4711'
  tollgate store migrate --to URL       to PostgreSQL, for several replicas
  tollgate store rotate-key             values behind placeholders, under a new key"
    )]
    Store(StoreCommand),
    /// The agents of policies/authority.yaml, and new keys for them
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate agents list
  tollgate agents show demo-agent --json
  tollgate agents add reporter-01 --capability reports.read     prints its key, once"
    )]
    Agents(AgentsCommand),
    /// The people of policies/authority.yaml, and new keys for them
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate people list
  tollgate people add erin --group security-team --role approver
  tollgate people rotate alice          prints another key, once; --end-old ends the old one"
    )]
    People(PeopleCommand),
    /// The MCP servers of servers.toml, as they answer now
    #[command(subcommand)]
    Servers(ServersCommand),
    /// What the budgets stand at; set one back
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Put Tollgate into an MCP client's own file, and what it governs out of it; --undo goes back
    #[command(
        long_about = "\
Writes the client's own file: Tollgate comes in, the servers that stand behind it now go out, and comments, order and all else stay. \
The file of the working folder's project is written where there is one, else that of your own settings. The difference is shown, \
and on a terminal you are asked. Before anything is written the entry is started as the client would start it, and asked for its \
tools. A copy of the file is kept beside it. Servers that are not behind Tollgate stay, and are named: they go round the gateway.",
        after_help = "\
Examples:
  tollgate connect claude --agent agent
  tollgate connect vscode --agent agent --dry-run
  tollgate connect claude --undo
  tollgate connect claude --agent agent --managed fleet/    files that pin the clients of a fleet"
    )]
    Connect(ConnectArgs),
    /// Print what an MCP client needs to reach Tollgate as an agent
    #[command(after_help = "\
Examples:
  tollgate client-config claude --agent demo-agent
  tollgate client-config vscode --agent demo-agent

Each prints two variants: over standard input and output (the client starts Tollgate), and over HTTP \
(`tollgate serve` is running).")]
    ClientConfig(ClientConfigArgs),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  tollgate completions bash > /etc/bash_completion.d/tollgate
  tollgate completions zsh > ~/.zfunc/_tollgate
  tollgate completions fish > ~/.config/fish/completions/tollgate.fish")]
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command
    #[command(after_help = "\
Examples:
  tollgate man /usr/local/share/man/man1
  tollgate man /tmp/man && man /tmp/man/tollgate-audit-show.1")]
    Man(ManArgs),
    /// A small real MCP server over standard input and output, to try policies against
    DemoUpstream,
    /// Takes limits on and becomes a server; started by Tollgate itself
    #[command(hide = true)]
    ContainChild {
        /// The limits, and what it is to become
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// Keeps watch over one child process; started by Tollgate itself
    #[command(hide = true)]
    SuperviseChild {
        /// What it is to start
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

/// `--json` alone.
#[derive(Debug, Args)]
pub(crate) struct JsonFlag {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A name that fits nothing, and a rule that is never reached or that nobody can approve, are errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Start every MCP server and look at what it lists
    #[arg(long)]
    pub(crate) smoke: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// What serve and stdio share.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How log lines on standard error look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Also write every event as one JSON line to `stdout` or to this file (appended); may be given twice
    #[arg(long, value_name = "stdout|FILE")]
    pub(crate) events: Vec<PathBuf>,
}

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// `stdio`
#[derive(Debug, Args)]
pub(crate) struct StdioArgs {
    /// The agent of authority.yaml that the client is
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: AgentId,
    /// The person of authority.yaml that the agent acts for; without it, the agent's operator
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<PersonId>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What the agent of a first bundle is called.
pub(crate) const FIRST_AGENT: &str = "agent";

/// `init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Import from this file only; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// What the agent is called
    #[arg(long, value_name = "NAME", default_value = FIRST_AGENT, value_parser = agent_name)]
    pub(crate) agent: String,
    /// A person who may agree to calls; the first one sits at the client, a second one is asked about what destroys something
    #[arg(long, value_name = "NAME", default_value = "admin", value_parser = agent_name)]
    pub(crate) person: Vec<String>,
    /// Take over what is new into the servers.toml and policies/ that are there; what stands in them stays as it is
    #[arg(long, conflicts_with_all = ["force", "person"])]
    pub(crate) add: bool,
    /// Ask nothing, and take each question for agreed to: the servers are started once, those of the project's own files too, and what
    /// they mark as only reading is taken for that
    #[arg(long)]
    pub(crate) yes: bool,
    /// Start no server: their tools are not looked at, and no first call is made
    #[arg(long)]
    pub(crate) no_start: bool,
    /// How long a server may take to start and list its tools
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) wait: std::time::Duration,
    /// Where values that look like secrets go: servers.env beside servers.toml (mode 0600), the keychain of the system, or nowhere
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(crate) secrets: Option<SecretsPlace>,
    /// Move an existing servers.toml and policies/ aside
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where `init` puts values that look like secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecretsPlace {
    /// servers.env beside servers.toml, for its owner alone; `serve` and `stdio` read it by themselves
    #[value(alias = "env")]
    EnvFile,
    /// The keychain of the system (`secret-tool` on Linux, `security` on macOS); servers.toml asks it by `${cmd:…}`
    Keychain,
    /// Nowhere: you set the variables yourself
    None,
}

/// A name that needs no quoting in YAML, a URL or a shell; the error says what was expected.
pub(crate) fn agent_name(name: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    if first && name.len() <= 64 && name.chars().all(fine) {
        return Ok(name.to_owned());
    }
    Err("expected a letter, then at most 63 letters, digits, `-`, `_` or `.`".to_owned())
}

/// `budget …`
#[derive(Debug, Subcommand)]
pub(crate) enum BudgetCommand {
    /// Every budget with each of its counters: what is used, what calls in flight hold, what is left, and when it frees
    Status(JsonFlag),
    /// Set a budget back in its current window; needs TOLLGATE_KEY of a person with the role admin
    ///
    /// What calls in flight have reserved stays counted. The reset is recorded with who, why, and what stood there, and is in
    /// force in every process for the next call.
    Reset {
        /// The id of the budget, or of a policy with a limit per minute
        id: String,
        /// Only this counter (the agent, user, workflow … by name); without it all counters of the budget
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Why; it stands in the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}

fn words<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn status(text: &str) -> Result<ApprovalStatus, String> {
    ApprovalStatus::parse(text).ok_or_else(|| format!("expected one of {}", words(ApprovalStatus::ALL)))
}

fn decision(text: &str) -> Result<EventDecision, String> {
    EventDecision::parse(text).ok_or_else(|| format!("expected one of {}", words(EventDecision::ALL)))
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::parse(text).ok_or_else(|| format!("expected one of {}", words(EventType::ALL)))
}

fn role(text: &str) -> Result<Role, String> {
    let words: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    let known = Role::ALL.into_iter().find(|role| role.as_str() == text);
    known.ok_or_else(|| format!("expected one of {}", words.join(", ")))
}

/// A day, and a time that names no zone, are of `--tz` or this machine's.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text, &zone::zone())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("expected a name, or a glob like `files__*`".to_owned());
    }
    Pattern::parse(text).map_err(|error| error.to_string())
}

/// What is called: of a URI without a query every query.
fn target(text: &str) -> Result<Pattern, String> {
    pattern(text)?;
    Pattern::parse_target(text).map_err(|error| error.to_string())
}

pub(super) fn trace(text: &str) -> Result<TraceId, String> {
    let zeros = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    TraceId::parse(text).ok_or_else(|| match zeros {
        true => {
            "all zeros is what a client sends that has no trace; expected 32 hex digits, or a UUID".to_owned()
        }
        false => "expected 32 hex digits, or a UUID".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
