//! Dead letters end to end (R44): what failed on the way is listed, made again as a new call, once, or dismissed.

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::model::{EventType, Outcome};

async fn listed(world: &World, all: bool) -> Vec<Value> {
    let path = if all { "deadletters?status=all" } else { "deadletters" };
    let (status, body) = world.api("dan", path, None).await;
    assert_eq!(status, 200, "{body:#}");
    body["deadletters"].as_array().unwrap().clone()
}

async fn act(world: &World, id: &str, body: Value) -> (u16, Value) {
    world.api("dan", &format!("deadletters/{id}"), Some(body)).await
}

/// A write whose answer never comes: nobody knows whether it happened.
async fn lost(world: &World, arguments: Value) -> String {
    let before = world.gate.until_settled(0).await.len();
    world.up.script(|seen| {
        (seen.method() == "tools/call").then(|| {
            let page = axum::response::Response::builder().status(502).body("gone".into()).unwrap();
            answer(page)
        })
    });
    world.modern("ada").call("up__write", arguments).await;
    let settled = world.until_settled(before + 1).await.pop().unwrap().draft;
    assert_eq!(settled.outcome, Some(Outcome::Unknown), "{settled:?}");
    world.up.behaves();
    settled.call_id.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_listed_and_made_again_once() {
    let world = World::of("").await;
    let ada = world.modern("ada");
    ada.call("up__write", json!({"n": 0})).await.ok();
    assert!(listed(&world, true).await.is_empty(), "what went well is none");
    let id = lost(&world, json!({"n": 1})).await;
    let one = listed(&world, false).await.remove(0);
    assert_eq!(
        (&one["call_id"], &one["tool"], &one["outcome"], &one["status"]),
        (&json!(id), &json!("up__write"), &json!("unknown"), &json!("open"))
    );
    assert!(one["reason"].as_str().unwrap().contains("502"), "{one:#}");
    let before = world.up.count();
    let replay = json!({"action": "replay"});
    let (first, second) = tokio::join!(act(&world, &id, replay.clone()), act(&world, &id, replay.clone()));
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
    assert_eq!(world.up.count(), before + 1, "one call, however many ask");
    assert_eq!(world.up.calls().pop().unwrap().arguments(), &json!({"n": 1}));
    let done = if first.0 == 200 { first.1 } else { second.1 };
    assert_eq!(done["status"], "replayed", "{done:#}");
    let events = world.events().await;
    let new: Vec<_> =
        events.iter().filter(|e| e.draft.call_id.as_deref() == done["call_id"].as_str()).collect();
    let types: Vec<EventType> = new.iter().map(|event| event.draft.event_type).collect();
    assert_eq!(types, [EventType::AgentStart, EventType::AgentDecision, EventType::AgentSideEffect]);
    for event in &new {
        assert_eq!(event.draft.detail.as_ref().unwrap()["replay_of"], json!(id), "{event:?}");
        assert_eq!(event.draft.agent_id.as_deref(), Some("ada"));
    }
    assert!(listed(&world, false).await.is_empty());
    assert_eq!(listed(&world, true).await[0]["status"], "replayed");
    assert_eq!(act(&world, &id, replay).await.0, 409);
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

#[tokio::test]
async fn one_that_cannot_be_made_again_says_so_and_is_dismissed() {
    let world = World::of("").await;
    // `/content` is masked on record.
    let id = lost(&world, json!({"n": 2, "content": "a secret of ours"})).await;
    let (status, body) = act(&world, &id, json!({"action": "replay"})).await;
    assert_eq!(status, 409);
    assert!(body["error"]["message"].as_str().unwrap().contains("masked on record"), "{body:#}");
    assert_eq!(act(&world, &id, json!({"action": "dismiss"})).await.0, 400, "why?");
    assert_eq!(act(&world, "nobody", json!({"action": "dismiss", "reason": "x"})).await.0, 404);
    let (status, body) = act(&world, &id, json!({"action": "dismiss", "reason": "done by hand"})).await;
    assert_eq!((status, &body["status"]), (200, &json!("dismissed")), "{body:#}");
    assert!(listed(&world, false).await.is_empty());
    // What a tool answers itself, what only reads, and what was refused is none.
    world.up.results(json!({"content": [{"type": "text", "text": "no"}], "isError": true}));
    world.modern("ada").call("up__write", json!({"n": 3})).await;
    world.up.script(|seen| (seen.method() == "tools/call").then(|| answer(error(seen, -32000, "no"))));
    world.modern("ada").call("up__read", json!({"path": "/a"})).await;
    assert!(listed(&world, false).await.is_empty());
}

/// A refused replay is told as one, and leaves the dead letter open.
#[tokio::test]
async fn a_replay_goes_the_whole_path() {
    let world = World::of("").await;
    let id = lost(&world, json!({"n": 4})).await;
    let (status, frozen) =
        world.api("dan", "freeze", Some(json!({"tool": "up__write", "reason": "r"}))).await;
    assert_eq!(status, 201, "{frozen:#}");
    let before = world.up.count();
    let (status, body) = act(&world, &id, json!({"action": "replay"})).await;
    assert_eq!((status, &body["status"]), (200, &json!("open")), "{body:#}");
    assert_eq!(body["decision"]["policy_id"], "freeze");
    assert_eq!(world.up.count(), before);
    let refused = world.last_decision().await.draft;
    assert_eq!(refused.detail.as_ref().unwrap()["replay_of"], json!(id));
    assert_eq!(listed(&world, false).await.len(), 1);
}

/// A replay that has to be asked about says in the ask, too, of which call it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_asks_names_the_old_call() {
    let ask = "=== ask.yaml
name: ask
description: sums over ten are asked about
on: [{ tool: up__write }]
rules: [{ id: n, condition: \"call.repeats >= 1\", decision: REQUIRE_APPROVAL }]
";
    let world = World::start(Setup {
        files: ask.to_owned(),
        gateway: "approval_wait = \"0s\"".to_owned(),
        ..Setup::default()
    })
    .await;
    let id = lost(&world, json!({"n": 5})).await;
    let (status, body) = act(&world, &id, json!({"action": "replay"})).await;
    assert_eq!((status, &body["status"]), (200, &json!("open")), "{body:#}");
    let events = world.events().await;
    let asked = events.iter().find(|e| e.draft.event_type == EventType::ApprovalRequested).unwrap();
    assert_eq!(asked.draft.detail.as_ref().unwrap()["replay_of"], json!(id));
}

/// The command fails where nothing was made, and says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_not_made_fails() {
    let ask = "=== ask.yaml
name: ask
description: what is made again is asked about
on: [{ tool: up__write }]
rules: [{ id: n, condition: \"call.repeats >= 1\", decision: REQUIRE_APPROVAL }]
";
    let setup =
        Setup { files: ask.to_owned(), gateway: "approval_wait = \"0s\"".to_owned(), ..Setup::default() };
    let files = Files::of(setup).await;
    let process = files.serve().await;
    files.up.script(|seen| {
        let page = || axum::response::Response::builder().status(502).body("gone".into()).unwrap();
        (seen.method() == "tools/call").then(|| answer(page()))
    });
    // One that is decided anew, for the server's pins came in between, is a repeat of itself.
    let mut n = 0;
    let failed = async {
        loop {
            n += 1;
            let reply = files.client(&process, "ada").call("up__write", json!({"n": n})).await;
            if reply.body.to_string().contains("502") {
                break;
            }
        }
    };
    soon(failed).await;
    files.up.behaves();
    // The command finds the listener where it is.
    let servers = files.dir.join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    let (before, after) = text.split_once("[admin]").unwrap();
    let address = process.admin.trim_start_matches("http://").split('/').next().unwrap();
    std::fs::write(&servers, format!("{before}[admin]{}", after.replacen("127.0.0.1:0", address, 1)))
        .unwrap();
    let run = async |arguments: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .env("TOLLGATE_KEY", "key-dan")
            .arg("--config")
            .arg(&servers)
            .args(arguments)
            .output();
        let output = soon(output).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    // What became of a call is recorded a moment after its answer.
    let found = async {
        loop {
            let (_, listed, _) = run(&["deadletters", "list", "--json"]).await;
            let listed: Value = serde_json::from_str(&listed).unwrap();
            if let Some(id) = listed["deadletters"][0]["call_id"].as_str() {
                break id.to_owned();
            }
        }
    };
    let id = soon(found).await;
    let (code, out, told) = run(&["deadletters", "replay", &id]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{told}");
    assert!(told.contains("not made: "), "{told}");
    let approval = told.split("approval `").nth(1).unwrap().split('`').next().unwrap();
    for part in
        [format!("tollgate approvals approve {approval}"), format!("tollgate deadletters replay {id}")]
    {
        assert!(told.contains(&part), "{told}");
    }
    let (code, out, told) = run(&["deadletters", "replay", &id, "--json"]).await;
    let out: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out:?}; {told}"));
    assert_eq!((code, &out["status"]), (Some(1), &json!("open")), "{out:#}");
}

/// However many side effects came after it, an open one is found: the listing says where it stopped, and goes on there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_one_is_never_lost_from_the_list() {
    use tollgate::audit::dead_letters;
    let world = World::of("").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(lost(&world, json!({"n": n})).await);
    }
    let now = world.events().await.last().unwrap().draft.timestamp;
    let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = dead_letters(&*world.gate.store, false, (2, before), now).await.unwrap();
        found.extend(page.found.iter().map(|one| one.side_effect.call_id.clone().unwrap().to_string()));
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    ids.reverse();
    assert_eq!((found, pages), (ids.clone(), 3));
    let (_, whole) = world.api("dan", "deadletters", None).await;
    assert_eq!((&whole["truncated"], &whole["next"]), (&json!(false), &json!(null)));
    let seq = world.events().await.iter().find(|e| e.draft.call_id.as_deref() == Some(&*ids[2])).unwrap().seq;
    let (_, part) = world.api("dan", &format!("deadletters?before_seq={seq}"), None).await;
    let older: Vec<&Value> =
        part["deadletters"].as_array().unwrap().iter().map(|one| &one["call_id"]).collect();
    assert_eq!(older, [&json!(ids[3]), &json!(ids[4])]);
}
