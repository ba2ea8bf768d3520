//! `deadletters …`

use super::*;

/// `deadletters …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List those that are open, newest first
    List {
        /// Also those that were made again or dismissed
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one: the call, why it failed, and what was done about it
    Show {
        /// The id of the call
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Make the call again, the whole path; needs TOLLGATE_KEY of an admin, and a running `tollgate serve`
    Replay {
        /// The id of the call
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Nothing more is to be done about it; needs TOLLGATE_KEY of an admin
    Dismiss {
        /// The id of the call
        id: String,
        /// Why; kept in the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}
