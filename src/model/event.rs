//! One JSON object per event (SPEC 8). Every field is always present, null where it has nothing to say.

use super::{
    AgentId, ApprovalId, CallId, CapabilityId, EventDecision, MicroUsd, PolicyId, RuleId, Sensitivity,
    SnapshotId, TraceId, UpstreamName, WorkflowId, json, text::Object,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, fmt, sync::Arc};

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// An agent opened a session, or made its first call of a trace.
    AgentStart,
    /// What was decided of a call; committed before the upstream sees it.
    AgentDecision,
    /// What came of a dispatched call.
    AgentSideEffect,
    /// A call waits for people.
    ApprovalRequested,
    /// A person answered.
    ApprovalDecided,
    /// Nobody answered in time.
    ApprovalExpired,
    /// The policies changed before the call was made.
    ApprovalCancelled,
    /// Somebody should look.
    Alert,
    /// A policy bundle came into force.
    PolicyActivated,
    /// A changed bundle or servers.toml was refused; the old one stays in force.
    PolicyRejected,
    /// An admin did something.
    AdminAction,
}

impl EventType {
    /// Every type.
    pub const ALL: &[Self] = &[
        Self::AgentStart,
        Self::AgentDecision,
        Self::AgentSideEffect,
        Self::ApprovalRequested,
        Self::ApprovalDecided,
        Self::ApprovalExpired,
        Self::ApprovalCancelled,
        Self::Alert,
        Self::PolicyActivated,
        Self::PolicyRejected,
        Self::AdminAction,
    ];

    /// The word in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentStart => "agent_start",
            Self::AgentDecision => "agent_decision",
            Self::AgentSideEffect => "agent_side_effect",
            Self::ApprovalRequested => "approval_requested",
            Self::ApprovalDecided => "approval_decided",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalCancelled => "approval_cancelled",
            Self::Alert => "alert",
            Self::PolicyActivated => "policy_activated",
            Self::PolicyRejected => "policy_rejected",
            Self::AdminAction => "admin_action",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.as_str() == text)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of a dispatched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The upstream answered without error.
    Succeeded,
    /// The upstream answered with an error, or was never reached.
    Failed,
    /// Nobody can tell whether the upstream acted.
    Unknown,
}

impl Outcome {
    /// The word in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Who acted: `agent`, `person` or `system`, and in which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `agent`, `person` or `system`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The agent's role; a person's name where a person acted; null for the system.
    pub role: Option<Arc<str>>,
}

/// An event before the store gives it its place in the chain. Everything in it is redacted already (I5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventDraft {
    /// What kind.
    pub event_type: EventType,
    /// When.
    pub timestamp: Timestamp,
    /// Joins services; null where no call is concerned.
    pub trace_id: Option<TraceId>,
    /// The workflow the call ran in.
    pub workflow_id: Option<WorkflowId>,
    /// The agent that called.
    pub agent_id: Option<AgentId>,
    /// The tool's action; for other events what was done.
    pub action: Option<Arc<str>>,
    /// What decided.
    pub policy_id: Option<PolicyId>,
    /// The decision.
    pub decision: Option<EventDecision>,
    /// Estimated before the call.
    pub cost_estimate_usd: Option<MicroUsd>,
    /// Who acted.
    pub actor: Actor,
    /// The label of the arguments.
    pub sensitivity_level: Sensitivity,
    /// Whether anything was masked for this record.
    pub redacted: bool,
    /// Joins decision and side effect.
    pub call_id: Option<CallId>,
    /// The tool as the agent sees it; the URI of a resource; the name of a prompt.
    pub tool: Option<Arc<str>>,
    /// Which upstream.
    pub upstream: Option<UpstreamName>,
    /// What let the agent call it.
    pub capability_id: Option<CapabilityId>,
    /// Which rule of the policy.
    pub rule_id: Option<RuleId>,
    /// One plain sentence.
    pub reason: Option<Arc<str>>,
    /// The bundle that decided.
    pub policy_snapshot: Option<SnapshotId>,
    /// The approval that was asked or used.
    pub approval_id: Option<ApprovalId>,
    /// On a side effect: what came of it.
    pub outcome: Option<Outcome>,
    /// On a side effect: how long the upstream took.
    pub duration_ms: Option<u64>,
    /// On a side effect: what it cost.
    pub cost_usd: Option<MicroUsd>,
    /// The limits and counters that were in force.
    pub limits: Option<Value>,
    /// What explains the rest: redacted arguments, all reasons, the trace of the decision, who decided.
    pub detail: Option<Value>,
    /// `limits` and `detail` where they are text already.
    #[serde(skip)]
    pub told: Told,
}

/// JSON texts that stand in the places of `limits` and `detail`: what is written with every call is written once, without
/// a value in between.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// In place of [`EventDraft::limits`].
    pub limits: Option<Box<str>>,
    /// In place of [`EventDraft::detail`].
    pub detail: Option<Box<str>>,
}

