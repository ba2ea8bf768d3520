//! What people are told of, over the real store with a clock of its own: alerts are raised once whatever is killed, people's words
//! count for every process, and a week of made traffic shows its seven planted faults and hardly anything else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test file"
)]

#[path = "store/mod.rs"]
mod store;

use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use store::{Peer, all_events, open, peer_dir, say, start};
use tollgate::{
    alerts::{Alert, Level, Verdict},
    audit::{Pace, Stop, drift_on_record, scorecard},
    model::{AlertKind, AlertStatus, Event, EventDecision, EventDraft, EventType, MicroUsd, Outcome, Share},
    oversight::{
        AlertFilter, Finding, OversightError, Remark, SamplePage, Told, Watcher, alerts, close_incident,
        duties, duty_done, incidents, open_alerts, review, samples, say as speak, timeline,
    },
    policy::{DutyRule, IncidentRule, Oversight, Role},
    store::{Register, Store},
};

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn call(at: Timestamp, agent: &str, decision: EventDecision) -> EventDraft {
    let mut event = store::decision(agent, at);
    event.decision = Some(decision);
    event
}

async fn all(store: &dyn Store, now: Timestamp) -> Vec<Alert> {
    alerts(store, &AlertFilter::default(), now).await.unwrap().alerts
}

async fn step(watcher: &mut Watcher, store: &dyn Store, rules: &Oversight, now: Timestamp) {
    watcher.step(store, rules, &[], now).await.unwrap();
}

/// What people write is masked by the built-in rules.
fn data() -> &'static tollgate::redaction::DataRules {
    static DATA: std::sync::LazyLock<tollgate::redaction::DataRules> =
        std::sync::LazyLock::new(tollgate::redaction::DataRules::built_in);
    &DATA
}

fn root<'a>(by: &'a tollgate::model::PersonId, note: &'a str) -> Remark<'a> {
    Remark { by, data: data(), note: Some(note) }
}

/// Ten minutes of calls, of which the last five are refused: one alert of the agent, one of its workflow.
async fn refusals(store: &dyn Store, from: i64) {
    for minute in 0..10 {
        let decision = if minute < 5 { EventDecision::Allow } else { EventDecision::Deny };
        let calls = (0..12).map(|n| call(after(from + minute * 60 + n * 5), "ada", decision)).collect();
        store.record(calls).await.unwrap();
    }
}

fn raised(events: &[Event]) -> Vec<&EventDraft> {
    events.iter().map(|event| &event.draft).filter(|draft| draft.event_type == EventType::Alert).collect()
}

/// Watchers that forget where they were at every step, and two at once, raise each alert once.
#[tokio::test]
async fn each_alert_is_raised_once_whoever_watches() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()), open(dir.path()));
    let rules = Oversight::default();
    let mut steady = Watcher::default();
    for minute in 0..20 {
        let decision = if minute < 10 { EventDecision::Allow } else { EventDecision::Deny };
        let calls = (0..12).map(|n| call(after(minute * 60 + n * 5), "ada", decision)).collect();
        one.record(calls).await.unwrap();
        let now = after(minute * 60 + 60);
        let mut forgetful = Watcher::default();
        let (a, b) =
            tokio::join!(forgetful.step(&*one, &rules, &[], now), steady.step(&*other, &rules, &[], now));
        a.unwrap();
        b.unwrap();
    }
    let events = all_events(&*one).await;
    let told: Vec<_> =
        raised(&events).iter().map(|draft| draft.detail.as_ref().unwrap()["subject"].clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let listed = all(&*other, after(1_300)).await;
    assert_eq!(listed.len(), 2);
    let of = |name: &str| listed.iter().find(|alert| alert.subject == name).unwrap();
    assert_eq!(
        (of("agent:ada").kind, of("workflow:wf-123").kind),
        (AlertKind::DenyRate, AlertKind::DenyRate)
    );
    assert_eq!(of("agent:ada").agent.as_deref(), Some("ada"));
    assert_eq!(open_alerts(&*one).await.unwrap()[&AlertKind::DenyRate], 2);
    assert_eq!(one.verify().await.unwrap().bad, None);
}

