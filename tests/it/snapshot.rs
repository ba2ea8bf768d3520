//! One snapshot in force: bundle, configuration, tools and the servers that they mean change together.

use crate::harness::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use tollgate::{
    model::{EventType, UpstreamName},
    upstream::Health,
};

/// A child that never says anything: it is starting for as long as a test runs.
const SILENT: &str = "[upstreams.silent]\ncommand = [\"sleep\", \"600\"]\n";

const FROZEN: &str =
    "=== frozen.yaml\nname: frozen\ndescription: d\non: [{ label: frozen }]\nrules: [{ decision: DENY }]\n";

fn rewrite_servers(world: &World, change: impl FnOnce(String) -> String) {
    let servers = world.dir.join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    std::fs::write(&servers, change(text)).unwrap();
}

fn health(world: &World, name: &str) -> Health {
    let name = UpstreamName::from(name);
    let states = world.gate.gateway.upstreams();
    states.iter().find(|state| state.name == name).map(|state| state.health.clone()).unwrap()
}

async fn activated(world: &World) -> Value {
    let events = world.events().await;
    let newest = events.into_iter().rfind(|e| e.draft.event_type == EventType::PolicyActivated).unwrap();
    newest.draft.detail.unwrap()
}

/// A label and a DENY on it come together, however slow another upstream is: no call is decided by the new policies over the
/// old tools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_decided_by_new_policies_over_old_tools() {
    let world = World::of("").await;
    let client = world.legacy("ada").await;
    assert_eq!(client.call("up__echo", json!({"n": 0})).await.ok()["isError"], json!(null));
    rewrite_servers(&world, |text| {
        format!("{}{SILENT}", text.replace("labels = [\"internal\"]", "labels = [\"internal\", \"frozen\"]"))
    });
    let done = AtomicBool::new(false);
    let reload = async {
        world.reload(FROZEN).await;
        done.store(true, Ordering::Release);
    };
    let calls = async {
        let mut n = 0;
        while !done.load(Ordering::Acquire) {
            n += 1;
            client.call("up__echo", json!({"n": n})).await;
        }
    };
    soon(async { tokio::join!(reload, calls) }).await;
    assert_eq!(health(&world, "silent"), Health::Starting, "the reload waited for no upstream");
    assert_eq!(client.call("up__echo", json!({})).await.decision()["policy_id"], "frozen");
    let now = world.gate.gateway.in_force().policies.snapshot.clone();
    let mut under_the_new_one = 0;
    for event in world.events().await {
        let is_new = event.draft.policy_snapshot.as_ref() == Some(&now);
        if event.draft.event_type == EventType::AgentDecision && is_new {
            under_the_new_one += 1;
            assert_eq!(event.draft.policy_id.as_deref(), Some("frozen"), "{event:?}");
        }
    }
    assert!(under_the_new_one > 0);
}

/// A second reload does not queue behind a slow upstream of the first: revocation waits for nobody.
#[tokio::test]
async fn a_removed_key_ends_while_an_upstream_of_an_earlier_reload_is_slow() {
    let world = World::of("").await;
    let ada = world.legacy("ada").await;
    rewrite_servers(&world, |text| format!("{text}{SILENT}"));
    world.reload("").await;
    let without: String = authority()
        .lines()
        .filter(|line| !line.trim_start().starts_with("ada:"))
        .map(|l| format!("{l}\n"))
        .collect();
    world.reload(&format!("=== authority.yaml\n{without}")).await;
    assert_eq!(health(&world, "silent"), Health::Starting);
    let body = ada.body("tools/list", json!({}));
    assert_eq!(soon(ada.post(&body).send()).await.unwrap().status(), 401);
}

/// R8. Another URL under a known name is another upstream: nothing that is decided for it reaches the old one.
#[tokio::test]
async fn another_upstream_under_a_known_name_gets_the_calls_that_are_decided_for_it() {
    let before = Scripted::start().await;
    let after = Scripted::start().await;
    let (old, new) = (before.url(), after.url());
    let servers = "[upstreams.crm]\nurl = \"{crm}\"\nlabels = [\"before\"]\n".to_owned();
    let everything = authority().replace("tools: [\"up__*\"]", "tools: [\"*\"]");
    let files = format!("=== authority.yaml\n{everything}");
    let setup = Setup { servers, files: files.clone(), more: vec![("crm", before)], ..Setup::default() };
    let world = World::start(setup).await;
    let client = world.legacy("ada").await;
    client.call("crm__echo", json!({})).await.ok();
    let seen = world.more[0].1.count();
    rewrite_servers(&world, |text| text.replace(&old, &new).replace("[\"before\"]", "[\"after\"]"));
    world.reload(&files).await;
    let mut changes = world.gate.gateway.generations();
    soon(async {
        // Until it has listed, it has no tools.
        loop {
            changes.borrow_and_update();
            let reply = client.call("crm__echo", json!({})).await;
            if after.count() > 0 {
                break reply;
            }
            changes.changed().await.unwrap();
        }
    })
    .await
    .ok();
    assert_eq!(world.more[0].1.count(), seen, "the old one was called again");
    let labels = world.gate.gateway.catalog().tools["crm__echo"].labels.clone();
    assert!(labels.iter().any(|label| &**label == "after"), "{labels:?}");
}

/// The record of an activation says after which snapshot, by whom, and what changed. How files are written is no change.
#[tokio::test]
async fn an_activation_names_what_changed() {
    let gate = |decision: &str| {
        format!(
            "=== g.yaml\nname: g\ndescription: d\non: [{{ tool: up__pay }}]\nrules: [{{ decision: {decision} }}]\n"
        )
    };
    let world = World::of(&gate("DENY")).await;
    let first = world.gate.gateway.in_force().policies.snapshot.clone();
    let detail = activated(&world).await;
    assert_eq!((&detail["from"], &detail["changed"]), (&Value::Null, &json!({})));
    world.reload(&format!("{}# rewritten\n", gate("'DENY'"))).await;
    assert_eq!(world.gate.gateway.in_force().policies.snapshot, first);
    let kinds = world.events().await.into_iter().filter(|e| e.draft.event_type == EventType::PolicyActivated);
    assert_eq!(kinds.count(), 1);
    rewrite_servers(&world, |text| text.replace("labels = [\"costly\"]", "labels = [\"costly\", \"paid\"]"));
    world
        .reload(&format!(
            "{}=== h.yaml\nname: h\ndescription: d\non: [{{ tool: up__pay }}]\nrules: [{{ decision: DENY }}]\n",
            gate("SUGGEST")
        ))
        .await;
    let detail = activated(&world).await;
    assert_eq!(detail["from"], json!(first));
    assert_eq!(detail["changed"]["policies"], json!({"added": ["h"], "changed": ["g"], "removed": []}));
    assert_eq!(detail["changed"]["tools"], json!({"added": [], "changed": ["up__pay"], "removed": []}));
    // Another process tells from the record what changed since.
    world.reload("").await;
    let before = world.gate.gateway.in_force().policies.snapshot.clone();
    world.gate.gateway.shutdown().await;
    let text = std::fs::read_to_string(world.dir.join("policies/bundle.yaml")).unwrap();
    std::fs::write(world.dir.join("policies/bundle.yaml"), text.replace("owner: tests", "owner: others"))
        .unwrap();
    let _second = world.second().await;
    let detail = activated(&world).await;
    assert_eq!(detail["from"], json!(before));
    assert_eq!(detail["changed"]["files"], json!({"added": [], "changed": ["bundle.yaml"], "removed": []}));
    assert_eq!(detail["changed"]["policies"], json!({"added": [], "changed": [], "removed": []}));
}