impl EventDraft {
    /// An event of the system itself, with everything else null.
    pub fn system(event_type: EventType, timestamp: Timestamp) -> Self {
        Self {
            event_type,
            timestamp,
            trace_id: None,
            workflow_id: None,
            agent_id: None,
            action: None,
            policy_id: None,
            decision: None,
            cost_estimate_usd: None,
            actor: Actor { kind: "system".into(), role: None },
            sensitivity_level: Sensitivity::Internal,
            redacted: false,
            call_id: None,
            tool: None,
            upstream: None,
            capability_id: None,
            rule_id: None,
            reason: None,
            policy_snapshot: None,
            approval_id: None,
            outcome: None,
            duration_ms: None,
            cost_usd: None,
            limits: None,
            detail: None,
            told: Told::default(),
        }
    }

    /// With `limits` and `detail` as values, whatever they were before.
    #[must_use]
    pub fn with_values(mut self) -> Self {
        let read = |text: Box<str>| json::parse_inner(text.as_bytes()).ok();
        let Told { limits, detail } = std::mem::take(&mut self.told);
        self.limits = limits.and_then(read).or(self.limits);
        self.detail = detail.and_then(read).or(self.detail);
        self
    }
}

/// A committed event with its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place, from 1, without gaps.
    pub seq: i64,
    /// The `hash` of the event before; 64 zeros for the first.
    pub prev_hash: String,
    /// SHA-256, in hex, over `prev_hash`, a line feed, `seq` in decimal, a line feed, and the body.
    pub hash: String,
    /// Everything else.
    pub draft: EventDraft,
}

/// The order and names of fields in the public JSON form.
#[derive(Serialize)]
struct Public<'e> {
    event_type: EventType,
    timestamp: &'e Timestamp,
    trace_id: &'e Option<TraceId>,
    workflow_id: &'e Option<WorkflowId>,
    agent_id: &'e Option<AgentId>,
    action: &'e Option<Arc<str>>,
    policy_id: &'e Option<PolicyId>,
    decision: &'e Option<EventDecision>,
    cost_estimate_usd: &'e Option<MicroUsd>,
    actor: &'e Actor,
    metadata: Metadata,
    seq: i64,
    prev_hash: &'e str,
    hash: &'e str,
    call_id: &'e Option<CallId>,
    tool: &'e Option<Arc<str>>,
    upstream: &'e Option<UpstreamName>,
    capability_id: &'e Option<CapabilityId>,
    rule_id: &'e Option<RuleId>,
    reason: &'e Option<Arc<str>>,
    policy_snapshot: &'e Option<SnapshotId>,
    approval_id: &'e Option<ApprovalId>,
    outcome: &'e Option<Outcome>,
    duration_ms: &'e Option<u64>,
    cost_usd: &'e Option<MicroUsd>,
    limits: &'e Option<Value>,
    detail: &'e Option<Value>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Metadata {
    sensitivity_level: Sensitivity,
    redacted: bool,
}

