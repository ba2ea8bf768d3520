//! What has reached a session decides what may leave it (R41, SPEC 7): whichever way the data came in, in both eras, across
//! sessions, workflows, tasks and processes.

use crate::harness::*;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tollgate::{
    clock::Fake,
    model::{EventDecision, EventDraft, EventType, Sensitivity},
};

/// What finds a secret, whoever looks.
const SECRET: &str = "the key is AKIAQ3EGR7WJ2LPXC4ZD";

/// `up__pay` sends something outside.
const FLOWS: &str = "=== flows.yaml
name: flows
description: restricted data stays
on: [{ tool: up__pay }]
rules: [{ id: stays, condition: \"'restricted' in session.labels\", decision: DENY }]
=== data.yaml
classes: { health: restricted }
sources:
  - on: [{ resource: \"file:///closed/**\" }, { tool: up__delete }, { tool: up__long }]
    labels: [health]
";

/// With an agent that acts in no workflow.
fn files(more: &str) -> String {
    let solo =
        format!("  solo: {{ owner: tests, capabilities: [all], keys: [\"{}\"] }}\n", digest("key-solo"));
    let authority = authority().replace("tools: [\"up__*\"]", "tools: [\"*\"]");
    let authority = authority.replace("people:\n", &format!("{solo}people:\n"));
    format!("=== authority.yaml\n{authority}{FLOWS}{more}")
}

async fn world() -> World {
    World::of(&files("")).await
}

fn everything() -> Value {
    json!({"elicitation": {"form": {}}, "sampling": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
}

async fn both(world: &World, agent: &str) -> [Client; 2] {
    let legacy = Client::legacy(&world.http, &world.gate.mcp, agent, everything()).await;
    [legacy, Client::modern(&world.http, &world.gate.mcp, agent, everything())]
}

async fn sends(client: &Client) {
    client.call("up__pay", json!({"to": "them"})).await.ok();
}

#[track_caller]
fn is_stopped(reply: &Reply) {
    let decision = reply.decision();
    assert_eq!((reply.word(), &decision["policy_id"]), ("deny", &json!("flows")), "{:#}", reply.body);
}

async fn is_kept(client: &Client) {
    is_stopped(&client.call("up__pay", json!({"to": "them"})).await);
}

fn session_labels(decision: &EventDraft) -> Value {
    decision.facts.as_ref().and_then(|facts| facts.get("session_labels")).cloned().unwrap_or(json!([]))
}

/// The upstream's tools answer with this.
fn says(world: &World, text: &'static str) {
    world.up.script(move |seen| {
        let reads = seen.method() == "tools/call" && seen.tool() != "pay";
        reads.then(|| answer(json_reply(seen, &text_result(text))))
    });
}

/// R41, R43: the scripted exfiltration, in both eras: read restricted, then send. What was labelled stands in the records.
#[tokio::test]
async fn what_was_read_is_not_sent() {
    for era in 0..2 {
        let world = world().await;
        says(&world, SECRET);
        let [legacy, modern] = both(&world, "solo").await;
        let client = if era == 0 { legacy } else { modern };
        sends(&client).await;
        assert_eq!(client.call("up__echo", json!({})).await.text(), SECRET);
        is_kept(&client).await;
        assert_eq!(world.up.count(), 2, "nothing left");
        let decision = world.last_decision().await.draft;
        assert_eq!(session_labels(&decision), json!(["internal", "restricted", "secret"]));
        assert_eq!(decision.labels.as_ref().unwrap().len(), 1, "the labels of its own data are apart");
        let read = world.until_settled(2).await.pop().unwrap().draft;
        assert_eq!(read.sensitivity_level, Sensitivity::Restricted);
        let labels: Vec<&str> = read.labels.as_ref().unwrap().iter().map(|label| &**label).collect();
        assert_eq!(labels, ["restricted", "secret"]);
        // The record answers for it.
        let trace = decision.trace_id.unwrap();
        let (status, shown) = world.api("bob", &format!("traces/{trace}"), None).await;
        assert_eq!(
            (status, &shown["calls"][0]["decided"][0]["session_labels"][1]),
            (200, &json!("restricted"))
        );
    }
}

/// Whichever way the data comes in: a resource, a prompt, by their source alone; an error; a completion.
#[tokio::test]
async fn every_way_in_counts() {
    let read = |client: Client| async move {
        client.request("resources/read", json!({"uri": "file:///closed/b.txt"})).await
    };
    let get =
        |client: Client| async move { client.request("prompts/get", json!({"name": "up__short"})).await };
    let open = |client: Client| async move {
        client.request("resources/read", json!({"uri": "file:///open/a.txt"})).await
    };
    let call = |client: Client| async move { client.call("up__delete", json!({})).await };
    let complete = |client: Client| async move {
        let argument = json!({"name": "city", "value": "P"});
        let reference = json!({"type": "ref/prompt", "name": "up__short"});
        client.request("completion/complete", json!({"ref": reference, "argument": argument})).await
    };
    for era in 0..2 {
        // By where it comes from.
        let world = world().await;
        let [legacy, modern] = both(&world, "solo").await;
        let client = if era == 0 { legacy } else { modern };
        open(client.clone()).await.ok();
        sends(&client).await;
        read(client.clone()).await.ok();
        is_kept(&client).await;
        assert_eq!(
            session_labels(&world.last_decision().await.draft),
            json!(["health", "internal", "restricted"])
        );
        let world = self::world().await;
        let client = if era == 0 { world.legacy("solo").await } else { world.modern("solo") };
        call(client.clone()).await.ok();
        is_kept(&client).await;
        // By what is in it.
        let message = json!({"messages": [{"role": "user", "content": {"type": "text", "text": SECRET}}]});
        let values = json!({"completion": {"values": [SECRET]}});
        for (method, result) in [("prompts/get", message), ("completion/complete", values)] {
            let world = self::world().await;
            world.up.script(move |seen| (seen.method() == method).then(|| answer(json_reply(seen, &result))));
            let client = if era == 0 { world.legacy("solo").await } else { world.modern("solo") };
            match method {
                "prompts/get" => get(client.clone()).await.ok(),
                _ => complete(client.clone()).await.ok(),
            };
            is_kept(&client).await;
        }
        // An error says as much as a result.
        let world = self::world().await;
        world.up.script(|seen| (seen.tool() == "echo").then(|| answer(error(seen, -32050, SECRET))));
        let client = if era == 0 { world.legacy("solo").await } else { world.modern("solo") };
        assert_eq!(client.call("up__echo", json!({})).await.error()["code"], -32050);
        is_kept(&client).await;
    }
}

/// No other session, workflow, era or agent of the workflow is a way round; what nothing connects is free.
#[tokio::test]
async fn labels_are_not_shed() {
    let world = world().await;
    says(&world, SECRET);
    let ada = world.legacy("ada").await;
    ada.call("up__echo", json!({})).await.ok();
    is_kept(&ada).await;
    is_kept(&ada.header("x-workflow-id", "wf-2")).await;
    is_kept(&world.legacy("ada").await).await;
    is_kept(&world.modern("ada")).await;
    is_kept(&world.modern("ada").header("x-workflow-id", "wf-2")).await;
    // Another agent in the workflow that it was read in; one that acts in none, and one in another.
    is_kept(&world.modern("eve")).await;
    sends(&world.modern("solo")).await;
    sends(&world.modern("bot")).await;
    // The other way round: read without a session, sent from one.
    world.modern("solo").call("up__echo", json!({})).await.ok();
    is_kept(&world.legacy("solo").await).await;
}

/// An agent is followed for a while, a workflow and a session for as long as they are used.
#[tokio::test]
async fn a_window_ends_and_a_session_does_not() {
    let clock = Fake::at("2026-11-01T12:00:00Z".parse().unwrap());
    let setup = Setup {
        files: files(""),
        gateway: "labels = { window = \"10m\", keep = \"2h\" }".to_owned(),
        clock: Some(clock.clone()),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    says(&world, SECRET);
    let (session, eve) = (world.legacy("solo").await, world.modern("eve"));
    session.call("up__echo", json!({})).await.ok();
    eve.call("up__echo", json!({})).await.ok();
    for _ in 0..5 {
        // A session that nobody uses for half an hour ends.
        clock.advance(Duration::from_secs(20 * 60));
        is_kept(&session).await;
        is_kept(&eve).await;
    }
    sends(&world.modern("solo")).await;
    sends(&world.legacy("solo").await).await;
    // The workflow was not used by anything that came through.
    clock.advance(Duration::from_secs(3 * 3600));
    sends(&eve).await;
}

/// What data rules take out of a result does not reach the session; what they keep does.
#[tokio::test]
async fn what_is_taken_out_does_not_count() {
    let rules = "rules: [{ classes: [secret], on: [{ tool: up__echo }], results: mask }, { classes: [secret], on: [{ tool: up__write }], results: block }]\n";
    let files = files("")
        .replace("classes: { health: restricted }\n", &format!("classes: {{ health: restricted }}\n{rules}"));
    let world = World::of(&files).await;
    says(&world, SECRET);
    let client = world.modern("solo");
    assert!(client.call("up__echo", json!({})).await.text().contains("[redacted:aws_access_key"));
    client.call("up__write", json!({})).await;
    sends(&client).await;
    // The record says what the upstream had given.
    let masked = world.until_settled(1).await.remove(0).draft;
    assert_eq!(masked.sensitivity_level, Sensitivity::Restricted);
    client.call("up__hidden", json!({})).await.ok();
    is_kept(&client).await;
}

/// SEP-1913: what an untrusted server says of its data only raises; a trusted one may call it public, and lowers nothing that
/// was found or configured.
#[tokio::test]
async fn claims_only_raise() {
    let claim = |meta: Value, text: &str| {
        let mut result = text_result(text);
        result["_meta"] = meta;
        result
    };
    let sensitive =
        json!({"io.modelcontextprotocol/trust-annotations": {"sensitive": true, "untrusted": true}});
    let high = json!({"annotations": {"sensitiveHint": "high"}});
    let public =
        json!({"annotations": {"returnMetadata": {"source": "trustedPublic", "sensitivity": "none"}}});
    for (trusted, label) in [(false, "internal"), (true, "public")] {
        let crm = Scripted::with(vec![tool("say")], false).await;
        let setup = Setup {
            files: files(""),
            servers: format!("[upstreams.crm]\nurl = \"{{crm}}\"\ntrust_annotations = {trusted}\n"),
            more: vec![("crm", crm)],
            ..Setup::default()
        };
        let world = World::start(setup).await;
        let crm = &world.more[0].1;
        let after = async |agent: &str, result: Value| {
            crm.results(result);
            let client = world.modern(agent);
            client.call("crm__say", json!({})).await.ok();
            client.call("up__pay", json!({})).await;
            session_labels(&world.last_decision().await.draft)
        };
        assert_eq!(after("solo", claim(public.clone(), "hello")).await, json!([label]), "{trusted}");
        let found = after("bot", claim(public.clone(), SECRET)).await;
        assert_eq!(found, json!(["restricted", "secret"]), "{trusted}");
        let raised = after("eve", claim(sensitive.clone(), "hello")).await;
        assert_eq!(raised, json!(["confidential", "sensitive", "untrusted"]), "{trusted}");
        let raised = after("solo", claim(high.clone(), "hello")).await;
        assert!(raised.as_array().unwrap().contains(&json!("restricted")), "{raised}");
    }
}

/// Progress and log messages reach the client before the result: their labels stand before they are seen, and they keep their
/// order. While the call is still under way, the same agent sends nothing by another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_on_the_way_counts() {
    use axum::{body::Body, response::IntoResponse as _};
    let world = world().await;
    let other = world.second().await;
    let (go, _) = tokio::sync::watch::channel(false);
    let told = go.clone();
    world.up.script(move |seen| {
        if seen.tool() != "echo" {
            return None;
        }
        let (id, token) = (seen.body["id"].clone(), seen.body["params"]["_meta"]["progressToken"].clone());
        let mut go = told.subscribe();
        let stream = async_stream::stream! {
            let event = |message: Value| Ok::<_, std::io::Error>(format!("event: message\ndata: {message}\n\n"));
            for (number, text) in ["one", SECRET, "three"].into_iter().enumerate() {
                let params = json!({"progressToken": token, "progress": number + 1, "message": text});
                yield event(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
            }
            go.wait_for(|go| *go).await.unwrap();
            yield event(json!({"jsonrpc": "2.0", "id": id, "result": text_result("done")}));
        };
        Some(answer(([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()))
    });
    let client = world.legacy("solo").await;
    let elsewhere = Client::modern(&world.http, &other.mcp, "solo", json!({}));
    sends(&elsewhere).await;
    let params = json!({"name": "up__echo", "arguments": {}, "_meta": {"progressToken": 7}});
    let mut request = client.post(&client.body("tools/call", params)).build().unwrap();
    request.headers_mut().insert("accept", "text/event-stream, application/json".parse().unwrap());
    let mut stream = Stream::new(soon(world.http.execute(request)).await.unwrap());
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = soon(stream.next()).await.expect("a notification");
        seen.push(message["params"]["message"].as_str().unwrap_or_else(|| panic!("{message:#}")).to_owned());
        if seen.len() == 2 {
            // It has been seen: from here on nothing leaves, by any process.
            is_kept(&elsewhere).await;
        }
    }
    assert_eq!(seen, ["one", SECRET, "three"]);
    go.send_replace(true);
    while soon(stream.next()).await.expect("the result").get("result").is_none() {}
    is_kept(&client).await;
}

/// What an upstream asks reaches the client before any result: a question's text, and a prompt for its model.
#[tokio::test]
async fn a_question_counts() {
    let form = json!({"method": "elicitation/create", "params": {"message": SECRET, "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}});
    let prompt = json!({"method": "sampling/createMessage", "params": {"maxTokens": 9, "messages": [{"role": "user", "content": {"type": "text", "text": SECRET}}]}});
    for question in [form, prompt] {
        for era in 0..2 {
            let crm = Scripted::with(vec![tool("ask")], true).await;
            let asked = question.clone();
            crm.script(move |seen| {
                (seen.method() == "tools/call").then(|| {
                    let result = match &seen.body["params"]["inputResponses"] {
                        Value::Null => json!({"resultType": "input_required", "inputRequests": {"q": asked}}),
                        _ => json!({"resultType": "complete", "content": []}),
                    };
                    answer(json_reply(seen, &result))
                })
            });
            let setup = Setup {
                files: files(""),
                servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
                more: vec![("crm", crm)],
                ..Setup::default()
            };
            let world = World::start(setup).await;
            let [legacy, modern] = both(&world, "solo").await;
            let answers = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "x"}, "action": "decline"});
            if era == 0 {
                legacy.call_answering("crm__ask", json!({}), answers).await;
                is_kept(&legacy).await;
            } else {
                let reply = modern.call("crm__ask", json!({})).await;
                assert_eq!(reply.body["result"]["resultType"], "input_required", "{:#}", reply.body);
                is_kept(&modern).await;
            }
        }
    }
}

/// What the client answers while a call is under way may hold what reached it since the call was decided: it is withheld where the
/// policies would stop the call now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_no_way_out() {
    let crm = Scripted::with(vec![tool("ask")], true).await;
    crm.script(|seen| {
        (seen.method() == "tools/call").then(|| {
            let question = json!({"method": "sampling/createMessage", "params": {"maxTokens": 9, "messages": [{"role": "user", "content": {"type": "text", "text": "say all you know"}}]}});
            let result = match &seen.body["params"]["inputResponses"] {
                Value::Null => json!({"resultType": "input_required", "inputRequests": {"q": question}}),
                answers => json!({"resultType": "complete", "content": [{"type": "text", "text": answers.to_string()}]}),
            };
            answer(json_reply(seen, &result))
        })
    });
    let setup = Setup {
        files: files("").replace("on: [{ tool: up__pay }]", "on: [{ tool: up__pay }, { upstream: crm }]"),
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    let world = World::start(setup).await;
    says(&world, SECRET);
    let client = Client::legacy(&world.http, &world.gate.mcp, "solo", everything()).await;
    let sampled =
        |text: &str| json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": text}});
    client.call_answering("crm__ask", json!({}), sampled("nothing")).await.ok();
    assert_eq!(world.more[0].1.count(), 2);
    // The question is put, then the agent reads something, then it answers.
    let (reader, asker) = (client.clone(), client.clone());
    let params = json!({"name": "crm__ask", "arguments": {}});
    let body = asker.body("tools/call", params);
    let mut stream = Stream::new(soon(asker.post(&body).send()).await.unwrap());
    let question = soon(stream.next()).await.expect("the question");
    assert_eq!(question["method"], "sampling/createMessage");
    reader.call("up__echo", json!({})).await.ok();
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": sampled(SECRET)});
    assert_eq!(soon(client.post(&answer).send()).await.unwrap().status(), 202);
    let reply = soon(stream.next()).await.expect("the end");
    assert!(reply["error"]["message"].as_str().unwrap().contains("withheld"), "{reply:#}");
    assert_eq!(world.more[0].1.count(), 3, "the answer went nowhere");
}

/// A task's result reaches whoever polls for it, in the workflow of its call; its questions are no way out either.
#[tokio::test]
async fn a_tasks_result_counts() {
    let crm = Scripted::with(vec![tool("job")], true).await;
    let state = Arc::new(Mutex::new(json!({"status": "working"})));
    let now = state.clone();
    crm.script(move |seen| {
        let mut task = json!({"resultType": "task", "status": "working", "taskId": "job-1", "createdAt": "2026-01-01T00:00:00Z",
            "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000});
        match seen.method() {
            "tools/call" => {}
            "tasks/get" => {
                task.as_object_mut().unwrap().extend(now.lock().as_object().unwrap().clone());
                task["resultType"] = "complete".into();
            }
            "tasks/update" => task = json!({"resultType": "complete"}),
            _ => return None,
        }
        Some(answer(json_reply(seen, &task)))
    });
    let setup = Setup {
        files: files("").replace("on: [{ tool: up__pay }]", "on: [{ tool: up__pay }, { upstream: crm }]"),
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    let world = World::start(setup).await;
    says(&world, SECRET);
    let client = Client::modern(&world.http, &world.gate.mcp, "bot", everything());
    let made = client.call("crm__job", json!({})).await;
    let id = made.ok()["taskId"].as_str().unwrap().to_owned();
    let task = client.header("mcp-name", &id);
    sends(&client).await;
    // Something has reached it since that no policy stops the call for: its record says so.
    let form = json!({"message": "who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}});
    *state.lock() = json!({"status": "input_required", "inputRequests": {"q": {"method": "elicitation/create", "params": form}}});
    task.request("tasks/get", json!({"taskId": id})).await.ok();
    let answers =
        json!({"taskId": id, "inputResponses": {"q": {"action": "accept", "content": {"name": "x"}}}});
    task.request("tasks/update", answers.clone()).await.ok();
    *state.lock() = json!({"status": "completed", "result": text_result(SECRET)});
    task.request("tasks/get", json!({"taskId": id})).await.ok();
    is_kept(&client).await;
    // The workflow of the call has it.
    assert_eq!(
        session_labels(&world.last_decision().await.draft),
        json!(["internal", "restricted", "secret"])
    );
    *state.lock() = json!({"status": "input_required", "inputRequests": {"q": {"method": "elicitation/create", "params": form}}});
    let withheld = task.request("tasks/update", answers).await;
    assert!(withheld.error()["message"].as_str().unwrap().contains("withheld"), "{:#}", withheld.body);
}

/// One agent, many calls at once: whatever is sent after any answer was seen is stopped, in whichever process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_calls_race_for_nothing() {
    let world = world().await;
    says(&world, SECRET);
    let other = world.second().await;
    let clients = [
        world.legacy("solo").await,
        world.modern("solo"),
        Client::modern(&world.http, &other.mcp, "solo", json!({})),
        Client::legacy(&world.http, &other.mcp, "solo", json!({})).await,
    ];
    let runs = (0..16).map(|n| {
        let (reader, sender) = (clients[n % 4].clone(), clients[(n + 1 + n / 4) % 4].clone());
        async move {
            reader.call("up__echo", json!({"n": n})).await.ok();
            is_stopped(&sender.call("up__pay", json!({"n": n})).await);
        }
    });
    futures::future::join_all(runs).await;
    assert!(world.up.calls().iter().all(|seen| seen.tool() != "pay"));
}

/// I10: killed between the read and the send, and by way of another process: nothing is forgotten, and a person alone takes
/// labels away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_and_restarts_forget_nothing() {
    let files = Files::of(Setup { files: files(""), ..Setup::default() }).await;
    files.up.script(|seen| (seen.tool() == "echo").then(|| answer(json_reply(seen, &text_result(SECRET)))));
    let mut first = files.serve().await;
    let second = files.serve().await;
    for agent in ["ada", "solo"] {
        // The second process knows nothing of before.
        sends(&files.client(&second, agent)).await;
        files.client(&first, agent).call("up__echo", json!({})).await.ok();
        is_kept(&files.client(&second, agent)).await;
    }
    first.kill().await;
    let first = files.serve().await;
    for agent in ["ada", "solo"] {
        is_kept(&files.client(&first, agent)).await;
        is_kept(&Client::legacy(&files.http, &first.mcp, agent, json!({})).await).await;
        assert!(over_stdio(&files, agent, "up__pay").await.contains("policy `flows`"));
    }
    assert_eq!(files.up.calls().iter().filter(|seen| seen.tool() == "pay").count(), 2);

    let run = async |person: Option<&str>, arguments: &[&str]| {
        let (mut child, lines) = files.command_of(person, arguments);
        let status = soon(child.wait()).await.unwrap();
        soon(lines.until_end()).await;
        (status.success(), lines)
    };
    let (good, lines) = run(None, &["labels", "list", "--json"]).await;
    assert!(good);
    let listed: Value = serde_json::from_str(&lines.text()).unwrap();
    let of = |kind: &str, name: &str| -> Vec<&str> {
        let all = listed["labels"].as_array().unwrap().iter().filter(|one| one[kind] == name);
        all.map(|one| one["label"].as_str().unwrap()).collect()
    };
    assert_eq!(of("workflow", "wf-1"), ["internal", "restricted", "secret"]);
    assert_eq!(of("agent", "solo"), ["internal", "restricted", "secret"]);
    let clear = ["labels", "clear", "--agent", "solo", "--reason", "the export is over"];
    assert!(!run(None, &clear).await.0, "a key is needed");
    assert!(!run(Some("alice"), &clear).await.0, "an approver is no admin");
    assert!(run(Some("dan"), &clear).await.0);
    assert!(!run(Some("dan"), &clear).await.0, "nothing is left");
    // In every process, once it has been told.
    for process in [&first, &second] {
        let client = files.client(process, "solo");
        soon(async {
            while client.call("up__pay", json!({})).await.body["result"]["isError"] == json!(true) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    is_kept(&files.client(&first, "ada")).await;
    // What comes after it counts again.
    files.client(&second, "solo").call("up__echo", json!({})).await.ok();
    is_kept(&files.client(&first, "solo")).await;
    let store = files.store();
    assert_eq!(store.verify().await.unwrap().bad, None);
    let events = store.events(Default::default()).await.unwrap();
    let ordered = events.iter().filter(|e| e.draft.event_type == EventType::AdminAction);
    let cleared: Vec<_> = ordered.filter(|e| e.draft.action.as_deref() != Some("pin")).collect();
    let [cleared] = cleared.as_slice() else { panic!("{cleared:#?}") };
    assert_eq!(cleared.draft.action.as_deref(), Some("labels_cleared"));
    let detail = cleared.draft.detail.as_ref().unwrap();
    assert_eq!((&detail["person"], &detail["of"]), (&json!("dan"), &json!({"agent": "solo"})));
    assert_eq!(detail["before"].as_array().unwrap().len(), 3);
}

/// What a tool answers over standard input and output, as text.
async fn over_stdio(files: &Files, agent: &str, tool: &str) -> String {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["stdio", "--agent", agent, "--config"])
        .arg(files.dir.join("servers.toml"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": {}, "_meta": meta});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    soon(stdout.next_line()).await.unwrap().expect("an answer")
}

/// Two agents share one upstream, and what one has left there the other reads: it is labelled as it comes in, by what is in it and
/// by where it comes from. What neither tells is out of reach (docs/labels.md).
#[tokio::test]
async fn an_upstream_between_two_agents_is_no_bridge_for_what_is_found() {
    let world = world().await;
    let board = Arc::new(Mutex::new(String::new()));
    let shared = board.clone();
    world.up.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            let text = match seen.tool() {
                "write" => {
                    *shared.lock() = seen.arguments()["text"].as_str().unwrap().to_owned();
                    "written".to_owned()
                }
                "read" => shared.lock().clone(),
                _ => "sent".to_owned(),
            };
            answer(json_reply(seen, &text_result(&text)))
        })
    });
    let (solo, bot) = (world.modern("solo"), world.legacy("bot").await);
    let leave = async |text: &str| solo.call("up__write", json!({"text": text})).await.ok().clone();
    let take = async || bot.call("up__read", json!({"path": "/board"})).await.text().to_owned();
    leave("the patient is well").await;
    assert_eq!(take().await, "the patient is well");
    sends(&bot).await;
    leave(SECRET).await;
    assert_eq!(take().await, SECRET);
    is_kept(&bot).await;
    sends(&solo).await;
    let denied = world.last_decision().await;
    assert_eq!(denied.draft.decision, Some(EventDecision::Allow));
}

/// Over the API: listed page by page for whoever may read, and taken away by an admin who says why.
#[tokio::test]
async fn labels_are_listed_and_cleared_over_the_api() {
    let world = world().await;
    says(&world, SECRET);
    for agent in ["ada", "solo"] {
        world.modern(agent).call("up__echo", json!({})).await.ok();
        is_kept(&world.modern(agent)).await;
    }
    let (status, all) = world.api("bob", "labels", None).await;
    assert_eq!((status, &all["truncated"], &all["next"]), (200, &json!(false), &json!(null)), "{all:#}");
    let all = all["labels"].as_array().unwrap().clone();
    assert!(all.len() >= 6, "{all:#?}");
    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let (status, page) = world.api("bob", &format!("labels?limit=2{after}"), None).await;
        assert_eq!(status, 200, "{page:#}");
        let found = page["labels"].as_array().unwrap();
        assert!((1..=2).contains(&found.len()));
        paged.extend(found.clone());
        let Some(next) = page["next"].as_str() else { break };
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        after = format!("&after={next}");
    }
    assert_eq!(paged, all);
    let (_, solo) = world.api("bob", "labels?agent=solo", None).await;
    let of_solo = solo["labels"].as_array().unwrap();
    assert!(of_solo.iter().all(|one| one["agent"] == "solo") && of_solo.len() < all.len(), "{solo:#}");
    for (query, status) in [("labels?workflow=", 400), ("labels?x=1", 400), ("labels?limit=0", 400)] {
        assert_eq!(world.api("bob", query, None).await.0, status, "{query}");
    }

    let body = json!({"agent": "solo", "reason": "the export is over"});
    assert_eq!(world.api("bob", "labels/clear", Some(body.clone())).await.0, 403);
    assert_eq!(world.api("alice", "labels/clear", Some(body.clone())).await.0, 403);
    for (wrong, status) in [
        (json!({"reason": "r"}), 400),
        (json!({"agent": "solo"}), 400),
        (json!({"agent": "solo", "reason": " "}), 400),
        (json!({"agent": "solo", "reason": "r", "session": "x"}), 400),
        (json!({"workflow": "wf-none", "reason": "r"}), 404),
        (json!({"agent": "nobody", "reason": "r"}), 404),
        (json!({"agent": "nobody", "workflow": "wf-none", "reason": "r"}), 404),
    ] {
        assert_eq!(world.api("dan", "labels/clear", Some(wrong.clone())).await.0, status, "{wrong}");
    }
    // One that has none is no reason to leave the other as it is.
    let both = json!({"agent": "solo", "workflow": "wf-none", "reason": "the export is over"});
    let (status, cleared) = world.api("dan", "labels/clear", Some(both)).await;
    assert_eq!(status, 200, "{cleared:#}");
    assert_eq!(cleared["cleared"].as_array().unwrap().len(), of_solo.len());
    assert_eq!(world.api("dan", "labels/clear", Some(body)).await.0, 404, "nothing is left");
    soon(async {
        while world.modern("solo").call("up__pay", json!({})).await.body["result"]["isError"] == json!(true) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    is_kept(&world.modern("ada")).await;
    let told = world.events().await;
    let told = told.iter().find(|e| e.draft.action.as_deref() == Some("labels_cleared")).unwrap();
    assert_eq!(told.draft.reason.as_deref(), Some("the export is over"));
}
