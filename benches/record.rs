//! What a long record costs: starting on it, looking something up, making an index anew, verifying it.
//!
//! `cargo bench --bench record -- --records 10000000` (1,000,000 by default; about 1.1 GB a million). The yardstick, in the
//! same run, is SHA-256 over as many bytes as the journal has, on as many threads as verification uses. `--dir` says where, and
//! `--keep` leaves the store there, to be served, or to be looked at again (`--on DIR`).

#![expect(clippy::disallowed_methods, reason = "measuring needs the machine's own clock")]
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark: what fails ends it"
)]

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tollgate::{
    clock::System,
    config::Durability,
    journal,
    model::{
        AgentId, ApprovalId, CallId, EventDecision, EventDraft, EventType, MicroUsd, Outcome, OwnerId,
        PersonId, PolicyId, SnapshotId, TraceId, UpstreamName, WorkflowId,
    },
    series::{Asked, BurnAsk, By, Catalog, MatrixAsk, Measure, SeriesAsk, minute_of},
    store::{EventQuery, Store as _, embedded::EmbeddedStore},
};

/// One call of so many was asked about.
const ASKED: u64 = 100;

/// Records in one commit.
const GROUP: u64 = 600;

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()
}

fn open(dir: &Path) -> Arc<EmbeddedStore> {
    let owner = OwnerId::from(format!("bench-{}", std::process::id()));
    EmbeddedStore::open(&dir.join("bench.db"), dir, Durability::Commit, owner, Arc::new(System::default()))
        .unwrap()
}

/// The records of one call: its decision, with arguments and facts of common size, and its side effect.
fn call(n: u64, events: &mut Vec<EventDraft>) {
    let at = Timestamp::from_millisecond(1_767_225_600_000 + i64::try_from(n).unwrap_or(0) * 20)
        .unwrap_or_default();
    let mut event = EventDraft::system(EventType::AgentDecision, at);
    event.trace_id = Some(trace(n));
    event.workflow_id = Some(WorkflowId::from(format!("wf-{}", n / 50)));
    event.agent_id = Some(AgentId::from(format!("agent-{:02}", n % 40)));
    event.user = Some(PersonId::from(format!("person-{:03}", n % 500)));
    event.action = Some("files:write_file".into());
    event.policy_id = Some(PolicyId::from(format!("policy-{}", n % 12)));
    event.decision = Some(if n.is_multiple_of(50) { EventDecision::Deny } else { EventDecision::Allow });
    event.cost_estimate_usd = Some(MicroUsd(1_250));
    event.actor.kind = "agent".into();
    event.call_id = Some(CallId::from(format!("01900000-0000-7000-8000-{n:012x}")));
    event.tool = Some(format!("files__tool_{}", n % 200).into());
    event.upstream = Some(UpstreamName::from("files"));
    event.reason = Some("nothing stops it".into());
    event.policy_snapshot =
        Some(SnapshotId::from("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"));
    let text = "hello world, this is what an agent writes into a file. ".repeat(6);
    event.detail =
        Some(serde_json::json!({"arguments": {"path": format!("/srv/docs/{n}.txt"), "content": text}}));
    let mut effect = event.clone();
    effect.event_type = EventType::AgentSideEffect;
    effect.outcome = Some(Outcome::Succeeded);
    effect.duration_ms = Some(3);
    let agent = format!("agent-{:02}", n % 40);
    effect.detail = Some(serde_json::json!({
        "result_bytes": 840, "result_tokens": 210, "cut": false, "argument_tokens": 120, "budgets": [["day", agent]],
    }));
    if n.is_multiple_of(ASKED) {
        event.approval_id = Some(approval(n));
        effect.approval_id = Some(approval(n));
    }
    events.push(event);
    events.push(effect);
}

fn approval(n: u64) -> ApprovalId {
    ApprovalId::from(format!("01900000-0000-7000-9000-{n:012x}"))
}

fn trace(n: u64) -> TraceId {
    TraceId::from_bytes(
        (u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1).to_be_bytes(),
    )
}

fn size(dir: &Path, extension: &str) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|e| e == extension))
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

