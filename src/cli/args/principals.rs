//! `agents` and `people`.

use super::{JsonFlag, agent_name, role};
use crate::policy::Role;
use clap::Subcommand;

/// `agents …`
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List the agents and what they may use
    List(JsonFlag),
    /// Show one agent in full
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Make a key for a new agent, and print what to paste into authority.yaml
    #[command(long_about = "\
Makes a fresh key and prints it once, with the entry for policies/authority.yaml, which holds only the key's \
SHA-256. No file is changed: you paste the entry, choose the agent's capabilities, and a running gateway takes it \
over at once.")]
    Add {
        /// The new agent's name
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Make another key for an agent, and print what to paste into authority.yaml
    #[command(long_about = "\
Makes a fresh key and prints it once, with the line for policies/authority.yaml. No file is changed: add the new \
digest beside the old one, give the agent its new key, then remove the old digest, which ends the old key's \
sessions at their next message.")]
    Rotate {
        /// The agent's name
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `people …`
#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    /// List the people, their roles and groups, and the agents that they operate
    List(JsonFlag),
    /// Show one person
    Show {
        /// Their name
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Make a key for somebody new, and print what to paste into authority.yaml
    #[command(long_about = "\
Makes a fresh key and prints it once, with the entry for policies/authority.yaml, which holds only the key's \
SHA-256. No file is changed: you paste the entry, and a running gateway takes it over at once.")]
    Add {
        /// The new person's name
        name: String,
        /// A group that `approvers` of rules name; may be given several times
        #[arg(long, value_name = "GROUP", value_parser = agent_name)]
        group: Vec<String>,
        /// What they may do: approver, admin, auditor, auditor-full or viewer; may be given several times
        #[arg(long, value_name = "ROLE", value_parser = role)]
        role: Vec<Role>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Make another key for somebody, and print what to paste into authority.yaml
    #[command(long_about = "\
Makes a fresh key and prints it once, with the line for policies/authority.yaml. No file is changed: add the new \
digest beside the old one, hand over the new key, then remove the old digest, which ends the old key.")]
    Rotate {
        /// Their name
        name: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}
