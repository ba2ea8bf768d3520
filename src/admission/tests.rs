//! The rules, one by one. Whole histories are in `tests/admission_model.rs`.

use super::*;
use crate::{
    cost::{BudgetAction, BudgetWindow},
    decision::{BudgetLimit, RateLimit},
    model::{ApprovalStatus, EventDecision, MicroUsd, PolicyId},
    policy::{LoopKind, LoopRule, LoopRules, Violation},
};
use std::{convert::Infallible, sync::Arc, time::Duration};

const NOON: i64 = 1_778_500_800_000_000;
const SECOND: i64 = 1_000_000;

fn budget(id: &str, window: BudgetWindow, calls: Option<u64>, tokens: Option<u64>) -> BudgetLimit {
    BudgetLimit {
        id: PolicyId::from(id),
        key: Arc::from("all"),
        window,
        zone: None,
        max_calls: calls,
        max_tokens: tokens,
        max_cost: None,
        on_exceed: BudgetAction::Throttle,
        alert_at: Arc::default(),
        strict: false,
    }
}

fn rate(id: &str, calls: u64, on_violation: Violation) -> RateLimit {
    RateLimit { policy_id: PolicyId::from(id), max_calls: Some(calls), max_cost: None, on_violation }
}

fn request<'r>(seq: i64, now: i64, tokens: u64, limits: &[Limit<'r>]) -> Request<'r> {
    Request {
        now,
        owner: 1,
        seq,
        agent: "a",
        limits: limits.to_vec(),
        repeats: None,
        loops: Vec::new(),
        tool: "t",
        need: Usage { calls: 1, tokens: amount(tokens), cost: 0 },
        stretch: None,
        approval: None,
        grant: None,
    }
}

/// Judges, and takes in what follows.
fn run(state: &mut State, request: &Request<'_>) -> Outcome {
    state.advance(request);
    let outcome = admit(state, request).outcome;
    if let Outcome::Granted(effects) = &outcome {
        effects.iter().for_each(|effect| state.apply(effect.clone()));
    }
    outcome
}

fn granted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Granted(_))
}

fn refusal(outcome: Outcome) -> (LimitRefusal, bool) {
    match outcome {
        Outcome::Refused { refusal, held_by_others, .. } => (refusal, held_by_others),
        other => panic!("{other:?}"),
    }
}

/// R36, R38: what is reserved counts until it is settled, and what is unknown stays counted.
#[test]
fn a_reservation_becomes_what_the_call_took() {
    let day = budget("day", BudgetWindow::Day, None, Some(100));
    let minute = budget("minute", BudgetWindow::Minute, None, Some(100));
    let limits = [Limit::budget(&day, 1, NOON), Limit::budget(&minute, 2, NOON)];
    let check = |end: End, left: u64| {
        let mut state = State::default();
        assert!(granted(&run(&mut state, &request(1, NOON, 80, &limits))));
        assert!(!granted(&run(&mut state, &request(2, NOON, 21, &limits))));
        let closed = settle(&state, 1, end).unwrap();
        state.apply(closed);
        // A second end changes nothing.
        assert_eq!(settle(&state, 1, End::NeverDispatched), None);
        assert!(!granted(&run(&mut state, &request(4, NOON, left + 1, &limits))), "{end:?}");
        assert!(granted(&run(&mut state, &request(5, NOON, left, &limits))), "{end:?}");
    };
    check(End::Settled { tokens: Some(30), cost: None }, 70);
    check(End::Settled { tokens: None, cost: Some(MicroUsd(5)) }, 20);
    check(End::NeverDispatched, 100);
    check(End::Unknown, 20);
}

/// A call that took more than it reserved counts with all of it, and the next waits.
#[test]
fn an_overshoot_counts() {
    let day = budget("day", BudgetWindow::Day, None, Some(100));
    let limits = [Limit::budget(&day, 1, NOON)];
    let mut state = State::default();
    assert!(granted(&run(&mut state, &request(1, NOON, 10, &limits))));
    let closed = settle(&state, 1, End::Settled { tokens: Some(130), cost: None }).unwrap();
    state.apply(closed);
    let (refusal, _) = refusal(run(&mut state, &request(3, NOON, 0, &limits)));
    assert_eq!(refusal.retry_after_ms, Some(12 * 3_600_000), "{}", refusal.reason);
    assert!(refusal.reason.contains("100 tokens this day, 130 are used"), "{}", refusal.reason);
}

