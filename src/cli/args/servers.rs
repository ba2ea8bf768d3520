//! `servers …`: its arguments.

use super::*;
use crate::pinning::ItemKind;

/// `servers …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServersCommand {
    /// Connect to every server and list how it stands
    List(JsonFlag),
    /// Connect to one server and print what it offers, and what the scan finds in it
    Inspect {
        /// The name of its table in servers.toml
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show what servers list that is not as it was pinned
    #[command(after_help = PINS_HELP)]
    Diff {
        /// The name of its table in servers.toml; all servers without
        name: Option<String>,
        /// Only items of this kind: tool, prompt, resource, template, skill or instructions
        #[arg(long, value_name = "KIND", value_parser = kind)]
        kind: Option<ItemKind>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Accept what a server lists now, so that agents can use it (needs TOLLGATE_KEY of an admin)
    #[command(after_help = PINS_HELP)]
    Accept {
        /// The name of its table in servers.toml
        name: String,
        /// Only this tool, prompt, resource, template or skill: its own name or URI, or its name in lists
        #[arg(long = "tool", alias = "name", value_name = "NAME")]
        item: Option<String>,
        /// Only items of this kind: tool, prompt, resource, template, skill or instructions
        #[arg(long, value_name = "KIND", value_parser = kind)]
        kind: Option<ItemKind>,
        /// Only if it still is what `servers diff` showed
        #[arg(long, value_name = "SHA256")]
        fingerprint: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Pin everything that servers list as it is now
    #[command(after_help = PINS_HELP)]
    Pin {
        /// The name of its table in servers.toml; all servers without
        name: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// Reads the word of a kind of item.
fn kind(word: &str) -> Result<ItemKind, String> {
    let words = || ItemKind::ALL.map(ItemKind::as_str).join(", ");
    ItemKind::parse(word).ok_or_else(|| format!("expected one of {}", words()))
}

const PINS_HELP: &str = "\
What a server lists is pinned when Tollgate sees it first. From then on a tool, prompt, resource, template or skill that is not what it was is \
quarantined: agents neither see it nor can call it, in every process, until a person accepts it. The server's other tools go on.

Examples:
  tollgate servers diff
  tollgate servers diff bank --json
  TOLLGATE_KEY=… tollgate servers accept bank --tool pay
  TOLLGATE_KEY=… tollgate servers accept bank --tool file:///rates.csv --kind resource
  TOLLGATE_KEY=… tollgate servers accept bank
  tollgate servers pin bank

`pin` without a key pins what has no pin yet; to replace pins takes the key of an admin. In servers.toml, `new_tools` of a server \
says what becomes of what appears later (hidden, ask, listed), and `findings` of what the scan finds (tell, alert, quarantine).";
