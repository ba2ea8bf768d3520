//! The five questions and the exports on invented records.

use super::*;
use crate::{
    model::{
        AgentId, ApprovalId, ApprovalStatus, CallId, Event, EventDecision, EventDraft, EventType,
        Fingerprint, MicroUsd, Outcome, PersonId, PolicyId, RuleId, SnapshotId, TraceId, UpstreamName,
        WorkflowId,
    },
    policy::ChannelKind,
    store::{ApprovalAnswer, ApprovalBinding, ApprovalRecord},
};
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_778_502_896 + second).unwrap()
}

fn event(seq: i64, kind: EventType, call: Option<&str>) -> Event {
    let mut draft = EventDraft::system(kind, at(seq));
    draft.trace_id = TraceId::parse("0af7651916cd43dd8448eb211c80319c");
    draft.call_id = call.map(CallId::from);
    if call.is_some() {
        draft.agent_id = Some(AgentId::from("planner-01"));
        draft.workflow_id = Some(WorkflowId::from("wf-123"));
        draft.actor.kind = "agent".into();
        draft.actor.role = Some("planner".into());
        draft.tool = Some("files__write_file".into());
        draft.upstream = Some(UpstreamName::from("files"));
        draft.policy_snapshot = Some(SnapshotId::from("abc123"));
    }
    Event { seq, prev_hash: format!("{:064x}", seq - 1), hash: format!("{seq:064x}"), draft }
}

fn decided(seq: i64, call: &str, decision: EventDecision, reason: &str) -> Event {
    let mut event = event(seq, EventType::AgentDecision, Some(call));
    event.draft.decision = Some(decision);
    event.draft.policy_id = Some(PolicyId::from("prod-safety-gate"));
    event.draft.rule_id = Some(RuleId::from("production"));
    event.draft.reason = Some(reason.into());
    event.draft.cost_estimate_usd = Some(MicroUsd(1_250_000));
    event
}

fn approval() -> ApprovalRecord {
    ApprovalRecord {
        id: ApprovalId::from("approval-1"),
        version: 3,
        status: ApprovalStatus::Consumed,
        binding: ApprovalBinding {
            agent: AgentId::from("planner-01"),
            user: None,
            workflow: None,
            tool: "files__write_file".to_owned(),
            fingerprint: Fingerprint::from("f"),
            digest: "d".into(),
            call: "c".into(),
            snapshot: SnapshotId::from("abc123"),
        },
        call_id: CallId::from("call-1"),
        trace_id: TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap(),
        workflow_id: None,
        capability_id: None,
        upstream: UpstreamName::from("files"),
        action: "files:write".to_owned(),
        arguments: serde_json::json!({}),
        redacted: false,
        context: Default::default(),
        policy_id: PolicyId::from("prod-safety-gate"),
        rule_id: None,
        reason: "production changes need a person".to_owned(),
        cost_estimate_usd: MicroUsd(0),
        operator: None,
        attended: false,
        requirements: Vec::new(),
        created_at: at(2),
        expires_at: at(902),
        answers: vec![ApprovalAnswer {
            person: PersonId::from("alice"),
            approve: true,
            at: at(3),
            channel: ChannelKind::Inbox,
            comment: Some("fine\u{202e}".to_owned()),
            evidence: Some("CHG-7".to_owned()),
            snapshot: SnapshotId::from("abc123"),
        }],
    }
}

