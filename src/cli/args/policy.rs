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
