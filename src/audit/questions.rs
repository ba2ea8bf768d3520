//! The five questions of an audit, answered from records alone.

use crate::{
    evidence::{CUT_ARGUMENTS, Counted, event_without_values},
    model::{
        Actor, AgentId, ApprovalId, ApprovalStatus, CallId, CapabilityId, Event, EventDecision, EventDraft,
        EventType, GrantId, MicroUsd, Outcome, PersonId, PolicyId, RuleId, SnapshotId, TraceId, UpstreamName,
        WorkflowId,
    },
    store::{ApprovalAnswer, ApprovalRecord, StandingGrant},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::{collections::HashSet, sync::Arc};

/// One trace, grouped by call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceReport {
    /// The trace, where the events agree on one.
    pub trace_id: Option<TraceId>,
    /// All traces of the events, in the order of their first records.
    pub traces: Vec<TraceId>,
    /// Its calls, in the order of their first records.
    pub calls: Vec<CallReport>,
    /// Records that belong to no call.
    pub other: Vec<OtherRecord>,
    /// What people have said of it afterwards, in order.
    pub notes: Vec<NoteReport>,
}

/// A record of a trace that belongs to no call: what was done about the trace or its agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherRecord {
    /// Where it stands.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What was done.
    pub action: Option<Arc<str>>,
    /// The person who did it, where the record names one.
    pub by: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
}

impl OtherRecord {
    fn of(event: &Event) -> Self {
        let draft = &event.draft;
        Self {
            evidence: Evidence::of(event),
            action: draft.action.clone(),
            by: draft.person().map(Arc::from),
            reason: draft.reason.clone(),
        }
    }
}

/// What somebody said of a trace afterwards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoteReport {
    /// When.
    pub at: Timestamp,
    /// The person; null: somebody on the machine of the store, without a key.
    pub by: Option<Arc<str>>,
    /// What.
    pub text: Option<Arc<str>>,
    /// Where it stands.
    pub evidence: Evidence,
}

/// The five answers for one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallReport {
    /// The call.
    pub call_id: CallId,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// What was called: the exposed tool name, the URI, or the prompt's name.
    pub tool: Option<Arc<str>>,
    /// Who initiated?
    pub initiated: Initiator,
    /// What was decided, and why? In order; the last one counts.
    pub decided: Vec<DecisionReport>,
    /// Was approval required, and who approved? Empty: not required.
    pub approvals: Vec<ApprovalReport>,
    /// The standing grants that its approval was answered with, or that let it through.
    pub grants: Vec<GrantReport>,
    /// What executed, where, with what limits? Null: nothing was dispatched, or it is not known yet.
    pub executed: Option<Execution>,
    /// Where is the immutable evidence?
    pub evidence: Vec<Evidence>,
}

/// Who initiated a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Initiator {
    /// The agent.
    pub agent_id: Option<AgentId>,
    /// As it acted.
    pub actor: Actor,
    /// In which workflow.
    pub workflow_id: Option<WorkflowId>,
    /// The agent's tenant.
    pub tenant: Option<Arc<str>>,
    /// The person at the agent's client.
    pub operator: Option<PersonId>,
    /// The person the agent acts for.
    pub user: Option<PersonId>,
    /// Who handed the work on to the agent, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<String>,
    /// When.
    pub at: Timestamp,
    /// What it wanted to do.
    pub action: Option<Arc<str>>,
    /// The redacted arguments as the agent wrote them, where they are recorded.
    pub arguments: Option<Value>,
}

/// One decision on a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionReport {
    /// When.
    pub at: Timestamp,
    /// What.
    pub decision: Option<EventDecision>,
    /// By which policy.
    pub policy_id: Option<PolicyId>,
    /// Which rule of it.
    pub rule_id: Option<RuleId>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// What let the agent call it.
    pub capability_id: Option<CapabilityId>,
    /// The bundle that decided.
    pub policy_snapshot: Option<SnapshotId>,
    /// What it was expected to cost.
    pub cost_estimate_usd: Option<MicroUsd>,
    /// The limits and counters that were seen.
    pub limits: Option<Value>,
    /// The labels of the data in the call.
    pub labels: Vec<Arc<str>>,
    /// Those that had reached its session.
    pub session_labels: Vec<Arc<str>>,
    /// How many refusals the record stands for, and when; null where it is of this call alone.
    pub counted: Option<Counted>,
}

