//! `policy …`: its arguments.

use super::*;

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
tools that change. A bundle is a folder, a snapshot that is kept in the store (its first characters are enough), or the word \
`active`: the one that was activated last. What an agent gets for a tool is asked of a call without cost, data and labels; \
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
