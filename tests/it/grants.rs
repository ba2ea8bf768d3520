//! Standing grants end to end (R87): what one lets through, what it does not, and what ends it.

use crate::harness::*;
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::{
    clock::Fake,
    model::{ApprovalStatus, Event, EventDecision, EventType},
};

/// Every write is asked about; whoever answers may make a grant of it.
const ASK: &str = "=== ask.yaml
name: writes
description: A person agrees to each write
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator, leads], grants: { max_duration: 8h, max_uses: 50 } }]
";

fn scratch(uses: u64) -> Value {
    json!({"duration": "1h", "uses": uses, "arguments": {"path": {"within": "/scratch"}}})
}

/// Carol's answer with a grant: status and body.
async fn answer(world: &World, id: &str, grant: Value) -> (u16, Value) {
    let body = json!({"decision": "approve", "grant": grant});
    world.api("carol", &format!("approvals/{id}/decision"), Some(body)).await
}

/// A call of `bot` that Carol answers with this grant; made again it goes by its approval.
async fn granted(world: &World, arguments: Value, grant: Value) -> String {
    let bot = world.bare("bot");
    let id = pending(&bot.call("up__write", arguments.clone()).await);
    let (status, body) = answer(world, &id, grant).await;
    assert_eq!(status, 200, "{body:#}");
    bot.call("up__write", arguments).await.ok();
    body["decisions"][0]["grant_id"].as_str().unwrap_or_else(|| panic!("{body:#}")).to_owned()
}

async fn grant(world: &World, id: &str) -> Value {
    let (status, body) = world.api("dan", &format!("grants/{id}"), None).await;
    assert_eq!(status, 200, "{body:#}");
    body
}

async fn revoke(world: &World, person: &str, id: &str) -> u16 {
    let url = format!("{}/api/v1/grants/{id}", world.gate.admin);
    let reply = world.http.delete(url).bearer_auth(format!("key-{person}")).send();
    soon(reply).await.unwrap().status().as_u16()
}

async fn ended(world: &World) -> Event {
    world.until_event(|event| event.draft.event_type == EventType::GrantEnded).await
}

/// Whether a call goes through without anybody being asked.
async fn goes_through(world: &World, arguments: Value) -> bool {
    let reply = world.bare("bot").call("up__write", arguments.clone()).await;
    match reply.body["result"]["_meta"]["tollgate/decision"]["decision"].as_str() {
        None => reply.ok().is_object(),
        Some(word) => {
            assert_eq!(word, "pending_approval", "{arguments}: {:#}", reply.body);
            false
        }
    }
}

