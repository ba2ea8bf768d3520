//! The real binary, killed at every point that matters (I1, I3, I9, I10).

use crate::{harness::*, secrets};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use tollgate::{
    model::{ApprovalStatus, Event, EventType, Outcome},
    store::{ApprovalFilter, EventQuery, Store},
};

const ASK: &str = "=== ask.yaml
name: writes
description: d
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads] }]
";

fn files(text: &str) -> Setup {
    Setup {
        files: text.to_owned(),
        gateway: "approval_wait = \"100ms\"\ndrain = \"1s\"".to_owned(),
        ..Setup::default()
    }
}

async fn approve(files: &Files, process: &Process, id: &str) {
    let body = json!({"decision": "approve"});
    let path = format!("approvals/{id}/decision");
    assert_eq!(api(&files.http, &process.admin, "carol", &path, Some(body)).await.0, 200);
}

async fn chain(store: &dyn Store) -> Vec<Event> {
    assert_eq!(store.verify().await.unwrap().bad, None);
    store.events(EventQuery::default()).await.unwrap()
}

/// A call in the background, whose process may go away under it.
fn spawn(client: &Client, tool: &'static str, arguments: Value) -> tokio::task::JoinHandle<()> {
    let client = client.clone();
    let body = client.body("tools/call", json!({"name": tool, "arguments": arguments}));
    tokio::spawn(async move {
        if let Ok(response) = client.post(&body).send().await {
            response.bytes().await.ok();
        }
    })
}

/// Killed while the upstream works: after the restart the call is settled as unknown, its reservation stands, and
/// nothing is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_a_call() {
    let budget = "=== budgets.yaml\nbudgets:\n  - { id: cap, scope: agent, window: day, max_calls: 2, on_exceed: deny }\n";
    let files = Files::of(files(budget)).await;
    let mut process = files.serve().await;
    files.up.hangs();
    let call = spawn(&files.client(&process, "ada"), "up__echo", json!({"n": 1}));
    files.up.until_count(1).await;
    process.kill().await;
    call.await.unwrap();
    files.up.behaves();
    let process = files.serve().await;
    let client = files.client(&process, "ada");
    client.call("up__echo", json!({"n": 2})).await.ok();
    assert_eq!(client.call("up__echo", json!({"n": 3})).await.decision()["policy_id"], "cap");
    assert_eq!(files.up.count(), 2);
    let events = chain(&*files.store()).await;
    let unknown: Vec<&Event> = events.iter().filter(|e| e.draft.outcome == Some(Outcome::Unknown)).collect();
    assert_eq!(unknown.len(), 1);
    let decided = events.iter().find(|e| {
        e.draft.call_id == unknown[0].draft.call_id && e.draft.event_type == EventType::AgentDecision
    });
    assert!(decided.unwrap().seq < unknown[0].seq);
}

/// R23, I3: killed while an approval is pending, after it was given, and while the approved call runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_around_an_approval() {
    let files = Files::of(files(ASK)).await;
    let mut process = files.serve().await;
    let id = pending(&files.client(&process, "bot").call("up__write", json!({"n": 1})).await);
    process.kill().await;
    let mut process = files.serve().await;
    assert_eq!(pending(&files.client(&process, "bot").call("up__write", json!({"n": 1})).await), id);
    assert_eq!(files.up.count(), 0);
    approve(&files, &process, &id).await;
    process.kill().await;
    let mut process = files.serve().await;
    files.up.hangs();
    let call = spawn(&files.client(&process, "bot"), "up__write", json!({"n": 1}));
    files.up.until_count(1).await;
    process.kill().await;
    call.await.unwrap();
    files.up.behaves();
    let process = files.serve().await;
    assert_ne!(pending(&files.client(&process, "bot").call("up__write", json!({"n": 1})).await), id);
    assert_eq!(files.up.count(), 1);
    let store = files.store();
    let records = store.approvals(ApprovalFilter::default()).await.unwrap();
    let spent = records.iter().find(|r| r.id.as_str() == id).unwrap();
    assert_eq!(spent.status, ApprovalStatus::Consumed);
    chain(&*store).await;
}