/// The strictest full limit speaks; of two alike the first.
#[test]
fn the_strictest_limit_speaks() {
    let none =
        |id: &str, on_exceed| BudgetLimit { on_exceed, ..budget(id, BudgetWindow::Ever, Some(0), None) };
    let (ask, slow) = (none("ask", BudgetAction::RequireApproval), none("slow", BudgetAction::Throttle));
    let (late, stop) = (none("late", BudgetAction::Throttle), none("stop", BudgetAction::Deny));
    let quick = rate("quick", 0, Violation::Deny);
    let of = |budget| Limit::budget(budget, 1, NOON);
    let check = |limits: &[Limit<'_>], repeats: Option<RepeatLimit>, expect: &str, decision| {
        let asked = Request { repeats, ..request(1, NOON, 0, limits) };
        let (refusal, _) = refusal(run(&mut State::default(), &asked));
        assert_eq!((refusal.policy_id.as_str(), refusal.decision), (expect, decision));
    };
    let looping = Some(RepeatLimit { key: 7, max: 0 });
    check(&[of(&ask)], None, "ask", EventDecision::PendingApproval);
    check(&[of(&ask), of(&slow), of(&late)], None, "slow", EventDecision::Throttle);
    check(&[of(&ask), of(&slow)], looping, "loop", EventDecision::Throttle);
    check(&[of(&slow), of(&stop)], looping, "stop", EventDecision::Deny);
    check(&[Limit::rate(&quick, "a", 2), of(&stop)], None, "quick", EventDecision::Deny);
}

/// R37: what has left the last minute makes room, and the refusal says when.
#[test]
fn a_throttle_says_when_there_is_room() {
    let quick = rate("quick", 2, Violation::Throttle);
    let limits = [Limit::rate(&quick, "a", 1)];
    let mut state = State::default();
    for (seq, at) in [(1, NOON), (2, NOON + 7 * SECOND)] {
        assert!(granted(&run(&mut state, &request(seq, at, 0, &limits))));
    }
    let now = NOON + 20 * SECOND;
    let (refusal, held) = refusal(run(&mut state, &request(3, now, 0, &limits)));
    assert_eq!((refusal.retry_after_ms, held), (Some(40_000), false));
    assert!(!granted(&run(&mut state, &request(3, NOON + MINUTE - 1, 0, &limits))));
    assert!(granted(&run(&mut state, &request(3, NOON + MINUTE, 0, &limits))));
    // A state that was not brought to the time counts too much, never too little.
    let late = request(4, NOON + 10 * MINUTE, 0, &limits);
    assert!(!granted(&admit(&state, &late).outcome));
    state.advance(&late);
    assert!(granted(&admit(&state, &late).outcome));
}

/// Loops are one for all calls of an agent, asks included; an approval lets a repeat through, which counted as it was asked about.
#[test]
fn repeats_are_counted_with_asks() {
    let mut state = State::default();
    let key = repeat_key("a", "digest");
    assert_ne!(key, repeat_key("b", "digest"));
    let repeats = Some(RepeatLimit { key, max: 3 });
    let again = |seq, now| Request { repeats, ..request(seq, now, 0, &[]) };
    let asked = state.asked(key, NOON);
    state.apply(asked);
    assert!(granted(&run(&mut state, &again(2, NOON + SECOND))));
    assert!(granted(&run(&mut state, &again(3, NOON + 2 * SECOND))));
    let (refusal, _) = refusal(run(&mut state, &again(4, NOON + 3 * SECOND)));
    assert_eq!((refusal.policy_id.as_str(), refusal.retry_after_ms), ("loop", Some(57_000)));
    let record = record();
    let approval = Some(Named { id: &record.id, binding: &record.binding, found: Some(&record) });
    assert!(granted(&run(&mut state, &Request { approval, ..again(4, NOON + 3 * SECOND) })));
    assert_eq!(state.repeated(key, NOON + 3 * SECOND), 3);
    assert_eq!(state.repeated(key, NOON + MINUTE), 2);
}

