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
use serde_json::{Value, json};

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
            grant: None,
            grant_id: None,
        }],
        shape: None,
        covered_by: None,
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

/// The approval of [`trace`], used by the call that asked.
fn named() -> NamedApprovals {
    let used = trace().into_iter().find(|e| e.draft.decision == Some(EventDecision::Approved));
    NamedApprovals {
        records: vec![approval()],
        uses: used.into_iter().collect(),
        ..NamedApprovals::default()
    }
}

/// R55: where another call used the approval, under a trace of its own, the call that asked names it and does not say that
/// nothing came of it; with both traces the report has both calls.
#[test]
fn the_call_that_used_an_approval_is_named() {
    let other = TraceId::parse("b3c1f0de00000000000000000000beef").unwrap();
    let asked: Vec<Event> = trace().into_iter().filter(|e| e.seq <= 3).collect();
    let mut allowed = decided(8, "call-9", EventDecision::Approved, "alice approved");
    allowed.draft.trace_id = Some(other);
    allowed.draft.approval_id = Some(ApprovalId::from("approval-1"));
    let mut effect = event(9, EventType::AgentSideEffect, Some("call-9"));
    effect.draft.trace_id = Some(other);
    effect.draft.outcome = Some(Outcome::Failed);
    let named = NamedApprovals {
        records: vec![approval()],
        uses: vec![allowed.clone()],
        ..NamedApprovals::default()
    };

    let report = questions(&asked, &named);
    let used = report.calls[0].approvals[0].used_by.clone().unwrap();
    assert_eq!((&*used.call_id, used.trace_id, used.at), ("call-9", Some(other), at(8)));
    let text = render(&report);
    for line in [
        "used by call call-9 in trace b3c1f0de00000000000000000000beef at 2026-05-11T12:35:04Z",
        "nothing by this call: its approval was used by call call-9 in trace b3c1f0de00000000000000000000beef",
    ] {
        assert!(text.contains(line), "{line}\n\n{text}");
    }
    assert!(!text.contains("nothing is recorded as executed"), "{text}");

    let using = questions(&[allowed.clone(), effect.clone()], &named);
    assert_eq!(using.trace_id, Some(other));
    let text = render(&using);
    for line in [
        "asked for by call call-1 in trace 0af7651916cd43dd8448eb211c80319c at 2026-05-11T12:34:58Z",
        "used by this call at 2026-05-11T12:35:04Z",
        "failed: files__write_file on files",
    ] {
        assert!(text.contains(line), "{line}\n\n{text}");
    }

    let all: Vec<Event> = asked.into_iter().chain([allowed, effect]).collect();
    let report = questions(&all, &named);
    assert_eq!((report.trace_id, report.traces.len(), report.calls.len()), (None, 2, 2));
    let text = render(&report);
    let head = "traces 0af7651916cd43dd8448eb211c80319c, b3c1f0de00000000000000000000beef, 2 calls\n";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("(call call-9, trace b3c1f0de00000000000000000000beef)"), "{text}");
}

/// A file that is plainly something else is no broken chain; a byte order mark is none either.
#[test]
fn what_is_no_export_is_told_as_what_it_is() {
    let check = |bytes: &[u8], expect: &str| {
        let error = verify_export(bytes, Coverage::Whole).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(b"\xFF\xFE{\0", "UTF-16");
    check(b"\xEF\xBB\xBFseq,timestamp,event_type\n1,x,y\n", "a CSV export");
    check(b"\n  [{\"seq\": 1}]\n", "a JSON array");
    check(b"{\"events\": [\n{}]}", "audit query --json");
    check(b"\x1F\x8B\x08\x00", "gzip");
    // What could be a damaged export is told as one.
    let report = verify_export(&b"\xEF\xBB\xBFgarbage\n"[..], Coverage::Whole).unwrap();
    assert_eq!(report.bad.unwrap().seq, 1);
}

/// R52 to R56.
#[test]
fn the_five_questions_are_answered_per_call() {
    let report = questions(&trace(), &named());
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
    assert_eq!(report.other.iter().map(|e| e.evidence.seq).collect::<Vec<_>>(), [7]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["calls"][0]["executed"]["cost_usd"], serde_json::json!(0.9));
}

#[test]
fn the_report_fits_a_screen_and_shows_no_hidden_characters() {
    let text = render(&questions(&trace(), &named()));
    let expected = [
        "trace 0af7651916cd43dd8448eb211c80319c, 2 calls",
        "agent planner-01 (planner), workflow wf-123",
        "approved by prod-safety-gate, rule production: alice approved",
        "estimate 1.25 USD, policies abc123",
        "required, consumed: production changes need a person (approval approval-1)",
        "approved by alice at 2026-05-11T12:34:59Z through inbox, comment: fine[U+202E], evidence: CHG-7",
        "used by this call at 2026-05-11T12:35:00Z",
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
    let report = questions(&[], &NamedApprovals::default());
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

/// Every kind of record is a line of OCSF's API Activity, by the schema that is published.
#[test]
fn ocsf_lines_fit_the_published_schema() {
    let schema = include_str!("../../tests/fixtures/ocsf-1.8.0-api-activity.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let check = |event: &Event| {
        let line = ocsf(event);
        let errors: Vec<String> =
            schema.iter_errors(&line).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{line:#}");
        assert!(!line.to_string().contains(":null"), "{line:#}");
        assert_eq!((&line["class_uid"], &line["activity_id"]), (&json!(6003), &json!(99)));
        line
    };
    for kind in EventType::ALL {
        check(&event(1, *kind, None));
        check(&event(1, *kind, Some("c-1")));
    }
    let ids = |line: &Value| (line["status_id"].clone(), line["action_id"].clone());
    for decision in EventDecision::ALL {
        let line = check(&decided(2, "c-1", *decision, "because"));
        match decision {
            EventDecision::Allow | EventDecision::Approved => assert_eq!(ids(&line), (json!(1), json!(1))),
            EventDecision::AllowWithConstraints => assert_eq!(ids(&line), (json!(1), json!(4))),
            EventDecision::PendingApproval => assert_eq!(ids(&line), (json!(99), json!(99))),
            _ => assert_eq!(ids(&line), (json!(2), json!(2)), "{decision:?}"),
        }
    }
    for (outcome, status) in [(Outcome::Succeeded, 1), (Outcome::Failed, 2), (Outcome::Unknown, 0)] {
        let mut side_effect = event(3, EventType::AgentSideEffect, Some("c-1"));
        side_effect.draft.outcome = Some(outcome);
        side_effect.draft.cost_usd = Some(MicroUsd(1500));
        side_effect.draft.user = Some(PersonId::from("alice"));
        assert_eq!(check(&side_effect)["status_id"], json!(status));
    }
    assert_eq!(check(&event(4, EventType::Alert, None))["is_alert"], json!(true));
    assert!(schema.validate(&json!({"class_uid": 6003})).is_err());
}