/// The child watches until it is killed.
#[tokio::test]
async fn peer_watches() {
    let Some(dir) = peer_dir() else { return };
    let store = open(&dir);
    let rules = Oversight::default();
    let mut watcher = Watcher::default();
    say("ready");
    for second in 0.. {
        // Its clock goes on with what is recorded.
        watcher.step(&*store, &rules, &[], after(4_000 + second)).await.unwrap();
        if second == 0 {
            say("looked");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_watcher_that_is_killed_loses_no_alert_and_raises_none_twice() {
    if peer_dir().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for round in 0..6_u32 {
        let mut peer = Peer::spawn("peer_watches", dir.path());
        assert_eq!(peer.says().as_deref(), Some("ready"));
        // Each round another kind of thing is told by others, of several subjects.
        for n in 0..5 {
            let mut event = EventDraft::system(EventType::Alert, after(i64::from(round) * 600 + n));
            event.agent_id = Some(format!("agent-{round}-{n}").as_str().into());
            event.detail = Some(serde_json::json!({"alert": "loop", "loop": "identical"}));
            store.record(vec![event]).await.unwrap();
        }
        if round % 2 == 0 {
            assert_eq!(peer.says().as_deref(), Some("looked"));
        }
        peer.kill();
    }
    let mut watcher = Watcher::default();
    let rules = Oversight::default();
    step(&mut watcher, &*store, &rules, after(10_000)).await;
    let listed = all(&*store, after(10_000)).await;
    let mut subjects: Vec<&str> = listed.iter().map(|alert| &*alert.subject).collect();
    subjects.sort_unstable();
    let before = subjects.len();
    subjects.dedup();
    assert_eq!((before, subjects.len()), (30, 30), "{subjects:?}");
}

/// What people say counts for every process, stays over a restart, and is a record of its own.
#[tokio::test]
async fn what_people_say_is_kept_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let rules = Oversight::default();
    let by = "root".into();
    let id = {
        let store = open(dir.path());
        refusals(&*store, 0).await;
        step(&mut Watcher::default(), &*store, &rules, after(700)).await;
        let listed = all(&*store, after(700)).await;
        let id = listed.iter().find(|alert| alert.agent.is_some()).unwrap().id.clone();
        let acked = speak(&*store, &id, Verdict::Ack, root(&by, "  the nightly job "), (&rules, after(710)))
            .await
            .unwrap();
        assert_eq!((acked.status, acked.note.as_deref()), (AlertStatus::Acked, Some("the nightly job")));
        store.close().await;
        id
    };
    let store = open(dir.path());
    let again = all(&*store, after(720)).await;
    assert_eq!(again.iter().find(|alert| alert.id == id).unwrap().status, AlertStatus::Acked);
    let said =
        speak(&*store, &id, Verdict::False, root(&by, "month end"), (&rules, after(730))).await.unwrap();
    assert_eq!(said.status, AlertStatus::False);
    // The same again is not enough; and the filter finds what stands how.
    let mut watcher = Watcher::default();
    refusals(&*store, 1_800).await;
    step(&mut watcher, &*store, &rules, after(2_500)).await;
    let filter = AlertFilter { status: vec![AlertStatus::Open], ..AlertFilter::default() };
    let open_now = alerts(&*store, &filter, after(2_500)).await.unwrap();
    assert!(open_now.alerts.iter().all(|alert| alert.agent.is_none()), "{open_now:?}");
    assert_eq!(open_now.tunings.len(), 1);
    let missing = speak(&*store, "alert-0", Verdict::Ack, root(&by, ""), (&rules, after(2_600))).await;
    assert!(matches!(missing, Err(OversightError::NotFound(_))));
    let long = "x".repeat(5_000);
    let long = speak(&*store, &id, Verdict::Ack, root(&by, &long), (&rules, after(2_600))).await;
    assert!(matches!(long, Err(OversightError::LongNote)));
    let events = all_events(&*store).await;
    let actions: Vec<_> = events
        .iter()
        .filter(|event| {
            event.draft.event_type == EventType::AdminAction && event.draft.actor.kind == "person"
        })
        .map(|event| {
            let detail = event.draft.detail.as_ref().unwrap();
            (detail["before"].clone(), detail["after"].clone(), detail["person"].clone())
        })
        .collect();
    assert_eq!(
        actions,
        [("open".into(), "acked".into(), "root".into()), ("acked".into(), "false".into(), "root".into()),]
    );
    // Pages go on where the last one ended, and hold each once.
    let mut page = AlertFilter { limit: 1, ..AlertFilter::default() };
    let mut paged = Vec::new();
    loop {
        let found = alerts(&*store, &page, after(2_600)).await.unwrap();
        paged.extend(found.alerts);
        page.before = found.next;
        if page.before.is_none() {
            break;
        }
    }
    assert!(paged.len() > 1);
    assert_eq!(paged, all(&*store, after(2_600)).await);
}

/// Requests without a key leave a counted record, and nothing is written because of it.
#[tokio::test]
async fn noise_makes_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut watcher = Watcher::default();
    refusals(&*store, 0).await;
    step(&mut watcher, &*store, &Oversight::default(), after(700)).await;
    // By then all that was odd is over, and said to be.
    step(&mut watcher, &*store, &Oversight::default(), after(7_200)).await;
    let state = store.register_entry(Register::Watch, "state".to_owned()).await.unwrap().unwrap();
    for hour in 3..50 {
        store.record(vec![EventDraft::system(EventType::AuthFailed, after(hour * 3_600))]).await.unwrap();
        step(&mut watcher, &*store, &Oversight::default(), after(hour * 3_600)).await;
    }
    let later = store.register_entry(Register::Watch, "state".to_owned()).await.unwrap().unwrap();
    assert_eq!(state.version, later.version);
}

/// R82
#[tokio::test]
async fn duties_are_due_late_and_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut rules = Oversight::default();
    let day = Duration::from_secs(86_400);
    rules.duties = vec![
        DutyRule { name: "policy-review".into(), every: 7 * day, owner: Some("security".into()) },
        DutyRule { name: "drill".into(), every: 30 * day, owner: None },
    ];
    let mut watcher = Watcher::default();
    step(&mut watcher, &*store, &rules, after(0)).await;
    let states = duties(&*store, &rules, after(60)).await.unwrap();
    assert_eq!((states[0].done, states[0].due, states[0].late), (None, Some(after(7 * 86_400)), false));
    step(&mut watcher, &*store, &rules, after(7 * 86_400 - 1)).await;
    assert_eq!(all(&*store, after(0)).await, []);
    for second in 0..100 {
        step(&mut watcher, &*store, &rules, after(7 * 86_400 + second)).await;
    }
    let late = all(&*store, after(8 * 86_400)).await;
    assert_eq!((late.len(), late[0].kind, &*late[0].subject), (1, AlertKind::Duty, "duty:policy-review"));
    let (by, now) = ("root".into(), after(8 * 86_400));
    let unknown = duty_done(&*store, "policy-revue", root(&by, "x"), (&rules, now)).await.unwrap_err();
    assert!(unknown.to_string().contains("did you mean `policy-review`"), "{unknown}");
    let silent = duty_done(&*store, "policy-review", root(&by, " "), (&rules, now)).await;
    assert!(matches!(silent, Err(OversightError::NoNote)));
    let done = duty_done(&*store, "policy-review", root(&by, "no changes"), (&rules, now)).await.unwrap();
    assert_eq!((done.due, done.late, done.by.as_deref()), (Some(after(15 * 86_400)), false, Some("root")));
    step(&mut watcher, &*store, &rules, after(9 * 86_400)).await;
    let listed = all(&*store, now).await;
    assert_eq!((listed.len(), listed[0].status), (1, AlertStatus::Closed));
    // And late again, which is another alert.
    step(&mut watcher, &*store, &rules, after(15 * 86_400)).await;
    assert_eq!(all(&*store, now).await.len(), 2);
}

