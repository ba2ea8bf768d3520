//! 2025-03-26, 2025-06-18 and 2025-11-25 over raw HTTP: sessions.

use crate::wire::{Server, rpc};
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::{clock::Fake, front::http::Limits};

fn told(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// (22)
#[tokio::test]
async fn initialize_agrees_on_a_version() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    let mut check = async |asked: &'static str, expect: &str| {
        let result = http.initialize(asked).await.result();
        assert_eq!(result["protocolVersion"], expect, "{asked}");
        assert_eq!(result["serverInfo"]["name"], "tollgate");
        assert_eq!(result["instructions"], "Read first.");
        assert!(result.get("resultType").is_none());
        let session = http.session.clone().unwrap();
        assert_eq!(session.len(), 64);
        assert_eq!(http.post(rpc(1, "ping", json!({}))).await.result(), json!({}));
    };
    check("2025-11-25", "2025-11-25").await;
    check("2025-06-18", "2025-06-18").await;
    check("2025-03-26", "2025-03-26").await;
    check("2024-11-05", "2025-11-25").await;
    check("2026-07-28", "2025-11-25").await;
    assert_eq!(server.script.opened.get(), 5);
    let http = server.as_agent("a");
    let bad = http.post(rpc(1, "initialize", json!({}))).await;
    assert_eq!((bad.status, bad.code()), (400, -32602));
    let heavy = json!({ "protocolVersion": "2025-11-25", "capabilities": { "x": vec![1; 1000] } });
    let bad = http.post(rpc(1, "initialize", heavy)).await;
    assert_eq!((bad.status, bad.code()), (400, -32602));
    assert_eq!(server.script.opened.get(), 5);
}

#[tokio::test]
async fn the_methods_of_a_session() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    for (method, member) in [
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        let result = http.post(rpc(1, method, json!({}))).await.result();
        assert!(result[member].is_array(), "{method}");
        assert_eq!(result.as_object().unwrap().len(), 1, "nothing of the other era");
    }
    let echo = http.post(rpc(2, "tools/call", json!({ "name": "echo", "arguments": { "a": 1 } }))).await;
    assert!(echo.text.contains("123456789012345678901234567890"));
    assert_eq!(echo.result()["content"][0]["x"], json!({ "a": 1 }));
    assert_eq!(
        http.post(rpc(3, "prompts/get", json!({ "name": "greet" }))).await.result()["messages"],
        json!([])
    );
    let params = json!({ "ref": { "type": "ref/prompt", "name": "greet" }, "argument": { "name": "x", "value": "v" } });
    assert_eq!(
        http.post(rpc(4, "completion/complete", params)).await.result()["completion"]["values"],
        json!(["v"])
    );
    let check = async |body: Value, status: u16, code: i64| {
        let reply = http.post(body.clone()).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{body} {}", reply.text);
    };
    check(rpc(1, "no/such", json!({})), 200, -32601).await;
    check(rpc(1, "server/listen", json!({})), 200, -32601).await;
    check(rpc(1, "resources/subscribe", json!({ "uri": "file:///a" })), 200, -32601).await;
    check(rpc(1, "tools/call", json!({ "name": "none" })), 200, -32602).await;
    check(rpc(1, "tools/call", json!({})), 200, -32602).await;
    check(rpc(1, "tools/list", json!({ "cursor": "x" })), 200, -32602).await;
    check(rpc(1, "resources/read", json!({ "uri": "other:" })), 200, -32002).await;
    check(rpc(1, "logging/setLevel", json!({ "level": "loud" })), 200, -32602).await;
    let seen = http.post(rpc(5, "tools/call", json!({ "name": "seen", "inputResponses": 1 }))).await.result();
    let seen = &seen["structuredContent"];
    assert_eq!(seen["session"], http.session.clone().unwrap());
    assert_eq!(seen["rest"], json!({ "inputResponses": 1 }));
    assert_eq!(seen["capabilities"], json!({ "elicitation": {} }));
}