fn percentile(times: &mut [Duration], of: usize) -> Duration {
    times.sort();
    let at = (times.len() * of / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

fn hash_of(bytes: u64, threads: u64) -> Duration {
    let block = vec![7u8; 1 << 20];
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut hasher = Sha256::new();
                for _ in 0..(bytes / threads) >> 20 {
                    hasher.update(&block);
                }
                std::hint::black_box(hasher.finalize());
            });
        }
    });
    started.elapsed()
}

/// What the page's charts ask, over the whole record and over its last hours.
fn charts(runtime: &tokio::runtime::Runtime, store: &EmbeddedStore, records: u64) {
    let end = 1_767_225_600 + i64::try_from(records / 2).unwrap_or(0) / 50;
    let at = |second: i64| Timestamp::from_second(second).unwrap_or_default();
    let series = |measure, by, seconds: i64| {
        Asked::Series(SeriesAsk::new((measure, by), (at(end - seconds), at(end)), None, None).unwrap())
    };
    let all = end - 1_767_225_600;
    let first = minute_of(at(1_767_225_600));
    let asks = [
        ("calls by decision, two hours", series(Measure::Calls, By::Decision, 7_200)),
        ("spend by agent, all", series(Measure::SpendUsd, By::Agent, all)),
        ("latency, all", series(Measure::Latency, By::None, all)),
        ("tokens by workflow, all", series(Measure::Tokens, By::Workflow, all)),
        (
            "agents by tools, all",
            Asked::Matrix(MatrixAsk { first, end: minute_of(at(end)) + 1, catalog: Catalog::default() }),
        ),
    ];
    let burn =
        BurnAsk::new(("day", "agent-07"), (at(end - 86_400), at(end), at(end + 3_600)), (1, 1, MicroUsd(1)));
    let asks =
        asks.into_iter().chain([("the use of a budget, a day", Asked::Burn(burn))]).collect::<Vec<_>>();
    let started = Instant::now();
    for (_, ask) in &asks {
        while runtime.block_on(store.figures(ask.clone())).unwrap().missing > 0 {}
    }
    println!("rows of charts made where they were missing: {:.2?}", started.elapsed());
    for (name, ask) in asks {
        let mut times = Vec::new();
        for _ in 0..200 {
            let started = Instant::now();
            runtime.block_on(store.figures(ask.clone())).unwrap();
            times.push(started.elapsed());
        }
        let (half, most) = (percentile(&mut times, 50), percentile(&mut times, 99));
        println!("chart of {name}: p50 {half:.2?}, p99 {most:.2?}");
    }
}

