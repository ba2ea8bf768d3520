//! Secrets at rest: whatever an agent or an upstream can write, as it is or encoded, stands in no file, no record, no log
//! line and no page.

#![expect(clippy::string_slice, reason = "tokens are ASCII, and pieces are cut at their boundaries")]

#[path = "../it/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for the tests in `it`; this one uses its part")]
mod harness;

use crate::world::{World, decision, plain};
use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use harness::{Client, Files, Seen, Setup, error, json_reply, soon};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};
use tokio::sync::Notify;
use tollgate::model::CallKind;

/// A token of its own for each place, so that one that is found says where it was written.
fn token(place: &str) -> String {
    let rest = "Q7wE2rT9yU4iO1pA6sD3fG8hJ5kL0zXcVbNmQ";
    format!("ghp_{place}{}", &rest[..36 - place.len()])
}

/// The same as percent-encoded bytes.
fn percent(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

/// Every place in which something was written.
const PLACES: &[&str] = &[
    "toolname",
    "tooldesc",
    "tooltitle",
    "schemaprop",
    "asktool",
    "resourceuri",
    "resourcename",
    "template",
    "promptname",
    "promptarg",
    "listcursor",
    "unknowntool",
    "unknownuri",
    "unknownprompt",
    "argkey",
    "argvalue",
    "argdeep",
    "argpercent",
    "arghex",
    "argbase64",
    "argjson",
    "argentity",
    "argfullwidth",
    "argzero",
    "paramkey",
    "paramvalue",
    "metakey",
    "metavalue",
    "metapercent",
    "baggage",
    "tracestate",
    "traceparent",
    "workflow",
    "workflowhead",
    "session",
    "clientname",
    "clientversion",
    "progresstoken",
    "useragent",
    "agentcursor",
    "complarg",
    "complvalue",
    "answered",
    "taskid",
    "wrongkey",
    "result",
    "resultmeta",
    "errmessage",
    "errdata",
    "progress",
    "logmessage",
    "logger",
    "elicitation",
    "elicitid",
    "stderr",
    "stdout",
    "header",
    "contents",
    "promptmsg",
    "comment",
    "evidence",
    "readuri",
    "templatevar",
    "blockedarg",
    "protocol",
    "method",
    "subscribe",
    "level",
    "servername",
    "instructions",
    "capability",
];

/// Whether a token stands somewhere, as it is or encoded.
fn found(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let mut found = Vec::new();
    for place in PLACES {
        let token = token(place);
        let base64 = STANDARD.encode(&token);
        let fullwidth: String = token.chars().map(wide).collect();
        let forms = [token.clone(), hex::encode(&token), percent(&token), base64[..40].to_owned(), fullwidth];
        // Half of it is too much too.
        let half = token[..12 + place.len()].to_owned();
        for form in forms.iter().chain([&half]) {
            if let Some(at) = text.find(&form.to_lowercase()) {
                let start = text.floor_char_boundary(at.saturating_sub(160));
                let end = text.ceil_char_boundary((at + 120).min(text.len()));
                found.push(format!("{place}: …{}…", &text[start..end]));
                break;
            }
        }
    }
    found
}

fn wide(c: char) -> char {
    char::from_u32(u32::from(c) - 0x21 + 0xff01).unwrap()
}

fn all_files(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, into);
        } else if let Ok(bytes) = std::fs::read(&path) {
            into.push((path.display().to_string(), bytes));
        }
    }
}

