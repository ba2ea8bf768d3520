//! What one of several processes does at a time, where the store fails in the middle of it and others take it on.

use crate::{
    harness::*,
    webhook::{GATE, Hook, SECRET, told},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;
use tollgate::{
    clock::{IdSource as _, System},
    config::Durability,
    connections::Connections,
    model::{EventDraft, EventType},
    oversight::{Alerted, Watcher},
    policy::Oversight,
    store::{EventQuery, Register, RegisterChange, Store, embedded::EmbeddedStore},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

/// A store of its own, with something to fail.
fn failing(dir: &std::path::Path) -> Failing {
    let owner = System::default().owner_id();
    let clock = Arc::new(System::default());
    let store = EmbeddedStore::open(&dir.join("tollgate.db"), dir, Durability::Commit, owner, clock).unwrap();
    Failing::new(store, Arc::default())
}

/// Somebody tells of so many loops, each of an agent of its own.
async fn alerts(store: &dyn Store, second: i64, count: usize) {
    let alert = |n: usize| {
        let mut event = EventDraft::system(EventType::Alert, at(second));
        event.agent_id = Some(format!("agent-{second}-{n}").as_str().into());
        event.detail = Some(json!({"alert": "loop", "loop": "identical"}));
        event
    };
    store.record((0..count).map(alert).collect()).await.unwrap();
}

fn seqs(alerted: impl IntoIterator<Item = Alerted>) -> Vec<i64> {
    alerted.into_iter().map(|alerted| alerted.event.seq).collect()
}

/// Fails once where this is asked.
fn once(fault: Fault, wanted: impl Fn(&Question) -> bool + Send + 'static) -> Script {
    let mut fault = Some(fault);
    Box::new(move |asked| match wanted(asked) {
        true => fault.take().unwrap_or(Fault::None),
        false => Fault::None,
    })
}

fn is_state(asked: &Question) -> bool {
    matches!(asked, Question::Set(registers) if registers.contains(&Register::Watch))
}

/// Fails once with the first question of this kind behind a state that was written.
fn behind_a_state(wanted: Question) -> Script {
    let (mut written, mut failed) = (false, false);
    Box::new(move |asked| {
        written |= is_state(asked);
        let fails = written && !failed && *asked == wanted;
        failed |= fails;
        if fails { Fault::Before } else { Fault::None }
    })
}

/// What was written before the store failed is told, though the step as a whole is an error; what was written without an answer is
/// told once it is seen that it stands; what was not written is told once, by whoever reads it again.
#[tokio::test]
async fn no_alert_is_lost_to_a_store_that_fails_in_between() {
    let rules = Oversight::default();
    let faults: [(Script, usize); 4] = [
        (behind_a_state(Question::Events), 3),
        (behind_a_state(Question::Register(Register::Watch)), 3),
        (once(Fault::AnswerLost, is_state), 0),
        (once(Fault::Before, is_state), 0),
    ];
    for (n, (script, at_once)) in faults.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = failing(dir.path());
        let mut watcher = Watcher::default();
        alerts(&store, 0, 1).await;
        watcher.step(&store, &rules, &[], at(1)).await.unwrap();
        assert_eq!(seqs(watcher.alerted()), [1]);
        alerts(&store, 2, 3).await;
        *store.script.lock() = script;
        watcher.step(&store, &rules, &[], at(3)).await.unwrap_err();
        let mut told = seqs(watcher.alerted());
        assert_eq!(told.len(), at_once, "{n}");
        watcher.step(&store, &rules, &[], at(4)).await.unwrap();
        told.extend(seqs(watcher.alerted()));
        alerts(&store, 5, 1).await;
        watcher.step(&store, &rules, &[], at(6)).await.unwrap();
        told.extend(seqs(watcher.alerted()));
        let events = store.events(EventQuery::default()).await.unwrap();
        let raised = events.iter().filter(|event| {
            event.seq > 1 && event.draft.detail.as_ref().is_some_and(|detail| detail["alert"] == "loop")
        });
        assert_eq!(told, raised.map(|event| event.seq).collect::<Vec<_>>(), "{n}");
    }
}

/// The one whose write stands without its knowing it has lost the duty by then: it tells of it, as nobody else reads it again.
#[tokio::test]
async fn who_watches_no_more_tells_what_it_has_written() {
    let rules = Oversight::default();
    let dir = tempfile::tempdir().unwrap();
    let store = failing(dir.path());
    let mut watcher = Watcher::default();
    alerts(&store, 0, 2).await;
    *store.script.lock() = once(Fault::AnswerLost, is_state);
    watcher.step(&store, &rules, &[], at(1)).await.unwrap_err();
    *store.script.lock() = once(Fault::Before, |asked| *asked == Question::Register(Register::Watch));
    watcher.rest(&store).await.unwrap_err();
    assert!(watcher.alerted().is_empty());
    watcher.rest(&store).await.unwrap();
    assert_eq!(seqs(watcher.alerted()), [1, 2]);
    let mut other = Watcher::default();
    other.step(&store, &rules, &[], at(2)).await.unwrap();
    assert!(other.alerted().is_empty());
    watcher.rest(&store).await.unwrap();
    assert!(watcher.alerted().is_empty());
}

/// The same from outside: the webhook is told of an alert, though the store failed right behind it.
#[tokio::test]
async fn an_alert_is_told_though_the_store_fails_right_behind_it() {
    let (hook, url) = Hook::start(&[]).await;
    let files = "=== budgets.yaml\nbudgets:\n  - { id: cap, scope: agent, window: day, max_calls: 4, alert_at: [50], on_exceed: deny }\n";
    let (wrap, script, _) = Failing::scripted();
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let world =
        World::start(Setup { files: files.to_owned(), servers, wrap: Some(wrap), ..Setup::default() }).await;
    let bot = world.bare("bot");
    bot.call("up__read", json!({"path": "/1"})).await.ok();
    *script.lock() = behind_a_state(Question::Register(Register::Watch));
    bot.call("up__read", json!({"path": "/2"})).await.ok();
    let half = told(&hook.until(1).await[0]);
    assert_eq!((&half["alert"], &half["agent_id"]), (&json!("budget"), &json!("bot")), "{half:#}");
}

/// Waits until what `/readyz` says of places is so.
async fn until_said(world: &World, what: impl Fn(&[String]) -> bool) {
    let said = || {
        let details = world.gate.gateway.readiness().details;
        details
            .into_iter()
            .filter(|detail| detail.starts_with("delivery `") || detail.starts_with("webhook `"))
            .collect()
    };
    soon(async {
        let mut now: Vec<String> = said();
        while !what(&now) {
            tokio::task::yield_now().await;
            now = said();
        }
    })
    .await;
}

/// What keeps something from arriving is said as long as it does, by whoever it concerns: who does not deliver has nothing to say,
/// and a database that is back is no trouble any more, though there is nothing to send.
#[tokio::test]
async fn a_trouble_that_is_over_is_said_no_more() {
    let (_hook, url) = Hook::start(&[]).await;
    let (wrap, script, duties) = Failing::scripted();
    let servers = format!(
        "[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n[delivery.archive]\nfile = \"archive/events.jsonl\"\nfrom = \"start\"\n"
    );
    let world =
        World::start(Setup { files: GATE.to_owned(), servers, wrap: Some(wrap), ..Setup::default() }).await;
    // There is no such folder.
    world.bare("bot").call("up__read", json!({"path": "/a"})).await.ok();
    until_said(&world, |said| said.len() == 1 && said[0].contains("delivery `archive`")).await;
    // Whoever delivers now has it.
    duties.send_replace(Duties::Others);
    until_said(&world, |said| said.is_empty()).await;
    duties.send_replace(Duties::Unknown);
    until_said(&world, |said| said.len() == 2 && said.iter().all(|one| one.contains("cannot be told"))).await;
    duties.send_replace(Duties::Others);
    until_said(&world, |said| said.is_empty()).await;
    duties.send_replace(Duties::Unknown);
    until_said(&world, |said| said.len() == 2).await;
    std::fs::create_dir(world.dir.join("archive")).unwrap();
    duties.send_replace(Duties::Mine);
    until_said(&world, |said| said.is_empty()).await;
    *script.lock() = Box::new(|asked| if *asked == Question::Events { Fault::Before } else { Fault::None });
    until_said(&world, |said| said.len() == 2).await;
    *script.lock() = Box::new(|_| Fault::None);
    until_said(&world, |said| said.is_empty()).await;
}

/// How far the webhook was told.
async fn position(store: &dyn Store) -> Value {
    let entry = store.register_entry(Register::Webhook, "webhook".to_owned()).await.unwrap();
    entry.unwrap().value["seq"].clone()
}

/// Three asks of which the webhook is told only now that this process has the duty: that its position is written behind the first is
/// what `script` makes of it. Another process has told of the other two: nobody is told of them again, and the position stays.
async fn told_once(script: impl FnOnce(RegisterChange, watch::Sender<Duties>) -> Script) {
    let (hook, url) = Hook::start(&[]).await;
    let (wrap, faults, duties) = Failing::scripted();
    duties.send_replace(Duties::Others);
    let servers = format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let world =
        World::start(Setup { files: GATE.to_owned(), servers, wrap: Some(wrap), ..Setup::default() }).await;
    let store = &*world.gate.store;
    let before = position(store).await;
    for n in 0..3 {
        pending(&world.bare("bot").call("up__write", json!({"n": n})).await);
    }
    let newest = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
    let newest = json!({"seq": store.events(newest).await.unwrap()[0].seq});
    let moved = RegisterChange::set(Register::Webhook, "webhook", newest.clone());
    *faults.lock() = script(moved.clone(), duties.clone());
    duties.send_replace(Duties::Mine);
    hook.until(1).await;
    soon(async {
        while position(store).await == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    store.set(vec![moved], Vec::new()).await.unwrap();
    duties.send_replace(Duties::Mine);
    let fourth = pending(&world.bare("bot").call("up__write", json!({"n": 4})).await);
    let seen = hook.until(2).await;
    assert_eq!(told(&seen[1])["approval_id"], fourth);
    assert!(position(store).await.as_i64() >= newest["seq"].as_i64());
}

/// Whoever has lost the duty tells nothing more, however much there is.
#[tokio::test]
async fn who_has_lost_a_webhook_tells_it_nothing_more() {
    told_once(|_, duties| {
        let mut left = true;
        Box::new(move |asked| {
            if *asked == Question::Set(vec![Register::Webhook]) && std::mem::take(&mut left) {
                duties.send_replace(Duties::Others);
            }
            Fault::None
        })
    })
    .await;
}

/// The same where it has not noticed: what the other process wrote stands.
#[tokio::test]
async fn a_webhooks_position_is_not_moved_backwards() {
    told_once(|moved, _| {
        let mut moved = Some(moved);
        Box::new(move |asked| match *asked == Question::Set(vec![Register::Webhook]) {
            true => moved.take().map_or(Fault::None, Fault::Behind),
            false => Fault::None,
        })
    })
    .await;
}

/// An account that another process has connected is known here, though the store failed as it was looked for.
#[tokio::test]
async fn a_connection_is_known_though_the_store_failed_at_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(failing(dir.path()));
    let system = Arc::new(System::default());
    let connections = Connections::new(store.clone(), system.clone(), system);
    let mut changes = connections.changes();
    // The first look, and those that the change itself wakes: nothing wakes it after that.
    let mut fails = 3;
    *store.script.lock() = Box::new(move |asked| match *asked == Question::Register(Register::Connection) {
        true if fails > 0 => {
            fails -= 1;
            Fault::Before
        }
        _ => Fault::None,
    });
    let connected = json!({"since": at(0), "generation": 1});
    let connected = RegisterChange::set(Register::Connection, "crm gateway", connected);
    assert!(store.set(vec![connected], Vec::new()).await.unwrap());
    let follows = tokio::spawn(connections.clone().follow());
    soon(changes.changed()).await.unwrap();
    assert_eq!(connections.list().len(), 1);
    store.close().await;
    follows.abort();
}
