//! The three records of a call: its start, its decision, and what came of it.

use super::detail::{ACTORS, Explained};
use crate::model::{
    Actor, AgentId, ApprovalId, CallId, CapabilityId, Digest, EventDecision, EventDraft, EventType, MicroUsd,
    Outcome, PersonId, PolicyId, RuleId, Sensitivity, SnapshotId, TraceId, UpstreamName, WorkflowId,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The program that decides, as decisions name it.
pub const EVALUATOR: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// A call as its records name it.
#[derive(Clone, Debug)]
pub struct CallSubject<'c> {
    /// Joins services.
    pub trace_id: TraceId,
    /// Joins the records of the call.
    pub call_id: &'c CallId,
    /// Who called.
    pub agent: &'c AgentId,
    /// The agent's role, where it has one.
    pub role: Option<&'c Arc<str>>,
    /// The agent's tenant, where it has one.
    pub tenant: Option<&'c Arc<str>>,
    /// The person at the agent's client.
    pub operator: Option<&'c PersonId>,
    /// The person the agent acts for.
    pub user: Option<&'c PersonId>,
    /// The workflow it runs in.
    pub workflow: Option<&'c WorkflowId>,
    /// Who handed the work on to the agent, the newest first, masked.
    pub actors: Vec<Arc<str>>,
    /// `[gateway] environment`.
    pub environment: &'c Arc<str>,
    /// The bundle in force.
    pub snapshot: &'c SnapshotId,
    /// What was named, masked and of bounded length.
    pub tool: Arc<str>,
    /// The call that it makes again, because a person said so.
    pub replay_of: Option<&'c CallId>,
    /// What is known of the target where one was found.
    pub target: Option<TargetSubject<'c>>,
}

/// What is known of a call once its target was found.
#[derive(Clone, Debug)]
pub struct TargetSubject<'c> {
    /// The action, masked.
    pub action: &'c Arc<str>,
    /// What it will probably cost.
    pub cost: MicroUsd,
    /// How sensitive the arguments are.
    pub level: Sensitivity,
    /// Whether anything is masked in what is recorded.
    pub redacted: bool,
    /// Whose.
    pub upstream: &'c UpstreamName,
    /// The first capability that covers it.
    pub capability: Option<&'c CapabilityId>,
    /// The labels of the data in it.
    pub labels: &'c [Arc<str>],
}

/// What was decided of a call, and by what.
#[derive(Clone, Debug)]
pub struct Ruling<'r> {
    /// The decision.
    pub decision: EventDecision,
    /// What decided.
    pub policy_id: &'r PolicyId,
    /// Which rule of it.
    pub rule_id: Option<&'r RuleId>,
    /// One plain sentence.
    pub reason: Arc<str>,
    /// The approval that was asked or used.
    pub approval_id: Option<&'r ApprovalId>,
}

/// How a dispatched call ended.
#[derive(Debug)]
pub struct Settled {
    /// What came of it.
    pub outcome: Outcome,
    /// How long the upstream took.
    pub duration_ms: u64,
    /// What it cost, where that is known.
    pub cost: Option<MicroUsd>,
    /// Why it failed, masked.
    pub reason: Option<Arc<str>>,
    /// The keyed digest of the result as the agent got it; none where the upstream gave none.
    pub result_digest: Option<Digest>,
    /// [`super::limits`].
    pub limits: Box<str>,
    /// [`super::settled_detail`].
    pub detail: Box<str>,
}