const RULES: &str = "=== rules.yaml
name: rules
description: d
on: [{ upstream: up }]
rules:
  - { condition: \"glob(tool.name, '*ask*')\", decision: REQUIRE_APPROVAL, approvers: [leads], evidence_required: true }
  - { condition: \"tool.name == 'up__delete'\", decision: DENY }
=== budgets.yaml
budgets:
  - { id: per-tool, scope: tool, window: day, max_calls: 1000, on_exceed: deny }
=== data.yaml
rules:
  - { id: keys-stay, classes: [secret], on: [{ tool: up__pay }], arguments: block }
";

/// What the upstream lists and says.
fn script(answered: Arc<Notify>) -> impl Fn(&Seen) -> Option<BoxFuture<'static, Response>> {
    move |seen| {
        if seen.body.get("method").is_none() && seen.body.get("result").is_some() {
            answered.notify_one();
            return None;
        }
        let result = match seen.method() {
            "initialize" => json!({"protocolVersion": "2025-11-25", "instructions": token("instructions"),
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}, "logging": {}, token("capability"): {}},
                "serverInfo": {"name": token("servername"), "version": token("servername")}}),
            "resources/list" => json!({"resources": [
                {"uri": format!("file:///open/{}", token("resourceuri")), "name": token("resourcename"), "description": token("tooldesc")},
                {"uri": "file:///open/a.txt", "name": "a"},
            ]}),
            "resources/templates/list" => json!({"resourceTemplates": [
                {"uriTemplate": format!("file:///{}/{{x}}", token("template")), "name": "t"},
            ]}),
            "prompts/list" => json!({"prompts": [
                {"name": token("promptname"), "arguments": [{"name": token("promptarg")}]},
            ]}),
            "resources/read" => {
                json!({"contents": [{"uri": seen.body["params"]["uri"], "text": token("contents")}]})
            }
            "prompts/get" => {
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": token("promptmsg")}}]})
            }
            "completion/complete" => json!({"completion": {"values": [token("complvalue")]}}),
            "tools/call" if seen.tool() == "fail" => {
                let mut reply = error(seen, -32000, &format!("bad key {}", token("errmessage")));
                *reply.body_mut() = Body::from(
                    json!({"jsonrpc": "2.0", "id": seen.body["id"], "error": {"code": -32000,
                        "message": format!("bad key {}", token("errmessage")), "data": {"k": token("errdata")}}})
                    .to_string(),
                );
                reply.headers_mut().insert("x-request-id", token("header").parse().unwrap());
                return Some(harness::answer(reply));
            }
            "tools/call" if seen.tool() == "broken" => {
                let reply =
                    (axum::http::StatusCode::INTERNAL_SERVER_ERROR, token("protocol")).into_response();
                return Some(harness::answer(reply));
            }
            "tools/call" if seen.tool() == "talk" => {
                let (id, answered) = (seen.body["id"].clone(), answered.clone());
                let progress = seen.body["params"]["_meta"]["progressToken"].clone();
                let messages = [
                    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": progress, "progress": 1, "message": token("progress")}}),
                    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "logger": token("logger"), "data": token("logmessage")}}),
                    json!({"jsonrpc": "2.0", "id": token("elicitid"), "method": "elicitation/create", "params": {"message": token("elicitation"),
                        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}}),
                ];
                let stream = async_stream::stream! {
                    for message in messages {
                        yield Ok::<_, std::io::Error>(format!("event: message\ndata: {message}\n\n"));
                    }
                    answered.notified().await;
                    let done = json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": token("result")}],
                        "_meta": {"x/y": token("resultmeta")}}});
                    yield Ok(format!("event: message\ndata: {done}\n\n"));
                };
                let reply =
                    ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response();
                return Some(harness::answer(reply));
            }
            _ => return None,
        };
        Some(harness::answer(json_reply(seen, &result)))
    }
}

