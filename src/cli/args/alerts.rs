//! `alerts …`, `incidents …`, `duties …` and `audit sample …`

use super::*;
use crate::model::{AlertKind, AlertStatus};

fn kind(text: &str) -> Result<AlertKind, String> {
    AlertKind::parse(text).ok_or_else(|| format!("expected one of {}", words(AlertKind::ALL)))
}

fn status(text: &str) -> Result<AlertStatus, String> {
    AlertStatus::parse(text).ok_or_else(|| format!("expected one of {}", words(AlertStatus::ALL)))
}

fn words<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn many(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|many| *many > 0).ok_or_else(|| "expected a number of one or more".to_owned())
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(crate) struct Page {
    /// At most so many
    #[arg(long, value_name = "N", default_value = "100", value_parser = many)]
    pub(crate) limit: usize,
    /// Those that stand behind this one: `next` of a listing
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
}

/// Which part of what is read from the record.
#[derive(Debug, Args)]
pub(crate) struct Part {
    /// At most so many
    #[arg(long, value_name = "N", default_value = "100", value_parser = many)]
    pub(crate) limit: usize,
    /// Those of before this place in the record: `next` of a listing
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) before: Option<i64>,
}

/// `alerts …`
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List alerts, newest first, and what makes it take more to raise the next ones
    List {
        /// Only those that stand so: open, acked, false, closed
        #[arg(long, value_name = "STATUS", value_parser = status, value_delimiter = ',')]
        status: Vec<AlertStatus>,
        /// Only of this kind
        #[arg(long, value_name = "KIND", value_parser = kind, value_delimiter = ',')]
        kind: Vec<AlertKind>,
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// You have seen it: repeats are not told while it lasts; needs TOLLGATE_KEY of an admin
    Ack(SayArgs),
    /// It was none: it takes more to raise the next one of its subject; needs TOLLGATE_KEY of an admin
    False(SayArgs),
}

/// `alerts ack|false`
#[derive(Debug, Args)]
pub(crate) struct SayArgs {
    /// The id of the alert
    pub(crate) id: String,
    /// What you found; kept in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

/// `incidents …`
#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// List incidents, newest first
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one, with what happened around it
    Show {
        /// The id of the incident
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Close one; needs TOLLGATE_KEY of an admin
    Close {
        /// The id of the incident
        id: String,
        /// What it was, and what came of it; kept in the record
        #[arg(long, value_name = "TEXT")]
        note: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `duties …`
#[derive(Debug, Subcommand)]
pub(crate) enum DutiesCommand {
    /// List the duties of the bundle in force, when each was done last and when it is due
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// One was done: it is due again after its time; needs TOLLGATE_KEY of an admin
    Done {
        /// The name of the duty
        name: String,
        /// What was done and found; kept in the record
        #[arg(long, value_name = "TEXT")]
        note: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `audit sample …`
#[derive(Debug, Subcommand)]
pub(crate) enum SampleCommand {
    /// List the calls of the sample that nobody has looked at, newest first
    List {
        /// Also those that somebody has looked at
        #[arg(long)]
        all: bool,
        /// Calls since: a time (2026-11-20T08:00Z), a day (2026-11-20), or how long ago (24h)
        #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
        since: Moment,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Say what you found in one; needs TOLLGATE_KEY of an auditor or admin
    Review {
        /// The id of the call
        call: String,
        /// `ok`: it was right to let it through; `problem`: it was not (needs --note)
        #[arg(long, value_name = "WORD", value_parser = ["ok", "problem"])]
        finding: String,
        /// What you found; kept in the record
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
}
