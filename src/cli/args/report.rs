//! `report …`: its arguments.

use super::*;

/// `report …`
#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// What to do next with the policies: writes first, then what costs most, then data, rates and alerts
    #[command(
        long_about = "\
Looks at recorded traffic and says what to do next, in the order in which it helps most: ask a person before writes, throttle \
the three workflows that cost most, classify data and limit rates, tune alerts. Policy files for the first two are printed, \
ready for `policy simulate`. A gate that asks people is proposed for removal only after a month in which it asked, people \
approved, and nobody rejected or let an ask expire. Nothing is written.",
        after_help = "\
Examples:
  tollgate report advice
  tollgate report advice --since 90d --json | jq '.steps[] | select(.done | not)'"
    )]
    Advice(AdviceArgs),
    /// The figures by which the gateway is judged: decisions, approvals, limits, completeness, drift
    #[command(
        long_about = "\
Adds up the record: how decisions are distributed by workflow; how many asks were answered, how fast, and how many expired or met \
other policies than those that asked; how much of what is risky (writes that destroy or reach outside, confidential data) is \
limited, asked about or stopped; whether the end of every dispatched call is recorded; and what differs by a tenth or more \
from the same time before, over fifty calls or more: refusals, missing metadata, failures, and which agents.",
        after_help = "\
Examples:
  tollgate report scorecard
  tollgate report scorecard --since 30d --json | jq .drift_indicators"
    )]
    Scorecard(ReportArgs),
    /// How each agent differs from its own past: which tools it calls, what is refused, what its calls cost and take
    #[command(
        long_about = "\
Holds each agent's calls against the same time before. The mix of tools is measured by the Jensen-Shannon divergence in bits (0: \
the same mix; 1: no tool in common); a tenth of a bit or more, over fifty calls or more in both times and beyond chance, is \
drift. So is a share of refusals that differs by a tenth, and a mean cost or size of one and a half times or two thirds.",
        after_help = "\
Examples:
  tollgate report drift
  tollgate report drift --since 24h --json | jq '.agents[] | select(.drifts)'"
    )]
    Drift(ReportArgs),
    /// How far governance has come, from 0 to 4, and what is missing for the next level
    #[command(
        long_about = "\
Looks at controls: in the bundle in force, in servers.toml, and in what is recorded. A level is reached when all of its controls \
and those below stand. 1: calls are seen, and somebody answers for each agent. 2: policy decides what is let through. 3: people \
decide what is risky, and spend and data have limits. 4: it is tested, tried before it counts, and can be proved to others.",
        after_help = "\
Examples:
  tollgate report maturity
  tollgate report maturity --json | jq '.missing[].advice'"
    )]
    Maturity(ReportArgs),
    /// What was spent, by agent, user, workflow, tool, model and day
    #[command(
        long_about = "\
Adds up what calls cost by agent, user, workflow, tool, model and day. Beside it stand how far the estimates of results were \
off, what each agent's list of tools costs its model to read, what `catalog = \"search\"` saved in each finished task, and a \
throttle for each of the three workflows that cost most, as a policy file. Nothing is written without --propose.",
        after_help = "\
Examples:
  tollgate report spend
  tollgate report spend --since 24h --json
  tollgate report spend --propose /tmp/throttled     writes the bundle with the throttles there; then
  tollgate policy simulate --bundle /tmp/throttled   says which recorded calls they would have held back"
    )]
    Spend(SpendArgs),
    /// What a week was like, to be read or sent on: Markdown, HTML or JSON
    #[command(
        long_about = "\
Sums up a time, as a rule a week: calls and decisions, spend and its most expensive workflows, refusals by policy, approvals and how \
long they took, what was changed and by whom, alerts, failures and dead letters, the scorecard against the week before, maturity with \
what is missing, and what to do next. The HTML is one page that loads nothing; texts of the record are escaped in each form. Times are \
of UTC.",
        after_help = "\
Examples:
  tollgate report digest > week.md
  tollgate report digest --format html > week.html
  tollgate report digest --since 2026-11-01 --until 2026-12-01 --json | jq .refusals"
    )]
    Digest(DigestArgs),
    /// What standards ask, how Tollgate meets it, the tests that show it, and the gaps
    #[command(
        long_about = "\
Prints the table of compliance of this version: OWASP AISVS 1.01 (C9, C10, C12), OWASP MCP Top 10, EU AI Act (Articles 12, 14, 19, 26), \
NIST AI RMF, ISO/IEC 42001, SOC 2. Each row says what is asked, how far it is met, how, by which tests, and what is missing. It reads no \
record and needs no servers.toml.",
        after_help = "\
Examples:
  tollgate report compliance
  tollgate report compliance --gaps             only what is not met, or in part
  tollgate report compliance --markdown > compliance.md
  tollgate report compliance --json | jq '.requirements[] | select(.status == \"not_met\")'"
    )]
    Compliance(ComplianceArgs),
}

/// `report compliance`
#[derive(Debug, Args)]
pub(crate) struct ComplianceArgs {
    /// Only one standard: aisvs, mcp-top-10, eu-ai-act, nist-ai-rmf, iso-42001, soc-2
    #[arg(long, value_name = "ID", conflicts_with = "markdown")]
    pub(crate) standard: Option<String>,
    /// Only what is not met, or in part
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) gaps: bool,
    /// The whole table as Markdown
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `report digest`
#[derive(Debug, Args)]
pub(crate) struct DigestArgs {
    /// From then on: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (7d)
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
    pub(crate) since: Moment,
    /// Until before then; now where it is not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Moment>,
    /// The form
    #[arg(long, value_enum, default_value_t = DigestFormat::Markdown, conflicts_with = "json")]
    pub(crate) format: DigestFormat,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `--format` of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DigestFormat {
    /// Text with headings and tables
    Markdown,
    /// One page that loads nothing, to be opened, printed or sent
    Html,
    /// One JSON object
    Json,
}

/// `report scorecard|maturity`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Records since: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h)
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
    pub(crate) since: Moment,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `report spend`
#[derive(Debug, Args)]
pub(crate) struct SpendArgs {
    /// Spend since: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h)
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
    pub(crate) since: Moment,
    /// Until then; now where it is not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Moment>,
    /// Writes the proposed throttles there: into a folder with a bundle one file, into a new folder the whole bundle with it
    #[arg(long, value_name = "DIR")]
    pub(crate) propose: Option<PathBuf>,
    /// Replaces a proposal that is there from before; nothing else of the folder is changed
    #[arg(long, requires = "propose")]
    pub(crate) force: bool,
    /// At most so many lines of each table
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
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
