//! Several gateways on one store, and the orders and rollouts that they follow: what one of them does not know yet, or cannot use,
//! ends nothing of the others.

use crate::harness::*;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tollgate::{
    activation::{self, Standing},
    approval::Approvals,
    clock::{Fake, System},
    evidence::{Bounds, Stage},
    gateway::{RolloutWish, Wish},
    model::{ApprovalStatus, EventType, PersonId, Share, SnapshotId},
    store::{ApprovalRecord, GrantFilter, StandingGrant},
};

/// Every write is asked about; whoever answers may make a grant of it.
const ASK: &str = "=== ask.yaml
name: writes
description: A person agrees to each write
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator, leads], grants: { max_duration: 8h, max_uses: 50 } }]
";

/// The same in other words, which make another snapshot.
fn other() -> String {
    ASK.replace("each write", "every write")
}

fn third() -> String {
    ASK.replace("each write", "any write")
}

async fn world(clock: Option<Arc<Fake>>) -> World {
    let gateway = "approval_wait = \"1ms\"".to_owned();
    World::start(Setup { files: ASK.to_owned(), gateway, clock, ..Setup::default() }).await
}

fn in_force(gate: &Gate) -> SnapshotId {
    gate.gateway.in_force().policies.snapshot.clone()
}

/// Has the store keep these files, and gives their snapshot.
async fn kept(world: &World, files: &str) -> SnapshotId {
    world.reload(files).await;
    in_force(&world.gate)
}

fn dan() -> PersonId {
    PersonId::from("dan")
}

async fn hold(world: &World, snapshot: &SnapshotId) {
    let wish = Wish::Snapshot(snapshot.to_string());
    world.gate.gateway.order(&dan(), wish, "a test").await.unwrap();
    assert_eq!((in_force(&world.gate), standing(world).await.held.is_some()), (snapshot.clone(), true));
}

async fn roll_out(world: &World, snapshot: &SnapshotId) {
    let stages = ["50%", "100%"].iter().filter_map(|text| Stage::parse(text)).collect();
    let bounds = Bounds { max_deny_increase: Share::parse("100%").unwrap(), max_errors: 9, min_calls: 9 };
    let gateway = &world.gate.gateway;
    gateway.start_rollout(&dan(), snapshot, (stages, bounds), "a test").await.unwrap();
    gateway.order_rollout(&dan(), RolloutWish::Advance, "a test").await.unwrap();
}

async fn standing(world: &World) -> Standing {
    activation::standing(&*world.gate.store).await.unwrap()
}

/// Waits until a gateway is as asked for.
async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// An ask that waits, one that is approved, and a standing grant, each made under this snapshot.
async fn asks_and_grants(world: &World, snapshot: &SnapshotId) {
    let bot = world.bare("bot");
    let mut answers = vec![None, Some(json!({"decision": "approve"}))];
    let grant = json!({"duration": "1h", "uses": 5, "arguments": {"path": {"within": "/scratch"}}});
    answers.push(Some(json!({"decision": "approve", "grant": grant})));
    for (n, answer) in answers.into_iter().enumerate() {
        let id = pending(&bot.call("up__write", json!({"path": format!("/scratch/{n}")})).await);
        if let Some(answer) = answer {
            let (status, body) = world.api("carol", &format!("approvals/{id}/decision"), Some(answer)).await;
            assert_eq!(status, 200, "{body:#}");
        }
    }
    all_stand(world, snapshot).await;
}

async fn all_stand(world: &World, snapshot: &SnapshotId) {
    let approvals = world.approvals().await;
    let of = |record: &ApprovalRecord| (record.status, record.binding.snapshot == *snapshot);
    let expected = [ApprovalStatus::Approved, ApprovalStatus::Approved, ApprovalStatus::Pending];
    assert_eq!(approvals.iter().map(of).collect::<Vec<_>>(), expected.map(|status| (status, true)));
    let live = live_grants(world).await;
    assert_eq!(live.iter().map(|grant| &grant.terms.snapshot).collect::<Vec<_>>(), [snapshot]);
}

async fn live_grants(world: &World) -> Vec<StandingGrant> {
    world.gate.store.grants(GrantFilter { live: true, ..GrantFilter::default() }).await.unwrap()
}

/// A gateway that starts while a bundle decides its share of calls ends nothing that was asked for under that one, whether the
/// bundle beside it is held or the folder's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_ends_nothing_of_a_rollout() {
    for is_held in [false, true] {
        let world = world(None).await;
        let candidate = kept(&world, &other()).await;
        let base = kept(&world, ASK).await;
        if is_held {
            kept(&world, &third()).await;
            hold(&world, &base).await;
            rewrite(&world.dir, ASK);
        }
        roll_out(&world, &candidate).await;
        asks_and_grants(&world, &candidate).await;
        let second = world.second().await;
        all_stand(&world, &candidate).await;
        until(|| second.gateway.in_force().trial.is_some()).await;
        all_stand(&world, &candidate).await;
        // Once it is over, they are.
        world.gate.gateway.order_rollout(&dan(), RolloutWish::Abort, "a test").await.unwrap();
        let approvals = world.approvals().await;
        assert!(approvals.iter().all(|record| record.status == ApprovalStatus::Cancelled), "{approvals:#?}");
        assert!(live_grants(&world).await.is_empty());
    }
}

