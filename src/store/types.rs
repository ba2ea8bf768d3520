//! What goes into and comes out of the store.

use crate::{
    decision::{BudgetLimit, RateLimit},
    model::{
        AgentId, ApprovalId, ApprovalStatus, CallId, CapabilityId, Digest, EventDecision, EventDraft,
        EventType, Fingerprint, MicroUsd, Outcome, PersonId, PolicyId, RuleId, SnapshotId, ToolTraits,
        TraceId, UpstreamName, WorkflowId, json,
    },
    policy::{Approver, ChannelKind},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Why the store did not do it. Every one of these denies (I2).
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// Another program holds the database.
    #[error("another process has locked the store")]
    Locked,
    /// There is no room for what has to be written.
    #[error("the disk of the store is full")]
    Full,
    /// A settlement of a call that was never admitted.
    #[error("call `{0}` was never admitted")]
    NoSuchCall(CallId),
    /// Too much is queued already.
    #[error("the store is overloaded")]
    Overloaded,
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// What is stored cannot be read.
    #[error("the store holds a damaged record: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Why a call is refused, in words for agents: what else the error says goes to the log alone.
    pub fn refusal(&self) -> &'static str {
        match self {
            Self::Locked => {
                "another process has locked the audit store, and nothing is done unrecorded: try again later"
            }
            Self::Full => {
                "the disk of the audit store is full, and nothing is done unrecorded: an admin has to free space"
            }
            Self::Overloaded => {
                "the audit store is overloaded, and nothing is done unrecorded: try again later"
            }
            Self::Failed(_) | Self::NoSuchCall(_) | Self::Closed | Self::Damaged(_) => {
                "the audit store does not answer, and nothing is done unrecorded"
            }
        }
    }
}

/// What admission asks for.
#[derive(Clone, Debug)]
pub struct AdmitRequest {
    /// When.
    pub now: Timestamp,
    /// The `agent_start` event of the call, written before the decision in the same transaction (R45).
    pub start: Option<EventDraft>,
    /// The decision event as it stands where everything is granted. Its `limits` are filled in by the
    /// store with the counters that it saw.
    pub event: EventDraft,
    /// What is checked and counted.
    pub rates: Vec<RateLimit>,
    /// What is checked and reserved.
    pub budgets: Vec<BudgetLimit>,
    /// More identical calls (same agent and digest) in 60 s than this are a loop. Counted are calls that were
    /// granted here and asks ([`super::Store::ask`], by the binding's agent and `call`). A call that uses an
    /// approval is counted and never stopped by this: a person looked at it.
    pub max_repeats: Option<u32>,
    /// The digest by which identical calls are known.
    pub digest: Digest,
    /// What is reserved: tokens.
    pub tokens: u64,
    /// What is reserved: money.
    pub cost: MicroUsd,
    /// The approval that is consumed, with the binding it must have.
    pub approval: Option<(ApprovalId, ApprovalBinding)>,
}

/// What came of it. In every case the decision event is committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// Reserved, counted, consumed, recorded: the call may be dispatched.
    Granted,
    /// A limit is full.
    Refused(LimitRefusal),
    /// The named approval is not (any longer) one that this call may use: consumed, expired, another binding.
    ApprovalUnusable(String),
}

/// Which limit stopped a call.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRefusal {
    /// The budget's or policy's id, or `loop`.
    pub policy_id: PolicyId,
    /// What it says: throttle, deny, or pending_approval for a budget that asks.
    pub decision: EventDecision,
    /// One plain sentence with figures.
    pub reason: String,
    /// When it is worth trying again, where that can be said.
    pub retry_after_ms: Option<u64>,
}

/// How a dispatched call ended.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which call.
    pub call_id: CallId,
    /// The side-effect event.
    pub event: EventDraft,
    /// Real tokens; `None` keeps the reservation (outcome unknown).
    pub tokens: Option<u64>,
    /// Real cost; `None` keeps the reservation.
    pub cost: Option<MicroUsd>,
    /// What came of it.
    pub outcome: Outcome,
    /// Result tokens to learn from, by exposed tool name.
    pub learned: Option<(String, u64)>,
}

/// What an approval is bound to (I4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ApprovalBinding {
    /// The agent.
    pub agent: AgentId,
    /// The person the agent acts for.
    #[serde(default)]
    pub user: Option<PersonId>,
    /// The workflow the call runs in.
    #[serde(default)]
    pub workflow: Option<WorkflowId>,
    /// The exposed tool name, the URI, or the prompt's name.
    pub tool: String,
    /// The tool's fingerprint; empty for resources and prompts.
    pub fingerprint: Fingerprint,
    /// Everything that is sent: arguments, other members of `params`, and `_meta` but for the keys that change with
    /// each call.
    pub digest: Digest,
    /// Target and arguments alone: a person who rejected a call is not asked again because its `_meta` differs. Empty
    /// in records of before it was kept, which no call matches.
    #[serde(default = "no_digest")]
    pub call: Digest,
    /// The bundle.
    pub snapshot: SnapshotId,
}

