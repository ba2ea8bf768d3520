//! `agents` and `people`.

use super::{JsonFlag, agent_name, role};
use crate::policy::Role;
use clap::{Args, Subcommand};

/// How a new key is handed out.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Change no file: print what to paste into authority.yaml
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

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
    /// Put a new agent into authority.yaml, and print its key
    #[command(long_about = "\
Makes a fresh key and prints it once. policies/authority.yaml gets an entry with the key's SHA-256; comments and all else in it stay \
as they are. A running gateway takes it over at once.")]
    Add {
        /// The new agent's name
        name: String,
        /// What it may use, by the names of authority.yaml; may be given several times
        #[arg(long, value_name = "NAME")]
        capability: Vec<String>,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Make another key for an agent, and print it
    #[command(long_about = "\
Makes a fresh key and prints it once. Its SHA-256 comes into policies/authority.yaml beside the old one, so that both open: give the \
agent its new key, then take the old digest out, which ends the old key's sessions at their next message. --end-old does so at \
once.")]
    Rotate {
        /// The agent's name
        name: String,
        /// Old keys end now
        #[arg(long)]
        end_old: bool,
        #[command(flatten)]
        key: KeyArgs,
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
    /// Put somebody new into authority.yaml, and print their key
    #[command(long_about = "\
Makes a fresh key and prints it once. policies/authority.yaml gets an entry with the key's SHA-256; comments and all else in it stay \
as they are. A running gateway takes it over at once. Without TOLLGATE_KEY no role is asked for: who may change the file may do this.")]
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
        key: KeyArgs,
    },
    /// Make another key for somebody, and print it
    #[command(long_about = "\
Makes a fresh key and prints it once. Its SHA-256 comes into policies/authority.yaml beside the old one, so that both open: hand over \
the new key, then take the old digest out, which ends the old key. --end-old does so at once.")]
    Rotate {
        /// Their name
        name: String,
        /// Old keys end now
        #[arg(long)]
        end_old: bool,
        #[command(flatten)]
        key: KeyArgs,
    },
}
