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
        event.upstream = Some("files".into());
        of.add(&Seen::read(&event.body()).unwrap());
    }
    let (callers, flows) = (of.cells(Facet::Callers, 60), of.cells(Facet::Workflows, 60));
    // The first ones by name, and one row for all others; of workflows those that weigh most.
    assert_eq!((callers.len(), flows.len()), (2_001, 51));
    assert_eq!(flows.values().map(|cell| cell.decided).sum::<u64>(), 3_000);
    let mut asked = ask(Measure::Calls, By::Workflow, (0, 2), "1h");
    asked.groups = 1;
    assert_eq!(numbers(&draw(&of, asked)), [("(other)", vec![2_001]), ("(other)", vec![999])]);
}

fn matrix(of: &Rollup, catalog: Catalog) -> Matrix {
    let ask = MatrixAsk { first: DAY, end: DAY + 5, catalog };
    let spans = ask.spans();
    let mut work = Figuring::new(Asked::Matrix(ask));
    for span in spans {
        of.rows(span, &mut |row| work.take(row));
    }
    let Answer::Matrix(matrix) = work.finish() else { panic!("a matrix was asked for") };
    matrix
}

/// A matrix of a long time reads few rows, and each minute of it once.
#[test]
fn the_time_of_a_matrix_is_covered_once_by_long_rows() {
    let covered = |first: i64, end: i64| {
        let spans = MatrixAsk { first, end, catalog: Catalog::default() }.spans();
        let mut rows = 0;
        let mut parts: Vec<(i64, i64)> = Vec::new();
        for span in &spans {
            assert!(span.first % span.level == 0 || span.level == 1, "{span:?}");
            assert!(span.end % span.level == 0 || span.level == 1, "{span:?}");
            rows += (span.end - span.first) / span.level;
            parts.push((span.first, span.end));
        }
        parts.sort_unstable();
        let whole = parts.iter().fold(first, |at, (from, to)| {
            assert_eq!(*from, at);
            *to
        });
        assert_eq!(whole, end, "{spans:?}");
        rows
    };
    assert_eq!(covered(DAY, DAY + 1_440), 1);
    assert_eq!(covered(DAY + 3, DAY + 4), 1);
    assert_eq!(covered(DAY + 5, DAY + 25), 5 + 1 + 5);
    // A week and a year, each from minute to minute.
    assert!(covered(DAY + 17, DAY + 17 + 7 * 1_440) <= 6 + 2 * (9 + 5 + 23));
    assert!(covered(DAY + 777, DAY + 777 + 365 * 1_440) <= 364 + 2 * (9 + 5 + 23));
}

/// A chart by one name reads as many rows as there are such names, and not each agent with each tool.
#[test]
fn rows_by_one_name_are_few_and_sum_up_to_all() {
    let mut of = Rollup::default();
    for n in 0..2_000_i64 {
        let mut event = decided(
            n / 100,
            &format!("agent-{}", n % 40),
            &format!("tool-{}", n % 200),
            EventDecision::Allow,
        );
        event.upstream = Some(format!("up-{}", n % 3).as_str().into());
        of.add(&Seen::read(&event.body()).unwrap());
    }
    let read = |facet| {
        let cells = of.cells(facet, 60);
        (cells.len(), cells.values().map(|cell| cell.decided).sum::<u64>())
    };
    assert_eq!(read(Facet::Callers), (600, 2_000));
    assert_eq!(read(Facet::Agents), (40, 2_000));
    assert_eq!(read(Facet::Tools), (600, 2_000));
    assert_eq!(read(Facet::Upstreams), (3, 2_000));
    let facet = |by| ask(Measure::Calls, by, (0, 10), "1m").span().facet;
    assert_eq!(
        [By::None, By::Decision, By::Upstream, By::Agent, By::Tool, By::Workflow].map(facet),
        [Facet::Upstreams, Facet::Upstreams, Facet::Upstreams, Facet::Agents, Facet::Tools, Facet::Workflows]
    );
}

/// R50, I12: an agent may name any tool. What is nowhere is one column, and takes no place of tools that are there.
#[test]
fn tools_that_are_made_up_are_one() {
    let made_up = |n| decided(0, "a", &format!("invented__tool_{n}"), EventDecision::Deny);
    // Out of the agent's scope, but there.
    let mut events = vec![decided(1, "a", "notes__delete", EventDecision::Deny)];
    events.extend((0..5_000).map(made_up));
    events.extend((0..100).map(|n| {
        let mut real = decided(1, "a", &format!("notes__tool_{n}"), EventDecision::Allow);
        real.upstream = Some("notes".into());
        real
    }));
    // It was there when it was called.
    let mut gone = decided(2, "a", "former__read", EventDecision::Allow);
    gone.upstream = Some("former".into());
    events.push(gone);
    let of = rollup(&events);
    let catalog = Catalog::of(["notes__delete", "notes__tool_0"]);
    let found = matrix(&of, catalog.clone());
    assert_eq!(found.tools.len(), 62, "the busiest, the rest, and what is unknown");
    assert_eq!(found.tools.last().map(String::as_str), Some(UNKNOWN));
    assert!(!found.tools.iter().any(|tool| tool.starts_with("invented")));
    assert!(found.tools.iter().any(|tool| tool == "notes__delete"));
    assert!(found.tools.iter().any(|tool| tool == "former__read"));
    let cell = &found.cells[&("a".to_owned(), UNKNOWN.to_owned())];
    assert_eq!(cell.decisions, [("deny".to_owned(), 5_000)].into());
    let mut asked = ask(Measure::Calls, By::Tool, (0, 2), "1h");
    asked.groups = 1;
    asked.catalog = catalog;
    assert_eq!(numbers(&draw(&of, asked)), [(UNKNOWN, vec![5_000]), ("(other)", vec![102])]);
}