/// (23): a session id works only for the principal that opened it.
#[tokio::test]
async fn a_session_is_bound_to_its_principal() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let check = async |http: &crate::wire::Http, status: u16| {
        assert_eq!(http.post(rpc(1, "tools/list", json!({}))).await.status, status);
        let get = http.client.get(&http.url).bearer_auth(&http.key).header("accept", "application/json");
        let get = get.header("mcp-session-id", http.session.clone().unwrap_or_default());
        // A known session is refused for the Accept alone.
        assert_eq!(http.send(get).await.status, if status == 200 { 406 } else { status });
    };
    check(&http, 200).await;
    let mut other = server.as_agent("b");
    other.session = http.session.clone();
    check(&other, 404).await;
    let delete = other.client.delete(&other.url).bearer_auth(&other.key);
    let delete = delete.header("mcp-session-id", http.session.clone().unwrap());
    assert_eq!(other.send(delete).await.status, 404);
    let mut unknown = server.as_agent("a");
    unknown.session = Some("0".repeat(64));
    check(&unknown, 404).await;
    let none = server.as_agent("a");
    assert_eq!(none.post(rpc(1, "tools/list", json!({}))).await.status, 400);
    assert_eq!(none.post(told("notifications/initialized", json!({}))).await.status, 400);
    check(&http, 200).await;
    // The version header: known ones are fine, others are 400.
    let versioned = |version| crate::wire::Http { version: Some(version), ..http.clone() };
    assert_eq!(versioned("2025-11-25").post(rpc(1, "tools/list", json!({}))).await.status, 200);
    assert_eq!(versioned("2019-01-01").post(rpc(1, "tools/list", json!({}))).await.status, 400);
    // DELETE ends it, and what is in flight.
    let call = tokio::spawn({
        let http = http.clone();
        async move { http.post(rpc(2, "tools/call", json!({ "name": "wait" }))).await }
    });
    server.script.entered.reaches(1).await;
    let delete = http.client.delete(&http.url).bearer_auth(&http.key);
    let delete = delete.header("mcp-session-id", http.session.clone().unwrap());
    assert_eq!(http.send(delete).await.status, 204);
    server.script.dropped.reaches(1).await;
    assert_eq!(call.await.unwrap().text, "");
    check(&http, 404).await;
}

#[tokio::test]
async fn a_revoked_key_ends_sessions_and_streams() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let mut stream = http.get_stream().await;
    stream.stands().await;
    server.script.tools_changed();
    assert_eq!(stream.next().await.unwrap(), told("notifications/tools/list_changed", json!({})));
    server.script.revoke("a");
    assert_eq!(stream.next().await, None);
    assert_eq!(http.post(rpc(1, "tools/list", json!({}))).await.status, 401);
}

/// (24): one GET stream at a time; what changed while there was none is told on the next.
#[tokio::test]
async fn news_come_on_one_stream() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    server.script.tools_changed();
    let mut first = http.get_stream().await;
    assert_eq!(first.next().await.unwrap()["method"], "notifications/tools/list_changed");
    let mut second = http.get_stream().await;
    second.stands().await;
    assert_eq!(first.next().await, None, "the newer stream takes over");
    server.script.prompts_changed();
    server.script.generations.send_modify(|g| g.resources += 1);
    assert_eq!(second.next().await.unwrap()["method"], "notifications/resources/list_changed");
    server.shutdown.cancel();
    assert_eq!(second.next().await, None);
}