/// I1, I9: killed again and again under load: every call that the upstream saw has a committed decision, none is sent
/// twice, and whatever was decided is settled in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load() {
    let files = Files::of(files("")).await;
    let mut n = 0;
    for round in 1..=8 {
        let mut process = files.serve().await;
        let before = files.up.count();
        let client = files.client(&process, ["ada", "eve", "bot"][round % 3]);
        let calls: Vec<_> = (0..24)
            .map(|_| {
                n += 1;
                spawn(&client, "up__echo", json!({"n": n}))
            })
            .collect();
        // Each round ends a few calls further on.
        files.up.until_count(before + round * 2).await;
        process.kill().await;
        for call in calls {
            call.await.unwrap();
        }
    }
    let process = files.serve().await;
    files.client(&process, "ada").call("up__echo", json!({"n": 0})).await.ok();
    let store = files.store();
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for call in files.up.calls() {
        *seen.entry(call.arguments()["n"].as_u64().unwrap()).or_default() += 1;
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    process.until_event(|e| e["event_type"] == "agent_side_effect").await;
    let events = chain(&*store).await;
    let mut decided = BTreeMap::new();
    let mut settled = BTreeMap::new();
    for event in &events {
        let Some(call) = event.draft.call_id.clone() else { continue };
        match event.draft.event_type {
            EventType::AgentDecision => {
                let n = event.draft.detail.as_ref().unwrap()["arguments"]["n"].as_u64().unwrap();
                assert!(decided.insert(call, n).is_none());
            }
            EventType::AgentSideEffect => {
                assert!(decided.contains_key(&call));
                assert!(settled.insert(call, event.draft.outcome).is_none());
            }
            _ => {}
        }
    }
    for n in seen.keys() {
        assert!(decided.values().any(|d| d == n), "the upstream saw {n}, and no decision is committed");
    }
    for (call, n) in &decided {
        let outcome = settled.get(call);
        assert!(outcome.is_some(), "{n} was decided and is not settled");
        // What is said to have succeeded was sent.
        assert!(outcome != Some(&Some(Outcome::Succeeded)) || seen.contains_key(n));
    }
}

/// I10: a process that dies is settled by one that lives, which keeps its own open calls; the cap holds over both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_living_settle_the_dead() {
    let budget = "=== budgets.yaml\nbudgets:\n  - { id: cap, scope: global, window: day, max_calls: 6, on_exceed: deny }\n";
    let files = Files::of(files(budget)).await;
    let (mut one, two) = (files.serve().await, files.serve().await);
    let (first, second) = (files.client(&one, "ada"), files.client(&two, "eve"));
    for n in 0..2 {
        first.call("up__echo", json!({"n": n})).await.ok();
        second.call("up__echo", json!({"n": n})).await.ok();
    }
    files.up.hangs();
    let dies = spawn(&first, "up__echo", json!({"n": 8}));
    let lives = spawn(&second, "up__echo", json!({"n": 9}));
    files.up.until_count(6).await;
    one.kill().await;
    dies.await.unwrap();
    two.until_event(|e| e["outcome"] == "unknown" && e["agent_id"] == "ada").await;
    let events = chain(&*files.store()).await;
    assert_eq!(events.iter().filter(|e| e.draft.outcome == Some(Outcome::Unknown)).count(), 1);
    assert!(!lives.is_finished());
    files.up.behaves();
    assert_eq!(second.call("up__echo", json!({"n": 10})).await.decision()["policy_id"], "cap");
    assert_eq!(files.up.count(), 6);
    lives.abort();
}

