//! Approvals as admission knows them: the record, what it is bound to, and when a call may use it.

use super::grant::{CallShape, GrantAnswer, GrantTerms, StandingGrant};
use crate::{
    model::{
        AgentId, ApprovalId, ApprovalStatus, CallId, CapabilityId, Digest, Fingerprint, GrantId, MicroUsd,
        PersonId, PolicyId, RuleId, SnapshotId, ToolTraits, TraceId, UpstreamName, WorkflowId, json,
        without_query,
    },
    policy::{Approver, ChannelKind, GrantLimits},
    redaction::{withheld, without_said},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an approval is bound to.
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
    /// What lets the agent call it.
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
    /// What a standing grant holds later calls against; none where no answer may make one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<CallShape>,
    /// The standing grant that let its call through while it waited: nobody has to answer it any more, and it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<GrantId>,
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
    /// How far an answer may make a standing grant; none: it may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantLimits>,
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
    /// The same without the values of arguments: masks say of what kind each is and how long.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        let held = |value: &mut Value| {
            if !value.is_null() {
                *value = withheld(value);
            }
        };
        held(&mut self.arguments);
        held(&mut self.context.meta);
        held(&mut self.context.params);
        self.binding.tool = without_query(&self.binding.tool);
        // An external check was told the values.
        let cut = |reason: &mut String| *reason = without_said(reason);
        cut(&mut self.reason);
        self.requirements.iter_mut().for_each(|requirement| cut(&mut requirement.reason));
        for answer in &mut self.answers {
            answer.grant = answer.grant.take().map(GrantAnswer::without_values);
        }
        self
    }

    /// Whether this record asks for all that these requirements do. Which rules ask depends on more than the binding
    /// (the workflow, the time, a budget): a record that asks for less stands for another question.
    pub fn covers(&self, needed: &[Requirement]) -> bool {
        needed.iter().all(|need| self.requirements.iter().any(|own| own.asks_like(need)))
    }

    /// Whether it stands for exactly this call, and asks for all that these requirements do.
    pub fn is_about(&self, binding: &ApprovalBinding, needed: &[Requirement]) -> bool {
        self.binding.digest == binding.digest && self.covers(needed)
    }

    /// How far an answer may make a standing grant of it; none: it may not. Every rule that asks has to allow it, and the
    /// narrowest counts.
    pub fn grant_limits(&self) -> Option<GrantLimits> {
        self.shape.as_ref()?;
        let all = self.requirements.iter().map(|requirement| requirement.grants);
        all.reduce(|one, other| Some(one?.narrower(other?))).flatten()
    }

    /// The grant that people answer it with, once all who must have answered so.
    pub fn granted(
        &self,
        answer: &GrantAnswer,
        approvers: Vec<PersonId>,
        now: Timestamp,
    ) -> Option<StandingGrant> {
        let binding = &self.binding;
        let terms = GrantTerms {
            approval: self.id.clone(),
            call_id: self.call_id.clone(),
            trace_id: self.trace_id,
            agent: binding.agent.clone(),
            user: binding.user.clone(),
            workflow: binding.workflow.clone(),
            tool: binding.tool.clone(),
            fingerprint: binding.fingerprint.clone(),
            upstream: self.upstream.clone(),
            capability: self.capability_id.clone(),
            snapshot: binding.snapshot.clone(),
            rules: self.requirements.iter().map(|r| (r.policy_id.clone(), r.rule_id.clone())).collect(),
            arguments: answer.arguments.clone(),
            asked: self.shape.clone()?,
            uses: answer.uses,
            approvers,
            made_at: now,
            expires_at: now.checked_add(answer.duration).ok()?,
        };
        let id = StandingGrant::id_of(&self.id);
        Some(StandingGrant { id, version: 1, terms, used: 0, ended: None })
    }

    /// When a person rejected it, in microseconds.
    pub fn rejected_at(&self) -> Option<i64> {
        let answers = self.answers.iter().filter(|answer| !answer.approve);
        let at = answers.map(|answer| answer.at.as_microsecond()).max();
        at.filter(|_| self.status == ApprovalStatus::Rejected)
    }

    /// The record once its call has used it.
    pub fn consumed(&self) -> Self {
        Self { status: ApprovalStatus::Consumed, version: self.version.saturating_add(1), ..self.clone() }
    }
}

/// The approval that a call names.
#[derive(Clone, Copy, Debug)]
pub struct Named<'r> {
    /// Its id.
    pub id: &'r ApprovalId,
    /// What it must be bound to.
    pub binding: &'r ApprovalBinding,
    /// The record under that id as it stands; none where there is none.
    pub found: Option<&'r ApprovalRecord>,
}

impl<'r> Named<'r> {
    /// The record, where a call at `now` may use it, or why it may not.
    pub fn usable(self, now: i64) -> Result<&'r ApprovalRecord, String> {
        let Self { id, binding, found } = self;
        let Some(record) = found else {
            return Err(format!("there is no approval `{id}`"));
        };
        let reason = match record.status {
            ApprovalStatus::Approved if record.binding != *binding => {
                "is for another call: agent, user, workflow, tool, arguments, `_meta` and policies must be the approved ones"
            }
            ApprovalStatus::Approved if record.expires_at.as_microsecond() <= now => "has expired",
            ApprovalStatus::Approved => return Ok(record),
            ApprovalStatus::Pending => "has not been decided",
            ApprovalStatus::Rejected => "was rejected",
            ApprovalStatus::Expired => "has expired",
            ApprovalStatus::Cancelled => "was withdrawn",
            ApprovalStatus::Consumed => "was used already, and counts once",
        };
        Err(format!("approval `{id}` {reason}"))
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
    /// The bundle in force when they decided.
    pub snapshot: SnapshotId,
    /// The standing grant that they answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantAnswer>,
    /// The grant that this answer has made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<GrantId>,
}
