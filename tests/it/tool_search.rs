//! `catalog = "search"`: two tools in place of all, and the same governance.

use crate::harness::*;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tollgate::model::EventType;

const FIND: &str = "tollgate__find_tools";
const CALL: &str = "tollgate__call_tool";

async fn world(files: &str) -> World {
    let gateway = "approval_wait = \"200ms\"\ncatalog = \"search\"".to_owned();
    World::start(Setup { files: files.to_owned(), gateway, ..Setup::default() }).await
}

fn names(found: &Value) -> Vec<&str> {
    found["structuredContent"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect()
}

/// Listed are two; found is what the agent may use (I7), best first, with what it takes; the call goes its own way.
#[tokio::test]
async fn what_is_found_is_called_under_its_own_name() {
    let world = world("").await;
    for client in [world.legacy("ada").await, world.modern("ada")] {
        assert_eq!(client.tools().await, [CALL, FIND]);
        let reply = client.call(FIND, json!({"query": "read a file"})).await;
        let found = reply.ok();
        assert_eq!(names(found).first(), Some(&"up__read"), "{found:#}");
        assert!(found["structuredContent"]["tools"][0]["inputSchema"].is_object(), "{found:#}");
        let tokens = &found["structuredContent"]["tokens"];
        assert!(tokens["full"].as_u64().unwrap() > 0 && tokens["listed"].as_u64().unwrap() > 0, "{tokens}");
        let arguments = json!({"path": "/a", "n": 1});
        let before = world.up.count();
        let reply = client.call(CALL, json!({"name": "up__read", "arguments": arguments})).await;
        assert_eq!(reply.echoed(), arguments);
        assert_eq!(world.up.count(), before + 1);
        let decision = world.last_decision().await.draft;
        assert_eq!(decision.tool.as_deref(), Some("up__read"));
        // The tools themselves can be called too.
        client.call("up__read", arguments).await.ok();
    }
    let searches: Vec<_> = world
        .events()
        .await
        .into_iter()
        .filter(|e| e.draft.policy_id.as_deref() == Some("catalog"))
        .collect();
    assert_eq!(searches.len(), 2);
    assert_eq!(searches[0].draft.event_type, EventType::AgentDecision);
    assert_eq!(searches[0].draft.tool.as_deref(), Some(FIND));
    assert_eq!(searches[0].draft.detail.as_ref().unwrap()["arguments"]["query"], "read a file");
}

/// I7, R25: nothing gets through this way that would not get through by itself.
#[tokio::test]
async fn it_is_no_way_round() {
    let gate = "=== gate.yaml
name: deletes
description: Nobody deletes
on: [{ tool: up__delete }]
rules: [{ id: never, decision: DENY }]
=== ask.yaml
name: writes
description: A person agrees
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator] }]
";
    let world = world(gate).await;
    let narrow = world.modern("narrow");
    let found = narrow.call(FIND, json!({"query": "read write delete echo", "limit": 50})).await;
    assert_eq!(names(found.ok()), ["up__read"]);
    let hidden = narrow.call(CALL, json!({"name": "up__write", "arguments": {}})).await;
    let absent = narrow.call(CALL, json!({"name": "up__nothing", "arguments": {}})).await;
    assert_eq!(hidden.error()["code"], absent.error()["code"]);
    let ada = world.modern("ada");
    let denied = ada.call(CALL, json!({"name": "up__delete", "arguments": {"path": "/a"}})).await;
    assert_eq!(denied.decision()["policy_id"], "deletes");
    for nested in [CALL, FIND] {
        let reply = ada.call(CALL, json!({"name": nested, "arguments": {"name": "up__read"}})).await;
        assert_eq!(reply.error()["code"], -32602, "{nested}: {:#}", reply.body);
    }
    for wrong in [json!({}), json!({"name": 1}), json!({"name": "up__read", "arguments": 1})] {
        assert_eq!(ada.call(CALL, wrong.clone()).await.decision()["policy_id"], "schema", "{wrong}");
    }
    assert_eq!(ada.call(FIND, json!({"query": ""})).await.decision()["policy_id"], "schema");
    assert_eq!(world.up.count(), 0);

    // An approval is asked for, bound to, and given to the call that is meant.
    let arguments = json!({"name": "up__write", "arguments": {"path": "/a"}});
    let asked = ada.call(CALL, arguments.clone()).await;
    let (_, state) = asked.question();
    ada.retry(CALL, arguments.clone(), state, form("approve")).await.ok();
    assert_eq!(world.up.count(), 1);
    assert_eq!(world.approvals().await[0].binding.tool, "up__write");
    let legacy = world.legacy("ada").await;
    legacy.call_answering(CALL, arguments, form("approve")).await.ok();
    assert_eq!(world.up.count(), 2);
    assert_eq!(world.gate.store.verify().await.unwrap().bad, None);
}