/// The real binary, with a secret of its own in every place.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_at_rest_nowhere_wherever_it_was_written() {
    let noisy =
        format!("echo 'token {}' >&2; echo '{} is no message'; exit 3", token("stderr"), token("stdout"));
    let files = Files::of(Setup {
        files: RULES.to_owned(),
        servers: format!("[upstreams.noisy]\ncommand = [\"sh\", \"-c\", \"{noisy}\"]\n"),
        ..Setup::default()
    })
    .await;
    let named = |name: String| {
        json!({"name": name, "title": token("tooltitle"), "description": token("tooldesc"),
            "inputSchema": {"type": "object", "properties": {token("schemaprop"): {"type": "string", "maxLength": 500}}}})
    };
    let (tool_name, ask_name) = (token("toolname"), format!("ask_{}", token("asktool")));
    let mut tools: Vec<Value> =
        ["read", "delete", "pay", "talk", "fail", "broken"].map(|name| named(name.to_owned())).into();
    tools.extend([named(tool_name.clone()), named(ask_name.clone())]);
    // A name twice, and one that nobody sees.
    tools.extend([named(tool_name.clone()), named(format!("{}\u{200b}", token("toolname")))]);
    files.up.lists(vec![tools]);
    let answered = Arc::new(Notify::new());
    files.up.script(script(answered));
    let mut process = files.serve().await;
    let url = process.mcp.clone();

    let capabilities = json!({"elicitation": {"form": {}}});
    let ada = Client::modern(&files.http, &url, "ada", json!({}));
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": {"name": token("clientname"), "version": percent(&token("clientversion"))},
    }});
    assert_eq!(soon(ada.post(&body).send()).await.unwrap().status(), 200);
    let session = Client::legacy(&files.http, &url, "ada", capabilities).await;

    // Names: of tools, resources and prompts that are there, and that are not.
    let listed = ada.tools().await;
    let (act, ask) = (format!("up__{tool_name}"), format!("up__{ask_name}"));
    assert!(listed.contains(&act) && listed.contains(&ask), "{listed:?}");
    ada.call(&act, json!({"x": 1})).await.ok();
    ada.call(&format!("up__{}", token("unknowntool")), json!({})).await;
    let prompt = format!("up__{}", token("promptname"));
    let read = async |uri: String| ada.request("resources/read", json!({"uri": uri})).await;
    read(format!("file:///open/{}", token("resourceuri"))).await.ok();
    read(format!("file:///{}/{}", token("template"), token("templatevar"))).await.ok();
    read(format!("file:///gone/{}", token("unknownuri"))).await;
    read(format!("file:///open/{}", percent(&token("readuri")))).await;
    ada.request("prompts/get", json!({"name": prompt, "arguments": {token("promptarg"): "x"}})).await.ok();
    ada.request("prompts/get", json!({"name": token("unknownprompt")})).await;
    for (method, params) in [
        ("tools/list", json!({"cursor": token("agentcursor")})),
        ("tasks/get", json!({"taskId": token("taskid")})),
        ("no/such", json!({"x": token("method")})),
        ("logging/setLevel", json!({"level": token("level")})),
        ("resources/subscribe", json!({"uri": format!("file:///open/{}", token("subscribe"))})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": prompt},
            "argument": {"name": token("promptarg"), "value": token("complarg")}}),
        ),
    ] {
        session.request(method, params.clone()).await;
        if method != "tasks/get" {
            ada.request(method, params).await;
        }
    }

    // What a call carries.
    let entity: String = token("argentity").bytes().map(|b| format!("&#{b};")).collect();
    let zero: String = token("argzero").chars().flat_map(|c| [c, '\u{200b}']).collect();
    let deep = json!({"a": json!({"b": json!({"c": token("argjson")}).to_string()}).to_string()}).to_string();
    let arguments = json!({
        token("argkey"): 1, "value": token("argvalue"), "deep": [[{"x": format!("use {} now", token("argdeep"))}]],
        "percent": percent(&token("argpercent")), "hex": hex::encode(token("arghex")),
        "base64": STANDARD.encode(token("argbase64")), "json": deep, "entity": entity,
        "wide": token("argfullwidth").chars().map(wide).collect::<String>(), "zero": zero,
    });
    let meta = json!({token("metakey"): 1, "x/v": token("metavalue"), "x/p": percent(&token("metapercent")),
        "baggage": format!("k={}", token("baggage")), "tracestate": format!("v={}", token("tracestate")),
        "traceparent": token("traceparent")});
    let params = json!({"name": "up__read", "arguments": arguments, "_meta": meta,
        token("paramkey"): 1, "more": token("paramvalue")});
    ada.request("tools/call", params.clone()).await.ok();
    let mut denied = params.clone();
    denied["name"] = "up__delete".into();
    ada.request("tools/call", denied).await;
    let blocked = ada.call("up__pay", json!({"x": percent(&token("blockedarg"))})).await;
    assert_eq!((blocked.word(), blocked.decision()["policy_id"].as_str()), ("deny", Some("data")));
    let wrong = json!({"name": "up__read", "arguments": {token("schemaprop"): 7}});
    ada.request("tools/call", wrong).await;
    let workflow =
        json!({"name": "up__read", "arguments": {}, "_meta": {"tollgate/workflow_id": token("workflow")}});
    ada.request("tools/call", workflow).await;
    for (header, place) in [
        ("x-workflow-id", "workflowhead"),
        ("user-agent", "useragent"),
        ("baggage", "baggage"),
        ("mcp-session-id", "session"),
    ] {
        let client = ada.header(header, &token(place));
        let body = client.body("tools/call", json!({"name": "up__read", "arguments": {}}));
        soon(client.post(&body).send()).await.unwrap();
    }
    let mut stranger = ada.clone();
    stranger.key = token("wrongkey");
    assert_eq!(soon(stranger.post(&body).send()).await.unwrap().status(), 401);

    // What the upstream says in the middle of a call, and what is answered.
    let params =
        json!({"name": "up__talk", "arguments": {}, "_meta": {"progressToken": token("progresstoken")}});
    let talked = session
        .request_with("tools/call", params, |question| {
            assert!(question.to_string().contains(&token("elicitation")), "{question}");
            Some(json!({"action": "accept", "content": {"name": token("answered")}}))
        })
        .await;
    assert!(talked.text().contains(&token("result")), "{:#}", talked.body);
    ada.call("up__fail", json!({})).await.error();
    ada.call("up__broken", json!({})).await;

    // What a person is asked, and says.
    let asked = ada.call(&ask, json!({"x": token("argvalue")})).await;
    let id = harness::pending(&asked);
    let api = async |person: &str, path: &str, body: Option<Value>| {
        harness::api(&files.http, &process.admin, person, path, body).await
    };
    let answer = json!({"decision": "reject", "comment": token("comment"), "evidence": token("evidence")});
    assert_eq!(api("alice", &format!("approvals/{id}/decision"), Some(answer)).await.0, 200);
    // The last of its kind: everything before is settled by then.
    ada.call(&act, json!({"last": true})).await.ok();
    let exposed = process.until_event(|e| e["detail"]["arguments"]["last"] == true).await;
    let call = exposed["call_id"].clone();
    process.until_event(|e| e["call_id"] == call && e["event_type"] == "agent_side_effect").await;

    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for path in ["approvals", "events?limit=1000", "agents", "tools", "upstreams", "policies", "budgets"] {
        for person in ["bob", "dan"] {
            let (status, body) = api(person, path, None).await;
            assert!([200, 403, 404].contains(&status), "{path}: {status}");
            seen.push((format!("{person} at /api/v1/{path}"), body.to_string().into_bytes()));
        }
    }
    let (status, approval) = api("alice", &format!("approvals/{id}"), None).await;
    assert_eq!(status, 200);
    seen.push(("the approval".to_owned(), approval.to_string().into_bytes()));
    for path in ["readyz", "metrics", "healthz"] {
        let request = files.http.get(format!("{}/{path}", process.admin)).bearer_auth("key-dan");
        let body = soon(soon(request.send()).await.unwrap().bytes()).await.unwrap();
        seen.push((path.to_owned(), body.to_vec()));
    }
    let mut while_running = Vec::new();
    all_files(&files.dir.join("data"), &mut while_running);
    assert!(!while_running.is_empty());
    seen.extend(while_running);
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await);
    all_files(&files.dir.join("data"), &mut seen);
    seen.push(("standard error".to_owned(), process.log.text().into_bytes()));
    seen.push(("standard output".to_owned(), process.events.text().into_bytes()));
    for command in
        [&["servers", "inspect", "up"][..], &["audit", "query"], &["audit", "export"], &["approvals", "list"]]
    {
        let (mut child, lines) = files.command(command);
        soon(child.wait()).await.unwrap();
        seen.push((command.join(" "), lines.text().into_bytes()));
    }
    let leaks: Vec<String> = seen
        .iter()
        .flat_map(|(name, bytes)| found(bytes).into_iter().map(move |leak| format!("{name}: {leak}")))
        .collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n\n"));
    // It was all there.
    let text = process.events.text();
    for mark in ["[redacted:github_token:", "up:[redacted:github_token:40]", "up:file:[redacted:"] {
        assert!(text.contains(mark), "{mark}");
    }
}

