//! Two `serve` and two `stdio` on one store, killed at random under load, again and again (I1, I3, I4, I9, I10, R23, R36).
//! `TOLLGATE_KILLS` says how often.

use crate::harness::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    sync::watch,
};
use tollgate::{
    model::{Event, EventDecision, EventType, Outcome},
    store::{BudgetUsage, EventQuery},
};

const AGENTS: [&str; 3] = ["ada", "eve", "bot"];

/// Calls per minute, of all agents.
const PER_MINUTE: usize = 2_000;

/// Calls that a client has under way in one process.
const FLOWS: usize = 6;

fn kills() -> usize {
    std::env::var("TOLLGATE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(60)
}

/// What all of them share.
struct Load {
    files: Files,
    left: AtomicUsize,
    calls: AtomicU64,
    answered: AtomicU64,
    /// Starts that were refused, since others had the store for too long: on a machine with too much to do.
    refused: AtomicU64,
}

/// A small generator, so that a run can be had again as far as processes allow.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn agent(&mut self) -> &'static str {
        // One of them comes to its cap first.
        AGENTS[usize::try_from(self.below(5)).unwrap().saturating_sub(2)]
    }
}

impl Load {
    fn another(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    /// A tool and its argument: new, or one that somebody was killed in.
    fn call(&self, random: &mut Random) -> (&'static str, u64) {
        let next = self.calls.fetch_add(1, Ordering::SeqCst);
        match random.below(3) {
            0 => ("up__write", (next / 3).saturating_sub(random.below(12))),
            _ => ("up__echo", 1_000_000 + next),
        }
    }

    /// A process ended by itself: it may for one reason.
    fn refused(&self, log: &str) {
        assert!(log.contains("another process has locked the store"), "it ended by itself:\n{log}");
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    /// A process is killed before it does anything, now and then.
    async fn killed_at_birth(&self, random: &mut Random, arguments: &[&str]) -> bool {
        if random.below(6) != 0 {
            return false;
        }
        let (mut child, _said) = self.files.command(arguments);
        // No event tells of the moments within a start.
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        child.kill().await.unwrap();
        true
    }
}

/// One call over HTTP; a person answers what is asked of her.
async fn flow(load: &Load, client: &Client, admin: &str, random: &mut Random) -> Option<()> {
    let (tool, n) = load.call(random);
    let body = client.body("tools/call", json!({"name": tool, "arguments": {"n": n}}));
    let reply: Value = client.post(&body).send().await.ok()?.json().await.ok()?;
    load.answered.fetch_add(1, Ordering::SeqCst);
    let Some(id) = reply["result"]["_meta"]["tollgate/decision"]["approval_id"].as_str() else {
        return Some(());
    };
    if random.below(8) == 0 {
        return Some(());
    }
    let decision = if n % 7 == 3 { "reject" } else { "approve" };
    let url = format!("{admin}/api/v1/approvals/{id}/decision");
    let decided = load.files.http.post(url).bearer_auth("key-carol").json(&json!({"decision": decision}));
    decided.send().await.ok()?;
    let body = client.body("tools/call", json!({"name": tool, "arguments": {"n": n}}));
    client.post(&body).send().await.ok()?.bytes().await.ok()?;
    load.answered.fetch_add(1, Ordering::SeqCst);
    Some(())
}

async fn serves(load: Arc<Load>, seed: u64) {
    let mut random = Random(seed);
    while load.another() {
        if load.killed_at_birth(&mut random, &["serve"]).await {
            continue;
        }
        let mut process = match load.files.try_serve().await {
            Ok(process) => process,
            Err(log) => {
                load.refused(&log);
                continue;
            }
        };
        let steps = watch::Sender::new(0);
        let flows: Vec<_> = (0..FLOWS)
            .map(|_| {
                let client = load.files.client(&process, random.agent());
                let (load, admin, steps) = (load.clone(), process.admin.clone(), steps.clone());
                let mut random = Random(random.below(u64::MAX));
                tokio::spawn(async move {
                    while flow(&load, &client, &admin, &mut random).await.is_some() {
                        steps.send_modify(|steps| *steps += 1);
                    }
                    // Nobody waits for one that is gone.
                    steps.send_modify(|steps| *steps += 1_000);
                })
            })
            .collect();
        let last = random.below(40);
        let mut seen = steps.subscribe();
        soon(seen.wait_for(|seen| *seen >= last)).await.unwrap();
        process.kill().await;
        for flow in flows {
            flow.await.unwrap();
        }
    }
}

async fn speaks(load: Arc<Load>, seed: u64) {
    let mut random = Random(seed);
    while load.another() {
        let agent = random.agent();
        if load.killed_at_birth(&mut random, &["stdio", "--agent", agent]).await {
            continue;
        }
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["stdio", "--agent", agent, "--config"])
            .arg(load.files.dir.join("servers.toml"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = BufReader::new(stdout).lines();
        let last = random.below(40);
        let mut answered = 0;
        'calls: for id in 0_u64.. {
            let (tool, n) = load.call(&mut random);
            let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {}});
            let params = json!({"name": tool, "arguments": {"n": n}, "_meta": meta});
            let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            let written = stdin.write_all(format!("{message}\n").as_bytes()).await;
            // Some are under way when it ends.
            if id < FLOWS as u64 && written.is_ok() {
                continue;
            }
            loop {
                let Some(line) = soon(lines.next_line()).await.unwrap() else {
                    let mut log = String::new();
                    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
                    load.refused(&log);
                    break 'calls;
                };
                let reply: Value = serde_json::from_str(&line).unwrap();
                if reply.get("id").is_some() && reply.get("method").is_none() {
                    break;
                }
            }
            load.answered.fetch_add(1, Ordering::SeqCst);
            answered += 1;
            if answered >= last {
                break;
            }
        }
        child.kill().await.ok();
    }
}

