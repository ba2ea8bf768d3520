use super::*;
use crate::model::{EventDecision, EventDraft, EventType, MicroUsd, Outcome};
use jiff::Timestamp;
use serde_json::json;

/// Minute 1,000 after a whole day.
const DAY: i64 = 20_000 * 1_440;

fn draft(kind: EventType, minute: i64, agent: &str, tool: &str) -> EventDraft {
    let mut event = EventDraft::system(kind, Timestamp::from_second((DAY + minute) * 60 + 59).unwrap());
    event.agent_id = Some(agent.into());
    event.tool = Some(tool.into());
    event
}

fn decided(minute: i64, agent: &str, tool: &str, decision: EventDecision) -> EventDraft {
    let mut event = draft(EventType::AgentDecision, minute, agent, tool);
    event.decision = Some(decision);
    event
}

fn ended(minute: i64, agent: &str, cost: i64, ms: u64) -> EventDraft {
    let mut event = draft(EventType::AgentSideEffect, minute, agent, "notes__read");
    event.upstream = Some("notes".into());
    event.outcome = Some(Outcome::Succeeded);
    event.cost_usd = Some(MicroUsd(cost));
    event.duration_ms = Some(ms);
    event.detail = Some(json!({"argument_tokens": 3, "result_tokens": 4}));
    event
}

/// Charts are for everybody, and what was asked at a URI is an argument.
#[test]
fn a_chart_tells_no_query() {
    let event = decided(0, "a", "https://h/find?q=4711", EventDecision::Allow);
    let body = event.body();
    let seen = Seen::read(&body).unwrap();
    assert_eq!(seen.names[1].as_deref(), Some("https://h/find?[withheld:string:6]"));
}

fn rollup(events: &[EventDraft]) -> Rollup {
    let mut rollup = Rollup::default();
    for event in events {
        if let Some(seen) = Seen::read(&event.body()) {
            rollup.add(&seen);
        }
    }
    rollup
}

fn ask(measure: Measure, by: By, (first, last): (i64, i64), step: &str) -> SeriesAsk {
    let at = |minute: i64| Timestamp::from_second((DAY + minute) * 60).unwrap();
    SeriesAsk::new((measure, by), (at(first), at(last)), Step::parse(step), Some(2)).unwrap()
}

fn draw(rollup: &Rollup, ask: SeriesAsk) -> DrawnSeries {
    let span = ask.span();
    let mut work = Figuring::new(Asked::Series(ask));
    loop {
        rollup.rows(span, &mut |row| work.take(row));
        if !work.again() {
            break;
        }
    }
    let Answer::Series(series) = work.finish() else { panic!("a series was asked for") };
    series
}

fn numbers(series: &DrawnSeries) -> Vec<(&str, Vec<i64>)> {
    let of = |group: &DrawnGroup| match &group.values {
        Values::Numbers(all) => all.clone(),
        Values::Durations(_) => panic!("numbers were asked for"),
    };
    series.groups.iter().map(|group| (&*group.name, of(group))).collect::<Vec<_>>()
}

