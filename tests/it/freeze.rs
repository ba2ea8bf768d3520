//! What people freeze, end to end (R41, I10): nothing of it is dispatched any more, in either era and in any process, until
//! somebody lifts it.

use crate::harness::*;
use serde_json::{Value, json};
use tollgate::model::{EventDecision, EventType, Outcome};

const WHY: &str = "it mails customers";

async fn freeze(world: &World, target: Value) -> String {
    let mut body = target;
    body["reason"] = json!(WHY);
    let (status, body) = world.api("dan", "freeze", Some(body)).await;
    assert_eq!(status, 201, "{body:#}");
    body["id"].as_str().unwrap().to_owned()
}

async fn lift(world: &World, id: &str) -> u16 {
    let url = format!("{}/api/v1/freeze/{id}?reason=over", world.gate.admin);
    soon(world.http.delete(url).bearer_auth("key-dan").send()).await.unwrap().status().as_u16()
}

/// That it is frozen is told, and neither why nor by whom.
fn assert_frozen(reply: &Reply) {
    let decision = reply.decision();
    assert_eq!(
        (&decision["decision"], &decision["policy_id"]),
        (&json!("deny"), &json!("freeze")),
        "{:#}",
        reply.body
    );
    assert!(decision["reason"].as_str().unwrap().contains("frozen"), "{decision:#}");
    let told = reply.body.to_string();
    assert!(!told.contains(WHY) && !told.contains("dan"), "{told}");
}

fn is_refused(event: &tollgate::model::Event) -> bool {
    let draft = &event.draft;
    draft.event_type == EventType::AgentDecision
        && draft.decision == Some(EventDecision::Deny)
        && draft.policy_id.as_deref() == Some("freeze")
}