/// Only tokens and money come back with a settlement: nobody waits for calls of others.
#[test]
fn what_others_hold_is_told() {
    let tokens = budget("tokens", BudgetWindow::Day, None, Some(10));
    let calls = budget("calls", BudgetWindow::Day, Some(1), None);
    let check = |budget: &BudgetLimit, owner: i64, expect: bool| {
        let limits = [Limit::budget(budget, 1, NOON)];
        let mut state = State::default();
        assert!(granted(&run(&mut state, &request(1, NOON, 10, &limits))));
        let (_, held) = refusal(run(&mut state, &Request { owner, ..request(2, NOON, 10, &limits) }));
        assert_eq!(held, expect, "{owner} {budget:?}");
    };
    check(&tokens, 2, true);
    check(&tokens, 1, false);
    check(&calls, 2, false);
}

/// One alert for a calendar window, and one in a minute for a rolling one.
#[test]
fn an_alert_is_due_once() {
    for (window, times) in [(BudgetWindow::Day, 1), (BudgetWindow::Minute, 2)] {
        let counted = BudgetLimit { alert_at: [50].into(), ..budget("b", window, Some(1_000), Some(20)) };
        let mut state = State::default();
        let mut alerts = Vec::new();
        for seq in 1..=4 {
            let now = NOON + seq * 25 * SECOND;
            let limits = [Limit::budget(&counted, 1, now)];
            let Outcome::Granted(effects) = run(&mut state, &request(seq, now, 5, &limits)) else {
                continue;
            };
            alerts.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Alerted(alert) => Some(alert),
                _ => None,
            }));
        }
        assert_eq!(alerts.len(), 1, "{window:?}");
        assert!(alerts[0].sentence.contains("has reached 50 %: 10 of 20 tokens"), "{}", alerts[0].sentence);
        let now = alerts[0].at + MINUTE;
        let limits = [Limit::budget(&counted, 1, now)];
        let more = run(&mut state, &request(9, now, 9, &limits));
        let Outcome::Granted(effects) = more else { continue };
        let again = effects.iter().filter(|effect| matches!(effect, Effect::Alerted(_))).count();
        assert_eq!(1 + again, times, "{window:?}");
    }
}

/// The calls of an agent, some seconds apart, under rules about loops.
struct Looping {
    state: State,
    rules: LoopRules,
    seq: i64,
    now: i64,
}

impl Looping {
    fn under(rules: LoopRules) -> Self {
        Self { state: State::default(), rules, seq: 0, now: NOON }
    }

    /// A call of `tool`, which fails where that is said: what kind of loop it is refused as, and how long it has to wait.
    fn call(&mut self, agent: &str, tool: &str, arguments: &str, fails: bool) -> Option<(LoopKind, u64)> {
        self.seq += 1;
        let shape = arguments.trim_end_matches(char::is_numeric);
        let watch = LoopWatch { rules: self.rules, shape: Some(shape.into()) };
        let digest = format!("{tool} {arguments}").as_str().into();
        let loops = watch.checks(agent, Some("wf"), tool, &digest);
        let repeats = Some(RepeatLimit { key: repeat_key(agent, &digest), max: 20 });
        let asked = Request { agent, tool, loops, repeats, ..request(self.seq, self.now, 0, &[]) };
        match run(&mut self.state, &asked) {
            Outcome::Granted(_) => {
                if let Some(ended) = self.state.ended(self.seq, fails, self.now) {
                    self.state.apply(ended);
                }
                let closed = settle(&self.state, self.seq, End::NeverDispatched).unwrap();
                self.state.apply(closed);
                None
            }
            Outcome::Refused { refusal, .. } => {
                assert_eq!((refusal.policy_id.as_str(), refusal.decision), ("loop", EventDecision::Throttle));
                assert!(
                    refusal.reason.chars().count() < 240 && !refusal.reason.contains('\n'),
                    "{}",
                    refusal.reason
                );
                Some((refusal.looping.unwrap().0, refusal.retry_after_ms.unwrap()))
            }
            Outcome::Unusable(reason) => panic!("{reason}"),
        }
    }

    fn later(&mut self, seconds: i64) {
        self.now += seconds * SECOND;
    }
}

fn rule(count: u32, window_s: u32) -> Option<LoopRule> {
    Some(LoopRule { count, window_s })
}