/// What results take is learned for each tool, also where two names are masked alike.
#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_learned_under_names_that_may_be_kept() {
    let (one, two) = (token("toolname"), token("asktool"));
    let names = [one.clone(), two.clone()];
    let script = move |method: &str, params: &Value| match method {
        "tools/list" => Ok(
            json!({"tools": names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect::<Vec<_>>()}),
        ),
        "tools/call" => {
            let words = if params["name"] == names[0].as_str() { 10 } else { 2_000 };
            Ok(json!({"content": [{"type": "text", "text": "word ".repeat(words)}]}))
        }
        "resources/templates/list" => Ok(
            json!({"resourceTemplates": [{"uriTemplate": format!("db://h/{}/{{+q}}", names[0]), "name": "q"}]}),
        ),
        _ => plain(method, params),
    };
    let world = World::new(&[], script).await;
    for name in [&one, &two] {
        assert_eq!(decision(&world.tool(&format!("up__{name}"), json!({})).await), "allow");
    }
    let uri = format!("db://h/{one}/x");
    assert!(world.call(world.incoming(CallKind::Resource, &uri, None)).await.is_ok());
    // A settlement is written with the next admission, at the latest.
    world.tool("up__none", json!({})).await.unwrap_err();
    world.gateway.shutdown().await;
    let learned = world.store.learned_sizes().await.unwrap().by_tool();
    let items = learned.iter().filter(|(name, _)| name.starts_with("db:")).count();
    let tools = |sizes: std::ops::Range<u64>| {
        let own = |name: &str| name.contains(" [hash:") && !name.starts_with("db:");
        learned.iter().filter(|(name, tokens)| own(name) && sizes.contains(tokens)).count()
    };
    assert_eq!((items, tools(0..100), tools(1_000..9_000), learned.len()), (1, 1, 1, 3), "{learned:?}");
    assert!(found(format!("{learned:?}").as_bytes()).is_empty(), "{learned:?}");
}