/// Each kind of target stops what it names, in both eras, and nothing else.
#[tokio::test]
async fn what_is_frozen_is_refused_and_all_else_goes_on() {
    let world = World::of("").await;
    let clients = [world.modern("ada"), world.legacy("ada").await];
    let narrow = world.modern("narrow");
    // What of `ada` is stopped: tools, and resources; and whether `narrow` is, who acts for nobody and has another capability.
    let cases = [
        (json!({"agent": "ada"}), true, true, false),
        (json!({"user": "alice"}), true, true, false),
        (json!({"tool": "up__read"}), true, false, true),
        (json!({"upstream": "up"}), true, true, true),
        (json!({"capability": "all"}), true, true, false),
        (json!({"all": true}), true, true, true),
        (json!({"agent": "eve"}), false, false, false),
        (json!({"tool": "up__rea"}), false, false, false),
    ];
    let call = async |client: &Client| client.call("up__read", json!({"path": "/a"})).await;
    let read =
        async |client: &Client| client.request("resources/read", json!({"uri": "file:///open/a.txt"})).await;
    for (target, tools, resources, others) in cases {
        let id = freeze(&world, target.clone()).await;
        for client in &clients {
            let before = world.up.count();
            let (called, got) = (call(client).await, read(client).await);
            match tools {
                true => assert_frozen(&called),
                false => drop(called.ok()),
            }
            match resources {
                true => {
                    assert_frozen(&got);
                    assert_eq!(got.error()["code"], 403);
                }
                false => drop(got.ok()),
            }
            let expect = usize::from(!tools) + usize::from(!resources);
            assert_eq!(world.up.count() - before, expect, "{target}");
            assert!(client.tools().await.contains(&"up__read".to_owned()), "lists stay as they are");
        }
        let other = call(&narrow).await;
        match others {
            true => assert_frozen(&other),
            false => drop(other.ok()),
        }
        let (_, listed) = world.api("bob", "freeze", None).await;
        let one = &listed["freezes"][0];
        assert_eq!((&one["id"], &one["by"], &one["reason"]), (&json!(id), &json!("dan"), &json!(WHY)));
        let (kind, name) = target.as_object().unwrap().iter().next().unwrap();
        assert_eq!(&one[kind], name);
        assert_eq!(lift(&world, &id).await, 200);
        call(&clients[0]).await.ok();
        call(&narrow).await.ok();
    }
    let events = world.events().await;
    let told = |kind| events.iter().filter(|e| e.draft.event_type == kind).count();
    assert_eq!((told(EventType::Frozen), told(EventType::Unfrozen)), (8, 8));
    let lifted = &events.iter().find(|e| e.draft.event_type == EventType::Unfrozen).unwrap().draft;
    assert_eq!((lifted.action.as_deref(), lifted.reason.as_deref()), (Some("unfreeze"), Some("over")));
    let frozen = &events.iter().find(|e| e.draft.event_type == EventType::Frozen).unwrap().draft;
    assert_eq!(frozen.action.as_deref(), Some("freeze"));
    assert_eq!((frozen.reason.as_deref(), frozen.agent_id.as_deref()), (Some(WHY), Some("ada")));
    assert_eq!(frozen.detail.as_ref().unwrap()["person"], "dan");
    assert!(events.iter().any(is_refused));
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

/// Completions, prompts and subscriptions are calls like any, and what does not exist is frozen, too.
#[tokio::test]
async fn nothing_else_goes_past_a_freeze() {
    let world = World::of("").await;
    let ada = world.legacy("ada").await;
    let id = freeze(&world, json!({"agent": "ada"})).await;
    let complete = json!({"ref": {"type": "ref/resource", "uri": "file:///open/a.txt"}, "argument": {"name": "x", "value": ""}});
    for (method, params) in [
        ("completion/complete", complete),
        ("prompts/get", json!({"name": "up__short"})),
        ("resources/subscribe", json!({"uri": "file:///open/a.txt"})),
        ("resources/read", json!({"uri": "file:///open/a.txt"})),
    ] {
        let reply = ada.request(method, params).await;
        assert_frozen(&reply);
    }
    assert_frozen(&ada.call("up__no_such_tool", json!({})).await);
    assert_eq!(lift(&world, &id).await, 200);
    ada.call("up__read", json!({"path": "/a"})).await.ok();
}

/// R41: calls in flight are answered and cancelled upstream, in whichever process they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_answered_and_cancelled() {
    let world = World::of("").await;
    let other = world.second().await;
    world.up.hangs();
    let here = [world.modern("ada"), world.legacy("ada").await];
    let there = Client::modern(&world.http, &other.mcp, "ada", json!({}));
    let eve = world.modern("eve");
    let stop = async {
        world.up.until_count(4).await;
        freeze(&world, json!({"agent": "ada"})).await;
        world.up.until_dropped(3).await;
    };
    let args = |n: u64| json!({"n": n});
    let calls = async {
        let ada = async {
            tokio::join!(
                here[0].call("up__write", args(1)),
                here[1].call("up__write", args(2)),
                there.call("up__write", args(3))
            )
        };
        tokio::select! {
            replies = ada => replies,
            reply = eve.call("up__write", args(4)) => panic!("{:#}", reply.body),
        }
    };
    let ((first, second, third), ()) = tokio::join!(calls, stop);
    for reply in [&first, &second, &third] {
        assert_frozen(reply);
    }
    let settled = world.until_settled(3).await;
    let frozen: Vec<_> = settled.iter().filter(|e| e.draft.agent_id.as_deref() == Some("ada")).collect();
    assert_eq!(frozen.len(), 3);
    for event in frozen {
        assert_eq!(event.draft.outcome, Some(Outcome::Unknown));
        assert!(event.draft.reason.as_deref().unwrap().contains("frozen"), "{event:?}");
    }
}

const ASK: &str = "=== ask.yaml
name: writes
description: A person agrees to each write
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator, leads], grants: { max_duration: 8h, max_uses: 50 } }]
";