fn main() {
    // `cargo test --benches` and lists of benchmarks run nothing.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let records: u64 = argument("--records").and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kept = argument("--on").map(std::path::PathBuf::from);
    let folder = match argument("--dir") {
        Some(dir) => tempfile::Builder::new().tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let dir = kept.as_deref().unwrap_or(folder.path());
    let store = open(dir);
    let started = Instant::now();
    runtime.block_on(async {
        let (mut n, mut written) = (0, if kept.is_some() { records } else { 0 });
        while written < records {
            let mut events = Vec::new();
            while (events.len() as u64) < GROUP {
                call(n, &mut events);
                n += 1;
            }
            written += events.len() as u64;
            store.record(events).await.unwrap();
        }
        store.close().await;
    });
    drop(store);
    let journal_dir = dir.join("bench.journal");
    let bytes = size(&journal_dir, "segment");
    println!("{records} records, {} bytes each; written in {:.1?}", bytes / records, started.elapsed());

    let started = Instant::now();
    let store = open(dir);
    println!("start: {:.3?}", started.elapsed());
    let calls = records / 2;
    let events = |query: EventQuery| runtime.block_on(store.events(query)).unwrap().len();
    // The first query makes the indexes that are missing.
    events(EventQuery { trace_id: Some(trace(calls)), ..EventQuery::default() });
    println!("index: {:.1} bytes a record", size(&journal_dir, "index") as f64 / records as f64);
    println!("rows of charts: {:.1} bytes a record", size(&journal_dir, "rollup") as f64 / records as f64);
    let pick = |round: u64, of: u64| round.wrapping_mul(7_919_777) % of;
    let newest = || EventQuery { limit: 100, newest_first: true, ..EventQuery::default() };
    type Look<'q> = (&'static str, Box<dyn Fn(u64) -> EventQuery + 'q>);
    let hour = |round: u64| {
        let ms = |n: u64| 1_767_225_600_000 + i64::try_from(n).unwrap_or(0) * 20;
        let from = ms(pick(round, calls));
        [from, from + 3_600_000].map(|ms| Timestamp::from_millisecond(ms).ok())
    };
    let looks: [Look<'_>; 12] = [
        ("nothing: the newest 100", Box::new(|_| newest())),
        (
            "nothing: 100 before a cursor anywhere",
            Box::new(|round| EventQuery { until_seq: i64::try_from(pick(round, records)).ok(), ..newest() }),
        ),
        (
            "approval",
            Box::new(|round| EventQuery {
                approval_id: Some(approval(pick(round, calls) / ASKED * ASKED)),
                ..EventQuery::default()
            }),
        ),
        (
            "trace",
            Box::new(|round| EventQuery {
                trace_id: Some(trace(pick(round, calls))),
                ..EventQuery::default()
            }),
        ),
        (
            "call",
            Box::new(|round| EventQuery {
                call_id: Some(CallId::from(format!("01900000-0000-7000-8000-{:012x}", pick(round, calls)))),
                ..EventQuery::default()
            }),
        ),
        (
            "agent, newest 100",
            Box::new(|round| EventQuery {
                agent_id: Some(format!("agent-{:02}", pick(round, 40)).as_str().into()),
                ..newest()
            }),
        ),
        (
            "tool, newest 100",
            Box::new(|round| EventQuery {
                tool: Some(format!("files__tool_{}", pick(round, 200)).as_str().into()),
                ..newest()
            }),
        ),
        (
            "person, newest 100",
            Box::new(|round| EventQuery {
                user: Some(format!("person-{:03}", pick(round, 500)).as_str().into()),
                ..newest()
            }),
        ),
        (
            "glob of tools, newest 100",
            Box::new(|_| EventQuery {
                tool: tollgate::store::Pattern::parse("files__tool_1*").ok(),
                ..newest()
            }),
        ),
        (
            "decision within an hour, newest 100",
            Box::new(|round| {
                let [since, until] = hour(round);
                EventQuery { decision: Some(EventDecision::Deny), since, until, ..newest() }
            }),
        ),
        (
            "agent, 100 before a cursor anywhere",
            Box::new(|round| EventQuery {
                agent_id: Some(format!("agent-{:02}", pick(round, 40)).as_str().into()),
                until_seq: i64::try_from(pick(round, records)).ok(),
                ..newest()
            }),
        ),
        (
            "tool that is nowhere",
            Box::new(|_| EventQuery { tool: Some("files__nothing".into()), ..newest() }),
        ),
    ];
    for (name, look) in looks {
        let mut times = Vec::new();
        for round in 0..500 {
            let started = Instant::now();
            events(look(round));
            times.push(started.elapsed());
        }
        let (half, most) = (percentile(&mut times, 50), percentile(&mut times, 99));
        println!("look-up by {name}: p50 {half:.2?}, p99 {most:.2?}");
    }
    charts(&runtime, &store, records);
    let started = Instant::now();
    let report = runtime.block_on(store.verify()).unwrap();
    assert_eq!(report.bad, None);
    let took = started.elapsed();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let yardstick = hash_of(bytes, threads);
    println!(
        "verify: {:.2?}, {:.0} records a second; SHA-256 alone over these bytes on {threads} threads {yardstick:.2?} (ratio {:.2})",
        took,
        report.records as f64 / took.as_secs_f64(),
        took.as_secs_f64() / yardstick.as_secs_f64()
    );
    runtime.block_on(store.close());
    drop(store);

    for path in std::fs::read_dir(&journal_dir).unwrap().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "index") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let started = Instant::now();
    let mut made = 0;
    let segments = journal::list(&journal_dir).unwrap();
    for (_, path) in segments.iter().rev().skip(1) {
        journal::make_index(path).unwrap();
        made += 1;
    }
    println!("index of {made} segments made anew: {:.2?}", started.elapsed());
    for file in ["bench.db", "bench.db-wal", "bench.db-shm"] {
        std::fs::remove_file(dir.join(file)).ok();
    }
    let started = Instant::now();
    let store = open(dir);
    println!("start with the projection missing (made anew): {:.2?}", started.elapsed());
    runtime.block_on(store.close());
    if std::env::args().any(|argument| argument == "--keep") {
        println!("kept: {}", folder.keep().display());
    }
}
