//! 2026-07-28 over raw HTTP. Numbers in brackets are those of PROTOCOL.md, "MUSTs".

use crate::wire::{Reply, Server, rpc};
use serde_json::{Value, json};
use std::time::Duration;
use tollgate::front::http::Limits;

fn meta(result: &Value) -> &Value {
    &result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"]
}

#[tokio::test]
async fn discover_and_lists_carry_what_every_result_must() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let discover = http.modern("server/discover", json!({})).await.result();
    assert_eq!(
        discover["supportedVersions"],
        json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"])
    );
    assert_eq!(discover["instructions"], "Read first.");
    assert_eq!(discover["capabilities"]["tools"]["listChanged"], true);
    for (method, member) in [
        ("server/discover", "capabilities"),
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        let reply = http.modern(method, json!({})).await;
        assert_eq!(reply.headers["content-type"], "application/json");
        assert!(reply.headers.contains_key("content-length"));
        let result = reply.result();
        assert_eq!(result["resultType"], "complete", "{method}");
        assert_eq!(result["cacheScope"], "private", "{method}");
        assert_eq!(result["ttlMs"], 0, "{method}");
        assert_eq!(meta(&result), "tollgate", "{method}");
        assert!(!result[member].is_null(), "{method}");
        assert!(result.get("nextCursor").is_none());
    }
    let tools = http.modern("tools/list", json!({})).await.result();
    assert_eq!(tools["tools"][0]["vendor"], "agent:a");
    // A stateless agent is recorded once, not at each request.
    assert_eq!(server.script.opened.get(), 1);
    assert_eq!(http.modern("tools/list", json!({ "cursor": "x" })).await.code(), -32602);
    assert_eq!(http.modern("tools/list", json!({ "cursor": "" })).await.code(), 0);
}

#[tokio::test]
async fn a_result_keeps_what_tollgate_does_not_know() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let reply = http.modern("tools/call", json!({ "name": "echo", "arguments": { "n": 1 } })).await;
    assert!(reply.text.contains(r#""vendor":123456789012345678901234567890"#), "{}", reply.text);
    let result = reply.result();
    assert_eq!(result["content"][0], json!({ "type": "from-the-future", "x": { "n": 1 } }));
    assert_eq!(result["_meta"]["upstream/one"], 1);
    assert_eq!(meta(&result), "tollgate");
    assert_eq!(result["resultType"], "complete");
    assert!(result.get("cacheScope").is_none(), "a call is not cacheable");
    assert_eq!(http.modern("tools/call", json!({ "name": "not-an-object" })).await.code(), -32603);
}

#[tokio::test]
async fn reads_are_private_and_retries_are_not_cached() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let read = |params: Value| http.modern("resources/read", params);
    let result = read(json!({ "uri": "file:///a" })).await.result();
    assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(5000), &json!("private")));
    let asked = read(json!({ "uri": "file:///ask" })).await.result();
    assert_eq!(asked["resultType"], "input_required");
    assert!(asked.get("ttlMs").is_none() && asked.get("cacheScope").is_none());
    let missing = read(json!({ "uri": "other:" })).await;
    assert_eq!((missing.status, missing.code()), (200, -32602), "the legacy code stays out of this era");
    let retried = read(json!({ "uri": "file:///ask", "requestState": "s" })).await.result();
    assert_eq!((&retried["ttlMs"], &retried["cacheScope"]), (&json!(0), &json!("private")));
}

#[tokio::test]
async fn a_call_arrives_whole() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let params = json!({ "name": "seen", "arguments": { "big": 1 }, "future": [1, 2],
        "inputResponses": { "q": { "action": "accept" } }, "requestState": "sealed" });
    let request =
        http.modern_request(1, "tools/call", params, json!({ "progressToken": "p", "vendor/x": 1 }));
    let request = request.header("traceparent", "00-aa-bb-01").header("x-workflow-id", "wf-1");
    let seen = http.send(request).await.result()["structuredContent"].clone();
    assert_eq!(seen["principal"], "agent:a");
    assert_eq!(seen["session"], "agent:a");
    assert_eq!(seen["arguments"], json!({ "big": 1 }));
    assert_eq!(seen["rest"], json!({ "future": [1, 2] }));
    assert_eq!(seen["meta"]["vendor/x"], 1);
    assert_eq!(seen["traceparent"], "00-aa-bb-01");
    assert_eq!(seen["workflow"], "wf-1");
    assert_eq!(seen["capabilities"], json!({ "elicitation": {} }));
    assert_eq!(seen["responses"], json!({ "q": { "action": "accept" } }));
    assert_eq!(seen["state"], "sealed");
    assert_eq!(seen["wants_progress"], true);
    // A workflow that is no text, or one of two, is not as if none had been named.
    let named = |values: &[&[u8]]| {
        let request = http.modern_request(2, "tools/call", json!({ "name": "seen" }), json!({}));
        values.iter().fold(request, |request, value| {
            request.header("x-workflow-id", reqwest::header::HeaderValue::from_bytes(value).unwrap())
        })
    };
    for values in [&[&b"wf-\xe9"[..]][..], &[b"wf-1", b"wf-1"]] {
        assert_eq!(http.send(named(values)).await.status, 400, "{values:?}");
    }
}

