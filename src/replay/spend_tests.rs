//! Sums, tasks and errors, from records that are made up.

use super::*;
use serde_json::json;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_778_500_800 + minutes * 60).unwrap()
}

fn call(agent: &str, workflow: &str, minutes: i64, cost: i64, detail: Value) -> (Timestamp, EventDraft) {
    let mut event = EventDraft::system(EventType::AgentSideEffect, at(minutes));
    event.agent_id = Some(agent.into());
    event.workflow_id = Some(workflow.into());
    event.tool = Some("files__read".into());
    event.user = Some("alice".into());
    event.policy_snapshot = Some("s".into());
    event.cost_usd = Some(MicroUsd(cost));
    event.cost_estimate_usd = Some(MicroUsd(cost * 2));
    event.outcome = Some(Outcome::Succeeded);
    event.detail = Some(detail);
    (event.timestamp, event)
}

fn search(agent: &str, minutes: i64, full: u64, taken: u64) -> (Timestamp, EventDraft) {
    let mut event = EventDraft::system(EventType::AgentDecision, at(minutes));
    event.agent_id = Some(agent.into());
    event.action = Some(FIND_ACTION.into());
    event.decision = Some(EventDecision::Allow);
    event.detail = Some(json!({"tokens": {"full": full, "listed": 300, "search": taken}}));
    (event.timestamp, event)
}

fn report(events: Vec<(Timestamp, EventDraft)>) -> SpendReport {
    let mut spend = Spend::new(at(0), at(10_000));
    for (at, event) in events {
        let model = |_: &SnapshotId, agent: &AgentId| (agent.as_str() == "a").then(|| Arc::from("gpt-4o"));
        if let Some(seen) = spent(&event, &model) {
            spend.take(at, seen);
        }
    }
    spend.report()
}

/// R37, R40
#[test]
fn spend_is_added_up_by_every_kind_of_name() {
    let told = report(vec![
        call("a", "wf-1", 0, 5_000, json!({"argument_tokens": 10, "result_tokens": 90})),
        call("a", "wf-2", 1_500, 1_000, json!({"result_tokens": 9})),
        call("b", "wf-1", 1_500, 9_000, json!({})),
    ]);
    let of = |lines: &[Named]| -> Vec<(String, u64, i64)> {
        lines
            .iter()
            .map(|one| (one.name.as_deref().unwrap_or("-").to_owned(), one.line.calls, one.line.cost_usd.0))
            .collect()
    };
    assert_eq!(of(&told.agent), [("b".into(), 1, 9_000), ("a".into(), 2, 6_000)]);
    assert_eq!(of(&told.workflow), [("wf-1".into(), 2, 14_000), ("wf-2".into(), 1, 1_000)]);
    assert_eq!(of(&told.model), [("-".into(), 1, 9_000), ("gpt-4o".into(), 2, 6_000)]);
    assert_eq!(of(&told.user), [("alice".into(), 3, 15_000)]);
    assert_eq!(of(&told.day), [("2026-05-11".into(), 1, 5_000), ("2026-05-12".into(), 2, 10_000)]);
    assert_eq!((told.total.tokens, told.total.estimate_usd.0), (109, 30_000));
    let text = json!(told);
    assert_eq!(text["agent"][0]["agent"], "b");
    assert_eq!(text["workflow"][0]["cost_usd"], json!(0.014));
    assert_eq!(text["model"][0]["model"], Value::Null);
    assert_eq!(text["calls"], 3);
    let names: Vec<&str> = told.throttles.iter().map(|one| one.workflow.as_str()).collect();
    assert_eq!(names, ["wf-1", "wf-2"]);
    let file = told.proposal.unwrap();
    assert_eq!(file.name, "spend-throttles.yaml");
    assert!(file.text.contains("spend-throttle-wf-1") && file.text.contains("report spend"), "{}", file.text);
}

#[test]
fn nothing_spent_proposes_nothing() {
    let told = report(Vec::new());
    assert_eq!((told.total, told.proposal, told.estimates.len()), (SpendLine::default(), None, 0));
}

/// R35
#[test]
fn errors_of_estimates_are_told_by_tool() {
    let result = |expected: u64, took: u64| json!({"expected_tokens": expected, "result_tokens": took});
    let mut events: Vec<_> = (0..9).map(|n| call("a", "w", n, 1, result(100, 100))).collect();
    events.push(call("a", "w", 9, 1, result(10, 100)));
    events.push(call("a", "w", 10, 1, result(100_000, 1)));
    let told = report(events);
    let errors: Vec<_> =
        told.estimates.iter().map(|one| (one.tool.as_deref(), one.calls, one.median, one.p90)).collect();
    assert_eq!(errors, [(None, 11, 0.0, 0.9), (Some("files__read"), 11, 0.0, 0.9)]);
}

/// Both ways: a task of many calls saves the list, one that searches and searches pays for it.
#[test]
fn what_searching_saved_is_told_for_each_finished_task() {
    let told = report(vec![
        search("a", 0, 9_000, 500),
        call("a", "wf", 1, 1, json!({})),
        call("a", "wf", 9, 1, json!({})),
        // After a pause it is another task.
        search("a", 30, 9_000, 5_000),
        search("a", 31, 9_000, 5_000),
        search("b", 32, 400, 100),
        // This one is not over.
        search("b", 9_995, 400, 100),
    ]);
    let tasks: Vec<_> = told
        .search
        .newest
        .iter()
        .map(|task| (task.agent.as_str(), task.calls, task.searches, task.saved_tokens))
        .collect();
    assert_eq!(tasks, [("a", 0, 2, -1_300), ("b", 0, 1, 0), ("a", 2, 1, 8_200)]);
    let savings = told.search;
    assert_eq!((savings.tasks, savings.cheaper, savings.dearer, savings.saved_tokens), (3, 1, 1, 6_900));
}

#[test]
fn names_without_end_are_told_together() {
    let events = (0..MOST_NAMES as i64 + 500).map(|n| call(&format!("agent-{n}"), "w", 0, n, json!({})));
    let told = report(events.collect());
    assert!(told.truncated);
    assert_eq!(told.agent.len(), MOST_TOLD + 1);
    assert_eq!(told.agent.iter().map(|one| one.line.calls).sum::<u64>(), MOST_NAMES as u64 + 500);
    assert_eq!(told.agent.last().unwrap().name.as_deref(), Some(OTHERS));
}