/// R81
#[tokio::test]
async fn an_incident_has_a_timeline_and_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut rules = Oversight::default();
    let sla = Duration::from_secs(3_600);
    rules.incidents = Some(IncidentRule {
        kinds: vec![AlertKind::DenyRate],
        min_severity: tollgate::model::AlertSeverity::Low,
        sla,
    });
    refusals(&*store, 0).await;
    let mut watcher = Watcher::default();
    step(&mut watcher, &*store, &rules, after(700)).await;
    let page = incidents(&*store, 100, None).await.unwrap();
    assert!(!page.truncated && page.next.is_none());
    let found = page.incidents;
    assert_eq!(found.len(), 2, "of the agent and of its workflow");
    // Page by page they are the same.
    let first = incidents(&*store, 1, None).await.unwrap();
    assert!(first.truncated, "{first:?}");
    let second = incidents(&*store, 1, first.next.as_deref()).await.unwrap();
    assert!(!second.truncated && second.next.is_none(), "{second:?}");
    assert_eq!([&first.incidents[..], &second.incidents[..]].concat(), found);
    let page = AlertFilter { limit: 1, ..AlertFilter::default() };
    let page = alerts(&*store, &page, after(800)).await.unwrap();
    assert!(page.truncated && page.next.is_some(), "{page:?}");
    // What a cursor stands for may be listed no more: the list goes on behind where it was.
    let gone = |at: i64| Some(format!("alert-gone@{}", after(at).as_nanosecond()));
    let behind = async |at: i64| {
        let filter = AlertFilter { before: gone(at), ..AlertFilter::default() };
        let listed = alerts(&*store, &filter, after(800)).await.unwrap().alerts.len();
        (listed, incidents(&*store, 100, gone(at).as_deref()).await.unwrap().incidents.len())
    };
    assert_eq!((behind(10_000).await, behind(0).await), ((2, 2), (0, 0)));
    let of_agent = found.iter().find(|incident| incident.agent.is_some()).unwrap();
    let Told { timeline: told, truncated } = timeline(&*store, of_agent, true, after(800)).await.unwrap();
    assert!(!truncated);
    let types: Vec<&str> = told.iter().map(|record| record["event_type"].as_str().unwrap()).collect();
    assert_eq!(types.iter().filter(|kind| **kind == "agent_decision").count(), 120);
    assert!(types.contains(&"alert"), "{types:?}");
    let by = "root".into();
    step(&mut watcher, &*store, &rules, after(5_000)).await;
    let late: Vec<Alert> =
        all(&*store, after(5_000)).await.into_iter().filter(|a| a.kind == AlertKind::Duty).collect();
    assert_eq!(late.len(), 2);
    let silent =
        close_incident(&*store, &of_agent.id, Remark { by: &by, data: data(), note: None }, after(5_100))
            .await;
    assert!(matches!(silent, Err(OversightError::NoNote)));
    let closed =
        close_incident(&*store, &of_agent.id, root(&by, "a wrong rule"), after(5_100)).await.unwrap();
    assert_eq!((closed.status.as_str(), closed.closed_at), ("closed", Some(after(5_100))));
    let twice = close_incident(&*store, &of_agent.id, root(&by, "again"), after(5_200)).await;
    assert!(matches!(twice, Err(OversightError::Conflict(_))));
}

