//! `webhooks …`

use super::JsonFlag;
use clap::Subcommand;

pub(crate) const AFTER_WEBHOOKS: &str = "\
Examples:
  tollgate webhooks list
  tollgate webhooks test                a sample to each, and what came back
  tollgate webhooks test oncall --json

[webhook] and [webhooks.NAME] of servers.toml say who is told (docs/chat.md). Nobody decides there.";

/// `webhooks …`
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List them, with what each is told of and whom it is for; no URL and no key
    List {
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Send a sample to one, or to each, and say what came back; exit code 1 if one could not be told
    Test {
        /// The NAME of [webhooks.NAME]; `webhook` is that of [webhook]
        name: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
}