/// A wait ends with the refusal; what is approved meanwhile counts for nothing until the freeze is lifted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_and_grants_count_for_nothing_meanwhile() {
    let gateway = "approval_wait = \"60s\"".to_owned();
    let world = World::start(Setup { files: ASK.to_owned(), gateway, ..Setup::default() }).await;
    let other = world.second().await;
    let bot = world.bare("bot");
    let stop = async {
        world.until_event(|e| e.draft.event_type == EventType::ApprovalRequested).await;
        // In the other process.
        let body = json!({"tool": "up__write", "reason": WHY});
        let (status, frozen) = api(&world.http, &other.admin, "dan", "freeze", Some(body)).await;
        assert_eq!(status, 201, "{frozen:#}");
        frozen["id"].as_str().unwrap().to_owned()
    };
    let arguments = json!({"path": "/scratch/a"});
    let (reply, id) = tokio::join!(bot.call("up__write", arguments.clone()), stop);
    assert_frozen(&reply);
    let asked = world.approvals().await.remove(0);
    // Whoever looks at it or answers it is told.
    let by = json!(["tool `up__write`"]);
    let (_, shown) = world.api("carol", &format!("approvals/{}", asked.id), None).await;
    let (_, listed) = world.api("carol", "approvals", None).await;
    assert_eq!((&shown["frozen"], &listed["approvals"][0]["frozen"]), (&by, &by));
    let body = json!({"decision": "approve", "grant": {"duration": "1h", "uses": 5, "arguments": {"path": {"within": "/scratch"}}}});
    let (status, answered) =
        world.api("carol", &format!("approvals/{}/decision", asked.id), Some(body)).await;
    assert_eq!((status, &answered["frozen"]), (200, &by), "an answer may be given, and does nothing yet");
    let others = json!({"path": "/scratch/b"});
    for arguments in [&arguments, &others] {
        assert_frozen(&bot.call("up__write", arguments.clone()).await);
    }
    assert_eq!(world.up.count(), 0);
    assert_eq!(lift(&world, &id).await, 200);
    let (_, shown) = world.api("carol", &format!("approvals/{}", asked.id), None).await;
    assert_eq!(shown["frozen"], json!([]));
    bot.call("up__write", arguments).await.ok();
    bot.call("up__write", others).await.ok();
    let (_, grants) = world.api("dan", "grants", None).await;
    assert_eq!(grants["grants"][0]["uses_left"], 4, "{grants:#}");
    assert_eq!(world.up.count(), 2);
}

/// The form in the agent's own client needs no answer any more.
#[tokio::test]
async fn a_question_in_the_agents_client_is_over() {
    let world = World::of(ASK).await;
    let ada = world.legacy("ada").await;
    let asked = async {
        world.until_event(|e| e.draft.event_type == EventType::ApprovalRequested).await;
        freeze(&world, json!({"agent": "ada"})).await;
    };
    let call = async {
        let body = ada.body("tools/call", json!({"name": "up__write", "arguments": {"n": 1}}));
        let response = soon(ada.post(&body).send()).await.unwrap();
        // As JSON where it was over before the question was put, else at the end of the stream with the question.
        soon(response.text()).await.unwrap()
    };
    let (told, ()) = tokio::join!(call, asked);
    assert!(told.contains("\"policy_id\":\"freeze\""), "{told}");
    assert_eq!(world.up.count(), 0);
}

/// I10: no call is dispatched that is admitted after another process froze it, however that process has heard of it by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_of_another_process_counts_at_once() {
    let world = World::of("").await;
    let other = world.second().await;
    let ada = world.modern("ada");
    for _ in 0..5 {
        ada.call("up__read", json!({"path": "/a"})).await.ok();
        let body = json!({"upstream": "up", "reason": WHY});
        let (status, frozen) = api(&world.http, &other.admin, "dan", "freeze", Some(body)).await;
        assert_eq!(status, 201, "{frozen:#}");
        let before = world.up.count();
        assert_frozen(&ada.call("up__read", json!({"path": "/b"})).await);
        assert_eq!(world.up.count(), before);
        // The other way a process may be behind for a moment.
        assert_eq!(lift(&world, frozen["id"].as_str().unwrap()).await, 200);
    }
}