/// A tool that is for pages alone is none for a model: calling it by a guessed name is answered as if there were none.
#[tokio::test]
async fn a_tool_for_pages_alone_is_not_called_by_its_name() {
    let mut page = tool("approve_all");
    page["_meta"] = json!({"ui": {"visibility": ["app"]}});
    let mut both = tool("show");
    both["_meta"] = json!({"ui": {"visibility": ["model", "app"]}});
    let crm = Scripted::with(vec![page, both], true).await;
    let files =
        "=== authority.yaml\n".to_owned() + &authority().replace("[\"up__*\"]", "[\"up__*\", \"crm__*\"]");
    let setup = Setup {
        files,
        gateway: "catalog = \"search\"".to_owned(),
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    let world = World::start(setup).await;
    for client in [world.modern("ada"), world.legacy("ada").await] {
        let call = async |name: &str| client.call(CALL, json!({"name": name, "arguments": {}})).await;
        let before = world.more[0].1.count();
        let (hidden, absent) = (call("crm__approve_all").await, call("crm__nothing").await);
        let told = |reply: &Reply| reply.error().to_string().replace("approve_all", "nothing");
        assert_eq!(told(&hidden), told(&absent));
        assert_eq!(world.more[0].1.count(), before);
        call("crm__show").await.ok();
        assert_eq!(world.more[0].1.calls().pop().unwrap().tool(), "show");
        // The page itself calls it under its own name.
        client.call("crm__approve_all", json!({})).await.ok();
    }
}

/// `Mcp-Name` names what the body calls, which is `tollgate__call_tool`, and nothing else; a header that the tool itself
/// wants mirrored goes upstream all the same.
#[tokio::test]
async fn headers_are_those_of_the_tool_that_is_named() {
    let mut marked = tool("locate");
    marked["inputSchema"]["properties"] = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
    let crm = Scripted::with(vec![marked], true).await;
    let files =
        "=== authority.yaml\n".to_owned() + &authority().replace("[\"up__*\"]", "[\"up__*\", \"crm__*\"]");
    let setup = Setup {
        files,
        gateway: "catalog = \"search\"".to_owned(),
        servers: "[upstreams.crm]\nurl = \"{crm}\"\n".to_owned(),
        more: vec![("crm", crm)],
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let ada = world.modern("ada");
    let params = json!({"name": CALL, "arguments": {"name": "crm__locate", "arguments": {"region": "eu"}}});
    let body = ada.body("tools/call", params);
    let send = async |name: Option<&str>| {
        let mut request = world
            .http
            .post(&world.gate.mcp)
            .bearer_auth(&ada.key)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .json(&body);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        let response = soon(request.send()).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for wrong in [None, Some("crm__locate"), Some(FIND)] {
        let (status, reply) = send(wrong).await;
        assert_eq!((status, &reply["error"]["code"]), (400, &json!(-32020)), "{wrong:?}: {reply:#}");
    }
    assert_eq!(world.more[0].1.count(), 0);
    let (status, reply) = send(Some(CALL)).await;
    assert_eq!((status, &reply["result"]["resultType"]), (200, &json!("complete")), "{reply:#}");
    let seen = &world.more[0].1.calls()[0];
    assert_eq!((seen.tool(), seen.header("mcp-name")), ("locate", Some("locate")));
    assert_eq!(seen.header("mcp-param-region"), Some("eu"));
}

/// What was asked about one call answers no other: the state is bound to the call that is meant, not to the envelope.
#[tokio::test]
async fn an_answer_counts_for_the_call_it_was_asked_about() {
    let ask = "=== ask.yaml
name: writes
description: A person agrees
on: [{ tool: up__write }, { tool: up__delete }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [operator] }]
";
    let world = world(ask).await;
    let ada = world.modern("ada");
    let envelope = |tool: &str, path: &str| json!({"name": tool, "arguments": {"path": path}});
    let asked = ada.call(CALL, envelope("up__write", "/a")).await;
    let (_, state) = asked.question();
    for other in [envelope("up__write", "/b"), envelope("up__delete", "/a"), envelope("up__echo", "/a")] {
        let reply = ada.retry(CALL, other.clone(), state, form("approve")).await;
        assert!(reply.body["error"].is_object(), "{other}: {:#}", reply.body);
    }
    let reply = world.modern("eve").retry(CALL, envelope("up__write", "/a"), state, form("approve")).await;
    assert!(reply.body["error"].is_object(), "another agent: {:#}", reply.body);
    assert_eq!(world.up.count(), 0);
    assert_eq!(
        ada.retry(CALL, envelope("up__write", "/a"), state, form("approve")).await.echoed()["path"],
        "/a"
    );
    let again = ada.retry(CALL, envelope("up__write", "/a"), state, form("approve")).await;
    assert_eq!(again.body["result"]["resultType"], "input_required", "asked anew: {:#}", again.body);
    assert_eq!(world.up.count(), 1);

    // Either way of calling is one and the same call: what is asked about one is approved for both.
    let bot = world.bare("bot");
    let id = pending(&bot.call(CALL, envelope("up__write", "/c")).await);
    assert_eq!(pending(&bot.call("up__write", json!({"path": "/c"})).await), id);
    let (_, record) = world.api("alice", &format!("approvals/{id}"), None).await;
    assert_eq!((&record["tool"], &record["agent_id"]), (&json!("up__write"), &json!("bot")), "{record:#}");
}

/// Progress reaches the client under its own token, and its `_meta` counts as with any call.
#[tokio::test]
async fn progress_and_workflow_go_with_the_call() {
    let world = world("").await;
    world.up.script(|seen| {
        let token = seen.body["params"]["_meta"]["progressToken"].clone();
        (seen.method() == "tools/call").then(|| {
            let told = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": 1}});
            let done = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": text_result("done")});
            let body = format!("event: message\ndata: {told}\n\nevent: message\ndata: {done}\n\n");
            answer(([("content-type", "text/event-stream")], body).into_response())
        })
    });
    for client in [world.legacy("ada").await, world.modern("ada")] {
        let params = json!({
            "name": CALL,
            "arguments": {"name": "up__read", "arguments": {"path": "/a"}},
            "_meta": {"progressToken": "mine", "tollgate/workflow_id": "wf-2"},
        });
        let reply = client.request("tools/call", params).await;
        assert_eq!(reply.text(), "done");
        let progress = reply.before.iter().find(|m| m["method"] == "notifications/progress");
        assert_eq!(progress.expect("progress")["params"]["progressToken"], "mine");
        let decision = world.last_decision().await.draft;
        assert_eq!(decision.workflow_id.as_deref(), Some("wf-2"));
    }
}

/// With many tools the two are cheaper, and the reply says by how much; with few they are not, and it says that too.
#[tokio::test]
async fn the_tokens_saved_are_told() {
    let world = world("").await;
    let client = world.modern("ada");
    let tokens = async || {
        let reply = client.call(FIND, json!({"query": "read", "limit": 50})).await;
        let found = reply.ok();
        let told: Value = serde_json::from_str(found["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(told, found["structuredContent"]);
        found["structuredContent"]["tokens"].clone()
    };
    let few = tokens().await;
    let number = |tokens: &Value, of: &str| tokens[of].as_i64().unwrap();
    assert_eq!(number(&few, "saved"), number(&few, "full") - number(&few, "listed"), "{few}");

    let many: Vec<Value> = (0..200).map(|n| tool(&format!("read_part_{n:03}"))).collect();
    world.up.lists(vec![many]);
    world.up.announce().await;
    let mut changes = world.gate.gateway.generations();
    while world.gate.gateway.catalog().tools.len() < 200 {
        soon(changes.changed()).await.unwrap();
    }
    let tokens = tokens().await;
    assert!(number(&tokens, "saved") > 0, "{tokens}");
    assert_eq!(number(&tokens, "saved"), number(&tokens, "full") - number(&tokens, "listed"), "{tokens}");
    assert_eq!(number(&tokens, "listed"), number(&few, "listed"));
    let decision = world.last_decision().await.draft;
    let recorded = decision.detail.unwrap()["tokens"].clone();
    for part in ["full", "listed", "saved"] {
        assert_eq!(recorded[part], tokens[part], "{recorded}");
    }
    assert!(number(&recorded, "search") > 0, "what the search itself costs: {recorded}");

    // At most so many, and alike ones in the order of the list, each time.
    let all = client.call(FIND, json!({"query": "read part"})).await;
    let expect: Vec<String> = (0..8).map(|n| format!("up__read_part_{n:03}")).collect();
    assert_eq!(names(all.ok()), expect);
    assert_eq!(
        client.call(FIND, json!({"query": "read part"})).await.ok()["structuredContent"],
        all.ok()["structuredContent"]
    );
}

/// The same two over standard input and output, in both eras, and the store of the one process has it.
#[tokio::test]
async fn stdio_has_the_two_as_well() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let gateway = "catalog = \"search\"".to_owned();
    let files = Files::of(Setup { gateway, ..Setup::default() }).await;
    for modern in [false, true] {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["stdio", "--agent", "ada", "--config"])
            .arg(files.dir.join("servers.toml"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut id = 0;
        let mut ask = async |method: &str, mut params: Value| -> Value {
            id += 1;
            if modern {
                params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {}});
            }
            let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
            stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
            loop {
                let line = soon(stdout.next_line()).await.unwrap().expect("an answer");
                let reply: Value = serde_json::from_str(&line).unwrap();
                if reply["id"] == json!(id) {
                    return reply["result"].clone();
                }
            }
        };
        if !modern {
            let client = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "raw", "version": "1"}});
            ask("initialize", client).await;
        }
        let listed = ask("tools/list", json!({})).await;
        assert_eq!((&listed["tools"][0]["name"], &listed["tools"][1]["name"]), (&json!(CALL), &json!(FIND)));
        assert_eq!(listed["tools"].as_array().unwrap().len(), 2);
        let found = ask("tools/call", json!({"name": FIND, "arguments": {"query": "read"}})).await;
        assert_eq!(names(&found), ["up__read"]);
        let arguments = json!({"name": "up__read", "arguments": {"path": "/a"}});
        let called = ask("tools/call", json!({"name": CALL, "arguments": arguments})).await;
        assert_eq!(called["content"][0]["text"], json!({"path": "/a"}).to_string());
    }
    assert_eq!(files.up.count(), 2);
}