/// A gateway that read what stood before another bundle was ordered records nothing behind that order, and ends nothing of what
/// was asked for under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_beside_an_order_obeys_it() {
    let world = world(None).await;
    let ordered = kept(&world, &other()).await;
    let before = kept(&world, ASK).await;
    hold(&world, &ordered).await;
    asks_and_grants(&world, &ordered).await;
    let seq = standing(&world).await.seq;
    let second = world.second().await;
    all_stand(&world, &ordered).await;
    until(|| in_force(&second) == ordered).await;
    all_stand(&world, &ordered).await;
    let events = world.events().await;
    let behind = events.iter().filter(|event| {
        event.seq > seq
            && event.draft.event_type == EventType::PolicyActivated
            && event.draft.policy_snapshot.as_ref() == Some(&before)
    });
    assert_eq!(behind.count(), 0);
}

/// A gateway that cannot use what was ordered refuses every call, and ends nothing of those that can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_cannot_follow_ends_nothing_of_others() {
    let world = world(None).await;
    let without = authority().lines().filter(|line| !line.contains("scout:")).collect::<Vec<_>>().join("\n");
    let ordered = kept(&world, &format!("{ASK}=== authority.yaml\n{without}")).await;
    kept(&world, ASK).await;
    hold(&world, &ordered).await;
    asks_and_grants(&world, &ordered).await;
    let path = world.dir.join("servers.toml");
    let servers = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{servers}\n[auth]\nanonymous_agent = \"scout\"\n")).unwrap();
    let second = world.second().await;
    until(|| second.gateway.readiness().details.iter().any(|said| said.contains("cannot use it"))).await;
    std::fs::write(&path, servers).unwrap();
    let refused =
        Client::modern(&world.http, &second.mcp, "bot", json!({})).call("up__read", json!({})).await;
    assert_eq!(refused.word(), "deny", "{:#}", refused.body);
    all_stand(&world, &ordered).await;
}

/// What another process has cancelled, and is decided as before here, is asked about again: nobody waits in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_cancel_is_asked_again() {
    let gateway = "approval_wait = \"60s\"".to_owned();
    let world = World::start(Setup { files: ASK.to_owned(), gateway, ..Setup::default() }).await;
    let client = world.bare("bot");
    let people = async {
        let asked = world.until_approval(|record| record.status == ApprovalStatus::Pending).await;
        let id = asked.id.clone();
        let elsewhere = Approvals::new(world.gate.store.clone(), Arc::new(System::default()));
        elsewhere.cancel_outdated(vec![asked], &[&SnapshotId::from("another")]).await.unwrap();
        let second = world.until_approval(|record| record.status == ApprovalStatus::Pending).await;
        assert_ne!(second.id, id);
        assert_eq!(world.decide("carol", second.id.as_str(), "approve").await, 200);
    };
    let (reply, ()) = tokio::join!(client.call("up__write", json!({"path": "/a"})), people);
    reply.ok();
    assert_eq!(world.up.count(), 1);
}

/// An order and a rollout that retention would remove are written once more together: what is held stays held, and what is tried
/// goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_ends_no_order_and_no_rollout() {
    let clock = Fake::at("2026-11-01T10:00:00Z".parse().unwrap());
    let world = world(Some(clock.clone())).await;
    let candidate = kept(&world, &other()).await;
    let base = kept(&world, ASK).await;
    kept(&world, &third()).await;
    hold(&world, &base).await;
    rewrite(&world.dir, ASK);
    roll_out(&world, &candidate).await;
    let before = standing(&world).await;
    clock.advance(Duration::from_hours(401 * 24));
    let second = Gate::start(&world.dir, Some(clock.clone()), None).await;
    second.until_event(|event| event.draft.action.as_deref() == Some("rollout_renewed")).await;
    let after = standing(&world).await;
    let (held, trial) = (after.held.unwrap(), after.trial.unwrap());
    assert_eq!((&held.snapshot, &*held.by, &*held.reason), (&base, "dan", "a test"));
    assert!(held.since > before.held.unwrap().since);
    let tried = before.trial.unwrap();
    assert_eq!(trial.rollout, tried.rollout);
    // Whoever tries it goes on with it.
    until(|| world.gate.gateway.in_force().trial.as_ref().is_some_and(|on| on.on.seq == trial.seq)).await;
    world.gate.gateway.order_rollout(&dan(), RolloutWish::Abort, "a test").await.unwrap();
}