/// It outlasts kill -9 of whoever serves, and only a key of an admin lifts it.
#[tokio::test]
async fn a_freeze_outlasts_the_processes() {
    let files = Files::of(Setup::default()).await;
    let mut process = files.serve().await;
    files.client(&process, "ada").call("up__read", json!({"path": "/a"})).await.ok();
    let run = async |person: Option<&str>, arguments: &[&str]| {
        let (mut child, lines) = files.command_of(person, arguments);
        let ended = soon(child.wait()).await.unwrap();
        // What was written is read by a task of its own.
        if ended.success() {
            lines.until(|line| line == "}" || line.starts_with("lifted") || line.starts_with("frozen")).await;
        }
        (ended.success(), lines.text())
    };
    let (mut child, lines) = files.command(&["freeze", "--agent", "ada", "--reason", WHY]);
    lines.until(|line| line.starts_with("frozen: agent `ada`")).await;
    process.kill().await;
    child.wait().await.unwrap();
    let process = files.serve().await;
    let ada = files.client(&process, "ada");
    assert_frozen(&ada.call("up__read", json!({"path": "/a"})).await);
    assert_eq!(files.up.count(), 1);
    assert!(!run(None, &["unfreeze", "--agent", "ada"]).await.0, "without a key nothing is lifted");
    assert!(!run(Some("carol"), &["unfreeze", "--agent", "ada"]).await.0, "an approver does not");
    assert!(!run(Some("carol"), &["freeze", "--agent", "eve", "--reason", "r"]).await.0);
    // Whoever decides sees what is frozen.
    let (_, listed) = run(Some("carol"), &["freeze", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["freezes"][0]["agent"], &listed["freezes"][0]["by"]), (&json!("ada"), &Value::Null));
    assert_frozen(&ada.call("up__read", json!({"path": "/a"})).await);
    let (lifted, said) = run(Some("dan"), &["unfreeze", "--agent", "ada", "--reason", "fixed"]).await;
    assert!(lifted && said.contains("lifted: agent `ada`"), "{said}");
    assert!(!run(Some("dan"), &["unfreeze", "--agent", "ada"]).await.0, "it is lifted once");
    soon(async {
        while ada.call("up__read", json!({"path": "/a"})).await.body["result"]["isError"] == json!(true) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// On the command line: a name that nobody has is frozen, and does not look like a success; lifting says what it does.
#[tokio::test]
async fn a_name_that_nobody_has_does_not_look_frozen() {
    let files = Files::of(Setup::default()).await;
    let process = files.serve().await;
    let run = async |person: Option<&str>, arguments: &[&str]| {
        let (mut child, lines) = files.command_of(person, arguments);
        let ended = soon(child.wait()).await.unwrap().success();
        lines.until_end().await;
        (ended, lines.text())
    };
    let (ended, said) = run(None, &["freeze", "--agent", "adaa", "--reason", "r", "--json"]).await;
    assert!(!ended && said.contains("no agent `adaa` is known; did you mean `ada`?"), "{said}");
    let (ended, said) = run(None, &["freeze", "--upstream", "upp", "--reason", "r", "--json"]).await;
    assert!(!ended && said.contains("\"warning\""), "{said}");
    // People may come with tokens alone.
    let (ended, said) = run(None, &["freeze", "--user", "mallory", "--reason", "r", "--json"]).await;
    assert!(ended && said.contains("no user `mallory` is known"), "{said}");
    let (ended, said) = run(None, &["freeze", "--agent", "ada", "--reason", "r"]).await;
    assert!(ended && said.contains("frozen: agent `ada`"), "{said}");
    files.client(&process, "eve").call("up__read", json!({"path": "/a"})).await.ok();
    assert_frozen(&files.client(&process, "ada").call("up__read", json!({"path": "/a"})).await);
    let (_child, said) = run(None, &["freeze", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        listed["freezes"].as_array().unwrap().len(),
        4,
        "the name that nobody has is held for whoever comes"
    );
    let (ended, said) = run(Some("dan"), &["unfreeze", "--agent", "ada"]).await;
    assert!(ended && said.contains("lifted: agent `ada`"), "{said}");
    let events = files.store().events(Default::default()).await.unwrap();
    let lifted = events.iter().find(|e| e.draft.event_type == EventType::Unfrozen).unwrap();
    assert_eq!((lifted.draft.action.as_deref(), lifted.draft.reason.as_deref()), (Some("unfreeze"), None));
}