fn no_digest() -> Digest {
    Digest::from("")
}

impl ApprovalBinding {
    /// Whether both are the same call, whatever is sent beside its arguments.
    pub fn same_call(&self, other: &Self) -> bool {
        (&self.agent, &self.user, &self.workflow) == (&other.agent, &other.user, &other.workflow)
            && (&self.tool, &self.fingerprint) == (&other.tool, &other.fingerprint)
            && (&self.call, &self.snapshot) == (&other.call, &other.snapshot)
    }
}

/// What an approver is shown beside the arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalContext {
    /// What is bound of `_meta`, masked; null where nothing is.
    #[serde(deserialize_with = "json::recorded")]
    pub meta: Value,
    /// The other members of `params` that are sent, masked; null where there are none.
    #[serde(deserialize_with = "json::recorded")]
    pub params: Value,
    /// Whether arguments, `_meta` and other members stand in the record uncut.
    pub complete: bool,
    /// What the upstream says of the tool.
    pub description: Option<String>,
    /// What Tollgate takes the tool to be.
    pub traits: Option<ToolTraits>,
    /// The tool's labels.
    pub labels: Vec<String>,
}

/// The durable record: the authority for everything about one approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRecord {
    /// Its id.
    pub id: ApprovalId,
    /// Counts up with every change.
    pub version: u64,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// What it is bound to.
    pub binding: ApprovalBinding,
    /// The call that asked first.
    pub call_id: CallId,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its workflow.
    pub workflow_id: Option<WorkflowId>,
    /// What lets the agent call it (R6).
    #[serde(default)]
    pub capability_id: Option<CapabilityId>,
    /// Its upstream.
    pub upstream: UpstreamName,
    /// Its action.
    pub action: String,
    /// The redacted arguments.
    #[serde(deserialize_with = "json::recorded")]
    pub arguments: Value,
    /// Whether anything in them, or in the context, was masked.
    pub redacted: bool,
    /// What is shown beside them.
    #[serde(default)]
    pub context: ApprovalContext,
    /// What decided that a person must.
    pub policy_id: PolicyId,
    /// Which rule of it.
    pub rule_id: Option<RuleId>,
    /// Why, in one plain sentence.
    pub reason: String,
    /// What the call will probably cost.
    pub cost_estimate_usd: MicroUsd,
    /// The agent's operator, as it was when asked.
    pub operator: Option<PersonId>,
    /// Whether the agent is attended.
    pub attended: bool,
    /// Each rule's own requirement; all must be met.
    pub requirements: Vec<Requirement>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// The earliest expiry of all requirements.
    pub expires_at: Timestamp,
    /// What people answered, in order.
    pub answers: Vec<ApprovalAnswer>,
}

/// One rule's requirement, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// Whose.
    pub policy_id: PolicyId,
    /// Which rule.
    pub rule_id: Option<RuleId>,
    /// Why.
    pub reason: String,
    /// Who may decide; empty: everyone with role `approver`.
    pub approvers: Vec<Approver>,
    /// How many distinct people.
    pub quorum: u32,
    /// Whether an approval needs evidence.
    pub evidence_required: bool,
    /// The operator can never decide it.
    pub separate: bool,
    /// Through what.
    pub channels: Vec<ChannelKind>,
    /// Who else may decide, from when.
    pub escalation: Option<(Timestamp, Vec<Approver>)>,
}

impl Requirement {
    /// Whether both ask the same of people; when and in which words does not matter.
    fn asks_like(&self, other: &Self) -> bool {
        self.policy_id == other.policy_id
            && self.rule_id == other.rule_id
            && self.approvers == other.approvers
            && self.quorum == other.quorum
            && self.evidence_required == other.evidence_required
            && self.separate == other.separate
            && self.channels == other.channels
    }
}

