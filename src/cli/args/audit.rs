//! `audit …`: its arguments, and the filters and times that other commands take too.

use super::*;
use crate::model::CallId;

/// `audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List events, the newest last
    Query {
        #[command(flatten)]
        filter: Box<EventFilter>,
        /// At most so many, the newest
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        /// Only events with a lower seq: the next page of a listing that stopped at its limit
        #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
        before: Option<i64>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Answer the five questions about one trace, call by call
    #[command(long_about = "\
Answers, from Tollgate's own records and call by call: who initiated it; what was decided and why; whether an \
approval was required and who gave it; what executed, where, with what limits; and where the immutable evidence is.")]
    Show {
        /// The trace id: 32 hex digits, or the UUID form. The id of an approval or of a call shows the trace it is of
        #[arg(value_name = "TRACE_ID", value_parser = trace)]
        trace: TraceId,
        /// Print its calls as tests of the bundle, for a file in policies/tests/
        #[arg(long, conflicts_with = "json")]
        as_test: bool,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Recompute the whole chain of records; exit code 1 at the first bad one
    #[command(long_about = "\
Recomputes the hash of every record from what is stored, and prints how many there are and the hash of the last \
one. A changed, moved or missing record is named by its seq, with exit code 1.

The record is then held against every checkpoint that is kept: a record that was cut at its end, or rewritten as a whole, \
is not the one that was signed. A checkpoint that lies where nobody can change both (`[audit] checkpoints`, or one that you \
keep and name with --checkpoint) tells it in any case.

With --file it checks an export (`tollgate audit export`), with --proof a proof (`tollgate audit prove`); both need neither \
the store nor servers.toml.")]
    Verify(VerifyArgs),
    /// Print a signed checkpoint of the record: how many records there are, and the root of the tree over them
    #[command(
        long_about = "\
Prints a checkpoint (c2sp.org/tlog-checkpoint, a signed note): which log, how many records, and the root of the tree of RFC 6962 \
over their hashes. Keep it where whoever can change the record cannot: `tollgate audit verify --checkpoint FILE` tells later \
whether the record still begins with these records. `serve` makes one every so often and keeps it in the data folder, and where \
`[audit] checkpoints` says. Nothing is signed that an earlier checkpoint contradicts.",
        after_help = "\
Examples:
  tollgate audit checkpoint > monday.checkpoint
  tollgate audit checkpoint --vkey             with what it is verified: hand it to whoever is to verify
  tollgate audit verify --checkpoint monday.checkpoint
  TOLLGATE_KEY=… tollgate audit checkpoint --rotate"
    )]
    Checkpoint(CheckpointArgs),
    /// Print the proof that a call's decision stands in the record
    #[command(
        long_about = "\
Prints a proof (c2sp.org/tlog-proof) that the record of a call's decision is among those of a signed checkpoint. Whoever has the \
verifier key needs neither the store nor this machine to check it.",
        after_help = "\
Examples:
  tollgate audit prove 0199a3f2-… > call.tlog-proof
  tollgate audit verify --proof call.tlog-proof --vkey 'tollgate/5f0c1d2e+…'"
    )]
    Prove(ProveArgs),
    /// Attach a note to a trace: what an incident was, and what came of it
    #[command(
        long_about = "\
Attaches a note to a trace, as a record of its own: `tollgate audit show` and the page show it with the trace. What looks like a \
secret or personal data is masked. With TOLLGATE_KEY the record names the person.",
        after_help = "\
Examples:
  tollgate audit note 0af7651916cd43dd8448eb211c80319c 'INC-4711: the agent was given a wrong folder; capability narrowed'
  tollgate audit note 0af7651916cd43dd8448eb211c80319c - < post-mortem.txt"
    )]
    Note(NoteArgs),
    /// Keep the records of a trace or an agent, whatever `[store] retention` says
    #[command(
        subcommand,
        long_about = "\
Places, lists and releases legal holds. Retention removes whole old segments of the record: it removes none that holds a record under \
hold, nor any behind it. A hold stands in the record and counts for every process on the store, over restarts, until it is released. \
See docs/retention.md.",
        after_help = "\
Examples:
  tollgate audit hold add --trace 0af7651916cd43dd8448eb211c80319c --reason 'case 2026-17'
  tollgate audit hold add --agent planner-01 --reason 'case 2026-17: everything it did'
  tollgate audit hold list
  TOLLGATE_KEY=… tollgate audit hold release hold-5f0c1d2e --reason 'case closed'"
    )]
    Hold(HoldCommand),
    /// Calls that were let through and are looked at afterwards: a share of all, as `audit: { sample: 1% }` of bundle.yaml says
    #[command(
        subcommand,
        after_help = "\
Examples:
  tollgate audit sample list
  TOLLGATE_KEY=… tollgate audit sample review 0199a3f2-… --finding ok
  TOLLGATE_KEY=… tollgate audit sample review 0199a3f2-… --finding problem --note 'customer data in the query'"
    )]
    Sample(SampleCommand),
    /// Write events to standard output, in chain order
    Export {
        #[command(flatten)]
        filter: Box<EventFilter>,
        /// At most so many
        #[arg(long)]
        limit: Option<u64>,
        /// The form
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
    },
    /// Print events as they come, from every process on the store, until Ctrl-C
    Tail {
        #[command(flatten)]
        filter: Box<EventFilter>,
        /// First print so many of the newest
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        limit: u32,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `tollgate audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Check this export of JSON lines in place of the store; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The export holds what a filter found: missing records are counted, and no error
    #[arg(long, requires = "file")]
    pub(crate) part: bool,
    /// Also hold the record against this checkpoint, kept elsewhere; may be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(crate) checkpoint: Vec<PathBuf>,
    /// Check this proof (`tollgate audit prove`) and nothing else; `-` is standard input. Needs --vkey, and no store
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "checkpoint"], requires = "vkey")]
    pub(crate) proof: Option<PathBuf>,
    /// A verifier key whose signatures count, as `tollgate audit checkpoint --vkey` prints it; may be given more than once
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: Vec<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `audit checkpoint`
#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// Print the key that verifies checkpoints, in place of one (with --json the earlier keys too)
    #[arg(long, conflicts_with = "rotate")]
    pub(crate) vkey: bool,
    /// Have another key sign from now on; needs TOLLGATE_KEY of an admin
    #[arg(long)]
    pub(crate) rotate: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `audit note`
#[derive(Debug, Args)]
pub(crate) struct NoteArgs {
    /// The trace id: 32 hex digits, or the UUID form
    #[arg(value_name = "TRACE_ID", value_parser = trace)]
    pub(crate) trace: TraceId,
    /// What is to be said; `-` reads standard input
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `audit hold …`
#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Hold the records of a trace, or of an agent, of before and from now on
    Add(HoldArgs),
    /// List what is held: since when, by whom, why, and from which record on retention removes nothing
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Release a hold; needs TOLLGATE_KEY of an admin
    Release {
        /// The id of a hold, as `audit hold list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Why; kept in the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `audit hold add`
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// A trace: 32 hex digits, or the UUID form
    #[arg(long, value_name = "TRACE_ID", value_parser = trace, required_unless_present = "agent", conflicts_with = "agent")]
    pub(crate) trace: Option<TraceId>,
    /// An agent, as authority.yaml names it
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Why: the case, and who asked for it; kept in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `audit prove`
#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// The call's id, as `tollgate audit show` names it
    #[arg(value_name = "CALL_ID")]
    pub(crate) call: CallId,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One JSON object per line
    Jsonl,
    /// Comma-separated, with a header
    Csv,
    /// One JSON object per line as the Open Cybersecurity Schema Framework has it (1.8.0, API Activity), for a SIEM
    Ocsf,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct EventFilter {
    /// Of this trace (32 hex digits, or the UUID form)
    #[arg(long, value_name = "TRACE_ID", value_parser = trace)]
    pub(crate) trace: Option<TraceId>,
    /// Of this workflow. This and the other names can be globs: `*` is anything but `/`, `**` anything
    #[arg(long, value_name = "NAME", value_parser = pattern)]
    pub(crate) workflow: Option<Pattern>,
    /// Of this agent
    #[arg(long, value_name = "NAME", value_parser = pattern)]
    pub(crate) agent: Option<Pattern>,
    /// For this person: the user that the agent acts for
    #[arg(long, value_name = "NAME", value_parser = pattern)]
    pub(crate) user: Option<Pattern>,
    /// What this person did: answered an approval, brought a bundle in force
    #[arg(long, value_name = "NAME", value_parser = pattern)]
    pub(crate) person: Option<Pattern>,
    /// Decided by this policy
    #[arg(long, value_name = "ID", value_parser = pattern)]
    pub(crate) policy: Option<Pattern>,
    /// Of this tool, as the agent sees it; all of one server: 'files__*'. What was asked at a URI is no part of what is
    /// matched, unless the name has a `?` or `#` of its own
    #[arg(long, value_name = "NAME", value_parser = target)]
    pub(crate) tool: Option<Pattern>,
    /// Of this approval, by its id
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) approval: Option<String>,
    /// Of this standing grant, by its id: what made it, what ended it, and the calls that it let through
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) grant: Option<String>,
    /// With this decision, like `deny` or `pending_approval`
    #[arg(long, value_parser = decision)]
    pub(crate) decision: Option<EventDecision>,
    /// Of this type, like `agent_decision`
    #[arg(long, value_name = "TYPE", value_parser = event_type)]
    pub(crate) event_type: Option<EventType>,
    /// Not before: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (7d). A day or a time is local, of this
    /// machine's time zone, unless it ends in Z (UTC) or names an offset
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Before: the same forms
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Moment>,
}