/// One approval of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApprovalReport {
    /// The record's id.
    pub id: ApprovalId,
    /// Where it stands; null where only events speak of it.
    pub status: Option<ApprovalStatus>,
    /// Why it was required.
    pub reason: Option<Arc<str>>,
    /// When it was asked.
    pub created_at: Option<Timestamp>,
    /// Until when it counted.
    pub expires_at: Option<Timestamp>,
    /// Who may answer, as the rules name them.
    pub approvers: Vec<Arc<str>>,
    /// How many people have to agree, and whether they have to show evidence; of several rules the most that one asks for.
    pub quorum: Option<u32>,
    /// An approval without evidence does not count.
    pub evidence_required: bool,
    /// What ended it without an answer.
    pub ended: Option<ApprovalEnd>,
    /// Who said what, in order.
    pub answers: Vec<ApprovalAnswer>,
    /// The call that asked; null where only events speak of the approval.
    pub asked_by: Option<ApprovalCall>,
    /// The call that used it; null where none did.
    pub used_by: Option<ApprovalCall>,
}

/// A standing grant of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantReport {
    /// Its id.
    pub id: GrantId,
    /// Whether it let this call through; else this call's approval made it.
    pub used: bool,
    /// Who answered with it, in order; empty where only events speak of it.
    pub approvers: Vec<PersonId>,
    /// When it was made.
    pub made_at: Option<Timestamp>,
    /// Until when it counts, if nothing ends it before.
    pub expires_at: Option<Timestamp>,
    /// The approval that was answered with it.
    pub approval_id: Option<ApprovalId>,
    /// The call that asked for that.
    pub asked_by: Option<ApprovalCall>,
}

/// A call as an approval names it: the one that uses an approval need not be the one that asked, nor of its trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApprovalCall {
    /// The call.
    pub call_id: CallId,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// When it asked, or was let through.
    pub at: Timestamp,
}

/// An approval that expired or was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApprovalEnd {
    /// When.
    pub at: Timestamp,
    /// Why, where it was cancelled.
    pub reason: Option<Arc<str>>,
}

/// The approvals that events name, and what became of them.
#[derive(Clone, Debug, Default)]
pub struct NamedApprovals {
    /// Their records, as far as there are any.
    pub records: Vec<ApprovalRecord>,
    /// The decisions by which calls of any trace used them.
    pub uses: Vec<Event>,
    /// The standing grants that events name.
    pub grants: Vec<StandingGrant>,
}

impl NamedApprovals {
    /// The same without the values of arguments.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self {
            records: self.records.into_iter().map(ApprovalRecord::without_values).collect(),
            uses: self.uses.into_iter().map(event_without_values).collect(),
            grants: self.grants.into_iter().map(StandingGrant::without_values).collect(),
        }
    }
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Execution {
    /// When it was settled.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Where.
    pub upstream: Option<UpstreamName>,
    /// As what.
    pub tool: Option<Arc<str>>,
    /// The redacted arguments that policy put in place of the agent's; null where it changed none.
    pub arguments: Option<Value>,
    /// How long the upstream took.
    pub duration_ms: Option<u64>,
    /// What it cost.
    pub cost_usd: Option<MicroUsd>,
    /// Under what limits.
    pub limits: Option<Value>,
    /// The size of what came back, where something did.
    pub result: Option<ResultSize>,
    /// What it was labelled with as it came in.
    pub labels: Vec<Arc<str>>,
    /// What is to be said of it.
    pub reason: Option<Arc<str>>,
}

/// How much an upstream gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ResultSize {
    /// In bytes.
    pub bytes: u64,
    /// In the model's tokens.
    pub tokens: u64,
    /// A limit has cut it.
    pub cut: bool,
}