/// In the usual mode there are no such tools; a reload turns them on for the next message.
#[tokio::test]
async fn the_mode_is_reloaded() {
    let world = World::of("").await;
    let client = world.legacy("ada").await;
    let mut news = client.listen().await;
    assert!(client.tools().await.contains(&"up__read".to_owned()));
    assert_eq!(world.modern("ada").call(CALL, json!({"name": "up__read"})).await.error()["code"], -32602);
    assert_eq!(client.call(FIND, json!({"query": "read"})).await.error()["code"], -32602);
    let servers = world.dir.join("servers.toml");
    let text = std::fs::read_to_string(&servers).unwrap();
    std::fs::write(&servers, text.replacen("[gateway]\n", "[gateway]\ncatalog = \"search\"\n", 1)).unwrap();
    world.reload("").await;
    assert_eq!(client.tools().await, [CALL, FIND]);
    assert_eq!(world.modern("ada").tools().await, [CALL, FIND]);
    while soon(news.next()).await.expect("the stream stays open")["method"]
        != "notifications/tools/list_changed"
    {}
    let text = std::fs::read_to_string(&servers).unwrap();
    std::fs::write(&servers, text.replace("catalog = \"search\"\n", "")).unwrap();
    world.reload("").await;
    assert!(client.tools().await.contains(&"up__read".to_owned()));
    assert_eq!(client.call(FIND, json!({"query": "read"})).await.error()["code"], -32602);
}