/// A rule that blocks is not walked round by an encoding, nor by what is encoded too often to be read.
#[tokio::test(flavor = "multi_thread")]
async fn encodings_are_no_way_round_a_block() {
    let data = "rules:\n  - { id: keys-stay, classes: [secret], arguments: block, results: block }\n";
    let secret = token("blockedarg");
    let returned = secret.clone();
    let script = move |method: &str, params: &Value| match method {
        "tools/call" => Ok(
            json!({"content": [{"type": "text", "text": format!("see {}", STANDARD.encode(percent(&returned)))}]}),
        ),
        _ => plain(method, params),
    };
    let world = World::new(&[("data.yaml", data)], script).await;
    let seven = (0..7).fold(secret.clone(), |text, _| percent(&text));
    for text in [
        percent(&secret),
        hex::encode(&secret),
        STANDARD.encode(&secret),
        STANDARD.encode(hex::encode(percent(&secret))),
        secret.chars().map(wide).collect(),
        secret.chars().flat_map(|c| [c, '\u{2060}']).collect(),
        format!(
            "{{\"a\":\"{}\",\"a\":1}}",
            secret.bytes().map(|b| format!("\\u00{b:02x}")).collect::<String>()
        ),
        seven,
    ] {
        for arguments in [
            json!({"x": text}),
            json!({text.clone(): 1}),
            json!({"x": [{"y": json!({"z": text}).to_string()}]}),
        ] {
            assert_eq!(decision(&world.tool("up__act", arguments).await), "deny", "{text}");
        }
    }
    assert_eq!(world.reached(), 0);
    let withheld = world.tool("up__act", json!({"x": "plain"})).await.unwrap();
    assert_eq!(withheld["isError"], true, "{withheld}");
    assert!(found(withheld.to_string().as_bytes()).is_empty(), "{withheld}");
    assert_eq!(world.reached(), 1);
    world.gateway.shutdown().await;
    let mut files = Vec::new();
    all_files(world.folder.path(), &mut files);
    for (name, bytes) in files {
        assert!(found(&bytes).is_empty(), "{name}: {:?}", found(&bytes));
    }
}