#[tokio::test]
async fn questions_go_on_the_stream_of_their_request_and_answers_come_back_to_it() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let mut listening = http.get_stream().await;
    listening.stands().await;
    let ask = rpc(40, "tools/call", json!({ "name": "ask" })).to_string();
    let mut stream = http.open(http.request(ask.clone())).await;
    let question = stream.next().await.unwrap();
    assert_eq!(question["method"], "elicitation/create");
    let answer =
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": {} } });
    // From another session of the same agent, and from another agent, it answers nothing.
    let mut elsewhere = server.as_agent("a");
    elsewhere.initialize("2025-11-25").await;
    assert_eq!(elsewhere.post(answer.clone()).await.status, 202);
    let mut other = server.as_agent("b");
    other.session = http.session.clone();
    assert_eq!(other.post(answer.clone()).await.status, 404);
    let wrong = json!({ "jsonrpc": "2.0", "id": 999, "result": {} });
    assert_eq!(http.post(wrong).await.status, 202);
    let accepted = http.post(answer).await;
    assert_eq!((accepted.status, accepted.text.as_str()), (202, ""));
    let result = stream.next().await.unwrap();
    assert_eq!(result["id"], 40);
    assert!(result["result"]["content"][0]["text"].as_str().unwrap().contains("accept"));
    assert_eq!(stream.next().await, None);

    // An answered question elsewhere is taken off the screen.
    let mut stream =
        http.open(http.request(rpc(41, "tools/call", json!({ "name": "ask-and-drop" })).to_string())).await;
    let question = stream.next().await.unwrap();
    let withdrawn = stream.next().await.unwrap();
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
    assert_eq!(stream.next().await.unwrap()["id"], 41);

    // Who takes no stream, or declared nothing, is not asked.
    let mut request = http.request(ask.clone()).build().unwrap();
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let text = http.client.execute(request).await.unwrap().text().await.unwrap();
    assert!(text.contains("error -32601"), "{text}");
    http.initialize_with("2025-11-25", json!({})).await;
    assert!(http.send(http.request(ask)).await.text.contains("error -32601"));
}

#[tokio::test]
async fn a_cancellation_ends_exactly_the_named_request() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let mut other = server.as_agent("a");
    other.initialize("2025-11-25").await;
    let wait = |http: &crate::wire::Http, id: Value| {
        let (http, body) = (
            http.clone(),
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "wait" } }),
        );
        tokio::spawn(async move { http.post(body).await })
    };
    let (one, text, elsewhere) = (wait(&http, json!(1)), wait(&http, json!("1")), wait(&other, json!(1)));
    server.script.entered.reaches(3).await;
    let reused = http.post(rpc(1, "tools/call", json!({ "name": "echo" }))).await;
    assert_eq!(reused.code(), -32600, "an id in flight is not used twice");
    assert_eq!(http.post(told("notifications/cancelled", json!({ "requestId": 1 }))).await.status, 202);
    server.script.dropped.reaches(1).await;
    let cancelled = one.await.unwrap();
    assert_eq!((cancelled.status, cancelled.text.as_str()), (200, ""), "a cancelled request is not answered");
    for nothing in [json!({ "requestId": 77 }), json!({}), json!({ "requestId": null })] {
        assert_eq!(http.post(told("notifications/cancelled", nothing)).await.status, 202);
    }
    server.script.release.send_replace(true);
    assert!(text.await.unwrap().text.contains("released"));
    assert!(elsewhere.await.unwrap().text.contains("released"));
    assert_eq!(server.script.dropped.get(), 1);
}