/// R39
#[test]
fn nearly_identical_calls_are_a_loop_and_pages_of_a_patient_agent_are_none() {
    let mut agent = Looping::under(LoopRules { similar: rule(30, 60), ..LoopRules::default() });
    for page in 0..30 {
        assert_eq!(agent.call("a", "search", &format!("page {page}"), false), None);
        agent.later(1);
    }
    assert_eq!(agent.call("a", "search", "page 30", false), Some((LoopKind::Similar, 30_000)));
    // Another tool, other words, another agent.
    assert_eq!(agent.call("a", "read", "page 30", false), None);
    assert_eq!(agent.call("a", "search", "mail 1", false), None);
    assert_eq!(agent.call("b", "search", "page 30", false), None);
    agent.later(30);
    assert_eq!(agent.call("a", "search", "page 30", false), None);
    // A page every three seconds is nobody's loop, however long it goes on.
    let mut patient = Looping::under(LoopRules { similar: rule(30, 60), ..LoopRules::default() });
    for page in 0..500 {
        assert_eq!(patient.call("a", "search", &format!("page {page}"), false), None);
        patient.later(3);
    }
}

/// R39
#[test]
fn calls_that_take_turns_are_a_loop_until_something_else_is_done() {
    let rules = LoopRules { alternating: rule(6, 60), ..LoopRules::default() };
    let mut agent = Looping::under(rules);
    for _ in 0..6 {
        assert_eq!(agent.call("a", "read", "x", false), None);
        assert_eq!(agent.call("a", "write", "x", false), None);
        agent.later(1);
    }
    assert_eq!(agent.call("a", "read", "x", false), Some((LoopKind::Alternating, 54_000)));
    // The other one neither: what was refused breaks nothing.
    assert_eq!(agent.call("a", "write", "x", false), Some((LoopKind::Alternating, 54_000)));
    assert_eq!(agent.call("a", "write", "x", false), Some((LoopKind::Alternating, 54_000)));
    assert_eq!(agent.call("b", "read", "x", false), None);
    assert_eq!(agent.call("a", "read", "y", false), None);
    assert_eq!(agent.call("a", "read", "x", false), None);
    // Three that take turns are one too.
    let mut three = Looping::under(rules);
    for _ in 0..6 {
        for tool in ["plan", "act", "check"] {
            assert_eq!(three.call("a", tool, "x", false), None);
        }
    }
    assert_eq!(three.call("a", "check", "x", false).unwrap().0, LoopKind::Alternating);
    // Work that goes on is none, nor is a status that is asked for in between, nor what is slow.
    let mut works = Looping::under(rules);
    for n in 0..200 {
        assert_eq!(works.call("a", "status", "x", false), None);
        assert_eq!(works.call("a", "write", &format!("part {n}"), false), None);
        works.later(4);
    }
    let mut slow = Looping::under(rules);
    for _ in 0..100 {
        assert_eq!(slow.call("a", "status", "x", false), None);
        assert_eq!(slow.call("a", "logs", "x", false), None);
        slow.later(11);
    }
}

/// R39
#[test]
fn failures_in_a_row_are_a_storm_and_one_success_ends_it() {
    let rules = LoopRules { errors: rule(5, 60), ..LoopRules::default() };
    let mut agent = Looping::under(rules);
    for n in 0..5 {
        assert_eq!(agent.call("a", "send", &format!("try {n}"), true), None);
        agent.later(2);
    }
    assert_eq!(agent.call("a", "send", "try 6", true), Some((LoopKind::Errors, 50_000)));
    assert_eq!(agent.call("b", "send", "try 6", true), None);
    assert_eq!(agent.call("a", "read", "x", true), None);
    agent.later(50);
    // One is let through; where it fails, it is a storm still.
    assert_eq!(agent.call("a", "send", "try 7", true), None);
    assert_eq!(agent.call("a", "send", "try 8", true).unwrap().0, LoopKind::Errors);
    agent.later(60);
    assert_eq!(agent.call("a", "send", "try 9", false), None);
    // A tool that fails half of the time works.
    for n in 0..100 {
        assert_eq!(agent.call("a", "send", &format!("mail {n}"), n % 3 != 0), None);
    }
}