fn trace() -> Vec<Event> {
    let mut asked = event(2, EventType::ApprovalRequested, Some("call-1"));
    asked.draft.approval_id = Some(ApprovalId::from("approval-1"));
    // An answer comes through the admin listener and knows the approval only.
    let mut answered = event(3, EventType::ApprovalDecided, None);
    answered.draft.approval_id = Some(ApprovalId::from("approval-1"));
    let mut allowed = decided(4, "call-1", EventDecision::Approved, "alice approved");
    allowed.draft.approval_id = Some(ApprovalId::from("approval-1"));
    allowed.draft.detail = Some(serde_json::json!({"arguments": {"path": "/srv"}}));
    allowed.draft.limits = Some(serde_json::json!({
        "timeout": "30s",
        "counters": [{"id": "daily", "key": "planner-01", "window": "day", "unit": "calls", "used": 3, "cap": 10}]
    }));
    let mut effect = event(5, EventType::AgentSideEffect, Some("call-1"));
    effect.draft.outcome = Some(Outcome::Succeeded);
    effect.draft.duration_ms = Some(12);
    effect.draft.cost_usd = Some(MicroUsd(900_000));
    vec![
        decided(6, "call-2", EventDecision::Deny, "no"),
        effect,
        decided(1, "call-1", EventDecision::PendingApproval, "production changes need a person"),
        asked,
        answered,
        allowed,
        event(7, EventType::Alert, None),
    ]
}

/// R52 to R56.
#[test]
fn the_five_questions_are_answered_per_call() {
    let report = questions(&trace(), &[approval()]);
    assert_eq!(report.calls.len(), 2);
    let call = &report.calls[0];
    assert_eq!(call.initiated.agent_id.as_deref(), Some("planner-01"));
    assert_eq!(call.initiated.workflow_id.as_deref(), Some("wf-123"));
    let decisions: Vec<_> = call.decided.iter().map(|d| d.decision.unwrap().as_str()).collect();
    assert_eq!(decisions, ["pending_approval", "approved"]);
    assert_eq!(&*call.approvals[0].answers[0].person, "alice");
    assert_eq!(call.executed.as_ref().unwrap().outcome, Some(Outcome::Succeeded));
    assert!(call.executed.as_ref().unwrap().limits.is_some(), "the limits of the decision");
    assert_eq!(call.evidence.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!((report.calls[1].executed.is_none(), report.calls[1].approvals.len()), (true, 0));
    assert_eq!(report.other.iter().map(|e| e.seq).collect::<Vec<_>>(), [7]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["calls"][0]["executed"]["cost_usd"], serde_json::json!(0.9));
}

#[test]
fn the_report_fits_a_screen_and_shows_no_hidden_characters() {
    let text = render(&questions(&trace(), &[approval()]));
    let expected = [
        "trace 0af7651916cd43dd8448eb211c80319c, 2 calls",
        "agent planner-01 (planner), workflow wf-123",
        "approved by prod-safety-gate, rule production: alice approved",
        "estimate 1.25 USD, policies abc123",
        "required, consumed: production changes need a person (approval approval-1)",
        "approved by alice at 2026-05-11T12:34:59Z through inbox, comment: fine\\u{202e}, evidence: CHG-7",
        "succeeded: files__write_file on files, 12 ms, 0.9 USD",
        "limit timeout 30s",
        "limit daily of planner-01 per day: 3 of 10 calls used before",
        "seq 5 2026-05-11T12:35:01Z agent_side_effect 00000000000000000000000000000000",
        "nothing is recorded as executed",
        "not required",
    ];
    for line in expected {
        assert!(text.contains(line), "{line}\n\n{text}");
    }
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn an_empty_trace_says_so() {
    let report = questions(&[], &[]);
    assert_eq!((report.calls.len(), report.trace_id), (0, None));
    assert_eq!(render(&report), "0 calls\n");
}

#[test]
fn cells_cannot_become_formulas() {
    let check = |input: &str, expect: &str| assert_eq!(export::safe(input), expect);
    check("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0");
    check("+1", "'+1");
    check("-1", "'-1");
    check("@SUM(A1)", "'@SUM(A1)");
    check("\t=1", "'\t=1");
    check("plain", "plain");
    check("", "");
}

#[test]
fn events_read_back_as_they_were_written() {
    for event in trace() {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        let body = event.draft.body();
        assert_eq!(EventDraft::from_body(&body).unwrap(), event.draft);
        assert_eq!(EventDraft::from_body(&body).unwrap().body(), body);
    }
}