#[tokio::test]
async fn progress_and_logs_of_a_session() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-06-18").await;
    let call = |name: &str| rpc(1, "tools/call", json!({ "name": name, "_meta": { "progressToken": 7 } }));
    let messages = http.post(call("progress")).await.messages();
    let values: Vec<_> = messages.iter().filter_map(|m| m["params"]["progress"].as_f64()).collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
    assert!(messages.iter().take(3).all(|m| m["params"]["progressToken"] == 7));
    let levels = async |http: &crate::wire::Http| -> Vec<String> {
        let messages = http.post(call("log")).await.messages();
        messages.iter().filter_map(|m| m["params"]["level"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(levels(&http).await, ["info", "warning", "error"]);
    http.post(rpc(2, "logging/setLevel", json!({ "level": "error" }))).await.result();
    assert_eq!(levels(&http).await, ["error"]);
}

/// (25)
#[tokio::test]
async fn batches_belong_to_one_version() {
    let server = Server::start().await;
    let mut http = server.as_agent("a");
    http.initialize("2025-11-25").await;
    let batch = json!([rpc(1, "ping", json!({}))]);
    let refused = http.post(batch.clone()).await;
    assert_eq!((refused.status, refused.code()), (400, -32600));
    http.initialize("2025-03-26").await;
    let reply = http
        .post(json!([
            rpc(1, "tools/list", json!({})),
            told("notifications/progress", json!({})),
            rpc(2, "tools/call", json!({ "name": "echo" })),
            rpc(3, "no/such", json!({})),
            rpc(4, "initialize", json!({ "protocolVersion": "2025-03-26" })),
            7,
        ]))
        .await
        .json();
    let answers: Vec<_> =
        reply.as_array().unwrap().iter().map(|a| (a["id"].clone(), a["error"]["code"].as_i64())).collect();
    assert_eq!(
        answers,
        [
            (json!(1), None),
            (json!(2), None),
            (json!(3), Some(-32601)),
            (json!(4), Some(-32600)),
            (Value::Null, Some(-32600))
        ]
    );
    let quiet = http
        .post(json!([told("notifications/x", json!({})), { "jsonrpc": "2.0", "id": 1, "result": {} }]))
        .await;
    assert_eq!((quiet.status, quiet.text.as_str()), (202, ""));
    assert_eq!(http.post(json!([])).await.status, 400);
    let many: Vec<_> = (0..101).map(|id| rpc(id, "ping", json!({}))).collect();
    assert_eq!(http.post(json!(many)).await.status, 400);
    // Progress of several, each with its own token, then all answers.
    let call = |id| rpc(id, "tools/call", json!({ "name": "progress", "_meta": { "progressToken": id } }));
    let messages = http.post(json!([call(1), call(2)])).await.messages();
    let tokens: Vec<_> = messages.iter().filter_map(|m| m["params"]["progressToken"].as_i64()).collect();
    assert_eq!(tokens.iter().filter(|t| **t == 1).count(), 3);
    assert_eq!(tokens.iter().filter(|t| **t == 2).count(), 3);
    assert_eq!(messages.last().unwrap().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sessions_are_bounded_and_the_idlest_goes_first() {
    let limits = Limits { sessions_per_principal: 3, sessions_total: 4, ..Limits::default() };
    let clock = Fake::at(jiff::Timestamp::UNIX_EPOCH);
    let server = Server::at(limits, clock.clone()).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut http = server.as_agent("a");
        http.initialize("2025-11-25").await;
        sessions.push(http);
        clock.advance(Duration::from_secs(1));
    }
    let status = async |http: &crate::wire::Http| http.post(rpc(1, "ping", json!({}))).await.status;
    // The oldest is used again: then the next goes.
    assert_eq!(status(&sessions[0]).await, 200);
    let mut fourth = server.as_agent("a");
    fourth.initialize("2025-11-25").await;
    assert_eq!(status(&sessions[1]).await, 404);
    assert_eq!(status(&sessions[0]).await, 200);
    assert_eq!(status(&sessions[2]).await, 200);
    // One key cannot take what others need: over the common bound the fullest loses.
    let mut b = server.as_agent("b");
    b.initialize("2025-11-25").await;
    let mut b2 = server.as_agent("b");
    b2.initialize("2025-11-25").await;
    assert_eq!(status(&b).await, 200);
    assert_eq!(status(&b2).await, 200);
    let mut alive = 0;
    for http in sessions.iter().chain([&fourth]) {
        alive += usize::from(status(http).await == 200);
    }
    assert_eq!(alive, 2);
}

#[tokio::test]
async fn idle_sessions_go_and_those_in_use_stay() {
    let clock = Fake::at(jiff::Timestamp::UNIX_EPOCH);
    let server = Server::at(Limits::default(), clock.clone()).await;
    let mut quiet = server.as_agent("a");
    quiet.initialize("2025-11-25").await;
    let mut listening = server.as_agent("a");
    listening.initialize("2025-11-25").await;
    let mut stream = listening.get_stream().await;
    stream.stands().await;
    clock.advance(Duration::from_secs(30 * 60));
    // Opening another sweeps.
    server.as_agent("b").initialize("2025-11-25").await;
    assert_eq!(quiet.post(rpc(1, "ping", json!({}))).await.status, 404);
    assert_eq!(listening.post(rpc(1, "ping", json!({}))).await.status, 200);
    server.script.tools_changed();
    assert!(stream.next().await.is_some());
}