/// R36: what calls took of a counter, as the counter came to where it stands; a reset takes it back.
#[test]
fn the_use_of_a_budget_is_hung_on_its_counter() {
    let spent = |minute, key: &str, cost| {
        let mut event = ended(minute, "a", cost, 1);
        event.detail = Some(json!({
            "argument_tokens": 3, "result_tokens": 4, "budgets": [["day", key], ["all", "*"]],
        }));
        event
    };
    let mut reset =
        EventDraft::system(EventType::AdminAction, Timestamp::from_second((DAY + 20) * 60).unwrap());
    reset.action = Some("budget_reset".into());
    let counted = |calls, tokens, cost| json!({"calls": calls, "tokens": tokens, "cost_usd": cost});
    reset.detail = Some(json!({"budget": "day", "counters": [
        {"key": "a", "before": counted(3, 21, 0.00004), "after": counted(1, 7, 0.00002)},
    ]}));
    // Names are kept as far as they are told apart.
    let long = "é".repeat(300);
    let of = rollup(&[
        spent(25, &long, 0),
        spent(1, "a", 10),
        spent(2, "b", 1_000),
        spent(11, "a", 10),
        spent(12, "a", 20),
        reset,
        spent(31, "a", 5),
    ]);
    let at = |minute: i64| Timestamp::from_second((DAY + minute) * 60).unwrap();
    let drawn = |budget: &str, key: &str, used| {
        let ask = BurnAsk::new((budget, key), (at(0), at(39), at(1_440)), used);
        assert_eq!((ask.step.word, ask.points), ("10m", 4));
        let span = ask.span();
        let mut work = Figuring::new(Asked::Burn(ask));
        of.rows(span, &mut |row| work.take(row));
        assert!(!work.again());
        let Answer::Burn(burn) = work.finish() else { panic!("a burn was asked for") };
        (burn.calls, burn.tokens, burn.cost)
    };
    let own = drawn("day", "a", (2, 14, MicroUsd(25)));
    assert_eq!(own, (vec![1, 3, 1, 2], vec![7, 21, 7, 14], vec![10, 40, 20, 25]));
    assert_eq!(drawn("day", &long, (1, 7, MicroUsd::ZERO)).0, [0, 0, 1, 1]);
    let all = drawn("all", "*", (6, 42, MicroUsd(1_045)));
    assert_eq!(all.0, [2, 4, 5, 6]);
    assert_eq!(all.2, [1_010, 1_040, 1_040, 1_045]);
    // What was counted before there were such records stands at the beginning.
    assert_eq!(drawn("day", "a", (12, 114, MicroUsd(25))).0, [11, 13, 11, 12]);
    assert_eq!(drawn("day", "nobody", (0, 0, MicroUsd::ZERO)).0, [0; 4]);
}

/// Of many workflows the rows of those are kept that have the most calls or cost the most, wherever they come in the segment.
#[test]
fn the_workflows_that_weigh_most_keep_their_rows() {
    let mut events = Vec::new();
    for n in 0..400 {
        let of = |n: i64, kind: EventDraft| {
            let mut event = kind;
            event.workflow_id = Some(format!("run-{n:03}").as_str().into());
            event
        };
        events.push(of(n, decided(0, "a", "t", EventDecision::Allow)));
        if n == 300 {
            events.extend((0..9).map(|_| of(n, decided(1, "a", "t", EventDecision::Allow))));
        }
        events.push(of(n, ended(1, "a", if n == 350 { 5_000 } else { 1 }, 1)));
    }
    let of = rollup(&events);
    let cells = of.cells(Facet::Workflows, 60);
    let name = |key: &Key| of.names()[key.names[3] as usize - 1].to_string();
    let named: std::collections::BTreeSet<String> = cells.keys().map(name).collect();
    assert!(named.contains("run-300") && named.contains("run-350") && named.contains("(other)"), "{named:?}");
    assert!(named.len() <= 101, "{}", named.len());
    assert_eq!(cells.values().map(|cell| cell.decided).sum::<u64>(), 409);
    assert_eq!(cells.values().map(|cell| cell.cost.0).sum::<i64>(), 5_399);
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
    let matrix = matrix(&of, Catalog::default());
    assert_eq!((matrix.agents.len(), matrix.tools.len()), (41, 50));
    assert_eq!(matrix.agents.first().map(String::as_str), Some("agent-49"));
    assert_eq!(matrix.agents.last().map(String::as_str), Some(OTHERS));
    assert!(matrix.truncated);
    let busiest = &matrix.cells[&("agent-49".to_owned(), "tool-49".to_owned())];
    assert_eq!(busiest.decisions, [("allow".to_owned(), 50), ("deny".to_owned(), 1)].into());
}