/// (2) (3) (4) (5) (6) (19) (20): status and code of everything that is refused.
#[tokio::test]
async fn refusals_have_the_right_status_and_code() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let full = crate::script::modern_meta(json!({}));
    let body = |method: &str, meta: &Value, params: Value| {
        let mut params = params;
        params["_meta"] = meta.clone();
        rpc(7, method, params).to_string()
    };
    let check = async |request: reqwest::RequestBuilder, status: u16, code: i64, why: &str| -> Reply {
        let reply = http.send(request).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{why}: {}", reply.text);
        reply
    };
    let with = |body: String, headers: &[(&'static str, &str)]| {
        headers.iter().fold(http.request(body), |request, (name, value)| request.header(*name, *value))
    };
    let version = ("mcp-protocol-version", "2026-07-28");
    let list = ("mcp-method", "tools/list");

    let full = Value::Object(full);
    let mut old = full.clone();
    old["io.modelcontextprotocol/protocolVersion"] = json!("1900-01-01");
    let reply = check(
        with(body("tools/list", &old, json!({})), &[("mcp-protocol-version", "1900-01-01"), list]),
        400,
        -32022,
        "unknown version",
    )
    .await;
    let data = &reply.json()["error"]["data"];
    assert_eq!(data["requested"], "1900-01-01");
    assert_eq!(data["supported"][0], "2026-07-28");
    assert_eq!(reply.json()["id"], 7);
    let mut legacy = full.clone();
    legacy["io.modelcontextprotocol/protocolVersion"] = json!("2025-11-25");
    check(
        with(body("tools/list", &legacy, json!({})), &[("mcp-protocol-version", "2025-11-25"), list]),
        400,
        -32022,
        "a legacy version without a session",
    )
    .await;
    check(with(rpc(7, "tools/list", json!({})).to_string(), &[version, list]), 400, -32602, "no _meta").await;
    check(with(rpc(7, "server/discover", json!({})).to_string(), &[]), 400, -32602, "no _meta at all").await;
    check(
        with(rpc(7, "tools/list", json!({})).to_string(), &[("mcp-protocol-version", "2031-01-01")]),
        400,
        -32022,
        "unknown version in the header",
    )
    .await;
    for key in ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"] {
        let mut partial = full.clone();
        partial.as_object_mut().unwrap().remove(key);
        check(with(body("tools/list", &partial, json!({})), &[version, list]), 400, -32602, key).await;
        partial[key] = json!(7);
        check(with(body("tools/list", &partial, json!({})), &[version, list]), 400, -32602, key).await;
    }
    let mut noisy = full.clone();
    noisy["io.modelcontextprotocol/logLevel"] = json!("loud");
    check(with(body("tools/list", &noisy, json!({})), &[version, list]), 400, -32602, "unknown log level")
        .await;

    let ok = body("tools/list", &full, json!({}));
    check(with(ok.clone(), &[version, list]), 200, 0, "all there").await;
    check(with(ok.clone(), &[list]), 400, -32020, "no version header").await;
    check(
        with(ok.clone(), &[("mcp-protocol-version", "2025-11-25"), list]),
        400,
        -32020,
        "another version in the header",
    )
    .await;
    check(with(ok.clone(), &[version]), 400, -32020, "no Mcp-Method").await;
    check(with(ok.clone(), &[version, ("mcp-method", "tools/call")]), 400, -32020, "another Mcp-Method")
        .await;
    check(with(ok.clone(), &[version, list, list]), 400, -32020, "Mcp-Method twice").await;

    let call = |name: &str, arguments: Value| {
        body("tools/call", &full, json!({ "name": name, "arguments": arguments }))
    };
    let method = ("mcp-method", "tools/call");
    check(with(call("echo", json!({})), &[version, method]), 400, -32020, "no Mcp-Name").await;
    check(
        with(call("echo", json!({})), &[version, method, ("mcp-name", "other")]),
        400,
        -32020,
        "another Mcp-Name",
    )
    .await;
    check(
        with(call("echo", json!({})), &[version, method, ("mcp-name", "=?base64?ZWNobw==?=")]),
        200,
        0,
        "encoded Mcp-Name",
    )
    .await;
    let mirrored = ("mcp-name", "mirrored");
    check(
        with(call("mirrored", json!({ "region": "eu" })), &[version, method, mirrored]),
        400,
        -32020,
        "no Mcp-Param",
    )
    .await;
    check(
        with(
            call("mirrored", json!({ "region": "eu" })),
            &[version, method, mirrored, ("mcp-param-region", "us")],
        ),
        400,
        -32020,
        "another Mcp-Param",
    )
    .await;
    check(
        with(
            call("mirrored", json!({ "region": "eu" })),
            &[version, method, mirrored, ("mcp-param-region", "eu")],
        ),
        200,
        0,
        "Mcp-Param",
    )
    .await;
    check(with(call("mirrored", json!({})), &[version, method, mirrored]), 200, 0, "no argument, no header")
        .await;

    for unknown in ["no/such", "ping", "logging/setLevel", "resources/subscribe", "tasks/list"] {
        check(
            with(body(unknown, &full, json!({})), &[version, ("mcp-method", unknown)]),
            404,
            -32601,
            unknown,
        )
        .await;
    }
    check(
        http.modern_request(7, "tools/call", json!({ "name": "none" }), json!({})),
        200,
        -32602,
        "unknown tool",
    )
    .await;
    check(
        http.modern_request(7, "tools/call", json!({ "name": "needs-sampling" }), json!({})),
        400,
        -32021,
        "capability",
    )
    .await;
    check(
        http.modern_request(7, "tools/call", json!({ "name": "echo", "arguments": [] }), json!({})),
        200,
        -32602,
        "arguments",
    )
    .await;
    check(with(body("tools/call", &full, json!({})), &[version, method]), 200, -32602, "no name").await;
    check(
        with(
            body("subscriptions/listen", &full, json!({})),
            &[version, ("mcp-method", "subscriptions/listen")],
        ),
        200,
        -32602,
        "no filter",
    )
    .await;

    // (25) batches and (1) answers have no place here.
    check(with(format!("[{ok}]"), &[version, list]), 400, -32602, "a batch without a session").await;
    check(
        with(json!({ "jsonrpc": "2.0", "id": 1, "result": {} }).to_string(), &[version]),
        400,
        -32602,
        "an answer",
    )
    .await;
    let told = http
        .send(with(
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } })
                .to_string(),
            &[version],
        ))
        .await;
    assert_eq!((told.status, told.text.as_str()), (202, ""));
}

