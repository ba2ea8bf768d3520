//! `report …`: its arguments.

use super::*;

/// `report …`
#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// What to do next with the policies: writes first, then what costs most, then data, rates and alerts
    #[command(long_about = "\
Looks at recorded traffic and says what to do next, in the order in which it helps most: ask a person before writes, throttle \
the three workflows that cost most, classify data and limit rates, tune alerts. Policy files for the first two are printed, \
ready for `policy simulate`. A gate that asks people is proposed for removal only after a month in which it asked, people \
approved, and nobody rejected or let an ask expire. Nothing is written.")]
    Advice(AdviceArgs),
}

/// `report advice`
#[derive(Debug, Args)]
pub(crate) struct AdviceArgs {
    /// Traffic since: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h)
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "30d")]
    pub(crate) since: Moment,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}