/// R83
#[tokio::test]
async fn a_share_of_calls_is_looked_at_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for batch in 0..20 {
        let calls = (0..100).map(|n| {
            let decision = if n % 10 == 0 { EventDecision::Deny } else { EventDecision::Allow };
            let mut event = call(after(batch), "ada", decision);
            event.call_id = Some(format!("call-{batch}-{n}").as_str().into());
            event
        });
        store.record(calls.collect()).await.unwrap();
    }
    let tenth = Share::parse("10%").unwrap();
    let since = after(-10);
    let sample = async |span, part| samples(&*store, tenth, span, part).await.unwrap();
    let SamplePage { found, next } = sample((since, false), (10_000, None)).await;
    assert!(next.is_none() && (120..240).contains(&found.len()), "{}", found.len());
    assert!(found.iter().all(|one| one.decision.decision == Some(EventDecision::Allow)));
    // Page by page they are the same.
    let (mut again, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = sample((since, false), (50, before)).await;
        assert!(page.found.len() <= 50);
        again.extend(page.found);
        (before, pages) = (page.next, pages + 1);
        if before.is_none() {
            break;
        }
    }
    assert_eq!(pages, found.len().div_ceil(50));
    let ids = |all: &[tollgate::oversight::Sampled]| {
        all.iter().map(|one| one.decision.call_id.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&found), ids(&again), "which they are is nobody's choice");
    let by = "carol".into();
    let one = found[0].decision.call_id.clone().unwrap();
    let silent = review(
        &*store,
        &one,
        Finding::Problem,
        (Remark { by: &by, data: data(), note: None }, Role::Auditor),
        (tenth, after(100)),
    )
    .await;
    assert!(matches!(silent, Err(OversightError::NoNote)));
    let problem = root(&by, "customer data in the query");
    let seen =
        review(&*store, &one, Finding::Problem, (problem, Role::Auditor), (tenth, after(100))).await.unwrap();
    assert_eq!(seen.form()["review"]["finding"], "problem");
    let left = sample((since, false), (10_000, None)).await.found;
    assert_eq!(left.len(), found.len() - 1);
    let whole = sample((since, true), (10_000, None)).await.found;
    assert_eq!((whole.len(), whole.iter().filter(|one| one.is_reviewed()).count()), (found.len(), 1));
    let unsampled = (0..20).flat_map(|b| (0..100).map(move |n| format!("call-{b}-{n}")));
    let unsampled = unsampled.map(|id| id.as_str().into()).find(|id| !ids(&found).contains(id)).unwrap();
    let other = review(
        &*store,
        &unsampled,
        Finding::Ok,
        (Remark { by: &by, data: data(), note: None }, Role::Auditor),
        (tenth, after(100)),
    )
    .await;
    assert!(matches!(other, Err(OversightError::NotFound(_))));
    let told = all_events(&*store).await.pop().unwrap().draft;
    assert_eq!(told.actor.role.as_deref(), Some("auditor"), "by which role they may");
    let detail = told.detail.unwrap();
    assert_eq!(
        (told.event_type, &detail["finding"], &detail["person"]),
        (EventType::AdminAction, &"problem".into(), &"carol".into())
    );
}