#[test]
fn calls_are_counted_once_and_refusals_that_were_counted_are_each_one() {
    let mut many = decided(2, "b", "t", EventDecision::Deny);
    many.detail =
        Some(json!({"count": 40, "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}));
    let of = rollup(&[
        decided(0, "a", "t", EventDecision::Allow),
        decided(0, "a", "t", EventDecision::PendingApproval),
        decided(1, "a", "t", EventDecision::Approved),
        many,
    ]);
    let calls = draw(&of, ask(Measure::Calls, By::None, (0, 2), "1m"));
    assert_eq!(numbers(&calls), [("", vec![2, 0, 40])]);
    let decisions = draw(&of, ask(Measure::Decisions, By::Decision, (0, 2), "1m"));
    assert_eq!(
        numbers(&decisions),
        [("deny", vec![0, 0, 40]), ("allow", vec![1, 0, 0]), ("(other)", vec![1, 1, 0])]
    );
    let denies = draw(&of, ask(Measure::Denies, By::Agent, (0, 2), "5m"));
    assert_eq!(numbers(&denies), [("b", vec![40])]);
}

#[test]
fn what_ends_has_costs_tokens_and_times() {
    let mut failed = ended(11, "b", 5, 100);
    failed.outcome = Some(Outcome::Unknown);
    let of = rollup(&[ended(0, "a", 10, 8), ended(3, "a", 7, 9), failed]);
    let spend = draw(&of, ask(Measure::SpendUsd, By::Agent, (0, 12), "10m"));
    assert_eq!(numbers(&spend), [("a", vec![17, 0]), ("b", vec![0, 5])]);
    let tokens = draw(&of, ask(Measure::Tokens, By::Upstream, (0, 12), "10m"));
    assert_eq!(numbers(&tokens), [("notes", vec![14, 7])]);
    let errors = draw(&of, ask(Measure::Errors, By::None, (0, 12), "10m"));
    assert_eq!(numbers(&errors), [("", vec![0, 1])]);
    let latency = draw(&of, ask(Measure::Latency, By::None, (0, 12), "10m"));
    let Values::Durations(all) = &latency.groups[0].values else { panic!("durations were asked for") };
    assert_eq!(all.iter().map(|one| one.quantile(50)).collect::<Vec<_>>(), [Some(8), Some(100)]);
}

#[test]
fn what_waits_is_counted_back_from_now() {
    let approval = |kind, minute, decision: Option<EventDecision>| {
        let mut event = draft(kind, minute, "a", "t");
        event.decision = decision;
        event
    };
    let of = rollup(&[
        approval(EventType::ApprovalRequested, 1, None),
        approval(EventType::ApprovalRequested, 2, None),
        // One answer of two is not the end.
        approval(EventType::ApprovalDecided, 2, Some(EventDecision::PendingApproval)),
        approval(EventType::ApprovalDecided, 3, Some(EventDecision::Rejected)),
        approval(EventType::ApprovalExpired, 4, None),
    ]);
    // Others wait since before.
    let mut asked = ask(Measure::Pending, By::Agent, (0, 5), "1m");
    asked.waiting = vec![("a".to_owned(), 3), ("b".to_owned(), 1)];
    let waits = draw(&of, asked);
    assert_eq!(numbers(&waits), [("a", vec![3, 4, 5, 4, 3, 3]), ("b", vec![1; 6])]);
}

#[test]
fn what_is_asked_for_is_bounded() {
    let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
    let ask = |measure, by, until, step| SeriesAsk::new((measure, by), (at(0), at(until)), step, None);
    assert_eq!(
        ask(Measure::Tokens, By::Decision, 1, None).unwrap_err(),
        AskError::Undecided(Measure::Tokens)
    );
    assert_eq!(ask(Measure::Pending, By::Upstream, 1, None).unwrap_err(), AskError::NoUpstream);
    assert_eq!(ask(Measure::Calls, By::None, -1, None).unwrap_err(), AskError::Backwards);
    assert_eq!(
        ask(Measure::Calls, By::None, 1_000, Step::parse("1m")).unwrap_err(),
        AskError::Long(1_001, "1m")
    );
    assert_eq!(ask(Measure::Calls, By::None, 999, Step::parse("1m")).unwrap().points, 1_000);
    // A year fits without a step; the longest time there is does not.
    assert_eq!(ask(Measure::Calls, By::None, 525_600, None).unwrap().step.word, "1d");
    assert!(ask(Measure::Calls, By::None, 200_000_000, None).is_err());
    let many = rollup(
        &(0..50).map(|n| decided(0, &format!("agent-{n:02}"), "t", EventDecision::Allow)).collect::<Vec<_>>(),
    );
    let series = draw(&many, self::ask(Measure::Calls, By::Agent, (0, 0), "1m"));
    assert_eq!(numbers(&series), [("agent-00", vec![1]), ("agent-01", vec![1]), ("(other)", vec![48])]);
    assert!(series.groups[2].is_rest);
}

#[test]
fn names_that_are_new_with_each_call_share_rows() {
    let mut of = Rollup::default();
    for n in 0..3_000 {
        let mut event = decided(n / 1_000, "a", &format!("file:///{n}"), EventDecision::Allow);
        event.workflow_id = Some(format!("run-{n}").as_str().into());
        of.add(&Seen::read(&event.body()).unwrap());
    }
    let (callers, flows) = (of.cells(Facet::Callers, 60), of.cells(Facet::Workflows, 60));
    // The first ones by name, and one row for all others.
    assert_eq!((callers.len(), flows.len()), (2_001, 1_001));
    let mut asked = ask(Measure::Calls, By::Workflow, (0, 2), "1h");
    asked.groups = 1;
    assert_eq!(numbers(&draw(&of, asked)), [("(other)", vec![2_000]), ("(other)", vec![1_000])]);
}

#[test]
fn a_matrix_tells_the_busiest_and_the_rest() {
    let mut events: Vec<EventDraft> = (0..50)
        .flat_map(|n| {
            (0..=n).map(move |_| {
                decided(0, &format!("agent-{n:02}"), &format!("tool-{n:02}"), EventDecision::Allow)
            })
        })
        .collect();
    events.push(decided(0, "agent-49", "tool-49", EventDecision::Deny));
    events.push(decided(9, "agent-49", "tool-49", EventDecision::Deny));
    let of = rollup(&events);
    let ask = MatrixAsk { first: DAY, end: DAY + 5 };
    let mut work = Figuring::new(Asked::Matrix(ask));
    of.rows(ask.span(), &mut |row| work.take(row));
    let Answer::Matrix(matrix) = work.finish() else { panic!("a matrix was asked for") };
    assert_eq!((matrix.agents.len(), matrix.tools.len()), (41, 50));
    assert_eq!(matrix.agents.first().map(String::as_str), Some("agent-49"));
    assert_eq!(matrix.agents.last().map(String::as_str), Some(OTHERS));
    assert!(matrix.truncated);
    let busiest = &matrix.cells[&("agent-49".to_owned(), "tool-49".to_owned())];
    assert_eq!(busiest.decisions, [("allow".to_owned(), 50), ("deny".to_owned(), 1)].into());
}
