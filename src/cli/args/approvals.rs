//! `approvals …`: its arguments.

use super::*;

/// `approvals …`
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List approvals, newest first
    List {
        /// Only these states; may be given more than once
        #[arg(long, value_name = "STATUS", value_parser = status)]
        status: Vec<ApprovalStatus>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Those before this one in the list: `next` of a listing
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one approval: who wants what, why it was stopped, what it costs, who decided
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show what waits now, and every ask and every decision as it comes, until Ctrl-C
    Watch {
        /// One JSON object a line: the approval as `show --json` has it
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Approve one; needs TOLLGATE_KEY of a person who may
    Approve(ApproveArgs),
    /// Reject one; needs TOLLGATE_KEY of a person who may
    Reject(DecideArgs),
}

/// `approvals approve|reject`
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// Its id
    pub(crate) id: String,
    /// Why; kept in the record
    #[arg(long)]
    pub(crate) comment: Option<String>,
    /// What shows that the call is right, where the rule asks for evidence: a ticket, a link
    #[arg(long)]
    pub(crate) evidence: Option<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}