/// R39
#[test]
fn a_flood_of_an_agent_or_of_its_workflow_is_stopped() {
    let mut flood = Looping::under(LoopRules { fan_out: rule(40, 10), ..LoopRules::default() });
    for n in 0..40 {
        assert_eq!(flood.call(if n % 2 == 0 { "a" } else { "b" }, "t", &format!("{n} x{n}"), false), None);
    }
    // Each agent has made half of them: it is the workflow's.
    assert_eq!(flood.call("a", "t", "more", false), Some((LoopKind::FanOut, 10_000)));
    flood.later(10);
    assert_eq!(flood.call("a", "t", "more", false), None);
}

#[test]
fn a_loop_is_alerted_once_for_a_tool_and_a_window() {
    let mut state = State::default();
    let alert = |state: &mut State, tool, now| {
        let told = state.loop_alert("a", tool, 60, now);
        told.inspect(|effect| state.apply(effect.clone())).is_some()
    };
    assert!(alert(&mut state, "t", NOON));
    assert!(!alert(&mut state, "t", NOON + 59 * SECOND));
    assert!(alert(&mut state, "u", NOON));
    assert!(alert(&mut state, "t", NOON + 60 * SECOND));
    state.forget(NOON + 600 * SECOND);
    assert!(alert(&mut state, "t", NOON + 600 * SECOND));
}

fn alerts(effects: Vec<Effect>) -> Vec<Alert> {
    let alert = |effect| match effect {
        Effect::Alerted(alert) => Some(alert),
        _ => None,
    };
    effects.into_iter().filter_map(alert).collect()
}

/// Each share of a cap is told once in a window, whoever reaches it: a call, a call that was larger than it said, or one that
/// is refused.
#[test]
fn each_step_alerts_once() {
    let counted =
        BudgetLimit { alert_at: [50, 80, 100].into(), ..budget("b", BudgetWindow::Day, None, Some(100)) };
    let limits = [Limit::budget(&counted, 1, NOON)];
    let mut state = State::default();
    let steps = |alerts: &[Alert]| alerts.iter().map(|alert| alert.step).collect::<Vec<_>>();
    let Outcome::Granted(effects) = run(&mut state, &request(1, NOON, 49, &limits)) else { unreachable!() };
    assert_eq!(steps(&alerts(effects)), [0; 0]);
    // Two are reached at once.
    let Outcome::Granted(effects) = run(&mut state, &request(2, NOON, 31, &limits)) else { unreachable!() };
    let told = alerts(effects);
    assert_eq!(steps(&told), [50, 80]);
    assert_eq!(told[1].sentence, "budget `b` of `all` has reached 80 %: 80 of 100 tokens this day");
    // The first call was larger than it said.
    state.apply(settle(&state, 1, End::Settled { tokens: Some(500), cost: None }).unwrap());
    let told = alerts(overshot(&state, &limits, NOON));
    assert_eq!(steps(&told), [100]);
    let refused = |state: &State, seq| match admit(state, &request(seq, NOON, 1, &limits)).outcome {
        Outcome::Refused { alerts, .. } => alerts,
        other => panic!("{other:?}"),
    };
    // Nobody took that alert in: the next refusal tells of it, and no other does.
    let effects = refused(&state, 3);
    assert_eq!(steps(&alerts(effects.clone())), [100]);
    effects.into_iter().for_each(|effect| state.apply(effect));
    assert_eq!(alerts(refused(&state, 4)).len(), 0);
    assert_eq!(alerts(overshot(&state, &limits, NOON)).len(), 0);
    // The next day starts from zero.
    let tomorrow = NOON + 24 * 60 * MINUTE;
    let limits = [Limit::budget(&counted, 1, tomorrow)];
    let Outcome::Granted(effects) = run(&mut state, &request(5, tomorrow, 60, &limits)) else {
        unreachable!()
    };
    assert_eq!(steps(&alerts(effects)), [50]);
}

/// A budget that stops calls which would fit into it alone is used up; one that no call of that size fits into is not.
#[test]
fn a_budget_that_stops_calls_is_used_up() {
    let counted = BudgetLimit { alert_at: [100].into(), ..budget("b", BudgetWindow::Day, None, Some(100)) };
    let limits = [Limit::budget(&counted, 1, NOON)];
    let check = |used: u64, need: u64, expect: usize| {
        let mut state = State::default();
        assert!(granted(&run(&mut state, &request(1, NOON, used, &limits))));
        match admit(&state, &request(2, NOON, need, &limits)).outcome {
            Outcome::Refused { alerts: told, .. } => assert_eq!(alerts(told).len(), expect, "{used} {need}"),
            other => panic!("{other:?}"),
        }
    };
    check(95, 10, 1);
    check(95, 101, 0);
}