impl ResultSize {
    fn of(effect: &Event) -> Option<Self> {
        let detail = effect.draft.detail.as_ref()?;
        let number = |name: &str| detail.get(name).and_then(Value::as_u64);
        Some(Self {
            bytes: number("result_bytes")?,
            tokens: number("result_tokens")?,
            cut: detail.get("cut").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

/// Where a record stands in the chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Its place.
    pub seq: i64,
    /// What kind of record.
    pub event_type: EventType,
    /// When.
    pub at: Timestamp,
    /// Its hash; null where it is withheld.
    pub hash: Option<String>,
}

impl Evidence {
    fn of(event: &Event) -> Self {
        Self {
            seq: event.seq,
            event_type: event.draft.event_type,
            at: event.draft.timestamp,
            hash: Some(event.hash.clone()).filter(|hash| !hash.is_empty()),
        }
    }
}

/// Groups the events of a trace, or of several, by call and answers the five questions for each. `approvals` are those
/// that the events name; one whose record is missing is answered from the events alone.
pub fn questions(events: &[Event], approvals: &NamedApprovals) -> TraceReport {
    let mut ordered: Vec<&Event> = events.iter().collect();
    ordered.sort_by_key(|e| e.seq);
    let mut calls: Vec<(CallId, Vec<&Event>)> = Vec::new();
    let (mut other, mut notes) = (Vec::new(), Vec::new());
    for event in &ordered {
        if event.draft.event_type == EventType::Note {
            notes.push(NoteReport {
                at: event.draft.timestamp,
                // Notes of before named the person as their role.
                by: event.draft.person().map(Arc::from).or_else(|| event.draft.actor.role.clone()),
                text: event.draft.reason.clone(),
                evidence: Evidence::of(event),
            });
            continue;
        }
        let of_approval = || {
            let id = event.draft.approval_id.as_ref()?;
            approvals.records.iter().find(|a| a.id == *id).map(|a| a.call_id.clone())
        };
        match event.draft.call_id.clone().or_else(of_approval) {
            Some(id) => match calls.iter_mut().find(|(known, _)| *known == id) {
                Some((_, of_call)) => of_call.push(event),
                None => calls.push((id, vec![event])),
            },
            None => other.push(OtherRecord::of(event)),
        }
    }
    let mut seen = HashSet::new();
    let traces: Vec<TraceId> =
        ordered.iter().filter_map(|e| e.draft.trace_id).filter(|trace| seen.insert(*trace)).collect();
    let trace_id = match traces.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let calls = calls.into_iter().filter_map(|(id, events)| call(id, &events, approvals)).collect();
    TraceReport { trace_id, traces, calls, other, notes }
}

fn call(call_id: CallId, events: &[&Event], approvals: &NamedApprovals) -> Option<CallReport> {
    let is = |kind: EventType| move |e: &&&Event| e.draft.event_type == kind;
    let first = events.iter().find(is(EventType::AgentDecision)).or_else(|| events.first())?;
    let detail = |name: &str| events.iter().find_map(|e| e.draft.detail.as_ref()?.get(name).cloned());
    let initiated = Initiator {
        agent_id: events.iter().find_map(|e| e.draft.agent_id.clone()),
        actor: first.draft.actor.clone(),
        workflow_id: events.iter().find_map(|e| e.draft.workflow_id.clone()),
        tenant: events.iter().find_map(|e| e.draft.tenant.clone()),
        operator: events.iter().find_map(|e| e.draft.operator.clone()),
        user: events.iter().find_map(|e| e.draft.user.clone()),
        actors: detail("actors").and_then(|actors| serde_json::from_value(actors).ok()).unwrap_or_default(),
        at: events.first()?.draft.timestamp,
        action: first.draft.action.clone(),
        arguments: detail("original_arguments")
            .or_else(|| detail("arguments"))
            .or_else(|| detail(CUT_ARGUMENTS)),
    };
    let decided: Vec<DecisionReport> = events
        .iter()
        .filter(is(EventType::AgentDecision))
        .map(|event| DecisionReport {
            at: event.draft.timestamp,
            decision: event.draft.decision,
            policy_id: event.draft.policy_id.clone(),
            rule_id: event.draft.rule_id.clone(),
            reason: event.draft.reason.clone(),
            capability_id: event.draft.capability_id.clone(),
            policy_snapshot: event.draft.policy_snapshot.clone(),
            cost_estimate_usd: event.draft.cost_estimate_usd,
            limits: event.draft.limits.clone(),
            labels: event.draft.labels.clone().unwrap_or_default(),
            session_labels: session_labels(&event.draft),
            counted: Counted::of(&event.draft),
        })
        .collect();
    let executed = events.iter().rev().find(is(EventType::AgentSideEffect)).map(|event| Execution {
        at: event.draft.timestamp,
        outcome: event.draft.outcome,
        upstream: event.draft.upstream.clone(),
        tool: event.draft.tool.clone(),
        arguments: detail("original_arguments").and_then(|_| detail("arguments")),
        duration_ms: event.draft.duration_ms,
        cost_usd: event.draft.cost_usd,
        limits: event.draft.limits.clone().or_else(|| decided.last().and_then(|d| d.limits.clone())),
        result: ResultSize::of(event),
        labels: event.draft.labels.clone().unwrap_or_default(),
        reason: event.draft.reason.clone(),
    });
    Some(CallReport {
        trace_id: first.draft.trace_id,
        tool: events.iter().find_map(|e| e.draft.tool.clone()),
        initiated,
        approvals: approvals_of(events, approvals),
        grants: grants_of(events, approvals),
        executed,
        evidence: events.iter().map(|e| Evidence::of(e)).collect(),
        decided,
        call_id,
    })
}

/// What had reached the session of a call, as it was decided on.
fn session_labels(decision: &EventDraft) -> Vec<Arc<str>> {
    let listed = decision.facts.as_ref().and_then(|facts| facts.get("session_labels"));
    let names = listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    names.map(Arc::from).collect()
}

fn grants_of(events: &[&Event], named: &NamedApprovals) -> Vec<GrantReport> {
    let mut reports: Vec<GrantReport> = Vec::new();
    for event in events {
        let Some(id) = &event.draft.grant_id else { continue };
        let used = event.draft.event_type == EventType::AgentDecision
            && event.draft.decision == Some(EventDecision::Approved);
        if let Some(known) = reports.iter_mut().find(|report| report.id == *id) {
            known.used |= used;
            continue;
        }
        let terms = named.grants.iter().find(|grant| grant.id == *id).map(|grant| &grant.terms);
        reports.push(GrantReport {
            id: id.clone(),
            used,
            approvers: terms.map(|terms| terms.approvers.clone()).unwrap_or_default(),
            made_at: terms.map(|terms| terms.made_at),
            expires_at: terms.map(|terms| terms.expires_at),
            approval_id: terms.map(|terms| terms.approval.clone()),
            asked_by: terms.map(|terms| ApprovalCall {
                call_id: terms.call_id.clone(),
                trace_id: Some(terms.trace_id),
                at: terms.made_at,
            }),
        });
    }
    reports
}

fn approvals_of(events: &[&Event], approvals: &NamedApprovals) -> Vec<ApprovalReport> {
    let mut reports: Vec<ApprovalReport> = Vec::new();
    for event in events {
        let Some(id) = &event.draft.approval_id else { continue };
        if reports.iter().any(|r| r.id == *id) {
            continue;
        }
        let used = approvals.uses.iter().find(|used| used.draft.approval_id.as_ref() == Some(id));
        let used_by = used.and_then(|used| {
            let draft = &used.draft;
            Some(ApprovalCall {
                call_id: draft.call_id.clone()?,
                trace_id: draft.trace_id,
                at: draft.timestamp,
            })
        });
        let is_end = |e: &&&Event| {
            matches!(e.draft.event_type, EventType::ApprovalExpired | EventType::ApprovalCancelled)
        };
        let ended = events.iter().filter(is_end).find(|e| e.draft.approval_id.as_ref() == Some(id));
        let ended = ended.map(|e| ApprovalEnd { at: e.draft.timestamp, reason: e.draft.reason.clone() });
        reports.push(match approvals.records.iter().find(|record| record.id == *id) {
            Some(record) => ApprovalReport {
                id: id.clone(),
                status: Some(record.status),
                reason: Some(record.reason.as_str().into()),
                created_at: Some(record.created_at),
                expires_at: Some(record.expires_at),
                approvers: approvers(record),
                quorum: record.requirements.iter().map(|asked| asked.quorum).max(),
                evidence_required: record.requirements.iter().any(|asked| asked.evidence_required),
                ended,
                answers: record.answers.clone(),
                asked_by: Some(ApprovalCall {
                    call_id: record.call_id.clone(),
                    trace_id: Some(record.trace_id),
                    at: record.created_at,
                }),
                used_by,
            },
            None => ApprovalReport {
                id: id.clone(),
                status: None,
                reason: event.draft.reason.clone(),
                created_at: None,
                expires_at: None,
                approvers: Vec::new(),
                quorum: None,
                evidence_required: false,
                ended,
                answers: Vec::new(),
                asked_by: None,
                used_by,
            },
        });
    }
    reports
}

/// Each name once, in the order of the rules.
fn approvers(record: &ApprovalRecord) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for approver in record.requirements.iter().flat_map(|asked| &asked.approvers) {
        if names.iter().all(|name| **name != *approver.name()) {
            names.push(approver.name().into());
        }
    }
    names
}