/// Numbers that look like chance, the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn one_of(&mut self, many: u64) -> u64 {
        self.next() % many
    }

    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn poisson(&mut self, mean: f64) -> u32 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// An agent of the week: its name, workflow, server, calls in five minutes of a busy hour, and share of refusals.
type Usual = (&'static str, &'static str, &'static str, f64, f64);

const AGENTS: [Usual; 5] = [
    ("ada", "wf-one", "crm", 9.0, 0.04),
    ("bo", "wf-one", "files", 7.0, 0.08),
    ("cy", "wf-two", "crm", 12.0, 0.25),
    ("di", "wf-three", "files", 6.0, 0.03),
    ("ed", "wf-four", "web", 10.0, 0.02),
];

/// The faults that are planted, by second of the week.
fn planted(agent: &str, second: i64) -> &'static str {
    let between = |from: i64, length: i64| (from..from + length).contains(&second);
    match agent {
        "ada" if between(2 * DAY + 10 * HOUR, 30 * MINUTE) => "refused",
        "bo" if between(3 * DAY + 11 * HOUR, HOUR) => "dear",
        "cy" if between(4 * DAY + 9 * HOUR, 5 * HOUR) => "let through",
        "di" if between(5 * DAY + 12 * HOUR, 40 * MINUTE) => "lacks metadata",
        "ed" if between(5 * DAY + 15 * HOUR, 30 * MINUTE) => "fails",
        // From here on it works otherwise.
        "di" if second >= 4 * DAY => "other tools",
        "ada" if between(6 * DAY + 10 * HOUR, 20 * MINUTE) => "no end",
        _ => "",
    }
}

