//! The complete input of a decision. It stands with the policies, whose conditions read nothing else.

use crate::model::{
    AgentId, Autonomy, CallKind, CapabilityId, Fingerprint, MicroUsd, PersonId, Sensitivity, SharePlace,
    ToolTraits, UpstreamName, WorkflowId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Everything policies may know of one call, and the evidence of why it was decided so.
/// Names are the conditions' own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// `agent`
    pub agent: AgentFacts,
    /// `user`, `user.id`: the person the agent acts for, as its credential says, else its operator; null where nobody is known.
    pub user: Option<PersonId>,
    /// `user.groups`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_groups: Vec<Arc<str>>,
    /// `workflow`
    pub workflow: Option<WorkflowFacts>,
    /// `tool`
    pub tool: ToolFacts,
    /// `args`: the arguments, or the prompt's arguments, or `{"uri": …}` for a resource.
    pub args: Arc<Value>,
    /// `call`
    pub call: CallFacts,
    /// `cost`
    pub cost: CostFacts,
    /// `data`
    pub data: DataFacts,
    /// `session.labels`
    pub session_labels: Vec<Arc<str>>,
    /// `now`
    pub now: jiff::Timestamp,
    /// The capabilities of agent (and workflow) that cover this target, in authority order. Never empty.
    pub capabilities: Vec<CapabilityId>,
    /// Names from the bundle's `required` that the call lacks.
    pub missing_metadata: Vec<Arc<str>>,
    /// The call named a workflow that this agent may not name.
    pub workflow_refused: Option<Arc<str>>,
    /// The URI (normalised) of a resource; empty otherwise.
    pub resource: Arc<str>,
    /// The exposed name of a prompt; empty otherwise.
    pub prompt: Arc<str>,
    /// A remediation has been applied already: no second one.
    pub remediated: bool,
    /// Where the call falls among all, for policies in `mode: share`.
    #[serde(default)]
    pub share: SharePlace,
    /// What external checks have answered, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckAnswer>,
}

impl Facts {
    /// What an external check has answered.
    pub fn check(&self, name: &str) -> Option<&CheckAnswer> {
        self.checks.iter().find(|answer| &*answer.check == name)
    }
}

/// What an external check answered about a call. Its labels are in [`DataFacts::labels`] too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Which of `[checks.NAME]` in servers.toml.
    pub check: Arc<str>,
    /// What it says; none: it has no opinion, or gave no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<CheckDecision>,
    /// Its reason, as it may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Labels that it puts on the data of the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What an external check may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckDecision {
    /// Nothing stands against it.
    Allow,
    /// A person should decide.
    RequireApproval,
    /// Not to be dispatched.
    Deny,
}

/// `agent`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// `agent.id`
    pub id: AgentId,
    /// `agent.type`
    #[serde(rename = "type")]
    pub agent_type: Arc<str>,
    /// `agent.role`
    pub role: Arc<str>,
    /// `agent.tenant`
    pub tenant: Arc<str>,
    /// `agent.owner`
    pub owner: Arc<str>,
    /// `agent.operator`
    pub operator: Option<PersonId>,
    /// `agent.autonomy`
    pub autonomy: Autonomy,
    /// `agent.attended`
    pub attended: bool,
}

/// `workflow`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowFacts {
    /// `workflow.id`
    pub id: WorkflowId,
    /// `workflow.owner`
    pub owner: Option<Arc<str>>,
}

/// `tool`; for resources and prompts name, fingerprint are empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolFacts {
    /// `tool.name`: the exposed name before shortening.
    pub name: Arc<str>,
    /// `tool.upstream`
    pub upstream: UpstreamName,
    /// `tool.action`
    pub action: Arc<str>,
    /// `tool.labels`: the tool's and its upstream's.
    pub labels: Arc<[Arc<str>]>,
    /// `tool.read_only`, `.destructive`, `.idempotent`, `.open_world`
    #[serde(flatten)]
    pub traits: ToolTraits,
    /// `tool.fingerprint`
    pub fingerprint: Fingerprint,
    /// `tool.pinned`
    pub pinned: bool,
    /// It appeared after its server was pinned, and nobody has accepted it: each call of it asks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unaccepted: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// `call`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallFacts {
    /// `call.kind`
    pub kind: CallKind,
    /// `call.repeats`: identical calls of this agent in the last 60 s, as far as this process knows.
    pub repeats: u64,
    /// `call.size`: bytes of the arguments.
    pub size: u64,
}

/// `cost`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostFacts {
    /// `cost.estimate_usd`
    pub estimate: MicroUsd,
    /// `cost.tokens`: arguments and expected result.
    pub tokens: u64,
}

/// `data`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// `data.level`
    pub level: Sensitivity,
    /// `data.labels`
    pub labels: Vec<Arc<str>>,
    /// `data.findings`: the names of the detectors and marks that fired, each once.
    pub findings: Vec<Arc<str>>,
}