/// R19: a changed bundle is activated or refused by itself and on SIGHUP; SIGTERM ends in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_reloaded() {
    let files = Files::of(files("")).await;
    let mut process = files.serve().await;
    let client = files.client(&process, "ada");
    client.call("up__echo", json!({"n": 1})).await.ok();
    let policies = files.dir.join("policies");
    std::fs::write(
        policies.join("g.yaml"),
        "name: g\ndescription: d\non: [{ tool: up__echo }]\nrules: [{ decision: DENYY }]\n",
    )
    .unwrap();
    let rejected = process.until_event(|e| e["event_type"] == "policy_rejected").await;
    assert!(rejected["reason"].as_str().unwrap().contains("DENYY"), "{rejected:#}");
    client.call("up__echo", json!({"n": 2})).await.ok();
    let (status, ready) = {
        let request = files.http.get(format!("{}/readyz", process.admin)).bearer_auth("key-bob");
        let response = soon(request.send()).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(status, 200);
    assert!(ready.contains("DENYY"), "{ready}");
    std::fs::write(
        policies.join("g.yaml"),
        "name: g\ndescription: d\non: [{ tool: up__echo }]\nrules: [{ decision: DENY }]\n",
    )
    .unwrap();
    let old = rejected["policy_snapshot"].clone();
    process.until_event(|e| e["event_type"] == "policy_activated" && e["policy_snapshot"] != old).await;
    assert_eq!(client.call("up__echo", json!({"n": 3})).await.decision()["policy_id"], "g");
    process.signal(Signal::HUP);
    assert_eq!(client.call("up__echo", json!({"n": 4})).await.decision()["policy_id"], "g");
    process.signal(Signal::TERM);
    assert!(process.ended().await, "{}", process.log.text());
    assert_eq!(files.up.count(), 2);
}

