//! Calls whose result comes later: an upstream's tasks, and calls that wait for an approval.

use crate::harness::*;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate::model::{ApprovalStatus, EventType, Outcome};

const TASKS: &str = "io.modelcontextprotocol/tasks";

fn with_tasks() -> Value {
    json!({"extensions": {TASKS: {}}})
}

/// An upstream whose tool becomes a task, in this state.
struct Job {
    crm: Scripted,
    state: Arc<Mutex<Value>>,
}

impl Job {
    async fn start() -> Self {
        let crm = Scripted::with(vec![tool("job"), tool("job2")], true).await;
        let state = Arc::new(Mutex::new(json!({"status": "working"})));
        let now = state.clone();
        crm.script(move |seen| {
            let task = |more: Value| {
                let mut task = json!({"taskId": "job-1", "createdAt": "2026-01-01T00:00:00Z",
                    "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000});
                task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                task
            };
            let result = match seen.method() {
                "tools/call" => task(json!({"resultType": "task", "status": "working"})),
                "tasks/get" if seen.body["params"]["taskId"] == "job-1" => {
                    let mut shown = task(now.lock().clone());
                    shown["resultType"] = "complete".into();
                    shown
                }
                "tasks/get" => return Some(answer(error(seen, -32602, "no such task"))),
                "tasks/update" | "tasks/cancel" => json!({"resultType": "complete"}),
                _ => return None,
            };
            Some(answer(json_reply(seen, &result)))
        });
        Self { crm, state }
    }

    async fn world(self, files: &str) -> (World, Arc<Mutex<Value>>) {
        let authority = authority().replace("tools: [\"up__*\"]", "tools: [\"*\"]");
        let setup = Setup {
            files: format!("=== authority.yaml\n{authority}{files}"),
            servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
            more: vec![("crm", self.crm)],
            ..Setup::default()
        };
        (World::start(setup).await, self.state)
    }
}

async fn ask(client: &Client, verb: &str, id: &str) -> Reply {
    let client = client.header("mcp-name", id);
    let mut params = json!({"taskId": id});
    if verb == "update" {
        params["inputResponses"] = json!({"q": {"action": "accept", "content": {"name": "Ada"}}});
    }
    client.request(&format!("tasks/{verb}"), params).await
}

fn id_of(reply: &Reply) -> String {
    let result = reply.ok();
    assert_eq!(result["resultType"], "task", "{result:#}");
    result["taskId"].as_str().unwrap().to_owned()
}

/// What a client asks about a task is asked of its upstream too, and measured on both sides.
#[tokio::test]
async fn requests_about_tasks_are_measured() {
    let (world, _) = Job::start().await.world("").await;
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
    let id = id_of(&ada.call("crm__job", json!({})).await);
    // What goes with its trace goes on with it.
    let context = json!({
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1",
        "baggage": "k=v",
        "other": "stays",
    });
    ada.header("mcp-name", &id).request("tasks/get", json!({"taskId": id, "_meta": context})).await.ok();
    let seen = world.more[0].1.until_told("tasks/get").await;
    let meta = &seen.body["params"]["_meta"];
    assert_eq!((&meta["tracestate"], &meta["baggage"]), (&json!("a=1"), &json!("k=v")), "{:#}", seen.body);
    assert_eq!((seen.header("tracestate"), seen.header("baggage")), (Some("a=1"), Some("k=v")));
    assert!(
        meta.get("other").is_none() && meta["traceparent"].as_str().unwrap().contains("0af76519"),
        "{meta:#}"
    );
    ask(&ada, "cancel", &id).await.ok();
    let text = soon(world.http.get(format!("{}/metrics", world.gate.admin)).send()).await.unwrap();
    let text = text.text().await.unwrap();
    for (side, method) in [
        ("server", "tasks/get"),
        ("client", "tasks/get"),
        ("server", "tasks/cancel"),
        ("client", "tasks/cancel"),
    ] {
        let name = format!("mcp_{side}_operation_duration_seconds_count");
        let method = format!("mcp_method_name=\"{method}\"");
        let one = text.lines().find(|line| line.starts_with(&name) && line.contains(&method));
        assert!(one.is_some_and(|line| line.ends_with(" 1")), "{side} {method}: {one:?}");
    }
}

/// The handle is the agent's alone, the upstream hears its own id, and what comes through is limited as results are.
#[tokio::test]
async fn an_upstreams_task_is_governed_to_its_end() {
    let (world, state) = Job::start().await.world("").await;
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
    let discovered = ada.request("server/discover", json!({})).await;
    assert!(discovered.ok()["capabilities"]["extensions"][TASKS].is_object());
    let made = ada.call("crm__job", json!({})).await;
    let id = id_of(&made);
    assert!(!id.contains("job-1"), "{id}");
    let settled = world.until_settled(1).await.pop().unwrap().draft;
    assert_eq!(settled.outcome, Some(Outcome::Succeeded));
    assert_eq!(settled.detail.as_ref().unwrap()["task"], "made");
    assert!(settled.detail.as_ref().unwrap()["result_tokens"].as_u64().unwrap() > 0, "charged as reserved");

    // Nothing is asked yet: an answer is sent to nobody, and recorded.
    assert_eq!(ask(&ada, "update", &id).await.ok()["resultType"], "complete");
    let unasked = world.until_settled(2).await.pop().unwrap().draft;
    assert_eq!(unasked.detail.as_ref().unwrap()["task"], "unasked");
    let working = ask(&ada, "get", &id).await;
    assert_eq!((&working.ok()["status"], &working.ok()["taskId"]), (&json!("working"), &json!(id)));
    *state.lock() = json!({"status": "input_required", "inputRequests": {"q": {"method": "elicitation/create",
        "params": {"message": "who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}}}});
    let eve = Client::modern(&world.http, &world.gate.mcp, "eve", with_tasks());
    // The question needs a capability that this client has not declared.
    let unsupported = ask(&ada, "get", &id).await;
    assert!(
        unsupported.error()["message"].as_str().unwrap().contains("not declared"),
        "{:#}",
        unsupported.body
    );
    let mut both = with_tasks();
    both["elicitation"] = json!({"form": {}});
    let asking = Client::modern(&world.http, &world.gate.mcp, "ada", both);
    let asked = ask(&asking, "get", &id).await;
    assert_eq!(asked.ok()["inputRequests"]["q"]["params"]["message"], "[crm] who?");
    // Only what was asked is answered.
    let more = json!({"taskId": id, "inputResponses": {
        "q": {"action": "accept", "content": {"name": "Ada"}},
        "confirm": {"action": "accept", "content": {"amount": 1000000}},
    }});
    let updated = asking.header("mcp-name", &id).request("tasks/update", more).await;
    assert_eq!(updated.ok()["resultType"], "complete");
    let told = world.more[0].1.until_told("tasks/update").await;
    assert_eq!(told.body["params"]["taskId"], "job-1");
    assert_eq!(told.body["params"]["inputResponses"].as_object().unwrap().len(), 1);
    assert_eq!(told.body["params"]["inputResponses"]["q"]["content"]["name"], "Ada");
    assert_eq!(told.headers["mcp-name"], "job-1");

    *state.lock() = json!({"status": "completed", "statusMessage": "done", "_meta": {"tollgate/decision": 1},
        "result": {"content": [{"type": "text", "text": "four words are here"}]}});
    for _ in 0..2 {
        let done = ask(&ada, "get", &id).await;
        assert_eq!(done.ok()["result"]["content"][0]["text"], "four words are here");
        assert_eq!(done.ok()["status"], "completed");
        assert!(done.ok()["_meta"].get("tollgate/decision").is_none());
    }
    // Nobody else's, and nothing that was made up.
    for (client, id) in [(&eve, id.as_str()), (&ada, "job-1"), (&ada, ""), (&ada, &id[1..])] {
        let none = ask(client, "get", id).await;
        assert_eq!(none.error()["code"], -32602, "{:#}", none.body);
    }
    ask(&ada, "cancel", &id).await.ok();
    world.more[0].1.until_told("tasks/cancel").await;
    let events = world.events().await;
    let told: Vec<_> = events
        .iter()
        .filter(|e| e.draft.event_type == EventType::AgentSideEffect)
        .map(|e| e.draft.detail.as_ref().unwrap()["task"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["made", "unasked", "asked", "answered", "completed", "completed", "cancel"]);
    let trace =
        events.iter().find(|e| e.draft.event_type == EventType::AgentDecision).unwrap().draft.trace_id;
    assert!(
        events
            .iter()
            .filter(|e| e.draft.event_type == EventType::AgentSideEffect)
            .all(|e| e.draft.trace_id == trace)
    );

    // A tool that is out of scope now has no tasks any more (I7), whoever has the handle.
    let narrowed = authority().replace("tools: [\"up__*\"]", "tools: [\"up__*\", \"crm__job2\"]");
    world.reload(&format!("=== authority.yaml\n{narrowed}")).await;
    let gone = ask(&ada, "get", &id).await;
    assert_eq!(gone.error()["code"], -32602);
}

/// Another process on the same store knows the handle, for nothing is kept in memory.
#[tokio::test]
async fn every_process_on_the_store_knows_an_upstreams_task() {
    let (world, state) = Job::start().await.world("").await;
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
    let id = id_of(&ada.call("crm__job", json!({})).await);
    *state.lock() = json!({"status": "failed", "error": {"code": -32603, "message": "broken"}});
    let second = world.second().await;
    let elsewhere = Client::modern(&world.http, &second.mcp, "ada", with_tasks());
    let failed = ask(&elsewhere, "get", &id).await;
    assert_eq!(failed.ok()["error"]["message"], "broken");
}

/// Who has not said that it takes tasks gets none, and may not ask about any; nor does the legacy era know them.
#[tokio::test]
async fn only_who_declares_tasks_has_them() {
    let (world, _) = Job::start().await.world("").await;
    let bare = world.bare("ada");
    let reply = bare.call("crm__job", json!({})).await;
    assert!(reply.error()["message"].as_str().unwrap().contains("nobody could ask for"), "{:#}", reply.body);
    let seen = world.more[0].1.calls().pop().unwrap();
    let declared = &seen.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert!(declared["extensions"].get(TASKS).is_none(), "{declared}");
    assert_eq!(world.until_settled(1).await[0].draft.outcome, Some(Outcome::Unknown));
    for verb in ["get", "update", "cancel"] {
        let refused = ask(&bare, verb, "x").await;
        assert_eq!(refused.error()["code"], -32021, "{:#}", refused.body);
        assert!(refused.error()["data"]["requiredCapabilities"]["extensions"][TASKS].is_object());
        let legacy =
            world.legacy("ada").await.request(&format!("tasks/{verb}"), json!({"taskId": "x"})).await;
        assert_eq!(legacy.error()["code"], -32601);
    }
    // The header says which task, so that what stands in between can route it.
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
    let other = ada.header("mcp-name", "y").request("tasks/get", json!({"taskId": "x"})).await;
    assert_eq!(other.error()["code"], -32020, "{:#}", other.body);
}

const GATE: &str = "=== ask.yaml
name: writes
description: A person agrees
on: [{ tool: up__write }, { tool: crm__job }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 10m }]
";

/// A call that waits for a person is a task at once; approved, it is made once and its result stands in the task.
#[tokio::test]
async fn a_call_that_waits_for_approval_is_a_task() {
    let world = World::of(GATE).await;
    let bot = Client::modern(&world.http, &world.gate.mcp, "bot", with_tasks());
    let made = bot.call("up__write", json!({"path": "/a"})).await;
    let id = id_of(&made);
    let decision = &made.ok()["_meta"]["tollgate/decision"];
    assert_eq!(decision["decision"], "pending_approval");
    let approval = decision["approval_id"].as_str().unwrap().to_owned();
    let waiting = ask(&bot, "get", &id).await;
    assert_eq!(waiting.ok()["status"], "working");
    assert!(waiting.ok()["statusMessage"].as_str().unwrap().contains("approval"));
    assert_eq!(world.up.count(), 0);
    for client in [world.modern("ada"), Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks())] {
        let not_hers = ask(&client, "get", &id).await;
        assert!([-32602, -32021].contains(&not_hers.error()["code"].as_i64().unwrap()));
    }
    assert_eq!(world.decide("carol", &approval, "approve").await, 200);
    world.until_settled(1).await;
    let done = until(&bot, &id, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], r#"{"path":"/a"}"#);
    assert_eq!(world.up.count(), 1);
    assert_eq!(world.approvals().await[0].status, ApprovalStatus::Consumed);

    // Rejected: the task completes with the refusal, and nothing is made.
    let made = bot.call("up__write", json!({"path": "/b"})).await;
    let id = id_of(&made);
    let approval = made.ok()["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap().to_owned();
    assert_eq!(world.decide("carol", &approval, "reject").await, 200);
    let done = until(&bot, &id, "completed").await;
    assert_eq!(done["result"]["_meta"]["tollgate/decision"]["decision"], "rejected");
    assert_eq!(done["result"]["isError"], true);
    assert_eq!(world.up.count(), 1);
}

async fn until(client: &Client, id: &str, status: &str) -> Value {
    soon(async {
        loop {
            let shown = ask(client, "get", id).await;
            if shown.ok()["status"] == status {
                return shown.ok().clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// Cancelled, it is never made, whatever a person says afterwards.
#[tokio::test]
async fn a_cancelled_task_is_no_call() {
    let world = World::of(GATE).await;
    let bot = Client::modern(&world.http, &world.gate.mcp, "bot", with_tasks());
    let made = bot.call("up__write", json!({"path": "/a"})).await;
    let id = id_of(&made);
    ask(&bot, "cancel", &id).await.ok();
    until(&bot, &id, "cancelled").await;
    let approval = made.ok()["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap().to_owned();
    assert_eq!(world.decide("carol", &approval, "approve").await, 200);
    world.until_approval(|record| record.status == ApprovalStatus::Approved).await;
    assert_eq!(until(&bot, &id, "cancelled").await["status"], "cancelled");
    assert_eq!(world.up.count(), 0);
    // The approval is still there for the call, made again.
    bot.call("up__write", json!({"path": "/a"})).await.echoed();
    assert_eq!(world.up.count(), 1);
}

/// After the approval the upstream may ask, and may make a task of its own: both come through the task that stands.
#[tokio::test]
async fn questions_and_tasks_of_the_upstream_follow_the_approval() {
    let (world, state) = Job::start().await.world(GATE).await;
    let bot = Client::modern(&world.http, &world.gate.mcp, "bot", with_tasks());
    let made = bot.call("crm__job", json!({})).await;
    let id = id_of(&made);
    let approval = made.ok()["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap().to_owned();
    assert_eq!(world.decide("carol", &approval, "approve").await, 200);
    world.more[0].1.until_count(1).await;
    *state.lock() = json!({"status": "completed", "result": {"content": [{"type": "text", "text": "job"}]}});
    let done = until(&bot, &id, "completed").await;
    assert_eq!((&done["result"]["content"][0]["text"], &done["taskId"]), (&json!("job"), &json!(id)));

    let question = json!({"method": "elicitation/create", "params": {"message": "who?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}});
    world.more[0].1.script(move |seen| {
        (seen.method() == "tools/call").then(|| {
            let result = match &seen.body["params"]["inputResponses"] {
                Value::Null => json!({"resultType": "input_required", "inputRequests": {"q": question}}),
                answers => json!({"content": [{"type": "text", "text": answers["q"]["content"]["name"]}]}),
            };
            answer(json_reply(seen, &result))
        })
    });
    let mut both = with_tasks();
    both["elicitation"] = json!({"form": {}});
    let bot = Client::modern(&world.http, &world.gate.mcp, "bot", both);
    let made = bot.call("crm__job", json!({"n": 2})).await;
    let id = id_of(&made);
    let approval = made.ok()["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap().to_owned();
    assert_eq!(world.decide("carol", &approval, "approve").await, 200);
    let asked = until(&bot, &id, "input_required").await;
    assert_eq!(asked["inputRequests"]["q"]["params"]["message"], "[crm] who?");
    ask(&bot, "update", &id).await.ok();
    let done = until(&bot, &id, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "Ada");
}

/// A large call is not held in memory: it waits as if its client took no tasks.
#[tokio::test]
async fn a_large_call_is_not_held() {
    let world = World::of(GATE).await;
    let bot = Client::modern(&world.http, &world.gate.mcp, "bot", with_tasks());
    let large = bot.call("up__write", json!({"text": "x ".repeat(40_000)})).await;
    assert_eq!(large.word(), "pending_approval");
    id_of(&bot.call("up__write", json!({"text": "x"})).await);
}

/// What came of a held call is read by who sees its tool now (I7): not after a reload that takes the tool away.
#[tokio::test]
async fn a_tool_out_of_scope_takes_its_held_calls_along() {
    let world = World::of(GATE).await;
    let bot = Client::modern(&world.http, &world.gate.mcp, "bot", with_tasks());
    let waiting = id_of(&bot.call("up__write", json!({"path": "/b"})).await);
    let made = bot.call("up__write", json!({"path": "/a"})).await;
    let id = id_of(&made);
    let approval = made.ok()["_meta"]["tollgate/decision"]["approval_id"].as_str().unwrap().to_owned();
    assert_eq!(world.decide("carol", &approval, "approve").await, 200);
    until(&bot, &id, "completed").await;

    let narrowed = authority().replace("tools: [\"up__*\"]", "tools: [\"up__read\"]");
    assert_ne!(narrowed, authority());
    world.reload(&format!("{GATE}=== authority.yaml\n{narrowed}")).await;
    for verb in ["get", "update", "cancel"] {
        for id in [&id, &waiting] {
            let gone = ask(&bot, verb, id).await;
            assert_eq!(gone.error()["code"], -32602, "{:#}", gone.body);
        }
    }
    world.reload(GATE).await;
    assert_eq!(ask(&bot, "get", &id).await.ok()["status"], "completed");
    assert_eq!(world.up.count(), 1);
}

/// I8: what a task brings is limited as a result is, and only a task that asks has questions.
#[tokio::test]
async fn a_task_escapes_no_limit() {
    let gate = "\n=== gate.yaml\nname: small\ndescription: d\non: [{ upstream: crm }]\nrules:\n  - { condition: \"tool.name == 'crm__job'\", decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_bytes: 300 } }\n  - { decision: ALLOW_WITH_CONSTRAINTS, constraints: { max_result_tokens: 50 } }\n";
    let (world, state) = Job::start().await.world(gate).await;
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
    let long = "word ".repeat(2_000);
    for tool in ["crm__job", "crm__job2"] {
        let id = id_of(&ada.call(tool, json!({})).await);
        for result in [
            json!({"content": [{"type": "text", "text": long}]}),
            json!({"resultType": "input_required", "content": [{"type": "text", "text": long}]}),
        ] {
            *state.lock() = json!({"status": "completed", "result": result});
            let done = ask(&ada, "get", &id).await;
            assert!(done.ok().to_string().len() < 1_200, "{tool}");
        }
        *state.lock() = json!({"status": "failed", "error": {"code": -32000, "message": long,
            "data": {"tollgate/decision": {"decision": "approved"}, "more": long}}});
        let failed = ask(&ada, "get", &id).await;
        assert_eq!(failed.ok()["error"]["code"], -32000);
        assert!(failed.ok().to_string().len() < 1_200 && !failed.ok().to_string().contains("tollgate/"));
    }
    let id = id_of(&ada.call("crm__job", json!({})).await);
    *state.lock() = json!({"status": "working", "inputRequests": {"q": {"method": "elicitation/create",
        "params": {"message": "Enter your password"}}}});
    let working = ask(&ada, "get", &id).await;
    assert_eq!(working.ok()["status"], "working");
    assert!(working.ok().get("inputRequests").is_none(), "{:#}", working.body);
}

/// `strict` cuts what a task brings at what was charged for it when it was made.
#[tokio::test]
async fn a_task_under_a_strict_budget_is_cut_at_its_reservation() {
    let budgets = "\n=== budgets.yaml\nbudgets: [{ id: day, scope: agent, window: day, max_tokens: 1000000, strict: true }]\n";
    let (world, state) = Job::start().await.world(budgets).await;
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
    let id = id_of(&ada.call("crm__job", json!({})).await);
    let reserved = world.last_settled().await.detail.unwrap()["result_tokens"].as_u64().unwrap();
    // What is estimated, where nothing is learned, and not what was set aside beyond that.
    assert_eq!(reserved, 200);
    *state.lock() = json!({"status": "completed", "result": {"content": [{"type": "text", "text": "word ".repeat(5_000)}]}});
    let done = ask(&ada, "get", &id).await;
    let text = done.ok()["result"].to_string();
    assert!(text.contains("cut by policy"), "{text}");
    // Each word is a token.
    assert!((text.matches("word").count() as u64) < reserved, "{reserved}: {text}");
}

/// What an agent is handed says nothing to whoever decodes it: neither upstream, tool nor the upstream's own task.
#[tokio::test]
async fn handles_and_states_say_nothing() {
    use base64::Engine as _;
    let ask = "=== ask.yaml
name: writes
description: A person agrees to each
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator, leads] }]
";
    let (world, _) = Job::start().await.world(ask).await;
    let mut both = with_tasks();
    both["elicitation"] = json!({"form": {}});
    let ada = Client::modern(&world.http, &world.gate.mcp, "ada", both.clone());
    let made = id_of(&ada.call("crm__job", json!({})).await);
    let held = id_of(
        &Client::modern(&world.http, &world.gate.mcp, "bot", with_tasks()).call("up__write", json!({})).await,
    );
    let asked = ada.call("up__write", json!({"n": 1})).await;
    let state = asked.question().1.to_owned();
    let approval = world.approvals().await[0].id.clone();
    for sealed in [&made, &held, &state] {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(sealed).unwrap();
        for word in ["crm__job", "Made", "Held", "Approval", "upstream", "trace", approval.as_str()] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word} in {sealed}");
            assert!(!sealed.contains(word), "{word} in {sealed}");
        }
    }
}

/// What comes to a task is held to what its tool declares, and told as what comes at once is.
#[tokio::test]
async fn what_comes_to_a_task_is_held_to_its_schema() {
    for (setting, refuses) in [("lint", false), ("alert", false), ("refuse", true)] {
        let job = Job::start().await;
        let mut declared = tool("job");
        declared["outputSchema"] =
            json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
        job.crm.lists(vec![vec![declared]]);
        let authority = authority().replace("tools: [\"up__*\"]", "tools: [\"*\"]");
        let setup = Setup {
            files: format!("=== authority.yaml\n{authority}"),
            servers: format!("[upstreams.crm]\nurl = \"{{crm}}\"\noutput_schema = \"{setting}\"\n"),
            more: vec![("crm", job.crm)],
            ..Setup::default()
        };
        let (world, state) = (World::start(setup).await, job.state);
        let ada = Client::modern(&world.http, &world.gate.mcp, "ada", with_tasks());
        let id = id_of(&ada.call("crm__job", json!({})).await);
        *state.lock() =
            json!({"status": "completed", "result": {"content": [], "structuredContent": {"id": "x"}}});
        let done = ask(&ada, "get", &id).await;
        assert_eq!(done.ok()["result"]["isError"] == true, refuses, "{:#}", done.body);
        let ended = world.until_settled(2).await.pop().unwrap().draft;
        assert_eq!(ended.outcome, Some(Outcome::Succeeded));
        let told = &ended.detail.as_ref().unwrap()["output_schema"];
        assert_eq!((&told["fits"], &told["setting"]), (&json!(false), &json!(setting)), "{told}");
        assert!(told["why"].as_str().unwrap().contains("/id breaks `type`"), "{told}");
        let events = world.events().await;
        let alerts = events.iter().filter(|event| event.draft.event_type == EventType::Alert).count();
        assert_eq!(alerts, usize::from(setting != "lint"), "{setting}");
    }
}
