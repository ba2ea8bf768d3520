//! The call that the store's benchmarks make: what is admitted, and how it is settled.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tollgate::{
    clock::{Clock as _, System},
    cost::{BudgetAction, BudgetWindow},
    decision::{BudgetLimit, RateLimit},
    model::{
        AgentId, CallId, CapabilityId, Digest, EventDecision, EventDraft, EventType, MicroUsd, Outcome,
        PolicyId, SnapshotId, TraceId, UpstreamName, WorkflowId,
    },
    policy::Violation,
    store::{AdmitRequest, Settlement, Unrecorded},
};

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn request(clock: &System) -> AdmitRequest {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = clock.now();
    let mut event = EventDraft::system(EventType::AgentDecision, now);
    event.trace_id = Some(TraceId::from_bytes((u128::from(n) * 0x9e37_79b9_7f4a_7c15).to_be_bytes()));
    event.workflow_id = Some(WorkflowId::from("wf-123"));
    event.agent_id = Some(AgentId::from("planner-01"));
    event.action = Some("files:write_file".into());
    event.policy_id = Some(PolicyId::from("default"));
    event.decision = Some(EventDecision::Allow);
    event.cost_estimate_usd = Some(MicroUsd(1_250));
    event.actor.kind = "agent".into();
    event.actor.role = Some("planner".into());
    event.call_id = Some(CallId::from(format!("01900000-0000-7000-8000-{n:012x}")));
    event.tool = Some("files__write_file".into());
    event.upstream = Some(UpstreamName::from("files"));
    event.capability_id = Some(CapabilityId::from("docs.write"));
    event.reason = Some("nothing stops it".into());
    event.policy_snapshot =
        Some(SnapshotId::from("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"));
    event.detail = Some(serde_json::json!({"arguments": {"path": "/srv/docs/a.txt", "content": "hello"}}));
    AdmitRequest {
        start: None,
        now,
        event,
        rates: vec![RateLimit {
            policy_id: PolicyId::from("agent_write"),
            max_calls: Some(1 << 40),
            max_cost: None,
            on_violation: Violation::Throttle,
        }],
        budgets: vec![BudgetLimit {
            id: PolicyId::from("daily"),
            key: Arc::from("planner-01"),
            window: BudgetWindow::Day,
            zone: None,
            max_calls: None,
            max_tokens: None,
            max_cost: Some(MicroUsd(1 << 50)),
            on_exceed: BudgetAction::Throttle,
            alert_at: std::sync::Arc::default(),
            strict: false,
        }],
        max_repeats: Some(10),
        loops: tollgate::admission::LoopWatch::default(),
        digest: Digest::from(format!("{n:064x}")),
        tokens: 200,
        cost: MicroUsd(1_250),
        elastic: None,
        approval: None,
        grant: None,
        subject: None,
        unrecorded: Unrecorded::None,
        read: Vec::new(),
    }
}

/// The settlement of a call that was admitted so.
pub(crate) fn settlement(mut event: EventDraft) -> Settlement {
    event.event_type = EventType::AgentSideEffect;
    event.outcome = Some(Outcome::Succeeded);
    event.duration_ms = Some(3);
    event.cost_usd = Some(MicroUsd(1_000));
    event.detail = None;
    let call_id = event.call_id.clone().unwrap_or_else(|| CallId::from(""));
    Settlement {
        call_id,
        event,
        tokens: Some(180),
        cost: Some(MicroUsd(1_000)),
        outcome: Outcome::Succeeded,
        learned: Some((tollgate::cost::SizeCell::new("files__write_file", 40, "a"), 180)),
    }
}