/// (14) (15) (17)
#[tokio::test]
async fn progress_and_logs_come_before_the_answer_and_only_as_asked() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let call = async |name: &str, meta: Value| {
        http.send(http.modern_request(5, "tools/call", json!({ "name": name }), meta)).await
    };
    let silent = call("progress", json!({})).await;
    assert!(!silent.is_events(), "nothing comes before the answer");
    let reply = call("progress", json!({ "progressToken": "tok" })).await;
    assert!(reply.is_events());
    assert_eq!(reply.headers["x-accel-buffering"], "no");
    let messages = reply.messages();
    let progress: Vec<_> = messages.iter().filter(|m| m["method"] == "notifications/progress").collect();
    let values: Vec<_> = progress.iter().map(|m| m["params"]["progress"].as_f64().unwrap()).collect();
    assert_eq!(values, [1.0, 2.0, 3.0], "strictly increasing");
    assert!(progress.iter().all(|m| m["params"]["progressToken"] == "tok"));
    assert_eq!(messages.last().unwrap()["id"], 5, "nothing after the answer");
    assert_eq!(messages.len(), 4);

    // More than a client reads is left out, but never the answer.
    let chatter = call("chatter", json!({ "progressToken": "tok" })).await.messages();
    assert_eq!(chatter.len(), 257);
    assert_eq!(chatter[256]["id"], 5);

    assert!(!call("log", json!({})).await.is_events(), "no level, no log");
    let logs = call("log", json!({ "io.modelcontextprotocol/logLevel": "warning" })).await.messages();
    let levels: Vec<_> = logs.iter().filter_map(|m| m["params"]["level"].as_str()).collect();
    assert_eq!(levels, ["warning", "error"]);
    assert_eq!(logs.len(), 3);

    // (9) Nothing is asked on the stream; a client that takes no stream gets the answer alone.
    assert!(call("ask", json!({})).await.text.contains("error -32601"));
    let request =
        http.modern_request(5, "tools/call", json!({ "name": "progress" }), json!({ "progressToken": 1 }));
    let mut request = request.build().unwrap();
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let response = http.client.execute(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    // One that takes only streams gets one.
    let request = http.modern_request(5, "tools/list", json!({}), json!({}));
    let mut request = request.build().unwrap();
    request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    let response = http.client.execute(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
}

/// (14), I3
#[tokio::test]
async fn a_disconnect_cancels_the_call() {
    let server =
        Server::with(Limits { first_keep_alive: Duration::from_millis(20), ..Limits::default() }).await;
    let http = server.as_agent("a");
    // Before the head of the reply is sent.
    let slow = Server::start().await;
    let other = slow.as_agent("a");
    let request = other.modern_request(1, "tools/call", json!({ "name": "wait" }), json!({}));
    let waiting = tokio::spawn(async move { other.send(request).await });
    slow.script.entered.reaches(1).await;
    waiting.abort();
    slow.script.dropped.reaches(1).await;
    // And in the middle of a stream that an early comment opened.
    let mut stream =
        http.open(http.modern_request(1, "tools/call", json!({ "name": "wait" }), json!({}))).await;
    stream.stands().await;
    server.script.entered.reaches(1).await;
    assert_eq!(server.script.dropped.get(), 0);
    drop(stream);
    drop(http);
    server.script.dropped.reaches(1).await;
}

#[tokio::test]
async fn a_long_call_is_kept_alive_and_answered_on_its_stream() {
    let quick = Duration::from_millis(20);
    let server =
        Server::with(Limits { first_keep_alive: quick, keep_alive: quick, ..Limits::default() }).await;
    let http = server.as_agent("a");
    let mut stream =
        http.open(http.modern_request(9, "tools/call", json!({ "name": "wait" }), json!({}))).await;
    stream.stands().await;
    server.script.release.send_replace(true);
    let answer = stream.next().await.unwrap();
    assert_eq!(answer["id"], 9);
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(stream.next().await, None);
    assert_eq!(server.script.dropped.get(), 0);
}

/// (16)
#[tokio::test]
async fn a_subscription_is_acknowledged_first_and_tells_only_what_was_asked() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let filter = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": false,
        "resourceSubscriptions": ["file:///a"] });
    let listen =
        || http.modern_request(31, "subscriptions/listen", json!({ "notifications": filter }), json!({}));
    let key = "io.modelcontextprotocol/subscriptionId";
    let mut stream = http.open(listen()).await;
    let ack = stream.next().await.unwrap();
    assert_eq!(ack["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(ack["params"]["_meta"][key], 31);
    // Prompts have no listChanged here, single resources cannot be watched.
    assert_eq!(ack["params"]["notifications"], json!({ "toolsListChanged": true }));
    server.script.generations.send_modify(|g| g.resources += 1);
    server.script.prompts_changed();
    server.script.tools_changed();
    let told = stream.next().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(told["params"]["_meta"][key], 31);
    // It ends with its principal, and says so.
    server.script.revoke("a");
    let cancelled = stream.next().await.unwrap();
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], 31);
    let end = stream.next().await.unwrap();
    assert_eq!((&end["id"], &end["result"]["resultType"]), (&json!(31), &json!("complete")));
    assert_eq!(end["result"]["_meta"][key], 31);
    assert_eq!(stream.next().await, None);
    assert_eq!(http.modern("tools/list", json!({})).await.status, 401);
    // And with the gateway.
    let http = server.as_agent("b");
    let mut stream = http
        .open(http.modern_request(32, "subscriptions/listen", json!({ "notifications": {} }), json!({})))
        .await;
    assert_eq!(stream.next().await.unwrap()["params"]["notifications"], json!({}));
    server.shutdown.cancel();
    assert_eq!(stream.next().await.unwrap()["method"], "notifications/cancelled");
    assert_eq!(stream.next().await.unwrap()["id"], 32);
    assert_eq!(stream.next().await, None);
    let client = http.client;
    drop(client);
    tokio::time::timeout(Duration::from_secs(10), server.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_first_list_waits_for_the_upstreams() {
    let server = Server::start().await;
    server.script.ready.send_replace(false);
    let http = server.as_agent("a");
    let list = tokio::spawn({
        let http = http.clone();
        async move { http.modern("tools/list", json!({})).await }
    });
    // What needs no list does not wait.
    assert_eq!(http.modern("server/discover", json!({})).await.code(), 0);
    assert!(!list.is_finished());
    server.script.ready.send_replace(true);
    assert_eq!(list.await.unwrap().code(), 0);
}