/// kill -9 at random, under load, of four processes on one store: at the end no call was received without a committed
/// decision, no approval used twice, no budget passed, every call has one end, and the chain is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random() {
    let kills = kills();
    let day = kills * 4;
    let policies = format!(
        "=== ask.yaml
name: writes
description: d
on: [{{ tool: up__write }}]
rules: [{{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads] }}]
=== budgets.yaml
budgets:
  - {{ id: day, scope: agent, window: day, max_calls: {day}, on_exceed: deny }}
  - {{ id: minute, scope: global, window: minute, max_calls: {PER_MINUTE}, on_exceed: throttle }}
  - {{ id: spent, scope: global, window: ever, max_cost_usd: 1000, max_tokens: 1000000000 }}
"
    );
    let gateway = "approval_wait = \"0s\"\ndrain = \"1s\"".to_owned();
    let files = Files::of(Setup { files: policies, gateway, ..Setup::default() }).await;
    let load = Arc::new(Load {
        files,
        left: AtomicUsize::new(kills),
        calls: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let seed = u64::from(std::process::id());
    let processes = [
        tokio::spawn(serves(load.clone(), seed)),
        tokio::spawn(serves(load.clone(), seed + 1)),
        tokio::spawn(speaks(load.clone(), seed + 2)),
        tokio::spawn(speaks(load.clone(), seed + 3)),
    ];
    for process in processes {
        process.await.unwrap();
    }
    let store = load.files.store();
    let now = tollgate::clock::Clock::now(&tollgate::clock::System::default());
    store.settle_dead_owners(now).await.unwrap();
    assert_eq!(store.settle_dead_owners(now).await.unwrap(), 0);
    let report = store.verify().await.unwrap();
    assert_eq!(report.bad, None);
    let events = store.events(EventQuery::default()).await.unwrap();
    let sent = holds(&load.files, &events, day);
    let usage = store.budget_usage(now).await.unwrap();
    is_counted_once(&events, usage.iter().find(|at| at.id.as_str() == "spent").unwrap());
    let answered = load.answered.load(Ordering::SeqCst);
    let cut = events.iter().filter(|event| event.draft.action.as_deref() == Some("torn_tail_cut")).count();
    let unknown = events.iter().filter(|event| event.draft.outcome == Some(Outcome::Unknown)).count();
    eprintln!(
        "seed {seed}: {kills} kills, {answered} answers, {sent} calls received, {} records, {unknown} unknown ends, {cut} torn frames, {} starts refused",
        events.len(),
        load.refused.load(Ordering::SeqCst)
    );
    assert!(answered > 0 && sent > 0 && unknown > 0);
    store.close().await;
}

/// No reservation is lost or doubled, whatever was killed: the counter is the sum of what calls took, and of what was
/// reserved where nobody knows that.
fn is_counted_once(events: &[Event], spent: &BudgetUsage) {
    let mut reserved = BTreeMap::new();
    let (mut calls, mut cost) = (0, 0);
    for event in events {
        let draft = &event.draft;
        let call = draft.call_id.clone();
        match draft.event_type {
            EventType::AgentDecision
                if matches!(draft.decision, Some(EventDecision::Allow | EventDecision::Approved)) =>
            {
                calls += 1;
                reserved.insert(call, draft.cost_estimate_usd.unwrap().0);
            }
            EventType::AgentSideEffect => {
                let held = reserved.remove(&call).unwrap();
                cost += draft
                    .cost_usd
                    .filter(|_| draft.outcome != Some(Outcome::Unknown))
                    .map_or(held, |cost| cost.0);
            }
            _ => {}
        }
    }
    assert!(reserved.is_empty(), "all of them have ended: {reserved:?}");
    assert_eq!((spent.calls, spent.cost_usd.0, spent.reserved.calls), (calls, cost, 0));
}

/// What must hold of the record and of what the upstream saw; how many calls that were.
fn holds(files: &Files, events: &[Event], day: usize) -> usize {
    let argument = |event: &Event| event.draft.detail.as_ref().unwrap()["arguments"]["n"].as_u64();
    let granted: Vec<&Event> = events
        .iter()
        .filter(|event| {
            event.draft.event_type == EventType::AgentDecision
                && matches!(event.draft.decision, Some(EventDecision::Allow | EventDecision::Approved))
        })
        .collect();
    let (mut ends, mut used, mut decided) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    for event in events.iter().filter(|event| event.draft.event_type == EventType::AgentSideEffect) {
        let call = event.draft.call_id.clone().unwrap();
        assert!(ends.insert(call.clone(), event.draft.outcome).is_none(), "{call} has two ends");
    }
    let (mut days, mut minute) = (BTreeMap::new(), Vec::new());
    for event in &granted {
        let draft = &event.draft;
        let call = draft.call_id.clone().unwrap();
        assert!(ends.contains_key(&call), "{call} has no end");
        *decided.entry(argument(event).unwrap()).or_insert(0_usize) += 1;
        *days.entry((draft.agent_id.clone(), draft.timestamp.as_second() / 86_400)).or_insert(0_usize) += 1;
        minute.push(draft.timestamp.as_millisecond());
        if let Some(approval) = &draft.approval_id {
            assert!(used.insert(approval.clone()), "{approval} was used twice");
        }
        assert_eq!(draft.decision == Some(EventDecision::Approved), draft.approval_id.is_some(), "{draft:?}");
    }
    assert_eq!(ends.len(), granted.len(), "only what was granted has an end");
    assert!(!used.is_empty());
    assert!(days.values().all(|calls| *calls <= day), "{days:?}: more than {day}");
    minute.sort_unstable();
    let passed = minute.windows(PER_MINUTE + 1).find(|calls| calls[PER_MINUTE] - calls[0] < 59_000);
    assert_eq!(passed, None, "more than {PER_MINUTE} calls in a minute");
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for call in files.up.calls() {
        *seen.entry(call.arguments()["n"].as_u64().unwrap()).or_default() += 1;
    }
    for (n, times) in &seen {
        let decisions = decided.get(n).copied().unwrap_or(0);
        assert!(*times <= decisions, "{n} was received {times} times, with {decisions} committed decisions");
    }
    // What is said to have succeeded was received.
    for event in granted {
        let succeeded = ends[event.draft.call_id.as_ref().unwrap()] == Some(Outcome::Succeeded);
        assert!(!succeeded || seen.contains_key(&argument(event).unwrap()), "{event:?}");
    }
    seen.values().sum()
}