impl CallSubject<'_> {
    fn event(&self, kind: EventType, now: Timestamp) -> EventDraft {
        let mut event = EventDraft::system(kind, now);
        let role = self.role.filter(|role| !role.is_empty()).cloned();
        event.actor = Actor { kind: "agent".into(), role };
        event.trace_id = Some(self.trace_id);
        event.agent_id = Some(self.agent.clone());
        event.workflow_id = self.workflow.cloned();
        event.call_id = Some(self.call_id.clone());
        event.policy_snapshot = Some(self.snapshot.clone());
        event.tool = Some(self.tool.clone());
        event.tenant = self.tenant.filter(|tenant| !tenant.is_empty()).cloned();
        event.environment = Some(self.environment.clone());
        event.operator = self.operator.cloned();
        event.user = self.user.cloned();
        if let Some(target) = &self.target {
            event.action = Some(target.action.clone());
            event.cost_estimate_usd = Some(target.cost);
            event.sensitivity_level = target.level;
            event.redacted = target.redacted;
            event.upstream = Some(target.upstream.clone());
            event.capability_id = target.capability.cloned();
        }
        event
    }

    /// `agent_start`
    pub fn start(&self, now: Timestamp) -> EventDraft {
        let mut event = self.event(EventType::AgentStart, now);
        let mut detail = Map::new();
        detail.extend(self.replay_of.map(|of| ("replay_of".to_owned(), json!(of))));
        detail.extend(self.handed_on());
        event.detail = (!detail.is_empty()).then_some(Value::Object(detail));
        event
    }

    /// `agent_decision`, with what explains it as a value.
    pub fn decision(&self, now: Timestamp, ruling: &Ruling<'_>, mut detail: Value) -> EventDraft {
        let mut event = self.decided(now, ruling);
        if let Value::Object(members) = &mut detail {
            members.extend(self.handed_on());
        }
        event.detail = Some(detail);
        event
    }

    /// `agent_decision` of a call about which policies were asked.
    pub fn explained(&self, now: Timestamp, ruling: &Ruling<'_>, explained: &Explained<'_>) -> EventDraft {
        let mut event = self.decided(now, ruling);
        event.texts.facts = explained.facts();
        let of = self.replay_of.map(|of| of.as_str());
        event.texts.detail =
            Some(Explained { replay_of: of, actors: &self.actors, ..explained.clone() }.text());
        event
    }

    fn handed_on(&self) -> Option<(String, Value)> {
        (!self.actors.is_empty()).then(|| (ACTORS.to_owned(), json!(self.actors)))
    }

    pub(super) fn decided(&self, now: Timestamp, ruling: &Ruling<'_>) -> EventDraft {
        let mut event = self.event(EventType::AgentDecision, now);
        ruling.mark(&mut event);
        event.evaluator = Some(EVALUATOR.into());
        event.labels = self.target.as_ref().map(|target| target.labels.to_vec());
        event
    }

    /// `agent_side_effect` as it stands before the call is dispatched; [`Settled::complete`] says the rest.
    pub fn side_effect(
        &self,
        now: Timestamp,
        policy_id: &PolicyId,
        rule_id: Option<&RuleId>,
        capability: Option<&CapabilityId>,
    ) -> EventDraft {
        let mut event = self.event(EventType::AgentSideEffect, now);
        event.policy_id = Some(policy_id.clone());
        event.rule_id = rule_id.cloned();
        event.capability_id = capability.cloned();
        event
    }
}

impl Ruling<'_> {
    fn mark(&self, event: &mut EventDraft) {
        event.policy_id = Some(self.policy_id.clone());
        event.rule_id = self.rule_id.cloned();
        event.decision = Some(self.decision);
        event.reason = Some(self.reason.clone());
        event.approval_id = self.approval_id.cloned();
    }
}

impl Settled {
    /// Says in a side effect how the call ended.
    pub fn complete(self, event: &mut EventDraft, now: Timestamp) {
        let Self { outcome, duration_ms, cost, reason, result_digest, limits, detail } = self;
        event.timestamp = now;
        event.outcome = Some(outcome);
        event.duration_ms = Some(duration_ms);
        event.cost_usd = cost;
        event.reason = reason;
        event.result_digest = result_digest;
        event.texts.limits = Some(limits);
        event.texts.detail = Some(detail);
    }
}