/// A reset takes away what was counted, and nothing of what calls in flight hold: as they end they are settled as ever.
#[test]
fn a_reset_keeps_what_calls_in_flight_hold() {
    for (window, start) in [(BudgetWindow::Day, Some(NOON - 12 * 60 * MINUTE)), (BudgetWindow::Minute, None)]
    {
        let counted = BudgetLimit { alert_at: [50].into(), ..budget("b", window, Some(10), Some(100)) };
        let limits = [Limit::budget(&counted, 1, NOON)];
        let mut state = State::default();
        for seq in 1..=3 {
            assert!(granted(&run(&mut state, &request(seq, NOON, 30, &limits))));
        }
        state.apply(settle(&state, 1, End::Settled { tokens: Some(5), cost: None }).unwrap());
        state.apply(settle(&state, 2, End::Unknown).unwrap());
        assert!(!granted(&run(&mut state, &request(4, NOON, 40, &limits))));
        let stands = |state: &State| state.of(&limits[0]);
        assert_eq!(stands(&state).usage, Usage { calls: 3, tokens: 65, cost: 0 });
        let reset = Effect::Reset(Reset { counter: 1, start });
        assert_eq!(state.touched(&reset).len(), 1);
        state.apply(reset.clone());
        assert_eq!(
            stands(&state),
            WindowUsage { usage: Usage { calls: 1, tokens: 30, cost: 0 }, ..WindowUsage::default() }
        );
        // A second one changes nothing.
        state.apply(reset);
        assert_eq!(stands(&state).usage, Usage { calls: 1, tokens: 30, cost: 0 });
        // The call in flight took less than it held, and one that ended before it changes nothing.
        state.apply(settle(&state, 3, End::Settled { tokens: Some(10), cost: None }).unwrap());
        assert_eq!(settle(&state, 1, End::NeverDispatched), None);
        assert_eq!(stands(&state).usage, Usage { calls: 1, tokens: 10, cost: 0 });
        // It alerts again.
        let Outcome::Granted(effects) = run(&mut state, &request(5, NOON, 90, &limits)) else {
            unreachable!()
        };
        assert_eq!(alerts(effects).len(), 1, "{window:?}");
    }
}

fn record() -> ApprovalRecord {
    serde_json::from_value(serde_json::json!({
        "id": "apr-1", "version": 4, "status": "approved",
        "binding": {"agent": "a", "tool": "t", "fingerprint": "f", "digest": "d", "call": "c", "snapshot": "s"},
        "call_id": "call", "trace_id": "0af7651916cd43dd8448eb211c80319c", "workflow_id": null, "upstream": "u",
        "action": "x", "arguments": {}, "redacted": false, "policy_id": "gate", "rule_id": null, "reason": "r",
        "cost_estimate_usd": 0, "operator": null, "attended": false,
        "requirements": [{
            "policy_id": "gate", "rule_id": null, "reason": "r", "approvers": [], "quorum": 1,
            "evidence_required": false, "separate": false, "channels": [], "escalation": null
        }],
        "created_at": "2026-05-11T12:00:00Z", "expires_at": "2026-05-11T12:15:00Z", "answers": []
    }))
    .unwrap()
}