impl ApprovalRecord {
    /// Whether this record asks for all that these requirements do. Which rules ask depends on more than the binding
    /// (the workflow, the time, a budget): a record that asks for less stands for another question (I4).
    pub fn covers(&self, needed: &[Requirement]) -> bool {
        needed.iter().all(|need| self.requirements.iter().any(|own| own.asks_like(need)))
    }
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalAnswer {
    /// Who.
    pub person: PersonId,
    /// Yes or no.
    pub approve: bool,
    /// When.
    pub at: Timestamp,
    /// Through what.
    pub channel: ChannelKind,
    /// What they said.
    pub comment: Option<String>,
    /// What they showed.
    pub evidence: Option<String>,
    /// The bundle in force when they decided (R29).
    pub snapshot: SnapshotId,
}

/// How often one agent may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskLimits {
    /// Its asks that may be pending at a time.
    pub pending: usize,
    /// Its asks that people may reject within the window; one more throttles it.
    pub rejected: usize,
    /// Its asks within the window that nobody has approved.
    pub unapproved: usize,
    /// The window.
    pub window: Duration,
}

impl AskLimits {
    /// No limit.
    pub const NONE: Self =
        Self { pending: usize::MAX, rejected: usize::MAX, unapproved: usize::MAX, window: Duration::ZERO };
}

/// What `ask` found or made.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A new record.
    Made(ApprovalRecord),
    /// The record that was there.
    Reused(ApprovalRecord),
    /// The agent asks too often; nothing was made.
    Refused(LimitRefusal),
}

/// A change of an approval.
#[derive(Clone, Debug)]
pub struct ApprovalUpdate {
    /// Which.
    pub id: ApprovalId,
    /// The version it was read at.
    pub expected_version: u64,
    /// Its new status.
    pub status: ApprovalStatus,
    /// All answers, the new one last.
    pub answers: Vec<ApprovalAnswer>,
}

/// Which approvals.
#[derive(Clone, Debug, Default)]
pub struct ApprovalFilter {
    /// Only these states; empty: all.
    pub status: Vec<ApprovalStatus>,
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Only of this call: whatever is sent beside its arguments, and under whatever policies.
    pub call: Option<ApprovalBinding>,
    /// Only those whose expiry is not after this.
    pub due: Option<Timestamp>,
    /// At most so many; 0: no limit.
    pub limit: usize,
}

/// How an approval stands, without the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalHead {
    /// Which.
    pub id: ApprovalId,
    /// Grows with every change but a use.
    pub version: u64,
    /// Its state.
    pub status: ApprovalStatus,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Of this trace.
    pub trace_id: Option<TraceId>,
    /// Of this workflow.
    pub workflow_id: Option<WorkflowId>,
    /// Of this agent.
    pub agent_id: Option<AgentId>,
    /// Of this policy.
    pub policy_id: Option<PolicyId>,
    /// Of this exposed tool name.
    pub tool: Option<String>,
    /// With this decision.
    pub decision: Option<EventDecision>,
    /// Of this call.
    pub call_id: Option<CallId>,
    /// Of this approval.
    pub approval_id: Option<ApprovalId>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// With a higher `seq`.
    pub after_seq: Option<i64>,
    /// With at most this `seq`.
    pub until_seq: Option<i64>,
    /// Newest first.
    pub newest_first: bool,
    /// At most so many; 0: no limit.
    pub limit: usize,
    /// No more once their bodies are so many bytes together; 0: no limit. One that fits comes in any case.
    pub most_bytes: usize,
}

/// What kind of thing is kept by the hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeptKind {
    /// A bundle as it was loaded, under its snapshot.
    Bundle,
    /// A tool as it was resolved, under its hash.
    Tool,
}

impl KeptKind {
    /// Its word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Tool => "tool",
        }
    }
}

/// What records refer to, kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub kind: KeptKind,
    /// Under what it is found.
    pub name: String,
    /// SHA-256 of the body, in hex.
    pub hash: String,
    /// The content.
    pub body: String,
}

/// One event as an export writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// Its place in the chain.
    pub seq: i64,
    /// One JSON object, without a line feed.
    pub json: String,
}

/// One budget counter's standing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetUsage {
    /// The budget or rulebook policy.
    pub id: PolicyId,
    /// Which counter of it.
    pub key: String,
    /// The window's name.
    pub window: String,
    /// When the window began; null for a rolling one.
    pub window_start: Option<Timestamp>,
    /// Dispatched calls.
    pub calls: u64,
    /// Tokens, reserved and settled.
    pub tokens: u64,
    /// Money, reserved and settled.
    pub cost_usd: MicroUsd,
}

/// What verifying the chain found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainReport {
    /// How many records were checked.
    pub records: u64,
    /// The hash of the last good record.
    pub head: String,
    /// The first bad record, and what is wrong with it.
    pub bad: Option<BadRecord>,
}

/// A record that does not verify.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadRecord {
    /// Its `seq`.
    pub seq: i64,
    /// What is wrong.
    pub problem: String,
}