/// I5: what a child writes to stderr, and what goes through, stands raw in no log and no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_hold_no_secrets() {
    let said: String =
        secrets::secrets().iter().map(|(_, secret)| format!("echo 'using {secret}' >&2\n")).collect();
    let mut setup = files(
        "=== authority.yaml
capabilities:
  all: { tools: [\"*\"] }
agents:
  ada: { owner: tests, capabilities: [all], keys: [\"{ada}\"] }
people:
  alice: { keys: [\"{alice}\"], groups: [leads], roles: [approver] }
",
    );
    setup.servers = "[upstreams.child]\ncommand = [\"sh\", \"child.sh\"]\n".to_owned();
    let files = Files::of(setup).await;
    let script = format!("{said}exec {} demo-upstream\n", env!("CARGO_BIN_EXE_tollgate"));
    std::fs::write(files.dir.join("child.sh"), script).unwrap();
    let servers = std::fs::read_to_string(files.dir.join("servers.toml")).unwrap();
    let full = files.dir.join("child.sh").display().to_string();
    std::fs::write(files.dir.join("servers.toml"), servers.replace("child.sh", &full)).unwrap();
    let mut process = files.serve().await;
    let client = files.client(&process, "ada");
    assert!(client.tools().await.contains(&"child__notes_list".to_owned()));
    let mut arguments = json!({});
    for (name, secret) in secrets::secrets() {
        arguments[name] = secret.into();
    }
    client.call("up__echo", arguments.clone()).await.ok();
    client.call("child__notes_list", arguments).await;
    process
        .until_event(|e| {
            e["event_type"] == "agent_side_effect" && e["tool"] == "child__notes_list"
                || e["policy_id"] == "schema"
        })
        .await;
    process.signal(Signal::TERM);
    assert!(process.ended().await, "{}", process.log.text());
    let log = process.log.text();
    assert!(log.contains("using"), "the child's stderr is logged: {log}");
    secrets::clean("the log", log.as_bytes());
    secrets::clean("the events", process.events.text().as_bytes());
}

/// R23, I1, I3, I4: killed again and again while calls are asked about, decided and made, each time a step further on.
/// Whatever was sent had an approval of its own, none was used twice, and what each approval is now its events explain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_ask_and_dispatch() {
    const ROUNDS: usize = 150;
    const FLOWS: usize = 6;
    let files = Arc::new(Files::of(files(ASK)).await);
    let mut kills = 0;
    for round in 0..ROUNDS {
        let mut process = files.serve().await;
        let steps = tokio::sync::watch::Sender::new(0_usize);
        let flows: Vec<_> = (0..FLOWS)
            .map(|flow| {
                let (files, steps) = (files.clone(), steps.clone());
                let client = files.client(&process, ["bot", "eve", "ada"][flow % 3]);
                let admin = process.admin.clone();
                // Half of them go on with what the round before was killed in.
                let n = if flow % 2 == 0 { (round / 2) * FLOWS + flow } else { round * FLOWS + flow };
                tokio::spawn(async move { ask_decide_use(&files, &client, &admin, n, &steps).await })
            })
            .collect();
        // Every flow has five steps; each round ends after another number of them.
        let last = 1 + (round * 7) % (FLOWS * 5);
        let over = async {
            let mut seen = steps.subscribe();
            seen.wait_for(|seen| *seen >= last).await.map(drop).ok();
        };
        tokio::select! {
            () = over => {}
            () = async { while !flows.iter().all(tokio::task::JoinHandle::is_finished) { tokio::task::yield_now().await } } => {}
        }
        kills += flows.iter().filter(|flow| !flow.is_finished()).count();
        process.kill().await;
        for flow in flows {
            flow.await.unwrap();
        }
    }
    assert!(kills > ROUNDS, "only {kills} flows were hit");
    // What was open when a process died is settled by the next.
    let process = files.serve().await;
    drop(process);
    explained(&files).await;
}

/// One call from its ask to its result, as far as the process lives; each step that is done is counted.
async fn ask_decide_use(
    files: &Files,
    client: &Client,
    admin: &str,
    n: usize,
    steps: &tokio::sync::watch::Sender<usize>,
) -> Option<()> {
    let step = || steps.send_modify(|steps| *steps += 1);
    let call = async || {
        let body = client.body("tools/call", json!({"name": "up__write", "arguments": {"n": n}}));
        let response = client.post(&body).send().await.ok()?;
        response.json::<Value>().await.ok()
    };
    let asked = call().await?;
    step();
    let id = asked["result"]["_meta"]["tollgate/decision"]["approval_id"].as_str()?.to_owned();
    for path in [format!("approvals/{id}"), format!("approvals/{id}/decision")] {
        let url = format!("{admin}/api/v1/{path}");
        let request = match path.ends_with("decision") {
            true => {
                files.http.post(url).json(&json!({"decision": if n % 7 == 3 { "reject" } else { "approve" }}))
            }
            false => files.http.get(url),
        };
        request.bearer_auth("key-carol").send().await.ok()?;
        step();
    }
    call().await?;
    step();
    call().await?;
    step();
    Some(())
}

async fn explained(files: &Files) {
    let store = files.store();
    let events = chain(&*store).await;
    let records = store.approvals(ApprovalFilter::default()).await.unwrap();
    let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
    for call in files.up.calls() {
        *sent.entry(call.arguments()["n"].as_u64().unwrap()).or_default() += 1;
    }
    let mut used: BTreeMap<u64, usize> = BTreeMap::new();
    for record in &records {
        let of = |kind: EventType| {
            events.iter().filter(move |e| {
                e.draft.event_type == kind && e.draft.approval_id.as_ref() == Some(&record.id)
            })
        };
        let asked: Vec<i64> = of(EventType::ApprovalRequested).map(|e| e.seq).collect();
        assert_eq!(asked.len(), 1, "{record:?}");
        let decided: Vec<&Event> = of(EventType::ApprovalDecided).collect();
        let approved: Vec<&Event> = of(EventType::AgentDecision)
            .filter(|e| e.draft.decision == Some(tollgate::model::EventDecision::Approved))
            .collect();
        assert_eq!(decided.len(), record.answers.len(), "{record:?}");
        assert!(decided.iter().all(|e| e.seq > asked[0]));
        let expected = match record.status {
            ApprovalStatus::Pending => (0, 0),
            ApprovalStatus::Approved | ApprovalStatus::Rejected => (1, 0),
            ApprovalStatus::Consumed => (1, 1),
            ApprovalStatus::Expired | ApprovalStatus::Cancelled => panic!("{record:?}"),
        };
        assert_eq!((decided.len(), approved.len()), expected, "{record:?}");
        if let Some(use_) = approved.first() {
            assert!(use_.seq > decided[0].seq && record.answers[0].approve);
            let settled = events.iter().filter(|e| {
                e.draft.event_type == EventType::AgentSideEffect && e.draft.call_id == use_.draft.call_id
            });
            assert_eq!(settled.count(), 1, "{record:?}");
            *used.entry(record.arguments["n"].as_u64().unwrap()).or_default() += 1;
        }
    }
    for (n, times) in &sent {
        assert!(used.get(n).is_some_and(|used| times <= used), "{n} was sent {times} times: {used:?}");
    }
    // An approval that nobody sees used was not: something was really made, and something really refused.
    assert!(!sent.is_empty() && records.iter().any(|r| r.status == ApprovalStatus::Rejected));
}
