//! Large arguments and results are looked through on threads of their own, one piece of an agent's work at a time (I12).

use crate::harness::*;
use serde_json::{Value, json};
use std::sync::{Arc, mpsc};
use tokio::{sync::oneshot, task::JoinHandle};

/// Takes an agent's turn until the end that is returned is dropped.
async fn hold(world: &World, agent: &'static str) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (began, begun) = oneshot::channel();
    let offload = Arc::clone(world.gate.gateway.offload());
    tokio::spawn(async move {
        let work = move || {
            began.send(()).unwrap();
            held.recv().ok();
        };
        offload.finish(&agent.into(), work).await;
    });
    soon(begun).await.unwrap();
    release
}

fn call(client: &Client, arguments: &Value) -> JoinHandle<Reply> {
    let (client, arguments) = (client.clone(), arguments.clone());
    tokio::spawn(async move { client.call("up__echo", arguments).await })
}

fn text() -> String {
    "a note among many. ".repeat(8_000)
}

/// I12: an agent's large calls take turns among themselves; its small ones and those of others go on.
#[tokio::test]
async fn large_calls_take_turns_and_small_ones_do_not_wait() {
    let world = World::of("").await;
    let (ada, eve) = (world.bare("ada"), world.bare("eve"));
    let held = hold(&world, "ada").await;
    let large = json!({"note": text()});
    let waiting = call(&ada, &large);
    // What waits for its turn holds up neither its own agent nor another.
    for n in 0..3 {
        ada.call("up__echo", json!({"n": n})).await.ok();
        assert_eq!(eve.call("up__echo", json!({"n": n, "note": text()})).await.echoed()["n"], n);
    }
    assert!(!waiting.is_finished());
    assert_eq!(world.up.count(), 6, "the large one has not been sent");
    drop(held);
    assert_eq!(soon(waiting).await.unwrap().echoed(), large);
}

/// I12: the same of a large result to a small call.
#[tokio::test]
async fn large_results_take_turns() {
    let world = World::of("").await;
    let (ada, eve) = (world.bare("ada"), world.bare("eve"));
    let held = hold(&world, "ada").await;
    world.up.results(text_result(&text()));
    let waiting = call(&ada, &json!({"n": 1}));
    world.up.until_count(1).await;
    assert_eq!(eve.call("up__echo", json!({"n": 2})).await.text(), text());
    assert!(!waiting.is_finished());
    drop(held);
    assert_eq!(soon(waiting).await.unwrap().text(), text());
}
