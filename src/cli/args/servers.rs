//! `servers …`: its arguments.

use super::alerts::many;
use super::*;
use crate::pinning::ItemKind;

/// `servers …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServersCommand {
    /// List how every server stands, as the running gateway has it; where none runs, each is asked
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value = "100", value_parser = many)]
        limit: usize,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Connect to one server and print what it offers, and what the scan finds in it
    Inspect {
        /// The name of its table in servers.toml
        name: String,
        /// Whose account lists, where each person or agent has their own (default: the person of TOLLGATE_KEY); recorded
        #[arg(long = "for", value_name = "PERSON|AGENT")]
        of: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Put a server into servers.toml; comments and all else in it stay as they are
    #[command(after_help = "\
Examples:
  tollgate servers add files -- npx -y @modelcontextprotocol/server-filesystem /srv/docs
  tollgate servers add github --env 'GITHUB_TOKEN=${GITHUB_TOKEN}' --grant agent -- docker run -i --rm ghcr.io/github/github-mcp-server
  tollgate servers add crm --url https://crm.example/mcp --header 'Authorization: Bearer ${CRM_TOKEN}'")]
    Add {
        /// The name of its table, and what its tools' names begin with
        #[arg(value_parser = agent_name)]
        name: String,
        #[command(flatten)]
        entry: EntryArgs,
    },
    /// Start a server of servers.toml again that is switched off
    Enable {
        /// The name of its table in servers.toml
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Switch a server of servers.toml off: known to policies, and not started
    Disable {
        /// The name of its table in servers.toml
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Take a server out of servers.toml
    Remove {
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
    /// Connect a server that is reached with somebody's own account: sign in at its issuer in a browser
    #[command(after_help = LOGIN_HELP)]
    Login {
        /// The name of its table in servers.toml
        name: String,
        /// Whose connection it becomes, where each person or agent has their own; without it that of TOLLGATE_KEY
        #[arg(long = "for", value_name = "WHO")]
        of: Option<String>,
        /// Paste the address to which the browser was sent back, in place of waiting for it on this machine
        #[arg(long)]
        paste: bool,
    },
    /// Disconnect a server: its tokens are revoked at the issuer and removed here
    #[command(after_help = LOGIN_HELP)]
    Logout {
        /// The name of its table in servers.toml
        name: String,
        /// Whose connection it is, where each person or agent has their own; without it that of TOLLGATE_KEY
        #[arg(long = "for", value_name = "WHO")]
        of: Option<String>,
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

/// What a new server is.
#[derive(Debug, Args)]
pub(crate) struct EntryArgs {
    /// Where it answers (Streamable HTTP); without it, its command stands behind `--`
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A variable for its process, or the name of one: GITHUB_TOKEN=${GITHUB_TOKEN}. What looks like a secret goes into servers.env. May
    /// be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// A header for its URL: 'Authorization: Bearer ${TOKEN}'; may be given several times
    #[arg(long, value_name = "NAME:VALUE")]
    pub(crate) header: Vec<String>,
    /// The folder that its process works in; that of servers.toml without it
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cwd: Option<String>,
    /// Believe its own word on which of its tools only read
    #[arg(long)]
    pub(crate) trust_annotations: bool,
    /// Let this agent use all of it, by a capability in authority.yaml; may be given several times
    #[arg(long, value_name = "AGENT")]
    pub(crate) grant: Vec<String>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
    /// Its program and arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Reads the word of a kind of item.
fn kind(word: &str) -> Result<ItemKind, String> {
    let words = || ItemKind::ALL.map(ItemKind::as_str).join(", ");
    ItemKind::parse(word).ok_or_else(|| format!("expected one of {}", words()))
}

const LOGIN_HELP: &str = "\
For servers with `oauth = { grant = \"authorization_code\", per = \"gateway\" | \"person\" | \"agent\" }`. The address to open is printed \
first; no terminal is needed. Tokens are kept encrypted beside the store, renewed before they end, and used by every process.

Examples:
  tollgate servers login wiki                          one account for everybody
  TOLLGATE_KEY=… tollgate servers login crm            the person whose key it is
  tollgate servers login crm --for alice               on the machine that holds the store
  tollgate servers login crm --for alice --paste       the browser is on another machine
  tollgate servers logout crm --for alice";

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