impl EventDraft {
    fn public<'e>(&'e self, seq: i64, prev_hash: &'e str, hash: &'e str) -> Public<'e> {
        Public {
            event_type: self.event_type,
            timestamp: &self.timestamp,
            trace_id: &self.trace_id,
            workflow_id: &self.workflow_id,
            agent_id: &self.agent_id,
            action: &self.action,
            policy_id: &self.policy_id,
            decision: &self.decision,
            cost_estimate_usd: &self.cost_estimate_usd,
            actor: &self.actor,
            metadata: Metadata { sensitivity_level: self.sensitivity_level, redacted: self.redacted },
            seq,
            prev_hash,
            hash,
            call_id: &self.call_id,
            tool: &self.tool,
            upstream: &self.upstream,
            capability_id: &self.capability_id,
            rule_id: &self.rule_id,
            reason: &self.reason,
            policy_snapshot: &self.policy_snapshot,
            approval_id: &self.approval_id,
            outcome: &self.outcome,
            duration_ms: &self.duration_ms,
            cost_usd: &self.cost_usd,
            limits: &self.limits,
            detail: &self.detail,
        }
    }

    /// The JSON that the chain hashes and the store keeps: the public form without `seq`,
    /// `prev_hash` and `hash`.
    pub fn body(&self) -> String {
        let mut out = Vec::with_capacity(2048);
        self.write_body(&mut out, None);
        // Everything in it came from text.
        String::from_utf8(out).unwrap_or_default()
    }

    /// Writes the same, with other `limits`, as JSON text, in place of the draft's own where there are any.
    pub fn write_body(&self, out: &mut Vec<u8>, limits: Option<&str>) {
        let mut body = Object::new(out);
        body.text("event_type", Some(self.event_type.as_str()));
        body.shown("timestamp", Some(&self.timestamp));
        body.shown("trace_id", self.trace_id.as_ref().map(|id| id as _));
        body.text("workflow_id", self.workflow_id.as_deref());
        body.text("agent_id", self.agent_id.as_deref());
        body.text("action", self.action.as_deref());
        body.text("policy_id", self.policy_id.as_deref());
        body.text("decision", self.decision.map(EventDecision::as_str));
        body.money("cost_estimate_usd", self.cost_estimate_usd);
        let mut actor = Object::new(body.member("actor"));
        actor.text("type", Some(&self.actor.kind));
        actor.text("role", self.actor.role.as_deref());
        actor.end();
        let mut metadata = Object::new(body.member("metadata"));
        metadata.text("sensitivity_level", Some(self.sensitivity_level.as_str()));
        metadata.flag("redacted", self.redacted);
        metadata.end();
        body.text("call_id", self.call_id.as_deref());
        body.text("tool", self.tool.as_deref());
        body.text("upstream", self.upstream.as_deref());
        body.text("capability_id", self.capability_id.as_deref());
        body.text("rule_id", self.rule_id.as_deref());
        body.text("reason", self.reason.as_deref());
        body.text("policy_snapshot", self.policy_snapshot.as_deref());
        body.text("approval_id", self.approval_id.as_deref());
        body.text("outcome", self.outcome.map(Outcome::as_str));
        body.natural("duration_ms", self.duration_ms);
        body.money("cost_usd", self.cost_usd);
        match limits.or(self.told.limits.as_deref()) {
            Some(text) => body.member("limits").extend_from_slice(text.as_bytes()),
            None => body.value("limits", self.limits.as_ref()),
        }
        match self.told.detail.as_deref() {
            Some(text) => body.member("detail").extend_from_slice(text.as_bytes()),
            None => body.value("detail", self.detail.as_ref()),
        }
        body.end();
    }

    /// Reads what [`EventDraft::body`] wrote. Members that this version does not know are passed over,
    /// members that an older version did not write are null.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Stored>(body).map(|stored| stored.split().0)
    }
}

/// The public form as it is read back.
#[derive(Deserialize)]
struct Stored {
    event_type: EventType,
    timestamp: Timestamp,
    trace_id: Option<TraceId>,
    workflow_id: Option<WorkflowId>,
    agent_id: Option<AgentId>,
    action: Option<Arc<str>>,
    policy_id: Option<PolicyId>,
    decision: Option<EventDecision>,
    cost_estimate_usd: Option<MicroUsd>,
    actor: Actor,
    metadata: Metadata,
    seq: Option<i64>,
    prev_hash: Option<String>,
    hash: Option<String>,
    call_id: Option<CallId>,
    tool: Option<Arc<str>>,
    upstream: Option<UpstreamName>,
    capability_id: Option<CapabilityId>,
    rule_id: Option<RuleId>,
    reason: Option<Arc<str>>,
    policy_snapshot: Option<SnapshotId>,
    approval_id: Option<ApprovalId>,
    outcome: Option<Outcome>,
    duration_ms: Option<u64>,
    cost_usd: Option<MicroUsd>,
    #[serde(default, deserialize_with = "json::recorded_option")]
    limits: Option<Value>,
    #[serde(default, deserialize_with = "json::recorded_option")]
    detail: Option<Value>,
}

impl Stored {
    fn split(self) -> (EventDraft, Option<(i64, String, String)>) {
        let chain = match (self.seq, self.prev_hash, self.hash) {
            (Some(seq), Some(prev_hash), Some(hash)) => Some((seq, prev_hash, hash)),
            _ => None,
        };
        let draft = EventDraft {
            event_type: self.event_type,
            timestamp: self.timestamp,
            trace_id: self.trace_id,
            workflow_id: self.workflow_id,
            agent_id: self.agent_id,
            action: self.action,
            policy_id: self.policy_id,
            decision: self.decision,
            cost_estimate_usd: self.cost_estimate_usd,
            actor: self.actor,
            sensitivity_level: self.metadata.sensitivity_level,
            redacted: self.metadata.redacted,
            call_id: self.call_id,
            tool: self.tool,
            upstream: self.upstream,
            capability_id: self.capability_id,
            rule_id: self.rule_id,
            reason: self.reason,
            policy_snapshot: self.policy_snapshot,
            approval_id: self.approval_id,
            outcome: self.outcome,
            duration_ms: self.duration_ms,
            cost_usd: self.cost_usd,
            limits: self.limits,
            detail: self.detail,
            told: Told::default(),
        };
        (draft, chain)
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.draft.public(self.seq, &self.prev_hash, &self.hash).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (draft, chain) = Stored::deserialize(deserializer)?.split();
        let (seq, prev_hash, hash) =
            chain.ok_or_else(|| serde::de::Error::custom("expected `seq`, `prev_hash` and `hash`"))?;
        Ok(Self { seq, prev_hash, hash, draft })
    }
}
