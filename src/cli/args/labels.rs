//! `labels …`

use super::*;
use crate::model::WorkflowId;

/// `labels …`
#[derive(Debug, Subcommand)]
pub(crate) enum LabelsCommand {
    /// List what has reached workflows and agents, since when, until when, and by which call
    List {
        /// Only those of this workflow
        #[arg(long, value_name = "NAME")]
        workflow: Option<WorkflowId>,
        /// Only those of this agent
        #[arg(long, value_name = "NAME")]
        agent: Option<AgentId>,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Take all labels of a workflow or an agent away; needs TOLLGATE_KEY of an admin
    #[command(group = clap::ArgGroup::new("of").args(["workflow", "agent"]).required(true).multiple(true))]
    Clear {
        /// Of this workflow
        #[arg(long, value_name = "NAME")]
        workflow: Option<WorkflowId>,
        /// Of this agent and its sessions
        #[arg(long, value_name = "NAME")]
        agent: Option<AgentId>,
        /// Why; kept in the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        json: JsonFlag,
    },
}