struct Week {
    random: Random,
    calls: u64,
}

impl Week {
    /// The records of five minutes.
    fn records(&mut self, from: i64) -> Vec<EventDraft> {
        let mut events = Vec::new();
        let hour = f64::from(i32::try_from(from % DAY).unwrap()) / 3_600.0;
        let busy = if (7.0..19.0).contains(&hour) { 1.0 } else { 0.15 };
        for usual @ (_, _, _, mean, share) in AGENTS {
            // Some minutes are worse than others.
            let share = share * (0.5 + self.random.unit());
            for _ in 0..self.random.poisson(mean * busy) {
                let second = from + i64::try_from(self.random.one_of(300)).unwrap();
                self.call(usual, second, share, &mut events);
            }
        }
        events.sort_by_key(|event| event.timestamp);
        events
    }

    fn call(
        &mut self,
        (agent, workflow, server, ..): Usual,
        second: i64,
        share: f64,
        events: &mut Vec<EventDraft>,
    ) {
        self.calls += 1;
        let fault = planted(agent, second);
        let chance = self.random.unit();
        let denied = match fault {
            "refused" => chance < 0.5,
            "let through" => false,
            "lacks metadata" => chance < 0.3,
            _ => chance < share,
        };
        let tools = if fault == "other tools" {
            ["write", "delete", "read", "list"]
        } else {
            ["read", "list", "find", "write"]
        };
        let tool = tools[usize::try_from(
            [0, 0, 0, 0, 1, 1, 1, 2, 2, 3][usize::try_from(self.random.one_of(10)).unwrap()],
        )
        .unwrap()];
        let price = 2_000 + i64::try_from(self.random.one_of(8_000)).unwrap();
        let mut event = EventDraft::system(EventType::AgentDecision, after(second));
        event.actor.kind = "agent".into();
        event.agent_id = Some(agent.into());
        event.workflow_id = Some(workflow.into());
        event.upstream = Some(server.into());
        event.tool = Some(tool.into());
        event.call_id = Some(format!("call-{}", self.calls).as_str().into());
        event.policy_id = Some(if fault == "lacks metadata" && denied { "required" } else { "gate" }.into());
        event.decision = Some(if denied { EventDecision::Deny } else { EventDecision::Allow });
        event.cost_estimate_usd = Some(MicroUsd(if fault == "dear" { price * 6 } else { price }));
        let mut end = event.clone();
        events.push(event);
        if denied || fault == "no end" {
            return;
        }
        end.event_type = EventType::AgentSideEffect;
        end.timestamp = after(second + 1);
        end.decision = None;
        end.policy_id = None;
        let fails = self.random.unit() < if fault == "fails" { 0.6 } else { 0.02 };
        end.outcome = Some(if fails { Outcome::Failed } else { Outcome::Succeeded });
        end.detail =
            Some(serde_json::json!({"argument_tokens": 40, "result_tokens": 200 + self.random.one_of(200)}));
        events.push(end);
    }
}