/// The asked call goes by its approval; others within the bounds by the grant, each named, until it is used up.
#[tokio::test]
async fn a_grant_lets_calls_like_it_through() {
    let world = World::of(ASK).await;
    let asked = json!({"path": "/scratch/a", "mode": "append", "n": 1});
    let id = granted(&world, asked.clone(), scratch(4)).await;
    assert_eq!(grant(&world, &id).await["uses_left"], 4, "the asked call used none");
    let with = |path: &str| json!({"path": path, "mode": "append", "n": 1});
    let reworded = json!({"n": 1.0, "mode": "append", "path": "/scratch/d"});
    let all = [with("/scratch/b"), with("/scratch/x/../c"), with("/scratch/%63"), reworded];
    for arguments in all.clone() {
        assert!(goes_through(&world, arguments.clone()).await, "{arguments}");
    }
    assert!(!goes_through(&world, with("/scratch/e")).await, "it is used up");
    assert_eq!(world.up.count(), 5);
    let known = grant(&world, &id).await;
    assert_eq!(
        (&known["status"], &known["uses_left"], &known["approver"]),
        (&json!("used_up"), &json!(0), &json!("carol"))
    );
    assert_eq!(known["calls"].as_array().unwrap().len(), 4);
    assert_eq!(known["calls"][3]["arguments"], all[0], "the newest first");
    let (_, found) = world.api("bob", &format!("events?grant_id={id}&limit=100"), None).await;
    let types: Vec<&str> =
        found["events"].as_array().unwrap().iter().rev().map(|e| e["event_type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["grant_made", "agent_decision", "agent_decision", "agent_decision", "agent_decision", "grant_ended"]
    );
    let used = found["events"][1].clone();
    assert_eq!(
        (&used["decision"], &used["grant_id"], &used["approval_id"]),
        (&json!("approved"), &json!(id), &Value::Null)
    );
    let (_, trace) = world.api("bob", &format!("traces/{}", used["trace_id"].as_str().unwrap()), None).await;
    let told = &trace["calls"][0]["grants"][0];
    assert_eq!(
        (&told["id"], &told["used"], &told["approvers"]),
        (&json!(id), &json!(true), &json!(["carol"]))
    );
    assert_eq!(ended(&world).await.draft.detail.unwrap()["why"], "used_up");
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

/// Arguments that have a bound keep to it, all others are as they were asked for, and what was not there is not there.
#[tokio::test]
async fn a_grant_covers_nothing_beside_its_bounds() {
    let gateway = "approval_wait = \"1ms\"\nmax_pending_approvals = 100".to_owned();
    let world = World::start(Setup { files: ASK.to_owned(), gateway, ..Setup::default() }).await;
    let arguments = json!({
        "path": {"within": "/scratch"}, "name": {"glob": "report-*"}, "n": {"equals": 5}, "note": {"any": true},
    });
    let asked =
        json!({"path": "/scratch/a", "name": "x", "n": 1, "note": "y", "mode": "append", "deep": {"a": [1]}});
    let wide = json!({"duration": "1h", "uses": 50, "arguments": arguments});
    granted(&world, asked, wide).await;
    let fits = json!({"path": "/scratch/b", "name": "report-1", "n": 5.0, "note": 7, "mode": "append", "deep": {"a": [1.0]}});
    assert!(goes_through(&world, fits.clone()).await);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut arguments = fits.clone();
        change(&mut arguments);
        arguments
    };
    let without = |name: &str| with(&|arguments| drop(arguments.as_object_mut().unwrap().remove(name)));
    assert!(goes_through(&world, without("note")).await, "`any` is also nothing");
    let set = |name: &str, value: Value| with(&|arguments| arguments[name] = value.clone());
    let outside = [
        "/etc/passwd",
        "/scratch/../etc",
        "/scratch/%2e%2e/etc",
        "/scratch/..%2fetc",
        "/scratch/%252e%252e/etc",
        "/scratch/..\\etc",
        "/scratch/b/../../etc",
        "scratch/b",
        "./scratch/b",
        "/scratchy/b",
        "",
        "/",
        "//scratch/../b",
        "file:///scratch/b",
    ];
    let mut wrong: Vec<Value> = outside.into_iter().map(|path| set("path", json!(path))).collect();
    wrong.extend([json!(5), json!(null), json!(["/scratch/b"])].map(|path| set("path", path)));
    let names = ["report", "report-a/b", "Report-1", "report-../x", "report-%2e%2e%2fx", "report-x/.."];
    wrong.extend(names.map(|name| set("name", json!(name))));
    wrong.extend([json!(5.000_000_1), json!("5"), json!(1), json!(-5)].map(|n| set("n", n)));
    wrong.extend(["path", "name", "n", "mode", "deep"].map(without));
    wrong.extend([
        set("mode", json!("replace")),
        set("mode", json!("append ")),
        set("deep", json!({"a": [2]})),
        set("deep", json!({"a": [1], "b": null})),
        set("extra", json!(null)),
        set("extra", json!("x")),
        json!({}),
    ]);
    for arguments in wrong {
        assert!(!goes_through(&world, arguments.clone()).await, "{arguments}");
    }
    assert_eq!(world.up.count(), 3);
}

/// What else is sent must be as the approval bound it, and so must agent, workflow and user.
#[tokio::test]
async fn a_grant_covers_nothing_else_that_is_sent() {
    let world = World::of(ASK).await;
    granted(&world, json!({"path": "/scratch/a"}), scratch(20)).await;
    let bot = world.bare("bot");
    let call = async |client: &Client, meta: Value| {
        let params = json!({"name": "up__write", "arguments": {"path": "/scratch/b"}, "_meta": meta});
        client.request("tools/call", params).await
    };
    call(&bot, json!({"progressToken": 1, "callId": "another"})).await.ok();
    pending(&call(&bot, json!({"mode": "dry-run"})).await);
    pending(&call(&world.bare("ada"), json!({})).await);
    assert_eq!(world.up.count(), 2);
}

/// A rule without `grants`, somebody who may not decide, and more than the rule allows: nothing is decided by any of them.
#[tokio::test]
async fn a_grant_is_never_wider_than_its_rule() {
    let world = World::of(ASK).await;
    let bot = world.bare("bot");
    let id = pending(&bot.call("up__write", json!({"path": "/scratch/a"})).await);
    for person in ["bob", "dan"] {
        let body = json!({"decision": "approve", "grant": scratch(1)});
        assert_eq!(
            world.api(person, &format!("approvals/{id}/decision"), Some(body)).await.0,
            403,
            "{person}"
        );
    }
    for wide in [json!({"duration": "8h 1s", "uses": 1}), json!({"duration": "1h", "uses": 51})] {
        let (status, body) = answer(&world, &id, wide).await;
        assert_eq!((status, &body["error"]["code"]), (422, &json!("grant_refused")), "{body:#}");
    }
    assert_eq!(world.approvals().await[0].status, ApprovalStatus::Pending);
    world.reload(&ASK.replace(", grants: { max_duration: 8h, max_uses: 50 }", "")).await;
    let id = pending(&bot.call("up__write", json!({"path": "/scratch/a"})).await);
    assert_eq!(answer(&world, &id, scratch(1)).await.0, 422);
    let (_, form) = world.api("carol", &format!("approvals/{id}"), None).await;
    assert_eq!((&form["grants"], &form["status"]), (&Value::Null, &json!("pending")));
}

/// It answers the rules whose approval made it: what another one denies or asks about is not covered.
#[tokio::test]
async fn a_grant_covers_no_other_rule() {
    let more = "=== more.yaml
name: more
description: d
on: [{ tool: up__write }]
rules:
  - { id: never, condition: \"args.path == '/scratch/secret'\", decision: DENY }
  - { id: also, condition: \"args.path == '/scratch/both'\", decision: REQUIRE_APPROVAL, approvers: [leads], grants: { max_duration: 30m } }
  - { id: once, condition: \"args.path == '/scratch/once'\", decision: REQUIRE_APPROVAL, approvers: [leads] }
";
    let world = World::of(&format!("{ASK}{more}")).await;
    let path = |name: &str| json!({"path": format!("/scratch/{name}")});
    granted(&world, path("a"), scratch(20)).await;
    let bot = world.bare("bot");
    assert_eq!(bot.call("up__write", path("secret")).await.word(), "deny");
    assert!(!goes_through(&world, path("once")).await);
    assert!(!goes_through(&world, path("both")).await);
    assert!(goes_through(&world, path("b")).await);
    // Both rules asked: the narrower limits count, and the grant answers both of them, or one alone.
    let both = pending(&bot.call("up__write", path("both")).await);
    assert_eq!(answer(&world, &both, scratch(20)).await.0, 422);
    let short = json!({"duration": "30m", "uses": 10, "arguments": {"path": {"within": "/scratch"}}});
    assert_eq!(answer(&world, &both, short).await.0, 200);
    bot.call("up__write", path("both")).await.ok();
    assert!(goes_through(&world, path("both")).await);
    assert!(!goes_through(&world, path("once")).await);
    // One of the rules that asks allows none.
    let once = pending(&bot.call("up__write", path("once")).await);
    assert_eq!(answer(&world, &once, json!({"duration": "1m", "uses": 1})).await.0, 422);
}

/// Where several must agree, all have to answer with the same grant; else the call alone is approved.
#[tokio::test]
async fn a_quorum_makes_a_grant_only_together() {
    let world =
        World::of(&ASK.replace("approvers: [operator, leads]", "approvers: [leads, security], quorum: 2"))
            .await;
    let bot = world.bare("bot");
    let decide = async |person: &str, id: &str, grant: Value| {
        let body = json!({"decision": "approve", "grant": grant});
        let (status, body) = world.api(person, &format!("approvals/{id}/decision"), Some(body)).await;
        assert_eq!(status, 200, "{body:#}");
        body
    };
    let arguments = |n: u32| json!({"path": format!("/scratch/{n}")});
    for (n, other) in [(1, Value::Null), (2, scratch(4))] {
        let id = pending(&bot.call("up__write", arguments(n)).await);
        decide("bob", &id, scratch(5)).await;
        let done = decide("carol", &id, other).await;
        assert_eq!((&done["status"], &done["decisions"][1]["grant_id"]), (&json!("approved"), &Value::Null));
    }
    assert!(!goes_through(&world, arguments(3)).await);
    let id = pending(&bot.call("up__write", arguments(3)).await);
    decide("bob", &id, scratch(5)).await;
    let made =
        decide("carol", &id, scratch(5)).await["decisions"][1]["grant_id"].as_str().unwrap().to_owned();
    assert!(goes_through(&world, arguments(4)).await);
    assert_eq!(grant(&world, &made).await["approvers"], json!(["bob", "carol"]));
    // Either of them takes it back.
    assert_eq!(revoke(&world, "bob", &made).await, 200);
}

/// Other policies, another tool, a person, and time end a grant: each on record, and the next call is asked about.
#[tokio::test]
async fn what_ends_a_grant_is_told() {
    let clock = Fake::at("2026-11-01T10:00:00Z".parse().unwrap());
    let world =
        World::start(Setup { files: ASK.to_owned(), clock: Some(clock.clone()), ..Setup::default() }).await;
    let asked = |n: u32| json!({"path": format!("/scratch/{n}")});
    let is_ended = async |id: &str, why: &str| {
        let event = world
            .until_event(|event| {
                event.draft.event_type == EventType::GrantEnded && event.draft.grant_id.as_deref() == Some(id)
            })
            .await;
        assert_eq!(event.draft.detail.as_ref().unwrap()["why"], why);
        assert_eq!(grant(&world, id).await["status"], why);
        event
    };
    let first = granted(&world, asked(1), scratch(5)).await;
    // A reload that changes nothing ends nothing.
    world.reload(ASK).await;
    assert!(goes_through(&world, asked(2)).await);
    let changed = ASK.replace("each write", "every write");
    world.reload(&changed).await;
    is_ended(&first, "snapshot").await;
    assert!(!goes_through(&world, asked(3)).await);

    let second = granted(&world, asked(4), scratch(5)).await;
    let mut other = tool("write");
    other["description"] = json!("Writes, and sends a copy elsewhere");
    world.up.lists(vec![vec![tool("echo"), other]]);
    world.up.announce().await;
    is_ended(&second, "fingerprint").await;
    let accepted = json!({"upstream": "up", "name": "write"});
    assert_eq!(world.api("dan", "pins/accept", Some(accepted)).await.0, 200);
    assert!(!goes_through(&world, asked(5)).await);

    let third = granted(&world, asked(6), scratch(5)).await;
    for (person, status) in [("bob", 403), ("ada", 403), ("carol", 200), ("dan", 409)] {
        assert_eq!(revoke(&world, person, &third).await, status, "{person}");
    }
    let event = is_ended(&third, "revoked").await;
    assert_eq!(
        (event.draft.detail.unwrap()["person"].as_str(), &*event.draft.actor.kind),
        (Some("carol"), "person")
    );
    assert!(!goes_through(&world, asked(7)).await);

    let fourth = granted(&world, asked(8), scratch(5)).await;
    clock.advance(Duration::from_secs(3_599));
    assert!(goes_through(&world, asked(9)).await);
    clock.advance(Duration::from_secs(1));
    assert!(!goes_through(&world, asked(10)).await);
    is_ended(&fourth, "expired").await;

    let fifth = granted(&world, asked(11), scratch(5)).await;
    let authority = authority().replace("bot:    { type: job, role: batch, tenant: acme, owner: tests, operator: alice, workflow: wf-2, model: gpt-4o, capabilities: [all]", "bot:    { type: job, role: batch, tenant: acme, owner: tests, operator: alice, workflow: wf-2, model: gpt-4o, capabilities: [reading]");
    world.reload(&format!("{changed}=== authority.yaml\n{authority}")).await;
    is_ended(&fifth, "capability").await;
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

/// A call that waits goes on once a grant covers it, and does not once that is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_wakes_the_calls_that_it_covers() {
    let gateway = "approval_wait = \"20s\"".to_owned();
    let world = World::start(Setup { files: ASK.to_owned(), gateway, ..Setup::default() }).await;
    let path = |name: &str| json!({"path": name});
    let bot = world.bare("bot");
    let calls = ["/scratch/1", "/scratch/2", "/scratch/3"].map(|name| {
        let bot = bot.clone();
        tokio::spawn(async move { bot.call("up__write", path(name)).await })
    });
    let first = world.until_approval(|record| record.arguments["path"] == "/scratch/1").await;
    for name in ["/scratch/2", "/scratch/3"] {
        world.until_approval(|record| record.arguments["path"] == name).await;
    }
    let (status, body) = answer(&world, first.id.as_str(), scratch(9)).await;
    assert_eq!(status, 200);
    for call in calls {
        soon(call).await.unwrap().ok();
    }
    let id = body["decisions"][0]["grant_id"].as_str().unwrap();
    assert_eq!(grant(&world, id).await["used"], 2);
    // Nobody has to answer the others any more.
    let left: Vec<_> = world.approvals().await.into_iter().filter(|record| record.id != first.id).collect();
    assert!(left.iter().all(|record| record.status == ApprovalStatus::Cancelled), "{left:#?}");
    assert!(left.iter().all(|record| record.covered_by.as_deref() == Some(id)), "{left:#?}");
    assert_eq!(world.decide("carol", left[0].id.as_str(), "approve").await, 409);
    // One that is revoked while a call waits that it does not cover yet: what comes next waits, and is answered by people.
    let waits = {
        let bot = bot.clone();
        tokio::spawn(async move { bot.call("up__write", path("/elsewhere")).await })
    };
    let waiting = world.until_approval(|record| record.arguments["path"] == "/elsewhere").await;
    assert_eq!(revoke(&world, "carol", id).await, 200);
    let next = {
        let bot = bot.clone();
        tokio::spawn(async move { bot.call("up__write", path("/scratch/4")).await })
    };
    let asked = world.until_approval(|record| record.arguments["path"] == "/scratch/4").await;
    assert_eq!(world.up.count(), 3);
    for record in [waiting, asked] {
        assert_eq!(world.decide("carol", record.id.as_str(), "reject").await, 200);
    }
    for call in [waits, next] {
        assert_eq!(soon(call).await.unwrap().word(), "rejected");
    }
    assert_eq!(world.up.count(), 3);
}

/// What a person has rejected a moment ago is not let through by a grant.
#[tokio::test]
async fn a_rejection_of_this_very_call_goes_before_a_grant() {
    let world = World::of(ASK).await;
    let bot = world.bare("bot");
    let no = json!({"path": "/scratch/no"});
    let id = pending(&bot.call("up__write", no.clone()).await);
    assert_eq!(world.decide("alice", &id, "reject").await, 200);
    granted(&world, json!({"path": "/scratch/a"}), scratch(5)).await;
    assert_eq!(bot.call("up__write", no).await.word(), "rejected");
    assert!(goes_through(&world, json!({"path": "/scratch/b"})).await);
}

/// Two processes on one store: never more than granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_race_for_the_last_uses() {
    let gateway = "approval_wait = \"1ms\"\nmax_pending_approvals = 100".to_owned();
    let world = World::start(Setup { files: ASK.to_owned(), gateway, ..Setup::default() }).await;
    let id = granted(&world, json!({"path": "/scratch/a"}), scratch(5)).await;
    let second = world.second().await;
    let clients = [world.bare("bot"), Client::modern(&world.http, &second.mcp, "bot", json!({}))];
    let calls: Vec<_> = (0..24)
        .map(|n| {
            let client = clients[n % 2].clone();
            tokio::spawn(
                async move { client.call("up__write", json!({"path": format!("/scratch/{n}")})).await },
            )
        })
        .collect();
    let mut through = 0;
    for call in calls {
        let reply = soon(call).await.unwrap();
        through += u32::from(reply.body["result"]["isError"] != json!(true));
    }
    assert_eq!((through, world.up.count()), (5, 6));
    assert_eq!(grant(&world, &id).await["status"], "used_up");
    let by_it = |event: &&Event| {
        event.draft.grant_id.as_deref() == Some(&id)
            && event.draft.decision == Some(EventDecision::Approved)
            && event.draft.event_type == EventType::AgentDecision
    };
    assert_eq!(world.events().await.iter().filter(by_it).count(), 5);
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

/// In the agent's own client, in both eras: what the rule allows is offered, and the answer makes the grant.
#[tokio::test]
async fn the_agents_own_client_offers_grants() {
    let world = World::of(ASK).await;
    let chosen =
        json!({"action": "accept", "content": {"decision": "approve", "scope": "these arguments for 1h"}});
    let legacy = world.legacy("ada").await;
    let mut offered = Value::Null;
    let params = json!({"name": "up__write", "arguments": {"path": "/a"}});
    let reply = legacy
        .request_with("tools/call", params, |question| {
            offered = question["params"]["requestedSchema"]["properties"]["scope"]["enum"].clone();
            Some(chosen.clone())
        })
        .await;
    reply.ok();
    assert_eq!(offered, json!(["once", "these arguments for 1h", "these arguments for 8h"]));
    // The same call again asks nobody, with other arguments it does.
    legacy.call("up__write", json!({"path": "/a"})).await.ok();
    legacy.call_answering("up__write", json!({"path": "/b"}), json!({"action": "decline"})).await.word();

    let modern = world.modern("eve");
    let arguments = json!({"path": "/c"});
    let asked = modern.call("up__write", arguments.clone()).await;
    modern.retry("up__write", arguments.clone(), asked.question().1, chosen).await.ok();
    modern.call("up__write", arguments.clone()).await.ok();
    assert_eq!(world.up.count(), 4);
    let (_, listed) = world.api("dan", "grants", None).await;
    let agents: Vec<&Value> =
        listed["grants"].as_array().unwrap().iter().map(|grant| &grant["agent"]).collect();
    assert_eq!(agents, [&json!("eve"), &json!("ada")]);
    assert_eq!(listed["grants"][0]["approver"], "alice");
    // What the form did not offer decides nothing; where the rule allows none, none is offered.
    let other = json!({"path": "/d"});
    let asked = modern.call("up__write", other.clone()).await;
    let wide =
        json!({"action": "accept", "content": {"decision": "approve", "scope": "these arguments for 900h"}});
    pending(&modern.retry("up__write", other, asked.question().1, wide).await);
    world.reload(&ASK.replace(", grants: { max_duration: 8h, max_uses: 50 }", "")).await;
    let asked = modern.call("up__write", json!({"path": "/e"})).await;
    assert_eq!(asked.question().0["requestedSchema"]["properties"]["scope"], Value::Null);
}

/// In an approver's own client.
#[tokio::test]
async fn a_review_makes_a_grant() {
    let world = World::of(ASK).await;
    let bot = world.bare("bot");
    let asked = json!({"path": "/a"});
    pending(&bot.call("up__write", asked.clone()).await);
    let carol = world.legacy("carol").await;
    let params = json!({"name": "tollgate__review_approvals", "arguments": {}});
    let chosen =
        json!({"action": "accept", "content": {"decision": "approve", "scope": "these arguments for 8h"}});
    let reply = carol.request_with("tools/call", params, |_| Some(chosen.clone())).await;
    assert!(reply.text().contains("with the standing grant grant-"), "{}", reply.text());
    for _ in 0..3 {
        bot.call("up__write", asked.clone()).await.ok();
    }
    assert!(!goes_through(&world, json!({"path": "/b"})).await);
    let (_, listed) = world.api("dan", "grants", None).await;
    let grant = &listed["grants"][0];
    assert_eq!(
        (&grant["used"], &grant["as_asked"], &grant["arguments"]),
        (&json!(2), &json!(["path"]), &json!({}))
    );
}

/// On the command line, against a running gateway that is killed with calls under way: never more than granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_gives_back_no_use() {
    const USES: usize = 30;
    let files = Files::of(Setup { files: ASK.to_owned(), ..Setup::default() }).await;
    let run = async |person: Option<&str>, arguments: &[&str]| {
        let (mut child, lines) = files.command_of(person, arguments);
        assert!(soon(child.wait()).await.unwrap().success(), "{arguments:?}");
        lines.until(|line| line == "}").await;
        serde_json::from_str::<Value>(&lines.text()).unwrap()
    };
    let mut process = files.serve().await;
    let bot = files.client(&process, "bot");
    let id = pending(&bot.call("up__write", json!({"path": "/scratch/a"})).await);
    let uses = USES.to_string();
    let approve = [
        "approvals",
        "approve",
        &id,
        "--grant",
        "1h",
        "--uses",
        &uses,
        "--where",
        "path within /scratch",
        "--json",
    ];
    let approved = run(Some("carol"), &approve).await;
    let made = approved["decisions"][0]["grant_id"].as_str().unwrap().to_owned();
    for round in 0..4 {
        let bot = files.client(&process, "bot");
        let calls: Vec<_> = (0..12)
            .map(|n| {
                let body = bot.body(
                    "tools/call",
                    json!({"name": "up__write", "arguments": {"path": format!("/scratch/{round}-{n}")}}),
                );
                let request = bot.post(&body);
                tokio::spawn(async move { drop(request.send().await) })
            })
            .collect();
        files.up.until_count(round * 4 + 2).await;
        process.kill().await;
        for call in calls {
            call.await.unwrap();
        }
        process = files.serve().await;
    }
    let shown = run(None, &["grants", "show", &made, "--json"]).await;
    let used = usize::try_from(shown["used"].as_u64().unwrap()).unwrap();
    assert!((files.up.count()..=USES).contains(&used), "{used} uses, {} dispatched", files.up.count());
    // The rest is there, and no more.
    let bot = files.client(&process, "bot");
    for n in used..USES {
        bot.call("up__write", json!({"path": format!("/scratch/rest-{n}")})).await.ok();
    }
    pending(&bot.call("up__write", json!({"path": "/scratch/more"})).await);
    let listed = run(None, &["grants", "list", "--json"]).await;
    assert_eq!(listed["grants"], json!([]));
    let (mut child, _said) = files.command(&["audit", "verify"]);
    assert!(soon(child.wait()).await.unwrap().success());
}