/// I4, R22: bound to one call under one bundle, until its expiry and not at it, once.
#[test]
fn an_approval_is_used_by_its_call_once() {
    let approved = record();
    let expires = approved.expires_at.as_microsecond();
    let used = approved.consumed();
    assert_eq!((used.status, used.version), (ApprovalStatus::Consumed, 5));
    let with = |status| ApprovalRecord { status, ..record() };
    let mut elsewhere = record().binding;
    elsewhere.snapshot = "another".into();
    let check =
        |found: Option<&ApprovalRecord>, binding: &ApprovalBinding, now: i64, expect: Option<&str>| {
            let named = Named { id: &approved.id, binding, found };
            let request = Request { approval: Some(named), ..request(1, now, 0, &[]) };
            match (run(&mut State::default(), &request), expect) {
                (Outcome::Granted(effects), None) => {
                    assert_eq!(effects[0], Effect::Consumed(Box::new(used.clone())));
                }
                (Outcome::Unusable(reason), Some(part)) => assert!(reason.contains(part), "{reason}"),
                (other, _) => panic!("{other:?}"),
            }
        };
    let own = &approved.binding;
    check(Some(&approved), own, expires - 1, None);
    check(Some(&approved), own, expires, Some("has expired"));
    check(Some(&approved), &elsewhere, NOON, Some("another call"));
    check(Some(&used), own, NOON, Some("used already"));
    check(Some(&with(ApprovalStatus::Pending)), own, NOON, Some("not been decided"));
    check(Some(&with(ApprovalStatus::Rejected)), own, NOON, Some("was rejected"));
    check(Some(&with(ApprovalStatus::Cancelled)), own, NOON, Some("withdrawn"));
    check(Some(&with(ApprovalStatus::Expired)), own, NOON, Some("has expired"));
    check(None, own, NOON, Some("there is no approval `apr-1`"));
}

/// A person excuses the budget that asked them, and no other; a full budget uses no approval up.
#[test]
fn an_approval_excuses_the_budget_that_asked() {
    let record = record();
    let asks = |id: &str| BudgetLimit {
        on_exceed: BudgetAction::RequireApproval,
        ..budget(id, BudgetWindow::Day, Some(0), None)
    };
    let (own, other) = (asks("gate"), asks("other"));
    let stops = BudgetLimit { on_exceed: BudgetAction::Deny, ..own.clone() };
    let approval = Some(Named { id: &record.id, binding: &record.binding, found: Some(&record) });
    let check = |budget: &BudgetLimit, expect: bool| {
        let limits = [Limit::budget(budget, 1, NOON)];
        let outcome = run(&mut State::default(), &Request { approval, ..request(1, NOON, 0, &limits) });
        assert_eq!(granted(&outcome), expect, "{outcome:?}");
    };
    check(&own, true);
    check(&other, false);
    check(&stops, false);
}

/// What is said of an agent, figure by figure.
struct Said {
    pending: usize,
    rejected: Vec<i64>,
    unapproved: Vec<i64>,
}

impl AskHistory for Said {
    type Error = Infallible;

    fn pending(&mut self, _: i64) -> Result<usize, Infallible> {
        Ok(self.pending)
    }

    fn rejected(&mut self, after: i64, nth: usize) -> Result<Option<i64>, Infallible> {
        Ok(self.rejected.iter().copied().filter(|at| *at > after).nth(nth))
    }

    fn unapproved(&mut self, after: i64, nth: usize) -> Result<Option<i64>, Infallible> {
        Ok(self.unapproved.iter().copied().filter(|at| *at > after).nth(nth))
    }
}

#[test]
fn asks_are_bounded_by_what_became_of_the_last_ones() {
    let limits = AskLimits { pending: 3, rejected: 2, unapproved: 4, window: Duration::from_secs(600) };
    let check = |pending, rejected: &[i64], unapproved: &[i64], expect: Option<(&str, u64)>| {
        let ago = |seconds: &[i64]| seconds.iter().map(|ago| NOON - ago * SECOND).collect();
        let mut said = Said { pending, rejected: ago(rejected), unapproved: ago(unapproved) };
        let Ok(refused) = limits.refusal(NOON, &mut said);
        let told = refused.map(|refusal| (refusal.reason, refusal.retry_after_ms.unwrap()));
        assert_eq!(told.is_some(), expect.is_some(), "{told:?}");
        if let (Some((reason, wait)), Some((part, expected))) = (told, expect) {
            assert!(reason.contains(part) && wait == expected, "{reason} {wait}");
        }
    };
    check(2, &[1], &[1, 2, 3], None);
    check(3, &[], &[], Some(("3 calls of this agent wait", 60_000)));
    check(0, &[10, 590, 599], &[], Some(("rejected 2 calls of this agent within 10m", 10_000)));
    check(0, &[10, 600], &[], None);
    check(0, &[], &[1, 2, 3, 400], Some(("4 calls of this agent were asked about", 200_000)));
    let Ok(free) =
        AskLimits::NONE.refusal(NOON, &mut Said { pending: 9, rejected: vec![], unapproved: vec![] });
    assert_eq!(free, None);
}