/// Five of the planted faults are alerts, one is the scorecard's, and one is drift; at most one alarm is false.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_of_traffic_shows_its_planted_faults() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = open(dir.path());
    let mut week = Week { random: Random(41), calls: 0 };
    let mut watcher = Watcher::default();
    let rules = Oversight::default();
    let up = vec![Level { upstream: "crm".into(), down: None }];
    for slice in 0..7 * 24 * 12 {
        let records = week.records(slice * 300);
        if !records.is_empty() {
            store.record(records).await.unwrap();
        }
        watcher.step(&*store, &rules, &up, after((slice + 1) * 300)).await.unwrap();
    }
    assert!(week.calls > 30_000, "{}", week.calls);
    let listed = all(&*store, after(7 * DAY)).await;
    let faults = [
        (AlertKind::DenyRate, "agent:ada", 2 * DAY + 10 * HOUR),
        (AlertKind::CostSpike, "agent:bo", 3 * DAY + 11 * HOUR),
        (AlertKind::DenyDrop, "agent:cy", 4 * DAY + 9 * HOUR),
        (AlertKind::MissingMetadata, "agent:di", 5 * DAY + 12 * HOUR),
        (AlertKind::Failures, "upstream:web", 5 * DAY + 15 * HOUR),
    ];
    // What follows from a fault is no false alarm: the same kind, about the agent or what it works in.
    let of_fault = |alert: &Alert, (kind, subject, from): (AlertKind, &str, i64)| {
        let agent = subject.strip_prefix("agent:").unwrap_or("ed");
        let (_, workflow, server, ..) = AGENTS.iter().find(|(name, ..)| *name == agent).unwrap();
        let subjects = [subject.to_owned(), format!("workflow:{workflow}"), format!("upstream:{server}")];
        alert.kind == kind
            && subjects.contains(&alert.subject)
            && (after(from)..after(from + 6 * HOUR)).contains(&alert.at)
    };
    let mut missed = Vec::new();
    let mut delays = BTreeMap::new();
    for fault @ (kind, subject, from) in faults {
        let first = listed
            .iter()
            .filter(|alert| of_fault(alert, fault) && alert.subject == subject)
            .map(|alert| alert.at)
            .min();
        match first {
            Some(at) => {
                delays.insert(format!("{kind} {subject}"), at.duration_since(after(from)).as_secs() / 60);
            }
            None => missed.push((kind, subject)),
        }
    }
    let false_alarms: Vec<_> = listed
        .iter()
        .filter(|alert| !faults.iter().any(|fault| of_fault(alert, *fault)))
        .map(|alert| (alert.kind, &*alert.subject, alert.at, &*alert.reason))
        .collect();
    println!(
        "{} calls, {} alerts; minutes until an alert: {delays:?}; false alarms: {false_alarms:?}",
        week.calls,
        listed.len()
    );
    assert_eq!(missed, []);
    // The scorecard finds calls of which nothing is recorded any more.
    let span = (after(0), after(7 * DAY));
    let card = scorecard(&*store, span, (Pace::Whole, &Stop::default()), &mut |_| {}).await.unwrap();
    let missing = card.audit_completeness.missing;
    assert!((10..200).contains(&missing), "{missing}");
    // Drift finds the agent that works otherwise than before.
    let span = (after(4 * DAY), after(7 * DAY));
    let report = drift_on_record(&*store, span, (Pace::Whole, &Stop::default()), &mut |_| {}).await.unwrap();
    let mix: Vec<&str> = report.agents.iter().filter(|row| row.tools.drifts).map(|row| &*row.agent).collect();
    assert_eq!(mix, ["di"], "{report:#?}");
    let drifting =
        report.agents.iter().filter(|row| row.drifts && !["di", "cy"].contains(&&*row.agent)).count();
    assert!(false_alarms.len() + drifting <= 1, "{false_alarms:?} {report:#?}");
}
